//! ID tokens, as pure values: which key signs, whether the signature is right, and whether the claims are meant for us
//! (OpenID Connect Core 1.0, section 3.1.3.7).

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse},
};
use lampas_shared::time::UnixMs;
use serde_json::{Map, Value};
use thiserror::Error;

/// What is believed: signatures with public keys. `none` is no algorithm here, and HMAC would take a public key, or the
/// client's secret, for the key.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// How far the clocks may be apart.
pub(super) const LEEWAY_SECS: i64 = 60;

/// How old a token may be that was just asked for.
pub(super) const OLDEST_SECS: i64 = 600;

/// The longest token that is looked at.
const MOST_BYTES: usize = 64 << 10;

/// How many keys are tried for a token that names none.
const MOST_TRIES: usize = 8;

/// The claims of a token that is right.
pub(super) type Claims = Map<String, Value>;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum TokenError {
    /// It can't be read.
    #[error("the ID token can't be read")]
    Malformed,
    /// It is signed in a way that is not believed.
    #[error("the ID token is not signed with an algorithm that is believed here")]
    Algorithm,
    /// The provider publishes no key that fits.
    #[error("the ID token is signed with a key that the provider does not publish")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the ID token is wrong")]
    Signature,
    /// A claim is missing or wrong.
    #[error("the ID token has a wrong claim: {0}")]
    Claim(&'static str),
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: UnixMs,
    /// Since when the user must have been there in person, if that was asked for.
    pub(super) there_since: Option<UnixMs>,
}

/// Checks a token against the keys of its provider, and returns what it says.
pub(super) fn verify(token: &str, keys: &[Jwk], expected: Expected<'_>) -> Result<Claims, TokenError> {
    let claims = signed(token, keys)?;
    check(&claims, expected)?;
    Ok(claims)
}

/// Returns what a token says whose signature is by one of the keys; the claims are yet to be checked.
pub(super) fn signed(token: &str, keys: &[Jwk]) -> Result<Claims, TokenError> {
    if token.len() > MOST_BYTES || token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let algorithm = algorithm_of(token)?;
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    let fitting = keys.iter().filter(|k| fits(k, algorithm));
    let named: Vec<&Jwk> = match &header.kid {
        Some(kid) => fitting.filter(|k| k.common.key_id.as_ref() == Some(kid)).collect(),
        None => fitting.take(MOST_TRIES).collect(),
    };
    if named.is_empty() {
        return Err(TokenError::UnknownKey);
    }
    let mut validation = Validation::new(algorithm);
    // Of the claims we check all ourselves, by the controller's clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = named.into_iter().find_map(|key| {
        let key = DecodingKey::from_jwk(key).ok()?;
        decode::<Claims>(token, &key, &validation).ok()
    });
    Ok(decoded.ok_or(TokenError::Signature)?.claims)
}

/// Returns the algorithm of the header, if it is believed.
fn algorithm_of(token: &str) -> Result<Algorithm, TokenError> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let head = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(head).map_err(|_| TokenError::Malformed)?;
    let head: Value = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
    // What we don't know we must not pass over (RFC 7515, section 4.1.11).
    if head.get("crit").is_some() {
        return Err(TokenError::Algorithm);
    }
    let name = head.get("alg").and_then(Value::as_str).ok_or(TokenError::Algorithm)?;
    let algorithm: Algorithm = name.parse().map_err(|_| TokenError::Algorithm)?;
    if ALGORITHMS.contains(&algorithm) { Ok(algorithm) } else { Err(TokenError::Algorithm) }
}

/// Returns whether a published key may have made such a signature.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let is_kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), a) => a.family() == Algorithm::RS256.family(),
        (AlgorithmParameters::EllipticCurve(_), a) => a.family() == Algorithm::ES256.family(),
        (AlgorithmParameters::OctetKeyPair(_), a) => a == Algorithm::EdDSA,
        _ => false,
    };
    let is_for_signing = key.common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let named = key.common.key_algorithm.map(|a| a.to_string());
    is_kind && is_for_signing && named.is_none_or(|n| n.parse::<Algorithm>().is_ok_and(|a| a == algorithm))
}

