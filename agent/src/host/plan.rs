//! What would change: looks at the disk, writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::{Zone, block};
use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    error::Fault,
    host::{CronTable, FileMode, TimeZoneName, Validator},
    id::ObjectId,
    object::{Kind, ObjectName, Target},
    report::{Action, NodePlan, ObservedFile, Verb},
    time::UnixMs,
};

use super::{Before, Claim, Inputs, Owned, Ownership, cron, file, hosts};
use crate::system::{Accounts, Modified, Root, Seen};

/// What would change on a host, as a value.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// One per resource in the order of the desired state, then one per resource that is no longer wanted.
    pub items: Vec<Item>,
    /// A hash over everything that was looked at: it differs when somebody changed something since.
    pub observed: ContentHash,
    pub(super) steps: Vec<Step>,
    pub(super) checks: Vec<Check>,
    pub(super) ownership: Ownership,
}

/// One resource of a plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The file concerned, as the node sees it.
    pub path: String,
    /// What an apply would do; `None` when it stands as desired, is held or can't be done.
    pub verb: Option<Verb>,
    /// Whether what stands there is neither desired nor what LAMPAS left there.
    pub is_drifted: bool,
    /// Whether it is drifted and left so.
    pub is_held: bool,
    /// A unified diff from what stands there to what would.
    pub diff: String,
    /// A unified diff from the desired to what stands there; empty unless drifted.
    pub drift_diff: String,
    /// What stands there; `None` when nothing does.
    pub observed: Option<ObservedFile>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Why it can't be done; an apply leaves it out.
    pub fault: Option<Fault>,
}

/// One place that an apply writes, or only takes into its record.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) path: String,
    pub(super) targets: Vec<Target>,
    pub(super) put: Put,
    pub(super) seen: Seen,
    /// The uid that may own ancestors besides root: the content's own.
    pub(super) owner: u32,
    /// What is owned there afterwards; `None` lets go.
    pub(super) owned: Option<Owned>,
    pub(super) is_removal: bool,
    pub(super) is_shared: bool,
    pub(super) crontab_of: Option<String>,
    /// What somebody made by hand and would be lost.
    pub(super) by_hand: Option<Vec<u8>>,
    /// The fingerprint of what the step leaves.
    pub(super) leaves: ContentHash,
}

/// What a step puts in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Put {
    /// Nothing is written; only the record changes.
    Keep,
    /// A file.
    File { bytes: Vec<u8>, uid: u32, gid: u32, mode: u32, xattrs: BTreeMap<String, Vec<u8>>, modified: Modified },
    /// A directory.
    Directory { uid: u32, gid: u32, mode: u32 },
    /// A symbolic link.
    Link { to: String },
    /// Nothing stands there afterwards.
    Gone,
    /// The directory goes if it is empty.
    GoneDirectory,
}

/// A content to be checked before it lands.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) target: Target,
    pub(super) path: String,
    pub(super) validator: Validator,
    pub(super) bytes: Vec<u8>,
}

impl HostPlan {
    /// Returns whether an apply would do nothing, not even change the record.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the plan as the controller is told of it.
    pub fn to_node_plan(&self, desired: ContentHash) -> NodePlan {
        NodePlan { desired, observed: self.observed, actions: self.actions() }
    }

    /// Returns what would be done and what can't be, removals first.
    pub fn actions(&self) -> Vec<Action> {
        let mut items: Vec<&Item> = self.items.iter().filter(|i| i.verb.is_some() || i.fault.is_some()).collect();
        items.sort_by_key(|i| i.verb != Some(Verb::Remove));
        let action = |i: &Item| Action {
            target: i.target.clone(),
            object: i.object,
            kind: i.kind,
            name: i.name.clone(),
            verb: i.verb.unwrap_or(if i.observed.is_some() { Verb::Update } else { Verb::Create }),
            path: i.path.clone(),
            diff: i.diff.clone(),
            notes: i.notes.clone(),
            fault: i.fault.clone(),
        };
        items.into_iter().map(action).collect()
    }

