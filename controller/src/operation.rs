//! Operations: commands and scripts that run once on a selection of nodes.
//!
//! What happens next is decided by `lampas_shared::operation::step`, from what the store holds. `drive` asks it whenever
//! something moved, stores what it decides, and only then tells nodes; so a controller that dies at any point comes back
//! into the same operation. A node begins each run at most once, so that it can be told again. `collect` gathers what nodes
//! answer and write into few transactions. Several controllers on one store decide together: `decide` asks again in the
//! transaction that writes, holding the operation, and each starts the runs of the nodes that it holds. Results come
//! through the outbox, and are stored with the reports of their node; a late one is taken, a second one is not.

pub(crate) mod api;
mod collect;
mod decide;
mod drive;
mod gate;
mod output;
mod service;
mod signing;
mod store;

pub use service::Operations;
#[cfg(test)]
pub(crate) use service::{Nodes, Starting};
pub(crate) use store::{Filter, last_words, results, signing::needs};

use thiserror::Error;

use crate::db::DbError;

/// Why something could not be done about an operation.
#[derive(Debug, Error)]
pub enum OperationError {
    /// There is none.
    #[error("there is no operation {0}")]
    NotFound(String),
    /// It can't be started.
    #[error("{0}")]
    Refused(String),
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] lampas_shared::TextError),
    /// It would run, or runs, on nodes on which somebody may not.
    #[error(transparent)]
    Outside(#[from] crate::access::Outside),
    /// It is root code, and who starts it has not lately shown who they are.
    #[error(transparent)]
    Unproven(#[from] crate::access::Unproven),
    /// The client used one idempotency key for two different requests.
    #[error("the idempotency key was used for another operation ({0})")]
    KeyReused(u64),
    /// A statement or its signature is no good.
    #[error(transparent)]
    Signature(lampas_shared::TextError),
    /// It is over, or is not yet.
    #[error("{0}")]
    State(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(OperationError);

#[cfg(test)]
mod tests;
