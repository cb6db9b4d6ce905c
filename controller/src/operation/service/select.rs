//! Which nodes an operation runs on, and what it runs there.

use std::collections::{BTreeMap, BTreeSet};

use lampas_runtime::random;
use lampas_shared::{
    TextError,
    desired::Spec,
    fleet::{NodeName, Scope},
    host::{EnvName, UserName},
    id::NodeId,
    object::{Body, Kind, ObjectName},
    operation::{OperationSpec, Parameter, SecretUse, Work, fill_with},
    secret::Secret,
};

use super::Operations;
use crate::{
    compile::NodeInput,
    db::DbError,
    fleet,
    host::Stored,
    operation::{
        OperationError,
        store::{NewRun, ScriptAt},
    },
    takeover,
};

/// Why nothing runs on a node that observes.
fn only_observes(name: &NodeName) -> String {
    format!("{name} only observes: take it over first (lampasctl node manage {name})")
}

/// The selection, resolved.
pub(in crate::operation) struct Selected {
    pub(super) members: Vec<NodeInput>,
    pub(in crate::operation) runs: Vec<NewRun>,
    pub(super) connected: Vec<bool>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) problems: Vec<String>,
    /// Those of the nodes that are known to want an operator's signature for this.
    pub(in crate::operation) want_signature: BTreeSet<NodeId>,
}

impl Operations {
    /// Resolves a selection: connected nodes first, then by name.
    pub(super) async fn select(
        &self,
        spec: &OperationSpec,
        only: Option<&[NodeId]>,
    ) -> Result<Selected, OperationError> {
        let (members, observing, want_signature) = self
            .db()
            .read(|mut tx| async move {
                let members = fleet::members(&mut tx).await?;
                // Only what root runs is known here to be root's.
                let is_root = spec.user == UserName::root() && !matches!(spec.work, Work::Probe { .. });
                let wanting = if is_root { fleet::policy::wanting(&mut tx).await? } else { BTreeSet::new() };
                let observing = takeover::observing(&mut tx).await?;
                Ok::<_, DbError>(tx.done((members, observing, wanting)))
            })
            .await?;
        for scope in &spec.on {
            if let Scope::Node(name) = scope
                && members.iter().all(|m| m.name != *name)
            {
                return Err(OperationError::Refused(format!("there is no node {name}")));
            }
        }
        let is_wanted = |node: &&NodeInput| match only {
            Some(only) => only.contains(&node.id),
            None => spec.on.iter().any(|scope| scope.contains(&node.name, &node.roles, &node.labels)),
        };
        let mut nodes: Vec<(bool, &NodeInput)> =
            members.iter().filter(is_wanted).map(|n| (!self.gate().connected(n.id), n)).collect();
        nodes.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        let mut selected = Selected {
            members: Vec::new(),
            runs: Vec::new(),
            connected: Vec::new(),
            parameters: Vec::new(),
            problems: Vec::new(),
            want_signature,
        };
        let secrets = self.secrets(spec, &nodes).await?;
        let scripts = match &spec.work {
            Work::Command { .. } | Work::Draft { .. } | Work::Probe { .. } => None,
            Work::Script { name, .. } => Some((name, self.scripts(spec, name, &nodes, &mut selected).await?)),
        };
        for (is_away, node) in nodes {
            let script = scripts.as_ref().map(|(_, found)| found.get(&node.id).cloned());
            let refused = match (&script, &scripts) {
                (Some(None), Some((name, _))) => Some(format!("there is no script {name} on this node")),
                _ => None,
            };
            let (secrets, not_entitled) = secrets.get(&node.id).cloned().unwrap_or_default();
            let observes = observing.contains(&node.id);
            let refused = observes.then(|| only_observes(&node.name)).or(refused).or(not_entitled);
            selected.connected.push(!is_away);
            selected.runs.push(NewRun {
                run: random::new_id(),
                node: node.id,
                name: node.name.to_string(),
                script: script.flatten(),
                secrets,
                refused,
                observes,
            });
        }
        selected.members = members;
        Ok(selected)
    }

