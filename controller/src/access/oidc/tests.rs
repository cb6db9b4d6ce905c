//! Signing in with a provider, through the API, against an issuer that lies in every way that it can.

use axum::http::StatusCode;
use lampas_runtime::clock;
use serde_json::{Value, json};

use super::testing::{Issuer, Trip};
use crate::{
    access::code_at,
    api::testing::{Browser, Controller, answer},
};

async fn controller() -> Controller {
    Controller::start_with(|config| {
        config.egress.allow = vec!["127.0.0.0/8".parse().expect("a network")];
        config.egress.allow_http = vec!["127.0.0.1".to_owned()];
    })
    .await
}

fn spec(issuer: &Issuer, more: Value) -> Value {
    let mut spec = json!({"issuer": issuer.url, "client_id": "lampas", "groups_claim": "groups"});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    json!({"spec": spec})
}

async fn set(admin: &Browser<'_>, issuer: &Issuer, more: Value) {
    let (status, body) = admin.send("PUT", "/api/v1/providers/main", spec(issuer, more)).await;
    assert_eq!(status, 200, "{body}");
}

/// Signs in at the issuer with these claims, and comes back.
async fn trip(controller: &Controller, issuer: &Issuer, claims: Value) -> (u16, Value, String) {
    let trip = Trip::begin(controller, json!({"provider": "main"})).await;
    let code = issuer.visit(&trip, claims);
    trip.end(controller, &code).await
}

#[tokio::test]
async fn a_person_comes_and_gets_what_the_groups_mean() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    let (status, body) = admin.send("POST", "/api/v1/user-groups", json!({"name": "web-team"})).await;
    assert_eq!(status, 201, "{body}");
    let mappings = json!([
        {"claim": "web", "group": "web-team"}, {"claim": "ops", "preset": "operator"},
        {"claim": "root", "preset": "administrator"},
    ]);
    let more = json!({"makes_accounts": true, "default_preset": "viewer", "mappings": mappings, "title": "Our login"});
    set(&admin, &issuer, more).await;
    let (_, options) = answer(controller.request("GET", "/api/v1/sign-in-options")).await;
    assert_eq!(options["providers"], json!([{"name": "main", "title": "Our login"}]));

    let claims = |groups: Value| json!({"preferred_username": "Eve", "name": "Eve E.", "groups": groups});
    let (status, done, cookies) = trip(&controller, &issuer, claims(json!(["web", "ops", "other"]))).await;
    assert_eq!((status, &done["purpose"]), (200, &json!("sign_in")), "{done}");
    assert_eq!((&done["session"]["login"], &done["session"]["preset"]), (&json!("eve"), &json!("operator")));
    assert!(cookies.contains("__Host-lampas=") && cookies.contains("__Host-lampas-provider=;"), "{cookies}");
    let (_, eve) = admin.get("/api/v1/users/eve").await;
    assert_eq!(eve["groups"], json!(["web-team"]));
    let (_, identities) = admin.get("/api/v1/users/eve/identities").await;
    assert_eq!(
        (&identities["has_password"], &identities["identities"][0]["subject"]),
        (&json!(false), &json!("sub-1"))
    );
    let asked = issuer.act.lock().expect("is whole").asked.clone();
    let sent = |name: &str| asked.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    let redirect = format!("{}/sign-in/provider", controller.base.replace("localhost", "127.0.0.1"));
    assert_eq!(sent("client_id"), Some("lampas"), "without a secret the id is in the body");
    assert_eq!(sent("redirect_uri"), Some(redirect.as_str()));

    // What the provider takes away goes at the next sign-in; what an administrator gave stays.
    let (status, body) = admin.send("POST", "/api/v1/user-groups", json!({"name": "ours", "members": ["eve"]})).await;
    assert_eq!(status, 201, "{body}");
    let (status, done, _) = trip(&controller, &issuer, claims(json!([]))).await;
    assert_eq!((status, &done["session"]["preset"]), (200, &json!("viewer")), "{done}");
    let (_, eve) = admin.get("/api/v1/users/eve").await;
    assert_eq!(eve["groups"], json!(["ours"]));

    // Another person of that name is another one, and gets nothing of hers.
    let other = json!({"preferred_username": "eve", "sub": "sub-2", "groups": ["root"]});
    let (status, refused, cookies) = trip(&controller, &issuer, other).await;
    assert_eq!((status, &refused["code"]), (401, &json!("sign_in_failed")), "{refused}");
    assert!(!cookies.contains("__Host-lampas="), "{cookies}");

    let (status, body) = admin.send("PATCH", "/api/v1/users/eve", json!({"is_disabled": true})).await;
    assert_eq!(status, 200, "{body}");
    let (status, refused, _) = trip(&controller, &issuer, claims(json!(["root"]))).await;
    assert_eq!((status, &refused["code"]), (401, &json!("sign_in_failed")), "{refused}");
    let (_, audit) = admin.get("/api/v1/audit?act=session.open").await;
    let rows = audit["items"].as_array().expect("rows");
    let has = |result: &str, object: &str| {
        rows.iter().any(|r| r["result"] == result && r["object"].as_str().is_some_and(|o| o.contains(object)))
    };
    assert!(has("refused: sign_in_failed", "barred") && has("done", "eve"), "{audit}");
}

