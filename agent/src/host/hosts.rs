//! `/etc/hosts`: a managed block, and what else decides about a name.

use std::net::IpAddr;

use lampas_render::hosts::{HostsLine, LineContent, shadowed};
use lampas_shared::{
    desired::{Resource, Spec},
    error::{Chain, Fault},
    host::HostName,
};
use tracing::warn;

use super::plan::{Planner, Shared};
use crate::system::{
    Root, Seen,
    run::{self, Program},
};

/// The file.
pub(super) const PATH: &str = lampas_render::hosts::PATH;
const GETENT: &str = "/usr/bin/getent";
const NSCD: &str = "/usr/sbin/nscd";
const NSCD_PID: &str = "/run/nscd/nscd.pid";

pub(super) fn plan(planner: &mut Planner<'_>, resources: &[(&Resource, Option<Fault>)]) {
    let existing = match planner.root.look(PATH, 0) {
        Ok(Seen::File { bytes, .. }) => bytes,
        _ => Vec::new(),
    };
    let about = notes_of_file(planner.root);
    let host_name = planner.inputs.facts.host_name.clone();
    let mut parts = Vec::new();
    for (resource, refused) in resources {
        let Spec::Hosts { address, names, comment } = &resource.spec else { continue };
        let line = HostsLine { address: *address, names: names.clone(), comment: comment.clone() };
        let mut notes = about.clone();
        notes.extend(shadowed(&existing, std::slice::from_ref(&line)).iter().map(ToString::to_string));
        if names.iter().any(|n| n.as_str().eq_ignore_ascii_case(&host_name)) && !address.is_loopback() {
            notes.push(format!("{host_name} is this node's own name, which Debian keeps at 127.0.1.1"));
        }
        let lines = match refused {
            Some(fault) => Err(fault.clone()),
            None => Ok(vec![line.to_string()]),
        };
        parts.push((*resource, lines, notes));
    }
    planner.shared(Shared {
        path: PATH.to_owned(),
        owner: 0,
        fresh: (0, 0, 0o644),
        crontab_of: None,
        subject: PATH.to_owned(),
        same: Some(meaning),
        parts,
    });
}

/// Returns whether a line of others says what a managed line says: the same address, the same names in the same order.
pub(super) fn says_the_same(managed: &str, foreign: &str) -> bool {
    meaning(managed).is_some_and(|managed| meaning(foreign) == Some(managed))
}

/// What an entry says, however it is spaced; loopback lines are the system's own.
fn meaning(line: &str) -> Option<String> {
    let line = lampas_render::hosts::parse(line.as_bytes()).lines.into_iter().next()?;
    match line.content {
        LineContent::Entry { address, names, .. } if !address.is_loopback() => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            Some(format!("{address} {}", names.join(" ")))
        }
        _ => None,
    }
}

/// What stands in the way of the file as a whole.
fn notes_of_file(root: &Root) -> Vec<String> {
    let mut notes = Vec::new();
    if is_mounted(root) {
        notes.push(format!(
            "{PATH} is mounted (a container?): it can't be replaced and is written in place, after a copy is kept"
        ));
    }
    let mut configs = vec!["/etc/cloud/cloud.cfg".to_owned()];
    let more = root.list("/etc/cloud/cloud.cfg.d", 1000).ok().flatten().unwrap_or_default();
    configs.extend(more.into_iter().map(|n| format!("/etc/cloud/cloud.cfg.d/{n}")));
    let mut manages = false;
    for path in configs {
        let Some(text) = root.read(&path, 1 << 20).ok().flatten() else { continue };
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some(value) = line.trim().strip_prefix("manage_etc_hosts:") {
                manages = matches!(
                    value.trim().trim_matches(['"', '\'']).to_ascii_lowercase().as_str(),
                    "true" | "template" | "localhost"
                );
            }
        }
    }
    if manages {
        notes.push(format!(
            "cloud-init rewrites {PATH} at each boot (manage_etc_hosts); LAMPAS puts its block back, but set manage_etc_hosts: false"
        ));
    }
    notes
}

fn is_mounted(root: &Root) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    let Ok(place) = root.place(PATH, 0) else { return false };
    let stat = rustix::fs::statx(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    stat.is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Has nscd forget what it cached of the file, where nscd runs: it may be told not to look at the file.
pub(super) fn written(root: &Root) {
    if root.is_system()
        && nscd_runs(root)
        && let Err(why) = forget_cached()
    {
        warn!(error = why, "nscd caches hosts and did not forget them");
    }
}

fn nscd_runs(root: &Root) -> bool {
    let pid = root.read(NSCD_PID, 64).ok().flatten();
    let pid = pid.and_then(|text| String::from_utf8_lossy(&text).trim().parse::<u32>().ok());
    // What a daemon that was killed left behind says nothing.
    pid.is_some_and(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == "nscd")
    })
}

fn forget_cached() -> Result<(), String> {
    match run::run(&Program::new(NSCD).args(["--invalidate=hosts"])) {
        Ok(output) if output.is_success() => Ok(()),
        Ok(output) => Err(output.describe()),
        Err(error) => Err(Chain(&error).to_string()),
    }
}

fn resolve(name: &HostName, is_v6: bool) -> Result<Vec<IpAddr>, Fault> {
    let database = if is_v6 { "ahostsv6" } else { "ahostsv4" };
    let output = run::run(&Program::new(GETENT).args([database, name.as_str()]));
    let output = output.map_err(|e| Fault::passing("hosts.getent", format!("can't ask the resolver: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|l| l.split_whitespace().next()?.parse().ok()).collect())
}

/// Asks the node's resolver whether the names lead to the address. Nothing is said of another root.
pub(super) fn prove(root: &Root, address: IpAddr, names: &[HostName]) -> Result<Vec<String>, Fault> {
    if !root.is_system() {
        return Ok(vec!["effect not proven under --root".to_owned()]);
    }
    let mut notes = Vec::new();
    for name in names {
        let mut found = resolve(name, address.is_ipv6())?;
        // It may have been asked between the write and the moment in which nscd forgot.
        if !found.contains(&address) && nscd_runs(root) {
            match forget_cached() {
                Ok(()) => found = resolve(name, address.is_ipv6())?,
                Err(why) => notes.push(format!(
                    "nscd caches hosts and did not forget them, so that {name} may take its time-to-live to change: {why}"
                )),
            }
        }
        if found.contains(&address) {
            continue;
        }
        match found.first() {
            Some(other) => notes.push(format!(
                "{name} resolves to {other} on this node: something before {PATH} or its first line for the name wins"
            )),
            None => {
                return Err(Fault::passing(
                    "hosts.not_resolved",
                    format!(
                        "{name} stands in {PATH}, but getent does not find it; look at the hosts line of /etc/nsswitch.conf"
                    ),
                ));
            }
        }
    }
    Ok(notes)
}
