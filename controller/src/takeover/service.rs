//! The service behind taking over and giving back: what handlers call.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lampas_api::{
    EjectedNode, Foreign, ForeignItem, ImportRequest, Imported, Node, NodeRef, Proof, RoleComparison, TakeOver,
    TakenItem, Unplanned,
};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    desired::NodeDesired,
    error::Fault,
    fleet::RoleName,
    id::NodeId,
    object::Target,
    report::NodePlan,
    scan::{Scan, ScanRequest},
};

use super::{
    TakeoverError,
    compare::compare,
    import::{Import, Taken, Wanted, import},
    read::{about, count, is_public, refusal, show, show_line},
    store,
};
use crate::{
    audit::{Entry, Principal},
    change::{ChangeError, ChangeRow, Changes, Guards, NewChange, guards_of, note_overridden, root_code},
    db::{DbError, Tx},
    fleet::{self, FleetError, NodeFilter},
};

/// How many nodes of a role are compared.
const MAX_NODES: u32 = 200;
/// How many nodes are scanned at once: each answer may hold 8 MiB.
const AT_ONCE: usize = 8;
/// How many items one import takes.
const MAX_ITEMS: usize = 1000;
/// How many paths one scan is asked for.
const MAX_PATHS: usize = 256;
/// How long one node has, of those that are compared.
const SCAN_LIMIT: Duration = Duration::from_secs(30);

/// The service. It is as cheap as what it holds.
#[derive(Debug)]
pub(super) struct Takeover<'a> {
    changes: &'a Changes,
}

impl<'a> Takeover<'a> {
    pub(super) fn new(changes: &'a Changes) -> Self {
        Self { changes }
    }

    /// Looks at what stands unmanaged on a node.
    pub(super) async fn foreign(&self, which: &str, may_read: bool) -> Result<Foreign, TakeoverError> {
        let node = self.node(which).await?;
        let scan = self.scan(&node, Vec::new()).await?;
        let item = |f: &lampas_shared::scan::ForeignFile| ForeignItem {
            place: f.place,
            path: show_line(&f.path),
            about: about(f),
            content: f.file.as_ref().and_then(|f| f.content.as_deref()).filter(|_| may_read || is_public(f)).map(show),
            refusal: refusal(f),
            count: count(f),
        };
        Ok(Foreign {
            node: reference(&node),
            at: scan.at,
            files: scan.files.iter().map(item).collect(),
            packages: scan.packages,
            users: scan.users,
            managed: scan.managed,
            notes: scan.notes.iter().map(|n| show_line(n)).collect(),
        })
    }

