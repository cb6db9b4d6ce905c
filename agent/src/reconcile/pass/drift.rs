//! What of a plan was changed by hand: what is told of it, and what is left as it is.

use std::collections::{BTreeMap, BTreeSet};

use lampas_runtime::clock;
use lampas_shared::{
    desired::Resource,
    object::{DriftPolicy, Target},
    report::{DriftOutcome, DriftReport},
};
use lampas_wire::Report;
use tracing::info;

use super::{Pass, Planned};
use crate::{
    drift,
    host::Item,
    journal::{Drift, Transaction},
};

impl Pass<'_> {
    /// Returns a change by hand that is not in the journal as it stands there.
    pub(super) fn new_drift(&self, item: &Item, resources: &BTreeMap<&Target, &Resource>) -> Option<Drift> {
        let resource = resources
            .get(&item.target)
            .filter(|_| item.is_drifted && !self.snapshot.reverting.contains(&item.target))?;
        let drift = Drift {
            target: item.target.clone(),
            object: item.object,
            policy: resource.drift,
            path: item.path.clone(),
            desired: resource.compute_hash(),
            fingerprint: drift::fingerprint(item.observed.as_ref()),
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

    /// Puts what changed about drifts into the outbox and the journal. Returns the drifts that are over.
    pub(super) fn tell_drift(
        &self,
        plan: &Planned,
        found: &[Drift],
        resources: &BTreeMap<&Target, &Resource>,
        transaction: &mut Transaction,
    ) -> BTreeSet<Target> {
        for drift in found.iter().filter(|d| d.policy != DriftPolicy::Repair) {
            let Some(item) = plan.item(&drift.target) else { continue };
            info!(target = %drift.target, path = drift.path, policy = ?drift.policy, "changed by hand");
            transaction.drift(drift);
            transaction.report(self.drift_report(drift, DriftOutcome::Standing, item));
        }
        let mut ended = BTreeSet::new();
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
            transaction.end_drift(&drift.target);
            transaction.report(self.ended_report(drift, DriftOutcome::Resolved));
            ended.insert(drift.target.clone());
        }
        ended
    }

    pub(super) fn drift_report(&self, drift: &Drift, outcome: DriftOutcome, item: &Item) -> Report {
        Report::Drift(DriftReport {
            target: drift.target.clone(),
            object: drift.object,
            generation: self.snapshot.goal.state.generation,
            outcome,
            path: drift.path.clone(),
            diff: item.drift_diff.clone(),
            observed: item.observed.clone(),
            at: clock::now(),
        })
    }

    pub(super) fn ended_report(&self, drift: &Drift, outcome: DriftOutcome) -> Report {
        Report::Drift(DriftReport {
            target: drift.target.clone(),
            object: drift.object,
            generation: self.snapshot.goal.state.generation,
            outcome,
            path: drift.path.clone(),
            diff: String::new(),
            observed: None,
            at: clock::now(),
        })
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
