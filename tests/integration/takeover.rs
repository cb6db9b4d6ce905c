//! Taking over existing servers: observe, compare, import, take over, eject.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, Node, wait_for};

const BACKUP: &str = "# nightly\nMAILTO=ops\n0 3 * * * root /usr/local/bin/backup --all\n";
const TOOL: &[u8] = b"#!/bin/sh\n# caf\xe9\nexit 0\n";

/// A server that somebody set up by hand.
fn prepared(name: &str) -> Result<Node> {
    let node = Node::prepare(name)?;
    let at = |path: &str| node.root().join(path);
    fs::write(at("etc/cron.d/backup"), BACKUP)?;
    fs::write(at("var/spool/cron/crontabs/www-data"), "*/7 * * * * date >> /dev/null\n")?;
    fs::set_permissions(at("var/spool/cron/crontabs/www-data"), fs::Permissions::from_mode(0o600))?;
    fs::write(at("usr/local/bin/tool"), TOOL)?;
    fs::set_permissions(at("usr/local/bin/tool"), fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(at("etc/cron.daily"))?;
    fs::create_dir_all(at("var/lib"))?;
    fs::write(at("etc/cron.daily/tidy"), "#!/bin/sh\ntrue\n")?;
    let hosts = fs::read_to_string(at("etc/hosts"))?;
    fs::write(at("etc/hosts"), format!("{hosts}10.0.0.5\tdb-1 db\n"))?;
    Ok(node)
}

/// Enrols a node to observe and starts its agent.
fn observe(controller: &Controller, node: &mut Node) -> Result<()> {
    let name = node.name.clone();
    let args = ["token", "create", "--node", &name, "--role", "app", "--observe", "--quiet"];
    let token = controller.ctl_ok(&args)?.out;
    node.enrol(controller.port(), &token)?;
    node.resume()?;
    controller.wait_online(&name);
    Ok(())
}

/// What stands below a directory but LAMPAS's own places and its socket: type, mode, owner, time and content of each.
fn tree(root: &Path) -> Result<BTreeMap<String, String>> {
    use std::os::unix::fs::MetadataExt as _;
    let own = ["var/lib/lampas", "etc/lampas", "run/lampas"];
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.display().to_string();
            if own.contains(&name.as_str()) {
                continue;
            }
            let meta = path.symlink_metadata()?;
            let content = if meta.is_file() { format!("{:?}", fs::read(&path)?) } else { String::new() };
            // A directory that holds one of LAMPAS's own gets another time, and nothing else.
            let time = if meta.is_dir() && own.iter().any(|o| o.starts_with(&name)) { 0 } else { meta.mtime_nsec() };
            found.insert(name, format!("{:o} {}:{} {time} {content}", meta.mode(), meta.uid(), meta.gid()));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(found)
}

/// Says what differs between two trees.
fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let paths = before.keys().chain(after.keys());
    let mut paths: Vec<String> = paths.filter(|p| before.get(*p) != after.get(*p)).cloned().collect();
    paths.dedup();
    paths
}

fn is_observing(controller: &Controller, name: &str) -> Result<bool> {
    controller.json(&["node", "show", name])?["is_observing"].as_bool().context("a node says whether it observes")
}

