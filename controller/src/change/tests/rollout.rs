//! Rollouts through the store: who has which revision while one is under way, whoever drives it.

use std::sync::Mutex as StdMutex;

use futures_util::future::BoxFuture;
use lampas_shared::rollout::{NodeSeen, Order, State, Strategy, Verdict};

use super::{
    super::rollout::{driver, store},
    *,
};

testing::on_both!(
    waves_get_a_change_one_after_the_other,
    a_failing_canary_brings_back_what_stood_before,
    gates_decide_and_are_asked_once,
    a_pause_leaves_be_what_is_measured_before,
    an_aborted_rollout_keeps_both_sides_until_a_later_change,
    an_object_rolls_out_with_one_change_at_a_time,
    a_deletion_rolls_out_too,
    who_is_renamed_or_leaves_meanwhile_stops_no_rollout,
    who_is_paused_or_holds_the_file_proves_nothing,
    who_holds_a_file_that_a_value_goes_into_proves_nothing,
    who_observes_is_in_no_wave,
    who_is_silent_is_away_and_not_reached,
);

/// Gates that say what they are told to, and remember the questions.
#[derive(Default)]
pub(super) struct Told {
    verdict: StdMutex<Option<Verdict>>,
    asked: StdMutex<Vec<(String, Vec<NodeId>)>>,
    ended: StdMutex<Vec<String>>,
}

impl driver::Gates for Told {
    fn ask(&self, question: driver::Question) -> BoxFuture<'_, Result<Verdict, Fault>> {
        let key = if question.is_before { question.before } else { question.key };
        self.asked.lock().expect("not poisoned").push((key, question.nodes));
        let verdict = self.verdict.lock().expect("not poisoned").clone().unwrap_or(Verdict::Open);
        Box::pin(async move { Ok(verdict) })
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        let ended = self.ended.lock().expect("not poisoned").clone();
        let asked = self.asked.lock().expect("not poisoned").clone();
        let open: BTreeSet<String> = asked.iter().map(|(key, _)| format!("{key}:0")).collect();
        let open: Vec<String> = open.into_iter().filter(|key| !ended.contains(key)).collect();
        Box::pin(async move { Ok(open) })
    }

    fn end(&self, key: String) -> BoxFuture<'_, Result<(), Fault>> {
        self.ended.lock().expect("not poisoned").push(key);
        Box::pin(async move { Ok(()) })
    }
}

fn strategy(json: serde_json::Value) -> Strategy {
    serde_json::from_value(json).expect("a strategy")
}

impl World {
    /// Applies with a strategy.
    async fn roll(&self, drafts: Vec<Draft>, strategy: Strategy) -> Result<ChangeRow, ChangeError> {
        let new = NewChange { drafts, reason: "because".into(), ..NewChange::default() };
        let how = Apply { allow_unplanned: true, rollout: strategy, ..Apply::default() };
        self.changes.save(&new, &how, &admin()).await
    }

    /// Drives all rollouts, as a controller that was started just now.
    pub(super) async fn drive(&self, gates: &Told) {
        let fresh = Changes::new(Desired::new(self.db.clone()), self.nodes.clone());
        driver::pass(&fresh, gates).await.expect("driven");
    }

    /// Returns the contents of the only file of a node; empty when it has none.
    pub(super) async fn motd(&self, node: NodeId) -> String {
        let desired = self.desired(node).await;
        let content = desired.resources().find_map(|r| match &r.spec {
            lampas_shared::desired::Spec::File { content, .. } => content.inline.clone(),
            _ => None,
        });
        String::from_utf8(content.unwrap_or_default()).expect("text")
    }

    pub(super) async fn motds(&self, nodes: &[NodeId]) -> Vec<String> {
        let mut found = Vec::new();
        for node in nodes {
            found.push(self.motd(*node).await);
        }
        found
    }

