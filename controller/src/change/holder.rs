//! Who holds each node's connection: the newest session by the store, whichever controller it is of.
//!
//! Every session that is recorded draws the node's next epoch. What is written in the name of an older one is refused:
//! a controller that was cut off and comes back, or a connection that a later one replaced, can't overwrite what the
//! newer one said.

use std::collections::BTreeMap;

use lampas_shared::id::{ControllerId, NodeId};
use sqlx::{Any, QueryBuilder};

use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, push_ids},
};

/// The newest session of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The controller that it is of.
    pub(crate) controller: ControllerId,
    /// Its number.
    pub(crate) epoch: u64,
}

/// Returns the newest session of each of these nodes that ever had one, for a transaction that writes in its name.
pub(crate) async fn holders(tx: &mut Tx, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Holder>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(nodes) {
        let mut query =
            QueryBuilder::<Any>::new("SELECT s.node, s.controller, s.epoch FROM node_session s WHERE s.node IN ");
        push_ids(&mut query, chunk);
        query.push(tx.dialect().for_update());
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_session", row);
            let holder = Holder { controller: r.parse("controller")?, epoch: r.count("epoch")? };
            found.insert(r.parse("node")?, holder);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
