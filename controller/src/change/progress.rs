//! How changes go on their nodes.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{ChangeNode, ChangeNodeState, NodeRef, Page, Progress};
use lampas_shared::{
    change::ChangeState,
    error::Fault,
    event::EventKind,
    id::{ChangeId, NodeId},
    report::ResourceState,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use crate::{
    db::{
        DbError, Tx,
        row::{Reader, push_ids},
    },
    event::NewEvent,
};

/// Returns how changes stand.
pub(crate) async fn progress(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, Progress>, DbError> {
    let mut found: BTreeMap<ChangeId, Progress> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let mut query = QueryBuilder::<Any>::new(
        "SELECT p.change_id, p.state, COALESCE(n.state, 'offline') AS heard, COUNT(*) AS nodes FROM change_node p \
         LEFT JOIN node n ON n.id = p.node WHERE p.change_id IN ",
    );
    push_ids(&mut query, ids);
    query.push(" GROUP BY p.change_id, p.state, COALESCE(n.state, 'offline')");
    for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
        let r = Reader::new("change_node", row);
        let nodes = r.count("nodes")? as u32;
        let progress = found.entry(r.parse("change_id")?).or_default();
        count(progress, state(&r.text("state")?, &r.text("heard")?), nodes);
    }
    Ok(found)
}

/// Counts nodes that stand so.
pub(crate) fn count(progress: &mut Progress, state: ChangeNodeState, nodes: u32) {
    let counter = match state {
        ChangeNodeState::Waiting => &mut progress.waiting,
        ChangeNodeState::Applying => &mut progress.applying,
        ChangeNodeState::Converged => &mut progress.converged,
        ChangeNodeState::Failed => &mut progress.failed,
        ChangeNodeState::Unreachable => &mut progress.unreachable,
        ChangeNodeState::Superseded => &mut progress.superseded,
        ChangeNodeState::Held => &mut progress.held,
        ChangeNodeState::Untouched => &mut progress.untouched,
    };
    *counter += nodes;
}

/// Returns how each node of a change stands, with its name.
pub(crate) async fn states(
    tx: &mut Tx,
    change: ChangeId,
) -> Result<BTreeMap<NodeId, (String, ChangeNodeState)>, DbError> {
    let rows = sqlx::query(
        "SELECT p.node, COALESCE(n.name, p.node) AS name, COALESCE(n.state, 'offline') AS heard, p.state \
         FROM change_node p LEFT JOIN node n ON n.id = p.node WHERE p.change_id = ?",
    )
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_node", row);
            Ok((r.parse("node")?, (r.text("name")?, state(&r.text("state")?, &r.text("heard")?))))
        })
        .collect()
}

/// What stands in the row, with what only shows beside the node: who is not connected can't be waited for.
fn state(word: &str, heard: &str) -> ChangeNodeState {
    match word {
        "waiting" | "applying" if heard == "offline" => ChangeNodeState::Unreachable,
        "waiting" => ChangeNodeState::Waiting,
        "applying" => ChangeNodeState::Applying,
        "converged" => ChangeNodeState::Converged,
        "superseded" => ChangeNodeState::Superseded,
        "held" => ChangeNodeState::Held,
        "untouched" => ChangeNodeState::Untouched,
        _ => ChangeNodeState::Failed,
    }
}

/// What [`state`] says, as a condition on the row (`p`) and on how its node is heard (`n`).
fn condition(state: ChangeNodeState) -> &'static str {
    match state {
        ChangeNodeState::Waiting => "(p.state = 'waiting' AND COALESCE(n.state, 'offline') <> 'offline')",
        ChangeNodeState::Applying => "(p.state = 'applying' AND COALESCE(n.state, 'offline') <> 'offline')",
        ChangeNodeState::Converged => "p.state = 'converged'",
        ChangeNodeState::Failed => {
            "p.state NOT IN ('waiting', 'applying', 'converged', 'superseded', 'held', 'untouched')"
        }
        ChangeNodeState::Unreachable => {
            "(p.state IN ('waiting', 'applying') AND COALESCE(n.state, 'offline') = 'offline')"
        }
        ChangeNodeState::Superseded => "p.state = 'superseded'",
        ChangeNodeState::Held => "p.state = 'held'",
        ChangeNodeState::Untouched => "p.state = 'untouched'",
    }
}