#[tokio::test]
async fn tokens_that_are_wrong_open_nothing() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({"makes_accounts": true})).await;
    let now = clock::now().0 / 1000;
    let good = json!({"preferred_username": "mallory"});
    let check = async |what: &str, claims: Value| {
        let mut all = good.clone();
        all.as_object_mut().expect("an object").extend(claims.as_object().expect("an object").clone());
        let (status, refused, cookies) = trip(&controller, &issuer, all).await;
        assert_eq!((status, &refused["code"]), (401, &json!("sign_in_failed")), "{what}: {refused}");
        assert!(!cookies.contains("__Host-lampas="), "{what}: {cookies}");
        // Guesses are counted by address, as they are at a password; these here are not about that.
        controller.app.access.forgive_all();
    };
    check("another nonce", json!({"nonce": "x"})).await;
    check("no nonce", json!({"nonce": null})).await;
    check("another issuer", json!({"iss": "https://id.example"})).await;
    check("another audience", json!({"aud": "other"})).await;
    check("two audiences", json!({"aud": ["lampas", "other"]})).await;
    check("another party", json!({"azp": "other"})).await;
    check("expired", json!({"exp": now - 120})).await;
    check("of tomorrow", json!({"iat": now + 86_400})).await;
    check("of yesterday", json!({"iat": now - 86_400})).await;
    check("nobody", json!({"sub": null})).await;
    issuer.tell(|a| a.is_forged = true);
    check("a key that is not published", json!({})).await;
    issuer.tell(|a| a.is_forged = false);
    for header in [json!({"alg": "none"}), json!({"alg": "HS256", "kid": "k1"}), json!({"alg": "ES256", "kid": "k9"})] {
        issuer.tell(|a| a.header = header.clone());
        check(&header.to_string(), json!({})).await;
    }
    issuer.tell(|a| a.header = json!({"alg": "ES256", "kid": "k1"}));
    let (_, users) = admin.get("/api/v1/users").await;
    assert_eq!(users["items"].as_array().map(Vec::len), Some(1), "no account was made: {users}");
    let (status, done, _) = trip(&controller, &issuer, good.clone()).await;
    assert_eq!(status, 200, "the same without a lie: {done}");
}

#[tokio::test]
async fn what_was_begun_ends_in_the_same_browser_once() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({"makes_accounts": true})).await;
    let claims = json!({"preferred_username": "eve"});
    let (mine, theirs) = (
        Trip::begin(&controller, json!({"provider": "main"})).await,
        Trip::begin(&controller, json!({"provider": "main"})).await,
    );
    let refused = async |trip: &Trip, cookie: &str, body: Value, expected: &str| {
        let (status, refused, cookies) = trip.hand_in(&controller, cookie, body).await;
        assert_eq!(status, 401, "{expected}: {refused}");
        assert!(refused["detail"].as_str().is_some_and(|d| d.contains(expected)), "{expected}: {refused}");
        assert!(!cookies.contains("__Host-lampas="), "{cookies}");
        controller.app.access.forgive_all();
    };
    let code = issuer.visit(&mine, claims.clone());
    let back = json!({"state": mine.param("state"), "code": code});
    // A link that an attacker made of his own sign-in leads nobody else into his account.
    refused(&mine, "", back.clone(), "this browser began no sign-in").await;
    refused(&mine, &theirs.cookie, back.clone(), "another browser").await;
    refused(&mine, "__Host-lampas-provider=AAAA", back.clone(), "this browser began no sign-in").await;
    let elsewhere = json!({"state": mine.param("state"), "code": code, "issuer": "https://evil.example"});
    refused(&mine, &mine.cookie, elsewhere, "does not come from the provider").await;
    let denied = json!({"state": mine.param("state"), "error": "access_denied<script>"});
    refused(&mine, &mine.cookie, denied, "access_deniedscript").await;
    // A code that was caught is worth nothing without the verifier, which never left.
    let stolen = json!({"state": theirs.param("state"), "code": code});
    refused(&theirs, &theirs.cookie, stolen, "invalid_grant").await;
    let code = issuer.visit(&mine, claims.clone());
    let (status, done, _) = mine.end(&controller, &code).await;
    assert_eq!(status, 200, "{done}");
    refused(&mine, &mine.cookie, json!({"state": mine.param("state"), "code": code}), "invalid_grant").await;
}

