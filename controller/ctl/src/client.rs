//! The HTTP client: calls with a bearer token, problems as errors, pages, and the stream of events.

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, future::BoxFuture, stream};
use lampas_api::{Page, Problem};
use lampas_shared::{error::Chain, event::Event};
use reqwest::{Method, Request, RequestBuilder, Response, header};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::profile::Profile;

/// How long a call may take; plans wait up to three seconds for a hung node.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a silent stream of events is taken for alive; the controller sends a comment every 15 s.
const STREAM_LIMIT: Duration = Duration::from_secs(45);

/// A call that did not give what it should.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// The controller refused it and said why.
    #[error("{}", describe(.0))]
    Refused(Box<Problem>),
    /// There was no answer.
    #[error("{server} can't be reached: {why}")]
    Unreachable {
        /// The controller.
        server: String,
        /// Why, with what to do where that is known.
        why: String,
    },
    /// Who answers is not the controller, as far as its certificate says.
    #[error("{server} can't be trusted: {why}")]
    Untrusted {
        /// The controller.
        server: String,
        /// Why, and what to do.
        why: String,
    },
    /// The answer is not what this version understands.
    #[error("{server} gave an answer that this lampasctl does not understand ({why}); is it of another version?")]
    Unexpected {
        /// The controller.
        server: String,
        /// What was wrong.
        why: String,
    },
}

impl CallError {
    /// Returns the refusal's code; empty for other errors.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.code,
            _ => "",
        }
    }

    /// Returns whether the controller is away, so that asking again later may help.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => is_outage(problem.status),
            Self::Untrusted { .. } | Self::Unexpected { .. } => false,
        }
    }

    /// Returns whether the controller said that this is not allowed, or nobody is signed in.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused(problem) if matches!(problem.status, 401 | 403))
    }
}

/// Returns whether a status says that there is nobody to answer, or not in time (RFC 9110, sections 15.6.3 to 15.6.5).
fn is_outage(status: u16) -> bool {
    matches!(status, 502..=504)
}

fn describe(problem: &Problem) -> String {
    let mut text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    if problem.code == ROOT_CODE {
        // On a terminal it was asked, and not answered.
        text.push_str(if std::io::stdin().is_terminal() {
            "\n  run it again to be asked once more, or first: lampasctl prove"
        } else {
            "\n  run it on a terminal, which asks who you are, or first: lampasctl prove\n  a pipeline holds a token with that right: \
             lampasctl api-token create NAME --grave"
        });
        return text;
    }
    for field in &problem.fields {
        text.push_str(&format!("\n  {}: {}", field.pointer, field.detail));
    }
    if problem.code == "reauthentication.needed" {
        text.push_str("\n  run it on a terminal, which asks who you are, or hold a token with that right: lampasctl login --login NAME --grave");
    }
    if problem.status == 401 && problem.code != "sign_in_failed" && !problem.code.starts_with("second_factor.") {
        text.push_str("\n  sign in: lampasctl login");
    }
    text
}

/// The code of a refusal because of root code.
pub(crate) const ROOT_CODE: &str = "reauthentication.root_code";

/// What shows who sits there when the controller asks for that in the middle of a command.
pub(crate) trait Prover: Send + Sync {
    /// Returns the bearer's secret of a proof that was given before.
    fn kept(&self) -> Option<String>;
    /// Asks who sits there; `client` calls as who is signed in. Nothing where nobody can be asked, or nobody answers.
    fn ask<'a>(&'a self, client: &'a Client, refused: &'a Problem) -> BoxFuture<'a, Option<String>>;
}

/// A client of one controller.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<Arc<str>>,
    csrf: Option<(Arc<str>, Arc<str>)>,
    prover: Option<Arc<dyn Prover>>,
}

