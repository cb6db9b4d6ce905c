//! What a step puts in a place, how it looks beside what stands there, and the fingerprints of both.

use std::collections::BTreeMap;

use lampas_shared::{desired::ContentHash, error::Fault};

use crate::{
    host::diff,
    system::{Modified, Root, Seen},
};

/// What a step puts in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// Nothing is written; only the record changes.
    Keep,
    /// A file.
    File { bytes: Vec<u8>, uid: u32, gid: u32, mode: u32, xattrs: BTreeMap<String, Vec<u8>>, modified: Modified },
    /// A directory.
    Directory { uid: u32, gid: u32, mode: u32 },
    /// A symbolic link.
    Link { to: String },
    /// Nothing stands there afterwards.
    Gone,
    /// The directory goes if it is empty.
    GoneDirectory,
    /// An account, as its text says it; a new one gets its home made or not.
    Account { bytes: Vec<u8>, makes_home: bool },
    /// An account goes, and its home with it.
    GoneWithHome,
}

impl Put {
    /// Returns the fingerprint of a place after this was put there.
    pub(crate) fn fingerprint(&self, root: &Root) -> ContentHash {
        let seen = match self {
            Self::File { bytes, uid, gid, mode, .. } => {
                return file_print(root, &ContentHash::of(bytes), *uid, *gid, *mode);
            }
            Self::Directory { uid, gid, mode } => {
                return print_of(root, "directory", &ContentHash::of(&[]), *uid, *gid, *mode);
            }
            Self::Link { to } => Seen::Link { to: to.clone(), uid: 0, modified_ns: 0 },
            Self::Account { bytes, .. } => return file_print(root, &ContentHash::of(bytes), 0, 0, 0o644),
            Self::Keep | Self::Gone | Self::GoneDirectory | Self::GoneWithHome => Seen::Absent,
        };
        fingerprint(root, &seen, false)
    }

    fn text(&self) -> (Vec<u8>, u32) {
        match self {
            Self::File { bytes, mode, .. } => (bytes.clone(), *mode),
            Self::Link { to } => (format!("-> {to}\n").into_bytes(), 0o777),
            Self::Directory { uid, gid, mode } => (format!("directory {mode:04o} {uid}:{gid}\n").into_bytes(), 0o777),
            Self::Account { bytes, .. } => (bytes.clone(), 0o644),
            Self::Keep | Self::Gone | Self::GoneDirectory | Self::GoneWithHome => (Vec::new(), 0o777),
        }
    }

    pub(super) fn diff_from(&self, path: &str, seen: &Seen) -> String {
        let ((new, new_mode), (old, old_mode)) = (self.text(), text_of(seen));
        show(path, (&old, old_mode), (&new, new_mode), self.meta_line(), meta_line(seen))
    }

    pub(super) fn diff_to(&self, path: &str, seen: &Seen) -> String {
        let ((wanted, wanted_mode), (found, found_mode)) = (self.text(), text_of(seen));
        show(path, (&wanted, wanted_mode), (&found, found_mode), meta_line(seen), self.meta_line())
    }

    fn meta_line(&self) -> Option<String> {
        match self {
            Self::File { uid, gid, mode, .. } => Some(format!("mode {mode:04o}, owner {uid}:{gid}")),
            _ => None,
        }
    }

    /// Says why this can't take the place of what stands there.
    pub(super) fn clash(&self, path: &str, seen: &Seen) -> Option<Fault> {
        let (found, wanted) = match (self, seen) {
            (Self::File { .. }, Seen::Directory { .. }) => ("a directory", "a file"),
            (Self::Link { .. }, Seen::Directory { .. }) => ("a directory", "a link"),
            (Self::Directory { .. }, Seen::File { .. }) => ("a file", "a directory"),
            (Self::Directory { .. }, Seen::Link { .. }) => ("a symbolic link", "a directory"),
            _ => return None,
        };
        Some(Fault::lasting(
            "file.wrong_kind",
            format!("{path}: {found} stands where {wanted} shall be; move it away first"),
        ))
    }
}

fn text_of(seen: &Seen) -> (Vec<u8>, u32) {
    match seen {
        Seen::Absent => (Vec::new(), 0o777),
        Seen::File { bytes, meta, .. } => (bytes.clone(), meta.mode),
        Seen::Link { to, .. } => (format!("-> {to}\n").into_bytes(), 0o777),
        Seen::Directory { meta } => {
            (format!("directory {:04o} {}:{}\n", meta.mode, meta.uid, meta.gid).into_bytes(), 0o777)
        }
    }
}

fn meta_line(seen: &Seen) -> Option<String> {
    match seen {
        Seen::File { meta, .. } => Some(format!("mode {:04o}, owner {}:{}", meta.mode, meta.uid, meta.gid)),
        _ => None,
    }
}

/// Shows a diff; only sizes and hashes where either side isn't readable by everybody on the node.
fn show(
    path: &str,
    old: (&[u8], u32),
    new: (&[u8], u32),
    new_meta: Option<String>,
    old_meta: Option<String>,
) -> String {
    let is_public = old.1 & 0o004 != 0 && new.1 & 0o004 != 0;
    let mut diff = if is_public { diff::unified(path, old.0, new.0) } else { diff::summary(path, old.0, new.0) };
    if let (Some(old), Some(new)) = (old_meta, new_meta)
        && old != new
    {
        diff = format!("{diff}- {old}\n+ {new}\n");
    }
    diff
}

/// Returns what two looks at a place have in common when nobody changed it. Owners count only when the agent could have
/// set them.
pub(crate) fn fingerprint(root: &Root, seen: &Seen, is_single: bool) -> ContentHash {
    match seen {
        Seen::Absent => ContentHash::of(b"absent"),
        Seen::File { bytes, meta, links } => {
            let kind = if is_single && *links > 1 { "linked file" } else { "file" };
            print_of(root, kind, &ContentHash::of(bytes), meta.uid, meta.gid, meta.mode)
        }
        Seen::Directory { meta } => print_of(root, "directory", &ContentHash::of(&[]), meta.uid, meta.gid, meta.mode),
        Seen::Link { to, .. } => ContentHash::of(format!("link {to}").as_bytes()),
    }
}

/// Returns the fingerprint of a regular file by the hash of its content.
pub(crate) fn file_print(root: &Root, hash: &ContentHash, uid: u32, gid: u32, mode: u32) -> ContentHash {
    print_of(root, "file", hash, uid, gid, mode)
}

fn print_of(root: &Root, kind: &str, hash: &ContentHash, uid: u32, gid: u32, mode: u32) -> ContentHash {
    let owner = if root.is_privileged() { format!("{uid}:{gid}") } else { "-".to_owned() };
    ContentHash::of(format!("{kind} {hash} {mode:o} {owner}").as_bytes())
}
