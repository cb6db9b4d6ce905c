//! A purge on its way to nodes: who is told, until all said that it is gone.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use lampas_shared::secret::StillHeld;

use super::*;
use crate::{
    db::row::Reader,
    secret::{driver, store::holder},
};

testing::on_both!(
    who_was_given_a_value_is_told_of_its_purge_until_it_is_gone,
    what_was_given_before_it_was_put_down_is_told_to_all,
    a_value_that_is_purged_is_given_to_nobody,
    what_hundreds_of_nodes_are_given_is_put_down_together,
    who_hangs_holds_nobody_up,
);

/// How a node answers.
#[derive(Clone)]
enum Says {
    Gone,
    Held(&'static str),
    TooOld,
    Hangs,
}

/// Nodes that answer to a purge, and remember being asked; who has no answer is away.
#[derive(Default)]
struct Told {
    nodes: Nodes,
    says: Mutex<BTreeMap<NodeId, Says>>,
    asked: Mutex<Vec<(NodeId, BTreeSet<SecretValueId>)>>,
}

impl Told {
    fn let_say(&self, node: NodeId, says: Says) {
        self.says.lock().expect("not poisoned").insert(node, says);
    }

    fn asked(&self) -> Vec<(NodeId, BTreeSet<SecretValueId>)> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }
}

