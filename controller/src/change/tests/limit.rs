//! Limits through the store: whom a change reaches by itself, who waits, and what a plan says of both.

use lampas_shared::rollout::{LimitStand, OnFailure, Order, State, Strategy};

use super::{rollout::Told, *};

testing::on_both!(
    a_limit_is_the_plans_and_holds_the_rest,
    a_limit_that_meets_nobody_is_refused,
    an_aborted_limit_keeps_both_sides_until_a_later_change,
    a_limit_that_is_put_back_leaves_the_rest_alone,
    a_freeze_of_the_rest_stands_in_nobodys_way,
    who_observes_tells_only_what_the_change_is_about,
);

fn scope(text: &str) -> lampas_shared::fleet::Scope {
    text.parse().expect("a scope")
}

fn limited(text: &str) -> Apply {
    let rollout = Strategy { limit: Some(scope(text)), ..Strategy::default() };
    Apply { allow_unplanned: true, rollout, ..Apply::default() }
}

impl World {
    async fn fleet(&self) -> [NodeId; 3] {
        [
            self.node("web-1", &["app"], true).await,
            self.node("web-2", &["app"], true).await,
            self.node("db-1", &["database"], true).await,
        ]
    }

    async fn draft(&self, content: &str) -> ChangeRow {
        let new = NewChange { drafts: vec![put(file("fleet", "motd", content))], ..NewChange::default() };
        self.changes.create(&new, &admin()).await.expect("made")
    }
}

fn names(nodes: &[lampas_api::NodeRef]) -> Vec<&str> {
    nodes.iter().map(|n| n.name.as_str()).collect()
}

async fn a_limit_is_the_plans_and_holds_the_rest(db: Db) {
    let world = World::new(db);
    let nodes = world.fleet().await;
    world.save(vec![put(file("fleet", "motd", "old"))]).await.expect("made");
    let row = world.draft("new").await;
    let whole = world.changes.plan(row.id, &admin()).await.expect("a plan");
    assert!(whole.limit.is_none());
    let plan = world.changes.plan_within(row.id, Some(&scope("role:app")), &admin()).await.expect("a plan");
    let limit = plan.limit.clone().expect("a limit");
    assert_eq!((names(&limit.within), names(&limit.beyond)), (vec!["web-1", "web-2"], vec!["db-1"]));
    assert_ne!(plan.digest, whole.digest, "the limit is part of the plan's id");
    let again = world.changes.plan(row.id, &admin()).await.expect("planned again");
    assert_eq!(again.digest, plan.digest, "who plans again keeps the limit");

    let how = |plan: &lampas_api::Plan, how: Apply| Apply { plan: Some(plan.id.clone()), ..how };
    let stale = world.changes.apply(row.id, &how(&whole, Apply::default()), &admin()).await.expect_err("moved");
    assert!(matches!(stale, ChangeError::Moved { .. }), "{stale}");
    let other = world.changes.apply(row.id, &how(&plan, limited("node:db-1")), &admin()).await.expect_err("another");
    assert!(other.to_string().contains("the plan is limited to role:app"), "{other}");
    // The plan's limit holds, whatever the request says of the rollout.
    world.changes.apply(row.id, &how(&plan, Apply::default()), &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "old"]);
    let gates = Told::default();
    world.drive(&gates).await;
    assert_eq!(world.rollout(&row).await.limit.expect("a limit").stand, LimitStand::Ahead);
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    world.land(nodes[1], 8, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    let shown = world.rollout(&row).await;
    let limit = shown.limit.expect("a limit");
    assert_eq!((shown.state, limit.stand, limit.waves, limit.nodes), (State::Paused, LimitStand::Reached, 1, 1));
    assert_eq!(shown.reason, "limited to role:app: 1 node doesn't have it yet");
    let waiting = world.changes.paused().await.expect("those that wait");
    assert_eq!(waiting.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [row.number], "Overview shows it");
    let refused = world.save(vec![put(file("fleet", "motd", "newer"))]).await.expect_err("it is under way");
    assert!(matches!(refused, ChangeError::Rolling { .. }), "{refused}");
    world.drive(&gates).await;
    assert_eq!(world.motds(&nodes).await, ["new", "new", "old"], "it waits");

    world.changes.order(row.id, Order::Promote, "", &admin()).await.expect("let go on");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    world.land(nodes[2], 9, 1, ResourceState::Converged).await;
    world.drive(&gates).await;
    assert_eq!(world.rollout(&row).await.state, State::Done);
    world.end().await;
}

async fn a_limit_that_meets_nobody_is_refused(db: Db) {
    let world = World::new(db);
    world.fleet().await;
    let row = world.draft("new").await;
    let refused = world.changes.plan_within(row.id, Some(&scope("role:cache")), &admin()).await.expect_err("nobody");
    let text = refused.to_string();
    assert!(text.contains("role:cache") && text.contains("db-1, web-1, web-2"), "{text}");
    let plan = world.changes.plan(row.id, &admin()).await.expect("a plan");
    let how = Apply { plan: Some(plan.id), ..limited("role:cache") };
    let refused = world.changes.apply(row.id, &how, &admin()).await.expect_err("nobody");
    assert!(matches!(refused, ChangeError::Strategy(_)), "{refused}");
    let refused = world.changes.apply(row.id, &limited("fleet"), &admin()).await.expect_err("everybody");
    assert!(refused.to_string().contains("leave the limit out"), "{refused}");
    // A limit is taken off by planning for the whole fleet.
    let plan = world.changes.plan_within(row.id, Some(&scope("role:app")), &admin()).await.expect("a plan");
    assert!(plan.limit.is_some());
    let plan = world.changes.plan_within(row.id, Some(&scope("fleet")), &admin()).await.expect("a plan");
    assert!(plan.limit.is_none());
    let label = NodeUpdate { roles: Some(Vec::new()), ..NodeUpdate::default() };
    let edit = lampas_api::NodeEdit { node: "web-1".to_owned(), set: label, base: None };
    let new = NewChange { node_edits: vec![edit], ..NewChange::default() };
    let row = world.changes.create(&new, &admin()).await.expect("made");
    let refused = world.changes.plan_within(row.id, Some(&scope("role:app")), &admin()).await.expect_err("all at once");
    assert!(refused.to_string().contains("edits nodes"), "{refused}");
    world.end().await;
}

