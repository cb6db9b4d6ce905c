//! Runs a program by absolute path: cleared environment, own process group, bounded in time and output.

use std::{
    io::{Read, Write as _},
    os::{
        fd::AsFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::process::PidfdFlags;
use thiserror::Error;

/// The environment that programs get: nothing of the agent's own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the output of what a program left running outside of its group is waited for.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program {
    path: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    limit: Duration,
    max_output: usize,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; `None` when it ran out of time and was killed.
    pub status: Option<ExitStatus>,
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first bytes of its standard error.
    pub stderr: Vec<u8>,
}

/// Why it could not be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The path isn't absolute.
    #[error("{0} is not an absolute path")]
    Relative(String),
    /// The system refused.
    #[error("can't run {path}")]
    Start {
        /// The program.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Program {
    /// A program by absolute path, with 10 seconds and 64 KiB of output.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: vec![("PATH".to_owned(), PATH.to_owned()), ("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
            stdin: Vec::new(),
            limit: Duration::from_secs(10),
            max_output: 64 << 10,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it this on standard input; nothing by default.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// Keeps this much of its output.
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Gives it this long.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl Output {
    /// Returns whether it ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// Returns how it ended, in words, with the last line that it wrote to standard error.
    pub fn describe(&self) -> String {
        let how = match self.status {
            None => "ran out of time".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or(0)),
            },
        };
        let text = String::from_utf8_lossy(&self.stderr);
        let said = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
        let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
        if said.is_empty() { how } else { format!("{how}: {said}") }
    }
}

/// Runs a program and waits for it. What it leaves running in its group is killed.
pub fn run(program: &Program) -> Result<Output, RunError> {
    if !program.path.starts_with('/') {
        return Err(RunError::Relative(program.path.clone()));
    }
    let failed = |source| RunError::Start { path: program.path.clone(), source };
    let mut child = Command::new(&program.path)
        .args(&program.args)
        .env_clear()
        .envs(program.env.iter().map(|(n, v)| (n, v)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take().map(|p| gather(p, program.max_output));
    let stderr = child.stderr.take().map(|p| gather(p, program.max_output));
    let writer = child.stdin.take().map(|mut pipe| {
        let bytes = program.stdin.clone();
        // A program that doesn't read all of its input is no error.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let waited = wait_until(&child, Some(Instant::now() + program.limit));
    // The leader is not reaped yet, so its number still names this group alone. What can't be watched must not go on
    // either.
    kill_group(&child, Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    let in_time = waited.map_err(failed)?;
    // What left the group may hold the pipes for ever: it is not waited for.
    let readers = [stdout, stderr];
    let deadline = Instant::now() + LEFT_OVER;
    let is_done = || {
        readers.iter().flatten().all(|r| r.thread.is_finished()) && writer.as_ref().is_none_or(JoinHandle::is_finished)
    };
    while !is_done() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let text = |reader: &Option<Reader>| {
        reader
            .as_ref()
            .map(|r| std::mem::take(&mut *r.kept.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    };
    Ok(Output { status: in_time.then_some(status), stdout: text(&readers[0]), stderr: text(&readers[1]) })
}

struct Reader {
    thread: JoinHandle<()>,
    kept: Arc<Mutex<Vec<u8>>>,
}

/// Waits until a child has ended, without reaping it; returns whether it has by then.
pub(crate) fn wait_until(child: &Child, deadline: Option<Instant>) -> std::io::Result<bool> {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            // Rounded up, so that the last wait isn't a spin.
            Some(left) => PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX),
        };
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, timeout) {
            Ok(n) if n > 0 => return Ok(true),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return Ok(false);
        }
    }
}

/// Sends a signal to all of a child's process group, which the child leads.
pub(crate) fn kill_group(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // An empty group is what was wanted.
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

/// Reads to the end, keeping the first bytes: a program that writes without end is drained until it is killed.
fn gather(mut pipe: impl Read + Send + 'static, max: usize) -> Reader {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0_u8; 8192];
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 {
                break;
            }
            let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let room = max.saturating_sub(kept.len()).min(n);
            kept.extend_from_slice(&buffer[..room]);
        }
    });
    Reader { thread, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_a_clean_environment_and_its_input() {
        let program = Program::new("/bin/sh").args(["-c", "cat; echo $HOME-$X"]).env("X", "1").stdin(b"in ".to_vec());
        let output = run(&program).expect("runs");
        assert!(output.is_success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in -1\n");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let started = Instant::now();
        let program = Program::new("/bin/sh").args(["-c", "sleep 600 & sleep 600"]).limit(Duration::from_millis(50));
        let output = run(&program).expect("runs");
        assert_eq!(output.status, None);
        assert!(started.elapsed() < Duration::from_secs(60), "both sleeps are gone");
    }

    #[test]
    fn what_left_the_group_is_not_waited_for() {
        let started = Instant::now();
        let output = run(&Program::new("/bin/sh").args(["-c", "echo said; setsid sleep 30 &"])).expect("runs");
        assert_eq!(output.stdout, b"said\n");
        assert!(started.elapsed() < Duration::from_secs(25));
    }

    #[test]
    fn endless_output_is_bounded() {
        let program =
            Program::new("/bin/sh").args(["-c", "while :; do echo yes; done"]).limit(Duration::from_millis(200));
        let output = run(&program).expect("runs");
        assert!(output.stdout.len() <= 64 << 10);
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(matches!(run(&Program::new("sh")), Err(RunError::Relative(_))));
    }
}
