//! The calls of nodes and roles.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{
    FleetMapGroup, Node, NodePatch, NodeQuery, NodeRemoval, NodeResource, NodeSummary, Page, PageQuery, PolicyOfNode,
    Reason, RevokedNode, Role,
};
use lampas_shared::{
    access::Permission,
    check::{Checked, ScriptDraft},
    fleet::{NodeState, RoleName, Scope, Selector},
    id::NodeId,
    report::ResourceState,
};

use super::{FleetError, NodeFilter};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{IfMatch, Json, MaybeJson, Path, Query, etag, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, ask, get},
    },
    change::api::{over_guards, reason},
    db::{DbError, Tx},
};

const VIEW: Access = Access::Needs(Permission::View);
const RUN: Access = Access::Needs(Permission::Run);
const NODES: Access = Access::Needs(Permission::ManageNodes);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/nodes", VIEW, "Nodes, by name", list)
            .query::<NodeQuery>()
            .gives_page::<NodeSummary>()
            .scoped(Scoped::Filtered),
        get("/api/v1/nodes/{node}", VIEW, "One node, by id or name; its revision is the ETag", one)
            .scoped(Scoped::Node)
            .gives::<Node>(),
        act(
            "PATCH",
            "/api/v1/nodes/{node}",
            NODES,
            "node.update",
            "Change a node's name, roles, labels or address",
            update,
        )
        .scoped(Scoped::Node)
        .takes::<NodePatch>()
        .gives::<Node>(),
        act("DELETE", "/api/v1/nodes/{node}", NODES, "node.remove", "Take a node out of the fleet", remove)
            .scoped(Scoped::Node)
            .may_take::<NodeRemoval>(),
        act("POST", "/api/v1/nodes/{node}/revoke", NODES, "node.revoke", "Revoke a node's certificate", revoke)
            .scoped(Scoped::Node)
            .may_take::<Reason>()
            .gives::<RevokedNode>(),
        act(
            "POST",
            "/api/v1/nodes/{node}/retry",
            NODES,
            "node.retry",
            "Try again what failed or is quarantined",
            retry,
        )
        .scoped(Scoped::Node),
        get("/api/v1/nodes/{node}/resources", VIEW, "What is in force on a node", resources)
            .scoped(Scoped::Node)
            .query::<PageQuery>()
            .gives_page::<NodeResource>(),
        get("/api/v1/policies", VIEW, "What nodes' own policies allow, by node", super::policy::policies)
            .gives_list::<PolicyOfNode>()
            .scoped(Scoped::Filtered),
        ask("/api/v1/nodes/{node}/check", RUN, "Let a node's tools look at a script, without running it", check)
            .scoped(Scoped::Node)
            .takes::<ScriptDraft>()
            .gives::<Checked>()
            .long(),
        get("/api/v1/roles", VIEW, "Roles, by name", roles).gives_page::<Role>().scoped(Scoped::Filtered),
        get("/api/v1/roles/{role}", VIEW, "One role", role).gives::<Role>().scoped(Scoped::Filtered),
        get("/api/v1/fleet-map", VIEW, "Every node's name, grouped by how it stands", map)
            .gives_list::<FleetMapGroup>()
            .scoped(Scoped::Filtered),
    ]
}

/// Nothing of it runs but what a check runs: in the node's sandbox, and because somebody asked.
async fn check(
    State(app): State<App>,
    Path(which): Path<String>,
    Json(draft): Json<ScriptDraft>,
) -> Answer<axum::Json<Checked>> {
    draft.check().map_err(|e| Refusal::text("/content", &e))?;
    let node = node_id(&app, &which).await?;
    app.gate.check(node, draft).await.map(axum::Json).map_err(|fault| Refusal::new("node.unavailable", fault.message))
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<NodeQuery>,
) -> Answer<axum::Json<Page<NodeSummary>>> {
    let limit = limit(query.limit)?;
    let wrong = |pointer: &'static str| move |e: lampas_shared::TextError| Refusal::text(pointer, &e);
    let state = query.state.as_deref().map(|word| {
        serde_json::from_value::<NodeState>(word.into())
            .map_err(|_| Refusal::field("/state", "is none of online, stale and offline"))
    });
    let filter = NodeFilter {
        search: query.query.clone(),
        role: query.role.as_deref().map(RoleName::parse).transpose().map_err(wrong("/role"))?,
        labels: query.label.as_deref().map(str::parse::<Selector>).transpose().map_err(wrong("/label"))?,
        state: state.transpose()?,
        config: query.config.as_deref().map(str::parse::<ResourceState>).transpose().map_err(wrong("/config"))?,
        is_halted: query.halted == Some(true),
        ..NodeFilter::default()
    };
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let (db, filter) = (&app.db, &filter);
    let fetch = |after: Option<String>, limit: u32| async move {
        let after = after.as_deref();
        let page = db.read(|mut tx: Tx| async move {
            let page = super::list(&mut tx, filter, after, limit).await?;
            Ok::<_, DbError>(tx.done(page))
        });
        Ok(page.await?)
    };
    let keep = |node: &NodeSummary| reach.has_node(node.id);
    let from = (query.after.clone(), limit);
    Ok(axum::Json(reach.page_by_name(from, fetch, keep, |node| node.name.to_string()).await?))
}

async fn find(app: &App, which: &str) -> Answer<Node> {
    let node = app
        .db
        .read(|mut tx: Tx| async move {
            let node = super::find(&mut tx, which).await?;
            Ok::<_, FleetError>(tx.done(node))
        })
        .await?;
    Ok(node)
}