    pub(super) async fn rollout(&self, row: &ChangeRow) -> lampas_api::RolloutView {
        self.changes.show(row.id).await.expect("a change").rollout.expect("a rollout")
    }

    async fn three(&self) -> [NodeId; 3] {
        [
            self.node("web-1", &["app"], true).await,
            self.node("web-2", &["app"], true).await,
            self.node("web-3", &["app"], true).await,
        ]
    }
}

async fn waves_get_a_change_one_after_the_other(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let row = world
        .roll(vec![put(file("role:app", "motd", "new"))], strategy(serde_json::json!({ "waves": ["1"] })))
        .await
        .expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.waiting, progress.held), (ChangeState::Rolling, 1, 2));
    let late = world.node("web-4", &["app"], true).await;
    assert_eq!(world.motd(late).await, "new", "who joins meanwhile gets the newest");

    let gates = Told::default();
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"], "the canary is not proven yet");
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    assert_eq!(world.state(&row).await.0, ChangeState::Rolling, "its waves are not through");
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    let shown = world.rollout(&row).await;
    assert_eq!((shown.state, shown.wave, shown.waves.len()), (State::Running, 2, 2));
    assert_eq!((shown.waves[0].progress.converged, shown.waves[1].progress.waiting), (1, 2));
    world.land(nodes[1], 8, 1, ResourceState::Converged).await;
    world.land(nodes[2], 9, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    assert_eq!(world.rollout(&row).await.state, State::Done);
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.converged, progress.held), (ChangeState::Done, 3, 0));
    let refused = world.changes.order(row.id, Order::Pause, "", &admin()).await.expect_err("it is over");
    assert!(matches!(refused, ChangeError::Order(_)), "{refused}");
    world.end().await;
}

async fn a_failing_canary_brings_back_what_stood_before(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let generations = [world.desired(nodes[1]).await.generation, world.desired(nodes[2]).await.generation];
    let drafts = vec![put(file("role:app", "motd", "bad"))];
    let row = world.roll(drafts, strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    world.land(nodes[0], 7, 1, ResourceState::Failed).await;
    world.drive(&Told::default()).await;
    let shown = world.rollout(&row).await;
    assert_eq!((shown.state, shown.reason.as_str()), (State::Reverted, "wave 1 of 2: 1 node failed, 0 may"));
    let never = world.state(&row).await.1;
    assert_eq!((never.failed, never.untouched, never.superseded), (1, 2, 0), "who never had it says so");
    assert_eq!(world.motds(&nodes).await, ["old", "old", "old"]);
    let now = [world.desired(nodes[1]).await.generation, world.desired(nodes[2]).await.generation];
    assert_eq!(now, generations, "who never had it is not touched");
    let latest = world.changes.list(&Listing { limit: 1, ..Listing::default() }).await.expect("listed").items.remove(0);
    assert_eq!(latest.reason, format!("revert change {}: wave 1 of 2: 1 node failed, 0 may", row.number));
    world.land(nodes[0], 7, 4, ResourceState::Converged).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.state(&row).await.0, ChangeState::Done);
    world.save(vec![put(file("role:app", "motd", "newer"))]).await.expect("the object is free again");
    assert_eq!(world.motds(&nodes).await, ["newer", "newer", "newer"]);
    world.end().await;
}