impl NodeGate for Told {
    fn connected(&self, node: NodeId) -> bool {
        self.says.lock().expect("not poisoned").contains_key(&node)
    }
    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        BTreeMap::new()
    }
    fn wake(&self, _: &[NodeId]) {}
    fn plan(&self, node: NodeId, state: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>> {
        self.nodes.plan(node, state)
    }
    fn read(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>> {
        self.nodes.read(node, target)
    }
    fn revert(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<(), Fault>> {
        self.nodes.revert(node, target)
    }
    fn retry(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        self.nodes.retry(node)
    }
    fn purge(&self, node: NodeId, values: BTreeSet<SecretValueId>) -> BoxFuture<'_, Result<Vec<StillHeld>, Fault>> {
        self.asked.lock().expect("not poisoned").push((node, values.clone()));
        let says = self.says.lock().expect("not poisoned").get(&node).cloned();
        Box::pin(async move {
            match says {
                Some(Says::Gone) => Ok(Vec::new()),
                Some(Says::Held(why)) => {
                    Ok(values.into_iter().map(|value| StillHeld { value, why: why.to_owned() }).collect())
                }
                Some(Says::TooOld) => Err(Fault::lasting("node.too_old", "the agent on this node is too old for this")),
                Some(Says::Hangs) => std::future::pending().await,
                None => Err(Fault::passing("link.offline", "the node is not connected")),
            }
        })
    }
    fn close(&self, _: NodeId, _: &str) {}
}

/// Tells all who are to be told, and waits for what they say.
async fn pass(world: &World, told: &Told) {
    let mut exchanges = driver::Exchanges::new(&world.db, told);
    exchanges.look().await.expect("the store answers");
    while let Some(ended) = exchanges.next().await {
        ended.expect("put down");
    }
}

async fn purge(world: &World) -> lampas_api::SecretPurged {
    let view = world.changes.desired().view().await.expect("a view");
    let wanted = lampas_api::SecretPurge { keep: 0, force: true, reason: "left".into() };
    secret::purge::purge(&world.db, &view, the_secret(&view), &wanted, &admin()).await.expect("purged")
}

fn the_secret(view: &View) -> ObjectId {
    view.all.objects.values().find(|o| matches!(o.spec.body, Body::Secret(_))).expect("the secret").id
}

/// Returns how far the purge of the earlier value is: told, gone, and who is open with what it said.
async fn reach(world: &World, sees: &(dyn Fn(NodeId) -> bool + Sync)) -> (u32, u32, Vec<(String, String, bool)>, u32) {
    let view = world.changes.desired().view().await.expect("a view");
    let values = secret::purge::values(&world.db, &view, the_secret(&view), sees).await.expect("listed");
    assert!(values[0].nodes.is_none(), "what stands is not purged");
    let reach = values[1].nodes.clone().expect("is purged");
    let open = reach.open.into_iter().map(|o| (o.node, o.why, o.is_lost)).collect();
    (reach.total, reach.confirmed, open, reach.more)
}

async fn execute(world: &World, statement: &'static str) {
    let done = world.db.write(|mut tx| async move {
        sqlx::query(statement).execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    done.await.expect("done");
}

async fn who_was_given_a_value_is_told_of_its_purge_until_it_is_gone(db: Db) {
    let (world, safe, told) = (World::new(db), Safe::new(), Told::default());
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        nodes.push(world.node(name, if name == "e" { &[] } else { &["app"] }, true).await);
    }
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    world.save(vec![template("role:app", "conf", "{{secret.pw}}")]).await.expect("saved");
    let members = safe.members(&world);
    for node in &nodes {
        ask(&members, *node, first).await;
        ask(&members, *node, first).await;
    }
    safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    assert_eq!(purge(&world).await.purged, 1);
    let (total, confirmed, open, _) = reach(&world, &|_| true).await;
    assert_eq!((total, confirmed), (4, 0), "who was never given it is not asked");
    assert!(open.iter().all(|(_, why, _)| why.contains("was not told yet")), "{open:?}");

    // One lets go, one needs it, one is too old, and one is away.
    told.let_say(nodes[0], Says::Gone);
    told.let_say(nodes[1], Says::Held("/etc/conf is in force with it"));
    told.let_say(nodes[2], Says::TooOld);
    pass(&world, &told).await;
    assert_eq!(told.asked().len(), 3);
    let (_, confirmed, open, _) = reach(&world, &|_| true).await;
    let open: Vec<(&str, &str)> = open.iter().map(|(node, why, _)| (node.as_str(), why.as_str())).collect();
    assert_eq!((confirmed, open.len()), (1, 3));
    assert_eq!(open[0], ("b", "/etc/conf is in force with it"));
    assert!(open[1].0 == "c" && open[1].1.contains("too old"), "{open:?}");
    assert!(open[2].0 == "d" && open[2].1.contains("when it is connected"), "{open:?}");
    // Who may not see a node is told that there is one, and no more.
    let (_, _, open, more) = reach(&world, &|node| node == nodes[1]).await;
    assert_eq!((open.len(), more), (1, 2));

    // Nobody is asked before its time, but who comes back at once, by whichever controller has the link.
    told.let_say(nodes[3], Says::Gone);
    pass(&world, &told).await;
    assert_eq!(told.asked(), [(nodes[3], [first].into())]);
    // A purge asks all again; a kill between an answer and its commit asks once more, too.
    purge(&world).await;
    told.let_say(nodes[1], Says::Gone);
    pass(&world, &told).await;
    assert_eq!(told.asked().iter().map(|(node, _)| *node).collect::<Vec<_>>().len(), 2);

    // Who left the fleet is named as not reached.
    execute(&world, "UPDATE node SET ejected_ms = 9 WHERE name = 'c'").await;
    let (total, confirmed, open, _) = reach(&world, &|_| true).await;
    assert_eq!((total, confirmed), (4, 3));
    assert!(open.len() == 1 && open[0].1.contains("ejected") && open[0].2, "{open:?}");
    // And is told nothing any more, though it is open.
    purge(&world).await;
    told.asked();
    pass(&world, &told).await;
    assert_eq!(told.asked(), []);
    execute(&world, "DELETE FROM node WHERE name = 'c'").await;
    let (_, _, open, _) = reach(&world, &|_| true).await;
    assert!(open[0].0 == "c" && open[0].1.contains("removed from the fleet"), "{open:?}");
    world.end().await;
}

async fn what_was_given_before_it_was_put_down_is_told_to_all(db: Db) {
    let (world, safe, told) = (World::new(db), Safe::new(), Told::default());
    let web = world.node("web-1", &["app"], true).await;
    world.node("gone-1", &["app"], false).await;
    execute(&world, "UPDATE node SET ejected_ms = 9 WHERE name = 'gone-1'").await;
    safe.set(&world, "fleet", "pw", "one").await.expect("set");
    world.save(vec![template("role:app", "conf", "{{secret.pw}}")]).await.expect("saved");
    safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    // As an earlier controller left it: purged in the store, and nobody was told.
    execute(&world, "UPDATE secret_value SET is_tracked = 0").await;
    purge(&world).await;
    execute(&world, "DELETE FROM secret_holder").await;
    execute(&world, "UPDATE secret_value SET is_tracked = 0").await;
    for _ in 0..2 {
        driver::adopt(&world.db).await.expect("adopted");
        let (total, confirmed, open, _) = reach(&world, &|_| true).await;
        assert_eq!((total, confirmed), (1, 0), "who had left before is not asked: {open:?}");
    }
    told.let_say(web, Says::Gone);
    pass(&world, &told).await;
    let (total, confirmed, open, _) = reach(&world, &|_| true).await;
    assert_eq!((total, confirmed, open.len()), (1, 1, 0));
    // That it is gone everywhere is in the audit, once.
    let told_of = world.db.read(|mut tx| async move {
        let rows = sqlx::query("SELECT a.seq FROM audit a WHERE a.act = 'secret.purged'").fetch_all(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(rows.len()))
    });
    assert_eq!(told_of.await.expect("read"), 1);
    world.end().await;
}

async fn a_value_that_is_purged_is_given_to_nobody(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    let web = world.node("web-1", &["app"], true).await;
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    let stands = the_value(&world).await;
    let given = holder::give(&world.db, &[(web, first)], clock::now()).await.expect("read");
    assert!(!given[&first].contains("one"));
    purge(&world).await;
    let other = world.node("web-2", &["app"], true).await;
    // Beside one that stands, for who has it and who hasn't.
    let asked = [(web, first), (other, first), (other, stands)];
    let given = holder::give(&world.db, &asked, clock::now()).await.expect("read");
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), [stands]);
    let (total, _, open, _) = reach(&world, &|_| true).await;
    assert_eq!(total, 1, "{open:?}");
    world.end().await;
}

