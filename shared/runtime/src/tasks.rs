//! Tasks with a name and an owner, and the way to stop them all.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, warn};

/// Owns the tasks of a process. Clones own the same tasks.
///
/// A soft stop cancels the token, upon which tasks finish what they are at; [`Tasks::finish`] waits for them up to a
/// limit. What has not ended by then is dropped with the runtime.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Makes an owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task. The name stands in its span.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn spawn<F>(&self, name: &'static str, task: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::debug_span!("task", name);
        tokio::spawn(
            self.tracker.track_future(
                async move {
                    task.await;
                    debug!("task ended");
                }
                .instrument(span),
            ),
        )
    }

    /// Returns a token that is cancelled when the stop begins.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.child_token()
    }

    /// Returns whether the stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Begins the soft stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Begins the soft stop and waits for all tasks, at most `limit`. Returns whether all of them ended.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.stop();
        self.tracker.close();
        let ended = tokio::time::timeout(limit, self.tracker.wait()).await.is_ok();
        if !ended {
            warn!(left = self.tracker.len(), "tasks did not end in time");
        }
        ended
    }
}
