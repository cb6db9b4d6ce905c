//! Earlier values of a secret: who may still need one, and their end.
//!
//! A purged value leaves its row, so that history says when it was set and when it was destroyed; nothing brings it back. A
//! revision that names it can't be restored, and says so.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{PurgeOpen, PurgeReach, SecretPurge, SecretPurged, SecretValue};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    event::EventKind,
    id::{NodeId, ObjectId, SecretValueId},
    object::Body,
};
use sqlx::{Any, QueryBuilder};
use thiserror::Error;

use super::store::{
    self, ValueRow,
    holder::{self, Holder, Standing},
};
use crate::{
    access::Outside,
    audit::{Entry, Principal},
    change::View,
    db::{
        Db, DbError, Tx,
        row::{Reader, id_chunks, push_ids},
    },
    event::NewEvent,
    host::Stored,
};

/// The most nodes that are named of each cause.
const NAMED: usize = 8;

/// The most nodes that are named of which a purge is not confirmed.
const MAX_OPEN: usize = 100;

/// Why values are not purged.
#[derive(Debug, Error)]
pub(crate) enum PurgeError {
    /// There is no such secret.
    #[error("there is no secret {0}")]
    NotFound(ObjectId),
    /// Something needs a value.
    #[error("a value is needed: {}; wait for that, or force it: lampasctl secret purge NAME --force", .0.join("; "))]
    Used(Vec<String>),
    /// The secret was set meanwhile.
    #[error("the secret was set anew meanwhile; look again")]
    Moved,
    /// Somebody may not.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(PurgeError);

fn secret(view: &View, id: ObjectId) -> Result<&Stored, PurgeError> {
    let found = view.all.objects.get(&id).filter(|o| matches!(o.spec.body, Body::Secret(_)));
    found.ok_or(PurgeError::NotFound(id))
}

fn current(stored: &Stored) -> Option<SecretValueId> {
    if let Body::Secret(secret) = &stored.spec.body { secret.value } else { None }
}

/// Returns the values of a secret with what needs each, newest first. Nodes that `sees` says no to are counted, not named.
pub(crate) async fn values(
    db: &Db,
    view: &View,
    id: ObjectId,
    sees: &(dyn Fn(NodeId) -> bool + Sync),
) -> Result<Vec<SecretValue>, PurgeError> {
    let stored = secret(view, id)?;
    let stands = current(stored);
    let users = view.compiled.users(id);
    let nodes: BTreeSet<NodeId> = users.values().flatten().copied().collect();
    let users: Vec<ObjectId> = users.into_keys().collect();
    let (nodes, users) = (&nodes, &users);
    let (rows, behind, drafts, runs, mut holders) = db
        .read(|mut tx| async move {
            let rows = store::of_object(&mut tx, id).await?;
            let behind = behind(&mut tx, nodes, users).await?;
            let drafts = drafts(&mut tx, id).await?;
            let runs = runs(&mut tx, id).await?;
            let purged: Vec<SecretValueId> = rows.iter().filter(|r| r.purged_at.is_some()).map(|r| r.id).collect();
            let holders = holder::progress(&mut tx, &purged).await?;
            Ok::<_, DbError>(tx.done((rows, behind, drafts, runs, holders)))
        })
        .await?;
    let names: BTreeMap<NodeId, &str> = view.members().iter().map(|m| (m.id, m.name.as_str())).collect();
    let name =
        |node: &NodeId| sees(*node).then(|| names.get(node).copied().unwrap_or("a node that is gone").to_owned());
    let mut shown = |row: ValueRow| {
        let is_current = Some(row.id) == stands;
        let mut uses = Vec::new();
        if !is_current && row.purged_at.is_none() {
            let held: Vec<_> = nodes.iter().filter(|n| view.compiled.needs(**n, row.id)).map(name).collect();
            uses.extend(listed(held, "shall still have it, held back by a rollout"));
            uses.extend(listed(
                behind.iter().map(name).collect(),
                "may still have it: the value that stands is not in force and confirmed there yet",
            ));
            for (number, value, is_rolling) in &drafts {
                if *is_rolling {
                    uses.push(format!("change {number} is under way, and may be put back"));
                } else if *value == row.id {
                    uses.push(format!("change {number} would bring it back"));
                }
            }
            uses.extend(
                runs.iter().filter(|(_, v)| *v == row.id).map(|(n, _)| format!("operation {n} is under way with it")),
            );
        }
        let nodes = row.purged_at.map(|_| reach(holders.remove(&row.id).unwrap_or_default(), sees));
        SecretValue { id: row.id, at: row.at, author: row.author, is_current, purged_at: row.purged_at, uses, nodes }
    };
    Ok(rows.into_iter().map(&mut shown).collect())
}

/// Says how far a purge is on the nodes. Nodes that `sees` says no to are counted, not named.
fn reach(holders: Vec<Holder>, sees: &(dyn Fn(NodeId) -> bool + Sync)) -> PurgeReach {
    let total = holders.len() as u32;
    let open: Vec<Holder> = holders.into_iter().filter(|h| h.gone_at.is_none()).collect();
    let confirmed = total - open.len() as u32;
    let named = open.into_iter().map(|h| {
        let (why, is_lost) = match h.standing {
            Standing::Ejected => ("was ejected: it is not reached".to_owned(), true),
            Standing::Revoked => ("its certificate is revoked: it is not reached".to_owned(), true),
            Standing::Removed => ("was removed from the fleet: it is not reached".to_owned(), true),
            Standing::Member if h.why.is_empty() => ("was not told yet; it is when it is connected".to_owned(), false),
            Standing::Member => (h.why, false),
        };
        (h.node, PurgeOpen { node: h.name, why, is_lost })
    });
    let open: Vec<PurgeOpen> = named.filter(|(node, _)| sees(*node)).map(|(_, open)| open).take(MAX_OPEN).collect();
    let more = total - confirmed - open.len() as u32;
    PurgeReach { total, confirmed, open, more }
}

/// Says what some nodes do; those without a name are counted.
fn listed(nodes: Vec<Option<String>>, what: &str) -> Option<String> {
    let count = nodes.len();
    let mut names: Vec<String> = nodes.into_iter().flatten().collect();
    names.sort();
    names.truncate(NAMED);
    match (names.join(", "), count - names.len()) {
        (_, 0) if count == 0 => None,
        (named, 0) => Some(format!("{named} {what}")),
        (named, 1) if named.is_empty() => Some(format!("a node {what}")),
        (named, more) if named.is_empty() => Some(format!("{more} nodes {what}")),
        (named, more) => Some(format!("{named} and {more} more {what}")),
    }
}

/// Destroys earlier values.
///
/// # Errors
/// When something needs one and it is not forced, or somebody may not.
pub(crate) async fn purge(
    db: &Db,
    view: &View,
    id: ObjectId,
    wanted: &SecretPurge,
    by: &Principal,
) -> Result<SecretPurged, PurgeError> {
    // Who may not learns nothing of what it is.
    let any = view.all.objects.get(&id).ok_or(PurgeError::NotFound(id))?;
    by.must_on_scopes(Permission::WriteSecret, [&any.spec.scope], view.members())?;
    let stored = secret(view, id)?;
    let all = values(db, view, id, &|_| true).await?;
    let earlier: Vec<&SecretValue> = all.iter().filter(|v| !v.is_current && v.purged_at.is_none()).collect();
    let gone: Vec<&SecretValue> = earlier.into_iter().skip(wanted.keep as usize).collect();
    let mut uses: Vec<String> = gone.iter().flat_map(|v| v.uses.clone()).collect();
    uses.sort();
    uses.dedup();
    if !uses.is_empty() && !wanted.force {
        return Err(PurgeError::Used(uses));
    }
    let ids: Vec<SecretValueId> = gone.iter().map(|v| v.id).collect();
    let (ids, stands, key) = (&ids, current(stored), stored.spec.key());
    let (key, uses, now) = (&key, &uses, clock::now());
    let earlier_purged: Vec<SecretValueId> = all.iter().filter(|v| v.purged_at.is_some()).map(|v| v.id).collect();
    let earlier_purged = &earlier_purged;
    let purged = db
        .write(|mut tx| async move {
            if store::current_of(&mut tx, id).await? != stands {
                return Err(PurgeError::Moved);
            }
            let purged = store::purge(&mut tx, id, ids, now).await?;
            // Also what was purged before, and is not gone from all nodes yet: it is told again at once.
            let all: Vec<SecretValueId> = ids.iter().chain(earlier_purged).copied().collect();
            let nodes = holder::begin(&mut tx, &all, now).await?;
            let mut details = BTreeMap::from([("purged", purged.to_string()), ("kept", wanted.keep.to_string())]);
            details.insert("nodes", nodes.to_string());
            if !uses.is_empty() {
                details.insert("forced", uses.join("; "));
            }
            let entry = Entry::done(by, "secret.purge", key.to_string()).because(wanted.reason.clone());
            tx.audit(entry.with_details(&details));
            tx.event(NewEvent::new(EventKind::ObjectChanged).object(id).with("purged", purged));
            Ok(tx.done(purged))
        })
        .await?;
    Ok(SecretPurged { purged: purged as u32, values: values(db, view, id, &|_| true).await? })
}

/// Returns which nodes are not known to have what stands in force for good: by the state as a whole, which may be put back until
/// it is confirmed, or by one of the users.
async fn behind(tx: &mut Tx, nodes: &BTreeSet<NodeId>, users: &[ObjectId]) -> Result<BTreeSet<NodeId>, DbError> {
    let mut found = BTreeSet::new();
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    for chunk in id_chunks(&nodes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT c.node FROM node_config c WHERE (c.reported_hash <> c.hash OR c.phase <> 'confirmed') \
             AND c.node IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            found.insert(Reader::new("node_config", row).parse("node")?);
        }
    }
    for chunk in id_chunks(users) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT s.node FROM resource_state s WHERE s.state <> 'converged' AND s.object IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let node: NodeId = Reader::new("resource_state", row).parse("node")?;
            if nodes.contains(&node) {
                found.insert(node);
            }
        }
    }
    Ok(found)
}

