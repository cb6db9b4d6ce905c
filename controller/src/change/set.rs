//! Sets of manifests: the names under which objects are applied, so that what manifests no longer name can go.
//!
//! An object is in one set at most. It comes into one by being applied with it, and leaves it by being deleted, or taken
//! into another by somebody who says so. `prune` adds to a change the deletions of what is in its set and in none of its
//! drafts, and of nothing else: not of what somebody made by hand, what a git source brings, or what is of another set.
//! Whether that still holds is asked again when the change is applied, in its transaction. Of deletions that a rollout
//! didn't bring to all nodes the next `prune` tells, as of all else that the manifests want: it doesn't finish them.
//!
//! A set has no owner beside its objects: its name is free while it holds none, and may otherwise be used by who may change
//! everything that it holds. So nobody's next `prune` fails, or reaches further, for what somebody else put there; and who
//! may not is told no more than that.

pub(crate) mod store;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use lampas_api::{ChangeSet, Draft, DraftAct, ManifestSet, ObjectSet, SetJoin};
use lampas_shared::{
    TextError,
    access::Permission,
    fleet::Scope,
    id::{ChangeId, ObjectId},
    object::ObjectKey,
    source::SourceName,
};

use super::{
    ChangeError, ChangeRow, NewChange, View,
    draft::{self, Edit, Verb},
};
use crate::{
    access::Outside,
    audit::Principal,
    compile::NodeInput,
    db::{DbError, Tx},
    host::{self, All, Stored},
    source,
};

/// The set of a change, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetRow {
    pub(crate) name: SourceName,
    pub(crate) prune: bool,
    pub(crate) takes: bool,
}

/// Returns a change with the deletions that its set's `prune` asks for.
///
/// # Errors
/// When the set may not be used, an object of another set, or of a git source, is among the drafts, or nothing would be left
/// and nobody said so.
pub(super) async fn completed<'a>(
    tx: &mut Tx,
    new: &'a NewChange,
    view: &View,
    by: &Principal,
) -> Result<Cow<'a, NewChange>, ChangeError> {
    let Some(set) = &new.set else { return Ok(Cow::Borrowed(new)) };
    let all = &view.all;
    let members = must_be_usable(tx, &set.name, all, by, &view.members).await?;
    let by_key: BTreeMap<ObjectKey, &Stored> = all.objects.values().map(|o| (o.spec.key(), o)).collect();
    let id = |d: &Draft| draft::standing(d, &draft::key_of(d), &by_key).map(|stored| stored.id);
    let drafted: BTreeMap<ObjectId, &Draft> = new.drafts.iter().filter_map(|d| Some((id(d)?, d))).collect();
    let brought = source::brought(tx).await?;
    if let Some((key, source)) = new.drafts.iter().map(draft::key_of).find_map(|k| Some((k.clone(), brought.get(&k)?)))
    {
        let why = format!("is brought by the git source {source}: leave it out of these manifests, or of that source");
        return Err(rule("/set/name", "object", &key.to_string(), &why));
    }
    let ids: Vec<ObjectId> = drafted.keys().copied().collect();
    let sets = store::of(tx, &ids).await?;
    let touched = drafted.iter().map(|(id, d)| (*id, draft::key_of(d), matches!(d.act, DraftAct::Delete(_))));
    must_be_own(&set.name, set.take, &sets, touched)?;
    if !set.prune {
        return Ok(Cow::Borrowed(new));
    }
    if !set.allow_empty && !new.drafts.iter().any(|d| matches!(d.act, DraftAct::Put(_))) {
        let why = "the manifests hold no object, so that all of the set would go; say so to go on";
        return Err(rule("/set/allow_empty", "prune", set.name.as_str(), why));
    }
    let mut completed = new.clone();
    for id in members.into_iter().filter(|id| !drafted.contains_key(id)) {
        // What a git source has taken over since is its own.
        let Some(stored) = all.objects.get(&id).filter(|o| !brought.contains_key(&o.spec.key())) else { continue };
        let act = DraftAct::Delete(stored.spec.key());
        completed.drafts.push(Draft { act, base: Some(stored.revision), previous_name: None });
    }
    completed.drafts.extend(unfinished(tx, &set.name, new, view, by).await?);
    if completed.drafts.is_empty() {
        return Err(ChangeError::EmptySet(set.name.clone()));
    }
    Ok(Cow::Owned(completed))
}

