//! Planning: what the fleet would be, and what the nodes say to that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use lampas_api::{EmptyScope, NextRun, PlannedRuns};
use lampas_render::schedule::{Zone, next_runs};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::Permission,
    desired::{ContentHash, Generation, Provenance},
    error::Fault,
    event::EventKind,
    fleet::Scope,
    host::TimeZoneName,
    id::{ChangeId, NodeId, ObjectId},
    object::{Body, Kind, ObjectKey, ObjectName},
    report::NodePlan,
    time::UnixMs,
};

use super::{
    ChangeError, Changes, approval,
    assign::{self, Assigned},
    desired::{self, View},
    draft::{self, Edit, Verb},
    fold,
    node_edit::{self, Sides, StoredEdit},
    rollout::{
        hold::{Layers, Lift},
        limit,
    },
    schedule, set,
    store::{self, ChangeRow, StoredPlan},
    unmatched,
};
use crate::{
    access::{self, Outside},
    audit::Principal,
    compile::{Compiled, NodeInput, Problem, compile_held, template},
    db::Tx,
    event::NewEvent,
    fleet,
    host::{self, All},
    takeover,
};

/// How long one node has for its answer.
const LIMIT: Duration = Duration::from_secs(3);
/// How many nodes are asked at the same time.
const AT_ONCE: usize = 1024;
/// So many warnings are told of a plan.
const WARNINGS: usize = 50;

/// A plan that is younger than this is not asked for again when it is applied: the nodes answered just now.
const FRESH: Duration = Duration::from_secs(2);

/// Returns the affected nodes that only observe, each with the objects that are otherwise there with the change: in what
/// it would get, or in who made it so.
async fn observing(tx: &mut Tx, prospect: &Prospect) -> Result<BTreeMap<NodeId, BTreeSet<ObjectId>>, ChangeError> {
    let mut nodes = takeover::observing(tx).await?;
    let affected = prospect.affected();
    nodes.retain(|node| affected.contains_key(node));
    if nodes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let view = desired::standing(tx).await?;
    let edited: BTreeSet<ObjectId> = prospect.edits.iter().map(|(id, _)| *id).collect();
    let concerned = |node: NodeId| {
        let resources = |compiled: &Compiled| -> BTreeSet<_> {
            let class = compiled.class(node).into_iter().flat_map(|c| c.resources.clone());
            class.map(|r| (r.target.clone(), r.object, crate::db::row::to_json(&r.spec))).collect()
        };
        let (before, after) = (resources(&view.compiled), resources(&prospect.compiled));
        let moved = before.symmetric_difference(&after).map(|(_, object, _)| *object);
        (node, moved.chain(edited.iter().copied()).collect())
    };
    Ok(nodes.into_iter().map(concerned).collect())
}

/// What the nodes that answered saw on their disks.
fn seen(answers: &BTreeMap<NodeId, Result<NodePlan, Fault>>) -> BTreeMap<NodeId, ContentHash> {
    answers.iter().filter_map(|(node, answer)| Some((*node, answer.as_ref().ok()?.observed))).collect()
}

/// The fleet as it would be with a change.
#[derive(Debug)]
pub(crate) struct Prospect {
    /// The `state` counter that it was read at.
    pub(super) state: u64,
    pub(super) is_signed: bool,
    pub(crate) all: All,
    pub(crate) edits: Vec<(ObjectId, Edit)>,
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) assigned: Assigned,
    pub(crate) epoch: u64,
    /// The nodes as they stand.
    pub(crate) members: Vec<NodeInput>,
    /// The fleet as it stands.
    pub(super) standing: Arc<View>,
    /// The edits of nodes, and the nodes with them.
    pub(crate) node_edits: Vec<StoredEdit>,
    /// What rollouts keep back.
    pub(super) layers: Layers,
    /// Whether nobody looked at what it would undo.
    is_unattended: bool,
    after: Option<Vec<NodeInput>>,
}

impl Prospect {
    /// Reads what stands, binds the drafts to it and compiles both.
    ///
    /// # Errors
    /// When an object has a newer revision than its draft, or the drafts make a tie.
    pub(crate) async fn load(tx: &mut Tx, row: &ChangeRow, author: &str, now: UnixMs) -> Result<Self, ChangeError> {
        let view = desired::standing(tx).await?;
        let drafts = store::drafts(tx, row.id, &view.all).await?;
        let edits = draft::bind(&drafts, &view.all)?;
        let node_edits = node_edit::load(tx, row.id).await?;
        node_edit::hold(tx, &node_edits, &view.members).await?;
        Self::with(tx, &view, (edits, node_edits), row, author, now).await
    }

