//! Hints that something changed, for browsers and waiting commands.
//!
//! A hint carries no data: who is woken asks the store. [`Live`] holds, for each area of events, the sequence of the
//! last one. It is a level, not a queue: who is slow skips hints and misses nothing.

use std::collections::BTreeMap;

use lampas_runtime::Tasks;
use lampas_shared::event::EventKind;
use tokio::sync::watch;

/// The last sequences, in all and by area (`fleet`, `host`, `change`, `job`, `access`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latest {
    /// The sequence of the last event that was committed.
    pub seq: u64,
    /// The sequence of the last event of each area.
    pub areas: BTreeMap<&'static str, u64>,
}

/// Tells everybody in this process that something changed. Clones share it.
#[derive(Debug, Clone)]
pub struct Live {
    latest: watch::Sender<Latest>,
}

impl Default for Live {
    fn default() -> Self {
        Self { latest: watch::Sender::new(Latest::default()) }
    }
}

/// Returns the area of a kind of event: the first word of its text.
pub fn area(kind: EventKind) -> &'static str {
    kind.as_str().split('.').next().expect("split returns at least one part")
}

impl Live {
    /// Makes one that has told nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells that events were committed, the last of them with this sequence. Called after the commit.
    pub fn committed(&self, seq: u64, kinds: impl IntoIterator<Item = EventKind>) {
        self.latest.send_modify(|latest| {
            latest.seq = latest.seq.max(seq);
            for kind in kinds {
                latest.areas.insert(area(kind), latest.seq);
            }
        });
    }

    /// Follows the store's own word of its commits until the tasks stop.
    pub fn follow(&self, tasks: &Tasks, mut committed: watch::Receiver<u64>) {
        let live = self.clone();
        let stopping = tasks.stopping();
        tasks.spawn("live", async move {
            loop {
                let seq = *committed.borrow_and_update();
                live.latest.send_if_modified(|latest| {
                    let grew = seq > latest.seq;
                    latest.seq = latest.seq.max(seq);
                    grew
                });
                // Both arms are cancel-safe: a change that is not taken is seen at the next call.
                tokio::select! {
                    changed = committed.changed() => if changed.is_err() { return },
                    () = stopping.cancelled() => return,
                }
            }
        });
    }

    /// Returns the last sequences.
    pub fn latest(&self) -> Latest {
        self.latest.borrow().clone()
    }

    /// Returns a receiver that wakes at each hint; hints that came meanwhile are one.
    pub fn subscribe(&self) -> watch::Receiver<Latest> {
        self.latest.subscribe()
    }

    /// Waits until there is an event after `seq`, and returns the last sequence. Bound the wait with a time limit.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn past(&self, seq: u64) -> u64 {
        let mut receiver = self.latest.subscribe();
        let found = receiver.wait_for(|latest| latest.seq > seq).await;
        found.expect("self holds the sender").seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_by_a_later_event_alone() {
        let live = Live::new();
        live.committed(3, [EventKind::NodeEnrolled]);
        assert_eq!(live.past(2).await, 3, "what is there already is not waited for");
        let (later, ()) = tokio::join!(live.past(3), async {
            live.committed(2, []);
            live.committed(9, [EventKind::DriftFound, EventKind::DriftEnded]);
        });
        assert_eq!(later, 9);
        assert_eq!(live.latest().areas, BTreeMap::from([("fleet", 3), ("host", 9)]));
    }
}
