//! The calls of identity providers: signing in with them, setting them, and the identities that users have there.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lampas_api::{
    Identities, Identity, IdentityLink, InvitationCreate, InvitationCreated, KeyRequest, Page, Provider, ProviderBegin,
    ProviderCheck, ProviderDone, ProviderPurpose, ProviderPut, ProviderQuery, ProviderRedirect, ProviderReturn,
    ProviderSignIn, SignInOptions,
};
use lampas_shared::{access::Permission, id::IdentityId};

use super::flow::{Begin, Ended, FLOW_MS};
use crate::{
    access::{
        api::{describe, session_cookie},
        factor,
    },
    api::{
        App,
        extract::{Json, Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, ask, get},
    },
};

const OWN: Access = Access::Needs(Permission::OwnAccount);
const USERS: Access = Access::Needs(Permission::ManageUsers);

const WITH: &str = "/api/v1/session/provider";
const WITH_KEY: &str = "/api/v1/session/provider/key-request";
const PROOF: &str = "/api/v1/session/proof/provider";
const OWN_ALL: &str = "/api/v1/session/identities";
const OWN_ONE: &str = "/api/v1/session/identities/{identity}";
const ONE: &str = "/api/v1/providers/{provider}";
const LOGOUT: &str = "/api/v1/providers/{provider}/logout";
const OF_USER: &str = "/api/v1/users/{user}/identities";
const ONE_OF_USER: &str = "/api/v1/users/{user}/identities/{identity}";
const INVITE: &str = "/api/v1/users/{user}/invitations";

/// The rows of the table.
pub(in crate::access) fn calls() -> Vec<Call> {
    let own = [
        get("/api/v1/sign-in-options", Access::Open, "With what one can sign in besides a password", options)
            .gives::<SignInOptions>(),
        act("POST", WITH, Access::Open, "session.begin", "Begin to sign in with an identity provider", begin)
            .takes::<ProviderSignIn>()
            .gives::<ProviderRedirect>(),
        act("PUT", WITH, Access::Open, "session.open", "End what was begun with a provider", end)
            .takes::<ProviderReturn>()
            .gives::<ProviderDone>(),
        ask(WITH_KEY, Access::Open, "What a key has to answer after the provider", key_request).gives::<KeyRequest>(),
        act("POST", PROOF, OWN, "session.proof", "Begin to show at a provider who sits there", begin_proof)
            .takes::<ProviderBegin>()
            .gives::<ProviderRedirect>()
            .for_enrolling(),
        get(OWN_ALL, OWN, "With what one signs in", own_identities).gives::<Identities>().for_enrolling(),
        act("POST", OWN_ALL, OWN, "identity.link", "Begin to link an identity of one's own", begin_link)
            .takes::<ProviderBegin>()
            .gives::<ProviderRedirect>()
            .grave(),
        act("DELETE", OWN_ONE, OWN, "identity.unlink", "Unlink an identity of one's own", unlink_own).grave(),
    ];
    let mut calls: Vec<Call> = own.into_iter().map(|c| c.scoped(Scoped::Own)).collect();
    calls.extend(vec![
        get("/api/v1/providers", USERS, "Identity providers, by name", list)
            .query::<ProviderQuery>()
            .gives_page::<Provider>(),
        get(ONE, USERS, "One identity provider, by name", one).gives::<Provider>(),
        act("PUT", ONE, USERS, "provider.update", "Make or change an identity provider", put)
            .takes::<ProviderPut>()
            .gives::<Provider>()
            .grave(),
        act("DELETE", ONE, USERS, "provider.remove", "Remove an identity provider with its identities", remove).grave(),
        act("POST", LOGOUT, Access::Open, "session.end", "A provider tells that somebody signed out there", logout)
            .gives_text("text/plain"),
        ask("/api/v1/providers/{provider}/check", USERS, "Ask a provider whether people can sign in", check)
            .gives::<ProviderCheck>(),
        get(OF_USER, USERS, "With what a user signs in", identities).gives::<Identities>(),
        act("POST", OF_USER, USERS, "identity.link", "Link an identity to a user", link)
            .takes::<IdentityLink>()
            .answers::<Identity>(201)
            .grave(),
        act("DELETE", ONE_OF_USER, USERS, "identity.unlink", "Unlink an identity, or withdraw an invitation", unlink)
            .grave(),
        act("POST", INVITE, USERS, "identity.invite", "Invite a user to sign in with a provider", invite)
            .takes::<InvitationCreate>()
            .answers::<InvitationCreated>(201)
            .grave(),
    ]);
    calls
}

/// The cookie of what was begun. It comes back from our own page alone, so that it can be as strict as the session's.
const COOKIE: &str = "__Host-lampas-provider";

fn flow_cookie(value: &str, secs: i64) -> Answer<HeaderValue> {
    let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={secs}");
    HeaderValue::from_str(&text).map_err(|e| Refusal::internal(&e))
}

fn given_cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = all.flat_map(|v| v.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value).filter(|v| !v.is_empty())
}

async fn options(State(app): State<App>) -> Answer<axum::Json<SignInOptions>> {
    Ok(axum::Json(app.access.sign_in_options().await?))
}

