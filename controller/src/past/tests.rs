//! Nodes come, change and go; every moment between says how they stood.

use lampas_shared::fleet::NodeName;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Browser, Controller},
    db::Tx,
    fleet::{self, NewNode},
};

async fn node(db: &Db, name: &str) {
    let new = &NewNode {
        id: lampas_runtime::random::new_id(),
        name: NodeName::parse(name).expect("a name"),
        roles: vec![lampas_shared::fleet::RoleName::parse("app").expect("a role")],
        labels: std::collections::BTreeMap::new(),
        machine: String::new(),
        observed_address: None,
        at: clock::now(),
    };
    let created = db.write(|mut tx: Tx| async move {
        fleet::create(&mut tx, new).await?;
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
