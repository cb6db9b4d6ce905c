//! Tests of the API over real TLS: the table walked by everybody, sessions, CSRF, throttling, problems, streams.

mod hostile;
mod scopes;

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use lampas_shared::access::Preset;
use serde_json::{Value, json};

use super::{
    calls,
    table::Access,
    testing::{Controller, PASSWORD, answer},
};

/// Fills the parameters of a path with ids that nothing has.
fn concrete(path: &str) -> String {
    let parts = path.split('/').map(|p| if p.starts_with('{') { "01890a5d-ac96-774b-bcce-b302099a8057" } else { p });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn strangers_get_the_open_calls_and_nothing_else() {
    let controller = Controller::start().await;
    for call in calls() {
        let rule = call.rule;
        let (status, _) = answer(controller.request(rule.method, &concrete(rule.path)).json(&json!({}))).await;
        match rule.access {
            Access::Needs(_) => assert_eq!(status, 401, "{} {}", rule.method, rule.path),
            Access::Open => assert!(status != 403, "{} {} is open: {status}", rule.method, rule.path),
        }
    }
    let open: BTreeSet<_> = calls()
        .iter()
        .filter(|c| c.rule.access == Access::Open)
        .map(|c| format!("{} {}", c.rule.method, c.rule.path))
        .collect();
    let expected = [
        "GET /healthz",
        "GET /readyz",
        "GET /api/v1/setup",
        "POST /api/v1/setup",
        "POST /api/v1/session",
        "POST /api/v1/session/key-request",
        "POST /api/v1/session/passkey",
        "GET /api/v1/sign-in-options",
        "POST /api/v1/providers/{provider}/logout",
        "POST /api/v1/device",
        "POST /api/v1/device/session",
        "POST /api/v1/session/provider",
        "PUT /api/v1/session/provider",
        "POST /api/v1/session/provider/key-request",
    ];
    assert_eq!(open, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn each_preset_may_call_what_the_table_says() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for preset in [Preset::Viewer, Preset::Operator] {
        admin.make(preset.as_str()).await;
    }
    for (preset, login) in
        [(Preset::Viewer, "viewer"), (Preset::Operator, "operator"), (Preset::Administrator, "admin")]
    {
        for call in calls() {
            let rule = call.rule;
            let Access::Needs(permission) = rule.access else { continue };
            // Each call by a session of its own: some of them end it. A path that streams would not end.
            if rule.is_long {
                continue;
            }
            let browser = controller.sign_in(login).await;
            let request = browser.request(rule.method, &concrete(rule.path));
            let request = if rule.method == "GET" { request } else { request.json(&json!({"no such": 1})) };
            let (status, body) = answer(request).await;
            let is_refused = status == 403;
            assert_eq!(
                !is_refused,
                preset.grants(permission),
                "{login}: {} {}: {status} {body}",
                rule.method,
                rule.path
            );
            assert!(status != 500, "{login}: {} {}: {body}", rule.method, rule.path);
        }
    }
}

#[test]
fn every_route_is_made_from_the_table() {
    // Routers are built in two files; handlers and features only list rows.
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut found = BTreeSet::new();
    let mut dirs = vec![std::path::PathBuf::from(source)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("the sources").map(|e| e.expect("an entry").path()) {
            if entry.is_dir() {
                dirs.push(entry);
            } else if std::fs::read_to_string(&entry).is_ok_and(|t| t.contains(concat!("Router", "::new()"))) {
                found.insert(entry.strip_prefix(source).expect("within").display().to_string());
            }
        }
    }
    assert_eq!(found, ["api.rs", "api/table.rs"].map(str::to_owned).into());
    let mut rows: Vec<_> = calls().iter().map(|c| (c.rule.method, c.rule.path)).collect();
    let all = rows.len();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), all, "no row stands twice");
    for call in calls() {
        let path = call.rule.path;
        let only_asks = call.rule.method == "GET"
            || path.contains("/check/")
            || path.ends_with("/check")
            || path.ends_with("/key-request")
            || path.ends_with("/preview")
            || path.ends_with("/waves");
        assert_eq!(call.rule.act.is_none(), only_asks, "{path}");
    }
}

