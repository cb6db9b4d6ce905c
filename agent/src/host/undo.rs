//! Puts everything back to before an apply.

use lampas_render::block;
use lampas_shared::{desired::ContentHash, error::Fault};

use super::{
    Before, Ownership, Record, Undo, UndoStep, account, apply,
    kept::{self, Holds},
    plan::{Put, block_print, fingerprint},
    service::{self, Reload},
    state,
};
use crate::system::{Modified, Root, Seen};

/// Undoes an apply, last step first, whether it ended or was interrupted. What somebody changed meanwhile stays as it is,
/// and that is logged: where LAMPAS owned the place before, it is drift; elsewhere it is what stood before LAMPAS. Of shared
/// files the same is true of the block, and foreign lines are nobody's business here. Doing it twice changes nothing.
///
/// # Errors
/// With the first fault; the remaining places are put back all the same, and `journal` is called only when all were.
pub fn roll_back(
    root: &Root,
    undo: &Undo,
    journal: &mut dyn FnMut(&Record) -> Result<(), Fault>,
) -> Result<Record, Fault> {
    let mut first: Option<Fault> = None;
    let mut failed = |path: &str, fault: Fault| {
        tracing::warn!(path, error = %fault, "can't put back what stood here");
        first.get_or_insert(fault);
    };
    let mut reload = Reload::default();
    for step in ordered(root, undo) {
        if service::of_place(&step.path).is_some()
            && let Err(fault) = reload.now(root)
        {
            failed(&step.path, fault);
        }
        if let Err(fault) = put_back(root, undo, step) {
            failed(&step.path, fault);
        }
        reload.wrote(&step.path);
    }
    if let Err(fault) = reload.now(root) {
        failed("systemd", fault);
    }
    let record = Record { ownership: undo.ownership.clone(), undo: Undo::default() };
    match first {
        Some(fault) => Err(fault),
        None => journal(&record).map(|()| record),
    }
}

/// The last step first; but what ends a unit's work before its files go, and what begins it after they came back.
fn ordered<'a>(root: &Root, undo: &'a Undo) -> Vec<&'a UndoStep> {
    let mut steps: Vec<&UndoStep> = undo.steps.iter().rev().collect();
    steps.sort_by_key(|step| {
        if service::of_place(&step.path).is_none() {
            return (1, 0);
        }
        let put = apply::put_of(root, &step.before).unwrap_or(Put::Gone);
        match service::order(&step.path, &put) {
            Some((true, rank)) => (0, rank),
            Some((false, rank)) => (2, rank),
            None => (1, 0),
        }
    });
    steps
}

fn put_back(root: &Root, undo: &Undo, step: &UndoStep) -> Result<(), Fault> {
    let owner = match &step.before {
        Before::File { meta, .. } | Before::Directory { meta } => meta.uid,
        _ => root.accounts().home_owner(&step.path).unwrap_or(0),
    };
    if step.is_shared {
        return match state::look_shared(root, &step.path, owner) {
            Ok(seen) => put_block_back(root, &undo.ownership, step, &seen, owner),
            // Whose file it is has made it too large to be looked through.
            Err(fault) if fault.code == "file.too_large" => {
                tracing::warn!(path = step.path, error = %fault, "what stands there stays as it is");
                Ok(())
            }
            Err(fault) => Err(fault),
        };
    }
    let seen = state::look(root, &step.path, owner)?;
    let put = match (apply::put_of(root, &step.before)?, &seen) {
        (Put::Gone, Seen::Directory { .. }) => Put::GoneDirectory,
        (put, _) => put,
    };
    let print = fingerprint(root, &seen, false);
    if print == put.fingerprint(root) {
        return Ok(());
    }
    if print != step.left {
        // Neither what stood before nor what the apply leaves: somebody's, as each is written in one piece.
        if is_somebodys(root, step, &seen, &put) {
            tracing::warn!(path = step.path, "somebody changed it meanwhile; it stays as it is");
            return Ok(());
        }
        if let Seen::File { bytes, .. } = &seen
            && !account::is_password(&step.path)
        {
            // What stands there may be of before the apply as of after it.
            let is_of_jobs = step.path.starts_with(crate::job::JOBS_DIRECTORY);
            let owned = undo.ownership.places.get(&step.path);
            let holds = match Holds::of(owned, step.holds_secrets || is_of_jobs) {
                Holds::Nothing => Holds::Nothing,
                _ => Holds::Any,
            };
            kept::keep_by_hand(root, &step.path, owner, &holds, bytes).map_err(|e| e.to_fault())?;
        }
    }
    apply::put(root, &undo.ownership, &step.path, &put, owner, None)
}

