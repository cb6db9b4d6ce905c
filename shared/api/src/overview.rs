//! The overview: what needs attention, in one request.

use lampas_shared::{
    fleet::{NodeName, NodeState, RoleName},
    id::ObjectId,
    report::ResourceState,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Activity, ChangeSummary};

/// `GET /api/v1/overview`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Counts by state.
    pub counts: OverviewCounts,
    /// What needs somebody, the most urgent first, at most 20.
    pub attention: Vec<Attention>,
    /// The last changes, newest first, at most 5.
    pub changes: Vec<ChangeSummary>,
    /// The next runs of cron jobs over the fleet, soonest first, at most 8.
    pub next_runs: Vec<UpcomingRun>,
    /// What happened last, newest first, at most 10.
    pub activity: Vec<Activity>,
}

/// Counts over the fleet.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct OverviewCounts {
    /// All nodes.
    pub nodes: u32,
    /// Connected and answering.
    pub online: u32,
    /// Connected and silent.
    pub stale: u32,
    /// Not connected.
    pub offline: u32,
    /// Wholly in force.
    pub converged: u32,
    /// With a generation under way.
    pub applying: u32,
    /// With drift.
    pub drifted: u32,
    /// With failed or blocked resources.
    pub failed: u32,
    /// Objects.
    pub objects: u32,
    /// Nodes that only observe.
    #[serde(default)]
    pub observing: u32,
}

/// Something that needs somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// How it stands: `drifted`, `failed`, `blocked`, `offline`, `quarantined`, `declined`, `undone`, `paused`,
    /// `certificate_expiring`, `approval_waiting`, `schedule_dropped`, `rollout_reverted`, `source_failed`, `source_differs`, `plan_waiting`, `missed`. A line that
    /// counts what is not named has the kind of what it counts, and no nodes.
    pub kind: String,
    /// A sentence for people.
    pub text: String,
    /// The page that shows the cause and the remedy, relative to the dashboard's root.
    pub link: String,
    /// Since when.
    pub since: Option<UnixMs>,
    /// How many nodes are concerned.
    pub nodes: u32,
}

/// A run to come.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpcomingRun {
    /// The job.
    pub object: ObjectId,
    /// The job's name.
    pub name: String,
    /// Its scope.
    pub scope: String,
    /// When.
    pub at: UnixMs,
    /// On how many nodes.
    pub nodes: u32,
}

/// `GET /api/v1/fleet-map`: the whole fleet in one answer, nodes that look alike together. A name is all that the map
/// needs of a node, so that 5,000 of them are some 60 KiB of JSON and a few KiB compressed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FleetMapGroup {
    /// The first role of these nodes, by name; absent without roles.
    pub role: Option<RoleName>,
    /// Whether they are heard.
    pub state: NodeState,
    /// The worst state of their resources.
    pub config: ResourceState,
    /// Whether they only observe: nothing is written there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observes: bool,
    /// Their names, in order.
    pub nodes: Vec<NodeName>,
}
