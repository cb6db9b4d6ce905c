//! States as samples: what a node is told.

use lampas_shared::{
    desired::{Content, ContentHash, Generation, NodeDesired, Provenance, Resource, Spec},
    host::{
        CronJob, CronTable, EnvName, FileMode, GroupName, HostName, ManagedPath, SysctlKey, TimeZoneName, UserName,
        Validator,
    },
    id::{NodeId, ObjectId, SecretValueId},
    object::{DriftPolicy, Kind as ObjectKind, ObjectName, Target},
    template::{Escape, Part, Sealed},
    time::UnixMs,
};
use uuid::Uuid;

/// A file and a job with secrets in them, and one that can't be put together.
pub(super) fn with_secrets() -> NodeDesired {
    let secret = |escape| Part::Secret {
        name: ObjectName::parse("db.password").unwrap(),
        value: SecretValueId::from_uuid(Uuid::from_u128(8)),
        escape,
    };
    let file = |path: &str| Spec::File {
        path: ManagedPath::parse(path).unwrap(),
        content: Content::of(b""),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o640).unwrap(),
        validate: Some(Validator::Json),
    };
    let job = CronJob {
        schedule: "@daily".parse().unwrap(),
        user: UserName::root(),
        command: "true".into(),
        environment: [(EnvName::parse("A").unwrap(), "b".into())].into(),
        mailto: None,
        time_zone: None,
        table: CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    };
    let sealed = |base, texts: Vec<(&str, Vec<Part>)>, fault: Option<&str>| {
        let texts = texts.into_iter().map(|(field, parts)| (field.to_owned(), parts)).collect();
        Spec::Sealed(Sealed { base: Box::new(base), texts, fault: fault.map(str::to_owned) })
    };
    let parts = vec![Part::Text("password=".into()), secret(Escape::Quoted), secret(Escape::Base64)];
    let whole = sealed(file("/etc/app"), vec![(Sealed::CONTENT, parts)], None);
    let blocked = sealed(file("/etc/b"), vec![(Sealed::CONTENT, Vec::new())], Some("line 1: not entitled"));
    let job = sealed(Spec::Cron(job), vec![("PW", vec![secret(Escape::Raw), secret(Escape::Shell)])], None);
    let mut app = resource(Target::path("/etc/app"), ObjectKind::File, whole);
    app.on_change = vec!["reload app.service".parse().unwrap()];
    let resources = vec![
        app,
        resource(Target::path("/etc/b"), ObjectKind::Script, blocked),
        resource(Target::parse("cron:hello").unwrap(), ObjectKind::Cron, job),
    ];
    NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), Generation { epoch: 1, counter: 121 }, resources)
}

pub(super) fn resource(target: Target, kind: ObjectKind, spec: Spec) -> Resource {
    Resource {
        target,
        object: ObjectId::from_uuid(Uuid::from_u128(7)),
        kind,
        name: ObjectName::parse("hello").unwrap(),
        scope: "role:app".parse().unwrap(),
        drift: DriftPolicy::Hold,
        provenance: Provenance {
            revision: 2,
            author: "admin".into(),
            at: UnixMs(1_790_000_000_000),
            reason: "log with seconds".into(),
            change: 118,
            approval: lampas_shared::desired::Approval::Unknown,
        },
        spec,
        on_change: Vec::new(),
    }
}

