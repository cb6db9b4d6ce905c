//! The calls of the past.

use std::collections::BTreeMap;

use axum::extract::State;
use lampas_api::{FleetMapGroup, OverviewCounts, PastFleet, PastNode, PastObject, PastQuery, PastStanding};
use lampas_runtime::clock;
use lampas_shared::{access::Permission, fleet::RoleName, time::UnixMs};

use super::store;
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Path, Query},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, get},
    },
    db::{DbError, Tx},
    event, fleet, host,
};

const VIEW: Access = Access::Needs(Permission::View);
/// As many as on Overview.
const CHANGES: u32 = 5;
const HAPPENED: u32 = 10;

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/past", VIEW, "How the fleet stood at a moment", of_fleet)
            .query::<PastQuery>()
            .gives::<PastFleet>(),
        get("/api/v1/nodes/{node}/past", VIEW, "How a node stood at a moment", of_node)
            .query::<PastQuery>()
            .gives::<PastNode>()
            .scoped(Scoped::Node),
    ]
}

fn checked(query: &PastQuery) -> Answer<UnixMs> {
    if query.at > clock::now() {
        return Err(Refusal::field("/at", "lies ahead"));
    }
    Ok(query.at)
}

async fn of_fleet(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PastQuery>,
) -> Answer<axum::Json<PastFleet>> {
    let at = checked(&query)?;
    let (kept_since, stood, changes) = app
        .db
        .read(|mut tx: Tx| async move {
            let kept = store::kept_since(&mut tx).await?;
            let stood = store::at(&mut tx, at, None).await?;
            let changes = store::changes(&mut tx, at, CHANGES).await?;
            Ok::<_, DbError>(tx.done((kept, stood, changes)))
        })
        .await?;
    let mut counts = OverviewCounts::default();
    for node in &stood {
        fleet::count(&mut counts, node.state, node.config, 1);
        counts.observing += u32::from(node.observe);
    }
    let objects = host::as_of(&app, at).await?;
    counts.objects = objects.values().filter(|o| !o.is_deletion).count() as u32;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let activity = event::api::until(&app, &reach, at, None, HAPPENED).await?;
    Ok(axum::Json(PastFleet { at, kept_since, counts, map: grouped(stood), changes, activity }))
}

/// Puts nodes together that stood alike.
fn grouped(stood: Vec<PastStanding>) -> Vec<FleetMapGroup> {
    let mut groups: BTreeMap<(Option<RoleName>, _, _), Vec<_>> = BTreeMap::new();
    for node in stood {
        groups.entry((node.roles.first().cloned(), node.state, node.config)).or_default().push(node.name);
    }
    let group = |((role, state, config), nodes)| FleetMapGroup { role, state, config, nodes };
    groups.into_iter().map(group).collect()
}

async fn of_node(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<PastQuery>,
) -> Answer<axum::Json<PastNode>> {
    let at = checked(&query)?;
    let node = fleet::api::node_id(&app, &which).await?;
    let (kept_since, mut stood, drifts) = app
        .db
        .read(|mut tx: Tx| async move {
            let kept = store::kept_since(&mut tx).await?;
            let stood = store::at(&mut tx, at, Some(node)).await?;
            let drifts = store::drifts(&mut tx, node, at).await?;
            Ok::<_, DbError>(tx.done((kept, stood, drifts)))
        })
        .await?;
    let stood = stood.pop();
    let mut objects = Vec::new();
    if let Some(stood) = &stood {
        let roles = stood.roles.iter().cloned().collect();
        for (id, found) in host::as_of(&app, at).await? {
            if !found.is_deletion && found.spec.scope.contains(&stood.name, &roles, &stood.labels) {
                let (key, revision) = (found.spec.key(), found.revision);
                objects.push(PastObject { id, key, revision, author: found.author, at: found.at });
            }
        }
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let activity = event::api::until(&app, &reach, at, Some(node), HAPPENED).await?;
    Ok(axum::Json(PastNode { at, kept_since, stood, objects, drifts, activity }))
}
