//! Copies that go with the values of secrets in them; and those of an earlier agent, which sealed none.

use std::collections::BTreeSet;

use lampas_shared::{id::SecretValueId, time::UnixMs};

use super::{
    BY_HAND, DIRECTORY, Holds, MAX_STORED_BYTES, NOTE, OF_USERS, SEALED, Stored, by_hand_name, needed, private,
    regular,
    sealed::{digits, stored},
    sweep,
};
use crate::{
    host::{Ownership, Undo},
    system::{Modified, PathError, Root},
};

/// Says that copies of an agent that sealed none were looked through. Beside the directory, which may be put aside.
const LOOKED: &str = "/var/lib/lampas/agent/kept-sealed";

/// A copy of what somebody made by hand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Copy {
    /// Its name.
    pub name: String,
    /// When it was kept, by the node's clock.
    pub at: UnixMs,
    /// Whether it is sealed, since it may hold values of secrets.
    pub is_sealed: bool,
}

/// Removes the copies in which one of these values may stand: of edits by hand, of passwords, and of what an undo needed that
/// is over. Names each that goes to `removed`. Returns the originals that stay, since they come back when their objects go: the
/// place and the value.
///
/// # Errors
/// When a copy can't be read or removed; asking again goes on from there.
pub fn purge(
    root: &Root,
    ownership: &Ownership,
    undos: &[&Undo],
    values: &BTreeSet<SecretValueId>,
    removed: &mut dyn FnMut(&str),
) -> Result<Vec<(String, SecretValueId)>, PathError> {
    sweep(root, ownership, undos)?;
    for path in others(root)? {
        let Some(bytes) = root.read(&path, MAX_STORED_BYTES)? else { continue };
        if of_name(&path, bytes).holds().may_hold(values) {
            root.remove(&path, 0)?;
            removed(path.strip_prefix(DIRECTORY).unwrap_or(&path).trim_start_matches('/'));
        }
    }
    let mut stay = Vec::new();
    for (name, (place, _)) in needed(ownership, undos) {
        let hash = name.parse().ok();
        if let Some(Holds::Values(held)) = hash.and_then(|hash| super::stored(root, &hash)).map(|s| s.holds()) {
            stay.extend(held.intersection(values).map(|value| (place.to_owned(), *value)));
        }
    }
    // A write that a kill cut off leaves what it was about to put there beside the place.
    let steps = undos.iter().flat_map(|undo| undo.steps.iter().map(|step| step.path.as_str()));
    for path in ownership.places.keys().map(String::as_str).chain(steps).filter(|path| path.starts_with('/')) {
        let owner = root.accounts().home_owner(path).unwrap_or(0);
        // Where nothing can be written, nothing was.
        let _ = root.clear_left_over(path, owner);
    }
    Ok(stay)
}

/// Removes all sealed copies: the node is managed no more, and its key goes.
///
/// # Errors
/// When one can't be removed.
pub fn forget_sealed(root: &Root) -> Result<(), PathError> {
    sweep(root, &Ownership::default(), &[])?;
    for path in others(root)? {
        let Some(bytes) = root.read(&path, MAX_STORED_BYTES)? else { continue };
        if matches!(of_name(&path, bytes), Stored::Sealed(..)) {
            root.remove(&path, 0)?;
        }
    }
    Ok(())
}

