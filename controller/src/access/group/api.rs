//! The calls of groups of users.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{Page, UserGroup, UserGroupCreate, UserGroupQuery, UserGroupUpdate};
use lampas_shared::access::Permission;

use crate::api::{
    App,
    extract::{Json, Path, Query, limit},
    guard::Caller,
    problem::Answer,
    table::{Access, Call, act, get},
};

const USERS: Access = Access::Needs(Permission::ManageUsers);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    const ONE: &str = "/api/v1/user-groups/{group}";
    vec![
        get("/api/v1/user-groups", USERS, "Groups of users, by name", list)
            .query::<UserGroupQuery>()
            .gives_page::<UserGroup>(),
        act("POST", "/api/v1/user-groups", USERS, "group.create", "Make a group of users", create)
            .takes::<UserGroupCreate>()
            .answers::<UserGroup>(201)
            .grave(),
        get(ONE, USERS, "One group, by id or name", one).gives::<UserGroup>(),
        act("PATCH", ONE, USERS, "group.update", "Change a group's name, note or members", update)
            .takes::<UserGroupUpdate>()
            .gives::<UserGroup>()
            .grave(),
        act("DELETE", ONE, USERS, "group.delete", "Remove a group with its grants", remove).grave(),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<UserGroupQuery>) -> Answer<axum::Json<Page<UserGroup>>> {
    let limit = limit(query.limit)?;
    let items = app.access.groups(query.after.as_deref().unwrap_or_default(), limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|g| g.name.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn one(State(app): State<App>, Path(which): Path<String>) -> Answer<axum::Json<UserGroup>> {
    Ok(axum::Json(app.access.group(&which).await?))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<UserGroupCreate>,
) -> Answer<impl IntoResponse> {
    let made = app.access.create_group(&caller.as_principal(), &caller.reason, &wanted).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<UserGroupUpdate>,
) -> Answer<axum::Json<UserGroup>> {
    Ok(axum::Json(app.access.update_group(&caller.as_principal(), &caller.reason, &which, &wanted).await?))
}

async fn remove(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.access.delete_group(&caller.as_principal(), &caller.reason, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}
