//! What is asked of a provider: its discovery document, its keys, and a token for a code. All of it goes through the
//! controller's egress client, with limits; what comes is hostile until it is checked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderValue, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use url::form_urlencoded;

use super::token::Claims;
use crate::egress::{Ask, Egress, EgressError};

/// How long discovery documents and keys are believed without another look.
const FRESH: Duration = Duration::from_secs(600);

/// How soon keys are fetched again for a token that none of them signed: a provider may have rotated just now.
const AGAIN: Duration = Duration::from_secs(10);

/// How many providers are remembered.
const MOST_KNOWN: usize = 64;

/// How many keys of a provider are looked at.
const MOST_KEYS: usize = 64;

const LIMIT_BYTES: usize = 256 << 10;
const LIMIT_TIME: Duration = Duration::from_secs(10);

/// Why a provider can't be used.
#[derive(Debug, Clone, Error)]
pub(super) enum ProviderError {
    /// It can't be reached.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// It answers with an error.
    #[error("{what}: it answers with the status {status}")]
    Status {
        /// What was asked.
        what: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// It answers with something else.
    #[error("{what}: the answer is not what it should be: {why}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The document is about another issuer.
    #[error(
        "the discovery document is about the issuer {found:?}; the issuer must be written exactly so, and be this one"
    )]
    Issuer {
        /// What the document says.
        found: String,
    },
    /// The code was refused: it is over, was used, or belongs to somebody else.
    #[error("the provider refused the code: {0}")]
    Code(String),
}

/// A discovery document (OpenID Connect Discovery 1.0, section 3), as far as it is used.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    #[serde(default)]
    pub(super) userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    pub(super) scopes_supported: Option<Vec<String>>,
    /// Whether the redirect names the issuer (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

#[derive(Debug, Clone)]
struct Known {
    metadata: Arc<Metadata>,
    metadata_at: Instant,
    keys: Arc<Vec<Jwk>>,
    keys_at: Option<Instant>,
}

/// What is remembered of providers.
#[derive(Debug)]
pub(super) struct Directory {
    known: Mutex<BTreeMap<String, Known>>,
    turn: Semaphore,
}

impl Default for Directory {
    fn default() -> Self {
        Self { known: Mutex::default(), turn: Semaphore::new(1) }
    }
}

/// What a code is exchanged with.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) client_id: &'a str,
    pub(super) secret: Option<&'a str>,
    pub(super) redirect_uri: &'a str,
    pub(super) code: &'a str,
    pub(super) verifier: &'a str,
}

/// What a code is exchanged for.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

impl Directory {
    /// Returns the discovery document of an issuer, from memory if it is fresh.
    pub(super) async fn metadata(&self, egress: &Egress, issuer: &str) -> Result<Arc<Metadata>, ProviderError> {
        let fresh = self.get(issuer).filter(|k| k.metadata_at.elapsed() < FRESH).map(|k| k.metadata);
        match fresh {
            Some(metadata) => Ok(metadata),
            None => self.fetch(egress, issuer).await,
        }
    }

    /// Returns what is remembered of an issuer, as long as it is fresh: nothing is fetched for it.
    pub(super) fn remembered(&self, issuer: &str) -> Option<(Arc<Metadata>, Arc<Vec<Jwk>>)> {
        let known = self.get(issuer).filter(|k| k.metadata_at.elapsed() < FRESH)?;
        known.keys_at.filter(|at| at.elapsed() < FRESH)?;
        Some((known.metadata, known.keys))
    }

    /// Waits until nobody else fetches for a token that nothing in memory verifies: one fetch serves all who came meanwhile.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turn.acquire().await.ok()
    }

    /// Fetches the discovery document anew.
    pub(super) async fn fetch(&self, egress: &Egress, issuer: &str) -> Result<Arc<Metadata>, ProviderError> {
        const WHAT: &str = "read its discovery document";
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata: Metadata = json(egress, Ask::get(url), WHAT).await?;
        if metadata.issuer != issuer {
            return Err(ProviderError::Issuer { found: metadata.issuer.chars().take(200).collect() });
        }
        let pages = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        for url in pages.into_iter().chain(&metadata.userinfo_endpoint) {
            egress.check(url)?;
        }
        let metadata = Arc::new(metadata);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN && !known.contains_key(issuer) {
            known.clear();
        }
        let (keys, keys_at) = match known.remove(issuer) {
            Some(before) if before.metadata.jwks_uri == metadata.jwks_uri => (before.keys, before.keys_at),
            _ => (Arc::default(), None),
        };
        let entry = Known { metadata: metadata.clone(), metadata_at: Instant::now(), keys, keys_at };
        known.insert(issuer.to_owned(), entry);
        Ok(metadata)
    }

    /// Returns the keys of an issuer; fetched anew if none of those in memory fitted.
    pub(super) async fn keys(
        &self,
        egress: &Egress,
        metadata: &Metadata,
        none_fitted: bool,
    ) -> Result<Arc<Vec<Jwk>>, ProviderError> {
        let longest = if none_fitted { AGAIN } else { FRESH };
        let known = self.get(&metadata.issuer).filter(|k| k.metadata.jwks_uri == metadata.jwks_uri);
        if let Some(keys) = known.filter(|k| k.keys_at.is_some_and(|at| at.elapsed() < longest)).map(|k| k.keys) {
            return Ok(keys);
        }
        let keys = Arc::new(fetch_keys(egress, metadata).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(&metadata.issuer) {
            (entry.keys, entry.keys_at) = (keys.clone(), Some(Instant::now()));
        }
        Ok(keys)
    }

    fn get(&self, issuer: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(issuer).cloned()
    }
}

