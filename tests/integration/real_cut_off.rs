//! A change that cuts a node off undoes itself: two networks of their own, with a cable that a managed file pulls.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use lampas_tests::{Controller, Machine, Service, Store, wait_for, wait_within};

use crate::{
    mail::MailServer,
    real_host::{enrol_at, start_agent, status},
};

/// Confirmed within twenty seconds, or undone; as long it may take then to be reached again, on a machine that is busy.
const HASTY: &str = "[reconcile]\nconfirm_secs = 20\n";
/// Attempts to reach a controller take up to ten seconds each, and links that lie still are given up after thirty.
const PATIENCE: Duration = Duration::from_secs(180);

const IP: &str = "/usr/sbin/ip";

/// A service of the machine that does what a managed file says, as those that set up networks do.
const NETWORK: &str = "while :; do case $(cat /srv/network 2>/dev/null) in down) ip link set cable down ;; \
                       *) ip link set cable up ;; esac; sleep 0.05; done";

fn boot() -> Result<Option<(Machine, Controller)>> {
    let Some(machine) = Machine::boot_apart("real-1")? else { return Ok(None) };
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.listen_on("0.0.0.0");
    controller.resume()?;
    controller.set_up()?;
    machine.run_ok(&["/bin/mkdir", "-p", "/etc/lampas"], "")?;
    machine.write("/etc/lampas/agent.toml", HASTY)?;
    Ok(Some((machine, controller)))
}

fn network(text: &str) -> String {
    format!("[[file]]\nname = \"network\"\nscope = \"role:app\"\npath = \"/srv/network\"\ncontent = \"{text}\\n\"\n")
}

fn wait_status(machine: &Machine, parts: &[&str]) {
    wait_within(PATIENCE, &format!("the agent to say {parts:?}"), || {
        let said = status(machine).map_err(|e| e.to_string())?;
        if parts.iter().all(|p| said.contains(p)) { Ok(()) } else { Err(said) }
    });
}

/// Lets the node reach the controller from the sockets that it has and from no new one, until [`release_sockets`]: a
/// handshake can't overtake a cut that is under way.
fn hold_sockets(machine: &Machine, controller: &Controller) -> Result<()> {
    let sockets = machine.run_ok(&["/usr/bin/ss", "-Huan"], "")?;
    let local = sockets.lines().filter_map(|l| l.split_whitespace().nth(3)?.rsplit(':').next());
    let ports: BTreeSet<&str> = local.collect();
    ensure!(!ports.is_empty(), "the agent has a socket: {sockets}");
    for port in ports {
        let rule = ["add", "priority", "10", "ipproto", "udp", "sport", port, "lookup", "main"];
        machine.run_ok(&[&[IP, "rule"][..], &rule].concat(), "")?;
    }
    let port = controller.port().to_string();
    let rule = ["add", "priority", "20", "ipproto", "udp", "dport", &port, "unreachable"];
    machine.run_ok(&[&[IP, "rule"][..], &rule].concat(), "")?;
    Ok(())
}

fn release_sockets(machine: &Machine) -> Result<()> {
    for priority in ["10", "20"] {
        while machine.run_ok(&[IP, "rule", "show", "priority", priority], "")?.contains(':') {
            machine.run_ok(&[IP, "rule", "del", "priority", priority], "")?;
        }
    }
    Ok(())
}

/// Applies what pulls the cable; returns once the agent has found that out and undone it.
fn cut_off(machine: &Machine, controller: &Controller, good: &str) -> Result<()> {
    hold_sockets(machine, controller)?;
    let applied = controller.ctl_with(&["apply", "-f", "-"], &network("down"))?;
    assert!(matches!(applied.code, 0 | 2), "{applied:#?}");
    wait_for("the node to be cut off", || {
        let device = machine.run_ok(&[IP, "link", "show", "cable"], "").map_err(|e| e.to_string())?;
        if device.contains("state DOWN") { Ok(()) } else { Err(device) }
    });
    release_sockets(machine)?;
    wait_status(machine, &["quarantined since", "no controller could be reached for 20 s after generation"]);
    assert_eq!(machine.read("/srv/network")?, good, "the last good state is back");
    wait_within(PATIENCE, "the controller to be told", || {
        let node = controller.json(&["node", "show", "real-1"]).map_err(|e| e.to_string())?;
        if node["quarantined"].is_null() { Err(node.to_string()) } else { Ok(()) }
    });
    let shown = controller.ctl_ok(&["node", "show", "real-1"])?.out;
    assert!(shown.contains("cut the node off and was undone; lampasctl node retry real-1"), "{shown}");
    Ok(())
}

