//! Speaks to a controller: dials, shakes hands, takes desired states in, carries the outbox out, answers questions.
//!
//! What is said and when is decided by [`lampas_wire::link::agent::AgentLink`], which does no I/O; `session` moves its
//! bytes over one QUIC connection. [`Link`] holds on: controllers of the list in turn, with jittered exponential back-off
//! (the first try at once, 15 s at most). [`Credentials`] is the node's identity and what it remembers of controllers;
//! certificates are renewed over the link when a third of their life is left, and over `lampas-renew/1` once they have
//! expired. [`LinkHandle`] is what the reconciler has of it: contents by hash, and the fresh handshake that confirms a
//! change.
//!
//! Waiting has limits everywhere; what a peer can make the agent hold is bounded by the frames' limits, the report
//! window and QUIC's flow control.

mod credentials;
mod dial;
mod exchange;
mod operation;
mod parts;
mod session;
#[cfg(test)]
mod tests;
mod upstream;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use lampas_runtime::{Tasks, backoff::Backoff, random};
use lampas_shared::{error::Chain, fleet::NodeFacts};
use lampas_wire::{GoodbyeReason, Hello, Role, WIRE_VERSION, link::agent::AgentLink};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(crate) use credentials::write_memory;
pub use credentials::{Credentials, CredentialsError, IDENTITY_FILE, Memory, TRUST_FILE};
pub(crate) use dial::connect;
pub use dial::{DialError, Dialled, Dialler, Endpoints, resolve};
pub(crate) use exchange::read_message;
pub use exchange::{ExchangeError, exchange};
pub use parts::{Outbox, Reconciler};
pub use session::Ended;
pub use upstream::LinkHandle;

/// The first wait after a failure; the try before it is immediate.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a fleet whose controller was away for an hour is back within this and a handshake.
const BACKOFF_CAP: Duration = Duration::from_secs(15);
/// A connection that stood for less than this doesn't count as a success, so that a controller which closes each
/// connection at once isn't dialled without a pause.
const SETTLED: Duration = Duration::from_secs(5);

/// Whether the node is connected, and with whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The controller that the agent is connected with, as `HOST:PORT`.
    pub connected: Option<String>,
    /// Why the last try or connection ended.
    pub last_error: Option<String>,
    /// How many connections there were since the start.
    pub sessions: u64,
}

/// What the link is made of.
pub struct Parts {
    /// Who the node is.
    pub credentials: Arc<Credentials>,
    /// Controllers that the node's owner configured; tried before those that a controller named.
    pub configured: Vec<String>,
    /// The sockets to dial from.
    pub endpoints: Endpoints,
    /// What the node says of itself at each connection.
    pub facts: Box<dyn Fn() -> NodeFacts + Send + Sync>,
    /// Takes desired states and answers questions.
    pub reconciler: Arc<dyn Reconciler>,
    /// Reports that wait.
    pub outbox: Arc<dyn Outbox>,
}

/// The task that keeps the node connected.
pub struct Link {
    dialler: Arc<Dialler>,
    facts: session::Facts,
    reconciler: Arc<dyn Reconciler>,
    outbox: Arc<dyn Outbox>,
    connection: Arc<watch::Sender<Option<quinn::Connection>>>,
    status: Arc<watch::Sender<LinkStatus>>,
    sessions: u64,
}

impl Link {
    /// Makes the link and what others have of it. It dials once [`Link::run`] runs. The handle comes first, because the
    /// reconciler that the link needs is made with it.
    pub fn handle(credentials: Arc<Credentials>, configured: Vec<String>, endpoints: Endpoints) -> LinkHandle {
        LinkHandle::new(Arc::new(Dialler::new(credentials, configured, endpoints)))
    }

    /// Joins a handle with what the link works for.
    pub fn new(
        handle: &LinkHandle,
        facts: Box<dyn Fn() -> NodeFacts + Send + Sync>,
        reconciler: Arc<dyn Reconciler>,
        outbox: Arc<dyn Outbox>,
    ) -> Self {
        Self {
            dialler: Arc::clone(&handle.dialler),
            facts: facts.into(),
            reconciler,
            outbox,
            connection: Arc::clone(&handle.connection),
            status: Arc::clone(&handle.status),
            sessions: 0,
        }
    }

    /// Makes handle and link at once and runs the link as a task.
    pub fn start(tasks: &Tasks, parts: Parts) -> LinkHandle {
        let handle = Self::handle(parts.credentials, parts.configured, parts.endpoints);
        let link = Self::new(&handle, parts.facts, parts.reconciler, parts.outbox);
        let stopping = tasks.stopping();
        tasks.spawn("link", link.run(stopping));
        handle
    }

