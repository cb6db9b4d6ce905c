//! What somebody on a node says that keeps its state from being in force: seen from the controller, over restarts of both.

use anyhow::Result;
use lampas_tests::{Controller, Node, wait_for};
use serde_json::Value;

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

/// Waits until the node is shown so.
fn wait_shown(controller: &Controller, node: &Node, what: &str, is_so: impl Fn(&Value) -> bool) {
    wait_for(what, || {
        let shown = controller.json(&["node", "show", &node.name]).map_err(|e| e.to_string())?;
        if is_so(&shown) { Ok(()) } else { Err(shown.to_string()) }
    });
}

fn said(node: &Node, args: &[&str]) -> Result<String> {
    let (code, said) = node.agent(args)?;
    assert_eq!(code, 0, "{args:?}: {said}");
    Ok(said)
}

#[test]
fn what_a_node_undid_is_shown_until_it_is_resumed() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    for text in ["one", "two"] {
        controller.apply(&motd(text))?;
        // Nobody goes back to what was never confirmed.
        wait_shown(&controller, &node, "the confirmation", |n| n["is_confirmed"] == true);
    }
    said(&node, &["undo"])?;
    assert_eq!(node.read("/etc/motd")?, "one\n");
    let is_undone = |n: &Value| n["config"] == "paused" && n["undone_since"].is_string();
    wait_shown(&controller, &node, "the undo", is_undone);

    let manifest = controller.path("motd.toml");
    std::fs::write(&manifest, motd("two"))?;
    let manifest = manifest.display().to_string();
    let check = |controller: &Controller| -> Result<()> {
        let list = controller.ctl_ok(&["node", "list"])?.out;
        assert!(list.contains("paused") && list.contains("undone on the node"), "{list}");
        let shown = controller.ctl_ok(&["node", "show", "web-1"])?.out;
        assert!(shown.contains("by somebody on the node") && shown.contains("lampas-agent resume"), "{shown}");
        let change = controller.ctl_ok(&["change", "show", "2"])?.out;
        assert!(change.contains("undone on the node"), "{change}");
        let overview = controller.ctl_ok(&["overview"])?.out;
        assert!(overview.contains("web-1: its generation is undone"), "{overview}");
        for (args, code) in [(["apply", "-f", &manifest, "--wait"].as_slice(), 2), (&["diff", "-f", &manifest], 10)] {
            let told = controller.ctl(args)?;
            assert!(told.code == code && told.out.contains("web-1: undone by somebody on the node"), "{told:#?}");
        }
        Ok(())
    };
    check(&controller)?;
    let why = said(&node, &["why", "/etc/motd"])?;
    assert!(why.contains("undone on this node since") && !why.contains("in force"), "{why}");

    controller.kill();
    node.kill();
    controller.resume()?;
    node.resume()?;
    controller.wait_online("web-1");
    wait_shown(&controller, &node, "the undo, after the restart", is_undone);
    assert_eq!(node.read("/etc/motd")?, "one\n");
    check(&controller)?;

    said(&node, &["resume"])?;
    wait_shown(&controller, &node, "the end of the undo", |n| {
        n["config"] == "converged" && n["undone_since"].is_null() && n["attention"] == ""
    });
    assert_eq!(node.read("/etc/motd")?, "two\n");
    let told = controller.ctl(&["apply", "-f", &manifest, "--wait"])?;
    assert!(told.code == 0 && told.out.contains("nothing to do"), "{told:#?}");
    Ok(())
}

#[test]
fn a_pause_with_nothing_to_do_is_shown_until_it_is_over() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&motd("one"))?;
    said(&node, &["pause", "--for", "1h", "--reason", "disk swap"])?;
    wait_shown(&controller, &node, "the pause", |n| {
        n["pause"]["reason"] == "disk swap" && n["pause"]["until"].is_string()
    });
    let shown = controller.ctl_ok(&["node", "show", "web-1"])?.out;
    assert!(shown.contains("paused on the node") && shown.contains("disk swap"), "{shown}");
    let overview = controller.ctl_ok(&["overview"])?.out;
    assert!(overview.contains("web-1: paused on the node until"), "{overview}");
    assert!(controller.ctl_ok(&["node", "list", "--halted"])?.out.contains("web-1"));
    said(&node, &["resume"])?;
    wait_shown(&controller, &node, "the end of the pause", |n| n["pause"].is_null() && n["attention"] == "");
    assert!(!controller.ctl_ok(&["node", "list", "--halted"])?.out.contains("web-1"));
    Ok(())
}
