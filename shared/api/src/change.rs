//! Changes: drafts, plans, applying.

mod plan;
mod rollout;

pub use plan::*;
pub use rollout::*;

use lampas_shared::{
    change::{Cause, ChangeState},
    error::Fault,
    fleet::Scope,
    id::{ChangeId, ObjectId},
    object::{ObjectKey, ObjectName, ObjectSpec},
    report::ResourceState,
    rollout::Strategy,
    source::SourceName,
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
    /// The revision that the draft was made from; refused when there is a newer one. 0: it was made from nothing, and is
    /// refused when an object of that kind, scope and name stands. Absent: whatever there is.
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
    /// Only looks: the plan is in no list of what waits, and nobody is told of it, until somebody tries to apply it or
    /// plans it again. It can be applied and approved like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_look: bool,
    /// With `apply`: goes on although some nodes could not be asked.
    #[serde(default)]
    pub allow_unplanned: bool,
    /// With `apply`: in which waves; all nodes at once by default. Its `limit` is the plan's, also without `apply`.
    #[serde(default)]
    pub rollout: Strategy,
    /// The set that the manifests are, when they are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ManifestSet>,
}

/// The name under which objects are applied from manifests. An object is in one set at most; deleted by its absence from
/// manifests is only what is in theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestSet {
    /// The name. Those of git sources are theirs.
    pub name: SourceName,
    /// Deletes the objects of the set that no draft is of.
    #[serde(default)]
    pub prune: bool,
    /// With `prune`: goes on although no draft makes or keeps an object, so that all of the set goes.
    #[serde(default)]
    pub allow_empty: bool,
    /// Takes objects that are in another set into this one; refused otherwise.
    #[serde(default)]
    pub take: bool,
}

/// `POST /api/v1/changes/{id or number}/plan`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The nodes that the change reaches before somebody lets it go on to the rest; `fleet` takes a limit off. Absent: as
    /// in the plan before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Scope>,
}

/// `POST /api/v1/changes/{id or number}/abandon`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonRequest {
    /// Leaves nothing of it but the audit, for a change that only served for looking: its number is not used again. Only
    /// its author may; refused once somebody approved, declined or scheduled it.
    #[serde(default)]
    pub forget: bool,
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
    /// Whether it puts back what had drifted, or is meant.
    pub cause: Cause,
    /// How its nodes stand.
    pub progress: Progress,
    /// How far its rollout is; absent when all nodes get it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<RolloutStage>,
    /// Why it can never be applied, of a change that was abandoned because another one was faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Superseded>,
    /// Why a plan that is not applied doesn't simply wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<PlanOutlook>,
}

/// Why a change can never be applied: what it is about was changed meanwhile, and it was made from what stood before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Superseded {
    /// The number of the change that was faster; absent when it was an edit outside of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<u64>,
    /// What was changed, and by whom.
    pub why: String,
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
    /// In a later wave.
    #[serde(default)]
    pub held: u32,
    /// Never had it: the rollout ended before their wave began.
    #[serde(default)]
    pub untouched: u32,
}

impl Progress {
    /// Returns how many nodes the change affects.
    #[must_use]
    pub const fn total(self) -> u32 {
        let open = self.waiting + self.applying + self.unreachable + self.held;
        open + self.converged + self.failed + self.superseded + self.untouched
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
    /// The set that its drafts were applied as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ChangeSet>,
}

/// A set of manifests, as `GET /api/v1/sets` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectSet {
    /// Its name.
    pub name: SourceName,
    /// How many objects it holds, of those that the caller may see.
    pub objects: u64,
    /// When one of them was changed last.
    pub updated_at: UnixMs,
}

/// The set of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeSet {
    /// Its name.
    pub name: SourceName,
    /// Whether what the manifests don't name is deleted.
    pub prune: bool,
    /// The objects that applying takes into the set, each with the set that it was in; of an open change.
    #[serde(default)]
    pub joins: Vec<SetJoin>,
}

/// An object that comes into a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetJoin {
    /// Which.
    pub key: ObjectKey,
    /// The set that it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SourceName>,
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
    /// The object is so already, and the plan brings it to nodes that a rollout which is over left out.
    Again,
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
            Self::Again => "again",
            Self::Conflict => "conflict",
        }
    }
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
    /// In a later wave.
    Held,
    /// Never had it: the rollout ended before its wave began.
    Untouched,
}

/// Why something is done, for calls that take nothing else.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In the principal's words, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}
