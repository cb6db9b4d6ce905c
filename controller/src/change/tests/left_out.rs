//! Who was left out of a change, or still waits for it, and what becomes of the same manifests then; through the store.

use lampas_api::{DraftVerb, ManifestSet, PlanHold, PlanOutlook};
use lampas_shared::{
    access::{Permission, Preset, Right, Rights, Via},
    rollout::{Order, State, Strategy},
};

use super::{rollout::Told, *};
use crate::db::row::Reader;

testing::on_both!(
    the_same_again_reaches_who_was_left_out_and_nobody_else,
    a_set_or_a_source_reaches_nobody_who_was_left_out,
    a_pruned_deletion_is_told_to_the_next_apply_of_its_set,
    a_layer_is_put_back_before_the_ones_below,
    what_was_brought_again_everywhere_can_not_be_put_back,
    the_same_again_goes_in_waves_and_is_put_back_to_what_each_had,
    a_newer_change_lies_upon_what_was_left_out,
    what_waits_is_named_and_not_applied_twice,
    a_deletion_reaches_who_was_left_out,
    what_is_kept_back_is_told_by_object_and_by_node,
    what_is_deleted_once_more_is_shown,
    a_node_that_a_later_change_overtook_counts_by_that_one,
    a_wave_that_left_the_fleet_is_no_proof,
    what_would_do_nothing_waits_for_nobody_and_can_be_forgotten,
);

fn canary() -> Strategy {
    serde_json::from_value(serde_json::json!({ "waves": ["1"] })).expect("a strategy")
}

fn motd(content: &str) -> Draft {
    put(file("role:app", "motd", content))
}

fn told(held: &[PlanHold]) -> Vec<(u64, State, Vec<&str>)> {
    held.iter().map(|h| (h.change, h.state, h.nodes.iter().map(|n| n.name.as_str()).collect())).collect()
}

impl World {
    async fn waves_of(&self, drafts: Vec<Draft>) -> Result<ChangeRow, ChangeError> {
        let new = NewChange { drafts, ..NewChange::default() };
        let how = Apply { allow_unplanned: true, rollout: canary(), ..Apply::default() };
        self.changes.save(&new, &how, &admin()).await
    }

    /// Three nodes that have "old", and a rollout of "new" that was aborted after the first of them.
    async fn aborted(&self) -> ([NodeId; 3], ChangeRow) {
        let nodes = [
            self.node("web-1", &["app"], true).await,
            self.node("web-2", &["app"], true).await,
            self.node("web-3", &["app"], true).await,
        ];
        self.save(vec![motd("old")]).await.expect("made");
        let row = self.waves_of(vec![motd("new")]).await.expect("applied");
        self.changes.order(row.id, Order::Abort, "enough", &admin()).await.expect("aborted");
        assert_eq!(self.motds(&nodes).await, ["new", "old", "old"]);
        (nodes, row)
    }

    async fn one_planned(&self, draft: Draft) -> (ChangeRow, lampas_api::Plan) {
        let new = NewChange { drafts: vec![draft], ..NewChange::default() };
        let row = self.changes.create(&new, &admin()).await.expect("made");
        let plan = self.changes.plan(row.id, &admin()).await.expect("planned");
        (row, plan)
    }

    /// Plays an agent that has all in force, but for one object that was changed by hand.
    async fn land_drifted(&self, node: NodeId, epoch: u64, name: &str) {
        let desired = self.desired(node).await;
        let mut told = report(&desired, Phase::Applied, ResourceState::Converged);
        let Report::Generation(generation) = &mut told else { panic!("it tells of a generation") };
        let object = desired.resources().find(|r| r.name.as_str() == name).expect("it has it").object;
        for resource in generation.resources.iter_mut().filter(|r| r.object == object) {
            resource.state = ResourceState::Drifted;
        }
        generation.state = ResourceState::Drifted;
        self.ingest.submit(node, epoch, vec![(1, told)]).await.expect("stored");
    }

