//! The tables of sets: which set a change is of, and which an object is in.

use std::collections::BTreeMap;

use lampas_shared::{
    id::{ChangeId, ObjectId},
    source::SourceName,
};
use sqlx::{Any, QueryBuilder};

use super::SetRow;
use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, insert_many, push_ids},
};

/// Stores the set that a change is of.
pub(crate) async fn insert(tx: &mut Tx, change: ChangeId, set: &SetRow) -> Result<(), DbError> {
    sqlx::query("INSERT INTO change_set (change_id, name, prune, takes) VALUES (?, ?, ?, ?)")
        .bind(change.to_string())
        .bind(set.name.as_str())
        .bind(i64::from(set.prune))
        .bind(i64::from(set.takes))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns the set that a change is of.
pub(crate) async fn of_change(tx: &mut Tx, change: ChangeId) -> Result<Option<SetRow>, DbError> {
    let row = sqlx::query("SELECT s.name, s.prune, s.takes FROM change_set s WHERE s.change_id = ?")
        .bind(change.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("change_set", &row);
        Ok(SetRow { name: r.parse("name")?, prune: r.flag("prune")?, takes: r.flag("takes")? })
    })
    .transpose()
}

/// Returns the sets that objects are in.
pub(crate) async fn of(tx: &mut Tx, objects: &[ObjectId]) -> Result<BTreeMap<ObjectId, SourceName>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(objects) {
        let mut query = QueryBuilder::<Any>::new("SELECT s.object, s.name FROM object_set s WHERE s.object IN ");
        push_ids(&mut query, chunk);
        for row in query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("object_set", &row);
            found.insert(r.parse("object")?, r.parse("name")?);
        }
    }
    Ok(found)
}

/// Returns the objects of a set.
pub(crate) async fn members(tx: &mut Tx, name: &SourceName) -> Result<Vec<ObjectId>, DbError> {
    let rows = sqlx::query("SELECT s.object FROM object_set s WHERE s.name = ? ORDER BY s.object")
        .bind(name.as_str())
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Reader::new("object_set", row).parse("object")).collect()
}

/// Returns the objects that `prune` of a set deleted, and that rollouts of it which didn't come to their end keep on nodes.
pub(super) async fn unfinished(tx: &mut Tx, name: &SourceName) -> Result<Vec<ObjectId>, DbError> {
    let rows = sqlx::query(
        "SELECT DISTINCT b.object FROM rollout_before b JOIN change_set s ON s.change_id = b.change_id \
         WHERE s.name = ? AND s.prune = 1 AND EXISTS (SELECT 1 FROM rollout_hold h WHERE h.change_id = b.change_id) \
         AND NOT EXISTS (SELECT 1 FROM object o WHERE o.id = b.object) ORDER BY b.object",
    )
    .bind(name.as_str())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("rollout_before", row).parse("object")).collect()
}

/// Returns every object that is in a set, with its name.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<(ObjectId, SourceName)>, DbError> {
    let rows = sqlx::query("SELECT s.object, s.name FROM object_set s ORDER BY s.name, s.object");
    let rows = rows.fetch_all(tx.conn()).await?;
    let read = |row| {
        let r = Reader::new("object_set", row);
        Ok((r.parse("object")?, r.parse("name")?))
    };
    rows.iter().map(read).collect()
}

/// Returns whether a set holds something.
pub(crate) async fn is_there(tx: &mut Tx, name: &SourceName) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT s.object FROM object_set s WHERE s.name = ? LIMIT 1").bind(name.as_str());
    Ok(row.fetch_optional(tx.conn()).await?.is_some())
}

/// Takes objects into a set; they are in none.
pub(crate) async fn join(tx: &mut Tx, name: &SourceName, objects: &[ObjectId]) -> Result<(), DbError> {
    insert_many(tx, "object_set", &["object", "name"], "", objects, |b, object| {
        b.push_bind(object.to_string()).push_bind(name.as_str().to_owned());
    })
    .await
}

/// Takes objects out of whatever set they are in.
pub(crate) async fn leave(tx: &mut Tx, objects: &[ObjectId]) -> Result<(), DbError> {
    for chunk in id_chunks(objects) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM object_set WHERE object IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(())
}
