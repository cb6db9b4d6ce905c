//! What happens next in an operation: a function of what is stored and the time.

use super::{Away, RunState, Strategy};
use crate::time::UnixMs;

/// How long a node has to say that it began, once it was told, while it is heard.
const START_MS: i64 = 60_000;
/// How soon after it was told a node may count as silent: it answers something within that time.
const SILENCE_MS: i64 = 3000;
/// How long after its time-out a run's result is waited for: ten seconds until it is killed, and the way here.
const RESULT_MS: i64 = 90_000;
/// How long after a start of the controller a node that isn't connected may still be on its way back.
const RETURN_MS: i64 = 15_000;
/// How long an operation may take until its last start, unless it queues for longer.
const LAST_START_MS: i64 = 86_400_000;

/// An operation as [`step`] sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    /// When it was started.
    pub started_at: UnixMs,
    /// Since when the controller listens: what it could not hear before is no sign of anything.
    pub heard_since: UnixMs,
    /// Seconds until a run is ended.
    pub timeout_secs: u32,
    /// The order.
    pub strategy: Strategy,
    /// What becomes of nodes that are away.
    pub away: Away,
    /// Whether somebody asked to end it.
    pub is_cancelled: bool,
}

/// One node of it, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    /// Where its run is.
    pub state: RunState,
    /// Whether the node is connected.
    pub is_connected: bool,
    /// Whether it is heard: connected, and not silent.
    pub is_heard: bool,
    /// When it was told to start; of no meaning before.
    pub told_at: UnixMs,
    /// Whether it said that it has begun.
    pub has_begun: bool,
}

/// Why a run ended without the node's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Somebody cancelled.
    Asked,
    /// Enough others failed.
    Stopped,
    /// No canary succeeded.
    NoCanary,
    /// The node was away.
    Away,
    /// The node did not come back in time.
    NotBack,
    /// It was never its turn within a day.
    NoTurn,
    /// The node did not say that it began.
    NoAnswer,
    /// The node was told, and is heard no more.
    NotHeard,
    /// No result came.
    NoResult,
}

impl Cause {
    /// Returns it in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "cancelled before it began",
            Self::Stopped => "not begun: enough others had failed",
            Self::NoCanary => "not begun: no canary succeeded",
            Self::Away => "not connected",
            Self::NotBack => "did not connect, or did not answer, in time",
            Self::NoTurn => "it was not its turn within a day",
            Self::NoAnswer => "the node did not say whether it began",
            Self::NotHeard => {
                "the node does not answer: whether it began is not known; a result that still comes is taken"
            }
            Self::NoResult => "no result came in time; one that still comes is taken",
        }
    }
}

/// What to do, by the place of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Store that it runs, then tell the node.
    Start(usize),
    /// Tell the node to end it.
    Cancel(usize),
    /// Store that it is over.
    Settle(usize, RunState, Cause),
    /// Store that the operation is over.
    End,
}

