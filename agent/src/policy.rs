//! The node's own policy, `/etc/lampas/policy.toml`: its owner's word over any controller.
//!
//! ```toml
//! observe = false            # true: nothing is written at all
//! root_code = true           # false: nothing that root, or everybody's login, would execute
//! deny_paths = ["/etc/ssh"]  # neither these nor what is below them
//! require_signature = false  # true: root_code needs an operator's signature
//! signed_secrets = false     # true: with require_signature, also root code that holds values of secrets
//! ```
//!
//! Without the file everything is allowed that a [`ManagedPath`] can name. It judges
//! effect, not kind: a plain file below `/etc/cron.d` is root code. A policy that can't be read, or that others than root
//! could have written, stops root code until it is mended; the rest goes on.
//!
//! A signature covers root code with secrets by reference: the text around them, the names of the secrets, and which of
//! their values. The values come from the controller, and whoever took it could send others. So `signed_secrets = true`
//! takes only values that can't become code where they stand: letters, digits and `_ . + / = - @`, not beginning with a
//! dash, or any value that is written `| base64`. Everything else stays refused.

mod account;

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use lampas_runtime::config::{Mistakes, Section};
use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    host::{CronTable, ManagedPath, SysctlKey, UserName, Validator},
    object::Kind,
};
use serde::{Deserialize, Serialize};

use crate::host::Removal;

/// The policy as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Nothing is written; plans and drift are still told. `false` by default.
    pub observe: bool,
    /// Whether changes are allowed whose content root executes. `true` by default.
    pub root_code: bool,
    /// Absolute paths that are not touched, with what is below them. None by default.
    pub deny_paths: Vec<String>,
    /// Whether root code needs an operator's signature. `false` by default.
    pub require_signature: bool,
    /// Whether a signature also covers root code that holds values of secrets, by reference. `false` by default.
    pub signed_secrets: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observe: false,
            root_code: true,
            deny_paths: Vec::new(),
            require_signature: false,
            signed_secrets: false,
        }
    }
}

impl Section for Policy {
    fn check(&self, mistakes: &mut Mistakes) {
        for path in &self.deny_paths {
            // Normal form, so that a prefix is a directory above and nothing else.
            let normal =
                path == "/" || (path.starts_with('/') && path[1..].split('/').all(|p| !matches!(p, "" | "." | "..")));
            if !normal {
                mistakes.add(
                    "deny_paths",
                    format!("{path:?} is not an absolute path without \"..\", \"//\" or a trailing slash"),
                );
            }
        }
    }
}

/// What the agent found: the policy, or why it can't be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Read, or absent and the default.
    Known(Policy),
    /// There is a file, and it can't be trusted or understood.
    Malformed(String),
    /// The node was enrolled to observe: whatever the policy allows, nothing is written. Plans go by the policy, so that
    /// they show what taking over would do.
    Observing(Box<Self>),
}

impl Ruling {
    /// Reads the policy. Blocking.
    pub fn read(path: &Path) -> Self {
        match read_trusted(path) {
            Ok(Some(text)) => match lampas_runtime::config::parse(&text) {
                Ok(policy) => Self::Known(policy),
                Err(mistakes) => Self::Malformed(format!("{}: {}", path.display(), mistakes.to_string().trim())),
            },
            Ok(None) => Self::Known(Policy::default()),
            Err(error) => Self::Malformed(format!("{}: {error}", path.display())),
        }
    }

    /// Reads the policy, and whether the node observes. Blocking.
    pub fn of(paths: &crate::config::Paths) -> Self {
        let ruling = Self::read(&paths.policy());
        if crate::observe::is_on(paths) { Self::Observing(Box::new(ruling)) } else { ruling }
    }

    /// Returns whether nothing may be written at all.
    pub fn observes(&self) -> bool {
        matches!(self, Self::Observing(_)) || self.owner_observes()
    }

    /// Returns whether the node's owner forbids every write, which no controller can end.
    pub fn owner_observes(&self) -> bool {
        match self {
            Self::Known(policy) => policy.observe,
            Self::Malformed(_) => false,
            Self::Observing(inner) => inner.owner_observes(),
        }
    }

    /// Returns whether root code needs an operator's signature.
    pub fn wants_signatures(&self) -> bool {
        match self {
            Self::Known(policy) => policy.require_signature,
            Self::Malformed(_) => false,
            Self::Observing(inner) => inner.wants_signatures(),
        }
    }

    /// Returns whether a signature also covers root code that holds values of secrets.
    pub fn takes_signed_secrets(&self) -> bool {
        match self {
            Self::Known(policy) => policy.signed_secrets,
            Self::Malformed(_) => false,
            Self::Observing(inner) => inner.takes_signed_secrets(),
        }
    }

