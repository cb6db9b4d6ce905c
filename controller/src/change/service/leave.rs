//! Leaving the fleet: a node is revoked, removed or ejected, or its owner ejected it and it tells so itself.
//!
//! Lines that are generated from nodes name it on others, so its going changes those. Who removes or ejects a node asks what
//! guards them, as any edit of a node does. A revocation waits for nobody, for the certificate is to end at once: where
//! something guards who has the lines, they stay as they are (`stays_named` in its row), and go with the removal.

use std::collections::BTreeSet;

use lampas_api::{Draft, DraftAct};
use lampas_runtime::clock;
use lampas_shared::{access::Permission, id::NodeId};
use tracing::info;

use super::{
    Apply, Changes, NewChange, apply, create,
    node::{guards, overtake, recompile},
};
use crate::{
    audit::{Entry, Principal},
    change::{
        ChangeError,
        desired::{self, View},
        node_edit::Sides,
        rollout,
    },
    compile::{NodeInput, compile_held},
    db::{Db, DbError, Tx},
    fleet,
    host::{self, Stored},
    takeover,
};

/// The acts that go over guards, with their scopes, for the audit.
pub(crate) type Overridden = Vec<(&'static str, Vec<String>)>;

/// So many nodes are named in a refusal.
const NAMED: usize = 5;

impl Changes {
    /// Revokes a node: its connection ends at once, and it can't come back without a new token. Returns the names of the nodes
    /// whose generated lines go on naming it, because something guards them or `by` may not manage them.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn revoke_node(&self, id: NodeId, reason: &str, by: &Principal) -> Result<Vec<String>, ChangeError> {
        self.end_node(id, reason, false, by).await
    }

    /// The same for who looked what guards the others; `is_over` says that it goes over that.
    pub(crate) async fn end_node(
        &self,
        id: NodeId,
        reason: &str,
        is_over: bool,
        by: &Principal,
    ) -> Result<Vec<String>, ChangeError> {
        let (moved, named_on) = self
            .db()
            .write(|mut tx| async move {
                let done = revoke(&mut tx, id, reason, is_over, by).await?;
                Ok::<_, ChangeError>(tx.done(done))
            })
            .await?;
        self.gate.close(id, "revoked");
        self.gate.wake(&moved);
        Ok(named_on)
    }

    /// Takes a node out of the fleet, with the objects that are for it alone. Where a change would wait that took the lines
    /// away which name it on others, it goes on only with a reason to go over that.
    ///
    /// # Errors
    /// When something guards those others, or `by` may not manage them.
    pub async fn remove_node(
        &self,
        id: NodeId,
        (reason, over): (&str, Option<&str>),
        by: &Principal,
    ) -> Result<(), ChangeError> {
        let moved = self
            .db()
            .write(|mut tx| async move {
                let view = desired::standing(&mut tx).await?;
                let overridden = may_go(&mut tx, &view, (id, "removing"), over, by).await?;
                let own = host::of_node(&mut tx, id).await?;
                drop_objects(&mut tx, own, by).await?;
                let name = fleet::remove(&mut tx, id, by, reason).await?;
                note(&mut tx, name.as_str(), &overridden, over, by);
                overtake(&mut tx, id, &view.members, by).await?;
                let (moved, _) = recompile(&mut tx, None).await?;
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await?;
        self.gate.close(id, "removed");
        self.gate.wake(&moved);
        Ok(())
    }

    /// Looks whether a node may be ejected: something is written there, and lines that name it go from others. Returns the acts
    /// that go over what guards them.
    ///
    /// # Errors
    /// As [`Self::remove_node`], and when something guards the node itself.
    pub(crate) async fn may_eject(
        &self,
        id: NodeId,
        over: Option<&str>,
        by: &Principal,
    ) -> Result<Overridden, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let view = desired::standing(&mut tx).await?;
                let overridden = may_go(&mut tx, &view, (id, "ejecting"), over, by).await?;
                Ok::<_, ChangeError>(tx.done(overridden))
            })
            .await
    }
}

/// Puts what was gone over into the audit.
pub(crate) fn note(tx: &mut Tx, name: &str, overridden: &Overridden, over: Option<&str>, by: &Principal) {
    for (act, scopes) in overridden {
        let entry = Entry::done(by, act, name).because(over.unwrap_or_default());
        tx.audit(entry.with_details(&serde_json::json!({ "scopes": scopes })));
    }
}

