//! What would change: looks at the disk, writes nothing.

mod foresee;
mod planner;
mod put;
mod reform;
mod shared;
mod sources;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    error::Fault,
    host::{CronTable, UnitName, Validator},
    id::ObjectId,
    object::{Kind, ObjectName, Target},
    report::{Action, NodePlan, ObservedFile, ResourceState, Verb},
};

pub(super) use foresee::WAITS;
pub(super) use planner::Planner;
pub(super) use put::{Put, file_print, fingerprint};
pub(super) use reform::Reform;
pub(super) use shared::{Shared, block_print};
pub(crate) use sources::is_source;
pub(super) use whole::{Settled, Whole, before_of};

use super::{Inputs, Owned, Ownership, account, cron, file, hosts, package, service, state, sudoers, sysctl};
use crate::system::{Root, Seen};

/// What is said of an edit by hand that keeps a change from its place.
const HELD: &str = "nothing is written: it was changed by hand and is held, so that this is not in force here before that is \
                    adopted or reverted (lampasctl drift list)";

/// What would change on a host, as a value.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// One per resource in the order of the desired state, then one per resource that is no longer wanted.
    pub items: Vec<Item>,
    /// A hash over everything that was looked at: it differs when somebody changed something since.
    pub observed: ContentHash,
    pub(super) steps: Vec<Step>,
    pub(super) checks: Vec<Check>,
    /// What sudo would read afterwards, when anything of that changes.
    pub(super) sudoers: Option<sudoers::Set>,
    /// The places in which secrets stand, or will.
    pub(super) secret_paths: BTreeSet<String>,
    pub(super) ownership: Ownership,
}

/// One resource of a plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The file concerned, as the node sees it.
    pub path: String,
    /// What an apply would do; `None` when it stands as desired, is held or can't be done.
    pub verb: Option<Verb>,
    /// Whether what stands there is neither desired nor what LAMPAS left there.
    pub is_drifted: bool,
    /// Whether it is drifted and left so.
    pub is_held: bool,
    /// Whether LAMPAS once left there what is desired now: what stands there may have been made of it.
    pub was_made: bool,
    /// A unified diff from what stands there to what would.
    pub diff: String,
    /// A unified diff from the desired to what stands there; empty unless drifted.
    pub drift_diff: String,
    /// What stands there; `None` when nothing does, or when a file stands as desired.
    pub observed: Option<ObservedFile>,
    /// What tells this finding from another where the place is not the resource's alone; elsewhere `observed` does.
    pub mark: Option<ContentHash>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Why it can't be done; an apply leaves it out.
    pub fault: Option<Fault>,
}

/// One place that an apply writes, or only takes into its record.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) path: String,
    pub(super) targets: Vec<Target>,
    pub(super) put: Put,
    pub(super) seen: Seen,
    /// The uid that may own ancestors besides root: the content's own.
    pub(super) owner: u32,
    /// What is owned there afterwards; `None` lets go.
    pub(super) owned: Option<Owned>,
    pub(super) is_removal: bool,
    pub(super) is_shared: bool,
    pub(super) crontab_of: Option<String>,
    /// What somebody made by hand and would be lost.
    pub(super) by_hand: Option<Vec<u8>>,
    /// What comes back when the object goes, where that never stood in the place by itself.
    pub(super) keeps: Option<Vec<u8>>,
    /// The fingerprint of what the step leaves.
    pub(super) leaves: ContentHash,
}

/// A content to be checked before it lands.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) target: Target,
    pub(super) path: String,
    pub(super) how: How,
    pub(super) bytes: Vec<u8>,
}

/// How a content is checked.
#[derive(Debug, Clone)]
pub(super) enum How {
    /// As its object says.
    Validator(Validator),
    /// As a unit of systemd, or as what is changed about one.
    Unit {
        unit: UnitName,
        /// The unit's own file, for what is changed about it; `None` when that is what is checked.
        base: Option<Vec<u8>>,
    },
}

impl Item {
    fn to_action(&self) -> Action {
        Action {
            target: self.target.clone(),
            object: self.object,
            kind: self.kind,
            name: self.name.clone(),
            verb: self.verb.unwrap_or(if self.observed.is_some() { Verb::Update } else { Verb::Create }),
            path: self.path.clone(),
            diff: self.diff.clone(),
            notes: self.notes.clone(),
            fault: self.fault.clone(),
        }
    }

    /// Returns how the resource stands that this fault keeps from being done.
    pub(crate) fn state_of(fault: &Fault) -> ResourceState {
        if fault.code == WAITS { ResourceState::Waiting } else { ResourceState::Blocked }
    }
}

impl HostPlan {
    /// Returns whether an apply would do nothing, not even change the record.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes what only changes the record out of a plan of packages.
    pub(crate) fn take_records(&mut self, packages: &mut super::PackagePlan) {
        self.steps.extend(packages.take_records());
    }

    /// Returns the plan as the controller is told of it.
    pub fn to_node_plan(&self, desired: ContentHash) -> NodePlan {
        NodePlan { desired, observed: self.observed, actions: self.actions() }
    }

