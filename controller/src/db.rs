//! The store: one handle over SQLite or MariaDB/MySQL.
//!
//! SQLite has one connection that writes (WAL, `synchronous=FULL`: what is acknowledged is on the disk) and some that
//! read; a write begins IMMEDIATE, so that it never has to upgrade a lock. MariaDB/MySQL has one pool. Work runs in a
//! transaction that is given to a closure; [`Db::write`] runs the closure again when the store was busy or chose it as
//! the victim of a deadlock, so the closure must do nothing but talk to the store.
//!
//! SQL stands in `store.rs` files, in words that both understand; what differs stands in [`dialect`].

pub mod dialect;
pub mod gather;
mod memo;
mod migrate;
pub mod row;
#[cfg(test)]
pub(crate) mod testing;

use std::{future::Future, sync::Arc, time::Duration};

use lampas_runtime::random;
use sqlx::{
    Any, AnyConnection, Connection as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    pool::PoolConnection,
};
use thiserror::Error;
use tracing::{debug, warn};

pub use dialect::Dialect;

use crate::event::Pending;

/// How often a closure is run again before the error is returned: with the pauses below about eight seconds.
const ATTEMPTS: u32 = 8;

/// Connections that read SQLite. Readers don't block each other under WAL; more than a few only cost memory.
const SQLITE_READERS: u32 = 4;

/// The store. Clones share it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    writers: sqlx::AnyPool,
    readers: sqlx::AnyPool,
    committed: tokio::sync::watch::Sender<u64>,
    memo: Arc<memo::Memo>,
    #[cfg(test)]
    strikes: testing::Strikes,
}

/// Why the store could not do something.
#[derive(Debug, Error)]
pub enum DbError {
    /// The address can't be read.
    #[error("the store's address is not understood: {0}")]
    Address(String),
    /// The store can't be reached or opened.
    #[error("open the store")]
    Open(#[source] sqlx::Error),
    /// The tables can't be brought up to date.
    #[error("bring the tables of the store up to date")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
    /// A statement failed.
    #[error("ask the store")]
    Sql(#[from] sqlx::Error),
    /// What stands in the store can't be: a value of another version, or a changed row.
    #[error("table {table}: column {column} holds what it can't: {reason}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl DbError {
    /// Returns whether a unique key stood in the way.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(e)) if e.is_unique_violation())
    }

    /// Returns whether the store has no room left. Nothing of the transaction was written.
    pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(sqlx::Error::Database(e)) = error.downcast_ref::<sqlx::Error>() {
                return dialect::is_full(e.as_ref());
            }
            next = error.source();
        }
        false
    }

    /// Returns whether running the transaction again may succeed: busy, lock time-out, deadlock.
    fn is_passing(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(e)) => dialect::is_passing(e.as_ref()),
            _ => false,
        }
    }
}

/// An error that a closure of [`Db::write`] may return: it says whether it is the store's.
pub trait StoreError: From<DbError> {
    /// Returns the store's error inside, when it is one.
    fn store_error(&self) -> Option<&DbError>;
}

impl StoreError for DbError {
    fn store_error(&self) -> Option<&DbError> {
        Some(self)
    }
}

/// Makes an error enum with a variant `Store(DbError)` fit for [`Db::write`].
#[macro_export]
macro_rules! store_error {
    ($name:ty) => {
        impl $crate::db::StoreError for $name {
            fn store_error(&self) -> Option<&$crate::db::DbError> {
                match self {
                    Self::Store(error) => Some(error),
                    _ => None,
                }
            }
        }
    };
}

/// A transaction. Dropping it rolls it back; [`Tx::done`] hands it back to [`Db::write`] to be committed.
pub struct Tx {
    conn: PoolConnection<Any>,
    dialect: Dialect,
    is_open: bool,
    memo: Arc<memo::Memo>,
    /// The events and audit entries that this transaction appends, with the sequence drawn for them.
    pub(crate) pending: Pending,
    /// What is done right after the commit, before another writer begins (SQLite).
    after: Vec<Box<dyn FnOnce() + Send + Sync>>,
}

