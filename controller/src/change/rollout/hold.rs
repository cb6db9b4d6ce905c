//! Who has what instead of a change that didn't reach them, as layers.
//!
//! A rollout that is under way, or ended early, keeps an object back on nodes: they have the revision before. When such an
//! object is changed again in waves, one more layer comes to lie on the ones below: a node that waits for the newer change
//! has what it had, and that is, where it was left out of the older one, what stood before that. So a layer counts on the
//! nodes that every newer layer holds too, and who is released from the newest one is released from all. When a change has
//! reached all of its nodes, the layers below it are over; when it is put back, they are what it was before.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::PlanHold;
use lampas_shared::{
    fleet::NodeName,
    id::{ChangeId, NodeId, ObjectId},
    object::ObjectKey,
    rollout::State,
};

use super::store;
use crate::{
    change::{
        desired::refs,
        draft::{Edit, Verb},
    },
    compile::{Hold, NodeInput},
    db::{DbError, Tx},
};

/// One change that keeps an object back.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) change: ChangeId,
    /// The change's number.
    pub(super) number: u64,
    /// How its rollout stands.
    pub(super) state: State,
    /// What who waits has instead; 0 where the change made the object.
    pub(super) before: u64,
    /// Who waits, or was left out.
    pub(super) nodes: BTreeSet<NodeId>,
}

/// What is kept back, and on which nodes.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// The newest first.
    of: BTreeMap<ObjectId, Vec<Layer>>,
}

/// The number of a change, the nodes that it keeps something from, whether they stay so, and whether that is a deletion.
type Kept = (u64, BTreeSet<NodeId>, bool, bool);

/// What is about to be for everybody, or as it was before one change.
#[derive(Debug)]
pub(crate) struct Lift<'a> {
    pub(crate) objects: &'a BTreeSet<ObjectId>,
    /// The change that is put back: what was kept back before it still is.
    pub(crate) reverts: Option<ChangeId>,
}

impl Layers {
    /// Reads what is kept back.
    pub(crate) async fn load(tx: &mut Tx) -> Result<Self, DbError> {
        let mut of = store::layers(tx).await?;
        for layers in of.values_mut() {
            // What a newer change found standing has a higher number; only what is deleted again stays at the same one.
            layers.sort_by_key(|l| std::cmp::Reverse((l.before, l.number)));
        }
        Ok(Self { of })
    }

    /// Returns what nodes have instead of what stands, without what is lifted.
    pub(crate) async fn holds(&self, tx: &mut Tx, lift: &Lift<'_>) -> Result<Vec<Hold>, DbError> {
        let mut whole: BTreeMap<ChangeId, Hold> = BTreeMap::new();
        let mut split = Vec::new();
        for (object, layers) in &self.of {
            let is_lifted = |layer: &&Layer| lift.objects.contains(object) && lift.lifts(layer.change);
            let layers: Vec<&Layer> = layers.iter().filter(|l| !is_lifted(l)).collect();
            if let [one] = layers[..] {
                if !one.nodes.is_empty() {
                    let before = store::before(tx, *object, one.before).await?;
                    let hold = || Hold { nodes: one.nodes.clone(), before: BTreeMap::new() };
                    whole.entry(one.change).or_insert_with(hold).before.insert(*object, before);
                }
                continue;
            }
            for (layer, nodes) in counting(&layers) {
                let before = store::before(tx, *object, layer.before).await?;
                split.push(Hold { nodes, before: BTreeMap::from([(*object, before)]) });
            }
        }
        Ok(whole.into_values().chain(split).collect())
    }

    /// Notes which edits do more than their drafts say: what is so already is brought to nodes of the fleet that were left
    /// out of it, unless a rollout is about it at the moment. What is put back is put back where it came to.
    pub(crate) fn again<'a>(
        &self,
        edits: impl IntoIterator<Item = (ObjectId, &'a mut Edit)>,
        reverts: Option<ChangeId>,
        members: &[NodeInput],
    ) {
        for (object, edit) in edits {
            let Some(layers) = self.of.get(&object).filter(|_| edit.verb == Verb::None) else { continue };
            let is_over = layers.iter().all(|l| l.state.is_final());
            let is_again = match reverts {
                Some(change) => layers.iter().any(|l| l.change == change),
                None => members.iter().any(|m| layers[0].nodes.contains(&m.id)),
            };
            if is_over && is_again {
                edit.verb = Verb::Again;
            }
        }
    }

