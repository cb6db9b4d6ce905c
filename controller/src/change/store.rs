//! The tables of changes, drafts and plans.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{ChangeSummary, Draft, DraftAct, Plan, PlanOutlook, Progress, RolloutStage, Superseded};
use lampas_shared::{
    change::{Cause, ChangeState},
    desired::ContentHash,
    fleet::Scope,
    id::{ChangeId, NodeId},
    object::{Kind, ObjectKey},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use super::{ChangeError, draft::StoredDraft, fold, node_edit};
use crate::{
    db::{
        DbError, Tx,
        row::{Reader, by_weight, id_chunks, insert_many, push_ids, to_json},
    },
    fleet,
    host::{self, All},
};

const COLUMNS: &str = "c.id, c.number, c.state, c.author, c.reason, c.request_key, c.request_hash, c.reverts, c.plan_id, \
                       c.is_look, c.created_ms, c.applied_ms, c.done_ms, \
                       (SELECT s.why FROM change_superseded s WHERE s.change_id = c.id) AS superseded_why, \
                       (SELECT s.by_number FROM change_superseded s WHERE s.change_id = c.id) AS superseded_by";

/// A plan that would do nothing, in the store.
const IDLE: &str = "idle";
/// One that nodes can't do as it is.
const BLOCKED: &str = "blocked";
/// A plan that simply waits to be applied.
const WAITS: &str = "waits";

/// A change as it stands.
#[derive(Debug, Clone)]
pub struct ChangeRow {
    /// Its id.
    pub id: ChangeId,
    /// Its number, for people.
    pub number: u64,
    /// Its state.
    pub state: ChangeState,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The client's idempotency key.
    pub request_key: Option<String>,
    /// The hash of what was asked for under that key; nothing of changes that were made before it was kept.
    pub request_hash: Option<ContentHash>,
    /// The change that it reverts.
    pub reverts: Option<ChangeId>,
    /// Its current plan, in full.
    pub plan_id: Option<String>,
    /// Whether it was only planned to look at it: it waits for nobody.
    pub is_look: bool,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it was applied.
    pub applied_at: Option<UnixMs>,
    /// When the last node was done.
    pub done_at: Option<UnixMs>,
    /// Why it can never be applied.
    pub superseded: Option<Superseded>,
}

/// A plan as it is stored: what is shown, and what it is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredPlan {
    pub(crate) shown: Plan,
    /// The affected nodes with what they would be.
    pub(crate) nodes: BTreeMap<NodeId, ContentHash>,
    /// What the nodes that were asked saw on their disks.
    #[serde(default)]
    pub(crate) observed: BTreeMap<NodeId, ContentHash>,
}

pub(crate) async fn insert(tx: &mut Tx, row: &ChangeRow, drafts: &[StoredDraft], all: &All) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO changes (id, number, state, author, reason, request_key, request_hash, reverts, is_look, \
         created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.number as i64)
    .bind(row.state.as_str())
    .bind(fleet::bounded(&row.author, 128))
    .bind(row.reason.clone())
    .bind(row.request_key.clone())
    .bind(row.request_hash.map(|h| h.to_string()))
    .bind(row.reverts.map(|r| r.to_string()))
    .bind(i64::from(row.is_look))
    .bind(row.created_at.0)
    .bind(row.created_at.0)
    .execute(tx.conn())
    .await?;
    let columns = [
        "change_id",
        "position",
        "kind",
        "scope",
        "name",
        "object",
        "base_revision",
        "absent",
        "drift",
        "body",
        "previous_name",
    ];
    let rows: Vec<_> = (0_i64..).zip(drafts).collect();
    for rows in by_weight(&rows, |(_, d)| weight(&d.draft)) {
        insert_many(tx, "change_draft", &columns, "", rows, |b, (position, stored)| {
            let previous = stored.draft.previous_name.as_ref().map(|n| n.as_str().to_owned());
            let (key, absent, drift, body) = match &stored.draft.act {
                DraftAct::Put(spec) => {
                    let spec = host::map_nodes(spec, &|n| host::id_of(n, &all.names));
                    (spec.key(), 0_i64, host::drift_word(spec.drift), to_json(&spec.body))
                }
                DraftAct::Delete(key) => (host::map_key(key, &all.names), 1, "hold", String::from("null")),
            };
            b.push_bind(row.id.to_string())
                .push_bind(*position)
                .push_bind(key.kind.as_str())
                .push_bind(key.scope.to_string())
                .push_bind(key.name.as_str().to_owned())
                .push_bind(stored.object.map(|o| o.to_string()))
                .push_bind(stored.base as i64)
                .push_bind(absent)
                .push_bind(drift)
                .push_bind(body)
                .push_bind(previous);
        })
        .await?;
    }
    Ok(())
}

