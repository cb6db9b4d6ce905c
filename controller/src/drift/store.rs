//! The table of drift.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::ContentHash,
    fleet::NodeName,
    id::{ChangeId, DriftId, NodeId, ObjectId},
    object::Target,
    report::{DriftOutcome, ObservedFile},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use crate::{
    audit::Principal,
    db::{
        DbError, Tx,
        row::{Reader, to_json},
    },
    fleet,
};

const COLUMNS: &str =
    "d.id, d.node, d.target, d.object, d.outcome, d.path, d.diff, d.observed, d.found_ms, d.ended_ms, n.name";

/// Which drift is wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct DriftFilter {
    /// On this node.
    pub node: Option<NodeId>,
    /// Of this object.
    pub object: Option<ObjectId>,
    /// Only what stands, or only what is over.
    pub standing: Option<bool>,
    /// Only what is older than this one.
    pub before: Option<DriftId>,
}

/// A finding as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct DriftRow {
    pub(crate) id: DriftId,
    pub(crate) node: NodeId,
    pub(crate) node_name: NodeName,
    pub(crate) target: Target,
    pub(crate) object: ObjectId,
    pub(crate) outcome: DriftOutcome,
    pub(crate) path: String,
    pub(crate) diff: String,
    pub(crate) observed: Option<ObservedFile>,
    pub(crate) found_at: UnixMs,
    pub(crate) ended_at: Option<UnixMs>,
}

/// What somebody decided about a finding.
#[derive(Debug)]
pub(super) struct Decided {
    /// The word for it.
    pub(super) decision: &'static str,
    /// The change that it was decided with.
    pub(super) change: Option<ChangeId>,
    /// What shall stand there by a merge.
    pub(super) wanted: Option<ContentHash>,
}

pub(crate) async fn list(tx: &mut Tx, filter: &DriftFilter, limit: u32) -> Result<Vec<DriftRow>, DbError> {
    let mut query =
        QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM drift d JOIN node n ON n.id = d.node WHERE 1 = 1"));
    narrow(&mut query, filter);
    if let Some(before) = filter.before {
        query.push(" AND d.id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY d.id DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(drift).collect()
}

pub(crate) async fn count(tx: &mut Tx, filter: &DriftFilter) -> Result<u64, DbError> {
    let mut query =
        QueryBuilder::<Any>::new("SELECT COUNT(*) AS total FROM drift d JOIN node n ON n.id = d.node WHERE 1 = 1");
    narrow(&mut query, filter);
    let row = query.build().fetch_one(tx.conn()).await?;
    Reader::new("drift", &row).count("total")
}

fn narrow(query: &mut QueryBuilder<Any>, filter: &DriftFilter) {
    if let Some(node) = filter.node {
        query.push(" AND d.node = ").push_bind(node.to_string());
    }
    if let Some(object) = filter.object {
        query.push(" AND d.object = ").push_bind(object.to_string());
    }
    match filter.standing {
        Some(true) => {
            query.push(" AND d.outcome = 'standing'");
        }
        Some(false) => {
            query.push(" AND d.outcome <> 'standing'");
        }
        None => {}
    }
}

pub(crate) async fn get(tx: &mut Tx, id: DriftId) -> Result<Option<DriftRow>, DbError> {
    let mut query =
        QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM drift d JOIN node n ON n.id = d.node WHERE d.id = "));
    query.push_bind(id.to_string());
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|r| drift(&r)).transpose()
}

pub(crate) async fn content(tx: &mut Tx, id: DriftId) -> Result<Option<Vec<u8>>, DbError> {
    let row = sqlx::query("SELECT d.content FROM drift d WHERE d.id = ?")
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.map(|r| Reader::new("drift", &r).maybe_bytes("content")).transpose()?.flatten())
}

pub(super) async fn decide(tx: &mut Tx, id: DriftId, decided: &Decided, by: &Principal) -> Result<(), DbError> {
    sqlx::query("UPDATE drift SET decision = ?, decided_by = ?, change_id = ?, wanted_hash = ? WHERE id = ?")
        .bind(decided.decision)
        .bind(fleet::bounded(&by.name, 128))
        .bind(decided.change.map(|c| c.to_string()))
        .bind(decided.wanted.map(|hash| hash.to_string()))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Puts off when a node is asked again to take what was decided.
pub(crate) async fn put_next(tx: &mut Tx, id: DriftId, next: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE drift SET next_ms = ? WHERE id = ?")
        .bind(next.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes a decision in a merge off a finding that its node tells anew: when the file is otherwise than it was, nothing is
/// decided about that.
pub(crate) async fn told_anew(tx: &mut Tx, id: DriftId, observed: Option<&ObservedFile>) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE drift SET decision = NULL, decided_by = NULL, change_id = NULL, next_ms = NULL, wanted_hash = NULL \
         WHERE id = ? AND decision IN ('settle', 'revert') AND change_id IS NOT NULL AND COALESCE(observed, '') <> ?",
    )
    .bind(id.to_string())
    .bind(observed.map(to_json).unwrap_or_default())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends what stands on a node that LAMPAS leaves: nobody can decide about it any more.
pub(crate) async fn leave(tx: &mut Tx, node: NodeId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE drift SET outcome = 'resolved', ended_ms = ? WHERE node = ? AND outcome = 'standing'")
        .bind(now.0)
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    sqlx::query("DELETE FROM resource_state WHERE node = ?").bind(node.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Counts the nodes with standing drift by object: for lists of objects.
pub(crate) async fn standing_by_object(tx: &mut Tx) -> Result<BTreeMap<ObjectId, u64>, DbError> {
    let rows =
        sqlx::query("SELECT d.object, COUNT(*) AS nodes FROM drift d WHERE d.outcome = 'standing' GROUP BY d.object")
            .fetch_all(tx.conn())
            .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("drift", row);
            Ok((r.parse("object")?, r.count("nodes")?))
        })
        .collect()
}

fn drift(row: &AnyRow) -> Result<DriftRow, DbError> {
    let r = Reader::new("drift", row);
    let target: String = r.text("target")?;
    let outcome = match r.text("outcome")?.as_str() {
        "standing" => DriftOutcome::Standing,
        "repaired" => DriftOutcome::Repaired,
        _ => DriftOutcome::Resolved,
    };
    Ok(DriftRow {
        id: r.parse("id")?,
        node: r.parse("node")?,
        node_name: r.parse("name")?,
        target: serde_json::from_value(serde_json::Value::String(target))
            .map_err(|e| r.wrong("target", e.to_string()))?,
        object: r.parse("object")?,
        outcome,
        path: r.text("path")?,
        diff: r.text("diff")?,
        observed: r.maybe_json("observed")?,
        found_at: r.time("found_ms")?,
        ended_at: r.maybe_time("ended_ms")?,
    })
}
