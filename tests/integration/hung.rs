//! Peers that are there and don't answer: a killed controller, a stopped agent, a stopped controller.

use anyhow::Result;
use lampas_tests::{Controller, wait_for};
use nix::sys::signal::Signal;

/// What an agent says when its controller says nothing.
const SILENT: &str = "silent for longer than it should be";

const FILE: &str = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"here\\n\"\n";

#[test]
fn a_killed_controller_is_noticed_by_its_reset() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let key = std::fs::read(controller.path("data/identity/reset-key"))?;
    controller.kill();
    controller.resume()?;
    // It says so itself, at the agent's next ping: nobody waits until the connection counts as silent.
    wait_for("the reset of the connection", || {
        let log = node.process().log_tail();
        if log.contains("reset by peer") { Ok(()) } else { Err(log) }
    });
    controller.wait_online("web-1");
    let after = std::fs::read(controller.path("data/identity/reset-key"))?;
    assert!(after == key, "the key is the same after each start");
    controller.apply(FILE)?;
    assert_eq!(node.read("/etc/motd")?, "here\n");
    Ok(())
}

#[test]
fn a_stopped_agent_is_named_and_delays_nobody() -> Result<()> {
    let controller = Controller::start()?;
    let (mut hung, well) = (controller.node("web-1", "app")?, controller.node("web-2", "app")?);
    hung.process().signal(Signal::SIGSTOP)?;

    // The plan says who does not answer, and what the others would do.
    std::fs::write(controller.path("motd.toml"), FILE)?;
    let plan = controller.ctl(&["apply", "-f", "motd.toml", "--plan", "--output", "json"])?;
    let plan: serde_json::Value = serde_json::from_str(&plan.out)?;
    assert_eq!(plan["plan"]["unplanned"][0]["node"]["name"], "web-1", "{plan}");
    let reason = plan["plan"]["unplanned"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("answer"), "{reason}");
    assert_eq!(plan["plan"]["groups"][0]["nodes"][0]["name"], "web-2", "{plan}");
    wait_for("the node to be shown as silent", || {
        let node = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if node["state"] == "stale" { Ok(()) } else { Err(node["state"].to_string()) }
    });

    // Who answers has it; who doesn't is named when the wait ends, and the change goes on.
    let refused = controller.ctl(&["apply", "-f", "motd.toml"])?;
    assert!(refused.code == 2 && refused.out.contains("web-1"), "{refused:#?}");
    let applied = controller.ctl(&["apply", "-f", "motd.toml", "--allow-unplanned", "--wait", "--timeout", "2s"])?;
    assert_eq!(applied.code, 3, "{applied:#?}");
    assert!(applied.out.lines().any(|l| l.contains("web-2") && l.contains("in force")), "{applied:#?}");
    assert!(applied.out.lines().any(|l| l.contains("web-1") && l.contains("not answered")), "{applied:#?}");
    assert_eq!(well.read("/etc/motd")?, "here\n");

    hung.process().signal(Signal::SIGCONT)?;
    wait_for("the stopped agent to catch up", || match hung.read("/etc/motd") {
        Ok(text) if text == "here\n" => Ok(()),
        other => Err(other),
    });
    Ok(())
}

#[test]
fn slow_a_stopped_controller_is_left_and_found_again() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    controller.process().signal(Signal::SIGSTOP)?;
    let overview = controller.ctl(&["overview"])?;
    assert_eq!(overview.code, 1, "{overview:#?}");
    assert!(overview.err.contains("127.0.0.1") && overview.err.contains("tim"), "{overview:#?}");
    wait_for("the agent to leave", || {
        let log = node.process().log_tail();
        if log.contains(SILENT) { Ok(()) } else { Err(log) }
    });
    controller.process().signal(Signal::SIGCONT)?;
    wait_for("the agent to come back", || {
        let log = node.process().log_tail();
        // What it said before it left the silent controller is no sign of its return.
        let since = log.rfind(SILENT).map_or("", |at| &log[at..]);
        if since.lines().any(|line| line.contains("connected") && !line.contains("not connected")) {
            Ok(())
        } else {
            Err(log)
        }
    });
    controller.apply(FILE)?;
    assert_eq!(node.read("/etc/motd")?, "here\n");
    Ok(())
}
