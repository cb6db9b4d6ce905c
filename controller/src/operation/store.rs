//! The tables of operations and their runs.

mod hold;
mod output;
pub(crate) mod signing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::{NodeRef, OperationNode, OperationSigning, OperationSummary, RunCounts};
use lampas_shared::{
    desired::ContentHash,
    event::EventKind,
    host::EnvName,
    id::{NodeId, OperationId, RunId},
    operation::{OperationRun, OperationSpec, OperationState, RunEnd, RunState, SecretUse},
    signature::Signed,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use sqlx::{Any, QueryBuilder, any::AnyRow};
use tracing::warn;

use crate::{
    audit::{Entry, Principal},
    db::{
        DbError, Tx,
        row::{Reader, draw, id_chunks, insert_many, push_ids, to_json},
    },
    event::NewEvent,
};

pub(crate) use hold::{held, locked, measured, open_gates};
pub(crate) use output::{
    Piece, grown, last_words, output_is, pending_output, pieces, pieces_of, put_output, stored_to, trim_output,
};

const COLUMNS: &str = "o.id, o.number, o.state, o.spec, o.author, o.principal, o.created_ms, o.ended_ms, o.cancelled_ms, \
                       o.cancelled_by, (SELECT a.number FROM operation a WHERE a.id = o.again_of) AS again_number, \
                       (SELECT g.until_ms FROM operation_signature g WHERE g.operation = o.id) AS sign_until_ms, \
                       (SELECT g.serial FROM operation_signature g WHERE g.operation = o.id) AS sign_serial, \
                       (SELECT g.signed_ms FROM operation_signature g WHERE g.operation = o.id) AS signed_ms";

/// What is said of a run while its node was told, did not say that it began, and is silent or away.
const UNHEARD: &str = "the node does not answer; whether it began is not known yet";

/// An operation as it stands.
#[derive(Debug, Clone)]
pub(crate) struct OperationRow {
    pub(crate) id: OperationId,
    pub(crate) number: u64,
    pub(crate) state: OperationState,
    pub(crate) spec: OperationSpec,
    pub(crate) author: String,
    pub(crate) principal: String,
    pub(crate) again_of: Option<u64>,
    pub(crate) created_at: UnixMs,
    pub(crate) ended_at: Option<UnixMs>,
    pub(crate) cancelled: Option<(UnixMs, String)>,
    /// The signature that it needs, if it needs one.
    pub(crate) signing: Option<OperationSigning>,
}

impl OperationRow {
    /// Returns until when it waits for a signature, if it does.
    pub(crate) fn waits_until(&self) -> Option<UnixMs> {
        self.signing.as_ref().filter(|s| s.signed_at.is_none()).map(|s| s.until)
    }

    /// Returns whether this is who began it. What the controller begins is nobody's, whatever users are called; and a
    /// token, which may be narrower than its owner, has only what it began itself.
    pub(crate) fn is_by(&self, who: &Principal) -> bool {
        if who.name.starts_with("token:") {
            return self.principal == who.name;
        }
        self.author == crate::change::author(who) && self.principal != Principal::system().name
    }

    /// Returns it as lists show it.
    pub(crate) fn summary(&self, runs: RunCounts) -> OperationSummary {
        OperationSummary {
            id: self.id,
            number: self.number,
            title: self.spec.work.title(),
            on: self.spec.on.iter().map(ToString::to_string).collect(),
            user: self.spec.user.to_string(),
            state: self.state,
            rehearse: self.spec.rehearse,
            author: self.author.clone(),
            reason: self.spec.reason.clone(),
            again_of: self.again_of,
            created_at: self.created_at,
            ended_at: self.ended_at,
            runs,
            signing: self.signing.clone(),
        }
    }
}

/// What a node runs when that is not the same on all nodes: a script, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScriptAt {
    pub(crate) path: String,
    pub(crate) hash: ContentHash,
    pub(crate) environment: BTreeMap<EnvName, String>,
}

/// A run that is to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewRun {
    pub(crate) run: RunId,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) script: Option<ScriptAt>,
    /// Variables that hold values of secrets.
    pub(crate) secrets: BTreeMap<EnvName, SecretUse>,
    /// Why the node can't run it.
    pub(crate) refused: Option<String>,
    /// Whether that is because it only observes: then it is passed over.
    pub(crate) observes: bool,
}

