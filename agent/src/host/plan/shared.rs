//! LAMPAS's block in a file of others: a line may be held while its neighbours go on.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use lampas_render::block;
use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    object::Target,
    report::Verb,
};

use super::{Item, Planner, Put, Step, planner::claim_of};
use crate::{
    host::{Before, Claim, Owned, Removal, TakenLine, cron, diff, kept, state},
    system::{Modified, Seen},
};

/// A block in a file of others.
pub(crate) struct Shared<'a> {
    pub(crate) path: String,
    pub(crate) owner: u32,
    /// uid, gid and mode of the file when it isn't there yet.
    pub(crate) fresh: (u32, u32, u32),
    pub(crate) crontab_of: Option<String>,
    /// What `lampas-agent why` takes, for the block's marker.
    pub(crate) subject: String,
    /// Says what a line means. One of others that means what a managed one does leaves the file while that one stands.
    pub(crate) same: Option<Meaning>,
    pub(crate) parts: Vec<Part<'a>>,
}

/// What a line means; `None` when it can't be compared.
pub(crate) type Meaning = fn(&str) -> Option<String>;

/// A resource of a block with its lines, or why it can't be there, and what the operator should know.
pub(crate) type Part<'a> = (&'a Resource, Result<Vec<String>, Fault>, Vec<String>);