pub(super) fn sample_state() -> NodeDesired {
    let root = (UserName::root(), GroupName::root());
    let mode = |bits| FileMode::new(bits).unwrap();
    let path = |p: &str| ManagedPath::parse(p).unwrap();
    let cron = CronJob {
        schedule: "*/5 * * * *".parse().unwrap(),
        user: UserName::parse("www-data").unwrap(),
        command: "date +%F".into(),
        environment: [(EnvName::parse("LANG").unwrap(), "C".to_owned())].into(),
        mailto: Some(String::new()),
        time_zone: Some(TimeZoneName::parse("UTC").unwrap()),
        table: CronTable::System,
        timeout_secs: Some(60),
        enabled: true,
        template: false,
    };
    let file = Spec::File {
        path: path("/etc/motd"),
        content: Content::of(b"hello, world"),
        owner: root.0.clone(),
        group: root.1.clone(),
        mode: mode(0o644),
        validate: Some(Validator::Json),
    };
    let large = Spec::File {
        path: path("/usr/local/bin/large"),
        content: Content::of(&[7; 5000]),
        owner: root.0.clone(),
        group: root.1.clone(),
        mode: mode(0o755),
        validate: None,
    };
    let directory =
        Spec::Directory { path: path("/etc/motd.d"), owner: root.0.clone(), group: root.1.clone(), mode: mode(0o755) };
    let hosts = |address: &str| Spec::Hosts {
        address: address.parse().unwrap(),
        names: vec![HostName::parse("db-1.example").unwrap(), HostName::parse("db-1").unwrap()],
        comment: "the database".into(),
    };
    NodeDesired::new(
        NodeId::from_uuid(Uuid::from_u128(1)),
        Generation { epoch: 1, counter: 118 },
        vec![
            resource(Target::parse("cron:hello").unwrap(), ObjectKind::Cron, Spec::Cron(cron)),
            resource(Target::path("/etc/motd"), ObjectKind::File, file),
            resource(Target::path("/usr/local/bin/large"), ObjectKind::Script, large),
            resource(Target::path("/etc/motd.d"), ObjectKind::Directory, directory),
            resource(
                Target::path("/etc/current"),
                ObjectKind::Link,
                Spec::Link { path: path("/etc/current"), to: "motd".into() },
            ),
            resource(Target::host_name("db-1", false), ObjectKind::Hosts, hosts("10.0.0.5")),
            resource(Target::host_name("db-1", true), ObjectKind::Hosts, hosts("fd00::5")),
        ],
    )
}

/// A kernel setting: the file and the running kernel's value.
pub(super) fn kernel_setting() -> NodeDesired {
    let line = Spec::File {
        path: ManagedPath::parse("/etc/sysctl.d/60-lampas-hello.conf").unwrap(),
        content: Content::of(b"net.ipv4.ip_forward = 1\n"),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o644).unwrap(),
        validate: None,
    };
    let key = SysctlKey::parse("net.ipv4.ip_forward").unwrap();
    let target = Target::kernel(&key);
    let value = Spec::Kernel { key, value: "1".into() };
    let file = resource(Target::path("/etc/sysctl.d/60-lampas-hello.conf"), ObjectKind::Sysctl, line);
    let generation = Generation { epoch: 1, counter: 120 };
    let resources = vec![file, resource(target, ObjectKind::Sysctl, value)];
    NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), generation, resources)
}

/// A user with keys, a group with members, and a package.
pub(super) fn accounts_and_packages() -> NodeDesired {
    use lampas_shared::host::{AuthorizedKey, Ensure, Expiry, Package, PackageName, PackageVersion, User};
    let ann = UserName::parse("ann").unwrap();
    let ops = GroupName::parse("ops").unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ ann@desk";
    let want = User {
        uid: Some(1500),
        groups: Some(vec![GroupName::parse("adm").unwrap()]),
        home: Some(ManagedPath::parse("/srv/ann").unwrap()),
        comment: Some("Ann".into()),
        locked: Some(false),
        expires: Some(Expiry::parse("2027-01-31").unwrap()),
        ..User::default()
    };
    let home = want.home.clone();
    let keys = vec![AuthorizedKey::parse(key).unwrap()];
    let name = PackageName::parse("hello").unwrap();
    let version = Some(PackageVersion::parse("1.0-1").unwrap());
    let package = Package { package: Some(name.clone()), version, held: Some(true), ..Package::default() };
    let members = Spec::Members { group: ops.clone(), users: vec![ann.clone()] };
    let named = |mut resource: Resource, name: &str| {
        resource.name = ObjectName::parse(name).unwrap();
        resource
    };
    let resources = vec![
        named(resource(Target::user(&ann), ObjectKind::User, Spec::User { name: ann.clone(), want }), "ann"),
        named(
            resource(Target::keys(&ann), ObjectKind::User, Spec::Keys { user: ann, home, keys, exclusive: true }),
            "ann",
        ),
        named(resource(Target::members(&ops), ObjectKind::Group, members), "ops"),
        named(
            resource(
                Target::group(&ops),
                ObjectKind::Group,
                Spec::Group { name: ops, ensure: Ensure::Present, gid: Some(1600), system: false },
            ),
            "ops",
        ),
        resource(Target::package(&name), ObjectKind::Package, Spec::Package { name, want: package }),
    ];
    NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), Generation { epoch: 1, counter: 122 }, resources)
}

