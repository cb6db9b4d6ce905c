//! Keeps services of new packages from starting while they are installed, by policy-rc.d (Debian's policy, section 9.3.3;
//! invoke-rc.d(8)). Services that were there before go on being restarted by their upgrades.
//!
//! What stood there before waits beside it and comes back by a rename, so that a death at any point leaves something that
//! the next start mends.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Where Debian's programs look for it.
const SHIELD: &str = "usr/sbin/policy-rc.d";
const ASIDE: &str = "usr/sbin/policy-rc.d.lampas-aside";
/// By which the shield is known as LAMPAS's.
const MARK: &str = "# LAMPAS: services of packages that are being installed do not start by themselves";
/// Where services are, by their names.
const SERVICES: [&str; 4] = ["etc/init.d", "etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system"];

/// Puts the shield up.
///
/// # Errors
/// When it can't be written.
pub(super) fn raise(root: &Path) -> io::Result<()> {
    lower(root)?;
    let (shield, aside) = (root.join(SHIELD), root.join(ASIDE));
    let Some(directory) = shield.parent().filter(|d| d.is_dir()) else {
        // A root without programs has no services either.
        return Ok(());
    };
    let beside = directory.join("policy-rc.d.lampas-new");
    fs::write(&beside, script(root))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    match fs::rename(&shield, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&beside, &shield)
}

/// Takes the shield down; what stood before stands again. Without a shield nothing happens.
///
/// # Errors
/// When it can't be removed.
pub(super) fn lower(root: &Path) -> io::Result<()> {
    let (shield, aside) = (root.join(SHIELD), root.join(ASIDE));
    let is_ours = is_ours(&shield);
    if aside.symlink_metadata().is_ok() {
        // Somebody else's that came meanwhile is newer than what was put aside.
        if is_ours || shield.symlink_metadata().is_err() {
            return fs::rename(&aside, &shield);
        }
        return fs::remove_file(&aside);
    }
    if is_ours { fs::remove_file(&shield) } else { Ok(()) }
}

fn is_ours(shield: &PathBuf) -> bool {
    let is_file = shield.symlink_metadata().is_ok_and(|m| m.is_file() && m.len() < 1 << 20);
    is_file && fs::read_to_string(shield).is_ok_and(|text| text.lines().nth(1) == Some(MARK))
}

/// The answer to whoever wants to start something: 104 lets it, 101 forbids it.
fn script(root: &Path) -> String {
    let (mut known, unfinished) = (BTreeSet::new(), unfinished(root));
    for directory in SERVICES {
        for entry in fs::read_dir(root.join(directory)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = name.strip_suffix(".service").unwrap_or(&name).to_owned();
            if !name.is_empty()
                && !unfinished.contains(&name)
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
            {
                known.insert(name);
            }
        }
    }
    let known: Vec<String> = known.into_iter().map(|name| format!(" {name}")).collect();
    let known = known.concat();
    format!(
        "#!/bin/sh\n{MARK}\n\
         while [ $# -gt 0 ]; do case \"$1\" in --*) shift ;; *) break ;; esac; done\n\
         known='{known} '\n\
         name=${{1%.service}}\n\
         case \"$known\" in *\" $name \"*) exit 104 ;; esac\n\
         case \"$2\" in *start*|*reload*|'') exit 101 ;; esac\n\
         exit 104\n"
    )
}

/// Returns the services of packages that are unpacked and never were set up: they are as new as those that are to come.
fn unfinished(root: &Path) -> BTreeSet<String> {
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap_or_default();
    let mut found = BTreeSet::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
        let Some((package, state)) = field("Package").zip(field("Status")) else { continue };
        if state.ends_with(" installed") || field("Config-Version").is_some() || package.contains('/') {
            continue;
        }
        let lists = [package.to_owned(), format!("{package}:{}", field("Architecture").unwrap_or_default())];
        for list in lists.map(|l| root.join("var/lib/dpkg/info").join(format!("{l}.list"))) {
            for path in fs::read_to_string(list).unwrap_or_default().lines() {
                let Some((directory, name)) = path.trim_start_matches('/').rsplit_once('/') else { continue };
                if SERVICES.contains(&directory) {
                    found.insert(name.strip_suffix(".service").unwrap_or(name).to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for directory in ["usr/sbin", "etc/init.d", "lib/systemd/system"] {
            fs::create_dir_all(root.path().join(directory)).expect("mkdir");
        }
        fs::write(root.path().join("lib/systemd/system/old.service"), "").expect("writes");
        root
    }

    #[test]
    fn new_services_wait_and_old_ones_go_on() {
        let root = root();
        raise(root.path()).expect("is raised");
        let ask = |arguments: &[&str]| {
            let status = Command::new(root.path().join(SHIELD)).args(arguments).status().expect("runs");
            status.code()
        };
        assert_eq!(ask(&["new.service", "start"]), Some(101));
        assert_eq!(ask(&["--quiet", "new", "restart"]), Some(101));
        assert_eq!(ask(&["new", "stop"]), Some(104));
        assert_eq!(ask(&["old", "restart"]), Some(104));
        assert_eq!(ask(&["old.service", "start"]), Some(104));
        lower(root.path()).expect("is lowered");
        assert!(!root.path().join(SHIELD).exists());

        // Its files are there since an attempt that failed; it never ran. An upgrade that failed did run before.
        fs::create_dir_all(root.path().join("var/lib/dpkg/info")).expect("mkdir");
        let paragraph = |name: &str, more: &str| format!("Package: {name}\nStatus: install ok half-configured\n{more}");
        let status = [paragraph("half", ""), paragraph("old", "Config-Version: 1\n")].join("\n");
        fs::write(root.path().join("var/lib/dpkg/status"), status).expect("writes");
        for name in ["half", "old"] {
            fs::write(root.path().join("etc/init.d").join(name), "").expect("writes");
            let list = format!("/etc/init.d\n/etc/init.d/{name}\n");
            fs::write(root.path().join(format!("var/lib/dpkg/info/{name}.list")), list).expect("writes");
        }
        raise(root.path()).expect("is raised");
        assert_eq!(ask(&["half", "start"]), Some(101));
        assert_eq!(ask(&["old", "start"]), Some(104));
        lower(root.path()).expect("is lowered");
    }

    #[test]
    fn what_stood_before_comes_back_after_a_death_at_any_point() {
        let root = root();
        let (shield, aside) = (root.path().join(SHIELD), root.path().join(ASIDE));
        let own = "#!/bin/sh\nexit 101\n";
        let stands = |what: &str| assert_eq!(fs::read_to_string(&shield).expect(what), own, "{what}");
        fs::write(&shield, own).expect("writes");
        raise(root.path()).expect("is raised");
        assert!(is_ours(&shield));
        raise(root.path()).expect("raised twice, as after a death");
        lower(root.path()).expect("is lowered");
        stands("after all of it");
        fs::rename(&shield, &aside).expect("a death between the renames");
        lower(root.path()).expect("is mended");
        stands("after half of it");
        raise(root.path()).expect("is raised");
        fs::write(&shield, "#!/bin/sh\n# somebody's\n").expect("writes");
        lower(root.path()).expect("is lowered");
        assert_eq!(fs::read_to_string(&shield).expect("stands"), "#!/bin/sh\n# somebody's\n");
        assert!(!aside.exists());
    }
}