    pub(crate) async fn with(
        tx: &mut Tx,
        view: &Arc<View>,
        (edits, node_edits): (Vec<Edit>, Vec<StoredEdit>),
        row: &ChangeRow,
        author: &str,
        now: UnixMs,
    ) -> Result<Self, ChangeError> {
        let mut named = Vec::with_capacity(edits.len());
        for mut edit in edits {
            if edit.before.is_none()
                && let Some((id, last)) = host::former(tx, &edit.key).await?
            {
                // It was deleted once: its history goes on.
                edit.object = Some(id);
                edit.last_revision = last;
            }
            named.push((edit.object.unwrap_or_else(random::new_id), edit));
        }
        let layers = Layers::load(tx).await?;
        if let Some(reverted) = row.reverts {
            let number = super::service::number(tx, reverted).await?;
            if let Some(newer) = layers.newer(named.iter().map(|(id, _)| *id), number) {
                let why = format!(
                    "change {number} can't be put back while change {newer} keeps what it is about from nodes: put that back \
                     first (lampasctl change revert {newer}; while it rolls out: lampasctl rollout revert {newer})"
                );
                return Err(ChangeError::Unfit(why));
            }
        }
        let is_unattended = set::is_unattended(tx, row).await?;
        if !is_unattended {
            layers.again(named.iter_mut().map(|(id, e)| (*id, e)), row.reverts, &view.members);
        }
        let (all, members) = (view.all.clone(), view.members.clone());
        let approval = host::approval_of(tx, row.id).await?;
        let provenance = |revision| Provenance {
            revision,
            author: author.to_owned(),
            at: now,
            reason: row.reason.clone(),
            change: row.number,
            approval: approval.clone(),
        };
        let borrowed: Vec<(ObjectId, &Edit)> = named.iter().map(|(id, e)| (*id, e)).collect();
        // What is asked for as it stands is still held back where a rollout holds it.
        let edited = named.iter().filter(|(_, e)| e.verb != Verb::None).map(|(id, _)| *id).collect();
        let holds = layers.holds(tx, &Lift { objects: &edited, reverts: row.reverts }).await?;
        let mut inputs = draft::overlay(&all, &borrowed, &provenance);
        let mut after = None;
        if !node_edits.is_empty() {
            let nodes = node_edit::overlay(&members, &node_edits);
            node_edit::follow(&mut inputs, &node_edits);
            node_edit::untied(&nodes, &node_edits.iter().map(|e| e.node).collect(), &inputs)?;
            after = Some(nodes);
        }
        let compiled = compile_held(after.as_ref().unwrap_or(&members), &view.left, &inputs, &holds);
        let mine = |id: ObjectId| named.iter().any(|(edited, e)| *edited == id && e.verb != Verb::None);
        if let Some(tie) = compiled.ties.iter().find(|t| mine(t.first.0) || mine(t.second.0)) {
            return Err(ChangeError::Tie(Box::new(tie.clone())));
        }
        let meant = |p: &&Problem| {
            let is_moved = |(kind, name): &(Kind, ObjectName)| {
                named.iter().any(|(_, e)| e.verb != Verb::None && (e.key.kind, &e.key.name) == (*kind, name))
            };
            mine(p.object) || p.wanted.as_ref().is_some_and(is_moved)
        };
        if let Some(problem) = compiled.problems.iter().find(meant) {
            return Err(ChangeError::Template(Box::new(problem.clone())));
        }
        Ok(Self {
            state: view.state,
            is_signed: view.is_signed,
            all,
            edits: named,
            compiled: Arc::new(compiled),
            assigned: view.assigned.clone(),
            epoch: view.epoch,
            members,
            standing: Arc::clone(view),
            node_edits,
            layers,
            is_unattended,
            after,
        })
    }

    /// Returns whether applying it would do nothing, on any node or to what the controller holds.
    async fn is_idle(&self, tx: &mut Tx, id: ChangeId) -> Result<bool, ChangeError> {
        let does_something = |e: &Edit| e.verb != Verb::None;
        if self.edits.iter().any(|(_, e)| does_something(e))
            || !self.node_edits.is_empty()
            || !self.affected().is_empty()
        {
            return Ok(false);
        }
        let edits: Vec<Edit> = self.edits.iter().map(|(_, e)| e.clone()).collect();
        Ok(set::view(tx, id, Some(&edits)).await?.is_none_or(|set| set.joins.is_empty()))
    }

