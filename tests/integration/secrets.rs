//! Secrets that pass through the controller stand nowhere afterwards: not in the store, logs, events, audit or answers.

use std::fs;

use anyhow::Result;
use lampas_tests::{Controller, Node, Store, Texts, templated, wait_for};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "canary-Passw0rd-of-somebody";
const WRONG: &str = "canary-wr0ng-Password";

#[test]
fn planted_secrets_are_found_nowhere() -> Result<()> {
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.set_log_level("debug");
    controller.resume()?;
    let link = controller.data().join("setup-link");
    let link = wait_for("the set-up link", || match fs::read_to_string(&link) {
        Ok(text) if text.ends_with('\n') => Ok(text),
        other => Err(format!("{other:?}")),
    });
    let setup = link.trim().rsplit('#').next().unwrap_or_default().to_owned();
    controller.set_up()?;
    // Standard output shows the link to whoever starts a controller by hand; from here on nothing may.
    let log = controller.path("controller.log");
    let shown = fs::read_to_string(&log)?.lines().filter(|l| l.contains(&setup)).count();
    assert_eq!(shown, 1, "the link is printed once, and not logged");

    let api = controller.ctl_ok(&["api-token", "create", "ci", "--preset", "administrator", "--grave", "--quiet"])?.out;
    let api = api.trim().to_owned();
    let enrol = controller.ctl_ok(&["token", "create", "--node", "web-1", "--role", "app", "--quiet"])?.out;
    let enrol = enrol.trim().to_owned();
    let mut answers = Vec::new();
    let mut send = |token: &str, method: &str, path: &str, body: String| -> Result<u16> {
        let answer = controller.send(token, method, path, body.as_bytes())?;
        answers.push(format!("{method} {path}: {answer:?}"));
        Ok(answer.status)
    };
    // Right uses, wrong uses, and slips: a password in the field of the name, a secret in a path.
    let user = format!(r#"{{"login":"eve","preset":"viewer","password":"{OTHER}"}}"#);
    assert_eq!(send(&api, "POST", "/api/v1/users", user.clone())?, 201);
    assert_eq!(send(&api, "POST", "/api/v1/users", user)?, 409);
    assert_eq!(send("", "POST", "/api/v1/session", format!(r#"{{"login":"eve","password":"{WRONG}"}}"#))?, 401);
    assert_eq!(send("", "POST", "/api/v1/session", format!(r#"{{"login":"{PASSWORD}","password":"x"}}"#))?, 401);
    assert_eq!(
        send("", "POST", "/api/v1/setup", format!(r#"{{"token":"{setup}","login":"a","password":"{OTHER}"}}"#))?,
        422
    );
    assert_eq!(send("lpa1-canary-of-nobody", "GET", "/api/v1/nodes", String::new())?, 401);
    assert_eq!(send(&format!("{api}x"), "GET", "/api/v1/nodes", String::new())?, 401);
    assert_eq!(
        send(&api, "PUT", "/api/v1/session/password", format!(r#"{{"current":"{WRONG}","new":"{OTHER}"}}"#))?,
        422
    );
    let signed_in = controller.send(
        "",
        "POST",
        "/api/v1/session",
        format!(r#"{{"login":"eve","password":"{OTHER}"}}"#).as_bytes(),
    )?;
    assert_eq!(signed_in.status, 201);
    let csrf = signed_in.body["csrf_token"].as_str().unwrap_or_default().to_owned();
    assert!(csrf.len() > 20, "{signed_in:?}");

    let mut node = Node::prepare("web-1")?;
    node.enrol(controller.port(), &enrol)?;
    assert!(Node::prepare("web-2")?.enrol(controller.port(), &enrol).is_err());
    node.resume()?;
    controller.wait_online("web-1");
    for path in [
        "/audit?limit=500",
        "/activity?limit=500",
        "/tokens?all=true",
        "/users",
        "/enrolment-tokens",
        "/nodes/web-1",
        "/overview",
    ] {
        send(&api, "GET", &format!("/api/v1{path}"), String::new())?;
    }
    answers.push(controller.ctl_ok(&["token", "list", "--output", "json"])?.out);
    answers.push(controller.ctl_ok(&["api-token", "list", "--output", "json"])?.out);

    controller.process().stop()?;
    let mut texts = Texts::default();
    for answer in answers {
        texts.add(answer.clone(), answer);
    }
    texts.add_files(&controller.data())?;
    texts.add_files(&node.root().join("var/lib/lampas"))?;
    assert!(texts.names().any(|n| n.ends_with("/lampas.db")), "{:?}", texts.names().collect::<Vec<_>>());
    let log = fs::read_to_string(&log)?;
    let link = format!("/setup#{setup}");
    let log = log.lines().filter(|l| !l.contains(&link)).collect::<Vec<_>>().join("\n");
    assert!(log.contains("DEBUG"), "the log is as chatty as it gets");
    texts.add("controller.log", log);
    texts.add("agent.log", node.process().log_tail());
    for (what, secret) in [
        ("password", PASSWORD),
        ("password", OTHER),
        ("password", WRONG),
        ("set-up", &setup),
        ("API token", &api),
        ("enrolment token", &enrol),
        ("CSRF token", &csrf),
    ] {
        // The session's CSRF token is the store's own; it is worth nothing without the cookie.
        let is_meant = |name: &&str| secret == csrf && name.contains("lampas.db");
        let found: Vec<&str> = texts.with(secret).into_iter().filter(|name| !is_meant(name)).collect();
        assert_eq!(found, Vec::<&str>::new(), "where the {what} {secret:?} stands");
    }
    Ok(())
}

/// Beside the application's configuration.
const JOB: &str = r#"
[[cron]]
name = "report"
scope = "role:app"
schedule = "17 4 * * *"
command = "true"
template = true
environment = { REPORT_KEY = "{{secret.report.key}}", PLAIN = "{{var.db.user}}" }
"#;

const DB: [&str; 2] = ["canary-db-Passw0rd-1", "canary-db-Passw0rd-2"];
const KEY: &str = "canary-report-key";
const OTHER_NODE: &str = "canary-of-the-database-alone";

#[test]
fn secret_objects_reach_their_nodes_and_stand_nowhere_else() -> Result<()> {
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.set_log_level("debug");
    controller.resume()?;
    controller.set_up()?;
    let mut web = controller.node("web-1", "app")?;
    let mut db = controller.node("db-1", "database")?;
    let mut told = Texts::default();

    // What is used must be there, and is told by file and line.
    let file = controller.path("app.toml");
    let lines = "user={{var.db.user}}\npassword={{secret.db.password | json}}\nhost={{fact.node}}\n";
    let manifest = templated(lines) + JOB;
    fs::write(&file, &manifest)?;
    let file = file.display().to_string();
    let refused = controller.ctl(&["apply", "-f", &file])?;
    assert_eq!(refused.code, 1, "{refused:?}");
    let places = ["app.toml:7: content", "app.toml:19: environment"];
    assert!(
        places.iter().any(|p| refused.err.contains(p)) && refused.err.contains("there is no secret"),
        "{refused:?}"
    );
    for (name, scope, value) in
        [("db.password", "role:app", DB[0]), ("report.key", "fleet", KEY), ("db.root", "role:database", OTHER_NODE)]
    {
        let set = controller.ctl_with(&["secret", "set", name, "--scope", scope, "--wait"], &format!("{value}\n"))?;
        assert_eq!(set.code, 0, "{set:?}");
        told.add(format!("secret set {name}"), format!("{set:?}"));
    }
    let applied = controller.ctl(&["apply", "-f", &file, "--wait"])?;
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(applied.out.contains("the content holds secrets and is not shown"), "{applied:?}");
    told.add("apply", format!("{applied:?}"));
    assert_eq!(web.read("/etc/app.conf")?, format!("user=app\npassword=\"{}\"\nhost=web-1\n", DB[0]));
    assert!(!db.exists("/etc/app.conf"));
    let cron = web.read("/etc/cron.d/lampas-report")?;
    assert!(cron.contains("PLAIN=app") && !cron.contains(KEY), "everybody may read cron's file: {cron}");

    // A node outside of a secret's scope is told of, before anything is done.
    let outside = manifest.replace("role:app", "fleet").replace("app.conf\"", "other.conf\"");
    let outside = outside.replace("name = \"report\"", "name = \"report2\"");
    fs::write(controller.path("outside.toml"), outside)?;
    let refused = controller.ctl(&["apply", "-f", &controller.path("outside.toml").display().to_string()])?;
    assert!(refused.err.contains("db-1") && refused.err.contains("not entitled"), "{refused:?}");

    // Rotation is one act; its plan lists who uses it.
    let plan = controller.ctl_with(&["secret", "set", "db.password", "--plan", "--output", "json"], DB[1])?;
    assert_eq!(plan.code, 10, "{plan:?}");
    assert!(plan.out.contains("web-1") && plan.out.contains("app.conf") && !plan.out.contains("db-1"), "{plan:?}");
    let set = controller.ctl_with(&["secret", "set", "db.password", "-m", "rotate", "--wait"], DB[1])?;
    assert_eq!(set.code, 0, "{set:?}");
    assert_eq!(web.read("/etc/app.conf")?, format!("user=app\npassword=\"{}\"\nhost=web-1\n", DB[1]));
    for args in [
        ["secret", "show", "db.password"].as_slice(),
        &["secret", "list"],
        &["export"],
        &["object", "history", "secret/db.password"],
        &["object", "compare", "secret/db.password"],
        &["object", "show", "file/app.conf"],
        &["history", "--from", "1d"],
        &["audit"],
        &["change", "list", "--output", "json"],
        &["node", "show", "web-1", "--output", "json"],
        &["overview", "--output", "json"],
    ] {
        let answer = controller.ctl(args)?;
        assert_eq!(answer.code, 0, "{answer:?}");
        told.add(args.join(" "), format!("{answer:?}"));
    }
    let shown = controller.ctl_ok(&["secret", "show", "db.password"])?.out;
    assert!(shown.contains("used by file app.conf (role:app) on web-1"), "{shown}");
    let export = controller.ctl_ok(&["export"])?.out;
    assert!(export.contains("[[secret]]\nname = \"db.password\""), "{export}");
    // What was exported applies again, and changes nothing: the values stay.
    let again = controller.apply(&export)?;
    assert!(matches!(again.code, 0), "{again:?}");
    assert!(web.read("/etc/app.conf")?.contains(DB[1]));

    // The earlier value comes back as any revision does.
    let back = controller.ctl(&["object", "restore", "secret/db.password", "--revision", "1", "--wait"])?;
    assert_eq!(back.code, 0, "{back:?}");
    assert!(web.read("/etc/app.conf")?.contains(DB[0]));

    // A run gets values by reference, and what it prints of them is taken out; who isn't entitled is told.
    let script = "echo \"got $PARAM_KEY\"; printf %s \"$PARAM_KEY\" | wc -c; echo \"$PARAM_PW\" >&2";
    let parameters = ["--param-secret", "key=secret/report.key", "--param-secret", "pw=secret/db.password"];
    let command = ["--", "sh", "-c", script];
    let run = controller.ctl(&[&["run", "--on", "node:web-1"], &parameters[..], &command].concat())?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("got [secret report.key]") && run.out.contains(&KEY.len().to_string()), "{run:?}");
    assert!(run.out.contains("[secret db.password]"), "{run:?}");
    let elsewhere = controller.ctl(&[&["run", "--on", "node:db-1"], &parameters[..], &command].concat())?;
    assert!(elsewhere.code != 0 && elsewhere.out.contains("not entitled to secret db.password"), "{elsewhere:?}");
    for args in
        [["run", "show", "1", "--output", "json"].as_slice(), &["run", "output", "1"], &["run", "list"], &["audit"]]
    {
        told.add(args.join(" "), format!("{:?}", controller.ctl(args)?));
    }
    told.add("run", format!("{run:?}{elsewhere:?}"));

    // Earlier values are destroyed by an act of their own, and don't come back.
    let plan = controller.ctl_ok(&["secret", "purge", "db.password", "--plan"])?.out;
    assert!(plan.contains("stands") && plan.contains("earlier"), "{plan}");
    let purge = ["secret", "purge", "db.password", "--yes", "-m", "left the company"];
    // The plan of the rotation was overtaken long ago, and holds no value any more.
    controller.ctl_ok(&purge)?;
    let gone = controller.ctl(&["object", "restore", "secret/db.password", "--revision", "2", "--wait"])?;
    assert!(gone.code != 0 && gone.err.contains("was purged"), "{gone:?}");
    assert!(controller.ctl_ok(&["audit"])?.out.contains("secret.purge"), "it is in the audit");
    assert!(web.read("/etc/app.conf")?.contains(DB[0]), "what stands, stands");

    // An edit by hand is shown without it, and is taken into the object by a merge alone.
    web.write("/etc/app.conf", &format!("password={}\n# by hand\n", DB[0]))?;
    let drift = wait_for("the drift", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| format!("{e:#}"))?;
        list["items"].get(0).cloned().ok_or_else(|| list.to_string())
    });
    told.add("the drift", drift.to_string());
    assert_eq!(drift["merges"], true, "{drift}");
    let merge = controller.ctl(&["drift", "adopt", "web-1:/etc/app.conf", "--merge"])?;
    told.add("the merge", format!("{merge:?}"));

    told.add("agent.log", web.process().log_tail());
    controller.process().stop()?;
    web.kill();
    db.kill();
    told.add("controller.log", fs::read(controller.path("controller.log"))?);
    for below in [controller.data(), web.root().join("var/lib/lampas"), db.root().join("var/lib/lampas")] {
        told.add_files(&below)?;
    }
    for secret in [DB[0], DB[1], KEY, OTHER_NODE] {
        // A job's own file is what it runs with.
        let is_meant = |name: &&str| name.contains("/agent/jobs/") && secret == KEY;
        let found: Vec<&str> = told.with(secret).into_iter().filter(|name| !is_meant(name)).collect();
        assert_eq!(found, Vec::<&str>::new(), "where {secret} stands");
    }
    // Whom it isn't for has none of it, sealed or not: nothing was ever fetched there.
    assert!(!db.root().join("var/lib/lampas/agent/secret-key").exists(), "db-1 never asked for a value");
    assert!(web.root().join("var/lib/lampas/agent/secret-key").exists());
    Ok(())
}
