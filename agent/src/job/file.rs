//! A job as the wrapper reads it, and the directories that job users work in.

use std::collections::BTreeMap;

use lampas_render::Zone;
use lampas_shared::{
    host::{CronJob, TimeZoneName},
    id::ObjectId,
    object::ObjectName,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::SPOOL_DIRECTORY;
use crate::system::{Modified, NewFile, PathError, Root, Seen};

/// Where the jobs are.
pub const JOBS_DIRECTORY: &str = "/var/lib/lampas/agent/jobs";
/// What job users pass through on the way to their files.
const PASSED_THROUGH: [&str; 2] = ["/var/lib/lampas", "/var/lib/lampas/agent"];
/// Whose jobs were that are gone: one small file each, root's alone.
const RETIRED_DIRECTORY: &str = "/var/lib/lampas/agent/retired";
/// More jobs than anybody removes while their last runs wait to be collected.
const MAX_RETIRED: usize = 4096;
const MAX_RETIRED_USERS: usize = 8;
const VERSION: u32 = 1;
/// A command, 64 variables of 4 KiB, and their escapes.
const MAX_BYTES: u64 = 1 << 20;

/// The file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    version: u32,
    /// The job's object.
    pub object: ObjectId,
    /// Its name.
    pub name: ObjectName,
    /// The node's time zone when the file was written, in which cron counts.
    pub zone: TimeZoneName,
    /// The job.
    pub job: CronJob,
}