/// About how long a draft is in the store.
fn weight(draft: &Draft) -> usize {
    match &draft.act {
        DraftAct::Put(spec) => host::weight(spec),
        DraftAct::Delete(_) => 100,
    }
}

/// Finds a change by id, by number (`118` or `#118`), or by a unique prefix of its plan's id.
pub(crate) async fn find(tx: &mut Tx, text: &str) -> Result<ChangeRow, ChangeError> {
    let missing = || ChangeError::NotFound(text.chars().take(80).collect());
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM changes c WHERE "));
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if let Ok(id) = ChangeId::parse(text) {
        query.push("c.id = ").push_bind(id.to_string());
    } else if let Ok(number) = text.trim_start_matches('#').parse::<u32>() {
        query.push("c.number = ").push_bind(i64::from(number));
    } else if (6..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        query.push("c.plan_id LIKE ").push_bind(format!("{}%", digits.to_lowercase()));
    } else {
        return Err(missing());
    }
    query.push(" LIMIT 2");
    let mut rows = query.build().fetch_all(tx.conn()).await.map_err(DbError::from)?;
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(change(&row)?),
        _ => Err(missing()),
    }
}

pub(crate) async fn get(tx: &mut Tx, id: ChangeId, for_update: bool) -> Result<Option<ChangeRow>, DbError> {
    let lock = if for_update { tx.dialect().for_update() } else { "" };
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM changes c WHERE c.id = "));
    query.push_bind(id.to_string()).push(lock);
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|r| change(&r)).transpose()
}

pub(crate) async fn by_request_key(tx: &mut Tx, key: &str) -> Result<Option<ChangeRow>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM changes c WHERE c.request_key = "));
    query.push_bind(key.to_owned());
    let row = query.build().fetch_optional(tx.conn()).await?;
    row.map(|r| change(&r)).transpose()
}

/// Which changes are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<ChangeState>,
    /// As it is stored: nodes by their ids.
    pub(crate) scope: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) author: Option<String>,
    /// Without those that were only planned to look at them.
    pub(crate) is_asked: bool,
}

impl Filter {
    fn push(&self, query: &mut QueryBuilder<Any>) {
        if let Some(state) = self.state {
            query.push(" AND c.state = ").push_bind(state.as_str());
        }
        if let Some(author) = &self.author {
            query.push(" AND c.author = ").push_bind(author.clone());
        }
        if self.is_asked {
            query.push(" AND c.is_look = 0");
        }
        let node = self.scope.as_deref().filter(|_| self.kind.is_none()).and_then(|s| s.strip_prefix("node:"));
        if let Some(node) = node {
            query.push(" AND (EXISTS (SELECT 1 FROM change_node_edit e WHERE e.change_id = c.id AND e.node = ");
            query.push_bind(node.to_owned()).push(") OR EXISTS (SELECT 1 FROM change_draft d WHERE d.change_id = c.id");
            query.push(" AND d.scope = ").push_bind(format!("node:{node}")).push("))");
        } else if self.scope.is_some() || self.kind.is_some() {
            query.push(" AND EXISTS (SELECT 1 FROM change_draft d WHERE d.change_id = c.id");
            if let Some(scope) = &self.scope {
                query.push(" AND d.scope = ").push_bind(scope.clone());
            }
            if let Some(kind) = self.kind {
                query.push(" AND d.kind = ").push_bind(kind.as_str());
            }
            query.push(")");
        }
    }
}

