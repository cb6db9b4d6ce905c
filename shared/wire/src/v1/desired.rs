//! Desired states.

mod account;
mod other;
mod package;
mod sealed;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lampas_shared::{
    TextError, desired,
    desired::{ContentHash, Generation},
    fleet::Scope,
    host,
    host::{CronTable, FileMode, GroupName, HostName, HostsEntry, ManagedPath, UserName},
    id::{NodeId, ObjectId},
    object,
    object::{Body, DriftPolicy as Policy, ObjectName, ObjectSpec, Target},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bytes, Text, bounded_list, each};

/// The most resources of one node; a thousand is a busy server.
const MAX_RESOURCES: usize = 10_000;
/// The longest content of a file, in bytes.
const MAX_CONTENT: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
pub(super) struct NodeDesired {
    node: [u8; 16],
    generation: (u64, u64),
    hash: [u8; 32],
    groups: Vec<Group>,
}

#[derive(Serialize, Deserialize)]
struct Group {
    name: GroupKind,
    resources: Vec<Resource>,
}

/// All resources travel in one: which group a resource is in follows from its kind, so that an agent that knows fewer
/// groups takes the state all the same.
#[derive(Serialize, Deserialize)]
enum GroupKind {
    Host,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    target: Text,
    object: [u8; 16],
    kind: Kind,
    name: Text,
    scope: Text,
    drift: DriftPolicy,
    provenance: Provenance,
    spec: Spec,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Kind {
    Hosts,
    Cron,
    Script,
    File,
    Directory,
    Link,
    /// The kind's word stands in [`Spec::Other`].
    Unsupported,
    Sudoers,
    Sysctl,
    Service,
    User,
    Group,
    Package,
    AptSource,
}

#[derive(Serialize, Deserialize)]
enum DriftPolicy {
    Hold,
    Report,
    Repair,
}

#[derive(Serialize, Deserialize)]
struct Provenance {
    revision: u64,
    author: Text,
    at_ms: i64,
    reason: Text,
    change: u64,
}

#[derive(Serialize, Deserialize)]
enum Spec {
    File {
        path: Text,
        content: Content,
        owner: Text,
        group: Text,
        mode: u32,
        validate: Option<Validator>,
    },
    Directory {
        path: Text,
        owner: Text,
        group: Text,
        mode: u32,
    },
    Link {
        path: Text,
        to: Text,
    },
    Hosts {
        address: Address,
        names: Vec<Text>,
        comment: Text,
    },
    Cron(CronJob),
    /// A kind that is younger than this layout: its word, the hash of what it wants, and its own layout, which an agent
    /// that doesn't know the word leaves alone.
    Other {
        kind: Text,
        hash: [u8; 32],
        body: Bytes,
    },
}

/// The layout of a kernel setting, in [`Spec::Other`]: its file, or the running kernel's value.
#[derive(Serialize, Deserialize)]
struct Sysctl {
    key: Text,
    value: Text,
    is_file: bool,
}

/// The layout of a unit of systemd, in [`Spec::Other`]: its file, what is changed about it, or something that is true of
/// it.
#[derive(Serialize, Deserialize)]
struct Unit {
    name: Text,
    part: UnitPart,
    on_change: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
enum UnitPart {
    File(Content),
    Override(Content),
    Masked(bool),
    Enabled(bool),
    Running(bool),
}

/// The layout of a file or a link that says more than the layout of states has room for, in [`Spec::Other`].
#[derive(Serialize, Deserialize)]
struct Extended {
    kind: Kind,
    spec: Spec,
    on_change: Vec<Text>,
    /// The words of a check; empty for none, or when it is one of the closed list.
    check: Vec<Text>,
}

/// The layout of a source of packages, in [`Spec::Other`]: its file, or its key.
#[derive(Serialize, Deserialize)]
enum AptPart {
    List(Content),
    Key { content: Content, is_armored: bool },
}

/// The layout of the rules for sudo, in [`Spec::Other`].
#[derive(Serialize, Deserialize)]
struct Sudoers {
    content: Content,
}

#[derive(Serialize, Deserialize)]
struct Content {
    hash: [u8; 32],
    size: u64,
    inline: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
enum Validator {
    Script,
    Json,
    Toml,
    Sudoers,
}

#[derive(Serialize, Deserialize)]
enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

#[derive(Serialize, Deserialize)]
struct CronJob {
    schedule: Text,
    user: Text,
    command: Text,
    environment: Vec<(Text, Text)>,
    mailto: Option<Text>,
    time_zone: Option<Text>,
    is_user_table: bool,
    timeout_secs: Option<u32>,
    enabled: bool,
}

impl From<&desired::NodeDesired> for NodeDesired {
    fn from(state: &desired::NodeDesired) -> Self {
        Self {
            node: *state.node.as_uuid().as_bytes(),
            generation: (state.generation.epoch, state.generation.counter),
            hash: *state.hash.as_bytes(),
            groups: vec![Group { name: GroupKind::Host, resources: state.resources().map(Resource::from).collect() }],
        }
    }
}

impl TryFrom<NodeDesired> for desired::NodeDesired {
    type Error = TextError;
    fn try_from(state: NodeDesired) -> Result<Self, TextError> {
        let resources: Vec<Resource> = state.groups.into_iter().flat_map(|g| g.resources).collect();
        bounded_list("resources", resources.len(), MAX_RESOURCES)?;
        Ok(Self {
            node: NodeId::from_uuid(Uuid::from_bytes(state.node)),
            generation: Generation { epoch: state.generation.0, counter: state.generation.1 },
            hash: ContentHash::from_bytes(state.hash),
            groups: desired::Group::split(each(resources)?),
        })
    }
}

impl From<object::Kind> for Kind {
    fn from(kind: object::Kind) -> Self {
        match kind {
            object::Kind::Hosts => Self::Hosts,
            object::Kind::Cron => Self::Cron,
            object::Kind::Script => Self::Script,
            object::Kind::File => Self::File,
            object::Kind::Directory => Self::Directory,
            object::Kind::Link => Self::Link,
            object::Kind::Sudoers => Self::Sudoers,
            object::Kind::Sysctl => Self::Sysctl,
            object::Kind::Service => Self::Service,
            object::Kind::User => Self::User,
            object::Kind::Group => Self::Group,
            object::Kind::Package => Self::Package,
            object::Kind::AptSource => Self::AptSource,
            // Values are no resources of their own.
            object::Kind::Unsupported | object::Kind::Var | object::Kind::Secret => Self::Unsupported,
        }
    }
}

impl From<Kind> for object::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Hosts => Self::Hosts,
            Kind::Cron => Self::Cron,
            Kind::Script => Self::Script,
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Link => Self::Link,
            Kind::Sudoers => Self::Sudoers,
            Kind::Sysctl => Self::Sysctl,
            Kind::Service => Self::Service,
            Kind::User => Self::User,
            Kind::Group => Self::Group,
            Kind::Package => Self::Package,
            Kind::AptSource => Self::AptSource,
            Kind::Unsupported => Self::Unsupported,
        }
    }
}

