//! Clocks that are years off, of agents and of controllers. The machine's own clock is never touched.

use anyhow::Result;
use lampas_tests::{Controller, Node, Store, wait_for};

const MOTD: &str = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"on time\\n\"\n";

fn renewals(controller: &Controller) -> Result<usize> {
    Ok(controller.json(&["audit"])?.to_string().matches("certificate.renew").count())
}

/// A node whose clock is off from the beginning: it enrols, connects, applies, and says how far off it is.
fn wrong_node(days: i32) -> Result<(Controller, Node)> {
    let controller = Controller::start()?;
    let mut node = Node::prepare("web-1")?;
    node.set_clock_off(days);
    controller.enrol(&node, "app")?;
    node.resume()?;
    controller.wait_online("web-1");
    controller.apply(MOTD)?;
    assert_eq!(node.read("/etc/motd")?, "on time\n");
    let (code, said) = node.agent(&["check"])?;
    assert!(code == 0 && said.contains("off the controller's"), "{said}");
    // A restart: what it remembers of the controller's clock counts, not its own.
    node.process().stop()?;
    node.resume()?;
    wait_for("the node to connect again", || match node.agent(&["status"]) {
        Ok((0, said)) if said.contains("connected") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    controller.wait_online("web-1");
    Ok((controller, node))
}

#[test]
fn a_node_years_ahead_connects_and_renews() -> Result<()> {
    let (controller, mut node) = wrong_node(1500)?;
    // By its own clock its certificate may have ended: it renews it at each start, and goes on with the new one.
    wait_for("a renewal", || match renewals(&controller) {
        Ok(0) => Err("none".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    });
    node.process().stop()
}

#[test]
fn a_node_years_behind_connects() -> Result<()> {
    wrong_node(-1500).map(drop)
}

#[test]
fn the_controllers_clock_decides_when_a_certificate_is_renewed() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = Node::prepare("web-1")?;
    node.set_clock_off(-1500);
    controller.enrol(&node, "app")?;
    node.resume()?;
    controller.wait_online("web-1");
    assert_eq!(renewals(&controller)?, 0);
    controller.process().stop()?;
    // Two thirds of the certificate's life are over by the controller's clock, and none by the node's.
    controller.set_clock_off(25);
    controller.resume()?;
    wait_for("the renewal", || match renewals(&controller) {
        Ok(1..) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    controller.apply(MOTD)?;
    assert_eq!(node.read("/etc/motd")?, "on time\n");
    Ok(())
}

#[test]
fn controllers_years_off_lead_nodes_that_are_on_time() -> Result<()> {
    for days in [1500, -1500] {
        let mut controller = Controller::prepare(Store::Sqlite)?;
        controller.set_clock_off(days);
        controller.resume()?;
        controller.set_up()?;
        let node = controller.node("web-1", "app")?;
        controller.apply(MOTD)?;
        assert_eq!(node.read("/etc/motd")?, "on time\n", "{days} days off");
        let (_, said) = node.agent(&["check"])?;
        assert!(said.contains("off the controller's"), "{said}");
    }
    Ok(())
}
