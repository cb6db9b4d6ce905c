//! What operators and strangers send by mistake or on purpose: refused with the field and the remedy, and contained.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, HttpAnswer, Node, wait_for};
use serde_json::{Value, json};

const CHANGES: &str = "/api/v1/changes";

fn token(controller: &Controller) -> Result<String> {
    let made =
        controller.ctl_ok(&["api-token", "create", "test", "--preset", "administrator", "--grave", "--quiet"])?;
    Ok(made.out.trim().to_owned())
}

fn put(name: &str, scope: &str, body: &Value) -> Value {
    json!({"drafts": [{"put": {"name": name, "scope": scope, "body": body}}], "apply": true})
}

fn file(path: &str, content: &str) -> Value {
    json!({"kind": "file", "path": path, "content": content})
}

/// Asserts that a call was refused at a field, with a reason that says `why`.
fn refused(answer: &HttpAnswer, status: u16, pointer: &str, why: &str) {
    let problem = &answer.body;
    assert_eq!(answer.status, status, "{problem}");
    assert_eq!(problem["fields"][0]["pointer"], pointer, "{problem}");
    assert!(problem["fields"][0]["detail"].as_str().is_some_and(|d| d.contains(why)), "{problem}");
    assert!(problem["request"].as_str().is_some_and(|r| !r.is_empty()), "{problem}");
}

#[test]
fn wrong_objects_name_their_field() -> Result<()> {
    let controller = Controller::start()?;
    let token = token(&controller)?;
    let cron = |schedule: &str, command: &str| json!({"kind": "cron", "schedule": schedule, "command": command});
    let hosts = |address: &str, name: &str| json!({"kind": "hosts", "address": address, "names": [name]});
    let body = |f: &str| format!("/drafts/0/put/body/{f}");
    let cases = [
        (put("x", "fleet", &file("/etc/../shadow", "")), body("path"), "must not contain"),
        (put("x", "fleet", &file("/etc/a\u{0}b", "")), body("path"), "U+0000"),
        (put("x", "fleet", &file("etc/a", "")), body("path"), "must begin with '/'"),
        (put("x", "fleet", &file("/etc/a\u{202e}b", "")), body("path"), "U+202E"),
        (put("x", "fleet", &file("/etc/a\u{1b}[31m", "")), body("path"), "U+001B"),
        (put("x", "fleet", &file("/etc/lampas/policy.toml", "")), body("path"), "can't be managed"),
        (put("x", "fleet", &cron("61 * * * *", "true")), body("schedule"), "not in 0 to 59"),
        (put("x", "fleet", &cron("* * *", "true")), body("schedule"), "cron needs 5"),
        (put("x", "fleet", &hosts("10.0.0.300", "a")), body("address"), "no IPv4 or IPv6 address"),
        (put("$(reboot)", "fleet", &file("/etc/x", "")), "/drafts/0/put/name".into(), "'$' is not allowed"),
        (put("a;b", "fleet", &file("/etc/x", "")), "/drafts/0/put/name".into(), "';' is not allowed"),
        (put("x", "role:a b", &file("/etc/x", "")), "/drafts/0/put/scope".into(), "' ' is not allowed"),
        (put("x", "planet", &file("/etc/x", "")), "/drafts/0/put/scope".into(), "scope"),
        (json!({"drafts": [], "apply": true}), "/drafts".into(), "1 to 10000"),
        (json!({"drafts": [{"put": null}]}), "/drafts/0".into(), "either `put` or `delete`"),
        (json!({"drafts": [], "aply": true}), "/aply".into(), "unknown field"),
    ];
    for (change, pointer, why) in cases {
        let answer = controller.send(&token, "POST", CHANGES, change.to_string().as_bytes())?;
        refused(&answer, 422, &pointer, why);
    }
    let colour = json!({"kind": "file", "path": "/etc/x", "content": "", "colour": "red"});
    let answer = controller.send(&token, "POST", CHANGES, put("x", "fleet", &colour).to_string().as_bytes())?;
    refused(&answer, 422, &body("colour"), "unknown field");
    for (bytes, what) in [
        (&b"{\"drafts\": [\xff\xfe]}"[..], "invalid UTF-8"),
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"", "nothing"),
        (b"{\"drafts\": []} x", "something behind"),
        (b"{\"drafts\": [\"\\ud800\"]}", "half a surrogate pair"),
    ] {
        let answer = controller.send(&token, "POST", CHANGES, bytes)?;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("malformed")), "{what}: {answer:?}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = controller.send(&token, "POST", "/api/v1/check/spec", deep.as_bytes())?;
    assert_eq!(answer.status, 400, "a thousand levels don't break the stack: {answer:?}");
    let list = controller.json(&["object", "list"])?;
    assert_eq!(list["items"], json!([]), "nothing of it was taken");
    Ok(())
}

