//! A file that changes between a block of LAMPAS's in a file of others and LAMPAS's alone, in one step.
//!
//! What stood before LAMPAS follows: the lines of others become what comes back when the file's object goes, and come back
//! into the file when it is shared again. In between the file never lacks the managed lines.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::block;
use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    report::Verb,
};

use super::{
    Item, Planner, Put, Step, block_print, fingerprint,
    planner::claim_of,
    shared::{Meaning, Others, shared_file},
};
use crate::{
    host::{Before, Claim, Owned, kept, state},
    system::{Modified, Seen},
};

/// A file that takes its other form.
pub(crate) struct Reform<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) path: String,
    pub(crate) owner: u32,
    /// uid, gid and mode where nothing says otherwise.
    pub(crate) fresh: (u32, u32, u32),
    pub(crate) lines: Vec<String>,
    /// Whether it is shared from then on.
    pub(crate) is_shared: bool,
    pub(crate) same: Meaning,
}

impl Planner<'_> {
    /// Plans the other form of a file that LAMPAS owns.
    ///
    /// # Errors
    /// When somebody changed what LAMPAS left there, or what stood before is lost; nothing is planned then.
    pub(crate) fn reform(&mut self, want: Reform<'_>) -> Result<(), Fault> {
        let Reform { resource, path, owner, fresh, lines, is_shared, same } = want;
        let by_hand = || {
            let text = format!(
                "{path} was changed by hand: revert that, or take it into the object, before exclusive_keys changes"
            );
            Fault::lasting("keys.form", text)
        };
        let owned = self.inputs.owned.places.get(&path).ok_or_else(by_hand)?;
        let seen = state::look_shared(self.root, &path, owner)?;
        let print = if is_shared { Some(fingerprint(self.root, &seen, false)) } else { block_print(&seen) };
        if self.inputs.held.contains(&resource.target) || print.is_none_or(|p| !owned.known.contains(&p)) {
            return Err(by_hand());
        }
        let content: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
        let form = if is_shared {
            let original = match &owned.before {
                Before::File { hash, .. } => Some(kept::original(self.root, hash).ok_or_else(|| {
                    Fault::lasting("file.original_lost", format!("the copy of what stood in {path} is gone or damaged"))
                })?),
                _ => None,
            };
            shared(resource, &path, owned, original, (&lines, &content), fresh, same)
        } else {
            alone(self, resource, owned, &seen, content.clone().into_bytes(), fresh)
        };
        let Form { put, after, keeps } = form;
        self.visited.insert(path.clone());
        self.note_observed(&path, &fingerprint(self.root, &seen, false));
        let mut item = Item::new(&resource.target, &claim_of(resource, Vec::new()), &path);
        item.verb = Some(Verb::Update);
        item.observed = self.describe(&seen);
        item.diff = put.diff_from(&path, &seen);
        item.notes.push(if is_shared {
            "what stood in the file before these were the only keys comes back beside them".to_owned()
        } else {
            "the other keys go; they come back when this object goes, or when its keys are not the only ones".to_owned()
        });
        let leaves = put.fingerprint(self.root);
        self.steps.push(Step {
            path,
            targets: vec![resource.target.clone()],
            put,
            seen,
            owner,
            owned: after,
            is_removal: false,
            is_shared: false,
            crontab_of: None,
            by_hand: None,
            keeps,
            leaves,
        });
        self.items.push(item);
        Ok(())
    }
}

struct Form {
    put: Put,
    after: Option<Owned>,
    keeps: Option<Vec<u8>>,
}

/// The file alone: what others have in it is kept.
fn alone(
    planner: &Planner<'_>,
    resource: &Resource,
    owned: &Owned,
    seen: &Seen,
    bytes: Vec<u8>,
    (uid, gid, mode): (u32, u32, u32),
) -> Form {
    let put = Put::File { bytes, uid, gid, mode, xattrs: BTreeMap::new(), modified: Modified::Now };
    let (before, keeps) = match seen {
        Seen::File { bytes, meta, .. } => {
            let mut others = Others::new(bytes, None);
            owned.claims.values().for_each(|claim| others.give_back(&claim.taken));
            let rest = block::foreign(&others.into_bytes());
            if owned.before == Before::Absent && rest.is_empty() {
                (Before::Absent, None)
            } else {
                (Before::File { hash: ContentHash::of(&rest), meta: meta.clone() }, Some(rest))
            }
        }
        _ => (Before::Absent, None),
    };
    let claims = BTreeMap::from([(resource.target.clone(), claim_of(resource, Vec::new()))]);
    let known = BTreeSet::from([put.fingerprint(planner.root)]);
    Form { put, after: Some(Owned { claims, known, before, holds_secrets: false, values: BTreeSet::new() }), keeps }
}

/// A block beside what stood before.
fn shared(
    resource: &Resource,
    path: &str,
    owned: &Owned,
    original: Option<Vec<u8>>,
    (lines, content): (&[String], &str),
    fresh: (u32, u32, u32),
    same: Meaning,
) -> Form {
    let stood = match (&owned.before, &original) {
        (Before::File { meta, .. }, Some(bytes)) => Seen::File { bytes: bytes.clone(), meta: meta.clone(), links: 1 },
        _ => Seen::Absent,
    };
    if lines.is_empty() {
        let put = original.map_or(Put::Gone, |bytes| shared_file(bytes, &stood, fresh));
        return Form { put, after: None, keeps: None };
    }
    let mut others = Others::new(original.as_deref().unwrap_or_default(), Some(same));
    let taken = others.take(lines);
    let bytes = block::replace(&others.into_bytes(), path, content.as_bytes());
    let claim = Claim { taken, ..claim_of(resource, lines.to_vec()) };
    let before = if stood == Seen::Absent { Before::Absent } else { Before::Shared };
    let after = Owned {
        claims: BTreeMap::from([(resource.target.clone(), claim)]),
        known: BTreeSet::from([ContentHash::of(content.as_bytes())]),
        before,
        holds_secrets: false,
        values: BTreeSet::new(),
    };
    Form { put: shared_file(bytes, &stood, fresh), after: Some(after), keeps: None }
}
