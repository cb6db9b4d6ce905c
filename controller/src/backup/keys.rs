//! The keys that the store's values are sealed under, carried from one controller to another on the same store: a file of the
//! form of a backup, sealed alike, that holds nothing but those files. They are taken out of a whole backup as well.

use std::{
    io::BufWriter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{clock, files};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{BackupError, Line, Lines, PublicKey, RecoveryKey, file, put, read_file, seal};
use crate::{
    audit::{Entry, Principal},
    db::{Db, DbError, Tx},
    vault::sealing::{HELD, Held, is_of_store},
};

/// Why keys are not carried.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file can't be read or written.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// There is none.
    #[error("there is no key here yet: nothing was sealed by this controller")]
    None,
    /// One of them is not the store's.
    #[error("{} is not the key of the store: export where it is (`keys show` tells)", .0.display())]
    Foreign(PathBuf),
    /// The file brings another key than the store's, and the one here is the store's.
    #[error("{} is the store's key, and the file holds another one: nothing was changed", .0.display())]
    Other(PathBuf),
}

/// Writes the keys that are here into a file; returns their names.
///
/// # Errors
/// When one of them isn't the store's, or the file can't be written.
pub async fn export(db: &Db, data_dir: &Path, key: &PublicKey, to: &Path) -> Result<Vec<String>, KeysError> {
    let mut found = Vec::new();
    for held in &HELD {
        let path = path(data_dir, held);
        let (content, mode) = match read_file(&path) {
            Ok(read) => read,
            Err(BackupError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let content = Zeroizing::new(content);
        if is_of_store(db, held, &content).await? == Some(false) {
            return Err(KeysError::Foreign(path));
        }
        found.push((name(held), content, mode));
    }
    if found.is_empty() {
        return Err(KeysError::None);
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let out = opened.map_err(|source| file("write", to, source))?;
    let mut sealer = seal::Writer::new(BufWriter::new(out), key).map_err(BackupError::from)?;
    put(&mut sealer, &Line::Backup { format: 1, version: env!("CARGO_PKG_VERSION").to_owned(), at: clock::now() })?;
    for (path, content, mode) in &found {
        put(&mut sealer, &Line::File { path: path.clone(), mode: *mode, content: STANDARD.encode(content) })?;
    }
    put(&mut sealer, &Line::End { rows: 0, files: found.len() as u64 })?;
    let out = sealer.finish().map_err(BackupError::from)?;
    let out = out.into_inner().map_err(|e| file("write", to, e.into_error()))?;
    out.sync_all().map_err(|source| file("write", to, source))?;
    let names: Vec<String> = found.into_iter().map(|(name, ..)| name).collect();
    note(db, "keys.export", &names).await?;
    Ok(names)
}

/// Takes keys out of a file; returns what became of each, in sentences. What is replaced is kept beside.
///
/// # Errors
/// When the file isn't whole, or a key here is the store's and the file brings another one; then nothing is changed.
pub async fn import(db: &Db, data_dir: &Path, key: &RecoveryKey, from: &Path) -> Result<Vec<String>, KeysError> {
    let mut lines = Lines::open(from, key)?;
    let mut brought = Vec::new();
    while let Some(line) = lines.next()? {
        let Line::File { path, content, .. } = line else { continue };
        let Some(held) = HELD.iter().find(|h| name(h) == path) else { continue };
        let content = STANDARD.decode(content).map_err(|e| BackupError::Content(format!("{path}: {e}")))?;
        brought.push((held, Zeroizing::new(content)));
    }
    let (mut told, mut writes) = (Vec::new(), Vec::new());
    for (held, content) in brought {
        let path = path(data_dir, held);
        let before = match read_file(&path) {
            Ok((before, _)) => Some(Zeroizing::new(before)),
            Err(BackupError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let is_stores = is_of_store(db, held, &content).await?;
        match before {
            Some(before) if before == content => {
                told.push(format!("{} is the same here", name(held)));
                continue;
            }
            Some(before) if is_of_store(db, held, &before).await? == Some(true) => return Err(KeysError::Other(path)),
            _ if is_stores == Some(false) => {
                told.push(format!("{} in the file is not the store's: it was left out", name(held)));
                continue;
            }
            None => told.push(format!("{} is taken", name(held))),
            Some(_) => told.push(format!("{} is taken; the one before is beside it, as *.before-import", name(held))),
        }
        writes.push((path, content));
    }
    let names: Vec<String> = writes.iter().map(|(path, _)| path.display().to_string()).collect();
    for (path, content) in writes {
        let dir = path.parent().unwrap_or(data_dir);
        files::private_dir(dir).map_err(|source| file("write", dir, source))?;
        if path.exists() {
            let beside = path.with_extension("before-import");
            std::fs::rename(&path, &beside).map_err(|source| file("write", &beside, source))?;
        }
        files::replace(&path, &content, 0o600).map_err(|source| file("write", &path, source))?;
    }
    if !names.is_empty() {
        note(db, "keys.import", &names).await?;
    }
    if told.is_empty() {
        told.push("the file holds no keys of sealed values".to_owned());
    }
    Ok(told)
}

fn name(held: &Held) -> String {
    format!("identity/{}", held.file)
}

fn path(data_dir: &Path, held: &Held) -> PathBuf {
    data_dir.join(name(held))
}

async fn note(db: &Db, act: &'static str, names: &[String]) -> Result<(), DbError> {
    let entry = &Entry::done(&Principal::system(), act, names.join(", "));
    db.write(|mut tx: Tx| async move {
        tx.audit(entry.clone());
        Ok::<_, DbError>(tx.done(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use lampas_api::KeyState;

    use super::*;
    use crate::{
        backup::KeyPair,
        db::testing,
        vault::{Vault, sealing::status},
    };

    async fn states(db: &Db, dir: &tempfile::TempDir) -> Vec<KeyState> {
        status(db, dir.path()).await.expect("read").into_iter().take(4).map(|k| k.state).collect()
    }

    #[tokio::test]
    async fn keys_come_to_the_other_controller_and_never_over_the_stores() {
        let store = testing::sqlite().await;
        let db = &store.db;
        let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let vault = |dir: &tempfile::TempDir, file, purpose| Vault::new(dir.path(), file, purpose);
        let pair = KeyPair::generate().expect("a pair");
        let to = &one.path().join("keys");
        export(db, one.path(), &pair.public, to).await.expect_err("there is none");
        vault(&one, "secret-key", "secret/1").settle(db).await.expect("settled");
        vault(&one, "source-key", "source/1").settle(db).await.expect("settled");
        // The other controller made one of its own before it knew.
        vault(&two, "secret-key", "secret/1").seal(&"x", b"x").expect("sealed");
        assert_eq!(states(db, &two).await, [KeyState::Other, KeyState::Unused, KeyState::Unused, KeyState::Missing]);
        let foreign = two.path().join("keys");
        let refused = export(db, two.path(), &pair.public, &foreign).await.expect_err("it is not the store's");
        assert!(matches!(refused, KeysError::Foreign(_)), "{refused}");

        let named = export(db, one.path(), &pair.public, to).await.expect("written");
        assert_eq!(named, ["identity/secret-key", "identity/source-key"]);
        let bytes = std::fs::read(one.path().join("identity/secret-key")).expect("read");
        let file = std::fs::read(to).expect("read");
        assert!(!file.windows(bytes.len()).any(|w| w == bytes), "it is sealed");
        export(db, one.path(), &pair.public, to).await.expect_err("no file is written over");
        let wrong = KeyPair::generate().expect("a pair").recovery;
        import(db, two.path(), &wrong, to).await.expect_err("sealed to another key");
        let told = import(db, two.path(), &pair.recovery, to).await.expect("taken");
        assert!(told[0].contains("before-import") && told[1].ends_with("is taken"), "{told:?}");
        assert_eq!(states(db, &two).await, [KeyState::Right, KeyState::Unused, KeyState::Unused, KeyState::Right]);
        assert!(two.path().join("identity/secret-key.before-import").exists());
        let again = import(db, two.path(), &pair.recovery, to).await.expect("the same");
        assert!(again.iter().all(|line| line.ends_with("is the same here")), "{again:?}");

        // A file with another key changes nothing where the store's is.
        let three = tempfile::tempdir().expect("a directory");
        let other = testing::sqlite().await;
        vault(&three, "secret-key", "secret/1").settle(&other.db).await.expect("settled");
        let strange = &three.path().join("keys");
        export(&other.db, three.path(), &pair.public, strange).await.expect("written");
        let refused = import(db, one.path(), &pair.recovery, strange).await.expect_err("another store's");
        assert!(matches!(refused, KeysError::Other(_)), "{refused}");
        let fresh = tempfile::tempdir().expect("a directory");
        let told = import(db, fresh.path(), &pair.recovery, strange).await.expect("told");
        assert!(told[0].contains("left out") && !fresh.path().join("identity/secret-key").exists(), "{told:?}");
    }
}
