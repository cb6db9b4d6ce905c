//! Tests of what time alone makes due, and of what Overview says meanwhile.

use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Browser, Controller},
    db::Tx,
    fleet::{self, NewNode},
};

const KEEP: Keep = Keep { events_days: 400, runs_days: 90, drift_days: 90 };

async fn execute(db: &Db, sql: &'static str, value: i64) {
    let done = db.write(|mut tx: Tx| async move {
        sqlx::query(sql).bind(value).execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    done.await.expect(sql);
}

async fn attention(browser: &Browser<'_>) -> Vec<(String, String)> {
    let (status, overview) = browser.get("/api/v1/overview").await;
    assert_eq!(status, 200, "{overview}");
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let items = overview["attention"].as_array().expect("a list");
    items.iter().map(|i| (text(&i["kind"]), text(&i["text"]))).collect()
}

async fn node(db: &Db, name: &str) {
    let new = &NewNode::fresh(name, &[]);
    let created = db.write(|mut tx: Tx| async move {
        fleet::create(&mut tx, new).await?;
        Ok::<_, fleet::FleetError>(tx.done(()))
    });
    created.await.expect("is made");
}

#[tokio::test]
async fn plans_stop_nagging_after_a_day_and_are_given_up_after_a_week() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let (db, now) = (&controller.app.db, clock::now());
    let body = json!({"kind": "file", "path": "/etc/motd", "content": "x"});
    let draft = json!({"drafts": [{"put": {"name": "motd", "scope": "fleet", "body": body}}]});
    let (status, made) = admin.send("POST", "/api/v1/changes", draft).await;
    assert_eq!((status, &made["state"]), (201, &json!("planned")), "{made}");
    assert_eq!(attention(&admin).await[0].0, "plan_waiting");

    let created = "UPDATE changes SET created_ms = ?";
    execute(db, created, now.plus_ms(-25 * 3_600_000).0).await;
    assert_eq!(attention(&admin).await, [], "it is forgotten, not urgent");
    execute(db, "UPDATE changes SET updated_ms = ?", now.plus_ms(-6 * DAY_MS).0).await;
    pass(db, KEEP).await;
    assert_eq!(admin.get("/api/v1/changes/1").await.1["state"], "planned");
    execute(db, "UPDATE changes SET updated_ms = ?", now.plus_ms(-8 * DAY_MS).0).await;
    pass(db, KEEP).await;
    let (_, change) = admin.get("/api/v1/changes/1").await;
    assert_eq!(change["state"], "abandoned", "{change}");
    let (_, audit) = admin.get("/api/v1/audit?act=change.abandon").await;
    assert!(audit["items"][0].to_string().contains("nobody applied it"), "{audit}");
    let (status, problem) = admin.send("POST", "/api/v1/changes/1/apply", json!({"plan": change["plan"]["id"]})).await;
    assert_eq!(status, 409, "{problem}");
}

#[tokio::test]
async fn quarantine_and_certificates_near_their_end_need_attention() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let (db, now) = (&controller.app.db, clock::now());
    node(db, "web-1").await;
    execute(db, "UPDATE node SET state = 'online' WHERE ? = 0", 0).await;
    let certificate = "INSERT INTO certificate (serial, node, subject, issuer, fingerprint, not_before_ms, not_after_ms, \
                       issued_ms, reason) SELECT 's1', n.id, '', '', '', 0, ?, 0, '' FROM node n";
    execute(db, certificate, now.plus_ms(8 * DAY_MS).0).await;
    assert_eq!(attention(&admin).await, [], "eight days are enough");
    let ends = "UPDATE certificate SET not_after_ms = ?";
    execute(db, ends, now.plus_ms(6 * DAY_MS).0).await;
    let found = attention(&admin).await;
    assert_eq!(found[0].0, "certificate_expiring");
    assert!(found[0].1.contains("web-1"), "{found:?}");
    execute(db, ends, now.plus_ms(-1).0).await;
    assert!(attention(&admin).await[0].1.contains("ended"));
    execute(db, ends, now.plus_ms(20 * DAY_MS).0).await;

    let config = "INSERT INTO node_config (node, epoch, counter, hash, assigned_ms, reported_epoch, reported_counter, \
                  reported_hash, phase, state, took_ms, converged, total, resources) \
                  SELECT n.id, 1, ?, '', 0, 1, 7, '', 'quarantined', 'failed', 0, 0, 0, '[]' FROM node n";
    execute(db, "DELETE FROM node_config WHERE ? = 0", 0).await;
    execute(db, config, 7).await;
    let found = attention(&admin).await;
    assert_eq!(found.len(), 1, "not listed as failed besides: {found:?}");
    assert_eq!(found[0].0, "quarantined");
    assert!(found[0].1.contains("web-1") && found[0].1.contains("1.7"), "{found:?}");
}
