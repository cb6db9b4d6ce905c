//! The calls of operations.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use lampas_api::{
    Operation, OperationNode, OperationOutput, OperationPreview, OperationQuery, OperationSummary, OutputGroup,
    OutputQuery, Page, PageQuery, Signing,
};
use lampas_shared::{
    access::Permission,
    id::RunId,
    operation::{OperationSpec, OperationState, RunState},
    signature::Signed,
};

use super::{
    OperationError,
    service::{Nodes, Starting},
    store::{Filter, OperationRow},
};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, ask, get},
    },
};

const VIEW: Access = Access::Needs(Permission::View);
const RUN: Access = Access::Needs(Permission::Run);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    const ONE: &str = "/api/v1/operations/{operation}";
    vec![
        get("/api/v1/operations", VIEW, "Operations, newest first", list)
            .query::<OperationQuery>()
            .gives_page::<OperationSummary>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/operations", RUN, "operation.start", "Run a command or a script on a selection", start)
            .scoped(Scoped::Selection)
            .takes::<OperationSpec>()
            .answers::<Operation>(201),
        ask("/api/v1/operations/preview", RUN, "What an operation would run on", preview)
            .scoped(Scoped::Selection)
            .takes::<OperationSpec>()
            .gives::<OperationPreview>(),
        get(ONE, VIEW, "One operation", one).gives::<Operation>().scoped(Scoped::Filtered),
        get("/api/v1/operations/{operation}/nodes", VIEW, "The runs of an operation", nodes)
            .query::<PageQuery>()
            .gives_page::<OperationNode>()
            .scoped(Scoped::Filtered),
        get("/api/v1/operations/{operation}/output", VIEW, "What its runs write, as it comes", output)
            .query::<OutputQuery>()
            .gives::<OperationOutput>()
            .scoped(Scoped::Filtered),
        get("/api/v1/operations/{operation}/groups", VIEW, "Runs that ended alike and wrote the same", groups)
            .gives_list::<OutputGroup>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/operations/{operation}/cancel", RUN, "operation.cancel", "End an operation", cancel)
            .scoped(Scoped::Selection),
        get(
            "/api/v1/operations/{operation}/signing",
            RUN,
            "What an operator has to sign before an operation starts",
            signing,
        )
        .scoped(Scoped::Selection)
        .gives::<Signing>(),
        act(
            "POST",
            "/api/v1/operations/{operation}/sign",
            RUN,
            "operation.sign",
            "Give the signature that an operation waits for; it starts",
            sign,
        )
        .scoped(Scoped::Selection)
        .takes::<Signed>()
        .gives::<Operation>(),
        act(
            "POST",
            "/api/v1/operations/{operation}/again",
            RUN,
            "operation.start",
            "Run the same again where it did not succeed",
            again,
        )
        .scoped(Scoped::Selection)
        .answers::<Operation>(201),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<OperationQuery>,
) -> Answer<axum::Json<Page<OperationSummary>>> {
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let state = query.state.as_deref().map(str::parse::<OperationState>).transpose();
    let filter = Filter { state: state.map_err(|e| Refusal::text("/state", &e))?, node };
    let (eyes, limit, operations, filter) =
        (Reach::of(&app, &caller, Permission::View).await?, limit(query.limit)?, &app.operations, &filter);
    let reach = &eyes;
    let fetch = |after: Option<String>| async move {
        let before = after.as_deref().map(|a| param::<u64>("operation", a)).transpose()?;
        let mut page = operations.list(filter, before, limit).await?;
        if let Some(nodes) = reach.nodes() {
            let ids: Vec<_> = page.items.iter().map(|o| o.id).collect();
            let seen = operations.on_any(&ids, nodes).await?;
            page.items.retain(|o| seen.contains(&o.id));
        }
        Ok(page)
    };
    Ok(axum::Json(eyes.page(query.after.clone(), fetch, |_: &OperationSummary| true).await?))
}

async fn start(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(spec): Json<OperationSpec>,
) -> Answer<impl IntoResponse> {
    let row = app.operations.begin(spec, Nodes::Selected, &starting(&caller, &headers)?).await?;
    let may_read = seen(&app, &caller, &row).await?.may_read;
    Ok((StatusCode::CREATED, axum::Json(app.operations.shown(&row, may_read).await?)))
}

async fn preview(
    State(app): State<App>,
    caller: Caller,
    Json(spec): Json<OperationSpec>,
) -> Answer<axum::Json<OperationPreview>> {
    Ok(axum::Json(app.operations.preview(&spec, &caller.as_principal()).await?))
}

