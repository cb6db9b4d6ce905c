//! Desired states, contents and reports, from and to the change service.

use futures_util::{FutureExt as _, future::BoxFuture};
use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::{Chain, Fault},
    id::NodeId,
};
use lampas_wire::Report;
use tracing::error;

use super::source::StateSource;
use crate::{
    change::{Desired, Ingest},
    db::{DbError, row::Reader},
};

/// Serves agents from the compiled fleet, and takes their reports. Clones share both.
#[derive(Debug, Clone)]
pub struct Serving {
    desired: Desired,
    ingest: Ingest,
}

impl Serving {
    /// Serves from these.
    pub fn new(desired: Desired, ingest: Ingest) -> Self {
        Self { desired, ingest }
    }
}

impl StateSource for Serving {
    fn desired_for(&self, node: NodeId) -> BoxFuture<'_, Result<Option<NodeDesired>, Fault>> {
        async move { self.desired.desired_for(node).await.map_err(|e| to_fault(&e)) }.boxed()
    }

    fn blob(&self, node: NodeId, hash: ContentHash) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        async move { self.desired.blob(node, hash).await.map_err(|e| to_fault(&e)) }.boxed()
    }

    fn submit(&self, node: NodeId, epoch: u64, reports: Vec<(u64, Report)>) -> BoxFuture<'_, Result<u64, Fault>> {
        async move {
            let submitted = self.ingest.submit(node, epoch, reports).await;
            submitted.map_err(|e| Fault::passing("store.reports", e.to_string()))
        }
        .boxed()
    }

    fn acked(&self, node: NodeId, epoch: u64) -> BoxFuture<'_, Result<u64, Fault>> {
        async move {
            let found = self.desired.db().read(|mut tx| async move {
                let row = sqlx::query("SELECT s.seq FROM outbox_seen s WHERE s.node = ? AND s.epoch = ?")
                    .bind(node.to_string())
                    .bind(epoch as i64)
                    .fetch_optional(tx.conn())
                    .await?;
                let seq = row.map(|r| Reader::new("outbox_seen", &r).count("seq")).transpose()?.unwrap_or(0);
                Ok::<_, DbError>(tx.done(seq))
            });
            found.await.map_err(|e| to_fault(&e))
        }
        .boxed()
    }
}

fn to_fault(error: &DbError) -> Fault {
    error!(error = %Chain(error), "the link could not ask the store");
    Fault::passing("store.unavailable", "the controller's store does not answer")
}
