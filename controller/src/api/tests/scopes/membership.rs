//! Who has one role, and the nodes that come to it or leave it.

use super::*;

#[tokio::test]
async fn who_has_one_role_leads_nodes_nowhere_else() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    let (status, _) =
        admin.send("POST", "/api/v1/changes", change(&[job("prodonly", "label:env=prod", "date")], true)).await;
    assert_eq!(status, 201);
    let edit = |node: &str, set: Value| json!({"node_edits": [{"node": node, "set": set}]});
    for (node, set) in [
        ("db-1", json!({"labels": {"rack": "7"}})),
        ("web-1", json!({"roles": ["app", "db"]})),
        ("web-1", json!({"roles": ["app", "new"]})),
        ("web-1", json!({"labels": {"env": "prod"}})),
    ] {
        let (status, problem) = eve.send("POST", "/api/v1/changes", edit(node, set.clone())).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{node} {set}: {problem}");
        let (status, problem) = eve.send("PATCH", &format!("/api/v1/nodes/{node}"), set.clone()).await;
        assert!([403, 404].contains(&status), "{node} {set}: {problem}");
    }
    let (status, made) = eve.send("POST", "/api/v1/changes", edit("web-1", json!({"labels": {"rack": "7"}}))).await;
    assert_eq!((status, &made["title"]), (201, &json!("node web-1")), "{made}");
    let diff = text(&made["node_edits"][0]["diff"]);
    assert!(diff.contains("+label = rack=7"), "{diff}");
    let path = format!("/api/v1/changes/{}/apply", made["number"]);
    let (status, applied) = eve.send("POST", &path, json!({"plan": made["plan"]["id"]})).await;
    assert_eq!((status, &applied["state"]), (200, &json!("done")), "{applied}");
    let (_, node) = eve.get("/api/v1/nodes/web-1").await;
    assert_eq!(node["labels"], json!({"rack": "7"}));
    // What an administrator edits elsewhere is not hers to see.
    let (status, theirs) = admin.send("POST", "/api/v1/changes", edit("db-1", json!({"labels": {"rack": "8"}}))).await;
    assert_eq!(status, 201, "{theirs}");
    assert_eq!(eve.get(&format!("/api/v1/changes/{}", theirs["number"])).await.0, 404);
    let (_, listed) = eve.get("/api/v1/changes?scope=node:web-1").await;
    assert_eq!(listed["items"][0]["number"], made["number"], "{listed}");
}

#[tokio::test]
async fn who_has_one_role_makes_tokens_for_that_role() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    for wanted in [
        json!({}),
        json!({"roles": ["db"]}),
        json!({"roles": ["app", "db"]}),
        json!({"roles": ["app"], "labels": {"env": "prod"}}),
        json!({"node": "db-1"}),
        json!({"node": "web-1", "roles": ["app"]}),
    ] {
        let (status, problem) = eve.send("POST", "/api/v1/enrolment-tokens", wanted.clone()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{wanted}: {problem}");
        assert!(text(&problem["detail"]).contains("manage_nodes"), "{problem}");
    }
    let (status, made) = eve.send("POST", "/api/v1/enrolment-tokens", json!({"roles": ["app"]})).await;
    assert_eq!(status, 201, "{made}");
    let (status, _) = eve.send("POST", "/api/v1/enrolment-tokens", json!({"node": "web-1"})).await;
    assert_eq!(status, 201, "a node of hers comes back");
    let own = text(&made["token"]["id"]);
    let (_, listed) = eve.get("/api/v1/enrolment-tokens").await;
    assert_eq!(listed["total"], 2, "her own alone: {listed}");
    let (_, all) = admin.get("/api/v1/enrolment-tokens").await;
    assert_eq!(all["total"], 3, "{all}");
    let path = format!("/api/v1/enrolment-tokens/{own}");
    assert_eq!(eve.get(&path).await.1["state"], "waiting");
    // Another of the same role sees and withdraws her own alone.
    admin.user("ivy", "none").await;
    admin.granted("user:ivy", "administrator", "role:app").await;
    let ivy = controller.sign_in("ivy").await;
    assert_eq!(ivy.get(&path).await.0, 404);
    assert_eq!(ivy.send("DELETE", &path, json!({})).await.0, 404);
    assert_eq!(eve.send("DELETE", &path, json!({})).await.0, 204);
    assert_eq!(eve.get(&path).await.1["state"], "withdrawn");
}
