//! An agent under strace, on a copy of a node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{binary, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    picture::{Picture, difference, is_beside, picture, walk},
    sweep::{Point, points},
};

pub(super) const STRACE: &str = "/usr/bin/strace";

/// Whether what an agent wrote down about itself says that it is done.
pub(super) type IsDone = Box<dyn Fn(&Value) -> bool + Send + Sync>;

/// A copy of a node, whose agent runs under strace.
pub(super) struct Trial {
    directory: TempDir,
    traced: Mutex<Option<Traced>>,
    is_done: IsDone,
}

impl Trial {
    /// Copies a node.
    pub(super) fn copy(from: &Path, is_done: IsDone) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let copied = Command::new("/usr/bin/cp").arg("-a").arg(from).arg(directory.path().join("root")).status()?;
        ensure!(copied.success(), "cp gave {copied}");
        Ok(Self { directory, traced: Mutex::new(None), is_done })
    }

    /// Copies a node and starts its agent; it dies as it enters the n-th call.
    pub(super) fn begin(from: &Path, calls: &str, n: Option<usize>, about: Option<&str>) -> Result<Self> {
        let before = left_status(from)["applied_at"].clone();
        let trial = Self::copy(from, Box::new(is_through(before)))?;
        let traced = Traced::start(&trial.root(), trial.directory.path(), calls, n, about)?;
        *trial.traced.lock().expect("alone") = Some(traced);
        Ok(trial)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(super) fn trace(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("trace"))?)
    }

    /// Waits until the agent died or is done; returns where it died.
    pub(super) fn end(&self) -> Result<Option<Vec<Point>>> {
        let mut traced = self.traced.lock().expect("alone").take().context("it was started")?;
        if traced.settle(&self.root(), &self.is_done)?.is_none() {
            return Ok(None);
        }
        drop(traced);
        let trace = self.trace()?;
        // The thread that was killed on its way into the call: its line is the one without a result.
        let at =
            trace.lines().filter(|l| l.contains("= ?") || l.contains("<unfinished")).collect::<Vec<_>>().join("\n");
        Ok(Some(points(&at, &self.root()).into_iter().collect()))
    }

    /// Starts the agent once more, untouched: it comes to one of these states by itself, and leaves nothing about.
    pub(super) fn check_restart(&self, expected: &[(&str, &Picture)]) -> Result<()> {
        let mut agent = Traced::untraced(&self.root(), self.directory.path())?;
        wait_for("the agent to converge after a kill", || {
            let status = left_status(&self.root());
            let stance = stance_of(&status);
            let Some((_, wanted)) = expected.iter().find(|(name, _)| *name == stance) else {
                return Err(format!("it stands at {stance:?}"));
            };
            let found = picture(&self.root()).map_err(|e| e.to_string())?;
            let is_done = &found == *wanted && status["state"] == settled(&stance);
            if is_done { Ok(()) } else { Err(format!("{}: {}", status["state"], difference(&found, wanted))) }
        });
        let status = wait_for("the agent to answer", || {
            let status = agent_status(&self.root()).map_err(|e| e.to_string())?;
            let is_settled = status["node"]["state"] == settled(&stance_of(&status["node"]));
            if is_settled { Ok(status) } else { Err(status.to_string()) }
        });
        let node = &status["node"];
        // What the agent is writing at the moment comes and goes.
        wait_for("nothing to be left over from before", || {
            let all = walk(&self.root()).map_err(|e| e.to_string())?;
            let strays: Vec<_> = all.into_iter().filter(|p| is_beside(p)).collect();
            if strays.is_empty() { Ok(()) } else { Err(format!("{strays:?}")) }
        });
        agent.kill()?;
        ensure!(status["damaged_journal"].is_null() && node["journal_trouble"].is_null(), "the journal: {status:#}");
        ensure!(node["drifts"].as_array().is_some_and(Vec::is_empty), "its own writes are nobody's edits: {status:#}");
        Ok(())
    }
}

/// How a node stands once it is done: what was undone waits for somebody, and is told so.
fn settled(stance: &str) -> &'static str {
    if stance == "undone" { "paused" } else { "converged" }
}

/// An undo under way on a copy of a node.
pub(super) struct Undo {
    pub(super) trial: Trial,
}

impl Undo {
    /// Starts the agent of a copy, and asks it for an undo once strace watches it.
    pub(super) fn begin(from: &Path, calls: &str, n: Option<usize>, about: Option<&str>) -> Result<Self> {
        let trial = Trial::copy(from, Box::new(|node| stance_of(node) == "undone" && node["state"] == "paused"))?;
        let mut traced = Traced::untraced(&trial.root(), trial.directory.path())?;
        let before = left_status(from)["at"].clone();
        wait_for("the first pass", || {
            let node = left_status(&trial.root());
            if node["at"] != before && node["state"] == "converged" { Ok(()) } else { Err(node.to_string()) }
        });
        let about = about.map(|path| trial.root().join(path));
        traced.watch(trial.directory.path(), calls, n, about.as_deref())?;
        *trial.traced.lock().expect("alone") = Some(traced);
        let mut asked = Command::new(binary("lampas-agent")?);
        asked.arg("--root").arg(trial.root()).arg("undo").stdin(Stdio::null());
        asked.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(Self { trial })
    }

    pub(super) fn end(&self) -> Result<Option<Vec<Point>>> {
        self.trial.end()
    }
}

