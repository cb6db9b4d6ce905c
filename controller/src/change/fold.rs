//! Plans of many nodes folded into few groups, and the id that binds to them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{Plan, PlanGroup, Unplanned};
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    fleet::{NodeName, Scope},
    id::{ChangeId, NodeId, ObjectId},
    report::{Action, NodePlan},
    time::UnixMs,
};

use super::desired::refs;
use crate::db::row::to_json;

/// What folded answers have in common: whether the nodes observe, why they were not asked, and what they would do.
type Alike = (bool, Option<String>, String);

/// Folds equal answers. Of the nodes that only observe, `observing` says which objects are otherwise there with the change:
/// nothing is written on such a node, so that it has all that it doesn't follow to tell, and nothing to wait for. `earlier`
/// gives the number of the change that made an object, where it is not the one that is planned.
pub(crate) fn fold(
    answers: BTreeMap<NodeId, Result<NodePlan, Fault>>,
    names: &BTreeMap<NodeId, NodeName>,
    observing: &BTreeMap<NodeId, BTreeSet<ObjectId>>,
    earlier: &dyn Fn(ObjectId) -> Option<u64>,
) -> Plan {
    let mut groups: BTreeMap<Alike, (Vec<NodeId>, Vec<Action>)> = BTreeMap::new();
    let mut unplanned = Vec::new();
    let mut put = |(observes, unasked), node, actions: Vec<Action>| {
        let group = groups.entry((observes, unasked, to_json(&actions))).or_insert_with(|| (Vec::new(), actions));
        group.0.push(node);
    };
    for (node, answer) in answers {
        match (answer, observing.get(&node)) {
            (Ok(mut plan), Some(concerned)) => {
                plan.actions.retain(|a| concerned.contains(&a.object));
                put((true, None), node, plan.actions);
            }
            (Err(fault), Some(_)) => put((true, Some(fault.message)), node, Vec::new()),
            (Ok(plan), None) => put((false, None), node, plan.actions),
            (Err(fault), None) => {
                let node = refs([node], names).remove(0);
                unplanned.push(Unplanned { node, reason: fault.message });
            }
        }
    }
    let mut groups: Vec<PlanGroup> = groups
        .into_iter()
        .map(|((observes, unasked, _), (nodes, actions))| PlanGroup {
            nodes: refs(nodes, names),
            actions,
            observes,
            unasked,
        })
        .collect();
    let order = |g: &PlanGroup| (g.observes, std::cmp::Reverse(g.nodes.len()));
    groups.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.nodes[0].name.cmp(&b.nodes[0].name)));
    unplanned.sort_by(|a, b| a.node.name.cmp(&b.node.name));
    let written = || groups.iter().filter(|g| !g.observes);
    let blockers = written().flat_map(|group| blockers(group, earlier)).collect();
    let unsigned = written().filter(|g| g.actions.iter().any(is_unsigned)).map(|g| g.nodes.len() as u32).sum();
    Plan {
        id: String::new(),
        digest: String::new(),
        at: UnixMs(0),
        changing: changing(&groups),
        observing: self::observing(&groups),
        limit: None,
        groups,
        unplanned,
        unchanged: 0,
        empty_scopes: Vec::new(),
        held: Vec::new(),
        is_idle: false,
        warnings: Vec::new(),
        blockers,
        unsigned,
        next_runs: Vec::new(),
    }
}

/// Returns how many nodes of a plan would do something.
pub(crate) fn changing(groups: &[PlanGroup]) -> u32 {
    groups.iter().filter(|g| !g.observes && !g.actions.is_empty()).map(|g| g.nodes.len() as u32).sum()
}

/// Returns how many nodes of a plan only observe.
pub(crate) fn observing(groups: &[PlanGroup]) -> u32 {
    groups.iter().filter(|g| g.observes).map(|g| g.nodes.len() as u32).sum()
}

/// Returns whether what stands in the way of an action is that no operator signed it.
pub(crate) fn is_unsigned(action: &Action) -> bool {
    action.fault.as_ref().is_some_and(is_signature)
}

/// Returns whether a fault says that no operator signed something.
pub(crate) fn is_signature(fault: &Fault) -> bool {
    fault.code == "policy.signature"
}

/// Returns whether nodes can't do something as it is: a signature may still come.
pub(crate) fn is_blocked(plan: &Plan) -> bool {
    let mut actions = plan.groups.iter().filter(|g| !g.observes).flat_map(|g| &g.actions);
    actions.any(|a| a.fault.is_some() && !is_unsigned(a))
}

fn blockers(group: &PlanGroup, earlier: &dyn Fn(ObjectId) -> Option<u64>) -> Vec<String> {
    let on = match group.nodes.as_slice() {
        [one] => one.name.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        [] => String::new(),
    };
    let faults = group.actions.iter().filter_map(|a| a.fault.as_ref().map(|f| (a, f)));
    let told = |(action, fault): (&Action, &Fault)| {
        let (kind, name, why) = (action.kind, &action.name, &fault.message);
        match earlier(action.object) {
            Some(number) => format!("in the way on {on}: {kind} {name} of change {number}: {why}"),
            None => format!("{on}: {kind} {name}: {why}"),
        }
    };
    faults.map(told).collect()
}

/// Returns the id of a plan: BLAKE3 over the change, its limit and, for each node, what it would be and what it saw.
pub(crate) fn plan_id(
    change: ChangeId,
    nodes: &BTreeMap<NodeId, ContentHash>,
    answers: &BTreeMap<NodeId, Result<NodePlan, Fault>>,
    limit: Option<&Scope>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lampas plan/v1");
    hasher.update(change.as_uuid().as_bytes());
    if let Some(scope) = limit {
        let scope = scope.to_string();
        hasher.update(b"limit").update(&(scope.len() as u64).to_le_bytes()).update(scope.as_bytes());
    }
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

#[cfg(test)]
mod tests {
    use lampas_runtime::random;
    use lampas_shared::{
        object::{Kind, ObjectName, Target},
        report::Verb,
    };

    use super::*;

    #[test]
    fn what_an_earlier_change_left_in_the_way_is_named_with_it() {
        let [mine, other]: [ObjectId; 2] = [random::new_id(), random::new_id()];
        let node: NodeId = random::new_id();
        let action = |object, name: &str| Action {
            target: Target::path(&format!("/etc/sudoers.d/{name}")),
            object,
            kind: Kind::Sudoers,
            name: ObjectName::parse(name).expect("a name"),
            verb: Verb::Create,
            path: format!("/etc/sudoers.d/{name}"),
            diff: String::new(),
            notes: Vec::new(),
            fault: Some(Fault::lasting("file.invalid", "a syntax error")),
        };
        let hash = ContentHash::of(b"state");
        let actions = vec![action(mine, "new"), action(other, "bad")];
        let answers = BTreeMap::from([(node, Ok(NodePlan { desired: hash, observed: hash, actions }))]);
        let names = BTreeMap::from([(node, "web-2".parse().expect("a name"))]);
        let plan = fold(answers, &names, &BTreeMap::new(), &|object| (object == other).then_some(64));
        let expected =
            ["web-2: sudoers new: a syntax error", "in the way on web-2: sudoers bad of change 64: a syntax error"];
        assert_eq!(plan.blockers, expected);
    }
}