    /// How many events tell of forgotten changes, and what the audit says of the last one.
    async fn said_of_forgotten(&self) -> (u64, String) {
        let read = self.db.read(|mut tx| async move {
            let events = sqlx::query("SELECT COUNT(*) AS n FROM event WHERE details LIKE '%forgotten%'")
                .fetch_one(tx.conn())
                .await?;
            let audited =
                sqlx::query("SELECT details FROM audit WHERE act = 'change.forget' ORDER BY seq DESC LIMIT 1")
                    .fetch_one(tx.conn())
                    .await?;
            let events = Reader::new("event", &events).count("n")?;
            let audited = Reader::new("audit", &audited).text("details")?;
            Ok::<_, DbError>(tx.done((events, audited)))
        });
        read.await.expect("the store answers")
    }

    async fn execute(&self, statement: &'static str) {
        let done = self.db.write(|mut tx| async move {
            sqlx::query(statement).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        done.await.expect("done");
    }

    async fn verb(&self, row: &ChangeRow) -> DraftVerb {
        self.changes.show(row.id).await.expect("shown").drafts[0].verb
    }
}

async fn the_same_again_reaches_who_was_left_out_and_nobody_else(db: Db) {
    let world = World::new(db);
    let (nodes, first) = world.aborted().await;
    let before = world.desired(nodes[0]).await.generation;
    let (row, plan) = world.one_planned(motd("new")).await;
    assert_eq!(told(&plan.held), [(first.number, State::Aborted, vec!["web-2", "web-3"])]);
    assert_eq!((plan.changing, plan.unchanged, plan.is_idle), (2, 1, false));
    assert_eq!(world.verb(&row).await, DraftVerb::Again);
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    world.changes.apply(row.id, &how, &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    assert_eq!(world.desired(nodes[0]).await.generation, before, "who has it doesn't move");
    assert_eq!((world.state(&row).await.1.total(), world.verb(&row).await), (2, DraftVerb::Again));
    let (row, plan) = world.one_planned(motd("new")).await;
    assert!(plan.held.is_empty() && plan.is_idle, "{plan:?}");
    world.changes.apply(row.id, &Apply { plan: Some(plan.id), ..Apply::default() }, &admin()).await.expect("applied");
    assert_eq!(world.state(&row).await, (ChangeState::Done, lampas_api::Progress::default()), "all is so");
    world.end().await;
}

async fn a_set_or_a_source_reaches_nobody_who_was_left_out(db: Db) {
    let world = World::new(db);
    let (nodes, first) = world.aborted().await;
    let set = || ManifestSet { name: "web".parse().expect("a name"), prune: true, allow_empty: false, take: false };
    let of_set = |drafts| NewChange { drafts, set: Some(set()), ..NewChange::default() };
    // The first time the object comes into the set, later not even that is to do.
    let everywhere = Apply { allow_unplanned: true, ..Apply::default() };
    world.changes.save(&of_set(vec![motd("new")]), &everywhere, &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let of_source = NewChange {
        drafts: vec![motd("new")],
        request_key: Some(format!("{}x/1/a", crate::source::REQUEST_KEY)),
        ..NewChange::default()
    };
    for new in [of_set(vec![motd("new")]), of_source] {
        let row = world.changes.create(&new, &admin()).await.expect("made");
        let plan = world.changes.plan(row.id, &admin()).await.expect("planned");
        assert!(plan.is_idle && plan.held.iter().all(|h| h.stays), "{plan:?}");
        assert_eq!(told(&plan.held), [(first.number, State::Aborted, vec!["web-2", "web-3"])]);
        assert_eq!(world.verb(&row).await, DraftVerb::None);
        world.changes.apply(row.id, &Apply { plan: Some(plan.id), ..Apply::default() }, &admin()).await.expect("idle");
        assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    }
    // What else the manifests say goes on.
    let both = vec![motd("new"), put(file("role:app", "other", "1"))];
    world.changes.save(&of_set(both), &everywhere, &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let (_, plan) = world.one_planned(motd("new")).await;
    assert!(plan.changing == 2 && plan.held.iter().all(|h| !h.stays), "{plan:?}");
    world.save(vec![motd("new")]).await.expect("somebody wants it");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    world.end().await;
}

async fn a_pruned_deletion_is_told_to_the_next_apply_of_its_set(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    let set = || ManifestSet { name: "web".parse().expect("a name"), prune: true, allow_empty: true, take: false };
    // Where none of the nodes is.
    let other = || put(file("role:db", "other", "1"));
    let of_set = |drafts| NewChange { drafts, set: Some(set()), ..NewChange::default() };
    let planned = async |by: &Principal| {
        let row = world.changes.create(&of_set(vec![other()]), by).await.expect("made");
        let plan = world.changes.plan(row.id, by).await.expect("planned");
        (row, plan)
    };
    let everywhere = Apply { allow_unplanned: true, ..Apply::default() };
    world.changes.save(&of_set(vec![motd("old"), other()]), &everywhere, &admin()).await.expect("applied");
    let waves = Apply { rollout: canary(), ..everywhere.clone() };
    let first = world.changes.save(&of_set(vec![other()]), &waves, &admin()).await.expect("pruned");
    assert_eq!(world.motds(&nodes).await, ["", "old"]);
    // While it is under way the same is neither done nor forgotten.
    let (row, plan) = planned(&admin()).await;
    assert_eq!(told(&plan.held), [(first.number, State::Running, vec!["web-2"])]);
    assert!(plan.is_idle && plan.held[0].is_deletion, "{plan:?}");
    let refused = world.changes.apply(row.id, &Apply::default(), &admin()).await.expect_err("it is on its way");
    assert!(matches!(refused, ChangeError::Rolling { number, .. } if number == first.number), "{refused}");
    world.changes.order(first.id, Order::Abort, "enough", &admin()).await.expect("aborted");
    let (row, plan) = planned(&admin()).await;
    assert_eq!(told(&plan.held), [(first.number, State::Aborted, vec!["web-2"])]);
    assert!(plan.is_idle && plan.held.iter().all(|h| h.stays && h.is_deletion), "{plan:?}");
    world.changes.apply(row.id, &Apply { plan: Some(plan.id), ..Apply::default() }, &admin()).await.expect("idle");
    assert_eq!(world.motds(&nodes).await, ["", "old"], "nothing is finished that somebody ended");
    // Also when nothing is left of the set: then that is all that is said.
    let gone =
        || Draft { act: DraftAct::Delete(file("role:app", "motd", "").key()), base: Some(0), previous_name: None };
    world.changes.save(&of_set(vec![]), &everywhere, &admin()).await.expect("all of it goes");
    let row = world.changes.create(&of_set(vec![]), &admin()).await.expect("something is to be told");
    let plan = world.changes.plan(row.id, &admin()).await.expect("planned");
    assert_eq!(told(&plan.held), [(first.number, State::Aborted, vec!["web-2"])]);
    // Who may change nothing there may use the name, and hears of nothing.
    let right =
        Right::new([Permission::Change].into(), "role:db".parse().expect("a scope"), Via::Preset(Preset::Operator));
    let eve = admin().with_rights(Rights(vec![right]));
    let hers = NewChange { drafts: vec![put(file("role:db", "hers", "1"))], set: Some(set()), ..NewChange::default() };
    let row = world.changes.create(&hers, &eve).await.expect("made");
    let shown = world.changes.show(row.id).await.expect("shown");
    assert_eq!(shown.drafts.iter().map(|d| d.key.name.as_str()).collect::<Vec<_>>(), ["hers"]);
    // Somebody finishes it; then nothing is left to tell.
    world.save(vec![gone()]).await.expect("deleted there, too");
    assert_eq!(world.motds(&nodes).await, ["", ""]);
    let nothing = world.changes.create(&of_set(vec![]), &admin()).await.expect_err("empty");
    assert!(matches!(nothing, ChangeError::EmptySet(_)), "{nothing}");
    world.end().await;
}

async fn a_layer_is_put_back_before_the_ones_below(db: Db) {
    let world = World::new(db);
    let nodes = [
        world.node("web-1", &["app"], true).await,
        world.node("web-2", &["app"], true).await,
        world.node("web-3", &["app"], true).await,
    ];
    world.save(vec![motd("old")]).await.expect("made");
    let gone = || Draft { act: DraftAct::Delete(file("role:app", "motd", "").key()), base: None, previous_name: None };
    let mut rows = Vec::new();
    for left in [["", "old", "old"], ["", "", "old"]] {
        let row = world.waves_of(vec![gone()]).await.expect("applied");
        world.changes.order(row.id, Order::Abort, "", &admin()).await.expect("aborted");
        assert_eq!(world.motds(&nodes).await, left);
        rows.push(row);
    }
    let [lower, upper] = &rows[..] else { panic!("two") };
    let refused = world.changes.revert(lower.id, "", &admin()).await.expect_err("the other lies on it");
    assert!(refused.to_string().contains(&format!("change revert {}", upper.number)), "{refused}");
    assert_eq!(world.motds(&nodes).await, ["", "", "old"]);
    for (row, left) in [(upper, ["", "old", "old"]), (lower, ["old", "old", "old"])] {
        let back = world.changes.revert(row.id, "", &admin()).await.expect("made");
        let plan = world.changes.plan(back.id, &admin()).await.expect("planned");
        let how = Apply { plan: Some(plan.id), ..Apply::default() };
        world.changes.apply(back.id, &how, &admin()).await.expect("applied");
        assert_eq!(world.motds(&nodes).await, left);
    }
    world.end().await;
}

async fn what_was_brought_again_everywhere_can_not_be_put_back(db: Db) {
    let world = World::new(db);
    let (nodes, _) = world.aborted().await;
    let again = world.save(vec![motd("new")]).await.expect("brought to all");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    let listed =
        async || world.changes.list(&Listing { limit: 20, ..Listing::default() }).await.expect("a list").items.len();
    let before = listed().await;
    let refused = world.changes.revert(again.id, "", &admin()).await.expect_err("it is so since before");
    assert!(refused.to_string().contains("nothing can be put back"), "{refused}");
    assert_eq!(listed().await, before, "no change is left behind");
    world.end().await;
}

async fn the_same_again_goes_in_waves_and_is_put_back_to_what_each_had(db: Db) {
    let world = World::new(db);
    let (nodes, _) = world.aborted().await;
    let row = world.waves_of(vec![motd("new")]).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "new", "old"], "one after the other");
    let shown = world.rollout(&row).await;
    assert_eq!(shown.waves.iter().map(|w| w.nodes.len()).collect::<Vec<_>>(), [1, 1], "who has it is in no wave");
    // The canary fails: it has again what it had, and so have the others.
    world.land(nodes[1], 8, 1, ResourceState::Failed).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.state, State::Reverted);
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let back = world.changes.put_back(UnixMs(0)).await.expect("listed");
    let [(number, why, _)] = &back[..] else { panic!("{back:?}") };
    assert_eq!((*number, why.as_str()), (row.number, world.rollout(&row).await.reason.as_str()), "by itself");
    // Once more, and through.
    let row = world.waves_of(vec![motd("new")]).await.expect("applied");
    world.land(nodes[1], 9, 1, ResourceState::Converged).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.motds(&nodes).await, ["new", "new", "new"]);
    world.land(nodes[2], 10, 1, ResourceState::Converged).await;
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.state, State::Done);
    assert!(world.one_planned(motd("new")).await.1.is_idle, "nobody is left out any more");
    world.end().await;
}