async fn one(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<axum::Json<Operation>> {
    let row = app.operations.find(&which).await?;
    let may_read = seen(&app, &caller, &row).await?.may_read;
    Ok(axum::Json(app.operations.shown(&row, may_read).await?))
}

async fn nodes(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<Page<OperationNode>>> {
    let row = app.operations.find(&which).await?;
    let (seen, limit, operations, id) =
        (seen(&app, &caller, &row).await?, limit(query.limit)?, &app.operations, row.id);
    let fetch = |after: Option<String>| async move {
        let after = after.as_deref().map(|a| param::<i64>("place", a)).transpose()?;
        Ok(operations.nodes(id, after, limit).await?)
    };
    let keep = |node: &OperationNode| seen.sees.has_node(node.node.id);
    Ok(axum::Json(seen.sees.page(query.after.clone(), fetch, keep).await?))
}

async fn output(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<OutputQuery>,
) -> Answer<axum::Json<OperationOutput>> {
    let row = app.operations.find(&which).await?;
    let seen = seen(&app, &caller, &row).await?;
    let run = query.run.as_deref().map(|r| param::<RunId>("run", r)).transpose()?;
    if !seen.may_read && !run.is_some_and(|r| seen.readable.contains(&r)) {
        let text = "output is read by who may read contents on its nodes, and by who started the operation";
        return Err(Refusal::new("forbidden", text));
    }
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
    let seen = seen(&app, &caller, &row).await?;
    let mut groups = app.operations.groups(row.id, seen.may_read).await?;
    for group in &mut groups {
        group.nodes.retain(|n| seen.sees.has_node(n.id));
    }
    groups.retain(|group| !group.nodes.is_empty());
    Ok(axum::Json(groups))
}

async fn cancel(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    app.operations.cancel(&which, &caller.as_principal()).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn signing(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<axum::Json<Signing>> {
    let row = app.operations.find(&which).await?;
    Ok(axum::Json(app.operations.signing(&row, &caller.as_principal()).await?))
}

async fn sign(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(signed): Json<Signed>,
) -> Answer<axum::Json<Operation>> {
    let row = app.operations.find(&which).await?;
    let row = app.operations.sign(&row, signed, &caller.as_principal()).await?;
    let may_read = seen(&app, &caller, &row).await?.may_read;
    Ok(axum::Json(app.operations.shown(&row, may_read).await?))
}

async fn again(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(which): Path<String>,
) -> Answer<impl IntoResponse> {
    let row = app.operations.again(&which, &starting(&caller, &headers)?).await?;
    let may_read = seen(&app, &caller, &row).await?.may_read;
    Ok((StatusCode::CREATED, axum::Json(app.operations.shown(&row, may_read).await?)))
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

/// How far somebody sees an operation.
struct Seen {
    sees: Reach,
    /// Whether all its output may be read.
    may_read: bool,
    /// The runs whose output may be read, of who may not read all.
    readable: BTreeSet<RunId>,
}

/// A run that did not end well, with the first of its output.
pub(crate) struct FailedRun {
    pub(crate) title: String,
    pub(crate) run: OperationNode,
    pub(crate) output: Vec<lampas_api::OutputPiece>,
}

/// Returns the first run of an operation that did not end well.
pub(crate) async fn failed_run(app: &App, number: u64) -> Answer<Option<FailedRun>> {
    let row = app.operations.find(&number.to_string()).await?;
    let runs = app.operations.all_nodes(row.id).await?;
    let bad = runs.into_iter().find(|r| r.state.is_final() && r.state != RunState::Succeeded);
    let Some(run) = bad else { return Ok(None) };
    let output = app.operations.output(&row, Some(run.run), 0, None, Duration::ZERO).await?.pieces;
    Ok(Some(FailedRun { title: row.spec.work.title(), run, output }))
}

/// Returns whether a caller may read what a run wrote.
pub(crate) async fn may_read(app: &App, caller: &Caller, number: u64, run: RunId) -> Answer<bool> {
    let row = app.operations.find(&number.to_string()).await?;
    let seen = seen(app, caller, &row).await?;
    Ok(seen.may_read || seen.readable.contains(&run))
}

/// Says how far the caller sees an operation: somebody who sees none of its nodes doesn't see it at all. What a run prints
/// is its user's, as a file of mode 0600 would be; and whoever started it may see what came of it.
async fn seen(app: &App, caller: &Caller, row: &OperationRow) -> Answer<Seen> {
    let (sees, reads) =
        (Reach::of(app, caller, Permission::View).await?, Reach::of(app, caller, Permission::ReadContent).await?);
    let is_own = row.is_by(&caller.as_principal());
    if sees.is_all() && (reads.is_all() || is_own) {
        return Ok(Seen { sees, may_read: true, readable: BTreeSet::new() });
    }
    let nodes = app.operations.all_nodes(row.id).await?;
    if !is_own && !nodes.iter().any(|n| sees.has_node(n.node.id)) && !sees.is_all() {
        return Err(OperationError::NotFound(row.number.to_string()).into());
    }
    let is_readable = |n: &&OperationNode| sees.has_node(n.node.id) && reads.has_node(n.node.id);
    let readable: BTreeSet<RunId> = nodes.iter().filter(is_readable).map(|n| n.run).collect();
    Ok(Seen { sees, may_read: is_own || readable.len() == nodes.len(), readable })
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match error {
            OperationError::Store(inner) => Self::internal(&inner),
            OperationError::NotFound(_) => Self::new("not_found", text),
            OperationError::Refused(_) => Self::new("operation.refused", text),
            OperationError::Outside(_) => Self::new("forbidden", text),
            OperationError::Unproven(inner) => (&inner).into(),
            OperationError::KeyReused(_) => Self::new("idempotency.reused", text),
            OperationError::State(_) => Self::new("operation.state", text),
            // A parameter's mistake says its name, and its value behind it.
            OperationError::Field(inner) if inner.what == "parameter" => {
                Self::text(&format!("/work/parameters/{}", inner.value), &inner)
            }
            OperationError::Field(inner) => Self::text(&format!("/{}", inner.what.replace(' ', "_")), &inner),
            OperationError::Signature(_) => Self::new("signature.refused", text),
        }
    }
}
