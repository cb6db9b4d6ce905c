//! What nodes shall be, held in memory: thousands of agents are served without asking the store for each.
//!
//! The compiled fleet is kept with the number of the `state` counter that it was made from. Each transaction that moves
//! objects or members draws that counter, so a look at one row tells whether the copy still holds. While nodes enrol it
//! moves many times a second: what this process knows of each such [`Step`] is laid over the copy instead of reading
//! and compiling the whole fleet for whoever connects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired},
    id::{NodeId, SecretValueId},
};

use super::{
    assign::{self, Assigned, Cause},
    plan::Prospect,
};
use crate::{
    compile::{Compiled, NodeInput, StableFacts, compile_held},
    db::{
        Db, DbError, Tx,
        row::{Reader, draw},
    },
    fleet,
    host::{self, All, Stored},
};

/// Serves what nodes shall be. Clones share the copy.
#[derive(Debug, Clone)]
pub struct Desired {
    db: Db,
    /// How often the copy was asked for.
    asked: Arc<AtomicU64>,
    /// Whoever has it looks whether the copy still holds, and makes it anew when it doesn't. It guards how many of the
    /// calls the last look came after: those need none of their own.
    looked: Arc<tokio::sync::Mutex<u64>>,
    /// Whoever has it gives nodes that have no state theirs; the others wait for that.
    assigning: Arc<tokio::sync::Mutex<()>>,
    /// What is being planned: its contents are served too.
    pinned: Arc<Mutex<Vec<Arc<Compiled>>>>,
    /// What moved the counter to each number, as far as the copy can follow it.
    steps: Arc<Mutex<BTreeMap<u64, Step>>>,
}

/// The most steps that wait for the next look. The copy is made anew when one is missing.
const STEPS_MAX: usize = 8192;

/// The most edits of an apply whose result is kept: each is read again by itself.
const KEPT_EDITS: usize = 64;

/// What moved the `state` counter by one.
#[derive(Debug)]
enum Step {
    /// A node joined that was never here before.
    Joined(NodeInput),
    /// Nodes say of themselves what they did not say before, and whether any text holds such a thing.
    Said(BTreeMap<NodeId, StableFacts>, bool),
    /// Nodes were given states that the copy holds.
    Given(BTreeMap<NodeId, (Generation, ContentHash)>),
}

/// Serves the contents of a planned state until it is dropped.
pub(crate) struct Pin {
    pinned: Arc<Mutex<Vec<Arc<Compiled>>>>,
    compiled: Arc<Compiled>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = pinned.iter().position(|c| Arc::ptr_eq(c, &self.compiled)) {
            pinned.swap_remove(at);
        }
    }
}

/// The compiled fleet as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The `state` counter that it was made from.
    pub(crate) state: u64,
    /// The objects and the names of the nodes.
    pub all: All,
    /// The nodes that are not revoked.
    pub(crate) members: Vec<NodeInput>,
    /// Those that are revoked, and still named in generated lines.
    pub(crate) left: Vec<NodeInput>,
    /// What they compile to.
    pub compiled: Compiled,
    /// What each node was given.
    pub(crate) assigned: Assigned,
    /// The epoch of generations.
    pub(crate) epoch: u64,
    /// Whether any node holds a signature over root code.
    pub(crate) is_signed: bool,
}

impl View {
    /// Returns the nodes that are not revoked.
    pub fn members(&self) -> &[NodeInput] {
        &self.members
    }

    /// Lays a step over the view. Returns whether that could be done; the view is of no use otherwise.
    fn follow(&mut self, step: &Step) -> bool {
        self.state += 1;
        match step {
            Step::Joined(node) => {
                let inputs: Vec<_> = self.all.objects.values().map(Stored::input).collect();
                if !self.compiled.join(node, &self.members, &inputs) {
                    return false;
                }
                self.all.names.insert(node.id, node.name.clone());
                self.members.push(node.clone());
            }
            Step::Said(_, true) => return false,
            Step::Said(facts, false) => {
                for member in &mut self.members {
                    if let Some(said) = facts.get(&member.id) {
                        member.facts.clone_from(said);
                    }
                }
            }
            Step::Given(given) => self.assigned.extend(given),
        }
        true
    }

    fn is_settled(&self) -> bool {
        self.compiled.hashes().all(|(node, hash)| assign::next(&self.assigned, self.epoch, node, hash).is_none())
    }
}

