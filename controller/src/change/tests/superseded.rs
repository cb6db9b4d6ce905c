//! Open changes that another one overtook wait for nobody, through the store.

use lampas_api::{NodeEdit, NodeUpdate, ProtectionCreate};

use super::*;

testing::on_both!(what_was_overtaken_waits_for_nobody, a_node_that_was_edited_ends_edits_of_what_it_was);

fn by(login: &str) -> Principal {
    Principal::new(format!("user:{login}"), "10.0.0.1")
}

impl World {
    async fn drafted(&self, specs: Vec<ObjectSpec>, reason: &str) -> ChangeRow {
        let drafts = specs.into_iter().map(put).collect();
        let new = NewChange { drafts, reason: reason.to_owned(), ..NewChange::default() };
        let row = self.changes.create(&new, &by("rk")).await.expect("a change");
        self.changes.plan(row.id, &by("rk")).await.expect("a plan");
        self.changes.find(&row.id.to_string()).await.expect("a change")
    }

    async fn waiting(&self) -> Vec<u64> {
        let found = self.changes.approvals(&by("dana")).await.expect("a list");
        found.into_iter().map(|w| w.change.number).collect()
    }
}

async fn what_was_overtaken_waits_for_nobody(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    let protection = ProtectionCreate { scope: "role:app".parse().expect("a scope"), reason: "customers".into() };
    world.changes.protect(&protection, &admin()).await.expect("protected");
    let over = Apply { over_protection: Some("tonight".into()), ..Apply::default() };
    // Two would make the same object, one another, one both.
    let first = world.drafted(vec![file("role:app", "motd", "one\n")], "first").await;
    let second = world.drafted(vec![file("role:app", "motd", "two\n")], "second").await;
    let other = world.drafted(vec![file("role:app", "issue", "hello\n")], "other").await;
    let both = world.drafted(vec![file("role:app", "motd", "3\n"), file("role:app", "third", "3\n")], "both").await;
    assert_eq!(world.waiting().await, [first.number, second.number, other.number, both.number]);

    let plan = first.plan_id.clone();
    world.changes.apply(first.id, &Apply { plan, ..over.clone() }, &admin()).await.expect("applied");
    assert_eq!(world.waiting().await, [other.number]);
    for row in [&second, &both] {
        let shown = world.changes.show(row.id).await.expect("a change").summary;
        assert_eq!(shown.state, ChangeState::Abandoned);
        let superseded = shown.superseded.expect("says why");
        assert_eq!(superseded.by, Some(first.number));
        let why = format!("file motd (role:app) was changed by rk meanwhile, with change {}", first.number);
        assert_eq!(superseded.why, why);
        let how = Apply { plan: row.plan_id.clone(), ..over.clone() };
        let late = world.changes.apply(row.id, &how, &admin()).await.expect_err("too late");
        assert!(matches!(late, ChangeError::Superseded { .. }), "{late}");
        assert!(late.to_string().contains("look at what stands and make it again"), "{late}");
        assert!(world.changes.plan(row.id, &by("rk")).await.is_err(), "a new plan wouldn't help");
        world.changes.abandon(row.id, &by("rk")).await.expect("nobody need drop it");
    }

    // An approval of what stood ends with it, and who gave it is named.
    let next = world.drafted(vec![file("role:app", "motd", "four\n")], "next").await;
    let digest = next.plan_id.clone().expect("a plan");
    world.changes.approve(next.id, &digest, "looks good", &by("dana")).await.expect("approved");
    let faster = world.drafted(vec![file("role:app", "motd", "five\n")], "faster").await;
    let how = Apply { plan: faster.plan_id.clone(), ..over };
    world.changes.apply(faster.id, &how, &admin()).await.expect("applied");
    let shown = world.changes.show(next.id).await.expect("a change");
    assert_eq!(shown.summary.superseded.and_then(|s| s.by), Some(faster.number));
    assert!(shown.control.approval.is_some_and(|a| a.note.starts_with("was approved by dana, then file motd")));
    assert_eq!(world.state(&other).await.0, ChangeState::Planned, "what is about something else stands");
    world.end().await;
}

async fn a_node_that_was_edited_ends_edits_of_what_it_was(db: Db) {
    let world = World::new(db);
    let web = world.node("web-1", &["app"], true).await;
    let db_1 = world.node("db-1", &["db"], true).await;
    let edit = |node: &str| NodeEdit {
        node: node.to_owned(),
        base: None,
        set: NodeUpdate { roles: Some(vec!["spare".parse().expect("a role")]), ..NodeUpdate::default() },
    };
    let mut rows = Vec::new();
    for node in ["web-1", "db-1"] {
        let new = NewChange { node_edits: vec![edit(node)], ..NewChange::default() };
        rows.push(world.changes.create(&new, &by("rk")).await.expect("a change"));
    }
    let labels = NodeUpdate {
        labels: Some([("rack".parse().expect("a key"), "7".parse().expect("a value"))].into()),
        ..NodeUpdate::default()
    };
    world.changes.update_node(web, &labels, None, None, &admin()).await.expect("edited");
    let superseded = |shown: lampas_api::Change| shown.summary.superseded.map(|s| (s.by, s.why));
    let shown = world.changes.show(rows[0].id).await.expect("a change");
    assert_eq!(superseded(shown), Some((None, "node web-1 was changed by admin meanwhile".to_owned())));
    assert_eq!(world.state(&rows[1]).await.0, ChangeState::Draft);
    world.changes.remove_node(db_1, ("it burnt", None), &admin()).await.expect("removed");
    let shown = world.changes.show(rows[1].id).await.expect("a change");
    assert_eq!(superseded(shown), Some((None, "node db-1 was changed by admin meanwhile".to_owned())));
    world.end().await;
}
