//! The younger kinds on the real `/` of a machine of its own: rules for sudo and kernel settings.

use anyhow::Result;
use lampas_tests::{Controller, CtlOutput, Machine, wait_for};

use crate::real_host::{enrol, resource, start_agent, wait_state};

const RULES: &str = r#"
[[sudoers]]
name = "operators"
scope = "role:app"
content = """
User_Alias OPERATORS = daemon
OPERATORS ALL=(root) NOPASSWD: /usr/bin/id
"""
"#;

fn apply(controller: &Controller, manifest: &str, state: Option<&str>) -> Result<CtlOutput> {
    let mut text = String::new();
    for line in manifest.lines() {
        text.push_str(&format!("{line}\n"));
        if let Some(state) = state.filter(|_| line.starts_with("scope")) {
            text.push_str(&format!("state = \"{state}\"\n"));
        }
    }
    controller.ctl_with(&["apply", "-f", "-", "--wait"], &text)
}

#[test]
fn real_rules_for_sudo_are_in_force_and_the_last_administrator_stays() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    if !machine.exists("/usr/sbin/visudo") {
        eprintln!("SKIP: there is no sudo here; scripts/test installs it");
        return Ok(());
    }
    let controller = Controller::start()?;
    machine.write("/etc/sudoers.d/ann", "daemon ALL=(ALL) /usr/bin/true\n")?;
    machine.run_ok(&["/bin/chmod", "0440", "/etc/sudoers.d/ann"], "")?;
    let before = machine.listing("/etc/sudoers.d")?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");

    apply(&controller, RULES, None)?;
    wait_state(&controller, "operators", "converged");
    let listed = machine.run_ok(&["/usr/bin/sudo", "-l", "-U", "daemon"], "")?;
    assert!(listed.contains("NOPASSWD: /usr/bin/id"), "{listed}");
    let mode = machine.run_ok(&["/usr/bin/stat", "-c", "%a %U:%G", "/etc/sudoers.d/operators"], "")?;
    assert_eq!(mode.trim(), "440 root:root");

    // An alias that another file has: that file is named, and what stood stays.
    let clash = RULES.replace("operators", "others");
    let refused = apply(&controller, &clash, None)?;
    let text = format!("{}{}", refused.out, refused.err);
    assert!(text.contains("/etc/sudoers.d/operators:1") && text.contains("in the way"), "{text}");
    assert!(!machine.exists("/etc/sudoers.d/others"));

    apply(&controller, RULES, Some("absent"))?;
    wait_for("the rules to be gone", || {
        if resource(&controller, "operators").is_err() && !machine.exists("/etc/sudoers.d/operators") {
            Ok(())
        } else {
            Err(format!("{:?}", machine.listing("/etc/sudoers.d")))
        }
    });
    assert_eq!(machine.listing("/etc/sudoers.d")?, before);
    machine.run_ok(&["/usr/sbin/visudo", "-c"], "").map(drop)
}

#[test]
fn real_kernel_settings_are_set_kept_and_put_back() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    // The domain name is the machine's own: it belongs to its host-name namespace.
    let key = "/proc/sys/kernel/domainname";
    // Whoever reads it is told of the own namespace's: it is read from within.
    let read = || machine.run_ok(&["/bin/cat", key], "");
    let set = |value: &str| machine.run_ok(&["/bin/sh", "-c", &format!("echo {value} > {key}")], "");
    if set("before.test").is_err() {
        eprintln!("SKIP: /proc/sys can't be written here; nothing was tested");
        return Ok(());
    }
    let controller = Controller::start()?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let manifest =
        "[[sysctl]]\nname = \"domain\"\nscope = \"role:app\"\nkey = \"kernel.domainname\"\nvalue = \"lampas.test\"\n";
    apply(&controller, manifest, None)?;
    wait_state(&controller, "domain", "converged");
    assert_eq!(read()?.trim(), "lampas.test");
    let line = machine.read("/etc/sysctl.d/60-lampas-domain.conf")?;
    assert_eq!(line, "kernel.domainname = lampas.test\n");
    let none = manifest.replace("kernel.domainname", "net.lampas.none").replace("\"domain\"", "\"none\"");
    let refused = apply(&controller, &none, None)?;
    let text = format!("{}{}", refused.out, refused.err);
    assert!(text.contains("has no net.lampas.none"), "{text}");

    apply(&controller, manifest, Some("absent"))?;
    wait_for("the earlier value", || {
        let found = read().unwrap_or_default();
        if found.trim() == "before.test" { Ok(()) } else { Err(found) }
    });
    assert!(!machine.exists("/etc/sysctl.d/60-lampas-domain.conf"));
    Ok(())
}
