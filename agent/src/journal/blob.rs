//! Contents by hash. Small ones stand in the store, larger ones are files of their own beside it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use lampas_runtime::files;
use lampas_shared::desired::ContentHash;
use tracing::warn;

use super::JournalError;

/// The longest content that stands in the store: sled rewrites neighbours together, so large values cost twice.
pub(super) const INLINE_BYTES: usize = 16 << 10;

/// The directory of larger contents.
pub(super) struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(super) fn open(dir: &Path) -> Result<Self, JournalError> {
        let blobs = Self { dir: dir.to_owned() };
        files::private_dir(dir).map_err(|source| failed("could not make", dir, source))?;
        Ok(blobs)
    }

    pub(super) fn has(&self, hash: &ContentHash) -> bool {
        self.path(hash).exists()
    }

    pub(super) fn read(&self, hash: &ContentHash) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.path(hash);
        match fs::read(&path) {
            Ok(bytes) => Ok(checked(hash, bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("could not read", &path, e)),
        }
    }

    pub(super) fn write(&self, hash: &ContentHash, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.path(hash);
        files::replace(&path, bytes, 0o600).map_err(|source| failed("could not write", &path, source))
    }

    pub(super) fn sweep(&self, needed: &BTreeSet<ContentHash>) -> Result<(), JournalError> {
        let list = |source| failed("could not list", &self.dir, source);
        for entry in fs::read_dir(&self.dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let hash = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<ContentHash>().ok());
            if hash.is_none_or(|h| !needed.contains(&h)) {
                fs::remove_file(&path).map_err(|source| failed("could not remove", &path, source))?;
            }
        }
        Ok(())
    }

    fn path(&self, hash: &ContentHash) -> PathBuf {
        self.dir.join(hash.to_string())
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { what, path: path.to_owned(), source }
}

/// Returns the bytes if they are what their hash says; otherwise says so, and they count as missing.
pub(super) fn checked(hash: &ContentHash, bytes: Vec<u8>) -> Option<Vec<u8>> {
    if ContentHash::of(&bytes) == *hash {
        return Some(bytes);
    }
    warn!(blob = %hash, "a content in the journal is damaged; it will be fetched again");
    None
}
