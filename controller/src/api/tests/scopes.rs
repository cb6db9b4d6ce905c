//! What somebody may who has a part of the fleet: the table walked with an administrator of one role, who must get
//! nothing of what lies elsewhere, and the ways around that.

use lampas_runtime::random;
use lampas_shared::id::{DriftId, NodeId, RunId};
use serde_json::{Value, json};

use super::{
    super::{
        calls,
        table::{Access, Rule, Scoped},
        testing::{Browser, Controller, PASSWORD, answer},
    },
    lines, next,
};
use crate::db::{DbError, Tx};

mod gates;
mod guards;
mod limits;
mod mail;
mod membership;
mod names;
mod search;
mod sets;

/// Words that stand in whatever lies outside of the role app, and nowhere else.
const ELSEWHERE: [&str; 4] = ["db-1", "role:db", "dbonly", "\"db\""];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn job(name: &str, scope: &str, command: &str) -> Value {
    let body = json!({"kind": "cron", "schedule": "*/5 * * * *", "user": "www-data", "command": command});
    json!({"name": name, "scope": scope, "body": body})
}

fn change(specs: &[Value], apply: bool) -> Value {
    let drafts: Vec<Value> = specs.iter().map(|s| json!({"put": s})).collect();
    json!({"drafts": drafts, "apply": apply, "allow_unplanned": true, "reason": "a test"})
}

fn source(name: &str) -> Value {
    json!({"name": name, "url": "https://git.invalid/fleet.git", "scope": "role:db"})
}

fn command(on: &[&str]) -> Value {
    json!({"work": {"kind": "command", "argv": ["true"]}, "on": on})
}

impl Browser<'_> {
    async fn user(&self, login: &str, preset: &str) {
        let body = json!({"login": login, "preset": preset, "password": PASSWORD});
        let (status, body) = self.send("POST", "/api/v1/users", body).await;
        assert_eq!(status, 201, "{body}");
    }

    async fn grant(&self, subject: &str, actions: &str, scope: &str) -> (u16, Value) {
        self.send("POST", "/api/v1/grants", json!({"subject": subject, "actions": actions, "scope": scope})).await
    }

    async fn granted(&self, subject: &str, actions: &str, scope: &str) -> String {
        let (status, made) = self.grant(subject, actions, scope).await;
        assert_eq!(status, 201, "{made}");
        text(&made["id"])
    }
}

/// A fleet of two roles, with something of every sort in both.
struct World {
    db: NodeId,
    object: String,
    planned: Value,
    applied: Value,
    operation: Value,
    drift: String,
    run: String,
    protection: String,
    freeze: String,
    enrolment: String,
}

