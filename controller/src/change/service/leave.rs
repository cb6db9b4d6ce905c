//! A node that its owner ejected tells so itself: nothing is left to ask it for.

use lampas_runtime::clock;
use lampas_shared::id::NodeId;
use tracing::info;

use super::node::{overtake, recompile};
use crate::{audit::Principal, change::ChangeError, db::Db, fleet, takeover};

/// Lets go of a node: its drift ends, no change targets it any more, and it can't come back without a new token. Returns
/// the nodes that this moves. Its connection is for the caller to end.
pub(crate) async fn let_go(db: &Db, id: NodeId) -> Result<Vec<NodeId>, ChangeError> {
    db.write(|mut tx| async move {
        let node = fleet::find(&mut tx, &id.to_string()).await?;
        // What it says twice was done the first time.
        if node.summary.ejected_at.is_some() {
            return Ok(tx.done(Vec::new()));
        }
        let name = node.summary.name.to_string();
        let by = &Principal::new(format!("node:{name}"), "the node itself");
        let before = fleet::members(&mut tx).await?;
        takeover::ejected(&mut tx, id, &name, clock::now(), by).await?;
        fleet::revoke(&mut tx, id, by, "ejected on the node").await?;
        overtake(&mut tx, id, &before, by).await?;
        let (moved, _) = recompile(&mut tx, None).await?;
        info!(node.id = %id, node.name = name, "a node says that its owner ejected it");
        Ok(tx.done(moved))
    })
    .await
}
