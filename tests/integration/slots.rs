//! Slots of jobs that nothing started: a machine that was off tells so when it is back, once.

use anyhow::{Context as _, Result};
use lampas_shared::time::UnixMs;
use lampas_tests::{Controller, wait_for};
use serde_json::Value;

const HOUR_MS: i64 = 3_600_000;
const SLOTS: &str = "/var/lib/lampas/agent/slots.json";

const HOURLY: &str = r#"
[[cron]]
name = "backup"
scope = "role:app"
schedule = "0 * * * *"
time_zone = "UTC"
user = "root"
command = "/bin/true"
"#;

/// When the machine was started, by its clock.
fn booted_ms() -> Result<i64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|l| l.strip_prefix("btime ")).context("the kernel says when it started")?;
    Ok(line.trim().parse::<i64>()? * 1000)
}

fn down(controller: &Controller) -> Result<Vec<Value>> {
    let runs = controller.json(&["job", "list", "backup"])?;
    let runs = runs["items"].as_array().context("a list")?.clone();
    Ok(runs.into_iter().filter(|r| r["outcome"]["how"] == "node_down").collect())
}

#[test]
fn a_machine_that_was_off_says_which_runs_it_missed() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], HOURLY)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    // The agent keeps what it knows when it ends; it has looked at the job by then.
    let kept = wait_for("the job's slots", || -> Result<Value, String> {
        node.process().stop().map_err(|e| e.to_string())?;
        let kept = node.read(SLOTS).map_err(|e| e.to_string())?;
        let kept: Value = serde_json::from_str(&kept).map_err(|e| e.to_string())?;
        if kept["jobs"].as_object().is_some_and(|jobs| jobs.len() == 1) {
            return Ok(kept);
        }
        node.resume().map_err(|e| e.to_string())?;
        controller.wait_online("web-1");
        Err(kept.to_string())
    });
    assert!(down(&controller)?.is_empty());

    // It went off four hours before the kernel that runs was started.
    let off = (booted_ms()? / HOUR_MS - 4) * HOUR_MS + 1;
    let mut earlier = kept;
    let then: Value = UnixMs(off).to_string().into();
    earlier["alive_at"] = then.clone();
    earlier["boot"] = "another".into();
    for job in earlier["jobs"].as_object_mut().context("jobs")?.values_mut() {
        (job["until"], job["next"]) = (then.clone(), (off - 1 + HOUR_MS).into());
    }
    node.write(SLOTS, &earlier.to_string())?;
    node.resume()?;
    controller.wait_online("web-1");
    let found = wait_for("what it missed", || match down(&controller) {
        Ok(found) if found.len() >= 3 => Ok(found),
        other => Err(format!("{other:?}")),
    });
    assert!((3..=4).contains(&found.len()), "{found:#?}");
    let show = controller.ctl(&["job", "show", found[0]["id"].as_str().context("an id")?])?;
    assert!(show.out.contains("the machine was off or asleep at this time"), "{show:#?}");
    let list = controller.ctl_ok(&["job", "list", "--node", "web-1"])?.out;
    assert!(list.contains("node down"), "{list}");

    // Looking once more tells nothing twice.
    for _ in 0..2 {
        node.process().stop()?;
        node.resume()?;
        controller.wait_online("web-1");
    }
    // Its reports come in their order: what this one waits for is behind whatever would have been told.
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    assert_eq!(down(&controller)?.len(), found.len());
    Ok(())
}
