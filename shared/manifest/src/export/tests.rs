//! What is exported is read back; and it looks as somebody would have written it.

use std::collections::BTreeMap;

use lampas_shared::{
    fleet::Scope,
    host::{
        AptSource, AuthorizedKey, CheckCommand, CronJob, Directory, Ensure, EnvName, Expiry, Fingerprint, Group,
        HostName, Link, ManagedFile, ManagedPath, Package, PackageEnsure, PackageName, PackageVersion, Password,
        Reaction, Schedule, Script, Service, Sudoers, Sysctl, SysctlKey, TimeZoneName, UnitName, User,
    },
    object::ObjectName,
    operation::ParameterName,
    secret::{Secret, Var},
};
use proptest::prelude::*;

use super::*;
use crate::{ManifestFile, NoSources, parse};

fn read_back(text: &str) -> Vec<ObjectSpec> {
    let entries = parse(&[ManifestFile { name: "export.toml", text }], &NoSources).expect(text);
    entries.into_iter().map(|entry| entry.spec.expect("present")).collect()
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop::sample::select(vec!["fleet", "role:app", "node:web-1.example", "label:env=prod,tier=web"])
        .prop_map(|text| text.parse().expect("a scope"))
}

fn any_path() -> impl Strategy<Value = ManagedPath> {
    "/[a-z]{1,4}/[ -.0-~ü]{1,3}[a-z'\"]".prop_map(|text| ManagedPath::parse(text).expect("a path"))
}