fn wait_settled(machine: &Machine, controller: &Controller, text: &str) {
    wait_within(PATIENCE, "the node to be as desired and out of quarantine", || {
        let node = controller.json(&["node", "show", "real-1"]).map_err(|e| e.to_string())?;
        let is_settled = node["quarantined"].is_null() && node["config"] == "converged";
        let found = machine.read("/srv/network").map_err(|e| e.to_string())?;
        if is_settled && found == text { Ok(()) } else { Err(format!("{found:?}: {node}")) }
    });
    let said = status(machine).unwrap_or_default();
    assert!(!said.contains("quarantined"), "{said}");
}

#[test]
fn real_a_generation_that_cuts_the_node_off_is_undone_and_quarantined() -> Result<()> {
    let Some((machine, controller)) = boot()? else { return Ok(()) };
    enrol_at(&controller, &machine, "real-1", "10.77.0.1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let service: Service = machine.start("network", &["/bin/sh", "-c", NETWORK])?;
    controller.apply(&network("up"))?;
    let server = MailServer::start(&controller, "starttls")?;
    assert_eq!(server.set(&controller, &[])?.code, 0);
    controller.ctl_ok(&["mail", "account", "--address", "admin@fleet.test"])?;

    // A newer generation ends the quarantine.
    cut_off(&machine, &controller, "up\n")?;
    let mail = server.wait(&controller, 1).swap_remove(0);
    let kind = mail["headers"]["list-id"].as_str().unwrap_or_default();
    assert!(mail["to"][0] == "admin@fleet.test" && kind.starts_with("<quarantine.lampas."), "{mail:#}");
    assert!(
        mail["headers"]["subject"].as_str().is_some_and(|s| s.starts_with("Change 2: real-1 undid it - ")),
        "{mail:#}"
    );
    let text = mail["text"].as_str().unwrap_or_default();
    for part in ["real-1 undid change 2", "The node says: no controller could be reached for 20 s", "/nodes/real-1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    controller.apply(&network("up again"))?;
    wait_settled(&machine, &controller, "up again\n");

    // So does who asks to try again, once what is to blame is out of the way.
    cut_off(&machine, &controller, "up again\n")?;
    machine.kill(service)?;
    controller.ctl_ok(&["node", "retry", "real-1"])?;
    wait_settled(&machine, &controller, "down\n");
    // What each change did stands in its own line: only the second was undone for good.
    let changes = controller.json(&["change", "list"])?;
    let converged = |at: usize| changes["items"][at]["progress"]["converged"].clone();
    assert_eq!((converged(0), converged(1), converged(2), converged(3)), (1.into(), 1.into(), 0.into(), 1.into()));
    let told = server.wait(&controller, 2);
    assert_eq!(told.len(), 2, "one of each change: {told:#?}");
    Ok(())
}

#[test]
fn real_a_hosts_entry_that_sends_the_controllers_name_elsewhere_cuts_nobody_off() -> Result<()> {
    let Some((machine, controller)) = boot()? else { return Ok(()) };
    let foreign = machine.read("/etc/hosts")?;
    machine.write("/etc/hosts", &format!("{foreign}10.77.0.1 controller.lampas.test\n"))?;
    enrol_at(&controller, &machine, "real-1", "controller.lampas.test")?;
    let agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    // The only line for the name is LAMPAS's own from here on.
    machine.write("/etc/hosts", &foreign)?;
    controller.apply(
        "[[hosts]]\nname = \"wrong\"\nscope = \"role:app\"\naddress = \"10.77.0.99\"\n\
         names = [\"controller.lampas.test\"]\n",
    )?;
    let resolved = machine.run_ok(&["/usr/bin/getent", "hosts", "controller.lampas.test"], "")?;
    assert!(resolved.contains("10.77.0.99"), "{resolved}");
    wait_status(&machine, &["confirmed", "connected with"]);
    // Nor after a start, when the name is all that was configured.
    machine.kill(agent)?;
    let _agent = start_agent(&machine)?;
    wait_status(&machine, &["connected with"]);
    let said = status(&machine)?;
    assert!(!said.contains("quarantined"), "{said}");
    Ok(())
}
