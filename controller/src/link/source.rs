//! What the link asks of the store, as traits, so that it knows no SQL.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use lampas_runtime::{identity::CertInfo, quic::peer_chain};
use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::Fault,
    fleet::{NodeFacts, NodeName},
    id::NodeId,
    time::UnixMs,
};
use lampas_wire::{EnrolReply, EnrolRequest, RenewReply, Report};

/// Where desired states and contents come from, and where reports go.
pub trait StateSource: Send + Sync + 'static {
    /// Returns what a node shall be; nothing when nothing was ever assigned to it.
    fn desired_for(&self, node: NodeId) -> BoxFuture<'_, Result<Option<NodeDesired>, Fault>>;

    /// Returns a content that a state of this node names, by its hash; nothing when there is none, or none for it.
    fn blob(&self, node: NodeId, hash: ContentHash) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>>;

    /// Commits reports of one node's outbox, and returns the last sequence that is committed.
    fn submit(&self, node: NodeId, epoch: u64, reports: Vec<(u64, Report)>) -> BoxFuture<'_, Result<u64, Fault>>;

    /// Returns the last sequence of a node's outbox epoch that is committed; 0 when there is none.
    fn acked(&self, node: NodeId, epoch: u64) -> BoxFuture<'_, Result<u64, Fault>>;
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
}

/// One change of who is connected, in the order in which it happened to its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A session began.
    Connected {
        /// The node.
        node: NodeId,
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
        /// Why, in a sentence.
        reason: String,
        /// When.
        at: UnixMs,
    },
    /// A connected node is silent, or is heard again.
    Heard {
        /// The node.
        node: NodeId,
        /// Whether it is silent.
        is_stale: bool,
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

    /// Records presence of many nodes in one transaction.
    fn record(&self, presence: Vec<Presence>) -> BoxFuture<'_, Result<(), Fault>>;
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
