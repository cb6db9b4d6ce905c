//! Generations: which state each node shall have, by number and hash.
//!
//! A node whose compiled hash did not change keeps its generation. A restored backup opens a new epoch, in which every
//! node gets a generation, so that no agent takes an older counter for a newer state.

use std::collections::{BTreeMap, HashMap};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation},
    error::Fault,
    id::{ChangeId, NodeId},
};
use sqlx::{Any, QueryBuilder};

use super::effect;
use crate::{
    compile::Compiled,
    db::{
        DbError, Tx,
        row::{Reader, draw, id_chunks, insert_many, push_ids, to_json},
    },
};

/// The columns of `node_config` that say what a node was given.
pub(crate) const ASSIGNED: &[&str] = &["epoch", "counter", "hash", "change_id", "assigned_ms"];

/// The columns of `node_config` that say what a node told of it.
pub(crate) const REPORTED: &[&str] = &[
    "reported_epoch",
    "reported_counter",
    "reported_hash",
    "phase",
    "state",
    "took_ms",
    "converged",
    "total",
    "resources",
    "reported_ms",
];

/// In the name of which change nodes move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// The change.
    pub(crate) change: ChangeId,
    /// The fleet as it stood before it, or before its next wave.
    pub(crate) before: &'a Compiled,
}

/// What each node was given last.
pub(crate) type Assigned = HashMap<NodeId, (Generation, ContentHash)>;

/// Reads what each node was given last.
pub(crate) async fn load(tx: &mut Tx) -> Result<Assigned, DbError> {
    let rows = sqlx::query("SELECT g.node, g.epoch, g.counter, g.hash FROM node_config g").fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("node_config", row);
            let generation = Generation { epoch: r.count("epoch")?, counter: r.count("counter")? };
            Ok((r.parse("node")?, (generation, r.parse("hash")?)))
        })
        .collect()
}

/// Reads the epoch; 1 before the first restore.
pub(crate) async fn epoch(tx: &mut Tx) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'epoch'").fetch_optional(tx.conn()).await?;
    row.map_or(Ok(1), |r| Reader::new("meta", &r).parse("value"))
}

/// Returns the generation that a node would get for a hash; nothing when it keeps the one that it has.
pub(crate) fn next(assigned: &Assigned, epoch: u64, node: NodeId, hash: ContentHash) -> Option<Generation> {
    match assigned.get(&node) {
        Some((generation, has)) if *has == hash && generation.epoch == epoch => None,
        Some((generation, _)) if generation.epoch == epoch => {
            Some(Generation { epoch, counter: generation.counter + 1 })
        }
        _ => Some(Generation { epoch, counter: 1 }),
    }
}

/// Gives each node whose state changed its next generation. Returns what all nodes have then, and who moved.
pub(crate) async fn assign(
    tx: &mut Tx,
    compiled: &Compiled,
    cause: Option<Cause<'_>>,
) -> Result<(Assigned, Vec<NodeId>), DbError> {
    let mut assigned = load(tx).await?;
    let epoch = epoch(tx).await?;
    let given = give(tx, compiled, (&assigned, epoch), cause).await?;
    draw(tx, "state", 1).await?;
    let moved = given.keys().copied().collect();
    assigned.extend(given);
    Ok((assigned, moved))
}

/// What is said of a node that was overtaken while it was silent or away.
fn not_reached() -> Fault {
    Fault::passing("node.not_reached", "not reached: the node did not answer before a later change took its place")
}

