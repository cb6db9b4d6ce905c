//! The tables of users, sessions and API tokens.

use lampas_shared::{
    access::{Login, Permission, Preset, Rights},
    fleet::{NodeName, Scope},
    id::{IdentityId, TokenId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::db::{
    DbError, Tx,
    row::{Reader, to_json},
};

const USER: &str = "u.id, u.login, u.preset, u.password_hash, u.created_ms, u.disabled_ms, u.signed_in_ms, \
                    (SELECT COUNT(*) FROM second_factor f WHERE f.user_id = u.id AND f.confirmed_ms IS NOT NULL) \
                    + (SELECT COUNT(*) FROM security_key k WHERE k.user_id = u.id) AS factors, \
                    (SELECT COUNT(*) FROM security_key k WHERE k.user_id = u.id) AS security_keys";

/// A user as it stands.
#[derive(Debug, Clone)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) login: Login,
    pub(crate) preset: Preset,
    pub(crate) password_hash: String,
    pub(crate) created_at: UnixMs,
    pub(crate) disabled_at: Option<UnixMs>,
    pub(crate) signed_in_at: Option<UnixMs>,
    pub(crate) has_second_factor: bool,
    pub(crate) security_keys: u32,
}

#[cfg(test)]
impl UserRow {
    /// A user who can do nothing yet, for tests of what users have.
    pub(crate) fn fresh(login: &str) -> Self {
        Self {
            id: lampas_runtime::random::new_id(),
            login: Login::parse(login).expect("a name"),
            preset: Preset::Viewer,
            password_hash: String::new(),
            created_at: UnixMs(1),
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
            security_keys: 0,
        }
    }
}

fn user(row: &AnyRow) -> Result<UserRow, DbError> {
    let r = Reader::new("user_account", row);
    Ok(UserRow {
        id: r.parse("id")?,
        login: r.parse("login")?,
        preset: r.parse("preset")?,
        password_hash: r.text("password_hash")?,
        created_at: r.time("created_ms")?,
        disabled_at: r.maybe_time("disabled_ms")?,
        signed_in_at: r.maybe_time("signed_in_ms")?,
        has_second_factor: r.count("factors")? > 0,
        security_keys: r.count("security_keys")? as u32,
    })
}

pub(crate) async fn user_by_login(tx: &mut Tx, login: &str) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {USER} FROM user_account u WHERE u.login = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(login).fetch_optional(tx.conn()).await?;
    row.as_ref().map(user).transpose()
}

pub(crate) async fn user_by_id(tx: &mut Tx, id: UserId) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {USER} FROM user_account u WHERE u.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(user).transpose()
}

/// Returns a user as they stand when nobody changes them until the transaction is over: what one saw before, another may
/// have changed since.
pub(crate) async fn user_to_use(tx: &mut Tx, id: UserId) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {USER} FROM user_account u WHERE u.id = ?{}", tx.dialect().for_update());
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(user).transpose()
}