async fn a_newer_change_lies_upon_what_was_left_out(db: Db) {
    let world = World::new(db);
    let (nodes, _) = world.aborted().await;
    // Who waits has what it had, not what it was left out of.
    let row = world.waves_of(vec![motd("newer")]).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["newer", "old", "old"]);
    world.changes.order(row.id, Order::Revert, "", &admin()).await.expect("put back");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"], "each has what it had");
    assert_eq!(world.changes.put_back(UnixMs(0)).await.expect("listed"), [], "who ordered it knows");
    let row = world.waves_of(vec![motd("newest")]).await.expect("applied");
    world.changes.order(row.id, Order::Abort, "", &admin()).await.expect("aborted");
    assert_eq!(world.motds(&nodes).await, ["newest", "old", "old"]);
    // Also by hand, later; in waves that would be between two layers.
    let back = world.changes.revert(row.id, "", &admin()).await.expect("made");
    let plan = world.changes.plan(back.id, &admin()).await.expect("planned");
    assert_eq!(plan.changing, 1, "only who had it");
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    let staged = Apply { rollout: canary(), ..how.clone() };
    let refused = world.changes.apply(back.id, &staged, &admin()).await.expect_err("all at once");
    assert!(refused.to_string().contains("stay so"), "{refused}");
    world.changes.apply(back.id, &how, &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["new", "old", "old"]);
    let row = world.waves_of(vec![motd("last")]).await.expect("applied");
    world.changes.order(row.id, Order::Promote, "", &admin()).await.expect("promoted");
    assert_eq!(world.motds(&nodes).await, ["last", "last", "last"]);
    world.changes.order(row.id, Order::Promote, "", &admin()).await.expect("done");
    assert_eq!(world.motds(&nodes).await, ["last", "last", "last"], "nothing older comes back");
    world.end().await;
}

