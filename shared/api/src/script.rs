//! Scripts as they are written: who uses one; and what nodes' own policies allow.

use lampas_shared::{
    fleet::{NodePolicy, NodeState},
    id::ObjectId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{NodeRef, OperationSummary};

/// `GET /api/v1/objects/{object}/uses`: who uses a script.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScriptUses {
    /// Where it stands.
    pub path: String,
    /// The nodes that have it, by name.
    pub nodes: Vec<NodeRef>,
    /// The cron jobs whose command names its path, or its name where that is enough.
    pub jobs: Vec<ScriptJob>,
    /// The last operations that ran it, newest first.
    pub operations: Vec<OperationSummary>,
}

/// A cron job that names a script.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScriptJob {
    /// The job.
    pub object: ObjectId,
    /// Its name.
    pub name: String,
    /// Its scope.
    pub scope: String,
    /// Its command.
    pub command: String,
}

/// A line of `GET /api/v1/policies`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyOfNode {
    /// The node.
    pub node: NodeRef,
    /// Whether it is heard.
    pub state: NodeState,
    /// What its own policy allows, as it said last; absent for agents that don't tell.
    pub policy: Option<NodePolicy>,
    /// Whether it differs from what most nodes say.
    pub differs: bool,
}
