//! What operations look like: the list, the runs, what they wrote, and who wrote the same.

use std::{collections::BTreeMap, time::Duration};

use base64::Engine as _;
use lampas_api::{Operation, OperationNode, OperationOutput, OperationSummary, OutputGroup, OutputPiece, Page};
use lampas_shared::{
    desired::ContentHash,
    id::{OperationId, RunId},
    operation::{OperationState, RunState, Work},
};

use super::Operations;
use crate::{
    db::DbError,
    operation::{
        OperationError, output,
        store::{self, Filter, OperationRow},
    },
};

/// About how many bytes of output one answer holds.
const ANSWER_BYTES: usize = 1 << 20;
/// How much text of a group is shown.
const GROUP_BYTES: usize = 256 << 10;
/// The most groups that are shown with their text, and how much text of all groups together.
const GROUPS: usize = 200;
const GROUPS_BYTES: usize = 8 << 20;
/// The longest that a listener may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(25);

impl Operations {
    /// Returns an operation as it is shown.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn shown(&self, row: &OperationRow, may_read_output: bool) -> Result<Operation, OperationError> {
        let id = row.id;
        let counts = self
            .db()
            .read(|mut tx| async move {
                let counts = store::counts(&mut tx, &[id]).await?;
                Ok::<_, DbError>(tx.done(counts))
            })
            .await?;
        let mut spec = row.spec.clone();
        // A draft is as private as a file of mode 0600: who may read what runs print may read what runs.
        if let (Work::Draft { draft, .. }, false) = (&mut spec.work, may_read_output) {
            let hash = ContentHash::of(draft.content.as_bytes());
            draft.content = format!("(the content {} needs the permission read_content)\n", hash.short());
        }
        Ok(Operation {
            summary: row.summary(counts.get(&id).copied().unwrap_or_default()),
            spec,
            cancelled_by: row.cancelled.as_ref().map(|(_, by)| by.clone()),
            cancelled_at: row.cancelled.as_ref().map(|(at, _)| *at),
            may_read_output,
        })
    }

    /// Returns operations, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Page<OperationSummary>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let mut rows = store::list(&mut tx, filter, before, limit + 1).await?;
                let has_more = rows.len() > limit as usize;
                rows.truncate(limit as usize);
                let ids: Vec<OperationId> = rows.iter().map(|r| r.id).collect();
                let counts = store::counts(&mut tx, &ids).await?;
                let next = rows.last().filter(|_| has_more).map(|r| r.number.to_string());
                let items = rows.iter().map(|r| r.summary(counts.get(&r.id).copied().unwrap_or_default())).collect();
                Ok::<_, OperationError>(tx.done(Page { items, next, total: None }))
            })
            .await
    }

    /// Returns the runs of an operation, in the order in which they are taken.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn nodes(
        &self,
        id: OperationId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<OperationNode>, OperationError> {
        let mut rows = self
            .db()
            .read(|mut tx| async move {
                let rows = store::nodes(&mut tx, id, after, limit + 1).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| has_more).map(|(place, ..)| place.to_string());
        let items = rows
            .into_iter()
            .map(|(_, node, _)| OperationNode { is_connected: self.gate().connected(node.node.id), ..node })
            .collect();
        Ok(Page { items, next, total: None })
    }

    pub(in crate::operation) async fn all_nodes(&self, id: OperationId) -> Result<Vec<OperationNode>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let rows = store::nodes(&mut tx, id, None, u32::MAX).await?;
                Ok::<_, OperationError>(tx.done(rows.into_iter().map(|(_, node, _)| node).collect()))
            })
            .await
    }

    /// Returns output after a place. When nothing moved since `seen`, waits for it.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(crate) async fn output(
        &self,
        row: &OperationRow,
        run: Option<RunId>,
        after: u64,
        seen: Option<u64>,
        wait: Duration,
    ) -> Result<OperationOutput, OperationError> {
        let mut moved = self.0.seen.subscribe();
        let id = row.id;
        let until = tokio::time::Instant::now() + wait.min(MAX_WAIT);
        loop {
            let now_seen = *moved.borrow_and_update();
            let (pieces, nodes, state) = self
                .db()
                .read(|mut tx| async move {
                    let pieces = store::pieces(&mut tx, id, run, after, ANSWER_BYTES).await?;
                    let state = store::find(&mut tx, &id.to_string()).await?.map(|r| r.state);
                    let nodes = match (&pieces[..], state) {
                        // Only when nothing is left to tell is it asked whether more may come.
                        ([], Some(OperationState::Running) | None) => None,
                        ([], _) => Some(store::nodes(&mut tx, id, None, u32::MAX).await?),
                        _ => None,
                    };
                    Ok::<_, DbError>(tx.done((pieces, nodes, state)))
                })
                .await?;
            let is_of = |n: &OperationNode| run.is_none_or(|r| r == n.run);
            let is_complete = state.is_none()
                || nodes.is_some_and(|n| n.iter().filter(|(_, n, _)| is_of(n)).all(|(_, n, _)| n.is_output_complete));
            // Who waits is told of pieces, of the end, and of whatever else moved since the answer before.
            if !pieces.is_empty() || is_complete || seen != Some(now_seen) || tokio::time::Instant::now() >= until {
                let next = pieces.last().map_or(after, |p| p.seq);
                let pieces = pieces.into_iter().map(shown).collect();
                return Ok(OperationOutput { pieces, next, is_complete, seen: now_seen });
            }
            match tokio::time::timeout_at(until, moved.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    return Ok(OperationOutput { pieces: Vec::new(), next: after, is_complete: false, seen: now_seen });
                }
            }
        }
    }

    /// Returns the runs that are over, those together that ended alike and wrote the same: the largest group first.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn groups(&self, id: OperationId, with_text: bool) -> Result<Vec<OutputGroup>, OperationError> {
        self.db()
            .read(|mut tx| async move {
                let mut groups: BTreeMap<(RunState, String, String), Vec<OperationNode>> = BTreeMap::new();
                for (_, node, hash) in store::nodes(&mut tx, id, None, u32::MAX).await? {
                    if node.state.is_final() {
                        let key = (node.state, node.detail.clone(), hash.unwrap_or_default());
                        groups.entry(key).or_default().push(node);
                    }
                }
                let mut groups: Vec<_> = groups.into_iter().collect();
                groups.sort_by(|a, b| (b.1.len(), &a.1[0].node.name).cmp(&(a.1.len(), &b.1[0].node.name)));
                let (mut found, mut left) = (Vec::new(), GROUPS_BYTES);
                for (number, ((state, detail, hash), mut nodes)) in groups.into_iter().enumerate() {
                    nodes.sort_by(|a, b| a.node.name.cmp(&b.node.name));
                    // Of equal ones any will do; one whose output is here says most.
                    let first = nodes.iter().find(|n| n.is_output_complete).unwrap_or(&nodes[0]);
                    let (run, output_bytes) = (first.run, first.output_bytes);
                    let text = if with_text && number < GROUPS && left > 0 && !hash.is_empty() {
                        let most = GROUP_BYTES.min(left);
                        let pieces = store::pieces_of(&mut tx, run, most).await?;
                        let text = output::text(pieces.iter().map(|p| &p.chunk), output_bytes, most);
                        left = left.saturating_sub(text.len());
                        Some(text)
                    } else {
                        with_text.then(String::new)
                    };
                    let nodes = nodes.into_iter().map(|n| n.node).collect();
                    found.push(OutputGroup { nodes, state, detail, output_bytes, run, text });
                }
                Ok::<_, OperationError>(tx.done(found))
            })
            .await
    }
}

fn shown(piece: store::Piece) -> OutputPiece {
    OutputPiece {
        seq: piece.seq,
        run: piece.run,
        start: piece.chunk.offset,
        stream: piece.chunk.stream,
        after_ms: piece.chunk.after_ms,
        data: base64::engine::general_purpose::STANDARD.encode(&piece.chunk.bytes),
    }
}
