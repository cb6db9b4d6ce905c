//! The service behind changes: what handlers call.

mod admit;
mod forget;
mod inverse;
mod leave;
mod node;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::{Draft, DraftAct, ManifestSet, NodeEdit};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::Permission,
    change::ChangeState,
    desired::ContentHash,
    event::EventKind,
    id::{ChangeId, NodeId, ObjectId, SecretValueId},
    object::{Body, Kind, ObjectKey},
    rollout::Strategy,
    secret::Secret,
};

pub(super) use admit::{must_be_whole, must_run_gates};
pub(super) use inverse::must_put_back_whole;
pub(crate) use inverse::revert_at_once;
pub(crate) use leave::{let_go, note as note_overridden};
pub(crate) use node::{Guards, guards_of};
pub use show::Listing;

use super::{
    ChangeError, ChangeRow, Desired,
    assign::{self, Cause},
    desired,
    draft::{self, StoredDraft, Verb},
    fold,
    node_edit::{self, StoredEdit},
    plan::Prospect,
    progress, rollout, schedule, set, store, superseded,
};
use crate::{
    audit::{Entry, Principal},
    db::{
        Db, Tx,
        row::{draw, to_json},
    },
    event::NewEvent,
    fleet,
    host::{self, RevisionRow, Stored},
    link::NodeGate,
    secret,
};

/// The service behind changes. Clones are the same service.
#[derive(Clone)]
pub struct Changes {
    desired: Desired,
    gate: Arc<dyn NodeGate>,
}

/// A change to be made.
#[derive(Debug, Clone, Default)]
pub struct NewChange {
    /// The drafts.
    pub drafts: Vec<Draft>,
    /// Edits of nodes.
    pub node_edits: Vec<NodeEdit>,
    /// Why, in the author's words.
    pub reason: String,
    /// The client's idempotency key, with who it belongs to: the same key gives the same change.
    pub request_key: Option<String>,
    /// The change that this one reverts.
    pub reverts: Option<ChangeId>,
    /// Values of secrets that the drafts name and that are not stored yet.
    pub values: Vec<NewValue>,
    /// The set of manifests that the drafts are.
    pub set: Option<ManifestSet>,
    /// Whether it is only planned to look at it.
    pub only_look: bool,
}

impl NewChange {
    /// Returns the hash of what is asked for: all of it but how it is applied.
    fn hash(&self) -> ContentHash {
        let asked = (&self.drafts, &self.node_edits, &self.reason, self.reverts);
        ContentHash::of(self.set.as_ref().map_or_else(|| to_json(&asked), |set| to_json(&(&asked, set))).as_bytes())
    }
}

/// The value of a secret, sealed.
#[derive(Debug, Clone)]
pub struct NewValue {
    /// Its id, which a draft names.
    pub id: SecretValueId,
    /// The value, sealed by the vault.
    pub sealed: String,
}

/// How a change is applied.
#[derive(Debug, Clone, Default)]
pub struct Apply {
    /// The plan that was seen; without one the change is applied as it compiles.
    pub plan: Option<String>,
    /// Whether to go on although some nodes could not be asked.
    pub allow_unplanned: bool,
    /// In which waves; all nodes at once by default.
    pub rollout: Strategy,
    /// Why it goes on without the approval that it needs: an administrator's word.
    pub over_protection: Option<String>,
    /// Why it goes on in a freeze: an administrator's word.
    pub over_freeze: Option<String>,
    /// Whether it is applied without asking for either: what a rollout puts back, and what leaves with its node.
    pub(crate) is_own: bool,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    /// Works on a store, and asks and wakes nodes through the gate.
    pub fn new(desired: Desired, gate: Arc<dyn NodeGate>) -> Self {
        Self { desired, gate }
    }