#[tokio::test]
async fn set_up_works_once() {
    let controller = Controller::start().await;
    let (_, state) = answer(controller.request("GET", "/api/v1/setup")).await;
    assert_eq!(state["is_open"], true);
    let wanted = |token: &str, password: &str| json!({"token": token, "login": "admin", "password": password});
    let (status, body) = answer(controller.request("POST", "/api/v1/setup").json(&wanted("wrong", PASSWORD))).await;
    assert_eq!((status, &body["fields"][0]["pointer"]), (422, &json!("/token")));
    let (status, body) =
        answer(controller.request("POST", "/api/v1/setup").json(&wanted(controller.setup_token(), "short"))).await;
    assert_eq!((status, &body["fields"][0]["pointer"]), (422, &json!("/password")));
    let file = controller.app.config.data_dir.join("setup-link");
    assert!(file.exists());
    let admin = controller.set_up().await;
    assert_eq!((admin.session.login.as_str(), admin.session.fleet_name.as_str()), ("admin", "Test"));
    assert!(!file.exists(), "the link is gone");
    let (status, _) =
        answer(controller.request("POST", "/api/v1/setup").json(&wanted(controller.setup_token(), PASSWORD))).await;
    assert_eq!(status, 422, "the link is used up");
    let (_, state) = answer(controller.request("GET", "/api/v1/setup")).await;
    assert_eq!(state["is_open"], false);
}

#[tokio::test]
async fn writes_by_cookie_need_the_csrf_token_and_the_same_site() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let body = json!({"name": "t", "preset": "viewer", "ttl_secs": 60});
    for (name, value) in [("x-csrf-token", ""), ("x-csrf-token", "wrong")] {
        let (status, problem) = answer(admin.bare("POST", "/api/v1/tokens").header(name, value).json(&body)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("csrf")));
    }
    let cross = admin.request("POST", "/api/v1/tokens").header("sec-fetch-site", "cross-site").json(&body);
    assert_eq!(answer(cross).await.0, 403);
    assert_eq!(admin.send("POST", "/api/v1/tokens", body).await.0, 201);
    let (status, _) =
        answer(admin.request("POST", "/api/v1/tokens").header("content-type", "text/plain").body("{}")).await;
    assert_eq!(status, 415, "a form can't send JSON");
}

#[tokio::test]
async fn wrong_passwords_are_throttled_alike_for_known_and_unknown_users() {
    let controller = Controller::start().await;
    controller.set_up().await;
    for login in ["admin", "nobody"] {
        let mut codes = Vec::new();
        for _ in 0..5 {
            let body = json!({"login": login, "password": "wrong password"});
            let (status, problem) = answer(controller.request("POST", "/api/v1/session").json(&body)).await;
            codes.push((status, problem["code"].as_str().expect("a code").to_owned()));
        }
        let refused = (401, "sign_in_failed".to_owned());
        assert_eq!(codes[..4], [refused.clone(), refused.clone(), refused.clone(), refused]);
        assert_eq!(codes[4], (429, "throttled".to_owned()), "{login}");
    }
}

#[tokio::test]
async fn sessions_end_when_they_should() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let one = controller.sign_in("operator").await;
    let two = controller.sign_in("operator").await;
    let (_, page) = one.get("/api/v1/sessions").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    let change = json!({"current": PASSWORD, "new": "another long password"});
    assert_eq!(one.send("PUT", "/api/v1/session/password", change).await.0, 204);
    assert_eq!(two.get("/api/v1/session").await.0, 401, "other sessions end with the password");
    assert_eq!(one.get("/api/v1/session").await.0, 200);
    let (status, _) = admin.send("PATCH", "/api/v1/users/operator", json!({"is_disabled": true})).await;
    assert_eq!(status, 200);
    assert_eq!(one.get("/api/v1/session").await.0, 401, "barred at once");
    assert_eq!(admin.send("DELETE", "/api/v1/session", json!({})).await.0, 204);
    assert_eq!(admin.get("/api/v1/session").await.0, 401);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for change in [json!({"preset": "viewer"}), json!({"is_disabled": true})] {
        let (status, problem) = admin.send("PATCH", "/api/v1/users/admin", change).await;
        assert_eq!((status, &problem["code"]), (409, &json!("last_administrator")));
    }
    assert_eq!(admin.send("DELETE", "/api/v1/users/admin", json!({})).await.0, 409);
    admin.make("administrator").await;
    assert_eq!(admin.send("PATCH", "/api/v1/users/admin", json!({"preset": "viewer"})).await.0, 200);
    let (status, problem) = admin
        .send("POST", "/api/v1/users", json!({"login": "administrator", "preset": "viewer", "password": PASSWORD}))
        .await;
    assert_eq!(status, 403, "a viewer makes no users: {problem}");
}

