//! Who is connected: node → session.
//!
//! The lock is held for a look-up, never across a wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use lampas_shared::{fleet::NodeState, id::NodeId};
use lampas_wire::{Goodbye, GoodbyeReason};
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant},
};

use super::source::Recorded;

/// How long a close is remembered against handshakes that were judged before it: longer than any of them may take.
const CLOSED_MEMORY: Duration = Duration::from_secs(60);

/// All sessions of this controller.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<NodeId, Arc<Handle>>,
    /// Connections beside the session: probes, and those that are still being judged.
    others: HashMap<NodeId, Vec<Connection>>,
    closed: HashMap<NodeId, Instant>,
}

/// One session as the others see it. It outlives the connection harmlessly.
#[derive(Debug)]
pub(super) struct Handle {
    /// Its number within this process, from 1.
    pub(super) number: u64,
    /// The number that the store gave the session; 0 until it is recorded.
    session: AtomicU64,
    pub(super) connection: Connection,
    inbox: Mutex<Inbox>,
    pub(super) called: Notify,
    /// Whether the node is silent.
    pub(super) stale: watch::Sender<bool>,
    /// Whether its node was closed: it only says its last words, and stands in nobody's way.
    closing: AtomicBool,
}

/// What a session's task is asked; a level, so that it needs no queue.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The desired state may have changed.
    pub(super) wake: bool,
    /// The trusted authorities changed.
    pub(super) trust: bool,
    /// The session was recorded.
    pub(super) recorded: bool,
    /// Operations that began and ended.
    pub(super) began: usize,
    pub(super) ended: usize,
    /// The outbox stream, found by the task that read its first bytes.
    pub(super) outbox: Option<(SendStream, RecvStream, Vec<u8>)>,
    /// The end.
    pub(super) close: Option<Goodbye>,
}

/// What a session must say to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The life of the agent.
    pub(super) epoch: u64,
    /// The connection's number within it.
    pub(super) session: u64,
    /// The hash of the machine-id.
    pub(super) machine: String,
}

/// What becomes of a session that wants in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is the node's session.
    In,
    /// A later one is there.
    Outdated,
    /// Another machine with the same identity is connected.
    Clone,
    /// The node was closed since the session was judged.
    Closed,
}

impl Handle {
    pub(super) fn new(connection: Connection) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let stale = watch::Sender::new(false);
        Arc::new(Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            session: AtomicU64::new(0),
            connection,
            inbox: Mutex::default(),
            called: Notify::new(),
            stale,
            closing: AtomicBool::new(false),
        })
    }

    /// Returns the number that the store gave the session; nothing until it is recorded.
    pub(super) fn session(&self) -> Option<u64> {
        Some(self.session.load(Ordering::Relaxed)).filter(|s| *s > 0)
    }

    /// Asks the session's task for something.
    pub(super) fn call(&self, ask: impl FnOnce(&mut Inbox)) {
        ask(&mut lock(&self.inbox));
        self.called.notify_one();
    }

    /// Takes what was asked.
    pub(super) fn take(&self) -> Inbox {
        std::mem::take(&mut lock(&self.inbox))
    }
}

/// The claims of the sessions that are in stand beside their handles.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<NodeId, Claim>>);

impl Registry {
    /// Lets a session in, or says why not. The one that it replaces is told to end.
    pub(super) fn enter(
        &self,
        claims: &Claims,
        node: NodeId,
        claim: Claim,
        handle: &Arc<Handle>,
        judged: Instant,
    ) -> Entry {
        let mut inner = lock(&self.inner);
        if inner.closed.get(&node).is_some_and(|closed| *closed >= judged) {
            return Entry::Closed;
        }
        let mut claims = lock(&claims.0);
        if let (Some(there), Some(held)) = (inner.sessions.get(&node), claims.get(&node)) {
            let is_alive = there.connection.close_reason().is_none() && !there.closing.load(Ordering::Relaxed);
            if is_alive && held.machine != claim.machine {
                return Entry::Clone;
            }
            if is_alive && held.epoch == claim.epoch && held.session > claim.session {
                return Entry::Outdated;
            }
            let message = "a later connection of this node took over".to_owned();
            there.call(|inbox| inbox.close = Some(Goodbye { reason: GoodbyeReason::Replaced, message }));
        }
        claims.insert(node, claim);
        inner.sessions.insert(node, Arc::clone(handle));
        Entry::In
    }

