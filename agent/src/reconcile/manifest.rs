//! What a node must be, as manifests: for whoever goes on without LAMPAS, or comes back.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    host::{Directory, HostsEntry, Link, ManagedFile, Script, Sudoers, Sysctl, SysctlKey},
    object::{Body, Kind, ObjectSpec},
};

/// Returns the text of a manifest for each kind, by its name. What can't be said in one stands in it as a comment.
pub(super) fn of(
    resources: &[Resource],
    content: &dyn Fn(&ContentHash) -> Option<Vec<u8>>,
) -> BTreeMap<&'static str, String> {
    let mut objects: BTreeMap<&'static str, (Vec<ObjectSpec>, Vec<String>)> = BTreeMap::new();
    for resource in resources {
        let (found, missing) = objects.entry(resource.kind.as_str()).or_default();
        match body(resource, content) {
            Some(body) => {
                let (name, scope) = (resource.name.clone(), resource.scope.clone());
                let spec = ObjectSpec { name, scope, drift: resource.drift, body };
                // An entry of hosts is one object, however many names it claims.
                if !found.iter().any(|o| o.key() == spec.key()) {
                    found.push(spec);
                }
            }
            None => missing.push(format!("# {} {} can't be said in a manifest\n", resource.kind, resource.name)),
        }
    }
    let text = |(found, missing): (Vec<ObjectSpec>, Vec<String>)| {
        format!(
            "# What this node was when it was ejected. Take it up again with: lampasctl apply -f FILE\n\n{}{}",
            missing.concat(),
            lampas_manifest::export(&found)
        )
    };
    objects.into_iter().map(|(kind, parts)| (kind, text(parts))).collect()
}

fn body(resource: &Resource, content: &dyn Fn(&ContentHash) -> Option<Vec<u8>>) -> Option<Body> {
    Some(match &resource.spec {
        Spec::Unsupported { .. } => return None,
        Spec::Kernel { key, value } => Body::Sysctl(Sysctl { key: key.clone(), value: value.clone() }),
        Spec::Cron(job) => Body::Cron(job.clone()),
        Spec::Hosts { address, names, comment } => Body::Hosts(HostsEntry {
            address: Some(*address),
            names: names.clone(),
            nodes: None,
            domain: None,
            comment: comment.clone(),
        }),
        Spec::Directory { path, owner, group, mode } => {
            Body::Directory(Directory { path: path.clone(), owner: owner.clone(), group: group.clone(), mode: *mode })
        }
        Spec::Link { path, to } => Body::Link(Link { path: path.clone(), target: to.clone() }),
        Spec::File { path, content: described, owner, group, mode, validate } => {
            let bytes = described.inline.clone().or_else(|| content(&described.hash))?;
            let (path, owner, group, mode) = (path.clone(), owner.clone(), group.clone(), *mode);
            if resource.kind == Kind::Sysctl {
                let (key, value) = lampas_render::sysctl::assigned(std::str::from_utf8(&bytes).ok()?).pop()?;
                Body::Sysctl(Sysctl { key: SysctlKey::parse(key).ok()?, value })
            } else if resource.kind == Kind::Sudoers {
                Body::Sudoers(Sudoers { content: String::from_utf8(bytes).ok()? })
            } else if resource.kind == Kind::Script {
                let path = Some(path).filter(|p| p.as_str() != format!("/usr/local/bin/{}", resource.name));
                let content = String::from_utf8(bytes).ok()?;
                Body::Script(Script { path, content, owner, group, mode, parameters: Vec::new() })
            } else {
                let (content, encoding) = ManagedFile::encode(&bytes);
                Body::File(ManagedFile { path, content, encoding, owner, group, mode, validate: *validate })
            }
        }
    })
}
