//! Packages, through apt and dpkg: a group of their own.
//!
//! A package is a place that is no file (`package:nginx`): it reads as a small text, so that plan, drift and what LAMPAS
//! made are those of files. What is to be done is one transaction of apt, rehearsed while planning, so that the plan says
//! what else would come or go. It runs in a process of its own ([`shim`]): files and jobs don't wait for it, a failed one
//! holds up nothing else, and the agent's end does not end it. It can't be undone, and the plan says so beforehand; nothing of it is rolled back.
//!
//! New services don't start while their packages are installed ([`shield`]): what runs is the business of other objects.
//! Below `--root DIR` apt and dpkg work on DIR's own database, lists and sources.

mod apt;
mod follow;
mod rehearse;
mod shield;
mod shim;
mod source;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::package::{Known, Package, Stage, native_architecture, status};
use lampas_shared::{
    desired::{ContentHash, GroupKind, Resource, Spec},
    error::Fault,
    host::{self, PackageEnsure},
    object::Target,
    report::{ObservedFile, ResourceReport, ResourceState, Verb},
};
use serde::{Deserialize, Serialize};

pub use follow::{ChangedPackage, changed_packages, followed, note_follows};
pub use shim::serve as serve_packages;
#[cfg(test)]
pub(super) use shim::tests::helper as packages_helper;
pub use worker::Apt;

use super::{
    Before, HostPlan, Inputs, Item, Ownership,
    account::Instead,
    apply,
    plan::{Planner, Put, Step, Whole, fingerprint},
    state,
};
use crate::system::{Modified, Root, Seen};

/// What the path of such a place begins with.
const PLACE: &str = "package:";
/// dpkg's own database.
pub const STATUS: &str = "/var/lib/dpkg/status";
/// A full desktop has some 5 MiB.
const MAX_STATUS: u64 = 64 << 20;
/// What is said beside everything that is done to packages.
const NO_WAY_BACK: &str = "packages can't be undone: reverting this change leaves what its scripts did";

/// What would change about packages.
#[derive(Debug, Clone)]
pub struct PackagePlan {
    /// The resources, and what only changes the record.
    pub plan: HostPlan,
    /// The transaction of apt that would be run.
    pub(super) work: Option<Work>,
    /// Sources whose lists could not be fetched, and why, in apt's words.
    unfetched: BTreeMap<Target, Fault>,
}

/// One transaction of apt, as it was rehearsed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Work {
    /// What is installed: `name` or `name=version`.
    pub(super) installs: BTreeSet<String>,
    /// What is removed.
    pub(super) removals: BTreeSet<String>,
    /// What is purged afterwards.
    pub(super) purges: BTreeSet<String>,
    /// What is held from then on, and what isn't.
    pub(super) holds: BTreeMap<String, bool>,
    /// Everything that may go.
    pub(super) may_go: BTreeSet<String>,
    /// Whether recommended packages come along.
    pub(super) recommends: bool,
    /// Whether an earlier version takes the place of a later one.
    pub(super) downgrades: bool,
    /// Whether the lists are fetched first: they don't know what is wanted.
    pub(super) refreshes: bool,
    /// Whether dpkg has something to end that was cut off.
    pub(super) repairs: bool,
    /// The sources whose lists are fetched first, and what they are.
    #[serde(default, rename = "source_files")]
    pub(super) sources: BTreeMap<String, source::Files>,
}

/// How the packages that are not as desired stand.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Nothing is done for now: the agent is paused, or only observes.
    Paused,
    /// They wait for what apt goes by, and why.
    Waiting(Fault),
    /// They are being seen to.
    Applying,
    /// The last attempt failed.
    Failed(Fault),
}

impl PackagePlan {
    /// Returns whether apt has something to do.
    pub fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// Returns what LAMPAS owns while the transaction is under way: what it owned, and what it is about to.
    pub fn during(&self, root: &Root, ownership: &Ownership) -> Ownership {
        let mut during = ownership.clone();
        for step in self.plan.steps.iter().filter(|s| s.put != Put::Keep && s.owned.is_some()) {
            apply::intend(root, &mut during, step);
        }
        during
    }

    /// Takes out what changes the record alone, to be journalled with the host's.
    pub(super) fn take_records(&mut self) -> Vec<Step> {
        let (records, rest) = std::mem::take(&mut self.plan.steps).into_iter().partition(|s| s.put == Put::Keep);
        self.plan.steps = rest;
        records
    }

