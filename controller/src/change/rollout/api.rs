//! The call that tells what rollouts keep from nodes.

use axum::extract::State;
use lampas_api::{KeptBack, KeptBackQuery};
use lampas_shared::{access::Permission, id::ObjectId};

use crate::{
    access::Reach,
    api::{
        App,
        extract::{Query, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, get},
    },
};

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/kept-back", Access::Needs(Permission::View), "Objects that rollouts keep from nodes", list)
            .query::<KeptBackQuery>()
            .gives_list::<KeptBack>()
            .scoped(Scoped::Filtered),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<KeptBackQuery>,
) -> Answer<axum::Json<Vec<KeptBack>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let object: Option<ObjectId> = query.object.as_deref().map(|id| param("object", id)).transpose()?;
    let node = match &query.node {
        Some(which) => {
            let id = crate::fleet::api::node_id(&app, which).await?;
            if !reach.has_node(id) {
                return Err(Refusal::not_found("node", which));
            }
            Some(id)
        }
        None => None,
    };
    let mut found = app.changes.kept_back(object, node).await?;
    found.retain(|kept| reach.has_scope(&kept.key.scope));
    for kept in &mut found {
        kept.nodes.retain(|n| reach.has_node(n.id));
    }
    found.retain(|kept| !kept.nodes.is_empty());
    Ok(axum::Json(found))
}
