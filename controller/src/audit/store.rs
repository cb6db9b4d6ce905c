//! The table of the audit.

use lampas_api::{AuditEntry, AuditVerification};
use lampas_runtime::clock;
use sqlx::{Any, QueryBuilder, any::AnyRow};

use super::Entry;
use crate::db::{
    DbError, Tx,
    row::{Reader, draw, insert_many},
};

const COLUMNS: &str =
    "a.seq, a.at_ms, a.principal, a.from_addr, a.act, a.object, a.reason, a.result, a.details, a.prev_hash, a.hash";

/// Which entries are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only those before this one.
    pub before: Option<u64>,
    /// By this principal.
    pub principal: Option<String>,
    /// Of this act, or of this area (`change.`).
    pub act: Option<String>,
}

struct Row {
    seq: u64,
    at_ms: i64,
    entry: Entry,
    prev: String,
    hash: String,
}

/// Appends entries as the last of the transaction's statements.
pub(crate) async fn append(tx: &mut Tx, entries: Vec<Entry>) -> Result<(), DbError> {
    if entries.is_empty() {
        return Ok(());
    }
    let first = draw(tx, "audit", entries.len() as u64).await?;
    let head =
        sqlx::query("SELECT a.hash FROM audit a WHERE a.seq = ?").bind(first as i64 - 1).fetch_optional(tx.conn());
    let mut prev = head.await?.map(|r| Reader::new("audit", &r).text("hash")).transpose()?.unwrap_or_default();
    let at_ms = clock::now().0;
    let mut rows = Vec::with_capacity(entries.len());
    for (seq, mut entry) in (first..).zip(entries) {
        cut(&mut entry.principal.name, 128);
        cut(&mut entry.principal.from, 64);
        cut(&mut entry.object, 512);
        cut(&mut entry.result, 64);
        cut(&mut entry.reason, 4000);
        let hash = hash(seq, at_ms, &entry, &prev);
        rows.push(Row { seq, at_ms, entry, prev: std::mem::replace(&mut prev, hash.clone()), hash });
    }
    let columns =
        ["seq", "at_ms", "principal", "from_addr", "act", "object", "reason", "result", "details", "prev_hash", "hash"];
    insert_many(tx, "audit", &columns, "", &rows, |b, row| {
        b.push_bind(row.seq as i64)
            .push_bind(row.at_ms)
            .push_bind(row.entry.principal.name.clone())
            .push_bind(row.entry.principal.from.clone())
            .push_bind(row.entry.act)
            .push_bind(row.entry.object.clone())
            .push_bind(row.entry.reason.clone())
            .push_bind(row.entry.result.clone())
            .push_bind(row.entry.details.clone())
            .push_bind(row.prev.clone())
            .push_bind(row.hash.clone());
    })
    .await
}

/// Returns entries, newest first, at most `limit`.
pub async fn list(tx: &mut Tx, wanted: &Query, limit: u32) -> Result<Vec<AuditEntry>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM audit a WHERE 1 = 1"));
    if let Some(before) = wanted.before {
        query.push(" AND a.seq < ").push_bind(before as i64);
    }
    if let Some(principal) = &wanted.principal {
        query.push(" AND a.principal = ").push_bind(principal.clone());
    }
    if let Some(act) = &wanted.act {
        match act.strip_suffix('.') {
            // The area's acts lie between `area.` and `area/`, the character after the dot.
            Some(area) => {
                query
                    .push(" AND a.act >= ")
                    .push_bind(format!("{area}."))
                    .push(" AND a.act < ")
                    .push_bind(format!("{area}/"));
            }
            None => {
                query.push(" AND a.act = ").push_bind(act.clone());
            }
        }
    }
    query.push(" ORDER BY a.seq DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("audit", row);
            Ok(AuditEntry {
                seq: r.count("seq")?,
                at: r.time("at_ms")?,
                principal: r.text("principal")?,
                from: r.text("from_addr")?,
                act: r.text("act")?,
                object: r.text("object")?,
                reason: r.text("reason")?,
                result: r.text("result")?,
                hash: r.text("hash")?,
            })
        })
        .collect()
}

/// Checks the chain from its beginning.
pub async fn verify(tx: &mut Tx) -> Result<AuditVerification, DbError> {
    let mut seen = AuditVerification { entries: 0, broken_at: None, head: String::new() };
    loop {
        let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM audit a WHERE a.seq > "));
        query.push_bind(seen.entries as i64).push(" ORDER BY a.seq LIMIT 500");
        let rows = query.build().fetch_all(tx.conn()).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let expected = seen.entries + 1;
            let (seq, text) = stored(row)?;
            if seq != expected || text.prev != seen.head || text.hash != hash_of(seq, &text) {
                seen.broken_at = Some(expected);
                return Ok(seen);
            }
            seen.entries = seq;
            seen.head = text.hash;
        }
    }
    // A chain that was cut at its end is shorter than the counter says.
    let counter = sqlx::query("SELECT c.value FROM counter c WHERE c.name = 'audit'").fetch_optional(tx.conn()).await?;
    let count = counter.map_or(Ok(0), |r| Reader::new("counter", &r).count("value"))?;
    if count != seen.entries {
        seen.broken_at = Some(seen.entries + 1);
    }
    Ok(seen)
}

struct Stored {
    at_ms: i64,
    fields: [String; 7],
    prev: String,
    hash: String,
}

fn stored(row: &AnyRow) -> Result<(u64, Stored), DbError> {
    let r = Reader::new("audit", row);
    let fields = [
        r.text("principal")?,
        r.text("from_addr")?,
        r.text("act")?,
        r.text("object")?,
        r.text("reason")?,
        r.text("result")?,
        r.text("details")?,
    ];
    let stored = Stored { at_ms: r.int("at_ms")?, fields, prev: r.text("prev_hash")?, hash: r.text("hash")? };
    Ok((r.count("seq")?, stored))
}

fn hash(seq: u64, at_ms: i64, entry: &Entry, prev: &str) -> String {
    let principal = &entry.principal;
    let fields =
        [&principal.name, &principal.from, entry.act, &entry.object, &entry.reason, &entry.result, &entry.details];
    chain_hash(seq, at_ms, fields, prev)
}

fn hash_of(seq: u64, stored: &Stored) -> String {
    chain_hash(seq, stored.at_ms, stored.fields.each_ref().map(String::as_str), &stored.prev)
}

/// `audit/v1`: BLAKE3 over the number, the time and each field with its length before it.
fn chain_hash(seq: u64, at_ms: i64, fields: [&str; 7], prev: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lampas audit/v1");
    hasher.update(&seq.to_le_bytes());
    hasher.update(&at_ms.to_le_bytes());
    for field in fields.into_iter().chain([prev]) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Cuts a text to what its column holds.
fn cut(text: &mut String, max: usize) {
    if let Some((at, _)) = text.char_indices().nth(max) {
        text.truncate(at);
    }
}
