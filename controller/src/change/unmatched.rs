//! Scopes that no node is in, and which ones were perhaps meant. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::EmptyScope;
use lampas_render::nearest;
use lampas_shared::fleet::Scope;

use crate::compile::NodeInput;

/// Returns which of some scopes no node is in, each once, with the nearest that a node is in.
pub(super) fn empty<'s>(scopes: impl Iterator<Item = &'s Scope>, members: &[NodeInput]) -> Vec<EmptyScope> {
    let has_node = |scope: &Scope| members.iter().any(|m| scope.contains(&m.name, &m.roles, &m.labels));
    let scopes: BTreeSet<&Scope> = scopes.collect();
    let empty = scopes.into_iter().filter(|scope| !has_node(scope));
    empty
        .map(|scope| EmptyScope {
            scope: scope.clone(),
            nearest: near(scope, members).filter(|found| found != scope && has_node(found)),
        })
        .collect()
}

fn near(scope: &Scope, members: &[NodeInput]) -> Option<Scope> {
    match scope {
        Scope::Fleet => None,
        Scope::Role(role) => {
            let roles: BTreeSet<&str> = members.iter().flat_map(|m| &m.roles).map(|r| r.as_str()).collect();
            format!("role:{}", nearest(role.as_str(), roles)?).parse().ok()
        }
        Scope::Node(name) => {
            let names: BTreeSet<&str> = members.iter().map(|m| m.name.as_str()).collect();
            format!("node:{}", nearest(name.as_str(), names)?).parse().ok()
        }
        Scope::Selector(selector) => {
            let mut there: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (key, value) in members.iter().flat_map(|m| &m.labels) {
                there.entry(key.as_str()).or_default().insert(value.as_str());
            }
            // Key and value may both be mistyped.
            let terms = selector.to_string();
            let terms = terms.split(',').map(|term| {
                let (key, value) = term.split_once('=')?;
                let key = nearest(key, there.keys().copied())?;
                let value = nearest(value, there.get(key)?.iter().copied())?;
                Some(format!("{key}={value}"))
            });
            format!("label:{}", terms.collect::<Option<Vec<_>>>()?.join(",")).parse().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::StableFacts;

    fn node(name: &str, role: &str, labels: &[(&str, &str)]) -> NodeInput {
        let label = |(key, value): &(&str, &str)| (key.parse().expect("a key"), value.parse().expect("a value"));
        NodeInput {
            id: lampas_runtime::random::new_id(),
            name: name.parse().expect("a name"),
            roles: [role.parse().expect("a role")].into(),
            labels: labels.iter().map(label).collect(),
            address: None,
            facts: StableFacts::default(),
        }
    }

    #[test]
    fn what_nobody_is_in_is_told_with_what_was_meant() {
        let members = [
            node("web-1", "app", &[("env", "prod"), ("tier", "web")]),
            node("db-1", "database", &[("env", "staging")]),
        ];
        let check = |scope: &str, expected: Option<Option<&str>>| {
            let scope: Scope = scope.parse().expect("a scope");
            let found = empty([&scope, &scope].into_iter(), &members);
            let told: Vec<_> = found.iter().map(|e| e.nearest.as_ref().map(ToString::to_string)).collect();
            let expected: Vec<_> = expected.into_iter().map(|e| e.map(str::to_owned)).collect();
            assert_eq!(told, expected, "{scope}");
        };
        check("fleet", None);
        check("role:app", None);
        check("role:apq", Some(Some("role:app")));
        check("role:databse", Some(Some("role:database")));
        check("role:nosuch", Some(None));
        check("label:env=prod", None);
        check("label:env=pord", Some(Some("label:env=prod")));
        check("label:evn=prod,tier=web", Some(Some("label:env=prod,tier=web")));
        // Each of the two is there, but on no node together.
        check("label:env=staging,tier=web", Some(None));
        check("label:colour=red", Some(None));
        check("node:web-2", Some(Some("node:web-1")));
    }

    #[test]
    fn a_fleet_without_nodes_has_nobody_in_any_scope() {
        let found = empty([&Scope::Fleet].into_iter(), &[]);
        assert_eq!(found, [EmptyScope { scope: Scope::Fleet, nearest: None }]);
    }
}
