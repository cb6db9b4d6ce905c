//! What stood before LAMPAS, and what people changed: copies below `/var/lib/lampas/agent/kept`, readable by root alone.
//!
//! Originals are named by their hash, so that a record needs no bytes. Copies of changes by hand, which LAMPAS is about
//! to overwrite or remove, are for people: they are named after the file they came from.
//!
//! Beside them lies a copy of the ownership: it says whose originals they are when the journal is lost.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::desired::ContentHash;

use super::{Before, Ownership, Undo};
use crate::system::{Modified, NewFile, PathError, Root, root::MAX_FILE_BYTES};

const DIRECTORY: &str = "/var/lib/lampas/agent/kept";
const BY_HAND: &str = "/var/lib/lampas/agent/kept/by-hand";
const OWNERSHIP: &str = "/var/lib/lampas/agent/kept/ownership.json";
/// A copy of ten thousand places and their claims is a few MiB.
const MAX_OWNERSHIP_BYTES: u64 = 64 << 20;
/// Enough to go back through a bad week; a loop that writes the same content makes one copy only.
const MAX_BY_HAND: usize = 256;

/// Keeps the bytes of an original, durably.
pub(super) fn keep(root: &Root, bytes: &[u8]) -> Result<ContentHash, PathError> {
    let hash = ContentHash::of(bytes);
    let path = format!("{DIRECTORY}/{hash}");
    if root.read(&path, MAX_FILE_BYTES).ok().flatten().is_some_and(|b| b == bytes) {
        return Ok(hash);
    }
    root.make_directories(DIRECTORY, 0o700)?;
    root.write(&path, &private(root, bytes))?;
    Ok(hash)
}

/// Returns the bytes of an original; `None` when they are gone or damaged.
pub(super) fn original(root: &Root, hash: &ContentHash) -> Option<Vec<u8>> {
    let bytes = root.read(&format!("{DIRECTORY}/{hash}"), MAX_FILE_BYTES).ok().flatten()?;
    (ContentHash::of(&bytes) == *hash).then_some(bytes)
}

/// Returns where a copy of what somebody made by hand is kept.
pub(super) fn by_hand_path(path: &str, bytes: &[u8]) -> String {
    let name: String = path.trim_start_matches('/').chars().map(|c| if c == '/' { '_' } else { c }).collect();
    let from = name.char_indices().rev().nth(99).map_or(0, |(i, _)| i);
    format!("{BY_HAND}/{}-{}", &name[from..], ContentHash::of(bytes).short())
}

/// Keeps a copy of what somebody made by hand.
pub(super) fn keep_by_hand(root: &Root, path: &str, bytes: &[u8]) -> Result<(), PathError> {
    root.make_directories(BY_HAND, 0o700)?;
    root.write(&by_hand_path(path, bytes), &private(root, bytes))?;
    let names = root.list(BY_HAND, 10_000)?.unwrap_or_default();
    if names.len() > MAX_BY_HAND {
        let mut by_age: Vec<(i64, String)> = Vec::new();
        for name in names {
            let path = format!("{BY_HAND}/{name}");
            if let Ok(crate::system::Seen::File { meta, .. }) = root.look(&path, 0) {
                by_age.push((meta.modified_ns, path));
            }
        }
        by_age.sort();
        for (_, path) in by_age.iter().take(by_age.len().saturating_sub(MAX_BY_HAND)) {
            root.remove(path, 0)?;
        }
    }
    Ok(())
}

/// Keeps what must be known to bring something back that is no file: a password, the members of a group.
pub(super) fn keep_note(root: &Root, name: &str, bytes: &[u8]) -> Result<(), PathError> {
    root.make_directories(DIRECTORY, 0o700)?;
    root.write(&format!("{DIRECTORY}/note-{name}"), &private(root, bytes))
}

/// Returns such a note; `None` when there is none.
pub(super) fn note(root: &Root, name: &str) -> Option<Vec<u8>> {
    root.read(&format!("{DIRECTORY}/note-{name}"), MAX_FILE_BYTES).ok().flatten()
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
    let hash_of = |before: &Before| match before {
        Before::File { hash, .. } => Some(hash.to_string()),
        _ => None,
    };
    let ownerships = std::iter::once(ownership).chain(undos.iter().map(|u| &u.ownership));
    let mut needed: BTreeSet<String> =
        ownerships.flat_map(|o| o.places.values()).filter_map(|o| hash_of(&o.before)).collect();
    needed.extend(undos.iter().flat_map(|u| &u.steps).filter_map(|s| hash_of(&s.before)));
    for name in root.list(DIRECTORY, 1_000_000)?.unwrap_or_default() {
        if name.len() == 64 && !needed.contains(&name) {
            root.remove(&format!("{DIRECTORY}/{name}"), 0)?;
        }
    }
    Ok(())
}

fn private<'a>(root: &Root, bytes: &'a [u8]) -> NewFile<'a> {
    static NONE: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let uid = root.euid();
    NewFile { bytes, uid, gid: 0, mode: 0o600, xattrs: &NONE, modified: Modified::Now }
}
