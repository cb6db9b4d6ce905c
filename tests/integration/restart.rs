//! Controllers and agents that stop, restart and miss each other.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, wait_for};

#[test]
fn agents_come_back_after_a_restart_of_the_controller() -> Result<()> {
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.process().stop()?;
    controller.resume()?;
    controller.wait_online("web-1");
    controller
        .apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"after\\n\"\n")?;
    assert_eq!(node.read("/etc/motd")?, "after\n");
    Ok(())
}

#[test]
fn a_controller_outage_reverts_nothing() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"kept\\n\"\ndrift = \"repair\"\n")?;
    controller.kill();
    node.process().stop()?;
    node.resume()?;
    node.write("/etc/motd", "by hand\n")?;
    wait_for("the repair without a controller", || match node.read("/etc/motd") {
        Ok(text) if text == "kept\n" => Ok(()),
        other => Err(other),
    });
    let (code, why) = node.agent(&["why", "/etc/motd"])?;
    assert!(code == 0 && why.contains("motd") && why.contains("admin"), "{why}");
    controller.resume()?;
    controller.wait_online("web-1");
    wait_for("the report of the repair", || {
        let list = controller.json(&["drift", "list", "--all"]).map_err(|e| e.to_string())?;
        if list["items"][0]["outcome"] == "repaired" { Ok(()) } else { Err(list.to_string()) }
    });
    Ok(())
}

#[test]
fn the_stream_of_events_tells_what_happens_and_goes_on_after_a_restart() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut child = controller.ctl_command(&["events", "--after", "0"])?.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut until = |part: &str| -> Result<()> {
        loop {
            let line = lines.next().context("the stream goes on")??;
            if line.contains(part) {
                return Ok(());
            }
        }
    };
    until("access.session.opened")?;
    controller.ctl_ok(&["token", "create", "--role", "app", "--quiet"])?;
    until("fleet.token.changed")?;
    controller.process().stop()?;
    controller.resume()?;
    controller.ctl_ok(&["token", "create", "--role", "app", "--quiet"])?;
    until("fleet.token.changed")?;
    child.kill()?;
    child.wait()?;
    Ok(())
}
