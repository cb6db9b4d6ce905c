//! What a node must be, as manifests: for whoever goes on without LAMPAS, or comes back.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    host::{
        AptSource, Aspect, Directory, Encoding, EnvName, Group, HostsEntry, Link, ManagedFile, Password, PasswordWant,
        Script, Service, Sudoers, Sysctl, SysctlKey, UnitName, User,
    },
    object::{Body, Kind, ObjectSpec},
    template::{Sealed, Template},
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
                // An entry of hosts is one object, however many names it claims; so is a unit, of which each part says some.
                match found.iter_mut().find(|o| o.key() == spec.key()) {
                    Some(first) => merge(&mut first.body, spec.body),
                    None => found.push(spec),
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
        Spec::User { want, .. } => Body::User(want.clone()),
        Spec::Keys { home, keys, exclusive, .. } => Body::User(User {
            home: home.clone(),
            authorized_keys: Some(keys.clone()),
            exclusive_keys: *exclusive,
            ..User::default()
        }),
        // A hash comes from a secret, and is said where that is.
        Spec::Password { want: PasswordWant::Locked, .. } => {
            Body::User(User { password: Password::parse("locked").ok(), ..User::default() })
        }
        Spec::Password { .. } => return None,
        Spec::Group { ensure, gid, system, .. } => {
            Body::Group(Group { ensure: *ensure, gid: *gid, system: *system, members: None })
        }
        Spec::Members { users, .. } => Body::Group(Group { members: Some(users.clone()), ..Group::default() }),
        Spec::Package { want, .. } => Body::Package(want.clone()),
        Spec::Sealed(sealed) => return sealed_body(resource, sealed),
        Spec::Unit { unit, aspect, is_so } => {
            let mut service = Service { unit_name: unit_name(unit, resource), ..Service::default() };
            match aspect {
                Aspect::Masked => service.masked = Some(*is_so),
                Aspect::Enabled => service.enabled = Some(*is_so),
                Aspect::Running => service.running = Some(*is_so),
            }
            Body::Service(service)
        }
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
        Spec::Link { path, to } => {
            let on_change = resource.on_change.clone();
            Body::Link(Link { path: path.clone(), target: to.clone(), on_change })
        }
        Spec::File { path, content: described, owner, group, mode, validate } => {
            let bytes = described.inline.clone().or_else(|| content(&described.hash))?;
            let (path, owner, group, mode) = (path.clone(), owner.clone(), group.clone(), *mode);
            let on_change = resource.on_change.clone();
            if resource.kind == Kind::Service {
                let text = Some(String::from_utf8(bytes).ok()?);
                let rest = path.as_str().strip_prefix("/etc/systemd/system/")?;
                let (unit, is_override) = rest.split_once(".d/").map_or((rest, false), |(unit, _)| (unit, true));
                let unit_name = unit_name(&UnitName::parse(unit).ok()?, resource);
                let (unit, drop_in) = if is_override { (None, text) } else { (text, None) };
                Body::Service(Service { unit_name, unit, drop_in, on_change, ..Service::default() })
            } else if resource.kind == Kind::AptSource {
                let mut source = AptSource::default();
                if AptSource::is_key_path(path.as_str()) {
                    source.key = AptSource::with_key_bytes(&bytes);
                } else {
                    source.take_list(std::str::from_utf8(&bytes).ok()?).ok()?;
                }
                Body::AptSource(source)
            } else if resource.kind == Kind::Sysctl {
                let (key, value) = lampas_render::sysctl::assigned(std::str::from_utf8(&bytes).ok()?).pop()?;
                Body::Sysctl(Sysctl { key: SysctlKey::parse(key).ok()?, value })
            } else if resource.kind == Kind::Sudoers {
                Body::Sudoers(Sudoers { content: String::from_utf8(bytes).ok()? })
            } else if resource.kind == Kind::Script {
                let path = Some(path).filter(|p| p.as_str() != format!("/usr/local/bin/{}", resource.name));
                let content = String::from_utf8(bytes).ok()?;
                Body::Script(Script {
                    path,
                    content,
                    template: false,
                    owner,
                    group,
                    mode,
                    parameters: Vec::new(),
                    on_change,
                })
            } else {
                let (content, encoding) = ManagedFile::encode(&bytes);
                let validate = validate.clone();
                Body::File(ManagedFile {
                    path,
                    content,
                    encoding,
                    template: false,
                    owner,
                    group,
                    mode,
                    validate,
                    on_change,
                })
            }
        }
    })
}

/// Adds what another part of the same object says.
fn merge(first: &mut Body, more: Body) {
    match (first, more) {
        (Body::Service(first), Body::Service(more)) => merge_service(first, more),
        // By target: the keys and the password before the account, the group before its members.
        (Body::User(first), Body::User(more)) => {
            let (authorized_keys, exclusive_keys) = (first.authorized_keys.take(), first.exclusive_keys);
            let password = first.password.take().or_else(|| more.password.clone());
            *first = User { authorized_keys, exclusive_keys, password, ..more };
        }
        // By target: the key before the list.
        (Body::AptSource(first), Body::AptSource(more)) => {
            let key = std::mem::take(&mut first.key);
            *first = AptSource { key, ..more };
        }
        (Body::Group(first), Body::Group(more)) => first.members = more.members,
        _ => {}
    }
}

fn merge_service(first: &mut Service, more: Service) {
    first.enabled = first.enabled.or(more.enabled);
    first.masked = first.masked.or(more.masked);
    first.running = first.running.or(more.running);
    first.unit = first.unit.take().or(more.unit);
    first.drop_in = first.drop_in.take().or(more.drop_in);
    if first.on_change.is_empty() {
        first.on_change = more.on_change;
    }
}

/// The unit, where it is not the object's name.
fn unit_name(unit: &UnitName, resource: &Resource) -> Option<UnitName> {
    let is_name = UnitName::of(resource.name.as_str()).is_ok_and(|named| named == *unit);
    (!is_name).then(|| unit.clone())
}

/// What holds secrets, as a template that names them; the values leave no node.
fn sealed_body(resource: &Resource, sealed: &Sealed) -> Option<Body> {
    match &*sealed.base {
        Spec::Password { .. } => {
            let password = Some(Password::parse(sealed.template(Sealed::PASSWORD)?).ok()?);
            Some(Body::User(User { password, ..User::default() }))
        }
        Spec::Cron(job) => {
            let mut job = job.clone();
            job.environment.values_mut().for_each(|value| *value = Template::escape(value));
            for field in sealed.texts.keys() {
                job.environment.insert(EnvName::parse(field.as_str()).ok()?, sealed.template(field)?);
            }
            job.template = true;
            Some(Body::Cron(job))
        }
        Spec::File { path, owner, group, mode, validate, .. } => {
            let content = sealed.template(Sealed::CONTENT)?;
            let (path, owner, group, mode) = (path.clone(), owner.clone(), group.clone(), *mode);
            let on_change = resource.on_change.clone();
            Some(if resource.kind == Kind::Script {
                let path = Some(path).filter(|p| p.as_str() != format!("/usr/local/bin/{}", resource.name));
                let parameters = Vec::new();
                Body::Script(Script { path, content, template: true, owner, group, mode, parameters, on_change })
            } else {
                let (encoding, validate) = (Encoding::Utf8, validate.clone());
                let template = true;
                Body::File(ManagedFile { path, content, encoding, template, owner, group, mode, validate, on_change })
            })
        }
        _ => None,
    }
}