    /// Keeps the node connected until it is told to stop.
    pub async fn run(mut self, stopping: CancellationToken) {
        let node = self.dialler.credentials().node();
        let mut machine = AgentLink::new(node, self.reconciler.current());
        let mut carried = session::Carried::default();
        let start = Instant::now();
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_CAP);
        let mut turn = 0;
        while !stopping.is_cancelled() {
            let controllers = self.dialler.controllers();
            let Some(controller) = controllers.get(turn % controllers.len().max(1)).cloned() else {
                warn!("no controller is known: set link.controllers in agent.toml");
                self.status.send_modify(|s| s.last_error = Some("no controller is known".into()));
                if wait(&stopping, BACKOFF_CAP).await {
                    continue;
                }
                return;
            };
            // Both arms are cancel-safe: a handshake that is not awaited is dropped.
            let dialled = tokio::select! {
                dialled = self.dialler.dial_for_session(&controller) => dialled,
                () = stopping.cancelled() => return,
            };
            let pause = match dialled {
                Ok(dialled) => {
                    let began = Instant::now();
                    let hello = self.hello();
                    let ended = self.serve(&mut machine, &mut carried, start, dialled, hello, &stopping).await;
                    self.note(&controller, ended.to_string());
                    if ended.was_welcomed && began.elapsed() >= SETTLED {
                        backoff.reset();
                    }
                    if !ended.was_welcomed || ended.reason == Some(GoodbyeReason::Moved) {
                        turn += 1;
                    }
                    Self::pause_after(&ended, began.elapsed(), &mut backoff)
                }
                Err(error) => {
                    self.note(&controller, Chain(&error).to_string());
                    turn += 1;
                    // The whole list is tried before the agent rests.
                    if turn % controllers.len() == 0 { backoff.next_delay(random_number()) } else { Duration::ZERO }
                }
            };
            if !wait(&stopping, pause).await {
                return;
            }
        }
    }

    async fn serve(
        &mut self,
        machine: &mut AgentLink,
        carried: &mut session::Carried,
        start: Instant,
        dialled: Dialled,
        hello: Hello,
        stopping: &CancellationToken,
    ) -> Ended {
        let session = session::Session {
            dialler: &self.dialler,
            reconciler: &self.reconciler,
            outbox: &self.outbox,
            current: &self.connection,
            status: &self.status,
            facts: &self.facts,
            start,
        };
        let ended = session.run(machine, carried, &dialled, hello, stopping).await;
        self.connection.send_replace(None);
        self.status.send_modify(|s| s.connected = None);
        ended
    }

    fn hello(&mut self) -> Hello {
        self.sessions += 1;
        Hello {
            role: Role::Session,
            oldest_version: WIRE_VERSION,
            newest_version: WIRE_VERSION,
            features: self.reconciler.features(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.dialler.credentials().node(),
            outbox_epoch: self.outbox.epoch(),
            session: self.sessions,
            applied: None,
            trust: self.dialler.credentials().trust_hash(),
            facts: (self.facts)(),
        }
    }

    /// Decides how long to rest after a connection: not at all when it was a good one, so that a fleet is back within
    /// seconds after its controller restarted.
    fn pause_after(ended: &Ended, stood: Duration, backoff: &mut Backoff) -> Duration {
        let jitter = |from: u64, to: u64| Duration::from_millis(from + u64::from(random_number()) % (to - from));
        match ended.reason {
            // The process is about to end: dialling it at once would only meet its last breath.
            Some(GoodbyeReason::Stopping) => jitter(200, 700),
            // Somebody else is this node, or it isn't one any more.
            Some(GoodbyeReason::Replaced | GoodbyeReason::Revoked) => jitter(10_000, 20_000),
            _ if ended.was_welcomed && stood >= SETTLED => Duration::ZERO,
            _ => backoff.next_delay(random_number()),
        }
    }

    /// Logs a failure once, and its repetitions quietly.
    fn note(&self, controller: &str, error: String) {
        let is_new = self.status.borrow().last_error.as_ref() != Some(&error);
        if is_new {
            info!(controller, error, "not connected");
        } else {
            debug!(controller, error, "still not connected");
        }
        self.status.send_modify(|s| s.last_error = Some(error));
    }
}

/// Waits, and returns whether to go on.
async fn wait(stopping: &CancellationToken, pause: Duration) -> bool {
    // Both arms are cancel-safe: a sleep that is dropped has no effect.
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = stopping.cancelled() => false,
    }
}

fn random_number() -> u32 {
    u32::from_le_bytes(random::bytes())
}

/// Locks, going on after a panic elsewhere: what is behind these locks is replaced whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
