//! What stands in the way of who may a lot: guards of nodes without a reason, keys of other requests, reserved names.

use super::*;

#[tokio::test]
async fn a_guarded_node_is_edited_with_a_reason_alone() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    let guard = json!({"scope": "role:app", "reason": "customers' data"});
    assert_eq!(admin.send("POST", "/api/v1/protections", guard).await.0, 201);
    admin.user("carol", "none").await;
    admin.granted("user:carol", "view,change,manage_nodes", "fleet").await;
    let carol = controller.sign_in("carol").await;
    let edit = |why: Value| json!({"roles": ["db"], "override_reason": why});
    for (who, why, code) in
        [(&admin, Value::Null, "node.guarded"), (&admin, json!(" "), "invalid"), (&carol, json!("mine"), "forbidden")]
    {
        let (_, problem) = who.send("PATCH", "/api/v1/nodes/web-1", edit(why)).await;
        assert_eq!(problem["code"], code, "{problem}");
    }
    let (status, node) = admin.send("PATCH", "/api/v1/nodes/web-1", edit(json!("it burns"))).await;
    assert_eq!((status, &node["roles"]), (200, &json!(["db"])), "{node}");
    let (_, audit) = admin.get("/api/v1/audit?act=node.override_protection").await;
    let noted = &audit["items"][0];
    assert_eq!((&noted["object"], &noted["reason"]), (&json!("web-1"), &json!("it burns")), "{audit}");
}

#[tokio::test]
async fn who_is_named_on_guarded_nodes_leaves_with_a_reason_alone() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    for (name, address) in [("db-1", "192.0.2.21"), ("db-2", "192.0.2.22")] {
        controller.node(name, "db").await;
        let (status, node) = admin.send("PATCH", &format!("/api/v1/nodes/{name}"), json!({"address": address})).await;
        assert_eq!(status, 200, "{node}");
    }
    let lines = json!({"name": "dbs", "scope": "role:app", "body": {"kind": "hosts", "nodes": "role:db"}});
    assert_eq!(admin.send("POST", "/api/v1/changes", change(&[lines], true)).await.0, 201);
    let count = async || {
        let (_, page) = admin.get("/api/v1/nodes/web-1/resources").await;
        page["total"].clone()
    };
    admin.user("carol", "operator").await;
    let carol = controller.sign_in("carol").await;
    admin.user("dora", "none").await;
    admin.granted("user:dora", "view,manage_nodes", "role:db").await;
    let dora = controller.sign_in("dora").await;
    let (_, problem) = dora.send("DELETE", "/api/v1/nodes/db-1", json!({})).await;
    assert_eq!(problem["code"], "forbidden", "the lines are of nodes that are not dora's: {problem}");
    let guard = json!({"scope": "role:app", "reason": "customers' data"});
    assert_eq!(admin.send("POST", "/api/v1/protections", guard).await.0, 201);
    let eject = |why: Value| json!({"confirm": "db-1", "override_reason": why});
    let (one, its_eject) = ("/api/v1/nodes/db-1", "/api/v1/nodes/db-1/eject");
    for (who, why, code) in [
        (&carol, Value::Null, "node.guarded"),
        (&admin, Value::Null, "node.guarded"),
        (&carol, json!("mine"), "forbidden"),
        // Past the guards it is asked for, and is not connected.
        (&admin, json!("it burns"), "link.offline"),
    ] {
        let (_, problem) = who.send("POST", its_eject, eject(why)).await;
        assert_eq!(problem["code"], code, "{problem}");
    }
    let (_, problem) = carol.send("DELETE", one, json!({})).await;
    assert_eq!(problem["code"], "node.guarded", "{problem}");
    assert_eq!(count().await, 2);
    let (status, answer) = carol.send("POST", "/api/v1/nodes/db-2/revoke", json!({})).await;
    assert_eq!((status, &answer["named_on"]), (200, &json!(["web-1"])), "{answer}");
    assert_eq!(count().await, 2, "its line stays");
    let over = json!({"reason": "gone", "override_reason": "it burns"});
    assert_eq!(admin.send("DELETE", "/api/v1/nodes/db-2", over).await.0, 204);
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn a_key_is_of_one_request() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    controller.node("db-1", "db").await;
    let begin = async |on: &str| {
        let request = admin.request("POST", "/api/v1/operations").header("idempotency-key", "k1");
        answer(request.json(&command(&[on]))).await
    };
    let (status, first) = begin("role:app").await;
    assert_eq!(status, 201, "{first}");
    let (status, again) = begin("role:app").await;
    assert_eq!((status, &again["summary"]["number"]), (201, &first["summary"]["number"]), "{again}");
    let (_, other) = begin("role:db").await;
    assert_eq!(other["code"], "idempotency.reused", "{other}");
}

#[tokio::test]
async fn nobody_is_called_like_the_controller() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    for login in ["system", "controller", "anonymous"] {
        let user = json!({"login": login, "preset": "viewer", "password": PASSWORD});
        let (status, problem) = admin.send("POST", "/api/v1/users", user).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/login")), "{problem}");
    }
}
