//! Security keys over the real API, with an authenticator in the test's hands.

use serde_json::{Value, json};

use super::soft::Soft;
use crate::api::testing::{Browser, Controller, PASSWORD, answer};

const KEYS: &str = "/api/v1/session/security-keys";

/// A controller that has a name, and an authenticator for it.
async fn start() -> Controller {
    Controller::start_with(|config| config.names = vec!["localhost".to_owned()]).await
}

fn soft(controller: &Controller) -> Soft {
    Soft::new("localhost", &controller.base)
}

fn challenge(request: &Value) -> &str {
    request["challenge"].as_str().unwrap_or_else(|| panic!("a challenge in {request}"))
}

/// Registers a key; returns it with its user's handle, and the recovery codes.
async fn register(controller: &Controller, browser: &Browser<'_>, name: &str) -> (Soft, String, Value) {
    let key = soft(controller);
    let (status, asked) = browser.send("POST", &format!("{KEYS}/creation"), json!({})).await;
    assert_eq!(status, 200, "{asked}");
    let (status, added) = browser.send("POST", KEYS, key.registration(challenge(&asked), name)).await;
    assert_eq!(status, 201, "{added}");
    (key, asked["user_handle"].as_str().expect("a handle").to_owned(), added)
}

async fn ask(controller: &Controller, body: Value) -> (u16, Value) {
    answer(controller.request("POST", "/api/v1/session/key-request").json(&body)).await
}

/// Asks for a sign-in's challenge with the right password.
async fn asked(controller: &Controller, login: &str) -> Value {
    let (status, request) = ask(controller, json!({"login": login, "password": PASSWORD})).await;
    assert_eq!(status, 200, "{request}");
    request
}

async fn sign_in(controller: &Controller, login: &str, key: Value) -> (u16, Value) {
    let body = json!({"login": login, "password": PASSWORD, "key": key});
    answer(controller.request("POST", "/api/v1/session").json(&body)).await
}

async fn by_passkey(controller: &Controller, key: Value) -> (u16, Value) {
    answer(controller.request("POST", "/api/v1/session/passkey").json(&key)).await
}

