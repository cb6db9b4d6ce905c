//! Drafts against the objects that stand: what each would do. Pure, but for the ids that come in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::{Draft, DraftAct, DraftVerb, DraftView};
use lampas_shared::{
    desired::Provenance,
    fleet::Scope,
    id::ObjectId,
    object::{Body, ObjectKey, ObjectName, ObjectSpec},
    time::UnixMs,
};

use super::ChangeError;
use crate::{
    compile::ObjectInput,
    host::{self, All, RevisionRow, Stored},
};

/// A draft as it is stored, with the object and revision that it was made from.
#[derive(Debug, Clone)]
pub(crate) struct StoredDraft {
    /// What shall be; for a deletion only the identity counts.
    pub(crate) draft: Draft,
    /// The object that stood when the draft was made, the deleted one whose history goes on, or the one to be made.
    pub(crate) object: Option<ObjectId>,
    /// Its revision then; 0 when none stood.
    pub(crate) base: u64,
}

/// What a draft does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Makes an object.
    Create,
    /// Changes it.
    Update,
    /// Gives it another name, and perhaps changes it.
    Rename,
    /// Deletes it.
    Delete,
    /// Nothing: it is so already.
    None,
    /// Makes a revision that says the same, since nodes were left out of the one that stands: it is for them too.
    Again,
}

impl Verb {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Again => "again",
        }
    }

    /// Returns it as the API shows it.
    pub(crate) fn shown(self) -> DraftVerb {
        match self {
            Self::Create => DraftVerb::Create,
            Self::Update => DraftVerb::Update,
            Self::Rename => DraftVerb::Rename,
            Self::Delete => DraftVerb::Delete,
            Self::None => DraftVerb::None,
            Self::Again => DraftVerb::Again,
        }
    }
}

/// A draft beside what stands.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The object, or the id that it will have.
    pub object: Option<ObjectId>,
    /// What it does.
    pub verb: Verb,
    /// What stands.
    pub before: Option<Stored>,
    /// What shall be; absent for a deletion.
    pub after: Option<Arc<ObjectSpec>>,
    /// The identity, as in the draft.
    pub key: ObjectKey,
    /// The last revision there is, of a deleted object too.
    pub last_revision: u64,
}

impl Edit {
    /// Returns it as the API shows it.
    pub fn view(&self) -> DraftView {
        DraftView {
            key: self.key.clone(),
            object: self.before.as_ref().map(|b| b.id),
            verb: self.verb.shown(),
            base: self.before.as_ref().map(|b| b.revision),
            diff: host::diff(self.before.as_ref().map(|b| &*b.spec), self.after.as_deref()),
        }
    }

    /// Returns the revision that it writes; nothing when it does nothing.
    pub(crate) fn row(&self, object: ObjectId, now: UnixMs) -> Option<RevisionRow> {
        let spec = match self.verb {
            Verb::None => return None,
            Verb::Delete => self.before.as_ref()?.spec.clone(),
            _ => self.after.clone()?,
        };
        let created_at = self.before.as_ref().map_or(now, |b| b.created_at);
        let revision = self.last_revision + 1;
        Some(RevisionRow { object, revision, spec, is_deletion: self.verb == Verb::Delete, created_at })
    }
}

/// Returns the identity that a draft is of.
pub(crate) fn key_of(draft: &Draft) -> ObjectKey {
    match &draft.act {
        DraftAct::Put(spec) => spec.key(),
        DraftAct::Delete(key) => key.clone(),
    }
}

/// Checks each draft by itself, that no object stands twice, and that there are not too many beside the edits of nodes.
pub(crate) fn check(drafts: &[Draft], node_edits: usize, all: &All) -> Result<(), ChangeError> {
    let count = drafts.len() + node_edits;
    if !(1..=10_000).contains(&count) {
        return Err(ChangeError::Count(count));
    }
    let known: BTreeSet<_> = all.names.values().collect();
    let mut seen = BTreeSet::new();
    for draft in drafts {
        let key = key_of(draft);
        if !seen.insert(key.clone()) {
            return Err(ChangeError::Twice(key));
        }
        let DraftAct::Put(spec) = &draft.act else { continue };
        let field = |source| ChangeError::Field { key: Box::new(key.clone()), source };
        spec.check().map_err(field)?;
        if spec.scope.to_string().len() > 400 {
            let shown = spec.scope.to_string();
            return Err(field(lampas_shared::TextError::new("scope", &shown, "is longer than 400 bytes")));
        }
        let generated = match &spec.body {
            Body::Hosts(entry) => entry.nodes.as_ref(),
            _ => None,
        };
        for scope in [Some(&spec.scope), generated].into_iter().flatten() {
            if let Scope::Node(node) = scope
                && !known.contains(node)
            {
                return Err(ChangeError::NoSuchNode { key, node: node.clone() });
            }
        }
    }
    Ok(())
}