    /// Returns the item of a target.
    pub fn item(&self, target: &Target) -> Option<&Item> {
        self.items.iter().find(|i| i.target == *target)
    }

    /// Drops what an apply would write for resources outside of `targets`: to put one resource back and nothing else.
    /// A shared file is written when any of its resources is among them.
    #[must_use]
    pub fn only(mut self, targets: &BTreeSet<Target>) -> Self {
        self.steps.retain(|s| s.targets.iter().any(|t| targets.contains(t)));
        self.items.retain(|i| targets.contains(&i.target));
        self.checks.retain(|c| targets.contains(&c.target));
        self
    }
}

/// Plans the host group: reads the disk, writes nothing.
pub fn plan(root: &Root, inputs: &Inputs<'_>) -> HostPlan {
    let mut planner = Planner::new(root, *inputs);
    let mut hosts_lines: Vec<(&Resource, Option<Fault>)> = Vec::new();
    let mut crontabs: BTreeMap<&str, Vec<(&Resource, Option<Fault>)>> = BTreeMap::new();
    for resource in inputs.resources {
        let refused = (inputs.judge)(resource);
        match &resource.spec {
            Spec::Hosts { .. } => hosts_lines.push((resource, refused)),
            Spec::Cron(job) if job.table == CronTable::User => {
                let fault = refused.or_else(|| cron::fault(&planner, job));
                cron::plan_job_file(&mut planner, resource, job, fault.is_some());
                crontabs.entry(job.user.as_str()).or_default().push((resource, fault));
            }
            Spec::Cron(job) => {
                let fault = refused.or_else(|| cron::fault(&planner, job));
                cron::plan_job_file(&mut planner, resource, job, fault.is_some());
                cron::plan_system(&mut planner, resource, job, fault);
            }
            Spec::File { .. } | Spec::Directory { .. } | Spec::Link { .. } => {
                file::plan(&mut planner, resource, refused)
            }
        }
    }
    let hosts_owned = inputs.owned.places.contains_key(hosts::PATH);
    if !hosts_lines.is_empty() || hosts_owned {
        hosts::plan(&mut planner, &hosts_lines);
    }
    let users: BTreeSet<&str> =
        inputs.owned.places.keys().filter_map(|p| cron::user_of(p)).chain(crontabs.keys().copied()).collect();
    for user in users {
        cron::plan_user(&mut planner, user, crontabs.get(user).map_or(&[], Vec::as_slice));
    }
    planner.plan_leftovers();
    planner.finish()
}

/// Looks at one resource as the node has it, for the controller.
pub fn observe(root: &Root, inputs: &Inputs<'_>, target: &Target) -> Result<Option<ObservedFile>, Fault> {
    let found = plan(root, inputs).items.into_iter().find(|i| i.target == *target);
    let unknown = || Fault::lasting("target.unknown", format!("this node has no resource {target}"));
    let item = found.ok_or_else(unknown)?;
    match (item.observed, item.fault) {
        (None, Some(fault)) if fault.code.starts_with("file.") => Err(fault),
        (observed, _) => Ok(observed),
    }
}

/// Returns the paths whose changes matter: what to watch for drift.
pub fn watched(inputs: &Inputs<'_>) -> BTreeSet<String> {
    let is_own = |path: &str| path.starts_with(crate::job::JOBS_DIRECTORY);
    inputs.owned.places.keys().filter(|p| !is_own(p)).cloned().collect()
}

/// What the kinds plan into.
pub(super) struct Planner<'a> {
    pub(super) root: &'a Root,
    pub(super) inputs: Inputs<'a>,
    pub(super) accounts: Accounts,
    pub(super) zone: Zone,
    items: Vec<Item>,
    steps: Vec<Step>,
    checks: Vec<Check>,
    visited: BTreeSet<String>,
    /// What can't be said of an inner file is said of its resource.
    inner_faults: BTreeMap<Target, Fault>,
    observed: blake3::Hasher,
}

