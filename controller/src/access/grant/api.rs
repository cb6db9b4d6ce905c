//! The calls of grants, and of what users may.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{Grant, GrantCreate, GrantQuery, MayAnswer, MayQuery, Page, UserRights};
use lampas_shared::{
    access::{Permission, Subject},
    fleet::Scope,
    id::GrantId,
};

use crate::api::{
    App,
    extract::{Json, Path, Query, limit, param},
    guard::Caller,
    problem::{Answer, Refusal},
    table::{Access, Call, act, get},
};

const USERS: Access = Access::Needs(Permission::ManageUsers);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/grants", USERS, "Grants to users and groups, newest first", list)
            .query::<GrantQuery>()
            .gives_page::<Grant>(),
        act("POST", "/api/v1/grants", USERS, "grant.create", "Let a user or a group do something in a scope", create)
            .takes::<GrantCreate>()
            .answers::<Grant>(201)
            .grave(),
        act("DELETE", "/api/v1/grants/{grant}", USERS, "grant.remove", "Take a grant away", remove).grave(),
        get("/api/v1/users/{user}/rights", USERS, "What a user may, and by what", rights).gives::<UserRights>(),
        get("/api/v1/users/{user}/may", USERS, "Whether a user may do something somewhere, and why", may)
            .query::<MayQuery>()
            .gives::<MayAnswer>(),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<GrantQuery>) -> Answer<axum::Json<Page<Grant>>> {
    let limit = limit(query.limit)?;
    let to = query.subject.as_deref().map(str::parse::<Subject>).transpose();
    let to = to.map_err(|e| Refusal::text("/subject", &e))?;
    let before = query.after.as_deref().map(|a| param::<GrantId>("grant", a)).transpose()?;
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    let items = app.access.grants(to.as_ref(), &before, limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|g| g.id.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn create(State(app): State<App>, caller: Caller, Json(wanted): Json<GrantCreate>) -> Answer<impl IntoResponse> {
    let made = app.access.grant(&caller.as_principal(), &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn remove(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    app.access.take_grant(&caller.as_principal(), param("grant", &id)?, &caller.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rights(State(app): State<App>, Path(which): Path<String>) -> Answer<axum::Json<UserRights>> {
    Ok(axum::Json(app.access.user_rights(&which).await?))
}

async fn may(
    State(app): State<App>,
    Path(which): Path<String>,
    Query(query): Query<MayQuery>,
) -> Answer<axum::Json<MayAnswer>> {
    let action: Permission = query.action.parse().map_err(|e| Refusal::text("/action", &e))?;
    let scope: Scope = query.scope.parse().map_err(|e| Refusal::text("/scope", &e))?;
    Ok(axum::Json(app.access.may(&which, action, &scope).await?))
}
