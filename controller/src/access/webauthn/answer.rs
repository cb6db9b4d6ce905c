//! Asking a key, and judging what it answered: for a sign-in, for a proof, and alone.

use lampas_api::{KeyAnswer, KeyRequest, KeySignIn};
use lampas_runtime::clock;
use lampas_shared::{
    event::EventKind,
    id::{TokenId, UserId},
};
use tracing::{info, warn};

use super::{
    CHALLENGE_MS, decoded, handle, reference,
    register::unavailable,
    store::{self, Bound, KeyRow},
    verify::{self, Answered, Known, Shown, VerifyError},
    wire::ClientData,
};
use crate::{
    access::{Access, Opened, factor, secret, store::UserRow},
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// What is given instead of a code.
#[derive(Debug, Clone, Copy)]
pub(in crate::access) struct KeyGiven<'a> {
    pub(in crate::access) answer: &'a KeyAnswer,
    /// The session that is proven; absent at a sign-in.
    pub(in crate::access) session: Option<TokenId>,
    /// Whether the key itself must have asked for a PIN or a finger.
    pub(in crate::access) must_verify: bool,
}

/// What is said of a key's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::access) enum Verdict {
    /// It is right, and used up.
    Right,
    /// It is wrong, and why.
    Wrong(String),
}

impl Access {
    /// Returns what a sign-in has to answer: of the user's keys once the password is right, of any passkey without both.
    pub async fn key_request(&self, caller: &Caller, wanted: &KeySignIn) -> Answer<KeyRequest> {
        let (Some(login), Some(password)) = (&wanted.login, &wanted.password) else {
            if wanted.login.is_some() || wanted.password.is_some() {
                return Err(Refusal::field("/password", "give name and password both, or neither for a passkey"));
            }
            self.place.party().map_err(unavailable)?;
            self.attempt(caller, &stranger(caller))?;
            return self.request(&alone(), Vec::new(), true).await;
        };
        let user = self.first_factor(caller, login, password).await?;
        self.place.party().map_err(unavailable)?;
        let keys = self.key_rows(user.id).await?;
        if keys.is_empty() {
            return Err(Refusal::new("not_found", "there is no security key; use another second factor"));
        }
        self.request(&signing_in(user.id), keys, false).await
    }

    /// Returns what a proof has to answer.
    pub async fn proof_key_request(&self, caller: &Caller) -> Answer<KeyRequest> {
        let session = factor::in_session(caller)?;
        self.place.party().map_err(unavailable)?;
        let keys = self.key_rows(caller.identity()?.user).await?;
        if keys.is_empty() {
            return Err(Refusal::new("not_found", "there is no security key; use the password, and a code"));
        }
        self.request(&proving(session), keys, false).await
    }

    /// Signs in with a passkey alone, which asked for a PIN or a finger.
    pub async fn sign_in_by_passkey(&self, caller: &Caller, answer: &KeyAnswer) -> Answer<Opened> {
        self.attempt(caller, &stranger(caller))?;
        let owner = match decoded(&answer.id) {
            Some(_) => self.key_of(&answer.id).await?.map(|k| k.user),
            None => None,
        };
        let user = match owner {
            Some(id) => self.user_by_id(id).await?,
            None => None,
        };
        let Some(user) = user.filter(|u| u.disabled_at.is_none()) else {
            info!(from = %caller.address, "a sign-in by passkey failed");
            self.note_refused(caller, "(unknown)", "sign_in_failed").await?;
            return Err(Refusal::new("sign_in_failed", "the passkey is nobody's here, or the account is barred"));
        };
        let by = Principal::new(format!("user:{}", user.login), caller.address.to_string());
        let verdict = if answer.user_handle.as_deref() == Some(&handle(user.id)) {
            self.judge(&by, &user, answer, &alone(), true).await?
        } else {
            Verdict::Wrong("it names another user".to_owned())
        };
        if let Verdict::Wrong(why) = verdict {
            info!(from = %caller.address, user = %user.login, why, "a sign-in by passkey failed");
            self.note_refused(caller, user.login.as_str(), "sign_in_failed").await?;
            return Err(Refusal::new("sign_in_failed", format!("the passkey was refused: {why}")));
        }
        self.throttle.succeeded(&stranger(caller), caller.address);
        self.open(caller, &user, false).await
    }

    /// Judges what a key of a user answered.
    pub(in crate::access) async fn judge_key(
        &self,
        by: &Principal,
        user: &UserRow,
        given: KeyGiven<'_>,
    ) -> Answer<Verdict> {
        let bound = given.session.map_or_else(|| signing_in(user.id), proving);
        self.judge(by, user, given.answer, &bound, given.must_verify).await
    }

    /// Returns what a key has to answer after the first factor was shown elsewhere; of a session, for its proof.
    pub(in crate::access) async fn second_key_request(
        &self,
        user: UserId,
        session: Option<TokenId>,
    ) -> Answer<KeyRequest> {
        self.place.party().map_err(unavailable)?;
        let keys = self.key_rows(user).await?;
        if keys.is_empty() {
            return Err(Refusal::new("not_found", "there is no security key; use another second factor"));
        }
        self.request(&session.map_or_else(|| signing_in(user), proving), keys, false).await
    }

