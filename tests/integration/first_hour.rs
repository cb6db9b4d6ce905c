//! A new user's first hour, from minute 6 on, as it is promised: the commands in their order, and the lines that are read.
//!
//! What needs a network of its own, a change that cuts a node off, is in `real_cut_off.rs`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, CtlOutput, Node, wait_for};

const HELLO: &str = r#"[[cron]]
name     = "hello"
scope    = "role:app"
schedule = "*/5 * * * *"
user     = "www-data"
command  = "date +%F\\ %T >> /var/log/hello.log"
"#;
const BACKUP: &str = "# nightly\n10 3 * * * root /usr/local/bin/backup >/dev/null 2>&1\n";
const TOOL: &str = "#!/bin/sh\necho saved\n";
const ROTATE: &str = r#"[[script]]
name = "rotate-keys"
scope = "role:app"
parameters = [{ name = "days", type = "integer", required = true }]
content = '''
#!/bin/sh
echo "keys older than $PARAM_DAYS days are gone"
'''
"#;

#[test]
fn slow_first_hour_from_the_first_change_to_the_way_out() -> Result<()> {
    let controller = Controller::start()?;
    let web1 = controller.node("web-1", "app")?;
    let web2 = controller.node("web-2", "app")?;
    let _db = controller.node("db-1", "database")?;
    minute_6(&controller, &[&web1, &web2])?;
    minute_10(&controller, &web1, &web2)?;
    let web9 = minute_15(&controller)?;
    minute_25(&controller)?;
    minute_35(&controller, &[&web1, &web2, &web9])?;
    minute_55(&controller, web1, &web9)
}

/// Plan, apply, and a mistake that says where and what.
fn minute_6(controller: &Controller, nodes: &[&Node]) -> Result<()> {
    fs::write(controller.path("hello.toml"), HELLO)?;
    let planned = controller.ctl(&["apply", "-f", "hello.toml", "--plan"])?;
    ensure!(planned.code == 10, "a plan with changes exits with 10: {planned:#?}");
    reads(
        &planned,
        &[
            "+ cron hello   role:app   2 nodes",
            "web-1, web-2 (identical)",
            "/etc/cron.d/lampas-hello",
            "*/5 * * * * www-data ",
            "lampas-agent",
            " job run ",
            "next runs of hello",
            "(Europe/Berlin)",
            "2 nodes change",
            "apply with: lampasctl apply --plan ",
        ],
    )?;
    ensure!(!nodes[0].exists("/etc/cron.d/lampas-hello"), "a plan changes nothing");
    let applied = apply_plan(controller, &planned)?;
    reads(
        &applied,
        &["web-1  ✓ in force", "web-2  ✓ in force", "done in ", &format!("{}/changes/", controller.url())],
    )?;
    for node in nodes {
        ensure!(node.read("/etc/cron.d/lampas-hello")?.contains("*/5 * * * * www-data "));
    }
    fs::write(controller.path("wrong.toml"), HELLO.replace("*/5 * * * *", "*/5 * * *"))?;
    let wrong = controller.ctl(&["apply", "-f", "wrong.toml"])?;
    ensure!(wrong.code == 1, "{wrong:#?}");
    reads(&wrong, &["wrong.toml:4: schedule \"*/5 * * *\": 4 fields, cron needs 5 (minute hour day month weekday)"])
}

/// Somebody edits by hand; what was edited becomes the role's.
fn minute_10(controller: &Controller, web1: &Node, web2: &Node) -> Result<()> {
    let place = "/etc/cron.d/lampas-hello";
    web2.write(place, &web2.read(place)?.replace("*/5 * * * *", "*/7 * * * *"))?;
    let listed = wait_for("the drift to be told", || {
        let listed = controller.ctl(&["drift", "list"]).map_err(|e| e.to_string())?;
        if listed.out.contains("web-2:/etc/cron.d/lampas-hello") { Ok(listed) } else { Err(listed.out) }
    });
    reads(&listed, &["◆ standing", "cron hello (role:app)", "root:root"])?;
    let shown = controller.ctl_ok(&["drift", "show", "web-2:/etc/cron.d/lampas-hello"])?;
    reads(&shown, &["*/5 ", "*/7 ", "lampasctl drift revert", "lampasctl drift adopt"])?;
    // Adopting opens a change with its plan; applying is the next command that it names.
    let adopted = controller.ctl(&["drift", "adopt", "web-2:/etc/cron.d/lampas-hello"])?;
    reads(&adopted, &["~ cron hello", "apply with: lampasctl apply --plan "])?;
    apply_plan(controller, &adopted)?;
    ensure!(web1.read(place)?.contains("*/7 * * * * www-data "), "web-1 has it too");
    let history = controller.ctl_ok(&["object", "history", "cron/hello"])?;
    reads(&history, &["adopted from web-2"])
}

