//! Where a file was edited by hand and is held, a change is in force that doesn't touch that file, and no other: whatever
//! the change brings the file by.

use lampas_api::NodeEdit;
use lampas_shared::rollout::{NodeSeen, State};

use super::{super::rollout::store, rollout::Told, *};

testing::on_both!(
    an_edit_of_a_node_is_not_in_force_in_a_file_that_is_held,
    nor_is_a_broader_object_where_the_narrower_one_goes,
    nor_is_what_a_later_state_overtook,
    who_moves_once_more_keeps_what_the_change_made,
    what_an_earlier_version_gave_goes_by_its_revisions,
);

impl World {
    /// Plays an agent that has its state but for one file, which it holds as somebody left it.
    async fn holds(&self, node: NodeId, seq: u64, path: &str) {
        let desired = self.desired(node).await;
        let Report::Generation(mut said) = report(&desired, Phase::Applied, ResourceState::Converged) else {
            unreachable!("report() reports a generation")
        };
        said.state = ResourceState::Drifted;
        let held = said.resources.iter_mut().find(|r| r.target == Target::path(path));
        held.expect("it is wanted there").state = ResourceState::Drifted;
        self.ingest.submit(node, 1, vec![(seq, Report::Generation(said))]).await.expect("stored");
    }

    /// Applies at once.
    async fn made(&self, new: NewChange) -> ChangeRow {
        let how = Apply { allow_unplanned: true, ..Apply::default() };
        self.changes.save(&new, &how, &admin()).await.expect("applied")
    }

    async fn edit(&self, node: &str, set: NodeUpdate) -> ChangeRow {
        let node_edits = vec![NodeEdit { node: node.into(), set, base: None }];
        self.made(NewChange { node_edits, ..NewChange::default() }).await
    }

    /// Applies in two waves, the first of one node.
    async fn rolled(&self, draft: Draft) -> ChangeRow {
        let rollout = serde_json::from_value(serde_json::json!({ "waves": ["1"] })).expect("a strategy");
        let new = NewChange { drafts: vec![draft], ..NewChange::default() };
        let how = Apply { allow_unplanned: true, rollout, ..Apply::default() };
        self.changes.save(&new, &how, &admin()).await.expect("applied")
    }

    /// On how many nodes a change is in force, and on how many it failed.
    async fn in_force(&self, row: &ChangeRow) -> (u32, u32) {
        let progress = self.state(row).await.1;
        (progress.converged, progress.failed)
    }

