//! What the agent knows, as a value: for `status`, and for `why`, which must work without the agent.
//!
//! A copy is written to `/var/lib/lampas/agent/state.json` (0600) after each pass that changed something. It holds no
//! contents.

use std::{collections::BTreeMap, path::Path};

use lampas_runtime::{clock, files};
use lampas_shared::{
    desired::{ContentHash, Generation, Provenance},
    error::Fault,
    fleet::Scope,
    id::{NodeId, ObjectId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::ResourceState,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Bench;
use crate::{
    host::Before,
    journal::{Drift, Pause, Progress, SeenHead, Stance},
    policy::Ruling,
};

/// What the agent knows of itself and of each resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// The generation in the journal.
    pub generation: Option<Generation>,
    /// Its hash.
    pub hash: Option<ContentHash>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Which state is kept true.
    pub stance: Stance,
    /// The worst state of the resources.
    pub state: ResourceState,
    /// When it was last applied, by the node's clock.
    pub applied_at: Option<UnixMs>,
    /// The pause, if one holds.
    pub pause: Option<Pause>,
    /// What is wrong with the node's policy, or what it forbids; empty when it forbids nothing.
    pub policy: String,
    /// Why the journal can't be written at the moment; nothing new is taken until it can.
    #[serde(default)]
    pub journal_trouble: Option<String>,
    /// How many reports wait for a controller.
    pub waiting_reports: usize,
    /// How many stale reports were dropped since the agent's start.
    pub dropped_reports: u64,
    /// The resources of the state.
    pub resources: Vec<ResourceStatus>,
    /// What LAMPAS owns, by path.
    pub places: BTreeMap<String, PlaceStatus>,
    /// The changes by hand that stand.
    pub drifts: Vec<Drift>,
    /// The heads of the audit that controllers showed, the oldest first.
    #[serde(default)]
    pub heads: Vec<SeenHead>,
    /// The agent's version.
    pub agent_version: String,
    /// When this was written, by the node's clock.
    pub at: UnixMs,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// What it claims.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The object's scope.
    pub scope: Scope,
    /// What is done about changes by hand.
    pub drift: DriftPolicy,
    /// Who made it so.
    pub provenance: Provenance,
    /// Its state.
    pub state: ResourceState,
    /// Why it is not converged.
    pub fault: Option<Fault>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// One path that LAMPAS owns, or has a block in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// The resources that it was written for, each with its lines in a shared file.
    pub claims: BTreeMap<Target, Vec<String>>,
    /// What stood there before, in words.
    pub before: String,
}

/// What `why` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The generation in force.
    pub generation: Option<Generation>,
    /// Since when, by the node's clock.
    pub applied_at: Option<UnixMs>,
    /// The resources that account for the path or the line.
    pub resources: Vec<ResourceStatus>,
    /// What stood there before, in words.
    pub before: String,
    /// The change by hand that stands there.
    pub drift: Option<Drift>,
    /// Since when the generation is undone on this node, by its clock: what stood before it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_since: Option<UnixMs>,
}

/// Answers who is behind a path, or a line of it. `line_text` is what stands in that line; only a shared file needs it.
pub fn explain(status: &Status, path: &str, line_text: Option<&str>) -> Option<Explained> {
    let place = status.places.get(path)?;
    let is_shared = place.claims.values().any(|lines| !lines.is_empty());
    let concerns = |lines: &[String]| match line_text {
        Some(text) if is_shared => lines.iter().any(|l| l.trim() == text.trim()),
        _ => true,
    };
    let targets: Vec<&Target> = place.claims.iter().filter(|(_, lines)| concerns(lines)).map(|(t, _)| t).collect();
    if targets.is_empty() {
        return None;
    }
    Some(Explained {
        generation: status.generation,
        applied_at: status.applied_at,
        resources: status.resources.iter().filter(|r| targets.contains(&&r.target)).cloned().collect(),
        before: place.before.clone(),
        drift: status.drifts.iter().find(|d| targets.contains(&&d.target)).cloned(),
        undone_since: match status.stance {
            Stance::Undone { since, .. } => Some(since),
            Stance::Follow | Stance::Quarantined { .. } => None,
        },
    })
}

