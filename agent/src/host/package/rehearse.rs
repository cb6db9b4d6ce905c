//! Rehearses a transaction, so that the plan says what else comes and goes, and whose fault it is when it can't be.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::package::{Rehearsal, Stage};
use lampas_shared::{
    error::Fault,
    host::{self, PackageEnsure},
};

use super::{Apt, Installed, PLACE, Work, block, is_open};
use crate::{
    host::{HostPlan, plan::Put},
    system::Root,
};

/// How many names of packages one note says.
const MAX_NAMES: usize = 12;

type Wanted<'a> = BTreeMap<String, &'a host::Package>;

/// Makes the transaction of what is open in a plan; what can't be done is blocked there.
pub(super) fn rehearse(
    root: &Root,
    plan: &mut HostPlan,
    installed: &Installed,
    wanted: &Wanted<'_>,
    unknown: &BTreeSet<String>,
    apt: &Apt,
) -> Option<Work> {
    let open: Vec<String> = plan.items.iter().filter(|i| is_open(i)).map(|i| i.path.clone()).collect();
    let mut names: Vec<String> = open.iter().filter_map(|p| p.strip_prefix(PLACE)).map(str::to_owned).collect();
    if names.is_empty() {
        return None;
    }
    // Those whose recommended packages stay away have a transaction of their own, after the others'.
    let recommends = |n: &String| wanted.get(n).is_none_or(|w| w.recommends);
    if names.iter().any(recommends) {
        names.retain(recommends);
    }
    let mut work = work_of(&names, plan, installed, wanted, unknown);
    if work.installs.is_empty() && work.removals.is_empty() {
        return Some(work);
    }
    let known = |work: &Work| Work {
        installs: work.installs.iter().filter(|i| !unknown.contains(name_of(i))).cloned().collect(),
        ..work.clone()
    };
    let whole = apt.rehearse(root, &known(&work));
    let found = match whole {
        Ok(found) if strangers(&found, &work).is_empty() => found,
        _ => {
            blame(root, plan, &names, installed, wanted, unknown, apt);
            names.retain(|n| plan.items.iter().any(|i| i.path == format!("{PLACE}{n}") && is_open(i)));
            names.retain(|n| plan.steps.iter().any(|s| s.path == format!("{PLACE}{n}") && s.put != Put::Keep));
            if names.is_empty() {
                return None;
            }
            work = work_of(&names, plan, installed, wanted, unknown);
            match apt.rehearse(root, &known(&work)) {
                Ok(found) => found,
                // Each can be had, and not all of them together.
                Err(fault) => {
                    for n in &names {
                        block(plan, &format!("{PLACE}{n}"), &fault);
                    }
                    return None;
                }
            }
        }
    };
    let others = strangers(&found, &work);
    let may_remove = names.iter().any(|n| wanted.get(n).is_some_and(|w| w.allow_removals));
    if let Some(fault) = forbidden(&others, installed, may_remove, "these packages together") {
        for n in &names {
            block(plan, &format!("{PLACE}{n}"), &fault);
        }
        return None;
    }
    work.may_go.extend(others.iter().cloned());
    tell(plan, &names, &found, &others);
    Some(work)
}

/// Rehearses each package by itself, and blocks those that can't be had.
fn blame(
    root: &Root,
    plan: &mut HostPlan,
    names: &[String],
    installed: &Installed,
    wanted: &Wanted<'_>,
    unknown: &BTreeSet<String>,
    apt: &Apt,
) {
    for name in names.iter().filter(|n| !unknown.contains(*n)) {
        let path = format!("{PLACE}{name}");
        let work = work_of(std::slice::from_ref(name), plan, installed, wanted, unknown);
        if work.installs.is_empty() && work.removals.is_empty() {
            continue;
        }
        let (others, fault) = match apt.rehearse(root, &work) {
            Err(fault) => (BTreeSet::new(), Some(fault)),
            Ok(found) => {
                let others = strangers(&found, &work);
                let may_remove = wanted.get(name).is_some_and(|w| w.allow_removals);
                let fault = forbidden(&others, installed, may_remove, name);
                (others, fault)
            }
        };
        let Some(fault) = fault else { continue };
        if wanted.contains_key(name) {
            block(plan, &path, &fault);
            continue;
        }
        // Its object went, and others need it: it is theirs from here on.
        let text = format!("it stays, since {} would go with it", list(&others));
        for item in plan.items.iter_mut().filter(|i| i.path == path) {
            item.notes.push(text.clone());
            item.diff = String::new();
        }
        for step in plan.steps.iter_mut().filter(|s| s.path == path) {
            step.put = Put::Keep;
        }
    }
}