impl From<&desired::Resource> for Resource {
    fn from(resource: &desired::Resource) -> Self {
        let made = &resource.provenance;
        Self {
            target: resource.target.as_str().into(),
            object: *resource.object.as_uuid().as_bytes(),
            kind: if other::is(resource) { Kind::Unsupported } else { resource.kind.into() },
            name: resource.name.as_str().into(),
            scope: Text(resource.scope.to_string()),
            drift: match resource.drift {
                Policy::Hold => DriftPolicy::Hold,
                Policy::Report => DriftPolicy::Report,
                Policy::Repair => DriftPolicy::Repair,
            },
            provenance: Provenance {
                revision: made.revision,
                author: Text(super::cut(&made.author, 256)),
                at_ms: made.at.0,
                reason: Text(super::cut(&made.reason, 1024)),
                change: made.change,
            },
            spec: other::to_wire(resource).unwrap_or_else(|| (&resource.spec).into()),
        }
    }
}

impl TryFrom<Resource> for desired::Resource {
    type Error = TextError;
    fn try_from(resource: Resource) -> Result<Self, TextError> {
        let made = resource.provenance;
        super::bounded("author", &made.author.0, 256)?;
        super::bounded("reason", &made.reason.0, 1024)?;
        let name = ObjectName::parse(resource.name.0)?;
        let drift = match resource.drift {
            DriftPolicy::Hold => Policy::Hold,
            DriftPolicy::Report => Policy::Report,
            DriftPolicy::Repair => Policy::Repair,
        };
        let target = Target::parse(&resource.target.0)?;
        let (kind, spec, on_change) = match resource.spec {
            Spec::Other { kind, hash, body } => other::from_wire(kind.0, hash, &body.0, &name)?,
            spec => match resource.kind {
                kind @ (Kind::Unsupported
                | Kind::Sudoers
                | Kind::Sysctl
                | Kind::Service
                | Kind::User
                | Kind::Group
                | Kind::Package
                | Kind::AptSource) => {
                    let kind = object::Kind::from(kind);
                    return Err(TextError::new("kind", kind.as_str(), "has a layout of its own"));
                }
                kind => (kind.into(), spec_from_wire(spec, &name)?, Vec::new()),
            },
        };
        // Precedence was decided by target, so a target must not stand for another path than the one that is written.
        if let desired::Spec::File { path, .. }
        | desired::Spec::Directory { path, .. }
        | desired::Spec::Link { path, .. } = &spec
            && target != Target::path(path.as_str())
        {
            return Err(TextError::new("target", target.as_str(), format!("stands for {path}")));
        }
        if let desired::Spec::Sealed(sealed) = &spec
            && let desired::Spec::File { path, .. } = &*sealed.base
            && target != Target::path(path.as_str())
        {
            return Err(TextError::new("target", target.as_str(), format!("stands for {path}")));
        }
        if let desired::Spec::Kernel { key, .. } = &spec
            && target != Target::kernel(key)
        {
            return Err(TextError::new("target", target.as_str(), format!("stands for {key}")));
        }
        if let desired::Spec::Unit { unit, aspect, .. } = &spec
            && target != Target::unit(unit, *aspect)
        {
            return Err(TextError::new("target", target.as_str(), format!("stands for {unit}")));
        }
        if let Some(own) = spec.own_target()
            && target != own
        {
            return Err(TextError::new("target", target.as_str(), format!("stands for {own}")));
        }
        Ok(Self {
            target,
            object: ObjectId::from_uuid(Uuid::from_bytes(resource.object)),
            kind,
            scope: resource.scope.0.parse()?,
            drift,
            provenance: desired::Provenance {
                revision: made.revision,
                author: made.author.0,
                at: UnixMs(made.at_ms),
                reason: made.reason.0,
                change: made.change,
                // Beside this layout, in a frame of its own.
                approval: desired::Approval::Unknown,
            },
            spec,
            on_change,
            name,
        })
    }
}

