//! Golden vectors and properties of version 1.
//!
//! `golden.txt` holds one frame a line, name and hexadecimal. A line may never change once released: it is what agents
//! in the field say. A message that is added gets a new line.

use lampas_shared::{
    audit::{Countersigned, Head},
    check::{Checked, FindingLevel, ScriptDraft, ToolFinding},
    desired::{Content, ContentHash, Generation, NodeDesired, Provenance, Resource, Spec},
    error::Fault,
    fleet::{NodeFacts, NodeName, NodePolicy},
    host::{
        CronJob, CronTable, EnvName, FileMode, GroupName, HostName, ManagedPath, SysctlKey, TimeZoneName, UserName,
        Validator,
    },
    id::{ControllerId, FleetId, NodeId, ObjectId, OperationId, RunId, SecretValueId},
    object::{DriftPolicy, Kind as ObjectKind, ObjectName, Target},
    operation::{OperationRun, OutputChunk, OutputPart, OutputStream, RunEnd, RunOrder, RunStatus},
    report::{
        Action, DriftOutcome, DriftReport, GenerationReport, JobRun, LostReports, NodePlan, ObservedFile, Phase,
        ResourceReport, ResourceState, RunOutcome, Verb,
    },
    scan::{Ejected, EjectedPlace, ForeignFile, ForeignPackage, HumanUser, Place, Scan, ScanRequest},
    signature::Signed,
    template::{Escape, Part, Sealed},
    time::UnixMs,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    BlobRequest, DecodeError, EnrolRequest, Enrolled, Goodbye, GoodbyeReason, Hello, Kind, Message, RenewRequest,
    Renewed, Reply, Report, Request, Role, SecretRequest, Trust, Welcome, decode, encode,
    frame::{Decoder, Frame},
};

const GOLDEN: &str = include_str!("golden.txt");

#[test]
fn every_message_is_written_as_it_was_released_and_read_back_whole() {
    let golden: Vec<(&str, &str)> = GOLDEN.lines().filter_map(|l| l.split_once(' ')).collect();
    let samples = samples();
    assert_eq!(samples.len(), golden.len(), "a sample for each line of golden.txt, and the other way round");
    for ((name, message), (golden_name, golden_hex)) in samples.iter().zip(golden) {
        assert_eq!(*name, golden_name);
        assert_eq!(hex(&encode(message).unwrap()), golden_hex, "{name} is no longer written as released");
        assert_eq!(decode(&frame(&unhex(golden_hex))).unwrap(), *message, "{name} is no longer read as released");
    }
}

#[test]
fn every_kind_has_a_sample() {
    let mut seen: Vec<Kind> = samples().iter().map(|(_, m)| m.kind()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, Kind::ALL);
}

#[test]
fn unknown_kinds_versions_and_facts_are_told_from_broken_ones() {
    let later = Frame { kind: Kind::Ping as u16, version: 2, body: vec![1] };
    assert!(matches!(decode(&later), Err(DecodeError::Unknown { kind: 4, version: 2 })));
    let unknown = Frame { kind: 999, version: 1, body: vec![] };
    assert!(matches!(decode(&unknown), Err(DecodeError::Unknown { kind: 999, version: 1 })));
    let trailing = Frame { kind: Kind::Ping as u16, version: 1, body: vec![1, 2] };
    assert!(matches!(decode(&trailing), Err(DecodeError::Trailing { extra: 1, .. })));

    let mut hello = frame(&encode(&Message::Hello(Box::new(sample_hello()))).unwrap());
    hello.body.extend_from_slice(&[0xff, 0xff, 3, 0, 1, 2, 3]);
    assert_eq!(
        decode(&hello).unwrap(),
        Message::Hello(Box::new(sample_hello())),
        "a fact of a later version is skipped"
    );
}

