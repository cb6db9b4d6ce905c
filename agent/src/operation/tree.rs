//! All processes below this one. The shim adopts orphans (`PR_SET_CHILD_SUBREAPER`), so that whoever forks twice and
//! takes a session of its own is still below it.

use std::collections::BTreeMap;

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

/// Returns the processes below this one that are not dead.
pub(super) fn descendants() -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, after)) = stat.rsplit_once(')') else { continue };
        let mut fields = after.split_whitespace();
        let is_dead = matches!(fields.next(), Some("Z" | "X"));
        if let (Some(parent), false) = (fields.next().and_then(|p| p.parse().ok()), is_dead) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![getpid().as_raw()];
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

/// Sends a signal to all of them; returns how many there were.
pub(super) fn signal_all(signal: Signal) -> usize {
    let all = descendants();
    for pid in &all {
        // Who ended meanwhile is who was meant.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
    all.len()
}