    /// Returns the first of its objects that is so already, and that a rollout keeps from nodes at the moment, with the
    /// number of that one's change: if it does nothing else, nothing would come of it.
    pub(super) fn awaits(&self) -> Option<(&ObjectKey, u64)> {
        let does_something = |e: &Edit| e.verb != Verb::None;
        if !self.node_edits.is_empty() || self.edits.iter().any(|(_, e)| does_something(e)) {
            return None;
        }
        self.edits.iter().find_map(|(id, e)| Some((&e.key, self.layers.rolling(*id, &self.members)?)))
    }

    /// Wants a permission over the scope of each draft, and on each node that would move or is edited.
    ///
    /// # Errors
    /// With what lies outside.
    pub(crate) fn within(&self, permission: Permission, by: &Principal) -> Result<(), Outside> {
        by.must_on_scopes(permission, self.edits.iter().map(|(_, e)| &e.key.scope), &self.members)?;
        let nodes = self.concerned();
        by.must_on_nodes(permission, nodes.iter().copied(), &self.members)?;
        if self.after.is_none() {
            return Ok(());
        }
        match permission {
            Permission::Change => by.must_on_nodes(Permission::ManageNodes, nodes, &self.members),
            // Who approves answers for where the nodes are led, too.
            _ => by.must_on_nodes(permission, nodes, self.sides().after),
        }
    }

    /// Wants what applying it wants: the permission to change, and that no grant gets to nodes where who applies it has
    /// not what it gives.
    ///
    /// # Errors
    /// With what lies outside.
    pub(crate) async fn must(&self, tx: &mut Tx, by: &Principal) -> Result<(), ChangeError> {
        self.within(Permission::Change, by)?;
        if let Some(after) = &self.after {
            access::grant::must_not_widen(tx, by, (&self.members, after)).await??;
            let scopes = self.all.objects.values().map(|o| &o.spec.scope);
            node_edit::must_not_gain(by, self.sides(), scopes.chain(self.edits.iter().map(|(_, e)| &e.key.scope)))?;
        }
        Ok(())
    }

    /// Returns the nodes as they stand and as they would be.
    pub(super) fn sides(&self) -> Sides<'_> {
        Sides { before: &self.members, after: self.after.as_deref().unwrap_or(&self.members) }
    }

    /// Returns the nodes that would move, and those that are edited.
    pub(crate) fn concerned(&self) -> BTreeSet<NodeId> {
        self.affected().into_keys().chain(self.node_edits.iter().map(|e| e.node)).collect()
    }

    /// Returns the nodes whose state would change, with what they would be.
    pub(crate) fn affected(&self) -> BTreeMap<NodeId, (Generation, ContentHash)> {
        self.compiled
            .hashes()
            .filter_map(|(node, hash)| Some((node, (assign::next(&self.assigned, self.epoch, node, hash)?, hash))))
            .collect()
    }

    /// Returns the number of the change that made an object what it is, unless this one makes it otherwise.
    fn made_earlier(&self, object: ObjectId) -> Option<u64> {
        let is_mine = self.edits.iter().any(|(id, e)| *id == object && e.verb != Verb::None);
        self.all.objects.get(&object).filter(|_| !is_mine).map(|stored| stored.change_number)
    }

    /// Returns the scopes of what is put that no node is in.
    fn empty_scopes(&self) -> Vec<EmptyScope> {
        let put = self.edits.iter().filter(|(_, e)| e.verb != Verb::None).filter_map(|(_, e)| e.after.as_ref());
        unmatched::empty(put.map(|spec| &spec.scope), self.sides().after)
    }

    /// Returns what the drafts may not mean as they say it.
    fn warnings(&self) -> Vec<String> {
        let put = self.edits.iter().filter(|(_, e)| e.verb != Verb::None).filter_map(|(_, e)| e.after.as_ref());
        let told = put.flat_map(|s| template::unfilled(&s.body).into_iter().map(move |u| format!("{}: {u}", s.key())));
        told.take(WARNINGS).collect()
    }

    /// Returns the next runs of the cron jobs in the drafts. A job without a zone of its own goes by that of the nodes, if
    /// they have one in common; else UTC stands for theirs, and says so.
    fn next_runs(&self, now: UnixMs, zones: &BTreeSet<&str>) -> Vec<PlannedRuns> {
        let common = match zones.iter().collect::<Vec<_>>()[..] {
            [one] => TimeZoneName::parse(*one).ok().filter(|z| Zone::parse(z).is_ok()),
            _ => None,
        };
        let jobs = self.edits.iter().filter_map(|(_, e)| match (&e.after, e.verb) {
            (_, Verb::None) => None,
            (Some(spec), _) => match &spec.body {
                Body::Cron(job) if job.enabled => Some((spec.name.clone(), job)),
                _ => None,
            },
            (None, _) => None,
        });
        jobs.take(20)
            .map(|(name, job)| {
                let name_of_zone = job.time_zone.as_ref().or(common.as_ref());
                let zone = name_of_zone.and_then(|z| Zone::parse(z).ok());
                let time_zone = match (name_of_zone, &zone) {
                    (Some(name), Some(_)) => name.to_string(),
                    _ => "UTC (the job goes by each node's own zone)".to_owned(),
                };
                let runs = next_runs(&job.schedule, &zone.unwrap_or_else(Zone::utc), now, 5);
                let shown = |r: lampas_render::schedule::NextRun| NextRun {
                    at: r.at,
                    local: r.local,
                    note: r.note.unwrap_or_default(),
                };
                PlannedRuns { name, time_zone, runs: runs.into_iter().map(shown).collect() }
            })
            .collect()
    }
}

