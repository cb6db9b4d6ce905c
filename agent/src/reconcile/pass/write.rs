//! Checks, writes and proves the host group, all or nothing: what does not prove is put back.

use std::{collections::BTreeSet, sync::Arc};

use lampas_runtime::clock;
use lampas_shared::{
    error::Fault,
    object::Target,
    report::{ResourceReport, ResourceState},
};
use tracing::{debug, error, warn};

use super::{Bench, Pass, follow};
use crate::{
    host::{self, Due, HostPlan, Item, Ownership, Undo},
    journal::{Intent, JournalError, Transaction},
    system::Root,
};

/// Why an apply was not begun when the agent was paused after the plan.
const PAUSED: &str = "agent.paused";
/// What another one of the group kept from the node.
pub(in crate::reconcile) const HELD_BACK: &str = "group.held_back";

/// What became of an attempt to write.
pub(super) enum Written {
    /// Nothing was to be written.
    Nothing,
    /// Nothing of it stands: somebody paused the agent meanwhile.
    Paused,
    /// All of it stands.
    All,
    /// Nothing of it stands, because of this resource (or of no single one).
    Refused(Vec<(Option<Target>, Fault)>),
}

/// What an apply left in the record.
pub(super) struct Wrote {
    pub(super) during: Ownership,
    pub(super) after: Ownership,
    pub(super) undo: Undo,
    pub(super) due: Due,
}

impl Pass<'_> {
    /// Checks and writes. Returns what LAMPAS owns afterwards, when that changed.
    pub(super) fn write(&self, plan: &HostPlan) -> Result<(Written, Option<Wrote>), JournalError> {
        if plan.is_empty() {
            return Ok((Written::Nothing, None));
        }
        let generation = self.snapshot.goal.state.generation;
        if let Some(faults) = self.bench.follow.spurned(generation, plan.observed) {
            debug!(desired.generation = %generation, "units did not take this generation, and nothing changed since");
            return Ok((Written::Refused(faults), None));
        }
        self.put(plan)
    }

    /// Checks and writes a group, all of it or nothing.
    pub(super) fn put(&self, plan: &HostPlan) -> Result<(Written, Option<Wrote>), JournalError> {
        let generation = self.snapshot.goal.state.generation;
        let faults = host::validate(plan, &self.bench.tools);
        if !faults.is_empty() {
            for (target, fault) in &faults {
                warn!(%target, error = %fault, "the check failed; nothing of its group is written");
            }
            return Ok((Written::Refused(faults.into_iter().map(|(t, f)| (Some(t), f)).collect()), None));
        }
        let mut during = Ownership::clone(&self.snapshot.ownership);
        let (mut is_copied, mut has_begun) = (false, false);
        let result = host::apply(&self.bench.root, plan, &mut |record: &host::Record| {
            // The check of a content may have taken its time.
            if !has_begun && self.bench.book().pause_at(clock::now()).is_some() {
                return Err(Fault::passing(PAUSED, "somebody paused the agent"));
            }
            has_begun = true;
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
            Err(error) if error.fault.code == PAUSED => Ok((Written::Paused, None)),
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
    pub(super) fn take_back(&self, wrote: &Wrote, faults: &[(Option<Target>, Fault)]) -> Result<(), JournalError> {
        roll_back(self.bench, &wrote.during, &wrote.undo);
        self.bench.follow.spurn(self.snapshot.goal.state.generation, faults);
        follow::follow_back(self.bench, &wrote.due)
    }

    /// Proves what stands, and takes it back when the proof says that it failed.
    pub(super) fn judge(
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
        let is_of_apt = |target: &Target| plan.item(target).is_some_and(|i| host::is_source(&i.path));
        let came_first = faults.iter().all(|(target, _)| target.as_ref().is_some_and(is_of_apt));
        let report = |item: &Item| {
            let own = faults.iter().find(|(t, _)| t.as_ref() == Some(&item.target)).map(|(_, f)| f.clone());
            let general = || faults.iter().find(|(t, _)| t.is_none()).map(|(_, f)| f.clone());
            let (state, fault) = match (own, &item.fault, item.verb) {
                (Some(fault), ..) => (ResourceState::Failed, Some(fault)),
                (None, Some(fault), _) => (Item::state_of(fault), Some(fault.clone())),
                (None, None, _) if item.is_drifted => (ResourceState::Drifted, None),
                (None, None, Some(_)) => {
                    let why = if came_first && !host::is_source(&item.path) {
                        "what apt goes by comes first"
                    } else {
                        "the group is all or nothing"
                    };
                    let text = format!("not written, because {why} and {by} failed");
                    let held = Fault { code: HELD_BACK.into(), message: text, retry: any_retry };
                    (ResourceState::Failed, general().or(Some(held)))
                }
                (None, None, None) => (ResourceState::Converged, None),
            };
            ResourceReport { target: item.target.clone(), object: item.object, state, fault, notes: item.notes.clone() }
        };
        plan.items.iter().map(report).collect()
    }
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

/// Puts back what stood before an apply. When that can't be done in full, the intent stays in the journal for the next pass.
pub(super) fn roll_back(bench: &Bench, during: &Ownership, undo: &Undo) -> bool {
    let result = host::roll_back(&bench.root, undo, &mut |record: &host::Record| {
        keep_copy(&bench.root, during, &record.ownership, &mut false)?;
        let mut transaction = Transaction::new();
        transaction.ownership(during, &record.ownership);
        transaction.intent(None);
        let mut book = bench.book();
        book.journal.commit(transaction).map_err(Fault::from)?;
        book.ownership = Arc::new(record.ownership.clone());
        // Who edits a file while an apply fails again and again must not fill the disk with what stood before each.
        if let Err(error) = host::sweep(&bench.root, &book.ownership, &[]) {
            debug!(%error, "originals that nobody needs could not be removed");
        }
        Ok(())
    });
    if let Err(fault) = &result {
        error!(error = %fault, "what was written could not be put back in full; the next pass goes on from there");
        bench.book().ownership = Arc::new(during.clone());
    }
    result.is_ok()
}
