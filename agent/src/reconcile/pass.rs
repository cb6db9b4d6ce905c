//! One pass: snapshot, observe, plan, validate, apply, prove, report. Blocking, idempotent, and the only code that makes
//! the node another.
//!
//! Within the host group it is all or nothing: when a check fails nothing is written, when a write fails what was written
//! is put back. A resource that can't be done at all (`Blocked`: no cron, an unknown user, the node's policy) stops no
//! other.

mod drift;
mod finish;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Resource},
    id::SecretValueId,
    object::{DriftPolicy, Target},
    report::ResourceReport,
};
use tracing::{debug, info, warn};

pub(super) use self::drift::held;
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
            should_retry: reports.iter().any(|r| r.fault.as_ref().is_some_and(|f| f.retry)),
            to_confirm: None,
            missing: std::mem::take(&mut self.missing.lock().expect("no holder panics")),
            missing_values: std::mem::take(&mut self.missing_values.lock().expect("no holder panics")),
            watched: watched(&self.snapshot.ownership),
        }
    }
}