impl Client {
    /// Makes a client; nothing is sent yet.
    pub(crate) fn new(profile: &Profile) -> Result<Self, CallError> {
        let unreachable = |why: String| CallError::Unreachable { server: profile.server.clone(), why };
        // Another provider may have been installed already: then that one serves.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("lampasctl/", env!("CARGO_PKG_VERSION")))
            .https_only(!profile.server.starts_with("http://127.0.0.1"))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &profile.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| unreachable(format!("the CA file is not PEM: {}", Chain(&e))))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|e| unreachable(Chain(&e).to_string()))?;
        Ok(Self {
            http,
            server: profile.server.clone(),
            token: profile.token.clone().map(Into::into),
            csrf: None,
            prover: None,
        })
    }

    /// Returns the controller's URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Returns a client that calls with a session's cookie instead of a token.
    pub(crate) fn with_session(&self, cookie: &str, csrf: &str) -> Self {
        Self { token: None, csrf: Some((cookie.into(), csrf.into())), prover: None, ..self.clone() }
    }

    /// Returns a client that calls with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.into()), csrf: None, prover: None, ..self.clone() }
    }

    /// Returns a client that calls as nobody.
    pub(crate) fn without_token(&self) -> Self {
        Self { token: None, csrf: None, prover: None, ..self.clone() }
    }

    /// Returns a client that shows who sits there when it is asked for that, and then goes on.
    pub(crate) fn proving(&self, prover: Option<Arc<dyn Prover>>) -> Self {
        Self { prover, ..self.clone() }
    }

    /// Returns whether what it calls with was confirmed in the dashboard.
    pub(crate) fn is_machine(&self) -> bool {
        self.token.as_deref().is_some_and(|t| t.starts_with("lps1-"))
    }

    /// Calls with GET.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<T, CallError> {
        self.json(self.send(self.request(Method::GET, &with_query(path, query))).await?).await
    }

    /// Calls with a body, for an answer.
    pub(crate) async fn send_json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, CallError> {
        self.json(self.send(self.request(method, path).json(body)).await?).await
    }

    /// Calls with POST and a key that makes a repetition harmless; tries again when the connection breaks.
    pub(crate) async fn post_once<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &B,
    ) -> Result<T, CallError> {
        let attempt =
            || async { self.send(self.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await };
        let response = match attempt().await {
            Err(CallError::Unreachable { .. }) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                attempt().await?
            }
            other => other?,
        };
        self.json(response).await
    }

    /// Calls with a body, ignoring what the answer holds.
    pub(crate) async fn send_empty<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(), CallError> {
        self.send(self.request(method, path).json(body)).await.map(drop)
    }

    /// Calls without a body, ignoring what the answer holds.
    pub(crate) async fn act(&self, method: Method, path: &str) -> Result<(), CallError> {
        self.send(self.request(method, path)).await.map(drop)
    }

    /// Signs in; returns the session's cookie and the answer.
    pub(crate) async fn sign_in<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<(String, T), CallError> {
        let response = self.send(self.request(Method::POST, path).json(body)).await?;
        let cookies = response.headers().get_all(header::SET_COOKIE);
        let cookie = cookies.iter().filter_map(|c| c.to_str().ok()?.split(';').next()).collect::<Vec<_>>().join("; ");
        Ok((cookie, self.json(response).await?))
    }

    /// Asks for what comes in pieces, as a file does.
    pub(crate) async fn download(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<impl Stream<Item = Result<Vec<u8>, CallError>> + Unpin + use<>, CallError> {
        let request = self.request(Method::GET, &with_query(path, query)).timeout(Duration::from_secs(86_400));
        let server = self.server.clone();
        let bytes = self.send(request).await?.bytes_stream();
        Ok(Box::pin(bytes.map(move |piece| match piece {
            Ok(piece) => Ok(piece.to_vec()),
            Err(error) => {
                let why = format!("the answer broke off: {}", Chain(&error));
                Err(CallError::Unreachable { server: server.clone(), why })
            }
        })))
    }

    /// Collects the pages of a list, at most `max` rows.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        max: Option<usize>,
    ) -> Result<Page<T>, CallError> {
        let max = max.unwrap_or(usize::MAX);
        let mut all: Vec<T> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = (max - all.len()).min(500).to_string();
            let mut query = query.to_vec();
            query.extend([("limit", Some(limit.as_str())), ("after", after.as_deref())]);
            let page: Page<T> = self.get(path, &query).await?;
            all.extend(page.items);
            match page.next {
                Some(next) if all.len() < max => after = Some(next),
                next => return Ok(Page { items: all, next, total: page.total }),
            }
        }
    }

    /// Follows the events from now, or after a sequence number. The stream ends when the connection does.
    pub(crate) async fn events(
        &self,
        after: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + Unpin + use<>, CallError> {
        let after = after.map(|a| a.to_string());
        let path = with_query("/events", &[("after", after.as_deref())]);
        let request = self.request(Method::GET, &path).header(header::ACCEPT, "text/event-stream");
        let response = self.send(request.timeout(Duration::from_secs(86_400))).await?;
        let server = self.server.clone();
        let state = (response.bytes_stream(), Vec::<u8>::new(), server);
        Ok(Box::pin(stream::unfold(state, |(mut bytes, mut buffer, server)| async move {
            loop {
                if let Some(event) = next_event(&mut buffer) {
                    let event = event.map_err(|why| CallError::Unexpected { server: server.clone(), why });
                    return Some((event, (bytes, buffer, server)));
                }
                match tokio::time::timeout(STREAM_LIMIT, bytes.next()).await {
                    Ok(Some(Ok(chunk))) => buffer.extend_from_slice(&chunk),
                    Ok(Some(Err(_)) | None) | Err(_) => return None,
                }
                if buffer.len() > 1 << 20 {
                    return None;
                }
            }
        })))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.server)).timeout(CALL_LIMIT);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some((cookie, csrf)) = &self.csrf {
            request = request.header(header::COOKIE, &**cookie).header("X-CSRF-Token", &**csrf);
        }
        request
    }

    /// Calls; what is asked for a proof goes again with one, whole.
    async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let again = self.prover.as_ref().and_then(|prover| Some((prover, request.try_clone()?)));
        let asked = |error: &CallError| error.code().starts_with("reauthentication.");
        let (refused, prover, again) = match (self.answer(request.build()).await, again) {
            (Err(CallError::Refused(problem)), Some((prover, again)))
                if problem.code.starts_with("reauthentication.") =>
            {
                (problem, prover, again)
            }
            (done, _) => return done,
        };
        if let (Some(secret), Some(again)) = (prover.kept(), again.try_clone()) {
            match self.answer(bearing(again, &secret)).await {
                // It is over, or was withdrawn.
                Err(error) if asked(&error) || matches!(&error, CallError::Refused(p) if p.status == 401) => {}
                done => return done,
            }
        }
        match prover.ask(&self.proving(None), &refused).await {
            Some(secret) => self.answer(bearing(again, &secret)).await,
            None => Err(CallError::Refused(refused)),
        }
    }

    async fn answer(&self, request: reqwest::Result<Request>) -> Result<Response, CallError> {
        let answered = match request {
            Ok(request) => self.http.execute(request).await,
            Err(error) => Err(error),
        };
        let response = answered.map_err(|error| {
            let mut why = Chain(&error).to_string();
            if why.contains("UnknownIssuer") || why.contains("invalid peer certificate") {
                why.push_str("; name the controller's authority with LAMPAS_CA or --ca");
                return CallError::Untrusted { server: self.server.clone(), why };
            }
            CallError::Unreachable { server: self.server.clone(), why }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CallError::Refused(Box::new(problem)),
            // It is said by who stands before the controller.
            Err(_) if is_outage(status) => {
                CallError::Unreachable { server: self.server.clone(), why: format!("status {status}") }
            }
            Err(_) => CallError::Unexpected { server: self.server.clone(), why: format!("status {status}") },
        })
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, CallError> {
        let server = || self.server.clone();
        let bytes = response
            .bytes()
            .await
            .map_err(|e| CallError::Unreachable { server: server(), why: Chain(&e).to_string() })?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|e| CallError::Unexpected { server: server(), why: e.to_string() })
    }
}

