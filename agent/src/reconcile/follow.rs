//! What follows an apply: units take up what changed, once; a failure takes the whole group back.
//!
//! What is due goes into the journal when all of it stands, before the first unit is touched, and out of it after the
//! last. So a death in between leads to one more reload and never to none: the next start finds the record, puts the
//! files back (the apply was not proven yet), has the units read those, and goes on with the state, which makes its own
//! reactions due again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation},
    error::Fault,
    host::Reaction,
    object::Target,
    report::ResourceReport,
};
use tracing::{info, warn};

use super::Bench;
use crate::{
    host::{self, ChangedPackage, Due, Reacted},
    journal::{JournalError, Owed, Transaction},
};

type Told = (Generation, BTreeMap<Target, Vec<String>>);

/// What is remembered of reactions, in memory alone.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// What was done for the generation, in words, by resource: it stays in its reports.
    told: Mutex<Option<Told>>,
    spurned: Mutex<Option<Spurned>>,
    untaken: Mutex<Untaken>,
}

/// Packages that some unit did not take up, with the version that it was: not tried again before the package has another,
/// or somebody asks. What follows other packages goes on.
#[derive(Debug, Default)]
struct Untaken(BTreeMap<Target, (String, Fault)>);

impl Untaken {
    /// Returns what is due now; forgets what is another version since, or not desired any more.
    fn due(&mut self, changed: &[ChangedPackage], wanted: &BTreeMap<Target, Vec<Reaction>>) -> Due {
        let stands = |target: &Target, version: &str| {
            wanted.contains_key(target) && changed.iter().any(|c| c.target == *target && c.version == version)
        };
        self.0.retain(|target, (version, _)| stands(target, version));
        let mut due = Due::default();
        for package in changed.iter().filter(|c| !self.0.contains_key(&c.target)) {
            // By what is desired today: somebody may have thought better of it, or a policy forbids it.
            let wanted = wanted.get(&package.target).into_iter().flatten();
            for reaction in wanted.filter(|r| package.on_change.contains(r)) {
                due.add(reaction, &package.target);
            }
        }
        due
    }

