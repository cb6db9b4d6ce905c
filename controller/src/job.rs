//! Runs of cron jobs, as nodes report them.

mod store;

pub use store::{RunFilter, get, last_of_objects, list, prune};
