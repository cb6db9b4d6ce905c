//! Events: facts in commit order.
//!
//! A transaction notes its events and audit entries with [`Tx::event`] and [`Tx::audit`]; they are appended as its last
//! statements, when the counter row is taken. So sequences are in the order of commits, and the counter row, which
//! everybody needs, is held for the shortest time.

pub(crate) mod api;
pub(crate) mod attention;
mod store;

pub use store::{Filter, last_seq, prune, recent, tail};
pub(crate) use store::{flush, tail_of};

use std::collections::BTreeMap;

use lampas_shared::{
    event::EventKind,
    id::{ChangeId, NodeId, ObjectId},
};

use crate::{audit::Entry, db::Tx};

/// An event that has no place in the order yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// The node concerned.
    pub node: Option<NodeId>,
    /// The object concerned.
    pub object: Option<ObjectId>,
    /// The change concerned.
    pub change: Option<ChangeId>,
    /// Names and numbers that go with it.
    pub details: BTreeMap<String, String>,
}

impl NewEvent {
    /// Makes one without details.
    pub fn new(kind: EventKind) -> Self {
        Self { kind, node: None, object: None, change: None, details: BTreeMap::new() }
    }

    /// Says which node it concerns.
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Says which object it concerns.
    pub fn object(mut self, object: ObjectId) -> Self {
        self.object = Some(object);
        self
    }

    /// Says which change it concerns.
    pub fn change(mut self, change: ChangeId) -> Self {
        self.change = Some(change);
        self
    }

    /// Adds a detail; a value is cut at 500 characters.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        let value: String = value.to_string().chars().take(500).collect();
        self.details.insert(name.to_owned(), value);
        self
    }
}

/// What a transaction will append when it commits.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    events: Vec<NewEvent>,
    audit: Vec<Entry>,
    last_seq: Option<u64>,
}

impl Pending {
    /// Returns the sequence of the last event appended.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.last_seq
    }
}

impl Tx {
    /// Notes an event, to be appended when this transaction commits.
    pub fn event(&mut self, event: NewEvent) {
        self.pending.events.push(event);
    }

    /// Notes an act, to be appended to the audit when this transaction commits.
    pub fn audit(&mut self, entry: Entry) {
        self.pending.audit.push(entry);
    }
}
