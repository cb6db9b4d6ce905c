//! One sample of each message.

use std::collections::BTreeMap;

use lampas_shared::{
    audit::{Countersigned, Head},
    check::{Checked, FindingLevel, ScriptDraft, ToolFinding},
    desired::{Approval, ContentHash, Generation},
    error::Fault,
    fleet::{NodeFacts, NodeName, NodePause, NodePolicy},
    host::{EnvName, FileMode, UserName},
    id::{ControllerId, FleetId, NodeId, ObjectId, OperationId, RunId, SecretValueId},
    object::{Kind as ObjectKind, ObjectName, Target},
    operation::{
        OperationRun, OutputChunk, OutputPart, OutputStream, ProbeOrder, RunEnd, RunOrder, RunStatus, SecretUse,
    },
    probe::{Found, Number, Probe},
    report::{
        Action, DriftOutcome, DriftReport, GenerationReport, JobRun, LostReports, NodePlan, ObservedFile, Phase,
        ResourceReport, ResourceState, RunOutcome, Verb,
    },
    scan::{Ejected, EjectedPlace, ForeignFile, ForeignPackage, HumanUser, Place, Scan, ScanRequest},
    secret::StillHeld,
    signature::Signed,
    time::UnixMs,
};
use uuid::Uuid;

use super::state::{
    accounts_and_packages, kernel_setting, passwords_and_sources, sample_state, units_and_reactions, with_secrets,
    younger_kinds,
};
use crate::{
    BlobRequest, EnrolRequest, Enrolled, Goodbye, GoodbyeReason, Hello, Message, RenewRequest, Renewed, Reply, Report,
    Request, Role, SecretRequest, Trust, Welcome,
};

pub(super) fn samples() -> Vec<(&'static str, Message)> {
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
            "report_job_untaken",
            report(70_000, Report::Job(JobRun { outcome: RunOutcome::NodeDown, times: 41, ..sample_run() })),
        ),
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
        (
            "approvals",
            Message::Approvals(
                [
                    (3, Approval::NotRequired),
                    (5, Approval::By("ann".into())),
                    (7, Approval::Over("root".into())),
                    (9, Approval::Unknown),
                ]
                .into(),
            ),
        ),
        ("facts", Message::Facts(Box::new(facts_with_policy()))),
        ("facts_halted", Message::Facts(Box::new(facts_halted()))),
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
        ("order_request", Message::Request(Box::new(Request::Run(signed_order())))),
        ("probe_request", Message::Request(Box::new(Request::Run(question())))),
        ("probe_reply", Message::Reply(Box::new(Reply::Run(Ok(RunStatus::Ended(Box::new(answered()))))))),
        ("probe_report", Message::Report { seq: 3, report: Box::new(Report::Operation(answered())) }),
        ("desired_units", Message::Desired(Box::new(units_and_reactions()))),
        ("desired_passwords", Message::Desired(Box::new(passwords_and_sources()))),
        ("leave_request", Message::LeaveRequest),
        (
            "purge_request",
            Message::Request(Box::new(Request::Purge(
                [8, 9].map(|id| SecretValueId::from_uuid(Uuid::from_u128(id))).into(),
            ))),
        ),
        (
            "purge_reply",
            Message::Reply(Box::new(Reply::Purged(Ok(vec![StillHeld {
                value: SecretValueId::from_uuid(Uuid::from_u128(8)),
                why: "in force in /etc/app".into(),
            }])))),
        ),
    ]
}

/// Each option of a probe that goes over the network, and the value from before.
pub(super) fn question() -> RunOrder {
    let words = [
        "metric",
        "https://db-1:9100/metrics",
        "errors_total{code=\"500\",zone!=\"b\"}",
        "<=",
        "before+10%",
        "ca=/etc/ssl/own.pem",
        "days=14",
        "elsewhere",
        "within=30s",
        "for=1m",
    ];
    let probe = Probe::from_words(&words.map(str::to_owned)).unwrap();
    let before = Number::new(12.5);
    RunOrder { argv: vec!["probe".into()], expect: None, probe: Some(ProbeOrder { probe, before }), ..sample_order() }
}

pub(super) fn answered() -> OperationRun {
    OperationRun {
        found: Some(Found::new("13, as expected <= 13.75 (10 % over 12.5 before the change)", Number::new(13.0))),
        ..ended(RunEnd::Exited(0))
    }
}

pub(super) fn sample_head(seq: u64) -> Head {
    Head { epoch: 1, seq, hash: ContentHash::of(b"entry") }
}

pub(super) fn sample_draft() -> ScriptDraft {
    ScriptDraft { content: "#!/bin/sh\necho $1\n".into() }
}

pub(super) fn sample_checked() -> Checked {
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

pub(super) fn facts_with_policy() -> NodeFacts {
    let policy = NodePolicy {
        has_file: true,
        malformed: "line 1".into(),
        observe: false,
        root_code: true,
        require_signature: true,
        signed_secrets: false,
        deny_paths: vec!["/etc/ssh".into(), "/srv".into()],
        signers: vec!["ann@example.com".into()],
    };
    NodeFacts { policy: Some(policy), ..sample_hello().facts }
}

/// Of a node that is paused, and whose generation is undone.
pub(super) fn facts_halted() -> NodeFacts {
    let (since, until) = (UnixMs(1_790_000_000_000), Some(UnixMs(1_790_000_600_000)));
    let pause = NodePause { since, until, reason: "disk swap".into() };
    NodeFacts { pause: Some(pause), undone_since: Some(since), ..sample_hello().facts }
}

pub(super) fn report(seq: u64, report: Report) -> Message {
    Message::Report { seq, report: Box::new(report) }
}

pub(super) fn sample_hello() -> Hello {
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
            pause: None,
            undone_since: None,
        },
    }
}

pub(super) fn sample_generation_report(fault: &Fault) -> GenerationReport {
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

pub(super) fn sample_file() -> ObservedFile {
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

pub(super) fn sample_drift() -> DriftReport {
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

pub(super) fn sample_scan() -> Scan {
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

pub(super) fn sample_run() -> JobRun {
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
        times: 1,
    }
}

/// An order with a script, a secret and a statement.
pub(super) fn signed_order() -> RunOrder {
    let name = ObjectName::parse("db.password").unwrap();
    let used = SecretUse { name, value: SecretValueId::from_uuid(Uuid::from_u128(8)) };
    RunOrder {
        program: Some(sample_draft()),
        secrets: [(EnvName::parse("PARAM_PASSWORD").unwrap(), used)].into(),
        signed: Some(Signed { text: "LAMPAS".into(), signature: "-----BEGIN".into() }),
        ..sample_order()
    }
}

pub(super) fn sample_order() -> RunOrder {
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
        secrets: BTreeMap::new(),
        signed: None,
        probe: None,
    }
}

pub(super) fn ended(end: RunEnd) -> OperationRun {
    OperationRun {
        run: sample_order().run,
        operation: sample_order().operation,
        started_at: UnixMs(4),
        ended_at: UnixMs(9),
        end,
        output_bytes: 70_000,
        output_hash: ContentHash::of(b"output"),
        found: None,
    }
}

pub(super) fn sample_plan(fault: &Fault) -> NodePlan {
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
