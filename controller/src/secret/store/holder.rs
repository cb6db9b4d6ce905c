//! The table of who was given which value, and how far its purge is there.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    id::{NodeId, ObjectId, SecretValueId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use crate::{
    db::{
        Db, DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids},
    },
    fleet,
};

/// The longest answer of a node that is kept.
const MAX_WHY: usize = 500;

/// Returns values as they were sealed, for nodes that are about to get them, and puts down that they do, of all of them in
/// one transaction: so a purge reaches who has one, and what is purged is given to nobody. What was destroyed is not there.
///
/// # Errors
/// When the store fails: then nothing is given.
pub(crate) async fn give(
    db: &Db,
    asked: &[(NodeId, SecretValueId)],
    now: UnixMs,
) -> Result<BTreeMap<SecretValueId, String>, DbError> {
    let (known, found) = db
        .read(|mut tx| async move {
            let known = known(&mut tx, asked).await?;
            let found = sealed(&mut tx, asked.iter().map(|(_, value)| *value), "").await?;
            Ok::<_, DbError>(tx.done((known, found)))
        })
        .await?;
    let is_news = |(node, value): &&(NodeId, SecretValueId)| {
        found.contains_key(value) && !known.get(value).is_some_and(|nodes| nodes.contains(node))
    };
    let news: BTreeSet<(NodeId, SecretValueId)> = asked.iter().filter(is_news).copied().collect();
    if news.is_empty() {
        return Ok(found);
    }
    let news = &news;
    let standing = db.write(|mut tx| async move {
        let lock = tx.dialect().for_update();
        // Whoever purges one of them waits, or has purged it.
        let standing = sealed(&mut tx, news.iter().map(|(_, value)| *value), lock).await?;
        let nodes: Vec<NodeId> = news.iter().map(|(node, _)| *node).collect::<BTreeSet<_>>().into_iter().collect();
        let names = fleet::names(&mut tx, Some(&nodes)).await?;
        let name = |node: NodeId| names.get(&node).map_or_else(|| node.to_string(), ToString::to_string);
        let given = news.iter().filter(|(_, value)| standing.contains_key(value));
        let holders: Vec<_> = given.map(|(node, value)| (*value, *node, name(*node))).collect();
        add(&mut tx, &holders, now, None).await?;
        Ok::<_, DbError>(tx.done(standing))
    });
    let standing = standing.await?;
    let put_down: BTreeSet<SecretValueId> = news.iter().map(|(_, value)| *value).collect();
    let is_given = |value: &SecretValueId| !put_down.contains(value) || standing.contains_key(value);
    Ok(found.into_iter().filter(|(value, _)| is_given(value)).collect())
}

/// Returns which of these nodes were given which of these values before.
async fn known(
    tx: &mut Tx,
    asked: &[(NodeId, SecretValueId)],
) -> Result<BTreeMap<SecretValueId, BTreeSet<NodeId>>, DbError> {
    let mut nodes_of: BTreeMap<SecretValueId, BTreeSet<NodeId>> = BTreeMap::new();
    for (node, value) in asked {
        nodes_of.entry(*value).or_default().insert(*node);
    }
    for (value, nodes) in &mut nodes_of {
        let wanted: Vec<NodeId> = std::mem::take(nodes).into_iter().collect();
        for chunk in id_chunks(&wanted) {
            let mut query = QueryBuilder::<Any>::new("SELECT h.node FROM secret_holder h WHERE h.value = ");
            query.push_bind(value.to_string()).push(" AND h.node IN ");
            push_ids(&mut query, chunk);
            for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
                nodes.insert(Reader::new("secret_holder", row).parse("node")?);
            }
        }
    }
    Ok(nodes_of)
}

/// Returns values that are not destroyed.
async fn sealed(
    tx: &mut Tx,
    values: impl Iterator<Item = SecretValueId>,
    lock: &str,
) -> Result<BTreeMap<SecretValueId, String>, DbError> {
    let values: Vec<SecretValueId> = values.collect::<BTreeSet<_>>().into_iter().collect();
    let mut found = BTreeMap::new();
    for chunk in id_chunks(&values) {
        let mut query = QueryBuilder::<Any>::new("SELECT v.id, v.sealed FROM secret_value v WHERE v.id IN ");
        push_ids(&mut query, chunk);
        // In one order, so that two that lock don't wait for each other.
        query.push(" ORDER BY v.id").push(lock);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("secret_value", row);
            let sealed = r.text("sealed")?;
            if !sealed.is_empty() {
                found.insert(r.parse("id")?, sealed);
            }
        }
    }
    Ok(found)
}

