//! Signing in on a machine by what somebody confirms in the dashboard: the real `lampasctl` waits, a session of a browser decides.

use std::{
    fs,
    fs::File,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, Session, wait_for};
use serde_json::{Value, json};

/// Does what the page does with the code that a machine shows.
fn decide(browser: &Session<'_>, code: &str, act: &str) -> Result<Value> {
    let shown = browser.ok("POST", "/session/device/check", &json!({"user_code": code}))?;
    browser.ok("POST", &format!("/session/device/{act}"), &json!({"user_code": code}))?;
    Ok(shown)
}

/// Starts `lampasctl` in a home of its own; returns it with the code that it shows.
fn begin(controller: &Controller, args: &[&str], log: &str) -> Result<(Child, String)> {
    let log = controller.path(log);
    let mut command = controller.ctl_command(args)?;
    command.env("XDG_CONFIG_HOME", controller.path("laptop")).stdin(std::process::Stdio::null());
    let child = command.stdout(File::create(controller.path("out"))?).stderr(File::create(&log)?).spawn()?;
    let code = wait_for("the code", || {
        let text = fs::read_to_string(&log).map_err(|e| e.to_string())?;
        let code = text.lines().find_map(|l| l.strip_prefix("compare the code: "));
        code.map(str::to_owned).ok_or(text)
    });
    Ok((child, code))
}

fn ends(mut child: Child, controller: &Controller, log: &str) -> Result<(i32, String)> {
    let status = wait_for("lampasctl to end", || child.try_wait().ok().flatten().ok_or("it waits"));
    Ok((status.code().unwrap_or(-1), fs::read_to_string(controller.path(log))?))
}

