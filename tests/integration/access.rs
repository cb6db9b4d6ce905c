//! Who may do what, through the command line.

use anyhow::Result;
use lampas_tests::Controller;

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
