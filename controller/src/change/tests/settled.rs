//! What a merge decided about an edit by hand, and when its node is asked to take it; through the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use lampas_api::{AdoptRequest, MergeSide};

use super::*;
use crate::{db::row::Reader, drift::settle};

testing::on_both!(
    a_node_that_refuses_is_let_alone_for_a_while,
    a_later_state_holds_the_merge_too,
    what_was_edited_again_or_put_back_is_not_settled,
    another_state_than_the_decided_one_settles_nothing,
    a_merge_and_what_it_decides_are_there_together,
);

impl World {
    /// A node that has "ours", an edit of that by hand, and a merge that was applied and decides about it.
    async fn merged(&self) -> (NodeId, ChangeRow) {
        let node = self.node("web-1", &["app"], true).await;
        self.save(vec![put(file("role:app", "motd", "ours"))]).await.expect("made");
        self.land(node, 1, 1, ResourceState::Converged).await;
        self.changed_by_hand(node, 4, "theirs").await;
        let row = self.save(vec![put(file("role:app", "motd", "merged"))]).await.expect("merged");
        self.decided(node, &row).await;
        assert_eq!(self.settled().await, 0, "the node doesn't have it yet");
        (node, row)
    }

    /// Notes that a merge decides about the drift, with what stands now.
    async fn decided(&self, node: NodeId, row: &ChangeRow) {
        let view = self.changes.desired().view().await.expect("compiled");
        let wanted =
            settle::wanted(&view.compiled, node, &Target::path("/etc/motd")).expect("something shall be there");
        let set = format!("decision = 'settle', change_id = '{}', wanted_hash = '{wanted}'", row.id);
        self.sql(format!("UPDATE drift SET {set}")).await;
    }

    async fn changed_by_hand(&self, node: NodeId, seq: u64, content: &str) {
        let object = self.find("role:app", "motd").await.expect("it stands").id;
        let told = Report::Drift(DriftReport {
            diff: format!("-ours\n+{content} of {seq}\n"),
            // By a clock that is far ahead.
            at: clock::now().plus_ms(600_000),
            ..drift(object, DriftOutcome::Standing, Some(content))
        });
        self.ingest.submit(node, 1, vec![(seq, told)]).await.expect("stored");
    }

