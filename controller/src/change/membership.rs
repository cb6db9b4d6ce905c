//! The store's side of the link: who belongs to the fleet, what they shall be, what they say.

use futures_util::future::BoxFuture;
use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::{Chain, Fault},
    event::EventKind,
    id::{ControllerId, NodeId},
};
use lampas_wire::Report;
use tracing::error;

use super::{Desired, Ingest};
use crate::{
    db::{
        Db, DbError, Tx,
        row::{Reader, insert_many},
    },
    event::NewEvent,
    fleet,
    link::{Member, Membership, Presence, StateSource},
};

/// Up to this many connections of a batch get an event each; more are told together.
const SINGLE_EVENTS: usize = 20;

/// What the link asks of the store.
#[derive(Debug, Clone)]
pub struct Members {
    desired: Desired,
    ingest: Ingest,
    controller: ControllerId,
}

impl Members {
    /// Answers from the compiled fleet and the store, and gives reports to the ingest.
    pub fn new(desired: Desired, ingest: Ingest, controller: ControllerId) -> Self {
        Self { desired, ingest, controller }
    }

    fn db(&self) -> &Db {
        self.desired.db()
    }
}

fn fault(error: &DbError) -> Fault {
    error!(error = %Chain(error), "the store failed under the link");
    Fault::passing("store.failed", "the controller's store could not answer; it will be tried again")
}

impl StateSource for Members {
    fn desired_for(&self, node: NodeId) -> BoxFuture<'_, Result<Option<NodeDesired>, Fault>> {
        Box::pin(async move { self.desired.desired_for(node).await.map_err(|e| fault(&e)) })
    }

    fn blob(&self, node: NodeId, hash: ContentHash) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        Box::pin(async move { self.desired.blob(node, hash).await.map_err(|e| fault(&e)) })
    }

    fn submit(&self, node: NodeId, epoch: u64, reports: Vec<(u64, Report)>) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(async move {
            let done = self.ingest.submit(node, epoch, reports).await;
            done.map_err(|e| Fault::passing("store.failed", e.to_string()))
        })
    }

    fn acked(&self, node: NodeId, epoch: u64) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(async move {
            let read = self.db().read(|mut tx| async move {
                let row = sqlx::query("SELECT s.seq FROM outbox_seen s WHERE s.node = ? AND s.epoch = ?")
                    .bind(node.to_string())
                    .bind(epoch as i64)
                    .fetch_optional(tx.conn())
                    .await?;
                let seq = row.map_or(Ok(0), |r| Reader::new("outbox_seen", &r).int("seq").map(|s| s as u64))?;
                Ok::<_, DbError>(tx.done(seq))
            });
            read.await.map_err(|e| fault(&e))
        })
    }
}

impl Membership for Members {
    fn member(&self, node: NodeId, serial: &str) -> BoxFuture<'_, Result<Option<Member>, Fault>> {
        let serial = serial.to_owned();
        Box::pin(async move {
            let serial = &serial;
            let read = self.db().read(|mut tx| async move {
                let member = member(&mut tx, node, serial).await?;
                Ok::<_, DbError>(tx.done(member))
            });
            read.await.map_err(|e| fault(&e))
        })
    }

    fn record(&self, presence: Vec<Presence>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let presence = &presence;
            let write = self.db().write(|mut tx| async move {
                record(&mut tx, self.controller, presence).await?;
                Ok::<_, DbError>(tx.done(()))
            });
            write.await.map_err(|e| fault(&e))
        })
    }
}

async fn member(tx: &mut Tx, node: NodeId, serial: &str) -> Result<Option<Member>, DbError> {
    let row = sqlx::query(
        "SELECT n.name, n.machine, n.revoked_ms, c.revoked_ms AS serial_revoked_ms FROM node n \
         LEFT JOIN certificate c ON c.node = n.id AND c.serial = ? WHERE n.id = ?",
    )
    .bind(serial)
    .bind(node.to_string())
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        let r = Reader::new("node", &row);
        let is_revoked = r.maybe_int("revoked_ms")?.is_some() || r.maybe_int("serial_revoked_ms")?.is_some();
        // A certificate without a row was renewed after the backup that this store was restored from: the handshake has
        // verified that the fleet's signer issued it, and the node is still a member.
        Ok(Member { name: r.parse("name")?, is_revoked, machine: r.text("machine")? })
    })
    .transpose()
}

async fn record(tx: &mut Tx, controller: ControllerId, presence: &[Presence]) -> Result<(), DbError> {
    let single = presence.len() <= SINGLE_EVENTS;
    let (mut came, mut went) = (0_usize, 0_usize);
    for one in presence {
        match one {
            Presence::Connected { node, address, facts, at } => {
                let address = fleet::bounded(address, 64);
                let done = sqlx::query(
                    "UPDATE node SET state = 'online', seen_ms = ?, observed_address = ? WHERE id = ? AND revoked_ms IS NULL",
                )
                .bind(at.0)
                .bind(address.clone())
                .bind(node.to_string())
                .execute(tx.conn())
                .await?;
                if done.rows_affected() == 0 {
                    continue;
                }
                let after = tx.dialect().on_conflict(&["node"], &["controller", "address", "opened_ms", "reason"]);
                let columns = ["node", "controller", "epoch", "address", "opened_ms", "reason"];
                insert_many(tx, "node_session", &columns, &after, &[()], |b, ()| {
                    b.push_bind(node.to_string())
                        .push_bind(controller.to_string())
                        .push_bind(0_i64)
                        .push_bind(address.clone())
                        .push_bind(at.0)
                        .push_bind("");
                })
                .await?;
                sqlx::query("UPDATE node_session SET epoch = epoch + 1, closed_ms = NULL WHERE node = ?")
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                fleet::set_facts(tx, *node, facts, *at).await?;
                came += 1;
                if single {
                    tx.event(NewEvent::new(EventKind::NodeConnected).node(*node).with("address", &address));
                }
            }
            Presence::Disconnected { node, reason, at } => {
                sqlx::query("UPDATE node SET state = 'offline', seen_ms = ? WHERE id = ?")
                    .bind(at.0)
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                sqlx::query("UPDATE node_session SET closed_ms = ?, reason = ? WHERE node = ? AND controller = ?")
                    .bind(at.0)
                    .bind(fleet::bounded(reason, 255))
                    .bind(node.to_string())
                    .bind(controller.to_string())
                    .execute(tx.conn())
                    .await?;
                went += 1;
                if single {
                    tx.event(NewEvent::new(EventKind::NodeDisconnected).node(*node).with("reason", reason));
                }
            }
            Presence::Heard { node, is_stale, at } => {
                sqlx::query("UPDATE node SET state = ?, seen_ms = ? WHERE id = ? AND state <> 'offline'")
                    .bind(if *is_stale { "stale" } else { "online" })
                    .bind(at.0)
                    .bind(node.to_string())
                    .execute(tx.conn())
                    .await?;
                if single {
                    let word = if *is_stale { "silent" } else { "heard again" };
                    tx.event(NewEvent::new(EventKind::NodeChanged).node(*node).with("heard", word));
                }
            }
            Presence::Refused { node, address, reason, .. } => {
                let event = NewEvent::new(EventKind::NodeRefused).with("address", address).with("reason", reason);
                tx.event(match node {
                    Some(node) => event.node(*node),
                    None => event,
                });
            }
        }
    }
    if !single && came > 0 {
        tx.event(NewEvent::new(EventKind::NodeConnected).with("nodes", came));
    }
    if !single && went > 0 {
        tx.event(NewEvent::new(EventKind::NodeDisconnected).with("nodes", went));
    }
    Ok(())
}
