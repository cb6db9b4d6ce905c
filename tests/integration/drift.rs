//! Changes by hand: seen, reverted, adopted.

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, Node, Store, Texts, templated, wait_for};

const MOTD: &str = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"managed\\n\"\n";

fn wait_drifted(controller: &Controller, node: &Node) {
    wait_for("the drift to be seen", || {
        let list = controller.json(&["drift", "list", "--node", &node.name]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| !i.is_empty()) { Ok(()) } else { Err(list.to_string()) }
    });
}

#[test]
fn a_change_by_hand_is_seen_and_reverted() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(MOTD)?;
    node.write("/etc/motd", "by hand\n")?;
    wait_drifted(&controller, &node);
    let shown = controller.ctl_ok(&["drift", "show", "web-1:/etc/motd"])?.out;
    assert!(shown.contains("-managed") && shown.contains("+by hand"), "{shown}");
    assert_eq!(node.read("/etc/motd")?, "by hand\n", "a held drift stands until somebody decides");
    controller.ctl_ok(&["drift", "revert", "web-1:/etc/motd"])?;
    wait_for("the desired content", || match node.read("/etc/motd") {
        Ok(text) if text == "managed\n" => Ok(()),
        other => Err(other),
    });
    wait_for("the end of the drift", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| i.is_empty()) { Ok(()) } else { Err(list.to_string()) }
    });
    Ok(())
}

#[test]
fn an_edited_cron_job_is_adopted_for_its_role() -> Result<()> {
    let controller = Controller::start()?;
    let web = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    controller
        .apply("[[cron]]\nname = \"hello\"\nscope = \"role:app\"\nschedule = \"*/5 * * * *\"\ncommand = \"true\"\n")?;
    let path = "/etc/cron.d/lampas-hello";
    web[1].write(path, &web[1].read(path)?.replace("*/5 * * * *", "*/7 * * * *"))?;
    wait_drifted(&controller, &web[1]);
    let adopted = controller.ctl(&["drift", "adopt", &format!("web-2:{path}"), "--apply", "--wait"])?;
    assert_eq!(adopted.code, 0, "{adopted:#?}");
    for node in &web {
        assert!(node.read(path)?.contains("*/7 * * * *"), "{}", node.name);
    }
    let history = controller.ctl_ok(&["object", "history", "cron/hello"])?.out;
    assert!(history.contains("adopted from web-2"), "{history}");
    Ok(())
}

#[test]
fn a_drift_is_repaired_at_once_where_the_policy_says_so() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&format!("{MOTD}drift = \"repair\"\n"))?;
    node.write("/etc/motd", "by hand\n")?;
    wait_for("the repair", || match node.read("/etc/motd") {
        Ok(text) if text == "managed\n" => Ok(()),
        other => Err(other),
    });
    wait_for("the report of it", || {
        let list = controller.json(&["drift", "list", "--all"]).map_err(|e| e.to_string())?;
        if list["items"][0]["outcome"] == "repaired" { Ok(()) } else { Err(list.to_string()) }
    });
    // What was put back is told from what somebody wanted.
    let list = controller.json(&["drift", "list", "--all"])?;
    assert_eq!(list["items"][0]["cause"], "corrective", "{list:#}");
    let happened = controller.json(&["node", "activity", "web-1"])?;
    let items = happened["items"].as_array().cloned().unwrap_or_default();
    let ended = items.iter().find(|i| i["kind"] == "host.drift.ended");
    assert_eq!(ended.map(|i| &i["cause"]), Some(&"corrective".into()), "{happened:#}");
    assert!(controller.ctl_ok(&["node", "activity", "web-1"])?.out.contains("corrective"));
    let changes = controller.json(&["change", "list"])?;
    assert_eq!(changes["items"][0]["cause"], "intentional", "{changes:#}");
    Ok(())
}

const CANARY: [&str; 2] = ["canary-db-Passw0rd", "canary-by-hand"];
const LINES: &str =
    "# of the application\nuser={{var.db.user}}\nport=1\npassword={{secret.db.password | json}}\ntimeout=30\n";

