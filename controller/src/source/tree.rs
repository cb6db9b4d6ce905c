//! What a commit holds: its manifests, read out of the tree without a checkout.
//!
//! Only regular files count. What else carries a manifest's name, like a symbolic link, is passed over and told.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use lampas_api::SourceCommit;
use lampas_manifest::{ManifestEntry, ManifestFile};
use lampas_shared::{deceptive_char, source::GitFolder};

use super::{
    Trouble,
    fetch::Checkout,
    run::{Blobs, clean},
};

/// The most entries of a folder; the list of them is read whole.
const MAX_ENTRIES: usize = 100_000;
/// The most manifests.
const MAX_MANIFESTS: usize = 10_000;
/// The longest manifest.
const MAX_MANIFEST: u64 = 4 << 20;
/// The longest file that a manifest names.
const MAX_FILE: u64 = 1 << 20;
/// All of them together.
const MAX_ALL: u64 = 64 << 20;
/// How many notes are kept of what was passed over.
const NOTES: usize = 50;
/// How many mistakes are told.
const MISTAKES: usize = 100;

/// What a commit says.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) commit: SourceCommit,
    pub(super) entries: Vec<ManifestEntry>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File { id: String, size: u64 },
    Link,
    Submodule,
}

/// Reads the manifests of a folder. Blocking.
pub(super) fn read(checkout: &Checkout, folder: &GitFolder) -> Result<Content, Trouble> {
    let commit = &checkout.commit;
    let tree = match folder.as_str() {
        "" => commit.id.clone(),
        folder => format!("{}:{folder}", commit.id),
    };
    let listed = checkout.runner.git(&["ls-tree", "-r", "-z", "-l", "--full-tree", &tree], 64 << 20)?;
    if !listed.is_ok() {
        let text = format!("commit {} has no folder {folder}", &commit.id[..12]);
        return Err(Trouble::new("manifest", text, "name another with: lampasctl source set NAME --folder FOLDER"));
    }
    let mut notes = Vec::new();
    let tree = entries(&listed.out, &mut notes)?;
    let mut wanted = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| path.strip_suffix(".toml").is_some()) {
        match entry {
            Entry::File { size, .. } if *size > MAX_MANIFEST => {
                let text = format!("{path} has {size} bytes, a manifest has at most {MAX_MANIFEST}");
                return Err(Trouble::new("manifest", text, "take it apart, or move it out of the folder"));
            }
            Entry::File { id, size } => wanted.push((path, id, *size)),
            Entry::Link => notes.push(format!("{path} is a symbolic link: passed over")),
            Entry::Submodule => notes.push(format!("{path} is a submodule: passed over")),
        }
    }
    if wanted.len() > MAX_MANIFESTS {
        let text = format!("the folder holds {} manifests, at most {MAX_MANIFESTS} are read", wanted.len());
        return Err(Trouble::new("manifest", text, "point the source at a smaller folder, or make several sources"));
    }
    let total = Cell::new(wanted.iter().map(|(_, _, size)| size).sum::<u64>());
    let too_much = || format!("the manifests and their files have more than {} MiB", MAX_ALL >> 20);
    if total.get() > MAX_ALL {
        return Err(Trouble::new("manifest", too_much(), "make several sources of it"));
    }
    let blobs = RefCell::new(checkout.runner.blobs()?);
    let mut texts = Vec::with_capacity(wanted.len());
    for (path, id, size) in wanted {
        match String::from_utf8(blobs.borrow_mut().read(id, size)?) {
            Ok(text) => texts.push((path, text)),
            Err(_) => {
                return Err(Trouble::mistakes(vec![format!("{path}:1: is not UTF-8")]));
            }
        }
    }
    let files: Vec<ManifestFile<'_>> = texts.iter().map(|(name, text)| ManifestFile { name, text }).collect();
    let beside = |manifest: &str, source: &str| {
        let path = match manifest.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/{source}"),
            None => source.to_owned(),
        };
        let found = file_beside(&blobs, &tree, &path)?;
        total.set(total.get() + found.len() as u64);
        if total.get() > MAX_ALL { Err(too_much()) } else { Ok(found) }
    };
    let parsed = lampas_manifest::parse(&files, &beside);
    let entries = parsed.map_err(|e| {
        let more = e.0.len().saturating_sub(MISTAKES);
        let mut lines: Vec<String> = e.0.iter().take(MISTAKES).map(|m| clean(&m.to_string(), 1000)).collect();
        lines.extend((more > 0).then(|| format!("and {more} more")));
        Trouble::mistakes(lines)
    })?;
    let more = notes.len().saturating_sub(NOTES);
    notes.truncate(NOTES);
    notes.extend((more > 0).then(|| format!("and {more} more")));
    if entries.is_empty() {
        notes.insert(0, "the folder holds no objects: no *.toml with a table was found".to_owned());
    }
    Ok(Content { commit: commit.clone(), entries, notes })
}

