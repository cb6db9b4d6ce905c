//! Puts everything back to before an apply.

use lampas_render::block;
use lampas_shared::error::Fault;

use super::{
    Before, Record, Undo, UndoStep, apply, kept,
    plan::{Put, fingerprint},
};
use crate::system::{Modified, Root, Seen};

/// Undoes an apply, last step first, whether it ended or was interrupted. Foreign lines of shared files stay as they are
/// now. What somebody changed after the apply is kept as a copy. Doing it twice changes nothing.
///
/// # Errors
/// With the first fault; the remaining places are put back all the same, and `journal` is called only when all were.
pub fn roll_back(
    root: &Root,
    undo: &Undo,
    journal: &mut dyn FnMut(&Record) -> Result<(), Fault>,
) -> Result<Record, Fault> {
    let mut first: Option<Fault> = None;
    for step in undo.steps.iter().rev() {
        if let Err(fault) = put_back(root, step) {
            tracing::warn!(path = step.path, error = %fault, "can't put back what stood here");
            first.get_or_insert(fault);
        }
    }
    let record = Record { ownership: undo.ownership.clone(), undo: Undo::default() };
    match first {
        Some(fault) => Err(fault),
        None => journal(&record).map(|()| record),
    }
}

fn put_back(root: &Root, step: &UndoStep) -> Result<(), Fault> {
    let owner = match &step.before {
        Before::File { meta, .. } | Before::Directory { meta } => meta.uid,
        _ => root.accounts().home_owner(&step.path).unwrap_or(0),
    };
    let seen = root.look(&step.path, owner).map_err(|e| e.to_fault())?;
    if step.is_shared {
        return put_block_back(root, step, &seen, owner);
    }
    let put = match (apply::put_of(root, &step.before)?, &seen) {
        (Put::Gone, Seen::Directory { .. }) => Put::GoneDirectory,
        (put, _) => put,
    };
    let print = fingerprint(root, &seen, false);
    if print == put.fingerprint(root) {
        return Ok(());
    }
    if print != step.left
        && let Seen::File { bytes, .. } = &seen
    {
        kept::keep_by_hand(root, &step.path, bytes).map_err(|e| e.to_fault())?;
    }
    apply::put(root, &step.path, &put, owner, None)
}

fn put_block_back(root: &Root, step: &UndoStep, seen: &Seen, owner: u32) -> Result<(), Fault> {
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
    let subject = step.crontab_of.as_ref().map_or_else(|| step.path.clone(), |user| format!("crontab:{user}"));
    let bytes = block::replace(&current, &subject, was.unwrap_or_default());
    let put = match (meta, seen) {
        (None, _) if super::cron::without_header(&bytes).is_empty() => Put::Gone,
        (_, Seen::File { meta, .. }) => {
            let xattrs = crate::system::write::kept_xattrs(meta, true);
            Put::File { bytes, uid: meta.uid, gid: meta.gid, mode: meta.mode, xattrs, modified }
        }
        (Some((uid, gid, mode, xattrs)), _) => Put::File { bytes, uid, gid, mode, xattrs, modified },
        (None, _) => return Ok(()),
    };
    apply::put(root, &step.path, &put, owner, step.crontab_of.as_deref())
}
