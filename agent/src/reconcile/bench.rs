//! What passes work with; shared by the task and the handles.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, NodeDesired, Resource},
    error::Fault,
    fleet::NodePolicy,
    id::{FleetId, NodeId, SecretValueId},
    object::Target,
    report::{Action, NodePlan, ResourceState, UNDONE},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Upstream,
    book::{self, Book},
    follow, pass, secret,
};
use crate::{
    config::Paths,
    facts,
    host::{self, Facts, Inputs, Looks, Tools},
    journal::{Accepted, JournalError, Transaction},
    policy::Ruling,
    signature::{self, Consent, Judge, Ledger, Verifier},
    system::Root,
};

/// What passes work with; shared by the task and the handles.
pub(super) struct Bench {
    pub(super) root: Root,
    pub(super) paths: Paths,
    pub(super) node: NodeId,
    pub(super) wrapper: PathBuf,
    pub(super) tools: Tools,
    pub(super) book: Mutex<Book>,
    pub(super) last_observed: Mutex<Option<ContentHash>>,
    pub(super) follow: follow::Follow,
    pub(super) looks: Looks,
    /// The fleet; unknown only where there is no identity, as in tests.
    pub(super) fleet: Option<FleetId>,
    pub(super) verifier: Verifier,
    /// Grows when what the node says of itself may have changed.
    pub(super) facts_seen: watch::Sender<u64>,
    pub(super) policy_seen: Mutex<Option<NodePolicy>>,
    pub(super) node_key: secret::NodeKey,
    pub(super) upstream: OnceLock<Arc<dyn Upstream>>,
    pub(super) runs: OnceLock<Arc<crate::operation::Runs>>,
    pub(super) wake: Arc<Notify>,
    /// Runs apt, beside the passes.
    pub(super) apt: host::Apt,
    /// Cancelled as soon as nothing is managed here any more: no pass begins, and none waits for a controller.
    pub(super) over: CancellationToken,
    /// Whether the node was ejected, and whoever asked for it may know: then the agent stops.
    pub(super) ejected: watch::Sender<bool>,
    /// A pass did something: soon there is memory to give back.
    pub(super) settles: Notify,
    /// Held by the pass that is under way.
    pub(super) passing: Mutex<()>,
    /// Values of secrets that were purged a moment ago: what is on its way of them is not put down.
    pub(super) purged: Mutex<BTreeMap<SecretValueId, Instant>>,
}

impl Bench {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_observed(&self) -> Option<ContentHash> {
        *self.last_observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_last_observed(&self, observed: Option<ContentHash>) {
        *self.last_observed.lock().unwrap_or_else(PoisonError::into_inner) = observed;
    }

    /// Reads the policy, and notices when it is another than before.
    pub(super) fn ruling(&self) -> Ruling {
        let ruling = Ruling::of(&self.paths);
        ruling.keep(&self.paths);
        let policy = signature::node_policy(&self.paths, &ruling);
        let mut seen = self.policy_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.replace(policy.clone()).is_some_and(|before| before != policy) {
            self.facts_seen.send_modify(|seen| *seen += 1);
            // What may be done is another, though nothing on the disk is.
            self.set_last_observed(None);
        }
        ruling
    }

    /// Judges what operators signed, as far as the policy wants it.
    pub(super) fn consent(&self, ruling: &Ruling, state: &NodeDesired, goes_back: bool) -> Consent {
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
    pub(super) fn goes_back(&self, state: &NodeDesired) -> bool {
        let book = self.book();
        let current = book.current.as_ref().map(|c| c.state.generation);
        !book.follows() && current.is_some_and(|current| state.generation < current)
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            time_zone: facts::time_zone(&self.paths),
            host_name: facts::host_name(&self.paths),
            wrapper: self.wrapper.display().to_string(),
            root_argument: (!self.paths.is_real_root()).then(|| self.paths.root().display().to_string()),
        }
    }