async fn begun(app: &App, caller: &Caller, wanted: Begin<'_>) -> Answer<Response> {
    let (redirect, cookie) = app.access.begin_with_provider(caller, wanted).await?;
    let cookie = flow_cookie(&cookie, FLOW_MS / 1000)?;
    Ok(([(header::SET_COOKIE, cookie)], axum::Json(redirect)).into_response())
}

async fn begin(State(app): State<App>, caller: Caller, Json(wanted): Json<ProviderSignIn>) -> Answer<Response> {
    let (provider, invitation) = (wanted.provider.as_str(), wanted.invitation.as_deref());
    begun(&app, &caller, Begin { provider, purpose: ProviderPurpose::SignIn, session: None, invitation }).await
}

async fn begin_proof(State(app): State<App>, caller: Caller, Json(wanted): Json<ProviderBegin>) -> Answer<Response> {
    let session = Some(factor::in_session(&caller)?);
    let provider = wanted.provider.as_str();
    begun(&app, &caller, Begin { provider, purpose: ProviderPurpose::Proof, session, invitation: None }).await
}

async fn begin_link(State(app): State<App>, caller: Caller, Json(wanted): Json<ProviderBegin>) -> Answer<Response> {
    let session = Some(factor::in_session(&caller)?);
    let provider = wanted.provider.as_str();
    begun(&app, &caller, Begin { provider, purpose: ProviderPurpose::Link, session, invitation: None }).await
}

async fn end(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(given): Json<ProviderReturn>,
) -> Answer<Response> {
    let ended = app.access.end_with_provider(&caller, given_cookie(&headers), &given).await;
    let (purpose, opened) = match ended {
        Ok(Ended::Done(purpose, opened)) => (purpose, opened),
        Ok(Ended::Again(cookie, refusal)) => {
            let cookie = flow_cookie(&cookie, FLOW_MS / 1000)?;
            return Ok(([(header::SET_COOKIE, cookie)], refusal).into_response());
        }
        Err(refusal) => return Err(refusal),
    };
    let session = match &opened {
        Some(opened) => describe(&app, &opened.identity).await?,
        None => describe(&app, caller.identity()?).await?,
    };
    let mut response = axum::Json(ProviderDone { purpose, session }).into_response();
    response.headers_mut().append(header::SET_COOKIE, flow_cookie("", 0)?);
    if let Some(opened) = opened {
        response.headers_mut().append(header::SET_COOKIE, session_cookie(&app, &opened)?);
    }
    Ok(response)
}

async fn key_request(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Answer<axum::Json<KeyRequest>> {
    Ok(axum::Json(app.access.provider_key_request(&caller, given_cookie(&headers)).await?))
}

async fn own_identities(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Identities>> {
    Ok(axum::Json(app.access.identities(&caller.identity()?.user.to_string()).await?))
}

async fn unlink_own(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let id = param::<IdentityId>("identity", &id)?;
    let user = caller.identity()?.user.to_string();
    app.access.unlink(&caller, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list(State(app): State<App>, Query(query): Query<ProviderQuery>) -> Answer<axum::Json<Page<Provider>>> {
    let limit = limit(query.limit)?;
    let items = app.access.providers(query.after.as_deref().unwrap_or_default(), limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|p| p.name.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn one(State(app): State<App>, Path(name): Path<String>) -> Answer<axum::Json<Provider>> {
    Ok(axum::Json(app.access.provider(&name).await?))
}

async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(wanted): Json<ProviderPut>,
) -> Answer<axum::Json<Provider>> {
    let (made, _) = app.access.put_provider(&caller.as_principal(), &caller.reason, &name, &wanted).await?;
    Ok(axum::Json(made))
}

async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    app.access.delete_provider(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check(State(app): State<App>, Path(name): Path<String>) -> Answer<axum::Json<ProviderCheck>> {
    Ok(axum::Json(app.access.check_provider(&name).await?))
}

/// Takes a form (OpenID Connect Back-Channel Logout 1.0, section 2.5); answers 200, and nothing keeps the answer (section 2.8).
async fn logout(State(app): State<App>, caller: Caller, Path(name): Path<String>, body: Bytes) -> Answer<Response> {
    let mut given = url::form_urlencoded::parse(&body).filter(|(key, _)| key == "logout_token").map(|(_, value)| value);
    let (token, more) = (given.next().unwrap_or_default(), given.next());
    if token.is_empty() || more.is_some() {
        return Err(Refusal::new("malformed", "send logout_token, once, as a form does"));
    }
    app.access.logout_by_provider(&caller, &name, &token).await?;
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], "").into_response())
}

async fn identities(State(app): State<App>, Path(which): Path<String>) -> Answer<axum::Json<Identities>> {
    Ok(axum::Json(app.access.identities(&which).await?))
}

async fn link(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<IdentityLink>,
) -> Answer<impl IntoResponse> {
    let made = app.access.link(&caller.as_principal(), &caller.reason, &which, &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn unlink(
    State(app): State<App>,
    caller: Caller,
    Path((which, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let id = param::<IdentityId>("identity", &id)?;
    app.access.unlink(&caller, &which, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn invite(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<InvitationCreate>,
) -> Answer<impl IntoResponse> {
    let made = app.access.invite(&caller.as_principal(), &caller.reason, &which, &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}
