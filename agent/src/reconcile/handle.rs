//! How everybody else reaches the reconciler: states, plans, and what operators ask for.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lampas_runtime::clock;
use lampas_shared::{
    audit::Head,
    check::{Checked, ScriptDraft},
    desired::{ContentHash, Generation, NodeDesired},
    error::Fault,
    object::Target,
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    signature::Signed,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

use super::{Bench, Status, heads, snapshot};
use crate::{
    host,
    journal::{Pause, Progress, Stance, Transaction},
    link,
    signature::Ledger,
};

const PASS_LIMIT: Duration = Duration::from_secs(60);

/// What a reconciler is made from.
#[derive(Clone)]
pub struct Handle {
    pub(super) bench: Arc<Bench>,
    pub(super) passes: mpsc::Sender<oneshot::Sender<()>>,
}

impl Handle {
    /// Takes a desired state. When this returns it is in the journal, and so is the report that says so.
    ///
    /// # Errors
    /// When it is another node's, older than what is known, not what its hash says, or can't be journalled.
    pub async fn desired(&self, state: NodeDesired) -> Result<(), Fault> {
        let generation = state.generation;
        let is_new = self.blocking(move |bench| bench.book().accept(state)).await?;
        if is_new {
            info!(desired.generation = %generation, "received");
            self.bench.wake.notify_one();
        }
        Ok(())
    }

    /// Plans a state against the disk; writes nothing to it.
    ///
    /// # Errors
    /// When the state is another node's or not what its hash says, or a content can't be had.
    pub async fn plan(&self, mut state: NodeDesired) -> Result<NodePlan, Fault> {
        // What is planned is no state of the journal's: a confirmation in between must not sweep its contents away.
        let (state, missing, values, _kept) = self
            .blocking(move |bench| {
                let (kept, journal) = {
                    let mut book = bench.book();
                    book.check(&state)?;
                    (book.keep(&state), book.journal.clone())
                };
                let mut transaction = Transaction::new();
                transaction.take_contents(&mut state);
                journal.commit(transaction)?;
                let missing = bench.missing(&state)?;
                let values = bench.missing_values(&state)?;
                Ok((state, missing, values, kept))
            })
            .await?;
        for hash in missing {
            self.bench.fetch(hash).await?;
        }
        for value in values {
            self.bench.fetch_value(value).await?;
        }
        self.blocking(move |bench| Ok(bench.plan(&state))).await
    }

    /// Plans the state that is kept true: what `lampas-agent plan` shows.
    ///
    /// # Errors
    /// When there is none yet, or the journal can't be read.
    pub async fn plan_current(&self) -> Result<NodePlan, Fault> {
        self.blocking(|bench| {
            let goal = bench.book().goal()?;
            let goal =
                goal.ok_or_else(|| Fault::passing("desired.none", "no controller has sent a state to this node yet"))?;
            Ok(bench.plan(&goal.state))
        })
        .await
    }

    /// Looks at what stands at a target; nothing when there is no file.
    ///
    /// # Errors
    /// When the target is not one of this node's, or can't be looked at.
    pub async fn read(&self, target: Target) -> Result<Option<ObservedFile>, Fault> {
        self.blocking(move |bench| {
            let goal = bench.book().goal()?;
            let unknown = || Fault::lasting("target.unknown", format!("this node has no resource {target}"));
            let goal = goal.ok_or_else(unknown)?;
            bench.with_inputs(&goal.state, |inputs| host::observe(&bench.root, inputs, &target))
        })
        .await
    }

    /// Puts the desired state back over a change by hand, and waits until that is done.
    ///
    /// # Errors
    /// When nothing was changed by hand there, the agent is paused, or it could not be put back.
    pub async fn revert(&self, target: Target) -> Result<(), Fault> {
        let wanted = target.clone();
        self.blocking(move |bench| {
            let mut book = bench.book();
            if !book.drifts.contains_key(&target) {
                return Err(Fault::lasting(
                    "drift.none",
                    format!("nothing stands at {target} that was changed by hand"),
                ));
            }
            if let Some(pause) = book.pause_at(clock::now()) {
                return Err(Fault::lasting(
                    "agent.paused",
                    format!("the agent is paused on the node: {}", pause.reason),
                ));
            }
            if bench.ruling().observes() {
                return Err(Fault::lasting("policy.observe", "the node only observes: its policy says observe = true"));
            }
            book.reverting.insert(target);
            Ok(())
        })
        .await?;
        self.pass().await?;
        self.blocking(move |bench| {
            let mut book = bench.book();
            book.reverting.remove(&wanted);
            // Packages take their time: that they are being put back is what can be said.
            let is_under_way = wanted.as_str().starts_with("package:") && bench.apt.is_busy();
            if !book.drifts.contains_key(&wanted) || is_under_way {
                return Ok(());
            }
            let reports = book.current.as_ref().map(|c| c.resources.clone()).unwrap_or_default();
            let fault = reports.into_iter().find(|r| r.target == wanted).and_then(|r| r.fault);
            Err(fault.unwrap_or_else(|| {
                Fault::passing("drift.stands", format!("{wanted} could not be put back; see the agent's log"))
            }))
        })
        .await
    }

    /// Tries again what failed or is quarantined.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub async fn retry(&self) -> Result<(), Fault> {
        self.blocking(|bench| {
            let mut book = bench.book();
            if let (Stance::Quarantined { generation, .. }, Some(current)) = (book.stance.clone(), book.current.clone())
                && current.state.generation == generation
            {
                book.set_progress(generation, Progress::Received)?;
                book.stand(Stance::Follow)?;
                info!(desired.generation = %generation, "no longer quarantined: somebody asked to try again");
            }
            bench.follow.forgive();
            bench.apt.forget();
            bench.set_last_observed(None);
            Ok(())
        })
        .await?;
        self.bench.wake.notify_one();
        Ok(())
    }

    /// Goes back to the last good state and stays there until [`Handle::resume`] or a newer generation.
    ///
    /// # Errors
    /// When there is nothing to go back from, or the journal can't be written.
    pub async fn undo(&self) -> Result<Generation, Fault> {
        let generation = self
            .blocking(|bench| {
                let mut book = bench.book();
                let current = book.current.clone();
                let current = current
                    .ok_or_else(|| Fault::lasting("undo.nothing", "no controller has sent a state to this node yet"))?;
                if !book.follows() {
                    return Err(Fault::lasting("undo.done", "the current generation is undone already"));
                }
                let generation = current.state.generation;
                book.stand(Stance::Undone { generation, since: clock::now() })?;
                Ok(generation)
            })
            .await?;
        self.pass().await?;
        Ok(generation)
    }

    /// Writes nothing until the pause ends, by itself or by [`Handle::resume`].
    ///
    /// # Errors
    /// When the journal can't be written.
    pub async fn pause(&self, length: Option<Duration>, reason: String) -> Result<Pause, Fault> {
        let pause = self
            .blocking(move |bench| {
                let now = clock::now();
                let until = length.map(|l| now.plus_ms(i64::try_from(l.as_millis()).unwrap_or(i64::MAX)));
                let pause = Pause { until, reason, since: now };
                bench.book().set_pause(Some(pause.clone()))?;
                bench.set_last_observed(None);
                Ok(pause)
            })
            .await?;
        self.bench.wake.notify_one();
        Ok(pause)
    }

    /// Ends a pause and an undo.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub async fn resume(&self) -> Result<(), Fault> {
        self.blocking(|bench| {
            let mut book = bench.book();
            book.set_pause(None)?;
            if let Stance::Undone { generation, .. } = book.stance {
                book.set_progress(generation, Progress::Received)?;
                book.stand(Stance::Follow)?;
            }
            drop(book);
            bench.set_last_observed(None);
            Ok(())
        })
        .await?;
        self.bench.wake.notify_one();
        Ok(())
    }

    /// Returns the generation and hash of the state that is in the journal.
    pub fn current(&self) -> Option<(Generation, ContentHash)> {
        self.bench.book().current.as_ref().map(|c| (c.state.generation, c.state.hash))
    }

    /// Returns what the agent knows of itself and of each resource.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn status(&self) -> Result<Status, Fault> {
        self.blocking(|bench| Ok(snapshot::take(bench))).await
    }

    /// Says who looks after runs of operations. Once.
    pub fn set_runs(&self, runs: Arc<crate::operation::Runs>) {
        let _ = self.bench.runs.set(runs);
    }

    /// Asks for a pass without saying why: something may have changed.
    pub fn wake(&self) {
        self.bench.wake.notify_one();
    }

    /// Runs a pass and waits for its end.
    pub(super) async fn pass(&self) -> Result<(), Fault> {
        let busy = |_| Fault::passing("agent.busy", "the agent has too much to do at once; try again");
        let (done, end) = oneshot::channel();
        self.passes.try_send(done).map_err(busy)?;
        let late = || Fault::passing("agent.busy", "the agent is still at it; look again later");
        tokio::time::timeout(PASS_LIMIT, end)
            .await
            .map_err(|_| late())?
            .map_err(|_| Fault::passing("agent.stopping", "the agent is stopping"))
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bench) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let bench = self.bench.clone();
        let result = tokio::task::spawn_blocking(move || work(&bench)).await;
        result
            .unwrap_or_else(|error| Err(Fault::passing("agent.panicked", format!("the agent failed inside: {error}"))))
    }
}

