//! The tables of groups of users.

use std::collections::BTreeMap;

use lampas_shared::{
    access::{Login, UserGroupName},
    id::{UserGroupId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::db::{DbError, Tx, row::Reader};

/// A group as it stands.
#[derive(Debug, Clone)]
pub(in crate::access) struct GroupRow {
    pub(in crate::access) id: UserGroupId,
    pub(in crate::access) name: UserGroupName,
    pub(in crate::access) note: String,
    pub(in crate::access) created_at: UnixMs,
    pub(in crate::access) grants: u32,
}

const GROUP: &str = "k.id, k.name, k.note, k.created_ms, \
                     (SELECT COUNT(*) FROM access_grant g WHERE g.group_id = k.id) AS grants FROM user_group k";

fn group(row: &AnyRow) -> Result<GroupRow, DbError> {
    let r = Reader::new("user_group", row);
    Ok(GroupRow {
        id: r.parse("id")?,
        name: r.parse("name")?,
        note: r.text("note")?,
        created_at: r.time("created_ms")?,
        grants: r.count("grants")? as u32,
    })
}

pub(in crate::access) async fn list(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<GroupRow>, DbError> {
    let sql = format!("SELECT {GROUP} WHERE k.name > ? ORDER BY k.name LIMIT ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(i64::from(limit));
    query.fetch_all(tx.conn()).await?.iter().map(group).collect()
}

pub(in crate::access) async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<GroupRow>, DbError> {
    let sql = format!("SELECT {GROUP} WHERE k.name = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(tx.conn()).await?;
    row.as_ref().map(group).transpose()
}

pub(in crate::access) async fn by_id(tx: &mut Tx, id: UserGroupId) -> Result<Option<GroupRow>, DbError> {
    let sql = format!("SELECT {GROUP} WHERE k.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(group).transpose()
}

/// Returns the members of all groups, by name.
pub(in crate::access) async fn members(tx: &mut Tx) -> Result<BTreeMap<UserGroupId, Vec<Login>>, DbError> {
    let rows = sqlx::query(
        "SELECT m.group_id, u.login FROM user_group_member m JOIN user_account u ON u.id = m.user_id ORDER BY u.login",
    )
    .fetch_all(tx.conn())
    .await?;
    let mut found: BTreeMap<UserGroupId, Vec<Login>> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("user_group_member", row);
        found.entry(r.parse("group_id")?).or_default().push(r.parse("login")?);
    }
    Ok(found)
}

/// Returns the groups that each user is in, by name.
pub(in crate::access) async fn of_users(tx: &mut Tx) -> Result<BTreeMap<UserId, Vec<UserGroupName>>, DbError> {
    let rows = sqlx::query(
        "SELECT m.user_id, k.name FROM user_group_member m JOIN user_group k ON k.id = m.group_id ORDER BY k.name",
    )
    .fetch_all(tx.conn())
    .await?;
    let mut found: BTreeMap<UserId, Vec<UserGroupName>> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("user_group_member", row);
        found.entry(r.parse("user_id")?).or_default().push(r.parse("name")?);
    }
    Ok(found)
}

pub(in crate::access) async fn insert(tx: &mut Tx, row: &GroupRow) -> Result<(), DbError> {
    sqlx::query("INSERT INTO user_group (id, name, note, created_ms) VALUES (?, ?, ?, ?)")
        .bind(row.id.to_string())
        .bind(row.name.as_str())
        .bind(&row.note)
        .bind(row.created_at.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(in crate::access) async fn update(tx: &mut Tx, row: &GroupRow) -> Result<(), DbError> {
    sqlx::query("UPDATE user_group SET name = ?, note = ? WHERE id = ?")
        .bind(row.name.as_str())
        .bind(&row.note)
        .bind(row.id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Deletes a group with its memberships.
pub(in crate::access) async fn delete(tx: &mut Tx, id: UserGroupId) -> Result<bool, DbError> {
    sqlx::query("DELETE FROM user_group_member WHERE group_id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let done = sqlx::query("DELETE FROM user_group WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a user join. Returns whether that is new.
pub(in crate::access) async fn join(tx: &mut Tx, id: UserGroupId, user: UserId, now: UnixMs) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM user_group_member m WHERE m.group_id = ? AND m.user_id = ?")
        .bind(id.to_string())
        .bind(user.to_string())
        .fetch_one(tx.conn())
        .await?;
    if Reader::new("user_group_member", &row).count("n")? > 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO user_group_member (user_id, group_id, added_ms) VALUES (?, ?, ?)")
        .bind(user.to_string())
        .bind(id.to_string())
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(true)
}

/// Lets a user leave. Returns whether there was a membership.
pub(in crate::access) async fn leave(tx: &mut Tx, id: UserGroupId, user: UserId) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM user_group_member WHERE group_id = ? AND user_id = ?")
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends all memberships of a user who goes.
pub(in crate::access) async fn leave_all(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM user_group_member WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    Ok(())
}
