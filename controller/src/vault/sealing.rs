//! Whose key the store's sealed values are under.
//!
//! Each controller keeps its keys in files of its own, and several may share a store: then they need the same keys. The store
//! knows each key by a *check value*, which tells nothing of the key, written once by whoever needs the key first
//! ([`Vault::settle`]). A controller that holds another one seals nothing, says so wherever it is asked, and opens nothing. Stores
//! of before check values are told by one of the values that are sealed in them.

use std::path::Path;

use lampas_api::{KeyState, SealingKey};
use lampas_runtime::clock;
use lampas_shared::error::Chain;
use sqlx::AssertSqlSafe;
use thiserror::Error;
use tracing::error;

use super::{Vault, VaultError};
use crate::{
    audit::{Entry, Principal},
    db::{Db, DbError, Tx, row::Reader},
    secret::CheckError,
};

/// A key, and what of the store is sealed under it.
#[derive(Debug)]
pub(crate) struct Held {
    /// The file below `identity`.
    pub(crate) file: &'static str,
    purpose: &'static str,
    holds: &'static str,
    /// One of the values, with what it is bound to.
    sample: &'static str,
}

/// All of them.
pub(crate) const HELD: [Held; 5] = [
    Held {
        file: "secret-key",
        purpose: "secret/1",
        holds: "the values of secrets",
        sample: "SELECT v.id AS owner, v.sealed FROM secret_value v WHERE v.purged_ms IS NULL LIMIT 1",
    },
    Held {
        file: "second-factor-key",
        purpose: "second-factor/1",
        holds: "authenticators",
        sample: "SELECT f.user_id AS owner, f.sealed FROM second_factor f LIMIT 1",
    },
    Held {
        file: "provider-key",
        purpose: "provider-secret/1",
        holds: "client secrets of identity providers, and sign-ins with them that are under way",
        sample: "SELECT p.id AS owner, p.sealed FROM oidc_provider p WHERE p.sealed IS NOT NULL LIMIT 1",
    },
    Held {
        file: "source-key",
        purpose: "source/1",
        holds: "credentials of git sources",
        sample: "SELECT s.id AS owner, s.sealed FROM source s WHERE s.sealed IS NOT NULL LIMIT 1",
    },
    Held {
        file: "mail-key",
        purpose: "mail-password/1",
        holds: "the password of the mail server",
        sample: "SELECT 'server' AS owner, s.sealed FROM mail_setting s WHERE s.sealed IS NOT NULL LIMIT 1",
    },
];

/// What the store says of a key.
#[derive(Debug, Clone)]
struct Known {
    check: String,
    controller: String,
    machine: String,
}

impl Vault {
    /// Makes sure, before something is sealed, that the key here is the store's; the first need makes it so.
    ///
    /// # Errors
    /// When it isn't: the text says which file to bring from where.
    pub(crate) async fn settle(&self, db: &Db) -> Result<(), CheckError> {
        let (known, sample) = looked_up(db, self.held()).await?;
        let here = self.here(sample.clone()).await?;
        if let Some(known) = known {
            return Ok(self.compared(&known, here.check.as_deref())?);
        }
        if sample.is_some() && !here.opens {
            return Err(self.foreign(here.check.is_some(), None).into());
        }
        let check = match here.check {
            Some(check) => check,
            None => self.made().await?,
        };
        let (name, check) = (self.held().file, check.as_str());
        let (controller, machine) = (&self.controller(), &crate::config::host_name());
        let known = db
            .write(|mut tx: Tx| async move {
                put(&mut tx, name, check, controller, machine).await?;
                // Whoever was first stands there, also if that was a moment ago.
                let known = get(&mut tx, name, true).await?;
                Ok::<_, DbError>(tx.done(known))
            })
            .await?;
        let known = known.ok_or_else(|| self.foreign(true, None))?;
        Ok(self.compared(&known, Some(check))?)
    }

