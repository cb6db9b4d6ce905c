//! Secrets through the store: which value stands, and who may have it.

use lampas_runtime::seal::SealKey;
use lampas_shared::{
    access::{Permission, Right, Rights, Via},
    fleet::Scope,
    id::{ControllerId, SecretValueId},
    object::Body,
    secret::Secret,
};

use super::*;
use crate::{
    link::StateSource as _,
    secret::{self, Vault},
};

mod purge;

testing::on_both!(
    a_value_is_a_revision_and_comes_back,
    a_secret_goes_to_who_uses_it_and_to_nobody_else,
    a_name_that_stands_for_nothing_is_refused_when_planned,
    values_of_others_and_writers_without_the_right_are_refused,
    earlier_values_are_destroyed_and_stay_so,
);

fn spec(scope: &str, name: &str, value: Option<SecretValueId>) -> ObjectSpec {
    let (name, scope) = (name.parse().expect("a name"), scope.parse().expect("a scope"));
    let body = Body::Secret(Secret { description: String::new(), value });
    ObjectSpec { name, scope, drift: Default::default(), body }
}

fn put(spec: ObjectSpec) -> Draft {
    Draft { act: DraftAct::Put(spec), base: None, previous_name: None }
}

pub(super) fn template(scope: &str, name: &str, content: &str) -> Draft {
    let mut spec = file(scope, name, content);
    if let Body::File(file) = &mut spec.body {
        file.template = true;
    }
    put(spec)
}

pub(super) struct Safe {
    dir: tempfile::TempDir,
}

impl Safe {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn vault(&self) -> Vault {
        Vault::new(self.dir.path())
    }

    /// Gives a secret a value.
    pub(super) async fn set(
        &self,
        world: &World,
        scope: &str,
        name: &str,
        value: &str,
    ) -> Result<SecretValueId, ChangeError> {
        let id: SecretValueId = random::new_id();
        let sealed = self.vault().seal(id, value).expect("sealed");
        let values = vec![NewValue { id, sealed }];
        let new = NewChange { drafts: vec![put(spec(scope, name, Some(id)))], values, ..NewChange::default() };
        let how = Apply { allow_unplanned: true, ..Apply::default() };
        world.changes.save(&new, &how, &admin()).await.map(|_| id)
    }

    pub(super) fn members(&self, world: &World) -> Members {
        let controller: ControllerId = random::new_id();
        let members = Members::new(world.changes.desired().clone(), world.ingest.clone(), controller);
        members.with_vault(self.vault(), world.nodes.clone())
    }
}

/// Asks as a node would, and opens what comes.
pub(super) async fn ask(members: &Members, node: NodeId, value: SecretValueId) -> Option<String> {
    let key = SealKey::generate().expect("a key");
    let sealed = members.secret(node, value, key.public()).await.expect("the store answers")?;
    let bound = format!("node {node} value {value}");
    let opened = key.open(bound.as_bytes(), &sealed).expect("is sealed to the key of who asked");
    Some(String::from_utf8(opened.to_vec()).expect("text"))
}

async fn a_value_is_a_revision_and_comes_back(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    let web = world.node("web-1", &["app"], true).await;
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    world.save(vec![template("role:app", "conf", "{{secret.pw}}")]).await.expect("saved");
    let before = world.desired(web).await;
    let second = safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    let after = world.desired(web).await;
    assert!(after.generation > before.generation && after.hash != before.hash, "everybody who uses it moves");
    let members = safe.members(&world);
    assert_eq!(ask(&members, web, second).await.as_deref(), Some("two"));
    assert_eq!(ask(&members, web, first).await, None, "the earlier one is nobody's");

    // A manifest that names it keeps what stands.
    let kept = world.save(vec![put(spec("fleet", "pw", None))]).await.expect("saved");
    assert_eq!(world.state(&kept).await.0, ChangeState::Done);
    assert_eq!(world.desired(web).await.hash, after.hash);
    let object = world.changes.desired().view().await.expect("a view");
    let object = object.all.objects.values().find(|o| o.spec.body.kind() == lampas_shared::object::Kind::Secret);
    let id = object.expect("the secret").id;
    let back = world.changes.restore(id, 1, "", &admin()).await.expect("restored");
    world.changes.apply(back.id, &Apply::default(), &admin()).await.expect("applied");
    assert_eq!(world.desired(web).await.hash, before.hash);
    assert_eq!(ask(&members, web, first).await.as_deref(), Some("one"));
    world.end().await;
}

async fn a_secret_goes_to_who_uses_it_and_to_nobody_else(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    let mut nodes = Vec::new();
    for (name, roles) in [("a", &["app"][..]), ("b", &["db"]), ("c", &["app", "db"]), ("d", &[])] {
        nodes.push((world.node(name, roles, true).await, roles));
    }
    let mut values = Vec::new();
    for (scope, name) in [("role:app", "of-app"), ("role:db", "of-db"), ("fleet", "of-all"), ("fleet", "of-nobody")] {
        values.push((name, safe.set(&world, scope, name, name).await.expect("set")));
    }
    world
        .save(vec![
            template("role:app", "app", "{{secret.of-app}} {{secret.of-all}}"),
            template("role:db", "db", "{{secret.of-db}}"),
        ])
        .await
        .expect("saved");
    let members = safe.members(&world);
    for (node, roles) in &nodes {
        for (name, value) in &values {
            let is_due = match *name {
                "of-app" | "of-all" => roles.contains(&"app"),
                "of-db" => roles.contains(&"db"),
                _ => false,
            };
            let got = ask(&members, *node, *value).await;
            assert_eq!(got.as_deref(), is_due.then_some(*name), "{name} for {roles:?}");
        }
    }
    let unknown: SecretValueId = random::new_id();
    assert_eq!(ask(&members, nodes[0].0, unknown).await, None);
    world.end().await;
}