pub(crate) async fn list(
    tx: &mut Tx,
    filter: &Filter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<ChangeRow>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM changes c WHERE 1 = 1"));
    filter.push(&mut query);
    if let Some(before) = before {
        query.push(" AND c.number < ").push_bind(before as i64);
    }
    query.push(" ORDER BY c.number DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(change).collect()
}

pub(crate) async fn count(tx: &mut Tx, filter: &Filter) -> Result<u64, DbError> {
    let mut query = QueryBuilder::<Any>::new("SELECT COUNT(*) AS total FROM changes c WHERE 1 = 1");
    filter.push(&mut query);
    let row = query.build().fetch_one(tx.conn()).await?;
    Reader::new("changes", &row).count("total")
}

pub(crate) async fn drafts(tx: &mut Tx, id: ChangeId, all: &All) -> Result<Vec<StoredDraft>, DbError> {
    let rows = sqlx::query(
        "SELECT d.kind, d.scope, d.name, d.object, d.base_revision, d.absent, d.drift, d.body, d.previous_name \
         FROM change_draft d WHERE d.change_id = ? ORDER BY d.position",
    )
    .bind(id.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("change_draft", row);
            let act = if r.flag("absent")? {
                let key = ObjectKey { kind: r.parse("kind")?, scope: r.parse("scope")?, name: r.parse("name")? };
                DraftAct::Delete(host::unmap_key(&key, &all.names))
            } else {
                DraftAct::Put(host::spec(&r, &all.names)?)
            };
            let base = r.count("base_revision")?;
            let draft = Draft { act, base: Some(base), previous_name: r.maybe_parse("previous_name")? };
            Ok(StoredDraft { draft, object: r.maybe_parse("object")?, base })
        })
        .collect()
}

/// Returns the scopes of the drafts of changes, with the names of nodes; and the nodes that they edit.
pub(crate) async fn scopes(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, BTreeSet<Scope>>, DbError> {
    let mut found: BTreeMap<ChangeId, BTreeSet<Scope>> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let names = fleet::names(tx, None).await?;
    let mut query =
        QueryBuilder::<Any>::new("SELECT DISTINCT d.change_id, d.scope FROM change_draft d WHERE d.change_id IN ");
    push_ids(&mut query, ids);
    for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
        let r = Reader::new("change_draft", row);
        let scope: Scope = r.parse("scope")?;
        let scope = match &scope {
            Scope::Node(id) => {
                let name = NodeId::parse(id.as_str()).ok().and_then(|id| names.get(&id).cloned());
                name.map_or(scope, Scope::Node)
            }
            _ => scope,
        };
        found.entry(r.parse("change_id")?).or_default().insert(scope);
    }
    for (id, nodes) in node_edit::told(tx, ids).await? {
        found.entry(id).or_default().extend(nodes.into_iter().map(Scope::Node));
    }
    Ok(found)
}

/// Returns the number of the change that was applied last to revert this one.
pub(crate) async fn reverted_by(tx: &mut Tx, id: ChangeId) -> Result<Option<u64>, DbError> {
    let row = sqlx::query(
        "SELECT c.number FROM changes c WHERE c.reverts = ? AND c.state IN ('rolling', 'done') \
         ORDER BY c.number DESC LIMIT 1",
    )
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| Reader::new("changes", &row).count("number")).transpose()
}

/// Returns one line on what each change does, from its drafts.
pub(crate) async fn titles(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, String>, DbError> {
    let mut found: BTreeMap<ChangeId, (ObjectKey, bool, u32)> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut query = QueryBuilder::<Any>::new(
        "SELECT d.change_id, d.kind, d.scope, d.name, d.absent FROM change_draft d WHERE d.change_id IN ",
    );
    push_ids(&mut query, ids);
    query.push(" ORDER BY d.change_id, d.position");
    for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
        let r = Reader::new("change_draft", row);
        let id = r.parse("change_id")?;
        if let Some((_, _, count)) = found.get_mut(&id) {
            *count += 1;
            continue;
        }
        let key = ObjectKey { kind: r.parse("kind")?, scope: r.parse("scope")?, name: r.parse("name")? };
        found.insert(id, (key, r.flag("absent")?, 1));
    }
    // Only the nodes that a title names: a large fleet's names are not read for each look at a change.
    let node = |key: &ObjectKey| match &key.scope {
        Scope::Node(id) => NodeId::parse(id.as_str()).ok(),
        _ => None,
    };
    let named: Vec<NodeId> = found.values().filter_map(|(key, ..)| node(key)).collect();
    let names = fleet::names(tx, Some(&named)).await?;
    let title = |(key, is_deleted, count): (ObjectKey, bool, u32)| match count {
        1 => format!("{}{}", if is_deleted { "delete " } else { "" }, host::unmap_key(&key, &names)),
        _ => format!("{count} objects"),
    };
    let mut titles: BTreeMap<ChangeId, String> = found.into_iter().map(|(id, f)| (id, title(f))).collect();
    for (id, nodes) in node_edit::told(tx, ids).await? {
        let nodes = match nodes.as_slice() {
            [one] => format!("node {one}"),
            many => format!("{} nodes", many.len()),
        };
        let whole = titles.remove(&id).map_or_else(|| nodes.clone(), |objects| format!("{objects} and {nodes}"));
        titles.insert(id, whole);
    }
    Ok(titles)
}

