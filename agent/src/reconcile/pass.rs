//! One pass: snapshot, observe, plan, validate, apply, prove, report. Blocking, idempotent, and the only code that makes
//! the node another.
//!
//! Within the host group it is all or nothing: when a check fails nothing is written, when a write fails what was written
//! is put back. A resource that can't be done at all (`Blocked`: no cron, an unknown user, the node's policy) stops no
//! other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Resource},
    error::Fault,
    id::SecretValueId,
    object::{DriftPolicy, Target},
    report::{DriftOutcome, DriftReport, Phase, ResourceReport, ResourceState},
};
use lampas_wire::Report;
use tracing::{debug, error, info, warn};

use super::{Bench, book::Goal, follow};
use crate::{
    drift,
    host::{self, Due, HostPlan, Inputs, Item, Ownership, PackagePlan, Standing, Undo},
    journal::{Accepted, Drift, Intent, JournalError, Progress, Transaction},
    policy::Ruling,
    signature::{Consent, Ledger},
    system::Root,
};

/// What a pass left behind.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Nothing had changed since the last pass, whose retry is still to come.
    pub(super) is_skipped: bool,
    /// Something failed that may pass by itself.
    pub(super) should_retry: bool,
    /// This generation is on the disk and a controller has to be reached yet.
    pub(super) to_confirm: Option<Generation>,
    /// Contents that the journal no longer has.
    pub(super) missing: BTreeSet<ContentHash>,
    /// Values of secrets that the journal no longer has, or that don't open any more.
    pub(super) missing_values: BTreeSet<SecretValueId>,
    /// The paths to watch for changes by hand.
    pub(super) watched: BTreeSet<String>,
}

/// What a pass starts from.
struct Snapshot {
    goal: Goal,
    ownership: Arc<Ownership>,
    drifts: BTreeMap<Target, Drift>,
    reverting: BTreeSet<Target>,
    is_paused: bool,
    ruling: Ruling,
    consent: Arc<Consent>,
}

/// Runs a pass.
pub(super) fn run(bench: &Bench, is_thorough: bool) -> Result<Outcome, JournalError> {
    recover(bench)?;
    let Some(snapshot) = snapshot(bench)? else { return Ok(Outcome::default()) };
    let pass = Pass { bench, snapshot, missing: Mutex::default(), missing_values: Mutex::default() };
    let outcome = pass.run(is_thorough)?;
    Ok(outcome)
}

/// Undoes what a crash left half done.
fn recover(bench: &Bench) -> Result<(), JournalError> {
    let (intent, during) = {
        let book = bench.book();
        (book.journal.intent()?, book.ownership.clone())
    };
    let Some(intent) = intent else { return follow::recover(bench) };
    warn!(desired.generation = %intent.generation, places = intent.undo.steps.len(), "an apply was interrupted; undoing it first");
    if roll_back(bench, &during, &intent.undo) {
        return follow::recover(bench);
    }
    // The ownership of an interrupted apply covers the old and the new state, so that going on from here loses nothing.
    let mut transaction = Transaction::new();
    transaction.intent(None);
    bench.book().journal.commit(transaction)?;
    follow::recover(bench)
}

fn snapshot(bench: &Bench) -> Result<Option<Snapshot>, JournalError> {
    let goal = {
        let mut book = bench.book();
        book.rebase_pause(clock::now())?;
        let Some(goal) = book.goal()? else { return Ok(None) };
        goal
    };
    // A new signature is checked by a process of its own: nobody waits for the book meanwhile.
    let ruling = bench.ruling();
    let consent = Arc::new(bench.consent(&ruling, &goal.state, !goal.is_current));
    let book = bench.book();
    Ok(Some(Snapshot {
        goal,
        ownership: book.ownership.clone(),
        drifts: book.drifts.clone(),
        reverting: book.reverting.clone(),
        is_paused: book.pause_at(clock::now()).is_some(),
        ruling,
        consent,
    }))
}

struct Pass<'a> {
    bench: &'a Bench,
    snapshot: Snapshot,
    missing: Mutex<BTreeSet<ContentHash>>,
    missing_values: Mutex<BTreeSet<SecretValueId>>,
}

/// What would change, by group.
struct Planned {
    host: HostPlan,
    packages: Option<PackagePlan>,
}

