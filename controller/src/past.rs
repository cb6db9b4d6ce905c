//! How the fleet stood at any moment.
//!
//! Objects have revisions, changes and drift have times; how nodes stood is kept here, as intervals. A task looks every
//! [`PERIOD`] at the rows of all nodes and ends the intervals of those that stand differently than they did: reports of
//! thousands of nodes are gathered into few events that name none of them, so that events alone can't tell. What came
//! and went between two looks is not kept.

pub(crate) mod api;
mod diff;
mod store;

use std::time::Duration;

use lampas_runtime::{Tasks, clock};
use lampas_shared::{error::Chain, time::UnixMs};
use tracing::warn;

pub(crate) use store::prune;

use crate::db::{Db, DbError};

/// Between two looks: four statements over all nodes, some tens of milliseconds with 5,000 of them.
const PERIOD: Duration = Duration::from_secs(10);

/// Starts the task.
pub fn start(db: Db, tasks: &Tasks) {
    let stopping = tasks.stopping();
    tasks.spawn("past", async move {
        // Cancel-safe: sleeping and waiting for the stop hold nothing; a look is not in the select.
        loop {
            if let Err(error) = look(&db, clock::now()).await {
                warn!(error = %Chain(&error), "how the nodes stand could not be kept; it will be tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
        }
    });
}

/// Keeps how the nodes stand. Returns how many stand differently than they did.
pub(crate) async fn look(db: &Db, now: UnixMs) -> Result<usize, DbError> {
    let differs = db
        .read(|mut tx| async move {
            let news = store::news(&mut tx).await?;
            Ok::<_, DbError>(tx.done(!news.is_empty()))
        })
        .await?;
    if !differs {
        return Ok(0);
    }
    // Once more where it is written, since another controller may have done so meanwhile.
    db.write(|mut tx| async move {
        let news = store::news(&mut tx).await?;
        store::keep(&mut tx, &news, now).await?;
        let count = news.len();
        Ok::<_, DbError>(tx.done(count))
    })
    .await
}

#[cfg(test)]
mod tests;
