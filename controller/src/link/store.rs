//! Nodes and their presence in the tables: `node`, `node_session`, `node_facts`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use lampas_runtime::clock;
use lampas_shared::{
    error::{Chain, Fault},
    event::EventKind,
    id::{ControllerId, NodeId},
    time::UnixMs,
};
use tracing::error;

use super::source::{Member, Membership, Presence};
use crate::{
    db::{
        Db, DbError, Tx,
        row::{Reader, insert_many},
    },
    enrol::is_certificate_revoked,
    event::NewEvent,
    fleet,
};

/// A node that is refused again and again makes one event in so long.
const REFUSED_EVERY_MS: i64 = 60_000;

/// Nodes whose refusals are remembered.
const REFUSED_MAX: usize = 10_000;

/// The store's side of who is connected. Clones share it.
#[derive(Debug, Clone)]
pub struct Presences {
    db: Db,
    controller: ControllerId,
    refused: Arc<Mutex<BTreeMap<NodeId, UnixMs>>>,
}

impl Presences {
    /// Records presence at this controller.
    pub fn new(db: Db, controller: ControllerId) -> Self {
        Self { db, controller, refused: Arc::default() }
    }

    /// Ends the sessions that this controller held when it died. Call it before the link starts.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn close_left_over(&self) -> Result<(), DbError> {
        let (now, controller) = (clock::now(), self.controller.to_string());
        let controller = controller.as_str();
        self.db
            .write(|mut tx| async move {
                sqlx::query(
                    "UPDATE node SET state = 'offline' WHERE state <> 'offline' AND id IN \
                     (SELECT s.node FROM node_session s WHERE s.controller = ? AND s.closed_ms IS NULL)",
                )
                .bind(controller.to_owned())
                .execute(tx.conn())
                .await?;
                sqlx::query(
                    "UPDATE node_session SET closed_ms = ?, reason = 'the controller restarted' \
                     WHERE controller = ? AND closed_ms IS NULL",
                )
                .bind(now.0)
                .bind(controller.to_owned())
                .execute(tx.conn())
                .await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
    }

    /// Returns whether a refusal of a node makes an event now.
    fn is_news(&self, node: NodeId, at: UnixMs) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSED_MAX {
            refused.clear();
        }
        let is_news = refused.get(&node).is_none_or(|last| !(0..REFUSED_EVERY_MS).contains(&at.since(*last)));
        if is_news {
            refused.insert(node, at);
        }
        is_news
    }
}

impl Membership for Presences {
    fn member(&self, node: NodeId, serial: &str) -> BoxFuture<'_, Result<Option<Member>, Fault>> {
        let serial = serial.to_owned();
        async move {
            let found = self.db.read(|mut tx| async move {
                let row = sqlx::query("SELECT n.name, n.revoked_ms, n.machine FROM node n WHERE n.id = ?")
                    .bind(node.to_string())
                    .fetch_optional(tx.conn())
                    .await?;
                let Some(row) = row else { return Ok(tx.done(None)) };
                let r = Reader::new("node", &row);
                let is_revoked =
                    r.maybe_int("revoked_ms")?.is_some() || is_certificate_revoked(&mut tx, &serial).await?;
                let member = Member { name: r.parse("name")?, is_revoked, machine: r.text("machine")? };
                Ok::<_, DbError>(tx.done(Some(member)))
            });
            found.await.map_err(|error| to_fault(&error))
        }
        .boxed()
    }

    fn record(&self, presence: Vec<Presence>) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            let presence: Vec<_> = presence
                .into_iter()
                .filter(|p| match p {
                    // Strangers without a certificate stay out of the store: they are logged.
                    Presence::Refused { node, at, .. } => node.is_some_and(|node| self.is_news(node, *at)),
                    _ => true,
                })
                .collect();
            if presence.is_empty() {
                return Ok(());
            }
            let (presence, controller) = (&presence, self.controller);
            let written = self.db.write(|mut tx| async move {
                write(&mut tx, controller, presence).await?;
                Ok::<_, DbError>(tx.done(()))
            });
            written.await.map_err(|error| to_fault(&error))
        }
        .boxed()
    }
}

