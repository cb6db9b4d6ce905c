//! A real systemd: units are started, enabled, masked, overridden and put back; what follows a change happens once, and at
//! least once whatever dies; operations outlive the agent.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, CtlOutput, Machine, wait_for, wait_within};
use serde_json::Value;

use crate::real_host::enrol;

const NODE: &str = "real-1";
const LIMIT: Duration = Duration::from_secs(90);
/// A daemon as a package would bring it: it tells when it starts and when it takes up its configuration, and refuses a bad
/// one, as a start does.
const APP: &str = r#"#!/bin/sh
check() { ! grep -q bad /etc/app.conf 2>/dev/null || { echo "app: the configuration is bad" >&2; return 1; }; }
case "$1" in
  reload)
    echo "reload $(cat /etc/app.conf)" >> /var/log/app.log
    while [ -e /run/hold ]; do sleep 0.05; done
    check ;;
  *)
    check || exit 1
    echo "start $COLOR" >> /var/log/app.log
    exec sleep infinity ;;
esac
"#;
const APP_UNIT: &str = "[Unit]\nDescription=App\n[Service]\nExecStart=/usr/local/bin/app\nExecReload=/usr/local/bin/app reload\n[Install]\nWantedBy=multi-user.target\n";
const AGENT_UNIT: &str = "[Unit]\nDescription=LAMPAS agent\n[Service]\nExecStart=/usr/bin/lampas-agent run\n[Install]\nWantedBy=multi-user.target\n";

struct Lab {
    controller: Controller,
    machine: Machine,
}

impl Lab {
    fn start() -> Result<Option<Self>> {
        let Some(machine) = Machine::boot_systemd(NODE)? else { return Ok(None) };
        machine.write("/usr/local/bin/app", APP)?;
        machine.run_ok(&["/bin/chmod", "755", "/usr/local/bin/app"], "")?;
        machine.write("/usr/lib/systemd/system/app.service", APP_UNIT)?;
        let plain = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
        machine.write("/usr/lib/systemd/system/other.service", plain)?;
        machine.write("/usr/lib/systemd/system/broken.service", &APP_UNIT.replace("bin/app", "bin/nothing"))?;
        machine.write("/usr/lib/systemd/system/junk.service", plain)?;
        machine.write("/etc/systemd/system/lampas-agent.service", AGENT_UNIT)?;
        machine.run_ok(&["/bin/mkdir", "-p", "/etc/lampas"], "")?;
        machine.write("/etc/lampas/agent.toml", "[reconcile]\nfull_look_secs = 10\n")?;
        let lab = Self { controller: Controller::start()?, machine };
        lab.systemctl(&["daemon-reload"])?;
        lab.systemctl(&["enable", "--now", "other.service"])?;
        enrol(&lab.controller, &lab.machine, NODE)?;
        lab.systemctl(&["start", "lampas-agent.service"])?;
        lab.controller.wait_online(NODE);
        Ok(Some(lab))
    }

    fn systemctl(&self, words: &[&str]) -> Result<String> {
        self.machine.run_ok(&[&["/usr/bin/systemctl", "--no-pager"], words].concat(), "")
    }

    /// What systemd says of a unit, by its own words: active, enabled.
    fn is(&self, unit: &str) -> String {
        let ask = |word: &str| {
            let output = self.machine.run(&["/usr/bin/systemctl", word, unit], "");
            output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
        };
        format!("{} {}", ask("is-active"), ask("is-enabled"))
    }

    fn log(&self) -> Vec<String> {
        let text = self.machine.read("/var/log/app.log").unwrap_or_default();
        text.lines().map(|l| l.trim().to_owned()).collect()
    }

    fn apply(&self, manifest: &str) -> Result<CtlOutput> {
        self.controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest)
    }

    /// What the controller shows of the resources of an object.
    fn resources(&self, name: &str) -> Result<Vec<Value>, String> {
        let node = self.controller.json(&["node", "show", NODE]).map_err(|e| e.to_string())?;
        let list = node["resource_list"].as_array().cloned().unwrap_or_default();
        Ok(list.into_iter().filter(|r| r["name"] == name).collect())
    }

    fn wait_states(&self, name: &str, wanted: &str) -> Vec<Value> {
        wait_within(LIMIT, &format!("{name} to be {wanted}"), || {
            let found = self.resources(name)?;
            let is_so = !found.is_empty() && found.iter().any(|r| r["state"] == wanted);
            let is_all = wanted != "converged" || found.iter().all(|r| r["state"] == wanted);
            if is_so && is_all { Ok(found) } else { Err(format!("{found:#?}")) }
        })
    }
}

