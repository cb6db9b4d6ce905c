//! Second factors, proofs for grave calls, bounded tokens and sessions, over the real API.

use lampas_runtime::clock;
use lampas_shared::time::UnixMs;
use serde_json::{Value, json};

use super::code_at;
use crate::api::testing::{Browser, Controller, PASSWORD, answer};

/// Sets a second factor up; returns its secret and recovery codes.
async fn enrol(browser: &Browser<'_>, now: UnixMs) -> (String, Vec<String>) {
    let factor = "/api/v1/session/second-factor";
    let (status, begun) = browser.send("POST", factor, json!({"password": PASSWORD})).await;
    assert_eq!(status, 200, "{begun}");
    let secret = begun["secret"].as_str().expect("a secret").to_owned();
    assert!(begun["uri"].as_str().is_some_and(|u| u.starts_with("otpauth://totp/LAMPAS%20Test:")), "{begun}");
    let (status, done) = browser.send("PUT", factor, json!({"code": code_at(&secret, now)})).await;
    assert_eq!(status, 200, "{done}");
    let codes = done["codes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    (secret, codes)
}

async fn sign_in(controller: &Controller, login: &str, password: &str, code: Option<&str>) -> (u16, Value) {
    let body = json!({"login": login, "password": password, "code": code});
    answer(controller.request("POST", "/api/v1/session").json(&body)).await
}

/// A moment whose codes are those of the step before this one, so that the next step's are fresh for later use.
fn step_before() -> UnixMs {
    clock::now().plus_ms(-30_000)
}

#[tokio::test]
async fn a_second_factor_is_asked_for_once_the_password_is_right() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let elsewhere = controller.sign_in("operator").await;
    let (status, problem) =
        operator.send("POST", "/api/v1/session/second-factor", json!({"password": "not the password"})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/password")));
    let (secret, codes) = enrol(&operator, step_before()).await;
    assert_eq!(codes.len(), 10);
    assert_eq!(elsewhere.get("/api/v1/session").await.0, 401, "what was opened without a code ends");
    assert_eq!(operator.get("/api/v1/session").await.1["has_second_factor"], true);

    // Who doesn't know the password learns nothing.
    for code in [None, Some("123456")] {
        let known = sign_in(&controller, "operator", "wrong password", code).await;
        assert_eq!((known.0, &known.1["code"]), (401, &json!("sign_in_failed")));
    }
    let needed = sign_in(&controller, "operator", PASSWORD, None).await;
    assert_eq!((needed.0, &needed.1["code"]), (401, &json!("second_factor.needed")));
    let code = code_at(&secret, clock::now());
    let signed = sign_in(&controller, "operator", PASSWORD, Some(&code)).await;
    assert_eq!(signed.0, 201, "{}", signed.1);
    let again = sign_in(&controller, "operator", PASSWORD, Some(&code)).await;
    assert_eq!((again.0, &again.1["code"]), (401, &json!("second_factor.wrong")), "a code counts once");
    let typed = format!(" {} ", codes[0].to_uppercase());
    assert_eq!(sign_in(&controller, "operator", PASSWORD, Some(&typed)).await.0, 201, "a recovery code");
    assert_eq!(sign_in(&controller, "operator", PASSWORD, Some(&codes[0])).await.0, 401, "serves once");
    assert_eq!(operator.get("/api/v1/session/second-factor").await.1["recovery_codes_left"], 9);

    // The store holds neither the secret nor the codes.
    let files = std::fs::read_dir(&controller.app.config.data_dir).expect("the data directory");
    let files = files.map(|f| f.expect("an entry").path()).filter(|f| f.is_file());
    let bytes: Vec<u8> = files.flat_map(|f| std::fs::read(f).expect("a file")).collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("session.recovery_code"), "the store is among them");
    assert!(!holds(&secret) && codes.iter().all(|c| !holds(c)));
    let (_, audit) = admin.get("/api/v1/audit").await;
    let audit = audit.to_string();
    assert!(audit.contains("second_factor.confirm") && audit.contains("session.recovery_code"), "{audit}");
    assert!(!audit.contains(&secret) && !audit.contains(&code));

    // An administrator takes it off; the sessions end.
    assert_eq!(admin.send("DELETE", "/api/v1/users/operator/second-factor", json!({})).await.0, 204);
    assert_eq!(operator.get("/api/v1/session").await.0, 401);
    assert_eq!(admin.send("DELETE", "/api/v1/users/operator/second-factor", json!({})).await.0, 404);
}