async fn a_name_that_stands_for_nothing_is_refused_when_planned(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    world.node("web-1", &["app"], true).await;
    world.node("db-1", &["db"], true).await;
    safe.set(&world, "role:db", "pw", "x").await.expect("set");
    let refused = world.save(vec![template("fleet", "conf", "a\n{{secret.pw}}")]).await.expect_err("not entitled");
    let text = refused.to_string();
    assert!(text.contains("web-1") && text.contains("line 2") && text.contains("is for role:db"), "{text}");
    world.save(vec![template("role:db", "conf", "{{secret.pw}}")]).await.expect("entitled");
    // What is used can't go, and a scope can't shrink away from who uses it.
    let gone = Draft { act: DraftAct::Delete(spec("role:db", "pw", None).key()), base: None, previous_name: None };
    let refused = world.save(vec![gone]).await.expect_err("is used").to_string();
    assert!(refused.contains("there is no secret pw"), "{refused}");
    let refused = safe.set(&world, "fleet", "Bad", "x").await.expect_err("no name").to_string();
    assert!(refused.contains("Bad"), "{refused}");
    world.end().await;
}

async fn earlier_values_are_destroyed_and_stay_so(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    let web = world.node("web-1", &["app"], true).await;
    let first = safe.set(&world, "fleet", "pw", "one").await.expect("set");
    world.save(vec![template("role:app", "conf", "{{secret.pw}}")]).await.expect("saved");
    let second = safe.set(&world, "fleet", "pw", "two").await.expect("set anew");
    let view = world.changes.desired().view().await.expect("a view");
    let id = view.all.objects.values().find(|o| matches!(o.spec.body, Body::Secret(_))).expect("the secret").id;
    let values = secret::purge::values(&world.db, &view, id, &|_| true).await.expect("listed");
    let seen: Vec<_> = values.iter().map(|v| (v.id, v.is_current, v.uses.is_empty())).collect();
    assert_eq!(seen, [(second, true, true), (first, false, false)]);
    assert!(values[1].uses[0].contains("web-1 may still have it"), "{values:?}");
    let wanted = |keep, force| lampas_api::SecretPurge { keep, force, reason: "left".into() };
    let purge = async |keep, force| {
        secret::purge::purge(&world.db, &view, id, &wanted(keep, force), &admin()).await.map_err(|e| e.to_string())
    };
    assert!(purge(0, false).await.expect_err("is needed").contains("--force"));
    assert_eq!(purge(1, false).await.expect("keeps it").purged, 0);
    let done = purge(0, true).await.expect("forced");
    assert!(done.purged == 1 && done.values[1].purged_at.is_some() && done.values[1].uses.is_empty(), "{done:?}");
    assert_eq!(purge(0, false).await.expect("nothing is left").purged, 0);
    let (kept, gone) = world
        .db
        .read(|mut tx| async move {
            let kept = secret::store::sealed(&mut tx, second).await?;
            let gone = secret::store::sealed(&mut tx, first).await?;
            Ok::<_, DbError>(tx.done((kept, gone)))
        })
        .await
        .expect("read");
    assert!(kept.is_some() && gone.is_none());
    let refused = world.changes.restore(id, 1, "", &admin()).await.expect_err("is gone").to_string();
    assert!(refused.contains("was purged"), "{refused}");
    assert_eq!(ask(&safe.members(&world), web, second).await.as_deref(), Some("two"), "what stands, stands");
    world.end().await;
}

async fn values_of_others_and_writers_without_the_right_are_refused(db: Db) {
    let (world, safe) = (World::new(db), Safe::new());
    world.node("web-1", &["app"], true).await;
    let one = safe.set(&world, "fleet", "one", "1").await.expect("set");
    let refused = world.save(vec![put(spec("fleet", "two", None))]).await.expect_err("has none").to_string();
    assert!(refused.contains("has no value yet; set it with: lampasctl secret set two --scope fleet"), "{refused}");
    let refused = world.save(vec![put(spec("fleet", "two", Some(one)))]).await.expect_err("another's").to_string();
    assert!(refused.contains("not its own"), "{refused}");
    let right =
        Right::new([Permission::Change].into(), Scope::Fleet, Via::Preset(lampas_shared::access::Preset::Operator));
    let by = admin().with_rights(Rights(vec![right]));
    for draft in [
        put(spec("role:app", "one", Some(one))),
        Draft { act: DraftAct::Delete(spec("fleet", "one", None).key()), base: None, previous_name: None },
    ] {
        let new = NewChange { drafts: vec![draft], ..NewChange::default() };
        let refused = world.changes.create(&new, &by).await.expect_err("may not");
        let text = refused.to_string();
        assert!(text.contains("write_secret") || text.contains("not its own"), "{text}");
    }
    let stored = world.db.read(|mut tx| async move {
        let sealed = secret::store::sealed(&mut tx, one).await?;
        Ok::<_, DbError>(tx.done(sealed))
    });
    assert!(stored.await.expect("read").is_some_and(|sealed| sealed.len() > 20), "and sealed in the store");
    world.end().await;
}
