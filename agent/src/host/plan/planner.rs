//! What the kinds plan into: looks at places and gathers items, steps and checks.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::Zone;
use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    host::{FileMode, TimeZoneName},
    id::SecretValueId,
    object::Target,
    report::ObservedFile,
    time::UnixMs,
};

use super::{Check, HostPlan, Item, Put, Step, fingerprint};
use crate::{
    host::{Claim, Inputs, Looks, account, looks::Look, secrets::masked_diff, sudoers},
    system::{Accounts, Root, Seen, Stamp, root::Place},
};

/// What the kinds plan into.
pub(crate) struct Planner<'a> {
    pub(crate) root: &'a Root,
    pub(crate) inputs: Inputs<'a>,
    pub(crate) accounts: Accounts,
    pub(crate) zone: Zone,
    pub(in crate::host) items: Vec<Item>,
    pub(in crate::host) steps: Vec<Step>,
    pub(super) checks: Vec<Check>,
    pub(in crate::host) sudoers: Option<sudoers::Set>,
    pub(in crate::host) visited: BTreeSet<String>,
    /// What was looked at already, of places that are looked at together.
    pub(in crate::host) given: BTreeMap<String, Seen>,
    /// What can't be said of an inner file is said of its resource.
    pub(super) inner_faults: BTreeMap<Target, Fault>,
    /// What would go and must not.
    pub(super) stays: BTreeSet<Target>,
    pub(super) observed: blake3::Hasher,
    pub(super) look: Option<Look<'a>>,
    /// Whether items say what stands there also where nothing is to be done.
    pub(super) describes_all: bool,
    /// The directory that was reached last, for whom: most places stand side by side.
    near: Option<(String, u32, Place)>,
}

