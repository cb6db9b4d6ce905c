//! Nodes, roles and labels.
//!
//! A node comes by enrolment and is named by its id for ever; its name, roles, labels and address are the operators'.
//! Roles come to be when they are first used. Whether a node is heard stands in its row: the link notes connections
//! through the ingest, the background marks the silent ones.
//!
//! These functions work on a transaction that the caller opens. What changes the desired state of nodes (roles, labels,
//! names, addresses, removal) goes through [`crate::change::Changes`], which compiles anew in the same transaction.

pub(crate) mod api;
mod census;
mod list;
pub(crate) mod policy;
mod resource;
mod role;
mod store;

use lampas_shared::{
    TextError,
    fleet::{Labels, NodeName, RoleName},
    id::NodeId,
    time::UnixMs,
};
use thiserror::Error;

pub(crate) use census::count;
pub use census::{counts, expiring, map};
pub(crate) use list::parse_state;
pub use list::{NodeFilter, list};
pub use resource::{ResourceRow, resource_states};
pub use role::{ensure as ensure_role, list as list_roles};
pub use store::{
    behind, create, find, get, id_of, is_revoked, members, names, note_renewal, parse_address, remove, revoke, said,
    set_facts, set_machine, set_trust, size, stable, stay_named, still_named, time_zones, update, uses_facts,
};

use crate::db::DbError;
pub(crate) use store::bounded;

/// A node at its enrolment.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Its id, as in its certificate.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its roles, from the token.
    pub roles: Vec<RoleName>,
    /// Its labels.
    pub labels: Labels,
    /// The hash of its machine-id; empty when unknown.
    pub machine: String,
    /// From where it enrolled.
    pub observed_address: Option<String>,
    /// When.
    pub at: UnixMs,
}

#[cfg(test)]
impl NewNode {
    /// A node of some roles that says nothing of itself yet, for tests of what nodes have.
    pub(crate) fn fresh(name: &str, roles: &[&str]) -> Self {
        Self {
            id: lampas_runtime::random::new_id(),
            name: NodeName::parse(name).expect("a name"),
            roles: roles.iter().map(|role| RoleName::parse(*role).expect("a role")).collect(),
            labels: Labels::new(),
            machine: String::new(),
            observed_address: None,
            at: lampas_runtime::clock::now(),
        }
    }
}

/// Why something could not be done to a node.
#[derive(Debug, Error)]
pub enum FleetError {
    /// There is no such node.
    #[error("there is no node {0:?}")]
    NotFound(String),
    /// The name is another node's.
    #[error("the name {0} is another node's; names are unique in the fleet")]
    NameTaken(NodeName),
    /// Somebody else changed the node meanwhile.
    #[error("node {name} was changed meanwhile (revision {found}, not {expected}); read it again")]
    Conflict {
        /// Its name.
        name: NodeName,
        /// What the caller had.
        expected: u64,
        /// What stands.
        found: u64,
    },
    /// A field is not what it should be.
    #[error(transparent)]
    Field(#[from] TextError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(FleetError);
