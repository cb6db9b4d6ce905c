//! What the node's policy lets through.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::Content,
    host::{FileMode, GroupName, ManagedPath, PasswordWant, User, UserName},
    object::{Kind, Target},
    testing,
};

use super::*;

fn resource(kind: Kind, spec: Spec) -> Resource {
    testing::resource(Target::path("/x"), kind, "x", spec)
}

fn file(path: &str, owner: &str, mode: u32) -> Resource {
    resource(
        Kind::File,
        Spec::File {
            path: ManagedPath::parse(path).expect("a path"),
            content: Content::of(b"x"),
            owner: UserName::parse(owner).expect("a user"),
            group: GroupName::parse(owner).expect("a group"),
            mode: FileMode::new(mode).expect("a mode"),
            validate: None,
        },
    )
}

fn cron(user: &str) -> Resource {
    resource(Kind::Cron, Spec::Cron(testing::cron_job(user)))
}

fn check(ruling: &Ruling, resource: &Resource, code: Option<&str>) {
    let fault = ruling.judge(resource);
    assert_eq!(fault.as_ref().map(|f| f.code.as_str()), code, "{ruling:?} {resource:?}");
}

#[test]
fn effect_is_judged_not_kind() {
    let no_root = Ruling::Known(Policy { root_code: false, ..Policy::default() });
    for (resource, code) in [
        (file("/etc/motd", "root", 0o644), None),
        (file("/srv/run", "app", 0o755), None),
        (cron("www-data"), None),
        (cron("root"), Some("policy.root_code")),
        (file("/usr/local/bin/tool", "root", 0o755), Some("policy.root_code")),
        (file("/srv/tool", "app", 0o4755), Some("policy.root_code")),
        (file("/srv/tool", "app", 0o2755), Some("policy.root_code")),
        (file("/etc/cron.d/by-file", "root", 0o644), Some("policy.root_code")),
        (file("/etc/cron.drift", "root", 0o644), None),
        (file("/etc/sudoers.d/app", "root", 0o440), Some("policy.root_code")),
        (file("/etc/ld.so.preload", "root", 0o644), Some("policy.root_code")),
        (file("/home/ann/.ssh/authorized_keys", "ann", 0o600), Some("policy.root_code")),
        (file("/etc/systemd/system/x.service", "root", 0o644), Some("policy.root_code")),
    ] {
        check(&no_root, &resource, code);
        check(&Ruling::Known(Policy::default()), &resource, None);
    }
}

#[test]
fn denied_paths_cover_what_is_below_and_what_kinds_write() {
    let policy =
        Policy { deny_paths: vec!["/srv/own".into(), "/etc/cron.d".into(), "/etc/hosts".into()], ..Policy::default() };
    let ruling = Ruling::Known(policy);
    check(&ruling, &file("/srv/own/a/b", "app", 0o644), Some("policy.denied_path"));
    check(&ruling, &file("/srv/owner", "app", 0o644), None);
    check(&ruling, &cron("www-data"), Some("policy.denied_path"));
    let hosts =
        Spec::Hosts { address: "10.0.0.1".parse().expect("an address"), names: Vec::new(), comment: String::new() };
    check(&ruling, &resource(Kind::Hosts, hosts), Some("policy.denied_path"));
}

#[test]
fn observing_refuses_all_and_a_wanted_signature_refuses_root_code() {
    check(
        &Ruling::Known(Policy { observe: true, ..Policy::default() }),
        &file("/etc/motd", "root", 0o644),
        Some("policy.observe"),
    );
    let signed = Ruling::Known(Policy { require_signature: true, ..Policy::default() });
    check(&signed, &file("/etc/motd", "root", 0o644), None);
    check(&signed, &cron("root"), Some("policy.signature"));
}

#[test]
fn a_policy_that_others_could_write_or_nobody_understands_stops_every_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.toml");
    assert_eq!(Ruling::read(&path), Ruling::Known(Policy::default()));
    for (text, mode) in [
        ("observe = true\n", 0o664),
        ("observe = true\n", 0o646),
        ("observ = true\n", 0o644),
        ("deny_paths = [\"etc\"]", 0o644),
        ("", 0o644),
        ("# nothing\n\n", 0o644),
    ] {
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        let ruling = Ruling::read(&path);
        assert!(ruling.is_malformed() && ruling.owner_observes(), "{text:?} {mode:o}: {ruling:?}");
        check(&ruling, &cron("root"), Some("policy.malformed"));
        check(&ruling, &file("/etc/motd", "root", 0o644), Some("policy.malformed"));
    }
    fs::write(&path, "observe = true\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    assert!(Ruling::read(&path).observes());
    let link = dir.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    assert!(Ruling::read(&link).is_malformed(), "links are not followed");
}