#[tokio::test]
async fn tokens_are_bounded_by_preset_owner_network_and_life() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let wanted = |preset: &str| json!({"name": "ci", "preset": preset, "ttl_secs": 3600});
    let (status, problem) = operator.send("POST", "/api/v1/tokens", wanted("administrator")).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/preset")));
    let (_, made) = operator.send("POST", "/api/v1/tokens", wanted("operator")).await;
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert!(secret.starts_with("lpa1-"));
    let by_token = |path: &str| controller.request("GET", path).bearer_auth(&secret);
    let (status, session) = answer(by_token("/api/v1/session")).await;
    assert_eq!((status, &session["preset"]), (200, &json!("operator")));
    assert_eq!(answer(by_token("/api/v1/users")).await.0, 403);
    admin.send("PATCH", "/api/v1/users/operator", json!({"preset": "viewer"})).await;
    assert_eq!(answer(by_token("/api/v1/session")).await.1["preset"], "viewer", "never more than the owner");
    let elsewhere = json!({"name": "far", "preset": "viewer", "ttl_secs": 3600, "cidr": "192.0.2.0/24"});
    let (_, far) = admin.send("POST", "/api/v1/tokens", elsewhere).await;
    let far = controller.request("GET", "/api/v1/session").bearer_auth(far["secret"].as_str().expect("a secret"));
    assert_eq!(answer(far).await.0, 401);
    let path = format!("/api/v1/tokens/{}", made["token"]["id"].as_str().expect("an id"));
    assert_eq!(admin.send("DELETE", &path, json!({})).await.0, 204);
    assert_eq!(answer(by_token("/api/v1/session")).await.0, 401, "revoked");
    let (_, page) = admin.get("/api/v1/tokens?all=true").await;
    assert!(!page.to_string().contains(&secret), "the secret is shown once");
}

