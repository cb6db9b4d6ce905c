//! Packages on the real `/` of a machine of its own, by Debian's apt and dpkg: another's lock, what an installation left
//! half done, services that don't start by themselves, and a needrestart that only lists.

use std::time::Duration;

use anyhow::Result;
use lampas_tests::{Controller, Machine, Service, wait_within};
use serde_json::Value;

use crate::real_host::{enrol, resource, start_agent, wait_state};

/// apt waits for a lock for a minute; twice that, and time for a loaded machine.
const LIMIT: Duration = Duration::from_secs(240);
const OFTEN: &str = "[reconcile]\nfull_look_secs = 10\nretry_secs = 1\n";

/// Makes a repository of a daemon in two versions and the node's only source of it. The daemon is Debian's sleep, of which
/// each version has bytes of its own; its script for init says what it was told, and so does its postinst, which fails
/// while `/run/fail` is there. What checks its configuration takes that from version 3.0 on, which another repository has.
const REPOSITORY: &str = r#"
set -eu
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists
# Without an init nothing starts but by somebody's leave (invoke-rc.d(8)).
printf '#!/bin/sh\nexit 104\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
mkdir -p /etc/apt/sources.list.d /var/lib/apt/lists/partial /srv/repository /srv/newer
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list
make() {
    dir=$(mktemp -d); chmod 755 "$dir"; mkdir -p "$dir/DEBIAN" "$dir/usr/sbin" "$dir/etc/init.d"
    { cat /bin/sleep; echo "$1"; } > "$dir/usr/sbin/lampas-demod"; chmod 755 "$dir/usr/sbin/lampas-demod"
    printf 'Package: lampas-demod\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: test\n' "$1" > "$dir/DEBIAN/control"
    printf '#!/bin/sh\necho "$1" >> /srv/told\n' > "$dir/etc/init.d/lampas-demod"; chmod 755 "$dir/etc/init.d/lampas-demod"
    printf '#!/bin/sh\n[ ! -e /run/fail ] || { echo it fails >&2; exit 1; }\ninvoke-rc.d lampas-demod %s || exit 1\n' "$2" > "$dir/DEBIAN/postinst"
    chmod 755 "$dir/DEBIAN/postinst"
    printf '#!/bin/sh\n[ %s = 3.0 ] || { echo too old >&2; exit 1; }\n' "$1" > "$dir/usr/sbin/lampas-demod-check"
    chmod 755 "$dir/usr/sbin/lampas-demod-check"
    dpkg-deb --root-owner-group --build "$dir" "$3/lampas-demod_$1.deb" > /dev/null
}
make 1.0 start /srv/repository
make 2.0 restart /srv/repository
make 3.0 restart /srv/newer
for repository in /srv/repository /srv/newer; do
    cd "$repository"
    for deb in *.deb; do
        dpkg-deb -f "$deb"; echo "Filename: ./$deb"; echo "Size: $(stat -c %s "$deb")"
        echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"; echo
    done > Packages
done
"#;

/// Takes dpkg's lock as dpkg and apt do, and says so.
const HOLDER: &str = "import fcntl, time\nf = open('/var/lib/dpkg/lock-frontend', 'w')\nfcntl.lockf(f, fcntl.LOCK_EX)\n\
                      open('/run/held', 'w').close()\nwhile True: time.sleep(3600)\n";

struct Lab {
    controller: Controller,
    machine: Machine,
    _agent: Service,
}

impl Lab {
    fn start(machine: Machine) -> Result<Self> {
        machine.run_ok(&["/bin/sh", "-c", REPOSITORY], "")?;
        machine.run_ok(&["/bin/mkdir", "-p", "/etc/lampas"], "")?;
        machine.write("/etc/lampas/agent.toml", OFTEN)?;
        let controller = Controller::start()?;
        enrol(&controller, &machine, "real-1")?;
        let agent = start_agent(&machine)?;
        controller.wait_online("real-1");
        Ok(Self { controller, machine, _agent: agent })
    }

    fn want(&self, version: &str) -> Result<()> {
        let manifest = format!("[[package]]\nname = \"lampas-demod\"\nscope = \"role:app\"\nversion = \"{version}\"\n");
        self.controller.ctl_with(&["apply", "-f", "-"], &manifest).map(drop)
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_within(LIMIT, what, || {
            let found = resource(&self.controller, "lampas-demod")?;
            if is_so(&found) { Ok(found) } else { Err(found.to_string()) }
        })
    }