/// A run as the driver sees it.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) run: RunId,
    pub(crate) operation: OperationId,
    pub(crate) node: NodeId,
    pub(crate) state: RunState,
    pub(crate) script: Option<ScriptAt>,
    pub(crate) told_at: Option<UnixMs>,
    pub(crate) has_begun: bool,
    pub(crate) secrets: BTreeMap<EnvName, SecretUse>,
    /// What an operator signed, of an operation that needs it.
    pub(crate) signed: Option<Arc<Signed>>,
}

/// Which operations are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<OperationState>,
    pub(crate) node: Option<NodeId>,
}

/// Stores an operation with its runs; returns its number.
pub(crate) async fn create(
    tx: &mut Tx,
    row: &OperationRow,
    again_of: Option<OperationId>,
    request_key: Option<&str>,
    runs: &[NewRun],
) -> Result<u64, DbError> {
    let number = draw(tx, "operation", 1).await?;
    sqlx::query(
        "INSERT INTO operation (id, number, state, spec, author, principal, request_key, again_of, created_ms, output_seq) \
         VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?, 0)",
    )
    .bind(row.id.to_string())
    .bind(number as i64)
    .bind(to_json(&row.spec))
    .bind(row.author.clone())
    .bind(row.principal.clone())
    .bind(request_key.map(str::to_owned))
    .bind(again_of.map(|a| a.to_string()))
    .bind(row.created_at.0)
    .execute(tx.conn())
    .await?;
    let columns = [
        "run",
        "operation",
        "place",
        "node",
        "node_name",
        "state",
        "detail",
        "work",
        "has_begun",
        "has_result",
        "output_bytes",
        "output_state",
        "observes",
    ];
    let rows: Vec<_> = runs.iter().enumerate().collect();
    insert_many(tx, "operation_run", &columns, "", &rows, |b, (place, run)| {
        let state = match (run.observes, &run.refused) {
            (true, _) => RunState::Skipped,
            (false, Some(_)) => RunState::Refused,
            (false, None) => RunState::Queued,
        };
        b.push_bind(run.run.to_string())
            .push_bind(row.id.to_string())
            .push_bind(*place as i64)
            .push_bind(run.node.to_string())
            .push_bind(run.name.clone())
            .push_bind(state.as_str())
            .push_bind(run.refused.clone().unwrap_or_default())
            .push_bind(run.script.as_ref().map(to_json).unwrap_or_default())
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind("none")
            .push_bind(i64::from(run.observes));
    })
    .await?;
    signing::create(tx, row, runs).await?;
    Ok(number)
}

/// Returns the operation that this request made before.
pub(crate) async fn by_request(tx: &mut Tx, key: &str) -> Result<Option<OperationId>, DbError> {
    let row = sqlx::query("SELECT o.id FROM operation o WHERE o.request_key = ?")
        .bind(key.to_owned())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|r| Reader::new("operation", &r).parse("id")).transpose()
}

/// Returns an operation by id or number.
pub(crate) async fn find(tx: &mut Tx, which: &str) -> Result<Option<OperationRow>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM operation o WHERE "));
    match which.parse::<i64>() {
        Ok(number) => query.push("o.number = ").push_bind(number),
        Err(_) => match OperationId::parse(which) {
            Ok(id) => query.push("o.id = ").push_bind(id.to_string()),
            Err(_) => return Ok(None),
        },
    };
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|r| operation(&r)).transpose()
}

/// Returns operations, newest first.
pub(crate) async fn list(
    tx: &mut Tx,
    filter: &Filter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<OperationRow>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM operation o WHERE 1 = 1"));
    if let Some(state) = filter.state {
        query.push(" AND o.state = ").push_bind(state.as_str());
    }
    if let Some(node) = filter.node {
        query.push(" AND o.id IN (SELECT r.operation FROM operation_run r WHERE r.node = ");
        query.push_bind(node.to_string()).push(")");
    }
    if let Some(before) = before {
        query.push(" AND o.number < ").push_bind(before as i64);
    }
    query.push(" ORDER BY o.number DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(tx.conn()).await?.iter().map(operation).collect()
}

/// Counts the runs of operations by state.
pub(crate) async fn counts(tx: &mut Tx, ids: &[OperationId]) -> Result<BTreeMap<OperationId, RunCounts>, DbError> {
    let mut found: BTreeMap<OperationId, RunCounts> = BTreeMap::new();
    for chunk in id_chunks(ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT r.operation, r.state, r.observes, COUNT(*) AS n FROM operation_run r WHERE r.operation IN ",
        );
        push_ids(&mut query, chunk);
        query.push(" GROUP BY r.operation, r.state, r.observes");
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("operation_run", row);
            let (counts, n) = (found.entry(r.parse("operation")?).or_default(), r.count("n")? as u32);
            counts.add(r.parse("state")?, n);
            if r.flag("observes")? {
                counts.observing += n;
            }
        }
    }
    Ok(found)
}