    /// Runs a statement, after which the fleet is another.
    async fn moved_by(&self, statement: &'static str) {
        let run = self.db.write(|mut tx| async move {
            sqlx::query(statement).execute(tx.conn()).await?;
            crate::db::row::draw(&mut tx, "state", 1).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        run.await.expect("the store answers");
    }
}

fn delete(scope: &str, name: &str) -> Draft {
    Draft { act: DraftAct::Delete(file(scope, name, "").key()), base: None, previous_name: None }
}

/// A file that names its node.
fn named() -> Draft {
    let body =
        serde_json::json!({ "kind": "file", "path": "/etc/who", "template": true, "content": "{{fact.node}}\n" });
    put(serde_json::from_value(serde_json::json!({ "name": "who", "scope": "fleet", "body": body })).expect("a spec"))
}

async fn an_edit_of_a_node_is_not_in_force_in_a_file_that_is_held(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let drafts = vec![
        put(file("fleet", "motd", "broad")),
        put(file("label:tier=edge", "motd", "narrow")),
        put(file("fleet", "issue", "x")),
        named(),
    ];
    world.save(drafts).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;

    let labels = [("tier".parse().expect("a key"), "edge".parse().expect("a value"))].into();
    let row = world.edit("web-1", NodeUpdate { labels: Some(labels), ..NodeUpdate::default() }).await;
    world.holds(node, 10, "/etc/motd").await;
    assert_eq!(world.in_force(&row).await, (0, 1));
    let failed = world.changes.nodes(row.id, None, None, 10).await.expect("its nodes").items.remove(0);
    assert_eq!(failed.fault.map(|f| f.code.clone()).as_deref(), Some("drift.held"));
    world.holds(node, 11, "/etc/issue").await;
    assert_eq!(world.in_force(&row).await, (1, 0), "another file is held");

    let row = world.edit("web-1", NodeUpdate { name: Some("web-9".parse().expect("a name")), ..<_>::default() }).await;
    world.holds(node, 20, "/etc/who").await;
    assert_eq!(world.in_force(&row).await, (0, 1), "its name stands in it");
    world.holds(node, 21, "/etc/motd").await;
    assert_eq!(world.in_force(&row).await, (1, 0));
    world.end().await;
}

async fn nor_is_a_broader_object_where_the_narrower_one_goes(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let drafts = vec![
        put(file("fleet", "motd", "broad")),
        put(file("role:app", "motd", "narrow")),
        put(file("fleet", "issue", "x")),
    ];
    world.save(drafts).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;
    let row = world.save(vec![delete("role:app", "motd")]).await.expect("deleted");
    world.holds(node, 10, "/etc/motd").await;
    assert_eq!(world.in_force(&row).await, (0, 1));
    world.holds(node, 11, "/etc/issue").await;
    assert_eq!(world.in_force(&row).await, (1, 0));
    world.end().await;
}

async fn nor_is_what_a_later_state_overtook(db: Db) {
    let world = World::new(db);
    let [first, _] = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    let drafts = vec![
        put(file("fleet", "motd", "broad")),
        put(file("role:app", "motd", "narrow")),
        put(file("fleet", "issue", "old")),
    ];
    world.save(drafts).await.expect("made");
    let row = world.rolled(delete("role:app", "motd")).await;
    let later = world.save(vec![put(file("fleet", "issue", "new"))]).await.expect("it overtakes the first wave");
    let seen = async || {
        let read = world.db.read(|mut tx| async move { store::seen(&mut tx, row.id).await.map(|s| tx.done(s)) });
        read.await.expect("the store answers").0.remove(&first)
    };
    world.holds(first, 10, "/etc/issue").await;
    assert_eq!(seen().await, Some(NodeSeen::Proven), "what it brings is there");
    assert_eq!(world.in_force(&later).await, (0, 1));
    world.holds(first, 11, "/etc/motd").await;
    assert_eq!(seen().await, Some(NodeSeen::Failed));
    assert_eq!(world.in_force(&later).await, (1, 0));
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.state, State::Reverted);
    world.end().await;
}

async fn who_moves_once_more_keeps_what_the_change_made(db: Db) {
    let world = World::new(db);
    let [first, _] = [world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await];
    world.save(vec![put(file("role:app", "motd", "old")), named()]).await.expect("made");
    let row = world.rolled(put(file("role:app", "motd", "new"))).await;
    world.land(first, 1, 1, ResourceState::Converged).await;
    let before = world.desired(first).await.generation;
    // What it says of itself is another thing by the time that the next wave begins.
    world.moved_by("UPDATE node SET name = 'web-9' WHERE name = 'web-1'").await;
    world.drive(&Told::default()).await;
    assert_eq!(world.rollout(&row).await.wave, 2);
    assert_ne!(world.desired(first).await.generation, before, "it moves with the wave");
    world.holds(first, 10, "/etc/motd").await;
    assert_eq!(world.in_force(&row).await, (0, 1));
    world.holds(first, 11, "/etc/who").await;
    assert_eq!(world.in_force(&row).await, (1, 0));
    world.end().await;
}

async fn what_an_earlier_version_gave_goes_by_its_revisions(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("role:app", "motd", "old")), put(file("role:app", "issue", "x"))]).await.expect("made");
    let row = world.save(vec![put(file("role:app", "motd", "new"))]).await.expect("made");
    world.moved_by("UPDATE change_node SET effect = NULL").await;
    world.holds(node, 10, "/etc/motd").await;
    assert_eq!(world.in_force(&row).await, (0, 1));
    world.holds(node, 11, "/etc/issue").await;
    assert_eq!(world.in_force(&row).await, (1, 0));
    world.end().await;
}
