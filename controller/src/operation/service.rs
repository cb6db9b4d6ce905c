//! The service behind operations: what handlers call.

mod select;
pub(super) use select::Selected;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::{NodeRef, OperationPreview, PreviewNode};
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    access::Permission,
    event::EventKind,
    id::{NodeId, OperationId},
    operation::{OperationSpec, OperationState, RunState, Work},
    time::UnixMs,
};
use tokio::sync::{Notify, mpsc, watch};

use super::{
    OperationError,
    collect::{self, Note},
    drive::{self, Busy},
    signing,
    store::{self, OperationRow},
};
use crate::{
    audit::{Entry, Principal},
    change::{Desired, View, root_code},
    db::{Db, DbError, row::to_json},
    event::NewEvent,
    fleet,
    link::NodeGate,
};

/// How many notes wait: with the largest pieces 4 MiB. Who has one more to give waits, and with it the node's stream.
const NOTES: usize = 128;

/// The service. Clones share it.
#[derive(Debug, Clone)]
pub struct Operations(Arc<Parts>);

struct Parts {
    db: Db,
    gate: Arc<dyn NodeGate>,
    desired: Desired,
    notes: mpsc::Sender<Note>,
    wake: Notify,
    /// Grows with each change of any operation.
    seen: watch::Sender<u64>,
    heard_since: UnixMs,
    busy: Busy,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Operations({:?})", self.db)
    }
}

/// Which nodes an operation is for.
#[derive(Debug, Clone)]
pub(crate) enum Nodes {
    /// Those that it selects.
    Selected,
    /// Those on which another one did not succeed.
    FailedOf(OperationId, Vec<NodeId>),
    /// Those of a wave: the controller asks them by itself, and its key says what.
    Wave(Vec<NodeId>),
}

/// Who asks, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Starting {
    /// The user's name.
    pub author: String,
    /// As the audit knows it.
    pub by: Principal,
    /// The client's idempotency key, with who it belongs to.
    pub request_key: Option<String>,
}

