//! Runs of cron jobs, as the nodes recorded them.

use lampas_shared::{
    id::{ObjectId, RunId},
    report::RunOutcome,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::NodeRef;

/// A row of `GET /api/v1/runs?object&node&after&limit` (newest first); with `output` in `GET /api/v1/runs/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// The run.
    pub id: RunId,
    /// The node.
    pub node: NodeRef,
    /// The job.
    pub object: ObjectId,
    /// The job's name.
    pub name: String,
    /// The account.
    pub user: String,
    /// The slot that it was for.
    pub slot: Option<UnixMs>,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How many bytes it wrote.
    pub output_bytes: u64,
    /// For how many slots it stands: more than one where a long row of slots that nobody took is told in one record.
    pub times: u32,
    /// The last 64 KiB of its output; only when one run is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}
