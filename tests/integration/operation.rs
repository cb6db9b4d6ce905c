//! Commands and scripts on a selection: run, streamed, ended, and recorded once whatever dies.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, wait_for, wait_within};
use serde_json::Value;

const SCRIPT: &str = r#"
[[script]]
name    = "rotate-keys"
scope   = "role:app"
content = '''
#!/bin/sh
echo "days $PARAM_DAYS force ${PARAM_FORCE-unset} arg $1 as $(id -un) run $LAMPAS_RUN"
echo "a warning" >&2
'''
parameters = [
    { name = "days", type = "integer", min = 1, max = 365, required = true, help = "keys older than this" },
    { name = "force", type = "boolean" },
]
"#;

/// Returns the states of an operation's runs by node name.
fn states(controller: &Controller, number: &str) -> Result<Vec<(String, String)>> {
    let shown = controller.json(&["run", "show", number])?;
    let nodes = shown["nodes"].as_array().context("nodes")?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    Ok(nodes.iter().map(|n| (text(&n["node"]["name"]), text(&n["state"]))).collect())
}

fn wait_state(controller: &Controller, number: &str, wanted: &str) -> Value {
    wait_within(Duration::from_secs(90), &format!("run {number} is {wanted}"), || {
        let shown = controller.json(&["run", "show", number])?;
        let state = shown["operation"]["summary"]["state"].clone();
        anyhow::ensure!(state == wanted, "it is {state}: {shown:#}");
        Ok(shown)
    })
}

/// Starts an operation and returns its number.
fn detach(controller: &Controller, args: &[&str]) -> Result<String> {
    // Before the command, which takes everything after it.
    let begun = controller.ctl_ok(&[&["--output", "json", "run", "--detach"], args].concat())?;
    let begun: Value = serde_json::from_str(&begun.out)?;
    Ok(begun["summary"]["number"].to_string())
}

#[test]
fn a_command_runs_on_every_node_and_equal_output_is_told() -> Result<()> {
    let controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?, controller.node("db-1", "db")?];

    let plan = controller.ctl_ok(&["run", "--plan", "--on", "role:app", "--", "echo", "hello"])?;
    assert!(plan.out.contains("2 nodes, 2 connected"), "{plan:#?}");

    let ran =
        controller.ctl_ok(&["run", "--on", "role:app", "--on", "node:db-1", "--", "printf", r"one\n\033[31mtwo\n"])?;
    for name in ["web-1", "web-2", "db-1 "] {
        assert!(ran.out.contains(&format!("{name} │ one\n")), "{ran:#?}");
        assert!(ran.out.contains(&format!("{name} │ two\n")), "colours are stripped: {ran:#?}");
    }
    assert!(ran.out.contains("3 nodes · 3 ok · identical output on db-1, web-1, web-2"), "{ran:#?}");

    let failed = controller.ctl(&["run", "--on", "node:db-1", "--", "/bin/sh", "-c", "echo oh >&2; exit 7"])?;
    assert_eq!(failed.code, 2, "{failed:#?}");
    assert!(failed.out.contains("db-1  ■ failed   exit status 7"), "{failed:#?}");
    let missing = controller.ctl(&["run", "--on", "node:db-1", "--", "no-such-program"])?;
    assert!(missing.code == 2 && missing.out.contains("there is no program no-such-program"), "{missing:#?}");
    let nowhere = controller.ctl(&["run", "--on", "role:nobody", "--", "true"])?;
    assert!(nowhere.code == 1 && nowhere.err.contains("role:nobody selects no node"), "{nowhere:#?}");

    let again = controller.ctl(&["run", "again", "2"])?;
    assert_eq!(again.code, 2, "{again:#?}");
    let listed = controller.json(&["run", "list"])?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(4), "{listed:#}");
    let groups = controller.json(&["run", "output", "1", "--group"])?;
    assert_eq!(groups[0]["text"], "one\n\u{1b}[31mtwo\n", "{groups:#}");
    Ok(())
}