/// Whether what stands at a place, which is neither of the two that the undo knows, can't be LAMPAS's own doing. Accounts,
/// units and directories are made in several steps, and the kernel may write a setting in its own way.
fn is_somebodys(root: &Root, step: &UndoStep, seen: &Seen, before: &Put) -> bool {
    if account::is_password(&step.path) {
        return account::is_others_password(root, seen, before, &step.left);
    }
    if !state::is_file(&step.path) || step.path.starts_with(crate::job::JOBS_DIRECTORY) {
        return false;
    }
    let was_file = matches!(step.before, Before::File { .. } | Before::Link { .. });
    match seen {
        Seen::File { .. } | Seen::Link { .. } => true,
        Seen::Directory { .. } | Seen::Absent => was_file && !step.is_twofold,
    }
}

fn put_block_back(root: &Root, ownership: &Ownership, step: &UndoStep, seen: &Seen, owner: u32) -> Result<(), Fault> {
    let (earlier, meta) = match apply::put_of(root, &step.before)? {
        Put::File { bytes, uid, gid, mode, xattrs, .. } => (bytes, Some((uid, gid, mode, xattrs))),
        _ => (Vec::new(), None),
    };
    let (current, modified) = match seen {
        Seen::File { bytes, meta, .. } => (bytes.clone(), Modified::After(meta.modified_ns)),
        _ => (Vec::new(), Modified::Now),
    };
    let was = block::extract(&earlier);
    if block::extract(&current) == was {
        return Ok(());
    }
    if block_print(seen) != Some(step.left) {
        // What stood in the block before is LAMPAS's, so that what stands there is found as drift against it.
        if was.is_some() && step.foreign.is_none() {
            tracing::warn!(path = step.path, "somebody changed LAMPAS's block meanwhile; it stays as it is");
            return Ok(());
        }
        if let Some(standing) = block::extract(&current) {
            kept::keep_by_hand(root, &step.path, owner, &Holds::Nothing, standing).map_err(|e| e.to_fault())?;
        }
    }
    let subject = step.crontab_of.as_ref().map_or_else(|| step.path.clone(), |user| format!("crontab:{user}"));
    let is_as_left = |left: &ContentHash| ContentHash::of(&block::foreign(&current)) == *left;
    let bytes = match &step.foreign {
        // Lines of others left the file for managed ones, or came back: all of it is as it was.
        Some(left) if is_as_left(left) => earlier.clone(),
        Some(_) => with_missing(block::replace(&current, &subject, was.unwrap_or_default()), &earlier, &current),
        None => block::replace(&current, &subject, was.unwrap_or_default()),
    };
    let put = match (meta, seen) {
        (None, _) if super::cron::without_header(&bytes).is_empty() => Put::Gone,
        (_, Seen::File { meta, .. }) => {
            let xattrs = crate::system::write::kept_xattrs(meta, true);
            Put::File { bytes, uid: meta.uid, gid: meta.gid, mode: meta.mode, xattrs, modified }
        }
        (Some((uid, gid, mode, xattrs)), _) => Put::File { bytes, uid, gid, mode, xattrs, modified },
        (None, _) => return Ok(()),
    };
    apply::put(root, ownership, &step.path, &put, owner, step.crontab_of.as_deref())
}

/// Appends the lines of others that the block had taken, where somebody changed the rest of the file since.
fn with_missing(mut bytes: Vec<u8>, earlier: &[u8], current: &[u8]) -> Vec<u8> {
    let managed = String::from_utf8_lossy(block::extract(current).unwrap_or_default()).into_owned();
    let (before, now) = (block::foreign(earlier), block::foreign(&bytes));
    let is_there = |line: &&[u8]| now.split(|b| *b == b'\n').any(|l| l == *line);
    let is_taken = |line: &&[u8]| {
        std::str::from_utf8(line).is_ok_and(|line| managed.lines().any(|m| super::hosts::says_the_same(m, line)))
    };
    for line in before.split(|b| *b == b'\n').filter(|l| !is_there(l) && is_taken(l)) {
        if bytes.last().is_some_and(|b| *b != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}
