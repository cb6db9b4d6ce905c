//! Runs a job's command: forwards its output as it comes, keeps the last of it, and ends it when its time is over.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lampas_shared::report::RunOutcome;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        signal::{SigSet, Signal, killpg},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};
use rustix::process::PidfdFlags;

/// How much of the output is kept: what `JobRun::output` may hold.
const KEPT_BYTES: usize = 64 << 10;
/// Between asking a job to end and ending it.
const GRACE: Duration = Duration::from_secs(10);
/// How long the output of what a finished job left running counts as its own.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What became of a command.
pub(super) struct Ended {
    pub(super) outcome: RunOutcome,
    pub(super) output: Arc<Mutex<Tail>>,
    forwarders: Vec<JoinHandle<()>>,
}

/// The last bytes of an output, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    pub(super) total: u64,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        // Cut rarely: the buffer holds at most twice what is kept.
        if self.bytes.len() > 2 * KEPT_BYTES {
            self.bytes.drain(..self.bytes.len() - KEPT_BYTES);
        }
    }

    /// Returns the last bytes as text, at most 64 KiB of it.
    pub(super) fn text(&self) -> String {
        let mut from = self.bytes.len().saturating_sub(KEPT_BYTES);
        let mut text = String::from_utf8_lossy(&self.bytes[from..]).into_owned();
        // A replaced byte is three bytes long.
        while text.len() > KEPT_BYTES {
            from = text.len() - KEPT_BYTES;
            while !text.is_char_boundary(from) {
                from += 1;
            }
            text.drain(..from);
        }
        text
    }
}

/// Runs `/bin/sh -c COMMAND` in a process group of its own and waits for it.
///
/// Signals that ask this process to end are handed on to the job.
pub(super) fn run(
    command: &str,
    environment: &BTreeMap<String, String>,
    timeout: Option<Duration>,
    stdout: impl Write + Send + 'static,
    stderr: impl Write + Send + 'static,
) -> std::io::Result<Ended> {
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        asked.add(signal);
    }
    // Before any thread is started, so that all of them leave these signals to the descriptor. A child is started with
    // an empty mask by std.
    asked.thread_block()?;
    let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let output = Arc::new(Mutex::new(Tail::default()));
    let mut forwarders = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        forwarders.push(forward(pipe, stdout, Arc::clone(&output)));
    }
    if let Some(pipe) = child.stderr.take() {
        forwarders.push(forward(pipe, stderr, Arc::clone(&output)));
    }
    let (status, is_timed_out) = wait(&mut child, &signals, timeout)?;
    let deadline = Instant::now() + AFTERMATH;
    while forwarders.iter().any(|f| !f.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let outcome = if is_timed_out { RunOutcome::TimedOut } else { outcome_of(status) };
    Ok(Ended { outcome, output, forwarders })
}

impl Ended {
    /// Forwards what the job's leftovers still write until they are done, as cron would wait for them.
    pub(super) fn linger(self) {
        for forwarder in self.forwarders {
            let _ = forwarder.join();
        }
    }
}

fn outcome_of(status: ExitStatus) -> RunOutcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => RunOutcome::Exited(code),
        (None, signal) => RunOutcome::Signalled(signal.unwrap_or(0)),
    }
}

/// Waits for the leader; asks its group to end when time is up or this process is asked to, and ends it after a grace.
fn wait(child: &mut Child, signals: &SignalFd, timeout: Option<Duration>) -> std::io::Result<(ExitStatus, bool)> {
    let pidfd = rustix::process::pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let mut deadline = timeout.map(|t| Instant::now() + t);
    let mut is_asked = false;
    let mut is_timed_out = false;
    loop {
        let (has_ended, is_signalled) = poll(pidfd.as_fd(), signals.as_fd(), deadline)?;
        if has_ended {
            if is_timed_out {
                // Nobody of a job whose time is over stays. The leader isn't reaped yet: the number is still its.
                let _ = killpg(group, Signal::SIGKILL);
            }
            return Ok((child.wait()?, is_timed_out));
        }
        if is_signalled {
            while let Ok(Some(info)) = signals.read_signal() {
                let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
                let _ = killpg(group, signal.unwrap_or(Signal::SIGTERM));
            }
            if !is_asked {
                is_asked = true;
                deadline = Some(Instant::now() + GRACE);
            }
            continue;
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            if is_asked {
                let _ = killpg(group, Signal::SIGKILL);
                deadline = None;
            } else {
                (is_asked, is_timed_out) = (true, true);
                let _ = killpg(group, Signal::SIGTERM);
                deadline = Some(Instant::now() + GRACE);
            }
        }
    }
}

fn poll(child: BorrowedFd<'_>, signals: BorrowedFd<'_>, deadline: Option<Instant>) -> std::io::Result<(bool, bool)> {
    let timeout = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
        None => PollTimeout::NONE,
        // A week in milliseconds fits; longer waits wake up early and wait again.
        Some(left) => PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX),
    };
    let mut fds = [PollFd::new(child, PollFlags::POLLIN), PollFd::new(signals, PollFlags::POLLIN)];
    match nix::poll::poll(&mut fds, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLIN));
    Ok((is_ready(&fds[0]), is_ready(&fds[1])))
}

fn forward(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    tail: Arc<Mutex<Tail>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 16 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    tail.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..n]);
                    // Whoever read our output may be gone; the job goes on, and so does its record.
                    let _ = to.write_all(&buffer[..n]).and_then(|()| to.flush());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_an_output_is_bounded_and_is_text() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.add(&[b'a'; 5000]);
        }
        tail.add(&vec![0xff; 50_000]);
        tail.add("end".as_bytes());
        let text = tail.text();
        assert!(text.len() <= KEPT_BYTES && text.ends_with("\u{fffd}end"));
        assert_eq!(tail.total, 550_003);
    }
}
