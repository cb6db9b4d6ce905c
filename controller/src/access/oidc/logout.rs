//! Logout told by the provider (OpenID Connect Back-Channel Logout 1.0): it posts a token that names a session of its own, a
//! user, or both, and what it opened here ends at once.
//!
//! The call is open: all that counts is the token. It is verified as ID tokens are, by the provider's published keys; what makes
//! it a logout token and no other is in [`check`], pure. Each counts once.

use lampas_runtime::clock;
use lampas_shared::{event::EventKind, id::UserId, time::UnixMs};
use serde_json::Value;
use tracing::info;

use super::{
    store::{self, ProviderRow},
    token::{self, Claims, LEEWAY_SECS, OLDEST_SECS, TokenError},
};
use crate::{
    access::{Access, secret, store as access_store},
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// What the claim `events` has to hold (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whom a token means.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meant {
    subject: Option<String>,
    sid: Option<String>,
    /// What makes it one of a kind.
    jti: String,
    expires_at: UnixMs,
}

impl Access {
    /// Ends what a provider opened.
    ///
    /// A provider does not send again, and ends many sessions at once: so what its keys verify is never made to wait. Counted
    /// is what is refused, and who had too much of that refused gets nothing fetched any more.
    pub(super) async fn logout_by_provider(&self, caller: &Caller, name: &str, given: &str) -> Answer<()> {
        let ended = self.ended_by_provider(caller, name, given).await;
        if let Err(refusal) = &ended {
            info!(from = %caller.address, why = refusal.detail, "a logout of a provider was refused");
        }
        ended
    }

    async fn ended_by_provider(&self, caller: &Caller, name: &str, given: &str) -> Answer<()> {
        let counted_as = format!("logout from {}", caller.address);
        // Who is no provider learns no more than whose token is wrong.
        let refused = |why: &dyn std::fmt::Display| {
            self.attempt(caller, &counted_as)
                .err()
                .unwrap_or_else(|| Refusal::new("malformed", format!("the logout token: {why}")))
        };
        let row = self.find_provider(name).await?.ok_or_else(|| refused(&"it is of no provider here"))?;
        let (directory, issuer) = (&self.oidc.directory, row.spec.issuer.as_str());
        let mut claims = directory.remembered(issuer).map(|(_, keys)| signed(given, &keys));
        if matches!(claims, None | Some(Err(TokenError::UnknownKey | TokenError::Signature))) {
            let _turn = directory.turn().await;
            claims = directory.remembered(issuer).map(|(_, keys)| signed(given, &keys)).filter(Result::is_ok);
            if claims.is_none() {
                self.look_at_attempts(caller, &counted_as)?;
                let metadata = directory.metadata(&self.oidc.egress, issuer).await?;
                claims = Some(signed(given, &directory.keys(&self.oidc.egress, &metadata, true).await?));
            }
        }
        let now = clock::now();
        let claims = claims.unwrap_or(Err(TokenError::UnknownKey));
        let meant = claims.and_then(|c| check(&c, (issuer, &row.spec.client_id), now));
        let meant = meant.map_err(|e| refused(&e))?;
        self.ended_of(caller, &row, &meant, now).await
    }

    async fn ended_of(&self, caller: &Caller, row: &ProviderRow, meant: &Meant, now: UnixMs) -> Answer<()> {
        let by = &Principal::new(format!("provider:{}", row.name), caller.address.to_string());
        let hash = &secret::hash(&format!("{} {}", row.id, meant.jti));
        let (subject, sid) = (meant.subject.as_deref(), meant.sid.as_deref());
        let is_fresh = self
            .db
            .write(|mut tx: Tx| async move {
                if !store::use_logout_token(&mut tx, hash, (now, meant.expires_at)).await? {
                    return Ok(tx.done(false));
                }
                let mut ended: Vec<UserId> = store::sessions_of(&mut tx, row.id, subject, sid).await?;
                ended.sort_unstable();
                ended.dedup();
                store::end_sessions(&mut tx, row.id, subject, sid).await?;
                for user in ended {
                    let Some(user) = access_store::user_by_id(&mut tx, user).await? else { continue };
                    let object = format!("of {}, who signed out at {}", user.login, row.name);
                    tx.audit(Entry::done(by, "session.end", object));
                    tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                }
                Ok::<_, DbError>(tx.done(true))
            })
            .await?;
        if is_fresh { Ok(()) } else { Err(Refusal::new("malformed", "the logout token: it was used before")) }
    }
}

/// Verifies the signature; the header may say that it is a logout token, and nothing else (RFC 8725, section 3.11).
fn signed(given: &str, keys: &[jsonwebtoken::jwk::Jwk]) -> Result<Claims, TokenError> {
    let claims = token::signed(given, keys)?;
    let typ = jsonwebtoken::decode_header(given).map_err(|_| TokenError::Malformed)?.typ;
    match typ.map(|t| t.to_ascii_lowercase()).as_deref() {
        None | Some("jwt" | "logout+jwt" | "application/logout+jwt") => Ok(claims),
        Some(_) => Err(TokenError::Claim("typ")),
    }
}

