//! The way of a change through the store, with nodes that are played.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use lampas_api::{AdoptRequest, ChangeNodeState, Draft, DraftAct, NodeUpdate};
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    change::ChangeState,
    desired::{ContentHash, NodeDesired},
    error::Fault,
    event::EventKind,
    fleet::{Labels, NodeState},
    host::FileMode,
    id::{NodeId, ObjectId},
    object::{ObjectSpec, Target},
    operation::{RunOrder, RunStatus},
    report::{
        Action, DriftOutcome, DriftReport, GenerationReport, JobRun, NodePlan, ObservedFile, Phase, ResourceReport,
        ResourceState, RunOutcome, Verb,
    },
    time::UnixMs,
};
use lampas_wire::Report;

use super::*;
use crate::{
    audit::Principal,
    db::{Db, testing},
    drift::{DriftFilter, Drifts},
    event, fleet, host,
    link::NodeGate,
};

mod approval;
mod effect;
mod killed;
mod left_out;
mod limit;
mod others;
mod reports;
mod rollout;
mod secret;
mod set;
mod settled;
mod superseded;
mod told;

testing::on_both!(
    a_change_lands_and_is_done,
    two_editors_conflict,
    what_is_made_writes_over_nothing,
    ties_are_refused,
    plans_bind,
    reverting_and_restoring_keep_the_object,
    node_scopes_follow_the_node,
    the_same_request_is_the_same_change,
    what_was_in_force_stays_in_the_record,
);

/// Nodes that answer a plan with one action and remember being woken.
#[derive(Default)]
struct Nodes {
    online: Mutex<BTreeSet<NodeId>>,
    woken: Mutex<Vec<NodeId>>,
    /// Who was asked to take back what stands.
    reverted: Mutex<Vec<NodeId>>,
    /// Whether they refuse.
    refuses: Mutex<bool>,
}

impl NodeGate for Nodes {
    fn connected(&self, node: NodeId) -> bool {
        self.online.lock().expect("not poisoned").contains(&node)
    }
    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.online.lock().expect("not poisoned").iter().map(|n| (*n, NodeState::Online)).collect()
    }
    fn wake(&self, nodes: &[NodeId]) {
        self.woken.lock().expect("not poisoned").extend(nodes);
    }
    fn plan(&self, _: NodeId, state: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>> {
        let actions = state
            .resources()
            .map(|r| Action {
                target: r.target.clone(),
                object: r.object,
                kind: r.kind,
                name: r.name.clone(),
                verb: Verb::Create,
                path: String::new(),
                diff: String::new(),
                notes: Vec::new(),
                fault: None,
            })
            .collect();
        let plan = NodePlan { desired: state.hash, observed: ContentHash::of(b"empty"), actions };
        Box::pin(async move { Ok(plan) })
    }
    fn read(&self, _: NodeId, _: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>> {
        Box::pin(async { Ok(None) })
    }
    fn revert(&self, node: NodeId, _: Target) -> BoxFuture<'_, Result<(), Fault>> {
        self.reverted.lock().expect("not poisoned").push(node);
        let refuses = *self.refuses.lock().expect("not poisoned");
        Box::pin(async move { if refuses { Err(Fault::passing("node.paused", "not now")) } else { Ok(()) } })
    }
    fn retry(&self, _: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
    fn run(&self, _: NodeId, _: RunOrder) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        Box::pin(async { Ok(RunStatus::Running) })
    }
    fn close(&self, _: NodeId, _: &str) {}
}

struct World {
    db: Db,
    nodes: Arc<Nodes>,
    changes: Changes,
    ingest: Ingest,
    tasks: Tasks,
}

impl World {
    fn new(db: Db) -> Self {
        let (nodes, tasks) = (Arc::new(Nodes::default()), Tasks::new());
        let changes = Changes::new(Desired::new(db.clone()), nodes.clone());
        Self { ingest: Ingest::start(db.clone(), &tasks), db, nodes, changes, tasks }
    }