impl Desired {
    /// Serves from a store.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            asked: Arc::default(),
            looked: Arc::default(),
            assigning: Arc::default(),
            pinned: Arc::default(),
            steps: Arc::default(),
        }
    }

    /// Returns the store.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns what a node shall be; nothing when it is not of this fleet. A node that was never given anything is
    /// given what its roles say.
    pub async fn desired_for(&self, node: NodeId) -> Result<Option<NodeDesired>, DbError> {
        self.desired_and_signed(node).await.map(|(desired, _)| desired)
    }

    /// The same, and whether any node held a signature by then.
    pub(crate) async fn desired_and_signed(&self, node: NodeId) -> Result<(Option<NodeDesired>, bool), DbError> {
        let mut view = self.view().await?;
        if !view.assigned.contains_key(&node) {
            if view.compiled.class(node).is_none() {
                return Ok((None, false));
            }
            // Held while it waits, each view of a growing fleet would be a copy of its own.
            drop(view);
            self.assign().await?;
            view = self.view().await?;
        }
        let Some((generation, hash)) = view.assigned.get(&node) else { return Ok((None, view.is_signed)) };
        let desired = view.compiled.desired(node, *generation);
        // A copy whose hashes don't match the store's would be refused by every agent: better none than a wrong one.
        Ok((desired.filter(|d| d.hash == *hash), view.is_signed))
    }

    /// Returns a content by its hash, if a state of this node names it.
    pub async fn blob(&self, node: NodeId, hash: ContentHash) -> Result<Option<Vec<u8>>, DbError> {
        let view = self.view().await?;
        if let Some(bytes) = view.compiled.blob(node, hash) {
            return Ok(Some(bytes));
        }
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bytes) = pinned.iter().find_map(|c| c.blob(node, hash)) {
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// Returns whether a state of this node, or one that is planned for it, holds this value of a secret.
    pub(crate) async fn needs(&self, node: NodeId, value: SecretValueId) -> Result<bool, DbError> {
        if self.view().await?.compiled.needs(node, value) {
            return Ok(true);
        }
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(pinned.iter().any(|c| c.needs(node, value)))
    }

    /// Serves the contents of a state that is only planned.
    pub(crate) fn pin(&self, compiled: Arc<Compiled>) -> Pin {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).push(compiled.clone());
        Pin { pinned: self.pinned.clone(), compiled }
    }

    /// Returns the compiled fleet as it stands. Calls that come while one looks at the store share the next look.
    pub async fn view(&self) -> Result<Arc<View>, DbError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut looked = self.looked.lock().await;
        if *looked >= number
            && let Some(view) = self.db.memo().get::<View>()
        {
            return Ok(view);
        }
        let before = self.asked.load(Ordering::SeqCst);
        let state = self.state().await?;
        let view = match self.db.memo().get::<View>() {
            Some(view) if view.state == state => view,
            copy => {
                // Nobody else makes a copy while this one looks. Without it here, whoever holds none lets it be changed in
                // place.
                self.db.memo().clear();
                let view = match copy.and_then(|copy| self.followed(copy, state)) {
                    Some(view) => view,
                    None => {
                        let read = self.db.read(|mut tx| async move { Self::load(&mut tx).await.map(|v| tx.done(v)) });
                        Arc::new(read.await?)
                    }
                };
                self.steps.lock().unwrap_or_else(PoisonError::into_inner).retain(|step, _| *step > view.state);
                self.db.memo().set(view.clone());
                view
            }
        };
        *looked = before;
        Ok(view)
    }

    /// Lays all steps up to a number over a view; nothing when one isn't known or can't be laid over it.
    fn followed(&self, mut view: Arc<View>, state: u64) -> Option<Arc<View>> {
        if state == view.state {
            return Some(view);
        }
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if state < view.state || steps.range(view.state + 1..=state).count() as u64 != state - view.state {
            return None;
        }
        let changed = Arc::make_mut(&mut view);
        let followed = steps.range(changed.state + 1..=state).all(|(_, step)| changed.follow(step));
        followed.then_some(view)
    }

    /// Takes note that a node which was never here joined, by the committed transaction that drew this number of the
    /// counter.
    pub(crate) fn joined(&self, state: u64, node: NodeInput) {
        self.note(state, Step::Joined(node));
    }

    /// Takes note of what nodes say of themselves, by the committed transaction that drew this number of the counter.
    pub(crate) fn said(&self, state: u64, facts: BTreeMap<NodeId, StableFacts>, is_used: bool) {
        self.note(state, Step::Said(facts, is_used));
    }

    fn note(&self, state: u64, step: Step) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.insert(state, step);
        if steps.len() > STEPS_MAX {
            steps.pop_first();
        }
    }

    /// Compiles the fleet and gives nodes their generations: after members changed outside of a change. Returns who
    /// moved, for the link to be woken.
    pub async fn assign(&self) -> Result<Vec<NodeId>, DbError> {
        let _turn = self.assigning.lock().await;
        let view = self.view().await?;
        if view.is_settled() {
            return Ok(Vec::new());
        }
        let view = &view;
        self.db
            .write(|mut tx| async move {
                // Drawn first: others that move the fleet wait from here on, and who moved it before is known.
                let state = draw(&mut tx, "state", 1).await?;
                let view = match self.followed(view.clone(), state - 1) {
                    Some(view) => view,
                    None => Arc::new(Self::load(&mut tx).await?),
                };
                let given = assign::give(&mut tx, &view.compiled, (&view.assigned, view.epoch), None).await?;
                let moved = given.keys().copied().collect();
                let this = self.clone();
                tx.after_commit(move || this.note(state, Step::Given(given)));
                Ok::<_, DbError>(tx.done(moved))
            })
            .await
    }

    async fn load(tx: &mut Tx) -> Result<View, DbError> {
        let state = state_of(tx).await?;
        let all = host::all(tx).await?;
        let members = fleet::members(tx).await?;
        let left = fleet::still_named(tx).await?;
        let assigned = assign::load(tx).await?;
        let epoch = assign::epoch(tx).await?;
        let inputs: Vec<_> = all.objects.values().map(Stored::input).collect();
        let holds = super::rollout::store::holds(tx, &BTreeSet::new()).await?;
        let compiled = compile_held(&members, &left, &inputs, &holds);
        let is_signed = super::signing::any(tx).await?;
        Ok(View { state, all, members, left, compiled, assigned, epoch, is_signed })
    }

    /// Whether the copy that is kept is what would be read and compiled anew; nothing when it is of an earlier moment.
    #[cfg(test)]
    pub(crate) async fn is_copy_true(&self) -> Option<bool> {
        let copy = self.db.memo().get::<View>()?;
        let read = self.db.read(|mut tx| async move { Self::load(&mut tx).await.map(|v| tx.done(v)) });
        let read = read.await.expect("the store answers");
        (read.state == copy.state).then(|| read == *copy)
    }

    async fn state(&self) -> Result<u64, DbError> {
        self.db.read(|mut tx| async move { state_of(&mut tx).await.map(|s| tx.done(s)) }).await
    }
}

