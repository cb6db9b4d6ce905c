//! The audit: acts by principals, hash-chained.

use lampas_shared::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One act: `GET /api/v1/audit?after&limit&principal&act` (newest first).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// When.
    pub at: UnixMs,
    /// Who: `user:admin`, `token:NAME of admin`, `node:web-1`, `system`.
    pub principal: String,
    /// From which address; empty for the system.
    pub from: String,
    /// What: `change.apply`, `node.revoke`, `session.open` …
    pub act: String,
    /// On what, by name.
    pub object: String,
    /// Why, in the principal's words.
    pub reason: String,
    /// `done` or `refused: …`.
    pub result: String,
    /// The hash of this entry, which covers the hash of the one before.
    pub hash: String,
}

/// `GET /api/v1/audit/verification`: the chain, checked from its beginning.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// How many entries were checked.
    pub entries: u64,
    /// The first entry whose hash is wrong; absent when the chain is whole.
    pub broken_at: Option<u64>,
    /// How it is broken there, in words.
    pub broken_how: Option<String>,
    /// The head's hash.
    pub head: String,
    /// How many heads that nodes signed the chain holds.
    #[serde(default)]
    pub countersigned: u64,
    /// Heads that nodes signed and that the chain does not hold, in words: it was rewritten after they saw it.
    #[serde(default)]
    pub rewritten: Vec<String>,
}

/// A line of `GET /api/v1/audit/export`: an entry with all that its hash covers. Times are in milliseconds, as the hash
/// takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub principal: String,
    /// From which address.
    pub from: String,
    /// What.
    pub act: String,
    /// On what.
    pub object: String,
    /// Why.
    pub reason: String,
    /// `done` or `refused: …`.
    pub result: String,
    /// Further facts as JSON.
    pub details: String,
    /// The hash of the entry before.
    pub prev_hash: String,
    /// The hash of this one.
    pub hash: String,
}

/// A line of `GET /api/v1/audit/heads`: a head of the chain that a node saw and signed. With the chain's export it shows
/// whether the chain is still the one that the node saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The fleet.
    pub fleet: Option<lampas_shared::id::FleetId>,
    /// The node.
    pub node: lampas_shared::id::NodeId,
    /// Its name; empty when it is gone.
    pub name: String,
    /// The epoch of generations: a restored backup opens a new one, with an older chain.
    pub epoch: u64,
    /// The number of the entry.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// When, by the node's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// The signature (ECDSA P-256, SHA-256, ASN.1), in base64.
    pub signature: String,
    /// The public key of the node's certificate, an uncompressed point, in base64.
    pub public_key: String,
    /// The entry of an earlier head that the node was shown and that this one contradicts.
    pub contradicts_seq: Option<u64>,
    /// Its hash.
    pub contradicts_hash: Option<String>,
}

impl AuditRecord {
    /// Returns the hash that it must have.
    pub fn expected_hash(&self) -> String {
        let fields = [&self.principal, &self.from, &self.act, &self.object, &self.reason, &self.result, &self.details];
        lampas_shared::audit::chain_hash(self.seq, self.at_ms, fields.map(String::as_str), &self.prev_hash)
    }
}
