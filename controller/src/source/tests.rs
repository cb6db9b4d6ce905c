//! Sources against real repositories: what is read, what is refused, and what becomes of it.

mod repository;
mod tables;

use std::time::Duration;

use lampas_runtime::{clock, random};
use lampas_shared::id::{NodeId, SourceId};
use serde_json::{Value, json};

use self::repository::Repository;
use crate::{
    api::testing::{Browser, Controller, PASSWORD},
    db::Tx,
};

/// A controller with an administrator, and a repository that it may read.
struct World {
    controller: Controller,
    repository: Repository,
}

impl World {
    async fn start() -> Self {
        let repository = Repository::make();
        let directory = repository.root();
        let controller = Controller::start_with(|config| {
            config.sources.directories = vec![directory];
            config.sources.fetch_secs = 60;
            config.egress.allow = vec!["127.0.0.0/8".parse().expect("a network")];
        });
        Self { controller: controller.await, repository }
    }

    async fn node(&self, name: &str, role: &str) -> NodeId {
        self.controller.node(name, role).await
    }

    /// Sets up the source `fleet` over the role app.
    async fn source(&self, by: &Browser<'_>, more: Value) -> Value {
        let mut body = json!({"name": "fleet", "url": self.repository.url(), "scope": "role:app"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let (status, made) = by.send("POST", "/api/v1/sources", body).await;
        assert_eq!(status, 201, "{made}");
        settled(by).await
    }
}

/// Waits until a source was looked at, and returns it.
async fn settled(by: &Browser<'_>) -> Value {
    let limit = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let (status, source) = by.get("/api/v1/sources/fleet").await;
        assert_eq!(status, 200, "{source}");
        if source["is_syncing"] == false && source["state"] != "new" {
            return source;
        }
        assert!(tokio::time::Instant::now() < limit, "{source}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sync(by: &Browser<'_>, all: bool) -> Value {
    let (status, asked) = by.send("POST", "/api/v1/sources/fleet/sync", json!({"all": all})).await;
    assert_eq!(status, 200, "{asked}");
    settled(by).await
}

async fn set(by: &Browser<'_>, what: Value) -> Value {
    let (status, made) = by.send("PATCH", "/api/v1/sources/fleet", what).await;
    assert_eq!(status, 200, "{made}");
    settled(by).await
}

/// Waits until a source stands so without being asked.
async fn until(by: &Browser<'_>, state: &str) -> Value {
    let limit = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let source = settled(by).await;
        if source["state"] == state {
            return source;
        }
        assert!(tokio::time::Instant::now() < limit, "{source}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn file(name: &str, content: &str) -> String {
    format!("[[file]]\nname = \"{name}\"\nscope = \"role:app\"\npath = \"/etc/{name}\"\ncontent = \"{content}\"\n")
}

async fn objects(by: &Browser<'_>) -> Vec<Value> {
    let (_, page) = by.get("/api/v1/objects?kind=file").await;
    page["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_shown_proposed_or_applied() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    world.repository.commit("two files", &[("a.toml", &file("a", "1")), ("sub/b.toml", &file("b", "1"))]);
    let source = world.source(&admin, json!({})).await;
    assert_eq!((&source["state"], &source["counts"]["missing"]), (&json!("differs"), &json!(2)), "{source}");
    assert_eq!(source["differences"][1]["file"], "sub/b.toml", "{source}");
    assert!(objects(&admin).await.is_empty(), "who watches changes nothing");
    let (_, overview) = admin.get("/api/v1/overview").await;
    let told = &overview["attention"][0];
    assert_eq!((&told["kind"], &told["link"]), (&json!("source_differs"), &json!("/sources/fleet")), "{overview}");
    assert_eq!(told["text"], "2 objects differ from the git source fleet", "{overview}");
    // What a source brings is its own: a set takes none of it, nor the source's name.
    let as_set = |set: Value| json!({"drafts": [{"put": {"name": "a", "scope": "role:app", "body": {"kind": "file", "path": "/etc/a", "content": "1"}}}], "set": set});
    let (status, refused) = admin.send("POST", "/api/v1/changes", as_set(json!({"name": "fleet"}))).await;
    assert_eq!((status, &refused["fields"][0]["pointer"]), (422, &json!("/set/name")), "{refused}");

    let source = set(&admin, json!({"mode": "propose"})).await;
    assert_eq!(source["state"], "waiting", "{source}");
    let (status, refused) = admin.send("POST", "/api/v1/changes", as_set(json!({"name": "web"}))).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("is brought by the git source fleet"), "{refused}");
    let number = source["change"].clone();
    let (_, change) = admin.get(&format!("/api/v1/changes/{number}")).await;
    assert_eq!((&change["state"], &change["author"]), (&json!("planned"), &json!("source:fleet of admin")), "{change}");
    let again = sync(&admin, false).await;
    assert_eq!(again["change"], number, "the same is not proposed twice: {again}");

    let source = set(&admin, json!({"mode": "apply", "prune": true})).await;
    assert_eq!((&source["state"], &source["counts"]["same"]), (&json!("synced"), &json!(2)), "{source}");
    let (_, first) = admin.get(&format!("/api/v1/changes/{number}")).await;
    assert_eq!(first["state"], "abandoned", "what was proposed is not left over: {first}");
    let all = objects(&admin).await;
    let id = all[0]["id"].as_str().expect("an id").to_owned();
    let (_, revisions) = admin.get(&format!("/api/v1/objects/{id}/revisions")).await;
    let head = world.repository.head();
    let reason = revisions["items"][0]["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, format!("source fleet: commit {} by Ann Author: two files", &head[..12]));
    let (_, from) = admin.get(&format!("/api/v1/objects/{id}/sources")).await;
    assert_eq!((&from[0]["file"], &from[0]["commit"]), (&json!("a.toml"), &json!(head)), "{from}");
    assert!(from[0].get("what").is_none(), "{from}");

    // Somebody edits a in the dashboard; git says something new of b.
    let spec =
        json!({"name": "a", "scope": "role:app", "body": {"kind": "file", "path": "/etc/a", "content": "by hand"}});
    let (status, _) = admin.send("POST", "/api/v1/changes", json!({"drafts": [{"put": spec}], "apply": true})).await;
    assert_eq!(status, 201);
    world.repository.commit("b", &[("sub/b.toml", &file("b", "2"))]);
    let source = sync(&admin, false).await;
    assert_eq!((&source["state"], &source["counts"]["edited"]), (&json!("differs"), &json!(1)), "{source}");
    let d = &source["differences"][0];
    assert_eq!((&d["what"], &d["by"], &d["is_pending"]), (&json!("edited"), &json!("admin"), &json!(false)), "{d}");
    assert!(d["diff"].as_str().is_some_and(|t| t.contains("-content = \"by hand\"") && t.contains("+content = \"1\"")));
    let source = sync(&admin, true).await;
    assert_eq!((&source["state"], &source["counts"]["same"]), (&json!("synced"), &json!(2)), "{source}");

    // Git drops b, which the source brought; what it did not bring stays.
    let foreign = json!({"name": "foreign", "scope": "role:app", "body": {"kind": "file", "path": "/etc/foreign", "content": "x"}});
    admin.send("POST", "/api/v1/changes", json!({"drafts": [{"put": foreign}], "apply": true})).await;
    world.repository.remove("without b", "sub/b.toml");
    let source = sync(&admin, false).await;
    assert_eq!(source["state"], "synced", "{source}");
    let names: Vec<Value> = objects(&admin).await.iter().map(|o| o["name"].clone()).collect();
    assert_eq!(names, [json!("a"), json!("foreign")]);
    let (_, audit) = admin.get("/api/v1/audit?act=source.&limit=100").await;
    let by_source = |e: &&Value| e["principal"] == "source:fleet of admin" && e["result"] == "done";
    assert_eq!(audit["items"].as_array().map(|a| a.iter().filter(by_source).count()), Some(3), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_name_file_and_line_and_nothing_is_taken() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    world.repository.commit("good", &[("a.toml", &file("a", "1"))]);
    let source = world.source(&admin, json!({"mode": "apply"})).await;
    assert_eq!(source["state"], "synced", "{source}");
    let check = |source: &Value, code: &str, text: &str| {
        let problem = &source["problem"];
        let words = problem.to_string();
        assert_eq!((&source["state"], &problem["code"]), (&json!("failed"), &json!(code)), "{source}");
        assert!(words.contains(text), "{text}: {words}");
        assert_eq!(source["counts"]["same"], 1, "what was read before stands: {source}");
    };
    world.repository.commit("odd", &[("b.toml", "[[file]]\nname = \"b\"\nscope = \"role:app\"\npaht = \"/etc/b\"\n")]);
    check(&sync(&admin, false).await, "manifest", "b.toml:4: ");
    let (_, overview) = admin.get("/api/v1/overview").await;
    let told = &overview["attention"][0];
    assert_eq!((&told["kind"], &told["link"]), (&json!("source_failed"), &json!("/sources/fleet")), "{overview}");
    assert!(told["text"].to_string().contains("the source fleet needs attention: b.toml:1: path"), "{overview}");
    world.repository.commit("outside", &[("b.toml", &file("b", "1").replace("role:app", "role:db"))]);
    check(&sync(&admin, false).await, "scope", "b.toml:1: scope \\\"role:db\\\": this source may touch role:app alone");
    world.repository.commit("tie", &[("b.toml", &(file("b", "1") + &file("c", "1").replace("/etc/c", "/etc/b")))]);
    check(&sync(&admin, false).await, "manifest", "on one scope a target belongs to one object");
    world.repository.commit("secret", &[("b.toml", "[[secret]]\nname = \"pw\"\nscope = \"role:app\"\n")]);
    let source = sync(&admin, false).await;
    assert!(source["problem"].to_string().contains("b.toml:1: "), "{source}");
    assert!(source["problem"].to_string().contains("has no value yet"), "{source}");
    world.repository.commit("big", &[("b.toml", &format!("# {}\n", "x".repeat(5 << 20)))]);
    check_text(&sync(&admin, false).await, "b.toml has ");

    // Links and submodules are passed over, and told; files beside manifests are read, but not through links.
    let beside = "[[file]]\nname = \"b\"\nscope = \"role:app\"\npath = \"/etc/b\"\nsource = \"files/b.conf\"\n";
    world.repository.commit("beside", &[("b.toml", beside), ("files/b.conf", "from git\n")]);
    let source = sync(&admin, false).await;
    assert_eq!((&source["state"], &source["counts"]["same"]), (&json!("synced"), &json!(2)), "{source}");
    world.repository.link("files/b.conf", "/etc/passwd");
    check_text(&sync(&admin, false).await, "is a symbolic link in the repository");
    world.repository.commit("beside again", &[("files/b.conf", "from git\n")]);
    world.repository.link("evil.toml", "/etc/passwd");
    let source = sync(&admin, false).await;
    assert_eq!(source["state"], "synced", "{source}");
    assert!(source["notes"].to_string().contains("evil.toml is a symbolic link: passed over"), "{source}");

    let many: Vec<(String, String)> = (0..10_001).map(|n| (format!("many/{n}.toml"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    world.repository.commit("many", &many);
    check_text(&sync(&admin, false).await, "at most 10000 are read");
    let source = set(&admin, json!({"folder": "files"})).await;
    let (_, overview) = admin.get("/api/v1/overview").await;
    let is_told = |a: &Value| a["kind"] == "source_failed";
    assert!(!overview["attention"].as_array().expect("a list").iter().any(is_told), "{overview}");
    assert!(source["notes"].to_string().contains("holds no objects"), "{source}");
    let source = set(&admin, json!({"folder": "nowhere"})).await;
    assert!(source["problem"].to_string().contains("has no folder nowhere"), "{source}");
    let source = set(&admin, json!({"branch": "nowhere"})).await;
    assert!(source["problem"].to_string().contains("the repository has no branch nowhere"), "{source}");
}

fn check_text(source: &Value, text: &str) {
    assert_eq!(source["state"], "failed", "{source}");
    assert!(source["problem"].to_string().contains(text), "{text}: {source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_signed_heads_are_taken_and_rewritten_history_waits() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    let repository = &world.repository;
    let (ann, eve) = (repository.key("ann"), repository.key("eve"));
    repository.commit_signed("signed", &[("a.toml", &file("a", "1"))], &ann);
    let first = repository.head();
    let signers = format!("ann@example.org {}", Repository::public(&ann));
    let source = world.source(&admin, json!({"mode": "apply", "allowed_signers": signers})).await;
    assert_eq!(
        (&source["state"], &source["commit"]["signed_by"]),
        (&json!("synced"), &json!("ann@example.org")),
        "{source}"
    );

    let refused = |source: &Value, text: &str| {
        assert_eq!(
            (&source["problem"]["code"], &source["commit"]["id"]),
            (&json!("signature"), &json!(first)),
            "{source}"
        );
        assert!(source["problem"].to_string().contains(text), "{text}: {source}");
    };
    repository.commit("unsigned", &[("a.toml", &file("a", "2"))]);
    refused(&sync(&admin, false).await, "is not signed");
    repository.commit_signed("unknown", &[("a.toml", &file("a", "3"))], &eve);
    refused(&sync(&admin, false).await, "isn't among the allowed signers");
    repository.tamper(&ann);
    refused(&sync(&admin, false).await, "the signature of commit");
    let (_, page) = admin.get("/api/v1/objects?kind=file").await;
    assert_eq!(page["items"][0]["revision"], 1, "nothing of it was taken");

    // A good head again, on top.
    repository.commit_signed("good", &[("a.toml", &file("a", "4"))], &ann);
    let source = sync(&admin, false).await;
    assert_eq!(source["state"], "synced", "{source}");
    let good = repository.head();

    // History is rewritten: signed, and still not taken.
    repository.reset(&first);
    repository.commit_signed("rewritten", &[("a.toml", &file("a", "5"))], &ann);
    let head = repository.head();
    let source = sync(&admin, false).await;
    assert_eq!((&source["state"], &source["refused"]["id"]), (&json!("rewritten"), &json!(head)), "{source}");
    assert_eq!(source["commit"]["id"], json!(good), "{source}");
    // Back to an older head is rewritten history too.
    repository.reset(&first);
    assert_eq!(sync(&admin, false).await["refused"]["id"], json!(first));
    let (status, problem) =
        admin.send("POST", "/api/v1/sources/fleet/accept", json!({"commit": head, "reason": "looked"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "only what is there can be accepted: {problem}");
    repository.reset(&head);
    assert_eq!(sync(&admin, false).await["refused"]["id"], json!(head));
    let (status, accepted) =
        admin.send("POST", "/api/v1/sources/fleet/accept", json!({"commit": head, "reason": "looked"})).await;
    assert_eq!(status, 200, "{accepted}");
    let source = settled(&admin).await;
    assert_eq!((&source["state"], &source["commit"]["id"]), (&json!("synced"), &json!(head)), "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_and_freezes_hold_and_declined_is_not_asked_again() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    world.node("web-1", "app").await;
    admin.make("operator").await;
    let operator = world.controller.sign_in("operator").await;
    let (status, protected) =
        admin.send("POST", "/api/v1/protections", json!({"scope": "role:app", "reason": "live"})).await;
    assert_eq!(status, 201, "{protected}");
    world.repository.commit("first", &[("a.toml", &file("a", "1"))]);
    let source = world.source(&admin, json!({"mode": "apply"})).await;
    assert!(
        source["why"].as_str().is_some_and(|w| w.contains("needs an approval") || w.contains("could not be asked")),
        "{source}"
    );
    let source = set(&admin, json!({"allow_unplanned": true})).await;
    assert_eq!(source["state"], "waiting", "{source}");
    assert!(source["why"].as_str().is_some_and(|w| w.contains("role:app is protected (live)")), "{source}");
    let (_, change) = admin.get(&format!("/api/v1/changes/{}", source["change"])).await;
    let approve = |change: &Value| {
        (format!("/api/v1/changes/{}/approve", change["number"]), json!({"plan": change["plan"]["digest"]}))
    };
    let (path, body) = approve(&change);
    let (status, problem) = admin.send("POST", &path, body.clone()).await;
    assert_eq!((status, &problem["code"]), (403, &json!("approval.own")), "who set it up made it: {problem}");
    assert_eq!(operator.send("POST", &path, body).await.0, 200);
    let source = until(&admin, "synced").await;
    assert_eq!(source["counts"]["same"], 1, "{source}");

    // A freeze holds what comes next, for as long as it stands; nothing is approved meanwhile.
    let id = protected["id"].as_str().expect("an id");
    assert_eq!(admin.send("DELETE", &format!("/api/v1/protections/{id}"), json!({})).await.0, 204);
    let frozen = json!({"scope": "role:app", "until": clock::now().plus_ms(3_600_000), "reason": "sale"});
    let (_, freeze) = admin.send("POST", "/api/v1/freezes", frozen).await;
    world.repository.commit("second", &[("a.toml", &file("a", "2"))]);
    let source = sync(&admin, false).await;
    assert!(source["why"].as_str().is_some_and(|w| w.contains("is frozen until")), "{source}");
    let end = format!("/api/v1/freezes/{}/end", freeze["id"].as_str().expect("an id"));
    assert_eq!(admin.send("POST", &end, json!({})).await.0, 200);
    until(&admin, "synced").await;

    // Somebody drops what was proposed: it is a difference, and not proposed again before git says something new.
    set(&admin, json!({"mode": "propose"})).await;
    world.repository.commit("third", &[("a.toml", &file("a", "3"))]);
    let source = sync(&admin, false).await;
    assert_eq!(source["state"], "waiting", "{source}");
    let abandon = format!("/api/v1/changes/{}/abandon", source["change"]);
    assert_eq!(operator.send("POST", &abandon, json!({})).await.0, 204);
    let source = sync(&admin, false).await;
    assert_eq!((&source["state"], source.get("change")), (&json!("differs"), None), "{source}");
    assert_eq!(source["differences"][0]["is_pending"], false, "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_may_no_more_than_who_set_it_up() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    let user = json!({"login": "eve", "preset": "none", "password": PASSWORD});
    assert_eq!(admin.send("POST", "/api/v1/users", user).await.0, 201);
    let grant = json!({"subject": "user:eve", "actions": "view,change", "scope": "role:app"});
    let (_, grant) = admin.send("POST", "/api/v1/grants", grant).await;
    let eve = world.controller.sign_in("eve").await;
    for scope in ["fleet", "role:db"] {
        let body = json!({"name": "wide", "url": world.repository.url(), "scope": scope});
        let (status, problem) = eve.send("POST", "/api/v1/sources", body).await;
        assert_eq!(status, 403, "{scope}: {problem}");
    }
    world.repository.commit("first", &[("a.toml", &file("a", "1"))]);
    let source = world.source(&eve, json!({"mode": "apply"})).await;
    assert_eq!((&source["state"], &source["owner"]), (&json!("synced"), &json!("eve")), "{source}");
    // A secret needs another permission, which she hasn't.
    let secret = "[[secret]]\nname = \"pw\"\nscope = \"role:app\"\ndescription = \"of git\"\n";
    let body = json!({"name": "pw", "scope": "role:app", "value": "hunter2hunter2", "apply": true});
    assert_eq!(admin.send("POST", "/api/v1/secrets", body).await.0, 201);
    world.repository.commit("secret", &[("pw.toml", secret)]);
    let source = sync(&eve, false).await;
    assert_eq!(source["problem"]["code"], "rights", "{source}");
    assert!(!source.to_string().contains("hunter2"), "{source}");
    world.repository.remove("without", "pw.toml");
    assert_eq!(sync(&eve, false).await["state"], "synced");

    let id = grant["id"].as_str().expect("an id");
    assert_eq!(admin.send("DELETE", &format!("/api/v1/grants/{id}"), json!({})).await.0, 204);
    world.repository.commit("second", &[("a.toml", &file("a", "2"))]);
    let source = sync(&admin, false).await;
    assert_eq!((&source["state"], &source["problem"]["code"]), (&json!("failed"), &json!("rights")), "{source}");
    let (_, page) = admin.get("/api/v1/objects?kind=file").await;
    assert_eq!(page["items"][0]["revision"], 1, "nothing was brought");
    // Somebody takes it over.
    let source = set(&admin, json!({"reason": "mine from here on"})).await;
    assert_eq!((&source["state"], &source["owner"]), (&json!("synced"), &json!("admin")), "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_judged_and_credentials_never_come_out() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    let send = |body: Value| admin.send("POST", "/api/v1/sources", body);
    for (url, pointer) in [
        ("https://10.0.0.1/x.git", "/url"),
        ("https://169.254.169.254/x.git", "/url"),
        ("ssh://git@192.168.1.1/x.git", "/url"),
        ("file:///etc", "/url"),
        ("--upload-pack=x", "/url"),
    ] {
        let (status, problem) = send(json!({"name": "x", "url": url, "scope": "fleet"})).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!(pointer)), "{url}: {problem}");
    }
    for (more, pointer) in [
        (json!({"interval_secs": 5}), "/interval_secs"),
        (json!({"branch": "a", "tag": "b"}), "/tag"),
        (json!({"branch": "-x"}), "/branch"),
        (json!({"folder": "../x"}), "/folder"),
        (json!({"host_keys": ["nonsense"]}), "/host_keys"),
        (json!({"allowed_signers": "ann@example.org"}), "/allowed_signers"),
        (json!({"scope": "node:nobody"}), "/scope"),
    ] {
        let mut body = json!({"name": "x", "url": "ssh://git@127.0.0.1/x.git", "scope": "fleet"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let (status, problem) = send(body).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }
    // A server that takes the connection and says nothing: the look ends by its limit, and the token is told nowhere.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let body = json!({
        "name": "fleet", "url": format!("https://127.0.0.1:{port}/x.git"), "scope": "role:app",
        "credential": {"user": "bot", "secret": "canary-token-1234"},
    });
    let (status, made) = send(body).await;
    assert_eq!((status, &made["has_credential"]), (201, &json!(true)), "{made}");
    let (held, _) = listener.accept().await.expect("git connects to the address that was judged");
    let (status, gone) = admin.send("POST", "/api/v1/sources/fleet/sync", json!({})).await;
    assert_eq!((status, &gone["is_syncing"]), (200, &json!(true)), "{gone}");
    drop(held);
    drop(listener);
    let source = settled(&admin).await;
    assert_eq!((&source["state"], &source["problem"]["code"]), (&json!("failed"), &json!("fetch")), "{source}");
    for path in ["/api/v1/sources", "/api/v1/sources/fleet", "/api/v1/audit?limit=100", "/api/v1/activity"] {
        let (_, body) = admin.get(path).await;
        assert!(!body.to_string().contains("canary"), "{path}: {body}");
    }
    // Another repository gets nothing of the credential.
    let moved = set(&admin, json!({"url": world.repository.url()})).await;
    assert_eq!(moved["has_credential"], false, "{moved}");
    assert_eq!(admin.send("DELETE", "/api/v1/sources/fleet", json!({"reason": "done"})).await.0, 204);
    assert_eq!(admin.get("/api/v1/sources/fleet").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_do_not_fight_over_an_object_and_two_looks_make_one_change() {
    let world = World::start().await;
    let admin = world.controller.set_up().await;
    world.repository.commit("first", &[("a.toml", &file("a", "1"))]);
    world.source(&admin, json!({"mode": "apply"})).await;
    let body = json!({"name": "other", "url": world.repository.url(), "scope": "role:app", "mode": "apply"});
    assert_eq!(admin.send("POST", "/api/v1/sources", body).await.0, 201);
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    let other = loop {
        let (_, other) = admin.get("/api/v1/sources/other").await;
        if other["state"] != "new" && other["is_syncing"] == false {
            break other;
        }
        assert!(tokio::time::Instant::now() < limit, "{other}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        other["problem"].to_string().contains("a.toml:1: file a (role:app) is brought by the source fleet too"),
        "{other}"
    );

    world.repository.commit("second", &[("a.toml", &file("a", "2"))]);
    let id: SourceId = other_id(&admin, "fleet").await;
    let sources = &world.controller.app.sources;
    let looks = (0..4).map(|n| async move { sources.look(id, &format!("controller-{n}/1")).await });
    let (status, _) = admin.send("POST", "/api/v1/sources/fleet/sync", json!({})).await;
    assert_eq!(status, 200);
    futures_util::future::join_all(looks).await;
    let source = until(&admin, "synced").await;
    assert_eq!(source["counts"]["same"], 1);
    // The list is one read: a change that is gone meanwhile is no open one, and hides no source.
    let gone: lampas_shared::id::ChangeId = random::new_id();
    let write = world.controller.app.db.write(|mut tx: Tx| async move {
        let sql = "UPDATE source SET change_id = ? WHERE name = 'fleet'";
        sqlx::query(sql).bind(gone.to_string()).execute(tx.conn()).await?;
        Ok::<_, crate::db::DbError>(tx.done(()))
    });
    write.await.expect("is written");
    let (status, list) = admin.get("/api/v1/sources").await;
    assert_eq!((status, list.as_array().map(Vec::len)), (200, Some(2)), "{list}");
    assert!(list[0].get("change").is_none(), "{list}");
    let (_, changes) = admin.get("/api/v1/changes").await;
    assert_eq!(changes["items"].as_array().map(Vec::len), Some(2), "one change for each commit: {changes}");
}

async fn other_id(by: &Browser<'_>, name: &str) -> SourceId {
    let (_, source) = by.get(&format!("/api/v1/sources/{name}")).await;
    source["id"].as_str().expect("an id").parse().expect("an id")
}
