//! How everybody else reaches the reconciler: states, plans, and what operators ask for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lampas_runtime::clock;
use lampas_shared::{
    audit::Head,
    check::{Checked, ScriptDraft},
    desired::{ContentHash, Generation, NodeDesired},
    error::Fault,
    id::SecretValueId,
    object::Target,
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    secret::StillHeld,
    signature::Signed,
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};
use tracing::info;

use super::{Bench, Status, heads, snapshot};
use crate::{
    host,
    journal::{Progress, Stance, Transaction},
    link,
    signature::Ledger,
};

/// How long somebody who asked waits for a pass.
pub(super) const PASS_LIMIT: Duration = Duration::from_secs(60);

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
        let accepted = self.blocking(move |bench| {
            let mut book = bench.book();
            let was_undone = matches!(book.stance, Stance::Undone { .. });
            let is_new = book.accept(state)?;
            drop(book);
            if is_new && was_undone {
                bench.tell_halts();
            }
            Ok(is_new)
        });
        let is_new = accepted.await?;
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

    /// Puts the desired state back over a change by hand, and waits until that is done. What was edited once more since it was
    /// told of stays.
    ///
    /// # Errors
    /// When nothing was changed by hand there, the agent is paused, it was edited once more, or it could not be put back.
    pub async fn revert(&self, target: Target) -> Result<(), Fault> {
        let wanted = target.clone();
        let asked = self
            .blocking(move |bench| {
                // A policy that is gone is looked for twice: nobody waits for the book meanwhile.
                let observes = bench.ruling().observes();
                let mut book = bench.book();
                let none =
                    || Fault::lasting("drift.none", format!("nothing stands at {target} that was changed by hand"));
                let asked = book.drifts.get(&target).map(|drift| drift.fingerprint).ok_or_else(none)?;
                if let Some(pause) = book.pause_at(clock::now()) {
                    return Err(Fault::lasting(
                        "agent.paused",
                        format!("the agent is paused on the node: {}", pause.reason),
                    ));
                }
                if observes {
                    return Err(Fault::lasting(
                        "policy.observe",
                        "the node only observes: its policy says observe = true",
                    ));
                }
                book.reverting.insert(target, asked);
                Ok(asked)
            })
            .await?;
        self.pass().await?;
        self.blocking(move |bench| {
            let mut book = bench.book();
            book.reverting.remove(&wanted);
            // Packages take their time: that they are being put back is what can be said.
            let is_under_way = wanted.as_str().starts_with("package:") && bench.apt.is_busy();
            let Some(drift) = book.drifts.get(&wanted).filter(|_| !is_under_way) else { return Ok(()) };
            if drift.fingerprint != asked {
                let text =
                    format!("somebody changed {wanted} once more; look at what stands there now, and revert that");
                return Err(Fault::lasting("drift.moved", text));
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
        let stopping = || Fault::passing("agent.stopping", "the agent is stopping");
        let refused = |error| match error {
            TrySendError::Full(_) => Fault::passing("agent.busy", "the agent has too much to do at once; try again"),
            TrySendError::Closed(_) => stopping(),
        };
        let (done, end) = oneshot::channel();
        self.passes.try_send(done).map_err(refused)?;
        let late = || Fault::passing("agent.busy", "the agent is still at it; look again later");
        tokio::time::timeout(PASS_LIMIT, end).await.map_err(|_| late())?.map_err(|_| stopping())
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

    fn purge(&self, values: BTreeSet<SecretValueId>) -> BoxFuture<'static, Result<Vec<StillHeld>, Fault>> {
        let handle = self.clone();
        Box::pin(async move { Self::purge(&handle, values).await })
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
