//! The tables of sources and of what their manifests say.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{HostKey, SourceCommit, SourceCounts, SourceProblem};
use lampas_shared::{
    access::Permission,
    fleet::{NodeName, Scope},
    id::{ChangeId, NodeId, SourceId, UserId},
    object::{Body, Kind, ObjectKey, ObjectName, ObjectSpec},
    rollout::Strategy,
    source::{GitFolder, GitName, SourceMode, SourceName, SourceState, SourceUrl},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use sqlx::{Any, AssertSqlSafe, QueryBuilder, any::AnyRow};

use super::compare::{Mark, Want, Word};
use crate::{
    db::{
        DbError, Tx,
        row::{Reader, by_weight, insert_many, to_json},
    },
    fleet, host,
};

/// How a source is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) url: SourceUrl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) branch: Option<GitName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<GitName>,
    pub(super) folder: GitFolder,
    pub(super) mode: SourceMode,
    pub(super) prune: bool,
    pub(super) interval_secs: u32,
    pub(super) allow_unplanned: bool,
    pub(super) rollout: Strategy,
    pub(super) host_keys: Vec<String>,
    pub(super) allowed_signers: String,
    /// Whom the token belongs to, of https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// The login of whoever set it up.
    pub(super) owner: String,
}

/// What is known of a source beside how it is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) why: String,
    pub(super) commit: Option<SourceCommit>,
    pub(super) refused: Option<SourceCommit>,
    /// A head that somebody accepted although it doesn't follow on the one before.
    pub(super) pardoned: Option<String>,
    pub(super) synced_at: Option<UnixMs>,
    /// When the repository is asked again.
    pub(super) fetch_at: Option<UnixMs>,
    pub(super) problem: Option<SourceProblem>,
    pub(super) offered_keys: Vec<HostKey>,
    pub(super) counts: SourceCounts,
    pub(super) notes: Vec<String>,
    /// How many changes it had that are over: the same drafts are another change afterwards.
    pub(super) round: u64,
    /// When the nodes were asked last for a plan of the open change.
    pub(super) planned_at: Option<UnixMs>,
}

/// A source as it stands.
#[derive(Debug, Clone)]
pub(super) struct SourceRow {
    pub(super) id: SourceId,
    pub(super) name: SourceName,
    pub(super) scope: Scope,
    pub(super) settings: Settings,
    pub(super) sealed: Option<String>,
    pub(super) user: UserId,
    /// What whoever set it up might do in the scope.
    pub(super) permissions: BTreeSet<Permission>,
    pub(super) revision: u64,
    pub(super) created_at: UnixMs,
    pub(super) updated_at: UnixMs,
    pub(super) state: SourceState,
    pub(super) status: Status,
    pub(super) commit: Option<String>,
    pub(super) change: Option<ChangeId>,
    pub(super) draft_key: Option<String>,
    pub(super) due: UnixMs,
    pub(super) claim: Option<(String, UnixMs)>,
}

const COLUMNS: &str = "s.id, s.name, s.scope, s.settings, s.sealed, s.user_id, s.permissions, s.revision, s.created_ms, \
                       s.updated_ms, s.state, s.status, s.commit_id, s.change_id, s.draft_key, s.due_ms, s.claim, s.claim_ms";

/// The names of nodes, which stand in the store by their ids.
type Names = BTreeMap<NodeId, NodeName>;

fn source(row: &AnyRow, names: &Names) -> Result<SourceRow, DbError> {
    let r = Reader::new("source", row);
    let claim = r.maybe_text("claim")?.zip(r.maybe_time("claim_ms")?);
    Ok(SourceRow {
        id: r.parse("id")?,
        name: r.parse("name")?,
        scope: shown(r.parse("scope")?, names),
        settings: r.json("settings")?,
        sealed: r.maybe_text("sealed")?,
        user: r.parse("user_id")?,
        permissions: r.json("permissions")?,
        revision: r.count("revision")?,
        created_at: r.time("created_ms")?,
        updated_at: r.time("updated_ms")?,
        state: r.parse("state")?,
        status: r.json("status")?,
        commit: r.maybe_text("commit_id")?,
        change: r.maybe_parse("change_id")?,
        draft_key: r.maybe_text("draft_key")?,
        due: r.time("due_ms")?,
        claim,
    })
}

fn shown(scope: Scope, names: &Names) -> Scope {
    match &scope {
        Scope::Node(id) => {
            NodeId::parse(id.as_str()).ok().and_then(|id| names.get(&id)).cloned().map_or(scope, Scope::Node)
        }
        _ => scope,
    }
}

