//! Taking over existing servers, and giving them back.
//!
//! A node that enrolled to *observe* is told what it shall be and writes nothing. Its *scan* brings what stands there and
//! nobody manages, as bytes: `read` says what they mean, `compare` folds the nodes of a role, `import` makes objects of
//! what is chosen, through a change with its plan like any other. *Take over* shows the node's plan and ends observing.
//! *Eject* is the way back: plain files and manifests stay on the node, and its history here.
//!
//! Everything that came from a node is hostile here: it is bounded by the wire, nothing of it is executed, and what is
//! shown has its invisible characters written out.

pub(crate) mod api;
mod compare;
mod import;
mod read;
mod service;
mod store;

use lampas_shared::error::Fault;
use thiserror::Error;

pub(crate) use store::{ejected, enrolled, gone, observing, said};

use crate::{
    change::{ChangeError, freeze::told, protected},
    db::DbError,
    fleet::FleetError,
};

/// Why a node can't be looked at, taken over or given back.
#[derive(Debug, Error)]
pub enum TakeoverError {
    /// The node could not do it.
    #[error("{node}: {fault}")]
    Node {
        /// Its name.
        node: String,
        /// Why.
        fault: Fault,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Refused(String),
    /// Something moved since the plan was shown.
    #[error("what taking over would do has changed since it was shown; look again")]
    Moved,
    /// A freeze stands over the node, and something would be written there.
    #[error(
        "{}; take {node} over when that is over, or end it first (lampasctl freeze list); an administrator may go over it with a reason (--override)",
        told(.frozen)
    )]
    Frozen {
        /// Its name.
        node: String,
        /// The freezes.
        frozen: Vec<lampas_api::FrozenScope>,
    },
    /// It is protected, and something would be written there without a change that somebody approves.
    #[error(
        "{}; taking {node} over writes there, and nobody approves that: an administrator may go over it with a reason (--override)",
        protected(.needs)
    )]
    Protected {
        /// Its name.
        node: String,
        /// What protects it.
        needs: Vec<lampas_api::ProtectedScope>,
    },
    /// The node.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The change could not be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(TakeoverError);
