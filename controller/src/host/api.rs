//! The calls of objects: list, one, revisions, differences, export, and checks for editors.

use std::collections::BTreeMap;

use axum::{extract::State, response::IntoResponse};
use lampas_api::{
    DeletedQuery, Deletion, DiffQuery, Draft, DraftAct, Export, ExportQuery, History, HistoryQuery, ManifestCheck,
    ManifestObject, ManifestText, NodeRef, Object, ObjectQuery, ObjectSet, ObjectSummary, Overridden, Page, PageQuery,
    Revision, RevisionDiff, ScriptUses, SpecCheck,
};
use lampas_manifest::{ManifestFile, NoSources};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    fleet::Scope,
    id::{NodeId, ObjectId},
    object::{Kind, ObjectSpec},
    source::SourceName,
    time::UnixMs,
};

use super::{ObjectFilter, Stored, StoredRevision, check, history, mask, zone};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, Path, Query, etag, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, ask, get},
    },
    change::View,
    db::{DbError, Tx},
};

const VIEW: Access = Access::Needs(Permission::View);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/objects", VIEW, "Objects, by name", list)
            .query::<ObjectQuery>()
            .gives_page::<ObjectSummary>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/deleted", VIEW, "Objects that stand no more, deleted last first", deleted)
            .query::<DeletedQuery>()
            .gives_page::<ObjectSummary>()
            .scoped(Scoped::Filtered),
        get("/api/v1/sets", VIEW, "Sets of manifests that hold objects, by name", all_sets)
            .gives::<Vec<ObjectSet>>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/{object}", VIEW, "One object; its revision is the ETag", one)
            .gives::<Object>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/{object}/revisions", VIEW, "An object's revisions, newest first", revisions)
            .query::<PageQuery>()
            .gives_page::<Revision>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/{object}/revisions/{revision}", VIEW, "One revision with what it says", revision)
            .gives::<Revision>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/{object}/diff", VIEW, "The difference of two revisions", diff)
            .query::<DiffQuery>()
            .gives::<RevisionDiff>()
            .scoped(Scoped::Filtered),
        get("/api/v1/objects/{object}/script-uses", VIEW, "Who uses a script", super::uses::uses).gives::<ScriptUses>(),
        get("/api/v1/export", VIEW, "Objects as a manifest", export)
            .query::<ExportQuery>()
            .gives::<Export>()
            .scoped(Scoped::Filtered),
        get("/api/v1/history", VIEW, "What became of the objects between two moments", history::between)
            .query::<HistoryQuery>()
            .gives::<History>()
            .scoped(Scoped::Filtered),
        ask("/api/v1/check/spec", VIEW, "Check an object without saving it", check_spec)
            .scoped(Scoped::Filtered)
            .takes::<ObjectSpec>()
            .gives::<SpecCheck>(),
        ask("/api/v1/check/manifest", VIEW, "Read a manifest without saving it", check_manifest)
            .scoped(Scoped::Plain)
            .takes::<ManifestText>()
            .gives::<ManifestCheck>(),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ObjectQuery>,
) -> Answer<axum::Json<Page<ObjectSummary>>> {
    let limit = limit(query.limit)?;
    let wrong = |pointer: &'static str| move |e: lampas_shared::TextError| Refusal::text(pointer, &e);
    let eyes = Eyes::of(&app, &caller).await?;
    // Whoever finds by what he may not read, reads it: letter by letter.
    let is_said = |kind: &Kind| eyes.reads.is_all() || !mask::may_hide(*kind);
    let filter = ObjectFilter {
        kind: query.kind.as_deref().map(str::parse::<Kind>).transpose().map_err(wrong("/kind"))?,
        scope: query.scope.as_deref().map(str::parse::<Scope>).transpose().map_err(wrong("/scope"))?,
        search: query.query.clone(),
        set: query.set.as_deref().map(str::parse::<SourceName>).transpose().map_err(wrong("/set"))?,
        said: Kind::ALL.into_iter().filter(is_said).collect(),
    };
    let view = app.desired.view().await?;
    let page = match &query.node {
        Some(node) => {
            let mut page = on_node(&app, &eyes, &view, (node, &filter), query.after.as_deref(), limit).await?;
            page.items.retain(|stored| eyes.sees.has_scope(&stored.spec.scope));
            page
        }
        None => {
            let (db, filter) = (&app.db, &filter);
            let fetch = |after: Option<String>, limit: u32| async move {
                let after = after.as_deref();
                let page = db.read(|mut tx: Tx| async move {
                    let page = super::list(&mut tx, filter, after, limit).await?;
                    Ok::<_, DbError>(tx.done(page))
                });
                Ok(page.await?)
            };
            let keep = |stored: &Stored| eyes.sees.has_scope(&stored.spec.scope);
            let cursor = |stored: &Stored| format!("{}/{}", stored.spec.name, stored.id);
            eyes.sees.page_by_name((query.after.clone(), limit), fetch, keep, cursor).await?
        }
    };
    let mut items: Vec<ObjectSummary> = page.items.iter().map(|stored| summary(&view, stored, &eyes)).collect();
    let mut sets = sets(&app, items.iter().map(|o| o.id).collect()).await?;
    for item in &mut items {
        item.set = sets.remove(&item.id);
    }
    Ok(axum::Json(Page { items, next: page.next, total: page.total }))
}

