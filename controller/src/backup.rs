//! Online backups, encrypted to a key kept apart, and their restore.
//!
//! A backup is one file: the rows of every table as of one instant, in a form that both databases read, and the files
//! that make a controller itself (the signer's keys, its own identity, the dashboard's certificate), sealed to a public
//! key. The recovery key is shown once by `backup keygen` and never needed by a running controller, so that a stolen
//! backup, or a taken controller, opens none.
//!
//! The keys of a controller alone, for another one on the same store, travel in the same form ([`keys`]).
//!
//! A restore goes into an empty store and opens a new epoch, so that agents which hold generations from after the
//! backup take what the restored controller says as newer.

mod keys;
mod seal;
mod store;

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Component, Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{clock, files};
use lampas_shared::time::UnixMs;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    audit::{Entry, Principal},
    db::{Db, DbError, Tx},
};

pub use keys::{KeysError, export as export_keys, import as import_keys};
pub use seal::{KeyPair, PublicKey, RecoveryKey, SealError};

/// Directories under the data directory that make a controller itself.
const DIRECTORIES: [&str; 3] = ["signer", "identity", "web"];

/// The longest file of them; keys and certificates are a few KiB, the signer's log a line for each certificate.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The longest line: a row holds a content of at most 1 MiB, its base64 and its neighbours.
const LINE_BYTES_MAX: usize = 512 << 20;

/// Why there is no backup, or no restore.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("{what} {}", path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It can't be encrypted or decrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// The content isn't what a backup holds.
    #[error("the backup is damaged or of another version: {0}")]
    Content(String),
    /// What is restored into isn't empty.
    #[error("{0} is not empty; restore into a new data directory and an empty database")]
    NotEmpty(String),
}

crate::store_error!(BackupError);

/// One line of a backup.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first line.
    Backup { format: u32, version: String, at: UnixMs },
    /// A table begins.
    Table { name: String, columns: Vec<String> },
    /// A row of it.
    Row(Vec<store::Cell>),
    /// A file under the data directory.
    File { path: String, mode: u32, content: String },
    /// The last line.
    End { rows: u64, files: u64 },
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// When it was begun.
    pub at: UnixMs,
    /// Rows.
    pub rows: u64,
    /// Files.
    pub files: u64,
}

/// Writes a backup while the controller runs.
///
/// # Errors
/// When store or files can't be read, or the backup can't be written; then there is no file.
pub async fn write(db: &Db, data_dir: &Path, key: &PublicKey, to: &Path) -> Result<Summary, BackupError> {
    let beside = to.with_extension("part");
    let written = write_to(db, data_dir, key, &beside).await;
    let done = written.and_then(|summary| {
        std::fs::rename(&beside, to).map_err(|source| file("write", to, source))?;
        Ok(summary)
    });
    if done.is_err() {
        // What failed matters more than the leftover.
        let _ = std::fs::remove_file(&beside);
    }
    done
}

async fn write_to(db: &Db, data_dir: &Path, key: &PublicKey, to: &Path) -> Result<Summary, BackupError> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
    let out = opened.map_err(|source| file("write", to, source))?;
    let mut sealer = seal::Writer::new(BufWriter::new(out), key)?;
    let at = clock::now();
    put(&mut sealer, &Line::Backup { format: 1, version: env!("CARGO_PKG_VERSION").to_owned(), at })?;
    let (rows, mut sealer) = db
        .read(|mut tx: Tx| async move {
            let rows = store::dump(&mut tx, &mut |line| put(&mut sealer, &line)).await?;
            Ok::<_, BackupError>(tx.done((rows, sealer)))
        })
        .await?;
    let mut count = 0;
    for directory in DIRECTORIES {
        for path in files_under(&data_dir.join(directory))? {
            let inside = path.strip_prefix(data_dir).expect("it was found under it").to_string_lossy().into_owned();
            let (content, mode) = read_file(&path)?;
            put(&mut sealer, &Line::File { path: inside, mode, content: STANDARD.encode(content) })?;
            count += 1;
        }
    }
    put(&mut sealer, &Line::End { rows, files: count })?;
    let out = sealer.finish()?;
    let out = out.into_inner().map_err(|e| file("write", to, e.into_error()))?;
    out.sync_all().map_err(|source| file("write", to, source))?;
    let entry = Entry::done(&Principal::system(), "backup.write", format!("{rows} rows, {count} files"));
    let entry = &entry;
    db.write(|mut tx: Tx| async move {
        tx.audit(entry.clone());
        Ok::<_, DbError>(tx.done(()))
    })
    .await?;
    Ok(Summary { at, rows, files: count })
}

/// Reads a backup through without writing anything: whether it is whole, and what it holds.
///
/// # Errors
/// When it isn't whole, or sealed to another key.
pub fn check(from: &Path, key: &RecoveryKey) -> Result<Summary, BackupError> {
    let mut lines = Lines::open(from, key)?;
    while lines.next()?.is_some() {}
    Ok(lines.summary)
}

