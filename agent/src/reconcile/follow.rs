//! What follows an apply: units take up what changed, once; a failure takes the whole group back.
//!
//! What is due goes into the journal when all of it stands, before the first unit is touched, and out of it after the
//! last. So a death in between leads to one more reload and never to none: the next start finds the record, puts the
//! files back (the apply was not proven yet), has the units read those, and goes on with the state, which makes its own
//! reactions due again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation},
    error::Fault,
    object::Target,
    report::ResourceReport,
};
use tracing::{info, warn};

use super::Bench;
use crate::{
    host::{self, Due},
    journal::{JournalError, Owed, Transaction},
};

type Told = (Generation, BTreeMap<Target, Vec<String>>);

/// What is remembered of reactions, in memory alone.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// What was done for the generation, in words, by resource: it stays in its reports.
    told: Mutex<Option<Told>>,
    spurned: Mutex<Option<Spurned>>,
}

/// A generation whose units did not take it. It is not tried again before something changes: each try stops and starts
/// what others use.
#[derive(Debug, Clone)]
struct Spurned {
    generation: Generation,
    faults: Vec<(Option<Target>, Fault)>,
    /// What was looked at when it was met again; nothing before that.
    observed: Option<ContentHash>,
}

impl Follow {
    /// Returns why a generation is not tried again, if it isn't.
    pub(super) fn spurned(
        &self,
        generation: Generation,
        observed: ContentHash,
    ) -> Option<Vec<(Option<Target>, Fault)>> {
        let mut slot = self.spurned.lock().unwrap_or_else(PoisonError::into_inner);
        let spurned = slot.as_mut().filter(|s| s.generation == generation);
        let is_same = spurned.as_ref().is_some_and(|s| s.observed.is_none_or(|o| o == observed));
        match spurned {
            Some(spurned) if is_same => {
                spurned.observed = Some(observed);
                Some(spurned.faults.clone())
            }
            _ => {
                *slot = None;
                None
            }
        }
    }

    /// Remembers that units did not take a generation.
    pub(super) fn spurn(&self, generation: Generation, faults: &[(Option<Target>, Fault)]) {
        let is_units = |f: &Fault| f.code.starts_with("service.") || f.code.starts_with("on_change.");
        if faults.iter().any(|(_, fault)| is_units(fault)) {
            let spurned = Spurned { generation, faults: faults.to_vec(), observed: None };
            *self.spurned.lock().unwrap_or_else(PoisonError::into_inner) = Some(spurned);
        }
    }

    /// Forgets that a generation was not taken: somebody asked to try again.
    pub(super) fn forgive(&self) {
        *self.spurned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn tell(&self, generation: Generation, notes: BTreeMap<Target, Vec<String>>) {
        let mut slot = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, all) = slot.get_or_insert_with(|| (generation, BTreeMap::new()));
        if *told != generation {
            (*told, *all) = (generation, BTreeMap::new());
        }
        all.extend(notes);
    }

    /// Adds to the reports of a generation what was done for it.
    pub(super) fn add_to(&self, generation: Generation, reports: &mut [ResourceReport]) {
        let slot = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, notes)) = slot.as_ref().filter(|(told, _)| *told == generation) else { return };
        for report in reports {
            report.notes.extend(notes.get(&report.target).into_iter().flatten().cloned());
        }
    }
}

/// Has units take up what changed. Returns what failed, by resource; nothing is put back then.
///
/// # Errors
/// When the journal can't be written: then no unit was touched.
pub(super) fn follow(
    bench: &Bench,
    generation: Generation,
    due: &Due,
) -> Result<Vec<(Option<Target>, Fault)>, JournalError> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = Transaction::new();
    transaction.owed(Some(&Owed { generation, since: clock::now(), reactions: due.list() }));
    bench.book().journal.commit(transaction)?;
    let reacted = host::react(&bench.root, due);
    let faults: Vec<_> = reacted.faults.into_iter().map(|(target, fault)| (Some(target), fault)).collect();
    if faults.is_empty() {
        bench.follow.tell(generation, reacted.notes);
    }
    Ok(faults)
}

/// Has units take up what was put back, and ends the record.
///
/// # Errors
/// When the journal can't be written.
pub(super) fn follow_back(bench: &Bench, due: &Due) -> Result<(), JournalError> {
    if due.is_empty() {
        return Ok(());
    }
    again(bench, due);
    settle_up(bench)
}

/// Does what a death left undone.
///
/// # Errors
/// When the journal can't be read or written.
pub(super) fn recover(bench: &Bench) -> Result<(), JournalError> {
    let Some(owed) = bench.book().journal.owed()? else { return Ok(()) };
    let list: Vec<String> = owed.reactions.iter().map(ToString::to_string).collect();
    warn!(desired.generation = %owed.generation, units = list.join(", "), "the agent ended between a change and what follows it; doing that again");
    again(bench, &Due::again(owed.reactions));
    settle_up(bench)
}

fn again(bench: &Bench, due: &Due) {
    let reacted = host::react(&bench.root, due);
    match reacted.faults.values().next() {
        // The unit says itself how it is; a state that wants it running finds out.
        Some(fault) => warn!(error = %fault, "a unit did not take up what was put back"),
        None => info!("units took up what was put back"),
    }
}

fn settle_up(bench: &Bench) -> Result<(), JournalError> {
    let mut transaction = Transaction::new();
    transaction.owed(None);
    bench.book().journal.commit(transaction).map(drop)
}