impl From<&desired::Spec> for Spec {
    fn from(spec: &desired::Spec) -> Self {
        match spec {
            desired::Spec::File { path, content, owner, group, mode, validate } => Self::File {
                path: path.as_str().into(),
                content: content.into(),
                owner: owner.as_str().into(),
                group: group.as_str().into(),
                mode: mode.bits(),
                validate: validate.as_ref().and_then(|v| match v {
                    host::Validator::Script => Some(Validator::Script),
                    host::Validator::Json => Some(Validator::Json),
                    host::Validator::Toml => Some(Validator::Toml),
                    host::Validator::Sudoers => Some(Validator::Sudoers),
                    // Beside this layout, in `Extended`.
                    host::Validator::Command(_) => None,
                }),
            },
            desired::Spec::Directory { path, owner, group, mode } => Self::Directory {
                path: path.as_str().into(),
                owner: owner.as_str().into(),
                group: group.as_str().into(),
                mode: mode.bits(),
            },
            desired::Spec::Link { path, to } => Self::Link { path: path.as_str().into(), to: to.as_str().into() },
            desired::Spec::Hosts { address, names, comment } => Self::Hosts {
                address: match address {
                    IpAddr::V4(address) => Address::V4(address.octets()),
                    IpAddr::V6(address) => Address::V6(address.octets()),
                },
                names: names.iter().map(|n| n.as_str().into()).collect(),
                comment: comment.as_str().into(),
            },
            desired::Spec::Cron(job) => Self::Cron(job.into()),
            // With its kind and hash, by `other::to_wire`; this is what it is without them.
            desired::Spec::Sealed(_) => Self::Other { kind: "sealed".into(), hash: [0; 32], body: Bytes(Vec::new()) },
            desired::Spec::User { .. }
            | desired::Spec::Keys { .. }
            | desired::Spec::Password { .. }
            | desired::Spec::Group { .. }
            | desired::Spec::Members { .. }
            | desired::Spec::Package { .. } => {
                Self::Other { kind: "other".into(), hash: [0; 32], body: Bytes(Vec::new()) }
            }
            desired::Spec::Kernel { key, .. } => {
                Self::Other { kind: key.as_str().into(), hash: [0; 32], body: Bytes(Vec::new()) }
            }
            desired::Spec::Unit { unit, .. } => {
                Self::Other { kind: unit.as_str().into(), hash: [0; 32], body: Bytes(Vec::new()) }
            }
            desired::Spec::Unsupported { kind, hash } => {
                Self::Other { kind: kind.as_str().into(), hash: *hash.as_bytes(), body: Bytes(Vec::new()) }
            }
        }
    }
}

impl From<&desired::Content> for Content {
    fn from(content: &desired::Content) -> Self {
        Self { hash: *content.hash.as_bytes(), size: content.size, inline: content.inline.clone().map(Bytes) }
    }
}