/// Returns the runs of operations that are under way, in the order in which they are taken.
pub(crate) async fn under_way(tx: &mut Tx) -> Result<Vec<(OperationRow, Vec<RunRow>)>, DbError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM operation o WHERE o.state = 'running'")))
        .fetch_all(tx.conn())
        .await?;
    let mut all = Vec::new();
    for row in rows.iter().map(operation) {
        let row = row?;
        let mut runs = hold::runs_of(tx, row.id, "").await?;
        signing::fill(tx, &row, &mut runs).await?;
        all.push((row, runs));
    }
    Ok(all)
}

/// Stores that runs were told to start.
pub(crate) async fn start(tx: &mut Tx, runs: &[RunId], now: UnixMs) -> Result<(), DbError> {
    for chunk in id_chunks(runs) {
        let mut query = QueryBuilder::<Any>::new("UPDATE operation_run SET state = 'running', told_ms = ");
        query.push_bind(now.0).push(" WHERE state = 'queued' AND run IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Stores that runs are over without their node's word.
pub(crate) async fn settle(
    tx: &mut Tx,
    runs: &[RunId],
    state: RunState,
    detail: &str,
    now: UnixMs,
) -> Result<u64, DbError> {
    let mut settled = 0;
    for chunk in id_chunks(runs) {
        let mut query = QueryBuilder::<Any>::new("UPDATE operation_run SET state = ");
        query.push_bind(state.as_str()).push(", detail = ").push_bind(detail.to_owned());
        query.push(", ended_ms = ").push_bind(now.0);
        query.push(" WHERE state IN ('queued', 'running') AND has_result = 0 AND run IN ");
        push_ids(&mut query, chunk);
        settled += query.build().persistent(false).execute(tx.conn()).await?.rows_affected();
    }
    Ok(settled)
}

/// Stores that a node said that it began.
pub(crate) async fn begun(tx: &mut Tx, run: RunId) -> Result<u64, DbError> {
    let done = sqlx::query(
        "UPDATE operation_run SET has_begun = 1, output_state = CASE WHEN output_state = 'none' THEN 'pending' \
         ELSE output_state END WHERE run = ? AND has_begun = 0",
    )
    .bind(run.to_string())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Ends an operation whose runs are all over, or says again how a late result leaves it. Returns its state.
pub(crate) async fn conclude(tx: &mut Tx, id: OperationId, now: UnixMs) -> Result<OperationState, DbError> {
    let (all, succeeded) = hold::succeeded(tx, id).await?;
    // As it stands, not as it stood when this transaction first looked.
    let mut query = QueryBuilder::<Any>::new("SELECT o.cancelled_ms FROM operation o WHERE o.id = ");
    query.push_bind(id.to_string()).push(tx.dialect().for_update());
    let row = query.build().fetch_one(tx.conn()).await?;
    let is_cancelled = Reader::new("operation", &row).maybe_int("cancelled_ms")?.is_some();
    let state = match (succeeded == all, is_cancelled) {
        (true, _) => OperationState::Succeeded,
        (false, true) => OperationState::Cancelled,
        (false, false) => OperationState::Failed,
    };
    sqlx::query(
        "UPDATE operation SET state = ?, ended_ms = CASE WHEN ended_ms IS NULL THEN ? ELSE ended_ms END WHERE id = ?",
    )
    .bind(state.as_str())
    .bind(now.0)
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(state)
}

/// Stores that somebody asked to end an operation; returns whether it was under way and nobody had.
pub(crate) async fn cancel(tx: &mut Tx, id: OperationId, by: &str, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE operation SET cancelled_ms = ?, cancelled_by = ? WHERE id = ? AND state = 'running' AND cancelled_ms IS NULL",
    )
    .bind(now.0)
    .bind(by.to_owned())
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Stores results, each once, and only of the node whose run it is. Called with the reports of an outbox and with answers.
pub(crate) async fn results(tx: &mut Tx, results: &[(NodeId, &OperationRun)], now: UnixMs) -> Result<(), DbError> {
    let mut moved: BTreeSet<OperationId> = BTreeSet::new();
    let mut late: BTreeSet<OperationId> = BTreeSet::new();
    let mut strays: BTreeMap<NodeId, RunId> = BTreeMap::new();
    // Whether an operation is over is decided under the same hold: a result comes before that, or is a late one.
    let runs: Vec<RunId> = results.iter().map(|(_, result)| result.run).collect();
    let of = hold::operations_of(tx, &runs).await?;
    hold::hold(tx, &of).await?;
    for (node, result) in results {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT r.operation, o.state FROM operation_run r JOIN operation o ON o.id = r.operation \
             WHERE r.has_result = 0 AND r.run = ",
        );
        query.push_bind(result.run.to_string()).push(" AND r.node = ").push_bind(node.to_string());
        let row = query.push(tx.dialect().for_update()).build().fetch_optional(tx.conn()).await?;
        // Of no run of this node, or told before.
        let Some(row) = row else {
            if is_of_another(tx, result.run, *node).await? {
                strays.insert(*node, result.run);
            }
            continue;
        };
        let r = Reader::new("operation_run", &row);
        let operation: OperationId = r.parse("operation")?;
        if r.parse::<OperationState>("state")? != OperationState::Running {
            late.insert(operation);
        }
        let exit = match result.end {
            RunEnd::Exited(status) => Some(i64::from(status)),
            _ => None,
        };
        sqlx::query(
            "UPDATE operation_run SET state = ?, detail = ?, has_begun = 1, has_result = 1, started_ms = ?, ended_ms = ?, \
             exit_status = ?, output_bytes = ?, output_hash = ?, measured = ?, output_state = CASE WHEN output_state = 'none' \
             THEN 'pending' ELSE output_state END WHERE run = ? AND has_result = 0",
        )
        .bind(result.end.state().as_str())
        .bind(result.detail())
        .bind(result.started_at.0)
        .bind(result.ended_at.0)
        .bind(exit)
        .bind(result.output_bytes.min(i64::MAX as u64) as i64)
        .bind(result.output_hash.to_string())
        .bind(result.found.as_ref().and_then(|f| f.value).map(|v| v.to_string()))
        .bind(result.run.to_string())
        .execute(tx.conn())
        .await?;
        moved.insert(operation);
    }
    for operation in late {
        conclude(tx, operation, now).await?;
    }
    for operation in moved {
        tx.event(NewEvent::new(EventKind::OperationMoved).with("operation", operation));
    }
    for (node, run) in strays {
        warn!(node.id = %node, %run, "a node told the result of another's run; it was dropped");
        if let Some(name) = crate::fleet::names(tx, Some(&[node])).await?.remove(&node) {
            let by = Principal::new(format!("node:{name}"), "");
            tx.audit(Entry::refused(&by, "node.result", format!("run {run}"), "it is another node's"));
        }
    }
    Ok(())
}

/// Returns whether a run is of another node than this.
async fn is_of_another(tx: &mut Tx, run: RunId, node: NodeId) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT r.run FROM operation_run r WHERE r.run = ? AND r.node <> ?")
        .bind(run.to_string())
        .bind(node.to_string())
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.is_some())
}

/// Returns the nodes of operations.
pub(crate) async fn nodes_of(tx: &mut Tx, ids: &[OperationId]) -> Result<Vec<(OperationId, NodeId)>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Any>::new("SELECT r.operation, r.node FROM operation_run r WHERE r.operation IN ");
    push_ids(&mut query, ids);
    let rows = query.build().persistent(false).fetch_all(tx.conn()).await?;
    let read = |row| {
        let r = Reader::new("operation_run", row);
        Ok((r.parse("operation")?, r.parse("node")?))
    };
    rows.iter().map(read).collect()
}

