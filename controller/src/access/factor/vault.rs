//! Where the key of second factors stands: in a file of the data directory, so that who reads the store, or a dump of it,
//! has no secret of an authenticator. The file is part of the backup, which is sealed as a whole.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{files, random};
use lampas_shared::id::UserId;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a secret can't be sealed or opened.
#[derive(Debug, Error)]
pub(super) enum VaultError {
    /// The key can't be read or written.
    #[error("read or make the key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("the key {} has other than {KEY_BYTES} bytes", .0.display())]
    Length(PathBuf),
    /// It was sealed under another key, or for another user.
    #[error("a second factor can't be opened: it is damaged, or was sealed under another key")]
    Open,
    /// The cryptography failed.
    #[error("seal a second factor")]
    Seal,
}

const KEY_BYTES: usize = 32;

/// Seals secrets with AES-256-GCM, each bound to its user.
#[derive(Debug)]
pub(super) struct Vault {
    path: PathBuf,
}

impl Vault {
    /// Keeps its key below a data directory.
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join("identity").join("second-factor-key") }
    }

    /// Seals a secret for a user; the first call makes the key.
    pub(super) fn seal(&self, user: UserId, secret: &[u8]) -> Result<String, VaultError> {
        let key = self.key(true)?;
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut bytes = secret.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(user), &mut bytes)
            .map_err(|_| VaultError::Seal)?;
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens what was sealed for a user.
    pub(super) fn open(&self, user: UserId, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self.key(false)?;
        let bytes = STANDARD.decode(sealed).map_err(|_| VaultError::Open)?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or(VaultError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Open)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = key.open_in_place(nonce, bound_to(user), &mut body).map_err(|_| VaultError::Open)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn key(&self, may_make: bool) -> Result<LessSafeKey, VaultError> {
        let failed = |source| VaultError::Key { path: self.path.clone(), source };
        let bytes = match files::read_private(&self.path, KEY_BYTES as u64) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_make => {
                if let Some(dir) = self.path.parent() {
                    files::private_dir(dir).map_err(failed)?;
                }
                let fresh = Zeroizing::new(random::bytes::<KEY_BYTES>().to_vec());
                files::replace(&self.path, &fresh, 0o600).map_err(failed)?;
                fresh
            }
            Err(error) => return Err(failed(error)),
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| VaultError::Length(self.path.clone()))?;
        Ok(LessSafeKey::new(key))
    }
}

/// A row that is copied to another user opens nothing.
fn bound_to(user: UserId) -> Aad<Vec<u8>> {
    Aad::from(format!("lampas second-factor/1 {user}").into_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_user_under_its_key_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path());
        let (anna, ben): (UserId, UserId) = (random::new_id(), random::new_id());
        assert!(vault.open(anna, "AAAA").is_err(), "opening makes no key");
        assert!(!vault.path.exists());
        let sealed = vault.seal(anna, b"twenty secret bytes!").expect("sealed");
        assert_eq!(vault.open(anna, &sealed).expect("opened").as_slice(), b"twenty secret bytes!");
        assert_ne!(sealed, vault.seal(anna, b"twenty secret bytes!").expect("sealed"), "a nonce serves once");
        vault.open(ben, &sealed).expect_err("is bound to its user");
        vault.open(anna, &sealed.replacen(&sealed[20..22], "zz", 1)).expect_err("was altered");
        let mode = std::fs::metadata(&vault.path).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().expect("a directory");
        let other = Vault::new(other.path());
        other.seal(anna, b"x").expect("makes a key");
        other.open(anna, &sealed).expect_err("another key");
    }
}
