//! Revisions: what objects said, each as it stands for ever.

use lampas_api::{Page, Revision};
use lampas_shared::{
    desired::Approval,
    fleet::Scope,
    id::{ChangeId, NodeId, ObjectId},
    object::{Kind, ObjectSpec},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{approval, spec, stored_scope};
use crate::{
    db::{DbError, Tx, row::Reader},
    fleet,
};

/// A revision as it stands for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRevision {
    /// The object.
    pub object: ObjectId,
    /// Its number, from 1.
    pub revision: u64,
    /// What the object said; for a deletion what it said last.
    pub spec: ObjectSpec,
    /// Whether it is a deletion.
    pub is_deletion: bool,
    /// Who made it.
    pub author: String,
    /// When.
    pub at: UnixMs,
    /// Why.
    pub reason: String,
    /// The change's number.
    pub change_number: u64,
    /// Who let that change through.
    pub approval: Approval,
}

impl StoredRevision {
    /// Returns it as the API shows it, with or without the spec.
    pub fn shown(self, with_spec: bool) -> Revision {
        Revision {
            revision: self.revision,
            author: self.author,
            at: self.at,
            reason: self.reason,
            change: self.change_number,
            is_deletion: self.is_deletion,
            spec: (with_spec && !self.is_deletion).then_some(self.spec),
        }
    }
}

/// How many revisions are read at once: each holds all that it says.
const READ_AT_ONCE: i64 = 32;

/// Returns what an object's revisions before one tell, newest first, without what they say.
pub(in crate::host) async fn revisions(
    tx: &mut Tx,
    id: ObjectId,
    before: u64,
    limit: u32,
) -> Result<Page<Revision>, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS total FROM revision r WHERE r.object = ?").bind(id.to_string());
    let total = Reader::new("revision", &row.fetch_one(tx.conn()).await?).count("total")?;
    let mut items: Vec<Revision> = Vec::new();
    let mut before = i64::try_from(before).unwrap_or(i64::MAX);
    while items.len() <= limit as usize {
        let mut query = revision_query();
        query.push("r.object = ").push_bind(id.to_string()).push(" AND r.revision < ").push_bind(before);
        query.push(" ORDER BY r.revision DESC LIMIT ").push_bind(READ_AT_ONCE);
        let rows = revision_rows(tx, query).await?;
        let Some(oldest) = rows.last() else { break };
        before = oldest.revision as i64;
        items.extend(rows.into_iter().map(|r| r.shown(false)));
    }
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| has_more).map(|r| r.revision.to_string());
    Ok(Page { items, next, total: Some(total) })
}

/// Returns an object's newest revision, and when its first was made.
pub async fn newest(tx: &mut Tx, id: ObjectId) -> Result<Option<(StoredRevision, UnixMs)>, DbError> {
    let mut query = revision_query();
    query.push("r.object = ").push_bind(id.to_string()).push(" ORDER BY r.revision DESC LIMIT 1");
    let Some(newest) = revision_rows(tx, query).await?.pop() else { return Ok(None) };
    let row = sqlx::query("SELECT MIN(r.at_ms) AS at_ms FROM revision r WHERE r.object = ?").bind(id.to_string());
    let first = Reader::new("revision", &row.fetch_one(tx.conn()).await?).time("at_ms")?;
    Ok(Some((newest, first)))
}

/// Returns the last revisions of objects that stand no more, those deleted last first. The cursor is opaque.
pub(in crate::host) async fn deleted(
    tx: &mut Tx,
    (kind, scope, name): (Option<Kind>, Option<&Scope>, Option<&str>),
    after: Option<(UnixMs, ObjectId)>,
    limit: u32,
) -> Result<Page<StoredRevision>, DbError> {
    let mut query = revision_query();
    query.push(
        "r.absent = 1 AND NOT EXISTS (SELECT 1 FROM object o WHERE o.id = r.object) \
         AND NOT EXISTS (SELECT 1 FROM revision l WHERE l.object = r.object AND l.revision > r.revision)",
    );
    if let Some(kind) = kind {
        query.push(" AND r.kind = ").push_bind(kind.as_str());
    }
    if let Some(scope) = scope {
        let Some(scope) = stored_scope(tx, scope).await? else {
            return Ok(Page { items: Vec::new(), next: None, total: None });
        };
        query.push(" AND r.scope = ").push_bind(scope);
    }
    if let Some(name) = name {
        query.push(" AND r.name = ").push_bind(name.to_owned());
    }
    if let Some((at, id)) = after {
        query.push(" AND (r.at_ms < ").push_bind(at.0).push(" OR (r.at_ms = ").push_bind(at.0);
        query.push(" AND r.object > ").push_bind(id.to_string()).push("))");
    }
    query.push(" ORDER BY r.at_ms DESC, r.object LIMIT ").push_bind(i64::from(limit) + 1);
    let mut items = revision_rows(tx, query).await?;
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| has_more).map(|r| format!("{}/{}", r.at.0, r.object));
    Ok(Page { items, next, total: None })
}

