//! The columns of a node that say whether it observes, and whether it was ejected.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{event::EventKind, id::NodeId, time::UnixMs};

use crate::{
    audit::{Entry, Principal},
    db::{DbError, Tx, row::Reader},
    event::NewEvent,
};

/// Notes that a node enrolled, to observe or not. One that was ejected is back.
pub(crate) async fn enrolled(tx: &mut Tx, node: NodeId, observe: bool) -> Result<(), DbError> {
    sqlx::query("UPDATE node SET observe = ?, ejected_ms = NULL WHERE id = ?")
        .bind(i64::from(observe))
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns the nodes that observe.
pub(crate) async fn observing(tx: &mut Tx) -> Result<BTreeSet<NodeId>, DbError> {
    let rows = sqlx::query("SELECT n.id FROM node n WHERE n.observe <> 0").fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("node", row).parse("id")).collect()
}

/// Returns which of these nodes were ejected.
pub(crate) async fn gone(tx: &mut Tx, nodes: &[NodeId]) -> Result<BTreeSet<NodeId>, DbError> {
    let rows = sqlx::query("SELECT n.id FROM node n WHERE n.ejected_ms IS NOT NULL").fetch_all(tx.conn()).await?;
    let gone: BTreeSet<NodeId> =
        rows.iter().map(|row| Reader::new("node", row).parse("id")).collect::<Result<_, _>>()?;
    Ok(nodes.iter().copied().filter(|node| gone.contains(node)).collect())
}

/// Notes what nodes say of themselves: the mode is held there, and root can end it there.
pub(crate) async fn said(tx: &mut Tx, modes: &BTreeMap<NodeId, bool>) -> Result<(), DbError> {
    for (node, observes) in modes {
        let done = sqlx::query("UPDATE node SET observe = ?, revision = revision + 1 WHERE id = ? AND observe <> ?")
            .bind(i64::from(*observes))
            .bind(node.to_string())
            .bind(i64::from(*observes))
            .execute(tx.conn())
            .await?;
        if done.rows_affected() > 0 {
            let mode = if *observes { "observing" } else { "managed" };
            tx.event(NewEvent::new(EventKind::NodeChanged).node(*node).with("mode", mode));
        }
    }
    Ok(())
}

/// Notes that a node was taken over.
pub(super) async fn managed(
    tx: &mut Tx,
    node: NodeId,
    name: &str,
    reason: &str,
    details: &serde_json::Value,
    by: &Principal,
) -> Result<(), DbError> {
    sqlx::query("UPDATE node SET observe = 0, revision = revision + 1 WHERE id = ?")
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    // A change that ended for this node because it only observed is under way there from here on.
    tx.event(NewEvent::new(EventKind::NodeChanged).node(node).with("name", name).with("mode", "managed"));
    tx.audit(Entry::done(by, "node.manage", name).because(reason).with_details(details));
    Ok(())
}

/// Notes that a node was ejected. Its certificate is revoked by the caller.
pub(crate) async fn ejected(tx: &mut Tx, node: NodeId, name: &str, at: UnixMs, by: &Principal) -> Result<(), DbError> {
    sqlx::query("UPDATE node SET ejected_ms = ?, observe = 0, revision = revision + 1 WHERE id = ?")
        .bind(at.0)
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    crate::drift::leave(tx, node, at).await?;
    tx.event(NewEvent::new(EventKind::NodeChanged).node(node).with("name", name).with("mode", "ejected"));
    tx.audit(Entry::done(by, "node.eject", name));
    Ok(())
}