/// Passwords of accounts, a package that units take up, and a source with its key.
pub(super) fn passwords_and_sources() -> NodeDesired {
    use lampas_shared::{
        host::{Package, PackageName, PasswordWant},
        id::SecretValueId,
        template::{Escape, Part, Sealed},
    };
    let (ann, bob) = (UserName::parse("ann").unwrap(), UserName::parse("bob").unwrap());
    let named = |mut resource: Resource, name: &str| {
        resource.name = ObjectName::parse(name).unwrap();
        resource
    };
    let base = Spec::Password { user: ann.clone(), want: PasswordWant::Hash { hash: None, is_locked: true } };
    let part = Part::Secret {
        name: ObjectName::parse("ann-password").unwrap(),
        value: SecretValueId::from_uuid(Uuid::from_u128(7)),
        escape: Escape::Raw,
    };
    let texts = [(Sealed::PASSWORD.to_owned(), vec![part])].into();
    let sealed = Spec::Sealed(Sealed { base: Box::new(base), texts, fault: None });
    let locked = Spec::Password { user: bob.clone(), want: PasswordWant::Locked };
    let name = PackageName::parse("hello").unwrap();
    let package = Package { package: Some(name.clone()), ..Package::default() };
    let mut followed =
        resource(Target::package(&name), ObjectKind::Package, Spec::Package { name: name.clone(), want: package });
    followed.on_change = vec!["restart app".parse().unwrap()];
    let file = |path: &str, text: &str| {
        let spec = Spec::File {
            path: ManagedPath::parse(path).unwrap(),
            content: Content::of(text.as_bytes()),
            owner: UserName::root(),
            group: GroupName::root(),
            mode: FileMode::new(0o644).unwrap(),
            validate: None,
        };
        named(resource(Target::path(path), ObjectKind::AptSource, spec), "example")
    };
    let resources = vec![
        named(resource(Target::password(&ann), ObjectKind::User, sealed), "ann"),
        named(resource(Target::password(&bob), ObjectKind::User, locked), "bob"),
        followed,
        file("/etc/apt/keyrings/example.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"),
        file("/etc/apt/sources.list.d/example.sources", "Types: deb\n"),
    ];
    NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), Generation { epoch: 1, counter: 131 }, resources)
}

/// Kinds that came after the layout of states.
pub(super) fn younger_kinds() -> NodeDesired {
    let rules = Spec::File {
        path: ManagedPath::parse("/etc/sudoers.d/hello").unwrap(),
        content: Content::of(b"%ops ALL=(ALL) ALL\n"),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o440).unwrap(),
        validate: Some(Validator::Sudoers),
    };
    let unknown = Spec::Unsupported { kind: "balloon".into(), hash: ContentHash::of(b"balloon") };
    NodeDesired::new(
        NodeId::from_uuid(Uuid::from_u128(1)),
        Generation { epoch: 1, counter: 119 },
        vec![
            resource(Target::path("/etc/sudoers.d/hello"), ObjectKind::Sudoers, rules),
            resource(Target::parse("balloon:red").unwrap(), ObjectKind::Unsupported, unknown),
        ],
    )
}

/// Units of systemd, what is reloaded after a change, and a program that checks.
pub(super) fn units_and_reactions() -> NodeDesired {
    use lampas_shared::host::{Aspect, CheckCommand, Reaction, UnitName};
    let unit = UnitName::parse("app.service").unwrap();
    let reactions: Vec<Reaction> = vec!["reload app".parse().unwrap(), "restart other.service".parse().unwrap()];
    let file = |path: &ManagedPath, validate| Spec::File {
        path: path.clone(),
        content: Content::of(b"[Service]\nNice=5\n"),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o644).unwrap(),
        validate,
    };
    let at = |path: &ManagedPath, kind, validate| {
        let on_change = reactions.clone();
        Resource { on_change, ..resource(Target::path(path.as_str()), kind, file(path, validate)) }
    };
    let command = CheckCommand::new(vec!["/usr/sbin/app".into(), "-t".into(), "%s".into()]).unwrap();
    let conf = ManagedPath::parse("/etc/app.conf").unwrap();
    let mut resources = vec![
        at(&unit.file_path().unwrap(), ObjectKind::Service, None),
        at(&unit.override_path().unwrap(), ObjectKind::Service, None),
        at(&conf, ObjectKind::File, Some(Validator::Command(command))),
    ];
    for (aspect, is_so) in [(Aspect::Masked, false), (Aspect::Enabled, true), (Aspect::Running, true)] {
        let spec = Spec::Unit { unit: unit.clone(), aspect, is_so };
        resources.push(resource(Target::unit(&unit, aspect), ObjectKind::Service, spec));
    }
    let generation = Generation { epoch: 1, counter: 121 };
    NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), generation, resources)
}
