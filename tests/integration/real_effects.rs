//! In force, not only written: what nscd cached is forgotten, and a job that cron would not start says why.

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, Machine, wait_for};

use crate::real_host::{enrol, start_agent, wait_state, wait_state_within};

/// A full look every ten seconds, so that what goes on by itself does so soon.
const OFTEN: &str = "[reconcile]\nfull_look_secs = 10\nretry_secs = 1\n";

/// Puts nscd of Debian's package into a machine; nothing of it reaches this system.
fn install_nscd(machine: &Machine) -> Result<bool> {
    if machine.exists("/usr/sbin/nscd") {
        return Ok(true);
    }
    // The program alone: to unpack the whole package would put a directory in the place of the link /lib.
    let fetch = "mkdir /tmp/nscd && cd /tmp/nscd && apt-get -q -o APT::Sandbox::User=root download nscd && \
                 dpkg-deb -x ./nscd_*.deb unpacked && install -m 755 unpacked/usr/sbin/nscd /usr/sbin/nscd";
    let output = machine.run(&["/bin/sh", "-c", fetch], "")?;
    if !output.status.success() {
        eprintln!("SKIP: Debian's nscd is neither installed nor to be had; nothing was tested: {output:?}");
    }
    Ok(output.status.success())
}

#[test]
fn real_a_hosts_entry_is_seen_at_once_while_nscd_caches() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    if !install_nscd(&machine)? {
        return Ok(());
    }
    // By default nscd watches the file; told not to, it keeps what it knows for an hour.
    let config = "enable-cache hosts yes\ncheck-files hosts no\npositive-time-to-live hosts 3600\n\
                  negative-time-to-live hosts 3600\nenable-cache passwd no\nenable-cache group no\n";
    machine.write("/etc/nscd.conf", config)?;
    machine.run_ok(&["/bin/mkdir", "-p", "/run/nscd", "/var/cache/nscd"], "")?;
    let controller = Controller::start()?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let nscd = machine.start("nscd", &["/usr/sbin/nscd", "--foreground"])?;
    wait_for("nscd", || {
        let statistics = machine.run(&["/usr/sbin/nscd", "--statistics"], "").map_err(|e| e.to_string())?;
        if statistics.status.success() { Ok(()) } else { Err(machine.log_text("nscd")) }
    });
    let ask = |name: &str| -> Result<String> {
        Ok(String::from_utf8_lossy(&machine.run(&["/usr/bin/getent", "hosts", name], "")?.stdout).into_owned())
    };
    let foreign = machine.read("/etc/hosts")?;
    let probe = |address: &str| machine.write("/etc/hosts", &format!("{foreign}{address} probe.lampas.test\n"));

    // It caches, that something is there and that nothing is.
    probe("192.0.2.5")?;
    assert!(ask("probe.lampas.test")?.contains("192.0.2.5"));
    probe("192.0.2.6")?;
    assert!(ask("probe.lampas.test")?.contains("192.0.2.5"), "nscd says what it knew");
    assert_eq!(ask("db.lampas.test")?, "");
    assert_eq!(ask("late.lampas.test")?, "");

    let manifest = |address: &str| {
        format!(
            "[[hosts]]\nname = \"db\"\nscope = \"role:app\"\naddress = \"{address}\"\nnames = [\"db.lampas.test\"]\n"
        )
    };
    for address in ["192.0.2.77", "192.0.2.78"] {
        controller.apply(&manifest(address))?;
        assert!(ask("db.lampas.test")?.contains(address), "{}", ask("db.lampas.test")?);
    }
    assert!(ask("probe.lampas.test")?.contains("192.0.2.6"), "everything is forgotten");
    controller.ctl_ok(&["object", "delete", "hosts/db", "--yes", "--wait"])?;
    assert_eq!(ask("db.lampas.test")?, "", "nor does what is gone live on in the cache");

    // One that was killed leaves its number behind, and nothing is said of it.
    machine.kill(nscd)?;
    controller.apply(&manifest("192.0.2.79"))?;
    let node = controller.json(&["node", "show", "real-1"])?;
    assert!(!node.to_string().contains("nscd"), "{node}");
    Ok(())
}

