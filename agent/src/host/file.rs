//! Files, directories and links: places that are one resource's alone.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    error::Fault,
    host::ManagedPath,
    object::Kind,
};

use super::{
    plan::{Check, How, Planner, Put, Settled, Whole, file_print},
    service,
};
use crate::system::Modified;

pub(super) fn plan(planner: &mut Planner<'_>, resource: &Resource, refused: Option<Fault>) {
    let Some(path) = path_of(&resource.spec) else { return };
    // The path was checked when it was made; a journal or a controller that is not ours is checked again.
    let wrong = ManagedPath::parse(path.as_str()).err().map(|e| Fault::lasting("file.path", e.to_string()));
    let wanted = match refused.or(wrong) {
        Some(fault) => Err(fault),
        None => wanted(planner, resource),
    };
    match wanted {
        Ok(Some((put, owner, notes))) => {
            let check = match (&resource.spec, &put) {
                (Spec::File { validate: Some(validator), .. }, Put::File { bytes, .. }) => Some(Check {
                    target: resource.target.clone(),
                    path: path.as_str().to_owned(),
                    how: How::Validator(validator.clone()),
                    bytes: bytes.clone(),
                }),
                (Spec::File { path, .. }, Put::File { bytes, .. }) if resource.kind == Kind::Service => {
                    service::how(planner, path.as_str()).map(|how| Check {
                        target: resource.target.clone(),
                        path: path.as_str().to_owned(),
                        how,
                        bytes: bytes.clone(),
                    })
                }
                _ => None,
            };
            let path = path.as_str().to_owned();
            planner.whole(Whole { resource, path, put, owner, is_inner: false, is_single: false, notes });
            planner.check(check);
            service::note_running(planner, resource);
        }
        Ok(None) => {}
        Err(fault) => planner.refuse(resource, path.as_str(), fault),
    }
}

fn path_of(spec: &Spec) -> Option<&ManagedPath> {
    match spec {
        Spec::File { path, .. } | Spec::Directory { path, .. } | Spec::Link { path, .. } => Some(path),
        _ => None,
    }
}

/// What a place gets, whose it is and what is to be said of it.
type Wanted = (Put, u32, Vec<String>);

/// Returns what shall stand there; `None` when that stands there untouched since it was read last, and was planned.
fn wanted(planner: &mut Planner<'_>, resource: &Resource) -> Result<Option<Wanted>, Fault> {
    let mut notes = Vec::new();
    let (owner, group) = match &resource.spec {
        Spec::File { owner, group, .. } | Spec::Directory { owner, group, .. } => (owner, group),
        Spec::Link { to, .. } => return Ok(Some((Put::Link { to: to.clone() }, 0, notes))),
        _ => {
            return Err(Fault::lasting("file.kind", "not a file, a directory or a link"));
        }
    };
    let uid = planner.accounts.user(owner.as_str()).map(|a| a.uid);
    let gid = planner.accounts.group(group.as_str());
    let unknown = |what: &str, name: &str| {
        Fault::lasting(
            &format!("file.{what}_unknown"),
            format!("there is no {what} {name} on this node; create it, or name another"),
        )
    };
    let uid = uid.ok_or_else(|| unknown("user", owner.as_str()))?;
    let gid = gid.ok_or_else(|| unknown("group", group.as_str()))?;
    if !planner.root.is_privileged() && uid != planner.root.euid() {
        notes.push(format!("not root: owner {owner}:{group} not set"));
    }
    let put = match &resource.spec {
        Spec::File { path, content, mode, .. } => {
            if planner.fills(path.as_str()) && mode.bits() & 0o007 != 0 {
                notes.push(format!(
                    "secrets are in it, and mode {mode} lets everybody have them; write 0640 or stricter"
                ));
            }
            let leaves = file_print(planner.root, &content.hash, uid, gid, mode.bits());
            let path = path.as_str();
            if planner.settled(&Settled { resource, path, leaves, owner: uid, is_inner: false, notes: &notes }) {
                return Ok(None);
            }
            let bytes = content.inline.clone().or_else(|| (planner.inputs.content)(&content.hash));
            let bytes = bytes.ok_or_else(|| {
                Fault::passing("file.content_missing", "its content has not arrived on this node yet")
            })?;
            if ContentHash::of(&bytes) != content.hash {
                return Err(Fault::passing(
                    "file.content_damaged",
                    "its content does not have the hash that it should have",
                ));
            }
            if resource.kind == Kind::Service {
                service::may_write(path)?;
            }
            if resource.kind == Kind::Sudoers {
                super::sudoers::check_rules(resource.name.as_str(), &bytes)?;
            }
            Put::File { bytes, uid, gid, mode: mode.bits(), xattrs: BTreeMap::new(), modified: Modified::Now }
        }
        Spec::Directory { mode, .. } => Put::Directory { uid, gid, mode: mode.bits() },
        _ => unreachable!("returned above"),
    };
    Ok(Some((put, uid, notes)))
}
