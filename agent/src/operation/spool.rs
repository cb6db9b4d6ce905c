//! The spool of runs: one directory a run, and a mark for each that was let go.
//!
//! `order.json` is what is to be done, `secrets.json` the sealed values that it needs, `end.part` the room that the last record will need, `begun` who watches over it,
//! `out.OFFSET` the output, `cancel` that somebody asked to end it, `end` how it ended, `told` that the outbox has that.
//! Every file that counts is synced before its name is there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use lampas_runtime::files;
use lampas_shared::{
    id::RunId,
    operation::{OperationRun, RunOrder},
    time::UnixMs,
};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::secret::SealedValues;
use crate::config::Paths;

/// The room that is set aside for the last record: a fault of 4 KiB, each byte escaped at worst, and the rest.
const END_ROOM: usize = 32 << 10;
/// The most marks that are kept.
const MAX_MARKS: usize = 20_000;

/// The spool.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    dir: PathBuf,
}

/// One run in it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) run: RunId,
    pub(super) dir: PathBuf,
}

/// Who watches over a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The shim.
    pub(super) process: Process,
    /// When it began.
    pub(super) at: UnixMs,
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot: String,
    /// Its number.
    pub(super) pid: i32,
    /// When it started, in clock ticks since the boot (proc(5), stat, field 22).
    pub(super) started: u64,
}

impl Process {
    pub(super) fn this() -> Self {
        let pid = nix::unistd::getpid().as_raw();
        Self { boot: boot_id(), pid, started: started_of(pid).unwrap_or(0) }
    }

    /// Returns whether the machine was not restarted since.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot == boot_id()
    }

    /// Returns whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.is_of_this_boot() && started_of(self.pid) == Some(self.started)
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn started_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbers. A zombie runs no more.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Spool {
    pub(super) fn at(paths: &Paths) -> Self {
        Self { dir: paths.data().join("runs") }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns a run that is there.
    pub(super) fn entry(&self, run: RunId) -> Option<Entry> {
        let dir = self.dir.join(run.to_string());
        dir.is_dir().then_some(Entry { run, dir })
    }

    /// Returns how a run that was let go had ended.
    pub(super) fn mark(&self, run: RunId) -> Option<OperationRun> {
        read(&self.dir.join(format!("{run}.done")))
    }

    /// Lists the runs that are there.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            list => {
                for item in list? {
                    let item = item?;
                    let id = item.file_name().to_str().and_then(|n| RunId::parse(n).ok());
                    if let (Some(run), true) = (id, item.file_type()?.is_dir()) {
                        entries.push(Entry { run, dir: item.path() });
                    }
                }
            }
        }
        entries.sort_by_key(|e| e.run);
        Ok(entries)
    }

    /// Adds a run: its order, and room for its record. It is there whole or not at all.
    pub(super) fn add(&self, order: &RunOrder, sealed: Option<&SealedValues>) -> io::Result<Entry> {
        files::private_dir(&self.dir)?;
        let (run, new) = (order.run, self.dir.join(format!("{}.new", order.run)));
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        let added = (|| {
            files::private_dir(&new)?;
            files::replace(&new.join("order.json"), &json(order), 0o600)?;
            if let Some(sealed) = sealed {
                sealed.put(&new)?;
            }
            // Written, not only made long: what is allocated can be written on a full disk.
            files::replace(&new.join("end.part"), &vec![b' '; END_ROOM], 0o600)?;
            let dir = self.dir.join(run.to_string());
            fs::rename(&new, &dir)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(Entry { run, dir })
        })();
        if added.is_err() {
            let _ = fs::remove_dir_all(&new);
        }
        added
    }

    /// Puts down that a run will not begin, or did not get into the spool at all.
    pub(super) fn put_mark(&self, ended: &OperationRun) -> io::Result<()> {
        files::private_dir(&self.dir)?;
        files::replace(&self.dir.join(format!("{}.done", ended.run)), &json(ended), 0o600)
    }

    /// Lets go of a run: its output goes, the mark stays.
    pub(super) fn forget(&self, entry: &Entry, ended: &OperationRun) -> io::Result<()> {
        self.put_mark(ended)?;
        fs::remove_dir_all(&entry.dir)
    }

    /// Drops marks from before a point in time, the oldest first when there are too many, and what an interrupted start
    /// left.
    pub(super) fn prune(&self, before: UnixMs) -> io::Result<()> {
        let mut marks = Vec::new();
        let list = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            list => list?,
        };
        for item in list {
            let item = item?;
            let name = item.file_name().to_string_lossy().into_owned();
            let changed = item.metadata()?.modified()?;
            let age = UnixMs(changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64));
            match name.rsplit_once('.') {
                Some((_, "done")) => marks.push((age, item.path())),
                Some((_, "new")) if age < before => fs::remove_dir_all(item.path())?,
                _ => {}
            }
        }
        marks.sort();
        let too_many = marks.len().saturating_sub(MAX_MARKS);
        for (number, (age, path)) in marks.into_iter().enumerate() {
            if age < before || number < too_many {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The entry whose directory this is.
    pub(super) fn of(paths: &Paths, run: RunId) -> Self {
        Self { run, dir: Spool::at(paths).dir.join(run.to_string()) }
    }

    pub(super) fn order(&self) -> Option<RunOrder> {
        read(&self.dir.join("order.json"))
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        read(&self.dir.join("begun"))
    }

    pub(super) fn end(&self) -> Option<OperationRun> {
        read(&self.dir.join("end"))
    }

    pub(super) fn is_told(&self) -> bool {
        self.dir.join("told").exists()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.dir.join("cancel").exists()
    }

    pub(super) fn put_told(&self) -> io::Result<()> {
        files::replace(&self.dir.join("told"), b"", 0o600)
    }

    pub(super) fn put_cancel(&self) -> io::Result<()> {
        files::replace(&self.dir.join("cancel"), b"", 0o600)
    }

    pub(super) fn put_begun(&self, begun: &Begun) -> io::Result<()> {
        files::replace(&self.dir.join("begun"), &json(begun), 0o600)
    }

    /// Puts the last record down, in the room that was set aside for it.
    pub(super) fn put_end(&self, ended: &OperationRun) -> io::Result<()> {
        let part = self.dir.join("end.part");
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&part)?;
        let mut bytes = json(ended);
        // JSON may end with blanks: the same blocks are written again and no new one is asked for.
        bytes.resize(bytes.len().max(END_ROOM), b' ');
        file.rewind()?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&part, self.dir.join("end"))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Takes the lock that whoever begins or ends a run has; `None` when another has it. It goes with the file.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain values have a JSON form")
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
