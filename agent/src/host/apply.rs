//! Makes a plan true: originals kept first, then the record journalled, then the writes.

use lampas_render::block;
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    host::{AptSource, Aspect},
    object::Target,
};
use rustix::io::Errno;
use thiserror::Error;

use super::{
    Before, HostPlan, Owned, Ownership, Record, Undo, UndoStep, account, cron,
    kept::{self, Holds},
    plan::{Put, Step, before_of, fingerprint},
    service::{self, Reload},
};
use crate::system::{NewFile, PathError, Root, Seen, root::PathProblem};

/// Why an apply stopped. What was written until then stays until [`roll_back`](super::roll_back()).
#[derive(Debug, Error)]
#[error("{fault}")]
pub struct ApplyError {
    /// The resources whose place could not be written; empty when the journal failed.
    pub targets: Vec<Target>,
    /// Why.
    pub fault: Fault,
    /// What was journalled, with an undo of what was written until then: places that were not reached are no business of
    /// the way back. Nothing was written when it has no steps.
    pub record: Box<Record>,
}

/// Applies a plan, whose steps leave out what has a fault. `journal` stores a [`Record`] durably; it is called before the first
/// write, with everything that may be touched, and after the last, with what is owned then. An interrupted apply is
/// continued by planning and applying again, or undone with the journalled record.
///
/// # Errors
/// At the first place that can't be written, or when somebody changed one since the plan.
pub fn apply(
    root: &Root,
    plan: &HostPlan,
    journal: &mut dyn FnMut(&Record) -> Result<(), Fault>,
) -> Result<Record, ApplyError> {
    let steps = ordered(plan);
    let mut record = Record {
        ownership: plan.ownership.clone(),
        undo: Undo { ownership: plan.ownership.clone(), steps: Vec::new() },
    };
    if steps.is_empty() {
        return Ok(record);
    }
    let stop = |step: Option<&Step>, fault: Fault, record: &Record| ApplyError {
        targets: step.map(|s| s.targets.clone()).unwrap_or_default(),
        fault,
        record: Box::new(record.clone()),
    };
    // Before the first write there is nothing to put back, and what was owned stays owned.
    let nothing = record.clone();
    for step in &steps {
        prepare(root, &plan.ownership, step).map_err(|fault| stop(Some(step), fault, &nothing))?;
        intend(root, &mut record.ownership, step);
        if step.put != Put::Keep {
            record.undo.steps.push(UndoStep {
                path: step.path.clone(),
                before: before_of(&step.seen),
                is_shared: step.is_shared,
                left: step.leaves,
                crontab_of: step.crontab_of.clone(),
                foreign: foreign_left(step),
                is_twofold: is_twofold(step),
                holds_secrets: holds(&plan.ownership, step) != Holds::Nothing,
            });
        }
    }
    journal(&record).map_err(|fault| stop(None, fault, &nothing))?;
    // The way back of the first so many writes; what the journal has covers all of them, for who is killed in between.
    let until = |written: usize| {
        let mut begun = record.clone();
        begun.undo.steps.truncate(written);
        begun
    };
    let mut reload = Reload::default();
    for (at, step) in steps.iter().filter(|s| s.put != Put::Keep).enumerate() {
        if service::of_place(&step.path).is_some() {
            reload.now(root).map_err(|fault| stop(Some(step), fault, &until(at)))?;
        }
        look_again(root, step).map_err(|fault| stop(Some(step), fault, &until(at)))?;
        put(root, &plan.ownership, &step.path, &step.put, step.owner, step.crontab_of.as_deref())
            .map_err(|fault| stop(Some(step), fault, &until(at + 1)))?;
        reload.wrote(&step.path);
        reload.acted(&step.path, &step.put);
    }
    reload.now(root).map_err(|fault| stop(None, fault, &record))?;
    if let Err((unit, fault)) = reload.settle(root) {
        let started = steps.iter().find(|s| s.path == service::place(&unit, Aspect::Running));
        return Err(stop(started, fault, &record));
    }
    let mut done = record.clone();
    for step in &steps {
        match &step.owned {
            Some(owned) => drop(done.ownership.places.insert(step.path.clone(), owned.clone())),
            None => drop(done.ownership.places.remove(&step.path)),
        }
    }
    journal(&done).map_err(|fault| stop(None, fault, &record))?;
    Ok(done)
}

/// The hash of what a step leaves outside of its block, when it takes lines of others away or gives them back.
fn foreign_left(step: &Step) -> Option<ContentHash> {
    let (Put::File { bytes: new, .. }, Seen::File { bytes: old, .. }) = (&step.put, &step.seen) else { return None };
    let left = block::foreign(new);
    (step.is_shared && left != block::foreign(old)).then(|| ContentHash::of(&left))
}