    /// Finds, for each node, the values of the secrets that are given as parameters; or why there is none.
    async fn secrets(
        &self,
        spec: &OperationSpec,
        nodes: &[(bool, &NodeInput)],
    ) -> Result<BTreeMap<NodeId, (BTreeMap<EnvName, SecretUse>, Option<String>)>, OperationError> {
        let mut found: BTreeMap<NodeId, (BTreeMap<EnvName, SecretUse>, Option<String>)> = BTreeMap::new();
        if spec.secrets.is_empty() {
            return Ok(found);
        }
        let view = self.0.desired.view().await?;
        for (parameter, name) in &spec.secrets {
            let all: Vec<_> = view
                .all
                .objects
                .values()
                .filter(|o| o.spec.name == *name && o.spec.body.kind() == Kind::Secret)
                .collect();
            if all.is_empty() {
                let why = format!("there is no secret {name}; make it: lampasctl secret set {name} --scope SCOPE");
                return Err(OperationError::Field(TextError::new("secrets", name.as_str(), why)));
            }
            for (_, node) in nodes {
                let (values, refused) = found.entry(node.id).or_default();
                let is_for = |o: &&&Stored| o.spec.scope.contains(&node.name, &node.roles, &node.labels);
                match all.iter().filter(is_for).max_by_key(|o| o.spec.scope.level()).map(|o| &o.spec.body) {
                    Some(Body::Secret(Secret { value: Some(value), .. })) => {
                        values.insert(parameter.variable(), SecretUse { name: name.clone(), value: *value });
                    }
                    _ => {
                        let scopes: Vec<String> = all.iter().map(|o| o.spec.scope.to_string()).collect();
                        let scopes = scopes.join(" and for ");
                        let why = format!("this node is not entitled to secret {name}, which is for {scopes}");
                        refused.get_or_insert(why);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Finds the script of this name that is in force on each node, and checks the parameters against each of them.
    async fn scripts(
        &self,
        spec: &OperationSpec,
        name: &ObjectName,
        nodes: &[(bool, &NodeInput)],
        selected: &mut Selected,
    ) -> Result<BTreeMap<NodeId, ScriptAt>, OperationError> {
        let Work::Script { parameters, .. } = &spec.work else { return Ok(BTreeMap::new()) };
        let view = self.0.desired.view().await?;
        let mut filled = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (_, node) in nodes {
            let Some(class) = view.compiled.class(node.id) else { continue };
            let Some(resource) = class.resources.iter().find(|r| r.kind == Kind::Script && r.name == *name) else {
                continue;
            };
            if let Spec::Sealed(sealed) = &resource.spec
                && let Spec::File { path, .. } = &*sealed.base
            {
                // What stands there has a digest that only its node knows: whether it is this script can't be told.
                let why = format!(
                    "script {name} holds secrets, so that its version can't be checked; run {path} as a command"
                );
                selected.problems.push(why);
                filled.insert(resource.object, None);
                continue;
            }
            let Spec::File { path, content, .. } = &resource.spec else { continue };
            let environment = filled.entry(resource.object).or_insert_with(|| {
                let object = view.all.objects.get(&resource.object)?;
                let Body::Script(script) = &object.spec.body else { return None };
                if selected.parameters.is_empty() {
                    selected.parameters.clone_from(&script.parameters);
                }
                match fill_with(&script.parameters, parameters, &spec.secrets.keys().collect()) {
                    Ok(environment) => Some(environment),
                    // Nothing starts while there is a problem; where it would run is shown all the same.
                    Err(error) => {
                        selected.problems.push(error.to_string());
                        Some(Default::default())
                    }
                }
            });
            if let Some(environment) = environment {
                let script = ScriptAt { path: path.to_string(), hash: content.hash, environment: environment.clone() };
                found.insert(node.id, script);
            }
        }
        if filled.is_empty() && !nodes.is_empty() {
            selected.problems.push(format!("there is no script {name} on any of these nodes"));
        }
        selected.problems.dedup();
        Ok(found)
    }
}