/// Returns the runs of an operation as they are shown, without whether they are connected.
pub(crate) async fn nodes(
    tx: &mut Tx,
    operation: OperationId,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<(i64, OperationNode, Option<String>)>, DbError> {
    let rows = sqlx::query(
        "SELECT r.run, r.place, r.node, COALESCE(n.name, r.node_name) AS name, r.state, r.detail, r.started_ms, r.ended_ms, \
         r.exit_status, r.output_bytes, r.output_hash, r.output_state, r.has_begun, COALESCE(n.state, 'offline') AS heard \
         FROM operation_run r LEFT JOIN node n ON n.id = r.node \
         WHERE r.operation = ? AND r.place > ? ORDER BY r.place LIMIT ?",
    )
    .bind(operation.to_string())
    .bind(after.unwrap_or(-1))
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("operation_run", row);
            let state: RunState = r.parse("state")?;
            let output = r.text("output_state")?;
            let is_unheard = state == RunState::Running && !r.flag("has_begun")? && r.text("heard")? != "online";
            let detail = if is_unheard { UNHEARD.to_owned() } else { r.text("detail")? };
            let node = OperationNode {
                run: r.parse("run")?,
                node: NodeRef { id: r.parse("node")?, name: r.text("name")? },
                is_connected: false,
                state,
                detail,
                exit_status: r.maybe_int("exit_status")?.map(|s| s as i32),
                started_at: r.maybe_time("started_ms")?,
                ended_at: r.maybe_time("ended_ms")?,
                output_bytes: r.count("output_bytes")?,
                is_output_complete: state.is_final() && output != "pending",
            };
            Ok((r.int("place")?, node, r.maybe_text("output_hash")?))
        })
        .collect()
}