fn code(problem: &(u16, Value)) -> (u16, &str) {
    (problem.0, problem.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_key_is_registered_asked_for_and_removed() {
    let controller = start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let elsewhere = controller.sign_in("operator").await;
    let (mut key, handle, added) = register(&controller, &operator, "  blue key ").await;
    assert_eq!((&added["key"]["name"], &added["key"]["is_passkey"]), (&json!("blue key"), &json!(true)));
    let codes = added["recovery_codes"].as_array().expect("codes").clone();
    assert_eq!(codes.len(), 10);
    assert_eq!(elsewhere.get("/api/v1/session").await.0, 401, "what was opened without a second factor ends");
    let (_, session) = operator.get("/api/v1/session").await;
    assert_eq!((&session["has_second_factor"], &session["has_security_key"]), (&json!(true), &json!(true)));
    assert_eq!(session["has_authenticator"], false);
    let (_, second) = register(&controller, &operator, "spare")
        .await
        .2
        .as_object()
        .map_or((0, Value::Null), |o| (1, o["recovery_codes"].clone()));
    assert_eq!(second, json!([]), "those before go on");

    // The password alone is not enough, and what is missing is told; who doesn't know it learns nothing.
    let plain = json!({"login": "operator", "password": PASSWORD});
    let needed = answer(controller.request("POST", "/api/v1/session").json(&plain)).await;
    assert_eq!(code(&needed), (401, "second_factor.needed"));
    let pointers = needed.1["fields"].as_array().into_iter().flatten().map(|f| f["pointer"].clone());
    assert_eq!(pointers.collect::<Vec<_>>(), ["/key", "/code"]);
    let guessed = ask(&controller, json!({"login": "operator", "password": "not the password"})).await;
    assert_eq!(code(&guessed), (401, "sign_in_failed"));
    let nobody = ask(&controller, json!({"login": "nobody", "password": "not the password"})).await;
    assert_eq!(code(&nobody), (401, "sign_in_failed"));

    let request = asked(&controller, "operator").await;
    assert_eq!(request["allow"].as_array().map(Vec::len), Some(2));
    assert_eq!(request["allow"][0]["transports"], json!(["usb"]), "what is unknown is dropped");
    let given = key.answer(challenge(&request), Some(&handle));
    let signed = sign_in(&controller, "operator", given.clone()).await;
    assert_eq!(signed.0, 201, "{}", signed.1);
    assert_eq!(code(&sign_in(&controller, "operator", given).await), (401, "second_factor.wrong"), "a replay");
    let recovered = json!({"login": "operator", "password": PASSWORD, "code": codes[0]});
    assert_eq!(answer(controller.request("POST", "/api/v1/session").json(&recovered)).await.0, 201, "a way back");

    let (_, keys) = operator.get(KEYS).await;
    assert_eq!(keys["items"][0]["name"], "blue key");
    assert!(keys["items"][0]["last_used_at"].is_string() && keys["items"][1]["last_used_at"].is_null(), "{keys}");
    assert_eq!((&keys["url"], &keys["unavailable"]), (&json!(format!("{}/", controller.base)), &Value::Null));
    let id = |n: usize| keys["items"][n]["id"].as_str().expect("an id").to_owned();
    let (_, of) = admin.get("/api/v1/users/operator/security-keys").await;
    assert_eq!(of["items"], keys["items"]);
    assert_eq!(operator.get("/api/v1/users/admin/security-keys").await.0, 403);
    assert_eq!(admin.send("DELETE", &format!("{KEYS}/{}", id(0)), json!({})).await.0, 404, "another user's");
    assert_eq!(operator.send("DELETE", &format!("{KEYS}/{}", id(0)), json!({})).await.0, 204);
    let request = asked(&controller, "operator").await;
    let gone = sign_in(&controller, "operator", key.answer(challenge(&request), Some(&handle))).await;
    assert_eq!(code(&gone), (401, "second_factor.wrong"), "it is removed");
    assert_eq!(admin.get("/api/v1/users/operator").await.1["security_keys"], 1);

    let path = format!("/api/v1/users/operator/security-keys/{}", id(1));
    assert_eq!(admin.send("DELETE", &path, json!({})).await.0, 204);
    assert_eq!(operator.get("/api/v1/session").await.0, 401, "the sessions end");
    assert_eq!(answer(controller.request("POST", "/api/v1/session").json(&plain)).await.0, 201, "none is left");
    let recovered = json!({"login": "operator", "password": PASSWORD, "code": codes[1]});
    let (_, again) = answer(controller.request("POST", "/api/v1/session").json(&recovered)).await;
    assert_eq!(again["has_second_factor"], false, "recovery codes go with the last factor");
    let (_, audit) = admin.get("/api/v1/audit").await;
    let audit = audit.to_string();
    for act in ["security_key.add", "session.key", "security_key.remove", "user.security_key"] {
        assert!(audit.contains(act), "{act} in {audit}");
    }
}

#[tokio::test]
async fn a_passkey_signs_in_alone_when_it_asked_for_a_pin() {
    let controller = start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let (mut key, handle, _) = register(&controller, &operator, "phone").await;
    let request = async || {
        let (status, request) = ask(&controller, json!({})).await;
        assert_eq!((status, &request["must_verify"], &request["allow"]), (200, &json!(true), &json!([])), "{request}");
        challenge(&request).to_owned()
    };
    let given = key.answer(&request().await, Some(&handle));
    let (status, session) = by_passkey(&controller, given.clone()).await;
    assert_eq!((status, &session["login"]), (201, &json!("operator")), "{session}");
    assert_eq!(code(&by_passkey(&controller, given).await), (401, "sign_in_failed"), "a replay");
    // Each refusal counts as an attempt, and a sign-in forgives them.
    let well = async |key: &mut Soft| {
        let given = key.answer(&request().await, Some(&handle));
        assert_eq!(by_passkey(&controller, given).await.0, 201);
    };
    for wrong in [None, Some("AAAAAAAAAAAAAAAAAAAAAA")] {
        well(&mut key).await;
        let given = key.answer(&request().await, wrong);
        assert_eq!(code(&by_passkey(&controller, given).await), (401, "sign_in_failed"), "{wrong:?}");
    }
    well(&mut key).await;
    key.is_verified = false;
    let untouched = by_passkey(&controller, key.answer(&request().await, Some(&handle))).await;
    assert_eq!(code(&untouched), (401, "sign_in_failed"));
    assert!(untouched.1["detail"].as_str().is_some_and(|d| d.contains("PIN")), "{}", untouched.1);
    key.is_verified = true;
    well(&mut key).await;
    // A challenge for one purpose serves no other.
    let second = asked(&controller, "operator").await;
    let crossed = by_passkey(&controller, key.answer(challenge(&second), Some(&handle))).await;
    assert_eq!(code(&crossed), (401, "sign_in_failed"));
    well(&mut key).await;
    let stranger = soft(&controller).answer(&request().await, Some(&handle));
    assert_eq!(code(&by_passkey(&controller, stranger).await), (401, "sign_in_failed"));
    well(&mut key).await;
    admin.send("PATCH", "/api/v1/users/operator", json!({"is_disabled": true})).await;
    let barred = by_passkey(&controller, key.answer(&request().await, Some(&handle))).await;
    assert_eq!(code(&barred), (401, "sign_in_failed"));
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_told() {
    let controller = start().await;
    let admin = controller.set_up().await;
    let (mut key, handle, _) = register(&controller, &admin, "copied").await;
    for (count, status) in [(5, 201), (5, 401), (6, 201), (3, 401), (7, 201)] {
        let request = asked(&controller, "admin").await;
        key.count = count - 1;
        let found = sign_in(&controller, "admin", key.answer(challenge(&request), Some(&handle))).await;
        assert_eq!(found.0, status, "{count}: {}", found.1);
        if status == 401 {
            assert!(found.1["detail"].as_str().is_some_and(|d| d.contains("counter")), "{}", found.1);
        }
    }
    let (_, keys) = admin.get(KEYS).await;
    assert!(keys["items"][0]["suspect_since"].is_string(), "{keys}");
    let (_, audit) = admin.get("/api/v1/audit?act=session.key").await;
    assert!(audit.to_string().contains("its counter went back from 6 to 3"), "{audit}");
    let (_, activity) = admin.get("/api/v1/activity").await;
    assert!(activity.to_string().contains("the security key copied of admin was refused"), "{activity}");
}

#[tokio::test]
async fn two_sign_ins_at_once_use_two_challenges() {
    let controller = start().await;
    let admin = controller.set_up().await;
    let (mut key, handle, _) = register(&controller, &admin, "one").await;
    let (first, second) = (asked(&controller, "admin").await, asked(&controller, "admin").await);
    let given = [key.answer(challenge(&first), Some(&handle)), key.answer(challenge(&second), Some(&handle))];
    let both =
        tokio::join!(sign_in(&controller, "admin", given[0].clone()), sign_in(&controller, "admin", given[1].clone()));
    // The later count may come first; then the earlier one is what a copy would send.
    assert_eq!(both.1.0, 201, "{}", both.1.1);
    assert!([201, 401].contains(&both.0.0), "{}", both.0.1);
    let request = asked(&controller, "admin").await;
    let given = key.answer(challenge(&request), Some(&handle));
    let both = tokio::join!(sign_in(&controller, "admin", given.clone()), sign_in(&controller, "admin", given));
    let mut found = [both.0.0, both.1.0];
    found.sort_unstable();
    assert_eq!(found, [201, 401], "one challenge serves once");
}

#[tokio::test]
async fn nobody_signs_in_with_the_key_of_another() {
    let controller = start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let (_, _, _) = register(&controller, &admin, "admin's").await;
    let (mut theirs, handle, _) = register(&controller, &operator, "operator's").await;
    let request = asked(&controller, "admin").await;
    let found = sign_in(&controller, "admin", theirs.answer(challenge(&request), Some(&handle))).await;
    assert_eq!(code(&found), (401, "second_factor.wrong"));
    let request = asked(&controller, "operator").await;
    let found = sign_in(&controller, "admin", theirs.answer(challenge(&request), None)).await;
    assert_eq!(code(&found), (401, "second_factor.wrong"), "another user's challenge");
    // The same credential is registered once in the whole fleet.
    let (_, asked) = admin.send("POST", &format!("{KEYS}/creation"), json!({})).await;
    let again = admin.send("POST", KEYS, theirs.registration(challenge(&asked), "again")).await;
    assert_eq!(code(&again), (409, "exists"));
}

#[tokio::test]
async fn a_registration_from_elsewhere_is_refused() {
    let controller = start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let begin = async |browser: &Browser<'_>| {
        let (_, asked) = browser.send("POST", &format!("{KEYS}/creation"), json!({})).await;
        challenge(&asked).to_owned()
    };
    let own = begin(&admin).await;
    let found = operator.send("POST", KEYS, soft(&controller).registration(&own, "x")).await;
    assert_eq!(code(&found), (422, "security_key.refused"), "another session's challenge");
    let elsewhere = Soft::new("localhost", "https://localhost:1");
    let found = admin.send("POST", KEYS, elsewhere.registration(&own, "x")).await;
    assert_eq!(code(&found), (422, "security_key.refused"));
    assert!(
        found.1["detail"].as_str().is_some_and(|d| d.contains("https://localhost:1, and keys work at")),
        "{}",
        found.1
    );
    let found = admin.send("POST", KEYS, soft(&controller).registration(&own, "x")).await;
    assert_eq!(code(&found), (422, "security_key.refused"), "it was used up");
    for (field, value) in [
        ("/name", json!({"name": " "})),
        ("/client_data", json!({"client_data": "+"})),
        ("/attestation", json!({"attestation": "="})),
    ] {
        let mut body = soft(&controller).registration(&begin(&admin).await, "x");
        body.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
        let (status, problem) = admin.send("POST", KEYS, body).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!(field)), "{problem}");
    }
    let (_, keys) = admin.get(KEYS).await;
    assert_eq!(keys["items"], json!([]));
}

