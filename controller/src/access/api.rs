//! The calls of sign-in, sessions, users and API tokens.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use lampas_api::{
    ApiToken, ApiTokenCreate, ApiTokenCreated, OpenSession, Page, PasswordChange, RecoveryCodes, SecondFactor,
    SecondFactorBegin, SecondFactorConfirm, SecondFactorSecret, Session, SessionProof, SessionQuery, SignInRequest,
    SignInRules, TokenQuery, User, UserCreate, UserQuery, UserUpdate,
};
use lampas_shared::{access::Permission, id::TokenId};

use super::{Opened, device, grant, group, oidc, webauthn};
use crate::{
    api::{
        App,
        extract::{Json, Path, Query, limit, param},
        guard::{COOKIE, Caller, Credential, Identity},
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    db::{DbError, Tx},
};

const OWN: Access = Access::Needs(Permission::OwnAccount);
const USERS: Access = Access::Needs(Permission::ManageUsers);

const CREATE_TOKEN: &str = "Make an API token; asked by a token, it ends with that one at the latest";

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    let mut calls: Vec<Call> = own_calls().into_iter().map(|c| c.scoped(Scoped::Own)).collect();
    calls.extend(webauthn::api::calls());
    calls.extend(device::api::calls());
    calls.extend(oidc::api::calls());
    calls.extend(user_calls());
    calls.extend(group::api::calls());
    calls.extend(grant::api::calls());
    calls
}

fn own_calls() -> Vec<Call> {
    vec![
        get("/api/v1/session", OWN, "Who is signed in", session).gives::<Session>().for_enrolling(),
        act("POST", "/api/v1/session", Access::Open, "session.open", "Sign in", sign_in)
            .takes::<SignInRequest>()
            .answers::<Session>(201),
        act("DELETE", "/api/v1/session", OWN, "session.end", "Sign out", sign_out).for_enrolling(),
        act("PUT", "/api/v1/session/password", OWN, "session.password", "Change one's own password", change_password)
            .takes::<PasswordChange>(),
        act(
            "POST",
            "/api/v1/session/proof",
            OWN,
            "session.proof",
            "Show once more who sits there, for grave calls",
            prove,
        )
        .takes::<SessionProof>()
        .for_enrolling(),
        get(FACTOR, OWN, "One's own second factor", second_factor).gives::<SecondFactor>().for_enrolling(),
        act("POST", FACTOR, OWN, "second_factor.begin", "Make the secret of a second factor", begin_second_factor)
            .takes::<SecondFactorBegin>()
            .gives::<SecondFactorSecret>()
            .for_enrolling(),
        act("PUT", FACTOR, OWN, "second_factor.confirm", "Take it into use by its first code", confirm_second_factor)
            .takes::<SecondFactorConfirm>()
            .gives::<RecoveryCodes>()
            .for_enrolling(),
        act("POST", REMOVAL, OWN, "second_factor.remove", "Take one's own second factor off", remove_second_factor)
            .takes::<SessionProof>(),
        act("POST", CODES, OWN, "second_factor.recovery_codes", "Make new recovery codes", recovery_codes)
            .takes::<SessionProof>()
            .gives::<RecoveryCodes>(),
        get("/api/v1/sessions", OWN, "Open sessions: one's own, or everybody's, the newest first", sessions)
            .query::<SessionQuery>()
            .gives_page::<OpenSession>(),
        act("DELETE", "/api/v1/sessions/{session}", OWN, "session.end", "End a session", end_session),
        get("/api/v1/tokens", OWN, "API tokens, newest first", tokens).query::<TokenQuery>().gives_page::<ApiToken>(),
        act("POST", "/api/v1/tokens", OWN, "token.create", CREATE_TOKEN, create_token)
            .takes::<ApiTokenCreate>()
            .answers::<ApiTokenCreated>(201),
        act("DELETE", "/api/v1/tokens/{token}", OWN, "token.revoke", "Revoke an API token", revoke_token),
    ]
}

