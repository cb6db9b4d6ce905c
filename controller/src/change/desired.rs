//! What nodes shall be, held in memory: thousands of agents are served without asking the store for each.
//!
//! The compiled fleet is kept with the number of the `state` counter that it was made from. Each transaction that moves
//! objects or members draws that counter, so a look at one row tells whether the copy still holds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    id::NodeId,
};

use super::assign::{self, Assigned};
use crate::{
    compile::{Compiled, compile},
    db::{Db, DbError, Tx, row::Reader},
    fleet,
    host::{self, All, Stored},
};

/// Serves what nodes shall be. Clones share the copy.
#[derive(Debug, Clone)]
pub struct Desired {
    db: Db,
    copy: Arc<Mutex<Option<Arc<View>>>>,
    /// How often the copy was asked for.
    asked: Arc<AtomicU64>,
    /// Whoever has it looks whether the copy still holds, and makes it anew when it doesn't. It guards how many of the
    /// calls the last look came after: those need none of their own.
    looked: Arc<tokio::sync::Mutex<u64>>,
    /// Whoever has it gives nodes that have no state theirs; the others wait for that.
    assigning: Arc<tokio::sync::Mutex<()>>,
    /// What is being planned: its contents are served too.
    pinned: Arc<Mutex<Vec<Arc<Compiled>>>>,
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
#[derive(Debug)]
pub struct View {
    /// The `state` counter that it was made from.
    pub(crate) state: u64,
    /// The objects and the names of the nodes.
    pub all: All,
    /// What they compile to.
    pub compiled: Compiled,
    /// What each node was given.
    pub(crate) assigned: Assigned,
}

impl Desired {
    /// Serves from a store.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            copy: Arc::default(),
            asked: Arc::default(),
            looked: Arc::default(),
            assigning: Arc::default(),
            pinned: Arc::default(),
        }
    }

    /// Returns the store.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns what a node shall be; nothing when it is not of this fleet. A node that was never given anything is
    /// given what its roles say.
    pub async fn desired_for(&self, node: NodeId) -> Result<Option<NodeDesired>, DbError> {
        let mut view = self.view().await?;
        if !view.assigned.contains_key(&node) {
            if view.compiled.class(node).is_none() {
                return Ok(None);
            }
            let _turn = self.assigning.lock().await;
            view = self.view().await?;
            if !view.assigned.contains_key(&node) {
                self.assign().await?;
                view = self.view().await?;
            }
        }
        let Some((generation, hash)) = view.assigned.get(&node) else { return Ok(None) };
        let desired = view.compiled.desired(node, *generation);
        // A copy whose hashes don't match the store's would be refused by every agent: better none than a wrong one.
        Ok(desired.filter(|d| d.hash == *hash))
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
            && let Some(view) = self.copy()
        {
            return Ok(view);
        }
        let before = self.asked.load(Ordering::SeqCst);
        let state = self.state().await?;
        let view = match self.copy().filter(|v| v.state == state) {
            Some(view) => view,
            None => {
                let view = self.db.read(|mut tx| async move { Self::load(&mut tx).await.map(|v| tx.done(v)) }).await?;
                let view = Arc::new(view);
                *self.copy.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
                view
            }
        };
        *looked = before;
        Ok(view)
    }

    /// Compiles the fleet and gives nodes their generations: after members changed outside of a change. Returns who
    /// moved, for the link to be woken.
    pub async fn assign(&self) -> Result<Vec<NodeId>, DbError> {
        self.db
            .write(|mut tx| async move {
                let moved = reassign(&mut tx).await?;
                Ok::<_, DbError>(tx.done(moved))
            })
            .await
    }

    async fn load(tx: &mut Tx) -> Result<View, DbError> {
        let state = state_of(tx).await?;
        let all = host::all(tx).await?;
        let members = fleet::members(tx).await?;
        let assigned = assign::load(tx).await?;
        let inputs: Vec<_> = all.objects.values().map(Stored::input).collect();
        let compiled = compile(&members, &inputs);
        Ok(View { state, all, compiled, assigned })
    }

    async fn state(&self) -> Result<u64, DbError> {
        self.db.read(|mut tx| async move { state_of(&mut tx).await.map(|s| tx.done(s)) }).await
    }

    fn copy(&self) -> Option<Arc<View>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Compiles what stands in this transaction and assigns it.
pub(crate) async fn reassign(tx: &mut Tx) -> Result<Vec<NodeId>, DbError> {
    let view = Desired::load(tx).await?;
    let (_, moved) = assign::assign(tx, &view.compiled, None).await?;
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
