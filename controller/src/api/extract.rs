//! What handlers take out of a request: JSON bodies, queries, paths, preconditions. Every mistake becomes a problem.

use std::str::FromStr;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::{
    frame::{BodyLimit, drain},
    problem::{Answer, Refusal},
};

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::new("media_type", "send Content-Type: application/json"));
        }
        let bytes = body(request).await?;
        read_json(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if request.headers().contains_key(header::CONTENT_TYPE) {
            return Json::from_request(request, state).await.map(|Json(value)| Self(value));
        }
        let bytes = body(request).await?;
        if bytes.is_empty() {
            Ok(Self(T::default()))
        } else {
            Err(Refusal::new("media_type", "send Content-Type: application/json"))
        }
    }
}

async fn body(request: Request) -> Answer<Vec<u8>> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |l| l.0);
    let mut stream = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::new("malformed", "the body could not be read to its end"))?;
        if bytes.len() + chunk.len() > limit {
            drop(bytes);
            drain(stream).await;
            return Err(Refusal::new("too_large", format!("more than the {limit} bytes of limits.body_bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads JSON; the mistake names its place.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let malformed = |e: &serde_json::Error| Refusal::new("malformed", format!("the body is not JSON: {e}"));
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut text).map_err(|e| {
        let pointer = pointer(e.path());
        let error = e.into_inner();
        if !error.is_data() {
            return malformed(&error);
        }
        let message = without_place(&error.to_string()).to_owned();
        let last = pointer.rsplit('/').next().unwrap_or_default();
        match field_of(&message, last) {
            Some(field) if field != last => Refusal::field(&format!("{pointer}/{field}"), message),
            _ => Refusal::field(&pointer, message),
        }
    })?;
    text.end().map_err(|e| malformed(&e))?;
    Ok(value)
}

/// Takes off where in the text a mistake stands: its pointer says it better.
fn without_place(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((said, place)) if place.bytes().all(|b| b.is_ascii_digit() || b"column ".contains(&b)) => said,
        _ => message,
    }
}

/// Writes a path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                let key: String = key.chars().take(100).collect();
                pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Returns the field that a message names, if it does: ``missing field `login` at …``; within a body, whose kind is read
/// first and which therefore has no path of its own, also `path "/etc/..": …`.
fn field_of<'m>(message: &'m str, last: &str) -> Option<&'m str> {
    match message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `")) {
        Some(rest) => rest.split('`').next(),
        None if last == "body" => {
            let (field, _) = message.split_once(" \"")?;
            field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(field)
        }
        None => None,
    }
}

/// A query string; unknown parameters are refused by the types.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|e| Refusal::field("", format!("the query is wrong: {}", e.body_text())))
    }
}

/// The path's parameters as they stand.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|e| Refusal::new("not_found", e.body_text()))
    }
}

/// Reads a parameter of the path; what can't be one can't be found.
pub(crate) fn param<T: FromStr>(what: &str, text: &str) -> Answer<T> {
    text.parse().map_err(|_| Refusal::not_found(what, format_args!("{:?}", text.chars().take(64).collect::<String>())))
}

/// The headers that decide whether a write still fits.
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        revision_of(&parts.headers).map(Self)
    }
}

fn revision_of(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse();
    number.map(Some).map_err(|_| Refusal::new("precondition_failed", "If-Match holds no ETag of this controller"))
}

/// Writes a revision as an ETag.
pub(crate) fn etag(revision: u64) -> [(header::HeaderName, HeaderValue); 1] {
    [(header::ETAG, HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits are a header value"))]
}

/// The bounds of a page: 1 to 500 rows, 100 by default.
pub(crate) fn limit(asked: Option<u32>) -> Answer<u32> {
    match asked {
        None => Ok(100),
        Some(n @ 1..=500) => Ok(n),
        Some(_) => Err(Refusal::field("/limit", "a page has 1 to 500 rows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_reads_our_etags_and_nothing_else() {
        let check = |value: &str, expected: Result<Option<u64>, ()>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_str(value).expect(value));
            assert_eq!(revision_of(&headers).map_err(drop), expected, "{value}");
        };
        check("\"7\"", Ok(Some(7)));
        check("W/\"7\"", Ok(Some(7)));
        check("*", Ok(None));
        check("\"abc\"", Err(()));
        assert_eq!(etag(7)[0].1, "\"7\"");
    }

    #[test]
    fn a_missing_field_is_named() {
        let Err(refusal) = read_json::<lampas_api::SignInRequest>(br#"{"login":"a"}"#) else { panic!("is refused") };
        assert_eq!(refusal.fields[0].pointer, "/password");
        let Err(refusal) = read_json::<lampas_api::SignInRequest>(b"{") else { panic!("is refused") };
        assert_eq!(refusal.code, "malformed");
        let Err(refusal) = read_json::<lampas_api::SignInRequest>(br#"{"login":"a","password":"b"} x"#) else {
            panic!("is refused")
        };
        assert_eq!(refusal.code, "malformed");
    }

    #[test]
    fn a_wrong_field_is_named_however_deep_it_lies() {
        let check = |draft: &str, expected: &str| {
            let body = format!(r#"{{"drafts":[{draft}]}}"#);
            let Err(refusal) = read_json::<lampas_api::ChangeCreate>(body.as_bytes()) else { panic!("{draft}") };
            assert_eq!(refusal.fields[0].pointer, expected, "{draft}: {}", refusal.detail);
            assert!(!refusal.fields[0].detail.contains("column"), "{}", refusal.fields[0].detail);
        };
        let put = |name: &str, body: &str| format!(r#"{{"put":{{"name":"{name}","scope":"fleet","body":{body}}}}}"#);
        check(&put("a b", r#"{"kind":"file","path":"/etc/x","content":""}"#), "/drafts/0/put/name");
        check(&put("x", r#"{"kind":"file","path":"/etc/../x","content":""}"#), "/drafts/0/put/body/path");
        check(&put("x", r#"{"kind":"file","path":"/etc/x","content":"","colour":1}"#), "/drafts/0/put/body/colour");
        check(&put("x", r#"{"kind":"hosts","address":"10.0.0.300","names":["a"]}"#), "/drafts/0/put/body/address");
        check(r#"{"delete":{"kind":"file","scope":"fleet","name":"x"},"bsae":1}"#, "/drafts/0/bsae");
        check(r#"{"base":1}"#, "/drafts/0");
    }
}
