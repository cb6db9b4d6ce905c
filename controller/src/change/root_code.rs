//! What of an act on the fleet is root code: by effect, between what nodes are and what they would be.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::{ContentHash, Resource},
    host::UserName,
    id::NodeId,
    object::Target,
    root_code::{Powerful, root_code},
};

use super::{Apply, plan::Prospect};
use crate::compile::{Class, Compiled};

/// How many are told: a change may hold thousands.
const TOLD: usize = 100;

/// Returns what is root code in what would come to these nodes, or go from them.
pub(crate) fn between(before: &Compiled, after: &Compiled, nodes: impl IntoIterator<Item = NodeId>) -> Vec<String> {
    let mut looked: BTreeSet<(Option<ContentHash>, Option<ContentHash>)> = BTreeSet::new();
    let mut found = BTreeSet::new();
    for node in nodes {
        let (was, is) = (before.class(node), after.class(node));
        // Nodes that are alike become alike: thousands of them are a handful of pairs.
        if looked.insert((was.map(|c| c.hash), is.map(|c| c.hash))) {
            compare(was, is, &mut found);
        }
        if found.len() >= TOLD {
            break;
        }
    }
    found.into_iter().take(TOLD).collect()
}

/// Returns what is root code in what would be written on a node.
pub(crate) fn written(compiled: &Compiled, node: NodeId, targets: &BTreeSet<&Target>) -> Vec<String> {
    let Some(class) = compiled.class(node) else { return Vec::new() };
    let powerful = powerful(class);
    let found = class.resources.iter().filter(|r| targets.contains(&r.target)).filter_map(|r| told(r, &powerful));
    let found: BTreeSet<String> = found.collect();
    found.into_iter().take(TOLD).collect()
}

/// Returns why a run of a user is root code on some of these nodes, as far as it can be told from what they shall be: who
/// is in which group there, they know themselves.
pub(crate) fn run_as(user: &UserName, compiled: &Compiled, nodes: impl IntoIterator<Item = NodeId>) -> Option<String> {
    if *user == UserName::root() {
        return Some("a run as root".to_owned());
    }
    let mut looked = BTreeSet::new();
    let mut classes = nodes.into_iter().filter_map(|node| compiled.class(node)).filter(|c| looked.insert(c.hash));
    let why = classes.find_map(|class| powerful(class).users.remove(user.as_str()))?;
    Some(format!("a run as {user}, {why}"))
}

fn compare(was: Option<&Class>, is: Option<&Class>, found: &mut BTreeSet<String>) {
    fn by_target(class: Option<&Class>) -> BTreeMap<&Target, &Resource> {
        class.into_iter().flat_map(|c| &c.resources).map(|r| (&r.target, &**r)).collect()
    }
    let (before, after) = (by_target(was), by_target(is));
    let is_same =
        |r: &Resource, other: Option<&&Resource>| other.is_some_and(|o| o.spec == r.spec && o.on_change == r.on_change);
    // What goes changes what root does as much as what comes.
    let goes = before.iter().filter(|(target, r)| !is_same(r, after.get(*target)));
    let comes = after.iter().filter(|(target, r)| !is_same(r, before.get(*target)));
    let (mut goes, mut comes) = (goes.peekable(), comes.peekable());
    if goes.peek().is_some() {
        let powerful = was.map(powerful).unwrap_or_default();
        found.extend(goes.filter_map(|(_, r)| told(r, &powerful)));
    }
    if comes.peek().is_some() {
        let powerful = is.map(powerful).unwrap_or_default();
        found.extend(comes.filter_map(|(_, r)| told(r, &powerful)));
    }
}

fn powerful(class: &Class) -> Powerful {
    Powerful::of(class.resources.iter().map(|r| &**r))
}

fn told(resource: &Resource, powerful: &Powerful) -> Option<String> {
    let effect = root_code(resource).or_else(|| powerful.root_code(&resource.spec))?;
    Some(format!("{} {} ({}): {effect}", resource.kind.as_str(), resource.name, resource.scope))
}

impl Prospect {
    /// Returns what is root code in what would come to nodes, or go from them, and in the gates that would be asked.
    pub(super) fn root_code(&self, how: Option<&Apply>) -> Vec<String> {
        let mut found = between(&self.standing.compiled, &self.compiled, self.affected().into_keys());
        for gate in how.iter().flat_map(|how| &how.rollout.gates).filter(|gate| gate.probe.is_none()) {
            let nodes: Vec<NodeId> = match &gate.from {
                Some(name) => self.members.iter().filter(|m| m.name == *name).map(|m| m.id).collect(),
                None => self.affected().into_keys().collect(),
            };
            if let Some(effect) = run_as(&gate.user, &self.compiled, nodes) {
                found.push(format!("the gate {}: {effect}", gate.command.join(" ")));
            }
        }
        found
    }
}