#[test]
fn a_script_gets_its_parameters_checked_and_set() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let _db = controller.node("db-1", "db")?;
    controller.apply(SCRIPT)?;

    let ran = controller.ctl_ok(&["run", "rotate-keys", "--on", "role:app", "--param", "days=30", "--", "now"])?;
    assert!(ran.out.contains("web-1 │ days 30 force unset arg now as root run 0"), "{ran:#?}");
    assert!(ran.out.contains("web-1 ┆ a warning"), "{ran:#?}");

    for (param, said) in
        [("days=0", "the smallest is 1"), ("days=x", "no whole number"), ("day=1", "unknown to the script")]
    {
        let wrong = controller.ctl(&["run", "rotate-keys", "--on", "role:app", "--param", param])?;
        assert!(wrong.code == 1 && wrong.err.contains(said), "{param}: {wrong:#?}");
    }
    let missing = controller.ctl(&["run", "rotate-keys", "--on", "role:app"])?;
    assert!(missing.code == 1 && missing.err.contains("must be given"), "{missing:#?}");

    let both = controller.ctl(&["run", "rotate-keys", "--on", "fleet", "--param", "days=1"])?;
    assert!(both.code == 2 && both.out.contains("there is no script rotate-keys on this node"), "{both:#?}");

    // Edited by hand: what stands there is not what was approved.
    let path = "/usr/local/bin/rotate-keys";
    let edited = node.read(path)?.replace("a warning", "something else");
    node.write(path, &edited)?;
    let drifted = controller.ctl(&["run", "rotate-keys", "--on", "role:app", "--param", "days=1"])?;
    assert!(drifted.code == 2 && drifted.out.contains("is not as its object says"), "{drifted:#?}");
    Ok(())
}

#[test]
fn a_run_survives_the_death_of_agent_and_controller_and_is_recorded_once() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let marks = node.root().join("marks");
    std::fs::create_dir(&marks)?;
    let gate = node.root().join("gate");
    let code = format!(
        "echo begun >> {0}/begun; while [ ! -e {1} ]; do sleep 0.05; done; echo last; echo over >> {0}/over",
        marks.display(),
        gate.display()
    );
    let number = detach(&controller, &["--on", "role:app", "--", "/bin/sh", "-c", &code])?;
    wait_for("the program has begun", || std::fs::read_to_string(marks.join("begun")));
    wait_for("the controller knows that it runs", || {
        let states = states(&controller, &number)?;
        anyhow::ensure!(states[0].1 == "running", "{states:?}");
        Ok(())
    });
    node.kill();
    controller.kill();
    std::fs::write(&gate, "")?;
    wait_for("the program ends without anybody", || std::fs::read_to_string(marks.join("over")));
    node.resume()?;
    controller.resume()?;
    controller.wait_online("web-1");
    let shown = wait_state(&controller, &number, "succeeded");
    assert_eq!(std::fs::read_to_string(marks.join("begun"))?, "begun\n", "it began once");
    wait_for("the output is here", || {
        let out = controller.ctl_ok(&["run", "output", &number])?.out;
        anyhow::ensure!(out.contains("last"), "{out:?} {shown:#}");
        Ok(())
    });
    // A second life of the agent tells the controller nothing new.
    node.kill();
    node.resume()?;
    controller.wait_online("web-1");
    assert_eq!(states(&controller, &number)?, [("web-1".to_owned(), "succeeded".to_owned())]);
    Ok(())
}

#[test]
fn what_forks_and_detaches_is_ended_with_its_run() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let mark = node.root().join("pid");
    let code = format!(
        "(setsid sh -c 'echo $$ > {}; trap \"\" TERM; sleep 1000 >/dev/null 2>&1' & ) ; echo up; sleep 1000",
        mark.display()
    );
    let number = detach(&controller, &["--on", "role:app", "--", "/bin/sh", "-c", &code])?;
    let pid = wait_for("the detached one is up", || {
        std::fs::read_to_string(&mark)?.trim().parse::<u32>().map_err(anyhow::Error::from)
    });
    controller.ctl_ok(&["run", "cancel", &number])?;
    wait_state(&controller, &number, "cancelled");
    assert_eq!(states(&controller, &number)?[0].1, "cancelled");
    let is_there = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
    assert!(!is_there, "process {pid} outlived its run");
    Ok(())
}

#[test]
fn a_time_limit_ends_a_run() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    let late = controller.ctl(&["run", "--on", "role:app", "--time-limit", "1s", "--", "sleep", "1000"])?;
    assert!(late.code == 2 && late.out.contains("timed out"), "{late:#?}");
    Ok(())
}