fn user_calls() -> Vec<Call> {
    vec![
        get("/api/v1/users", USERS, "All users, by name", users).query::<UserQuery>().gives_page::<User>(),
        act("POST", "/api/v1/users", USERS, "user.create", "Make a user", create_user)
            .takes::<UserCreate>()
            .answers::<User>(201)
            .grave(),
        get("/api/v1/users/{user}", USERS, "One user, by id or name", user).gives::<User>(),
        act("PATCH", "/api/v1/users/{user}", USERS, "user.update", "Change a user", update_user)
            .takes::<UserUpdate>()
            .gives::<User>()
            .grave(),
        act("DELETE", "/api/v1/users/{user}", USERS, "user.delete", "Remove a user", delete_user).grave(),
        act("DELETE", TAKE_OFF, USERS, "user.second_factor", "Take the second factor off a user who lost it", take_off)
            .grave(),
        act(
            "DELETE",
            "/api/v1/users/{user}/sessions",
            USERS,
            "session.end",
            "End all sessions of a user",
            end_sessions,
        ),
        get("/api/v1/sign-in-rules", USERS, "What the fleet asks at sign-in", rules).gives::<SignInRules>(),
        act("PUT", "/api/v1/sign-in-rules", USERS, "access.rules", "Say what the fleet asks at sign-in", set_rules)
            .takes::<SignInRules>()
            .gives::<SignInRules>()
            .grave(),
    ]
}

const FACTOR: &str = "/api/v1/session/second-factor";
const REMOVAL: &str = "/api/v1/session/second-factor/removal";
const CODES: &str = "/api/v1/session/second-factor/recovery-codes";
const TAKE_OFF: &str = "/api/v1/users/{user}/second-factor";

/// Answers 201 with the session and its cookie.
pub(crate) async fn signed_in(app: &App, opened: Opened) -> Answer<impl IntoResponse + use<>> {
    let body = describe(app, &opened.identity).await?;
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, session_cookie(app, &opened)?)], axum::Json(body)))
}

/// Returns the cookie of a session that was just opened.
pub(super) fn session_cookie(app: &App, opened: &Opened) -> Answer<HeaderValue> {
    let cookie = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={}",
        opened.secret, app.config.limits.session_secs
    );
    HeaderValue::from_str(&cookie).map_err(|e| Refusal::internal(&e))
}

