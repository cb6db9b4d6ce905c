//! What stood before LAMPAS, and what people changed: copies below `/var/lib/lampas/agent/kept`, readable by root alone.
//!
//! Originals are named by their hash, so that a record needs no bytes. Copies of changes by hand, which LAMPAS is about
//! to overwrite or remove, are for people: they are named after the file they came from.
//!
//! What may hold values of secrets is sealed to the node's key ([`sealed`]); a purge of values takes such copies away
//! (`purge`).
//!
//! Beside them lies a copy of the ownership: it says whose originals they are when the journal is lost.

mod purge;
mod sealed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lampas_shared::desired::ContentHash;

pub use self::purge::{Copy, copies, copy, forget_sealed, purge, seal_earlier};
pub(super) use self::sealed::Holds;
use self::sealed::Stored;
use super::{Before, Owned, Ownership, Undo, account, cron};
use crate::system::{Modified, NewFile, PathError, Root, Stamp, root::MAX_FILE_BYTES};

const DIRECTORY: &str = "/var/lib/lampas/agent/kept";
const BY_HAND: &str = "/var/lib/lampas/agent/kept/by-hand";
const OWNERSHIP: &str = "/var/lib/lampas/agent/kept/ownership.json";
/// What a sealed copy's name ends with, for people.
const SEALED: &str = ".sealed";
const NOTE: &str = "note-";
/// A copy of ten thousand places and their claims is a few MiB.
const MAX_OWNERSHIP_BYTES: u64 = 64 << 20;
/// Enough to go back through a bad week; a loop that writes the same content makes one copy only.
const MAX_BY_HAND: usize = 256;
/// One of the largest files, or many of what people edit.
const MAX_BY_HAND_BYTES: u64 = MAX_FILE_BYTES;
/// What the name of a copy begins with that was made of a user's file: these have bounds of their own, so that nobody but root
/// has copies of root's files let go.
const OF_USERS: &str = "of-user.";
const MAX_BY_USERS: usize = 64;
const MAX_BY_USERS_BYTES: u64 = 16 << 20;
/// More than anybody types into a file in their home,
const MAX_OF_HOME: usize = 1 << 20;
/// and more than a program's account has for a configuration.
const MAX_OF_USERS: usize = 8 << 20;

/// What a seal and its head add to the largest content.
const MAX_STORED_BYTES: u64 = MAX_FILE_BYTES + (1 << 20);

/// Keeps the bytes of an original, durably: of which place, and what they hold of secrets.
pub(super) fn keep(root: &Root, of: &str, holds: Holds, bytes: &[u8]) -> Result<ContentHash, PathError> {
    let hash = ContentHash::of(bytes);
    let path = format!("{DIRECTORY}/{hash}");
    let holds = match stored(root, &hash) {
        None => holds,
        Some(standing) => {
            let stands = standing.holds();
            let all = stands.clone().with(holds);
            if stands == all && standing.open(root).is_some_and(|b| b == bytes) {
                return Ok(hash);
            }
            all
        }
    };
    root.make_directories(DIRECTORY, 0o700)?;
    root.write(&path, &private(root, &sealed::stored(root, of, &holds, bytes)?))?;
    Ok(hash)
}

/// Returns the bytes of an original; `None` when they are gone or damaged.
pub(super) fn original(root: &Root, hash: &ContentHash) -> Option<Vec<u8>> {
    stored(root, hash)?.open(root).filter(|bytes| ContentHash::of(bytes) == *hash)
}

fn stored(root: &Root, hash: &ContentHash) -> Option<Stored> {
    let bytes = root.read(&format!("{DIRECTORY}/{hash}"), MAX_STORED_BYTES).ok().flatten()?;
    Some(Stored::of(bytes, |bytes| ContentHash::of(bytes) == *hash))
}

/// Returns where a plain copy of what somebody made by hand is kept; `owner` is whose file it is.
pub(super) fn by_hand_path(root: &Root, path: &str, owner: u32, bytes: &[u8]) -> String {
    by_hand_name(path, is_users(root, path, owner), &ContentHash::of(bytes).short())
}

