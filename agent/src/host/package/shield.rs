//! Keeps services of new packages from starting while they are installed, by policy-rc.d (Debian's policy, section 9.3.3;
//! invoke-rc.d(8)). Services that were there before go on being restarted by their upgrades.
//!
//! What stood there before waits beside it as a copy until it stands again, so that a death at any point leaves something
//! that the next start mends.

use std::collections::{BTreeMap, BTreeSet};

use crate::system::{Modified, NewFile, PathError, Root, Seen};

/// Where Debian's programs look for it.
const SHIELD: &str = "/usr/sbin/policy-rc.d";
const ASIDE: &str = "/usr/sbin/policy-rc.d.lampas-aside";
/// By which the shield is known as LAMPAS's.
const MARK: &str = "# LAMPAS: services of packages that are being installed do not start by themselves";
/// Where services are, by their names.
const SERVICES: [&str; 4] = ["/etc/init.d", "/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];
/// More services than any node has.
const MAX_NAMES: usize = 20_000;

/// Puts the shield up.
///
/// # Errors
/// When it can't be written.
pub(super) fn raise(root: &Root) -> Result<(), PathError> {
    lower(root)?;
    if root.directory("/usr/sbin", 0)?.is_none() {
        // A root without programs has no services either.
        return Ok(());
    }
    put(root, ASIDE, &root.look(SHIELD, 0)?)?;
    let (text, xattrs) = (script(root), BTreeMap::new());
    let file =
        NewFile { bytes: text.as_bytes(), uid: 0, gid: 0, mode: 0o755, xattrs: &xattrs, modified: Modified::Now };
    root.write(SHIELD, &file)
}

/// Takes the shield down; what stood before stands again. Without a shield nothing happens.
///
/// # Errors
/// When it can't be removed.
pub(super) fn lower(root: &Root) -> Result<(), PathError> {
    let (standing, aside) = (root.look(SHIELD, 0)?, root.look(ASIDE, 0)?);
    match (&aside, is_ours(&standing)) {
        (Seen::Absent, true) => root.remove(SHIELD, 0),
        (Seen::Absent, false) => Ok(()),
        (before, is_ours) => {
            // Somebody else's that came meanwhile is newer than what was put aside.
            if is_ours || standing == Seen::Absent {
                put(root, SHIELD, before)?;
            }
            root.remove(ASIDE, 0)
        }
    }
}

fn is_ours(standing: &Seen) -> bool {
    let Seen::File { bytes, .. } = standing else { return false };
    String::from_utf8_lossy(bytes).lines().nth(1) == Some(MARK)
}

/// Puts a copy of what was seen somewhere else.
fn put(root: &Root, path: &str, seen: &Seen) -> Result<(), PathError> {
    match seen {
        Seen::File { bytes, meta, .. } => {
            let modified = Modified::At(meta.modified_ns);
            let (uid, gid, mode) = (meta.uid, meta.gid, meta.mode);
            root.write(path, &NewFile { bytes, uid, gid, mode, xattrs: &meta.xattrs, modified })
        }
        Seen::Link { to, .. } => root.write_link(path, to),
        Seen::Absent | Seen::Directory { .. } => Ok(()),
    }
}

/// The answer to whoever wants to start something: 104 lets it, 101 forbids it.
fn script(root: &Root) -> String {
    let (mut known, unfinished) = (BTreeSet::new(), unfinished(root));
    for directory in SERVICES {
        for name in root.list(directory, MAX_NAMES).ok().flatten().unwrap_or_default() {
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
fn unfinished(root: &Root) -> BTreeSet<String> {
    let read = |path: &str| {
        let bytes = root.read(path, super::MAX_STATUS).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let status = read(super::STATUS);
    let mut found = BTreeSet::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
        let Some((package, state)) = field("Package").zip(field("Status")) else { continue };
        if state.ends_with(" installed") || field("Config-Version").is_some() || package.contains('/') {
            continue;
        }
        let lists = [package.to_owned(), format!("{package}:{}", field("Architecture").unwrap_or_default())];
        for list in lists.map(|l| read(&format!("/var/lib/dpkg/info/{l}.list"))) {
            for path in list.lines() {
                let Some((directory, name)) = path.rsplit_once('/') else { continue };
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
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

    use super::*;

    struct Node(tempfile::TempDir, Root);

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
            for directory in ["usr/sbin", "etc/init.d", "lib/systemd/system", "var/lib/dpkg/info"] {
                fs::create_dir_all(dir.path().join(directory)).expect("mkdir");
            }
            fs::write(dir.path().join("lib/systemd/system/old.service"), "").expect("writes");
            let root = Root::open(dir.path()).expect("opens");
            Self(dir, root)
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path.trim_start_matches('/'))
        }

        fn ask(&self, arguments: &[&str]) -> Option<i32> {
            Command::new(self.at(SHIELD)).args(arguments).status().expect("runs").code()
        }
    }

    #[test]
    fn new_services_wait_and_old_ones_go_on() {
        let node = Node::new();
        raise(&node.1).expect("is raised");
        assert_eq!(node.ask(&["new.service", "start"]), Some(101));
        assert_eq!(node.ask(&["--quiet", "new", "restart"]), Some(101));
        assert_eq!(node.ask(&["new", "stop"]), Some(104));
        assert_eq!(node.ask(&["old", "restart"]), Some(104));
        assert_eq!(node.ask(&["old.service", "start"]), Some(104));
        lower(&node.1).expect("is lowered");
        assert!(!node.at(SHIELD).exists());

        // Its files are there since an attempt that failed; it never ran. An upgrade that failed did run before.
        let paragraph = |name: &str, more: &str| format!("Package: {name}\nStatus: install ok half-configured\n{more}");
        let status = [paragraph("half", ""), paragraph("old", "Config-Version: 1\n")].join("\n");
        fs::write(node.at("var/lib/dpkg/status"), status).expect("writes");
        for name in ["half", "old"] {
            fs::write(node.at("etc/init.d").join(name), "").expect("writes");
            let list = format!("/etc/init.d\n/etc/init.d/{name}\n");
            fs::write(node.at(&format!("var/lib/dpkg/info/{name}.list")), list).expect("writes");
        }
        raise(&node.1).expect("is raised");
        assert_eq!(node.ask(&["half", "start"]), Some(101));
        assert_eq!(node.ask(&["old", "start"]), Some(104));
        lower(&node.1).expect("is lowered");
    }

    #[test]
    fn what_stood_before_comes_back_after_a_death_at_any_point() {
        let node = Node::new();
        let (shield, aside) = (node.at(SHIELD), node.at(ASIDE));
        let own = "#!/bin/sh\nexit 101\n";
        let stands = |what: &str| {
            assert_eq!(fs::read_to_string(&shield).expect(what), own, "{what}");
            assert!(!aside.exists(), "{what}");
        };
        fs::write(&shield, own).expect("writes");
        fs::set_permissions(&shield, fs::Permissions::from_mode(0o750)).expect("chmod");
        raise(&node.1).expect("is raised");
        assert!(fs::read_to_string(&shield).expect("stands").contains(MARK));
        raise(&node.1).expect("raised twice, as after a death");
        lower(&node.1).expect("is lowered");
        stands("after all of it");
        assert_eq!(fs::metadata(&shield).expect("stands").permissions().mode() & 0o777, 0o750);
        fs::copy(&shield, &aside).expect("a death between the copy and the shield, or before the copy goes");
        lower(&node.1).expect("is mended");
        stands("after half of it");
        fs::rename(&shield, &aside).expect("as earlier agents left it");
        lower(&node.1).expect("is mended");
        stands("after a rename");
        raise(&node.1).expect("is raised");
        fs::write(&shield, "#!/bin/sh\n# somebody's\n").expect("writes");
        lower(&node.1).expect("is lowered");
        assert_eq!(fs::read_to_string(&shield).expect("stands"), "#!/bin/sh\n# somebody's\n");
        assert!(!aside.exists());
    }

    #[test]
    fn a_link_of_the_alternatives_comes_back_and_none_leads_out() {
        let node = Node::new();
        std::os::unix::fs::symlink("/etc/alternatives/policy-rc.d", node.at(SHIELD)).expect("links");
        raise(&node.1).expect("is raised");
        assert!(fs::symlink_metadata(node.at(SHIELD)).expect("stands").is_file());
        lower(&node.1).expect("is lowered");
        assert_eq!(fs::read_link(node.at(SHIELD)).expect("a link").to_str(), Some("/etc/alternatives/policy-rc.d"));

        let outside = tempfile::tempdir().expect("a directory");
        fs::remove_dir_all(node.at("usr/sbin")).expect("removed");
        std::os::unix::fs::symlink(outside.path(), node.at("usr/sbin")).expect("links");
        raise(&node.1).expect_err("it leads out of the root");
        assert_eq!(fs::read_dir(outside.path()).expect("lists").count(), 0);
    }
}
