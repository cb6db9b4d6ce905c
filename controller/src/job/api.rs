//! The calls of runs.

use axum::extract::State;
use lampas_api::{Page, Run, RunQuery};
use lampas_shared::{
    access::Permission,
    id::{ObjectId, RunId},
};

use super::RunFilter;
use crate::{
    api::{
        App,
        extract::{Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, get},
    },
    db::{DbError, Tx},
};

const VIEW: Access = Access::Needs(Permission::View);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/runs", VIEW, "Runs of cron jobs, newest first", list).query::<RunQuery>().gives_page::<Run>(),
        get("/api/v1/runs/{run}", VIEW, "One run with its output", one).gives::<Run>(),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<RunQuery>) -> Answer<axum::Json<Page<Run>>> {
    let limit = limit(query.limit)?;
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let object = query.object.as_deref().map(|o| param::<ObjectId>("object", o)).transpose()?;
    let (filter, after) = (&RunFilter { object, node }, query.after.as_deref());
    let page = app
        .db
        .read(|mut tx: Tx| async move {
            let page = super::list(&mut tx, filter, after, limit).await?;
            Ok::<_, DbError>(tx.done(page))
        })
        .await?;
    Ok(axum::Json(page))
}

async fn one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<axum::Json<Run>> {
    let id: RunId = param("run", &id)?;
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let run = super::get(&mut tx, id).await?;
            Ok::<_, DbError>(tx.done(run))
        })
        .await?;
    let mut run = found.ok_or_else(|| Refusal::not_found("run", id))?;
    // What a job prints is its user's, as a file of mode 0600 would be.
    if !caller.may(Permission::ReadContent) {
        run.output = None;
    }
    Ok(axum::Json(run))
}
