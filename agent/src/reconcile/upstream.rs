//! What the reconciler needs of a controller: contents by hash, and proof that the node still reaches it.

use futures_util::future::BoxFuture;
use lampas_shared::{desired::ContentHash, error::Fault, id::SecretValueId};

/// Implemented by the link.
pub trait Upstream: Send + Sync + 'static {
    /// Fetches a content; waits for a connection up to a limit of the link's own. The caller checks the hash again.
    fn fetch_blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Vec<u8>, Fault>>;

    /// Fetches the value of a secret, sealed to a key of this node.
    fn fetch_secret(&self, value: SecretValueId, key: [u8; 32]) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        let _ = (value, key);
        Box::pin(async { Err(Fault::passing("secret.unreachable", "this link brings no secrets")) })
    }

    /// Makes a fresh handshake with a controller, from a new socket, and ends it.
    fn confirm(&self) -> BoxFuture<'_, Result<(), Fault>>;
}
