//! A machine is signed in by whoever confirms it, once, and only then; through the API.

use serde_json::{Value, json};

use super::{LETTERS, make_code, plain_code, shown_code};
use crate::api::testing::{Browser, Controller, PASSWORD, answer};

#[test]
fn codes_are_read_as_people_type_them() {
    for _ in 0..200 {
        let code = make_code();
        assert!(code.len() == 8 && code.bytes().all(|b| LETTERS.contains(&b)), "{code}");
        assert_eq!(plain_code(&shown_code(&code)).as_deref(), Some(code.as_str()));
    }
    assert_ne!(make_code(), make_code());
    assert_eq!(plain_code(" bcdf ghjk ").as_deref(), Some("BCDFGHJK"));
    for wrong in ["", "BCDFGHJ", "BCDFGHJKL", "BCDF-GHJA", "BCDF-GHJ1", "ßCDFGHJK", "BCDF_GHJK"] {
        assert_eq!(plain_code(wrong), None, "{wrong}");
    }
}

async fn begin(controller: &Controller) -> Value {
    let wanted = json!({"purpose": "sign_in", "machine": "laptop", "ttl_secs": 3600});
    let (status, begun) = answer(controller.request("POST", "/api/v1/device").json(&wanted)).await;
    assert_eq!(status, 201, "{begun}");
    begun
}

async fn fetch(controller: &Controller, begun: &Value) -> (u16, Value) {
    let asked = json!({"device_code": begun["device_code"]});
    answer(controller.request("POST", "/api/v1/device/session").json(&asked)).await
}

async fn confirm(browser: &Browser<'_>, begun: &Value) -> (u16, Value) {
    browser.send("POST", "/api/v1/session/device/confirmation", json!({"user_code": begun["user_code"]})).await
}

/// Lets eleven minutes pass since somebody showed who sits there, in every session.
async fn age_proofs(controller: &Controller) {
    let aged = controller.app.db.write(|mut tx| async move {
        sqlx::query("UPDATE session SET proven_ms = proven_ms - 660000").execute(tx.conn()).await?;
        Ok::<_, crate::db::DbError>(tx.done(()))
    });
    aged.await.expect("aged");
}

#[tokio::test]
async fn a_machine_is_signed_in_by_who_confirms_it_and_once() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let begun = begin(&controller).await;
    assert!(begun["url_with_code"].as_str().is_some_and(|u| u.contains("/device?code=")), "{begun}");
    let (status, waits) = fetch(&controller, &begun).await;
    assert_eq!((status, &waits["code"]), (400, &json!("authorization_pending")), "{waits}");
    let (status, early) = fetch(&controller, &begun).await;
    assert_eq!((status, &early["code"]), (400, &json!("slow_down")), "{early}");

    let typed = begun["user_code"].as_str().expect("text").to_lowercase().replace('-', " ");
    let (status, shown) = admin.send("POST", "/api/v1/session/device/check", json!({"user_code": typed})).await;
    assert_eq!((status, &shown["machine"], &shown["from"]), (200, &json!("laptop"), &json!("127.0.0.1")), "{shown}");
    assert!(shown.get("device_code").is_none(), "{shown}");

    // To confirm is grave.
    age_proofs(&controller).await;
    let (status, refused) = confirm(&admin, &begun).await;
    assert_eq!((status, &refused["code"]), (403, &json!("reauthentication.needed")), "{refused}");
    let (status, _) = admin.send("POST", "/api/v1/session/proof", json!({"password": PASSWORD})).await;
    assert_eq!(status, 204);
    let (status, done) = confirm(&admin, &begun).await;
    assert_eq!(status, 204, "{done}");
    let (status, again) = confirm(&admin, &begun).await;
    assert_eq!(status, 422, "it is decided: {again}");

    let (status, session) = fetch(&controller, &begun).await;
    assert_eq!((status, &session["login"]), (201, &json!("admin")), "{session}");
    let (status, again) = fetch(&controller, &begun).await;
    assert_eq!((status, &again["code"]), (400, &json!("expired_token")), "{again}");

    let secret = session["secret"].as_str().expect("text").to_owned();
    let by_machine = |method: &str, path: &str| controller.request(method, path).bearer_auth(&secret);
    let (status, who) = answer(by_machine("GET", "/api/v1/session")).await;
    assert_eq!((status, &who["login"], &who["csrf_token"]), (200, &json!("admin"), &json!("")), "{who}");
    // The secret is no cookie, and no password of anything else.
    let as_cookie = controller.request("GET", "/api/v1/session").header("cookie", format!("__Host-lampas={secret}"));
    assert_eq!(answer(as_cookie).await.0, 401);

    // It proves nothing by itself, and changes nothing of how its owner signs in.
    let eve = json!({"login": "eve", "preset": "viewer", "password": PASSWORD});
    let (status, refused) = answer(by_machine("POST", "/api/v1/users").json(&eve)).await;
    assert_eq!((status, &refused["code"]), (403, &json!("reauthentication.needed")), "{refused}");
    let other = begin(&controller).await;
    let code = json!({"user_code": other["user_code"]});
    for (path, body) in [
        ("/api/v1/session/device/check", &code),
        ("/api/v1/session/device/refusal", &code),
        ("/api/v1/session/second-factor", &json!({"password": PASSWORD})),
    ] {
        let (status, refused) = answer(by_machine("POST", path).json(body)).await;
        assert_eq!(status, 403, "{path}: {refused}");
    }
    let (status, refused) =
        answer(by_machine("POST", "/api/v1/session/proof").json(&json!({"password": PASSWORD}))).await;
    assert_eq!((status, &refused["code"]), (403, &json!("forbidden")), "{refused}");
    let token = json!({"name": "longer", "preset": "viewer", "ttl_secs": 86_400});
    let (status, made) = answer(by_machine("POST", "/api/v1/tokens").json(&token)).await;
    assert_eq!(status, 201, "{made}");
    assert!(
        made["token"]["expires_at"].as_str() <= session["expires_at"].as_str(),
        "no token of it outlives it: {made} {session}"
    );

    // A proof is asked for with what it is signed in by, and confirmed by the same person alone.
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let wanted = json!({"purpose": "proof", "machine": "laptop", "ttl_secs": 86_400});
    let (status, refused) = answer(controller.request("POST", "/api/v1/device").json(&wanted)).await;
    assert_eq!(status, 401, "{refused}");
    let (status, proof) = answer(by_machine("POST", "/api/v1/device").json(&wanted)).await;
    assert_eq!(status, 201, "{proof}");
    let (status, refused) = confirm(&operator, &proof).await;
    assert_eq!(status, 422, "it is not the operator's: {refused}");
    assert_eq!(confirm(&admin, &proof).await.0, 204);
    let (status, proven) = fetch(&controller, &proof).await;
    assert_eq!(status, 201, "{proven}");
    let grave = controller.request("POST", "/api/v1/users").bearer_auth(proven["secret"].as_str().expect("text"));
    let (status, made) = answer(grave.json(&eve)).await;
    assert_eq!(status, 201, "{made}");

    // Who holds a part of the owner's rights asks the owner for nothing that gives all of them.
    let wanted_token = |preset: &str| json!({"name": preset, "preset": preset, "ttl_secs": 600});
    for (preset, expected) in [("viewer", 403), ("administrator", 201)] {
        let (status, token) = admin.send("POST", "/api/v1/tokens", wanted_token(preset)).await;
        assert_eq!(status, 201, "{token}");
        let asked = controller.request("POST", "/api/v1/device").bearer_auth(token["secret"].as_str().expect("text"));
        let (status, body) = answer(asked.json(&wanted)).await;
        assert_eq!(status, expected, "{preset}: {body}");
    }

    // It stands among the sessions, and ends there.
    let (_, sessions) = admin.get("/api/v1/sessions").await;
    let rows = sessions["items"].as_array().expect("rows");
    let own = rows.iter().find(|r| r["id"] == session["id"]).expect("is listed");
    assert_eq!((&own["machine"], &own["is_current"]), (&json!("laptop"), &json!(false)), "{own}");
    let path = format!("/api/v1/sessions/{}", session["id"].as_str().expect("text"));
    let (status, _) = answer(admin.request("DELETE", &path)).await;
    assert_eq!(status, 204);
    let (status, over) = answer(by_machine("GET", "/api/v1/session")).await;
    assert_eq!((status, &over["code"]), (401, &json!("unauthenticated")), "{over}");

    let (_, audit) = admin.get("/api/v1/audit?limit=100").await;
    let rows = audit["items"].as_array().expect("rows");
    for (act, object) in [("device.confirm", "lampasctl on laptop"), ("session.open", "lampasctl on laptop")] {
        let has = |r: &Value| r["act"] == act && r["object"].as_str().is_some_and(|o| o.contains(object));
        assert!(rows.iter().any(has), "{act}: {audit}");
    }
    assert!(!audit.to_string().contains(begun["device_code"].as_str().expect("text")));
}

