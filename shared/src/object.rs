//! Objects: what an operator can change, with their identity (kind, scope, name) and their targets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    fleet::Scope,
    host::{
        AptSource, Aspect, CronJob, CronTable, Directory, Group, GroupName, HostsEntry, HostsSource, Link, ManagedFile,
        Package, PackageName, Script, Service, Sudoers, Sysctl, SysctlKey, UnitName, User, UserName,
    },
    secret::{Secret, Var},
    text::{check_name, text_newtype},
};

text_newtype!(
    /// An object's name: 1 to 128 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
    ObjectName,
    |text| check_name(
        "name",
        text,
        128,
        |i, c| c.is_ascii_alphanumeric() || (i > 0 && "._-".contains(c)),
        "use letters, digits, '.', '_' and '-', starting with a letter or digit",
    )
);

/// The kinds of objects; also the names of the tables in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Entries of `/etc/hosts`.
    Hosts,
    /// A cron job.
    Cron,
    /// A support script.
    Script,
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Rules for sudo.
    Sudoers,
    /// A kernel setting.
    Sysctl,
    /// A unit of systemd.
    Service,
    /// A variable of templates.
    Var,
    /// A secret of templates.
    Secret,
    /// A user.
    User,
    /// A group of users.
    Group,
    /// A package.
    Package,
    /// A source of packages for apt.
    AptSource,
    /// What this build does not know; an agent answers it with `Blocked`, and nobody can write it.
    Unsupported,
}

impl Kind {
    /// All kinds in the order in which they are shown; without [`Kind::Unsupported`].
    pub const ALL: [Self; 15] = [
        Self::Cron,
        Self::Hosts,
        Self::Script,
        Self::File,
        Self::Directory,
        Self::Link,
        Self::Sudoers,
        Self::Sysctl,
        Self::Service,
        Self::User,
        Self::Group,
        Self::Package,
        Self::AptSource,
        Self::Var,
        Self::Secret,
    ];

    /// Returns the word for it, as in manifests and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Cron => "cron",
            Self::Script => "script",
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Sudoers => "sudoers",
            Self::Sysctl => "sysctl",
            Self::Service => "service",
            Self::Var => "var",
            Self::Secret => "secret",
            Self::User => "user",
            Self::Group => "group",
            Self::Package => "package",
            Self::AptSource => "apt_source",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|k| k.as_str() == text);
        found.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            TextError::new("kind", text, format!("is none of {}", words.join(", ")))
        })
    }
}

/// What an object says, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Entries of `/etc/hosts`.
    Hosts(HostsEntry),
    /// A cron job.
    Cron(CronJob),
    /// A support script.
    Script(Script),
    /// A file.
    File(ManagedFile),
    /// A directory.
    Directory(Directory),
    /// A symbolic link.
    Link(Link),
    /// Rules for sudo.
    Sudoers(Sudoers),
    /// A kernel setting.
    Sysctl(Sysctl),
    /// A unit of systemd.
    Service(Service),
    /// A variable of templates.
    Var(Var),
    /// A secret of templates.
    Secret(Secret),
    /// A user.
    User(User),
    /// A group of users.
    Group(Group),
    /// A package.
    Package(Package),
    /// A source of packages for apt.
    AptSource(AptSource),
}

impl Body {
    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hosts(_) => Kind::Hosts,
            Self::Cron(_) => Kind::Cron,
            Self::Script(_) => Kind::Script,
            Self::File(_) => Kind::File,
            Self::Directory(_) => Kind::Directory,
            Self::Link(_) => Kind::Link,
            Self::Sudoers(_) => Kind::Sudoers,
            Self::Sysctl(_) => Kind::Sysctl,
            Self::Service(_) => Kind::Service,
            Self::Var(_) => Kind::Var,
            Self::Secret(_) => Kind::Secret,
            Self::User(_) => Kind::User,
            Self::Group(_) => Kind::Group,
            Self::Package(_) => Kind::Package,
            Self::AptSource(_) => Kind::AptSource,
        }
    }
}

