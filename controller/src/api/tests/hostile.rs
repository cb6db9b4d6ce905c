//! Tests of the API as somebody with bad intentions uses it.

use serde_json::{Value, json};

use super::{Controller, PASSWORD, answer, lines, next};

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_token_makes_none_that_outdoes_it() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let parent = json!({"name": "ci", "preset": "operator", "ttl_secs": 3600, "cidr": "127.0.0.0/8"});
    let (_, parent) = admin.send("POST", "/api/v1/tokens", parent).await;
    let secret = text(&parent["secret"]);
    let make = async |wanted: Value| {
        answer(controller.request("POST", "/api/v1/tokens").bearer_auth(&secret).json(&wanted)).await
    };
    let (status, problem) = make(json!({"name": "up", "preset": "administrator", "ttl_secs": 60})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/preset")), "{problem}");
    let (status, child) = make(json!({"name": "long", "preset": "viewer", "ttl_secs": 31_536_000})).await;
    assert_eq!(status, 201, "{child}");
    assert!(text(&child["token"]["expires_at"]) <= text(&parent["token"]["expires_at"]), "no longer life: {child}");
    assert_eq!(child["token"]["cidr"], "127.0.0.0/8", "no other network");
    let (status, problem) = make(json!({"name": "far", "preset": "viewer", "ttl_secs": 60, "cidr": "0.0.0.0/0"})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/cidr")), "{problem}");
    let (status, child) = make(json!({"name": "near", "preset": "viewer", "ttl_secs": 60, "cidr": "127.0.0.1"})).await;
    assert_eq!((status, &child["token"]["cidr"]), (201, &json!("127.0.0.1/32")), "{child}");
}

#[tokio::test]
async fn a_token_is_worth_nothing_when_its_owner_is_barred() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let wanted = json!({"name": "ci", "preset": "operator", "ttl_secs": 3600});
    let (_, made) = operator.send("POST", "/api/v1/tokens", wanted).await;
    let by_token = || controller.request("GET", "/api/v1/session").bearer_auth(text(&made["secret"]));
    assert_eq!(answer(by_token()).await.0, 200);
    let mut stream = lines(controller.request("GET", "/api/v1/events").bearer_auth(text(&made["secret"]))).await;
    assert_eq!(next(&mut stream).await["event"], "hello");
    admin.send("PATCH", "/api/v1/users/operator", json!({"is_disabled": true})).await;
    assert_eq!(answer(by_token()).await.0, 401);
    loop {
        // What was committed before the next look may still come.
        if next(&mut stream).await["event"] == "bye" {
            break;
        }
    }
    admin.send("PATCH", "/api/v1/users/operator", json!({"is_disabled": false})).await;
    assert_eq!(answer(by_token()).await.0, 200, "let in again");
    assert_eq!(admin.send("DELETE", "/api/v1/users/operator", json!({})).await.0, 204);
    assert_eq!(answer(by_token()).await.0, 401, "removed with its owner");
}

#[tokio::test]
async fn nobody_alone_takes_all_event_streams() {
    let controller = Controller::start_with(|c| c.limits.event_streams = 4).await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    let viewer = controller.sign_in("viewer").await;
    let mut first = lines(viewer.request("GET", "/api/v1/events")).await;
    next(&mut first).await;
    let (status, problem) = answer(viewer.request("GET", "/api/v1/events")).await;
    assert_eq!((status, &problem["code"]), (503, &json!("busy")), "{problem}");
    let mut other = lines(admin.request("GET", "/api/v1/events")).await;
    assert_eq!(next(&mut other).await["event"], "hello", "others have their share");
    drop(first);
    let again = async {
        while viewer.request("GET", "/api/v1/events").send().await.expect("answers").status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), again).await.expect("the place is free again");
}

#[tokio::test]
async fn forwarded_headers_of_strangers_are_not_believed() {
    let controller = Controller::start().await;
    controller.set_up().await;
    let mut last = 0;
    for i in 0..5 {
        let guess = json!({"login": "admin", "password": "wrong password"});
        let request = controller.request("POST", "/api/v1/session").header("x-forwarded-for", format!("192.0.2.{i}"));
        last = answer(request.json(&guess)).await.0;
    }
    assert_eq!(last, 429, "another address in a header is no other address");
    let evil = controller.request("GET", "/api/v1/setup").header("host", "evil.example");
    let (status, _) = answer(evil.header("x-forwarded-host", "localhost")).await;
    assert_eq!(status, 421);
    let (_, page) = answer(controller.sign_in_elsewhere()).await;
    assert_eq!(page["code"], "throttled", "the right password waits too");
}

