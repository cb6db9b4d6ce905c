//! The controller's configuration: one TOML file, checked once at start.
//!
//! The file is read raw, each section by itself, so that all mistakes are reported together with their key path. What
//! comes out is typed and complete; after that nothing reads settings from outside. Nothing is reloaded on SIGHUP but
//! the web certificate's files.

mod database;
mod egress;
mod limits;
mod retention;
mod signer;
mod sources;
mod web;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use database::{Database, DatabaseUrl};
pub use egress::Egress;
pub use limits::Limits;
pub use retention::Retention;
pub use signer::Signer;
pub use sources::Sources;
pub use web::{Network, Web};

/// Where the file is looked for when none is named; it may be absent then.
pub const DEFAULT_PATH: &str = "/etc/lampas/controller.toml";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Where store, CA, keys and the set-up link stand.
    pub data_dir: PathBuf,
    /// TCP for dashboard and API, UDP for agents: the same address and port for both.
    pub listen: SocketAddr,
    /// The names and addresses under which agents and operators reach this controller, the preferred one first. Empty:
    /// the host's name, and `localhost` for the web certificate.
    pub names: Vec<String>,
    /// The address of the dashboard in links that are printed; empty: made from the first name and the port.
    pub public_url: String,
    /// The store.
    pub database: Database,
    /// Dashboard and API.
    pub web: Web,
    /// Where the controller may go by itself.
    pub egress: Egress,
    /// The signer.
    pub signer: Signer,
    /// What git sources may.
    pub sources: Sources,
    /// Limits.
    pub limits: Limits,
    /// How long things are kept.
    pub retention: Retention,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/lampas/controller"),
            listen: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 8443)),
            names: Vec::new(),
            public_url: String::new(),
            database: Database::default(),
            web: Web::default(),
            egress: Egress::default(),
            signer: Signer::default(),
            sources: Sources::default(),
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}

/// What the command line overrides.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--database-file`.
    pub database_file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// It is TOML, and wrong.
    #[error("{}: {mistakes}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Mistakes,
    },
}

