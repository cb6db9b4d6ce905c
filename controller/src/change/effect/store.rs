//! The table of what changes make otherwise on nodes.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use lampas_shared::{
    desired::ContentHash,
    id::{ChangeId, NodeId},
};
use sqlx::{Any, QueryBuilder};

use super::Effect;
use crate::{
    change::assign::Cause,
    compile::Compiled,
    db::{
        DbError, Tx,
        row::{Reader, by_weight, id_chunks, insert_many, push_ids, to_json},
    },
    host,
};

/// Compares what nodes were with what they are to be, and stores what differs. Those that have the change and move once
/// more keep what it made otherwise there before. Returns the hash of what is stored, by node.
pub(in crate::change) async fn note(
    tx: &mut Tx,
    cause: Cause<'_>,
    compiled: &Compiled,
    nodes: &[NodeId],
    again: &[NodeId],
) -> Result<BTreeMap<NodeId, ContentHash>, DbError> {
    let earlier = of(tx, cause.change, again).await?;
    let mut effects: BTreeMap<ContentHash, Effect> = BTreeMap::new();
    let mut looked = BTreeMap::new();
    let mut found = BTreeMap::new();
    for node in nodes {
        let (was, is, earlier) = (cause.before.class(*node), compiled.class(*node), earlier.get(node));
        // Nodes that are alike become alike: thousands of them are a handful of pairs.
        let hash = match looked.entry((was.map(|c| c.hash), is.map(|c| c.hash), earlier)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                let mut effect = Effect::between(was, is);
                if let Some(earlier) = earlier {
                    effect.join(earlier);
                }
                let hash = effect.hash();
                effects.insert(hash, effect);
                *free.insert(hash)
            }
        };
        found.insert(*node, hash);
    }
    let rows: Vec<_> = effects.into_iter().map(|(hash, effect)| (hash, to_json(&effect))).collect();
    let after = tx.dialect().on_conflict(&["change_id", "hash"], &[]);
    for rows in by_weight(&rows, |(_, body)| body.len()) {
        insert_many(tx, "change_effect", &["change_id", "hash", "body"], &after, rows, |b, (hash, body)| {
            b.push_bind(cause.change.to_string()).push_bind(hash.to_string()).push_bind(body.clone());
        })
        .await?;
    }
    Ok(found)
}

/// Returns what a change makes otherwise on those of these nodes that are in its list. Where that is not stored, it is the
/// objects that the change gave a revision.
pub(in crate::change) async fn of(
    tx: &mut Tx,
    change: ChangeId,
    nodes: &[NodeId],
) -> Result<BTreeMap<NodeId, Arc<Effect>>, DbError> {
    let mut hashes: BTreeMap<NodeId, Option<ContentHash>> = BTreeMap::new();
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new("SELECT p.node, p.effect FROM change_node p WHERE p.change_id = ");
        query.push_bind(change.to_string()).push(" AND p.node IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("change_node", row);
            hashes.insert(r.parse("node")?, r.maybe_parse("effect")?);
        }
    }
    let mut effects: BTreeMap<Option<ContentHash>, Arc<Effect>> =
        hashes.values().map(|hash| (*hash, Arc::default())).collect();
    if let Some(unknown) = effects.get_mut(&None) {
        let made = host::by_change(tx, change).await?;
        *unknown = Arc::new(Effect::of(made.into_iter().map(|revision| revision.object)));
    }
    let stored: Vec<ContentHash> = effects.keys().filter_map(|hash| *hash).collect();
    for chunk in id_chunks(&stored) {
        let mut query = QueryBuilder::<Any>::new("SELECT e.hash, e.body FROM change_effect e WHERE e.change_id = ");
        query.push_bind(change.to_string()).push(" AND e.hash IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("change_effect", row);
            effects.insert(r.maybe_parse("hash")?, Arc::new(r.json("body")?));
        }
    }
    Ok(hashes.into_iter().map(|(node, hash)| (node, Arc::clone(&effects[&hash]))).collect())
}
