//! The agent's configuration: `/etc/lampas/agent.toml`, and where its files are.
//!
//! Everything is optional: enrolment says which controllers there are. The file is read once at start; SIGHUP is not a
//! reload. Below `--root DIR` all paths stand below DIR.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use lampas_runtime::{
    config::{Mistakes, Section},
    telemetry::LogFormat,
};
use serde::{Deserialize, Serialize};

/// `agent.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How controllers are reached.
    pub link: Link,
    /// How the node is kept.
    pub reconcile: Reconcile,
    /// What is logged.
    pub log: Log,
    /// Where a scan looks besides the usual places.
    pub scan: Scan,
}

/// `[scan]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scan {
    /// Directories whose files are shown to operators who compare servers or take one over; none by default. Nothing below
    /// them is looked at. It is read at each scan.
    pub directories: Vec<String>,
}

/// `[link]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Controllers as `HOST:PORT`, tried in this order before those that enrolment named; empty by default.
    pub controllers: Vec<String>,
}

/// `[reconcile]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconcile {
    /// Seconds within which a change must be confirmed by a fresh handshake, or it is undone; 1 to 3,600, 60 by default.
    pub confirm_secs: u64,
    /// Seconds between looks at everything LAMPAS owns; 10 to 86,400, 600 by default. Changes by hand are seen at once
    /// anyway; this is for what inotify can't see.
    pub full_look_secs: u64,
    /// Seconds until the first new attempt after a failure that may pass; doubles up to ten minutes. 1 to 600, 5 by
    /// default.
    pub retry_secs: u64,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `human` (the default) or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info` (the default), `debug`, `trace`, or directives as in `RUST_LOG`.
    pub level: String,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { confirm_secs: 60, full_look_secs: 600, retry_secs: 5 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl Reconcile {
    /// The time for confirming a change.
    pub fn confirm(&self) -> Duration {
        Duration::from_secs(self.confirm_secs)
    }

    /// The time between full looks.
    pub fn full_look(&self) -> Duration {
        Duration::from_secs(self.full_look_secs)
    }

    /// The time until the first new attempt.
    pub fn retry(&self) -> Duration {
        Duration::from_secs(self.retry_secs)
    }
}

impl Section for Config {
    fn check(&self, mistakes: &mut Mistakes) {
        for controller in &self.link.controllers {
            let port = controller.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, p)| p.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                mistakes.add("link.controllers", format!("{controller:?} is not HOST:PORT"));
            }
        }
        let Reconcile { confirm_secs, full_look_secs, retry_secs } = self.reconcile;
        for (key, value, range) in [
            ("reconcile.confirm_secs", confirm_secs, 1..=3600),
            ("reconcile.full_look_secs", full_look_secs, 10..=86_400),
            ("reconcile.retry_secs", retry_secs, 1..=600),
        ] {
            if !range.contains(&value) {
                mistakes.add(key, format!("{value} is not in {} to {}", range.start(), range.end()));
            }
        }
        if self.scan.directories.len() > 64 {
            mistakes.add("scan.directories", "has over 64 directories");
        }
        for path in &self.scan.directories {
            if lampas_shared::host::ManagedPath::parse(path.trim_end_matches('/')).is_err() {
                mistakes.add("scan.directories", format!("{path:?} is not an absolute path that LAMPAS may look at"));
            }
        }
        if self.log.level.is_empty() || self.log.level.len() > 500 {
            mistakes.add("log.level", "is empty or over 500 bytes");
        }
    }
}

/// Where the agent's own files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Places everything below a directory; `/` for a real host.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that `--root` names.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is a real host.
    pub fn is_real_root(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Returns an absolute path below the root.
    pub fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// `/etc/lampas/agent.toml`.
    pub fn config(&self) -> PathBuf {
        self.below("/etc/lampas/agent.toml")
    }

    /// `/etc/lampas/policy.toml`.
    pub fn policy(&self) -> PathBuf {
        self.below("/etc/lampas/policy.toml")
    }

    /// `/var/lib/lampas/agent`: everything that the agent keeps.
    pub fn data(&self) -> PathBuf {
        self.below("/var/lib/lampas/agent")
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.data().join("journal")
    }

    /// The file that says that nothing is written yet.
    pub fn observe(&self) -> PathBuf {
        self.data().join("observe")
    }

    /// The last policy that could be followed.
    pub fn kept_policy(&self) -> PathBuf {
        self.data().join("policy.last")
    }

    /// Where manifests are left when the node is ejected.
    pub fn ejected(&self) -> PathBuf {
        self.below("/var/lib/lampas/ejected")
    }

    /// The directory of the key, the certificate and the trusted authorities.
    pub fn identity(&self) -> PathBuf {
        self.data().join("identity")
    }

    /// The key that the values of secrets are sealed to on their way here.
    pub fn secret_key(&self) -> PathBuf {
        self.data().join("secret-key")
    }

    /// The directory of the jobs' definitions, for the wrapper.
    pub fn jobs(&self) -> PathBuf {
        self.data().join("jobs")
    }

    /// The directory where the wrapper leaves records of runs.
    pub fn spool(&self) -> PathBuf {
        self.data().join("spool")
    }

    /// What `why` reads when no agent runs.
    pub fn snapshot(&self) -> PathBuf {
        self.data().join("state.json")
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.below("/run/lampas/agent.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named_by_key() {
        let text = "[link]\ncontrollers = [\"fleet.example\"]\n[reconcile]\nconfirm_secs = 0\n";
        let mistakes = lampas_runtime::config::parse::<Config>(text).expect_err("is wrong").to_string();
        assert!(mistakes.contains("link.controllers") && mistakes.contains("reconcile.confirm_secs"), "{mistakes}");
    }

    #[test]
    fn an_empty_file_is_the_default_and_every_path_stands_below_the_root() {
        assert_eq!(lampas_runtime::config::parse::<Config>("").expect("parses"), Config::default());
        let paths = Paths::new("/tmp/node");
        for path in [paths.config(), paths.policy(), paths.journal(), paths.snapshot(), paths.socket()] {
            assert!(path.starts_with("/tmp/node"), "{}", path.display());
        }
    }
}
