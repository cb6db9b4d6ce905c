//! The intervals in which nodes stood alike.

use std::collections::BTreeMap;

use lampas_api::{PastChange, PastDrift, PastStanding};
use lampas_shared::{
    desired::Generation,
    fleet::{Labels, RoleName},
    id::{ChangeId, NodeId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use crate::{
    change,
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids, to_json},
    },
    fleet,
};

/// The end of an interval that has none.
const OPEN: i64 = i64::MAX;
const COLUMNS: &str = "p.node, p.from_ms, p.until_ms, p.name, p.roles, p.labels, p.observe, p.state, p.config, \
                       p.generation, p.converged, p.total";

/// How a node stands, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    name: String,
    roles: String,
    labels: String,
    observe: i64,
    state: String,
    config: String,
    generation: String,
    converged: i64,
    total: i64,
}

/// Returns the nodes that stand differently than they did, with how they stand; nothing for those that are gone.
pub(super) async fn news(tx: &mut Tx) -> Result<BTreeMap<NodeId, Option<Row>>, DbError> {
    let mut open: BTreeMap<NodeId, Row> = BTreeMap::new();
    let sql = format!("SELECT {COLUMNS} FROM node_past p WHERE p.until_ms = ?");
    for row in &sqlx::query(sqlx::AssertSqlSafe(sql)).bind(OPEN).fetch_all(tx.conn()).await? {
        open.insert(Reader::new("node_past", row).parse("node")?, stored(row)?);
    }
    let mut news = BTreeMap::new();
    for (node, row) in now(tx).await? {
        if open.remove(&node).as_ref() != Some(&row) {
            news.insert(node, Some(row));
        }
    }
    news.extend(open.into_keys().map(|node| (node, None)));
    Ok(news)
}

async fn now(tx: &mut Tx) -> Result<BTreeMap<NodeId, Row>, DbError> {
    let rows = sqlx::query(
        "SELECT n.id, n.state, n.observe, COALESCE(c.state, 'waiting') AS config, c.reported_epoch, \
         c.reported_counter, c.converged, c.total FROM node n LEFT JOIN node_config c ON c.node = n.id \
         WHERE n.revoked_ms IS NULL",
    )
    .fetch_all(tx.conn())
    .await?;
    let members = fleet::members(tx).await?;
    let mut members: BTreeMap<NodeId, _> = members.into_iter().map(|m| (m.id, m)).collect();
    let mut found = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("node", row);
        let id = r.parse("id")?;
        let Some(member) = members.remove(&id) else { continue };
        let number = |column| Ok::<_, DbError>(r.maybe_int(column)?.unwrap_or(0));
        let (epoch, counter) = (number("reported_epoch")?, number("reported_counter")?);
        let generation = Generation { epoch: epoch as u64, counter: counter as u64 };
        let row = Row {
            name: member.name.to_string(),
            roles: to_json(&member.roles),
            labels: to_json(&member.labels),
            observe: r.int("observe")?,
            state: r.text("state")?,
            config: r.text("config")?,
            generation: if counter == 0 { String::new() } else { generation.to_string() },
            converged: number("converged")?,
            total: number("total")?,
        };
        found.insert(id, row);
    }
    Ok(found)
}

