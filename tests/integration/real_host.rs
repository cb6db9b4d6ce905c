//! The real `/` of a machine of its own: Debian's cron runs what `lampasctl` asked for, and nothing is left afterwards.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, Machine, Service, wait_for, wait_within};
use serde_json::Value;

/// Cron looks at its tables once a minute and starts jobs at its beginning; three of them, and time for a loaded machine.
const MINUTES: Duration = Duration::from_secs(240);

pub(crate) fn enrol(controller: &Controller, machine: &Machine, name: &str) -> Result<()> {
    enrol_at(controller, machine, name, "127.0.0.1")
}

/// Enrols a machine that reaches the controller at a host of its own.
pub(crate) fn enrol_at(controller: &Controller, machine: &Machine, name: &str, host: &str) -> Result<()> {
    let token = controller.ctl_ok(&["token", "create", "--node", name, "--role", "app", "--quiet"])?.out;
    let address = format!("{host}:{}", controller.port());
    let call = ["/usr/bin/lampas-agent", "enrol", "--controller", &address, "--token-file", "-"];
    machine.run_ok(&call, &token).map(drop)
}

pub(crate) fn start_agent(machine: &Machine) -> Result<Service> {
    machine.start("agent", &["/usr/bin/lampas-agent", "run"])
}

/// Returns what the controller shows of a resource of the node.
pub(crate) fn resource(controller: &Controller, name: &str) -> Result<Value, String> {
    let node = controller.json(&["node", "show", "real-1"]).map_err(|e| e.to_string())?;
    let list = node["resource_list"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|r| r["name"] == name).ok_or_else(|| node.to_string())
}

pub(crate) fn wait_state(controller: &Controller, name: &str, state: &str) -> Value {
    wait_for(&format!("{name} to be {state}"), || {
        let found = resource(controller, name)?;
        if found["state"] == state { Ok(found) } else { Err(found.to_string()) }
    })
}