#[test]
fn a_templated_file_with_a_secret_is_merged_into_its_template() -> Result<()> {
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.set_log_level("debug");
    controller.resume()?;
    controller.set_up()?;
    let web = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let set =
        controller.ctl_with(&["secret", "set", "db.password", "--scope", "fleet"], &format!("{}\n", CANARY[0]))?;
    assert_eq!(set.code, 0, "{set:?}");
    controller.apply(&templated(LINES))?;
    let (path, which) = ("/etc/app.conf", "web-1:/etc/app.conf");
    let file = controller.path("merged");
    let name = file.display().to_string();
    let mut told = String::new();
    let no_drift = || {
        wait_for("the end of the drift", || {
            let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
            if list["items"].as_array().is_some_and(|i| i.is_empty()) { Ok(()) } else { Err(list.to_string()) }
        });
    };

    // Beside the names an edit goes in by itself, and the node's file is what it was.
    let edited = web[0].read(path)?.replace("port=1", "port=2") + "braces={{x}}\n";
    assert!(edited.contains(CANARY[0]), "{edited}");
    web[0].write(path, &edited)?;
    wait_drifted(&controller, &web[0]);
    let merge = controller.ctl(&["drift", "adopt", which, "--merge", &name])?;
    assert_eq!(merge.code, 0, "{merge:#?}");
    let merged = std::fs::read_to_string(&file)?;
    for part in ["user={{var.db.user}}", "port=2", "password={{secret.db.password | json}}", "braces={{{{x}}"] {
        assert!(merged.contains(part), "{merged}");
    }
    told.push_str(&format!("{merge:?}{merged}"));
    let adopted = controller.ctl(&["drift", "adopt", which, "--apply", "--wait"])?;
    assert!(adopted.code == 0 && adopted.err.contains("stays as it stands on web-1"), "{adopted:#?}");
    told.push_str(&format!("{adopted:?}"));
    no_drift();
    for node in &web {
        assert_eq!(node.read(path)?, edited, "{}", node.name);
    }

    // Where a name stands somebody decides, and nobody gets to see what may be a secret.
    let by_hand = edited.replace("user=app", "user=admin").replace(CANARY[0], CANARY[1]);
    web[0].write(path, &by_hand)?;
    wait_drifted(&controller, &web[0]);
    let refused = controller.ctl(&["drift", "adopt", which])?;
    assert!(refused.code == 1 && refused.err.contains("--conflicts"), "{refused:#?}");
    let merge = controller.ctl(&["drift", "adopt", which, "--merge", &name])?;
    assert_eq!(merge.code, 10, "{merge:#?}");
    let marked = std::fs::read_to_string(&file)?;
    assert!(
        marked.contains("<<<<<<< template\nuser={{var.db.user}}\n=======\nuser=admin\n>>>>>>> web-1\n"),
        "{marked}"
    );
    assert!(marked.contains("{{hidden}}"), "{marked}");
    let hidden = controller.ctl(&["drift", "adopt", which, "--conflicts", "node"])?;
    assert!(hidden.code == 1 && hidden.err.contains("hold secrets"), "{hidden:#?}");
    let told_id = merge.err.split_once("--merge-id ").map(|(_, rest)| rest.trim().to_owned());
    let id = told_id.with_context(|| format!("{merge:#?}"))?;
    let without = controller.ctl(&["drift", "adopt", which, "--resolved", &name])?;
    assert!(without.code != 0 && without.err.contains("--merge-id"), "{without:#?}");
    let marks = controller.ctl(&["drift", "adopt", which, "--resolved", &name, "--merge-id", &id])?;
    assert!(marks.code == 1 && marks.err.contains("the mark of a conflict"), "{marks:#?}");
    let resolved = edited
        .replace("user=app", "user={{var.db.user}}-admin")
        .replace(&format!("\"{}\"", CANARY[0]), "{{secret.db.password | json}}")
        .replace("{{x}}", "{{{{x}}");
    std::fs::write(&file, &resolved)?;
    let moved = controller.ctl(&["drift", "adopt", which, "--resolved", &name, "--merge-id", "another"])?;
    assert!(moved.code == 1 && moved.err.contains("moved since"), "{moved:#?}");
    let nothing = controller.ctl(&["drift", "adopt", which, "--conflicts", "template"])?;
    assert!(nothing.code == 1 && nothing.err.contains("revert it instead"), "{nothing:#?}");
    let args = ["drift", "adopt", which, "--resolved", &name, "--merge-id", &id, "--apply", "--wait"];
    let adopted = controller.ctl(&args)?;
    // The change is the decision about what stands on the node, too.
    assert!(adopted.code == 0 && adopted.err.contains("otherwise than it stands, in"), "{adopted:#?}");
    told.push_str(&format!("{refused:?}{merge:?}{marked}{hidden:?}{marks:?}{moved:?}{adopted:?}"));
    no_drift();
    for node in &web {
        assert_eq!(node.read(path)?, edited.replace("user=app", "user=app-admin"), "{}", node.name);
    }
    let all = controller.json(&["drift", "list", "--all"])?;
    assert_eq!(all["items"][0]["cause"], "corrective", "a revert puts back what was wanted: {all:#}");
    told.push_str(&all.to_string());
    told.push_str(&controller.ctl_ok(&["object", "show", "file/app.conf", "--output", "json"])?.out);

    controller.process().stop()?;
    let mut texts = Texts::default();
    texts.add("what was told", told);
    texts.add("controller.log", std::fs::read(controller.path("controller.log"))?);
    texts.add_files(&controller.data())?;
    for canary in CANARY {
        assert_eq!(texts.with(canary), Vec::<&str>::new(), "where {canary} stands");
    }
    Ok(())
}