impl<'a> Planner<'a> {
    pub(in crate::host) fn new(root: &'a Root, inputs: Inputs<'a>) -> Self {
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
            sudoers: None,
            visited: BTreeSet::new(),
            given: BTreeMap::new(),
            inner_faults: BTreeMap::new(),
            stays: BTreeSet::new(),
            observed: blake3::Hasher::new(),
            look: inputs.looks.map(Looks::begin),
            describes_all: false,
            near: None,
        }
    }

    pub(in crate::host) fn finish(mut self) -> HostPlan {
        self.foresee();
        self.foresee_missing();
        self.tell_reactions();
        self.mask();
        for item in &mut self.items {
            if let Some(fault) = self.inner_faults.get(&item.target) {
                item.fault.get_or_insert_with(|| fault.clone());
            }
        }
        let secret_paths = self.items.iter().map(|i| i.path.clone()).filter(|p| self.is_secret(p)).collect();
        HostPlan {
            items: self.items,
            observed: ContentHash::from_bytes(*self.observed.finalize().as_bytes()),
            steps: self.steps,
            checks: self.checks,
            sudoers: self.sudoers,
            secret_paths,
            ownership: self.inputs.owned.clone(),
        }
    }

    /// Says at each resource what follows its change.
    fn tell_reactions(&mut self) {
        for step in self.steps.iter().filter(|s| s.put != Put::Keep) {
            let place = step.owned.as_ref().or_else(|| self.inputs.owned.places.get(&step.path));
            for (target, claim) in place.iter().flat_map(|p| &p.claims).filter(|(_, c)| !c.on_change.is_empty()) {
                let then: Vec<String> = claim.on_change.iter().map(lampas_shared::host::Reaction::describe).collect();
                let own = self.items.iter_mut().filter(|i| i.target == *target && i.path == step.path);
                own.for_each(|item| item.notes.push(format!("then {}", then.join(", "))));
            }
        }
    }

    /// Returns what the system says of a regular file, reached as safely as if it were read.
    pub(super) fn stamp(&mut self, path: &str, owner: u32) -> Option<Stamp> {
        let (directory, name) = path.rsplit_once('/')?;
        let is_near = self.near.as_ref().is_some_and(|(d, o, _)| d == directory && *o == owner);
        if !is_near {
            let place = self.root.place(path, owner).ok()?;
            self.near = Some((directory.to_owned(), owner, place));
        }
        self.near.as_ref().and_then(|(_, _, place)| place.stamp(name))
    }

    /// Returns whether this plan puts secrets into a place.
    pub(in crate::host) fn fills(&self, path: &str) -> bool {
        account::is_password(path) || self.inputs.secrets.is_some_and(|s| s.holds(path))
    }

    /// Returns the values of secrets that this plan puts into a place.
    pub(in crate::host) fn values_in(&self, path: &str) -> BTreeSet<SecretValueId> {
        self.inputs.secrets.map(|s| s.values(path)).unwrap_or_default()
    }

    /// Returns whether secrets stand in a place, or will.
    fn is_secret(&self, path: &str) -> bool {
        self.fills(path) || self.inputs.owned.places.get(path).is_some_and(|o| o.holds_secrets)
    }

    /// Takes out of the items what would show something of a content that holds secrets.
    fn mask(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        for item in items.iter_mut().filter(|i| self.is_secret(&i.path)) {
            item.diff = masked_diff(&item.path, &item.diff);
            item.drift_diff = masked_diff(&item.path, &item.drift_diff);
            for note in item.notes.iter_mut().filter(|n| n.contains("a copy of that is kept")) {
                // The name of the copy has digits of its hash.
                *note = "it was changed by hand; a copy of that is kept, sealed, below \
                         /var/lib/lampas/agent/kept/by-hand: lampas-agent kept shows it"
                    .to_owned();
            }
            if let Some(observed) = &mut item.observed {
                // What was edited beside the secrets can be adopted all the same. A file that an earlier state made may hold
                // secrets of which this one knows nothing.
                let standing = observed.content.take().filter(|_| item.is_drifted && item.was_made);
                let secrets = self.inputs.secrets;
                observed.content = standing.and_then(|bytes| secrets?.sketch(&item.path, &bytes));
                observed.hash = self.digest(&observed.hash);
            }
        }
        self.items = items;
    }

    fn digest(&self, hash: &ContentHash) -> ContentHash {
        self.inputs.secrets.map_or_else(|| ContentHash::of(b"secret"), |s| s.digest(hash))
    }

    pub(super) fn note_observed(&mut self, path: &str, print: &ContentHash) {
        let print = &if self.is_secret(path) { self.digest(print) } else { *print };
        self.observed.update(path.as_bytes());
        self.observed.update(&[0]);
        self.observed.update(print.as_bytes());
    }

    /// Enters the check of the resource that was planned last, if it is going to be written.
    pub(crate) fn check(&mut self, check: Option<Check>) {
        let is_written = |c: &Check| self.items.last().is_some_and(|i| i.target == c.target && i.verb.is_some());
        if let Some(check) = check.filter(is_written) {
            self.checks.push(check);
        }
    }

    /// Enters a resource that can't be planned; what it owns stays as it is.
    pub(crate) fn refuse(&mut self, resource: &Resource, path: &str, fault: Fault) {
        self.visited.insert(path.to_owned());
        let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), path);
        if let Ok(seen) = self.root.look(path, u32::MAX) {
            item.observed = self.describe(&seen);
            self.note_observed(path, &fingerprint(self.root, &seen, false));
        }
        item.fault = Some(fault);
        self.items.push(item);
    }

    /// Enters a resource that needs nothing here, and says why.
    pub(crate) fn enter_note(&mut self, resource: &Resource, path: &str, note: &str) {
        let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), path);
        item.notes.push(note.to_owned());
        self.items.push(item);
    }

    /// Leaves what a later build knows alone, with all that may have been written for it.
    pub(super) fn leave_unsupported(&mut self, resource: &Resource, kind: &str) {
        let places = self.inputs.owned.places.iter().filter(|(_, o)| o.claims.contains_key(&resource.target));
        self.visited.extend(places.map(|(path, _)| path.clone()));
        let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), resource.target.as_str());
        let text =
            format!("this agent ({}) does not know objects of kind {kind}; upgrade it", env!("CARGO_PKG_VERSION"));
        item.fault = Some(Fault::lasting("unsupported", text));
        self.items.push(item);
    }

    /// Leaves a place alone: it belongs to a resource that can't be planned.
    pub(crate) fn leave(&mut self, path: &str) {
        self.visited.insert(path.to_owned());
    }

    pub(super) fn enter(&mut self, item: Item, is_inner: bool) {
        if !is_inner {
            self.items.push(item);
            return;
        }
        if let Some(fault) = item.fault {
            self.inner_faults.insert(item.target, fault);
        }
    }

    /// Guesses whose directories a path is in, for files in a user's home: the longest home that holds it.
    pub(super) fn owner_of(&self, path: &str) -> Option<u32> {
        self.accounts.home_owner(path)
    }

    pub(in crate::host) fn describe(&self, seen: &Seen) -> Option<ObservedFile> {
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

    pub(super) fn describe_block(&self, seen: &Seen, standing: Option<&[u8]>) -> Option<ObservedFile> {
        let text = standing?;
        let mut file = self.describe(seen)?;
        file.hash = ContentHash::of(text);
        file.content = (text.len() <= ObservedFile::MAX_BYTES).then(|| text.to_vec());
        Some(file)
    }
}

impl Item {
    pub(super) fn new(target: &Target, claim: &Claim, path: &str) -> Self {
        Self {
            target: target.clone(),
            object: claim.object,
            kind: claim.kind,
            name: claim.name.clone(),
            path: path.to_owned(),
            verb: None,
            is_drifted: false,
            is_held: false,
            was_made: false,
            diff: String::new(),
            drift_diff: String::new(),
            observed: None,
            mark: None,
            notes: Vec::new(),
            fault: None,
        }
    }
}

pub(super) fn claim_of(resource: &Resource, lines: Vec<String>) -> Claim {
    Claim {
        object: resource.object,
        kind: resource.kind,
        name: resource.name.clone(),
        lines,
        taken: Vec::new(),
        on_change: resource.on_change.clone(),
    }
}
