//! sled, and everything that has to be known about it (measured on 0.34.7):
//!
//! - its `flush` is `sync_file_range`, which is not durable: [`Store::commit`] flushes, then fsyncs the file;
//! - after ENOSPC every call fails until it is opened anew, which keeps what was acknowledged: on an error the store is
//!   closed, opened again, and the batch is tried once more; from then on attempts are spaced by a growing pause;
//! - it may panic over a damaged file, so calls are guarded;
//! - its lock is held by an open file, so that no handle may outlive a close: none ever leaves this file.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lampas_shared::error::Chain;
use nix::fcntl::{Flock, FlockArg};
use tracing::{error, info, warn};

use super::JournalError;

/// sled's page cache. The whole agent shall idle in 15 MiB, and nothing here is read often.
const CACHE_BYTES: u64 = 1 << 20;
/// The first pause after a failure that opening anew did not cure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// sled's threads may hold its file for a moment after the last handle went. Nobody else can hold it: [`Store`] has a lock.
const LET_GO: Duration = Duration::from_secs(2);

/// A durable, ordered map of bytes.
pub(super) struct Store {
    dir: PathBuf,
    slot: Mutex<Slot>,
    /// Held for as long as the store lives: sled's own lock goes with each close.
    _lock: Flock<File>,
}

struct Slot {
    db: Option<sled::Db>,
    retry_at: Option<Instant>,
    pause: Duration,
    /// Why the last attempt failed; `None` since one went well.
    trouble: Option<String>,
}

/// What a batch does to a key: sets it, or removes it.
pub(super) type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// What opening found.
pub(super) struct Opened {
    pub(super) store: Store,
    /// Where a damaged journal was moved to.
    pub(super) moved_aside: Option<PathBuf>,
}

impl Store {
    /// Opens or creates the store in a directory of its own. One process at a time.
    pub(super) fn open(dir: &Path) -> Result<Opened, JournalError> {
        let io = |what: &'static str| move |source| JournalError::Io { what, path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("could not make the directory"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(io("could not open the lock file"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => JournalError::Locked { dir: dir.to_owned() },
            other => JournalError::Io { what: "could not lock", path: dir.to_owned(), source: other.into() },
        })?;
        // sled takes a file of nonsense for an empty one and begins anew over it.
        let was_there = fs::metadata(dir.join("db/db")).is_ok_and(|m| m.len() > 0);
        let found = open_checked(dir).and_then(|db| match db.get(super::record::key::EPOCH) {
            Ok(None) if was_there => Err(Trouble::Damaged("it holds nothing that was written to it".to_owned())),
            _ => Ok(db),
        });
        let (db, moved_aside) = match found {
            Ok(db) => (db, None),
            Err(Trouble::Damaged(why)) => {
                if let Some(version) = newer_writer(dir) {
                    return Err(JournalError::Newer { dir: dir.to_owned(), version, why });
                }
                // A disk that takes nothing makes a whole journal look damaged.
                probe(dir).map_err(io("could not write below"))?;
                let aside = move_aside(dir).map_err(io("could not move the damaged journal aside"))?;
                error!(
                    path = %aside.display(), error = why,
                    "the journal is damaged; it was moved aside and the agent goes on with an empty one"
                );
                let db = open_checked(dir).map_err(|trouble| trouble.into_error(dir))?;
                (db, Some(aside))
            }
            Err(trouble) => return Err(trouble.into_error(dir)),
        };
        note_writer(dir).map_err(io("could not note the agent's version below"))?;
        let slot = Mutex::new(Slot { db: Some(db), retry_at: None, pause: MIN_PAUSE, trouble: None });
        let store = Self { dir: dir.to_owned(), slot, _lock: lock };
        // The files' names must be durable too, or a first commit could vanish with them.
        sync_dir(dir).map_err(io("could not sync the directory"))?;
        sync_dir(&dir.join("db")).map_err(io("could not sync the directory"))?;
        Ok(Opened { store, moved_aside })
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.with(|db| Ok(db.get(key)?.map(|v| v.to_vec())))
    }

    /// Returns the entries whose keys begin with `prefix` and are not before `from`, at most `limit`.
    pub(super) fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.with(|db| {
            let entries = db.range(from..).take_while(|e| e.as_ref().map_or(true, |(k, _)| k.starts_with(prefix)));
            entries.take(limit).map(|e| e.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(Into::into)).collect()
        })
    }

    /// Returns why it can't be used at the moment, if it can't.
    pub(super) fn trouble(&self) -> Option<String> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// Applies a batch: when this returns, it survives a power cut; on an error either all or nothing of it is there.
    pub(super) fn commit(&self, batch: &Batch) -> Result<(), JournalError> {
        let file = self.dir.join("db/db");
        self.with(|db| {
            let mut sled_batch = sled::Batch::default();
            for (key, value) in batch {
                match value {
                    Some(value) => sled_batch.insert(key.as_slice(), value.as_slice()),
                    None => sled_batch.remove(key.as_slice()),
                }
            }
            db.apply_batch(sled_batch)?;
            db.flush()?;
            File::open(&file)?.sync_all()?;
            Ok(())
        })
    }

    /// Runs `op` on the open store; after a failure opens it anew and runs `op` once more.
    fn with<T>(&self, op: impl Fn(&sled::Db) -> Result<T, OpError>) -> Result<T, JournalError> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.db.is_none() && slot.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(JournalError::Unavailable {
                dir: self.dir.clone(),
                why: "waiting before the next attempt".into(),
            });
        }
        let mut last = None;
        for _ in 0..2 {
            let db = match self.open_slot(&mut slot) {
                Ok(db) => db,
                Err(error) => {
                    last = Some(Chain(&error).to_string());
                    break;
                }
            };
            match guarded(|| op(db)) {
                Ok(value) => {
                    slot.trouble = None;
                    if slot.pause > MIN_PAUSE {
                        info!("the journal works again");
                        slot.pause = MIN_PAUSE;
                    }
                    return Ok(value);
                }
                Err(error) => {
                    last = Some(error.0);
                    let db = slot.db.take();
                    // Dropping flushes, which may panic over the same trouble.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
                }
            }
        }
        let why = last.unwrap_or_default();
        let pause = slot.pause;
        slot.trouble = Some(why.clone());
        slot.retry_at = Some(Instant::now() + pause);
        slot.pause = (pause * 2).min(MAX_PAUSE);
        warn!(error = why, retry_in = ?pause, "the journal can't be written; what was acknowledged is kept");
        Err(JournalError::Unavailable { dir: self.dir.clone(), why })
    }

    fn open_slot<'a>(&self, slot: &'a mut MutexGuard<'_, Slot>) -> Result<&'a sled::Db, JournalError> {
        if slot.db.is_none() {
            slot.db = Some(open_sled(&self.dir).map_err(|trouble| trouble.into_error(&self.dir))?);
            slot.retry_at = None;
        }
        Ok(slot.db.as_ref().expect("it was opened just above"))
    }
}

