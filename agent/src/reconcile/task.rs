//! The loop around passes: wakes on change, on retry timers and periodically, and runs trials beside them.

use std::{collections::BTreeSet, future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lampas_runtime::{Tasks, clock};
use lampas_shared::{
    error::{Chain, Fault},
    report::{GenerationReport, Phase, ResourceReport, ResourceState},
};
use lampas_wire::Report;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Bench, Upstream, pass,
    trial::{Trial, Verdict},
};
use crate::{
    config, drift,
    journal::{Accepted, JournalError, Progress, Transaction},
    system::memory,
};

/// After a pass, until what it left behind has been sent; then memory is given back.
const SETTLES_IN: Duration = Duration::from_secs(3);
/// After the end of a pause, until it counts as over.
const PAUSE_ENDS_IN_MS: u64 = 20;
/// What the node's owner says: who may do what here, and whether anything is done at all.
const OWNERS: [&str; 3] = ["/etc/lampas/policy.toml", "/etc/lampas/allowed_signers", "/var/lib/lampas/agent/observe"];
/// The longest pause between attempts at what failed.
const MAX_RETRY: Duration = Duration::from_secs(600);

/// The one task that changes the node.
pub struct Reconciler {
    bench: Arc<Bench>,
    times: config::Reconcile,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    watched: watch::Sender<BTreeSet<String>>,
    trial: Option<Trial>,
    retry: Duration,
    /// Whether somebody's pause held when it was looked last.
    was_paused: bool,
}

/// What came of a pass.
struct Passed {
    /// When to try again what failed.
    retry_at: Option<Instant>,
    /// Whether a state came in between, so that nothing was done yet of what was asked for.
    is_overtaken: bool,
}

/// What ends the loop: the agent stops, or the node is ejected.
struct Ends {
    stopping: CancellationToken,
    over: CancellationToken,
}

impl Ends {
    async fn reached(&self) {
        // Both arms are cancel-safe: a token that is cancelled stays so.
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = self.over.cancelled() => {}
        }
    }

    fn is_reached(&self) -> bool {
        self.stopping.is_cancelled() || self.over.is_cancelled()
    }

    /// Waits for something of a controller, no longer than until the end. What was being fetched is asked for again by the
    /// agent that comes after.
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // The end comes first, so that nothing begins after it; work that is dropped has put down all or nothing.
        tokio::select! {
            biased;
            () = self.reached() => None,
            done = work => Some(done),
        }
    }
}

/// When to look again, and why.
struct Next {
    retry_at: Option<Instant>,
    look_at: Instant,
}

impl Reconciler {
    pub(super) fn new(
        bench: Arc<Bench>,
        times: config::Reconcile,
        requests: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        let retry = times.retry();
        Self { bench, times, requests, watched: watch::Sender::default(), trial: None, retry, was_paused: false }
    }