#[test]
fn real_a_job_that_cron_would_not_start_says_why_and_goes_on_by_itself() -> Result<()> {
    let Some(machine) = Machine::boot("real-1")? else { return Ok(()) };
    let controller = Controller::start()?;
    let shadow = machine.read("/etc/shadow")?;
    let edit = |path: &str, text: &str| -> Result<()> {
        let beside = format!("{path}.beside");
        machine.write(&beside, text)?;
        machine.run_ok(&["/bin/mv", &beside, path], "").map(drop)
    };
    machine.run_ok(&["/bin/mv", "/usr/sbin/cron", "/usr/sbin/cron.away"], "")?;
    machine.run_ok(&["/bin/mkdir", "-p", "/etc/lampas"], "")?;
    machine.write("/etc/lampas/agent.toml", OFTEN)?;
    enrol(&controller, &machine, "real-1")?;
    let _agent = start_agent(&machine)?;
    controller.wait_online("real-1");
    let manifest = "[[cron]]\nname = \"tick\"\nscope = \"role:app\"\nschedule = \"0 3 * * *\"\ncommand = \"true\"\n\
                    user = \"daemon\"\n\
                    [[cron]]\nname = \"own\"\nscope = \"role:app\"\nschedule = \"0 4 * * *\"\ncommand = \"true\"\n\
                    user = \"daemon\"\ntable = \"user\"\n";
    let says = |job: &str, code: &str, text: &str| {
        wait_for(&format!("{job} to say {code}"), || {
            let found = crate::real_host::resource(&controller, job)?;
            let fault = &found["fault"];
            let is_it = found["state"] == "blocked"
                && fault["code"] == code
                && fault["message"].as_str().is_some_and(|m| m.contains(text));
            if is_it { Ok(()) } else { Err(found.to_string()) }
        });
    };

    // No cron at all: nothing is written, and what to do is said.
    let refused = controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest)?;
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert!(refused.err.contains("cron tick: this node has no cron; install it (apt install cron)"), "{refused:#?}");
    assert!(!machine.exists("/etc/cron.d/lampas-tick"));
    machine.run_ok(&["/bin/mv", "/usr/sbin/cron.away", "/usr/sbin/cron"], "")?;
    let _cron = machine.start("cron", &["/usr/sbin/cron", "-f"])?;
    wait_for("the jobs to be in force", || {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], manifest).map_err(|e| e.to_string())?;
        if applied.code == 0 { Ok(()) } else { Err(format!("{applied:#?}")) }
    });

    // It goes later on, and comes back.
    machine.run_ok(&["/bin/mv", "/usr/sbin/cron", "/usr/sbin/cron.away"], "")?;
    for job in ["tick", "own"] {
        says(job, "cron.missing", "this node has no cron; install it (apt install cron)");
    }
    machine.run_ok(&["/bin/mv", "/usr/sbin/cron.away", "/usr/sbin/cron"], "")?;
    for job in ["tick", "own"] {
        wait_state_within(&controller, job, "converged");
    }

    // PAM keeps cron from starting anything as an account that has expired.
    let line = shadow.lines().find(|l| l.starts_with("daemon:")).context("daemon has a line in shadow")?;
    let mut fields: Vec<&str> = line.split(':').collect();
    fields[7] = "1";
    edit("/etc/shadow", &shadow.replace(line, &fields.join(":")))?;
    for job in ["tick", "own"] {
        says(job, "cron.account_expired", "the account daemon has expired");
    }
    edit("/etc/shadow", &shadow)?;
    wait_state(&controller, "own", "converged");

    // crontab(1) goes by its lists; files in /etc/cron.d don't.
    machine.write("/etc/cron.deny", "daemon\n")?;
    says("own", "cron.denied", "/etc/cron.deny lists daemon");
    wait_state(&controller, "tick", "converged");
    edit("/etc/cron.allow", "root\n")?;
    says("own", "cron.denied", "/etc/cron.allow does not list daemon");
    edit("/etc/cron.allow", "root\ndaemon\n")?;
    wait_state(&controller, "own", "converged");
    Ok(())
}