async fn write(tx: &mut Tx, controller: ControllerId, presence: &[Presence]) -> Result<(), DbError> {
    let ids: Vec<NodeId> = presence.iter().filter_map(node_of).collect();
    let names = fleet::names(tx, Some(&ids)).await?;
    let mut sessions: BTreeMap<NodeId, (UnixMs, &str)> = BTreeMap::new();
    for one in presence {
        // A node that was removed meanwhile has no rows to change.
        let Some((node, name)) = node_of(one).and_then(|node| Some((node, names.get(&node)?))) else { continue };
        match one {
            Presence::Connected { address, facts, at, .. } => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                sqlx::query("UPDATE node SET state = 'online', seen_ms = ?, observed_address = ? WHERE id = ?")
                    .bind(at.0)
                    .bind(host.trim_matches(['[', ']']).to_owned())
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                fleet::set_facts(tx, node, facts, *at).await?;
                sessions.insert(node, (*at, address));
                tx.event(NewEvent::new(EventKind::NodeConnected).node(node).with("name", name));
            }
            Presence::Disconnected { reason, at, .. } => {
                sqlx::query("UPDATE node SET state = 'offline', seen_ms = ? WHERE id = ?")
                    .bind(at.0)
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                flush(tx, controller, &mut sessions).await?;
                sqlx::query("UPDATE node_session SET closed_ms = ?, reason = ? WHERE node = ? AND controller = ?")
                    .bind(at.0)
                    .bind(reason.chars().take(255).collect::<String>())
                    .bind(node.to_string())
                    .bind(controller.to_string())
                    .execute(tx.conn())
                    .await?;
                let event = NewEvent::new(EventKind::NodeDisconnected).node(node);
                tx.event(event.with("name", name).with("reason", reason));
            }
            Presence::Heard { is_stale, at, .. } => {
                sqlx::query("UPDATE node SET state = ?, seen_ms = ? WHERE id = ? AND state <> 'offline'")
                    .bind(if *is_stale { "stale" } else { "online" })
                    .bind(at.0)
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                let state = if *is_stale { "stale" } else { "online" };
                tx.event(NewEvent::new(EventKind::NodeChanged).node(node).with("name", name).with("state", state));
            }
            Presence::Refused { address, reason, .. } => {
                let event = NewEvent::new(EventKind::NodeRefused).node(node).with("name", name);
                tx.event(event.with("from", address).with("reason", reason));
            }
        }
    }
    flush(tx, controller, &mut sessions).await
}

/// Writes the sessions that began. The epoch is the time of the beginning: a later session fences an earlier one.
async fn flush(
    tx: &mut Tx,
    controller: ControllerId,
    sessions: &mut BTreeMap<NodeId, (UnixMs, &str)>,
) -> Result<(), DbError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let columns = ["node", "controller", "epoch", "address", "opened_ms", "closed_ms", "reason"];
    let after = tx.dialect().on_conflict(&["node"], &columns[1..]);
    let rows: Vec<_> = std::mem::take(sessions).into_iter().collect();
    insert_many(tx, "node_session", &columns, &after, &rows, |b, (node, (at, address))| {
        b.push_bind(node.to_string());
        b.push_bind(controller.to_string());
        b.push_bind(at.0);
        b.push_bind(address.chars().take(64).collect::<String>());
        b.push_bind(at.0);
        b.push_bind(None::<i64>);
        b.push_bind(String::new());
    })
    .await
}

fn node_of(presence: &Presence) -> Option<NodeId> {
    match presence {
        Presence::Connected { node, .. } | Presence::Disconnected { node, .. } | Presence::Heard { node, .. } => {
            Some(*node)
        }
        Presence::Refused { node, .. } => *node,
    }
}

fn to_fault(error: &DbError) -> Fault {
    error!(error = %Chain(error), "the link could not ask the store");
    Fault::passing("store.unavailable", "the controller's store does not answer")
}