impl Operations {
    /// Starts the tasks that drive operations; ended ones are kept for so many days.
    pub fn start(tasks: &Tasks, db: Db, gate: Arc<dyn NodeGate>, desired: Desired, keep_days: u32) -> Self {
        let (notes, inbox) = mpsc::channel(NOTES);
        // Times are numbers of this life, so that a listener of an earlier one is not told that nothing moved.
        let seen = watch::Sender::new(clock::now().0.max(0) as u64);
        let parts = Parts {
            db: db.clone(),
            gate,
            desired,
            notes,
            wake: Notify::new(),
            seen,
            heard_since: clock::now(),
            busy: Busy::default(),
        };
        let this = Self(Arc::new(parts));
        let moved = this.clone();
        tasks.spawn(
            "operation notes",
            collect::run(
                db,
                inbox,
                move || {
                    moved.moved();
                    moved.wake();
                },
                tasks.stopping(),
            ),
        );
        tasks.spawn("operations", drive::run(this.clone(), tasks.clone(), keep_days));
        this
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(super) fn gate(&self) -> &dyn NodeGate {
        &*self.0.gate
    }

    pub(super) async fn view(&self) -> Result<Arc<View>, DbError> {
        self.0.desired.view().await
    }

    pub(super) fn busy(&self) -> &Busy {
        &self.0.busy
    }

    pub(super) fn heard_since(&self) -> UnixMs {
        self.0.heard_since
    }

    pub(super) fn wake(&self) {
        self.0.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    /// Wakes who listens.
    pub(super) fn moved(&self) {
        self.0.seen.send_modify(|seen| *seen += 1);
    }

    pub(super) async fn note(&self, note: Note) {
        // Closed only at a stop; what is lost is said again afterwards.
        let _ = self.0.notes.send(note).await;
    }

    /// Starts an operation. With a key that was used before, returns the one that it made.
    ///
    /// # Errors
    /// When it is not what it should be, or selects nobody.
    pub(crate) async fn begin(
        &self,
        spec: OperationSpec,
        nodes: Nodes,
        who: &Starting,
    ) -> Result<OperationRow, OperationError> {
        let now = clock::now();
        spec.check(now)?;
        if let Some(key) = &who.request_key
            && let Some(found) = self.by_request(key).await?
        {
            return self.same(found, &spec, &nodes).await;
        }
        let (again_of, only) = match &nodes {
            Nodes::Selected => (None, None),
            Nodes::FailedOf(of, nodes) => (Some(*of), Some(nodes.as_slice())),
            Nodes::Wave(nodes) => (None, Some(nodes.as_slice())),
        };
        let mut selected = self.select(&spec, only).await?;
        if let Nodes::Wave(_) = &nodes {
            // A gate that a node can't be asked is not passed.
            selected.runs.iter_mut().for_each(|run| run.observes = false);
        }
        who.by.must_on_nodes(Permission::Run, selected.runs.iter().map(|r| r.node), &selected.members)?;
        if let Some(problem) = selected.problems.first() {
            return Err(OperationError::Refused(problem.clone()));
        }
        if selected.runs.is_empty() {
            let on: Vec<String> = spec.on.iter().map(ToString::to_string).collect();
            return Err(OperationError::Refused(format!("{} selects no node", on.join(", "))));
        }
        if let Some(why) = selected.runs.iter().all(|r| r.observes).then(|| selected.runs[0].refused.clone()).flatten()
        {
            return Err(OperationError::Refused(why));
        }
        if who.by.is_unproven() && !matches!(spec.work, Work::Probe { .. }) {
            let view = self.view().await?;
            let effect = root_code::run_as(&spec.user, &view.compiled, selected.runs.iter().map(|r| r.node));
            who.by.must_be_proven(|| effect.into_iter().collect())?;
        }
        let row = OperationRow {
            id: random::new_id(),
            number: 0,
            state: OperationState::Running,
            spec,
            author: who.author.clone(),
            principal: who.by.name.clone(),
            again_of: None,
            created_at: now,
            ended_at: None,
            cancelled: None,
            signing: None,
        };
        let row = OperationRow { signing: signing::wanted(&row, &selected), ..row };
        let (row_ref, runs) = (&row, &selected.runs);
        let stored = self
            .db()
            .write(|mut tx| async move {
                if who.by.rights.is_some() {
                    // As the nodes stand now: one that was relabelled since may lie outside.
                    let members = fleet::members(&mut tx).await?;
                    who.by.must_on_nodes(Permission::Run, runs.iter().map(|r| r.node), &members)?;
                }
                let number = store::create(&mut tx, row_ref, again_of, who.request_key.as_deref(), runs).await?;
                let title = row_ref.spec.work.title();
                let details = BTreeMap::from([
                    ("operation", row_ref.id.to_string()),
                    ("user", row_ref.spec.user.to_string()),
                    ("nodes", runs.len().to_string()),
                    ("rehearse", row_ref.spec.rehearse.to_string()),
                ]);
                let mut details = details;
                if let Some(signing) = &row_ref.signing {
                    details.insert("signature", format!("wanted until {}", signing.until));
                }
                if !row_ref.spec.secrets.is_empty() {
                    let names: Vec<&str> = row_ref.spec.secrets.values().map(|n| n.as_str()).collect();
                    details.insert("secrets", names.join(", "));
                }
                let object = format!("operation {number}: {title}");
                let entry = Entry::done(&who.by, "operation.start", object).because(row_ref.spec.reason.clone());
                tx.audit(entry.with_details(&details));
                tx.event(
                    NewEvent::new(EventKind::OperationStarted)
                        .with("operation", row_ref.id)
                        .with("number", number)
                        .with("title", &title)
                        .with("nodes", runs.len()),
                );
                let id = row_ref.id.to_string();
                let found = store::find(&mut tx, &id).await?;
                Ok::<_, OperationError>(tx.done(found))
            })
            .await;
        let stored = match (stored, &who.request_key) {
            // The same request, twice at once.
            (Err(OperationError::Store(error)), Some(key)) if error.is_duplicate() => {
                match self.by_request(key).await? {
                    Some(found) => Some(self.same(found, &row.spec, &nodes).await?),
                    None => None,
                }
            }
            (stored, _) => stored?,
        };
        self.wake();
        stored.ok_or_else(|| OperationError::NotFound(row.id.to_string()))
    }

    /// Returns what a key made before, if it was asked for the same: what runs, and on what. Of one that was started again
    /// that is which; what the controller asks by itself is named whole by its key.
    async fn same(
        &self,
        found: OperationRow,
        spec: &OperationSpec,
        nodes: &Nodes,
    ) -> Result<OperationRow, OperationError> {
        let is_same = match nodes {
            Nodes::Selected => found.again_of.is_none() && to_json(&found.spec) == to_json(spec),
            Nodes::FailedOf(of, _) => found.again_of == Some(self.find(&of.to_string()).await?.number),
            Nodes::Wave(_) => true,
        };
        if is_same { Ok(found) } else { Err(OperationError::KeyReused(found.number)) }
    }

    /// Starts the same again on the nodes where it did not succeed.
    ///
    /// # Errors
    /// When it is under way, or succeeded everywhere.
    pub(crate) async fn again(&self, which: &str, who: &Starting) -> Result<OperationRow, OperationError> {
        let row = self.find(which).await?;
        if row.state == OperationState::Running {
            return Err(OperationError::State("it is under way; wait for its end, or cancel it first"));
        }
        let nodes = self.all_nodes(row.id).await?;
        let failed: Vec<NodeId> = nodes.iter().filter(|n| n.state != RunState::Succeeded).map(|n| n.node.id).collect();
        if failed.is_empty() {
            return Err(OperationError::State("it succeeded on every node"));
        }
        let mut spec = row.spec.clone();
        if let lampas_shared::operation::Away::Queue { until } = &mut spec.away {
            // For as long as it waited the first time.
            *until = clock::now().plus_ms(until.since(row.created_at).max(60_000));
        }
        self.begin(spec, Nodes::FailedOf(row.id, failed), who).await
    }

    /// Says what an operation would run on.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub(crate) async fn preview(
        &self,
        spec: &OperationSpec,
        by: &Principal,
    ) -> Result<OperationPreview, OperationError> {
        spec.check(clock::now())?;
        let selected = self.select(spec, None).await?;
        by.must_on_nodes(Permission::Run, selected.runs.iter().map(|r| r.node), &selected.members)?;
        let nodes = selected.runs.iter().zip(&selected.connected).take(500).map(|(run, is_connected)| PreviewNode {
            node: NodeRef { id: run.node, name: run.name.clone() },
            is_connected: *is_connected,
            problem: run.refused.clone().unwrap_or_default(),
        });
        let wanting = selected.runs.iter().filter(|run| selected.want_signature.contains(&run.node)).take(500);
        let wanting = wanting.map(|run| NodeRef { id: run.node, name: run.name.clone() }).collect();
        Ok(OperationPreview {
            title: spec.work.title(),
            total: selected.runs.len() as u32,
            connected: selected.connected.iter().filter(|c| **c).count() as u32,
            nodes: nodes.collect(),
            want_signature: wanting,
            parameters: selected.parameters,
            problems: selected.problems,
        })
    }

    pub(super) async fn by_request(&self, key: &str) -> Result<Option<OperationRow>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let found = match store::by_request(&mut tx, key).await? {
                    Some(id) => store::find(&mut tx, &id.to_string()).await?,
                    None => None,
                };
                Ok::<_, OperationError>(tx.done(found))
            })
            .await
    }

    /// Finds an operation by id or number.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn find(&self, which: &str) -> Result<OperationRow, OperationError> {
        let found = self
            .db()
            .read(|mut tx| async move {
                let found = store::find(&mut tx, which).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        found.ok_or_else(|| OperationError::NotFound(which.chars().take(40).collect()))
    }

    /// Returns which operations run on some of these nodes.
    pub(super) async fn on_any(
        &self,
        ids: &[OperationId],
        nodes: &BTreeSet<NodeId>,
    ) -> Result<BTreeSet<OperationId>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let mut found = store::nodes_of(&mut tx, ids).await?;
                found.retain(|(_, node)| nodes.contains(node));
                Ok::<_, OperationError>(tx.done(found.into_iter().map(|(id, _)| id).collect()))
            })
            .await
    }

    /// Asks to end an operation.
    ///
    /// # Errors
    /// When it is over.
    pub(crate) async fn cancel(&self, which: &str, by: &Principal) -> Result<(), OperationError> {
        let row = self.find(which).await?;
        let now = clock::now();
        if !row.is_by(by) {
            let nodes = self.all_nodes(row.id).await?;
            let view = self.0.desired.view().await?;
            by.must_on_nodes(Permission::Run, nodes.iter().map(|n| n.node.id), view.members())?;
        }
        let row_ref = &row;
        let is_done = self
            .db()
            .write(|mut tx| async move {
                let is_done = store::cancel(&mut tx, row_ref.id, &by.name, now).await?;
                if is_done {
                    let object = format!("operation {}: {}", row_ref.number, row_ref.spec.work.title());
                    tx.audit(Entry::done(by, "operation.cancel", object));
                    tx.event(
                        NewEvent::new(EventKind::OperationCancelled)
                            .with("operation", row_ref.id)
                            .with("number", row_ref.number),
                    );
                }
                Ok::<_, DbError>(tx.done(is_done))
            })
            .await?;
        if !is_done && row.state != OperationState::Running {
            return Err(OperationError::State("it is over already"));
        }
        self.wake();
        Ok(())
    }
}
