//! What the link asks of the store, as traits, so that it knows no SQL.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use lampas_runtime::{identity::CertInfo, quic::peer_chain};
use lampas_shared::{
    audit::{Countersigned, Head},
    desired::{ContentHash, NodeDesired},
    error::Fault,
    fleet::{NodeFacts, NodeName},
    id::{NodeId, SecretValueId},
    signature::Signed,
    time::UnixMs,
};
use lampas_wire::{EnrolReply, EnrolRequest, RenewReply, Report};

/// The code of what is refused because a later session of the node is there.
pub const FENCED: &str = "session.fenced";

/// Where desired states and contents come from, and where reports go.
pub trait StateSource: Send + Sync + 'static {
    /// Returns what a node shall be, and what is signed of it.
    fn wanted(&self, node: NodeId) -> BoxFuture<'_, Result<Wanted, Fault>>;

    /// Returns a content that a state of this node names, by its hash; nothing when there is none, or none for it.
    fn blob(&self, node: NodeId, hash: ContentHash) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>>;

    /// Returns the head of the audit; nothing when it has no entry.
    fn audit_head(&self) -> BoxFuture<'_, Result<Option<Head>, Fault>> {
        Box::pin(async { Ok(None) })
    }

    /// Returns the value of a secret, sealed to the key that the node gave; nothing when there is none, or none for it.
    fn secret(
        &self,
        node: NodeId,
        value: SecretValueId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        let _ = (node, value, key);
        Box::pin(async { Ok(None) })
    }

    /// Lets go of a node that says that its owner ejected it.
    fn leave(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        let _ = node;
        Box::pin(async { Err(Fault::lasting("leave.unknown", "nodes can't leave here")) })
    }

    /// Commits reports of one node's outbox that came over a session, and returns the last sequence that is committed.
    /// The fault [`FENCED`] says that a later session of the node is there.
    fn submit(
        &self,
        node: NodeId,
        session: u64,
        epoch: u64,
        reports: Vec<(u64, Report)>,
    ) -> BoxFuture<'_, Result<u64, Fault>>;

    /// Returns the last sequence of a node's outbox epoch that is committed; 0 when there is none.
    fn acked(&self, node: NodeId, epoch: u64) -> BoxFuture<'_, Result<u64, Fault>>;
}

/// What a node is told when its state moved.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What it shall be; nothing when nothing was ever assigned to it.
    pub desired: Option<NodeDesired>,
    /// The signatures over root code that hold for it: all that were there when the state was made.
    pub signatures: Vec<Signed>,
}

/// What the link must know of a node before it serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Whether it was revoked or removed.
    pub is_revoked: bool,
    /// The machine that it last connected from; empty when it never did.
    pub machine: String,
    /// Whether it is connected to another controller that is alive.
    pub is_elsewhere: bool,
    /// The hash of the authorities that it last said it trusts; empty before it said any.
    pub trust: String,
    /// Whether it only observes, as far as is known here.
    pub observes: bool,
}

/// A session that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The node.
    pub node: NodeId,
    /// The connection, as [`Presence::Connected`] named it.
    pub connection: u64,
    /// The session's number: greater than that of every earlier session of the node, on any controller.
    pub session: u64,
}

/// One change of who is connected, in the order in which it happened to its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A node says otherwise than the store whether it only observes.
    Mode {
        /// The node.
        node: NodeId,
        /// Whether it does.
        observes: bool,
    },
    /// A session began.
    Connected {
        /// The node.
        node: NodeId,
        /// The connection's number within this process.
        connection: u64,
        /// From where, as the controller sees it.
        address: String,
        /// What the node says of itself, bounded.
        facts: Box<NodeFacts>,
        /// When.
        at: UnixMs,
    },
    /// A session ended.
    Disconnected {
        /// The node.
        node: NodeId,
        /// The session's number; absent when it ended before it was recorded.
        session: Option<u64>,
        /// Why, in a sentence.
        reason: String,
        /// When.
        at: UnixMs,
    },
    /// A connected node is silent, or is heard again.
    Heard {
        /// The node.
        node: NodeId,
        /// The session's number.
        session: u64,
        /// Whether it is silent.
        is_stale: bool,
        /// When.
        at: UnixMs,
    },
    /// A node says that it trusts other authorities than the store knew of it.
    Trusts {
        /// The node.
        node: NodeId,
        /// [`lampas_wire::Trust::hash`] of them.
        trust: ContentHash,
    },
    /// A connected node says something else of itself.
    Facts {
        /// The node.
        node: NodeId,
        /// What, bounded.
        facts: Box<NodeFacts>,
        /// When.
        at: UnixMs,
    },
    /// A node signed a head of the audit.
    Countersigned {
        /// The node.
        node: NodeId,
        /// The head and the signature.
        signed: Box<Countersigned>,
        /// The public key that it holds under: an uncompressed point of P-256.
        key: Vec<u8>,
        /// When.
        at: UnixMs,
    },
    /// A node does not take the state that it shall have.
    Declined {
        /// The node.
        node: NodeId,
        /// Why.
        fault: Fault,
        /// When.
        at: UnixMs,
    },
    /// A connection was refused after its handshake.
    Refused {
        /// The node that the certificate names, when it names one.
        node: Option<NodeId>,
        /// From where.
        address: String,
        /// Why, in a sentence.
        reason: String,
        /// When.
        at: UnixMs,
    },
}

/// Who belongs to the fleet, and where presence is recorded.
pub trait Membership: Send + Sync + 'static {
    /// Returns a node by its id, if its certificate with this serial may still connect.
    fn member(&self, node: NodeId, serial: &str) -> BoxFuture<'_, Result<Option<Member>, Fault>>;

    /// Returns about how many nodes the fleet has, without asking the store.
    fn size(&self) -> usize;

    /// Records presence of many nodes in one transaction. Returns the sessions that began.
    fn record(&self, presence: Vec<Presence>) -> BoxFuture<'_, Result<Vec<Recorded>, Fault>>;
}

/// What a node showed of itself in the handshake, which has verified it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What its certificate says.
    pub info: CertInfo,
    /// The certificate and what leads from it to a root, DER.
    pub chain: Vec<Vec<u8>>,
}

impl Shown {
    /// Reads it from a connection.
    pub fn of(connection: &quinn::Connection, info: CertInfo) -> Self {
        let chain = peer_chain(connection).iter().map(|der| der.to_vec()).collect();
        Self { info, chain }
    }
}

/// Gives and renews certificates.
pub trait Admission: Send + Sync + 'static {
    /// Lets a node in that shows a token.
    fn enrol(&self, request: EnrolRequest, from: SocketAddr) -> BoxFuture<'_, EnrolReply>;

    /// Renews the certificate that a node showed; it may be expired, not revoked.
    fn renew(&self, node: NodeId, shown: Shown, csr: Vec<u8>, from: SocketAddr) -> BoxFuture<'_, RenewReply>;
}
