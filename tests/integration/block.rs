//! Edits by hand that go further than a line: a managed block that is gone, a directory with what stood in it.

use anyhow::Result;
use lampas_tests::{Controller, Node, wait_for};

/// Waits until so many changes by hand stand in the list.
fn wait_standing(controller: &Controller, count: usize) {
    wait_for("the drifts in the list", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
        if list["items"].as_array().map(Vec::len) == Some(count) { Ok(()) } else { Err(list.to_string()) }
    });
}

fn wait_config(controller: &Controller, node: &Node, state: &str) {
    wait_for("the node's state", || {
        let shown = controller.json(&["node", "show", &node.name]).map_err(|e| e.to_string())?;
        if shown["config"] == state { Ok(()) } else { Err(shown.to_string()) }
    });
}

fn hosts(name: &str, address: &str) -> String {
    format!("[[hosts]]\nname = \"{name}\"\nscope = \"role:app\"\naddress = \"{address}\"\nnames = [\"{name}\"]\n\n")
}

#[test]
fn a_block_that_somebody_deleted_is_held_and_stops_nothing_else() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let foreign = "127.0.0.1\tlocalhost\n";
    node.write("/etc/hosts", foreign)?;
    controller.apply(&(hosts("db-1", "10.0.0.1") + &hosts("db-2", "10.0.0.2")))?;
    let stood = node.read("/etc/hosts")?;
    node.write("/etc/hosts", foreign)?;
    wait_standing(&controller, 2);
    wait_config(&controller, &node, "drifted");

    controller
        .apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"one\\n\"\n")?;
    assert_eq!((node.read("/etc/motd")?.as_str(), node.read("/etc/hosts")?.as_str()), ("one\n", foreign));
    wait_standing(&controller, 2);

    // One after the other: what becomes of a line is no news of its neighbour.
    let list = controller.json(&["drift", "list"])?;
    for drift in list["items"].as_array().into_iter().flatten() {
        controller.ctl_ok(&["drift", "revert", drift["id"].as_str().unwrap_or_default()])?;
    }
    assert_eq!(node.read("/etc/hosts")?, stood);
    wait_standing(&controller, 0);
    wait_config(&controller, &node, "converged");
    Ok(())
}

#[test]
fn a_revert_that_cant_be_done_leaves_the_drift_in_the_list() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(
        "[[directory]]\nname = \"app\"\nscope = \"role:app\"\npath = \"/srv/app\"\n\n\
         [[link]]\nname = \"log\"\nscope = \"role:app\"\npath = \"/srv/app/log\"\ntarget = \"/var/log\"\n",
    )?;
    std::fs::remove_dir_all(node.root().join("srv/app"))?;
    wait_standing(&controller, 2);
    let refused = controller.ctl(&["drift", "revert", "web-1:/srv/app/log"])?;
    assert!(refused.code == 1 && refused.err.contains("/srv/app"), "{refused:#?}");
    // What the node made of it is told before what it makes of another generation.
    controller
        .apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"one\\n\"\n")?;
    wait_standing(&controller, 2);
    for path in ["web-1:/srv/app", "web-1:/srv/app/log"] {
        controller.ctl_ok(&["drift", "revert", path])?;
    }
    assert!(node.root().join("srv/app/log").is_symlink());
    wait_standing(&controller, 0);
    wait_config(&controller, &node, "converged");
    Ok(())
}

#[test]
fn a_second_name_of_a_file_for_cron_is_shown() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller
        .apply("[[cron]]\nname = \"hello\"\nscope = \"role:app\"\nschedule = \"*/5 * * * *\"\ncommand = \"true\"\n")?;
    // Of a name in another directory only who watches the file itself hears; the next full look is ten minutes away.
    let second = node.root().join("second");
    std::fs::hard_link(node.root().join("etc/cron.d/lampas-hello"), &second)?;
    wait_standing(&controller, 1);
    std::fs::remove_file(second)?;
    wait_standing(&controller, 0);
    Ok(())
}
