//! Nodes that leave: the lines that name them on others go only where nothing guards those.

use super::*;
use crate::change::service::let_go;

testing::on_both!(
    who_ejects_or_removes_asks_what_guards_the_others,
    a_revocation_waits_for_nobody_and_leaves_guarded_lines,
    an_owner_who_ejects_leaves_guarded_lines,
    an_ejection_asks_for_the_node_itself,
);

/// Two databases whose lines stand on a node of the role app.
struct Lines {
    world: World,
    web: NodeId,
    dbs: [NodeId; 2],
}

impl Lines {
    async fn new(db: Db) -> Self {
        let world = World::new(db);
        let web = world.node("web-1", &["app"], true).await;
        let dbs = [world.node("db-1", &["database"], true).await, world.node("db-2", &["database"], true).await];
        let entry: ObjectSpec = serde_json::from_value(serde_json::json!({
            "name": "databases", "scope": "role:app", "body": { "kind": "hosts", "nodes": "role:database" },
        }))
        .expect("a spec");
        world.save(vec![put(entry)]).await.expect("made");
        for (node, address) in dbs.into_iter().zip(["192.0.2.21", "192.0.2.22"]) {
            let set = NodeUpdate { address: Some(address.into()), ..NodeUpdate::default() };
            world.changes.update_node(node, &set, None, None, &admin()).await.expect("an address");
        }
        Self { world, web, dbs }
    }

    async fn count(&self) -> usize {
        assert_ne!(self.world.changes.desired().is_copy_true().await, Some(false), "the copy is what stands");
        self.world.desired(self.web).await.resources().count()
    }

    async fn noted(&self, act: &str) -> Vec<String> {
        let query = audit::Query { act: Some(act.into()), ..audit::Query::default() };
        let query = &query;
        let read =
            self.world.db.read(|mut tx| async move { audit::list(&mut tx, query, 10).await.map(|e| tx.done(e)) });
        read.await.expect("a list").into_iter().map(|e| format!("{} {}", e.object, e.reason)).collect()
    }
}

async fn who_ejects_or_removes_asks_what_guards_the_others(db: Db) {
    let lines = Lines::new(db).await;
    let (world, [first, second]) = (&lines.world, lines.dbs);
    assert!(world.changes.may_eject(first, None, &rk()).await.expect("nothing is guarded").is_empty());
    world.protect("role:app").await;
    let freeze = world.frozen("role:app").await;
    let before = world.desired(lines.web).await;
    let refused = world.changes.may_eject(first, None, &rk()).await.expect_err("guarded");
    let text = refused.to_string();
    assert!(text.contains("role:app is frozen") && text.contains("ejecting db-1 would change db-1, web-1"), "{text}");
    let refused = world.changes.remove_node(first, ("", None), &rk()).await.expect_err("guarded");
    assert!(refused.to_string().contains("removing db-1 would change web-1 at once"), "{refused}");
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    let refused = world.changes.remove_node(first, ("", None), &rk()).await.expect_err("protected still");
    assert!(matches!(refused, ChangeError::Leaving { .. }), "{refused}");
    assert_eq!(world.desired(lines.web).await, before, "nothing moved");
    let over = world.changes.may_eject(first, Some("it burns"), &admin()).await.expect("an administrator may");
    assert_eq!(over, [("node.override_protection", vec!["role:app".to_owned()])]);
    world.changes.end_node(first, "ejected", true, &admin()).await.expect("it went over that");
    assert_eq!(lines.count().await, 1, "its line went");
    world.changes.remove_node(second, ("", Some("it burns")), &admin()).await.expect("an administrator may");
    assert_eq!(lines.count().await, 0);
    assert_eq!(lines.noted("node.override_protection").await, ["db-2 it burns"]);
    lines.world.end().await;
}

async fn a_revocation_waits_for_nobody_and_leaves_guarded_lines(db: Db) {
    let lines = Lines::new(db).await;
    let (world, [first, second]) = (&lines.world, lines.dbs);
    assert!(world.changes.revoke_node(first, "stolen", &rk()).await.expect("revoked").is_empty());
    assert_eq!(lines.count().await, 1, "nothing guards who named it");
    let freeze = world.frozen("role:app").await;
    let before = world.desired(lines.web).await;
    let named_on = world.changes.revoke_node(second, "stolen", &rk()).await.expect("at once");
    assert_eq!(named_on, ["web-1"]);
    let read = world.db.read(|mut tx| async move { fleet::is_revoked(&mut tx, second).await.map(|is| tx.done(is)) });
    assert!(read.await.expect("it is known"), "the certificate ends at once");
    assert!(world.changes.desired().desired_for(second).await.expect("an answer").is_none(), "it gets nothing itself");
    assert_eq!(world.desired(lines.web).await, before, "nothing moved");
    assert!(lines.noted("node.stay_named").await[0].starts_with("db-2 role:app is frozen"));
    // Other changes leave the line where it is.
    world.save(vec![put(file("role:database", "motd", "db"))]).await.expect("saved");
    assert_eq!(world.desired(lines.web).await, before);
    let refused = world.changes.remove_node(second, ("", None), &rk()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::Leaving { .. }), "{refused}");
    let address = NodeUpdate { address: Some("192.0.2.23".into()), ..NodeUpdate::default() };
    let refused = world.changes.update_node(second, &address, None, None, &rk()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::Guarded(_)), "{refused}");
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    assert_eq!(lines.count().await, 1, "nothing goes by itself");
    world.changes.remove_node(second, ("", None), &rk()).await.expect("nothing guards it any more");
    assert_eq!(lines.count().await, 0);
    lines.world.end().await;
}

async fn an_owner_who_ejects_leaves_guarded_lines(db: Db) {
    let lines = Lines::new(db).await;
    let world = &lines.world;
    world.protect("role:app").await;
    assert!(let_go(&world.db, lines.dbs[0]).await.expect("let go").is_empty(), "nobody moves");
    assert_eq!(lines.count().await, 2);
    world.changes.remove_node(lines.dbs[0], ("", Some("it is gone")), &admin()).await.expect("an administrator may");
    assert_eq!(lines.count().await, 1);
    lines.world.end().await;
}

async fn an_ejection_asks_for_the_node_itself(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.frozen("role:app").await;
    let refused = world.changes.may_eject(node, None, &rk()).await.expect_err("it is written there");
    assert!(refused.to_string().contains("ejecting web-1 would change web-1 at once"), "{refused}");
    world.changes.remove_node(node, ("", None), &rk()).await.expect("nothing is written by that");
    world.end().await;
}
