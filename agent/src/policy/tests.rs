//! What the node's policy lets through.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::{Content, Provenance},
    fleet::Scope,
    host::{CronJob, FileMode, GroupName},
    object::{DriftPolicy, Kind, ObjectName, Target},
    time::UnixMs,
};

use super::*;

fn resource(kind: Kind, spec: Spec) -> Resource {
    Resource {
        target: Target::path("/x"),
        object: lampas_runtime::random::new_id(),
        kind,
        name: ObjectName::parse("x").expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance { revision: 1, author: "ann".into(), at: UnixMs(0), reason: String::new(), change: 1 },
        spec,
        on_change: Vec::new(),
    }
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
    let job = CronJob {
        schedule: "* * * * *".parse().expect("a schedule"),
        user: UserName::parse(user).expect("a user"),
        command: "true".into(),
        environment: BTreeMap::new(),
        mailto: None,
        time_zone: None,
        table: CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    };
    resource(Kind::Cron, Spec::Cron(job))
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
fn a_policy_that_others_could_write_or_nobody_understands_stops_root_code_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.toml");
    assert_eq!(Ruling::read(&path), Ruling::Known(Policy::default()));
    for (text, mode) in [
        ("observe = true\n", 0o664),
        ("observe = true\n", 0o646),
        ("observ = true\n", 0o644),
        ("deny_paths = [\"etc\"]", 0o644),
    ] {
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        let ruling = Ruling::read(&path);
        assert!(matches!(ruling, Ruling::Malformed(_)), "{text:?} {mode:o}: {ruling:?}");
        check(&ruling, &cron("root"), Some("policy.malformed"));
        check(&ruling, &file("/etc/motd", "root", 0o644), None);
    }
    fs::write(&path, "observe = true\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    assert!(Ruling::read(&path).observes());
    let link = dir.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    assert!(matches!(Ruling::read(&link), Ruling::Malformed(_)), "links are not followed");
}

#[test]
fn root_code_may_not_go_either_where_it_may_not_come() {
    let removal = |path: &'static str, kind, mode: u32, is_root_job| Removal {
        path,
        kind,
        files: [(mode > 0).then_some((0, 0, mode)), None],
        is_root_job,
    };
    let cases = [
        (removal("/etc/cron.d/lampas-a", Kind::Cron, 0o644, true), Some("policy.root_code")),
        (removal("/etc/cron.d/lampas-b", Kind::Cron, 0o644, false), None),
        (removal("/etc/sudoers.d/ops", Kind::File, 0o440, false), Some("policy.root_code")),
        (removal("/usr/local/bin/tool", Kind::Script, 0o755, false), Some("policy.root_code")),
        (removal("/etc/motd", Kind::File, 0o644, false), None),
        (removal("/etc/hosts", Kind::Hosts, 0, false), None),
        (
            Removal { files: [None, Some((0, 0, 0o4755))], ..removal("/srv/x", Kind::File, 0, false) },
            Some("policy.root_code"),
        ),
    ];
    let no_root = Ruling::Known(Policy { root_code: false, ..Policy::default() });
    for (removal, code) in &cases {
        let said = no_root.judge_removal(removal).map(|f| f.code);
        assert_eq!(said.as_deref(), *code, "{removal:?}");
        assert_eq!(Ruling::Known(Policy::default()).judge_removal(removal), None, "{removal:?}");
        let malformed = Ruling::Malformed("no TOML".into()).judge_removal(removal).map(|f| f.code);
        assert_eq!(malformed.as_deref(), code.map(|_| "policy.malformed"), "{removal:?}");
    }
    let denies = Ruling::Known(Policy { deny_paths: vec!["/etc".into()], ..Policy::default() });
    assert_eq!(denies.judge_removal(&cases[4].0).map(|f| f.code).as_deref(), Some("policy.denied_path"));
    assert_eq!(denies.judge_removal(&cases[3].0), None);
}