/// Returns one revision of an object.
pub async fn revision(tx: &mut Tx, id: ObjectId, number: u64) -> Result<Option<StoredRevision>, DbError> {
    let mut query = revision_query();
    query.push("r.object = ").push_bind(id.to_string()).push(" AND r.revision = ").push_bind(number as i64);
    Ok(revision_rows(tx, query).await?.pop())
}

/// Returns what an object said on a node at a moment: the newest revision of then that nothing says was not in force there
/// yet, as in a later wave, beyond a limit, or while the node was away. One too old costs a merge nothing but a conflict.
pub async fn in_force_on(
    tx: &mut Tx,
    id: ObjectId,
    node: NodeId,
    at: UnixMs,
) -> Result<Option<StoredRevision>, DbError> {
    let mut query = revision_query();
    query.push("r.object = ").push_bind(id.to_string()).push(" AND r.at_ms <= ").push_bind(at.0);
    query.push(
        " AND (r.revision = 1 OR NOT EXISTS (SELECT 1 FROM change_node p WHERE p.change_id = r.change_id AND p.node = ",
    );
    query.push_bind(node.to_string()).push(" AND p.state <> 'converged')) ORDER BY r.revision DESC LIMIT 1");
    Ok(revision_rows(tx, query).await?.pop().filter(|r| !r.is_deletion))
}

/// Returns the revisions that a change made.
pub async fn by_change(tx: &mut Tx, change: ChangeId) -> Result<Vec<StoredRevision>, DbError> {
    let mut query = revision_query();
    query.push("r.change_id = ").push_bind(change.to_string()).push(" ORDER BY r.object, r.revision");
    revision_rows(tx, query).await
}

/// Returns what stood at a moment: of each object the newest revision up to then, the deletions too.
pub(in crate::host) async fn as_of(tx: &mut Tx, at: UnixMs) -> Result<Vec<StoredRevision>, DbError> {
    let mut query = revision_query();
    query.push("r.revision = (SELECT MAX(l.revision) FROM revision l WHERE l.object = r.object AND l.at_ms <= ");
    query.push_bind(at.0).push(")");
    revision_rows(tx, query).await
}

fn revision_query() -> QueryBuilder<Any> {
    QueryBuilder::new(
        "SELECT r.object, r.revision, r.kind, r.scope, r.name, r.absent, r.drift, r.body, r.author, r.reason, \
         r.change_number, r.at_ms, \
         (SELECT a.author FROM approval a WHERE a.change_id = r.change_id AND a.verdict = 'approved') AS approved_by, \
         (SELECT v.author FROM change_override v WHERE v.change_id = r.change_id AND v.what = 'protection') \
         AS passed_over_by FROM revision r WHERE ",
    )
}

async fn revision_rows(tx: &mut Tx, mut query: QueryBuilder<Any>) -> Result<Vec<StoredRevision>, DbError> {
    let names = fleet::names(tx, None).await?;
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("revision", row);
            Ok(StoredRevision {
                object: r.parse("object")?,
                revision: r.count("revision")?,
                spec: spec(&r, &names)?,
                is_deletion: r.flag("absent")?,
                author: r.text("author")?,
                at: r.time("at_ms")?,
                reason: r.text("reason")?,
                change_number: r.count("change_number")?,
                approval: approval(&r)?,
            })
        })
        .collect()
}
