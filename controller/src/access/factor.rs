//! The second factor: setting it up, asking for it, taking it off, and proving once more who sits there.
//!
//! A factor has three states: none; begun, with a secret that no code has confirmed (sign-in doesn't ask for it); on. The
//! secret stands sealed in the store, its key in a file beside ([`Vault`]). A code counts once: its step is written by the
//! statement that checks that no later one was used, so that two sign-ins at once can't share a code.

mod store;
mod totp;

use std::path::Path;

use lampas_api::{FieldProblem, RecoveryCodes, SecondFactor, SecondFactorSecret, SessionProof, SignInRules};
use lampas_runtime::clock;
use lampas_shared::{
    access::Preset,
    event::EventKind,
    id::{TokenId, UserId},
};
use tokio::time::Instant;

use super::{
    Access, AccessError,
    store::UserRow,
    webauthn::{self, KeyGiven, Verdict},
};
use crate::{
    api::{
        guard::{Caller, Credential},
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{Db, DbError, Tx},
    event::NewEvent,
    secret::CheckError,
    vault::{Vault, VaultError},
};

pub(super) use store::put_codes;
#[cfg(test)]
pub(crate) use totp::code_at;

/// Keeps the secrets of second factors.
#[derive(Debug)]
pub(super) struct Factors(Vault);

impl Factors {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(Vault::new(data_dir, "second-factor-key", "second-factor/1"))
    }
}

/// Checks that the key here opens the second factors that the store holds.
///
/// # Errors
/// When it doesn't: the text says which file to copy.
pub(crate) async fn check_factors(data_dir: &Path, db: &Db) -> Result<(), CheckError> {
    check(Factors::new(data_dir).0, db).await
}

async fn check(vault: Vault, db: &Db) -> Result<(), CheckError> {
    let sample = db.read(|mut tx| async move {
        let sample = store::any(&mut tx).await?;
        Ok::<_, DbError>(tx.done(sample))
    });
    let sample = sample.await?;
    let checked = tokio::task::spawn_blocking(move || {
        vault.check(sample.as_ref().map(|(id, sealed)| (id as &dyn std::fmt::Display, sealed.as_str())))
    });
    Ok(checked.await.unwrap_or(Err(VaultError::Seal("second-factor/1")))?)
}

/// What the second factor says to a sign-in whose password is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Second {
    /// The user has none, and needs none.
    None,
    /// The user has none, and has to set one up.
    Required,
    /// The code is right, and used up; or what the key answered.
    Passed,
    /// The user has one, and neither code nor key was given.
    Missing(Kinds),
    /// The code is wrong, or was used before.
    Wrong,
    /// What the key answered is wrong, and why.
    Refused(String),
}

/// What a user has for a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds {
    has_authenticator: bool,
    has_key: bool,
}

impl Kinds {
    /// Says which fields are missing, the best first.
    pub(super) fn missing(self) -> Vec<FieldProblem> {
        let field = |pointer: &str, detail: &str| FieldProblem { pointer: pointer.into(), detail: detail.into() };
        let code = if self.has_authenticator {
            "enter the code that your authenticator shows"
        } else {
            "enter a recovery code"
        };
        let key = self.has_key.then(|| field("/key", "use a security key"));
        key.into_iter().chain([field("/code", code)]).collect()
    }
}

/// What is given for a second factor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given<'a> {
    pub(super) code: Option<&'a str>,
    pub(super) key: Option<KeyGiven<'a>>,
}