fn app(more: &str) -> String {
    format!("[[service]]\nname = \"app\"\nscope = \"role:app\"\n{more}\n")
}

fn conf(text: &str, on_change: &str) -> String {
    format!(
        "[[file]]\nname = \"app.conf\"\nscope = \"role:app\"\npath = \"/etc/app.conf\"\ncontent = \"{text}\\n\"\non_change = [{on_change}]\n"
    )
}

#[test]
fn real_systemd_units_are_started_masked_overridden_and_put_back() -> Result<()> {
    let Some(lab) = Lab::start()? else { return Ok(()) };
    assert_eq!(lab.is("app"), "inactive disabled");
    assert_eq!(lab.is("other"), "active enabled");
    let manifest = app("enabled = true\nrunning = true\noverride = '''\n[Service]\nEnvironment=COLOR=blue\n'''")
        + "[[service]]\nname = \"other\"\nscope = \"role:app\"\nenabled = false\nrunning = false\n"
        + "[[service]]\nname = \"junk\"\nscope = \"role:app\"\nmasked = true\n"
        + "[[service]]\nname = \"tick.service\"\nscope = \"role:app\"\nunit = '''\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo tick >> /var/log/tick.log'\n'''\n"
        + "[[service]]\nname = \"tick.timer\"\nscope = \"role:app\"\nenabled = true\nrunning = true\nunit = '''\n[Timer]\nOnActiveSec=1s\nOnUnitActiveSec=1h\nAccuracySec=100ms\n[Install]\nWantedBy=timers.target\n'''\n";
    let applied = lab.apply(&manifest)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    for name in ["app", "other", "junk", "tick.service", "tick.timer"] {
        lab.wait_states(name, "converged");
    }
    assert_eq!(lab.is("app"), "active enabled");
    assert_eq!(lab.log(), ["start blue"], "the override was read before it started");
    assert_eq!(lab.is("other"), "inactive disabled");
    assert_eq!(lab.is("junk"), "inactive masked");
    assert_eq!(lab.is("tick.timer"), "active enabled");
    wait_for("the timer to fire", || lab.machine.read("/var/log/tick.log").map(drop).map_err(|e| e.to_string()));

    // Stopped by hand: nothing tells, the full look finds it, and it is held until somebody decides.
    lab.systemctl(&["stop", "app"])?;
    lab.wait_states("app", "drifted");
    let drifts = lab.controller.json(&["drift", "list"])?;
    let drift = drifts["items"].as_array().and_then(|l| l.first().cloned()).context("a drift")?;
    assert_eq!(drift["target"], "unit:app.service/running", "{drift:#}");
    assert!(drift["diff"].as_str().is_some_and(|d| d.contains("-running") && d.contains("+stopped")), "{drift:#}");
    let id = drift["id"].as_str().context("an id")?.to_owned();
    lab.controller.ctl_ok(&["drift", "revert", &id])?;
    lab.wait_states("app", "converged");
    assert_eq!(lab.is("app"), "active enabled");

    // What can't start is told with its last words, and what stood is put back.
    let broken = "[[service]]\nname = \"broken\"\nscope = \"role:app\"\nrunning = true\nenabled = true\n";
    let refused = lab.apply(broken)?;
    assert_ne!(refused.code, 0, "{refused:#?}");
    let found = lab.wait_states("broken", "failed");
    let told = format!("{found:#?}");
    assert!(told.contains("/usr/local/bin/nothing") || told.contains("203/EXEC"), "{told}");
    assert_eq!(lab.is("broken"), "failed disabled", "what was enabled for it is disabled again");
    let gone = lab.apply(&broken.replace("running = true\nenabled = true", "state = \"absent\""))?;
    assert_eq!(gone.code, 0, "{gone:#?}");

    // LAMPAS does not end itself, whatever the controller says.
    let own = "[[service]]\nname = \"lampas-agent\"\nscope = \"role:app\"\nrunning = false\n";
    let refused = lab.apply(own)?;
    assert!(refused.code != 0 && refused.err.contains("LAMPAS runs as it"), "{refused:#?}");
    // A mistake in an override is found before anything is written.
    let wrong = app("enabled = true\nrunning = true\noverride = '''\n[Service]\nRestart=sometimes\n'''");
    let refused = lab.apply(&wrong)?;
    let text = format!("{}{}", refused.out, refused.err);
    assert!(refused.code != 0, "{text}");
    let found = format!("{:#?}", lab.wait_states("app", "failed"));
    assert!(found.contains("systemd-analyze says") && found.contains("sometimes"), "{found}");
    assert!(lab.machine.read("/etc/systemd/system/app.service.d/lampas.conf")?.contains("COLOR=blue"));

    // All of it goes, and all is as it was.
    let absent: String = ["app", "other", "junk", "tick.service", "tick.timer"]
        .map(|name| format!("[[service]]\nname = \"{name}\"\nscope = \"role:app\"\nstate = \"absent\"\n"))
        .concat();
    let applied = lab.apply(&absent)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    wait_for("all units to be as they were", || {
        let found = ["app", "other", "junk", "tick.timer"].map(|unit| lab.is(unit));
        let is_so = found[..3] == ["inactive disabled", "active enabled", "inactive disabled"].map(str::to_owned)
            && found[3].starts_with("inactive");
        if is_so { Ok(()) } else { Err(format!("{found:?}")) }
    });
    for path in ["tick.timer", "tick.service", "app.service.d/lampas.conf"] {
        assert!(!lab.machine.exists(&format!("/etc/systemd/system/{path}")), "{path}");
    }
    Ok(())
}

