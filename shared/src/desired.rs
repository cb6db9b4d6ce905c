//! The desired state of one node: complete, so that the agent chooses nothing.
//!
//! The compiler makes it from objects; the link carries it; the agent journals it before it acts. Its hash says what
//! it *is* (not who wrote it or when), so that two equal states have equal hashes and "applied" can be proven.

mod hash;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use hash::ContentHash;

use crate::{
    TextError,
    fleet::Scope,
    host::{
        Aspect, AuthorizedKey, CronJob, Ensure, FileMode, GroupName, HostName, ManagedPath, Package, PackageName,
        PasswordWant, Reaction, SysctlKey, UnitName, User, UserName, Validator,
    },
    id::{NodeId, ObjectId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    template::Sealed,
    time::UnixMs,
};

/// Orders the desired states of a node. Restoring a backup of the controller opens a new epoch, so that an older
/// counter is not mistaken for a newer state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Generation {
    /// Grows when a backup is restored; from 1.
    pub epoch: u64,
    /// Grows with every change that reaches this node; from 1.
    pub counter: u64,
}

crate::text::string_schema!(Generation, "1.118");

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

impl FromStr for Generation {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parts = text.split_once('.').and_then(|(e, c)| Some((e.parse().ok()?, c.parse().ok()?)));
        let (epoch, counter) = parts.ok_or_else(|| TextError::new("generation", text, "write it as EPOCH.COUNTER"))?;
        Ok(Self { epoch, counter })
    }
}

impl TryFrom<String> for Generation {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<Generation> for String {
    fn from(generation: Generation) -> Self {
        generation.to_string()
    }
}

/// All that one node must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDesired {
    /// The node that it is for; an agent refuses another's.
    pub node: NodeId,
    /// Older ones are refused, equal ones change nothing.
    pub generation: Generation,
    /// [`NodeDesired::compute_hash`] of the groups; the agent computes it again and refuses a mismatch.
    pub hash: ContentHash,
    /// The groups, in the order in which they are applied.
    pub groups: Vec<Group>,
}

/// Resources that are validated and rolled back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Which group.
    pub name: GroupKind,
    /// The resources, sorted by target.
    pub resources: Vec<Resource>,
}

/// The groups there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// Files, cron, hosts, scripts, accounts.
    Host,
    /// Packages: they can't be undone, and a failing one holds up nothing else.
    Packages,
}

/// One entry of a node's desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What it claims; unique on the node.
    pub target: Target,
    /// The object that it came from; also the id that `lampas-agent job run` takes.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The object's scope, for `why`.
    pub scope: Scope,
    /// What to do about a change by hand.
    pub drift: DriftPolicy,
    /// Who made it so; not part of the hash.
    pub provenance: Provenance,
    /// What shall be.
    pub spec: Spec,
    /// What is reloaded or restarted once all of the group stands, when this changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

/// Who made an object what it is: for `lampas-agent why`, offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Provenance {
    /// The object's revision, from 1.
    pub revision: u64,
    /// The user or token, by name.
    pub author: String,
    /// When it was saved, by the controller's clock.
    pub at: UnixMs,
    /// Why, in the author's words.
    pub reason: String,
    /// The number of the change, for `lampasctl change revert N`.
    pub change: u64,
    /// Who let that change through.
    #[serde(default, skip_serializing_if = "Approval::is_unknown")]
    pub approval: Approval,
}

/// Who let a change through to nodes that somebody protects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProvenanceApproval))]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Not told: the controller is older than this agent.
    #[default]
    Unknown,
    /// No approval was asked for.
    NotRequired,
    /// Somebody approved it.
    By(String),
    /// An administrator applied it without the approval that it needed.
    Over(String),
}

impl Approval {
    /// Returns whether nothing was told of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown (the controller did not say)"),
            Self::NotRequired => f.write_str("not required"),
            Self::By(name) => f.write_str(name),
            Self::Over(name) => write!(f, "nobody, {name} went over the protection"),
        }
    }
}

