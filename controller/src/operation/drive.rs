//! Drives operations: asks what happens next, stores it, tells nodes, listens to them.
//!
//! Level-triggered: each pass looks at everything that is under way. What a pass could not do, or did and could not store,
//! the next one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lampas_runtime::{Tasks, clock};
use lampas_shared::{
    error::{Chain, Fault},
    id::{NodeId, OperationId, RunId},
    operation::{OutputPart, ProbeOrder, RunOrder, RunState, RunStatus, Work},
    time::UnixMs,
};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, info, warn};

use super::{
    collect::Note,
    decide::{Decision, Sight},
    service::Operations,
    store::{self, OperationRow, RunRow},
};
use crate::db::DbError;

/// How often it is looked when nothing wakes it, while something is under way and while nothing is.
const BEAT: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(15);
/// Between two passes: what moves meanwhile is taken together.
const GATHER: Duration = Duration::from_millis(25);
/// Between two attempts to tell a node the same.
const AGAIN_MS: i64 = 2000;
/// How many nodes are told something at once, and how many are listened to.
const TELLING: usize = 128;
const LISTENING: usize = 256;
/// How often old operations are cleared away.
const SWEEP: Duration = Duration::from_secs(600);
/// How long output is waited for that its node still has.
const OUTPUT_DAYS: i64 = 8;
const DAY_MS: i64 = 86_400_000;

/// What is under way in this process, beside the store.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// What is being said to a node, or was a moment ago.
    told: Mutex<BTreeMap<(RunId, &'static str), i64>>,
    listening: Mutex<BTreeSet<RunId>>,
}

impl Busy {
    /// Returns whether it is time to say this; from then on it counts as said.
    fn is_due(&self, run: RunId, what: &'static str, now: UnixMs) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| (now.0 - *at).abs() < AGAIN_MS * 30);
        match told.get(&(run, what)) {
            Some(at) if (now.0 - at).abs() < AGAIN_MS => false,
            _ => {
                told.insert((run, what), now.0);
                true
            }
        }
    }

    fn listen(&self, run: RunId) -> bool {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.len() < LISTENING && listening.insert(run)
    }

    fn unlisten(&self, run: RunId) {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }
}

/// Runs passes until the tasks stop.
pub(super) async fn run(operations: Operations, tasks: Tasks, runs_days: u32) {
    let stopping = tasks.stopping();
    let telling = Arc::new(Semaphore::new(TELLING));
    let mut committed = operations.db().committed();
    let mut swept: Option<tokio::time::Instant> = None;
    loop {
        let size = match pass(&operations, &tasks, &telling).await {
            Ok(size) => size,
            Err(error) => {
                warn!(error = %Chain(&error), "operations could not be looked at; trying again");
                1
            }
        };
        let is_active = size > 0;
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(tokio::time::Instant::now());
            if let Err(error) = sweep(&operations, runs_days).await {
                warn!(error = %Chain(&error), "old operations could not be cleared away");
            }
        }
        // All arms are cancel-safe: notifications and changes that are not taken are kept.
        tokio::select! {
            () = operations.woken() => {}
            Ok(()) = committed.changed(), if is_active => drop(committed.borrow_and_update()),
            () = tokio::time::sleep(if is_active { BEAT } else { REST }) => {}
            () = stopping.cancelled() => return,
        }
        // A look at thousands of runs costs more than one at three.
        tokio::time::sleep(GATHER + Duration::from_millis((size as u64 / 10).min(1000))).await;
    }
}

/// Looks at everything once. Returns how many runs were looked at.
async fn pass(operations: &Operations, tasks: &Tasks, telling: &Arc<Semaphore>) -> Result<usize, DbError> {
    let (all, outputs, held) = operations
        .db()
        .read(|mut tx| async move {
            let all = store::under_way(&mut tx).await?;
            let outputs = store::pending_output(&mut tx).await?;
            let held = if all.is_empty() { BTreeSet::new() } else { store::held(&mut tx, None).await? };
            Ok::<_, DbError>(tx.done((all, outputs, held)))
        })
        .await?;
    let size = all.iter().map(|(_, runs)| runs.len().max(1)).sum::<usize>() + outputs.len();
    for (operation, runs) in all {
        one(operations, tasks, telling, (operation, runs), &held).await?;
    }
    for (run, has_result, is_stored, _) in outputs {
        if !operations.gate().connected(run.node) {
            continue;
        }
        if !is_stored {
            listen(operations, tasks, &run);
        } else if has_result && operations.busy().is_due(run.run, "forget", clock::now()) {
            let this = operations.clone();
            let telling = Arc::clone(telling);
            tasks.spawn("operation forget", async move {
                let _turn = telling.acquire().await;
                match this.gate().forget_run(run.node, run.run).await {
                    Ok(()) => this.note(Note::Forgotten(run.run)).await,
                    Err(fault) => debug!(run.id = %run.run, %fault, "a node kept the output of a run for now"),
                }
            });
        }
    }
    Ok(size)
}