#[test]
fn wrong_manifests_name_their_file_and_line() -> Result<()> {
    let controller = Controller::start()?;
    let check = |text: &[u8], expected: &str| -> Result<()> {
        fs::write(controller.path("bad.toml"), text)?;
        let refused = controller.ctl(&["apply", "-f", "bad.toml"])?;
        assert_eq!(refused.code, 1, "{refused:#?}");
        assert!(refused.err.contains("bad.toml") && refused.err.contains(expected), "{expected:?} in {refused:#?}");
        assert!(!refused.err.contains('\u{1b}') && !refused.err.contains('\u{202e}'), "is escaped: {refused:#?}");
        Ok(())
    };
    check(b"[[file]\n", "bad.toml:1")?;
    check(b"[[fiel]]\nname = \"x\"\n", "fiel")?;
    check(b"[[file]]\nname = \"x\"\nscope = \"fleet\"\npath = \"/etc/../x\"\ncontent = \"\"\n", "bad.toml:4: path")?;
    check(b"[[file]]\nname = \"x\"\nscope = \"fleet\"\npath = \"/etc/x\"\ncontent = \"\"\ncolour = 1\n", "colour")?;
    check(b"[[file]]\nname = \"x\xff\"\n", "UTF-8")?;
    check(
        "[[file]]\nname = \"a\u{202e}b\"\nscope = \"fleet\"\npath = \"/etc/x\"\ncontent = \"\"\n".as_bytes(),
        "name",
    )?;
    check(b"[[cron]]\nname = \"a.b\"\nscope = \"fleet\"\nschedule = \"* * * * *\"\ncommand = \"true\"\n", "name")?;
    check(b"[[cron]]\nname = \"a\"\nscope = \"fleet\"\nschedule = \"@hourly \"\ncommand = \"a\\nb\"\n", "command")?;
    check(b"[[hosts]]\nname = \"a\"\nscope = \"fleet\"\naddress = \"10.1.1\"\nnames = [\"a\"]\n", "address")?;
    check(
        b"[[hosts]]\nname = \"a\"\nscope = \"fleet\"\naddress = \"10.1.1.1\"\nnames = [\"a b\"]\n",
        "bad.toml:5: names",
    )?;
    symlink("/etc/shadow", controller.path("link.toml"))?;
    let missing = controller.ctl(&["apply", "-f", "nowhere.toml"])?;
    assert!(missing.code != 0 && missing.err.contains("nowhere.toml"), "{missing:#?}");
    Ok(())
}