/// What shall be, by kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spec {
    /// A file with its bytes: from a file or a script.
    File {
        /// Where.
        path: ManagedPath,
        /// The bytes.
        content: Content,
        /// The owner.
        owner: UserName,
        /// The group.
        group: GroupName,
        /// The mode.
        mode: FileMode,
        /// The check that it must pass before it lands.
        validate: Option<Validator>,
    },
    /// A directory.
    Directory {
        /// Where.
        path: ManagedPath,
        /// The owner.
        owner: UserName,
        /// The group.
        group: GroupName,
        /// The mode.
        mode: FileMode,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: ManagedPath,
        /// What it points to.
        to: String,
    },
    /// One line in the managed block of `/etc/hosts`.
    Hosts {
        /// The address.
        address: std::net::IpAddr,
        /// The canonical name first.
        names: Vec<HostName>,
        /// A comment; empty for none.
        comment: String,
    },
    /// A job under cron.
    Cron(CronJob),
    /// A setting of the running kernel; its file is a resource of its own.
    Kernel {
        /// Which.
        key: SysctlKey,
        /// The value, with one blank where there are several.
        value: String,
    },
    /// Something that is true of a unit of systemd or not; the unit's file and what is changed about it are resources of
    /// their own.
    Unit {
        /// Which.
        unit: UnitName,
        /// What of it.
        aspect: Aspect,
        /// Whether it shall be so.
        is_so: bool,
    },
    /// A file or a job with secrets in it, which the node puts together itself.
    Sealed(Sealed),
    /// An account; the keys that its user signs in with are a resource of their own.
    User {
        /// The user.
        name: UserName,
        /// What shall be, without the keys.
        want: User,
    },
    /// The keys that a user may sign in with.
    Keys {
        /// The user.
        user: UserName,
        /// The home directory that the account shall have; where it stands otherwise.
        home: Option<ManagedPath>,
        /// The keys.
        keys: Vec<AuthorizedKey>,
        /// Whether there shall be no others.
        exclusive: bool,
    },
    /// The password of an account.
    Password {
        /// The user.
        user: UserName,
        /// What shall stand.
        want: PasswordWant,
    },
    /// A group; its members are a resource of their own.
    Group {
        /// The group.
        name: GroupName,
        /// Whether it shall be there.
        ensure: Ensure,
        /// The number; the next free one when it is left out.
        gid: Option<u32>,
        /// Whether a new one gets a number of the system's.
        system: bool,
    },
    /// All members of a group.
    Members {
        /// The group.
        group: GroupName,
        /// Its members.
        users: Vec<UserName>,
    },
    /// A package.
    Package {
        /// Its name.
        name: PackageName,
        /// What shall be.
        want: Package,
    },
    /// Something that a later build knows; it is answered with `Blocked`.
    Unsupported {
        /// Its kind, in that build's words.
        kind: String,
        /// The hash of what it wants, as that build computes it.
        hash: ContentHash,
    },
}

/// A content by its hash; small ones ride along, larger ones are fetched as a blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// How many bytes; at most 1 MiB.
    pub size: u64,
    /// The bytes themselves when they are at most [`Content::INLINE_BYTES`] long.
    pub inline: Option<Vec<u8>>,
}

impl Content {
    /// The longest content that rides along: four packets' worth, so that a state stays a few KiB.
    pub const INLINE_BYTES: usize = 4096;

    /// Describes bytes, taking them along when they are small.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            hash: ContentHash::of(bytes),
            size: bytes.len() as u64,
            inline: (bytes.len() <= Self::INLINE_BYTES).then(|| bytes.to_vec()),
        }
    }
}

impl fmt::Debug for Content {
    /// Leaves the bytes out: contents never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} B, {})", self.size, self.hash)
    }
}

impl NodeDesired {
    /// Builds a state: sorts the resources and computes the hash.
    pub fn new(node: NodeId, generation: Generation, mut resources: Vec<Resource>) -> Self {
        resources.sort_by(|a, b| a.target.cmp(&b.target));
        let groups = Group::split(resources);
        let hash = hash::state_hash(&groups);
        Self { node, generation, hash, groups }
    }

    /// Computes the hash over what is desired (`hash/v1`): kind, target, owner, mode and content of each resource. Which group
    /// a resource is in follows from its kind, and is no part of it: an agent that knows fewer groups has the same hash.
    pub fn compute_hash(&self) -> ContentHash {
        hash::state_hash(&self.groups)
    }

    /// Computes the same hash from the resources' own hashes: the compiler shares these between nodes.
    pub fn hash_of(hashes: Vec<(&Target, ContentHash)>) -> ContentHash {
        hash::hash_of_hashes(hashes)
    }

    /// Returns all resources.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.groups.iter().flat_map(|g| &g.resources)
    }
}

impl Spec {
    /// Returns what an account, a group or a package stands for; `None` for other kinds, which say it elsewhere.
    pub fn own_target(&self) -> Option<Target> {
        match self {
            Self::User { name, .. } => Some(Target::user(name)),
            Self::Keys { user, .. } => Some(Target::keys(user)),
            Self::Password { user, .. } => Some(Target::password(user)),
            Self::Sealed(sealed) if matches!(*sealed.base, Self::Password { .. }) => sealed.base.own_target(),
            Self::Group { name, .. } => Some(Target::group(name)),
            Self::Members { group, .. } => Some(Target::members(group)),
            Self::Package { name, .. } => Some(Target::package(name)),
            _ => None,
        }
    }
}

impl GroupKind {
    /// Returns the group that resources of a kind are in.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Package => Self::Packages,
            _ => Self::Host,
        }
    }
}

impl Group {
    /// Splits resources into groups, in the order in which they are applied. There is always one for the host.
    pub fn split(resources: Vec<Resource>) -> Vec<Self> {
        let mut groups = vec![Self { name: GroupKind::Host, resources: Vec::new() }];
        for resource in resources {
            let name = GroupKind::of(resource.kind);
            match groups.iter_mut().find(|g| g.name == name) {
                Some(group) => group.resources.push(resource),
                None => groups.push(Self { name, resources: vec![resource] }),
            }
        }
        groups.sort_by_key(|g| g.name);
        groups
    }
}

impl Resource {
    /// Returns the hash of what this resource wants (`hash/v1`); equal hashes need no work.
    pub fn compute_hash(&self) -> ContentHash {
        hash::resource_hash(self)
    }
}