fn stored(scope: &Scope, names: &Names) -> String {
    match scope {
        Scope::Node(name) => format!("node:{}", host::id_of(name, names).as_ref().unwrap_or(name)),
        other => other.to_string(),
    }
}

/// Returns all sources by name.
pub(super) async fn all(tx: &mut Tx, names: &Names) -> Result<Vec<SourceRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM source s ORDER BY s.name LIMIT 1000");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| source(row, names)).collect()
}

/// Returns a source by its id.
pub(super) async fn get(tx: &mut Tx, id: SourceId, names: &Names) -> Result<Option<SourceRow>, DbError> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT {COLUMNS} FROM source s WHERE s.id = ?{lock}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(|row| source(row, names)).transpose()
}

/// Returns a source by its name, or by its id.
pub(super) async fn find(tx: &mut Tx, which: &str, names: &Names) -> Result<Option<SourceRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM source s WHERE s.name = ? OR s.id = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(which).bind(which).fetch_optional(tx.conn()).await?;
    row.as_ref().map(|row| source(row, names)).transpose()
}

/// Returns the sources that are to be looked at, and whom nobody looks at.
pub(super) async fn due(tx: &mut Tx, now: UnixMs) -> Result<Vec<SourceId>, DbError> {
    let rows = sqlx::query(
        "SELECT s.id FROM source s WHERE s.due_ms <= ? AND (s.claim IS NULL OR s.claim_ms < ?) ORDER BY s.due_ms LIMIT 100",
    )
    .bind(now.0)
    .bind(now.0)
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("source", row).parse("id")).collect()
}

