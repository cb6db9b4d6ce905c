//! Objects of the host area and their revisions.
//!
//! An object stands as it is; each of its revisions stands for ever, deletions too. What is deleted and made again
//! under the same identity is the same object, so that its history goes on. Nothing writes an object but a change
//! ([`crate::change`]). Scopes that name a node hold the node's id in the store and its name everywhere else.

pub(crate) mod api;
pub(crate) mod check;
mod history;
pub(crate) mod mask;
mod show;
mod store;
mod uses;
pub(crate) mod zone;

pub(crate) use history::{as_of, differences};
pub use show::{diff, summary, text, text_diff};
pub use store::{
    All, ObjectFilter, RevisionRow, Stored, StoredRevision, all, by_change, find, former, get, in_force_on, list,
    newest, of_node, revision,
};
pub(crate) use store::{
    approval_of, drift_word, id_of, map_key, map_nodes, put, spec, stored_scope, unmap_key, weight,
};
