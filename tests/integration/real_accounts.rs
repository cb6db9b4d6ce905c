//! Users, groups and packages on the real `/` of a machine of its own, by useradd, apt and dpkg. Packages come from a
//! repository that the test makes there: no network is asked.

use anyhow::Result;
use lampas_tests::{Controller, CtlOutput, Machine, wait_for};

use crate::real_host::{enrol, start_agent, wait_state};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ lampas@test";

fn apply(controller: &Controller, manifest: &str) -> Result<CtlOutput> {
    controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest)
}

#[test]
fn real_accounts_are_made_known_to_the_system_and_go_again() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let controller = Controller::start()?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let before = machine.read("/etc/passwd")?;
    let group = "[[group]]\nname = \"lampasops\"\nscope = \"role:app\"\nmembers = [\"lampasann\"]\n";
    let user = format!(
        "[[user]]\nname = \"lampasann\"\nscope = \"role:app\"\ncomment = \"Ann É\"\nauthorized_keys = [\"{KEY}\"]\n"
    );
    apply(&controller, &format!("{group}{user}"))?;
    wait_state(&controller, "lampasann", "converged");
    wait_state(&controller, "lampasops", "converged");
    let shown = machine.run_ok(&["/usr/bin/getent", "passwd", "lampasann"], "")?;
    assert!(shown.contains(":Ann É:/home/lampasann:/bin/bash"), "{shown}");
    let groups = machine.run_ok(&["/usr/bin/id", "-nG", "lampasann"], "")?;
    assert_eq!(groups.trim(), "lampasann lampasops");
    let keys = machine.read("/home/lampasann/.ssh/authorized_keys")?;
    assert!(keys.contains(KEY), "{keys}");
    let modes = ["/home/lampasann/.ssh", "/home/lampasann/.ssh/authorized_keys"];
    let modes = machine.run_ok(&["/usr/bin/stat", "-c", "%a %U", modes[0], modes[1]], "")?;
    assert_eq!(modes, "700 lampasann\n600 lampasann\n");

    // A shell by hand is a change by hand, found without waiting for the full look.
    machine.run_ok(&["/usr/sbin/usermod", "-s", "/bin/sh", "lampasann"], "")?;
    let shell = format!("{user}shell = \"/bin/bash\"\ndrift = \"repair\"\n");
    apply(&controller, &format!("{group}{shell}"))?;
    let has_bash = || {
        let shown = machine.run_ok(&["/usr/bin/getent", "passwd", "lampasann"], "").unwrap_or_default();
        if shown.trim_end().ends_with("/bin/bash") { Ok(()) } else { Err(shown) }
    };
    wait_for("the shell of the object", has_bash);
    machine.run_ok(&["/usr/sbin/usermod", "-s", "/bin/sh", "lampasann"], "")?;
    wait_for("the shell to be repaired", has_bash);

    let gone = |text: &str| text.replace("scope = \"role:app\"\n", "scope = \"role:app\"\nstate = \"absent\"\n");
    apply(&controller, &format!("{}{}", gone(group), gone(&user)))?;
    wait_for("the accounts to be gone", || {
        let passwd = machine.read("/etc/passwd").map_err(|e| e.to_string())?;
        let group = machine.read("/etc/group").map_err(|e| e.to_string())?;
        if passwd == before && !group.contains("lampas") { Ok(()) } else { Err(format!("{passwd}\n{group}")) }
    });
    assert!(machine.exists("/home/lampasann"), "the home stays");
    Ok(())
}

