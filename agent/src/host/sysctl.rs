//! Kernel settings: the running kernel's value, and what the next boot makes of the files.

use std::collections::BTreeMap;

use lampas_render::sysctl::assigned;
use lampas_shared::{
    desired::Resource,
    error::Fault,
    host::{Sysctl, SysctlKey},
};

use super::{
    plan::{Planner, Put, Whole},
    state,
};
use crate::system::{Modified, Root, Seen};

/// The directories that are read at boot, the first that has a file of a name wins it (sysctl.d(5)).
const DIRECTORIES: [&str; 4] = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
const MAIN: &str = "/etc/sysctl.conf";
const MAX_FILES: usize = 1000;
const MAX_BYTES: u64 = 1 << 20;

/// Plans the running kernel's value.
pub(super) fn plan(
    planner: &mut Planner<'_>,
    resource: &Resource,
    key: &SysctlKey,
    value: &str,
    refused: Option<Fault>,
) {
    let path = state::kernel(key);
    if !planner.root.is_system() {
        let note = "not proven: below --root the file alone is managed, and the running kernel is left as it is";
        return planner.enter_note(resource, &path, note);
    }
    let seen = refused.map_or_else(|| state::look(planner.root, &path, 0), Err);
    let blocked = match &seen {
        Err(fault) => Some(fault.clone()),
        Ok(Seen::Absent) => Some(state::unknown(key)),
        Ok(Seen::File { bytes, .. }) if *bytes != text(value) => state::refusal(key),
        Ok(_) => None,
    };
    if let Some(fault) = blocked {
        return planner.refuse(resource, &path, fault);
    }
    let put =
        Put::File { bytes: text(value), uid: 0, gid: 0, mode: 0o644, xattrs: BTreeMap::new(), modified: Modified::Now };
    planner.whole(Whole { resource, path, put, owner: 0, is_inner: false, is_single: false, notes: Vec::new() });
}

fn text(value: &str) -> Vec<u8> {
    format!("{}\n", value.split_whitespace().collect::<Vec<_>>().join(" ")).into_bytes()
}

/// Says which files would win over a setting's own at the next boot.
pub(super) fn prove(root: &Root, own: &str, bytes: &[u8]) -> Vec<String> {
    let Some((key, value)) = assigned(&String::from_utf8_lossy(bytes)).into_iter().next() else { return Vec::new() };
    let Ok(key) = SysctlKey::parse(key) else { return Vec::new() };
    let wanted = Sysctl { key, value };
    let name = own.rsplit('/').next().unwrap_or_default().to_owned();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for directory in DIRECTORIES {
        for file in root.list(directory, MAX_FILES).ok().flatten().unwrap_or_default() {
            // As systemd-sysctl has it: by these very letters.
            if file.strip_suffix(".conf").is_some() {
                files.entry(file.clone()).or_insert_with(|| format!("{directory}/{file}"));
            }
        }
    }
    let later = files.into_iter().filter(|(file, _)| *file > name).map(|(_, path)| path);
    let mut notes = Vec::new();
    for path in later.chain([MAIN.to_owned()]) {
        // A link (99-sysctl.conf) leads to the main file, which is read by itself.
        let Ok(Some(bytes)) = root.read(&path, MAX_BYTES) else { continue };
        for (key, value) in assigned(&String::from_utf8_lossy(&bytes)) {
            let other = SysctlKey::parse(key).map(|key| Sysctl { key, value });
            let Ok(other) = other else { continue };
            if other.key.proc_path() == wanted.key.proc_path() && other.plain_value() != wanted.plain_value() {
                notes.push(format!("at the next boot {path} sets it to {}", other.plain_value()));
            }
        }
    }
    notes
}