    async fn node(&self, name: &str, roles: &[&str], is_online: bool) -> NodeId {
        let new = fleet::NewNode {
            id: random::new_id(),
            name: name.parse().expect("a name"),
            roles: roles.iter().map(|r| r.parse().expect("a role")).collect(),
            labels: Labels::new(),
            machine: String::new(),
            observed_address: None,
            at: clock::now(),
        };
        let new_ref = &new;
        self.db
            .write(|mut tx| async move {
                fleet::create(&mut tx, new_ref).await?;
                crate::db::row::draw(&mut tx, "state", 1).await?;
                if is_online {
                    sqlx::query("UPDATE node SET state = 'online' WHERE id = ?")
                        .bind(new_ref.id.to_string())
                        .execute(tx.conn())
                        .await
                        .map_err(DbError::from)?;
                }
                Ok::<_, FleetError>(tx.done(()))
            })
            .await
            .expect("a node");
        if is_online {
            self.nodes.online.lock().expect("not poisoned").insert(new.id);
        }
        self.changes.desired().assign().await.expect("a first generation");
        new.id
    }

    async fn save(&self, drafts: Vec<Draft>) -> Result<ChangeRow, ChangeError> {
        let new = NewChange { drafts, reason: "because".into(), ..NewChange::default() };
        let saved = self.changes.save(&new, &Apply { allow_unplanned: true, ..Apply::default() }, &admin()).await;
        if saved.is_ok() {
            assert_ne!(self.changes.desired().is_copy_true().await, Some(false), "what an apply keeps is what stands");
        }
        saved
    }

    async fn desired(&self, node: NodeId) -> NodeDesired {
        self.changes.desired().desired_for(node).await.expect("the store answers").expect("a state")
    }

    /// Plays the agent: received, applied, confirmed.
    async fn land(&self, node: NodeId, epoch: u64, first_seq: u64, state: ResourceState) {
        let desired = self.desired(node).await;
        let report = |phase| report(&desired, phase, state);
        let reports = [Phase::Received, Phase::Applied, Phase::Confirmed]
            .into_iter()
            .zip(first_seq..)
            .map(|(p, seq)| (seq, report(p)));
        let acked = self.ingest.submit(node, epoch, reports.collect()).await.expect("stored");
        assert_eq!(acked, first_seq + 2);
    }

    async fn state(&self, row: &ChangeRow) -> (ChangeState, lampas_api::Progress) {
        let shown = self.changes.show(row.id).await.expect("a change").summary;
        (shown.state, shown.progress)
    }

    async fn find(&self, scope: &str, name: &str) -> Option<host::Stored> {
        let key = file(scope, name, "").key();
        let key = &key;
        self.db
            .read(|mut tx| async move { host::find(&mut tx, key).await.map(|o| tx.done(o)) })
            .await
            .expect("the store answers")
    }

    async fn end(self) {
        assert!(self.tasks.finish(std::time::Duration::from_secs(20)).await, "the ingest ends");
    }
}

fn admin() -> Principal {
    Principal::new("user:admin", "10.0.0.9")
}

fn report(desired: &NodeDesired, phase: Phase, state: ResourceState) -> Report {
    let resource = |r: &lampas_shared::desired::Resource| ResourceReport {
        target: r.target.clone(),
        object: r.object,
        state,
        fault: (state == ResourceState::Failed).then(|| Fault::lasting("file.full", "no space")),
        notes: Vec::new(),
    };
    Report::Generation(GenerationReport {
        generation: desired.generation,
        hash: desired.hash,
        phase,
        state: if phase == Phase::Received { ResourceState::Applying } else { state },
        took_ms: 12,
        resources: if phase == Phase::Received { Vec::new() } else { desired.resources().map(resource).collect() },
        at: clock::now(),
    })
}

/// What a node tells of an edit of `/etc/motd` by hand: it stands, with what is to be read of it, or is over.
fn drift(object: ObjectId, outcome: DriftOutcome, content: Option<&str>) -> DriftReport {
    let observed = content.map(|content| ObservedFile {
        content: Some(content.as_bytes().to_vec()),
        hash: ContentHash::of(content.as_bytes()),
        owner: "root".into(),
        group: "root".into(),
        mode: FileMode::new(0o644).expect("a mode"),
        modified_at: UnixMs(1),
        is_writable_by_others: false,
    });
    DriftReport {
        target: Target::path("/etc/motd"),
        object,
        generation: Default::default(),
        outcome,
        path: "/etc/motd".into(),
        diff: if outcome == DriftOutcome::Standing { "-ours\n+theirs\n".into() } else { String::new() },
        observed,
        at: UnixMs(2),
    }
}

