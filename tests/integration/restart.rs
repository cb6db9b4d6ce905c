//! Controllers and agents that stop, restart and miss each other.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, wait_for};

const MOTD: &str = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"new\\n\"\n";

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

/// Who waits for a change goes on waiting while the controller is away, and hears how it ended.
#[test]
fn who_waits_for_a_change_waits_through_an_outage_of_the_controller() -> Result<()> {
    let mut controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    fs::write(controller.path("motd.toml"), MOTD)?;
    let apply = ["apply", "-f", "motd.toml", "--canary", "1", "--soak", "1h", "--wait", "--timeout", "30m"];
    let log = controller.path("apply.log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let until = |what: &str| {
        wait_for(what, || {
            let said = said();
            if said.contains(what) { Ok(()) } else { Err(said) }
        });
    };
    let mut command = controller.ctl_command(&apply)?;
    let out = fs::File::create(&log)?;
    let mut applying = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
    until("wave 1 of 2");
    wait_for("the canary", || nodes.iter().any(|n| n.exists("/etc/motd")).then_some(()).ok_or("no node has it"));
    controller.kill();
    until("the controller is away; change 1 goes on; waiting until it is back");
    controller.resume()?;
    until("the controller is back; change 1 goes on");
    for node in ["web-1", "web-2"] {
        controller.wait_online(node);
    }
    for wave in [1, 2] {
        wait_for("the wave to soak", || {
            let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
            if shown["phase"] == "soaking" && shown["wave"] == wave { Ok(()) } else { Err(shown.to_string()) }
        });
        controller.ctl_ok(&["rollout", "promote", "1", "-m", "it was long enough"])?;
    }
    let status = wait_for("lampasctl to end", || applying.try_wait().ok().flatten().ok_or_else(said));
    let said = said();
    assert!(status.success() && said.contains("  done"), "{status}: {said}");
    assert_eq!(said.matches("the controller is away").count(), 1, "{said}");
    assert!(nodes.iter().all(|n| n.exists("/etc/motd")));
    Ok(())
}

#[test]
fn who_waits_longer_than_wanted_for_a_controller_hears_how_to_go_on() -> Result<()> {
    let mut controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    fs::write(controller.path("motd.toml"), MOTD)?;
    let apply = ["apply", "-f", "motd.toml", "--canary", "1", "--soak", "1h", "--wait", "--timeout", "5s"];
    let log = controller.path("apply.log");
    let mut command = controller.ctl_command(&apply)?;
    let out = fs::File::create(&log)?;
    let mut applying = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the wave", || if said().contains("wave 1 of 2") { Ok(()) } else { Err(said()) });
    controller.kill();
    let status = wait_for("lampasctl to end", || applying.try_wait().ok().flatten().ok_or_else(said));
    assert_eq!(status.code(), Some(3), "{}", said());
    assert!(said().contains("wait for it with: lampasctl change wait 1"), "{}", said());
    // Who never reached it is not kept waiting: the address may be wrong.
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert!(waited.code == 1 && waited.err.contains("can't be reached"), "{waited:#?}");
    Ok(())
}

#[test]
fn a_moment_that_lies_ahead_is_refused_in_one_sentence() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    let (ahead, past) = ("2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z");
    let told = |option: &str| format!("--{option} lies ahead: give a moment that is past\n");
    for (args, expected) in [
        (&["overview", "--at", ahead] as &[&str], told("at")),
        (&["node", "show", "web-1", "--at", ahead], told("at")),
        (&["role", "show", "app", "--at", ahead], told("at")),
        (&["diff", "--from", ahead], told("from")),
        (&["diff", "--from", past, "--to", ahead], told("to")),
        (&["diff", "--from", "1m", "--to", past], "--from lies after --to: swap them\n".to_owned()),
    ] {
        let said = controller.ctl(args)?;
        assert_eq!((said.code, said.err), (1, expected), "{args:?}");
    }
    Ok(())
}