    fn held(&self) -> &'static Held {
        let name = self.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        HELD.iter().find(|h| h.file == name).expect("each vault's key is in the list")
    }

    fn compared(&self, known: &Known, here: Option<&str>) -> Result<(), VaultError> {
        if here == Some(known.check.as_str()) { Ok(()) } else { Err(self.foreign(here.is_some(), Some(known))) }
    }

    fn foreign(&self, is_there: bool, known: Option<&Known>) -> VaultError {
        let why = if is_there { "the key here is another one" } else { "there is no key here" };
        let why = match known {
            Some(k) => format!("{why}, and the store's was made by the controller {} on {}", k.controller, k.machine),
            None => why.to_owned(),
        };
        VaultError::Foreign { path: self.path.clone(), file: format!("identity/{}", self.held().file), why }
    }

    /// Returns the id of the controller whose key it is, as far as it is known.
    fn controller(&self) -> String {
        let text = std::fs::read_to_string(self.path.with_file_name("controller-id")).unwrap_or_default();
        text.trim().to_owned()
    }

    async fn here(&self, sample: Option<(String, String)>) -> Result<Here, VaultError> {
        let vault = Self { path: self.path.clone(), purpose: self.held().purpose };
        let looked = tokio::task::spawn_blocking(move || {
            let check = vault.check_value()?;
            let opens = sample.is_some_and(|(owner, sealed)| vault.open(&owner, &sealed).is_ok());
            Ok(Here { check, opens })
        });
        looked.await.unwrap_or(Err(VaultError::Seal(self.purpose)))
    }

    async fn made(&self) -> Result<String, VaultError> {
        let vault = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            vault.key(true)?;
            vault.check_value()
        });
        let made = made.await.unwrap_or(Err(VaultError::Seal(self.purpose)))?;
        made.ok_or_else(|| self.foreign(false, None))
    }
}

/// What is in the file.
struct Here {
    check: Option<String>,
    /// Whether it opens the sample.
    opens: bool,
}

/// Returns how each key stands, for people.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn status(db: &Db, data_dir: &Path) -> Result<Vec<SealingKey>, DbError> {
    let mut all = Vec::new();
    // In one transaction: whoever balances over controllers asks often.
    let found = db
        .read(|mut tx: Tx| async move {
            let mut found = Vec::new();
            for held in &HELD {
                found.push(found_of(&mut tx, held).await?);
            }
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    for (held, (known, sample)) in HELD.iter().zip(found) {
        let vault = Vault::new(data_dir, held.file, held.purpose);
        let (state, problem) = match vault.here(sample.clone()).await {
            Err(error) => (KeyState::Unreadable, Some(Chain(&error).to_string())),
            Ok(here) => {
                let is_right = match &known {
                    Some(known) => here.check.as_deref() == Some(known.check.as_str()),
                    None => sample.is_none() || here.opens,
                };
                match (is_right, here.check.is_some()) {
                    (true, _) if known.is_none() && sample.is_none() => (KeyState::Unused, None),
                    (true, _) => (KeyState::Right, None),
                    (false, is_there) => {
                        let why = vault.foreign(is_there, known.as_ref()).to_string();
                        (if is_there { KeyState::Other } else { KeyState::Missing }, Some(why))
                    }
                }
            }
        };
        let (file, holds) = (format!("identity/{}", held.file), held.holds.to_owned());
        all.push(SealingKey { file, holds, state, problem });
    }
    Ok(all)
}

/// Tells at the start which keys are not the store's, and writes check values of those that open what an earlier version sealed.
pub(crate) async fn look(db: &Db, data_dir: &Path) -> Result<(), DbError> {
    for (key, held) in status(db, data_dir).await?.into_iter().zip(&HELD) {
        if let Some(problem) = key.problem {
            // The rest goes on without: what needs the key says so by itself.
            error!(key.file, problem, "a key is not the store's");
        } else if key.state == KeyState::Right
            && let Err(error) = Vault::new(data_dir, held.file, held.purpose).settle(db).await
        {
            error!(key.file, error = %Chain(&error), "the check value of a key was not written");
        }
    }
    Ok(())
}

/// Why a key is not forgotten.
#[derive(Debug, Error)]
pub(crate) enum ForgetError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// There is no such key.
    #[error("there is no key {0:?}: `keys show` names them")]
    Unknown(String),
    /// The store knows none.
    #[error("the store knows no {0}: the next that is sealed makes one, or takes the one that is there")]
    None(&'static str),
    /// Something is sealed under it.
    #[error("the store holds {holds} under {file}: bring the key, or remove those first")]
    Used {
        /// The key's file.
        file: &'static str,
        /// What is sealed.
        holds: &'static str,
    },
}

crate::store_error!(ForgetError);

/// Lets the store forget a key that nothing is sealed under any more, because its file is lost: the next controller that seals
/// makes another one, or takes what it has.
///
/// # Errors
/// When something is sealed under it.
pub(crate) async fn forget(db: &Db, which: &str) -> Result<(), ForgetError> {
    let name = which.strip_prefix("identity/").unwrap_or(which);
    let held = HELD.iter().find(|h| h.file == name).ok_or_else(|| ForgetError::Unknown(which.to_owned()))?;
    db.write(|mut tx: Tx| async move {
        if get(&mut tx, held.file, true).await?.is_none() {
            return Err(ForgetError::None(held.file));
        }
        if sqlx::query(held.sample).fetch_optional(tx.conn()).await.map_err(DbError::from)?.is_some() {
            return Err(ForgetError::Used { file: held.file, holds: held.holds });
        }
        let forgotten = sqlx::query("DELETE FROM sealing_key WHERE name = ?").bind(held.file).execute(tx.conn());
        forgotten.await.map_err(DbError::from)?;
        tx.audit(Entry::done(&Principal::system(), "keys.forget", format!("identity/{}", held.file)));
        Ok(tx.done(()))
    })
    .await
}

/// Returns whether a key is the one that the store's values are under; unknown when nothing was sealed.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn is_of_store(db: &Db, held: &'static Held, key: &[u8]) -> Result<Option<bool>, DbError> {
    let (known, sample) = looked_up(db, held).await?;
    if let Some(known) = known {
        return Ok(Some(known.check == super::check_value(key)));
    }
    let Some((owner, sealed)) = sample else { return Ok(None) };
    Ok(Some(super::open(key, held.purpose, &owner, &sealed).is_ok()))
}

