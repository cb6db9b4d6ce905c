//! Processes that end with their owner.

use std::{
    fs::File,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait_for;

/// A running program; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program of this workspace; its output goes to `log`.
    pub fn start(name: &str, args: &[&str], log: &Path) -> Result<Self> {
        Self::start_logging(name, args, log, "info")
    }

    /// Starts a program that logs from this level on.
    pub fn start_logging(name: &str, args: &[&str], log: &Path, level: &str) -> Result<Self> {
        Self::start_at(name, args, log, level, None)
    }

    /// Starts a program whose clock is off by this many days. The machine's own clock stays as it is.
    pub fn start_at(name: &str, args: &[&str], log: &Path, level: &str, days_off: Option<i32>) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(binary(name)?);
        if let Some(days) = days_off {
            set_clock_off(&mut command, days)?;
        }
        let child = command
            .args(args)
            .env_remove("NOTIFY_SOCKET")
            .env("LAMPAS_LOG", level)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Returns its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// Kills it at once and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits for its end; fails when it ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = wait_for("the end of a process", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        ensure!(status.success(), "ended with {status}; its log:\n{}", self.log_tail());
        Ok(())
    }

    /// Returns whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the last lines of its output.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log_tail());
        }
    }
}

/// Debian's library that shows a program another time (package `faketime`).
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// Has a program and what it starts see a clock that is off by days. Its measure of passing time stays true, and so do
/// the times of files.
pub(crate) fn set_clock_off(command: &mut Command, days: i32) -> Result<()> {
    let found = std::fs::read_dir("/usr/lib")?.filter_map(|e| Some(e.ok()?.path().join(FAKETIME))).find(|p| p.exists());
    let library = found.context("Debian's package faketime is missing")?;
    command.env("LD_PRELOAD", library).env("FAKETIME", format!("{days:+}d"));
    command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    Ok(())
}

/// Returns the path of a binary of this workspace: beside this program, or beside the directory of a test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|d| d.join(name)).find(|p| p.exists());
    found.with_context(|| format!("{name} is missing: cargo build --workspace --bins"))
}

/// Returns a port that is free for TCP and UDP on 127.0.0.1.
pub fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    anyhow::bail!("no port is free for both TCP and UDP")
}
