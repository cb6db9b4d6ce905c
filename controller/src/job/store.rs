//! The table of runs.

use std::collections::BTreeMap;

use lampas_api::{NodeRef, Page, Run};
use lampas_shared::{
    id::{NodeId, ObjectId, RunId},
    report::RunOutcome,
    time::UnixMs,
};
use sqlx::{Any, AssertSqlSafe, QueryBuilder, any::AnyRow};

use crate::db::{DbError, Tx, row::Reader};

const COLUMNS: &str = "j.run, j.node, COALESCE(n.name, j.node) AS node_name, j.object, \
                       COALESCE(o.name, (SELECT MAX(r.name) FROM revision r WHERE r.object = j.object), '') AS object_name, \
                       j.account, j.slot_ms, j.started_ms, j.ended_ms, j.outcome, j.outcome_value, j.output_bytes";
const FROM: &str =
    " FROM job_run j LEFT JOIN node n ON n.id = j.node LEFT JOIN object o ON o.id = j.object WHERE 1 = 1";

/// Which runs are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this job.
    pub object: Option<ObjectId>,
    /// On this node.
    pub node: Option<NodeId>,
}

/// Returns a page of runs by their start, newest first. The cursor is opaque.
pub async fn list(tx: &mut Tx, filter: &RunFilter, after: Option<&str>, limit: u32) -> Result<Page<Run>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS}{FROM}"));
    if let Some(object) = filter.object {
        query.push(" AND j.object = ").push_bind(object.to_string());
    }
    if let Some(node) = filter.node {
        query.push(" AND j.node = ").push_bind(node.to_string());
    }
    let cursor = after.and_then(|a| a.split_once('/')).and_then(|(at, run)| Some((at.parse::<i64>().ok()?, run)));
    if let Some((at, run)) = cursor {
        query.push(" AND (j.started_ms < ").push_bind(at).push(" OR (j.started_ms = ").push_bind(at);
        query.push(" AND j.run < ").push_bind(run.to_owned()).push("))");
    }
    query.push(" ORDER BY j.started_ms DESC, j.run DESC LIMIT ").push_bind(i64::from(limit) + 1);
    let mut rows = query.build().fetch_all(tx.conn()).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items = rows.iter().map(run).collect::<Result<Vec<_>, _>>()?;
    let next = items.last().filter(|_| has_more).map(|r: &Run| format!("{}/{}", r.started_at.0, r.id));
    Ok(Page { items, next, total: None })
}

/// Returns one run with its output.
pub async fn get(tx: &mut Tx, id: RunId) -> Result<Option<Run>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS}, j.output{FROM} AND j.run = "));
    query.push_bind(id.to_string());
    let Some(row) = query.build().fetch_optional(tx.conn()).await? else { return Ok(None) };
    let output = Reader::new("job_run", &row).text("output")?;
    run(&row).map(|r| Some(Run { output: Some(output), ..r }))
}

/// Returns the start of the last run of each job.
pub async fn last_of_objects(tx: &mut Tx) -> Result<BTreeMap<ObjectId, UnixMs>, DbError> {
    let rows = sqlx::query("SELECT j.object, MAX(j.started_ms) AS last_ms FROM job_run j GROUP BY j.object")
        .fetch_all(tx.conn())
        .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("job_run", row);
            Ok((r.parse("object")?, r.time("last_ms")?))
        })
        .collect()
}

/// How a run went, in three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Well.
    Ran,
    /// It failed, or nobody knows how it ended.
    Failed,
    /// It did not run at its time.
    Missed,
}

/// Nothing started it at its time, or it could not be started.
const UNTAKEN: &str = "'missed', 'node_down', 'not_started'";

/// How often a job went so on a node.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) object: ObjectId,
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) node_name: String,
    pub(crate) verdict: Verdict,
    /// How many slots: one record may stand for many that nobody took.
    pub(crate) count: u64,
    /// The last time.
    pub(crate) last: UnixMs,
}

