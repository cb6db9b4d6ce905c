//! Signing in on a machine without a browser (RFC 8628): `lampasctl` asks, a person confirms in the dashboard, `lampasctl` fetches
//! a session. It serves who has no password, and whose second factor a terminal can't ask; the proof before grave calls goes the
//! same way.
//!
//! Two codes: the *device's*, 256 random bits, stands here as its hash and is all that fetches the session; the *person's*, eight
//! consonants, only names the request for the page that confirms. Guesses at it are counted as guesses at a password are. Both
//! are over after ten minutes, and serve once.
//!
//! What the person gives is a session of its own, for as long as was asked for, also when the browser's is over: it is named
//! after the machine, listed and ended among sessions, and can't confirm other requests ([`factor::in_session`]). How its owner signs
//! in it changes only as one must show anew: by the password before, or with a proof.
//! Grave calls ask for the person again.

pub(in crate::access) mod api;
pub(in crate::access) mod store;
#[cfg(test)]
mod tests;

use lampas_api::{DeviceBegin, DeviceBegun, DevicePurpose, DeviceRequest, DeviceSession};
use lampas_runtime::{clock, random};
use lampas_shared::{check_line, event::EventKind, id::TokenId, time::UnixMs};

use super::{
    Access, AccessError, factor, secret,
    session::machine_identity,
    store::{self as users, SessionRow},
    throttle, token,
};
use crate::{
    api::{
        guard::{Caller, Identity},
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};
use store::{DeviceRow, State};

/// How long somebody may take to confirm.
const REQUEST_MS: i64 = 600_000;

/// How long a machine waits between questions at first, and by how much longer after one that came early (RFC 8628, section 3.5).
const INTERVAL_MS: i64 = 5_000;

/// How much earlier a question may come than it should: clocks and networks are not exact.
const EARLY_MS: i64 = 500;

/// How long somebody may be signed in on a machine.
const LIFE_SECS: std::ops::RangeInclusive<u64> = 60..=7_776_000;

/// How long a proof serves: as long as that of a browser's session.
const PROOF_SECS: u64 = 600;

/// How many requests may be open, of one network, or for a proof of one user. Of all that strangers made, as many: then one of
/// the network with the most makes room.
const MOST_OF_ONE: u64 = 10;
const MOST: u64 = 1_000;

/// The letters of a person's code: consonants alone make no words, and none is taken for a digit (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl Access {
    /// Begins: makes the two codes.
    pub(super) async fn begin_device(&self, caller: &Caller, wanted: &DeviceBegin) -> Answer<DeviceBegun> {
        check_line("machine", &wanted.machine, 64).map_err(|e| Refusal::text("/machine", &e))?;
        if wanted.machine.trim().is_empty() {
            return Err(Refusal::field("/machine", "say on which machine"));
        }
        if !LIFE_SECS.contains(&wanted.ttl_secs) {
            return Err(Refusal::field("/ttl_secs", "one is signed in for 60 to 7776000 seconds (90 days)"));
        }
        let (asked_by, ttl_secs) = match wanted.purpose {
            DevicePurpose::SignIn => (None, wanted.ttl_secs),
            DevicePurpose::Proof => (Some(caller.identity()?.user), wanted.ttl_secs.min(PROOF_SECS)),
        };
        let (device_code, now) = (secret::make(), clock::now());
        let row = &DeviceRow {
            hash: secret::hash(&device_code),
            user_code: make_code(),
            purpose: wanted.purpose,
            machine: wanted.machine.trim().to_owned(),
            agent: caller.agent.clone(),
            from: caller.address.to_string(),
            network: throttle::network(caller.address).to_string(),
            ttl_secs,
            asked_by,
            state: State::Open,
            user: None,
            identity: None,
            provider_sid: None,
            created_at: now,
            expires_at: now.plus_ms(REQUEST_MS),
            // The first question may come at once.
            polled_at: now.plus_ms(-INTERVAL_MS),
            interval_ms: INTERVAL_MS,
        };
        let by = &caller.as_principal();
        self.db
            .write(|mut tx: Tx| async move {
                if let Some(user) = row.asked_by.filter(|_| caller.session().is_none()) {
                    // What is confirmed is a session of all that the user may.
                    let user = users::user_by_id(&mut tx, user).await?;
                    let user = user.ok_or_else(|| Refusal::new("unauthenticated", "the user is gone"))?;
                    token::must_be_whole(&mut tx, by, (user.id, user.preset), "ask its owner to show who they are").await?;
                }
                store::prune(&mut tx, now).await?;
                if store::of_one(&mut tx, row).await? >= MOST_OF_ONE {
                    let why = "too many machines wait to be confirmed; those that nobody confirms are over within ten minutes";
                    return Err(AccessError::from(Refusal::new("throttled", why).retry_after(60)));
                }
                if row.asked_by.is_none() {
                    store::make_room(&mut tx, MOST).await?;
                }
                store::insert(&mut tx, row).await?;
                Ok(tx.done(()))
            })
            .await?;
        let (user_code, url) = (shown_code(&row.user_code), format!("{}/device", self.oidc.url()));
        Ok(DeviceBegun {
            device_code,
            url_with_code: format!("{url}?code={user_code}"),
            user_code,
            url,
            expires_at: row.expires_at,
            interval_secs: (INTERVAL_MS / 1000) as u64,
        })
    }

    /// Returns what a machine asks for, for who is to decide.
    pub(super) async fn device_request(&self, caller: &Caller, user_code: &str) -> Answer<DeviceRequest> {
        let row = self.asked(caller, user_code).await?;
        Ok(DeviceRequest {
            user_code: shown_code(&row.user_code),
            purpose: row.purpose,
            machine: row.machine,
            agent: row.agent,
            from: row.from,
            created_at: row.created_at,
            expires_at: row.expires_at,
            ttl_secs: row.ttl_secs,
        })
    }

    /// Confirms a request, or refuses it. To confirm is grave; the table says so.
    pub(super) async fn decide_device(&self, caller: &Caller, user_code: &str, is_confirmed: bool) -> Answer<()> {
        let session = factor::in_session(caller)?;
        let row = &self.asked(caller, user_code).await?;
        let (user, by) = (caller.identity()?.user, &caller.as_principal());
        let (state, act) =
            if is_confirmed { (State::Confirmed, "device.confirm") } else { (State::Refused, "device.refuse") };
        self.db
            .write(|mut tx: Tx| async move {
                let own = users::session_to_use(&mut tx, session).await?;
                let own =
                    own.ok_or_else(|| AccessError::from(Refusal::new("unauthenticated", "the session is over")))?;
                let from = (own.identity, own.provider_sid.as_deref());
                if !store::decide(&mut tx, row, state, user, from).await? {
                    return Err(AccessError::from(Refusal::new("conflict", "somebody decided about it meanwhile")));
                }
                tx.audit(Entry::done(by, act, described(row)));
                Ok(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Returns the session once a person confirmed it; it is made here, so that its secret stands nowhere before.
    pub(super) async fn device_session(&self, caller: &Caller, device_code: &str) -> Answer<DeviceSession> {
        let over = || Refusal::new("expired_token", "the code is over, or was used: begin anew");
        if device_code.len() > 100 {
            return Err(over());
        }
        let (hash, now) = (&secret::hash(device_code), clock::now());
        let (id, secret): (TokenId, _) = (random::new_id(), format!("{}{}", secret::SESSION_PREFIX, secret::make()));
        let secret_hash = &secret::hash(&secret);
        let from = &caller.address.to_string();
        let asked = self
            .db
            .write(|mut tx: Tx| async move {
                let Some(row) = store::by_hash(&mut tx, hash).await? else { return Ok(tx.done(Asked::Over)) };
                if row.expires_at <= now {
                    store::take(&mut tx, hash).await?;
                    return Ok(tx.done(Asked::Over));
                }
                match row.state {
                    State::Refused => {
                        store::take(&mut tx, hash).await?;
                        return Ok(tx.done(Asked::Denied));
                    }
                    State::Open => {
                        let is_early = now.since(row.polled_at) + EARLY_MS < row.interval_ms;
                        let interval_ms = row.interval_ms + if is_early { INTERVAL_MS } else { 0 };
                        store::polled(&mut tx, hash, now, interval_ms).await?;
                        return Ok(tx.done(if is_early { Asked::TooEarly } else { Asked::Waits }));
                    }
                    State::Confirmed => {}
                }
                let user = match row.user {
                    Some(id) => users::user_by_id(&mut tx, id).await?.filter(|u| u.disabled_at.is_none()),
                    None => None,
                };
                let is_taken = store::take(&mut tx, hash).await?;
                let Some(user) = user.filter(|_| is_taken) else { return Ok(tx.done(Asked::Over)) };
                let session = SessionRow {
                    id,
                    user: user.id,
                    login: user.login,
                    preset: user.preset,
                    csrf: secret::make(),
                    created_at: now,
                    seen_at: now,
                    expires_at: now.plus_ms((row.ttl_secs * 1000) as i64),
                    from: from.clone(),
                    agent: row.agent.clone(),
                    // A sign-in proves nothing for grave calls: each asks the person again.
                    proven_at: if row.purpose == DevicePurpose::Proof { now } else { UnixMs(0) },
                    must_enrol: false,
                    machine: Some(row.machine.clone()),
                    identity: row.identity,
                    provider_sid: row.provider_sid.clone(),
                };
                users::insert_session(&mut tx, &session, secret_hash).await?;
                let by = Principal::new(format!("user:{}", session.login), from.clone());
                tx.audit(Entry::done(&by, "session.open", format!("{}, {}", session.login, described(&row))));
                tx.event(NewEvent::new(EventKind::SessionOpened).with("login", &session.login).with("from", from));
                Ok::<_, DbError>(tx.done(Asked::Opened(Box::new(session))))
            })
            .await?;
        match asked {
            Asked::Waits => Err(Refusal::new("authorization_pending", "nobody has confirmed it yet")),
            Asked::TooEarly => Err(Refusal::new("slow_down", "wait five seconds longer between questions")),
            Asked::Denied => Err(Refusal::new("access_denied", "it was refused in the dashboard")),
            Asked::Over => Err(over()),
            Asked::Opened(row) => {
                Ok(DeviceSession { id: row.id, secret, login: row.login, expires_at: row.expires_at })
            }
        }
    }

    /// Returns who a machine's session speaks for.
    ///
    /// # Errors
    /// When it is unknown or over.
    pub(crate) async fn by_machine(&self, given: &str, now: UnixMs) -> Answer<Identity> {
        let refused = || Refusal::new("unauthenticated", "the sign-in on this machine is unknown, over, or was ended");
        if given.len() > 100 {
            return Err(refused());
        }
        let found = self.session_of(given).await?;
        let (row, rights) = found.filter(|(r, _)| r.machine.is_some() && now < r.expires_at).ok_or_else(refused)?;
        self.touch(&row, now).await;
        machine_identity(&row, rights).ok_or_else(refused)
    }

    /// Returns the open request of a code, which is guessed at like a password.
    async fn asked(&self, caller: &Caller, user_code: &str) -> Answer<DeviceRow> {
        factor::in_session(caller)?;
        let identity = caller.identity()?;
        let counted_as = format!("codes of machines of {}", identity.login);
        self.attempt(caller, &counted_as)?;
        let unknown = || {
            let why = "no machine waits with that code: it is mistyped, over, or was decided about";
            Refusal::field("/user_code", why)
        };
        let (code, now) = (plain_code(user_code).ok_or_else(unknown)?, clock::now());
        let code = code.as_str();
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let found = store::open(&mut tx, code, now).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        // What another user's machine asks looks like nothing at all.
        let row = found.filter(|r| r.asked_by.is_none_or(|u| u == identity.user)).ok_or_else(unknown)?;
        self.throttle.succeeded(&counted_as, caller.address);
        Ok(row)
    }
}

/// How a machine's question ends.
enum Asked {
    Waits,
    TooEarly,
    Denied,
    Over,
    Opened(Box<SessionRow>),
}

/// What the audit says of a request.
fn described(row: &DeviceRow) -> String {
    let what = match row.purpose {
        DevicePurpose::SignIn => "lampasctl",
        DevicePurpose::Proof => "a proof for lampasctl",
    };
    format!("{what} on {} ({}) for {} s", row.machine, row.from, row.ttl_secs)
}

/// Makes a person's code: some 34 bits.
fn make_code() -> String {
    let mut code = String::new();
    while code.len() < 8 {
        // Bytes that would favour some letters are drawn again.
        let fair = random::bytes::<16>().into_iter().filter(|b| usize::from(*b) < 256 / LETTERS.len() * LETTERS.len());
        code.extend(fair.map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])));
    }
    code.truncate(8);
    code
}

fn shown_code(code: &str) -> String {
    let (first, second) = code.split_at(code.len().min(4));
    format!("{first}-{second}")
}

/// Reads what a person typed: in any case, with or without a hyphen.
fn plain_code(typed: &str) -> Option<String> {
    let code: String = typed.chars().filter(|c| !matches!(c, '-' | ' ')).take(9).collect();
    let code = code.to_ascii_uppercase();
    (code.len() == 8 && code.bytes().all(|b| LETTERS.contains(&b))).then_some(code)
}
