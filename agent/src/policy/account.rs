//! What of accounts and packages is root's: who may become root by it, and whose code root runs for it.

use lampas_shared::{
    desired::Spec,
    host::{GroupName, UserName},
};

/// Scripts of packages run as root, whatever the package is.
pub(super) const PACKAGE: &str = "a package, whose scripts run as root";

/// Groups whose members become root, or read and write what leads there (Debian's base-passwd, users-and-groups).
const GROUPS: [&str; 13] = [
    "root",
    "adm",
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

fn is_roots(group: &GroupName) -> bool {
    GROUPS.contains(&group.as_str())
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
        Spec::Group { name, gid, .. } => {
            (is_roots(name) || *gid == Some(0)).then(|| format!("the group {name} leads to root"))
        }
        Spec::Members { group, .. } => is_roots(group).then(|| format!("the group {group} leads to root")),
        _ => None,
    }
}

/// Why root's ways change when what was managed at such a place goes.
pub(super) fn removed_root_code(place: &str) -> Option<String> {
    let (sort, name) = place.split_once(':').unwrap_or(("", place));
    let is_roots = match sort {
        "user" => name == "root",
        "group" | "members" => GROUPS.contains(&name),
        // A file of keys, by its path.
        _ => place.starts_with("/root/"),
    };
    is_roots.then(|| format!("{place} leads to root"))
}

/// The files that say it.
pub(super) fn places(spec: &Spec) -> Vec<String> {
    let paths: &[&str] = match spec {
        Spec::User { .. } => &["/etc/passwd", "/etc/shadow", "/etc/group"],
        Spec::Group { .. } | Spec::Members { .. } => &["/etc/group", "/etc/gshadow"],
        Spec::Package { .. } => &["/var/lib/dpkg"],
        Spec::Keys { user, home, .. } => {
            let home = home.as_ref().map_or_else(|| format!("/home/{user}"), ToString::to_string);
            return vec![format!("{home}/.ssh/authorized_keys")];
        }
        _ => &[],
    };
    paths.iter().map(|p| (*p).to_owned()).collect()
}
