//! What became of the fleet, of a role or of a node between two moments.
//!
//! Of objects every moment is known. Of nodes it is known from the first look that is kept on; before that nothing is
//! said of them, and nothing of the objects of a single node, which go by the roles and labels that it had.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use lampas_api::{PastDiff, PastDiffQuery, PastNodeDiff, PastStanding, PastVerb};
use lampas_runtime::clock;
use lampas_shared::{
    fleet::{NodeName, RoleName, Scope},
    id::NodeId,
    object::ObjectSpec,
    time::UnixMs,
};

use super::{api::holds, store};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Query, param},
        guard::Caller,
        problem::{Answer, Refusal},
    },
    db::{DbError, Tx},
    fleet,
    host::{self, api::Eyes},
};

/// The most nodes and the most objects in one answer.
const MOST: usize = 1000;

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Fleet,
    Role(RoleName),
    Node(NodeId),
}

pub(super) async fn between(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PastDiffQuery>,
) -> Answer<axum::Json<PastDiff>> {
    let (from, to) = moments(&query)?;
    let eyes = Eyes::of(&app, &caller).await?;
    let about = about(&app, &eyes.sees, &query).await?;
    let node = if let About::Node(node) = &about { Some(*node) } else { None };
    let (kept_since, before, after) = app
        .db
        .read(|mut tx: Tx| async move {
            let kept = store::kept_since(&mut tx).await?;
            let before = store::at(&mut tx, from, node).await?;
            let after = store::at(&mut tx, to, node).await?;
            Ok::<_, DbError>(tx.done((kept, before, after)))
        })
        .await?;
    let nodes_known = kept_since.is_some_and(|since| since <= from);
    let objects_known = nodes_known || node.is_none();
    let mut objects = Vec::new();
    let mut objects_unchanged = 0;
    if objects_known {
        let view = app.desired.view().await?;
        let of = |stood: &[PastStanding]| Meant::of(&about, stood, &view.all.names);
        let (then, later) = (of(&before), of(&after));
        let stood = (host::as_of(&app, from).await?, host::as_of(&app, to).await?);
        (objects, objects_unchanged) =
            host::differences(stood, (&|s: &ObjectSpec| then.has(s), &|s: &ObjectSpec| later.has(s)), &eyes);
    }
    let (mut nodes, mut nodes_unchanged) = (Vec::new(), 0);
    if nodes_known {
        let seen = |stood: Vec<PastStanding>| stood.into_iter().filter(|s| eyes.sees.has_node(s.node)).collect();
        (nodes, nodes_unchanged) = compared(&about, (seen(before), seen(after)));
    }
    let has_more = nodes.len() > MOST || objects.len() > MOST;
    nodes.truncate(MOST);
    objects.truncate(MOST);
    Ok(axum::Json(PastDiff {
        from,
        to,
        kept_since,
        nodes_known,
        nodes,
        nodes_unchanged,
        objects_known,
        objects,
        objects_unchanged,
        has_more,
    }))
}

fn moments(query: &PastDiffQuery) -> Answer<(UnixMs, UnixMs)> {
    let now = clock::now();
    let to = query.to.unwrap_or(now);
    if to > now {
        return Err(Refusal::field("/to", "lies ahead"));
    }
    if query.from > to {
        return Err(Refusal::field("/from", "lies after the other moment; swap them"));
    }
    Ok((query.from, to))
}

