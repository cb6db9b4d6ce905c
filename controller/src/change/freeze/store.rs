//! The table of freezes.

use lampas_shared::{fleet::Scope, id::FreezeId, time::UnixMs};

use crate::{
    db::{DbError, Tx, row::Reader},
    fleet,
};

/// A freeze as it stands.
#[derive(Debug, Clone)]
pub(crate) struct FreezeRow {
    pub(crate) id: FreezeId,
    /// As it is stored: nodes by their ids.
    pub(crate) scope: Scope,
    pub(crate) from: UnixMs,
    pub(crate) until: UnixMs,
    pub(crate) reason: String,
    pub(crate) author: String,
    pub(crate) created_at: UnixMs,
    pub(crate) ended_by: String,
}

/// Returns those that end after a time, by their beginning.
pub(crate) async fn until_after(tx: &mut Tx, time: UnixMs) -> Result<Vec<FreezeRow>, DbError> {
    let rows = sqlx::query(
        "SELECT f.id, f.scope, f.from_ms, f.until_ms, f.reason, f.author, f.created_ms, f.ended_by FROM freeze f \
         WHERE f.until_ms > ? ORDER BY f.from_ms, f.id LIMIT 1000",
    )
    .bind(time.0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("freeze", row);
            Ok(FreezeRow {
                id: r.parse("id")?,
                scope: r.parse("scope")?,
                from: r.time("from_ms")?,
                until: r.time("until_ms")?,
                reason: r.text("reason")?,
                author: r.text("author")?,
                created_at: r.time("created_ms")?,
                ended_by: r.text("ended_by")?,
            })
        })
        .collect()
}

pub(crate) async fn insert(tx: &mut Tx, row: &FreezeRow) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO freeze (id, scope, from_ms, until_ms, reason, author, created_ms, ended_by) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.scope.to_string())
    .bind(row.from.0)
    .bind(row.until.0)
    .bind(&row.reason)
    .bind(fleet::bounded(&row.author, 128))
    .bind(row.created_at.0)
    .bind(&row.ended_by)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Stores that a freeze is over.
pub(crate) async fn end(tx: &mut Tx, row: &FreezeRow) -> Result<(), DbError> {
    sqlx::query("UPDATE freeze SET from_ms = ?, until_ms = ?, ended_by = ? WHERE id = ?")
        .bind(row.from.0)
        .bind(row.until.0)
        .bind(fleet::bounded(&row.ended_by, 128))
        .bind(row.id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}
