//! Rights: what somebody may do, and where. Pure: the union of grants, held to what a token was made for.
//!
//! Two questions are asked. *On a node*: is the node in the scope of a grant? *On a scope*, for an object of it: does a
//! grant cover all nodes that are in the scope, and all that will ever be? A role that has only nodes with a certain
//! label is not covered by a grant for that label, since its next node may have none.

use std::collections::BTreeSet;

use super::{Permission, Preset, UserGroupName};
use crate::{
    fleet::{Labels, NodeName, RoleName, Scope},
    id::GrantId,
};

/// What is asked of a node to tell whether it is in a scope.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Its roles.
    pub roles: &'a BTreeSet<RoleName>,
    /// Its labels.
    pub labels: &'a Labels,
}

/// Finds a node by name; nothing when it isn't there.
pub type Find<'f, 'a> = &'f dyn Fn(&NodeName) -> Option<Place<'a>>;

/// Where a right comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// The user's own preset, over the whole fleet.
    Preset(Preset),
    /// A grant; to the user, or to a group that the user is in.
    Grant(GrantId, Option<UserGroupName>),
}

/// Permissions over the nodes that are in all of some scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// What.
    pub permissions: BTreeSet<Permission>,
    /// Where: in each of them. Without any, over the whole fleet.
    pub scopes: BTreeSet<Scope>,
    /// Where it comes from.
    pub via: Via,
}

impl Right {
    /// A right over one scope.
    pub fn new(permissions: BTreeSet<Permission>, scope: Scope, via: Via) -> Self {
        let scopes = Some(scope).filter(|s| *s != Scope::Fleet).into_iter().collect();
        Self { permissions, scopes, via }
    }

    fn has_node(&self, node: Place<'_>) -> bool {
        self.scopes.iter().all(|s| s.contains(node.name, node.roles, node.labels))
    }

    fn covers(&self, scope: &Scope, find: Find<'_, '_>) -> bool {
        self.scopes.iter().all(|s| covers(s, scope, find))
    }
}

/// What somebody may do: the union of rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights(pub Vec<Right>);

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().collect())
    }
}

impl Rights {
    /// The rights of a preset over the whole fleet.
    pub fn of(preset: Preset) -> Self {
        Self(vec![Right::new(preset.permissions(), Scope::Fleet, Via::Preset(preset))])
    }

    fn with(&self, permission: Permission) -> impl Iterator<Item = &Right> {
        self.0.iter().filter(move |r| r.permissions.contains(&permission))
    }

    /// Returns whether a permission is held over the whole fleet.
    pub fn is_fleet(&self, permission: Permission) -> bool {
        self.with(permission).any(|r| r.scopes.is_empty())
    }

    /// Returns whether a permission is held at all.
    pub fn is_anywhere(&self, permission: Permission) -> bool {
        self.with(permission).next().is_some()
    }

    /// Returns whether a permission is held on a node.
    pub fn on_node(&self, permission: Permission, node: Place<'_>) -> bool {
        self.with(permission).any(|r| r.has_node(node))
    }

    /// Returns whether a permission is held over all that a scope is for, also in the future.
    pub fn on_scope(&self, permission: Permission, scope: &Scope, find: Find<'_, '_>) -> bool {
        self.with(permission).any(|r| r.covers(scope, find))
    }

    /// Returns the rights that allow something over a scope, for an explanation.
    pub fn because(&self, permission: Permission, scope: &Scope, find: Find<'_, '_>) -> Vec<&Right> {
        self.with(permission).filter(|r| r.covers(scope, find)).collect()
    }

    /// Returns whether these are at least the rights of somebody else.
    pub fn covers(&self, other: &Self, find: Find<'_, '_>) -> bool {
        let has = |permission: Permission, there: &Right| {
            self.with(permission).any(|own| {
                // A node that is in all scopes of the other is in each of them: one that lies within is enough.
                own.scopes.iter().all(|s| there.scopes.iter().any(|t| covers(s, t, find)))
            })
        };
        other.0.iter().all(|there| there.permissions.iter().all(|p| has(*p, there)))
    }

    /// Returns what is left of the rights when only these permissions in this scope count. One's own account lies in no
    /// scope.
    #[must_use]
    pub fn held_to(self, permissions: &BTreeSet<Permission>, scope: &Scope) -> Self {
        let mut held = Vec::new();
        for mut right in self.0 {
            right.permissions.retain(|p| permissions.contains(p));
            if right.permissions.remove(&Permission::OwnAccount) {
                held.push(Right { permissions: [Permission::OwnAccount].into(), ..right.clone() });
            }
            if !right.permissions.is_empty() {
                right.scopes.extend(Some(scope.clone()).filter(|s| *s != Scope::Fleet));
                held.push(right);
            }
        }
        Self(held)
    }