    /// Returns whether the policy can't be followed.
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Known(_) => false,
            Self::Observing(inner) => inner.is_malformed(),
        }
    }

    /// Returns the denied path that a path is, or is below.
    pub fn denied(&self, path: &str) -> Option<&str> {
        match self {
            Self::Known(policy) => policy.deny_paths.iter().find(|d| is_below(path, d)).map(String::as_str),
            Self::Malformed(_) => None,
            Self::Observing(inner) => inner.denied(path),
        }
    }

    /// Returns why a resource is refused, if it is.
    pub fn judge(&self, resource: &Resource) -> Option<Fault> {
        let policy = match self {
            Self::Known(policy) => policy,
            Self::Observing(inner) => return inner.judge(resource),
            Self::Malformed(why) => {
                let effect = root_code(resource)?;
                return Some(Fault::lasting(
                    "policy.malformed",
                    format!("this is root code ({effect}), and the node's policy can't be followed; mend it: {why}"),
                ));
            }
        };
        if policy.observe {
            return Some(Fault::lasting("policy.observe", "the node only observes: its policy says observe = true"));
        }
        if let Some(denied) = places(resource).iter().find_map(|p| policy.deny_paths.iter().find(|d| is_below(p, d))) {
            return Some(Fault::lasting(
                "policy.denied_path",
                format!("the node's policy denies {denied} and what is below it"),
            ));
        }
        let effect = root_code(resource)?;
        if !policy.root_code {
            return Some(Fault::lasting(
                "policy.root_code",
                format!("the node's policy allows no root code, and this is: {effect}"),
            ));
        }
        policy.require_signature.then(|| unsigned(&effect))
    }

    /// Returns why something must not go, if it must not: who may not put root code on a node may not take it away either,
    /// since a job or a sudo rule that is gone changes what root does as well.
    pub fn judge_removal(&self, removal: &Removal<'_>) -> Option<Fault> {
        let effect = || removed_root_code(removal);
        let policy = match self {
            Self::Known(policy) => policy,
            Self::Observing(inner) => return inner.judge_removal(removal),
            Self::Malformed(why) => {
                let text = |e| {
                    format!(
                        "taking it away changes root code ({e}), and the node's policy can't be followed; mend it: {why}"
                    )
                };
                return effect().map(|e| Fault::lasting("policy.malformed", text(e)));
            }
        };
        if policy.observe {
            return Some(Fault::lasting("policy.observe", "the node only observes: its policy says observe = true"));
        }
        if let Some(denied) = policy.deny_paths.iter().find(|d| is_below(removal.path, d)) {
            let text = format!("the node's policy denies {denied} and what is below it, so that it stays");
            return Some(Fault::lasting("policy.denied_path", text));
        }
        let effect = effect()?;
        if !policy.root_code {
            let text = format!("the node's policy allows no change of root code, and this is: {effect}; it stays");
            return Some(Fault::lasting("policy.root_code", text));
        }
        policy.require_signature.then(|| unsigned(&effect))
    }
}

/// What root starts and ends.
const UNIT: &str = "a unit of systemd";

/// Whether there is a signature is judged apart: see [`crate::signature`].
fn unsigned(effect: &str) -> Fault {
    let text = format!("the node's policy wants an operator's signature for root code ({effect})");
    Fault::lasting(crate::signature::SIGNATURE, text)
}

/// Why root, or everybody's login, executes what goes or comes back.
fn removed_root_code(removal: &Removal<'_>) -> Option<String> {
    match removal.kind {
        Kind::Cron => return removal.is_root_job.then(|| "a cron job of root".to_owned()),
        Kind::User | Kind::Group => return account::removed_root_code(removal.path),
        Kind::Package => return Some(account::PACKAGE.to_owned()),
        Kind::Hosts => return None,
        // What is set back is judged as what was set; of a file only its line would tell.
        Kind::Sysctl => return removed_setting(removal.path),
        Kind::Service => return Some(UNIT.to_owned()),
        _ => {}
    }
    sensitive(removal.path).or_else(|| {
        removal.files.iter().flatten().find_map(|(uid, gid, mode)| {
            let runs = mode & 0o111 != 0;
            match () {
                () if runs && mode & 0o4000 != 0 => Some(format!("set-uid {uid}")),
                () if runs && mode & 0o2000 != 0 => Some(format!("set-gid {gid}")),
                () if runs && (*uid == 0 || *gid == 0) => Some("an executable of root".to_owned()),
                () => None,
            }
        })
    })
}

/// Why a file of `/etc/sysctl.d` is root code: by what it sets.
fn sysctl_effect(line: Option<&[u8]>) -> Option<String> {
    let settings = line.map(|bytes| lampas_render::sysctl::assigned(&String::from_utf8_lossy(bytes)));
    let Some(settings) = settings.filter(|s| !s.is_empty()) else {
        return Some("kernel settings that can't be read".to_owned());
    };
    settings.into_iter().find_map(|(key, _)| match SysctlKey::parse(key) {
        Ok(key) => key.root_code(),
        Err(_) => Some("a kernel setting that can't be read".to_owned()),
    })
}

fn removed_setting(path: &str) -> Option<String> {
    SysctlKey::parse(path.strip_prefix("kernel:")?).ok()?.root_code()
}

fn sensitive(path: &str) -> Option<String> {
    let place = SENSITIVE.iter().find(|s| is_below(path, s)).map(|s| (*s).to_owned());
    let home = path.split('/').any(|part| part == ".ssh").then(|| ".ssh".to_owned());
    place.or(home).map(|s| format!("{s} is a sensitive place"))
}

