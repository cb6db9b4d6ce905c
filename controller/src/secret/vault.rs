//! The values of secrets, sealed for the store, and anew for the node that asks for one.

use std::path::Path;

use lampas_runtime::seal;
use lampas_shared::id::{NodeId, SecretValueId};
use thiserror::Error;

use crate::vault::{self, VaultError};

/// Why a node gets no value.
#[derive(Debug, Error)]
pub enum ResealError {
    /// The value can't be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The node's key is none.
    #[error("seal the value of a secret for a node")]
    Node(#[from] seal::SealError),
}

/// Seals values, each bound to its id.
#[derive(Debug, Clone)]
pub struct Vault(vault::Vault);

impl Vault {
    /// Keeps its key below a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self(vault::Vault::new(data_dir, "secret-key", "secret/1"))
    }

    /// Seals a value; the first call makes the key. Blocking, as the other.
    ///
    /// # Errors
    /// When the key can't be read or made.
    pub fn seal(&self, id: SecretValueId, value: &str) -> Result<String, VaultError> {
        self.0.seal(&id, value.as_bytes())
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
    ) -> Result<Vec<u8>, ResealError> {
        let value = self.0.open(&id, sealed)?;
        let bound = format!("node {node} value {id}");
        Ok(seal::seal(key, bound.as_bytes(), &value)?)
    }
}

#[cfg(test)]
mod tests {
    use lampas_runtime::{random, seal::SealKey};

    use super::*;

    #[test]
    fn a_value_reaches_the_node_that_asked_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path());
        let id: SecretValueId = random::new_id();
        let (web, db): (NodeId, NodeId) = (random::new_id(), random::new_id());
        let sealed = vault.seal(id, "hunter2").expect("sealed");
        assert!(!sealed.contains("hunter2"));
        let key = SealKey::generate().expect("a key");
        let resealed = vault.reseal(id, &sealed, web, &key.public()).expect("resealed");
        let bound = |node| format!("node {node} value {id}").into_bytes();
        assert_eq!(key.open(&bound(web), &resealed).expect("opens").as_slice(), b"hunter2");
        key.open(&bound(db), &resealed).expect_err("is bound to its node");
        vault.reseal(random::new_id(), &sealed, web, &key.public()).expect_err("is bound to its id");
    }
}
