//! Sets of manifests: a name is used by who may change all that it stands for, and nobody else learns what that is.

use super::*;

fn with_set(mut change: Value, set: Value) -> Value {
    change["set"] = set;
    change
}

pub(super) fn drops(name: &str, scope: &str) -> Value {
    let drafts = json!([{"delete": {"kind": "cron", "scope": scope, "name": name}}]);
    json!({"drafts": drafts, "apply": true, "allow_unplanned": true, "reason": "a test"})
}

#[tokio::test]
async fn a_set_of_others_tells_and_gives_nothing() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    let mine = |set: Value| with_set(change(&[job("mine", "role:app", "date")], false), set);
    let nothing = |set: Value| with_set(change(&[], false), set);
    let theirs = |set: Value| with_set(change(&[job("dbonly", "role:db", "date")], false), set);
    let prunes = json!({"name": "dbonly", "prune": true, "allow_empty": true});
    for body in [
        mine(json!({"name": "dbonly"})),
        mine(json!({"name": "dbonly", "take": true})),
        mine(prunes.clone()),
        nothing(prunes),
        // What stands there, and in which set, is asked about by who may not change it.
        theirs(json!({"name": "other"})),
        theirs(json!({"name": "theirs"})),
    ] {
        let (status, problem) = eve.send("POST", "/api/v1/changes", body.clone()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{body}: {problem}");
        let told = text(&problem["detail"]).replace("on role:db", "").replace("the set of manifests dbonly", "");
        assert!(!ELSEWHERE.iter().any(|word| told.contains(word)) && !told.contains("theirs"), "{problem}");
    }
    let (status, made) = eve.send("POST", "/api/v1/changes", mine(json!({"name": "own"}))).await;
    assert_eq!(status, 201, "{made}");
    let gone = json!({"name": "nobody", "prune": true, "allow_empty": true});
    let (status, problem) = eve.send("POST", "/api/v1/changes", nothing(gone)).await;
    assert_eq!((status, &problem["code"]), (404, &json!("set.empty")), "{problem}");
    let names = |page: &Value| -> Vec<String> {
        page.as_array().into_iter().flatten().map(|s| format!("{} {}", text(&s["name"]), s["objects"])).collect()
    };
    assert_eq!(names(&admin.get("/api/v1/sets").await.1), ["dbonly 1"]);
    assert_eq!(names(&eve.get("/api/v1/sets").await.1), [""; 0]);
}

#[tokio::test]
async fn a_name_is_of_a_set_or_of_a_source() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let (status, problem) = admin.send("POST", "/api/v1/sources", source("dbonly")).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/name")), "{problem}");
    assert!(text(&problem["detail"]).contains("is a set of manifests"), "{problem}");
    let (status, problem) = admin.send("PATCH", "/api/v1/sources/theirs", json!({"name": "dbonly"})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/name")), "{problem}");
    // A draft of a set is nothing yet: the source gets the name, and the draft is refused where it would be applied.
    let draft = with_set(change(&[job("late", "role:db", "date")], false), json!({"name": "late"}));
    let (status, made) = admin.send("POST", "/api/v1/changes", draft).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(admin.send("POST", "/api/v1/sources", source("late")).await.0, 201);
    let path = format!("/api/v1/changes/{}/apply", made["number"]);
    let how = json!({"plan": made["plan"]["id"], "allow_unplanned": true});
    let (status, problem) = admin.send("POST", &path, how).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/set/name")), "{problem}");
    // An empty set is none.
    let brief = with_set(change(&[job("brief", "role:app", "date")], true), json!({"name": "brief"}));
    assert_eq!(admin.send("POST", "/api/v1/changes", brief).await.0, 201);
    assert_eq!(admin.send("POST", "/api/v1/sources", source("brief")).await.0, 422);
    assert_eq!(admin.send("POST", "/api/v1/changes", drops("brief", "role:app")).await.0, 201);
    let (status, made) = admin.send("POST", "/api/v1/sources", source("brief")).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn what_was_deleted_is_found_by_its_name() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    for name in ["one", "two"] {
        let made = admin.send("POST", "/api/v1/changes", change(&[job(name, "role:app", "date")], true)).await;
        assert_eq!(made.0, 201, "{}", made.1);
        assert_eq!(admin.send("POST", "/api/v1/changes", drops(name, "role:app")).await.0, 201);
    }
    let eve = of_app(&controller, &admin).await;
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().into_iter().flatten().map(|o| text(&o["name"])).collect()
    };
    let (_, page) = eve.get("/api/v1/objects/deleted?kind=cron&name=one&scope=role:app").await;
    assert_eq!(names(&page), ["one"], "{page}");
    let (status, object) = eve.get(&format!("/api/v1/objects/{}", text(&page["items"][0]["id"]))).await;
    assert_eq!((status, &object["is_deleted"]), (200, &json!(true)), "{object}");
    assert_eq!(names(&eve.get("/api/v1/objects/deleted").await.1), ["two", "one"], "the last one first");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = admin.get(&format!("/api/v1/objects/deleted?limit=1{after}")).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(seen, ["two", "one", "dbonlygone"]);
    // Made anew it stands.
    let made = admin.send("POST", "/api/v1/changes", change(&[job("one", "role:app", "date")], true)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    assert_eq!(names(&eve.get("/api/v1/objects/deleted").await.1), ["two"]);
}