async fn about(app: &App, reach: &Reach, query: &PastDiffQuery) -> Answer<About> {
    match (&query.role, &query.node) {
        (None, None) => Ok(About::Fleet),
        (Some(_), Some(_)) => Err(Refusal::field("/node", "give a role or a node, not both")),
        (Some(role), None) => {
            let role: RoleName = param("role", role)?;
            let is_seen = reach.has_scope(&Scope::Role(role.clone()));
            if is_seen { Ok(About::Role(role)) } else { Err(Refusal::not_found("role", role)) }
        }
        (None, Some(which)) => {
            let found = app
                .db
                .read(|mut tx: Tx| async move {
                    let present = match fleet::find(&mut tx, which).await {
                        Ok(node) => Some(node.summary.id),
                        Err(fleet::FleetError::NotFound(_)) => store::node_called(&mut tx, which).await?,
                        Err(error) => return Err(error),
                    };
                    Ok::<_, fleet::FleetError>(tx.done(present))
                })
                .await?;
            // Of a node that is gone it isn't known who could see it: who sees everything does.
            let found = found.filter(|node| reach.has_node(*node));
            found.map(About::Node).ok_or_else(|| Refusal::not_found("node", which))
        }
    }
}

/// Which objects are meant at a moment.
enum Meant<'a> {
    All,
    Role(&'a RoleName),
    /// Those that held the node; none when it was not there.
    Node(Option<(PastStanding, NodeName)>),
}

impl<'a> Meant<'a> {
    fn of(about: &'a About, stood: &[PastStanding], names: &BTreeMap<NodeId, NodeName>) -> Self {
        match about {
            About::Fleet => Self::All,
            About::Role(role) => Self::Role(role),
            About::Node(node) => Self::Node(stood.first().map(|s| {
                let called = names.get(node).unwrap_or(&s.name);
                (s.clone(), called.clone())
            })),
        }
    }

    fn has(&self, spec: &ObjectSpec) -> bool {
        match self {
            Self::All => true,
            Self::Role(role) => matches!(&spec.scope, Scope::Role(name) if name == *role),
            Self::Node(stood) => stood.as_ref().is_some_and(|(s, called)| holds(&spec.scope, s, called)),
        }
    }
}

/// Returns what became of nodes, by name, and how many stood alike.
fn compared(about: &About, (before, after): (Vec<PastStanding>, Vec<PastStanding>)) -> (Vec<PastNodeDiff>, u32) {
    let by_id = |stood: Vec<PastStanding>| stood.into_iter().map(|s| (s.node, s)).collect::<BTreeMap<_, _>>();
    let (mut before, mut after) = (by_id(before), by_id(after));
    let is_in = |stood: Option<&PastStanding>| match about {
        About::Role(role) => stood.is_some_and(|s| s.roles.contains(role)),
        About::Fleet | About::Node(_) => stood.is_some(),
    };
    let ids: BTreeSet<NodeId> = before.keys().chain(after.keys()).copied().collect();
    let (mut found, mut unchanged) = (Vec::new(), 0);
    for node in ids {
        let (then, later) = (before.remove(&node), after.remove(&node));
        let changed = match (&then, &later) {
            (Some(then), Some(later)) => words(then, later),
            _ => Vec::new(),
        };
        let verb = match (is_in(then.as_ref()), is_in(later.as_ref())) {
            (false, false) => continue,
            (false, true) => PastVerb::Came,
            (true, false) => PastVerb::Went,
            (true, true) if changed.is_empty() => {
                unchanged += 1;
                continue;
            }
            (true, true) => PastVerb::Changed,
        };
        let Some(name) = later.as_ref().or(then.as_ref()).map(|s| s.name.clone()) else { continue };
        found.push(PastNodeDiff { node, name, verb, changed, before: then, after: later });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name).then(a.node.cmp(&b.node)));
    (found, unchanged)
}

/// Says what is otherwise.
fn words(then: &PastStanding, later: &PastStanding) -> Vec<String> {
    let all = [
        ("name", then.name != later.name),
        ("state", then.state != later.state),
        ("config", then.config != later.config),
        ("mode", then.observe != later.observe),
        ("roles", then.roles != later.roles),
        ("labels", then.labels != later.labels),
        ("generation", then.generation != later.generation),
        ("resources", then.resources != later.resources),
    ];
    all.into_iter().filter(|(_, is)| *is).map(|(word, _)| word.to_owned()).collect()
}
