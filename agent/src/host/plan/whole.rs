//! Places that are one resource's alone, while it is wanted and when it goes.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    report::Verb,
};

use super::{Item, Planner, Put, Step, fingerprint, planner::claim_of};
use crate::{
    host::{Before, Owned, Removal, account, kept, package, state},
    system::{Modified, Seen},
};

/// A place that is one resource's alone.
pub(crate) struct Whole<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) path: String,
    pub(crate) put: Put,
    pub(crate) owner: u32,
    /// Whether it is LAMPAS's own and shown nowhere: a job's file.
    pub(crate) is_inner: bool,
    /// Whether a second hard link counts as a change.
    pub(crate) is_single: bool,
    pub(crate) notes: Vec<String>,
}

/// A place that is one resource's alone, as it looks when there is nothing to do.
pub(crate) struct Settled<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) path: &'a str,
    /// The fingerprint of what shall stand there.
    pub(crate) leaves: ContentHash,
    pub(crate) owner: u32,
    pub(crate) is_inner: bool,
    pub(crate) notes: &'a [String],
}

impl Planner<'_> {
    /// Plans a file that stands as desired and as LAMPAS left it, and was not touched since it was read; returns whether it
    /// is one. Nothing of it is read.
    pub(crate) fn settled(&mut self, want: &Settled<'_>) -> bool {
        let Settled { resource, path, leaves, owner, is_inner, notes } = *want;
        let (Some(look), Some(owned)) = (self.look, self.inputs.owned.places.get(path)) else { return false };
        let claim = claim_of(resource, Vec::new());
        let is_ours = owned.claims.len() == 1
            && owned.claims.get(&resource.target) == Some(&claim)
            && owned.known.len() == 1
            && owned.holds_secrets == self.fills(path)
            && owned.values == self.values_in(path)
            && owned.known.contains(&leaves);
        if !is_ours || self.stamp(path, owner).is_none_or(|s| look.print(path, &s) != Some(leaves)) {
            return false;
        }
        self.visited.insert(path.to_owned());
        self.note_observed(path, &leaves);
        let mut item = Item::new(&resource.target, &claim, path);
        item.notes = notes.to_vec();
        self.enter(item, is_inner);
        true
    }

    /// Plans a place that is one resource's alone.
    pub(crate) fn whole(&mut self, want: Whole<'_>) {
        let Whole { resource, path, mut put, owner, is_inner, is_single, notes } = want;
        let leaves = put.fingerprint(self.root);
        if self.settled(&Settled { resource, path: &path, leaves, owner, is_inner, notes: &notes }) {
            return;
        }
        let claim = claim_of(resource, Vec::new());
        let mut item = Item::new(&resource.target, &claim, &path);
        item.notes = notes;
        self.visited.insert(path.clone());
        let found = if let Some(seen) = self.given.get(&path) {
            Ok((seen.clone(), None))
        } else if state::is_file(&path) {
            self.root.look_stamped(&path, owner).map_err(|e| e.to_fault())
        } else {
            state::look(self.root, &path, owner).map(|seen| (seen, None))
        };
        let (seen, stamp) = match found {
            Ok(found) => found,
            Err(fault) => {
                item.fault = Some(fault);
                return self.enter(item, is_inner);
            }
        };
        let print = fingerprint(self.root, &seen, is_single);
        self.note_observed(&path, &print);
        // A second name is told by a fingerprint in some places and a fault in others: such a file is always read.
        if let (Some(look), Some(stamp)) = (self.look, stamp.filter(|s| s.links == 1)) {
            look.remember(&path, stamp, print);
        }
        let owned = self.inputs.owned.places.get(&path);
        let is_met = print == leaves;
        if !is_met || self.describes_all {
            item.observed = self.describe(&seen);
        }
        item.is_drifted = !is_met && owned.is_some_and(|o| !o.known.contains(&print));
        item.was_made = owned.is_some_and(|o| o.known.contains(&leaves));
        if item.is_drifted && !is_inner {
            item.drift_diff = put.diff_to(&path, &seen);
            if self.inputs.held.contains(&resource.target) {
                item.is_held = true;
                return self.enter(item, is_inner);
            }
        }
        // What LAMPAS itself made there may change its kind.
        if let Some(fault) = put.clash(&path, &seen).filter(|_| owned.is_none() || item.is_drifted) {
            item.fault = Some(fault);
            return self.enter(item, is_inner);
        }
        let before = match owned {
            Some(owned) => owned.before.clone(),
            None if is_inner => Before::Absent,
            None => before_of(&seen),
        };
        if !is_met {
            item.verb = Some(if seen == Seen::Absent { Verb::Create } else { Verb::Update });
            item.diff = put.diff_from(&path, &seen);
            if owned.is_none() && !is_inner && seen != Seen::Absent {
                item.notes.push("what stands there now is kept and comes back when this object goes".to_owned());
            }
            if let (Put::File { xattrs, modified, .. }, Seen::File { meta, .. }) = (&mut put, &seen) {
                *xattrs = crate::system::write::kept_xattrs(meta, false);
                *modified = Modified::After(meta.modified_ns);
            }
        }
        let by_hand = (item.is_drifted && !is_inner && state::is_file(&path)).then(|| bytes_of(&seen)).flatten();
        if let Some(bytes) = &by_hand {
            let kept = kept::by_hand_path(self.root, &path, owner, bytes);
            item.notes.push(format!("it was changed by hand; a copy of that is kept as {kept} on the node"));
        }
        let wanted = Owned {
            claims: BTreeMap::from([(resource.target.clone(), claim)]),
            known: BTreeSet::from([leaves]),
            before,
            holds_secrets: self.fills(&path),
            values: self.values_in(&path),
        };
        if !is_met || owned != Some(&wanted) {
            self.steps.push(Step {
                path,
                targets: vec![resource.target.clone()],
                put: if is_met { Put::Keep } else { put },
                seen,
                owner,
                owned: Some(wanted),
                is_removal: false,
                is_shared: false,
                crontab_of: None,
                by_hand,
                keeps: None,
                leaves,
            });
        }
        self.enter(item, is_inner);
    }

    /// Asks the node's policy whether a place may go; notes why not.
    #[expect(clippy::too_many_arguments, reason = "the parts of one question")]
    fn may_not_go(
        &mut self,
        path: &str,
        kind: lampas_shared::object::Kind,
        target: &lampas_shared::object::Target,
        owned: &Owned,
        seen: &Seen,
        is_inner: bool,
        item: &mut Item,
    ) -> bool {
        if is_inner {
            item.verb = None;
            return self.stays.contains(target);
        }
        let back = match &owned.before {
            Before::File { meta, .. } => Some((meta.uid, meta.gid, meta.mode)),
            _ => None,
        };
        let jobs_of = if kind == lampas_shared::object::Kind::Cron { jobs_of(seen) } else { Vec::new() };
        let removal = Removal { path, kind, files: [meta_of(seen), back], jobs_of: &jobs_of };
        let Some(fault) = (self.inputs.judge_removal)(&removal) else { return false };
        item.verb = None;
        item.fault = Some(fault);
        self.stays.insert(target.clone());
        true
    }

    /// Plans the end of what is owned and no longer wanted: what stood before comes back.
    pub(in crate::host) fn plan_leftovers(&mut self) {
        for (path, owned) in &self.inputs.owned.places {
            if self.visited.contains(path) {
                continue;
            }
            let is_inner = path.starts_with(crate::job::JOBS_DIRECTORY);
            let Some((target, claim)) = owned.claims.iter().next() else { continue };
            let mut item = Item::new(target, claim, path);
            item.verb = Some(Verb::Remove);
            // The owner of what stood or stands there may own the directories too.
            let owner = match &owned.before {
                Before::File { meta, .. } | Before::Directory { meta } => meta.uid,
                _ => u32::MAX,
            };
            let given = self.given.get(path).cloned();
            let seen =
                given.map_or_else(|| state::look(self.root, path, owner), Ok).or_else(|e| match self.owner_of(path) {
                    Some(uid) => state::look(self.root, path, uid),
                    None => Err(e),
                });
            let seen = match seen {
                Ok(seen) => seen,
                Err(fault) => {
                    item.fault = Some(fault);
                    item.verb = None;
                    self.enter(item, is_inner);
                    continue;
                }
            };
            let print = fingerprint(self.root, &seen, false);
            self.note_observed(path, &print);
            item.observed = self.describe(&seen);
            if self.may_not_go(path, claim.kind, target, owned, &seen, is_inner, &mut item) {
                self.enter(item, is_inner);
                continue;
            }
            item.is_drifted = !owned.known.contains(&print) && seen != Seen::Absent;
            let put = match (&owned.before, &seen) {
                (Before::Absent | Before::Shared, Seen::Absent) => Put::Keep,
                (Before::Absent | Before::Shared, Seen::Directory { .. }) => Put::GoneDirectory,
                (Before::Absent | Before::Shared, _) => Put::Gone,
                (Before::Directory { meta }, _) => Put::Directory { uid: meta.uid, gid: meta.gid, mode: meta.mode },
                (Before::Link { to }, _) => Put::Link { to: to.clone() },
                (Before::File { hash, meta }, _) => match kept::original(self.root, hash) {
                    Some(bytes) => Put::File {
                        bytes,
                        uid: meta.uid,
                        gid: meta.gid,
                        mode: meta.mode,
                        xattrs: meta.xattrs.clone(),
                        modified: Modified::At(meta.modified_ns),
                    },
                    None => {
                        item.fault = Some(Fault::lasting(
                            "file.original_lost",
                            format!(
                                "{path}: the copy of what stood there before LAMPAS is gone or damaged; remove the file by hand"
                            ),
                        ));
                        item.verb = None;
                        self.enter(item, is_inner);
                        continue;
                    }
                },
            };
            let instead = account::keep_instead(self.root, path, &put, &seen)
                .or_else(|| package::keep_instead(path, &put, &seen));
            let put = match instead {
                None => put,
                Some(account::Instead::LetGo(why)) => {
                    item.notes.push(why.to_owned());
                    Put::Keep
                }
                Some(account::Instead::Stay(fault)) => {
                    item.fault = Some(fault);
                    item.verb = None;
                    self.enter(item, is_inner);
                    continue;
                }
            };
            item.diff = if put == Put::Keep { String::new() } else { put.diff_from(path, &seen) };
            if let Some(fault) = put.clash(path, &seen) {
                item.fault = Some(fault);
                item.verb = None;
                self.enter(item, is_inner);
                continue;
            }
            if owned.before != Before::Absent {
                item.notes.push("what stood there before LAMPAS comes back".to_owned());
            }
            if put == Put::GoneDirectory {
                item.notes.push("the directory goes if it is empty".to_owned());
            }
            let owner = if owner == u32::MAX { self.owner_of(path).unwrap_or(0) } else { owner };
            let by_hand = (item.is_drifted && !is_inner && state::is_file(path)).then(|| bytes_of(&seen)).flatten();
            if let Some(bytes) = &by_hand {
                let kept = kept::by_hand_path(self.root, path, owner, bytes);
                item.notes.push(format!("it was changed by hand; a copy of that is kept as {kept} on the node"));
            }
            let leaves = put.fingerprint(self.root);
            self.steps.push(Step {
                path: path.clone(),
                targets: vec![target.clone()],
                put: if print == leaves { Put::Keep } else { put },
                seen,
                owner,
                owned: None,
                is_removal: true,
                is_shared: false,
                crontab_of: None,
                by_hand,
                keeps: None,
                leaves,
            });
            self.enter(item, is_inner);
        }
    }
}