#[tokio::test]
async fn a_discovery_document_is_believed_for_its_own_issuer_alone() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({})).await;
    let check = async |what: &str, act: &dyn Fn(&mut super::testing::Act)| {
        issuer.tell(act);
        let body = json!({"provider": "main"});
        let (status, refused) = answer(controller.request("POST", "/api/v1/session/provider").json(&body)).await;
        assert_eq!((status, &refused["code"]), (502, &json!("provider.failed")), "{what}: {refused}");
        let (status, found) = admin.send("POST", "/api/v1/providers/main/check", json!({})).await;
        assert_eq!((status, &found["is_good"]), (200, &json!(false)), "{what}: {found}");
        issuer.tell(|a| (a.discovery, a.instead) = (json!({}), None));
        controller.app.access.forgive_all();
    };
    check("another issuer", &|a| a.discovery = json!({"issuer": "https://id.example"})).await;
    check("an inner page", &|a| a.discovery = json!({"token_endpoint": "https://10.0.0.1/token"})).await;
    check("a file", &|a| a.discovery = json!({"jwks_uri": "file:///etc/passwd"})).await;
    let metadata = "http://169.254.169.254/latest/meta-data/".to_owned();
    let moved = (StatusCode::FOUND, vec![("location", metadata)], String::new());
    check("a redirect to the cloud's credentials", &move |a| a.instead = Some(moved.clone())).await;
    check("much too long", &|a| a.instead = Some((StatusCode::OK, vec![], "x".repeat(1 << 20)))).await;
    check("no JSON", &|a| a.instead = Some((StatusCode::OK, vec![], "<html>".to_owned()))).await;
    check("an error", &|a| a.instead = Some((StatusCode::NOT_FOUND, vec![], String::new()))).await;
    let (status, found) = admin.send("POST", "/api/v1/providers/main/check", json!({})).await;
    assert_eq!((status, &found["is_good"]), (200, &json!(true)), "{found}");
    // What can't be reached is refused when it is set.
    for issuer in ["http://id.example", "https://127.0.0.1.x:y", "https://10.0.0.1", "https://id.example?x=1", ""] {
        let body = json!({"spec": {"issuer": issuer, "client_id": "c"}});
        let (status, refused) = admin.send("PUT", "/api/v1/providers/other", body).await;
        assert_eq!((status, &refused["fields"][0]["pointer"]), (422, &json!("/spec/issuer")), "{issuer}: {refused}");
    }
}

