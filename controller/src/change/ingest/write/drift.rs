//! Edits by hand: found, ended, and what follows from that for the states of resources.

use std::collections::{BTreeMap, BTreeSet};

use lampas_runtime::random;
use lampas_shared::{
    event::EventKind,
    id::{DriftId, NodeId},
    report::{DriftOutcome, DriftReport, ResourceReport, ResourceState},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{outcome_word, put_states, restate, target_key};
use crate::{
    change::reports::Outcome,
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids, to_json},
    },
    event::NewEvent,
};

struct Open {
    id: DriftId,
    node: NodeId,
    key: String,
    found: UnixMs,
}

pub(super) async fn drifts(tx: &mut Tx, outcomes: &BTreeMap<NodeId, Outcome>, now: UnixMs) -> Result<(), DbError> {
    let concerned: Vec<NodeId> =
        outcomes.iter().filter(|(_, o)| o.exceptions.is_some() || !o.drifts.is_empty()).map(|(n, _)| *n).collect();
    let mut open: Vec<Open> = Vec::new();
    for chunk in id_chunks(&concerned) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT d.id, d.node, d.target_key, d.found_ms FROM drift d WHERE d.outcome = 'standing' AND d.node IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("drift", row);
            let found = r.time("found_ms")?;
            open.push(Open { id: r.parse("id")?, node: r.parse("node")?, key: r.text("target_key")?, found });
        }
    }
    // A generation ends the drifts of what is in force by it. What failed or waits is not over: a revert that can't be done
    // leaves the edit where it is, and the node says when it goes.
    let mut lapsed = Vec::new();
    open.retain(|drift| {
        let Some(told) = outcomes[&drift.node].exceptions.as_ref() else { return true };
        let is_open = |r: &ResourceReport| r.state != ResourceState::Converged && target_key(&r.target) == drift.key;
        let stands = told.iter().any(is_open);
        // How it ended may come along with it.
        let is_end = |d: &DriftReport| d.outcome != DriftOutcome::Standing && target_key(&d.target) == drift.key;
        let stands = stands || outcomes[&drift.node].drifts.iter().any(is_end);
        if !stands {
            lapsed.push(drift.id);
        }
        stands
    });
    for id in lapsed {
        end(tx, id, DriftOutcome::Resolved, now).await?;
    }
    let mut over: BTreeSet<NodeId> = BTreeSet::new();
    for (node, outcome) in outcomes {
        for report in &outcome.drifts {
            let key = target_key(&report.target);
            let held = open.iter().position(|d| d.node == *node && d.key == key);
            let event = |kind| {
                NewEvent::new(kind)
                    .node(*node)
                    .object(report.object)
                    .with("path", &report.path)
                    .with("outcome", outcome_word(report.outcome))
            };
            match (report.outcome, held) {
                (DriftOutcome::Standing, held) => {
                    let (id, since) = match held {
                        Some(at) => (open[at].id, open[at].found),
                        None => {
                            let id = random::new_id();
                            open.push(Open { id, node: *node, key: key.clone(), found: now });
                            tx.event(event(EventKind::DriftFound));
                            (id, now)
                        }
                    };
                    put_drift(tx, id, *node, &key, report, now).await?;
                    let state = ResourceReport {
                        target: report.target.clone(),
                        object: report.object,
                        state: ResourceState::Drifted,
                        fault: None,
                        notes: Vec::new(),
                    };
                    put_states(tx, &[((*node, key), &state, since)]).await?;
                    over.insert(*node);
                }
                (ended, Some(at)) => {
                    let drift = open.remove(at);
                    end(tx, drift.id, ended, now).await?;
                    clear_state(tx, *node, &key).await?;
                    tx.event(event(EventKind::DriftEnded));
                    over.insert(*node);
                }
                (DriftOutcome::Repaired, None) if !report.diff.is_empty() => {
                    put_drift(tx, random::new_id(), *node, &key, report, now).await?;
                    tx.event(event(EventKind::DriftEnded));
                }
                // A revert, of which the generation told before that it is over: what the nodes repair by themselves comes with
                // its diff.
                (DriftOutcome::Repaired, None) => {
                    if repaired(tx, *node, &key).await? {
                        tx.event(event(EventKind::DriftEnded));
                    }
                }
                (DriftOutcome::Resolved, None) => {}
            }
        }
    }
    restate(tx, &over.into_iter().collect::<Vec<_>>()).await
}

/// Says of the drift that ended last at a target that it was put back. Returns whether there is one that was not said to be.
async fn repaired(tx: &mut Tx, node: NodeId, key: &str) -> Result<bool, DbError> {
    let found = sqlx::query(
        "SELECT d.id, d.outcome FROM drift d WHERE d.node = ? AND d.target_key = ? ORDER BY d.id DESC LIMIT 1",
    )
    .bind(node.to_string())
    .bind(key)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = found else { return Ok(false) };
    let r = Reader::new("drift", &row);
    if r.text("outcome")? != outcome_word(DriftOutcome::Resolved) {
        return Ok(false);
    }
    sqlx::query("UPDATE drift SET outcome = ? WHERE id = ?")
        .bind(outcome_word(DriftOutcome::Repaired))
        .bind(r.text("id")?)
        .execute(tx.conn())
        .await?;
    Ok(true)
}

async fn clear_state(tx: &mut Tx, node: NodeId, key: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM resource_state WHERE node = ? AND target_key = ? AND state = 'drifted'")
        .bind(node.to_string())
        .bind(key)
        .execute(tx.conn())
        .await?;
    Ok(())
}

async fn end(tx: &mut Tx, id: DriftId, outcome: DriftOutcome, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE drift SET outcome = ?, ended_ms = ? WHERE id = ?")
        .bind(outcome_word(outcome))
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

async fn put_drift(
    tx: &mut Tx,
    id: DriftId,
    node: NodeId,
    key: &str,
    report: &DriftReport,
    now: UnixMs,
) -> Result<(), DbError> {
    let columns = [
        "id",
        "node",
        "target_key",
        "target",
        "object",
        "epoch",
        "counter",
        "outcome",
        "path",
        "diff",
        "observed",
        "content",
        "node_ms",
        "found_ms",
        "ended_ms",
    ];
    let update = ["epoch", "counter", "outcome", "path", "diff", "observed", "content", "node_ms"];
    let after = tx.dialect().on_conflict(&["id"], &update);
    // The bytes stand in a column of their own.
    let mut observed = report.observed.clone();
    let content = observed.as_mut().and_then(|o| o.content.take());
    crate::drift::told_anew(tx, id, observed.as_ref()).await?;
    insert_many(tx, "drift", &columns, &after, &[(observed, content)], |b, (observed, content)| {
        b.push_bind(id.to_string())
            .push_bind(node.to_string())
            .push_bind(key.to_owned())
            .push_bind(report.target.as_str().to_owned())
            .push_bind(report.object.to_string())
            .push_bind(report.generation.epoch as i64)
            .push_bind(report.generation.counter as i64)
            .push_bind(outcome_word(report.outcome))
            .push_bind(report.path.clone())
            .push_bind(report.diff.clone())
            .push_bind(observed.as_ref().map(to_json))
            .push_bind(content.clone())
            .push_bind(report.at.0)
            .push_bind(now.0)
            .push_bind((report.outcome != DriftOutcome::Standing).then_some(now.0));
    })
    .await
}
