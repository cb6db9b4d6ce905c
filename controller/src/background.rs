//! The controller's own recurring work: what time alone makes due.
//!
//! Each pass looks at the whole and is idempotent. Passes are minutes apart and every step is a transaction of its own,
//! so that none holds the store for long.

mod store;

use std::time::Duration;

use lampas_runtime::{Tasks, clock};
use lampas_shared::{error::Chain, id::ControllerId};
use tracing::{debug, warn};

pub use store::begin;

use crate::db::{Db, DbError};

/// Between two passes. Nothing here is urgent: a change that is done is settled where its last report is stored.
const PERIOD: Duration = Duration::from_secs(60);

/// How often a controller says to the others that it is alive.
const BEAT: Duration = Duration::from_secs(10);

/// A controller that said nothing for so long is gone; its sessions end.
const GONE_MS: i64 = 120_000;
const DAY_MS: i64 = 86_400_000;

/// A draft or a plan that nobody touched for so long is given up.
const ABANDON_DAYS: u32 = 7;

/// How long things are kept, in days.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Events.
    pub events_days: u32,
    /// Runs of jobs.
    pub runs_days: u32,
    /// Drift that is over.
    pub drift_days: u32,
}

/// Starts the task. Before it, what an earlier process of this controller left is put right.
///
/// # Errors
/// When the store can't be written.
pub async fn start(db: Db, controller: ControllerId, keep: Keep, tasks: &Tasks) -> Result<(), DbError> {
    begin(&db, controller).await?;
    let (beating, stopping) = (db.clone(), tasks.stopping());
    tasks.spawn("controller beat", async move {
        // Cancel-safe: sleeping and waiting for the stop hold nothing; a beat is not in the select.
        loop {
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = stopping.cancelled() => return,
            }
            if let Err(error) = store::beat(&beating, controller).await {
                warn!(error = %Chain(&error), "the other controllers could not be told that this one is alive");
            }
        }
    });
    crate::past::start(db.clone(), tasks);
    let stopping = tasks.stopping();
    tasks.spawn("background", async move {
        // Cancel-safe: sleeping and waiting for the stop hold nothing; a pass is not in the select.
        loop {
            pass(&db, keep).await;
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
        }
    });
    Ok(())
}

async fn pass(db: &Db, keep: Keep) {
    let now = clock::now();
    let before = |days: u32| now.plus_ms(-i64::from(days) * DAY_MS);
    let steps = [
        ("events", store::prune_events(db, before(keep.events_days)).await),
        ("the past of nodes", store::prune_past(db, before(keep.events_days)).await),
        ("runs", store::prune_runs(db, before(keep.runs_days)).await),
        ("drift", store::prune_drift(db, before(keep.drift_days)).await),
        ("contents", store::prune_contents(db, before(30)).await),
        ("mail", store::prune_mail(db, before(crate::mail::KEEP_DAYS)).await),
        ("outbox epochs", store::prune_epochs(db, before(90)).await),
        ("controllers", store::lapse(db, now.plus_ms(-GONE_MS)).await),
        ("changes", store::settle(db, now).await),
        ("forgotten changes", store::abandon(db, before(ABANDON_DAYS), now).await),
    ];
    for (what, outcome) in steps {
        match outcome {
            Ok(0) => {}
            Ok(count) => debug!(what, count, "background work done"),
            Err(error) => warn!(what, error = %Chain(&error), "background work failed; it will be tried again"),
        }
    }
}

#[cfg(test)]
mod tests;
