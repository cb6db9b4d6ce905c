//! Plans, applies and proves what stands on a host: files, directories, links, `/etc/hosts`, cron and sudo's rules.
//!
//! # The way of a desired state
//! 1. [`plan()`] looks at the disk and says what would change; it writes nothing. One [`Item`] per resource, and one per
//!    resource that is no longer wanted.
//! 2. [`validate()`] runs the checks that execute what they check, in a sandbox, before anything lands.
//! 3. [`apply()`] first hands a [`Record`] to the journal (what LAMPAS will own, how to undo), then writes: removals
//!    first, each file old or new and never torn. [`roll_back()`] takes the record's undo and puts everything back.
//! 4. [`prove()`] looks again: bytes read back, and the effect where it can be shown (cron runs and takes the file,
//!    `getent` resolves).
//!
//! Several resources share one file (`/etc/hosts`, a user's crontab): there LAMPAS owns a marked block, and foreign lines
//! stay byte for byte. Files are whole: what stood there before is kept below `/var/lib/lampas/agent/kept` and comes
//! back, byte for byte and with its metadata, when the object goes.

mod account;
mod apply;
mod cron;
mod diff;
mod eject;
mod file;
mod hosts;
mod inputs;
mod kept;
mod looks;
mod ownership;
mod package;
mod plan;
mod prove;
mod react;
mod secrets;
mod service;
mod state;
mod sudoers;
mod sysctl;
mod undo;
mod validate;

pub use account::WATCHED as ACCOUNT_FILES;
pub use apply::{ApplyError, apply};
pub use cron::DIRECTORY as CRON_DIRECTORY;
pub use eject::{EjectedJob, EjectedScript, Ejection, eject};
pub use inputs::{Facts, Inputs, Removal};
pub use kept::{
    Copy, copies, copy, forget_ownership, forget_sealed, keep_ownership, kept_ownership, purge, put_aside,
    seal_earlier, sweep,
};
pub use looks::Looks;
pub use ownership::{Before, Claim, FileMeta, Owned, Ownership, Record, TakenLine, Undo, UndoStep};
pub use package::{
    Apt, ChangedPackage, PackagePlan, STATUS as PACKAGE_STATUS, Standing, changed_packages, followed, note_follows,
    observed as observed_together, plan as plan_packages, serve_packages,
};
pub(crate) use plan::is_source;
pub use plan::{HostPlan, Item, observe, plan, watched};
pub use prove::{prove, prove_planned};
pub use react::{Due, Reacted, react, react_each};
pub use secrets::{Digests, Secrets};
pub use undo::roll_back;
pub(crate) use validate::checker_of;
pub use validate::{Tools, foresee, validate};

#[cfg(test)]
pub(crate) mod tests;
