//! Reading rows and writing many of them: what every `store.rs` uses.

use lampas_shared::time::UnixMs;
use sqlx::{Any, QueryBuilder, Row as _, any::AnyRow};

use super::{DbError, Tx};

/// The most values that one statement binds. SQLite allows 32,766 and MySQL 65,535; larger statements gain nothing.
const MAX_BINDS: usize = 8000;

/// Reads typed values out of a row; what can't be says in which table it stands.
pub struct Reader<'r> {
    row: &'r AnyRow,
    table: &'static str,
}

impl<'r> Reader<'r> {
    /// Wraps a row of a table.
    pub fn new(table: &'static str, row: &'r AnyRow) -> Self {
        Self { row, table }
    }

    /// Returns a text.
    pub fn text(&self, column: &'static str) -> Result<String, DbError> {
        Ok(self.row.try_get(column)?)
    }

    /// Returns a text or nothing.
    pub fn maybe_text(&self, column: &'static str) -> Result<Option<String>, DbError> {
        Ok(self.row.try_get(column)?)
    }

    /// Returns a number.
    pub fn int(&self, column: &'static str) -> Result<i64, DbError> {
        Ok(self.row.try_get(column)?)
    }

    /// Returns a number that is never negative.
    pub fn count(&self, column: &'static str) -> Result<u64, DbError> {
        let value = self.int(column)?;
        u64::try_from(value).map_err(|_| self.wrong(column, format!("{value} is negative")))
    }

    /// Returns a truth value, which stands as a number.
    pub fn flag(&self, column: &'static str) -> Result<bool, DbError> {
        Ok(self.int(column)? != 0)
    }

    /// Returns a number or nothing.
    pub fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, DbError> {
        Ok(self.row.try_get(column)?)
    }

    /// Returns a point in time.
    pub fn time(&self, column: &'static str) -> Result<UnixMs, DbError> {
        self.int(column).map(UnixMs)
    }

    /// Returns a point in time or nothing.
    pub fn maybe_time(&self, column: &'static str) -> Result<Option<UnixMs>, DbError> {
        Ok(self.maybe_int(column)?.map(UnixMs))
    }

    /// Returns bytes or nothing.
    pub fn maybe_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, DbError> {
        Ok(self.row.try_get(column)?)
    }

    /// Reads a text as what it is.
    pub fn parse<T>(&self, column: &'static str) -> Result<T, DbError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(column)?.parse().map_err(|e: T::Err| self.wrong(column, e.to_string()))
    }

    /// Reads a text as what it is, or nothing.
    pub fn maybe_parse<T>(&self, column: &'static str) -> Result<Option<T>, DbError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.maybe_text(column)?;
        text.map(|t| t.parse().map_err(|e: T::Err| self.wrong(column, e.to_string()))).transpose()
    }

    /// Reads a text as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, DbError> {
        serde_json::from_str(&self.text(column)?).map_err(|e| self.wrong(column, e.to_string()))
    }

    /// Reads a text as JSON, or nothing.
    pub fn maybe_json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, DbError> {
        let text = self.maybe_text(column)?;
        text.map(|t| serde_json::from_str(&t).map_err(|e| self.wrong(column, e.to_string()))).transpose()
    }

    /// Says that a column holds what it can't.
    pub fn wrong(&self, column: &'static str, reason: impl Into<String>) -> DbError {
        DbError::Inconsistent { table: self.table, column, reason: reason.into() }
    }
}

/// Writes a value as JSON.
pub fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain values have text keys and no failing serialisers")
}

/// Inserts many rows with as few statements as it takes. `bind` pushes the values of one row, as many as there are
/// columns; `after` is what [`super::Dialect::on_conflict`] returned, or empty.
pub async fn insert_many<T>(
    tx: &mut Tx,
    table: &str,
    columns: &[&str],
    after: &str,
    rows: &[T],
    mut bind: impl FnMut(&mut sqlx::query_builder::Separated<'_, Any, &'static str>, &T),
) -> Result<(), DbError> {
    for chunk in rows.chunks((MAX_BINDS / columns.len()).max(1)) {
        let mut query = QueryBuilder::<Any>::new(format!("INSERT INTO {table} ({}) ", columns.join(", ")));
        query.push_values(chunk, |mut b, row| {
            // `push_values` gives a fresh separator for each row.
            bind(&mut b, row);
        });
        query.push(after);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Cuts rows into slices of about 4 MiB, since MariaDB takes packets of 16 MiB at most by default.
pub fn by_weight<T>(rows: &[T], weight: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut slices, mut from, mut sum) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        sum += weight(row);
        if sum > 4 << 20 && at > from {
            slices.push(&rows[from..at]);
            (from, sum) = (at, weight(row));
        }
    }
    slices.push(&rows[from..]);
    slices
}

/// Calls `each` for slices of ids that fit one statement: `… IN (` + ids + `)`.
pub fn id_chunks<T>(ids: &[T]) -> impl Iterator<Item = &[T]> {
    ids.chunks(MAX_BINDS / 8)
}

/// Pushes `(?, ?, …)` with the ids as text.
pub fn push_ids<T: ToString>(query: &mut QueryBuilder<Any>, ids: &[T]) {
    query.push("(");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_string());
    }
    query.push(")");
}

/// Draws the next number of a counter, as part of the transaction: numbers are in the order of commits.
pub async fn draw(tx: &mut Tx, counter: &str, how_many: u64) -> Result<u64, DbError> {
    let after = tx.dialect().on_conflict(&["name"], &[]);
    let moved = sqlx::query("UPDATE counter SET value = value + ? WHERE name = ?")
        .bind(how_many as i64)
        .bind(counter)
        .execute(tx.conn())
        .await?;
    if moved.rows_affected() == 0 {
        let mut query = QueryBuilder::<Any>::new("INSERT INTO counter (name, value) VALUES (");
        query.push_bind(counter.to_owned()).push(", 0)").push(after);
        query.build().execute(tx.conn()).await?;
        sqlx::query("UPDATE counter SET value = value + ? WHERE name = ?")
            .bind(how_many as i64)
            .bind(counter)
            .execute(tx.conn())
            .await?;
    }
    let row = sqlx::query("SELECT value FROM counter WHERE name = ?").bind(counter).fetch_one(tx.conn()).await?;
    Ok(Reader::new("counter", &row).count("value")? - how_many + 1)
}
