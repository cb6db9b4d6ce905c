//! Paths that lead elsewhere, and ancestors that others can write.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use lampas_shared::{
    desired::Spec,
    host::{GroupName, UserName},
};

use super::fixture::{Host, ann, directory, file, file_of, is_root};

fn set_mode(host: &Host, path: &str, mode: u32) {
    std::fs::set_permissions(host.path(path), std::fs::Permissions::from_mode(mode)).expect("chmod");
}

fn give(host: &Host, path: &str, uid: u32) {
    std::os::unix::fs::lchown(host.path(path), Some(uid), Some(uid)).expect("chown");
}

#[test]
fn an_ancestor_that_is_a_link_is_refused_but_for_those_of_distributions() {
    let mut host = Host::new();
    host.make("elsewhere");
    symlink("/elsewhere", host.path("opt/app")).expect("symlink");
    assert_eq!(host.fault(&file("/opt/app/x", "1")).as_deref(), Some("file.ancestor_symlink"));
    symlink("/etc", host.path("bin")).expect("symlink");
    assert_eq!(
        host.fault(&file("/bin/x", "1")).as_deref(),
        Some("file.ancestor_symlink"),
        "/bin leads where it should not"
    );
    std::fs::remove_file(host.path("bin")).expect("removes");
    host.make("usr/bin");
    host.make("run");
    symlink("usr/bin", host.path("bin")).expect("symlink");
    symlink("/run", host.path("var/run")).expect("symlink");
    host.apply(&[file("/bin/x", "1"), file("/var/run/y", "2")]);
    assert_eq!((host.text("usr/bin/x").as_deref(), host.text("run/y").as_deref()), (Some("1"), Some("2")));
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let mut host = Host::new();
    host.write("opt/victim", "untouched");
    symlink(host.path("opt/victim"), host.path("etc/motd")).expect("symlink");
    host.apply(&[file("/etc/motd", "x")]);
    assert_eq!(host.text("opt/victim").as_deref(), Some("untouched"));
    assert!(!host.path("etc/motd").is_symlink());
    host.apply(&[]);
    assert!(host.path("etc/motd").is_symlink(), "what stood before is back");
}

#[test]
fn a_named_pipe_blocks_nobody() {
    let host = Host::new();
    nix::unistd::mkfifo(&host.path("etc/motd"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(host.fault(&file("/etc/motd", "x")).as_deref(), Some("file.special"));
}

#[test]
fn a_left_over_beside_the_target_is_replaced_whatever_it_is() {
    let mut host = Host::new();
    host.apply(&[file("/etc/motd", "x")]);
    host.write("opt/victim", "untouched");
    let beside = lampas_shared::desired::ContentHash::of(b"motd").short();
    symlink(host.path("opt/victim"), host.path(&format!("etc/.lampas-{beside}.new"))).expect("symlink");
    host.apply(&[file("/etc/motd", "y")]);
    assert_eq!(host.text("opt/victim").as_deref(), Some("untouched"));
}

#[test]
fn the_way_up_is_refused() {
    let host = Host::new();
    for path in ["/../etc/passwd", "/etc/../../x", "/etc/./x"] {
        assert!(host.root.look(path, 0).is_err(), "{path}");
        assert!(host.root.read(path, 10).is_err(), "{path}");
    }
}

#[test]
fn an_ancestor_that_everybody_can_write_is_refused() {
    let host = Host::new();
    set_mode(&host, "opt", 0o777);
    assert_eq!(host.fault(&file("/opt/x", "1")).as_deref(), Some("file.ancestor_writable"));
    set_mode(&host, "opt", 0o1777);
    assert_eq!(host.fault(&file("/opt/x", "1")), None, "in a sticky directory others can't replace what is root's");
}

#[test]
fn what_could_be_swapped_once_its_directory_stands_stops_no_other() {
    if !is_root() {
        return;
    }
    let mut host = Host::new();
    host.make("srv");
    let mut theirs = directory("/srv/app", 0o755);
    if let Spec::Directory { owner, group, .. } = &mut theirs.spec {
        (*owner, *group) = (UserName::parse("ann").expect("a user"), GroupName::parse("ann").expect("a group"));
    }
    let wanted = [theirs, file("/srv/app/conf", "root's\n"), file("/etc/other", "x\n")];
    let planned = host.plan(&wanted);
    let fault = |path: &str| planned.items.iter().find(|i| i.path == path)?.fault.as_ref().map(|f| f.code.clone());
    assert_eq!(fault("/srv/app/conf").as_deref(), Some("file.ancestor_writable"));
    host.apply(&wanted);
    assert!(host.path("srv/app").is_dir());
    assert_eq!((host.text("srv/app/conf"), host.text("etc/other").as_deref()), (None, Some("x\n")));
}

#[test]
fn an_ancestor_of_another_user_takes_only_that_users_content() {
    if !is_root() {
        return;
    }
    let mut host = Host::new();
    host.make("home/ann");
    give(&host, "home/ann", ann());
    assert_eq!(host.fault(&file("/home/ann/x", "1")).as_deref(), Some("file.ancestor_writable"));
    let own = file_of("/home/ann/x", b"1", "ann", 0o644);
    host.apply(std::slice::from_ref(&own));
    assert_eq!(host.text("home/ann/x").as_deref(), Some("1"));
    host.apply(&[]);
    assert_eq!(host.text("home/ann/x"), None);

    // The user links somebody else's secret to the place: it is neither read nor shown.
    host.write("opt/shadow", "secret");
    std::fs::hard_link(host.path("opt/shadow"), host.path("home/ann/x")).expect("links");
    assert_eq!(host.fault(&own).as_deref(), Some("file.hard_linked"));
}

#[test]
fn an_ancestor_that_a_group_with_members_can_write_is_refused() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let base = host.text("etc/group").expect("group");
    host.write("etc/group", &format!("{base}staff:x:50:\n"));
    std::os::unix::fs::chown(host.path("opt"), Some(0), Some(50)).expect("chown");
    set_mode(&host, "opt", 0o2775);
    assert_eq!(host.fault(&file("/opt/x", "1")), None, "an empty group is nobody");
    host.write("etc/group", &format!("{base}staff:x:50:ann\n"));
    assert_eq!(host.fault(&file("/opt/x", "1")).as_deref(), Some("file.ancestor_writable"));
}

#[test]
fn what_stood_before_and_is_huge_is_refused_and_not_lost() {
    let host = Host::new();
    std::fs::File::create(host.path("etc/huge")).and_then(|f| f.set_len(65 << 20)).expect("a sparse file");
    assert_eq!(host.fault(&file("/etc/huge", "x")).as_deref(), Some("file.too_large"));
}

#[test]
fn a_directory_is_not_taken_for_a_file() {
    let host = Host::new();
    host.make("etc/motd");
    assert_eq!(host.fault(&file("/etc/motd", "x")).as_deref(), Some("file.wrong_kind"));
}
