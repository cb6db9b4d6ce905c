//! Which unit wins each target, for one class of nodes.

use std::{collections::BTreeMap, sync::Arc};

use lampas_shared::{
    desired::{GroupKind, NodeDesired, Resource, Spec},
    object::Target,
};

use super::{
    Class, Lost, NodeInput, Tie,
    unit::{Unit, Units},
};

/// Resolves class after class; what it needs for that is allocated once.
pub(super) struct Resolver<'u> {
    units: &'u Units<'u>,
    /// The unit that holds each target so far.
    holder: Vec<Option<usize>>,
}

impl<'u> Resolver<'u> {
    pub(super) fn new(units: &'u Units<'u>) -> Self {
        Self { units, holder: vec![None; units.targets.len()] }
    }

    pub(super) fn resolve(&mut self, is_in: &dyn Fn(usize) -> bool, nodes: &[&NodeInput]) -> (Class, Vec<Tie>) {
        self.holder.fill(None);
        let units = &self.units.list;
        let (mut lost, mut ties) = (Vec::new(), Vec::new());
        let mut present = Vec::new();
        for (index, unit) in units.iter().enumerate().filter(|(_, u)| is_in(u.scope)) {
            present.push(index);
            for &target in &unit.targets {
                // Units come by level, so that whoever holds a target is no more specific.
                let Some(held) = self.holder[target].map(|h| &units[h]) else {
                    self.holder[target] = Some(index);
                    continue;
                };
                if held.level < unit.level {
                    lost.push(self.lost(held, target, unit));
                    self.holder[target] = Some(index);
                } else if !agree(held, unit) {
                    ties.push(tie(held, unit, &self.units.targets[target], nodes.first().map(|n| &n.name)));
                    lost.push(self.lost(unit, target, held));
                }
            }
        }
        let mut resources = Vec::with_capacity(present.len());
        for index in present {
            let unit = &units[index];
            // Parts of one object claim all of its targets together; a line of hosts claims its own alone.
            let is_line = matches!(unit.resource.spec, Spec::Hosts { .. });
            let is_own = |holder: usize| holder == index || (!is_line && units[holder].object.id == unit.object.id);
            let won: Vec<bool> = unit.targets.iter().map(|t| self.holder[*t].is_some_and(is_own)).collect();
            if won.iter().all(|w| *w) {
                resources.push((unit.resource.clone(), unit.hash));
            } else if let Some(resource) = remainder(unit, &won, &self.units.targets) {
                let hash = resource.compute_hash();
                resources.push((Arc::new(resource), hash));
            }
        }
        resources.sort_by(|a, b| a.0.target.cmp(&b.0.target));
        lost.sort();
        lost.dedup();
        let hash =
            NodeDesired::hash_of(vec![(GroupKind::Host, resources.iter().map(|(r, h)| (&r.target, *h)).collect())]);
        let nodes = nodes.iter().map(|n| n.id).collect();
        (Class { nodes, resources: resources.into_iter().map(|(r, _)| r).collect(), hash, lost }, ties)
    }

    fn lost(&self, loser: &Unit<'_>, target: usize, winner: &Unit<'_>) -> Lost {
        Lost { object: loser.object.id, target: self.units.targets[target].clone(), winner: winner.object.id }
    }
}

/// Ties between objects of the very same scope: they show without any node in it.
pub(super) fn static_ties(units: &Units<'_>) -> Vec<Tie> {
    let mut holders: BTreeMap<(usize, usize), &Unit<'_>> = BTreeMap::new();
    let mut ties = Vec::new();
    for unit in &units.list {
        for &target in &unit.targets {
            match holders.entry((unit.scope, target)) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(unit)),
                std::collections::btree_map::Entry::Occupied(held) if !agree(held.get(), unit) => {
                    ties.push(tie(held.get(), unit, &units.targets[target], None));
                }
                std::collections::btree_map::Entry::Occupied(_) => {}
            }
        }
    }
    ties
}

/// Two lines of one object never quarrel, nor do generated lines that say the same.
fn agree(a: &Unit<'_>, b: &Unit<'_>) -> bool {
    let address = |u: &Unit<'_>| match &u.resource.spec {
        Spec::Hosts { address, .. } => Some(*address),
        _ => None,
    };
    a.object.id == b.object.id || (a.is_generated && b.is_generated && address(a) == address(b))
}

fn tie(a: &Unit<'_>, b: &Unit<'_>, target: &Target, node: Option<&lampas_shared::fleet::NodeName>) -> Tie {
    let (first, second) = if a.object.id <= b.object.id { (a, b) } else { (b, a) };
    let name = |u: &Unit<'_>| (u.object.id, u.object.spec.key());
    Tie { target: target.clone(), first: name(first), second: name(second), node: node.cloned() }
}

/// What is left of a unit that did not win all of its targets: of a hosts line the names that it won; nothing of
/// anything else.
fn remainder(unit: &Unit<'_>, won: &[bool], targets: &[Target]) -> Option<Resource> {
    let Spec::Hosts { address, names, comment } = &unit.resource.spec else { return None };
    let first = won.iter().position(|w| *w)?;
    let names = names.iter().zip(won).filter(|(_, won)| **won).map(|(n, _)| n.clone()).collect();
    let spec = Spec::Hosts { address: *address, names, comment: comment.clone() };
    Some(Resource { target: targets[unit.targets[first]].clone(), spec, ..Resource::clone(&unit.resource) })
}
