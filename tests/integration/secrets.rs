//! Secrets that pass through the controller stand nowhere afterwards: not in the store, logs, events, audit or answers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use lampas_tests::{Controller, Node, Store, wait_for};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "canary-Passw0rd-of-somebody";
const WRONG: &str = "canary-wr0ng-Password";

fn files(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

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
    let mut texts: Vec<(String, Vec<u8>)> = answers.into_iter().map(|a| (a.clone(), a.into_bytes())).collect();
    let mut found = vec![];
    files(&controller.data(), &mut found);
    files(&node.root().join("var/lib/lampas"), &mut found);
    assert!(found.iter().any(|f| f.ends_with("lampas.db")), "{found:?}");
    for path in found {
        texts.push((path.display().to_string(), fs::read(&path)?));
    }
    let log = fs::read_to_string(&log)?;
    let link = format!("/setup#{setup}");
    let log = log.lines().filter(|l| !l.contains(&link)).collect::<Vec<_>>().join("\n");
    assert!(log.contains("DEBUG"), "the log is as chatty as it gets");
    texts.push(("controller.log".to_owned(), log.into_bytes()));
    texts.push(("agent.log".to_owned(), node.process().log_tail().into_bytes()));
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
        for (name, text) in texts.iter().filter(|(n, _)| secret != csrf || !n.contains("lampas.db")) {
            let hit = text.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!hit, "the {what} {secret:?} stands in {name}");
        }
    }
    Ok(())
}
