//! The calls of runs.

use axum::extract::State;
use lampas_api::{Page, Run, RunQuery};
use lampas_shared::{
    access::Permission,
    id::{ObjectId, RunId},
};

use super::RunFilter;
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, get},
    },
    db::{DbError, Tx},
};

const VIEW: Access = Access::Needs(Permission::View);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/runs", VIEW, "Runs of cron jobs, newest first", list)
            .query::<RunQuery>()
            .gives_page::<Run>()
            .scoped(Scoped::Filtered),
        get("/api/v1/runs/{run}", VIEW, "One run with its output", one).gives::<Run>().scoped(Scoped::Filtered),
    ]
}

async fn list(State(app): State<App>, caller: Caller, Query(query): Query<RunQuery>) -> Answer<axum::Json<Page<Run>>> {
    let limit = limit(query.limit)?;
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let object = query.object.as_deref().map(|o| param::<ObjectId>("object", o)).transpose()?;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let (db, filter) = (&app.db, &RunFilter { object, node });
    let fetch = |after: Option<String>| async move {
        let after = after.as_deref();
        let page = db.read(|mut tx: Tx| async move {
            let page = super::list(&mut tx, filter, after, limit).await?;
            Ok::<_, DbError>(tx.done(page))
        });
        Ok(page.await?)
    };
    Ok(axum::Json(reach.page(query.after.clone(), fetch, |run: &Run| reach.has_node(run.node.id)).await?))
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
    let sees = Reach::of(&app, &caller, Permission::View).await?;
    let found = found.filter(|run| sees.has_node(run.node.id));
    let mut run = found.ok_or_else(|| Refusal::not_found("run", id))?;
    // What a job prints is its user's, as a file of mode 0600 would be.
    if !Reach::of(&app, &caller, Permission::ReadContent).await?.has_node(run.node.id) {
        run.output = None;
    }
    Ok(axum::Json(run))
}
