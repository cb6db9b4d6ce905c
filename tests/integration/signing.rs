//! Root code under operators' keys: the node alone decides, by keys that no controller can put there.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use lampas_tests::{Controller, Node, wait_for};

const PLACE: &str = "/etc/cron.d/site";

fn manifest(text: &str) -> String {
    format!(
        "[[file]]\nname = \"site\"\nscope = \"fleet\"\npath = \"{PLACE}\"\ncontent = \"{text}\\n\"\ndrift = \"repair\"\n"
    )
}

fn key(controller: &Controller, name: &str) -> Result<PathBuf> {
    let path = controller.path(name);
    let made = Command::new("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status()?;
    ensure!(made.success(), "no key");
    Ok(path)
}

/// Lets a node take root code only with a signature of this key.
fn wants_signatures(node: &Node, key: &Path) -> Result<()> {
    let dir = node.root().join("etc/lampas");
    std::fs::create_dir_all(&dir)?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    for (name, text) in
        [("allowed_signers", format!("ann@example.com {public}")), ("policy.toml", "require_signature = true\n".into())]
    {
        let beside = dir.join(format!(".{name}"));
        std::fs::write(&beside, text)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(beside, dir.join(name))?;
    }
    Ok(())
}

/// Makes a change that is refused, and returns its number.
fn refused(controller: &Controller, text: &str) -> Result<String> {
    let planned = controller.ctl_with(&["--output", "json", "apply", "-f", "-", "--plan"], &manifest(text))?;
    let change: serde_json::Value = serde_json::from_str(&planned.out)?;
    let number = change["number"].to_string();
    ensure!(change["plan"]["unsigned"] == 1, "{change:#}");
    let refused = controller.ctl(&["change", "apply", &number])?;
    ensure!(refused.code == 1 && refused.err.contains("wants an operator's signature"), "{refused:#?}");
    Ok(number)
}

#[test]
fn root_code_lands_with_a_signature_and_stays_without() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let (ann, eve) = (key(&controller, "ann")?, key(&controller, "eve")?);
    wants_signatures(&node, &ann)?;
    let (ann, eve) = (ann.display().to_string(), eve.display().to_string());
    let first = refused(&controller, "one")?;
    assert!(!node.exists(PLACE));

    // Whoever is not on the node's list may sign as much as he likes.
    let foreign = controller.ctl(&["change", "sign", &first, "--key", &eve, "--yes"])?;
    assert_eq!(foreign.code, 2, "{foreign:#?}");
    assert!(foreign.out.contains("is not in /etc/lampas/allowed_signers"), "{foreign:#?}");
    let signed = controller.ctl(&["change", "sign", &first, "--key", &ann, "--yes"])?;
    assert_eq!(signed.code, 0, "{signed:#?}");
    assert!(signed.out.contains("| one"), "what is signed is shown: {signed:#?}");
    controller.ctl_ok(&["change", "apply", &first, "--wait"])?;
    assert_eq!(node.read(PLACE)?, "one\n");

    // Repairs and restarts need nobody.
    node.write(PLACE, "by hand\n")?;
    wait_for("the repair", || if node.read(PLACE)? == "one\n" { Ok(()) } else { Err(anyhow::anyhow!("not yet")) });
    node.kill();
    node.write(PLACE, "by hand again\n")?;
    node.resume()?;
    wait_for("the repair", || if node.read(PLACE)? == "one\n" { Ok(()) } else { Err(anyhow::anyhow!("not yet")) });

    // Another content needs another signature, also the way back.
    let second = refused(&controller, "two")?;
    controller.ctl_ok(&["change", "sign", &second, "--key", &ann, "--yes"])?;
    controller.ctl_ok(&["change", "apply", &second, "--wait"])?;
    assert_eq!(node.read(PLACE)?, "two\n");
    let back = refused(&controller, "one")?;

    // Signed elsewhere: the text goes out, the signature comes back.
    let text = controller.ctl_ok(&["change", "sign", &back, "--print"])?.out;
    let (text_file, signature) = (controller.path("text"), controller.path("text.sig"));
    std::fs::write(&text_file, &text)?;
    let made = Command::new("/usr/bin/ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "lampas-root-code", "-f", &ann])
        .arg(&text_file)
        .status()?;
    ensure!(made.success(), "not signed");
    let (text_file, signature) = (text_file.display().to_string(), signature.display().to_string());
    controller.ctl_ok(&["change", "sign", &back, "--text", &text_file, "--signature", &signature])?;
    let again = controller.ctl(&["change", "sign", &back, "--text", &text_file, "--signature", &signature])?;
    assert!(again.code != 0 && again.err.contains("was used"), "{again:#?}");
    controller.ctl_ok(&["change", "apply", &back, "--wait"])?;
    assert_eq!(node.read(PLACE)?, "one\n");

    // What goes is signed as well, and other things go on without.
    let harmless = "[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"hello\"\n";
    controller.apply(harmless)?;
    let run = controller.ctl(&["run", "--on", "node:web-1", "--", "true"])?;
    assert!(run.code != 0, "it waits for a signature, or is refused: {run:#?}");
    Ok(())
}

#[test]
fn a_policy_is_told_and_shown_beside_the_others() -> Result<()> {
    let controller = Controller::start()?;
    let one = controller.node("web-1", "app")?;
    let _two = controller.node("web-2", "app")?;
    let _three = controller.node("web-3", "app")?;
    let ann = key(&controller, "ann")?;
    wants_signatures(&one, &ann)?;
    // The next look finds it: a change of its state wakes the agent.
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    let told = wait_for("the policy", || {
        let all = controller.json(&["node", "policy"]).map_err(|e| e.to_string())?;
        let first = all[0].clone();
        if first["policy"]["require_signature"] == true { Ok(all) } else { Err(all.to_string()) }
    });
    assert_eq!(told[0]["policy"]["signers"][0], "ann@example.com", "{told:#}");
    assert_eq!((&told[0]["differs"], &told[1]["differs"]), (&true.into(), &false.into()), "{told:#}");
    let shown = controller.ctl_ok(&["node", "policy"])?.out;
    assert!(shown.contains("with a signature"), "{shown}");
    Ok(())
}

#[test]
fn nodes_countersign_the_audit_and_find_a_chain_that_was_rewritten() -> Result<()> {
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    wait_for("a signed head", || {
        let heads = controller.json(&["audit", "heads"]).map_err(|e| e.to_string())?;
        if heads.as_array().is_some_and(|h| !h.is_empty()) { Ok(()) } else { Err(heads.to_string()) }
    });
    let export = controller.path("audit.jsonl").display().to_string();
    controller.ctl_ok(&["audit", "export", "--to", &export])?;
    let whole = controller.ctl_ok(&["audit", "verify", &export])?;
    assert!(whole.out.contains("with 1 signed head"), "{whole:#?}");
    let live = controller.ctl_ok(&["audit", "verify"])?;
    assert!(live.out.contains("whole"), "{live:#?}");
    // What the node itself keeps says the same, without the controller.
    let (code, kept) = node.agent(&["heads"])?;
    assert_eq!(code, 0, "{kept}");
    let own = controller.path("own.heads");
    std::fs::write(&own, &kept)?;
    let own = own.display().to_string();
    controller.ctl_ok(&["audit", "verify", &export, "--heads", &own])?;

    // Somebody who owns the store rewrites it by hand, with hashes that are right.
    controller.kill();
    rewrite(&controller)?;
    controller.resume()?;
    let found = controller.ctl(&["audit", "verify"])?;
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.err.contains("rewritten"), "in itself it is whole: {found:#?}");
    let forged = controller.path("forged.jsonl").display().to_string();
    controller.ctl_ok(&["audit", "export", "--to", &forged])?;
    let found = controller.ctl(&["audit", "verify", &forged, "--heads", &own])?;
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.out.contains("web-1 saw entry"), "{found:#?}");
    Ok(())
}