/// What `mkpasswd` prints for two passwords.
const HASHES: [&str; 2] = [
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
    "$5$abcdefgh$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

#[test]
fn real_a_password_comes_from_a_secret_and_is_rotated_with_it() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let controller = Controller::start()?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let field = || -> Result<String> {
        let line = machine.run_ok(&["/usr/bin/getent", "shadow", "lampasann"], "")?;
        Ok(line.split(':').nth(1).unwrap_or_default().to_owned())
    };
    let set = |value: &str| {
        let arguments = ["secret", "set", "lampas-ann", "--scope", "role:app", "-m", "a password", "--wait"];
        controller.ctl_with(&arguments, &format!("{value}\n"))
    };
    set(HASHES[0])?;
    let user = "[[user]]\nname = \"lampasann\"\nscope = \"role:app\"\npassword = \"{{secret.lampas-ann}}\"\n";
    apply(&controller, user)?;
    wait_state(&controller, "lampasann", "converged");
    assert_eq!(field()?, HASHES[0]);
    set(HASHES[1])?;
    wait_for("the other hash", || match field() {
        Ok(found) if found == HASHES[1] => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // The password itself is no hash: the node says what to do, and repeats nothing of it.
    let refused = set("canary-of-ann")?;
    let shown = format!("{}{}", refused.out, refused.err);
    assert!(shown.contains("mkpasswd") && !shown.contains("canary"), "{shown}");
    assert_ne!(refused.code, 0, "the plan is in its way: {shown}");
    wait_state(&controller, "lampasann", "converged");
    assert_eq!(field()?, HASHES[1], "what stood stays");
    let audit = controller.json(&["audit"])?.to_string();
    assert!(!audit.contains("canary") && !audit.contains("F5Jx5fExrKuPp53xLKQ"), "{audit}");

    let locked = user.replace("{{secret.lampas-ann}}", "locked");
    apply(&controller, &locked)?;
    wait_for("the lock", || match field() {
        Ok(found) if found == format!("!{}", HASHES[1]) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    Ok(())
}

/// Makes a repository of tiny packages and the node's only source of it.
const REPOSITORY: &str = r#"
set -eu
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists
mkdir -p /etc/apt/sources.list.d /var/lib/apt/lists/partial /srv/repository
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list
make() {
    dir=$(mktemp -d); chmod 755 "$dir"; mkdir -p "$dir/DEBIAN" "$dir/usr/share/$1" "$dir/etc/init.d"
    echo "$2" > "$dir/usr/share/$1/version"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: test\n' "$1" "$2" > "$dir/DEBIAN/control"
    printf '#!/bin/sh\n%s\n' "$3" > "$dir/DEBIAN/postinst"; chmod 755 "$dir/DEBIAN/postinst"
    printf '#!/bin/sh\ntouch /srv/started\n' > "$dir/etc/init.d/$1"; chmod 755 "$dir/etc/init.d/$1"
    dpkg-deb --root-owner-group --build "$dir" "/srv/repository/$1_$2.deb" > /dev/null
}
make lampas-broken 1.0 'echo it is broken >&2; exit 1'
make lampas-broken 2.0 'if [ -x /usr/sbin/invoke-rc.d ]; then invoke-rc.d lampas-broken start || true; fi'
cd /srv/repository
for deb in *.deb; do
    dpkg-deb -f "$deb"; echo "Filename: ./$deb"; echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"; echo
done > Packages
"#;

#[test]
fn real_a_package_that_breaks_holds_up_no_file_and_its_next_version_mends_it() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    machine.run_ok(&["/bin/sh", "-c", REPOSITORY], "")?;
    let controller = Controller::start()?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let package = |version: &str| {
        format!("[[package]]\nname = \"lampas-broken\"\nscope = \"role:app\"\nversion = \"{version}\"\n")
    };
    let file = |text: &str| {
        format!("[[file]]\nname = \"note\"\nscope = \"role:app\"\npath = \"/etc/lampas-note\"\ncontent = \"{text}\"\n")
    };
    let refused = apply(&controller, &format!("{}{}", package("1.0"), file("one")))?;
    let text = format!("{}{}", refused.out, refused.err);
    assert!(text.contains("it is broken"), "the end of the output is told: {text}");
    wait_state(&controller, "lampas-broken", "failed");
    wait_state(&controller, "note", "converged");
    assert_eq!(machine.read("/etc/lampas-note")?, "one");
    apply(&controller, &file("two"))?;
    wait_state(&controller, "note", "converged");
    assert_eq!(machine.read("/etc/lampas-note")?, "two", "files go on while the package fails");

    apply(&controller, &package("2.0"))?;
    wait_state(&controller, "lampas-broken", "converged");
    assert_eq!(machine.read("/usr/share/lampas-broken/version")?.trim(), "2.0");
    assert!(!machine.exists("/srv/started"), "its service did not start by itself");
    assert!(!machine.read("/usr/sbin/policy-rc.d").unwrap_or_default().contains("LAMPAS"));
    Ok(())
}