fn on_laptop(controller: &Controller, args: &[&str]) -> Result<(i32, String)> {
    let output = controller.ctl_command(args)?.env("XDG_CONFIG_HOME", controller.path("laptop")).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn somebody_without_a_terminals_password_signs_in_and_proves_it_by_the_dashboard() -> Result<()> {
    let controller = Controller::start()?;
    let browser = Session::admin(&controller)?;

    // Refused in the dashboard, lampasctl ends and keeps nothing.
    let (child, code) = begin(&controller, &["login"], "refused")?;
    decide(&browser, &code, "refusal")?;
    let (status, told) = ends(child, &controller, "refused")?;
    assert!(status == 1 && told.contains("refused in the dashboard"), "{status}: {told}");
    assert!(!controller.path("laptop/lampas/credentials.toml").exists());

    let url = controller.url();
    let (child, code) = begin(&controller, &["login", &url, "--ttl", "2h"], "login")?;
    let shown = decide(&browser, &code.to_lowercase(), "confirmation")?;
    assert_eq!((&shown["purpose"], &shown["ttl_secs"]), (&json!("sign_in"), &json!(7200)), "{shown}");
    assert!(shown["agent"].as_str().is_some_and(|a| a.starts_with("lampasctl/")), "{shown}");
    let (status, told) = ends(child, &controller, "login")?;
    assert!(status == 0 && told.contains("signed in as admin"), "{status}: {told}");
    let (status, who) = on_laptop(&controller, &["whoami"])?;
    assert!(status == 0 && who.starts_with("admin"), "{who}");
    let (status, listed) = on_laptop(&controller, &["user", "sessions"])?;
    assert!(status == 0 && listed.matches("lampasctl on ").count() == 1, "{listed}");

    // What is grave waits for the dashboard once more, and leaves no session behind.
    fs::write(controller.path("password"), "correct horse battery")?;
    let create = ["user", "create", "eve", "--preset", "viewer", "--password-file", "password"];
    let (child, code) = begin(&controller, &create, "grave")?;
    let shown = decide(&browser, &code, "confirmation")?;
    assert_eq!((&shown["purpose"], &shown["ttl_secs"]), (&json!("proof"), &json!(600)), "{shown}");
    let (status, told) = ends(child, &controller, "grave")?;
    assert_eq!(status, 0, "{told}");
    let (_, listed) = on_laptop(&controller, &["user", "sessions"])?;
    assert_eq!(listed.matches("lampasctl on ").count(), 1, "{listed}");
    let made = controller.json(&["audit", "--act", "user.create"])?;
    assert!(made["items"][0]["principal"].as_str().is_some_and(|p| p.starts_with("machine:")), "{made}");

    let (status, told) = on_laptop(&controller, &["logout"])?;
    assert_eq!(status, 0, "{told}");
    let sessions = controller.json(&["user", "sessions"])?;
    let machines = sessions["items"].as_array().into_iter().flatten().filter(|s| !s["machine"].is_null()).count();
    assert_eq!(machines, 0, "{sessions}");
    Ok(())
}

/// Lets eleven minutes pass, for all that sessions know.
fn age_proofs(controller: &Controller) -> Result<()> {
    let sql = "PRAGMA busy_timeout = 30000; \
               UPDATE session SET proven_ms = proven_ms - 660000, created_ms = created_ms - 660000";
    let done = Command::new("/usr/bin/sqlite3").arg(controller.data().join("lampas.db")).arg(sql).output()?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

fn job(name: &str, user: &str) -> String {
    format!(
        "[[cron]]\nname = \"{name}\"\nscope = \"role:app\"\nschedule = \"7 3 * * *\"\nuser = \"{user}\"\ncommand = \"true\"\n"
    )
}

#[test]
fn root_code_is_asked_about_and_a_proof_covers_what_follows() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let apply = |name: &str, user: &str| -> Result<(i32, String)> {
        let file = controller.path(format!("{name}.toml"));
        fs::write(&file, job(name, user))?;
        on_laptop(&controller, &["apply", "-f", &file.display().to_string(), "--wait"])
    };
    let asked = |(status, told): (i32, String), what: &str| {
        assert!(status == 4 && told.contains(what) && told.contains("first: lampasctl prove"), "{status}: {told}");
    };

    // By password: the sign-in is a proof, and is kept for its time.
    fs::write(controller.path("password"), "correct horse battery")?;
    let by_password = ["login", &controller.url(), "--login", "admin", "--password-file", "password"];
    let (status, told) = on_laptop(&controller, &by_password)?;
    assert_eq!(status, 0, "{told}");
    let (status, told) = apply("first", "root")?;
    assert_eq!(status, 0, "{told}");
    let kept = controller.path("laptop/lampas/proof.toml");
    assert_eq!(fs::metadata(&kept)?.permissions().mode() & 0o777, 0o600);
    let proof = fs::read_to_string(&kept)?;
    fs::remove_file(&kept)?;
    asked(apply("second", "root")?, "this is root code (cron second (role:app): a cron job of root)");
    assert!(!node.exists("/etc/cron.d/lampas-second"));
    asked(
        on_laptop(&controller, &["run", "--on", "role:app", "--", "/bin/true"])?,
        "this is root code (a run as root)",
    );
    let (status, told) = apply("plain", "www-data")?;
    assert_eq!(status, 0, "what is no root code is not asked about: {told}");
    let (status, told) = on_laptop(&controller, &["prove", "--password-file", "password"])?;
    assert!(status == 0 && told.contains("it is you, until"), "{status}: {told}");
    let (status, told) = apply("second", "root")?;
    assert_eq!(status, 0, "{told}");
    assert!(node.exists("/etc/cron.d/lampas-second"));
    let second = fs::read_to_string(&kept)?;
    let (status, told) = on_laptop(&controller, &["logout"])?;
    assert!(status == 0 && !kept.exists(), "{told}");
    // Put back by a thief, it is withdrawn.
    let secret = second.lines().find_map(|l| l.strip_prefix("secret = ")).context("a secret")?.trim_matches('"');
    assert_eq!(controller.https(secret, "GET", "/api/v1/nodes", &[])?.status, 401, "{proof}");

    // Confirmed in the dashboard: that is a proof too, and a machine asks anew when it is over.
    let browser = Session::admin(&controller)?;
    let (child, code) = begin(&controller, &["login", &controller.url()], "login")?;
    decide(&browser, &code, "confirmation")?;
    assert_eq!(ends(child, &controller, "login")?.0, 0);
    let (status, told) = apply("third", "root")?;
    assert_eq!(status, 0, "{told}");
    age_proofs(&controller)?;
    asked(apply("fourth", "root")?, "a cron job of root");
    let browser = Session::admin(&controller)?;
    let (child, code) = begin(&controller, &["prove"], "prove")?;
    decide(&browser, &code, "confirmation")?;
    let (status, told) = ends(child, &controller, "prove")?;
    assert!(status == 0 && told.contains("it is you, until"), "{status}: {told}");
    for name in ["fourth", "fifth"] {
        let (status, told) = apply(name, "root")?;
        assert_eq!(status, 0, "one proof covers what follows: {told}");
    }
    let refused = controller.json(&["audit", "--act", "operation.start"])?;
    assert!(refused.to_string().contains("reauthentication.root_code"), "{refused}");
    Ok(())
}