fn any_content() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ -~äß€]{0,20}",
        Just("'''".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("\\".to_owned()),
        Just("\r".to_owned()),
        Just("\u{7f}\u{1}\t".to_owned()),
        Just("\n".to_owned())
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn any_parameters() -> impl Strategy<Value = Vec<Parameter>> {
    let parameter = |(name, kind, help, required): (String, ParameterKind, String, bool)| Parameter {
        name: ParameterName::parse(name).expect("a name"),
        kind,
        help,
        required,
        default: (!matches!(kind, ParameterKind::Text | ParameterKind::Secret)).then(|| match kind {
            ParameterKind::Integer => "-3".to_owned(),
            ParameterKind::Boolean => "true".to_owned(),
            _ => "a \"b\"".to_owned(),
        }),
        pattern: (kind == ParameterKind::Text).then(|| r"[a-z\\]+\d".to_owned()),
        choices: if kind == ParameterKind::Choice { vec!["a \"b\"".into(), "c".into()] } else { Vec::new() },
        min: (kind == ParameterKind::Integer).then_some(-5),
        max: None,
    };
    let kind = prop_oneof![
        Just(ParameterKind::Text),
        Just(ParameterKind::Integer),
        Just(ParameterKind::Boolean),
        Just(ParameterKind::Choice),
        Just(ParameterKind::Secret)
    ];
    let all = proptest::collection::vec(("[a-z][a-z0-9_]{0,9}", kind, "[ -~]{0,9}", any::<bool>()), 0..3);
    all.prop_map(move |list| {
        let mut seen = std::collections::BTreeSet::new();
        list.into_iter().map(parameter).filter(|p| seen.insert(p.name.clone())).collect()
    })
}

fn any_access() -> impl Strategy<Value = (UserName, GroupName, FileMode)> {
    (prop::sample::select(vec!["root", "www-data"]), prop::sample::select(vec!["root", "adm"]), 0..=0o7777_u32)
        .prop_map(|(owner, group, mode)| {
            (
                UserName::parse(owner).expect("a user"),
                GroupName::parse(group).expect("a group"),
                FileMode::new(mode).expect("a mode"),
            )
        })
}

fn any_cron() -> impl Strategy<Value = Body> {
    let schedule = prop::sample::select(vec!["*/5 * * * *", "@daily", "0 4 1-7 jan,MAR sun"]);
    let environment = prop::collection::btree_map("[A-Z]{1,4}X", "[ -~ü]{0,12}", 0..3);
    let zone = prop::option::of(prop::sample::select(vec!["UTC", "Europe/Berlin"]));
    let switches = (any::<bool>(), any::<bool>(), prop::option::of(1..=604_800_u32));
    (schedule, "[!-~][ -~ü\t]{0,30}", environment, prop::option::of("[a-z@.]{0,8}"), zone, switches).prop_map(
        |(schedule, command, environment, mailto, zone, (is_user, enabled, timeout_secs))| {
            let names = environment.into_iter().map(|(name, value)| (EnvName::parse(name).expect("a name"), value));
            Body::Cron(CronJob {
                schedule: schedule.parse::<Schedule>().expect("a schedule"),
                user: UserName::root(),
                command,
                environment: names.collect::<BTreeMap<_, _>>(),
                mailto,
                time_zone: zone.map(|zone| TimeZoneName::parse(zone).expect("a zone")),
                table: if is_user { CronTable::User } else { CronTable::System },
                timeout_secs,
                enabled,
                template: false,
            })
        },
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    let hosts = (1..u32::MAX / 4, prop::collection::btree_set("[a-z]{1,8}", 1..4), "([!-~][ -~]{0,9}[!-~])?").prop_map(
        |(address, names, comment)| {
            Body::Hosts(HostsEntry {
                address: Some(std::net::IpAddr::from(address.to_be_bytes())),
                names: names.into_iter().map(|n| HostName::parse(n).expect("a name")).collect(),
                nodes: None,
                domain: None,
                comment,
            })
        },
    );
    let nodes = (any_scope(), any::<bool>()).prop_map(|(nodes, has_domain)| {
        Body::Hosts(HostsEntry {
            address: None,
            names: Vec::new(),
            nodes: Some(nodes),
            domain: has_domain.then(|| HostName::parse("db.example").expect("a name")),
            comment: String::new(),
        })
    });
    let script = (prop::option::of(any_path()), any_content(), any_access(), any_parameters()).prop_map(
        |(path, content, (owner, group, mode), parameters)| {
            Body::Script(Script {
                parameters,
                path,
                content: format!("#!/bin/sh\n{}", content.replace('\0', "")),
                template: false,
                on_change: Vec::new(),
                owner,
                group,
                mode,
            })
        },
    );
    let file = (
        any_path(),
        prop_oneof![any_content().prop_map(String::into_bytes), any::<[u8; 9]>().prop_map(Vec::from)],
        any_access(),
        any::<bool>(),
    )
        .prop_map(|(path, bytes, (owner, group, mode), has_check)| {
            let (content, encoding) = ManagedFile::encode(&bytes);
            let program = || ["/usr/sbin/check", "a \"b\"", "--file=%s"].map(str::to_owned).to_vec();
            let command = || Validator::Command(CheckCommand::new(program()).expect("a command"));
            let validate = has_check.then(|| if mode.bits() % 2 == 0 { Validator::Json } else { command() });
            Body::File(ManagedFile {
                path,
                content,
                encoding,
                template: false,
                owner,
                group,
                mode,
                validate,
                on_change: any_reactions(has_check),
            })
        });
    let directory = (any_path(), any_access())
        .prop_map(|(path, (owner, group, mode))| Body::Directory(Directory { path, owner, group, mode }));
    let sysctl = ("[a-z]{1,4}[./][a-z_0-9]{1,8}", "[ -~]{0,20}x")
        .prop_map(|(key, value)| Body::Sysctl(Sysctl { key: SysctlKey::parse(key).expect("a key"), value }));
    let sudoers =
        "[ -\\[\\]-~ä\n]{0,60}x".prop_map(|content| Body::Sudoers(Sudoers { content: content.replace("include", "") }));
    let link = (any_path(), "[!-~ü]{1,20}")
        .prop_map(|(path, target)| Body::Link(Link { path, target, on_change: Vec::new() }));
    let var = (any_content(), "[ -~]{0,9}").prop_map(|(value, description)| Body::Var(Var { value, description }));
    let secret = "[ -~]{0,9}".prop_map(|description| Body::Secret(Secret { description, value: None }));
    prop_oneof![
        any_cron(),
        hosts,
        nodes,
        script,
        file,
        directory,
        link,
        sudoers,
        sysctl,
        var,
        secret,
        any_account(),
        any_service()
    ]
}

fn any_reactions(has_some: bool) -> Vec<Reaction> {
    let some = ["reload nginx", "restart app@1.service"].map(|r| r.parse().expect("a reaction"));
    some.into_iter().filter(|_| has_some).collect()
}

/// Units of systemd; what of them contradicts itself is left out by whoever checks.
fn any_service() -> impl Strategy<Value = Body> {
    let flag = || prop::option::of(any::<bool>());
    let text = || prop::option::of(any_content().prop_map(|text| format!("[Unit]\n{}", text.replace('\0', ""))));
    (flag(), flag(), flag(), text(), text(), any::<bool>()).prop_map(
        |(enabled, running, masked, unit, drop_in, has_more)| {
            let has_text = unit.is_some() || drop_in.is_some();
            Body::Service(Service {
                unit_name: Some(UnitName::of(if has_more { "app@1" } else { "tick.timer" }).expect("a unit")),
                enabled,
                running,
                masked,
                unit,
                drop_in,
                on_change: any_reactions(has_more && has_text),
            })
        },
    )
}

/// Users, groups and packages; what of them contradicts itself is left out by whoever checks.
fn any_account() -> impl Strategy<Value = Body> {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ";
    let name = |text: &str| GroupName::parse(text).expect("a name");
    let names = prop::option::of(prop::collection::btree_set("[a-z]{1,6}", 0..3));
    let keys = prop::option::of(prop::collection::btree_set("[a-z@\"\\\\]{1,8}", 0..3));
    let switches = (prop::option::of(any::<bool>()), prop::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let user = (
        prop::option::of(1_u32..99_999),
        names.clone(),
        prop::option::of("[A-Za-zé\"']{0,9}"),
        keys,
        switches,
        any::<bool>(),
    );
    let user = user.prop_map(move |(uid, groups, comment, keys, (create_home, locked, system, exclusive), goes)| {
        if goes {
            return Body::User(User { ensure: Ensure::Absent, remove_home: system, ..User::default() });
        }
        let exclusive_keys = exclusive && keys.is_some();
        Body::User(User {
            uid,
            groups: groups.map(|g| g.iter().map(|g| name(g)).collect()),
            shell: exclusive.then(|| ManagedPath::parse("/bin/zsh").expect("a path")),
            comment,
            create_home,
            locked,
            expires: (locked != Some(true) && system).then(|| Expiry::parse("2027-01-31").expect("a day")),
            password: system.then(|| Password::parse("{{secret.ann}}").expect("a password")),
            system,
            authorized_keys: keys
                .map(|k| k.iter().map(|c| AuthorizedKey::parse(format!("{KEY} {c}")).expect("a key")).collect()),
            exclusive_keys,
            ..User::default()
        })
    });
    let group = (prop::option::of(1_u32..99_999), names, any::<bool>()).prop_map(|(gid, members, system)| {
        let members = members.map(|m| m.iter().map(|m| UserName::parse(m.as_str()).expect("a name")).collect());
        Body::Group(Group { gid, members, system, ..Group::default() })
    });
    let ensure = prop::sample::select(vec![PackageEnsure::Present, PackageEnsure::Absent, PackageEnsure::Purged]);
    let version = prop::option::of(prop::sample::select(vec!["latest", "1:2.0~rc1+deb12u1-1"]));
    let package = (ensure, version, prop::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let package = package.prop_map(|(ensure, version, held, recommends, allow_removals)| {
        let is_there = ensure == PackageEnsure::Present;
        let version = version.filter(|_| is_there).map(|v| PackageVersion::parse(v).expect("a version"));
        Body::Package(Package {
            package: Some(PackageName::parse("g++").expect("a name")),
            ensure,
            version,
            held: held.filter(|_| is_there),
            recommends: recommends || !is_there,
            allow_removals,
            on_change: any_reactions(recommends && is_there),
        })
    });
    prop_oneof![user, group, package]
}

fn any_object() -> impl Strategy<Value = ObjectSpec> {
    let drift = prop::sample::select(vec![DriftPolicy::Hold, DriftPolicy::Report, DriftPolicy::Repair]);
    ("[a-z][a-z0-9_-]{0,10}", any_scope(), drift, any_body()).prop_map(|(name, scope, drift, body)| ObjectSpec {
        name: ObjectName::parse(name).expect("a name"),
        scope,
        drift,
        body,
    })
}

proptest! {
    #[test]
    fn reading_what_was_exported_gives_the_same_objects(object in any_object()) {
        prop_assume!(object.check().is_ok());
        prop_assert_eq!(read_back(&export(std::slice::from_ref(&object))), vec![object]);
    }
}

#[test]
fn an_export_reads_well() {
    let text = export(&read_back(
        r##"
        [[cron]]
        name = "hello"
        scope = "role:app"
        schedule = "*/5 * * * *"
        user = "www-data"
        command = "date +%F\\ %T >> /var/log/hello.log"
        environment = { LANG = "C.UTF-8" }
        [[script]]
        name = "tidy"
        scope = "fleet"
        content = "#!/bin/sh\nset -eu\nfind \"$1\" -name '*.tmp' -delete\n"
        [[file]]
        name = "odd"
        scope = "node:web-1"
        path = "/etc/odd"
        content = "a\r\n'''\n\"\"\"\n"
        "##,
    ));
    insta::assert_snapshot!(text);
}

#[test]
fn a_source_of_packages_is_read_back_with_its_key_over_several_lines() {
    let key = include_str!("../../../src/host/apt/test-key.asc");
    let body = Body::AptSource(AptSource {
        uris: vec!["https://deb.example.org/debian".into(), "http://mirror.example.org".into()],
        suites: vec!["bookworm".into()],
        components: vec!["main".into()],
        architectures: vec!["amd64".into()],
        key: key.into(),
        fingerprints: vec![
            Fingerprint::parse(include_str!("../../../src/host/apt/test-key.fingerprint").trim()).expect("digits"),
        ],
    });
    let spec = ObjectSpec {
        name: ObjectName::parse("example").expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        body,
    };
    spec.check().expect("is right");
    assert_eq!(read_back(&export(std::slice::from_ref(&spec))), [spec]);
}
