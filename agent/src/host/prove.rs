//! Looks again after an apply: the bytes on the disk, and the effect where it can be shown.

use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    report::{ResourceReport, ResourceState},
};

use super::{Inputs, Item, cron, hosts, plan};
use crate::system::{Accounts, Root};

/// Reports on every desired resource, in their order: what is in force, and why what isn't is not; then on what is no
/// longer wanted and can't be removed. `inputs` may hold the ownership from before or after the apply.
pub fn prove(root: &Root, inputs: &Inputs<'_>) -> Vec<ResourceReport> {
    let found = plan(root, inputs);
    let accounts = root.accounts();
    let report = |resource: &Resource| {
        let item = found
            .items
            .iter()
            .find(|i| i.target == resource.target && i.verb != Some(lampas_shared::report::Verb::Remove));
        report(root, &accounts, resource, item)
    };
    let left =
        found.items.iter().filter(|i| !inputs.resources.iter().any(|r| r.target == i.target) && i.fault.is_some());
    let left = left.map(|i| ResourceReport {
        target: i.target.clone(),
        object: i.object,
        state: ResourceState::Blocked,
        fault: i.fault.clone(),
        notes: i.notes.clone(),
    });
    inputs.resources.iter().map(report).chain(left).collect()
}

fn report(root: &Root, accounts: &Accounts, resource: &Resource, item: Option<&Item>) -> ResourceReport {
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
        Some(Item { fault: Some(fault), .. }) => is(ResourceState::Blocked, Some(fault.clone())),
        Some(Item { is_drifted: true, .. }) => is(ResourceState::Drifted, None),
        Some(Item { verb: Some(_), .. }) => {
            is(
                ResourceState::Failed,
                Some(Fault::passing("host.not_as_desired", "what stands on the disk is not what was written")),
            );
        }
        Some(item) => match effect(root, accounts, resource, item) {
            Ok(notes) => report.notes.extend(notes),
            Err(fault) => is(ResourceState::Blocked, Some(fault)),
        },
    }
    report
}

fn effect(root: &Root, accounts: &Accounts, resource: &Resource, item: &Item) -> Result<Vec<String>, Fault> {
    match &resource.spec {
        Spec::Cron(job) => cron::prove(root, accounts, job, &item.path),
        Spec::Hosts { address, names, .. } => hosts::prove(root, *address, names),
        Spec::File { .. } | Spec::Directory { .. } | Spec::Link { .. } => Ok(Vec::new()),
    }
}
