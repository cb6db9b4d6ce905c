//! The tables of rollouts: how each stands, who waits, and what they have instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::{GateAnswer, NodeRef, RolloutStage, WaveGate};
use lampas_shared::{
    desired::Provenance,
    id::{ChangeId, NodeId, ObjectId},
    operation::RunState,
    report::ResourceReport,
    rollout::{NodeSeen, Phase, Rollout, State},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::hold::{Layer, Layers, Lift};
use crate::{
    change::effect,
    compile::{Hold, ObjectInput},
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids, to_json},
    },
    host, operation,
};

/// How many answers of a gate are shown by node.
const SHOWN_ANSWERS: i64 = 20;
/// Comes before what a gate's command wrote, which is for whoever may read contents on the node; in memory alone.
pub(crate) const WROTE: char = '\0';

/// Stores a rollout that begins: who waits, and what each object was before.
pub(crate) async fn insert(
    tx: &mut Tx,
    change: ChangeId,
    rollout: &Rollout,
    before: &[(ObjectId, u64)],
    now: UnixMs,
) -> Result<(), DbError> {
    sqlx::query("INSERT INTO rollout (change_id, state, body, updated_ms) VALUES (?, ?, ?, ?)")
        .bind(change.to_string())
        .bind(rollout.state.as_str())
        .bind(to_json(rollout))
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    let released = usize::from(rollout.phase != Phase::Measuring);
    let waiting: Vec<NodeId> = rollout.waves[released..].iter().flatten().copied().collect();
    insert_many(tx, "rollout_hold", &["change_id", "node"], "", &waiting, |b, node| {
        b.push_bind(change.to_string()).push_bind(node.to_string());
    })
    .await?;
    insert_many(tx, "rollout_before", &["change_id", "object", "revision"], "", before, |b, (object, revision)| {
        b.push_bind(change.to_string()).push_bind(object.to_string()).push_bind(*revision as i64);
    })
    .await?;
    // They stand in the change's list from the start; a wave that begins takes its rows out of it and puts new ones in.
    let columns = ["change_id", "node", "epoch", "counter", "hash", "state", "message", "updated_ms"];
    insert_many(tx, "change_node", &columns, "", &waiting, |b, node| {
        b.push_bind(change.to_string())
            .push_bind(node.to_string())
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind("")
            .push_bind("held")
            .push_bind("")
            .push_bind(now.0);
    })
    .await
}

/// Stores how a rollout stands.
pub(crate) async fn save(tx: &mut Tx, change: ChangeId, rollout: &Rollout, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE rollout SET state = ?, body = ?, updated_ms = ? WHERE change_id = ?")
        .bind(rollout.state.as_str())
        .bind(to_json(rollout))
        .bind(now.0)
        .bind(change.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Reads how a rollout stands.
pub(crate) async fn get(tx: &mut Tx, change: ChangeId, for_update: bool) -> Result<Option<Rollout>, DbError> {
    let lock = if for_update { tx.dialect().for_update() } else { "" };
    let mut query = QueryBuilder::<Any>::new("SELECT r.body FROM rollout r WHERE r.change_id = ");
    query.push_bind(change.to_string()).push(lock);
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|row| Reader::new("rollout", &row).json("body")).transpose()
}

/// Returns the changes whose rollouts are not over, with their numbers.
pub(crate) async fn active(tx: &mut Tx) -> Result<Vec<(ChangeId, u64)>, DbError> {
    let rows = sqlx::query(
        "SELECT r.change_id, c.number FROM rollout r JOIN changes c ON c.id = r.change_id \
         WHERE r.state IN ('running', 'paused') ORDER BY c.number",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("rollout", row);
            Ok((r.parse("change_id")?, r.count("number")?))
        })
        .collect()
}

/// Returns the objects that are rolling out, each with the number of its change.
pub(crate) async fn rolling(tx: &mut Tx) -> Result<BTreeMap<ObjectId, u64>, DbError> {
    let rows = sqlx::query(
        "SELECT b.object, c.number FROM rollout_before b JOIN rollout r ON r.change_id = b.change_id \
         JOIN changes c ON c.id = b.change_id WHERE r.state IN ('running', 'paused')",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("rollout_before", row);
            Ok((r.parse("object")?, r.count("number")?))
        })
        .collect()
}

/// Returns who waits for what, without these objects: they are about to get a revision for everybody.
pub(crate) async fn holds(tx: &mut Tx, without: &BTreeSet<ObjectId>) -> Result<Vec<Hold>, DbError> {
    let layers = Layers::load(tx).await?;
    layers.holds(tx, &Lift { objects: without, reverts: None }).await
}