/// A real server: it observes, is compared, and taken over byte for byte.
fn minute_15(controller: &Controller) -> Result<Node> {
    let mut web9 = Node::prepare("web-9")?;
    web9.write("/etc/cron.d/backup", BACKUP)?;
    web9.write("/usr/local/bin/backup", TOOL)?;
    fs::set_permissions(web9.root().join("usr/local/bin/backup"), fs::Permissions::from_mode(0o755))?;
    let hosts = web9.read("/etc/hosts")? + "10.3.3.3 intra\n";
    web9.write("/etc/hosts", &hosts)?;

    // One command prints what to do on the node, and waits for it.
    let mut create = controller
        .ctl_command(&["token", "create", "--role", "app", "--observe", "--wait"])?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(create.stdout.take().context("a pipe")?).lines();
    let command = lines.next().context("the command for the node")??;
    ensure!(
        command.trim().starts_with("lampas-agent enrol --controller ") && command.ends_with("--token-file -"),
        "{command}"
    );
    let token = lines.next().context("the token")??.trim().to_owned();
    ensure!(token.starts_with("lpt1-"), "{token}");
    web9.enrol(controller.port(), &token)?;
    web9.resume()?;
    ensure!(create.wait()?.success());
    let mut told = String::new();
    create.stderr.take().context("a pipe")?.read_to_string(&mut told)?;
    for line in [
        "waiting … ",
        "web-9 connected (Debian GNU/Linux 12 (bookworm)",
        "observing: nothing is written there",
        "next: lampasctl import node:web-9 --scope role:app --plan",
    ] {
        ensure!(told.contains(line), "{line:?} is not in:\n{told}");
    }

    let planned = controller.ctl(&["import", "node:web-9", "--scope", "role:app", "--plan"])?;
    ensure!(planned.code == 10, "{planned:#?}");
    reads(
        &planned,
        &[
            "cron          1   1 only here",
            "WHAT",
            "/etc/cron.d/backup",
            "● no change on web-9, taken over",
            "/usr/local/bin/backup",
            "apply with: lampasctl apply --plan ",
        ],
    )?;
    ensure!(web9.read("/etc/cron.d/backup")? == BACKUP && !web9.exists("/etc/cron.d/lampas-hello"), "it only observes");
    apply_plan(controller, &planned)?;
    ensure!(!web9.exists("/etc/cron.d/lampas-hello"), "it still only observes");
    let managed = controller.ctl(&["node", "manage", "web-9", "--yes"])?;
    ensure!(managed.code == 0, "{managed:#?}");
    reads(&managed, &["would be written", "with no change, and taken over", "lampasctl node show web-9"])?;
    wait_for(
        "web-9 to have its role's jobs",
        || if web9.exists("/etc/cron.d/lampas-hello") { Ok(()) } else { Err(()) },
    );
    ensure!(web9.read("/etc/cron.d/backup")? == BACKUP && web9.read("/usr/local/bin/backup")? == TOOL, "byte for byte");
    wait_for("web-9 to be converged", || {
        let node = controller.json(&["node", "show", "web-9"]).map_err(|e| e.to_string())?;
        if node["config"] == "converged" { Ok(()) } else { Err(node.to_string()) }
    });
    Ok(web9)
}

/// A command everywhere; a script in waves, while nobody looks.
fn minute_25(controller: &Controller) -> Result<()> {
    let ran = controller.ctl_ok(&["run", "--on", "role:app", "--", "df", "-h", "/var"])?;
    reads(&ran, &["Filesystem", "3 nodes · 3 ok", &format!("{}/operations/1", controller.url())])?;
    let ran = controller.ctl_ok(&["run", "--on", "role:app", "--", "echo", "the same"])?;
    reads(&ran, &["3 nodes · 3 ok · identical output on web-1, web-2, web-9"])?;
    controller.apply(ROTATE)?;
    let wrong = controller.ctl(&["run", "rotate-keys", "--on", "role:app", "--param", "days=soon"])?;
    ensure!(wrong.code == 1, "{wrong:#?}");
    reads(&wrong, &["days"])?;
    let missing = controller.ctl(&["run", "rotate-keys", "--on", "role:app"])?;
    ensure!(missing.code == 1, "{missing:#?}");
    reads(&missing, &["days"])?;
    let waves = ["--param", "days=30", "--canary", "1", "--then", "50%"];
    let begun = controller.ctl_ok(&[&["run", "rotate-keys", "--on", "role:app", "--detach"][..], &waves].concat())?;
    reads(&begun, &["run 3 is on its way to 3 nodes", "lampasctl run output 3", "/operations/3"])?;
    // The laptop was closed; the run went on, and its result is there.
    wait_for("the run to be over", || {
        let shown = controller.ctl(&["run", "show", "3"]).map_err(|e| e.to_string())?;
        if shown.out.contains("● succeeded") { Ok(()) } else { Err(shown.out) }
    });
    let output = controller.ctl_ok(&["run", "output", "3"])?;
    reads(&output, &["web-1 │ keys older than 30 days are gone", "web-9 │ keys older than 30 days are gone"])
}

