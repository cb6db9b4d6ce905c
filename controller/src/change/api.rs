//! The calls of changes: make and plan, look, wait, apply, abandon, revert, restore.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use lampas_api::{
    AbandonRequest, ApplyRequest, Change, ChangeCreate, ChangeNode, ChangeNodeQuery, ChangeNodeState, ChangeQuery,
    ChangeSummary, DraftVerb, Page, PlanRequest, PlannedWave, Reason, RolloutRequest, WaitQuery,
};
use lampas_shared::{
    TextError,
    access::Permission,
    change::ChangeState,
    check_line,
    fleet::Scope,
    id::{ChangeId, ObjectId},
    object::Kind,
    rollout::Strategy,
};

use super::{Apply, ChangeError, ChangeRow, Listing, NewChange, Orderer, fold, rollout::store::WROTE};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, MaybeJson, Path, Query, limit, param},
        guard::{Caller, Credential},
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, ask, get},
    },
    change::View,
    host::{api::Eyes, mask},
};

const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/changes", VIEW, "Changes, newest first", list)
            .query::<ChangeQuery>()
            .gives_page::<ChangeSummary>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/changes", CHANGE, "change.create", "Make a change and plan it", create)
            .scoped(Scoped::Objects)
            .takes::<ChangeCreate>()
            .answers::<Change>(201),
        get("/api/v1/changes/{change}", VIEW, "One change, by id or number", one)
            .query::<WaitQuery>()
            .gives::<Change>()
            .scoped(Scoped::Filtered)
            .long(),
        get("/api/v1/changes/{change}/nodes", VIEW, "How a change stands on its nodes", nodes)
            .query::<ChangeNodeQuery>()
            .gives_page::<ChangeNode>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/changes/{change}/plan", CHANGE, "change.plan", "Plan a change anew", plan)
            .scoped(Scoped::Objects)
            .may_take::<PlanRequest>()
            .gives::<Change>(),
        act("POST", "/api/v1/changes/{change}/apply", CHANGE, "change.apply", "Apply a planned change", apply)
            .scoped(Scoped::Objects)
            .takes::<ApplyRequest>()
            .gives::<Change>(),
        act(
            "POST",
            "/api/v1/changes/{change}/rollout",
            CHANGE,
            "change.rollout",
            "Pause, resume, promote, abort or revert a rollout",
            order,
        )
        .scoped(Scoped::Objects)
        .takes::<RolloutRequest>()
        .gives::<Change>(),
        ask("/api/v1/changes/{change}/waves", VIEW, "The waves that a change would go out in", waves)
            .takes::<Strategy>()
            .gives_list::<PlannedWave>()
            .scoped(Scoped::Filtered),
        act(
            "POST",
            "/api/v1/changes/{change}/abandon",
            CHANGE,
            "change.abandon",
            "Drop a change that was not applied",
            abandon,
        )
        .scoped(Scoped::Objects)
        .may_take::<AbandonRequest>(),
        act(
            "POST",
            "/api/v1/changes/{change}/revert",
            CHANGE,
            "change.revert",
            "Make the change that undoes this one",
            revert,
        )
        .scoped(Scoped::Objects)
        .may_take::<Reason>()
        .answers::<Change>(201),
        act(
            "POST",
            "/api/v1/objects/{object}/revisions/{revision}/restore",
            CHANGE,
            "change.restore",
            "Make the change that puts an object back to a revision",
            restore,
        )
        .scoped(Scoped::Objects)
        .may_take::<Reason>()
        .answers::<Change>(201),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ChangeQuery>,
) -> Answer<axum::Json<Page<ChangeSummary>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let wrong = |pointer: &'static str| move |e: TextError| Refusal::text(pointer, &e);
    let state = query.state.as_deref().map(str::parse::<ChangeState>).transpose();
    let listing = Listing {
        state: state.map_err(wrong("/state"))?,
        scope: query.scope.as_deref().map(str::parse::<Scope>).transpose().map_err(wrong("/scope"))?,
        kind: query.kind.as_deref().map(str::parse::<Kind>).transpose().map_err(wrong("/kind"))?,
        author: query.author.clone(),
        is_asked: false,
        before: query.after.as_deref().map(|a| param("change", a)).transpose()?,
        limit: limit(query.limit)?,
    };
    if let Some(plan) = &query.plan {
        let found = match app.changes.find(plan).await {
            Ok(row) if row.plan_id.is_some() && sees(&app, &reach, row.id).await? => {
                vec![app.changes.show(row.id).await?.summary]
            }
            Ok(_) | Err(ChangeError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        return Ok(axum::Json(Page { total: Some(found.len() as u64), items: found, next: None }));
    }
    Ok(axum::Json(visible(&app, &reach, listing).await?))
}

/// Returns changes of which all that they are about may be seen, newest first.
pub(crate) async fn visible(app: &App, reach: &Reach, mut listing: Listing) -> Answer<Page<ChangeSummary>> {
    for _ in 0..20 {
        let mut page = app.changes.list(&listing).await?;
        if reach.is_all() {
            return Ok(page);
        }
        let ids: Vec<ChangeId> = page.items.iter().map(|c| c.id).collect();
        let scopes = app.changes.scopes(&ids).await?;
        page.items.retain(|c| scopes.get(&c.id).is_some_and(|all| all.iter().all(|s| reach.has_scope(s))));
        page.total = None;
        match page.next.as_deref().map(str::parse) {
            Some(Ok(before)) if page.items.is_empty() => listing.before = Some(before),
            _ => return Ok(page),
        }
    }
    Ok(Page { items: Vec::new(), next: listing.before.map(|n| n.to_string()), total: None })
}

/// Returns whether all that a change is about may be seen.
async fn sees(app: &App, reach: &Reach, id: ChangeId) -> Answer<bool> {
    if reach.is_all() {
        return Ok(true);
    }
    let scopes = app.changes.scopes(&[id]).await?;
    Ok(scopes.get(&id).is_some_and(|all| all.iter().all(|s| reach.has_scope(s))))
}

/// Finds a change that the caller may see.
pub(crate) async fn seen_by(app: &App, caller: &Caller, which: &str) -> Answer<(ChangeRow, Reach)> {
    let row = app.changes.find(which).await?;
    let reach = Reach::of(app, caller, Permission::View).await?;
    if sees(app, &reach, row.id).await? {
        Ok((row, reach))
    } else {
        Err(ChangeError::NotFound(which.chars().take(64).collect()).into())
    }
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(wanted): Json<ChangeCreate>,
) -> Answer<impl IntoResponse> {
    let by = caller.as_principal();
    let request_key = match headers.get("idempotency-key").map(|k| k.to_str()) {
        // A key belongs to who sent it: nobody learns of another's change by guessing.
        Some(Ok(key)) if !key.is_empty() && key.len() <= 64 => Some(format!("{}/{key}", caller.identity()?.user)),
        Some(_) => return Err(Refusal::field("", "Idempotency-Key has 1 to 64 visible ASCII characters")),
        None => None,
    };
    let new = NewChange {
        drafts: wanted.drafts,
        node_edits: wanted.node_edits,
        reason: reason(&wanted.reason)?,
        request_key,
        set: wanted.set,
        only_look: wanted.only_look && !wanted.apply,
        ..NewChange::default()
    };
    let row = if wanted.apply {
        let how = Apply { allow_unplanned: wanted.allow_unplanned, rollout: wanted.rollout, ..Apply::default() };
        app.changes.save(&new, &how, &by).await?
    } else {
        let row = app.changes.create(&new, &by).await?;
        if let Some(limit) = &wanted.rollout.limit {
            wanted.rollout.check().map_err(ChangeError::Strategy)?;
            app.changes.plan_within(row.id, Some(limit), &by).await?;
            app.changes.find(&row.id.to_string()).await?
        } else {
            planned(&app, row, &by).await?
        }
    };
    Ok((StatusCode::CREATED, axum::Json(shown(&app, &caller, &row).await?)))
}

async fn one(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Answer<axum::Json<Change>> {
    let (row, _) = seen_by(&app, &caller, &which).await?;
    let is_brief = query.brief.unwrap_or(false);
    let Some(secs) = query.wait_secs else { return Ok(axum::Json(seen(&app, &caller, &row, is_brief).await?)) };
    if !(1..=55).contains(&secs) {
        return Err(Refusal::field("/wait_secs", "waits 1 to 55 seconds"));
    }
    let mut woken = app.db.committed();
    woken.mark_unchanged();
    let first = app.changes.brief(row.id).await?.summary;
    let before = (first.state, first.progress);
    let stopping = app.tasks.stopping();
    let changed = async {
        loop {
            // Both arms are cancel-safe: a commit that is not taken is seen at the next call.
            tokio::select! {
                changed = woken.changed() => if changed.is_err() { return Ok(()) },
                () = stopping.cancelled() => return Ok(()),
            }
            let change = app.changes.brief(row.id).await?.summary;
            if (change.state, change.progress) != before {
                return Ok::<_, Refusal>(());
            }
        }
    };
    if !matches!(first.state, ChangeState::Done | ChangeState::Abandoned)
        && let Ok(looked) = tokio::time::timeout(Duration::from_secs(secs.into()), changed).await
    {
        looked?;
    }
    Ok(axum::Json(seen(&app, &caller, &row, is_brief).await?))
}

async fn nodes(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<ChangeNodeQuery>,
) -> Answer<axum::Json<Page<ChangeNode>>> {
    let (row, reach) = seen_by(&app, &caller, &which).await?;
    let limit = limit(query.limit)?;
    let word = |w: &str| serde_json::from_value::<ChangeNodeState>(w.into());
    let states = query.state.as_deref().map(|s| s.split(',').map(word).collect::<Result<Vec<_>, _>>()).transpose();
    let states = states.map_err(|_| {
        let words = "waiting, applying, converged, failed, unreachable, superseded, held, untouched";
        Refusal::field("/state", format!("one or more of {words}"))
    })?;
    let (changes, states, id) = (&app.changes, states.as_deref(), row.id);
    let fetch = |after: Option<String>, limit: u32| async move {
        Ok(changes.nodes(id, states, after.as_deref(), limit).await?)
    };
    let keep = |n: &ChangeNode| reach.has_node(n.node.id);
    let from = (query.after.clone(), limit);
    Ok(axum::Json(reach.page_by_name(from, fetch, keep, |n| n.node.name.clone()).await?))
}

async fn plan(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(wanted): MaybeJson<Option<PlanRequest>>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    let limit = wanted.and_then(|w| w.limit);
    app.changes.plan_within(row.id, limit.as_ref(), &caller.as_principal()).await?;
    app.changes.asked(row.id).await?;
    let row = app.changes.find(&row.id.to_string()).await?;
    Ok(axum::Json(shown(&app, &caller, &row).await?))
}

async fn apply(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<ApplyRequest>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    let why = reason(&wanted.reason)?;
    let how = Apply {
        plan: Some(wanted.plan),
        allow_unplanned: wanted.allow_unplanned,
        rollout: wanted.rollout,
        over_protection: over(&caller, wanted.override_protection, &why)?,
        over_freeze: over(&caller, wanted.override_freeze, &why)?,
        ..Apply::default()
    };
    let by = caller.as_principal();
    let row = match wanted.at {
        None => app.changes.apply(row.id, &how, &by).await?,
        Some(at) => {
            let identity = caller.identity()?;
            let token = match &identity.by {
                Credential::Token { id, .. } => Some(*id),
                Credential::Session { .. } | Credential::Machine { .. } => None,
            };
            app.changes.schedule(row.id, &how, at, &Orderer { by, user: identity.user, token }).await?
        }
    };
    Ok(axum::Json(seen(&app, &caller, &row, wanted.brief).await?))
}

async fn waves(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(strategy): Json<Strategy>,
) -> Answer<axum::Json<Vec<PlannedWave>>> {
    let (row, reach) = seen_by(&app, &caller, &which).await?;
    let mut waves = app.changes.waves(&row, &strategy, &|id| reach.has_node(id)).await?;
    for wave in &mut waves {
        wave.nodes.retain(|n| reach.has_node(n.id));
    }
    Ok(axum::Json(waves))
}

/// Checks that who wants to go over something may, and says why.
pub(crate) fn over(caller: &Caller, is_wanted: bool, why: &str) -> Answer<Option<String>> {
    if !is_wanted {
        return Ok(None);
    }
    // On which nodes is asked where it is applied.
    if !caller.may_somewhere(Permission::Protect) {
        return Err(Refusal::new("forbidden", "only administrators override protections and freezes"));
    }
    caller.grave(lampas_runtime::clock::now())?;
    if why.trim().is_empty() {
        return Err(Refusal::field("/reason", "say why it is overridden"));
    }
    Ok(Some(why.to_owned()))
}

/// Checks the reason with which somebody moves a node past what guards it, outside of a change.
pub(crate) fn over_guards(caller: &Caller, why: Option<&str>) -> Answer<Option<String>> {
    match why {
        None => Ok(None),
        Some(why) if why.trim().is_empty() => Err(Refusal::field("/override_reason", "say why it is overridden")),
        Some(why) => over(caller, true, &reason(why)?),
    }
}

async fn order(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<RolloutRequest>,
) -> Answer<axum::Json<Change>> {
    let row = app.changes.find(&which).await?;
    app.changes.order(row.id, wanted.order, &reason(&wanted.reason)?, &caller.as_principal()).await?;
    Ok(axum::Json(shown(&app, &caller, &row).await?))
}

async fn abandon(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(wanted): MaybeJson<AbandonRequest>,
) -> Answer<StatusCode> {
    let row = app.changes.find(&which).await?;
    let by = caller.as_principal();
    if wanted.forget {
        app.changes.forget(row.id, &by).await?;
    } else {
        app.changes.abandon(row.id, &by).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn revert(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(given): MaybeJson<Reason>,
) -> Answer<impl IntoResponse> {
    let row = app.changes.find(&which).await?;
    let by = caller.as_principal();
    let made = app.changes.revert(row.id, &reason(&given.reason)?, &by).await?;
    let made = planned(&app, made, &by).await?;
    Ok((StatusCode::CREATED, axum::Json(shown(&app, &caller, &made).await?)))
}

async fn restore(
    State(app): State<App>,
    caller: Caller,
    Path((object, revision)): Path<(String, String)>,
    MaybeJson(given): MaybeJson<Reason>,
) -> Answer<impl IntoResponse> {
    let (object, revision) = (param::<ObjectId>("object", &object)?, param("revision", &revision)?);
    let by = caller.as_principal();
    let made = app.changes.restore(object, revision, &reason(&given.reason)?, &by).await?;
    let made = planned(&app, made, &by).await?;
    Ok((StatusCode::CREATED, axum::Json(shown(&app, &caller, &made).await?)))
}

/// Plans a change with the nodes.
pub(crate) async fn planned(app: &App, row: ChangeRow, by: &crate::audit::Principal) -> Answer<ChangeRow> {
    app.changes.plan(row.id, by).await?;
    Ok(app.changes.find(&row.id.to_string()).await?)
}

/// Returns a change as this caller may see it, or only how it stands.
async fn seen(app: &App, caller: &Caller, row: &ChangeRow, is_brief: bool) -> Answer<Change> {
    if !is_brief {
        return shown(app, caller, row).await;
    }
    let mut change = app.changes.brief(row.id).await?;
    let eyes = Eyes::of(app, caller).await?;
    tell(&eyes.reads, &mut change);
    if !eyes.sees.is_all() {
        narrow(&eyes.sees, &mut change);
    }
    Ok(change)
}

/// Returns a change as this caller may see it.
pub(crate) async fn shown(app: &App, caller: &Caller, row: &ChangeRow) -> Answer<Change> {
    let mut change = app.changes.show(row.id).await?;
    let eyes = Eyes::of(app, caller).await?;
    tell(&eyes.reads, &mut change);
    if !eyes.reads.is_all() {
        let view = app.desired.view().await?;
        veil(&view, &eyes, &app.changes.private(row).await?, &mut change);
    }
    if !eyes.sees.is_all() {
        narrow(&eyes.sees, &mut change);
    }
    Ok(change)
}

/// Takes out the differences of contents that aren't world-readable, as they stand or as they are drafted (`private`).
/// What can't be told is taken out too.
fn veil(view: &View, eyes: &Eyes, private: &BTreeSet<ObjectId>, change: &mut Change) {
    let stands_public = |id: &ObjectId| view.all.objects.get(id).is_some_and(|o| mask::is_public(&o.spec));
    let is_public = |id: &ObjectId| stands_public(id) && !private.contains(id);
    for draft in change.drafts.iter_mut().filter(|d| !eyes.reads.has_scope(&d.key.scope)) {
        if !draft.object.as_ref().is_some_and(is_public) || draft.verb != DraftVerb::Delete {
            draft.diff = veiled(&draft.diff);
        }
    }
    // What happens where contents may be read may be read, also of an object that doesn't stand yet.
    let groups = change.plan.iter_mut().flat_map(|p| &mut p.groups);
    let hidden = groups.filter(|group| !group.nodes.iter().any(|n| eyes.reads.has_node(n.id)));
    for action in hidden.flat_map(|g| &mut g.actions).filter(|a| !is_public(&a.object)) {
        action.diff = veiled(&action.diff);
    }
}

/// Tells what gates' commands wrote, where that may be read.
fn tell(reads: &Reach, change: &mut Change) {
    let gates = change.rollout.iter_mut().flat_map(|r| &mut r.waves).flat_map(|w| &mut w.gates);
    for answer in gates.flat_map(|g| &mut g.answers) {
        if let Some((ended, wrote)) = answer.text.split_once(WROTE) {
            let may_read = reads.has_node(answer.node.id);
            answer.text = if may_read { format!("{ended}: {wrote}") } else { ended.to_owned() };
        }
    }
}

/// Takes out the nodes that may not be seen.
fn narrow(reach: &Reach, change: &mut Change) {
    if let Some(plan) = &mut change.plan {
        for group in &mut plan.groups {
            group.nodes.retain(|n| reach.has_node(n.id));
        }
        plan.groups.retain(|group| !group.nodes.is_empty());
        plan.unplanned.retain(|u| reach.has_node(u.node.id));
        plan.changing = fold::changing(&plan.groups);
        plan.observing = fold::observing(&plan.groups);
        for side in plan.limit.iter_mut().flat_map(|l| [&mut l.within, &mut l.beyond]) {
            side.retain(|n| reach.has_node(n.id));
        }
        let rest = plan.changing + plan.observing + plan.unplanned.len() as u32;
        plan.unchanged = reach.nodes().map_or(plan.unchanged, |n| (n.len() as u32).saturating_sub(rest));
        for held in &mut plan.held {
            held.nodes.retain(|n| reach.has_node(n.id));
        }
        for empty in &mut plan.empty_scopes {
            empty.nearest = empty.nearest.take().filter(|nearest| reach.has_scope(nearest));
        }
        // What blocks is told in sentences with names of nodes.
        if !plan.blockers.is_empty() {
            plan.blockers = vec!["nodes say that they can't do it; who sees all of them reads why".to_owned()];
        }
    }
    change.control.protections.retain(|p| reach.has_scope(&p.scope));
    change.control.freezes.retain(|f| reach.has_scope(&f.scope));
    let Some(rollout) = &mut change.rollout else { return };
    for wave in &mut rollout.waves {
        wave.nodes.retain(|n| reach.has_node(n.id));
        wave.gates.iter_mut().for_each(|gate| gate.answers.retain(|a| reach.has_node(a.node.id)));
    }
    if reach.is_named_beyond(&rollout.reason) {
        rollout.reason = "who sees all of its nodes reads why".to_owned();
    }
}

/// What is shown of a difference that may not be read: that there is one, and its hash.
pub(crate) fn veiled(diff: &str) -> String {
    if diff.is_empty() {
        return String::new();
    }
    let hash = lampas_shared::desired::ContentHash::of(diff.as_bytes());
    format!("(the difference {} needs the permission read_content)\n", hash.short())
}

/// Checks a reason: up to 500 characters in one line.
pub(crate) fn reason(text: &str) -> Answer<String> {
    check_line("reason", text, 2000).map_err(|e| Refusal::text("/reason", &e))?;
    if text.chars().count() > 500 {
        return Err(Refusal::field("/reason", "a reason has at most 500 characters"));
    }
    Ok(text.to_owned())
}
