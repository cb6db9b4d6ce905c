//! Rehearsals: a run in a copy of the node's files and without a network.

use lampas_shared::error::Fault;

use super::spool::Entry;

/// Enters the copy.
pub(super) fn enter(_: &Entry) -> Result<(), Fault> {
    Err(Fault::lasting("operation.rehearse", "this node can't rehearse: it knows no copies of its files"))
}

/// Returns what the run changed in its copy, a line each.
pub(super) fn changes(_: &Entry) -> Vec<String> {
    Vec::new()
}