/// Returns what is kept back by each change, by object; nothing when nobody waits.
pub(super) async fn layers(tx: &mut Tx) -> Result<BTreeMap<ObjectId, Vec<Layer>>, DbError> {
    let mut found: BTreeMap<ObjectId, Vec<Layer>> = BTreeMap::new();
    let rows = sqlx::query("SELECT h.change_id, h.node FROM rollout_hold h").fetch_all(tx.conn()).await?;
    if rows.is_empty() {
        return Ok(found);
    }
    let mut nodes: BTreeMap<ChangeId, BTreeSet<NodeId>> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("rollout_hold", row);
        nodes.entry(r.parse("change_id")?).or_default().insert(r.parse("node")?);
    }
    let rows = sqlx::query(
        "SELECT b.change_id, b.object, b.revision, r.state, c.number FROM rollout_before b \
         JOIN rollout r ON r.change_id = b.change_id JOIN changes c ON c.id = b.change_id",
    )
    .fetch_all(tx.conn())
    .await?;
    for row in &rows {
        let r = Reader::new("rollout_before", row);
        let change = r.parse("change_id")?;
        let layer = Layer {
            change,
            number: r.count("number")?,
            state: state(&r.text("state")?),
            before: r.count("revision")?,
            nodes: nodes.get(&change).cloned().unwrap_or_default(),
        };
        found.entry(r.parse("object")?).or_default().push(layer);
    }
    Ok(found)
}

/// Returns what an object was at a revision; nothing when there was none, or a deletion.
pub(super) async fn before(tx: &mut Tx, object: ObjectId, revision: u64) -> Result<Option<ObjectInput>, DbError> {
    if revision == 0 {
        return Ok(None);
    }
    Ok(host::revision(tx, object, revision).await?.filter(|found| !found.is_deletion).map(input))
}

fn state(word: &str) -> State {
    let known = [State::Running, State::Paused, State::Done, State::Aborted, State::Reverted];
    known.into_iter().find(|s| s.as_str() == word).unwrap_or(State::Aborted)
}

fn input(revision: host::StoredRevision) -> ObjectInput {
    let provenance = Provenance {
        revision: revision.revision,
        author: revision.author,
        at: revision.at,
        reason: revision.reason,
        change: revision.change_number,
        approval: revision.approval,
    };
    ObjectInput { id: revision.object, spec: Arc::new(revision.spec), provenance }
}

/// Lets nodes have the change.
pub(crate) async fn release(tx: &mut Tx, change: ChangeId, nodes: &[NodeId]) -> Result<(), DbError> {
    for chunk in id_chunks(nodes) {
        for (table, more) in [("rollout_hold", ""), ("change_node", " AND state = 'held'")] {
            let mut query = QueryBuilder::<Any>::new(format!("DELETE FROM {table} WHERE change_id = "));
            query.push_bind(change.to_string()).push(more).push(" AND node IN ");
            push_ids(&mut query, chunk);
            query.build().persistent(false).execute(tx.conn()).await?;
        }
    }
    Ok(())
}