    /// Returns the change whose rollout keeps an object from nodes of the fleet at the moment.
    pub(crate) fn rolling(&self, object: ObjectId, members: &[NodeInput]) -> Option<u64> {
        let newest = self.of.get(&object)?.first()?;
        let is_held = !newest.state.is_final() && members.iter().any(|m| newest.nodes.contains(&m.id));
        is_held.then_some(newest.number)
    }

    /// Returns what is kept back, by which layer and from whom.
    pub(super) fn kept(&self) -> Vec<(ObjectId, &Layer, BTreeSet<NodeId>)> {
        let mut found = Vec::new();
        for (object, layers) in &self.of {
            let layers: Vec<&Layer> = layers.iter().collect();
            found.extend(counting(&layers).into_iter().map(|(layer, nodes)| (*object, layer, nodes)));
        }
        found
    }

    /// Returns the number of the newest change after one that keeps any of these objects back.
    pub(crate) fn newer(&self, objects: impl IntoIterator<Item = ObjectId>, than: u64) -> Option<u64> {
        let layers = objects.into_iter().filter_map(|id| self.of.get(&id)).flatten();
        layers.map(|l| l.number).filter(|number| *number > than).max()
    }

    /// Returns whether something older than a change keeps one of these objects back.
    pub(crate) fn has_older(&self, objects: &BTreeSet<ObjectId>, change: ChangeId) -> bool {
        objects.iter().filter_map(|id| self.of.get(id)).any(|layers| layers.iter().any(|l| l.change != change))
    }

    /// Returns what of a change's drafts is kept from which nodes of the fleet, by the change that keeps it. An unattended
    /// change doesn't reach who was left out.
    pub(crate) fn told<'a>(
        &self,
        edits: impl IntoIterator<Item = (ObjectId, &'a Edit)>,
        members: &[NodeInput],
        is_unattended: bool,
    ) -> Vec<PlanHold> {
        let names: BTreeMap<NodeId, NodeName> = members.iter().map(|m| (m.id, m.name.clone())).collect();
        let mut found: BTreeMap<Kept, (State, Vec<ObjectKey>)> = BTreeMap::new();
        for (object, edit) in edits {
            let Some(layers) = self.of.get(&object) else { continue };
            // An edit that says something else is for everybody, wherever it was left out.
            let stays = is_unattended && edit.verb == Verb::None && layers.iter().all(|l| l.state.is_final());
            let is_told = |l: &&Layer| !l.state.is_final() || stays || edit.verb == Verb::Again;
            let newest: Vec<&Layer> = layers.iter().collect();
            for (layer, nodes) in counting(&newest).into_iter().filter(|(l, _)| is_told(l)) {
                let nodes: BTreeSet<NodeId> = nodes.into_iter().filter(|id| names.contains_key(id)).collect();
                if !nodes.is_empty() {
                    let kept = (layer.number, nodes, stays, edit.after.is_none());
                    let entry = found.entry(kept).or_insert((layer.state, Vec::new()));
                    entry.1.push(edit.key.clone());
                }
            }
        }
        let told = |((change, nodes, stays, is_deletion), (state, objects)): (Kept, (State, Vec<_>))| PlanHold {
            change,
            state,
            objects,
            count: nodes.len() as u32,
            nodes: refs(nodes, &names),
            stays,
            is_deletion,
        };
        found.into_iter().map(told).collect()
    }
}

impl Lift<'_> {
    fn lifts(&self, change: ChangeId) -> bool {
        self.reverts.is_none_or(|reverts| reverts == change)
    }
}

/// Returns the layers of one object that count somewhere, with the nodes on which they do.
fn counting<'a>(layers: &[&'a Layer]) -> Vec<(&'a Layer, BTreeSet<NodeId>)> {
    let mut found = Vec::new();
    let Some((newest, older)) = layers.split_first() else { return found };
    let (mut layer, mut nodes) = (*newest, newest.nodes.clone());
    for next in older {
        let deeper: BTreeSet<NodeId> = nodes.intersection(&next.nodes).copied().collect();
        nodes.retain(|node| !deeper.contains(node));
        found.push((layer, nodes));
        (layer, nodes) = (next, deeper);
    }
    found.push((layer, nodes));
    found.retain(|(_, nodes)| !nodes.is_empty());
    found
}