impl Planner<'_> {
    /// Plans LAMPAS's block in a file of others.
    pub(crate) fn shared(&mut self, want: Shared<'_>) {
        let Shared { path, owner, fresh, crontab_of, subject, same, parts: wanted } = want;
        self.visited.insert(path.clone());
        let none = BTreeMap::new();
        let owned = self.inputs.owned.places.get(&path);
        let claims = owned.map_or(&none, |o| &o.claims);
        let looked = state::look_shared(self.root, &path, owner);
        let (seen, bytes) = match looked {
            Ok(Seen::Absent) => (Seen::Absent, Vec::new()),
            Ok(Seen::File { bytes, meta, links }) => (Seen::File { bytes: bytes.clone(), meta, links }, bytes),
            Ok(_) | Err(_) => {
                let fault = match looked {
                    Err(fault) => fault,
                    Ok(_) => Fault::lasting(
                        "file.special",
                        format!("{path} is not a regular file, and LAMPAS follows no link there"),
                    ),
                };
                for (resource, _, _) in wanted {
                    let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), &path);
                    item.fault = Some(fault.clone());
                    self.items.push(item);
                }
                return;
            }
        };
        let ours: BTreeSet<&str> = claims.values().flat_map(|c| &c.lines).map(String::as_str).collect();
        let standing_block = block::extract(&bytes);
        let print = ContentHash::of(standing_block.unwrap_or_default());
        self.note_observed(&path, &print);
        let block_text = String::from_utf8_lossy(standing_block.unwrap_or_default());
        let present: BTreeSet<&str> = block_text.lines().collect();
        let desired: BTreeSet<&str> =
            wanted.iter().filter_map(|(_, l, _)| l.as_ref().ok()).flatten().map(String::as_str).collect();
        let is_changed = owned.is_some_and(|o| !o.known.contains(&print));
        let missing = |claim: &Claim| claim.lines.iter().any(|l| !present.contains(l.as_str()));
        let mut drifted: BTreeSet<Target> = BTreeSet::new();
        if is_changed {
            drifted = claims.iter().filter(|(_, c)| missing(c)).map(|(t, _)| t.clone()).collect();
            let is_known = |l: &str| ours.contains(l) || desired.contains(l);
            if drifted.is_empty()
                || present.iter().any(|l| !is_known(l)) && drifted.iter().all(|t| !claims.contains_key(t))
            {
                // Lines were added or moved: that is told of one resource of the block.
                drifted.extend(claims.keys().next().cloned());
            }
        }
        let is_held = |target: &Target| drifted.contains(target) && self.inputs.held.contains(target);
        let keeps_foreign = drifted.iter().any(is_held);
        let by_hand_lines: Vec<String> =
            block_text.lines().filter(|l| !ours.contains(l) && !desired.contains(l)).map(str::to_owned).collect();
        let observed = self.describe_block(&seen, standing_block);

        let mut others = Others::new(&bytes, same);
        let mut lines: Vec<String> = Vec::new();
        let mut after: BTreeMap<Target, Claim> = BTreeMap::new();
        let mut items = Vec::new();
        for (resource, result, notes) in wanted {
            let target = &resource.target;
            let mut item = Item::new(target, &claim_of(resource, Vec::new()), &path);
            item.notes = notes;
            item.observed = observed.clone();
            let old = claims.get(target);
            let current: Vec<String> = old.map(|c| c.lines.clone()).unwrap_or_default();
            let standing: Vec<String> = current.iter().filter(|l| present.contains(l.as_str())).cloned().collect();
            item.mark = Some(mark_of(&standing, &by_hand_lines));
            match result {
                Err(fault) => {
                    item.fault = Some(fault);
                    lines.extend(standing);
                    after.extend(old.map(|c| (target.clone(), c.clone())));
                }
                Ok(new) => {
                    let is_there = !new.is_empty() && new.iter().all(|l| present.contains(l.as_str()))
                        || new.is_empty() && standing.is_empty();
                    item.is_drifted = drifted.contains(target) && (!is_there || !by_hand_lines.is_empty());
                    if item.is_drifted {
                        let mut found = standing.clone();
                        found.extend(by_hand_lines.iter().cloned());
                        item.drift_diff = diff::lines(&path, &new, &found);
                    }
                    if item.is_drifted && is_held(target) {
                        item.is_held = true;
                        lines.extend(standing);
                        after.extend(old.map(|c| (target.clone(), c.clone())));
                    } else {
                        if !is_there || (item.is_drifted && !keeps_foreign) {
                            item.verb = Some(if old.is_none() { Verb::Create } else { Verb::Update });
                            let mut found = standing;
                            if item.is_drifted {
                                found.extend(by_hand_lines.iter().cloned());
                            }
                            // With the plan of its coming: later on, what somebody adds outside is theirs.
                            let taken = if old.is_none() { others.take(&new) } else { Vec::new() };
                            if !taken.is_empty() {
                                found.extend(taken.iter().map(|t| t.line.clone()));
                                item.notes.push(TAKEN.to_owned());
                            }
                            item.diff = moved(&path, &found, &new, &taken);
                            others.taken.insert(target.clone(), taken);
                        }
                        let taken = others.taken.remove(target).or_else(|| old.map(|c| c.taken.clone()));
                        let taken = taken.unwrap_or_default();
                        after.insert(target.clone(), Claim { taken, ..claim_of(resource, new.clone()) });
                        lines.extend(new);
                    }
                }
            }
            items.push(item);
        }
        let named: BTreeSet<Target> = items.iter().map(|i: &Item| i.target.clone()).collect();
        for (target, claim) in claims.iter().filter(|(t, _)| !named.contains(*t)) {
            let mut item = Item::new(target, claim, &path);
            item.observed = observed.clone();
            let jobs_of = crontab_of.as_slice();
            let removal = Removal { path: &path, kind: claim.kind, files: [None, None], jobs_of };
            if let Some(fault) = (self.inputs.judge_removal)(&removal) {
                item.fault = Some(fault);
                lines.extend(claim.lines.iter().filter(|l| present.contains(l.as_str())).cloned());
                after.insert(target.clone(), claim.clone());
                self.stays.insert(target.clone());
            } else {
                item.verb = Some(Verb::Remove);
                let back: Vec<String> = claim.taken.iter().map(|t| t.line.clone()).collect();
                item.diff = moved(&path, &claim.lines, &back, &claim.taken);
                others.give_back(&claim.taken);
            }
            items.push(item);
        }
        let loses = is_changed && !keeps_foreign && !by_hand_lines.is_empty();
        if keeps_foreign {
            lines.extend(by_hand_lines);
        }
        let is_moved = others.is_changed;
        let base = others.into_bytes();
        // Held or blocked, and somebody took all of it away: that stays so, and what LAMPAS knows of it too.
        let is_left = lines.is_empty() && after.values().any(|claim| !claim.lines.is_empty());
        let (put, leaves, before) = if is_left {
            // Without it, a line of others may come back all the same.
            let put = match seen {
                Seen::File { .. } if is_moved => shared_file(block::foreign(&base), &seen, fresh),
                _ => Put::Keep,
            };
            let leaves = if put == Put::Keep { print } else { ContentHash::of(&[]) };
            (put, leaves, owned.map(|o| o.before.clone()))
        } else if lines.is_empty() {
            let rest = block::foreign(&base);
            let is_ours_alone =
                cron::without_header(&rest).is_empty() && owned.is_some_and(|o| o.before == Before::Absent);
            let put = match (&seen, standing_block) {
                (Seen::Absent, _) | (_, None) => Put::Keep,
                _ if is_ours_alone => Put::Gone,
                _ => shared_file(rest, &seen, fresh),
            };
            (put, ContentHash::of(&[]), None)
        } else {
            let content: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
            let leaves = ContentHash::of(content.as_bytes());
            let put = if print == leaves && seen != Seen::Absent && !is_moved {
                Put::Keep
            } else {
                shared_file(block::replace(&base, &subject, content.as_bytes()), &seen, fresh)
            };
            let fresh_before = if seen == Seen::Absent { Before::Absent } else { Before::Shared };
            (put, leaves, Some(owned.map_or(fresh_before, |o| o.before.clone())))
        };
        let by_hand = loses.then(|| standing_block.unwrap_or_default().to_vec());
        if let Some(bytes) = &by_hand {
            let kept = kept::by_hand_path(self.root, &path, owner, bytes);
            for item in items.iter_mut().filter(|i| i.is_drifted || i.verb == Some(Verb::Remove)).take(1) {
                item.notes.push(format!("the block was changed by hand; a copy of it is kept as {kept} on the node"));
            }
        }
        let mut known = BTreeSet::from([leaves]);
        if keeps_foreign || is_left {
            // What stands there stays foreign, so that it is still seen as drift.
            known = owned.map(|o| o.known.clone()).unwrap_or_default();
        }
        let after =
            before.map(|before| Owned { claims: after, known, before, holds_secrets: false, values: BTreeSet::new() });
        if put != Put::Keep || after.as_ref() != owned {
            self.steps.push(Step {
                path,
                targets: items.iter().map(|i| i.target.clone()).collect(),
                put,
                seen,
                owner,
                is_removal: after.is_none(),
                owned: after,
                is_shared: true,
                crontab_of,
                by_hand,
                keeps: None,
                leaves,
            });
        }
        self.items.extend(items);
    }
}