    /// Puts the nodes of a role beside each other.
    pub(super) async fn compare(&self, role: &RoleName, may_read: bool) -> Result<RoleComparison, TakeoverError> {
        let filter = NodeFilter { role: Some(role.clone()), ..NodeFilter::default() };
        let filter = &filter;
        let page = self
            .changes
            .db()
            .read(|mut tx: Tx| async move {
                let page = fleet::list(&mut tx, filter, None, MAX_NODES).await?;
                Ok::<_, DbError>(tx.done(page))
            })
            .await?;
        let mut notes = Vec::new();
        if page.next.is_some() {
            notes.push(format!("only the first {MAX_NODES} nodes of the role are compared"));
        }
        let nodes: Vec<NodeRef> =
            page.items.into_iter().map(|n| NodeRef { id: n.id, name: n.name.to_string() }).collect();
        let mut answers: Vec<(NodeRef, Result<Scan, Fault>)> = stream::iter(nodes)
            .map(|node| async move {
                let asked = self.changes.gate().scan(node.id, ScanRequest::default());
                let late = || Fault::passing("link.hung", format!("no answer within {} s", SCAN_LIMIT.as_secs()));
                let scan = tokio::time::timeout(SCAN_LIMIT, asked).await.unwrap_or_else(|_| Err(late()));
                (node, scan)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        answers.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let (mut scans, mut unasked) = (Vec::new(), Vec::new());
        for (node, answer) in answers {
            match answer {
                Ok(scan) => scans.push((node, scan)),
                Err(fault) => unasked.push(Unplanned { node, reason: fault.message }),
            }
        }
        for (node, scan) in &scans {
            notes.extend(scan.notes.iter().map(|n| format!("{}: {}", node.name, show_line(n))));
        }
        let managed = scans.iter().map(|(_, s)| s.managed).sum();
        let items = tokio::task::spawn_blocking(move || (compare(&scans, may_read), scans)).await;
        let (items, scans) = items.map_err(|e| TakeoverError::Refused(format!("the comparison failed: {e}")))?;
        Ok(RoleComparison { nodes: scans.into_iter().map(|(n, _)| n).collect(), unasked, items, managed, notes })
    }

    /// Makes a planned change of what stands on a node.
    pub(super) async fn import(
        &self,
        which: &str,
        request: &ImportRequest,
        may_read: bool,
        by: &Principal,
    ) -> Result<Imported, TakeoverError> {
        if request.items.len() > MAX_ITEMS {
            return Err(TakeoverError::Refused(format!("items: at most {MAX_ITEMS} at once")));
        }
        let node = self.node(which).await?;
        let scan = self.wanted_scan(&node, request).await?;
        let view = self.changes.desired().view().await?;
        let standing =
            view.all.objects.values().map(|o| (o.spec.key(), o.spec.targets().unwrap_or_default())).collect();
        let wanted =
            Wanted { items: &request.items, scope: &request.scope, as_jobs: request.as_jobs, standing: &standing };
        let hidden = scan.files.iter().filter(|f| !may_read && f.file.is_some() && !is_public(f));
        let hidden: Vec<String> = hidden.map(|f| f.path.clone()).collect();
        let open = Scan { files: scan.files.into_iter().filter(|f| !hidden.contains(&f.path)).collect(), ..scan };
        let mut found = import(&open, &wanted);
        found.left.retain(|l| !hidden.contains(&l.item));
        found.left.extend(hidden.iter().map(|path| lampas_api::LeftItem {
            item: show_line(path),
            reason: "its content needs the permission read_content".to_owned(),
        }));
        if found.taken.is_empty() {
            return Ok(Imported { change: None, number: None, taken: Vec::new(), left: found.left });
        }
        let reason = match request.reason.trim() {
            "" => format!("imported from {}", node.summary.name),
            given => format!("{given} (imported from {})", node.summary.name),
        };
        let only_look = request.only_look;
        let new = NewChange { drafts: found.drafts(), reason, only_look, ..NewChange::default() };
        let change = self.changes.create(&new, by).await?;
        self.changes.plan(change.id, by).await?;
        let taken = self.prove(&node, &change, &found).await?;
        let (row, name) = (&change, node.summary.name.as_str());
        self.changes
            .db()
            .write(|mut tx| async move {
                let entry = Entry::done(by, "node.import", name).because(row.reason.clone());
                tx.audit(entry.with_details(&serde_json::json!({ "change": row.number })));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(Imported { change: Some(change.id), number: Some(change.number), taken, left: found.left })
    }

    /// Scans for what is wanted: the usual places, and what is asked for by path besides.
    async fn wanted_scan(&self, node: &Node, request: &ImportRequest) -> Result<Scan, TakeoverError> {
        let is_path = |i: &&String| i.starts_with('/');
        let paths: Vec<String> = request.items.iter().filter(is_path).cloned().collect();
        let only_paths = !paths.is_empty() && paths.len() == request.items.len() && paths.len() <= MAX_PATHS;
        if only_paths {
            return self.scan(node, paths).await;
        }
        let mut scan = self.scan(node, Vec::new()).await?;
        let known = |p: &&String| scan.files.iter().any(|f| f.path == **p && f.file.is_some());
        let more: Vec<String> = paths.iter().filter(|p| !known(p)).take(MAX_PATHS).cloned().collect();
        if !more.is_empty() {
            let asked = self.scan(node, more).await?;
            scan.files.retain(|f| !asked.files.iter().any(|a| a.path == f.path));
            scan.files.extend(asked.files);
        }
        Ok(scan)
    }

    /// Asks what the plan says of what was taken: of a file with its own bytes, nothing.
    async fn prove(&self, node: &Node, change: &ChangeRow, found: &Import) -> Result<Vec<TakenItem>, TakeoverError> {
        let id = node.summary.id;
        let shown = self.changes.show(change.id).await?;
        let plan = shown.plan.as_ref();
        let unplanned = plan.and_then(|p| p.unplanned.iter().find(|u| u.node.id == id)).map(|u| &u.reason);
        let mine = plan.into_iter().flat_map(|p| &p.groups).find(|g| g.nodes.iter().any(|n| n.id == id));
        let unplanned = unplanned.or_else(|| mine?.unasked.as_ref());
        let actions: Vec<_> = plan
            .into_iter()
            .flat_map(|p| &p.groups)
            .filter(|g| g.nodes.iter().any(|n| n.id == id))
            .flat_map(|g| &g.actions)
            .collect();
        let is_member = is_within(node, &found.taken);
        let proof = |taken: &Taken| {
            let targets: Vec<Target> = taken.spec.targets().unwrap_or_default();
            let action = actions.iter().find(|a| targets.contains(&a.target));
            match (unplanned, action) {
                (Some(why), _) => (Proof::Unproven, why.clone()),
                (None, Some(action)) => match &action.fault {
                    Some(fault) => (Proof::Unproven, fault.message.clone()),
                    None if taken.is_same => {
                        (Proof::Changes, "it was changed since it was read; import it again".into())
                    }
                    None => (Proof::Changes, String::new()),
                },
                (None, None) if !is_member => (Proof::Unproven, "the node is not in the scope".to_owned()),
                (None, None) => (Proof::Unchanged, String::new()),
            }
        };
        let item = |taken: &Taken| {
            let (proof, detail) = proof(taken);
            TakenItem {
                item: taken.item.clone(),
                object: format!("{} {}", taken.spec.body.kind(), taken.spec.name),
                proof,
                detail,
            }
        };
        Ok(found.taken.iter().map(item).collect())
    }

    /// Shows what taking over would do.
    pub(super) async fn take_over(&self, which: &str) -> Result<TakeOver, TakeoverError> {
        let node = self.node(which).await?;
        let (plan, resources) = self.plan(&node).await?;
        let open: std::collections::BTreeSet<&Target> = plan.actions.iter().map(|a| &a.target).collect();
        let Guards { frozen, protected } = self.guards(node.summary.id).await?;
        Ok(TakeOver {
            frozen,
            protected,
            node: reference(&node),
            is_observing: node.summary.is_observing,
            plan: plan_id(&plan),
            unchanged: (resources.saturating_sub(open.len())) as u32,
            actions: plan.actions,
        })
    }

    /// Returns what a change would wait for that moved a node.
    async fn guards(&self, node: NodeId) -> Result<Guards, TakeoverError> {
        let read = self.changes.db().read(|mut tx| async move {
            let guards = guards_of(&mut tx, node).await?;
            Ok::<_, ChangeError>(tx.done(guards))
        });
        Ok(read.await?)
    }

    /// Ends observing, if what was shown still holds, and neither a freeze nor a protection stands in its way, or `over` says
    /// why it goes over them.
    pub(super) async fn manage(
        &self,
        which: &str,
        seen: &str,
        (reason, over): (&str, Option<&str>),
        by: &Principal,
    ) -> Result<(), TakeoverError> {
        let node = self.node(which).await?;
        let (plan, resources) = self.plan(&node).await?;
        if plan_id(&plan) != seen {
            return Err(TakeoverError::Moved);
        }
        let id = node.summary.id;
        // Where nothing would be written there is nothing to wait for.
        let guards = if plan.actions.is_empty() { None } else { Some(self.guards(id).await?) };
        let overridden = guards.map(|guards| passed(guards, &node, over)).transpose()?;
        let overridden: Vec<_> = overridden.into_iter().flatten().collect();
        let view = self.changes.desired().view().await?;
        if !overridden.is_empty() {
            by.must_on_nodes(Permission::Protect, [id], view.members()).map_err(ChangeError::from)?;
        }
        let written = plan.actions.iter().map(|a| &a.target).collect();
        by.must_be_proven(|| root_code::written(&view.compiled, id, &written)).map_err(ChangeError::from)?;
        self.changes.gate().manage(id).await.map_err(|fault| failed(&node, fault))?;
        let details = serde_json::json!({ "plan": seen, "actions": plan.actions.len(), "resources": resources });
        let (name, details, overridden) = (node.summary.name.as_str(), &details, &overridden);
        self.changes
            .db()
            .write(|mut tx| async move {
                store::managed(&mut tx, id, name, reason, details, by).await?;
                note_overridden(&mut tx, name, overridden, over, by);
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Leaves plain files on a node and takes it out of the fleet; its history stays. Where a freeze or a protection stands over
    /// it, or over nodes on which a generated line names it, it goes on only when `over` says why it goes over them.
    pub(super) async fn eject(
        &self,
        which: &str,
        confirm: &str,
        (reason, over): (&str, Option<&str>),
        by: &Principal,
    ) -> Result<EjectedNode, TakeoverError> {
        let node = self.node(which).await?;
        let name = node.summary.name.to_string();
        if confirm != name {
            return Err(TakeoverError::Refused(format!("confirm: type the node's name, {name}, to eject it")));
        }
        if node.summary.ejected_at.is_some() {
            return Err(TakeoverError::Refused(format!("{name} is ejected already")));
        }
        let id = node.summary.id;
        let overridden = self.changes.may_eject(id, over, by).await?;
        let ejected = self.changes.gate().eject(id).await.map_err(|fault| {
            let mut fault = fault;
            if fault.code == "link.offline" {
                fault.message = "is not connected; root can run `lampas-agent eject` on it".to_owned();
            }
            failed(&node, fault)
        })?;
        let (text, gone_over) = (name.as_str(), &overridden);
        self.changes
            .db()
            .write(|mut tx| async move {
                store::ejected(&mut tx, id, text, clock::now(), by).await?;
                note_overridden(&mut tx, text, gone_over, over, by);
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        let why = if reason.is_empty() { "ejected" } else { reason };
        self.changes.end_node(id, why, !overridden.is_empty(), by).await?;
        let place = |p: lampas_shared::scan::EjectedPlace| lampas_shared::scan::EjectedPlace {
            path: show_line(&p.path),
            what: show_line(&p.what),
        };
        Ok(EjectedNode {
            node: id,
            name,
            places: ejected.places.into_iter().map(place).collect(),
            manifests: ejected.manifests.iter().map(|m| show_line(m)).collect(),
        })
    }

    /// Asks the node what it would do for the state that it shall have.
    async fn plan(&self, node: &Node) -> Result<(NodePlan, usize), TakeoverError> {
        let id = node.summary.id;
        let state: NodeDesired = match self.changes.desired().desired_for(id).await? {
            Some(state) => state,
            // Nothing is for it yet: then nothing would be done.
            None => {
                let empty = lampas_shared::desired::ContentHash::of(&[]);
                return Ok((NodePlan { desired: empty, observed: empty, actions: Vec::new() }, 0));
            }
        };
        let resources = state.resources().count();
        let plan = self.changes.gate().plan(id, state).await.map_err(|fault| failed(node, fault))?;
        Ok((plan, resources))
    }

    async fn scan(&self, node: &Node, paths: Vec<String>) -> Result<Scan, TakeoverError> {
        let request = ScanRequest { paths };
        self.changes.gate().scan(node.summary.id, request).await.map_err(|fault| failed(node, fault))
    }

    async fn node(&self, which: &str) -> Result<Node, TakeoverError> {
        self.changes
            .db()
            .read(|mut tx: Tx| async move {
                let node = fleet::find(&mut tx, which).await?;
                Ok::<_, FleetError>(tx.done(node))
            })
            .await
            .map_err(TakeoverError::from)
    }
}

/// Lets a take-over through what guards the node, if somebody said why; returns the acts that go over it, for the audit.
fn passed(guards: Guards, node: &Node, over: Option<&str>) -> Result<Vec<(&'static str, Vec<String>)>, TakeoverError> {
    let name = || node.summary.name.to_string();
    match over {
        Some(_) => Ok(guards.overridden().collect()),
        None if !guards.frozen.is_empty() => Err(TakeoverError::Frozen { node: name(), frozen: guards.frozen }),
        None if !guards.protected.is_empty() => Err(TakeoverError::Protected { node: name(), needs: guards.protected }),
        None => Ok(Vec::new()),
    }
}

/// Whether a node is in the scope that the objects are for.
fn is_within(node: &Node, taken: &[Taken]) -> bool {
    let summary = &node.summary;
    let roles = summary.roles.iter().cloned().collect();
    taken.iter().all(|t| t.spec.scope.contains(&summary.name, &roles, &summary.labels))
}

/// A plan's id: what shall be, what was looked at, and what would be done.
fn plan_id(plan: &NodePlan) -> String {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(plan.desired.as_bytes());
    bytes.extend_from_slice(plan.observed.as_bytes());
    for action in &plan.actions {
        bytes.extend_from_slice(action.target.as_str().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(action.diff.as_bytes());
        bytes.push(0);
    }
    lampas_shared::desired::ContentHash::of(&bytes).to_string().chars().take(16).collect()
}

fn reference(node: &Node) -> NodeRef {
    NodeRef { id: node.summary.id, name: node.summary.name.to_string() }
}

fn failed(node: &Node, fault: Fault) -> TakeoverError {
    TakeoverError::Node { node: node.summary.name.to_string(), fault }
}
