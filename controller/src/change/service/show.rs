//! What changes look like: the list, one with its drafts and its plan, its nodes.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{Change, ChangeNode, ChangeNodeState, ChangeSummary, DraftAct, Page};
use lampas_shared::{
    change::ChangeState,
    fleet::Scope,
    id::{ChangeId, ObjectId},
    object::Kind,
};

use super::Changes;
use crate::{
    change::{
        ChangeError, ChangeRow, approval, desired,
        draft::{self, Verb},
        node_edit, progress, rollout, set, store,
    },
    db::Tx,
    host,
};

/// Which changes are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// In this state.
    pub state: Option<ChangeState>,
    /// With a draft for this scope.
    pub scope: Option<Scope>,
    /// With a draft of this kind.
    pub kind: Option<Kind>,
    /// By this user.
    pub author: Option<String>,
    /// Without those that were only planned to look at them.
    pub is_asked: bool,
    /// Only those before this number.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

impl Changes {
    /// Finds a change by id, number, or a prefix of its plan's id.
    pub async fn find(&self, text: &str) -> Result<ChangeRow, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let row = store::find(&mut tx, text).await?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Returns a change with its drafts, its plan and how it stands.
    pub async fn show(&self, id: ChangeId) -> Result<Change, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let row = store::get(&mut tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                let all = &desired::standing(&mut tx).await?.all;
                let title = store::titles(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
                let standing = progress::progress(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
                let plan = store::plan(&mut tx, id).await?.map(|(digest, p)| lampas_api::Plan { digest, ..p.shown });
                let drafts = views(&mut tx, &row, all, plan.as_ref()).await?;
                let is_open = row.state.is_open() || row.state == ChangeState::Abandoned;
                let node_edits = node_edit::views(&mut tx, id, is_open).await?;
                let control = approval::control(&mut tx, &row, false).await?;
                let reverts = match row.reverts {
                    Some(reverted) => store::get(&mut tx, reverted, false).await?.map(|r| r.number),
                    None => None,
                };
                let rollout = rollout::view(&mut tx, id).await?;
                let mut summary = row.summary(title, standing, rollout::stages(&mut tx, &[id]).await?.remove(&id));
                summary.outlook = store::outlooks(&mut tx, &[id]).await?.remove(&id);
                let reverted_by = store::reverted_by(&mut tx, id).await?;
                let edits = if row.state.is_open() {
                    draft::bind(&store::drafts(&mut tx, id, all).await?, all).ok()
                } else {
                    None
                };
                let set = set::view(&mut tx, id, edits.as_deref()).await?;
                let change = Change { summary, drafts, node_edits, plan, reverts, reverted_by, rollout, control, set };
                Ok::<_, ChangeError>(tx.done(change))
            })
            .await
    }

    /// Returns a change with how it stands, without its drafts and its plan: those hold the names of a whole fleet, and
    /// whoever follows a change asks many times.
    pub async fn brief(&self, id: ChangeId) -> Result<Change, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let row = store::get(&mut tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                let title = store::titles(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
                let standing = progress::progress(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
                let reverts = match row.reverts {
                    Some(reverted) => store::get(&mut tx, reverted, false).await?.map(|r| r.number),
                    None => None,
                };
                let rollout = rollout::view(&mut tx, id).await?;
                let summary = row.summary(title, standing, rollout::stages(&mut tx, &[id]).await?.remove(&id));
                let reverted_by = store::reverted_by(&mut tx, id).await?;
                let control = approval::control(&mut tx, &row, true).await?;
                let change = Change {
                    summary,
                    drafts: Vec::new(),
                    node_edits: Vec::new(),
                    plan: None,
                    reverts,
                    reverted_by,
                    rollout,
                    control,
                    set: set::view(&mut tx, id, None).await?,
                };
                Ok::<_, ChangeError>(tx.done(change))
            })
            .await
    }