impl link::Reconciler for Handle {
    fn desired(&self, state: NodeDesired) -> BoxFuture<'static, Result<(), Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::desired(&handle, state).await })
    }

    fn plan(&self, state: NodeDesired) -> BoxFuture<'static, Result<NodePlan, Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::plan(&handle, state).await })
    }

    fn read(&self, target: Target) -> BoxFuture<'static, Result<Option<ObservedFile>, Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::read(&handle, target).await })
    }

    fn revert(&self, target: Target) -> BoxFuture<'static, Result<(), Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::revert(&handle, target).await })
    }

    fn retry(&self) -> BoxFuture<'static, Result<(), Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::retry(&handle).await })
    }

    fn current(&self) -> Option<(Generation, ContentHash)> {
        Self::current(self)
    }

    fn features(&self) -> u32 {
        Self::features(self)
    }

    fn signatures(&self, held: Vec<Signed>) -> BoxFuture<'static, Result<(), Fault>> {
        let handle = self.clone();
        Box::pin(async move {
            handle
                .blocking(move |bench| {
                    let book = bench.book();
                    let ledger = book.journal.signed()?;
                    if ledger.statements != held {
                        let mut transaction = Transaction::new();
                        transaction.signed(&Ledger { statements: held, ..ledger });
                        book.journal.commit(transaction)?;
                    }
                    drop(book);
                    // What was blocked for want of it goes on.
                    bench.set_last_observed(None);
                    Ok(())
                })
                .await?;
            handle.bench.wake.notify_one();
            Ok(())
        })
    }

    fn keep_head(&self, head: Head) -> BoxFuture<'static, Result<Option<Head>, Fault>> {
        let handle = self.clone();
        Box::pin(async move {
            handle
                .blocking(move |bench| {
                    let contradicts = heads::keep(&bench.book().journal, head)?;
                    snapshot::write(bench);
                    Ok(contradicts)
                })
                .await
        })
    }

    fn check(&self, draft: ScriptDraft) -> BoxFuture<'static, Result<Checked, Fault>> {
        let handle = self.clone();
        Box::pin(async move { handle.blocking(move |bench| crate::operation::check(&bench.tools, &draft)).await })
    }

    fn facts_changed(&self) -> Option<watch::Receiver<u64>> {
        Some(self.bench.facts_seen.subscribe())
    }

    fn runs(&self) -> Option<Arc<crate::operation::Runs>> {
        self.bench.runs.get().cloned()
    }

    fn scan(&self, ask: ScanRequest) -> BoxFuture<'static, Result<Scan, Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::scan(&handle, ask).await })
    }

    fn manage(&self) -> BoxFuture<'static, Result<(), Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::manage(&handle).await })
    }

    fn eject(&self) -> BoxFuture<'static, Result<Ejected, Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::eject(&handle).await })
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.bench.node)
    }
}
