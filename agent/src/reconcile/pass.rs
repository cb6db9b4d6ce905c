//! One pass: snapshot, observe, plan, validate, apply, prove, report. Blocking, idempotent, and the only code that makes
//! the node another.
//!
//! What apt goes by is written first ([`sources`]). Within that group, and within the host group, it is all or nothing: when a
//! check fails nothing is written, when a write fails what was written is put back. A resource that can't be done at all (`Blocked`: no cron, an unknown user, the node's policy) stops no
//! other.

mod drift;
mod finish;
mod sources;
mod undone;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Resource, Spec},
    host::Reaction,
    id::SecretValueId,
    object::{DriftPolicy, Target},
    report::{ResourceReport, ResourceState},
};
use tracing::{debug, info, warn};

pub(super) use self::{drift::held, write::HELD_BACK};
use self::{
    finish::watched,
    write::{Written, roll_back},
};
use super::{Bench, book::Goal, follow};
use crate::{
    host::{self, HostPlan, Inputs, Item, Ownership, PackagePlan, Standing},
    journal::{Drift, JournalError, Progress, Transaction},
    policy::Ruling,
    signature::{Consent, Ledger},
};

/// What a pass left behind.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Nothing had changed since the last pass, whose retry is still to come.
    pub(super) is_skipped: bool,
    /// Nothing was done, since a state came whose contents are to be fetched first: who waits for the pass waits for the next.
    pub(super) is_overtaken: bool,
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
    /// Changes by hand that somebody asked to overwrite, as they stood when they were asked about.
    reverting: BTreeMap<Target, ContentHash>,
    is_paused: bool,
    ruling: Ruling,
    consent: Arc<Consent>,
}

/// Runs a pass.
pub(super) fn run(bench: &Bench, is_thorough: bool) -> Result<Outcome, JournalError> {
    let _passing = bench.passing.lock().unwrap_or_else(PoisonError::into_inner);
    // It waited for an ejection to end.
    if bench.over.is_cancelled() {
        return Ok(Outcome { is_skipped: true, ..Outcome::default() });
    }
    go(bench, is_thorough, false)
}

/// Runs a pass, or the rest of one that has written what apt goes by.
fn go(bench: &Bench, is_thorough: bool, has_sources: bool) -> Result<Outcome, JournalError> {
    let Some(pass) = begin(bench)? else { return Ok(Outcome::default()) };
    if pass.overtook_its_contents()? {
        bench.wake.notify_one();
        return Ok(Outcome { is_skipped: true, is_overtaken: true, ..pass.outcome(&[]) });
    }
    pass.run_from(is_thorough, has_sources)
}

/// Undoes what a crash left half done, and looks at what there is to do; nothing before a controller has sent a state.
pub(super) fn begin(bench: &Bench) -> Result<Option<Pass<'_>>, JournalError> {
    recover(bench)?;
    let pass = |snapshot| Pass { bench, snapshot, missing: Mutex::default(), missing_values: Mutex::default() };
    Ok(snapshot(bench)?.map(pass))
}

/// Undoes what a crash left half done. Also where the agent is paused or observes: what nobody wanted stands there else.
fn recover(bench: &Bench) -> Result<(), JournalError> {
    let (intent, during, is_paused) = {
        let mut book = bench.book();
        let Some(intent) = book.journal.intent()? else {
            drop(book);
            return follow::recover(bench);
        };
        // What was owned in memory is older where the end of an apply could not be journalled.
        book.ownership = Arc::new(book.journal.ownership()?);
        (intent, book.ownership.clone(), book.pause_at(clock::now()).is_some())
    };
    let although = if is_paused || bench.ruling().observes() { ", although nothing else is written here" } else { "" };
    warn!(desired.generation = %intent.generation, places = intent.undo.steps.len(), "an apply was interrupted; undoing it first{although}");
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
        if book.rebase_pause(clock::now())? {
            bench.tell_halts();
        }
        let Some(goal) = book.goal()? else { return Ok(None) };
        goal
    };
    // A new signature is checked by a process of its own: nobody waits for the book meanwhile.
    let ruling = bench.ruling().with_state(&goal.state);
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

