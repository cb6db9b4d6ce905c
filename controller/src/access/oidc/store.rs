//! The tables of identity providers and of the identities that users have there.

use lampas_api::ProviderSpec;
use lampas_shared::{
    access::ProviderName,
    id::{IdentityId, ProviderId, TokenId, UserGroupId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::db::{
    DbError, Tx,
    row::{Reader, to_json},
};

/// A provider as it stands.
#[derive(Debug, Clone)]
pub(super) struct ProviderRow {
    pub(super) id: ProviderId,
    pub(super) name: ProviderName,
    pub(super) spec: ProviderSpec,
    /// The client's secret, sealed.
    pub(super) sealed: Option<String>,
    pub(super) created_at: UnixMs,
    pub(super) updated_at: UnixMs,
    pub(super) identities: u32,
}

impl ProviderRow {
    /// Returns what people read.
    pub(super) fn title(&self) -> &str {
        if self.spec.title.is_empty() { self.name.as_str() } else { &self.spec.title }
    }
}

const PROVIDER: &str = "p.id, p.name, p.spec, p.sealed, p.created_ms, p.updated_ms, \
                        (SELECT COUNT(*) FROM external_identity i WHERE i.provider_id = p.id AND i.subject IS NOT NULL) \
                        AS identities FROM oidc_provider p";

fn provider(row: &AnyRow) -> Result<ProviderRow, DbError> {
    let r = Reader::new("oidc_provider", row);
    Ok(ProviderRow {
        id: r.parse("id")?,
        name: r.parse("name")?,
        spec: r.json("spec")?,
        sealed: r.maybe_text("sealed")?,
        created_at: r.time("created_ms")?,
        updated_at: r.time("updated_ms")?,
        identities: r.count("identities")? as u32,
    })
}

/// Returns providers by name, after a name.
pub(super) async fn providers(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<ProviderRow>, DbError> {
    let sql = format!("SELECT {PROVIDER} WHERE p.name > ? ORDER BY p.name LIMIT ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(i64::from(limit));
    query.fetch_all(tx.conn()).await?.iter().map(provider).collect()
}

pub(super) async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<ProviderRow>, DbError> {
    let sql = format!("SELECT {PROVIDER} WHERE p.name = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(tx.conn()).await?;
    row.as_ref().map(provider).transpose()
}

pub(super) async fn by_id(tx: &mut Tx, id: ProviderId) -> Result<Option<ProviderRow>, DbError> {
    let sql = format!("SELECT {PROVIDER} WHERE p.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(provider).transpose()
}

pub(super) async fn insert(tx: &mut Tx, row: &ProviderRow) -> Result<(), DbError> {
    sqlx::query("INSERT INTO oidc_provider (id, name, spec, sealed, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(row.id.to_string())
        .bind(row.name.as_str())
        .bind(to_json(&row.spec))
        .bind(row.sealed.clone())
        .bind(row.created_at.0)
        .bind(row.updated_at.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut Tx, row: &ProviderRow) -> Result<(), DbError> {
    sqlx::query("UPDATE oidc_provider SET spec = ?, sealed = ?, updated_ms = ? WHERE id = ?")
        .bind(to_json(&row.spec))
        .bind(row.sealed.clone())
        .bind(row.updated_at.0)
        .bind(row.id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Deletes a provider with its identities and invitations.
pub(super) async fn delete(tx: &mut Tx, id: ProviderId) -> Result<bool, DbError> {
    sqlx::query("DELETE FROM external_identity WHERE provider_id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let done = sqlx::query("DELETE FROM oidc_provider WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// An identity as it stands, or the invitation for one.
#[derive(Debug, Clone)]
pub(super) struct IdentityRow {
    pub(super) id: IdentityId,
    pub(super) user: UserId,
    pub(super) provider: ProviderId,
    pub(super) provider_name: ProviderName,
    pub(super) subject: Option<String>,
    pub(super) invited_until: Option<UnixMs>,
    pub(super) shown: String,
    pub(super) is_maker: bool,
    /// The groups that the user is in because the provider says so.
    pub(super) memberships: Vec<UserGroupId>,
    pub(super) created_at: UnixMs,
    pub(super) used_at: Option<UnixMs>,
}

const IDENTITY: &str = "i.id, i.user_id, i.provider_id, p.name AS provider_name, i.subject, i.invited_until_ms, \
                        i.shown, i.is_maker, i.memberships, i.created_ms, i.used_ms FROM external_identity i \
                        JOIN oidc_provider p ON p.id = i.provider_id";

fn identity(row: &AnyRow) -> Result<IdentityRow, DbError> {
    let r = Reader::new("external_identity", row);
    Ok(IdentityRow {
        id: r.parse("id")?,
        user: r.parse("user_id")?,
        provider: r.parse("provider_id")?,
        provider_name: r.parse("provider_name")?,
        subject: r.maybe_text("subject")?,
        invited_until: r.maybe_time("invited_until_ms")?,
        shown: r.text("shown")?,
        is_maker: r.flag("is_maker")?,
        memberships: r.json("memberships")?,
        created_at: r.time("created_ms")?,
        used_at: r.maybe_time("used_ms")?,
    })
}

/// Returns a user's identities and invitations, the oldest first.
pub(super) async fn of_user(tx: &mut Tx, user: UserId) -> Result<Vec<IdentityRow>, DbError> {
    let sql = format!("SELECT {IDENTITY} WHERE i.user_id = ? ORDER BY i.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.to_string()).fetch_all(tx.conn()).await?;
    rows.iter().map(identity).collect()
}

/// Returns the users that have an identity at a provider.
pub(super) async fn users_of(tx: &mut Tx, provider: ProviderId) -> Result<Vec<UserId>, DbError> {
    let rows = sqlx::query(
        "SELECT DISTINCT i.user_id FROM external_identity i WHERE i.provider_id = ? AND i.subject IS NOT NULL",
    )
    .bind(provider.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("external_identity", row).parse("user_id")).collect()
}

pub(super) async fn by_subject(
    tx: &mut Tx,
    provider: ProviderId,
    subject: &str,
) -> Result<Option<IdentityRow>, DbError> {
    let sql = format!("SELECT {IDENTITY} WHERE i.provider_id = ? AND i.subject = ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(provider.to_string()).bind(subject);
    query.fetch_optional(tx.conn()).await?.as_ref().map(identity).transpose()
}

pub(super) async fn identity_by_id(tx: &mut Tx, id: IdentityId) -> Result<Option<IdentityRow>, DbError> {
    let sql = format!("SELECT {IDENTITY} WHERE i.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(identity).transpose()
}

/// Returns the invitation to a provider that a secret belongs to, if it can be taken up.
pub(super) async fn invitation(
    tx: &mut Tx,
    provider: ProviderId,
    hash: &str,
    now: UnixMs,
) -> Result<Option<IdentityRow>, DbError> {
    let sql = format!(
        "SELECT {IDENTITY} WHERE i.provider_id = ? AND i.invite_hash = ? AND i.subject IS NULL AND i.invited_until_ms > ?"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(provider.to_string()).bind(hash).bind(now.0);
    query.fetch_optional(tx.conn()).await?.as_ref().map(identity).transpose()
}

/// Stores an identity, or an invitation with the hash of its secret; what was invited before and is over goes.
pub(super) async fn insert_identity(tx: &mut Tx, row: &IdentityRow, invite: Option<&str>) -> Result<(), DbError> {
    sqlx::query("DELETE FROM external_identity WHERE subject IS NULL AND invited_until_ms <= ?")
        .bind(row.created_at.0)
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "INSERT INTO external_identity (id, user_id, provider_id, subject, invite_hash, invited_until_ms, shown, is_maker, \
         memberships, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.user.to_string())
    .bind(row.provider.to_string())
    .bind(row.subject.clone())
    .bind(invite.map(str::to_owned))
    .bind(row.invited_until.map(|t| t.0))
    .bind(&row.shown)
    .bind(i64::from(row.is_maker))
    .bind(to_json(&row.memberships))
    .bind(row.created_at.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Makes an identity of an invitation; false when somebody else did.
pub(super) async fn take_up(tx: &mut Tx, id: IdentityId, subject: &str) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE external_identity SET subject = ?, invite_hash = NULL, invited_until_ms = NULL \
         WHERE id = ? AND subject IS NULL",
    )
    .bind(subject)
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes a sign-in, and the groups that came with it.
pub(super) async fn used(
    tx: &mut Tx,
    id: IdentityId,
    shown: &str,
    memberships: &[UserGroupId],
    now: UnixMs,
) -> Result<(), DbError> {
    sqlx::query("UPDATE external_identity SET shown = ?, memberships = ?, used_ms = ? WHERE id = ?")
        .bind(shown)
        .bind(to_json(&memberships))
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn delete_identity(tx: &mut Tx, id: IdentityId) -> Result<bool, DbError> {
    let done =
        sqlx::query("DELETE FROM external_identity WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Which sessions a provider means by what it calls a user, a session of its own, or both. Where it named none when ours was
/// opened, the user decides.
const MEANT: &str = "identity_id IN (SELECT i.id FROM external_identity i WHERE i.provider_id = ? AND (? = '' OR i.subject = ?)) \
                     AND (? = '' OR provider_sid = ? OR (provider_sid IS NULL AND ? <> ''))";

fn meant<'q>(
    sql: String,
    provider: ProviderId,
    subject: Option<&str>,
    sid: Option<&str>,
) -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments> {
    let (subject, sid) = (subject.unwrap_or_default().to_owned(), sid.unwrap_or_default().to_owned());
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(provider.to_string()).bind(subject.clone());
    query.bind(subject.clone()).bind(sid.clone()).bind(sid).bind(subject)
}

/// Returns whose sessions a provider means; one of them more than once, if there are more.
pub(super) async fn sessions_of(
    tx: &mut Tx,
    provider: ProviderId,
    subject: Option<&str>,
    sid: Option<&str>,
) -> Result<Vec<UserId>, DbError> {
    let sql = format!("SELECT s.user_id FROM session s WHERE {MEANT}");
    let rows = meant(sql, provider, subject, sid).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("session", row).parse("user_id")).collect()
}

/// Ends them, and what machines were to get by them.
pub(super) async fn end_sessions(
    tx: &mut Tx,
    provider: ProviderId,
    subject: Option<&str>,
    sid: Option<&str>,
) -> Result<(), DbError> {
    for table in ["session", "device_request"] {
        meant(format!("DELETE FROM {table} WHERE {MEANT}"), provider, subject, sid).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Ends what was opened with an identity, or with all of a provider, and what machines were to get by them; one session may
/// stay: that of who does it. Returns how many ended.
pub(super) async fn end_opened(
    tx: &mut Tx,
    (provider, identity): (ProviderId, Option<IdentityId>),
    but: Option<TokenId>,
) -> Result<u64, DbError> {
    let of = "identity_id IN (SELECT i.id FROM external_identity i WHERE i.provider_id = ? AND (? = '' OR i.id = ?))";
    let one = identity.map(|id| id.to_string()).unwrap_or_default();
    let ended = sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM session WHERE id <> ? AND {of}")))
        .bind(but.map(|id| id.to_string()).unwrap_or_default())
        .bind(provider.to_string())
        .bind(one.clone())
        .bind(one.clone())
        .execute(tx.conn())
        .await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM device_request WHERE {of}")))
        .bind(provider.to_string())
        .bind(one.clone())
        .bind(one)
        .execute(tx.conn())
        .await?;
    Ok(ended.rows_affected())
}

/// Uses a logout token up; false when it was used before. Those that can't be believed again go.
pub(super) async fn use_logout_token(tx: &mut Tx, hash: &str, (now, until): (UnixMs, UnixMs)) -> Result<bool, DbError> {
    sqlx::query("DELETE FROM logout_token WHERE expires_ms <= ?").bind(now.0).execute(tx.conn()).await?;
    let known = sqlx::query("SELECT t.token_hash FROM logout_token t WHERE t.token_hash = ?").bind(hash);
    if known.fetch_optional(tx.conn()).await?.is_some() {
        return Ok(false);
    }
    let insert = sqlx::query("INSERT INTO logout_token (token_hash, expires_ms) VALUES (?, ?)");
    match insert.bind(hash).bind(until.0).execute(tx.conn()).await.map_err(DbError::from) {
        Ok(_) => Ok(true),
        Err(error) if error.is_duplicate() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends the identities of a user who goes.
pub(in crate::access) async fn delete_of(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM external_identity WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Returns whether somebody is left who manages users and can sign in: by password, or with a provider. `but` is a
/// provider that forbids passwords to its users, whose users don't count then.
pub(super) async fn has_reachable_administrator(tx: &mut Tx, but: Option<ProviderId>) -> Result<bool, DbError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM user_account u WHERE u.disabled_ms IS NULL AND (u.preset = 'administrator' OR EXISTS \
         (SELECT 1 FROM access_grant g WHERE g.actions = 'administrator' AND g.scope = 'fleet' AND g.expires_ms IS NULL \
         AND (g.user_id = u.id OR g.group_id IN (SELECT m.group_id FROM user_group_member m WHERE m.user_id = u.id)))) \
         AND ((u.password_hash <> '' AND NOT EXISTS (SELECT 1 FROM external_identity i WHERE i.user_id = u.id \
         AND i.provider_id = ? AND i.subject IS NOT NULL)) OR (? = '' AND EXISTS (SELECT 1 FROM external_identity j \
         WHERE j.user_id = u.id AND j.subject IS NOT NULL)))",
    )
    .bind(but.map(|id| id.to_string()).unwrap_or_default())
    .bind(but.map(|id| id.to_string()).unwrap_or_default())
    .fetch_one(tx.conn())
    .await?;
    Ok(Reader::new("user_account", &row).count("n")? > 0)
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;
    use lampas_shared::access::{Login, Preset};

    use super::*;
    use crate::{
        access::store::{SessionRow, UserRow, insert_user},
        db::{Db, testing},
    };

    testing::on_both!(
        an_identity_is_somebodys_once,
        a_provider_ends_what_it_opened,
        a_machine_keeps_the_name_of_what_it_was_confirmed_in
    );

    async fn a_provider_ends_what_it_opened(db: Db) {
        let spec: ProviderSpec =
            serde_json::from_str(r#"{"issuer":"https://id.example","client_id":"c"}"#).expect("a spec");
        let (now, anna) = (UnixMs(1_000), &UserRow::fresh("anna"));
        let user = anna.id;
        let provider = &ProviderRow {
            id: random::new_id(),
            name: ProviderName::parse("main").expect("a name"),
            spec,
            sealed: None,
            created_at: now,
            updated_at: now,
            identities: 0,
        };
        let identity = &IdentityRow {
            id: random::new_id(),
            user,
            provider: provider.id,
            provider_name: provider.name.clone(),
            subject: Some("anna".into()),
            invited_until: None,
            shown: String::new(),
            is_maker: false,
            memberships: Vec::new(),
            created_at: now,
            used_at: None,
        };
        let session = |sid: Option<&str>, identity: Option<IdentityId>| SessionRow {
            identity,
            provider_sid: sid.map(str::to_owned),
            ..SessionRow::fresh(anna, now)
        };
        let (one, two) = (&session(Some("s1"), Some(identity.id)), &session(Some("s2"), Some(identity.id)));
        let (unnamed, other) = (&session(None, Some(identity.id)), &session(None, None));
        db.write(|mut tx: Tx| async move {
            insert(&mut tx, provider).await?;
            insert_identity(&mut tx, identity, None).await?;
            for (row, hash) in [(one, "1"), (two, "2"), (unnamed, "3"), (other, "4")] {
                crate::access::store::insert_session(&mut tx, row, hash).await?;
            }
            let id = provider.id;
            assert_eq!(sessions_of(&mut tx, random::new_id(), Some("anna"), None).await?.len(), 0, "another provider");
            assert_eq!(sessions_of(&mut tx, id, Some("Anna"), None).await?.len(), 0, "letters count");
            assert_eq!(sessions_of(&mut tx, id, None, Some("s1")).await?, [user]);
            assert_eq!(sessions_of(&mut tx, id, Some("anna"), Some("s1")).await?.len(), 2, "and what has no name");
            assert_eq!(sessions_of(&mut tx, id, Some("anna"), None).await?.len(), 3);
            end_sessions(&mut tx, id, None, Some("s1")).await?;
            assert_eq!(sessions_of(&mut tx, id, Some("anna"), None).await?.len(), 2);
            end_sessions(&mut tx, id, Some("anna"), None).await?;
            assert_eq!(sessions_of(&mut tx, id, Some("anna"), None).await?.len(), 0);
            // What an identity opened goes with it, a machine too; only the session of who does it may stay.
            let laptop = &SessionRow { machine: Some("laptop".into()), ..session(Some("s1"), Some(identity.id)) };
            for (row, hash) in [(one, "1"), (laptop, "5")] {
                crate::access::store::insert_session(&mut tx, row, hash).await?;
            }
            assert_eq!(end_opened(&mut tx, (id, Some(random::new_id())), None).await?, 0, "another identity");
            assert_eq!(end_opened(&mut tx, (id, Some(identity.id)), Some(one.id)).await?, 1);
            assert_eq!(end_opened(&mut tx, (id, None), None).await?, 1);
            assert!(crate::access::store::session_by_id(&mut tx, one.id).await?.is_none());
            let left = sqlx::query("SELECT s.id FROM session s").fetch_all(tx.conn()).await?;
            assert_eq!(left.len(), 1, "what the provider did not open stays");
            assert!(use_logout_token(&mut tx, "t", (now, now.plus_ms(10))).await?);
            assert!(!use_logout_token(&mut tx, "t", (now, now.plus_ms(10))).await?, "once");
            assert!(use_logout_token(&mut tx, "t", (now.plus_ms(10), now.plus_ms(20))).await?, "forgotten");
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
    }

    async fn a_machine_keeps_the_name_of_what_it_was_confirmed_in(db: Db) {
        let (now, provider): (_, ProviderId) = (UnixMs(1_000), random::new_id());
        let user = &UserRow::fresh("anna");
        let identity: IdentityId = random::new_id();
        let session = |sid: Option<&str>, machine: Option<&str>| SessionRow {
            machine: machine.map(str::to_owned),
            identity: Some(identity),
            provider_sid: sid.map(str::to_owned),
            ..SessionRow::fresh(user, now)
        };
        let (browser, elsewhere) = (&session(Some("s1"), None), &session(Some("s2"), None));
        let (laptop, desktop) = (&session(Some("s1"), Some("laptop")), &session(Some("s2"), Some("desktop")));
        let sids = db.write(|mut tx: Tx| async move {
            insert_user(&mut tx, user).await?;
            for (row, hash) in [(browser, "1"), (elsewhere, "2"), (laptop, "3"), (desktop, "4")] {
                crate::access::store::insert_session(&mut tx, row, hash).await?;
            }
            crate::access::store::renew_origin(&mut tx, browser.id, random::new_id(), Some("s9")).await?;
            crate::access::store::renew_origin(&mut tx, browser.id, identity, Some("s3")).await?;
            let mut sids = Vec::new();
            for row in [browser, elsewhere, laptop, desktop] {
                let found = crate::access::store::session_by_id(&mut tx, row.id).await?.expect("is there");
                sids.push(found.provider_sid.unwrap_or_default());
            }
            assert_eq!(sessions_of(&mut tx, provider, None, Some("s3")).await?.len(), 0, "of no identity there");
            Ok::<_, DbError>(tx.done(sids))
        });
        assert_eq!(sids.await.expect("written"), ["s3", "s2", "s3", "s2"]);
    }

    async fn an_identity_is_somebodys_once(db: Db) {
        let now = UnixMs(1_000);
        let spec: &ProviderSpec =
            &serde_json::from_str(r#"{"issuer":"https://id.example","client_id":"c"}"#).expect("a spec");
        let user = &UserRow {
            id: random::new_id(),
            login: Login::parse("anna").expect("a name"),
            preset: Preset::Administrator,
            password_hash: String::new(),
            created_at: now,
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
            security_keys: 0,
        };
        let provider = &ProviderRow {
            id: random::new_id(),
            name: ProviderName::parse("main").expect("a name"),
            spec: spec.clone(),
            sealed: None,
            created_at: now,
            updated_at: now,
            identities: 0,
        };
        let row = &IdentityRow {
            id: random::new_id(),
            user: user.id,
            provider: provider.id,
            provider_name: provider.name.clone(),
            subject: Some("Sub-1".into()),
            invited_until: None,
            shown: String::new(),
            is_maker: false,
            memberships: Vec::new(),
            created_at: now,
            used_at: None,
        };
        db.write(|mut tx: Tx| async move {
            insert_user(&mut tx, user).await?;
            insert(&mut tx, provider).await?;
            assert!(!has_reachable_administrator(&mut tx, None).await?, "neither password nor identity");
            insert_identity(&mut tx, row, None).await?;
            assert!(has_reachable_administrator(&mut tx, None).await?);
            assert!(!has_reachable_administrator(&mut tx, Some(provider.id)).await?, "has no password");
            assert!(by_subject(&mut tx, provider.id, "Sub-1").await?.is_some());
            assert!(by_subject(&mut tx, provider.id, "sub-1").await?.is_none(), "letters count");
            assert_eq!(by_name(&mut tx, "main").await?.expect("is there").identities, 1);
            let open = IdentityRow {
                id: random::new_id(),
                subject: None,
                invited_until: Some(now.plus_ms(10)),
                ..row.clone()
            };
            insert_identity(&mut tx, &open, Some("hash")).await?;
            assert!(invitation(&mut tx, provider.id, "other", now).await?.is_none());
            assert!(invitation(&mut tx, provider.id, "hash", now.plus_ms(10)).await?.is_none(), "is over");
            let found = invitation(&mut tx, provider.id, "hash", now).await?.expect("is open");
            assert!(take_up(&mut tx, found.id, "Sub-2").await?);
            assert!(!take_up(&mut tx, found.id, "Sub-3").await?, "once");
            assert!(invitation(&mut tx, provider.id, "hash", now).await?.is_none());
            used(&mut tx, found.id, "Anna", &[random::new_id()], now).await?;
            let all = of_user(&mut tx, user.id).await?;
            assert_eq!(all.iter().map(|i| i.memberships.len()).sum::<usize>(), 1);
            assert_eq!(users_of(&mut tx, provider.id).await?, [user.id]);
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        let again = db
            .write(|mut tx: Tx| async move {
                let same = IdentityRow { id: random::new_id(), ..row.clone() };
                insert_identity(&mut tx, &same, None).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect_err("is taken");
        assert!(again.is_duplicate(), "{again}");
        db.write(|mut tx: Tx| async move {
            assert!(delete(&mut tx, provider.id).await?);
            assert!(of_user(&mut tx, user.id).await?.is_empty());
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("deleted");
    }
}
