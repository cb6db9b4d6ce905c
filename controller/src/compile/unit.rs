//! Units: what each object would put on a node that it wins wholly. Made once for the whole fleet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lampas_shared::{
    desired::{Content, ContentHash, Resource, Spec},
    fleet::Level,
    host::{FileMode, GroupName, HostName, HostsEntry, HostsSource, ManagedFile, Script, Sudoers, Sysctl, UserName},
    object::{Body, Target},
};

use super::{NodeInput, ObjectInput, distinct_scopes, level};

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
}

impl<'a> Units<'a> {
    pub(super) fn build(nodes: &[NodeInput], objects: &'a [ObjectInput]) -> Self {
        let scopes = distinct_scopes(objects);
        let mut by_name: Vec<&NodeInput> = nodes.iter().collect();
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
        Body::Hosts(entry) => return hosts(entry, nodes),
        Body::Cron(job) => Some(Spec::Cron(job.clone())),
        Body::Script(script) => script_spec(script, object.spec.name.as_str(), blobs),
        Body::File(file) => file_spec(file, blobs),
        Body::Directory(d) => {
            Some(Spec::Directory { path: d.path.clone(), owner: d.owner.clone(), group: d.group.clone(), mode: d.mode })
        }
        Body::Link(link) => Some(Spec::Link { path: link.path.clone(), to: link.target.clone() }),
        Body::Sysctl(sysctl) => return kernel_parts(sysctl, object),
        Body::Sudoers(sudoers) => sudoers_spec(sudoers, object.spec.name.as_str(), blobs),
    };
    let targets = object.spec.targets().unwrap_or_default();
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
        validate: file.validate,
    })
}
