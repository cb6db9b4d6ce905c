//! What makes rollouts move: looks at each that is not over, whenever something was committed and when time alone makes
//! something due.
//!
//! A pass is idempotent and its writes are conditional on what it read, so that two controllers may drive one rollout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use lampas_runtime::{Tasks, clock};
use lampas_shared::{
    error::{Chain, Fault},
    id::{ChangeId, NodeId},
    rollout::{Act, Gate, NodeSeen, Phase, Rollout, State, Verdict},
};
use tracing::{info, warn};

use super::{settle, store};
use crate::{
    audit::Principal,
    change::{ChangeError, Changes, freeze},
    db::StoreError as _,
};

/// Between two looks while a rollout is under way: deadlines are whole seconds.
const BUSY: Duration = Duration::from_millis(500);
/// Between two looks while none is: a commit wakes the driver, this is for those of other controllers.
const IDLE: Duration = Duration::from_secs(15);
/// After a commit, to take what others of the same burst commit in one look.
const GATHER: Duration = Duration::from_millis(50);

/// One question to the gates: what is asked on which nodes. The same question has the same key, so that it is asked
/// once however often the driver comes to it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The change, its number, the wave and the attempt.
    pub(crate) key: String,
    /// The number of the change, for people.
    pub(crate) number: u64,
    /// What must hold.
    pub(crate) gates: Vec<Gate>,
    /// Where: the nodes of the wave that are proven; of a wave that is measured, all of them.
    pub(crate) nodes: Vec<NodeId>,
    /// The key under which what gates compare with is measured before the wave has the change.
    pub(crate) before: String,
    /// Whether that is what is asked.
    pub(crate) is_before: bool,
}

/// Who asks the gates: the operations.
pub(crate) trait Gates: Send + Sync + 'static {
    /// Asks, unless this was asked already, and returns what is known.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Verdict, Fault>>;

    /// Returns the keys of the questions that some nodes have not answered.
    fn open(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>>;

    /// Ends a question that nobody waits for: what asks it on the nodes is stopped.
    fn end(&self, key: String) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Starts the task.
pub(crate) fn start(changes: Changes, gates: Arc<dyn Gates>, tasks: &Tasks) {
    let stopping = tasks.stopping();
    let mut committed = changes.db().committed();
    tasks.spawn("rollouts", async move {
        loop {
            committed.borrow_and_update();
            let is_busy = match pass(&changes, &*gates).await {
                Ok(is_busy) => is_busy,
                Err(error) => {
                    warn!(error = %Chain(&error), "the rollouts could not be looked at; they will be again");
                    true
                }
            };
            let pause = if is_busy { BUSY } else { IDLE };
            // All arms are cancel-safe: nothing is taken that would be lost.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = committed.changed() => tokio::time::sleep(GATHER).await,
            }
        }
    });
}

/// Looks at every rollout that is not over. Returns whether there is one.
pub(crate) async fn pass(changes: &Changes, gates: &dyn Gates) -> Result<bool, ChangeError> {
    let active = changes
        .db()
        .read(|mut tx| async move {
            let active = store::active(&mut tx).await?;
            Ok::<_, ChangeError>(tx.done(active))
        })
        .await?;
    for (id, number) in &active {
        if let Err(error) = drive(changes, gates, *id, *number).await {
            warn!(change = number, error = %Chain(&error), "the rollout could not be moved; it will be tried again");
        }
    }
    if let Err(fault) = end_unwanted(changes, gates).await? {
        warn!(error = %fault, "gates that nobody waits for could not be ended; they will be");
    }
    Ok(!active.is_empty())
}