/// Takes objects out of every hold: they have a revision that is for everybody. Who waited for nothing else waits no
/// longer.
pub(crate) async fn forget(tx: &mut Tx, objects: &[ObjectId], now: UnixMs) -> Result<(), DbError> {
    for chunk in id_chunks(objects) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM rollout_before WHERE object IN ");
        push_ids(&mut query, chunk);
        let deleted = query.build().persistent(false).execute(tx.conn()).await?;
        if deleted.rows_affected() == 0 {
            continue;
        }
        sqlx::query("DELETE FROM rollout_hold WHERE change_id NOT IN (SELECT b.change_id FROM rollout_before b)")
            .execute(tx.conn())
            .await?;
        sqlx::query(
            "UPDATE change_node SET state = 'untouched', updated_ms = ? WHERE state = 'held' \
             AND change_id NOT IN (SELECT b.change_id FROM rollout_before b)",
        )
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// Notes of a rollout that ended early who never had the change. Their holds stand until the objects change again.
pub(crate) async fn leave_out(tx: &mut Tx, change: ChangeId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE change_node SET state = 'untouched', updated_ms = ? WHERE change_id = ? AND state = 'held'")
        .bind(now.0)
        .bind(change.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes objects out of the hold of one change, which is put back: what was kept back before it still is.
pub(crate) async fn forget_of(tx: &mut Tx, change: ChangeId, objects: &[ObjectId]) -> Result<(), DbError> {
    for chunk in id_chunks(objects) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM rollout_before WHERE change_id = ");
        query.push_bind(change.to_string()).push(" AND object IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    sqlx::query("DELETE FROM rollout_hold WHERE change_id NOT IN (SELECT b.change_id FROM rollout_before b)")
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets what was before a change, and before those that it lay upon, when nobody waits any more.
pub(crate) async fn clear(tx: &mut Tx, change: ChangeId, now: UnixMs) -> Result<(), DbError> {
    let objects = objects(tx, change).await?;
    forget(tx, &objects, now).await
}

/// Returns the objects that a change keeps back, or may have kept back before it reached everybody.
pub(crate) async fn objects(tx: &mut Tx, change: ChangeId) -> Result<Vec<ObjectId>, DbError> {
    let rows = sqlx::query("SELECT b.object FROM rollout_before b WHERE b.change_id = ?")
        .bind(change.to_string())
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Reader::new("rollout_before", row).parse("object")).collect()
}

/// Returns how the nodes stand that a rollout has reached, and which of them were given a later state before they had this
/// one: of those it is that state that counts. Who is proven and not connected any more, or silent, is away: whether the
/// change is in force there is what nobody knows.
pub(crate) async fn seen(
    tx: &mut Tx,
    change: ChangeId,
) -> Result<(BTreeMap<NodeId, NodeSeen>, BTreeSet<NodeId>), DbError> {
    let rows = sqlx::query(
        "SELECT p.node, p.state, n.state AS heard, g.phase, g.state AS config, \
         (SELECT COUNT(*) FROM resource_state s WHERE p.state = 'superseded' AND s.node = p.node \
         AND s.state IN ('waiting', 'applying', 'paused')) AS to_come FROM change_node p JOIN node n ON n.id = p.node LEFT JOIN node_config g ON g.node = p.node \
         WHERE p.change_id = ? AND p.state NOT IN ('held', 'untouched') AND n.revoked_ms IS NULL",
    )
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    let held = held(tx, change).await?;
    let (mut all, mut overtaken) = (BTreeMap::new(), BTreeSet::new());
    for row in &rows {
        let r = Reader::new("change_node", row);
        let node = r.parse("node")?;
        let is_away = r.text("heard")? != "online";
        let word = r.text("state")?;
        let (mut is_failed, mut is_proven) = (word == "failed", word == "converged");
        if word == "superseded" {
            overtaken.insert(node);
            let (phase, config) = (r.maybe_text("phase")?.unwrap_or_default(), r.maybe_text("config")?);
            let is_told = matches!(phase.as_str(), "applied" | "confirmed" | "quarantined");
            // Drift of what the change is about keeps it from the node, other drift only hides what is still to come.
            is_failed = is_told && (held.contains(&node) || matches!(config.as_deref(), Some("failed" | "blocked")));
            let is_there = matches!(config.as_deref(), Some("converged" | "drifted"));
            is_proven = is_told && is_there && r.count("to_come")? == 0;
        }
        let seen = match () {
            () if is_failed => NodeSeen::Failed,
            () if is_away => NodeSeen::Away,
            () if is_proven => NodeSeen::Proven,
            () => NodeSeen::Moving,
        };
        all.insert(node, seen);
    }
    Ok((all, overtaken))
}

/// Returns the nodes that were given a later state before they had a change's, and hold an edit by hand of what the change
/// makes otherwise there.
async fn held(tx: &mut Tx, change: ChangeId) -> Result<BTreeSet<NodeId>, DbError> {
    let rows = sqlx::query(
        "SELECT s.node, s.report FROM change_node p JOIN resource_state s ON s.node = p.node \
         WHERE p.change_id = ? AND p.state = 'superseded' AND s.state = 'drifted'",
    )
    .bind(change.to_string())
    .fetch_all(tx.conn())
    .await?;
    let mut drifted: BTreeMap<NodeId, Vec<ResourceReport>> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("resource_state", row);
        drifted.entry(r.parse("node")?).or_default().push(r.json("report")?);
    }
    let nodes: Vec<NodeId> = drifted.keys().copied().collect();
    let effects = effect::store::of(tx, change, &nodes).await?;
    let is_held = |node: &NodeId| drifted[node].iter().any(|r| effects[node].has(r.object, &r.target));
    Ok(nodes.into_iter().filter(is_held).collect())
}

/// Returns who is connected and answers: the others come last in a wave.
pub(crate) async fn online(tx: &mut Tx) -> Result<BTreeSet<NodeId>, DbError> {
    let rows = sqlx::query("SELECT n.id FROM node n WHERE n.state = 'online'").fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("node", row).parse("id")).collect()
}

/// Returns how far the rollouts of these changes are. Of those that are over only that is read: the names of a whole
/// fleet stand in each.
pub(crate) async fn stages(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, RolloutStage>, DbError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut query = QueryBuilder::<Any>::new(
        "SELECT r.change_id, r.state, CASE WHEN r.state IN ('running', 'paused') THEN r.body ELSE NULL END AS body \
         FROM rollout r WHERE r.change_id IN ",
    );
    push_ids(&mut query, ids);
    let rows = query.build().persistent(false).fetch_all(tx.conn()).await?;
    let stage = |row: &sqlx::any::AnyRow| {
        let r = Reader::new("rollout", row);
        let state = state(&r.text("state")?);
        let (wave, waves) = if state.is_final() {
            (0, 0)
        } else {
            let rollout: Rollout = r.json("body")?;
            (rollout.stage as u32 + 1, rollout.waves.len() as u32)
        };
        Ok((r.parse("change_id")?, RolloutStage { state, wave, waves }))
    };
    rows.iter().map(stage).collect()
}

/// Returns the gates that were asked, with the wave of each: of every question the last attempt.
pub(crate) async fn gates(tx: &mut Tx, change: ChangeId) -> Result<Vec<(usize, WaveGate)>, DbError> {
    let prefix = format!("gate:{change}:");
    let rows = sqlx::query(
        "SELECT o.number, o.request_key, r.state, COUNT(*) AS nodes FROM operation o JOIN operation_run r \
         ON r.operation = o.id WHERE o.request_key > ? AND o.request_key < ? GROUP BY o.number, o.request_key, r.state \
         ORDER BY o.number",
    )
    .bind(prefix.clone())
    .bind(format!("gate:{change};"))
    .fetch_all(tx.conn())
    .await?;
    let mut found: BTreeMap<(usize, u32), WaveGate> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("operation", row);
        let key = r.text("request_key")?;
        // Wave, attempt and gate, as the driver and the gates write them.
        let mut parts = key.trim_start_matches(&prefix).split(':').map(str::parse::<u32>);
        let (Some(Ok(wave)), Some(Ok(_)), Some(Ok(index))) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let operation = r.count("number")?;
        let new = WaveGate { gate: index, operation, open: 0, passed: 0, failed: 0, cancelled: 0, answers: Vec::new() };
        let gate = found.entry((wave as usize, index)).or_insert_with(|| new.clone());
        if gate.operation != operation {
            *gate = new;
        }
        let nodes = r.count("nodes")? as u32;
        match r.parse::<RunState>("state")? {
            RunState::Succeeded => gate.passed += nodes,
            RunState::Cancelled => gate.cancelled += nodes,
            state if state.is_final() => gate.failed += nodes,
            _ => gate.open += nodes,
        }
    }
    for gate in found.values_mut() {
        gate.answers = answers(tx, gate.operation).await?;
    }
    Ok(found.into_iter().map(|((wave, _), gate)| (wave, gate)).collect())
}

/// Returns what nodes answered to a gate: those that say no first, of both as many as are shown.
async fn answers(tx: &mut Tx, operation: u64) -> Result<Vec<GateAnswer>, DbError> {
    let rows = sqlx::query(
        "SELECT r.node, COALESCE(n.name, r.node_name) AS name, r.state, r.detail, r.run FROM operation_run r \
         JOIN operation o ON o.id = r.operation LEFT JOIN node n ON n.id = r.node \
         WHERE o.number = ? AND r.state NOT IN ('queued', 'running') AND r.detail <> '' \
         ORDER BY CASE WHEN r.state = 'succeeded' THEN 1 ELSE 0 END, r.place LIMIT ?",
    )
    .bind(operation as i64)
    .bind(SHOWN_ANSWERS)
    .fetch_all(tx.conn())
    .await?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in &rows {
        let r = Reader::new("operation_run", row);
        let node = NodeRef { id: r.parse("node")?, name: r.text("name")? };
        let (state, mut text) = (r.parse("state")?, r.text("detail")?);
        if state != RunState::Succeeded {
            let said = operation::last_words(tx, r.parse("run")?).await?;
            // What a probe wrote is what is said of it.
            text = if text.contains(&said) { text } else { format!("{text}{WROTE}{said}") };
        }
        answers.push(GateAnswer { node, state, text });
    }
    Ok(answers)
}

/// Returns how the nodes of a change stand in its list, by the word in the store.
pub(in crate::change) async fn told(tx: &mut Tx, change: ChangeId) -> Result<BTreeMap<NodeId, String>, DbError> {
    let rows = sqlx::query("SELECT p.node, p.state FROM change_node p WHERE p.change_id = ?")
        .bind(change.to_string())
        .fetch_all(tx.conn())
        .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_node", row);
            Ok((r.parse("node")?, r.text("state")?))
        })
        .collect()
}

/// Takes nodes out of a change's list.
pub(in crate::change) async fn untell(tx: &mut Tx, change: ChangeId, nodes: &[NodeId]) -> Result<(), DbError> {
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM change_node WHERE change_id = ");
        query.push_bind(change.to_string()).push(" AND node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(())
}