async fn what_waits_is_named_and_not_applied_twice(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    world.save(vec![motd("old")]).await.expect("made");
    let first = world.waves_of(vec![motd("new")]).await.expect("applied");
    let (_, plan) = world.one_planned(motd("new")).await;
    assert_eq!(told(&plan.held), [(first.number, State::Running, vec!["web-2"])]);
    assert!(plan.is_idle, "it would do nothing");
    for again in [world.save(vec![motd("new")]).await, world.waves_of(vec![motd("new")]).await] {
        let refused = again.expect_err("it is on its way");
        assert!(matches!(refused, ChangeError::Rolling { number, .. } if number == first.number), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&format!("rollout abort {}", first.number)), "{text}");
    }
    assert_eq!(world.motds(&nodes).await, ["new", "old"]);
    // What else the manifests say goes on; who waits still waits.
    world.save(vec![motd("new"), put(file("role:app", "other", "1"))]).await.expect("the other is made");
    assert_eq!(world.motds(&nodes).await, ["new", "old"]);
    world.changes.order(first.id, Order::Promote, "", &admin()).await.expect("promoted");
    assert_eq!(world.motds(&nodes).await, ["new", "new"]);
    world.end().await;
}

async fn a_deletion_reaches_who_was_left_out(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    world.save(vec![motd("old")]).await.expect("made");
    let gone = || Draft { act: DraftAct::Delete(file("role:app", "motd", "").key()), base: None, previous_name: None };
    let abort = async |drafts| {
        let row = world.waves_of(drafts).await.expect("applied");
        world.changes.order(row.id, Order::Abort, "", &admin()).await.expect("aborted");
        row
    };
    abort(vec![gone()]).await;
    assert_eq!(world.motds(&nodes).await, ["", "old"]);
    // Made anew in waves, it comes to nobody before its turn.
    abort(vec![motd("new")]).await;
    assert_eq!(world.motds(&nodes).await, ["new", "old"]);
    abort(vec![gone()]).await;
    assert_eq!(world.motds(&nodes).await, ["", "old"]);
    let row = world.waves_of(vec![gone()]).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["", ""]);
    world.changes.order(row.id, Order::Revert, "", &admin()).await.expect("put back");
    assert_eq!(world.motds(&nodes).await, ["", "old"]);
    world.save(vec![gone()]).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["", ""]);
    assert!(world.one_planned(gone()).await.1.is_idle);
    world.end().await;
}

