//! Mail, by a real mail server with TLS and sign-in: what is told, to whom, and what becomes of it when the server isn't well.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lampas_runtime::clock;
use lampas_tests::{Controller, CtlOutput, Session, free_port, wait_for, wait_within};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "canary-of-mail-7x";

/// A mail server of Debian's package; ends with its owner.
pub(crate) struct MailServer {
    directory: TempDir,
    port: u16,
    mode: &'static str,
    cert: PathBuf,
    child: Option<(Child, ChildStdin)>,
}

impl MailServer {
    /// Starts one with the certificate of the controller's dashboard, which is for 127.0.0.1.
    pub(crate) fn start(controller: &Controller, mode: &'static str) -> Result<Self> {
        let (directory, port, cert) = (tempfile::tempdir()?, free_port()?, controller.data().join("web"));
        let mut server = Self { directory, port, mode, cert, child: None };
        server.says("take")?;
        server.resume()?;
        Ok(server)
    }

    fn resume(&mut self) -> Result<()> {
        let mut child = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/mail_server.py"))
            .arg(self.port.to_string())
            .args([self.cert.join("cert.pem"), self.cert.join("cert.key")])
            .arg(self.directory.path())
            .arg(self.mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Debian's python3-aiosmtpd is installed")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let stdin = child.stdin.take().context("a pipe")?;
        self.child = Some((child, stdin));
        ensure!(line == "ready\n", "the mail server says {line:?}");
        Ok(())
    }

    fn stop(&mut self) {
        if let Some((mut child, stdin)) = self.child.take() {
            drop(stdin);
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Says how it behaves from now on.
    fn says(&self, word: &str) -> Result<()> {
        let (new, path) = (self.directory.path().join("say.new"), self.directory.path().join("say"));
        fs::write(&new, word)?;
        Ok(fs::rename(new, path)?)
    }

    /// Returns what it took so far.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .collect();
        files.sort();
        files.iter().filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
    }

    pub(crate) fn wait(&self, controller: &Controller, count: usize) -> Vec<Value> {
        wait_for("the mail", || {
            let found = self.messages();
            if found.len() >= count {
                return Ok(found);
            }
            Err(controller.ctl(&["mail", "log"]).map(|o| format!("{} of {count}: {o:#?}", found.len())))
        })
    }

    /// Sets the controller's mail to this server.
    pub(crate) fn set(&self, controller: &Controller, more: &[&str]) -> Result<CtlOutput> {
        let (port, ca) = (self.port.to_string(), controller.ca().display().to_string());
        let mut args =
            vec!["mail", "set", "--host", "127.0.0.1", "--port", &port, "--from", "LAMPAS <lampas@fleet.test>"];
        args.extend(["--password-file", "-", "--ca-file", &ca]);
        if !more.contains(&"--user") {
            args.extend(["--user", "lampas"]);
        }
        args.extend(more);
        controller.ctl_with(&args, &format!("{PASSWORD}\n"))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Checks that the password stands nowhere but sealed.
fn keeps_the_password(controller: &Controller) -> Result<()> {
    for (what, text) in [
        ("the log", fs::read_to_string(controller.path("controller.log"))?),
        ("the audit", controller.ctl_ok(&["audit", "--output", "json"])?.out),
        ("the settings", controller.ctl_ok(&["mail", "show", "--output", "json"])?.out),
        ("the deliveries", controller.ctl_ok(&["mail", "log", "--output", "json"])?.out),
    ] {
        assert!(!text.contains(PASSWORD), "{what} holds the password");
    }
    for entry in fs::read_dir(controller.data())?.flatten().filter(|e| e.path().is_file()) {
        let bytes = fs::read(entry.path())?;
        let found = bytes.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes());
        assert!(!found, "{} holds the password", entry.path().display());
    }
    Ok(())
}

#[test]
fn a_gate_that_says_no_is_told_by_mail() -> Result<()> {
    let controller = Controller::start()?;
    let server = MailServer::start(&controller, "starttls")?;
    let set = server.set(&controller, &[])?;
    assert_eq!(set.code, 0, "{set:#?}");
    controller.ctl_ok(&["mail", "account", "--address", "admin@fleet.test"])?;
    let tested = controller.ctl(&["mail", "test"])?;
    assert!(tested.code == 0 && tested.out.contains("250 2.0.0 taken as 42"), "{tested:#?}");

    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let gate = "/bin/sh -c 'echo \"queue <full> at 1234\"; exit 3'";
    let manifest = "[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"new\\n\"\n";
    let applied = controller
        .ctl_with(&["apply", "-f", "-", "--canary", "1", "--gate", gate, "--gate-user", "root", "--wait"], manifest)?;
    assert_eq!(applied.code, 2, "{applied:#?}");

    let mail = server.wait(&controller, 2).swap_remove(1);
    assert_eq!((&mail["from"], &mail["to"][0]), (&"lampas@fleet.test".into(), &"admin@fleet.test".into()));
    assert!(mail["is_encrypted"] == true && mail["is_signed_in"] == true, "{mail:#}");
    let head = |name: &str| mail["headers"][name].as_str().unwrap_or_default().to_owned();
    assert!(head("subject").starts_with("Change 1: the rollout was reverted - "), "{mail:#}");
    assert_eq!(head("auto-submitted"), "auto-generated");
    assert_eq!(head("list-id"), "<rollout.lampas.127.0.0.1>");
    assert!(!head("date").is_empty() && head("message-id").ends_with("@fleet.test>"), "{mail:#}");
    let (text, html) = (mail["text"].as_str().unwrap_or_default(), mail["html"].as_str().unwrap_or_default());
    let link = format!("{}/changes/1", controller.url());
    for line in ["wave 1 of 2", "web-", "exit status 3", "queue <full> at 1234", &link] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(html.contains("queue &lt;full&gt; at 1234") && html.contains(&format!("href=\"{link}\"")), "{html}");

    let log = wait_for("the log to say so", || {
        let log = controller.json(&["mail", "log"]).map_err(|e| e.to_string())?;
        if log[0]["state"] == "sent" { Ok(log) } else { Err(log.to_string()) }
    });
    assert_eq!((&log[0]["kind"], &log[0]["login"]), (&"rollout".into(), &"admin".into()), "{log:#}");
    keeps_the_password(&controller)
}

#[test]
fn a_server_that_is_not_the_one_gets_nothing() -> Result<()> {
    let controller = Controller::start()?;
    let server = MailServer::start(&controller, "starttls")?;
    assert_eq!(server.set(&controller, &[])?.code, 0);
    // The password was given for this server in this way: it goes nowhere else.
    let elsewhere = controller.ctl(&["mail", "set", "--port", "2525"])?;
    assert!(elsewhere.code == 1 && elsewhere.err.contains("give the password again"), "{elsewhere:#?}");
    let plain = controller.ctl_with(&["mail", "set", "--security", "none", "--host", "10.0.0.9", "--user", ""], "")?;
    assert!(plain.code == 1 && plain.err.contains("without TLS"), "{plain:#?}");
    let hidden = controller.ctl(&["mail", "set", "--host", "169.254.169.254"])?;
    assert!(hidden.code == 1 && hidden.err.contains("can't be a mail server"), "{hidden:#?}");

    // A certificate of nobody's that is known here.
    let args = ["mail", "set", "--system-authorities", "--password-file", "-"];
    assert_eq!(controller.ctl_with(&args, &format!("{PASSWORD}\n"))?.code, 0);
    let refused = controller.ctl(&["mail", "test", "--to", "admin@fleet.test"])?;
    assert!(refused.code == 2 && refused.out.contains("certificate"), "{refused:#?}");
    assert_eq!(server.set(&controller, &["--user", "somebody-else"])?.code, 0);
    let refused = controller.ctl(&["mail", "test", "--to", "admin@fleet.test"])?;
    assert!(refused.code == 2 && refused.out.contains("lets us sign in"), "{refused:#?}");
    assert!(server.messages().is_empty());
    assert_eq!(server.set(&controller, &[])?.code, 0);
    server.says("refuse")?;
    let refused = controller.ctl(&["mail", "test", "--to", "nobody@fleet.test"])?;
    assert!(refused.code == 2 && refused.out.contains("no such mailbox here"), "{refused:#?}");
    let injected = controller.ctl(&["mail", "test", "--to", "a@b.test\r\nRCPT TO:<eve@b.test>"])?;
    assert!(injected.code == 1 && injected.err.contains("is no address"), "{injected:#?}");
    keeps_the_password(&controller)
}

#[test]
fn what_waits_outlives_the_server_and_the_controller() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut server = MailServer::start(&controller, "tls")?;
    assert_eq!(server.set(&controller, &["--security", "tls"])?.code, 0);
    controller.ctl_ok(&["mail", "account", "--address", "admin@fleet.test"])?;
    let preview = controller.ctl_ok(&["mail", "morning", "--preview"])?.out;
    assert!(preview.contains("Subject: LAMPAS Test: all is well"), "{preview}");
    server.stop();
    controller.ctl_ok(&["mail", "morning"])?;
    let mail = wait_for("the failure to be told", || {
        let mail = controller.json(&["mail", "show"]).map_err(|e| e.to_string())?;
        if mail["trouble"]["reason"].is_string() { Ok(mail) } else { Err(mail.to_string()) }
    });
    assert_eq!(mail["waiting"], 1, "{mail:#}");
    let overview = controller.json(&["overview"])?;
    let told = overview["attention"].as_array().and_then(|all| all.iter().find(|a| a["kind"] == "mail_failing"));
    assert!(
        told.is_some_and(|t| t["text"].as_str().is_some_and(|t| t.contains("can't be connected to"))),
        "{overview:#}"
    );
    controller.kill();
    server.resume()?;
    controller.resume()?;
    let found = server.wait(&controller, 1);
    assert!(found[0]["is_encrypted"] == true && found[0]["is_signed_in"] == true, "{found:#?}");
    assert_eq!(found[0]["headers"]["list-id"], "<morning.lampas.127.0.0.1>");
    wait_for("the log to say so", || {
        let log = controller.json(&["mail", "log"]).map_err(|e| e.to_string())?;
        if log[0]["state"] == "sent" { Ok(()) } else { Err(log.to_string()) }
    });
    let mail = controller.json(&["mail", "show"])?;
    assert!(mail["trouble"].is_null() && mail["waiting"] == 0, "{mail:#}");
    assert_eq!(server.messages().len(), 1, "once");
    keeps_the_password(&controller)
}

fn file(name: &str) -> String {
    format!("[[file]]\nname = \"{name}\"\nscope = \"role:app\"\npath = \"/etc/{name}\"\ncontent = \"new\\n\"\n")
}

/// Returns to whom messages of a kind went, by the name before the `@`, sorted.
fn recipients(messages: &[Value], kind: &str) -> Vec<String> {
    let id = format!("<{kind}.lampas.127.0.0.1>");
    let of_kind = messages.iter().filter(|m| m["headers"]["list-id"] == id);
    let to = of_kind.filter_map(|m| m["to"][0].as_str()?.split('@').next().map(str::to_owned));
    let mut to: Vec<String> = to.collect();
    to.sort();
    to
}

/// Waits until as many messages of a kind were taken.
fn wait_kind(server: &MailServer, controller: &Controller, kind: &str, wanted: &[&str]) {
    wait_for(&format!("{kind} to {wanted:?}"), || {
        let found = recipients(&server.messages(), kind);
        if found == wanted { Ok(()) } else { Err(format!("{found:?}: {:#?}", controller.ctl(&["mail", "log"]))) }
    });
}

/// Who is written to: dana and erik may approve, vera may look; erik's mailbox is gone, olga's is full.
fn people(controller: &Controller) -> Result<()> {
    let admin = Session::admin(controller)?;
    admin.ok("PUT", "/session/mail", &json!({"address": "admin@fleet.test"}))?;
    let people = [
        ("dana", "operator", "dana"),
        ("erik", "operator", "gone"),
        ("olga", "operator", "full"),
        ("vera", "viewer", "vera"),
    ];
    for (login, preset, mailbox) in people {
        let they = Session::new(&admin, login, preset)?;
        they.ok("PUT", "/session/mail", &json!({"address": format!("{mailbox}@fleet.test")}))?;
        if login == "dana" {
            // She makes a plan of her own afterwards.
            let draft = json!({"put": {"name": "before", "scope": "role:app",
                "body": {"kind": "file", "path": "/etc/before", "content": "hers\n"}}});
            they.ok("POST", "/changes", &json!({"drafts": [draft]}))?;
        }
    }
    Ok(())
}

/// Waits until what the server took is known to be sent: what isn't is sent again after a death.
fn all_settled(controller: &Controller) {
    wait_for("nothing to be on its way", || {
        let log = controller.json(&["mail", "log", "--token-file", "token"]).map_err(|e| e.to_string())?;
        let is_queued = log.as_array().into_iter().flatten().any(|d| d["state"] == "queued");
        if is_queued { Err(log.to_string()) } else { Ok(()) }
    });
}

#[test]
fn slow_plans_that_wait_are_told_to_who_may_approve_and_mornings_come_once_a_day() -> Result<()> {
    let mut controller = Controller::start()?;
    let server = MailServer::start(&controller, "starttls")?;
    let _node = controller.node("web-1", "app")?;
    people(&controller)?;
    let token = ["token", "api", "--user", "admin", "--name", "t", "--preset", "administrator", "--grave"];
    let token = controller.command(&[&token[..], &["--ttl-secs", "864000"]].concat())?;
    fs::write(controller.path("token"), token.trim())?;
    let ask = |controller: &Controller, name: &str| -> Result<()> {
        let args = ["--token-file", "token", "apply", "-f", "-", "--allow-unplanned"];
        let asked = controller.ctl_with(&args, &file(name))?;
        ensure!(asked.code == 4, "{asked:#?}");
        Ok(())
    };

    // A plan waits when its nodes become protected, another when it is made: each goes to who may approve it, so that
    // nobody hears of their own, and mailboxes that take nothing keep nothing from others.
    assert_eq!(server.set(&controller, &[])?.code, 0);
    controller.ctl_ok(&["protect", "role:app", "-m", "customers"])?;
    wait_kind(&server, &controller, "approval", &["admin"]);
    ask(&controller, "first")?;
    wait_kind(&server, &controller, "approval", &["admin", "dana"]);
    let told = server.messages();
    let to_dana = told.iter().find(|m| m["to"][0] == "dana@fleet.test").context("hers")?;
    let (subject, text) = (&to_dana["headers"]["subject"], to_dana["text"].as_str().unwrap_or_default());
    assert!(subject.as_str().is_some_and(|s| s.starts_with("Change 2 waits for your approval - ")), "{to_dana:#}");
    for part in ["role:app: customers", &format!("{}/changes/2", controller.url()), "lampasctl change show 2"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    wait_for("what became of the others", || {
        let log = controller.json(&["mail", "log", "--token-file", "token"]).map_err(|e| e.to_string())?;
        let of = |login: &str, state: &str, answer: &str| {
            let rows = log.as_array().into_iter().flatten().filter(|d| d["login"] == login);
            rows.filter(|d| d["state"] == state && d["answer"].as_str().is_some_and(|a| a.contains(answer))).count()
        };
        let found =
            (of("erik", "abandoned", "no such mailbox"), of("olga", "failed", "is full"), of("vera", "sent", ""));
        if found == (2, 2, 0) { Ok(()) } else { Err(format!("{found:?}: {log:#}")) }
    });

    // The morning's time has passed when it is chosen: there is none today.
    let minute = clock::now().0 / 60_000 % (24 * 60);
    let at = format!("{:02}:{:02}", minute / 60, minute % 60);
    controller.ctl_ok(&["mail", "set", "--morning", &at, "--zone", "UTC", "--everybody"])?;
    // Who only looks tells nobody of it.
    let look = ["--token-file", "token", "apply", "-f", "-", "--plan", "--allow-unplanned"];
    let looked = controller.ctl_with(&look, &file("look"))?;
    ensure!(looked.code == 10 && looked.err.contains("needs an approval for role:app"), "{looked:#?}");
    ask(&controller, "second")?;
    wait_kind(&server, &controller, "approval", &["admin", "dana", "dana"]);
    assert_eq!(recipients(&server.messages(), "morning"), Vec::<String>::new());

    // On the next two there is one each, whatever is restarted after it.
    let everybody = ["admin", "dana", "vera"];
    for day in [1, 2] {
        all_settled(&controller);
        controller.kill();
        controller.set_clock_off(day);
        controller.resume()?;
        let mut so_far: Vec<&str> = everybody.repeat(day as usize);
        so_far.sort_unstable();
        wait_kind(&server, &controller, "morning", &so_far);
        let mut approvals = recipients(&server.messages(), "approval");
        all_settled(&controller);
        controller.kill();
        controller.resume()?;
        // When the second of these is told of, what the start found due has been written.
        for name in ["third", "fourth"] {
            ask(&controller, &format!("{name}-{day}"))?;
            approvals.push("dana".to_owned());
            let wanted: Vec<&str> = approvals.iter().map(String::as_str).collect();
            wait_kind(&server, &controller, "approval", &wanted);
        }
        assert_eq!(recipients(&server.messages(), "morning"), so_far, "day {day}");
    }
    keeps_the_password(&controller)
}

#[test]
fn slow_a_server_that_stalls_holds_nothing_else_up() -> Result<()> {
    let controller = Controller::start()?;
    let server = MailServer::start(&controller, "starttls")?;
    assert_eq!(server.set(&controller, &[])?.code, 0);
    server.says("stall")?;
    controller.ctl_ok(&["mail", "account", "--address", "admin@fleet.test"])?;
    controller.ctl_ok(&["mail", "morning"])?;
    let minutes = std::time::Duration::from_secs(300);
    wait_within(minutes, "the stall to be told", || {
        let log = controller.json(&["mail", "log"]).map_err(|e| e.to_string())?;
        let is_told = log[0]["answer"].as_str().is_some_and(|a| a.contains("no answer within 60 s"));
        if log[0]["state"] == "failed" && is_told { Ok(()) } else { Err(log.to_string()) }
    });
    server.says("take")?;
    let found = wait_within(minutes, "the mail", || {
        let found = server.messages();
        if found.is_empty() { Err(()) } else { Ok(found) }
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    Ok(())
}
