//! The table of events.

use std::collections::BTreeMap;

use lampas_runtime::clock;
use lampas_shared::{
    event::{Event, EventKind},
    id::{ChangeId, NodeId, ObjectId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use crate::db::{
    DbError, Tx,
    row::{Reader, draw, insert_many, to_json},
};

const COLUMNS: &str = "e.seq, e.kind, e.at_ms, e.node, e.object, e.change_id, e.details";

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this node.
    pub node: Option<NodeId>,
    /// Of this object.
    pub object: Option<ObjectId>,
    /// Of this change.
    pub change: Option<ChangeId>,
    /// Only those before this sequence.
    pub before: Option<u64>,
    /// Only those up to this moment.
    pub until: Option<UnixMs>,
}

/// Appends what the transaction noted. The counter is one row, so whoever holds it commits next.
pub(crate) async fn flush(tx: &mut Tx) -> Result<(), DbError> {
    let events = std::mem::take(&mut tx.pending.events);
    let entries = std::mem::take(&mut tx.pending.audit);
    if !events.is_empty() {
        let first = draw(tx, "event", events.len() as u64).await?;
        let now = clock::now();
        let rows: Vec<_> = (first..).zip(events).collect();
        let columns = ["seq", "kind", "at_ms", "node", "object", "change_id", "details"];
        insert_many(tx, "event", &columns, "", &rows, |b, (seq, event)| {
            b.push_bind(*seq as i64)
                .push_bind(event.kind.as_str())
                .push_bind(now.0)
                .push_bind(event.node.map(|n| n.to_string()))
                .push_bind(event.object.map(|o| o.to_string()))
                .push_bind(event.change.map(|c| c.to_string()))
                .push_bind(to_json(&event.details));
        })
        .await?;
        tx.pending.last_seq = rows.last().map(|(seq, _)| *seq);
    }
    crate::audit::append(tx, entries).await
}

/// Returns the sequence of the last event; 0 when there is none.
pub async fn last_seq(tx: &mut Tx) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT c.value FROM counter c WHERE c.name = 'event'").fetch_optional(tx.conn()).await?;
    row.map_or(Ok(0), |r| Reader::new("counter", &r).count("value"))
}

/// Returns events after a sequence, in order, at most `limit`.
pub async fn tail(tx: &mut Tx, after: u64, limit: u32) -> Result<Vec<Event>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM event e WHERE e.seq > "));
    query.push_bind(after as i64).push(" ORDER BY e.seq LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(event).collect()
}

/// Returns events of some kinds after a sequence, in order, at most `limit`.
pub(crate) async fn tail_of(tx: &mut Tx, after: u64, kinds: &[EventKind], limit: u32) -> Result<Vec<Event>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM event e WHERE e.seq > "));
    query.push_bind(after as i64).push(" AND e.kind IN (");
    let mut list = query.separated(", ");
    for kind in kinds {
        list.push_bind(kind.as_str());
    }
    query.push(") ORDER BY e.seq LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(event).collect()
}

/// Returns the last events, newest first, at most `limit`.
pub async fn recent(tx: &mut Tx, filter: &Filter, limit: u32) -> Result<Vec<Event>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM event e WHERE 1 = 1"));
    if let Some(node) = filter.node {
        query.push(" AND e.node = ").push_bind(node.to_string());
    }
    if let Some(object) = filter.object {
        query.push(" AND e.object = ").push_bind(object.to_string());
    }
    if let Some(change) = filter.change {
        query.push(" AND e.change_id = ").push_bind(change.to_string());
    }
    if let Some(before) = filter.before {
        query.push(" AND e.seq < ").push_bind(before as i64);
    }
    if let Some(until) = filter.until {
        query.push(" AND e.at_ms <= ").push_bind(until.0);
    }
    // Hints for whoever looks at an operation, or at the log of mail; they tell nothing in a sentence.
    query.push(" AND e.kind <> ").push_bind(EventKind::OperationMoved.as_str());
    query.push(" AND e.kind <> ").push_bind(EventKind::MailMoved.as_str());
    query.push(" ORDER BY e.seq DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(event).collect()
}

/// Drops events from before a point in time; returns how many. The last one stays, so that a resuming reader can tell
/// "nothing new" from "gone".
pub async fn prune(tx: &mut Tx, before: UnixMs) -> Result<u64, DbError> {
    let last = last_seq(tx).await?;
    let dropped = sqlx::query("DELETE FROM event WHERE at_ms < ? AND seq < ?")
        .bind(before.0)
        .bind(last as i64)
        .execute(tx.conn())
        .await?;
    Ok(dropped.rows_affected())
}

fn event(row: &AnyRow) -> Result<Event, DbError> {
    let r = Reader::new("event", row);
    let kind = r.text("kind")?;
    let found = EventKind::ALL.iter().copied().find(|k| k.as_str() == kind);
    let id = |column| r.maybe_text(column);
    Ok(Event {
        seq: r.count("seq")?,
        kind: found.ok_or_else(|| r.wrong("kind", format!("{kind} is not known")))?,
        at: r.time("at_ms")?,
        node: id("node")?.map(|t| NodeId::parse(&t)).transpose().map_err(|e| r.wrong("node", e.to_string()))?,
        object: id("object")?.map(|t| ObjectId::parse(&t)).transpose().map_err(|e| r.wrong("object", e.to_string()))?,
        change: id("change_id")?
            .map(|t| ChangeId::parse(&t))
            .transpose()
            .map_err(|e| r.wrong("change_id", e.to_string()))?,
        details: r.json::<BTreeMap<String, String>>("details")?,
    })
}
