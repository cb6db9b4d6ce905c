//! Drift: changes by hand.

use lampas_shared::{
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
    /// Why it can't be adopted; empty when it can.
    pub adopt_refusal: String,
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
}

/// The answer to adopting: the change to look at and apply.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    /// The change.
    pub change: ChangeId,
    /// Its number.
    pub number: u64,
}
