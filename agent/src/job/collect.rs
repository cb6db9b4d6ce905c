//! Collects the spool: what users dropped there is taken only for their own jobs, and only when it is what it should be.

use std::collections::BTreeMap;

use lampas_shared::{
    id::{ObjectId, RunId},
    report::{JobRun, RunOutcome},
    time::UnixMs,
};
use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};
use tracing::warn;

use super::{
    JobFile,
    file::{job_path, retired_users},
    spool::{SPOOL_DIRECTORY, Started, TEMPORARY, ended_name, started_name},
};
use crate::system::{Accounts, PathError, Root, Seen, root::Place};

/// The most records of one round; what is left is taken in the next.
pub const MAX_RECORDS: usize = 1000;
/// The most jobs of one user that run at a time.
const MAX_RUNNING: usize = 1000;
/// The most names that are looked at: a user may drop any number of them.
const MAX_NAMES: usize = 20_000;
/// 64 KiB of output, each byte escaped to six in JSON, and the rest of the record.
const MAX_RECORD_BYTES: u64 = 512 << 10;
/// A temporary file of this age belongs to a wrapper that died: it is renamed within milliseconds. Ten minutes, so that
/// a full or stuck disk costs no record.
const STALE_MS: i64 = 600_000;

/// A run that was found in the spool. It stays there until [`Collected::discard`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The run.
    pub run: JobRun,
    names: Vec<String>,
}

impl Collected {
    /// Removes the record from the spool; call it when the run is safe elsewhere.
    pub fn discard(&self, root: &Root) -> Result<(), PathError> {
        self.names.iter().try_for_each(|name| root.remove(&format!("{SPOOL_DIRECTORY}/{name}"), 0))
    }
}

/// Returns the runs that ended, and those whose wrapper is gone without a word, which are lost. At most 1,000.
///
/// What is forged, damaged or of the wrong kind is removed and logged.
pub fn collect(root: &Root) -> Result<Vec<Collected>, PathError> {
    let names = root.list(SPOOL_DIRECTORY, MAX_NAMES)?.unwrap_or_default();
    let accounts = root.accounts();
    let mut collected = Vec::new();
    for name in names {
        if collected.len() >= MAX_RECORDS {
            break;
        }
        let place = root.place(&format!("{SPOOL_DIRECTORY}/{name}"), 0)?;
        match look(root, &accounts, &place) {
            Ok(Some(found)) => collected.push(found),
            Ok(None) => {}
            Err(why) => {
                warn!(file = name, why, "removed a record from the spool that no job can have left");
                remove(&place);
            }
        }
    }
    Ok(collected)
}

/// Returns the slots that runs have taken whose end is not recorded yet. What a user drops there beyond all measure is
/// removed, so that nobody's runs are hidden behind it.
pub(super) fn running(root: &Root) -> Result<Vec<(ObjectId, UnixMs)>, PathError> {
    let accounts = root.accounts();
    let names = root.list(SPOOL_DIRECTORY, MAX_NAMES)?.unwrap_or_default();
    let mut found = Vec::new();
    let mut of_user: BTreeMap<u32, usize> = BTreeMap::new();
    for name in names.iter().filter(|name| name.strip_suffix(".start").is_some()) {
        let place = root.place(&format!("{SPOOL_DIRECTORY}/{name}"), 0)?;
        let Ok(stat) = rustix::fs::statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let count = of_user.entry(stat.st_uid).or_default();
        *count += 1;
        if *count > MAX_RUNNING {
            if *count == MAX_RUNNING + 1 {
                warn!(uid = stat.st_uid, "more jobs of a user run than any has; records of them were removed");
            }
            remove(&place);
            continue;
        }
        if let Some((object, Some(slot))) = slot_of(root, &accounts, &place) {
            found.push((object, slot));
        }
    }
    Ok(found)
}

