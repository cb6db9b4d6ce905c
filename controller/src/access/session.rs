//! Sessions: signing in, speaking by cookie, ending.

use std::net::IpAddr;

use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Permission, Rights},
    event::EventKind,
    id::{IdentityId, TokenId, UserId},
    time::UnixMs,
};
use tracing::info;

use super::{
    Access, AccessError,
    factor::{Given, Second},
    grant::must_have,
    password, secret,
    store::{self, SessionRow, UserRow},
    webauthn::KeyGiven,
};
use crate::{
    api::{
        guard::{Caller, Credential, Identity},
        problem::{Answer, Refusal},
    },
    audit::Entry,
    db::{DbError, Tx},
    event::NewEvent,
};

/// A session that was just opened: the only time that its secret is known.
#[derive(Debug)]
pub struct Opened {
    /// What the cookie holds.
    pub secret: String,
    /// Who it speaks for.
    pub identity: Identity,
}

/// How old the time of the last request may be before it is written again.
const SEEN_MS: i64 = 60_000;

/// What attempts at the set-up link are counted under; no user can be called so.
const SETUP: &str = "set-up link";

impl Access {
    /// Signs in by name and password, and the code of the second factor of who has one: whether there is one is told once
    /// the password is right, and the attempt is forgiven when all is.
    pub async fn sign_in(&self, caller: &Caller, wanted: &lampas_api::SignInRequest) -> Answer<Opened> {
        let user = self.first_factor(caller, &wanted.login, &wanted.password).await?;
        let by = crate::audit::Principal::new(format!("user:{}", user.login), caller.address.to_string());
        let key = wanted.key.as_ref().map(|answer| KeyGiven { answer, session: None, must_verify: false });
        let (code, refused) = match self.second(&by, &user, Given { code: wanted.code.as_deref(), key }).await? {
            second @ (Second::None | Second::Passed | Second::Required) => {
                self.throttle.succeeded(&wanted.login, caller.address);
                return self.open(caller, &user, second == Second::Required).await;
            }
            Second::Missing(kinds) => {
                let missing = Refusal::fields(kinds.missing());
                let needed = Refusal::new("second_factor.needed", words(&missing.fields));
                return Err(Refusal { fields: missing.fields, ..needed });
            }
            Second::Wrong => {
                ("second_factor.wrong", "the code is wrong, or was used before: each code counts once".to_owned())
            }
            Second::Refused(why) => ("second_factor.wrong", format!("the key was refused: {why}")),
        };
        info!(from = %caller.address, refused, "the second factor of a sign-in was wrong");
        self.note_refused(caller, user.login.as_str(), code).await?;
        Err(Refusal::new(code, refused))
    }

    /// Checks name and password; the attempt stays counted until the caller is forgiven.
    pub(super) async fn first_factor(&self, caller: &Caller, login: &str, password: &str) -> Answer<UserRow> {
        self.attempt(caller, login)?;
        let user = self.user_by_login(login).await?;
        // What is no user's name may be a password in the wrong field: it is noted nowhere.
        let shown = user.as_ref().map_or_else(|| "(unknown)".to_owned(), |u| u.login.to_string());
        let hash = user.as_ref().map(|u| u.password_hash.clone()).filter(|h| !h.is_empty());
        let is_right = self.passwords.is_right(password, hash).await?;
        let Some(user) = user.filter(|u| is_right && u.disabled_at.is_none()) else {
            info!(from = %caller.address, "a sign-in failed");
            self.note_refused(caller, &shown, "sign_in_failed").await?;
            return Err(Refusal::new("sign_in_failed", "the name or the password is wrong, or the account is barred"));
        };
        self.must_allow_password(user.id).await?;
        Ok(user)
    }

    /// Opens a session for a user whose password was just proven or set.
    pub(crate) async fn open(&self, caller: &Caller, user: &UserRow, must_enrol: bool) -> Answer<Opened> {
        self.open_from(caller, user, must_enrol, Origin::default()).await
    }

    /// Opens a session that knows what opened it.
    pub(super) async fn open_from(
        &self,
        caller: &Caller,
        user: &UserRow,
        must_enrol: bool,
        origin: Origin,
    ) -> Answer<Opened> {
        let now = clock::now();
        let secret = secret::make();
        let hash = secret::hash(&secret);
        let row = SessionRow {
            id: random::new_id(),
            user: user.id,
            login: user.login.clone(),
            preset: user.preset,
            csrf: secret::make(),
            created_at: now,
            seen_at: now,
            expires_at: now.plus_ms(self.session_ms),
            from: caller.address.to_string(),
            agent: caller.agent.clone(),
            proven_at: now,
            must_enrol,
            machine: None,
            identity: origin.identity,
            provider_sid: origin.sid,
        };
        let by = crate::audit::Principal::new(format!("user:{}", user.login), caller.address.to_string());
        let idle_since = now.plus_ms(-self.session_idle_ms);
        let (row, hash, by) = (&row, &hash, &by);
        let rights = self
            .db
            .write(|mut tx: Tx| async move {
                // What was proven must be so still: a reset or a bar in between ended all sessions, and this one with them.
                let stands = store::user_to_use(&mut tx, user.id).await?;
                let stands = stands.filter(|u| u.disabled_at.is_none() && u.password_hash == user.password_hash);
                if stands.is_none() {
                    let why = "the account was changed meanwhile; sign in anew";
                    return Err(AccessError::from(Refusal::new("sign_in_failed", why)));
                }
                store::prune_sessions(&mut tx, now, idle_since).await?;
                store::insert_session(&mut tx, row, hash).await?;
                tx.audit(Entry::done(by, "session.open", row.login.as_str()));
                tx.event(NewEvent::new(EventKind::SessionOpened).with("login", &row.login).with("from", &row.from));
                let rights = super::rights(&mut tx, row.user, row.preset, now).await?;
                Ok(tx.done(rights))
            })
            .await?;
        Ok(Opened { secret, identity: identity(row, rights) })
    }

