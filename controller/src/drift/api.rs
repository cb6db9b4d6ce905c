//! The calls of drift: look, revert, adopt.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{AdoptRequest, Adopted, Drift, DriftMerge, DriftQuery, Page};
use lampas_shared::{
    access::Permission,
    id::{DriftId, ObjectId},
};

use super::{DriftError, DriftFilter};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{MaybeJson, Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    change::{
        View,
        api::{reason, veiled},
    },
    host::mask,
};

const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/drift", VIEW, "Changes by hand, newest first", list)
            .query::<DriftQuery>()
            .gives_page::<Drift>()
            .scoped(Scoped::Filtered),
        get("/api/v1/drift/{drift}", VIEW, "One change by hand", one).gives::<Drift>().scoped(Scoped::Filtered),
        get(
            "/api/v1/drift/{drift}/merge",
            VIEW,
            "A change by hand, merged into the template that made the file",
            merge,
        )
        .gives::<DriftMerge>()
        .scoped(Scoped::Filtered),
        act("POST", "/api/v1/drift/{drift}/revert", CHANGE, "drift.revert", "Put the desired state back", revert)
            .scoped(Scoped::Selection),
        act(
            "POST",
            "/api/v1/drift/{drift}/adopt",
            CHANGE,
            "drift.adopt",
            "Make a planned change of the node's version",
            adopt,
        )
        .scoped(Scoped::Selection)
        .may_take::<AdoptRequest>()
        .answers::<Adopted>(201),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DriftQuery>,
) -> Answer<axum::Json<Page<Drift>>> {
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let filter = DriftFilter {
        node,
        object: query.object.as_deref().map(|o| param::<ObjectId>("object", o)).transpose()?,
        standing: query.standing,
        before: None,
    };
    let (sees, limit, drifts, filter) =
        (Reach::of(&app, &caller, Permission::View).await?, limit(query.limit)?, &app.drifts, &filter);
    let fetch = |after: Option<String>| async move {
        let before = after.as_deref().map(|a| param::<DriftId>("drift", a)).transpose()?;
        let filter = DriftFilter { before, ..filter.clone() };
        Ok(drifts.list(&filter, limit).await?)
    };
    let mut page = sees.page(query.after.clone(), fetch, |d: &Drift| sees.has_node(d.node.id)).await?;
    veil(&app, &caller, &mut page.items).await?;
    Ok(axum::Json(page))
}

async fn one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<axum::Json<Drift>> {
    let mut drift = [app.drifts.get(param("drift", &id)?).await?];
    if !Reach::of(&app, &caller, Permission::View).await?.has_node(drift[0].node.id) {
        return Err(DriftError::NotFound.into());
    }
    veil(&app, &caller, &mut drift).await?;
    let [drift] = drift;
    Ok(axum::Json(drift))
}

async fn merge(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<axum::Json<DriftMerge>> {
    let id = param("drift", &id)?;
    let drift = app.drifts.get(id).await?;
    if !Reach::of(&app, &caller, Permission::View).await?.has_node(drift.node.id) {
        return Err(DriftError::NotFound.into());
    }
    if !may_read(&app, &caller, &drift).await? {
        return Err(Refusal::new("forbidden", "its content needs the permission read_content"));
    }
    Ok(axum::Json(app.drifts.merge(id).await?))
}

/// Returns whether the caller may read the contents of a file that drifted.
async fn may_read(app: &App, caller: &Caller, drift: &Drift) -> Answer<bool> {
    let reads = Reach::of(app, caller, Permission::ReadContent).await?;
    if reads.is_all() || reads.has_node(drift.node.id) {
        return Ok(true);
    }
    let view = app.desired.view().await?;
    Ok(is_public(&view, drift))
}

/// Returns whether everybody may read it: by the object, and still on the node.
fn is_public(view: &View, drift: &Drift) -> bool {
    let by_object = view.all.objects.get(&drift.object).is_some_and(|o| mask::is_public(&o.spec));
    let on_node = drift.mode.as_deref().is_none_or(|m| m.ends_with(['4', '5', '6', '7']));
    by_object && on_node
}

/// Takes out the differences of contents that this caller may not read: not world-readable by the object, or not any
/// more on the node.
async fn veil(app: &App, caller: &Caller, drifts: &mut [Drift]) -> Answer<()> {
    let reads = Reach::of(app, caller, Permission::ReadContent).await?;
    if reads.is_all() || drifts.is_empty() {
        return Ok(());
    }
    let view = app.desired.view().await?;
    for drift in drifts.iter_mut().filter(|d| !reads.has_node(d.node.id)) {
        if !is_public(&view, drift) {
            drift.diff = veiled(&drift.diff);
        }
    }
    Ok(())
}

async fn revert(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    app.drifts.revert(param("drift", &id)?, &caller.as_principal()).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn adopt(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(wanted): MaybeJson<AdoptRequest>,
) -> Answer<impl IntoResponse> {
    reason(&wanted.reason)?;
    let (row, differs) = app.drifts.adopt(param("drift", &id)?, &wanted, &caller.as_principal()).await?;
    Ok((StatusCode::CREATED, axum::Json(Adopted { change: row.id, number: row.number, differs })))
}

impl From<DriftError> for Refusal {
    fn from(error: DriftError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match error {
            DriftError::Store(inner) => Self::internal(&inner),
            DriftError::NotFound => Self::new("not_found", text),
            DriftError::Over(_) => Self::new("drift.over", text),
            DriftError::Conflicts(_) => Self::new("drift.conflicts", text),
            DriftError::Moved => Self::new("drift.moved", text),
            DriftError::Refused(_) => Self::new("drift.refused", text),
            DriftError::Node(fault) => Self::node_fault(&fault),
            DriftError::Change(inner) => inner.into(),
        }
    }
}