async fn add(
    tx: &mut Tx,
    holders: &[(SecretValueId, NodeId, String)],
    given: UnixMs,
    purge: Option<UnixMs>,
) -> Result<(), DbError> {
    let after = tx.dialect().on_conflict(&["value", "node"], &[]);
    const COLUMNS: [&str; 8] = ["value", "node", "name", "given_ms", "purge_ms", "next_ms", "attempts", "why"];
    insert_many(tx, "secret_holder", &COLUMNS, &after, holders, |b, (value, node, name)| {
        b.push_bind(value.to_string()).push_bind(node.to_string()).push_bind(name.clone()).push_bind(given.0);
        b.push_bind(purge.map(|at| at.0)).push_bind(purge.map(|at| at.0)).push_bind(0_i64).push_bind(String::new());
    })
    .await
}

/// Has nodes told that values are destroyed: those that were given them; where that was not put down, all that may have been.
/// Who was told already is told again at once, if it has not let go yet. Returns how many nodes.
pub(in crate::secret) async fn begin(tx: &mut Tx, values: &[SecretValueId], now: UnixMs) -> Result<u64, DbError> {
    for chunk in id_chunks(values) {
        let mut query =
            QueryBuilder::<Any>::new("SELECT v.id, v.at_ms FROM secret_value v WHERE v.is_tracked = 0 AND v.id IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("secret_value", row);
            let (value, at): (SecretValueId, UnixMs) = (r.parse("id")?, r.time("at_ms")?);
            // Who had left before it was set never had it.
            let nodes = sqlx::query(
                "SELECT n.id, n.name FROM node n WHERE (n.ejected_ms IS NULL OR n.ejected_ms > ?) \
                 AND (n.revoked_ms IS NULL OR n.revoked_ms > ?)",
            )
            .bind(at.0)
            .bind(at.0)
            .fetch_all(tx.conn())
            .await?;
            let holder = |row| {
                let r = Reader::new("node", row);
                Ok((value, r.parse("id")?, r.text("name")?))
            };
            let holders = nodes.iter().map(holder).collect::<Result<Vec<_>, DbError>>()?;
            add(tx, &holders, UnixMs(0), Some(now)).await?;
        }
        let mut query =
            QueryBuilder::<Any>::new("UPDATE secret_value SET is_tracked = 1 WHERE is_tracked = 0 AND id IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
        let mut query = QueryBuilder::<Any>::new("UPDATE secret_holder SET next_ms = ");
        query.push_bind(now.0).push(", purge_ms = COALESCE(purge_ms, ").push_bind(now.0);
        query.push(") WHERE gone_ms IS NULL AND value IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    told(tx, values).await
}

/// Counts the nodes that are told of any of these values.
async fn told(tx: &mut Tx, values: &[SecretValueId]) -> Result<u64, DbError> {
    if let [chunk] = id_chunks(values).collect::<Vec<_>>()[..] {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT COUNT(DISTINCT h.node) AS nodes FROM secret_holder h WHERE h.purge_ms IS NOT NULL AND h.value IN ",
        );
        push_ids(&mut query, chunk);
        let row = query.build().persistent(false).fetch_one(tx.conn()).await?;
        return Reader::new("secret_holder", &row).count("nodes");
    }
    // A node counts once, whichever statement finds it.
    let mut found: BTreeSet<NodeId> = BTreeSet::new();
    for chunk in id_chunks(values) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT DISTINCT h.node FROM secret_holder h WHERE h.purge_ms IS NOT NULL AND h.value IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            found.insert(Reader::new("secret_holder", row).parse("node")?);
        }
    }
    Ok(found.len() as u64)
}

/// Returns values that were purged before it was put down who has them: nobody was told yet. As many as are asked for.
pub(in crate::secret) async fn untold(tx: &mut Tx, limit: u32) -> Result<Vec<SecretValueId>, DbError> {
    let rows =
        sqlx::query("SELECT v.id FROM secret_value v WHERE v.purged_ms IS NOT NULL AND v.is_tracked = 0 LIMIT ?");
    let rows = rows.bind(i64::from(limit)).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("secret_value", row).parse("id")).collect()
}

/// A node that was given a purged value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::secret) struct Holder {
    pub(in crate::secret) node: NodeId,
    /// Its name; of one that is gone, the last that was known.
    pub(in crate::secret) name: String,
    pub(in crate::secret) gone_at: Option<UnixMs>,
    /// What it, or the link, said last.
    pub(in crate::secret) why: String,
    pub(in crate::secret) standing: Standing,
}

/// Whether a node can be told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::secret) enum Standing {
    Member,
    Ejected,
    Revoked,
    Removed,
}

