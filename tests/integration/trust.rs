//! Trust over time: backups that forget, roots that rotate, nodes that move between fleets, and revocation.

use std::{
    fs,
    path::Path,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, Node, Store, binary, wait_for, wait_within};
use serde_json::Value;

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

fn renewals(controller: &Controller) -> Result<usize> {
    Ok(controller.json(&["audit"])?.to_string().matches("certificate.renew").count())
}

fn wait_renewed(controller: &Controller, more_than: usize) {
    wait_for("a renewal", || match renewals(controller) {
        Ok(count) if count > more_than => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn slow_a_restored_controller_renews_what_was_issued_after_the_backup() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let [recovery, public, backup] = ["recovery", "public", "backup"].map(|n| controller.path(n));
    let text = |path: &Path| path.display().to_string();
    let keys = std::process::Command::new(binary("lampas-controller")?)
        .args(["backup", "keygen", "--recovery-key", &text(&recovery), "--public-key", &text(&public)])
        .status()?;
    assert!(keys.success());
    controller.command(&["backup", "--to", &text(&backup), "--key-file", &text(&public)])?;

    // Two new certificates that the backup doesn't know, so that none of what it knows is in use any more.
    for _ in 0..2 {
        node.process().stop()?;
        controller.ctl_ok(&["node", "revoke", "web-1", "--yes"])?;
        let token = controller.ctl_ok(&["token", "create", "--node", "web-1", "--role", "app", "--quiet"])?.out;
        node.enrol_with(controller.port(), &token, &["--replace"])?;
        node.resume()?;
        controller.wait_online("web-1");
    }
    controller.process().stop()?;
    controller.switch_to("restored", Store::Sqlite);
    let said = controller.command(&["restore", "--from", &text(&backup), "--key-file", &text(&recovery)])?;
    assert!(said.contains("revoke or remove it again"), "what a backup can't know is said: {said}");

    // The controller's clock has the agent renew, without a token.
    controller.set_clock_off(25);
    controller.resume()?;
    wait_renewed(&controller, 0);
    controller.wait_online("web-1");
    controller.apply(&motd("led on"))?;
    assert_eq!(node.read("/etc/motd")?, "led on\n");
    let log = fs::read_to_string(controller.data().join("signer/signed.log"))?;
    assert_eq!(log.matches("found_in_use").count(), 1, "{log}");
    Ok(())
}

#[test]
fn a_root_retires_once_every_node_trusts_the_new_one() -> Result<()> {
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let mut absent = Node::prepare("web-2")?;
    controller.enrol(&absent, "app")?;
    assert_eq!(controller.command(&["ca", "rotate"])?.matches("root ").count(), 2);
    let refused = controller.command(&["ca", "retire"]).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused.contains("web-1, web-2") && refused.contains("--force"), "{refused}");

    // A controller takes a rotation up within a minute, or at its start.
    controller.process().stop()?;
    controller.resume()?;
    let only_absent = || {
        let refused = controller.command(&["ca", "retire"]).err().map(|e| e.to_string()).unwrap_or_default();
        if refused.contains("1 node(s), web-2,") { Ok(()) } else { Err(refused) }
    };
    wait_for("the node to say whom it trusts", only_absent);
    absent.resume()?;
    wait_for("the other one too", || controller.command(&["ca", "retire"]).map(drop).map_err(|e| e.to_string()));
    controller.process().stop()?;
    controller.resume()?;
    controller.wait_online("web-1");
    controller.wait_online("web-2");
    controller.apply(&motd("under the new root"))?;
    assert_eq!(node.read("/etc/motd")?, "under the new root\n");
    Ok(())
}

#[test]
fn a_node_moves_to_another_fleet_and_takes_its_state_alone() -> Result<()> {
    let (first, second) = (Controller::start()?, Controller::start()?);
    let mut node = first.node("web-1", "app")?;
    for text in ["one", "two", "three"] {
        first.apply(&motd(text))?;
    }
    second.apply(&motd("of the second fleet"))?;
    node.process().stop()?;
    let token = second.ctl_ok(&["token", "create", "--node", "web-1", "--role", "app", "--quiet"])?.out;
    let again = node.enrol(second.port(), &token);
    assert!(again.is_err_and(|e| e.to_string().contains("--replace")), "it is enrolled already");
    node.enrol_with(second.port(), &token, &["--replace"])?;
    let config = node.root().join("etc/lampas/agent.toml");
    let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    fs::write(&config, text.replace(&first.port().to_string(), &second.port().to_string()))?;
    node.resume()?;
    second.wait_online("web-1");
    wait_for("the state of the second fleet", || match node.read("/etc/motd") {
        Ok(text) if text == "of the second fleet\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_for("it to be in force", || {
        let shown = second.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if shown["config"] == "converged" && shown["refusal"].is_null() { Ok(()) } else { Err(shown.to_string()) }
    });
    let left = first.json(&["node", "show", "web-1"])?;
    assert_eq!(left["state"], "offline", "{left}");
    Ok(())
}

#[test]
fn revocation_ends_the_open_connection() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let before = last_event(&controller)?;
    let asked = Instant::now();
    controller.ctl_ok(&["node", "revoke", "web-1", "--yes"])?;
    let done = asked.elapsed();
    wait_within(Duration::from_secs(60), "the agent to be told", || {
        let log = node.process().log_tail();
        if log.contains("revoked") { Ok(()) } else { Err(log) }
    });
    eprintln!("revocation: the call took {done:?}, the agent had heard of it after {:?}", asked.elapsed());
    let kinds = wait_for("the end in the events", || {
        let kinds = events_after(&controller, before).map_err(|e| e.to_string())?;
        if kinds.iter().any(|k| k == "fleet.node.disconnected") { Ok(kinds) } else { Err(format!("{kinds:?}")) }
    });
    let at = |kind: &str| kinds.iter().position(|k| k == kind);
    assert!(at("fleet.node.revoked").is_some(), "{kinds:?}");
    assert!(at("fleet.node.revoked") < at("fleet.node.disconnected"), "{kinds:?}");
    Ok(())
}