#[tokio::test]
async fn a_trusted_proxy_tells_who_asks_and_only_the_last_hop_counts() {
    let trust = |c: &mut crate::config::Config| {
        c.web.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network"), "::1".parse().expect("a network")];
    };
    let controller = Controller::start_with(trust).await;
    let admin = controller.set_up().await;
    let guess = async |hops: &str| {
        let wrong = json!({"login": "admin", "password": "wrong password"});
        answer(controller.request("POST", "/api/v1/session").header("x-forwarded-for", hops).json(&wrong)).await.0
    };
    for i in 0..4 {
        assert_eq!(guess(&format!("10.9.8.{i}, 192.0.2.7")).await, 401);
    }
    assert_eq!(guess("10.9.8.99, 192.0.2.7").await, 429, "what stands before the last hop is the client's own word");
    assert_eq!(guess("203.0.113.4").await, 401, "another client is not held up");
    let (_, audit) = admin.get("/api/v1/audit?act=session.open").await;
    assert!(audit.to_string().contains("192.0.2.7") && !audit.to_string().contains("10.9.8."), "{audit}");
}

#[tokio::test]
async fn a_planted_session_is_never_taken_up() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let planted = "__Host-lampas=planted-by-somebody-else";
    let body = json!({"login": "admin", "password": PASSWORD});
    let request = controller.request("POST", "/api/v1/session").header("cookie", planted);
    let signed_in = request.json(&body).send().await.expect("answers");
    let cookie = signed_in.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(!cookie.contains("planted") && !cookie.starts_with(&admin.cookie), "{cookie}");
    assert_eq!(answer(controller.request("GET", "/api/v1/session").header("cookie", planted)).await.0, 401);
    let cross = controller.request("POST", "/api/v1/session").header("sec-fetch-site", "cross-site").json(&body);
    assert_eq!(answer(cross).await.0, 403, "no page of another site signs anybody in");
}

#[tokio::test]
async fn every_write_by_cookie_needs_its_csrf_token() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for call in super::calls().iter().filter(|c| c.rule.method != "GET") {
        if call.rule.access == super::Access::Open {
            continue;
        }
        let path = super::concrete(call.rule.path);
        let (status, problem) = answer(admin.bare(call.rule.method, &path).json(&json!({}))).await;
        assert_eq!((status, &problem["code"]), (403, &json!("csrf")), "{} {path}", call.rule.method);
    }
}

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let controller = Controller::start_with(|c| c.web.path_prefix = "/lampas".into()).await;
    for path in [
        "//evil.example/",
        "/%2f%2fevil.example",
        "/lampas//evil.example/",
        "/lampas/%5cevil.example",
        "/assets/..%2f..%2f..%2fCargo.toml",
        "/assets/%00",
        "/..%5c..%5cetc/passwd",
        "/lampasx/api/v1/users",
        "/lampas/lampas/api/v1/users",
        "/api/v1//users",
        "/api/v1/users/",
        "/API/V1/users",
        "/api%2fv1%2fusers",
        "/lampas/api/v1/users",
        "/api/v1/users;x=1",
        "/setup?next=https://evil.example",
    ] {
        let answer = controller.request("GET", path).send().await.expect("answers");
        assert!(!answer.status().is_redirection(), "{path}: {}", answer.status());
        assert!(!answer.headers().contains_key("location"), "{path}");
        let body = answer.text().await.expect("text");
        assert!(!body.contains("[workspace]") && !body.contains("root:x:") && !body.contains("\"items\""), "{path}");
    }
}

#[tokio::test]
async fn refused_acts_are_audited_with_who_and_why() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    let viewer = controller.sign_in("viewer").await;
    let make = json!({"login": "mine", "preset": "administrator", "password": PASSWORD});
    assert_eq!(viewer.send("POST", "/api/v1/users", make).await.0, 403);
    let planted = viewer.request("DELETE", "/api/v1/users/admin").header("x-reason", "reset\u{9b}31m");
    assert_eq!(answer(planted).await.0, 403);
    for (act, who) in [("user.create", "viewer"), ("user.delete", "viewer")] {
        let (_, audit) = admin.get(&format!("/api/v1/audit?act={act}")).await;
        let entries = audit["items"].as_array().expect("entries");
        let refused = entries.iter().find(|e| e["result"] == "refused: forbidden").expect("the refused act");
        assert!(refused["principal"].to_string().contains(who), "{refused}");
        assert!(!refused.to_string().contains("31m"), "{refused}");
    }
}

#[tokio::test]
async fn fields_that_are_not_known_are_refused_by_name() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for call in super::calls().iter().filter(|c| c.takes_body() && c.rule.access != super::Access::Open) {
        let rule = call.rule;
        let (status, problem) = admin.send(rule.method, &super::concrete(rule.path), json!({"no_such": 1})).await;
        // What is looked up before the body is read isn't there.
        if status == 404 {
            continue;
        }
        // Checks answer with what they found.
        assert!(status == 422 || rule.path.contains("/check/"), "{} {}: {status} {problem}", rule.method, rule.path);
        let said = problem.to_string();
        assert!(said.contains("no_such") || said.contains("missing field"), "{} {}: {problem}", rule.method, rule.path);
    }
}
