//! Sets of manifests on real agents: what the manifests no longer name goes, and nothing else.

use std::fs;

use anyhow::Result;
use lampas_tests::{Controller, wait_for};

fn file(name: &str) -> String {
    format!("[[file]]\nname = \"{name}\"\nscope = \"role:app\"\npath = \"/etc/{name}\"\ncontent = \"{name}\\n\"\n")
}

#[test]
fn prune_deletes_of_its_set_alone_what_the_manifests_no_longer_name() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&file("hand"))?;
    let directory = controller.path("manifests");
    fs::create_dir(&directory)?;
    let manifests = directory.display().to_string();
    fs::write(directory.join("all.toml"), file("one") + &file("two"))?;

    let loose = controller.ctl(&["apply", "-f", &manifests, "--prune"])?;
    assert!(loose.code != 0 && loose.err.contains("--set"), "nothing goes without a set: {loose:#?}");
    let web = ["apply", "-f", &manifests, "--set", "web", "--prune"];
    let wait = |args: &[&str]| controller.ctl(&[args, &["--wait"][..]].concat());
    assert_eq!(wait(&web)?.code, 0);
    assert_eq!((node.read("/etc/one")?, node.read("/etc/two")?), ("one\n".to_owned(), "two\n".to_owned()));
    let again = wait(&web)?;
    assert!(again.code == 0 && again.out.contains("nothing to do"), "{again:#?}");
    let theirs = controller.ctl_with(&["apply", "-f", "-", "--set", "other", "--wait"], &file("theirs"))?;
    assert_eq!(theirs.code, 0, "{theirs:#?}");

    fs::write(directory.join("all.toml"), file("one"))?;
    let differs = controller.ctl(&["diff", "-f", &manifests, "--set", "web", "--prune"])?;
    assert!(differs.code == 10 && differs.out.contains("- file two"), "{differs:#?}");
    for kept in ["hand", "theirs", "file one"] {
        assert!(!differs.out.contains(&format!("- file {kept}")), "{differs:#?}");
    }
    let planned = controller.ctl(&[&web[..], &["--plan"]].concat())?;
    assert!(planned.code == 10 && planned.out.contains("- file two"), "{planned:#?}");
    assert!(node.exists("/etc/two"), "a plan deletes nothing");
    let number = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    assert_eq!(wait(&["change", "apply", &number])?.code, 0);
    assert!(!node.exists("/etc/two"));
    for kept in ["one", "hand", "theirs"] {
        assert!(node.exists(&format!("/etc/{kept}")), "{kept}");
    }
    let shown = controller.ctl_ok(&["object", "show", "file/one"])?;
    assert!(shown.out.contains("of the set of manifests web"), "{shown:#?}");
    let listed = controller.json(&["object", "list", "--set", "web"])?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    let sets = controller.json(&["object", "sets"])?;
    let names: Vec<_> = sets.as_array().into_iter().flatten().map(|s| (&s["name"], &s["objects"])).collect();
    assert_eq!(names, [(&"other".into(), &1.into()), (&"web".into(), &1.into())], "{sets}");

    // What went is found by its name, and comes back by hand: it is of no set then.
    let history = controller.ctl_ok(&["object", "history", "file/two"])?;
    assert!(history.out.contains("deleted"), "{history:#?}");
    let gone = controller.ctl_ok(&["object", "deleted", "--kind", "file"])?;
    assert!(gone.out.contains("file/role:app/two"), "{gone:#?}");
    let restored = wait(&["object", "restore", "file/two", "--revision", "1"])?;
    assert_eq!((restored.code, node.read("/etc/two")?), (0, "two\n".to_owned()), "{restored:#?}");
    let never = controller.ctl(&["object", "history", "file/three"])?;
    assert!(never.code == 1 && never.err.contains("and was none"), "{never:#?}");

    // An object of another set, and a set that would go whole.
    let foreign = controller.ctl_with(&["apply", "-f", "-", "--set", "web", "--wait"], &file("theirs"))?;
    assert!(foreign.code == 1 && foreign.err.contains("is of the set other"), "{foreign:#?}");
    fs::remove_file(directory.join("all.toml"))?;
    let empty = wait(&web)?;
    assert!(empty.code == 1 && empty.err.contains("holds no *.toml"), "{empty:#?}");
    assert!(node.exists("/etc/one"));
    let all = wait(&[&web[..], &["--allow-empty"]].concat())?;
    assert_eq!(all.code, 0, "{all:#?}");
    let again = wait(&[&web[..], &["--allow-empty"]].concat())?;
    assert!(again.code == 0 && again.out.contains("nothing to do"), "{again:#?}");
    assert!(!node.exists("/etc/one") && node.exists("/etc/hand") && node.exists("/etc/theirs"));
    assert!(node.exists("/etc/two"), "restored by hand, it is of no set");
    Ok(())
}

#[test]
fn a_deletion_that_was_ended_is_named_by_the_next_prune_and_finished_by_hand() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let web = ["apply", "-f", "-", "--set", "web", "--prune"];
    let said = |more: &[&str]| controller.ctl_with(&[&web[..], more].concat(), &file("one"));
    let all = controller.ctl_with(&[&web[..], &["--wait"]].concat(), &(file("one") + &file("two")))?;
    assert_eq!(all.code, 0, "{all:#?}");
    let begun = said(&["--canary", "1", "--soak", "1h"])?;
    assert_eq!(begun.code, 0, "{begun:#?}");
    wait_for("the canary", || match nodes.iter().filter(|n| n.exists("/etc/two")).count() {
        1 => Ok(()),
        other => Err(format!("{other} nodes have it")),
    });
    let other = if nodes[0].exists("/etc/two") { "web-1" } else { "web-2" };
    let kept = format!("{other}: not yet, change 2 keeps it back (its rollout is running): the deletion of file two");
    for (more, code) in [(&["--wait"][..], 3), (&["--plan"], 10)] {
        let told = said(more)?;
        assert!(told.code == code && told.out.contains(&kept), "{told:#?}");
    }
    controller.ctl_ok(&["rollout", "abort", "2"])?;
    let left = format!("{other}: stays left out by change 2 (aborted): the deletion of file two");
    for more in ["--wait", "--plan"] {
        let told = said(&[more])?;
        assert!(told.code == 0 && told.out.contains(&left), "{told:#?}");
        assert!(told.err.contains("lampasctl object delete file/role:app/two"), "{told:#?}");
    }
    let done = controller.ctl(&["object", "delete", "file/role:app/two", "--yes", "--wait"])?;
    assert_eq!(done.code, 0, "{done:#?}");
    assert!(!nodes.iter().any(|n| n.exists("/etc/two")));
    let quiet = said(&["--plan"])?;
    assert!(quiet.code == 0 && !quiet.out.contains("left out"), "{quiet:#?}");
    let again = controller.ctl(&["object", "delete", "file/role:app/two", "--yes"])?;
    assert!(again.code == 1 && again.err.contains("is deleted already, on all nodes"), "{again:#?}");
    Ok(())
}