#[test]
fn values_go_through_their_parsers() {
    // Each replaces a text in an honest frame by a hostile one of equal length.
    let check = |from: &str, to: &str, expected: &str| {
        assert_eq!(from.len(), to.len());
        let frame = frame(&encode(&Message::Desired(Box::new(sample_state()))).unwrap());
        let at = frame.body.windows(from.len()).rposition(|w| w == from.as_bytes()).unwrap();
        let mut body = frame.body.clone();
        body[at..at + to.len()].copy_from_slice(to.as_bytes());
        let error = decode(&Frame { body, ..frame }).unwrap_err();
        let text = lampas_shared::error::Chain(&error).to_string();
        assert!(text.contains(expected), "{to:?} gave {text}");
    };
    check("date +%F", "x\nroot y", "must be a single line");
    check("/etc/motd.d", "/etc/../etc", "must not contain");
    check("*/5 * * * *", "*/5 * * * 9", "is not in 0 to 7");
    check("path:/etc/motd.d", "path:/etc/passwd", "stands for /etc/motd.d");
    check("www-data", "www;data", "is not allowed");
    check("hello, world", "hello, w0rld", "does not have the hash");
}

#[test]
fn a_length_inside_a_body_can_not_ask_for_memory() {
    // A list of 2^60 resources in eleven bytes, and a text of 4 GiB in a fault.
    for (kind, body) in [
        (Kind::Trust, vec![253, 0, 0, 0, 0, 0, 0, 0, 16]),
        (Kind::Fault, vec![252, 0xff, 0xff, 0xff, 0xff]),
        (Kind::BlobReply, vec![0, 252, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let error = decode(&Frame { kind: kind as u16, version: 1, body }).unwrap_err();
        assert!(matches!(error, DecodeError::Body { .. }), "{error:?}");
    }
}

proptest! {
    #[test]
    fn any_body_is_a_message_or_an_error(index in 0..Kind::ALL.len(), body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode(&Frame { kind: Kind::ALL[index] as u16, version: 1, body });
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples();
        let mut frame = frame(&encode(&samples[index.index(samples.len())].1).unwrap());
        if !frame.body.is_empty() {
            let at = at.index(frame.body.len());
            frame.body[at] = byte;
        }
        if let Ok(message) = decode(&frame) {
            // What was read can be written and read again.
            prop_assert_eq!(decode(&self::frame(&encode(&message).unwrap())).unwrap(), message);
        }
    }
}

fn samples() -> Vec<(&'static str, Message)> {
    let fault = Fault { code: "cron.user_unknown".into(), message: "no user www".into(), retry: false };
    let target = Target::path("/etc/motd");
    vec![
        ("hello", Message::Hello(Box::new(sample_hello()))),
        ("hello_probe", Message::Hello(Box::new(Hello { role: Role::Probe, applied: None, ..sample_hello() }))),
        (
            "welcome",
            Message::Welcome(Box::new(Welcome {
                controller: ControllerId::from_uuid(Uuid::from_u128(3)),
                fleet: FleetId::from_uuid(Uuid::from_u128(4)),
                name: NodeName::parse("web-1").unwrap(),
                time: UnixMs(1_790_000_000_000),
                heartbeat_ms: 5000,
                acked: 17,
                controllers: vec!["fleet.example:8443".into()],
            })),
        ),
        ("desired", Message::Desired(Box::new(sample_state()))),
        ("ping", Message::Ping(7)),
        ("pong", Message::Pong(300)),
        ("goodbye", Message::Goodbye(Goodbye { reason: GoodbyeReason::Revoked, message: "revoked".into() })),
        ("fault", Message::Fault(fault.clone())),
        ("trust", Message::Trust(Trust::new(vec![vec![1, 2, 3], vec![4]]))),
        ("report_generation", report(1, Report::Generation(sample_generation_report(&fault)))),
        ("report_drift", report(2, Report::Drift(sample_drift()))),
        ("report_job", report(70_000, Report::Job(sample_run()))),
        (
            "report_lost",
            report(
                70_001,
                Report::Lost(LostReports {
                    count: 12,
                    from: UnixMs(1_790_000_000_000),
                    until: UnixMs(1_790_000_060_000),
                }),
            ),
        ),
        ("ack", Message::Ack(70_000)),
        ("plan_request", Message::Request(Box::new(Request::Plan(sample_state())))),
        ("plan_reply", Message::Reply(Box::new(Reply::Plan(Ok(sample_plan(&fault)))))),
        ("plan_refused", Message::Reply(Box::new(Reply::Plan(Err(fault.clone()))))),
        ("read_request", Message::Request(Box::new(Request::Read(target.clone())))),
        ("read_reply", Message::Reply(Box::new(Reply::Read(Ok(Some(sample_file())))))),
        ("read_reply_none", Message::Reply(Box::new(Reply::Read(Ok(None))))),
        ("revert_request", Message::Request(Box::new(Request::Revert(target)))),
        ("retry_request", Message::Request(Box::new(Request::Retry))),
        ("done_reply", Message::Reply(Box::new(Reply::Done(Ok(()))))),
        ("run_request", Message::Request(Box::new(Request::Run(sample_order())))),
        ("run_query", Message::Request(Box::new(Request::RunStatus(sample_order().run)))),
        ("cancel_request", Message::Request(Box::new(Request::CancelRun(sample_order().run)))),
        ("output_request", Message::Request(Box::new(Request::Output { run: sample_order().run, offset: 70_000 }))),
        ("forget_request", Message::Request(Box::new(Request::ForgetRun(sample_order().run)))),
        ("run_reply_unknown", Message::Reply(Box::new(Reply::Run(Ok(RunStatus::Unknown))))),
        ("run_reply_running", Message::Reply(Box::new(Reply::Run(Ok(RunStatus::Running))))),
        (
            "run_reply_ended",
            Message::Reply(Box::new(Reply::Run(Ok(RunStatus::Ended(Box::new(ended(RunEnd::TimedOut))))))),
        ),
        ("run_refused", Message::Reply(Box::new(Reply::Run(Err(fault.clone()))))),
        (
            "output_chunk",
            Message::Reply(Box::new(Reply::Output(Ok(OutputPart::Chunk(OutputChunk {
                offset: 300,
                stream: OutputStream::Stderr,
                after_ms: 1500,
                bytes: b"out\xff".to_vec(),
            }))))),
        ),
        ("output_end", Message::Reply(Box::new(Reply::Output(Ok(OutputPart::End(1 << 30)))))),
        ("report_run_exited", report(3, Report::Operation(ended(RunEnd::Exited(-1))))),
        ("report_run_signalled", report(3, Report::Operation(ended(RunEnd::Signalled(9))))),
        ("report_run_cancelled", report(3, Report::Operation(ended(RunEnd::Cancelled)))),
        ("report_run_not_started", report(3, Report::Operation(ended(RunEnd::NotStarted(fault.clone()))))),
        ("report_run_lost", report(3, Report::Operation(ended(RunEnd::Lost("the node was restarted".into()))))),
        ("blob_request", Message::BlobRequest(BlobRequest { hash: ContentHash::of(b"blob") })),
        ("blob_reply", Message::BlobReply(Ok(b"blob".to_vec()))),
        ("blob_refused", Message::BlobReply(Err(fault.clone()))),
        (
            "enrol_request",
            Message::EnrolRequest(Box::new(EnrolRequest {
                token: "secret".into(),
                csr: vec![48, 1, 0],
                facts: sample_hello().facts,
            })),
        ),
        (
            "enrol_reply",
            Message::EnrolReply(Box::new(Ok(Enrolled {
                node: NodeId::from_uuid(Uuid::from_u128(1)),
                name: NodeName::parse("web-1").unwrap(),
                fleet: FleetId::from_uuid(Uuid::from_u128(4)),
                chain: vec![vec![1], vec![2]],
                trust: Trust::new(vec![vec![9]]),
                controllers: vec!["a:1".into()],
                time: UnixMs(-1),
                observe: false,
            }))),
        ),
        ("enrol_refused", Message::EnrolReply(Box::new(Err(fault.clone())))),
        ("renew_request", Message::RenewRequest(RenewRequest { csr: vec![48, 1, 0] })),
        (
            "renew_reply",
            Message::RenewReply(Box::new(Ok(Renewed {
                chain: vec![vec![1]],
                trust: Trust::new(vec![vec![9]]),
                time: UnixMs(5),
            }))),
        ),
        ("renew_refused", Message::RenewReply(Box::new(Err(fault.clone())))),
        ("scan_request", Message::Request(Box::new(Request::Scan(ScanRequest { paths: vec!["/etc/motd".into()] })))),
        ("scan_reply", Message::Reply(Box::new(Reply::Scan(Ok(sample_scan()))))),
        ("scan_refused", Message::Reply(Box::new(Reply::Scan(Err(fault.clone()))))),
        ("manage_request", Message::Request(Box::new(Request::Manage))),
        ("eject_request", Message::Request(Box::new(Request::Eject))),
        (
            "eject_reply",
            Message::Reply(Box::new(Reply::Eject(Ok(Ejected {
                places: vec![EjectedPlace { path: "/etc/motd".into(), what: "a file, as it was".into() }],
                manifests: vec!["/var/lib/lampas/ejected/file.toml".into()],
            })))),
        ),
        ("eject_refused", Message::Reply(Box::new(Reply::Eject(Err(fault))))),
        (
            "enrol_observe_reply",
            Message::EnrolReply(Box::new(Ok(Enrolled {
                node: NodeId::from_uuid(Uuid::from_u128(1)),
                name: NodeName::parse("web-9").unwrap(),
                fleet: FleetId::from_uuid(Uuid::from_u128(4)),
                chain: vec![vec![1]],
                trust: Trust::new(vec![vec![9]]),
                controllers: vec![],
                time: UnixMs(5),
                observe: true,
            }))),
        ),
        ("desired_younger_kinds", Message::Desired(Box::new(younger_kinds()))),
        ("desired_sysctl", Message::Desired(Box::new(kernel_setting()))),
        ("signatures", Message::Signatures(vec![Signed { text: "LAMPAS".into(), signature: "-----BEGIN".into() }])),
        ("facts", Message::Facts(Box::new(facts_with_policy()))),
        ("audit_head", Message::AuditHead(sample_head(7))),
        (
            "countersigned",
            Message::Countersigned(Box::new(Countersigned {
                head: sample_head(7),
                at_ms: 1_790_000_000_000,
                signature: vec![48, 1, 0],
                contradicts: Some(sample_head(9)),
            })),
        ),
        ("check_request", Message::Request(Box::new(Request::Check(sample_draft())))),
        ("check_reply", Message::Reply(Box::new(Reply::Check(Ok(sample_checked()))))),
        (
            "try_request",
            Message::Request(Box::new(Request::Run(RunOrder { program: Some(sample_draft()), ..sample_order() }))),
        ),
        (
            "secret_request",
            Message::SecretRequest(SecretRequest { value: SecretValueId::from_uuid(Uuid::from_u128(8)), key: [7; 32] }),
        ),
        ("secret_reply", Message::SecretReply(Ok(b"sealed".to_vec()))),
        ("desired_secrets", Message::Desired(Box::new(with_secrets()))),
        ("desired_accounts", Message::Desired(Box::new(accounts_and_packages()))),
    ]
}

/// A file and a job with secrets in them, and one that can't be put together.
fn with_secrets() -> NodeDesired {
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

fn sample_head(seq: u64) -> Head {
    Head { epoch: 1, seq, hash: ContentHash::of(b"entry") }
}

fn sample_draft() -> ScriptDraft {
    ScriptDraft { content: "#!/bin/sh\necho $1\n".into() }
}

fn sample_checked() -> Checked {
    let finding = |level| ToolFinding {
        line: 2,
        column: 6,
        end_line: 2,
        end_column: 8,
        level,
        code: "SC2086".into(),
        message: "Double quote to prevent globbing and word splitting.".into(),
        tool: "shellcheck".into(),
    };
    use FindingLevel as L;
    Checked {
        tools: vec!["shellcheck".into()],
        notes: vec!["a note".into()],
        findings: [L::Error, L::Warning, L::Info, L::Style].map(finding).to_vec(),
    }
}

fn facts_with_policy() -> NodeFacts {
    let policy = NodePolicy {
        has_file: true,
        malformed: "line 1".into(),
        observe: false,
        root_code: true,
        require_signature: true,
        deny_paths: vec!["/etc/ssh".into(), "/srv".into()],
        signers: vec!["ann@example.com".into()],
    };
    NodeFacts { policy: Some(policy), ..sample_hello().facts }
}

fn report(seq: u64, report: Report) -> Message {
    Message::Report { seq, report: Box::new(report) }
}

fn sample_hello() -> Hello {
    Hello {
        role: Role::Session,
        oldest_version: 1,
        newest_version: 1,
        features: 0,
        agent_version: "0.1.0".into(),
        node: NodeId::from_uuid(Uuid::from_u128(1)),
        outbox_epoch: 99,
        session: 2,
        applied: Some((Generation { epoch: 1, counter: 118 }, ContentHash::of(b"state"))),
        trust: ContentHash::of(b"trust"),
        facts: NodeFacts {
            hostname: "web-1".into(),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0".into(),
            architecture: "x86_64".into(),
            cpus: 4,
            memory_bytes: 8 << 30,
            time_zone: "Europe/Berlin".into(),
            agent_version: "0.1.0".into(),
            machine: "ab12".into(),
            root: "/".into(),
            addresses: vec!["10.0.0.5".into(), "fd00::5".into()],
            policy: None,
        },
    }
}

fn resource(target: Target, kind: ObjectKind, spec: Spec) -> Resource {
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
        },
        spec,
        on_change: Vec::new(),
    }
}

fn sample_state() -> NodeDesired {
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

fn sample_generation_report(fault: &Fault) -> GenerationReport {
    GenerationReport {
        generation: Generation { epoch: 1, counter: 118 },
        hash: ContentHash::of(b"state"),
        phase: Phase::Applied,
        state: ResourceState::Blocked,
        took_ms: 84,
        resources: vec![ResourceReport {
            target: Target::parse("cron:hello").unwrap(),
            object: ObjectId::from_uuid(Uuid::from_u128(7)),
            state: ResourceState::Blocked,
            fault: Some(fault.clone()),
            notes: vec!["a foreign line wins".into()],
        }],
        at: UnixMs(1_790_000_000_084),
    }
}

/// A kernel setting: the file and the running kernel's value.
fn kernel_setting() -> NodeDesired {
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
fn accounts_and_packages() -> NodeDesired {
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

/// Packages are a group of their own on a node, and of one hash with the rest: an agent that knows no groups has the same.
#[test]
fn which_group_a_resource_is_in_is_no_part_of_the_state_s_hash() {
    let state = accounts_and_packages();
    assert_eq!(state.groups.iter().map(|g| g.resources.len()).collect::<Vec<_>>(), [4, 1]);
    let mut flat = state.clone();
    let all: Vec<Resource> = state.resources().cloned().collect();
    flat.groups.truncate(1);
    flat.groups[0].resources = all;
    assert_eq!(flat.compute_hash(), state.compute_hash());
}

/// Kinds that came after the layout of states.
fn younger_kinds() -> NodeDesired {
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

#[test]
fn a_kind_that_is_not_known_leaves_the_rest_of_the_state_as_it_was() {
    let state = younger_kinds();
    let sent = frame(&encode(&Message::Desired(Box::new(state.clone()))).unwrap());
    // A later build's word in the place of one that is known here, of the same length.
    let at = sent.body.windows(8).position(|w| w == b"\x07sudoers").unwrap() + 1;
    let mut body = sent.body.clone();
    body[at..at + 7].copy_from_slice(b"sudoerz");
    let Message::Desired(read) = decode(&Frame { body, ..sent }).unwrap() else { panic!("a state") };
    assert_eq!(
        read.compute_hash(),
        state.hash,
        "its hash came along, so that the state is still the one that was sent"
    );
    let kinds: Vec<_> = read.resources().map(|r| (r.kind, r.target.as_str())).collect();
    assert_eq!(
        kinds,
        [(ObjectKind::Unsupported, "balloon:red"), (ObjectKind::Unsupported, "path:/etc/sudoers.d/hello")]
    );
}

/// Units of systemd, and what is reloaded after a change: an agent that knows neither must not write the file without.
#[test]
fn units_and_reactions_travel_and_are_unknown_to_older_agents() {
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
    let state = NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), generation, resources);
    let sent = frame(&encode(&Message::Desired(Box::new(state.clone()))).unwrap());
    assert_eq!(decode(&sent).unwrap(), Message::Desired(Box::new(state.clone())));

    // To an older agent the words mean nothing.
    let mut body = sent.body.clone();
    for (word, other) in [(&b"\x07service"[..], &b"\x07servicf"[..]), (b"file with on_change", b"filf with on_change")]
    {
        while let Some(found) = body.windows(word.len()).position(|w| w == word) {
            body[found..found + word.len()].copy_from_slice(other);
        }
    }
    let Message::Desired(read) = decode(&Frame { body, ..sent }).unwrap() else { panic!("a state") };
    assert_eq!(read.compute_hash(), state.hash);
    assert!(read.resources().all(|r| r.kind == ObjectKind::Unsupported && r.on_change.is_empty()));
}

fn sample_file() -> ObservedFile {
    ObservedFile {
        content: Some(b"hello\xff".to_vec()),
        hash: ContentHash::of(b"hello\xff"),
        owner: "root".into(),
        group: "1234".into(),
        mode: FileMode::new(0o4755).unwrap(),
        modified_at: UnixMs(1),
        is_writable_by_others: true,
    }
}

fn sample_drift() -> DriftReport {
    DriftReport {
        target: Target::path("/etc/motd"),
        object: ObjectId::from_uuid(Uuid::from_u128(7)),
        generation: Generation { epoch: 1, counter: 118 },
        outcome: DriftOutcome::Standing,
        path: "/etc/motd".into(),
        diff: "-a\n+b\n".into(),
        observed: Some(sample_file()),
        at: UnixMs(2),
    }
}

fn sample_scan() -> Scan {
    let foreign =
        |place, path: &str| ForeignFile { place, path: path.into(), file: None, link: None, fault: String::new() };
    Scan {
        at: UnixMs(9),
        files: vec![
            ForeignFile { file: Some(sample_file()), ..foreign(Place::Cron, "/etc/cron.d/backup") },
            ForeignFile { link: Some("../x".into()), ..foreign(Place::Script, "/usr/local/bin/x") },
            ForeignFile { fault: "too large".into(), ..foreign(Place::File, "/etc/big") },
        ],
        packages: vec![ForeignPackage { name: "nginx".into(), version: "1.22.1-9".into() }],
        users: vec![HumanUser {
            name: "ann".into(),
            uid: 1000,
            groups: vec!["ann".into(), "sudo".into()],
            home: "/home/ann".into(),
        }],
        managed: 3,
        notes: vec!["something was left off".into()],
    }
}

fn sample_run() -> JobRun {
    JobRun {
        run: RunId::from_uuid(Uuid::from_u128(8)),
        object: ObjectId::from_uuid(Uuid::from_u128(7)),
        user: "www-data".into(),
        slot: Some(UnixMs(3)),
        started_at: UnixMs(4),
        ended_at: None,
        outcome: RunOutcome::Exited(-1),
        output: "done\n".into(),
        output_bytes: 5,
    }
}

fn sample_order() -> RunOrder {
    RunOrder {
        run: RunId::from_uuid(Uuid::from_u128(8)),
        operation: OperationId::from_uuid(Uuid::from_u128(9)),
        argv: vec!["/usr/local/bin/rotate-keys".into(), "a\nb".into()],
        expect: Some(ContentHash::of(b"script")),
        environment: [(EnvName::parse("PARAM_DAYS").unwrap(), "30".to_owned())].into(),
        user: UserName::parse("www-data").unwrap(),
        timeout_secs: 600,
        output_bytes: 1 << 20,
        rehearse: true,
        by: "user:admin".into(),
        program: None,
    }
}

fn ended(end: RunEnd) -> OperationRun {
    OperationRun {
        run: sample_order().run,
        operation: sample_order().operation,
        started_at: UnixMs(4),
        ended_at: UnixMs(9),
        end,
        output_bytes: 70_000,
        output_hash: ContentHash::of(b"output"),
    }
}

fn sample_plan(fault: &Fault) -> NodePlan {
    NodePlan {
        desired: ContentHash::of(b"desired"),
        observed: ContentHash::of(b"observed"),
        actions: vec![Action {
            target: Target::path("/etc/motd"),
            object: ObjectId::from_uuid(Uuid::from_u128(7)),
            kind: ObjectKind::File,
            name: ObjectName::parse("motd").unwrap(),
            verb: Verb::Update,
            path: "/etc/motd".into(),
            diff: "-a\n+b\n".into(),
            notes: vec!["note".into()],
            fault: Some(fault.clone()),
        }],
    }
}

fn frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    decoder.finish().unwrap();
    frame
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.map(|d| char::from_digit(u32::from(d), 16).unwrap()).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
