//! Secrets: values that come in, are kept sealed, and go to the nodes that use them, sealed anew.
//!
//! A secret is an object like any other, with revisions, plans and rollouts; what it says is which of its values stands.
//! The values are rows of a table of their own, sealed under a key in a file of the data directory ([`Vault`]), so that
//! neither the store nor a dump of it holds one, and no object, diff, export or event can show one. A node asks for a
//! value over its link with a key of its own, and gets it sealed to that key if its state, or one that is planned for it,
//! holds that value.
//!
//! Earlier values are kept until somebody purges them (`purge`). Who was given a value is put down before it goes, and a purge
//! is told to all of them until they say that it is gone (`driver`).

pub(crate) mod api;
pub(crate) mod driver;
pub(crate) mod purge;
pub(crate) mod store;
mod vault;

pub use vault::Vault;
pub(crate) use vault::{CheckError, check_configured};