/// Returns the runs of a job that the controller has, the newest first.
fn runs(controller: &Controller, job: &str) -> Result<Vec<Value>, String> {
    let list = controller.json(&["job", "list", job]).map_err(|e| e.to_string())?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn slot(run: &Value) -> Option<i64> {
    serde_json::from_value::<lampas_shared::time::UnixMs>(run["slot"].clone()).ok().map(|at| at.0)
}

#[test]
fn real_cron_runs_what_lampasctl_asked_for_and_nothing_is_left_afterwards() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let mut controller = Controller::start()?;
    let foreign = "# mine\n0 4 * * * true\n";
    machine.run_ok(&["/usr/bin/crontab", "-u", "daemon", "-"], foreign)?;
    machine.write("/etc/motd", "written by hand\n")?;
    enrol(&controller, &machine, "real-1")?;
    let before = pictures(&machine)?;
    let mut agent = start_agent(&machine)?;
    controller.wait_online("real-1");

    // A zone half an hour off every whole one, and the minute after the next: cron takes a table at a minute's beginning.
    let now = seconds_now();
    let due = (now / 60 + 2) * 60;
    let in_kolkata = (due + 5 * 3600 + 1800) % 86_400;
    let manifest = format!(
        r##"
[[cron]]
name = "tick"
scope = "role:app"
schedule = "* * * * *"
command = "echo 50% of $FOO by $(id -un)"
environment = {{ FOO = "it" }}
mailto = "ops@example.test"

[[cron]]
name = "own"
scope = "role:app"
schedule = "* * * * *"
user = "daemon"
table = "user"
command = "id -un"
mailto = "dev@example.test"

[[cron]]
name = "abroad"
scope = "role:app"
schedule = "{} {} * * *"
time_zone = "Asia/Kolkata"
command = "echo namaste"

[[hosts]]
name = "db"
scope = "role:app"
address = "192.0.2.77"
names = ["db-1.lampas.test", "db-1-lampas"]

[[hosts]]
name = "db6"
scope = "role:app"
address = "2001:db8::77"
names = ["db-1.lampas.test"]

[[file]]
name = "motd"
scope = "role:app"
path = "/etc/motd"
content = "managed\n"

[[script]]
name = "greet"
scope = "role:app"
content = "#!/usr/bin/perl\nuse strict;\nprint \"hello\\n\";\n"
"##,
        in_kolkata / 60 % 60,
        in_kolkata / 3600
    );

    // Without cron the rest is in force, and each job says what is missing.
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &manifest)?;
    assert_ne!(applied.code, 0, "jobs are not in force without cron: {applied:#?}");
    for job in ["tick", "own", "abroad"] {
        let blocked = wait_state(&controller, job, "blocked");
        let said = blocked["fault"]["message"].as_str().unwrap_or_default();
        assert!(said.contains("cron is installed but not running"), "{blocked}");
    }
    for resource in ["db", "db6", "motd", "greet"] {
        wait_state(&controller, resource, "converged");
    }
    assert!(machine.run_ok(&["/usr/bin/getent", "ahostsv4", "db-1.lampas.test"], "")?.contains("192.0.2.77"));
    assert!(machine.run_ok(&["/usr/bin/getent", "ahostsv6", "db-1.lampas.test"], "")?.contains("2001:db8::77"));
    assert_eq!(machine.run_ok(&["/usr/local/bin/greet"], "")?, "hello\n");
    let table = machine.run_ok(&["/usr/bin/crontab", "-u", "daemon", "-l"], "")?;
    assert!(table.contains(foreign) && table.contains("job run"), "{table}");

    // With cron: proven, run, recorded with its output, mailed as ever.
    let cron = machine.start("cron", &["/usr/sbin/cron", "-f"])?;
    for job in ["tick", "own", "abroad"] {
        wait_state_within(&controller, job, "converged");
    }
    for (job, user, output) in [("tick", "root", "50% of it by root\n"), ("own", "daemon", "daemon\n")] {
        let run = wait_within(MINUTES, "a recorded run", || runs(&controller, job)?.pop().ok_or("none yet".to_owned()));
        assert_eq!((run["user"].as_str(), run["name"].as_str()), (Some(user), Some(job)), "{run}");
        let shown = controller.json(&["job", "show", run["id"].as_str().context("an id")?])?;
        assert_eq!(shown["output"], output, "{shown}");
        assert_eq!(slot(&run).map(|s| s % 60_000), Some(0), "{run}");
    }
    wait_within(MINUTES, "cron's mail", || {
        let mail = machine.read("/run/mail").map_err(|e| e.to_string())?;
        let is_there = ["To: ops@example.test", "50% of it by root", "To: dev@example.test", "\ndaemon\n"];
        if is_there.iter().all(|part| mail.contains(part)) { Ok(()) } else { Err(mail) }
    });
    let abroad = wait_within(MINUTES, "the run in another zone", || {
        runs(&controller, "abroad")?.pop().ok_or("none yet".to_owned())
    });
    assert_eq!(slot(&abroad), Some(due * 1000), "{abroad}");

    // Neither agent nor controller is needed for a run, nor for its record.
    machine.kill(agent)?;
    controller.kill();
    let last = seconds_now() / 60;
    wait_within(MINUTES, "two more runs in the spool", || {
        let names = machine.run_ok(&["/bin/ls", "/var/lib/lampas/agent/spool"], "").map_err(|e| e.to_string())?;
        if names.matches(".end").count() >= 4 { Ok(()) } else { Err(names) }
    });
    assert!(seconds_now() / 60 > last);
    controller.resume()?;
    agent = start_agent(&machine)?;
    wait_for("the records of the time alone", || {
        let slots: Vec<i64> = runs(&controller, "tick")?.iter().filter_map(slot).collect();
        let is_gapless = slots.windows(2).all(|w| w[0] - w[1] == 60_000);
        if is_gapless && slots.first().is_some_and(|s| *s / 60_000 > last) { Ok(()) } else { Err(format!("{slots:?}")) }
    });

    // Everything goes, and what stood before is back; a run that had not been told yet still is.
    machine.kill(agent)?;
    let told = runs(&controller, "tick").map_err(anyhow::Error::msg)?.len();
    wait_within(MINUTES, "a run that is not collected", || {
        let names = machine.run_ok(&["/bin/ls", "/var/lib/lampas/agent/spool"], "").map_err(|e| e.to_string())?;
        if names.matches(".end").count() >= 2 { Ok(()) } else { Err(names) }
    });
    let tick = controller.json(&["object", "show", "cron/tick"])?["id"].as_str().context("an id")?.to_owned();
    let empty = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &absent(&manifest))?;
    assert!(matches!(empty.code, 0 | 2), "{empty:#?}");
    let _agent = start_agent(&machine)?;
    wait_for("everything to be gone", || {
        let node = controller.json(&["node", "show", "real-1"]).map_err(|e| e.to_string())?;
        let is_done =
            node["resource_list"].as_array().is_some_and(Vec::is_empty) && node["desired"] == node["reported"];
        if is_done { Ok(()) } else { Err(node.to_string()) }
    });
    wait_for("the record of a job that is gone", || {
        let list = controller.json(&["job", "list", &tick]).map_err(|e| e.to_string())?;
        let found = list["items"].as_array().map_or(0, Vec::len);
        if found > told { Ok(()) } else { Err(list.to_string()) }
    });
    machine.kill(cron)?;
    let after = pictures(&machine)?;
    let (gone, added): (Vec<_>, Vec<_>) = (before.difference(&after).collect(), after.difference(&before).collect());
    assert!(gone.is_empty() && added.is_empty(), "gone: {gone:#?}, added: {added:#?}");
    let table = machine.run_ok(&["/usr/bin/crontab", "-u", "daemon", "-l"], "")?;
    assert_eq!(table, foreign);
    Ok(())
}

