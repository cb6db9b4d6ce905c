//! What somebody may enrol who manages a part of the fleet alone.
//!
//! A node that comes in gets what is for its roles and labels. Who manages nodes of a role may let in nodes of that role,
//! and of no other: each role and label that a token gives must be one over which its maker manages nodes. A token that
//! names a node which is there lets that node in anew, with what it has; so its maker must manage that node. All of it is
//! asked again when the token is used: rights end, nodes get other roles, and names are taken meanwhile.

use lampas_shared::{
    access::{Permission, Place, Right, Rights},
    fleet::{Labels, NodeName, RoleName, Scope, Selector},
    id::NodeId,
};

use crate::{
    access::{Outside, reach::place},
    compile::NodeInput,
};

/// What a token would let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrant<'a> {
    pub(super) roles: &'a [RoleName],
    pub(super) labels: &'a Labels,
    pub(super) name: Option<&'a NodeName>,
    /// The node of that name that is there.
    pub(super) known: Option<NodeId>,
}

/// Returns whether rights are over a part of the fleet alone, so that there is something to ask.
pub(super) fn are_partial(rights: &Rights) -> bool {
    !rights.is_fleet(Permission::ManageNodes)
}

/// Wants that somebody may let in a node.
///
/// # Errors
/// With what lies outside, in words.
pub(super) fn within(who: &str, rights: &Rights, entrant: Entrant<'_>, members: &[NodeInput]) -> Result<(), Outside> {
    if !are_partial(rights) {
        return Ok(());
    }
    let outside = |what: String| Err(Outside { who: who.to_owned(), permission: Permission::ManageNodes, what });
    if let Some(known) = entrant.known {
        let there = members.iter().find(|m| m.id == known);
        let named = entrant.name.map_or_else(|| known.to_string(), ToString::to_string);
        return match there {
            Some(node) if !rights.on_node(Permission::ManageNodes, place(node)) => outside(named),
            Some(_) if entrant.roles.is_empty() && entrant.labels.is_empty() => Ok(()),
            Some(_) => outside(format!(
                "other roles and labels of {named}, which is there and would keep its own; leave them out"
            )),
            None => outside(format!("{named}, which was revoked")),
        };
    }
    let roles = entrant.roles.iter().cloned().collect();
    let nameless = NodeName::parse("a-new-node").expect("it is a name");
    let name = entrant.name.unwrap_or(&nameless);
    let new = Place { name, roles: &roles, labels: entrant.labels };
    // A scope that names a node is of a node that is there.
    let is_for = |r: &&Right| {
        r.permissions.contains(&Permission::ManageNodes)
            && r.scopes.iter().all(|s| !matches!(s, Scope::Node(_)) && s.contains(new.name, new.roles, new.labels))
    };
    let own: Vec<&Right> = rights.0.iter().filter(is_for).collect();
    if own.is_empty() {
        return outside("such a node; give it a role or labels over which it is held".to_owned());
    }
    let asked = |scope: &Scope| own.iter().any(|r| r.scopes.contains(scope));
    for role in entrant.roles {
        let scope = Scope::Role(role.clone());
        if !asked(&scope) && !rights.on_scope(Permission::ManageNodes, &scope, &|_| None) {
            return outside(format!("{scope}, which the token would give"));
        }
    }
    for (key, value) in entrant.labels {
        let mut others = entrant.labels.clone();
        others.remove(key);
        let demands = |s: &Scope| matches!(s, Scope::Selector(asked) if !asked.matches(&others));
        let Ok(alone) = format!("{key}={value}").parse::<Selector>() else {
            return outside(format!("the label {key}"));
        };
        let scope = Scope::Selector(alone);
        let is_own = own.iter().any(|r| r.scopes.iter().any(demands));
        if !is_own && !rights.on_scope(Permission::ManageNodes, &scope, &|_| None) {
            return outside(format!("{scope}, which the token would give"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampas_shared::access::{Preset, Via};

    fn rights(scopes: &[&str]) -> Rights {
        let right = |scope: &&str| {
            let scope = scope.parse().expect("a scope");
            Right::new([Permission::ManageNodes].into(), scope, Via::Preset(Preset::Operator))
        };
        scopes.iter().map(right).collect()
    }

    fn member(name: &str, role: &str) -> NodeInput {
        NodeInput {
            id: lampas_runtime::random::new_id(),
            name: name.parse().expect("a name"),
            roles: [role.parse().expect("a role")].into(),
            labels: Labels::new(),
            address: None,
            facts: crate::compile::StableFacts::default(),
        }
    }

    #[test]
    fn a_token_gives_only_what_its_maker_has() {
        let check = |have: &[&str], roles: &[&str], labels: &[(&str, &str)], expected: bool| {
            let roles: Vec<RoleName> = roles.iter().map(|r| r.parse().expect("a role")).collect();
            let labels: Labels =
                labels.iter().map(|(k, v)| (k.parse().expect("a key"), v.parse().expect("a value"))).collect();
            let entrant = Entrant { roles: &roles, labels: &labels, name: None, known: None };
            let found = within("eve", &rights(have), entrant, &[]);
            assert_eq!(found.is_ok(), expected, "{have:?} over {roles:?} {labels:?}: {found:?}");
        };
        check(&["fleet"], &["db"], &[("env", "prod")], true);
        check(&["role:app"], &["app"], &[], true);
        check(&["role:app"], &[], &[], false);
        check(&["role:app"], &["db"], &[], false);
        check(&["role:app"], &["app", "db"], &[], false);
        check(&["role:app", "role:db"], &["app", "db"], &[], true);
        check(&["role:app"], &["app"], &[("env", "prod")], false);
        check(&["role:app", "label:env=prod"], &["app"], &[("env", "prod")], true);
        check(&["label:env=prod"], &[], &[("env", "prod")], true);
        check(&["label:env=prod"], &["app"], &[("env", "prod")], false);
        check(&["label:env=prod,tier=a"], &[], &[("env", "prod"), ("tier", "a")], true);
        check(&["label:env=prod,tier=a"], &[], &[("env", "prod")], false);
        check(&["label:env=prod,tier=a"], &[], &[("env", "prod"), ("tier", "a"), ("x", "y")], false);
        check(&["node:a-new-node"], &[], &[], false);
    }

    #[test]
    fn a_bound_right_gives_what_all_of_its_scopes_demand() {
        let mut both = rights(&["role:app"]);
        both.0[0].scopes.insert("label:env=prod".parse().expect("a scope"));
        let (app, labels) = (vec!["app".parse().expect("a role")], Labels::new());
        let entrant = Entrant { roles: &app, labels: &labels, name: None, known: None };
        assert!(within("eve", &both, entrant, &[]).is_err(), "it lacks the label");
        let labels: Labels = [("env".parse().expect("a key"), "prod".parse().expect("a value"))].into();
        let entrant = Entrant { roles: &app, labels: &labels, name: None, known: None };
        assert!(within("eve", &both, entrant, &[]).is_ok());
    }

    #[test]
    fn a_node_that_is_there_comes_back_by_who_manages_it() {
        let members = [member("web-1", "app"), member("db-1", "db")];
        let check = |member: &NodeInput, roles: &[RoleName]| {
            let labels = Labels::new();
            let entrant = Entrant { roles, labels: &labels, name: Some(&member.name), known: Some(member.id) };
            within("eve", &rights(&["role:app"]), entrant, &members).is_ok()
        };
        assert!(check(&members[0], &[]));
        assert!(!check(&members[0], &["app".parse().expect("a role")]), "it keeps its own");
        assert!(!check(&members[1], &[]));
        assert!(!check(&member("web-9", "app"), &[]), "revoked, or gone");
    }
}
