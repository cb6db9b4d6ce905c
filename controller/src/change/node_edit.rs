//! Edits of nodes as parts of a change: name, roles, labels, address.
//!
//! An edit is bound to the node's revision that it was made from, so that a plan says what the node would become and an
//! approval is of that. Applying writes it in the transaction of the change. Which scopes hold a node may differ before
//! and after: whoever guards a scope is asked on both [`Sides`].

mod store;

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{DraftVerb, NodeEdit, NodeEditView, NodeRef, NodeUpdate};
use lampas_shared::{
    access::Permission,
    fleet::{NodeName, Scope},
    id::{ChangeId, NodeId},
};

pub(super) use store::{insert, load, told};

use super::{ChangeError, approval::protection::rule};
use crate::{
    access::Outside,
    audit::Principal,
    compile::{NodeInput, ObjectInput, compile},
    db::{DbError, Tx},
    fleet::{self, FleetError},
    host,
};

/// An edit as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEdit {
    pub(crate) node: NodeId,
    /// What shall be.
    pub(crate) set: NodeUpdate,
    /// The node's revision that it was made from.
    pub(crate) base: u64,
    /// All of the node at that revision.
    pub(crate) was: NodeUpdate,
}

impl StoredEdit {
    /// Returns all of the node as it would be.
    fn after(&self) -> NodeUpdate {
        let (set, was) = (self.set.clone(), self.was.clone());
        let mut roles = set.roles.or(was.roles);
        if let Some(roles) = &mut roles {
            roles.sort();
            roles.dedup();
        }
        NodeUpdate {
            name: set.name.or(was.name),
            roles,
            labels: set.labels.or(was.labels),
            address: set.address.or(was.address),
        }
    }

    fn name(&self) -> String {
        self.was.name.as_ref().map_or_else(|| self.node.to_string(), ToString::to_string)
    }

    fn verb(&self) -> DraftVerb {
        let after = self.after();
        match () {
            () if after == self.was => DraftVerb::None,
            () if after.name != self.was.name => DraftVerb::Rename,
            () => DraftVerb::Update,
        }
    }

    /// Returns it in words, for the audit.
    pub(super) fn words(&self) -> String {
        format!("{} node {}", self.verb().as_str(), self.name())
    }

    fn view(&self, is_overtaken: bool) -> NodeEditView {
        let (verb, diff) = if is_overtaken {
            // Shown without a difference that would mislead.
            (DraftVerb::Conflict, String::new())
        } else {
            (self.verb(), host::text_diff(&text(&self.was), &text(&self.after())))
        };
        NodeEditView { node: NodeRef { id: self.node, name: self.name() }, verb, base: self.base, diff }
    }
}

/// The nodes as they stand, and as they would be with a change; each side by id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) before: &'a [NodeInput],
    pub(super) after: &'a [NodeInput],
}

impl<'a> Sides<'a> {
    /// Nodes that are the same on both.
    pub(super) fn same(members: &'a [NodeInput]) -> Self {
        Self { before: members, after: members }
    }

    /// Returns whether one of these nodes is within something on either side, or any node is on one side alone: whoever
    /// is led out of a guarded scope, or into one, would else be past the guard with whatever comes next.
    pub(super) fn is_touched(&self, nodes: &BTreeSet<NodeId>, is_within: impl Fn(&NodeInput) -> bool) -> bool {
        let has = |side: &[NodeInput]| side.iter().any(|m| nodes.contains(&m.id) && is_within(m));
        if has(self.before) {
            return true;
        }
        if std::ptr::eq(self.before, self.after) {
            return false;
        }
        let after: BTreeMap<NodeId, &NodeInput> = self.after.iter().map(|m| (m.id, m)).collect();
        let is_led = |m: &NodeInput| after.get(&m.id).is_some_and(|a| *a != m && is_within(a) != is_within(m));
        has(self.after) || self.before.iter().any(is_led)
    }
}

/// The nodes of the fleet beside what a change makes of them.
#[derive(Debug)]
pub(super) struct Both {
    before: Vec<NodeInput>,
    after: Option<Vec<NodeInput>>,
}

impl Both {
    /// Reads them for a change.
    pub(super) async fn of(tx: &mut Tx, change: ChangeId) -> Result<Self, DbError> {
        let before = fleet::members(tx).await?;
        let edits = load(tx, change).await?;
        let after = (!edits.is_empty()).then(|| overlay(&before, &edits));
        Ok(Self { before, after })
    }

    pub(super) fn sides(&self) -> Sides<'_> {
        Sides { before: &self.before, after: self.after.as_deref().unwrap_or(&self.before) }
    }
}

