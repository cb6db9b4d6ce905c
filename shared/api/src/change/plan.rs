//! Plans: what a change would do, as the nodes say.

use lampas_shared::{
    fleet::Scope,
    id::ObjectId,
    object::{ObjectKey, ObjectName},
    report::Action,
    rollout::State,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::NodeRef;

/// What would happen, folded: nodes with equal actions stand together.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The plan's id: `7c1e-44a0`; a unique prefix suffices in requests.
    pub id: String,
    /// The whole of it, which an approval names.
    #[serde(default)]
    pub digest: String,
    /// When it was made.
    pub at: UnixMs,
    /// Nodes with equal actions.
    pub groups: Vec<PlanGroup>,
    /// Affected nodes that could not be asked, with the reason.
    pub unplanned: Vec<Unplanned>,
    /// How many nodes would do something.
    #[serde(default)]
    pub changing: u32,
    /// How many of the affected nodes only observe: nothing is written there.
    #[serde(default)]
    pub observing: u32,
    /// The nodes that the change reaches by itself, and those that wait; absent when it reaches all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<PlanLimit>,
    /// How many other nodes of the fleet, of those that the caller may see, stay as they are. With those that change, those
    /// that observe and those that could not be asked it makes the whole fleet.
    pub unchanged: u32,
    /// Scopes of drafts that no node is in: what stands there reaches nobody before a node has the role or the labels.
    #[serde(default)]
    pub empty_scopes: Vec<EmptyScope>,
    /// Which of the drafts' objects a rollout keeps from nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<PlanHold>,
    /// Whether applying it would do nothing: everything is so already.
    #[serde(default)]
    pub is_idle: bool,
    /// What may not be meant so, in sentences that name object and field; nothing of it stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What stands in the way of applying; empty when it can be applied.
    pub blockers: Vec<String>,
    /// On how many nodes something needs an operator's signature first.
    #[serde(default)]
    pub unsigned: u32,
    /// For cron jobs in the drafts: the next five runs.
    pub next_runs: Vec<PlannedRuns>,
}

/// The next runs of a cron job in a plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedRuns {
    /// The job's name.
    pub name: ObjectName,
    /// The zone.
    pub time_zone: String,
    /// The runs.
    pub runs: Vec<crate::NextRun>,
}

/// The limit of a plan. Nodes that only observe are on neither side.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanLimit {
    /// Whom the change reaches by itself.
    pub scope: Scope,
    /// The nodes of the change that are in it, by name.
    pub within: Vec<NodeRef>,
    /// The others, by name: they wait until somebody says so.
    pub beyond: Vec<NodeRef>,
}

/// Why a plan that is not applied doesn't simply wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanOutlook {
    /// Nodes can't do it as it is.
    Blocked,
    /// It would do nothing.
    Idle,
    /// All of its nodes are out of the fleet.
    Gone,
    /// Not known, since an earlier release made the plan: plan it again.
    Unknown,
}

/// Objects of a plan that the rollout of another change keeps from nodes. Of one that is over, the nodes were left out, and
/// this plan reaches them unless it says that they stay so; else they wait for it, whatever becomes of this plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanHold {
    /// The number of the change whose rollout it is.
    pub change: u64,
    /// How that rollout stood when the plan was made.
    pub state: State,
    /// The objects, as they are in the drafts.
    pub objects: Vec<ObjectKey>,
    /// The nodes that don't have them, by name: those that the caller may see.
    pub nodes: Vec<NodeRef>,
    /// How many nodes that are.
    pub count: u32,
    /// Whether the nodes stay left out: the change is of a set of manifests or of a git source, and what somebody ended is
    /// only undone by an apply of neither.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// Whether the objects are deleted, and still stand on those nodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_deletion: bool,
}

/// A row of `GET /api/v1/kept-back?object&node`: an object that the rollout of a change keeps from nodes. Of a rollout that
/// is over they were left out, and stay so until the object changes again or the same is applied once more; else they wait.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeptBack {
    /// The number of the change.
    pub change: u64,
    /// How its rollout stands.
    pub state: State,
    /// The object.
    pub object: ObjectId,
    /// What it is called.
    pub key: ObjectKey,
    /// Whether the object stands no more: on these nodes it still does.
    pub is_deleted: bool,
    /// The revision that the nodes have instead; 0 where they have none.
    pub revision: u64,
    /// The nodes in its scope that don't have it, by name: those that the caller may see.
    pub nodes: Vec<NodeRef>,
}

/// Nodes with equal actions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanGroup {
    /// The nodes, by name.
    pub nodes: Vec<NodeRef>,
    /// What they would do. Diffs that the caller may not read show hashes. Of nodes that observe: what this change would do
    /// there, of all that is not written there.
    pub actions: Vec<Action>,
    /// Whether these nodes only observe: nothing is written there.
    #[serde(default)]
    pub observes: bool,
    /// Why nodes that observe could not be asked: that stands in nobody's way. Absent when they answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
}

/// A scope that no node is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmptyScope {
    /// The scope.
    pub scope: Scope,
    /// The one that was perhaps meant: the nearest that a node is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Scope>,
}

/// A node that could not be asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Unplanned {
    /// The node.
    pub node: NodeRef,
    /// Why: offline since, no answer within 3 s …
    pub reason: String,
}
