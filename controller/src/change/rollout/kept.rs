//! What rollouts keep from nodes, for the pages of objects and nodes: by a plan alone nobody would learn of it.

use std::collections::BTreeMap;

use lampas_api::KeptBack;
use lampas_shared::{
    fleet::NodeName,
    id::{NodeId, ObjectId},
};

use super::hold::Layers;
use crate::{
    change::{
        ChangeError, Changes,
        desired::{refs, standing},
    },
    host,
};

impl Changes {
    /// Returns the objects that rollouts keep from nodes in their scope, those of the newest change first: all, or only
    /// this object, or only what this node doesn't have.
    pub(crate) async fn kept_back(
        &self,
        only: Option<ObjectId>,
        node: Option<NodeId>,
    ) -> Result<Vec<KeptBack>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let view = standing(&mut tx).await?;
                if !view.compiled.is_held {
                    return Ok(tx.done(Vec::new()));
                }
                let names: BTreeMap<NodeId, NodeName> = view.members.iter().map(|m| (m.id, m.name.clone())).collect();
                let layers = Layers::load(&mut tx).await?;
                let mut found = Vec::new();
                for (object, layer, nodes) in layers.kept() {
                    if only.is_some_and(|only| only != object) || node.is_some_and(|node| !nodes.contains(&node)) {
                        continue;
                    }
                    let (key, is_deleted) = match view.all.objects.get(&object) {
                        Some(stored) => (stored.spec.key(), false),
                        None => match host::newest(&mut tx, object).await? {
                            Some((last, _)) => (last.spec.key(), true),
                            None => continue,
                        },
                    };
                    // A change holds its nodes for all of its objects, also for those that are none of theirs.
                    let is_for = |m: &&crate::compile::NodeInput| {
                        nodes.contains(&m.id)
                            && node.is_none_or(|node| node == m.id)
                            && key.scope.contains(&m.name, &m.roles, &m.labels)
                    };
                    let nodes: Vec<NodeId> = view.members.iter().filter(is_for).map(|m| m.id).collect();
                    if nodes.is_empty() || (is_deleted && layer.before == 0) {
                        continue;
                    }
                    found.push(KeptBack {
                        change: layer.number,
                        state: layer.state,
                        object,
                        key,
                        is_deleted,
                        revision: layer.before,
                        nodes: refs(nodes, &names),
                    });
                }
                found.sort_by(|a, b| (b.change, &a.key).cmp(&(a.change, &b.key)));
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }
}