impl Access {
    /// Asks the second factor of a user whose password is right. What it says must not reach anybody whose password isn't.
    pub(super) async fn second(&self, by: &Principal, user: &UserRow, given: Given<'_>) -> Answer<Second> {
        let id = user.id;
        let (row, is_needed, keys) = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::get(&mut tx, id).await?;
                let rules = store::rules(&mut tx).await?;
                let level = level(&mut tx, user).await?;
                let keys = webauthn::count(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done((row, is_required(&rules, level), keys)))
            })
            .await?;
        let row = row.filter(|r| r.confirmed_at.is_some());
        if row.is_none() && keys == 0 {
            return Ok(if is_needed { Second::Required } else { Second::None });
        }
        if let Some(key) = given.key {
            return Ok(match self.judge_key(by, user, key).await? {
                Verdict::Right => Second::Passed,
                Verdict::Wrong(why) => Second::Refused(why),
            });
        }
        let Some(code) = given.code.map(str::trim).filter(|c| !c.is_empty()) else {
            return Ok(Second::Missing(Kinds { has_authenticator: row.is_some(), has_key: keys > 0 }));
        };
        let is_right = match row {
            Some(row) if totp::looks_timed(code) => {
                let secret = self.factors.0.open(&id, &row.sealed).map_err(|e| Refusal::internal(&e))?;
                match totp::step_of(&secret, code, clock::now()) {
                    Some(step) => self.use_step(id, step).await?,
                    None => false,
                }
            }
            _ => self.use_recovery_code(by, user, code).await?,
        };
        Ok(if is_right { Second::Passed } else { Second::Wrong })
    }

    async fn use_step(&self, user: UserId, step: u64) -> Answer<bool> {
        let is_fresh = self
            .db
            .write(|mut tx: Tx| async move {
                let is_fresh = store::use_step(&mut tx, user, step).await?;
                Ok::<_, DbError>(tx.done(is_fresh))
            })
            .await?;
        Ok(is_fresh)
    }

    async fn use_recovery_code(&self, by: &Principal, user: &UserRow, code: &str) -> Answer<bool> {
        let (hash, now) = (&totp::recovery_hash(user.id, code), clock::now());
        let is_right = self
            .db
            .write(|mut tx: Tx| async move {
                let is_right = store::use_code(&mut tx, user.id, hash, now).await?;
                if is_right {
                    tx.audit(Entry::done(by, "session.recovery_code", user.login.as_str()));
                }
                Ok::<_, DbError>(tx.done(is_right))
            })
            .await?;
        Ok(is_right)
    }

    /// Returns how one's own second factor stands.
    pub async fn second_factor(&self, user: UserId, preset: Preset) -> Answer<SecondFactor> {
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::get(&mut tx, user).await?;
                let recovery_codes_left = store::codes_left(&mut tx, user).await?;
                let rules = store::rules(&mut tx).await?;
                let security_keys = webauthn::count(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(SecondFactor {
                    since: row.and_then(|r| r.confirmed_at),
                    security_keys,
                    recovery_codes_left,
                    is_required: is_required(&rules, preset),
                }))
            })
            .await?;
        Ok(found)
    }

    /// Makes the secret of a new factor. It wants the password, so that a session left open is not enough to lock its
    /// owner out.
    pub async fn begin_second_factor(&self, caller: &Caller, password: &str) -> Answer<SecondFactorSecret> {
        in_session(caller)?;
        let user = self.own(caller, password).await?;
        // A password alone adds no factor beside one that is there.
        if user.has_second_factor {
            caller.grave(clock::now())?;
        }
        let secret = totp::make();
        // A second key would make two kinds of them, of which each controller opens one.
        self.factors.0.settle(&self.db).await.map_err(|e| Refusal::new("second_factor.vault", e.to_string()))?;
        let sealed = &self.factors.0.seal(&user.id, secret.as_slice()).map_err(|e| Refusal::internal(&e))?;
        let (user, by, now) = (&user, &caller.as_principal(), clock::now());
        let fleet = self
            .db
            .write(|mut tx: Tx| async move {
                if store::get(&mut tx, user.id).await?.is_some_and(|r| r.confirmed_at.is_some()) {
                    let why = "there is a second factor already; take it off first";
                    return Err(AccessError::from(Refusal::new("exists", why)));
                }
                store::begin(&mut tx, user.id, sealed, now).await?;
                tx.audit(Entry::done(by, "second_factor.begin", user.login.as_str()));
                let fleet = crate::setup::fleet_name(&mut tx).await?;
                Ok(tx.done(fleet))
            })
            .await?;
        self.throttle.succeeded(user.login.as_str(), caller.address);
        Ok(SecondFactorSecret {
            secret: totp::as_text(secret.as_slice()),
            uri: totp::uri(secret.as_slice(), user.login.as_str(), &fleet),
        })
    }

    /// Takes a factor into use once a code confirms it; ends the user's other sessions, which were opened without one.
    pub async fn confirm_second_factor(&self, caller: &Caller, code: &str) -> Answer<RecoveryCodes> {
        let session = in_session(caller)?;
        let identity = caller.identity()?;
        let id = identity.user;
        self.attempt(caller, identity.login.as_str())?;
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::get(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        let Some(row) = row.filter(|r| r.confirmed_at.is_none()) else {
            return Err(Refusal::new("conflict", "no second factor waits for its first code; begin anew"));
        };
        let secret = self.factors.0.open(&id, &row.sealed).map_err(|e| Refusal::internal(&e))?;
        let step = totp::step_of(&secret, code.trim(), clock::now());
        let step = step.ok_or_else(|| wrong_code("; is the clock of the device right?"))?;
        let codes = new_codes();
        let hashes = &hashes(id, &codes);
        let (row, by, now) = (&row, &caller.as_principal(), clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                if !store::confirm(&mut tx, id, &row.sealed, step, now).await? {
                    return Err(AccessError::from(Refusal::new("conflict", "it was begun anew meanwhile")));
                }
                put_codes(&mut tx, id, hashes).await?;
                super::store::delete_sessions(&mut tx, id, Some(session)).await?;
                super::store::enrolled(&mut tx, session).await?;
                tx.audit(Entry::done(by, "second_factor.confirm", identity.login.as_str()));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &identity.login));
                Ok(tx.done(()))
            })
            .await?;
        self.throttle.succeeded(identity.login.as_str(), caller.address);
        Ok(RecoveryCodes { codes })
    }

    /// Takes one's own authenticator off. Where the fleet requires a second factor and it was the last, the session has to
    /// set up another at once.
    pub async fn remove_second_factor(&self, caller: &Caller, proof: &SessionProof) -> Answer<()> {
        let session = in_session(caller)?;
        let user = self.proven(caller, proof).await?;
        let (user, by) = (&user, &caller.as_principal());
        self.db
            .write(|mut tx: Tx| async move {
                if !store::remove(&mut tx, user.id).await? {
                    return Err(AccessError::from(Refusal::new("not_found", "there is no authenticator")));
                }
                taken_off(&mut tx, user.id, Some(session)).await?;
                tx.audit(Entry::done(by, "second_factor.remove", user.login.as_str()));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Makes new recovery codes; those before are worth nothing.
    pub async fn new_recovery_codes(&self, caller: &Caller, proof: &SessionProof) -> Answer<RecoveryCodes> {
        in_session(caller)?;
        let user = self.proven(caller, proof).await?;
        let codes = new_codes();
        let hashes = &hashes(user.id, &codes);
        let (user, by) = (&user, &caller.as_principal());
        self.db
            .write(|mut tx: Tx| async move {
                if !is_on(&mut tx, user.id).await? {
                    return Err(AccessError::from(Refusal::new("not_found", "there is no second factor")));
                }
                put_codes(&mut tx, user.id, hashes).await?;
                tx.audit(Entry::done(by, "second_factor.recovery_codes", user.login.as_str()));
                Ok(tx.done(()))
            })
            .await?;
        Ok(RecoveryCodes { codes })
    }

    /// Takes every factor off another user, who lost them; ends that user's sessions.
    pub async fn take_second_factor_off(&self, by: &Principal, reason: &str, which: &str) -> Answer<()> {
        let user = &self.find(which).await?;
        self.db
            .write(|mut tx: Tx| async move {
                let rights = super::rights(&mut tx, user.id, user.preset, clock::now()).await?;
                super::grant::must_have(&mut tx, by, &rights, "take the second factor off").await?;
                if !remove(&mut tx, user.id).await? {
                    let why = format!("{} has no second factor", user.login);
                    return Err(AccessError::from(Refusal::new("not_found", why)));
                }
                super::store::delete_sessions(&mut tx, user.id, None).await?;
                tx.audit(Entry::done(by, "user.second_factor", user.login.as_str()).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Shows once more who sits there: grave calls of the session are answered for a while.
    pub async fn prove(&self, caller: &Caller, proof: &SessionProof) -> Answer<()> {
        let session = in_session(caller)?;
        let user = self.proven(caller, proof).await?;
        if proof.key.is_none() && !self.has_password(&user).await? {
            return Err(Refusal::field("/password", "you have no password: show it with your provider, or a passkey"));
        }
        let (user, by, now) = (&user, &caller.as_principal(), clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                super::store::prove_session(&mut tx, session, now).await?;
                tx.audit(Entry::done(by, "session.proof", user.login.as_str()));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Returns what the fleet asks at sign-in.
    pub async fn sign_in_rules(&self) -> Answer<SignInRules> {
        let rules = self
            .db
            .read(|mut tx: Tx| async move {
                let rules = store::rules(&mut tx).await?;
                Ok::<_, DbError>(tx.done(rules))
            })
            .await?;
        Ok(rules)
    }

    /// Changes what the fleet asks at sign-in; sessions that are open stay.
    pub async fn set_sign_in_rules(&self, caller: &Caller, wanted: &SignInRules) -> Answer<SignInRules> {
        let mut presets = wanted.second_factor_for.clone();
        presets.sort_unstable();
        presets.dedup();
        let rules = SignInRules { second_factor_for: presets };
        let words: Vec<&str> = rules.second_factor_for.iter().map(|p| p.as_str()).collect();
        let object =
            &format!("second factor for: {}", if words.is_empty() { "nobody".into() } else { words.join(", ") });
        let (rules, by, reason) = (&rules, &caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                store::set_rules(&mut tx, rules).await?;
                tx.audit(Entry::done(by, "access.rules", object.as_str()).because(reason));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(rules.clone())
    }

    /// Checks password, and code or key, of the caller; the password is not asked for with a key that asked for a PIN or a
    /// finger.
    async fn proven(&self, caller: &Caller, proof: &SessionProof) -> Answer<UserRow> {
        let by_key_alone = proof.password.is_empty() && proof.key.is_some();
        let user = if by_key_alone { self.counted(caller).await? } else { self.own(caller, &proof.password).await? };
        let session = in_session(caller)?;
        let key = proof.key.as_ref();
        let key = key.map(|answer| KeyGiven { answer, session: Some(session), must_verify: by_key_alone });
        match self.second(&caller.as_principal(), &user, Given { code: proof.code.as_deref(), key }).await? {
            Second::Passed => {}
            Second::None | Second::Required if by_key_alone => {
                return Err(Refusal::field("/password", "enter your password: there is no second factor"));
            }
            Second::None | Second::Required => {}
            Second::Missing(kinds) => return Err(Refusal::fields(kinds.missing())),
            Second::Wrong => return Err(wrong_code("")),
            Second::Refused(why) => return Err(Refusal::field("/key", format!("the key was refused: {why}"))),
        }
        self.throttle.succeeded(user.login.as_str(), caller.address);
        Ok(user)
    }

    /// Counts an attempt of the caller.
    async fn counted(&self, caller: &Caller) -> Answer<UserRow> {
        let login = &caller.identity()?.login;
        self.attempt(caller, login.as_str())?;
        self.user_by_login(login.as_str()).await?.ok_or_else(|| Refusal::not_found("user", login))
    }

    /// Checks the password of the caller; the attempt stays counted until the caller is forgiven.
    async fn own(&self, caller: &Caller, password: &str) -> Answer<UserRow> {
        let user = self.counted(caller).await?;
        if !self.has_password(&user).await? {
            // Who signs in with a provider alone has shown there who sits here.
            caller.grave(clock::now())?;
            return Ok(user);
        }
        if !self.passwords.is_right(password, Some(user.password_hash.clone())).await? {
            return Err(Refusal::field("/password", "is not your password"));
        }
        Ok(user)
    }

    /// Returns whether a user has a password that counts.
    async fn has_password(&self, user: &UserRow) -> Answer<bool> {
        match self.must_allow_password(user.id).await {
            Err(refusal) if refusal.code != "sign_in_failed" => Err(refusal),
            allowed => Ok(allowed.is_ok() && !user.password_hash.is_empty()),
        }
    }

    /// Counts an attempt at a user's password or code.
    pub(super) fn attempt(&self, caller: &Caller, login: &str) -> Answer<()> {
        self.throttle.begin(login, caller.address, Instant::now()).map_err(throttled)
    }

    /// Refuses whoever had too many attempts, without counting one.
    pub(super) fn look_at_attempts(&self, caller: &Caller, login: &str) -> Answer<()> {
        self.throttle.look(login, caller.address, Instant::now()).map_err(throttled)
    }
}

fn throttled(secs: u64) -> Refusal {
    Refusal::new("throttled", format!("too many attempts; try again in {secs} s")).retry_after(secs)
}

/// Returns whether a user has a second factor.
pub(super) async fn is_on(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    let row = store::get(tx, user).await?;
    Ok(row.is_some_and(|r| r.confirmed_at.is_some()) || webauthn::count(tx, user).await? > 0)
}

/// Takes every factor of a user away; false when there was none.
pub(super) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    let had_authenticator = store::remove(tx, user).await?;
    let had_keys = webauthn::delete_all(tx, user).await? > 0;
    put_codes(tx, user, &[]).await?;
    Ok(had_authenticator || had_keys)
}

/// Draws what follows from one factor less: without any, recovery codes are worth nothing, and where the fleet requires one,
/// other sessions end and this one has to set up another at once.
pub(super) async fn taken_off(tx: &mut Tx, user: UserId, session: Option<TokenId>) -> Result<(), DbError> {
    if is_on(tx, user).await? {
        return Ok(());
    }
    put_codes(tx, user, &[]).await?;
    let Some(row) = super::store::user_by_id(tx, user).await? else { return Ok(()) };
    if is_required(&store::rules(tx).await?, level(tx, &row).await?) {
        super::store::delete_sessions(tx, user, session).await?;
        if let Some(session) = session {
            super::store::must_enrol(tx, session).await?;
        }
    }
    Ok(())
}

/// Makes recovery codes, which are shown once.
pub(super) fn new_codes() -> Vec<String> {
    totp::recovery_codes()
}

/// Returns what the store keeps of recovery codes.
pub(super) fn hashes(user: UserId, codes: &[String]) -> Vec<String> {
    codes.iter().map(|c| totp::recovery_hash(user, c)).collect()
}

/// How much a user may, by grants too: whom the rules mean.
async fn level(tx: &mut Tx, user: &UserRow) -> Result<Preset, DbError> {
    Ok(super::rights(tx, user.id, user.preset, clock::now()).await?.level())
}

fn is_required(rules: &SignInRules, preset: Preset) -> bool {
    rules.second_factor_for.contains(&preset)
}

fn wrong_code(more: &str) -> Refusal {
    Refusal::field("/code", format!("is wrong, or was used before: each code counts once{more}"))
}

/// What only somebody who signed in does, not a program with a token.
pub(super) fn in_session(caller: &Caller) -> Answer<TokenId> {
    match &caller.identity()?.by {
        Credential::Session { id, .. } => Ok(*id),
        Credential::Token { .. } => Err(Refusal::new("forbidden", "an API token can't do this: sign in")),
        Credential::Machine { .. } => Err(Refusal::new("forbidden", "this is done in the dashboard, not by lampasctl")),
    }
}