/// Returns who is told of each of these values.
pub(in crate::secret) async fn progress(
    tx: &mut Tx,
    values: &[SecretValueId],
) -> Result<BTreeMap<SecretValueId, Vec<Holder>>, DbError> {
    let mut found: BTreeMap<SecretValueId, Vec<Holder>> = BTreeMap::new();
    for chunk in id_chunks(values) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT h.value, h.node, h.name, h.gone_ms, h.why, n.name AS standing_name, n.ejected_ms, n.revoked_ms \
             FROM secret_holder h LEFT JOIN node n ON n.id = h.node WHERE h.purge_ms IS NOT NULL AND h.value IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("secret_holder", row);
            let name = r.maybe_text("standing_name")?;
            let standing = match (&name, r.maybe_time("ejected_ms")?, r.maybe_time("revoked_ms")?) {
                (None, ..) => Standing::Removed,
                (_, Some(_), _) => Standing::Ejected,
                (_, _, Some(_)) => Standing::Revoked,
                _ => Standing::Member,
            };
            let name = name.map_or_else(|| r.text("name"), Ok)?;
            let holder = Holder {
                node: r.parse("node")?,
                name,
                gone_at: r.maybe_time("gone_ms")?,
                why: r.text("why")?,
                standing,
            };
            found.entry(r.parse("value")?).or_default().push(holder);
        }
    }
    for holders in found.values_mut() {
        holders.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(found)
}

/// Returns what is due at members of the fleet, after a value and node, in their order. Who left is told nothing any more.
pub(in crate::secret) async fn due(
    tx: &mut Tx,
    now: UnixMs,
    after: (&str, &str),
    limit: u32,
) -> Result<Vec<(SecretValueId, NodeId, u64)>, DbError> {
    let rows = sqlx::query(
        "SELECT h.value, h.node, h.attempts FROM secret_holder h JOIN node n ON n.id = h.node WHERE h.next_ms <= ? \
         AND n.ejected_ms IS NULL AND n.revoked_ms IS NULL AND (h.value > ? OR (h.value = ? AND h.node > ?)) ORDER BY h.value, h.node LIMIT ?",
    )
    .bind(now.0)
    .bind(after.0.to_owned())
    .bind(after.0.to_owned())
    .bind(after.1.to_owned())
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("secret_holder", row);
            Ok((r.parse("value")?, r.parse("node")?, r.count("attempts")?))
        })
        .collect()
}

/// Notes that a node has let go of values. Returns those that it is news of.
pub(in crate::secret) async fn gone(
    tx: &mut Tx,
    node: NodeId,
    values: &[SecretValueId],
    now: UnixMs,
) -> Result<u64, DbError> {
    let mut noted = 0;
    for chunk in id_chunks(values) {
        let mut query = QueryBuilder::<Any>::new("UPDATE secret_holder SET next_ms = NULL, why = '', gone_ms = ");
        query.push_bind(now.0).push(" WHERE gone_ms IS NULL AND node = ").push_bind(node.to_string());
        query.push(" AND value IN ");
        push_ids(&mut query, chunk);
        noted += query.build().persistent(false).execute(tx.conn()).await?.rows_affected();
    }
    Ok(noted)
}

/// Notes why a node has not let go of a value, and when it is asked again; without a reason it did not answer, which counts
/// as no attempt.
pub(in crate::secret) async fn held(
    tx: &mut Tx,
    node: NodeId,
    value: SecretValueId,
    why: &str,
    next: UnixMs,
) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE secret_holder SET why = ?, next_ms = ?, attempts = attempts + ? \
         WHERE gone_ms IS NULL AND node = ? AND value = ?",
    )
    .bind(fleet::bounded(why, MAX_WHY))
    .bind(next.0)
    .bind(i64::from(!why.is_empty()))
    .bind(node.to_string())
    .bind(value.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Returns the objects of which a value has gone from all nodes by what was just noted, with the value and how many nodes.
pub(in crate::secret) async fn ended(
    tx: &mut Tx,
    values: &[SecretValueId],
) -> Result<Vec<(ObjectId, SecretValueId, u64)>, DbError> {
    let mut ended = Vec::new();
    for chunk in id_chunks(values) {
        // Of a fleet's rows it reads as far as the first node that has not let go; who counts is counted once.
        let mut query = QueryBuilder::<Any>::new(
            "SELECT v.object, v.id, (SELECT COUNT(*) FROM secret_holder t WHERE t.value = v.id AND t.purge_ms IS NOT NULL) \
             AS nodes FROM secret_value v WHERE NOT EXISTS (SELECT 1 FROM secret_holder h WHERE h.value = v.id \
             AND h.gone_ms IS NULL AND h.purge_ms IS NOT NULL) AND v.id IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("secret_value", row);
            ended.push((r.parse("object")?, r.parse("id")?, r.count("nodes")?));
        }
    }
    Ok(ended)
}
