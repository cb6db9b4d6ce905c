//! The tables of security keys and of challenges.

use lampas_shared::{
    id::{SecurityKeyId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::db::{
    DbError, Tx,
    row::{Reader, to_json},
};

/// A key as it stands.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) id: SecurityKeyId,
    pub(super) user: UserId,
    pub(super) name: String,
    /// The host name that it was registered for.
    pub(super) rp_id: String,
    /// The credential's id, in base64url.
    pub(super) credential: String,
    /// The public key as the authenticator wrote it (COSE), in base64url.
    pub(super) public_key: String,
    pub(super) sign_count: u32,
    pub(super) is_passkey: bool,
    pub(super) transports: Vec<String>,
    pub(super) created_at: UnixMs,
    pub(super) used_at: Option<UnixMs>,
    pub(super) suspect_at: Option<UnixMs>,
}

const KEY: &str = "k.id, k.user_id, k.name, k.rp_id, k.credential_id, k.public_key, k.sign_count, k.is_passkey, \
                   k.transports, k.created_ms, k.used_ms, k.suspect_ms FROM security_key k";

fn key(row: &AnyRow) -> Result<KeyRow, DbError> {
    let r = Reader::new("security_key", row);
    Ok(KeyRow {
        id: r.parse("id")?,
        user: r.parse("user_id")?,
        name: r.text("name")?,
        rp_id: r.text("rp_id")?,
        credential: r.text("credential_id")?,
        public_key: r.text("public_key")?,
        sign_count: u32::try_from(r.count("sign_count")?).map_err(|e| r.wrong("sign_count", e.to_string()))?,
        is_passkey: r.flag("is_passkey")?,
        transports: r.json("transports")?,
        created_at: r.time("created_ms")?,
        used_at: r.maybe_time("used_ms")?,
        suspect_at: r.maybe_time("suspect_ms")?,
    })
}

/// Returns the keys of a user, the oldest first.
pub(super) async fn of(tx: &mut Tx, user: UserId) -> Result<Vec<KeyRow>, DbError> {
    let sql = format!("SELECT {KEY} WHERE k.user_id = ? ORDER BY k.created_ms, k.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.to_string()).fetch_all(tx.conn()).await?;
    rows.iter().map(key).collect()
}

/// Counts the keys of a user.
pub(crate) async fn count(tx: &mut Tx, user: UserId) -> Result<u32, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM security_key k WHERE k.user_id = ?")
        .bind(user.to_string())
        .fetch_one(tx.conn())
        .await?;
    Ok(u32::try_from(Reader::new("security_key", &row).count("n")?).unwrap_or(u32::MAX))
}

pub(super) async fn by_credential(tx: &mut Tx, hash: &str) -> Result<Option<KeyRow>, DbError> {
    let sql = format!("SELECT {KEY} WHERE k.credential_hash = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(tx.conn()).await?;
    row.as_ref().map(key).transpose()
}

pub(super) async fn insert(tx: &mut Tx, row: &KeyRow, hash: &str) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO security_key (id, user_id, name, rp_id, credential_hash, credential_id, public_key, sign_count, \
         is_passkey, transports, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(row.user.to_string())
    .bind(&row.name)
    .bind(&row.rp_id)
    .bind(hash)
    .bind(&row.credential)
    .bind(&row.public_key)
    .bind(i64::from(row.sign_count))
    .bind(i64::from(row.is_passkey))
    .bind(to_json(&row.transports))
    .bind(row.created_at.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes a use with the counter that came with it; false when the counter had gone back, or stood still where it counts.
/// Checked by the statement that writes it, so that two answers at once can't both pass.
pub(super) async fn note_use(tx: &mut Tx, id: SecurityKeyId, sign_count: u32, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE security_key SET sign_count = ?, used_ms = ? WHERE id = ? AND (sign_count < ? OR (sign_count = 0 AND ? = 0))",
    )
    .bind(i64::from(sign_count))
    .bind(now.0)
    .bind(id.to_string())
    .bind(i64::from(sign_count))
    .bind(i64::from(sign_count))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a key's counter went back.
pub(super) async fn suspect(tx: &mut Tx, id: SecurityKeyId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE security_key SET suspect_ms = ? WHERE id = ?")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Removes a key of a user; returns what it was called.
pub(super) async fn delete(tx: &mut Tx, user: UserId, id: SecurityKeyId) -> Result<Option<String>, DbError> {
    let row = sqlx::query("SELECT k.name FROM security_key k WHERE k.id = ? AND k.user_id = ?")
        .bind(id.to_string())
        .bind(user.to_string())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let name = Reader::new("security_key", &row).text("name")?;
    let done = sqlx::query("DELETE FROM security_key WHERE id = ? AND user_id = ?")
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    Ok((done.rows_affected() == 1).then_some(name))
}

/// Renames a key of a user; returns what it was called.
pub(super) async fn rename(
    tx: &mut Tx,
    user: UserId,
    id: SecurityKeyId,
    name: &str,
) -> Result<Option<KeyRow>, DbError> {
    let sql = format!("SELECT {KEY} WHERE k.id = ? AND k.user_id = ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).bind(user.to_string());
    let Some(before) = query.fetch_optional(tx.conn()).await?.as_ref().map(key).transpose()? else { return Ok(None) };
    sqlx::query("UPDATE security_key SET name = ? WHERE id = ? AND user_id = ?")
        .bind(name)
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    Ok(Some(before))
}

/// Removes all keys of a user; returns how many there were.
pub(crate) async fn delete_all(tx: &mut Tx, user: UserId) -> Result<u64, DbError> {
    let done =
        sqlx::query("DELETE FROM security_key WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected())
}

/// What a challenge was made for, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// `add`, `proof`, `sign-in`, `passkey`.
    pub(super) purpose: &'static str,
    /// A session, a user, or nobody.
    pub(super) to: String,
}

/// Keeps a challenge by its hash; those that are over go.
pub(super) async fn put_challenge(
    tx: &mut Tx,
    hash: &str,
    bound: &Bound,
    (now, until): (UnixMs, UnixMs),
) -> Result<(), DbError> {
    sqlx::query("DELETE FROM key_challenge WHERE expires_ms <= ?").bind(now.0).execute(tx.conn()).await?;
    sqlx::query("INSERT INTO key_challenge (challenge_hash, purpose, bound_to, expires_ms) VALUES (?, ?, ?, ?)")
        .bind(hash)
        .bind(bound.purpose)
        .bind(&bound.to)
        .bind(until.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Uses a challenge up; false when there is none such, or no longer.
pub(super) async fn take_challenge(tx: &mut Tx, hash: &str, bound: &Bound, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "DELETE FROM key_challenge WHERE challenge_hash = ? AND purpose = ? AND bound_to = ? AND expires_ms > ?",
    )
    .bind(hash)
    .bind(bound.purpose)
    .bind(&bound.to)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;

    use super::*;
    use crate::db::{Db, testing};

    testing::on_both!(keys_are_kept_and_counted, challenges_serve_once_for_what_they_were_made_for);

    fn row(user: UserId, name: &str) -> KeyRow {
        KeyRow {
            id: random::new_id(),
            user,
            name: name.to_owned(),
            rp_id: "fleet.example".to_owned(),
            credential: "A".repeat(1364),
            public_key: "B".repeat(700),
            sign_count: 0,
            is_passkey: true,
            transports: vec!["usb".to_owned(), "nfc".to_owned()],
            created_at: UnixMs(1_000),
            used_at: None,
            suspect_at: None,
        }
    }

    async fn keys_are_kept_and_counted(db: Db) {
        let (user, other): (UserId, UserId) = (random::new_id(), random::new_id());
        let first = &row(user, "Schlüssel");
        let second = &KeyRow { created_at: UnixMs(1_001), ..row(user, "spare") };
        db.write(|mut tx: Tx| async move {
            insert(&mut tx, first, "h1").await?;
            insert(&mut tx, second, "h2").await?;
            let found = of(&mut tx, user).await?;
            assert_eq!(found.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["Schlüssel", "spare"]);
            assert_eq!(found[0].transports, first.transports);
            assert_eq!(by_credential(&mut tx, "h2").await?.map(|k| k.id), Some(second.id));
            for (counter, is_taken) in [(0, true), (0, true), (3, true), (3, false), (2, false), (0, false), (4, true)]
            {
                assert_eq!(note_use(&mut tx, first.id, counter, UnixMs(2_000)).await?, is_taken, "{counter}");
            }
            suspect(&mut tx, first.id, UnixMs(3_000)).await?;
            let found = of(&mut tx, user).await?;
            assert_eq!((found[0].sign_count, found[0].suspect_at), (4, Some(UnixMs(3_000))));
            assert_eq!(found[0].used_at, Some(UnixMs(2_000)));
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        let taken = &row(other, "the same credential");
        db.write(|mut tx: Tx| async move {
            insert(&mut tx, taken, "h1").await?;
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect_err("a credential is one user's");
        db.write(|mut tx: Tx| async move {
            assert!(rename(&mut tx, other, first.id, "mine").await?.is_none(), "another user's");
            let before = rename(&mut tx, user, first.id, "blau 漢").await?.expect("is there");
            assert_eq!((before.name.as_str(), before.used_at), ("Schlüssel", Some(UnixMs(2_000))));
            assert_eq!(of(&mut tx, user).await?[0].name, "blau 漢");
            rename(&mut tx, user, first.id, "Schlüssel").await?;
            assert_eq!(delete(&mut tx, other, first.id).await?, None, "another user's");
            assert_eq!(delete(&mut tx, user, first.id).await?.as_deref(), Some("Schlüssel"));
            assert_eq!(count(&mut tx, user).await?, 1);
            assert_eq!(delete_all(&mut tx, user).await?, 1);
            assert_eq!(count(&mut tx, user).await?, 0);
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
    }

    async fn challenges_serve_once_for_what_they_were_made_for(db: Db) {
        let bound = &Bound { purpose: "sign-in", to: "user".to_owned() };
        db.write(|mut tx: Tx| async move {
            put_challenge(&mut tx, "a", bound, (UnixMs(0), UnixMs(100))).await?;
            put_challenge(&mut tx, "b", bound, (UnixMs(0), UnixMs(100))).await?;
            for other in
                [Bound { purpose: "proof", ..bound.clone() }, Bound { to: "other".to_owned(), ..bound.clone() }]
            {
                assert!(!take_challenge(&mut tx, "a", &other, UnixMs(1)).await?, "{other:?}");
            }
            assert!(take_challenge(&mut tx, "a", bound, UnixMs(1)).await?);
            assert!(!take_challenge(&mut tx, "a", bound, UnixMs(1)).await?, "once");
            assert!(!take_challenge(&mut tx, "b", bound, UnixMs(100)).await?, "over");
            put_challenge(&mut tx, "c", bound, (UnixMs(100), UnixMs(200))).await?;
            assert!(!take_challenge(&mut tx, "b", bound, UnixMs(1)).await?, "gone");
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
    }
}
