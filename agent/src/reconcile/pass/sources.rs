//! What apt goes by is written first, proven, and stands whatever becomes of the rest: packages wait for it alone.

use std::{collections::BTreeSet, sync::Arc};

use lampas_shared::{
    desired::Resource,
    error::Fault,
    object::Target,
    report::{ResourceReport, ResourceState},
};
use tracing::{debug, info, warn};

use super::{
    Pass, Planned,
    write::{Written, Wrote},
};
use crate::{
    host::{self, HostPlan, Inputs, Item, Ownership},
    journal::{Drift, JournalError, Transaction},
};

/// What is named of what packages wait for.
const MAX_NAMED: usize = 3;

impl Pass<'_> {
    /// Writes what apt goes by. When all of it stands it is in the journal, and the rest is planned anew.
    pub(super) fn write_sources(
        &self,
        plan: &Planned,
        sources: &HostPlan,
        found: &[Drift],
        held: &BTreeSet<Target>,
    ) -> Result<Written, JournalError> {
        let (written, wrote) = self.put(sources)?;
        let Some(wrote) = wrote else { return Ok(written) };
        let failed = self.unproven(sources, &wrote.after, held);
        if !failed.is_empty() {
            warn!(count = failed.len(), "the proof of what apt goes by failed; putting back what stood before");
            self.take_back(&wrote, &failed)?;
            return Ok(Written::Refused(failed));
        }
        self.keep_sources(plan, sources, found, wrote)?;
        info!(desired.generation = %self.snapshot.goal.state.generation, "what apt goes by stands");
        Ok(written)
    }

    /// Reads back what was written.
    fn unproven(&self, sources: &HostPlan, owned: &Ownership, held: &BTreeSet<Target>) -> Vec<(Option<Target>, Fault)> {
        let reports = self.with_inputs(owned, held, |inputs| {
            let plan = host::plan(&self.bench.root, &Inputs { looks: None, ..*inputs });
            let is_written = |r: &&Resource| sources.item(&r.target).is_some();
            let resources: Vec<Resource> = inputs.resources.iter().filter(is_written).cloned().collect();
            host::prove_planned(&self.bench.root, &resources, &plan)
        });
        let failed = reports.into_iter().filter(|r| r.state == ResourceState::Failed);
        failed.filter_map(|r| Some((Some(r.target), r.fault?))).collect()
    }

    /// Journals that it stands.
    fn keep_sources(
        &self,
        plan: &Planned,
        sources: &HostPlan,
        found: &[Drift],
        wrote: Wrote,
    ) -> Result<(), JournalError> {
        let mut transaction = Transaction::new();
        transaction.ownership(&wrote.during, &wrote.after);
        transaction.intent(None);
        let ended = self.end_repaired(plan, sources, found, &mut transaction)?;
        let mut book = self.bench.book();
        book.journal.commit(transaction)?;
        book.ownership = Arc::new(wrote.after);
        book.drifts.retain(|target, _| !ended.contains(target));
        book.reverting.retain(|target, _| !ended.contains(target));
        if let Err(error) = host::sweep(&self.bench.root, &book.ownership, &[]) {
            debug!(%error, "originals that nobody needs could not be removed");
        }
        Ok(())
    }

    /// Returns why packages wait, if they do: of what apt goes by, something doesn't stand.
    pub(super) fn waits(&self, host: &HostPlan, written: &Written) -> Option<Fault> {
        let none = Vec::new();
        let (faults, is_written) = match written {
            Written::Refused(faults) => (faults, false),
            _ => (&none, true),
        };
        let resources: Vec<Resource> = self.snapshot.goal.state.resources().cloned().collect();
        let missing = host.missing_sources(&resources, is_written);
        if missing.is_empty() {
            return None;
        }
        let culprits: Vec<String> = faults.iter().filter_map(|(t, _)| t.as_ref().map(ToString::to_string)).collect();
        let by = if culprits.is_empty() { "its group".to_owned() } else { culprits.join(", ") };
        let why = |item: &&Item| match fault_of(item, faults) {
            Some(fault) => format!("{}: {}", item.path, fault.message),
            None => format!("{} is not written, because {by} failed", item.path),
        };
        let mut whys: Vec<String> = missing.iter().take(MAX_NAMED).map(why).collect();
        if let Some(more) = missing.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            whys.push(format!("and {more} more"));
        }
        let text = format!("waits for the sources, keys and pins of this state: {}", whys.join("; "));
        let retry =
            faults.iter().any(|(_, f)| f.retry) || missing.iter().any(|i| fault_of(i, faults).is_some_and(|f| f.retry));
        Some(Fault { code: "package.waits".into(), message: text, retry })
    }

    /// Says of a group that was refused that it waits, while packages are under way that it may have been refused for: it is
    /// checked again when they are there. What has been told as failed stays so until then.
    pub(super) fn await_packages(&self, host: &HostPlan, written: &Written, reports: &mut [ResourceReport]) {
        let Written::Refused(faults) = written else { return };
        if !host.may_be_mended(faults) {
            return;
        }
        let told = self.bench.book().current.clone();
        let has_failed = |r: &ResourceReport| {
            let before = told.iter().flat_map(|c| &c.resources).find(|b| b.target == r.target);
            before.is_some_and(|b| b.state == ResourceState::Failed)
        };
        let of_host = reports.iter_mut().filter(|r| r.state == ResourceState::Failed && host.item(&r.target).is_some());
        for report in of_host.filter(|r| !has_failed(r)) {
            report.state = ResourceState::Waiting;
            if let Some(fault) = &mut report.fault {
                fault.message.push_str("; it is tried again when the packages of this state are there");
            }
        }
    }
}

/// Why a place does not stand as desired by its own fault.
fn fault_of<'a>(item: &'a Item, faults: &'a [(Option<Target>, Fault)]) -> Option<&'a Fault> {
    let own = faults.iter().find(|(target, _)| target.as_ref() == Some(&item.target)).map(|(_, fault)| fault);
    item.fault.as_ref().or(own)
}