/// Decides what happens next. Doing any part of it, in any order, and asking again is as good as doing all of it.
pub fn step(operation: &OperationView, nodes: &[NodeView], now: UnixMs) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut states: Vec<RunState> = nodes.iter().map(|n| n.state).collect();
    if states.iter().all(|s| s.is_final()) {
        return vec![Action::End];
    }
    let mut settle = |states: &mut Vec<RunState>, at: usize, state: RunState, cause: Cause| {
        states[at] = state;
        actions.push(Action::Settle(at, state, cause));
    };
    let mut cancels = Vec::new();
    for (at, node) in nodes.iter().enumerate().filter(|(_, n)| n.state == RunState::Running) {
        let from = node.told_at.max(operation.heard_since);
        if !node.has_begun && now >= begin_by(operation, node.is_heard, from) {
            let cause = if node.is_heard { Cause::NoAnswer } else { Cause::NotHeard };
            settle(&mut states, at, RunState::Lost, cause);
        } else if now.since(from) >= i64::from(operation.timeout_secs) * 1000 + RESULT_MS {
            settle(&mut states, at, RunState::Lost, Cause::NoResult);
        } else if operation.is_cancelled {
            cancels.push(Action::Cancel(at));
        }
    }
    let failures = states.iter().filter(|s| s.is_failure()).count();
    let verdict = if operation.is_cancelled {
        Some((RunState::Cancelled, Cause::Asked))
    } else if operation.strategy.failures_allowed().is_some_and(|most| failures >= most) {
        Some((RunState::Skipped, Cause::Stopped))
    } else if now >= last_start(operation) {
        Some((RunState::Expired, Cause::NoTurn))
    } else {
        None
    };
    let queued: Vec<usize> = (0..states.len()).filter(|at| states[*at] == RunState::Queued).collect();
    if let Some((state, cause)) = verdict {
        for at in queued {
            settle(&mut states, at, state, cause);
        }
        actions.extend(cancels);
        return actions;
    }
    if let Away::Queue { until } = operation.away
        && now >= until
    {
        for at in queued.iter().copied().filter(|at| !is_there(operation, &nodes[*at])) {
            settle(&mut states, at, RunState::Expired, Cause::NotBack);
        }
    }
    // Before this, who is not connected may only not be back yet.
    let is_settled = now.since(operation.heard_since) >= RETURN_MS || operation.started_at >= operation.heard_since;
    let mut running = states.iter().filter(|s| **s == RunState::Running).count();
    let mut starts = Vec::new();
    let mut waiting = Vec::new();
    for (number, wave) in operation.strategy.waves(nodes.len()).into_iter().enumerate() {
        let is_canary = number == 0 && operation.strategy.canary > 0;
        let mut is_open = false;
        let waited_before = waiting.len();
        for at in wave.clone() {
            match states[at] {
                RunState::Running => is_open = true,
                RunState::Queued if is_there(operation, &nodes[at]) => {
                    is_open = true;
                    if running < operation.strategy.concurrency as usize {
                        running += 1;
                        starts.push(Action::Start(at));
                    }
                }
                RunState::Queued => match operation.away {
                    Away::Skip if is_settled => settle(&mut states, at, RunState::Skipped, Cause::Away),
                    Away::Skip => is_open = true,
                    Away::Expire | Away::Queue { .. } => waiting.push(at),
                },
                _ => {}
            }
        }
        if is_open {
            break;
        }
        if is_canary && !wave.clone().any(|at| states[at] == RunState::Succeeded) {
            if waiting.len() == waited_before {
                for at in wave.end..states.len() {
                    if states[at] == RunState::Queued {
                        settle(&mut states, at, RunState::Skipped, Cause::NoCanary);
                    }
                }
            }
            break;
        }
    }
    if operation.away == Away::Expire && running == 0 && is_settled {
        for at in waiting {
            settle(&mut states, at, RunState::Expired, Cause::NotBack);
        }
    }
    actions.extend(cancels);
    actions.extend(starts);
    actions
}

/// Returns whether a node can be told. Where nodes are waited for, that is also for one that is silent: what it is told might
/// be lost, and nobody would know.
fn is_there(operation: &OperationView, node: &NodeView) -> bool {
    node.is_connected && (node.is_heard || !matches!(operation.away, Away::Queue { .. }))
}

/// Returns until when a node that was told has to say that it began. One that is heard no more is waited for as long as one
/// that is away would be: a run that is given up is never begun again, and what its node still says of it is taken.
fn begin_by(operation: &OperationView, is_heard: bool, from: UnixMs) -> UnixMs {
    let usual = from.plus_ms(START_MS);
    match operation.away {
        _ if is_heard => usual,
        Away::Skip | Away::Expire => from.plus_ms(RETURN_MS),
        Away::Queue { until } => until.max(from.plus_ms(SILENCE_MS)).min(usual),
    }
}

/// Returns when the last node is started at the latest.
fn last_start(operation: &OperationView) -> UnixMs {
    let usual = operation.started_at.plus_ms(LAST_START_MS);
    match operation.away {
        Away::Queue { until } => usual.max(until),
        Away::Skip | Away::Expire => usual,
    }
}

/// Returns when the operation is over at the latest, whatever its nodes do, if the controller is not stopped meanwhile.
pub fn deadline(operation: &OperationView) -> UnixMs {
    let last = last_start(operation).max(operation.heard_since);
    last.plus_ms(i64::from(operation.timeout_secs) * 1000 + RESULT_MS)
}

#[cfg(test)]
mod tests;
