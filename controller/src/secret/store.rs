//! The table of secrets' values: sealed, for ever, each of one object.

pub(crate) mod holder;

use lampas_shared::{
    id::{ObjectId, SecretValueId},
    object::Body,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use crate::{
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, push_ids},
    },
    fleet,
};

/// Writes a value.
pub(crate) async fn insert(
    tx: &mut Tx,
    id: SecretValueId,
    object: ObjectId,
    sealed: &str,
    author: &str,
    at: UnixMs,
) -> Result<(), DbError> {
    sqlx::query("INSERT INTO secret_value (id, object, sealed, author, at_ms, is_tracked) VALUES (?, ?, ?, ?, ?, 1)")
        .bind(id.to_string())
        .bind(object.to_string())
        .bind(sealed.to_owned())
        .bind(fleet::bounded(author, 128))
        .bind(at.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns the object that a value is of.
pub(crate) async fn object_of(tx: &mut Tx, id: SecretValueId) -> Result<Option<ObjectId>, DbError> {
    let row = sqlx::query("SELECT v.object FROM secret_value v WHERE v.id = ?")
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| Reader::new("secret_value", &row).parse("object")).transpose()
}

/// A value, without it.
#[derive(Debug, Clone)]
pub(super) struct ValueRow {
    pub(super) id: SecretValueId,
    pub(super) author: String,
    pub(super) at: UnixMs,
    pub(super) purged_at: Option<UnixMs>,
}

/// Returns the values of a secret, newest first.
pub(super) async fn of_object(tx: &mut Tx, object: ObjectId) -> Result<Vec<ValueRow>, DbError> {
    let rows = sqlx::query(
        "SELECT v.id, v.author, v.at_ms, v.purged_ms FROM secret_value v WHERE v.object = ? ORDER BY v.at_ms DESC, v.id DESC",
    )
    .bind(object.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("secret_value", row);
            Ok(ValueRow {
                id: r.parse("id")?,
                author: r.text("author")?,
                at: r.time("at_ms")?,
                purged_at: r.maybe_time("purged_ms")?,
            })
        })
        .collect()
}

/// Returns the value that stands of a secret, for a transaction that destroys others: it stands until that is over.
pub(super) async fn current_of(tx: &mut Tx, object: ObjectId) -> Result<Option<SecretValueId>, DbError> {
    let mut query = QueryBuilder::<Any>::new("SELECT o.body FROM object o WHERE o.id = ");
    query.push_bind(object.to_string()).push(tx.dialect().for_update());
    let row = query.build().fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(None) };
    match Reader::new("object", &row).json::<Body>("body")? {
        Body::Secret(secret) => Ok(secret.value),
        _ => Ok(None),
    }
}

/// Destroys values of a secret; returns how many.
pub(super) async fn purge(tx: &mut Tx, object: ObjectId, ids: &[SecretValueId], now: UnixMs) -> Result<u64, DbError> {
    let mut purged = 0;
    for chunk in id_chunks(ids) {
        let mut query = QueryBuilder::<Any>::new("UPDATE secret_value SET sealed = '', purged_ms = ");
        query.push_bind(now.0).push(" WHERE purged_ms IS NULL AND object = ").push_bind(object.to_string());
        query.push(" AND id IN ");
        push_ids(&mut query, chunk);
        purged += query.build().persistent(false).execute(tx.conn()).await?.rows_affected();
    }
    Ok(purged)
}

/// Returns whether a value was destroyed, for a transaction that lets something name it: it is not until that is over.
pub(crate) async fn is_purged(tx: &mut Tx, id: SecretValueId) -> Result<bool, DbError> {
    let mut query = QueryBuilder::<Any>::new("SELECT v.purged_ms FROM secret_value v WHERE v.id = ");
    query.push_bind(id.to_string()).push(tx.dialect().for_update());
    let row = query.build().fetch_optional(tx.conn()).await?;
    let purged = row.map(|row| Reader::new("secret_value", &row).maybe_time("purged_ms")).transpose()?;
    Ok(purged.flatten().is_some())
}

/// Returns the key of a secret for the audit; its id when it is gone.
pub(super) async fn key_of(tx: &mut Tx, object: ObjectId) -> Result<String, DbError> {
    let row = sqlx::query("SELECT o.scope, o.name FROM object o WHERE o.id = ?")
        .bind(object.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map_or_else(
        || Ok(object.to_string()),
        |row| {
            let r = Reader::new("object", &row);
            Ok(format!("secret {}/{}", r.text("scope")?, r.text("name")?))
        },
    )
}

/// Returns one of the values that are kept, whichever: who has the key opens it.
pub(crate) async fn any(tx: &mut Tx) -> Result<Option<(SecretValueId, String)>, DbError> {
    let row = sqlx::query("SELECT v.id, v.sealed FROM secret_value v WHERE v.purged_ms IS NULL LIMIT 1")
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("secret_value", &row);
        Ok((r.parse("id")?, r.text("sealed")?))
    })
    .transpose()
}

/// Returns a value as it was sealed; nothing when it was destroyed.
pub(crate) async fn sealed(tx: &mut Tx, id: SecretValueId) -> Result<Option<String>, DbError> {
    let row = sqlx::query("SELECT v.sealed FROM secret_value v WHERE v.id = ?")
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await?;
    let sealed = row.map(|row| Reader::new("secret_value", &row).text("sealed")).transpose()?;
    Ok(sealed.filter(|s| !s.is_empty()))
}
