//! Edits of nodes as parts of a change: planned, approved, scheduled and reverted like any other.

use lampas_api::{DraftVerb, NodeEdit};
use lampas_shared::rollout::Strategy;

use super::*;

testing::on_both!(
    an_edit_is_planned_lands_and_goes_back,
    an_edit_of_a_protected_node_waits_for_somebody_else,
    who_is_led_out_of_a_guarded_scope_needs_it_too,
    an_edit_waits_for_the_end_of_a_freeze,
    an_edit_that_cant_be_is_refused_at_once,
);

fn roles(names: &[&str]) -> NodeUpdate {
    NodeUpdate { roles: Some(names.iter().map(|r| r.parse().expect("a role")).collect()), ..NodeUpdate::default() }
}

fn label(key: &str, value: &str) -> NodeUpdate {
    let labels = [(key.parse().expect("a key"), value.parse().expect("a value"))].into();
    NodeUpdate { labels: Some(labels), ..NodeUpdate::default() }
}

fn edit(node: &str, set: NodeUpdate) -> NodeEdit {
    NodeEdit { node: node.into(), set, base: None }
}

impl World {
    async fn edited(&self, edits: Vec<NodeEdit>, by: &Principal) -> Result<(ChangeRow, lampas_api::Plan), ChangeError> {
        let new = NewChange { node_edits: edits, ..NewChange::default() };
        let row = self.changes.create(&new, by).await?;
        let plan = self.changes.plan(row.id, by).await?;
        Ok((row, plan))
    }

    async fn fleet_node(&self, node: NodeId) -> lampas_api::Node {
        let id = &node.to_string();
        self.db.read(|mut tx| async move { fleet::find(&mut tx, id).await.map(|n| tx.done(n)) }).await.expect("a node")
    }
}

async fn an_edit_is_planned_lands_and_goes_back(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let other = world.node("web-2", &["app"], true).await;
    world.save(vec![put(file("role:app", "motd", "app"))]).await.expect("made");
    world
        .save(vec![put(file("role:database", "notice", "db")), put(file("node:web-1", "own", "own"))])
        .await
        .expect("made");
    let set = NodeUpdate { name: Some("db-1".parse().expect("a name")), ..roles(&["database"]) };
    let (row, plan) = world.edited(vec![edit("web-1", set)], &rk()).await.expect("planned");
    assert_eq!((plan.groups.len(), plan.groups[0].nodes[0].name.as_str()), (1, "web-1"));
    let names: Vec<&str> = plan.groups[0].actions.iter().map(|a| a.name.as_str()).collect();
    assert!(names.contains(&"notice") && names.contains(&"own") && !names.contains(&"motd"), "{names:?}");
    let shown = world.changes.show(row.id).await.expect("a change");
    assert_eq!(shown.summary.title, "node web-1");
    let view = &shown.node_edits[0];
    assert_eq!((view.verb, view.base), (DraftVerb::Rename, 1));
    assert!(view.diff.contains("-role = app\n") && view.diff.contains("+role = database\n"), "{}", view.diff);
    assert_eq!(world.fleet_node(node).await.revision, 1, "a plan writes nothing");
    let calm = world.desired(other).await.generation;
    world.changes.apply(row.id, &how(&plan), &rk()).await.expect("applied");
    let edited = world.fleet_node(node).await;
    assert_eq!((edited.summary.name.as_str(), edited.revision), ("db-1", 2));
    assert_eq!(world.desired(node).await.resources().count(), 2);
    assert_eq!(world.desired(other).await.generation, calm);
    assert!(world.find("node:db-1", "own").await.is_some(), "the object goes with its node");
    let shown = world.changes.show(row.id).await.expect("a change");
    assert!(shown.node_edits[0].diff.contains("+name = db-1\n"), "{}", shown.node_edits[0].diff);

    let back = world.changes.revert(row.id, "", &rk()).await.expect("the way back");
    let plan = world.changes.plan(back.id, &rk()).await.expect("planned");
    world.changes.apply(back.id, &how(&plan), &rk()).await.expect("applied");
    let again = world.fleet_node(node).await.summary;
    assert_eq!((again.name.as_str(), again.roles[0].as_str()), ("web-1", "app"));
    assert_eq!(world.desired(node).await.resources().count(), 2, "motd, and its own");
    world.changes.update_node(node, &roles(&["proxy"]), None, None, &admin()).await.expect("edited since");
    let late = world.changes.revert(back.id, "", &rk()).await.expect_err("somebody edited it since");
    assert!(matches!(late, ChangeError::NodeConflict { .. }), "{late}");
    world.end().await;
}

async fn an_edit_of_a_protected_node_waits_for_somebody_else(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.user("dana", Preset::Operator).await;
    world.save(vec![put(file("role:database", "notice", "db"))]).await.expect("made");
    world.protect("role:database").await;
    let refused = world.changes.update_node(node, &roles(&["database"]), None, None, &rk()).await.expect_err("guarded");
    assert!(matches!(&refused, ChangeError::Guarded(_)) && refused.to_string().contains("--plan"), "{refused}");
    let (row, plan) = world.edited(vec![edit("web-1", roles(&["database"]))], &rk()).await.expect("it can be planned");
    let waiting = world.changes.approvals(&dana()).await.expect("a list");
    assert_eq!((waiting.len(), waiting[0].change.title.as_str(), waiting[0].may_approve), (1, "node web-1", true));
    let refused = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it waits");
    assert!(matches!(refused, ChangeError::ApprovalNeeded { .. }), "{refused}");
    world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect("approved");
    // Somebody edits the node meanwhile: the approval was of another node than this.
    world.changes.update_node(node, &label("rack", "7"), None, None, &rk()).await.expect("moves nobody");
    let moved = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it was edited");
    assert!(
        matches!(&moved, ChangeError::Superseded { why, .. } if why.starts_with("node web-1 was changed")),
        "{moved}"
    );
    let (state, control) = world.control(&row).await;
    assert_eq!((state, control.approval.expect("it was").verdict), (ChangeState::Abandoned, Verdict::Ended));
    assert_eq!(world.changes.show(row.id).await.expect("it").node_edits[0].verb, DraftVerb::Conflict);
    let (row, plan) = world.edited(vec![edit("web-1", roles(&["database"]))], &rk()).await.expect("once more");
    world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect("approved");
    world.changes.apply(row.id, &how(&plan), &rk()).await.expect("applied");
    assert_eq!(world.desired(node).await.resources().count(), 1);
    world.end().await;
}