    async fn request(&self, bound: &Bound, keys: Vec<KeyRow>, must_verify: bool) -> Answer<KeyRequest> {
        let party = self.place.party().map_err(unavailable)?;
        Ok(KeyRequest {
            challenge: self.challenge(bound).await?,
            rp_id: party.rp_id.to_owned(),
            allow: keys.iter().filter(|k| k.rp_id == party.rp_id).map(reference).collect(),
            must_verify,
            timeout_ms: CHALLENGE_MS as u32,
        })
    }

    async fn judge(
        &self,
        by: &Principal,
        user: &UserRow,
        answer: &KeyAnswer,
        bound: &Bound,
        must_verify: bool,
    ) -> Answer<Verdict> {
        let wrong = |why: &dyn std::fmt::Display| Ok(Verdict::Wrong(why.to_string()));
        let party = self.place.party().map_err(unavailable)?;
        let fields = [&answer.client_data, &answer.authenticator_data, &answer.signature].map(|t| decoded(t));
        let [Some(client_data), Some(auth_data), Some(signature)] = &fields else {
            return wrong(&"it is not base64url without padding");
        };
        let said = match ClientData::read(client_data) {
            Ok(said) => said,
            Err(error) => return wrong(&error),
        };
        // Used up before anything else is looked at, so that nothing is tried twice.
        if !self.take_challenge(&said.challenge, bound).await? {
            return wrong(&"its challenge is over, was used before, or was made for something else; try again");
        }
        let Some(key) = self.key_of(&answer.id).await?.filter(|k| k.user == user.id) else {
            return wrong(&"the key is not one of this user's");
        };
        if answer.user_handle.as_deref().is_some_and(|h| !h.is_empty() && h != handle(user.id)) {
            return wrong(&"it names another user");
        }
        let Some(cose) = decoded(&key.public_key) else { return wrong(&"its public key can't be read") };
        let known = Known { cose: &cose, sign_count: key.sign_count };
        let answered = Answered { client_data, auth_data, signature };
        match verify::assertion(party, &said.challenge, known, answered, must_verify) {
            Ok(shown) if self.note_use(by, user, &key, shown).await? => Ok(Verdict::Right),
            // Another answer with this counter, or a later one, was faster.
            Ok(shown) => self.suspect(by, user, &key, (key.sign_count, shown.sign_count)).await,
            Err(VerifyError::Counter { kept, sent }) => self.suspect(by, user, &key, (kept, sent)).await,
            Err(error) => wrong(&error),
        }
    }

    async fn note_use(&self, by: &Principal, user: &UserRow, key: &KeyRow, shown: Shown) -> Answer<bool> {
        let now = clock::now();
        let is_taken = self
            .db
            .write(|mut tx: Tx| async move {
                let is_taken = store::note_use(&mut tx, key.id, shown.sign_count, now).await?;
                if is_taken {
                    let how = if shown.is_verified { "with PIN or finger" } else { "touched" };
                    tx.audit(Entry::done(by, "session.key", format!("{}: {}, {how}", user.login, key.name)));
                }
                Ok::<_, DbError>(tx.done(is_taken))
            })
            .await?;
        Ok(is_taken)
    }

    /// Tells that a key's counter went back.
    async fn suspect(&self, by: &Principal, user: &UserRow, key: &KeyRow, (kept, sent): (u32, u32)) -> Answer<Verdict> {
        warn!(user = %user.login, key.id = %key.id, kept, sent, "the counter of a security key went back");
        let (why, now) = (VerifyError::Counter { kept, sent }.to_string(), clock::now());
        let told = &why;
        self.db
            .write(|mut tx: Tx| async move {
                store::suspect(&mut tx, key.id, now).await?;
                tx.audit(Entry::refused(by, "session.key", format!("{}: {}", user.login, key.name), told));
                let event = NewEvent::new(EventKind::KeySuspect);
                tx.event(event.with("login", &user.login).with("key", &key.name));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(Verdict::Wrong(format!("{why}; if it is yours alone, remove it and register it anew")))
    }

    async fn key_of(&self, credential: &str) -> Answer<Option<KeyRow>> {
        let hash = &secret::hash(credential);
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::by_credential(&mut tx, hash).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        Ok(row)
    }

    async fn user_by_id(&self, id: UserId) -> Answer<Option<UserRow>> {
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = crate::access::store::user_by_id(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        Ok(row)
    }
}

/// What attempts of somebody unknown are counted under: by address, so that nobody holds up others. No user can be called
/// so.
fn stranger(caller: &Caller) -> String {
    format!("passkey from {}", caller.address)
}

fn signing_in(user: UserId) -> Bound {
    Bound { purpose: "sign-in", to: user.to_string() }
}

fn proving(session: TokenId) -> Bound {
    Bound { purpose: "proof", to: session.to_string() }
}

fn alone() -> Bound {
    Bound { purpose: "passkey", to: String::new() }
}