    /// Returns what is held at all.
    pub fn permissions(&self) -> BTreeSet<Permission> {
        self.0.iter().flat_map(|r| r.permissions.iter().copied()).collect()
    }

    /// Returns what is held somewhere where it counts.
    pub fn effective(&self) -> BTreeSet<Permission> {
        let counts = |p: &Permission| !Permission::FLEET_ONLY.contains(p) || self.is_fleet(*p);
        self.permissions().into_iter().filter(counts).collect()
    }

    /// Returns the lowest preset that includes all that is held anywhere: how grave it is to be this one.
    pub fn level(&self) -> Preset {
        let held = self.permissions();
        let fits = |p: &Preset| held.iter().all(|h| p.grants(*h));
        Preset::ALL.into_iter().find(fits).unwrap_or(Preset::Administrator)
    }

    /// Returns the highest preset, of those up to a bound, that is held in full somewhere.
    pub fn highest(&self, most: Preset) -> Preset {
        let held = self.permissions();
        let fits = |p: &Preset| *p <= most && p.permissions().iter().all(|h| held.contains(h));
        Preset::ALL.into_iter().rev().find(fits).unwrap_or(Preset::None)
    }
}

/// Whether each node that is ever in one scope is in another.
fn covers(outer: &Scope, inner: &Scope, find: Find<'_, '_>) -> bool {
    match (outer, inner) {
        (Scope::Fleet, _) => true,
        (Scope::Selector(outer), Scope::Selector(inner)) => outer.is_within(inner),
        (Scope::Selector(_) | Scope::Role(_), Scope::Node(name)) => {
            find(name).is_some_and(|n| outer.contains(n.name, n.roles, n.labels))
        }
        (outer, inner) => outer == inner,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};

    use super::*;

    #[derive(Debug, Clone)]
    struct Node {
        name: NodeName,
        roles: BTreeSet<RoleName>,
        labels: Labels,
    }

    impl Node {
        fn place(&self) -> Place<'_> {
            Place { name: &self.name, roles: &self.roles, labels: &self.labels }
        }
    }

    fn scope() -> impl Strategy<Value = Scope> {
        const ALL: &[&str] = &[
            "fleet",
            "role:app",
            "role:db",
            "label:env=prod",
            "label:env=prod,tier=a",
            "label:tier=a",
            "node:n0",
            "node:n1",
        ];
        select(ALL).prop_map(|s| s.parse().expect("a scope"))
    }

    fn nodes() -> impl Strategy<Value = Vec<Node>> {
        let one = (collection::btree_set(select(["app", "db"].as_slice()), 0..=2), any::<bool>(), any::<bool>());
        collection::vec(one, 1..5).prop_map(|all| {
            let node = |(i, (roles, env, tier)): (usize, (BTreeSet<&str>, bool, bool))| {
                let mut labels = Labels::new();
                if env {
                    labels.insert("env".parse().expect("a key"), "prod".parse().expect("a value"));
                }
                if tier {
                    labels.insert("tier".parse().expect("a key"), "a".parse().expect("a value"));
                }
                Node {
                    name: NodeName::parse(format!("n{i}")).expect("a name"),
                    roles: roles.into_iter().map(|r| RoleName::parse(r).expect("a role")).collect(),
                    labels,
                }
            };
            all.into_iter().enumerate().map(node).collect()
        })
    }

    fn permissions() -> impl Strategy<Value = BTreeSet<Permission>> {
        collection::btree_set(select(Permission::ALL.as_slice()), 1..4)
    }

    fn rights() -> impl Strategy<Value = Rights> {
        let one = (permissions(), scope(), proptest::option::of(scope()));
        let make = |(permissions, scope, bound): (_, _, Option<Scope>)| {
            let mut right = Right::new(permissions, scope, Via::Preset(Preset::Viewer));
            right.scopes.extend(bound.filter(|b| *b != Scope::Fleet));
            right
        };
        collection::vec(one.prop_map(make), 0..4).prop_map(Rights)
    }

    proptest! {
        /// The union of grants whose scope has the node, and nothing else.
        #[test]
        fn a_node_is_had_through_a_grant_whose_scopes_have_it(rights in rights(), nodes in nodes()) {
            for node in &nodes {
                for permission in Permission::ALL {
                    let model = rights.0.iter().any(|r| {
                        r.permissions.contains(&permission)
                            && r.scopes.iter().all(|s| s.contains(&node.name, &node.roles, &node.labels))
                    });
                    prop_assert_eq!(rights.on_node(permission, node.place()), model);
                    prop_assert!(!rights.is_fleet(permission) || model);
                    prop_assert!(!model || rights.is_anywhere(permission));
                }
            }
        }

        /// Who may write an object of a scope may change every node in it.
        #[test]
        fn a_scope_is_had_only_with_all_its_nodes(rights in rights(), nodes in nodes(), scope in scope()) {
            let find = |name: &NodeName| nodes.iter().find(|n| n.name == *name).map(Node::place);
            for permission in Permission::ALL {
                let had = rights.on_scope(permission, &scope, &find);
                prop_assert_eq!(had, !rights.because(permission, &scope, &find).is_empty());
                for node in nodes.iter().filter(|n| scope.contains(&n.name, &n.roles, &n.labels)) {
                    prop_assert!(!had || rights.on_node(permission, node.place()), "{scope} has {node:?}");
                }
                if scope == Scope::Fleet {
                    prop_assert_eq!(had, rights.is_fleet(permission));
                }
            }
        }

        /// Who has at least somebody's rights may do all that this one may: nobody gives what he hasn't.
        #[test]
        fn covering_is_being_able_to_do_the_same(mine in rights(), theirs in rights(), nodes in nodes(), scope in scope()) {
            let find = |name: &NodeName| nodes.iter().find(|n| n.name == *name).map(Node::place);
            prop_assert!(mine.covers(&mine, &find));
            if mine.covers(&theirs, &find) {
                for permission in Permission::ALL {
                    for node in &nodes {
                        let (m, t) = (mine.on_node(permission, node.place()), theirs.on_node(permission, node.place()));
                        prop_assert!(m || !t);
                    }
                    let (m, t) =
                        (mine.on_scope(permission, &scope, &find), theirs.on_scope(permission, &scope, &find));
                    prop_assert!(m || !t, "{permission:?} on {scope}");
                }
            }
        }

        /// A token may neither more than its owner nor more than it was made for.
        #[test]
        fn a_bound_takes_and_never_gives(
            rights in rights(), nodes in nodes(), only in permissions(), bound in scope(), scope in scope()
        ) {
            let find = |name: &NodeName| nodes.iter().find(|n| n.name == *name).map(Node::place);
            let held = rights.clone().held_to(&only, &bound);
            prop_assert!(rights.covers(&held, &find));
            let most = Right::new(only.clone(), bound.clone(), Via::Preset(Preset::Viewer));
            let most = Rights([vec![most], Rights::of(Preset::None).0].concat());
            prop_assert!(most.covers(&held, &find));
            for permission in Permission::ALL.into_iter().filter(|p| *p != Permission::OwnAccount) {
                for node in &nodes {
                    let both =
                        rights.on_node(permission, node.place()) && most.on_node(permission, node.place());
                    prop_assert_eq!(held.on_node(permission, node.place()), both);
                }
                let wide = held.on_scope(permission, &scope, &find);
                prop_assert!(!wide || rights.on_scope(permission, &scope, &find));
            }
        }
    }

    #[test]
    fn a_scope_is_not_covered_by_what_its_nodes_happen_to_share() {
        let labels: Labels = [("env".parse().expect("a key"), "prod".parse().expect("a value"))].into();
        let (name, roles) = (NodeName::parse("n0").expect("a name"), [RoleName::parse("app").expect("a role")].into());
        let find = |asked: &NodeName| (*asked == name).then_some(Place { name: &name, roles: &roles, labels: &labels });
        let check = |have: &str, asked: &str, expected: bool| {
            let scope = have.parse().expect("a scope");
            let rights = Rights(vec![Right::new([Permission::Change].into(), scope, Via::Preset(Preset::Operator))]);
            let asked: Scope = asked.parse().expect("a scope");
            assert_eq!(rights.on_scope(Permission::Change, &asked, &find), expected, "{have} over {asked}");
            assert!(!rights.on_scope(Permission::Run, &asked, &find));
        };
        check("fleet", "role:app", true);
        check("role:app", "fleet", false);
        check("role:app", "role:app", true);
        check("label:env=prod", "role:app", false);
        check("role:app", "node:n0", true);
        check("role:db", "node:n0", false);
        check("label:env=prod", "node:n0", true);
        check("label:env=prod", "label:env=prod,tier=a", true);
        check("label:env=prod,tier=a", "label:env=prod", false);
        check("node:n0", "node:n0", true);
        check("node:n0", "role:app", false);
        check("role:app", "node:gone", false);
    }

    #[test]
    fn the_level_counts_what_is_held_anywhere() {
        let check = |permissions: &[Permission], expected: Preset| {
            let permissions = permissions.iter().copied().collect();
            let rights =
                Rights(vec![Right::new(permissions, "role:app".parse().expect("a scope"), Via::Preset(Preset::None))]);
            assert_eq!(rights.level(), expected);
        };
        check(&[], Preset::None);
        check(&[Permission::View], Preset::Viewer);
        check(&[Permission::Run], Preset::Operator);
        check(&[Permission::Protect], Preset::Administrator);
        assert_eq!(Rights::of(Preset::Operator).highest(Preset::Administrator), Preset::Operator);
        assert_eq!(Rights::of(Preset::Operator).highest(Preset::Viewer), Preset::Viewer);
        assert_eq!(Rights::default().highest(Preset::Administrator), Preset::None);
    }
}
