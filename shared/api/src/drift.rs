//! Drift: changes by hand.

use lampas_shared::{
    change::Cause,
    id::{ChangeId, DriftId, ObjectId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::DriftOutcome,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::NodeRef;

/// A row of `GET /api/v1/drift?node&object&standing&after&limit`; `GET /api/v1/drift/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    /// The finding.
    pub id: DriftId,
    /// The node.
    pub node: NodeRef,
    /// The resource.
    pub target: Target,
    /// The object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The object's scope.
    pub scope: String,
    /// The object's policy.
    pub policy: DriftPolicy,
    /// How it stands.
    pub outcome: DriftOutcome,
    /// The file on the node.
    pub path: String,
    /// A unified diff from the desired to the observed bytes; hashes where the caller may not read it.
    pub diff: String,
    /// Who owns the file now; absent when it is gone.
    pub owner: Option<String>,
    /// Its mode now.
    pub mode: Option<String>,
    /// When the file was last written, by the node's clock.
    pub modified_at: Option<UnixMs>,
    /// When the agent saw it.
    pub found_at: UnixMs,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// Whether putting it back was a correction: it is over, and the desired state stands again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why it can't be adopted; empty when it can.
    pub adopt_refusal: String,
    /// Whether a template made the file, so that adopting merges into it: `GET /api/v1/drift/{id}/merge` shows how.
    #[serde(default)]
    pub merges: bool,
    /// How many nodes have the object, for "Adopt for role app (2 nodes)".
    pub scope_nodes: u32,
}

/// `POST /api/v1/drift/{id}/adopt`: opens a change, already planned, with the node's version as the draft.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// Adopts for this scope instead of the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Why; "adopted from NODE" when left out.
    #[serde(default)]
    pub reason: String,
    /// Where a template made the file: whose lines are taken in conflicts. Without it, conflicts are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<MergeSide>,
    /// The same: the merged template as somebody wrote it; `merge` says which merge was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The id of the merge that `content` was made from; refused when anything moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<String>,
}

/// Whose lines are taken in the conflicts of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeSide {
    /// The template's.
    Template,
    /// The node's; refused where they are not shown.
    Node,
}

/// `GET /api/v1/drift/{id}/merge`: what was edited on the node, carried back into the template that made the file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DriftMerge {
    /// What it was made from; changes when anything of it does.
    pub id: String,
    /// The template as it stands.
    pub template: String,
    /// The merged template with marks where there are conflicts, as git writes them.
    pub marked: String,
    /// How many conflicts there are.
    pub conflicts: u32,
    /// The pieces, in the order of the text.
    pub parts: Vec<MergePart>,
}

/// A piece of a merge: whole lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergePart {
    /// What became of it.
    pub kind: MergeKind,
    /// The template's lines.
    pub template: String,
    /// The node's lines, as a template would say them; lines that may hold a secret are `{{hidden}}`. Empty where the
    /// template's stay.
    pub node: String,
    /// Why somebody must decide; empty where nobody must.
    pub why: String,
    /// Whether the node's lines can be taken.
    pub can_take_node: bool,
}

/// What became of a piece of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeKind {
    /// The template's lines stay.
    Kept,
    /// The node's lines go into the template.
    Taken,
    /// Somebody must decide.
    Conflict,
}

/// The answer to adopting: the change to look at and apply.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    /// The change.
    pub change: ChangeId,
    /// Its number.
    pub number: u64,
    /// Where a template made the file: the lines in which the node's file will be otherwise than it stands. 0 says that it
    /// stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<u32>,
}
