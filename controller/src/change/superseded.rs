//! Open changes that can never be applied, since another act was faster: a draft is bound to the revision that it was made
//! from, and revisions don't come back. They are settled when that act commits, in its transaction, so that no list names
//! them as something that waits: neither for an approval, nor for their time, nor for whoever made them.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    change::ChangeState,
    event::EventKind,
    fleet::NodeName,
    id::{ChangeId, NodeId, ObjectId},
    object::ObjectKey,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{
    ChangeError, approval,
    draft::{Edit, Verb},
    schedule, store,
};
use crate::{
    audit::{Entry, Principal},
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, push_ids},
    },
    event::NewEvent,
    fleet,
    host::{self, All},
};

/// What is found of one round: which change, and the first thing in it that was changed meanwhile.
type Found = BTreeMap<ChangeId, String>;

/// What was changed, and by which act.
pub(super) struct Act<'a> {
    /// The change that did it; nothing when it was an edit outside of a change.
    pub(super) change: Option<(ChangeId, u64)>,
    pub(super) by: &'a Principal,
    /// The name that stands at what was changed.
    pub(super) author: &'a str,
    pub(super) now: UnixMs,
}

/// Settles open changes with drafts of what a change has just written.
pub(super) async fn by_objects(
    tx: &mut Tx,
    edits: &[&(ObjectId, Edit)],
    all: &All,
    act: &Act<'_>,
) -> Result<(), ChangeError> {
    let edited: Vec<_> = edits.iter().filter(|(_, e)| e.verb != Verb::None).collect();
    let ids: Vec<ObjectId> = edited.iter().map(|(id, _)| *id).collect();
    let keys: BTreeSet<ObjectKey> = edited.iter().map(|(_, e)| host::map_key(&e.key, &all.names)).collect();
    let names: Vec<String> = keys.iter().map(|k| k.name.to_string()).collect();
    let mut found = Found::new();
    for chunk in id_chunks(&ids) {
        open_drafts(tx, act, ("d.object", chunk), |_, _| true, all, &mut found).await?;
    }
    // What another one wants to make under a name that is taken now has an id of its own.
    for chunk in id_chunks(&names) {
        let is_taken = |key: &ObjectKey, base: u64| base == 0 && keys.contains(key);
        open_drafts(tx, act, ("d.name", chunk), is_taken, all, &mut found).await?;
    }
    settle(tx, found, act).await
}

/// Settles open changes with edits of a node that was just edited, or went.
pub(super) async fn by_nodes(tx: &mut Tx, nodes: &[(NodeId, NodeName)], act: &Act<'_>) -> Result<(), ChangeError> {
    let names: BTreeMap<NodeId, &NodeName> = nodes.iter().map(|(id, name)| (*id, name)).collect();
    let ids: Vec<NodeId> = names.keys().copied().collect();
    let mut found = Found::new();
    for chunk in id_chunks(&ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT c.id, e.node FROM changes c JOIN change_node_edit e ON e.change_id = c.id \
             LEFT JOIN node n ON n.id = e.node WHERE c.state IN ('draft', 'planned', 'approved') \
             AND (n.id IS NULL OR n.revoked_ms IS NOT NULL OR n.revision <> e.base_revision) AND e.node IN ",
        );
        push_ids(&mut query, chunk);
        let rows = query.build().persistent(false).fetch_all(tx.conn()).await.map_err(DbError::from)?;
        for row in &rows {
            let r = Reader::new("change_node_edit", row);
            let (id, node): (ChangeId, NodeId) = (r.parse("id")?, r.parse("node")?);
            if let Some(name) = names.get(&node).filter(|_| act.change.is_none_or(|(own, _)| own != id)) {
                found.entry(id).or_insert_with(|| format!("node {name}"));
            }
        }
    }
    settle(tx, found, act).await
}

async fn open_drafts<T: ToString>(
    tx: &mut Tx,
    act: &Act<'_>,
    (column, values): (&'static str, &[T]),
    is_meant: impl Fn(&ObjectKey, u64) -> bool,
    all: &All,
    found: &mut Found,
) -> Result<(), DbError> {
    let mut query = QueryBuilder::<Any>::new(format!(
        "SELECT c.id, d.kind, d.scope, d.name, d.base_revision FROM changes c \
         JOIN change_draft d ON d.change_id = c.id \
         WHERE c.state IN ('draft', 'planned', 'approved') AND {column} IN "
    ));
    push_ids(&mut query, values);
    for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
        let r = Reader::new("change_draft", row);
        let id: ChangeId = r.parse("id")?;
        let key = ObjectKey { kind: r.parse("kind")?, scope: r.parse("scope")?, name: r.parse("name")? };
        let is_own = act.change.is_some_and(|(own, _)| own == id);
        if !is_own && is_meant(&key, r.count("base_revision")?) {
            found.entry(id).or_insert_with(|| host::unmap_key(&key, &all.names).to_string());
        }
    }
    Ok(())
}

async fn settle(tx: &mut Tx, found: Found, act: &Act<'_>) -> Result<(), ChangeError> {
    for (id, what) in found {
        let Some(row) = store::get(tx, id, true).await?.filter(|row| row.state.is_open()) else { continue };
        let with = act.change.map(|(_, number)| format!(", with change {number}")).unwrap_or_default();
        let why = format!("{what} was changed by {} meanwhile{with}", act.author);
        approval::end(tx, &row, &why, act.now).await?;
        schedule::withdraw(tx, &row, &why, act.now).await?;
        sqlx::query("INSERT INTO change_superseded (change_id, by_number, why, at_ms) VALUES (?, ?, ?, ?)")
            .bind(id.to_string())
            .bind(act.change.map(|(_, number)| number as i64))
            .bind(fleet::bounded(&why, 1000))
            .bind(act.now.0)
            .execute(tx.conn())
            .await
            .map_err(DbError::from)?;
        store::set_state(tx, id, ChangeState::Abandoned, act.now).await?;
        let event = NewEvent::new(EventKind::ChangeMoved).change(id).with("number", row.number);
        tx.event(event.with("state", ChangeState::Abandoned.as_str()).with("why", format!("superseded: {why}")));
        tx.audit(Entry::done(act.by, "change.supersede", format!("change {}", row.number)).because(why));
    }
    Ok(())
}
