//! Nodes that don't take the state that this store gives them: recorded until they take one.
//!
//! It happens when an old store comes back without `restore`: its generations are older than what the nodes hold. Nothing
//! would show it, as the node is connected and in force, with what another store gave it.

use std::collections::BTreeMap;

use lampas_shared::{
    error::Fault,
    event::EventKind,
    id::{ChangeId, NodeId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::progress::{self, Step};
use crate::{
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids},
    },
    event::NewEvent,
    fleet,
};

/// Up to this many nodes of a batch get an event each; more are told together.
const SINGLE_EVENTS: usize = 20;

/// Records why nodes don't take their state. What was assigned to them counts as failed there.
pub(super) async fn record(tx: &mut Tx, declined: &BTreeMap<NodeId, (&Fault, UnixMs)>) -> Result<(), DbError> {
    if declined.is_empty() {
        return Ok(());
    }
    let ids: Vec<NodeId> = declined.keys().copied().collect();
    let known = fleet::names(tx, Some(&ids)).await?;
    let before = codes(tx, &ids).await?;
    let rows: Vec<_> = declined.iter().filter(|(node, _)| known.contains_key(node)).collect();
    // A node says it again with each connection: since when stays.
    let after = tx.dialect().on_conflict(&["node"], &["code", "message"]);
    insert_many(tx, "node_refusal", &["node", "code", "message", "at_ms"], &after, &rows, |b, (node, (fault, at))| {
        b.push_bind(node.to_string())
            .push_bind(fleet::bounded(&fault.code, 64))
            .push_bind(fault.message.clone())
            .push_bind(at.0);
    })
    .await?;
    let mut steps = Vec::new();
    for (node, (fault, _)) in &rows {
        let row = sqlx::query("SELECT g.change_id FROM node_config g WHERE g.node = ?")
            .bind(node.to_string())
            .fetch_optional(tx.conn())
            .await?;
        let change = row.map(|r| Reader::new("node_config", &r).maybe_parse::<ChangeId>("change_id")).transpose()?;
        if let Some(change) = change.flatten() {
            let fault = Some((*fault).clone());
            steps.push(Step { change, node: **node, state: "failed", is_undone: false, took_ms: None, fault });
        }
    }
    for chunk in id_chunks(&ids) {
        let mut query = QueryBuilder::<Any>::new(
            "UPDATE node_config SET state = 'failed' WHERE phase = '' AND state <> 'failed' AND node IN ",
        );
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let now = lampas_runtime::clock::now();
    progress::advance(tx, &steps, now).await?;
    progress::settle(tx, Some(&steps.iter().map(|s| s.change).collect()), now).await?;
    let fresh: Vec<_> = rows.iter().filter(|(node, (fault, _))| before.get(node) != Some(&fault.code)).collect();
    if fresh.len() > SINGLE_EVENTS {
        tx.event(NewEvent::new(EventKind::NodeDeclined).with("nodes", fresh.len()));
    } else {
        for (node, (fault, _)) in fresh {
            let event = NewEvent::new(EventKind::NodeDeclined).node(**node);
            tx.event(event.with("code", &fault.code).with("reason", fleet::bounded(&fault.message, 500)));
        }
    }
    Ok(())
}

/// Forgets what nodes said that take their state now.
pub(super) async fn clear(tx: &mut Tx, nodes: &[NodeId]) -> Result<(), DbError> {
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM node_refusal WHERE node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(())
}

async fn codes(tx: &mut Tx, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, String>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new("SELECT u.node, u.code FROM node_refusal u WHERE u.node IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_refusal", row);
            found.insert(r.parse("node")?, r.text("code")?);
        }
    }
    Ok(found)
}