async fn what_is_kept_back_is_told_by_object_and_by_node(db: Db) {
    let world = World::new(db);
    let ([first, second, _], row) = world.aborted().await;
    world.node("db-1", &["database"], true).await;
    let kept = async |object, node| {
        let kept = world.changes.kept_back(object, node).await.expect("told");
        kept.into_iter()
            .map(|k| {
                let nodes: Vec<String> = k.nodes.into_iter().map(|n| n.name).collect();
                (k.change, k.state, k.revision, nodes.join(" "))
            })
            .collect::<Vec<_>>()
    };
    let all = vec![(row.number, State::Aborted, 1, "web-2 web-3".to_owned())];
    let object = world.changes.show(row.id).await.expect("shown").drafts[0].object;
    assert_eq!((kept(None, None).await, kept(object, None).await), (all.clone(), all));
    assert_eq!(kept(None, Some(second)).await, [(row.number, State::Aborted, 1, "web-2".to_owned())]);
    assert_eq!(
        (kept(None, Some(first)).await, kept(Some(ObjectId::from_uuid(uuid::Uuid::from_u128(7))), None).await),
        (vec![], vec![])
    );
    // A rollout is about all of its nodes; what is none of theirs is kept from nobody.
    let rolling = world.waves_of(vec![motd("newer"), put(file("role:database", "motd", "db"))]).await.expect("applied");
    let told = world.changes.kept_back(None, None).await.expect("told");
    let is_of_app = |k: &lampas_api::KeptBack| k.key.scope.to_string() == "role:app";
    let is_theirs = |k: &lampas_api::KeptBack| k.nodes.iter().all(|n| n.name.starts_with("web-") == is_of_app(k));
    assert!(told.iter().all(is_theirs) && told.iter().any(|k| k.change == rolling.number), "{told:?}");
    world.changes.order(rolling.id, Order::Revert, "", &admin()).await.expect("put back");
    world.save(vec![motd("for all")]).await.expect("applied");
    assert_eq!(kept(None, None).await, []);
    world.end().await;
}

