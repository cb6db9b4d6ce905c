//! `lampas-agent run-shim RUN`: watches over one run, without agent, journal or controller.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    id::RunId,
    operation::{OperationRun, OutputStream, RunEnd, RunOrder},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

use super::{
    launch,
    mask::{Mask, Patterns},
    output::Writer,
    secret,
    spool::{Begun, Entry, Process},
    tree,
};
use crate::config::Paths;

/// Between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(10);
/// How long the output of what a finished program left running counts as its own.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How long processes are killed that don't die: those that wait for a disk that is gone.
const GIVE_UP: Duration = Duration::from_secs(40);
/// How often it is looked whether anybody is left, while all are being ended.
const LOOK: Duration = Duration::from_millis(50);

/// Watches over a run until it is over, and leaves its record. Whoever comes second leaves at once.
///
/// # Errors
/// When the spool can't be used; the agent then finds a run without a watcher.
pub fn watch_over(paths: &Paths, run: RunId) -> io::Result<()> {
    // Fails when it leads a session already, as in a unit of systemd.
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        asked.add(signal);
    }
    asked.thread_block()?;
    let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let entry = Entry::of(paths, run);
    let Some(_lock) = entry.lock()? else { return Ok(()) };
    if entry.begun().is_some() || entry.end().is_some() {
        return Ok(());
    }
    let order = entry.order().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the order can't be read"))?;
    let started_at = clock::now();
    let ended = |end: RunEnd, (output_bytes, output_hash): (u64, ContentHash)| OperationRun {
        run,
        operation: order.operation,
        started_at,
        ended_at: clock::now(),
        end,
        output_bytes,
        output_hash,
        found: None,
    };
    entry.put_begun(&Begun { process: Process::this(), at: started_at })?;
    if entry.is_cancelled() {
        return entry.put_end(&ended(RunEnd::Cancelled, nothing()));
    }
    let watched = Watch::start(paths, &entry, &order, signals).and_then(Watch::run);
    secret::remove(&entry);
    let (end, output) = match watched {
        Ok((end, output)) => (end, output),
        Err(error) => {
            // Nobody may stay whom nobody watches.
            tree::signal_all(Signal::SIGKILL);
            let text = format!("the run could not be watched: {error}");
            (RunEnd::NotStarted(Fault::lasting("operation.start", text)), nothing())
        }
    };
    let found = order.probe.as_ref().and_then(|_| launch::found(&entry));
    entry.put_end(&OperationRun { found, ..ended(end, output) })
}

fn nothing() -> (u64, ContentHash) {
    (0, ContentHash::of(b""))
}

/// A program under watch.
struct Watch<'a> {
    entry: &'a Entry,
    is_rehearsal: bool,
    signals: SignalFd,
    main: Pid,
    pipes: [(Option<File>, OutputStream, Mask); 2],
    /// The values of secrets, which its output must not have.
    patterns: Patterns,
    writer: Writer,
    began: Instant,
    deadline: Instant,
    /// How the program itself ended.
    status: Option<WaitStatus>,
    /// Why it is being ended, since when, and whether it was only asked.
    ending: Option<(RunEnd, Instant)>,
}