    /// Returns why the lists of a source could not be fetched, if they could not be.
    pub fn unfetched(&self, target: &Target) -> Option<&Fault> {
        self.unfetched.get(target)
    }

    /// Reports on every package that is desired, and on what can't go.
    pub fn reports(&self, resources: &[Resource], standing: &Standing) -> Vec<ResourceReport> {
        let wanted = resources.iter().filter(|r| is_package(r)).map(|r| (&r.target, r.object));
        let left = self.plan.items.iter().filter(|i| i.fault.is_some()).map(|i| (&i.target, i.object));
        let all: BTreeMap<&Target, _> = left.chain(wanted).collect();
        let report = |(target, object)| {
            let item = self.plan.item(target);
            let (state, fault) = match item {
                Some(Item { fault: Some(fault), .. }) => (ResourceState::Blocked, Some(fault.clone())),
                Some(Item { is_drifted: true, is_held: true, .. }) => (ResourceState::Drifted, None),
                Some(Item { verb: Some(_), .. }) => match standing {
                    Standing::Paused => (ResourceState::Paused, None),
                    Standing::Waiting(fault) => (ResourceState::Waiting, Some(fault.clone())),
                    Standing::Applying => (ResourceState::Applying, None),
                    Standing::Failed(fault) => (ResourceState::Failed, Some(fault.clone())),
                },
                _ => (ResourceState::Converged, None),
            };
            let notes = item.map(|i| i.notes.clone()).unwrap_or_default();
            ResourceReport { target: target.clone(), object, state, fault, notes }
        };
        all.into_iter().map(report).collect()
    }
}

/// Returns whether a resource is one of this group.
pub(super) fn is_package(resource: &Resource) -> bool {
    GroupKind::of(resource.kind) == GroupKind::Packages
}

/// Returns whether a place is one of this group.
pub(super) fn is_place(path: &str) -> bool {
    path.starts_with(PLACE)
}

/// What dpkg knows.
struct Installed(BTreeMap<String, Package>);

impl Installed {
    fn read(root: &Root) -> Result<Self, Fault> {
        let bytes = root.read(STATUS, MAX_STATUS).map_err(|e| e.to_fault())?;
        let none = || Fault::lasting("package.no_dpkg", "this node has no dpkg: packages can't be managed on it");
        let text = String::from_utf8_lossy(&bytes.ok_or_else(none)?).into_owned();
        let native = native_architecture(&text).unwrap_or(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        });
        Ok(Self(status(&text, native)))
    }

    fn see(&self, name: &str) -> Seen {
        self.0.get(name).map_or(Seen::Absent, |package| state::seen(&package.to_text()))
    }

    fn is_at(&self, name: &str) -> Option<&Package> {
        self.0.get(name).filter(|p| p.stage == Stage::Installed)
    }
}

/// Returns whether a package of these is still to be installed: it may bring directories, and what checks files.
pub(super) fn may_come(root: &Root, resources: &[Resource]) -> bool {
    let mut wanted = resources.iter().filter_map(|r| match &r.spec {
        Spec::Package { name, want } if want.ensure == PackageEnsure::Present => Some(name.as_str()),
        _ => None,
    });
    let Some(first) = wanted.next() else { return false };
    Installed::read(root).is_ok_and(|found| std::iter::once(first).chain(wanted).any(|n| found.is_at(n).is_none()))
}

/// Looks at such a place.
///
/// # Errors
/// When dpkg's database can't be read.
pub(super) fn look(root: &Root, path: &str) -> Result<Seen, Fault> {
    Ok(Installed::read(root)?.see(path.strip_prefix(PLACE).unwrap_or(path)))
}

/// Looks at one package as the node has it, for the controller.
pub(super) fn observe(root: &Root, inputs: &Inputs<'_>, target: &Target) -> Result<Option<ObservedFile>, Fault> {
    let seen = look(root, target.as_str())?;
    Ok(Planner::new(root, *inputs).describe(&seen))
}

