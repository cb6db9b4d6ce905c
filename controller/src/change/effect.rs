//! What a change makes otherwise on a node: the resources that differ between the state that it gave the node and the one
//! before.
//!
//! An edit by hand that is held keeps a change from a node where it is of one of these, and nowhere else. The drafts don't
//! tell which these are: a value comes into the files that name it, an edit of a node brings the objects of other scopes,
//! and where a narrower object goes a broader one takes its place. So both states are compared when a change gives nodes
//! their generations, for the one before is nowhere afterwards, and what differs is stored with them: once for all nodes
//! on which it is the same.

pub(super) mod store;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use lampas_shared::{
    desired::{ContentHash, Resource},
    id::ObjectId,
    object::Target,
};
use serde::{Deserialize, Serialize};

use crate::{compile::Class, db::row::to_json};

/// What a change makes otherwise on a node, by object; one without targets stands for all that it has there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Effect(BTreeMap<ObjectId, BTreeSet<Target>>);

impl Effect {
    /// Compares two states. What stands at a target on either side is in it, where they are not the same.
    pub(super) fn between(before: Option<&Class>, after: Option<&Class>) -> Self {
        let [before, after] = [before, after].map(|c| c.map_or(&[][..], |c| &c.resources));
        let mut effect = Self::default();
        for (one, other) in [(before, after), (after, before)] {
            for resource in one.iter().filter(|r| !has(other, r)) {
                effect.0.entry(resource.object).or_default().insert(resource.target.clone());
            }
        }
        effect
    }

    /// All that these objects have on a node.
    pub(super) fn of(objects: impl IntoIterator<Item = ObjectId>) -> Self {
        Self(objects.into_iter().map(|object| (object, BTreeSet::new())).collect())
    }

    /// Returns whether a resource is in it.
    pub(super) fn has(&self, object: ObjectId, target: &Target) -> bool {
        self.0.get(&object).is_some_and(|targets| targets.is_empty() || targets.contains(target))
    }

    /// Takes in what the change made otherwise there before.
    fn join(&mut self, earlier: &Self) {
        for (object, targets) in &earlier.0 {
            match self.0.entry(*object) {
                Entry::Vacant(free) => drop(free.insert(targets.clone())),
                Entry::Occupied(mut known) if known.get().is_empty() || targets.is_empty() => known.get_mut().clear(),
                Entry::Occupied(mut known) => known.get_mut().extend(targets.iter().cloned()),
            }
        }
    }

    fn hash(&self) -> ContentHash {
        ContentHash::of(to_json(self).as_bytes())
    }
}

/// Whether a state has a resource just so. Its resources are in the order of their targets.
fn has(resources: &[Arc<Resource>], wanted: &Resource) -> bool {
    // As in the resource's hash: who made it so makes no difference on the node.
    let is_same = |r: &Resource| {
        (r.object, r.kind, r.drift) == (wanted.object, wanted.kind, wanted.drift)
            && r.spec == wanted.spec
            && r.on_change == wanted.on_change
    };
    resources.binary_search_by(|r| r.target.cmp(&wanted.target)).is_ok_and(|at| is_same(&resources[at]))
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;

    use super::*;

    #[test]
    fn what_came_twice_is_joined() {
        let [one, two, three]: [ObjectId; 3] = [random::new_id(), random::new_id(), random::new_id()];
        let targets = |names: &[&str]| names.iter().map(|n| Target::path(n)).collect::<BTreeSet<_>>();
        let mut effect = Effect([(one, targets(&["/a"])), (two, targets(&["/b"]))].into());
        effect.join(&Effect([(one, targets(&["/c"])), (three, targets(&["/d"]))].into()));
        let has = |effect: &Effect, object, path| effect.has(object, &Target::path(path));
        assert!(has(&effect, one, "/a") && has(&effect, one, "/c") && has(&effect, two, "/b"));
        assert!(has(&effect, three, "/d") && !has(&effect, three, "/a") && !has(&effect, two, "/a"));
        effect.join(&Effect::of([two]));
        assert!(has(&effect, two, "/a"), "all that it has there");
        let read: Effect = serde_json::from_str(&to_json(&effect)).expect("it reads back");
        assert_eq!((read.hash(), &read), (effect.hash(), &effect));
    }
}
