//! Nodes come, change and go; every moment between says how they stood.

use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Browser, Controller},
    db::Tx,
    fleet::{self, NewNode},
};

async fn node(db: &Db, name: &str) {
    let new = &NewNode::fresh(name, &["app"]);
    let created = db.write(|mut tx: Tx| async move {
        fleet::create(&mut tx, new).await?;
        crate::db::row::draw(&mut tx, "state", 1).await?;
        Ok::<_, fleet::FleetError>(tx.done(()))
    });
    created.await.expect("is made");
}

async fn execute(db: &Db, sql: &'static str) {
    let done = db.write(|mut tx: Tx| async move {
        sqlx::query(sql).execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    done.await.expect(sql);
}

async fn at(browser: &Browser<'_>, path: &str, at: UnixMs) -> Value {
    let (status, past) = browser.get(&format!("{path}?at={at}")).await;
    assert_eq!(status, 200, "{past}");
    past
}

#[tokio::test]
async fn every_moment_says_how_nodes_stood() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let db = &controller.app.db;
    // Hours ago, so that nothing that happens meanwhile by itself stands between.
    let [before, first, second, third] = [6, 5, 4, 3].map(|hours| clock::now().plus_ms(-hours * 3_600_000));
    node(db, "web-1").await;
    node(db, "web-2").await;
    execute(db, "DELETE FROM node_past").await;
    assert_eq!(look(db, first).await.expect("looks"), 2);
    assert_eq!(look(db, first.plus_ms(1)).await.expect("looks"), 0, "nothing changed");
    execute(db, "UPDATE node SET state = 'online' WHERE name = 'web-1'").await;
    assert_eq!(look(db, second).await.expect("looks"), 1);
    execute(db, "UPDATE node SET revoked_ms = 1 WHERE name = 'web-2'").await;
    assert_eq!(look(db, third).await.expect("looks"), 1);

    let online = |past: &Value| (past["counts"]["nodes"].clone(), past["counts"]["online"].clone());
    let fleet = at(&admin, "/api/v1/past", before).await;
    assert_eq!(online(&fleet), (json!(0), json!(0)));
    assert_eq!(fleet["kept_since"], json!(first.to_string()));
    for (moment, nodes, heard) in [(first, 2, 0), (second.plus_ms(-1), 2, 0), (second, 2, 1), (third, 1, 1)] {
        assert_eq!(online(&at(&admin, "/api/v1/past", moment).await), (json!(nodes), json!(heard)), "{moment}");
    }
    let map = at(&admin, "/api/v1/past", second).await["map"].clone();
    assert_eq!(map.as_array().map(Vec::len), Some(2), "{map}");

    let past = at(&admin, "/api/v1/nodes/web-1/past", first).await;
    let stood = &past["stood"];
    assert_eq!((&stood["state"], &stood["until"]), (&json!("offline"), &json!(second.to_string())), "{past}");
    assert_eq!(stood["roles"], json!(["app"]));
    let past = at(&admin, "/api/v1/nodes/web-1/past", third).await;
    assert_eq!((&past["stood"]["state"], &past["stood"]["until"]), (&json!("online"), &Value::Null), "{past}");
    assert!(at(&admin, "/api/v1/nodes/web-1/past", before).await["stood"].is_null());

    let (status, ahead) = admin.get(&format!("/api/v1/past?at={}", clock::now().plus_ms(3_600_000))).await;
    assert_eq!(status, 422, "{ahead}");
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_rest_begins_there() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let db = &controller.app.db;
    let [first, second, third] = [5, 4, 3].map(|hours| clock::now().plus_ms(-hours * 3_600_000));
    node(db, "web-1").await;
    execute(db, "DELETE FROM node_past").await;
    look(db, first).await.expect("looks");
    execute(db, "UPDATE node SET state = 'online'").await;
    look(db, second).await.expect("looks");
    let pruned = db.write(|mut tx: Tx| async move {
        let gone = prune(&mut tx, third).await?;
        Ok::<_, DbError>(tx.done(gone))
    });
    assert_eq!(pruned.await.expect("prunes"), 1);
    assert_eq!(at(&admin, "/api/v1/past", first).await["kept_since"], json!(third.to_string()));
    assert_eq!(at(&admin, "/api/v1/past", third).await["counts"]["online"], json!(1));
}

fn verbs(diff: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    diff["nodes"].as_array().into_iter().flatten().map(|n| (text(&n["name"]), text(&n["verb"]))).collect()
}

#[tokio::test]
async fn two_moments_say_what_came_changed_and_went() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let db = &controller.app.db;
    let [before, first, second, third] = [6, 5, 4, 3].map(|hours| clock::now().plus_ms(-hours * 3_600_000));
    node(db, "web-1").await;
    node(db, "web-2").await;
    execute(db, "DELETE FROM node_past").await;
    look(db, first).await.expect("looks");
    execute(db, "UPDATE node SET state = 'online' WHERE name = 'web-1'").await;
    execute(db, "UPDATE node SET revoked_ms = 1 WHERE name = 'web-2'").await;
    node(db, "web-3").await;
    look(db, second).await.expect("looks");
    execute(db, "DELETE FROM node_role").await;
    look(db, third).await.expect("looks");
    // Objects of the role and of one node, as of moments that lie as far back.
    let job = |scope: &str, name: &str| json!({"put": {"name": name, "scope": scope, "body": {"kind": "cron", "schedule": "@daily", "user": "www-data", "command": "date"}}});
    let wanted =
        json!({"drafts": [job("role:app", "hello"), job("node:web-1", "own")], "apply": true, "allow_unplanned": true});
    let (status, made) = admin.send("POST", "/api/v1/changes", wanted).await;
    assert_eq!(status, 201, "{made}");
    let at_ms = second.0;
    let aged = db.write(|mut tx: Tx| async move {
        sqlx::query("UPDATE revision SET at_ms = ?").bind(at_ms).execute(tx.conn()).await?;
        sqlx::query("UPDATE changes SET applied_ms = ?").bind(at_ms).execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    aged.await.expect("aged");
    let diff = async |query: String| {
        let (status, diff) = admin.get(&format!("/api/v1/past/diff?{query}")).await;
        assert_eq!(status, 200, "{query}: {diff}");
        diff
    };
    let pair = |name: &str, verb: &str| (name.to_owned(), verb.to_owned());
    let all = diff(format!("from={first}&to={second}")).await;
    assert_eq!(verbs(&all), [pair("web-1", "changed"), pair("web-2", "went"), pair("web-3", "came")], "{all}");
    assert_eq!(all["nodes"][0]["changed"], json!(["state"]), "{all}");
    assert_eq!(all["objects"].as_array().map(Vec::len), Some(2), "{all}");
    let unknown = diff(format!("from={before}&to={second}")).await;
    assert_eq!((&unknown["nodes_known"], &unknown["nodes"]), (&json!(false), &json!([])), "nothing is guessed");
    assert_eq!((&unknown["objects_known"], unknown["objects"].as_array().map(Vec::len)), (&json!(true), Some(2)));

    let role = diff(format!("from={second}&to={third}&role=app")).await;
    assert_eq!(verbs(&role), [pair("web-1", "went"), pair("web-3", "went")], "out of the role: {role}");
    assert_eq!((&role["objects_unchanged"], &role["objects"]), (&json!(1), &json!([])), "{role}");
    let node = diff(format!("from={first}&to={second}&node=web-1")).await;
    let names =
        |d: &Value| d["objects"].as_array().into_iter().flatten().map(|o| o["key"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&node), [json!("hello"), json!("own")], "{node}");
    // Out of the role, its object holds the node no longer, though the object stands.
    let node = diff(format!("from={second}&to={third}&node=web-1")).await;
    assert_eq!((names(&node), &node["objects"][0]["verb"]), (vec![json!("hello")], &json!("delete")), "{node}");
    let gone = diff(format!("from={first}&to={second}&node=web-2")).await;
    assert_eq!(verbs(&gone), [pair("web-2", "went")]);
    let blind = diff(format!("from={before}&to={second}&node=web-1")).await;
    assert_eq!((&blind["objects_known"], &blind["objects"]), (&json!(false), &json!([])));

    let past = at(&admin, "/api/v1/roles/app/past", second).await;
    let members: Vec<&Value> = past["members"].as_array().into_iter().flatten().map(|m| &m["name"]).collect();
    assert_eq!(members, [&json!("web-1"), &json!("web-3")], "{past}");
    assert_eq!(
        (&past["objects"][0]["key"]["name"], past["changes"].as_array().map(Vec::len)),
        (&json!("hello"), Some(1))
    );
    assert_eq!(at(&admin, "/api/v1/roles/app/past", third).await["members"], json!([]));
    assert_eq!(at(&admin, "/api/v1/nodes/web-1/past", second).await["objects"].as_array().map(Vec::len), Some(2));
    // A scope that names a node holds it under each name that it ever had.
    let (status, renamed) = admin.send("PATCH", "/api/v1/nodes/web-1", json!({"name": "web-9"})).await;
    assert_eq!(status, 200, "{renamed}");
    assert_eq!(at(&admin, "/api/v1/nodes/web-9/past", second).await["objects"].as_array().map(Vec::len), Some(2));

    for (query, field) in [
        (format!("from={second}&to={first}"), "/from"),
        (format!("from={first}&to={}", clock::now().plus_ms(3_600_000)), "/to"),
        (format!("from={first}&role=app&node=web-9"), "/node"),
    ] {
        let (status, problem) = admin.get(&format!("/api/v1/past/diff?{query}")).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!(field)), "{problem}");
    }
    assert_eq!(admin.get(&format!("/api/v1/past/diff?from={first}&node=web-77")).await.0, 404);
}
