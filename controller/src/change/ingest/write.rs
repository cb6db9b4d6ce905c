//! One batch of reports, as one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::Generation,
    event::EventKind,
    id::{ChangeId, NodeId},
    object::Target,
    report::{DriftOutcome, JobRun, ResourceReport, ResourceState, RunOutcome},
    time::UnixMs,
};
use lampas_wire::Report;
use sqlx::{Any, QueryBuilder};

mod drift;

use super::Submission;
use crate::{
    change::{
        assign::{ASSIGNED, REPORTED},
        effect,
        holder::holders,
        progress, refusal,
        reports::{Current, Outcome, fold},
    },
    db::{
        Db, DbError, Tx,
        row::{Reader, by_weight, id_chunks, insert_many, push_ids, to_json},
    },
    event::NewEvent,
};

/// The last committed sequence by node and outbox epoch.
pub(crate) type Acked = BTreeMap<(NodeId, u64), u64>;

/// Up to this many nodes or runs of a batch get an event each; more are told together.
const SINGLE_EVENTS: usize = 20;

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The last committed sequence by node and outbox epoch.
    pub(super) acked: Acked,
    /// The sessions that are no longer their nodes' newest: nothing of theirs was written.
    pub(super) fenced: BTreeSet<(NodeId, u64)>,
}

pub(super) async fn batch(db: &Db, batch: &[Submission]) -> Result<Written, DbError> {
    db.write(|mut tx| async move {
        let written = write(&mut tx, batch).await?;
        Ok::<_, DbError>(tx.done(written))
    })
    .await
}

async fn write(tx: &mut Tx, batch: &[Submission]) -> Result<Written, DbError> {
    let now = clock::now();
    let nodes: Vec<NodeId> = batch.iter().map(|s| s.node).collect::<BTreeSet<_>>().into_iter().collect();
    let held = holders(tx, &nodes).await?;
    let is_fenced = |node, session| held.get(&node).is_some_and(|h| h.epoch != session);
    let sessions = batch.iter().filter_map(|s| Some((s.node, s.session?)));
    let fenced: BTreeSet<_> = sessions.filter(|(node, session)| is_fenced(*node, *session)).collect();
    let mut current = current(tx, &nodes).await?;
    let mut acked = seen(tx, &nodes).await?;
    let mut fresh: BTreeMap<NodeId, Vec<Report>> = BTreeMap::new();
    let mut moved: BTreeSet<(NodeId, u64)> = BTreeSet::new();
    for submission in batch {
        if submission.session.is_some_and(|s| fenced.contains(&(submission.node, s))) {
            continue;
        }
        let last = acked.entry((submission.node, submission.epoch)).or_insert(0);
        for (seq, report) in &submission.reports {
            if *seq > *last {
                *last = *seq;
                moved.insert((submission.node, submission.epoch));
                fresh.entry(submission.node).or_default().push(report.clone());
            }
        }
    }
    effects(tx, &fresh, &mut current).await?;
    let known = known(tx, &nodes).await?;
    let gone = crate::takeover::gone(tx, &nodes).await?;
    let outcomes: BTreeMap<NodeId, Outcome> = fresh
        .into_iter()
        .filter(|(node, _)| known.contains(node))
        .map(|(node, reports)| (node, fold(node, current.get(&node), reports, now)))
        .map(|(node, outcome)| (node, if gone.contains(&node) { outcome.of_who_left() } else { outcome }))
        .collect();
    configs(tx, &outcomes, now).await?;
    let takes = |o: &Outcome| o.config.as_ref().is_some_and(|c| c.reported.0 == c.generation && !c.phase.is_empty());
    refusal::clear(tx, &outcomes.iter().filter(|(_, o)| takes(o)).map(|(n, _)| *n).collect::<Vec<_>>()).await?;
    exceptions(tx, &outcomes, now).await?;
    let steps: Vec<_> = outcomes.values().filter_map(|o| o.step.clone()).collect();
    progress::advance(tx, &steps, now).await?;
    let ended: BTreeSet<ChangeId> = steps.iter().filter(|s| s.state != "applying").map(|s| s.change).collect();
    progress::settle(tx, Some(&ended), now).await?;
    drift::drifts(tx, &outcomes, now).await?;
    runs(tx, &outcomes, now).await?;
    let over: Vec<_> = outcomes.iter().flat_map(|(node, o)| o.operations.iter().map(|r| (*node, r))).collect();
    crate::operation::results(tx, &over, now).await?;
    events(tx, &outcomes, &current);
    let after = tx.dialect().on_conflict(&["node", "epoch"], &["seq", "at_ms"]);
    let rows: Vec<_> = moved.iter().map(|key| (key, acked[key])).collect();
    insert_many(tx, "outbox_seen", &["node", "epoch", "seq", "at_ms"], &after, &rows, |b, ((node, epoch), seq)| {
        b.push_bind(node.to_string()).push_bind(*epoch as i64).push_bind(*seq as i64).push_bind(now.0);
    })
    .await?;
    Ok(Written { acked, fenced })
}

