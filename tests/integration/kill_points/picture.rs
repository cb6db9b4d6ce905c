//! What stands on a node: every file, directory and link with owner, mode and content.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Result, ensure};

/// All that is managed or could be, by path below the root; what the agent keeps for itself is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture(BTreeMap<String, Entry>);

impl std::ops::Deref for Picture {
    type Target = BTreeMap<String, Entry>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Picture {
    /// What is the same on all nodes.
    pub(super) fn without_name(&self) -> BTreeMap<String, Entry> {
        let own = ["etc/hostname", "etc/lampas/agent.toml"];
        self.0.iter().filter(|(p, _)| !own.contains(&p.as_str())).map(|(p, e)| (p.clone(), e.clone())).collect()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    mode: u32,
    uid: u32,
    gid: u32,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:o} {}:{} {:?}", self.mode, self.uid, self.gid, String::from_utf8_lossy(&self.bytes))
    }
}

impl Entry {
    pub(super) fn text(&self) -> Option<String> {
        String::from_utf8(self.bytes.clone()).ok()
    }

    /// A directory on its way from one owner and mode to others: it allows what both did.
    pub(super) fn is_between(&self, old: &Self, new: &Self) -> bool {
        self.mode & 0o170_000 == 0o040_000
            && self.mode == old.mode & new.mode
            && [old.uid, new.uid].contains(&self.uid)
            && [old.gid, new.gid].contains(&self.gid)
    }

    /// A directory that was just made, and that nobody but root may enter yet.
    pub(super) fn is_fresh_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000 && self.mode & 0o7777 == 0o700
    }
}

pub(super) fn picture(root: &Path) -> Result<Picture> {
    let mut found = BTreeMap::new();
    for path in walk(root)? {
        if path.starts_with("var/lib/lampas") || path.starts_with("run") {
            continue;
        }
        let at = root.join(&path);
        let meta = at.symlink_metadata()?;
        let bytes = match meta.file_type() {
            kind if kind.is_symlink() => fs::read_link(&at)?.into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => without_root(fs::read(&at)?),
            _ => Vec::new(),
        };
        found.insert(path, Entry { mode: meta.mode(), uid: meta.uid(), gid: meta.gid(), bytes });
    }
    Ok(Picture(found))
}

/// Cron's lines name the root, which is another for each copy.
pub(super) fn without_root(bytes: Vec<u8>) -> Vec<u8> {
    const ARGUMENT: &str = "--root ";
    let Ok(text) = std::str::from_utf8(&bytes) else { return bytes };
    let lines = text.split_inclusive('\n').map(|line| match line.split_once(ARGUMENT) {
        Some((before, rest)) => format!("{before}{}", rest.split_once(' ').map_or(rest, |(_, after)| after)),
        None => line.to_owned(),
    });
    lines.collect::<String>().into_bytes()
}

pub(super) fn walk(root: &Path) -> Result<Vec<String>> {
    let (mut found, mut todo) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            // A running agent's file may be renamed meanwhile.
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                todo.push(path.clone());
            }
            found.push(path.strip_prefix(root)?.display().to_string());
        }
    }
    Ok(found)
}

/// What is written beside a file before it is renamed into place.
pub(super) fn is_beside(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_nonce = |end: &str| end.len() == 16 && end.bytes().all(|b| b.is_ascii_hexdigit());
    name.starts_with(".lampas-") || name.starts_with('.') && name.rsplit('.').next().is_some_and(is_nonce)
}

/// Every path is as it was in one of these pictures, whole, with owner and mode.
pub(super) fn check_torn(found: &Picture, allowed: &[&Picture; 2]) -> Result<()> {
    let paths: BTreeSet<_> = allowed.iter().flat_map(|p| p.keys()).chain(found.keys()).collect();
    for path in paths {
        let entry = found.get(path);
        let is_whole = allowed.iter().any(|p| p.get(path) == entry);
        let between = |e: &Entry| match (allowed[0].get(path), allowed[1].get(path)) {
            (Some(old), Some(new)) => e.is_between(old, new),
            _ => false,
        };
        let is_begun = entry.is_some_and(|e| is_beside(path) || e.is_fresh_directory() || between(e));
        ensure!(is_whole || is_begun, "{path} is neither old nor new: {entry:?}");
    }
    Ok(())
}

pub(super) fn difference(found: &Picture, wanted: &Picture) -> String {
    let paths: BTreeSet<_> = found.keys().chain(wanted.keys()).filter(|p| found.get(*p) != wanted.get(*p)).collect();
    let line = |p: &String| format!("{p}: {:?} instead of {:?}", found.get(p), wanted.get(p));
    paths.into_iter().map(line).collect::<Vec<_>>().join("\n  ")
}
