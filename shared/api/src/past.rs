//! The fleet and its nodes as they stood at a moment.

use lampas_shared::{
    fleet::{Labels, NodeName, NodeState, RoleName},
    id::{NodeId, ObjectId},
    object::ObjectKey,
    report::ResourceState,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Activity, FleetMapGroup, HistoryItem, OverviewCounts};

/// `GET /api/v1/past`, `GET /api/v1/nodes/{node}/past` and `GET /api/v1/roles/{role}/past`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PastQuery {
    /// The moment.
    pub at: UnixMs,
}

/// A moment of the past, and whether it is known how nodes stood then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct PastMoment {
    /// The moment.
    pub at: UnixMs,
    /// Since when it is kept how nodes stood; absent while nothing is.
    pub kept_since: Option<UnixMs>,
}

impl PastMoment {
    /// Returns whether it is known how nodes stood then.
    pub fn is_kept(&self) -> bool {
        self.kept_since.is_some_and(|since| since <= self.at)
    }
}

/// The fleet as it stood: `GET /api/v1/past`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastFleet {
    /// Which moment.
    #[serde(flatten)]
    pub moment: PastMoment,
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
    /// Which moment.
    #[serde(flatten)]
    pub moment: PastMoment,
    /// How it stood; absent when it was not in the fleet, or nothing is kept of that moment.
    pub stood: Option<PastStanding>,
    /// The objects whose scope held it then.
    pub objects: Vec<PastObject>,
    /// What had been changed by hand there, and not been decided about.
    pub drifts: Vec<PastDrift>,
    /// What had happened there last, the newest first.
    pub activity: Vec<Activity>,
}

/// A role as it stood: `GET /api/v1/roles/{role}/past`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastRole {
    /// Which moment.
    #[serde(flatten)]
    pub moment: PastMoment,
    /// The role.
    pub role: RoleName,
    /// The nodes that had it, as they stood, by name.
    pub members: Vec<PastStanding>,
    /// The objects that had it as their scope.
    pub objects: Vec<PastObject>,
    /// The changes of its objects that were applied last until then, the newest first.
    pub changes: Vec<PastChange>,
}

/// How a node stood for a while.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastStanding {
    /// The node.
    pub node: NodeId,
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

/// What became of a fleet, of a role or of a node between two moments: `GET /api/v1/past/diff`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastDiff {
    /// From this moment.
    pub from: UnixMs,
    /// To this one.
    pub to: UnixMs,
    /// Since when it is kept how nodes stood; absent while nothing is.
    pub kept_since: Option<UnixMs>,
    /// Whether it is known how nodes stood at both moments; when it isn't, nothing is said of nodes.
    pub nodes_known: bool,
    /// The nodes that came, went or stood otherwise, by name; at most 1,000.
    pub nodes: Vec<PastNodeDiff>,
    /// How many were there at both moments and stood alike.
    pub nodes_unchanged: u32,
    /// Whether it is known which objects were meant at both moments. Of a node it goes by how the node stood; of a
    /// role and of the fleet it is always known.
    pub objects_known: bool,
    /// The objects that came, changed or went, by kind, scope and name; at most 1,000.
    pub objects: Vec<HistoryItem>,
    /// How many stood at both moments and were the same.
    pub objects_unchanged: u32,
    /// Whether there are more nodes or objects than are listed.
    pub has_more: bool,
}

/// A node that another moment finds otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastNodeDiff {
    /// The node.
    pub node: NodeId,
    /// Its name, as of the later moment where it was there then.
    pub name: NodeName,
    /// What became of it.
    pub verb: PastVerb,
    /// What is otherwise, in words: `state`, `config`, `roles`, `labels`, `name`, `generation`, `mode`, `resources`.
    pub changed: Vec<String>,
    /// How it stood at first; absent when it was not in the fleet.
    pub before: Option<PastStanding>,
    /// How it stood at last; absent when it was not in the fleet.
    pub after: Option<PastStanding>,
}

/// What became of a node between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PastVerb {
    /// It came: into the fleet, or into the role.
    Came,
    /// It went: out of the fleet, or out of the role.
    Went,
    /// It stood otherwise.
    Changed,
}

impl PastVerb {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Came => "came",
            Self::Went => "went",
            Self::Changed => "changed",
        }
    }
}
