//! The calls of what happened: events as sentences, and the overview.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use lampas_api::{Activity, ActivityQuery, Overview, OverviewCounts, Page, PageQuery, UpcomingRun};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    change::Cause,
    event::{Event, EventKind},
    id::{NodeId, ObjectId},
    object::Body,
    time::UnixMs,
};

use super::Filter;
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Path, Query, limit, param},
        guard::Caller,
        problem::Answer,
        table::{Access, Call, Scoped, get},
    },
    change::{Listing, View, api::visible},
    db::{DbError, Tx},
};

const VIEW: Access = Access::Needs(Permission::View);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/overview", VIEW, "What needs attention, in one request", overview)
            .gives::<Overview>()
            .scoped(Scoped::Filtered),
        get("/api/v1/activity", VIEW, "What happened, newest first", activity)
            .query::<ActivityQuery>()
            .gives_page::<Activity>()
            .scoped(Scoped::Filtered),
        get("/api/v1/nodes/{node}/activity", VIEW, "What happened on a node, newest first", node_activity)
            .scoped(Scoped::Node)
            .query::<PageQuery>()
            .gives_page::<Activity>(),
    ]
}

async fn activity(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ActivityQuery>,
) -> Answer<axum::Json<Page<Activity>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let node = match &query.node {
        Some(node) => Some(crate::fleet::api::node_id(&app, node).await?),
        None => None,
    };
    let change = match &query.change {
        Some(change) => Some(app.changes.find(change).await?.id),
        None => None,
    };
    let filter = Filter {
        node,
        object: query.object.as_deref().map(|o| param::<ObjectId>("object", o)).transpose()?,
        change,
        before: query.after.as_deref().map(|a| param("event", a)).transpose()?,
        until: None,
    };
    Ok(axum::Json(page(&app, &reach, filter, limit(query.limit)?).await?))
}