/// Binds edits to the nodes as they stand.
///
/// # Errors
/// When a node isn't there, was edited since, or stands twice; and when a field is not what it should be.
pub(super) async fn bind(
    tx: &mut Tx,
    edits: &[NodeEdit],
    members: &[NodeInput],
) -> Result<Vec<StoredEdit>, ChangeError> {
    let mut bound: Vec<StoredEdit> = Vec::with_capacity(edits.len());
    for edit in edits {
        let wrong = |why: &str| rule("/node_edits", "node", &edit.node, why);
        let found = match fleet::find(tx, &edit.node).await {
            Err(FleetError::NotFound(_)) => return Err(wrong("is not there")),
            found => found?,
        };
        let id = found.summary.id;
        if members.iter().all(|m| m.id != id) {
            return Err(wrong("is revoked; enrol it anew first"));
        }
        if bound.iter().any(|b| b.node == id) {
            return Err(wrong("stands twice in this change; one edit of each node is allowed"));
        }
        if edit.set == NodeUpdate::default() {
            return Err(wrong("is not edited: say its name, roles, labels or address"));
        }
        if let Some(base) = edit.base.filter(|b| *b != found.revision) {
            return Err(ChangeError::NodeConflict { node: found.summary.name, base, found: found.revision });
        }
        if let Some(address) = &edit.set.address {
            fleet::parse_address(address).map_err(FleetError::Field)?;
        }
        let mut roles = found.summary.roles;
        roles.sort();
        let was = NodeUpdate {
            name: Some(found.summary.name),
            roles: Some(roles),
            labels: Some(found.summary.labels),
            address: Some(found.summary.address.unwrap_or_default()),
        };
        bound.push(StoredEdit { node: id, set: edit.set.clone(), base: found.revision, was });
    }
    names_are_free(members, &bound)?;
    Ok(bound)
}

/// Looks that the nodes stand as they did when the edits were made, and that their new names are free.
///
/// # Errors
/// [`ChangeError::NodeConflict`]; or when a name was taken meanwhile.
pub(super) async fn hold(tx: &mut Tx, edits: &[StoredEdit], members: &[NodeInput]) -> Result<(), ChangeError> {
    if edits.is_empty() {
        return Ok(());
    }
    let revisions = store::revisions(tx, edits).await?;
    for edit in edits {
        let found = revisions.get(&edit.node).copied().unwrap_or_default();
        if found != edit.base {
            let node = edit.was.name.clone().ok_or_else(|| FleetError::NotFound(edit.node.to_string()))?;
            return Err(ChangeError::NodeConflict { node, base: edit.base, found });
        }
    }
    names_are_free(members, edits)
}

fn names_are_free(members: &[NodeInput], edits: &[StoredEdit]) -> Result<(), ChangeError> {
    let mut asked = BTreeSet::new();
    for edit in edits {
        let Some(name) = &edit.set.name else { continue };
        let is_taken = members.iter().any(|m| m.name == *name && m.id != edit.node);
        if is_taken || !asked.insert(name) {
            return Err(FleetError::NameTaken(name.clone()).into());
        }
    }
    Ok(())
}

/// Returns the nodes as they would be.
pub(super) fn overlay(members: &[NodeInput], edits: &[StoredEdit]) -> Vec<NodeInput> {
    let edits: BTreeMap<NodeId, &StoredEdit> = edits.iter().map(|e| (e.node, e)).collect();
    let one = |m: &NodeInput| {
        let mut node = m.clone();
        let Some(edit) = edits.get(&m.id) else { return node };
        let set = &edit.set;
        set.name.iter().for_each(|name| node.name.clone_from(name));
        set.roles.iter().for_each(|roles| node.roles = roles.iter().cloned().collect());
        set.labels.iter().for_each(|labels| node.labels.clone_from(labels));
        if let Some(address) = &set.address {
            // It was read when the edit was bound.
            node.address = fleet::parse_address(address).ok().flatten();
        }
        node
    };
    members.iter().map(one).collect()
}

/// Lets scopes that name a node follow it to its new name.
pub(super) fn follow(inputs: &mut [ObjectInput], edits: &[StoredEdit]) {
    let renamed: BTreeMap<&NodeName, &NodeName> =
        edits.iter().filter_map(|e| Some((e.was.name.as_ref()?, e.set.name.as_ref()?))).collect();
    if renamed.is_empty() {
        return;
    }
    for input in inputs {
        let spec = host::map_nodes(&input.spec, &|name| renamed.get(name).map(|n| (*n).clone()));
        if spec != *input.spec {
            input.spec = spec.into();
        }
    }
}

