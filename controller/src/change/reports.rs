//! What a batch of reports means for the store. Pure: rows in, rows out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_shared::{
    desired::{ContentHash, Generation},
    error::Fault,
    id::{ChangeId, NodeId, ObjectId},
    object::Target,
    operation::OperationRun,
    report::{DriftReport, GenerationReport, JobRun, LostReports, Phase, ResourceReport, ResourceState, UNDONE},
    time::UnixMs,
};
use lampas_wire::Report;
use serde::{Deserialize, Serialize};

use super::{effect::Effect, progress::Step};

/// How a node stands before the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) generation: Generation,
    pub(crate) hash: ContentHash,
    pub(crate) change: Option<ChangeId>,
    pub(crate) state: ResourceState,
    pub(crate) phase: String,
    pub(crate) reported: (Generation, String),
    pub(crate) took_ms: u64,
    pub(crate) converged: u64,
    pub(crate) total: u64,
    pub(crate) resources: String,
    /// When `resources` was told, in milliseconds; absent for "with this batch" and for never.
    pub(crate) told_ms: Option<i64>,
    /// What the change makes otherwise there; looked up only where a resource has drifted or failed.
    pub(crate) effect: Arc<Effect>,
    /// The objects about whose drift there the change is the decision: that is about to be over.
    pub(crate) settling: BTreeSet<ObjectId>,
}

/// What becomes of one node.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The row as it shall be; absent when nothing of it changes.
    pub(crate) config: Option<Current>,
    pub(crate) step: Option<Step>,
    /// The resources that are not quietly in force, when the batch says them all.
    pub(crate) exceptions: Option<Vec<ResourceReport>>,
    pub(crate) drifts: Vec<DriftReport>,
    pub(crate) runs: Vec<JobRun>,
    /// A generation that the node undid.
    pub(crate) quarantined: Option<Generation>,
    /// Runs of operations that ended.
    pub(crate) operations: Vec<OperationRun>,
    /// Reports that the node dropped.
    pub(crate) lost: Vec<LostReports>,
}

/// What `node_config.resources` says of one resource: its state, and since when in milliseconds. Rows of an earlier version
/// have the state alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Told {
    Since(ResourceState, i64),
    State(ResourceState),
}

impl Told {
    /// Returns the state.
    pub(crate) fn state(self) -> ResourceState {
        match self {
            Self::Since(state, _) | Self::State(state) => state,
        }
    }

    /// Returns since when it is so.
    pub(crate) fn since(self) -> Option<UnixMs> {
        match self {
            Self::Since(_, ms) => Some(UnixMs(ms)),
            Self::State(_) => None,
        }
    }
}

/// Reads `node_config.resources`.
pub(crate) fn told(text: &str) -> BTreeMap<Target, Told> {
    serde_json::from_str(text).unwrap_or_default()
}

impl Outcome {
    /// Leaves out what a node says of its files: one that was ejected puts back what stood before by itself, and what it saw
    /// of that is no edit by hand.
    pub(crate) fn of_who_left(self) -> Self {
        Self { config: None, step: None, exceptions: None, drifts: Vec::new(), quarantined: None, ..self }
    }
}

/// Folds the reports of one node, in their order.
pub(crate) fn fold(node: NodeId, current: Option<&Current>, reports: Vec<Report>, now: UnixMs) -> Outcome {
    let mut outcome = Outcome::default();
    let mut config = current.cloned();
    for report in reports {
        if !is_storable(&report) {
            continue;
        }
        match report {
            Report::Generation(report) => {
                if let Some(config) = &mut config {
                    generation(node, config, report, &mut outcome, now);
                }
            }
            Report::Drift(mut report) => {
                cut(&mut report.diff, 64 << 10);
                cut(&mut report.path, 1100);
                outcome.drifts.push(report);
            }
            Report::Job(mut run) => {
                cut(&mut run.output, 64 << 10);
                cut(&mut run.user, 64);
                outcome.runs.push(run);
            }
            Report::Operation(run) => outcome.operations.push(run),
            Report::Lost(lost) => outcome.lost.push(lost),
        }
    }
    outcome.config = config.filter(|c| Some(c) != current);
    outcome
}

/// Whether the numbers of a report fit the store's: no agent counts that far, so it is a lie.
fn is_storable(report: &Report) -> bool {
    let fits = |g: Generation| i64::try_from(g.epoch).is_ok() && i64::try_from(g.counter).is_ok();
    match report {
        Report::Generation(report) => fits(report.generation),
        Report::Drift(report) => fits(report.generation),
        Report::Job(_) | Report::Operation(_) | Report::Lost(_) => true,
    }
}