#[test]
fn a_node_that_observes_writes_nothing_until_it_is_taken_over() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = prepared("web-9")?;
    let before = tree(&node.root())?;
    observe(&controller, &mut node)?;
    assert!(is_observing(&controller, "web-9")?);
    let list = controller.ctl_ok(&["node", "list"])?.out;
    assert!(list.contains("◎ observing"), "{list}");

    // A state that reaches it is planned, told, and not written.
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"x\\n\"\n")?;
    let cron = "[[cron]]\nname = \"hello\"\nscope = \"role:app\"\nschedule = \"* * * * *\"\ncommand = \"true\"\n";
    // A plan tells of it what the change is about, not all that it would ever get.
    let planned = controller.ctl_with(&["apply", "-f", "-", "--plan"], cron)?;
    assert!(planned.out.contains("web-9 observes: nothing is written there"), "{planned:#?}");
    assert!(planned.out.contains("lampas-hello") && !planned.out.contains("/etc/motd"), "{planned:#?}");
    assert!(planned.out.contains("0 nodes change, 1 observes"), "{planned:#?}");
    controller.apply(cron)?;
    let plan = controller.json(&["node", "manage", "web-9", "--plan"])?;
    assert_eq!(plan["actions"].as_array().map(Vec::len), Some(2), "{plan:#}");
    let (code, status) = node.agent(&["status"])?;
    assert!(status.contains("observing: nothing is written"), "{code} {status}");
    wait_for("its resources to be paused", || {
        let shown = controller.json(&["node", "show", "web-9"]).map_err(|e| e.to_string())?;
        if shown["config"] == "paused" { Ok(()) } else { Err(shown["config"].to_string()) }
    });
    node.kill();
    node.resume()?;
    controller.wait_online("web-9");
    let touched = differences(&before, &tree(&node.root())?);
    assert!(touched.is_empty(), "nothing but LAMPAS's own places may be touched: {touched:?}");

    // A freeze is one for this too.
    controller.ctl_ok(&["freeze", "add", "--scope", "role:app", "--until", "12h", "-m", "sale"])?;
    let shown = controller.ctl(&["node", "manage", "web-9", "--plan"])?;
    assert!(shown.code == 10 && shown.err.contains("role:app is frozen (sale)"), "{shown:#?}");
    let frozen = controller.ctl(&["node", "manage", "web-9", "--yes"])?;
    assert!(frozen.code == 4 && frozen.err.contains("role:app is frozen until"), "{frozen:#?}");
    assert!(is_observing(&controller, "web-9")? && !node.exists("/etc/motd"));
    controller.ctl_ok(&["freeze", "end", "role:app"])?;
    // So is a protection: nobody could approve what a take-over writes.
    controller.ctl_ok(&["protect", "role:app", "-m", "customers"])?;
    let shown = controller.ctl(&["node", "manage", "web-9", "--plan"])?;
    assert!(shown.code == 10 && shown.err.contains("role:app is protected (customers)"), "{shown:#?}");
    let guarded = controller.ctl(&["node", "manage", "web-9", "--yes"])?;
    assert!(guarded.code == 4 && guarded.err.contains("role:app is protected (customers)"), "{guarded:#?}");
    assert!(is_observing(&controller, "web-9")? && !node.exists("/etc/motd"));

    let taken = controller.ctl(&["node", "manage", "web-9", "--yes", "--override", "it was looked at"])?;
    assert_eq!(taken.code, 0, "{taken:#?}");
    assert!(taken.out.contains("/etc/motd"), "the plan is shown first: {taken:#?}");
    wait_for("the state to be written", || match (node.read("/etc/motd"), node.exists("/etc/cron.d/lampas-hello")) {
        (Ok(text), true) if text == "x\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!is_observing(&controller, "web-9")?);
    let audit = controller.ctl_ok(&["audit"])?.out;
    assert!(audit.contains("node.manage") && audit.contains("node.override_protection"), "{audit}");
    Ok(())
}

#[test]
fn a_role_is_compared_and_what_is_managed_is_left_out() -> Result<()> {
    let controller = Controller::start()?;
    let mut nodes = [prepared("web-1")?, prepared("web-2")?, prepared("web-3")?];
    fs::write(nodes[2].root().join("etc/cron.d/backup"), BACKUP.replace("0 3", "0 4"))?;
    fs::write(nodes[0].root().join("usr/local/bin/only-here"), "#!/bin/sh\n")?;
    for node in &mut nodes {
        observe(&controller, node)?;
    }
    let compared = controller.ctl(&["role", "compare", "app", "--output", "json"])?;
    assert_eq!(compared.code, 0, "JSON is what the API said: {compared:#?}");
    let found: serde_json::Value = serde_json::from_str(&compared.out)?;
    let item = |name: &str| -> Result<serde_json::Value> {
        let items = found["items"].as_array().context("items")?;
        items.iter().find(|i| i["name"] == name).cloned().with_context(|| format!("{name}: {found:#}"))
    };
    assert_eq!(found["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(item("/usr/local/bin/tool")?["is_equal"], true);
    assert_eq!(item("db-1")?["is_equal"], true);
    let backup = item("/etc/cron.d/backup")?;
    assert_eq!(backup["versions"].as_array().map(Vec::len), Some(2));
    let diff = backup["versions"][1]["diff"].as_str().unwrap_or_default();
    assert!(diff.contains("-0 3 * * *") && diff.contains("+0 4 * * *"), "{diff}");
    assert_eq!(item("/usr/local/bin/only-here")?["missing"].as_array().map(Vec::len), Some(2));
    let text = controller.ctl(&["role", "compare", "app"])?;
    assert_eq!(text.code, 10, "there are differences: {text:#?}");
    assert!(text.out.contains("only-here") && text.out.contains("not on web-2, web-3"), "{text:#?}");
    Ok(())
}

#[test]
fn what_is_imported_is_proven_byte_for_byte_before_it_changes_hands() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = prepared("web-9")?;
    observe(&controller, &mut node)?;
    let before = tree(&node.root())?;
    let made =
        controller.json(&["import", "node:web-9", "cron", "script", "cron_script", "--scope", "role:app", "--plan"])?;
    let proofs: Vec<(&str, &str)> = made["taken"]
        .as_array()
        .context("taken")?
        .iter()
        .map(|t| (t["item"].as_str().unwrap_or_default(), t["proof"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("/etc/cron.d/backup", "unchanged"),
        ("/etc/cron.daily/tidy", "unchanged"),
        ("/usr/local/bin/tool", "unchanged"),
    ];
    assert_eq!(proofs, expected, "{made:#}");
    let number = made["number"].to_string();
    let change = controller.json(&["change", "show", &number])?;
    let plan = change["change"]["plan"]["id"].as_str().with_context(|| format!("a plan: {change:#}"))?;
    let applied = controller.ctl(&["apply", "--plan", plan, "--wait"])?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let taken = controller.ctl_ok(&["node", "manage", "web-9", "--yes"])?;
    assert!(taken.out.contains("3 resources as desired already"), "{taken:#?}");
    wait_for("what was imported to be in force", || {
        let shown = controller.json(&["node", "show", "web-9"]).map_err(|e| e.to_string())?;
        if shown["config"] == "converged" && shown["converged"] == 3 { Ok(()) } else { Err(shown.to_string()) }
    });
    let touched = differences(&before, &tree(&node.root())?);
    assert!(touched.is_empty(), "taking over moves no byte, owner, mode or time: {touched:?}");
    let (_, why) = node.agent(&["why", "/etc/cron.d/backup"])?;
    assert!(why.contains("imported from web-9"), "{why}");
    let compared = controller.ctl_ok(&["role", "compare", "app", "--output", "json"])?.out;
    let compared: serde_json::Value = serde_json::from_str(&compared)?;
    assert_eq!(compared["managed"], 3, "what is managed is counted and left out");
    Ok(())
}

#[test]
fn lines_of_crontabs_become_jobs_that_run_once_and_eject_gives_them_back() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = prepared("web-9")?;
    observe(&controller, &mut node)?;
    let imported = controller.ctl(&[
        "import",
        "node:web-9",
        "cron",
        "crontab",
        "hosts:db-1",
        "--scope",
        "role:app",
        "--as-jobs",
        "--wait",
    ])?;
    assert_eq!(imported.code, 0, "{imported:#?}");
    assert!(imported.out.contains("-0 3 * * * root /usr/local/bin/backup --all"), "the plan is shown: {imported:#?}");
    controller.ctl_ok(&["node", "manage", "web-9", "--yes"])?;
    wait_for("the jobs", || if node.exists("/etc/cron.d/lampas-backup") { Ok(()) } else { Err("not yet") });
    wait_for("the node to be converged", || {
        let shown = controller.json(&["node", "show", "web-9"]).map_err(|e| e.to_string())?;
        if shown["config"] == "converged" { Ok(()) } else { Err(shown.to_string()) }
    });
    let rest = node.read("/etc/cron.d/backup")?;
    assert_eq!(rest, "# nightly\nMAILTO=ops\n", "no line runs the job a second time");
    assert!(node.read("/etc/cron.d/lampas-backup")?.contains(" job run "));
    assert!(!node.read("/var/spool/cron/crontabs/www-data")?.contains("date"));
    assert_eq!(node.read("/etc/hosts")?.matches("10.0.0.5").count(), 1, "the managed line took the place of the other");

    let mine = |user: &str| {
        format!(
            "[[hosts]]\nname = \"db-2\"\nscope = \"role:app\"\naddress = \"10.0.0.6\"\nnames = [\"db-2\"]\n\
             [[cron]]\nname = \"mine\"\nscope = \"role:app\"\nschedule = \"1 1 * * *\"\nuser = \"{user}\"\ntable = \"user\"\ncommand = \"true 100%\"\n"
        )
    };
    // What the import left of a crontab is a file, and two owners of one table are a tie.
    fs::write(controller.path("mine.toml"), mine("www-data"))?;
    let file = controller.path("mine.toml").display().to_string();
    let tie = controller.ctl(&["apply", "-f", &file])?;
    assert!(tie.code == 1 && tie.err.contains("is the whole crontab of www-data"), "{tie:#?}");
    controller.apply(&mine("root"))?;
    let ejected = controller.json(&["eject", "--node", "web-9", "--yes"])?;
    // What nobody decided about ends with LAMPAS there.
    let left = controller.json(&["drift", "list"])?;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{left:#}");
    assert!(ejected[0]["places"].as_array().is_some_and(|p| p.len() >= 5), "{ejected:#}");
    let job = node.read("/etc/cron.d/lampas-backup")?;
    assert!(job.contains("\n0 3 * * * root /usr/local/bin/backup --all\n") && !job.contains("lampas-agent"), "{job}");
    let hosts = node.read("/etc/hosts")?;
    assert!(hosts.contains("10.0.0.6\tdb-2") && !hosts.contains("LAMPAS"), "{hosts}");
    let table = node.read("/var/spool/cron/crontabs/root")?;
    assert!(table.contains("1 1 * * * true 100\\%\n") && !table.contains("LAMPAS"), "{table}");
    assert!(node.read("/var/lib/lampas/ejected/cron.toml")?.contains("name = \"backup\""));
    wait_for("the agent to stop", || if node.process().is_running() { Err("it runs") } else { Ok(()) });
    assert!(!node.exists("/var/lib/lampas/agent/identity/identity.pem"));
    let list = controller.ctl_ok(&["node", "show", "web-9", "--output", "json"])?.out;
    let shown: serde_json::Value = serde_json::from_str(&list)?;
    assert!(shown["ejected_at"].is_string(), "{shown:#}");
    let (code, text) = node.agent(&["run"])?;
    ensure!(code != 0 && text.contains("no identity"), "{code}: {text}");
    Ok(())
}

#[test]
fn the_nodes_owner_ejects_offline_and_a_node_that_is_away_is_named() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    controller
        .apply("[[cron]]\nname = \"hello\"\nscope = \"role:app\"\nschedule = \"*/5 * * * *\"\ncommand = \"true\"\n")?;
    node.kill();
    let away = || {
        let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if shown["state"] == "offline" { Ok(()) } else { Err(shown["state"].to_string()) }
    };
    wait_for("the node to be away", away);
    let refused = controller.ctl(&["eject", "--node", "web-1", "--yes"])?;
    assert!(refused.code != 0 && refused.err.contains("lampas-agent eject"), "{refused:#?}");
    let (code, text) = node.agent(&["eject", "--yes"])?;
    assert_eq!(code, 0, "{text}");
    assert!(node.read("/etc/cron.d/lampas-hello")?.ends_with("*/5 * * * * root true\n"));
    let (code, text) = node.agent(&["eject", "--yes"])?;
    assert!(code != 0 && text.contains("no identity"), "{text}");
    Ok(())
}

#[test]
fn the_nodes_owner_ejects_a_connected_node_and_the_controller_knows() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let other = controller.node("web-2", "app")?;
    let motd = |text: &str| {
        format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
    };
    controller.apply(&motd("managed"))?;
    node.write("/etc/motd", "by hand\n")?;
    wait_for("the drift to be seen", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| i.len() == 1) { Ok(()) } else { Err(list.to_string()) }
    });
    let (code, text) = node.agent(&["eject", "--yes"])?;
    assert!(code == 0 && text.contains("the controller knows"), "{code}: {text}");
    // When the command is back, all of it is settled.
    let shown = controller.json(&["node", "show", "web-1"])?;
    assert!(shown["ejected_at"].is_string(), "{shown:#}");
    let left = controller.json(&["drift", "list"])?;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{left:#}");
    let audit = controller.json(&["audit", "--act", "node.eject"])?;
    assert!(audit.to_string().contains("node:web-1"), "{audit:#}");
    wait_for("the agent to stop", || if node.process().is_running() { Err("it runs") } else { Ok(()) });
    assert_eq!(node.read("/etc/motd")?, "by hand\n");
    // No change is meant for it any more.
    let applied = controller.apply(&motd("changed"))?;
    assert!(!format!("{applied:?}").contains("web-1"), "{applied:#?}");
    assert_eq!(other.read("/etc/motd")?, "changed\n");
    Ok(())
}

#[test]
fn hostile_files_are_bounded_named_and_harmless() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = prepared("web-9")?;
    let at = |path: &str| node.root().join(path);
    fs::write(at("etc/cron.d/bidi"), "# \u{202e}evil\n* * * * * root true\n")?;
    fs::write(at("etc/cron.d/nul"), b"* * * * * root a\0b\n")?;
    fs::write(at("usr/local/bin/open"), "#!/bin/sh\n")?;
    fs::set_permissions(at("usr/local/bin/open"), fs::Permissions::from_mode(0o777))?;
    std::os::unix::fs::symlink("loop", at("etc/cron.d/loop"))?;
    fs::File::create(at("usr/local/bin/giant"))?.set_len(100 << 20)?;
    for i in 0..100_000 {
        std::os::unix::fs::symlink("x", at(&format!("etc/cron.daily/n{i}")))?;
    }
    observe(&controller, &mut node)?;
    let made = controller.json(&["import", "node:web-9", "--scope", "role:app", "--plan"])?;
    let left = made["left"].to_string();
    for (item, why) in [
        ("/usr/local/bin/open", "other than root"),
        ("/etc/cron.d/loop", "symbolic link"),
        ("/usr/local/bin/giant", "104857600 bytes"),
    ] {
        assert!(left.contains(item) && left.contains(why), "{item}: {why}: {}", &left[..left.len().min(2000)]);
    }
    let taken = made["taken"].to_string();
    assert!(taken.contains("/etc/cron.d/nul") && taken.contains("/etc/cron.d/bidi"), "{taken}");
    let compared = controller.ctl(&["role", "compare", "app", "--all"])?;
    assert!(!compared.out.contains('\u{202e}') && compared.err.contains("are left off"), "{}", compared.err);
    Ok(())
}

