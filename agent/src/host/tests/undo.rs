//! What people change while an apply is under way or is undone stays theirs.

use lampas_shared::{
    desired::{Resource, Spec},
    host::{PasswordHash, PasswordWant, UserName},
    object::{Kind, Target},
};

use super::fixture::{Host, cron, directory, file, hosts, is_root, resource};
use crate::host::{HostPlan, Record, apply, kept};

/// Applies, while somebody edits between the plan and the first write, which has to stop it.
fn stopped(host: &Host, resources: &[Resource], edit: impl Fn()) -> Record {
    let planned = host.plan(resources);
    let error = apply(&host.root, &planned, &mut |_| {
        edit();
        Ok(())
    });
    let error = error.expect_err("stops");
    assert_eq!(error.fault.code, "file.changed_meanwhile");
    *error.record
}

fn drifted(plan: &HostPlan) -> Vec<&str> {
    plan.items.iter().filter(|i| i.is_drifted).map(|i| i.path.as_str()).collect()
}

fn copies(host: &Host) -> Vec<String> {
    let listed = std::fs::read_dir(host.path("var/lib/lampas/agent/kept/by-hand"));
    listed.into_iter().flatten().flatten().map(|e| std::fs::read_to_string(e.path()).expect("reads")).collect()
}

#[test]
fn a_change_between_plan_and_write_stops_the_apply_and_rolls_back() {
    let mut host = Host::new();
    host.write("etc/a", "a\n");
    host.write("etc/b", "b\n");
    let record = stopped(&host, &[file("/etc/a", "1\n"), file("/etc/b", "2\n")], || host.write("etc/b", "by hand\n"));
    assert_eq!(host.text("etc/a").as_deref(), Some("1\n"), "it stood before the other was looked at");
    for _ in 0..2 {
        host.roll_back(&record);
        // What somebody wrote in between is theirs, and no copy's business.
        assert_eq!((host.text("etc/a").as_deref(), host.text("etc/b").as_deref()), (Some("a\n"), Some("by hand\n")));
        assert_eq!(copies(&host), [""; 0]);
    }
}

#[test]
fn what_was_not_reached_is_no_business_of_the_way_back() {
    let mut host = Host::new();
    host.apply(&[file("/etc/gone", "1\n")]);
    let wanted = [file("/etc/a", "1\n"), file("/etc/gone", "2\n"), file("/etc/new", "1\n")];
    let record = stopped(&host, &wanted, || {
        std::fs::remove_file(host.path("etc/gone")).expect("removed");
        host.write("etc/new", "by hand\n");
    });
    host.roll_back(&record);
    let texts = |host: &Host| ["etc/a", "etc/gone", "etc/new"].map(|path| host.text(path));
    assert_eq!(texts(&host), [None, None, Some("by hand\n".to_owned())]);
    assert_eq!(drifted(&host.plan(&wanted)), ["/etc/gone"]);
    // From here on it is what stood before LAMPAS.
    host.apply(&wanted);
    assert_eq!(host.text("etc/new").as_deref(), Some("1\n"));
    host.apply(&[]);
    assert_eq!(host.text("etc/new").as_deref(), Some("by hand\n"));
}

#[test]
fn what_is_edited_while_an_apply_is_undone_is_drift_afterwards() {
    let mut host = Host::new();
    host.apply(&[file("/etc/a", "1\n"), file("/etc/b", "1\n"), file("/etc/c", "1\n")]);
    let next = [file("/etc/a", "2\n"), file("/etc/b", "2\n"), file("/etc/c", "2\n"), file("/etc/new", "2\n")];
    let record = host.apply(&next);
    host.write("etc/b", "by hand\n");
    std::fs::remove_file(host.path("etc/c")).expect("removed");
    host.write("etc/new", "by hand, too\n");
    host.roll_back(&record);
    let texts = ["etc/a", "etc/b", "etc/c", "etc/new"].map(|path| host.text(path).unwrap_or_default());
    assert_eq!(texts, ["1\n", "by hand\n", "", "by hand, too\n"]);
    assert_eq!(drifted(&host.plan(&next)), ["/etc/b", "/etc/c"]);
}

#[test]
fn lines_of_the_block_that_somebody_changes_meanwhile_stay_and_are_drift() {
    let check = |is_done: bool| {
        let mut host = Host::new();
        host.write("etc/hosts", "127.0.0.1 localhost\n");
        host.apply(&[hosts("10.0.0.5", "db-1"), hosts("10.0.0.7", "db-2")]);
        let next = [hosts("10.0.0.6", "db-1"), hosts("10.0.0.7", "db-2")];
        let edit = |host: &Host| {
            let text = host.text("etc/hosts").expect("hosts");
            host.write("etc/hosts", &text.replace("10.0.0.7", "10.0.0.9"));
        };
        let record = if is_done {
            let record = host.apply(&next);
            edit(&host);
            record
        } else {
            stopped(&host, &next, || edit(&host))
        };
        let edited = host.text("etc/hosts");
        host.roll_back(&record);
        assert_eq!(host.text("etc/hosts"), edited);
        assert!(edited.expect("hosts").contains("10.0.0.9\tdb-2"));
        assert!(!drifted(&host.plan(&next)).is_empty(), "it is told");
    };
    check(false);
    check(true);
}

