//! The service behind operations: what handlers call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base64::Engine as _;
use lampas_api::{
    NodeRef, Operation, OperationNode, OperationOutput, OperationPreview, OperationSummary, OutputGroup, OutputPiece,
    Page, PreviewNode,
};
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    access::Permission,
    desired::Spec,
    event::EventKind,
    fleet::Scope,
    id::{NodeId, OperationId, RunId},
    object::{Body, Kind, ObjectName},
    operation::{OperationSpec, OperationState, Parameter, RunState, Work, fill},
    time::UnixMs,
};
use tokio::sync::{Notify, mpsc, watch};

use super::{
    OperationError,
    collect::{self, Note},
    drive::{self, Busy},
    output,
    store::{self, Filter, NewRun, OperationRow, ScriptAt},
};
use crate::{
    audit::{Entry, Principal},
    change::Desired,
    compile::NodeInput,
    db::{Db, DbError},
    event::NewEvent,
    fleet,
    link::NodeGate,
};

/// How many notes wait: with the largest pieces 4 MiB. Who has one more to give waits, and with it the node's stream.
const NOTES: usize = 128;
/// About how many bytes of output one answer holds.
const ANSWER_BYTES: usize = 1 << 20;
/// How much text of a group is shown.
const GROUP_BYTES: usize = 256 << 10;
/// The most groups that are shown with their text.
const GROUPS: usize = 200;
/// The longest that a listener may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(25);

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

