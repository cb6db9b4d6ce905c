//! What file systems and their administrators do: extended attributes, modes, immutable files, notes about `/etc/hosts`.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::fixture::{Host, ann, cron, directory, file, file_of, hosts, is_root};

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    let file = std::fs::File::open(path).expect("opens");
    rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty()).is_ok()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).expect("opens");
    let mut value = vec![0; 1024];
    let length = rustix::fs::fgetxattr(&file, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// An ACL (acl(5)) in the kernel's form: owner rw, one more user rw, group r, mask rw, others r.
fn acl(uid: u32) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 6, uid), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn attributes_and_acls_of_what_stood_before_come_back_and_foreign_files_keep_theirs() {
    let mut host = Host::new();
    host.write("etc/motd", "by hand\n");
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    let (motd, table) = (host.path("etc/motd"), host.path("etc/hosts"));
    let acl = acl(ann());
    let has_xattrs = set_xattr(&motd, "user.note", b"mine");
    let has_acls =
        set_xattr(&motd, "system.posix_acl_access", &acl) && set_xattr(&table, "system.posix_acl_access", &acl);
    host.apply(&[file("/etc/motd", "managed\n"), hosts("10.0.0.5", "db-1")]);
    assert_eq!(xattr(&motd, "system.posix_acl_access"), None, "the new content is not for whom the old one was");
    if has_acls {
        assert_eq!(xattr(&table, "system.posix_acl_access").as_ref(), Some(&acl), "the file is others'");
    }
    host.apply(&[]);
    if has_xattrs {
        assert_eq!(xattr(&motd, "user.note").as_deref(), Some(&b"mine"[..]));
    }
    if has_acls {
        assert_eq!(xattr(&motd, "system.posix_acl_access").as_ref(), Some(&acl));
        assert_eq!(xattr(&table, "system.posix_acl_access").as_ref(), Some(&acl));
    }
}

#[test]
fn modes_are_as_desired_whatever_the_umask_and_set_uid_survives_the_change_of_owner() {
    let mut host = Host::new();
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let owner = if is_root() { "ann" } else { "root" };
    host.apply(&[file_of("/opt/tool", b"x", owner, 0o4755), directory("/opt/open", 0o2775), cron("hello", "{}")]);
    nix::sys::stat::umask(before);
    let mode = |path: &str| std::fs::metadata(host.path(path)).expect("stat").mode() & 0o7777;
    assert_eq!((mode("opt/tool"), mode("opt/open"), mode("etc/cron.d/lampas-hello")), (0o4755, 0o2775, 0o644));
    if is_root() {
        assert_eq!(std::fs::metadata(host.path("opt/tool")).expect("stat").uid(), ann());
    }
    assert_eq!(mode("var/lib/lampas/agent/jobs"), 0o755);
}

#[test]
fn a_place_that_refuses_is_told_and_the_rest_is_rolled_back() {
    let chattr = |flag: &str, path: &Path| {
        std::process::Command::new("/usr/bin/chattr").arg(flag).arg(path).status().is_ok_and(|s| s.success())
    };
    let mut host = Host::new();
    host.write("etc/fixed", "fixed\n");
    if !chattr("+i", &host.path("etc/fixed")) {
        return;
    }
    let result = host.try_apply(&[file("/etc/a", "1"), file("/etc/fixed", "other\n")]);
    let error = result.expect_err("it is immutable");
    assert!(error.fault.message.contains("immutable") && !error.fault.retry, "{}", error.fault);
    host.roll_back(&error.record);
    assert!(chattr("-i", &host.path("etc/fixed")));
    assert_eq!((host.text("etc/a"), host.text("etc/fixed").as_deref()), (None, Some("fixed\n")));
    let names: Vec<_> = std::fs::read_dir(host.path("etc")).expect("lists").flatten().map(|e| e.file_name()).collect();
    assert!(names.iter().all(|n| !n.to_string_lossy().contains("lampas")), "nothing is left beside: {names:?}");
}

#[test]
fn that_cloud_init_rewrites_hosts_is_told() {
    let mut host = Host::new();
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    host.make("etc/cloud/cloud.cfg.d");
    let entry = hosts("10.0.0.5", "db-1");
    let is_told = |host: &Host| {
        let item = host.plan(std::slice::from_ref(&entry)).items.remove(0);
        item.notes.iter().any(|n| n.contains("manage_etc_hosts: false"))
    };
    for (main, more, expected) in [
        ("manage_etc_hosts: true\n", "", true),
        ("manage_etc_hosts: \"localhost\"\n", "", true),
        ("manage_etc_hosts: true\n", "manage_etc_hosts: false\n", false),
        ("preserve_hostname: true\n", "", false),
    ] {
        host.write("etc/cloud/cloud.cfg", main);
        host.write("etc/cloud/cloud.cfg.d/90_more.cfg", more);
        assert_eq!(is_told(&host), expected, "{main} {more}");
    }
    host.write("etc/cloud/cloud.cfg", "manage_etc_hosts: true\n");
    host.apply(std::slice::from_ref(&entry));
    // What cloud-init does at a boot: its own text, without the block.
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    let again = host.plan(std::slice::from_ref(&entry));
    assert!(again.items[0].is_drifted, "it is seen");
    host.apply(std::slice::from_ref(&entry));
    assert!(host.text("etc/hosts").expect("there").contains("10.0.0.5"), "and put back");
}

#[test]
fn a_job_runs_after_the_clock_was_years_ahead() {
    let mut host = Host::new();
    let user = if is_root() { "root" } else { "ann" };
    let job = cron("job", &format!(r#"{{"schedule": "* * * * *", "command": "true", "user": "{user}"}}"#));
    host.apply(std::slice::from_ref(&job));
    let slot = host.path(&format!("var/lib/lampas/agent/jobs/{}.slot", job.object));
    // 2100: what a wrong clock left.
    std::fs::write(&slot, "00000004102444800000\n").expect("written");
    std::fs::set_permissions(&slot, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let status =
        crate::job::run(host.dir.path(), job.object, crate::job::Start::Cron, std::io::sink(), std::io::sink());
    assert_eq!(status, 0);
    let runs = crate::job::collect(&host.root).expect("collects");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].run.outcome, lampas_shared::report::RunOutcome::Exited(0), "no slot waits for 2100");
    let now = std::fs::read_to_string(&slot).expect("read").trim().parse::<i64>().expect("a number");
    assert!(now < 4_102_444_800_000);
}