    fn installed(&self) -> String {
        let query = ["/usr/bin/dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "lampas-demod"];
        let output = self.machine.run(&query, "").map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        output.unwrap_or_default()
    }

    /// What the daemon's script for init was told.
    fn told(&self) -> Vec<String> {
        self.machine.read("/srv/told").unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

#[test]
fn real_packages_wait_for_a_lock_and_mend_what_is_half_done() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let lab = Lab::start(machine)?;
    let holder = lab.machine.start("holder", &["/usr/bin/python3", "-c", HOLDER])?;
    wait_within(LIMIT, "the lock", || if lab.machine.exists("/run/held") { Ok(()) } else { Err("free") });
    lab.want("1.0")?;
    let found = lab.wait("the package to wait", |r| r["fault"]["code"] == "package.locked");
    let message = found["fault"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("another program works on packages") && message.contains("held by process"), "{found}");
    assert!(message.contains("(python3"), "it says who: {found}");
    assert_eq!((lab.installed().as_str(), &found["fault"]["retry"]), ("", &Value::Bool(true)));
    // When it is let go, it goes on by itself; its script fails, so that it is left half done.
    lab.machine.write("/run/fail", "")?;
    lab.machine.kill(holder)?;
    let broken = lab.wait("the package to break", |r| r["fault"]["code"] == "package.broken");
    assert!(broken["fault"]["message"].as_str().is_some_and(|m| m.contains("it fails")), "{broken}");
    assert_eq!(lab.installed(), "half-configured 1.0");
    lab.machine.run_ok(&["/bin/rm", "/run/fail"], "")?;
    wait_state(&lab.controller, "lampas-demod", "converged");
    assert_eq!(lab.installed(), "installed 1.0");
    Ok(())
}

#[test]
fn real_a_new_service_starts_not_by_itself_and_one_that_was_there_is_restarted() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let lab = Lab::start(machine)?;
    lab.want("1.0")?;
    wait_state(&lab.controller, "lampas-demod", "converged");
    assert_eq!(lab.installed(), "installed 1.0");
    assert_eq!(lab.told(), Vec::<String>::new());
    // By hand it would have: what somebody put there stands as it was.
    assert_eq!(lab.machine.read("/usr/sbin/policy-rc.d")?, "#!/bin/sh\nexit 104\n");
    lab.machine.run_ok(&["/usr/sbin/invoke-rc.d", "lampas-demod", "start"], "")?;
    assert_eq!(lab.told(), ["start"]);
    lab.want("2.0")?;
    lab.wait("the upgrade", |r| r["state"] == "converged" && lab.installed() == "installed 2.0");
    assert_eq!(lab.told(), ["start", "restart"]);
    assert_eq!(lab.machine.read("/usr/sbin/policy-rc.d")?, "#!/bin/sh\nexit 104\n");
    Ok(())
}

#[test]
fn real_a_new_source_an_upgrade_and_a_check_of_the_newer_version_go_in_one_change() -> Result<()> {
    const MANIFEST: &str = r#"
[[file]]
name = "newer"
path = "/etc/apt/sources.list.d/newer.list"
scope = "role:app"
content = "deb [trusted=yes] file:/srv/newer ./\n"

[[file]]
name = "demod"
path = "/etc/demod.conf"
scope = "role:app"
content = "for 3.0\n"
validate = ["/usr/sbin/lampas-demod-check", "%s"]

[[package]]
name = "lampas-demod"
scope = "role:app"
version = "3.0"
"#;
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let lab = Lab::start(machine)?;
    lab.want("2.0")?;
    wait_state(&lab.controller, "lampas-demod", "converged");
    // It ends badly as soon as a node says that something failed.
    let applied = lab.controller.ctl_with(&["apply", "--wait", "-f", "-"], MANIFEST)?;
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(lab.installed(), "installed 3.0");
    assert_eq!(lab.machine.read("/etc/demod.conf")?, "for 3.0\n");
    Ok(())
}

/// Puts needrestart of Debian into a machine; nothing of it reaches this system.
fn install_needrestart(machine: &Machine) -> Result<bool> {
    if machine.exists("/usr/sbin/needrestart") {
        return Ok(true);
    }
    let fetch = "export DEBIAN_FRONTEND=noninteractive; o='-q -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0'; \
                 apt-get $o update && apt-get $o install --yes --no-install-recommends needrestart";
    let output = machine.run(&["/bin/sh", "-c", fetch], "")?;
    if !output.status.success() {
        eprintln!("SKIP: Debian's needrestart is neither installed nor to be had; nothing was tested: {output:?}");
    }
    Ok(output.status.success())
}

#[test]
fn real_needrestart_lists_and_restarts_nothing() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    if !install_needrestart(&machine)? {
        return Ok(());
    }
    let lab = Lab::start(machine)?;
    // Whoever set this node up has services restarted at once.
    lab.machine.run_ok(&["/bin/mkdir", "-p", "/etc/needrestart/conf.d"], "")?;
    lab.machine.write("/etc/needrestart/conf.d/auto.conf", "$nrconf{restart} = 'a';\n$nrconf{kernelhints} = 0;\n")?;
    lab.want("1.0")?;
    wait_state(&lab.controller, "lampas-demod", "converged");
    let _daemon = lab.machine.start("demod", &["/usr/sbin/lampas-demod", "infinity"])?;
    let running = || lab.machine.run_ok(&["/usr/bin/pgrep", "-x", "lampas-demod"], "");
    wait_within(LIMIT, "the daemon", || running().map_err(|e| e.to_string()));
    lab.want("2.0")?;
    lab.wait("the upgrade", |r| r["state"] == "converged" && lab.installed() == "installed 2.0");
    // The package's own script restarts it, as every upgrade does; needrestart, which apt calls at the end, nothing.
    assert_eq!(lab.told(), ["restart"]);
    let process = running()?;
    let deleted = lab.machine.run_ok(&["/bin/readlink", &format!("/proc/{}/exe", process.trim())], "")?;
    assert!(deleted.contains("(deleted)"), "the old one still runs: {deleted}");
    let listed = lab.machine.run_ok(&["/usr/sbin/needrestart", "-r", "l", "-l", "-b"], "")?;
    assert!(listed.contains("NEEDRESTART-SVC: lampas-demod"), "and needrestart knows: {listed}");
    // Left to itself it would have.
    lab.machine.run_ok(&["/usr/sbin/needrestart", "-r", "a", "-l"], "")?;
    assert_eq!(lab.told().len(), 2, "{:?}", lab.told());
    Ok(())
}
