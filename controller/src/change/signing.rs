//! Signatures over root code: what needs one, and those that were made.
//!
//! The controller only carries them. What needs one the nodes say themselves, with the fault `policy.signature` of a plan;
//! whether one holds they judge alone, by keys that the controller can't put there. A stored signature is told to its nodes
//! before the state that it is for.

pub(crate) mod api;
pub(crate) mod store;

use std::{collections::BTreeMap, sync::Arc};

use lampas_api::{Signature, SignatureCreate, Signing, SigningPart, SigningRemoval};
use lampas_runtime::clock;
use lampas_shared::{
    TextError,
    desired::{NodeDesired, Resource, Spec},
    error::Fault,
    id::{ChangeId, NodeId},
    report::Action,
    signature::{Grant, Signed},
};
pub(crate) use store::{any, held};

use super::{ChangeError, Changes, desired::refs, fold::is_unsigned, plan::Prospect, store as changes};
use crate::{
    audit::{Entry, Principal},
    compile::Compiled,
    db::{Db, DbError, row::draw},
};

/// What one node wants signed.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    put: Vec<usize>,
    remove: Vec<SigningRemoval>,
}

/// Gathers resources, each once.
#[derive(Default)]
struct Gathered {
    resources: Vec<String>,
    known: BTreeMap<Grant, usize>,
    nodes: BTreeMap<NodeId, Wanted>,
}

impl Gathered {
    /// Adds what a node refused for want of a signature.
    fn add(&mut self, compiled: &Compiled, desired: &NodeDesired, actions: &[Action]) -> Result<(), ChangeError> {
        let by_target: BTreeMap<_, &Resource> = desired.resources().map(|r| (&r.target, r)).collect();
        let mut wanted = Wanted::default();
        for action in actions.iter().filter(|a| is_unsigned(a)) {
            match by_target.get(&action.target) {
                Some(resource) => wanted.put.push(self.place(compiled, desired.node, resource)?),
                None => wanted.remove.push(SigningRemoval { kind: action.kind, path: action.path.clone() }),
            }
        }
        wanted.put.sort_unstable();
        wanted.remove.sort();
        wanted.remove.dedup();
        if wanted != Wanted::default() {
            self.nodes.insert(desired.node, wanted);
        }
        Ok(())
    }

    fn place(&mut self, compiled: &Compiled, node: NodeId, resource: &Resource) -> Result<usize, ChangeError> {
        let grant = Grant::of(resource);
        if let Some(place) = self.known.get(&grant) {
            return Ok(*place);
        }
        let mut whole = resource.clone();
        if let Spec::File { content, .. } = &mut whole.spec
            && content.inline.is_none()
        {
            content.inline = compiled.blob(node, content.hash);
        }
        // Who made it is not signed: only what it is.
        let json = serde_json::to_string(&whole)
            .map_err(|e| ChangeError::Nothing(format!("{} can't be shown: {e}", resource.target)))?;
        self.resources.push(json);
        self.known.insert(grant, self.resources.len() - 1);
        Ok(self.resources.len() - 1)
    }

    fn parts(&mut self, names: &BTreeMap<NodeId, lampas_shared::fleet::NodeName>) -> Vec<SigningPart> {
        let mut folded: BTreeMap<Wanted, Vec<NodeId>> = BTreeMap::new();
        for (node, wanted) in std::mem::take(&mut self.nodes) {
            folded.entry(wanted).or_default().push(node);
        }
        let part = |(wanted, nodes): (Wanted, Vec<NodeId>)| SigningPart {
            nodes: refs(nodes, names),
            put: wanted.put,
            remove: wanted.remove,
            run: Vec::new(),
        };
        let mut parts: Vec<SigningPart> = folded.into_iter().map(part).collect();
        parts.sort_by(|a, b| a.nodes[0].name.cmp(&b.nodes[0].name));
        parts
    }
}

