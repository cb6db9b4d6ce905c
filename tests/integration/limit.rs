//! Limits on real agents: whom a change reaches now is on their disks alone; the rest follows, or nobody keeps it.

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, Node, wait_for};

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

fn fleet(controller: &Controller) -> Result<[Node; 3]> {
    Ok([controller.node("web-1", "app")?, controller.node("web-2", "app")?, controller.node("db-1", "database")?])
}

fn texts(nodes: &[Node; 3]) -> Result<Vec<String>> {
    nodes.iter().map(|node| Ok(node.read("/etc/motd")?.trim().to_owned())).collect()
}

#[test]
fn a_limit_reaches_its_nodes_and_the_rest_when_it_is_let_go_on() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = fleet(&controller)?;
    controller.apply(&motd("old"))?;

    // The plan says who is within and who is beyond, and carries the limit.
    let planned = controller.ctl_with(&["apply", "-f", "-", "--plan", "--limit", "role:app"], &motd("new"))?;
    assert_eq!(planned.code, 10, "{planned:#?}");
    for line in ["limited to role:app: 2 nodes: web-1, web-2", "not yet: 1 node: db-1", "3 nodes change (2 now)"] {
        assert!(planned.out.contains(line), "{line}: {planned:#?}");
    }
    let shown = controller.json(&["change", "show", "2"])?;
    let plan = &shown["change"]["plan"];
    assert_eq!(plan["limit"]["scope"], "role:app", "{plan}");
    assert_eq!(plan["limit"]["within"].as_array().map(Vec::len), Some(2), "{plan}");
    assert_eq!(plan["limit"]["beyond"][0]["name"], "db-1", "{plan}");
    let id = plan["id"].as_str().context("a plan")?;
    let other = controller.ctl(&["apply", "--plan", id, "--limit", "node:db-1"])?;
    assert!(other.code == 1 && other.err.contains("the plan is limited to role:app"), "{other:#?}");

    let applied = controller.ctl(&["apply", "--plan", id, "--wait"])?;
    assert_eq!(applied.code, 0, "all that was asked for is done: {applied:#?}");
    assert!(applied.out.contains("limited to role:app: 1 node doesn't have it yet"), "{applied:#?}");
    assert!(applied.out.contains("db-1  ◌ not yet: limited to role:app"), "{applied:#?}");
    assert!(applied.err.contains("lampasctl rollout promote 2"), "{applied:#?}");
    assert_eq!(texts(&nodes)?, ["new", "new", "old"]);
    let standing = controller.ctl_ok(&["rollout", "show", "2"])?;
    assert!(standing.out.contains("through") && standing.out.contains("not yet"), "{standing:#?}");
    assert!(controller.ctl_ok(&["overview"])?.out.contains("limited to role:app"), "Overview says so");

    controller.ctl_ok(&["rollout", "promote", "2", "-m", "it went well"])?;
    let waited = controller.ctl(&["change", "wait", "2"])?;
    assert_eq!(waited.code, 0, "{waited:#?}");
    assert_eq!(texts(&nodes)?, ["new", "new", "new"]);
    Ok(())
}

#[test]
fn a_limit_can_be_put_back_or_ended_where_it_is() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = fleet(&controller)?;
    controller.apply(&motd("old"))?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--limit", "role:app", "--wait"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    controller.ctl_ok(&["rollout", "revert", "2", "-m", "it did not go well"])?;
    wait_for("what stood before", || match texts(&nodes) {
        Ok(all) if all == ["old", "old", "old"] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let shown = controller.ctl_ok(&["rollout", "show", "2"])?;
    assert!(shown.out.contains("put back") && shown.out.contains("never had it"), "{shown:#?}");
    assert!(!shown.out.contains("in force"), "nothing of it is in force: {shown:#?}");

    let applied = controller.ctl_with(&["apply", "-f", "-", "--limit", "node:db-1", "--wait"], &motd("newer"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let number = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    controller.ctl_ok(&["rollout", "abort", &number])?;
    assert_eq!(texts(&nodes)?, ["old", "old", "newer"], "who has it keeps it, nobody else gets it");
    controller.apply(&motd("newest"))?;
    assert_eq!(texts(&nodes)?, ["newest", "newest", "newest"]);
    Ok(())
}

#[test]
fn a_limit_that_is_wrong_is_told() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let check = |limit: &str, said: &str| -> Result<()> {
        let refused = controller.ctl_with(&["apply", "-f", "-", "--limit", limit, "--wait"], &motd("new"))?;
        assert_eq!(refused.code, 1, "{refused:#?}");
        assert!(refused.err.contains(said), "{refused:#?}");
        Ok(())
    };
    check("role:cache", "holds no node that the change would be written on; these are web-1")?;
    check("fleet", "leave the limit out")?;
    // What isn't a scope is refused before anything is asked.
    assert_ne!(controller.ctl_with(&["apply", "-f", "-", "--limit", "app"], &motd("new"))?.code, 0);
    assert!(!node.exists("/etc/motd"));
    Ok(())
}

#[test]
fn who_waits_for_a_soak_is_told_what_for() -> Result<()> {
    let controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let args = ["apply", "-f", "-", "--canary", "1", "--soak", "5m", "--wait", "--timeout", "3s"];
    let waited = controller.ctl_with(&args, &motd("new"))?;
    assert_eq!(waited.code, 3, "{waited:#?}");
    assert!(waited.out.contains("wave 2 of 2 begins after 5 min of soak, at "), "{waited:#?}");
    Ok(())
}