async fn who_is_led_out_of_a_guarded_scope_needs_it_too(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.user("dana", Preset::Operator).await;
    world.changes.update_node(node, &label("env", "prod"), None, None, &admin()).await.expect("labelled");
    world.protect("label:env=prod").await;
    // Nothing moves by that; but the next change of its role would need nobody.
    let refused = world.changes.update_node(node, &label("env", "dev"), None, None, &rk()).await.expect_err("guarded");
    assert!(matches!(refused, ChangeError::Guarded(_)), "{refused}");
    let (row, plan) = world.edited(vec![edit("web-1", label("env", "dev"))], &rk()).await.expect("planned");
    assert!(plan.groups.is_empty(), "it moves nothing");
    let refused = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it waits");
    assert!(matches!(refused, ChangeError::ApprovalNeeded { .. }), "{refused}");
    world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect("approved");
    let row = world.changes.apply(row.id, &how(&plan), &rk()).await.expect("applied");
    assert_eq!(row.state, ChangeState::Done, "no node moves");
    let kept = label("env", "dev").labels;
    assert_eq!(Some(world.fleet_node(node).await.summary.labels), kept);
    let edit_of_name = NodeUpdate { name: Some("web-9".parse().expect("a name")), ..NodeUpdate::default() };
    world.protect("role:app").await;
    world.changes.update_node(node, &edit_of_name, None, None, &rk()).await.expect("leads it nowhere");
    world.end().await;
}

async fn an_edit_waits_for_the_end_of_a_freeze(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let user = world.user("rk", Preset::Operator).await;
    world.save(vec![put(file("role:database", "notice", "db"))]).await.expect("made");
    let freeze = world.frozen("role:database").await;
    let (row, plan) = world.edited(vec![edit("web-1", roles(&["database"]))], &rk()).await.expect("planned");
    assert_eq!(world.control(&row).await.1.freezes.len(), 1, "of where it leads");
    let refused = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::Frozen { .. }), "{refused}");
    world.scheduled(&row, &plan, user, 1000).await;
    schedule::driver::pass(&world.other()).await.expect("looked");
    let held = world.control(&row).await.1.schedule.expect("it is");
    assert_eq!((held.state, held.due), (ScheduleState::Waiting, freeze.until));
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    schedule::driver::pass(&world.other()).await.expect("looked");
    assert_eq!(world.desired(node).await.resources().count(), 1);
    world.end().await;
}

async fn an_edit_that_cant_be_is_refused_at_once(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.node("web-2", &["app"], true).await;
    let mut other = file("role:proxy", "motd", "b");
    other.name = "motd-2".parse().expect("a name");
    world.save(vec![put(file("role:app", "motd", "a")), put(other)]).await.expect("made");
    let check = async |edits: Vec<NodeEdit>, expected: &str| {
        let error = world.edited(edits, &rk()).await.expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    };
    let named = |name: &str| NodeUpdate { name: Some(name.parse().expect("a name")), ..NodeUpdate::default() };
    check(vec![], "1 to 10000").await;
    check(vec![edit("web-7", roles(&[]))], "is not there").await;
    check(vec![edit("web-1", NodeUpdate::default())], "is not edited").await;
    check(vec![edit("web-1", roles(&[])), edit("web-1", roles(&["db"]))], "stands twice").await;
    check(vec![edit("web-1", named("web-2"))], "another node's").await;
    check(vec![edit("web-1", named("web-9")), edit("web-2", named("web-9"))], "another node's").await;
    check(vec![edit("web-1", roles(&["app", "proxy"]))], "both claim").await;
    check(vec![NodeEdit { base: Some(7), ..edit("web-1", roles(&[])) }], "meanwhile").await;
    let address = NodeUpdate { address: Some("nowhere".into()), ..NodeUpdate::default() };
    check(vec![edit("web-1", address)], "not an IPv4 or IPv6 address").await;
    let (row, plan) = world.edited(vec![edit("web-1", roles(&["proxy"]))], &rk()).await.expect("planned");
    let rollout: Strategy = serde_json::from_value(serde_json::json!({ "waves": ["1"] })).expect("a strategy");
    let refused = world.changes.apply(row.id, &Apply { rollout, ..how(&plan) }, &rk()).await.expect_err("no waves");
    assert!(matches!(refused, ChangeError::Strategy(_)), "{refused}");
    world.changes.remove_node(node, ("broken", None), &admin()).await.expect("removed");
    let gone = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it is gone");
    assert!(matches!(gone, ChangeError::Superseded { .. }), "{gone}");
    assert_eq!(world.changes.show(row.id).await.expect("it").node_edits[0].verb, DraftVerb::Conflict);
    world.end().await;
}