/// Returns the deletions that an earlier `prune` of the set didn't bring to all nodes, as drafts: they do nothing by
/// themselves, and have the plan tell who was left out. Of what somebody may not change nothing is told.
async fn unfinished(
    tx: &mut Tx,
    name: &SourceName,
    new: &NewChange,
    view: &View,
    by: &Principal,
) -> Result<Vec<Draft>, ChangeError> {
    let taken: BTreeSet<ObjectKey> =
        new.drafts.iter().map(draft::key_of).chain(view.all.objects.values().map(|o| o.spec.key())).collect();
    let mut drafts = Vec::new();
    for id in store::unfinished(tx, name).await? {
        let Some((last, _)) = host::newest(tx, id).await?.filter(|(last, _)| last.is_deletion) else { continue };
        let key = last.spec.key();
        // Another object under the name is not the one that went.
        let is_it = !taken.contains(&key) && host::former(tx, &key).await?.is_some_and(|(former, _)| former == id);
        if is_it && by.must_on_scopes(Permission::Change, [&key.scope], &view.members).is_ok() {
            drafts.push(Draft { act: DraftAct::Delete(key), base: Some(0), previous_name: None });
        }
    }
    Ok(drafts)
}

/// Returns whether a change comes from where nobody looks at each: a pipeline that applies a set of manifests, or a git
/// source. Such a one doesn't bring what is so already to nodes that somebody left out of it.
pub(super) async fn is_unattended(tx: &mut Tx, row: &ChangeRow) -> Result<bool, DbError> {
    // The keys of requests begin with who sent them, by id.
    let is_of_source = row.request_key.as_deref().is_some_and(|key| key.starts_with(source::REQUEST_KEY));
    Ok(is_of_source || store::of_change(tx, row.id).await?.is_some())
}

/// Stores the set of a change that is made.
pub(super) async fn insert(tx: &mut Tx, change: ChangeId, set: Option<&ManifestSet>) -> Result<(), DbError> {
    match set {
        Some(set) => {
            let row = SetRow { name: set.name.clone(), prune: set.prune, takes: set.take };
            store::insert(tx, change, &row).await
        }
        None => Ok(()),
    }
}

/// Takes what a change puts into its set, and what it deletes out of every one.
///
/// # Errors
/// When an object came into another set since the change was made.
pub(super) async fn settle(tx: &mut Tx, change: ChangeId, edits: &[(ObjectId, Edit)]) -> Result<(), ChangeError> {
    let deleted: Vec<ObjectId> = edits.iter().filter(|(_, e)| e.verb == Verb::Delete).map(|(id, _)| *id).collect();
    if let Some(set) = store::of_change(tx, change).await? {
        let ids: Vec<ObjectId> = edits.iter().map(|(id, _)| *id).collect();
        let sets = store::of(tx, &ids).await?;
        let touched = edits.iter().map(|(id, e)| (*id, e.key.clone(), e.verb == Verb::Delete));
        must_be_own(&set.name, set.takes, &sets, touched)?;
        let put: Vec<ObjectId> = edits.iter().filter(|(_, e)| e.after.is_some()).map(|(id, _)| *id).collect();
        let joining: Vec<ObjectId> = put.into_iter().filter(|id| sets.get(id) != Some(&set.name)).collect();
        store::leave(tx, &joining).await?;
        store::join(tx, &set.name, &joining).await?;
    }
    Ok(store::leave(tx, &deleted).await?)
}

