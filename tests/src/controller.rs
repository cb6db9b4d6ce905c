//! A controller with its store, and `lampasctl` signed in to it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Node, Process, binary, free_port, wait_for};

/// Which store a controller has.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file under its data directory.
    Sqlite,
    /// A MariaDB server; the file holds what `--database-file` takes.
    Database(PathBuf),
}

/// A running controller with one administrator, `admin`.
#[derive(Debug)]
pub struct Controller {
    /// Ends before its directory goes: the log is shown when a test fails.
    process: Option<Process>,
    directory: TempDir,
    port: u16,
    store: Store,
    /// Its data directory within `directory`.
    data: String,
    log_level: String,
    listen: String,
    /// By how many days its clock is off.
    days_off: Option<i32>,
}

/// What an HTTPS call gave.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body, when it is JSON.
    pub body: Value,
}

/// What a `lampasctl` call gave.
#[derive(Debug)]
pub struct CtlOutput {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Controller {
    /// Starts a controller on SQLite and sets it up.
    pub fn start() -> Result<Self> {
        Self::start_with(Store::Sqlite)
    }

    /// Starts a controller on a store and sets it up.
    pub fn start_with(store: Store) -> Result<Self> {
        let mut controller = Self::prepare(store)?;
        controller.resume()?;
        controller.set_up()?;
        Ok(controller)
    }

    /// Makes the directories of a controller, and starts nothing.
    pub fn prepare(store: Store) -> Result<Self> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let (data, log_level) = ("data".to_owned(), "info".to_owned());
        let listen = "127.0.0.1".to_owned();
        Ok(Self { directory, port, store, data, log_level, listen, process: None, days_off: None })
    }

    /// Makes the first administrator of a controller that was just started.
    pub fn set_up(&self) -> Result<()> {
        let password = self.path("password");
        fs::write(&password, "correct horse battery\n")?;
        let link = self.data().join("setup-link");
        wait_for("the set-up link", || fs::metadata(&link).map(drop));
        let (link, password) = (link.display().to_string(), password.display().to_string());
        self.ctl_ok(&["setup", "--link-file", &link, "--password-file", &password, "--fleet", "Test", "--grave"])?;
        Ok(())
    }

    /// Lets the process log from this level on, when it is started the next time.
    pub fn set_log_level(&mut self, level: &str) {
        level.clone_into(&mut self.log_level);
    }

    /// Listens on another address, when the process is started the next time; `lampasctl` goes on asking 127.0.0.1.
    pub fn listen_on(&mut self, address: &str) {
        address.clone_into(&mut self.listen);
    }

    /// Lets the process, and the signer that it starts, see a clock that is off by days, when it is started the next time.
    pub fn set_clock_off(&mut self, days: i32) {
        self.days_off = Some(days);
    }

    /// Goes on with another data directory and store, when the process is started the next time.
    pub fn switch_to(&mut self, data: &str, store: Store) {
        data.clone_into(&mut self.data);
        self.store = store;
    }