/// The selection, resolved.
struct Selected {
    members: Vec<NodeInput>,
    runs: Vec<NewRun>,
    connected: Vec<bool>,
    parameters: Vec<Parameter>,
    problems: Vec<String>,
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
        only: Option<(Option<OperationId>, Vec<NodeId>)>,
        who: &Starting,
    ) -> Result<OperationRow, OperationError> {
        let now = clock::now();
        spec.check(now)?;
        if let Some(key) = &who.request_key
            && let Some(found) = self.by_request(key).await?
        {
            return Ok(found);
        }
        let (again_of, only) = only.map_or((None, None), |(of, nodes)| (of, Some(nodes)));
        let selected = self.select(&spec, only.as_deref()).await?;
        who.by.must_on_nodes(Permission::Run, selected.runs.iter().map(|r| r.node), &selected.members)?;
        if let Some(problem) = selected.problems.into_iter().next() {
            return Err(OperationError::Refused(problem));
        }
        if selected.runs.is_empty() {
            let on: Vec<String> = spec.on.iter().map(ToString::to_string).collect();
            return Err(OperationError::Refused(format!("{} selects no node", on.join(", "))));
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
        };
        let (row_ref, runs) = (&row, &selected.runs);
        let stored = self
            .db()
            .write(|mut tx| async move {
                let number = store::create(&mut tx, row_ref, again_of, who.request_key.as_deref(), runs).await?;
                let title = row_ref.spec.work.title();
                let details = BTreeMap::from([
                    ("operation", row_ref.id.to_string()),
                    ("user", row_ref.spec.user.to_string()),
                    ("nodes", runs.len().to_string()),
                    ("rehearse", row_ref.spec.rehearse.to_string()),
                ]);
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
                Ok::<_, DbError>(tx.done(found))
            })
            .await;
        let stored = match stored {
            // The same request, twice at once.
            Err(error) if error.is_duplicate() && who.request_key.is_some() => {
                self.by_request(who.request_key.as_deref().unwrap_or_default()).await?
            }
            stored => stored?,
        };
        self.wake();
        stored.ok_or_else(|| OperationError::NotFound(row.id.to_string()))
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
        self.begin(spec, Some((Some(row.id), failed)), who).await
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
        Ok(OperationPreview {
            title: spec.work.title(),
            total: selected.runs.len() as u32,
            connected: selected.connected.iter().filter(|c| **c).count() as u32,
            nodes: nodes.collect(),
            parameters: selected.parameters,
            problems: selected.problems,
        })
    }

    /// Resolves a selection: connected nodes first, then by name.
    async fn select(&self, spec: &OperationSpec, only: Option<&[NodeId]>) -> Result<Selected, OperationError> {
        let members = self
            .db()
            .read(|mut tx| async move {
                let members = fleet::members(&mut tx).await?;
                Ok::<_, DbError>(tx.done(members))
            })
            .await?;
        for scope in &spec.on {
            if let Scope::Node(name) = scope
                && members.iter().all(|m| m.name != *name)
            {
                return Err(OperationError::Refused(format!("there is no node {name}")));
            }
        }
        let is_wanted = |node: &&NodeInput| match only {
            Some(only) => only.contains(&node.id),
            None => spec.on.iter().any(|scope| scope.contains(&node.name, &node.roles, &node.labels)),
        };
        let mut nodes: Vec<(bool, &NodeInput)> =
            members.iter().filter(is_wanted).map(|n| (!self.gate().connected(n.id), n)).collect();
        nodes.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        let mut selected = Selected {
            members: Vec::new(),
            runs: Vec::new(),
            connected: Vec::new(),
            parameters: Vec::new(),
            problems: Vec::new(),
        };
        let scripts = match &spec.work {
            Work::Command { .. } | Work::Draft { .. } => None,
            Work::Script { name, .. } => Some((name, self.scripts(spec, name, &nodes, &mut selected).await?)),
        };
        for (is_away, node) in nodes {
            let script = scripts.as_ref().map(|(_, found)| found.get(&node.id).cloned());
            let refused = match (&script, &scripts) {
                (Some(None), Some((name, _))) => Some(format!("there is no script {name} on this node")),
                _ => None,
            };
            selected.connected.push(!is_away);
            selected.runs.push(NewRun {
                run: random::new_id(),
                node: node.id,
                name: node.name.to_string(),
                script: script.flatten(),
                refused,
            });
        }
        selected.members = members;
        Ok(selected)
    }

    /// Finds the script of this name that is in force on each node, and checks the parameters against each of them.
    async fn scripts(
        &self,
        spec: &OperationSpec,
        name: &ObjectName,
        nodes: &[(bool, &NodeInput)],
        selected: &mut Selected,
    ) -> Result<BTreeMap<NodeId, ScriptAt>, OperationError> {
        let Work::Script { parameters, .. } = &spec.work else { return Ok(BTreeMap::new()) };
        let view = self.0.desired.view().await?;
        let mut filled = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (_, node) in nodes {
            let Some(class) = view.compiled.class(node.id) else { continue };
            let Some(resource) = class.resources.iter().find(|r| r.kind == Kind::Script && r.name == *name) else {
                continue;
            };
            if let Spec::Sealed(sealed) = &resource.spec
                && let Spec::File { path, .. } = &*sealed.base
            {
                // What stands there has a digest that only its node knows: whether it is this script can't be told.
                let why = format!(
                    "script {name} holds secrets, so that its version can't be checked; run {path} as a command"
                );
                selected.problems.push(why);
                filled.insert(resource.object, None);
                continue;
            }
            let Spec::File { path, content, .. } = &resource.spec else { continue };
            let environment = filled.entry(resource.object).or_insert_with(|| {
                let object = view.all.objects.get(&resource.object)?;
                let Body::Script(script) = &object.spec.body else { return None };
                if selected.parameters.is_empty() {
                    selected.parameters.clone_from(&script.parameters);
                }
                match fill(&script.parameters, parameters) {
                    Ok(environment) => Some(environment),
                    // Nothing starts while there is a problem; where it would run is shown all the same.
                    Err(error) => {
                        selected.problems.push(error.to_string());
                        Some(Default::default())
                    }
                }
            });
            if let Some(environment) = environment {
                let script = ScriptAt { path: path.to_string(), hash: content.hash, environment: environment.clone() };
                found.insert(node.id, script);
            }
        }
        if filled.is_empty() && !nodes.is_empty() {
            selected.problems.push(format!("there is no script {name} on any of these nodes"));
        }
        selected.problems.dedup();
        Ok(found)
    }

    async fn by_request(&self, key: &str) -> Result<Option<OperationRow>, OperationError> {
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

    /// Returns an operation as it is shown.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn shown(&self, row: &OperationRow, may_read_output: bool) -> Result<Operation, OperationError> {
        let id = row.id;
        let counts = self
            .db()
            .read(|mut tx| async move {
                let counts = store::counts(&mut tx, &[id]).await?;
                Ok::<_, DbError>(tx.done(counts))
            })
            .await?;
        Ok(Operation {
            summary: row.summary(counts.get(&id).copied().unwrap_or_default()),
            spec: row.spec.clone(),
            cancelled_by: row.cancelled.as_ref().map(|(_, by)| by.clone()),
            cancelled_at: row.cancelled.as_ref().map(|(at, _)| *at),
            may_read_output,
        })
    }

    /// Returns operations, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Page<OperationSummary>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let mut rows = store::list(&mut tx, filter, before, limit + 1).await?;
                let has_more = rows.len() > limit as usize;
                rows.truncate(limit as usize);
                let ids: Vec<OperationId> = rows.iter().map(|r| r.id).collect();
                let counts = store::counts(&mut tx, &ids).await?;
                let next = rows.last().filter(|_| has_more).map(|r| r.number.to_string());
                let items = rows.iter().map(|r| r.summary(counts.get(&r.id).copied().unwrap_or_default())).collect();
                Ok::<_, OperationError>(tx.done(Page { items, next, total: None }))
            })
            .await
    }

    /// Returns the runs of an operation, in the order in which they are taken.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn nodes(
        &self,
        id: OperationId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<OperationNode>, OperationError> {
        let mut rows = self
            .db()
            .read(|mut tx| async move {
                let rows = store::nodes(&mut tx, id, after, limit + 1).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| has_more).map(|(place, ..)| place.to_string());
        let items = rows
            .into_iter()
            .map(|(_, node, _)| OperationNode { is_connected: self.gate().connected(node.node.id), ..node })
            .collect();
        Ok(Page { items, next, total: None })
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

    pub(super) async fn all_nodes(&self, id: OperationId) -> Result<Vec<OperationNode>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let rows = store::nodes(&mut tx, id, None, u32::MAX).await?;
                Ok::<_, OperationError>(tx.done(rows.into_iter().map(|(_, node, _)| node).collect()))
            })
            .await
    }

    /// Returns output after a place. When nothing moved since `seen`, waits for it.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(crate) async fn output(
        &self,
        row: &OperationRow,
        run: Option<RunId>,
        after: u64,
        seen: Option<u64>,
        wait: Duration,
    ) -> Result<OperationOutput, OperationError> {
        let mut moved = self.0.seen.subscribe();
        let id = row.id;
        let until = tokio::time::Instant::now() + wait.min(MAX_WAIT);
        loop {
            let now_seen = *moved.borrow_and_update();
            let (pieces, nodes, state) = self
                .db()
                .read(|mut tx| async move {
                    let pieces = store::pieces(&mut tx, id, run, after, ANSWER_BYTES).await?;
                    let state = store::find(&mut tx, &id.to_string()).await?.map(|r| r.state);
                    let nodes = match (&pieces[..], state) {
                        // Only when nothing is left to tell is it asked whether more may come.
                        ([], Some(OperationState::Running) | None) => None,
                        ([], _) => Some(store::nodes(&mut tx, id, None, u32::MAX).await?),
                        _ => None,
                    };
                    Ok::<_, DbError>(tx.done((pieces, nodes, state)))
                })
                .await?;
            let is_of = |n: &OperationNode| run.is_none_or(|r| r == n.run);
            let is_complete = state.is_none()
                || nodes.is_some_and(|n| n.iter().filter(|(_, n, _)| is_of(n)).all(|(_, n, _)| n.is_output_complete));
            // Who waits is told of pieces, of the end, and of whatever else moved since the answer before.
            if !pieces.is_empty() || is_complete || seen != Some(now_seen) || tokio::time::Instant::now() >= until {
                let next = pieces.last().map_or(after, |p| p.seq);
                let pieces = pieces.into_iter().map(shown).collect();
                return Ok(OperationOutput { pieces, next, is_complete, seen: now_seen });
            }
            match tokio::time::timeout_at(until, moved.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    return Ok(OperationOutput { pieces: Vec::new(), next: after, is_complete: false, seen: now_seen });
                }
            }
        }
    }

    /// Returns the runs that are over, those together that ended alike and wrote the same: the largest group first.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn groups(&self, id: OperationId, with_text: bool) -> Result<Vec<OutputGroup>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let mut groups: BTreeMap<(RunState, String, String), Vec<OperationNode>> = BTreeMap::new();
                for (_, node, hash) in store::nodes(&mut tx, id, None, u32::MAX).await? {
                    if node.state.is_final() {
                        let key = (node.state, node.detail.clone(), hash.unwrap_or_default());
                        groups.entry(key).or_default().push(node);
                    }
                }
                let mut groups: Vec<_> = groups.into_iter().collect();
                groups.sort_by(|a, b| (b.1.len(), &a.1[0].node.name).cmp(&(a.1.len(), &b.1[0].node.name)));
                let mut found = Vec::new();
                for (number, ((state, detail, hash), mut nodes)) in groups.into_iter().enumerate() {
                    nodes.sort_by(|a, b| a.node.name.cmp(&b.node.name));
                    // Of equal ones any will do; one whose output is here says most.
                    let first = nodes.iter().find(|n| n.is_output_complete).unwrap_or(&nodes[0]);
                    let (run, output_bytes) = (first.run, first.output_bytes);
                    let text = if with_text && number < GROUPS && !hash.is_empty() {
                        let pieces = store::pieces_of(&mut tx, run, GROUP_BYTES).await?;
                        Some(output::text(pieces.iter().map(|p| &p.chunk), output_bytes, GROUP_BYTES))
                    } else {
                        with_text.then(String::new)
                    };
                    let nodes = nodes.into_iter().map(|n| n.node).collect();
                    found.push(OutputGroup { nodes, state, detail, output_bytes, run, text });
                }
                Ok::<_, OperationError>(tx.done(found))
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
        if crate::change::author(by) != row.author {
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

fn shown(piece: store::Piece) -> OutputPiece {
    OutputPiece {
        seq: piece.seq,
        run: piece.run,
        start: piece.chunk.offset,
        stream: piece.chunk.stream,
        after_ms: piece.chunk.after_ms,
        data: base64::engine::general_purpose::STANDARD.encode(&piece.chunk.bytes),
    }
}