async fn world(controller: &Controller, admin: &Browser<'_>) -> World {
    controller.node("web-1", "app").await;
    let db = controller.node("db-1", "db").await;
    for (name, scope) in
        [("dbonlygone", "role:db"), ("hello", "role:app"), ("everywhere", "fleet"), ("dbonly", "role:db")]
    {
        let mut body = change(&[job(name, scope, "date")], true);
        if name == "dbonly" {
            body["set"] = json!({"name": "dbonly", "prune": true});
        }
        let (status, made) = admin.send("POST", "/api/v1/changes", body).await;
        assert_eq!(status, 201, "{made}");
        if name == "dbonlygone" {
            let (status, made) = admin.send("POST", "/api/v1/changes", sets::drops(name, scope)).await;
            assert_eq!(status, 201, "{made}");
        }
    }
    let (_, page) = admin.get("/api/v1/objects?scope=role:db").await;
    let object = text(&page["items"][0]["id"]);
    let (_, page) = admin.get("/api/v1/changes?scope=role:db").await;
    let applied = page["items"][0]["number"].clone();
    let (status, planned) =
        admin.send("POST", "/api/v1/changes", change(&[job("dbonly2", "role:db", "date")], false)).await;
    assert_eq!(status, 201, "{planned}");
    let (status, operation) = admin.send("POST", "/api/v1/operations", command(&["role:db"])).await;
    assert_eq!(status, 201, "{operation}");
    let (drift, run): (DriftId, RunId) = (random::new_id(), random::new_id());
    let of = &object;
    let written = controller.app.db.write(|mut tx: Tx| async move {
        sqlx::query(
            "INSERT INTO drift (id, node, target_key, target, object, epoch, counter, outcome, path, diff, node_ms, \
             found_ms) VALUES (?, ?, 'k', 'cron:dbonly', ?, 1, 1, 'standing', '/etc/cron.d/dbonly', '', 1, 1)",
        )
        .bind(drift.to_string())
        .bind(db.to_string())
        .bind(of)
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "INSERT INTO job_run (run, node, object, account, started_ms, outcome, outcome_value, output, output_bytes, \
             received_ms) VALUES (?, ?, ?, 'www-data', 1, 'exited', 0, '', 0, 1)",
        )
        .bind(run.to_string())
        .bind(db.to_string())
        .bind(of)
        .execute(tx.conn())
        .await?;
        Ok::<_, DbError>(tx.done(()))
    });
    written.await.expect("written");
    let (status, protection) =
        admin.send("POST", "/api/v1/protections", json!({"scope": "node:db-1", "reason": "data"})).await;
    assert_eq!(status, 201, "{protection}");
    let frozen = json!({"scope": "node:db-1", "until": "2999-01-01T00:00:00Z", "reason": "a freeze"});
    let (_, refused) = admin.send("POST", "/api/v1/freezes", frozen).await;
    assert_eq!(refused["code"], "invalid", "more than a year");
    let until = lampas_runtime::clock::now().plus_ms(3_600_000);
    let frozen = json!({"scope": "node:db-1", "until": until, "reason": "a freeze"});
    let (status, freeze) = admin.send("POST", "/api/v1/freezes", frozen).await;
    assert_eq!(status, 201, "{freeze}");
    let (status, enrolment) = admin.send("POST", "/api/v1/enrolment-tokens", json!({"roles": ["db"], "uses": 2})).await;
    assert_eq!(status, 201, "{enrolment}");
    let (status, made) = admin.send("POST", "/api/v1/sources", source("theirs")).await;
    assert_eq!(status, 201, "{made}");
    World {
        enrolment: text(&enrolment["token"]["id"]),
        db,
        object,
        planned: planned["number"].clone(),
        applied,
        operation: operation["summary"]["number"].clone(),
        drift: drift.to_string(),
        run: run.to_string(),
        protection: text(&protection["id"]),
        freeze: text(&freeze["id"]),
    }
}

/// A user who has all permissions on one role, and none elsewhere.
async fn of_app<'c>(controller: &'c Controller, admin: &Browser<'_>) -> Browser<'c> {
    admin.user("eve", "none").await;
    admin.granted("user:eve", "administrator", "role:app").await;
    controller.sign_in("eve").await
}

impl World {
    /// Fills the parameters of a path with what lies elsewhere, and gives a body that is about that.
    fn elsewhere(&self, rule: Rule) -> (String, Value) {
        let number = if ["/rollout", "/revert", "/nodes"].iter().any(|p| rule.path.ends_with(p)) {
            &self.applied
        } else {
            &self.planned
        };
        let fill = |part: &str| match part {
            "{node}" => self.db.to_string(),
            "{role}" => "db".to_owned(),
            "{object}" => self.object.clone(),
            "{revision}" => "1".to_owned(),
            "{change}" => number.to_string(),
            "{operation}" => self.operation.to_string(),
            "{drift}" => self.drift.clone(),
            "{run}" => self.run.clone(),
            "{protection}" => self.protection.clone(),
            "{freeze}" => self.freeze.clone(),
            "{source}" => "theirs".to_owned(),
            "{token}" if rule.path.contains("/enrolment-tokens/") => self.enrolment.clone(),
            part if part.starts_with('{') => "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            part => part.to_owned(),
        };
        let mut path = rule.path.split('/').map(fill).collect::<Vec<_>>().join("/");
        if path.ends_with("/past") {
            path.push_str(&format!("?at={}", lampas_runtime::clock::now()));
        }
        if path.ends_with("/diff") && !path.ends_with("/past/diff") {
            path.push_str("?from=0&to=1");
        }
        if path.ends_with("/history") || path.ends_with("/past/diff") {
            path.push_str("?from=2001-01-01T00:00:00Z");
        }
        let until = lampas_runtime::clock::now().plus_ms(3_600_000);
        let body = match (rule.method, rule.path.rsplit('/').next().unwrap_or_default()) {
            ("POST", "changes") => change(&[job("mine", "role:app", "date"), job("theirs", "role:db", "date")], false),
            ("POST", "operations" | "preview") => command(&["fleet"]),
            ("POST", "secrets") => json!({"name": "theirs", "scope": "role:db", "value": "a secret of theirs"}),
            ("POST", "protections") => json!({"scope": "fleet", "reason": "a test"}),
            ("POST", "sources") => source("more"),
            ("POST", "accept") => json!({"commit": "0"}),
            ("PATCH", "{source}") => json!({"prune": true}),
            ("POST", "freezes") => json!({"scope": "role:db", "until": until, "reason": "a test"}),
            ("POST", "apply") => json!({"plan": "0000-0000"}),
            ("POST", "approve") => json!({"plan": "0".repeat(64)}),
            ("POST", "decline") => json!({"reason": "no"}),
            ("POST", "rollout") => json!({"order": "pause"}),
            ("POST", "waves") => json!({}),
            ("POST", "sign") => json!({"text": "LAMPAS", "signature": "-----BEGIN"}),
            ("PATCH", _) => json!({"labels": {"a": "b"}}),
            _ => json!({}),
        };
        (path, body)
    }
}

