//! What an apply would find out too late: places below directories that are not there, or that somebody could swap.

use std::collections::BTreeSet;

use lampas_shared::{error::Fault, host::AptSource, object::Target};

use super::{Planner, Put, Step};
use crate::{
    host::{account, cron, package, service, state},
    system::{Seen, root::PathProblem},
};

/// What is said of a place that a package of the same state may bring: no word against it, as long as that is to come.
pub(in crate::host) const WAITS: &str = "file.waits_for_package";

impl Planner<'_> {
    /// Refuses what could not be written once the directories of this plan stand: their owners could swap it.
    pub(super) fn foresee(&mut self) {
        let made = |s: &Step| match s.put {
            Put::Directory { uid, gid, mode } => Some((s.path.clone(), (uid, gid, mode))),
            _ => None,
        };
        let directories: Vec<_> = self.steps.iter().filter_map(made).collect();
        let mut refused: BTreeSet<Target> = BTreeSet::new();
        for step in self.steps.iter().filter(|s| !s.is_removal) {
            let above =
                directories.iter().filter(|(d, _)| step.path.strip_prefix(d).is_some_and(|r| r.starts_with('/')));
            let Some(error) =
                above.map(|(d, meta)| self.root.foresee(&step.path, d, *meta, step.owner)).find_map(Result::err)
            else {
                continue;
            };
            for item in self.items.iter_mut().filter(|i| step.targets.contains(&i.target)) {
                item.fault.get_or_insert_with(|| error.to_fault());
            }
            refused.extend(step.targets.iter().cloned());
        }
        self.leave_out(&refused);
    }

    /// Writes nothing for what is refused, so that it stops no other.
    fn leave_out(&mut self, refused: &BTreeSet<Target>) {
        self.steps.retain(|s| s.is_removal || !s.targets.iter().any(|t| refused.contains(t)));
        self.checks.retain(|c| !refused.contains(&c.target));
    }

    /// Refuses what has no directory to stand in, and gets none by this plan. What a package that comes along may bring waits
    /// for it.
    pub(super) fn foresee_missing(&mut self) {
        let mut coming: BTreeSet<String> = self.steps.iter().filter_map(|s| made_by(self, s)).collect();
        let mut open: Vec<&Step> = self.steps.iter().filter(|s| needs_directory(s)).collect();
        // What is above comes first.
        open.sort_by(|a, b| a.path.cmp(&b.path));
        let mut missing: Vec<(Vec<Target>, Fault)> = Vec::new();
        for step in open {
            let Some((above, _)) = step.path.rsplit_once('/') else { continue };
            if coming.contains(above) {
                continue;
            }
            let Err(error) = self.root.place(&step.path, step.owner) else { continue };
            if matches!(error.problem, PathProblem::Missing(_)) {
                coming.remove(&step.path);
                missing.push((step.targets.clone(), error.to_fault()));
            }
        }
        if missing.is_empty() {
            return;
        }
        let may_come = package::may_come(self.root, self.inputs.resources);
        for (targets, fault) in &missing {
            let fault = if may_come {
                let text = format!("{}; it waits for the packages of this state, which may bring it", fault.message);
                Fault::passing(WAITS, text)
            } else {
                fault.clone()
            };
            for item in self.items.iter_mut().filter(|i| targets.contains(&i.target)) {
                item.fault.get_or_insert_with(|| fault.clone());
            }
        }
        self.leave_out(&missing.into_iter().flat_map(|(targets, _)| targets).collect());
    }
}

/// The directory that a step makes: its own, or a new account's home.
fn made_by(planner: &Planner<'_>, step: &Step) -> Option<String> {
    match &step.put {
        Put::Directory { .. } => Some(step.path.clone()),
        Put::Account { makes_home: true, .. } => match account::of_place(&step.path)? {
            account::Place::User(name) => planner.accounts.user(name).map(|a| a.home),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a step writes where nothing stands, and the apply makes no directory for it.
fn needs_directory(step: &Step) -> bool {
    let is_written = matches!(step.put, Put::File { .. } | Put::Link { .. } | Put::Directory { .. });
    let has_own = step.crontab_of.is_some()
        || step.path.starts_with(crate::job::JOBS_DIRECTORY)
        || step.path.starts_with(cron::SPOOL)
        || service::directory_of(&step.path).is_some()
        || AptSource::is_key_path(&step.path);
    is_written && !step.is_removal && step.seen == Seen::Absent && state::is_file(&step.path) && !has_own
}
