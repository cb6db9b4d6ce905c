//! Heads of the chain that nodes signed: who rewrites the chain would have to rewrite what the agents keep as well.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_api::AuditHead;
use lampas_shared::{
    audit::{Countersigned, Head},
    id::NodeId,
    time::UnixMs,
};

use crate::{
    change::epoch,
    db::{
        DbError, Tx,
        row::{Reader, insert_many},
    },
};

/// How many heads of a node are kept.
const KEEP: i64 = 16;

/// A head that a node signed, as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Countersignature {
    node: NodeId,
    signed: Countersigned,
    key: Vec<u8>,
    at: UnixMs,
}

impl Countersignature {
    /// Joins what was verified: the key is that of the node's certificate.
    pub(crate) fn new(node: NodeId, signed: &Countersigned, key: &[u8], at: UnixMs) -> Self {
        Self { node, signed: signed.clone(), key: key.to_vec(), at }
    }
}

/// Returns the head of the chain; nothing before its first entry.
pub(crate) async fn head(tx: &mut Tx) -> Result<Option<Head>, DbError> {
    let epoch = epoch(tx).await?;
    let row = sqlx::query("SELECT a.seq, a.hash FROM audit a ORDER BY a.seq DESC LIMIT 1").fetch_optional(tx.conn());
    let Some(row) = row.await? else { return Ok(None) };
    let r = Reader::new("audit", &row);
    Ok(Some(Head { epoch, seq: r.count("seq")?, hash: r.parse("hash")? }))
}

/// Keeps what nodes signed; of each node the last ones.
pub(crate) async fn keep(tx: &mut Tx, heads: &[Countersignature]) -> Result<(), DbError> {
    if heads.is_empty() {
        return Ok(());
    }
    // The same head may be signed again after a reconnect.
    let after = tx.dialect().on_conflict(&["node", "epoch", "seq"], &["hash", "signed_ms", "signature", "public_key"]);
    let columns = [
        "node",
        "epoch",
        "seq",
        "hash",
        "signed_ms",
        "signature",
        "public_key",
        "contradicts_seq",
        "contradicts_hash",
        "at_ms",
    ];
    insert_many(tx, "countersignature", &columns, &after, heads, |b, one| {
        let Countersigned { head, at_ms, signature, contradicts } = &one.signed;
        b.push_bind(one.node.to_string())
            .push_bind(head.epoch as i64)
            .push_bind(head.seq as i64)
            .push_bind(head.hash.to_string())
            .push_bind(*at_ms)
            .push_bind(STANDARD.encode(signature))
            .push_bind(STANDARD.encode(&one.key))
            .push_bind(contradicts.as_ref().map(|c| c.seq as i64))
            .push_bind(contradicts.as_ref().map(|c| c.hash.to_string()))
            .push_bind(one.at.0);
    })
    .await?;
    let newest: BTreeMap<NodeId, u64> = heads.iter().map(|h| (h.node, h.signed.head.epoch)).collect();
    for (node, epoch) in newest {
        let kept = sqlx::query(
            "SELECT s.seq FROM countersignature s WHERE s.node = ? AND s.epoch = ? ORDER BY s.seq DESC LIMIT ?",
        )
        .bind(node.to_string())
        .bind(epoch as i64)
        .bind(KEEP)
        .fetch_all(tx.conn())
        .await?;
        if kept.len() < KEEP as usize {
            continue;
        }
        let Some(last) = kept.last() else { continue };
        let oldest = Reader::new("countersignature", last).int("seq")?;
        sqlx::query("DELETE FROM countersignature WHERE node = ? AND epoch = ? AND seq < ?")
            .bind(node.to_string())
            .bind(epoch as i64)
            .bind(oldest)
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Says what a head means that the chain does not hold.
pub(super) fn told(head: &AuditHead) -> String {
    format!("{} signed entry {} with another hash: the chain was rewritten since", head.name, head.seq)
}

/// Returns the heads that nodes signed, in the order of the chain.
pub(super) async fn list(tx: &mut Tx) -> Result<Vec<AuditHead>, DbError> {
    let fleet = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'fleet'").fetch_optional(tx.conn()).await?;
    let fleet = fleet.map(|row| Reader::new("meta", &row).parse("value")).transpose()?;
    let rows = sqlx::query(
        "SELECT s.node, n.name, s.epoch, s.seq, s.hash, s.signed_ms, s.signature, s.public_key, s.contradicts_seq, \
         s.contradicts_hash FROM countersignature s LEFT JOIN node n ON n.id = s.node ORDER BY s.epoch, s.seq, s.node",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("countersignature", row);
            Ok(AuditHead {
                fleet,
                node: r.parse("node")?,
                name: r.maybe_text("name")?.unwrap_or_default(),
                epoch: r.count("epoch")?,
                seq: r.count("seq")?,
                hash: r.text("hash")?,
                at_ms: r.int("signed_ms")?,
                signature: r.text("signature")?,
                public_key: r.text("public_key")?,
                contradicts_seq: r.maybe_int("contradicts_seq")?.map(|seq| seq as u64),
                contradicts_hash: r.maybe_text("contradicts_hash")?,
            })
        })
        .collect()
}
