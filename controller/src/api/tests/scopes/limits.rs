//! What is asked about the waves of a change is answered without the names of nodes that the caller may not see.

use super::*;

#[tokio::test]
async fn a_limit_that_meets_nobody_names_those_who_may_be_seen() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let eve = of_app(&controller, &admin).await;
    let (status, made) =
        admin.send("POST", "/api/v1/changes", change(&[job("everywhere", "fleet", "date -I")], false)).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/api/v1/changes/{}/waves", made["number"]);
    let asked = |limit: &str| json!({"limit": limit});
    let (status, problem) = eve.send("POST", &path, asked("role:cache")).await;
    assert_eq!(status, 422, "{problem}");
    let told = problem.to_string();
    assert!(told.contains("these are web-1 and 1 more") && !ELSEWHERE.iter().any(|w| told.contains(w)), "{told}");
    let (status, problem) = admin.send("POST", &path, asked("role:cache")).await;
    assert!(status == 422 && problem.to_string().contains("these are db-1, web-1"), "{problem}");
    // Where it meets somebody, those beyond are counted, and not named.
    let (status, waves) = eve.send("POST", &path, asked("role:app")).await;
    assert!(status == 200 && !ELSEWHERE.iter().any(|w| waves.to_string().contains(w)), "{waves}");
    assert_eq!((&waves[0]["count"], &waves[1]["count"], &waves[1]["is_beyond"]), (&1.into(), &1.into(), &true.into()));
}

#[tokio::test]
async fn who_waits_for_a_rollout_is_counted_and_named_as_far_as_seen() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let guarded = world(&controller, &admin).await.protection;
    let (status, _) = admin.send("DELETE", &format!("/api/v1/protections/{guarded}"), json!({})).await;
    assert_eq!(status, 204);
    let eve = of_app(&controller, &admin).await;
    let mut limited = change(&[job("everywhere", "fleet", "date -I")], true);
    limited["rollout"] = json!({"limit": "role:app"});
    let (status, first) = admin.send("POST", "/api/v1/changes", limited).await;
    assert_eq!(status, 201, "{first}");
    let again = change(&[job("everywhere", "fleet", "date -I")], false);
    let (status, made) = admin.send("POST", "/api/v1/changes", again.clone()).await;
    let held = &made["plan"]["held"][0];
    assert_eq!((status, &held["change"], &held["nodes"][0]["name"]), (201, &first["number"], &"db-1".into()), "{made}");
    let (status, seen) = eve.get(&format!("/api/v1/changes/{}", made["number"])).await;
    let held = &seen["plan"]["held"][0];
    assert_eq!((status, &held["count"], &held["nodes"]), (200, &1.into(), &json!([])), "{seen}");
    // Who may not change it doesn't forget it either; who looked does, and it is in no list.
    let path = format!("/api/v1/changes/{}/abandon", made["number"]);
    let (status, problem) = eve.send("POST", &path, json!({"forget": true})).await;
    assert_eq!(status, 403, "{problem}");
    let (status, _) = admin.send("POST", &path, json!({"forget": true})).await;
    assert_eq!(status, 204);
    let (status, _) = admin.get(&format!("/api/v1/changes/{}", made["number"])).await;
    assert_eq!(status, 404);
    let mut apply = again;
    apply["apply"] = true.into();
    let (status, problem) = admin.send("POST", "/api/v1/changes", apply).await;
    assert_eq!((status, &problem["code"]), (409, &"change.rolling".into()), "{problem}");
}