    /// Returns changes, newest first.
    pub async fn list(&self, listing: &Listing) -> Result<Page<ChangeSummary>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let scope = match &listing.scope {
                    // A node that isn't there: no draft has its name as a scope.
                    Some(scope) => Some(host::stored_scope(&mut tx, scope).await?.unwrap_or_else(|| scope.to_string())),
                    None => None,
                };
                let (state, kind, author) = (listing.state, listing.kind, listing.author.clone());
                let filter = store::Filter { state, scope, kind, author, is_asked: listing.is_asked };
                let mut rows = store::list(&mut tx, &filter, listing.before, listing.limit + 1).await?;
                let has_more = rows.len() > listing.limit as usize;
                rows.truncate(listing.limit as usize);
                let ids: Vec<_> = rows.iter().map(|r| r.id).collect();
                let mut titles = store::titles(&mut tx, &ids).await?;
                let mut standing = progress::progress(&mut tx, &ids).await?;
                let mut stages = rollout::stages(&mut tx, &ids).await?;
                let mut outlooks = store::outlooks(&mut tx, &ids).await?;
                let total = Some(store::count(&mut tx, &filter).await?);
                let next = rows.last().filter(|_| has_more).map(|r| r.number.to_string());
                let mut summary = |r: &ChangeRow| {
                    let title = titles.remove(&r.id).unwrap_or_default();
                    let summary = r.summary(title, standing.remove(&r.id).unwrap_or_default(), stages.remove(&r.id));
                    ChangeSummary { outlook: outlooks.remove(&r.id), ..summary }
                };
                let items = rows.iter().map(&mut summary).collect();
                Ok::<_, ChangeError>(tx.done(Page { items, next, total }))
            })
            .await
    }

    /// Returns the objects that a change makes, or made, such that not everybody on their nodes may read them.
    pub(crate) async fn private(&self, row: &ChangeRow) -> Result<BTreeSet<ObjectId>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let made: Vec<_> = if row.state.is_open() || row.state == ChangeState::Abandoned {
                    let all = &desired::standing(&mut tx).await?.all;
                    let drafts = store::drafts(&mut tx, row.id, all).await?;
                    let put = |d: draft::StoredDraft| match d.draft.act {
                        DraftAct::Put(spec) => Some((d.object?, spec)),
                        DraftAct::Delete(_) => None,
                    };
                    drafts.into_iter().filter_map(put).collect()
                } else {
                    host::by_change(&mut tx, row.id).await?.into_iter().map(|r| (r.object, r.spec)).collect()
                };
                let private = made.into_iter().filter(|(_, spec)| !host::mask::is_public(spec)).map(|(id, _)| id);
                Ok::<_, ChangeError>(tx.done(private.collect()))
            })
            .await
    }

    /// Returns the scopes that changes are about.
    pub(crate) async fn scopes(&self, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, BTreeSet<Scope>>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let found = store::scopes(&mut tx, ids).await?;
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Returns a page of a change's nodes by name: all, or those in one of these states.
    pub async fn nodes(
        &self,
        id: ChangeId,
        states: Option<&[ChangeNodeState]>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ChangeNode>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let row = store::get(&mut tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                let page = progress::nodes(&mut tx, id, row.applied_at, states, after, limit).await?;
                Ok::<_, ChangeError>(tx.done(page))
            })
            .await
    }
}

/// The drafts of an open change beside what stands; of an applied one beside what stood before it.
async fn views(
    tx: &mut Tx,
    row: &ChangeRow,
    all: &host::All,
    plan: Option<&lampas_api::Plan>,
) -> Result<Vec<lampas_api::DraftView>, ChangeError> {
    if row.state.is_open() || row.state == ChangeState::Abandoned {
        let drafts = store::drafts(tx, row.id, all).await?;
        return Ok(match draft::bind(&drafts, all) {
            Ok(mut edits) => {
                if row.state.is_open() && !set::is_unattended(tx, row).await? {
                    let members = &desired::standing(tx).await?.members;
                    let layers = rollout::hold::Layers::load(tx).await?;
                    layers.again(edits.iter_mut().filter_map(|e| Some((e.object?, e))), row.reverts, members);
                }
                let mut views: Vec<_> = edits.iter().map(draft::Edit::view).collect();
                for (view, edit) in
                    views.iter_mut().zip(&edits).filter(|(_, e)| e.verb == Verb::Again && e.after.is_none())
                {
                    gone_again(tx, edit.object, view).await?;
                }
                views
            }
            // Overtaken: shown as they are, without a difference that would mislead.
            Err(_) => drafts
                .iter()
                .map(|d| lampas_api::DraftView {
                    key: draft::key_of(&d.draft),
                    object: d.object,
                    verb: lampas_api::DraftVerb::Conflict,
                    base: Some(d.base),
                    diff: String::new(),
                })
                .collect(),
        });
    }
    let mut views = Vec::new();
    let made = host::by_change(tx, row.id).await?;
    // What is deleted once more makes no revision: the draft tells of it, and the plan that some nodes still had it.
    let held = plan.into_iter().flat_map(|p| &p.held).filter(|h| h.state.is_final() && !h.stays);
    let again: BTreeSet<_> = held.flat_map(|h| &h.objects).collect();
    let drafts = if again.is_empty() { Vec::new() } else { store::drafts(tx, row.id, all).await? };
    for draft in drafts {
        let key = draft::key_of(&draft.draft);
        let is_made = made.iter().any(|m| Some(m.object) == draft.object);
        if matches!(draft.draft.act, DraftAct::Delete(_)) && !is_made && again.contains(&key) {
            let verb = Verb::Again.shown();
            let mut view = lampas_api::DraftView { key, object: draft.object, verb, base: None, diff: String::new() };
            gone_again(tx, draft.object, &mut view).await?;
            views.push(view);
        }
    }
    for made in made {
        let before = match made.revision {
            0 | 1 => None,
            n => host::revision(tx, made.object, n - 1).await?.filter(|r| !r.is_deletion),
        };
        let after = (!made.is_deletion).then_some(&made.spec);
        let verb = match &before {
            _ if made.is_deletion => Verb::Delete,
            None => Verb::Create,
            Some(b) if b.spec.name != made.spec.name => Verb::Rename,
            Some(b) if b.spec == made.spec => Verb::Again,
            Some(_) => Verb::Update,
        };
        views.push(lampas_api::DraftView {
            key: made.spec.key(),
            object: Some(made.object),
            verb: verb.shown(),
            base: before.as_ref().map(|b| b.revision),
            diff: host::diff(before.as_ref().map(|b| &b.spec), after),
        });
    }
    Ok(views)
}

/// Shows what a deletion takes from the nodes that the one before left out.
async fn gone_again(
    tx: &mut Tx,
    object: Option<ObjectId>,
    view: &mut lampas_api::DraftView,
) -> Result<(), ChangeError> {
    let Some(object) = object else { return Ok(()) };
    view.object = Some(object);
    if let Some((last, _)) = host::newest(tx, object).await? {
        view.diff = host::diff(Some(&last.spec), None);
    }
    Ok(())
}
