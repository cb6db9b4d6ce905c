//! Registering a key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lampas_api::{FieldProblem, KeyCreation, SecurityKeyAdd, SecurityKeyAdded};
use lampas_runtime::{clock, random};
use lampas_shared::{event::EventKind, id::TokenId};

use super::{
    CHALLENGE_MS, MAX_KEYS, decoded, handle, reference,
    store::{self, Bound, KeyRow},
    verify::{self, Registered},
    wire::{ALGORITHMS, ClientData},
};
use crate::{
    access::{Access, AccessError, factor, secret},
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::Entry,
    db::{DbError, Tx},
    event::NewEvent,
};

impl Access {
    /// Returns what the browser asks a new key for.
    pub async fn key_creation(&self, caller: &Caller) -> Answer<KeyCreation> {
        let session = factor::in_session(caller)?;
        let party = self.place.party().map_err(unavailable)?;
        let identity = caller.identity()?;
        let keys = self.key_rows(identity.user).await?;
        if keys.len() >= MAX_KEYS {
            return Err(too_many());
        }
        let fleet = self
            .db
            .read(|mut tx: Tx| async move {
                let name = crate::setup::fleet_name(&mut tx).await?;
                Ok::<_, DbError>(tx.done(name))
            })
            .await?;
        Ok(KeyCreation {
            challenge: self.challenge(&adding(session)).await?,
            rp_id: party.rp_id.to_owned(),
            rp_name: if fleet.is_empty() { "LAMPAS".to_owned() } else { format!("LAMPAS {fleet}") },
            user_handle: handle(identity.user),
            user_name: identity.login.to_string(),
            algorithms: ALGORITHMS.to_vec(),
            exclude: keys.iter().filter(|k| k.rp_id == party.rp_id).map(reference).collect(),
            timeout_ms: CHALLENGE_MS as u32,
        })
    }

    /// Registers a key. The user's first second factor brings recovery codes, and ends the other sessions, which were opened
    /// without one.
    pub async fn add_security_key(&self, caller: &Caller, wanted: &SecurityKeyAdd) -> Answer<SecurityKeyAdded> {
        let session = factor::in_session(caller)?;
        let party = self.place.party().map_err(unavailable)?;
        let identity = caller.identity()?;
        let name = named(&wanted.name)?;
        let client_data = decoded(&wanted.client_data).ok_or_else(|| not_base64("/client_data"))?;
        let attestation = decoded(&wanted.attestation).ok_or_else(|| not_base64("/attestation"))?;
        let said = ClientData::read(&client_data).map_err(|e| refused(&e))?;
        if !self.take_challenge(&said.challenge, &adding(session)).await? {
            return Err(refused(&"its challenge is over, was used before, or is another session's; begin anew"));
        }
        let made = verify::registration(party, &said.challenge, &client_data, &attestation).map_err(|e| refused(&e))?;
        let Registered { id, cose, sign_count, is_verified } = made;
        let row = KeyRow {
            id: random::new_id(),
            user: identity.user,
            name,
            rp_id: party.rp_id.to_owned(),
            credential: URL_SAFE_NO_PAD.encode(id),
            public_key: URL_SAFE_NO_PAD.encode(cose),
            sign_count,
            is_passkey: is_verified && wanted.is_discoverable,
            transports: transports(&wanted.transports),
            created_at: clock::now(),
            used_at: None,
            suspect_at: None,
        };
        let codes = factor::new_codes();
        let hashes = &factor::hashes(identity.user, &codes);
        let (row, by) = (&row, &caller.as_principal());
        let is_first = self
            .db
            .write(|mut tx: Tx| async move {
                let hash = secret::hash(&row.credential);
                if store::by_credential(&mut tx, &hash).await?.is_some() {
                    return Err(AccessError::from(Refusal::new("exists", "the key is registered already")));
                }
                if store::of(&mut tx, row.user).await?.len() >= MAX_KEYS {
                    return Err(AccessError::from(too_many()));
                }
                let is_first = !factor::is_on(&mut tx, row.user).await?;
                store::insert(&mut tx, row, &hash).await?;
                if is_first {
                    factor::put_codes(&mut tx, row.user, hashes).await?;
                    crate::access::store::delete_sessions(&mut tx, row.user, Some(session)).await?;
                }
                crate::access::store::enrolled(&mut tx, session).await?;
                tx.audit(Entry::done(by, "security_key.add", format!("{}: {}", identity.login, row.name)));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &identity.login));
                Ok(tx.done(is_first))
            })
            .await?;
        let recovery_codes = if is_first { codes } else { Vec::new() };
        Ok(SecurityKeyAdded { key: self.shown_key(row), recovery_codes })
    }
}

fn adding(session: TokenId) -> Bound {
    Bound { purpose: "add", to: session.to_string() }
}

pub(super) fn named(name: &str) -> Answer<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Refusal::field("/name", "name the key, in 1 to 64 characters, so that you know it among others"));
    }
    Ok(name.to_owned())
}

/// Keeps the ways that are known (WebAuthn Level 3, section 5.8.4); they are hints for the browser, no more.
fn transports(named: &[String]) -> Vec<String> {
    const KNOWN: [&str; 6] = ["usb", "nfc", "ble", "smart-card", "hybrid", "internal"];
    KNOWN.iter().filter(|k| named.iter().any(|n| n == *k)).map(|k| (*k).to_owned()).collect()
}

fn too_many() -> Refusal {
    Refusal::new("conflict", format!("there are {MAX_KEYS} keys already; remove one first"))
}

fn not_base64(pointer: &str) -> Refusal {
    Refusal::fields(vec![FieldProblem {
        pointer: pointer.to_owned(),
        detail: "is not base64url without padding".to_owned(),
    }])
}

fn refused(why: &impl std::fmt::Display) -> Refusal {
    Refusal::new("security_key.refused", format!("the key was not registered: {why}"))
}

pub(super) fn unavailable(why: &str) -> Refusal {
    Refusal::new("security_key.unavailable", why)
}
