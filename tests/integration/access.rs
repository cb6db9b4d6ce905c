//! Who may do what, through the command line.

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, MariaDb, Store};

#[test]
fn a_viewer_sees_and_changes_nothing() -> Result<()> {
    let controller = Controller::start()?;
    let created = controller.json(&["api-token", "create", "eyes", "--preset", "viewer"])?;
    std::fs::write(controller.path("token"), created["secret"].as_str().unwrap_or_default())?;
    let as_viewer =
        |args: &[&str], input: &str| controller.ctl_with(&[&["--token-file", "token"], args].concat(), input);

    assert_eq!(as_viewer(&["node", "list"], "")?.code, 0);
    let manifest = "[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"x\"\n";
    let refused = as_viewer(&["apply", "-f", "-"], manifest)?;
    assert_eq!(refused.code, 4, "{refused:#?}");
    assert_eq!(as_viewer(&["token", "create", "--role", "app"], "")?.code, 4);
    assert_eq!(as_viewer(&["audit"], "")?.code, 4);
    let objects = controller.json(&["object", "list"])?;
    assert_eq!(objects["items"].as_array().map(Vec::len), Some(0), "nothing was changed: {objects}");
    Ok(())
}

#[test]
fn two_editors_at_once_are_told_apart() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    let manifest = |text: &str| {
        format!("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"{text}\"\n")
    };
    controller.apply(&manifest("one"))?;
    let plan = controller.ctl_with(&["apply", "-f", "-", "--plan"], &manifest("two"))?;
    let id = plan.out.rsplit(' ').next().unwrap_or_default().trim().to_owned();
    controller.apply(&manifest("three"))?;
    let refused = controller.ctl(&["apply", "--plan", &id])?;
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("was changed by admin meanwhile"), "{refused:#?}");
    Ok(())
}

#[test]
fn the_password_can_be_wrong_and_the_audit_knows() -> Result<()> {
    let controller = Controller::start()?;
    std::fs::write(controller.path("wrong"), "not the password")?;
    let refused = controller.ctl(&["login", "--password-file", "wrong"])?;
    assert_eq!(refused.code, 4, "{refused:#?}");
    let audit = controller.json(&["audit", "--act", "session.open"])?;
    let results: Vec<_> = audit["items"].as_array().into_iter().flatten().map(|e| e["result"].to_string()).collect();
    assert!(results.iter().any(|r| r.contains("refused")), "{audit}");
    Ok(())
}

#[test]
fn two_people_of_one_role_change_it_and_nothing_else() -> Result<()> {
    two_people(&Controller::start()?)
}

#[test]
fn two_people_of_one_role_on_mariadb() -> Result<()> {
    let server = MariaDb::start()?;
    two_people(&Controller::start_with(Store::Database(server.database_file()?))?)
}

