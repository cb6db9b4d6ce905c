//! Accepts connections and sorts them by what they are for.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lampas_runtime::{
    Tasks, clock,
    quic::{self, EndpointError, Purpose, peer_node},
};
use lampas_shared::{
    error::Chain,
    id::{ControllerId, FleetId},
};
use lampas_wire::{Kind, Message};
use quinn::{Connection, Endpoint, Incoming, VarInt};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    operation::Gate,
    presence::{self, Board},
    session,
    source::{Admission, Membership, Presence, Shown, StateSource},
    stream::{read_message, write_message},
};
use crate::ca::{Credentials, wire_trust};

/// From the first packet to the end of the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Handshakes under way at once; who comes next waits in the endpoint's queue, which costs little. With all of a large fleet
/// under way together each would take as long as all of them, and agents would give up what is nearly done.
const HANDSHAKES_MAX: usize = 1024;

/// One request and its answer on a connection for enrolment or renewal, the signer's part included.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// How long a peer may take to read the last answer.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(5);

/// States that are fetched and handed to QUIC at once. A push to 5,000 nodes is paced by it: the socket's buffers hold
/// that many states of the usual few KiB many times over.
const PUSHES_MAX: usize = 64;

/// Blobs in memory at once, of at most 1 MiB each.
const BLOBS_MAX: usize = 32;

/// Enrolments and renewals at once. They wait for the signer, which signs them in batches.
const ADMISSIONS_MAX: usize = 256;

/// How the link runs.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The UDP address.
    pub listen: SocketAddr,
    /// This controller.
    pub controller: ControllerId,
    /// The controllers that agents may dial, as `HOST:PORT`; agents keep their own list when it is empty.
    pub controllers: Vec<String>,
    /// The controller's secret for stateless resets, the same after each start.
    pub reset_key: [u8; 32],
}

/// What the link works with.
#[derive(Clone)]
pub struct Parts {
    /// Desired states, contents, reports.
    pub source: Arc<dyn StateSource>,
    /// Nodes and their presence.
    pub members: Arc<dyn Membership>,
    /// Enrolment and renewal.
    pub admission: Arc<dyn Admission>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// Why the link can't be started or changed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The running link.
#[derive(Debug, Clone)]
pub struct Link {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) parts: Parts,
    pub(super) board: Arc<Board>,
    pub(super) tasks: Tasks,
    pub(super) controller: ControllerId,
    pub(super) fleet: FleetId,
    pub(super) controllers: Vec<String>,
    pub(super) pushes: Arc<Semaphore>,
    pub(super) blobs: Semaphore,
    admissions: Semaphore,
    trust: RwLock<lampas_wire::Trust>,
    /// The machines' time counts from here.
    start: Instant,
    pending: AtomicUsize,
}

