//! Root code asks who sits there, by its effect and when it is let out; over the real API.

use lampas_runtime::clock;
use serde_json::{Value, json};

use crate::{
    api::testing::{Browser, Controller, PASSWORD, answer},
    db::{DbError, Tx},
};

const ASKED: (u16, &str) = (403, "reauthentication.root_code");

/// Lets eleven minutes pass, for all that sessions know.
async fn wait(controller: &Controller) {
    let aged = controller.app.db.write(|mut tx: Tx| async move {
        let sql = "UPDATE session SET proven_ms = proven_ms - 660000, created_ms = created_ms - 660000";
        sqlx::query(sql).execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    aged.await.expect("aged");
}

async fn prove(browser: &Browser<'_>) {
    let (status, told) = browser.send("POST", "/api/v1/session/proof", json!({"password": PASSWORD})).await;
    assert_eq!(status, 204, "{told}");
}

fn cron(name: &str, scope: &str, user: &str) -> Value {
    let body = json!({"kind": "cron", "schedule": "*/5 * * * *", "user": user, "command": "date"});
    json!({"name": name, "scope": scope, "body": body})
}

fn put(spec: &Value, apply: bool) -> Value {
    json!({"drafts": [{"put": spec}], "apply": apply, "allow_unplanned": true, "reason": "a test"})
}

fn run(user: &str) -> Value {
    json!({"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["role:app"], "user": user})
}

fn refused(given: &(u16, Value)) -> (u16, &str) {
    (given.0, given.1["code"].as_str().unwrap_or_default())
}

async fn planned(browser: &Browser<'_>, spec: &Value) -> (String, String) {
    let (status, made) = browser.send("POST", "/api/v1/changes", put(spec, false)).await;
    assert_eq!(status, 201, "{made}");
    let digest = made["plan"]["digest"].as_str().expect("a digest").to_owned();
    (format!("/api/v1/changes/{}", made["number"]), digest)
}

async fn changes(browser: &Browser<'_>) -> u64 {
    browser.get("/api/v1/changes").await.1["total"].as_u64().expect("a number")
}

#[tokio::test]
async fn root_code_is_let_out_by_who_has_just_shown_who_they_are() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    controller.node("db-1", "db").await;
    let create = "/api/v1/changes";
    // Fresh from the sign-in nobody is asked.
    assert_eq!(admin.send("POST", create, put(&cron("first", "role:app", "root"), true)).await.0, 201);
    assert_eq!(admin.send("POST", "/api/v1/operations", run("root")).await.0, 201);

    wait(&controller).await;
    // What is no root code is never asked about, and neither are drafts, plans, and what nobody would execute.
    assert_eq!(admin.send("POST", create, put(&cron("plain", "role:app", "www-data"), true)).await.0, 201);
    assert_eq!(admin.send("POST", "/api/v1/operations", run("www-data")).await.0, 201);
    assert_eq!(admin.send("POST", create, put(&cron("nowhere", "role:gone", "root"), true)).await.0, 201);
    let (path, digest) = planned(&admin, &cron("second", "role:app", "root")).await;
    let before = changes(&admin).await;
    let at_once = admin.send("POST", create, put(&cron("third", "role:app", "root"), true)).await;
    assert_eq!(refused(&at_once), ASKED, "{at_once:?}");
    let told = at_once.1["fields"][0]["detail"].as_str().unwrap_or_default();
    assert_eq!(told, "cron third (role:app): a cron job of root");
    assert_eq!(changes(&admin).await, before, "the refused one left nothing behind");
    let apply = json!({"plan": digest, "allow_unplanned": true});
    let later = json!({"plan": digest, "allow_unplanned": true, "at": clock::now().plus_ms(3_600_000).to_string()});
    for body in [&apply, &later] {
        let applied = admin.send("POST", &format!("{path}/apply"), body.clone()).await;
        assert_eq!(refused(&applied), ASKED, "{applied:?}");
    }
    let approved = admin.send("POST", &format!("{path}/approve"), json!({"plan": digest})).await;
    assert_ne!(approved.0, 200, "{approved:?}");
    assert_eq!(refused(&admin.send("POST", "/api/v1/operations", run("root")).await), ASKED);
    let work = json!({"kind": "draft", "name": "try", "draft": {"content": "#!/bin/sh\n"}});
    let draft = json!({"work": work, "on": ["node:web-1"], "user": "root"});
    let tried = admin.send("POST", "/api/v1/operations", draft).await;
    assert_eq!(refused(&tried), ASKED, "{tried:?}");
    // To lead a node to where root code is for is to bring that there.
    let (_, found) = admin.get("/api/v1/nodes/db-1").await;
    let revision = found["revision"].to_string();
    let lead = |browser: &Browser<'_>| {
        browser.request("PATCH", "/api/v1/nodes/db-1").header("if-match", format!("\"{revision}\""))
    };
    let led = answer(lead(&admin).json(&json!({"roles": ["db", "app"]}))).await;
    assert_eq!(refused(&led), ASKED, "{led:?}");
    let labelled = answer(lead(&admin).json(&json!({"labels": {"rack": "7"}}))).await;
    assert_eq!(labelled.0, 200, "{labelled:?}");

    // One proof covers all of it.
    prove(&admin).await;
    let applied = admin.send("POST", &format!("{path}/apply"), apply).await;
    assert_eq!(applied.0, 200, "{applied:?}");
    assert_eq!(admin.send("POST", create, put(&cron("third", "role:app", "root"), true)).await.0, 201);
    assert_eq!(admin.send("POST", "/api/v1/operations", run("root")).await.0, 201);

    // What goes is root's as well as what comes; and what becomes another's.
    wait(&controller).await;
    let gone = json!({"drafts": [{"delete": {"kind": "cron", "scope": "role:app", "name": "third"}}], "apply": true, "allow_unplanned": true});
    assert_eq!(refused(&admin.send("POST", create, gone).await), ASKED);
    assert_eq!(refused(&admin.send("POST", create, put(&cron("third", "role:app", "www-data"), true)).await), ASKED);
    let (_, audit) = admin.get("/api/v1/audit?act=change.create").await;
    assert!(audit.to_string().contains("reauthentication.root_code"), "it is audited: {audit}");
}

#[tokio::test]
async fn who_approves_root_code_and_who_releases_it_are_asked_too() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    controller.node("web-1", "app").await;
    controller.node("web-2", "app").await;
    let operator = controller.sign_in("operator").await;
    let (path, digest) = planned(&operator, &cron("nightly", "role:app", "root")).await;
    wait(&controller).await;
    let body = json!({"plan": digest});
    let approved = admin.send("POST", &format!("{path}/approve"), body.clone()).await;
    assert_eq!(refused(&approved), ASKED, "{approved:?}");
    prove(&admin).await;
    assert_eq!(admin.send("POST", &format!("{path}/approve"), body).await.0, 200);

    prove(&operator).await;
    let waves = json!({"plan": digest, "allow_unplanned": true, "rollout": {"waves": ["1", "100%"]}});
    let applied = operator.send("POST", &format!("{path}/apply"), waves).await;
    assert_eq!(applied.0, 200, "{applied:?}");
    wait(&controller).await;
    let order = |what: &str| json!({"order": what, "reason": "a test"});
    let rollout = format!("{path}/rollout");
    assert_eq!(refused(&operator.send("POST", &rollout, order("promote")).await), ASKED);
    // Who stops it, or brings back what stood, is in a hurry.
    assert_eq!(operator.send("POST", &rollout, order("pause")).await.0, 200);
    let back = operator.send("POST", &rollout, order("revert")).await;
    assert_eq!(back.0, 200, "{back:?}");
}

#[tokio::test]
async fn who_releases_what_takes_root_code_away_again_is_asked_too() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for name in ["web-1", "web-2", "web-3"] {
        controller.node(name, "app").await;
    }
    assert_eq!(admin.send("POST", "/api/v1/changes", put(&cron("nightly", "role:app", "root"), true)).await.0, 201);
    let gone = json!({
        "drafts": [{"delete": {"kind": "cron", "scope": "role:app", "name": "nightly"}}],
        "apply": true, "allow_unplanned": true, "rollout": {"waves": ["1", "100%"]},
    });
    let order = |what: &str| json!({"order": what, "reason": "a test"});
    let rolled = async || {
        let (status, made) = admin.send("POST", "/api/v1/changes", gone.clone()).await;
        assert_eq!(status, 201, "{made}");
        format!("/api/v1/changes/{}/rollout", made["number"])
    };
    let first = rolled().await;
    assert_eq!(admin.send("POST", &first, order("abort")).await.0, 200);
    // It is deleted already, and makes no revision: the job still goes from who was left out.
    let again = rolled().await;
    wait(&controller).await;
    let promoted = admin.send("POST", &again, order("promote")).await;
    assert_eq!(refused(&promoted), ASKED, "{promoted:?}");
    prove(&admin).await;
    assert_eq!(admin.send("POST", &again, order("promote")).await.0, 200);
}