/// A place that is one resource's alone.
pub(super) struct Whole<'a> {
    pub(super) resource: &'a Resource,
    pub(super) path: String,
    pub(super) put: Put,
    pub(super) owner: u32,
    /// Whether it is LAMPAS's own and shown nowhere: a job's file.
    pub(super) is_inner: bool,
    /// Whether a second hard link counts as a change.
    pub(super) is_single: bool,
    pub(super) notes: Vec<String>,
}

/// A block in a file of others.
pub(super) struct Shared<'a> {
    pub(super) path: String,
    pub(super) owner: u32,
    /// uid, gid and mode of the file when it isn't there yet.
    pub(super) fresh: (u32, u32, u32),
    pub(super) crontab_of: Option<String>,
    /// What `lampas-agent why` takes, for the block's marker.
    pub(super) subject: String,
    /// The resources with their lines, or why they can't be.
    pub(super) parts: Vec<(&'a Resource, Result<Vec<String>, Fault>, Vec<String>)>,
}

impl<'a> Planner<'a> {
    fn new(root: &'a Root, inputs: Inputs<'a>) -> Self {
        Self {
            root,
            inputs,
            accounts: root.accounts(),
            zone: TimeZoneName::parse(inputs.facts.time_zone.as_str())
                .and_then(Zone::parse)
                .unwrap_or_else(|_| Zone::utc()),
            items: Vec::new(),
            steps: Vec::new(),
            checks: Vec::new(),
            visited: BTreeSet::new(),
            inner_faults: BTreeMap::new(),
            observed: blake3::Hasher::new(),
        }
    }

    fn finish(mut self) -> HostPlan {
        for item in &mut self.items {
            if let Some(fault) = self.inner_faults.get(&item.target) {
                item.fault.get_or_insert_with(|| fault.clone());
            }
        }
        HostPlan {
            items: self.items,
            observed: ContentHash::from_bytes(*self.observed.finalize().as_bytes()),
            steps: self.steps,
            checks: self.checks,
            ownership: self.inputs.owned.clone(),
        }
    }

    fn note_observed(&mut self, path: &str, print: &ContentHash) {
        self.observed.update(path.as_bytes());
        self.observed.update(&[0]);
        self.observed.update(print.as_bytes());
    }

