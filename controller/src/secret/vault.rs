//! Where the key of secrets stands: in a file of the data directory. The file is part of the backup, which is sealed as
//! a whole.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{files, random, seal};
use lampas_shared::id::{NodeId, SecretValueId};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a value can't be sealed or opened.
#[derive(Debug, Error)]
pub enum VaultError {
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
    /// It was sealed under another key, or as another value.
    #[error("the value of a secret can't be opened: it is damaged, or was sealed under another key")]
    Open,
    /// The cryptography failed.
    #[error("seal the value of a secret")]
    Seal,
    /// A node's key is none.
    #[error("seal the value of a secret for a node")]
    Node(#[source] seal::SealError),
}

const KEY_BYTES: usize = 32;

/// Seals values with AES-256-GCM, each bound to its id.
#[derive(Debug, Clone)]
pub struct Vault {
    path: PathBuf,
}

impl Vault {
    /// Keeps its key below a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join("identity").join("secret-key") }
    }

    /// Seals a value; the first call makes the key. Blocking, as all of these.
    ///
    /// # Errors
    /// When the key can't be read or made.
    pub fn seal(&self, id: SecretValueId, value: &str) -> Result<String, VaultError> {
        let key = self.key(true)?;
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut bytes = Zeroizing::new(value.as_bytes().to_vec());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(id), &mut *bytes)
            .map_err(|_| VaultError::Seal)?;
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens a value, and seals it for a node to the key that it gave.
    ///
    /// # Errors
    /// When the value can't be opened, or the key is none.
    pub fn reseal(
        &self,
        id: SecretValueId,
        sealed: &str,
        node: NodeId,
        key: &[u8; seal::KEY_BYTES],
    ) -> Result<Vec<u8>, VaultError> {
        let value = self.open(id, sealed)?;
        let bound = format!("node {node} value {id}");
        seal::seal(key, bound.as_bytes(), &value).map_err(VaultError::Node)
    }

    fn open(&self, id: SecretValueId, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self.key(false)?;
        let bytes = STANDARD.decode(sealed).map_err(|_| VaultError::Open)?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or(VaultError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Open)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = key.open_in_place(nonce, bound_to(id), &mut body).map_err(|_| VaultError::Open)?.len();
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

/// A row that is copied to another id opens nothing.
fn bound_to(id: SecretValueId) -> Aad<Vec<u8>> {
    Aad::from(format!("lampas secret/1 {id}").into_bytes())
}

#[cfg(test)]
mod tests {
    use lampas_runtime::seal::SealKey;

    use super::*;

    #[test]
    fn a_value_opens_under_its_id_and_reaches_the_node_that_asked_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path());
        let (one, two): (SecretValueId, SecretValueId) = (random::new_id(), random::new_id());
        let (web, db): (NodeId, NodeId) = (random::new_id(), random::new_id());
        let sealed = vault.seal(one, "hunter2").expect("sealed");
        assert!(!sealed.contains("hunter2") && sealed != vault.seal(one, "hunter2").expect("sealed"));
        assert_eq!(vault.open(one, &sealed).expect("opens").as_slice(), b"hunter2");
        vault.open(two, &sealed).expect_err("is bound to its id");
        let key = SealKey::generate().expect("a key");
        let resealed = vault.reseal(one, &sealed, web, &key.public()).expect("resealed");
        let bound = |node| format!("node {node} value {one}").into_bytes();
        assert_eq!(key.open(&bound(web), &resealed).expect("opens").as_slice(), b"hunter2");
        key.open(&bound(db), &resealed).expect_err("is bound to its node");
        let other = tempfile::tempdir().expect("a directory");
        Vault::new(other.path()).open(one, &sealed).expect_err("no key is there");
    }
}