/// Everything that LAMPAS may write to, but for its own directories.
fn pictures(machine: &Machine) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for below in ["/etc", "/usr/local/bin", "/srv"] {
        all.extend(machine.listing(below)?);
    }
    Ok(all)
}

pub(crate) fn wait_state_within(controller: &Controller, name: &str, state: &str) {
    wait_within(MINUTES, &format!("{name} to be {state}"), || {
        let found = resource(controller, name)?;
        if found["state"] == state { Ok(()) } else { Err(found.to_string()) }
    });
}

/// Returns a manifest that removes what another one has.
fn absent(manifest: &str) -> String {
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with("[[") || line.starts_with("name = ") || line.starts_with("scope = ") {
            text.push_str(line);
            text.push('\n');
        }
        if line.starts_with("scope = ") {
            text.push_str("state = \"absent\"\n");
        }
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a test asks for a time of the real cron")]
fn seconds_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("in range")
}

#[test]
fn real_a_full_disk_under_the_journal_keeps_the_last_good_state_and_heals() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let controller = Controller::start()?;
    machine.run_ok(&["/bin/mkdir", "-p", "/var/lib/lampas"], "")?;
    let mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=12m,mode=0755", "tmpfs", "/var/lib/lampas"];
    machine.run_ok(&mount, "")?;
    enrol(&controller, &machine, "real-1")?;
    let agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    controller.apply(&big(0))?;
    let shows = |round: usize| -> Result<(), String> {
        let text = machine.read("/srv/big").map_err(|e| e.to_string())?;
        if text == body(round) { Ok(()) } else { Err(format!("{} bytes: {:.40}", text.len(), text)) }
    };

    // Full to the last byte: what arrives can't be journalled, so nothing of it is done, and that is said.
    let fill = "head -c 64m /dev/zero > /var/lib/lampas/filler 2>/dev/null; df -h /var/lib/lampas";
    machine.run_ok(&["/bin/sh", "-c", fill], "")?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &big(1))?;
    assert!(matches!(applied.code, 0 | 2), "{applied:#?}");
    wait_for("the agent to say what is wrong", || {
        let said = status(&machine).map_err(|e| e.to_string())?;
        if said.contains("can't be written") && said.contains("No space left") { Ok(()) } else { Err(said) }
    });
    shows(0).map_err(anyhow::Error::msg)?;
    let node = controller.json(&["node", "show", "real-1"])?;
    assert_ne!(node["config"], "converged", "the controller claims nothing: {node}");

    // A start on the full disk waits for room and takes nothing for damage.
    machine.kill(agent)?;
    let _agent = start_agent(&machine)?;
    wait_for("the agent to be up or to say why not", || {
        let log = machine.log_text("agent");
        let starts = log.matches("running").count();
        if starts >= 2 || log.contains("can't be opened") { Ok(()) } else { Err(log) }
    });
    shows(0).map_err(anyhow::Error::msg)?;

    machine.run_ok(&["/bin/rm", "/var/lib/lampas/filler"], "")?;
    wait_within(MINUTES, "the acknowledged state", || shows(1));
    wait_within(MINUTES, "the report of it", || {
        let node = controller.json(&["node", "show", "real-1"]).map_err(|e| e.to_string())?;
        if node["config"] == "converged" { Ok(()) } else { Err(node.to_string()) }
    });
    assert!(!machine.log_text("agent").contains("moved aside"), "nothing was damaged");
    controller.apply(&big(2))?;
    shows(2).map_err(anyhow::Error::msg)?;
    let said = status(&machine)?;
    assert!(!said.contains("can't be written"), "{said}");
    controller.ctl_ok(&["object", "delete", "file/big", "--yes", "--wait"])?;
    assert!(!machine.exists("/srv/big"));
    Ok(())
}

