//! Gathers what nodes answer and write into few transactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lampas_runtime::clock;
use lampas_shared::{
    error::{Chain, Fault},
    event::EventKind,
    id::{NodeId, OperationId, RunId},
    operation::{OperationRun, OutputChunk, RunState},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::store;
use crate::{
    db::{Db, DbError},
    event::NewEvent,
};

/// How long more is waited for: a tenth of what a person notices.
const WINDOW: Duration = Duration::from_millis(20);
/// The most notes of a transaction: with the largest pieces 8 MiB.
const MAX_NOTES: usize = 256;

/// Something a node said.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// The run has begun.
    Begun(RunId, OperationId),
    /// The run is over.
    Result(NodeId, OperationRun),
    /// The node refuses the run, or knows nothing of it.
    Settled(RunId, OperationId, RunState, Fault),
    /// A piece of output; with how much of it is kept.
    Output(RunId, OperationId, OutputChunk, u64),
    /// There is no more output.
    OutputEnd(RunId, OperationId),
    /// The node let go of the output, or never had any.
    Forgotten(RunId),
}

/// Stores notes until the tasks stop, and calls `moved` after each commit.
pub(super) async fn run(db: Db, mut notes: mpsc::Receiver<Note>, moved: impl Fn() + Send, stopping: CancellationToken) {
    loop {
        // Both arms are cancel-safe: recv loses nothing. What is lost at a stop is said again after the next start.
        let first = tokio::select! {
            first = notes.recv() => first,
            () = stopping.cancelled() => return,
        };
        let Some(first) = first else { return };
        let mut batch = vec![first];
        let until = tokio::time::Instant::now() + WINDOW;
        while batch.len() < MAX_NOTES {
            match tokio::time::timeout_at(until, notes.recv()).await {
                Ok(Some(note)) => batch.push(note),
                Ok(None) | Err(_) => break,
            }
        }
        let mut pause = Duration::from_millis(200);
        while let Err(error) = commit(&db, &batch).await {
            // Held back until the store takes them: the nodes wait meanwhile, and nothing is forgotten there.
            error!(error = %Chain(&error), notes = batch.len(), "what nodes said of operations was not stored; trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => return,
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
        moved();
    }
}

async fn commit(db: &Db, batch: &[Note]) -> Result<(), DbError> {
    db.write(|mut tx| async move {
        let now = clock::now();
        let mut moved: BTreeSet<OperationId> = BTreeSet::new();
        let mut output: BTreeMap<OperationId, Vec<(RunId, OutputChunk)>> = BTreeMap::new();
        let mut reached: BTreeMap<RunId, (u64, u64)> = BTreeMap::new();
        let mut results = Vec::new();
        for note in batch {
            match note {
                Note::Begun(run, operation) => {
                    if store::begun(&mut tx, *run).await? > 0 {
                        moved.insert(*operation);
                    }
                }
                Note::Result(node, result) => results.push((*node, result)),
                Note::Settled(run, operation, state, fault) => {
                    if store::settle(&mut tx, &[*run], *state, &fault.message, now).await? > 0 {
                        moved.insert(*operation);
                    }
                }
                Note::Output(run, operation, chunk, kept) => {
                    reached.insert(*run, (chunk.offset + chunk.bytes.len() as u64, *kept));
                    output.entry(*operation).or_default().push((*run, chunk.clone()));
                }
                Note::OutputEnd(..) | Note::Forgotten(_) => {}
            }
        }
        for (operation, pieces) in &output {
            store::put_output(&mut tx, *operation, pieces).await?;
        }
        for (run, (end, kept)) in reached {
            store::grown(&mut tx, run, end).await?;
            if end > kept {
                let (head, tail) = (kept / 2, end.saturating_sub(kept / 2));
                store::trim_output(&mut tx, run, head, tail).await?;
            }
        }
        // After the output that came before them.
        for note in batch {
            match note {
                Note::OutputEnd(run, operation) => {
                    store::output_is(&mut tx, *run, "stored").await?;
                    moved.insert(*operation);
                }
                Note::Forgotten(run) => store::output_is(&mut tx, *run, "done").await?,
                _ => {}
            }
        }
        store::results(&mut tx, &results, now).await?;
        for operation in moved {
            tx.event(NewEvent::new(EventKind::OperationMoved).with("operation", operation));
        }
        Ok::<_, DbError>(tx.done(()))
    })
    .await
}