#[tokio::test]
async fn the_whole_table_keeps_who_has_one_role_to_it() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let world = world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    let mut walked = 0;
    for call in calls() {
        let rule = call.rule;
        let (Access::Needs(_), false) = (rule.access, rule.path == "/api/v1/events") else { continue };
        // What is about the own account would end it; it lies in no scope.
        if rule.scoped == Scoped::Own {
            continue;
        }
        walked += 1;
        let (path, body) = world.elsewhere(rule);
        let request = eve.request(rule.method, &path);
        let request = if rule.method == "GET" { request } else { request.json(&body) };
        let (status, body) = answer(request).await;
        let what = format!("{} {path} ({:?}): {status} {body}", rule.method, rule.scoped);
        match rule.scoped {
            Scoped::Fleet => assert_eq!(status, 403, "{what}"),
            Scoped::Node | Scoped::Role => assert!([403, 404].contains(&status), "{what}"),
            Scoped::Objects | Scoped::Selection => {
                assert!([403, 404].contains(&status), "{what}");
                // What can't be seen isn't there.
                let is_hidden = ["/drift/", "{change}", "{source}"].iter().any(|p| rule.path.contains(p));
                assert!(status == 403 || is_hidden, "{what}");
            }
            // Of lists and pages nothing of elsewhere is in the answer, where there is one.
            Scoped::Filtered => {
                let body = body.to_string();
                let is_told = ELSEWHERE.iter().any(|word| body.contains(word)) && status < 400;
                assert!([200, 404, 422].contains(&status) && !is_told, "{what}");
                assert!(status != 422 || rule.path.ends_with("/waves"), "{what}");
                let is_list = !rule.path.contains('{');
                assert_eq!(is_list, status == 200, "{what}");
            }
            Scoped::Plain | Scoped::Own => assert!(status != 403, "{what}"),
        }
        // The same is there for who may: otherwise the walk would prove nothing.
        if rule.method == "GET" && rule.scoped == Scoped::Filtered {
            let (status, body) = admin.get(&path).await;
            // No template made the file that drifted: who may see it is told that.
            if rule.path.ends_with("/merge") {
                assert_eq!((status, text(&body["code"]).as_str()), (409, "drift.refused"), "admin: {path}: {body}");
                continue;
            }
            assert_eq!(status, 200, "admin: {path}: {body}");
            let body = body.to_string();
            let is_named = ELSEWHERE.iter().any(|word| body.contains(word));
            // No rollout keeps anything back here.
            let quiet = ["/groups", "/output", "/revisions", "/uses", "/values", "/sources", "/kept-back"];
            let is_quiet = quiet.iter().any(|p| path.ends_with(p));
            assert!(is_named || is_quiet, "admin sees what lies elsewhere: {path}: {body}");
        }
    }
    assert!(walked > 70, "the walk is the table: {walked}");
    let (_, audit) = admin.get("/api/v1/audit?principal=user:eve&limit=500").await;
    let all = audit["items"].as_array().cloned().unwrap_or_default();
    assert!(
        all.iter().all(|e| text(&e["result"]).starts_with("refused") || text(&e["act"]).starts_with("session.")),
        "{audit}"
    );
    assert!(all.len() > 20, "what was refused is told");
}

