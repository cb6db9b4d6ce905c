//! The first administrator: a one-time link, printed at the first start, that ends after a day.
//!
//! The secret stands in the fragment of the link, which browsers send to nobody. It is written to `DATA/setup-link`
//! (0600) and, unless standard output is the journal, printed. The store holds its hash.

pub mod api;
mod store;

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use lampas_api::{SetupRequest, SetupState};
use lampas_runtime::{clock, files};
use lampas_shared::{access::Preset, event::EventKind};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    access::{Access, AccessError, Opened, secret},
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{Db, DbError, Tx},
    event::NewEvent,
};

pub use store::{fleet_name, set_fleet_name};

/// How long the link lives.
const LIFE_MS: i64 = 24 * 3600 * 1000;

/// Why the link could not be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// The file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is an administrator already.
    #[error("there is an administrator already; sign in, or ask one for a new password")]
    Closed,
}

crate::store_error!(SetupError);

/// Makes a set-up link while there is no administrator, replacing the one before.
///
/// # Errors
/// When there is an administrator already, or the store or the file can't be written.
pub async fn renew(db: &Db, data_dir: &Path, dashboard: &str) -> Result<String, SetupError> {
    let now = clock::now();
    let secret = secret::make();
    let hash = &secret::hash(&secret);
    db.write(|mut tx: Tx| async move {
        if store::has_administrator(&mut tx).await? {
            return Err(SetupError::Closed);
        }
        store::put(&mut tx, hash, now, now.plus_ms(LIFE_MS)).await?;
        tx.audit(Entry::done(&Principal::system(), "setup.link", "set-up link"));
        Ok(tx.done(()))
    })
    .await?;
    let link = format!("{dashboard}/setup#{secret}");
    let path = link_file(data_dir);
    let written = files::replace(&path, format!("{link}\n").as_bytes(), 0o600);
    written.map_err(|source| SetupError::Write { path, source })?;
    Ok(link)
}

/// Offers the link at start: makes one when there is no administrator and none that still holds, and prints it.
///
/// # Errors
/// When the store or the file can't be written.
pub async fn offer(db: &Db, data_dir: &Path, dashboard: &str) -> Result<(), SetupError> {
    let now = clock::now();
    let (is_open, holds) = db
        .read(|mut tx: Tx| async move {
            let is_open = !store::has_administrator(&mut tx).await?;
            let row = store::get(&mut tx).await?;
            Ok::<_, DbError>(tx.done((is_open, row.is_some_and(|r| r.used_at.is_none() && now < r.expires_at))))
        })
        .await?;
    let file = link_file(data_dir);
    if !is_open {
        if let Err(error) = std::fs::remove_file(&file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(%error, path = %file.display(), "an old set-up link could not be removed");
        }
        return Ok(());
    }
    let kept = if holds { std::fs::read_to_string(&file).ok() } else { None };
    let link = match kept {
        Some(link) => link.trim().to_owned(),
        None => renew(db, data_dir, dashboard).await?,
    };
    info!(path = %file.display(), "no administrator yet: the set-up link stands in this file");
    if !stdout_is_journal() {
        println_link(&link);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the link is for the person who started the controller, never for a log")]
fn println_link(link: &str) {
    println!("Set up LAMPAS, within 24 hours:\n  {link}");
}

fn link_file(data_dir: &Path) -> PathBuf {
    data_dir.join("setup-link")
}

/// Returns whether standard output goes to the journal: systemd says device and inode of its stream (systemd.exec(5),
/// `$JOURNAL_STREAM`).
fn stdout_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(meta) = std::fs::metadata("/proc/self/fd/1") else { return true };
    stream == format!("{}:{}", meta.dev(), meta.ino())
}

/// Returns whether the controller still waits for its first administrator, and where security keys work.
pub async fn state(db: &Db, keys_url: Option<String>) -> Result<SetupState, DbError> {
    let keys_url = &keys_url;
    db.read(|mut tx: Tx| async move {
        let is_open = !store::has_administrator(&mut tx).await?;
        Ok(tx.done(SetupState { is_open, version: env!("CARGO_PKG_VERSION").to_owned(), keys_url: keys_url.clone() }))
    })
    .await
}

/// Makes the first administrator with the link's token, and signs in.
pub async fn complete(
    db: &Db,
    access: &Access,
    data_dir: &Path,
    caller: &Caller,
    wanted: &SetupRequest,
) -> Answer<Opened> {
    access.throttle_setup(caller)?;
    lampas_shared::check_line("fleet_name", &wanted.fleet_name, 64).map_err(|e| Refusal::text("/fleet_name", &e))?;
    let now = clock::now();
    let hash = &secret::hash(&wanted.token);
    let is_right = db
        .read(|mut tx: Tx| async move {
            let row = store::get(&mut tx).await?;
            Ok::<_, DbError>(
                tx.done(row.is_some_and(|r| r.used_at.is_none() && now < r.expires_at && r.secret_hash == *hash)),
            )
        })
        .await?;
    if !is_right {
        return Err(wrong_token());
    }
    if wanted.password.is_empty() {
        return Err(Refusal::field("/password", "is empty"));
    }
    let user = access.new_user(&wanted.login, Preset::Administrator, &wanted.password).await?;
    let by = &Principal::new(format!("user:{}", user.login), caller.address.to_string());
    let row = &user;
    db.write(|mut tx: Tx| async move {
        // Once more, in the transaction that uses it: two browsers may have the link.
        if store::has_administrator(&mut tx).await? {
            return Err(AccessError::from(Refusal::new("setup_closed", "there is an administrator already: sign in")));
        }
        if !store::take(&mut tx, hash, now).await? {
            return Err(wrong_token().into());
        }
        crate::access::insert_user(&mut tx, row).await?;
        if !wanted.fleet_name.is_empty() {
            set_fleet_name(&mut tx, &wanted.fleet_name).await?;
        }
        tx.audit(Entry::done(by, "setup.complete", row.login.as_str()));
        tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
        Ok(tx.done(()))
    })
    .await?;
    access.setup_done(caller);
    if let Err(error) = std::fs::remove_file(link_file(data_dir)) {
        warn!(%error, "the used set-up link could not be removed");
    }
    access.open(caller, &user, false).await
}

fn wrong_token() -> Refusal {
    Refusal::field("/token", "is wrong, used or over; `lampas-controller token setup` makes another link")
}
