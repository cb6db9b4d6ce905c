//! Earlier values of a secret: who may still need one, and their end.
//!
//! A purged value leaves its row, so that history says when it was set and when it was destroyed; nothing brings it back. A
//! revision that names it can't be restored, and says so.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{SecretPurge, SecretPurged, SecretValue};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    event::EventKind,
    id::{NodeId, ObjectId, SecretValueId},
    object::Body,
};
use sqlx::{Any, QueryBuilder};
use thiserror::Error;

use super::store::{self, ValueRow};
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

/// Returns the values of a secret with what needs each, newest first.
pub(crate) async fn values(db: &Db, view: &View, id: ObjectId) -> Result<Vec<SecretValue>, PurgeError> {
    let stored = secret(view, id)?;
    let stands = current(stored);
    let users = view.compiled.users(id);
    let nodes: BTreeSet<NodeId> = users.values().flatten().copied().collect();
    let users: Vec<ObjectId> = users.into_keys().collect();
    let (nodes, users) = (&nodes, &users);
    let (rows, behind, drafts, runs) = db
        .read(|mut tx| async move {
            let rows = store::of_object(&mut tx, id).await?;
            let behind = behind(&mut tx, nodes, users).await?;
            let drafts = drafts(&mut tx, id).await?;
            let runs = runs(&mut tx, id).await?;
            Ok::<_, DbError>(tx.done((rows, behind, drafts, runs)))
        })
        .await?;
    let names: BTreeMap<NodeId, &str> = view.members().iter().map(|m| (m.id, m.name.as_str())).collect();
    let name = |node: &NodeId| names.get(node).copied().unwrap_or("a node that is gone").to_owned();
    let shown = |row: ValueRow| {
        let is_current = Some(row.id) == stands;
        let mut uses = Vec::new();
        if !is_current && row.purged_at.is_none() {
            let held = nodes.iter().filter(|n| view.compiled.needs(**n, row.id)).map(name).collect();
            uses.extend(listed(held, "shall still have it, held back by a rollout"));
            uses.extend(listed(
                behind.iter().map(name).collect(),
                "may still have it: the value that stands is not in force there yet",
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
        SecretValue { id: row.id, at: row.at, author: row.author, is_current, purged_at: row.purged_at, uses }
    };
    Ok(rows.into_iter().map(shown).collect())
}

fn listed(mut names: Vec<String>, what: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    names.sort();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{}{more} {what}", names.join(", ")))
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
    let all = values(db, view, id).await?;
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
    let purged = db
        .write(|mut tx| async move {
            if store::current_of(&mut tx, id).await? != stands {
                return Err(PurgeError::Moved);
            }
            let purged = store::purge(&mut tx, id, ids, now).await?;
            let mut details = BTreeMap::from([("purged", purged.to_string()), ("kept", wanted.keep.to_string())]);
            if !uses.is_empty() {
                details.insert("forced", uses.join("; "));
            }
            let entry = Entry::done(by, "secret.purge", key.to_string()).because(wanted.reason.clone());
            tx.audit(entry.with_details(&details));
            tx.event(NewEvent::new(EventKind::ObjectChanged).object(id).with("purged", purged));
            Ok(tx.done(purged))
        })
        .await?;
    Ok(SecretPurged { purged: purged as u32, values: values(db, view, id).await? })
}

/// Returns which nodes are not known to have what stands in force: by the state as a whole, or by one of the users.
async fn behind(tx: &mut Tx, nodes: &BTreeSet<NodeId>, users: &[ObjectId]) -> Result<BTreeSet<NodeId>, DbError> {
    let mut found = BTreeSet::new();
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    for chunk in id_chunks(&nodes) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT c.node FROM node_config c WHERE (c.reported_hash <> c.hash OR c.phase NOT IN ('applied', 'confirmed')) \
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