/// Puts another bearer's secret into a request.
fn bearing(request: RequestBuilder, secret: &str) -> reqwest::Result<Request> {
    let mut request = request.build()?;
    if let Ok(mut value) = header::HeaderValue::from_str(&format!("Bearer {secret}")) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// Takes the next fact out of the buffer of a `text/event-stream`; comments and what is about the stream are skipped.
fn next_event(buffer: &mut Vec<u8>) -> Option<Result<Event, String>> {
    loop {
        let end = buffer.windows(2).position(|w| w == b"\n\n")?;
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block);
        let field = |name: &'static str| {
            block
                .lines()
                .filter_map(move |l| l.strip_prefix(name)?.strip_prefix(':'))
                .map(|v| v.strip_prefix(' ').unwrap_or(v))
        };
        // What has no dots in its name (hello, ping, reset, bye) is about the stream itself.
        let is_fact = field("event").next_back().is_none_or(|kind| kind.contains('.'));
        let data: Vec<&str> = field("data").collect();
        if is_fact && !data.is_empty() {
            return Some(serde_json::from_str(&data.join("\n")).map_err(|e| e.to_string()));
        }
    }
}

fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    for (name, value) in query.iter().filter_map(|(name, value)| value.map(|v| (name, v))) {
        out.push(if out.contains('?') { '&' } else { '?' });
        out.push_str(name);
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// Percent-encodes a part of a URL (RFC 3986, section 2.3: all but the unreserved characters).
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place_in_a_url() {
        let query = [("query", Some("a&b=c/../é")), ("role", None)];
        assert_eq!(with_query("/nodes", &query), "/nodes?query=a%26b%3Dc%2F..%2F%C3%A9");
    }

    #[test]
    fn events_are_read_across_chunks_and_comments() {
        let mut buffer = b": x\n\nevent: hello\nid: 6\ndata: {\"seq\":6}\n\nid: 7\ndata: {\"seq\":7,\"kind\":\"fleet.node.connected\",".to_vec();
        assert!(next_event(&mut buffer).is_none());
        buffer.extend_from_slice(b"\"at\":\"2026-01-01T00:00:00Z\"}\n\nid: 8\n");
        let event = next_event(&mut buffer).expect("one event").expect("valid");
        assert_eq!(event.seq, 7);
        assert!(next_event(&mut buffer).is_none());
    }
}
