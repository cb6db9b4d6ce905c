//! Changes: drafts, plans, applying.

use lampas_shared::{
    change::ChangeState,
    error::Fault,
    id::{ChangeId, ObjectId},
    object::{ObjectKey, ObjectName, ObjectSpec},
    operation::RunState,
    report::{Action, ResourceState},
    rollout::{Order, Phase, State, Strategy},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Control, NodeRef, NodeUpdate};

/// One draft of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "DraftFields")]
pub struct Draft {
    /// What shall be done.
    #[serde(flatten)]
    pub act: DraftAct,
    /// The revision that the draft was made from; refused when there is a newer one. Absent: whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// The object under its former name, to rename it instead of making another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<ObjectName>,
}

/// A draft as it comes in: a field that isn't known is refused, as a mistyped `base` would overwrite somebody's work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFields {
    #[serde(default)]
    put: Option<ObjectSpec>,
    #[serde(default)]
    delete: Option<ObjectKey>,
    #[serde(default)]
    base: Option<u64>,
    #[serde(default)]
    previous_name: Option<ObjectName>,
}

impl TryFrom<DraftFields> for Draft {
    type Error = &'static str;
    fn try_from(fields: DraftFields) -> Result<Self, Self::Error> {
        let DraftFields { put, delete, base, previous_name } = fields;
        let act = match (put, delete) {
            (Some(spec), None) => DraftAct::Put(spec),
            (None, Some(key)) => DraftAct::Delete(key),
            _ => return Err("a draft has either `put` or `delete`"),
        };
        Ok(Self { act, base, previous_name })
    }
}

/// What a draft does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DraftAct {
    /// Makes or changes the object with this identity.
    Put(ObjectSpec),
    /// Deletes the object with this identity; nothing happens when there is none.
    Delete(ObjectKey),
}

/// An edit of a node in a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeEdit {
    /// The node, by id or name.
    pub node: String,
    /// What shall be; what is left out stays.
    pub set: NodeUpdate,
    /// The node's revision that the edit was made from; refused when there is a newer one. Absent: whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

/// `POST /api/v1/changes`: makes a change and plans it. With `Idempotency-Key`, the same key gives the same change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeCreate {
    /// The drafts of objects: with the edits of nodes 1 to 10,000.
    #[serde(default)]
    pub drafts: Vec<Draft>,
    /// Edits of nodes, at most one of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_edits: Vec<NodeEdit>,
    /// Why, in the author's words, up to 500 characters.
    #[serde(default)]
    pub reason: String,
    /// Applies it in the same call when every affected node could be planned, or `allow_unplanned` is set.
    #[serde(default)]
    pub apply: bool,
    /// With `apply`: goes on although some nodes could not be asked.
    #[serde(default)]
    pub allow_unplanned: bool,
    /// With `apply`: in which waves; all nodes at once by default.
    #[serde(default)]
    pub rollout: Strategy,
}

/// `POST /api/v1/changes/{id or number}/apply`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The plan that was seen; refused with `plan.moved` when anything moved since.
    pub plan: String,
    /// Goes on although some nodes could not be asked.
    #[serde(default)]
    pub allow_unplanned: bool,
    /// Answers without the drafts and the plan.
    #[serde(default)]
    pub brief: bool,
    /// In which waves; all nodes at once by default.
    #[serde(default)]
    pub rollout: Strategy,
    /// When: it is put on the schedule and applied then, if the plan still holds. At once by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixMs>,
    /// For administrators: goes on without the approval that it needs; says why in `reason`.
    #[serde(default)]
    pub override_protection: bool,
    /// For administrators: goes on in a freeze; says why in `reason`.
    #[serde(default)]
    pub override_freeze: bool,
    /// Why something is overridden, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/changes/{id or number}/rollout`: what somebody wants of a rollout.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// What.
    pub order: Order,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// How a rollout stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    /// As a whole.
    pub state: State,
    /// The wave that is under way, from 1.
    pub wave: u32,
    /// How far that wave is.
    pub phase: Phase,
    /// When the phase began.
    pub since: UnixMs,
    /// When the phase must be over; of a paused rollout, when it is aborted.
    pub deadline: UnixMs,
    /// Why it stands so, in words; empty while it runs.
    pub reason: String,
    /// How it was asked for.
    pub strategy: Strategy,
    /// The waves in their order.
    pub waves: Vec<RolloutWave>,
}

/// One wave of a rollout.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolloutWave {
    /// How its nodes stand.
    pub progress: Progress,
    /// Its nodes, by name; the first 200.
    pub nodes: Vec<NodeRef>,
    /// Its gates that were asked, in their order; the last time each was.
    #[serde(default)]
    pub gates: Vec<WaveGate>,
}

/// How a gate of a wave stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaveGate {
    /// Which of the strategy's gates, from 0.
    pub gate: u32,
    /// The number of the operation that asks it.
    pub operation: u64,
    /// Nodes that have not answered.
    pub open: u32,
    /// Nodes on which it holds.
    pub passed: u32,
    /// Nodes on which it doesn't, or that gave no answer.
    pub failed: u32,
    /// What nodes answered, those that say no first; 20 at most.
    #[serde(default)]
    pub answers: Vec<GateAnswer>,
}

