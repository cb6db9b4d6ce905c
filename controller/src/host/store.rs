//! The tables of objects and revisions.

use std::{collections::BTreeMap, sync::Arc};

use lampas_api::Page;
use lampas_shared::{
    desired::{Approval, Provenance},
    fleet::{NodeName, Scope},
    id::{ChangeId, NodeId, ObjectId},
    object::{Body, DriftPolicy, Kind, ObjectKey, ObjectName, ObjectSpec},
    source::SourceName,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

mod revision;

pub use revision::{StoredRevision, by_change, in_force_on, newest, revision};
pub(super) use revision::{as_of, deleted, revisions};

use crate::{
    compile::ObjectInput,
    db::{
        DbError, Tx,
        row::{Reader, by_weight, id_chunks, insert_many, push_ids, to_json},
    },
    fleet,
};

const COLUMNS: &str = "o.id, o.kind, o.scope, o.name, o.revision, o.drift, o.body, o.author, o.reason, o.change_id, \
                       o.change_number, o.created_ms, o.updated_ms, \
                       (SELECT a.author FROM approval a WHERE a.change_id = o.change_id AND a.verdict = 'approved') \
                       AS approved_by, (SELECT v.author FROM change_override v WHERE v.change_id = o.change_id \
                       AND v.what = 'protection') AS passed_over_by";

/// An object as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: ObjectId,
    /// What it says; node scopes hold names.
    pub spec: Arc<ObjectSpec>,
    /// Its revision, from 1.
    pub revision: u64,
    /// Who made that.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The change.
    pub change: Option<ChangeId>,
    /// The change's number.
    pub change_number: u64,
    /// Who let that change through.
    pub approval: Approval,
    /// When it was first made.
    pub created_at: UnixMs,
    /// When this revision was made.
    pub updated_at: UnixMs,
}

impl Stored {
    /// Returns it as the compiler sees it.
    pub fn input(&self) -> ObjectInput {
        let provenance = Provenance {
            revision: self.revision,
            author: self.author.clone(),
            at: self.updated_at,
            reason: self.reason.clone(),
            change: self.change_number,
            approval: self.approval.clone(),
        };
        ObjectInput { id: self.id, spec: self.spec.clone(), provenance }
    }
}

/// Which objects are wanted.
#[derive(Debug, Clone, Default)]
pub struct ObjectFilter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this scope.
    pub scope: Option<Scope>,
    /// Part of the name or of what it says.
    pub search: Option<String>,
    /// In this set of manifests.
    pub set: Option<SourceName>,
    /// The kinds of which what they say is searched, besides their names.
    pub said: Vec<Kind>,
}

/// All objects, with the names of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct All {
    /// By id.
    pub objects: BTreeMap<ObjectId, Stored>,
    /// All nodes, the revoked ones too.
    pub names: BTreeMap<NodeId, NodeName>,
}

/// Reads all objects.
pub async fn all(tx: &mut Tx) -> Result<All, DbError> {
    let names = fleet::names(tx, None).await?;
    let query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM object o"));
    let rows = { query }.build().fetch_all(tx.conn()).await?;
    let mut objects = BTreeMap::new();
    for row in &rows {
        let stored = stored(row, &names)?;
        objects.insert(stored.id, stored);
    }
    Ok(All { objects, names })
}

/// Reads one object that stands.
pub async fn get(tx: &mut Tx, id: ObjectId) -> Result<Option<Stored>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM object o WHERE o.id = "));
    query.push_bind(id.to_string());
    one(tx, query).await
}

/// Reads the object with this identity.
pub async fn find(tx: &mut Tx, key: &ObjectKey) -> Result<Option<Stored>, DbError> {
    let Some(scope) = stored_scope(tx, &key.scope).await? else { return Ok(None) };
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM object o WHERE o.kind = "));
    query.push_bind(key.kind.as_str()).push(" AND o.scope = ").push_bind(scope).push(" AND o.name = ");
    query.push_bind(key.name.as_str().to_owned());
    one(tx, query).await
}

/// Returns the id and last revision of a deleted object that had this identity.
pub async fn former(tx: &mut Tx, key: &ObjectKey) -> Result<Option<(ObjectId, u64)>, DbError> {
    let Some(scope) = stored_scope(tx, &key.scope).await? else { return Ok(None) };
    let row = sqlx::query(
        "SELECT r.object, r.revision FROM revision r WHERE r.kind = ? AND r.scope = ? AND r.name = ? AND r.absent = 1 \
         AND NOT EXISTS (SELECT 1 FROM object o WHERE o.id = r.object) \
         AND NOT EXISTS (SELECT 1 FROM revision l WHERE l.object = r.object AND l.revision > r.revision) \
         ORDER BY r.at_ms DESC LIMIT 1",
    )
    .bind(key.kind.as_str())
    .bind(scope)
    .bind(key.name.as_str())
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        let r = Reader::new("revision", &row);
        Ok((r.parse("object")?, r.count("revision")?))
    })
    .transpose()
}