impl Changes {
    /// Plans a change: compiles the fleet as it would be, and asks the connected nodes that it affects. The plan
    /// replaces the one before.
    ///
    /// # Errors
    /// When the change was applied or abandoned, or its drafts are overtaken.
    pub async fn plan(&self, id: ChangeId, by: &Principal) -> Result<lampas_api::Plan, ChangeError> {
        self.plan_within(id, None, by).await
    }

    /// The same, with a limit: the nodes that the change reaches before somebody lets it go on. `fleet` takes off the one
    /// that the plan before had; without one it stays.
    ///
    /// # Errors
    /// Those of [`Self::plan`], and when no node of the change is within the limit.
    pub async fn plan_within(
        &self,
        id: ChangeId,
        asked: Option<&Scope>,
        by: &Principal,
    ) -> Result<lampas_api::Plan, ChangeError> {
        let now = clock::now();
        let author = super::service::author(by);
        let (row, prospect, zones_of, limit, observing, is_idle) = self
            .db()
            .read(|mut tx| {
                let author = &author;
                async move {
                    let row =
                        store::get(&mut tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                    super::service::must_be_open(&row, "planned")?;
                    let prospect = Prospect::load(&mut tx, &row, author, now).await?;
                    prospect.must(&mut tx, by).await?;
                    let zones_of = fleet::time_zones(&mut tx).await?;
                    let limit = match limit::wanted(&mut tx, id, asked).await? {
                        Some(scope) => Some(limit::divided(&mut tx, &scope, &prospect).await?),
                        None => None,
                    };
                    let observing = observing(&mut tx, &prospect).await?;
                    let is_idle = prospect.is_idle(&mut tx, id).await?;
                    Ok::<_, ChangeError>(tx.done((row, prospect, zones_of, limit, observing, is_idle)))
                }
            })
            .await?;
        let affected = prospect.affected();
        let answers = self.ask(&prospect, &affected).await;
        let names = prospect.members.iter().map(|m| (m.id, m.name.clone())).collect();
        let hashes: BTreeMap<NodeId, ContentHash> = affected.iter().map(|(node, (_, hash))| (*node, *hash)).collect();
        let full = fold::plan_id(id, &hashes, &answers, limit.as_ref().map(|l| &l.scope));
        let observed = seen(&answers);
        let mut shown = fold::fold(answers, &names, &observing, &|object| prospect.made_earlier(object));
        shown.limit = limit;
        shown.id = fold::short_id(&full);
        shown.digest.clone_from(&full);
        shown.at = now;
        let told = shown.unplanned.len() + shown.changing as usize + shown.observing as usize;
        let others = prospect.members.len().saturating_sub(told);
        shown.unchanged = others as u32;
        shown.empty_scopes = prospect.empty_scopes();
        shown.warnings = prospect.warnings();
        shown.is_idle = is_idle;
        let edits = prospect.edits.iter().map(|(id, e)| (*id, e));
        shown.held = prospect.layers.told(edits, &prospect.members, prospect.is_unattended);
        let zones: BTreeSet<&str> = affected.keys().map(|n| zones_of.get(n).map_or("", String::as_str)).collect();
        shown.next_runs = prospect.next_runs(now, &zones);
        let plan = StoredPlan { shown, nodes: hashes, observed };
        let (plan_ref, full, author, row) = (&plan, &full, &author, &row);
        self.db()
            .write(|mut tx| async move {
                let found =
                    store::get(&mut tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                super::service::must_be_open(&found, "planned")?;
                store::put_plan(&mut tx, id, full, plan_ref, author).await?;
                let state = approval::planned(&mut tx, &found, (full, plan_ref), now).await?;
                schedule::planned(&mut tx, &found, full, now).await?;
                store::set_state(&mut tx, id, state, now).await?;
                let event = NewEvent::new(EventKind::ChangeMoved).change(id).with("number", row.number);
                tx.event(event.with("state", state.as_str()).with("plan", &plan_ref.shown.id));
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await?;
        Ok(plan.shown)
    }

    /// Asks the nodes of a plan again, unless it was made just now, and refuses it when one of them sees something else on
    /// its disk. A node that doesn't answer is no obstacle: it was planned, and what somebody changed on it by hand
    /// meanwhile is held as drift.
    ///
    /// # Errors
    /// [`ChangeError::Moved`], naming the nodes.
    pub(crate) async fn look_again(&self, id: ChangeId) -> Result<(), ChangeError> {
        let now = clock::now();
        let standing = self
            .db()
            .read(|mut tx| async move {
                let Some(row) = store::get(&mut tx, id, false).await? else { return Ok(tx.done(None)) };
                let Some((_, plan)) = store::plan(&mut tx, id).await?.filter(|_| row.state.is_open()) else {
                    return Ok(tx.done(None));
                };
                if plan.observed.is_empty() || now.since(plan.shown.at) < FRESH.as_millis() as i64 {
                    return Ok(tx.done(None));
                }
                let prospect = Prospect::load(&mut tx, &row, &row.author, now).await?;
                Ok::<_, ChangeError>(tx.done(Some((plan, prospect))))
            })
            .await?;
        let Some((plan, prospect)) = standing else { return Ok(()) };
        let mut affected = prospect.affected();
        affected.retain(|node, _| plan.observed.contains_key(node));
        let answers = seen(&self.ask(&prospect, &affected).await);
        let moved = answers.iter().filter(|(node, hash)| plan.observed.get(node) != Some(hash));
        let names: Vec<&str> = moved
            .filter_map(|(node, _)| prospect.members.iter().find(|m| m.id == *node))
            .map(|m| m.name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
        let why = format!("something was changed on {}{more} meanwhile", names[..names.len().min(5)].join(", "));
        Err(ChangeError::Moved { plan: plan.shown.id, why })
    }

    async fn ask(
        &self,
        prospect: &Prospect,
        affected: &BTreeMap<NodeId, (Generation, ContentHash)>,
    ) -> BTreeMap<NodeId, Result<NodePlan, Fault>> {
        // The nodes may fetch contents that no applied state names yet.
        let _pin = self.desired().pin(prospect.compiled.clone());
        let wanted: Vec<(NodeId, Generation)> =
            affected.iter().map(|(node, (generation, _))| (*node, *generation)).collect();
        let questions = wanted.into_iter().map(|(node, generation)| self.ask_one(&prospect.compiled, node, generation));
        stream::iter(questions).buffer_unordered(AT_ONCE).collect::<BTreeMap<_, _>>().await
    }

    /// Asks one node. Its state is made when its turn comes: only those under way are in memory.
    fn ask_one<'a>(
        &'a self,
        compiled: &'a Compiled,
        node: NodeId,
        generation: Generation,
    ) -> BoxFuture<'a, (NodeId, Result<NodePlan, Fault>)> {
        Box::pin(async move {
            if !self.gate().connected(node) {
                return (node, Err(Fault::passing("link.offline", "not connected")));
            }
            let Some(desired) = compiled.desired(node, generation) else {
                return (node, Err(Fault::passing("link.offline", "not of this fleet any more")));
            };
            let wanted = desired.hash;
            let answer = match tokio::time::timeout(LIMIT, self.gate().plan(node, desired)).await {
                Ok(Ok(plan)) if plan.desired != wanted => {
                    Err(Fault::lasting("node.other_hash", "answered for another state than the one it was asked for"))
                }
                Ok(answer) => answer,
                Err(_) => Err(Fault::passing("link.hung", format!("no answer within {} s", LIMIT.as_secs()))),
            };
            (node, answer)
        })
    }
}