async fn gates_decide_and_are_asked_once(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    let gated = serde_json::json!({ "waves": ["1"], "gates": [{ "command": ["/bin/true"] }], "on_failure": "pause" });
    let row = world.roll(vec![put(file("role:app", "motd", "new"))], strategy(gated)).await.expect("applied");
    let gates = Told::default();
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    world.drive(&gates).await;
    let questions: BTreeSet<_> = gates.asked.lock().expect("not poisoned").iter().cloned().collect();
    assert_eq!(questions, [(format!("gate:{}:0:1", row.id), vec![nodes[0]])].into(), "one question, by its key");
    *gates.verdict.lock().expect("not poisoned") = Some(Verdict::Fail("exit 3".into()));
    world.drive(&gates).await;
    let shown = world.rollout(&row).await;
    assert_eq!((shown.state, shown.reason.as_str()), (State::Paused, "wave 1 of 2: a gate says no: exit 3"));
    assert_eq!(world.motds(&nodes).await, ["new", "", ""], "nothing moves while it waits for somebody");
    let ended = || gates.ended.lock().expect("not poisoned").clone();
    assert_eq!(ended(), [format!("gate:{}:0:1:0", row.id)], "nobody waits for its answer any more");
    world.changes.order(row.id, Order::Resume, "mended", &admin()).await.expect("resumed");
    *gates.verdict.lock().expect("not poisoned") = Some(Verdict::Pass);
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    assert!(gates.asked.lock().expect("not poisoned").iter().any(|(key, _)| key.ends_with(":0:2")), "asked anew");
    world.drive(&gates).await;
    assert!(ended().contains(&format!("gate:{}:0:2:0", row.id)), "the wave is through");
    world.end().await;
}

async fn a_pause_leaves_be_what_is_measured_before(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    let bound = serde_json::json!({ "compare": "<=", "worse_percent": 10 });
    let probe = serde_json::json!({ "what": { "kind": "measure", "measure": "load_per_core", "bound": bound } });
    let gated = serde_json::json!({ "waves": ["1"], "gates": [{ "probe": probe }] });
    let row = world.roll(vec![put(file("role:app", "motd", "new"))], strategy(gated)).await.expect("applied");
    let gates = Told::default();
    world.drive(&gates).await;
    let measured = format!("before:{}:0:0", row.id);
    let ended = || gates.ended.lock().expect("not poisoned").clone();
    world.changes.order(row.id, Order::Pause, "wait", &admin()).await.expect("paused");
    world.drive(&gates).await;
    assert_eq!(ended(), Vec::<String>::new(), "it can't be asked anew");
    assert_eq!(world.motds(&nodes).await, ["", "", ""]);
    world.changes.order(row.id, Order::Resume, "go on", &admin()).await.expect("resumed");
    *gates.verdict.lock().expect("not poisoned") = Some(Verdict::Pass);
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "", ""]);
    world.drive(&gates).await;
    assert_eq!(ended(), [measured], "the wave has the change");
    world.end().await;
}

async fn an_aborted_rollout_keeps_both_sides_until_a_later_change(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let drafts = vec![put(file("role:app", "motd", "new"))];
    let row = world.roll(drafts, strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    world.changes.order(row.id, Order::Abort, "enough", &admin()).await.expect("aborted");
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.converged, progress.untouched), (ChangeState::Done, 1, 2));
    world.save(vec![put(file("role:app", "other", "x"))]).await.expect("something else");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"], "another object's change doesn't end it");
    world.save(vec![put(file("role:app", "motd", "newer"))]).await.expect("made");
    let later = [world.desired(nodes[0]).await, world.desired(nodes[2]).await];
    assert_eq!(later[0].hash, later[1].hash, "all are the same again");
    let progress = world.state(&row).await.1;
    assert_eq!((progress.untouched, progress.superseded), (2, 0), "they never had it, whatever came later");
    world.end().await;
}

async fn an_object_rolls_out_with_one_change_at_a_time(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    let drafts = vec![put(file("role:app", "motd", "one"))];
    let row = world.roll(drafts, strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    let refused = world.save(vec![put(file("role:app", "motd", "two"))]).await.expect_err("it is on its way");
    assert!(matches!(refused, ChangeError::Rolling { number, .. } if number == row.number), "{refused}");
    // Other objects of the same nodes may move at the same time.
    let other = world
        .roll(vec![put(file("role:app", "issue", "x"))], strategy(serde_json::json!({ "waves": ["2"] })))
        .await
        .expect("another object");
    let names = |desired: &NodeDesired| desired.resources().map(|r| r.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&world.desired(nodes[0]).await), ["issue", "motd"]);
    assert_eq!(names(&world.desired(nodes[1]).await), ["issue"]);
    assert!(names(&world.desired(nodes[2]).await).is_empty());
    world.changes.order(row.id, Order::Revert, "", &admin()).await.expect("reverted");
    assert_eq!(names(&world.desired(nodes[0]).await), ["issue"]);
    assert_eq!(world.rollout(&other).await.state, State::Running);
    world.end().await;
}

