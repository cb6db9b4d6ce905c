//! Looks again after an apply: the bytes on the disk, and the effect where it can be shown.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    object::{Kind, Target},
    report::{ResourceReport, ResourceState},
};

use super::{HostPlan, Inputs, Item, account, cron, cron::Effects, hosts, package, plan, service, sudoers, sysctl};
use crate::system::Root;

/// Reports on every desired resource, in their order: what is in force, and why what isn't is not; then on what is no
/// longer wanted and can't be removed. Reads every file. `inputs` may hold the ownership from before or after the apply.
pub fn prove(root: &Root, inputs: &Inputs<'_>) -> Vec<ResourceReport> {
    prove_planned(root, inputs.resources, &plan(root, &Inputs { looks: None, ..*inputs }))
}

/// Reports as [`prove`] does, on a plan that was made just now and of which nothing was written.
pub fn prove_planned(root: &Root, resources: &[Resource], plan: &HostPlan) -> Vec<ResourceReport> {
    let effects = Effects::new(root);
    let sudo = sudoers::Proof::new(root);
    let removed = |i: &Item| i.verb == Some(lampas_shared::report::Verb::Remove);
    let mut items: BTreeMap<&Target, &Item> = BTreeMap::new();
    for item in plan.items.iter().filter(|i| !removed(i)) {
        items.entry(&item.target).or_insert(item);
    }
    let wanted: BTreeSet<&Target> = resources.iter().map(|r| &r.target).collect();
    let left = plan.items.iter().filter(|i| i.fault.is_some() && !wanted.contains(&i.target));
    let left = left.map(|i| ResourceReport {
        target: i.target.clone(),
        object: i.object,
        state: ResourceState::Blocked,
        fault: i.fault.clone(),
        notes: i.notes.clone(),
    });
    let resources = resources.iter().filter(|r| !package::is_package(r));
    let reports = resources.map(|r| report(&effects, &sudo, r, items.get(&r.target).copied()));
    reports.chain(left).collect()
}

fn report(
    effects: &Effects<'_>,
    sudo: &sudoers::Proof<'_>,
    resource: &Resource,
    item: Option<&Item>,
) -> ResourceReport {
    let mut report = ResourceReport {
        target: resource.target.clone(),
        object: resource.object,
        state: ResourceState::Converged,
        fault: None,
        notes: item.map(|i| i.notes.clone()).unwrap_or_default(),
    };
    let mut is = |state, fault| {
        report.state = state;
        report.fault = fault;
    };
    match item {
        None => is(
            ResourceState::Failed,
            Some(Fault::passing("host.unplanned", "it was not planned; this is a defect of the agent")),
        ),
        Some(Item { fault: Some(fault), .. }) => is(Item::state_of(fault), Some(fault.clone())),
        Some(Item { is_drifted: true, .. }) => is(ResourceState::Drifted, None),
        Some(item @ Item { verb: Some(_), .. }) => {
            is(ResourceState::Failed, Some(unlike(effects.root, resource, item)));
        }
        Some(item) => match effect(effects, sudo, resource, item) {
            Ok(notes) => report.notes.extend(notes),
            // What broke sudo is taken back.
            Err(fault) if fault.code == sudoers::BROKEN => is(ResourceState::Failed, Some(fault)),
            Err(fault) => is(ResourceState::Blocked, Some(fault)),
        },
    }
    report
}

fn unlike(root: &Root, resource: &Resource, item: &Item) -> Fault {
    if let Spec::Unit { unit, aspect, is_so } = &resource.spec {
        return service::unlike(root, unit, *aspect, *is_so);
    }
    let Spec::Kernel { key, value } = &resource.spec else {
        return Fault::passing("host.not_as_desired", "what stands on the disk is not what was written");
    };
    let shown = item.observed.as_ref().and_then(|o| o.content.as_deref()).unwrap_or_default();
    let shown = String::from_utf8_lossy(shown).trim().to_owned();
    Fault::lasting(
        "sysctl.not_as_written",
        format!("{key} was set to {value}, and the kernel shows {shown}; write it so"),
    )
}

fn effect(
    effects: &Effects<'_>,
    sudo: &sudoers::Proof<'_>,
    resource: &Resource,
    item: &Item,
) -> Result<Vec<String>, Fault> {
    match &resource.spec {
        Spec::Cron(job) => cron::prove(effects, job, &item.path),
        Spec::Hosts { address, names, .. } => hosts::prove(effects.root, *address, names),
        Spec::File { path, .. } if sudoers::is_part(path.as_str()) => sudo.of(path.as_str()),
        Spec::File { path, content, .. } if resource.kind == Kind::Sysctl => {
            let line = content.inline.as_deref().unwrap_or_default();
            Ok(sysctl::prove(effects.root, path.as_str(), line))
        }
        // What the kernel shows was read for the plan.
        Spec::Kernel { .. } | Spec::Unit { .. } | Spec::Sealed(_) | Spec::Unsupported { .. } => Ok(Vec::new()),
        // What shadow(5) holds was read for the plan.
        Spec::Password { .. } => Ok(Vec::new()),
        Spec::User { .. } | Spec::Keys { .. } | Spec::Group { .. } | Spec::Members { .. } => {
            account::prove(effects.root, &resource.target, &item.path)
        }
        Spec::Package { .. } => Ok(Vec::new()),
        Spec::File { .. } | Spec::Directory { .. } | Spec::Link { .. } => Ok(Vec::new()),
    }
}
