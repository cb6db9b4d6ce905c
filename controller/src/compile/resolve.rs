//! Which unit wins each target, for one class of nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_shared::{
    desired::{ContentHash, NodeDesired, Resource, Spec},
    object::{Kind, ObjectName, Target},
    template::Fact,
};

use super::{
    Class, Lost, NodeInput, Problem, Tie, Usage,
    template::{self, Names},
    unit::{Unit, Units},
};

/// Resolves class after class; what it needs for that is allocated once.
pub(super) struct Resolver<'u> {
    units: &'u Units<'u>,
    /// The unit that holds each target so far.
    holder: Vec<Option<usize>>,
}

/// What a class of nodes became: several, where facts of theirs differ.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) classes: Vec<Class>,
    pub(super) ties: Vec<Tie>,
    pub(super) blobs: BTreeMap<ContentHash, Arc<Vec<u8>>>,
    pub(super) problems: Vec<Problem>,
}

impl<'u> Resolver<'u> {
    pub(super) fn new(units: &'u Units<'u>) -> Self {
        Self { units, holder: vec![None; units.targets.len()] }
    }

    pub(super) fn resolve(&mut self, is_in: &dyn Fn(usize) -> bool, nodes: &[&NodeInput]) -> Resolved {
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
                if shares(held, unit, &self.units.targets[target]) {
                    continue;
                }
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
        let (mut names, mut templates) = (Names::default(), Vec::new());
        for &index in &present {
            let unit = &units[index];
            // Parts of one object claim all of its targets together; a line of hosts claims its own alone.
            let is_line = matches!(unit.resource.spec, Spec::Hosts { .. });
            let is_own = |holder: usize| holder == index || (!is_line && units[holder].object.id == unit.object.id);
            let won = |t: &usize| {
                self.holder[*t].is_some_and(|h| is_own(h) || shares(&units[h], unit, &self.units.targets[*t]))
            };
            let won: Vec<bool> = unit.targets.iter().map(won).collect();
            if won.iter().all(|w| *w) {
                if names.take(unit.object) {
                    continue;
                }
                if unit.facts.is_some() {
                    templates.push(unit);
                    continue;
                }
                resources.push((unit.resource.clone(), unit.hash));
            } else if let Some(resource) = remainder(unit, &won, &self.units.targets) {
                let hash = resource.compute_hash();
                resources.push((Arc::new(resource), hash));
            }
        }
        self.share(&present, &mut lost);
        lost.sort();
        lost.dedup();
        let mut resolved = Resolved { ties, ..Resolved::default() };
        let facts: BTreeSet<Fact> = templates.iter().flat_map(|u| u.facts.iter().flatten().copied()).collect();
        // Nodes of which the facts in the templates are the same are the same.
        let mut alike: BTreeMap<Vec<Option<String>>, Vec<&NodeInput>> = BTreeMap::new();
        for node in nodes {
            alike.entry(facts.iter().map(|f| template::fact(node, *f)).collect()).or_default().push(node);
        }
        for nodes in alike.into_values() {
            let mut resources = resources.clone();
            let mut uses = BTreeSet::new();
            for unit in &templates {
                let found = template::render(&unit.resource, unit.object, &names, nodes[0], &|kind, name| {
                    self.scopes_of(kind, name)
                });
                uses.extend(found.uses.into_iter().map(|value| Usage { value, user: unit.object.id }));
                resolved.problems.extend(found.problems);
                let resource = Resource { spec: found.spec, ..Resource::clone(&unit.resource) };
                if let (Some(bytes), Spec::File { content, .. }) = (found.blob, &resource.spec) {
                    resolved.blobs.insert(content.hash, Arc::new(bytes));
                }
                let hash = resource.compute_hash();
                resources.push((Arc::new(resource), hash));
            }
            resources.sort_by(|a, b| a.0.target.cmp(&b.0.target));
            let hash = NodeDesired::hash_of(resources.iter().map(|(r, h)| (&r.target, *h)).collect());
            resolved.classes.push(Class {
                nodes: nodes.iter().map(|n| n.id).collect(),
                resources: resources.into_iter().map(|(r, _)| r).collect(),
                hash,
                lost: lost.clone(),
                uses,
                is_personal: !facts.is_empty(),
            });
        }
        resolved
    }

    /// Jobs have a user's crontab together: with whoever has it in the end all of them win it or lose it.
    fn share(&self, present: &[usize], lost: &mut Vec<Lost>) {
        let units = &self.units.list;
        for unit in present.iter().map(|index| &units[*index]) {
            for &target in unit.targets.iter().filter(|t| is_crontab(unit, &self.units.targets[**t])) {
                let Some(holder) = self.holder[target].map(|h| &units[h]) else { continue };
                let own = &self.units.targets[target];
                lost.retain(|l| !(l.object == unit.object.id && l.target == *own));
                if !shares(holder, unit, own) {
                    lost.push(self.lost(unit, target, holder));
                }
            }
        }
    }

    /// Returns the scopes in which there is a value of this name.
    fn scopes_of(&self, kind: Kind, name: &ObjectName) -> Vec<String> {
        let is_meant = |u: &&Unit<'_>| u.object.spec.body.kind() == kind && u.object.spec.name == *name;
        self.units.list.iter().filter(is_meant).map(|u| u.object.spec.scope.to_string()).collect()
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
                std::collections::btree_map::Entry::Occupied(held)
                    if !agree(held.get(), unit) && !shares(held.get(), unit, &units.targets[target]) =>
                {
                    ties.push(tie(held.get(), unit, &units.targets[target], None));
                }
                std::collections::btree_map::Entry::Occupied(_) => {}
            }
        }
    }
    ties
}

/// Whether a target is the crontab that a job has its lines in.
fn is_crontab(unit: &Unit<'_>, target: &Target) -> bool {
    matches!(unit.resource.spec, Spec::Cron(_)) && target.crontab_user().is_some()
}

/// Jobs in one user's crontab have it together.
fn shares(a: &Unit<'_>, b: &Unit<'_>, target: &Target) -> bool {
    is_crontab(a, target) && is_crontab(b, target)
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