/// Returns a page of objects by name. The cursor is opaque.
pub async fn list(
    tx: &mut Tx,
    filter: &ObjectFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<Stored>, DbError> {
    let names = fleet::names(tx, None).await?;
    let scope = match &filter.scope {
        Some(scope) => match scope_to_store(scope, &names) {
            Some(scope) => Some(scope),
            None => return Ok(Page { items: Vec::new(), next: None, total: Some(0) }),
        },
        None => None,
    };
    let narrow = |query: &mut QueryBuilder<Any>| {
        if let Some(kind) = filter.kind {
            query.push(" AND o.kind = ").push_bind(kind.as_str());
        }
        if let Some(scope) = &scope {
            query.push(" AND o.scope = ").push_bind(scope.clone());
        }
        if let Some(set) = &filter.set {
            query.push(" AND o.id IN (SELECT e.object FROM object_set e WHERE e.name = ");
            query.push_bind(set.as_str().to_owned()).push(")");
        }
        if let Some(search) = filter.search.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
            let mut pattern = String::from("%");
            for c in search.chars().take(200) {
                if matches!(c, '%' | '_' | '!') {
                    pattern.push('!');
                }
                pattern.push(c);
            }
            pattern.push('%');
            query.push(" AND (LOWER(o.name) LIKE ").push_bind(pattern.to_lowercase()).push(" ESCAPE '!'");
            if !filter.said.is_empty() {
                query.push(" OR (o.kind IN (");
                let mut kinds = query.separated(", ");
                for kind in &filter.said {
                    kinds.push_bind(kind.as_str());
                }
                query.push(") AND o.body LIKE ").push_bind(pattern).push(" ESCAPE '!')");
            }
            query.push(")");
        }
    };
    let mut query = QueryBuilder::<Any>::new("SELECT COUNT(*) AS total FROM object o WHERE 1 = 1");
    narrow(&mut query);
    let row = query.build().fetch_one(tx.conn()).await?;
    let total = Reader::new("object", &row).count("total")?;

    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM object o WHERE 1 = 1"));
    narrow(&mut query);
    if let Some((name, id)) = after.and_then(|a| a.rsplit_once('/')) {
        query.push(" AND (o.name > ").push_bind(name.to_owned()).push(" OR (o.name = ").push_bind(name.to_owned());
        query.push(" AND o.id > ").push_bind(id.to_owned()).push("))");
    }
    query.push(" ORDER BY o.name, o.id LIMIT ").push_bind(i64::from(limit) + 1);
    let mut rows = query.build().fetch_all(tx.conn()).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items = rows.iter().map(|r| stored(r, &names)).collect::<Result<Vec<_>, _>>()?;
    let next = items.last().filter(|_| has_more).map(|o| format!("{}/{}", o.spec.name, o.id));
    Ok(Page { items, next, total: Some(total) })
}

/// Returns the objects whose scope is this node.
pub async fn of_node(tx: &mut Tx, node: NodeId) -> Result<Vec<Stored>, DbError> {
    let names = fleet::names(tx, Some(&[node])).await?;
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM object o WHERE o.scope = "));
    query.push_bind(format!("node:{node}"));
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter().map(|r| stored(r, &names)).collect()
}

/// Returns who lets a change through as things stand.
pub(crate) async fn approval_of(tx: &mut Tx, change: ChangeId) -> Result<Approval, DbError> {
    let row = sqlx::query(
        "SELECT (SELECT a.author FROM approval a WHERE a.change_id = c.id AND a.verdict = 'approved') AS approved_by, \
         (SELECT v.author FROM change_override v WHERE v.change_id = c.id AND v.what = 'protection') AS passed_over_by \
         FROM changes c WHERE c.id = ?",
    )
    .bind(change.to_string())
    .fetch_optional(tx.conn())
    .await?;
    row.map_or(Ok(Approval::NotRequired), |row| approval(&Reader::new("approval", &row)))
}

fn approval(r: &Reader<'_>) -> Result<Approval, DbError> {
    Ok(match (r.maybe_text("approved_by")?, r.maybe_text("passed_over_by")?) {
        (_, Some(by)) => Approval::Over(by),
        (Some(by), None) => Approval::By(by),
        (None, None) => Approval::NotRequired,
    })
}