    /// Returns the contents of a state that are not in the journal.
    pub(super) fn missing(&self, state: &NodeDesired) -> Result<Vec<ContentHash>, JournalError> {
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
    pub(super) async fn fetch(self: &Arc<Self>, hash: ContentHash) -> Result<(), Fault> {
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
            let mut transaction = Transaction::new();
            transaction.blob(bytes);
            let journal = bench.book().journal.clone();
            journal.commit(transaction)
        });
        put.await.map_err(|e| Fault::passing("agent.panicked", e.to_string()))?.map_err(Fault::from)?;
        Ok(())
    }

    pub(super) fn plan(&self, state: &NodeDesired) -> NodePlan {
        let current = self.book().current.clone();
        self.with_inputs(state, |inputs| {
            let mut host = host::plan(&self.root, inputs);
            host::foresee(&mut host, &self.tools);
            let packages = host::plan_packages(&self.root, inputs, &self.apt);
            let mut plan = host.to_node_plan(state.hash);
            plan.observed = host::observed_together(&host, packages.as_ref());
            if let Some(current) = &current {
                plan.actions.iter_mut().for_each(|action| tell_standing_failure(action, current, state));
            }
            plan.actions.extend(packages.iter().flat_map(|p| p.plan.actions()));
            // What the state in force wants as well was told with the change that brought it.
            let is_moved = |t: &Target| !current.as_ref().is_some_and(|c| is_same(&c.state, state, t));
            plan.actions.extend(host.held_back(is_moved));
            plan.actions.extend(packages.iter().flat_map(|p| p.plan.held_back(is_moved)));
            // A plan shows a node as it looks from within: where its root stands makes no two nodes differ.
            if let Some(root) = &inputs.facts.root_argument {
                let argument = format!(" --root {root} ");
                plan.actions.iter_mut().for_each(|action| action.diff = action.diff.replace(&argument, " "));
            }
            plan
        })
    }

    /// Gathers what a plan is made from, as a pass would.
    pub(super) fn with_inputs<T>(&self, state: &NodeDesired, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let (ownership, drifts, journal) = {
            let book = self.book();
            (book.ownership.clone(), book.drifts.clone(), book.journal.clone())
        };
        let resources: Vec<Resource> = state.resources().cloned().collect();
        let by_target: BTreeMap<&Target, &Resource> = resources.iter().map(|r| (&r.target, r)).collect();
        let held = pass::held(&by_target, &drifts);
        let mut resources = state.resources().cloned().collect::<Vec<_>>();
        let secrets = self.fill(&journal, &mut resources, &|_| {});
        let ruling = self.ruling().with_state(state);
        let content = |hash: &ContentHash| journal.blob(hash).ok().flatten();
        let consent = self.consent(&ruling, state, self.goes_back(state));
        let judge = |resource: &Resource| consent.judge_filled(&ruling, resource, &secrets);
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

/// Says of what failed when it was last applied, and is wanted as it was, that it keeps the rest of its group from the node.
fn tell_standing_failure(action: &mut Action, current: &Accepted, state: &NodeDesired) {
    let of_others = |code: &str| code == pass::HELD_BACK || code == UNDONE;
    let failed = current.resources.iter().find(|r| r.target == action.target && r.state == ResourceState::Failed);
    let Some(fault) = failed.and_then(|r| r.fault.as_ref()).filter(|f| !f.retry && !of_others(&f.code)) else { return };
    if action.fault.is_some() || !is_same(&current.state, state, &action.target) {
        return;
    }
    let change = state.resources().find(|r| r.target == action.target).map(|r| r.provenance.change);
    let of = change.map(|number| format!(" of change {number}")).unwrap_or_default();
    action.notes.push(format!(
        "in the way: {} {}{of} failed when it was last applied, and while it does nothing else of the host is written: {}",
        action.kind, action.name, fault.message
    ));
}

/// Whether two states want the same at a target.
fn is_same(one: &NodeDesired, other: &NodeDesired, target: &Target) -> bool {
    let hash = |state: &NodeDesired| state.resources().find(|r| r.target == *target).map(Resource::compute_hash);
    hash(one).is_some_and(|wanted| hash(other) == Some(wanted))
}