/// Returns a page of a change's nodes by name: all, or those in one of these states.
pub(crate) async fn nodes(
    tx: &mut Tx,
    change: ChangeId,
    applied_at: Option<UnixMs>,
    states: Option<&[ChangeNodeState]>,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<ChangeNode>, DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "SELECT p.node, COALESCE(n.name, p.node) AS name, COALESCE(n.state, 'offline') AS heard, p.state, p.took_ms, \
         p.message, p.updated_ms, c.state AS config, c.change_id AS held FROM change_node p \
         LEFT JOIN node n ON n.id = p.node LEFT JOIN node_config c ON c.node = p.node WHERE p.change_id = ",
    );
    query.push_bind(change.to_string());
    if let Some(states) = states {
        query.push(" AND (1 = 0");
        for state in states {
            query.push(" OR ").push(condition(*state));
        }
        query.push(")");
    }
    if let Some(after) = after {
        query.push(" AND COALESCE(n.name, p.node) > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY COALESCE(n.name, p.node) LIMIT ").push_bind(i64::from(limit) + 1);
    let mut rows = query.build().fetch_all(tx.conn()).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items = rows
        .iter()
        .map(|row| {
            let r = Reader::new("change_node", row);
            let state = state(&r.text("state")?, &r.text("heard")?);
            let message = r.text("message")?;
            let is_proven = matches!(state, ChangeNodeState::Converged | ChangeNodeState::Failed);
            let is_current = r.maybe_text("held")?.is_some_and(|h| h == change.to_string());
            Ok(ChangeNode {
                node: NodeRef { id: r.parse("node")?, name: r.text("name")? },
                state,
                config: if is_current { r.maybe_parse::<ResourceState>("config")? } else { None },
                took_ms: r.maybe_int("took_ms")?.map(|t| t.max(0) as u64),
                since_apply_ms: match applied_at {
                    Some(applied) if is_proven => Some(r.time("updated_ms")?.since(applied).max(0) as u64),
                    _ => None,
                },
                fault: (!message.is_empty())
                    .then(|| serde_json::from_str(&message).unwrap_or_else(|_| Fault::lasting("node.failed", message))),
            })
        })
        .collect::<Result<Vec<_>, DbError>>()?;
    let next = items.last().filter(|_| has_more).map(|n| n.node.name.clone());
    Ok(Page { items, next, total: None })
}

/// One step of a change on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) change: ChangeId,
    pub(crate) node: NodeId,
    /// `applying`, `converged` or `failed`.
    pub(crate) state: &'static str,
    /// Whether the node undid what it had: that is said of the change although it was done.
    pub(crate) is_undone: bool,
    pub(crate) took_ms: Option<u64>,
    pub(crate) fault: Option<Fault>,
}

/// Writes steps: one statement for all that are equal, so that a mass rollout stays cheap.
///
/// A change is moved by what is said of the generation that it gave the node, and by nothing later. Once it is done,
/// what was in force stays so in its record: how the node stands since then is told beside the node.
pub(crate) async fn advance(tx: &mut Tx, steps: &[Step], now: UnixMs) -> Result<(), DbError> {
    let mut equal: BTreeMap<(ChangeId, &'static str, bool, Option<String>), Vec<&Step>> = BTreeMap::new();
    for step in steps {
        let message = step.fault.as_ref().map(crate::db::row::to_json);
        equal.entry((step.change, step.state, step.is_undone, message)).or_default().push(step);
    }
    for ((change, state, is_undone, message), steps) in equal {
        for chunk in steps.chunks(500) {
            let mut query = QueryBuilder::<Any>::new("UPDATE change_node SET state = ");
            query.push_bind(state).push(", message = ").push_bind(message.clone().unwrap_or_default());
            query.push(", updated_ms = ").push_bind(now.0);
            if chunk.iter().any(|s| s.took_ms.is_some()) {
                query.push(", took_ms = CASE node");
                for step in chunk {
                    query.push(" WHEN ").push_bind(step.node.to_string());
                    query.push(" THEN ").push_bind(step.took_ms.map(|t| t.min(i64::MAX as u64) as i64));
                }
                query.push(" ELSE took_ms END");
            }
            query.push(" WHERE change_id = ").push_bind(change.to_string());
            query.push(
                " AND state NOT IN ('superseded', 'untouched') AND EXISTS (SELECT 1 FROM node_config g WHERE g.node = change_node.node \
                 AND g.change_id = change_node.change_id AND g.epoch = change_node.epoch \
                 AND g.counter = change_node.counter)",
            );
            if !is_undone {
                query.push(
                    " AND (state <> 'converged' OR EXISTS (SELECT 1 FROM changes c \
                     WHERE c.id = change_node.change_id AND c.state = 'rolling'))",
                );
            }
            query.push(" AND node IN ");
            push_ids(&mut query, &chunk.iter().map(|s| s.node).collect::<Vec<_>>());
            query.build().persistent(false).execute(tx.conn()).await?;
        }
    }
    Ok(())
}

/// Marks rolling changes as done whose nodes are all at an end: of these changes, or of all.
pub(crate) async fn settle(
    tx: &mut Tx,
    only: Option<&BTreeSet<ChangeId>>,
    now: UnixMs,
) -> Result<Vec<ChangeId>, DbError> {
    if only.is_some_and(BTreeSet::is_empty) {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Any>::new(
        "SELECT c.id, c.number, (SELECT w.state FROM rollout w WHERE w.change_id = c.id) AS waves FROM changes c \
         WHERE c.state = 'rolling' AND NOT EXISTS (SELECT 1 FROM change_node p \
         WHERE p.change_id = c.id AND p.state IN ('waiting', 'applying')) AND NOT EXISTS (SELECT 1 FROM rollout r \
         WHERE r.change_id = c.id AND r.state IN ('running', 'paused'))",
    );
    if let Some(only) = only {
        query.push(" AND c.id IN ");
        push_ids(&mut query, &only.iter().copied().collect::<Vec<_>>());
    }
    let rows = query.build().persistent(false).fetch_all(tx.conn()).await?;
    let mut done = Vec::new();
    for row in &rows {
        let r = Reader::new("changes", row);
        let id: ChangeId = r.parse("id")?;
        super::store::set_state(tx, id, ChangeState::Done, now).await?;
        let number = r.count("number")?;
        // A rollout that was given up says so itself.
        let waves = r.maybe_text("waves")?.unwrap_or_default();
        let event = NewEvent::new(EventKind::ChangeMoved).change(id).with("number", number);
        tx.event(event.with("state", "done").with("waves", waves));
        done.push(id);
    }
    Ok(done)
}