/// The same for who knows what was assigned, with the epoch, and draws the `state` counter itself. Returns what is new.
pub(crate) async fn give(
    tx: &mut Tx,
    compiled: &Compiled,
    (assigned, epoch): (&Assigned, u64),
    cause: Option<Cause<'_>>,
) -> Result<BTreeMap<NodeId, (Generation, ContentHash)>, DbError> {
    let mut moved: BTreeMap<NodeId, (Generation, ContentHash, i64)> = BTreeMap::new();
    for class in compiled.classes() {
        for node in &class.nodes {
            if let Some(generation) = next(assigned, epoch, *node, class.hash) {
                moved.insert(*node, (generation, class.hash, class.resources.len() as i64));
            }
        }
    }
    let now = clock::now();
    let rows: Vec<_> = moved.iter().collect();
    let columns = [&["node"], ASSIGNED, REPORTED].concat();
    let update = [ASSIGNED, &["phase", "state", "converged", "total"]].concat();
    let after = tx.dialect().on_conflict(&["node"], &update);
    insert_many(tx, "node_config", &columns, &after, &rows, |b, (node, (generation, hash, total))| {
        b.push_bind(node.to_string())
            .push_bind(generation.epoch as i64)
            .push_bind(generation.counter as i64)
            .push_bind(hash.to_string())
            .push_bind(cause.map(|c| c.change.to_string()))
            .push_bind(now.0)
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind("")
            .push_bind("")
            .push_bind("waiting")
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind(*total)
            .push_bind("{}")
            .push_bind(None::<i64>);
    })
    .await?;
    let ids: Vec<NodeId> = moved.keys().copied().collect();
    for chunk in id_chunks(&ids) {
        // What is said goes by the state before: MySQL assigns from left to right.
        let mut query = QueryBuilder::<Any>::new(
            "UPDATE change_node SET message = CASE WHEN state = 'waiting' AND EXISTS (SELECT 1 FROM node n \
             WHERE n.id = change_node.node AND n.state <> 'online') THEN ",
        );
        query.push_bind(to_json(&not_reached())).push(" ELSE message END, state = 'superseded', updated_ms = ");
        query.push_bind(now.0).push(" WHERE state IN ('waiting', 'applying') AND node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    if let Some(cause) = cause {
        let change = cause.change;
        // A node that observes is told, and is nobody's to wait for: it writes nothing before it is taken over.
        let observing = crate::takeover::observing(tx).await?;
        let told = super::rollout::store::told(tx, change).await?;
        let waits = |node: &NodeId| told.get(node).is_some_and(|state| state == "held");
        let rows: Vec<_> = rows.into_iter().filter(|(node, _)| !observing.contains(node) && !waits(node)).collect();
        // One that has the change, and moves for another reason while the next wave begins, is on its way once more.
        let again: Vec<NodeId> = rows.iter().map(|(node, _)| **node).filter(|node| told.contains_key(node)).collect();
        let nodes: Vec<NodeId> = rows.iter().map(|(node, _)| **node).collect();
        let effects = effect::store::note(tx, cause, compiled, &nodes, &again).await?;
        super::rollout::store::untell(tx, change, &again).await?;
        let columns = ["change_id", "node", "epoch", "counter", "hash", "effect", "state", "message", "updated_ms"];
        insert_many(tx, "change_node", &columns, "", &rows, |b, (node, (generation, hash, _))| {
            b.push_bind(change.to_string())
                .push_bind(node.to_string())
                .push_bind(generation.epoch as i64)
                .push_bind(generation.counter as i64)
                .push_bind(hash.to_string())
                .push_bind(effects[*node].to_string())
                .push_bind("waiting")
                .push_bind("")
                .push_bind(now.0);
        })
        .await?;
    }
    let blobs: Vec<_> = compiled.blobs.iter().collect();
    let after = tx.dialect().on_conflict(&["hash"], &["used_ms"]);
    // A blob is up to 1 MiB: one a statement keeps within the server's packet limit.
    for blob in &blobs {
        let known = sqlx::query("UPDATE content SET used_ms = ? WHERE hash = ?")
            .bind(now.0)
            .bind(blob.0.to_string())
            .execute(tx.conn())
            .await?;
        if known.rows_affected() == 0 {
            insert_many(tx, "content", &["hash", "size", "bytes", "used_ms"], &after, &[blob], |b, (hash, bytes)| {
                b.push_bind(hash.to_string())
                    .push_bind(bytes.len() as i64)
                    .push_bind(bytes.as_ref().clone())
                    .push_bind(now.0);
            })
            .await?;
        }
    }
    super::progress::settle(tx, None, now).await?;
    Ok(moved.into_iter().map(|(node, (generation, hash, _))| (node, (generation, hash))).collect())
}