impl<'a> Watch<'a> {
    fn start(paths: &Paths, entry: &'a Entry, order: &RunOrder, signals: SignalFd) -> io::Result<Self> {
        let writer = Writer::create(&entry.dir, order.output_bytes)?;
        let patterns = secret::of_run(paths, entry, order).map_err(|fault| io::Error::other(fault.message))?.patterns();
        let mask = || Mask::new(patterns.clone());
        let step = std::env::current_exe()?;
        let mut child = Command::new(step)
            .arg("--root")
            .arg(paths.root())
            .args(["run-step", &order.run.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let began = Instant::now();
        let main = Pid::from_raw(i32::try_from(child.id()).expect("Linux numbers processes below 2^22"));
        let stdout = child.stdout.take().map(|p| File::from(std::os::fd::OwnedFd::from(p)));
        let stderr = child.stderr.take().map(|p| File::from(std::os::fd::OwnedFd::from(p)));
        for pipe in [&stdout, &stderr].into_iter().flatten() {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            entry,
            is_rehearsal: order.rehearse,
            signals,
            main,
            pipes: [(stdout, OutputStream::Stdout, mask()), (stderr, OutputStream::Stderr, mask())],
            patterns,
            writer,
            began,
            deadline: began + Duration::from_secs(u64::from(order.timeout_secs)),
            status: None,
            ending: None,
        })
    }

    fn run(mut self) -> io::Result<(RunEnd, (u64, ContentHash))> {
        let mut over_since = None;
        loop {
            self.reap();
            self.read_pipes();
            if self.status.is_some() {
                let since = *over_since.get_or_insert_with(Instant::now);
                let is_silent = self.pipes.iter().all(|(pipe, ..)| pipe.is_none());
                let is_left_alone = self.ending.is_none();
                if is_left_alone && (is_silent || since.elapsed() >= AFTERMATH) {
                    break;
                }
                if !is_left_alone && tree::descendants().is_empty() {
                    self.read_pipes();
                    break;
                }
            }
            if self.ending.as_ref().is_some_and(|(_, since)| since.elapsed() >= GIVE_UP) {
                break;
            }
            self.judge();
            self.wait(over_since)?;
        }
        Ok(self.conclude())
    }

    /// Decides whether it is time to end it, or to end it harder.
    fn judge(&mut self) {
        match &self.ending {
            None if self.status.is_none() && Instant::now() >= self.deadline => self.end(RunEnd::TimedOut),
            Some((_, since)) if since.elapsed() >= GRACE => {
                // Again and again: who forks meanwhile is found in the next round.
                tree::signal_all(Signal::SIGSTOP);
                tree::signal_all(Signal::SIGKILL);
            }
            _ => {}
        }
    }

    fn end(&mut self, why: RunEnd) {
        if self.ending.is_none() {
            self.ending = Some((why, Instant::now()));
            tree::signal_all(Signal::SIGTERM);
            tree::signal_all(Signal::SIGCONT);
        }
    }

    /// Waits for output, a signal, or the next moment at which something is due.
    fn wait(&mut self, over_since: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let due = match (&self.ending, over_since) {
            (Some(_), _) => now + LOOK,
            (None, Some(since)) => since + AFTERMATH,
            (None, None) => self.deadline,
        };
        let left = due.saturating_duration_since(now).as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let readable = {
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let open: Vec<BorrowedFd<'_>> =
                self.pipes.iter().filter_map(|(pipe, ..)| pipe.as_ref().map(|p| p.as_fd())).collect();
            fds.extend(open.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) => fds[0].any().unwrap_or(false),
                Err(Errno::EINTR) => false,
                Err(errno) => return Err(errno.into()),
            }
        };
        if readable {
            while let Ok(Some(info)) = self.signals.read_signal() {
                if info.ssi_signo == Signal::SIGCHLD as u32 {
                    continue;
                }
                self.end(if self.entry.is_cancelled() {
                    RunEnd::Cancelled
                } else {
                    RunEnd::Lost("it was ended with the machine, or by somebody on it".to_owned())
                });
            }
        }
        Ok(())
    }

    /// Takes note of who ended: the program, and orphans that were adopted.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            match status.pid() {
                None => break,
                Some(pid) if pid == self.main => self.status = Some(status),
                Some(_) => {}
            }
        }
    }

    /// Takes what is there, at most a megabyte of each before signals and time are looked at again.
    fn read_pipes(&mut self) {
        let after_ms = self.began.elapsed().as_millis() as u64;
        let mut buffer = vec![0; 64 << 10];
        for (pipe, stream, mask) in &mut self.pipes {
            for _ in 0..16 {
                let Some(open) = pipe else { break };
                match open.read(&mut buffer) {
                    Ok(0) => *pipe = None,
                    Ok(n) => self.writer.write(*stream, after_ms, &mask.push(&buffer[..n])),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => *pipe = None,
                }
            }
        }
    }

    fn conclude(mut self) -> (RunEnd, (u64, ContentHash)) {
        let end = match (self.ending.take(), self.status) {
            (Some((why, _)), _) => why,
            (None, Some(WaitStatus::Exited(_, status))) => match launch::failure(self.entry) {
                Some(fault) if status == launch::NOT_STARTED => RunEnd::NotStarted(fault),
                _ => RunEnd::Exited(status),
            },
            (None, Some(WaitStatus::Signaled(_, signal, _))) => RunEnd::Signalled(signal as i32),
            (None, _) => RunEnd::Lost("its end was not seen".to_owned()),
        };
        let after_ms = self.began.elapsed().as_millis() as u64;
        for (_, stream, mask) in &mut self.pipes {
            self.writer.write(*stream, after_ms, &mask.finish());
        }
        let left = tree::descendants().len();
        if left > 0 {
            let text = format!("{left} processes that it started in the background go on\n");
            self.writer.write(OutputStream::Agent, after_ms, text.as_bytes());
        }
        if self.is_rehearsal
            && let Some(changes) = super::unshared::changes(self.entry)
        {
            self.writer.write(OutputStream::Agent, after_ms, self.patterns.mask_text(&changes).as_bytes());
        }
        let (total, _, hash) = self.writer.finish();
        (end, (total, hash))
    }
}