#[test]
fn real_a_corrupt_journal_costs_nothing_that_stood_before() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let controller = Controller::start()?;
    machine.write("/etc/motd", "written by hand\n")?;
    let hosts = machine.read("/etc/hosts")?;
    enrol(&controller, &machine, "real-1")?;
    let mut agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let manifest = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"managed\\n\"\n\
                    [[hosts]]\nname = \"db\"\nscope = \"role:app\"\naddress = \"192.0.2.9\"\nnames = [\"db-9-lampas\"]\n";
    controller.apply(manifest)?;
    let db = "/var/lib/lampas/agent/journal/db/db";
    for damage in [
        format!("truncate -s 100 {db}"),
        format!("truncate -s 0 {db}"),
        format!("dd if=/dev/urandom of={db} bs=4096 count=64 conv=notrunc status=none"),
        "rm -rf /var/lib/lampas/agent/journal".to_owned(),
    ] {
        machine.kill(agent)?;
        machine.run_ok(&["/bin/sh", "-c", &damage], "")?;
        agent = start_agent(&machine)?;
        wait_for("the node to converge again", || {
            let said = status(&machine).map_err(|e| e.to_string())?;
            if said.contains("2 · 2 in force") { Ok(()) } else { Err(said) }
        });
        assert_eq!(machine.read("/etc/motd")?, "managed\n", "{damage}");
        let drifts = controller.json(&["drift", "list"])?;
        assert_eq!(drifts["items"].as_array().map(Vec::len), Some(0), "{damage}: {drifts}");
    }
    controller.wait_online("real-1");
    for object in ["file/motd", "hosts/db"] {
        controller.ctl_ok(&["object", "delete", object, "--yes", "--wait"])?;
    }
    assert_eq!(machine.read("/etc/motd")?, "written by hand\n");
    assert_eq!(machine.read("/etc/hosts")?, hosts);
    Ok(())
}

/// Returns what the agent says of itself, whether all is well or not.
pub(crate) fn status(machine: &Machine) -> Result<String> {
    Ok(String::from_utf8_lossy(&machine.run(&["/usr/bin/lampas-agent", "status"], "")?.stdout).into_owned())
}

fn body(round: usize) -> String {
    format!("round {round}\n").repeat(20_000)
}

fn big(round: usize) -> String {
    let body = body(round);
    format!("[[file]]\nname = \"big\"\nscope = \"role:app\"\npath = \"/srv/big\"\ncontent = '''\n{body}'''\n")
}
