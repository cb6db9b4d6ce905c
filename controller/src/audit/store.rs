//! The table of the audit.

use lampas_api::{AuditEntry, AuditRecord, AuditVerification};
use lampas_runtime::clock;
use lampas_shared::{audit::chain_hash, time::UnixMs};
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
    /// On what holds this text.
    pub object: Option<String>,
    /// Where anything that can be read holds this text.
    pub text: Option<String>,
    /// Not before.
    pub since: Option<UnixMs>,
    /// Before.
    pub until: Option<UnixMs>,
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
    narrow(&mut query, wanted);
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

/// Returns whole entries after a place in the chain, the oldest first, at most `limit`.
pub async fn records(tx: &mut Tx, wanted: &Query, after: u64, limit: u32) -> Result<Vec<AuditRecord>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM audit a WHERE a.seq > "));
    query.push_bind(after as i64);
    narrow(&mut query, wanted);
    query.push(" ORDER BY a.seq LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(record).collect()
}

fn narrow(query: &mut QueryBuilder<Any>, wanted: &Query) {
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
    if let Some(since) = wanted.since {
        query.push(" AND a.at_ms >= ").push_bind(since.0);
    }
    if let Some(until) = wanted.until {
        query.push(" AND a.at_ms < ").push_bind(until.0);
    }
    if let Some(object) = &wanted.object {
        holds(query, &["object"], object);
    }
    if let Some(text) = &wanted.text {
        holds(query, &["principal", "from_addr", "act", "object", "reason", "result"], text);
    }
}

/// Pushes that one of the columns holds a text, whatever its case.
fn holds(query: &mut QueryBuilder<Any>, columns: &[&'static str], text: &str) {
    let mut pattern = String::from("%");
    for c in text.chars().flat_map(char::to_lowercase) {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    for (at, column) in columns.iter().enumerate() {
        query.push(if at == 0 { " AND (" } else { " OR " });
        query.push("LOWER(a.").push(column).push(") LIKE ").push_bind(pattern.clone()).push(" ESCAPE '!'");
    }
    query.push(")");
}

/// Checks the chain from its beginning.
pub async fn verify(tx: &mut Tx) -> Result<AuditVerification, DbError> {
    let mut seen = AuditVerification {
        entries: 0,
        broken_at: None,
        broken_how: None,
        head: String::new(),
        countersigned: 0,
        rewritten: Vec::new(),
    };
    let mut heads = super::head::list(tx).await?;
    let epoch = crate::change::epoch(tx).await?;
    // Those of an earlier epoch saw the chain before a backup was restored.
    heads.retain(|h| h.epoch == epoch);
    let mut heads = heads.into_iter().peekable();
    let broken = |mut seen: AuditVerification, at: u64, how: &str| {
        seen.broken_at = Some(at);
        seen.broken_how = Some(how.to_owned());
        seen
    };
    loop {
        let rows = records(tx, &Query::default(), seen.entries, 500).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let expected = seen.entries + 1;
            if row.seq != expected {
                return Ok(broken(seen, expected, "it is missing"));
            }
            if row.hash != row.expected_hash() {
                return Ok(broken(seen, expected, "it was altered"));
            }
            if row.prev_hash != seen.head {
                return Ok(broken(seen, expected, "it does not follow the entry before it, which was replaced"));
            }
            while let Some(head) = heads.next_if(|h| h.seq <= row.seq) {
                if head.seq == row.seq && head.hash == row.hash {
                    seen.countersigned += 1;
                } else {
                    seen.rewritten.push(super::head::told(&head));
                }
            }
            seen.entries = row.seq;
            seen.head = row.hash;
        }
    }
    // A chain that was cut at its end is shorter than the counter says.
    let counter = sqlx::query("SELECT c.value FROM counter c WHERE c.name = 'audit'").fetch_optional(tx.conn()).await?;
    let count = counter.map_or(Ok(0), |r| Reader::new("counter", &r).count("value"))?;
    seen.rewritten.extend(heads.map(|head| super::head::told(&head)));
    if count != seen.entries {
        let next = seen.entries + 1;
        return Ok(broken(seen, next, "it is missing, with all that came after it"));
    }
    Ok(seen)
}

fn record(row: &AnyRow) -> Result<AuditRecord, DbError> {
    let r = Reader::new("audit", row);
    Ok(AuditRecord {
        seq: r.count("seq")?,
        at_ms: r.int("at_ms")?,
        principal: r.text("principal")?,
        from: r.text("from_addr")?,
        act: r.text("act")?,
        object: r.text("object")?,
        reason: r.text("reason")?,
        result: r.text("result")?,
        details: r.text("details")?,
        prev_hash: r.text("prev_hash")?,
        hash: r.text("hash")?,
    })
}

fn hash(seq: u64, at_ms: i64, entry: &Entry, prev: &str) -> String {
    let principal = &entry.principal;
    let fields =
        [&principal.name, &principal.from, entry.act, &entry.object, &entry.reason, &entry.result, &entry.details];
    chain_hash(seq, at_ms, fields, prev)
}

/// Cuts a text to what its column holds.
fn cut(text: &mut String, max: usize) {
    if let Some((at, _)) = text.char_indices().nth(max) {
        text.truncate(at);
    }
}