#[tokio::test]
async fn guesses_at_codes_are_throttled_although_the_password_is_right() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    enrol(&admin, step_before()).await;
    let mut last = 0;
    for _ in 0..6 {
        last = sign_in(&controller, "admin", PASSWORD, Some("000000")).await.0;
        // The first step by itself forgives nothing.
        sign_in(&controller, "admin", PASSWORD, None).await;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn who_must_have_a_second_factor_sets_it_up_before_anything_else() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    let before = controller.sign_in("viewer").await;
    let rules = json!({"second_factor_for": ["viewer"]});
    assert_eq!(admin.send("PUT", "/api/v1/sign-in-rules", rules.clone()).await, (200, rules));
    assert_eq!(before.get("/api/v1/nodes").await.0, 200, "open sessions go on");
    let viewer = controller.sign_in("viewer").await;
    assert!(viewer.session.must_enrol);
    for path in ["/api/v1/nodes", "/api/v1/overview", "/api/v1/tokens", "/api/v1/events"] {
        let (status, problem) = viewer.get(path).await;
        assert_eq!((status, &problem["code"]), (403, &json!("second_factor.required")), "{path}");
    }
    let token = json!({"name": "t", "preset": "viewer", "ttl_secs": 600});
    assert_eq!(viewer.send("POST", "/api/v1/tokens", token).await.0, 403);
    let (secret, _) = enrol(&viewer, step_before()).await;
    assert_eq!(viewer.get("/api/v1/nodes").await.0, 200);
    // Taken off, the session is back where it was.
    let proof = json!({"password": PASSWORD, "code": code_at(&secret, clock::now())});
    assert_eq!(viewer.send("POST", "/api/v1/session/second-factor/removal", proof).await.0, 204);
    assert_eq!(viewer.get("/api/v1/nodes").await.0, 403);
}

#[tokio::test]
async fn grave_calls_want_to_know_who_sits_there() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let wanted = json!({"name": "ci", "preset": "operator", "ttl_secs": 3600});
    let (_, others) = operator.send("POST", "/api/v1/tokens", wanted).await;
    let others = format!("/api/v1/tokens/{}", others["token"]["id"].as_str().expect("an id"));
    let plain = json!({"name": "plain", "preset": "administrator", "ttl_secs": 3600});
    let (_, plain) = admin.send("POST", "/api/v1/tokens", plain).await;
    let grave = json!({"name": "grave", "preset": "administrator", "ttl_secs": 3600, "is_grave": true});
    let (status, grave_token) = admin.send("POST", "/api/v1/tokens", grave.clone()).await;
    assert_eq!(status, 201, "{grave_token}");

    // Eleven minutes later.
    age_proofs(&controller).await;
    let calls = [
        ("POST", "/api/v1/users", json!({"login": "eve", "preset": "viewer", "password": PASSWORD})),
        ("PATCH", "/api/v1/users/operator", json!({"preset": "viewer"})),
        ("DELETE", "/api/v1/users/operator", json!({})),
        ("PUT", "/api/v1/sign-in-rules", json!({"second_factor_for": []})),
        ("POST", "/api/v1/tokens", grave),
        ("DELETE", others.as_str(), json!({})),
    ];
    for (method, path, body) in &calls {
        let (status, problem) = admin.send(method, path, body.clone()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("reauthentication.needed")), "{method} {path}");
        let secret = plain["secret"].as_str().expect("a secret");
        let (status, problem) = answer(controller.request(method, path).bearer_auth(secret).json(body)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("reauthentication.needed")), "{method} {path}");
    }
    assert_eq!(admin.get("/api/v1/users").await.0, 200, "looking is not grave");
    let own = json!({"name": "own", "preset": "viewer", "ttl_secs": 3600});
    assert_eq!(admin.send("POST", "/api/v1/tokens", own).await.0, 201, "nor are one's own tokens");
    let (status, problem) = admin.send("POST", "/api/v1/session/proof", json!({"password": "a wrong one"})).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/password")));
    assert_eq!(admin.send("POST", "/api/v1/session/proof", json!({"password": PASSWORD})).await.0, 204);
    let (method, path, body) = &calls[0];
    assert_eq!(admin.send(method, path, body.clone()).await.0, 201);
    assert_eq!(admin.send("DELETE", &others, json!({})).await.0, 204);
    let by_token = controller.request("PATCH", "/api/v1/users/eve").json(&json!({"is_disabled": true}));
    let by_token = by_token.bearer_auth(grave_token["secret"].as_str().expect("a secret"));
    assert_eq!(answer(by_token).await.0, 200, "a token that was made for it");
}

