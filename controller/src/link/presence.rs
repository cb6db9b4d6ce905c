//! Gathers who comes and goes, so that 5,000 reconnecting nodes become some transactions and not 5,000.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lampas_runtime::Tasks;
use lampas_shared::{id::NodeId, time::UnixMs};
use tokio::{sync::Notify, time::sleep};
use tracing::{error, warn};

use super::{
    operation::Gate,
    source::{Membership, Presence},
};

/// How long changes are gathered. Shorter than a person notices.
const GATHER: Duration = Duration::from_millis(50);

/// Changes in one transaction.
const BATCH: usize = 1000;

/// Changes of one node that wait while the store is away; older ones say nothing that the last don't.
const PER_NODE: usize = 4;

/// Refusals that wait, and nodes whose last one is remembered.
const REFUSED_MAX: usize = 256;

/// A node that is refused again and again is recorded once in so long.
const REFUSED_EVERY_MS: i64 = 60_000;

/// Where sessions put their changes.
#[derive(Debug, Default)]
pub(super) struct Board {
    waiting: Mutex<Waiting>,
    called: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    nodes: BTreeMap<NodeId, Vec<Presence>>,
    refused: Vec<Presence>,
    /// The last of what each node said of whom it trusts, and of a state that it doesn't take.
    trusts: BTreeMap<NodeId, Presence>,
    modes: BTreeMap<NodeId, Presence>,
    declined: BTreeMap<NodeId, Presence>,
    facts: BTreeMap<NodeId, Presence>,
    heads: BTreeMap<NodeId, Presence>,
    /// When each node's refusal was put here last.
    told: BTreeMap<NodeId, UnixMs>,
}

impl Board {
    /// Adds a change.
    pub(super) fn add(&self, presence: Presence) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &presence {
            Presence::Connected { node, .. } | Presence::Disconnected { node, .. } | Presence::Heard { node, .. } => {
                let of_node = waiting.nodes.entry(*node).or_default();
                if of_node.len() == PER_NODE {
                    of_node.remove(0);
                }
                of_node.push(presence);
            }
            Presence::Trusts { node, .. } => drop(waiting.trusts.insert(*node, presence)),
            Presence::Mode { node, .. } => drop(waiting.modes.insert(*node, presence)),
            Presence::Declined { node, .. } => drop(waiting.declined.insert(*node, presence)),
            Presence::Facts { node, .. } => drop(waiting.facts.insert(*node, presence)),
            Presence::Countersigned { node, .. } => drop(waiting.heads.insert(*node, presence)),
            // Strangers stay out of the store, where they could write without end; they are logged.
            Presence::Refused { node: Some(node), at, .. } => {
                let last = waiting.told.get(node).copied();
                if waiting.refused.len() < REFUSED_MAX
                    && last.is_none_or(|last| !(0..REFUSED_EVERY_MS).contains(&at.since(last)))
                {
                    if waiting.told.len() >= REFUSED_MAX {
                        waiting.told.clear();
                    }
                    waiting.told.insert(*node, *at);
                    waiting.refused.push(presence);
                }
            }
            Presence::Refused { node: None, .. } => return,
        }
        drop(waiting);
        self.called.notify_one();
    }

    fn take(&self) -> Vec<Presence> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch: Vec<_> = std::mem::take(&mut waiting.refused);
        batch.extend(std::mem::take(&mut waiting.trusts).into_values());
        batch.extend(std::mem::take(&mut waiting.modes).into_values());
        batch.extend(std::mem::take(&mut waiting.declined).into_values());
        batch.extend(std::mem::take(&mut waiting.facts).into_values());
        batch.extend(std::mem::take(&mut waiting.heads).into_values());
        while batch.len() < BATCH
            && let Some((_, of_node)) = waiting.nodes.pop_first()
        {
            batch.extend(of_node);
        }
        batch
    }
}

/// Records what is on the board until the tasks stop, and then what is left.
pub(super) fn record(tasks: &Tasks, board: Arc<Board>, members: Arc<dyn Membership>, gate: Gate) {
    let stopping = tasks.stopping();
    tasks.spawn("presence", async move {
        loop {
            // Both arms are cancel-safe: what is on the board stays there.
            let is_last = tokio::select! {
                () = board.called.notified() => false,
                () = stopping.cancelled() => true,
            };
            // At the end the sessions say goodbye first.
            sleep(if is_last { GATHER * 4 } else { GATHER }).await;
            loop {
                let batch = board.take();
                if batch.is_empty() {
                    break;
                }
                write(members.as_ref(), &gate, batch).await;
            }
            if is_last {
                return;
            }
        }
    });
}

async fn write(members: &dyn Membership, gate: &Gate, batch: Vec<Presence>) {
    for pause_ms in [100, 1000, 5000] {
        match members.record(batch.clone()).await {
            Ok(recorded) => return recorded.iter().for_each(|r| gate.registry.recorded(r)),
            Err(fault) => {
                warn!(error = %fault, changes = batch.len(), "who is connected could not be recorded; trying again");
                sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    }
    match members.record(batch.clone()).await {
        Ok(recorded) => recorded.iter().for_each(|r| gate.registry.recorded(r)),
        Err(fault) => {
            error!(error = %fault, "who is connected was not recorded");
            // Reports of a session that isn't recorded can't be committed: its agent comes again.
            for presence in &batch {
                if let Presence::Connected { node, connection, .. } = presence {
                    gate.registry.unrecorded(*node, *connection);
                }
            }
        }
    }
}
