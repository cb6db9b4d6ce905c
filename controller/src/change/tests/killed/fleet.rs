//! The nodes of a rollout that is played: they outlive every controller, keep what was not acknowledged, and begin each
//! run once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use futures_util::future::BoxFuture;
use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, NodeDesired, Spec},
    error::Fault,
    fleet::NodeState,
    id::{NodeId, RunId},
    object::Target,
    operation::{OperationRun, RunEnd, RunOrder, RunStatus},
    report::{NodePlan, ObservedFile, Phase, ResourceState},
};
use lampas_wire::Report;

use super::{super::report, Scenario};
use crate::{change::Ingest, link::NodeGate};

/// The epoch of every outbox: none of the agents is ever started anew.
const EPOCH: u64 = 40;

/// A node.
#[derive(Debug)]
struct Played {
    name: String,
    is_away: bool,
    /// The generation that it is at.
    counter: u64,
    /// Whether the change is in force.
    has_change: bool,
    /// What no controller has acknowledged.
    outbox: Vec<(u64, Report)>,
    last_seq: u64,
    /// The runs that it was told to begin, and whether their results are in the outbox.
    runs: BTreeMap<RunId, (RunOrder, bool)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    scenario: Scenario,
    nodes: Mutex<BTreeMap<NodeId, Played>>,
}

impl Fleet {
    /// Makes nodes that are at the generation that they have.
    pub(super) fn new(scenario: Scenario, nodes: impl Iterator<Item = (NodeId, String, u64)>) -> Self {
        let played = |(id, name, counter): (NodeId, String, u64)| {
            let is_away = scenario.away.contains(&name.as_str());
            let (outbox, runs) = (Vec::new(), BTreeMap::new());
            (id, Played { name, is_away, counter, has_change: false, outbox, last_seq: 0, runs })
        };
        Self { nodes: Mutex::new(nodes.map(played).collect()), scenario }
    }

    /// Returns every node with its name.
    pub(super) fn names(&self) -> BTreeMap<NodeId, String> {
        self.each(|id, node| (id, node.name.clone())).into_iter().collect()
    }

    /// Returns who has the change in force, by what is on the disks.
    pub(super) fn proven(&self) -> BTreeSet<NodeId> {
        self.each(|id, node| node.has_change.then_some(id)).into_iter().flatten().collect()
    }

    /// Returns who ran a gate to a good end.
    pub(super) fn passed(&self) -> BTreeSet<NodeId> {
        let says_no = |node: &Played| self.scenario.says_no.contains(&node.name.as_str());
        self.each(|id, node| (node.runs.values().any(|r| r.1) && !says_no(node)).then_some(id))
            .into_iter()
            .flatten()
            .collect()
    }

    /// Returns whether a node has taken this state, or can't.
    pub(super) fn is_at(&self, id: NodeId, desired: &NodeDesired) -> bool {
        let nodes = self.nodes.lock().expect("not poisoned");
        let node = &nodes[&id];
        node.is_away || node.counter == desired.generation.counter
    }

    /// Returns whether no node has anything to say.
    pub(super) fn is_silent(&self) -> bool {
        let is_silent = |_, node: &Played| node.outbox.is_empty() && node.runs.values().all(|r| r.1);
        self.each(is_silent).into_iter().all(|silent| silent)
    }

    fn each<T>(&self, of: impl Fn(NodeId, &Played) -> T) -> Vec<T> {
        self.nodes.lock().expect("not poisoned").iter().map(|(id, node)| of(*id, node)).collect()
    }