/// Plans the group of packages: reads the disk, asks apt, writes nothing. `None` when there is nothing to look at.
pub fn plan(root: &Root, inputs: &Inputs<'_>, apt: &Apt) -> Option<PackagePlan> {
    let resources: Vec<&Resource> = inputs.resources.iter().filter(|r| is_package(r)).collect();
    let mut owned = inputs.owned.clone();
    owned.places.retain(|path, _| is_place(path));
    let source::Sources { pending, faults: unfetched } =
        source::Sources::of(root, inputs.resources, inputs.judge, inputs.held);
    if resources.is_empty() && owned.places.is_empty() && pending.is_empty() {
        return None;
    }
    let installed = Installed::read(root).and_then(|found| apt::is_there().map(|()| found));
    let installed = match installed {
        Ok(installed) => installed,
        Err(fault) => {
            let mut planner = Planner::new(root, Inputs { owned: &owned, looks: None, ..*inputs });
            for resource in resources {
                planner.refuse(resource, resource.target.as_str(), fault.clone());
            }
            return Some(PackagePlan { plan: planner.finish(), work: None, unfetched });
        }
    };
    // What an installation left half done is nobody's change by hand.
    for (path, place) in &mut owned.places {
        let name = path.strip_prefix(PLACE).unwrap_or(path);
        if installed.0.get(name).is_some_and(|p| p.stage == Stage::Broken) {
            place.known.insert(fingerprint(root, &installed.see(name), false));
        }
    }
    let planner = Planner::new(root, Inputs { owned: &owned, looks: None, ..*inputs });
    let mut planning =
        Planning { planner, installed: &installed, apt, wanted: BTreeMap::new(), unknown: BTreeSet::new() };
    planning.plan(&resources);
    let Planning { planner, wanted, unknown, .. } = planning;
    let mut plan = planner.finish();
    let work = rehearse::rehearse(root, &mut plan, &installed, &wanted, &unknown, apt);
    for item in plan.items.iter_mut().filter(|i| i.verb.is_some() && i.fault.is_none()) {
        item.notes.push(NO_WAY_BACK.to_owned());
    }
    let work = match work {
        work if pending.is_empty() => work,
        Some(work) => Some(Work { sources: pending, ..work }),
        None => Some(Work { sources: pending, recommends: true, ..Work::default() }),
    };
    Some(PackagePlan { plan, work, unfetched })
}

/// Returns whether apt's lists say what becomes of a package: it is to come, or may become another version.
fn needs_lists(installed: &Installed, resource: &Resource) -> bool {
    let Spec::Package { name, want } = &resource.spec else { return false };
    let exact = want.version.as_ref().and_then(|v| v.exact());
    want.ensure == PackageEnsure::Present
        && match (installed.is_at(name.as_str()), &want.version) {
            (Some(package), Some(_)) => exact != Some(package.version.as_str()),
            (Some(_), None) => false,
            (None, _) => true,
        }
}

struct Planning<'a> {
    planner: Planner<'a>,
    installed: &'a Installed,
    apt: &'a Apt,
    wanted: BTreeMap<String, &'a host::Package>,
    /// What apt's lists don't know.
    unknown: BTreeSet<String>,
}

