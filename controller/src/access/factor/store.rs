//! The tables of second factors and recovery codes, and the rules of sign-in.

use lampas_api::SignInRules;
use lampas_shared::{id::UserId, time::UnixMs};

use crate::db::{
    DbError, Tx,
    row::{Reader, insert_many, to_json},
};

/// A second factor as it stands.
#[derive(Debug, Clone)]
pub(super) struct FactorRow {
    pub(super) sealed: String,
    pub(super) confirmed_at: Option<UnixMs>,
}

pub(super) async fn get(tx: &mut Tx, user: UserId) -> Result<Option<FactorRow>, DbError> {
    let row = sqlx::query("SELECT f.sealed, f.confirmed_ms FROM second_factor f WHERE f.user_id = ?")
        .bind(user.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("second_factor", &row);
        Ok(FactorRow { sealed: r.text("sealed")?, confirmed_at: r.maybe_time("confirmed_ms")? })
    })
    .transpose()
}

/// Returns one of the secrets, whichever: who has the key opens it.
pub(super) async fn any(tx: &mut Tx) -> Result<Option<(UserId, String)>, DbError> {
    let row = sqlx::query("SELECT f.user_id, f.sealed FROM second_factor f LIMIT 1").fetch_optional(tx.conn()).await?;
    row.map(|row| {
        let r = Reader::new("second_factor", &row);
        Ok((r.parse("user_id")?, r.text("sealed")?))
    })
    .transpose()
}

/// Keeps the secret of a factor that is not confirmed yet, instead of one that never was.
pub(super) async fn begin(tx: &mut Tx, user: UserId, sealed: &str, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("DELETE FROM second_factor WHERE user_id = ? AND confirmed_ms IS NULL")
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    sqlx::query("INSERT INTO second_factor (user_id, sealed, created_ms, last_step) VALUES (?, ?, ?, 0)")
        .bind(user.to_string())
        .bind(sealed)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Confirms a factor by the code of a step; false when it is confirmed already, or another one meanwhile.
pub(super) async fn confirm(tx: &mut Tx, user: UserId, sealed: &str, step: u64, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE second_factor SET confirmed_ms = ?, last_step = ? WHERE user_id = ? AND sealed = ? AND confirmed_ms IS NULL",
    )
    .bind(now.0)
    .bind(step as i64)
    .bind(user.to_string())
    .bind(sealed)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Uses a step up; false when it, or a later one, was used before.
pub(super) async fn use_step(tx: &mut Tx, user: UserId, step: u64) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE second_factor SET last_step = ? WHERE user_id = ? AND last_step < ? AND confirmed_ms IS NOT NULL",
    )
    .bind(step as i64)
    .bind(user.to_string())
    .bind(step as i64)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes an authenticator away.
pub(super) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    let done =
        sqlx::query("DELETE FROM second_factor WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Puts recovery codes in place of those before.
pub(in crate::access) async fn put_codes(tx: &mut Tx, user: UserId, hashes: &[String]) -> Result<(), DbError> {
    sqlx::query("DELETE FROM recovery_code WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    insert_many(tx, "recovery_code", &["user_id", "code_hash"], "", hashes, |b, hash| {
        b.push_bind(user.to_string()).push_bind(hash.clone());
    })
    .await
}

/// Uses a recovery code up; false when there is no such code left.
pub(super) async fn use_code(tx: &mut Tx, user: UserId, hash: &str, now: UnixMs) -> Result<bool, DbError> {
    let done =
        sqlx::query("UPDATE recovery_code SET used_ms = ? WHERE user_id = ? AND code_hash = ? AND used_ms IS NULL")
            .bind(now.0)
            .bind(user.to_string())
            .bind(hash)
            .execute(tx.conn())
            .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn codes_left(tx: &mut Tx, user: UserId) -> Result<u32, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM recovery_code c WHERE c.user_id = ? AND c.used_ms IS NULL")
        .bind(user.to_string())
        .fetch_one(tx.conn())
        .await?;
    Ok(u32::try_from(Reader::new("recovery_code", &row).count("n")?).unwrap_or(u32::MAX))
}

const RULES: &str = "sign_in_rules";

/// Returns the rules of sign-in; those of a store without any ask for nothing.
pub(super) async fn rules(tx: &mut Tx) -> Result<SignInRules, DbError> {
    let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = ?").bind(RULES).fetch_optional(tx.conn()).await?;
    row.map_or_else(|| Ok(SignInRules::default()), |r| Reader::new("meta", &r).json("value"))
}

pub(super) async fn set_rules(tx: &mut Tx, rules: &SignInRules) -> Result<(), DbError> {
    sqlx::query("DELETE FROM meta WHERE name = ?").bind(RULES).execute(tx.conn()).await?;
    sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?)")
        .bind(RULES)
        .bind(to_json(rules))
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;
    use lampas_shared::access::Preset;

    use super::*;
    use crate::db::{Db, testing};

    testing::on_both!(steps_and_codes_serve_once, rules_are_kept);

    async fn steps_and_codes_serve_once(db: Db) {
        let user: UserId = random::new_id();
        let now = UnixMs(1_000);
        db.write(|mut tx: Tx| async move {
            begin(&mut tx, user, "first", now).await?;
            begin(&mut tx, user, "second", now).await?;
            assert!(!use_step(&mut tx, user, 7).await?, "not before it is confirmed");
            assert!(!confirm(&mut tx, user, "first", 5, now).await?, "begun anew since");
            assert!(confirm(&mut tx, user, "second", 5, now).await?);
            assert!(!confirm(&mut tx, user, "second", 6, now).await?, "once");
            for (step, is_fresh) in [(5, false), (4, false), (6, true), (6, false), (8, true), (7, false)] {
                assert_eq!(use_step(&mut tx, user, step).await?, is_fresh, "{step}");
            }
            put_codes(&mut tx, user, &["a".to_owned(), "b".to_owned()]).await?;
            assert!(use_code(&mut tx, user, "a", now).await?);
            assert!(!use_code(&mut tx, user, "a", now).await?);
            assert!(!use_code(&mut tx, user, "c", now).await?);
            assert_eq!(codes_left(&mut tx, user).await?, 1);
            put_codes(&mut tx, user, &["c".to_owned()]).await?;
            assert!(!use_code(&mut tx, user, "b", now).await?, "worth nothing since");
            assert!(remove(&mut tx, user).await?);
            assert!(!remove(&mut tx, user).await?);
            put_codes(&mut tx, user, &[]).await?;
            assert_eq!(codes_left(&mut tx, user).await?, 0);
            assert!(get(&mut tx, user).await?.is_none());
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
    }

    async fn rules_are_kept(db: Db) {
        let wanted = &SignInRules { second_factor_for: vec![Preset::Operator, Preset::Administrator] };
        let found = db
            .write(|mut tx: Tx| async move {
                assert_eq!(rules(&mut tx).await?, SignInRules::default());
                set_rules(&mut tx, &SignInRules::default()).await?;
                set_rules(&mut tx, wanted).await?;
                let found = rules(&mut tx).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await
            .expect("written");
        assert_eq!(&found, wanted);
    }
}
