//! The calls of the past.

use std::collections::BTreeMap;

use axum::extract::State;
use lampas_api::{
    FleetMapGroup, OverviewCounts, PastChange, PastDiff, PastDiffQuery, PastFleet, PastMoment, PastNode, PastObject,
    PastQuery, PastRole, PastStanding,
};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    fleet::{NodeName, RoleName, Scope},
    id::{ChangeId, ObjectId},
    time::UnixMs,
};

use super::{diff, store};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Path, Query, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, get},
    },
    db::{DbError, Tx},
    event, fleet,
    host::{self, StoredRevision},
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
        get("/api/v1/roles/{role}/past", VIEW, "How a role stood at a moment", of_role)
            .query::<PastQuery>()
            .gives::<PastRole>()
            .scoped(Scoped::Filtered),
        get("/api/v1/past/diff", VIEW, "What became of the fleet, a role or a node between two moments", diff::between)
            .query::<PastDiffQuery>()
            .gives::<PastDiff>()
            .scoped(Scoped::Filtered),
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
            let changes = store::changes(&mut tx, at, None, CHANGES).await?;
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
    let changes = changes.into_iter().map(|(_, c)| c).collect();
    Ok(axum::Json(PastFleet { moment: PastMoment { at, kept_since }, counts, map: grouped(stood), changes, activity }))
}

/// Puts nodes together that stood alike.
fn grouped(stood: Vec<PastStanding>) -> Vec<FleetMapGroup> {
    let mut groups: BTreeMap<(Option<RoleName>, _, _, _), Vec<_>> = BTreeMap::new();
    for node in stood {
        groups.entry((node.roles.first().cloned(), node.state, node.config, node.observe)).or_default().push(node.name);
    }
    let group = |((role, state, config, observes), nodes)| FleetMapGroup { role, state, config, observes, nodes };
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
        let view = app.desired.view().await?;
        let called = view.all.names.get(&node).unwrap_or(&stood.name);
        let held = host::as_of(&app, at).await?.into_iter().filter(|(_, r)| holds(&r.spec.scope, stood, called));
        objects = held.filter_map(past_object).collect();
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let activity = event::api::until(&app, &reach, at, Some(node), HAPPENED).await?;
    Ok(axum::Json(PastNode { moment: PastMoment { at, kept_since }, stood, objects, drifts, activity }))
}

/// Returns whether a scope held a node as it stood. Scopes of the past name nodes as these are called today, or by the id
/// when they are gone.
pub(super) fn holds(scope: &Scope, stood: &PastStanding, called: &NodeName) -> bool {
    match scope {
        Scope::Node(name) => name == called || name.as_str() == stood.node.to_string(),
        other => other.contains(&stood.name, &stood.roles.iter().cloned().collect(), &stood.labels),
    }
}

fn past_object((id, found): (ObjectId, StoredRevision)) -> Option<PastObject> {
    let (key, revision) = (found.spec.key(), found.revision);
    (!found.is_deletion).then_some(PastObject { id, key, revision, author: found.author, at: found.at })
}

async fn of_role(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<PastQuery>,
) -> Answer<axum::Json<PastRole>> {
    let at = checked(&query)?;
    let role: RoleName = param("role", &which)?;
    let scope = Scope::Role(role.clone());
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    if !reach.has_scope(&scope) {
        return Err(Refusal::not_found("role", role));
    }
    let stored = &scope.to_string();
    let (kept_since, mut members, changes) = app
        .db
        .read(|mut tx: Tx| async move {
            let kept = store::kept_since(&mut tx).await?;
            let stood = store::at(&mut tx, at, None).await?;
            let changes = store::changes(&mut tx, at, Some(stored), CHANGES).await?;
            Ok::<_, DbError>(tx.done((kept, stood, changes)))
        })
        .await?;
    members.retain(|m| m.roles.contains(&role) && reach.has_node(m.node));
    let found = host::as_of(&app, at).await?.into_iter().filter(|(_, r)| r.spec.scope == scope);
    let mut objects: Vec<PastObject> = found.filter_map(past_object).collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let changes = visible(&app, &reach, changes).await?;
    Ok(axum::Json(PastRole { moment: PastMoment { at, kept_since }, role, members, objects, changes }))
}

/// Keeps the changes of which all that they are about may be seen.
async fn visible(app: &App, reach: &Reach, changes: Vec<(ChangeId, PastChange)>) -> Answer<Vec<PastChange>> {
    let ids: Vec<ChangeId> = changes.iter().map(|(id, _)| *id).collect();
    let scopes = if reach.is_all() { BTreeMap::new() } else { app.changes.scopes(&ids).await? };
    let is_seen =
        |id: &ChangeId| reach.is_all() || scopes.get(id).is_some_and(|all| all.iter().all(|s| reach.has_scope(s)));
    Ok(changes.into_iter().filter(|(id, _)| is_seen(id)).map(|(_, change)| change).collect())
}
