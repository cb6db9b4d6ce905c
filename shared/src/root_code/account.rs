//! What of accounts and packages is root's: who may become root by it, and whose code root runs for it.

use crate::{
    desired::Spec,
    host::{GroupName, PasswordWant, UserName},
};

/// Scripts of packages run as root, whatever the package is.
pub const PACKAGE: &str = "a package, whose scripts run as root";

/// Groups whose members become root, or read and write what leads there (Debian's base-passwd, users-and-groups).
const GROUPS: [&str; 14] = [
    "root",
    "adm",
    "admin",
    "daemon",
    "disk",
    "docker",
    "kmem",
    "libvirt",
    "lxd",
    "shadow",
    "staff",
    "sudo",
    "wheel",
    "incus-admin",
];

/// Returns whether the members of a group become root, or read and write what leads there.
#[must_use]
pub fn leads_to_root(group: &str) -> bool {
    GROUPS.contains(&group)
}

fn is_roots(group: &GroupName) -> bool {
    leads_to_root(group.as_str())
}

/// Why an account or a group makes somebody root.
pub(super) fn root_code(spec: &Spec) -> Option<String> {
    match spec {
        Spec::User { name, want } => {
            if *name == UserName::root() || want.uid == Some(0) {
                return Some("the account of root".to_owned());
            }
            let group = want.group.iter().chain(want.groups.iter().flatten()).find(|g| is_roots(g))?;
            Some(format!("{name} comes into the group {group}"))
        }
        Spec::Keys { user, home, .. } => {
            let is_root = *user == UserName::root() || home.as_ref().is_some_and(|h| h.as_str() == "/root");
            is_root.then(|| "keys of root".to_owned())
        }
        // What the account may on this node the object doesn't say: sudo asks for the password.
        Spec::Password { want: PasswordWant::Hash { .. }, .. } => Some("a password, which sudo may ask for".to_owned()),
        Spec::Password { user, .. } => (*user == UserName::root()).then(|| "the password of root".to_owned()),
        Spec::Group { name, gid, .. } => {
            (is_roots(name) || *gid == Some(0)).then(|| format!("the group {name} leads to root"))
        }
        Spec::Members { group, .. } => is_roots(group).then(|| format!("the group {group} leads to root")),
        _ => None,
    }
}

/// Why root's ways change when what was managed at such a place goes.
#[must_use]
pub fn removed_account(place: &str) -> Option<String> {
    let (sort, name) = place.split_once(':').unwrap_or(("", place));
    let is_roots = match sort {
        "user" => name == "root",
        // The hash that stood before comes back: whoever knows the earlier password may use it with sudo again.
        "password" => return Some(format!("{place}: a password, which sudo may ask for")),
        "group" | "members" => leads_to_root(name),
        // A file of keys, by its path.
        _ => place.starts_with("/root/"),
    };
    is_roots.then(|| format!("{place} leads to root"))
}