/// Takes one operation a step further.
async fn one(
    operations: &Operations,
    tasks: &Tasks,
    telling: &Arc<Semaphore>,
    (operation, runs): (OperationRow, Vec<RunRow>),
    held: &BTreeSet<NodeId>,
) -> Result<(), DbError> {
    let now = clock::now();
    let mut started = BTreeSet::new();
    if let Some(until) = operation.waits_until().filter(|_| operation.cancelled.is_none()) {
        return if now < until { Ok(()) } else { operations.unsigned(&operation, now).await };
    }
    let gate = operations.gate();
    let sight = Sight { here: gate, held, heard_since: operations.heard_since() };
    let Decision { cancels, .. } = match Decision::of(&operation, &runs, &sight, now) {
        decision if !decision.is_due() => decision,
        decision => {
            let (begun, state) = operations.decide(operation.id, now).await?;
            if let Some(state) = state {
                info!(operation.id = %operation.id, state = state.as_str(), "operation {} is over", operation.number);
            }
            started = begun;
            operations.moved();
            decision
        }
    };
    // Those that were stored as running before and did not answer yet are told again.
    for run in &runs {
        let is_unanswered = run.state == RunState::Running && !run.has_begun;
        if !is_unanswered && !started.contains(&run.run) {
            continue;
        }
        if gate.connected(run.node) && operation.cancelled.is_none() && operations.busy().is_due(run.run, "start", now)
        {
            let order = order(&operation, run);
            let (this, telling, node) = (operations.clone(), Arc::clone(telling), run.node);
            tasks.spawn("operation start", async move {
                let _turn = telling.acquire().await;
                tell(&this, node, order).await;
            });
        }
    }
    for at in cancels {
        let run = runs[at].clone();
        if gate.connected(run.node) && operations.busy().is_due(run.run, "cancel", now) {
            let (this, telling) = (operations.clone(), Arc::clone(telling));
            tasks.spawn("operation cancel", async move {
                let _turn = telling.acquire().await;
                match this.gate().cancel_run(run.node, run.run).await {
                    Ok(RunStatus::Ended(result)) => this.result(run.node, run.run, run.operation, *result).await,
                    Ok(_) => {}
                    Err(fault) => debug!(run.id = %run.run, %fault, "a node was not told to end a run"),
                }
            });
        }
    }
    Ok(())
}

pub(super) fn order(operation: &OperationRow, run: &RunRow) -> RunOrder {
    let spec = &operation.spec;
    let (argv, expect, environment) = match (&spec.work, &run.script) {
        (Work::Script { arguments, .. }, Some(script)) => {
            let argv = std::iter::once(script.path.clone()).chain(arguments.iter().cloned()).collect();
            (argv, Some(script.hash), script.environment.clone())
        }
        (Work::Script { name, .. }, None) => (vec![name.to_string()], None, BTreeMap::new()),
        (Work::Command { argv }, _) => (argv.clone(), None, BTreeMap::new()),
        (Work::Probe { .. }, _) => (vec!["probe".to_owned()], None, BTreeMap::new()),
        (Work::Draft { name, arguments, parameters, .. }, _) => {
            let argv = std::iter::once(name.to_string()).chain(arguments.iter().cloned()).collect();
            let values = parameters.iter().map(|(name, value)| (name.variable(), value.clone()));
            (argv, None, values.collect())
        }
    };
    RunOrder {
        run: run.run,
        operation: operation.id,
        argv,
        expect,
        environment,
        user: spec.user.clone(),
        timeout_secs: spec.limits.timeout_secs,
        output_bytes: spec.limits.output_bytes,
        rehearse: spec.rehearse,
        by: operation.principal.clone(),
        program: if let Work::Draft { draft, .. } = &spec.work { Some(draft.clone()) } else { None },
        secrets: run.secrets.clone(),
        signed: run.signed.as_deref().cloned(),
        probe: if let Work::Probe { probe, before } = &spec.work {
            Some(ProbeOrder { probe: probe.clone(), before: before.get(&run.node).copied() })
        } else {
            None
        },
    }
}

