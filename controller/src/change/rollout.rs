//! Rollouts: an applied change reaches its nodes wave by wave.
//!
//! Applying commits the revisions for everybody and a *hold* for the nodes of the later waves: the compiler gives them
//! the revisions before ([`crate::compile::Hold`]). To release a wave is to take its nodes out of the hold and to give
//! them their next generation. So a rollout is a matter of the store alone: whichever controller looks next goes on
//! where the last one died. What moves it is `lampas_shared::rollout`, which knows no I/O; [`driver`] asks it.

pub(crate) mod driver;
pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{NodeRef, PlannedWave, Progress, RolloutStage, RolloutView, RolloutWave};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    event::EventKind,
    fleet::NodeName,
    id::{ChangeId, NodeId, ObjectId},
    rollout::{Act, Candidate, Order, PAUSE_LIMIT_MS, Rollout, State, Strategy},
    time::UnixMs,
};

use super::{
    ChangeError, ChangeRow, Changes, desired,
    draft::{Edit, Verb},
    freeze,
    plan::Prospect,
    service,
};
use crate::{
    audit::{Entry, Principal},
    compile::NodeInput,
    db::{DbError, Tx},
    event::NewEvent,
};

/// How many nodes of a wave are shown by name.
const SHOWN_NODES: usize = 200;
/// How many nodes of a wave are named before it is one.
const PREVIEWED_NODES: usize = 20;

/// Begins the rollout of a change that is being applied, unless there is only one wave and nothing to watch over.
pub(crate) async fn begin(
    tx: &mut Tx,
    change: ChangeId,
    strategy: &Strategy,
    edits: &[(ObjectId, Edit)],
    affected: &BTreeSet<NodeId>,
    members: &[NodeInput],
) -> Result<(), ChangeError> {
    if strategy.is_plain() {
        return Ok(());
    }
    let now = clock::now();
    let waves = strategy.divide(candidates(tx, affected, members).await?);
    // What it is to do first, releasing the first wave, is what applying does.
    let Some((rollout, _)) = Rollout::begin(strategy.clone(), waves, now) else { return Ok(()) };
    let before: Vec<(ObjectId, u64)> = edits
        .iter()
        .filter(|(_, e)| e.verb != Verb::None)
        .map(|(object, e)| (*object, e.before.as_ref().map_or(0, |b| b.revision)))
        .collect();
    store::insert(tx, change, &rollout, &before, now).await?;
    Ok(())
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

    /// Returns the waves that a change would go out in, if it were applied as things stand.
    ///
    /// # Errors
    /// When the strategy is not one, or the change doesn't fit what stands.
    pub async fn waves(&self, row: &ChangeRow, strategy: &Strategy) -> Result<Vec<PlannedWave>, ChangeError> {
        strategy.check().map_err(ChangeError::Strategy)?;
        self.db()
            .read(|mut tx| async move {
                let prospect = Prospect::load(&mut tx, row, &row.author, clock::now()).await?;
                let affected = prospect.affected().into_keys().collect();
                let waves = strategy.divide(candidates(&mut tx, &affected, &prospect.members).await?);
                let names: BTreeMap<NodeId, &NodeName> = prospect.members.iter().map(|m| (m.id, &m.name)).collect();
                let wave = |nodes: Vec<NodeId>| {
                    let named = |id: &NodeId| Some(NodeRef { id: *id, name: names.get(id)?.to_string() });
                    PlannedWave {
                        count: nodes.len() as u32,
                        nodes: nodes.iter().filter_map(named).take(PREVIEWED_NODES).collect(),
                    }
                };
                let waves = waves.into_iter().map(wave).collect();
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
        RolloutWave { progress, nodes: named, gates: Vec::new() }
    };
    let mut waves: Vec<RolloutWave> = rollout.waves.iter().map(wave).collect();
    for (index, gate) in store::gates(tx, change).await? {
        if let Some(wave) = waves.get_mut(index) {
            wave.gates.push(gate);
        }
    }
    Ok(Some(RolloutView {
        state: rollout.state,
        wave: rollout.stage as u32 + 1,
        phase: rollout.phase,
        since: rollout.since,
        deadline: rollout.deadline,
        reason: rollout.reason,
        waves,
        strategy: rollout.strategy,
    }))
}

/// Returns how far the rollouts of these changes are, for lists.
pub(crate) async fn stages(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, RolloutStage>, DbError> {
    store::stages(tx, ids).await
}

async fn candidates<'a>(
    tx: &mut Tx,
    affected: &BTreeSet<NodeId>,
    members: &'a [NodeInput],
) -> Result<Vec<Candidate<'a>>, DbError> {
    let online = store::online(tx).await?;
    let candidate =
        |m: &'a NodeInput| Candidate { id: m.id, name: &m.name, labels: &m.labels, is_online: online.contains(&m.id) };
    Ok(members.iter().filter(|m| affected.contains(&m.id)).map(candidate).collect())
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
    if rollout.state == State::Done {
        store::clear(tx, id).await?;
    }
    let mut moved = Vec::new();
    for act in acts {
        match act {
            Act::Release(wave) => {
                store::release(tx, id, &rollout.waves[*wave]).await?;
                moved.extend(desired::assign_for(tx, id).await?);
            }
            Act::Revert(why) => {
                let reason: String = format!("revert change {number}: {why}").chars().take(500).collect();
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