pub(super) async fn age_proofs(controller: &Controller) {
    let then = clock::now().plus_ms(-11 * 60_000).0;
    controller
        .app
        .db
        .write(|mut tx| async move {
            sqlx::query("UPDATE session SET proven_ms = ?").bind(then).execute(tx.conn()).await?;
            Ok::<_, crate::db::DbError>(tx.done(()))
        })
        .await
        .expect("written");
}

#[tokio::test]
async fn a_token_may_be_held_to_some_permissions() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let wanted = |only: Value| json!({"name": "ci", "preset": "operator", "ttl_secs": 3600, "permissions": only});
    for wrong in [json!([]), json!(["manage_users"])] {
        let (status, problem) = admin.send("POST", "/api/v1/tokens", wanted(wrong)).await;
        assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/permissions")));
    }
    let (status, made) = admin.send("POST", "/api/v1/tokens", wanted(json!(["view", "own_account"]))).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().expect("a secret");
    let by = |method: &str, path: &str| controller.request(method, path).bearer_auth(secret);
    let (_, session) = answer(by("GET", "/api/v1/session")).await;
    assert_eq!(session["permissions"], json!(["view", "own_account"]));
    assert_eq!(answer(by("GET", "/api/v1/nodes")).await.0, 200);
    let (status, problem) = answer(by("POST", "/api/v1/changes").json(&json!({"drafts": []}))).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "an operator's, without the permission");
    let (status, problem) = answer(by("POST", "/api/v1/tokens").json(&wanted(json!(["change"])))).await;
    assert_eq!((status, &problem["fields"][0]["pointer"]), (422, &json!("/permissions")), "no way round");
    let all = json!({"name": "all", "preset": "operator", "ttl_secs": 3600});
    let (_, heir) = answer(by("POST", "/api/v1/tokens").json(&all)).await;
    assert_eq!(heir["token"]["permissions"], json!(["view", "own_account"]), "what it makes inherits the bound");
    let (_, page) = admin.get("/api/v1/tokens").await;
    assert_eq!(page["items"][1]["permissions"], json!(["view", "own_account"]));
    assert!(page["items"][1]["last_used_at"].is_string(), "{page}");
}