/// Stores a source that is new, or set up anew.
pub(super) async fn put(tx: &mut Tx, row: &SourceRow, names: &Names, is_new: bool) -> Result<(), DbError> {
    let sql = if is_new {
        "INSERT INTO source (name, scope, settings, sealed, user_id, permissions, revision, created_ms, updated_ms, state, \
         status, commit_id, change_id, draft_key, due_ms, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    } else {
        "UPDATE source SET name = ?, scope = ?, settings = ?, sealed = ?, user_id = ?, permissions = ?, revision = ?, \
         created_ms = ?, updated_ms = ?, state = ?, status = ?, commit_id = ?, change_id = ?, draft_key = ?, due_ms = ? \
         WHERE id = ?"
    };
    sqlx::query(sql)
        .bind(row.name.as_str())
        .bind(stored(&row.scope, names))
        .bind(to_json(&row.settings))
        .bind(row.sealed.clone())
        .bind(row.user.to_string())
        .bind(to_json(&row.permissions))
        .bind(row.revision as i64)
        .bind(row.created_at.0)
        .bind(row.updated_at.0)
        .bind(row.state.as_str())
        .bind(to_json(&row.status))
        .bind(row.commit.clone())
        .bind(row.change.map(|c| c.to_string()))
        .bind(row.draft_key.clone())
        .bind(row.due.0)
        .bind(row.id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets a source with all that it said.
pub(super) async fn delete(tx: &mut Tx, id: SourceId) -> Result<(), DbError> {
    for sql in ["DELETE FROM source_object WHERE source = ?", "DELETE FROM source WHERE id = ?"] {
        sqlx::query(sql).bind(id.to_string()).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Takes the right to look at a source, unless somebody has it.
pub(super) async fn claim(
    tx: &mut Tx,
    id: SourceId,
    claim: &str,
    (now, until): (UnixMs, UnixMs),
) -> Result<bool, DbError> {
    let taken = sqlx::query(
        "UPDATE source SET claim = ?, claim_ms = ? WHERE id = ? AND (claim IS NULL OR claim_ms < ? OR claim = ?)",
    )
    .bind(claim)
    .bind(until.0)
    .bind(id.to_string())
    .bind(now.0)
    .bind(claim)
    .execute(tx.conn())
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives the right back, and says when it is looked at next, unless somebody asked for a look meanwhile.
pub(super) async fn release(tx: &mut Tx, row: &SourceRow, claim: &str, due: UnixMs) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE source SET claim = NULL, claim_ms = NULL, due_ms = CASE WHEN due_ms = ? AND revision = ? THEN ? ELSE due_ms \
         END WHERE id = ? AND claim = ?",
    )
    .bind(row.due.0)
    .bind(row.revision as i64)
    .bind(due.0)
    .bind(row.id.to_string())
    .bind(claim)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Drops what an earlier process of this controller had taken.
pub(super) async fn forget_claims(tx: &mut Tx, of: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE source SET claim = NULL, claim_ms = NULL WHERE claim LIKE ?")
        .bind(format!("{of}/%"))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Stores how a source stands, if it is still set up as it was read and this one may look at it.
pub(super) async fn save(tx: &mut Tx, row: &SourceRow, claim: &str) -> Result<bool, DbError> {
    let saved = sqlx::query(
        "UPDATE source SET state = ?, status = ?, commit_id = ?, change_id = ?, draft_key = ? WHERE id = ? AND revision = ? \
         AND claim = ?",
    )
    .bind(row.state.as_str())
    .bind(to_json(&row.status))
    .bind(row.commit.clone())
    .bind(row.change.map(|c| c.to_string()))
    .bind(row.draft_key.clone())
    .bind(row.id.to_string())
    .bind(row.revision as i64)
    .bind(claim)
    .execute(tx.conn())
    .await?;
    // MariaDB counts rows that changed: the same status twice changes none.
    if saved.rows_affected() == 1 {
        return Ok(true);
    }
    let held = sqlx::query("SELECT s.id FROM source s WHERE s.id = ? AND s.revision = ? AND s.claim = ?")
        .bind(row.id.to_string())
        .bind(row.revision as i64)
        .bind(claim)
        .fetch_optional(tx.conn())
        .await?;
    Ok(held.is_some())
}

/// Asks for a look now: another number than before, so that a look that is under way doesn't count as this one.
pub(super) async fn ask(tx: &mut Tx, id: SourceId) -> Result<(), DbError> {
    sqlx::query("UPDATE source SET due_ms = CASE WHEN due_ms <= 0 THEN due_ms - 1 ELSE 0 END WHERE id = ?")
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Marks all that a source says as still to be brought.
pub(super) async fn mark_all(tx: &mut Tx, id: SourceId) -> Result<(), DbError> {
    sqlx::query("UPDATE source_object SET pending = 1 WHERE source = ? AND pending = 0")
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

const WORD: &str = "w.source, w.kind, w.scope, w.name, w.wanted, w.drift, w.body, w.previous_name, w.path, w.line, w.pending, \
                    w.brought";

fn word(row: &AnyRow, names: &Names) -> Result<Word, DbError> {
    let r = Reader::new("source_object", row);
    let want = match r.text("wanted")?.as_str() {
        "present" => Want::Present(Box::new(host::spec(&r, names)?)),
        "absent" => Want::Absent,
        "gone" => Want::Gone,
        _ => return Err(r.wrong("wanted", "is none of present, absent and gone")),
    };
    let mark = match r.int("pending")? {
        0 => Mark::Done,
        1 => Mark::Pending,
        2 => Mark::Under,
        _ => return Err(r.wrong("pending", "is no mark")),
    };
    let key = ObjectKey { kind: r.parse::<Kind>("kind")?, scope: r.parse("scope")?, name: r.parse("name")? };
    Ok(Word {
        key: host::unmap_key(&key, names),
        want,
        previous_name: r.maybe_parse::<ObjectName>("previous_name")?,
        file: r.text("path")?,
        line: u32::try_from(r.count("line")?).unwrap_or(u32::MAX),
        mark,
        brought: r.flag("brought")?,
    })
}

/// Returns what a source says, by object.
pub(super) async fn words(tx: &mut Tx, id: SourceId, names: &Names) -> Result<Vec<Word>, DbError> {
    let sql = format!("SELECT {WORD} FROM source_object w WHERE w.source = ? ORDER BY w.kind, w.scope, w.name");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| word(row, names)).collect()
}

/// Returns what sources say of one object.
pub(super) async fn of_object(tx: &mut Tx, key: &ObjectKey, names: &Names) -> Result<Vec<(SourceId, Word)>, DbError> {
    let key = host::map_key(key, names);
    let sql = format!("SELECT {WORD} FROM source_object w WHERE w.kind = ? AND w.scope = ? AND w.name = ?");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(key.kind.as_str())
        .bind(key.scope.to_string())
        .bind(key.name.as_str().to_owned())
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Ok((Reader::new("source_object", row).parse("source")?, word(row, names)?))).collect()
}

/// Returns the objects that sources bring, as they were read last, each with the source's name.
pub(crate) async fn brought(tx: &mut Tx) -> Result<BTreeMap<ObjectKey, SourceName>, DbError> {
    let rows = sqlx::query(
        "SELECT w.kind, w.scope, w.name, s.name AS source_name, s.settings FROM source_object w \
         JOIN source s ON s.id = w.source WHERE w.wanted = 'present'",
    )
    .fetch_all(tx.conn())
    .await?;
    let names = if rows.is_empty() { Names::new() } else { fleet::names(tx, None).await? };
    let mut found = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("source_object", row);
        let settings: Settings = r.json("settings")?;
        if settings.mode != SourceMode::Watch {
            let scope = shown(r.parse("scope")?, &names);
            found.insert(ObjectKey { kind: r.parse("kind")?, scope, name: r.parse("name")? }, r.parse("source_name")?);
        }
    }
    Ok(found)
}

/// Returns whether there is a source of this name.
pub(crate) async fn is_there(tx: &mut Tx, name: &SourceName) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT s.id FROM source s WHERE s.name = ?").bind(name.as_str());
    Ok(row.fetch_optional(tx.conn()).await?.is_some())
}

/// Returns objects that another source that brings something speaks of too: the first few, each with that source's name.
pub(super) async fn claimed_elsewhere(
    tx: &mut Tx,
    id: SourceId,
) -> Result<Vec<(ObjectKey, SourceName, SourceMode)>, DbError> {
    let rows = sqlx::query(
        "SELECT w.kind, w.scope, w.name, s.name AS source_name, s.settings FROM source_object w JOIN source_object o ON \
         o.kind = w.kind AND o.scope = w.scope AND o.name = w.name AND o.source <> w.source JOIN source s ON s.id = o.source \
         WHERE w.source = ? AND w.wanted = 'present' AND o.wanted = 'present' LIMIT 100",
    )
    .bind(id.to_string())
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("source_object", row);
            let key = ObjectKey { kind: r.parse("kind")?, scope: r.parse("scope")?, name: r.parse("name")? };
            let settings: Settings = r.json("settings")?;
            Ok((key, r.parse("source_name")?, settings.mode))
        })
        .collect()
}

/// Stores what a source says, in place of what stood there.
pub(super) async fn put_words(tx: &mut Tx, id: SourceId, words: &[Word], names: &Names) -> Result<(), DbError> {
    sqlx::query("DELETE FROM source_object WHERE source = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let rows: Vec<(&Word, Option<ObjectSpec>)> = words
        .iter()
        .map(|w| match &w.want {
            Want::Present(spec) => (w, Some(host::map_nodes(spec, &|n| host::id_of(n, names)))),
            Want::Absent | Want::Gone => (w, None),
        })
        .collect();
    let columns = [
        "source",
        "kind",
        "scope",
        "name",
        "wanted",
        "drift",
        "body",
        "previous_name",
        "path",
        "line",
        "pending",
        "brought",
    ];
    let body = |spec: Option<&ObjectSpec>| spec.map_or_else(|| "null".to_owned(), |s| to_json::<Body>(&s.body));
    for rows in by_weight(&rows, |(_, spec)| spec.as_ref().map_or(200, host::weight)) {
        insert_many(tx, "source_object", &columns, "", rows, |b, (word, spec)| {
            let key = host::map_key(&word.key, names);
            b.push_bind(id.to_string())
                .push_bind(key.kind.as_str())
                .push_bind(key.scope.to_string())
                .push_bind(key.name.as_str().to_owned())
                .push_bind(match word.want {
                    Want::Present(_) => "present",
                    Want::Absent => "absent",
                    Want::Gone => "gone",
                })
                .push_bind(host::drift_word(spec.as_ref().map(|s| s.drift).unwrap_or_default()))
                .push_bind(body(spec.as_ref()))
                .push_bind(word.previous_name.as_ref().map(|n| n.as_str().to_owned()))
                .push_bind(word.file.clone())
                .push_bind(i64::from(word.line))
                .push_bind(match word.mark {
                    Mark::Done => 0_i64,
                    Mark::Pending => 1,
                    Mark::Under => 2,
                })
                .push_bind(i64::from(word.brought));
        })
        .await?;
    }
    Ok(())
}

/// A statement that takes a mark back.
pub(super) async fn unmark(tx: &mut Tx, id: SourceId, from: Mark, to: Mark) -> Result<(), DbError> {
    let number = |mark| match mark {
        Mark::Done => 0_i64,
        Mark::Pending => 1,
        Mark::Under => 2,
    };
    let mut query = QueryBuilder::<Any>::new("UPDATE source_object SET pending = ");
    query.push_bind(number(to)).push(" WHERE source = ").push_bind(id.to_string());
    query.push(" AND pending = ").push_bind(number(from));
    query.build().execute(tx.conn()).await?;
    Ok(())
}
