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
