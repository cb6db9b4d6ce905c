//! What somebody on the node says that keeps its state from being in force: `lampas-agent pause` and `undo`, until `resume`.
//!
//! Both are facts of the node, so that a controller shows them also where nothing waits for it; of an undo it is told besides
//! which resources stand otherwise (`pass::undone`).

use std::{sync::PoisonError, time::Duration};

use lampas_runtime::clock;
use lampas_shared::{
    desired::Generation,
    error::Fault,
    fleet::{NodeFacts, NodePause},
};

use super::{Bench, Handle, handle::PASS_LIMIT};
use crate::journal::{Pause, Progress, Stance};

impl Handle {
    /// Goes back to the last good state and stays there until [`Handle::resume`] or a newer generation.
    ///
    /// # Errors
    /// When there is nothing to go back from, or the journal can't be written.
    pub async fn undo(&self) -> Result<Generation, Fault> {
        let generation = self
            .blocking(|bench| {
                let mut book = bench.book();
                let current = book.current.clone();
                let current = current
                    .ok_or_else(|| Fault::lasting("undo.nothing", "no controller has sent a state to this node yet"))?;
                if !book.follows() {
                    return Err(Fault::lasting("undo.done", "the current generation is undone already"));
                }
                let generation = current.state.generation;
                book.stand(Stance::Undone { generation, since: clock::now() })?;
                drop(book);
                bench.tell_halts();
                Ok(generation)
            })
            .await?;
        self.pass().await?;
        Ok(generation)
    }

    /// Writes nothing until the pause ends, by itself or by [`Handle::resume`]. What was being written is written by the time
    /// that this returns, by apt too: from then on an edit by hand is safe.
    ///
    /// # Errors
    /// When the journal can't be written, or what is being written takes its time; the pause holds then all the same.
    pub async fn pause(&self, length: Option<Duration>, reason: String) -> Result<Pause, Fault> {
        let pause = self
            .blocking(move |bench| {
                let now = clock::now();
                let until = length.map(|l| now.plus_ms(i64::try_from(l.as_millis()).unwrap_or(i64::MAX)));
                let pause = Pause { until, reason, since: now };
                bench.book().set_pause(Some(pause.clone()))?;
                bench.set_last_observed(None);
                bench.tell_halts();
                Ok(pause)
            })
            .await?;
        self.bench.wake.notify_one();
        let ended = async {
            self.blocking(|bench| {
                drop(bench.passing.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(())
            })
            .await?;
            // The pass that was under way may have begun it.
            while self.bench.apt.is_busy() {
                tokio::time::sleep(APT_LOOK).await;
            }
            Ok::<(), Fault>(())
        };
        let late = |_| {
            let what = if self.bench.apt.is_busy() { "apt, which was begun before, is still at work" } else { BUSY };
            Fault::passing("agent.busy", format!("the pause is set, but {what}; ask once more before an edit"))
        };
        tokio::time::timeout(PASS_LIMIT, ended).await.map_err(late)??;
        Ok(pause)
    }

    /// Ends a pause and an undo.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub async fn resume(&self) -> Result<(), Fault> {
        self.blocking(|bench| {
            let mut book = bench.book();
            book.set_pause(None)?;
            if let Stance::Undone { generation, .. } = book.stance {
                book.set_progress(generation, Progress::Received)?;
                book.stand(Stance::Follow)?;
            }
            drop(book);
            bench.set_last_observed(None);
            bench.tell_halts();
            Ok(())
        })
        .await?;
        self.bench.wake.notify_one();
        Ok(())
    }

    /// Adds to the node's facts what was said on the node itself. Blocking.
    pub fn with_halts(&self, facts: NodeFacts) -> NodeFacts {
        let book = self.bench.book();
        let pause = book.pause_at(clock::now()).cloned();
        let undone_since = match book.stance {
            Stance::Undone { since, .. } => Some(since),
            Stance::Follow | Stance::Quarantined { .. } => None,
        };
        let pause = pause.map(|Pause { until, reason, since }| NodePause { since, until, reason });
        NodeFacts { pause, undone_since, ..facts }
    }
}

/// What is said of a pass that doesn't end.
const BUSY: &str = "what was begun before is still being written";
/// How often it is looked whether apt has ended.
const APT_LOOK: Duration = Duration::from_millis(100);

impl Bench {
    /// Has the link tell what [`Handle::with_halts`] says.
    pub(super) fn tell_halts(&self) {
        self.facts_seen.send_modify(|seen| *seen += 1);
    }
}