#[tokio::test]
async fn keys_prove_who_sits_there() {
    let controller = start().await;
    let admin = controller.set_up().await;
    let (mut key, handle, _) = register(&controller, &admin, "one").await;
    let id = admin.get(KEYS).await.1["items"][0]["id"].as_str().expect("an id").to_owned();
    let prove = async |body: Value| admin.send("POST", "/api/v1/session/proof", body).await;
    let request = async || {
        let (status, request) = admin.send("POST", "/api/v1/session/proof/key-request", json!({})).await;
        assert_eq!(status, 200, "{request}");
        challenge(&request).to_owned()
    };
    crate::access::tests::age_proofs(&controller).await;
    for (method, path) in
        [("POST", format!("{KEYS}/creation")), ("POST", KEYS.to_owned()), ("DELETE", format!("{KEYS}/{id}"))]
    {
        assert_eq!(code(&admin.send(method, &path, json!({})).await), (403, "reauthentication.needed"), "{path}");
    }
    let (status, problem) = prove(json!({"password": PASSWORD})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/key")), "{problem}");
    // A key that asked for nothing wants the password besides.
    key.is_verified = false;
    let (status, problem) = prove(json!({"key": key.answer(&request().await, Some(&handle))})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/key")), "{problem}");
    let body = json!({"password": PASSWORD, "key": key.answer(&request().await, None)});
    assert_eq!(prove(body.clone()).await.0, 204);
    assert_eq!(prove(body).await.0, 422, "a replay");
    crate::access::tests::age_proofs(&controller).await;
    key.is_verified = true;
    // Another session's challenge proves nothing here, nor does one for a sign-in.
    let sign_in = asked(&controller, "admin").await;
    assert_eq!(prove(json!({"key": key.answer(challenge(&sign_in), Some(&handle))})).await.0, 422);
    assert_eq!(prove(json!({"key": key.answer(&request().await, Some(&handle))})).await.0, 204);
    assert_eq!(admin.send("DELETE", &format!("{KEYS}/{id}"), json!({})).await.0, 204);
}

#[tokio::test]
async fn a_key_is_enough_where_a_second_factor_is_required() {
    let controller = start().await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    admin.send("PUT", "/api/v1/sign-in-rules", json!({"second_factor_for": ["viewer"]})).await;
    let viewer = controller.sign_in("viewer").await;
    assert!(viewer.session.must_enrol);
    register(&controller, &viewer, "one").await;
    assert_eq!(viewer.get("/api/v1/nodes").await.0, 200);
    let id = viewer.get(KEYS).await.1["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(viewer.send("DELETE", &format!("{KEYS}/{id}"), json!({})).await.0, 204);
    assert_eq!(code(&viewer.get("/api/v1/nodes").await), (403, "second_factor.required"), "back where it was");
}

#[tokio::test]
async fn a_controller_without_a_name_says_what_to_do() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let (_, keys) = admin.get(KEYS).await;
    assert!(keys["unavailable"].as_str().is_some_and(|w| w.contains("public_url")), "{keys}");
    let found = admin.send("POST", &format!("{KEYS}/creation"), json!({})).await;
    assert_eq!(code(&found), (409, "security_key.unavailable"));
    assert_eq!(code(&ask(&controller, json!({})).await), (409, "security_key.unavailable"));
    let (status, problem) = ask(&controller, json!({"login": "admin"})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/password")));
}