/// Eve changes the role app, dana approves there; neither may anything on the database.
fn two_people(controller: &Controller) -> Result<()> {
    let (web, db) = (controller.node("web-1", "app")?, controller.node("db-1", "db")?);
    let token = |user: &str, preset: &str, more: &[&str]| -> Result<()> {
        let args = ["token", "api", "--user", user, "--name", "test", "--preset", preset];
        let secret = controller.command(&[&args, more].concat())?;
        Ok(std::fs::write(controller.path(user), secret.trim())?)
    };
    let by =
        |user: &str, args: &[&str], input: &str| controller.ctl_with(&[&["--token-file", user], args].concat(), input);
    let ok = |user: &str, args: &[&str], input: &str| -> Result<String> {
        let done = by(user, args, input)?;
        ensure!(done.code == 0, "{user} {args:?}: {done:#?}");
        Ok(done.out)
    };
    token("admin", "administrator", &["--grave"])?;
    std::fs::write(controller.path("password"), "correct horse battery")?;
    for login in ["eve", "dana"] {
        ok("admin", &["user", "create", login, "--preset", "none", "--password-file", "password"], "")?;
    }
    ok("admin", &["group", "create", "web-team", "--member", "eve", "--note", "the shop"], "")?;
    ok("admin", &["grant", "add", "group:web-team", "operator", "role:app", "--reason", "their servers"], "")?;
    ok("admin", &["grant", "add", "user:dana", "view,approve", "role:app", "--for", "8h"], "")?;
    token("eve", "operator", &[])?;
    token("dana", "operator", &[])?;
    let listed = ok("admin", &["grant", "list"], "")?;
    assert!(listed.contains("group:web-team") && listed.contains("approve"), "{listed}");
    let shown = ok("admin", &["user", "show", "eve"], "")?;
    assert!(shown.contains("role:app") && shown.contains("group web-team"), "{shown}");
    let can = by("admin", &["user", "can", "eve", "change", "role:app"], "")?;
    assert_eq!((can.code, can.out.trim()), (0, "eve may change on role:app: by group web-team over role:app"));
    let cant = by("admin", &["user", "can", "eve", "change", "fleet"], "")?;
    assert_eq!(cant.code, 1, "{cant:#?}");

    // Her role: written on its node. The fleet and the database: refused, and nothing is written.
    let motd = |scope: &str, text: &str| {
        format!("[[file]]\nname = \"motd\"\nscope = \"{scope}\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
    };
    ok("eve", &["apply", "-f", "-", "--wait"], &motd("role:app", "one"))?;
    assert_eq!(web.read("/etc/motd")?, "one\n");
    for scope in ["fleet", "role:db", "node:db-1"] {
        let refused = by("eve", &["apply", "-f", "-", "--wait"], &motd(scope, "hers"))?;
        assert_eq!(refused.code, 4, "{scope}: {refused:#?}");
        assert!(refused.err.contains("lacks the permission change on"), "{scope}: {refused:#?}");
    }
    let refused = by("eve", &["run", "--on", "fleet", "--", "touch", "/tmp/hers"], "")?;
    assert!(refused.code == 4 && refused.err.contains("db-1"), "{refused:#?}");
    let nodes = ok("eve", &["node", "list"], "")?;
    assert!(nodes.contains("web-1") && !nodes.contains("db-1"), "{nodes}");

    // A protected role: who made the plan may not approve it, and who may approve it may not change it.
    ok("admin", &["protect", "role:app", "-m", "customers"], "")?;
    let planned = by("eve", &["apply", "-f", "-", "--plan"], &motd("role:app", "two"))?;
    let plan = planned.out.rsplit(' ').next().context("a plan")?.trim().to_owned();
    let needed = by("eve", &["apply", "--plan", &plan], "")?;
    assert!(needed.code != 0 && needed.err.contains("needs an approval") && needed.err.contains("dana"), "{needed:#?}");
    let change = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    let own = by("eve", &["change", "approve", &change, "--plan", &plan, "--yes"], "")?;
    assert!(own.code != 0, "{own:#?}");
    let waiting = ok("dana", &["approval", "list", "--for-me"], "")?;
    assert!(waiting.contains(&change), "{waiting}");
    let changes = by("dana", &["apply", "-f", "-"], &motd("role:app", "dana's"))?;
    assert_eq!(changes.code, 4, "{changes:#?}");
    ok("dana", &["change", "approve", &change, "--plan", &plan, "--yes", "-m", "looked at it"], "")?;
    ok("eve", &["apply", "--plan", &plan, "--wait"], "")?;
    assert_eq!(web.read("/etc/motd")?, "two\n");
    assert!(db.read("/etc/motd").is_err(), "nothing was written on the database");

    // Out of the group she is out of the role, at once.
    ok("admin", &["group", "set", "web-team", "--remove", "eve"], "")?;
    assert_eq!(by("eve", &["node", "list"], "")?.code, 4);
    for act in ["group.create", "grant.create", "group.update", "change.approve"] {
        let audit = controller.json(&["audit", "--act", act])?.to_string();
        assert!(audit.contains(act), "{act}: {audit}");
    }
    Ok(())
}
