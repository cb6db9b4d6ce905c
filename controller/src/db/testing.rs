//! Stores for tests: SQLite in a directory of its own, and a real MariaDB server of Debian's package, private to the
//! test's process: a socket in a temporary directory, no network.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Db;

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
        let data = dir.path().join("data");
        let install = Command::new("/usr/bin/mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("Debian's mariadb-server is installed");
        assert!(install.success(), "mariadb-install-db failed");
        let socket = dir.path().join("sock");
        let server = Command::new("/usr/sbin/mariadbd")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
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
        let url = |database: &str| format!("mysql://root@localhost/{database}?socket={}", self.socket.display());
        sqlx::any::install_default_drivers();
        let end = Instant::now() + Duration::from_secs(60);
        let mut conn = loop {
            match <sqlx::AnyConnection as sqlx::Connection>::connect(&url("")).await {
                Ok(conn) => break conn,
                Err(error) => assert!(Instant::now() < end, "the server did not come up: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut conn).await.expect("a database");
        Db::open(&url(name), 6).await.expect("a store")
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
