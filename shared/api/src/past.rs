//! The fleet and its nodes as they stood at a moment.

use lampas_shared::{
    fleet::{Labels, NodeName, NodeState, RoleName},
    id::ObjectId,
    object::ObjectKey,
    report::ResourceState,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Activity, FleetMapGroup, OverviewCounts};

/// `GET /api/v1/past` and `GET /api/v1/nodes/{node}/past`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PastQuery {
    /// The moment.
    pub at: UnixMs,
}

/// The fleet as it stood: `GET /api/v1/past`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastFleet {
    /// The moment.
    pub at: UnixMs,
    /// Since when it is kept how nodes stood; absent while nothing is.
    pub kept_since: Option<UnixMs>,
    /// The numbers.
    pub counts: OverviewCounts,
    /// Nodes that stood alike, as on the fleet map.
    pub map: Vec<FleetMapGroup>,
    /// The changes that were applied last until then, the newest first.
    pub changes: Vec<PastChange>,
    /// What had happened last, the newest first.
    pub activity: Vec<Activity>,
}

/// A change, seen from a moment after it was applied.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastChange {
    /// Its number.
    pub number: u64,
    /// What it changed.
    pub title: String,
    /// By whom.
    pub author: String,
    /// When it was applied.
    pub applied_at: UnixMs,
    /// Whether it was still on its way to its nodes.
    pub was_rolling: bool,
}

/// A node as it stood: `GET /api/v1/nodes/{node}/past`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastNode {
    /// The moment.
    pub at: UnixMs,
    /// Since when it is kept how nodes stood; absent while nothing is.
    pub kept_since: Option<UnixMs>,
    /// How it stood; absent when it was not in the fleet, or nothing is kept of that moment.
    pub stood: Option<PastStanding>,
    /// The objects whose scope held it then.
    pub objects: Vec<PastObject>,
    /// What had been changed by hand there, and not been decided about.
    pub drifts: Vec<PastDrift>,
    /// What had happened there last, the newest first.
    pub activity: Vec<Activity>,
}

/// How a node stood for a while.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastStanding {
    /// Its name.
    pub name: NodeName,
    /// Its roles.
    pub roles: Vec<RoleName>,
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
    /// Whether it was heard.
    pub state: NodeState,
    /// The worst state of its resources.
    pub config: ResourceState,
    /// Whether it only observed.
    pub observe: bool,
    /// The generation that it had reported; empty for none.
    pub generation: String,
    /// How many of its resources were in force.
    pub converged: u32,
    /// How many there were.
    pub resources: u32,
    /// Since when it stood so.
    pub from: UnixMs,
    /// Until when; absent when it still does.
    pub until: Option<UnixMs>,
}

/// An object at a revision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastObject {
    /// The object.
    pub id: ObjectId,
    /// What it was called.
    pub key: ObjectKey,
    /// The revision that stood.
    pub revision: u64,
    /// By whom that was.
    pub author: String,
    /// Since when.
    pub at: UnixMs,
}

/// Something that had been changed by hand.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastDrift {
    /// The drift.
    pub id: String,
    /// The file.
    pub path: String,
    /// When it was found.
    pub found_at: UnixMs,
    /// When it was over; absent when it still stands.
    pub ended_at: Option<UnixMs>,
}
