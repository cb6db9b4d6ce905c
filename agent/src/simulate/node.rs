//! A node without a disk: keeps its state and its outbox in memory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::{BoxFuture, ready};
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Resource},
    error::Fault,
    id::NodeId,
    object::Target,
    report::{Action, GenerationReport, NodePlan, ObservedFile, Phase, ResourceReport, ResourceState, Verb},
};
use lampas_wire::Report;
use tokio::sync::watch;

use crate::{
    link::{LinkHandle, Outbox, Reconciler},
    reconcile::Upstream,
};

/// What all simulated nodes did.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    states: AtomicU64,
    refused: AtomicU64,
    applied: AtomicU64,
    acked: AtomicU64,
    plans: AtomicU64,
    confirms_failed: AtomicU64,
}

/// Declares what reads a counter.
macro_rules! read {
    ($($name:ident)*) => {
        impl Counters {
            $(pub(crate) fn $name(&self) -> u64 {
                self.$name.load(Relaxed)
            })*
        }
    };
}

read! { states refused applied acked plans confirms_failed }

/// One node.
pub(crate) struct SimulatedNode {
    node: NodeId,
    epoch: u64,
    counters: Arc<Counters>,
    upstream: Option<LinkHandle>,
    tasks: Tasks,
    last: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(Generation, ContentHash)>,
    /// What "stands on the disk".
    applied: BTreeMap<Target, Standing>,
    reports: BTreeMap<u64, Report>,
}

/// A resource as it was applied.
struct Standing {
    hash: ContentHash,
    resource: Resource,
}

impl SimulatedNode {
    pub(crate) fn new(node: NodeId, counters: Arc<Counters>, upstream: Option<LinkHandle>, tasks: Tasks) -> Self {
        let epoch = u64::from_le_bytes(random::bytes()).max(1);
        let state = Mutex::default();
        Self { node, epoch, counters, upstream, tasks, last: watch::Sender::new(0), state }
    }

    fn push(&self, reports: impl IntoIterator<Item = Report>) {
        let mut last = *self.last.borrow();
        let mut state = crate::link::lock(&self.state);
        for report in reports {
            last += 1;
            state.reports.insert(last, report);
        }
        drop(state);
        self.last.send_replace(last);
    }

    /// Checks a state as a real agent does, and takes it as applied.
    fn take(self: &Arc<Self>, desired: NodeDesired) -> Result<(), Fault> {
        self.counters.states.fetch_add(1, Relaxed);
        if desired.node != self.node || desired.compute_hash() != desired.hash {
            self.counters.refused.fetch_add(1, Relaxed);
            return Err(Fault::lasting("desired.hash", "the state is of another node or its hash is wrong"));
        }
        let (generation, hash) = (desired.generation, desired.hash);
        let resources: Vec<ResourceReport> = desired.resources().map(converged).collect();
        {
            let mut state = crate::link::lock(&self.state);
            state.current = Some((generation, hash));
            let all = desired.groups.into_iter().flat_map(|g| g.resources);
            state.applied = all.map(|r| (r.target.clone(), Standing { hash: r.compute_hash(), resource: r })).collect();
        }
        let report = |phase, resources| {
            let state = if phase == Phase::Received { ResourceState::Waiting } else { ResourceState::Converged };
            Report::Generation(GenerationReport {
                generation,
                hash,
                phase,
                state,
                took_ms: 0,
                resources,
                at: clock::now(),
            })
        };
        self.push([report(Phase::Received, Vec::new()), report(Phase::Applied, resources.clone())]);
        self.counters.applied.fetch_add(1, Relaxed);
        let confirmed = report(Phase::Confirmed, resources);
        match &self.upstream {
            None => self.push([confirmed]),
            Some(upstream) => {
                let (node, upstream) = (Arc::clone(self), upstream.clone());
                self.tasks.spawn("simulated confirmation", async move {
                    match upstream.confirm().await {
                        Ok(()) => node.push([confirmed]),
                        Err(_) => drop(node.counters.confirms_failed.fetch_add(1, Relaxed)),
                    }
                });
            }
        }
        Ok(())
    }

    fn plan_now(&self, desired: &NodeDesired) -> NodePlan {
        self.counters.plans.fetch_add(1, Relaxed);
        let state = crate::link::lock(&self.state);
        let wanted: BTreeMap<&Target, &Resource> = desired.resources().map(|r| (&r.target, r)).collect();
        let mut actions = Vec::new();
        for (target, standing) in state.applied.iter().filter(|(t, _)| !wanted.contains_key(t)) {
            actions.push(action(target, &standing.resource, Verb::Remove));
        }
        for (target, resource) in wanted {
            match state.applied.get(target) {
                None => actions.push(action(target, resource, Verb::Create)),
                Some(standing) if standing.hash != resource.compute_hash() => {
                    actions.push(action(target, resource, Verb::Update));
                }
                Some(_) => {}
            }
        }
        let mut observed = Vec::new();
        for standing in state.applied.values() {
            observed.extend_from_slice(standing.hash.as_bytes());
        }
        NodePlan { desired: desired.hash, observed: ContentHash::of(&observed), actions }
    }
}

fn converged(resource: &Resource) -> ResourceReport {
    ResourceReport {
        target: resource.target.clone(),
        object: resource.object,
        state: ResourceState::Converged,
        fault: None,
        notes: Vec::new(),
    }
}

fn action(target: &Target, resource: &Resource, verb: Verb) -> Action {
    Action {
        target: target.clone(),
        object: resource.object,
        kind: resource.kind,
        name: resource.name.clone(),
        verb,
        path: target.to_string(),
        diff: String::new(),
        notes: Vec::new(),
        fault: None,
    }
}

/// What the link holds of a simulated node: the same node as reconciler and as outbox.
impl Reconciler for Arc<SimulatedNode> {
    fn desired(&self, state: NodeDesired) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(ready(self.take(state)))
    }

    fn plan(&self, state: NodeDesired) -> BoxFuture<'static, Result<NodePlan, Fault>> {
        Box::pin(ready(Ok(self.plan_now(&state))))
    }

    fn read(&self, _target: Target) -> BoxFuture<'static, Result<Option<ObservedFile>, Fault>> {
        Box::pin(ready(Ok(None)))
    }

    fn revert(&self, _target: Target) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(ready(Ok(())))
    }

    fn retry(&self) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(ready(Ok(())))
    }

    fn current(&self) -> Option<(Generation, ContentHash)> {
        crate::link::lock(&self.state).current
    }
}

impl Outbox for Arc<SimulatedNode> {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn pending(&self, after: u64, limit: usize) -> BoxFuture<'static, Result<Vec<(u64, Report)>, Fault>> {
        let state = crate::link::lock(&self.state);
        let reports =
            state.reports.range(after + 1..).take(limit).map(|(seq, report)| (*seq, report.clone())).collect();
        Box::pin(ready(Ok(reports)))
    }

    fn acked(&self, seq: u64) -> BoxFuture<'static, Result<(), Fault>> {
        let mut state = crate::link::lock(&self.state);
        let before = state.reports.len();
        state.reports = state.reports.split_off(&(seq + 1));
        self.counters.acked.fetch_add((before - state.reports.len()) as u64, Relaxed);
        Box::pin(ready(Ok(())))
    }
}