/// Reads the copy.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn read(path: &Path) -> std::io::Result<Status> {
    let bytes = files::read_private(path, 64 << 20)?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::other)
}

/// Gathers everything.
pub(super) fn take(bench: &Bench) -> Status {
    let book = bench.book();
    let current = book.current.as_deref();
    let resources: Vec<ResourceStatus> = current.map_or_else(Vec::new, |current| {
        let reports: BTreeMap<&Target, _> = current.resources.iter().map(|r| (&r.target, r)).collect();
        let status = |r: &lampas_shared::desired::Resource| {
            let report = reports.get(&r.target);
            ResourceStatus {
                target: r.target.clone(),
                object: r.object,
                kind: r.kind,
                name: r.name.clone(),
                scope: r.scope.clone(),
                drift: r.drift,
                provenance: r.provenance.clone(),
                state: report.map_or(ResourceState::Waiting, |r| r.state),
                fault: report.and_then(|r| r.fault.clone()),
                notes: report.map(|r| r.notes.clone()).unwrap_or_default(),
            }
        };
        current.state.resources().map(status).collect()
    });
    let place = |owned: &crate::host::Owned| PlaceStatus {
        claims: owned.claims.iter().map(|(t, c)| (t.clone(), c.lines.clone())).collect(),
        before: before(&owned.before),
    };
    let (waiting_reports, dropped_reports) = book.journal.outbox().counts();
    Status {
        node: bench.node,
        generation: current.map(|c| c.state.generation),
        hash: current.map(|c| c.state.hash),
        progress: current.map(|c| c.progress),
        stance: book.stance.clone(),
        state: resources.iter().map(|r| r.state).max().unwrap_or(ResourceState::Converged),
        applied_at: current.and_then(|c| c.applied_at),
        pause: book.pause_at(clock::now()).cloned(),
        policy: policy(&bench.ruling()),
        journal_trouble: book.journal.trouble(),
        waiting_reports,
        dropped_reports,
        resources,
        places: book.ownership.places.iter().map(|(p, o)| (p.clone(), place(o))).collect(),
        drifts: book.drifts.values().cloned().collect(),
        heads: book.journal.heads().unwrap_or_default(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        at: clock::now(),
    }
}

/// Writes the copy. It is a convenience: a failure is logged and nothing else.
pub(super) fn write(bench: &Bench) {
    let status = take(bench);
    let path = bench.paths.snapshot();
    let bytes = serde_json::to_vec(&status).expect("a status has text keys and no failing serialisers");
    if let Err(error) = files::replace(&path, &bytes, 0o600) {
        warn!(path = %path.display(), %error, "the copy of the state for `why` can't be written");
    }
}

fn policy(ruling: &Ruling) -> String {
    match ruling {
        Ruling::Malformed { why, last: None } => format!("malformed, nothing is written until it is mended: {why}"),
        Ruling::Malformed { why, last: Some(last) } => {
            let last = policy(&Ruling::Known((**last).clone()));
            let last = if last.is_empty() { "allows everything else".to_owned() } else { last };
            format!("malformed, root code is stopped, and the last one that could be followed holds ({last}): {why}")
        }
        Ruling::Observing(inner) => {
            let own = policy(inner);
            let rest = if own.is_empty() { String::new() } else { format!("; {own}") };
            format!("observing: nothing is written until an operator takes this node over{rest}")
        }
        Ruling::Known(policy) if policy.observe => "observe: nothing is written".to_owned(),
        Ruling::Known(policy) => {
            let mut rules = Vec::new();
            if !policy.root_code {
                rules.push("no root code".to_owned());
            } else if policy.require_signature {
                rules.push("root code needs a signature".to_owned());
            }
            if !policy.deny_paths.is_empty() {
                rules.push(format!("denied: {}", policy.deny_paths.join(", ")));
            }
            rules.join("; ")
        }
    }
}

fn before(before: &Before) -> String {
    match before {
        Before::Absent => "nothing".to_owned(),
        Before::File { meta, .. } => format!("a file (mode {:04o})", meta.mode),
        Before::Directory { .. } => "a directory".to_owned(),
        Before::Link { to } => format!("a link to {to}"),
        Before::Shared => "a file of others, whose lines stay as they are".to_owned(),
    }
}