impl Planned {
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.host.items.iter().chain(self.packages.iter().flat_map(|p| &p.plan.items))
    }

    fn item(&self, target: &Target) -> Option<&Item> {
        self.items().find(|i| i.target == *target)
    }

    fn is_empty(&self) -> bool {
        self.host.is_empty() && self.packages.as_ref().is_none_or(|p| !p.has_work())
    }

    fn observed(&self) -> ContentHash {
        host::observed_together(&self.host, self.packages.as_ref())
    }
}

/// What became of an attempt to write.
enum Written {
    /// Nothing was to be written.
    Nothing,
    /// All of it stands.
    All,
    /// Nothing of it stands, because of this resource (or of no single one).
    Refused(Vec<(Option<Target>, Fault)>),
}

impl Pass<'_> {
    fn run(&self, is_thorough: bool) -> Result<Outcome, JournalError> {
        let Snapshot { goal, drifts, .. } = &self.snapshot;
        let resources: BTreeMap<&Target, &Resource> = goal.state.resources().map(|r| (&r.target, r)).collect();
        let mut held = self.held(&resources);
        let mut plan = self.plan(&held);
        let found: Vec<Drift> = plan.items().filter_map(|item| self.new_drift(item, &resources)).collect();
        let more: Vec<Target> =
            found.iter().filter(|d| d.policy != DriftPolicy::Repair).map(|d| d.target.clone()).collect();
        if more.iter().any(|t| !held.contains(t)) {
            held.extend(more);
            plan = self.plan(&held);
        }
        let unchanged = plan.is_empty() && found.is_empty() && self.bench.last_observed() == Some(plan.observed());
        let is_settled = self.bench.book().current.as_ref().is_some_and(|c| c.progress != Progress::Received);
        if unchanged && is_settled && !is_thorough && drifts.is_empty() && self.snapshot.reverting.is_empty() {
            debug!("nothing has changed");
            return Ok(Outcome { is_skipped: true, ..self.outcome(&[]) });
        }

        let mut transaction = Transaction::new();
        let ended = self.tell_drift(&plan, &found, &resources, &mut transaction);
        // A change by hand is told before anything is done about it.
        if !transaction.is_empty() {
            let mut book = self.bench.book();
            book.journal.commit(std::mem::take(&mut transaction))?;
            book.drifts.extend(
                found.iter().filter(|d| d.policy != DriftPolicy::Repair).map(|d| (d.target.clone(), d.clone())),
            );
            book.drifts.retain(|target, _| !ended.contains(target));
        }

        let may_write = !self.snapshot.is_paused && !self.snapshot.ruling.observes();
        if may_write {
            self.admit()?;
        }
        let host = &plan.host;
        let (written, ownership) = if may_write { self.write(host)? } else { (Written::Nothing, None) };
        let (written, ownership, mut reports) = self.judge(host, &held, written, ownership, may_write)?;
        let did_write = matches!(written, Written::All) && host.items.iter().any(|i| i.verb.is_some());
        if did_write {
            info!(desired.generation = %goal.state.generation, "applied");
        }
        let begins = self.judge_packages(&plan, may_write, is_thorough, &mut reports);
        let outcome = self.finish(&plan, &found, ownership, reports, did_write, matches!(written, Written::All))?;
        if begins {
            self.begin_packages(&plan)?;
        }
        Ok(outcome)
    }

    /// Adds what is to be said of packages, and decides whether their transaction is begun.
    fn judge_packages(
        &self,
        plan: &Planned,
        may_write: bool,
        is_thorough: bool,
        reports: &mut Vec<ResourceReport>,
    ) -> bool {
        let Some(packages) = &plan.packages else { return false };
        let resources: Vec<Resource> = self.snapshot.goal.state.resources().cloned().collect();
        let (standing, begins) =
            if may_write { self.bench.apt.standing(packages, is_thorough) } else { (Standing::Paused, false) };
        reports.extend(packages.reports(&resources, &standing));
        // What is undone is undone without packages.
        begins && self.snapshot.goal.is_current
    }

    /// Begins the transaction of packages, once the record says what LAMPAS is about to own.
    fn begin_packages(&self, plan: &Planned) -> Result<(), JournalError> {
        let Some(packages) = &plan.packages else { return Ok(()) };
        {
            let mut book = self.bench.book();
            let during = packages.during(&self.bench.root, &book.ownership);
            if during != *book.ownership {
                let mut transaction = Transaction::new();
                transaction.ownership(&book.ownership, &during);
                book.journal.commit(transaction)?;
                if let Err(error) = host::keep_ownership(&self.bench.root, &during) {
                    warn!(%error, "the copy of what LAMPAS owns is older than the journal");
                }
                book.ownership = Arc::new(during);
            }
        }
        if let Err(fault) = self.bench.apt.start(&self.bench.root, packages) {
            warn!(error = %fault, "the packages could not be seen to");
        }
        Ok(())
    }

    /// Puts down what comes into force under operators' signatures, before it does.
    fn admit(&self) -> Result<(), JournalError> {
        let Snapshot { goal, ruling, consent, .. } = &self.snapshot;
        if !ruling.wants_signatures() {
            return Ok(());
        }
        let journal = self.bench.book().journal.clone();
        let back = [journal.good()?, journal.previous()?];
        let kept = back.iter().flatten().flat_map(|state| state.resources());
        let kept = kept.map(|r| (r.target.clone(), r.compute_hash())).collect();
        let Some(mut ledger) = consent.admit(ruling, &goal.state, &kept) else { return Ok(()) };
        if let [Some(good), _] = &back {
            ledger.remember(&self.standing(good), clock::now());
        }
        info!(desired.generation = %goal.state.generation, serial = ledger.high, "root code is signed for");
        let mut transaction = Transaction::new();
        // Statements may have come meanwhile.
        let book = self.bench.book();
        let statements = book.journal.signed()?.statements;
        transaction.signed(&Ledger { statements, ..ledger });
        book.journal.commit(transaction)?;
        Ok(())
    }

    /// Returns what of a state stands on the disk as it says: from before the policy wanted signatures, too, the way back
    /// must stay open.
    fn standing(&self, state: &NodeDesired) -> BTreeSet<(Target, ContentHash)> {
        let plan = self.bench.with_inputs(state, |inputs| {
            let inputs = Inputs { judge: &|_| None, judge_removal: &|_| None, ..*inputs };
            host::plan(&self.bench.root, &inputs)
        });
        let stands =
            |target: &Target| plan.item(target).is_some_and(|i| i.verb.is_none() && i.fault.is_none() && !i.is_drifted);
        state.resources().filter(|r| stands(&r.target)).map(|r| (r.target.clone(), r.compute_hash())).collect()
    }

    /// Returns the targets that are left as they are.
    fn held(&self, resources: &BTreeMap<&Target, &Resource>) -> BTreeSet<Target> {
        let mut held = held(resources, &self.snapshot.drifts);
        held.retain(|t| !self.snapshot.reverting.contains(t));
        held
    }

    /// Plans both groups: the host, and packages while none of them is under way.
    fn plan(&self, held: &BTreeSet<Target>) -> Planned {
        self.with_inputs(&self.snapshot.ownership, held, |inputs| {
            let mut host = host::plan(&self.bench.root, inputs);
            let running = self.bench.apt.running();
            let mut packages = running.or_else(|| host::plan_packages(&self.bench.root, inputs, &self.bench.apt));
            if let Some(packages) = &mut packages {
                // What only changes the record is journalled with the host's.
                host.take_records(packages);
            }
            Planned { host, packages }
        })
    }

    fn with_inputs<T>(&self, owned: &Ownership, held: &BTreeSet<Target>, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let content = |hash: &ContentHash| self.content(hash);
        let (consent, ruling) = (&self.snapshot.consent, &self.snapshot.ruling);
        let judge = |resource: &Resource| consent.judge(ruling, resource);
        let judge_removal = |removal: &host::Removal<'_>| consent.judge_removal(ruling, removal);
        let mut resources: Vec<Resource> = self.snapshot.goal.state.resources().cloned().collect();
        let journal = self.bench.book().journal.clone();
        let secrets = self.bench.fill(&journal, &mut resources, &|value| {
            self.missing_values.lock().expect("no holder panics").insert(value);
        });
        let facts = self.bench.facts();
        work(&Inputs {
            resources: &resources,
            content: &content,
            owned,
            held,
            facts: &facts,
            judge: &judge,
            judge_removal: &judge_removal,
            looks: Some(&self.bench.looks),
            secrets: Some(&secrets),
        })
    }

    fn content(&self, hash: &ContentHash) -> Option<Vec<u8>> {
        let found = self.bench.book().journal.blob(hash).unwrap_or_default();
        if found.is_none() {
            self.missing.lock().expect("no holder panics").insert(*hash);
        }
        found
    }

    /// Returns a change by hand that is not in the journal as it stands there.
    fn new_drift(&self, item: &Item, resources: &BTreeMap<&Target, &Resource>) -> Option<Drift> {
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
    fn tell_drift(
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

    fn drift_report(&self, drift: &Drift, outcome: DriftOutcome, item: &Item) -> Report {
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

    fn ended_report(&self, drift: &Drift, outcome: DriftOutcome) -> Report {
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

    /// Checks and writes. Returns what LAMPAS owns afterwards, when that changed.
    fn write(&self, plan: &HostPlan) -> Result<(Written, Option<Wrote>), JournalError> {
        if plan.is_empty() {
            return Ok((Written::Nothing, None));
        }
        let generation = self.snapshot.goal.state.generation;
        if let Some(faults) = self.bench.follow.spurned(generation, plan.observed) {
            debug!(desired.generation = %generation, "units did not take this generation, and nothing changed since");
            return Ok((Written::Refused(faults), None));
        }
        let faults = host::validate(plan, &self.bench.tools);
        if !faults.is_empty() {
            for (target, fault) in &faults {
                warn!(%target, error = %fault, "the check failed; nothing of this state is written");
            }
            return Ok((Written::Refused(faults.into_iter().map(|(t, f)| (Some(t), f)).collect()), None));
        }
        let mut during = Ownership::clone(&self.snapshot.ownership);
        let mut is_copied = false;
        let result = host::apply(&self.bench.root, plan, &mut |record: &host::Record| {
            keep_copy(&self.bench.root, &during, &record.ownership, &mut is_copied)?;
            let mut transaction = Transaction::new();
            transaction.ownership(&during, &record.ownership);
            transaction.intent(Some(&Intent { generation, since: clock::now(), undo: record.undo.clone() }));
            self.bench.book().journal.commit(transaction).map_err(Fault::from)?;
            during = record.ownership.clone();
            Ok(())
        });
        match result {
            Ok(record) => {
                let wrote = Wrote { during, after: record.ownership, undo: record.undo, due: Due::of(plan) };
                let faults = follow::follow(self.bench, generation, &wrote.due)?;
                if faults.is_empty() {
                    return Ok((Written::All, Some(wrote)));
                }
                warn!(desired.generation = %generation, "units did not take what was written; putting back what stood before");
                self.take_back(&wrote, &faults)?;
                Ok((Written::Refused(faults), None))
            }
            Err(error) => {
                warn!(desired.generation = %generation, error = %error.fault, "the apply failed; putting back what was written");
                roll_back(self.bench, &during, &error.record.undo);
                let mut faults: Vec<_> = error.targets.iter().map(|t| (Some(t.clone()), error.fault.clone())).collect();
                if faults.is_empty() {
                    faults.push((None, error.fault));
                }
                self.bench.follow.spurn(generation, &faults);
                Ok((Written::Refused(faults), None))
            }
        }
    }

    /// Puts back what stood before an apply that ended, and has units take that up.
    fn take_back(&self, wrote: &Wrote, faults: &[(Option<Target>, Fault)]) -> Result<(), JournalError> {
        roll_back(self.bench, &wrote.during, &wrote.undo);
        self.bench.follow.spurn(self.snapshot.goal.state.generation, faults);
        follow::follow_back(self.bench, &wrote.due)
    }

    /// Proves what stands, and takes it back when the proof says that it failed.
    fn judge(
        &self,
        plan: &HostPlan,
        held: &BTreeSet<Target>,
        written: Written,
        wrote: Option<Wrote>,
        may_write: bool,
    ) -> Result<(Written, Option<Wrote>, Vec<ResourceReport>), JournalError> {
        match (written, wrote) {
            (Written::Refused(faults), _) => {
                let reports = Self::refused(plan, &faults);
                Ok((Written::Refused(faults), None, reports))
            }
            (written, wrote) => {
                let owned = wrote.as_ref().map_or(&*self.snapshot.ownership, |w| &w.after);
                let has_written = !matches!(written, Written::Nothing);
                let mut reports = self.prove(plan, owned, held, may_write, has_written);
                if let Some(done) = &wrote {
                    let failed: Vec<(Option<Target>, Fault)> = reports
                        .iter()
                        .filter(|r| r.state == ResourceState::Failed)
                        .filter_map(|r| Some((Some(r.target.clone()), r.fault.clone()?)))
                        .collect();
                    if !failed.is_empty() {
                        warn!(count = failed.len(), "the proof failed; putting back what stood before");
                        self.take_back(done, &failed)?;
                        reports = Self::refused(plan, &failed);
                        return Ok((Written::Refused(failed), None, reports));
                    }
                }
                Ok((written, wrote, reports))
            }
        }
    }

    fn prove(
        &self,
        plan: &HostPlan,
        owned: &Ownership,
        held: &BTreeSet<Target>,
        may_write: bool,
        has_written: bool,
    ) -> Vec<ResourceReport> {
        // What was written is read back, file by file; otherwise the plan is as good as another look.
        let mut reports = self.with_inputs(owned, held, |inputs| {
            if has_written {
                host::prove(&self.bench.root, inputs)
            } else {
                host::prove_planned(&self.bench.root, inputs.resources, plan)
            }
        });
        if !may_write {
            for report in &mut reports {
                let waits = plan.item(&report.target).is_some_and(|i| i.verb.is_some() && i.fault.is_none());
                if waits {
                    report.state = ResourceState::Paused;
                    report.fault = None;
                }
            }
        }
        reports
    }

    /// Reports a group that was not written, naming who is to blame.
    fn refused(plan: &HostPlan, faults: &[(Option<Target>, Fault)]) -> Vec<ResourceReport> {
        let culprits: Vec<String> = faults.iter().filter_map(|(t, _)| t.as_ref().map(ToString::to_string)).collect();
        let by = if culprits.is_empty() { "this group".to_owned() } else { culprits.join(", ") };
        let any_retry = faults.iter().any(|(_, f)| f.retry);
        let report = |item: &Item| {
            let own = faults.iter().find(|(t, _)| t.as_ref() == Some(&item.target)).map(|(_, f)| f.clone());
            let general = || faults.iter().find(|(t, _)| t.is_none()).map(|(_, f)| f.clone());
            let (state, fault) = match (own, &item.fault, item.verb) {
                (Some(fault), ..) => (ResourceState::Failed, Some(fault)),
                (None, Some(fault), _) => (ResourceState::Blocked, Some(fault.clone())),
                (None, None, _) if item.is_drifted => (ResourceState::Drifted, None),
                (None, None, Some(_)) => {
                    let text = format!("not written, because the group is all or nothing and {by} failed");
                    let held = Fault { code: "group.held_back".into(), message: text, retry: any_retry };
                    (ResourceState::Failed, general().or(Some(held)))
                }
                (None, None, None) => (ResourceState::Converged, None),
            };
            ResourceReport { target: item.target.clone(), object: item.object, state, fault, notes: item.notes.clone() }
        };
        plan.items.iter().map(report).collect()
    }

    /// Commits what came of it, and the report.
    fn finish(
        &self,
        plan: &Planned,
        found: &[Drift],
        wrote: Option<Wrote>,
        mut reports: Vec<ResourceReport>,
        did_write: bool,
        is_done: bool,
    ) -> Result<Outcome, JournalError> {
        let mut outcome = self.outcome(&reports);
        let mut transaction = Transaction::new();
        if let Some(wrote) = &wrote {
            transaction.ownership(&wrote.during, &wrote.after);
            transaction.intent(None);
            transaction.owed(None);
        }
        // Repairs by policy and on request are told once they stand.
        let mut ended = BTreeSet::new();
        if is_done {
            let repaired =
                |t: &Target| plan.host.item(t).is_some_and(|i| i.is_drifted && !i.is_held && i.verb.is_some());
            for drift in found.iter().filter(|d| d.policy == DriftPolicy::Repair && repaired(&d.target)) {
                if let Some(item) = plan.item(&drift.target) {
                    info!(target = %drift.target, path = drift.path, "repaired a change by hand");
                    transaction.report(self.drift_report(drift, DriftOutcome::Repaired, item));
                }
            }
            for drift in self.snapshot.drifts.values().filter(|d| repaired(&d.target)) {
                transaction.end_drift(&drift.target);
                if !found.iter().any(|f| f.target == drift.target) {
                    transaction.report(self.ended_report(drift, DriftOutcome::Repaired));
                }
                ended.insert(drift.target.clone());
            }
        }
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
            let of_host = |r: &&ResourceReport| plan.packages.as_ref().is_none_or(|p| p.plan.item(&r.target).is_none());
            let has_failed = reports.iter().filter(of_host).any(|r| r.state == ResourceState::Failed);
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
                    applied_at: Some(clock::now()),
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
            for target in &self.snapshot.reverting {
                book.reverting.remove(target);
            }
        }
        outcome.watched = watched(&book.ownership);
        self.bench.looks.retain(|path| book.ownership.places.contains_key(path));
        drop(book);
        let observed = if did_write { self.look_again() } else { Some(plan.observed()) };
        self.bench.set_last_observed(observed);
        super::snapshot::write(self.bench);
        Ok(outcome)
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
            reverting: BTreeSet::new(),
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

    fn outcome(&self, reports: &[ResourceReport]) -> Outcome {
        Outcome {
            is_skipped: false,
            should_retry: reports.iter().any(|r| r.fault.as_ref().is_some_and(|f| f.retry)),
            to_confirm: None,
            missing: std::mem::take(&mut self.missing.lock().expect("no holder panics")),
            missing_values: std::mem::take(&mut self.missing_values.lock().expect("no holder panics")),
            watched: watched(&self.snapshot.ownership),
        }
    }
}

/// The places that are files: what else there is tells nobody when it changes.
fn watched(ownership: &Ownership) -> BTreeSet<String> {
    let mut watched: BTreeSet<String> = ownership.places.keys().filter(|path| path.starts_with('/')).cloned().collect();
    let has = |sorts: &[&str]| ownership.places.keys().any(|path| sorts.iter().any(|sort| path.starts_with(sort)));
    if has(&["user:", "group:", "members:"]) {
        watched.extend(host::ACCOUNT_FILES.map(str::to_owned));
    }
    if has(&["package:"]) {
        watched.insert(host::PACKAGE_STATUS.to_owned());
    }
    watched
}

/// Returns the targets that were changed by hand and are left as they are, by the policies of their objects.
pub(super) fn held(resources: &BTreeMap<&Target, &Resource>, drifts: &BTreeMap<Target, Drift>) -> BTreeSet<Target> {
    let stands = |drift: &&Drift| {
        resources.get(&drift.target).is_some_and(|r| match r.drift {
            DriftPolicy::Hold => true,
            DriftPolicy::Report => r.compute_hash() == drift.desired,
            DriftPolicy::Repair => false,
        })
    };
    drifts.values().filter(stands).map(|d| d.target.clone()).collect()
}

/// Keeps the copy of the ownership that outlives the journal. What is entered before the first write covers what stands
/// before, during and after it; afterwards the copy matters only when something went, whose original goes with it.
fn keep_copy(root: &Root, before: &Ownership, after: &Ownership, is_copied: &mut bool) -> Result<(), Fault> {
    let is_less = before.places.keys().any(|path| !after.places.contains_key(path));
    if *is_copied && !is_less {
        return Ok(());
    }
    match (host::keep_ownership(root, after), *is_copied) {
        (Ok(()), _) => *is_copied = true,
        (Err(error), false) => return Err(error.to_fault()),
        (Err(error), true) => warn!(%error, "the copy of what LAMPAS owns is older than the journal"),
    }
    Ok(())
}

/// What an apply left in the record.
struct Wrote {
    during: Ownership,
    after: Ownership,
    undo: Undo,
    due: Due,
}

/// Puts back what stood before an apply. When that can't be done in full, the intent stays in the journal for the next pass.
fn roll_back(bench: &Bench, during: &Ownership, undo: &Undo) -> bool {
    let result = host::roll_back(&bench.root, undo, &mut |record: &host::Record| {
        keep_copy(&bench.root, during, &record.ownership, &mut false)?;
        let mut transaction = Transaction::new();
        transaction.ownership(during, &record.ownership);
        transaction.intent(None);
        let mut book = bench.book();
        book.journal.commit(transaction).map_err(Fault::from)?;
        book.ownership = Arc::new(record.ownership.clone());
        Ok(())
    });
    if let Err(fault) = &result {
        error!(error = %fault, "what was written could not be put back in full; the next pass goes on from there");
        bench.book().ownership = Arc::new(during.clone());
    }
    result.is_ok()
}