impl Shared {
    /// Returns the machines' time.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns the instant of a machine's time.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// Returns the authorities that agents shall trust.
    pub(super) fn trust(&self) -> lampas_wire::Trust {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Link {
    /// Binds the socket and begins to accept, until the tasks stop.
    ///
    /// # Errors
    /// When the socket can't be bound or TLS not be configured.
    pub fn start(
        tasks: &Tasks,
        config: LinkConfig,
        credentials: &Credentials,
        gate: Gate,
        parts: Parts,
    ) -> Result<Self, LinkError> {
        let server = quic::server_config(&credentials.identity, &credentials.trust)?;
        let endpoint = quic::listen(config.listen, server, &config.reset_key)?;
        let board = Arc::<Board>::default();
        presence::record(tasks, Arc::clone(&board), Arc::clone(&parts.members), gate.clone());
        let shared = Arc::new(Shared {
            gate,
            parts,
            board,
            tasks: tasks.clone(),
            controller: config.controller,
            fleet: credentials.trust.fleet,
            controllers: config.controllers,
            pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
            blobs: Semaphore::new(BLOBS_MAX),
            admissions: Semaphore::new(ADMISSIONS_MAX),
            trust: RwLock::new(wire_trust(&credentials.trust)),
            start: Instant::now(),
            pending: AtomicUsize::new(0),
        });
        let link = Self { endpoint, shared };
        tasks.spawn("link", link.clone().accept());
        Ok(link)
    }

    /// Returns the address that the socket has.
    ///
    /// # Errors
    /// When the system doesn't say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Returns the gate.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Takes up new credentials: after a renewal or a rotation. Open connections stay, and learn whom to trust.
    ///
    /// # Errors
    /// When TLS can't be configured.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), LinkError> {
        let server = quic::server_config(&credentials.identity, &credentials.trust)?;
        self.endpoint.set_server_config(Some(server));
        *self.shared.trust.write().unwrap_or_else(PoisonError::into_inner) = wire_trust(&credentials.trust);
        self.shared.gate.registry.each(|handle| handle.call(|inbox| inbox.trust = true));
        Ok(())
    }

    async fn accept(self) {
        let stopping = self.shared.tasks.stopping();
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let next = async {
                let turn = Arc::clone(&handshakes).acquire_owned().await.expect("the semaphore is never closed");
                (turn, self.endpoint.accept().await)
            };
            // Both arms are cancel-safe: a peer that is not taken stays in the endpoint's queue.
            let (turn, incoming) = tokio::select! {
                next = next => next,
                () = stopping.cancelled() => break,
            };
            let Some(incoming) = incoming else { break };
            let Some(incoming) = quic::admit(incoming, self.shared.pending.load(Ordering::Relaxed)) else { continue };
            let shared = Arc::clone(&self.shared);
            self.shared.pending.fetch_add(1, Ordering::Relaxed);
            self.shared.tasks.spawn("connection", serve(shared, incoming, turn));
        }
        // New peers are refused; sessions say goodbye by themselves and end.
        self.endpoint.set_server_config(None);
        if timeout(LAST_WORDS_LIMIT, self.endpoint.wait_idle()).await.is_err() {
            self.endpoint.close(VarInt::from_u32(1), b"the controller stops");
        }
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming, turn: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let outcome = timeout(HANDSHAKE_LIMIT, handshake).await;
    shared.pending.fetch_sub(1, Ordering::Relaxed);
    drop(turn);
    let connection = match outcome {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(peer = %address, error = %Chain(&error), "a handshake failed"),
        Err(_) => return debug!(peer = %address, "a handshake took too long"),
    };
    let refuse = |reason: &str| {
        info!(peer = %address, reason, "a connection was refused");
        let node = peer_node(&connection).map(|(node, _)| node);
        let (address, reason) = (address.to_string(), reason.to_owned());
        connection.close(VarInt::from_u32(19), reason.as_bytes());
        shared.board.add(Presence::Refused { node, address, reason, at: clock::now() });
    };
    match (Purpose::of(&connection), peer_node(&connection)) {
        (Some(Purpose::Link), Some((_, info))) if info.not_after < clock::now() => {
            refuse("the node's certificate has expired; its agent renews it under lampas-renew/1");
        }
        (Some(Purpose::Link), Some((node, info))) => {
            shared.gate.registry.remember(node, &connection);
            session::serve(Arc::clone(&shared), connection.clone(), node, info).await;
            shared.gate.registry.forget(node, &connection);
        }
        (Some(Purpose::Link), None) => refuse("the link needs a node's certificate"),
        (Some(Purpose::Renew), None) => refuse("a renewal needs the node's old certificate"),
        (Some(Purpose::Renew | Purpose::Enrol), _) => {
            if let Err(error) = admit(&shared, &connection).await {
                debug!(peer = %address, error = %Chain(&error), "a connection for a certificate failed");
            }
        }
        (None, _) => refuse("the protocol is not known here"),
    }
}

/// Answers one request on a connection that is for nothing else.
async fn admit(shared: &Shared, connection: &Connection) -> Result<(), super::stream::StreamError> {
    use super::stream::StreamError;
    let from = connection.remote_address();
    let opened = timeout(REQUEST_LIMIT, connection.accept_bi()).await.map_err(|_| StreamError::Late)?;
    let (mut send, mut recv) = opened.map_err(quinn::ReadError::from)?;
    let renews = match (Purpose::of(connection), peer_node(connection)) {
        (Some(Purpose::Renew), Some(shown)) => Some(shown),
        _ => None,
    };
    let kind = if renews.is_some() { Kind::RenewRequest } else { Kind::EnrolRequest };
    let request = read_message(&mut recv, &[], &[kind], REQUEST_LIMIT).await?;
    let _turn = shared.admissions.acquire().await.expect("the semaphore is never closed");
    let reply = match (request, renews) {
        (Message::RenewRequest(request), Some((node, info))) => {
            let shown = Shown::of(connection, info);
            Message::RenewReply(Box::new(shared.parts.admission.renew(node, shown, request.csr, from).await))
        }
        (Message::EnrolRequest(request), None) => {
            Message::EnrolReply(Box::new(shared.parts.admission.enrol(*request, from).await))
        }
        _ => return Err(StreamError::Unexpected("another request than the protocol is for".to_owned())),
    };
    write_message(&mut send, &reply, REQUEST_LIMIT).await?;
    // The peer closes when it has the answer; closing first could cut it off.
    if timeout(LAST_WORDS_LIMIT, connection.closed()).await.is_err() {
        warn!(peer = %from, "a peer kept its connection after it had its certificate");
        connection.close(VarInt::from_u32(0), b"done");
    }
    Ok(())
}
