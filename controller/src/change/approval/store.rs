//! The tables of protections, of approvals, and of what was applied over them.

use lampas_api::{OverrideView, ProtectedScope};
use lampas_shared::{
    change::Verdict,
    fleet::Scope,
    id::{ChangeId, ProtectionId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::{
    db::{
        DbError, Tx,
        row::{Reader, insert_many, to_json},
    },
    fleet,
};

/// A protection as it stands.
#[derive(Debug, Clone)]
pub(crate) struct ProtectionRow {
    pub(crate) id: ProtectionId,
    /// As it is stored: nodes by their ids.
    pub(crate) scope: Scope,
    pub(crate) reason: String,
    pub(crate) author: String,
    pub(crate) created_at: UnixMs,
}

pub(crate) async fn protections(tx: &mut Tx) -> Result<Vec<ProtectionRow>, DbError> {
    let rows = sqlx::query("SELECT p.id, p.scope, p.reason, p.author, p.created_ms FROM protection p ORDER BY p.scope")
        .fetch_all(tx.conn())
        .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("protection", row);
            Ok(ProtectionRow {
                id: r.parse("id")?,
                scope: r.parse("scope")?,
                reason: r.text("reason")?,
                author: r.text("author")?,
                created_at: r.time("created_ms")?,
            })
        })
        .collect()
}

pub(crate) async fn insert_protection(tx: &mut Tx, row: &ProtectionRow) -> Result<(), DbError> {
    sqlx::query("INSERT INTO protection (id, scope, reason, author, created_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(row.id.to_string())
        .bind(row.scope.to_string())
        .bind(&row.reason)
        .bind(fleet::bounded(&row.author, 128))
        .bind(row.created_at.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(crate) async fn delete_protection(tx: &mut Tx, id: ProtectionId) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM protection WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// What was said of a change's plan.
#[derive(Debug, Clone)]
pub(crate) struct ApprovalRow {
    pub(crate) change: ChangeId,
    /// The plan, by its whole digest.
    pub(crate) plan: String,
    pub(crate) verdict: Verdict,
    /// What was protected among its nodes when that was looked at.
    pub(crate) needs: Vec<ProtectedScope>,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// What was said before, in words.
    pub(crate) note: String,
    pub(crate) at: UnixMs,
}

const APPROVAL: &str = "a.change_id, a.plan_id, a.verdict, a.needs, a.author, a.reason, a.note, a.at_ms";

fn approval(row: &AnyRow) -> Result<ApprovalRow, DbError> {
    let r = Reader::new("approval", row);
    Ok(ApprovalRow {
        change: r.parse("change_id")?,
        plan: r.text("plan_id")?,
        verdict: r.parse("verdict")?,
        needs: r.json("needs")?,
        by: r.text("author")?,
        reason: r.text("reason")?,
        note: r.text("note")?,
        at: r.time("at_ms")?,
    })
}

pub(crate) async fn get(tx: &mut Tx, change: ChangeId) -> Result<Option<ApprovalRow>, DbError> {
    let sql = format!("SELECT {APPROVAL} FROM approval a WHERE a.change_id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(change.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(approval).transpose()
}

pub(crate) async fn put(tx: &mut Tx, row: &ApprovalRow) -> Result<(), DbError> {
    let columns = ["change_id", "plan_id", "verdict", "needs", "author", "reason", "note", "at_ms"];
    let after = tx.dialect().on_conflict(&["change_id"], &columns[1..]);
    insert_many(tx, "approval", &columns, &after, &[row], |b, row| {
        b.push_bind(row.change.to_string())
            .push_bind(row.plan.clone())
            .push_bind(row.verdict.as_str())
            .push_bind(to_json(&row.needs))
            .push_bind(fleet::bounded(&row.by, 128))
            .push_bind(row.reason.clone())
            .push_bind(fleet::bounded(&row.note, 1000))
            .push_bind(row.at.0);
    })
    .await
}

pub(crate) async fn delete(tx: &mut Tx, change: ChangeId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM approval WHERE change_id = ?").bind(change.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Returns the plans that wait for an approval, the oldest first: not those that were only made to look at them.
pub(crate) async fn wanted(tx: &mut Tx, limit: u32) -> Result<Vec<ApprovalRow>, DbError> {
    let sql = format!(
        "SELECT {APPROVAL} FROM approval a JOIN changes c ON c.id = a.change_id \
         WHERE a.verdict = 'wanted' AND c.state = 'planned' AND c.is_look = 0 ORDER BY a.at_ms, a.change_id LIMIT ?"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(limit));
    query.fetch_all(tx.conn()).await?.iter().map(approval).collect()
}

/// Returns the changes that are planned, the newest first.
pub(crate) async fn planned(tx: &mut Tx, limit: u32) -> Result<Vec<ChangeId>, DbError> {
    let rows = sqlx::query("SELECT c.id FROM changes c WHERE c.state = 'planned' ORDER BY c.number DESC LIMIT ?")
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Reader::new("changes", row).parse("id")).collect()
}

/// Takes a change's plan away: it is to be planned again.
pub(crate) async fn drop_plan(tx: &mut Tx, change: ChangeId) -> Result<(), DbError> {
    sqlx::query("UPDATE changes SET plan_id = NULL WHERE id = ?").bind(change.to_string()).execute(tx.conn()).await?;
    sqlx::query("DELETE FROM plan WHERE change_id = ?").bind(change.to_string()).execute(tx.conn()).await?;
    crate::change::forget_nodes(tx, change).await
}

/// Notes that a change was applied over something.
pub(crate) async fn put_override(
    tx: &mut Tx,
    change: ChangeId,
    (what, by, reason): (&str, &str, &str),
    now: UnixMs,
) -> Result<(), DbError> {
    let columns = ["change_id", "what", "author", "reason", "at_ms"];
    let after = tx.dialect().on_conflict(&["change_id", "what"], &columns[2..]);
    insert_many(tx, "change_override", &columns, &after, &[()], |b, ()| {
        b.push_bind(change.to_string())
            .push_bind(what.to_owned())
            .push_bind(fleet::bounded(by, 128))
            .push_bind(reason.to_owned())
            .push_bind(now.0);
    })
    .await
}

/// Returns what a change was applied over.
pub(crate) async fn overrides(tx: &mut Tx, change: ChangeId) -> Result<Vec<OverrideView>, DbError> {
    let rows = sqlx::query(
        "SELECT o.what, o.author, o.reason, o.at_ms FROM change_override o WHERE o.change_id = ? ORDER BY o.what",
    )
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_override", row);
            Ok(OverrideView {
                what: r.text("what")?,
                by: r.text("author")?,
                reason: r.text("reason")?,
                at: r.time("at_ms")?,
            })
        })
        .collect()
}