/// Looks up what the changes make otherwise on nodes that tell of drift or of what fails.
async fn effects(
    tx: &mut Tx,
    fresh: &BTreeMap<NodeId, Vec<Report>>,
    current: &mut BTreeMap<NodeId, Current>,
) -> Result<(), DbError> {
    let is_one = |state| matches!(state, ResourceState::Drifted | ResourceState::Failed | ResourceState::Blocked);
    let tells = |report: &Report| match report {
        Report::Generation(report) => report.resources.iter().any(|r| is_one(r.state)),
        _ => false,
    };
    let mut telling: BTreeMap<ChangeId, Vec<NodeId>> = BTreeMap::new();
    for (node, _) in fresh.iter().filter(|(_, reports)| reports.iter().any(tells)) {
        if let Some(change) = current.get(node).and_then(|c| c.change) {
            telling.entry(change).or_default().push(*node);
        }
    }
    for (change, nodes) in telling {
        let mut found = effect::store::of(tx, change, &nodes).await?;
        for node in &nodes {
            let Some(current) = current.get_mut(node) else { continue };
            current.effect = found.remove(node).unwrap_or_default();
            current.settling = crate::drift::settle::settling(tx, *node, change).await?;
        }
    }
    Ok(())
}

/// Who is of this fleet: reports of a node that was removed meanwhile are acknowledged and dropped.
async fn known(tx: &mut Tx, nodes: &[NodeId]) -> Result<BTreeSet<NodeId>, DbError> {
    Ok(crate::fleet::names(tx, Some(nodes)).await?.into_keys().collect())
}

async fn current(tx: &mut Tx, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Current>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT g.node, g.epoch, g.counter, g.hash, g.change_id, g.state, g.phase, g.reported_epoch, \
             g.reported_counter, g.reported_hash, g.took_ms, g.converged, g.total, g.resources, g.reported_ms FROM node_config g \
             WHERE g.node IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_config", row);
            let reported = Generation { epoch: r.count("reported_epoch")?, counter: r.count("reported_counter")? };
            let current = Current {
                generation: Generation { epoch: r.count("epoch")?, counter: r.count("counter")? },
                hash: r.parse("hash")?,
                change: r.maybe_parse("change_id")?,
                state: r.parse("state")?,
                phase: r.text("phase")?,
                reported: (reported, r.text("reported_hash")?),
                took_ms: r.count("took_ms")?,
                converged: r.count("converged")?,
                total: r.count("total")?,
                resources: r.text("resources")?,
                told_ms: r.maybe_int("reported_ms")?,
                effect: Arc::default(),
                settling: BTreeSet::new(),
            };
            found.insert(r.parse("node")?, current);
        }
    }
    Ok(found)
}

pub(crate) async fn seen(tx: &mut Tx, nodes: &[NodeId]) -> Result<Acked, DbError> {
    let mut found = Acked::new();
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new("SELECT s.node, s.epoch, s.seq FROM outbox_seen s WHERE s.node IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("outbox_seen", row);
            // An epoch is any 64 bits; the column holds them signed.
            found.insert((r.parse("node")?, r.int("epoch")? as u64), r.int("seq")? as u64);
        }
    }
    Ok(found)
}

async fn configs(tx: &mut Tx, outcomes: &BTreeMap<NodeId, Outcome>, now: UnixMs) -> Result<(), DbError> {
    let rows: Vec<_> = outcomes.iter().filter_map(|(node, o)| Some((node, o.config.as_ref()?))).collect();
    let columns = [&["node"], ASSIGNED, REPORTED].concat();
    let after = tx.dialect().on_conflict(&["node"], REPORTED);
    insert_many(tx, "node_config", &columns, &after, &rows, |b, (node, c)| {
        b.push_bind(node.to_string())
            .push_bind(c.generation.epoch as i64)
            .push_bind(c.generation.counter as i64)
            .push_bind(c.hash.to_string())
            .push_bind(c.change.map(|c| c.to_string()))
            .push_bind(now.0)
            .push_bind(c.reported.0.epoch as i64)
            .push_bind(c.reported.0.counter as i64)
            .push_bind(c.reported.1.clone())
            .push_bind(c.phase.clone())
            .push_bind(c.state.as_str())
            .push_bind(c.took_ms.min(i64::MAX as u64) as i64)
            .push_bind(c.converged as i64)
            .push_bind(c.total as i64)
            .push_bind(c.resources.clone())
            .push_bind(c.told_ms.unwrap_or(now.0));
    })
    .await
}

