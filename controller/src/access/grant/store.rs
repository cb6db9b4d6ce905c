//! The table of grants, and what users may by it.

use std::collections::BTreeMap;

use lampas_shared::{
    access::{Actions, Login, Preset, Right, Rights, Subject, Via},
    fleet::Scope,
    id::{GrantId, UserGroupId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::{
    access::store::scoped,
    db::{
        DbError, Tx,
        row::{Reader, draw},
    },
};

/// Who a grant is for, by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::access) enum SubjectId {
    User(UserId),
    Group(UserGroupId),
}

/// A grant as it stands.
#[derive(Debug, Clone)]
pub(in crate::access) struct GrantRow {
    pub(in crate::access) id: GrantId,
    pub(in crate::access) to: SubjectId,
    pub(in crate::access) subject: Subject,
    pub(in crate::access) actions: Actions,
    /// With the node's name.
    pub(in crate::access) scope: Scope,
    /// Whether the scope names a node that was taken out of the fleet: such a grant is good for nothing.
    pub(in crate::access) is_gone: bool,
    pub(in crate::access) reason: String,
    pub(in crate::access) author: String,
    pub(in crate::access) created_at: UnixMs,
    pub(in crate::access) expires_at: Option<UnixMs>,
}

impl GrantRow {
    /// Returns what it allows to its subject; nothing when it is good for nothing.
    pub(in crate::access) fn right(&self) -> Option<Right> {
        let group = match &self.subject {
            Subject::User(_) => None,
            Subject::Group(name) => Some(name.clone()),
        };
        let right = Right::new(self.actions.permissions(), self.scope.clone(), Via::Grant(self.id, group));
        (!self.is_gone).then_some(right)
    }
}

const GRANT: &str = "g.id, g.user_id, g.group_id, g.actions, g.scope, g.reason, g.author, g.created_ms, g.expires_ms, \
                     u.login, k.name AS group_name, n.name AS node_name FROM access_grant g \
                     LEFT JOIN user_account u ON u.id = g.user_id LEFT JOIN user_group k ON k.id = g.group_id \
                     LEFT JOIN node n ON g.scope LIKE 'node:%' AND n.id = SUBSTR(g.scope, 6)";

fn grant(row: &AnyRow) -> Result<GrantRow, DbError> {
    let r = Reader::new("access_grant", row);
    let (to, subject) = match r.maybe_parse::<UserId>("user_id")? {
        Some(id) => (SubjectId::User(id), Subject::User(r.parse("login")?)),
        None => (SubjectId::Group(r.parse("group_id")?), Subject::Group(r.parse("group_name")?)),
    };
    let (scope, is_gone) = scoped(&r)?.ok_or_else(|| r.wrong("scope", "is empty"))?;
    Ok(GrantRow {
        id: r.parse("id")?,
        to,
        subject,
        actions: r.parse("actions")?,
        scope,
        is_gone,
        reason: r.text("reason")?,
        author: r.text("author")?,
        created_at: r.time("created_ms")?,
        expires_at: r.maybe_time("expires_ms")?,
    })
}

/// Makes the transaction wait for all others that change what users may: what it sees then stays so until it is over.
pub(in crate::access) async fn lock(tx: &mut Tx) -> Result<(), DbError> {
    draw(tx, "access", 1).await.map(drop)
}

/// Returns what a user with this preset may.
pub(crate) async fn rights(tx: &mut Tx, user: UserId, preset: Preset, now: UnixMs) -> Result<Rights, DbError> {
    let sql = format!(
        "SELECT {GRANT} WHERE (g.user_id = ? OR g.group_id IN \
         (SELECT m.group_id FROM user_group_member m WHERE m.user_id = ?)) AND (g.expires_ms IS NULL OR g.expires_ms > ?) \
         ORDER BY g.id"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(user.to_string())
        .bind(user.to_string())
        .bind(now.0)
        .fetch_all(tx.conn())
        .await?;
    let mut rights = Rights::of(preset);
    for row in &rows {
        rights.0.extend(grant(row)?.right());
    }
    Ok(rights)
}

/// Returns what everybody may who isn't barred, by name.
pub(crate) async fn everybody(tx: &mut Tx, now: UnixMs) -> Result<BTreeMap<Login, Rights>, DbError> {
    let rows = sqlx::query("SELECT u.id, u.login, u.preset FROM user_account u WHERE u.disabled_ms IS NULL")
        .fetch_all(tx.conn())
        .await?;
    let mut found: BTreeMap<UserId, (Login, Rights)> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("user_account", row);
        found.insert(r.parse("id")?, (r.parse("login")?, Rights::of(r.parse("preset")?)));
    }
    let mut members: Vec<(UserGroupId, UserId)> = Vec::new();
    let rows = sqlx::query("SELECT m.group_id, m.user_id FROM user_group_member m ORDER BY m.group_id, m.user_id")
        .fetch_all(tx.conn())
        .await?;
    for row in &rows {
        let r = Reader::new("user_group_member", row);
        members.push((r.parse("group_id")?, r.parse("user_id")?));
    }
    for grant in standing(tx, now).await? {
        let Some(right) = grant.right() else { continue };
        let of_group = members.iter().filter(|(group, _)| grant.to == SubjectId::Group(*group)).map(|(_, user)| *user);
        let of_user = match grant.to {
            SubjectId::User(user) => Some(user),
            SubjectId::Group(_) => None,
        };
        for user in of_group.chain(of_user) {
            if let Some((_, rights)) = found.get_mut(&user) {
                rights.0.push(right.clone());
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Returns whether somebody is left who may sign in and everything, for ever.
pub(in crate::access) async fn has_administrator(tx: &mut Tx) -> Result<bool, DbError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM user_account u WHERE u.disabled_ms IS NULL AND (u.preset = 'administrator' OR EXISTS \
         (SELECT 1 FROM access_grant g WHERE g.actions = 'administrator' AND g.scope = 'fleet' AND g.expires_ms IS NULL \
         AND (g.user_id = u.id OR g.group_id IN \
         (SELECT m.group_id FROM user_group_member m WHERE m.user_id = u.id))))",
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Reader::new("user_account", &row).count("n")? > 0)
}

/// Returns the grants that are not over.
pub(in crate::access) async fn standing(tx: &mut Tx, now: UnixMs) -> Result<Vec<GrantRow>, DbError> {
    let sql = format!("SELECT {GRANT} WHERE g.expires_ms IS NULL OR g.expires_ms > ? ORDER BY g.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.0).fetch_all(tx.conn()).await?;
    rows.iter().map(grant).collect()
}

/// Returns a page of the grants that are not over, the newest first: all, or those to a subject.
pub(in crate::access) async fn list(
    tx: &mut Tx,
    to: Option<SubjectId>,
    before: &str,
    now: UnixMs,
    limit: u32,
) -> Result<Vec<GrantRow>, DbError> {
    let sql = format!(
        "SELECT {GRANT} WHERE g.id < ? AND (g.expires_ms IS NULL OR g.expires_ms > ?) \
         AND (g.user_id = ? OR g.group_id = ? OR ? = 1) ORDER BY g.id DESC LIMIT ?"
    );
    let (user, group) = match to {
        Some(SubjectId::User(id)) => (id.to_string(), String::new()),
        Some(SubjectId::Group(id)) => (String::new(), id.to_string()),
        None => (String::new(), String::new()),
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before)
        .bind(now.0)
        .bind(user)
        .bind(group)
        .bind(i64::from(to.is_none()))
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(grant).collect()
}

pub(in crate::access) async fn get(tx: &mut Tx, id: GrantId) -> Result<Option<GrantRow>, DbError> {
    let sql = format!("SELECT {GRANT} WHERE g.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(grant).transpose()
}

/// Stores a grant, with its scope as it is stored.
pub(in crate::access) async fn insert(tx: &mut Tx, row: &GrantRow, scope: &str) -> Result<(), DbError> {
    let (user, group) = match row.to {
        SubjectId::User(id) => (Some(id.to_string()), None),
        SubjectId::Group(id) => (None, Some(id.to_string())),
    };
    sqlx::query(
        "INSERT INTO access_grant (id, user_id, group_id, actions, scope, reason, author, created_ms, expires_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(user)
    .bind(group)
    .bind(row.actions.to_string())
    .bind(scope)
    .bind(&row.reason)
    .bind(crate::fleet::bounded(&row.author, 128))
    .bind(row.created_at.0)
    .bind(row.expires_at.map(|t| t.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(in crate::access) async fn delete(tx: &mut Tx, id: GrantId) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM access_grant WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Drops what was granted to a user or group that goes.
pub(in crate::access) async fn delete_of(tx: &mut Tx, to: SubjectId) -> Result<(), DbError> {
    let (sql, id) = match to {
        SubjectId::User(id) => ("DELETE FROM access_grant WHERE user_id = ?", id.to_string()),
        SubjectId::Group(id) => ("DELETE FROM access_grant WHERE group_id = ?", id.to_string()),
    };
    sqlx::query(sql).bind(id).execute(tx.conn()).await?;
    Ok(())
}

/// Drops grants that are over.
pub(in crate::access) async fn prune(tx: &mut Tx, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("DELETE FROM access_grant WHERE expires_ms <= ?").bind(now.0).execute(tx.conn()).await?;
    Ok(())
}
