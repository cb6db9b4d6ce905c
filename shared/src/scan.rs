//! What stands on a node that LAMPAS does not manage, as its agent found it; and what is left when a node is ejected.
//!
//! A scan is the raw material of taking over an existing server. The agent runs as root, so it reads and interprets
//! nothing of it: crontabs, hosts lines and scripts come as bytes, and the controller, which has no power over the node,
//! reads what they mean.

use serde::{Deserialize, Serialize};

use crate::{report::ObservedFile, time::UnixMs};

/// The most files of one scan.
pub const MAX_FILES: usize = 4000;
/// The most bytes of contents in one scan; what does not fit comes without its content.
pub const MAX_CONTENT_BYTES: usize = 8 << 20;
/// The most packages of one scan.
pub const MAX_PACKAGES: usize = 10_000;
/// The most users of one scan.
pub const MAX_USERS: usize = 2000;
/// The most notes of one scan.
pub const MAX_NOTES: usize = 64;

/// What shall be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRequest {
    /// Files by path, instead of the usual places; at most 256. Nothing below them is looked at.
    pub paths: Vec<String>,
}

/// What stands unmanaged on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// When, by the node's clock.
    pub at: UnixMs,
    /// The files, by path.
    pub files: Vec<ForeignFile>,
    /// The packages that somebody asked for (not those that came along with others), by name.
    pub packages: Vec<ForeignPackage>,
    /// The users that people sign in as (uid 1000 and above, and members of the group sudo), by name.
    pub users: Vec<HumanUser>,
    /// How many places were left out because LAMPAS manages them.
    pub managed: u32,
    /// What could not be looked at, and what was left off.
    pub notes: Vec<String>,
}

/// Which kind of place a file stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `/etc/crontab` or a file of `/etc/cron.d`.
    Cron,
    /// A script of `/etc/cron.hourly` and its like.
    CronScript,
    /// A user's own crontab.
    Crontab,
    /// `/etc/hosts`, without LAMPAS's block.
    Hosts,
    /// Something in `/usr/local/bin` or `/usr/local/sbin`.
    Script,
    /// `/etc/sudoers` or a file of `/etc/sudoers.d`.
    Sudoers,
    /// A file of a directory that the node's configuration names, or one that was asked for.
    File,
}

impl Place {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Cron, Self::CronScript, Self::Crontab, Self::Hosts, Self::Script, Self::Sudoers, Self::File];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::CronScript => "cron_script",
            Self::Crontab => "crontab",
            Self::Hosts => "hosts",
            Self::Script => "script",
            Self::Sudoers => "sudoers",
            Self::File => "file",
        }
    }
}

impl std::str::FromStr for Place {
    type Err = crate::TextError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| {
            crate::TextError::new(
                "kind",
                text,
                "is none of cron, cron_script, crontab, hosts, script, sudoers and file",
            )
        })
    }
}

/// A file that nobody manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignFile {
    /// What it is there for.
    pub place: Place,
    /// Where it stands.
    pub path: String,
    /// The file; absent when it is none or can't be read.
    pub file: Option<ObservedFile>,
    /// What a symbolic link points to.
    pub link: Option<String>,
    /// Why it can't be read; empty otherwise.
    pub fault: String,
}

/// A package that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ForeignPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A user that a person signs in as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HumanUser {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The groups by name, the primary one first.
    pub groups: Vec<String>,
    /// The home directory.
    pub home: String,
}

/// What is left on a node that was ejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejected {
    /// Each place with what stands there, by path.
    pub places: Vec<EjectedPlace>,
    /// The manifests that were written, as the node sees them.
    pub manifests: Vec<String>,
}

/// One place of an ejected node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EjectedPlace {
    /// Where.
    pub path: String,
    /// What stands there, in words: `a file, as it was`, `2 jobs, without lampas-agent`.
    pub what: String,
}