/// What a first record says, if it is one.
fn slot_of(root: &Root, accounts: &Accounts, place: &Place) -> Option<(ObjectId, Option<UnixMs>)> {
    let run_id = RunId::parse(place.name.strip_suffix(".start")?).ok()?;
    let Ok(Seen::File { links: 1, bytes, meta, .. }) = root.look_bounded(place, MAX_RECORD_BYTES) else { return None };
    let run = serde_json::from_slice::<Started>(&bytes).ok()?.run;
    check(root, accounts, run_id, meta.uid, &run).ok()?;
    Some((run.object, run.slot))
}

fn look(root: &Root, accounts: &Accounts, place: &Place) -> Result<Option<Collected>, &'static str> {
    let name = place.name.as_str();
    if name.starts_with(TEMPORARY) {
        return if is_stale(place) { Err("left behind under a temporary name") } else { Ok(None) };
    }
    let (stem, kind) = name.rsplit_once('.').ok_or("not a name of a record")?;
    let run_id = RunId::parse(stem).map_err(|_| "not a name of a record")?;
    let (uid, bytes) = match root.look_bounded(place, MAX_RECORD_BYTES) {
        Ok(Seen::File { links: 2.., .. }) => return Err("a second hard link"),
        Ok(Seen::File { bytes, meta, .. }) => (meta.uid, bytes),
        // It was replaced or removed by its writer meanwhile.
        Ok(Seen::Absent) => return Ok(None),
        Ok(_) | Err(_) => return Err("not a regular file of a record's size"),
    };
    match kind {
        "end" => {
            let run: JobRun = serde_json::from_slice(&bytes).map_err(|_| "not a record")?;
            check(root, accounts, run_id, uid, &run)?;
            Ok(Some(Collected { run, names: vec![ended_name(run_id), started_name(run_id)] }))
        }
        "start" => {
            let started: Started = serde_json::from_slice(&bytes).map_err(|_| "not a record")?;
            check(root, accounts, run_id, uid, &started.run)?;
            if started.wrapper.is_alive() || has_ended(place, run_id) {
                return Ok(None);
            }
            let run = JobRun { ended_at: None, outcome: RunOutcome::Lost, ..started.run };
            Ok(Some(Collected { run, names: vec![started_name(run_id)] }))
        }
        _ => Err("not a name of a record"),
    }
}

/// Refuses a record that is not of the job's own user: nobody writes another's history.
fn check(root: &Root, accounts: &Accounts, id: RunId, uid: u32, run: &JobRun) -> Result<(), &'static str> {
    if run.run != id {
        return Err("the record of another run");
    }
    // What nobody took is told by the agent alone.
    if run.times != 1 || matches!(run.outcome, RunOutcome::Missed | RunOutcome::NodeDown) {
        return Err("an outcome that no run has");
    }
    if run.output.len() > 64 << 10 || run.user.len() > 32 {
        return Err("more output than a record has");
    }
    let users = users_of(root, run.object);
    if users.is_empty() {
        return Err("of no job of this node");
    }
    if !users.contains(&run.user) {
        return Err("of another user's job");
    }
    let is_own =
        accounts.user(&run.user).is_some_and(|a| a.uid == uid) || (!root.is_privileged() && uid == root.euid());
    if is_own { Ok(()) } else { Err("written by somebody who is not the job's user") }
}

/// Returns whose a job is, and whose it was: a run may outlive its job.
fn users_of(root: &Root, object: ObjectId) -> Vec<String> {
    let mut users = retired_users(root, object);
    let file = root.read(&job_path(object), 1 << 20).ok().flatten();
    users.extend(file.and_then(|b| serde_json::from_slice::<JobFile>(&b).ok()).map(|f| f.job.user.to_string()));
    users
}

fn has_ended(place: &Place, run: RunId) -> bool {
    rustix::fs::statat(&place.dir, ended_name(run), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn is_stale(place: &Place) -> bool {
    let now = lampas_runtime::clock::now().0;
    rustix::fs::statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| now.saturating_sub(s.st_mtime.saturating_mul(1000)) > STALE_MS)
}

/// Removes whatever stands there; a directory only when it is empty.
fn remove(place: &Place) {
    let is_directory = rustix::fs::statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(&place.dir, &place.name, flags) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => warn!(file = place.name, error = %errno, "can't remove it from the spool"),
    }
}