    /// Configures the process, when it is started the next time.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("controller.toml"), text)?)
    }

    /// Starts the process again on the same data and port; returns once it answers.
    pub fn resume(&mut self) -> Result<()> {
        let data = self.data().display().to_string();
        let listen = format!("{}:{}", self.listen, self.port);
        let mut args = vec!["serve", "--data-dir", &data, "--listen", &listen];
        let file;
        if let Store::Database(path) = &self.store {
            file = path.display().to_string();
            args.extend(["--database-file", &file]);
        }
        let config = self.path("controller.toml").display().to_string();
        if Path::new(&config).exists() {
            args.extend(["--config", &config]);
        }
        let log = self.path("controller.log");
        let mut process = Process::start_at("lampas-controller", &args, &log, &self.log_level, self.days_off)?;
        wait_for("the controller's port", || {
            if process.is_running() {
                std::net::TcpStream::connect(("127.0.0.1", self.port)).map(drop).map_err(|e| e.to_string())
            } else {
                panic!("the controller ended:\n{}", process.log_tail())
            }
        });
        wait_for("the dashboard's authority", || fs::metadata(self.ca()).map(drop));
        self.process = Some(process);
        Ok(())
    }

    /// Returns the process.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the controller runs")
    }

    /// Kills the controller, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Enrols a node and starts its agent; returns once it is online.
    pub fn node(&self, name: &str, role: &str) -> Result<Node> {
        let mut node = Node::prepare(name)?;
        self.enrol(&node, role)?;
        node.resume()?;
        self.wait_online(name);
        Ok(node)
    }

    /// Enrols a node without starting its agent.
    pub fn enrol(&self, node: &Node, role: &str) -> Result<()> {
        let token = self.ctl_ok(&["token", "create", "--node", &node.name, "--role", role, "--quiet"])?.out;
        node.enrol(self.port, &token)
    }

    /// Waits until a node is online.
    pub fn wait_online(&self, name: &str) {
        wait_for("the node to be online", || {
            let node = self.json(&["node", "show", name]).map_err(|e| e.to_string())?;
            if node["state"] == "online" { Ok(()) } else { Err(node["state"].to_string()) }
        });
    }

    /// Calls `lampasctl`.
    pub fn ctl(&self, args: &[&str]) -> Result<CtlOutput> {
        self.ctl_with(args, "")
    }

    /// Calls `lampasctl` with something on its standard input.
    pub fn ctl_with(&self, args: &[&str], input: &str) -> Result<CtlOutput> {
        let mut child =
            self.ctl_command(args)?.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok(CtlOutput {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Returns a call of `lampasctl` that has not begun.
    pub fn ctl_command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("lampasctl")?);
        // An operator on the controller's own machine: HTTPS is judged by the same clock.
        if let Some(days) = self.days_off {
            crate::process::set_clock_off(&mut command, days)?;
        }
        command
            .args(args)
            .current_dir(self.directory.path())
            .env("LAMPAS_SERVER", self.url())
            .env("LAMPAS_CA", self.ca())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("LAMPAS_TOKEN")
            .env_remove("LAMPAS_TOKEN_FILE");
        Ok(command)
    }

    /// Calls `lampasctl`; fails unless it exits with 0.
    pub fn ctl_ok(&self, args: &[&str]) -> Result<CtlOutput> {
        let output = self.ctl(args)?;
        ensure!(output.code == 0, "lampasctl {args:?} gave {output:#?}");
        Ok(output)
    }

    /// Calls `lampasctl … --output json`; fails unless it exits with 0.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.ctl_ok(&[args, &["--output", "json"]].concat())?;
        Ok(serde_json::from_str(&output.out)?)
    }

    /// Calls `lampas-controller` on this controller's data and store; fails unless it exits with 0.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(binary("lampas-controller")?);
        command.args(args).arg("--data-dir").arg(self.data());
        if let Store::Database(path) = &self.store {
            command.arg("--database-file").arg(path);
        }
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{args:?} gave {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sends a request to the API as it is, with an API token or without; the body is a file.
    pub fn https(&self, token: &str, method: &str, path: &str, more: &[&str]) -> Result<HttpAnswer> {
        let mut command = Command::new("/usr/bin/curl");
        command.args(["--silent", "--show-error", "--http1.1", "--path-as-is", "--max-time", "120", "--noproxy", "*"]);
        command.args(["--request", method, "--write-out", "\n%{http_code}", "--header", "Expect:", "--cacert"]);
        command.arg(self.ca()).args(more);
        if !token.is_empty() {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let output = command.arg(format!("{}{path}", self.url())).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        ensure!(status != "000", "{method} {path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(HttpAnswer { status: status.parse()?, body: serde_json::from_str(body).unwrap_or_default() })
    }

    /// Sends JSON to the API.
    pub fn send(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Result<HttpAnswer> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, body)?;
        let data = format!("@{}", file.path().display());
        self.https(token, method, path, &["--header", "Content-Type: application/json", "--data-binary", &data])
    }

    /// Applies a manifest and waits until it is in force everywhere.
    pub fn apply(&self, manifest: &str) -> Result<CtlOutput> {
        let output = self.ctl_with(&["apply", "-f", "-", "--wait"], manifest)?;
        ensure!(output.code == 0, "apply gave {output:#?}");
        Ok(output)
    }

    /// Returns the controller's URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the file with the authority of its HTTPS certificate.
    pub fn ca(&self) -> PathBuf {
        self.data().join("web/ca.pem")
    }

    /// Returns its data directory.
    pub fn data(&self) -> PathBuf {
        self.path(&self.data)
    }

    /// Returns a path in the test's own directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }
}
