//! What systemd is told: that start-up is done, that the process lives, that it stops. The test is systemd here: it has
//! the socket that real agents and controllers write to.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, Node, Store, binary, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// After how long without a beat systemd would kill it.
const LIMIT: Duration = Duration::from_millis(1500);
/// How long a word may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program as systemd starts it; killed with its owner.
struct Unit {
    child: Child,
    socket: UnixDatagram,
    directory: TempDir,
}

impl Unit {
    fn start(program: &str, args: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new(binary(program)?)
            .args(args)
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, socket, directory })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id() as i32), signal)?)
    }

    /// Returns the next words; `None` when none come for this long.
    fn hear(&self, patience: Duration) -> Result<Option<Vec<String>>> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Ok(Some(String::from_utf8(bytes[..length].to_vec())?.lines().map(str::to_owned).collect())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a word; what else is said until then is returned.
    fn wait_for(&self, word: &str) -> Result<Vec<String>> {
        let (started, mut heard) = (Instant::now(), Vec::new());
        while started.elapsed() < PATIENCE {
            let words = self.hear(PATIENCE)?.unwrap_or_default();
            let is_there = words.iter().any(|w| w == word);
            heard.extend(words);
            if is_there {
                return Ok(heard);
            }
        }
        let log = std::fs::read_to_string(self.directory.path().join("log"))?;
        anyhow::bail!("no {word}, but {heard:?}; its log:\n{log}")
    }

    /// From ready to the end, hung in between.
    fn lives_and_stops(mut self, check_ready: &dyn Fn() -> Result<()>) -> Result<()> {
        let before = self.wait_for("READY=1")?;
        ensure!(!before.iter().any(|w| w == "WATCHDOG=1"), "it beats before it is ready: {before:?}");
        ensure!(before.iter().any(|w| w.starts_with("STATUS=")), "it says what it is at: {before:?}");
        check_ready()?;

        // A beat each third of the limit. Those that came while something else was looked at are no measure: what is
        // counted was said after the clock was started, so that a test that is held up only finds more time gone.
        let (started, mut heard) = (Instant::now(), Vec::new());
        while self.hear(Duration::from_millis(1))?.is_some() {}
        for _ in 0..5 {
            heard.extend(self.wait_for("WATCHDOG=1")?);
        }
        ensure!(started.elapsed() > LIMIT, "five beats in {:?}", started.elapsed());
        ensure!(!heard.iter().any(|w| w == "READY=1" || w == "STOPPING=1"), "{heard:?}");

        // Hung: not one beat for longer than systemd would wait.
        self.signal(Signal::SIGSTOP)?;
        let state = format!("/proc/{}/stat", self.child.id());
        wait_for("it to be stopped", || match std::fs::read_to_string(&state) {
            Ok(text) if text.contains(") T ") => Ok(()),
            other => Err(format!("{other:?}")),
        });
        while self.hear(Duration::from_millis(1))?.is_some() {}
        let said = self.hear(LIMIT * 2)?;
        ensure!(said.is_none(), "a stopped process says {said:?}");
        self.signal(Signal::SIGCONT)?;
        self.wait_for("WATCHDOG=1")?;

        // It says that it stops, beats no more, and ends well.
        self.signal(Signal::SIGTERM)?;
        self.wait_for("STOPPING=1")?;
        let status = wait_for("its end", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_hears_when_an_agent_is_ready_lives_hangs_and_stops() -> Result<()> {
    let controller = Controller::start()?;
    let node = Node::prepare("web-1")?;
    controller.enrol(&node, "app")?;
    let root = node.root().display().to_string();
    let unit = Unit::start("lampas-agent", &["--root", &root, "run"])?;
    // Ready is: it answers on its socket.
    unit.lives_and_stops(&|| {
        let (code, said) = node.agent(&["status"])?;
        ensure!(code == 0 || code == 2, "{said}");
        Ok(())
    })
}

#[test]
fn systemd_hears_when_a_controller_is_ready_lives_hangs_and_stops() -> Result<()> {
    let controller = Controller::prepare(Store::Sqlite)?;
    let (data, listen) = (controller.data().display().to_string(), format!("127.0.0.1:{}", controller.port()));
    let unit = Unit::start("lampas-controller", &["serve", "--data-dir", &data, "--listen", &listen])?;
    // Ready is: it takes calls, and the first administrator can be made.
    unit.lives_and_stops(&|| {
        let health = controller.https("", "GET", "/healthz", &[]).context("a call right after READY=1")?;
        ensure!(health.status == 200, "{health:?}");
        Ok(())
    })
}
