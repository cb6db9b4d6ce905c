//! `[sources]`: what git sources may reach on this machine, and how much of its disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Mistakes;

/// What git sources may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sources {
    /// Directories whose repositories may be named by `file:///PATH`; none by default.
    pub directories: Vec<PathBuf>,
    /// How large the copy of one repository may grow, in MiB.
    pub disk_mb: u32,
    /// How long one fetch may take, in seconds.
    pub fetch_secs: u32,
}

impl Default for Sources {
    fn default() -> Self {
        Self { directories: Vec::new(), disk_mb: 512, fetch_secs: 120 }
    }
}

impl Sources {
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        for (i, directory) in self.directories.iter().enumerate() {
            if directory.is_relative() || directory.parent().is_none() {
                mistakes.add(&format!("sources.directories[{i}]"), "must be an absolute path below /");
            }
        }
        if !(1..=65_536).contains(&self.disk_mb) {
            mistakes.add("sources.disk_mb", "must be 1 to 65536");
        }
        if !(2..=3600).contains(&self.fetch_secs) {
            mistakes.add("sources.fetch_secs", "must be 2 to 3600");
        }
    }
}