#[test]
fn the_last_policy_that_could_be_followed_holds_while_the_file_is_malformed() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = crate::config::Paths::new(dir.path());
    lampas_runtime::files::private_dir(&paths.data()).expect("made");
    fs::create_dir_all(paths.policy().parent().expect("a directory")).expect("made");
    let write = |text: &str| {
        fs::write(paths.policy(), text).expect("written");
        fs::set_permissions(paths.policy(), fs::Permissions::from_mode(0o644)).expect("set");
        let ruling = Ruling::of(&paths);
        ruling.keep(&paths);
        ruling
    };
    assert!(write("deny_paths = 7\n").observes(), "there was none before it");
    assert!(!write("deny_paths = [\"/srv/data\"]\n").observes());
    let malformed = write("deny_path = [\"/srv/data\"]\n");
    assert!(malformed.is_malformed() && !malformed.observes());
    check(&malformed, &file("/srv/data/banner", "root", 0o644), Some("policy.denied_path"));
    check(&malformed, &file("/etc/motd", "root", 0o644), None);
    check(&malformed, &cron("root"), Some("policy.malformed"));
    assert_eq!(malformed.denied("/srv/data/banner"), Some("/srv/data"));
    let told = crate::signature::node_policy(&paths, &malformed);
    assert!(told.malformed.contains("the last one that could be followed holds"), "{told:?}");
    assert_eq!(told.deny_paths, ["/srv/data"]);
    assert!(!write("observe = true\n").is_malformed());
    assert!(write("observe = yes\n").observes(), "what was forbidden stays so");
    fs::remove_file(paths.policy()).expect("removed");
    Ruling::of(&paths).keep(&paths);
    assert!(write("observe = yes\n").observes(), "no policy is none to go back to");
}

/// A node on which ben may become root, and lives in /srv/ben.
fn ben() -> Powerful {
    Powerful {
        users: BTreeMap::from([("ben".to_owned(), "who is in the group sudo".to_owned())]),
        homes: BTreeMap::from([("/srv/ben".to_owned(), "ben".to_owned())]),
        unknown: None,
    }
}

fn user(name: &str, json: &str) -> Resource {
    let want: User = serde_json::from_str(json).expect("a user");
    resource(Kind::User, Spec::User { name: UserName::parse(name).expect("a user"), want })
}

fn keys(name: &str, home: Option<&str>) -> Resource {
    let user = UserName::parse(name).expect("a user");
    let home = home.map(|h| ManagedPath::parse(h).expect("a path"));
    resource(Kind::User, Spec::Keys { user, home, keys: Vec::new(), exclusive: false })
}

fn directory(path: &str, owner: &str) -> Resource {
    resource(
        Kind::Directory,
        Spec::Directory {
            path: ManagedPath::parse(path).expect("a path"),
            owner: UserName::parse(owner).expect("a user"),
            group: GroupName::parse(owner).expect("a group"),
            mode: FileMode::new(0o755).expect("a mode"),
        },
    )
}

