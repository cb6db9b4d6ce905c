//! Makes the desired state true, and keeps it true: one task that changes the node, level-triggered.
//!
//! # The story of a generation
//! [`Handle::desired`] checks a state and journals it with a *received* report. The task then runs a pass: it observes,
//! plans, validates, journals its intent, writes, proves and reports *applied*. If anything changed, the generation is on
//! trial: a controller must be reached by a fresh handshake within a minute. If none is, the last good state comes back;
//! if one is reached then, the generation cut the node off and is *quarantined*; if none is still, the generation was
//! innocent and is applied again, and confirmed whenever a controller is back. Every step is in the journal, so that a
//! crash at any instant restarts into the right one.
//!
//! A wake-up carries no data: each pass reads the whole desired and observed state. `book` is what is known, `pass` is what
//! is done, `trial` is the rule above, `task` is the loop around them.

mod book;
mod follow;
mod heads;
mod manifest;
mod pass;
mod secret;
mod snapshot;
mod takeover;
mod task;
#[cfg(test)]
mod tests;
mod trial;
mod upstream;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use lampas_runtime::{clock, identity::Trust};
use lampas_shared::{
    audit::Head,
    check::{Checked, ScriptDraft},
    desired::{ContentHash, Generation, NodeDesired, Resource},
    error::Fault,
    fleet::NodePolicy,
    id::{FleetId, NodeId},
    object::Target,
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    signature::Signed,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::info;

use self::book::Book;
pub use self::{
    snapshot::{Explained, PlaceStatus, ResourceStatus, Status, explain, read as read_snapshot},
    task::Reconciler,
    upstream::Upstream,
};
use crate::{
    config::{self, Paths},
    facts,
    host::{self, Facts, Inputs, Looks, Tools},
    journal::{Journal, JournalError, Pause, Progress, Stance},
    link,
    policy::Ruling,
    signature::{self, Consent, Judge, Ledger, Verifier},
    system::{PathError, Root},
};

/// How long a caller waits for the pass that it asked for.
const PASS_LIMIT: Duration = Duration::from_secs(60);

/// What a reconciler is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which node this is; states of others are refused.
    pub node: NodeId,
    /// Where everything is.
    pub paths: Paths,
    /// Times.
    pub times: config::Reconcile,
    /// The absolute path of `lampas-agent`, as cron's lines call it.
    pub wrapper: PathBuf,
    /// What checks are made with.
    pub tools: Tools,
}

/// Why a reconciler can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The root directory.
    #[error("could not open the root directory")]
    Root(#[from] PathError),
}

/// How everybody else reaches the reconciler. Clones are the same.
#[derive(Clone)]
pub struct Handle {
    bench: Arc<Bench>,
    passes: mpsc::Sender<oneshot::Sender<()>>,
}

/// What passes work with; shared by the task and the handles.
struct Bench {
    root: Root,
    paths: Paths,
    node: NodeId,
    wrapper: PathBuf,
    tools: Tools,
    book: Mutex<Book>,
    last_observed: Mutex<Option<ContentHash>>,
    follow: follow::Follow,
    looks: Looks,
    /// The fleet; unknown only where there is no identity, as in tests.
    fleet: Option<FleetId>,
    verifier: Verifier,
    /// Grows when what the node says of itself may have changed.
    facts_seen: watch::Sender<u64>,
    policy_seen: Mutex<Option<NodePolicy>>,
    node_key: secret::NodeKey,
    upstream: OnceLock<Arc<dyn Upstream>>,
    runs: OnceLock<Arc<crate::operation::Runs>>,
    wake: Arc<Notify>,
    /// Runs apt, beside the passes.
    apt: host::Apt,
    /// Whether the node was ejected: then the agent stops.
    ejected: watch::Sender<bool>,
    /// A pass did something: soon there is memory to give back.
    settles: Notify,
}

