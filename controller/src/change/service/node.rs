//! Edits of nodes that move what they shall be: names, roles, labels, addresses, and leaving the fleet.

use std::collections::BTreeSet;

use lampas_api::{Draft, DraftAct, Node, NodeUpdate};
use lampas_runtime::clock;
use lampas_shared::{access::Permission, id::NodeId};

use super::{Apply, Changes, NewChange, apply, create};
use crate::{
    access,
    audit::Principal,
    change::{
        ChangeError, approval, assign, freeze,
        node_edit::{self, Sides},
        rollout,
    },
    db::Tx,
    fleet,
    host::{self, Stored},
};

impl Changes {
    /// Changes a node's name, roles, labels or address, and gives the nodes that this moves their next generation.
    ///
    /// # Errors
    /// When the roles or labels would make two objects of one level claim the same target.
    pub async fn update_node(
        &self,
        id: NodeId,
        update: &NodeUpdate,
        expected: Option<u64>,
        may_override: bool,
        by: &Principal,
    ) -> Result<Node, ChangeError> {
        let (node, moved) = self
            .db()
            .write(|mut tx| async move {
                let before = fleet::members(&mut tx).await?;
                fleet::update(&mut tx, id, update, expected, by).await?;
                let moved = recompile(&mut tx, Some(id)).await?;
                let now = fleet::members(&mut tx).await?;
                by.must_on_nodes(Permission::ManageNodes, moved.iter().copied(), &before)?;
                access::grant::must_not_widen(&mut tx, by, (&before, &now)).await??;
                if by.rights.is_some() {
                    let all = host::all(&mut tx).await?;
                    let sides = Sides { before: &before, after: &now };
                    node_edit::must_not_gain(by, sides, all.objects.values().map(|o| &o.spec.scope))?;
                }
                if !may_override {
                    // As it was and as it is: nobody leads a node out of a scope that is guarded, or into one.
                    unguarded(&mut tx, Sides { before: &before, after: &now }, &moved).await?;
                }
                let node = fleet::find(&mut tx, &id.to_string()).await?;
                Ok::<_, ChangeError>(tx.done((node, moved)))
            })
            .await?;
        self.gate.wake(&moved);
        Ok(node)
    }

    /// Revokes a node: its connection ends at once, and it can't come back without a new token.
    pub async fn revoke_node(&self, id: NodeId, reason: &str, by: &Principal) -> Result<(), ChangeError> {
        let moved = self
            .db()
            .write(|mut tx| async move {
                fleet::revoke(&mut tx, id, by, reason).await?;
                let moved = recompile(&mut tx, None).await?;
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await?;
        self.gate.close(id, "revoked");
        self.gate.wake(&moved);
        Ok(())
    }

    /// Takes a node out of the fleet, with the objects that are for it alone.
    pub async fn remove_node(&self, id: NodeId, reason: &str, by: &Principal) -> Result<(), ChangeError> {
        let moved = self
            .db()
            .write(|mut tx| async move {
                let own = host::of_node(&mut tx, id).await?;
                drop_objects(&mut tx, own, by).await?;
                fleet::remove(&mut tx, id, by, reason).await?;
                let moved = recompile(&mut tx, None).await?;
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await?;
        self.gate.close(id, "removed");
        self.gate.wake(&moved);
        Ok(())
    }
}

/// Compiles what stands in the transaction and assigns it; refuses ties on the node that was changed.
async fn recompile(tx: &mut Tx, changed: Option<NodeId>) -> Result<Vec<NodeId>, ChangeError> {
    let members = fleet::members(tx).await?;
    let all = host::all(tx).await?;
    let inputs: Vec<_> = all.objects.values().map(Stored::input).collect();
    let holds = rollout::store::holds(tx, &BTreeSet::new()).await?;
    let compiled = crate::compile::compile_held(&members, &inputs, &holds);
    node_edit::untied(&members, &changed.into_iter().collect(), &inputs)?;
    Ok(assign::assign(tx, &compiled, None).await?.1)
}

async fn drop_objects(tx: &mut Tx, objects: Vec<Stored>, by: &Principal) -> Result<(), ChangeError> {
    if objects.is_empty() {
        return Ok(());
    }
    let drafts: Vec<_> = objects
        .iter()
        .map(|o| Draft { act: DraftAct::Delete(o.spec.key()), base: Some(o.revision), previous_name: None })
        .collect();
    let new = NewChange { drafts, reason: "its node was removed".to_owned(), ..NewChange::default() };
    // What is for a node alone goes with it: who may take the node away needs no right to change objects.
    let by = &by.unbound();
    let row = create(tx, &new, by).await?;
    apply(tx, row.id, &Apply { is_own: true, ..Apply::default() }, by).await.map(drop)
}

/// Refuses to move nodes outside of a change where a change would need an approval, or the end of a freeze.
async fn unguarded(tx: &mut Tx, sides: Sides<'_>, moved: &[NodeId]) -> Result<(), ChangeError> {
    let nodes: BTreeSet<NodeId> = moved.iter().copied().collect();
    let frozen = freeze::over(tx, sides, &nodes, clock::now()).await?;
    if !frozen.is_empty() {
        return Err(ChangeError::Guarded(freeze::told(&frozen)));
    }
    let protected = approval::protection::touched(tx, sides, &nodes).await?;
    let scopes: Vec<String> = protected.iter().map(|p| p.scope.to_string()).collect();
    if scopes.is_empty() { Ok(()) } else { Err(ChangeError::Guarded(format!("{} is protected", scopes.join(", ")))) }
}