/// Refuses a tie on a node that is edited. Each is compiled by itself, so that the tie is told for it and not for another
/// node that has it too.
///
/// # Errors
/// [`ChangeError::Tie`].
pub(super) fn untied(
    after: &[NodeInput],
    edited: &BTreeSet<NodeId>,
    inputs: &[ObjectInput],
) -> Result<(), ChangeError> {
    for node in after.iter().filter(|m| edited.contains(&m.id)) {
        let alone = compile(std::slice::from_ref(node), inputs);
        if let Some(tie) = alone.ties.into_iter().find(|t| t.node.is_some()) {
            return Err(ChangeError::Tie(Box::new(tie)));
        }
    }
    Ok(())
}

/// Refuses to lead nodes to what somebody may not give them: each role that is new, and each scope of an object that holds
/// the node anew by its labels, must be one over which nodes are managed.
///
/// # Errors
/// With the scopes.
pub(super) fn must_not_gain<'s>(
    by: &Principal,
    sides: Sides<'_>,
    scopes: impl IntoIterator<Item = &'s Scope>,
) -> Result<(), Outside> {
    if by.rights.as_ref().is_none_or(|r| r.is_fleet(Permission::ManageNodes)) {
        return Ok(());
    }
    let selectors: BTreeSet<&Scope> = scopes.into_iter().filter(|s| matches!(s, Scope::Selector(_))).collect();
    let before: BTreeMap<NodeId, &NodeInput> = sides.before.iter().map(|m| (m.id, m)).collect();
    let mut gained: BTreeSet<Scope> = BTreeSet::new();
    for now in sides.after {
        let Some(was) = before.get(&now.id).filter(|was| **was != now) else { continue };
        gained.extend(now.roles.difference(&was.roles).cloned().map(Scope::Role));
        let has = |scope: &Scope, m: &NodeInput| scope.contains(&m.name, &m.roles, &m.labels);
        gained.extend(selectors.iter().filter(|s| has(s, now) && !has(s, was)).map(|s| (*s).clone()));
    }
    by.must_on_scopes(Permission::ManageNodes, &gained, sides.before)
}

/// Returns a change's edits as they are shown; those of an open one beside the nodes as they stand.
pub(super) async fn views(tx: &mut Tx, change: ChangeId, is_open: bool) -> Result<Vec<NodeEditView>, DbError> {
    let edits = load(tx, change).await?;
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    let revisions = if is_open { store::revisions(tx, &edits).await? } else { BTreeMap::new() };
    let is_overtaken = |e: &StoredEdit| is_open && revisions.get(&e.node) != Some(&e.base);
    Ok(edits.iter().map(|e| e.view(is_overtaken(e))).collect())
}

/// Returns the edits that undo a change's.
///
/// # Errors
/// [`ChangeError::NodeConflict`] when what it edited was edited again since.
pub(super) async fn inverse(tx: &mut Tx, change: ChangeId) -> Result<Vec<NodeEdit>, ChangeError> {
    let mut back = Vec::new();
    for edit in load(tx, change).await?.into_iter().filter(|e| e.verb() != DraftVerb::None) {
        let found = fleet::find(tx, &edit.node.to_string()).await?;
        let summary = found.summary;
        let after = edit.after();
        let mut roles = summary.roles;
        roles.sort();
        let (set, was) = (&edit.set, edit.was.clone());
        let stands = set.name.as_ref().is_none_or(|n| *n == summary.name)
            && (set.roles.is_none() || after.roles == Some(roles))
            && (set.labels.is_none() || after.labels == Some(summary.labels))
            && (set.address.is_none() || after.address == Some(summary.address.unwrap_or_default()));
        if !stands {
            return Err(ChangeError::NodeConflict { node: summary.name, base: edit.base + 1, found: found.revision });
        }
        let set = NodeUpdate {
            name: set.name.is_some().then_some(was.name).flatten(),
            roles: set.roles.is_some().then_some(was.roles).flatten(),
            labels: set.labels.is_some().then_some(was.labels).flatten(),
            address: set.address.is_some().then_some(was.address).flatten(),
        };
        back.push(NodeEdit { node: edit.node.to_string(), set, base: Some(found.revision) });
    }
    Ok(back)
}

/// Returns a node as lines, for a difference.
fn text(node: &NodeUpdate) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if let Some(name) = &node.name {
        let _ = writeln!(text, "name = {name}");
    }
    for role in node.roles.iter().flatten() {
        let _ = writeln!(text, "role = {role}");
    }
    for (key, value) in node.labels.iter().flatten() {
        let _ = writeln!(text, "label = {key}={value}");
    }
    if let Some(address) = node.address.as_ref().filter(|a| !a.is_empty()) {
        let _ = writeln!(text, "address = {address}");
    }
    text
}