    async fn sql(&self, statement: String) {
        let statement = &statement;
        let run = self.db.write(|mut tx| async move {
            sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        run.await.expect("the store answers");
    }

    /// Looks once, and returns how often nodes were asked by then.
    async fn settled(&self) -> usize {
        settle::pass(&self.changes).await.expect("a look");
        self.nodes.reverted.lock().expect("not poisoned").len()
    }

    async fn decision(&self) -> Option<String> {
        let read = self.db.read(|mut tx| async move {
            let row = sqlx::query("SELECT decision FROM drift").fetch_one(tx.conn()).await?;
            let decision = Reader::new("drift", &row).maybe_text("decision")?;
            Ok::<_, DbError>(tx.done(decision))
        });
        read.await.expect("the store answers")
    }
}

async fn a_node_that_refuses_is_let_alone_for_a_while(db: Db) {
    let world = World::new(db);
    let (node, _) = world.merged().await;
    world.land(node, 1, 5, ResourceState::Drifted).await;
    *world.nodes.refuses.lock().expect("not poisoned") = true;
    assert_eq!(world.settled().await, 1);
    assert_eq!(world.settled().await, 1, "not at each look");
    *world.nodes.refuses.lock().expect("not poisoned") = false;
    // The same edit, told anew against what stands now, is what was decided about.
    world.changed_by_hand(node, 8, "theirs").await;
    world.sql("UPDATE drift SET next_ms = 1".to_owned()).await;
    assert_eq!(world.settled().await, 2);
    assert_eq!(world.decision().await.as_deref(), Some("revert"));
    assert_eq!(world.settled().await, 2, "it took it");
    world.end().await;
}

async fn a_later_state_holds_the_merge_too(db: Db) {
    let world = World::new(db);
    let (node, _) = world.merged().await;
    world.save(vec![put(file("role:app", "other", "1"))]).await.expect("the node was away");
    assert_eq!(world.settled().await, 0);
    world.land(node, 1, 5, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 1);
    world.end().await;
}

async fn what_was_edited_again_or_put_back_is_not_settled(db: Db) {
    let world = World::new(db);
    let (node, row) = world.merged().await;
    world.land(node, 1, 5, ResourceState::Drifted).await;
    world.changed_by_hand(node, 8, "theirs once more").await;
    assert_eq!((world.settled().await, world.decision().await), (0, None));
    world.decided(node, &row).await;
    let back = world.changes.revert(row.id, "", &admin()).await.expect("made");
    world.changes.apply(back.id, &Apply::default(), &admin()).await.expect("applied");
    world.land(node, 1, 9, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 0, "what was decided is over");
    world.end().await;
}

async fn another_state_than_the_decided_one_settles_nothing(db: Db) {
    let world = World::new(db);
    let (node, _) = world.merged().await;
    // The node is away; somebody changes the object once more.
    world.save(vec![put(file("role:app", "motd", "changed once more"))]).await.expect("changed");
    world.land(node, 1, 5, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 0, "nobody decided that this shall stand there instead of the edit");
    // By another object that takes the place there, too.
    world.save(vec![put(file("role:app", "motd", "merged"))]).await.expect("as it was decided");
    world.save(vec![put(file("node:web-1", "motd", "for this node"))]).await.expect("made");
    world.land(node, 1, 6, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 0);
    let gone = Draft { act: DraftAct::Delete(file("node:web-1", "motd", "").key()), base: None, previous_name: None };
    world.save(vec![gone]).await.expect("gone");
    world.land(node, 1, 7, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 1, "what was decided shall stand there");
    world.end().await;
}

async fn a_merge_and_what_it_decides_are_there_together(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let template = |text: &str| {
        let mut spec = file("role:app", "motd", text);
        let lampas_shared::object::Body::File(file) = &mut spec.body else { panic!("a file") };
        file.template = true;
        spec
    };
    let name: ObjectSpec = serde_json::from_value(serde_json::json!({
        "name": "site", "scope": "fleet", "body": { "kind": "var", "value": "ams" },
    }))
    .expect("a spec");
    world.save(vec![put(name), put(template("at {{var.site}}\nours\n"))]).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;
    world.changed_by_hand(node, 4, "at fra\ntheirs\n").await;
    let drifts = Drifts::new(world.changes.clone());
    let standing = DriftFilter { standing: Some(true), ..DriftFilter::default() };
    let id = drifts.list(&standing, 10).await.expect("a list").items[0].id;
    let request = AdoptRequest { conflicts: Some(MergeSide::Template), ..AdoptRequest::default() };
    // The controller dies right after its first write of it.
    let commits = Arc::new(AtomicUsize::new(0));
    world
        .db
        .strikes()
        .set(Arc::new(move || (commits.fetch_add(1, Ordering::SeqCst) == 0).then_some(testing::Strike::LoseAnswer)));
    drifts.adopt(id, &request, &admin()).await.expect_err("nobody hears of it");
    let listed = world.changes.list(&Listing { limit: 1, ..Listing::default() }).await.expect("a list");
    let made = &listed.items[0];
    assert!(made.reason.contains("adopted from web-1"), "{made:?}");
    assert_eq!(world.decision().await.as_deref(), Some("settle"), "what it decides came with it");
    // Who comes next plans it and applies it; that is all that is wanted.
    let plan = world.changes.plan(made.id, &admin()).await.expect("planned");
    let how = Apply { plan: Some(plan.id), allow_unplanned: true, ..Apply::default() };
    world.changes.apply(made.id, &how, &admin()).await.expect("applied");
    world.land(node, 1, 6, ResourceState::Drifted).await;
    assert_eq!(world.settled().await, 1);
    world.end().await;
}
