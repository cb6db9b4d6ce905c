//! Rollouts: how a change reaches its nodes wave by wave, and what can be told to it.

use lampas_shared::{
    fleet::Scope,
    operation::RunState,
    rollout::{LimitStand, Order, Phase, State, Strategy},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Progress;
use crate::NodeRef;

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
    /// Its limit, while somebody is beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RolloutLimit>,
}

/// The limit of a rollout.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolloutLimit {
    /// Whom it reaches by itself.
    pub scope: Scope,
    /// How many of the waves are within it: the first ones.
    pub waves: u32,
    /// How many nodes are beyond it.
    pub nodes: u32,
    /// How the rollout stands to it: `reached` while the rest waits for somebody.
    pub stand: LimitStand,
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
    /// Who took it as it was, before it was found well for long enough; absent for a wave that was, and for one that is
    /// still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_by: Option<String>,
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
    /// Nodes on which it was ended before they answered: the wave's deadline was over, or the rollout was.
    #[serde(default)]
    pub cancelled: u32,
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
    /// Whether it is beyond the limit, and waits for somebody.
    #[serde(default)]
    pub is_beyond: bool,
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
