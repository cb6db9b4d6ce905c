//! Sets of manifests through the store: what is in which, and what `prune` takes away.

use lampas_api::{ManifestSet, SetJoin};
use lampas_shared::{
    access::{Permission, Preset, Right, Rights, Via},
    object::ObjectKey,
};

use super::*;
use crate::change::set;

testing::on_both!(
    prune_takes_what_the_manifests_no_longer_name_and_nothing_else,
    an_object_moves_between_sets_only_when_somebody_says_so,
    all_of_a_set_goes_only_when_somebody_says_so,
    what_moved_since_it_was_planned_is_not_deleted,
    what_is_deleted_leaves_its_set,
    a_set_is_used_by_who_may_change_all_that_it_holds,
);

fn named(name: &str) -> ManifestSet {
    ManifestSet { name: name.parse().expect("a name"), prune: false, allow_empty: false, take: false }
}

fn pruning(name: &str) -> ManifestSet {
    ManifestSet { prune: true, ..named(name) }
}

fn spec(name: &str) -> ObjectSpec {
    file("role:app", name, name)
}

impl World {
    async fn apply_set(&self, set: ManifestSet, names: &[&str]) -> Result<ChangeRow, ChangeError> {
        let row = self.changes.create(&drafted(set, names), &admin()).await?;
        self.changes.apply(row.id, &Apply::default(), &admin()).await
    }

    async fn set_of(&self, name: &str) -> Option<String> {
        let id = self.find("role:app", name).await?.id;
        let read = self.db.read(|mut tx| async move {
            let sets = set::store::of(&mut tx, &[id]).await?;
            Ok::<_, DbError>(tx.done(sets))
        });
        read.await.expect("the store answers").remove(&id).map(|n| n.to_string())
    }

    async fn stand(&self, names: &[&str]) -> Vec<bool> {
        let mut standing = Vec::new();
        for name in names {
            standing.push(self.find("role:app", name).await.is_some());
        }
        standing
    }
}

fn drafted(set: ManifestSet, names: &[&str]) -> NewChange {
    let drafts = names.iter().map(|name| put(spec(name))).collect();
    NewChange { drafts, set: Some(set), ..NewChange::default() }
}

async fn prune_takes_what_the_manifests_no_longer_name_and_nothing_else(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.save(vec![put(spec("hand"))]).await.expect("made by hand");
    world.apply_set(named("other"), &["theirs"]).await.expect("applied");
    world.apply_set(pruning("web"), &["one", "two"]).await.expect("applied, with nothing to go");
    assert_eq!(world.set_of("one").await.as_deref(), Some("web"));
    assert_eq!((world.set_of("hand").await, world.set_of("theirs").await), (None, Some("other".to_owned())));
    world.apply_set(named("web"), &["one"]).await.expect("without prune nothing goes");
    let all = ["one", "two", "theirs", "hand"];
    assert_eq!(world.stand(&all).await, [true; 4]);
    // The plan shows what goes.
    let row = world.changes.create(&drafted(pruning("web"), &["one"]), &admin()).await.expect("made");
    let shown = world.changes.show(row.id).await.expect("a change");
    let verbs: Vec<_> = shown.drafts.iter().map(|d| (d.key.name.as_str(), d.verb.as_str())).collect();
    assert_eq!(verbs, [("one", "none"), ("two", "delete")]);
    assert_eq!(shown.set.map(|s| (s.name.to_string(), s.prune, s.joins)), Some(("web".to_owned(), true, Vec::new())));
    world.changes.apply(row.id, &Apply::default(), &admin()).await.expect("applied");
    assert_eq!(world.stand(&all).await, [true, false, true, true]);
    // What stands by hand, as the manifests say, comes into the set with them.
    let row = world.changes.create(&drafted(pruning("web"), &["one", "hand"]), &admin()).await.expect("made");
    let joins = world.changes.show(row.id).await.expect("a change").set.expect("a set").joins;
    assert_eq!(joins, [SetJoin { key: spec("hand").key(), from: None }]);
    world.changes.apply(row.id, &Apply::default(), &admin()).await.expect("applied");
    assert_eq!(world.set_of("hand").await.as_deref(), Some("web"));
    world.end().await;
}