    pub(super) fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Enters a resource that can't be planned; what it owns stays as it is.
    pub(super) fn refuse(&mut self, resource: &Resource, path: &str, fault: Fault) {
        self.visited.insert(path.to_owned());
        let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), path);
        if let Ok(seen) = self.root.look(path, u32::MAX) {
            item.observed = self.describe(&seen);
            self.note_observed(path, &fingerprint(self.root, &seen, false));
        }
        item.fault = Some(fault);
        self.items.push(item);
    }

    /// Leaves a place alone: it belongs to a resource that can't be planned.
    pub(super) fn leave(&mut self, path: &str) {
        self.visited.insert(path.to_owned());
    }

    /// Plans a place that is one resource's alone.
    pub(super) fn whole(&mut self, want: Whole<'_>) {
        let Whole { resource, path, mut put, owner, is_inner, is_single, notes } = want;
        let claim = claim_of(resource, Vec::new());
        let mut item = Item::new(&resource.target, &claim, &path);
        item.notes = notes;
        self.visited.insert(path.clone());
        let seen = match self.root.look(&path, owner) {
            Ok(seen) => seen,
            Err(error) => {
                item.fault = Some(error.to_fault());
                return self.enter(item, is_inner);
            }
        };
        let print = fingerprint(self.root, &seen, is_single);
        self.note_observed(&path, &print);
        let leaves = put.fingerprint(self.root);
        item.observed = self.describe(&seen);
        let owned = self.inputs.owned.places.get(&path);
        let is_met = print == leaves;
        item.is_drifted = !is_met && owned.is_some_and(|o| !o.known.contains(&print));
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
        let by_hand = (item.is_drifted && !is_inner).then(|| bytes_of(&seen)).flatten();
        if let Some(bytes) = &by_hand {
            let kept = super::kept::by_hand_path(&path, bytes);
            item.notes.push(format!("it was changed by hand; a copy of that is kept as {kept} on the node"));
        }
        let wanted = Owned {
            claims: BTreeMap::from([(resource.target.clone(), claim)]),
            known: BTreeSet::from([leaves]),
            before,
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
                leaves,
            });
        }
        self.enter(item, is_inner);
    }

    fn enter(&mut self, item: Item, is_inner: bool) {
        if !is_inner {
            self.items.push(item);
            return;
        }
        if let Some(fault) = item.fault {
            self.inner_faults.insert(item.target, fault);
        }
    }

    /// Plans LAMPAS's block in a file of others.
    pub(super) fn shared(&mut self, want: Shared<'_>) {
        let Shared { path, owner, fresh, crontab_of, subject, parts: wanted } = want;
        self.visited.insert(path.clone());
        let none = BTreeMap::new();
        let owned = self.inputs.owned.places.get(&path);
        let claims = owned.map_or(&none, |o| &o.claims);
        let looked = self.root.look(&path, owner);
        let (seen, bytes) = match looked {
            Ok(Seen::Absent) => (Seen::Absent, Vec::new()),
            Ok(Seen::File { bytes, meta, links }) => (Seen::File { bytes: bytes.clone(), meta, links }, bytes),
            Ok(_) | Err(_) => {
                let fault = match looked {
                    Err(error) => error.to_fault(),
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
        let present = lines_of(standing_block.unwrap_or_default());
        let desired: BTreeSet<&String> = wanted.iter().filter_map(|(_, l, _)| l.as_ref().ok()).flatten().collect();
        let is_changed = owned.is_some_and(|o| !o.known.contains(&print));
        let missing = |claim: &Claim| claim.lines.iter().any(|l| !present.contains(l));
        let mut drifted: BTreeSet<Target> = BTreeSet::new();
        if is_changed {
            drifted = claims.iter().filter(|(_, c)| missing(c)).map(|(t, _)| t.clone()).collect();
            let is_known = |l: &String| ours.contains(l.as_str()) || desired.contains(l);
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
            present.iter().filter(|l| !ours.contains(l.as_str()) && !desired.contains(l)).cloned().collect();
        let observed = self.describe_block(&seen, standing_block);

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
            let standing: Vec<String> = current.iter().filter(|l| present.contains(l)).cloned().collect();
            match result {
                Err(fault) => {
                    item.fault = Some(fault);
                    lines.extend(standing);
                    after.extend(old.map(|c| (target.clone(), c.clone())));
                }
                Ok(new) => {
                    let is_there = !new.is_empty() && new.iter().all(|l| present.contains(l))
                        || new.is_empty() && standing.is_empty();
                    item.is_drifted = drifted.contains(target) && (!is_there || !by_hand_lines.is_empty());
                    if item.is_drifted {
                        let mut found = standing.clone();
                        found.extend(by_hand_lines.iter().cloned());
                        item.drift_diff = super::diff::lines(&path, &new, &found);
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
                            item.diff = super::diff::lines(&path, &found, &new);
                        }
                        after.insert(target.clone(), claim_of(resource, new.clone()));
                        lines.extend(new);
                    }
                }
            }
            items.push(item);
        }
        let named: BTreeSet<Target> = items.iter().map(|i: &Item| i.target.clone()).collect();
        for (target, claim) in claims.iter().filter(|(t, _)| !named.contains(*t)) {
            let mut item = Item::new(target, claim, &path);
            item.verb = Some(Verb::Remove);
            item.observed = observed.clone();
            item.diff = super::diff::lines(&path, &claim.lines, &[]);
            items.push(item);
        }
        let loses = is_changed && !keeps_foreign && !by_hand_lines.is_empty();
        if keeps_foreign {
            lines.extend(by_hand_lines);
        }
        let (put, leaves, before) = if lines.is_empty() {
            let rest = block::foreign(&bytes);
            let is_ours_alone = rest.is_empty() && owned.is_some_and(|o| o.before == Before::Absent);
            let put = match (&seen, standing_block) {
                (Seen::Absent, _) | (_, None) => Put::Keep,
                _ if is_ours_alone => Put::Gone,
                _ => self.shared_file(rest, &seen, fresh),
            };
            (put, ContentHash::of(&[]), None)
        } else {
            let content: String = lines.iter().map(|l| format!("{l}\n")).collect();
            let leaves = ContentHash::of(content.as_bytes());
            let put = if print == leaves && seen != Seen::Absent {
                Put::Keep
            } else {
                self.shared_file(block::replace(&bytes, &subject, content.as_bytes()), &seen, fresh)
            };
            let fresh_before = if seen == Seen::Absent { Before::Absent } else { Before::Shared };
            (put, leaves, Some(owned.map_or(fresh_before, |o| o.before.clone())))
        };
        let by_hand = loses.then(|| standing_block.unwrap_or_default().to_vec());
        if let Some(bytes) = &by_hand {
            let kept = super::kept::by_hand_path(&path, bytes);
            for item in items.iter_mut().filter(|i| i.is_drifted || i.verb == Some(Verb::Remove)).take(1) {
                item.notes.push(format!("the block was changed by hand; a copy of it is kept as {kept} on the node"));
            }
        }
        let mut known = BTreeSet::from([leaves]);
        if keeps_foreign {
            // Held: what stands there stays foreign, so that it is still seen as drift.
            known = owned.map(|o| o.known.clone()).unwrap_or_default();
        }
        let after = before.map(|before| Owned { claims: after, known, before });
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
                leaves,
            });
        }
        self.items.extend(items);
    }

    fn shared_file(&self, bytes: Vec<u8>, seen: &Seen, fresh: (u32, u32, u32)) -> Put {
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

    /// Plans the end of what is owned and no longer wanted: what stood before comes back.
    fn plan_leftovers(&mut self) {
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
            let seen = self.root.look(path, owner).or_else(|e| match self.owner_of(path) {
                Some(uid) => self.root.look(path, uid),
                None => Err(e),
            });
            let seen = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    item.fault = Some(error.to_fault());
                    item.verb = None;
                    self.enter(item, is_inner);
                    continue;
                }
            };
            let print = fingerprint(self.root, &seen, false);
            self.note_observed(path, &print);
            item.observed = self.describe(&seen);
            item.is_drifted = !owned.known.contains(&print) && seen != Seen::Absent;
            let put = match (&owned.before, &seen) {
                (Before::Absent | Before::Shared, Seen::Absent) => Put::Keep,
                (Before::Absent | Before::Shared, Seen::Directory { .. }) => Put::GoneDirectory,
                (Before::Absent | Before::Shared, _) => Put::Gone,
                (Before::Directory { meta }, _) => Put::Directory { uid: meta.uid, gid: meta.gid, mode: meta.mode },
                (Before::Link { to }, _) => Put::Link { to: to.clone() },
                (Before::File { hash, meta }, _) => match super::kept::original(self.root, hash) {
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
            item.diff = put.diff_from(path, &seen);
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
            let by_hand = (item.is_drifted && !is_inner).then(|| bytes_of(&seen)).flatten();
            if let Some(bytes) = &by_hand {
                let kept = super::kept::by_hand_path(path, bytes);
                item.notes.push(format!("it was changed by hand; a copy of that is kept as {kept} on the node"));
            }
            let leaves = put.fingerprint(self.root);
            let owner = if owner == u32::MAX { self.owner_of(path).unwrap_or(0) } else { owner };
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
                leaves,
            });
            self.enter(item, is_inner);
        }
    }

    /// Guesses whose directories a path is in, for files in a user's home: the longest home that holds it.
    fn owner_of(&self, path: &str) -> Option<u32> {
        self.accounts.home_owner(path)
    }

    fn describe(&self, seen: &Seen) -> Option<ObservedFile> {
        let (content, uid, gid, mode, ns, kind) = match seen {
            Seen::Absent => return None,
            Seen::File { bytes, meta, .. } => {
                let content = (bytes.len() <= ObservedFile::MAX_BYTES).then(|| bytes.clone());
                (content, meta.uid, meta.gid, meta.mode, meta.modified_ns, true)
            }
            Seen::Directory { meta } => (None, meta.uid, meta.gid, meta.mode, meta.modified_ns, true),
            Seen::Link { to, uid, modified_ns } => (Some(to.clone().into_bytes()), *uid, 0, 0o777, *modified_ns, false),
        };
        let is_writable_by_others = (self.root.is_privileged() && uid != 0)
            || (kind
                && (mode & 0o002 != 0 || (mode & 0o020 != 0 && !self.accounts.is_group_harmless(gid, 0) && gid != 0)));
        Some(ObservedFile {
            content,
            hash: seen.content_hash(),
            owner: self.accounts.user_name(uid),
            group: self.accounts.group_name(gid),
            mode: FileMode::new(mode).expect("meta holds the twelve permission bits alone"),
            modified_at: UnixMs(ns / 1_000_000),
            is_writable_by_others,
        })
    }

    fn describe_block(&self, seen: &Seen, standing: Option<&[u8]>) -> Option<ObservedFile> {
        let text = standing?;
        let mut file = self.describe(seen)?;
        file.hash = ContentHash::of(text);
        file.content = (text.len() <= ObservedFile::MAX_BYTES).then(|| text.to_vec());
        Some(file)
    }
}