#[tokio::test]
async fn nobody_is_who_was_not_invited_or_linked() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({})).await;
    let (status, refused, _) = trip(&controller, &issuer, json!({"preferred_username": "admin"})).await;
    assert_eq!(status, 401, "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("nobody here has that identity")), "{refused}");

    // Invited: once, to this account alone.
    let body = json!({"login": "eve", "preset": "operator"});
    let (status, made) = admin.send("POST", "/api/v1/users", body).await;
    assert_eq!(status, 201, "{made}");
    let (status, invited) = admin.send("POST", "/api/v1/users/eve/invitations", json!({"provider": "main"})).await;
    assert_eq!(status, 201, "{invited}");
    let link = invited["link"].as_str().expect("a link");
    let secret = link.rsplit_once('.').expect("a secret").1;
    let invite = async |sub: &str| {
        let trip = Trip::begin(&controller, json!({"provider": "main", "invitation": secret})).await;
        let code = issuer.visit(&trip, json!({"sub": sub}));
        trip.end(&controller, &code).await
    };
    let (status, done, _) = invite("eve-sub").await;
    assert_eq!((status, &done["session"]["login"]), (200, &json!("eve")), "{done}");
    let (status, refused, _) = invite("mallory-sub").await;
    assert_eq!(status, 401, "taken up already: {refused}");
    let (status, done, _) = trip(&controller, &issuer, json!({"sub": "eve-sub"})).await;
    assert_eq!((status, &done["session"]["preset"]), (200, &json!("operator")), "{done}");
    // She has no password, and none that could be guessed.
    for password in ["", "x", "!"] {
        let body = json!({"login": "eve", "password": password});
        let (status, _) = answer(controller.request("POST", "/api/v1/session").json(&body)).await;
        assert_eq!(status, 401);
    }

    // Linked by the owner, from within the session that began alone.
    let answer_ = admin.request("POST", "/api/v1/session/identities").json(&json!({"provider": "main"}));
    let trip_ = Trip::of(answer_.send().await.expect("answers")).await;
    let code = issuer.visit(&trip_, json!({"sub": "admin-sub"}));
    let (status, refused, _) = trip_.end(&controller, &code).await;
    assert_eq!(status, 401, "without the session: {refused}");
    let code = issuer.visit(&trip_, json!({"sub": "admin-sub"}));
    let both = format!("{}; {}", admin.cookie, trip_.cookie);
    let back = json!({"state": trip_.param("state"), "code": code});
    let (status, done, _) = trip_.hand_in(&controller, &both, back).await;
    assert_eq!((status, &done["purpose"]), (200, &json!("link")), "{done}");
    let (status, done, _) = trip(&controller, &issuer, json!({"sub": "admin-sub"})).await;
    assert_eq!((status, &done["session"]["login"]), (200, &json!("admin")), "{done}");
    let body = json!({"provider": "main", "subject": "admin-sub"});
    let (status, refused) = admin.send("POST", "/api/v1/users/eve/identities", body).await;
    assert_eq!((status, &refused["code"]), (409, &json!("exists")), "{refused}");

    // Passwords may be forbidden to who has an identity, but somebody has to be able to come in without the provider.
    let strict = spec(&issuer, json!({"allows_password": false}));
    let (status, refused) = admin.send("PUT", "/api/v1/providers/main", strict.clone()).await;
    assert_eq!((status, &refused["fields"][0]["pointer"]), (422, &json!("/spec/allows_password")), "{refused}");
    admin.make("administrator").await;
    let (status, body) = admin.send("PUT", "/api/v1/providers/main", strict).await;
    assert_eq!(status, 200, "{body}");
    let body = json!({"login": "admin", "password": crate::api::testing::PASSWORD});
    let (status, refused) = answer(controller.request("POST", "/api/v1/session").json(&body)).await;
    assert_eq!(status, 401, "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("main")), "{refused}");
}

#[tokio::test]
async fn the_second_factor_is_asked_for_unless_the_provider_vouches() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({"second_factor_values": ["mfa"]})).await;
    let (status, body) =
        admin.send("POST", "/api/v1/users/admin/identities", json!({"provider": "main", "subject": "a"})).await;
    assert_eq!(status, 201, "{body}");
    let begun = json!({"password": crate::api::testing::PASSWORD});
    let (status, secret) = admin.send("POST", "/api/v1/session/second-factor", begun).await;
    assert_eq!(status, 200, "{secret}");
    let secret = secret["secret"].as_str().expect("a secret").to_owned();
    let code = code_at(&secret, clock::now());
    let (status, body) = admin.send("PUT", "/api/v1/session/second-factor", json!({"code": code})).await;
    assert_eq!(status, 200, "{body}");

    let trip_ = Trip::begin(&controller, json!({"provider": "main"})).await;
    let code = issuer.visit(&trip_, json!({"sub": "a", "amr": ["pwd"]}));
    let (status, needed, cookies) = trip_.end(&controller, &code).await;
    assert_eq!((status, &needed["code"]), (401, &json!("second_factor.needed")), "{needed}");
    assert!(!cookies.contains("__Host-lampas="), "{cookies}");
    let cookie = cookies.split(';').next().expect("the cookie goes on").to_owned();
    let (status, wrong, _) = trip_.hand_in(&controller, &cookie, json!({"second_factor": "000000"})).await;
    assert_eq!((status, &wrong["code"]), (401, &json!("second_factor.wrong")), "{wrong}");
    let next = code_at(&secret, clock::now().plus_ms(30_000));
    // The cookie of before is not one of somebody who came back.
    let (status, refused, _) = trip_.hand_in(&controller, &trip_.cookie, json!({"second_factor": next})).await;
    assert_eq!(status, 401, "{refused}");
    let (status, done, cookies) = trip_.hand_in(&controller, &cookie, json!({"second_factor": next})).await;
    assert_eq!(status, 200, "{done}");
    assert!(cookies.contains("__Host-lampas="), "{cookies}");
    let (status, done, _) = trip(&controller, &issuer, json!({"sub": "a", "amr": ["pwd", "mfa"]})).await;
    assert_eq!(status, 200, "the provider vouches: {done}");
}

