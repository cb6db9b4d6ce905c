//! Changes by hand: seen, reverted, adopted.

use anyhow::Result;
use lampas_tests::{Controller, Node, wait_for};

const MOTD: &str = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"managed\\n\"\n";

fn wait_drifted(controller: &Controller, node: &Node) {
    wait_for("the drift to be seen", || {
        let list = controller.json(&["drift", "list", "--node", &node.name]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| !i.is_empty()) { Ok(()) } else { Err(list.to_string()) }
    });
}

#[test]
fn a_change_by_hand_is_seen_and_reverted() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(MOTD)?;
    node.write("/etc/motd", "by hand\n")?;
    wait_drifted(&controller, &node);
    let shown = controller.ctl_ok(&["drift", "show", "web-1:/etc/motd"])?.out;
    assert!(shown.contains("-managed") && shown.contains("+by hand"), "{shown}");
    assert_eq!(node.read("/etc/motd")?, "by hand\n", "a held drift stands until somebody decides");
    controller.ctl_ok(&["drift", "revert", "web-1:/etc/motd"])?;
    wait_for("the desired content", || match node.read("/etc/motd") {
        Ok(text) if text == "managed\n" => Ok(()),
        other => Err(other),
    });
    wait_for("the end of the drift", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| i.is_empty()) { Ok(()) } else { Err(list.to_string()) }
    });
    Ok(())
}

#[test]
fn an_edited_cron_job_is_adopted_for_its_role() -> Result<()> {
    let controller = Controller::start()?;
    let web = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    controller
        .apply("[[cron]]\nname = \"hello\"\nscope = \"role:app\"\nschedule = \"*/5 * * * *\"\ncommand = \"true\"\n")?;
    let path = "/etc/cron.d/lampas-hello";
    web[1].write(path, &web[1].read(path)?.replace("*/5 * * * *", "*/7 * * * *"))?;
    wait_drifted(&controller, &web[1]);
    let adopted = controller.ctl(&["drift", "adopt", &format!("web-2:{path}"), "--apply", "--wait"])?;
    assert_eq!(adopted.code, 0, "{adopted:#?}");
    for node in &web {
        assert!(node.read(path)?.contains("*/7 * * * *"), "{}", node.name);
    }
    let history = controller.ctl_ok(&["object", "history", "cron/hello"])?.out;
    assert!(history.contains("adopted from web-2"), "{history}");
    Ok(())
}

#[test]
fn a_drift_is_repaired_at_once_where_the_policy_says_so() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&format!("{MOTD}drift = \"repair\"\n"))?;
    node.write("/etc/motd", "by hand\n")?;
    wait_for("the repair", || match node.read("/etc/motd") {
        Ok(text) if text == "managed\n" => Ok(()),
        other => Err(other),
    });
    wait_for("the report of it", || {
        let list = controller.json(&["drift", "list", "--all"]).map_err(|e| e.to_string())?;
        if list["items"][0]["outcome"] == "repaired" { Ok(()) } else { Err(list.to_string()) }
    });
    Ok(())
}
