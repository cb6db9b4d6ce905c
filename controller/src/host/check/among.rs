//! What the fleet has to say of a spec: the object that stands under its name, and the names in its templates that
//! stand for nothing.

use std::collections::BTreeSet;

use lampas_api::{Finding, Severity, SpecCheck, StandingObject};
use lampas_shared::{
    object::{Body, Kind, ObjectName, ObjectSpec},
    template::Source,
};

use crate::{access::Reach, change::View, compile};

/// Adds to a check what only the fleet knows.
pub(crate) fn look(raw: &serde_json::Value, view: &View, reach: &Reach, found: &mut SpecCheck) {
    let Ok(spec) = serde_json::from_value::<ObjectSpec>(raw.clone()) else { return };
    let key = spec.key();
    let is_it = |o: &&crate::host::Stored| o.spec.name == key.name && o.spec.key() == key;
    let standing = view.all.objects.values().find(is_it).filter(|_| reach.has_scope(&key.scope));
    found.standing = standing.map(|o| StandingObject { id: o.id, revision: o.revision });
    let used = compile::template::uses(&spec.body);
    if used.is_empty() {
        return;
    }
    // What lies where somebody sees nothing is not there for them. What is for one of their nodes is seen, so that this says
    // nothing else than a plan does.
    let of_kind = |kind: Kind| -> BTreeSet<&ObjectName> {
        let is_seen = |o: &&crate::host::Stored| o.spec.body.kind() == kind && reach.has_scope(&o.spec.scope);
        let all = view.all.objects.values().filter(is_seen);
        all.map(|o| &o.spec.name).collect()
    };
    let (vars, secrets) = (of_kind(Kind::Var), of_kind(Kind::Secret));
    // Without a node nothing is put together, and nothing refused.
    let has_node = view.members().iter().any(|m| spec.scope.contains(&m.name, &m.roles, &m.labels));
    let severity = if has_node { Severity::Error } else { Severity::Warning };
    for source in used {
        let (kind, name, is_known) = match &source {
            Source::Var(name) => ("variable", name, vars.contains(name)),
            Source::Secret(name) => ("secret", name, secrets.contains(name)),
            Source::Fact(_) => continue,
        };
        if !is_known {
            let message = format!("{source} is used, and there is no {kind} {name}: make it first");
            found.problems.push(Finding {
                field: field(&spec.body).into(),
                line: None,
                column: None,
                severity,
                message,
            });
        }
    }
}

/// The field that a body's templates stand in.
fn field(body: &Body) -> &'static str {
    match body {
        Body::Cron(_) => "environment",
        Body::User(_) => "password",
        _ => "content",
    }
}
