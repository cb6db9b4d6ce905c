//! The gate to the nodes: what the rest of the controller may ask of the link.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use lampas_shared::{
    check::{Checked, ScriptDraft},
    desired::NodeDesired,
    error::Fault,
    fleet::NodeState,
    id::{NodeId, RunId, SecretValueId},
    object::Target,
    operation::{OutputPart, RunOrder, RunStatus},
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    secret::StillHeld,
};

/// What can be asked of connected nodes. Every wait is bounded; a node that isn't connected is a passing fault with
/// the code `link.offline`, one that doesn't answer within the limit `link.hung`.
pub trait NodeGate: Send + Sync + 'static {
    /// Returns whether a node is connected.
    fn connected(&self, node: NodeId) -> bool;

    /// Returns how each connected node is heard: online or stale. Who is not listed is offline.
    fn states(&self) -> BTreeMap<NodeId, NodeState>;

    /// Returns whether a node is connected and does not answer.
    fn is_silent(&self, node: NodeId) -> bool {
        self.states().get(&node) == Some(&NodeState::Stale)
    }

    /// Says that the desired state of these nodes changed: the link asks for it and pushes it.
    fn wake(&self, nodes: &[NodeId]);

    /// Asks what a node would do for a state.
    fn plan(&self, node: NodeId, state: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>>;

    /// Asks what stands at a target.
    fn read(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>>;

    /// Asks to put the desired state back over a held drift.
    fn revert(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<(), Fault>>;

    /// Asks to try again what failed or is quarantined.
    fn retry(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>>;

    /// Asks what stands unmanaged on a node. Agents that know nothing of it are a lasting fault, `node.too_old`.
    fn scan(&self, _: NodeId, _: ScanRequest) -> BoxFuture<'_, Result<Scan, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Asks a node to observe no more.
    fn manage(&self, _: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Asks a node to make plain files of what it manages and to forget who it is.
    fn eject(&self, _: NodeId) -> BoxFuture<'_, Result<Ejected, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Tells a node to run something, once. A run that it was told of before is not begun again.
    fn run(&self, _: NodeId, _: RunOrder) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Asks what a node knows of a run.
    fn run_status(&self, _: NodeId, _: RunId) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Asks a node to end a run.
    fn cancel_run(&self, _: NodeId, _: RunId) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Lets a node let go of a run's output.
    fn forget_run(&self, _: NodeId, _: RunId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Listens to a run's output from an offset on, until its end or the connection's. What the receiver does not take,
    /// the node does not send.
    fn output(
        &self,
        _: NodeId,
        _: RunId,
        _: u64,
        _: tokio::sync::mpsc::Sender<OutputPart>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Asks what a node's tools say of a draft of a script.
    fn check(&self, _: NodeId, _: ScriptDraft) -> BoxFuture<'_, Result<Checked, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Tells a node to let go of values of secrets that are destroyed; it says which are still there, and why.
    fn purge(&self, _: NodeId, _: BTreeSet<SecretValueId>) -> BoxFuture<'_, Result<Vec<StillHeld>, Fault>> {
        Box::pin(async { Err(too_old()) })
    }

    /// Ends the connections of a node whose certificate was revoked or that was removed, at once.
    fn close(&self, node: NodeId, reason: &str);
}

/// What is said of an agent that does not know an operation.
pub(super) fn too_old() -> Fault {
    let text = "the agent on this node is too old for this; install the agent of this controller's version there";
    Fault::lasting("node.too_old", text)
}