async fn exceptions(tx: &mut Tx, outcomes: &BTreeMap<NodeId, Outcome>, now: UnixMs) -> Result<(), DbError> {
    let told: Vec<NodeId> = outcomes.iter().filter(|(_, o)| o.exceptions.is_some()).map(|(n, _)| *n).collect();
    let before = states(tx, &told).await?;
    for chunk in id_chunks(&told) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM resource_state WHERE node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let mut rows: BTreeMap<(NodeId, String), &ResourceReport> = BTreeMap::new();
    for (node, outcome) in outcomes {
        for report in outcome.exceptions.iter().flatten() {
            rows.insert((*node, target_key(&report.target)), report);
        }
    }
    let since = |key: &(NodeId, String), report: &ResourceReport| {
        before.get(key).filter(|(old, _)| is_same(old, report)).map_or(now, |(_, since)| *since)
    };
    let rows: Vec<_> = rows.into_iter().map(|(key, report)| (since(&key, report), key, report)).collect();
    put_states(tx, &rows.into_iter().map(|(since, key, report)| (key, report, since)).collect::<Vec<_>>()).await
}

/// Whether a resource stands as it stood: state and message are the same. What is drifted has one message.
fn is_same(old: &ResourceReport, new: &ResourceReport) -> bool {
    old.state == new.state && (old.fault == new.fault || new.state == ResourceState::Drifted)
}

/// The resources of these nodes that are not quietly in force, and since when.
async fn states(
    tx: &mut Tx,
    nodes: &[NodeId],
) -> Result<BTreeMap<(NodeId, String), (ResourceReport, UnixMs)>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT r.node, r.target_key, r.report, r.at_ms FROM resource_state r WHERE r.node IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("resource_state", row);
            found.insert((r.parse("node")?, r.text("target_key")?), (r.json("report")?, r.time("at_ms")?));
        }
    }
    Ok(found)
}

type State<'a> = ((NodeId, String), &'a ResourceReport, UnixMs);