impl Drop for Tx {
    fn drop(&mut self) {
        // A connection that is given back inside a transaction would poison the next user; closing it rolls back.
        if self.is_open {
            self.conn.close_on_drop();
        }
    }
}

/// A transaction whose work is done, with what it returns.
pub struct Done<T> {
    tx: Tx,
    value: T,
}

impl Tx {
    /// Ends the work: `Ok(tx.done(value))` is the last line of a closure.
    pub fn done<T>(self, value: T) -> Done<T> {
        Done { tx: self, value }
    }

    /// Returns the connection, for `sqlx::query(…).execute(tx.conn())`.
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }

    /// Returns what SQL differs in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns what was read of the store whole.
    pub(crate) fn memo(&self) -> &Arc<memo::Memo> {
        &self.memo
    }

    /// Does something once this transaction is committed; nothing when it is not. It must be quick: writers wait for it.
    pub(crate) fn after_commit(&mut self, act: impl FnOnce() + Send + Sync + 'static) {
        self.after.push(Box::new(act));
    }

    async fn rollback(mut self) {
        if sqlx::query("ROLLBACK").execute(&mut *self.conn).await.is_ok() {
            self.is_open = false;
        }
    }
}

impl Db {
    /// Opens the store and brings its tables up to date. `url` is `sqlite://PATH` or `mysql://USER:PASSWORD@HOST/NAME`.
    ///
    /// # Errors
    /// When it can't be reached, or its tables are of a later version.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, DbError> {
        let db = Self::connect(url, max_connections).await?;
        migrate::run(&db.inner.writers, db.inner.dialect).await?;
        let last =
            db.read(|mut tx| async move { crate::event::last_seq(&mut tx).await.map(|seq| tx.done(seq)) }).await?;
        db.inner.committed.send_replace(last);
        Ok(db)
    }

    /// Opens a database as it is, for a look: nothing is migrated.
    ///
    /// # Errors
    /// When it can't be reached.
    pub(crate) async fn connect(url: &str, max_connections: u32) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of_url(url).ok_or_else(|| DbError::Address("write sqlite:// or mysql://".into()))?;
        let given: AnyConnectOptions =
            dialect.complete_url(url).parse().map_err(|e: sqlx::Error| DbError::Address(e.to_string()))?;
        // sqlx logs statements by itself; contents must not reach a log.
        let options = sqlx::ConnectOptions::disable_statement_logging(given);
        let pool = |size: u32| {
            AnyPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(30))
                .test_before_acquire(dialect == Dialect::MySql)
                .after_connect(move |conn, _| {
                    Box::pin(async move {
                        for statement in dialect.session_statements() {
                            sqlx::raw_sql(*statement).execute(&mut *conn).await?;
                        }
                        Ok(())
                    })
                })
        };
        let (writers, readers) = match dialect {
            Dialect::Sqlite => {
                let writers = pool(1).connect_with(options.clone()).await.map_err(DbError::Open)?;
                (writers, pool(SQLITE_READERS).connect_lazy_with(options))
            }
            Dialect::MySql => {
                let both = pool(max_connections.max(2)).connect_with(options).await.map_err(DbError::Open)?;
                (both.clone(), both)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                dialect,
                writers,
                readers,
                committed: tokio::sync::watch::Sender::new(0),
                memo: Arc::default(),
                #[cfg(test)]
                strikes: testing::Strikes::default(),
            }),
        })
    }

    /// Returns what SQL differs in.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Returns what was read of the store whole.
    pub(crate) fn memo(&self) -> &memo::Memo {
        &self.inner.memo
    }

    /// Returns what befalls the commits of this handle.
    #[cfg(test)]
    pub(crate) fn strikes(&self) -> &testing::Strikes {
        &self.inner.strikes
    }

    /// Runs a closure in a transaction that only reads, so that it sees one state of the store.
    ///
    /// # Errors
    /// Those of the closure, and those of the store.
    pub async fn read<T, E, F, R>(&self, work: F) -> Result<T, E>
    where
        E: StoreError,
        F: FnOnce(Tx) -> R,
        R: Future<Output = Result<Done<T>, E>>,
    {
        let tx = self.begin(&self.inner.readers, self.inner.dialect.begin_read()).await?;
        let Done { tx, value } = work(tx).await?;
        // Nothing was written: ending it either way is the same, and a rollback can't fail for want of space.
        tx.rollback().await;
        Ok(value)
    }

    /// Runs a closure in a transaction and commits it. The closure is run again when the store was busy.
    ///
    /// # Errors
    /// Those of the closure (then nothing was written), and those of the store.
    ///
    /// # Cancellation
    /// Dropping the future rolls back, unless the commit was already under way.
    pub async fn write<T, E, F, R>(&self, work: F) -> Result<T, E>
    where
        E: StoreError,
        F: Fn(Tx) -> R,
        R: Future<Output = Result<Done<T>, E>>,
    {
        let mut attempt = 0;
        loop {
            let outcome = self.write_once(&work).await;
            let passing = matches!(&outcome, Err(e) if e.store_error().is_some_and(DbError::is_passing));
            attempt += 1;
            if !passing || attempt == ATTEMPTS {
                if passing {
                    warn!(attempt, "the store stayed busy");
                }
                return outcome;
            }
            let [jitter] = random::bytes::<1>();
            let pause = Duration::from_millis((10 << attempt) + u64::from(jitter) * (1 << attempt) / 16);
            debug!(attempt, "the store was busy; running the transaction again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn write_once<T, E, F, R>(&self, work: &F) -> Result<T, E>
    where
        E: StoreError,
        F: Fn(Tx) -> R,
        R: Future<Output = Result<Done<T>, E>>,
    {
        let tx = self.begin(&self.inner.writers, self.inner.dialect.begin_write()).await?;
        let Done { mut tx, value } = work(tx).await?;
        crate::event::flush(&mut tx).await?;
        #[cfg(test)]
        let strike = self.inner.strikes.next();
        #[cfg(test)]
        let mut tx = self.inner.strikes.before_commit(strike, tx).await?;
        if let Err(error) = sqlx::query("COMMIT").execute(&mut *tx.conn).await {
            tx.rollback().await;
            return Err(DbError::from(error).into());
        }
        tx.is_open = false;
        #[cfg(test)]
        let mut tx = self.inner.strikes.after_commit(strike, tx).await?;
        tx.after.drain(..).for_each(|act| act());
        if let Some(seq) = tx.pending.last_seq() {
            self.inner.committed.send_if_modified(|last| {
                let grew = seq > *last;
                *last = (*last).max(seq);
                grew
            });
        }
        Ok(value)
    }

    /// Returns the sequence of the last event that this process committed, and wakes on each commit with events.
    /// Other controllers' events show when the store is asked.
    pub fn committed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.committed.subscribe()
    }

    /// Asks the store whether it answers: for readiness.
    pub async fn ping(&self) -> Result<(), DbError> {
        let mut conn = self.inner.readers.acquire().await?;
        Ok(conn.ping().await?)
    }

    /// Closes all connections; SQLite then has no write-ahead log left.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writers.close().await;
    }

    /// Copies an SQLite store to a file while it is in use (`VACUUM INTO`); the file must not exist.
    ///
    /// # Errors
    /// When the store is not SQLite, or the copy fails.
    pub async fn copy_sqlite_to(&self, path: &str) -> Result<(), DbError> {
        if self.inner.dialect != Dialect::Sqlite {
            return Err(DbError::Address("only an SQLite store can be copied to a file; use mariadb-dump".into()));
        }
        let mut conn = self.inner.readers.acquire().await?;
        sqlx::query("VACUUM INTO ?").bind(path).execute(&mut *conn).await?;
        Ok(())
    }

    async fn begin(&self, pool: &sqlx::AnyPool, statement: &'static str) -> Result<Tx, DbError> {
        let conn = pool.acquire().await?;
        // Open from here on: a cancelled BEGIN may have taken effect.
        let mut tx = Tx {
            conn,
            dialect: self.inner.dialect,
            is_open: true,
            memo: self.inner.memo.clone(),
            pending: Pending::default(),
            after: Vec::new(),
        };
        sqlx::raw_sql(statement).execute(&mut *tx.conn).await?;
        Ok(tx)
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Db({:?})", self.inner.dialect)
    }
}

#[cfg(test)]
mod tests;