fn file(scope: &str, name: &str, content: &str) -> ObjectSpec {
    serde_json::from_value(serde_json::json!({
        "name": name, "scope": scope,
        "body": { "kind": "file", "path": format!("/etc/{name}"), "content": content },
    }))
    .expect("a spec")
}

fn put(spec: ObjectSpec) -> Draft {
    Draft { act: DraftAct::Put(spec), base: None, previous_name: None }
}

async fn a_change_lands_and_is_done(db: Db) {
    let world = World::new(db);
    let (web, away) = (world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], false).await);
    let other = world.node("db-1", &["database"], true).await;
    let before = world.desired(other).await.generation;
    let new = NewChange { drafts: vec![put(file("role:app", "motd", "hello"))], ..NewChange::default() };
    let row = world.changes.create(&new, &admin()).await.expect("a change");
    let plan = world.changes.plan(row.id, &admin()).await.expect("a plan");
    assert_eq!(plan.groups.len(), 1, "equal plans are folded");
    assert_eq!(plan.groups[0].nodes[0].name, "web-1");
    assert_eq!(plan.unplanned[0].node.name, "web-2");
    let how = Apply { plan: Some(plan.id.clone()), ..Apply::default() };
    let refused = world.changes.apply(row.id, &how, &admin()).await.expect_err("a node could not be asked");
    assert!(matches!(refused, ChangeError::Unplanned { nodes: 1 }), "{refused}");
    let row = world.changes.apply(row.id, &Apply { allow_unplanned: true, ..how }, &admin()).await.expect("applied");
    assert_eq!(row.state, ChangeState::Rolling);
    assert_eq!(world.changes.desired().is_copy_true().await, Some(true), "nobody reads the fleet anew for it");
    assert_eq!(
        world.nodes.woken.lock().expect("not poisoned").iter().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([web, away])
    );
    assert_eq!(world.desired(other).await.generation, before, "who is not concerned keeps its generation");
    let (_, progress) = world.state(&row).await;
    assert_eq!((progress.waiting, progress.unreachable), (1, 1));
    let in_state = async |states: &[ChangeNodeState]| {
        let page = world.changes.nodes(row.id, Some(states), None, 10).await.expect("nodes");
        page.items.iter().map(|n| n.node.id).collect::<Vec<_>>()
    };
    assert_eq!(in_state(&[ChangeNodeState::Waiting, ChangeNodeState::Applying]).await, [web]);
    assert_eq!(in_state(&[ChangeNodeState::Unreachable, ChangeNodeState::Failed]).await, [away]);
    assert!(in_state(&[]).await.is_empty());

    world.land(web, 7, 1, ResourceState::Converged).await;
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.converged, progress.unreachable), (ChangeState::Rolling, 1, 1));
    world.land(away, 8, 1, ResourceState::Failed).await;
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.converged, progress.failed), (ChangeState::Done, 1, 1));
    let nodes = world.changes.nodes(row.id, None, None, 10).await.expect("nodes").items;
    assert_eq!(nodes[1].fault.as_ref().map(|f| f.code.as_str()), Some("file.full"));
    assert_eq!((nodes[0].state, nodes[0].took_ms), (ChangeNodeState::Converged, Some(12)));
    assert_eq!(in_state(&[ChangeNodeState::Unreachable, ChangeNodeState::Failed]).await, [away]);
    assert_eq!(in_state(&[ChangeNodeState::Converged]).await, [web]);
    let (whole, brief) =
        (world.changes.show(row.id).await.expect("it"), world.changes.brief(row.id).await.expect("it"));
    assert_eq!((&whole.summary.title, whole.summary.progress), (&brief.summary.title, brief.summary.progress));
    assert!(!whole.drafts.is_empty() && brief.drafts.is_empty() && brief.plan.is_none());

    let refused = world.changes.apply(row.id, &Apply::default(), &admin()).await.expect_err("once is enough");
    assert!(matches!(refused, ChangeError::State { .. }), "{refused}");
    let page = world.db.read(|mut tx| async move {
        let filter = fleet::NodeFilter { search: Some("WEB".into()), ..fleet::NodeFilter::default() };
        fleet::list(&mut tx, &filter, None, 1).await.map(|p| tx.done(p))
    });
    let page = page.await.expect("a page");
    assert_eq!((page.total, page.next.as_deref(), page.items[0].converged), (Some(2), Some("web-1"), 1));
    let roles = world
        .db
        .read(|mut tx| async move { fleet::list_roles(&mut tx, None).await.map(|r| tx.done(r)) })
        .await
        .expect("roles");
    let app = roles.iter().find(|r| r.name.as_str() == "app").expect("the role");
    assert_eq!((app.nodes, app.online, app.converged, app.failed, app.objects), (2, 1, 1, 1, 1));
    let counts =
        world.db.read(|mut tx| async move { fleet::counts(&mut tx).await.map(|c| tx.done(c)) }).await.expect("counts");
    assert_eq!((counts.nodes, counts.converged, counts.failed, counts.objects), (3, 1, 1, 1));
    world.end().await;
}

