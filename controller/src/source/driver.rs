//! What looks at sources: when their time has come, and when somebody asks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{error::Chain, id::ControllerId};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{SourceError, Sources, store};

/// Between two looks at what is due: another controller may have been asked.
const BEAT: Duration = Duration::from_secs(5);
/// How many are looked at at once; each may run a git that reads a repository.
const AT_ONCE: usize = 4;

/// Starts the task.
pub(crate) fn start(sources: Sources, controller: ControllerId, tasks: &Tasks) {
    let (stopping, owner) = (tasks.stopping(), tasks.clone());
    tasks.spawn("sources", async move {
        clear(&sources, controller).await;
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let busy = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        loop {
            match due(&sources).await {
                Ok(all) => {
                    for id in all {
                        let is_new = busy.lock().is_ok_and(|mut b| b.insert(id));
                        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
                            if is_new {
                                let _ = busy.lock().map(|mut b| b.remove(&id));
                            }
                            break;
                        };
                        if !is_new {
                            continue;
                        }
                        let (sources, busy, stopping) = (sources.clone(), Arc::clone(&busy), owner.stopping());
                        let claim = format!("{controller}/{}", u64::from_le_bytes(random::bytes()));
                        owner.spawn("source look", async move {
                            let _turn = turn;
                            // A look that is dropped ends its programs; what it had not stored is looked at anew.
                            tokio::select! {
                                outcome = sources.look(id, &claim) => if let Err(error) = outcome {
                                    told(&error, id);
                                },
                                () = stopping.cancelled() => {}
                            }
                            let _ = busy.lock().map(|mut b| b.remove(&id));
                        });
                    }
                }
                Err(error) => warn!(error = %Chain(&error), "it can't be told which sources are due; again soon"),
            }
            // All arms are cancel-safe: what is not taken is due at the next pass.
            tokio::select! {
                () = sources.woken() => {}
                () = tokio::time::sleep(BEAT) => {}
                () = stopping.cancelled() => return,
            }
        }
    });
}

fn told(error: &SourceError, id: lampas_shared::id::SourceId) {
    match error {
        SourceError::Unfit(why) => debug!(source.id = %id, why, "a look at a source was given up"),
        error => warn!(source.id = %id, error = %Chain(error), "a source could not be looked at; it will be again"),
    }
}

async fn due(sources: &Sources) -> Result<Vec<lampas_shared::id::SourceId>, SourceError> {
    let now = clock::now();
    sources
        .db()
        .read(|mut tx| async move {
            let all = store::due(&mut tx, now).await?;
            Ok::<_, SourceError>(tx.done(all))
        })
        .await
}

/// Puts right what an earlier process of this controller left: its claims, and its rooms.
async fn clear(sources: &Sources, controller: ControllerId) {
    let of = controller.to_string();
    let of = of.as_str();
    let forgotten = sources
        .db()
        .write(|mut tx| async move {
            store::forget_claims(&mut tx, of).await?;
            Ok::<_, SourceError>(tx.done(()))
        })
        .await;
    if let Err(error) = forgotten {
        warn!(error = %Chain(&error), "claims on sources were left; they end by themselves");
    }
    let root = sources.root().clone();
    let swept = tokio::task::spawn_blocking(move || {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("room-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
    let _ = swept.await;
}
