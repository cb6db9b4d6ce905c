//! A node: an agent under a root directory of its own.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{Process, binary, process::set_clock_off};

/// An enrolled node, its agent running or not.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The agent's program.
    agent: PathBuf,
    /// Ends before its directory goes: the log is shown when a test fails.
    process: Option<Process>,
    directory: TempDir,
    /// By how many days its clock is off.
    days_off: Option<i32>,
}

impl Node {
    /// Makes the root directory: as much of a Debian system as the agent looks at.
    pub fn prepare(name: &str) -> Result<Self> {
        let (agent, directory) = (binary("lampas-agent")?, tempfile::tempdir()?);
        let node = Self { name: name.to_owned(), agent, directory, process: None, days_off: None };
        for directory in ["etc/cron.d", "usr/local/bin", "usr/bin", "var/log", "var/spool/cron/crontabs", "run", "srv"]
        {
            fs::create_dir_all(node.root().join(directory))?;
        }
        fs::set_permissions(node.root(), fs::Permissions::from_mode(0o755))?;
        for (path, text) in [
            ("etc/hosts", format!("127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n")),
            ("etc/hostname", format!("{name}\n")),
            ("etc/timezone", "Europe/Berlin\n".to_owned()),
            ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n".to_owned()),
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n".to_owned(),
            ),
            ("etc/group", "root:x:0:\nadm:x:4:\nwww-data:x:33:\n".to_owned()),
        ] {
            fs::write(node.root().join(path), text)?;
        }
        Ok(node)
    }

    /// Goes on with another build of the agent.
    pub fn use_agent(&mut self, program: PathBuf) {
        self.agent = program;
    }

    /// Has its agent see a clock that is off by days, from the next call or start on.
    pub fn set_clock_off(&mut self, days: i32) {
        self.days_off = Some(days);
    }

    /// Enrols it, with the token on standard input.
    pub fn enrol(&self, port: u16, token: &str) -> Result<()> {
        self.enrol_with(port, token, &[])
    }

    /// Enrols it with more arguments.
    pub fn enrol_with(&self, port: u16, token: &str, more: &[&str]) -> Result<()> {
        let controller = format!("127.0.0.1:{port}");
        let mut child = self
            .command()?
            .args(["enrol", "--controller", &controller, "--token-file", "-"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("a pipe")?.write_all(token.as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "enrol gave {}: {text}", output.status);
        Ok(())
    }

    /// Starts the agent.
    pub fn resume(&mut self) -> Result<()> {
        let log = self.directory.path().join("agent.log");
        let (agent, root) = (self.agent.display().to_string(), self.root_text());
        self.process = Some(Process::start_at(&agent, &["--root", &root, "run"], &log, "info", self.days_off)?);
        Ok(())
    }

    /// Returns the agent's process.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent runs")
    }

    /// Kills the agent, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Calls the agent's command line; returns its exit code and what it printed.
    pub fn agent(&self, args: &[&str]) -> Result<(i32, String)> {
        let output = self.command()?.args(args).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code().unwrap_or(-1), text))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.agent);
        if let Some(days) = self.days_off {
            set_clock_off(&mut command, days)?;
        }
        command.arg("--root").arg(self.root());
        Ok(command)
    }

    /// Returns the root directory.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn root_text(&self) -> String {
        self.root().display().to_string()
    }

    /// Reads a file of the node; the path is absolute, as the node sees it.
    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Writes a file of the node, as somebody with an editor would: beside it, with its mode, and renamed.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root().join(path.trim_start_matches('/'));
        let name = path.file_name().context("a file has a name")?.to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.edited"));
        fs::write(&beside, text).with_context(|| beside.display().to_string())?;
        if let Ok(old) = path.symlink_metadata() {
            fs::set_permissions(&beside, old.permissions())?;
        }
        fs::rename(&beside, &path).with_context(|| path.display().to_string())
    }

    /// Returns whether a file of the node exists.
    pub fn exists(&self, path: &str) -> bool {
        self.root().join(path.trim_start_matches('/')).symlink_metadata().is_ok()
    }
}