#[test]
fn long_bodies_are_refused_in_bounded_memory() -> Result<()> {
    let mut controller = Controller::start()?;
    let token = token(&controller)?;
    let peak = |pid: nix::unistd::Pid| -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("a line VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let pid = controller.process().pid();
    let before = peak(pid)?;
    let big = controller.path("big");
    fs::File::create(&big)?.set_len(100 << 20)?;
    let upload = big.display().to_string();
    for more in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
        let args = [&["--upload-file", &upload, "--header", "Content-Type: application/json"], more].concat();
        let answer = controller.https(&token, "POST", CHANGES, &args)?;
        assert_eq!((answer.status, &answer.body["code"]), (413, &json!("too_large")), "{answer:?}");
        let stranger = controller.https("", "POST", "/api/v1/session", &args)?;
        assert_eq!(stranger.status, 413, "{stranger:?}");
    }
    let grown = peak(pid)? - before;
    assert!(grown < 64 << 10, "four uploads of 100 MiB took {grown} KiB at most");

    let script = format!("#!/bin/sh\n{}", "echo a line of a long script\n".repeat(10_000));
    let node = controller.node("web-1", "app")?;
    let manifest = format!("[[script]]\nname = \"long\"\nscope = \"role:app\"\ncontent = '''\n{script}'''\n");
    controller.apply(&manifest)?;
    assert_eq!(node.read("/usr/local/bin/long")?, script);
    Ok(())
}

#[test]
fn a_refusal_arrives_although_nobody_read_the_body() -> Result<()> {
    let controller = Controller::start()?;
    let token = token(&controller)?;
    let json = ["--http2", "--header", "Content-Type: application/json", "--data", "{\"drafts\": []}"];
    // An answer that breaks the request's stream is lost one time in ten, so that one request would show nothing.
    for _ in 0..60 {
        assert_eq!(controller.https(&token, "PUT", CHANGES, &json)?.status, 405);
        assert_eq!(controller.https("nobody", "POST", CHANGES, &json)?.status, 401);
    }
    Ok(())
}

#[test]
fn ties_name_both_objects_and_a_node() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    let object = |name: &str, scope: &str| {
        format!("[[file]]\nname = \"{name}\"\nscope = \"{scope}\"\npath = \"/etc/motd\"\ncontent = \"{name}\\n\"\n")
    };
    let same = controller.ctl_with(&["apply", "-f", "-"], &(object("one", "fleet") + &object("two", "fleet")))?;
    assert!(same.code == 1 && same.err.contains("one") && same.err.contains("two"), "{same:#?}");
    controller.ctl_ok(&["node", "set", "web-1", "--role", "app", "--role", "web"])?;
    let tied = controller.ctl_with(&["apply", "-f", "-"], &(object("one", "role:app") + &object("two", "role:web")))?;
    assert_eq!(tied.code, 1, "{tied:#?}");
    for part in ["one", "two", "web-1", "/etc/motd"] {
        assert!(tied.err.contains(part), "{part} in {tied:#?}");
    }
    Ok(())
}

#[test]
fn of_two_editors_the_slower_is_told_who_was_faster() -> Result<()> {
    let controller = Controller::start()?;
    let admin = token(&controller)?;
    let eve = r#"{"login":"eve","preset":"operator","password":"another long password"}"#;
    assert_eq!(controller.send(&admin, "POST", "/api/v1/users", eve.as_bytes())?.status, 201);
    let eve = controller.command(&["token", "api", "--user", "eve", "--name", "t", "--preset", "operator"])?;
    let save = |who: &str, text: &str, base: Option<u64>| {
        let mut change = put("motd", "fleet", &file("/etc/motd", text));
        change["drafts"][0]["base"] = json!(base);
        controller.send(who.trim(), "POST", CHANGES, change.to_string().as_bytes())
    };
    assert_eq!(save(&admin, "one\n", None)?.status, 201);
    assert_eq!(save(&eve, "two\n", Some(1))?.status, 201);
    let slower = save(&admin, "three\n", Some(1))?;
    assert_eq!((slower.status, &slower.body["code"]), (409, &json!("conflict")), "{slower:?}");
    assert!(slower.body["detail"].as_str().is_some_and(|d| d.contains("eve")), "{slower:?}");
    // A base that is mistyped must not turn into "whatever there is".
    let mut mistyped = put("motd", "fleet", &file("/etc/motd", "four\n"));
    mistyped["drafts"][0]["bsae"] = json!(1);
    let answer = controller.send(&admin, "POST", CHANGES, mistyped.to_string().as_bytes())?;
    refused(&answer, 422, "/drafts/0/bsae", "unknown field");
    Ok(())
}