/// All mistakes of a configuration, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes a mistake at a key path.
    pub(crate) fn add(&mut self, key: &str, what: impl fmt::Display) {
        self.0.push(format!("{key}: {what}"));
    }

    /// Returns the lines.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} mistakes", many.len())?;
                many.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl Config {
    /// Reads and checks the file, then lays the command line over it. Without a path the default file is taken when it
    /// is there.
    ///
    /// # Errors
    /// When a named file can't be read, or with all mistakes together.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_none() => String::new(),
            Err(source) => return Err(ConfigError::Read { path: file.to_owned(), source }),
        };
        let mut config = Self::parse(&text).map_err(|e| match e {
            ParseError::Syntax(message) => ConfigError::Syntax { path: file.to_owned(), message },
            ParseError::Wrong(mistakes) => ConfigError::Wrong { path: file.to_owned(), mistakes },
        })?;
        if let Some(dir) = &overrides.data_dir {
            config.data_dir.clone_from(dir);
        }
        if let Some(listen) = overrides.listen {
            config.listen = listen;
        }
        if let Some(file) = &overrides.database_file {
            config.database.file = Some(file.clone());
        }
        Ok(config)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// When it isn't TOML, or with all mistakes together.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ParseError::Syntax(e.to_string()))?;
        let mut config = Self::default();
        let mut mistakes = Mistakes::default();
        for (key, value) in table {
            match key.as_str() {
                "data_dir" => read(&key, value, &mut config.data_dir, &mut mistakes),
                "listen" => read(&key, value, &mut config.listen, &mut mistakes),
                "names" => read(&key, value, &mut config.names, &mut mistakes),
                "public_url" => read(&key, value, &mut config.public_url, &mut mistakes),
                "database" => read(&key, value, &mut config.database, &mut mistakes),
                "web" => read(&key, value, &mut config.web, &mut mistakes),
                "egress" => read(&key, value, &mut config.egress, &mut mistakes),
                "signer" => read(&key, value, &mut config.signer, &mut mistakes),
                "sources" => read(&key, value, &mut config.sources, &mut mistakes),
                "limits" => read(&key, value, &mut config.limits, &mut mistakes),
                "retention" => read(&key, value, &mut config.retention, &mut mistakes),
                _ => mistakes.add(
                    &key,
                    "is unknown; known are data_dir, listen, names, public_url, database, web, egress, signer, sources, limits and retention",
                ),
            }
        }
        config.check(&mut mistakes);
        if mistakes.0.is_empty() { Ok(config) } else { Err(ParseError::Wrong(mistakes)) }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.data_dir.is_relative() {
            mistakes.add("data_dir", "must be an absolute path");
        }
        for (i, name) in self.names.iter().enumerate() {
            if !is_host(name) {
                mistakes.add(&format!("names[{i}]"), format!("{name:?} is neither a host name nor an address"));
            }
        }
        if !self.public_url.is_empty() && !self.public_url.starts_with("https://") {
            mistakes.add("public_url", "must begin with https://");
        }
        self.database.check(mistakes);
        self.web.check(mistakes);
        self.egress.check(mistakes);
        self.signer.check(mistakes);
        self.sources.check(mistakes);
        self.limits.check(mistakes);
        self.retention.check(mistakes);
    }

    /// Returns the address of the dashboard, for links that are printed; without a slash at its end.
    pub fn dashboard_url(&self, port: u16) -> String {
        if !self.public_url.is_empty() {
            return self.public_url.trim_end_matches('/').to_owned();
        }
        let name = self.reachable_names().swap_remove(0);
        let name = if name.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{name}]") } else { name };
        format!("https://{name}:{port}{}", self.web.path_prefix)
    }

    /// Returns the names that agents shall dial: the configured ones, or the host's name.
    pub fn reachable_names(&self) -> Vec<String> {
        if !self.names.is_empty() {
            self.names.clone()
        } else if self.listen.ip().is_loopback() {
            vec![self.listen.ip().to_string()]
        } else {
            vec![host_name()]
        }
    }

    /// Prints the configuration as TOML. It holds no secret: those are named by path.
    pub fn dump(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration of strings and numbers serialises")
    }
}

/// Why a text is no configuration.
#[derive(Debug, Error)]
pub enum ParseError {
    /// It isn't TOML.
    #[error("{0}")]
    Syntax(String),
    /// It is TOML, and wrong.
    #[error("{0}")]
    Wrong(Mistakes),
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: toml::Value, into: &mut T, mistakes: &mut Mistakes) {
    match value.try_into() {
        Ok(value) => *into = value,
        Err(e) => mistakes.add(key, e.to_string().trim()),
    }
}

/// Returns this host's name, `localhost` when it has none that can be used.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok()).unwrap_or_default();
    if is_host(&name) { name.to_ascii_lowercase() } else { "localhost".to_owned() }
}

/// Returns whether a text is a host name or an address.
pub(crate) fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || lampas_shared::host::HostName::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_sample_is_the_default() {
        let text = include_str!("../../packaging/sample/controller.toml");
        assert_eq!(Config::parse(text).expect("parses"), Config::default());
        let all: String = text
            .lines()
            .map(|l| l.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(l))
            .fold(String::new(), |all, line| all + line + "\n");
        assert!(Config::parse(&all).is_ok(), "what is commented out is valid too: {:?}", Config::parse(&all));
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let text = "data_dir = \"x\"\ncolour = 1\nlisten = \"here\"\n[web]\npath_prefix = \"a\"\n[limits]\nbody = 1\n";
        let Err(ParseError::Wrong(mistakes)) = Config::parse(text) else { panic!("is wrong") };
        for key in ["data_dir:", "colour:", "listen:", "web.path_prefix:", "limits:"] {
            assert!(mistakes.lines().iter().any(|l| l.starts_with(key)), "{key} is missing in {mistakes}");
        }
    }

    #[test]
    fn a_dump_parses_to_the_same() {
        let mut config = Config { names: vec!["fleet.example".to_owned()], ..Config::default() };
        config.web.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        assert_eq!(Config::parse(&config.dump()).expect("parses"), config);
    }
}