/// Why root, or everybody's login, would execute what a resource holds; `None` when nothing says so.
pub fn root_code(resource: &Resource) -> Option<String> {
    let at = |path: &ManagedPath| sensitive(path.as_str());
    if let Some(reaction) = resource.on_change.first() {
        return Some(format!("its change {}", reaction.describe()));
    }
    if let Spec::File { validate: Some(Validator::Command(_)), .. } = &resource.spec {
        return Some("a program of the node checks it".to_owned());
    }
    match &resource.spec {
        Spec::Kernel { key, .. } => key.root_code(),
        Spec::Unit { .. } => Some(UNIT.to_owned()),
        Spec::File { content, .. } if resource.kind == Kind::Sysctl => sysctl_effect(content.inline.as_deref()),
        Spec::File { path, owner, group, mode, .. } => at(path).or_else(|| {
            let bits = mode.bits();
            let root_group = group.as_str() == "root";
            match () {
                () if bits & 0o4000 != 0 && bits & 0o111 != 0 => Some(format!("set-uid {owner}")),
                () if bits & 0o2000 != 0 && bits & 0o111 != 0 => Some(format!("set-gid {group}")),
                () if bits & 0o111 != 0 && (*owner == UserName::root() || root_group) => {
                    Some("an executable of root".to_owned())
                }
                () => None,
            }
        }),
        Spec::Directory { path, .. } | Spec::Link { path, .. } => at(path),
        Spec::Sealed(sealed) => root_code(&Resource { spec: Spec::clone(&sealed.base), ..resource.clone() }),
        Spec::User { .. } | Spec::Keys { .. } | Spec::Group { .. } | Spec::Members { .. } => {
            account::root_code(&resource.spec)
        }
        Spec::Package { .. } => Some(account::PACKAGE.to_owned()),
        Spec::Hosts { .. } | Spec::Unsupported { .. } => None,
        Spec::Cron(job) => (job.user == UserName::root()).then(|| "a cron job of root".to_owned()),
    }
}

/// The files that a resource writes.
fn places(resource: &Resource) -> Vec<String> {
    match &resource.spec {
        Spec::File { path, .. } | Spec::Directory { path, .. } | Spec::Link { path, .. } => vec![path.to_string()],
        Spec::Unit { unit, .. } => vec![format!("/etc/systemd/system/{unit}")],
        Spec::Sealed(sealed) => places(&Resource { spec: Spec::clone(&sealed.base), ..resource.clone() }),
        Spec::Unsupported { .. } => Vec::new(),
        Spec::Kernel { key, .. } => vec![key.proc_path()],
        Spec::User { .. } | Spec::Keys { .. } | Spec::Group { .. } | Spec::Members { .. } | Spec::Package { .. } => {
            account::places(&resource.spec)
        }
        Spec::Hosts { .. } => vec!["/etc/hosts".to_owned()],
        Spec::Cron(job) => match job.table {
            CronTable::System => vec![format!("/etc/cron.d/lampas-{}", resource.name)],
            CronTable::User => vec![format!("/var/spool/cron/crontabs/{}", job.user)],
        },
    }
}

/// What root, a login or the boot executes or obeys. A directory stands for all that is below it.
const SENSITIVE: [&str; 62] = [
    "/bin",
    "/boot",
    "/lib",
    "/lib32",
    "/lib64",
    "/root",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share/polkit-1",
    "/usr/share/dbus-1",
    "/var/spool/cron",
    "/etc/aliases",
    "/etc/apache2",
    "/etc/apparmor.d",
    "/etc/apt",
    "/etc/at.allow",
    "/etc/at.deny",
    "/etc/bash.bashrc",
    "/etc/cron.allow",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/cron.deny",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/crontab",
    "/etc/dbus-1",
    "/etc/default",
    "/etc/dhcp",
    "/etc/dpkg",
    "/etc/environment",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/init.d",
    "/etc/kernel",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/logrotate.d",
    "/etc/modprobe.d",
    "/etc/network",
    "/etc/nsswitch.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/polkit-1",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/security",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/sysctl.conf",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/udev",
];

fn is_below(path: &str, above: &str) -> bool {
    above == "/" || path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Reads a file that only root, or the agent's own user, can have written.
pub(crate) fn read_trusted(path: &Path) -> io::Result<Option<String>> {
    let opened = fs::File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let wrong = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let meta = file.metadata()?;
    if !meta.is_file() {
        return wrong("is not a regular file".into());
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return wrong(format!("belongs to uid {}, not to root; chown root it", meta.uid()));
    }
    if meta.permissions().mode() & 0o133 != 0 {
        return wrong(format!("has mode {:04o}; chmod 644 it, or stricter", meta.permissions().mode() & 0o7777));
    }
    let mut text = String::new();
    file.take((1 << 20) + 1).read_to_string(&mut text)?;
    if text.len() > 1 << 20 {
        return wrong("is longer than 1 MiB".into());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