/// What the agent does about a change by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// Leaves it, reports it, and keeps it through later generations until somebody adopts or reverts it.
    #[default]
    Hold,
    /// Leaves it and reports it; the next change of this object overwrites it.
    Report,
    /// Puts the desired state back at once and reports that it did.
    Repair,
}

/// An object as an operator writes it: identity, policy and body. Ids and revisions are the controller's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectSpec {
    /// The name, unique among objects of its kind and scope.
    pub name: ObjectName,
    /// The nodes that it is for.
    pub scope: Scope,
    /// What happens when somebody changes it by hand; `hold` by default.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// What it says.
    pub body: Body,
}

impl ObjectSpec {
    /// Checks what no single field can: rules between fields, names for this kind, sizes.
    pub fn check(&self) -> Result<(), TextError> {
        let name = self.name.as_str();
        match &self.body {
            Body::Hosts(entry) => entry.check(),
            Body::Cron(job) => job.check(name),
            Body::Script(script) => script.check().and_then(|()| script.path_for(name).map(drop)),
            Body::File(file) => file.check(),
            Body::Directory(_) => Ok(()),
            Body::Link(link) => link.check(),
            Body::Sudoers(sudoers) => sudoers.check(name),
            Body::Sysctl(sysctl) => sysctl.check(name),
            Body::Service(service) => service.check(name),
            Body::Var(var) => var.check(name),
            Body::Secret(secret) => secret.check(name),
            Body::User(user) => user.check(name),
            Body::Group(group) => group.check(name),
            Body::Package(package) => package.check(name),
            Body::AptSource(source) => source.check(name),
        }
    }

    /// Returns the identity: two objects with the same one are the same object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.body.kind(), scope: self.scope.clone(), name: self.name.clone() }
    }

    /// Returns what it claims on a node. Generated hosts lines claim their names when they are compiled.
    ///
    /// # Errors
    /// When a script has no usable path.
    pub fn targets(&self) -> Result<Vec<Target>, TextError> {
        Ok(match &self.body {
            Body::Hosts(entry) => match entry.source()? {
                HostsSource::Line(address, names) => {
                    names.iter().map(|n| Target::host_name(n.as_str(), address.is_ipv6())).collect()
                }
                HostsSource::Nodes(..) => Vec::new(),
            },
            Body::Cron(job) => vec![match job.table {
                CronTable::System => Target(format!("cron:{}", self.name)),
                CronTable::User => Target(format!("crontab:{}:{}", job.user, self.name)),
            }],
            Body::Script(script) => vec![Target::path(script.path_for(self.name.as_str())?.as_str())],
            Body::File(file) => vec![Target::path(file.path.as_str())],
            Body::Directory(directory) => vec![Target::path(directory.path.as_str())],
            Body::Link(link) => vec![Target::path(link.path.as_str())],
            // The file and the running kernel; by the path below /proc/sys, of which one key has two spellings.
            Body::Sysctl(sysctl) => {
                vec![Target::path(Sysctl::path_for(self.name.as_str())?.as_str()), Target::kernel(&sysctl.key)]
            }
            Body::Var(_) => vec![Target(format!("var:{}", self.name))],
            Body::Secret(_) => vec![Target(format!("secret:{}", self.name))],
            // All that can be true of a unit, said or not: one object says it. Its files may be others'.
            Body::Service(service) => {
                let unit = service.unit(self.name.as_str())?;
                let mut targets = Vec::new();
                if service.unit.is_some() {
                    targets.push(Target::path(unit.file_path()?.as_str()));
                }
                if service.drop_in.is_some() {
                    targets.push(Target::path(unit.override_path()?.as_str()));
                }
                targets.extend(Aspect::ALL.map(|aspect| Target::unit(&unit, aspect)));
                targets
            }
            Body::User(user) => {
                let name = User::name_of(self.name.as_str())?;
                let keys = user.authorized_keys.is_some().then(|| Target::keys(&name));
                let password = user.managed_password().map(|_| Target::password(&name));
                [Target::user(&name)].into_iter().chain(keys).chain(password).collect()
            }
            Body::Group(group) => {
                let name = Group::name_of(self.name.as_str())?;
                let members = group.members.is_some().then(|| Target::members(&name));
                [Target::group(&name)].into_iter().chain(members).collect()
            }
            Body::AptSource(source) => {
                let name = self.name.as_str();
                let paths = [AptSource::list_path(name)?, source.key_path(name)?];
                paths.map(|path| Target::path(path.as_str())).to_vec()
            }
            Body::Package(package) => vec![Target::package(&package.name_of(self.name.as_str())?)],
            Body::Sudoers(_) => vec![Target::path(Sudoers::path_for(self.name.as_str())?.as_str())],
        })
    }
}

