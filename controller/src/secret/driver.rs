//! What brings a purge to the nodes: tells each that was given a value, until it says that it has let go of it.
//!
//! What is to be told stands in the store, so that it outlives controllers and nodes that are away: a node is told by the
//! controller that has its link, when its time has come. A node that needs a value answers so, and is asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lampas_runtime::{Tasks, clock};
use lampas_shared::{
    error::{Chain, Fault},
    event::EventKind,
    id::{NodeId, SecretValueId},
    secret::StillHeld,
};
use tracing::{debug, info, warn};

use super::store::holder;
use crate::{
    audit::{Entry, Principal},
    db::{Db, DbError},
    event::NewEvent,
    link::NodeGate,
};

/// Between two looks at what is due: a node that comes back is told within this.
const BEAT: Duration = Duration::from_secs(2);
/// How many nodes are asked at once; each looks through a directory of its own. One that hangs keeps its place until the link
/// gives it up, and nobody else's.
const AT_ONCE: usize = 64;
/// How many rows are read at once.
const PAGE: u32 = 2_000;
/// How many values are told to all nodes in one transaction; each is a row for each node.
const ADOPTED_AT_ONCE: u32 = 10;
/// As many values go into one request; a request may name 256.
const VALUES_AT_ONCE: usize = 200;
/// The first pause after a node said no; it doubles.
const FIRST_MS: i64 = 2_000;
/// The longest pause; also for an agent that doesn't know purges: it is upgraded with a new connection.
const LONGEST_MS: i64 = 600_000;

/// What nodes are told, with how often each was asked.
type Due = BTreeMap<NodeId, BTreeMap<SecretValueId, u64>>;

/// Starts the task.
pub(crate) fn start(db: Db, gate: Arc<dyn NodeGate>, tasks: &Tasks) {
    let stopping = tasks.stopping();
    tasks.spawn("purges", async move {
        let mut is_adopted = false;
        let mut exchanges = Exchanges::new(&db, &*gate);
        loop {
            if !is_adopted {
                match adopt(&db).await {
                    Ok(()) => is_adopted = true,
                    Err(error) => {
                        warn!(error = %Chain(&error), "purges of before can't be told to nodes yet; again soon");
                    }
                }
            }
            if let Err(error) = exchanges.look().await {
                warn!(error = %Chain(&error), "it can't be told which purges nodes wait for; again soon");
            }
            let beat = tokio::time::sleep(BEAT);
            tokio::pin!(beat);
            loop {
                // All arms are cancel-safe: sleeping and waiting for the stop hold nothing, and an exchange stays where it is.
                // One that is dropped at the stop is made anew: telling twice changes nothing.
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = &mut beat => break,
                    Some(ended) = exchanges.next() => if let Err(error) = ended {
                        warn!(error = %Chain(&error), "what a node said of a purge could not be put down; it is asked again");
                    },
                }
            }
        }
    });
}

/// Has nodes told of what was purged when nobody was told yet.
pub(crate) async fn adopt(db: &Db) -> Result<(), DbError> {
    loop {
        let adopted = db.write(|mut tx| async move {
            let untold = holder::untold(&mut tx, ADOPTED_AT_ONCE).await?;
            if !untold.is_empty() {
                holder::begin(&mut tx, &untold, clock::now()).await?;
            }
            Ok::<_, DbError>(tx.done(untold.len()))
        });
        if adopted.await? < ADOPTED_AT_ONCE as usize {
            return Ok(());
        }
    }
}

/// The nodes that are told what is due: those that are being asked, and those whose turn comes.
pub(crate) struct Exchanges<'a> {
    db: &'a Db,
    gate: &'a dyn NodeGate,
    waiting: Due,
    asked: BTreeSet<NodeId>,
    running: FuturesUnordered<BoxFuture<'a, (NodeId, Result<(), DbError>)>>,
}

impl<'a> Exchanges<'a> {
    /// Nobody is asked yet.
    pub(crate) fn new(db: &'a Db, gate: &'a dyn NodeGate) -> Self {
        let (waiting, asked, running) = (Due::new(), BTreeSet::new(), FuturesUnordered::new());
        Self { db, gate, waiting, asked, running }
    }