fn activity(controller: &Controller) -> Result<Vec<Value>> {
    let token = controller.ctl_ok(&["api-token", "create", "look", "--quiet"])?.out;
    let answer = controller.https(token.trim(), "GET", "/api/v1/activity?limit=100", &[])?;
    Ok(answer.body["items"].as_array().cloned().unwrap_or_default())
}

fn last_event(controller: &Controller) -> Result<u64> {
    Ok(activity(controller)?.iter().filter_map(|i| i["seq"].as_u64()).max().unwrap_or(0))
}

/// The kinds of events after one, the oldest first.
fn events_after(controller: &Controller, seq: u64) -> Result<Vec<String>> {
    let mut items = activity(controller)?;
    items.retain(|i| i["seq"].as_u64().is_some_and(|s| s > seq));
    items.sort_by_key(|i| i["seq"].as_u64());
    Ok(items.iter().map(|i| i["kind"].as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn of_many_who_show_one_token_at_once_one_comes_in() -> Result<()> {
    let controller = Controller::start()?;
    let token = controller.ctl_ok(&["token", "create", "--role", "app", "--quiet"])?.out;
    let nodes = (0..6).map(|n| Node::prepare(&format!("web-{n}"))).collect::<Result<Vec<_>>>()?;
    let start = Barrier::new(nodes.len());
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let one = |node| {
            let (start, token, port) = (&start, &token, controller.port());
            scope.spawn(move || {
                start.wait();
                Node::enrol(node, port, token)
            })
        };
        let running: Vec<_> = nodes.iter().map(one).collect();
        running.into_iter().map(|r| r.join().expect("an outcome")).collect()
    });
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|e| e.to_string().contains("token")), "{outcomes:?}");
    let listed = controller.json(&["node", "list"])?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    Ok(())
}

#[test]
fn a_resource_keeps_its_time_while_its_state_stays() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&motd("one"))?;
    let token = controller.ctl_ok(&["api-token", "create", "look", "--quiet"])?.out;
    let since = |target: &str| -> Result<(String, String)> {
        let answer = controller.https(token.trim(), "GET", "/api/v1/nodes/web-1/resources", &[])?;
        let items = answer.body["items"].as_array().cloned().unwrap_or_default();
        let item = items.iter().find(|i| i["target"] == target).with_context(|| answer.body.to_string())?;
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        Ok((text("state"), text("since")))
    };
    let first = since("path:/etc/motd")?;
    assert_eq!(first.0, "converged");
    controller.apply("[[file]]\nname = \"other\"\nscope = \"role:app\"\npath = \"/etc/other\"\ncontent = \"x\"\n")?;
    assert_eq!(since("path:/etc/motd")?, first, "another report said the same of it");
    assert!(since("path:/etc/other")?.1 > first.1);
    node.write("/etc/motd", "by hand\n")?;
    let drifted = wait_for("the drift", || match since("path:/etc/motd") {
        Ok(now) if now.0 == "drifted" => Ok(now),
        other => Err(format!("{other:?}")),
    });
    assert!(drifted.1 > first.1, "{drifted:?}");
    Ok(())
}