#[test]
fn what_lets_somebody_in_as_one_of_the_powerful_is_root_code() {
    let lock = |name: &str| {
        let user = UserName::parse(name).expect("a user");
        resource(Kind::User, Spec::Password { user, want: PasswordWant::Locked })
    };
    let guards = Policy { require_signature: true, powerful: ben(), ..Policy::default() };
    for (resource, is_root_code) in [
        (keys("ben", None), true),
        (keys("ann", None), false),
        (keys("ann", Some("/srv/ben")), true),
        (user("ben", "{}"), true),
        (user("ann", r#"{"shell": "/bin/bash"}"#), false),
        (user("ann", r#"{"home": "/srv/ben"}"#), true),
        (lock("ben"), true),
        (lock("ann"), false),
        (cron("ben"), true),
        (file("/srv/ben/.profile", "ben", 0o644), true),
        (file("/srv/benefit", "app", 0o644), false),
        (file("/home/ann/.profile", "ann", 0o644), false),
        (directory("/srv", "app"), true),
        (directory("/etc", "app"), true),
        (directory("/var/lib", "app"), true),
        (directory("/opt/app", "app"), false),
    ] {
        let code = is_root_code.then_some("policy.signature");
        check(&Ruling::Known(guards.clone()), &resource, code);
        let last = Some(Box::new(guards.clone()));
        let malformed = Ruling::Malformed { why: "no TOML".into(), last };
        check(&malformed, &resource, is_root_code.then_some("policy.malformed"));
    }
}

#[test]
fn whom_a_state_makes_powerful_is_so_within_it() {
    let ruling = Ruling::Known(Policy { root_code: false, ..Policy::default() });
    check(&ruling, &keys("ann", None), None);
    let state = [user("ann", r#"{"groups": ["docker"], "home": "/srv/ann"}"#)];
    let mut expecting = ruling.clone();
    expecting.count_powerful(|| Powerful::of(&state));
    check(&expecting, &keys("ann", None), Some("policy.root_code"));
    check(&expecting, &file("/srv/ann/.bashrc", "ann", 0o644), Some("policy.root_code"));
}

#[test]
fn a_policy_that_is_replaced_in_two_steps_is_never_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = crate::config::Paths::new(dir.path());
    lampas_runtime::files::private_dir(&paths.data()).expect("made");
    fs::create_dir_all(paths.policy().parent().expect("a directory")).expect("made");
    fs::write(paths.policy(), "observe = true\n").expect("written");
    fs::set_permissions(paths.policy(), fs::Permissions::from_mode(0o644)).expect("set");
    let ruling = Ruling::of(&paths);
    let away = paths.policy().with_extension("away");
    fs::rename(paths.policy(), &away).expect("renamed");
    ruling.keep(&paths);
    assert!(paths.kept_policy().exists(), "what was read is kept, though it went");
    let ruling = Ruling::of_patiently(&paths, || fs::rename(&away, paths.policy()).expect("renamed"));
    assert!(ruling.observes(), "{ruling:?}");
    fs::remove_file(paths.policy()).expect("removed");
    let ruling = Ruling::of_patiently(&paths, || {});
    assert!(!ruling.observes(), "{ruling:?}");
    ruling.keep(&paths);
    assert!(!paths.kept_policy().exists());
    Ruling::of_patiently(&paths, || panic!("there was none"));
}

#[test]
fn root_code_may_not_go_either_where_it_may_not_come() {
    let users = ["root", "ben", "ann"].map(str::to_owned);
    let policy = Policy { powerful: ben(), ..Policy::default() };
    let jobs =
        |path: &'static str, jobs_of| Removal { path, kind: Kind::Cron, files: [Some((0, 0, 0o644)), None], jobs_of };
    let removal = |path: &'static str, kind, mode: u32| Removal {
        path,
        kind,
        files: [(mode > 0).then_some((0, 0, mode)), None],
        jobs_of: &[],
    };
    let cases = [
        (jobs("/etc/cron.d/lampas-a", &users[..1]), Some("policy.root_code")),
        (jobs("/etc/cron.d/lampas-b", &users[2..]), None),
        (jobs("/etc/cron.d/lampas-c", &users[1..]), Some("policy.root_code")),
        (removal("/etc/sudoers.d/ops", Kind::File, 0o440), Some("policy.root_code")),
        (removal("/usr/local/bin/tool", Kind::Script, 0o755), Some("policy.root_code")),
        (removal("/etc/motd", Kind::File, 0o644), None),
        (removal("/etc/hosts", Kind::Hosts, 0), None),
        (removal("password:ann", Kind::User, 0), Some("policy.root_code")),
        (removal("user:ann", Kind::User, 0), None),
        (removal("user:ben", Kind::User, 0), Some("policy.root_code")),
        (removal("/srv/ben/.ssh/authorized_keys", Kind::User, 0o600), Some("policy.root_code")),
        (removal("/home/ann/.ssh/authorized_keys", Kind::User, 0o600), None),
        (removal("/srv/ben/.profile", Kind::File, 0o644), Some("policy.root_code")),
        (removal("/srv", Kind::Directory, 0), Some("policy.root_code")),
        (removal("/var", Kind::Directory, 0), Some("policy.root_code")),
        (Removal { files: [None, Some((0, 0, 0o4755))], ..removal("/srv/x", Kind::File, 0) }, Some("policy.root_code")),
    ];
    let no_root = Ruling::Known(Policy { root_code: false, ..policy.clone() });
    for (removal, code) in &cases {
        let said = no_root.judge_removal(removal).map(|f| f.code);
        assert_eq!(said.as_deref(), *code, "{removal:?}");
        assert_eq!(Ruling::Known(Policy::default()).judge_removal(removal), None, "{removal:?}");
        let last = Some(Box::new(policy.clone()));
        let malformed = Ruling::Malformed { why: "no TOML".into(), last };
        let malformed = malformed.judge_removal(removal).map(|f| f.code);
        assert_eq!(malformed.as_deref(), code.map(|_| "policy.malformed"), "{removal:?}");
    }
    let denies = Ruling::Known(Policy { deny_paths: vec!["/etc".into()], ..Policy::default() });
    assert_eq!(denies.judge_removal(&cases[5].0).map(|f| f.code).as_deref(), Some("policy.denied_path"));
    assert_eq!(denies.judge_removal(&cases[4].0), None);
}
