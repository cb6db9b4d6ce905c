//! Reports of the outbox.

use lampas_shared::{
    TextError,
    desired::{ContentHash, Generation},
    error,
    id::{ObjectId, RunId},
    object::Target,
    report,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Fault, Text, bounded, cut, each,
    operation::{MAX_DIFF, MAX_PATH, ObservedFile, notes_from_wire, notes_to_wire},
    run::OperationRun,
};
use crate::{
    codec::{EncodeError, to_body},
    message::{self, Kind},
};

/// The longest output of a run, in bytes. The agent keeps 64 KiB; replacing invalid UTF-8 can triple that.
const MAX_OUTPUT: usize = 3 * (64 << 10);
/// The most slots that one record stands for: more minutes than a node looks back.
const MAX_TIMES: u32 = 20_000;

#[derive(Serialize, Deserialize)]
pub(super) enum Report {
    Generation(GenerationReport),
    Drift(DriftReport),
    Job(JobRun),
}

/// Returns the body of a report: its number, and what it says. What was lost, and runs of operations, are
/// kinds of their own, as the enumeration is frozen.
pub(super) fn encode(kind: Kind, seq: u64, report: &message::Report) -> Result<Vec<u8>, EncodeError> {
    let report = match report {
        message::Report::Generation(report) => Report::Generation(report.into()),
        message::Report::Drift(report) => Report::Drift(report.into()),
        message::Report::Job(run) => Report::Job(run.into()),
        message::Report::Lost(lost) => return to_body(kind, &(seq, LostReports::from(lost))),
        message::Report::Operation(run) if let Some(found) = &run.found => {
            return super::probe::encode_report(kind, seq, run, found);
        }
        message::Report::Operation(run) => return to_body(kind, &(seq, OperationRun::from(run))),
    };
    to_body(kind, &(seq, report))
}

#[derive(Serialize, Deserialize)]
pub(super) struct LostReports {
    count: u64,
    from_ms: i64,
    until_ms: i64,
}

impl From<&report::LostReports> for LostReports {
    fn from(lost: &report::LostReports) -> Self {
        Self { count: lost.count, from_ms: lost.from.0, until_ms: lost.until.0 }
    }
}

impl TryFrom<LostReports> for report::LostReports {
    type Error = TextError;
    fn try_from(lost: LostReports) -> Result<Self, TextError> {
        if lost.count == 0 {
            return Err(TextError::new("lost reports", "0", "none is nothing to report"));
        }
        Ok(Self { count: lost.count, from: UnixMs(lost.from_ms), until: UnixMs(lost.until_ms) })
    }
}

