//! Backup and restore, with agents that lived on meanwhile.

use std::path::Path;

use anyhow::Result;
use lampas_tests::{Controller, MariaDb, Node, Store, wait_for};

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

fn wait_content(node: &Node, expected: &str) {
    wait_for("the content of the file", || match node.read("/etc/motd") {
        Ok(text) if text.trim() == expected => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Waits until a node is in force; returns the epoch of its generation.
fn wait_converged(controller: &Controller, node: &str) -> u64 {
    wait_for("the node to be in force", || {
        let shown = controller.json(&["node", "show", node]).map_err(|e| e.to_string())?;
        let (desired, reported) = (shown["desired"].clone(), shown["reported"].clone());
        if shown["config"] == "converged" && desired == reported && !desired.is_null() {
            let epoch = desired["epoch"].as_u64();
            let text = desired.as_str().and_then(|t| t.split('.').next()?.parse().ok());
            epoch.or(text).ok_or_else(|| desired.to_string())
        } else {
            Err(shown.to_string())
        }
    })
}

fn restore(controller: &mut Controller, data: &str, store: Store, backup: &Path, key: &Path) -> Result<()> {
    controller.kill();
    controller.switch_to(data, store);
    let (backup, key) = (backup.display().to_string(), key.display().to_string());
    let said = controller.command(&["restore", "--from", &backup, "--key-file", &key])?;
    assert!(said.contains("restored"), "{said}");
    controller.resume()?;
    controller.wait_online("web-1");
    Ok(())
}

/// Backs up, lives on, restores, and restores once more; `stores` are the empty ones to restore into.
fn round(store: &Store, stores: [Store; 2]) -> Result<()> {
    let mut controller = Controller::start_with(store.clone())?;
    let mut node = controller.node("web-1", "app")?;
    controller.apply(&motd("in the backup"))?;
    let [recovery, public, backup] = ["recovery", "public", "backup"].map(|n| controller.path(n));
    let text = |path: &Path| path.display().to_string();
    let keys = std::process::Command::new(lampas_tests::binary("lampas-controller")?)
        .args(["backup", "keygen", "--recovery-key", &text(&recovery), "--public-key", &text(&public)])
        .status()?;
    assert!(keys.success());
    let said = controller.command(&["backup", "--to", &text(&backup), "--key-file", &text(&public)])?;
    assert!(said.contains("rows"), "{said}");
    let sealed = std::fs::read(&backup)?;
    assert!(!sealed.windows(13).any(|w| w == b"in the backup"), "nothing can be read without the recovery key");

    // What the backup doesn't know.
    controller.apply(&motd("after the backup"))?;
    controller.apply(&motd("later still"))?;
    assert_eq!(wait_converged(&controller, "web-1"), 1);

    let [first, second] = stores;
    restore(&mut controller, "restored", first.clone(), &backup, &recovery)?;
    wait_content(&node, "in the backup");
    let epoch = wait_converged(&controller, "web-1");
    assert!(epoch > 1, "a restore opens a new epoch");
    controller.apply(&motd("of the restored one"))?;
    assert_eq!(node.read("/etc/motd")?, "of the restored one\n");
    assert!(controller.ctl_ok(&["audit", "--verify"])?.out.contains("whole"));
    let acts = controller.json(&["audit"])?.to_string();
    assert!(acts.contains("backup.restore"), "{acts}");

    // The same backup once more: newer than what the first restore handed out, although its counters are lower.
    restore(&mut controller, "restored-again", second, &backup, &recovery)?;
    wait_content(&node, "in the backup");
    let newest = wait_converged(&controller, "web-1");
    assert!(newest > epoch, "two restores share no epoch");
    assert!(controller.ctl_ok(&["audit", "--verify"])?.out.contains("whole"));
    let again = controller.ctl(&["drift", "list"])?;
    assert_eq!(again.code, 0, "{again:#?}");

    // The first store comes back, as from a machine that was thought dead: its states are old, and no node takes them.
    controller.kill();
    controller.switch_to("data", store.clone());
    controller.resume()?;
    controller.wait_online("web-1");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &motd("from the grave"))?;
    assert!(applied.code != 0 || node.read("/etc/motd")? == "in the backup\n", "{applied:#?}");
    node.kill();
    node.resume()?;
    controller.wait_online("web-1");
    assert_eq!(node.read("/etc/motd")?, "in the backup\n", "no node takes an old state for a new one");
    let refusal = wait_for("the refusal to be shown", || {
        let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if shown["refusal"].is_object() { Ok(shown["refusal"].clone()) } else { Err(shown.to_string()) }
    });
    assert!(refusal["code"].as_str().is_some_and(|c| c.starts_with("desired.")), "{refusal}");
    assert!(refusal["remedy"].as_str().is_some_and(|r| r.contains("lampas-controller restore")), "{refusal}");
    let said = controller.ctl_ok(&["node", "show", "web-1"])?.out;
    assert!(said.contains("does not take its state") && said.contains("restore"), "{said}");
    let listed = controller.ctl_ok(&["node", "list"])?.out;
    assert!(listed.contains("holds a newer state than this store has"), "{listed}");
    let overview = controller.json(&["overview"])?;
    assert!(overview["attention"].to_string().contains("declined"), "{overview}");
    let (_, status) = node.agent(&["status"])?;
    assert!(status.contains(&format!("{newest}.")), "it stays with what the last restore gave it: {status}");
    Ok(())
}

#[test]
fn slow_a_restored_controller_leads_its_agents_on() -> Result<()> {
    round(&Store::Sqlite, [Store::Sqlite, Store::Sqlite])
}

#[test]
fn slow_a_controller_restored_on_mariadb_leads_its_agents_on() -> Result<()> {
    let server = MariaDb::start()?;
    let into = [Store::Database(server.another("restored")?), Store::Database(server.another("again")?)];
    round(&Store::Database(server.database_file()?), into)
}