/// Checks the claims (section 2.6).
fn check(claims: &Claims, (issuer, client_id): (&str, &str), now: UnixMs) -> Result<Meant, TokenError> {
    let wrong = |claim| Err(TokenError::Claim(claim));
    let secs = now.0.div_euclid(1000);
    if token::text(claims, "iss") != Some(issuer) {
        return wrong("iss");
    }
    if !token::audience(claims, client_id).0 {
        return wrong("aud");
    }
    match token::seconds(claims, "iat") {
        Some(iat) if iat <= secs + LEEWAY_SECS && iat >= secs - OLDEST_SECS => {}
        _ => return wrong("iat"),
    }
    match token::seconds(claims, "exp") {
        Some(exp) if secs < exp.saturating_add(LEEWAY_SECS) => {}
        _ => return wrong("exp"),
    }
    if !claims.get("events").and_then(|e| e.get(EVENT)).is_some_and(Value::is_object) {
        return wrong("events");
    }
    // So that no ID token passes for a logout token.
    if claims.contains_key("nonce") {
        return wrong("nonce");
    }
    let jti = token::text(claims, "jti").filter(|j| (1..=1024).contains(&j.len()));
    let Some(jti) = jti.map(str::to_owned) else { return wrong("jti") };
    let subject = token::subject(claims).map(str::to_owned);
    if claims.contains_key("sub") && subject.is_none() {
        return wrong("sub");
    }
    let sid = token::session(claims).map(str::to_owned);
    if claims.contains_key("sid") && sid.is_none() {
        return wrong("sid");
    }
    if subject.is_none() && sid.is_none() {
        return wrong("sub");
    }
    // Remembered for longer than its `iat` lets it be believed again.
    let until = secs + OLDEST_SECS + 2 * LEEWAY_SECS;
    Ok(Meant { subject, sid, jti, expires_at: UnixMs(until * 1000) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::access::oidc::testing::Signer;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn good() -> Value {
        let now = NOW.0 / 1000;
        json!({
            "iss": "https://id.example", "aud": "lampas", "sub": "user-1", "sid": "s1", "jti": "j1", "iat": now, "exp": now + 120,
            "events": {EVENT: {}},
        })
    }

    fn checked(name: &str, value: Value) -> Result<Meant, TokenError> {
        let mut claims = good();
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value,
        }
        check(claims.as_object().expect("an object"), ("https://id.example", "lampas"), NOW)
    }

    #[test]
    fn each_claim_of_a_logout_token_must_be_right() {
        let now = NOW.0 / 1000;
        for (name, value, wrong) in [
            ("iss", json!("https://id.example/"), Some("iss")),
            ("iss", Value::Null, Some("iss")),
            ("aud", json!("other"), Some("aud")),
            ("aud", Value::Null, Some("aud")),
            ("aud", json!(["other", "lampas"]), None),
            ("iat", json!(now + 61), Some("iat")),
            ("iat", json!(now - 601), Some("iat")),
            ("iat", Value::Null, Some("iat")),
            ("exp", json!(now - 61), Some("exp")),
            ("exp", json!("soon"), Some("exp")),
            ("exp", Value::Null, Some("exp")),
            ("events", Value::Null, Some("events")),
            ("events", json!({"http://schemas.openid.net/event/other": {}}), Some("events")),
            ("events", json!({EVENT: true}), Some("events")),
            ("nonce", json!("n1"), Some("nonce")),
            ("jti", Value::Null, Some("jti")),
            ("jti", json!(""), Some("jti")),
            ("sub", Value::Null, None),
            ("sub", json!(" user-1"), Some("sub")),
            ("sid", Value::Null, None),
            ("sid", json!(7), Some("sid")),
        ] {
            let found = checked(name, value.clone());
            assert_eq!(found.err(), wrong.map(TokenError::Claim), "{name}: {value}");
        }
        let mut neither = good();
        for name in ["sub", "sid"] {
            neither.as_object_mut().expect("an object").remove(name);
        }
        let found = check(neither.as_object().expect("an object"), ("https://id.example", "lampas"), NOW);
        assert_eq!(found, Err(TokenError::Claim("sub")));
    }

    #[test]
    fn what_says_that_it_is_another_token_is_none() {
        let signer = Signer::new();
        let keys = [signer.jwk("k1")];
        for (typ, is_right) in [(None, true), (Some("JWT"), true), (Some("logout+jwt"), true), (Some("at+jwt"), false)]
        {
            let mut header = json!({"alg": "ES256", "kid": "k1"});
            if let Some(typ) = typ {
                header["typ"] = json!(typ);
            }
            assert_eq!(signed(&signer.sign(&header, &good()), &keys).is_ok(), is_right, "{typ:?}");
        }
        let other = Signer::new();
        assert_eq!(
            signed(&other.sign(&json!({"alg": "ES256", "kid": "k1"}), &good()), &keys),
            Err(TokenError::Signature)
        );
    }
}