/// Gives up output that its node did not bring within this time, and drops operations that ended before another. Returns
/// how many operations went.
pub(crate) async fn prune(tx: &mut Tx, output_before: UnixMs, ended_before: UnixMs) -> Result<u64, DbError> {
    sqlx::query(
        "UPDATE operation_run SET output_state = 'done' WHERE output_state IN ('pending', 'stored') AND told_ms < ?",
    )
    .bind(output_before.0)
    .execute(tx.conn())
    .await?;
    let rows = sqlx::query("SELECT o.id FROM operation o WHERE o.ended_ms < ? LIMIT 50")
        .bind(ended_before.0)
        .fetch_all(tx.conn())
        .await?;
    let ids = rows.iter().map(|r| Reader::new("operation", r).text("id")).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        return Ok(0);
    }
    signing::prune(tx, &ids).await?;
    for (table, column) in [("operation_output", "operation"), ("operation_run", "operation"), ("operation", "id")] {
        let mut query = QueryBuilder::<Any>::new(format!("DELETE FROM {table} WHERE {column} IN "));
        push_ids(&mut query, &ids);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(ids.len() as u64)
}

fn operation(row: &AnyRow) -> Result<OperationRow, DbError> {
    let r = Reader::new("operation", row);
    Ok(OperationRow {
        id: r.parse("id")?,
        number: r.count("number")?,
        state: r.parse("state")?,
        spec: r.json("spec")?,
        author: r.text("author")?,
        principal: r.text("principal")?,
        again_of: r.maybe_int("again_number")?.map(|n| n as u64),
        created_at: r.time("created_ms")?,
        ended_at: r.maybe_time("ended_ms")?,
        cancelled: match (r.maybe_time("cancelled_ms")?, r.maybe_text("cancelled_by")?) {
            (Some(at), by) => Some((at, by.unwrap_or_default())),
            (None, _) => None,
        },
        signing: match r.maybe_time("sign_until_ms")? {
            Some(until) => Some(OperationSigning {
                until,
                signed_at: r.maybe_time("signed_ms")?,
                serial: r.maybe_int("sign_serial")?.map(|n| n as u64),
            }),
            None => None,
        },
    })
}

fn run_row(row: &AnyRow) -> Result<RunRow, DbError> {
    let r = Reader::new("operation_run", row);
    let work = r.text("work")?;
    Ok(RunRow {
        run: r.parse("run")?,
        operation: r.parse("operation")?,
        node: r.parse("node")?,
        state: r.parse("state")?,
        script: if work.is_empty() { None } else { Some(r.json("work")?) },
        told_at: r.maybe_time("told_ms")?,
        has_begun: r.flag("has_begun")?,
        secrets: BTreeMap::new(),
        signed: None,
    })
}
