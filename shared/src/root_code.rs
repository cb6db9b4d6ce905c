//! What counts as *root code*: what root, or everybody's login, would execute or obey once it stands on a node.
//!
//! One judgement for both sides: a node's policy allows it, refuses it or wants it signed, and the controller asks who sits
//! there before it lets such a thing out. It goes by effect, not by kind: a plain file below `/etc/cron.d` is root code,
//! a cron job of `www-data` is none. What only a node can know, such as who is in which group there, its agent adds.

mod account;
mod powerful;

use std::collections::BTreeMap;

use crate::{
    desired::{Resource, Spec},
    host::{ManagedPath, SysctlKey, UserName, Validator, assigned},
    object::Kind,
};

pub use account::{PACKAGE, leads_to_root, removed_account};
pub use powerful::Powerful;

/// What root starts and ends.
pub const UNIT: &str = "a unit of systemd";

/// Why root, or everybody's login, would execute what a resource holds; `None` when nothing says so.
#[must_use]
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
        Spec::Directory { path, .. } | Spec::Link { path, .. } => at(path).or_else(|| above(path.as_str())),
        Spec::Sealed(sealed) => root_code(&Resource { spec: Spec::clone(&sealed.base), ..resource.clone() }),
        Spec::User { .. } | Spec::Keys { .. } | Spec::Password { .. } | Spec::Group { .. } | Spec::Members { .. } => {
            account::root_code(&resource.spec)
        }
        Spec::Package { .. } => Some(PACKAGE.to_owned()),
        Spec::Hosts { .. } | Spec::Unsupported { .. } => None,
        Spec::Cron(job) => (job.user == UserName::root()).then(|| "a cron job of root".to_owned()),
    }
}

/// Returns the users whom a node's resources make as good as root, and why: their jobs and runs are root code too.
#[must_use]
pub fn powerful<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for resource in resources {
        let spec = match &resource.spec {
            Spec::Sealed(sealed) => &*sealed.base,
            spec => spec,
        };
        let (users, group): (Vec<&UserName>, _) = match spec {
            Spec::User { name, want } => {
                if want.uid == Some(0) && *name != UserName::root() {
                    found.insert(name.to_string(), "who is root by number".to_owned());
                }
                let mut groups = want.group.iter().chain(want.groups.iter().flatten());
                (vec![name], groups.find(|g| leads_to_root(g.as_str())))
            }
            Spec::Members { group, users } => {
                (users.iter().collect(), Some(group).filter(|g| leads_to_root(g.as_str())))
            }
            _ => continue,
        };
        let Some(group) = group else { continue };
        for user in users.into_iter().filter(|user| **user != UserName::root()) {
            found.entry(user.to_string()).or_insert_with(|| format!("who is in the group {group}"));
        }
    }
    found
}

/// Returns why a job is root code although it isn't root's: its user is among the [`powerful`].
#[must_use]
pub fn job(powerful: &BTreeMap<String, String>, spec: &Spec) -> Option<String> {
    match spec {
        Spec::Cron(job) => job_of(powerful, job.user.as_str()),
        Spec::Sealed(sealed) => job(powerful, &sealed.base),
        _ => None,
    }
}

/// Returns why a job of a user is root code.
#[must_use]
pub fn job_of(powerful: &BTreeMap<String, String>, user: &str) -> Option<String> {
    if user == "root" {
        return Some("a cron job of root".to_owned());
    }
    powerful.get(user).map(|why| format!("a cron job of {user}, {why}"))
}

/// Returns why a path is one of those that root, a login or the boot executes or obeys.
#[must_use]
pub fn sensitive(path: &str) -> Option<String> {
    let place = SENSITIVE.iter().find(|s| is_below(path, s)).map(|s| (*s).to_owned());
    let home = path.split('/').any(|part| part == ".ssh").then(|| ".ssh".to_owned());
    place.or(home).map(|s| format!("{s} is a sensitive place"))
}

/// Returns why a directory is one that leads to such a place: who may write it puts another in its stead.
#[must_use]
pub fn above(path: &str) -> Option<String> {
    let below = SENSITIVE.iter().chain(&OWN).find(|s| is_below(s, path))?;
    Some(format!("it leads to {below}, a sensitive place"))
}

/// What is LAMPAS's own, and no path of an object leads into.
const OWN: [&str; 3] = ["/etc/lampas", "/run/lampas", "/var/lib/lampas"];

/// Why a file of `/etc/sysctl.d` is root code: by what it sets.
fn sysctl_effect(line: Option<&[u8]>) -> Option<String> {
    let settings = line.map(|bytes| assigned(&String::from_utf8_lossy(bytes)));
    let Some(settings) = settings.filter(|s| !s.is_empty()) else {
        return Some("kernel settings that can't be read".to_owned());
    };
    settings.into_iter().find_map(|(key, _)| match SysctlKey::parse(key) {
        Ok(key) => key.root_code(),
        Err(_) => Some("a kernel setting that can't be read".to_owned()),
    })
}

/// Returns why a setting of the kernel that goes, by its place, changes what root executes.
#[must_use]
pub fn removed_setting(path: &str) -> Option<String> {
    SysctlKey::parse(path.strip_prefix("kernel:")?).ok()?.root_code()
}

/// Returns whether a path is another, or below it.
#[must_use]
pub fn is_below(path: &str, above: &str) -> bool {
    above == "/" || path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// What root, a login or the boot executes or obeys. A directory stands for all that is below it.
const SENSITIVE: [&str; 108] = [
    "/bin",
    "/boot",
    "/lib",
    "/lib32",
    "/lib64",
    "/root",
    "/run/systemd",
    "/run/udev",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/local/share/perl",
    "/usr/sbin",
    "/usr/share/bash-completion",
    "/usr/share/dbus-1",
    "/usr/share/initramfs-tools",
    "/usr/share/perl5",
    "/usr/share/polkit-1",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/spool/cron",
    "/etc/aliases",
    "/etc/alternatives",
    "/etc/anacrontab",
    "/etc/apache2",
    "/etc/apparmor.d",
    "/etc/apt",
    "/etc/at.allow",
    "/etc/at.deny",
    "/etc/bash.bashrc",
    "/etc/bash_completion.d",
    "/etc/binfmt.d",
    "/etc/cloud",
    "/etc/cron.allow",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/cron.deny",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/crontab",
    "/etc/crypttab",
    "/etc/csh.cshrc",
    "/etc/csh.login",
    "/etc/dbus-1",
    "/etc/default",
    "/etc/dhcp",
    "/etc/doas.conf",
    "/etc/dpkg",
    "/etc/environment",
    "/etc/fstab",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/grub.d",
    "/etc/gshadow",
    "/etc/hosts.allow",
    "/etc/init.d",
    "/etc/initramfs-tools",
    "/etc/kernel",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/logrotate.d",
    "/etc/modprobe.d",
    "/etc/modules",
    "/etc/modules-load.d",
    "/etc/needrestart",
    "/etc/network",
    "/etc/nsswitch.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/perl",
    "/etc/polkit-1",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/rc.local",
    "/etc/rc0.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rc6.d",
    "/etc/rcS.d",
    "/etc/security",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/sudo.conf",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/sysctl.conf",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/etc/udev",
    "/etc/update-motd.d",
    "/etc/wireguard",
    "/etc/zsh",
];

#[cfg(test)]
mod tests;