/// Fetches the keys of a provider; those of kinds that nobody knows are passed over.
pub(super) async fn fetch_keys(egress: &Egress, metadata: &Metadata) -> Result<Vec<Jwk>, ProviderError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = json(egress, Ask::get(metadata.jwks_uri.as_str()), "read its keys").await?;
    Ok(set.keys.into_iter().take(MOST_KEYS).filter_map(|k| serde_json::from_value(k).ok()).collect())
}

/// Exchanges a code for an ID token.
pub(super) async fn exchange(
    egress: &Egress,
    metadata: &Metadata,
    wanted: &Exchange<'_>,
) -> Result<Tokens, ProviderError> {
    const WHAT: &str = "exchange the code";
    #[derive(Deserialize)]
    struct Answer {
        id_token: Option<String>,
        #[serde(default)]
        access_token: String,
    }
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let ask = code_request(metadata, wanted);
    let got = egress.send(ask.at_most(LIMIT_BYTES).within(LIMIT_TIME)).await?;
    if got.status != StatusCode::OK {
        let refused = serde_json::from_slice::<Refused>(&got.body).ok();
        return Err(match refused {
            Some(refused) if got.status.is_client_error() => ProviderError::Code(word(&refused.error)),
            _ => ProviderError::Status { what: WHAT, status: got.status },
        });
    }
    let answer: Answer = read(&got.body, WHAT)?;
    let missing = || ProviderError::Answer { what: WHAT, why: "it holds no id_token".to_owned() };
    Ok(Tokens { id_token: answer.id_token.ok_or_else(missing)?, access_token: answer.access_token })
}

/// Writes the request that a code is exchanged with.
fn code_request(metadata: &Metadata, wanted: &Exchange<'_>) -> Ask {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", wanted.code)
        .append_pair("redirect_uri", wanted.redirect_uri)
        .append_pair("code_verifier", wanted.verifier);
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    let takes = |method: &str| methods.is_some_and(|all| all.iter().any(|m| m == method));
    // Basic is what a provider takes that says nothing (OpenID Connect Discovery 1.0, section 3).
    let is_basic = methods.is_none() || takes("client_secret_basic") || !takes("client_secret_post");
    let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
    match wanted.secret {
        Some(secret) if is_basic => {
            let coded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", coded(wanted.client_id), coded(secret)));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).expect("base64 is a header value");
            value.set_sensitive(true);
            headers.push((header::AUTHORIZATION, value));
        }
        Some(secret) => drop(form.append_pair("client_id", wanted.client_id).append_pair("client_secret", secret)),
        None => drop(form.append_pair("client_id", wanted.client_id)),
    }
    headers.push((header::ACCEPT, HeaderValue::from_static("application/json")));
    Ask::post(metadata.token_endpoint.as_str(), form.finish()).headers(headers)
}

/// Asks for the claims that are not in the ID token (OpenID Connect Core 1.0, section 5.3).
pub(super) async fn user_info(egress: &Egress, url: &str, access_token: &str) -> Result<Claims, ProviderError> {
    const WHAT: &str = "read what it says of the user";
    let wrong = || ProviderError::Answer { what: WHAT, why: "the access token has strange characters".to_owned() };
    let mut value = HeaderValue::from_str(&format!("Bearer {access_token}")).map_err(|_| wrong())?;
    value.set_sensitive(true);
    json(egress, Ask::get(url).headers([(header::AUTHORIZATION, value)]), WHAT).await
}

async fn json<T: serde::de::DeserializeOwned>(
    egress: &Egress,
    ask: Ask,
    what: &'static str,
) -> Result<T, ProviderError> {
    let ask = ask.headers([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    let got = egress.send(ask.at_most(LIMIT_BYTES).within(LIMIT_TIME)).await?;
    if got.status != StatusCode::OK {
        return Err(ProviderError::Status { what, status: got.status });
    }
    read(&got.body, what)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, ProviderError> {
    // The message of a wrong value may repeat it, and it may be a secret.
    serde_json::from_slice(body).map_err(|e| {
        let why = if e.is_data() { "something is missing, or of another type" } else { "it is not JSON" };
        ProviderError::Answer { what, why: why.to_owned() }
    })
}

/// Returns a code of an error as it can be shown and noted: a word of the protocol, nothing else.
pub(super) fn word(text: &str) -> String {
    let word: String = text.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(40).collect();
    if word.is_empty() { "error".to_owned() } else { word }
}