async fn node_activity(
    State(app): State<App>,
    Path(which): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<Page<Activity>>> {
    let node = Some(crate::fleet::api::node_id(&app, &which).await?);
    let before = query.after.as_deref().map(|a| param("event", a)).transpose()?;
    // The guard has seen to it that the node may be seen; one that was revoked is in nobody's reach.
    let reach = Reach::All;
    Ok(axum::Json(page(&app, &reach, Filter { node, before, ..Filter::default() }, limit(query.limit)?).await?))
}

/// Returns what happened, newest first: on nodes and to objects that may be seen.
async fn page(app: &App, reach: &Reach, filter: Filter, limit: u32) -> Answer<Page<Activity>> {
    let (first, filter, view) = (filter.before.map(|b| b.to_string()), &filter, &app.desired.view().await?);
    let fetch = |after: Option<String>| async move {
        let before = after.as_deref().map(|a| param("event", a)).transpose()?;
        let filter = &Filter { before, ..filter.clone() };
        let read = app.db.read(|mut tx: Tx| async move {
            let events = super::recent(&mut tx, filter, limit).await?;
            Ok::<_, DbError>(tx.done(events))
        });
        let events = read.await?;
        let next = (events.len() == limit as usize).then(|| events.last().map(|e| e.seq.to_string())).flatten();
        Ok(Page { items: events.iter().map(|e| told(view, e)).collect(), next, total: None })
    };
    let scope = |object: &ObjectId| view.all.objects.get(object).is_some_and(|o| reach.has_scope(&o.spec.scope));
    let keep = |told: &Activity| match (told.node, &told.object) {
        (Some(node), _) => reach.has_node(node),
        (None, Some(object)) => scope(object),
        (None, None) => false,
    };
    reach.page(first, fetch, keep).await
}

/// Returns what had happened until a moment, newest first: in the fleet, or on a node.
pub(crate) async fn until(
    app: &App,
    reach: &Reach,
    at: UnixMs,
    node: Option<NodeId>,
    limit: u32,
) -> Answer<Vec<Activity>> {
    Ok(page(app, reach, Filter { node, until: Some(at), ..Filter::default() }, limit).await?.items)
}

/// Tells an event in a sentence.
fn told(view: &View, event: &Event) -> Activity {
    let node_name =
        event.node.map(|n| view.all.names.get(&n).map_or_else(|| detail(event, "name"), ToString::to_string));
    // Of a node that was removed only some events hold the name.
    let node_name = node_name.filter(|name| !name.is_empty());
    let named = node_name.as_deref().or(event.node.map(|_| "a node that was removed")).unwrap_or_default();
    let object = event.object.and_then(|o| view.all.objects.get(&o)).map(|o| o.spec.key().to_string());
    let number = event.details.get("number").and_then(|n| n.parse().ok());
    Activity {
        seq: event.seq,
        at: event.at,
        kind: event.kind.as_str().to_owned(),
        text: sentence(event, named, object.as_deref()),
        node: event.node,
        node_name: node_name.clone(),
        change: number,
        object: event.object,
        cause: cause(event),
    }
}

/// Returns whether an event says that something was put back on nodes, or is made otherwise there.
fn cause(event: &Event) -> Option<Cause> {
    match event.kind {
        EventKind::DriftEnded => (detail(event, "outcome") == "repaired").then_some(Cause::Corrective),
        EventKind::ChangeMoved => {
            let is_given_up = matches!(detail(event, "waves").as_str(), "aborted" | "reverted");
            let is_moved = matches!(detail(event, "state").as_str(), "rolling" | "done");
            (is_moved && !is_given_up).then_some(Cause::Intentional)
        }
        EventKind::ObjectChanged => Some(Cause::Intentional),
        EventKind::RolloutMoved => (!detail(event, "reverts").is_empty()).then_some(Cause::Intentional),
        _ => None,
    }
}

fn detail(event: &Event, name: &str) -> String {
    event.details.get(name).cloned().unwrap_or_default()
}

fn sentence(event: &Event, node: &str, object: Option<&str>) -> String {
    let detail = |name: &str| detail(event, name);
    let because = |text: String| if text.is_empty() { String::new() } else { format!(": {text}") };
    let object = object.map_or_else(|| detail("key"), str::to_owned);
    let text = match event.kind {
        EventKind::NodeEnrolled => format!("{node} was enrolled"),
        EventKind::NodeConnected => format!("{node} connected"),
        EventKind::NodeDisconnected => format!("{node} is gone{}", because(detail("reason"))),
        EventKind::NodeChanged => format!("{node} was changed{}", because(detail("what"))),
        EventKind::NodeRevoked => format!("{node} was revoked"),
        EventKind::NodeRemoved => format!("{node} was taken out of the fleet"),
        EventKind::NodeRefused => format!("{node} was refused{}", because(detail("reason"))),
        EventKind::NodeDeclined => format!("{node} does not take its state{}", because(detail("reason"))),
        EventKind::ReportsLost => {
            format!(
                "{} reports of {node} were lost between {} and {}",
                detail("count"),
                detail("from"),
                detail("until")
            )
        }
        EventKind::TokenChanged => format!("an enrolment token is {}", detail("state")),
        EventKind::NodeReported => format!("{node} is {}", detail("state")),
        EventKind::GenerationQuarantined => {
            format!("{node} undid generation {}, which cut it off", detail("generation"))
        }
        EventKind::DriftFound => format!("{} was changed by hand on {node}", first(&detail("path"), &detail("target"))),
        EventKind::DriftEnded => {
            format!("{} on {node} is {}", first(&detail("path"), &detail("target")), detail("outcome"))
        }
        EventKind::ObjectChanged => {
            format!("{} was {}d", first(&detail("object"), &object), first(&detail("verb"), "change"))
        }
        EventKind::ChangeMoved if matches!(detail("waves").as_str(), "aborted" | "reverted") => {
            format!("change {} is over: its rollout was {}", detail("number"), detail("waves"))
        }
        EventKind::ChangeMoved => {
            let state = if detail("state") == "draft" { "a draft".to_owned() } else { detail("state") };
            format!("change {} is {state}{}", detail("number"), because(detail("why")))
        }
        EventKind::RolloutMoved if !detail("reverts").is_empty() => {
            format!("a change that reverts change {} was applied", detail("reverts"))
        }
        EventKind::RolloutMoved => format!(
            "the rollout of change {} is {}, wave {} of {}{}",
            detail("number"),
            detail("state"),
            detail("wave"),
            detail("waves"),
            because(beyond_wave(&detail("reason")))
        ),
        EventKind::ScheduleMoved => {
            format!("change {} on the schedule: {}{}", detail("number"), detail("state"), because(detail("reason")))
        }
        EventKind::ProtectionChanged => {
            format!("{} is {}{}", detail("scope"), detail("state"), because(detail("reason")))
        }
        EventKind::FreezeChanged => {
            format!("the freeze of {} is {}{}", detail("scope"), detail("state"), because(detail("reason")))
        }
        EventKind::SourceChanged => format!("source {} was {}", detail("source"), detail("state")),
        EventKind::SourceMoved => {
            format!("source {} is {}{}", detail("source"), detail("state"), because(detail("why")))
        }
        EventKind::JobRan => match detail("outcome").as_str() {
            "missed" => format!("{object} was not started on {node} at its time"),
            "node_down" => format!("{object} did not run on {node}: it was off or asleep"),
            outcome => format!("{object} ran on {node}{}", because(outcome.to_owned())),
        },
        EventKind::OperationStarted => format!("operation {} began: {}", detail("number"), detail("title")),
        EventKind::OperationCancelled => format!("operation {} was cancelled", detail("number")),
        EventKind::OperationMoved => format!("operation {} on {node} is {}", detail("number"), detail("state")),
        EventKind::OperationEnded => format!("operation {} is over: {}", detail("number"), detail("state")),
        EventKind::UserChanged => format!("user {} was changed", detail("login")),
        EventKind::SessionOpened => format!("{} signed in from {}", detail("login"), detail("from")),
        EventKind::ProviderChanged => {
            format!("the sign-in provider {} was {}", detail("name"), first(&detail("verb"), "changed"))
        }
        EventKind::KeySuspect => {
            format!("the security key {} of {} was refused: its counter went back", detail("key"), detail("login"))
        }
        EventKind::MailChanged => format!("mail was {}", first(&detail("verb"), "changed")),
        EventKind::MailMoved => format!("a mail is {}", detail("state")),
        EventKind::SessionRefused => format!("a sign-in as {} from {} failed", detail("login"), detail("from")),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the reason of a rollout's move without the wave that it begins with: the sentence names it.
fn beyond_wave(reason: &str) -> String {
    match reason.split_once(": ") {
        Some((wave, rest)) if wave.starts_with("wave ") && wave.contains(" of ") => rest.to_owned(),
        _ => reason.to_owned(),
    }
}

fn first(a: &str, b: &str) -> String {
    if a.is_empty() { b.to_owned() } else { a.to_owned() }
}

async fn overview(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Overview>> {
    let now = clock::now();
    let view = app.desired.view().await?;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let counts = counts(&app, &reach, &view).await?;
    let changes = visible(&app, &reach, Listing { limit: 5, ..Listing::default() }).await?.items;
    let activity = page(&app, &reach, Filter::default(), 10).await?.items;
    let attention = super::attention::attention(&app, &caller, &reach, &counts).await?;
    let next_runs = upcoming(&app, &view, &reach, now).await?;
    Ok(axum::Json(Overview { counts, attention, changes, next_runs, activity }))
}

/// Counts what may be seen.
pub(crate) async fn counts(app: &App, reach: &Reach, view: &View) -> Answer<OverviewCounts> {
    let is_all = reach.is_all();
    let (all, observing) = app
        .db
        .read(|mut tx: Tx| async move {
            let all = if is_all { Some(crate::fleet::counts(&mut tx).await?) } else { None };
            let observing = if is_all { BTreeSet::new() } else { crate::takeover::observing(&mut tx).await? };
            Ok::<_, DbError>(tx.done((all, observing)))
        })
        .await?;
    if let Some(all) = all {
        return Ok(all);
    }
    let mut counts = OverviewCounts::default();
    for group in crate::fleet::api::tiles(app, reach).await? {
        crate::fleet::count(&mut counts, group.state, group.config, group.nodes.len() as u32);
    }
    counts.observing = observing.iter().filter(|node| reach.has_node(**node)).count() as u32;
    counts.objects = view.all.objects.values().filter(|o| reach.has_scope(&o.spec.scope)).count() as u32;
    Ok(counts)
}

/// The next runs over the fleet, soonest first.
async fn upcoming(app: &App, view: &View, reach: &Reach, now: UnixMs) -> Answer<Vec<UpcomingRun>> {
    // Of each object how many nodes it is on, and one of them.
    let mut on: BTreeMap<ObjectId, (u32, NodeId)> = BTreeMap::new();
    for class in view.compiled.classes() {
        let mut seen = class.nodes.iter().filter(|node| reach.has_node(**node)).peekable();
        let Some(first) = seen.peek().map(|node| **node) else { continue };
        let nodes = seen.count() as u32;
        for resource in &class.resources {
            on.entry(resource.object).or_insert((0, first)).0 += nodes;
        }
    }
    let jobs = view.all.objects.values().filter_map(|o| match &o.spec.body {
        Body::Cron(job) if job.enabled => Some((o, job, on.get(&o.id).copied()?)),
        _ => None,
    });
    let jobs: Vec<_> = jobs.collect();
    // A job without a zone of its own goes by its nodes', of which one speaks for all.
    let asked: BTreeSet<NodeId> =
        jobs.iter().filter(|(_, job, _)| job.time_zone.is_none()).map(|(_, _, (_, node))| *node).collect();
    let zones = crate::host::zone::zones(app, &asked.into_iter().collect::<Vec<_>>()).await?;
    let mut runs: Vec<UpcomingRun> = jobs
        .into_iter()
        .flat_map(|(stored, job, (nodes, node))| {
            let (_, runs) = crate::host::check::job_runs(job, zones.get(&node), now, 2);
            runs.into_iter().map(move |run| UpcomingRun {
                object: stored.id,
                name: stored.spec.name.to_string(),
                scope: stored.spec.scope.to_string(),
                at: run.at,
                nodes,
            })
        })
        .collect();
    runs.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    runs.truncate(8);
    Ok(runs)
}