    /// Returns who a cookie speaks for; nobody when it is unknown or over.
    pub(crate) async fn by_session(&self, secret: &str, now: UnixMs) -> Answer<Option<Identity>> {
        let holds =
            |r: &SessionRow| r.machine.is_none() && now < r.expires_at && now.since(r.seen_at) < self.session_idle_ms;
        let Some((row, rights)) = self.session_of(secret).await?.filter(|(r, _)| holds(r)) else { return Ok(None) };
        self.touch(&row, now).await;
        Ok(Some(identity(&row, rights)))
    }

    /// Returns the session of a secret, with what its user may; it may be over.
    pub(super) async fn session_of(&self, secret: &str) -> Answer<Option<(SessionRow, Rights)>> {
        let (hash, now) = (&secret::hash(secret), clock::now());
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let Some(row) = store::session_by_hash(&mut tx, hash).await? else { return Ok(tx.done(None)) };
                let rights = super::rights(&mut tx, row.user, row.preset, now).await?;
                Ok::<_, DbError>(tx.done(Some((row, rights))))
            })
            .await?;
        Ok(found)
    }

    /// Notes that a session is used.
    pub(super) async fn touch(&self, row: &SessionRow, now: UnixMs) {
        if now.since(row.seen_at) > SEEN_MS {
            let id = row.id;
            let touched = self
                .db
                .write(|mut tx: Tx| async move {
                    store::touch_session(&mut tx, id, now).await?;
                    Ok::<_, DbError>(tx.done(()))
                })
                .await;
            super::pass_over(touched);
        }
    }

    /// Returns what a credential that was good before may now; nothing when it holds no more: for streams, which outlive
    /// their first check.
    pub(crate) async fn still_holds(&self, identity: &Identity, address: IpAddr) -> Answer<Option<Rights>> {
        let now = clock::now();
        match &identity.by {
            Credential::Session { id, .. } | Credential::Machine { id, .. } => {
                let id = *id;
                let rights = self
                    .db
                    .write(|mut tx: Tx| async move {
                        // An open stream is use of the session.
                        store::touch_session(&mut tx, id, now).await?;
                        let row = store::session_by_id(&mut tx, id).await?.filter(|r| now < r.expires_at);
                        let rights = match row {
                            Some(row) => Some(super::rights(&mut tx, row.user, row.preset, now).await?),
                            None => None,
                        };
                        Ok::<_, DbError>(tx.done(rights))
                    })
                    .await?;
                Ok(rights)
            }
            Credential::Token { id, .. } => {
                let id = *id;
                let rights = self
                    .db
                    .read(|mut tx: Tx| async move {
                        let row = store::token_by_id(&mut tx, id).await?;
                        let row = row.filter(|r| now < r.expires_at && r.fits(address) && !r.is_owner_barred);
                        let rights = match row {
                            Some(r) => Some(r.bound(super::rights(&mut tx, r.user, r.owner_preset, now).await?)),
                            None => None,
                        };
                        Ok::<_, DbError>(tx.done(rights))
                    })
                    .await?;
                Ok(rights)
            }
        }
    }

    /// Returns sessions that aren't over, the newest first: a user's, or everybody's.
    pub async fn sessions(
        &self,
        of: Option<UserId>,
        before: Option<TokenId>,
        limit: u32,
    ) -> Answer<Vec<lampas_api::OpenSession>> {
        let now = clock::now();
        let idle_since = now.plus_ms(-self.session_idle_ms);
        let before = &before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::sessions(&mut tx, of, before, (now, idle_since), limit).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        let shown = rows.into_iter().map(|r| lampas_api::OpenSession {
            id: r.id,
            login: r.login,
            created_at: r.created_at,
            seen_at: r.seen_at,
            expires_at: r.expires_at,
            from: r.from,
            agent: r.agent,
            machine: r.machine,
            is_current: false,
        });
        Ok(shown.collect())
    }

    /// Ends a session: one's own, or anybody's with the permission.
    pub async fn end_session(&self, caller: &Caller, id: TokenId) -> Answer<()> {
        let user = caller.identity()?.user;
        let by = &caller.as_principal();
        let reason = &caller.reason;
        self.db
            .write(|mut tx: Tx| async move {
                let row = store::session_by_id(&mut tx, id).await?;
                let row = row.filter(|r| r.user == user || caller.may(Permission::ManageUsers));
                let row = row.ok_or_else(|| AccessError::from(Refusal::not_found("session", id)))?;
                if row.user != user {
                    let rights = super::rights(&mut tx, row.user, row.preset, clock::now()).await?;
                    must_have(&mut tx, by, &rights, "end a session of").await?;
                }
                store::delete_session(&mut tx, row.user, id).await?;
                tx.audit(Entry::done(by, "session.end", format!("{id} of {}", row.login)).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Ends all sessions of a user.
    pub async fn end_sessions(&self, caller: &Caller, which: &str) -> Answer<()> {
        let (user, own) = (&self.find(which).await?, caller.identity()?.user);
        let (by, reason) = (&caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                if user.id != own {
                    let rights = super::rights(&mut tx, user.id, user.preset, clock::now()).await?;
                    must_have(&mut tx, by, &rights, "end the sessions of").await?;
                }
                store::delete_sessions(&mut tx, user.id, None).await?;
                tx.audit(Entry::done(by, "session.end", format!("all of {}", user.login)).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Changes one's own password; ends all other sessions.
    pub async fn change_password(&self, caller: &Caller, change: &lampas_api::PasswordChange) -> Answer<()> {
        let identity = caller.identity()?;
        password::check("/new", &change.new, identity.login.as_str())?;
        self.attempt(caller, identity.login.as_str())?;
        let user = self.user_by_login(identity.login.as_str()).await?;
        let user = user.ok_or_else(|| Refusal::not_found("user", &identity.login))?;
        if !self.passwords.is_right(&change.current, Some(user.password_hash.clone())).await? {
            return Err(Refusal::field("/current", "is not the current password"));
        }
        self.throttle.succeeded(identity.login.as_str(), caller.address);
        let hash = &self.passwords.hash(&change.new).await?;
        let keep = caller.session();
        let (user, by, now) = (&user, &caller.as_principal(), clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                // A password that somebody else set meanwhile stands, and who was barred meanwhile stays so.
                let words = (user.password_hash.as_str(), hash.as_str());
                if !store::replace_password(&mut tx, user.id, words, now).await? {
                    return Err(AccessError::from(Refusal::field("/current", "is not the current password")));
                }
                store::delete_sessions(&mut tx, user.id, keep).await?;
                tx.audit(Entry::done(by, "session.password", user.login.as_str()));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Counts an attempt at the set-up link, which is guessed at like a password.
    pub(crate) fn throttle_setup(&self, caller: &Caller) -> Answer<()> {
        self.attempt(caller, SETUP)
    }

    /// Forgives the attempt that succeeded.
    pub(crate) fn setup_done(&self, caller: &Caller) {
        self.throttle.succeeded(SETUP, caller.address);
    }

    pub(super) async fn note_refused(&self, caller: &Caller, login: &str, why: &str) -> Answer<()> {
        let by = &caller.as_principal();
        let from: &IpAddr = &caller.address;
        self.db
            .write(|mut tx: Tx| async move {
                tx.audit(Entry::refused(by, "session.open", login, why));
                tx.event(NewEvent::new(EventKind::SessionRefused).with("login", login).with("from", from));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    pub(super) async fn user_by_login(&self, login: &str) -> Answer<Option<UserRow>> {
        let user = self
            .db
            .read(|mut tx: Tx| async move {
                let user = store::user_by_login(&mut tx, login).await?;
                Ok::<_, DbError>(tx.done(user))
            })
            .await?;
        Ok(user)
    }
}

/// Says in a sentence what is missing.
fn words(missing: &[lampas_api::FieldProblem]) -> String {
    missing.iter().map(|f| f.detail.as_str()).collect::<Vec<_>>().join(", or ")
}

/// What opened a session at a provider, so that the provider can end it.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    pub(super) identity: Option<IdentityId>,
    pub(super) sid: Option<String>,
}

/// Returns who a machine's session speaks for; nobody if it is a browser's.
pub(super) fn machine_identity(row: &SessionRow, rights: Rights) -> Option<Identity> {
    let machine = row.machine.clone()?;
    let (id, opened_at, expires_at, proven_at) = (row.id, row.created_at, row.expires_at, row.proven_at);
    Some(Identity {
        by: Credential::Machine { id, machine, opened_at, expires_at, proven_at },
        ..identity(row, rights)
    })
}

fn identity(row: &SessionRow, rights: Rights) -> Identity {
    Identity {
        user: row.user,
        login: row.login.clone(),
        preset: row.preset,
        level: rights.level(),
        rights: rights.into(),
        by: Credential::Session {
            id: row.id,
            csrf: row.csrf.clone(),
            expires_at: row.expires_at,
            proven_at: row.proven_at,
            must_enrol: row.must_enrol,
        },
    }
}