/// Whether something goes before something of another sort comes: what stands there can't be replaced by it.
fn is_twofold(step: &Step) -> bool {
    matches!(
        (&step.put, &step.seen),
        (Put::Directory { .. }, Seen::File { .. } | Seen::Link { .. })
            | (Put::File { .. } | Put::Link { .. }, Seen::Directory { .. })
    )
}

/// Orders the steps: removals before the rest, what is below a directory before the directory when it goes and after it
/// when it comes, a job's file before the line that calls it and after the line is gone, units around their files.
fn ordered(plan: &HostPlan) -> Vec<Step> {
    let mut steps = plan.steps.clone();
    let is_job = |s: &Step| s.path.starts_with(crate::job::JOBS_DIRECTORY);
    let plain = |s: &Step| match (s.is_removal, &s.put) {
        (true, _) if is_job(s) => 1,
        (true, _) => 0,
        (false, Put::Directory { .. }) => 2,
        (false, _) if is_job(s) => 3,
        (false, _) => 4,
    };
    let phase = |s: &Step| account::phase(s).unwrap_or_else(|| service::phase(s, plain(s)));
    steps.sort_by(|a, b| {
        let by_path = if a.is_removal { b.path.cmp(&a.path) } else { a.path.cmp(&b.path) };
        phase(a).cmp(&phase(b)).then(by_path)
    });
    steps
}

/// Keeps what would be lost, before anything is written.
fn prepare(root: &Root, ownership: &Ownership, step: &Step) -> Result<(), Fault> {
    let fault = |e: PathError| e.to_fault();
    let holds = holds(ownership, step);
    if let (Seen::File { bytes, .. }, true) = (&step.seen, step.put != Put::Keep || !step.is_removal) {
        kept::keep(root, &step.path, holds.clone(), bytes).map_err(fault)?;
    }
    if let Some(bytes) = &step.keeps {
        kept::keep(root, &step.path, holds.clone(), bytes).map_err(fault)?;
    }
    if let Some(bytes) = &step.by_hand {
        kept::keep_by_hand(root, &step.path, step.owner, &holds, bytes).map_err(fault)?;
    }
    Ok(())
}

/// What copies of a place hold of secrets. What stands where LAMPAS is about to put some is often what they were copied from.
fn holds(ownership: &Ownership, step: &Step) -> Holds {
    let will = step.owned.as_ref().is_some_and(|owned| owned.holds_secrets);
    Holds::of(ownership.places.get(&step.path), will || account::is_password(&step.path))
}

/// Enters a step in the ownership as it holds while the step may be done or not.
pub(super) fn intend(root: &Root, ownership: &mut Ownership, step: &Step) {
    let found = if step.is_shared { None } else { Some(fingerprint(root, &step.seen, false)) };
    if let Some(owned) = &step.owned {
        let place = ownership
            .places
            .entry(step.path.clone())
            .or_insert_with(|| Owned { known: Default::default(), ..owned.clone() });
        place.claims.extend(owned.claims.clone());
        place.holds_secrets |= owned.holds_secrets;
        place.values.extend(owned.values.iter().copied());
        place.known.extend(owned.known.iter().copied());
    }
    if let Some(place) = ownership.places.get_mut(&step.path) {
        place.known.insert(step.leaves);
        place.known.extend(found);
        if step.is_shared {
            place.known.extend(super::plan::block_print(&step.seen));
        }
    }
}

/// Looks whether a place is still as it was when it was planned.
fn look_again(root: &Root, step: &Step) -> Result<(), Fault> {
    let looked = super::state::look(root, &step.path, step.owner)?;
    // What goes on in a directory changes its time and is nobody's business here.
    let is_same = match (&looked, &step.seen) {
        (Seen::Directory { .. }, Seen::Directory { .. }) => {
            fingerprint(root, &looked, false) == fingerprint(root, &step.seen, false)
        }
        // What a unit is changes with its file and its mask, which may be part of this very apply.
        _ if service::of_place(&step.path).is_some() => true,
        (looked, seen) => looked == seen || account::is_same(&step.path, looked, seen),
    };
    if !is_same {
        return Err(Fault::passing(
            "file.changed_meanwhile",
            format!("{}: somebody changed it between the plan and the write; it is planned again", step.path),
        ));
    }
    Ok(())
}