async fn all_sets(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<ObjectSet>>> {
    let sees = &Reach::of(&app, &caller, Permission::View).await?;
    let all = &app.desired.view().await?.all;
    let read = app.db.read(|mut tx| async move {
        let sets = crate::change::set::list(&mut tx, all, |scope| sees.has_scope(scope)).await?;
        Ok::<_, DbError>(tx.done(sets))
    });
    Ok(axum::Json(read.await?))
}

/// Returns the sets of manifests that objects are in.
async fn sets(app: &App, objects: Vec<ObjectId>) -> Answer<BTreeMap<ObjectId, SourceName>> {
    let objects = &objects;
    let read = app.db.read(|mut tx| async move {
        let sets = crate::change::set::store::of(&mut tx, objects).await?;
        Ok::<_, DbError>(tx.done(sets))
    });
    Ok(read.await?)
}

/// The objects that are in force on a node: known from the compiled fleet.
async fn on_node(
    app: &App,
    eyes: &Eyes,
    view: &View,
    (node, filter): (&str, &ObjectFilter),
    after: Option<&str>,
    limit: u32,
) -> Answer<Page<Stored>> {
    let id = crate::fleet::api::node_id(app, node).await?;
    if !eyes.sees.has_node(id) {
        return Err(Refusal::not_found("node", node));
    }
    let resources = view.compiled.class(id).map(|c| c.resources.as_slice()).unwrap_or_default();
    let mut ids: std::collections::BTreeSet<ObjectId> = resources.iter().map(|r| r.object).collect();
    if filter.set.is_some() {
        let sets = sets(app, ids.iter().copied().collect()).await?;
        ids.retain(|id| sets.get(id) == filter.set.as_ref());
    }
    let fits = |s: &&Stored| {
        filter.kind.is_none_or(|k| k == s.spec.body.kind())
            && filter.scope.as_ref().is_none_or(|scope| *scope == s.spec.scope)
            && filter.search.as_ref().is_none_or(|text| s.spec.name.as_str().contains(text.as_str()))
    };
    let mut found: Vec<Stored> = ids.iter().filter_map(|id| view.all.objects.get(id)).filter(fits).cloned().collect();
    found.sort_by(|a, b| (&a.spec.name, a.id).cmp(&(&b.spec.name, b.id)));
    let total = Some(found.len() as u64);
    let key = |s: &Stored| format!("{}/{}", s.spec.name, s.id);
    if let Some(after) = after {
        let at = found.iter().position(|s| key(s) == after).map_or(0, |i| i + 1);
        found.drain(..at);
    }
    let next = (found.len() > limit as usize).then(|| key(&found[limit as usize - 1]));
    found.truncate(limit as usize);
    Ok(Page { items: found, next, total })
}

async fn one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<impl IntoResponse> {
    let id: ObjectId = param("object", &id)?;
    let view = app.desired.view().await?;
    let (stored, is_deleted) = match view.all.objects.get(&id) {
        Some(stored) => (stored.clone(), false),
        None => (last(&app, id).await?, true),
    };
    let eyes = Eyes::of(&app, &caller).await?;
    eyes.must_see(id, &stored.spec.scope)?;
    let mut about = summary(&view, &stored, &eyes);
    about.set = sets(&app, vec![id]).await?.remove(&id);
    about.deletion = is_deleted.then(|| deletion(&stored));
    let mut spec = ObjectSpec::clone(&stored.spec);
    let is_masked = !eyes.may_read(&spec);
    if is_masked {
        mask::mask(&mut spec, false);
    }
    let overridden = view.compiled.overridden_on(id).into_iter().filter(|(node, _)| eyes.sees.has_node(*node));
    let overridden = overridden.map(|(node, by)| Overridden {
        node: node_ref(&view, node),
        by,
        by_text: view.all.objects.get(&by).map(|o| o.spec.key().to_string()).unwrap_or_default(),
    });
    let effective = view.compiled.effective_on(id).into_iter().filter(|node| eyes.sees.has_node(*node));
    let object = Object {
        effective_on: effective.map(|n| node_ref(&view, n)).collect(),
        overridden_on: overridden.collect(),
        about,
        spec,
        is_masked,
        is_deleted,
    };
    Ok((etag(stored.revision), axum::Json(object)))
}

/// A deleted object, as its last revision says.
async fn last(app: &App, id: ObjectId) -> Answer<Stored> {
    let newest = app
        .db
        .read(|mut tx: Tx| async move {
            let newest = super::newest(&mut tx, id).await?;
            Ok::<_, DbError>(tx.done(newest))
        })
        .await?;
    let (last, first) = newest.ok_or_else(|| Refusal::not_found("object", id))?;
    Ok(gone(last, first))
}

/// Returns an object that stands no more as it stood last.
fn gone(last: StoredRevision, created_at: UnixMs) -> Stored {
    Stored {
        id: last.object,
        revision: last.revision,
        author: last.author,
        reason: last.reason,
        change: None,
        change_number: last.change_number,
        approval: last.approval,
        created_at,
        updated_at: last.at,
        spec: last.spec.into(),
    }
}

fn deletion(gone: &Stored) -> Deletion {
    Deletion { change: gone.change_number, reason: gone.reason.clone() }
}

async fn deleted(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DeletedQuery>,
) -> Answer<axum::Json<Page<ObjectSummary>>> {
    let limit = limit(query.limit)?;
    let wrong = |pointer: &'static str| move |e: lampas_shared::TextError| Refusal::text(pointer, &e);
    let kind = query.kind.as_deref().map(str::parse::<Kind>).transpose().map_err(wrong("/kind"))?;
    let scope = query.scope.as_deref().map(str::parse::<Scope>).transpose().map_err(wrong("/scope"))?;
    let (db, scope, name) = (&app.db, scope.as_ref(), query.name.as_deref());
    let fetch = |after: Option<String>| async move {
        let after = match after.as_deref().map(|a| a.split_once('/').unwrap_or((a, ""))) {
            Some((at, id)) => Some((UnixMs(param("place", at)?), param("place", id)?)),
            None => None,
        };
        let page = db.read(|mut tx: Tx| async move {
            let page = super::store::deleted(&mut tx, (kind, scope, name), after, limit).await?;
            Ok::<_, DbError>(tx.done(page))
        });
        Ok(page.await?)
    };
    let eyes = Eyes::of(&app, &caller).await?;
    let page = eyes.sees.page(query.after.clone(), fetch, |r| eyes.sees.has_scope(&r.spec.scope)).await?;
    let view = app.desired.view().await?;
    let shown = |r: StoredRevision| {
        let at = r.at;
        let stored = gone(r, at);
        ObjectSummary { deletion: Some(deletion(&stored)), ..summary(&view, &stored, &eyes) }
    };
    let items = page.items.into_iter().map(shown).collect();
    Ok(axum::Json(Page { items, next: page.next, total: page.total }))
}

async fn revisions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<Page<Revision>>> {
    let limit = limit(query.limit)?;
    let before: u64 = query.after.as_deref().map_or(Ok(u64::MAX), |a| param("revision", a))?;
    let id: ObjectId = param("object", &id)?;
    let (newest, page) = app
        .db
        .read(|mut tx: Tx| async move {
            let newest = super::newest(&mut tx, id).await?;
            let page = super::store::revisions(&mut tx, id, before, limit).await?;
            Ok::<_, DbError>(tx.done((newest, page)))
        })
        .await?;
    let (newest, _) = newest.ok_or_else(|| Refusal::not_found("object", id))?;
    Eyes::of(&app, &caller).await?.must_see(id, &newest.spec.scope)?;
    Ok(axum::Json(page))
}

async fn revision(
    State(app): State<App>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
) -> Answer<axum::Json<Revision>> {
    let id: ObjectId = param("object", &id)?;
    let found = find(&app, id, param("revision", &number)?).await?;
    let eyes = Eyes::of(&app, &caller).await?;
    eyes.must_see(id, &found.spec.scope)?;
    let mut revision = found.shown(true);
    if let Some(spec) = &mut revision.spec
        && !eyes.may_read(spec)
    {
        mask::mask(spec, true);
    }
    Ok(axum::Json(revision))
}

async fn find(app: &App, id: ObjectId, number: u64) -> Answer<StoredRevision> {
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let revision = super::revision(&mut tx, id, number).await?;
            Ok::<_, DbError>(tx.done(revision))
        })
        .await?;
    found.ok_or_else(|| Refusal::not_found("revision", format_args!("{number} of object {id}")))
}

