//! The service behind drift: what handlers call.

use std::collections::{BTreeMap, btree_map};

use lampas_api::{AdoptRequest, Draft, DraftAct, Drift, DriftMerge, NodeRef, Page};
use lampas_render::schedule::Zone;
use lampas_shared::{
    access::Permission,
    change::Cause,
    fleet::Scope,
    host::TimeZoneName,
    id::{DriftId, ObjectId},
    object::{DriftPolicy, ObjectSpec},
    report::DriftOutcome,
};

use super::{
    DriftError, DriftFilter,
    adopt::{self, Adoption},
    merge::{self, Merged, Sides, Undecided},
    settle,
    store::{self, Decided, DriftRow},
};
use crate::{
    audit::{Entry, Principal},
    change::{self, ChangeRow, Changes, NewChange},
    compile::values::Values,
    db::{DbError, Tx},
    fleet,
    host::{self, Stored},
};

/// The service behind drift.
#[derive(Debug, Clone)]
pub struct Drifts {
    changes: Changes,
}

/// A finding with all that adopting it needs.
struct Found {
    row: DriftRow,
    spec: Option<ObjectSpec>,
    zone: Zone,
    content: Option<Vec<u8>>,
}

impl Drifts {
    /// Decides through changes.
    pub fn new(changes: Changes) -> Self {
        Self { changes }
    }

    /// Returns drift, newest first.
    pub async fn list(&self, filter: &DriftFilter, limit: u32) -> Result<Page<Drift>, DriftError> {
        let view = self.changes.desired().view().await?;
        let view = &view;
        self.changes
            .db()
            .read(|mut tx| async move {
                let mut rows = store::list(&mut tx, filter, limit + 1).await?;
                let total = Some(store::count(&mut tx, filter).await?);
                let has_more = rows.len() > limit as usize;
                rows.truncate(limit as usize);
                let next = rows.last().filter(|_| has_more).map(|r| r.id.to_string());
                let mut specs: BTreeMap<ObjectId, Option<ObjectSpec>> = BTreeMap::new();
                let mut items = Vec::with_capacity(rows.len());
                for row in rows {
                    if let btree_map::Entry::Vacant(free) = specs.entry(row.object) {
                        free.insert(spec_of(&mut tx, row.object).await?);
                    }
                    // An object of which not even a revision is left can't be named, nor anything be decided about it.
                    let Some(spec) = specs[&row.object].clone() else { continue };
                    let nodes = view.compiled.effective_on(row.object).len();
                    let found = found(&mut tx, row, Some(spec)).await?;
                    items.extend(shown(&found, nodes));
                }
                Ok::<_, DriftError>(tx.done(Page { items, next, total }))
            })
            .await
    }

    /// Returns one finding.
    pub async fn get(&self, id: DriftId) -> Result<Drift, DriftError> {
        let found = self.load(id).await?;
        let nodes = self.changes.desired().view().await?.compiled.effective_on(found.row.object).len();
        shown(&found, nodes).ok_or(DriftError::NotFound)
    }

    /// Counts the nodes with standing drift by object.
    pub async fn standing_by_object(&self) -> Result<BTreeMap<ObjectId, u64>, DriftError> {
        self.changes
            .db()
            .read(|mut tx| async move {
                let counts = store::standing_by_object(&mut tx).await?;
                Ok::<_, DriftError>(tx.done(counts))
            })
            .await
    }

    /// Asks the node to put the desired state back. The finding ends when the node says so.
    pub async fn revert(&self, id: DriftId, by: &Principal) -> Result<(), DriftError> {
        let found = self.load(id).await?;
        self.within(&found.row, by).await?;
        must_stand(&found.row)?;
        self.changes.gate().revert(found.row.node, found.row.target.clone()).await.map_err(DriftError::Node)?;
        let row = &found.row;
        self.changes
            .db()
            .write(|mut tx| async move {
                store::decide(&mut tx, id, &Decided { decision: "revert", change: None, wanted: None }, by).await?;
                tx.audit(Entry::done(by, "drift.revert", format!("{} on {}", row.path, row.node_name)));
                Ok::<_, DriftError>(tx.done(()))
            })
            .await
    }

    /// Shows what was edited on the node, merged into the template that made the file.
    ///
    /// # Errors
    /// When it is over, or can't be adopted so.
    pub async fn merge(&self, id: DriftId) -> Result<DriftMerge, DriftError> {
        let found = self.load(id).await?;
        must_stand(&found.row)?;
        let spec = found.spec.as_ref().ok_or_else(deleted)?;
        let Adoption::Merge(_, theirs) = read(&found, spec).map_err(DriftError::Refused)? else {
            return Err(DriftError::Refused("no template made it: adopt it as it stands".to_owned()));
        };
        let base = self.base(&found).await?;
        let sides = sides(&found, spec, base.as_deref(), theirs);
        let values = self.values(&found, sides.texts(&AdoptRequest::default())).await?;
        let merge = sides.merge(&values).map_err(DriftError::Refused)?;
        Ok(sides.shown(&merge))
    }

