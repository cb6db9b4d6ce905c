//! Runs operations: each in a process of its own that outlives the agent.
//!
//! The agent writes an order into the spool (`/var/lib/lampas/agent/runs/RUN`, 0700) and starts `lampas-agent run-shim`,
//! in a transient unit where systemd runs, else detached. The shim owns the run from there on: it starts the program
//! (through `lampas-agent run-step`, which becomes the user), writes the output with its offsets, ends what takes too
//! long, with all that it forked, and leaves a record. The agent finds the record, also after it was restarted, puts the
//! result into the outbox, and streams output to whoever asks. It lets go when the controller says that it has all.
//!
//! Values of secrets come sealed to the node's key, and stand so in the spool; they are opened in memory, for the program's
//! environment and for taking them out of its output. Where the policy wants an operator's signature, a statement starts a
//! run once.
//!
//! The directory is the memory: a run whose directory, or whose mark after it was let go, is there is never begun again.

mod check;
mod judge;
mod launch;
mod mask;
mod output;
mod secret;
mod serve;
mod shim;
mod spool;
mod tree;
mod used;

mod runs;
mod unshared;

pub use check::check;
pub use launch::{Place, become_program};
pub use runs::{Runs, Starter, Trust};
pub(crate) use secret::values_in_use;
pub(crate) use serve::{is_of_runs, serve};
pub use shim::watch_over;