    /// Returns what nodes shall be.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    pub(crate) fn gate(&self) -> &dyn NodeGate {
        &*self.gate
    }

    pub(crate) fn db(&self) -> &Db {
        self.desired.db()
    }

    /// Makes a change of drafts, which are checked against what stands.
    ///
    /// # Errors
    /// When a draft is not what it should be, was overtaken, or makes a tie.
    pub async fn create(&self, new: &NewChange, by: &Principal) -> Result<ChangeRow, ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let row = create(&mut tx, new, by).await?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Applies a change: writes revisions, generations, audit and events in one transaction, and wakes the nodes.
    ///
    /// # Errors
    /// When the plan holds no more, nodes are in the way, or the change was applied or abandoned before.
    pub async fn apply(&self, id: ChangeId, how: &Apply, by: &Principal) -> Result<ChangeRow, ChangeError> {
        how.rollout.check().map_err(ChangeError::Strategy)?;
        self.must(id, Permission::Change, by).await?;
        match self.apply_once(id, how, by).await {
            Ok((row, moved)) => {
                self.gate.wake(&moved);
                Ok(row)
            }
            Err(error) => {
                self.note_refusal(id, how.plan.as_deref(), &error).await;
                Err(error)
            }
        }
    }

    /// Wants a permission over a change as it was planned, before anything is said of its plan. What it would move as
    /// things stand is asked for once more where that is known.
    pub(super) async fn must(&self, id: ChangeId, permission: Permission, by: &Principal) -> Result<(), ChangeError> {
        if by.rights.is_none() {
            return Ok(());
        }
        self.db()
            .read(|mut tx| async move {
                within(&mut tx, id, permission, by).await?;
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }

    async fn apply_once(
        &self,
        id: ChangeId,
        how: &Apply,
        by: &Principal,
    ) -> Result<(ChangeRow, Vec<NodeId>), ChangeError> {
        if how.plan.is_some() {
            self.look_again(id).await?;
        }
        self.db()
            .write(|mut tx| async move {
                let applied = apply(&mut tx, id, how, by).await?;
                Ok::<_, ChangeError>(tx.done(applied))
            })
            .await
    }

    /// Makes a change, plans it with the nodes and applies it.
    ///
    /// # Errors
    /// Those of the three; the change stays as a draft or a plan then.
    pub async fn save(&self, new: &NewChange, how: &Apply, by: &Principal) -> Result<ChangeRow, ChangeError> {
        how.rollout.check().map_err(ChangeError::Strategy)?;
        let row = self
            .db()
            .write(|mut tx| async move {
                let (row, prospect) = make(&mut tx, new, by).await?;
                // What needs a proof first leaves no change behind, nor does what a rollout is about already: the same request
                // comes again with one, or afterwards.
                if let Some(prospect) = prospect {
                    if let Some((key, number)) = prospect.awaits() {
                        return Err(ChangeError::Rolling { key: key.clone(), number });
                    }
                    by.must_be_proven(|| prospect.root_code(Some(how)))?;
                }
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await?;
        if !row.state.is_open() {
            // The same request came before.
            return Ok(row);
        }
        let plan = self.plan_within(row.id, how.rollout.limit.as_ref(), by).await?;
        self.apply(row.id, &Apply { plan: Some(plan.id), ..how.clone() }, by).await
    }

    /// Drops a change that was not applied.
    pub async fn abandon(&self, id: ChangeId, by: &Principal) -> Result<(), ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let row = store::get(&mut tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                if row.superseded.is_some() {
                    // It is no more what somebody waits for.
                    return Ok(tx.done(()));
                }
                must_be_open(&row, "abandoned")?;
                within(&mut tx, id, Permission::Change, by).await?;
                let now = clock::now();
                store::set_state(&mut tx, id, ChangeState::Abandoned, now).await?;
                schedule::withdraw(&mut tx, &row, "the change was abandoned", now).await?;
                let event = NewEvent::new(EventKind::ChangeMoved).change(id);
                tx.event(event.with("number", row.number).with("state", "abandoned"));
                tx.audit(Entry::done(by, "change.abandon", format!("change {}", row.number)));
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }
}

async fn create(tx: &mut Tx, new: &NewChange, by: &Principal) -> Result<ChangeRow, ChangeError> {
    Ok(make(tx, new, by).await?.0)
}

/// Makes a change; tells of a new one what it would do.
///
/// # Errors
/// Those of [`Changes::create`].
pub(crate) async fn make(
    tx: &mut Tx,
    new: &NewChange,
    by: &Principal,
) -> Result<(ChangeRow, Option<Prospect>), ChangeError> {
    if let Some(key) = &new.request_key
        && let Some(row) = store::by_request_key(tx, key).await?
    {
        let is_same = row.request_hash.map_or(row.reason == new.reason, |hash| hash == new.hash());
        return if is_same { Ok((row, None)) } else { Err(ChangeError::KeyReused(row.number)) };
    }
    let view = desired::standing(tx).await?;
    let all = &view.all;
    let request_hash = new.request_key.as_ref().map(|_| new.hash());
    // Who may not learns nothing of what stands there.
    let asked: Vec<ObjectKey> = new.drafts.iter().map(draft::key_of).collect();
    by.must_on_scopes(Permission::Change, asked.iter().map(|k| &k.scope), &view.members)?;
    let new = &*set::completed(tx, new, &view, by).await?;
    draft::check(&new.drafts, new.node_edits.len(), all)?;
    let by_key: BTreeMap<ObjectKey, &Stored> = all.objects.values().map(|o| (o.spec.key(), o)).collect();
    let mut drafts = Vec::with_capacity(new.drafts.len());
    for draft in &new.drafts {
        let key = draft::key_of(draft);
        draft::must_be_free(draft, &key, &by_key)?;
        let standing = draft::standing(draft, &key, &by_key);
        let found = standing.map_or(0, |o| o.revision);
        if let Some(base) = draft.base.filter(|b| *b != found) {
            let author = standing.map_or_else(|| "somebody".to_owned(), |o| o.author.clone());
            return Err(ChangeError::Conflict { key, base, found, author });
        }
        // The id of what is made is drawn here, since it is part of the hashes that a plan binds to.
        let object = match standing {
            Some(standing) => standing.id,
            None => host::former(tx, &key).await?.map_or_else(random::new_id, |(id, _)| id),
        };
        let mut draft = draft.clone();
        if let DraftAct::Put(spec) = &mut draft.act
            && let Body::Secret(secret) = &mut spec.body
        {
            settle_value(tx, secret, &key, object, standing, new, by).await?;
        }
        drafts.push(StoredDraft { draft, object: Some(object), base: found });
    }
    let now = clock::now();
    let row = ChangeRow {
        id: random::new_id(),
        number: draw(tx, "change", 1).await?,
        state: ChangeState::Draft,
        author: author(by),
        reason: new.reason.chars().take(500).collect(),
        request_key: new.request_key.clone(),
        request_hash,
        reverts: new.reverts,
        plan_id: None,
        is_look: new.only_look,
        created_at: now,
        applied_at: None,
        done_at: None,
        superseded: None,
    };
    let edits = draft::bind(&drafts, all)?;
    let node_edits = node_edit::bind(tx, &new.node_edits, &view.members).await?;
    for permission in [Permission::Change, Permission::ManageNodes] {
        by.must_on_nodes(permission, node_edits.iter().map(|e| e.node), &view.members)?;
    }
    set::insert(tx, row.id, new.set.as_ref()).await?;
    let prospect = Prospect::with(tx, &view, (edits, node_edits), &row, &row.author, now).await?;
    let secrets = prospect.edits.iter().filter(|(_, e)| e.verb != Verb::None && e.key.kind == Kind::Secret);
    by.must_on_scopes(Permission::WriteSecret, secrets.map(|(_, e)| &e.key.scope), &prospect.members)?;
    by.must_on_scopes(Permission::Change, prospect.edits.iter().map(|(_, e)| &e.key.scope), &prospect.members)?;
    store::insert(tx, &row, &drafts, &prospect.all).await?;
    node_edit::insert(tx, row.id, &prospect.node_edits).await?;
    tx.event(NewEvent::new(EventKind::ChangeMoved).change(row.id).with("number", row.number).with("state", "draft"));
    let act = Entry::done(by, "change.create", format!("change {}", row.number));
    tx.audit(act.because(row.reason.clone()).with_details(&keys(&prospect)));
    Ok((row, Some(prospect)))
}

pub(super) async fn apply(
    tx: &mut Tx,
    id: ChangeId,
    how: &Apply,
    by: &Principal,
) -> Result<(ChangeRow, Vec<NodeId>), ChangeError> {
    let now = clock::now();
    let mut row = store::get(tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    must_be_open(&row, "applied")?;
    let prospect = Prospect::load(tx, &row, &row.author, now).await?;
    let mut planned = None;
    if let Some(given) = &how.plan {
        hold(tx, &row, given, how.allow_unplanned, &prospect).await?;
        planned = rollout::limit::of_plan(tx, id).await?;
    }
    let how = &Apply { rollout: rollout::limit::joined(&how.rollout, planned)?, ..how.clone() };
    if !how.is_own {
        prospect.must(tx, by).await?;
        set::must_still_be_usable(tx, id, &prospect.all, by, &prospect.members).await?;
        must_run_gates(&prospect, how, by)?;
        must_be_whole(&prospect, how)?;
        admit::admit(tx, &row, &prospect, how, by, now).await?;
        by.must_be_proven(|| prospect.root_code(Some(how)))?;
    }
    admit::must_have_values(tx, &prospect).await?;
    schedule::withdraw(tx, &row, "it was applied", now).await?;
    let rolling = rollout::store::rolling(tx).await?;
    let edited: Vec<_> = prospect.edits.iter().filter(|(_, e)| e.verb != Verb::None).collect();
    if let Some((number, edit)) = edited.iter().find_map(|(id, e)| Some((*rolling.get(id)?, e))) {
        return Err(ChangeError::Rolling { key: edit.key.clone(), number });
    }
    if let Some((key, number)) = prospect.awaits() {
        return Err(ChangeError::Rolling { key: key.clone(), number });
    }
    let rows: Vec<RevisionRow> = prospect.edits.iter().filter_map(|(object, e)| e.row(*object, now)).collect();
    set::settle(tx, id, &prospect.edits).await?;
    host::put(tx, &rows, &prospect.all.names, (row.id, row.number), &row.author, &row.reason, now).await?;
    for edit in &prospect.node_edits {
        fleet::update(tx, edit.node, &edit.set, Some(edit.base), by).await?;
    }
    let act = superseded::Act { change: Some((id, row.number)), by, author: &row.author, now };
    superseded::by_objects(tx, &edited, &prospect.all, &act).await?;
    let is_edited = |id: NodeId| prospect.node_edits.iter().any(|e| e.node == id);
    let nodes = prospect.members.iter().filter(|m| is_edited(m.id)).map(|m| (m.id, m.name.clone())).collect::<Vec<_>>();
    superseded::by_nodes(tx, &nodes, &act).await?;
    store::set_state(tx, id, ChangeState::Rolling, now).await?;
    store::set_author(tx, id, &author(by)).await?;
    let objects: Vec<ObjectId> = edited.iter().map(|(object, _)| *object).collect();
    if let Some(reverted) = row.reverts {
        let are_held = prospect.layers.has_older(&objects.iter().copied().collect(), reverted);
        must_put_back_whole(are_held, how)?;
        rollout::store::forget_of(tx, reverted, &objects).await?;
        if !are_held {
            rollout::store::forget(tx, &objects, now).await?;
        }
    }
    let cause = Cause { change: id, before: &prospect.standing.compiled };
    // Settles the change at once when no node moves.
    let mut settled = None;
    let moved: Vec<NodeId> = if how.rollout.is_plain() {
        if row.reverts.is_none() {
            rollout::store::forget(tx, &objects, now).await?;
        }
        let given = assign::give(tx, &prospect.compiled, (&prospect.assigned, prospect.epoch), Some(cause)).await?;
        let state = draw(tx, "state", 1).await?;
        let moved = given.keys().copied().collect();
        settled = Some((state, given));
        moved
    } else {
        let affected = prospect.affected().into_keys().collect();
        // Until the waves are through, who was left out before still is.
        let has_begun = rollout::begin(tx, id, &how.rollout, &prospect.edits, &affected, &prospect.members).await?;
        if !has_begun && row.reverts.is_none() {
            rollout::store::forget(tx, &objects, now).await?;
        }
        desired::assign_for(tx, cause).await?
    };
    for (object, edit) in edited.iter().take(100) {
        let event = NewEvent::new(EventKind::ObjectChanged).change(id).object(*object);
        tx.event(event.with("object", &edit.key).with("verb", edit.verb.as_str()));
    }
    let event = NewEvent::new(EventKind::ChangeMoved).change(id).with("number", row.number);
    tx.event(event.with("state", "rolling").with("nodes", moved.len()));
    let mut entry = Entry::done(by, "change.apply", format!("change {}", row.number)).because(row.reason.clone());
    entry = entry.with_details(&BTreeMap::from([
        ("plan", how.plan.clone().unwrap_or_default()),
        ("nodes", moved.len().to_string()),
        ("objects", keys(&prospect).join(", ").chars().take(2000).collect()),
    ]));
    tx.audit(entry);
    // What an administrator went over is told of the objects, and was not known when this was compiled.
    if let Some((state, given)) = settled.filter(|_| how.over_protection.is_none()) {
        desired::keep(tx, prospect, state, given).await?;
    }
    row = store::get(tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    Ok((row, moved))
}

/// Settles which of its values a secret's draft names: that which stands when it names none, one of the secret's own
/// earlier ones, or one that comes with the change.
async fn settle_value(
    tx: &mut Tx,
    secret: &mut Secret,
    key: &ObjectKey,
    object: ObjectId,
    standing: Option<&Stored>,
    new: &NewChange,
    by: &Principal,
) -> Result<(), ChangeError> {
    let wrong = |why: String| ChangeError::Value { key: Box::new(key.clone()), why };
    let stands = match standing.map(|s| &s.spec.body) {
        Some(Body::Secret(standing)) => standing.value,
        _ => None,
    };
    let Some(value) = secret.value.or(stands) else {
        let name = &key.name;
        return Err(wrong(format!("has no value yet; set it with: lampasctl secret set {name} --scope {}", key.scope)));
    };
    secret.value = Some(value);
    if let Some(given) = new.values.iter().find(|v| v.id == value) {
        return Ok(secret::store::insert(tx, value, object, &given.sealed, &author(by), clock::now()).await?);
    }
    if secret::store::object_of(tx, value).await? == Some(object) {
        let is_purged = secret::store::is_purged(tx, value).await?;
        let purged = || wrong("names a value that was purged; set a new one".to_owned());
        return if is_purged { Err(purged()) } else { Ok(()) };
    }
    Err(wrong("names a value that is not its own".to_owned()))
}

/// Wants a permission over the scopes of a change's drafts, and on each node that it was planned for or reached.
///
/// # Errors
/// With what lies outside.
pub(super) async fn within(
    tx: &mut Tx,
    id: ChangeId,
    permission: Permission,
    by: &Principal,
) -> Result<(), ChangeError> {
    if by.rights.as_ref().is_none_or(|r| r.is_fleet(permission)) {
        return Ok(());
    }
    let members = fleet::members(tx).await?;
    let scopes = store::scopes(tx, &[id]).await?.remove(&id).unwrap_or_default();
    by.must_on_scopes(permission, &scopes, &members)?;
    let mut nodes: BTreeSet<NodeId> = progress::states(tx, id).await?.into_keys().collect();
    nodes.extend(store::plan(tx, id).await?.into_iter().flat_map(|(_, p)| p.nodes.into_keys()));
    Ok(by.must_on_nodes(permission, nodes, &members)?)
}

/// Checks that a plan that somebody saw still says what would happen.
pub(super) async fn hold(
    tx: &mut Tx,
    row: &ChangeRow,
    given: &str,
    allow_unplanned: bool,
    prospect: &Prospect,
) -> Result<(), ChangeError> {
    let moved = |why: &str| ChangeError::Moved { plan: given.chars().take(80).collect(), why: why.to_owned() };
    let (full, plan) = store::plan(tx, row.id).await?.ok_or_else(|| moved("the change has no plan"))?;
    if !fold::names_plan(given, &full) {
        return Err(moved(&format!("the change's plan is {} meanwhile", plan.shown.id)));
    }
    let affected: BTreeMap<_, _> = prospect.affected().into_iter().map(|(node, (_, hash))| (node, hash)).collect();
    if affected != plan.nodes {
        return Err(moved("other nodes are affected, or in another way, than when it was made"));
    }
    if !plan.shown.blockers.is_empty() {
        return Err(ChangeError::Blocked(plan.shown.blockers));
    }
    if !plan.shown.unplanned.is_empty() && !allow_unplanned {
        return Err(ChangeError::Unplanned { nodes: plan.shown.unplanned.len() });
    }
    Ok(())
}

/// Returns the number of a change.
pub(crate) async fn number(tx: &mut Tx, id: ChangeId) -> Result<u64, ChangeError> {
    let row = store::get(tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    Ok(row.number)
}

fn keys(prospect: &Prospect) -> Vec<String> {
    let objects = prospect.edits.iter().map(|(_, e)| format!("{} {}", e.verb.as_str(), e.key));
    objects.chain(prospect.node_edits.iter().map(StoredEdit::words)).collect()
}

/// Returns the name that stands at revisions: the user's, also when a token or one of their machines acted for them. The
/// audit knows which.
pub(crate) fn author(by: &Principal) -> String {
    let credential = by.name.strip_prefix("token:").or_else(|| by.name.strip_prefix("machine:"));
    let owner = credential.and_then(|c| c.rsplit_once(" of ")).map(|(_, owner)| owner);
    owner.or_else(|| by.name.strip_prefix("user:")).unwrap_or(&by.name).to_owned()
}

pub(crate) fn must_be_open(row: &ChangeRow, act: &'static str) -> Result<(), ChangeError> {
    if let Some(superseded) = &row.superseded {
        return Err(ChangeError::Superseded { number: row.number, why: superseded.why.clone() });
    }
    if row.state.is_open() { Ok(()) } else { Err(ChangeError::State { number: row.number, state: row.state, act }) }
}