/// Returns the id of a node by id or name.
pub(crate) async fn node_id(app: &App, which: &str) -> Answer<NodeId> {
    Ok(find(app, which).await?.summary.id)
}

async fn one(State(app): State<App>, Path(which): Path<String>) -> Answer<impl IntoResponse> {
    let node = find(&app, &which).await?;
    Ok((etag(node.revision), axum::Json(node)))
}

async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<NodePatch>,
) -> Answer<impl IntoResponse> {
    let id = node_id(&app, &which).await?;
    let (set, why) = wanted.split();
    let over = over_guards(&caller, why.as_deref())?;
    let node = app.changes.update_node(id, &set, expected, over.as_deref(), &caller.as_principal()).await?;
    Ok((etag(node.revision), axum::Json(node)))
}

async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(given): MaybeJson<NodeRemoval>,
) -> Answer<StatusCode> {
    let id = node_id(&app, &which).await?;
    let why = why(&caller, &given.reason)?;
    let over = over_guards(&caller, given.override_reason.as_deref())?;
    app.changes.remove_node(id, (why.as_str(), over.as_deref()), &caller.as_principal()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(given): MaybeJson<Reason>,
) -> Answer<axum::Json<RevokedNode>> {
    let id = node_id(&app, &which).await?;
    let why = why(&caller, &given.reason)?;
    let named_on = app.changes.revoke_node(id, &why, &caller.as_principal()).await?;
    Ok(axum::Json(RevokedNode { named_on }))
}

fn why(caller: &Caller, given: &str) -> Answer<String> {
    if given.is_empty() { Ok(caller.reason.clone()) } else { reason(given) }
}

async fn retry(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<StatusCode> {
    let node = find(&app, &which).await?;
    app.gate.retry(node.summary.id).await.map_err(|fault| Refusal::node_fault(&fault))?;
    app.access.audit_done(&caller, "node.retry", node.summary.name.as_str()).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn resources(
    State(app): State<App>,
    Path(which): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<Page<NodeResource>>> {
    let limit = limit(query.limit)? as usize;
    let id = node_id(&app, &which).await?;
    let view = app.desired.view().await?;
    let Some(class) = view.compiled.class(id) else {
        return Ok(axum::Json(Page { items: Vec::new(), next: None, total: Some(0) }));
    };
    let states = app
        .db
        .read(|mut tx: Tx| async move {
            let states = super::resource_states(&mut tx, id).await?;
            Ok::<_, DbError>(tx.done(states))
        })
        .await?;
    let total = Some(class.resources.len() as u64);
    let after = query.after.as_deref().unwrap_or_default();
    let mut rest = class.resources.iter().filter(|r| r.target.as_str() > after);
    let mut items = Vec::new();
    for resource in rest.by_ref().take(limit) {
        let state = states.get(&resource.target);
        let overrides = class.lost.iter().filter(|l| l.target == resource.target && l.winner == resource.object);
        let text = |l: &crate::compile::Lost| view.all.objects.get(&l.object).map(|o| o.spec.key().to_string());
        items.push(NodeResource {
            target: resource.target.clone(),
            object: resource.object,
            kind: resource.kind,
            name: resource.name.clone(),
            scope: resource.scope.to_string(),
            drift: resource.drift,
            revision: resource.provenance.revision,
            state: states.state(&resource.target, resource.provenance.at),
            fault: state.and_then(|s| s.fault.clone()),
            notes: state.map(|s| s.notes.clone()).unwrap_or_default(),
            since: state.map(|s| s.since),
            overrides: overrides.filter_map(text).collect(),
        });
    }
    let next = rest.next().and_then(|_| items.last()).map(|r| r.target.to_string());
    Ok(axum::Json(Page { items, next, total }))
}

async fn roles(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Page<Role>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let mut items = list_roles(&app, None).await?;
    items.retain(|role| reach.has_scope(&Scope::Role(role.name.clone())));
    Ok(axum::Json(Page { total: Some(items.len() as u64), items, next: None }))
}

async fn role(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<axum::Json<Role>> {
    let name: RoleName = param("role", &name)?;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let found = list_roles(&app, Some(&name)).await?.pop();
    let found = found.filter(|role| reach.has_scope(&Scope::Role(role.name.clone())));
    found.map(axum::Json).ok_or_else(|| Refusal::not_found("role", name))
}

async fn list_roles(app: &App, only: Option<&RoleName>) -> Answer<Vec<Role>> {
    let roles = app
        .db
        .read(|mut tx: Tx| async move {
            let roles = super::list_roles(&mut tx, only).await?;
            Ok::<_, DbError>(tx.done(roles))
        })
        .await?;
    Ok(roles)
}

async fn map(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<FleetMapGroup>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    Ok(axum::Json(tiles(&app, &reach).await?))
}

/// The map, as far as somebody sees it.
pub(crate) async fn tiles(app: &App, reach: &Reach) -> Answer<Vec<FleetMapGroup>> {
    let mut tiles = app
        .db
        .read(|mut tx: Tx| async move {
            let tiles = super::map(&mut tx).await?;
            Ok::<_, DbError>(tx.done(tiles))
        })
        .await?;
    if !reach.is_all() {
        for group in &mut tiles {
            group.nodes.retain(|name| reach.has_name(name.as_str()));
        }
        tiles.retain(|group| !group.nodes.is_empty());
    }
    Ok(tiles)
}
