//! Time travel: the objects as of any moment, and what became of them between two.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use lampas_api::{DraftVerb, History, HistoryItem, HistoryQuery};
use lampas_runtime::clock;
use lampas_shared::{
    TextError,
    fleet::Scope,
    id::ObjectId,
    object::{Kind, ObjectSpec},
    time::UnixMs,
};

use super::{StoredRevision, api::Eyes, mask, store};
use crate::{
    api::{
        App,
        extract::Query,
        guard::Caller,
        problem::{Answer, Refusal},
    },
    db::{DbError, Tx},
};

/// The most objects in one answer.
const MOST: usize = 1000;

/// Returns what stood at a moment, by object: the newest revision of each up to then, the deletions too.
pub(crate) async fn as_of(app: &App, at: UnixMs) -> Answer<BTreeMap<ObjectId, StoredRevision>> {
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let found = store::as_of(&mut tx, at).await?;
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    Ok(found.into_iter().map(|r| (r.object, r)).collect())
}

pub(super) async fn between(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Answer<axum::Json<History>> {
    let wrong = |pointer: &'static str| move |e: TextError| Refusal::text(pointer, &e);
    let kind = query.kind.as_deref().map(str::parse::<Kind>).transpose().map_err(wrong("/kind"))?;
    let scope = query.scope.as_deref().map(str::parse::<Scope>).transpose().map_err(wrong("/scope"))?;
    let to = query.to.unwrap_or_else(clock::now);
    if query.from > to {
        return Err(Refusal::field("/from", "lies after the other moment; swap them"));
    }
    let (then, later) = (as_of(&app, query.from).await?, as_of(&app, to).await?);
    let is_meant = |s: &ObjectSpec| {
        kind.is_none_or(|k| k == s.body.kind()) && scope.as_ref().is_none_or(|wanted| *wanted == s.scope)
    };
    let eyes = Eyes::of(&app, &caller).await?;
    let (mut items, unchanged) = differences((then, later), (&is_meant, &is_meant), &eyes);
    let has_more = items.len() > MOST;
    items.truncate(MOST);
    Ok(axum::Json(History { from: query.from, to, unchanged, items, has_more }))
}

/// What stood at a moment, by object.
type Stood = BTreeMap<ObjectId, StoredRevision>;
/// Which objects are meant at a moment.
type Meant<'m> = &'m dyn Fn(&ObjectSpec) -> bool;

/// Returns what became of objects between two moments, as somebody may see it, by kind, scope and name; and how many
/// stood at both and are the same. What isn't meant at a moment counts as not there.
pub(crate) fn differences(
    (mut then, mut later): (Stood, Stood),
    (meant_then, meant_later): (Meant<'_>, Meant<'_>),
    eyes: &Eyes,
) -> (Vec<HistoryItem>, u32) {
    let (mut items, mut unchanged) = (Vec::new(), 0);
    let objects: BTreeSet<ObjectId> = then.keys().chain(later.keys()).copied().collect();
    for object in objects {
        // What is there at the earlier moment is there at the later one: revisions are for ever.
        let Some(last) = later.remove(&object) else { continue };
        let before = then.remove(&object).filter(|r| !r.is_deletion && meant_then(&r.spec));
        let is_there = !last.is_deletion && meant_later(&last.spec);
        let is_seen = |s: &ObjectSpec| eyes.sees.has_scope(&s.scope);
        if !is_seen(&last.spec) || !before.as_ref().is_none_or(|b| is_seen(&b.spec)) {
            continue;
        }
        match (before, is_there) {
            (None, false) => {}
            (Some(before), true) if before.revision == last.revision => unchanged += 1,
            (before, _) => items.push(item(object, before, is_there, last, eyes)),
        }
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    (items, unchanged)
}

fn item(
    object: ObjectId,
    before: Option<StoredRevision>,
    is_there: bool,
    last: StoredRevision,
    eyes: &Eyes,
) -> HistoryItem {
    let from = before.as_ref().map(|b| b.revision);
    let to = is_there.then_some(last.revision);
    let mut sides = [before.map(|b| b.spec), is_there.then(|| last.spec.clone())];
    let verb = match &sides {
        [None, _] => DraftVerb::Create,
        [_, None] => DraftVerb::Delete,
        [Some(a), Some(b)] if a.name != b.name => DraftVerb::Rename,
        _ => DraftVerb::Update,
    };
    if !sides.iter().flatten().all(|spec| eyes.may_read(spec)) {
        sides.iter_mut().flatten().for_each(|spec| mask::mask(spec, true));
    }
    let diff = super::diff(sides[0].as_ref(), sides[1].as_ref());
    HistoryItem { object, key: last.spec.key(), verb, from, to, last: last.shown(false), diff }
}
