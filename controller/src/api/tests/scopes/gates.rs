//! The gates of rollouts run in the controller's name: whoever orders them must be allowed to run what they run, there.

use super::*;

fn asked(gate: Value) -> Value {
    let mut wanted = change(&[job("hello", "role:app", "date -I")], true);
    wanted["rollout"] = json!({"waves": ["1"], "gates": [gate]});
    wanted
}

#[tokio::test]
async fn gates_run_where_who_orders_them_may_run() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    controller.node("web-2", "app").await;
    let eve = of_app(&controller, &admin).await;
    admin.user("carl", "none").await;
    admin.granted("user:carl", "view,change", "role:app").await;
    let carl = controller.sign_in("carl").await;
    let here = || json!({"command": ["/bin/true"], "user": "root"});
    let there = || json!({"command": ["/bin/true"], "user": "root", "from": "db-1"});
    let probe = || json!({"probe": {"what": {"kind": "tcp", "port": 22}}, "from": "db-1"});
    for (who, gate, what) in [
        (&eve, there(), "a node of another role"),
        (&eve, probe(), "a question to another node"),
        (&carl, here(), "changes alone"),
        (&carl, there(), "neither here nor there"),
    ] {
        let (status, problem) = who.send("POST", "/api/v1/changes", asked(gate)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{what}: {problem}");
        assert!(text(&problem["detail"]).contains("lacks the permission run"), "{what}: {problem}");
    }
    // Not by the schedule either.
    let (status, plan) =
        carl.send("POST", "/api/v1/changes", change(&[job("hello", "role:app", "date -I")], false)).await;
    assert_eq!(status, 201, "{plan}");
    let at = lampas_runtime::clock::now().plus_ms(3_600_000);
    let later = json!({"plan": plan["plan"]["id"], "allow_unplanned": true, "at": at,
        "rollout": {"waves": ["1"], "gates": [here()]}});
    let (status, problem) = carl.send("POST", &format!("/api/v1/changes/{}/apply", plan["number"]), later).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{problem}");
    let (status, made) = eve.send("POST", "/api/v1/changes", asked(here())).await;
    assert_eq!((status, &made["state"]), (201, &json!("rolling")), "{made}");
}