#[test]
fn nodes_that_are_away_are_skipped_expire_or_are_waited_for() -> Result<()> {
    let controller = Controller::start()?;
    let _here = controller.node("web-1", "app")?;
    let mut away = controller.node("web-2", "app")?;
    away.kill();
    wait_for("web-2 is known to be away", || {
        let nodes = controller.json(&["node", "list"])?.to_string();
        anyhow::ensure!(nodes.contains("offline"), "{nodes}");
        Ok(())
    });
    let skipped = controller.ctl(&["run", "--on", "role:app", "--", "true"])?;
    assert!(skipped.code == 2 && skipped.out.contains("web-2  ○ skipped   not connected"), "{skipped:#?}");
    let expired = controller.ctl(&["run", "--on", "role:app", "--expire", "--", "true"])?;
    assert!(expired.code == 2 && expired.out.contains("web-2  ○ expired"), "{expired:#?}");
    let number = detach(&controller, &["--on", "role:app", "--queue", "1h", "--", "echo", "late"])?;
    wait_for("web-1 is done", || {
        let states = states(&controller, &number)?;
        anyhow::ensure!(states.iter().any(|(n, s)| n == "web-1" && s == "succeeded"), "{states:?}");
        Ok(())
    });
    assert!(states(&controller, &number)?.iter().any(|(n, s)| n == "web-2" && s == "queued"));
    away.resume()?;
    wait_state(&controller, &number, "succeeded");
    Ok(())
}

#[test]
fn a_policy_rules_over_runs() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    node.write("/etc/lampas/policy.toml", "root_code = false\n")?;
    let refused = controller.ctl(&["run", "--on", "role:app", "--", "touch", "/tmp/never"])?;
    assert!(refused.code == 2 && refused.out.contains("allows no root code"), "{refused:#?}");
    // Nor does anybody become root by sudo, or by a set-uid program.
    if nix::unistd::geteuid().is_root() {
        let power = ["run", "--on", "role:app", "--user", "www-data", "--", "grep", "NoNewPrivs", "/proc/self/status"];
        let without = controller.ctl(&power)?;
        assert!(without.code == 0 && without.out.contains("NoNewPrivs:\t1"), "{without:#?}");
        node.write("/etc/lampas/policy.toml", "root_code = true\n")?;
        let with = controller.ctl(&power)?;
        assert!(with.code == 0 && with.out.contains("NoNewPrivs:\t0"), "{with:#?}");
    }
    node.write("/etc/lampas/policy.toml", "observe = true\n")?;
    let observed = controller.ctl(&["run", "--on", "role:app", "--user", "www-data", "--", "true"])?;
    assert!(observed.code == 2 && observed.out.contains("only observes"), "{observed:#?}");
    Ok(())
}

#[test]
fn output_comes_as_it_is_written() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let gate = node.root().join("gate");
    let code = format!("echo first; while [ ! -e {} ]; do sleep 0.05; done; echo second", gate.display());
    let mut run = controller
        .ctl_command(&["run", "--on", "role:app", "--", "/bin/sh", "-c", &code])?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(run.stdout.take().context("its output")?).lines();
    assert_eq!(lines.next().context("a line")??, "web-1 │ first", "before the run is over");
    std::fs::write(&gate, "")?;
    assert_eq!(lines.next().context("a line")??, "web-1 │ second");
    assert!(run.wait()?.success());
    Ok(())
}

#[test]
fn a_canary_that_fails_stops_the_rest() -> Result<()> {
    let controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let stopped = controller.ctl(&["run", "--on", "role:app", "--canary", "1", "--then", "50%", "--", "false"])?;
    assert_eq!(stopped.code, 2);
    assert!(stopped.out.contains("1 failed") && stopped.out.contains("1 skipped"), "{stopped:#?}");
    Ok(())
}

