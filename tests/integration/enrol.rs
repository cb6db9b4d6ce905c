//! Enrolment, revocation, foreign fleets.

use anyhow::Result;
use lampas_tests::{Controller, Node, wait_for};

#[test]
fn a_token_serves_once() -> Result<()> {
    let controller = Controller::start()?;
    let token = controller.ctl_ok(&["token", "create", "--role", "app", "--quiet"])?.out;
    Node::prepare("web-1")?.enrol(controller.port(), &token)?;
    let second = Node::prepare("web-2")?.enrol(controller.port(), &token);
    assert!(second.is_err_and(|e| e.to_string().contains("token")), "the second use is refused and says why");
    Ok(())
}

#[test]
fn a_withdrawn_token_and_another_fleets_token_are_refused() -> Result<()> {
    let controller = Controller::start()?;
    let created = controller.json(&["token", "create", "--role", "app"])?;
    controller.ctl_ok(&["token", "withdraw", created["token"]["id"].as_str().unwrap_or_default()])?;
    let secret = created["secret"].as_str().unwrap_or_default();
    assert!(Node::prepare("web-1")?.enrol(controller.port(), secret).is_err());

    let other = Controller::start()?;
    let foreign = other.ctl_ok(&["token", "create", "--role", "app", "--quiet"])?.out;
    let refused = Node::prepare("web-2")?.enrol(controller.port(), &foreign);
    assert!(refused.is_err(), "the token pins the authority of its own fleet");
    Ok(())
}

#[test]
fn a_revoked_node_loses_its_connection_and_stays_away() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    controller.ctl_ok(&["node", "revoke", "web-1", "--yes"])?;
    let offline = || {
        let node = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if node["state"] == "offline" { Ok(()) } else { Err(node["state"].to_string()) }
    };
    wait_for("the end of the connection", offline);
    node.kill();
    node.resume()?;
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"role:other\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    wait_for("the refusal in the agent's log", || {
        let log = node.process().log_tail();
        if log.contains("revoked") { Ok(()) } else { Err(log) }
    });
    offline().map_err(anyhow::Error::msg)
}