/// Ends the intervals of these nodes, and begins those of the nodes that are there.
pub(super) async fn keep(tx: &mut Tx, news: &BTreeMap<NodeId, Option<Row>>, now: UnixMs) -> Result<(), DbError> {
    let ids: Vec<NodeId> = news.keys().copied().collect();
    for chunk in id_chunks(&ids) {
        // A clock that was set back makes no interval that ends before it began.
        let mut query = QueryBuilder::<Any>::new("DELETE FROM node_past WHERE until_ms = ");
        query.push_bind(OPEN).push(" AND from_ms >= ").push_bind(now.0).push(" AND node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
        let mut query = QueryBuilder::<Any>::new("UPDATE node_past SET until_ms = ");
        query.push_bind(now.0).push(" WHERE until_ms = ").push_bind(OPEN).push(" AND node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let begun: Vec<(String, Row)> =
        news.iter().filter_map(|(id, row)| row.clone().map(|row| (id.to_string(), row))).collect();
    let columns = [
        "node",
        "from_ms",
        "until_ms",
        "name",
        "roles",
        "labels",
        "observe",
        "state",
        "config",
        "generation",
        "converged",
        "total",
    ];
    insert_many(tx, "node_past", &columns, "", &begun, |b, (node, row)| {
        b.push_bind(node.clone()).push_bind(now.0).push_bind(OPEN).push_bind(row.name.clone());
        b.push_bind(row.roles.clone()).push_bind(row.labels.clone()).push_bind(row.observe);
        b.push_bind(row.state.clone()).push_bind(row.config.clone()).push_bind(row.generation.clone());
        b.push_bind(row.converged).push_bind(row.total);
    })
    .await
}

/// Drops what ended before a time, and lets what reaches over it begin there. Returns how many intervals went.
pub(crate) async fn prune(tx: &mut Tx, before: UnixMs) -> Result<u64, DbError> {
    let gone = sqlx::query("DELETE FROM node_past WHERE until_ms <= ?").bind(before.0).execute(tx.conn()).await?;
    sqlx::query("UPDATE node_past SET from_ms = ? WHERE from_ms < ?")
        .bind(before.0)
        .bind(before.0)
        .execute(tx.conn())
        .await?;
    Ok(gone.rows_affected())
}

/// Returns since when anything is kept.
pub(super) async fn kept_since(tx: &mut Tx) -> Result<Option<UnixMs>, DbError> {
    let row = sqlx::query("SELECT MIN(p.from_ms) AS from_ms FROM node_past p").fetch_one(tx.conn()).await?;
    Reader::new("node_past", &row).maybe_time("from_ms")
}

/// Returns how the nodes stood, or one of them, by name.
pub(super) async fn at(tx: &mut Tx, at: UnixMs, node: Option<NodeId>) -> Result<Vec<PastStanding>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM node_past p WHERE p.until_ms > "));
    query.push_bind(at.0).push(" AND p.from_ms <= ").push_bind(at.0);
    if let Some(node) = node {
        query.push(" AND p.node = ").push_bind(node.to_string());
    }
    query.push(" ORDER BY p.name");
    query.build().fetch_all(tx.conn()).await?.iter().map(standing).collect()
}

fn stored(row: &AnyRow) -> Result<Row, DbError> {
    let r = Reader::new("node_past", row);
    Ok(Row {
        name: r.text("name")?,
        roles: r.text("roles")?,
        labels: r.text("labels")?,
        observe: r.int("observe")?,
        state: r.text("state")?,
        config: r.text("config")?,
        generation: r.text("generation")?,
        converged: r.int("converged")?,
        total: r.int("total")?,
    })
}

fn standing(row: &AnyRow) -> Result<PastStanding, DbError> {
    let r = Reader::new("node_past", row);
    let state = fleet::parse_state(&r.text("state")?).ok_or_else(|| r.wrong("state", "is not a state of a node"))?;
    Ok(PastStanding {
        node: r.parse("node")?,
        name: r.parse("name")?,
        roles: r.json::<Vec<RoleName>>("roles")?,
        labels: r.json::<Labels>("labels")?,
        state,
        config: r.parse("config")?,
        observe: r.flag("observe")?,
        generation: r.text("generation")?,
        converged: r.count("converged")? as u32,
        resources: r.count("total")? as u32,
        from: r.time("from_ms")?,
        until: r.maybe_time("until_ms")?.filter(|until| until.0 != OPEN),
    })
}

/// Returns the id of the node that had a name last, or that an id is of: also of one that is gone.
pub(super) async fn node_called(tx: &mut Tx, which: &str) -> Result<Option<NodeId>, DbError> {
    let column = if NodeId::parse(which).is_ok() { "p.node" } else { "p.name" };
    let mut query = QueryBuilder::<Any>::new(format!("SELECT p.node FROM node_past p WHERE {column} = "));
    query.push_bind(which.to_owned()).push(" ORDER BY p.until_ms DESC, p.from_ms DESC LIMIT 1");
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|r| Reader::new("node_past", &r).parse("node")).transpose()
}

/// Returns the changes that were applied last until a moment: all, or those with a draft for a scope as it is stored.
pub(super) async fn changes(
    tx: &mut Tx,
    at: UnixMs,
    scope: Option<&str>,
    limit: u32,
) -> Result<Vec<(ChangeId, PastChange)>, DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "SELECT c.id, c.number, c.author, c.applied_ms, c.done_ms FROM changes c WHERE c.applied_ms <= ",
    );
    query.push_bind(at.0);
    if let Some(scope) = scope {
        query.push(" AND EXISTS (SELECT 1 FROM change_draft d WHERE d.change_id = c.id AND d.scope = ");
        query.push_bind(scope.to_owned()).push(")");
    }
    query.push(" ORDER BY c.applied_ms DESC, c.number DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    let ids: Vec<ChangeId> = rows.iter().map(|r| Reader::new("changes", r).parse("id")).collect::<Result<_, _>>()?;
    let mut titles = change::titles(tx, &ids).await?;
    rows.iter()
        .zip(ids)
        .map(|(row, id)| {
            let r = Reader::new("changes", row);
            let change = PastChange {
                number: r.count("number")?,
                title: titles.remove(&id).unwrap_or_default(),
                author: r.text("author")?,
                applied_at: r.time("applied_ms")?,
                was_rolling: r.maybe_time("done_ms")?.is_none_or(|done| done > at),
            };
            Ok((id, change))
        })
        .collect()
}

/// Returns what had been changed by hand on a node and not been decided about.
pub(super) async fn drifts(tx: &mut Tx, node: NodeId, at: UnixMs) -> Result<Vec<PastDrift>, DbError> {
    let rows = sqlx::query(
        "SELECT d.id, d.path, d.target, d.found_ms, d.ended_ms FROM drift d WHERE d.node = ? AND d.found_ms <= ? \
         AND (d.ended_ms IS NULL OR d.ended_ms > ?) ORDER BY d.found_ms DESC LIMIT 200",
    )
    .bind(node.to_string())
    .bind(at.0)
    .bind(at.0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("drift", row);
            let path = r.text("path")?;
            Ok(PastDrift {
                id: r.text("id")?,
                path: if path.is_empty() { r.text("target")? } else { path },
                found_at: r.time("found_ms")?,
                ended_at: r.maybe_time("ended_ms")?,
            })
        })
        .collect()
}