async fn diff(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Answer<axum::Json<RevisionDiff>> {
    let id: ObjectId = param("object", &id)?;
    let eyes = Eyes::of(&app, &caller).await?;
    let mut sides = Vec::new();
    for number in [query.from, query.to] {
        let found = if number == 0 { None } else { Some(find(&app, id, number).await?) };
        if let Some(found) = &found {
            eyes.must_see(id, &found.spec.scope)?;
        }
        sides.push(found.filter(|r| !r.is_deletion).map(|r| r.spec));
    }
    if !sides.iter().flatten().all(|spec| eyes.may_read(spec)) {
        sides.iter_mut().flatten().for_each(|spec| mask::mask(spec, true));
    }
    let diff = super::diff(sides[0].as_ref(), sides[1].as_ref());
    Ok(axum::Json(RevisionDiff { from: query.from, to: query.to, diff }))
}

async fn export(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Answer<axum::Json<Export>> {
    let wrong = |pointer: &'static str| move |e: lampas_shared::TextError| Refusal::text(pointer, &e);
    let kind = query.kind.as_deref().map(str::parse::<Kind>).transpose().map_err(wrong("/kind"))?;
    let scope = query.scope.as_deref().map(str::parse::<Scope>).transpose().map_err(wrong("/scope"))?;
    let mut specs: Vec<ObjectSpec> = match query.at {
        Some(at) => {
            let then = history::as_of(&app, at).await?;
            then.into_values().filter(|r| !r.is_deletion).map(|r| r.spec).collect()
        }
        None => app.desired.view().await?.all.objects.values().map(|o| ObjectSpec::clone(&o.spec)).collect(),
    };
    specs.retain(|o| kind.is_none_or(|k| k == o.body.kind()) && scope.as_ref().is_none_or(|s| *s == o.scope));
    let eyes = Eyes::of(&app, &caller).await?;
    specs.retain(|o| eyes.sees.has_scope(&o.scope));
    if let Some(hidden) = specs.iter().find(|s| !eyes.may_read(s)) {
        return Err(Refusal::new(
            "forbidden",
            format!("{} holds what needs the permission read_content", hidden.key()),
        ));
    }
    specs.sort_by_key(ObjectSpec::key);
    Ok(axum::Json(Export { objects: specs.len() as u32, manifest: lampas_manifest::export(&specs) }))
}

async fn check_spec(
    State(app): State<App>,
    caller: Caller,
    Json(raw): Json<serde_json::Value>,
) -> Answer<axum::Json<SpecCheck>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let own = zone::of_job(&app, &reach, &raw).await?;
    let mut found = check::check(&raw, own.as_ref(), clock::now());
    let view = app.desired.view().await?;
    check::look(&raw, &view, &reach, &mut found);
    Ok(axum::Json(found))
}

async fn check_manifest(Json(given): Json<ManifestText>) -> axum::Json<ManifestCheck> {
    let name = if given.name.is_empty() { "manifest" } else { given.name.as_str() };
    let file = ManifestFile { name, text: &given.manifest };
    axum::Json(match lampas_manifest::parse(&[file], &NoSources) {
        Ok(entries) => {
            let objects = entries.into_iter().map(|e| ManifestObject {
                line: e.line as u32,
                draft: Draft {
                    act: e.spec.map_or(DraftAct::Delete(e.key), DraftAct::Put),
                    base: None,
                    previous_name: e.previous_name,
                },
            });
            ManifestCheck { problems: Vec::new(), objects: objects.collect() }
        }
        Err(errors) => {
            let problems = errors.0.into_iter().map(|e| lampas_api::Finding {
                field: String::new(),
                line: u32::try_from(e.line).ok(),
                column: None,
                severity: lampas_api::Severity::Error,
                message: e.message,
            });
            ManifestCheck { problems: problems.collect(), objects: Vec::new() }
        }
    })
}

/// What somebody sees of objects, and may read of what they say.
pub(crate) struct Eyes {
    /// What may be seen.
    pub(crate) sees: Reach,
    /// Whose contents may be read that aren't world-readable.
    pub(crate) reads: Reach,
}

impl Eyes {
    pub(crate) async fn of(app: &App, caller: &Caller) -> Answer<Self> {
        let sees = Reach::of(app, caller, Permission::View).await?;
        Ok(Self { sees, reads: Reach::of(app, caller, Permission::ReadContent).await? })
    }

    /// Returns whether what an object says may be read.
    pub(crate) fn may_read(&self, spec: &ObjectSpec) -> bool {
        mask::is_public(spec) || self.reads.has_scope(&spec.scope)
    }

    fn must_see(&self, id: ObjectId, scope: &Scope) -> Answer<()> {
        if self.sees.has_scope(scope) { Ok(()) } else { Err(Refusal::not_found("object", id)) }
    }
}

/// Returns an object's row; what it says is left out where it may not be read.
pub(crate) fn summary(view: &View, stored: &Stored, eyes: &Eyes) -> ObjectSummary {
    let mut text = super::summary(&stored.spec);
    if !eyes.may_read(&stored.spec) {
        let mut spec = ObjectSpec::clone(&stored.spec);
        mask::mask(&mut spec, false);
        text = super::summary(&spec);
    }
    ObjectSummary {
        id: stored.id,
        kind: stored.spec.body.kind(),
        scope: stored.spec.scope.to_string(),
        name: stored.spec.name.clone(),
        revision: stored.revision,
        summary: text,
        author: stored.author.clone(),
        updated_at: stored.updated_at,
        nodes: view.compiled.effective_on(stored.id).iter().filter(|node| eyes.sees.has_node(**node)).count() as u32,
        set: None,
        deletion: None,
    }
}

/// Returns a node by id and name.
pub(crate) fn node_ref(view: &View, id: NodeId) -> NodeRef {
    NodeRef { id, name: view.all.names.get(&id).map_or_else(|| id.to_string(), ToString::to_string) }
}
