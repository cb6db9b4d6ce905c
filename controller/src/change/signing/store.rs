//! The tables of signatures.

use std::collections::BTreeMap;

use lampas_api::Signature;
use lampas_runtime::random;
use lampas_shared::{
    id::{ChangeId, FleetId, NodeId},
    signature::{MAX_HELD, Signed, Statement},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, insert_many, push_ids},
};

/// The most bytes of statements and signatures that a node is told at once.
const HELD_BYTES: usize = 1 << 20;

/// Returns the fleet.
pub(crate) async fn fleet(tx: &mut Tx) -> Result<FleetId, DbError> {
    let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'fleet'").fetch_one(tx.conn()).await?;
    Reader::new("meta", &row).parse("value")
}

/// Returns the greatest serial; 0 before the first.
pub(crate) async fn last_serial(tx: &mut Tx) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT s.serial FROM signature s ORDER BY s.serial DESC LIMIT 1")
        .fetch_optional(tx.conn())
        .await?;
    row.map_or(Ok(0), |r| Reader::new("signature", &r).count("serial"))
}

pub(crate) async fn insert(
    tx: &mut Tx,
    signed: &Signed,
    statement: &Statement,
    change: Option<ChangeId>,
    author: &str,
    now: UnixMs,
) -> Result<(), DbError> {
    let id = put(tx, signed, statement, change, author, now).await?;
    let mut nodes: Vec<NodeId> = statement.nodes().map(|(node, _)| *node).collect();
    nodes.sort();
    nodes.dedup();
    insert_many(tx, "signature_node", &["node", "signature"], "", &nodes, |b, node| {
        b.push_bind(node.to_string()).push_bind(id.clone());
    })
    .await
}

/// Stores a signature that its nodes are not told of ahead: it comes with what it is over. Returns its id.
pub(crate) async fn put(
    tx: &mut Tx,
    signed: &Signed,
    statement: &Statement,
    change: Option<ChangeId>,
    author: &str,
    now: UnixMs,
) -> Result<String, DbError> {
    let id = random::new_id::<ChangeId>().to_string();
    sqlx::query(
        "INSERT INTO signature (id, serial, purpose, statement, armour, change_id, author, expires_ms, at_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.clone())
    .bind(statement.serial as i64)
    .bind(statement.purpose.clone())
    .bind(signed.text.clone())
    .bind(signed.signature.clone())
    .bind(change.map(|c| c.to_string()))
    .bind(crate::fleet::bounded(author, 128))
    .bind(statement.expires.0)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// Returns whether there is any signature, also one that is over.
pub(crate) async fn any(tx: &mut Tx) -> Result<bool, DbError> {
    Ok(sqlx::query("SELECT s.id FROM signature s LIMIT 1").fetch_optional(tx.conn()).await?.is_some())
}

/// Returns the signatures of each node that are not over, the newest first, as far as they fit.
pub(crate) async fn held(tx: &mut Tx, nodes: &[NodeId], now: UnixMs) -> Result<BTreeMap<NodeId, Vec<Signed>>, DbError> {
    let mut held: BTreeMap<NodeId, (usize, Vec<Signed>)> = BTreeMap::new();
    // Mostly there is none at all.
    let any = sqlx::query("SELECT s.id FROM signature s WHERE s.expires_ms > ? LIMIT 1").bind(now.0);
    if any.fetch_optional(tx.conn()).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    for chunk in id_chunks(nodes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT k.node, s.statement, s.armour FROM signature_node k JOIN signature s ON s.id = k.signature \
             WHERE s.expires_ms > ",
        );
        query.push_bind(now.0).push(" AND k.node IN ");
        push_ids(&mut query, chunk);
        query.push(" ORDER BY s.serial DESC");
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("signature", row);
            let signed = Signed { text: r.text("statement")?, signature: r.text("armour")? };
            let (bytes, list) = held.entry(r.parse("node")?).or_default();
            *bytes += signed.text.len() + signed.signature.len();
            if list.len() < MAX_HELD && *bytes <= HELD_BYTES {
                list.push(signed);
            }
        }
    }
    Ok(held.into_iter().map(|(node, (_, list))| (node, list)).collect())
}

pub(super) async fn list(tx: &mut Tx, change: Option<ChangeId>, limit: u32) -> Result<Vec<Signature>, DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "SELECT s.serial, s.purpose, s.statement, s.author, s.at_ms, s.expires_ms FROM signature s WHERE 1 = 1",
    );
    if let Some(change) = change {
        query.push(" AND s.change_id = ").push_bind(change.to_string());
    }
    query.push(" ORDER BY s.serial DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("signature", row);
            let text = r.text("statement")?;
            let statement = Statement::parse(&text).map_err(|e| r.wrong("statement", e.to_string()))?;
            Ok(Signature {
                serial: r.count("serial")?,
                purpose: r.text("purpose")?,
                nodes: statement.nodes().map(|(node, _)| *node).collect(),
                text,
                author: r.text("author")?,
                at: r.time("at_ms")?,
                expires_at: r.time("expires_ms")?,
                blockers: Vec::new(),
            })
        })
        .collect()
}
