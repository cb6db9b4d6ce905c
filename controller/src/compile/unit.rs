//! Units: what each object would put on a node that it wins wholly. Made once for the whole fleet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lampas_shared::{
    desired::{Content, ContentHash, Resource, Spec},
    fleet::Level,
    host::{
        AptSource, CronTable, FileMode, Group, GroupName, HostName, HostsEntry, HostsSource, ManagedFile, PasswordWant,
        Reaction, Script, Service, Sudoers, Sysctl, User, UserName,
    },
    object::{Body, Target},
    template::Fact,
};

use super::{NodeInput, ObjectInput, distinct_scopes, level, template};

pub(super) struct Units<'a> {
    /// By level, then by object, then by target: the order in which claims are laid over each other.
    pub(super) list: Vec<Unit<'a>>,
    /// All targets in their order; a unit names them by their place here.
    pub(super) targets: Vec<Target>,
    pub(super) blobs: BTreeMap<ContentHash, Arc<Vec<u8>>>,
}

pub(super) struct Unit<'a> {
    pub(super) object: &'a ObjectInput,
    pub(super) level: Level,
    pub(super) scope: usize,
    pub(super) targets: Vec<usize>,
    pub(super) resource: Arc<Resource>,
    pub(super) hash: ContentHash,
    /// One of the lines that `nodes = SCOPE` generates.
    pub(super) is_generated: bool,
    /// The facts in its templates, if it has any: then the resource is what it is only for a node.
    pub(super) facts: Option<BTreeSet<Fact>>,
}

impl<'a> Units<'a> {
    pub(super) fn build(named: &[&NodeInput], objects: &'a [ObjectInput]) -> Self {
        let scopes = distinct_scopes(objects);
        let mut by_name = named.to_vec();
        by_name.sort_by(|a, b| a.name.cmp(&b.name));
        let mut blobs = BTreeMap::new();
        let mut drafts: Vec<(&ObjectInput, Vec<Target>, Resource, bool)> = Vec::new();
        for object in objects {
            for (targets, spec, is_generated) in parts(object, &by_name, &mut blobs) {
                let resource = Resource {
                    target: targets[0].clone(),
                    object: object.id,
                    kind: object.spec.body.kind(),
                    name: object.spec.name.clone(),
                    scope: object.spec.scope.clone(),
                    drift: object.spec.drift,
                    provenance: object.provenance.clone(),
                    on_change: reactions(&object.spec.body, &spec),
                    spec,
                };
                drafts.push((object, targets, resource, is_generated));
            }
        }
        drafts.sort_by(|a, b| (level(a.0), a.0.id, &a.1).cmp(&(level(b.0), b.0.id, &b.1)));
        let targets: BTreeSet<&Target> = drafts.iter().flat_map(|d| &d.1).collect();
        let number: HashMap<&Target, usize> = targets.iter().copied().zip(0..).collect();
        let list = drafts
            .iter()
            .map(|(object, targets, resource, is_generated)| Unit {
                object,
                level: level(object),
                scope: scopes[&object.spec.scope],
                targets: targets.iter().map(|t| number[t]).collect(),
                hash: resource.compute_hash(),
                resource: Arc::new(resource.clone()),
                is_generated: *is_generated,
                facts: template::facts(&object.spec.body).filter(|_| template::has_text(&resource.spec)),
            })
            .collect();
        let targets = targets.into_iter().cloned().collect();
        Self { list, targets, blobs }
    }
}

/// Returns what an object puts on a node: one part, or one for each generated line. Objects are checked before they
/// are stored; one that is not usable all the same puts nothing there.
fn parts(
    object: &ObjectInput,
    nodes: &[&NodeInput],
    blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>,
) -> Vec<(Vec<Target>, Spec, bool)> {
    let spec = match &object.spec.body {
        // Values claim their names; they put nothing on a node.
        Body::Var(_) | Body::Secret(_) => {
            let kind = object.spec.body.kind().as_str().to_owned();
            Some(Spec::Unsupported { kind, hash: ContentHash::of(b"") })
        }
        Body::Hosts(entry) => return hosts(entry, nodes),
        Body::Cron(job) => Some(Spec::Cron(job.clone())),
        Body::Script(script) => script_spec(script, object.spec.name.as_str(), blobs),
        Body::File(file) => file_spec(file, blobs),
        Body::Directory(d) => {
            Some(Spec::Directory { path: d.path.clone(), owner: d.owner.clone(), group: d.group.clone(), mode: d.mode })
        }
        Body::Link(link) => Some(Spec::Link { path: link.path.clone(), to: link.target.clone() }),
        Body::Sysctl(sysctl) => return kernel_parts(sysctl, object),
        Body::Service(service) => return service_parts(service, object, blobs),
        Body::AptSource(source) => return apt_parts(source, object, blobs),
        Body::User(user) => return user_parts(user, object),
        Body::Group(group) => return group_parts(group, object),
        Body::Package(package) => {
            package.name_of(object.spec.name.as_str()).ok().map(|name| Spec::Package { name, want: package.clone() })
        }
        Body::Sudoers(sudoers) => sudoers_spec(sudoers, object.spec.name.as_str(), blobs),
    };
    let mut targets = object.spec.targets().unwrap_or_default();
    // All jobs in a user's crontab have it together, and nobody else has it beside them.
    if let Body::Cron(job) = &object.spec.body
        && job.table == CronTable::User
    {
        targets.push(Target::crontab(&job.user));
    }
    spec.filter(|_| !targets.is_empty()).map(|spec| (targets, spec, false)).into_iter().collect()
}

