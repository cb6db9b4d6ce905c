//! From a manifest to changed nodes.

use anyhow::Result;
use lampas_tests::{Controller, wait_for};

const HELLO: &str = r#"
[[cron]]
name     = "hello"
scope    = "role:app"
schedule = "*/5 * * * *"
user     = "www-data"
command  = "date +%F\\ %T >> /var/log/hello.log"
"#;

#[test]
fn a_cron_job_reaches_the_nodes_of_its_role_and_no_other() -> Result<()> {
    let controller = Controller::start()?;
    let web = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let db = controller.node("db-1", "database")?;

    let plan = controller.ctl_with(&["apply", "-f", "-", "--plan"], HELLO)?;
    assert_eq!(plan.code, 10, "{plan:#?}");
    assert!(plan.out.contains("web-1, web-2 (identical)"), "{plan:#?}");
    assert!(!web[0].exists("/etc/cron.d/lampas-hello"), "a plan changes nothing");
    let id = plan.out.rsplit(' ').next().unwrap_or_default().trim().to_owned();

    let applied = controller.ctl(&["apply", "--plan", &id, "--wait"])?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    for node in &web {
        let text = node.read("/etc/cron.d/lampas-hello")?;
        assert!(text.contains("*/5 * * * * www-data ") && text.contains(" job run "), "{text}");
        assert!(text.ends_with('\n') && text.contains("\\%F"), "cron cuts a command at a bare %: {text}");
    }
    assert!(!db.exists("/etc/cron.d/lampas-hello"));

    let again = controller.ctl_with(&["apply", "-f", "-", "--plan"], HELLO)?;
    assert_eq!(again.code, 0, "applying twice changes nothing: {again:#?}");
    Ok(())
}

#[test]
fn what_stood_before_comes_back_when_an_object_goes() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    node.write("/etc/motd", "written by hand\n")?;
    let hosts = node.read("/etc/hosts")?;
    controller.apply(
        r#"
[[file]]
name = "motd"
scope = "role:app"
path = "/etc/motd"
content = "managed\n"

[[hosts]]
name = "db"
scope = "fleet"
address = "10.0.0.5"
names = ["db-1.example", "db-1"]
"#,
    )?;
    assert_eq!(node.read("/etc/motd")?, "managed\n");
    let managed = node.read("/etc/hosts")?;
    assert!(managed.starts_with(&hosts) && managed.contains("10.0.0.5"), "foreign lines stay: {managed}");

    for object in ["file/motd", "hosts/db"] {
        let deleted = controller.ctl(&["object", "delete", object, "--yes", "--wait"])?;
        assert_eq!(deleted.code, 0, "{deleted:#?}");
    }
    assert_eq!(node.read("/etc/motd")?, "written by hand\n");
    assert_eq!(node.read("/etc/hosts")?, hosts);
    Ok(())
}

#[test]
fn a_node_that_was_away_gets_the_change_when_it_returns() -> Result<()> {
    let controller = Controller::start()?;
    let _web = controller.node("web-1", "app")?;
    let mut away = controller.node("web-2", "app")?;
    away.process().stop()?;
    wait_for("web-2 to be offline", || {
        let node = controller.json(&["node", "show", "web-2"]).map_err(|e| e.to_string())?;
        if node["state"] == "offline" { Ok(()) } else { Err(node["state"].to_string()) }
    });

    let refused = controller.ctl_with(&["apply", "-f", "-", "--wait"], HELLO)?;
    assert_eq!(refused.code, 2, "a node that can't be planned stands in the way: {refused:#?}");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait", "--allow-unplanned"], HELLO)?;
    assert_eq!(applied.code, 2, "one node is not reachable: {applied:#?}");
    assert!(applied.out.contains("web-2"), "{applied:#?}");

    away.resume()?;
    wait_for("the change on web-2", || away.read("/etc/cron.d/lampas-hello").map(drop).map_err(|e| e.to_string()));
    wait_for("the change to be done", || {
        let change = controller.json(&["change", "show", "1"]).map_err(|e| e.to_string())?;
        let states: Vec<_> = ["1", "2"].iter().filter_map(|n| controller.json(&["change", "show", n]).ok()).collect();
        if states.iter().any(|c| c["change"]["state"] == "done") { Ok(()) } else { Err(change.to_string()) }
    });
    Ok(())
}

#[test]
fn mistakes_name_the_file_the_line_and_the_remedy() -> Result<()> {
    let controller = Controller::start()?;
    std::fs::write(controller.path("hello.toml"), HELLO.replace("*/5 * * * *", "*/5 * * *"))?;
    let refused = controller.ctl(&["apply", "-f", "hello.toml"])?;
    assert_eq!(refused.code, 1, "{refused:#?}");
    let expected = "hello.toml:5: schedule \"*/5 * * *\": 4 fields, cron needs 5 (minute hour day month weekday)";
    assert!(refused.err.contains(expected), "{refused:#?}");
    Ok(())
}

#[test]
fn a_failing_check_changes_nothing_on_the_node() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let manifest = r##"
[[script]]
name = "broken"
scope = "role:app"
content = "#!/bin/sh\nif true; then\n"