impl Item {
    fn new(target: &Target, claim: &Claim, path: &str) -> Self {
        Self {
            target: target.clone(),
            object: claim.object,
            kind: claim.kind,
            name: claim.name.clone(),
            path: path.to_owned(),
            verb: None,
            is_drifted: false,
            is_held: false,
            diff: String::new(),
            drift_diff: String::new(),
            observed: None,
            notes: Vec::new(),
            fault: None,
        }
    }
}

impl Put {
    /// Returns the fingerprint of a place after this was put there.
    pub(super) fn fingerprint(&self, root: &Root) -> ContentHash {
        let seen = match self {
            Self::File { bytes, uid, gid, mode, .. } => {
                return print_of(root, "file", &ContentHash::of(bytes), *uid, *gid, *mode);
            }
            Self::Directory { uid, gid, mode } => {
                return print_of(root, "directory", &ContentHash::of(&[]), *uid, *gid, *mode);
            }
            Self::Link { to } => Seen::Link { to: to.clone(), uid: 0, modified_ns: 0 },
            Self::Keep | Self::Gone | Self::GoneDirectory => Seen::Absent,
        };
        fingerprint(root, &seen, false)
    }

    fn text(&self) -> (Vec<u8>, u32) {
        match self {
            Self::File { bytes, mode, .. } => (bytes.clone(), *mode),
            Self::Link { to } => (format!("-> {to}\n").into_bytes(), 0o777),
            Self::Directory { uid, gid, mode } => (format!("directory {mode:04o} {uid}:{gid}\n").into_bytes(), 0o777),
            Self::Keep | Self::Gone | Self::GoneDirectory => (Vec::new(), 0o777),
        }
    }