async fn put_states(tx: &mut Tx, rows: &[State<'_>]) -> Result<(), DbError> {
    let after = tx.dialect().on_conflict(&["node", "target_key"], &["object", "state", "report", "at_ms"]);
    let columns = ["node", "target_key", "target", "object", "state", "report", "at_ms"];
    insert_many(tx, "resource_state", &columns, &after, rows, |b, ((node, key), report, since)| {
        b.push_bind(node.to_string())
            .push_bind(key.clone())
            .push_bind(report.target.as_str().to_owned())
            .push_bind(report.object.to_string())
            .push_bind(report.state.as_str())
            .push_bind(to_json(report))
            .push_bind(since.0);
    })
    .await
}

/// A target as a key: paths are longer than an index takes.
pub(crate) fn target_key(target: &Target) -> String {
    blake3::hash(target.as_str().as_bytes()).to_hex()[..32].to_owned()
}

/// Computes the worst state of nodes anew from what is not quiet there.
async fn restate(tx: &mut Tx, nodes: &[NodeId]) -> Result<(), DbError> {
    if nodes.is_empty() {
        return Ok(());
    }
    let mut worst: BTreeMap<NodeId, (ResourceState, i64)> =
        nodes.iter().map(|n| (*n, (ResourceState::Converged, 0))).collect();
    let mut query = QueryBuilder::<Any>::new("SELECT r.node, r.state FROM resource_state r WHERE r.node IN ");
    push_ids(&mut query, nodes);
    for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
        let r = Reader::new("resource_state", row);
        let state: ResourceState = r.parse("state")?;
        if let Some(entry) = worst.get_mut(&r.parse("node")?) {
            entry.0 = entry.0.max(state);
            entry.1 += i64::from(state != ResourceState::Converged);
        }
    }
    for (node, (state, open)) in worst {
        sqlx::query(
            "UPDATE node_config SET state = ?, converged = CASE WHEN total >= ? THEN total - ? ELSE 0 END \
             WHERE node = ? AND phase IN ('applied', 'confirmed')",
        )
        .bind(state.as_str())
        .bind(open)
        .bind(open)
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

async fn runs(tx: &mut Tx, outcomes: &BTreeMap<NodeId, Outcome>, now: UnixMs) -> Result<(), DbError> {
    let rows: Vec<_> = outcomes.iter().flat_map(|(n, o)| o.runs.iter().map(move |r| (*n, r))).collect();
    let columns = [
        "run",
        "node",
        "object",
        "account",
        "slot_ms",
        "started_ms",
        "ended_ms",
        "outcome",
        "outcome_value",
        "output",
        "output_bytes",
        "received_ms",
    ];
    let after = tx.dialect().on_conflict(&["run"], &[]);
    for rows in by_weight(&rows, |(_, run)| run.output.len()) {
        insert_many(tx, "job_run", &columns, &after, rows, |b, (node, run)| {
            let (word, value) = run_words(run);
            b.push_bind(run.run.to_string())
                .push_bind(node.to_string())
                .push_bind(run.object.to_string())
                .push_bind(run.user.clone())
                .push_bind(run.slot.map(|s| s.0))
                .push_bind(run.started_at.0)
                .push_bind(run.ended_at.map(|e| e.0))
                .push_bind(word)
                .push_bind(value)
                .push_bind(run.output.clone())
                .push_bind(run.output_bytes.min(i64::MAX as u64) as i64)
                .push_bind(now.0);
        })
        .await?;
    }
    if rows.len() <= SINGLE_EVENTS {
        for (node, run) in rows {
            let (word, _) = run_words(run);
            tx.event(
                NewEvent::new(EventKind::JobRan)
                    .node(node)
                    .object(run.object)
                    .with("run", run.run)
                    .with("outcome", word),
            );
        }
    } else {
        tx.event(NewEvent::new(EventKind::JobRan).with("runs", rows.len()));
    }
    Ok(())
}

fn events(tx: &mut Tx, outcomes: &BTreeMap<NodeId, Outcome>, before: &BTreeMap<NodeId, Current>) {
    let moved: Vec<_> = outcomes.iter().filter_map(|(n, o)| Some((n, o.config.as_ref()?, o))).collect();
    for (node, lost) in outcomes.iter().flat_map(|(n, o)| o.lost.iter().map(move |l| (n, l))) {
        let event = NewEvent::new(EventKind::ReportsLost).node(*node).with("count", lost.count);
        tx.event(event.with("from", lost.from).with("until", lost.until));
    }
    let single = moved.len() <= SINGLE_EVENTS;
    if !single {
        let converged = moved.iter().filter(|(_, c, _)| c.state == ResourceState::Converged).count();
        tx.event(NewEvent::new(EventKind::NodeReported).with("nodes", moved.len()).with("converged", converged));
    }
    for (node, config, outcome) in moved {
        let was_bad = before.get(node).is_some_and(|b| b.state == config.state);
        let turned_bad = matches!(config.state, ResourceState::Failed | ResourceState::Blocked) && !was_bad;
        if single || turned_bad {
            let event = NewEvent::new(EventKind::NodeReported)
                .node(*node)
                .with("generation", config.reported.0)
                .with("phase", &config.phase)
                .with("state", config.state.as_str());
            tx.event(match config.change {
                Some(change) => event.change(change),
                None => event,
            });
        }
        if let Some(generation) = outcome.quarantined {
            tx.event(NewEvent::new(EventKind::GenerationQuarantined).node(*node).with("generation", generation));
        }
    }
}

pub(crate) fn outcome_word(outcome: DriftOutcome) -> &'static str {
    match outcome {
        DriftOutcome::Standing => "standing",
        DriftOutcome::Repaired => "repaired",
        DriftOutcome::Resolved => "resolved",
    }
}

fn run_words(run: &JobRun) -> (&'static str, Option<i64>) {
    // For how many slots nobody took it stands.
    let times = Some(i64::from(run.times)).filter(|times| *times > 1);
    match run.outcome {
        RunOutcome::Exited(status) => ("exited", Some(i64::from(status))),
        RunOutcome::Signalled(signal) => ("signalled", Some(i64::from(signal))),
        RunOutcome::TimedOut => ("timed_out", None),
        RunOutcome::NotStarted => ("not_started", None),
        RunOutcome::Skipped => ("skipped", None),
        RunOutcome::Lost => ("lost", None),
        RunOutcome::Missed => ("missed", times),
        RunOutcome::NodeDown => ("node_down", times),
    }
}
