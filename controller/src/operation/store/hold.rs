//! Who decides about an operation, and what that is decided by: reads that hold what they read.

use std::collections::BTreeSet;

use lampas_shared::{
    id::{NodeId, OperationId, RunId},
    operation::{OperationState, RunState},
};
use sqlx::{Any, QueryBuilder};

use super::{OperationRow, RunRow, find, run_row};
use crate::{
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, push_ids},
    },
    operation::gate::Measured,
};

/// Returns the runs of an operation in the order in which they are taken.
pub(super) async fn runs_of(tx: &mut Tx, id: OperationId, lock: &str) -> Result<Vec<RunRow>, DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "SELECT r.run, r.operation, r.node, r.state, r.work, r.told_ms, r.has_begun FROM operation_run r \
         WHERE r.operation = ",
    );
    query.push_bind(id.to_string()).push(" ORDER BY r.place").push(lock);
    query.build().fetch_all(tx.conn()).await?.iter().map(run_row).collect()
}

/// Returns an operation that is under way with its runs, for a transaction that decides about it: nobody else does until
/// it is over. Nothing when it is over already.
pub(crate) async fn locked(tx: &mut Tx, id: OperationId) -> Result<Option<(OperationRow, Vec<RunRow>)>, DbError> {
    let lock = tx.dialect().for_update();
    hold(tx, &[id].into()).await?;
    let row = find(tx, &id.to_string()).await?;
    let Some(row) = row.filter(|row| row.state == OperationState::Running) else { return Ok(None) };
    let runs = runs_of(tx, id, lock).await?;
    Ok(Some((row, runs)))
}

/// Takes hold of operations, always in the same order, until the transaction is over.
pub(super) async fn hold(tx: &mut Tx, ids: &BTreeSet<OperationId>) -> Result<(), DbError> {
    let lock = tx.dialect().for_update();
    if lock.is_empty() {
        return Ok(());
    }
    for id in ids {
        let mut query = QueryBuilder::<Any>::new("SELECT o.id FROM operation o WHERE o.id = ");
        query.push_bind(id.to_string()).push(lock);
        query.build().fetch_optional(tx.conn()).await?;
    }
    Ok(())
}

/// Returns the nodes that wait for their turn, or were told and have not answered, and are connected, to whichever
/// controller; of one operation, or of all.
pub(crate) async fn held(tx: &mut Tx, of: Option<OperationId>) -> Result<BTreeSet<NodeId>, DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "SELECT DISTINCT s.node FROM node_session s JOIN operation_run r ON r.node = s.node \
         WHERE s.closed_ms IS NULL AND r.state IN ('queued', 'running') AND r.has_begun = 0",
    );
    if let Some(id) = of {
        query.push(" AND r.operation = ").push_bind(id.to_string());
    }
    let rows = query.build().persistent(false).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("node_session", row).parse("node")).collect()
}

/// Returns the keys of the gates that are under way and that nobody has ended yet.
pub(crate) async fn open_gates(tx: &mut Tx) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query(
        "SELECT o.request_key FROM operation o WHERE o.state = ? AND o.cancelled_ms IS NULL \
         AND (o.request_key LIKE 'gate:%' OR o.request_key LIKE 'before:%') AND EXISTS (SELECT 1 FROM operation_run r \
         WHERE r.operation = o.id AND r.state IN ('queued', 'running')) ORDER BY o.number",
    )
    .bind(OperationState::Running.as_str())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("operation", row).text("request_key")).collect()
}

/// Counts the runs of an operation that is held: how many there are, and how many succeeded.
pub(super) async fn succeeded(tx: &mut Tx, id: OperationId) -> Result<(u64, u64), DbError> {
    let mut query = QueryBuilder::<Any>::new("SELECT r.state FROM operation_run r WHERE r.operation = ");
    query.push_bind(id.to_string());
    // Nodes that only observe count neither for nor against it.
    query.push(" AND r.observes = 0").push(tx.dialect().for_update());
    let rows = query.build().fetch_all(tx.conn()).await?;
    let states = rows.iter().map(|row| Reader::new("operation_run", row).parse("state"));
    let states: Vec<RunState> = states.collect::<Result<_, _>>()?;
    let done = states.iter().filter(|s| **s == RunState::Succeeded).count();
    Ok((states.len() as u64, done as u64))
}

/// Returns which operations runs are of.
pub(super) async fn operations_of(tx: &mut Tx, runs: &[RunId]) -> Result<BTreeSet<OperationId>, DbError> {
    let mut found = BTreeSet::new();
    for chunk in id_chunks(runs) {
        let mut query = QueryBuilder::<Any>::new("SELECT DISTINCT r.operation FROM operation_run r WHERE r.run IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            found.insert(Reader::new("operation_run", row).parse("operation")?);
        }
    }
    Ok(found)
}

/// Returns what the operation of this request measured on each node.
pub(crate) async fn measured(tx: &mut Tx, key: &str) -> Result<Measured, DbError> {
    let rows = sqlx::query(
        "SELECT r.node, r.measured FROM operation_run r JOIN operation o ON o.id = r.operation \
         WHERE o.request_key = ? AND r.measured IS NOT NULL",
    )
    .bind(key.to_owned())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("operation_run", row);
            Ok((r.parse("node")?, r.parse("measured")?))
        })
        .collect()
}
