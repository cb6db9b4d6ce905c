//! What a node says: plans, outcomes, drift, runs of jobs.

use serde::{Deserialize, Serialize};

use crate::{
    desired::{ContentHash, Generation},
    error::Fault,
    host::FileMode,
    id::{ObjectId, RunId},
    object::{Kind, ObjectName, Target},
    time::UnixMs,
};

/// The state of a resource, a group or a node's configuration; the greatest is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResourceState {
    /// In force: read back and, where it can be, its effect proven.
    Converged,
    /// The agent holds still because somebody asked it to.
    Paused,
    /// Not yet begun.
    Waiting,
    /// Under way.
    Applying,
    /// Changed by hand.
    Drifted,
    /// Something on the node must be mended first (no cron, an unknown user); the message says what.
    Blocked,
    /// Tried and not done; what stood before stands again.
    Failed,
}

impl ResourceState {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Applying => "applying",
            Self::Drifted => "drifted",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for ResourceState {
    type Err = crate::TextError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all =
            [Self::Converged, Self::Paused, Self::Waiting, Self::Applying, Self::Drifted, Self::Blocked, Self::Failed];
        let found = all.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| crate::TextError::new("state", text, "is not a state of a resource"))
    }
}

/// What one node would do for a desired state: the answer to a plan request, and the first step of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodePlan {
    /// The hash of the desired state that was planned.
    pub desired: ContentHash,
    /// A hash over what the agent looked at; it differs when somebody changed something since.
    pub observed: ContentHash,
    /// What would be done, removals first; nothing to do is an empty list.
    pub actions: Vec<Action>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Action {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// What would be done.
    pub verb: Verb,
    /// The file concerned, as the node sees it.
    pub path: String,
    /// A unified diff of the file, at most 64 KiB; empty when there is nothing to show.
    pub diff: String,
    /// What the operator should know: a foreign line that wins, a file that is kept aside.
    pub notes: Vec<String>,
    /// Why it could not be done; validation fails before anything is written.
    pub fault: Option<Fault>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// It isn't there yet.
    Create,
    /// It is there and differs.
    Update,
    /// It is no longer wanted: what stood before LAMPAS comes back, or nothing.
    Remove,
}

/// The code of the fault of a resource that is not in force since somebody on the node undid its generation.
pub const UNDONE: &str = "node.undone";

/// What became of a generation on a node. Sent as *received* once it is journalled, and again when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GenerationReport {
    /// Which generation.
    pub generation: Generation,
    /// The hash of the desired state that it was.
    pub hash: ContentHash,
    /// How far it is.
    pub phase: Phase,
    /// The worst state of its resources.
    pub state: ResourceState,
    /// How long the agent took from the arrival to this report, in milliseconds.
    pub took_ms: u64,
    /// The resources' states: all of them when applied, none when received.
    pub resources: Vec<ResourceReport>,
    /// The agent's clock.
    pub at: UnixMs,
}

/// How far a generation is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// In the journal.
    Received,
    /// Done as far as it could be; the resources say the rest. Not yet confirmed by a fresh handshake.
    Applied,
    /// Applied, and the agent reached a controller from a new socket afterwards.
    Confirmed,
    /// Undone, because the node could not reach a controller afterwards and could once it was undone.
    Quarantined,
}

/// The state of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResourceReport {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// Its state.
    pub state: ResourceState,
    /// Why it is not converged.
    pub fault: Option<Fault>,
    /// What the operator should know although it is in force.
    pub notes: Vec<String>,
}

/// A change by hand on one resource, or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DriftReport {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The generation that was in force.
    pub generation: Generation,
    /// What became of it.
    pub outcome: DriftOutcome,
    /// The file, as the node sees it.
    pub path: String,
    /// A unified diff from the desired to the observed bytes, at most 64 KiB.
    pub diff: String,
    /// What was found; absent when there is no file.
    pub observed: Option<ObservedFile>,
    /// When the agent saw it, by its clock.
    pub at: UnixMs,
}

/// What became of a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftOutcome {
    /// It stands; somebody must decide.
    Standing,
    /// The agent put the desired state back, by policy or on request.
    Repaired,
    /// It is gone without the agent's doing, or became the desired state.
    Resolved,
}

/// A file as the agent found it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ObservedFile {
    /// The bytes, when they are at most [`ObservedFile::MAX_BYTES`]; for hosts only the managed block, for a crontab
    /// only LAMPAS's block; for a link what it points to.
    pub content: Option<Vec<u8>>,
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// The owner by name, or by number when it has none.
    pub owner: String,
    /// The group by name, or by number when it has none.
    pub group: String,
    /// The permission bits.
    pub mode: FileMode,
    /// When it was last written, by the node's clock.
    pub modified_at: UnixMs,
    /// Whether somebody other than root could have written it: then adopting root-executed content is refused.
    pub is_writable_by_others: bool,
}

impl ObservedFile {
    /// The longest content that a drift report carries.
    pub const MAX_BYTES: usize = 256 << 10;
}

impl std::fmt::Debug for ObservedFile {
    /// Leaves the bytes out: contents never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObservedFile({} {}:{} {:?})", self.hash.short(), self.owner, self.group, self.mode)
    }
}

/// One run of a cron job, as `lampas-agent job run` recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobRun {
    /// The run; made on the node.
    pub run: RunId,
    /// The job.
    pub object: ObjectId,
    /// The account that it ran as.
    pub user: String,
    /// The slot that it was for, by the schedule; absent for `@reboot` and runs by hand.
    pub slot: Option<UnixMs>,
    /// When it began, by the node's clock.
    pub started_at: UnixMs,
    /// When it ended; absent when the machine stopped under it.
    pub ended_at: Option<UnixMs>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The last bytes of its output, at most 64 KiB, invalid UTF-8 replaced.
    pub output: String,
    /// How many bytes it wrote in all.
    pub output_bytes: u64,
    /// How many slots it stands for, more than one only where nobody took them: the rest of a long row is one record.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(times: &u32) -> bool {
    *times == 1
}

/// Reports that a node dropped because no controller took them and its outbox was full. A later one with the same `from`
/// counts what an earlier one counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostReports {
    /// How many.
    pub count: u64,
    /// The time of the oldest, by the node's clock.
    pub from: UnixMs,
    /// The time of the latest, by the node's clock.
    pub until: UnixMs,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "how", content = "value")]
pub enum RunOutcome {
    /// It exited with this status.
    Exited(i32),
    /// It died of this signal.
    Signalled(i32),
    /// It was ended because it ran longer than its limit.
    TimedOut,
    /// It could not be started.
    NotStarted,
    /// The wrapper decided that this slot is not to run: a repeated hour of a clock change, or another zone's time.
    Skipped,
    /// The machine or the wrapper stopped under it.
    Lost,
    /// Cron did not start it at this slot, although the machine was up.
    Missed,
    /// The machine was off at this slot.
    NodeDown,
}