async fn an_aborted_limit_keeps_both_sides_until_a_later_change(db: Db) {
    let world = World::new(db);
    let nodes = world.fleet().await;
    world.save(vec![put(file("fleet", "motd", "old"))]).await.expect("made");
    let new = NewChange { drafts: vec![put(file("fleet", "motd", "new"))], ..NewChange::default() };
    let row = world.changes.save(&new, &limited("node:db-1"), &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["old", "old", "new"]);
    world.changes.order(row.id, Order::Abort, "", &admin()).await.expect("aborted");
    assert_eq!(world.motds(&nodes).await, ["old", "old", "new"]);
    let (_, progress) = world.state(&row).await;
    assert_eq!(progress.untouched, 2);
    world.save(vec![put(file("fleet", "motd", "newer"))]).await.expect("for everybody");
    assert_eq!(world.motds(&nodes).await, ["newer", "newer", "newer"]);
    world.end().await;
}

async fn a_limit_that_is_put_back_leaves_the_rest_alone(db: Db) {
    let world = World::new(db);
    let nodes = world.fleet().await;
    world.save(vec![put(file("fleet", "motd", "old"))]).await.expect("made");
    let before = world.desired(nodes[2]).await.generation;
    let new = NewChange { drafts: vec![put(file("fleet", "motd", "new"))], ..NewChange::default() };
    let row = world.changes.save(&new, &limited("role:app"), &admin()).await.expect("applied");
    assert_eq!(world.rollout(&row).await.strategy.on_failure, OnFailure::Revert);
    world.changes.order(row.id, Order::Revert, "", &admin()).await.expect("put back");
    assert_eq!(world.motds(&nodes).await, ["old", "old", "old"]);
    assert_eq!(world.desired(nodes[2]).await.generation, before, "who was beyond never moved");
    world.end().await;
}

async fn a_freeze_of_the_rest_stands_in_nobodys_way(db: Db) {
    let world = World::new(db);
    let nodes = world.fleet().await;
    let now = clock::now();
    let freeze = lampas_api::FreezeCreate {
        scope: scope("role:database"),
        from: Some(now),
        until: now.plus_ms(3_600_000),
        reason: "the books are closed".to_owned(),
    };
    world.changes.freeze(&freeze, &admin()).await.expect("frozen");
    let new = NewChange { drafts: vec![put(file("fleet", "motd", "new"))], ..NewChange::default() };
    let refused = world.changes.save(&new, &limited("role:database"), &admin()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::Frozen { .. }), "{refused}");
    let row = world.changes.save(&new, &limited("role:app"), &admin()).await.expect("applied");
    world.land(nodes[0], 7, 1, ResourceState::Converged).await;
    world.land(nodes[1], 8, 1, ResourceState::Converged).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.state, State::Paused, "the limit is reached in a freeze of the rest too");
    let refused = world.changes.order(row.id, Order::Promote, "", &admin()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::FrozenWave(_)), "{refused}");
    assert_eq!(world.motds(&nodes).await, ["new", "new", ""]);
    world.end().await;
}

async fn who_observes_tells_only_what_the_change_is_about(db: Db) {
    let world = World::new(db);
    let nodes = world.fleet().await;
    world.save(vec![put(file("fleet", "one", "1")), put(file("fleet", "two", "2"))]).await.expect("made");
    let modes = &BTreeMap::from([(nodes[2], true)]);
    let told =
        world.db.write(|mut tx| async move { crate::takeover::said(&mut tx, modes).await.map(|()| tx.done(())) });
    told.await.expect("it observes");
    let row = world.draft("new").await;
    let plan = world.changes.plan(row.id, &admin()).await.expect("a plan");
    assert_eq!((plan.changing, plan.observing, plan.unchanged), (2, 1, 0));
    let [written, seen] = &plan.groups[..] else { panic!("{:?}", plan.groups) };
    assert_eq!((names(&written.nodes), written.observes), (vec!["web-1", "web-2"], false));
    assert_eq!((names(&seen.nodes), seen.observes), (vec!["db-1"], true));
    let told: Vec<&str> = seen.actions.iter().map(|a| a.name.as_str()).collect();
    assert_eq!((told, written.actions.len()), (vec!["motd"], 3), "the rest of its pending state is no news");
    // One that is away besides stands in nobody's way.
    world.nodes.online.lock().expect("not poisoned").remove(&nodes[2]);
    let plan = world.changes.plan(row.id, &admin()).await.expect("a plan");
    assert_eq!((plan.unplanned.len(), plan.observing), (0, 1));
    assert_eq!(plan.groups[1].unasked.as_deref(), Some("not connected"), "no proof comes of that");
    world.end().await;
}
