//! What of a plan was changed by hand: what is told of it, and what is left as it is.

use std::collections::{BTreeMap, BTreeSet};

use lampas_runtime::clock;
use lampas_shared::{
    desired::Resource,
    object::{DriftPolicy, Target},
    report::{DriftOutcome, DriftReport},
};
use lampas_wire::Report;
use tracing::{info, warn};

use super::{Bench, Pass, Planned};
use crate::{
    drift,
    host::Item,
    journal::{Drift, JournalError, Transaction},
};

impl Pass<'_> {
    /// Returns a change by hand that is not in the journal as it stands there.
    pub(super) fn new_drift(&self, item: &Item, resources: &BTreeMap<&Target, &Resource>) -> Option<Drift> {
        let fingerprint = item.mark.unwrap_or_else(|| drift::fingerprint(item.observed.as_ref()));
        // What was edited once more since somebody asked to overwrite it is told, and stays.
        let is_reverted = self.snapshot.reverting.get(&item.target) == Some(&fingerprint);
        let resource = resources.get(&item.target).filter(|_| item.is_drifted && !is_reverted)?;
        let drift = Drift {
            target: item.target.clone(),
            object: item.object,
            policy: resource.drift,
            path: item.path.clone(),
            desired: resource.compute_hash(),
            fingerprint,
            observed: item.observed.clone().map(|o| lampas_shared::report::ObservedFile { content: None, ..o }),
            since: clock::now(),
        };
        let known = self.snapshot.drifts.get(&item.target);
        match known {
            // The next change of the object overwrites what was merely reported.
            Some(k) if resource.drift == DriftPolicy::Report && k.desired != drift.desired => None,
            Some(k) if k.fingerprint == drift.fingerprint && k.policy == drift.policy => None,
            _ => Some(Drift { since: known.map_or(drift.since, |k| k.since), ..drift }),
        }
    }

    /// Puts what changed about drifts into the outbox, the journal and the book. What there is no room for is found, held
    /// and told by a later pass.
    pub(super) fn tell_drift(
        &self,
        plan: &Planned,
        found: &[Drift],
        resources: &BTreeMap<&Target, &Resource>,
    ) -> Result<(), JournalError> {
        let mut told = Told::new(self.bench);
        for drift in found.iter().filter(|d| d.policy != DriftPolicy::Repair) {
            let Some(item) = plan.item(&drift.target) else { continue };
            info!(target = %drift.target, path = drift.path, policy = ?drift.policy, "changed by hand");
            if !told.begins(drift, self.drift_report(drift, DriftOutcome::Standing, item))? {
                return Ok(());
            }
        }
        for drift in self.snapshot.drifts.values() {
            let item = plan.item(&drift.target).filter(|_| resources.contains_key(&drift.target));
            if item.is_some_and(|i| i.is_drifted) {
                continue;
            }
            // What could not be looked at is not over.
            if item.is_some_and(|i| i.fault.as_ref().is_some_and(|f| f.code.starts_with("file."))) {
                continue;
            }
            info!(target = %drift.target, path = drift.path, "no longer changed by hand");
            if !told.ends(drift, self.ended_report(drift, DriftOutcome::Resolved))? {
                return Ok(());
            }
        }
        told.flush().map(drop)
    }

    /// Tells of repairs by policy, which stand. What there is no room for is in the agent's log alone.
    pub(super) fn tell_repairs(&self, plan: &Planned, repaired: &[&Drift]) -> Result<(), JournalError> {
        let mut told = Told::new(self.bench);
        for drift in repaired {
            let Some(item) = plan.item(&drift.target) else { continue };
            info!(target = %drift.target, path = drift.path, "repaired a change by hand");
            if !told.says(self.drift_report(drift, DriftOutcome::Repaired, item))? {
                return Ok(());
            }
        }
        told.flush().map(drop)
    }

    fn drift_report(&self, drift: &Drift, outcome: DriftOutcome, item: &Item) -> DriftReport {
        DriftReport {
            target: drift.target.clone(),
            object: drift.object,
            generation: self.snapshot.goal.state.generation,
            outcome,
            path: drift.path.clone(),
            diff: item.drift_diff.clone(),
            observed: item.observed.clone(),
            at: clock::now(),
        }
    }

    pub(super) fn ended_report(&self, drift: &Drift, outcome: DriftOutcome) -> DriftReport {
        DriftReport {
            target: drift.target.clone(),
            object: drift.object,
            generation: self.snapshot.goal.state.generation,
            outcome,
            path: drift.path.clone(),
            diff: String::new(),
            observed: None,
            at: clock::now(),
        }
    }
}

/// As many reports are committed at once,
const REPORTS_AT_ONCE: usize = 256;
/// and as many bytes of contents and diffs: the outbox holds many times more.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Tells of drifts in pieces: thousands of changed files are more than the outbox takes at once.
struct Told<'a> {
    bench: &'a Bench,
    transaction: Transaction,
    reports: usize,
    bytes: usize,
    begun: Vec<Drift>,
    ended: Vec<Target>,
}

impl<'a> Told<'a> {
    fn new(bench: &'a Bench) -> Self {
        Self { bench, transaction: Transaction::new(), reports: 0, bytes: 0, begun: Vec::new(), ended: Vec::new() }
    }

    fn begins(&mut self, drift: &Drift, report: DriftReport) -> Result<bool, JournalError> {
        self.transaction.drift(drift);
        self.begun.push(drift.clone());
        self.says(report)
    }

    fn ends(&mut self, drift: &Drift, report: DriftReport) -> Result<bool, JournalError> {
        self.transaction.end_drift(&drift.target);
        self.ended.push(drift.target.clone());
        self.says(report)
    }

    /// Returns whether there is room for more.
    fn says(&mut self, report: DriftReport) -> Result<bool, JournalError> {
        let content = report.observed.as_ref().and_then(|o| o.content.as_ref()).map_or(0, Vec::len);
        self.reports += 1;
        self.bytes += content + report.diff.len();
        self.transaction.report(Report::Drift(report));
        if self.reports < REPORTS_AT_ONCE && self.bytes < BYTES_AT_ONCE { Ok(true) } else { self.flush() }
    }

    /// Commits what was said since the last time. Returns false when the outbox has no room for it.
    fn flush(&mut self) -> Result<bool, JournalError> {
        let transaction = std::mem::take(&mut self.transaction);
        let (begun, ended) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.ended));
        let count = std::mem::take(&mut self.reports);
        self.bytes = 0;
        if transaction.is_empty() {
            return Ok(true);
        }
        let mut book = self.bench.book();
        match book.journal.commit(transaction) {
            Ok(_) => {}
            Err(error @ JournalError::Full { .. }) => {
                warn!(%error, count, "changes by hand can't be told before a controller is reached");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        book.drifts.extend(begun.into_iter().map(|d| (d.target.clone(), d)));
        book.drifts.retain(|target, _| !ended.contains(target));
        Ok(true)
    }
}

/// Returns the targets that were changed by hand and are left as they are, by the policies of their objects.
pub(in crate::reconcile) fn held(
    resources: &BTreeMap<&Target, &Resource>,
    drifts: &BTreeMap<Target, Drift>,
) -> BTreeSet<Target> {
    let stands = |drift: &&Drift| {
        resources.get(&drift.target).is_some_and(|r| match r.drift {
            DriftPolicy::Hold => true,
            DriftPolicy::Report => r.compute_hash() == drift.desired,
            DriftPolicy::Repair => false,
        })
    };
    drifts.values().filter(stands).map(|d| d.target.clone()).collect()
}
