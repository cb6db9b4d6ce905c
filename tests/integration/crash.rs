//! `kill -9` in a loop: nothing acknowledged is lost, no file is torn.

use std::{
    io::Write as _,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, MariaDb, Node, Store, wait_for};

fn manifest(round: usize) -> String {
    let body = format!("round {round}\n").repeat(2000);
    format!("[[file]]\nname = \"big\"\nscope = \"role:app\"\npath = \"/srv/big\"\ncontent = '''\n{body}'''\n")
}

/// A file is whole when all its lines are of one round.
fn whole(text: &str) -> Result<usize, String> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if text.ends_with('\n') && text.lines().count() == 2000 && lines.all(|l| l == first) {
        first.trim_start_matches("round ").parse().map_err(|_| first.to_owned())
    } else {
        Err(format!("torn: {} lines, first {first:?}", text.lines().count()))
    }
}

#[test]
fn slow_agents_killed_during_applies_tear_no_file_and_lose_no_change() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    controller.apply(&manifest(0))?;
    for round in 1..=20 {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest(round))?;
        assert_eq!(applied.code, 0, "round {round}: {applied:#?}");
        std::thread::sleep(Duration::from_millis(3 * round as u64));
        node.kill();
        whole(&node.read("/srv/big")?).map_err(anyhow::Error::msg)?;
        node.resume()?;
        wait_for("the acknowledged round", || match whole(&node.read("/srv/big").map_err(|e| e.to_string())?) {
            Ok(seen) if seen == round => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    Ok(())
}

#[test]
fn slow_controllers_killed_during_applies_lose_no_acknowledged_change() -> Result<()> {
    controllers_killed(Store::Sqlite)
}

#[test]
fn slow_controllers_killed_during_applies_on_mariadb_lose_no_acknowledged_change() -> Result<()> {
    let server = MariaDb::start()?;
    controllers_killed(Store::Database(server.database_file()?))
}

fn controllers_killed(store: Store) -> Result<()> {
    let mut controller = Controller::start_with(store)?;
    let node = controller.node("web-1", "app")?;
    let mut acknowledged = 0;
    for round in 1..=10 {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest(round))?;
        if matches!(applied.code, 0 | 2) {
            acknowledged = round;
        }
        std::thread::sleep(Duration::from_millis(5 * round as u64));
        controller.kill();
        whole_or_absent(&node.read("/srv/big").unwrap_or_default()).map_err(anyhow::Error::msg)?;
        controller.resume()?;
        wait_for("the acknowledged round", || match whole(&node.read("/srv/big").map_err(|e| e.to_string())?) {
            Ok(seen) if seen == acknowledged => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    let audit = controller.ctl_ok(&["audit", "--verify"])?.out;
    assert!(audit.contains("whole"), "{audit}");
    Ok(())
}

fn whole_or_absent(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { whole(text).map(drop) }
}

/// Two files of one change: both have it, or none.
fn pair(round: usize) -> String {
    let file = |name: &str| {
        let head = format!("[[file]]\nname = \"{name}\"\nscope = \"role:app\"\npath = \"/srv/{name}\"\n");
        format!("{head}content = '''\n{}'''\n", format!("round {round}\n").repeat(2000))
    };
    file("one") + &file("two")
}

#[test]
fn slow_a_mariadb_killed_during_applies_loses_no_acknowledged_change() -> Result<()> {
    let mut server = MariaDb::start()?;
    let controller = Controller::start_with(Store::Database(server.database_file()?))?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&pair(0))?;
    let (mut acknowledged, mut refused) = (0, 0);
    for round in 1..=12 {
        let applying = apply_beside(&controller, &pair(round))?;
        // From before the plan is stored to after the last report; what is tested is that no instant matters.
        std::thread::sleep(Duration::from_millis(25 * round as u64));
        server.kill()?;
        server.resume()?;
        let applied = applying.wait_with_output()?;
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        match applied.status.code() {
            Some(0) => acknowledged = round,
            // Nothing is known then: it may have been committed. That must be said, and not as a success.
            Some(1) if !said.is_empty() => refused += 1,
            other => panic!("round {round}: {other:?} {said}"),
        }
        // The same controller goes on, by itself.
        let seen = wait_for("both files of one round", || agreed(&controller, &node));
        assert!(
            (acknowledged..=round).contains(&seen),
            "round {round}: {acknowledged} was acknowledged, {seen} stands"
        );
        acknowledged = seen;
    }
    println!("{refused} of 12 applies were cut off");
    let changes = controller.json(&["change", "list"])?;
    for change in changes["items"].as_array().context("a list")? {
        let state = change["state"].as_str().unwrap_or_default();
        assert!(["done", "draft", "planned", "abandoned"].contains(&state), "{change:#}");
    }
    controller.apply(&pair(13))?;
    assert!(controller.ctl_ok(&["audit", "--verify"])?.out.contains("whole"));
    Ok(())
}

fn apply_beside(controller: &Controller, manifest: &str) -> Result<Child> {
    let mut command = controller.ctl_command(&["apply", "-f", "-", "--allow-unplanned"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(manifest.as_bytes())?;
    Ok(child)
}

/// Returns the round that the node, and the store, agree about.
fn agreed(controller: &Controller, node: &Node) -> Result<usize, String> {
    let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
    let read = |path: &str| whole(&node.read(path).map_err(|e| e.to_string())?);
    let rounds = (read("/srv/one")?, read("/srv/two")?);
    let is_settled =
        shown["state"] == "online" && shown["config"] == "converged" && shown["desired"] == shown["reported"];
    let stored = |name: &str| -> Result<String, String> {
        let object = controller.json(&["object", "show", &format!("file/{name}")]);
        Ok(object.map_err(|e| e.to_string())?.to_string())
    };
    let line = format!("round {}\\n", rounds.0);
    let is_stored = stored("one")?.contains(&line) && stored("two")?.contains(&line);
    if rounds.0 == rounds.1 && is_settled && is_stored {
        Ok(rounds.0)
    } else {
        Err(format!("{rounds:?}, stored alike: {is_stored}, {shown}"))
    }
}
