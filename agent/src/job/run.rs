//! `lampas-agent job run ID`: what cron calls.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, Write},
    path::Path,
    sync::PoisonError,
    time::Duration,
};

use lampas_render::{Decision, crontab::DEFAULT_PATH, slot_for};
use lampas_shared::{
    error::Chain,
    id::ObjectId,
    report::{JobRun, RunOutcome},
    time::UnixMs,
};
use rustix::fs::{FlockOperation, OFlags};

use super::{
    JobFile, command,
    file::slot_path,
    mail::Mail,
    spool::{self, Process, Started},
};
use crate::system::Root;

/// Who started a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Cron: the schedule decides whether this start is one of the job's times.
    Cron,
    /// Somebody, now.
    ByHand,
}

/// The exit status when the job itself did not run.
const NOT_RUN: i32 = 125;

/// Runs a job as the caller's user and returns the exit status to pass on: the job's own, 128 and its signal, or 124
/// when it was ended because its time was over.
///
/// The output goes to `stdout` and `stderr` as it comes, so that cron's mail stays what it was. A record that can't be
/// written keeps no job from running; a line on `stderr` says so.
pub fn run(
    root: &Path,
    object: ObjectId,
    start: Start,
    stdout: impl Write + Send + 'static,
    stderr: impl Write + Send + 'static,
) -> i32 {
    let say = |error: &dyn std::error::Error| eprintln!("lampas-agent: {}", Chain(error));
    let root = match Root::open(root) {
        Ok(root) => root,
        Err(error) => {
            say(&error);
            return NOT_RUN;
        }
    };
    let file = match JobFile::read(&root, object) {
        Ok(file) => file,
        Err(error) => {
            say(&error);
            return NOT_RUN;
        }
    };
    let now = lampas_runtime::clock::now();
    let slot = match start {
        Start::ByHand => None,
        Start::Cron => match take_slot(&root, &file, now) {
            Decision::Run { slot } => (!file.job.schedule.is_reboot()).then_some(slot),
            Decision::Skip { reason } => {
                if reason.is_worth_a_record() {
                    let skipped = JobRun {
                        ended_at: Some(now),
                        outcome: RunOutcome::Skipped,
                        output: reason.to_string(),
                        ..begun(&file, None, now)
                    };
                    if let Err(error) = spool::drop_ended(&root, &skipped) {
                        say(&error);
                    }
                }
                return 0;
            }
        },
    };
    let mut run = begun(&file, slot, now);
    let started = Started { run: run.clone(), wrapper: Process::this() };
    if let Err(error) = spool::drop_started(&root, &started) {
        eprintln!("lampas-agent: this run can't be recorded: {}", Chain(&error));
    }
    let timeout = file.job.timeout_secs.map(|s| Duration::from_secs(u64::from(s)));
    let mail = if start == Start::Cron { Mail::of(&file.job) } else { None };
    let (command, environment) = (file.job.shell_command(), environment(&file));
    let ended = match mail.clone() {
        Some(mail) => command::run(&command, &environment, timeout, mail.clone(), mail),
        None => command::run(&command, &environment, timeout, stdout, stderr),
    };
    run.ended_at = Some(lampas_runtime::clock::now());
    match &ended {
        Ok(ended) => {
            let output = ended.output.lock().unwrap_or_else(PoisonError::into_inner);
            run.outcome = ended.outcome;
            run.output = output.text();
            run.output_bytes = output.total;
        }
        Err(error) => {
            run.outcome = RunOutcome::NotStarted;
            run.output = format!("/bin/sh can't be started: {error}");
            eprintln!("lampas-agent: {}", run.output);
        }
    }
    if let Err(error) = spool::drop_ended(&root, &run) {
        eprintln!("lampas-agent: this run can't be recorded: {}", Chain(&error));
    }
    if let Ok(ended) = ended {
        ended.linger();
    }
    if let Some(mail) = mail {
        mail.send();
    }
    match run.outcome {
        RunOutcome::Exited(status) => status,
        RunOutcome::Signalled(signal) => 128 + signal,
        RunOutcome::TimedOut => 124,
        RunOutcome::NotStarted | RunOutcome::Skipped | RunOutcome::Lost | RunOutcome::Missed | RunOutcome::NodeDown => {
            NOT_RUN
        }
    }
}

fn begun(file: &JobFile, slot: Option<UnixMs>, now: UnixMs) -> JobRun {
    JobRun {
        run: lampas_runtime::random::new_id(),
        object: file.object,
        user: file.job.user.to_string(),
        slot,
        started_at: now,
        ended_at: None,
        outcome: RunOutcome::Lost,
        output: String::new(),
        output_bytes: 0,
        times: 1,
    }
}

/// What the job gets on top of cron's environment.
fn environment(file: &JobFile) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    environment.extend(file.job.environment.iter().map(|(n, v)| (n.to_string(), v.clone())));
    environment
}

/// Decides by the schedule, each slot once: the last one stands in a file that two starts at a time can't both change.
/// Without that file (a first run before the agent made it) each start of cron counts for itself.
fn take_slot(root: &Root, file: &JobFile, now: UnixMs) -> Decision {
    let zone = file.node_zone();
    let mut slots = root
        .place(&slot_path(file.object), root.euid())
        .and_then(|place| place.open(OFlags::RDWR | OFlags::NONBLOCK))
        .ok()
        .map(File::from)
        .filter(|f| is_own(root, f) && rustix::fs::flock(f, FlockOperation::LockExclusive).is_ok());
    let mut text = String::new();
    if let Some(slots) = &mut slots {
        let _ = slots.take(64).read_to_string(&mut text);
    }
    let last = text.trim().parse().ok().map(UnixMs);
    let decision = slot_for(&file.job, &zone, now, last);
    if let (Decision::Run { slot }, Some(slots)) = (decision, &mut slots) {
        // Always the same length, so that what a power-off leaves is the old or the new number.
        let written = slots.rewind().and_then(|()| slots.write_all(format!("{:020}\n", slot.0).as_bytes()));
        let _ = written.and_then(|()| slots.set_len(21)).and_then(|()| slots.sync_all());
    }
    decision
}

fn is_own(root: &Root, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|m| m.is_file() && m.uid() == root.euid() && m.nlink() == 1)
}