async fn two_editors_conflict(db: Db) {
    let world = World::new(db);
    world.save(vec![put(file("fleet", "motd", "one"))]).await.expect("made");
    let draft = |content| Draft { base: Some(1), ..put(file("fleet", "motd", content)) };
    let new = |content| NewChange { drafts: vec![draft(content)], ..NewChange::default() };
    let first = world.changes.create(&new("two"), &Principal::new("user:eve", "")).await.expect("a draft");
    let second = world.changes.create(&new("three"), &admin()).await.expect("a draft");
    world.changes.apply(first.id, &Apply::default(), &admin()).await.expect("applied");
    let lost = world.changes.apply(second.id, &Apply::default(), &admin()).await.expect_err("overtaken");
    let ChangeError::Superseded { why, .. } = &lost else { panic!("{lost}") };
    assert_eq!(*why, format!("file motd (fleet) was changed by eve meanwhile, with change {}", first.number));
    let late = world.changes.create(&new("four"), &admin()).await.expect_err("refused at once");
    assert!(matches!(late, ChangeError::Conflict { .. }), "{late}");
    assert_eq!(world.find("fleet", "motd").await.expect("it stands").revision, 2);
    world.end().await;
}

async fn what_is_made_writes_over_nothing(db: Db) {
    let world = World::new(db);
    world.save(vec![put(file("fleet", "motd", "one")), put(file("fleet", "issue", "two"))]).await.expect("made");
    let create = async |draft: Draft| {
        let new = NewChange { drafts: vec![draft], ..NewChange::default() };
        world.changes.create(&new, &admin()).await
    };
    let made = Draft { base: Some(0), ..put(file("fleet", "motd", "mine")) };
    let taken = create(made.clone()).await.expect_err("it stands");
    assert!(matches!(taken, ChangeError::Exists { .. }), "{taken}");
    assert!(taken.to_string().starts_with("there is file motd (fleet) already, saved by "), "{taken}");
    // A name that is another object's, at a revision that happens to be the same.
    let former = Some("issue".parse().expect("a name"));
    let renamed = Draft { base: Some(1), previous_name: former, ..put(file("fleet", "motd", "two")) };
    let taken = create(renamed).await.expect_err("another has the name");
    assert!(matches!(taken, ChangeError::Exists { .. }), "{taken}");
    assert_eq!(world.find("fleet", "motd").await.expect("it stands").revision, 1);
    // Elsewhere the name is free; and what says no base, as a manifest does, means what stands.
    create(Draft { base: Some(0), ..put(file("role:app", "motd", "mine")) }).await.expect("another scope");
    create(Draft { base: None, ..made }).await.expect("an update");
    world.end().await;
}

async fn ties_are_refused(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("role:app", "motd", "a"))]).await.expect("made");
    let mut other = file("role:proxy", "motd", "b");
    other.name = "motd-2".parse().expect("a name");
    world.save(vec![put(other.clone())]).await.expect("nobody has both roles");
    let both = NodeUpdate {
        roles: Some(vec!["app".parse().expect("a role"), "proxy".parse().expect("a role")]),
        ..NodeUpdate::default()
    };
    let refused = world.changes.update_node(node, &both, None, None, &admin()).await.expect_err("a tie");
    assert!(matches!(&refused, ChangeError::Tie(t) if t.node.is_some()), "{refused}");
    let proxy = NodeUpdate { roles: Some(vec!["proxy".parse().expect("a role")]), ..NodeUpdate::default() };
    let before = world.desired(node).await;
    world.changes.update_node(node, &proxy, Some(1), None, &admin()).await.expect("another role");
    let after = world.desired(node).await;
    assert_eq!(after.generation.counter, before.generation.counter + 1);
    let late = world.changes.update_node(node, &proxy, Some(1), None, &admin()).await.expect_err("an old revision");
    assert!(matches!(late, ChangeError::Fleet(FleetError::Conflict { found: 2, .. })), "{late}");
    world.end().await;
}

