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
    assert!(run.code != 0, "operations carry no signature: {run:#?}");
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