/// Returns what a removal takes away from the shell's point of view: owner, group and mode of a file.
fn meta_of(seen: &Seen) -> Option<(u32, u32, u32)> {
    match seen {
        Seen::File { meta, .. } => Some((meta.uid, meta.gid, meta.mode)),
        Seen::Absent | Seen::Directory { .. } | Seen::Link { .. } => None,
    }
}

/// Returns the users as whom a file of `/etc/cron.d` starts anything.
fn jobs_of(seen: &Seen) -> Vec<String> {
    use lampas_render::crontab::{LineContent, parse};
    let Seen::File { bytes, .. } = seen else { return Vec::new() };
    let parsed = parse(bytes, lampas_shared::host::CronTable::System);
    let users = parsed.lines.iter().filter_map(|l| match &l.content {
        LineContent::Job { user: Some(user), .. } => Some(user.to_string()),
        _ => None,
    });
    users.collect()
}

fn bytes_of(seen: &Seen) -> Option<Vec<u8>> {
    match seen {
        Seen::File { bytes, .. } => Some(bytes.clone()),
        Seen::Link { to, .. } => Some(to.clone().into_bytes()),
        Seen::Absent | Seen::Directory { .. } => None,
    }
}

pub(crate) fn before_of(seen: &Seen) -> Before {
    match seen {
        Seen::Absent => Before::Absent,
        Seen::File { bytes, meta, .. } => Before::File { hash: ContentHash::of(bytes), meta: meta.clone() },
        Seen::Directory { meta } => Before::Directory { meta: meta.clone() },
        Seen::Link { to, .. } => Before::Link { to: to.clone() },
    }
}
