//! The second factor: setting it up, asking for it, taking it off, and proving once more who sits there.
//!
//! A factor has three states: none; begun, with a secret that no code has confirmed (sign-in doesn't ask for it); on. The
//! secret stands sealed in the store, its key in a file beside ([`Vault`]). A code counts once: its step is written by the
//! statement that checks that no later one was used, so that two sign-ins at once can't share a code.

mod store;
mod totp;

use std::path::Path;

use lampas_api::{RecoveryCodes, SecondFactor, SecondFactorSecret, SessionProof, SignInRules};
use lampas_runtime::clock;
use lampas_shared::{access::Preset, event::EventKind, id::UserId};
use tokio::time::Instant;

use super::{Access, AccessError, store::UserRow, webauthn};
use crate::{
    api::{
        guard::{Caller, Credential},
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
    vault::Vault,
};

pub(super) use store::remove;
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

/// What the second factor says to a sign-in whose password is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// The user has none, and needs none.
    None,
    /// The user has none, and has to set one up.
    Required,
    /// The code is right, and used up.
    Passed,
    /// The user has one, and no code was given.
    Missing,
    /// The code is wrong, or was used before.
    Wrong,
}

impl Access {
    /// Asks the second factor of a user whose password is right. What it says must not reach anybody whose password isn't.
    pub(super) async fn second(&self, by: &Principal, user: &UserRow, code: Option<&str>) -> Answer<Second> {
        let id = user.id;
        let (row, is_needed) = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::get(&mut tx, id).await?;
                let rules = store::rules(&mut tx).await?;
                let level = level(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done((row, is_required(&rules, level))))
            })
            .await?;
        let Some(row) = row.filter(|r| r.confirmed_at.is_some()) else {
            return Ok(if is_needed { Second::Required } else { Second::None });
        };
        let Some(code) = code.map(str::trim).filter(|c| !c.is_empty()) else { return Ok(Second::Missing) };
        let is_right = if totp::looks_timed(code) {
            let secret = self.factors.0.open(&id, &row.sealed).map_err(|e| Refusal::internal(&e))?;
            match totp::step_of(&secret, code, clock::now()) {
                Some(step) => self.use_step(id, step).await?,
                None => false,
            }
        } else {
            self.use_recovery_code(by, user, code).await?
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
        let secret = totp::make();
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
        let codes = totp::recovery_codes();
        let hashes: &Vec<String> = &codes.iter().map(|c| totp::recovery_hash(id, c)).collect();
        let (row, by, now) = (&row, &caller.as_principal(), clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                if !store::confirm(&mut tx, id, &row.sealed, step, now).await? {
                    return Err(AccessError::from(Refusal::new("conflict", "it was begun anew meanwhile")));
                }
                store::put_codes(&mut tx, id, hashes).await?;
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

    /// Takes one's own factor off. Where the fleet requires one, the session has to set up another at once.
    pub async fn remove_second_factor(&self, caller: &Caller, proof: &SessionProof) -> Answer<()> {
        let session = in_session(caller)?;
        let user = self.proven(caller, proof).await?;
        let (user, by) = (&user, &caller.as_principal());
        self.db
            .write(|mut tx: Tx| async move {
                if !remove(&mut tx, user.id).await? {
                    return Err(AccessError::from(Refusal::new("not_found", "there is no second factor")));
                }
                if is_required(&store::rules(&mut tx).await?, level(&mut tx, user).await?) {
                    super::store::delete_sessions(&mut tx, user.id, Some(session)).await?;
                    super::store::must_enrol(&mut tx, session).await?;
                }
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
        let codes = totp::recovery_codes();
        let hashes: &Vec<String> = &codes.iter().map(|c| totp::recovery_hash(user.id, c)).collect();
        let (user, by) = (&user, &caller.as_principal());
        self.db
            .write(|mut tx: Tx| async move {
                if store::get(&mut tx, user.id).await?.is_none_or(|r| r.confirmed_at.is_none()) {
                    return Err(AccessError::from(Refusal::new("not_found", "there is no second factor")));
                }
                store::put_codes(&mut tx, user.id, hashes).await?;
                tx.audit(Entry::done(by, "second_factor.recovery_codes", user.login.as_str()));
                Ok(tx.done(()))
            })
            .await?;
        Ok(RecoveryCodes { codes })
    }

    /// Takes the factor off another user, who lost it; ends that user's sessions.
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

    /// Checks password and code of the caller.
    async fn proven(&self, caller: &Caller, proof: &SessionProof) -> Answer<UserRow> {
        let user = self.own(caller, &proof.password).await?;
        match self.second(&caller.as_principal(), &user, proof.code.as_deref()).await? {
            Second::None | Second::Required | Second::Passed => {}
            Second::Missing => return Err(Refusal::field("/code", "enter the code that your authenticator shows")),
            Second::Wrong => return Err(wrong_code("")),
        }
        self.throttle.succeeded(user.login.as_str(), caller.address);
        Ok(user)
    }

    /// Checks the password of the caller; the attempt stays counted until the caller is forgiven.
    async fn own(&self, caller: &Caller, password: &str) -> Answer<UserRow> {
        let login = &caller.identity()?.login;
        self.attempt(caller, login.as_str())?;
        let user = self.user_by_login(login.as_str()).await?.ok_or_else(|| Refusal::not_found("user", login))?;
        if !self.passwords.is_right(password, Some(user.password_hash.clone())).await? {
            return Err(Refusal::field("/password", "is not your password"));
        }
        Ok(user)
    }

    /// Counts an attempt at a user's password or code.
    pub(super) fn attempt(&self, caller: &Caller, login: &str) -> Answer<()> {
        self.throttle.begin(login, caller.address, Instant::now()).map_err(|secs| {
            Refusal::new("throttled", format!("too many attempts; try again in {secs} s")).retry_after(secs)
        })
    }
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
fn in_session(caller: &Caller) -> Answer<lampas_shared::id::TokenId> {
    match &caller.identity()?.by {
        Credential::Session { id, .. } => Ok(*id),
        Credential::Token { .. } => Err(Refusal::new("forbidden", "an API token can't do this: sign in")),
    }
}