/// Puts something in a place. What is owned says what LAMPAS had left there.
pub(super) fn put(
    root: &Root,
    ownership: &Ownership,
    path: &str,
    put: &Put,
    owner: u32,
    crontab_of: Option<&str>,
) -> Result<(), Fault> {
    if let Some(done) = super::state::put(root, ownership, path, put) {
        return done;
    }
    // A user who is gone has no crontab(1), but may have left a file.
    if let Some(user) = crontab_of.filter(|user| root.is_system() && root.accounts().user(user).is_some()) {
        return match put {
            Put::File { bytes, .. } => cron::install_crontab(user, bytes),
            Put::Gone => cron::remove_crontab(user),
            _ => Ok(()),
        };
    }
    let written = match write_over(root, path, put, crontab_of) {
        // A file of LAMPAS's takes the place of a directory of LAMPAS's, or the other way round: not in one step.
        Err(PathError { problem: PathProblem::System { errno: Errno::ISDIR, .. }, .. }) => {
            root.remove_directory(path, owner).and_then(|_| write_over(root, path, put, crontab_of))
        }
        Err(PathError {
            problem: PathProblem::System { errno: Errno::NOTDIR | Errno::LOOP, .. } | PathProblem::Symlink(_),
            ..
        }) if matches!(put, Put::Directory { .. }) => {
            root.remove(path, owner).and_then(|()| write_over(root, path, put, crontab_of))
        }
        written => written,
    };
    let written = match (written, put) {
        (Ok(()), Put::Gone) => match retire(root, path).and_then(|()| root.remove(path, owner)) {
            Err(error) if path == super::hosts::PATH && is_mounted(&error) => root.write_in_place(path, &[]),
            Ok(()) if path.starts_with(crate::job::JOBS_DIRECTORY) => crate::job::remove_slot(root, path),
            // The directory goes with the last file in it.
            Ok(()) => service::directory_of(path).map_or(Ok(()), |d| root.remove_directory(d, 0).map(drop)),
            refused => refused,
        },
        (Ok(()), Put::GoneDirectory) => root.remove_directory(path, owner).map(drop),
        (written, _) => written,
    };
    written.map_err(|e| e.to_fault())?;
    if path == super::hosts::PATH {
        super::hosts::written(root);
    }
    Ok(())
}

fn write_over(root: &Root, path: &str, put: &Put, crontab_of: Option<&str>) -> Result<(), PathError> {
    match put {
        Put::Keep | Put::Gone | Put::GoneDirectory | Put::Account { .. } | Put::GoneWithHome => Ok(()),
        Put::File { bytes, uid, gid, mode, xattrs, modified } => {
            if let Some(directory) = service::directory_of(path) {
                root.make_directories(directory, 0o755)?;
            }
            if AptSource::is_key_path(path) {
                // Debian has it since bookworm.
                root.make_directories("/etc/apt/keyrings", 0o755)?;
            }
            if crontab_of.is_some() {
                root.make_directories(cron::SPOOL, 0o755)?;
            } else if path.starts_with(crate::job::JOBS_DIRECTORY) {
                crate::job::prepare_directories(root)?;
                retire(root, path)?;
                crate::job::prepare_slot(root, bytes)?;
            }
            let file = NewFile { bytes, uid: *uid, gid: *gid, mode: *mode, xattrs, modified: *modified };
            match root.write(path, &file) {
                // A file that is mounted, as containers do with /etc/hosts, can't be replaced.
                Err(error) if path == super::hosts::PATH && is_mounted(&error) => root.write_in_place(path, bytes),
                written => written,
            }
        }
        Put::Directory { uid, gid, mode } => root.write_directory(path, *uid, *gid, *mode),
        Put::Link { to } => root.write_link(path, to),
    }
}

fn retire(root: &Root, path: &str) -> Result<(), PathError> {
    if path.starts_with(crate::job::JOBS_DIRECTORY) { crate::job::retire(root, path) } else { Ok(()) }
}

fn is_mounted(error: &PathError) -> bool {
    matches!(error.problem, PathProblem::System { errno: Errno::BUSY | Errno::XDEV, .. })
}

/// Returns what puts an earlier state back.
pub(super) fn put_of(root: &Root, before: &Before) -> Result<Put, Fault> {
    Ok(match before {
        Before::Absent | Before::Shared => Put::Gone,
        Before::Directory { meta } => Put::Directory { uid: meta.uid, gid: meta.gid, mode: meta.mode },
        Before::Link { to } => Put::Link { to: to.clone() },
        Before::File { hash, meta } => {
            let lost =
                || Fault::lasting("file.original_lost", format!("the kept copy {} is gone or damaged", hash.short()));
            Put::File {
                bytes: kept::original(root, hash).ok_or_else(lost)?,
                uid: meta.uid,
                gid: meta.gid,
                mode: meta.mode,
                xattrs: meta.xattrs.clone(),
                modified: crate::system::Modified::At(meta.modified_ns),
            }
        }
    })
}