/// Returns the fleet as it stands in this transaction, which has changed nothing of it yet: the copy that is served, where
/// it is of the same number, for reading a large fleet again would take most of the time of a plan.
pub(crate) async fn standing(tx: &mut Tx) -> Result<Arc<View>, DbError> {
    let state = state_of(tx).await?;
    match tx.memo().get::<View>() {
        Some(view) if view.state == state => Ok(view),
        _ => Ok(Arc::new(Desired::load(tx).await?)),
    }
}

/// Keeps the fleet as an apply leaves it, for when this transaction is committed: its nodes ask for it at once, and would
/// wait until all of it was read and compiled anew. Nothing is kept where that would be something else.
pub(super) async fn keep(
    tx: &mut Tx,
    prospect: Prospect,
    state: u64,
    given: BTreeMap<NodeId, (Generation, ContentHash)>,
) -> Result<(), DbError> {
    let is_alone = state == prospect.state + 1;
    let is_plain = prospect.node_edits.is_empty() && !prospect.compiled.is_held && prospect.edits.len() <= KEPT_EDITS;
    if !is_alone || !is_plain || !super::rollout::store::holds(tx, &BTreeSet::new()).await?.is_empty() {
        return Ok(());
    }
    let Prospect { mut all, edits, compiled, mut assigned, epoch, members, is_signed, standing, .. } = prospect;
    for (object, _) in edits {
        match host::get(tx, object).await? {
            Some(stored) => drop(all.objects.insert(object, stored)),
            None => drop(all.objects.remove(&object)),
        }
    }
    assigned.extend(given);
    let (compiled, left) = (Arc::unwrap_or_clone(compiled), standing.left.clone());
    let view = Arc::new(View { state, all, members, left, compiled, assigned, epoch, is_signed });
    let memo = Arc::clone(tx.memo());
    tx.after_commit(move || memo.set(view));
    Ok(())
}

/// Compiles what stands in this transaction and assigns it in the name of a change.
pub(crate) async fn assign_for(tx: &mut Tx, cause: Cause<'_>) -> Result<Vec<NodeId>, DbError> {
    let view = Desired::load(tx).await?;
    let (_, moved) = assign::assign(tx, &view.compiled, Some(cause)).await?;
    Ok(moved)
}

async fn state_of(tx: &mut Tx) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT c.value FROM counter c WHERE c.name = 'state'").fetch_optional(tx.conn()).await?;
    row.map_or(Ok(0), |r| Reader::new("counter", &r).count("value"))
}

/// The names of nodes, for pages.
pub(crate) fn refs(
    nodes: impl IntoIterator<Item = NodeId>,
    names: &BTreeMap<NodeId, lampas_shared::fleet::NodeName>,
) -> Vec<lampas_api::NodeRef> {
    let mut refs: Vec<_> = nodes
        .into_iter()
        .map(|id| lampas_api::NodeRef { id, name: names.get(&id).map_or_else(|| id.to_string(), |n| n.to_string()) })
        .collect();
    refs.sort_by(|a, b| a.name.cmp(&b.name));
    refs
}
