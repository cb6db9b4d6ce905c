//! What somebody may do with a user's mail who acts with a part of the user's rights.

use super::*;

const ACCOUNT: &str = "/api/v1/session/mail";
const MORNING: &str = "/api/v1/session/mail/morning";

#[tokio::test]
async fn a_narrow_token_sends_its_owners_mail_nowhere() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    controller.node("web-1", "app").await;
    controller.node("db-1", "db").await;
    let server = json!({"host": "127.0.0.1", "port": 9, "security": "none", "from": "lampas@fleet.test"});
    let (status, mail) = admin.send("PUT", "/api/v1/mail", json!({"server": server, "revision": 0})).await;
    assert_eq!(status, 200, "{mail}");
    let (status, problem) = admin.send("PUT", "/api/v1/mail", json!({"server": server, "revision": 0})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "somebody set it meanwhile: {problem}");
    let again = json!({"server": server, "revision": mail["revision"]});
    assert_eq!(admin.send("PUT", "/api/v1/mail", again).await.0, 200);
    let (status, own) = admin.send("PUT", ACCOUNT, json!({"address": "admin@fleet.test"})).await;
    assert_eq!(status, 200, "{own}");

    let token = async |name: &str, more: Value| {
        let mut wanted = json!({"name": name, "ttl_secs": 600});
        for (key, value) in more.as_object().expect("an object") {
            wanted[key] = value.clone();
        }
        let (status, made) = admin.send("POST", "/api/v1/tokens", wanted).await;
        assert_eq!(status, 201, "{made}");
        text(&made["secret"])
    };
    let by = |secret: &str, method: &str, path: &str| controller.request(method, path).bearer_auth(secret);
    let elsewhere = json!({"address": "x@evil.test", "rollouts": "all"});
    for (name, narrow) in [
        ("one", json!({"preset": "viewer", "scope": "role:app"})),
        ("two", json!({"preset": "administrator", "scope": "role:app", "is_grave": true})),
        ("three", json!({"preset": "viewer"})),
    ] {
        let secret = token(name, narrow.clone()).await;
        for body in [&elsewhere, &json!({"rollouts": "all"})] {
            let (status, problem) = answer(by(&secret, "PUT", ACCOUNT).json(body)).await;
            assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{narrow}: {problem}");
        }
        let (status, problem) = answer(by(&secret, "POST", MORNING)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{narrow}: {problem}");
        let (status, shown) = answer(by(&secret, "GET", ACCOUNT)).await;
        assert_eq!((status, &shown["address"]), (200, &json!("admin@fleet.test")), "{narrow}");
        let (status, shown) = answer(by(&secret, "GET", MORNING)).await;
        assert_eq!(status, 200, "{shown}");
        let nodes = if narrow.get("scope").is_some() { "1 nodes" } else { "2 nodes" };
        assert!(text(&shown["text"]).contains(nodes), "{narrow}: {shown}");
        assert_eq!(answer(by(&secret, "GET", "/api/v1/mail/deliveries")).await.0, 403, "{narrow}");
    }

    // With all of the rights one may, and another address is grave.
    let whole = token("whole", json!({"preset": "administrator"})).await;
    let (status, body) = answer(by(&whole, "PUT", ACCOUNT).json(&json!({"rollouts": "all"}))).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = answer(by(&whole, "PUT", ACCOUNT).json(&elsewhere)).await;
    assert_eq!((status, &body["code"]), (403, &json!("reauthentication.needed")), "{body}");
    assert_eq!(answer(by(&whole, "POST", MORNING)).await.0, 202);
    let grave = token("grave", json!({"preset": "administrator", "is_grave": true})).await;
    let (status, body) = answer(by(&grave, "PUT", ACCOUNT).json(&json!({"address": "new@fleet.test"}))).await;
    assert_eq!((status, &body["address"]), (200, &json!("new@fleet.test")), "{body}");
    let (_, sent) = admin.get("/api/v1/mail/deliveries").await;
    let told = sent["items"].as_array().into_iter().flatten().find(|d| d["kind"] == "account").expect("is told");
    assert_eq!(told["address"], "admin@fleet.test", "the one before: {told}");
}