    /// Looks which connected nodes are to be told something, once those of the look before had their turn. Who is being asked
    /// is not asked twice.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn look(&mut self) -> Result<(), DbError> {
        if self.waiting.is_empty() {
            self.waiting = due(self.db, self.gate).await?;
            self.waiting.retain(|node, _| !self.asked.contains(node));
        }
        self.fill();
        Ok(())
    }

    /// Waits until one of the nodes has been told; nothing when none is being told.
    ///
    /// # Cancellation
    /// Dropping the future is safe: what is under way stays so.
    pub(crate) async fn next(&mut self) -> Option<Result<(), DbError>> {
        let (node, ended) = self.running.next().await?;
        self.asked.remove(&node);
        self.fill();
        Some(ended)
    }

    fn fill(&mut self) {
        while self.asked.len() < AT_ONCE
            && let Some((node, values)) = self.waiting.pop_first()
        {
            self.asked.insert(node);
            let (db, gate) = (self.db, self.gate);
            self.running.push(Box::pin(async move { (node, tell(db, gate, node, values).await) }));
        }
    }
}

async fn tell(db: &Db, gate: &dyn NodeGate, node: NodeId, values: BTreeMap<SecretValueId, u64>) -> Result<(), DbError> {
    let values: Vec<(SecretValueId, u64)> = values.into_iter().collect();
    for values in values.chunks(VALUES_AT_ONCE) {
        let asked: BTreeSet<SecretValueId> = values.iter().map(|(value, _)| *value).collect();
        let answer = gate.purge(node, asked).await;
        note(db, node, values, answer).await?;
    }
    Ok(())
}

async fn due(db: &Db, gate: &dyn NodeGate) -> Result<Due, DbError> {
    let now = clock::now();
    let mut due = Due::new();
    let mut after = (String::new(), String::new());
    loop {
        let (value, node) = (after.0.as_str(), after.1.as_str());
        let rows = db.read(|mut tx| async move {
            let rows = holder::due(&mut tx, now, (value, node), PAGE).await?;
            Ok::<_, DbError>(tx.done(rows))
        });
        let rows = rows.await?;
        let is_last = rows.len() < PAGE as usize;
        if let Some((value, node, _)) = rows.last() {
            after = (value.to_string(), node.to_string());
        }
        for (value, node, attempts) in rows.into_iter().filter(|(_, node, _)| gate.connected(*node)) {
            due.entry(node).or_default().insert(value, attempts);
        }
        if is_last {
            return Ok(due);
        }
    }
}

/// Puts down what a node answered.
async fn note(
    db: &Db,
    node: NodeId,
    asked: &[(SecretValueId, u64)],
    answer: Result<Vec<StillHeld>, Fault>,
) -> Result<(), DbError> {
    let (held, rest, is_old) = match answer {
        // It was away, or went: it is told when it is back.
        Err(fault) if fault.code == "link.offline" => return Ok(()),
        // It is about to go, or busy: it said nothing.
        Err(fault) if fault.code.starts_with("link.") => (BTreeMap::new(), Some(String::new()), false),
        Err(fault) => {
            debug!(node.id = %node, error = %fault, "a node did not let go of purged values");
            (BTreeMap::new(), Some(fault.message), fault.code == "node.too_old")
        }
        Ok(held) => (held.into_iter().map(|h| (h.value, h.why)).collect(), None, false),
    };
    let (held, rest) = (&held, &rest);
    let (noted, ended) = db
        .write(|mut tx| async move {
            let now = clock::now();
            let mut gone = Vec::new();
            for (value, attempts) in asked {
                let Some(why) = rest.as_ref().or_else(|| held.get(value)) else {
                    gone.push(*value);
                    continue;
                };
                let pause = FIRST_MS.saturating_mul(1 << (*attempts).min(10)).min(LONGEST_MS);
                let pause = match () {
                    () if is_old => LONGEST_MS,
                    () if why.is_empty() => FIRST_MS,
                    () => pause,
                };
                holder::held(&mut tx, node, *value, why, now.plus_ms(pause)).await?;
            }
            let noted = holder::gone(&mut tx, node, &gone, now).await?;
            let ended = if noted > 0 { holder::ended(&mut tx, &gone).await? } else { Vec::new() };
            for (object, value, nodes) in &ended {
                let key = super::store::key_of(&mut tx, *object).await?;
                let details = BTreeMap::from([("value", value.to_string()), ("nodes", nodes.to_string())]);
                tx.audit(Entry::done(&Principal::system(), "secret.purged", key).with_details(&details));
                tx.event(NewEvent::new(EventKind::ObjectChanged).object(*object).with("purged_nodes", *nodes));
            }
            Ok::<_, DbError>(tx.done((noted, ended)))
        })
        .await?;
    if noted > 0 {
        info!(node.id = %node, values = noted, "a node let go of purged values");
    }
    for (object, value, nodes) in ended {
        info!(object.id = %object, %value, nodes, "a purged value is gone from all nodes that had it");
    }
    Ok(())
}