async fn a_deletion_rolls_out_too(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let key = file("role:app", "motd", "").key();
    let draft = Draft { act: DraftAct::Delete(key), base: None, previous_name: None };
    let row = world.roll(vec![draft], strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["", "old", "old"]);
    world.changes.order(row.id, Order::Promote, "", &admin()).await.expect("promoted");
    assert_eq!(world.motds(&nodes).await, ["", "", ""]);
    world.end().await;
}

async fn who_is_renamed_or_leaves_meanwhile_stops_no_rollout(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let drafts = vec![put(file("role:app", "motd", "new"))];
    let row = world.roll(drafts, strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    let name = |name: &str| NodeUpdate { name: Some(name.parse().expect("a name")), ..NodeUpdate::default() };
    let leave = NodeUpdate { roles: Some(["database".parse().expect("a role")].into()), ..NodeUpdate::default() };
    for (node, edit) in [(nodes[0], name("api-1")), (nodes[1], name("api-2")), (nodes[2], leave)] {
        world.changes.update_node(node, &edit, None, None, &admin()).await.expect("edited");
    }
    assert_eq!(world.motds(&nodes).await, ["new", "old", ""], "who left has nothing of it");
    let gates = Told::default();
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "new", ""]);
    world.land(nodes[1], 8, 1, ResourceState::Converged).await;
    world.land(nodes[2], 9, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    assert_eq!(world.rollout(&row).await.state, State::Done);
    let members = world.changes.show(row.id).await.expect("shown");
    assert_eq!((members.summary.progress.converged, members.summary.progress.failed), (2, 0), "{members:?}");
    world.end().await;
}

async fn who_is_paused_or_holds_the_file_proves_nothing(db: Db) {
    for state in [ResourceState::Paused, ResourceState::Drifted] {
        let world = World::new(db.clone());
        let nodes = world.three().await;
        let object = format!("motd-{}", state.as_str());
        world.save(vec![put(file("role:app", &object, "old"))]).await.expect("made");
        let drafts = vec![put(file("role:app", &object, "new"))];
        let row = world.roll(drafts, strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
        let canary = nodes[0];
        world.land(canary, 7, 1, state).await;
        world.drive(&Told::default()).await;
        let (shown, progress) = (world.rollout(&row).await, world.state(&row).await.1);
        assert_eq!(shown.waves[1].progress.converged, 0, "{state:?}: {shown:?}");
        if state == ResourceState::Paused {
            assert_eq!(
                (shown.state, shown.wave, progress.applying),
                (State::Running, 1, 1),
                "it waits until the node goes on"
            );
            world.land(canary, 7, 4, ResourceState::Converged).await;
            world.drive(&Told::default()).await;
            assert_eq!(world.rollout(&row).await.wave, 2);
        } else {
            assert_eq!((shown.state, progress.failed), (State::Reverted, 1), "somebody has to decide");
            let failed = world.changes.nodes(row.id, None, None, 10).await.expect("its nodes").items;
            assert!(
                failed.iter().any(|n| n.fault.as_ref().is_some_and(|f| f.message.contains("changed by hand"))),
                "{failed:?}"
            );
        }
        for node in nodes {
            world.changes.remove_node(node, ("over", None), &admin()).await.expect("removed");
        }
        world.end().await;
    }
}

async fn who_holds_a_file_that_a_value_goes_into_proves_nothing(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    let spec = |spec: serde_json::Value| put(serde_json::from_value(spec).expect("a spec"));
    let port = |value: &str| {
        let body = serde_json::json!({ "kind": "var", "value": value });
        spec(serde_json::json!({ "name": "port", "scope": "role:app", "body": body }))
    };
    let body = serde_json::json!({
        "kind": "file", "path": "/etc/app.conf", "template": true, "content": "port={{var.port}}\n",
    });
    let conf = spec(serde_json::json!({ "name": "conf", "scope": "role:app", "body": body }));
    world.save(vec![port("80"), conf]).await.expect("made");
    let row = world.roll(vec![port("81")], strategy(serde_json::json!({ "waves": ["1"] }))).await.expect("applied");
    world.land(nodes[0], 7, 1, ResourceState::Drifted).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.state, State::Reverted, "the file was edited by hand and not written");
    world.end().await;
}

