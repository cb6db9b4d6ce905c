//! The calls of operations.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use lampas_api::{
    Operation, OperationNode, OperationOutput, OperationPreview, OperationQuery, OperationSummary, OutputGroup,
    OutputQuery, Page, PageQuery,
};
use lampas_shared::{
    access::Permission,
    id::RunId,
    operation::{OperationSpec, OperationState},
};

use super::{
    OperationError,
    service::Starting,
    store::{Filter, OperationRow},
};
use crate::api::{
    App,
    extract::{Json, Path, Query, limit, param},
    guard::Caller,
    problem::{Answer, Refusal},
    table::{Access, Call, act, ask, get},
};

const VIEW: Access = Access::Needs(Permission::View);
const RUN: Access = Access::Needs(Permission::Run);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    const ONE: &str = "/api/v1/operations/{operation}";
    vec![
        get("/api/v1/operations", VIEW, "Operations, newest first", list)
            .query::<OperationQuery>()
            .gives_page::<OperationSummary>(),
        act("POST", "/api/v1/operations", RUN, "operation.start", "Run a command or a script on a selection", start)
            .takes::<OperationSpec>()
            .answers::<Operation>(201),
        ask("/api/v1/operations/preview", RUN, "What an operation would run on", preview)
            .takes::<OperationSpec>()
            .gives::<OperationPreview>(),
        get(ONE, VIEW, "One operation", one).gives::<Operation>(),
        get("/api/v1/operations/{operation}/nodes", VIEW, "The runs of an operation", nodes)
            .query::<PageQuery>()
            .gives_page::<OperationNode>(),
        get("/api/v1/operations/{operation}/output", VIEW, "What its runs write, as it comes", output)
            .query::<OutputQuery>()
            .gives::<OperationOutput>(),
        get("/api/v1/operations/{operation}/groups", VIEW, "Runs that ended alike and wrote the same", groups)
            .gives_list::<OutputGroup>(),
        act("POST", "/api/v1/operations/{operation}/cancel", RUN, "operation.cancel", "End an operation", cancel),
        act(
            "POST",
            "/api/v1/operations/{operation}/again",
            RUN,
            "operation.start",
            "Run the same again where it did not succeed",
            again,
        )
        .answers::<Operation>(201),
    ]
}

async fn list(
    State(app): State<App>,
    Query(query): Query<OperationQuery>,
) -> Answer<axum::Json<Page<OperationSummary>>> {
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let state = query.state.as_deref().map(str::parse::<OperationState>).transpose();
    let filter = Filter { state: state.map_err(|e| Refusal::text("/state", &e))?, node };
    let before = query.after.as_deref().map(|a| param::<u64>("operation", a)).transpose()?;
    Ok(axum::Json(app.operations.list(&filter, before, limit(query.limit)?).await?))
}

async fn start(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(spec): Json<OperationSpec>,
) -> Answer<impl IntoResponse> {
    let row = app.operations.begin(spec, None, &starting(&caller, &headers)?).await?;
    Ok((StatusCode::CREATED, axum::Json(app.operations.shown(&row, may_read(&caller, &row)).await?)))
}

async fn preview(State(app): State<App>, Json(spec): Json<OperationSpec>) -> Answer<axum::Json<OperationPreview>> {
    Ok(axum::Json(app.operations.preview(&spec).await?))
}

async fn one(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<axum::Json<Operation>> {
    let row = app.operations.find(&which).await?;
    Ok(axum::Json(app.operations.shown(&row, may_read(&caller, &row)).await?))
}

async fn nodes(
    State(app): State<App>,
    Path(which): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<Page<OperationNode>>> {
    let row = app.operations.find(&which).await?;
    let after = query.after.as_deref().map(|a| param::<i64>("place", a)).transpose()?;
    Ok(axum::Json(app.operations.nodes(row.id, after, limit(query.limit)?).await?))
}

async fn output(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<OutputQuery>,
) -> Answer<axum::Json<OperationOutput>> {
    let row = app.operations.find(&which).await?;
    if !may_read(&caller, &row) {
        let text = "output is read by who may read contents, and by who started the operation";
        return Err(Refusal::new("forbidden", text));
    }
    let run = query.run.as_deref().map(|r| param::<RunId>("run", r)).transpose()?;
    let after = query.after.as_deref().map(|a| param::<u64>("place", a)).transpose()?.unwrap_or(0);
    let wait = Duration::from_secs(u64::from(query.wait.unwrap_or(0)));
    let seen = query.seen.filter(|_| !wait.is_zero());
    Ok(axum::Json(app.operations.output(&row, run, after, seen, wait).await?))
}

async fn groups(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
) -> Answer<axum::Json<Vec<OutputGroup>>> {
    let row = app.operations.find(&which).await?;
    Ok(axum::Json(app.operations.groups(row.id, may_read(&caller, &row)).await?))
}

async fn cancel(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.operations.cancel(&which, &caller.as_principal()).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn again(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(which): Path<String>,
) -> Answer<impl IntoResponse> {
    let row = app.operations.again(&which, &starting(&caller, &headers)?).await?;
    Ok((StatusCode::CREATED, axum::Json(app.operations.shown(&row, may_read(&caller, &row)).await?)))
}

fn starting(caller: &Caller, headers: &HeaderMap) -> Answer<Starting> {
    let request_key = match headers.get("idempotency-key").map(|k| k.to_str()) {
        // A key belongs to who sent it.
        Some(Ok(key)) if !key.is_empty() && key.len() <= 64 => Some(format!("{}/{key}", caller.identity()?.user)),
        Some(_) => return Err(Refusal::field("", "Idempotency-Key has 1 to 64 visible ASCII characters")),
        None => None,
    };
    Ok(Starting { author: caller.login(), by: caller.as_principal(), request_key })
}

/// What a run prints is its user's, as a file of mode 0600 would be; and whoever started it may see what came of it.
fn may_read(caller: &Caller, row: &OperationRow) -> bool {
    caller.may(Permission::ReadContent) || caller.login() == row.author
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match error {
            OperationError::Store(inner) => Self::internal(&inner),
            OperationError::NotFound(_) => Self::new("not_found", text),
            OperationError::Refused(_) => Self::new("operation.refused", text),
            OperationError::State(_) => Self::new("operation.state", text),
            OperationError::Field(_) => Self::new("invalid", text),
        }
    }
}