/// Binds drafts to what stands.
///
/// # Errors
/// When an object has another revision than the one that its draft was made from.
pub(crate) fn bind(drafts: &[StoredDraft], all: &All) -> Result<Vec<Edit>, ChangeError> {
    let by_key: BTreeMap<ObjectKey, &Stored> = all.objects.values().map(|o| (o.spec.key(), o)).collect();
    drafts.iter().map(|draft| bind_one(draft, all, &by_key)).collect()
}

fn bind_one(stored: &StoredDraft, all: &All, by_key: &BTreeMap<ObjectKey, &Stored>) -> Result<Edit, ChangeError> {
    let draft = &stored.draft;
    let key = key_of(draft);
    let standing = standing(draft, &key, by_key);
    let found = standing.map_or(0, |o| o.revision);
    // A deleted object's base is 0: nothing stood when the draft was made.
    let is_same = found == stored.base && (standing.is_none() || standing.map(|o| o.id) == stored.object);
    if !is_same {
        let author = standing.map(|o| o.author.clone()).unwrap_or_else(|| "somebody".to_owned());
        return Err(ChangeError::Conflict { key, base: stored.base, found, author });
    }
    let object = standing.map(|o| o.id).or(stored.object);
    let last_revision = standing.map_or(0, |o| o.revision);
    let before = standing.cloned();
    let edit = |verb, after| Edit { object, verb, before: before.clone(), after, key: key.clone(), last_revision };
    Ok(match (&draft.act, &before) {
        (DraftAct::Delete(_), None) => edit(Verb::None, None),
        (DraftAct::Delete(_), Some(_)) => edit(Verb::Delete, None),
        (DraftAct::Put(spec), None) => edit(Verb::Create, Some(Arc::new(spec.clone()))),
        (DraftAct::Put(spec), Some(before)) => {
            let verb = match () {
                () if *before.spec == *spec => Verb::None,
                () if before.spec.name != spec.name => Verb::Rename,
                () => Verb::Update,
            };
            let after = Some(Arc::new(spec.clone()));
            debug_assert!(all.objects.contains_key(&before.id), "it was found there");
            edit(verb, after)
        }
    })
}

/// Returns the object that a draft is of: under its name, or under its former one when that is given.
pub(crate) fn standing<'a>(
    draft: &Draft,
    key: &ObjectKey,
    by_key: &BTreeMap<ObjectKey, &'a Stored>,
) -> Option<&'a Stored> {
    by_key.get(key).copied().or_else(|| {
        let former = draft.previous_name.clone()?;
        by_key.get(&ObjectKey { name: former, ..key.clone() }).copied()
    })
}

/// Refuses a draft that would write over another object: one that is made from nothing (base 0) where its key is taken,
/// and one that renames an object to the name of another that stands. Without a base it means whatever stands.
pub(crate) fn must_be_free(
    draft: &Draft,
    key: &ObjectKey,
    by_key: &BTreeMap<ObjectKey, &Stored>,
) -> Result<(), ChangeError> {
    let DraftAct::Put(_) = &draft.act else { return Ok(()) };
    let (Some(base), Some(taken)) = (draft.base, by_key.get(key)) else { return Ok(()) };
    let is_other = |former: &ObjectName| {
        *former != key.name && by_key.contains_key(&ObjectKey { name: former.clone(), ..key.clone() })
    };
    if base == 0 || draft.previous_name.as_ref().is_some_and(is_other) {
        return Err(ChangeError::Exists { key: key.clone(), author: taken.author.clone() });
    }
    Ok(())
}

/// Returns the objects as they would be after the edits, for the compiler.
pub(crate) fn overlay(
    all: &All,
    edits: &[(ObjectId, &Edit)],
    provenance: &dyn Fn(u64) -> Provenance,
) -> Vec<ObjectInput> {
    let mut inputs: BTreeMap<ObjectId, ObjectInput> = all.objects.values().map(|o| (o.id, o.input())).collect();
    for (id, edit) in edits {
        match (edit.verb, &edit.after) {
            (Verb::None, _) => {}
            (_, Some(spec)) => {
                let provenance = provenance(edit.last_revision + 1);
                inputs.insert(*id, ObjectInput { id: *id, spec: spec.clone(), provenance });
            }
            (_, None) => {
                inputs.remove(id);
            }
        }
    }
    inputs.into_values().collect()
}