pub(crate) async fn set_state(tx: &mut Tx, id: ChangeId, state: ChangeState, at: UnixMs) -> Result<(), DbError> {
    let stamp = match state {
        ChangeState::Rolling => ", applied_ms = updated_ms",
        ChangeState::Done => ", done_ms = updated_ms, applied_ms = COALESCE(applied_ms, updated_ms)",
        _ => "",
    };
    // MySQL assigns from left to right and SQLite all at once, so the stamp is a statement of its own.
    sqlx::query("UPDATE changes SET state = ?, updated_ms = ? WHERE id = ?")
        .bind(state.as_str())
        .bind(at.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    if !state.is_open() {
        forget_nodes(tx, id).await?;
    }
    if !stamp.is_empty() {
        let mut query = QueryBuilder::<Any>::new("UPDATE changes SET updated_ms = updated_ms");
        query.push(stamp).push(" WHERE id = ").push_bind(id.to_string());
        query.build().execute(tx.conn()).await?;
    }
    Ok(())
}

/// Notes that somebody asks to have a change applied that was only looked at.
pub(crate) async fn set_asked(tx: &mut Tx, id: ChangeId) -> Result<(), DbError> {
    sqlx::query("UPDATE changes SET is_look = 0 WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

pub(crate) async fn set_author(tx: &mut Tx, id: ChangeId, approver: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE changes SET approver = ? WHERE id = ?")
        .bind(fleet::bounded(approver, 128))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(crate) async fn put_plan(
    tx: &mut Tx,
    change: ChangeId,
    id: &str,
    plan: &StoredPlan,
    author: &str,
) -> Result<(), DbError> {
    sqlx::query("DELETE FROM plan WHERE change_id = ?").bind(change.to_string()).execute(tx.conn()).await?;
    forget_nodes(tx, change).await?;
    let nodes: Vec<&NodeId> = plan.nodes.keys().collect();
    insert_many(tx, "plan_node", &["change_id", "node"], "", &nodes, |b, node| {
        b.push_bind(change.to_string()).push_bind(node.to_string());
    })
    .await?;
    // Lists show it of many plans, which may be large.
    let outlook = match () {
        () if plan.shown.is_idle => IDLE,
        () if fold::is_blocked(&plan.shown) => BLOCKED,
        () => WAITS,
    };
    sqlx::query("INSERT INTO plan (id, change_id, made_ms, author, outlook, body) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(id)
        .bind(change.to_string())
        .bind(plan.shown.at.0)
        .bind(fleet::bounded(author, 128))
        .bind(outlook)
        .bind(to_json(plan))
        .execute(tx.conn())
        .await?;
    sqlx::query("UPDATE changes SET plan_id = ? WHERE id = ?")
        .bind(id)
        .bind(change.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes away which nodes a plan is about: it holds no more, or is applied.
pub(crate) async fn forget_nodes(tx: &mut Tx, change: ChangeId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM plan_node WHERE change_id = ?").bind(change.to_string()).execute(tx.conn()).await?;
    Ok(())
}

pub(crate) async fn plan(tx: &mut Tx, change: ChangeId) -> Result<Option<(String, StoredPlan)>, DbError> {
    let row = sqlx::query("SELECT p.id, p.body FROM plan p JOIN changes c ON c.plan_id = p.id WHERE c.id = ?")
        .bind(change.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("plan", &row);
        Ok((r.text("id")?, r.json("body")?))
    })
    .transpose()
}

impl ChangeRow {
    pub(crate) fn summary(&self, title: String, progress: Progress, stage: Option<RolloutStage>) -> ChangeSummary {
        ChangeSummary {
            id: self.id,
            number: self.number,
            state: self.state,
            author: self.author.clone(),
            reason: self.reason.clone(),
            title,
            created_at: self.created_at,
            applied_at: self.applied_at,
            done_at: self.done_at,
            // What is applied says something else than before; what only puts back is the node's, as drift that ended.
            cause: Cause::Intentional,
            progress,
            stage,
            superseded: self.superseded.clone(),
            outlook: None,
        }
    }
}

/// Returns which of these changes have a plan that doesn't simply wait to be applied, and why.
pub(crate) async fn outlooks(tx: &mut Tx, ids: &[ChangeId]) -> Result<BTreeMap<ChangeId, PlanOutlook>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in id_chunks(ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT c.id, p.outlook, (SELECT x.node FROM plan_node x WHERE x.change_id = c.id LIMIT 1) AS some_node, \
             (SELECT x.node FROM plan_node x JOIN node n ON n.id = x.node WHERE x.change_id = c.id \
             AND n.revoked_ms IS NULL LIMIT 1) AS some_member FROM changes c JOIN plan p ON p.id = c.plan_id \
             WHERE c.state IN ('planned', 'approved') AND c.id IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("plan", row);
            let outlook = r.maybe_text("outlook")?;
            let is_gone = r.maybe_text("some_node")?.is_some() && r.maybe_text("some_member")?.is_none();
            let outlook = match outlook.as_deref() {
                Some(IDLE) => PlanOutlook::Idle,
                _ if is_gone => PlanOutlook::Gone,
                Some(BLOCKED) => PlanOutlook::Blocked,
                // It was made before that was kept.
                None => PlanOutlook::Unknown,
                _ => continue,
            };
            found.insert(r.parse("id")?, outlook);
        }
    }
    Ok(found)
}

/// Returns the changes whose rollouts somebody's changes put back since a moment, with the reason of those and when; the
/// newest first, at most a hundred.
pub(crate) async fn put_back(tx: &mut Tx, author: &str, since: UnixMs) -> Result<Vec<(u64, String, UnixMs)>, DbError> {
    let rows = sqlx::query(
        "SELECT c.number, b.reason, r.updated_ms FROM rollout r JOIN changes c ON c.id = r.change_id \
         JOIN changes b ON b.reverts = r.change_id AND b.author = ? \
         WHERE r.state = 'reverted' AND r.updated_ms >= ? ORDER BY r.updated_ms DESC LIMIT 100",
    )
    .bind(author.to_owned())
    .bind(since.0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("changes", row);
            Ok((r.count("number")?, r.text("reason")?, r.time("updated_ms")?))
        })
        .collect()
}

/// Takes a change away that only served for looking.
pub(crate) async fn erase(tx: &mut Tx, id: ChangeId) -> Result<(), DbError> {
    let tables = ["change_draft", "change_node_edit", "change_set", "change_schedule", "approval", "plan", "plan_node"];
    for table in tables {
        let mut query = QueryBuilder::<Any>::new(format!("DELETE FROM {table} WHERE change_id = "));
        query.push_bind(id.to_string());
        query.build().execute(tx.conn()).await?;
    }
    sqlx::query("DELETE FROM changes WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

fn change(row: &AnyRow) -> Result<ChangeRow, DbError> {
    let r = Reader::new("changes", row);
    Ok(ChangeRow {
        id: r.parse("id")?,
        number: r.count("number")?,
        state: r.parse("state")?,
        author: r.text("author")?,
        reason: r.text("reason")?,
        request_key: r.maybe_text("request_key")?,
        request_hash: r.maybe_parse("request_hash")?,
        reverts: r.maybe_parse("reverts")?,
        plan_id: r.maybe_text("plan_id")?,
        is_look: r.flag("is_look")?,
        created_at: r.time("created_ms")?,
        applied_at: r.maybe_time("applied_ms")?,
        done_at: r.maybe_time("done_ms")?,
        superseded: match r.maybe_text("superseded_why")? {
            Some(why) => Some(Superseded { by: r.maybe_int("superseded_by")?.map(|n| n as u64), why }),
            None => None,
        },
    })
}

/// Returns the numbers of those changes that are not over.
pub(crate) async fn open(tx: &mut Tx, ids: impl Iterator<Item = ChangeId>) -> Result<BTreeMap<ChangeId, u64>, DbError> {
    let ids: BTreeSet<ChangeId> = ids.collect();
    let mut found = BTreeMap::new();
    for chunk in id_chunks(&ids.into_iter().collect::<Vec<_>>()) {
        let mut query = QueryBuilder::<Any>::new("SELECT c.id, c.number, c.state FROM changes c WHERE c.id IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("changes", row);
            if r.parse::<ChangeState>("state")?.is_open() {
                found.insert(r.parse("id")?, r.count("number")?);
            }
        }
    }
    Ok(found)
}
