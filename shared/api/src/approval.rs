//! Approvals, protections, freezes and scheduled changes.

use lampas_shared::{
    change::{ScheduleState, Verdict},
    fleet::Scope,
    id::{FreezeId, ProtectionId},
    rollout::Strategy,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ChangeSummary;

/// A row of `GET /api/v1/protections`: a scope in which a change needs an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Protection {
    /// Its id.
    pub id: ProtectionId,
    /// The scope.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub author: String,
    /// Since when.
    pub created_at: UnixMs,
    /// How many nodes are in the scope.
    pub nodes: u32,
}

/// `POST /api/v1/protections`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionCreate {
    /// The scope: `role:database`.
    pub scope: Scope,
    /// Why, 1 to 500 characters.
    pub reason: String,
}

/// A scope that makes a change need an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectedScope {
    /// The scope.
    pub scope: Scope,
    /// Why it is protected.
    pub reason: String,
}

/// A row of `GET /api/v1/freezes`: a window in which nothing is changed on the nodes of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Freeze {
    /// Its id.
    pub id: FreezeId,
    /// The scope.
    pub scope: Scope,
    /// From when.
    pub from: UnixMs,
    /// Until when; when it was ended early, until then.
    pub until: UnixMs,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// Who ended it early; empty otherwise.
    pub ended_by: String,
    /// How it stands.
    pub state: FreezeState,
    /// How many nodes are in the scope.
    pub nodes: u32,
}

/// How a freeze stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreezeState {
    /// It has not begun.
    Coming,
    /// It stands.
    Standing,
    /// It is over.
    Over,
}

/// `POST /api/v1/freezes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeCreate {
    /// The scope: `role:app`.
    pub scope: Scope,
    /// From when; from now on when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UnixMs>,
    /// Until when: in the future, at most a year after the beginning.
    pub until: UnixMs,
    /// Why, 1 to 500 characters.
    pub reason: String,
}

/// A freeze that stands in a change's way, or will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrozenScope {
    /// The scope.
    pub scope: Scope,
    /// From when.
    pub from: UnixMs,
    /// Until when.
    pub until: UnixMs,
    /// Why.
    pub reason: String,
}

/// `POST /api/v1/changes/{id or number}/approve`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The whole `digest` of the plan that was seen; refused with `plan.moved` when anything moved since.
    pub plan: String,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// A row of `GET /api/v1/approvals`: a plan that waits for an approval.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApprovalWanted {
    /// The change.
    pub change: ChangeSummary,
    /// The plan's short id.
    pub plan: String,
    /// What is protected there.
    pub protections: Vec<ProtectedScope>,
    /// Since when it waits.
    pub since: UnixMs,
    /// Whether the caller is an author of the change.
    pub is_mine: bool,
    /// Whether the caller may approve it.
    pub may_approve: bool,
    /// Who may.
    pub approvers: Vec<String>,
}

/// What stands between a change and its nodes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Control {
    /// What is protected among the nodes of the plan; empty when no approval is needed.
    pub protections: Vec<ProtectedScope>,
    /// Whether the plan was only made to look at it: it waits for nobody until somebody tries to apply it or plans it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_look: bool,
    /// What was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// Who may approve it, while it waits for that; at most 20.
    pub approvers: Vec<String>,
    /// When it is to be applied, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleView>,
    /// Freezes over its nodes that stand or are to come, while it is not applied.
    pub freezes: Vec<FrozenScope>,
    /// What an administrator applied it over.
    pub overrides: Vec<OverrideView>,
}

/// What was said of a plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// What.
    pub verdict: Verdict,
    /// Who said it; empty while it is wanted.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What was said before, in words; empty when nothing was.
    pub note: String,
    /// When.
    pub at: UnixMs,
}

/// When a change is to be applied.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// How it stands.
    pub state: ScheduleState,
    /// When, as it was asked for.
    pub at: UnixMs,
    /// When it is due: later than that while a freeze stands.
    pub due: UnixMs,
    /// By whose order.
    pub by: String,
    /// In which waves.
    pub rollout: Strategy,
    /// Why it stands so; empty while it only waits for its time.
    pub reason: String,
}

/// Something that an administrator went over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverrideView {
    /// `protection` or `freeze`.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}
