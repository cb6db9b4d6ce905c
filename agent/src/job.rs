//! Runs cron's jobs and records them.
//!
//! Cron's line calls `lampas-agent job run ID` as the job's user. [`run()`] reads the job's file, asks the schedule
//! whether this start is one of the job's times, runs the command as cron would have, and leaves a record in the spool.
//! It needs neither the agent nor its journal nor a controller. The agent empties the spool by [`collect()`].
//!
//! The files are plain JSON below `/var/lib/lampas/agent`: `jobs/ID.json` (the job; root's, readable by the job's user),
//! `jobs/ID.slot` (the last slot that was taken; the job's user's), and `spool/` (a mail drop: everybody may add, nobody
//! but root may read or remove what is another's). What cron did not start is told by the agent, from [`slots`].

mod collect;
mod command;
mod file;
mod mail;
mod run;
mod slots;
mod spool;

pub use collect::{Collected, MAX_RECORDS, collect};
pub use file::{JOBS_DIRECTORY, JobFile, JobFileError};
pub(crate) use file::{job_path, prepare_directories, prepare_slot, remove_slot, retire};
pub use run::{Start, run};
pub use slots::{Moment, Slots};
pub use spool::SPOOL_DIRECTORY;

#[cfg(test)]
mod tests;
