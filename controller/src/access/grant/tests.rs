//! Grants and groups in both stores.

use lampas_api::{GrantCreate, UserGroupCreate, UserGroupUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Login, Permission, Place, Preset, Rights, Subject, UserGroupName},
    fleet::{NodeName, Scope},
    id::UserId,
};

use super::store;
use crate::{
    access::{Access, AccessError, store::UserRow},
    audit::Principal,
    config::Config,
    db::{Db, DbError, Tx, testing},
};

testing::on_both!(
    rights_are_the_union_of_preset_and_grants,
    a_grant_on_a_node_goes_with_the_node,
    of_two_last_administrators_one_stays,
);

struct World {
    access: Access,
    db: Db,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(db: Db) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        Self { access: Access::new(db.clone(), &config), db, _dir: dir }
    }

    async fn user(&self, login: &str, preset: Preset) -> UserId {
        let row = &UserRow {
            id: random::new_id(),
            login: Login::parse(login).expect("a name"),
            preset,
            password_hash: String::new(),
            created_at: clock::now(),
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
            security_keys: 0,
        };
        let made = self.db.write(|mut tx: Tx| async move {
            crate::access::insert_user(&mut tx, row).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        made.await.expect("a user");
        row.id
    }

    async fn node(&self, name: &str, role: &str) -> NodeName {
        let node = &crate::fleet::NewNode::fresh(name, &[role]);
        let made = self.db.write(|mut tx: Tx| async move {
            crate::fleet::create(&mut tx, node).await?;
            Ok::<_, crate::fleet::FleetError>(tx.done(()))
        });
        made.await.expect("a node");
        node.name.clone()
    }

    async fn rights(&self, user: UserId, preset: Preset) -> Rights {
        let read = self.db.read(|mut tx: Tx| async move {
            let rights = store::rights(&mut tx, user, preset, clock::now()).await?;
            let all = store::everybody(&mut tx, clock::now()).await?;
            assert!(all.values().any(|r| *r == rights), "one by one and all together are the same");
            Ok::<_, AccessError>(tx.done(rights))
        });
        read.await.expect("rights")
    }

    async fn grant(&self, subject: &str, actions: &str, scope: &str) -> lampas_api::Grant {
        let wanted = GrantCreate {
            subject: subject.parse().expect("a subject"),
            actions: actions.parse().expect("actions"),
            scope: scope.parse().expect("a scope"),
            ttl_secs: None,
            reason: "a test".to_owned(),
        };
        self.access.grant(&Principal::system(), &wanted).await.expect("granted")
    }
}

fn on(rights: &Rights, permission: Permission, scope: &str) -> bool {
    let scope: Scope = scope.parse().expect("a scope");
    rights.on_scope(permission, &scope, &|_| None::<Place<'_>>)
}

async fn rights_are_the_union_of_preset_and_grants(db: Db) {
    let world = World::new(db);
    world.user("root", Preset::Administrator).await;
    let eve = world.user("eve", Preset::Viewer).await;
    let name = UserGroupName::parse("web-team").expect("a name");
    let by = Principal::system();
    let login = Login::parse("eve").expect("a name");
    let wanted = UserGroupCreate { name: name.clone(), note: "the shop".to_owned(), members: vec![login.clone()] };
    let group = world.access.create_group(&by, "", &wanted).await.expect("a group");
    let own = world.grant("user:eve", "run", "role:db").await;
    world.grant("group:web-team", "operator", "role:app").await;
    let rights = world.rights(eve, Preset::Viewer).await;
    assert!(on(&rights, Permission::View, "fleet") && !on(&rights, Permission::Change, "fleet"));
    assert!(on(&rights, Permission::Change, "role:app") && !on(&rights, Permission::Change, "role:db"));
    assert!(on(&rights, Permission::Run, "role:db") && on(&rights, Permission::Run, "role:app"));
    let to_group = Subject::Group(name);
    assert_eq!(world.access.grants(Some(&to_group), "~", 10).await.expect("a list").len(), 1);
    assert_eq!(world.access.grants(None, "~", 10).await.expect("a list")[1].id, own.id, "the newest first");
    assert_eq!(world.access.user("eve").await.expect("a user").grants, 2);
    let leave = UserGroupUpdate { remove: vec![login], ..UserGroupUpdate::default() };
    let group = world.access.update_group(&by, "", &group.id.to_string(), &leave).await.expect("changed");
    assert!(group.members.is_empty());
    let rights = world.rights(eve, Preset::Viewer).await;
    assert!(!on(&rights, Permission::Change, "role:app") && on(&rights, Permission::Run, "role:db"));
    world.access.delete_group(&by, "", "web-team").await.expect("removed");
    assert_eq!(world.access.grants(None, "~", 10).await.expect("a list").len(), 1, "its grants go with it");
    world.access.take_grant(&by, own.id, "").await.expect("taken away");
    assert_eq!(world.rights(eve, Preset::Viewer).await, Rights::of(Preset::Viewer));
}

async fn a_grant_on_a_node_goes_with_the_node(db: Db) {
    let world = World::new(db);
    world.user("root", Preset::Administrator).await;
    let eve = world.user("eve", Preset::None).await;
    let name = world.node("web-1", "app").await;
    world.grant("user:eve", "view", "node:web-1").await;
    let sees = async |node: &NodeName| {
        let rights = world.rights(eve, Preset::None).await;
        let (roles, labels) = Default::default();
        rights.on_node(Permission::View, Place { name: node, roles: &roles, labels: &labels })
    };
    assert!(sees(&name).await);
    let renamed = world.db.write(|mut tx: Tx| async move {
        sqlx::query("UPDATE node SET name = 'web-9'").execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    renamed.await.expect("renamed");
    assert!(!sees(&name).await && sees(&NodeName::parse("web-9").expect("a name")).await);
    let gone = world.db.write(|mut tx: Tx| async move {
        sqlx::query("DELETE FROM node_role").execute(tx.conn()).await?;
        sqlx::query("DELETE FROM node").execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    gone.await.expect("gone");
    assert_eq!(world.rights(eve, Preset::None).await, Rights::of(Preset::None), "good for nothing");
}

async fn of_two_last_administrators_one_stays(db: Db) {
    let world = World::new(db);
    for login in ["anna", "bert"] {
        world.user(login, Preset::None).await;
    }
    let anna = world.grant("user:anna", "administrator", "fleet").await.id;
    let bert = world.grant("user:bert", "administrator", "fleet").await.id;
    let by = Principal::system();
    let (first, second) = tokio::join!(world.access.take_grant(&by, anna, ""), world.access.take_grant(&by, bert, ""));
    let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).map(|r| r.code).collect();
    assert_eq!(refused, ["last_administrator"], "of two at once one is refused");
    assert_eq!(world.access.grants(None, "~", 10).await.expect("a list").len(), 1);
}