/// Why a job can't be read.
#[derive(Debug, Error)]
pub enum JobFileError {
    /// There is none.
    #[error("there is no job {0} on this node; cron's line for it is a left-over")]
    Unknown(ObjectId),
    /// The file could not be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Somebody else could have written it.
    #[error("{0} is not to be trusted: {1}")]
    Untrusted(String, &'static str),
    /// It is damaged, or of a newer agent.
    #[error("{path} can't be read: {reason}")]
    Content {
        /// Where.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl JobFile {
    /// Builds the file of a job.
    pub fn new(object: ObjectId, name: ObjectName, job: CronJob, zone: TimeZoneName) -> Self {
        Self { version: VERSION, object, name, zone, job }
    }

    /// Returns its text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain values have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file of a job, which must be root's or the caller's own, and nobody else's to write.
    pub fn read(root: &Root, object: ObjectId) -> Result<Self, JobFileError> {
        let path = job_path(object);
        let place = match root.place(&path, root.euid()) {
            Ok(place) => place,
            Err(PathError { problem: crate::system::root::PathProblem::Missing(_), .. }) => {
                return Err(JobFileError::Unknown(object));
            }
            Err(error) => return Err(error.into()),
        };
        let (bytes, meta) = match root.look_bounded(&place, MAX_BYTES)? {
            Seen::File { bytes, meta, .. } => (bytes, meta),
            Seen::Absent => return Err(JobFileError::Unknown(object)),
            _ => return Err(JobFileError::Untrusted(path, "it is not a regular file")),
        };
        if meta.uid != 0 && meta.uid != root.euid() {
            return Err(JobFileError::Untrusted(path, "it belongs to another user"));
        }
        if meta.mode & 0o022 != 0 {
            return Err(JobFileError::Untrusted(path, "others can write it"));
        }
        let content = |reason: String| JobFileError::Content { path: path.clone(), reason };
        let file: Self = serde_json::from_slice(&bytes).map_err(|e| content(e.to_string()))?;
        if file.version != VERSION || file.object != object {
            return Err(content(format!("it is version {} of job {}", file.version, file.object)));
        }
        Ok(file)
    }

    /// Returns the node's zone; UTC when it is unknown here.
    pub fn node_zone(&self) -> Zone {
        Zone::parse(&self.zone).unwrap_or_else(|_| Zone::utc())
    }
}

/// Returns the file of a job as root sees it; nothing when there is none that can be read.
pub(super) fn file_of(root: &Root, object: ObjectId) -> Option<JobFile> {
    let bytes = root.read(&job_path(object), MAX_BYTES).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the slot that a job took last, as its user's wrapper noted it.
pub(super) fn last_slot(root: &Root, file: &JobFile) -> Option<UnixMs> {
    let account = root.accounts().user(file.job.user.as_str())?;
    match root.look(&slot_path(file.object), account.uid).ok()? {
        Seen::File { bytes, .. } => {
            std::str::from_utf8(bytes.get(..64).unwrap_or(&bytes)).ok()?.trim().parse().ok().map(UnixMs)
        }
        _ => None,
    }
}

/// Returns where a job's file is.
pub(crate) fn job_path(object: ObjectId) -> String {
    format!("{JOBS_DIRECTORY}/{object}.json")
}

/// Returns where a job's last slot is.
pub(super) fn slot_path(object: ObjectId) -> String {
    format!("{JOBS_DIRECTORY}/{object}.slot")
}

/// Makes the directories that the wrapper works in: jobs to read, a spool to drop records into.
pub(crate) fn prepare_directories(root: &Root) -> Result<(), PathError> {
    root.make_directories(JOBS_DIRECTORY, 0o755)?;
    for path in PASSED_THROUGH {
        if let Seen::Directory { meta } = root.look(path, 0)?
            && meta.mode & 0o011 != 0o011
        {
            // What else is in it has modes of its own.
            root.write_directory(path, meta.uid, meta.gid, meta.mode | 0o011)?;
        }
    }
    match root.look(SPOOL_DIRECTORY, 0)? {
        Seen::Directory { meta } if meta.mode == 0o1733 => Ok(()),
        _ => root.write_directory(SPOOL_DIRECTORY, root.euid(), 0, 0o1733),
    }
}

/// Makes the file that holds a job's last slot, which its user writes.
pub(crate) fn prepare_slot(root: &Root, job_file: &[u8]) -> Result<(), PathError> {
    let Ok(file) = serde_json::from_slice::<JobFile>(job_file) else { return Ok(()) };
    let Some(account) = root.accounts().user(file.job.user.as_str()) else { return Ok(()) };
    let path = slot_path(file.object);
    let kept = match root.look(&path, account.uid)? {
        Seen::File { meta, .. } if meta.uid == account.uid || !root.is_privileged() => return Ok(()),
        Seen::File { bytes, .. } if bytes.len() < 64 => bytes,
        _ => Vec::new(),
    };
    let new = NewFile {
        bytes: &kept,
        uid: account.uid,
        gid: account.gid,
        mode: 0o600,
        xattrs: &BTreeMap::new(),
        modified: Modified::Now,
    };
    root.write(&path, &new)
}

/// Notes whose a job was before it goes or gets another user: its last records may still be in the spool, or on the way.
pub(crate) fn retire(root: &Root, job_path: &str) -> Result<(), PathError> {
    let Ok(Some(bytes)) = root.read(job_path, MAX_BYTES) else { return Ok(()) };
    let Ok(file) = serde_json::from_slice::<JobFile>(&bytes) else { return Ok(()) };
    let mut users = retired_users(root, file.object);
    let user = file.job.user.to_string();
    if users.contains(&user) {
        return Ok(());
    }
    users.truncate(MAX_RETIRED_USERS - 1);
    users.insert(0, user);
    root.make_directories(RETIRED_DIRECTORY, 0o700)?;
    let text = users.join("\n") + "\n";
    let new = NewFile {
        bytes: text.as_bytes(),
        uid: root.euid(),
        gid: 0,
        mode: 0o600,
        xattrs: &BTreeMap::new(),
        modified: Modified::Now,
    };
    root.write(&retired_path(file.object), &new)?;
    forget_oldest(root)
}

/// Returns the users whose a job has been.
pub(super) fn retired_users(root: &Root, object: ObjectId) -> Vec<String> {
    let bytes = root.read(&retired_path(object), 4096).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

fn retired_path(object: ObjectId) -> String {
    format!("{RETIRED_DIRECTORY}/{object}")
}

/// Ids begin with their time: the first names are of the oldest objects.
fn forget_oldest(root: &Root) -> Result<(), PathError> {
    let names = root.list(RETIRED_DIRECTORY, 10 * MAX_RETIRED)?.unwrap_or_default();
    let surplus = names.len().saturating_sub(MAX_RETIRED);
    names.iter().take(surplus).try_for_each(|name| root.remove(&format!("{RETIRED_DIRECTORY}/{name}"), 0))
}

/// Removes the file that holds a job's last slot, given the path of the job's file.
pub(crate) fn remove_slot(root: &Root, job_path: &str) -> Result<(), PathError> {
    match job_path.strip_suffix(".json") {
        Some(stem) => root.remove(&format!("{stem}.slot"), 0),
        None => Ok(()),
    }
}
