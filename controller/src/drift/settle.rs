//! Puts back what a merge left out: who merges an edit into the template decides what of it stays, and the file on the
//! node that the edit comes from is otherwise than that.
//!
//! A held drift stands through later generations. The change of the merge is the decision about this one: once the node has
//! that change, or a later state in which the same shall stand there, it is asked to take what was decided. When it tells
//! that the file is otherwise once more, or when something else shall stand there meanwhile, nothing is decided about that.
//! Until then the change is on its way there. It goes by what is stored alone, so that a controller that dies leaves it to
//! the next.

use std::{collections::BTreeSet, time::Duration};

use lampas_runtime::{Tasks, clock};
use lampas_shared::{
    desired::ContentHash,
    error::Chain,
    id::{ChangeId, DriftId, NodeId, ObjectId},
    object::Target,
};
use tracing::{info, warn};

use super::{
    DriftError,
    store::{self, Decided, DriftRow},
};
use crate::{
    audit::{Entry, Principal},
    change::Changes,
    compile::Compiled,
    db::{
        DbError, Tx,
        row::{Reader, to_json},
    },
};

/// The decision about a finding whose merge is the one about all of the file.
pub(super) const SETTLE: &str = "settle";

/// Between two looks without a commit of this controller: those of others, and nodes that did not answer.
const IDLE: Duration = Duration::from_secs(15);
/// How long a node that refuses is let alone.
const LATER_MS: i64 = 60_000;
/// After a commit, to take what others of the same burst commit in one look.
const GATHER: Duration = Duration::from_millis(50);

/// Starts the task.
pub(crate) fn start(changes: Changes, tasks: &Tasks) {
    let stopping = tasks.stopping();
    let mut committed = changes.db().committed();
    tasks.spawn("drift", async move {
        loop {
            committed.borrow_and_update();
            if let Err(error) = pass(&changes).await {
                warn!(error = %Chain(&error), "drift that was decided about could not be looked at; it will be again");
            }
            // All arms are cancel-safe: nothing is taken that would be lost.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(IDLE) => {}
                _ = committed.changed() => tokio::time::sleep(GATHER).await,
            }
        }
    });
}

/// Asks each node that has the change of a merge to take what was decided.
pub(crate) async fn pass(changes: &Changes) -> Result<(), DriftError> {
    let due = changes
        .db()
        .read(|mut tx| async move {
            let mut due = Vec::new();
            for (id, change, decided) in due_ones(&mut tx).await? {
                due.extend(store::get(&mut tx, id).await?.map(|row| (row, change, decided)));
            }
            Ok::<_, DbError>(tx.done(due))
        })
        .await?;
    if due.is_empty() {
        return Ok(());
    }
    let view = changes.desired().view().await?;
    let is_decided = |row: &DriftRow, decided| wanted(&view.compiled, row.node, &row.target) == Some(decided);
    let due = due.iter().filter(|(row, _, decided)| is_decided(row, *decided));
    for (row, change, _) in due.filter(|(row, ..)| changes.gate().connected(row.node)) {
        match changes.gate().revert(row.node, row.target.clone()).await {
            Ok(()) => asked(changes, row, *change).await?,
            Err(fault) => {
                warn!(
                    node.id = %row.node, error = %fault,
                    "the node does not take what was decided about its drift; it will be asked again"
                );
                let next = clock::now().plus_ms(LATER_MS);
                let put = changes.db().write(|mut tx| async move {
                    store::put_next(&mut tx, row.id, next).await?;
                    Ok::<_, DbError>(tx.done(()))
                });
                put.await?;
            }
        }
    }
    Ok(())
}

/// Returns the hash of what shall stand at a target of a node.
pub(crate) fn wanted(compiled: &Compiled, node: NodeId, target: &Target) -> Option<ContentHash> {
    let resource = compiled.class(node)?.resources.iter().find(|r| r.target == *target)?;
    Some(ContentHash::of(to_json(&resource.spec).as_bytes()))
}

/// Notes that a node took what was decided; it says itself when that is in force.
async fn asked(changes: &Changes, row: &DriftRow, change: ChangeId) -> Result<(), DriftError> {
    let by = &Principal::system();
    changes
        .db()
        .write(|mut tx| async move {
            let decided = Decided { decision: "revert", change: Some(change), wanted: None };
            store::decide(&mut tx, row.id, &decided, by).await?;
            let entry = Entry::done(by, "drift.revert", format!("{} on {}", row.path, row.node_name));
            tx.audit(entry.because("decided in the merge that was applied"));
            Ok::<_, DriftError>(tx.done(()))
        })
        .await?;
    info!(node.id = %row.node, path = row.path, "what was decided about a drift is in place");
    Ok(())
}

/// Returns the findings on nodes that have the change of their merge, or a state that came after it, and are to be asked if
/// what was decided shall still stand there.
async fn due_ones(tx: &mut Tx) -> Result<Vec<(DriftId, ChangeId, ContentHash)>, DbError> {
    let rows = sqlx::query(
        "SELECT d.id, d.change_id, d.wanted_hash FROM drift d JOIN changes c ON c.id = d.change_id \
         JOIN change_node p ON p.change_id = d.change_id AND p.node = d.node \
         JOIN node_config g ON g.node = d.node \
         WHERE d.outcome = 'standing' AND d.decision = ? AND d.wanted_hash IS NOT NULL AND (d.next_ms IS NULL OR d.next_ms <= ?) \
         AND p.state NOT IN ('held', 'untouched') AND NOT EXISTS (SELECT 1 FROM changes v \
         WHERE v.reverts = d.change_id AND v.state IN ('rolling', 'done')) AND g.phase IN ('applied', 'confirmed') AND g.epoch = g.reported_epoch AND g.counter = g.reported_counter",
    )
    .bind(SETTLE)
    .bind(clock::now().0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("drift", row);
            Ok((r.parse("id")?, r.parse("change_id")?, r.parse("wanted_hash")?))
        })
        .collect()
}

/// Returns the objects of which a change is the decision about a node's standing drift: that is about to be over.
pub(crate) async fn settling(tx: &mut Tx, node: NodeId, change: ChangeId) -> Result<BTreeSet<ObjectId>, DbError> {
    let rows = sqlx::query(
        "SELECT d.object FROM drift d WHERE d.outcome = 'standing' AND d.decision IN (?, 'revert') AND d.node = ? \
         AND d.change_id = ?",
    )
    .bind(SETTLE)
    .bind(node.to_string())
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("drift", row).parse("object")).collect()
}