    fn diff_from(&self, path: &str, seen: &Seen) -> String {
        let ((new, new_mode), (old, old_mode)) = (self.text(), text_of(seen));
        show(path, (&old, old_mode), (&new, new_mode), self.meta_line(), meta_line(seen))
    }

    fn diff_to(&self, path: &str, seen: &Seen) -> String {
        let ((wanted, wanted_mode), (found, found_mode)) = (self.text(), text_of(seen));
        show(path, (&wanted, wanted_mode), (&found, found_mode), meta_line(seen), self.meta_line())
    }

    fn meta_line(&self) -> Option<String> {
        match self {
            Self::File { uid, gid, mode, .. } => Some(format!("mode {mode:04o}, owner {uid}:{gid}")),
            _ => None,
        }
    }

    /// Says why this can't take the place of what stands there.
    fn clash(&self, path: &str, seen: &Seen) -> Option<Fault> {
        let (found, wanted) = match (self, seen) {
            (Self::File { .. }, Seen::Directory { .. }) => ("a directory", "a file"),
            (Self::Link { .. }, Seen::Directory { .. }) => ("a directory", "a link"),
            (Self::Directory { .. }, Seen::File { .. }) => ("a file", "a directory"),
            (Self::Directory { .. }, Seen::Link { .. }) => ("a symbolic link", "a directory"),
            _ => return None,
        };
        Some(Fault::lasting(
            "file.wrong_kind",
            format!("{path}: {found} stands where {wanted} shall be; move it away first"),
        ))
    }
}

