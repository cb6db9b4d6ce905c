//! What LAMPAS manages on a host: hosts entries, cron jobs, scripts, files, directories, links, rules for sudo,
//! kernel settings, units of systemd.

mod account;
mod apt;
mod cron;
mod file;
mod group;
mod hosts;
mod package;
mod password;
mod path;
mod reaction;
mod schedule;
mod script;
mod service;
mod sudoers;
mod sysctl;
mod user;

pub use account::{GroupName, UserName};
pub use apt::{AptSource, Fingerprint};
pub use cron::{CronJob, CronTable, EnvName, TimeZoneName};
pub(crate) use file::base64_encode;
pub use file::{CheckCommand, Directory, Encoding, FileMode, Link, ManagedFile, Validator};
pub use group::{Ensure, Group};
pub use hosts::{HostName, HostsEntry, HostsSource};
pub use package::{Package, PackageEnsure, PackageName, PackageVersion};
pub use password::{Password, PasswordHash, PasswordWant};
pub use path::ManagedPath;
pub use reaction::{Reaction, ReactionVerb};
pub use schedule::{Field, FieldSet, Schedule};
pub use script::Script;
pub use service::{Aspect, Service, UnitName};
pub use sudoers::Sudoers;
pub use sysctl::{Sysctl, SysctlKey, assigned};
pub use user::{AuthorizedKey, Expiry, User};