impl Changes {
    /// Returns what of a planned change needs a signature.
    ///
    /// # Errors
    /// When it was not planned, or its plan holds no more.
    pub(crate) async fn signing(&self, id: ChangeId) -> Result<Signing, ChangeError> {
        let now = clock::now();
        let (row, plan, prospect, last_serial, fleet) = self
            .db()
            .read(|mut tx| async move {
                let row =
                    changes::get(&mut tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                super::service::must_be_open(&row, "signed")?;
                let none = || ChangeError::Nothing(format!("change {} has no plan; plan it first", row.number));
                let (_, plan) = changes::plan(&mut tx, id).await?.ok_or_else(none)?;
                let prospect = Prospect::load(&mut tx, &row, &row.author, now).await?;
                let last = store::last_serial(&mut tx).await?;
                let fleet = store::fleet(&mut tx).await?;
                Ok::<_, ChangeError>(tx.done((row, plan, prospect, last, fleet)))
            })
            .await?;
        let affected = prospect.affected();
        let mut gathered = Gathered::default();
        for group in &plan.shown.groups {
            for node in &group.nodes {
                let moved =
                    || ChangeError::Moved { plan: plan.shown.id.clone(), why: "other nodes are affected".into() };
                let (generation, hash) = affected.get(&node.id).ok_or_else(moved)?;
                if plan.nodes.get(&node.id) != Some(hash) {
                    return Err(moved());
                }
                let desired = prospect.compiled.desired(node.id, *generation).ok_or_else(moved)?;
                gathered.add(&prospect.compiled, &desired, &group.actions)?;
            }
        }
        let names = prospect.members.iter().map(|m| (m.id, m.name.clone())).collect();
        let parts = gathered.parts(&names);
        let purpose = format!("change {}", row.number);
        Ok(Signing { fleet, last_serial, purpose, parts, resources: gathered.resources, runs: Vec::new() })
    }

    /// Returns what of a node's state needs a signature: after its policy began to want one, or when it was away while a
    /// change was signed.
    ///
    /// # Errors
    /// When the node is not connected, or shall be nothing yet.
    pub(crate) async fn signing_of_node(&self, node: NodeId) -> Result<Signing, ChangeError> {
        let view = self.desired().view().await?;
        let nothing = || ChangeError::Nothing("nothing was ever given to this node".to_owned());
        let desired = self.desired().desired_for(node).await?.ok_or_else(nothing)?;
        let answer = self.gate().plan(node, desired.clone()).await;
        let plan = answer.map_err(|fault: Fault| ChangeError::Nothing(format!("the node can't be asked: {fault}")))?;
        let mut gathered = Gathered::default();
        gathered.add(&view.compiled, &desired, &plan.actions)?;
        let names: BTreeMap<_, _> = view.members().iter().map(|m| (m.id, m.name.clone())).collect();
        let (last_serial, fleet) = self
            .db()
            .read(|mut tx| async move {
                let last = store::last_serial(&mut tx).await?;
                let fleet = store::fleet(&mut tx).await?;
                Ok::<_, DbError>(tx.done((last, fleet)))
            })
            .await?;
        let purpose = names.get(&node).map_or_else(String::new, |name| format!("node {name}"));
        let parts = gathered.parts(&names);
        Ok(Signing { fleet, last_serial, purpose, parts, resources: gathered.resources, runs: Vec::new() })
    }

    /// Stores a signature and tells its nodes. A change that it was made for is planned anew: what the nodes say then
    /// decides.
    ///
    /// # Errors
    /// When it is not one for this fleet, is over, or its serial was used.
    pub(crate) async fn sign(&self, new: &SignatureCreate, by: &Principal) -> Result<Signature, ChangeError> {
        let now = clock::now();
        let change = match &new.change {
            Some(which) => Some(self.find(which).await?),
            None => None,
        };
        let refused = |why: String| ChangeError::Signature(TextError::new("statement", "", why));
        let statement = new.signed.check().map_err(ChangeError::Signature)?;
        if statement.expires <= now {
            return Err(refused(format!("ended at {}", statement.expires)));
        }
        let nodes: Vec<NodeId> = statement.nodes().map(|(id, _)| *id).collect();
        if nodes.is_empty() || statement.serial == 0 || i64::try_from(statement.serial).is_err() {
            return Err(refused("names no node, or its serial is not from 1 to 2^63".into()));
        }
        let (change_row, signed, statement_ref, nodes_ref) = (&change, &new.signed, &statement, &nodes);
        self.db()
            .write(|mut tx| async move {
                let fleet = store::fleet(&mut tx).await?;
                if statement_ref.fleet != fleet {
                    let why = format!("is for the fleet {}, this is {fleet}", statement_ref.fleet);
                    return Err(ChangeError::Signature(TextError::new("statement", "", why)));
                }
                let last = store::last_serial(&mut tx).await?;
                if statement_ref.serial <= last {
                    let why = format!("has the serial {}, and {last} was used: sign anew", statement_ref.serial);
                    return Err(ChangeError::Signature(TextError::new("statement", "", why)));
                }
                let id = change_row.as_ref().map(|c| c.id);
                store::insert(&mut tx, signed, statement_ref, id, &super::service::author(by), now).await?;
                // The copy that is served says whether anybody signs.
                draw(&mut tx, "state", 1).await?;
                let object = match change_row {
                    Some(row) => format!("change {}", row.number),
                    None => statement_ref.purpose.clone(),
                };
                let details = BTreeMap::from([
                    ("serial", statement_ref.serial.to_string()),
                    ("nodes", nodes_ref.len().to_string()),
                    ("expires", statement_ref.expires.to_string()),
                ]);
                tx.audit(Entry::done(by, "signature.create", object).with_details(&details));
                for node in nodes_ref.iter().take(100) {
                    let event = crate::event::NewEvent::new(lampas_shared::event::EventKind::NodeChanged);
                    tx.event(event.node(*node).with("signature", statement_ref.serial));
                }
                Ok(tx.done(()))
            })
            .await?;
        self.gate().wake(&nodes);
        let mut blockers = Vec::new();
        if let Some(row) = change.filter(|row| row.state.is_open()) {
            // The statement and the question go different ways to a node: until it has the one, it says so.
            for attempt in 0..10_u64 {
                let plan = self.plan(row.id, by).await?;
                blockers = plan.blockers;
                // Who answered when it was made and doesn't now is still checking the signature, or is gone.
                let silent = plan.unplanned.iter().filter(|u| nodes.contains(&u.node.id));
                blockers.extend(silent.map(|u| format!("{}: {}", u.node.name, u.reason)));
                if blockers.is_empty() || attempt == 9 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50 + 25 * attempt)).await;
            }
        }
        Ok(Signature {
            serial: statement.serial,
            purpose: statement.purpose.clone(),
            text: new.signed.text.clone(),
            nodes,
            author: super::service::author(by),
            at: now,
            expires_at: statement.expires,
            blockers,
        })
    }

    /// Returns the signatures that were made for a change, or the last ones, newest first.
    ///
    /// # Errors
    /// When there is no such change.
    pub(crate) async fn signatures(&self, change: Option<&str>) -> Result<Vec<Signature>, ChangeError> {
        let change = match change {
            Some(which) => Some(self.find(which).await?.id),
            None => None,
        };
        self.db()
            .read(|mut tx| async move {
                let found = store::list(&mut tx, change, 200).await?;
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }
}

/// Returns the signatures that hold for each of these nodes.
pub(crate) async fn held_for(db: &Db, nodes: &[NodeId]) -> Result<Arc<BTreeMap<NodeId, Vec<Signed>>>, DbError> {
    db.read(|mut tx| async move {
        let held = held(&mut tx, nodes, clock::now()).await?;
        Ok::<_, DbError>(tx.done(Arc::new(held)))
    })
    .await
}
