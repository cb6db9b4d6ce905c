//! `kill -9` in a loop: nothing acknowledged is lost, no file is torn.

use anyhow::Result;
use lampas_tests::{Controller, wait_for};

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
        std::thread::sleep(std::time::Duration::from_millis(3 * round as u64));
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
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let mut acknowledged = 0;
    for round in 1..=10 {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest(round))?;
        if matches!(applied.code, 0 | 2) {
            acknowledged = round;
        }
        std::thread::sleep(std::time::Duration::from_millis(5 * round as u64));
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