/// Rewrites the first entry of the audit and every hash after it.
fn rewrite(controller: &Controller) -> Result<()> {
    use lampas_shared::audit::chain_hash;
    let store = controller.data().join("lampas.db");
    let sql = |text: &str| -> Result<String> {
        let output = Command::new("/usr/bin/sqlite3")
            .args(["-separator", "\u{1}", "-newline", "\u{2}"])
            .arg(&store)
            .arg(text)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let rows =
        sql("SELECT seq, at_ms, principal, from_addr, act, object, reason, result, details FROM audit ORDER BY seq")?;
    let (mut prev, mut statements) = (String::new(), String::from("BEGIN;"));
    for row in rows.split('\u{2}').filter(|r| !r.is_empty()) {
        let mut fields: Vec<&str> = row.split('\u{1}').collect();
        let (seq, at): (u64, i64) = (fields[0].parse()?, fields[1].parse()?);
        if seq == 1 {
            fields[2] = "user:nobody";
        }
        let texts = [fields[2], fields[3], fields[4], fields[5], fields[6], fields[7], fields[8]];
        let hash = chain_hash(seq, at, texts, &prev);
        let principal = fields[2].replace('\'', "''");
        statements.push_str(&format!(
            "UPDATE audit SET principal = '{principal}', prev_hash = '{prev}', hash = '{hash}' WHERE seq = {seq};"
        ));
        prev = hash;
    }
    statements.push_str("COMMIT;");
    sql(&statements).map(drop)
}

#[test]
fn a_draft_is_checked_and_tried_on_one_node() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let file = controller.path("greet.sh");
    std::fs::write(&file, "#!/bin/sh\necho hello $1 from \"$PARAM_PLACE\"\n")?;
    let path = file.display().to_string();
    let checked = controller.ctl(&["script", "check", &path, "--node", "web-1"])?;
    if Path::new("/usr/bin/shellcheck").exists() {
        assert_eq!(checked.code, 10, "{checked:#?}");
        assert!(checked.out.contains("greet.sh:2:12: info") && checked.out.contains("[SC2086]"), "{checked:#?}");
    } else {
        assert!(checked.err.contains("no shellcheck"), "{checked:#?}");
    }
    std::fs::write(&file, "#!/usr/bin/perl\nuse strict;\nmy $x = ;\n")?;
    let broken = controller.ctl(&["script", "check", &path, "--node", "web-1"])?;
    assert_eq!(broken.code, 10, "{broken:#?}");
    assert!(broken.out.contains("greet.sh:3: error: syntax error"), "{broken:#?}");

    std::fs::write(&file, "#!/bin/sh\necho hello \"$1\" from \"$PARAM_PLACE\"\n")?;
    let really = ["script", "try", &path, "--node", "web-1", "--param", "place=here", "--really", "--", "you"];
    let tried = controller.ctl(&really)?;
    assert_eq!(tried.code, 0, "{tried:#?}");
    assert!(tried.out.contains("hello you from here"), "{tried:#?}");
    assert!(!node.exists("/usr/local/bin/greet.sh"), "nothing of it stands on the node");
    let list = controller.ctl_ok(&["run", "list"])?.out;
    assert!(list.contains("draft of greet.sh"), "{list}");

    // In force on the node alone, used by a job, and then given to the role.
    let manifest = "[[script]]\nname = \"greet\"\nscope = \"node:web-1\"\ncontent = \"#!/bin/sh\\necho hi\\n\"\n\n\
                    [[cron]]\nname = \"greeting\"\nscope = \"fleet\"\nuser = \"www-data\"\nschedule = \"0 0 1 1 *\"\n\
                    command = \"/usr/local/bin/greet\"\n";
    let applied = controller.ctl_with(&["apply", "-f", "-"], manifest)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let uses = controller.json(&["script", "uses", "greet"])?;
    assert_eq!(
        (&uses["nodes"][0]["name"], &uses["jobs"][0]["name"]),
        (&"web-1".into(), &"greeting".into()),
        "{uses:#}"
    );
    let promoted = controller.ctl(&["script", "promote", "greet", "--node", "web-1", "--to", "role:app"])?;
    assert_eq!(promoted.code, 10, "{promoted:#?}");
    Ok(())
}