    /// Returns what would be done and what can't be, removals first.
    pub fn actions(&self) -> Vec<Action> {
        let mut items: Vec<&Item> = self.items.iter().filter(|i| i.verb.is_some() || i.fault.is_some()).collect();
        items.sort_by_key(|i| i.verb != Some(Verb::Remove));
        items.into_iter().map(Item::to_action).collect()
    }

    /// Returns what a state wants otherwise than the one before, and gets not, since an edit by hand is held there.
    pub(crate) fn held_back(&self, is_moved: impl Fn(&Target) -> bool) -> Vec<Action> {
        let held = self.items.iter().filter(|i| i.is_held && i.fault.is_none() && is_moved(&i.target));
        let told = |item: &Item| {
            let mut action = item.to_action();
            action.notes.push(HELD.to_owned());
            action
        };
        held.map(told).collect()
    }

    /// Returns the item of a target.
    pub fn item(&self, target: &Target) -> Option<&Item> {
        self.items.iter().find(|i| i.target == *target)
    }
}

/// Plans the host group: reads the disk, writes nothing.
pub fn plan(root: &Root, inputs: &Inputs<'_>) -> HostPlan {
    plan_with(Planner::new(root, *inputs), inputs)
}

fn plan_with(mut planner: Planner<'_>, inputs: &Inputs<'_>) -> HostPlan {
    let mut hosts_lines: Vec<(&Resource, Option<Fault>)> = Vec::new();
    let mut crontabs: BTreeMap<&str, Vec<(&Resource, Option<Fault>)>> = BTreeMap::new();
    let judge = |r: &Resource| (inputs.judge)(r).or_else(|| inputs.secrets?.fault(&r.target));
    account::plan(&mut planner, inputs.resources, &judge);
    for resource in inputs.resources {
        let refused = (inputs.judge)(resource).or_else(|| inputs.secrets?.fault(&resource.target));
        match &resource.spec {
            Spec::Hosts { .. } => hosts_lines.push((resource, refused)),
            Spec::Cron(job) if job.table == CronTable::User => {
                let fault = refused.or_else(|| cron::fault(&planner, job));
                cron::plan_job_file(&mut planner, resource, job, fault.is_some());
                crontabs.entry(job.user.as_str()).or_default().push((resource, fault));
            }
            Spec::Cron(job) => {
                let fault = refused.or_else(|| cron::fault(&planner, job));
                cron::plan_job_file(&mut planner, resource, job, fault.is_some());
                cron::plan_system(&mut planner, resource, job, fault);
            }
            Spec::File { .. } | Spec::Directory { .. } | Spec::Link { .. } => {
                file::plan(&mut planner, resource, refused);
            }
            Spec::Kernel { key, value } => sysctl::plan(&mut planner, resource, key, value, refused),
            Spec::Unit { unit, aspect, is_so } => {
                service::plan(&mut planner, resource, unit, (*aspect, *is_so), refused);
            }
            // Whoever plans has put it together.
            Spec::Sealed(_) => planner.leave_unsupported(resource, "sealed"),
            // Planned before, so that files can be theirs; packages are a group of their own.
            Spec::User { .. }
            | Spec::Keys { .. }
            | Spec::Password { .. }
            | Spec::Group { .. }
            | Spec::Members { .. }
            | Spec::Package { .. } => {}
            Spec::Unsupported { kind, .. } => planner.leave_unsupported(resource, kind),
        }
    }
    let hosts_owned = inputs.owned.places.contains_key(hosts::PATH);
    if !hosts_lines.is_empty() || hosts_owned {
        hosts::plan(&mut planner, &hosts_lines);
    }
    let users: BTreeSet<&str> =
        inputs.owned.places.keys().filter_map(|p| cron::user_of(p)).chain(crontabs.keys().copied()).collect();
    for user in users {
        cron::plan_user(&mut planner, user, crontabs.get(user).map_or(&[], Vec::as_slice));
    }
    planner.visited.extend(inputs.owned.places.keys().filter(|p| package::is_place(p)).cloned());
    planner.plan_leftovers();
    sudoers::foresee(&mut planner);
    planner.finish()
}

/// Looks at one resource as the node has it, for the controller.
pub fn observe(root: &Root, inputs: &Inputs<'_>, target: &Target) -> Result<Option<ObservedFile>, Fault> {
    if package::is_place(target.as_str()) {
        return package::observe(root, inputs, target);
    }
    let mut planner = Planner::new(root, Inputs { looks: None, ..*inputs });
    planner.describes_all = true;
    let found = plan_with(planner, inputs).items.into_iter().find(|i| i.target == *target);
    let unknown = || Fault::lasting("target.unknown", format!("this node has no resource {target}"));
    let item = found.ok_or_else(unknown)?;
    match (item.observed, item.fault) {
        (None, Some(fault)) if fault.code.starts_with("file.") => Err(fault),
        (observed, _) => Ok(observed),
    }
}

/// Returns the paths whose changes matter: what to watch for drift.
pub fn watched(inputs: &Inputs<'_>) -> BTreeSet<String> {
    let is_own = |path: &str| path.starts_with(crate::job::JOBS_DIRECTORY);
    inputs.owned.places.keys().filter(|p| state::is_file(p) && !is_own(p)).cloned().collect()
}