    /// Opens a planned change with the node's version, for the object's scope or the one that is asked for. Also returns in
    /// how many lines the file becomes otherwise than it stands, where it was merged into a template.
    ///
    /// # Errors
    /// When it is over, can't be adopted, or the change can't be made.
    pub async fn adopt(
        &self,
        id: DriftId,
        request: &AdoptRequest,
        by: &Principal,
    ) -> Result<(ChangeRow, Option<u32>), DriftError> {
        let found = self.load(id).await?;
        self.within(&found.row, by).await?;
        must_stand(&found.row)?;
        let spec = found.spec.as_ref().ok_or_else(deleted)?;
        let view = self.changes.desired().view().await?;
        // What a node says of an object that it doesn't have is nobody's to adopt.
        let has = |c: &crate::compile::Class| c.resources.iter().any(|r| r.object == found.row.object);
        if !view.compiled.class(found.row.node).is_some_and(has) {
            return Err(DriftError::Refused("the object is not in force on this node".to_owned()));
        }
        let scope = match &request.scope {
            None => spec.scope.clone(),
            Some(text) => text.parse::<Scope>().map_err(|e| DriftError::Refused(e.to_string()))?,
        };
        let (mut base, mut differs) = (None, None);
        let adoption = read(&found, spec).map_err(DriftError::Refused)?;
        let decides = request.content.is_some() || request.conflicts.is_some() || request.merge.is_some();
        if decides && !matches!(adoption, Adoption::Merge(..)) {
            return Err(DriftError::Refused("no template made it, so that there is nothing to merge".to_owned()));
        }
        let act = match adoption {
            Adoption::Merge(mut adopted, theirs) => {
                let merged = self.merged(&found, spec, theirs, request).await?;
                merge::put(&mut adopted.body, merged.text);
                adopted.scope = scope;
                adopted.check().map_err(|e| DriftError::Refused(e.to_string()))?;
                if *adopted == *spec {
                    let why = "with these lines nothing of it goes into the template; revert it instead";
                    return Err(DriftError::Refused(why.to_owned()));
                }
                differs = Some(merged.differs);
                // Who changed the template in between is not overwritten.
                let stands = view.all.objects.get(&found.row.object).filter(|_| adopted.scope == spec.scope);
                base = stands.map(|stored| stored.revision);
                DraftAct::Put(*adopted)
            }
            Adoption::Put(mut adopted) => {
                adopted.scope = scope;
                DraftAct::Put(*adopted)
            }
            Adoption::Delete if scope == spec.scope => DraftAct::Delete(spec.key()),
            Adoption::Delete => {
                let why = "it is gone on the node, and an object can't be taken away from a narrower scope";
                return Err(DriftError::Refused(why.to_owned()));
            }
        };
        let reason = match request.reason.trim() {
            "" => format!("adopted from {}", found.row.node_name),
            given => format!("{given} (adopted from {})", found.row.node_name),
        };
        let draft = Draft { act, base, previous_name: None };
        let new = NewChange { drafts: vec![draft], reason, ..NewChange::default() };
        let decides = differs.is_some_and(|lines| lines > 0);
        let (row, new) = (&found.row, &new);
        // The change and what it decides are there together, or neither is.
        let change = self
            .changes
            .db()
            .write(|mut tx| async move {
                let (change, prospect) = change::make(&mut tx, new, by).await?;
                let hash = |seen: &DriftRow| seen.observed.as_ref().map(|o| o.hash);
                // What was edited meanwhile is not what was decided about.
                let is_same = store::get(&mut tx, id).await?.is_some_and(|now| hash(&now) == hash(row));
                let prospect = prospect.filter(|_| is_same && decides);
                let wanted = prospect.and_then(|p| settle::wanted(&p.compiled, row.node, &row.target));
                let decision = if wanted.is_some() { settle::SETTLE } else { "adopt" };
                let decided = Decided { decision, change: Some(change.id), wanted };
                store::decide(&mut tx, id, &decided, by).await?;
                let entry = Entry::done(by, "drift.adopt", format!("{} on {}", row.path, row.node_name));
                tx.audit(entry.because(change.reason.clone()));
                Ok::<_, DriftError>(tx.done(change))
            })
            .await?;
        self.changes.plan(change.id, by).await?;
        Ok((self.changes.find(&change.id.to_string()).await?, differs))
    }

    async fn merged(
        &self,
        found: &Found,
        spec: &ObjectSpec,
        theirs: String,
        request: &AdoptRequest,
    ) -> Result<Merged, DriftError> {
        let base = self.base(found).await?;
        let sides = sides(found, spec, base.as_deref(), theirs);
        let values = self.values(found, sides.texts(request)).await?;
        let merge = sides.merge(&values).map_err(DriftError::Refused)?;
        sides.decided(&merge, &values, request).map_err(|undecided| match undecided {
            Undecided::Conflicts(count) => DriftError::Conflicts(count),
            Undecided::Moved => DriftError::Moved,
            Undecided::Refused(why) => DriftError::Refused(why),
        })
    }

