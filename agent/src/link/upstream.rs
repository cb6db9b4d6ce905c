//! What the reconciler has of the link.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lampas_shared::{
    desired::ContentHash,
    error::{Chain, Fault},
    id::SecretValueId,
};
use lampas_wire::{BlobRequest, Goodbye, GoodbyeReason, Message, Reply, SecretRequest, encode};
use tokio::{sync::watch, time::timeout};

use super::{Credentials, DialError, Dialled, Dialler, ExchangeError, LinkStatus, exchange, exchange::read_message};
use crate::reconcile::Upstream;

/// For a connection to come up when a content is needed.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// For a controller to let go of the node.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// How a controller closes the connection of a node that was revoked.
const REVOKED: u32 = 2;
/// For 1 MiB to arrive, at 64 KiB a round trip.
const BLOB_LIMIT: Duration = Duration::from_secs(60);
/// For `Welcome` after the handshake of a probe.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);

/// A handle on the link. Clones are the same link.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    pub(super) dialler: Arc<Dialler>,
    pub(super) connection: Arc<watch::Sender<Option<quinn::Connection>>>,
    pub(super) status: Arc<watch::Sender<LinkStatus>>,
}

impl LinkHandle {
    pub(super) fn new(dialler: Arc<Dialler>) -> Self {
        Self { dialler, connection: Arc::default(), status: Arc::default() }
    }

    /// Returns whether the node is connected, and wakes when that changes.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    /// Returns who the node is.
    pub fn credentials(&self) -> &Arc<Credentials> {
        self.dialler.credentials()
    }

    /// Returns how many bytes the present connection has sent and received, as UDP payload.
    pub fn bytes(&self) -> Option<(u64, u64)> {
        let stats = self.connection.borrow().as_ref()?.stats();
        Some((stats.udp_tx.bytes, stats.udp_rx.bytes))
    }

    /// Returns the connection; waits for one up to a limit.
    async fn connected(&self) -> Option<quinn::Connection> {
        let mut current = self.connection.subscribe();
        match timeout(CONNECTION_LIMIT, current.wait_for(Option::is_some)).await {
            Ok(Ok(connection)) => connection.clone(),
            _ => None,
        }
    }

    async fn secret(&self, value: SecretValueId, key: [u8; 32]) -> Result<Vec<u8>, Fault> {
        let offline = || Fault::passing("link.offline", "the value of a secret waits for a controller");
        let connection = self.connected().await.ok_or_else(offline)?;
        let request = Message::SecretRequest(SecretRequest { value, key });
        match exchange(&connection, &request, BLOB_LIMIT).await {
            Ok(Message::SecretReply(reply)) => reply,
            Ok(Message::Fault(fault)) => Err(fault),
            Ok(_) => Err(Fault::passing("link.answer", "the controller answered with something else")),
            Err(error) => Err(Fault::passing("link.secret", format!("fetching a secret: {}", Chain(&error)))),
        }
    }

    /// Tells a controller that this node was ejected by its owner.
    ///
    /// # Errors
    /// When the node is not connected, or the controller does not take it in.
    pub async fn leave(&self) -> Result<(), Fault> {
        let offline = || Fault::passing("link.offline", "the node is not connected");
        let connection = self.connection.borrow().clone().ok_or_else(offline)?;
        match exchange(&connection, &Message::LeaveRequest, LEAVE_LIMIT).await {
            Ok(Message::Reply(reply)) => match *reply {
                Reply::Done(done) => done,
                _ => Err(Fault::passing("link.answer", "the controller answered with something else")),
            },
            Ok(Message::Fault(fault)) => Err(fault),
            Ok(_) => Err(Fault::passing("link.answer", "the controller answered with something else")),
            // Whom it let go of it hangs up on: the answer may have been lost with the connection.
            Err(ExchangeError::Connection(quinn::ConnectionError::ApplicationClosed(close)))
                if close.error_code == REVOKED.into() =>
            {
                Ok(())
            }
            Err(error) => Err(Fault::passing("link.leave", Chain(&error).to_string())),
        }
    }

    async fn blob(&self, hash: ContentHash) -> Result<Vec<u8>, Fault> {
        let connection = self.connected().await.ok_or_else(|| {
            Fault::passing("link.offline", format!("content {} waits for a controller", hash.short()))
        })?;
        let request = Message::BlobRequest(BlobRequest { hash });
        let bytes = match exchange(&connection, &request, BLOB_LIMIT).await {
            Ok(Message::BlobReply(reply)) => reply?,
            Ok(Message::Fault(fault)) => return Err(fault),
            Ok(_) => return Err(Fault::passing("link.answer", "the controller answered with something else")),
            Err(error) => return Err(Fault::passing("link.blob", format!("fetching a content: {}", Chain(&error)))),
        };
        if ContentHash::of(&bytes) != hash {
            return Err(Fault::passing("link.blob", format!("the controller sent other bytes than {}", hash.short())));
        }
        Ok(bytes)
    }

    async fn probe(&self) -> Result<(), Fault> {
        let mut failures = Vec::new();
        for controller in self.dialler.controllers() {
            match self.probe_one(&controller).await {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{controller}: {}", Chain(&error))),
            }
        }
        if failures.is_empty() {
            failures.push("no controller is known".to_owned());
        }
        Err(Fault::passing("link.unreachable", format!("no controller can be reached: {}", failures.join("; "))))
    }

    /// Makes a handshake from a new socket up to `Welcome`, and ends it.
    async fn probe_one(&self, controller: &str) -> Result<(), ProbeError> {
        let dialled = self.dialler.dial_fresh(controller).await?;
        let welcomed = timeout(WELCOME_LIMIT, self.greet(&dialled)).await;
        dialled.connection.close(0_u32.into(), b"confirmed");
        // The socket goes with the endpoint; without this the close might not leave it.
        let _ = timeout(Duration::from_millis(500), dialled.endpoint.wait_idle()).await;
        welcomed.unwrap_or(Err(ProbeError::Exchange(ExchangeError::Timeout(WELCOME_LIMIT))))
    }

    async fn greet(&self, dialled: &Dialled) -> Result<(), ProbeError> {
        let credentials = self.dialler.credentials();
        let (mut send, mut recv) = dialled.connection.open_bi().await.map_err(ExchangeError::from)?;
        let bytes = encode(&Message::Hello(Box::new(credentials.trial()))).map_err(ExchangeError::from)?;
        send.write_all(&bytes).await.map_err(|_| ExchangeError::Stream("the hello was sent"))?;
        match read_message(&mut recv).await? {
            Message::Welcome(welcome) if welcome.fleet == credentials.fleet() => {}
            Message::Welcome(_) => return Err(ProbeError::Fleet),
            Message::Goodbye(goodbye) => return Err(ProbeError::Refused(goodbye.message)),
            Message::Fault(fault) => return Err(ProbeError::Refused(fault.message)),
            other => return Err(ProbeError::Refused(format!("answered with {:?}", other.kind()))),
        }
        let done = Goodbye { reason: GoodbyeReason::Done, message: "confirmed".to_owned() };
        if let Ok(bytes) = encode(&Message::Goodbye(done)) {
            // A courtesy: the close that follows says the same.
            let _ = send.write_all(&bytes).await;
        }
        Ok(())
    }
}

impl Upstream for LinkHandle {
    fn fetch_blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(self.blob(hash))
    }

    fn fetch_secret(&self, value: SecretValueId, key: [u8; 32]) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(self.secret(value, key))
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.probe())
    }
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the controller is of another fleet")]
    Fleet,
    #[error("the controller refused: {0}")]
    Refused(String),
}
