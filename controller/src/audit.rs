//! The audit: acts by principals, one row each, hash-chained.
//!
//! Each entry's hash covers its fields and the hash of the entry before it, so that a row that is changed, dropped or
//! put in between shows. Entries are appended by the transaction that does what they say; who has the counter row is
//! alone, so that the chain has no forks.

pub(crate) mod api;
mod export;
mod head;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use head::{Countersignature, head, keep as keep_countersignatures};
pub(crate) use store::append;
pub use store::{Query, list, records, verify};

use std::sync::Arc;

use lampas_shared::access::Rights;

use crate::access::Proof;

/// Who acts, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `user:admin`, `token:NAME of admin`, `node:web-1`, `system`.
    pub name: String,
    /// The address; empty for the system.
    pub from: String,
    /// What it may, where; without bounds for the controller itself. See [`crate::access::reach`].
    pub rights: Option<Arc<Rights>>,
    /// Whether it has lately shown who it is, for root code.
    pub proof: Proof,
}

impl Principal {
    /// The controller itself.
    pub fn system() -> Self {
        Self { name: "system".to_owned(), from: String::new(), rights: None, proof: Proof::NotAsked }
    }

    /// A principal by name, from an address; without bounds.
    pub fn new(name: impl Into<String>, from: impl Into<String>) -> Self {
        Self { name: name.into(), from: from.into(), rights: None, proof: Proof::NotAsked }
    }
}

/// An act that has no place in the chain yet.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who.
    pub principal: Principal,
    /// What: `change.apply`, `node.revoke`.
    pub act: &'static str,
    /// On what, by name.
    pub object: String,
    /// Why, in the principal's words.
    pub reason: String,
    /// `done`, or `refused: …`.
    pub result: String,
    /// Further facts as JSON; never a content or a secret.
    pub details: String,
}

impl Entry {
    /// An act that is done.
    pub fn done(principal: &Principal, act: &'static str, object: impl Into<String>) -> Self {
        Self {
            principal: principal.clone(),
            act,
            object: object.into(),
            reason: String::new(),
            result: "done".to_owned(),
            details: "{}".to_owned(),
        }
    }

    /// An act that was refused.
    pub fn refused(principal: &Principal, act: &'static str, object: impl Into<String>, why: &str) -> Self {
        Self { result: format!("refused: {why}"), ..Self::done(principal, act, object) }
    }

    /// Adds why it was done.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Adds further facts.
    pub fn with_details(mut self, details: &impl serde::Serialize) -> Self {
        self.details = crate::db::row::to_json(details);
        self
    }
}
