//! Rollouts: an applied change reaches its nodes wave by wave.
//!
//! Applying commits the revisions for everybody and a *hold* for the nodes of the later waves: the compiler gives them
//! the revisions before ([`crate::compile::Hold`]). To release a wave is to take its nodes out of the hold and to give
//! them their next generation. So a rollout is a matter of the store alone: whichever controller looks next goes on
//! where the last one died. What moves it is `lampas_shared::rollout`, which knows no I/O; [`driver`] asks it.

pub(crate) mod api;
pub(crate) mod driver;
pub(crate) mod hold;
mod kept;
pub(crate) mod limit;
pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{NodeRef, PlannedWave, Progress, RolloutLimit, RolloutStage, RolloutView, RolloutWave};
use lampas_runtime::clock;
use lampas_shared::{
    TextError,
    access::Permission,
    event::EventKind,
    fleet::{NodeName, Scope},
    id::{ChangeId, NodeId, ObjectId},
    rollout::{Act, Candidate, Division, Order, PAUSE_LIMIT_MS, Rollout, State, Strategy},
    time::UnixMs,
};

use super::{
    ChangeError, ChangeRow, Changes,
    assign::Cause,
    desired,
    draft::{Edit, Verb},
    freeze,
    plan::Prospect,
    root_code, service,
};
use crate::{
    audit::{Entry, Principal},
    compile::{NodeInput, compile_held},
    db::{DbError, Tx},
    event::NewEvent,
    host::{self, Stored},
};

/// How many nodes of a wave are shown by name.
const SHOWN_NODES: usize = 200;
/// How many nodes of a wave are named before it is one.
const PREVIEWED_NODES: usize = 20;

/// Begins the rollout of a change that is being applied. Returns whether there is one: it takes more than one wave or
/// something to watch over, and a node.
pub(crate) async fn begin(
    tx: &mut Tx,
    change: ChangeId,
    strategy: &Strategy,
    edits: &[(ObjectId, Edit)],
    affected: &BTreeSet<NodeId>,
    members: &[NodeInput],
) -> Result<bool, ChangeError> {
    if strategy.is_plain() {
        return Ok(false);
    }
    let now = clock::now();
    let candidates = candidates(tx, affected, members, strategy.limit.as_ref()).await?;
    let division = divide(strategy, candidates, &|_| true)?;
    // What it is to do first, releasing the first wave, is what applying does.
    let Some((rollout, _)) = Rollout::begin(strategy.clone(), division, now) else { return Ok(false) };
    let before: Vec<(ObjectId, u64)> =
        edits.iter().filter(|(_, e)| e.verb != Verb::None).map(|(object, e)| (*object, e.last_revision)).collect();
    store::insert(tx, change, &rollout, &before, now).await?;
    Ok(true)
}