#[tokio::test]
async fn what_is_refused_guessed_or_over_opens_nothing() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let begun = begin(&controller).await;
    let code = json!({"user_code": begun["user_code"]});
    let (status, _) = admin.send("POST", "/api/v1/session/device/refusal", code).await;
    assert_eq!(status, 204);
    let (status, denied) = fetch(&controller, &begun).await;
    assert_eq!((status, &denied["code"]), (400, &json!("access_denied")), "{denied}");
    let (_, gone) = fetch(&controller, &begun).await;
    assert_eq!(gone["code"], json!("expired_token"), "{gone}");

    // Ten minutes later a code is nothing.
    let late = begin(&controller).await;
    let aged = controller.app.db.write(|mut tx| async move {
        sqlx::query("UPDATE device_request SET expires_ms = expires_ms - 600000").execute(tx.conn()).await?;
        Ok::<_, crate::db::DbError>(tx.done(()))
    });
    aged.await.expect("aged");
    assert_eq!(confirm(&admin, &late).await.0, 422);
    assert_eq!(fetch(&controller, &late).await.1["code"], json!("expired_token"));

    // Who was barred before the machine came back gets nothing.
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let barred = begin(&controller).await;
    assert_eq!(confirm(&operator, &barred).await.0, 204);
    let (status, body) = admin.send("PATCH", "/api/v1/users/operator", json!({"is_disabled": true})).await;
    assert_eq!(status, 200, "{body}");
    let (status, over) = fetch(&controller, &barred).await;
    assert_eq!((status, &over["code"]), (400, &json!("expired_token")), "{over}");

    // Strangers fill nothing, and codes are not to be guessed.
    let mut last = 0;
    for _ in 0..12 {
        let wanted = json!({"purpose": "sign_in", "machine": "x", "ttl_secs": 60});
        last = answer(controller.request("POST", "/api/v1/device").json(&wanted)).await.0;
    }
    assert_eq!(last, 429, "ten of one address are the most");
    let mut last = 0;
    for _ in 0..8 {
        last = admin.send("POST", "/api/v1/session/device/check", json!({"user_code": "BCDF-GHJK"})).await.0;
    }
    assert_eq!(last, 429);
}