#[test]
fn a_rehearsal_tells_what_would_change_and_changes_nothing() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: only root can rehearse; nothing was tested");
        return Ok(());
    }
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    for (path, text) in
        [("/etc/motd", "hello\n"), ("/srv/gone", "old\n"), ("/srv/same", "same\n"), ("/srv/secret", "key\n")]
    {
        node.write(path, text)?;
    }
    let secret = node.root().join("srv/secret");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let root = node.root().display().to_string();
    let code = format!(
        "cd {root}; echo changed >> etc/motd; rm srv/gone; touch srv/same; echo more >> srv/secret; echo new > srv/new; \
         ls /sys/class/net | tr '\\n' ' '; cat /proc/net/route | wc -l; mount -t tmpfs x /mnt 2>/dev/null && echo mounted; \
         kill -0 {} 2>/dev/null && echo reached; exit 3",
        std::process::id()
    );
    let ran = controller.ctl(&["run", "--rehearse", "--on", "role:app", "--", "/bin/sh", "-c", &code])?;
    assert_eq!(ran.code, 2, "its exit status is told: {ran:#?}");
    let said = |text: &str| assert!(ran.out.contains(text), "{text}: {ran:#?}");
    said("exit status 3");
    said("would change these 4 files:");
    said(&format!("  ~ {root}/etc/motd"));
    said("      +changed");
    said(&format!("  - {root}/srv/gone"));
    said(&format!("  + {root}/srv/new"));
    said(&format!("  ~ {root}/srv/secret (not world-readable"));
    assert!(!ran.out.contains("more\n") && !ran.out.contains("srv/same"), "{ran:#?}");
    assert!(!ran.out.contains("mounted") && !ran.out.contains("reached") && !ran.out.contains("eth"), "{ran:#?}");
    assert_eq!(node.read("/etc/motd")?, "hello\n");
    assert!(node.exists("/srv/gone") && !node.exists("/srv/new"));
    Ok(())
}

#[test]
fn two_operators_and_a_viewer_see_what_they_may() -> Result<()> {
    let controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let first = detach(&controller, &["--on", "role:app", "--", "/bin/sh", "-c", "sleep 1; echo one"])?;
    let second = detach(&controller, &["--on", "role:app", "--", "echo", "two"])?;
    wait_state(&controller, &second, "succeeded");
    wait_state(&controller, &first, "succeeded");
    for (number, text) in [(&first, "one"), (&second, "two")] {
        let out = controller.ctl_ok(&["run", "output", number])?.out;
        assert!(out.lines().count() == 2 && out.lines().all(|l| l.ends_with(text)), "{out}");
    }
    let made = controller.json(&["api-token", "create", "looks", "--preset", "viewer"])?;
    let token = made["token"].as_str().or(made["secret"].as_str()).context("a token")?.to_owned();
    let status = |method: &str, path: &str, body: &[u8]| -> Result<u16> {
        Ok(controller.send(&token, method, path, body)?.status)
    };
    assert_eq!(status("GET", "/api/v1/operations/1", b"")?, 200);
    let command = br#"{"work":{"kind":"command","argv":["true"]},"on":["role:app"]}"#;
    assert_eq!(status("POST", "/api/v1/operations", command)?, 403);
    assert_eq!(status("POST", "/api/v1/operations/1/cancel", b"")?, 403);
    let audit = controller.json(&["audit"])?.to_string();
    assert!(audit.contains("operation.start") && audit.contains("refused: forbidden"), "{audit}");
    Ok(())
}

#[test]
fn slow_a_gigabyte_of_output_stays_within_its_room() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let code = "echo the beginning; head -c 1000000000 /dev/zero | tr '\\0' 'x'; echo; echo the end";
    let number = detach(&controller, &["--on", "role:app", "--", "/bin/sh", "-c", code])?;
    let shown = wait_within(Duration::from_secs(300), "it is over", || {
        let shown = controller.json(&["run", "show", &number])?;
        let run = &shown["nodes"][0];
        anyhow::ensure!(run["state"] == "succeeded" && run["is_output_complete"] == true, "{shown:#}");
        Ok(shown)
    });
    assert_eq!(shown["nodes"][0]["output_bytes"], 1_000_000_000 + 14 + 1 + 8, "{shown:#}");
    let out = controller.ctl_ok(&["run", "output", &number])?.out;
    assert!(out.contains("the beginning") && out.contains("the end") && out.contains("bytes are left out here"));
    assert!(out.len() < (1 << 20) + (64 << 10), "{} bytes", out.len());
    let spool = node.root().join("var/lib/lampas/agent/runs");
    wait_for("the node lets go of it", || {
        let left = std::fs::read_dir(&spool)?.filter_map(Result::ok).filter(|e| e.path().is_dir()).count();
        if left == 0 { Ok(()) } else { Err(std::io::Error::other(format!("{left} runs are left"))) }
    });
    Ok(())
}