fn generation(node: NodeId, config: &mut Current, report: GenerationReport, outcome: &mut Outcome, now: UnixMs) {
    config.reported = (report.generation, report.hash.to_string());
    if report.phase == Phase::Quarantined {
        outcome.quarantined = Some(report.generation);
    }
    if report.generation != config.generation {
        // Of a state that was overtaken meanwhile: it says nothing of the one that is wanted.
        return;
    }
    let mut state = report.state;
    let mut fault = cause(config, &report.resources);
    if report.hash != config.hash {
        state = ResourceState::Failed;
        fault = Some(Fault::lasting("node.other_hash", "the node applied another state than the one it was sent"));
    }
    config.took_ms = report.took_ms;
    let word = match report.phase {
        Phase::Received => {
            // It may be told again after it was applied, by an agent that was restarted in between.
            if matches!(config.phase.as_str(), "applied" | "confirmed" | "quarantined") {
                return;
            }
            config.phase = "received".to_owned();
            config.state = ResourceState::Applying;
            "applying"
        }
        Phase::Applied | Phase::Confirmed => {
            config.phase = if report.phase == Phase::Applied { "applied" } else { "confirmed" }.to_owned();
            config.state = state;
            if report.phase == Phase::Applied || !report.resources.is_empty() {
                take_resources(config, &report.resources, outcome, now);
            }
            let is_settling = |r: &ResourceReport| is_held(r) && config.settling.contains(&r.object);
            let is_of_change = |r: &ResourceReport| is_of_change(config, r);
            let held = report.resources.iter().find(|r| is_held(r) && is_of_change(r) && !is_settling(r));
            // Drift that the change has nothing to do with hides what is still to come.
            let waits = is_to_come(state) || report.resources.iter().any(|r| is_to_come(r.state) || is_settling(r));
            let undone = undone(&report);
            match (state, held) {
                // It stood, and somebody on the node took it back: that is said of the change although it was done.
                _ if undone.is_some() => {
                    fault = undone;
                    "failed"
                }
                (ResourceState::Failed | ResourceState::Blocked, _) => "failed",
                // What the change wants is not there, and won't be before somebody decides.
                (_, Some(held)) => {
                    let text = format!(
                        "{} was changed by hand and is held; revert it to what is wanted, or adopt it: lampasctl drift list",
                        held.target
                    );
                    fault = Some(Fault::lasting("drift.held", text));
                    "failed"
                }
                _ if waits => "applying",
                _ => "converged",
            }
        }
        Phase::Quarantined => {
            config.phase = "quarantined".to_owned();
            config.state = ResourceState::Failed;
            take_resources(config, &report.resources, outcome, now);
            fault = fault.or_else(|| {
                Some(Fault::lasting(
                    "node.quarantined",
                    "the node could not reach a controller afterwards and undid it; retry, or make a newer change",
                ))
            });
            "failed"
        }
    };
    if let Some(change) = config.change {
        let took_ms = (word != "applying").then_some(report.took_ms);
        let fault = if word == "failed" { fault } else { None };
        let is_undone = report.phase == Phase::Quarantined || undone(&report).is_some();
        outcome.step = Some(Step { change, node, state: word, is_undone, took_ms, fault });
    }
}

fn take_resources(config: &mut Current, resources: &[ResourceReport], outcome: &mut Outcome, now: UnixMs) {
    let before = told(&config.resources);
    let told_before = config.told_ms;
    config.told_ms = None;
    config.total = resources.len() as u64;
    config.converged = resources.iter().filter(|r| r.state == ResourceState::Converged).count() as u64;
    config.resources = compact(resources, &before, told_before, now);
    let loud = |r: &&ResourceReport| r.state != ResourceState::Converged || r.fault.is_some() || !r.notes.is_empty();
    outcome.exceptions = Some(resources.iter().filter(loud).cloned().collect());
}

/// The quiet resources by target alone: what is said of the others stands in rows of their own.
/// A state that did not change keeps its time.
fn compact(
    resources: &[ResourceReport],
    before: &BTreeMap<Target, Told>,
    told_before: Option<i64>,
    now: UnixMs,
) -> String {
    let one = |r: &ResourceReport| {
        let same = before.get(&r.target).filter(|b| b.state() == r.state);
        let since = same.and_then(|b| b.since().map(|s| s.0).or(told_before));
        Told::Since(r.state, since.unwrap_or(now.0))
    };
    let states: BTreeMap<&Target, Told> = resources.iter().map(|r| (&r.target, one(r))).collect();
    crate::db::row::to_json(&states)
}

/// Returns what is said of a node where something fails: the cause before what was only held back by it, and what the change
/// makes otherwise before what it leaves as it is, of which that is said too.
fn cause(config: &Current, resources: &[ResourceReport]) -> Option<Fault> {
    let bad = || resources.iter().filter(|r| is_bad(r.state)).filter_map(|r| r.fault.as_ref().map(|fault| (r, fault)));
    let causes = || bad().filter(|(_, fault)| fault.code != "group.held_back");
    let (resource, fault) =
        causes().find(|(r, _)| is_of_change(config, r)).or_else(|| causes().next()).or_else(|| bad().next())?;
    let mut fault = fault.clone();
    if config.change.is_some() && !is_of_change(config, resource) {
        fault.message = format!("{}, which this change leaves as it is: {}", resource.target, fault.message);
    }
    Some(fault)
}

fn is_of_change(config: &Current, resource: &ResourceReport) -> bool {
    config.effect.has(resource.object, &resource.target)
}

/// Whether it will be written by itself: also by a node that is paused, when it goes on.
fn is_to_come(state: ResourceState) -> bool {
    matches!(state, ResourceState::Waiting | ResourceState::Applying | ResourceState::Paused)
}

/// What is said of a generation that somebody on the node undid.
fn undone(report: &GenerationReport) -> Option<Fault> {
    report.resources.iter().filter_map(|r| r.fault.as_ref()).find(|f| f.code == UNDONE).cloned()
}

fn is_held(resource: &ResourceReport) -> bool {
    resource.state == ResourceState::Drifted
}

fn is_bad(state: ResourceState) -> bool {
    matches!(state, ResourceState::Failed | ResourceState::Blocked)
}

/// Cuts a text to a number of bytes, at a character.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