/// Waits until the controller knows that a node wants signatures.
fn told_of_signatures(controller: &Controller) {
    wait_for("the policy", || {
        let all = controller.json(&["node", "policy"]).map_err(|e| e.to_string())?;
        if all[0]["policy"]["require_signature"] == true { Ok(()) } else { Err(all.to_string()) }
    });
}

/// A script that root would run, and its first signature.
fn with_script(controller: &Controller, key: &str) -> Result<()> {
    let manifest = "[[script]]\nname = \"greet\"\nscope = \"fleet\"\ncontent = \"#!/bin/sh\\necho hello $PARAM_NAME\\n\"\n\
                    parameters = [{ name = \"name\" }]\n";
    let planned = controller.ctl_with(&["--output", "json", "apply", "-f", "-", "--plan"], manifest)?;
    let number = serde_json::from_str::<serde_json::Value>(&planned.out)?["number"].to_string();
    controller.ctl_ok(&["change", "sign", &number, "--key", key, "--yes"])?;
    controller.ctl_ok(&["change", "apply", &number, "--wait"])?;
    Ok(())
}

#[test]
fn runs_as_root_begin_under_a_signature_and_only_once() -> Result<()> {
    let controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let (ann, eve) = (key(&controller, "ann")?, key(&controller, "eve")?);
    wants_signatures(&node, &ann)?;
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    told_of_signatures(&controller);
    let (ann, eve) = (ann.display().to_string(), eve.display().to_string());

    // In one act: what is signed is shown, and it runs.
    let on = ["--on", "node:web-1"];
    let signed = controller.ctl(&["run", "--sign", &ann, "--yes", on[0], on[1], "--", "echo", "signed for"])?;
    assert_eq!(signed.code, 0, "{signed:#?}");
    assert!(signed.out.contains("signed for") && signed.out.contains("(as root, at most 600 s"), "{signed:#?}");

    // In two: it waits, and says what to type.
    let waiting = controller.ctl(&["run", on[0], on[1], "--", "echo", "two"])?;
    assert_eq!(waiting.code, 2, "{waiting:#?}");
    assert!(waiting.out.contains("waits for an operator's signature"), "{waiting:#?}");
    let list = controller.json(&["run", "list"])?;
    let number = list["items"][0]["number"].to_string();
    assert!(list["items"][0]["signing"]["signed_at"].is_null(), "{list:#}");
    assert!(waiting.err.contains(&format!("lampasctl run sign {number} --key FILE")), "{waiting:#?}");
    let text = controller.ctl_ok(&["run", "sign", &number, "--print"])?.out;
    assert!(text.contains("\nrun ") && text.contains("echo two (as root"), "{text}");

    // What differs by a byte is over something else, and the controller says so before any node does.
    let sign = |text: &str, key: &str, name: &str| -> Result<[String; 2]> {
        let (file, signature) = (controller.path(name), controller.path(format!("{name}.sig")));
        let _ = std::fs::remove_file(&signature);
        std::fs::write(&file, text)?;
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "lampas-root-code", "-f", key])
            .arg(&file)
            .status()?;
        ensure!(made.success(), "not signed");
        Ok([file.display().to_string(), signature.display().to_string()])
    };
    let hash_at = text.find("\nrun ").expect("a line") + 5;
    let mut other = text.clone();
    other.replace_range(hash_at..=hash_at, if text[hash_at..].starts_with('0') { "1" } else { "0" });
    let [file, signature] = sign(&other, &ann, "other")?;
    let refused = controller.ctl(&["run", "sign", &number, "--text", &file, "--signature", &signature])?;
    assert!(refused.code == 1 && refused.err.contains("does not cover what would run"), "{refused:#?}");
    let [file, signature] = sign(&text, &ann, "right")?;
    let ran = controller.ctl(&["run", "sign", &number, "--text", &file, "--signature", &signature])?;
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out.contains("two"), "{ran:#?}");
    let again = controller.ctl(&["run", "sign", &number, "--text", &file, "--signature", &signature])?;
    assert!(again.code == 1 && again.err.contains("it is over"), "{again:#?}");

    // A stranger's signature starts nothing: the node refuses it.
    let strange = controller.ctl(&["run", "--sign", &eve, "--yes", on[0], on[1], "--", "echo", "three"])?;
    assert_eq!(strange.code, 2, "{strange:#?}");
    assert!(strange.out.contains("is not in /etc/lampas/allowed_signers"), "{strange:#?}");

    // Scripts are shown whole, and parameters are part of what is signed; also across a restart of the agent.
    with_script(&controller, &ann)?;
    node.kill();
    node.resume()?;
    controller.wait_online("web-1");
    let script = controller.ctl(&["run", "greet", "--param", "name=you", "--sign", &ann, "--yes", on[0], on[1]])?;
    assert_eq!(script.code, 0, "{script:#?}");
    assert!(script.out.contains("| echo hello") && script.out.contains("PARAM_NAME=\"you\""), "{script:#?}");
    assert!(script.out.contains("hello you"), "{script:#?}");
    let used = node.read("/var/lib/lampas/agent/runs/signed.json")?;
    assert_eq!(used.matches("\"serial\"").count(), 3, "each statement is remembered: {used}");

    let acts = controller.ctl_ok(&["audit"])?.out;
    assert!(acts.contains("operation.sign"), "{acts}");
    Ok(())
}

