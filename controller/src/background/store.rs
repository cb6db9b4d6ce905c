//! The statements of the recurring work.

use lampas_runtime::clock;
use lampas_shared::{
    event::EventKind,
    id::{ChangeId, ControllerId},
    time::UnixMs,
};

use crate::{
    audit::{Entry, Principal},
    change,
    db::{
        Db, DbError, Tx,
        row::{Reader, insert_many},
    },
    event::{self, NewEvent},
    job, past,
};

/// The most rows that one transaction drops.
const SLICE: u32 = 900;

/// Puts right what an earlier process of this controller left: its sessions ended with it.
pub async fn begin(db: &Db, controller: ControllerId) -> Result<(), DbError> {
    db.write(|mut tx| async move {
        seen(&mut tx, controller, clock::now()).await?;
        sqlx::query(
            "UPDATE node SET state = 'offline' WHERE state <> 'offline' AND (id IN \
             (SELECT s.node FROM node_session s WHERE s.controller = ?) OR id NOT IN (SELECT s.node FROM node_session s))",
        )
        .bind(controller.to_string())
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "UPDATE node_session SET closed_ms = opened_ms, reason = 'the controller was restarted' \
             WHERE controller = ? AND closed_ms IS NULL",
        )
        .bind(controller.to_string())
        .execute(tx.conn())
        .await?;
        Ok(tx.done(()))
    })
    .await
}

/// Says that this controller is alive.
pub(super) async fn beat(db: &Db, controller: ControllerId) -> Result<(), DbError> {
    db.write(|mut tx| async move {
        seen(&mut tx, controller, clock::now()).await?;
        Ok(tx.done(()))
    })
    .await
}

async fn seen(tx: &mut Tx, controller: ControllerId, at: UnixMs) -> Result<(), DbError> {
    let after = tx.dialect().on_conflict(&["id"], &["seen_ms"]);
    insert_many(tx, "controller", &["id", "seen_ms"], &after, &[()], |b, ()| {
        b.push_bind(controller.to_string()).push_bind(at.0);
    })
    .await
}

/// Ends the sessions of controllers that have not been heard since a time: nobody else would.
pub(super) async fn lapse(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let of_silent = "s.closed_ms IS NULL AND s.controller IN (SELECT o.id FROM controller o WHERE o.seen_ms < ?)";
        let nodes = format!(
            "UPDATE node SET state = 'offline' WHERE state <> 'offline' AND id IN \
             (SELECT s.node FROM node_session s WHERE {of_silent})"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(nodes)).bind(before.0).execute(tx.conn()).await?;
        sqlx::query(
            "UPDATE node_session SET closed_ms = opened_ms, reason = 'its controller is gone' \
             WHERE closed_ms IS NULL AND controller IN (SELECT o.id FROM controller o WHERE o.seen_ms < ?)",
        )
        .bind(before.0)
        .execute(tx.conn())
        .await?;
        Ok(tx.done(done.rows_affected()))
    })
    .await
}

pub(super) async fn prune_events(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let count = event::prune(&mut tx, before).await?;
        Ok(tx.done(count))
    })
    .await
}

pub(super) async fn prune_past(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let count = past::prune(&mut tx, before).await?;
        Ok(tx.done(count))
    })
    .await
}

pub(super) async fn prune_runs(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let count = job::prune(&mut tx, before, SLICE).await?;
        Ok(tx.done(count))
    })
    .await
}

pub(super) async fn prune_drift(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    delete(db, "DELETE FROM drift WHERE outcome <> 'standing' AND ended_ms < ?", before).await
}

/// Contents that no compile named for a month: older revisions still have theirs in their bodies.
pub(super) async fn prune_contents(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    delete(db, "DELETE FROM content WHERE used_ms < ?", before).await
}

/// What became of messages is looked up for a while.
pub(super) async fn prune_mail(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    delete(db, "DELETE FROM mail_message WHERE created_ms < ?", before).await
}

/// An agent draws an epoch at each start; what it left unacknowledged comes again within days, not months.
pub(super) async fn prune_epochs(db: &Db, before: UnixMs) -> Result<u64, DbError> {
    delete(db, "DELETE FROM outbox_seen WHERE at_ms < ?", before).await
}

pub(super) async fn settle(db: &Db, now: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let done = change::settle(&mut tx, now).await?;
        Ok(tx.done(done as u64))
    })
    .await
}

/// Gives up changes that nobody touched for long and nobody applied: what they were planned on is long gone.
pub(super) async fn abandon(db: &Db, before: UnixMs, now: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let rows = sqlx::query(
            "SELECT c.id, c.number FROM changes c WHERE c.state IN ('draft', 'planned', 'approved') AND c.updated_ms < ? \
             AND c.id NOT IN (SELECT s.change_id FROM change_schedule s WHERE s.state = 'waiting') \
             ORDER BY c.number LIMIT ?",
        )
        .bind(before.0)
        .bind(i64::from(SLICE))
        .fetch_all(tx.conn())
        .await?;
        let mut count = 0;
        for row in &rows {
            let r = Reader::new("changes", row);
            let (id, number) = (r.parse::<ChangeId>("id")?, r.count("number")?);
            let done = sqlx::query(
                "UPDATE changes SET state = 'abandoned', updated_ms = ? WHERE id = ? \
                 AND state IN ('draft', 'planned', 'approved')",
            )
            .bind(now.0)
            .bind(id.to_string())
            .execute(tx.conn())
            .await?;
            if done.rows_affected() == 0 {
                continue;
            }
            change::forget_nodes(&mut tx, id).await?;
            let event = NewEvent::new(EventKind::ChangeMoved).change(id);
            tx.event(event.with("number", number).with("state", "abandoned"));
            let entry = Entry::done(&Principal::system(), "change.abandon", format!("change {number}"));
            tx.audit(entry.because("nobody applied it for a week"));
            count += 1;
        }
        Ok(tx.done(count))
    })
    .await
}

async fn delete(db: &Db, statement: &'static str, before: UnixMs) -> Result<u64, DbError> {
    db.write(|mut tx| async move {
        let done = sqlx::query(statement).bind(before.0).execute(tx.conn()).await?;
        Ok(tx.done(done.rows_affected()))
    })
    .await
}
