//! A controller in the process, for tests: SQLite in a directory of its own, real TLS on a free port.

use std::time::Duration;

use lampas_api::{Problem, Session};
use lampas_runtime::Tasks;
use lampas_shared::id::NodeId;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::App;
use crate::{
    config::Config,
    db::{Tx, row},
    fleet::{self, FleetError, NewNode},
    serve, setup,
    signer::{self, SignerOptions},
};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running controller.
pub(crate) struct Controller {
    pub(crate) app: App,
    pub(crate) base: String,
    pub(crate) link: String,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let mut config =
            Config { data_dir: dir.path().to_owned(), listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        configure(&mut config);
        let tasks = Tasks::new();
        // The real signer, as a task instead of a process.
        let socket = dir.path().join("signer.sock");
        let options = SignerOptions {
            dir: dir.path().join("signer"),
            socket: socket.clone(),
            allow_uids: Vec::new(),
            lifeline: false,
        };
        let owner = tasks.clone();
        tasks.spawn("signer", async move { signer::run(options, &owner).await.expect("the signer runs") });
        config.signer.socket = Some(socket);
        let running = serve::start(config, &tasks).await.expect("starts");
        let base = format!("https://localhost:{}", running.address.port());
        let app = running.app;
        let link = setup::renew(&app.db, &app.config.data_dir, &base).await.expect("a link");
        let ca = std::fs::read(app.config.data_dir.join("web/ca.pem")).expect("the CA");
        let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
        let builder = Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(60)).no_proxy();
        Self { app, base, link, client: builder.build().expect("a client"), _dir: dir }
    }

    /// Makes a node that was given its first state, and never connects.
    pub(crate) async fn node(&self, name: &str, role: &str) -> NodeId {
        let node = &NewNode::fresh(name, &[role]);
        let created = self.app.db.write(|mut tx: Tx| async move {
            fleet::create(&mut tx, node).await?;
            row::draw(&mut tx, "state", 1).await?;
            Ok::<_, FleetError>(tx.done(()))
        });
        created.await.expect("is made");
        self.app.desired.assign().await.expect("is given its first state");
        node.id
    }

    /// A request without any login.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) fn setup_token(&self) -> &str {
        self.link.rsplit('#').next().expect("the link has a fragment")
    }

    /// Makes the first administrator.
    pub(crate) async fn set_up(&self) -> Browser<'_> {
        let body = json!({"token": self.setup_token(), "login": "admin", "password": PASSWORD, "fleet_name": "Test"});
        let answer = self.request("POST", "/api/v1/setup").json(&body).send().await.expect("answers");
        self.browser(answer).await
    }

    /// Signs in.
    pub(crate) async fn sign_in(&self, login: &str) -> Browser<'_> {
        let body = json!({"login": login, "password": PASSWORD});
        let answer = self.request("POST", "/api/v1/session").json(&body).send().await.expect("answers");
        self.browser(answer).await
    }

    /// A sign-in with the right password, and a header that names another address.
    pub(crate) fn sign_in_elsewhere(&self) -> RequestBuilder {
        let body = json!({"login": "admin", "password": PASSWORD});
        self.request("POST", "/api/v1/session").header("x-forwarded-for", "198.51.100.9").json(&body)
    }

    async fn browser(&self, answer: reqwest::Response) -> Browser<'_> {
        assert_eq!(answer.status(), StatusCode::CREATED, "signs in");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        for attribute in ["__Host-lampas=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{attribute} in {cookie}");
        }
        let cookie = cookie.split(';').next().expect("a value").to_owned();
        let session: Session = answer.json().await.expect("a session");
        Browser { controller: self, cookie, session }
    }
}

/// Somebody who is signed in.
pub(crate) struct Browser<'a> {
    controller: &'a Controller,
    pub(crate) cookie: String,
    pub(crate) session: Session,
}

impl Browser<'_> {
    /// A request with the cookie and the CSRF token.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.bare(method, path).header("x-csrf-token", &self.session.csrf_token)
    }

    /// A request with the cookie alone.
    pub(crate) fn bare(&self, method: &str, path: &str) -> RequestBuilder {
        self.controller.request(method, path).header("cookie", &self.cookie)
    }

    /// Sends JSON and returns status and body.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(method, path).json(&body)).await
    }

    /// Asks and returns status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request("GET", path)).await
    }

    /// Makes a user of this preset, called like it.
    pub(crate) async fn make(&self, preset: &str) {
        let body = json!({"login": preset, "preset": preset, "password": PASSWORD});
        let (status, body) = self.send("POST", "/api/v1/users", body).await;
        assert_eq!(status, 201, "{body}");
    }
}

/// Sends a request and returns status and body.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("answers");
    let status = answer.status().as_u16();
    let is_problem = answer.headers().get("content-type").is_some_and(|t| t == "application/problem+json");
    let bytes = answer.bytes().await.expect("a body");
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_default() };
    if status >= 400 {
        assert!(is_problem, "{status} is a problem: {body}");
        let problem: Problem = serde_json::from_value(body.clone()).expect("a problem");
        assert_eq!(problem.status, status);
        assert!(!problem.request.is_empty(), "the request's id is in the problem");
    }
    (status, body)
}
