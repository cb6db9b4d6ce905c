//! What stands in the store sealed: its key is in a file of the data directory, so that who reads the store, or a dump of
//! it, reads none of it. The file is part of the backup, which is sealed as a whole. Which key is the store's is known by its
//! check value ([`sealing`]).

pub(crate) mod sealing;

use std::{
    fmt::Display,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{files, random};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why something can't be sealed or opened.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key can't be read or written.
    #[error("read or make the key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the key {} has other than {KEY_BYTES} bytes", .0.display())]
    Length(PathBuf),
    /// It was sealed under another key, or for another owner.
    #[error("what was sealed as {0} can't be opened: it is damaged, or was sealed under another key")]
    Open(&'static str),
    /// The cryptography failed.
    #[error("seal {0}")]
    Seal(&'static str),
    /// The store holds values that were sealed under a key which is not here.
    #[error(
        "the store holds values that this controller can't open: {}. They were sealed under the key of another controller, \
         or of this one before; bring {} from there (`lampas-controller keys export` there and `keys import` here), or \
         from a backup, to {} (mode 0600, of the user that the controller runs as). No key is made, and nothing new is \
         sealed, until then. If it is lost for good: remove what was sealed under it, then `lampas-controller keys forget {}`",
        .why,
        .file,
        path.display(),
        .file
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The same, below a data directory.
        file: String,
        /// What is wrong with the file.
        why: String,
    },
}

const KEY_BYTES: usize = 32;

/// Seals with AES-256-GCM what is of one purpose, each value bound to its owner. Every call blocks.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    path: PathBuf,
    /// In what each value is bound, with its owner; `secret/1`. A new form takes a new number.
    purpose: &'static str,
}

impl Vault {
    /// Keeps its key in this file below a data directory.
    pub(crate) fn new(data_dir: &Path, file: &str, purpose: &'static str) -> Self {
        Self { path: data_dir.join("identity").join(file), purpose }
    }

    /// Seals a value for its owner; the first call makes the key.
    ///
    /// # Errors
    /// When the key can't be read or made.
    pub(crate) fn seal(&self, owner: &impl Display, value: &[u8]) -> Result<String, VaultError> {
        let key = self.key(true)?;
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut bytes = Zeroizing::new(value.to_vec());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(self.purpose, owner), &mut *bytes)
            .map_err(|_| VaultError::Seal(self.purpose))?;
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens what was sealed for this owner.
    ///
    /// # Errors
    /// When the key can't be read, or it was sealed under another one or for somebody else.
    pub(crate) fn open(&self, owner: &impl Display, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        opened(&self.key(false)?, self.purpose, owner, sealed)
    }

    /// Returns the check value of the key here; nothing when there is none.
    fn check_value(&self) -> Result<Option<String>, VaultError> {
        match files::read_private(&self.path, KEY_BYTES as u64).map(Zeroizing::new) {
            Ok(bytes) if bytes.len() == KEY_BYTES => Ok(Some(check_value(&bytes))),
            Ok(_) => Err(VaultError::Length(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::Key { path: self.path.clone(), source }),
        }
    }

    /// Checks that the key here is that of the store, by one of the values in it; with none there is nothing to be wrong.
    ///
    /// # Errors
    /// [`VaultError::Foreign`], which says what to do.
    pub(crate) fn check(&self, sample: Option<(&dyn Display, &str)>) -> Result<(), VaultError> {
        let Some((owner, sealed)) = sample else { return Ok(()) };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let foreign = |why: &str| VaultError::Foreign {
            path: self.path.clone(),
            file: format!("identity/{name}"),
            why: why.to_owned(),
        };
        match self.open(&owner, sealed) {
            Ok(_) => Ok(()),
            Err(VaultError::Open(_)) => Err(foreign("the key here is another one")),
            Err(VaultError::Key { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(foreign("there is no key here"))
            }
            Err(error) => Err(error),
        }
    }

    fn key(&self, may_make: bool) -> Result<LessSafeKey, VaultError> {
        let failed = |source| VaultError::Key { path: self.path.clone(), source };
        let read = || files::read_private(&self.path, KEY_BYTES as u64).map(Zeroizing::new);
        let bytes = match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                self.make().map_err(failed)?;
                read().map_err(failed)?
            }
            found => found.map_err(failed)?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| VaultError::Length(self.path.clone()))?;
        Ok(LessSafeKey::new(key))
    }

