//! Drift of nodes from their desired state: what was found, and what was decided about it.
//!
//! *Revert* asks the node to put the desired state back. *Adopt* reads what the node has as an object again and opens a
//! planned change with it, through the normal way: nothing is taken over unseen. What a non-root user could have
//! written never becomes what root executes or trusts. What a template made is merged back into the template; what such a
//! merge decides otherwise than the file stands, the node takes with the change (`settle`).

mod adopt;
pub(crate) mod api;
mod merge;
mod service;
pub(crate) mod settle;
mod store;

use lampas_shared::error::Fault;
use thiserror::Error;

pub use service::Drifts;
pub use store::DriftFilter;
pub(crate) use store::{leave, told_anew};

use crate::{change::ChangeError, db::DbError};

/// Why something could not be done about a drift.
#[derive(Debug, Error)]
pub enum DriftError {
    /// There is no such finding.
    #[error("there is no such drift")]
    NotFound,
    /// It ended meanwhile.
    #[error("this drift is over: it was {0}")]
    Over(&'static str),
    /// A template made it, and somebody must decide about lines.
    #[error(
        "a template made it, and {0} of the edits are where a name stands, or the template was changed too: decide about them"
    )]
    Conflicts(usize),
    /// The merge that was looked at is over.
    #[error("the template or the file moved since the merge was looked at; look again")]
    Moved,
    /// It can't be adopted.
    #[error("it can't be adopted: {0}")]
    Refused(String),
    /// The node could not do it.
    #[error("{0}")]
    Node(Fault),
    /// The change could not be made.
    #[error(transparent)]
    Change(ChangeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(DriftError);

impl From<ChangeError> for DriftError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            other => Self::Change(other),
        }
    }
}
