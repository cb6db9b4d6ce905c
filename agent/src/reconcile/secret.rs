//! The values of secrets on their way to a plan: fetched sealed, kept sealed, opened in memory.
//!
//! They are sealed to a key of this node that lies beside its journal, so that the journal alone opens nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, PoisonError},
};

use lampas_runtime::seal::SealKey;
use lampas_shared::{
    desired::{NodeDesired, Resource, Spec},
    error::{Chain, Fault},
    id::{NodeId, SecretValueId},
};
use tracing::warn;

use super::{Bench, purge::ON_ITS_WAY};
use crate::{
    host::{Digests, Secrets},
    journal::{Journal, JournalError, Transaction},
};

/// The node's key; read, or made, when it is first needed.
#[derive(Default)]
pub(super) struct NodeKey(OnceLock<Arc<SealKey>>);

/// Returns what a value is bound to: who may open it, and as what.
fn bound(node: NodeId, value: SecretValueId) -> Vec<u8> {
    format!("node {node} value {value}").into_bytes()
}

/// Returns the values that a state needs.
pub(super) fn values(state: &NodeDesired) -> BTreeSet<SecretValueId> {
    state.resources().flat_map(of_resource).collect()
}

/// Returns the values that a resource needs.
pub(super) fn of_resource(resource: &Resource) -> BTreeSet<SecretValueId> {
    match &resource.spec {
        Spec::Sealed(sealed) => sealed.values(),
        _ => BTreeSet::new(),
    }
}

impl Bench {
    fn seal_key(&self) -> Result<Arc<SealKey>, Fault> {
        if let Some(key) = self.node_key.0.get() {
            return Ok(key.clone());
        }
        let made = SealKey::open_or_make(&self.paths.secret_key());
        let key = made.map_err(|e| Fault::lasting("secret.key", Chain(&e).to_string()))?;
        Ok(self.node_key.0.get_or_init(|| Arc::new(key)).clone())
    }

    /// Returns a secret's value, if the journal has it and it opens.
    fn open_value(&self, journal: &Journal, value: SecretValueId) -> Result<Option<String>, Fault> {
        let Some(sealed) = journal.sealed_value(value)? else { return Ok(None) };
        let opened = self.seal_key()?.open(&bound(self.node, value), &sealed);
        // It is fetched again, sealed to the key that is there.
        let opened = opened.inspect_err(|error| warn!(%value, %error, "the value of a secret can't be opened"));
        Ok(opened.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()))
    }

    /// Puts together what holds secrets. `missing` is told of values that are not there.
    pub(super) fn fill(
        &self,
        journal: &Journal,
        resources: &mut [Resource],
        missing: &dyn Fn(SecretValueId),
    ) -> Secrets {
        // What goes may hold secrets too: then the key is there already, and its digests are under it.
        let is_needed = resources.iter().any(|r| matches!(r.spec, Spec::Sealed(_) | Spec::Password { .. }));
        if !is_needed && self.node_key.0.get().is_none() && !self.paths.secret_key().exists() {
            return Secrets::default();
        }
        let digests = match self.seal_key() {
            Ok(key) => Digests::new(key.digest_key("lampas agent 2026 digests of contents with secrets")),
            Err(_) => Digests::default(),
        };
        Secrets::fill(resources, digests, &|value| {
            self.open_value(journal, value)?.ok_or_else(|| {
                missing(value);
                Fault::passing("secret.missing", "the value of a secret has not arrived on this node yet")
            })
        })
    }

    /// Returns the values that a state needs and the journal has not, or can't open.
    pub(super) fn missing_values(&self, state: &NodeDesired) -> Result<Vec<SecretValueId>, Fault> {
        let journal = self.book().journal.clone();
        let mut missing = Vec::new();
        for value in values(state) {
            if self.open_value(&journal, value)?.is_none() {
                missing.push(value);
            }
        }
        Ok(missing)
    }

    /// Fetches a value into the journal, as it comes.
    pub(super) async fn fetch_value(self: &Arc<Self>, value: SecretValueId) -> Result<(), Fault> {
        let away = || Fault::passing("secret.unreachable", "secrets can't be fetched before the link is up");
        let upstream = self.upstream.get().ok_or_else(away)?.clone();
        let bench = self.clone();
        let panicked = |e: tokio::task::JoinError| Fault::passing("agent.panicked", e.to_string());
        let key = tokio::task::spawn_blocking(move || bench.seal_key()).await.map_err(panicked)??;
        let sealed = upstream.fetch_secret(value, key.public()).await?;
        key.open(&bound(self.node, value), &sealed)
            .map_err(|e| Fault::passing("secret.sealed", format!("what came for a secret: {}", Chain(&e))))?;
        let bench = self.clone();
        let put = tokio::task::spawn_blocking(move || {
            // What was on its way while the value was purged stays out.
            let purged = bench.purged.lock().unwrap_or_else(PoisonError::into_inner);
            if purged.get(&value).is_some_and(|at| at.elapsed() < ON_ITS_WAY) {
                return Err(Fault::lasting("secret.purged", "the value of a secret was purged while it was fetched"));
            }
            let mut transaction = Transaction::new();
            transaction.sealed_value(value, sealed);
            let journal = bench.book().journal.clone();
            journal.commit(transaction).map_err(|e: JournalError| Fault::from(e))?;
            drop(purged);
            Ok(())
        });
        put.await.map_err(panicked)?
    }
}