/// Restores a backup into an empty store and an empty data directory. The whole backup is checked before.
///
/// # Errors
/// When the backup isn't whole, or store or directory aren't empty.
pub async fn restore(db: &Db, data_dir: &Path, key: &RecoveryKey, from: &Path) -> Result<Summary, BackupError> {
    let summary = check(from, key)?;
    for directory in DIRECTORIES {
        if !files_under(&data_dir.join(directory))?.is_empty() {
            return Err(BackupError::NotEmpty(data_dir.join(directory).display().to_string()));
        }
    }
    let epoch = db
        .write(|mut tx: Tx| async move {
            if !store::is_empty(&mut tx).await? {
                return Err(BackupError::NotEmpty("the store".to_owned()));
            }
            let mut lines = Lines::open(from, key)?;
            store::clear(&mut tx).await?;
            store::load(&mut tx, &mut || lines.next()).await?;
            let epoch = store::next_epoch(&mut tx).await?;
            tx.audit(Entry::done(&Principal::system(), "backup.restore", format!("of {}; epoch {epoch}", summary.at)));
            Ok(tx.done(epoch))
        })
        .await?;
    let mut lines = Lines::open(from, key)?;
    while let Some(line) = lines.next()? {
        if let Line::File { path, mode, content } = line {
            let to = data_dir.join(inside(&path)?);
            let bytes = STANDARD.decode(content).map_err(|e| BackupError::Content(format!("{path}: {e}")))?;
            let dir = to.parent().unwrap_or(data_dir);
            files::private_dir(dir).map_err(|source| file("write", dir, source))?;
            files::replace(&to, &bytes, mode & 0o777).map_err(|source| file("write", &to, source))?;
        }
    }
    tracing::info!(epoch, rows = summary.rows, files = summary.files, "restored a backup");
    Ok(summary)
}

/// Refuses paths that lead out of the directories that a backup holds.
fn inside(path: &str) -> Result<&Path, BackupError> {
    let path = Path::new(path);
    let is_plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    let is_ours = DIRECTORIES.iter().any(|d| path.starts_with(d));
    if is_plain && is_ours { Ok(path) } else { Err(BackupError::Content(format!("a file {}", path.display()))) }
}

/// The lines of a backup; counts what went by and knows whether the end came.
struct Lines {
    reader: BufReader<seal::Reader<BufReader<File>>>,
    summary: Summary,
    is_over: bool,
}

impl Lines {
    fn open(from: &Path, key: &RecoveryKey) -> Result<Self, BackupError> {
        let file = File::open(from).map_err(|source| file("read", from, source))?;
        let reader = BufReader::new(seal::Reader::new(BufReader::new(file), key)?);
        let mut lines = Self { reader, summary: Summary { at: UnixMs(0), rows: 0, files: 0 }, is_over: false };
        match lines.read()? {
            Some(Line::Backup { format: 1, at, .. }) => lines.summary.at = at,
            Some(Line::Backup { format, version, .. }) => {
                return Err(BackupError::Content(format!("format {format}, of version {version}")));
            }
            _ => return Err(BackupError::Content("the first line is not that of a backup".into())),
        }
        Ok(lines)
    }

    fn next(&mut self) -> Result<Option<Line>, BackupError> {
        if self.is_over {
            return Ok(None);
        }
        let line = self.read()?.ok_or_else(|| BackupError::Content("it ends too early".into()))?;
        match &line {
            Line::Row(_) => self.summary.rows += 1,
            Line::File { path, .. } => {
                inside(path)?;
                self.summary.files += 1;
            }
            Line::End { rows, files } => {
                if (*rows, *files) != (self.summary.rows, self.summary.files) {
                    return Err(BackupError::Content(format!("{rows} rows and {files} files were written, not these")));
                }
                self.is_over = true;
                if self.read()?.is_some() {
                    return Err(BackupError::Content("something comes after its end".into()));
                }
                return Ok(None);
            }
            Line::Backup { .. } => return Err(BackupError::Content("it begins twice".into())),
            Line::Table { .. } => {}
        }
        Ok(Some(line))
    }

    fn read(&mut self) -> Result<Option<Line>, BackupError> {
        let mut text = Vec::new();
        let limit = LINE_BYTES_MAX as u64;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut text);
        read.map_err(|e| BackupError::Content(e.to_string()))?;
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&text).map(Some).map_err(|e| BackupError::Content(e.to_string()))
    }
}

fn put(sealer: &mut seal::Writer<BufWriter<File>>, line: &Line) -> Result<(), BackupError> {
    let mut text = serde_json::to_vec(line).expect("lines of strings and numbers serialise");
    text.push(b'\n');
    sealer.write_all(&text).map_err(|e| BackupError::Seal(SealError::Write(e)))
}

fn files_under(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(file("read", &dir, source)),
        };
        for entry in entries {
            let entry = entry.map_err(|source| file("read", &dir, source))?;
            let kind = entry.file_type().map_err(|source| file("read", &entry.path(), source))?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read_file(path: &Path) -> Result<(Vec<u8>, u32), BackupError> {
    use std::os::unix::fs::PermissionsExt as _;

    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let mut content = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        Ok((content, mode))
    };
    read().map_err(|source| file("read", path, source))
}

fn file(what: &'static str, path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