/// Where users' crontabs stand.
const CRONTABS: &str = "/var/spool/cron/crontabs";

/// The identity of an object: (kind, scope, name).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The scope.
    pub scope: Scope,
    /// The name.
    pub name: ObjectName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.name, self.scope)
    }
}

/// What an object claims on a node: `path:/etc/motd`, `cron:hello`, `crontab:www-data:hello`, `host:db-1/inet`.
/// The most specific scope wins a target; two claims on one level are refused when saved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(transparent)]
pub struct Target(String);

impl Target {
    /// Reads the text form, as it comes over the wire: one line of at most 1,200 bytes, a word, a colon and what it is of
    /// that sort. The word may be one that this build does not know.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        crate::check_line("target", text, 1200)?;
        match text.split_once(':') {
            Some((sort, rest)) if is_sort(sort) && !rest.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(TextError::new("target", text, "write it as path:…, cron:…, crontab:…, host:… and the like")),
        }
    }

    /// A path.
    pub fn path(path: &str) -> Self {
        Self(format!("path:{path}"))
    }

    /// A user's whole crontab.
    pub fn crontab(user: &UserName) -> Self {
        Self(format!("path:{CRONTABS}/{user}"))
    }

    /// Returns whose crontab this is the whole of, if it is one.
    pub fn crontab_user(&self) -> Option<&str> {
        let user = self.0.strip_prefix("path:")?.strip_prefix(CRONTABS)?.strip_prefix('/')?;
        (!user.is_empty() && !user.contains('/')).then_some(user)
    }

    /// A setting of the running kernel.
    pub fn kernel(key: &SysctlKey) -> Self {
        Self(format!("kernel:{}", key.proc_path().trim_start_matches("/proc/sys/")))
    }

    /// Something that is true of a unit of systemd or not.
    pub fn unit(unit: &UnitName, aspect: Aspect) -> Self {
        Self(format!("unit:{unit}/{}", aspect.as_str()))
    }

    /// An account.
    pub fn user(name: &UserName) -> Self {
        Self(format!("user:{name}"))
    }

    /// The keys that a user may sign in with.
    pub fn keys(name: &UserName) -> Self {
        Self(format!("keys:{name}"))
    }

    /// The password of an account.
    pub fn password(name: &UserName) -> Self {
        Self(format!("password:{name}"))
    }

    /// A group.
    pub fn group(name: &GroupName) -> Self {
        Self(format!("group:{name}"))
    }

    /// Who is in a group.
    pub fn members(name: &GroupName) -> Self {
        Self(format!("members:{name}"))
    }

    /// A package.
    pub fn package(name: &PackageName) -> Self {
        Self(format!("package:{name}"))
    }

    /// A host name in one address family; names are compared without case.
    pub fn host_name(name: &str, is_ipv6: bool) -> Self {
        Self(format!("host:{}/{}", name.to_ascii_lowercase(), if is_ipv6 { "inet6" } else { "inet" }))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this can be the first word of a target.
fn is_sort(word: &str) -> bool {
    (1..=32).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