impl From<&host::CronJob> for CronJob {
    fn from(job: &host::CronJob) -> Self {
        Self {
            schedule: job.schedule.as_str().into(),
            user: job.user.as_str().into(),
            command: job.command.as_str().into(),
            environment: job.environment.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect(),
            mailto: job.mailto.as_deref().map(Text::from),
            time_zone: job.time_zone.as_ref().map(|z| z.as_str().into()),
            is_user_table: job.table == CronTable::User,
            timeout_secs: job.timeout_secs,
            enabled: job.enabled,
        }
    }
}

/// Builds a spec through the parsers and the checks of the object that it came from: an agent trusts no controller
/// with a second line in a crontab.
fn spec_from_wire(spec: Spec, name: &ObjectName) -> Result<desired::Spec, TextError> {
    Ok(match spec {
        Spec::File { path, content, owner, group, mode, validate } => desired::Spec::File {
            path: ManagedPath::parse(path.0)?,
            content: content_from_wire(content)?,
            owner: UserName::parse(owner.0)?,
            group: GroupName::parse(group.0)?,
            mode: FileMode::new(mode)?,
            validate: validate.map(|v| match v {
                Validator::Script => host::Validator::Script,
                Validator::Json => host::Validator::Json,
                Validator::Toml => host::Validator::Toml,
                Validator::Sudoers => host::Validator::Sudoers,
            }),
        },
        Spec::Directory { path, owner, group, mode } => desired::Spec::Directory {
            path: ManagedPath::parse(path.0)?,
            owner: UserName::parse(owner.0)?,
            group: GroupName::parse(group.0)?,
            mode: FileMode::new(mode)?,
        },
        Spec::Link { path, to } => {
            let link = host::Link { path: ManagedPath::parse(path.0)?, target: to.0, on_change: Vec::new() };
            checked(name, Body::Link(link.clone()))?;
            desired::Spec::Link { path: link.path, to: link.target }
        }
        Spec::Hosts { address, names, comment } => {
            let address = match address {
                Address::V4(octets) => IpAddr::from(Ipv4Addr::from(octets)),
                Address::V6(octets) => IpAddr::from(Ipv6Addr::from(octets)),
            };
            let names = names.into_iter().map(|n| HostName::parse(n.0)).collect::<Result<Vec<_>, _>>()?;
            let entry = HostsEntry { address: Some(address), names, nodes: None, domain: None, comment: comment.0 };
            checked(name, Body::Hosts(entry.clone()))?;
            desired::Spec::Hosts { address, names: entry.names, comment: entry.comment }
        }
        Spec::Cron(job) => desired::Spec::Cron(cron_from_wire(job, name)?),
        Spec::Other { kind, .. } => return Err(TextError::new("kind", &kind.0, "stands where it can't")),
    })
}

fn cron_from_wire(job: CronJob, name: &ObjectName) -> Result<host::CronJob, TextError> {
    let mut environment = BTreeMap::new();
    for (variable, value) in job.environment {
        environment.insert(host::EnvName::parse(variable.0)?, value.0);
    }
    let job = host::CronJob {
        schedule: job.schedule.0.parse()?,
        user: UserName::parse(job.user.0)?,
        command: job.command.0,
        environment,
        mailto: job.mailto.map(|m| m.0),
        time_zone: job.time_zone.map(|z| host::TimeZoneName::parse(z.0)).transpose()?,
        table: if job.is_user_table { CronTable::User } else { CronTable::System },
        timeout_secs: job.timeout_secs,
        enabled: job.enabled,
        template: false,
    };
    checked(name, Body::Cron(job.clone()))?;
    Ok(job)
}

/// Runs the checks between an object's fields.
fn checked(name: &ObjectName, body: Body) -> Result<(), TextError> {
    ObjectSpec { name: name.clone(), scope: Scope::Fleet, drift: Policy::default(), body }.check()
}

fn content_from_wire(content: Content) -> Result<desired::Content, TextError> {
    if content.size > MAX_CONTENT {
        let reason = format!("a file has at most {MAX_CONTENT} bytes");
        return Err(TextError::new("size", &content.size.to_string(), reason));
    }
    if let Some(inline) = &content.inline {
        if inline.0.len() as u64 != content.size {
            return Err(TextError::new(
                "size",
                &content.size.to_string(),
                format!("{} bytes came along", inline.0.len()),
            ));
        }
        if ContentHash::of(&inline.0).as_bytes() != &content.hash {
            return Err(TextError::new("content", "", "does not have the hash that came along"));
        }
    }
    Ok(desired::Content {
        hash: ContentHash::from_bytes(content.hash),
        size: content.size,
        inline: content.inline.map(|b| b.0),
    })
}