fn hosts(entry: &HostsEntry, nodes: &[&NodeInput]) -> Vec<(Vec<Target>, Spec, bool)> {
    let line = |address: std::net::IpAddr, names: Vec<HostName>, is_generated| {
        let targets = names.iter().map(|n| Target::host_name(n.as_str(), address.is_ipv6())).collect();
        (targets, Spec::Hosts { address, names, comment: entry.comment.clone() }, is_generated)
    };
    match entry.source() {
        Ok(HostsSource::Line(address, names)) if !names.is_empty() => vec![line(address, names.to_vec(), false)],
        Ok(HostsSource::Nodes(scope, domain)) => nodes
            .iter()
            .filter(|n| scope.contains(&n.name, &n.roles, &n.labels))
            .filter_map(|n| {
                let short = HostName::parse(n.name.as_str()).ok()?;
                let full = domain.and_then(|d| HostName::parse(format!("{}.{d}", n.name)).ok());
                Some(line(n.address?, full.into_iter().chain([short]).collect(), true))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn content(bytes: Vec<u8>, blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>) -> Content {
    let content = Content::of(&bytes);
    if content.inline.is_none() {
        blobs.entry(content.hash).or_insert_with(|| Arc::new(bytes));
    }
    content
}

fn script_spec(script: &Script, name: &str, blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>) -> Option<Spec> {
    Some(Spec::File {
        path: script.path_for(name).ok()?,
        content: content(script.content.clone().into_bytes(), blobs),
        owner: script.owner.clone(),
        group: script.group.clone(),
        mode: script.mode,
        validate: Some(lampas_shared::host::Validator::Script),
    })
}

/// A kernel setting: its file, and the running kernel's value. Both claim both, so that whoever wins one wins the other.
fn kernel_parts(sysctl: &Sysctl, object: &ObjectInput) -> Vec<(Vec<Target>, Spec, bool)> {
    let (Ok(targets), Ok(path), Ok(mode)) =
        (object.spec.targets(), Sysctl::path_for(object.spec.name.as_str()), FileMode::new(0o644))
    else {
        return Vec::new();
    };
    let file = Spec::File {
        path,
        content: Content::of(sysctl.line().as_bytes()),
        owner: UserName::root(),
        group: GroupName::root(),
        mode,
        validate: None,
    };
    let value = Spec::Kernel { key: sysctl.key.clone(), value: sysctl.plain_value() };
    let reversed = targets.iter().rev().cloned().collect();
    vec![(targets, file, false), (reversed, value, false)]
}

/// A unit of systemd: its file, what is changed about it, and what is true of it. Each part claims all that the object
/// does, so that the most specific one says everything about the unit.
fn service_parts(
    service: &Service,
    object: &ObjectInput,
    blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>,
) -> Vec<(Vec<Target>, Spec, bool)> {
    let (Ok(targets), Ok(unit)) = (object.spec.targets(), service.unit(object.spec.name.as_str())) else {
        return Vec::new();
    };
    let mut specs = Vec::new();
    for (text, path) in [(&service.unit, unit.file_path()), (&service.drop_in, unit.override_path())] {
        let (Some(text), Ok(path), Ok(mode)) = (text, path, FileMode::new(0o644)) else { continue };
        let content = content(text.clone().into_bytes(), blobs);
        let (owner, group) = (UserName::root(), GroupName::root());
        let target = Target::path(path.as_str());
        specs.push((target, Spec::File { path, content, owner, group, mode, validate: None }));
    }
    for (aspect, is_so) in service.aspects() {
        specs.push((Target::unit(&unit, aspect), Spec::Unit { unit: unit.clone(), aspect, is_so }));
    }
    specs.into_iter().map(|(own, spec)| (all_from(own, &targets), spec, false)).collect()
}

/// A source of packages: its file and its key, of which each claims both.
fn apt_parts(
    source: &AptSource,
    object: &ObjectInput,
    blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>,
) -> Vec<(Vec<Target>, Spec, bool)> {
    let name = object.spec.name.as_str();
    let (Ok(targets), Ok(key), Ok(list), Ok(mode)) =
        (object.spec.targets(), source.key_bytes(), source.list_text(name), FileMode::new(0o644))
    else {
        return Vec::new();
    };
    let files = [(source.key_path(name), key), (AptSource::list_path(name), list.into_bytes())];
    let part = |(path, bytes): (Result<lampas_shared::host::ManagedPath, _>, Vec<u8>)| {
        let path = path.ok()?;
        let content = content(bytes, blobs);
        let (owner, group) = (UserName::root(), GroupName::root());
        let own = Target::path(path.as_str());
        Some((all_from(own, &targets), Spec::File { path, content, owner, group, mode, validate: None }, false))
    };
    files.into_iter().filter_map(part).collect()
}

/// Returns what follows a change of a part of an object: of the file, not of what is merely true.
fn reactions(body: &Body, spec: &Spec) -> Vec<Reaction> {
    match (body, spec) {
        (Body::File(file), _) => file.on_change.clone(),
        (Body::Script(script), _) => script.on_change.clone(),
        (Body::Link(link), _) => link.on_change.clone(),
        (Body::Service(service), Spec::File { .. }) => service.on_change.clone(),
        (Body::Package(package), _) => package.on_change.clone(),
        _ => Vec::new(),
    }
}

/// An account, the keys of its user and its password, of which each claims all.
fn user_parts(user: &User, object: &ObjectInput) -> Vec<(Vec<Target>, Spec, bool)> {
    let (Ok(targets), Ok(name)) = (object.spec.targets(), User::name_of(object.spec.name.as_str())) else {
        return Vec::new();
    };
    let want = User { authorized_keys: None, exclusive_keys: false, password: None, ..user.clone() };
    let mut specs = vec![(Target::user(&name), Spec::User { name: name.clone(), want })];
    if let Some(keys) = user.authorized_keys.clone() {
        let (home, exclusive) = (user.home.clone(), user.exclusive_keys);
        specs.push((Target::keys(&name), Spec::Keys { user: name.clone(), home, keys, exclusive }));
    }
    if let Some(password) = user.managed_password() {
        let want = if password.is_locked() {
            PasswordWant::Locked
        } else {
            PasswordWant::Hash { hash: None, is_locked: user.locked == Some(true) }
        };
        specs.push((Target::password(&name), Spec::Password { user: name.clone(), want }));
    }
    specs.into_iter().map(|(own, spec)| (all_from(own, &targets), spec, false)).collect()
}

/// All targets of an object, the part's own first.
fn all_from(own: Target, targets: &[Target]) -> Vec<Target> {
    let others = targets.iter().filter(|t| **t != own).cloned().collect::<Vec<_>>();
    [own].into_iter().chain(others).collect()
}

/// A group and its members, of which each claims both.
fn group_parts(group: &Group, object: &ObjectInput) -> Vec<(Vec<Target>, Spec, bool)> {
    let (Ok(targets), Ok(name)) = (object.spec.targets(), Group::name_of(object.spec.name.as_str())) else {
        return Vec::new();
    };
    let reversed = targets.iter().rev().cloned().collect();
    let members = group.members.clone().map(|users| {
        let spec = Spec::Members { group: name.clone(), users };
        (reversed, spec, false)
    });
    let spec = Spec::Group { name, ensure: group.ensure, gid: group.gid, system: group.system };
    [(targets, spec, false)].into_iter().chain(members).collect()
}

fn sudoers_spec(sudoers: &Sudoers, name: &str, blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>) -> Option<Spec> {
    Some(Spec::File {
        path: Sudoers::path_for(name).ok()?,
        content: content(sudoers.bytes(), blobs),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o440).ok()?,
        validate: Some(lampas_shared::host::Validator::Sudoers),
    })
}

fn file_spec(file: &ManagedFile, blobs: &mut BTreeMap<ContentHash, Arc<Vec<u8>>>) -> Option<Spec> {
    Some(Spec::File {
        path: file.path.clone(),
        content: content(file.bytes().ok()?, blobs),
        owner: file.owner.clone(),
        group: file.group.clone(),
        mode: file.mode,
        validate: file.validate.clone(),
    })
}
