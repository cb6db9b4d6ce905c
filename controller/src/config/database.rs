//! `[database]`: the store.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Mistakes;

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A file with one line, `mysql://USER:PASSWORD@HOST:PORT/NAME`, or `sqlite:///PATH`. Without it the store is SQLite
    /// in the data directory. The file holds a password and must not be readable by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Connections to MariaDB or MySQL.
    pub max_connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { file: None, max_connections: 8 }
    }
}

/// The store's address with its password; shows neither in `Debug`.
#[derive(Clone)]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// Wraps an address.
    pub fn new(url: String) -> Self {
        Self(Zeroizing::new(url))
    }

    /// Returns the address, with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with("sqlite:") { "DatabaseUrl(sqlite)" } else { "DatabaseUrl(mysql, redacted)" })
    }
}

impl Database {
    /// Returns the store's address: that of the file, or SQLite in the data directory.
    ///
    /// # Errors
    /// With what is wrong with the file, never with its content.
    pub fn url(&self, data_dir: &Path) -> Result<DatabaseUrl, String> {
        use std::os::unix::fs::PermissionsExt as _;

        let Some(file) = &self.file else {
            return Ok(DatabaseUrl::new(format!("sqlite://{}", data_dir.join("lampas.db").display())));
        };
        let shown = file.display();
        let meta = std::fs::metadata(file).map_err(|e| format!("read {shown}: {e}"))?;
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(format!("{shown} holds a password and is readable by everybody: chmod o= {shown}"));
        }
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(|e| format!("read {shown}: {e}"))?);
        let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#')).unwrap_or_default();
        let url = line.strip_prefix("mariadb://").map_or_else(|| line.to_owned(), |rest| format!("mysql://{rest}"));
        if !url.starts_with("mysql://") && !url.starts_with("sqlite:") {
            return Err(format!("{shown}: the line must be mysql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH"));
        }
        Ok(DatabaseUrl::new(url))
    }

    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        if !(1..=256).contains(&self.max_connections) {
            mistakes.add("database.max_connections", "must be 1 to 256");
        }
        if self.file.as_ref().is_some_and(|f| f.is_relative()) {
            mistakes.add("database.file", "must be an absolute path");
        }
    }
}