#[test]
fn real_systemd_takes_up_a_change_once_and_after_a_death_at_least_once() -> Result<()> {
    let Some(lab) = Lab::start()? else { return Ok(()) };
    let manifest = app("running = true") + &conf("one", "\"reload app\"");
    let plan = lab.controller.ctl_with(&["apply", "-f", "-", "--plan"], &manifest)?;
    assert!(plan.out.contains("then reloads app.service"), "{plan:#?}");
    let applied = lab.apply(&manifest)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    // What starts within the same apply has read all of it.
    assert_eq!(lab.log(), ["start"]);

    let second = "[[file]]\nname = \"app.extra\"\nscope = \"role:app\"\npath = \"/etc/app.extra\"\ncontent = \"x\\n\"\non_change = [\"reload app.service\"]\n";
    let applied = lab.apply(&(conf("two", "\"reload app\"") + second))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(lab.log(), ["start", "reload two"], "two files of one generation, one reload");
    let found = format!("{:#?}", lab.wait_states("app.conf", "converged"));
    assert!(found.contains("reloaded app.service"), "{found}");

    // A unit that does not take it: the file goes back, and the unit reads it again.
    let refused = lab.apply(&conf("bad", "\"reload app\""))?;
    assert_ne!(refused.code, 0, "{refused:#?}");
    let found = format!("{:#?}", lab.wait_states("app.conf", "failed"));
    assert!(found.contains("on_change.failed") && found.contains("the configuration is bad"), "{found}");
    assert_eq!(lab.machine.read("/etc/app.conf")?, "two\n");
    assert_eq!(lab.log(), ["start", "reload two", "reload bad", "reload two"]);

    // Killed while the unit takes it up: the next start does it again, and says so.
    lab.machine.write("/run/hold", "")?;
    let change = conf("three", "\"reload app\"");
    let begun = lab.controller.ctl_with(&["apply", "-f", "-"], &change)?;
    assert_eq!(begun.code, 0, "{begun:#?}");
    wait_for("the reload to begin", || {
        let log = lab.log();
        if log.last().is_some_and(|l| l == "reload three") { Ok(()) } else { Err(format!("{log:?}")) }
    });
    lab.systemctl(&["kill", "--signal=KILL", "--kill-whom=main", "lampas-agent.service"])?;
    // systemd has to see it die first: to start what it holds to be active is nothing.
    wait_for("systemd to see it die", || {
        let found = lab.is("lampas-agent.service");
        if found.starts_with("failed") { Ok(()) } else { Err(found) }
    });
    lab.machine.run_ok(&["/bin/rm", "/run/hold"], "")?;
    lab.systemctl(&["start", "lampas-agent.service"])?;
    lab.wait_states("app.conf", "converged");
    assert_eq!(lab.machine.read("/etc/app.conf")?, "three\n");
    let log = lab.log();
    assert_eq!(log.last().map(String::as_str), Some("reload three"), "{log:?}");
    assert!(log.iter().filter(|l| *l == "reload three").count() >= 2, "{log:?}");
    let journal = lab.machine.run_ok(&["/usr/bin/journalctl", "--no-pager", "--unit=lampas-agent"], "")?;
    assert!(journal.contains("ended between a change and what follows it"), "{journal}");

    // Restarted, not reloaded; and when the file goes, once more.
    let applied = lab.apply(&conf("four", "\"restart app\""))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(lab.log().last().map(String::as_str), Some("start"));
    let starts = lab.log().iter().filter(|l| *l == "start").count();
    let gone = lab.apply("[[file]]\nname = \"app.conf\"\nscope = \"role:app\"\nstate = \"absent\"\n")?;
    assert_eq!(gone.code, 0, "{gone:#?}");
    wait_for("the unit to take up that the file is gone", || {
        let log = lab.log();
        if log.iter().filter(|l| *l == "start").count() > starts { Ok(()) } else { Err(format!("{log:?}")) }
    });
    Ok(())
}