#[tokio::test]
async fn a_proof_wants_the_owner_there_in_person() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    set(&admin, &issuer, json!({})).await;
    let (status, body) =
        admin.send("POST", "/api/v1/users/admin/identities", json!({"provider": "main", "subject": "a"})).await;
    assert_eq!(status, 201, "{body}");
    let now = clock::now().0 / 1000;
    let prove = async |claims: Value| {
        let begun = admin.request("POST", "/api/v1/session/proof/provider").json(&json!({"provider": "main"}));
        let trip = Trip::of(begun.send().await.expect("answers")).await;
        assert_eq!((trip.param("prompt"), trip.param("max_age")), ("login".into(), "0".into()));
        let code = issuer.visit(&trip, claims);
        let both = format!("{}; {}", admin.cookie, trip.cookie);
        trip.hand_in(&controller, &both, json!({"state": trip.param("state"), "code": code})).await
    };
    let (status, refused, _) = prove(json!({"sub": "a", "auth_time": now - 3600})).await;
    assert_eq!(status, 401, "an old sign-in there: {refused}");
    let (status, refused, _) = prove(json!({"sub": "a", "auth_time": null})).await;
    assert_eq!(status, 401, "{refused}");
    let (status, refused, _) = prove(json!({"sub": "b"})).await;
    assert_eq!(status, 401, "somebody else: {refused}");
    let (status, done, _) = prove(json!({"sub": "a"})).await;
    assert_eq!((status, &done["purpose"]), (200, &json!("proof")), "{done}");
}

#[tokio::test]
async fn nobody_maps_to_more_than_he_has() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    admin.make("none").await;
    let grant = json!({"subject": "user:none", "actions": "manage_users", "scope": "fleet"});
    let (status, body) = admin.send("POST", "/api/v1/grants", grant).await;
    assert_eq!(status, 201, "{body}");
    for (group, actions) in [("admins", Some("administrator")), ("guests", None)] {
        let (status, body) = admin.send("POST", "/api/v1/user-groups", json!({"name": group})).await;
        assert_eq!(status, 201, "{body}");
        let Some(actions) = actions else { continue };
        let grant = json!({"subject": format!("group:{group}"), "actions": actions, "scope": "fleet"});
        let (status, body) = admin.send("POST", "/api/v1/grants", grant).await;
        assert_eq!(status, 201, "{body}");
    }
    let lead = controller.sign_in("none").await;
    let mut put = Vec::new();
    for (more, expected) in [
        (json!({"mappings": [{"claim": "x", "preset": "administrator"}]}), 403),
        (json!({"mappings": [{"claim": "x", "group": "admins"}]}), 403),
        (json!({"makes_accounts": true, "default_preset": "operator"}), 403),
        (json!({"mappings": [{"claim": "x", "group": "nobodys"}]}), 422),
        (json!({"mappings": [{"claim": "x", "group": "guests"}]}), 200),
    ] {
        let (status, body) = lead.send("PUT", "/api/v1/providers/main", spec(&issuer, more.clone())).await;
        put.push((more, expected, status, body));
    }
    for (more, expected, status, body) in put {
        assert_eq!(status, expected, "{more}: {body}");
    }
    // Nor does he become the administrator by linking, inviting, or changing by what the administrator signs in.
    let link = json!({"provider": "main", "subject": "mine"});
    let (status, refused) = lead.send("POST", "/api/v1/users/admin/identities", link.clone()).await;
    assert_eq!(status, 403, "{refused}");
    let (status, refused) = lead.send("POST", "/api/v1/users/admin/invitations", json!({"provider": "main"})).await;
    assert_eq!(status, 403, "{refused}");
    let (status, body) = admin.send("POST", "/api/v1/users/admin/identities", link).await;
    assert_eq!(status, 201, "{body}");
    let (status, refused) = lead.send("PUT", "/api/v1/providers/main", spec(&issuer, json!({}))).await;
    assert_eq!(status, 403, "{refused}");
    let (status, refused) = answer(lead.request("DELETE", "/api/v1/providers/main")).await;
    assert_eq!(status, 403, "{refused}");
    let moved = json!({"spec": {"issuer": "https://id.example", "client_id": "lampas"}});
    let (status, refused) = admin.send("PUT", "/api/v1/providers/main", moved).await;
    assert_eq!((status, &refused["fields"][0]["pointer"]), (422, &json!("/spec/issuer")), "{refused}");
}