/// Returns the set of a change as it is shown; of an open one with what would come into it.
pub(super) async fn view(tx: &mut Tx, change: ChangeId, edits: Option<&[Edit]>) -> Result<Option<ChangeSet>, DbError> {
    let Some(set) = store::of_change(tx, change).await? else { return Ok(None) };
    let standing: Vec<(ObjectId, &Edit)> = edits
        .into_iter()
        .flatten()
        .filter(|e| e.after.is_some())
        .filter_map(|e| Some((e.before.as_ref()?.id, e)))
        .collect();
    let ids: Vec<ObjectId> = standing.iter().map(|(id, _)| *id).collect();
    let sets = store::of(tx, &ids).await?;
    let joins = standing.iter().filter(|(id, _)| sets.get(id) != Some(&set.name));
    let joins = joins.map(|(id, edit)| SetJoin { key: edit.key.clone(), from: sets.get(id).cloned() }).collect();
    Ok(Some(ChangeSet { name: set.name, prune: set.prune, joins }))
}

/// Wants of the set of a change, if it is of one, that it may be used, as things stand where it is applied.
///
/// # Errors
/// When it holds what `by` may not change, or a git source took its name since.
pub(super) async fn must_still_be_usable(
    tx: &mut Tx,
    change: ChangeId,
    all: &All,
    by: &Principal,
    members: &[NodeInput],
) -> Result<(), ChangeError> {
    let Some(set) = store::of_change(tx, change).await? else { return Ok(()) };
    must_be_usable(tx, &set.name, all, by, members).await.map(drop)
}

/// Returns the objects of a set whose name may be used: all of them may be changed, and it is not a git source's.
async fn must_be_usable(
    tx: &mut Tx,
    name: &SourceName,
    all: &All,
    by: &Principal,
    nodes: &[NodeInput],
) -> Result<Vec<ObjectId>, ChangeError> {
    let members = store::members(tx, name).await?;
    let scopes = members.iter().filter_map(|id| Some(&all.objects.get(id)?.spec.scope));
    by.must_on_scopes(Permission::Change, scopes, nodes).map_err(|outside| {
        // Where the rest of it lies is nobody's who may not see it.
        let what = format!("all that the set of manifests {name} holds: use a name of your own");
        Outside { what, ..outside }
    })?;
    if source::is_there(tx, name).await? {
        let why = "is a git source, which brings its objects itself: choose another name";
        return Err(rule("/set/name", "set", name.as_str(), why));
    }
    Ok(members)
}

/// Returns the sets, by name, each with those of its objects that may be seen; without one of them a set isn't there.
pub(crate) async fn list(tx: &mut Tx, all: &All, sees: impl Fn(&Scope) -> bool) -> Result<Vec<ObjectSet>, DbError> {
    let mut sets: BTreeMap<SourceName, ObjectSet> = BTreeMap::new();
    for (id, name) in store::all(tx).await? {
        let Some(stored) = all.objects.get(&id).filter(|o| sees(&o.spec.scope)) else { continue };
        let updated_at = stored.updated_at;
        let set = sets.entry(name).or_insert_with_key(|name| ObjectSet { name: name.clone(), objects: 0, updated_at });
        set.objects += 1;
        set.updated_at = set.updated_at.max(updated_at);
    }
    Ok(sets.into_values().collect())
}

/// Refuses what is of another set: to take it over somebody must say so, and to delete it is that set's own.
fn must_be_own(
    set: &SourceName,
    takes: bool,
    sets: &BTreeMap<ObjectId, SourceName>,
    touched: impl Iterator<Item = (ObjectId, ObjectKey, bool)>,
) -> Result<(), ChangeError> {
    let foreign: BTreeSet<(ObjectKey, &SourceName, bool)> = touched
        .filter_map(|(id, key, is_deletion)| {
            let other = sets.get(&id).filter(|of| *of != set)?;
            (is_deletion || !takes).then_some((key, other, is_deletion))
        })
        .collect();
    let Some((key, other, is_deletion)) = foreign.first() else { return Ok(()) };
    let more = foreign.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" (and {more} more of other sets)") };
    let remedy = if *is_deletion { "delete it there" } else { "to take it over, apply with --take (`set.take`)" };
    Err(rule("/set/take", "object", &key.to_string(), &format!("is of the set {other}{more}; {remedy}")))
}

fn rule(pointer: &'static str, what: &'static str, value: &str, why: &str) -> ChangeError {
    ChangeError::Rule { pointer, wrong: TextError::new(what, value, why) }
}
