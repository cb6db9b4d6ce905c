//! The table of scheduled changes.

use lampas_shared::{
    change::ScheduleState,
    id::{ChangeId, TokenId, UserId},
    rollout::Strategy,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use crate::{
    audit::Principal,
    change::Apply,
    db::{
        DbError, Tx,
        row::{Reader, insert_many, to_json},
    },
    fleet,
};

/// A change on the schedule.
#[derive(Debug, Clone)]
pub(crate) struct ScheduleRow {
    pub(crate) change: ChangeId,
    /// The plan, by its whole digest.
    pub(crate) plan: String,
    pub(crate) state: ScheduleState,
    /// When, as it was asked for.
    pub(crate) at: UnixMs,
    /// When it is due: the end of the freeze that it waits for.
    pub(crate) due: UnixMs,
    pub(crate) how: How,
    pub(crate) by: Principal,
    pub(crate) user: UserId,
    pub(crate) token: Option<TokenId>,
    /// Why it stands so.
    pub(crate) reason: String,
}

/// How it is to be applied, as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct How {
    pub(crate) allow_unplanned: bool,
    pub(crate) rollout: Strategy,
    #[serde(default)]
    pub(crate) over_protection: Option<String>,
    #[serde(default)]
    pub(crate) over_freeze: Option<String>,
    /// From where it was ordered.
    #[serde(default)]
    from: String,
}

impl How {
    pub(crate) fn of(how: &Apply) -> Self {
        Self {
            allow_unplanned: how.allow_unplanned,
            rollout: how.rollout.clone(),
            over_protection: how.over_protection.clone(),
            over_freeze: how.over_freeze.clone(),
            from: String::new(),
        }
    }

    pub(crate) fn apply(&self) -> Apply {
        Apply {
            allow_unplanned: self.allow_unplanned,
            rollout: self.rollout.clone(),
            over_protection: self.over_protection.clone(),
            over_freeze: self.over_freeze.clone(),
            ..Apply::default()
        }
    }

    /// Whether it goes over something.
    pub(crate) fn is_over(&self) -> bool {
        self.over_protection.is_some() || self.over_freeze.is_some()
    }
}

const COLUMNS: &str = "s.change_id, s.plan_id, s.state, s.at_ms, s.due_ms, s.body, s.principal, s.user_id, s.token_id, \
                       s.reason";

fn scheduled(row: &AnyRow) -> Result<ScheduleRow, DbError> {
    let r = Reader::new("change_schedule", row);
    let how: How = r.json("body")?;
    Ok(ScheduleRow {
        change: r.parse("change_id")?,
        plan: r.text("plan_id")?,
        state: r.parse("state")?,
        at: r.time("at_ms")?,
        due: r.time("due_ms")?,
        by: Principal::new(r.text("principal")?, how.from.clone()),
        how,
        user: r.parse("user_id")?,
        token: r.maybe_parse("token_id")?,
        reason: r.text("reason")?,
    })
}

pub(crate) async fn get(tx: &mut Tx, change: ChangeId, for_update: bool) -> Result<Option<ScheduleRow>, DbError> {
    let lock = if for_update { tx.dialect().for_update() } else { "" };
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM change_schedule s WHERE s.change_id = "));
    query.push_bind(change.to_string()).push(lock);
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.as_ref().map(scheduled).transpose()
}

pub(crate) async fn put(tx: &mut Tx, row: &ScheduleRow, now: UnixMs) -> Result<(), DbError> {
    let columns = [
        "change_id",
        "plan_id",
        "state",
        "at_ms",
        "due_ms",
        "body",
        "principal",
        "user_id",
        "token_id",
        "reason",
        "updated_ms",
    ];
    let after = tx.dialect().on_conflict(&["change_id"], &columns[1..]);
    let how = How { from: row.by.from.clone(), ..row.how.clone() };
    insert_many(tx, "change_schedule", &columns, &after, &[row], |b, row| {
        b.push_bind(row.change.to_string())
            .push_bind(row.plan.clone())
            .push_bind(row.state.as_str())
            .push_bind(row.at.0)
            .push_bind(row.due.0)
            .push_bind(to_json(&how))
            .push_bind(fleet::bounded(&row.by.name, 255))
            .push_bind(row.user.to_string())
            .push_bind(row.token.map(|t| t.to_string()))
            .push_bind(row.reason.clone())
            .push_bind(now.0);
    })
    .await
}

/// Stores how it stands, when it is due, and why.
pub(crate) async fn set(
    tx: &mut Tx,
    change: ChangeId,
    state: ScheduleState,
    (due, reason): (UnixMs, &str),
    now: UnixMs,
) -> Result<(), DbError> {
    sqlx::query("UPDATE change_schedule SET state = ?, due_ms = ?, reason = ?, updated_ms = ? WHERE change_id = ?")
        .bind(state.as_str())
        .bind(due.0)
        .bind(fleet::bounded(reason, 1000))
        .bind(now.0)
        .bind(change.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns what waits, the soonest first.
pub(crate) async fn waiting(tx: &mut Tx) -> Result<Vec<ScheduleRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM change_schedule s WHERE s.state = 'waiting' ORDER BY s.at_ms, s.change_id LIMIT 1000"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(tx.conn()).await?;
    rows.iter().map(scheduled).collect()
}

/// Returns the numbers of the changes that wait.
pub(crate) async fn numbers(tx: &mut Tx) -> Result<Vec<u64>, DbError> {
    let rows = sqlx::query(
        "SELECT c.number FROM change_schedule s JOIN changes c ON c.id = s.change_id WHERE s.state = 'waiting' \
         ORDER BY c.number LIMIT 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("changes", row).count("number")).collect()
}

/// Returns the open changes that were dropped since a time.
pub(crate) async fn dropped(tx: &mut Tx, since: UnixMs) -> Result<Vec<(u64, String, UnixMs)>, DbError> {
    let rows = sqlx::query(
        "SELECT c.number, s.reason, s.updated_ms FROM change_schedule s JOIN changes c ON c.id = s.change_id \
         WHERE s.state = 'dropped' AND s.updated_ms > ? AND c.state IN ('draft', 'planned', 'approved') \
         ORDER BY s.updated_ms DESC LIMIT 5",
    )
    .bind(since.0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_schedule", row);
            Ok((r.count("number")?, r.text("reason")?, r.time("updated_ms")?))
        })
        .collect()
}