async fn the_value(world: &World) -> SecretValueId {
    let view = world.changes.desired().view().await.expect("a view");
    let Body::Secret(secret) = &view.all.objects[&the_secret(&view)].spec.body else { panic!("a secret") };
    secret.value.expect("it has one")
}

async fn what_hundreds_of_nodes_are_given_is_put_down_together(db: Db) {
    let (world, safe, told) = (World::new(db), Safe::new(), Told::default());
    let mut nodes = Vec::new();
    for n in 0..300 {
        nodes.push(world.node(&format!("web-{n}"), &["app"], true).await);
    }
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    let members = safe.members(&world);
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = commits.clone();
    world.db.strikes().set(Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    }));
    let given = join_all(nodes.iter().map(|node| members.give(*node, first))).await;
    assert!(given.iter().all(|sealed| sealed.as_ref().is_ok_and(Option::is_some)));
    let written = commits.load(Ordering::SeqCst);
    assert!(written <= 3, "{written} transactions");
    // Who has it is read alone.
    join_all(nodes.iter().map(|node| members.give(*node, first))).await;
    assert_eq!(commits.load(Ordering::SeqCst), written);

    safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    purge(&world).await;
    let noted = world.db.read(|mut tx| async move {
        let sql = "SELECT a.details FROM audit a WHERE a.act = 'secret.purge'";
        let row = sqlx::query(sql).fetch_one(tx.conn()).await?;
        let details = Reader::new("audit", &row).text("details")?;
        Ok::<_, DbError>(tx.done(details))
    });
    assert!(noted.await.expect("read").contains("\"nodes\":\"300\""), "each is counted");
    for node in &nodes {
        told.let_say(*node, Says::Gone);
    }
    pass(&world, &told).await;
    let (total, confirmed, open, _) = reach(&world, &|_| true).await;
    assert_eq!((total, confirmed, open.len()), (300, 300, 0));
    world.end().await;
}

async fn who_hangs_holds_nobody_up(db: Db) {
    let (world, safe, told) = (World::new(db), Safe::new(), Told::default());
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        nodes.push(world.node(name, &["app"], true).await);
    }
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    let members = safe.members(&world);
    join_all(nodes.iter().map(|node| members.give(*node, first))).await;
    safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    purge(&world).await;
    told.let_say(nodes[0], Says::Hangs);
    told.let_say(nodes[1], Says::Gone);
    told.let_say(nodes[2], Says::Gone);
    let mut exchanges = driver::Exchanges::new(&world.db, &told);
    exchanges.look().await.expect("the store answers");
    for _ in 0..2 {
        exchanges.next().await.expect("one is told").expect("put down");
    }
    // Who comes back meanwhile is told in the next look, and the one that hangs isn't asked twice.
    told.let_say(nodes[3], Says::Gone);
    exchanges.look().await.expect("the store answers");
    exchanges.next().await.expect("it is told").expect("put down");
    let mut asked: Vec<NodeId> = told.asked().into_iter().map(|(node, _)| node).collect();
    asked.sort();
    let mut all = nodes.clone();
    all.sort();
    assert_eq!(asked, all);
    let (total, confirmed, open, _) = reach(&world, &|_| true).await;
    assert_eq!((total, confirmed), (4, 3), "{open:?}");
    drop(exchanges);
    world.end().await;
}