/// One pass, from what it found at its beginning.
pub(super) struct Pass<'a> {
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

impl Pass<'_> {
    #[cfg(test)]
    pub(super) fn run(&self, is_thorough: bool) -> Result<Outcome, JournalError> {
        self.run_from(is_thorough, false)
    }

    /// Does all there is to do. `has_sources` says that this pass has written what apt goes by: it is not written a second
    /// time by itself.
    fn run_from(&self, is_thorough: bool, has_sources: bool) -> Result<Outcome, JournalError> {
        let Snapshot { goal, drifts, .. } = &self.snapshot;
        if !self.snapshot.is_paused && !self.snapshot.ruling.observes() {
            follow::follow_packages(self.bench, goal.state.generation, || self.followed_packages())?;
        }
        let resources: BTreeMap<&Target, &Resource> = goal.state.resources().map(|r| (&r.target, r)).collect();
        let mut held = self.held(&resources);
        // What is edited between two looks is found by the second, and would be written over by a plan that isn't made
        // again.
        let (plan, found) = loop {
            let plan = self.plan(&held);
            let found: Vec<Drift> = plan.items().filter_map(|item| self.new_drift(item, &resources)).collect();
            let left = found.iter().filter(|d| d.policy != DriftPolicy::Repair && !held.contains(&d.target));
            let more: Vec<Target> = left.map(|d| d.target.clone()).collect();
            if more.is_empty() {
                break (plan, found);
            }
            held.extend(more);
        };
        let unchanged = plan.is_empty() && found.is_empty() && self.bench.last_observed() == Some(plan.observed());
        let is_settled = self.bench.book().current.as_ref().is_some_and(|c| c.progress != Progress::Received);
        if unchanged
            && is_settled
            && !is_thorough
            && !has_sources
            && drifts.is_empty()
            && self.snapshot.reverting.is_empty()
        {
            debug!("nothing has changed");
            return Ok(Outcome { is_skipped: true, ..self.outcome(&[]) });
        }

        // A change by hand is told before anything is done about it.
        self.tell_drift(&plan, &found, &resources)?;

        let may_write = !self.snapshot.is_paused && !self.snapshot.ruling.observes();
        if may_write {
            self.admit()?;
        }
        let host = &plan.host;
        let first = match host.sources().filter(|_| may_write && !has_sources) {
            Some(sources) => self.write_sources(&plan, &sources, &found, &held)?,
            None => Written::Nothing,
        };
        let (written, ownership) = match first {
            // The rest is planned anew, beside what stands by then.
            Written::All => return go(self.bench, is_thorough, true),
            Written::Nothing if may_write => self.write(host)?,
            first => (first, None),
        };
        let (written, may_write) = match written {
            Written::Paused => (Written::Nothing, false),
            written => (written, may_write),
        };
        let (written, ownership, mut reports) = self.judge(host, &held, written, ownership, may_write)?;
        let has_written = matches!(written, Written::All) && host.items.iter().any(|i| i.verb.is_some());
        let did_write = has_written || has_sources;
        if has_written {
            info!(desired.generation = %goal.state.generation, "applied");
        }
        let begins = self.judge_packages(&plan, &written, may_write, is_thorough, &mut reports);
        let outcome = self.finish(&plan, &found, ownership, reports, did_write, &written)?;
        if begins {
            self.begin_packages(&plan)?;
        }
        if !goal.is_current {
            self.tell_undone()?;
        }
        Ok(outcome)
    }

    /// Returns whether the state came after contents were fetched for the one before: those of this one come first, or it would
    /// be told that it can't be done.
    fn overtook_its_contents(&self) -> Result<bool, JournalError> {
        let goal = &self.snapshot.goal;
        let is_new = self.bench.book().current.as_ref().is_some_and(|c| c.progress == Progress::Received);
        if !goal.is_current || !is_new {
            return Ok(false);
        }
        let values = self.bench.missing_values(&goal.state);
        Ok(!self.bench.missing(&goal.state)?.is_empty() || values.is_ok_and(|values| !values.is_empty()))
    }

    /// Adds what is to be said of packages, and decides whether their transaction is begun.
    fn judge_packages(
        &self,
        plan: &Planned,
        written: &Written,
        may_write: bool,
        is_thorough: bool,
        reports: &mut Vec<ResourceReport>,
    ) -> bool {
        let Some(packages) = &plan.packages else { return false };
        let resources: Vec<Resource> = self.snapshot.goal.state.resources().cloned().collect();
        let (standing, begins) = if !may_write {
            (Standing::Paused, false)
        } else if packages.has_work()
            && !self.bench.apt.is_busy()
            && let Some(fault) = self.waits(&plan.host, written)
        {
            (Standing::Waiting(fault), false)
        } else {
            self.bench.apt.standing(packages, is_thorough)
        };
        let is_current = self.snapshot.goal.is_current;
        if matches!(standing, Standing::Applying) && packages.has_work() && is_current {
            self.await_packages(&plan.host, written, reports);
        }
        reports.extend(packages.reports(&resources, &standing));
        let converged = reports.iter_mut().filter(|r| r.state == ResourceState::Converged);
        for report in converged {
            let fault = packages.unfetched(&report.target).cloned();
            if let Some(fault) = fault.or_else(|| self.bench.follow.untaken(&report.target)) {
                (report.state, report.fault) = (ResourceState::Failed, Some(fault));
            }
        }
        // What is undone is undone without packages.
        begins && is_current
    }

    /// Returns the packages that are desired and allowed, with what follows their change.
    fn followed_packages(&self) -> BTreeMap<Target, Vec<Reaction>> {
        self.with_inputs(&self.snapshot.ownership, &BTreeSet::new(), |inputs| {
            let is_allowed = |r: &&Resource| matches!(r.spec, Spec::Package { .. }) && (inputs.judge)(r).is_none();
            inputs.resources.iter().filter(is_allowed).map(|r| (r.target.clone(), r.on_change.clone())).collect()
        })
    }

    /// Begins the transaction of packages, once the record says what LAMPAS is about to own.
    fn begin_packages(&self, plan: &Planned) -> Result<(), JournalError> {
        let Some(packages) = &plan.packages else { return Ok(()) };
        {
            let mut book = self.bench.book();
            if book.pause_at(clock::now()).is_some() {
                return Ok(());
            }
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
        if let Err(fault) = host::note_follows(&self.bench.root, packages) {
            warn!(error = %fault, "the packages wait: what follows their change can't be put down");
            return Ok(());
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

    /// Returns the targets that are left as they are: not what was told of and shall be overwritten.
    fn held(&self, resources: &BTreeMap<&Target, &Resource>) -> BTreeSet<Target> {
        let Snapshot { drifts, reverting, .. } = &self.snapshot;
        let mut held = held(resources, drifts);
        held.retain(|t| drifts.get(t).is_none_or(|drift| reverting.get(t) != Some(&drift.fingerprint)));
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
        let judge_removal = |removal: &host::Removal<'_>| consent.judge_removal(ruling, removal);
        let mut resources: Vec<Resource> = self.snapshot.goal.state.resources().cloned().collect();
        let journal = self.bench.book().journal.clone();
        let secrets = self.bench.fill(&journal, &mut resources, &|value| {
            self.missing_values.lock().expect("no holder panics").insert(value);
        });
        let judge = |resource: &Resource| consent.judge_filled(ruling, resource, &secrets);
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

    fn outcome(&self, reports: &[ResourceReport]) -> Outcome {
        Outcome {
            is_skipped: false,
            is_overtaken: false,
            should_retry: reports.iter().any(|r| r.fault.as_ref().is_some_and(|f| f.retry)),
            to_confirm: None,
            missing: std::mem::take(&mut self.missing.lock().expect("no holder panics")),
            missing_values: std::mem::take(&mut self.missing_values.lock().expect("no holder panics")),
            watched: watched(&self.snapshot.ownership),
        }
    }
}