/// Ends the gates that nobody waits for: their wave's deadline is over, the rollout is, or they are asked anew. It goes by
/// what is stored alone, so that whatever ended the wait, on whichever controller, no gate outlives it.
async fn end_unwanted(changes: &Changes, gates: &dyn Gates) -> Result<Result<(), Fault>, ChangeError> {
    let open = match gates.open().await {
        Ok(open) => open,
        Err(fault) => return Ok(Err(fault)),
    };
    for key in open {
        let of = |text: &str| text.split(':').nth(1).and_then(|id| ChangeId::parse(id).ok());
        let Some(id) = of(&key) else { continue };
        let rollout = changes
            .db()
            .read(|mut tx| async move {
                let rollout = store::get(&mut tx, id, false).await?;
                Ok::<_, ChangeError>(tx.done(rollout))
            })
            .await?;
        if rollout.is_some_and(|r| is_asked(id, &r, &key)) {
            continue;
        }
        if let Err(fault) = gates.end(key).await {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(()))
}

/// Returns whether a rollout waits for the answer to a question, of which `key` names one gate. What is measured before the
/// change can't be asked anew, so that a pause leaves it be: whoever goes on wants its answer.
fn is_asked(id: ChangeId, rollout: &Rollout, key: &str) -> bool {
    let (of, is_open) = match rollout.phase {
        Phase::Gating => (key_of(id, rollout), rollout.state == State::Running),
        Phase::Measuring => (key_before(id, rollout), matches!(rollout.state, State::Running | State::Paused)),
        Phase::Applying | Phase::Soaking => return false,
    };
    is_open && key.strip_prefix(&of).is_some_and(|rest| rest.starts_with(':'))
}

fn key_of(id: ChangeId, rollout: &Rollout) -> String {
    format!("gate:{id}:{}:{}", rollout.stage, rollout.attempt)
}

/// Once a wave: afterwards it would be the change that is measured.
fn key_before(id: ChangeId, rollout: &Rollout) -> String {
    format!("before:{id}:{}", rollout.stage)
}

/// Moves one rollout as far as it goes.
async fn drive(changes: &Changes, gates: &dyn Gates, id: ChangeId, number: u64) -> Result<(), ChangeError> {
    loop {
        let look = changes
            .db()
            .read(|mut tx| async move {
                let rollout = store::get(&mut tx, id, false).await?;
                let seen = store::seen(&mut tx, id).await?;
                let frozen = match rollout.as_ref().and_then(Rollout::next_wave) {
                    Some(wave) => freeze::holding(&mut tx, id, wave, clock::now()).await?,
                    None => None,
                };
                Ok::<_, ChangeError>(tx.done((rollout, seen, frozen)))
            })
            .await?;
        let (Some(rollout), (seen, overtaken), frozen) = look else { return Ok(()) };
        let seen = without_others(changes, id, seen, overtaken).await?;
        let verdict = match ask(gates, id, number, &rollout, &seen).await {
            Ok(verdict) => verdict,
            Err(fault) => {
                warn!(change = number, error = %fault, "the gates can't be asked; the deadline stands");
                Verdict::Open
            }
        };
        let now = clock::now();
        let mut next = rollout.clone();
        match &frozen {
            Some((why, until)) => next.freeze(why, *until, now),
            None => next.thaw(now),
        }
        let acts = next.step(&seen, &verdict, now);
        if next == rollout && acts.is_empty() {
            return Ok(());
        }
        let (before, after, acts) = (&rollout, &next, &acts);
        let written = changes
            .db()
            .write(|mut tx| async move {
                if store::get(&mut tx, id, true).await?.as_ref() != Some(before) {
                    // Somebody else moved it; look again.
                    return Ok(tx.done(Vec::new()));
                }
                for act in acts {
                    if let Act::Release(wave) = act
                        && freeze::holding(&mut tx, id, &after.waves[*wave], now).await?.is_some()
                    {
                        // A freeze came in between; look again.
                        return Ok(tx.done(Vec::new()));
                    }
                }
                let by = Principal::system();
                let moved = settle(&mut tx, (id, number), after, acts, &by, now).await?;
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await;
        match written {
            Ok(moved) => {
                info!(change = number, wave = next.stage + 1, state = next.state.as_str(), "the rollout moved");
                changes.gate().wake(&moved);
            }
            // A store that fails says nothing of what stood before: it may even have written it. It is looked at again.
            Err(error) if error.store_error().is_none() && acts.iter().any(|a| matches!(a, Act::Revert(_))) => {
                stuck(changes, id, number, (&rollout, next), &error).await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if next.state.is_final() {
            return Ok(());
        }
    }
}

/// Takes out who was given a later state in which the change does nothing: who moved to another role, or has an object of
/// its own instead. In any other it is in force as soon as that state is.
async fn without_others(
    changes: &Changes,
    id: ChangeId,
    mut seen: BTreeMap<NodeId, NodeSeen>,
    overtaken: BTreeSet<NodeId>,
) -> Result<BTreeMap<NodeId, NodeSeen>, ChangeError> {
    if overtaken.is_empty() {
        return Ok(seen);
    }
    let objects = changes
        .db()
        .read(|mut tx| async move {
            let objects = store::objects(&mut tx, id).await?;
            Ok::<_, ChangeError>(tx.done(objects))
        })
        .await?;
    let view = changes.desired().view().await?;
    // What is deleted is so everywhere.
    if objects.iter().all(|object| view.all.objects.contains_key(object)) {
        let on: BTreeSet<NodeId> = objects.iter().flat_map(|object| view.compiled.effective_on(*object)).collect();
        seen.retain(|node, _| !overtaken.contains(node) || on.contains(node));
    }
    Ok(seen)
}

async fn ask(
    gates: &dyn Gates,
    id: ChangeId,
    number: u64,
    rollout: &Rollout,
    seen: &BTreeMap<NodeId, NodeSeen>,
) -> Result<Verdict, Fault> {
    if rollout.state != State::Running || !matches!(rollout.phase, Phase::Gating | Phase::Measuring) {
        return Ok(Verdict::Open);
    }
    let is_before = rollout.phase == Phase::Measuring;
    let is_proven = |n: &&NodeId| is_before || seen.get(n) == Some(&NodeSeen::Proven);
    let question = Question {
        key: key_of(id, rollout),
        number,
        gates: rollout.strategy.gates.clone(),
        nodes: rollout.waves[rollout.stage].iter().filter(is_proven).copied().collect(),
        before: key_before(id, rollout),
        is_before,
    };
    gates.ask(question).await
}

/// What stood before can't be put back by itself: the rollout waits for somebody.
async fn stuck(
    changes: &Changes,
    id: ChangeId,
    number: u64,
    (before, mut rollout): (&Rollout, Rollout),
    error: &ChangeError,
) -> Result<(), ChangeError> {
    warn!(change = number, error = %Chain(error), "what stood before can't be put back; the rollout pauses");
    let now = clock::now();
    rollout.revert_failed(&Chain(error).to_string(), now);
    let rollout = &rollout;
    changes
        .db()
        .write(|mut tx| async move {
            if store::get(&mut tx, id, true).await?.as_ref() != Some(before) {
                // Another controller could, or somebody decided meanwhile.
                return Ok(tx.done(()));
            }
            settle(&mut tx, (id, number), rollout, &[], &Principal::system(), now).await?;
            Ok::<_, ChangeError>(tx.done(()))
        })
        .await
}