/// Returns the changes about a secret that are not over: the value that each names, and whether it is under way.
async fn drafts(tx: &mut Tx, id: ObjectId) -> Result<Vec<(u64, SecretValueId, bool)>, DbError> {
    let rows = sqlx::query(
        "SELECT c.number, c.state, d.body FROM change_draft d JOIN changes c ON c.id = d.change_id \
         WHERE d.object = ? AND d.absent = 0 AND c.state IN ('draft', 'planned', 'approved', 'rolling')",
    )
    .bind(id.to_string())
    .fetch_all(tx.conn())
    .await?;
    let mut found = Vec::new();
    for row in &rows {
        let r = Reader::new("change_draft", row);
        if let Body::Secret(secret) = r.json::<Body>("body")?
            && let Some(value) = secret.value
        {
            found.push((r.count("number")?, value, r.text("state")? == "rolling"));
        }
    }
    Ok(found)
}

/// Returns the operations under way that were given values of a secret.
async fn runs(tx: &mut Tx, id: ObjectId) -> Result<Vec<(u64, SecretValueId)>, DbError> {
    let rows = sqlx::query(
        "SELECT DISTINCT o.number, k.value FROM operation o JOIN operation_run r ON r.operation = o.id \
         JOIN operation_run_secret k ON k.run = r.run JOIN secret_value v ON v.id = k.value \
         WHERE o.state = 'running' AND r.state IN ('queued', 'running') AND v.object = ?",
    )
    .bind(id.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("operation", row);
            Ok((r.count("number")?, r.parse("value")?))
        })
        .collect()
}