/// Tells a node to run, and notes what it answers.
async fn tell(operations: &Operations, node: NodeId, order: RunOrder) {
    let (run, operation) = (order.run, order.operation);
    match operations.gate().run(node, order).await {
        Ok(RunStatus::Running) => operations.note(Note::Begun(run, operation)).await,
        Ok(RunStatus::Ended(result)) => operations.result(node, run, operation, *result).await,
        Ok(RunStatus::Unknown) => debug!(run.id = %run, "a node was told to run and knows nothing of it"),
        Err(fault) if fault.retry => debug!(run.id = %run, %fault, "a node was not told to run; trying again"),
        Err(fault) => operations.note(Note::Settled(run, operation, RunState::Refused, fault)).await,
    }
}

/// Listens to a run's output in a task of its own, unless somebody does.
fn listen(operations: &Operations, tasks: &Tasks, run: &RunRow) {
    if !operations.busy().is_due(run.run, "listen", clock::now()) || !operations.busy().listen(run.run) {
        return;
    }
    let (this, run, stopping) = (operations.clone(), run.clone(), tasks.stopping());
    tasks.spawn("operation output", async move {
        // Both arms are cancel-safe: what was not stored is asked for again.
        tokio::select! {
            heard = hear(&this, &run) => if let Err(error) = heard {
                debug!(run.id = %run.run, error, "the output of a run stopped coming");
            },
            () = stopping.cancelled() => {}
        }
        this.busy().unlisten(run.run);
        this.wake();
    });
}

async fn hear(operations: &Operations, run: &RunRow) -> Result<(), String> {
    let id = run.run;
    let found = operations
        .db()
        .read(|mut tx| async move {
            let from = store::stored_to(&mut tx, id).await?;
            let operation = store::find(&mut tx, &run.operation.to_string()).await?;
            Ok::<_, DbError>(tx.done((from, operation)))
        })
        .await
        .map_err(|e| Chain(&e).to_string())?;
    let (from, Some(operation)) = found else { return Ok(()) };
    let kept = operation.spec.limits.output_bytes;
    // A handful of pieces: what is not stored yet is not asked for.
    let (sink, mut parts) = mpsc::channel(8);
    let taking = async {
        while let Some(part) = parts.recv().await {
            match part {
                OutputPart::Chunk(chunk) => {
                    operations.note(Note::Output(id, run.operation, chunk, kept)).await;
                }
                OutputPart::End(_) => operations.note(Note::OutputEnd(id, run.operation)).await,
            }
        }
    };
    let (heard, ()) = tokio::join!(operations.gate().output(run.node, id, from, sink), taking);
    match heard {
        Ok(()) => Ok(()),
        Err(fault) if fault.code == "operation.unknown" => {
            let why = Fault::lasting("operation.unknown", "the node knows nothing of this run");
            operations.note(Note::Settled(id, run.operation, RunState::Lost, why)).await;
            operations.note(Note::Forgotten(id)).await;
            Ok(())
        }
        Err(fault) => Err(fault.message),
    }
}

async fn sweep(operations: &Operations, runs_days: u32) -> Result<(), DbError> {
    let now = clock::now();
    let output = now.plus_ms(-OUTPUT_DAYS * DAY_MS);
    let ended = now.plus_ms(-i64::from(runs_days) * DAY_MS);
    operations
        .db()
        .write(|mut tx| async move {
            let gone = store::prune(&mut tx, output, ended).await?;
            Ok::<_, DbError>(tx.done(gone))
        })
        .await
        .map(drop)
}

impl Operations {
    /// Takes a result that a node gave as an answer. That of a run which never began there names no operation.
    async fn result(
        &self,
        node: NodeId,
        run: RunId,
        operation: OperationId,
        mut result: lampas_shared::operation::OperationRun,
    ) {
        if result.run == run {
            result.operation = operation;
            self.note(Note::Result(node, result)).await;
        }
    }
}
