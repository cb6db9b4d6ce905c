//! The calls of freezes.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{Freeze, FreezeCreate, FreezeQuery, Reason};
use lampas_shared::{access::Permission, id::FreezeId};

use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, MaybeJson, Path, Query, param},
        guard::Caller,
        problem::Answer,
        table::{Access, Call, Scoped, act, get},
    },
    change::api::reason,
};

const VIEW: Access = Access::Needs(Permission::View);
const FREEZE: Access = Access::Needs(Permission::Freeze);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/freezes", VIEW, "Freezes that stand or are to come", list)
            .query::<FreezeQuery>()
            .gives_list::<Freeze>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/freezes", FREEZE, "freeze.create", "Freeze a scope", create)
            .scoped(Scoped::Selection)
            .takes::<FreezeCreate>()
            .answers::<Freeze>(201),
        act("POST", "/api/v1/freezes/{freeze}/end", FREEZE, "freeze.end", "End a freeze before its time", end)
            .scoped(Scoped::Selection)
            .may_take::<Reason>()
            .gives::<Freeze>(),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<FreezeQuery>,
) -> Answer<axum::Json<Vec<Freeze>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let mut found = app.changes.freezes(query.past.unwrap_or(false)).await?;
    found.retain(|f| reach.has_scope(&f.scope));
    Ok(axum::Json(found))
}

async fn create(State(app): State<App>, caller: Caller, Json(wanted): Json<FreezeCreate>) -> Answer<impl IntoResponse> {
    let made = app.changes.freeze(&wanted, &caller.as_principal()).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(wanted): MaybeJson<Reason>,
) -> Answer<axum::Json<Freeze>> {
    let id: FreezeId = param("freeze", &id)?;
    Ok(axum::Json(app.changes.thaw(id, &reason(&wanted.reason)?, &caller.as_principal()).await?))
}