#[tokio::test]
async fn who_has_one_role_works_there_as_usual() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    let mine = |command: &str| change(&[job("hello", "role:app", command), job("one", "node:web-1", command)], true);
    let (status, made) = eve.send("POST", "/api/v1/changes", mine("date -u")).await;
    assert_eq!((status, &made["author"]), (201, &json!("eve")), "{made}");
    let (_, page) = eve.get("/api/v1/nodes").await;
    assert_eq!((page["items"].as_array().map(Vec::len), &page["items"][0]["name"]), (Some(1), &json!("web-1")));
    let (_, page) = eve.get("/api/v1/objects").await;
    let names: Vec<String> = page["items"].as_array().into_iter().flatten().map(|o| text(&o["name"])).collect();
    assert_eq!(names, ["everywhere", "hello", "one"], "what is for the fleet is for her nodes too");
    let (_, overview) = eve.get("/api/v1/overview").await;
    assert_eq!((&overview["counts"]["nodes"], &overview["counts"]["objects"]), (&json!(1), &json!(3)), "{overview}");
    let (_, page) = eve.get("/api/v1/changes").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3), "{page}");
    let (status, operation) = eve.send("POST", "/api/v1/operations", command(&["role:app"])).await;
    assert_eq!(status, 201, "{operation}");
    let (status, problem) = eve.send("POST", "/api/v1/operations", command(&["role:app", "role:db"])).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    assert!(text(&problem["detail"]).contains("db-1") && !text(&problem["detail"]).contains("web-1"), "{problem}");
    let (status, _) =
        eve.send("POST", &format!("/api/v1/operations/{}/cancel", operation["summary"]["number"]), json!({})).await;
    assert_eq!(status, 202);
    for scope in ["fleet", "role:db", "node:db-1", "label:env=prod"] {
        let (status, problem) = eve.send("POST", "/api/v1/changes", change(&[job("x", scope, "date")], true)).await;
        assert_eq!(status, 403, "{scope}: {problem}");
        assert!(text(&problem["detail"]).ends_with(&format!("lacks the permission change on {scope}")), "{problem}");
    }
    let (status, node) = eve.send("PATCH", "/api/v1/nodes/web-1", json!({"labels": {"rack": "7"}})).await;
    assert_eq!((status, &node["labels"]["rack"]), (200, &json!("7")), "{node}");
    let (status, session) = eve.get("/api/v1/session").await;
    assert_eq!((status, &session["preset"], &session["level"]), (200, &json!("none"), &json!("administrator")));
    assert_eq!(session["rights"][1]["scopes"], json!(["role:app"]), "{session}");

    // A plan of the administrator for her role: she may approve it, and apply it; one of hers for the fleet nobody may.
    let (_, plan) = admin.send("POST", "/api/v1/changes", change(&[job("hello", "role:app", "date -R")], false)).await;
    let path = format!("/api/v1/changes/{}/approve", plan["number"]);
    let (status, approved) = eve.send("POST", &path, json!({"plan": plan["plan"]["digest"]})).await;
    assert_eq!((status, &approved["state"]), (200, &json!("approved")), "{approved}");
    let (_, plan) =
        admin.send("POST", "/api/v1/changes", change(&[job("everywhere", "fleet", "date -R")], false)).await;
    assert!(plan["plan"].to_string().contains("db-1"), "{plan}");
    let (status, seen) = eve.get(&format!("/api/v1/changes/{}", plan["number"])).await;
    assert_eq!(status, 200, "it is for her nodes too");
    assert!(!seen.to_string().contains("db-1") && seen.to_string().contains("web-1"), "{seen}");
    for (verb, body) in [
        ("apply", json!({"plan": plan["plan"]["id"], "allow_unplanned": true})),
        ("approve", json!({"plan": plan["plan"]["digest"]})),
        ("decline", json!({"reason": "no"})),
        ("abandon", json!({})),
    ] {
        let (status, problem) = eve.send("POST", &format!("/api/v1/changes/{}/{verb}", plan["number"]), body).await;
        assert_eq!(status, 403, "{verb}: {problem}");
    }
}