    /// Takes the state that stands for a node, if it is another one. Returns whether it was.
    pub(super) fn take(&self, id: NodeId, desired: &NodeDesired) -> bool {
        let mut nodes = self.nodes.lock().expect("not poisoned");
        let node = nodes.get_mut(&id).expect("a node of the fleet");
        if node.is_away || node.counter == desired.generation.counter {
            return false;
        }
        assert!(desired.generation.counter > node.counter, "{}: generations only grow", node.name);
        node.counter = desired.generation.counter;
        let is_new = content(desired) == "new";
        let state = if is_new && self.scenario.failing.contains(&node.name.as_str()) {
            ResourceState::Failed
        } else {
            ResourceState::Converged
        };
        node.has_change = is_new && state == ResourceState::Converged;
        for phase in [Phase::Received, Phase::Applied, Phase::Confirmed] {
            node.say(report(desired, phase, state));
        }
        true
    }

    /// Ends the runs that have begun, and hands over what stands in the outboxes. Returns whether there was anything.
    pub(super) async fn speak(&self, ingest: &Ingest) -> bool {
        let mut full = Vec::new();
        for (id, node) in self.nodes.lock().expect("not poisoned").iter_mut() {
            node.end_runs(&self.scenario);
            if !node.outbox.is_empty() && !node.is_away {
                full.push((*id, node.outbox.clone()));
            }
        }
        for (id, reports) in &full {
            // What was not acknowledged comes again.
            if let Ok(acknowledged) = ingest.submit(*id, EPOCH, reports.clone()).await {
                let mut nodes = self.nodes.lock().expect("not poisoned");
                let node = nodes.get_mut(id).expect("a node of the fleet");
                node.outbox.retain(|(seq, _)| *seq > acknowledged);
            }
        }
        !full.is_empty()
    }
}

impl Played {
    fn say(&mut self, report: Report) {
        self.last_seq += 1;
        self.outbox.push((self.last_seq, report));
    }

    fn end_runs(&mut self, scenario: &Scenario) {
        let status = u8::from(scenario.says_no.contains(&self.name.as_str()));
        let mut ended = Vec::new();
        for (order, is_told) in self.runs.values_mut().filter(|r| !r.1) {
            *is_told = true;
            let now = clock::now();
            ended.push(OperationRun {
                run: order.run,
                operation: order.operation,
                started_at: now,
                ended_at: now,
                end: RunEnd::Exited(status.into()),
                output_bytes: 0,
                output_hash: ContentHash::of(b""),
                found: None,
            });
        }
        for run in ended {
            self.say(Report::Operation(run));
        }
    }
}

/// Returns the contents of the only file of a state; empty when it has none.
pub(super) fn content(desired: &NodeDesired) -> String {
    let file = desired.resources().find_map(|r| match &r.spec {
        Spec::File { content, .. } => content.inline.clone(),
        _ => None,
    });
    String::from_utf8(file.unwrap_or_default()).expect("text")
}

fn nobody<T: Send + 'static>() -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(async { Err(Fault::passing("link.offline", "nobody is asked this here")) })
}

impl NodeGate for Fleet {
    fn connected(&self, node: NodeId) -> bool {
        self.nodes.lock().expect("not poisoned").get(&node).is_some_and(|n| !n.is_away)
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        let online = self.each(|id, node| (!node.is_away).then_some((id, NodeState::Online)));
        online.into_iter().flatten().collect()
    }

    fn wake(&self, _: &[NodeId]) {}

    fn plan(&self, _: NodeId, _: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>> {
        nobody()
    }

    fn read(&self, _: NodeId, _: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>> {
        nobody()
    }

    fn revert(&self, _: NodeId, _: Target) -> BoxFuture<'_, Result<(), Fault>> {
        nobody()
    }

    fn retry(&self, _: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        nobody()
    }

    fn close(&self, _: NodeId, _: &str) {}

    fn run(&self, node: NodeId, order: RunOrder) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        let mut nodes = self.nodes.lock().expect("not poisoned");
        let played = nodes.get_mut(&node).expect("a node of the fleet");
        assert!(!played.is_away, "{} is not connected", played.name);
        // Told again, it knows the run.
        played.runs.entry(order.run).or_insert((order, false));
        Box::pin(async { Ok(RunStatus::Running) })
    }
}
