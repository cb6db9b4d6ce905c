//! Debian's own cron, in namespaces of its own, runs what the agent wrote for it: on the real root `/`, whose directories
//! that matter are fresh file systems in there.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use lampas_agent::{
    host::{Facts, Inputs, Ownership, apply, plan, prove},
    job::collect,
    system::Root,
};
use lampas_shared::{
    desired::{Resource, Spec},
    host::{CronJob, HostName},
    object::{Kind, Target},
    report::{JobRun, ResourceState, RunOutcome},
    testing::resource,
};

const INSIDE: &str = "LAMPAS_TEST_INSIDE";

/// Cron looks at its tables once a minute and starts jobs at its beginning; twice that, and time for a loaded machine.
const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn real_cron_runs_jobs_and_they_are_recorded() {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root || !std::path::Path::new("/usr/sbin/cron").exists() {
        assert!(!is_root, "install cron: this test runs Debian's own");
        return;
    }
    let script = r#"
        set -e
        mount -t tmpfs -o mode=0755 tmpfs /run
        mount -t tmpfs -o mode=0755 tmpfs /var/lib
        mount -t tmpfs -o mode=0755 tmpfs /etc/cron.d
        mount -t tmpfs -o mode=0755 tmpfs /var/spool/cron
        mkdir /var/spool/cron/crontabs /run/lampas-test
        chgrp crontab /var/spool/cron/crontabs
        chmod 1730 /var/spool/cron/crontabs
        cp "$2" /run/lampas-test/lampas-agent
        cat /etc/hosts > /run/lampas-test/hosts
        mount --bind /run/lampas-test/hosts /etc/hosts
        printf '#!/bin/sh\ncat >> /run/lampas-test/mail\n' > /run/lampas-test/sendmail
        chmod 755 /run/lampas-test/sendmail
        : > /run/lampas-test/mail
        chmod 666 /run/lampas-test/mail
        if [ -e /usr/sbin/sendmail ]; then mount --bind /run/lampas-test/sendmail /usr/sbin/sendmail; fi
        exec "$1" inside --exact --nocapture
    "#;
    let this = std::env::current_exe().expect("a test binary");
    let status = Command::new("/usr/bin/unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c", script, "sh"])
        .arg(this)
        .arg(env!("CARGO_BIN_EXE_lampas-agent"))
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("starts").success());
}

/// What runs in the namespaces.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let root = Root::open("/".as_ref()).expect("opens");
    let system = job(
        "system",
        r#"{"schedule": "* * * * *", "command": "echo 50% of $FOO by $(id -un)", "environment": {"FOO": "it"}, "mailto": "ops@example.test"}"#,
    );
    let user = job("user", r#"{"schedule": "* * * * *", "command": "id -un", "user": "daemon", "table": "user"}"#);
    let name = HostName::parse("lampas-real-cron.test").expect("a name");
    let spec =
        Spec::Hosts { address: "192.0.2.7".parse().expect("an address"), names: vec![name], comment: String::new() };
    let hosts = resource(Target::host_name("lampas-real-cron.test", false), Kind::Hosts, "h", spec);
    let resources = [system, user, hosts];

    let mut owned = Ownership::default();
    let waiting = states(&root, &resources, &owned, &mut None);
    assert!(waiting.iter().all(|s| *s != ResourceState::Converged), "nothing is in force yet: {waiting:?}");
    change(&root, &resources, &mut owned);
    let mut said = None;
    let stopped = states(&root, &resources, &owned, &mut said);
    assert_eq!(stopped[..2], [ResourceState::Blocked; 2], "cron does not run: {said:?}");

    let mut cron = Command::new("/usr/sbin/cron").arg("-f").spawn().expect("starts");
    let started = Instant::now();
    while states(&root, &resources, &owned, &mut said) != [ResourceState::Converged; 3] {
        assert!(started.elapsed() < LIMIT, "{said:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(plan_of(&root, &resources, &owned), "applying again would change nothing");
    let mut runs: Vec<JobRun> = Vec::new();
    while !resources[..2].iter().all(|r| runs.iter().any(|run| run.object == r.object)) {
        assert!(started.elapsed() < LIMIT, "cron started only {runs:?}");
        std::thread::sleep(Duration::from_millis(100));
        for found in collect(&root).expect("collects") {
            found.discard(&root).expect("discards");
            runs.push(found.run);
        }
    }
    let of = |r: &Resource| runs.iter().find(|run| run.object == r.object).expect("ran");
    assert_eq!(
        (of(&resources[0]).output.as_str(), of(&resources[0]).outcome),
        ("50% of it by root\n", RunOutcome::Exited(0))
    );
    assert_eq!((of(&resources[1]).output.as_str(), of(&resources[1]).user.as_str()), ("daemon\n", "daemon"));
    for run in &runs {
        let slot = run.slot.expect("a slot");
        assert!(slot.0 % 60_000 == 0 && run.started_at.since(slot) < 60_000, "{run:?}");
    }
    while std::path::Path::new("/usr/sbin/sendmail").exists() {
        let mail = std::fs::read_to_string("/run/lampas-test/mail").expect("reads");
        if mail.contains("\n50% of it by root\n")
            && mail.contains("To: ops@example.test")
            && mail.contains("\ndaemon\n")
        {
            break;
        }
        assert!(started.elapsed() < LIMIT, "cron mailed only {mail:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    change(&root, &[], &mut owned);
    assert!(owned.places.is_empty());
    assert!(!std::path::Path::new("/var/spool/cron/crontabs/daemon").exists(), "the crontab was LAMPAS's alone");
    cron.kill().expect("kills");
    cron.wait().expect("ends");
}

fn job(name: &str, json: &str) -> Resource {
    let job: CronJob = serde_json::from_str(json).expect("a job");
    let target = serde_json::from_value(format!("cron:{name}").into()).expect("a target");
    resource(target, Kind::Cron, name, Spec::Cron(job))
}

fn with_inputs<T>(resources: &[Resource], owned: &Ownership, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
    let zone = std::fs::read_to_string("/etc/timezone").unwrap_or_else(|_| "UTC".to_owned());
    let facts = Facts {
        time_zone: zone.trim().to_owned(),
        host_name: "web-1".to_owned(),
        wrapper: "/run/lampas-test/lampas-agent".to_owned(),
        root_argument: None,
    };
    let held = BTreeSet::new();
    work(&Inputs {
        resources,
        content: &|_| None,
        owned,
        held: &held,
        facts: &facts,
        judge: &|_| None,
        judge_removal: &|_| None,
        looks: None,
        secrets: None,
    })
}

fn change(root: &Root, resources: &[Resource], owned: &mut Ownership) {
    let planned = with_inputs(resources, owned, |inputs| plan(root, inputs));
    assert!(planned.items.iter().all(|i| i.fault.is_none()), "{:?}", planned.items);
    *owned = apply(root, &planned, &mut |_| Ok(())).expect("applies").ownership;
}

fn plan_of(root: &Root, resources: &[Resource], owned: &Ownership) -> bool {
    with_inputs(resources, owned, |inputs| plan(root, inputs)).is_empty()
}

fn states(root: &Root, resources: &[Resource], owned: &Ownership, said: &mut Option<String>) -> Vec<ResourceState> {
    let reports = with_inputs(resources, owned, |inputs| prove(root, inputs));
    *said = Some(format!("{reports:?}"));
    reports.into_iter().map(|r| r.state).collect()
}
