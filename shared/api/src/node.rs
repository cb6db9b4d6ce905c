//! Nodes.

use lampas_shared::{
    change::Cause,
    desired::Generation,
    error::Fault,
    fleet::{Labels, NodeFacts, NodeName, NodePause, NodeState, RoleName},
    id::{NodeId, ObjectId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::ResourceState,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A row of `GET /api/v1/nodes?query&role&state&config&label&after&limit`.
/// `state` filters by connection, `config` by the state of the configuration, `query` by name and address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeSummary {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its roles.
    pub roles: Vec<RoleName>,
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
    /// Whether it is heard.
    pub state: NodeState,
    /// The worst state of its resources.
    pub config: ResourceState,
    /// How many resources are in force.
    pub converged: u32,
    /// How many resources it has.
    pub resources: u32,
    /// The generation that it shall have; absent when nothing is for it.
    pub desired: Option<Generation>,
    /// The generation that it last reported.
    pub reported: Option<Generation>,
    /// When it was last heard.
    pub last_seen_at: Option<UnixMs>,
    /// The address that an operator set or approved.
    pub address: Option<String>,
    /// Whether its certificate is revoked.
    pub is_revoked: bool,
    /// Whether it only observes: it is told what it shall be, and writes nothing until an operator takes it over.
    #[serde(default)]
    pub is_observing: bool,
    /// When it was ejected: what LAMPAS wrote stands there as plain files, and it does not come back by itself.
    #[serde(default)]
    pub ejected_at: Option<UnixMs>,
    /// The pause that somebody asked for on the node itself; absent when none holds. Only `lampas-agent resume` there, or its
    /// end, ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<NodePause>,
    /// Since when its generation is undone, by somebody on the node itself: what stood before stands there, until
    /// `lampas-agent resume` or a newer generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_since: Option<UnixMs>,
    /// One line on what needs attention: the first drifted or failed target; empty when there is nothing.
    pub attention: String,
}

/// `GET /api/v1/nodes/{id or name}`, with an ETag.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: NodeSummary,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// Where it connects from.
    pub observed_address: Option<String>,
    /// When it was enrolled.
    pub enrolled_at: UnixMs,
    /// When its certificate ends.
    pub certificate_expires_at: Option<UnixMs>,
    /// Whether its last generation is confirmed by a fresh handshake; absent when nothing was applied yet.
    pub is_confirmed: Option<bool>,
    /// The generation that it undid because it was cut off.
    pub quarantined: Option<Generation>,
    /// Why it doesn't take the state that it shall have; absent when it does.
    pub refusal: Option<NodeRefusal>,
    /// The number of the row's revision, as in the ETag.
    pub revision: u64,
}

/// Why a node doesn't take the state that it shall have.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeRefusal {
    /// The reason as a code: `desired.stale` …
    pub code: String,
    /// The reason as the node says it.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: UnixMs,
}

/// `PATCH /api/v1/nodes/{id}`: what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePatch {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// All of its roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleName>>,
    /// All of its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Labels>,
    /// The address by which other nodes know it; `""` removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Goes on where nodes are protected or frozen, as administrators may, for this reason: without it such an edit is to be
    /// made as a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
}

/// `DELETE /api/v1/nodes/{id or name}`: takes the node out of the fleet.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeRemoval {
    /// Why, in the principal's words, up to 500 characters.
    #[serde(default)]
    pub reason: String,
    /// Goes on although nodes that name it in a generated line are protected or frozen, as administrators may, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
}

/// What revoking a node leaves behind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct RevokedNode {
    /// The nodes whose generated lines go on naming it, because they are protected or frozen, or who revoked it may not manage
    /// them: the lines go when the node is removed.
    pub named_on: Vec<String>,
}

impl NodePatch {
    /// Takes the edit apart from the reason to go over what guards it.
    pub fn split(self) -> (NodeUpdate, Option<String>) {
        let Self { name, roles, labels, address, override_reason } = self;
        (NodeUpdate { name, roles, labels, address }, override_reason)
    }
}

impl From<NodeUpdate> for NodePatch {
    fn from(set: NodeUpdate) -> Self {
        let NodeUpdate { name, roles, labels, address } = set;
        Self { name, roles, labels, address, override_reason: None }
    }
}

/// What an edit of a node in a change sets: what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeUpdate {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// All of its roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleName>>,
    /// All of its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Labels>,
    /// The address by which other nodes know it; `""` removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A row of `GET /api/v1/nodes/{id}/resources`: what is in force on the node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeResource {
    /// What it claims.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The object's scope.
    pub scope: String,
    /// What happens on a change by hand.
    pub drift: DriftPolicy,
    /// The object's revision.
    pub revision: u64,
    /// Its state.
    pub state: ResourceState,
    /// Why it is not converged.
    pub fault: Option<Fault>,
    /// What the operator should know although it is in force.
    pub notes: Vec<String>,
    /// When its state last changed.
    pub since: Option<UnixMs>,
    /// Objects of less specific scope that it overrides on this node.
    pub overrides: Vec<String>,
}

/// One line of what happened: `GET /api/v1/nodes/{id}/activity`, `GET /api/v1/activity`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// The event's place.
    pub seq: u64,
    /// When.
    pub at: UnixMs,
    /// The event's kind: `host.drift.found` …
    pub kind: String,
    /// A sentence for people.
    pub text: String,
    /// The node.
    pub node: Option<NodeId>,
    /// The node's name.
    pub node_name: Option<String>,
    /// The number of the change.
    pub change: Option<u64>,
    /// The object.
    pub object: Option<ObjectId>,
    /// Whether a change put back what had drifted, or was meant; absent for what changes nothing on nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}
