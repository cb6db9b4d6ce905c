//! Plans of many nodes folded into few groups, and the id that binds to them. Pure.

use std::collections::BTreeMap;

use lampas_api::{Plan, PlanGroup, Unplanned};
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    fleet::NodeName,
    id::{ChangeId, NodeId},
    report::{Action, NodePlan},
    time::UnixMs,
};

use super::desired::refs;
use crate::db::row::to_json;

/// Folds equal answers.
pub(crate) fn fold(answers: BTreeMap<NodeId, Result<NodePlan, Fault>>, names: &BTreeMap<NodeId, NodeName>) -> Plan {
    let mut groups: BTreeMap<String, (Vec<NodeId>, Vec<Action>)> = BTreeMap::new();
    let mut unplanned = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(plan) => {
                let group = groups.entry(to_json(&plan.actions)).or_insert_with(|| (Vec::new(), plan.actions));
                group.0.push(node);
            }
            Err(fault) => {
                let node = refs([node], names).remove(0);
                unplanned.push(Unplanned { node, reason: fault.message });
            }
        }
    }
    let mut groups: Vec<PlanGroup> =
        groups.into_values().map(|(nodes, actions)| PlanGroup { nodes: refs(nodes, names), actions }).collect();
    groups.sort_by(|a, b| b.nodes.len().cmp(&a.nodes.len()).then_with(|| a.nodes[0].name.cmp(&b.nodes[0].name)));
    unplanned.sort_by(|a, b| a.node.name.cmp(&b.node.name));
    let blockers = groups.iter().flat_map(blockers).collect();
    let unsigned = groups.iter().filter(|g| g.actions.iter().any(is_unsigned)).map(|g| g.nodes.len() as u32).sum();
    Plan {
        id: String::new(),
        digest: String::new(),
        at: UnixMs(0),
        groups,
        unplanned,
        unchanged: 0,
        blockers,
        unsigned,
        next_runs: Vec::new(),
    }
}

/// Returns whether what stands in the way of an action is that no operator signed it.
pub(crate) fn is_unsigned(action: &Action) -> bool {
    action.fault.as_ref().is_some_and(|f| f.code == "policy.signature")
}

fn blockers(group: &PlanGroup) -> Vec<String> {
    let on = match group.nodes.as_slice() {
        [one] => one.name.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        [] => String::new(),
    };
    let faults = group.actions.iter().filter_map(|a| a.fault.as_ref().map(|f| (a, f)));
    faults.map(|(action, fault)| format!("{on}: {} {}: {}", action.kind, action.name, fault.message)).collect()
}

/// Returns the id of a plan: BLAKE3 over the change and, for each node, what it would be and what it saw.
pub(crate) fn plan_id(
    change: ChangeId,
    nodes: &BTreeMap<NodeId, ContentHash>,
    answers: &BTreeMap<NodeId, Result<NodePlan, Fault>>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lampas plan/v1");
    hasher.update(change.as_uuid().as_bytes());
    for (node, hash) in nodes {
        hasher.update(node.as_uuid().as_bytes());
        hasher.update(hash.as_bytes());
        match answers.get(node) {
            Some(Ok(plan)) => hasher.update(b"seen").update(plan.observed.as_bytes()),
            _ => hasher.update(b"unseen"),
        };
    }
    hasher.finalize().to_hex().to_string()
}

/// Returns what people see of a plan's id: `7c1e-44a0`.
pub(crate) fn short_id(full: &str) -> String {
    format!("{}-{}", &full[..4], &full[4..8])
}

/// Returns whether what somebody gave names this plan: at least six of its first digits.
pub(crate) fn names_plan(given: &str, full: &str) -> bool {
    let digits: String = given.trim().chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect();
    digits.len() >= 6 && full.starts_with(&digits)
}
