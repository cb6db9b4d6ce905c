//! Security keys and passkeys (WebAuthn Level 3): a second factor beside the authenticator's codes, for sign-in and for
//! the proof before grave calls; a passkey, which asks for a PIN or a finger itself, also signs in alone.
//!
//! A browser is asked for a challenge's answer ([`register`], [`answer`]). The challenge stands in the store by its hash,
//! serves once, within five minutes, and only for the session or user that it was made for; it is used up before anything
//! else is looked at. What comes back is read ([`wire`]) and checked by the steps of the specification ([`verify`]), both
//! without any I/O. Keys are bound to the host name of the dashboard's address ([`place`]).

mod answer;
pub(super) mod api;
mod place;
mod register;
#[cfg(test)]
pub(crate) mod soft;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod wire;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lampas_api::{KeyRef, SecurityKey, SecurityKeys};
use lampas_runtime::clock;
use lampas_shared::{
    event::EventKind,
    id::{SecurityKeyId, UserId},
};

use super::{Access, AccessError, factor, secret};
use crate::{
    api::{
        guard::{Caller, Credential},
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

pub(super) use answer::{KeyGiven, Verdict};
pub(super) use place::Place;
pub(crate) use store::{count, delete_all};

use store::{Bound, KeyRow};

/// How long a challenge serves, and the browser waits: the specification's recommendation (section 15.1).
const CHALLENGE_MS: i64 = 5 * 60_000;

/// The most keys of one user.
const MAX_KEYS: usize = 20;

impl Access {
    /// Returns a user's keys.
    pub async fn security_keys(&self, user: UserId) -> Answer<SecurityKeys> {
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::of(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(SecurityKeys {
            items: rows.iter().map(|row| self.shown_key(row)).collect(),
            url: self.place.url().to_owned(),
            unavailable: self.place.party().err().map(str::to_owned),
        })
    }

    /// Returns the address at which keys work, if they can.
    pub(crate) fn keys_url(&self) -> Option<String> {
        self.place.party().ok().map(|_| self.place.url().to_owned())
    }

    /// Renames one of one's own keys.
    pub async fn rename_security_key(&self, caller: &Caller, id: SecurityKeyId, name: &str) -> Answer<SecurityKey> {
        let name = register::named(name)?;
        let (identity, by, name) = (caller.identity()?, &caller.as_principal(), name.as_str());
        let before = self
            .db
            .write(|mut tx: Tx| async move {
                let before = store::rename(&mut tx, identity.user, id, name).await?;
                let before = before.ok_or_else(|| AccessError::from(Refusal::not_found("security key", id)))?;
                let object = format!("{}: {} is called {name}", identity.login, before.name);
                tx.audit(Entry::done(by, "security_key.rename", object));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &identity.login));
                Ok::<_, AccessError>(tx.done(before))
            })
            .await?;
        Ok(self.shown_key(&KeyRow { name: name.to_owned(), ..before }))
    }

    /// Removes one of one's own keys. Where the fleet requires a second factor and it was the last, the session has to set
    /// up another at once.
    pub async fn remove_security_key(&self, caller: &Caller, id: SecurityKeyId) -> Answer<()> {
        let identity = caller.identity()?;
        let session = match &identity.by {
            Credential::Session { id, .. } => Some(*id),
            // It was given where there was a factor: it ends with the last one.
            Credential::Token { .. } | Credential::Machine { .. } => None,
        };
        let (user, by, reason) = (identity.user, &caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                let name = store::delete(&mut tx, user, id).await?;
                let name = name.ok_or_else(|| AccessError::from(Refusal::not_found("security key", id)))?;
                factor::taken_off(&mut tx, user, session).await?;
                tx.audit(Entry::done(by, "security_key.remove", format!("{}: {name}", identity.login)).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &identity.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Removes a key of another user, who lost it; ends that user's sessions.
    pub async fn take_security_key_off(
        &self,
        by: &Principal,
        reason: &str,
        which: &str,
        id: SecurityKeyId,
    ) -> Answer<()> {
        let user = &self.find(which).await?;
        self.db
            .write(|mut tx: Tx| async move {
                let rights = super::rights(&mut tx, user.id, user.preset, clock::now()).await?;
                super::grant::must_have(&mut tx, by, &rights, "remove a security key of").await?;
                let name = store::delete(&mut tx, user.id, id).await?;
                let name = name.ok_or_else(|| AccessError::from(Refusal::not_found("security key", id)))?;
                factor::taken_off(&mut tx, user.id, None).await?;
                super::store::delete_sessions(&mut tx, user.id, None).await?;
                tx.audit(Entry::done(by, "user.security_key", format!("{}: {name}", user.login)).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Makes a challenge, which the store keeps by its hash.
    async fn challenge(&self, bound: &Bound) -> Answer<String> {
        let (challenge, now) = (secret::make(), clock::now());
        let hash = &secret::hash(&challenge);
        self.db
            .write(|mut tx: Tx| async move {
                store::put_challenge(&mut tx, hash, bound, (now, now.plus_ms(CHALLENGE_MS))).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(challenge)
    }

    /// Uses a challenge up; false when it is not one that was made for this, or no longer.
    async fn take_challenge(&self, challenge: &str, bound: &Bound) -> Answer<bool> {
        let (hash, now) = (&secret::hash(challenge), clock::now());
        let is_taken = self
            .db
            .write(|mut tx: Tx| async move {
                let is_taken = store::take_challenge(&mut tx, hash, bound, now).await?;
                Ok::<_, DbError>(tx.done(is_taken))
            })
            .await?;
        Ok(is_taken)
    }

    async fn key_rows(&self, user: UserId) -> Answer<Vec<KeyRow>> {
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::of(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(rows)
    }

    fn shown_key(&self, row: &KeyRow) -> SecurityKey {
        let is_here = self.place.party().is_ok_and(|party| party.rp_id == row.rp_id);
        SecurityKey {
            id: row.id,
            name: row.name.clone(),
            created_at: row.created_at,
            last_used_at: row.used_at,
            is_passkey: row.is_passkey,
            suspect_since: row.suspect_at,
            made_for: (!is_here).then(|| row.rp_id.clone()),
        }
    }
}

fn reference(row: &KeyRow) -> KeyRef {
    KeyRef { id: row.credential.clone(), transports: row.transports.clone() }
}

/// The user's handle (section 5.4.3): random, so that it tells nothing of who it is.
fn handle(user: UserId) -> String {
    URL_SAFE_NO_PAD.encode(user.as_uuid().as_bytes())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
