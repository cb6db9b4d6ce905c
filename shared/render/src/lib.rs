//! Desired state to text and back: cron's files, `/etc/hosts`, and what a schedule means in a time zone.
//!
//! Everything here is pure. The agent renders files with it and reads them again to find drift; the controller shows
//! the next runs and turns an adopted file into an object; `lampas-agent job run` asks it whether a start by cron is
//! one of the job's own times. All three use the bundled time zone database, so that they agree.
//!
//! - [`schedule`]: zones, next runs, both clock changes, and what stands in cron's file for another zone
//! - [`crontab`]: files for `/etc/cron.d`, the block in a user's crontab, reading, checking and adopting them
//! - [`hosts`]: the managed block in `/etc/hosts`
//! - [`block`]: how a marked block lives among foreign lines
//! - [`sudoers`]: who has full rights by a set of sudoers files, and what clashes
//! - [`account`]: users and groups as small texts, and out of passwd(5) and its like
//! - [`package`]: what dpkg and apt say of packages
//! - [`merge`]: edits of a file that a template made, carried back into the template
//! - [`sysctl`]: what files of `/etc/sysctl.d` set

pub mod account;
pub mod block;
pub mod crontab;
pub mod hosts;
pub mod merge;
mod nearest;
pub mod package;
pub mod schedule;
pub mod sudoers;
pub mod sysctl;

pub use nearest::nearest;
pub use schedule::{Decision, NextRun, SkipReason, Zone, cron_line_schedule, next_runs, slot_for};