impl<'a> Planning<'a> {
    fn plan(&mut self, resources: &[&'a Resource]) {
        let asked: BTreeSet<String> = resources
            .iter()
            .filter(|r| needs_lists(self.installed, r))
            .filter_map(|r| match &r.spec {
                Spec::Package { name, .. } => Some(name.to_string()),
                _ => None,
            })
            .collect();
        let known = if asked.is_empty() { Ok(BTreeMap::new()) } else { self.apt.known(self.planner.root, &asked) };
        for resource in resources {
            let Spec::Package { name, want } = &resource.spec else { continue };
            let path = format!("{PLACE}{name}");
            let refused = (self.planner.inputs.judge)(resource);
            let is_asked = asked.contains(name.as_str());
            let fault = refused.or_else(|| known.as_ref().err().filter(|_| is_asked).cloned());
            if let Some(fault) = fault {
                self.planner.refuse(resource, &path, fault);
                continue;
            }
            let lists = known.as_ref().ok().and_then(|k| k.get(name.as_str()));
            self.one(resource, path, name.as_str(), want, lists);
        }
        for path in self.planner.inputs.owned.places.keys() {
            let name = path.strip_prefix(PLACE).unwrap_or(path);
            self.planner.given.insert(path.clone(), self.installed.see(name));
        }
        self.planner.plan_leftovers();
    }

    fn one(&mut self, resource: &Resource, path: String, name: &str, want: &'a host::Package, lists: Option<&Known>) {
        let seen = self.installed.see(name);
        let mut notes = Vec::new();
        let put = match want.ensure {
            PackageEnsure::Purged => Put::Gone,
            // What was removed may leave its configuration.
            PackageEnsure::Absent => match self.installed.0.get(name) {
                Some(package) if package.stage == Stage::ConfigFiles => text_put(&package.to_text()),
                _ => Put::Gone,
            },
            PackageEnsure::Present => {
                let standing = self.installed.is_at(name);
                let exact = want.version.as_ref().and_then(|v| v.exact());
                let candidate = lists.and_then(|l| l.candidate.clone());
                let version = match (exact, standing, &want.version) {
                    (Some(exact), ..) => Some(exact.to_owned()),
                    (None, Some(package), None) => Some(package.version.clone()),
                    // The latest is what the lists know; without them what stands will do.
                    (None, Some(package), Some(_)) => candidate.or_else(|| Some(package.version.clone())),
                    (None, None, _) => candidate,
                };
                let is_standing = standing.is_some_and(|p| Some(&p.version) == version.as_ref());
                let is_known = lists.is_some_and(|l| exact.is_none_or(|e| l.versions.iter().any(|v| v == e)));
                if !is_standing && !is_known {
                    self.unknown.insert(name.to_owned());
                    notes.push("apt's lists on this node don't know it; they are fetched first".to_owned());
                }
                let is_held = want.held.unwrap_or_else(|| standing.is_some_and(|p| p.is_held));
                let (stage, is_essential) = (Stage::Installed, false);
                let version = version.unwrap_or_else(|| "(as the lists will say)".to_owned());
                text_put(&Package { stage, version, is_held, is_essential }.to_text())
            }
        };
        self.wanted.insert(name.to_owned(), want);
        self.planner.given.insert(path.clone(), seen);
        let goes = want.ensure != PackageEnsure::Present;
        self.planner.whole(Whole {
            resource,
            path: path.clone(),
            put,
            owner: 0,
            is_inner: false,
            is_single: false,
            notes,
        });
        if let Some(item) = self.planner.items.last_mut().filter(|i| i.target == resource.target) {
            item.notes.retain(|note| !note.contains("comes back when this object goes"));
        }
        // What goes by an object's own word doesn't come back with the object's end.
        if goes {
            for step in self.planner.steps.iter_mut().filter(|s| s.path == path) {
                if let Some(owned) = &mut step.owned {
                    owned.before = Before::Absent;
                }
            }
            let owned = self.planner.inputs.owned.places.get(&path);
            self.planner.steps.retain(|s| s.path != path || s.put != Put::Keep || s.owned.as_ref() != owned);
        }
    }
}

fn text_put(text: &str) -> Put {
    let bytes = text.as_bytes().to_vec();
    Put::File { bytes, uid: 0, gid: 0, mode: 0o644, xattrs: BTreeMap::new(), modified: Modified::Now }
}

/// Decides about a package whose object went: what LAMPAS installed goes; what stood before stays as it is.
pub(super) fn keep_instead(path: &str, put: &Put, seen: &Seen) -> Option<Instead> {
    if !is_place(path) {
        return None;
    }
    match (put, seen) {
        (Put::Gone, Seen::File { bytes, .. }) if Package::parse_text(&String::from_utf8_lossy(bytes)).is_some() => None,
        (Put::Gone, _) => Some(Instead::LetGo("it is not installed any more")),
        _ => Some(Instead::LetGo("it stood before LAMPAS, and stays as it is")),
    }
}

/// Makes one hash of what was looked at in both groups.
pub fn observed(host: &HostPlan, packages: Option<&PackagePlan>) -> ContentHash {
    match packages {
        None => host.observed,
        Some(packages) => {
            let both = [host.observed.as_bytes().as_slice(), packages.plan.observed.as_bytes()].concat();
            ContentHash::of(&both)
        }
    }
}

/// Whether an item is to be seen to by apt.
fn is_open(item: &Item) -> bool {
    item.verb.is_some() && item.fault.is_none() && !item.is_held
}

/// Drops an item from what is done, and says why.
fn block(plan: &mut HostPlan, path: &str, fault: &Fault) {
    for item in plan.items.iter_mut().filter(|i| i.path == path) {
        item.fault = Some(fault.clone());
        item.verb = item.verb.filter(|v| *v != Verb::Remove);
    }
    plan.steps.retain(|s| s.path != path);
}