    /// Takes a session out. Returns whether it was the node's.
    pub(super) fn leave(&self, claims: &Claims, node: NodeId, handle: &Arc<Handle>) -> bool {
        let mut inner = lock(&self.inner);
        let is_its = inner.sessions.get(&node).is_some_and(|there| Arc::ptr_eq(there, handle));
        if is_its {
            inner.sessions.remove(&node);
            lock(&claims.0).remove(&node);
        }
        is_its
    }

    /// Tells a session the number that the store gave it: from here on its reports may be committed.
    pub(super) fn recorded(&self, recorded: &Recorded) {
        if let Some(handle) = self.get(recorded.node).filter(|h| h.number == recorded.connection) {
            handle.session.store(recorded.session, Ordering::Relaxed);
            handle.call(|inbox| inbox.recorded = true);
        }
    }

    /// Ends a session that could not be recorded.
    pub(super) fn unrecorded(&self, node: NodeId, connection: u64) {
        if let Some(handle) = self.get(node).filter(|h| h.number == connection) {
            let message = "the controller's store does not answer".to_owned();
            handle.call(|inbox| inbox.close = Some(Goodbye { reason: GoodbyeReason::Stopping, message }));
        }
    }

    /// Returns a node's session.
    pub(super) fn get(&self, node: NodeId) -> Option<Arc<Handle>> {
        lock(&self.inner).sessions.get(&node).cloned()
    }

    /// Calls `each` for every session.
    pub(super) fn each(&self, mut each: impl FnMut(&Handle)) {
        lock(&self.inner).sessions.values().for_each(|handle| each(handle));
    }

    /// Returns how each connected node is heard.
    pub(super) fn states(&self) -> BTreeMap<NodeId, NodeState> {
        let state = |handle: &Handle| if *handle.stale.borrow() { NodeState::Stale } else { NodeState::Online };
        lock(&self.inner).sessions.iter().map(|(node, handle)| (*node, state(handle))).collect()
    }

    /// Remembers a connection that has no session (yet), so that it can be closed with its node.
    pub(super) fn remember(&self, node: NodeId, connection: &Connection) {
        let mut inner = lock(&self.inner);
        let others = inner.others.entry(node).or_default();
        others.retain(|c| c.close_reason().is_none());
        others.push(connection.clone());
    }

    /// Forgets a connection that ended.
    pub(super) fn forget(&self, node: NodeId, connection: &Connection) {
        let mut inner = lock(&self.inner);
        if let Some(others) = inner.others.get_mut(&node) {
            others.retain(|c| c.stable_id() != connection.stable_id() && c.close_reason().is_none());
            if others.is_empty() {
                inner.others.remove(&node);
            }
        }
    }

    /// Ends all connections of a node: its session with a goodbye, the others at once.
    pub(super) fn close(&self, node: NodeId, reason: &str) {
        let goodbye = Goodbye { reason: GoodbyeReason::Revoked, message: reason.chars().take(255).collect() };
        let now = Instant::now();
        let mut inner = lock(&self.inner);
        inner.closed.retain(|_, closed| now.duration_since(*closed) < CLOSED_MEMORY);
        inner.closed.insert(node, now);
        let session = inner.sessions.get(&node).cloned();
        let own = session.as_ref().map(|s| s.connection.stable_id());
        for other in inner.others.remove(&node).unwrap_or_default() {
            if Some(other.stable_id()) != own {
                other.close(2_u32.into(), goodbye.message.as_bytes());
            }
        }
        if let Some(session) = session {
            session.closing.store(true, Ordering::Relaxed);
            session.call(|inbox| inbox.close = Some(goodbye));
        }
    }
}

/// A lock whose holder panicked holds no half-made state here: each change is one map operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
