//! Rollouts on real agents: waves, a canary that fails, a controller that dies, a node that is away.

use anyhow::Result;
use lampas_tests::{Controller, wait_for};

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

/// A script that no interpreter takes; which node finds that out first is what a canary is for.
const BROKEN: &str = r##"
[[script]]
name    = "rotate"
scope   = "role:app"
content = "#!/usr/bin/perl\nuse strict;\nmy $x = ;\n"
"##;

#[test]
fn waves_follow_each_other_and_are_told() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?, controller.node("web-3", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--wait"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    for line in ["wave 1 of 2: 1 node", "wave 2 of 2: 2 nodes", "✓ in force"] {
        assert!(applied.out.contains(line), "{line}: {applied:#?}");
    }
    for node in &nodes {
        assert_eq!(node.read("/etc/motd")?, "new\n");
    }
    let shown = controller.json(&["rollout", "show", "1"])?;
    assert_eq!((shown["state"].as_str(), shown["waves"].as_array().map(Vec::len)), (Some("done"), Some(2)));
    Ok(())
}

#[test]
fn a_canary_that_fails_is_put_back_and_nobody_else_is_touched() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--wait"], BROKEN)?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("reverted: wave 1 of 2: 1 node failed, 0 may"), "{applied:#?}");
    let history = controller.json(&["change", "list"])?;
    assert_eq!(history["items"][0]["reason"], "revert change 1: wave 1 of 2: 1 node failed, 0 may");
    for node in &nodes {
        assert!(!node.exists("/usr/local/sbin/rotate"));
    }
    // Who never had it keeps its generation; the fleet is whole again.
    let web = controller.json(&["node", "show", "web-2"])?;
    let canary = controller.json(&["node", "show", "web-1"])?;
    assert_ne!(web["desired"], canary["desired"], "{web:#}");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("fine"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    Ok(())
}

#[test]
fn a_controller_that_dies_goes_on_where_it_was() -> Result<()> {
    let mut controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--soak", "1h"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let has_it = |node: &lampas_tests::Node| node.read("/etc/motd").is_ok_and(|text| text == "new\n");
    wait_for("the canary", || nodes.iter().any(&has_it).then_some(()).ok_or("no node has it"));
    controller.kill();
    assert!(!nodes.iter().all(&has_it), "the second wave waits for the first to soak");
    controller.resume()?;
    for node in ["web-1", "web-2"] {
        controller.wait_online(node);
    }
    let shown = wait_for("the wave to soak", || {
        let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
        if shown["phase"] == "soaking" { Ok(shown) } else { Err(shown.to_string()) }
    });
    assert_eq!((shown["state"].as_str(), shown["wave"].as_u64()), (Some("running"), Some(1)), "{shown}");
    controller.ctl_ok(&["rollout", "promote", "1", "-m", "it was long enough"])?;
    wait_for("the second wave", || nodes.iter().all(&has_it).then_some(()).ok_or("one node does not have it"));
    wait_for("the second wave to soak", || {
        let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
        if shown["phase"] == "soaking" && shown["wave"] == 2 { Ok(()) } else { Err(shown.to_string()) }
    });
    controller.ctl_ok(&["rollout", "promote", "1", "-m", "that too"])?;
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert_eq!(waited.code, 0, "{waited:#?}");
    Ok(())
}

#[test]
fn who_is_told_to_wait_waits_and_goes_on() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    controller.apply(&motd("old"))?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--soak", "1h"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let refused = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("newer"))?;
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("rolling out with change 2"), "{refused:#?}");
    for (order, state) in [("pause", "paused"), ("resume", "running")] {
        let shown = controller.json(&["rollout", order, "2", "-m", "lunch"])?;
        assert_eq!(shown["state"], state);
    }
    assert_eq!(controller.ctl(&["rollout", "resume", "2"])?.code, 1, "it runs already");
    controller.ctl_ok(&["rollout", "abort", "2"])?;
    let texts = [nodes[0].read("/etc/motd")?, nodes[1].read("/etc/motd")?];
    assert_eq!(texts.iter().filter(|t| *t == "old\n").count(), 1, "{texts:?}");
    controller.apply(&motd("newer"))?;
    assert_eq!(nodes[0].read("/etc/motd")?, nodes[1].read("/etc/motd")?);
    Ok(())
}

#[test]
fn slow_a_wave_whose_node_is_away_ends_by_its_deadline() -> Result<()> {
    let controller = Controller::start()?;
    let (web, mut away) = (controller.node("web-1", "app")?, controller.node("web-2", "app")?);
    controller.apply(&motd("old"))?;
    away.process().stop()?;
    wait_for("the node to be away", || {
        let node = controller.json(&["node", "show", "web-2"]).map_err(|e| e.to_string())?;
        if node["state"] == "offline" { Ok(()) } else { Err(node["state"].to_string()) }
    });
    let applied = controller.ctl_with(
        &["apply", "-f", "-", "--canary", "1", "--stage-deadline", "10s", "--allow-unplanned", "--wait"],
        &motd("new"),
    )?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("reverted: wave 2 of 2"), "{applied:#?}");
    wait_for("what stood before", || {
        let text = web.read("/etc/motd").map_err(|e| e.to_string())?;
        if text == "old\n" { Ok(()) } else { Err(text) }
    });
    away.resume()?;
    controller.wait_online("web-2");
    assert_eq!(away.read("/etc/motd")?, "old\n");
    Ok(())
}

#[test]
fn gates_are_asked_on_the_wave_and_one_that_says_no_puts_it_back() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let with_gate = |gate: &str, text: &str| {
        let args = ["apply", "-f", "-", "--canary", "1", "--gate", gate, "--gate-user", "root", "--wait"];
        controller.ctl_with(&args, &motd(text))
    };
    let applied = with_gate("/bin/true 'with a quoted argument'", "old")?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let asked = controller.json(&["run", "list"])?;
    assert_eq!(asked["items"].as_array().map(Vec::len), Some(2), "one operation a wave: {asked:#}");
    let applied = with_gate("/bin/false", "new")?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("a gate says no: /bin/false on web-"), "{applied:#?}");
    for node in &nodes {
        wait_for("what stood before", || {
            let text = node.read("/etc/motd").map_err(|e| e.to_string())?;
            if text == "old\n" { Ok(()) } else { Err(text) }
        });
    }
    Ok(())
}