    /// Runs until the stop begins or the node is ejected; a pass that is under way ends first, but waits for no controller.
    pub async fn run(mut self, upstream: Arc<dyn Upstream>, tasks: &Tasks) {
        let ends = Ends { stopping: tasks.stopping(), over: self.bench.over.clone() };
        // A second reconciler over one bench can't be made, so that this is the first upstream.
        let _ = self.bench.upstream.set(upstream.clone());
        self.watch(tasks);
        tasks.spawn("memory", give_back(self.bench.clone(), tasks.stopping()));
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut is_thorough = true;
        let mut attempt: Option<BoxFuture<'static, Result<(), Fault>>> = None;
        let mut next = Next { retry_at: None, look_at: Instant::now() + self.times.full_look() };
        loop {
            if is_thorough {
                next.look_at = Instant::now() + self.times.full_look();
            }
            let passed = self.pass(&ends, is_thorough, next.retry_at).await;
            next.retry_at = passed.retry_at;
            if !passed.is_overtaken {
                is_thorough = false;
                for done in waiting.drain(..) {
                    // Who no longer waits needs no answer.
                    let _ = done.send(());
                }
            }
            if ends.is_reached() {
                return;
            }
            // Waits without a pass in between as long as only the trial moves.
            loop {
                self.tell_end_of_pause();
                let current = self.bench.book().current.as_ref().map(|c| c.state.generation);
                if self.trial.as_ref().is_some_and(|t| Some(t.generation) != current) {
                    (self.trial, attempt) = (None, None);
                }
                if attempt.is_none()
                    && let Some(trial) = &self.trial
                {
                    attempt = Some(attempt_at(
                        trial.attempt_at(),
                        trial.attempt_limit(Instant::now().max(trial.attempt_at())),
                        upstream.clone(),
                    ));
                }
                let timers = [next.retry_at, self.pause_ends_at()].into_iter().flatten();
                let timer = timers.fold(next.look_at, Instant::min);
                // All arms are cancel-safe: a permit, a request and a deadline that are not taken stay; the attempt
                // lives outside of the select.
                tokio::select! {
                    () = ends.reached() => return,
                    () = self.bench.wake.notified() => break,
                    request = self.requests.recv() => {
                        waiting.extend(request);
                        is_thorough = true;
                        break;
                    }
                    () = tokio::time::sleep_until(timer) => {
                        is_thorough = true;
                        break;
                    }
                    result = poll_attempt(attempt.as_mut()) => {
                        attempt = None;
                        if self.judge(result).await {
                            is_thorough = true;
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Tells the controller of a pause that ended by itself: who ends one tells it.
    fn tell_end_of_pause(&mut self) {
        let is_paused = self.bench.book().pause_at(clock::now()).is_some();
        if std::mem::replace(&mut self.was_paused, is_paused) && !is_paused {
            self.bench.tell_halts();
        }
    }

    /// When the pause that holds ends by itself: what waited for that is written then.
    fn pause_ends_at(&self) -> Option<Instant> {
        let now = clock::now();
        let until = self.bench.book().pause_at(now)?.until?;
        // A moment later, so that it is over by the clock as well.
        let left = u64::try_from(until.since(now)).ok()?.saturating_add(PAUSE_ENDS_IN_MS);
        Instant::now().checked_add(Duration::from_millis(left))
    }

    fn watch(&self, tasks: &Tasks) {
        let (bench, paths, stopping, watched) =
            (self.bench.clone(), self.bench.paths.clone(), tasks.stopping(), self.watched.subscribe());
        tasks.spawn("drift", async move {
            if let Err(error) = drift::watch(paths, watched, move || bench.wake.notify_one(), stopping).await {
                warn!(%error, "changes by hand are found by the periodic look alone");
            }
        });
    }

    /// Runs a pass; `pending` is when what failed was going to be tried again.
    async fn pass(&mut self, ends: &Ends, is_thorough: bool, pending: Option<Instant>) -> Passed {
        match ends.or(self.fetch()).await {
            Some(Ok(())) => {}
            Some(Err(fault)) => {
                warn!(error = %fault, "a content can't be had; nothing of this state is written yet");
                self.tell_waiting(fault).await;
                return self.failed();
            }
            None => return Passed { retry_at: pending, is_overtaken: true },
        }
        let bench = self.bench.clone();
        let result = tokio::task::spawn_blocking(move || pass::run(&bench, is_thorough)).await;
        let outcome = match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                error!(error = %Chain(&error), "the pass could not be ended");
                return self.failed();
            }
            Err(error) => {
                error!(%error, "the pass panicked");
                return self.failed();
            }
        };
        let mut watched = outcome.watched;
        watched.extend(OWNERS.map(str::to_owned));
        self.watched.send_if_modified(|old| {
            let is_new = *old != watched;
            if is_new {
                *old = watched;
            }
            is_new
        });
        if let Some(generation) = outcome.to_confirm
            && self.trial.as_ref().is_none_or(|t| t.generation != generation)
        {
            self.trial = Some(Trial::begin(generation, self.times.confirm(), Instant::now()));
        }
        self.resume_late_trial();
        let mut refetched = false;
        for hash in outcome.missing {
            refetched |= matches!(ends.or(self.bench.fetch(hash)).await, Some(Ok(())));
        }
        for value in outcome.missing_values {
            refetched |= matches!(ends.or(self.bench.fetch_value(value)).await, Some(Ok(())));
        }
        if refetched {
            self.bench.wake.notify_one();
        }
        if outcome.is_skipped {
            return Passed { retry_at: pending, is_overtaken: outcome.is_overtaken };
        }
        self.bench.settles.notify_one();
        if outcome.should_retry {
            return self.failed();
        }
        self.retry = self.times.retry();
        Passed { retry_at: None, is_overtaken: false }
    }

    /// A pass after which something is tried again.
    fn failed(&mut self) -> Passed {
        Passed { retry_at: self.retry_later(), is_overtaken: false }
    }

    /// Goes on looking for a controller for a generation that was found innocent before a restart.
    fn resume_late_trial(&mut self) {
        let late = {
            let book = self.bench.book();
            let current = book.current.as_ref().filter(|c| c.progress == Progress::Unconfirmed && book.follows());
            current.map(|c| c.state.generation)
        };
        if let Some(generation) = late
            && self.trial.is_none()
        {
            self.trial = Some(Trial::begin_late(generation, self.times.confirm(), Instant::now()));
        }
    }

    fn retry_later(&mut self) -> Option<Instant> {
        let at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(MAX_RETRY);
        Some(at)
    }

    /// Fetches the contents that the journal does not have.
    async fn fetch(&self) -> Result<(), Fault> {
        let bench = self.bench.clone();
        let missing = tokio::task::spawn_blocking(move || {
            let goal = bench.book().goal()?;
            let Some(goal) = goal else { return Ok((Vec::new(), Vec::new())) };
            Ok::<_, Fault>((bench.missing(&goal.state)?, bench.missing_values(&goal.state)?))
        });
        let (missing, values) = missing.await.map_err(|e| Fault::passing("agent.panicked", e.to_string()))??;
        for hash in missing {
            self.bench.fetch(hash).await?;
        }
        for value in values {
            self.bench.fetch_value(value).await?;
        }
        Ok(())
    }

    /// Reports a state whose contents are not there yet.
    async fn tell_waiting(&self, fault: Fault) {
        let bench = self.bench.clone();
        let told = tokio::task::spawn_blocking(move || tell_waiting(&bench, &fault)).await;
        if let Ok(Err(error)) = told {
            warn!(error = %Chain(&error), "that the state waits could not be reported");
        }
    }

    /// Takes the end of an attempt to reach a controller. Returns whether a pass has to follow.
    async fn judge(&mut self, result: Result<(), Fault>) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let generation = trial.generation;
        let verdict = trial.handle_attempt(result.is_ok(), Instant::now());
        let why = result.err().map(|f| f.message).unwrap_or_default();
        let bench = self.bench.clone();
        let limit = self.times.confirm_secs;
        let noted = tokio::task::spawn_blocking(move || -> Result<(), JournalError> {
            let mut book = bench.book();
            match verdict {
                Verdict::Wait => Ok(()),
                Verdict::Confirm => {
                    info!(desired.generation = %generation, "confirmed");
                    book.confirmed(generation)
                }
                Verdict::Undo => {
                    warn!(desired.generation = %generation, error = why, "no controller was reached in {limit} s after this generation; undoing it to see whether it is to blame");
                    book.is_on_trial_revert = true;
                    Ok(())
                }
                Verdict::Quarantine => {
                    error!(desired.generation = %generation, "this generation cut the node off; it is quarantined");
                    book.quarantine(generation, &format!("no controller could be reached for {limit} s after generation {generation}; one could at once when it was undone"))
                }
                Verdict::Reapply => {
                    warn!(desired.generation = %generation, "no controller is reached without this generation either; applying it again");
                    book.is_on_trial_revert = false;
                    book.set_progress(generation, Progress::Unconfirmed)
                }
            }
        });
        let is_noted = match noted.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                error!(error = %Chain(&error), "what became of the generation can't be journalled; trying again");
                false
            }
            Err(error) => {
                error!(%error, "noting what became of the generation panicked");
                false
            }
        };
        if is_noted && matches!(verdict, Verdict::Confirm | Verdict::Quarantine) {
            self.trial = None;
        }
        is_noted && matches!(verdict, Verdict::Undo | Verdict::Reapply | Verdict::Quarantine)
    }
}

fn tell_waiting(bench: &Bench, fault: &Fault) -> Result<(), JournalError> {
    let mut book = bench.book();
    let Some(current) = book.current.clone().filter(|c| c.progress == Progress::Received) else { return Ok(()) };
    let wait = |r: &lampas_shared::desired::Resource| ResourceReport {
        target: r.target.clone(),
        object: r.object,
        state: ResourceState::Waiting,
        fault: Some(fault.clone()),
        notes: Vec::new(),
    };
    let resources: Vec<ResourceReport> = current.state.resources().map(wait).collect();
    if resources == current.resources {
        return Ok(());
    }
    let accepted = Accepted { resources: resources.clone(), ..Accepted::clone(&current) };
    let mut transaction = Transaction::new();
    transaction.current(&accepted);
    transaction.report(Report::Generation(GenerationReport {
        generation: accepted.state.generation,
        hash: accepted.state.hash,
        phase: Phase::Received,
        state: ResourceState::Waiting,
        took_ms: clock::now().since(accepted.received_at).max(0) as u64,
        resources,
        at: clock::now(),
    }));
    book.journal.commit(transaction)?;
    book.current = Some(Arc::new(accepted));
    Ok(())
}

/// Gives memory back once a pass and its reports are through.
async fn give_back(bench: Arc<Bench>, stopping: CancellationToken) {
    let settled = async {
        loop {
            bench.settles.notified().await;
            tokio::time::sleep(SETTLES_IN).await;
            if let Err(error) = tokio::task::spawn_blocking(memory::give_back).await {
                warn!(%error, "memory could not be given back");
            }
        }
    };
    stopping.run_until_cancelled(settled).await;
}

fn attempt_at(at: Instant, limit: Duration, upstream: Arc<dyn Upstream>) -> BoxFuture<'static, Result<(), Fault>> {
    Box::pin(async move {
        tokio::time::sleep_until(at).await;
        let late = |_| Fault::passing("link.timeout", format!("no controller answered in {} s", limit.as_secs_f32()));
        tokio::time::timeout(limit, upstream.confirm()).await.map_err(late)?
    })
}

async fn poll_attempt(attempt: Option<&mut BoxFuture<'static, Result<(), Fault>>>) -> Result<(), Fault> {
    match attempt {
        Some(attempt) => Pin::new(attempt).await,
        None => pending().await,
    }
}
