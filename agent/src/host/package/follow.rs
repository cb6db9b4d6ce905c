//! What follows a change of packages: which units take up which packages once their version is another.
//!
//! It is put down before apt begins, with the versions that stood, and compared when apt has ended: so it is known also to
//! a later life of the agent, and a transaction that changed nothing makes nothing due.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::package::Stage;
use lampas_shared::{error::Fault, host::Reaction, object::Target};
use serde::{Deserialize, Serialize};

use super::{Installed, PLACE, PackagePlan};
use crate::{
    host::plan::Put,
    system::{Modified, NewFile, Root},
};

const FILE: &str = "/var/lib/lampas/agent/packages/follow.json";
const DIRECTORY: &str = "/var/lib/lampas/agent/packages";
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Following {
    target: Target,
    /// The version that was installed; `None` for none.
    before: Option<String>,
    on_change: Vec<Reaction>,
}

type All = BTreeMap<String, Following>;

/// Puts down what may be due after the transaction of a plan. What an earlier one left open stays with what stood then.
///
/// # Errors
/// When it can't be read or written.
pub fn note_follows(root: &Root, plan: &PackagePlan) -> Result<(), Fault> {
    let mut all = read(root)?;
    let standing = all.clone();
    let mut installed = None;
    for step in plan.plan.steps.iter().filter(|s| s.put != Put::Keep) {
        let claims = step.owned.iter().flat_map(|o| &o.claims).filter(|(_, c)| !c.on_change.is_empty());
        for (target, claim) in claims {
            let installed = match &installed {
                Some(installed) => installed,
                None => installed.insert(Installed::read(root)?),
            };
            let name = step.path.strip_prefix(PLACE).unwrap_or(&step.path);
            let before = installed.is_at(name).map(|p| p.version.clone());
            let entry = all.entry(name.to_owned()).or_insert_with(|| Following {
                target: target.clone(),
                before,
                on_change: Vec::new(),
            });
            entry.on_change.clone_from(&claim.on_change);
        }
    }
    if all == standing { Ok(()) } else { write(root, &all) }
}

/// A package that has another version than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPackage {
    /// The package.
    pub target: Target,
    /// What is installed.
    pub version: String,
    /// What follows its change, as it was put down.
    pub on_change: Vec<Reaction>,
}

/// Returns the packages that have another version than before, and are installed, as far as what follows is not done.
///
/// # Errors
/// When it can't be told.
pub fn changed_packages(root: &Root) -> Result<Vec<ChangedPackage>, Fault> {
    let all = read(root)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let installed = Installed::read(root)?;
    let changed = all.into_iter().filter_map(|(name, following)| {
        let version = installed.is_at(&name)?.version.clone();
        let Following { target, before, on_change } = following;
        (Some(&version) != before.as_ref()).then_some(ChangedPackage { target, version, on_change })
    });
    Ok(changed.collect())
}

/// Forgets what was due, since it is done, and what did not come: a version that comes later is another hand's doing, and
/// starts nothing anew. What is in between stays, and what some unit did not take up. Call it when apt has ended.
///
/// # Errors
/// When it can't be written: then it is done once more.
pub fn followed(root: &Root, untaken: &BTreeSet<Target>) -> Result<(), Fault> {
    let mut all = read(root)?;
    if all.is_empty() {
        return Ok(());
    }
    let installed = Installed::read(root)?;
    let count = all.len();
    let is_broken = |name: &String| installed.0.get(name).is_some_and(|p| p.stage == Stage::Broken);
    all.retain(|name, following| is_broken(name) || untaken.contains(&following.target));
    if all.len() == count { Ok(()) } else { write(root, &all) }
}

fn read(root: &Root) -> Result<All, Fault> {
    let Some(bytes) = root.read(FILE, MAX_BYTES).map_err(|e| e.to_fault())? else { return Ok(All::new()) };
    // What can't be read is of another build: nothing goes by it.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn write(root: &Root, all: &All) -> Result<(), Fault> {
    if all.is_empty() {
        return root.remove(FILE, 0).map_err(|e| e.to_fault());
    }
    root.make_directories(DIRECTORY, 0o700).map_err(|e| e.to_fault())?;
    let (bytes, xattrs) = (serde_json::to_vec(all).expect("names and texts alone"), BTreeMap::new());
    let file =
        NewFile { bytes: &bytes, uid: root.euid(), gid: 0, mode: 0o600, xattrs: &xattrs, modified: Modified::Now };
    root.write(FILE, &file).map_err(|e| e.to_fault())
}