fn check(claims: &Claims, expected: Expected<'_>) -> Result<(), TokenError> {
    let wrong = |claim| Err(TokenError::Claim(claim));
    let now = expected.now.0.div_euclid(1000);
    if text(claims, "iss") != Some(expected.issuer) {
        return wrong("iss");
    }
    let (is_for_us, are_more) = audience(claims, expected.client_id);
    if !is_for_us {
        return wrong("aud");
    }
    match claims.get("azp") {
        None if are_more => return wrong("azp"),
        None => {}
        Some(azp) if azp.as_str() == Some(expected.client_id) => {}
        Some(_) => return wrong("azp"),
    }
    match seconds(claims, "exp") {
        Some(exp) if now < exp.saturating_add(LEEWAY_SECS) => {}
        _ => return wrong("exp"),
    }
    match seconds(claims, "iat") {
        Some(iat) if iat <= now + LEEWAY_SECS && iat >= now - OLDEST_SECS => {}
        _ => return wrong("iat"),
    }
    if claims.contains_key("nbf") && seconds(claims, "nbf").is_none_or(|nbf| nbf > now + LEEWAY_SECS) {
        return wrong("nbf");
    }
    let nonce = text(claims, "nonce").unwrap_or_default();
    if expected.nonce.is_empty() || !crate::access::secret::equal(nonce.as_bytes(), expected.nonce.as_bytes()) {
        return wrong("nonce");
    }
    if let Some(since) = expected.there_since {
        let since = since.0.div_euclid(1000) - LEEWAY_SECS;
        if seconds(claims, "auth_time").is_none_or(|at| at < since || at > now + LEEWAY_SECS) {
            return wrong("auth_time");
        }
    }
    if subject(claims).is_none() { wrong("sub") } else { Ok(()) }
}

/// Returns what the provider knows the user by: up to 255 characters of ASCII (OpenID Connect Core 1.0, section 2),
/// without blanks around, since a database may take no notice of these.
pub(super) fn subject(claims: &Claims) -> Option<&str> {
    text(claims, "sub").filter(|s| is_subject(s))
}

/// Returns whether a text can be a subject.
pub(super) fn is_subject(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)) && text.trim() == text
}

/// Returns whether a token is for a client, and whether it is for more than one.
pub(super) fn audience(claims: &Claims, client_id: &str) -> (bool, bool) {
    match claims.get("aud") {
        Some(Value::String(one)) => (one == client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|a| a.as_str() == Some(client_id)), all.len() > 1),
        _ => (false, false),
    }
}

/// Returns what the provider calls its own session (OpenID Connect Back-Channel Logout 1.0, section 2.1); nothing longer than
/// is kept.
pub(super) fn session(claims: &Claims) -> Option<&str> {
    text(claims, "sid").filter(|s| (1..=255).contains(&s.len()) && s.bytes().all(|b| (b' '..=b'~').contains(&b)))
}

/// Returns a claim that is a text.
pub(super) fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// Returns a claim that is a text, or a list of them.
pub(super) fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(|v| v.as_str().map(str::to_owned)).take(2000).collect(),
        _ => Vec::new(),
    }
}