#[tokio::test]
async fn a_grant_ends_at_once_and_by_itself() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    admin.user("eve", "none").await;
    let (status, team) =
        admin.send("POST", "/api/v1/user-groups", json!({"name": "web-team", "members": ["eve"]})).await;
    assert_eq!(status, 201, "{team}");
    let id = admin.granted("group:web-team", "view,change", "role:app").await;
    let eve = controller.sign_in("eve").await;
    assert_eq!(eve.get("/api/v1/nodes/web-1").await.0, 200);
    let wanted = json!({"name": "ci", "preset": "operator", "ttl_secs": 600});
    let (status, token) = eve.send("POST", "/api/v1/tokens", wanted).await;
    assert_eq!(status, 201, "{token}");
    let secret = text(&token["secret"]);
    let by_token = || answer(controller.request("GET", "/api/v1/nodes/web-1").bearer_auth(&secret));
    assert_eq!(by_token().await.0, 200);
    let (_, may) = admin.get("/api/v1/users/eve/may?action=change&scope=role:app").await;
    assert_eq!(
        (&may["may"], &may["text"]),
        (&json!(true), &json!("eve may change on role:app: by group web-team over role:app"))
    );
    let (_, may) = admin.get("/api/v1/users/eve/may?action=change&scope=fleet").await;
    assert_eq!(may["text"], "eve may not change on all of fleet, only by group web-team over role:app");
    let (_, may) = admin.get("/api/v1/users/eve/may?action=run&scope=node:web-1").await;
    assert_eq!(may["text"], "eve may not run anywhere: no right includes it");

    // Out of the group, the session and the token are worth no more than the account.
    let leave = json!({"remove": ["eve"]});
    assert_eq!(admin.send("PATCH", "/api/v1/user-groups/web-team", leave).await.0, 200);
    assert_eq!((eve.get("/api/v1/nodes/web-1").await.0, by_token().await.0), (403, 403));
    assert_eq!(eve.get("/api/v1/session").await.0, 200);
    assert_eq!(admin.send("PATCH", "/api/v1/user-groups/web-team", json!({"add": ["eve"]})).await.0, 200);
    assert_eq!((eve.get("/api/v1/nodes/web-1").await.0, by_token().await.0), (200, 200));
    assert_eq!(admin.send("DELETE", &format!("/api/v1/grants/{id}"), json!({})).await.0, 204);
    assert_eq!((eve.get("/api/v1/nodes/web-1").await.0, by_token().await.0), (403, 403));

    // One with an end.
    let brief = json!({"subject": "user:eve", "actions": "viewer", "scope": "node:web-1", "ttl_secs": 60});
    assert_eq!(admin.send("POST", "/api/v1/grants", brief).await.0, 201);
    assert_eq!(eve.get("/api/v1/nodes/web-1").await.0, 200);
    let aged = controller.app.db.write(|mut tx: Tx| async move {
        sqlx::query("UPDATE access_grant SET expires_ms = expires_ms - 60001").execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    aged.await.expect("written");
    assert_eq!(eve.get("/api/v1/nodes/web-1").await.0, 403, "over");
    let (_, audit) = admin.get("/api/v1/audit?limit=100").await;
    for act in ["group.create", "group.update", "grant.create", "grant.remove"] {
        assert!(audit.to_string().contains(act), "{act}");
    }
}

#[tokio::test]
async fn nobody_gives_or_takes_what_he_has_not() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    let db = controller.node("db-1", "db").await;
    for (login, preset) in [("mia", "none"), ("vera", "viewer"), ("olga", "operator"), ("carol", "none")] {
        admin.user(login, preset).await;
    }
    admin.granted("user:mia", "manage_users", "fleet").await;
    admin.granted("user:mia", "operator", "role:app").await;
    let (_, _) = admin.send("POST", "/api/v1/user-groups", json!({"name": "admins"})).await;
    let admins = admin.granted("group:admins", "administrator", "fleet").await;
    let mia = controller.sign_in("mia").await;
    let refused = async |who: &Browser<'_>, method: &str, path: &str, body: Value| {
        let (status, problem) = who.send(method, path, body.clone()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{method} {path} {body}: {problem}");
    };
    let create = |preset: &str| json!({"login": "eve", "preset": preset, "password": PASSWORD});
    refused(&mia, "POST", "/api/v1/users", create("administrator")).await;
    refused(&mia, "POST", "/api/v1/users", create("viewer")).await;
    refused(&mia, "PATCH", "/api/v1/users/admin", json!({"password": "a password of hers"})).await;
    refused(&mia, "PATCH", "/api/v1/users/vera", json!({"password": "a password of hers"})).await;
    refused(&mia, "PATCH", "/api/v1/users/mia", json!({"preset": "administrator"})).await;
    refused(&mia, "DELETE", "/api/v1/users/vera", json!({})).await;
    refused(&mia, "DELETE", "/api/v1/users/admin/second-factor", json!({})).await;
    for (actions, scope) in
        [("administrator", "fleet"), ("change", "fleet"), ("change", "role:db"), ("protect", "role:app")]
    {
        for subject in ["user:mia", "user:carol", "group:admins"] {
            refused(&mia, "POST", "/api/v1/grants", json!({"subject": subject, "actions": actions, "scope": scope}))
                .await;
        }
    }
    refused(&mia, "PATCH", "/api/v1/user-groups/admins", json!({"add": ["mia"]})).await;
    refused(&mia, "PATCH", "/api/v1/user-groups/admins", json!({"name": "others"})).await;
    refused(&mia, "DELETE", "/api/v1/user-groups/admins", json!({})).await;
    refused(&mia, "DELETE", &format!("/api/v1/grants/{admins}"), json!({})).await;
    // What she has she gives, and takes.
    assert_eq!(mia.send("POST", "/api/v1/users", create("none")).await.0, 201);
    let given = mia.granted("user:eve", "change", "role:app").await;
    let narrower = mia.granted("user:eve", "operator", "node:web-1").await;
    assert_eq!(mia.send("DELETE", &format!("/api/v1/grants/{given}"), json!({})).await.0, 204);
    assert_eq!(mia.send("DELETE", &format!("/api/v1/grants/{narrower}"), json!({})).await.0, 204);
    // A token that was made for less gives no more, and one without the right to grave calls nothing.
    let wanted =
        json!({"name": "t", "preset": "administrator", "ttl_secs": 600, "scope": "role:app", "is_grave": true});
    let (status, token) = admin.send("POST", "/api/v1/tokens", wanted).await;
    assert_eq!((status, &token["token"]["scope"]), (201, &json!("role:app")), "{token}");
    let secret = text(&token["secret"]);
    let by_token = |method: &str, path: &str| controller.request(method, path).bearer_auth(&secret);
    let up = json!({"subject": "user:eve", "actions": "viewer", "scope": "role:app"});
    assert_eq!(answer(by_token("POST", "/api/v1/grants").json(&up)).await.0, 403, "users are managed for the fleet");
    assert_eq!(answer(by_token("GET", "/api/v1/nodes/db-1")).await.0, 404);
    assert_eq!(answer(by_token("GET", "/api/v1/nodes/web-1")).await.0, 200);
    let (status, problem) = answer(
        by_token("POST", "/api/v1/tokens")
            .json(&json!({"name": "u", "preset": "viewer", "ttl_secs": 60, "scope": "fleet"})),
    )
    .await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/scope")), "{problem}");
    let (_, child) =
        answer(by_token("POST", "/api/v1/tokens").json(&json!({"name": "u", "preset": "viewer", "ttl_secs": 60})))
            .await;
    assert_eq!(child["token"]["scope"], "role:app", "what it makes inherits the bound");

    // Who manages all nodes leads none into a scope to gain, or to give, what he hasn't on it.
    admin.granted("user:carol", "view,manage_nodes", "fleet").await;
    admin.granted("user:carol", "change", "role:app").await;
    let carol = controller.sign_in("carol").await;
    let into_app = json!({"roles": ["db", "app"]});
    let (status, problem) = carol.send("PATCH", "/api/v1/nodes/db-1", into_app.clone()).await;
    assert_eq!(status, 403, "{problem}");
    assert!(text(&problem["detail"]).contains("db-1") && text(&problem["detail"]).contains("role:app"), "{problem}");
    assert_eq!(carol.send("PATCH", "/api/v1/nodes/db-1", json!({"labels": {"a": "b"}})).await.0, 200);
    let olga = controller.sign_in("olga").await;
    assert_eq!(olga.send("PATCH", "/api/v1/nodes/db-1", into_app).await.0, 200, "she has on it what she gives");
    // The scope of a node goes with it, whatever it is called.
    admin.granted("user:eve", "viewer", "node:web-1").await;
    let eve = controller.sign_in("eve").await;
    assert_eq!(admin.send("PATCH", "/api/v1/nodes/web-1", json!({"name": "web-9"})).await.0, 200);
    assert_eq!(admin.send("PATCH", &format!("/api/v1/nodes/{db}"), json!({"name": "web-1"})).await.0, 200);
    assert_eq!((eve.get("/api/v1/nodes/web-9").await.0, eve.get("/api/v1/nodes/web-1").await.0), (200, 404));
    let (_, grants) = admin.get("/api/v1/grants?subject=user:eve").await;
    assert_eq!(grants["items"][0]["scope"], "node:web-9", "{grants}");
}