async fn plans_bind(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    let new = NewChange { drafts: vec![put(file("role:app", "motd", "a"))], ..NewChange::default() };
    let row = world.changes.create(&new, &admin()).await.expect("a change");
    let plan = world.changes.plan(row.id, &admin()).await.expect("a plan");
    assert_eq!(world.changes.find(&plan.id).await.expect("found by its plan").id, row.id);
    world.save(vec![put(file("role:app", "issue", "b"))]).await.expect("another change in between");
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    let moved = world.changes.apply(row.id, &how, &admin()).await.expect_err("the plan is old");
    assert!(matches!(moved, ChangeError::Moved { .. }), "{moved}");
    let plan = world.changes.plan(row.id, &admin()).await.expect("planned again");
    let wrong = Apply { plan: Some("0000-0000".into()), ..Apply::default() };
    assert!(matches!(world.changes.apply(row.id, &wrong, &admin()).await, Err(ChangeError::Moved { .. })));
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    world.changes.apply(row.id, &how, &admin()).await.expect("applied");
    world.end().await;
}

async fn reverting_and_restoring_keep_the_object(db: Db) {
    let world = World::new(db);
    world.save(vec![put(file("fleet", "motd", "one"))]).await.expect("made");
    let id = world.find("fleet", "motd").await.expect("it stands").id;
    let mut renamed = file("fleet", "banner", "two");
    renamed.body = file("fleet", "motd", "two").body;
    let draft = Draft { previous_name: Some("motd".parse().expect("a name")), ..put(renamed) };
    let rename = world.save(vec![draft]).await.expect("renamed");
    assert_eq!(world.find("fleet", "banner").await.expect("it stands").id, id);
    let revert = world.changes.revert(rename.id, "", &admin()).await.expect("a change");
    world.changes.apply(revert.id, &Apply::default(), &admin()).await.expect("applied");
    let back = world.find("fleet", "motd").await.expect("under its old name");
    assert_eq!((back.id, back.revision), (id, 3));
    let gone = Draft { act: DraftAct::Delete(back.spec.key()), base: Some(3), previous_name: None };
    world.save(vec![gone]).await.expect("deleted");
    assert!(world.find("fleet", "motd").await.is_none());
    let restore = world.changes.restore(id, 3, "", &admin()).await.expect("a change");
    world.changes.apply(restore.id, &Apply::default(), &admin()).await.expect("applied");
    let again = world.find("fleet", "motd").await.expect("it is back");
    assert_eq!((again.id, again.revision, again.author.as_str()), (id, 5, "admin"));
    // Made anew by somebody, what was deleted has no place to come back to.
    let gone = Draft { act: DraftAct::Delete(again.spec.key()), base: Some(5), previous_name: None };
    let deletion = world.save(vec![gone]).await.expect("deleted");
    world.save(vec![put(file("fleet", "motd", "by dana"))]).await.expect("made anew");
    let refused = world.changes.revert(deletion.id, "", &admin()).await.expect_err("another one stands there");
    let text = refused.to_string();
    assert!(matches!(refused, ChangeError::Remade { .. }) && text.contains("admin saved since"), "{text}");
    assert!(text.contains("lampasctl object history file/fleet/motd") && !text.contains("another name"), "{text}");
    // Nor under the name of one that was renamed to it.
    let other = Draft {
        previous_name: Some("other".parse().expect("a name")),
        ..put(file("role:app", "motd", "renamed to it"))
    };
    world.save(vec![put(file("role:app", "motd", "1"))]).await.expect("made");
    let first = world.find("role:app", "motd").await.expect("it stands");
    let gone = Draft { act: DraftAct::Delete(first.spec.key()), base: None, previous_name: None };
    world.save(vec![gone, put(file("role:app", "other", "2"))]).await.expect("saved");
    world.save(vec![other]).await.expect("renamed");
    let refused = world.changes.restore(first.id, 1, "", &admin()).await.expect_err("it would be written over");
    assert!(matches!(refused, ChangeError::Remade { .. }), "{refused}");
    world.end().await;
}

