//! The frame around every request: its id, the host it is addressed to, the headers that protect a browser, and the
//! body of a problem.

use axum::{
    body::{Body, BodyDataStream, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{Stream, StreamExt as _, stream::poll_fn};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::{Instrument as _, debug, info_span};

use super::{App, problem::Refusal};
use crate::config::{Config, host_name};

/// The id of a request: in its problem, in its answer's header and in the log.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// The nonce of one answer, for its Content-Security-Policy.
#[derive(Debug, Clone)]
pub(super) struct Nonce(pub(super) String);

/// The longest body that this request may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit(pub(super) usize);

/// How much of a refused body is taken, and for how long.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(20);

const ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps one request.
pub(super) async fn wrap(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = URL_SAFE_NO_PAD.encode(lampas_runtime::random::bytes::<9>());
    let nonce = URL_SAFE_NO_PAD.encode(lampas_runtime::random::bytes::<16>());
    let span = info_span!("api", request.id = id, method = %request.method(), path = request.uri().path());
    let started = tokio::time::Instant::now();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(Nonce(nonce.clone()));

    request.extensions_mut().insert(BodyLimit(app.config.limits.body_bytes));
    let response = match too_large(&app, &request).or_else(|| wrong_host(&app, &request)) {
        Some(refusal) => {
            drain(request.into_body().into_data_stream()).await;
            refusal.into_response()
        }
        None => answered(request, next).instrument(span.clone()).await,
    };
    let mut response = match response.extensions().get::<Refusal>() {
        Some(refusal) => {
            let mut rendered = refusal.render(&id);
            for (name, value) in response.headers() {
                if *name != header::CONTENT_LENGTH && !rendered.headers().contains_key(name) {
                    rendered.headers_mut().append(name, value.clone());
                }
            }
            rendered
        }
        None => response,
    };
    protect(response.headers_mut(), &nonce);
    response.headers_mut().insert(ID, HeaderValue::from_str(&id).expect("base64 is a header value"));
    let _entered = span.enter();
    debug!(status = response.status().as_u16(), took_ms = started.elapsed().as_millis() as u64, "answered");
    response
}

/// Runs a request, and takes what its handler left of the body: an answer before the end of a request resets its stream
/// in HTTP/2, and some clients (curl of Debian 12) then lose an answer that has already been sent.
async fn answered(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let kept = Arc::new(Mutex::new(body.into_data_stream()));
    let shared = || {
        let kept = kept.clone();
        poll_fn(move |cx| kept.lock().expect("no holder panics").poll_next_unpin(cx))
    };
    let response = next.run(Request::from_parts(parts, Body::from_stream(shared()))).await;
    drain(shared()).await;
    response
}

/// Takes and forgets the rest of a body that was refused: a client that is still sending when the connection closes
/// would see a broken pipe instead of the reason. Bounded; who sends more, or slower, is cut off.
pub(super) async fn drain(mut body: impl Stream<Item = <BodyDataStream as Stream>::Item> + Unpin) {
    let taken = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(chunk)) = body.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A refusal is answered either way.
    let _ = tokio::time::timeout(DRAIN_TIME, taken).await;
}

/// Refuses what says itself that it is too long, before a byte of it is read.
fn too_large(app: &App, request: &Request) -> Option<Refusal> {
    let length = request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
    let limit = app.config.limits.body_bytes as u64;
    (length > limit).then(|| Refusal::new("too_large", format!("{length} bytes, at most {limit} are taken")))
}

/// Refuses requests that were addressed to another name: what a page of a stranger's site can do after it pointed its
/// own name here (DNS rebinding). Addresses are let through: they can't be re-pointed.
fn wrong_host(app: &App, request: &Request) -> Option<Refusal> {
    let headers = request.headers();
    let peer = request.extensions().get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|c| c.0.ip());
    let forwarded = headers.get("x-forwarded-host").filter(|_| peer.is_some_and(|p| app.config.web.trusts(p)));
    let named = forwarded.or_else(|| headers.get(header::HOST)).and_then(|v| v.to_str().ok());
    let authority = named.or_else(|| request.uri().authority().map(|a| a.as_str())).unwrap_or_default();
    let host = without_port(authority);
    if host.parse::<IpAddr>().is_ok() || app.hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) {
        return None;
    }
    let host: String = host.chars().take(80).collect();
    Some(Refusal::new("wrong_host", format!("{host:?} is not a name of this controller; add it to web.allowed_hosts")))
}

fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.contains(':') => host,
        _ => authority,
    }
}

/// Returns the names that a request may be addressed to.
pub(super) fn hosts(config: &Config) -> Vec<String> {
    let mut hosts = config.names.clone();
    hosts.extend(config.web.allowed_hosts.iter().cloned());
    hosts.extend([host_name(), "localhost".to_owned()]);
    let public = config.public_url.strip_prefix("https://").unwrap_or_default();
    hosts.push(without_port(public.split('/').next().unwrap_or_default()).to_owned());
    hosts.retain(|h| !h.is_empty());
    hosts
}

fn protect(headers: &mut HeaderMap, nonce: &str) {
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; \
         font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'self'; \
         form-action 'self'; frame-ancestors 'none'"
    );
    let fixed = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_str(&policy).expect("base64 is a header value");
    // The shell's parser brings a narrower one of its own: see `assets`.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_off_and_addresses_kept_whole() {
        for (authority, host) in [
            ("fleet.example:8443", "fleet.example"),
            ("fleet.example", "fleet.example"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host, "{authority}");
        }
    }
}
