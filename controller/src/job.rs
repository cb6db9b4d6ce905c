//! Runs of cron jobs, as nodes report them.

pub(crate) mod api;
mod store;

pub use store::{RunFilter, get, last_of_objects, list, prune};
pub(crate) use store::{Tally, Verdict, tally};