#[tokio::test]
async fn problems_have_one_shape() {
    let controller = Controller::start_with(|c| c.limits.body_bytes = 64 << 10).await;
    let admin = controller.set_up().await;
    let check = async |request, status: u16, code: &str| {
        let (found, problem) = answer(request).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(problem["type"], format!("/problems/{code}"));
    };
    check(admin.request("GET", "/api/v1/nothing"), 404, "not_found").await;
    check(admin.request("PUT", "/api/v1/users"), 405, "method_not_allowed").await;
    check(
        admin.request("POST", "/api/v1/users").header("content-type", "application/json").body("{"),
        400,
        "malformed",
    )
    .await;
    check(admin.request("POST", "/api/v1/users").json(&json!({"login": "BAD"})), 422, "invalid").await;
    check(admin.request("GET", "/api/v1/users?limit=501"), 422, "invalid").await;
    check(admin.request("GET", "/api/v1/users?colour=red"), 422, "invalid").await;
    let long = json!({"login": "x", "preset": "viewer", "password": "x".repeat(70 << 10)});
    check(admin.request("POST", "/api/v1/users").json(&long), 413, "too_large").await;
    let chunks = futures_util::stream::iter((0..80).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    let stream = admin.request("POST", "/api/v1/users").header("content-type", "application/json");
    check(stream.body(reqwest::Body::wrap_stream(chunks)), 413, "too_large").await;
    check(controller.request("GET", "/api/v1/setup").header("host", "evil.example"), 421, "wrong_host").await;
}

#[tokio::test]
async fn answers_carry_what_protects_a_browser() {
    let controller = Controller::start().await;
    let page = controller.request("GET", "/nodes/web-1").send().await.expect("answers");
    assert_eq!(page.status(), 200, "a page of the dashboard");
    let headers = page.headers().clone();
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("'nonce-"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(headers["strict-transport-security"].to_str().is_ok_and(|v| v.starts_with("max-age=")));
    let again = controller.request("GET", "/").send().await.expect("answers");
    assert_ne!(again.headers()["content-security-policy"], policy, "a nonce is for one answer");
    let missing = controller.request("GET", "/assets/gone.js").send().await.expect("answers");
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn a_prefix_works_with_and_without_a_proxy_that_strips_it() {
    let controller = Controller::start_with(|c| c.web.path_prefix = "/lampas".into()).await;
    for path in ["/api/v1/setup", "/lampas/api/v1/setup"] {
        assert_eq!(answer(controller.request("GET", path)).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn event_streams_resume_by_sequence() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let mut live = lines(admin.request("GET", "/api/v1/events")).await;
    let hello = next(&mut live).await;
    assert_eq!(hello["event"], "hello");
    admin.make("viewer").await;
    let first = next(&mut live).await;
    assert_eq!(first["event"], "access.user.changed");
    admin.make("operator").await;
    let second = next(&mut live).await;
    let mut resumed = lines(admin.request("GET", "/api/v1/events").header("last-event-id", id(&first))).await;
    assert_eq!(next(&mut resumed).await["event"], "hello");
    assert_eq!(next(&mut resumed).await, second, "goes on where it was");
    let mut future = lines(admin.request("GET", "/api/v1/events?after=999999")).await;
    assert_eq!(next(&mut future).await["event"], "hello");
    assert_eq!(next(&mut future).await["event"], "reset", "a sequence of another store");
    controller.app.tasks.stop();
    assert_eq!(next(&mut live).await["event"], "bye");
}

type Lines = std::pin::Pin<Box<dyn futures_util::Stream<Item = Value> + Send>>;

async fn lines(request: reqwest::RequestBuilder) -> Lines {
    let answer = request.send().await.expect("answers");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let state = (Box::pin(answer.bytes_stream()), String::new());
    Box::pin(futures_util::stream::unfold(state, |(mut bytes, mut text)| async move {
        loop {
            if let Some((block, rest)) = text.split_once("\n\n") {
                let fields = block.lines().filter_map(|l| l.split_once(':'));
                let event: serde_json::Map<_, _> =
                    fields.map(|(k, v)| (k.to_owned(), Value::from(v.trim_start()))).collect();
                let rest = rest.to_owned();
                if event.contains_key("event") {
                    return Some((Value::Object(event), (bytes, rest)));
                }
                text = rest;
                continue;
            }
            let chunk = bytes.next().await?.ok()?;
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }))
}

async fn next(lines: &mut Lines) -> Value {
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, lines.next()).await.expect("an event within 20 s").expect("the stream goes on")
}

fn id(event: &Value) -> String {
    event["id"].as_str().expect("an id").to_owned()
}

/// A cron job of the role app.
fn job(command: &str) -> Value {
    let body = json!({"kind": "cron", "schedule": "*/5 * * * *", "user": "www-data", "command": command});
    json!({"name": "hello", "scope": "role:app", "body": body})
}

fn change(spec: &Value, base: Option<u64>) -> Value {
    json!({"drafts": [{"put": spec, "base": base}], "apply": true, "reason": "a test"})
}

#[tokio::test]
async fn a_change_makes_revisions_and_the_slower_of_two_editors_is_told() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let (status, made) = admin.send("POST", "/api/v1/changes", change(&job("date"), None)).await;
    assert_eq!((status, &made["state"]), (201, &json!("done")), "{made}");
    let (_, page) = admin.get("/api/v1/objects?kind=cron").await;
    let id = page["items"][0]["id"].as_str().expect("an object").to_owned();
    let one = admin.request("GET", &format!("/api/v1/objects/{id}")).send().await.expect("answers");
    assert_eq!(one.headers()["etag"], "\"1\"");
    assert_eq!(admin.send("POST", "/api/v1/changes", change(&job("date -u"), Some(1))).await.0, 201);
    let (status, problem) = admin.send("POST", "/api/v1/changes", change(&job("date -R"), Some(1))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "{problem}");
    let (_, diff) = admin.get(&format!("/api/v1/objects/{id}/diff?from=1&to=2")).await;
    assert!(
        diff["diff"]
            .as_str()
            .is_some_and(|d| d.contains("-command = \"date\"") && d.contains("+command = \"date -u\""))
    );
    let path = format!("/api/v1/objects/{id}/revisions/1/restore");
    let (status, restored) = admin.send("POST", &path, json!({"reason": "it was better"})).await;
    assert_eq!((status, &restored["state"]), (201, &json!("planned")), "{restored}");
    let apply = format!("/api/v1/changes/{}/apply", restored["number"]);
    let (status, problem) = admin.send("POST", &apply, json!({"plan": "0000-0000"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("plan.moved")), "{problem}");
    assert_eq!(admin.send("POST", &apply, json!({"plan": restored["plan"]["id"]})).await.0, 200);
    let (_, page) = admin.get(&format!("/api/v1/objects/{id}/revisions")).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let (_, page) = admin.get(&format!("/api/v1/objects/{id}/revisions?limit=1{after}")).await;
        assert_eq!((&page["total"], page["items"].as_array().map(Vec::len)), (&json!(3), Some(1)), "{page}");
        seen.push(page["items"][0]["revision"].as_u64());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, [Some(3), Some(2), Some(1)]);
    let (_, export) = admin.get("/api/v1/export").await;
    let check = json!({"manifest": export["manifest"]});
    let (_, read) = admin.send("POST", "/api/v1/check/manifest", check).await;
    assert_eq!(
        (&read["problems"], read["objects"].as_array().map(Vec::len)),
        (&json!([]), Some(1)),
        "export is what apply reads"
    );
    let (_, audit) = admin.get("/api/v1/audit?act=change.").await;
    let results: Vec<_> = audit["items"].as_array().expect("entries").iter().map(|e| e["result"].as_str()).collect();
    assert!(results.contains(&Some("done")) && results.contains(&Some("refused: conflict")), "{results:?}");
    let (_, chain) = admin.get("/api/v1/audit/verification").await;
    assert_eq!(chain.get("broken_at").unwrap_or(&Value::Null), &Value::Null);
}

#[tokio::test]
async fn who_may_not_read_contents_sees_hashes() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    let secret = "hunter2-hunter2";
    let file = |mode: &str| {
        let body = json!({"kind": "file", "path": "/etc/app.conf", "content": secret, "mode": mode});
        json!({"name": "conf", "scope": "fleet", "body": body})
    };
    let (status, made) = admin.send("POST", "/api/v1/changes", change(&file("0640"), None)).await;
    assert_eq!(status, 201, "{made}");
    let viewer = controller.sign_in("viewer").await;
    let (_, page) = viewer.get("/api/v1/objects").await;
    let id = page["items"][0]["id"].as_str().expect("an object");
    for path in [
        "/api/v1/objects".to_owned(),
        format!("/api/v1/objects/{id}"),
        format!("/api/v1/objects/{id}/revisions/1"),
        format!("/api/v1/objects/{id}/diff?from=0&to=1"),
        "/api/v1/changes/1".to_owned(),
        "/api/v1/overview".to_owned(),
        "/api/v1/activity".to_owned(),
    ] {
        let (status, body) = viewer.get(&path).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.to_string().contains(secret), "{path}");
    }
    assert_eq!(viewer.get("/api/v1/export").await.0, 403);
    assert_eq!(admin.get(&format!("/api/v1/objects/{id}")).await.1["spec"]["body"]["content"], secret);
}

#[tokio::test]
async fn a_node_is_changed_only_as_it_was_seen() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let node = &crate::fleet::NewNode::fresh("web-1", &[]);
    let created = controller.app.db.write(|mut tx: crate::db::Tx| async move {
        crate::fleet::create(&mut tx, node).await?;
        Ok::<_, crate::fleet::FleetError>(tx.done(()))
    });
    created.await.expect("is made");
    let seen = admin.request("GET", "/api/v1/nodes/web-1").send().await.expect("answers").headers()["etag"].clone();
    let patch = |tag: &str, role: &str| {
        admin.request("PATCH", "/api/v1/nodes/web-1").header("if-match", tag).json(&json!({"roles": [role]}))
    };
    let (status, body) = answer(patch(seen.to_str().expect("text"), "app")).await;
    assert_eq!((status, &body["roles"]), (200, &json!(["app"])), "{body}");
    let (status, problem) = answer(patch(seen.to_str().expect("text"), "database")).await;
    assert_eq!((status, &problem["code"]), (412, &json!("precondition_failed")), "{problem}");
    let (status, problem) = admin.send("POST", "/api/v1/nodes/web-1/retry", json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("link.offline")), "{problem}");
    assert_eq!(admin.send("POST", "/api/v1/nodes/web-1/revoke", json!({"reason": "gone"})).await.0, 200);
}