impl Changes {
    /// Returns the rollouts that wait for somebody: the change's number, why, and since when.
    pub(crate) async fn paused(&self) -> Result<Vec<(u64, String, UnixMs)>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let mut found = Vec::new();
                for (id, number) in store::active(&mut tx).await? {
                    let Some(rollout) = store::get(&mut tx, id, false).await? else { continue };
                    if rollout.state == State::Paused {
                        found.push((number, rollout.reason, rollout.deadline.plus_ms(-PAUSE_LIMIT_MS)));
                    }
                }
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Returns the rollouts that were put back by themselves since a moment: the change's number, why, and when. Who ordered
    /// it knows.
    pub(crate) async fn put_back(&self, since: UnixMs) -> Result<Vec<(u64, String, UnixMs)>, ChangeError> {
        let by = &service::author(&Principal::system());
        self.db()
            .read(|mut tx| async move {
                let mut found = super::store::put_back(&mut tx, by, since).await?;
                for (number, why, _) in &mut found {
                    let prefix = back_reason(*number, "");
                    if let Some(rest) = why.strip_prefix(&prefix) {
                        *why = rest.to_owned();
                    }
                }
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Returns the waves that a change would go out in, if it were applied as things stand: all of their nodes, while an
    /// error names only those whom `sees` lets through.
    ///
    /// # Errors
    /// When the strategy is not one, or the change doesn't fit what stands.
    pub async fn waves(
        &self,
        row: &ChangeRow,
        strategy: &Strategy,
        sees: &(dyn Fn(NodeId) -> bool + Sync),
    ) -> Result<Vec<PlannedWave>, ChangeError> {
        strategy.check().map_err(ChangeError::Strategy)?;
        self.db()
            .read(|mut tx| async move {
                let prospect = Prospect::load(&mut tx, row, &row.author, clock::now()).await?;
                let planned = limit::of_plan(&mut tx, row.id).await?;
                let strategy = &limit::joined(strategy, planned)?;
                let affected = prospect.affected().into_keys().collect();
                let candidates = candidates(&mut tx, &affected, &prospect.members, strategy.limit.as_ref()).await?;
                let Division { waves, limited } = divide(strategy, candidates, sees)?;
                let names: BTreeMap<NodeId, &NodeName> = prospect.members.iter().map(|m| (m.id, &m.name)).collect();
                let wave = |(index, nodes): (usize, Vec<NodeId>)| {
                    let named = |id: &NodeId| Some(NodeRef { id: *id, name: names.get(id)?.to_string() });
                    PlannedWave {
                        count: nodes.len() as u32,
                        nodes: nodes.iter().filter_map(named).take(PREVIEWED_NODES).collect(),
                        is_beyond: limited > 0 && index >= limited,
                    }
                };
                let waves = waves.into_iter().enumerate().map(wave).collect();
                Ok::<_, ChangeError>(tx.done(waves))
            })
            .await
    }

    /// Does what an operator wants of a rollout.
    ///
    /// # Errors
    /// When the change has none, or it can't be told so as it stands.
    pub async fn order(&self, id: ChangeId, order: Order, reason: &str, by: &Principal) -> Result<(), ChangeError> {
        let moved = self
            .db()
            .write(|mut tx| async move {
                let now = clock::now();
                let number = service::number(&mut tx, id).await?;
                service::within(&mut tx, id, Permission::Change, by).await?;
                let missing = || ChangeError::Nothing(format!("change {number} was applied to all nodes at once"));
                let mut rollout = store::get(&mut tx, id, true).await?.ok_or_else(missing)?;
                let lets_on = order == Order::Promote || (order == Order::Resume && rollout.is_held());
                if lets_on && by.is_unproven() {
                    let effects = awaited(&mut tx, id).await?;
                    by.must_be_proven(|| effects)?;
                }
                if order == Order::Promote {
                    if let Some(wave) = rollout.next_wave()
                        && let Some((why, _)) = freeze::holding(&mut tx, id, wave, now).await?
                    {
                        return Err(ChangeError::FrozenWave(why));
                    }
                    // The driver may not have seen the end of a freeze yet.
                    rollout.thaw(now);
                }
                let acts = rollout.order(order, &service::author(by), now).map_err(ChangeError::Order)?;
                let act = act_of(order);
                tx.audit(Entry::done(by, act, format!("change {number}")).because(reason));
                let moved = settle(&mut tx, (id, number), &rollout, &acts, by, now).await?;
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await?;
        self.gate().wake(&moved);
        Ok(())
    }
}

/// Returns how a change's rollout stands, for people.
pub(crate) async fn view(tx: &mut Tx, change: ChangeId) -> Result<Option<RolloutView>, DbError> {
    let Some(rollout) = store::get(tx, change, false).await? else { return Ok(None) };
    let states = super::progress::states(tx, change).await?;
    let wave = |nodes: &Vec<NodeId>| {
        let mut progress = Progress::default();
        let mut named = Vec::with_capacity(nodes.len());
        for id in nodes {
            match states.get(id) {
                Some((name, state)) => {
                    super::progress::count(&mut progress, *state, 1);
                    named.push(NodeRef { id: *id, name: name.clone() });
                }
                // Its state was such already, or it left the fleet.
                None => progress.superseded += 1,
            }
        }
        named.sort_by(|a, b| a.name.cmp(&b.name));
        named.truncate(SHOWN_NODES);
        RolloutWave { progress, nodes: named, gates: Vec::new(), promoted_by: None }
    };
    let mut waves: Vec<RolloutWave> = rollout.waves.iter().map(wave).collect();
    for (index, by) in &rollout.promoted {
        if let Some(wave) = waves.get_mut(*index) {
            wave.promoted_by = Some(by.clone());
        }
    }
    for (index, gate) in store::gates(tx, change).await? {
        if let Some(wave) = waves.get_mut(index) {
            wave.gates.push(gate);
        }
    }
    let limit = rollout.limited.zip(rollout.strategy.limit.clone()).map(|(limited, scope)| RolloutLimit {
        scope,
        waves: limited.waves as u32,
        nodes: rollout.beyond() as u32,
        stand: limited.stand,
    });
    Ok(Some(RolloutView {
        state: rollout.state,
        wave: rollout.stage as u32 + 1,
        phase: rollout.phase,
        since: rollout.since,
        deadline: rollout.deadline,
        reason: rollout.reason,
        waves,
        limit,
        strategy: rollout.strategy,
    }))
}

/// Returns how far the rollouts of these changes are, for lists.
pub(crate) async fn stages(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, RolloutStage>, DbError> {
    store::stages(tx, ids).await
}

/// Divides nodes into waves.
///
/// # Errors
/// When nobody would be the first: a canary that is nowhere sings for nobody. It names those whom `sees` lets through.
fn divide(
    strategy: &Strategy,
    nodes: Vec<Candidate<'_>>,
    sees: &dyn Fn(NodeId) -> bool,
) -> Result<Division, ChangeError> {
    limit::must_reach(strategy.limit.as_ref(), &nodes, sees)?;
    match strategy.empty_first(nodes.clone()) {
        None => Ok(strategy.divide(nodes)),
        Some(wave) => {
            let reason = "is none of the nodes that the change would be written on (who observes is written nothing): the next \
                          wave would be the first; choose another, or leave it out";
            Err(ChangeError::Strategy(TextError::new("wave", &wave.to_string(), reason)))
        }
    }
}

/// Returns the nodes that a change would be written on: who observes is told, and is in no wave.
async fn candidates<'a>(
    tx: &mut Tx,
    affected: &BTreeSet<NodeId>,
    members: &'a [NodeInput],
    limit: Option<&Scope>,
) -> Result<Vec<Candidate<'a>>, DbError> {
    let online = store::online(tx).await?;
    let observing = crate::takeover::observing(tx).await?;
    let candidate = |m: &'a NodeInput| Candidate {
        id: m.id,
        name: &m.name,
        labels: &m.labels,
        is_online: online.contains(&m.id),
        is_within: limit.is_none_or(|scope| scope.contains(&m.name, &m.roles, &m.labels)),
    };
    Ok(members.iter().filter(|m| affected.contains(&m.id) && !observing.contains(&m.id)).map(candidate).collect())
}

/// Returns what is root code in what nodes would get that wait for a change.
async fn awaited(tx: &mut Tx, id: ChangeId) -> Result<Vec<String>, ChangeError> {
    let view = desired::standing(tx).await?;
    let made = host::by_change(tx, id).await?.into_iter().map(|made| made.object);
    // What is deleted again made no revision.
    let objects = made.chain(store::objects(tx, id).await?).collect();
    let inputs: Vec<_> = view.all.objects.values().map(Stored::input).collect();
    let released = compile_held(&view.members, &view.left, &inputs, &store::holds(tx, &objects).await?);
    Ok(root_code::between(&view.compiled, &released, view.members.iter().map(|m| m.id)))
}

/// Returns the reason of the change that puts a rollout back.
fn back_reason(number: u64, why: &str) -> String {
    format!("revert change {number}: {why}")
}

fn act_of(order: Order) -> &'static str {
    match order {
        Order::Pause => "rollout.pause",
        Order::Resume => "rollout.resume",
        Order::Promote => "rollout.promote",
        Order::Abort => "rollout.abort",
        Order::Revert => "rollout.revert",
    }
}

/// Stores how a rollout stands and does what its step asks for, in one transaction. Returns who moved.
async fn settle(
    tx: &mut Tx,
    (id, number): (ChangeId, u64),
    rollout: &Rollout,
    acts: &[Act],
    by: &Principal,
    now: UnixMs,
) -> Result<Vec<NodeId>, ChangeError> {
    store::save(tx, id, rollout, now).await?;
    let event = NewEvent::new(EventKind::RolloutMoved).change(id).with("number", number);
    let event = event.with("state", rollout.state.as_str()).with("wave", rollout.stage + 1);
    tx.event(event.with("waves", rollout.waves.len()).with("reason", &rollout.reason));
    match rollout.state {
        State::Done => store::clear(tx, id, now).await?,
        State::Aborted | State::Reverted => store::leave_out(tx, id, now).await?,
        State::Running | State::Paused => {}
    }
    let mut moved = Vec::new();
    for act in acts {
        match act {
            Act::Release(wave) => {
                let standing = desired::standing(tx).await?;
                let cause = Cause { change: id, before: &standing.compiled };
                store::release(tx, id, &rollout.waves[*wave]).await?;
                moved.extend(desired::assign_for(tx, cause).await?);
            }
            Act::Revert(why) => {
                let reason: String = back_reason(number, why).chars().take(500).collect();
                let (row, reverted) = service::revert_at_once(tx, id, &reason, by).await?;
                tx.audit(Entry::done(by, "change.revert", format!("change {number}")).because(reason));
                tx.event(NewEvent::new(EventKind::RolloutMoved).change(row.id).with("reverts", number));
                moved.extend(reverted);
            }
            // The gates are asked after the commit; that it waits for people stands in the event.
            Act::AskGates(..) | Act::Page(_) => {}
        }
    }
    super::progress::settle(tx, None, now).await?;
    Ok(moved)
}