    /// Takes in what came of it. What failed before and was done now for the sake of another package is done.
    fn take(&mut self, changed: &[ChangedPackage], reacted: &Reacted) {
        let is_done = |reaction: &Reaction| reacted.done.get(&reaction.unit).is_some_and(|v| *v >= reaction.verb);
        for package in changed {
            if let Some(fault) = reacted.faults.get(&package.target) {
                self.0.insert(package.target.clone(), (package.version.clone(), fault.clone()));
            } else if package.on_change.iter().all(is_done) {
                self.0.remove(&package.target);
            }
        }
    }
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
        self.lock_untaken().0.clear();
    }

    fn lock_untaken(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why a unit did not take up a package, if one didn't.
    pub(super) fn untaken(&self, package: &Target) -> Option<Fault> {
        self.lock_untaken().0.get(package).map(|(_, fault)| fault.clone())
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
    owe(bench, generation, due)?;
    let reacted = host::react(&bench.root, due);
    let faults: Vec<_> = reacted.faults.into_iter().map(|(target, fault)| (Some(target), fault)).collect();
    if faults.is_empty() {
        bench.follow.tell(generation, reacted.notes);
    }
    Ok(faults)
}

fn owe(bench: &Bench, generation: Generation, due: &Due) -> Result<(), JournalError> {
    let mut transaction = Transaction::new();
    transaction.owed(Some(&Owed { generation, since: clock::now(), reactions: due.list() }));
    bench.book().journal.commit(transaction).map(drop)
}

/// Has units take up packages that have another version since apt ended. Nothing of packages is put back: a unit that does
/// not take its package is told, and the others go on. `wanted` are the packages that are desired and allowed.
///
/// # Errors
/// When the journal can't be written.
pub(super) fn follow_packages(
    bench: &Bench,
    generation: Generation,
    wanted: impl FnOnce() -> BTreeMap<Target, Vec<Reaction>>,
) -> Result<(), JournalError> {
    if bench.apt.is_busy() {
        return Ok(());
    }
    let changed = match host::changed_packages(&bench.root) {
        Ok(changed) => changed,
        Err(fault) => {
            warn!(error = %fault, "it can't be told which units take up packages");
            return Ok(());
        }
    };
    let wanted = if changed.is_empty() { BTreeMap::new() } else { wanted() };
    let due = bench.follow.lock_untaken().due(&changed, &wanted);
    if !due.is_empty() {
        owe(bench, generation, &due)?;
        let Reacted { mut notes, faults, done } = host::react_each(&bench.root, &due);
        notes.retain(|target, _| !faults.contains_key(target));
        bench.follow.tell(generation, notes);
        bench.follow.lock_untaken().take(&changed, &Reacted { notes: BTreeMap::new(), faults, done });
        settle_up(bench)?;
    }
    let untaken = bench.follow.lock_untaken().0.keys().cloned().collect();
    if let Err(fault) = host::followed(&bench.root, &untaken) {
        warn!(error = %fault, "units take up the same packages once more");
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use lampas_shared::host::PackageName;

    use super::*;

    fn target(name: &str) -> Target {
        Target::package(&PackageName::parse(name).expect("a name"))
    }

    fn reactions(texts: &[&str]) -> Vec<Reaction> {
        texts.iter().map(|t| t.parse().expect("a reaction")).collect()
    }

    fn changed(name: &str, version: &str, on_change: &[&str]) -> ChangedPackage {
        ChangedPackage { target: target(name), version: version.to_owned(), on_change: reactions(on_change) }
    }

    fn wanted(changed: &[ChangedPackage]) -> BTreeMap<Target, Vec<Reaction>> {
        changed.iter().map(|c| (c.target.clone(), c.on_change.clone())).collect()
    }

    fn list(due: &Due) -> Vec<String> {
        due.list().iter().map(ToString::to_string).collect()
    }

    /// What came of it: all is done but for these units.
    fn reacted(due: &Due, failed: &[&str]) -> Reacted {
        let mut reacted = Reacted::default();
        for (reaction, targets) in &due.reactions {
            if failed.contains(&reaction.unit.as_str()) {
                let fault = Fault::lasting("on_change.failed", reaction.unit.to_string());
                reacted.faults.extend(targets.iter().map(|t| (t.clone(), fault.clone())));
            } else {
                reacted.done.insert(reaction.unit.clone(), reaction.verb);
            }
        }
        reacted
    }

    #[test]
    fn a_unit_that_fails_stops_no_other_and_a_newer_version_is_tried() {
        let mut untaken = Untaken::default();
        let one = changed("app", "1.1", &["restart app"]);
        let mut all = vec![one.clone(), changed("web", "2.0", &["reload web"])];
        let due = untaken.due(&all, &wanted(&all));
        assert_eq!(list(&due), ["restart app.service", "reload web.service"]);
        untaken.take(&all, &reacted(&due, &["app.service"]));
        assert_eq!(untaken.0.keys().collect::<Vec<_>>(), [&target("app")]);

        // What is left to do is that of others.
        all = vec![one.clone(), changed("web", "2.1", &["reload web"])];
        let due = untaken.due(&all, &wanted(&all));
        assert_eq!(list(&due), ["reload web.service"]);
        untaken.take(&all, &reacted(&due, &[]));
        assert!(untaken.0.contains_key(&target("app")), "and it still stands");

        let newer = [changed("app", "1.2", &["restart app"])];
        let due = untaken.due(&newer, &wanted(&newer));
        assert_eq!(list(&due), ["restart app.service"]);
        assert!(untaken.0.is_empty());
        untaken.take(&newer, &reacted(&due, &["app.service"]));
        assert!(untaken.due(&newer, &wanted(&newer)).is_empty(), "once");
        // It went back to what it was before: nothing has to be taken up.
        assert!(untaken.due(&[], &BTreeMap::new()).is_empty() && untaken.0.is_empty());
    }

    #[test]
    fn what_another_package_restarted_is_done() {
        let mut untaken = Untaken::default();
        let first = [changed("app", "1.1", &["restart app"])];
        let due = untaken.due(&first, &wanted(&first));
        untaken.take(&first, &reacted(&due, &["app.service"]));
        let reload = [first[0].clone(), changed("plugin", "3", &["reload app"])];
        let due = untaken.due(&reload, &wanted(&reload));
        untaken.take(&reload, &reacted(&due, &[]));
        assert!(untaken.0.contains_key(&target("app")), "a reload is no restart");
        let restart = [first[0].clone(), changed("plugin", "4", &["restart app"])];
        let due = untaken.due(&restart, &wanted(&restart));
        untaken.take(&restart, &reacted(&due, &[]));
        assert!(untaken.0.is_empty());
    }

    #[test]
    fn what_is_not_desired_or_not_allowed_any_more_is_not_done() {
        let mut untaken = Untaken::default();
        let all = [changed("app", "1.1", &["restart app", "reload web"]), changed("gone", "1", &["restart gone"])];
        let today = BTreeMap::from([(target("app"), reactions(&["reload web", "restart other"]))]);
        assert_eq!(list(&untaken.due(&all, &today)), ["reload web.service"]);
    }
}
