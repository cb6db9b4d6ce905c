//! The table of secrets' values: sealed, for ever, each of one object.

use lampas_shared::{
    id::{ObjectId, SecretValueId},
    time::UnixMs,
};

use crate::{
    db::{DbError, Tx, row::Reader},
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
    sqlx::query("INSERT INTO secret_value (id, object, sealed, author, at_ms) VALUES (?, ?, ?, ?, ?)")
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

/// Returns a value as it was sealed.
pub(crate) async fn sealed(tx: &mut Tx, id: SecretValueId) -> Result<Option<String>, DbError> {
    let row = sqlx::query("SELECT v.sealed FROM secret_value v WHERE v.id = ?")
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| Reader::new("secret_value", &row).text("sealed")).transpose()
}
