//! The table of edits of nodes.

use std::collections::BTreeMap;

use lampas_shared::{
    fleet::NodeName,
    id::{ChangeId, NodeId},
};
use sqlx::{Any, QueryBuilder};

use super::StoredEdit;
use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, insert_many, push_ids, to_json},
};

pub(in super::super) async fn insert(tx: &mut Tx, change: ChangeId, edits: &[StoredEdit]) -> Result<(), DbError> {
    let columns = ["change_id", "position", "node", "base_revision", "asked", "was"];
    let rows: Vec<_> = (0_i64..).zip(edits).collect();
    insert_many(tx, "change_node_edit", &columns, "", &rows, |b, (position, edit)| {
        b.push_bind(change.to_string())
            .push_bind(*position)
            .push_bind(edit.node.to_string())
            .push_bind(edit.base as i64)
            .push_bind(to_json(&edit.set))
            .push_bind(to_json(&edit.was));
    })
    .await
}

pub(in super::super) async fn load(tx: &mut Tx, change: ChangeId) -> Result<Vec<StoredEdit>, DbError> {
    let rows = sqlx::query(
        "SELECT e.node, e.base_revision, e.asked, e.was FROM change_node_edit e WHERE e.change_id = ? ORDER BY e.position",
    )
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_node_edit", row);
            Ok(StoredEdit {
                node: r.parse("node")?,
                set: r.json("asked")?,
                base: r.count("base_revision")?,
                was: r.json("was")?,
            })
        })
        .collect()
}

/// Returns the revisions that the edited nodes have; nothing for one that is gone or revoked.
pub(super) async fn revisions(tx: &mut Tx, edits: &[StoredEdit]) -> Result<BTreeMap<NodeId, u64>, DbError> {
    let ids: Vec<NodeId> = edits.iter().map(|e| e.node).collect();
    let mut found = BTreeMap::new();
    for chunk in id_chunks(&ids) {
        let mut query =
            QueryBuilder::<Any>::new("SELECT n.id, n.revision FROM node n WHERE n.revoked_ms IS NULL AND n.id IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node", row);
            found.insert(r.parse("id")?, r.count("revision")?);
        }
    }
    Ok(found)
}

/// Returns which nodes changes edit, with their names where they are still there.
pub(in super::super) async fn told(
    tx: &mut Tx,
    changes: &[ChangeId],
) -> Result<BTreeMap<ChangeId, Vec<NodeName>>, DbError> {
    let mut found: BTreeMap<ChangeId, Vec<NodeName>> = BTreeMap::new();
    for chunk in id_chunks(changes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT e.change_id, COALESCE(n.name, e.node) AS name FROM change_node_edit e \
             LEFT JOIN node n ON n.id = e.node WHERE e.change_id IN ",
        );
        push_ids(&mut query, chunk);
        query.push(" ORDER BY e.change_id, e.position");
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("change_node_edit", row);
            found.entry(r.parse("change_id")?).or_default().push(r.parse("name")?);
        }
    }
    Ok(found)
}