pub(crate) async fn users(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<UserRow>, DbError> {
    let sql = format!("SELECT {USER} FROM user_account u WHERE u.login > ? ORDER BY u.login LIMIT ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(i64::from(limit));
    query.fetch_all(tx.conn()).await?.iter().map(user).collect()
}

pub(crate) async fn insert_user(tx: &mut Tx, row: &UserRow) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO user_account (id, login, display_name, preset, password_hash, created_ms, updated_ms) \
         VALUES (?, ?, '', ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.login.as_str())
    .bind(row.preset.as_str())
    .bind(&row.password_hash)
    .bind(row.created_at.0)
    .bind(row.created_at.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(crate) async fn update_user(tx: &mut Tx, row: &UserRow, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE user_account SET preset = ?, password_hash = ?, disabled_ms = ?, updated_ms = ? WHERE id = ?",
    )
    .bind(row.preset.as_str())
    .bind(&row.password_hash)
    .bind(row.disabled_at.map(|t| t.0))
    .bind(now.0)
    .bind(row.id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the password of somebody who isn't barred, and nothing else; false when it is another one by now.
pub(crate) async fn replace_password(
    tx: &mut Tx,
    id: UserId,
    (old, new): (&str, &str),
    now: UnixMs,
) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE user_account SET password_hash = ?, updated_ms = ? WHERE id = ? AND password_hash = ? \
         AND disabled_ms IS NULL",
    )
    .bind(new)
    .bind(now.0)
    .bind(id.to_string())
    .bind(old)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes a user with their sessions and tokens.
pub(crate) async fn delete_user(tx: &mut Tx, id: UserId) -> Result<bool, DbError> {
    super::factor::remove(tx, id).await?;
    super::group::store::leave_all(tx, id).await?;
    super::oidc::store::delete_of(tx, id).await?;
    crate::mail::store::forget(tx, id).await?;
    super::device::store::delete_of(tx, id).await?;
    super::grant::store::delete_of(tx, super::grant::store::SubjectId::User(id)).await?;
    sqlx::query("DELETE FROM session WHERE user_id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    sqlx::query("DELETE FROM api_token WHERE user_id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let done = sqlx::query("DELETE FROM user_account WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// A session as it stands, with its user.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) id: TokenId,
    pub(crate) user: UserId,
    pub(crate) login: Login,
    pub(crate) preset: Preset,
    pub(crate) csrf: String,
    pub(crate) created_at: UnixMs,
    pub(crate) seen_at: UnixMs,
    pub(crate) expires_at: UnixMs,
    pub(crate) from: String,
    pub(crate) agent: String,
    pub(crate) proven_at: UnixMs,
    pub(crate) must_enrol: bool,
    /// The machine that it is for; absent for browsers.
    pub(crate) machine: Option<String>,
    /// The identity that opened it, and what its provider calls its own session.
    pub(crate) identity: Option<IdentityId>,
    pub(crate) provider_sid: Option<String>,
}

#[cfg(test)]
impl SessionRow {
    /// A session of a user that a password opened in a browser, for tests of what becomes of sessions.
    pub(crate) fn fresh(user: &UserRow, at: UnixMs) -> Self {
        Self {
            id: lampas_runtime::random::new_id(),
            user: user.id,
            login: user.login.clone(),
            preset: user.preset,
            csrf: String::new(),
            created_at: at,
            seen_at: at,
            expires_at: at,
            from: String::new(),
            agent: String::new(),
            proven_at: at,
            must_enrol: false,
            machine: None,
            identity: None,
            provider_sid: None,
        }
    }
}

const SESSION: &str = "s.id, s.user_id, u.login, u.preset, s.csrf, s.created_ms, s.seen_ms, s.expires_ms, s.from_addr, \
                       s.user_agent, s.proven_ms, s.must_enrol, s.machine, s.identity_id, s.provider_sid FROM session s JOIN user_account u ON u.id = s.user_id AND u.disabled_ms IS NULL";

fn session(row: &AnyRow) -> Result<SessionRow, DbError> {
    let r = Reader::new("session", row);
    Ok(SessionRow {
        id: r.parse("id")?,
        user: r.parse("user_id")?,
        login: r.parse("login")?,
        preset: r.parse("preset")?,
        csrf: r.text("csrf")?,
        created_at: r.time("created_ms")?,
        seen_at: r.time("seen_ms")?,
        expires_at: r.time("expires_ms")?,
        from: r.text("from_addr")?,
        agent: r.text("user_agent")?,
        proven_at: r.time("proven_ms")?,
        must_enrol: r.flag("must_enrol")?,
        machine: r.maybe_text("machine")?,
        identity: r.maybe_parse("identity_id")?,
        provider_sid: r.maybe_text("provider_sid")?,
    })
}

pub(crate) async fn session_by_hash(tx: &mut Tx, hash: &str) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("SELECT {SESSION} WHERE s.secret_hash = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(tx.conn()).await?;
    row.as_ref().map(session).transpose()
}

pub(crate) async fn session_by_id(tx: &mut Tx, id: TokenId) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("SELECT {SESSION} WHERE s.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(session).transpose()
}

/// Returns a session as it stands when nobody ends it, or bars its user, until the transaction is over.
pub(crate) async fn session_to_use(tx: &mut Tx, id: TokenId) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("SELECT {SESSION} WHERE s.id = ?{}", tx.dialect().for_update());
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(session).transpose()
}

/// Returns sessions that are not over, newest first: a user's, or everybody's. `at` is the time and since when one that
/// was not used is over.
pub(crate) async fn sessions(
    tx: &mut Tx,
    of: Option<UserId>,
    before: &str,
    at: (UnixMs, UnixMs),
    limit: u32,
) -> Result<Vec<SessionRow>, DbError> {
    let sql = format!(
        "SELECT {SESSION} WHERE s.id < ? AND (s.user_id = ? OR ? = 1) AND s.expires_ms > ? \
         AND (s.seen_ms > ? OR s.machine IS NOT NULL) ORDER BY s.id DESC LIMIT ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before)
        .bind(of.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(of.is_none()))
        .bind(at.0.0)
        .bind(at.1.0)
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(session).collect()
}

pub(crate) async fn insert_session(tx: &mut Tx, row: &SessionRow, hash: &str) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO session (id, user_id, secret_hash, csrf, created_ms, seen_ms, expires_ms, from_addr, user_agent, \
         proven_ms, must_enrol, machine, identity_id, provider_sid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.user.to_string())
    .bind(hash)
    .bind(&row.csrf)
    .bind(row.created_at.0)
    .bind(row.seen_at.0)
    .bind(row.expires_at.0)
    .bind(&row.from)
    .bind(&row.agent)
    .bind(row.proven_at.0)
    .bind(i64::from(row.must_enrol))
    .bind(row.machine.clone())
    .bind(row.identity.map(|id| id.to_string()))
    .bind(row.provider_sid.clone())
    .execute(tx.conn())
    .await?;
    sqlx::query("UPDATE user_account SET signed_in_ms = ? WHERE id = ?")
        .bind(row.created_at.0)
        .bind(row.user.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(crate) async fn touch_session(tx: &mut Tx, id: TokenId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE session SET seen_ms = ? WHERE id = ?")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes that the owner of a session was there.
pub(crate) async fn prove_session(tx: &mut Tx, id: TokenId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE session SET proven_ms = ? WHERE id = ?")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes what the provider calls its session by now, in a session that was opened with the same identity, and on the
/// machines that were confirmed in it: they end together.
pub(crate) async fn renew_origin(
    tx: &mut Tx,
    id: TokenId,
    identity: IdentityId,
    sid: Option<&str>,
) -> Result<(), DbError> {
    let own = session_to_use(tx, id).await?.filter(|s| s.identity == Some(identity));
    let Some(own) = own.filter(|s| s.provider_sid.as_deref() != sid) else { return Ok(()) };
    sqlx::query("UPDATE session SET provider_sid = ? WHERE id = ?")
        .bind(sid.map(str::to_owned))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    // Where the provider named none before, it means these by the user.
    let Some(before) = own.provider_sid else { return Ok(()) };
    for of in
        ["session SET provider_sid = ? WHERE machine IS NOT NULL", "device_request SET provider_sid = ? WHERE 1 = 1"]
    {
        let sql = format!("UPDATE {of} AND identity_id = ? AND user_id = ? AND provider_sid = ?");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(sid.map(str::to_owned))
            .bind(identity.to_string())
            .bind(own.user.to_string())
            .bind(before.clone())
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Lets a session do nothing but set up a second factor.
pub(crate) async fn must_enrol(tx: &mut Tx, id: TokenId) -> Result<(), DbError> {
    sqlx::query("UPDATE session SET must_enrol = 1 WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Lets a session do everything again.
pub(crate) async fn enrolled(tx: &mut Tx, id: TokenId) -> Result<(), DbError> {
    sqlx::query("UPDATE session SET must_enrol = 0 WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Ends one session of a user.
pub(crate) async fn delete_session(tx: &mut Tx, user: UserId, id: TokenId) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM session WHERE id = ? AND user_id = ?")
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a user's sessions but one, and what machines were to get in the user's name.
pub(crate) async fn delete_sessions(tx: &mut Tx, user: UserId, but: Option<TokenId>) -> Result<(), DbError> {
    super::device::store::delete_of(tx, user).await?;
    sqlx::query("DELETE FROM session WHERE user_id = ? AND id <> ?")
        .bind(user.to_string())
        .bind(but.map(|id| id.to_string()).unwrap_or_default())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Drops sessions that are over; one on a machine may lie unused.
pub(crate) async fn prune_sessions(tx: &mut Tx, now: UnixMs, idle_since: UnixMs) -> Result<u64, DbError> {
    let done = sqlx::query("DELETE FROM session WHERE expires_ms <= ? OR (seen_ms <= ? AND machine IS NULL)")
        .bind(now.0)
        .bind(idle_since.0)
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected())
}

/// An API token as it stands, with its owner.
#[derive(Debug, Clone)]
pub(crate) struct TokenRow {
    pub(crate) id: TokenId,
    pub(crate) user: UserId,
    pub(crate) owner: Login,
    pub(crate) owner_preset: Preset,
    pub(crate) name: String,
    pub(crate) preset: Preset,
    pub(crate) created_at: UnixMs,
    pub(crate) expires_at: UnixMs,
    pub(crate) used_at: Option<UnixMs>,
    pub(crate) cidr: Option<String>,
    pub(crate) only: Option<Vec<Permission>>,
    /// With the node's name.
    pub(crate) scope: Option<Scope>,
    /// Whether the scope names a node that was taken out of the fleet.
    pub(crate) is_scope_gone: bool,
    pub(crate) is_grave: bool,
    pub(crate) is_owner_barred: bool,
}

impl TokenRow {
    /// Returns what is left of its owner's rights.
    pub(crate) fn bound(&self, owner: Rights) -> Rights {
        let mut most = self.preset.permissions();
        if let Some(only) = &self.only {
            most.retain(|p| only.contains(p));
        }
        if self.is_scope_gone {
            most.retain(|p| *p == Permission::OwnAccount);
        }
        owner.held_to(&most, self.scope.as_ref().filter(|_| !self.is_scope_gone).unwrap_or(&Scope::Fleet))
    }

    /// Returns whether it may be used from an address.
    pub(crate) fn fits(&self, address: std::net::IpAddr) -> bool {
        self.cidr.as_deref().is_none_or(|c| c.parse::<crate::config::Network>().is_ok_and(|n| n.contains(address)))
    }
}

const TOKEN: &str = "t.id, t.user_id, u.login, u.preset AS owner_preset, t.name, t.preset, t.created_ms, t.expires_ms, \
                     t.used_ms, t.cidr, t.permissions, t.is_grave, u.disabled_ms, t.scope, n.name AS node_name FROM api_token t \
                     JOIN user_account u ON u.id = t.user_id LEFT JOIN node n ON t.scope LIKE 'node:%' AND n.id = SUBSTR(t.scope, 6)";

/// Reads a scope as it is stored, by a node's id, with the name that the node has; and whether that node is gone.
pub(super) fn scoped(r: &Reader<'_>) -> Result<Option<(Scope, bool)>, DbError> {
    let Some(scope) = r.maybe_parse::<Scope>("scope")? else { return Ok(None) };
    Ok(Some(match (&scope, r.maybe_parse::<NodeName>("node_name")?) {
        (Scope::Node(_), Some(name)) => (Scope::Node(name), false),
        (Scope::Node(_), None) => (scope, true),
        _ => (scope, false),
    }))
}

fn token(row: &AnyRow) -> Result<TokenRow, DbError> {
    let r = Reader::new("api_token", row);
    let scope = scoped(&r)?;
    Ok(TokenRow {
        id: r.parse("id")?,
        user: r.parse("user_id")?,
        owner: r.parse("login")?,
        owner_preset: r.parse("owner_preset")?,
        name: r.text("name")?,
        preset: r.parse("preset")?,
        created_at: r.time("created_ms")?,
        expires_at: r.maybe_time("expires_ms")?.unwrap_or(UnixMs(i64::MAX)),
        used_at: r.maybe_time("used_ms")?,
        cidr: r.maybe_text("cidr")?,
        only: r.maybe_json("permissions")?,
        is_scope_gone: scope.as_ref().is_some_and(|(_, is_gone)| *is_gone),
        scope: scope.map(|(scope, _)| scope),
        is_grave: r.flag("is_grave")?,
        is_owner_barred: r.maybe_time("disabled_ms")?.is_some(),
    })
}

/// Returns a token that isn't revoked and whose owner isn't barred.
pub(crate) async fn token_by_hash(tx: &mut Tx, hash: &str) -> Result<Option<TokenRow>, DbError> {
    let sql = format!("SELECT {TOKEN} WHERE t.secret_hash = ? AND t.revoked_ms IS NULL AND u.disabled_ms IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(tx.conn()).await?;
    row.as_ref().map(token).transpose()
}

/// Returns tokens that aren't revoked, newest first: a user's, or everybody's.
pub(crate) async fn tokens(
    tx: &mut Tx,
    of: Option<UserId>,
    before: &str,
    limit: u32,
) -> Result<Vec<TokenRow>, DbError> {
    let sql = format!(
        "SELECT {TOKEN} WHERE t.revoked_ms IS NULL AND t.id < ? AND (t.user_id = ? OR ? = 1) ORDER BY t.id DESC LIMIT ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before)
        .bind(of.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(of.is_none()))
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(token).collect()
}

/// Returns tokens that end before a time, soonest first: a user's, or everybody's. What was made for less than two weeks
/// ends as it was meant to.
pub(crate) async fn expiring_tokens(
    tx: &mut Tx,
    of: Option<UserId>,
    (now, before): (UnixMs, UnixMs),
    limit: u32,
) -> Result<Vec<TokenRow>, DbError> {
    const MEANT_MS: i64 = 14 * 86_400_000;
    let sql = format!(
        "SELECT {TOKEN} WHERE t.revoked_ms IS NULL AND u.disabled_ms IS NULL AND t.expires_ms > ? AND t.expires_ms < ? \
         AND t.expires_ms - t.created_ms > {MEANT_MS} AND (t.user_id = ? OR ? = 1) ORDER BY t.expires_ms LIMIT ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now.0)
        .bind(before.0)
        .bind(of.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(of.is_none()))
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(token).collect()
}

pub(crate) async fn token_by_id(tx: &mut Tx, id: TokenId) -> Result<Option<TokenRow>, DbError> {
    let sql = format!("SELECT {TOKEN} WHERE t.id = ? AND t.revoked_ms IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(token).transpose()
}

/// Returns what somebody may now who was let in before: nothing when the user is gone or barred, or the token that they
/// used was withdrawn or is over.
pub(crate) async fn permitted(
    tx: &mut Tx,
    (user, token): (UserId, Option<TokenId>),
    now: UnixMs,
) -> Result<Option<Rights>, DbError> {
    let Some(found) = user_by_id(tx, user).await?.filter(|u| u.disabled_at.is_none()) else { return Ok(None) };
    let rights = super::rights(tx, user, found.preset, now).await?;
    let Some(token) = token else { return Ok(Some(rights)) };
    let token = token_by_id(tx, token).await?.filter(|t| t.user == user && t.expires_at > now);
    Ok(token.map(|t| t.bound(rights)))
}

/// Stores a token, with its scope as it is stored.
pub(crate) async fn insert_token(
    tx: &mut Tx,
    row: &TokenRow,
    hash: &str,
    scope: Option<String>,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO api_token (id, user_id, name, preset, secret_hash, created_ms, expires_ms, cidr, permissions, \
         is_grave, scope) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.user.to_string())
    .bind(&row.name)
    .bind(row.preset.as_str())
    .bind(hash)
    .bind(row.created_at.0)
    .bind(row.expires_at.0)
    .bind(row.cidr.clone())
    .bind(row.only.as_ref().map(to_json))
    .bind(i64::from(row.is_grave))
    .bind(scope)
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(crate) async fn touch_token(tx: &mut Tx, id: TokenId, from: &str, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE api_token SET used_ms = ?, used_from = ? WHERE id = ?")
        .bind(now.0)
        .bind(from)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(crate) async fn revoke_token(tx: &mut Tx, id: TokenId, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query("UPDATE api_token SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}
