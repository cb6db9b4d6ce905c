//! Operations: commands and scripts that run once on a selection.

use lampas_shared::{
    id::{OperationId, RunId},
    operation::{OperationSpec, OperationState, OutputStream, Parameter, RunState},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::NodeRef;

/// How many runs of an operation are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunCounts {
    /// Of all nodes.
    pub total: u32,
    /// Waiting for their turn, or for the node.
    pub queued: u32,
    /// Under way.
    pub running: u32,
    /// Exited with 0.
    pub succeeded: u32,
    /// Exited with something else, or could not be started.
    pub failed: u32,
    /// Ended because their time was over.
    pub timed_out: u32,
    /// Ended because somebody asked.
    pub cancelled: u32,
    /// Passed over.
    pub skipped: u32,
    /// Given up because the node did not come back.
    pub expired: u32,
    /// Refused by the node.
    pub refused: u32,
    /// Without a result.
    pub lost: u32,
    /// Of those that were passed over, the nodes that only observe: they count neither for nor against it.
    #[serde(default)]
    pub observing: u32,
}

impl RunCounts {
    /// Counts runs in a state.
    pub fn add(&mut self, state: RunState, count: u32) {
        self.total += count;
        *match state {
            RunState::Queued => &mut self.queued,
            RunState::Running => &mut self.running,
            RunState::Succeeded => &mut self.succeeded,
            RunState::Failed => &mut self.failed,
            RunState::TimedOut => &mut self.timed_out,
            RunState::Cancelled => &mut self.cancelled,
            RunState::Skipped => &mut self.skipped,
            RunState::Expired => &mut self.expired,
            RunState::Refused => &mut self.refused,
            RunState::Lost => &mut self.lost,
        } += count;
    }
}

/// A row of `GET /api/v1/operations` (newest first).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationSummary {
    /// Its id.
    pub id: OperationId,
    /// Its number, for people.
    pub number: u64,
    /// What runs, in one line.
    pub title: String,
    /// The selection, as it was given.
    pub on: Vec<String>,
    /// As whom.
    pub user: String,
    /// Where it is as a whole.
    pub state: OperationState,
    /// Whether it only tries.
    pub rehearse: bool,
    /// Who started it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The number of the operation whose failed nodes it runs on again.
    pub again_of: Option<u64>,
    /// When it was started.
    pub created_at: UnixMs,
    /// When the last node was done.
    pub ended_at: Option<UnixMs>,
    /// Where its runs are.
    pub runs: RunCounts,
    /// The signature that it needs; nothing when it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<OperationSigning>,
}

/// The signature of an operation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationSigning {
    /// Until when an operator may sign; nothing starts before.
    pub until: UnixMs,
    /// When it was signed; nothing while it waits.
    pub signed_at: Option<UnixMs>,
    /// The statement's serial.
    pub serial: Option<u64>,
}

/// `GET /api/v1/operations/{operation}`, by id or number; also the answer to starting one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// What lists show.
    pub summary: OperationSummary,
    /// What was asked for.
    pub spec: OperationSpec,
    /// Who asked to end it.
    pub cancelled_by: Option<String>,
    /// When that was.
    pub cancelled_at: Option<UnixMs>,
    /// Whether the caller may read the output: who may read contents, and who started it.
    pub may_read_output: bool,
}

/// A row of `GET /api/v1/operations/{operation}/nodes`, in the order in which they are taken.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationNode {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeRef,
    /// Whether it is connected now.
    pub is_connected: bool,
    /// Where the run is.
    pub state: RunState,
    /// What there is to say beyond that: why it failed, or was passed over.
    pub detail: String,
    /// The exit status, when the program exited.
    pub exit_status: Option<i32>,
    /// When it began, by the node's clock.
    pub started_at: Option<UnixMs>,
    /// When it ended, by the node's clock.
    pub ended_at: Option<UnixMs>,
    /// How many bytes it wrote, as far as is known.
    pub output_bytes: u64,
    /// Whether all of its output that will come is here.
    pub is_output_complete: bool,
}

/// `POST /api/v1/operations/preview`: what an operation would run on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationPreview {
    /// What runs, in one line.
    pub title: String,
    /// How many nodes the selection has.
    pub total: u32,
    /// How many of them are connected.
    pub connected: u32,
    /// The nodes, in the order in which they would be taken; the first 500.
    pub nodes: Vec<PreviewNode>,
    /// The nodes among them that are known to want an operator's signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub want_signature: Vec<NodeRef>,
    /// For a script: the parameters that it declares.
    pub parameters: Vec<Parameter>,
    /// What is wrong with the parameters that were given; empty when nothing is.
    pub problems: Vec<String>,
}

/// A node of a preview.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PreviewNode {
    /// The node.
    pub node: NodeRef,
    /// Whether it is connected.
    pub is_connected: bool,
    /// Why it would refuse; empty when nothing is known to stand in the way.
    pub problem: String,
}

/// `GET /api/v1/operations/{operation}/output`: pieces in the order in which they came.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationOutput {
    /// The pieces.
    pub pieces: Vec<OutputPiece>,
    /// What to ask for next, as `after`.
    pub next: u64,
    /// Whether nothing more will come.
    pub is_complete: bool,
    /// A number that grows with each change of the operation, its runs or its output: `seen` of the next call.
    pub seen: u64,
}

/// A piece of output.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutputPiece {
    /// Its place among all pieces of the operation.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// How many bytes the run had written before; a step between two pieces of a run is a gap.
    pub start: u64,
    /// From where.
    pub stream: OutputStream,
    /// When it was written, in milliseconds since the run began.
    pub after_ms: u64,
    /// The bytes, as base64.
    pub data: String,
}

/// An element of `GET /api/v1/operations/{operation}/groups`: runs that ended alike and wrote the same.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutputGroup {
    /// The nodes, by name.
    pub nodes: Vec<NodeRef>,
    /// How they ended.
    pub state: RunState,
    /// What there is to say beyond that.
    pub detail: String,
    /// How many bytes each wrote.
    pub output_bytes: u64,
    /// One of the runs, whose output stands for all.
    pub run: RunId,
    /// The output, at most 256 KiB of it, with what is not UTF-8 replaced, and a line where something was left out; absent
    /// when the caller may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
