//! Rollouts: an applied change reaches its nodes wave by wave.
//!
//! Applying commits the revisions for everybody and a *hold* for the nodes of the later waves: the compiler gives them
//! the revisions before ([`crate::compile::Hold`]). To release a wave is to take its nodes out of the hold and to give
//! them their next generation. So a rollout is a matter of the store alone: whichever controller looks next goes on
//! where the last one died. What moves it is `lampas_shared::rollout`, which knows no I/O; [`driver`] asks it.

pub(crate) mod driver;
pub(crate) mod store;

use std::collections::BTreeSet;

use lampas_api::{NodeRef, Progress, RolloutView, RolloutWave};
use lampas_runtime::clock;
use lampas_shared::{
    event::EventKind,
    id::{ChangeId, NodeId, ObjectId},
    rollout::{Act, Candidate, Order, PAUSE_LIMIT_MS, Rollout, State, Strategy},
    time::UnixMs,
};

use super::{
    ChangeError, Changes, desired,
    draft::{Edit, Verb},
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
    let online = store::online(tx).await?;
    let candidates = members.iter().filter(|m| affected.contains(&m.id)).map(|m| Candidate {
        id: m.id,
        name: &m.name,
        labels: &m.labels,
        is_online: online.contains(&m.id),
    });
    let now = clock::now();
    let waves = strategy.divide(candidates.collect());
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
                let missing = || ChangeError::Nothing(format!("change {number} was applied to all nodes at once"));
                let mut rollout = store::get(&mut tx, id, true).await?.ok_or_else(missing)?;
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
        RolloutWave { progress, nodes: named }
    };
    Ok(Some(RolloutView {
        state: rollout.state,
        wave: rollout.stage as u32 + 1,
        phase: rollout.phase,
        since: rollout.since,
        deadline: rollout.deadline,
        reason: rollout.reason,
        waves: rollout.waves.iter().map(wave).collect(),
        strategy: rollout.strategy,
    }))
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
