//! What the reconciler needs of a controller: contents by hash, and proof that the node still reaches it.

use futures_util::future::BoxFuture;
use lampas_shared::{desired::ContentHash, error::Fault};

/// Implemented by the link.
pub trait Upstream: Send + Sync + 'static {
    /// Fetches a content; waits for a connection up to a limit of the link's own. The caller checks the hash again.
    fn fetch_blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Vec<u8>, Fault>>;

    /// Makes a fresh handshake with a controller, from a new socket, and ends it.
    fn confirm(&self) -> BoxFuture<'_, Result<(), Fault>>;
}