/// What tells one finding in a block from another: a resource's own lines that are left, and the lines of nobody. What
/// becomes of its neighbours' lines is none of it.
fn mark_of(standing: &[String], by_hand: &[String]) -> ContentHash {
    let mut text = String::new();
    for lines in [standing, by_hand] {
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.sort_unstable();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\0');
    }
    ContentHash::of(text.as_bytes())
}

/// What is said of a line of others that leaves the file for a managed one.
const TAKEN: &str = "the same line outside of the block goes; it comes back when this object goes";

/// A diff in which a line that only changes its place shows on both sides.
fn moved(path: &str, old: &[String], new: &[String], taken: &[TakenLine]) -> String {
    if taken.is_empty() {
        return diff::lines(path, old, new);
    }
    let mut out = format!("--- {path}\n+++ {path}\n");
    for line in old {
        out.push_str(&format!("-{line}\n"));
    }
    for line in new {
        out.push_str(&format!("+{line}\n"));
    }
    out
}

/// The file of others with its lines, of which some leave it for managed ones and some come back. Whoever owns the file
/// decides how many there are: each is looked at once, and none is copied before it has to be.
pub(super) struct Others<'a> {
    /// Each line with its end, and whether it is within LAMPAS's block; a foreign one with its number.
    lines: Vec<(Cow<'a, [u8]>, Option<usize>)>,
    same: Option<Meaning>,
    taken: BTreeMap<Target, Vec<TakenLine>>,
    is_changed: bool,
}

