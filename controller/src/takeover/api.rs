//! The calls of taking over and giving back.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{
    EjectRequest, EjectedNode, Foreign, ImportRequest, Imported, ManageRequest, RoleComparison, TakeOver,
};
use lampas_shared::{
    access::Permission,
    fleet::{RoleName, Scope},
};

use super::{TakeoverError, service::Takeover};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, Path, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    change::api::{over_guards, reason, veiled},
};

const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);
const NODES: Access = Access::Needs(Permission::ManageNodes);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/nodes/{node}/foreign", VIEW, "What stands on a node that nobody manages, as it is now", foreign)
            .scoped(Scoped::Node)
            .gives::<Foreign>()
            .long(),
        get("/api/v1/roles/{role}/compare", VIEW, "What stands unmanaged on the nodes of a role, folded", compare)
            .scoped(Scoped::Role)
            .gives::<RoleComparison>()
            .long(),
        act(
            "POST",
            "/api/v1/nodes/{node}/import",
            CHANGE,
            "node.import",
            "Make a planned change of what stands on a node",
            import,
        )
        .scoped(Scoped::Node)
        .takes::<ImportRequest>()
        .answers::<Imported>(201)
        .long(),
        get("/api/v1/nodes/{node}/manage", VIEW, "What taking a node over would do, as it says itself", take_over)
            .scoped(Scoped::Node)
            .gives::<TakeOver>()
            .long(),
        act(
            "POST",
            "/api/v1/nodes/{node}/manage",
            NODES,
            "node.manage",
            "Take a node over: it observes no more",
            manage,
        )
        .scoped(Scoped::Node)
        .takes::<ManageRequest>(),
        act(
            "POST",
            "/api/v1/nodes/{node}/eject",
            NODES,
            "node.eject",
            "Leave plain files on a node and take it out of the fleet",
            eject,
        )
        .scoped(Scoped::Node)
        .takes::<EjectRequest>()
        .gives::<EjectedNode>()
        .long(),
    ]
}

async fn foreign(State(app): State<App>, caller: Caller, Path(node): Path<String>) -> Answer<axum::Json<Foreign>> {
    let may_read = reads(&app, &caller, &node).await?;
    Ok(axum::Json(Takeover::new(&app.changes).foreign(&node, may_read).await?))
}

async fn compare(
    State(app): State<App>,
    caller: Caller,
    Path(role): Path<String>,
) -> Answer<axum::Json<RoleComparison>> {
    let role: RoleName = param("role", &role)?;
    let rights = &caller.identity()?.rights;
    let may_read = rights.on_scope(Permission::ReadContent, &Scope::Role(role.clone()), &|_| None);
    Ok(axum::Json(Takeover::new(&app.changes).compare(&role, may_read).await?))
}

async fn import(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<String>,
    Json(wanted): Json<ImportRequest>,
) -> Answer<impl IntoResponse> {
    reason(&wanted.reason)?;
    let may_read = reads(&app, &caller, &node).await?;
    let made = Takeover::new(&app.changes).import(&node, &wanted, may_read, &caller.as_principal()).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn take_over(State(app): State<App>, caller: Caller, Path(node): Path<String>) -> Answer<axum::Json<TakeOver>> {
    let mut shown = Takeover::new(&app.changes).take_over(&node).await?;
    if !reads(&app, &caller, &node).await? {
        shown.actions.iter_mut().for_each(|action| action.diff = veiled(&action.diff));
    }
    Ok(axum::Json(shown))
}

/// Returns whether the caller may read what isn't world-readable on a node.
async fn reads(app: &App, caller: &Caller, node: &str) -> Answer<bool> {
    let reach = Reach::of(app, caller, Permission::ReadContent).await?;
    Ok(reach.is_all() || reach.has_node(crate::fleet::api::node_id(app, node).await?))
}

async fn manage(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<String>,
    Json(wanted): Json<ManageRequest>,
) -> Answer<StatusCode> {
    let why = reason(&wanted.reason)?;
    let over = over_guards(&caller, wanted.override_reason.as_deref())?;
    let why = (why.as_str(), over.as_deref());
    Takeover::new(&app.changes).manage(&node, &wanted.plan, why, &caller.as_principal()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn eject(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<String>,
    Json(wanted): Json<EjectRequest>,
) -> Answer<axum::Json<EjectedNode>> {
    let why = reason(&wanted.reason)?;
    let over = over_guards(&caller, wanted.override_reason.as_deref())?;
    let why = (why.as_str(), over.as_deref());
    let done = Takeover::new(&app.changes).eject(&node, &wanted.confirm, why, &caller.as_principal()).await?;
    Ok(axum::Json(done))
}

impl From<TakeoverError> for Refusal {
    fn from(error: TakeoverError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match error {
            TakeoverError::Store(inner) => Self::internal(&inner),
            TakeoverError::Node { fault, .. } => Self { detail: text, ..Self::node_fault(&fault) },
            TakeoverError::Refused(_) => Self::new("takeover.refused", text),
            TakeoverError::Frozen { .. } => Self::new("change.frozen", text),
            TakeoverError::Protected { .. } => Self::new("node.guarded", text),
            TakeoverError::Moved => Self::new("plan.moved", text),
            TakeoverError::Fleet(inner) => inner.into(),
            TakeoverError::Change(inner) => inner.into(),
        }
    }
}
