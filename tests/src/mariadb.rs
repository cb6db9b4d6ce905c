//! A MariaDB server of one's own, from Debian's package, in a private directory.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
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
        fs::create_dir(directory.path().join("tmp"))?;
        let socket = directory.path().join("socket");
        let log = File::create(directory.path().join("log"))?;
        let user = user();
        let installed = Command::new("/usr/bin/mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", user])
            .args(Self::places(directory.path()))
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        let said = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        ensure!(installed.success(), "mariadb-install-db gave {installed}:\n{}", said());
        let port = free_port()?;
        let child = Self::serve(directory.path(), port)?;
        let mut server = Self { directory, child, port };
        let setup = "CREATE DATABASE lampas CHARACTER SET utf8mb4; \
                     CREATE USER 'lampas'@'127.0.0.1' IDENTIFIED BY 'test'; \
                     GRANT ALL ON lampas.* TO 'lampas'@'127.0.0.1';";
        wait_for("MariaDB to answer", || {
            // Nobody knows the port yet.
            server.serve_again(true)?;
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

    /// A server that starts removes all temporary tables that it finds: in /tmp those of the servers beside it, too.
    fn places(directory: &Path) -> [String; 2] {
        [("datadir", "data"), ("tmpdir", "tmp")]
            .map(|(option, name)| format!("--{option}={}", directory.join(name).display()))
    }

    fn serve(directory: &Path, port: u16) -> Result<Child> {
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        let child = Command::new("/usr/sbin/mariadbd")
            .args(["--no-defaults", user(), "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M"])
            .arg(format!("--port={port}"))
            .args(Self::places(directory))
            .arg(format!("--socket={}", directory.join("socket").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(child)
    }

    /// Starts the server again when it has ended: another program may have had the port, which is free until it is taken.
    fn serve_again(&mut self, may_move: bool) -> Result<(), String> {
        let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? else { return Ok(()) };
        if may_move {
            self.port = free_port().map_err(|e| e.to_string())?;
        }
        self.child = Self::serve(self.directory.path(), self.port).map_err(|e| e.to_string())?;
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        Err(format!("it ended with {status}: {}", log.lines().last().unwrap_or_default()))
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the server again on its data and port; returns once it answers.
    pub fn resume(&mut self) -> Result<()> {
        self.child = Self::serve(self.directory.path(), self.port)?;
        let socket = format!("--socket={}", self.directory.path().join("socket").display());
        wait_for("MariaDB to answer again", || {
            self.serve_again(false)?;
            let output = Command::new("/usr/bin/mariadb")
                .args(["--no-defaults", "--user=root", "--execute", "SELECT 1", &socket])
                .output()
                .map_err(|e| e.to_string())?;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(error) }
        });
        Ok(())
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

fn user() -> &'static str {
    if nix::unistd::geteuid().is_root() { "--user=root" } else { "--skip-name-resolve" }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