#[tokio::test]
async fn a_client_secret_is_shown_to_nobody() {
    let (controller, issuer) = (controller().await, Issuer::start().await);
    let admin = controller.set_up().await;
    let mut body = spec(&issuer, json!({"makes_accounts": true}));
    body["client_secret"] = json!("canary-client-secret");
    let (status, put) = admin.send("PUT", "/api/v1/providers/main", body).await;
    assert_eq!((status, &put["has_client_secret"]), (200, &json!(true)), "{put}");
    issuer.tell(|a| a.discovery = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}));
    let (status, done, _) = trip(&controller, &issuer, json!({"preferred_username": "eve"})).await;
    assert_eq!(status, 200, "{done}");
    let asked = issuer.act.lock().expect("is whole").asked.clone();
    assert!(asked.contains(&("client_secret".to_owned(), "canary-client-secret".to_owned())), "the provider gets it");
    let mut seen = put.to_string();
    for path in ["/api/v1/providers", "/api/v1/providers/main", "/api/v1/audit", "/api/v1/sign-in-options"] {
        seen.push_str(&admin.get(path).await.1.to_string());
    }
    assert!(!seen.contains("canary"), "{seen}");
    // Left out it stays, empty it goes.
    let (_, kept) = admin.send("PUT", "/api/v1/providers/main", spec(&issuer, json!({}))).await;
    assert_eq!(kept["has_client_secret"], json!(true), "{kept}");
    let mut gone = spec(&issuer, json!({}));
    gone["client_secret"] = json!("");
    let (_, gone) = admin.send("PUT", "/api/v1/providers/main", gone).await;
    assert_eq!(gone["has_client_secret"], json!(false), "{gone}");
}

#[tokio::test]
async fn a_burst_of_logouts_is_heard_whatever_else_comes_from_there() {
    let controller = controller().await;
    let admin = controller.set_up().await;
    let issuer = Issuer::start().await;
    set(&admin, &issuer, json!({})).await;
    let post = |claims: Value, is_forged| {
        let form = format!("logout_token={}", issuer.signed(&claims, is_forged));
        let request = controller.request("POST", "/api/v1/providers/main/logout");
        answer(request.header("content-type", "application/x-www-form-urlencoded").body(form))
    };
    let now = clock::now().0 / 1000;
    let claims = |jti: String| {
        let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        json!({"iss": issuer.url, "aud": "lampas", "sub": "user-1", "jti": jti, "iat": now, "exp": now + 60, "events": events})
    };
    // Nothing is in memory: one fetch serves them all.
    let burst = futures_util::future::join_all((0..8).map(|i| post(claims(format!("a{i}")), false))).await;
    assert!(burst.iter().all(|(status, _)| *status == 200), "{burst:?}");
    // Junk from the same address is counted, and holds nobody up whose token is right.
    let mut last = 0;
    for i in 0..8 {
        last = post(claims(format!("b{i}")), true).await.0;
    }
    assert_eq!(last, 429);
    let (status, body) = post(claims("c".to_owned()), false).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = post(claims("c".to_owned()), false).await;
    assert_eq!(status, 400, "it counts once: {body}");
}