async fn what_is_deleted_once_more_is_shown(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    world.save(vec![motd("old")]).await.expect("made");
    let gone = || Draft { act: DraftAct::Delete(file("role:app", "motd", "").key()), base: None, previous_name: None };
    let first = world.waves_of(vec![gone()]).await.expect("applied");
    world.changes.order(first.id, Order::Abort, "", &admin()).await.expect("aborted");
    let told = world.changes.kept_back(None, None).await.expect("told");
    assert!(told.len() == 1 && told[0].is_deleted && told[0].revision == 1, "{told:?}");
    let (row, plan) = world.one_planned(gone()).await;
    let shown = async || {
        let drafts = world.changes.show(row.id).await.expect("shown").drafts;
        drafts.into_iter().map(|d| (d.verb, d.diff.contains("-content = \"old\""), d.base)).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, [(DraftVerb::Again, true, None)]);
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    world.changes.apply(row.id, &how, &admin()).await.expect("applied");
    assert_eq!(world.motds(&nodes).await, ["", ""]);
    assert_eq!(shown().await, [(DraftVerb::Again, true, None)], "it is told when it is done, too");
    world.end().await;
}

async fn a_node_that_a_later_change_overtook_counts_by_that_one(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    let gates = Told::default();
    let row = world.waves_of(vec![motd("new")]).await.expect("applied");
    world.save(vec![put(file("role:app", "other", "1"))]).await.expect("on both");
    world.drive(&gates).await;
    let shown = world.rollout(&row).await;
    assert_eq!((shown.state, shown.wave), (State::Running, 1), "nothing is proven yet");
    // The later state holds this change too; drift of something else there says nothing of it.
    world.land_drifted(nodes[0], 7, "other").await;
    world.drive(&gates).await;
    assert_eq!((world.rollout(&row).await.wave, world.motds(&nodes).await), (2, vec!["new".to_owned(); 2]));
    world.save(vec![put(file("role:app", "other", "2"))]).await.expect("on both");
    world.land(nodes[1], 8, 1, ResourceState::Failed).await;
    world.drive(&gates).await;
    assert_eq!(world.rollout(&row).await.state, State::Reverted, "it isn't in force there");
    world.end().await;
}

async fn a_wave_that_left_the_fleet_is_no_proof(db: Db) {
    let world = World::new(db);
    let nodes = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    world.save(vec![motd("old")]).await.expect("made");
    let row = world.waves_of(vec![motd("new")]).await.expect("applied");
    world.changes.revoke_node(nodes[0], "stolen", &admin()).await.expect("revoked");
    world.drive(&Told::default()).await;
    let shown = world.rollout(&row).await;
    assert_eq!(shown.state, State::Paused);
    assert!(shown.reason.starts_with("wave 1 of 2: none of its nodes is left"), "{}", shown.reason);
    assert_eq!(world.motd(nodes[1]).await, "old");
    assert_eq!(world.changes.paused().await.expect("those that wait").len(), 1, "Overview shows it");
    world.changes.order(row.id, Order::Promote, "", &admin()).await.expect("promoted");
    assert_eq!(world.motd(nodes[1]).await, "new");
    world.end().await;
}

