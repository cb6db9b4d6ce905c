//! What a controller that died left in the tables of presence.

use lampas_runtime::clock;
use lampas_shared::id::ControllerId;

use crate::db::{Db, DbError};

/// Ends the sessions that this controller held when it died. Call it before the link starts.
///
/// # Errors
/// Those of the store.
pub async fn close_left_over(db: &Db, controller: ControllerId) -> Result<(), DbError> {
    let now = clock::now();
    db.write(|mut tx| async move {
        sqlx::query(
            "UPDATE node SET state = 'offline' WHERE state <> 'offline' AND id IN \
             (SELECT s.node FROM node_session s WHERE s.controller = ? AND s.closed_ms IS NULL)",
        )
        .bind(controller.to_string())
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "UPDATE node_session SET closed_ms = ?, reason = 'the controller restarted' \
             WHERE controller = ? AND closed_ms IS NULL",
        )
        .bind(now.0)
        .bind(controller.to_string())
        .execute(tx.conn())
        .await?;
        Ok::<_, DbError>(tx.done(()))
    })
    .await
}