/// Why an operation failed, in words.
struct OpError(String);

impl From<sled::Error> for OpError {
    fn from(error: sled::Error) -> Self {
        Self(Chain(&error).to_string())
    }
}

impl From<io::Error> for OpError {
    fn from(error: io::Error) -> Self {
        Self(Chain(&error).to_string())
    }
}

/// Why it could not be opened.
enum Trouble {
    Damaged(String),
    Io(io::Error),
}

impl Trouble {
    fn into_error(self, dir: &Path) -> JournalError {
        match self {
            Self::Damaged(why) => JournalError::Unavailable { dir: dir.to_owned(), why },
            Self::Io(source) => JournalError::Io { what: "could not open", path: dir.to_owned(), source },
        }
    }
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error {
            sled::Error::Io(e) if !matches!(e.kind(), InvalidData | InvalidInput | UnexpectedEof) => Self::Io(e),
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, Trouble> {
    let config = sled::Config::new()
        .path(dir.join("db"))
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    let since = Instant::now();
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Err(error)) if is_held(&error) && since.elapsed() < LET_GO => std::thread::sleep(LET_GO / 400),
            Ok(result) => return Ok(result?),
            Err(_) => return Err(Trouble::Damaged("opening it ended in a panic".into())),
        }
    }
}

/// Where it stands which agent has the journal: one that comes back after a newer one tells that from damage.
const WRITER: &str = "written-by";

fn note_writer(dir: &Path) -> io::Result<()> {
    let path = dir.join(WRITER);
    let version = env!("CARGO_PKG_VERSION");
    if fs::read_to_string(&path).is_ok_and(|text| text.trim() == version) {
        return Ok(());
    }
    lampas_runtime::files::replace(&path, format!("{version}\n").as_bytes(), 0o600)
}

/// Returns the version of the agent that had the journal last, if that is newer than this one.
fn newer_writer(dir: &Path) -> Option<String> {
    let parts = |text: &str| {
        let numbers = text.split(['-', '+']).next().unwrap_or_default().split('.').map(str::parse::<u64>);
        numbers.collect::<Result<Vec<_>, _>>().ok()
    };
    let text = fs::read_to_string(dir.join(WRITER)).ok()?;
    let version = text.trim().chars().take(40).collect::<String>();
    (parts(&version)? > parts(env!("CARGO_PKG_VERSION"))?).then_some(version)
}

/// Returns whether sled's own lock stands in the way.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}

/// Opens and reads everything once, so that damage shows at the start and not in the middle of an apply.
fn open_checked(dir: &Path) -> Result<sled::Db, Trouble> {
    clear_unfinished(&dir.join("db")).map_err(Trouble::Io)?;
    let db = open_sled(dir)?;
    let read = catch_unwind(AssertUnwindSafe(|| {
        db.iter().try_for_each(|entry| {
            let (key, value) = entry?;
            super::record::check(&key, &value).map_err(|e| Trouble::Damaged(e.to_string()))
        })
    }));
    match read {
        Ok(result) => result.map(|()| db),
        Err(_) => Err(Trouble::Damaged("reading it ended in a panic".into())),
    }
}

/// Removes snapshots of the log that were not finished when the process was killed. sled 0.34 writes one beside its place,
/// as `snap.….generating`, but takes such a file for a whole one at the next start, and the journal for damaged. Without
/// a snapshot it reads the log from its beginning.
fn clear_unfinished(db: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(db) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with("snap.") && n.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn guarded<T>(op: impl FnOnce() -> Result<T, OpError>) -> Result<T, OpError> {
    catch_unwind(AssertUnwindSafe(op)).unwrap_or_else(|_| Err(OpError("the store panicked".into())))
}

/// Writes and syncs a little, to tell a full or read-only disk from damage.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let written = fs::write(&path, vec![0x55; 64 << 10]).and_then(|()| File::open(&path)?.sync_all());
    let _ = fs::remove_file(&path);
    written
}

/// Renames the store's directory to the first free `db.damaged-N`; blobs and lock stay, they check themselves.
fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    for n in 1..10_000 {
        let aside = dir.join(format!("db.damaged-{n}"));
        if !aside.exists() {
            fs::rename(dir.join("db"), &aside)?;
            sync_dir(dir)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("there are 10,000 damaged journals already"))
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