/// Counts the runs since a time by job, node and how they went: all of them, or those alone that nothing started. What was
/// skipped says itself why, and counts among all alone. By name; as many rows as there are jobs on nodes, since who asks
/// may see few of them.
pub(crate) async fn tally(tx: &mut Tx, since: UnixMs, only_missed: bool) -> Result<Vec<Tally>, DbError> {
    let only = if only_missed { format!(" AND j.outcome IN ({UNTAKEN})") } else { String::new() };
    let sql = format!(
        "SELECT t.object, t.node, COALESCE(n.name, t.node) AS node_name, COALESCE(o.name, (SELECT MAX(r.name) FROM revision r \
         WHERE r.object = t.object), '') AS object_name, t.verdict, t.times, t.last_ms FROM (SELECT j.node, j.object, \
         CASE WHEN j.outcome = 'exited' AND j.outcome_value = 0 THEN 0 WHEN j.outcome IN ('skipped', {UNTAKEN}) THEN 2 \
         ELSE 1 END AS verdict, CAST(SUM(CASE WHEN j.outcome IN ('missed', 'node_down') AND j.outcome_value > 1 \
         THEN j.outcome_value ELSE 1 END) AS SIGNED) AS times, MAX(j.started_ms) AS last_ms FROM job_run j \
         WHERE j.started_ms >= ?{only} GROUP BY j.node, j.object, verdict) t \
         LEFT JOIN node n ON n.id = t.node LEFT JOIN object o ON o.id = t.object ORDER BY object_name, node_name"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(since.0).fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("job_run", row);
            Ok(Tally {
                object: r.parse("object")?,
                name: r.text("object_name")?,
                node: r.parse("node")?,
                node_name: r.text("node_name")?,
                verdict: match r.int("verdict")? {
                    0 => Verdict::Ran,
                    2 => Verdict::Missed,
                    _ => Verdict::Failed,
                },
                count: r.count("times")?,
                last: r.time("last_ms")?,
            })
        })
        .collect()
}

/// Drops runs that were received before a point in time, at most `limit`; returns how many.
pub async fn prune(tx: &mut Tx, before: UnixMs, limit: u32) -> Result<u64, DbError> {
    let rows = sqlx::query("SELECT j.run FROM job_run j WHERE j.started_ms < ? AND j.received_ms < ? LIMIT ?")
        .bind(before.0)
        .bind(before.0)
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    let ids = rows.iter().map(|r| Reader::new("job_run", r).text("run")).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Any>::new("DELETE FROM job_run WHERE run IN ");
    crate::db::row::push_ids(&mut query, &ids);
    let done = query.build().persistent(false).execute(tx.conn()).await?;
    Ok(done.rows_affected())
}

fn run(row: &AnyRow) -> Result<Run, DbError> {
    let r = Reader::new("job_run", row);
    let value = r.maybe_int("outcome_value")?.unwrap_or(0) as i32;
    let outcome = match r.text("outcome")?.as_str() {
        "exited" => RunOutcome::Exited(value),
        "signalled" => RunOutcome::Signalled(value),
        "timed_out" => RunOutcome::TimedOut,
        "not_started" => RunOutcome::NotStarted,
        "skipped" => RunOutcome::Skipped,
        "lost" => RunOutcome::Lost,
        "missed" => RunOutcome::Missed,
        "node_down" => RunOutcome::NodeDown,
        other => return Err(r.wrong("outcome", format!("{other} is not known"))),
    };
    Ok(Run {
        id: r.parse("run")?,
        node: NodeRef { id: r.parse("node")?, name: r.text("node_name")? },
        object: r.parse("object")?,
        name: r.text("object_name")?,
        user: r.text("account")?,
        times: times(outcome, value),
        slot: r.maybe_time("slot_ms")?,
        started_at: r.time("started_ms")?,
        ended_at: r.maybe_time("ended_ms")?,
        outcome,
        output_bytes: r.count("output_bytes")?,
        output: None,
    })
}

/// Returns for how many slots a record stands.
fn times(outcome: RunOutcome, value: i32) -> u32 {
    let is_untaken = matches!(outcome, RunOutcome::Missed | RunOutcome::NodeDown);
    if is_untaken { value.max(1).cast_unsigned() } else { 1 }
}