fn by_hand_name(path: &str, is_users: bool, digits: &str) -> String {
    let name: String = path.trim_start_matches('/').chars().map(|c| if c == '/' { '_' } else { c }).collect();
    let from = name.char_indices().rev().nth(99).map_or(0, |(i, _)| i);
    format!("{BY_HAND}/{}{}-{digits}", if is_users { OF_USERS } else { "" }, &name[from..])
}

/// Whether somebody but root may write a file as they like.
fn is_users(root: &Root, path: &str, owner: u32) -> bool {
    owner != 0
        || cron::user_of(path).is_some_and(|user| user != "root")
        || root.accounts().home_owner(path).is_some_and(|uid| uid != 0)
}

/// Keeps a copy of what somebody made by hand, and lets the oldest go: users who write again and again must fill neither the
/// disk nor the place of root's copies. Of a large file of a user it is the beginning.
pub(super) fn keep_by_hand(root: &Root, path: &str, owner: u32, holds: &Holds, bytes: &[u8]) -> Result<(), PathError> {
    root.make_directories(BY_HAND, 0o700)?;
    let is_users = is_users(root, path, owner);
    let most = match (is_users, root.accounts().home_owner(path)) {
        (false, _) => bytes.len(),
        (true, Some(_)) => MAX_OF_HOME,
        (true, None) => MAX_OF_USERS,
    };
    let kept = &bytes[..bytes.len().min(most)];
    let written = match holds {
        Holds::Nothing => by_hand_path(root, path, owner, bytes),
        _ => format!("{}{SEALED}", by_hand_name(path, is_users, &sealed::digits(root, bytes)?)),
    };
    root.write(&written, &private(root, &sealed::stored(root, path, holds, kept)?))?;
    let mut copies: Vec<(i64, u64, String)> = regular(root, BY_HAND)?
        .into_iter()
        .filter(|(name, _)| name.starts_with(OF_USERS) == is_users && !written.ends_with(&format!("/{name}")))
        .map(|(name, stamp)| (stamp.modified_ns, stamp.size, name))
        .collect();
    copies.sort_by(|a, b| b.cmp(a));
    let (most, most_bytes) =
        if is_users { (MAX_BY_USERS, MAX_BY_USERS_BYTES) } else { (MAX_BY_HAND, MAX_BY_HAND_BYTES) };
    let (mut count, mut total) = (1, kept.len() as u64);
    for (_, size, name) in copies {
        count += 1;
        total += size;
        if count > most || total > most_bytes {
            root.remove(&format!("{BY_HAND}/{name}"), 0)?;
        }
    }
    Ok(())
}

/// Lists the regular files in a directory of copies. What else somebody put there (a directory, a link) holds nothing that
/// LAMPAS kept, and stays.
fn regular(root: &Root, directory: &str) -> Result<Vec<(String, Stamp)>, PathError> {
    let Some(names) = root.list(directory, 1_000_000)?.filter(|names| !names.is_empty()) else { return Ok(Vec::new()) };
    let place = root.place(&format!("{directory}/any"), 0)?;
    Ok(names.into_iter().filter_map(|name| place.stamp(&name).map(|stamp| (name, stamp))).collect())
}

/// Keeps what must be known to bring something back that is no file: a password, the members of a group.
pub(super) fn keep_note(root: &Root, name: &str, holds: &Holds, bytes: &[u8]) -> Result<(), PathError> {
    root.make_directories(DIRECTORY, 0o700)?;
    let bytes = sealed::stored(root, name, holds, bytes)?;
    root.write(&format!("{DIRECTORY}/{NOTE}{name}"), &private(root, &bytes))
}

/// Returns such a note; `None` when there is none.
pub(super) fn note(root: &Root, name: &str) -> Option<Vec<u8>> {
    let bytes = root.read(&format!("{DIRECTORY}/{NOTE}{name}"), MAX_STORED_BYTES).ok().flatten()?;
    Stored::of(bytes, |_| false).open(root)
}