/// What a node answered to a gate: what was measured, and the bound.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GateAnswer {
    /// Which.
    pub node: NodeRef,
    /// How its run ended.
    pub state: RunState,
    /// In plain words.
    pub text: String,
}

/// `POST /api/v1/changes/{id or number}/waves`: one wave that a strategy would make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedWave {
    /// How many nodes.
    pub count: u32,
    /// Which, by name; the first 20.
    pub nodes: Vec<NodeRef>,
}

/// How far a rollout is, for lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStage {
    /// As a whole.
    pub state: State,
    /// The wave that is under way, from 1; 0 when it is over.
    pub wave: u32,
    /// How many there are; 0 when it is over.
    pub waves: u32,
}

/// A row of `GET /api/v1/changes?state&plan&after&limit` (newest first); `plan` finds a change by a prefix of its plan's id.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeSummary {
    /// The change.
    pub id: ChangeId,
    /// Its number, from 1: what people say.
    pub number: u64,
    /// How far it is.
    pub state: ChangeState,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// One line on what it does: `cron hello (role:app)`, `3 objects`.
    pub title: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it was applied.
    pub applied_at: Option<UnixMs>,
    /// When the last node was done.
    pub done_at: Option<UnixMs>,
    /// How its nodes stand.
    pub progress: Progress,
    /// How far its rollout is; absent when all nodes get it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<RolloutStage>,
}

/// How the nodes of a change stand; the sum is the number of affected nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Online, not yet begun.
    pub waiting: u32,
    /// Under way.
    pub applying: u32,
    /// In force, proven.
    pub converged: u32,
    /// Failed, blocked or quarantined.
    pub failed: u32,
    /// Not connected; they get it when they return.
    pub unreachable: u32,
    /// Overtaken by a later change before they had it.
    pub superseded: u32,
    /// In a later wave, or left out by a rollout that was aborted.
    #[serde(default)]
    pub held: u32,
}

impl Progress {
    /// Returns how many nodes the change affects.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.waiting + self.applying + self.converged + self.failed + self.unreachable + self.superseded + self.held
    }
}

/// `GET /api/v1/changes/{id or number}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: ChangeSummary,
    /// The drafts, with what they do.
    pub drafts: Vec<DraftView>,
    /// Its edits of nodes, with what they do.
    #[serde(default)]
    pub node_edits: Vec<NodeEditView>,
    /// The current plan; absent for a draft that could not be planned.
    pub plan: Option<Plan>,
    /// The change that this one reverts.
    pub reverts: Option<u64>,
    /// The change that was applied last to revert this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_by: Option<u64>,
    /// How it reaches its nodes; absent when all get it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// What stands between it and its nodes.
    #[serde(default)]
    pub control: Control,
}

/// A draft as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DraftView {
    /// The object's identity.
    pub key: ObjectKey,
    /// The object, when there is one already.
    pub object: Option<ObjectId>,
    /// What it does; `conflict` when something was saved since, so that it can't be applied as it is.
    pub verb: DraftVerb,
    /// The revision that it was made from.
    pub base: Option<u64>,
    /// A unified diff of the object, as manifests.
    pub diff: String,
}

/// An edit of a node as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeEditView {
    /// The node.
    pub node: NodeRef,
    /// `update`, `rename`, `none`; `conflict` when the node was edited since, or is gone.
    pub verb: DraftVerb,
    /// The node's revision that it was made from.
    pub base: u64,
    /// A unified diff of name, roles, labels and address.
    pub diff: String,
}

/// What a draft does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DraftVerb {
    /// Makes an object.
    Create,
    /// Changes it.
    Update,
    /// Changes its name, and perhaps more.
    Rename,
    /// Deletes it.
    Delete,
    /// Nothing: the object is so already.
    None,
    /// Something was saved since the draft was made: plan again, or abandon.
    Conflict,
}

impl DraftVerb {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Conflict => "conflict",
        }
    }
}

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
    /// How many nodes the drafts concern without changing anything there.
    pub unchanged: u32,
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

/// Nodes with equal actions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanGroup {
    /// The nodes, by name.
    pub nodes: Vec<NodeRef>,
    /// What they would do. Diffs that the caller may not read show hashes.
    pub actions: Vec<Action>,
}

/// A node that could not be asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Unplanned {
    /// The node.
    pub node: NodeRef,
    /// Why: offline since, no answer within 3 s …
    pub reason: String,
}

/// A row of `GET /api/v1/changes/{id}/nodes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeNode {
    /// The node.
    pub node: NodeRef,
    /// How it stands.
    pub state: ChangeNodeState,
    /// The worst state of its resources for this change, once it reported.
    pub config: Option<ResourceState>,
    /// How long the node took from the arrival to the proof, in milliseconds.
    pub took_ms: Option<u64>,
    /// From the apply to the controller's receipt of the proof, in milliseconds.
    pub since_apply_ms: Option<u64>,
    /// Why it failed.
    pub fault: Option<Fault>,
}

/// How a node of a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeNodeState {
    /// Online, not yet begun.
    Waiting,
    /// In its journal.
    Applying,
    /// In force, proven.
    Converged,
    /// Failed, blocked or quarantined.
    Failed,
    /// Not connected.
    Unreachable,
    /// Overtaken by a later change before it had this one.
    Superseded,
    /// In a later wave, or left out by a rollout that was aborted.
    Held,
}

/// Why something is done, for calls that take nothing else.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In the principal's words, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}