    /// Makes the key, unless somebody else did at the same moment: what was sealed under a key that another one replaced
    /// would be lost.
    fn make(&self) -> io::Result<()> {
        let dir = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        files::private_dir(dir)?;
        let beside = self.path.with_extension(format!("new-{:016x}", u64::from_le_bytes(random::bytes())));
        let fresh = Zeroizing::new(random::bytes::<KEY_BYTES>());
        files::replace(&beside, &*fresh, 0o600)?;
        let linked = fs::hard_link(&beside, &self.path);
        fs::remove_file(&beside)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => File::open(dir)?.sync_all(),
        }
    }
}

/// A row that is copied to another owner opens nothing.
fn bound_to(purpose: &str, owner: &impl Display) -> Aad<Vec<u8>> {
    Aad::from(format!("lampas {purpose} {owner}").into_bytes())
}

/// Opens with a key that is at hand.
fn open(key: &[u8], purpose: &'static str, owner: &impl Display, sealed: &str) -> Result<(), VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Open(purpose))?;
    opened(&LessSafeKey::new(key), purpose, owner, sealed).map(drop)
}

fn opened(
    key: &LessSafeKey,
    purpose: &'static str,
    owner: &impl Display,
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let damaged = || VaultError::Open(purpose);
    let bytes = STANDARD.decode(sealed).map_err(|_| damaged())?;
    let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = key.open_in_place(nonce, bound_to(purpose, owner), &mut body).map_err(|_| damaged())?.len();
    body.truncate(length);
    Ok(body)
}

/// Returns what the store knows a key by: a hash in a use of its own, of which nothing leads back to 256 random bits.
fn check_value(key: &[u8]) -> String {
    blake3::Hash::from(blake3::derive_key("lampas sealing key, check value 1", key)).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_value_opens_for_its_owner_under_its_key_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path(), "test-key", "test/1");
        assert!(vault.open(&"anna", "AAAA").is_err(), "opening makes no key");
        assert!(!vault.path.exists());
        let sealed = vault.seal(&"anna", b"twenty secret bytes!").expect("sealed");
        assert_eq!(vault.open(&"anna", &sealed).expect("opened").as_slice(), b"twenty secret bytes!");
        assert_ne!(sealed, vault.seal(&"anna", b"twenty secret bytes!").expect("sealed"), "a nonce serves once");
        vault.open(&"ben", &sealed).expect_err("is bound to its owner");
        vault.open(&"anna", &sealed.replacen(&sealed[20..22], "zz", 1)).expect_err("was altered");
        Vault::new(dir.path(), "test-key", "test/2").open(&"anna", &sealed).expect_err("is of another purpose");
        let mode = fs::metadata(&vault.path).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().expect("a directory");
        let other = Vault::new(other.path(), "test-key", "test/1");
        other.seal(&"anna", b"x").expect("makes a key");
        other.open(&"anna", &sealed).expect_err("another key");
    }

    #[test]
    fn a_store_of_another_key_is_told_by_what_to_copy() {
        let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let at = |dir: &tempfile::TempDir| Vault::new(dir.path(), "test-key", "test/1");
        let sealed = at(&one).seal(&"anna", b"x").expect("sealed");
        at(&one).check(Some((&"anna", &sealed))).expect("its own");
        at(&two).check(None).expect("nothing is sealed yet");
        let missing = at(&two).check(Some((&"anna", &sealed))).expect_err("no key").to_string();
        assert!(missing.contains("there is no key here") && missing.contains("bring identity/test-key"), "{missing}");
        assert!(!at(&two).path.exists(), "none is made");
        at(&two).seal(&"ben", b"y").expect("makes one");
        let foreign = at(&two).check(Some((&"anna", &sealed))).expect_err("another key").to_string();
        assert!(foreign.contains("the key here is another one"), "{foreign}");
        fs::copy(at(&one).path, at(&two).path).expect("copied");
        at(&two).check(Some((&"anna", &sealed))).expect("opens now");
    }

    #[test]
    fn who_makes_the_key_at_the_same_moment_gets_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path(), "test-key", "test/1");
        let sealed: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| vault.seal(&"anna", b"x").expect("sealed"))).collect();
            all.into_iter().map(|one| one.join().expect("ends")).collect()
        });
        for one in sealed {
            vault.open(&"anna", &one).expect("opens under the key that stands");
        }
        assert_eq!(fs::read_dir(vault.path.parent().expect("a directory")).expect("listed").count(), 1);
    }
}