/// Keeps a copy of the ownership, durably.
///
/// # Errors
/// When it can't be written; the earlier copy stands then.
pub fn keep_ownership(root: &Root, ownership: &Ownership) -> Result<(), PathError> {
    root.make_directories(DIRECTORY, 0o700)?;
    let bytes = serde_json::to_vec(ownership).expect("an ownership has text keys and no failing serialisers");
    root.write(OWNERSHIP, &private(root, &bytes))
}

/// Removes the copy of the ownership: nothing is owned any more.
///
/// # Errors
/// When it can't be removed.
pub fn forget_ownership(root: &Root) -> Result<(), PathError> {
    root.remove(OWNERSHIP, 0)
}

/// Returns the copy of the ownership; `None` when there is none, or when it is damaged.
pub fn kept_ownership(root: &Root) -> Option<Ownership> {
    let bytes = root.read(OWNERSHIP, MAX_OWNERSHIP_BYTES).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Renames the directory of originals, so that no sweep takes those of which nobody knows where they stood. Returns the
/// directory's new path; `None` when there are none.
///
/// # Errors
/// When it can't be renamed.
pub fn put_aside(root: &Root) -> Result<Option<String>, PathError> {
    if root.list(DIRECTORY, 1)?.is_none_or(|names| names.is_empty()) {
        return Ok(None);
    }
    let place = root.place(DIRECTORY, 0)?;
    for n in 1..10_000 {
        let name = format!("kept.orphaned-{n}");
        match rustix::fs::renameat_with(&place.dir, &place.name, &place.dir, &name, rustix::fs::RenameFlags::NOREPLACE)
        {
            Ok(()) => return Ok(Some(DIRECTORY.replace("/kept", &format!("/{name}")))),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(place.system("can't put the originals aside", errno)),
        }
    }
    Err(place.system("there are 10,000 directories of orphaned originals already", rustix::io::Errno::EXIST))
}

/// Removes originals that neither the ownership nor any of the undo records needs. Call it after the journal has let go
/// of an undo record, never during an apply.
pub fn sweep(root: &Root, ownership: &Ownership, undos: &[&Undo]) -> Result<(), PathError> {
    let needed = needed(ownership, undos);
    for (name, _) in regular(root, DIRECTORY)? {
        if name.len() == 64 && !needed.contains_key(&name) {
            root.remove(&format!("{DIRECTORY}/{name}"), 0)?;
        }
    }
    Ok(())
}

/// Returns the originals that are needed, by name, each with a place that it is of and whether secrets stood or stand there.
fn needed<'a>(ownership: &'a Ownership, undos: &[&'a Undo]) -> BTreeMap<String, (&'a str, bool)> {
    fn enter<'a>(into: &mut BTreeMap<String, (&'a str, bool)>, path: &'a str, before: &Before, owned: Option<&Owned>) {
        if let Before::File { hash, .. } = before {
            let is_secret = account::is_password(path) || owned.is_some_and(|owned| owned.holds_secrets);
            into.entry(hash.to_string()).or_insert((path, false)).1 |= is_secret;
        }
    }
    let mut needed = BTreeMap::new();
    for (path, owned) in std::iter::once(ownership).chain(undos.iter().map(|u| &u.ownership)).flat_map(|o| &o.places) {
        enter(&mut needed, path, &owned.before, Some(owned));
    }
    for (undo, step) in undos.iter().flat_map(|undo| undo.steps.iter().map(move |step| (undo, step))) {
        let owned = undo.ownership.places.get(&step.path).or_else(|| ownership.places.get(&step.path));
        enter(&mut needed, &step.path, &step.before, owned);
    }
    needed
}

fn private<'a>(root: &Root, bytes: &'a [u8]) -> NewFile<'a> {
    static NONE: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let uid = root.euid();
    NewFile { bytes, uid, gid: 0, mode: 0o600, xattrs: &NONE, modified: Modified::Now }
}