#[tokio::test]
async fn somebody_stays_who_may_everything() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.user("dana", "none").await;
    let stays = async |method: &str, path: &str, body: Value| {
        let (status, problem) = admin.send(method, path, body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("last_administrator")), "{method} {path}: {problem}");
    };
    // One that ends, one of a role, and one of who is barred are none.
    let brief = json!({"subject": "user:dana", "actions": "administrator", "scope": "fleet", "ttl_secs": 3600});
    assert_eq!(admin.send("POST", "/api/v1/grants", brief).await.0, 201);
    admin.granted("user:dana", "administrator", "role:app").await;
    stays("PATCH", "/api/v1/users/admin", json!({"preset": "operator"})).await;
    stays("PATCH", "/api/v1/users/admin", json!({"is_disabled": true})).await;
    stays("DELETE", "/api/v1/users/admin", json!({})).await;
    assert_eq!(admin.send("POST", "/api/v1/user-groups", json!({"name": "admins", "members": ["dana"]})).await.0, 201);
    let id = admin.granted("group:admins", "administrator", "fleet").await;
    let dana = controller.sign_in("dana").await;
    assert_eq!(dana.send("PATCH", "/api/v1/users/admin", json!({"preset": "viewer"})).await.0, 200);
    // Now all hangs on the group.
    let stays = async |method: &str, path: &str, body: Value| {
        let (status, problem) = dana.send(method, path, body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("last_administrator")), "{method} {path}: {problem}");
    };
    stays("DELETE", &format!("/api/v1/grants/{id}"), json!({})).await;
    stays("PATCH", "/api/v1/user-groups/admins", json!({"remove": ["dana"]})).await;
    stays("DELETE", "/api/v1/user-groups/admins", json!({})).await;
    stays("PATCH", "/api/v1/users/dana", json!({"is_disabled": true})).await;
    stays("DELETE", "/api/v1/users/dana", json!({})).await;
    assert_eq!(dana.get("/api/v1/users").await.0, 200);
}

#[tokio::test]
async fn a_stream_tells_of_own_nodes_alone() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    controller.node("db-1", "db").await;
    let eve = of_app(&controller, &admin).await;
    let mut live = lines(eve.request("GET", "/api/v1/events")).await;
    assert_eq!(next(&mut live).await["event"], "hello");
    admin.user("vera", "viewer").await;
    for name in ["db-1", "web-1"] {
        assert_eq!(admin.send("PATCH", &format!("/api/v1/nodes/{name}"), json!({"labels": {"a": "b"}})).await.0, 200);
    }
    let first = next(&mut live).await;
    assert_eq!(first["event"], "fleet.node.changed", "neither the user nor the other node: {first}");
    let (_, web) = admin.get("/api/v1/nodes/web-1").await;
    assert!(text(&first["data"]).contains(&text(&web["id"])), "{first}");
    let (status, _) = admin.send("POST", "/api/v1/changes", change(&[job("dbonly", "role:db", "date")], true)).await;
    assert_eq!(status, 201);
    let hint = next(&mut live).await;
    assert!(!ELSEWHERE.iter().any(|word| hint.to_string().contains(word)), "a hint without a content: {hint}");
}
