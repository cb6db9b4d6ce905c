//! The values of secrets, sealed for the store, and anew for the node that asks for one.

use std::path::Path;

use lampas_runtime::seal;
use lampas_shared::id::{NodeId, SecretValueId};
use thiserror::Error;

use crate::{
    config::Config,
    db::{Db, DbError},
    vault::{self, VaultError},
};

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

/// Why it can't be said that the key is right.
#[derive(Debug, Error)]
pub(crate) enum CheckError {
    /// It isn't, or can't be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

/// Seals values, each bound to its id.
#[derive(Debug, Clone)]
pub struct Vault(vault::Vault);

impl Vault {
    /// Keeps its key below a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self(vault::Vault::new(data_dir, "secret-key", "secret/1"))
    }

    /// Checks that the key here opens what the store holds.
    ///
    /// # Errors
    /// When it doesn't: the text says which file to copy.
    pub(crate) async fn check(&self, db: &Db) -> Result<(), CheckError> {
        let sample = db.read(|mut tx| async move {
            let sample = super::store::any(&mut tx).await?;
            Ok::<_, DbError>(tx.done(sample))
        });
        let (sample, vault) = (sample.await?, self.0.clone());
        let checked = tokio::task::spawn_blocking(move || {
            vault.check(sample.as_ref().map(|(id, sealed)| (id as &dyn std::fmt::Display, sealed.as_str())))
        });
        Ok(checked.await.unwrap_or(Err(VaultError::Seal("secret/1")))?)
    }

    /// Makes sure, before something is sealed, that the key here is the store's.
    ///
    /// # Errors
    /// When it isn't: the text says which file to bring from where.
    pub(crate) async fn settle(&self, db: &Db) -> Result<(), CheckError> {
        self.0.settle(db).await
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

/// Checks that the key in the data directory opens what the configured store holds. A store that can't be reached, or holds
/// nothing yet, says nothing of the key.
///
/// # Errors
/// When it doesn't.
pub(crate) async fn check_configured(config: &Config) -> anyhow::Result<()> {
    // A look must not make the file of a store that is still to be.
    let url = config.database.url(&config.data_dir).map_err(anyhow::Error::msg)?;
    let file = url.reveal().strip_prefix("sqlite://").map(|rest| rest.split('?').next().unwrap_or(rest).to_owned());
    if file.is_some_and(|file| !Path::new(&file).exists()) {
        return Ok(());
    }
    let Ok(db) = Db::connect(url.reveal(), 2).await else { return Ok(()) };
    let secrets = Vault::new(&config.data_dir).check(&db).await;
    for checked in [secrets, crate::access::check_factors(&config.data_dir, &db).await] {
        if let Err(CheckError::Vault(error)) = checked {
            return Err(error.into());
        }
    }
    // A store of an earlier version says nothing of keys.
    let keys = vault::sealing::status(&db, &config.data_dir).await.unwrap_or_default();
    match keys.into_iter().find_map(|k| k.problem) {
        Some(problem) => Err(anyhow::Error::msg(problem)),
        None => Ok(()),
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
