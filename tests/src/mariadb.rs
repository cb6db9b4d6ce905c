//! A MariaDB server of one's own, from Debian's package, in a private directory.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{free_port, wait_for};

/// A running server with one database and one user; ends with its owner.
#[derive(Debug)]
pub struct MariaDb {
    directory: TempDir,
    child: Child,
    port: u16,
}

impl MariaDb {
    /// Makes a data directory and starts a server on a free port of 127.0.0.1.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        let socket = directory.path().join("socket");
        let log = File::create(directory.path().join("log"))?;
        let user = if nix::unistd::geteuid().is_root() { "--user=root" } else { "--skip-name-resolve" };
        let installed = Command::new("/usr/bin/mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", user])
            .arg(format!("--datadir={}", data.display()))
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .status()?;
        ensure!(installed.success(), "mariadb-install-db gave {installed}");
        let port = free_port()?;
        let child = Command::new("/usr/sbin/mariadbd")
            .args(["--no-defaults", user, "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M"])
            .arg(format!("--port={port}"))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", directory.path().join("pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let server = Self { directory, child, port };
        let setup = "CREATE DATABASE lampas CHARACTER SET utf8mb4; \
                     CREATE USER 'lampas'@'127.0.0.1' IDENTIFIED BY 'test'; \
                     GRANT ALL ON lampas.* TO 'lampas'@'127.0.0.1';";
        wait_for("MariaDB to answer", || {
            let output = Command::new("/usr/bin/mariadb")
                .args(["--no-defaults", "--user=root", "--execute", setup])
                .arg(format!("--socket={}", socket.display()))
                .output()
                .map_err(|e| e.to_string())?;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() || error.contains("database exists") { Ok(()) } else { Err(error) }
        });
        Ok(server)
    }

    /// Makes another database, empty, and writes its file as [`MariaDb::database_file`] does.
    pub fn another(&self, name: &str) -> Result<PathBuf> {
        let sql =
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4; GRANT ALL ON {name}.* TO 'lampas'@'127.0.0.1'");
        let output = Command::new("/usr/bin/mariadb")
            .args(["--no-defaults", "--user=root", "--execute", &sql])
            .arg(format!("--socket={}", self.directory.path().join("socket").display()))
            .output()?;
        ensure!(output.status.success(), "CREATE DATABASE gave {output:?}");
        self.file_of(name)
    }

    /// Writes the file that `--database-file` takes, and returns its path.
    pub fn database_file(&self) -> Result<PathBuf> {
        self.file_of("lampas")
    }

    fn file_of(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(format!("database-{name}"));
        fs::write(&path, format!("mysql://lampas:test@127.0.0.1:{}/{name}\n", self.port))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