/// An agent under strace; both end with their owner.
pub(super) struct Traced {
    strace: Option<Child>,
    agent: Pid,
    /// The agent, when it isn't strace's child.
    child: Option<Child>,
}

impl Traced {
    pub(super) fn start(
        root: &Path,
        directory: &Path,
        calls: &str,
        n: Option<usize>,
        about: Option<&str>,
    ) -> Result<Self> {
        let about = about.map(|path| root.join(path));
        let mut command = strace(directory, calls, n, about.as_deref())?;
        command.arg(binary("lampas-agent")?).arg("--root").arg(root).arg("run");
        let strace = command.env_remove("NOTIFY_SOCKET").env("LAMPAS_LOG", "info").spawn()?;
        let children = format!("/proc/{0}/task/{0}/children", strace.id());
        let mut traced = Self { strace: Some(strace), agent: Pid::from_raw(0), child: None };
        // It may be over before anybody looks.
        traced.agent = wait_for("strace to start the agent", || {
            let text = fs::read_to_string(&children).unwrap_or_default();
            let is_over = traced.is_over().map_err(|e| e.to_string())?;
            // Strace tries itself on a child of its own first.
            let is_agent =
                |pid: &&str| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("lampas-agent"));
            match text.split_whitespace().find(is_agent).and_then(|p| p.parse().ok()) {
                Some(pid) => Ok(Pid::from_raw(pid)),
                None if is_over => Ok(Pid::from_raw(0)),
                None => Err(text),
            }
        });
        Ok(traced)
    }

    /// Starts an agent that nobody watches yet.
    pub(super) fn untraced(root: &Path, directory: &Path) -> Result<Self> {
        let log = fs::File::options().create(true).append(true).open(directory.join("log"))?;
        let mut command = Command::new(binary("lampas-agent")?);
        command.arg("--root").arg(root).arg("run").env_remove("NOTIFY_SOCKET").env("LAMPAS_LOG", "info");
        let agent = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { strace: None, agent: Pid::from_raw(agent.id() as i32), child: Some(agent) })
    }

    /// Has strace watch it, and count from here on.
    pub(super) fn watch(
        &mut self,
        directory: &Path,
        calls: &str,
        n: Option<usize>,
        about: Option<&Path>,
    ) -> Result<()> {
        let said = directory.join("attached");
        let mut command = strace(directory, calls, n, about)?;
        command.args(["-p", &self.agent.to_string()]).stderr(fs::File::create(&said)?);
        self.strace = Some(command.spawn()?);
        wait_for("strace to be attached", || {
            let text = fs::read_to_string(&said).unwrap_or_default();
            if text.contains("attached") { Ok(()) } else { Err(text) }
        });
        Ok(())
    }

    pub(super) fn is_over(&mut self) -> Result<bool> {
        Ok(match &mut self.strace {
            Some(strace) => strace.try_wait()?.is_some(),
            None => true,
        })
    }

    /// Waits until the agent died (`Some`), or is done, and kills it then (`None`).
    pub(super) fn settle(&mut self, root: &Path, is_done: &dyn Fn(&Value) -> bool) -> Result<Option<()>> {
        let died = wait_for("the agent to die or to be done", || {
            let is_over = self.is_over().map_err(|e| e.to_string())?;
            let status = left_status(root);
            if is_over || is_done(&status) { Ok(is_over) } else { Err(status.to_string()) }
        });
        if !died {
            self.kill()?;
        }
        Ok(died.then_some(()))
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        if self.agent.as_raw() > 0 {
            let _ = kill(self.agent, Signal::SIGKILL);
        }
        for child in [self.child.take(), self.strace.take()].into_iter().flatten() {
            let mut child = child;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let is_over = self.is_over().unwrap_or(true) && self.child.is_none();
        if !is_over {
            let _ = self.kill();
        }
    }
}

pub(super) fn strace(directory: &Path, calls: &str, n: Option<usize>, about: Option<&Path>) -> Result<Command> {
    let log = fs::File::options().create(true).append(true).open(directory.join("log"))?;
    let mut command = Command::new(STRACE);
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(directory.join("trace")).args(["-e", &format!("trace={calls}")]);
    if let Some(n) = n {
        command.args(["-e", &format!("inject={calls}:signal=SIGKILL:when={n}")]);
    }
    if let Some(path) = about {
        // By a descriptor or a whole path; and by the name that is given beside a directory's descriptor.
        command.arg("-P").arg(path).arg("-P").arg(path.file_name().context("a path has a name")?);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// What the agent wrote down about itself after its last pass; cheaper than asking.
pub(super) fn left_status(root: &Path) -> Value {
    let bytes = fs::read(root.join("var/lib/lampas/agent/state.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Whether the new state is in force, or can't be brought in force since one of its checkers was the one that died.
pub(super) fn is_through(before: Value) -> impl Fn(&Value) -> bool {
    move |node| match node["state"].as_str() {
        Some("converged") => node["applied_at"] != before,
        Some("failed" | "blocked") => true,
        _ => false,
    }
}

pub(super) fn agent_status(root: &Path) -> Result<Value> {
    let output = Command::new(binary("lampas-agent")?)
        .arg("--root")
        .arg(root)
        .args(["--output", "json", "status"])
        .stdin(Stdio::null())
        .output()?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(super) fn stance_of(node: &Value) -> String {
    let stance = &node["stance"];
    let named = stance.as_object().and_then(|o| o.keys().next().cloned());
    stance.as_str().map(str::to_owned).or(named).unwrap_or_default()
}