fn text_of(seen: &Seen) -> (Vec<u8>, u32) {
    match seen {
        Seen::Absent => (Vec::new(), 0o777),
        Seen::File { bytes, meta, .. } => (bytes.clone(), meta.mode),
        Seen::Link { to, .. } => (format!("-> {to}\n").into_bytes(), 0o777),
        Seen::Directory { meta } => {
            (format!("directory {:04o} {}:{}\n", meta.mode, meta.uid, meta.gid).into_bytes(), 0o777)
        }
    }
}

fn meta_line(seen: &Seen) -> Option<String> {
    match seen {
        Seen::File { meta, .. } => Some(format!("mode {:04o}, owner {}:{}", meta.mode, meta.uid, meta.gid)),
        _ => None,
    }
}

/// Shows a diff; only sizes and hashes where either side isn't readable by everybody on the node.
fn show(
    path: &str,
    old: (&[u8], u32),
    new: (&[u8], u32),
    new_meta: Option<String>,
    old_meta: Option<String>,
) -> String {
    let is_public = old.1 & 0o004 != 0 && new.1 & 0o004 != 0;
    let mut diff =
        if is_public { super::diff::unified(path, old.0, new.0) } else { super::diff::summary(path, old.0, new.0) };
    if let (Some(old), Some(new)) = (old_meta, new_meta)
        && old != new
    {
        diff = format!("{diff}- {old}\n+ {new}\n");
    }
    diff
}

fn bytes_of(seen: &Seen) -> Option<Vec<u8>> {
    match seen {
        Seen::File { bytes, .. } => Some(bytes.clone()),
        Seen::Link { to, .. } => Some(to.clone().into_bytes()),
        Seen::Absent | Seen::Directory { .. } => None,
    }
}

pub(super) fn before_of(seen: &Seen) -> Before {
    match seen {
        Seen::Absent => Before::Absent,
        Seen::File { bytes, meta, .. } => Before::File { hash: ContentHash::of(bytes), meta: meta.clone() },
        Seen::Directory { meta } => Before::Directory { meta: meta.clone() },
        Seen::Link { to, .. } => Before::Link { to: to.clone() },
    }
}

pub(super) fn claim_of(resource: &Resource, lines: Vec<String>) -> Claim {
    Claim { object: resource.object, kind: resource.kind, name: resource.name.clone(), lines }
}

/// Returns what two looks at a place have in common when nobody changed it. Owners count only when the agent could have
/// set them.
pub(super) fn fingerprint(root: &Root, seen: &Seen, is_single: bool) -> ContentHash {
    match seen {
        Seen::Absent => ContentHash::of(b"absent"),
        Seen::File { bytes, meta, links } => {
            let kind = if is_single && *links > 1 { "linked file" } else { "file" };
            print_of(root, kind, &ContentHash::of(bytes), meta.uid, meta.gid, meta.mode)
        }
        Seen::Directory { meta } => print_of(root, "directory", &ContentHash::of(&[]), meta.uid, meta.gid, meta.mode),
        Seen::Link { to, .. } => ContentHash::of(format!("link {to}").as_bytes()),
    }
}

fn print_of(root: &Root, kind: &str, hash: &ContentHash, uid: u32, gid: u32, mode: u32) -> ContentHash {
    let owner = if root.is_privileged() { format!("{uid}:{gid}") } else { "-".to_owned() };
    ContentHash::of(format!("{kind} {hash} {mode:o} {owner}").as_bytes())
}

/// Returns the fingerprint of LAMPAS's block in a file.
pub(super) fn block_print(seen: &Seen) -> Option<ContentHash> {
    match seen {
        Seen::Absent => Some(ContentHash::of(&[])),
        Seen::File { bytes, .. } => Some(ContentHash::of(block::extract(bytes).unwrap_or_default())),
        Seen::Directory { .. } | Seen::Link { .. } => None,
    }
}

fn lines_of(block: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(block).lines().map(str::to_owned).collect()
}