#[test]
fn inventories_and_crontabs_of_this_machine_are_read() -> Result<()> {
    let controller = Controller::start()?;
    let inventory = controller.path("hosts.ini");
    fs::write(&inventory, "[web]\nweb-[1:2] env=prod\n[app:children]\nweb\n")?;
    let inventory = inventory.display().to_string();
    let tokens = controller.ctl_ok(&["import", "ansible", &inventory, "--tokens", "--labels", "env"])?.out;
    assert!(tokens.contains("token create --node web-2 --role app --role web --label env=prod"), "{tokens}");
    let _node = controller.node("web-1", "db")?;
    let applied = controller.ctl_ok(&["import", "ansible", &inventory, "--apply", "--yes"])?;
    assert!(applied.err.contains("1 node not enrolled yet"), "{applied:#?}");
    let shown = controller.json(&["node", "show", "web-1"])?;
    assert_eq!(shown["roles"], serde_json::json!(["app", "db", "web"]));

    let tables = controller.path("cron.d");
    fs::create_dir_all(&tables)?;
    fs::write(tables.join("backup"), BACKUP)?;
    let tables = tables.display().to_string();
    let manifest = controller.ctl_ok(&["import", "crontab", &tables, "--scope", "role:db"])?.out;
    assert!(manifest.contains("[[cron]]") && manifest.contains("schedule = \"0 3 * * *\""), "{manifest}");
    controller.apply(&manifest)?;
    Ok(())
}
