//! Which files say what accounts and packages are.

use lampas_shared::desired::Spec;

/// The files that say it.
pub(super) fn places(spec: &Spec) -> Vec<String> {
    let paths: &[&str] = match spec {
        Spec::User { .. } => &["/etc/passwd", "/etc/shadow", "/etc/group"],
        Spec::Password { .. } => &["/etc/shadow"],
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