#[tokio::test]
async fn tokens_hold_the_right_to_root_code_and_machines_ask_anew() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    let make = |name: &str, is_grave: bool| json!({"name": name, "preset": "operator", "ttl_secs": 3600, "scope": "role:app", "permissions": ["view", "change", "run"], "is_grave": is_grave});
    let apply = put(&cron("nightly", "role:app", "root"), true);
    for (name, is_grave) in [("plain", false), ("ci", true)] {
        let (status, token) = admin.send("POST", "/api/v1/tokens", make(name, is_grave)).await;
        assert_eq!(status, 201, "{token}");
        let secret = token["secret"].as_str().expect("a secret");
        let by = |path: &str| controller.request("POST", path).bearer_auth(secret);
        let given = answer(by("/api/v1/changes").json(&apply)).await;
        let ran = answer(by("/api/v1/operations").json(&run("root"))).await;
        if is_grave {
            assert_eq!((given.0, ran.0), (201, 201), "{given:?} {ran:?}");
        } else {
            assert_eq!((refused(&given), refused(&ran)), (ASKED, ASKED));
            assert!(given.1["detail"].as_str().is_some_and(|d| d.contains("the API token plain was made without")));
        }
    }

    // A machine that somebody signed in is proven for ten minutes by that.
    let wanted = json!({"purpose": "sign_in", "machine": "laptop", "ttl_secs": 3600});
    let (_, begun) = answer(controller.request("POST", "/api/v1/device").json(&wanted)).await;
    let code = json!({"user_code": begun["user_code"]});
    assert_eq!(admin.send("POST", "/api/v1/session/device/confirmation", code).await.0, 204);
    let asked = json!({"device_code": begun["device_code"]});
    let (_, session) = answer(controller.request("POST", "/api/v1/device/session").json(&asked)).await;
    let secret = session["secret"].as_str().expect("a secret");
    let start = || controller.request("POST", "/api/v1/operations").bearer_auth(secret).json(&run("root"));
    assert_eq!(answer(start()).await.0, 201);
    wait(&controller).await;
    let later = answer(start()).await;
    assert_eq!(refused(&later), ASKED);
    assert!(later.1["detail"].as_str().is_some_and(|d| d.ends_with("confirm in the dashboard that it is you")));
}