#[test]
fn tokens_that_must_not_let_in_say_why() -> Result<()> {
    let controller = Controller::start()?;
    let enrol = |args: &[&str], name: &str| -> Result<String> {
        let args = [&["token", "create", "--role", "app", "--quiet"], args].concat();
        let token = controller.ctl_ok(&args)?.out;
        let error = Node::prepare(name)?.enrol(controller.port(), &token);
        Ok(error.err().map(|e| e.to_string()).unwrap_or_default())
    };
    let elsewhere = enrol(&["--cidr", "192.0.2.0/24"], "web-1")?;
    assert!(elsewhere.contains("127.0.0.1"), "{elsewhere}");
    for (args, why) in [
        (&["--ttl", "10s"][..], "ttl"),
        (&["--ttl", "900d"], "ttl"),
        (&["--cidr", "300.0.0.0/8"], "cidr"),
        (&["--uses", "0"], "uses"),
        (&["--node", "a;b"], "';'"),
    ] {
        let wrong = controller.ctl(&[&["token", "create", "--role", "app"], args].concat())?;
        assert!(wrong.code != 0 && wrong.err.contains(why), "{why}: {wrong:#?}");
    }
    let garbage = Node::prepare("web-2")?.enrol(controller.port(), "no token at all");
    assert!(garbage.is_err_and(|e| e.to_string().contains("token")));
    Ok(())
}

#[test]
fn a_certificate_of_another_fleet_opens_nothing() -> Result<()> {
    let (controller, mut other) = (Controller::start()?, Controller::start()?);
    let mut stranger = other.node("web-1", "app")?;
    stranger.kill();
    // The same node, told to dial the other fleet's controller.
    let config = stranger.root().join("etc/lampas/agent.toml");
    let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    assert!(text.contains(&other.port().to_string()), "{text}");
    fs::write(&config, text.replace(&other.port().to_string(), &controller.port().to_string()))?;
    other.kill();
    stranger.resume()?;
    let (code, said) = wait_for("the check to fail", || match stranger.agent(&["check"]) {
        Ok((0, said)) => Err(said),
        Ok(other) => Ok(other),
        Err(e) => Err(e.to_string()),
    });
    assert!(code != 0 && said.contains("of another fleet"), "{said}");
    let nodes = controller.json(&["node", "list"])?;
    assert_eq!(nodes["items"], json!([]), "{nodes}");
    Ok(())
}

#[test]
fn hostile_facts_of_a_node_are_bounded_and_move_no_cursor() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = Node::prepare("web-1")?;
    let hostile = format!("evil\u{202e}\u{2066}\u{1b}[2J\u{9b}31m{}", "x".repeat(100_000));
    fs::write(node.root().join("etc/os-release"), format!("PRETTY_NAME=\"{hostile}\"\n"))?;
    fs::write(node.root().join("etc/timezone"), &hostile)?;
    fs::write(node.root().join("etc/hostname"), format!("{hostile}\n"))?;
    controller.enrol(&node, "app")?;
    node.resume()?;
    controller.wait_online("web-1");
    let shown = wait_for("its facts", || {
        let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        let is_there = shown["facts"]["os"].as_str().is_some_and(|os| os.starts_with("evil"));
        if is_there { Ok(shown) } else { Err(shown.to_string()) }
    });
    let tricks = ['\u{202e}', '\u{2066}', '\u{1b}', '\u{9b}'];
    for (fact, most) in [("os", 128), ("hostname", 253), ("time_zone", 64)] {
        let text = shown["facts"][fact].as_str().context("a text")?;
        assert!(text.chars().count() <= most && !text.contains(tricks), "{fact}: {text:?}");
    }
    for args in [&["node", "show", "web-1"][..], &["node", "list"], &["audit"]] {
        let printed = controller.ctl_ok(args)?.out;
        assert!(!printed.contains(tricks), "{args:?}: {printed:?}");
    }
    Ok(())
}
