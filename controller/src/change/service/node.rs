//! Edits of nodes that move what they shall be: names, roles, labels, addresses.

use std::collections::BTreeSet;

use lampas_api::{FrozenScope, Node, NodeUpdate, ProtectedScope};
use lampas_runtime::clock;
use lampas_shared::{access::Permission, id::NodeId};

use super::{Changes, author};
use crate::{
    access,
    audit::{Entry, Principal},
    change::{
        ChangeError, approval, assign, desired, freeze,
        node_edit::{self, Sides},
        protected, rollout, root_code, superseded,
    },
    compile::{Compiled, NodeInput},
    db::Tx,
    fleet,
    host::{self, Stored},
};

impl Changes {
    /// Changes a node's name, roles, labels or address, and gives the nodes that this moves their next generation. Where a
    /// change would wait for an approval or the end of a freeze, it goes on only with a reason to go over that.
    ///
    /// # Errors
    /// When the roles or labels would make two objects of one level claim the same target, or something guards the nodes.
    pub async fn update_node(
        &self,
        id: NodeId,
        update: &NodeUpdate,
        expected: Option<u64>,
        over: Option<&str>,
        by: &Principal,
    ) -> Result<Node, ChangeError> {
        let (node, moved) = self
            .db()
            .write(|mut tx| async move {
                let before = fleet::members(&mut tx).await?;
                let standing = desired::standing(&mut tx).await?;
                fleet::update(&mut tx, id, update, expected, by).await?;
                let (moved, compiled) = recompile(&mut tx, Some(id)).await?;
                let now = fleet::members(&mut tx).await?;
                overtake(&mut tx, id, &before, by).await?;
                by.must_on_nodes(Permission::ManageNodes, moved.iter().copied(), &before)?;
                by.must_be_proven(|| root_code::between(&standing.compiled, &compiled, moved.iter().copied()))?;
                access::grant::must_not_widen(&mut tx, by, (&before, &now)).await??;
                if by.rights.is_some() {
                    let all = host::all(&mut tx).await?;
                    let sides = Sides { before: &before, after: &now };
                    node_edit::must_not_gain(by, sides, all.objects.values().map(|o| &o.spec.scope))?;
                }
                let node = fleet::find(&mut tx, &id.to_string()).await?;
                // As it was and as it is: nobody leads a node out of a scope that is guarded, or into one.
                let guarded = guards(&mut tx, Sides { before: &before, after: &now }, &moved).await?;
                if let Some(told) = guarded.told() {
                    let Some(why) = over else { return Err(ChangeError::Guarded(told)) };
                    for side in [&before, &now] {
                        by.must_on_nodes(Permission::Protect, moved.iter().copied().chain([id]), side)?;
                    }
                    for (act, scopes) in guarded.overridden() {
                        let entry = Entry::done(by, act, node.summary.name.as_str()).because(why);
                        tx.audit(entry.with_details(&serde_json::json!({ "scopes": scopes })));
                    }
                }
                Ok::<_, ChangeError>(tx.done((node, moved)))
            })
            .await?;
        self.gate.wake(&moved);
        Ok(node)
    }
}

/// Settles the changes that would have edited a node as it was before.
pub(super) async fn overtake(tx: &mut Tx, id: NodeId, before: &[NodeInput], by: &Principal) -> Result<(), ChangeError> {
    let nodes: Vec<_> = before.iter().filter(|m| m.id == id).map(|m| (id, m.name.clone())).collect();
    let act = superseded::Act { change: None, by, author: &author(by), now: clock::now() };
    superseded::by_nodes(tx, &nodes, &act).await
}

/// Compiles what stands in the transaction and assigns it; refuses ties on the node that was changed.
pub(super) async fn recompile(tx: &mut Tx, changed: Option<NodeId>) -> Result<(Vec<NodeId>, Compiled), ChangeError> {
    let members = fleet::members(tx).await?;
    let left = fleet::still_named(tx).await?;
    let all = host::all(tx).await?;
    let inputs: Vec<_> = all.objects.values().map(Stored::input).collect();
    let holds = rollout::store::holds(tx, &BTreeSet::new()).await?;
    let compiled = crate::compile::compile_held(&members, &left, &inputs, &holds);
    node_edit::untied(&members, &changed.into_iter().collect(), &inputs)?;
    let (_, moved) = assign::assign(tx, &compiled, None).await?;
    Ok((moved, compiled))
}

/// What a change would wait for that moved these nodes.
#[derive(Debug)]
pub(crate) struct Guards {
    /// The freezes that stand over them.
    pub(crate) frozen: Vec<FrozenScope>,
    /// What is protected among them.
    pub(crate) protected: Vec<ProtectedScope>,
}

/// Returns what a change would wait for that moved a node as it stands.
///
/// # Errors
/// When the store fails.
pub(crate) async fn guards_of(tx: &mut Tx, node: NodeId) -> Result<Guards, ChangeError> {
    let members = fleet::members(tx).await?;
    guards(tx, Sides::same(&members), &[node]).await
}

/// Returns what a change would wait for that moved these nodes.
pub(super) async fn guards(tx: &mut Tx, sides: Sides<'_>, moved: &[NodeId]) -> Result<Guards, ChangeError> {
    let nodes: BTreeSet<NodeId> = moved.iter().copied().collect();
    let frozen = freeze::over(tx, sides, &nodes, clock::now()).await?;
    Ok(Guards { frozen, protected: approval::protection::touched(tx, sides, &nodes).await? })
}

impl Guards {
    fn scopes(&self) -> (Vec<String>, Vec<String>) {
        let frozen = self.frozen.iter().map(|f| f.scope.to_string()).collect();
        (frozen, self.protected.iter().map(|p| p.scope.to_string()).collect())
    }

    /// Says what stands in the way, if anything does.
    pub(crate) fn told(&self) -> Option<String> {
        if !self.frozen.is_empty() {
            return Some(freeze::told(&self.frozen));
        }
        (!self.protected.is_empty()).then(|| protected(&self.protected))
    }

    /// Returns the acts that go over them, with their scopes, for the audit.
    pub(crate) fn overridden(&self) -> impl Iterator<Item = (&'static str, Vec<String>)> {
        let (frozen, protected) = self.scopes();
        let acts = [("node.override_freeze", frozen), ("node.override_protection", protected)];
        acts.into_iter().filter(|(_, scopes)| !scopes.is_empty())
    }
}