/// Opens the reconciler over a journal. Blocking.
///
/// # Errors
/// When the journal can't be read or the root can't be opened.
pub fn open(settings: Settings, journal: Journal) -> Result<(Handle, Reconciler), OpenError> {
    let Settings { node, paths, times, wrapper, tools } = settings;
    let root = Root::open(paths.root())?;
    let mut book = Book::open(journal, node)?;
    book.recover_ownership(&root)?;
    let trust = Trust::load(&paths.identity().join(link::TRUST_FILE)).ok().flatten();
    let (fleet, verifier) = (trust.map(|t| t.fleet), Verifier::new(tools.sandbox.clone()));
    let wake = Arc::new(Notify::new());
    let apt = host::Apt::new(&root, wake.clone());
    let bench = Arc::new(Bench {
        root,
        node,
        wrapper,
        tools,
        book: Mutex::new(book),
        last_observed: Mutex::default(),
        follow: follow::Follow::default(),
        looks: Looks::default(),
        fleet,
        verifier,
        facts_seen: watch::Sender::new(0),
        policy_seen: Mutex::default(),
        node_key: secret::NodeKey::default(),
        upstream: OnceLock::new(),
        runs: OnceLock::new(),
        wake,
        apt,
        ejected: watch::Sender::new(false),
        settles: Notify::new(),
        paths,
    });
    // A few operators at once; more are told that the agent is busy.
    let (passes, requests) = mpsc::channel(16);
    let handle = Handle { bench: bench.clone(), passes };
    Ok((handle, Reconciler::new(bench, times, requests)))
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
                let mut transaction = crate::journal::Transaction::new();
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
    async fn pass(&self) -> Result<(), Fault> {
        let busy = |_| Fault::passing("agent.busy", "the agent has too much to do at once; try again");
        let (done, end) = oneshot::channel();
        self.passes.try_send(done).map_err(busy)?;
        let late = || Fault::passing("agent.busy", "the agent is still at it; look again later");
        tokio::time::timeout(PASS_LIMIT, end)
            .await
            .map_err(|_| late())?
            .map_err(|_| Fault::passing("agent.stopping", "the agent is stopping"))
    }

    async fn blocking<T: Send + 'static>(
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
                        let mut transaction = crate::journal::Transaction::new();
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

impl Bench {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_observed(&self) -> Option<ContentHash> {
        *self.last_observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last_observed(&self, observed: Option<ContentHash>) {
        *self.last_observed.lock().unwrap_or_else(PoisonError::into_inner) = observed;
    }

    /// Reads the policy, and notices when it is another than before.
    fn ruling(&self) -> Ruling {
        let ruling = Ruling::of(&self.paths);
        let policy = signature::node_policy(&self.paths, &ruling);
        let mut seen = self.policy_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.replace(policy.clone()).is_some_and(|before| before != policy) {
            self.facts_seen.send_modify(|seen| *seen += 1);
        }
        ruling
    }

    /// Judges what operators signed, as far as the policy wants it.
    fn consent(&self, ruling: &Ruling, state: &NodeDesired, goes_back: bool) -> Consent {
        let ledger = if ruling.wants_signatures() {
            let journal = self.book().journal.clone();
            journal.signed().unwrap_or_else(|error| {
                tracing::error!(%error, "what operators signed can't be read; nothing counts as signed");
                Ledger::default()
            })
        } else {
            Ledger::default()
        };
        let judge = Judge { fleet: self.fleet, node: self.node, now: clock::now(), goes_back };
        Consent::read(judge, ruling, (ledger, state), &self.paths, &self.verifier)
    }

    /// Returns whether a state is one that the agent goes back to by itself.
    fn goes_back(&self, state: &NodeDesired) -> bool {
        let book = self.book();
        let current = book.current.as_ref().map(|c| c.state.generation);
        !book.follows() && current.is_some_and(|current| state.generation < current)
    }

    fn facts(&self) -> Facts {
        Facts {
            time_zone: facts::time_zone(&self.paths),
            host_name: facts::host_name(&self.paths),
            wrapper: self.wrapper.display().to_string(),
            root_argument: (!self.paths.is_real_root()).then(|| self.paths.root().display().to_string()),
        }
    }

    /// Returns the contents of a state that are not in the journal.
    fn missing(&self, state: &NodeDesired) -> Result<Vec<ContentHash>, JournalError> {
        let journal = self.book().journal.clone();
        let mut missing = Vec::new();
        for hash in book::contents(state) {
            if !journal.has_blob(&hash)? {
                missing.push(hash);
            }
        }
        Ok(missing)
    }

    /// Fetches a content from a controller into the journal.
    async fn fetch(self: &Arc<Self>, hash: ContentHash) -> Result<(), Fault> {
        let away = || {
            Fault::passing(
                "content.unreachable",
                format!("the content {} can't be fetched before the link is up", hash.short()),
            )
        };
        let upstream = self.upstream.get().ok_or_else(away)?;
        let bytes = upstream.fetch_blob(hash).await?;
        if ContentHash::of(&bytes) != hash {
            return Err(Fault::passing(
                "content.hash",
                format!("what came for the content {} has another hash", hash.short()),
            ));
        }
        let bench = self.clone();
        let put = tokio::task::spawn_blocking(move || {
            let mut transaction = crate::journal::Transaction::new();
            transaction.blob(bytes);
            let journal = bench.book().journal.clone();
            journal.commit(transaction)
        });
        put.await.map_err(|e| Fault::passing("agent.panicked", e.to_string()))?.map_err(Fault::from)?;
        Ok(())
    }

    fn plan(&self, state: &NodeDesired) -> NodePlan {
        self.with_inputs(state, |inputs| {
            let host = host::plan(&self.root, inputs);
            let packages = host::plan_packages(&self.root, inputs, &self.apt);
            let mut plan = host.to_node_plan(state.hash);
            plan.observed = host::observed_together(&host, packages.as_ref());
            plan.actions.extend(packages.iter().flat_map(|p| p.plan.actions()));
            // A plan shows a node as it looks from within: where its root stands makes no two nodes differ.
            if let Some(root) = &inputs.facts.root_argument {
                let argument = format!(" --root {root} ");
                plan.actions.iter_mut().for_each(|action| action.diff = action.diff.replace(&argument, " "));
            }
            plan
        })
    }

    /// Gathers what a plan is made from, as a pass would.
    fn with_inputs<T>(&self, state: &NodeDesired, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let (ownership, drifts, journal) = {
            let book = self.book();
            (book.ownership.clone(), book.drifts.clone(), book.journal.clone())
        };
        let resources: Vec<Resource> = state.resources().cloned().collect();
        let by_target: BTreeMap<&Target, &Resource> = resources.iter().map(|r| (&r.target, r)).collect();
        let held = pass::held(&by_target, &drifts);
        let mut resources = state.resources().cloned().collect::<Vec<_>>();
        let secrets = self.fill(&journal, &mut resources, &|_| {});
        let ruling = self.ruling();
        let content = |hash: &ContentHash| journal.blob(hash).ok().flatten();
        let consent = self.consent(&ruling, state, self.goes_back(state));
        let judge = |resource: &Resource| consent.judge(&ruling, resource);
        let judge_removal = |removal: &host::Removal<'_>| consent.judge_removal(&ruling, removal);
        let facts = self.facts();
        work(&Inputs {
            resources: &resources,
            content: &content,
            owned: &ownership,
            held: &held,
            facts: &facts,
            judge: &judge,
            judge_removal: &judge_removal,
            looks: Some(&self.looks),
            secrets: Some(&secrets),
        })
    }
}
