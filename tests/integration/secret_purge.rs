//! A purge of a secret's value reaches the nodes that had it, also who was away: afterwards it stands nowhere.

use anyhow::Result;
use lampas_tests::{Controller, Store, Texts, templated, wait_for};
use serde_json::Value;

const EARLIER: &str = "canary-of-the-earlier-value";
const STANDING: &str = "canary-of-what-stands";
const PURGE: [&str; 4] = ["secret", "purge", "db.password", "--plan"];

/// Returns how far the purge of the earlier value is, once that fits.
fn reach(controller: &Controller, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || {
        let values = controller.json(&PURGE).map_err(|e| format!("{e:#}"))?;
        let reach = &values[1]["nodes"];
        if fits(reach) { Ok(reach.clone()) } else { Err(values.to_string()) }
    })
}

fn content(password: &str) -> String {
    format!("user=app\npassword={password}\n")
}

#[test]
fn a_purged_value_goes_from_who_is_there_and_from_who_comes_back() -> Result<()> {
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.resume()?;
    controller.set_up()?;
    let mut here = controller.node("web-1", "app")?;
    let mut away = controller.node("web-2", "app")?;
    let set = ["secret", "set", "db.password", "--scope", "role:app", "--wait"];
    assert_eq!(controller.ctl_with(&set, EARLIER)?.code, 0);
    let manifest = templated("user={{var.db.user}}\npassword={{secret.db.password}}\n");
    let manifest = manifest.replace("mode = \"0640\"", "mode = \"0640\"\ndrift = \"repair\"");
    let path = controller.path("app.toml");
    std::fs::write(&path, manifest)?;
    let applied = controller.ctl(&["apply", "-f", &path.display().to_string(), "--wait"])?;
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(away.read("/etc/app.conf")?, content(EARLIER));

    // What somebody edits is kept before it is put back, and shown to root on the node alone.
    here.write("/etc/app.conf", &format!("by hand, with {EARLIER}\n"))?;
    let kept = wait_for("the copy", || {
        let (code, listed) = here.agent(&["kept"]).map_err(|e| format!("{e:#}"))?;
        let name = listed.split_whitespace().find(|word| word.starts_with("etc_app.conf-")).map(str::to_owned);
        name.filter(|_| code == 0).ok_or(listed)
    });
    assert!(kept.ends_with(".sealed"), "{kept}");
    let (code, shown) = here.agent(&["kept", &kept])?;
    assert!(code == 0 && shown.contains(&format!("by hand, with {EARLIER}")), "{shown}");
    wait_for("the repair", || match here.read("/etc/app.conf") {
        Ok(text) if text == content(EARLIER) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut texts = Texts::default();
    texts.add_files(&here.root().join("var/lib/lampas"))?;
    assert_eq!(texts.with(EARLIER), Vec::<&str>::new(), "a copy of what lies there shows nothing");

    // Rotated while one node is away, which has the earlier value in force.
    away.kill();
    let rotate = ["secret", "set", "db.password", "--scope", "role:app", "--allow-unplanned", "-m", "rotate"];
    let rotated = controller.ctl_with(&rotate, STANDING)?;
    assert!(rotated.code == 0, "{rotated:?}");
    wait_for("the rotation", || match here.read("/etc/app.conf") {
        Ok(text) if text == content(STANDING) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let purge = ["secret", "purge", "db.password", "--yes", "-m", "left the company"];
    let refused = controller.ctl(&purge)?;
    assert!(refused.code != 0 && refused.err.contains("web-2 may still have it"), "{refused:?}");
    let purged = controller.ctl_ok(&[&purge[..], &["--force"]].concat())?;
    assert!(purged.out.contains("of 2 nodes"), "{purged:?}");
    let open = reach(&controller, "the node that is there", |reach| reach["confirmed"] == 1);
    assert_eq!((&open["total"], &open["open"][0]["node"]), (&2.into(), &"web-2".into()), "{open}");
    assert!(open["open"][0]["why"].as_str().is_some_and(|why| why.contains("when it is connected")), "{open}");
    let shown = controller.ctl_ok(&PURGE)?.out;
    assert!(shown.contains("gone from 1 of 2 nodes") && shown.contains("web-2: "), "{shown}");
    let shown = controller.ctl_ok(&["secret", "show", "db.password"])?.out;
    assert!(shown.contains("a purged value is gone from 1 of 2 nodes; open: web-2"), "{shown}");

    // Killed and back, both of them: what was told stays told, and who returns is told.
    here.kill();
    controller.kill();
    controller.resume()?;
    here.resume()?;
    away.resume()?;
    reach(&controller, "the node that was away", |reach| reach["confirmed"] == 2);
    assert_eq!(away.read("/etc/app.conf")?, content(STANDING));
    assert_eq!(here.agent(&["kept"])?.0, 0);
    let audit = controller.ctl_ok(&["audit"])?.out;
    assert!(audit.contains("secret.purge ") || audit.contains("secret.purge\t"), "{audit}");
    wait_for("the end in the audit", || {
        let audit = controller.ctl_ok(&["audit"]).map_err(|e| format!("{e:#}"))?.out;
        if audit.contains("secret.purged") { Ok(()) } else { Err(audit) }
    });

    controller.process().stop()?;
    here.kill();
    away.kill();
    let mut texts = Texts::default();
    texts.add_files(&controller.data())?;
    for root in [here.root(), away.root()] {
        texts.add_files(&root.join("etc"))?;
        texts.add_files(&root.join("var"))?;
    }
    assert_eq!(texts.with(EARLIER), Vec::<&str>::new(), "where the earlier value stands");
    let standing = texts.with(STANDING);
    assert!(standing.len() == 2 && standing.iter().all(|name| name.ends_with("/etc/app.conf")), "{standing:?}");
    Ok(())
}