async fn what_would_do_nothing_waits_for_nobody_and_can_be_forgotten(db: Db) {
    let world = World::new(db);
    let node = world.node("db-1", &["database"], true).await;
    world.node("web-1", &["app"], true).await;
    let protection = lampas_api::ProtectionCreate { scope: "fleet".parse().expect("a scope"), reason: "all".into() };
    world.save(vec![motd("old")]).await.expect("made");
    world.changes.protect(&protection, &admin()).await.expect("protected");
    let waiting = async || -> Vec<u64> {
        let found = world.changes.approvals(&admin()).await.expect("a list");
        found.into_iter().map(|w| w.change.number).collect()
    };
    let outlook = async |row: &ChangeRow| {
        let listed = world.changes.list(&Listing { limit: 20, ..Listing::default() }).await.expect("a list");
        listed.items.into_iter().find(|c| c.id == row.id).map(|c| c.outlook)
    };
    let (idle, _) = world.one_planned(motd("old")).await;
    let (real, _) = world.one_planned(motd("new")).await;
    let (local, _) = world.one_planned(put(file("node:db-1", "issue", "here"))).await;
    assert_eq!(waiting().await, [real.number, local.number]);
    assert_eq!(outlook(&idle).await, Some(Some(PlanOutlook::Idle)));
    assert_eq!(outlook(&local).await, Some(None));
    // What an earlier release planned says nothing of it, and still waits for who approves it.
    world.execute("UPDATE plan SET outlook = NULL").await;
    assert_eq!(outlook(&real).await, Some(Some(PlanOutlook::Unknown)));
    assert!(waiting().await.contains(&real.number));
    world.execute("UPDATE plan SET outlook = 'waits'").await;
    world.changes.plan(idle.id, &admin()).await.expect("planned anew");
    world.changes.revoke_node(node, "stolen", &admin()).await.expect("revoked");
    assert_eq!(outlook(&local).await, Some(Some(PlanOutlook::Gone)));
    assert_eq!(waiting().await, [real.number]);

    world.changes.forget(idle.id, &admin()).await.expect("forgotten");
    let (events, audited) = world.said_of_forgotten().await;
    assert_eq!(events, 1, "who looks at a list hears of it");
    assert!(audited.contains("put file motd (role:app)"), "{audited}");
    assert_eq!(outlook(&idle).await, None, "it stands in no list");
    assert!(matches!(world.changes.show(idle.id).await, Err(ChangeError::NotFound(_))));
    let dana = Principal::new("user:dana", "10.0.0.1");
    let plan = world.changes.show(real.id).await.expect("shown").plan.expect("a plan");
    world.changes.approve(real.id, &plan.digest, "", &dana).await.expect("approved");
    let refused = world.changes.forget(real.id, &admin()).await.expect_err("somebody looked at it");
    assert!(refused.to_string().contains("abandon it"), "{refused}");
    world.changes.abandon(real.id, &admin()).await.expect("abandoned");

    // Another's is not forgotten, nor what somebody said something of, in this plan or in the next.
    let (real, _) = world.one_planned(motd("newer")).await;
    let refused = world.changes.forget(real.id, &dana).await.expect_err("not hers");
    assert!(refused.to_string().contains("somebody else made it"), "{refused}");
    world.changes.decline(real.id, "not today", &dana).await.expect("declined");
    for _ in 0..2 {
        let refused = world.changes.forget(real.id, &admin()).await.expect_err("declined");
        assert!(refused.to_string().contains("declined it"), "{refused}");
        world.changes.plan(real.id, &admin()).await.expect("planned anew");
    }
    world.changes.abandon(real.id, &admin()).await.expect("abandoned");
    world.end().await;
}
