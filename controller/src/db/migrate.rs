//! Brings the tables up to date: the same numbers in both folders, each applied once.
//!
//! MySQL's DDL is not transactional, so there each migration is one statement; SQLite's files may add indexes after
//! their table. On MySQL an advisory lock lets one controller migrate at a time; on SQLite a second process finds the
//! store busy or the table there, and tries again.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};

use super::{DbError, Dialect};

pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
pub(super) static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

/// How often it is tried when another process migrates at the same time.
const ATTEMPTS: u32 = 5;

pub(super) async fn run(pool: &sqlx::AnyPool, dialect: Dialect) -> Result<(), DbError> {
    let migrator = match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::MySql => &MYSQL,
    };
    let mut attempt = 1;
    loop {
        match migrator.run(pool).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(DbError::Migrate(Box::new(error))),
        }
    }
}
