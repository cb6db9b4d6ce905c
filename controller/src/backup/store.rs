//! Every table as rows that both databases read, and back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::{
    Any, AssertSqlSafe, Column as _, QueryBuilder, Row as _, ValueRef as _,
    any::{AnyRow, AnyTypeInfoKind},
};

use super::{BackupError, Line};
use crate::db::{DbError, Dialect, Tx, row::Reader};

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Cell {
    /// Nothing.
    Null(()),
    /// A number.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes {
        /// In base64.
        base64: String,
    },
}

/// Tables that say who is connected or signed in now: not worth keeping, and wrong after a restore.
const PASSING: [&str; 3] = ["session", "node_session", "device_request"];

/// Hands every row of every table on, in the order of the tables' names.
pub(super) async fn dump(
    tx: &mut Tx,
    to: &mut (dyn FnMut(Line) -> Result<(), BackupError> + Send),
) -> Result<u64, BackupError> {
    let mut count = 0;
    for table in tables(tx).await? {
        let columns = columns(tx, &table).await?;
        let sql = format!("SELECT {} FROM {table}", columns.join(", "));
        to(Line::Table { name: table, columns })?;
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(tx.conn());
        while let Some(row) = rows.try_next().await.map_err(DbError::from)? {
            to(Line::Row(cells(&row)?))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Writes the rows of a backup.
pub(super) async fn load(
    tx: &mut Tx,
    next: &mut (dyn FnMut() -> Result<Option<Line>, BackupError> + Send),
) -> Result<(), BackupError> {
    let known = tables(tx).await?;
    let mut into: Option<(String, usize)> = None;
    while let Some(line) = next()? {
        match line {
            Line::Table { name, columns } => {
                if !known.contains(&name) {
                    return Err(BackupError::Content(format!("a table {name} that this version doesn't know")));
                }
                let ours = self::columns(tx, &name).await?;
                if let Some(column) = columns.iter().find(|c| !ours.contains(c)) {
                    return Err(BackupError::Content(format!(
                        "a column {name}.{column} that this version doesn't know"
                    )));
                }
                into = Some((format!("INSERT INTO {name} ({}) VALUES (", columns.join(", ")), columns.len()));
            }
            Line::Row(cells) => {
                let (head, width) =
                    into.as_ref().ok_or_else(|| BackupError::Content("a row before its table".into()))?;
                if cells.len() != *width {
                    return Err(BackupError::Content("a row that is longer or shorter than its table".into()));
                }
                insert(tx, head, cells).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn insert(tx: &mut Tx, head: &str, cells: Vec<Cell>) -> Result<(), BackupError> {
    let mut query = QueryBuilder::<Any>::new(head);
    let mut list = query.separated(", ");
    for cell in cells {
        match cell {
            Cell::Null(()) => drop(list.push("NULL")),
            Cell::Int(value) => drop(list.push_bind(value)),
            Cell::Real(value) => drop(list.push_bind(value)),
            Cell::Text(value) => drop(list.push_bind(value)),
            Cell::Bytes { base64 } => {
                let bytes = STANDARD.decode(base64).map_err(|e| BackupError::Content(e.to_string()))?;
                list.push_bind(bytes);
            }
        }
    }
    query.push(")");
    query.build().execute(tx.conn()).await.map_err(DbError::from)?;
    Ok(())
}

/// Returns whether nothing of a fleet is in the store.
pub(super) async fn is_empty(tx: &mut Tx) -> Result<bool, DbError> {
    for table in ["user_account", "node", "object", "changes"] {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(tx.conn()).await?;
        if Reader::new("counts", &row).count("n")? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Empties what opening a store put into it.
pub(super) async fn clear(tx: &mut Tx) -> Result<(), DbError> {
    for table in tables(tx).await? {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Opens the next epoch: what each node shall be becomes newer than anything that an agent can hold. Returns it.
///
/// It is the time in seconds, not only the next number: when one backup is restored twice, the second restore must
/// be newer than what the first one handed out.
pub(super) async fn next_epoch(tx: &mut Tx) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'epoch'").fetch_optional(tx.conn()).await?;
    let before: u64 = row.map_or(Ok(1), |r| Reader::new("meta", &r).parse("value"))?;
    let epoch = (before + 1).max((lampas_runtime::clock::now().0 / 1000).unsigned_abs());
    sqlx::query("DELETE FROM meta WHERE name = 'epoch'").execute(tx.conn()).await?;
    sqlx::query("INSERT INTO meta (name, value) VALUES ('epoch', ?)")
        .bind(epoch.to_string())
        .execute(tx.conn())
        .await?;
    // A change that was under way goes on with the new numbers; one that was in force somewhere has nothing more to learn.
    sqlx::query(
        "UPDATE change_node SET epoch = ? WHERE state IN ('waiting', 'applying') AND EXISTS (SELECT 1 FROM node_config g \
         WHERE g.node = change_node.node AND g.change_id = change_node.change_id AND g.epoch = change_node.epoch \
         AND g.counter = change_node.counter)",
    )
    .bind(epoch as i64)
    .execute(tx.conn())
    .await?;
    // Who was given a value after the backup is not in it: a purge goes to all nodes.
    sqlx::query("UPDATE secret_value SET is_tracked = 0 WHERE purged_ms IS NULL").execute(tx.conn()).await?;
    sqlx::query("UPDATE node_config SET epoch = ?").bind(epoch as i64).execute(tx.conn()).await?;
    sqlx::query("UPDATE node SET state = 'offline'").execute(tx.conn()).await?;
    Ok(epoch)
}

async fn tables(tx: &mut Tx) -> Result<Vec<String>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT m.name AS name FROM sqlite_master m WHERE m.type = 'table' ORDER BY m.name",
        Dialect::MySql => {
            "SELECT CAST(t.table_name AS CHAR) AS name FROM information_schema.tables t \
             WHERE t.table_schema = DATABASE() ORDER BY t.table_name"
        }
    };
    let rows = sqlx::query(sql).fetch_all(tx.conn()).await?;
    let names: Result<Vec<String>, _> = rows.iter().map(|r| Reader::new("tables", r).text("name")).collect();
    let is_ours = |n: &String| !n.starts_with("_sqlx") && !n.starts_with("sqlite_") && !PASSING.contains(&n.as_str());
    Ok(names?.into_iter().filter(is_ours).collect())
}

async fn columns(tx: &mut Tx, table: &str) -> Result<Vec<String>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT p.name AS name FROM pragma_table_info(?) p ORDER BY p.cid",
        Dialect::MySql => {
            "SELECT CAST(c.column_name AS CHAR) AS name FROM information_schema.columns c \
             WHERE c.table_schema = DATABASE() AND c.table_name = ? ORDER BY c.ordinal_position"
        }
    };
    let rows = sqlx::query(sql).bind(table).fetch_all(tx.conn()).await?;
    rows.iter().map(|r| Reader::new("columns", r).text("name")).collect()
}

fn cells(row: &AnyRow) -> Result<Vec<Cell>, DbError> {
    let cell = |i: usize| {
        let raw = row.try_get_raw(i)?;
        if raw.is_null() {
            return Ok(Cell::Null(()));
        }
        let kind = raw.type_info().kind();
        Ok(match kind {
            AnyTypeInfoKind::Null => Cell::Null(()),
            AnyTypeInfoKind::Bool => Cell::Int(i64::from(row.try_get::<bool, _>(i)?)),
            AnyTypeInfoKind::SmallInt => Cell::Int(i64::from(row.try_get::<i16, _>(i)?)),
            AnyTypeInfoKind::Integer => Cell::Int(i64::from(row.try_get::<i32, _>(i)?)),
            AnyTypeInfoKind::BigInt => Cell::Int(row.try_get(i)?),
            AnyTypeInfoKind::Real => Cell::Real(f64::from(row.try_get::<f32, _>(i)?)),
            AnyTypeInfoKind::Double => Cell::Real(row.try_get(i)?),
            AnyTypeInfoKind::Text => Cell::Text(row.try_get(i)?),
            AnyTypeInfoKind::Blob => {
                let bytes: Vec<u8> = row.try_get(i)?;
                Cell::Bytes { base64: STANDARD.encode(bytes) }
            }
        })
    };
    row.columns().iter().map(|c| cell(c.ordinal())).collect()
}