#[test]
fn a_block_that_somebody_changed_goes_with_a_copy_where_none_stood() {
    let mut host = Host::new();
    host.write("etc/hosts", "127.0.0.1 localhost\n");
    let record = host.apply(&[hosts("10.0.0.5", "db-1")]);
    let text = host.text("etc/hosts").expect("hosts");
    host.write("etc/hosts", &text.replace("10.0.0.5", "10.0.0.9"));
    host.roll_back(&record);
    assert_eq!(host.text("etc/hosts").as_deref(), Some("127.0.0.1 localhost\n"));
    assert_eq!(copies(&host), ["10.0.0.9\tdb-1\n"]);
}

#[test]
fn a_crontab_that_its_user_floods_meanwhile_keeps_nothing_from_going_back() {
    let mut host = Host::new();
    let record = host.apply(&[file("/etc/a", "1\n"), cron("mine", r#"{"user": "ann", "table": "user"}"#)]);
    let path = "var/spool/cron/crontabs/ann";
    let flooded = format!("{}{}", host.text(path).expect("a crontab"), "# more\n".repeat(300_000));
    host.write(path, &flooded);
    host.roll_back(&record);
    assert_eq!((host.text("etc/a"), host.text(path)), (None, Some(flooded)));
}

#[test]
fn what_a_kill_leaves_between_a_file_and_a_directory_comes_back() {
    let mut host = Host::new();
    host.apply(&[file("/opt/a", "mine\n")]);
    let record = host.apply(&[directory("/opt/a", 0o755)]);
    std::fs::remove_dir(host.path("opt/a")).expect("removed");
    host.roll_back(&record);
    assert_eq!(host.text("opt/a").as_deref(), Some("mine\n"));
}

#[test]
fn copies_of_what_people_made_never_fill_the_disk() {
    let host = Host::new();
    let keep =
        |path: &str, bytes: &[u8]| kept::keep_by_hand(&host.root, path, 0, &kept::Holds::Nothing, bytes).expect("kept");
    let sizes = || {
        let listed = std::fs::read_dir(host.path("var/lib/lampas/agent/kept/by-hand")).expect("lists").flatten();
        let mut sizes: Vec<u64> = listed.map(|entry| entry.metadata().expect("stat").len()).collect();
        sizes.sort_unstable();
        sizes
    };
    keep("/home/ann/.ssh/authorized_keys", &vec![b'x'; 3 << 20]);
    assert_eq!(sizes(), [1 << 20], "of a user's file it is the beginning");
    keep("/etc/a", &vec![b'a'; 40 << 20]);
    assert_eq!(sizes(), [1 << 20, 40 << 20]);
    keep("/etc/b", &vec![b'b'; 40 << 20]);
    assert_eq!(sizes(), [1 << 20, 40 << 20], "the oldest of root's go, the last one stays");
    for n in 0..300 {
        keep("/etc/c", format!("{n}\n").as_bytes());
    }
    assert_eq!(sizes().len(), 257);
}

#[test]
fn a_password_that_somebody_sets_meanwhile_stays() {
    const HASH: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
    if !is_root() {
        return;
    }
    let user = UserName::parse("ann").expect("a name");
    let want = PasswordWant::Hash { hash: Some(PasswordHash::parse(HASH).expect("a hash")), is_locked: false };
    let spec = Spec::Password { user: user.clone(), want };
    let wanted = [resource(Target::password(&user), Kind::User, "ann", spec), file("/etc/a", "1\n")];
    let check = |is_done: bool, by_hand: &str, left: &str| {
        let mut host = Host::new();
        host.write("etc/shadow", "root:*:19000:0:99999:7:::\nann:$6$abc$def:19000:0:99999:7:::\n");
        let edit = |host: &Host| {
            let text = host.text("etc/shadow").expect("read");
            host.write("etc/shadow", &text.replace("$6$abc$def", by_hand).replace(HASH, by_hand));
        };
        let record = if is_done {
            let record = host.apply(&wanted);
            edit(&host);
            record
        } else {
            stopped(&host, &wanted, || edit(&host))
        };
        host.roll_back(&record);
        let text = host.text("etc/shadow").expect("read");
        assert!(text.contains(&format!("ann:{left}:")), "{by_hand}: {text}");
        assert!(copies(&host).is_empty(), "no copy of a hash for people");
    };
    check(false, "$6$byhand$x", "$6$byhand$x");
    check(true, "$6$byhand$x", "$6$byhand$x");
    // A lock is a mark that the account's own place may set: it is no other password.
    check(true, &format!("!{HASH}"), "$6$abc$def");
}
