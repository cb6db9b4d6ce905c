//! The calls of security keys.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{
    KeyAnswer, KeyCreation, KeyRequest, KeySignIn, SecurityKey, SecurityKeyAdd, SecurityKeyAdded, SecurityKeyUpdate,
    SecurityKeys, Session,
};
use lampas_shared::{access::Permission, id::SecurityKeyId};

use crate::{
    access::api::signed_in,
    api::{
        App,
        extract::{Json, Path, param},
        guard::Caller,
        problem::Answer,
        table::{Access, Call, Scoped, act, ask, get},
    },
};

const OWN: Access = Access::Needs(Permission::OwnAccount);
const USERS: Access = Access::Needs(Permission::ManageUsers);

const KEYS: &str = "/api/v1/session/security-keys";
const KEY: &str = "/api/v1/session/security-keys/{key}";
const REGISTER: &str = "Register what the browser made; the first second factor brings recovery codes";

/// The rows of the table.
pub(in crate::access) fn calls() -> Vec<Call> {
    let own = [
        ask("/api/v1/session/key-request", Access::Open, "What a sign-in with a key has to answer", sign_in_request)
            .takes::<KeySignIn>()
            .gives::<KeyRequest>(),
        act("POST", "/api/v1/session/passkey", Access::Open, "session.open", "Sign in with a passkey alone", passkey)
            .takes::<KeyAnswer>()
            .answers::<Session>(201),
        ask("/api/v1/session/proof/key-request", OWN, "What a proof with a key has to answer", proof_request)
            .gives::<KeyRequest>()
            .for_enrolling(),
        get(KEYS, OWN, "One's own security keys", keys).gives::<SecurityKeys>().for_enrolling(),
        act(
            "POST",
            "/api/v1/session/security-keys/creation",
            OWN,
            "security_key.begin",
            "What a new key is asked for",
            creation,
        )
        .gives::<KeyCreation>()
        .for_enrolling()
        .grave(),
        act("POST", KEYS, OWN, "security_key.add", REGISTER, add)
            .takes::<SecurityKeyAdd>()
            .answers::<SecurityKeyAdded>(201)
            .for_enrolling()
            .grave(),
        act("PATCH", KEY, OWN, "security_key.rename", "Rename a security key", rename)
            .takes::<SecurityKeyUpdate>()
            .gives::<SecurityKey>(),
        act("DELETE", KEY, OWN, "security_key.remove", "Remove a security key", remove).grave(),
    ];
    let mut calls: Vec<Call> = own.into_iter().map(|c| c.scoped(Scoped::Own)).collect();
    calls.extend([
        get("/api/v1/users/{user}/security-keys", USERS, "The security keys of a user", keys_of)
            .gives::<SecurityKeys>(),
        act(
            "DELETE",
            "/api/v1/users/{user}/security-keys/{key}",
            USERS,
            "user.security_key",
            "Remove a security key of a user who lost it",
            take_off,
        )
        .grave(),
    ]);
    calls
}

async fn sign_in_request(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<KeySignIn>,
) -> Answer<axum::Json<KeyRequest>> {
    Ok(axum::Json(app.access.key_request(&caller, &wanted).await?))
}

async fn passkey(State(app): State<App>, caller: Caller, Json(answer): Json<KeyAnswer>) -> Answer<impl IntoResponse> {
    let opened = app.access.sign_in_by_passkey(&caller, &answer).await?;
    signed_in(&app, opened).await
}

async fn proof_request(State(app): State<App>, caller: Caller) -> Answer<axum::Json<KeyRequest>> {
    Ok(axum::Json(app.access.proof_key_request(&caller).await?))
}

async fn keys(State(app): State<App>, caller: Caller) -> Answer<axum::Json<SecurityKeys>> {
    Ok(axum::Json(app.access.security_keys(caller.identity()?.user).await?))
}

async fn creation(State(app): State<App>, caller: Caller) -> Answer<axum::Json<KeyCreation>> {
    Ok(axum::Json(app.access.key_creation(&caller).await?))
}

async fn add(State(app): State<App>, caller: Caller, Json(wanted): Json<SecurityKeyAdd>) -> Answer<impl IntoResponse> {
    Ok((StatusCode::CREATED, axum::Json(app.access.add_security_key(&caller, &wanted).await?)))
}

async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
    Json(wanted): Json<SecurityKeyUpdate>,
) -> Answer<axum::Json<SecurityKey>> {
    let key = param::<SecurityKeyId>("security key", &key)?;
    Ok(axum::Json(app.access.rename_security_key(&caller, key, &wanted.name).await?))
}

async fn remove(State(app): State<App>, caller: Caller, Path(key): Path<String>) -> Answer<StatusCode> {
    app.access.remove_security_key(&caller, param::<SecurityKeyId>("security key", &key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keys_of(State(app): State<App>, Path(which): Path<String>) -> Answer<axum::Json<SecurityKeys>> {
    let user = app.access.user(&which).await?;
    Ok(axum::Json(app.access.security_keys(user.id).await?))
}

async fn take_off(
    State(app): State<App>,
    caller: Caller,
    Path((which, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let key = param::<SecurityKeyId>("security key", &key)?;
    app.access.take_security_key_off(&caller.as_principal(), &caller.reason, &which, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