/// Lets go of a node that its owner ejected: its drift ends, no change targets it any more, and it can't come back without a
/// new token. Returns the nodes that this moves. Its connection is for the caller to end.
pub(crate) async fn let_go(db: &Db, id: NodeId) -> Result<Vec<NodeId>, ChangeError> {
    db.write(|mut tx| async move {
        let node = fleet::find(&mut tx, &id.to_string()).await?;
        // What it says twice was done the first time.
        if node.summary.ejected_at.is_some() {
            return Ok(tx.done(Vec::new()));
        }
        let name = node.summary.name.to_string();
        let by = &Principal::new(format!("node:{name}"), "the node itself");
        takeover::ejected(&mut tx, id, &name, clock::now(), by).await?;
        let (moved, _) = revoke(&mut tx, id, "ejected on the node", false, by).await?;
        info!(node.id = %id, node.name = name, "a node says that its owner ejected it");
        Ok(tx.done(moved))
    })
    .await
}

/// Revokes a node. Returns who moves, and on which nodes it is still named.
async fn revoke(
    tx: &mut Tx,
    id: NodeId,
    reason: &str,
    is_over: bool,
    by: &Principal,
) -> Result<(Vec<NodeId>, Vec<String>), ChangeError> {
    let view = desired::standing(tx).await?;
    let mut named_on = Vec::new();
    let mut why = None;
    if !is_over {
        let others = named_on_others(tx, &view, id).await?;
        let outside = by.must_on_nodes(Permission::ManageNodes, others.iter().copied(), &view.members).err();
        let guarded = guards(tx, Sides::same(&view.members), &others).await?.told();
        why = guarded.or_else(|| outside.map(|outside| outside.to_string()));
        if why.is_some() {
            named_on = names(&view, &others);
        }
    }
    let name = fleet::revoke(tx, id, by, reason).await?;
    fleet::stay_named(tx, id, why.is_some()).await?;
    if let Some(why) = why {
        let entry = Entry::done(by, "node.stay_named", name.as_str()).because(why);
        tx.audit(entry.with_details(&serde_json::json!({ "nodes": named_on })));
    }
    overtake(tx, id, &view.members, by).await?;
    let (moved, _) = recompile(tx, None).await?;
    Ok((moved, named_on))
}

/// Lets a node go where nothing guards whom that changes, or somebody says why it goes over that.
async fn may_go(
    tx: &mut Tx,
    view: &View,
    (id, doing): (NodeId, &'static str),
    over: Option<&str>,
    by: &Principal,
) -> Result<Overridden, ChangeError> {
    let mut changed = named_on_others(tx, view, id).await?;
    by.must_on_nodes(Permission::ManageNodes, changed.iter().copied(), &view.members)?;
    let is_written = doing == "ejecting" && view.members.iter().any(|m| m.id == id);
    changed.extend(is_written.then_some(id));
    let guarded = guards(tx, Sides::same(&view.members), &changed).await?;
    let Some(told) = guarded.told() else { return Ok(Vec::new()) };
    if over.is_none() {
        let node = view.all.names.get(&id).map_or_else(|| id.to_string(), ToString::to_string);
        let mut on = names(view, &changed);
        let more = on.len().saturating_sub(NAMED);
        on.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(ChangeError::Leaving { told, what: format!("{doing} {node}"), on: on.join(", ") + &more });
    }
    by.must_on_nodes(Permission::Protect, changed, &view.members)?;
    Ok(guarded.overridden().collect())
}

/// Returns the nodes that would be otherwise without a node: generated lines name it there.
async fn named_on_others(tx: &mut Tx, view: &View, id: NodeId) -> Result<Vec<NodeId>, DbError> {
    // Lines name addresses: most fleets need no second look.
    let has_line = |n: &NodeInput| n.id == id && n.address.is_some();
    if !view.members.iter().chain(&view.left).any(has_line) {
        return Ok(Vec::new());
    }
    let without = |nodes: &[NodeInput]| nodes.iter().filter(|n| n.id != id).cloned().collect::<Vec<_>>();
    let inputs: Vec<_> = view.all.objects.values().map(Stored::input).collect();
    let holds = rollout::store::holds(tx, &BTreeSet::new()).await?;
    let compiled = compile_held(&without(&view.members), &without(&view.left), &inputs, &holds);
    let moves = |(node, hash): &(NodeId, _)| view.compiled.hash(*node) != Some(*hash);
    Ok(compiled.hashes().filter(moves).map(|(node, _)| node).collect())
}

/// Returns the names of nodes in their order.
fn names(view: &View, nodes: &[NodeId]) -> Vec<String> {
    desired::refs(nodes.iter().copied(), &view.all.names).into_iter().map(|n| n.name).collect()
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