async fn node_scopes_follow_the_node(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("node:web-1", "motd", "mine"))]).await.expect("made");
    let rename = NodeUpdate { name: Some("web-9".parse().expect("a name")), ..NodeUpdate::default() };
    world.changes.update_node(node, &rename, None, None, &admin()).await.expect("renamed");
    assert!(world.find("node:web-9", "motd").await.is_some(), "the object goes with its node");
    assert_eq!(world.desired(node).await.resources().count(), 1);
    let stray = world.save(vec![put(file("node:web-1", "motd", "whose"))]).await.expect_err("there is no such node");
    assert!(matches!(stray, ChangeError::NoSuchNode { .. }), "{stray}");
    world.changes.remove_node(node, ("broken", None), &admin()).await.expect("removed");
    assert!(world.changes.desired().desired_for(node).await.expect("an answer").is_none());
    world.end().await;
}

async fn the_same_request_is_the_same_change(db: Db) {
    let world = World::new(db);
    let new = NewChange {
        drafts: vec![put(file("fleet", "motd", "a"))],
        request_key: Some("admin/k1".into()),
        ..NewChange::default()
    };
    let first = world.changes.save(&new, &Apply::default(), &admin()).await.expect("made");
    let second = world.changes.save(&new, &Apply::default(), &admin()).await.expect("the same");
    assert_eq!((first.id, first.state), (second.id, ChangeState::Done), "no node moves, so it is done at once");
    assert_eq!(world.find("fleet", "motd").await.expect("it stands").revision, 1);
    // Said for the same reason, and of something else.
    let other = NewChange { drafts: vec![put(file("fleet", "motd", "b"))], ..new.clone() };
    let refused = world.changes.save(&other, &Apply::default(), &admin()).await.expect_err("another request");
    assert!(matches!(refused, ChangeError::KeyReused(number) if number == first.number), "{refused}");
    assert_eq!(world.find("fleet", "motd").await.expect("it stands").revision, 1);
    world.end().await;
}

async fn what_was_in_force_stays_in_the_record(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    let done = async |row: &ChangeRow| {
        let (state, progress) = world.state(row).await;
        assert_eq!((state, progress.converged, progress.failed), (ChangeState::Done, 2, 0));
    };
    let tell = async |node: NodeId, seq: u64, said: Report| {
        world.ingest.submit(node, 7, vec![(seq, said)]).await.expect("stored");
    };
    let older = world.save(vec![put(file("role:app", "motd", "one"))]).await.expect("made");
    let before = world.desired(nodes[0]).await;
    for node in nodes {
        world.land(node, 7, 1, ResourceState::Converged).await;
    }
    done(&older).await;
    // What happens to the node's files afterwards is said of the node.
    for (seq, said) in [(4, ResourceState::Failed), (5, ResourceState::Applying), (6, ResourceState::Blocked)] {
        tell(nodes[0], seq, report(&before, Phase::Applied, said)).await;
        done(&older).await;
    }
    // A newer generation fails: that is said of its own change, and so is what is told of it late or again.
    let newer = world.save(vec![put(file("role:app", "motd", "two"))]).await.expect("made");
    world.land(nodes[0], 7, 20, ResourceState::Failed).await;
    world.land(nodes[1], 7, 20, ResourceState::Converged).await;
    for (seq, phase) in [(30, Phase::Received), (31, Phase::Applied), (32, Phase::Quarantined)] {
        tell(nodes[0], seq, report(&before, phase, ResourceState::Failed)).await;
    }
    done(&older).await;
    let (state, progress) = world.state(&newer).await;
    assert_eq!((state, progress.converged, progress.failed), (ChangeState::Done, 1, 1));
    // Another attempt may still end well, and a node that undoes what it had says so.
    let desired = world.desired(nodes[0]).await;
    tell(nodes[0], 40, report(&desired, Phase::Applied, ResourceState::Converged)).await;
    done(&newer).await;
    tell(nodes[0], 41, report(&desired, Phase::Quarantined, ResourceState::Failed)).await;
    let (_, progress) = world.state(&newer).await;
    assert_eq!((progress.converged, progress.failed), (1, 1));
    done(&older).await;
    world.end().await;
}
