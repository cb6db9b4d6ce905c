//! Commits what came of a pass, and the report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Resource},
    object::{DriftPolicy, Target},
    report::{DriftOutcome, Phase, ResourceReport, ResourceState},
};
use lampas_wire::Report;
use tracing::debug;

use super::{
    Outcome, Pass, Planned, Snapshot,
    write::{Written, Wrote},
};
use crate::{
    host::{self, HostPlan, Ownership},
    journal::{Accepted, Drift, JournalError, Progress, Transaction},
};

impl Pass<'_> {
    /// Commits what came of it, and the report.
    pub(super) fn finish(
        &self,
        plan: &Planned,
        found: &[Drift],
        wrote: Option<Wrote>,
        mut reports: Vec<ResourceReport>,
        did_write: bool,
        written: &Written,
    ) -> Result<Outcome, JournalError> {
        let is_done = matches!(written, Written::All);
        let mut outcome = self.outcome(&reports);
        let mut transaction = Transaction::new();
        if let Some(wrote) = &wrote {
            transaction.ownership(&wrote.during, &wrote.after);
            transaction.intent(None);
            transaction.owed(None);
        }
        let ended =
            if is_done { self.end_repaired(plan, &plan.host, found, &mut transaction)? } else { BTreeSet::new() };
        self.bench.follow.add_to(self.snapshot.goal.state.generation, &mut reports);
        reports.sort_by(|a, b| a.target.cmp(&b.target));

        let mut book = self.bench.book();
        let goal = &self.snapshot.goal;
        let current = book
            .current
            .clone()
            .filter(|c| goal.is_current && c.state.generation == goal.state.generation && book.follows());
        let mut next = None;
        if let Some(current) = current {
            // How far the generation is goes by the host: packages are on no trial, since they can't be put back.
            let of_host = |r: &&ResourceReport| {
                plan.packages
                    .as_ref()
                    .is_none_or(|p| p.plan.item(&r.target).is_none() && p.unfetched(&r.target).is_none())
            };
            let has_failed = matches!(written, Written::Refused(_))
                || reports.iter().filter(of_host).any(|r| r.state == ResourceState::Failed);
            let waits = reports.iter().any(|r| r.state == ResourceState::Paused);
            let progress = match current.progress {
                Progress::Received if has_failed || waits => Progress::Received,
                Progress::Received if did_write => Progress::Applied,
                Progress::Received => Progress::Confirmed,
                later => later,
            };
            if progress == Progress::Applied {
                outcome.to_confirm = Some(current.state.generation);
            }
            if progress != current.progress || reports != current.resources {
                let accepted = Accepted {
                    progress,
                    resources: reports,
                    // What is only observed, or waits for a pause's end, is not in force.
                    applied_at: if progress == Progress::Received { current.applied_at } else { Some(clock::now()) },
                    ..Accepted::clone(&current)
                };
                let phase = if progress == Progress::Confirmed { Phase::Confirmed } else { Phase::Applied };
                if progress == Progress::Confirmed && current.progress != Progress::Confirmed {
                    book.make_good(&accepted.state, &mut transaction)?;
                }
                transaction.current(&accepted);
                transaction.report(book.report(&accepted, phase));
                next = Some(accepted);
            }
        }
        if !transaction.is_empty() {
            book.journal.commit(transaction)?;
        }
        if let Some(wrote) = wrote {
            book.ownership = Arc::new(wrote.after);
            // The undo record has just left the journal, and with it what only it needed.
            if let Err(error) = host::sweep(&self.bench.root, &book.ownership, &[]) {
                debug!(%error, "originals that nobody needs could not be removed");
            }
        }
        if let Some(next) = next {
            book.current = Some(Arc::new(next));
        }
        book.drifts.retain(|target, _| !ended.contains(target));
        if is_done || plan.is_empty() {
            for target in self.snapshot.reverting.keys() {
                book.reverting.remove(target);
            }
        }
        outcome.watched = watched(&book.ownership);
        self.bench.looks.retain(|path| book.ownership.places.contains_key(path));
        drop(book);
        let observed = if did_write { self.look_again() } else { Some(plan.observed()) };
        self.bench.set_last_observed(observed);
        crate::reconcile::snapshot::write(self.bench);
        Ok(outcome)
    }

    /// Repairs by policy and on request are told once they stand: those of `done`, which was written. Enters that these
    /// changes by hand are over, and returns which.
    pub(super) fn end_repaired(
        &self,
        plan: &Planned,
        done: &HostPlan,
        found: &[Drift],
        transaction: &mut Transaction,
    ) -> Result<BTreeSet<Target>, JournalError> {
        let repaired = |t: &Target| done.item(t).is_some_and(|i| i.is_drifted && !i.is_held && i.verb.is_some());
        let by_policy: Vec<&Drift> =
            found.iter().filter(|d| d.policy == DriftPolicy::Repair && repaired(&d.target)).collect();
        self.tell_repairs(plan, &by_policy)?;
        let mut ended = BTreeSet::new();
        for drift in self.snapshot.drifts.values().filter(|d| repaired(&d.target)) {
            transaction.end_drift(&drift.target);
            if !found.iter().any(|f| f.target == drift.target) {
                transaction.report(Report::Drift(self.ended_report(drift, DriftOutcome::Repaired)));
            }
            ended.insert(drift.target.clone());
        }
        Ok(ended)
    }

    /// Looks once more after writing: what is seen then is what "nothing has changed" means later on.
    fn look_again(&self) -> Option<ContentHash> {
        let (ownership, drifts) = {
            let book = self.bench.book();
            (book.ownership.clone(), book.drifts.clone())
        };
        let snapshot = Snapshot {
            goal: self.snapshot.goal.clone(),
            ownership,
            drifts,
            reverting: BTreeMap::new(),
            is_paused: false,
            ruling: self.snapshot.ruling.clone(),
            consent: self.snapshot.consent.clone(),
        };
        let again = Pass { bench: self.bench, snapshot, missing: Mutex::default(), missing_values: Mutex::default() };
        let resources: BTreeMap<&Target, &Resource> =
            again.snapshot.goal.state.resources().map(|r| (&r.target, r)).collect();
        let plan = again.plan(&again.held(&resources));
        if !plan.is_empty() {
            debug!("what was just applied is not as planned any more");
            return None;
        }
        Some(plan.observed())
    }
}

