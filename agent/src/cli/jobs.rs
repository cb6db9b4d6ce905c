//! Moves records of runs from the spool into the outbox, and tells which slots of jobs nobody took.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lampas_runtime::Tasks;
use lampas_shared::{error::Chain, report::JobRun};
use tracing::{info, warn};

use crate::{
    config::Paths,
    job::{self, Slots},
    journal::{JournalError, Outbox},
    system::Root,
};

/// How often the spool is looked at; a run's record is there in the blink of an eye, nobody waits for it.
const EVERY: Duration = Duration::from_secs(2);

/// Collects until the tasks stop. What does not fit into the outbox stays in the spool.
pub(super) async fn collect(paths: Paths, outbox: Outbox, tasks: Tasks) {
    let stopping = tasks.stopping();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let slots = Arc::new(Mutex::new(None));
    let mut is_failing = false;
    loop {
        // Both arms are cancel-safe: a tick that is not taken comes at the next call.
        let is_over = tokio::select! {
            _ = tick.tick() => false,
            () = stopping.cancelled() => true,
        };
        let (paths, outbox, slots) = (paths.clone(), outbox.clone(), Arc::clone(&slots));
        let round = move || {
            let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
            round(&paths, &outbox, &mut slots, is_over)
        };
        let error = match tokio::task::spawn_blocking(round).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        };
        match (&error, is_failing) {
            (Some(error), false) => warn!(error, "runs of jobs can't be collected; they stay in the spool"),
            (None, true) => info!("runs of jobs are collected again"),
            _ => {}
        }
        is_failing = error.is_some();
        if is_over {
            return;
        }
    }
}

/// One round. Slots are forgotten when it fails, and read again: what stands on the disk is what was told.
fn round(paths: &Paths, outbox: &Outbox, slots: &mut Option<Slots>, is_over: bool) -> anyhow::Result<()> {
    if !paths.spool().exists() {
        return Ok(());
    }
    let root = Root::open(paths.root())?;
    let moment = job::Moment::read();
    let now = moment.now;
    let mut next = match slots.take() {
        Some(slots) => slots,
        None => Slots::load(&root, &moment)?,
    };
    let found = job::collect(&root)?;
    let mut pushed = 0;
    let mut failed = Ok(());
    let mut is_news = false;
    for collected in &found {
        failed = push(outbox, collected.run.clone());
        if failed.is_err() {
            break;
        }
        pushed += 1;
        is_news |= next.note(&collected.run, now);
    }
    if is_news {
        // Before the records go: a slot whose record is gone and that nobody remembers would count as missed.
        next.save(&root, now)?;
    }
    found[..pushed].iter().try_for_each(|collected| collected.discard(&root))?;
    failed?;
    // With records left, what looks missed may be in one of them.
    let is_whole = found.len() < job::MAX_RECORDS;
    if is_whole && next.is_due(now) {
        let untaken = next.look(&root, &moment)?;
        let is_told = !untaken.is_empty();
        untaken.into_iter().try_for_each(|run| push(outbox, run))?;
        if is_told || next.is_stale(now) {
            next.save(&root, now)?;
        }
    }
    if is_over {
        next.alive(now);
        next.save(&root, now)?;
    }
    *slots = Some(next);
    Ok(())
}

fn push(outbox: &Outbox, run: JobRun) -> anyhow::Result<()> {
    match outbox.push(lampas_wire::Report::Job(run)) {
        Ok(_) => Ok(()),
        Err(error @ JournalError::Full { .. }) => Err(anyhow::anyhow!("{}", Chain(&error))),
        Err(error) => Err(error.into()),
    }
}
