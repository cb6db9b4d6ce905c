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
    /// The head's hash.
    pub head: String,
}
