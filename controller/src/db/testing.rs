//! Stores for tests: SQLite in a directory of its own, and a real MariaDB server of Debian's package, private to the
//! test's process: a socket in a temporary directory, no network.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Db, DbError, Tx};

/// What befalls a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// The process dies; nothing of the transaction was written.
    DieBefore,
    /// The process dies; all of it was written.
    DieAfter,
    /// The store says that it failed, and so it did.
    Fail,
    /// It was written, but its answer was lost on the way: whoever wrote is told that it failed.
    LoseAnswer,
}

/// Says for each commit of a handle, in their order, what befalls it.
pub(crate) type Fate = Arc<dyn Fn() -> Option<Strike> + Send + Sync>;

/// What befalls the commits of one handle; nothing, unless somebody says so.
#[derive(Default)]
pub(crate) struct Strikes {
    fate: Mutex<Option<Fate>>,
    died: tokio::sync::Notify,
}

impl Strikes {
    /// Lets all further commits have this fate.
    pub(crate) fn set(&self, fate: Fate) {
        *self.fate.lock().expect("not poisoned") = Some(fate);
    }

    /// Waits until the process is to die: whoever waits drops all that it is.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }

    pub(super) fn next(&self) -> Option<Strike> {
        let fate = self.fate.lock().expect("not poisoned").clone();
        fate.and_then(|fate| fate())
    }

    pub(super) async fn before_commit(&self, strike: Option<Strike>, tx: Tx) -> Result<Tx, DbError> {
        match strike {
            Some(Strike::DieBefore) => {
                drop(tx);
                self.die().await
            }
            Some(Strike::Fail) => Err(DbError::Sql(sqlx::Error::WorkerCrashed)),
            Some(Strike::DieAfter | Strike::LoseAnswer) | None => Ok(tx),
        }
    }

    pub(super) async fn after_commit(&self, strike: Option<Strike>, tx: Tx) -> Result<Tx, DbError> {
        match strike {
            Some(Strike::DieAfter) => {
                drop(tx);
                self.die().await
            }
            Some(Strike::LoseAnswer) => Err(DbError::Sql(sqlx::Error::WorkerCrashed)),
            Some(Strike::DieBefore | Strike::Fail) | None => Ok(tx),
        }
    }

    async fn die(&self) -> ! {
        self.died.notify_one();
        std::future::pending().await
    }
}

/// An SQLite store that goes with its directory.
pub(crate) struct Sqlite {
    pub(crate) db: Db,
    _dir: tempfile::TempDir,
}

/// Opens a fresh SQLite store.
pub(crate) async fn sqlite() -> Sqlite {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite://{}", dir.path().join("store.db").display());
    Sqlite { db: Db::open(&url, 4).await.expect("a store"), _dir: dir }
}

/// A running server; ends with this value.
pub(crate) struct MariaDb {
    server: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl MariaDb {
    /// Makes a data directory and starts a server on it.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [data, temporary] = ["data", "tmp"].map(|name| dir.path().join(name));
        std::fs::create_dir(&temporary).expect("a directory for temporary tables");
        // A server that starts removes all temporary tables that it finds: in /tmp those of the servers beside it, too.
        let places = [format!("--datadir={}", data.display()), format!("--tmpdir={}", temporary.display())];
        let install = Command::new("/usr/bin/mariadb-install-db")
            .arg("--no-defaults")
            .args(&places)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .output()
            .expect("Debian's mariadb-server is installed");
        let [out, err] = [&install.stdout, &install.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(install.status.success(), "mariadb-install-db failed:\n{out}{err}");
        let socket = dir.path().join("sock");
        let server = Command::new("/usr/sbin/mariadbd")
            .arg("--no-defaults")
            .args(&places)
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", dir.path().join("pid").display()))
            .args(["--skip-networking", "--user=root", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mariadbd starts");
        Self { server, socket, _dir: dir }
    }

    /// Opens a fresh store on the server.
    pub(crate) async fn fresh(&self, name: &str) -> Db {
        sqlx::any::install_default_drivers();
        let end = Instant::now() + Duration::from_secs(60);
        let mut conn = loop {
            match <sqlx::AnyConnection as sqlx::Connection>::connect(&self.url("")).await {
                Ok(conn) => break conn,
                Err(error) => assert!(Instant::now() < end, "the server did not come up: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut conn).await.expect("a database");
        Db::open(&self.url(name), 6).await.expect("a store")
    }

    /// Returns the address of a database.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("mysql://root@localhost/{name}?socket={}", self.socket.display())
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Declares checks of a store as tests: each on SQLite, and all of them on one MariaDB server.
macro_rules! on_both {
    ($($check:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let store = $crate::db::testing::sqlite().await;
                    super::$check(store.db.clone()).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn all_hold_on_mariadb() {
            let server = $crate::db::testing::MariaDb::start();
            $( $check(server.fresh(stringify!($check)).await).await; )*
        }
    };
}
pub(crate) use on_both;
