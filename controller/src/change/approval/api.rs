//! The calls of approvals, protections and scheduled changes.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{ApprovalWanted, ApproveRequest, Change, Protection, ProtectionCreate, Reason};
use lampas_shared::{access::Permission, id::ProtectionId};

use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, MaybeJson, Path, param},
        guard::Caller,
        problem::Answer,
        table::{Access, Call, Scoped, act, get},
    },
    change::api::{reason, shown},
};

const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);
const APPROVE: Access = Access::Needs(Permission::Approve);
const PROTECT: Access = Access::Needs(Permission::Protect);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/approvals", VIEW, "Plans that wait for an approval, oldest first", approvals)
            .gives_list::<ApprovalWanted>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/changes/{change}/approve", APPROVE, "change.approve", "Approve a plan", approve)
            .scoped(Scoped::Objects)
            .takes::<ApproveRequest>()
            .gives::<Change>(),
        act(
            "POST",
            "/api/v1/changes/{change}/decline",
            APPROVE,
            "change.decline",
            "Send a planned change back to its author",
            decline,
        )
        .scoped(Scoped::Objects)
        .takes::<Reason>()
        .gives::<Change>(),
        act(
            "DELETE",
            "/api/v1/changes/{change}/schedule",
            CHANGE,
            "change.unschedule",
            "Take a change off the schedule",
            unschedule,
        )
        .scoped(Scoped::Objects)
        .may_take::<Reason>()
        .gives::<Change>(),
        get("/api/v1/protections", VIEW, "Scopes in which a change needs an approval", protections)
            .gives_list::<Protection>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/protections", PROTECT, "protection.create", "Protect a scope", protect)
            .scoped(Scoped::Selection)
            .takes::<ProtectionCreate>()
            .answers::<Protection>(201),
        act(
            "DELETE",
            "/api/v1/protections/{protection}",
            PROTECT,
            "protection.remove",
            "Take a protection away",
            unprotect,
        )
        .scoped(Scoped::Selection)
        .may_take::<Reason>(),
    ]
}

async fn approvals(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<ApprovalWanted>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    Ok(axum::Json(waiting(&app, &caller, &reach).await?))
}

/// Returns the plans that wait for an approval, as far as the caller sees what they are about.
pub(crate) async fn waiting(app: &App, caller: &Caller, reach: &Reach) -> Answer<Vec<ApprovalWanted>> {
    let mut found = app.changes.approvals(&caller.as_principal()).await?;
    if !reach.is_all() {
        let ids: Vec<_> = found.iter().map(|w| w.change.id).collect();
        let scopes = app.changes.scopes(&ids).await?;
        for w in &mut found {
            w.protections.retain(|p| reach.has_scope(&p.scope));
        }
        found.retain(|w| scopes.get(&w.change.id).is_some_and(|all| all.iter().all(|s| reach.has_scope(s))));
    }
    Ok(found)
}

async fn approve(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<ApproveRequest>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    let why = reason(&wanted.reason)?;
    let row = app.changes.approve(row.id, &wanted.plan, &why, &caller.as_principal()).await?;
    Ok(axum::Json(shown(&app, &caller, &row).await?))
}

async fn decline(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<Reason>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    let row = app.changes.decline(row.id, &wanted.reason, &caller.as_principal()).await?;
    Ok(axum::Json(shown(&app, &caller, &row).await?))
}

async fn unschedule(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(wanted): MaybeJson<Reason>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    let row = app.changes.unschedule(row.id, &reason(&wanted.reason)?, &caller.as_principal()).await?;
    Ok(axum::Json(shown(&app, &caller, &row).await?))
}

async fn protections(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<Protection>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let mut found = app.changes.protections().await?;
    found.retain(|p| reach.has_scope(&p.scope));
    Ok(axum::Json(found))
}

async fn protect(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<ProtectionCreate>,
) -> Answer<impl IntoResponse> {
    let made = app.changes.protect(&wanted, &caller.as_principal()).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn unprotect(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(wanted): MaybeJson<Reason>,
) -> Answer<StatusCode> {
    let id: ProtectionId = param("protection", &id)?;
    app.changes.unprotect(id, &reason(&wanted.reason)?, &caller.as_principal()).await?;
    Ok(StatusCode::NO_CONTENT)
}