fn work_of(
    names: &[String],
    plan: &HostPlan,
    installed: &Installed,
    wanted: &Wanted<'_>,
    unknown: &BTreeSet<String>,
) -> Work {
    let mut work = Work { recommends: true, ..Work::default() };
    work.repairs = installed.0.values().any(|p| p.stage == Stage::Broken);
    for name in names {
        let path = format!("{PLACE}{name}");
        if !plan.steps.iter().any(|s| s.path == path && s.put != Put::Keep) {
            continue;
        }
        let standing = installed.0.get(name);
        let is_installed = standing.is_some_and(|p| p.stage != Stage::ConfigFiles);
        let Some(want) = wanted.get(name) else {
            work.removals.insert(name.clone());
            work.may_go.insert(name.clone());
            continue;
        };
        work.recommends &= want.recommends;
        if want.ensure != PackageEnsure::Present {
            if is_installed {
                work.removals.insert(name.clone());
                work.may_go.insert(name.clone());
            }
            if want.ensure == PackageEnsure::Purged {
                work.purges.insert(name.clone());
            }
            continue;
        }
        let exact = want.version.as_ref().and_then(|v| v.exact());
        let is_met = standing.is_some_and(|p| {
            p.stage == Stage::Installed
                && exact.is_none_or(|e| e == p.version)
                && want.version.as_ref().is_none_or(|v| v.exact().is_some())
        });
        if !is_met {
            work.installs.insert(exact.map_or_else(|| name.clone(), |version| format!("{name}={version}")));
            work.refreshes |= unknown.contains(name);
            work.downgrades |= exact.is_some() && is_installed;
        }
        // A package that is held is let go for what its own object asks, and held again.
        let is_held = standing.is_some_and(|p| p.is_held);
        match want.held {
            Some(held) => drop(work.holds.insert(name.clone(), held)),
            None if is_held && !is_met => drop(work.holds.insert(name.clone(), true)),
            None => {}
        }
    }
    work
}

fn name_of(install: &str) -> &str {
    install.split('=').next().unwrap_or(install)
}

/// What would go and nobody asked for.
fn strangers(found: &Rehearsal, work: &Work) -> BTreeSet<String> {
    let plain = |name: &String| name.split(':').next().unwrap_or(name).to_owned();
    let asked = |name: &&String| work.removals.contains(*name) || work.removals.contains(&plain(name));
    found.removals.keys().filter(|n| !asked(n)).cloned().collect()
}

fn forbidden(others: &BTreeSet<String>, installed: &Installed, may_remove: bool, what: &str) -> Option<Fault> {
    let essential: BTreeSet<String> =
        others.iter().filter(|n| installed.0.get(*n).is_some_and(|p| p.is_essential)).cloned().collect();
    if !essential.is_empty() {
        let text = format!("{what} would take {} away, without which the system doesn't work", list(&essential));
        return Some(Fault::lasting("package.removes_essential", text));
    }
    (!others.is_empty() && !may_remove).then(|| {
        let text = format!("for {what} these would go: {}; allow_removals = true lets them", list(others));
        Fault::lasting("package.removes_others", text)
    })
}

/// Says at each package what the transaction does besides.
fn tell(plan: &mut HostPlan, names: &[String], found: &Rehearsal, others: &BTreeSet<String>) {
    let plain = |name: &String| name.split(':').next().unwrap_or(name).to_owned();
    let (mut comes, mut changes) = (BTreeSet::new(), BTreeSet::new());
    for (name, (before, after)) in
        found.installs.iter().filter(|(n, _)| !names.contains(n) && !names.contains(&plain(n)))
    {
        match before {
            None => comes.insert(format!("{name} {after}")),
            Some(before) => changes.insert(format!("{name} {before} → {after}")),
        };
    }
    let mut notes = Vec::new();
    for (what, set) in [("also comes", &comes), ("also changes", &changes), ("also goes", others)] {
        notes.extend((!set.is_empty()).then(|| format!("{what}: {}", list(set))));
    }
    let paths: BTreeSet<String> = names.iter().map(|n| format!("{PLACE}{n}")).collect();
    for item in plan.items.iter_mut().filter(|i| paths.contains(&i.path) && is_open(i)) {
        item.notes.extend(notes.iter().cloned());
    }
}

fn list(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