async fn an_object_moves_between_sets_only_when_somebody_says_so(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.apply_set(named("web"), &["one", "two"]).await.expect("applied");
    let refused = world.apply_set(named("shop"), &["one"]).await.expect_err("it is web's");
    let text = refused.to_string();
    assert!(text.contains("is of the set web") && text.contains("--take"), "{text}");
    let absent = Draft { act: DraftAct::Delete(spec("one").key()), base: None, previous_name: None };
    let new = NewChange {
        drafts: vec![absent],
        set: Some(ManifestSet { take: true, ..named("shop") }),
        ..Default::default()
    };
    let refused = world.changes.create(&new, &admin()).await.expect_err("it is not shop's to delete");
    assert!(refused.to_string().contains("delete it there"), "{refused}");
    let taking = ManifestSet { take: true, ..named("shop") };
    let row = world.changes.create(&drafted(taking, &["one"]), &admin()).await.expect("made");
    let joins = world.changes.show(row.id).await.expect("a change").set.expect("a set").joins;
    assert_eq!(
        joins.iter().map(|j| j.from.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
        [Some("web".to_owned())]
    );
    world.changes.apply(row.id, &Apply::default(), &admin()).await.expect("taken");
    assert_eq!(world.set_of("one").await.as_deref(), Some("shop"));
    world.apply_set(pruning("web"), &["two"]).await.expect("applied");
    assert_eq!(world.stand(&["one", "two"]).await, [true, true], "web has no say about it any more");
    world.end().await;
}

async fn all_of_a_set_goes_only_when_somebody_says_so(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.save(vec![put(spec("hand"))]).await.expect("made by hand");
    world.apply_set(named("web"), &["one", "two"]).await.expect("applied");
    let refused = world.apply_set(pruning("web"), &[]).await.expect_err("nobody said so");
    let ChangeError::Rule { pointer, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*pointer, "/set/allow_empty");
    world.apply_set(ManifestSet { allow_empty: true, ..pruning("web") }, &[]).await.expect("all of it");
    assert_eq!(world.stand(&["one", "two", "hand"]).await, [false, false, true]);
    let nothing = world.apply_set(ManifestSet { allow_empty: true, ..pruning("web") }, &[]).await.expect_err("empty");
    assert!(matches!(&nothing, ChangeError::EmptySet(name) if name.as_str() == "web"), "{nothing}");
    world.end().await;
}

async fn what_moved_since_it_was_planned_is_not_deleted(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.apply_set(named("web"), &["one", "two"]).await.expect("applied");
    let pruned = world.changes.create(&drafted(pruning("web"), &["one"]), &admin()).await.expect("made");
    let plan = world.changes.plan(pruned.id, &admin()).await.expect("a plan");
    world.apply_set(ManifestSet { take: true, ..named("shop") }, &["two"]).await.expect("taken meanwhile");
    let how = Apply { plan: Some(plan.id), ..Apply::default() };
    let refused = world.changes.apply(pruned.id, &how, &admin()).await.expect_err("it is shop's");
    assert!(refused.to_string().contains("is of the set shop"), "{refused}");
    let pruned = world.changes.create(&drafted(pruning("shop"), &["three"]), &admin()).await.expect("made");
    world.save(vec![put(file("role:app", "two", "edited meanwhile"))]).await.expect("edited");
    let refused = world.changes.apply(pruned.id, &Apply::default(), &admin()).await.expect_err("it moved");
    assert!(refused.to_string().contains("was changed by admin meanwhile"), "{refused}");
    assert_eq!(world.stand(&["one", "two"]).await, [true, true]);
    world.end().await;
}

async fn what_is_deleted_leaves_its_set(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.apply_set(named("web"), &["one", "two"]).await.expect("applied");
    let key: ObjectKey = spec("two").key();
    let gone = Draft { act: DraftAct::Delete(key), base: None, previous_name: None };
    world.save(vec![gone]).await.expect("deleted by hand");
    // Made anew by hand it is nobody's, though it is the same object with its history.
    world.save(vec![put(spec("two"))]).await.expect("made by hand");
    assert_eq!(world.set_of("two").await, None);
    world.apply_set(pruning("web"), &["one"]).await.expect("applied");
    assert_eq!(world.stand(&["one", "two"]).await, [true, true]);
    // A rename keeps the set; an edit by hand does too.
    let renamed =
        Draft { previous_name: Some("one".parse().expect("a name")), ..put(file("role:app", "uno", "by hand")) };
    world.save(vec![renamed]).await.expect("renamed");
    assert_eq!(world.set_of("uno").await.as_deref(), Some("web"));
    world.end().await;
}

async fn a_set_is_used_by_who_may_change_all_that_it_holds(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.node("db-1", &["db"], true).await;
    let of_db = |name: &str, set: &str| NewChange {
        drafts: vec![put(file("role:db", name, name))],
        set: Some(named(set)),
        ..NewChange::default()
    };
    let by_admin = async |new: NewChange| {
        let row = world.changes.create(&new, &admin()).await.expect("made");
        world.changes.apply(row.id, &Apply::default(), &admin()).await.expect("applied");
    };
    world.apply_set(named("web"), &["one", "two"]).await.expect("applied");
    by_admin(of_db("hers", "data")).await;
    let scope = "role:app".parse().expect("a scope");
    let right = Right::new([Permission::Change].into(), scope, Via::Preset(Preset::Operator));
    let eve = admin().with_rights(Rights(vec![right]));
    let refused = async |new: NewChange| {
        let error = world.changes.create(&new, &eve).await.expect_err("not hers");
        assert!(matches!(&error, ChangeError::Outside(_)), "{error}");
        error.to_string()
    };
    let text = refused(drafted(named("data"), &["one"])).await;
    assert!(text.ends_with("change on all that the set of manifests data holds: use a name of your own"), "{text}");
    let all = ManifestSet { allow_empty: true, ..pruning("data") };
    assert_eq!(refused(drafted(all, &[])).await, text);
    assert!(refused(of_db("hers", "web")).await.ends_with("change on role:db"), "and not which set it is in");
    // Whoever made it: all of it lies in what she may change.
    let row = world.changes.create(&drafted(pruning("web"), &["one"]), &eve).await.expect("made");
    // What came into it since counts where it is applied.
    by_admin(of_db("late", "web")).await;
    let error = world.changes.apply(row.id, &Apply::default(), &eve).await.expect_err("not hers any more");
    assert!(matches!(&error, ChangeError::Outside(_)), "{error}");
    assert_eq!(world.stand(&["one", "two"]).await, [true, true]);
    world.end().await;
}
