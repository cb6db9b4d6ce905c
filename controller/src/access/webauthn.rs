//! Security keys and passkeys.

mod store;

pub(crate) use store::{count, delete_all};