#[tokio::test]
async fn administrators_see_and_end_the_sessions_of_everybody() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    admin.make("viewer").await;
    let (one, two) = (controller.sign_in("operator").await, controller.sign_in("operator").await);
    let viewer = controller.sign_in("viewer").await;
    let logins = |page: &Value| -> Vec<String> {
        page["items"].as_array().into_iter().flatten().map(|s| s["login"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(logins(&admin.get("/api/v1/sessions?all=true").await.1), ["viewer", "operator", "operator", "admin"]);
    let (_, page) = admin.get("/api/v1/sessions?user=operator&limit=1").await;
    assert_eq!(logins(&page), ["operator"]);
    let rest = format!("/api/v1/sessions?user=operator&after={}", page["next"].as_str().expect("there is more"));
    assert_eq!(logins(&admin.get(&rest).await.1), ["operator"]);
    assert_eq!(logins(&viewer.get("/api/v1/sessions").await.1), ["viewer"], "one's own");
    for path in ["/api/v1/sessions?all=true", "/api/v1/sessions?user=admin"] {
        assert_eq!(viewer.get(path).await.0, 403, "{path}");
    }
    let newest = format!("/api/v1/sessions/{}", page["items"][0]["id"].as_str().expect("an id"));
    assert_eq!(viewer.send("DELETE", &newest, json!({})).await.0, 404, "not one's own");
    assert_eq!(admin.send("DELETE", &newest, json!({})).await.0, 204);
    assert_eq!((one.get("/api/v1/session").await.0, two.get("/api/v1/session").await.0), (200, 401));
    assert_eq!(viewer.send("DELETE", "/api/v1/users/operator/sessions", json!({})).await.0, 403);
    assert_eq!(admin.send("DELETE", "/api/v1/users/operator/sessions", json!({})).await.0, 204);
    assert_eq!(one.get("/api/v1/session").await.0, 401);
    let (_, audit) = admin.get("/api/v1/audit?act=session.end").await;
    assert!(audit.to_string().contains("all of operator"), "{audit}");
}

#[tokio::test]
async fn tokens_that_end_within_a_week_are_told_on_overview() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    for (name, days) in [("nightly", 30), ("short", 1), ("far", 90)] {
        let wanted = json!({"name": name, "preset": "viewer", "ttl_secs": days * 86_400});
        assert_eq!(operator.send("POST", "/api/v1/tokens", wanted).await.0, 201);
    }
    // 25 days later, for all that the store knows.
    controller
        .app
        .db
        .write(|mut tx| async move {
            let ms = 25_i64 * 86_400_000;
            sqlx::query("UPDATE api_token SET created_ms = created_ms - ?, expires_ms = expires_ms - ?")
                .bind(ms)
                .bind(ms)
                .execute(tx.conn())
                .await?;
            Ok::<_, crate::db::DbError>(tx.done(()))
        })
        .await
        .expect("written");
    let told = |page: Value| -> Vec<String> {
        let items = page["attention"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|i| i["kind"] == "token_expiring").map(|i| i["text"].to_string()).collect()
    };
    for (who, link) in [(&operator, "/tokens"), (&admin, "/tokens?show=all")] {
        let (_, page) = who.get("/api/v1/overview").await;
        assert!(page.to_string().contains(&format!("\"{link}\"")), "{page}");
        let told = told(page);
        assert!(told.len() == 1 && told[0].contains("“nightly” of operator"), "{told:?}");
    }
    admin.make("viewer").await;
    let viewer = controller.sign_in("viewer").await;
    assert!(told(viewer.get("/api/v1/overview").await.1).is_empty(), "others' are not one's own");
}

crate::db::testing::on_both!(what_changes_meanwhile_stands);

/// Two controllers: one looks at a user, another bars them, and what the first does then goes by what stands.
async fn what_changes_meanwhile_stands(db: crate::db::Db) {
    use crate::{
        access::store::{UserRow, insert_user, replace_password, user_by_id, user_to_use},
        db::{DbError, Tx},
    };
    let user = &UserRow { password_hash: "old".to_owned(), ..UserRow::fresh("anna") };
    let made = db.write(|mut tx: Tx| async move {
        insert_user(&mut tx, user).await?;
        assert!(replace_password(&mut tx, user.id, ("old", "new"), UnixMs(2)).await?);
        assert!(!replace_password(&mut tx, user.id, ("old", "newer"), UnixMs(2)).await?, "it is another one");
        Ok::<_, DbError>(tx.done(()))
    });
    made.await.expect("made");
    let (db, other) = (&db, &db.clone());
    let seen = db.write(|mut tx: Tx| async move {
        let before = user_by_id(&mut tx, user.id).await?.expect("is there");
        assert_eq!((before.password_hash.as_str(), before.disabled_at), ("new", None));
        let bar = "UPDATE user_account SET disabled_ms = 3, preset = 'none' WHERE login = 'anna'";
        if tx.dialect().for_update().is_empty() {
            // Nobody else writes at the same time.
            sqlx::query(bar).execute(tx.conn()).await?;
        } else {
            let barred = other.write(|mut tx: Tx| async move {
                sqlx::query(bar).execute(tx.conn()).await?;
                Ok::<_, DbError>(tx.done(()))
            });
            barred.await?;
            assert!(
                user_by_id(&mut tx, user.id).await?.expect("is there").disabled_at.is_none(),
                "as it was seen first"
            );
        }
        let has_changed = replace_password(&mut tx, user.id, ("new", "newest"), UnixMs(4)).await?;
        let seen = user_to_use(&mut tx, user.id).await?.expect("is there");
        Ok::<_, DbError>(tx.done((has_changed, seen)))
    });
    let (has_changed, seen) = seen.await.expect("looked");
    assert!(!has_changed, "who is barred sets no password");
    assert_eq!((seen.disabled_at, seen.preset), (Some(UnixMs(3)), lampas_shared::access::Preset::None));
}