pub(super) async fn describe(app: &App, identity: &Identity) -> Answer<Session> {
    let second = app.access.second_factor(identity.user, identity.rights.level()).await?;
    let fleet_name = app
        .db
        .read(|mut tx: Tx| async move {
            let name = crate::setup::fleet_name(&mut tx).await?;
            Ok::<_, DbError>(tx.done(name))
        })
        .await?;
    let (csrf_token, expires_at, must_enrol) = match &identity.by {
        Credential::Session { csrf, expires_at, must_enrol, .. } => (csrf.clone(), *expires_at, *must_enrol),
        Credential::Machine { expires_at, .. } => (String::new(), *expires_at, false),
        Credential::Token { .. } => (String::new(), lampas_shared::time::UnixMs(i64::MAX), false),
    };
    Ok(Session {
        user: identity.user,
        login: identity.login.clone(),
        preset: identity.preset,
        level: identity.level,
        permissions: identity.rights.effective().into_iter().collect(),
        rights: identity.rights.0.iter().map(grant::held).collect(),
        csrf_token,
        expires_at,
        has_second_factor: second.since.is_some() || second.security_keys > 0,
        has_authenticator: second.since.is_some(),
        has_security_key: second.security_keys > 0,
        must_enrol,
        fleet_name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

async fn session(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Session>> {
    Ok(axum::Json(describe(&app, caller.identity()?).await?))
}

async fn sign_in(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<SignInRequest>,
) -> Answer<impl IntoResponse> {
    let opened = app.access.sign_in(&caller, &wanted).await?;
    signed_in(&app, opened).await
}

async fn sign_out(State(app): State<App>, caller: Caller) -> Answer<impl IntoResponse> {
    if let Credential::Session { id, .. } | Credential::Machine { id, .. } = &caller.identity()?.by {
        app.access.end_session(&caller, *id).await?;
    }
    let gone = HeaderValue::from_static("__Host-lampas=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]))
}

async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<PasswordChange>,
) -> Answer<StatusCode> {
    app.access.change_password(&caller, &wanted).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prove(State(app): State<App>, caller: Caller, Json(proof): Json<SessionProof>) -> Answer<StatusCode> {
    app.access.prove(&caller, &proof).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn second_factor(State(app): State<App>, caller: Caller) -> Answer<axum::Json<SecondFactor>> {
    let identity = caller.identity()?;
    Ok(axum::Json(app.access.second_factor(identity.user, identity.rights.level()).await?))
}

async fn begin_second_factor(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<SecondFactorBegin>,
) -> Answer<axum::Json<SecondFactorSecret>> {
    Ok(axum::Json(app.access.begin_second_factor(&caller, &wanted.password).await?))
}

async fn confirm_second_factor(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<SecondFactorConfirm>,
) -> Answer<axum::Json<RecoveryCodes>> {
    Ok(axum::Json(app.access.confirm_second_factor(&caller, &wanted.code).await?))
}

async fn remove_second_factor(
    State(app): State<App>,
    caller: Caller,
    Json(proof): Json<SessionProof>,
) -> Answer<StatusCode> {
    app.access.remove_second_factor(&caller, &proof).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn recovery_codes(
    State(app): State<App>,
    caller: Caller,
    Json(proof): Json<SessionProof>,
) -> Answer<axum::Json<RecoveryCodes>> {
    Ok(axum::Json(app.access.new_recovery_codes(&caller, &proof).await?))
}

async fn take_off(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.access.take_second_factor_off(&caller.as_principal(), &caller.reason, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rules(State(app): State<App>) -> Answer<axum::Json<SignInRules>> {
    Ok(axum::Json(app.access.sign_in_rules().await?))
}

async fn set_rules(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<SignInRules>,
) -> Answer<axum::Json<SignInRules>> {
    Ok(axum::Json(app.access.set_sign_in_rules(&caller, &wanted).await?))
}

async fn sessions(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SessionQuery>,
) -> Answer<axum::Json<Page<OpenSession>>> {
    let limit = limit(query.limit)?;
    let identity = caller.identity()?;
    let everybody = query.all.unwrap_or(false);
    if (everybody || query.user.is_some()) && !caller.may(Permission::ManageUsers) {
        return Err(Refusal::new("forbidden", "the sessions of others are for administrators"));
    }
    let of = match &query.user {
        Some(which) => Some(app.access.user(which).await?.id),
        None if everybody => None,
        None => Some(identity.user),
    };
    let before = query.after.as_deref().map(|id| param("session", id)).transpose()?;
    let mut items = app.access.sessions(of, before, limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|s| s.id.to_string())).flatten();
    if let Credential::Session { id, .. } | Credential::Machine { id, .. } = &identity.by {
        for session in &mut items {
            session.is_current = session.id == *id;
        }
    }
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn end_session(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    app.access.end_session(&caller, param::<TokenId>("session", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_sessions(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.access.end_sessions(&caller, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn users(State(app): State<App>, Query(query): Query<UserQuery>) -> Answer<axum::Json<Page<User>>> {
    let limit = limit(query.limit)?;
    let items = app.access.users(query.after.as_deref().unwrap_or_default(), limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|u| u.login.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn user(State(app): State<App>, Path(which): Path<String>) -> Answer<axum::Json<User>> {
    Ok(axum::Json(app.access.user(&which).await?))
}

async fn create_user(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<UserCreate>,
) -> Answer<impl IntoResponse> {
    Ok((StatusCode::CREATED, axum::Json(app.access.create_user(&caller, &wanted).await?)))
}

async fn update_user(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<UserUpdate>,
) -> Answer<axum::Json<User>> {
    Ok(axum::Json(app.access.update_user(&caller, &which, &wanted).await?))
}

async fn delete_user(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.access.delete_user(&caller, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn tokens(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TokenQuery>,
) -> Answer<axum::Json<Page<ApiToken>>> {
    let limit = limit(query.limit)?;
    let everybody = query.all.unwrap_or(false);
    if everybody && !caller.may(Permission::ManageUsers) {
        return Err(Refusal::new("forbidden", "everybody's tokens are for administrators"));
    }
    let before = query.after.as_deref().map(|id| param("API token", id)).transpose()?;
    let of = if everybody { None } else { Some(caller.identity()?.user) };
    let items = app.access.tokens(of, before, limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|t| t.id.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn create_token(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<ApiTokenCreate>,
) -> Answer<impl IntoResponse> {
    Ok((StatusCode::CREATED, axum::Json(app.access.create_token(&caller, &wanted).await?)))
}

async fn revoke_token(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    app.access.revoke_token(&caller, param::<TokenId>("API token", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
