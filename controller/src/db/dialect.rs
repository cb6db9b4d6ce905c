//! What SQLite and MariaDB/MySQL say differently.

/// The two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, in the process.
    Sqlite,
    /// MariaDB or MySQL.
    MySql,
}

impl Dialect {
    pub(super) fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    /// Adds what every connection needs.
    pub(super) fn complete_url(self, url: &str) -> String {
        let join = if url.contains('?') { '&' } else { '?' };
        match self {
            Self::Sqlite if url.contains("mode=") => url.to_owned(),
            Self::Sqlite => format!("{url}{join}mode=rwc"),
            Self::MySql => format!("{url}{join}charset=utf8mb4&collation=utf8mb4_bin"),
        }
    }

    /// What each new connection is told.
    pub(super) fn session_statements(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[
                "PRAGMA busy_timeout = 10000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                // 16 MiB: the hot tables of 5,000 nodes.
                "PRAGMA cache_size = -16384",
                "PRAGMA temp_store = MEMORY",
                "PRAGMA journal_size_limit = 67108864",
            ],
            Self::MySql => &[
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE'",
                "SET SESSION innodb_lock_wait_timeout = 10",
            ],
        }
    }

    pub(super) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN DEFERRED",
            Self::MySql => "START TRANSACTION READ ONLY",
        }
    }

    pub(super) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::MySql => "START TRANSACTION",
        }
    }

    /// Returns what to put after the rows of an INSERT so that rows whose key exists are updated instead. With no
    /// columns to update they stay as they are.
    pub fn on_conflict(self, key: &[&str], update: &[&str]) -> String {
        let list = |f: &dyn Fn(&str) -> String| update.iter().map(|c| f(c)).collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite if update.is_empty() => format!(" ON CONFLICT ({}) DO NOTHING", key.join(", ")),
            Self::Sqlite => {
                format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), list(&|c| format!("{c} = excluded.{c}")))
            }
            Self::MySql if update.is_empty() => format!(" ON DUPLICATE KEY UPDATE {0} = {0}", key[0]),
            Self::MySql => format!(" ON DUPLICATE KEY UPDATE {}", list(&|c| format!("{c} = VALUES({c})"))),
        }
    }

    /// Returns the type that a sum is cast to: MariaDB's SUM is a decimal, which no driver here reads.
    pub fn integer(self) -> &'static str {
        match self {
            Self::Sqlite => "AS INTEGER",
            Self::MySql => "AS SIGNED",
        }
    }

    /// Returns two texts joined.
    pub fn concat(self, a: &str, b: &str) -> String {
        match self {
            Self::Sqlite => format!("({a} || {b})"),
            Self::MySql => format!("CONCAT({a}, {b})"),
        }
    }

    /// Returns what ends a SELECT whose rows this transaction will change: SQLite's writers are alone already.
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::MySql => " FOR UPDATE",
        }
    }
}

/// Returns whether the store has no room: SQLITE_FULL (13) and SQLITE_IOERR_SHMSIZE (4874, the index of the write-ahead
/// log can't grow); MariaDB's 1021 (disk full) and 1114 (table full).
pub(super) fn is_full(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return matches!(mysql.number(), 1021 | 1114);
    }
    error.code().and_then(|c| c.parse::<u32>().ok()).is_some_and(|c| c & 0xff == 13 || c == 4874)
}

/// Returns whether running the transaction again may succeed: SQLITE_BUSY (5) and SQLITE_LOCKED (6) with their
/// extended codes, MariaDB's 1205 (lock wait time-out) and 1213 (deadlock), 1020 (snapshot isolation: the record has
/// changed since it was read, MariaDB ≥ 11.6.2).
pub(super) fn is_passing(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return matches!(mysql.number(), 1020 | 1205 | 1213);
    }
    let code = error.code().and_then(|c| c.parse::<u32>().ok());
    code.is_some_and(|c| matches!(c & 0xff, 5 | 6))
}
