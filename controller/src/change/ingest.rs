//! Reports of many nodes, gathered into few transactions.
//!
//! One task takes what agents send. It waits a moment for more (5 ms: a twentieth of what a person notices), commits
//! all of it together, and acknowledges after the commit: what was acknowledged is on the disk. A report that was
//! committed before is recognised by (node, outbox epoch, sequence) and acknowledged again.
//!
//! The queue holds 8,192 submissions, more than a fleet of 5,000 has under way at once, since an agent sends its next
//! ones after the acknowledgement. When it is full, submitters wait, and with them the agents' streams.

mod write;

pub(super) use write::seen;
pub(crate) use write::target_key;

use std::time::Duration;

use lampas_runtime::Tasks;
use lampas_shared::{error::Chain, id::NodeId};
use lampas_wire::Report;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::db::{Db, DbError};

const DEPTH: usize = 8192;
const WINDOW: Duration = Duration::from_millis(5);
/// The most reports in one transaction: what commits in well under a second on a slow disk.
const MAX_REPORTS: usize = 8192;

/// Takes reports. Clones feed the same task.
#[derive(Debug, Clone)]
pub struct Ingest {
    queue: mpsc::Sender<Submission>,
}

/// Why reports were not committed. They stay in the agent's outbox, and come again.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The controller is stopping.
    #[error("the controller is stopping")]
    Stopping,
    /// A later session of the node is there.
    #[error("a later connection of this node took over")]
    Fenced,
    /// The store failed; it was logged where it happened.
    #[error("the store could not take the reports: {0}")]
    Store(String),
}

#[derive(Debug)]
pub(super) struct Submission {
    pub(super) node: NodeId,
    /// The session that they came over; nothing for reports that no session fences.
    pub(super) session: Option<u64>,
    pub(super) epoch: u64,
    pub(super) reports: Vec<(u64, Report)>,
    reply: oneshot::Sender<Result<u64, IngestError>>,
}

impl Ingest {
    /// Starts the task; it ends with the tasks, after what it took.
    pub fn start(db: Db, tasks: &Tasks) -> Self {
        let (queue, submissions) = mpsc::channel(DEPTH);
        let stopping = tasks.stopping();
        tasks.spawn("ingest", run(db, submissions, stopping));
        Self { queue }
    }

    /// Commits reports of one node, in the order of their sequence, unless a later session than the one that they came
    /// over was recorded. Returns the last sequence that is committed.
    ///
    /// # Cancellation
    /// Dropping the future does not take the reports back; they may be committed all the same.
    pub async fn submit_in(
        &self,
        session: u64,
        node: NodeId,
        epoch: u64,
        reports: Vec<(u64, Report)>,
    ) -> Result<u64, IngestError> {
        self.queue(Some(session), node, epoch, reports).await
    }

    /// Commits reports that came over no session.
    #[cfg(test)]
    pub async fn submit(&self, node: NodeId, epoch: u64, reports: Vec<(u64, Report)>) -> Result<u64, IngestError> {
        self.queue(None, node, epoch, reports).await
    }

    async fn queue(
        &self,
        session: Option<u64>,
        node: NodeId,
        epoch: u64,
        reports: Vec<(u64, Report)>,
    ) -> Result<u64, IngestError> {
        let (reply, answer) = oneshot::channel();
        let submission = Submission { node, session, epoch, reports, reply };
        self.queue.send(submission).await.map_err(|_| IngestError::Stopping)?;
        answer.await.map_err(|_| IngestError::Stopping)?
    }
}

async fn run(db: Db, mut queue: mpsc::Receiver<Submission>, stopping: tokio_util::sync::CancellationToken) {
    loop {
        // Both arms are cancel-safe: recv loses nothing, cancelled holds nothing.
        let first = tokio::select! {
            first = queue.recv() => first,
            () = stopping.cancelled() => {
                // What is in the queue was promised nothing yet, but costs little to finish.
                queue.close();
                queue.recv().await
            }
        };
        let Some(first) = first else { return };
        let mut count = first.reports.len();
        let mut batch = vec![first];
        let until = tokio::time::Instant::now() + WINDOW;
        while count < MAX_REPORTS {
            match tokio::time::timeout_at(until, queue.recv()).await {
                Ok(Some(next)) => {
                    count += next.reports.len();
                    batch.push(next);
                }
                Ok(None) | Err(_) => break,
            }
        }
        commit(&db, batch).await;
    }
}

async fn commit(db: &Db, mut batch: Vec<Submission>) {
    match write::batch(db, &batch).await {
        Ok(written) => answer(batch, &written),
        Err(error) if batch.len() > 1 => {
            // One node's reports may be what the store can't take: the others must not wait for it.
            warn!(error = %Chain(&error), submissions = batch.len(), "a batch of reports failed; trying them one by one");
            for submission in batch.drain(..) {
                let one = vec![submission];
                match write::batch(db, &one).await {
                    Ok(written) => answer(one, &written),
                    Err(error) => refuse(one, &error),
                }
            }
        }
        Err(error) => refuse(batch, &error),
    }
}

fn answer(batch: Vec<Submission>, written: &write::Written) {
    for submission in batch {
        let seq = written.acked.get(&(submission.node, submission.epoch)).copied().unwrap_or(0);
        let is_fenced = submission.session.is_some_and(|s| written.fenced.contains(&(submission.node, s)));
        // Whoever went away meanwhile gets the acknowledgement when its agent sends again.
        drop(submission.reply.send(if is_fenced { Err(IngestError::Fenced) } else { Ok(seq) }));
    }
}

fn refuse(batch: Vec<Submission>, error: &DbError) {
    for submission in batch {
        error!(node.id = %submission.node, error = %Chain(error), "reports of a node were not stored");
        drop(submission.reply.send(Err(IngestError::Store("see the controller's log".to_owned()))));
    }
}
