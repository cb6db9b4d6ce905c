use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::{policy::Policy, system::sandbox::Helper};

struct World {
    dir: tempfile::TempDir,
    owned: Ownership,
    ruling: Ruling,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let world = Self { dir, owned: Ownership::default(), ruling: Ruling::Known(Policy::default()) };
        world.put(
            "/etc/passwd",
            b"root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nnobody:x:65534:1::/:/x\n",
        );
        world.put("/etc/group", b"root:x:0:\nann:x:1000:\nsudo:x:27:ann\nnogroup:x:1:\n");
        world
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().expect("a parent")).expect("makes it");
        fs::write(at, bytes).expect("writes");
    }

    fn scan(&self, paths: &[&str]) -> Scan {
        let root = Root::open(self.dir.path()).expect("a root");
        let paths_of = Paths::new(self.dir.path());
        let tools = Tools { sandbox: Helper { path: "/bin/false".into(), args: Vec::new(), env: Vec::new() } };
        let means = Means { root: &root, paths: &paths_of, owned: &self.owned, ruling: &self.ruling, tools: &tools };
        scan(&means, &ScanRequest { paths: paths.iter().map(|p| (*p).to_owned()).collect() }).expect("scans")
    }
}

fn find<'a>(scan: &'a Scan, path: &str) -> Option<&'a ForeignFile> {
    scan.files.iter().find(|f| f.path == path)
}

fn content<'a>(scan: &'a Scan, path: &str) -> &'a [u8] {
    let file = find(scan, path).unwrap_or_else(|| panic!("{path} is shown: {scan:?}"));
    file.file.as_ref().and_then(|f| f.content.as_deref()).unwrap_or_else(|| panic!("{path} has content: {file:?}"))
}

#[test]
fn the_usual_places_come_as_bytes() {
    let world = World::new();
    world.put("/etc/cron.d/backup", b"0 3 * * * root /b \xff\n");
    world.put("/var/spool/cron/crontabs/ann", b"# BEGIN LAMPAS (x)\n1 * * * * a\n# END LAMPAS\n2 * * * * b\n");
    world.put("/etc/hosts", b"127.0.0.1 localhost\n");
    world.put("/usr/local/bin/tool", b"#!/bin/sh\n");
    let scan = world.scan(&[]);
    assert_eq!(content(&scan, "/etc/cron.d/backup"), b"0 3 * * * root /b \xff\n");
    assert_eq!(content(&scan, "/var/spool/cron/crontabs/ann"), b"2 * * * * b\n");
    assert_eq!(find(&scan, "/usr/local/bin/tool").map(|f| f.place), Some(Place::Script));
    let users: Vec<_> = scan.users.iter().map(|u| (u.name.as_str(), u.groups.join(","))).collect();
    assert_eq!(users, [("ann", "ann,sudo".to_owned())]);
}

#[test]
fn links_pipes_and_giants_are_named_and_not_read() {
    let world = World::new();
    world.put("/etc/cron.d/x", b"");
    symlink("loop-b", world.at("/etc/cron.d/loop-a")).expect("links");
    symlink("loop-a", world.at("/etc/cron.d/loop-b")).expect("links");
    nix::unistd::mkfifo(&world.at("/etc/cron.d/pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let giant = fs::File::create(world.at("/etc/cron.d/giant")).expect("creates");
    giant.set_len(100 << 20).expect("grows");
    let scan = world.scan(&[]);
    assert_eq!(find(&scan, "/etc/cron.d/loop-a").and_then(|f| f.link.as_deref()), Some("loop-b"));
    assert!(find(&scan, "/etc/cron.d/pipe").is_some_and(|f| f.fault.contains("named pipe")));
    let giant = find(&scan, "/etc/cron.d/giant").expect("is shown");
    assert!(giant.file.is_none() && giant.fault.contains("104857600 bytes"), "{giant:?}");
}

#[test]
fn a_full_directory_is_bounded_and_counted() {
    let world = World::new();
    world.put("/usr/local/bin/x", b"");
    let dir = world.at("/usr/local/bin");
    for i in 0..3000 {
        fs::write(dir.join(format!("n{i:05}")), "").expect("writes");
    }
    let scan = world.scan(&[]);
    assert_eq!(scan.files.iter().filter(|f| f.place == Place::Script).count(), 1000);
    assert!(scan.notes.iter().any(|n| n.contains("2001 of its 3001 names")), "{:?}", scan.notes);
}

#[test]
fn contents_end_with_their_room_and_secrets_and_denied_places_are_not_read() {
    let mut world = World::new();
    for i in 0..40 {
        world.put(&format!("/usr/local/bin/{i:02}"), &vec![b'x'; 250 << 10]);
    }
    world.put("/etc/shadow", b"root:secret");
    world.put("/srv/denied/x", b"x");
    world.ruling = Ruling::Known(Policy { deny_paths: vec!["/srv/denied".into()], ..Policy::default() });
    let scan = world.scan(&[]);
    let bytes: usize = scan.files.iter().filter_map(|f| f.file.as_ref()?.content.as_ref()).map(Vec::len).sum();
    assert!(bytes <= MAX_CONTENT_BYTES && bytes > MAX_CONTENT_BYTES / 2, "{bytes}");
    assert!(scan.notes.iter().any(|n| n.contains("8 MiB")));
    let asked = world.scan(&["/etc/shadow", "/srv/denied/x"]);
    assert!(asked.files.iter().all(|f| f.file.is_none() && !f.fault.is_empty()), "{asked:?}");
}

#[test]
fn what_lampas_manages_is_counted_and_left_out() {
    let mut world = World::new();
    world.put("/etc/cron.d/lampas-hello", b"x\n");
    world.put("/etc/cron.d/foreign", b"y\n");
    let owned = crate::host::Owned {
        claims: Default::default(),
        known: Default::default(),
        before: crate::host::Before::Absent,
        holds_secrets: false,
        values: BTreeSet::new(),
    };
    world.owned.places.insert("/etc/cron.d/lampas-hello".into(), owned);
    let scan = world.scan(&[]);
    assert_eq!(scan.managed, 1);
    assert!(find(&scan, "/etc/cron.d/lampas-hello").is_none() && find(&scan, "/etc/cron.d/foreign").is_some());
}