/// Returns a claim that is a time; fractions are allowed (RFC 7519, section 2).
pub(super) fn seconds(claims: &Claims, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().filter(|f| f.is_finite() && f.abs() < 1e15).map(|f| f as i64))
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
            "iss": "https://id.example", "aud": "lampas", "sub": "user-1", "nonce": "n1", "exp": now + 300, "iat": now,
            "auth_time": now,
        })
    }

    fn expected() -> Expected<'static> {
        Expected { issuer: "https://id.example", client_id: "lampas", nonce: "n1", now: NOW, there_since: Some(NOW) }
    }

    #[test]
    fn each_claim_must_be_right() {
        let signer = Signer::new();
        let keys = [signer.jwk("k1")];
        let header = json!({"alg": "ES256", "kid": "k1"});
        let check = |name: &str, value: Value, wrong: Option<&'static str>| {
            let mut claims = good();
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value,
            }
            let found = verify(&signer.sign(&header, &claims), &keys, expected());
            assert_eq!(found.err(), wrong.map(TokenError::Claim), "{name}: {claims}");
        };
        let now = NOW.0 / 1000;
        check("email", json!("a@b"), None);
        check("iss", json!("https://id.example/"), Some("iss"));
        check("iss", Value::Null, Some("iss"));
        check("aud", json!("other"), Some("aud"));
        check("aud", Value::Null, Some("aud"));
        check("aud", json!(["lampas"]), None);
        check("aud", json!(["other", "lampas"]), Some("azp"));
        check("azp", json!("lampas"), None);
        check("azp", json!("other"), Some("azp"));
        check("exp", json!(now - 59), None);
        check("exp", json!(now - 61), Some("exp"));
        check("exp", json!("soon"), Some("exp"));
        check("exp", Value::Null, Some("exp"));
        check("exp", json!(now as f64 + 10.5), None);
        check("iat", json!(now + 61), Some("iat"));
        check("iat", json!(now - 3600), Some("iat"));
        check("iat", Value::Null, Some("iat"));
        check("nbf", json!(now + 61), Some("nbf"));
        check("nonce", json!("n2"), Some("nonce"));
        check("nonce", Value::Null, Some("nonce"));
        check("auth_time", json!(now - 120), Some("auth_time"));
        check("auth_time", Value::Null, Some("auth_time"));
        check("sub", Value::Null, Some("sub"));
        check("sub", json!(""), Some("sub"));
        check("sub", json!("a "), Some("sub"));
        check("sub", json!("a\u{0}"), Some("sub"));
        check("sub", json!(7), Some("sub"));
    }

    #[test]
    fn a_signature_must_be_of_a_published_key() {
        let (signer, other) = (Signer::new(), Signer::new());
        let keys = [signer.jwk("k1"), other.jwk("k2")];
        let with = |header: Value| verify(&signer.sign(&header, &good()), &keys, expected()).err();
        assert_eq!(with(json!({"alg": "ES256", "kid": "k1"})), None);
        assert_eq!(with(json!({"alg": "ES256"})), None, "without a name all that fit are tried");
        assert_eq!(with(json!({"alg": "ES256", "kid": "k2"})), Some(TokenError::Signature));
        assert_eq!(with(json!({"alg": "ES256", "kid": "k3"})), Some(TokenError::UnknownKey));
        assert_eq!(with(json!({"alg": "RS256", "kid": "k1"})), Some(TokenError::UnknownKey), "of another kind");
        for alg in ["none", "None", "HS256", "HS512", "ES256K", ""] {
            assert_eq!(with(json!({"alg": alg, "kid": "k1"})), Some(TokenError::Algorithm), "{alg}");
        }
        assert_eq!(with(json!({"alg": "ES256", "kid": "k1", "crit": ["b64"]})), Some(TokenError::Algorithm));
        let token = signer.sign(&json!({"alg": "ES256", "kid": "k1"}), &good());
        let (text, _) = token.rsplit_once('.').expect("three parts");
        for wrong in [format!("{text}."), text.to_owned(), String::new(), "a.b.c.d".into(), format!("{text}.AAAA")] {
            verify(&wrong, &keys, expected()).expect_err(&wrong);
        }
        // A symmetric key that the provider publishes signs nothing, nor does a key for encryption.
        let secret: Jwk = serde_json::from_value(json!({"kty": "oct", "k": "AAAA", "kid": "k1"})).expect("a key");
        assert_eq!(verify(&token, &[secret], expected()).err(), Some(TokenError::UnknownKey));
        let mut sealing = signer.jwk("k1");
        sealing.common.public_key_use = Some(PublicKeyUse::Encryption);
        assert_eq!(verify(&token, &[sealing], expected()).err(), Some(TokenError::UnknownKey));
    }

    #[test]
    fn groups_are_a_text_or_a_list_of_them() {
        let claims = |v: Value| v.as_object().expect("an object").clone();
        assert_eq!(texts(&claims(json!({"g": ["a", 1, "b"]})), "g"), ["a", "b"]);
        assert_eq!(texts(&claims(json!({"g": "a"})), "g"), ["a"]);
        assert!(texts(&claims(json!({"g": {"a": true}})), "g").is_empty());
    }
}
