//! The set-up link's row, and the fleet's name.

use lampas_shared::time::UnixMs;

use crate::db::{DbError, Tx, row::Reader};

/// The link as it stands.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) secret_hash: String,
    pub(super) expires_at: UnixMs,
    pub(super) used_at: Option<UnixMs>,
}

pub(super) async fn get(tx: &mut Tx) -> Result<Option<Row>, DbError> {
    let row = sqlx::query("SELECT s.secret_hash, s.expires_ms, s.used_ms FROM setup s WHERE s.name = 'first'")
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("setup", &row);
        Ok(Row {
            secret_hash: r.text("secret_hash")?,
            expires_at: r.time("expires_ms")?,
            used_at: r.maybe_time("used_ms")?,
        })
    })
    .transpose()
}

pub(super) async fn put(tx: &mut Tx, hash: &str, now: UnixMs, expires_at: UnixMs) -> Result<(), DbError> {
    sqlx::query("DELETE FROM setup WHERE name = 'first'").execute(tx.conn()).await?;
    sqlx::query("INSERT INTO setup (name, secret_hash, created_ms, expires_ms) VALUES ('first', ?, ?, ?)")
        .bind(hash)
        .bind(now.0)
        .bind(expires_at.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Uses the link up; false when it is another, used or over.
pub(super) async fn take(tx: &mut Tx, hash: &str, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE setup SET used_ms = ? WHERE name = 'first' AND secret_hash = ? AND used_ms IS NULL AND expires_ms > ?",
    )
    .bind(now.0)
    .bind(hash)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn has_administrator(tx: &mut Tx) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM user_account u WHERE u.preset = 'administrator'")
        .fetch_one(tx.conn())
        .await?;
    Ok(Reader::new("user_account", &row).count("n")? > 0)
}

/// Returns what the fleet is called; empty when it was never named.
pub async fn fleet_name(tx: &mut Tx) -> Result<String, DbError> {
    let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'fleet_name'").fetch_optional(tx.conn()).await?;
    row.map_or(Ok(String::new()), |r| Reader::new("meta", &r).text("value"))
}

/// Names the fleet.
pub async fn set_fleet_name(tx: &mut Tx, name: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM meta WHERE name = 'fleet_name'").execute(tx.conn()).await?;
    sqlx::query("INSERT INTO meta (name, value) VALUES ('fleet_name', ?)").bind(name).execute(tx.conn()).await?;
    Ok(())
}