/// Seals what an earlier agent kept in plain of places with secrets, once. Of its copies by hand it is known only of places
/// that LAMPAS still owns that they hold none.
///
/// # Errors
/// When one can't be read, sealed or removed; the next start goes on from there.
pub fn seal_earlier(root: &Root, ownership: &Ownership, undos: &[&Undo]) -> Result<(), PathError> {
    if root.read(LOOKED, 64)?.is_some() {
        return Ok(());
    }
    for (name, (place, is_secret)) in needed(ownership, undos) {
        let Some(hash) = name.parse().ok().filter(|_| is_secret) else { continue };
        if let Some(Stored::Plain(bytes)) = super::stored(root, &hash) {
            let sealed = stored(root, place, &Holds::Values(BTreeSet::new()), &bytes)?;
            root.write(&format!("{DIRECTORY}/{name}"), &private(root, &sealed))?;
        }
    }
    let is_secret = |path: &&String| ownership.places.get(*path).is_some_and(|owned| owned.holds_secrets);
    let plain: Vec<String> =
        ownership.places.keys().filter(|path| !is_secret(path)).map(|path| by_hand_name(path, false, "")).collect();
    for path in others(root)? {
        let is_by_hand = path.starts_with(BY_HAND);
        // What somebody else left there may be named in any way.
        let (stem, ending) = path.split_at_checked(path.len().saturating_sub(8)).unwrap_or((&path, "."));
        let is_harmless = if is_by_hand {
            path.ends_with(SEALED) || plain.contains(&stem.replacen(OF_USERS, "", 1))
        } else {
            !path.starts_with(&format!("{DIRECTORY}/{NOTE}password-"))
        };
        let at = root.place(&path, 0)?.stamp(path.rsplit('/').next().unwrap_or_default());
        let (Some(at), false) = (at, is_harmless) else { continue };
        let Some(Stored::Plain(bytes)) = root.read(&path, MAX_STORED_BYTES)?.map(|bytes| of_name(&path, bytes)) else {
            continue;
        };
        let to = match is_by_hand {
            false => path.clone(),
            true if ending.chars().all(|c| c.is_ascii_hexdigit()) => format!("{stem}{}{SEALED}", digits(root, &bytes)?),
            true => format!("{path}{SEALED}"),
        };
        let sealed = stored(root, "", &Holds::Any, &bytes)?;
        let file = crate::system::NewFile { modified: Modified::At(at.modified_ns), ..private(root, &sealed) };
        root.write(&to, &file)?;
        if to != path {
            root.remove(&path, 0)?;
        }
    }
    root.make_directories("/var/lib/lampas/agent", 0o700)?;
    root.write(LOOKED, &private(root, b"1\n"))
}

/// Lists the copies of what people made by hand, the newest first.
///
/// # Errors
/// When the directory can't be read.
pub fn copies(root: &Root) -> Result<Vec<Copy>, PathError> {
    let mut copies = Vec::new();
    for (name, stamp) in regular(root, BY_HAND)? {
        if !name.starts_with('.') {
            let is_sealed = name.ends_with(SEALED);
            copies.push(Copy { name, at: UnixMs(stamp.modified_ns / 1_000_000), is_sealed });
        }
    }
    copies.sort_by(|a, b| (b.at, &a.name).cmp(&(a.at, &b.name)));
    Ok(copies)
}

/// Returns the content of such a copy; `None` when there is none of this name, or it can't be opened.
///
/// # Errors
/// When it can't be read.
pub fn copy(root: &Root, name: &str) -> Result<Option<Vec<u8>>, PathError> {
    if name.contains('/') || name.starts_with('.') {
        return Ok(None);
    }
    let path = format!("{BY_HAND}/{name}");
    let found = root.read(&path, MAX_STORED_BYTES)?;
    Ok(found.and_then(|bytes| of_name(&path, bytes).open(root)))
}

/// Lists the copies that are not originals: those of edits by hand, and notes.
fn others(root: &Root) -> Result<Vec<String>, PathError> {
    let below = |directory: &str, prefix: &str| -> Result<Vec<String>, PathError> {
        let names = regular(root, directory)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|n| n.starts_with(prefix)).map(|n| format!("{directory}/{n}")).collect())
    };
    Ok([below(BY_HAND, "")?, below(DIRECTORY, NOTE)?].concat())
}

/// Tells what stands there by its name, where that says it.
fn of_name(path: &str, bytes: Vec<u8>) -> Stored {
    Stored::of(bytes, |_| path.starts_with(BY_HAND) && !path.ends_with(SEALED))
}
