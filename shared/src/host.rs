//! What LAMPAS manages on a host: hosts entries, cron jobs, scripts, files, directories, links, rules for sudo,
//! kernel settings.

mod account;
mod cron;
mod file;
mod hosts;
mod path;
mod schedule;
mod script;
mod sudoers;
mod sysctl;

pub use account::{GroupName, UserName};
pub use cron::{CronJob, CronTable, EnvName, TimeZoneName};
pub use file::{Directory, Encoding, FileMode, Link, ManagedFile, Validator};
pub use hosts::{HostName, HostsEntry, HostsSource};
pub use path::ManagedPath;
pub use schedule::{Field, FieldSet, Schedule};
pub use script::Script;
pub use sudoers::Sudoers;
pub use sysctl::{Sysctl, SysctlKey};
