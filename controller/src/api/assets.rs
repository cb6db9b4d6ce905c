//! The dashboard's files, embedded: hashed ones are kept by browsers for ever, the page itself never.
//!
//! In a debug build they are read from `controller/ui/dist` when they are asked for; without them a page says how to
//! build them. A release build without them fails unless it was told (`LAMPAS_WITHOUT_UI=1`, see `build.rs`).

use axum::{
    extract::{Extension, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use super::{App, frame::Nonce, problem::Refusal};

#[derive(RustEmbed)]
#[folder = "ui/dist"]
#[allow_missing = true]
struct Dist;

/// The policy of the worker that parses shell scripts as they are written. A worker has the policy of its own file, so
/// that WebAssembly is allowed there alone, and the page's `script-src` stays without `wasm-unsafe-eval`. The worker
/// sees no page, no cookies of a script's making and no other origin; it fetches its module and answers.
const PARSER_POLICY: &str =
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; frame-ancestors 'none'";

const WITHOUT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>LAMPAS</title></head><body>\
<h1>The dashboard is not in this build</h1>\
<p>Build it with <code>cd controller/ui &amp;&amp; npm ci &amp;&amp; npm run build</code>, then build the controller again. \
The API under <code>api/v1</code> and <code>lampasctl</code> work without it.</p></body></html>";

/// Answers what no call answers: a file, or the page, whose router shows the rest.
pub(super) async fn serve(State(app): State<App>, nonce: Option<Extension<Nonce>>, request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") || path == "/api" {
        return Refusal::not_found("call", format_args!("{} {path}", request.method())).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Refusal::new("method_not_allowed", "only GET is known here").into_response();
    }
    let name = path.trim_start_matches('/');
    match Dist::get(name) {
        Some(file) if name != "index.html" && !name.is_empty() => {
            let kind = mime_guess::from_path(name).first_or_octet_stream();
            let kept =
                if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
            let headers = [(header::CONTENT_TYPE, kind.as_ref().to_owned()), (header::CACHE_CONTROL, kept.to_owned())];
            let mut response = (headers, file.data.into_owned()).into_response();
            if is_parser(name) {
                response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PARSER_POLICY));
            }
            response
        }
        // A file that isn't there is not a page: a stale page must notice that its scripts are gone.
        None if name.starts_with("assets/") => {
            Refusal::not_found("file", name.chars().take(80).collect::<String>()).into_response()
        }
        _ => page(&app, nonce.map(|Extension(n)| n.0).unwrap_or_default()),
    }
}

/// Returns whether a file is the worker's script, as the dashboard's build names it.
fn is_parser(name: &str) -> bool {
    name.strip_prefix("assets/shell.worker-").is_some_and(|rest| rest.strip_suffix(".js").is_some())
}

fn page(app: &App, nonce: String) -> Response {
    let html = match Dist::get("index.html") {
        Some(file) => dress(&String::from_utf8_lossy(&file.data), &nonce, &app.config.web.path_prefix),
        None => WITHOUT.to_owned(),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, html).into_response()
}

/// Puts nonce and path prefix where the page has their places.
fn dress(page: &str, nonce: &str, prefix: &str) -> String {
    page.replace("<base href=\"/\"", &format!("<base href=\"{prefix}/\""))
        .replace("__NONCE__", nonce)
        .replace("<script ", &format!("<script nonce=\"{nonce}\" "))
        .replace("<style", &format!("<style nonce=\"{nonce}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_alone_may_run_webassembly() {
        for (name, is_it) in [
            ("assets/shell.worker-Bk3x_9aQ.js", true),
            ("assets/index-nwDDL4d3.js", false),
            ("assets/shell.worker-Bk3x_9aQ.css", false),
            ("shell.worker-Bk3x_9aQ.js", false),
        ] {
            assert_eq!(is_parser(name), is_it, "{name}");
        }
    }

    #[test]
    fn the_page_gets_nonce_and_prefix() {
        let page =
            r#"<base href="/" /><meta name="csp-nonce" content="__NONCE__" /><script type="module" src="./a.js">"#;
        let dressed = dress(page, "n1", "/lampas");
        assert_eq!(
            dressed,
            r#"<base href="/lampas/" /><meta name="csp-nonce" content="n1" /><script nonce="n1" type="module" src="./a.js">"#
        );
    }
}