#[test]
fn real_systemd_runs_operations_in_units_that_outlive_the_agent() -> Result<()> {
    let Some(lab) = Lab::start()? else { return Ok(()) };
    let ran = lab.controller.ctl_ok(&["run", "--on", "role:app", "--", "/bin/cat", "/proc/self/cgroup"])?;
    assert!(ran.out.contains("lampas-run-"), "it is in a unit of its own: {ran:#?}");

    let call = ["--output", "json", "run", "--detach", "--on", "role:app", "--"];
    let program = ["/bin/sh", "-c", "echo begun; while [ ! -e /run/go ]; do sleep 0.05; done; echo done; exit 3"];
    let begun: Value = serde_json::from_str(&lab.controller.ctl_ok(&[&call[..], &program].concat())?.out)?;
    let number = begun["summary"]["number"].to_string();
    let units = || lab.systemctl(&["list-units", "--all", "--plain", "--no-legend", "lampas-run-*"]);
    let unit = wait_for("the unit of the run", || {
        let found = units().map_err(|e| e.to_string())?;
        let unit = found.split_whitespace().next().map(str::to_owned);
        unit.ok_or(found)
    });
    // The agent goes, with all that is its own.
    lab.systemctl(&["stop", "lampas-agent.service"])?;
    assert_eq!(lab.is(&unit).split(' ').next(), Some("active"), "the run goes on without the agent");
    lab.machine.write("/run/go", "")?;
    wait_for("the unit to end", || {
        let found = units().unwrap_or_default();
        if found.trim().is_empty() { Ok(()) } else { Err(found) }
    });
    lab.systemctl(&["start", "lampas-agent.service"])?;
    let shown = wait_within(LIMIT, "the result", || {
        let shown = lab.controller.json(&["run", "show", &number]).map_err(|e| e.to_string())?;
        // The output follows the result.
        let is_whole = shown["nodes"][0]["is_output_complete"] == true;
        let is_over = shown["operation"]["summary"]["state"] == "failed";
        if is_over && is_whole { Ok(shown) } else { Err(format!("{shown:#}")) }
    });
    assert_eq!(shown["nodes"][0]["exit_status"], 3, "{shown:#}");

    // Ended when asked, with what it started.
    let program = ["/bin/sh", "-c", "sleep 600 & sleep 600"];
    let begun: Value = serde_json::from_str(&lab.controller.ctl_ok(&[&call[..], &program].concat())?.out)?;
    let number = begun["summary"]["number"].to_string();
    wait_for("the unit of the run", || {
        let found = units().unwrap_or_default();
        if found.contains("lampas-run-") { Ok(()) } else { Err(found) }
    });
    lab.controller.ctl_ok(&["run", "cancel", &number])?;
    wait_within(LIMIT, "the unit to end", || {
        let found = units().unwrap_or_default();
        if found.trim().is_empty() { Ok(()) } else { Err(found) }
    });
    let left = lab.machine.run(&["/bin/sh", "-c", "grep -lzx 600 /proc/[0-9]*/cmdline 2>/dev/null"], "")?;
    assert!(left.stdout.is_empty(), "{left:?}");
    Ok(())
}
