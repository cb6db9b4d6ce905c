//! An issuer that says what a test tells it to, on a real socket: the hostile ones, and a good one to compare them with.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::jwk::Jwk;
use lampas_runtime::{Tasks, clock};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::api::testing::Controller;

/// A key of a provider.
pub(super) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(super) fn new() -> Self {
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new()).expect("a key");
        Self(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref()).expect("the same key"))
    }

    pub(super) fn jwk(&self, kid: &str) -> Jwk {
        let point = self.0.public_key().as_ref();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..]));
        let key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256"});
        serde_json::from_value(key).expect("a key")
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).expect("signed");
        format!("{text}.{}", B64.encode(signature.as_ref()))
    }
}

/// A status, headers, and a body.
pub(super) type Instead = (StatusCode, Vec<(&'static str, String)>, String);

/// What the issuer does.
pub(super) struct Act {
    /// What the discovery document says otherwise.
    pub(super) discovery: Value,
    /// What it answers instead of it.
    pub(super) instead: Option<Instead>,
    /// What the ID token says otherwise; null takes a claim away.
    pub(super) claims: Value,
    /// The header of the token.
    pub(super) header: Value,
    /// Whether it signs with a key that it does not publish.
    pub(super) is_forged: bool,
    /// The code that is good once, with the challenge and the nonce that it was asked for with.
    code: Option<(String, String, String)>,
    /// What the last request for a token held.
    pub(super) asked: Vec<(String, String)>,
}

/// The issuer.
#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) act: Arc<Mutex<Act>>,
    keys: Arc<(Signer, Signer)>,
}

impl Issuer {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://127.0.0.1:{}", listener.local_addr().expect("bound").port());
        let act = Act {
            discovery: json!({}),
            instead: None,
            claims: json!({}),
            header: json!({"alg": "ES256", "kid": "k1"}),
            is_forged: false,
            code: None,
            asked: Vec::new(),
        };
        let issuer = Self { url, act: Arc::new(Mutex::new(act)), keys: Arc::new((Signer::new(), Signer::new())) };
        let app = Router::default()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(async |State(i): State<Issuer>| Json(json!({"keys": [i.keys.0.jwk("k1")]}))))
            .route("/token", post(token))
            .with_state(issuer.clone());
        Tasks::default().spawn("test.issuer", async move { axum::serve(listener, app).await.expect("serves") });
        issuer
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Act)) {
        change(&mut self.act.lock().expect("is whole"));
    }

    /// Returns what it posts when somebody signed out there; signed with a key that it does not publish, if it is forged.
    pub(super) fn signed(&self, claims: &Value, is_forged: bool) -> String {
        let signer = if is_forged { &self.keys.1 } else { &self.keys.0 };
        signer.sign(&json!({"alg": "ES256", "kid": "k1"}), claims)
    }

    /// Signs somebody in at the page that a browser was sent to. Returns the code.
    pub(super) fn visit(&self, trip: &Trip, claims: Value) -> String {
        assert_eq!(trip.param("code_challenge_method"), "S256");
        let code = format!("code-{}", crate::access::secret::make());
        self.tell(|a| {
            a.claims = claims;
            a.code = Some((code.clone(), trip.param("code_challenge"), trip.param("nonce")));
        });
        code
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Response {
    let act = issuer.act.lock().expect("is whole");
    if let Some((status, headers, body)) = &act.instead {
        let mut response = (*status, body.clone()).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        return response;
    }
    let url = &issuer.url;
    let mut document = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"), "code_challenge_methods_supported": ["S256"],
    });
    merge(&mut document, &act.discovery);
    Json(document).into_response()
}

async fn token(State(issuer): State<Issuer>, body: Bytes) -> Response {
    let mut act = issuer.act.lock().expect("is whole");
    act.asked = form_urlencoded::parse(&body).into_owned().collect();
    let given = |name: &str| act.asked.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let challenge = B64.encode(digest::digest(&digest::SHA256, given("code_verifier").as_bytes()));
    let is_right = act.code.as_ref().is_some_and(|(code, wanted, _)| *code == given("code") && *wanted == challenge);
    let Some((.., nonce)) = act.code.take().filter(|_| is_right) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    let now = clock::now().0 / 1000;
    let mut claims = json!({
        "iss": issuer.url, "aud": "lampas", "sub": "sub-1", "nonce": nonce, "iat": now, "exp": now + 300, "auth_time": now,
    });
    merge(&mut claims, &act.claims);
    let signer = if act.is_forged { &issuer.keys.1 } else { &issuer.keys.0 };
    Json(json!({"id_token": signer.sign(&act.header, &claims), "access_token": "a", "token_type": "Bearer"}))
        .into_response()
}

fn merge(into: &mut Value, from: &Value) {
    let into = into.as_object_mut().expect("an object");
    for (key, value) in from.as_object().expect("an object") {
        match value {
            Value::Null => drop(into.remove(key)),
            value => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// A browser on its way to a provider.
pub(super) struct Trip {
    pub(super) cookie: String,
    pub(super) url: Url,
}

impl Trip {
    /// Takes what begins a trip: the cookie, and where the browser goes.
    pub(super) async fn of(answer: reqwest::Response) -> Self {
        assert_eq!(answer.status(), 200, "begins");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        for attribute in ["__Host-lampas-provider=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{attribute} in {cookie}");
        }
        let body: Value = answer.json().await.expect("JSON");
        let url = Url::parse(body["url"].as_str().expect("an address")).expect("an address");
        Self { cookie: cookie.split(';').next().expect("a value").to_owned(), url }
    }

    pub(super) async fn begin(controller: &Controller, body: Value) -> Self {
        let answer = controller.request("POST", "/api/v1/session/provider").json(&body).send().await.expect("answers");
        Self::of(answer).await
    }

    pub(super) fn param(&self, name: &str) -> String {
        self.url.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned()).unwrap_or_default()
    }

    /// Comes back with a code. Returns status, body, and the cookies that were set.
    pub(super) async fn end(&self, controller: &Controller, code: &str) -> (u16, Value, String) {
        self.hand_in(controller, &self.cookie, json!({"state": self.param("state"), "code": code})).await
    }

    pub(super) async fn hand_in(&self, controller: &Controller, cookie: &str, body: Value) -> (u16, Value, String) {
        let request = controller.request("PUT", "/api/v1/session/provider").header("cookie", cookie).json(&body);
        let answer = request.send().await.expect("answers");
        let status = answer.status().as_u16();
        let set = answer.headers().get_all("set-cookie").iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        let set = set.join("\n");
        (status, answer.json().await.unwrap_or_default(), set)
    }
}