#[test]
fn a_statement_that_is_told_again_starts_nothing() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut node = controller.node("web-1", "app")?;
    let ann = key(&controller, "ann")?;
    wants_signatures(&node, &ann)?;
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    told_of_signatures(&controller);
    let ann = ann.display().to_string();
    let trace = controller.path("trace").display().to_string();
    let script = format!("echo ran >> {trace}");
    let on = ["--on", "node:web-1"];
    let first = controller.ctl(&["run", "--sign", &ann, "--yes", on[0], on[1], "--", "sh", "-c", &script])?;
    assert_eq!(first.code, 0, "{first:#?}");
    assert_eq!(std::fs::read_to_string(&trace)?, "ran\n");
    // Who owns the store gives the same operation a new run under the statement that was used; the agent is restarted.
    controller.kill();
    node.kill();
    let store = controller.data().join("lampas.db");
    let sql = "UPDATE operation_run SET run = '01936d3c-0000-7000-8000-000000000001', state = 'queued', has_begun = 0, \
               has_result = 0, told_ms = NULL, ended_ms = NULL, output_state = 'none'; \
               UPDATE operation SET state = 'running', ended_ms = NULL;";
    let done = Command::new("/usr/bin/sqlite3").arg(&store).arg(sql).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    controller.resume()?;
    node.resume()?;
    let refused = wait_for("the refusal", || {
        let shown = controller.json(&["run", "show", "1"]).map_err(|e| e.to_string())?;
        let run = shown["nodes"][0].clone();
        if run["state"] == "refused" { Ok(run) } else { Err(shown.to_string()) }
    });
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("starts nothing twice")), "{refused:#}");
    assert_eq!(std::fs::read_to_string(&trace)?, "ran\n");
    Ok(())
}

#[test]
fn an_ssh_agent_signs_as_a_file_does() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let ann = key(&controller, "ann")?;
    wants_signatures(&node, &ann)?;
    controller.apply("[[file]]\nname = \"motd\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"x\"\n")?;
    told_of_signatures(&controller);
    let socket = controller.path("agent.sock");
    let mut agent = Command::new("/usr/bin/ssh-agent").arg("-D").arg("-a").arg(&socket).spawn()?;
    wait_for("the agent's socket", || if socket.exists() { Ok(()) } else { Err("not yet") });
    let added = Command::new("/usr/bin/ssh-add").arg("-q").arg(&ann).env("SSH_AUTH_SOCK", &socket).status()?;
    ensure!(added.success(), "no key in the agent");
    // Only the agent has it from here on.
    std::fs::remove_file(&ann)?;
    let arguments = ["run", "--agent", "--yes", "--on", "node:web-1", "--", "echo", "by the agent"];
    let ran = controller.ctl_command(&arguments)?.env("SSH_AUTH_SOCK", &socket).output()?;
    agent.kill()?;
    agent.wait()?;
    assert!(ran.status.success(), "{ran:#?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("by the agent\n"), "{ran:#?}");
    Ok(())
}
