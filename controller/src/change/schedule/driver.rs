//! What applies scheduled changes: looks when the next one is due, and after commits.

use std::time::Duration;

use lampas_runtime::{Tasks, clock};
use lampas_shared::{error::Chain, time::UnixMs};
use tracing::{info, warn};

use super::{frozen, store};
use crate::{
    change::{ChangeError, Changes},
    db::StoreError as _,
};

/// The longest time between two looks: a clock may step, and another controller may have put something on the schedule.
const LOOK: Duration = Duration::from_secs(15);
/// The shortest: after a failure, and under a flood of commits.
const BREATH: Duration = Duration::from_millis(200);

/// Starts the task.
pub(crate) fn start(changes: Changes, tasks: &Tasks) {
    let stopping = tasks.stopping();
    let mut committed = changes.db().committed();
    tasks.spawn("scheduled changes", async move {
        loop {
            committed.borrow_and_update();
            let pause = match pass(&changes).await {
                Ok(next) => next.map_or(LOOK, |at| until(at).clamp(BREATH, LOOK)),
                Err(error) => {
                    warn!(error = %Chain(&error), "the schedule could not be looked at; it will be again");
                    LOOK
                }
            };
            // All arms are cancel-safe: nothing is taken that would be lost.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = committed.changed() => tokio::time::sleep(BREATH).await,
            }
        }
    });
}

fn until(at: UnixMs) -> Duration {
    Duration::from_millis(at.since(clock::now()).max(0).unsigned_abs())
}

/// Applies what is due. Returns when the next one is.
pub(crate) async fn pass(changes: &Changes) -> Result<Option<UnixMs>, ChangeError> {
    let now = clock::now();
    let (due, next) = changes
        .db()
        .read(|mut tx| async move {
            let (due, later): (Vec<_>, Vec<_>) = store::waiting(&mut tx).await?.into_iter().partition(|s| s.at <= now);
            let mut looked = Vec::with_capacity(due.len());
            for found in due {
                let frozen = frozen(&mut tx, &found, now).await?;
                looked.push((found.change, frozen));
            }
            Ok::<_, ChangeError>(tx.done((looked, later.first().map(|s| s.at))))
        })
        .await?;
    let is_held = !due.is_empty();
    for (id, frozen) in due {
        let outcome =
            if frozen.is_empty() { changes.fire(id).await } else { Err(ChangeError::Frozen { number: 0, frozen }) };
        match outcome {
            Ok(()) => info!(change.id = %id, "the scheduled change was applied"),
            Err(ChangeError::Frozen { frozen, .. }) => changes.hold_back(id, &frozen).await?,
            Err(error) if error.store_error().is_some() => {
                warn!(change.id = %id, error = %Chain(&error), "the scheduled change could not be applied; again soon");
            }
            Err(error) => {
                let why = Chain(&error).to_string();
                warn!(change.id = %id, error = why, "the scheduled change was dropped");
                changes.drop_due(id, &why).await?;
            }
        }
    }
    // What waits for the end of a freeze, or for the store, is looked at again soon.
    let soon = is_held.then(|| now.plus_ms(1000));
    Ok([next, soon].into_iter().flatten().min())
}