async fn who_observes_is_in_no_wave(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    let modes = &BTreeMap::from([(nodes[0], true)]);
    let label = NodeUpdate {
        labels: Some([("canary".parse().expect("a key"), "yes".parse().expect("a value"))].into()),
        ..NodeUpdate::default()
    };
    world.changes.update_node(nodes[0], &label, None, None, &admin()).await.expect("labelled");
    let told =
        world.db.write(|mut tx| async move { crate::takeover::said(&mut tx, modes).await.map(|()| tx.done(())) });
    told.await.expect("it observes");
    let by_label = strategy(serde_json::json!({ "waves": ["label:canary=yes"] }));
    let refused = world.roll(vec![put(file("role:app", "motd", "new"))], by_label).await.expect_err("nobody sings");
    assert!(refused.to_string().contains("label:canary=yes"), "{refused}");
    assert_eq!(world.motds(&nodes[1..]).await, ["", ""], "nobody has it");
    let by_count = strategy(serde_json::json!({ "waves": ["1"] }));
    let row = world.roll(vec![put(file("role:app", "issue", "new"))], by_count).await.expect("applied");
    let shown = world.rollout(&row).await;
    let waves: Vec<u32> = shown.waves.iter().map(|w| w.progress.total()).collect();
    assert_eq!(waves, [1, 1], "{shown:?}");
    world.end().await;
}

async fn who_is_silent_is_away_and_not_reached(db: Db) {
    let world = World::new(db);
    let nodes = world.three().await;
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    let silent = async |name: &'static str| {
        let set = world.db.write(|mut tx| async move {
            sqlx::query("UPDATE node SET state = 'stale' WHERE name = ?").bind(name).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        set.await.expect("set");
    };
    silent("web-1").await;
    let two = serde_json::json!({ "waves": ["2"] });
    let row = world.roll(vec![put(file("role:app", "motd", "new"))], strategy(two)).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["old", "new", "new"], "who does not answer comes last");
    silent("web-2").await;
    world.land(nodes[2], 7, 1, ResourceState::Converged).await;
    let seen = world.db.read(|mut tx| async move { store::seen(&mut tx, row.id).await.map(|s| tx.done(s)) });
    let seen = seen.await.expect("the store answers").0;
    let expected = [(nodes[1], NodeSeen::Away), (nodes[2], NodeSeen::Proven)];
    assert_eq!(seen, expected.into(), "nobody knows whether it is on its way");
    world.changes.order(row.id, Order::Revert, "", &admin()).await.expect("reverted");
    let said = async |node: NodeId| {
        let page = world.changes.nodes(row.id, None, None, 10).await.expect("nodes");
        let found = page.items.into_iter().find(|n| n.node.id == node).expect("it is listed");
        (found.state, found.fault.map(|f| f.code.clone()))
    };
    assert_eq!(said(nodes[1]).await, (ChangeNodeState::Superseded, Some("node.not_reached".to_owned())));
    assert_eq!(said(nodes[2]).await, (ChangeNodeState::Converged, None));
    world.end().await;
}