impl<'a> Others<'a> {
    pub(super) fn new(bytes: &'a [u8], same: Option<Meaning>) -> Self {
        // In the order of the file, and apart from each other.
        let mut blocks = block::spans(bytes).into_iter().peekable();
        let (mut lines, mut at, mut number) = (Vec::new(), 0, 0);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            while blocks.next_if(|b| b.end <= at).is_some() {}
            let is_foreign = blocks.peek().is_none_or(|b| at < b.start);
            lines.push((Cow::Borrowed(line), is_foreign.then_some(number)));
            number += usize::from(is_foreign);
            at += line.len();
        }
        Self { lines, same, taken: BTreeMap::new(), is_changed: false }
    }

    /// Takes the foreign lines away that say the same as one of these.
    pub(super) fn take(&mut self, managed: &[String]) -> Vec<TakenLine> {
        let Some(same) = self.same else { return Vec::new() };
        let managed: BTreeSet<String> = managed.iter().filter_map(|m| same(m)).collect();
        let mut taken = Vec::new();
        self.lines.retain(|(raw, number)| {
            let text = raw.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
            match (number, text) {
                (Some(at), Some(text)) if same(text).is_some_and(|m| managed.contains(&m)) => {
                    taken.push(TakenLine { at: *at, line: text.to_owned() });
                    false
                }
                _ => true,
            }
        });
        self.is_changed |= !taken.is_empty();
        taken
    }

    /// Puts lines back where they were, as far as that place is still there.
    pub(super) fn give_back(&mut self, taken: &[TakenLine]) {
        if taken.is_empty() {
            return;
        }
        let mut back: Vec<&TakenLine> = taken.iter().collect();
        back.sort_by_key(|t| t.at);
        let mut back = back.into_iter().peekable();
        let lines = std::mem::take(&mut self.lines);
        // Behind the last foreign line, in front of a block that follows it.
        let last = lines.iter().rposition(|(_, number)| number.is_some()).map_or(lines.len(), |p| p + 1);
        let mut came = 0;
        for (place, (line, number)) in lines.into_iter().enumerate() {
            if place == last {
                back.by_ref().for_each(|t| self.push(t));
            }
            let number = number.map(|n| {
                while let Some(t) = back.next_if(|t| t.at <= n + came) {
                    self.push(t);
                    came += 1;
                }
                n + came
            });
            self.lines.push((line, number));
        }
        back.for_each(|t| self.push(t));
        self.is_changed = true;
    }

    fn push(&mut self, TakenLine { at, line }: &TakenLine) {
        if let Some((before, _)) = self.lines.last_mut()
            && !before.ends_with(b"\n")
        {
            before.to_mut().push(b'\n');
        }
        self.lines.push((format!("{line}\n").into_bytes().into(), Some(*at)));
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.lines.iter().map(|(line, _)| line.len()).sum());
        self.lines.iter().for_each(|(line, _)| bytes.extend_from_slice(line));
        bytes
    }
}

/// Returns the fingerprint of LAMPAS's block in a file.
pub(crate) fn block_print(seen: &Seen) -> Option<ContentHash> {
    match seen {
        Seen::Absent => Some(ContentHash::of(&[])),
        Seen::File { bytes, .. } => Some(ContentHash::of(block::extract(bytes).unwrap_or_default())),
        Seen::Directory { .. } | Seen::Link { .. } => None,
    }
}

pub(super) fn shared_file(bytes: Vec<u8>, seen: &Seen, fresh: (u32, u32, u32)) -> Put {
    let (uid, gid, mode) = match seen {
        Seen::File { meta, .. } => (meta.uid, meta.gid, meta.mode),
        _ => fresh,
    };
    let xattrs = match seen {
        Seen::File { meta, .. } => crate::system::write::kept_xattrs(meta, true),
        _ => BTreeMap::new(),
    };
    let modified = match seen {
        Seen::File { meta, .. } => Modified::After(meta.modified_ns),
        _ => Modified::Now,
    };
    Put::File { bytes, uid, gid, mode, xattrs, modified }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meaning(line: &str) -> Option<String> {
        line.starts_with(['a', 'b']).then(|| line[..1].to_owned())
    }

    proptest! {
        #[test]
        fn what_is_taken_comes_back_where_it_was(
            lines in prop::collection::vec(
                prop_oneof![Just("a"), Just("b"), Just("c"), Just("# BEGIN LAMPAS"), Just("# END LAMPAS")],
                0..12,
            ),
            by in prop::collection::vec(prop_oneof![Just("a 1".to_owned()), Just("b 2".to_owned())], 0..3),
        ) {
            let file: String = lines.iter().flat_map(|l| [l, "\n"]).collect();
            let mut others = Others::new(file.as_bytes(), Some(meaning));
            let taken = others.take(&by);
            let left = others.into_bytes();
            let mut others = Others::new(&left, None);
            others.give_back(&taken);
            let back = others.into_bytes();
            let (back, file) = (block::foreign(&back), block::foreign(file.as_bytes()));
            prop_assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(&file));
        }
    }
}