[[file]]
name = "motd"
scope = "role:app"
path = "/etc/motd"
content = "managed\n"
"##;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest)?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(!node.exists("/usr/local/bin/broken") && !node.exists("/etc/motd"), "all or nothing within the group");
    Ok(())
}

#[test]
fn what_a_newer_change_does_to_a_node_is_not_said_of_an_older_one() -> Result<()> {
    let controller = Controller::start()?;
    let names = ["web-1", "web-2", "web-3"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(controller.node(name, "app")?);
    }
    controller.apply(HELLO)?;
    let list = || controller.ctl_ok(&["change", "list"]).map(|l| l.out);
    let older = || -> Result<String> {
        let list = list()?;
        Ok(list.lines().find(|l| l.trim_start().starts_with("1 ")).unwrap_or_default().to_owned())
    };
    assert!(older()?.contains("3/3"), "{}", list()?);
    // One node's share fails; each node tells again what it has after a restart.
    let broken = "[[script]]\nname = \"broken\"\nscope = \"node:web-2\"\ncontent = \"#!/bin/sh\\nif\\n\"\n";
    let failed = controller.ctl_with(&["apply", "-f", "-", "--wait"], broken)?;
    assert_eq!(failed.code, 2, "{failed:#?}");
    assert!(older()?.contains("3/3 "), "{}", list()?);
    for node in &mut nodes {
        node.process().stop()?;
        node.resume()?;
    }
    for name in names {
        controller.wait_online(name);
    }
    assert!(older()?.contains("3/3 "), "{}", list()?);
    controller.ctl_ok(&["change", "revert", "2", "--wait"])?;
    assert!(older()?.contains("3/3 "), "{}", list()?);
    Ok(())
}

#[test]
fn a_plan_that_moved_is_refused() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let manifest = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"one\\n\"\n";
    let plan = controller.ctl_with(&["apply", "-f", "-", "--plan"], manifest)?;
    let id = plan.out.rsplit(' ').next().unwrap_or_default().trim().to_owned();
    controller.apply(&manifest.replace("one", "two"))?;
    let moved = controller.ctl(&["apply", "--plan", &id, "--wait"])?;
    assert_eq!(moved.code, 1, "{moved:#?}");
    assert_eq!(node.read("/etc/motd")?, "two\n");
    Ok(())
}

#[test]
fn a_plan_is_refused_when_the_node_moved_under_it() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let manifest = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"one\\n\"\n";
    let plan = controller.ctl_with(&["apply", "-f", "-", "--plan"], manifest)?;
    let id = plan.out.rsplit(' ').next().unwrap_or_default().trim().to_owned();
    let planned = std::time::Instant::now();
    node.write("/etc/motd", "somebody was quicker\n")?;
    // A plan counts as just made for two seconds; then the nodes are asked again.
    wait_for("the plan to be old", || match planned.elapsed() {
        age if age.as_millis() > 2000 => Ok(()),
        age => Err(format!("{age:?}")),
    });
    let moved = controller.ctl(&["apply", "--plan", &id, "--wait"])?;
    assert!(moved.code == 1 && moved.err.contains("web-1"), "{moved:#?}");
    assert_eq!(node.read("/etc/motd")?, "somebody was quicker\n");
    Ok(())
}

#[test]
fn what_a_node_has_not_proven_is_not_shown_as_in_force() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let manifest = |text: &str| {
        format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
    };
    let shown = || controller.json(&["node", "show", "web-1"]).map(|n| n["resource_list"][0]["state"].to_string());
    controller.apply(&manifest("one"))?;
    assert_eq!(shown()?, "\"converged\"");
    node.process().stop()?;
    controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest("two"))?;
    assert_eq!(shown()?, "\"waiting\"");
    node.resume()?;
    wait_for("the proof", || match shown() {
        Ok(state) if state == "\"converged\"" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    Ok(())
}

#[test]
fn a_plan_foresees_what_a_directory_of_others_forbids() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: only root can give a directory away");
        return Ok(());
    }
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let manifest = r#"
[[directory]]
name = "own"
scope = "role:app"
path = "/srv/own"
owner = "www-data"
group = "www-data"

[[file]]
name = "inside"
scope = "role:app"
path = "/srv/own/conf"
content = "x\n"
"#;
    let refused = controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest)?;
    assert!(refused.code == 2 && refused.out.contains("could swap what stands below it"), "{refused:#?}");
    assert!(!node.exists("/srv/own"), "nothing was begun");
    controller.apply(&manifest.replace("content =", "owner = \"www-data\"\ngroup = \"www-data\"\ncontent ="))?;
    assert_eq!(node.read("/srv/own/conf")?, "x\n");
    Ok(())
}

#[test]
fn export_writes_what_apply_reads() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    controller.apply(HELLO)?;
    let export = controller.ctl_ok(&["export"])?.out;
    let again = controller.ctl_with(&["apply", "-f", "-", "--plan"], &export)?;
    assert_eq!(again.code, 0, "{export}\n{again:#?}");
    Ok(())
}
