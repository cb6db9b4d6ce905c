//! What happens next in an operation, decided where it is stored.
//!
//! Several controllers may look at one operation. Each asks [`step`] over what it read, and when that comes to something,
//! asks again in a transaction that holds the operation's row: what is written follows from what stands there then, and
//! whoever comes second finds nothing left to decide. A node that is connected to another controller counts as connected,
//! so that nobody passes it over; it is started by the controller that holds it.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    event::EventKind,
    id::{NodeId, OperationId, RunId},
    operation::{Action, NodeView, OperationState, OperationView, RunState, step},
    time::UnixMs,
};

use super::{
    service::Operations,
    store::{self, OperationRow, RunRow},
};
use crate::{db::DbError, event::NewEvent, link::NodeGate};

/// Who is connected, here and anywhere.
pub(super) struct Sight<'a> {
    /// To this controller.
    pub(super) here: &'a dyn NodeGate,
    /// To any, by the store.
    pub(super) held: &'a BTreeSet<NodeId>,
    /// Since when this controller listens.
    pub(super) heard_since: UnixMs,
}

impl Sight<'_> {
    /// Whether a node is connected and answers. Of one that another controller holds, that one sees it.
    fn is_heard(&self, node: NodeId) -> bool {
        if self.here.connected(node) { !self.here.is_silent(node) } else { self.held.contains(&node) }
    }
}

/// What is to be written, and whom to tell.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Runs that start, of nodes that are connected here.
    pub(super) starts: Vec<usize>,
    /// Runs to end.
    pub(super) cancels: Vec<usize>,
    settles: BTreeMap<(RunState, &'static str), Vec<RunId>>,
    is_end: bool,
}

impl Decision {
    /// Asks what happens next.
    pub(super) fn of(operation: &OperationRow, runs: &[RunRow], sight: &Sight<'_>, now: UnixMs) -> Self {
        let views: Vec<NodeView> = runs
            .iter()
            .map(|run| NodeView {
                state: run.state,
                is_connected: !run.state.is_final()
                    && (sight.here.connected(run.node) || sight.held.contains(&run.node)),
                is_heard: !run.state.is_final() && sight.is_heard(run.node),
                told_at: run.told_at.unwrap_or(operation.created_at),
                has_begun: run.has_begun,
            })
            .collect();
        let mut decision = Self::default();
        for action in step(&view_of(operation, sight.heard_since), &views, now) {
            match action {
                // Who holds the connection starts it.
                Action::Start(at) if sight.here.connected(runs[at].node) => decision.starts.push(at),
                Action::Start(_) => {}
                Action::Cancel(at) => decision.cancels.push(at),
                Action::Settle(at, state, cause) => {
                    decision.settles.entry((state, cause.as_str())).or_default().push(runs[at].run);
                }
                Action::End => decision.is_end = true,
            }
        }
        decision
    }

    /// Returns whether there is something to write.
    pub(super) fn is_due(&self) -> bool {
        !(self.starts.is_empty() && self.settles.is_empty()) || self.is_end
    }
}

impl Operations {
    /// Decides about an operation in one transaction. Returns the runs that it started, and how the operation ended if it
    /// did; nothing when another controller was there before.
    pub(super) async fn decide(
        &self,
        id: OperationId,
        now: UnixMs,
    ) -> Result<(BTreeSet<RunId>, Option<OperationState>), DbError> {
        let (here, heard_since) = (self.gate(), self.heard_since());
        self.db()
            .write(|mut tx| async move {
                let Some((operation, runs)) = store::locked(&mut tx, id).await? else {
                    return Ok(tx.done((BTreeSet::new(), None)));
                };
                if operation.waits_until().is_some() && operation.cancelled.is_none() {
                    return Ok(tx.done((BTreeSet::new(), None)));
                }
                let held = store::held(&mut tx, Some(id)).await?;
                let decision = Decision::of(&operation, &runs, &Sight { here, held: &held, heard_since }, now);
                if !decision.is_due() {
                    return Ok(tx.done((BTreeSet::new(), None)));
                }
                let started: Vec<RunId> = decision.starts.iter().map(|at| runs[*at].run).collect();
                store::start(&mut tx, &started, now).await?;
                for ((state, detail), runs) in &decision.settles {
                    store::settle(&mut tx, runs, *state, detail, now).await?;
                }
                let mut ended = None;
                if decision.is_end {
                    let state = store::conclude(&mut tx, id, now).await?;
                    tx.event(
                        NewEvent::new(EventKind::OperationEnded)
                            .with("operation", id)
                            .with("number", operation.number)
                            .with("state", state.as_str()),
                    );
                    ended = Some(state);
                } else {
                    tx.event(NewEvent::new(EventKind::OperationMoved).with("operation", id));
                }
                Ok::<_, DbError>(tx.done((started.into_iter().collect(), ended)))
            })
            .await
    }
}

fn view_of(operation: &OperationRow, heard_since: UnixMs) -> OperationView {
    OperationView {
        // It could not begin before somebody signed.
        started_at: operation.signing.as_ref().and_then(|s| s.signed_at).unwrap_or(operation.created_at),
        heard_since,
        timeout_secs: operation.spec.limits.timeout_secs,
        strategy: operation.spec.strategy,
        away: operation.spec.away,
        is_cancelled: operation.cancelled.is_some(),
    }
}