/// A gate says no on the canary: nobody else has the change, and the canary no longer.
fn minute_35(controller: &Controller, nodes: &[&Node]) -> Result<()> {
    let manifest = "[[file]]\nname = \"shop\"\nscope = \"role:app\"\npath = \"/etc/shop.conf\"\ncontent = \"new\\n\"\n";
    let gate = ["--canary", "1", "--gate", "/bin/ls /nonexistent/health", "--gate-user", "www-data", "--wait"];
    let applied = controller.ctl_with(&[&["apply", "-f", "-"][..], &gate].concat(), manifest)?;
    ensure!(applied.code == 2, "{applied:#?}");
    reads(
        &applied,
        &[
            "wave 1 of 2: 1 node",
            "reverted: wave 1 of 2: a gate says no: /bin/ls /nonexistent/health on web-1",
            "■ no on 1 node",
            "what stood before is back on every node that had the change",
        ],
    )?;
    for node in nodes {
        ensure!(!node.exists("/etc/shop.conf"), "{} has it", node.name);
    }
    // What the gate said stands with the change, beside its diff.
    let number = applied.out.rsplit("/changes/").next().context("a link")?.trim().to_owned();
    wait_for("the gate's words", || {
        let shown = controller.ctl(&["rollout", "show", &number]).map_err(|e| e.to_string())?;
        if shown.out.contains("'/nonexistent/health': No such file") { Ok(()) } else { Err(shown.out) }
    });
    let shown = controller.ctl_ok(&["change", "show", &number])?;
    reads(&shown, &["reverted", "+new"])
}

/// Asked on the node, without the controller; and the way out.
fn minute_55(controller: &Controller, mut web1: Node, web9: &Node) -> Result<()> {
    let place = "/etc/cron.d/lampas-hello";
    let line = web1.read(place)?.lines().position(|l| l.contains(" job run ")).context("the job's line")? + 1;
    let said = [
        "cron hello (role:app), revision 2, ",
        "by admin",
        "\"adopted from web-2\"",
        "approved by: not required",
        "generation 1.",
        "in force since",
        "undo: lampasctl change revert ",
    ];
    let (code, why) = web1.agent(&["why", &format!("{place}:{line}")])?;
    ensure!(code == 0, "{why}");
    for line in said {
        ensure!(why.contains(line), "{line:?} is not in:\n{why}");
    }
    let (code, checked) = web1.agent(&["check"])?;
    ensure!(code == 0, "{checked}");
    for line in
        [&format!("controller 127.0.0.1:{}", controller.port()), "UDP ok · TLS ok · clock ", "certificate renews in "]
    {
        ensure!(checked.contains(line), "{line:?} is not in:\n{checked}");
    }
    web1.kill();
    let (code, why) = web1.agent(&["why", place])?;
    ensure!(code == 0 && why.contains("no agent runs here") && why.contains("\"adopted from web-2\""), "{why}");

    let ejected = controller.ctl(&["eject", "--node", "web-9", "--yes"])?;
    ensure!(ejected.code == 0, "{ejected:#?}");
    reads(
        &ejected,
        &["web-9  ejected", "/etc/cron.d/backup   as it stands, byte for byte", "runs its command itself", "manifest"],
    )?;
    ensure!(web9.read("/etc/cron.d/backup")? == BACKUP);
    let hello = web9.read(place)?;
    ensure!(hello.contains("date +\\%F") && !hello.contains("job run"), "cron runs it without LAMPAS: {hello}");
    ensure!(web9.exists("/var/lib/lampas/ejected/cron.toml"), "its manifests are left");
    let listed = controller.ctl_ok(&["node", "list"])?;
    ensure!(!listed.out.contains("web-9"), "{listed:#?}");
    Ok(())
}

/// Applies the plan that an answer names, as it says.
fn apply_plan(controller: &Controller, planned: &CtlOutput) -> Result<CtlOutput> {
    let text = format!("{}{}", planned.out, planned.err);
    let (_, after) =
        text.split_once("lampasctl apply --plan ").with_context(|| format!("no next command in {text}"))?;
    let id = after.split_whitespace().next().context("a plan id")?;
    let applied = controller.ctl(&["apply", "--plan", id, "--wait"])?;
    ensure!(applied.code == 0, "{applied:#?}");
    Ok(applied)
}

/// Every line that a user goes by is there.
fn reads(output: &CtlOutput, lines: &[&str]) -> Result<()> {
    let text = format!("{}{}", output.out, output.err);
    for line in lines {
        ensure!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    Ok(())
}