impl TryFrom<Report> for message::Report {
    type Error = TextError;
    fn try_from(report: Report) -> Result<Self, TextError> {
        Ok(match report {
            Report::Generation(report) => Self::Generation(report.try_into()?),
            Report::Drift(report) => Self::Drift(report.try_into()?),
            Report::Job(run) => Self::Job(run.try_into()?),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct GenerationReport {
    generation: (u64, u64),
    hash: [u8; 32],
    phase: Phase,
    state: ResourceState,
    took_ms: u64,
    resources: Vec<ResourceReport>,
    at_ms: i64,
}

#[derive(Serialize, Deserialize)]
enum Phase {
    Received,
    Applied,
    Confirmed,
    Quarantined,
}

#[derive(Serialize, Deserialize)]
enum ResourceState {
    Converged,
    Paused,
    Waiting,
    Applying,
    Drifted,
    Blocked,
    Failed,
}

#[derive(Serialize, Deserialize)]
struct ResourceReport {
    target: Text,
    object: [u8; 16],
    state: ResourceState,
    fault: Option<Fault>,
    notes: Vec<Text>,
}

impl From<report::ResourceState> for ResourceState {
    fn from(state: report::ResourceState) -> Self {
        use report::ResourceState as S;
        match state {
            S::Converged => Self::Converged,
            S::Paused => Self::Paused,
            S::Waiting => Self::Waiting,
            S::Applying => Self::Applying,
            S::Drifted => Self::Drifted,
            S::Blocked => Self::Blocked,
            S::Failed => Self::Failed,
        }
    }
}

impl From<ResourceState> for report::ResourceState {
    fn from(state: ResourceState) -> Self {
        match state {
            ResourceState::Converged => Self::Converged,
            ResourceState::Paused => Self::Paused,
            ResourceState::Waiting => Self::Waiting,
            ResourceState::Applying => Self::Applying,
            ResourceState::Drifted => Self::Drifted,
            ResourceState::Blocked => Self::Blocked,
            ResourceState::Failed => Self::Failed,
        }
    }
}

impl From<&report::GenerationReport> for GenerationReport {
    fn from(report: &report::GenerationReport) -> Self {
        Self {
            generation: (report.generation.epoch, report.generation.counter),
            hash: *report.hash.as_bytes(),
            phase: match report.phase {
                report::Phase::Received => Phase::Received,
                report::Phase::Applied => Phase::Applied,
                report::Phase::Confirmed => Phase::Confirmed,
                report::Phase::Quarantined => Phase::Quarantined,
            },
            state: report.state.into(),
            took_ms: report.took_ms,
            resources: report.resources.iter().map(ResourceReport::from).collect(),
            at_ms: report.at.0,
        }
    }
}

impl TryFrom<GenerationReport> for report::GenerationReport {
    type Error = TextError;
    fn try_from(report: GenerationReport) -> Result<Self, TextError> {
        Ok(Self {
            generation: Generation { epoch: report.generation.0, counter: report.generation.1 },
            hash: ContentHash::from_bytes(report.hash),
            phase: match report.phase {
                Phase::Received => report::Phase::Received,
                Phase::Applied => report::Phase::Applied,
                Phase::Confirmed => report::Phase::Confirmed,
                Phase::Quarantined => report::Phase::Quarantined,
            },
            state: report.state.into(),
            took_ms: report.took_ms,
            resources: each(report.resources)?,
            at: UnixMs(report.at_ms),
        })
    }
}

impl From<&report::ResourceReport> for ResourceReport {
    fn from(report: &report::ResourceReport) -> Self {
        Self {
            target: report.target.as_str().into(),
            object: *report.object.as_uuid().as_bytes(),
            state: report.state.into(),
            fault: report.fault.as_ref().map(Fault::from),
            notes: notes_to_wire(&report.notes),
        }
    }
}

impl TryFrom<ResourceReport> for report::ResourceReport {
    type Error = TextError;
    fn try_from(report: ResourceReport) -> Result<Self, TextError> {
        Ok(Self {
            target: Target::parse(&report.target.0)?,
            object: ObjectId::from_uuid(Uuid::from_bytes(report.object)),
            state: report.state.into(),
            fault: report.fault.map(error::Fault::try_from).transpose()?,
            notes: notes_from_wire(report.notes)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DriftReport {
    target: Text,
    object: [u8; 16],
    generation: (u64, u64),
    outcome: DriftOutcome,
    path: Text,
    diff: Text,
    observed: Option<ObservedFile>,
    at_ms: i64,
}

#[derive(Serialize, Deserialize)]
enum DriftOutcome {
    Standing,
    Repaired,
    Resolved,
}

impl From<&report::DriftReport> for DriftReport {
    fn from(report: &report::DriftReport) -> Self {
        Self {
            target: report.target.as_str().into(),
            object: *report.object.as_uuid().as_bytes(),
            generation: (report.generation.epoch, report.generation.counter),
            outcome: match report.outcome {
                report::DriftOutcome::Standing => DriftOutcome::Standing,
                report::DriftOutcome::Repaired => DriftOutcome::Repaired,
                report::DriftOutcome::Resolved => DriftOutcome::Resolved,
            },
            path: Text(cut(&report.path, MAX_PATH)),
            diff: Text(cut(&report.diff, MAX_DIFF)),
            observed: report.observed.as_ref().map(ObservedFile::from),
            at_ms: report.at.0,
        }
    }
}

impl TryFrom<DriftReport> for report::DriftReport {
    type Error = TextError;
    fn try_from(report: DriftReport) -> Result<Self, TextError> {
        bounded("path", &report.path.0, MAX_PATH)?;
        bounded("diff", &report.diff.0, MAX_DIFF)?;
        Ok(Self {
            target: Target::parse(&report.target.0)?,
            object: ObjectId::from_uuid(Uuid::from_bytes(report.object)),
            generation: Generation { epoch: report.generation.0, counter: report.generation.1 },
            outcome: match report.outcome {
                DriftOutcome::Standing => report::DriftOutcome::Standing,
                DriftOutcome::Repaired => report::DriftOutcome::Repaired,
                DriftOutcome::Resolved => report::DriftOutcome::Resolved,
            },
            path: report.path.0,
            diff: report.diff.0,
            observed: report.observed.map(report::ObservedFile::try_from).transpose()?,
            at: UnixMs(report.at_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct JobRun {
    run: [u8; 16],
    object: [u8; 16],
    user: Text,
    slot_ms: Option<i64>,
    started_at_ms: i64,
    ended_at_ms: Option<i64>,
    outcome: RunOutcome,
    output: Text,
    output_bytes: u64,
}

#[derive(Serialize, Deserialize)]
enum RunOutcome {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    NotStarted,
    Skipped,
    Lost,
    Missed,
    NodeDown,
    /// The same of so many slots: a place of its own in [`JobRun`] would be one that an older side can't read.
    MissedTimes(u32),
    NodeDownTimes(u32),
}

impl From<&report::JobRun> for JobRun {
    fn from(run: &report::JobRun) -> Self {
        use report::RunOutcome as O;
        Self {
            run: *run.run.as_uuid().as_bytes(),
            object: *run.object.as_uuid().as_bytes(),
            user: Text(cut(&run.user, 64)),
            slot_ms: run.slot.map(|t| t.0),
            started_at_ms: run.started_at.0,
            ended_at_ms: run.ended_at.map(|t| t.0),
            outcome: match run.outcome {
                O::Exited(status) => RunOutcome::Exited(status),
                O::Signalled(signal) => RunOutcome::Signalled(signal),
                O::TimedOut => RunOutcome::TimedOut,
                O::NotStarted => RunOutcome::NotStarted,
                O::Skipped => RunOutcome::Skipped,
                O::Lost => RunOutcome::Lost,
                O::Missed if run.times > 1 => RunOutcome::MissedTimes(run.times),
                O::Missed => RunOutcome::Missed,
                O::NodeDown if run.times > 1 => RunOutcome::NodeDownTimes(run.times),
                O::NodeDown => RunOutcome::NodeDown,
            },
            output: Text(cut(&run.output, MAX_OUTPUT)),
            output_bytes: run.output_bytes,
        }
    }
}

impl TryFrom<JobRun> for report::JobRun {
    type Error = TextError;
    fn try_from(run: JobRun) -> Result<Self, TextError> {
        use report::RunOutcome as O;
        lampas_shared::check_line("user", &run.user.0, 64)?;
        bounded("output", &run.output.0, MAX_OUTPUT)?;
        Ok(Self {
            run: RunId::from_uuid(Uuid::from_bytes(run.run)),
            object: ObjectId::from_uuid(Uuid::from_bytes(run.object)),
            user: run.user.0,
            slot: run.slot_ms.map(UnixMs),
            started_at: UnixMs(run.started_at_ms),
            ended_at: run.ended_at_ms.map(UnixMs),
            outcome: match run.outcome {
                RunOutcome::Exited(status) => O::Exited(status),
                RunOutcome::Signalled(signal) => O::Signalled(signal),
                RunOutcome::TimedOut => O::TimedOut,
                RunOutcome::NotStarted => O::NotStarted,
                RunOutcome::Skipped => O::Skipped,
                RunOutcome::Lost => O::Lost,
                RunOutcome::Missed | RunOutcome::MissedTimes(_) => O::Missed,
                RunOutcome::NodeDown | RunOutcome::NodeDownTimes(_) => O::NodeDown,
            },
            output: run.output.0,
            output_bytes: run.output_bytes,
            times: match run.outcome {
                RunOutcome::MissedTimes(times) | RunOutcome::NodeDownTimes(times) => times.clamp(1, MAX_TIMES),
                _ => 1,
            },
        })
    }
}