/// The places that are files: what else there is tells nobody when it changes.
pub(super) fn watched(ownership: &Ownership) -> BTreeSet<String> {
    let mut watched: BTreeSet<String> = ownership.places.keys().filter(|path| path.starts_with('/')).cloned().collect();
    let has = |sorts: &[&str]| ownership.places.keys().any(|path| sorts.iter().any(|sort| path.starts_with(sort)));
    if has(&["user:", "group:", "members:", "password:"]) {
        watched.extend(host::ACCOUNT_FILES.map(str::to_owned));
    }
    if has(&["package:"]) {
        watched.insert(host::PACKAGE_STATUS.to_owned());
    }
    watched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Before, Owned};

    #[test]
    fn accounts_and_their_passwords_are_watched_in_their_files() {
        let check = |place: &str, expected: &[&str]| {
            let owned = Owned {
                claims: BTreeMap::new(),
                known: BTreeSet::new(),
                before: Before::Absent,
                holds_secrets: false,
                values: BTreeSet::new(),
            };
            let ownership = Ownership { places: BTreeMap::from([(place.to_owned(), owned)]) };
            let watched = watched(&ownership);
            assert_eq!(watched.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{place}");
        };
        let files = ["/etc/group", "/etc/passwd", "/etc/shadow"];
        for place in ["user:ann", "group:app", "members:app", "password:ann"] {
            check(place, &files);
        }
        check("/etc/motd", &["/etc/motd"]);
        check("kernel:vm.swappiness", &[]);
    }
}