fn file_beside(blobs: &RefCell<Blobs>, tree: &BTreeMap<String, Entry>, path: &str) -> Result<Vec<u8>, String> {
    match tree.get(path) {
        None => Err("is not in the source's folder of the repository".to_owned()),
        Some(Entry::Link) => Err("is a symbolic link in the repository; only regular files are read".to_owned()),
        Some(Entry::Submodule) => Err("lies in a submodule, which is not fetched".to_owned()),
        Some(Entry::File { size, .. }) if *size > MAX_FILE => {
            Err(format!("has {size} bytes, at most {MAX_FILE} are read"))
        }
        Some(Entry::File { id, size }) => {
            let bytes = blobs.borrow_mut().read(id, *size).map_err(|e| e.to_string())?;
            if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
                return Err("is kept by Git LFS, which is not fetched".to_owned());
            }
            Ok(bytes)
        }
    }
}

/// Reads what `git ls-tree -r -z -l` lists.
fn entries(listed: &[u8], notes: &mut Vec<String>) -> Result<BTreeMap<String, Entry>, Trouble> {
    let mut found = BTreeMap::new();
    for (at, line) in listed.split(|b| *b == 0).filter(|l| !l.is_empty()).enumerate() {
        if at >= MAX_ENTRIES {
            let text = format!("the folder holds more than {MAX_ENTRIES} files");
            return Err(Trouble::new("manifest", text, "point the source at the folder with the manifests"));
        }
        let Ok(line) = std::str::from_utf8(line) else {
            notes.push(format!("{}: its name is not UTF-8: passed over", clean(&String::from_utf8_lossy(line), 120)));
            continue;
        };
        let Some((head, path)) = line.split_once('\t') else { continue };
        let words: Vec<&str> = head.split_whitespace().collect();
        let [mode, kind, id, size] = words[..] else { continue };
        // Git refuses such names when it is sent them; nothing is taken on trust here.
        let is_odd = path.split('/').any(|p| matches!(p, "" | "." | "..") || p.eq_ignore_ascii_case(".git"));
        if is_odd || deceptive_char(path).is_some() || path.len() > 900 {
            notes.push(format!("{}: its name is not one of a manifest: passed over", clean(path, 120)));
            continue;
        }
        let entry = match (mode, kind) {
            ("100644" | "100755" | "100664", "blob") => {
                Entry::File { id: id.to_owned(), size: size.parse().unwrap_or(u64::MAX) }
            }
            ("160000", _) => Entry::Submodule,
            _ => Entry::Link,
        };
        found.insert(path.to_owned(), entry);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_with_plain_names_are_listed() {
        let listed = "100644 blob aa      10\ta.toml\x00120000 blob bb       7\tb.toml\x00160000 commit cc       -\tsub\0\
                      100644 blob dd       1\tx/../y.toml\x00100755 blob ee       2\tx/z.toml\x00100644 blob ff 3\t.git/config\0";
        let mut notes = Vec::new();
        let found = entries(listed.as_bytes(), &mut notes).expect("listed");
        assert_eq!(found.get("a.toml"), Some(&Entry::File { id: "aa".into(), size: 10 }));
        assert_eq!(found.get("b.toml"), Some(&Entry::Link));
        assert_eq!(found.get("sub"), Some(&Entry::Submodule));
        assert_eq!(found.get("x/z.toml"), Some(&Entry::File { id: "ee".into(), size: 2 }));
        assert_eq!((found.len(), notes.len()), (4, 2), "{notes:?}");
    }
}