    /// Returns what the template said that made the node's file: a held drift stands through later revisions, and the newest
    /// one of then may not have come to the node.
    async fn base(&self, found: &Found) -> Result<Option<String>, DriftError> {
        let row = &found.row;
        let stood = self
            .changes
            .db()
            .read(|mut tx| async move {
                let stood = host::in_force_on(&mut tx, row.object, row.node, row.found_at).await?;
                Ok::<_, DriftError>(tx.done(stood))
            })
            .await?;
        Ok(stood.and_then(|stood| merge::template(&stood.spec.body).map(str::to_owned)))
    }

    /// Returns what names stand for on the node.
    async fn values(&self, found: &Found, texts: impl Iterator<Item = &str>) -> Result<Values, DriftError> {
        let view = self.changes.desired().view().await?;
        let gone = || DriftError::Refused("the object is not in force on this node".to_owned());
        let node = view.members().iter().find(|m| m.id == found.row.node).ok_or_else(gone)?;
        let own = view.all.objects.get(&found.row.object).ok_or_else(deleted)?.input();
        Ok(Values::on(node, view.all.objects.values().map(Stored::input), texts, &own.provenance))
    }

    /// Wants the permission to change what is on the node of a finding.
    async fn within(&self, row: &DriftRow, by: &Principal) -> Result<(), DriftError> {
        let view = self.changes.desired().view().await?;
        by.must_on_nodes(Permission::Change, [row.node], view.members()).map_err(|e| DriftError::Change(e.into()))
    }

    async fn load(&self, id: DriftId) -> Result<Found, DriftError> {
        self.changes
            .db()
            .read(|mut tx| async move {
                let row = store::get(&mut tx, id).await?.ok_or(DriftError::NotFound)?;
                let spec = spec_of(&mut tx, row.object).await?;
                let found = found(&mut tx, row, spec).await?;
                Ok::<_, DriftError>(tx.done(found))
            })
            .await
    }
}

async fn found(tx: &mut Tx, row: DriftRow, spec: Option<ObjectSpec>) -> Result<Found, DbError> {
    let content = store::content(tx, row.id).await?;
    let node = fleet::get(tx, row.node).await?;
    let zone = node.and_then(|n| TimeZoneName::parse(n.facts.time_zone).ok()).and_then(|z| Zone::parse(&z).ok());
    Ok(Found { row, spec, zone: zone.unwrap_or_else(Zone::utc), content })
}

/// The object as it stands, or as it stood last.
async fn spec_of(tx: &mut Tx, object: ObjectId) -> Result<Option<ObjectSpec>, DbError> {
    if let Some(stored) = host::get(tx, object).await? {
        return Ok(Some(ObjectSpec::clone(&stored.spec)));
    }
    Ok(host::newest(tx, object).await?.map(|(newest, _)| newest.spec))
}

fn read(found: &Found, spec: &ObjectSpec) -> Result<Adoption, String> {
    adopt::adopt(
        found.row.object,
        spec,
        &found.row.target,
        found.row.observed.as_ref(),
        found.content.as_deref(),
        &found.zone,
    )
}

fn sides<'a>(found: &'a Found, spec: &'a ObjectSpec, base: Option<&'a str>, theirs: String) -> Sides<'a> {
    let ours = merge::template(&spec.body).unwrap_or_default();
    Sides { base: base.unwrap_or(ours), ours, theirs, node: found.row.node_name.as_str() }
}

fn deleted() -> DriftError {
    DriftError::Refused("its object was deleted".to_owned())
}

fn must_stand(row: &DriftRow) -> Result<(), DriftError> {
    match row.outcome {
        DriftOutcome::Standing => Ok(()),
        DriftOutcome::Repaired => Err(DriftError::Over("repaired")),
        DriftOutcome::Resolved => Err(DriftError::Over("resolved")),
    }
}

fn shown(found: &Found, scope_nodes: usize) -> Option<Drift> {
    let spec = found.spec.as_ref()?;
    let row = &found.row;
    let refusal = match row.outcome {
        DriftOutcome::Standing => read(found, spec).err().unwrap_or_default(),
        _ => "it is over".to_owned(),
    };
    let policy: DriftPolicy = spec.drift;
    Some(Drift {
        id: row.id,
        node: NodeRef { id: row.node, name: row.node_name.to_string() },
        target: row.target.clone(),
        object: row.object,
        kind: spec.body.kind(),
        name: spec.name.clone(),
        scope: spec.scope.to_string(),
        policy,
        outcome: row.outcome,
        path: row.path.clone(),
        diff: row.diff.clone(),
        owner: row.observed.as_ref().map(|o| format!("{}:{}", o.owner, o.group)),
        mode: row.observed.as_ref().map(|o| o.mode.to_string()),
        modified_at: row.observed.as_ref().map(|o| o.modified_at),
        found_at: row.found_at,
        ended_at: row.ended_at,
        cause: (row.outcome == DriftOutcome::Repaired).then_some(Cause::Corrective),
        adopt_refusal: refusal,
        merges: row.observed.is_some() && merge::template(&spec.body).is_some(),
        scope_nodes: scope_nodes as u32,
    })
}