/// A revision to be written.
#[derive(Debug, Clone)]
pub struct RevisionRow {
    /// The object.
    pub object: ObjectId,
    /// Its number: one more than the last.
    pub revision: u64,
    /// What it says; for a deletion what it said last.
    pub spec: Arc<ObjectSpec>,
    /// Whether it is a deletion.
    pub is_deletion: bool,
    /// When the object was first made.
    pub created_at: UnixMs,
}

/// Writes revisions, and the objects as they stand after them.
pub(crate) async fn put(
    tx: &mut Tx,
    rows: &[RevisionRow],
    names: &BTreeMap<NodeId, NodeName>,
    change: (ChangeId, u64),
    author: &str,
    reason: &str,
    at: UnixMs,
) -> Result<(), DbError> {
    let author = fleet::bounded(author, 128);
    let rows: Vec<(&RevisionRow, ObjectSpec)> =
        rows.iter().map(|r| (r, map_nodes(&r.spec, &|n| id_of(n, names)))).collect();
    let gone: Vec<ObjectId> = rows.iter().map(|(r, _)| r.object).collect();
    // Out first, then in: what swaps names within one change never stands in its own way.
    for chunk in id_chunks(&gone) {
        let mut query = QueryBuilder::<Any>::new("DELETE FROM object WHERE id IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let columns = [
        "object",
        "revision",
        "kind",
        "scope",
        "name",
        "absent",
        "drift",
        "body",
        "author",
        "reason",
        "change_id",
        "change_number",
        "at_ms",
    ];
    for rows in by_weight(&rows, |(_, spec)| weight(spec)) {
        insert_many(tx, "revision", &columns, "", rows, |b, (row, spec)| {
            b.push_bind(row.object.to_string())
                .push_bind(row.revision as i64)
                .push_bind(spec.body.kind().as_str())
                .push_bind(spec.scope.to_string())
                .push_bind(spec.name.as_str().to_owned())
                .push_bind(i64::from(row.is_deletion))
                .push_bind(drift_word(spec.drift))
                .push_bind(to_json(&spec.body))
                .push_bind(author.clone())
                .push_bind(reason.to_owned())
                .push_bind(change.0.to_string())
                .push_bind(change.1 as i64)
                .push_bind(at.0);
        })
        .await?;
    }
    let standing: Vec<_> = rows.iter().filter(|(r, _)| !r.is_deletion).collect();
    let columns = [
        "id",
        "kind",
        "scope",
        "name",
        "revision",
        "drift",
        "body",
        "author",
        "reason",
        "change_id",
        "change_number",
        "created_ms",
        "updated_ms",
    ];
    for standing in by_weight(&standing, |(_, spec)| weight(spec)) {
        insert_many(tx, "object", &columns, "", standing, |b, (row, spec)| {
            b.push_bind(row.object.to_string())
                .push_bind(spec.body.kind().as_str())
                .push_bind(spec.scope.to_string())
                .push_bind(spec.name.as_str().to_owned())
                .push_bind(row.revision as i64)
                .push_bind(drift_word(spec.drift))
                .push_bind(to_json(&spec.body))
                .push_bind(author.clone())
                .push_bind(reason.to_owned())
                .push_bind(change.0.to_string())
                .push_bind(change.1 as i64)
                .push_bind(row.created_at.0)
                .push_bind(at.0);
        })
        .await?;
    }
    Ok(())
}

/// About how long an object is in the store.
pub(crate) fn weight(spec: &ObjectSpec) -> usize {
    1000 + match &spec.body {
        Body::Script(script) => script.content.len(),
        Body::File(file) => file.content.len(),
        Body::Sudoers(sudoers) => sudoers.content.len(),
        Body::Var(var) => var.value.len(),
        Body::Secret(_) => 0,
        Body::Cron(job) => job.command.len() + job.environment.values().map(String::len).sum::<usize>(),
        Body::Service(service) => [&service.unit, &service.drop_in].into_iter().flatten().map(String::len).sum(),
        Body::User(user) => user.authorized_keys.iter().flatten().map(|key| key.as_str().len()).sum(),
        Body::Group(group) => group.members.iter().flatten().map(|member| member.as_str().len()).sum(),
        Body::Package(_) => 0,
        Body::AptSource(source) => source.key.len(),
        Body::Hosts(_) | Body::Directory(_) | Body::Link(_) | Body::Sysctl(_) => 0,
    }
}

async fn one(tx: &mut Tx, mut query: QueryBuilder<Any>) -> Result<Option<Stored>, DbError> {
    let Some(row) = query.build().fetch_optional(tx.conn()).await? else { return Ok(None) };
    let names = fleet::names(tx, None).await?;
    stored(&row, &names).map(Some)
}

fn stored(row: &AnyRow, names: &BTreeMap<NodeId, NodeName>) -> Result<Stored, DbError> {
    let r = Reader::new("object", row);
    Ok(Stored {
        id: r.parse("id")?,
        spec: Arc::new(spec(&r, names)?),
        revision: r.count("revision")?,
        author: r.text("author")?,
        reason: r.text("reason")?,
        change: r.maybe_parse("change_id")?,
        change_number: r.count("change_number")?,
        approval: approval(&r)?,
        created_at: r.time("created_ms")?,
        updated_at: r.time("updated_ms")?,
    })
}

pub(crate) fn spec(r: &Reader<'_>, names: &BTreeMap<NodeId, NodeName>) -> Result<ObjectSpec, DbError> {
    let stored = ObjectSpec {
        name: r.parse::<ObjectName>("name")?,
        scope: r.parse("scope")?,
        drift: parse_drift(&r.text("drift")?).ok_or_else(|| r.wrong("drift", "is not a policy"))?,
        body: r.json::<Body>("body")?,
    };
    // A node that is gone keeps its id as its name: old revisions still read.
    Ok(map_nodes(&stored, &|name| NodeId::parse(name.as_str()).ok().and_then(|id| names.get(&id).cloned())))
}

/// Returns the spec with the nodes in it named otherwise, where `f` knows them.
pub(crate) fn map_nodes(spec: &ObjectSpec, f: &dyn Fn(&NodeName) -> Option<NodeName>) -> ObjectSpec {
    let map = |scope: &Scope| match scope {
        Scope::Node(name) => Scope::Node(f(name).unwrap_or_else(|| name.clone())),
        other => other.clone(),
    };
    let mut spec = spec.clone();
    spec.scope = map(&spec.scope);
    if let Body::Hosts(entry) = &mut spec.body
        && let Some(nodes) = &entry.nodes
    {
        entry.nodes = Some(map(nodes));
    }
    spec
}

/// Returns an identity as it is stored.
pub(crate) fn map_key(key: &ObjectKey, names: &BTreeMap<NodeId, NodeName>) -> ObjectKey {
    let scope = match &key.scope {
        Scope::Node(name) => Scope::Node(id_of(name, names).unwrap_or_else(|| name.clone())),
        other => other.clone(),
    };
    ObjectKey { scope, ..key.clone() }
}

/// Returns a stored identity as people write it.
pub(crate) fn unmap_key(key: &ObjectKey, names: &BTreeMap<NodeId, NodeName>) -> ObjectKey {
    let name_of = |id: &NodeName| names.get(&NodeId::parse(id.as_str()).ok()?).cloned();
    let scope = match &key.scope {
        Scope::Node(id) => Scope::Node(name_of(id).unwrap_or_else(|| id.clone())),
        other => other.clone(),
    };
    ObjectKey { scope, ..key.clone() }
}

/// Returns a node's id, written as a name.
pub(crate) fn id_of(name: &NodeName, names: &BTreeMap<NodeId, NodeName>) -> Option<NodeName> {
    let (id, _) = names.iter().find(|(_, n)| *n == name)?;
    NodeName::parse(id.to_string()).ok()
}

fn scope_to_store(scope: &Scope, names: &BTreeMap<NodeId, NodeName>) -> Option<String> {
    match scope {
        Scope::Node(name) => id_of(name, names).map(|id| format!("node:{id}")),
        other => Some(other.to_string()),
    }
}

/// Returns a scope as it is stored; nothing for a node that isn't there.
pub(crate) async fn stored_scope(tx: &mut Tx, scope: &Scope) -> Result<Option<String>, DbError> {
    match scope {
        Scope::Node(name) => Ok(fleet::id_of(tx, name).await?.map(|id| format!("node:{id}"))),
        other => Ok(Some(other.to_string())),
    }
}

pub(crate) fn drift_word(policy: DriftPolicy) -> &'static str {
    match policy {
        DriftPolicy::Hold => "hold",
        DriftPolicy::Report => "report",
        DriftPolicy::Repair => "repair",
    }
}

pub(crate) fn parse_drift(text: &str) -> Option<DriftPolicy> {
    [DriftPolicy::Hold, DriftPolicy::Report, DriftPolicy::Repair].into_iter().find(|p| drift_word(*p) == text)
}
