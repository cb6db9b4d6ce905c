//! What is told of a generation that somebody on the node undid: which of its resources stand otherwise.

use std::sync::Arc;

use lampas_shared::{
    error::Fault,
    report::{Phase, ResourceReport, ResourceState, UNDONE, Verb},
    time::UnixMs,
};

use super::Pass;
use crate::{
    host::{self, HostPlan, Item},
    journal::{Accepted, JournalError, Progress, Stance, Transaction},
};

impl Pass<'_> {
    /// Tells how the generation that is undone stands, once what stood before it stands again.
    pub(super) fn tell_undone(&self) -> Result<(), JournalError> {
        let Some((current, since)) = self.undone() else { return Ok(()) };
        let (plan, mut reports) = self.bench.with_inputs(&current.state, |inputs| {
            let plan = host::plan(&self.bench.root, inputs);
            let reports = host::prove_planned(&self.bench.root, inputs.resources, &plan);
            (plan, reports)
        });
        for report in &mut reports {
            if plan.item(&report.target).is_some_and(differs) {
                (report.state, report.fault) = (ResourceState::Paused, Some(fault(since)));
            }
        }
        reports.extend(stands_again(&plan, since));
        // Packages are not undone: they stand as they were told.
        let is_known = |target| reports.iter().any(|r: &ResourceReport| r.target == target);
        let is_package = |r: &&ResourceReport| r.target.as_str().starts_with("package:");
        let packages: Vec<_> =
            current.resources.iter().filter(is_package).filter(|r| !is_known(r.target.clone())).cloned().collect();
        reports.extend(packages);
        reports.sort_by(|a, b| a.target.cmp(&b.target));
        if reports == current.resources {
            return Ok(());
        }
        let mut book = self.bench.book();
        let is_current = book.current.as_ref().is_some_and(|c| c.state.generation == current.state.generation);
        if !is_current || !matches!(book.stance, Stance::Undone { .. }) {
            return Ok(());
        }
        let accepted = Accepted { resources: reports, ..Accepted::clone(&current) };
        let phase = if accepted.progress == Progress::Confirmed { Phase::Confirmed } else { Phase::Applied };
        let mut transaction = Transaction::new();
        transaction.current(&accepted);
        transaction.report(book.report(&accepted, phase));
        book.journal.commit(transaction)?;
        book.current = Some(Arc::new(accepted));
        drop(book);
        crate::reconcile::snapshot::write(self.bench);
        Ok(())
    }

    /// The generation that is undone, and since when.
    fn undone(&self) -> Option<(Arc<Accepted>, UnixMs)> {
        let book = self.bench.book();
        match (&book.stance, &book.current) {
            (Stance::Undone { generation, since }, Some(current)) if current.state.generation == *generation => {
                Some((current.clone(), *since))
            }
            _ => None,
        }
    }
}

/// Whether going on would change it, and nothing but the undo stands in the way.
fn differs(item: &Item) -> bool {
    item.verb.is_some() && item.fault.is_none() && !item.is_drifted
}

/// What the generation took away, and stands again.
fn stands_again(plan: &HostPlan, since: UnixMs) -> impl Iterator<Item = ResourceReport> {
    plan.items.iter().filter(|i| i.verb == Some(Verb::Remove) && differs(i)).map(move |item| ResourceReport {
        target: item.target.clone(),
        object: item.object,
        state: ResourceState::Paused,
        fault: Some(fault(since)),
        notes: item.notes.clone(),
    })
}

fn fault(since: UnixMs) -> Fault {
    let text =
        format!("undone on the node since {since}; lampas-agent resume there, or a newer change, brings it back");
    Fault::lasting(UNDONE, text)
}