async fn looked_up(db: &Db, held: &'static Held) -> Result<Found, DbError> {
    db.read(|mut tx: Tx| async move {
        let found = found_of(&mut tx, held).await?;
        Ok(tx.done(found))
    })
    .await
}

/// What the store says of a key, and one of the values that are sealed under it, with its owner.
type Found = (Option<Known>, Option<(String, String)>);

async fn found_of(tx: &mut Tx, held: &Held) -> Result<Found, DbError> {
    let known = get(tx, held.file, false).await?;
    let row = sqlx::query(held.sample).fetch_optional(tx.conn()).await?;
    let sample = row.map(|row| {
        let r = Reader::new("sealing_key", &row);
        Ok::<_, DbError>((r.text("owner")?, r.text("sealed")?))
    });
    Ok((known, sample.transpose()?))
}

async fn get(tx: &mut Tx, name: &str, is_last: bool) -> Result<Option<Known>, DbError> {
    let lock = if is_last { tx.dialect().for_update() } else { "" };
    let sql =
        format!("SELECT k.check_value, k.controller_id, k.controller_name FROM sealing_key k WHERE k.name = ?{lock}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name).fetch_optional(tx.conn()).await?;
    let known = row.map(|row| {
        let r = Reader::new("sealing_key", &row);
        let (check, controller) = (r.text("check_value")?, r.text("controller_id")?);
        Ok::<_, DbError>(Known { check, controller, machine: r.text("controller_name")? })
    });
    known.transpose()
}

/// Writes a check value, unless there is one.
async fn put(tx: &mut Tx, name: &str, check: &str, controller: &str, machine: &str) -> Result<(), DbError> {
    let kept = tx.dialect().on_conflict(&["name"], &[]);
    let sql = format!(
        "INSERT INTO sealing_key (name, check_value, controller_id, controller_name, made_ms) VALUES (?, ?, ?, ?, ?){kept}"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(name)
        .bind(check)
        .bind(controller)
        .bind(machine)
        .bind(clock::now().0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    testing::on_both!(
        of_two_fresh_controllers_one_makes_the_key,
        a_store_of_before_takes_the_key_that_opens_it,
        a_lost_key_is_forgotten_once_nothing_is_under_it
    );

    async fn a_lost_key_is_forgotten_once_nothing_is_under_it(db: Db) {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = Vault::new(dir.path(), "mail-key", "mail-password/1");
        vault.settle(&db).await.expect("the first");
        let sealed = &vault.seal(&"server", b"x").expect("sealed");
        let run = async |sql: &'static str, value: Option<&str>| {
            let value = value.map(str::to_owned);
            let done = db.write(|mut tx: Tx| {
                let value = value.clone();
                async move {
                    let query = sqlx::query(sql);
                    let query = if let Some(value) = value { query.bind(value) } else { query };
                    query.execute(tx.conn()).await?;
                    Ok::<_, DbError>(tx.done(()))
                }
            });
            done.await.expect("written");
        };
        run(
            "INSERT INTO mail_setting (name, server, morning, morning_ms, sealed, revision, seen_seq, updated_ms) \
             VALUES ('mail', '{}', '{}', 0, ?, 1, 0, 0)",
            Some(sealed),
        )
        .await;
        std::fs::remove_file(&vault.path).expect("is lost");
        let refused = forget(&db, "mail-key").await.expect_err("something is under it");
        assert!(matches!(refused, ForgetError::Used { .. }), "{refused}");
        run("DELETE FROM mail_setting", None).await;
        let refused = vault.settle(&db).await.expect_err("the store knows another one").to_string();
        assert!(refused.contains("keys forget"), "{refused}");
        assert!(matches!(forget(&db, "other-key").await, Err(ForgetError::Unknown(_))));
        forget(&db, "identity/mail-key").await.expect("nothing is under it");
        assert!(matches!(forget(&db, "mail-key").await, Err(ForgetError::None(_))));
        vault.settle(&db).await.expect("makes another one");
        vault.seal(&"server", b"y").expect("seals");
    }

    fn source_vault(dir: &tempfile::TempDir) -> Vault {
        Vault::new(dir.path(), "source-key", "source/1")
    }

    async fn state(db: &Db, dir: &tempfile::TempDir) -> (KeyState, String) {
        let key = status(db, dir.path()).await.expect("read").into_iter().nth(3).expect("the fourth");
        assert_eq!(key.file, "identity/source-key");
        (key.state, key.problem.unwrap_or_default())
    }

    async fn of_two_fresh_controllers_one_makes_the_key(db: Db) {
        let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a directory")).collect();
        for (at, dir) in dirs.iter().enumerate() {
            std::fs::create_dir_all(dir.path().join("identity")).expect("made");
            std::fs::write(dir.path().join("identity/controller-id"), format!("controller-{at}\n")).expect("written");
            assert_eq!(state(&db, dir).await.0, KeyState::Unused);
        }
        let at_once = dirs.iter().map(|dir| {
            let (vault, db) = (source_vault(dir), db.clone());
            async move { vault.settle(&db).await }
        });
        let settled = futures_util::future::join_all(at_once).await;
        let winners: Vec<_> = settled.iter().enumerate().filter(|(_, s)| s.is_ok()).map(|(at, _)| at).collect();
        let [winner] = winners.as_slice() else { panic!("one of them made the key: {settled:?}") };
        let sealed = source_vault(&dirs[*winner]).seal(&"anna", b"x").expect("sealed");
        for (at, dir) in dirs.iter().enumerate().filter(|(at, _)| at != winner) {
            let (state, problem) = state(&db, dir).await;
            // Who came when the store had one already made none.
            let words = match state {
                KeyState::Missing => "there is no key here",
                _ => "the key here is another one",
            };
            assert!(matches!(state, KeyState::Other | KeyState::Missing), "{problem}");
            assert!(problem.contains(&format!("controller-{winner}")), "{problem}");
            let refused = source_vault(dir).settle(&db).await.expect_err("stays refused").to_string();
            assert!(refused.contains(words), "{refused}");
            let name = |at: usize| source_vault(&dirs[at]).path;
            std::fs::copy(name(*winner), name(at)).expect("copied");
            source_vault(dir).settle(&db).await.expect("is the store's now");
            source_vault(dir).open(&"anna", &sealed).expect("opens");
        }
        let fresh = tempfile::tempdir().expect("a directory");
        source_vault(&fresh).settle(&db).await.expect_err("has none");
        assert!(!source_vault(&fresh).path.exists(), "and makes none");
        assert_eq!(state(&db, &fresh).await.0, KeyState::Missing);
    }

    async fn a_store_of_before_takes_the_key_that_opens_it(db: Db) {
        let (right, wrong) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let sealed = &source_vault(&right).seal(&"the-source", b"x").expect("sealed");
        source_vault(&wrong).seal(&"another", b"y").expect("sealed");
        db.write(|mut tx: Tx| async move {
            sqlx::query(
                "INSERT INTO source (id, name, scope, settings, sealed, user_id, permissions, revision, created_ms, \
                 updated_ms, state, status, due_ms) VALUES ('the-source', 's', 'fleet', '{}', ?, 'u', '[]', 1, 0, 0, 'new', '{}', 0)",
            )
            .bind(sealed)
            .execute(tx.conn())
            .await?;
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        assert_eq!(state(&db, &wrong).await.0, KeyState::Other);
        source_vault(&wrong).settle(&db).await.expect_err("opens nothing of it");
        assert_eq!(state(&db, &right).await.0, KeyState::Right);
        look(&db, right.path()).await.expect("looked");
        let known = db.read(|mut tx| async move {
            let known = get(&mut tx, "source-key", false).await?;
            Ok::<_, DbError>(tx.done(known))
        });
        let known = known.await.expect("read").expect("is written");
        assert_eq!(Some(known.check), source_vault(&right).check_value().expect("read"));
    }
}
