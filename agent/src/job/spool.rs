//! The spool: a directory where the job's user drops records and the agent picks them up.
//!
//! Its mode is 1733, as of a mail drop: users can add names, but neither list them nor touch what is another's. A record
//! is written under a temporary name, synced and renamed. `RUN.start` comes first; it is replaced by `RUN.end`.

use std::{fs::File, io::Write as _};

use lampas_shared::{id::RunId, report::JobRun};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::system::{PathError, Root};

/// Where records wait for the agent.
pub const SPOOL_DIRECTORY: &str = "/var/lib/lampas/agent/spool";
/// How temporary names begin.
pub(super) const TEMPORARY: &str = ".tmp-";

/// What is written before the command starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    /// The run as it stands if nothing more is heard of it.
    pub(super) run: JobRun,
    /// The wrapper that wrote it.
    pub(super) wrapper: Process,
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot: String,
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the boot (proc(5), stat, field 22).
    pub(super) started: u64,
}

impl Process {
    pub(super) fn this() -> Self {
        let pid = std::process::id();
        Self { boot: boot_id(), pid, started: started_of(pid).unwrap_or(0) }
    }

    /// Returns whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot_id() && started_of(self.pid) == Some(self.started)
    }
}

pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn started_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbers.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(19)?.parse().ok()
}

/// Drops a run's first record.
pub(super) fn drop_started(root: &Root, started: &Started) -> Result<(), PathError> {
    let bytes = serde_json::to_vec(started).expect("plain values have a JSON form");
    drop_file(root, &started_name(started.run.run), &bytes)
}

/// Drops a run's last record and takes the first away.
pub(super) fn drop_ended(root: &Root, run: &JobRun) -> Result<(), PathError> {
    let bytes = serde_json::to_vec(run).expect("plain values have a JSON form");
    drop_file(root, &ended_name(run.run), &bytes)?;
    let place = root.place(&format!("{SPOOL_DIRECTORY}/{}", started_name(run.run)), root.euid())?;
    match rustix::fs::unlinkat(&place.dir, &place.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(place.system("can't remove the first record", errno)),
    }
}

pub(super) fn started_name(run: RunId) -> String {
    format!("{run}.start")
}

pub(super) fn ended_name(run: RunId) -> String {
    format!("{run}.end")
}

fn drop_file(root: &Root, name: &str, bytes: &[u8]) -> Result<(), PathError> {
    let place = root.place(&format!("{SPOOL_DIRECTORY}/{name}"), root.euid())?;
    let temporary = format!("{TEMPORARY}{:032x}", u128::from_ne_bytes(lampas_runtime::random::bytes()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&place.dir, &temporary, flags, Mode::from_raw_mode(0o600))
        .map_err(|e| place.system("can't add to the spool", e))?;
    let mut file = File::from(fd);
    let failed =
        |e: std::io::Error| place.system("can't write a record", Errno::from_io_error(&e).unwrap_or(Errno::IO));
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed).and_then(|()| {
        rustix::fs::renameat(&place.dir, &temporary, &place.dir, &place.name)
            .map_err(|e| place.system("can't rename a record", e))
    });
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&place.dir, &temporary, AtFlags::empty());
    }
    written
}
