//! Lists of sources that LAMPAS manages: fetched once when a source came or changed, before packages are installed.
//!
//! Each is fetched by itself, so that one that fails is told by its own words and holds up no other. What was fetched, and
//! what was said of what could not be, stands in a file: the process that runs apt writes it, the plan reads it. A source
//! counts as fetched only when its list and its key stood on the disk as they are desired: apt-get update of a list that
//! isn't there does nothing, and ends well (measured with apt 2.6).

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt as _,
};

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    error::{Chain, Fault},
    host::AptSource,
    object::{Kind, Target},
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::apt;
use crate::system::{Modified, NewFile, Root};

const FETCHED: &str = "/var/lib/lampas/agent/packages/sources.json";
/// A thousand sources with what apt said of each.
const MAX_BYTES: u64 = 4 << 20;

/// What is said where a source does not stand on the disk yet.
const NOT_THERE: &str = "apt.not_there";
/// More than a list or a key has.
const MAX_FILE: u64 = 4 << 20;

/// The files of a source, and what is in them.
pub(super) type Files = BTreeMap<String, ContentHash>;

/// What came of fetching a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fetched {
    /// What the source and its key were.
    hash: ContentHash,
    /// Which file its list was: one that went and came back is fetched again, since apt may have dropped what it had.
    #[serde(default)]
    stamp: Option<Stamp>,
    fault: Option<Fault>,
}

/// Inode and time of its last change, in seconds and nanoseconds.
type Stamp = (u64, i64, i64);

/// What is to be fetched, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) pending: BTreeMap<String, Files>,
    pub(super) faults: BTreeMap<Target, Fault>,
}

impl Sources {
    /// Compares what is desired with what was fetched. What is held as it is on the node is another source than that.
    pub(super) fn of(
        root: &Root,
        resources: &[Resource],
        judge: &dyn Fn(&Resource) -> Option<Fault>,
        held: &BTreeSet<Target>,
    ) -> Self {
        let mut wanted: BTreeMap<&str, (Option<&Target>, Files)> = BTreeMap::new();
        let mut left = BTreeSet::new();
        let is_source = |r: &&Resource| r.kind == Kind::AptSource && judge(r).is_none();
        for resource in resources.iter().filter(is_source) {
            let Spec::File { path, content, .. } = &resource.spec else { continue };
            if held.contains(&resource.target) {
                left.insert(resource.name.as_str());
            }
            let (list, files) = wanted.entry(resource.name.as_str()).or_default();
            if AptSource::name_of_list(path.as_str()).is_some() {
                *list = Some(&resource.target);
            }
            files.insert(path.to_string(), content.hash);
        }
        let mut found = Self::default();
        if wanted.is_empty() {
            return found;
        }
        let fetched = read(root);
        for (name, (list, files)) in wanted {
            // Whoever may not have its list written has nothing to fetch.
            let Some(list) = list.filter(|_| !left.contains(name)) else { continue };
            let (hash, stamp) = (hash_of(&files), stamp(root, name));
            let is_same = |f: &&Fetched| f.hash == hash && (f.stamp.is_none() || f.stamp == stamp);
            match fetched.get(name).filter(is_same) {
                Some(Fetched { fault: None, .. }) => continue,
                Some(Fetched { fault: Some(fault), .. }) => drop(found.faults.insert(list.clone(), fault.clone())),
                None => {}
            }
            found.pending.insert(name.to_owned(), files);
        }
        found
    }
}

/// Fetches the lists of sources. Returns the first fault. One that is not on the disk as it is desired is left, and is
/// neither fetched nor failed.
pub(super) fn fetch(root: &Root, sources: &BTreeMap<String, Files>) -> Option<Fault> {
    let mut all = read(root);
    let mut first = None;
    for (name, files) in sources {
        // Before: what is written meanwhile is fetched again.
        let stamp = stamp(root, name);
        let result = match AptSource::list_path(name) {
            Ok(path) => must_stand(root, name, files).and_then(|()| apt::update_source(root, path.as_str())),
            Err(error) => Err(Fault::lasting("apt.name", error.to_string())),
        };
        let fault = match result.err() {
            Some(fault) if fault.code == NOT_THERE => {
                first = first.or(Some(fault));
                continue;
            }
            other => other.map(|fault| {
                let text = format!("the lists of the source {name} could not be fetched: {}", fault.message);
                Fault { code: "apt.not_fetched".into(), message: text, retry: true }
            }),
        };
        first = first.or_else(|| fault.clone());
        all.insert(name.clone(), Fetched { hash: hash_of(files), stamp, fault });
    }
    // What went may come back.
    all.retain(|name, _| stamp(root, name).is_some());
    if let Err(fault) = write(root, &all) {
        return first.or(Some(fault));
    }
    first
}

/// Refuses what is not on the disk as it is desired.
fn must_stand(root: &Root, name: &str, files: &Files) -> Result<(), Fault> {
    for (path, hash) in files {
        let found = root.read(path, MAX_FILE).map_err(|e| e.to_fault())?;
        if found.is_none_or(|bytes| ContentHash::of(&bytes) != *hash) {
            let text = format!("the source {name} is not fetched: {path} does not stand on this node as it is desired");
            return Err(Fault::passing(NOT_THERE, text));
        }
    }
    Ok(())
}

fn hash_of(files: &Files) -> ContentHash {
    ContentHash::of(&files.values().flat_map(|hash| hash.as_bytes().iter().copied()).collect::<Vec<u8>>())
}

/// Returns which file the list of a source is; `None` when there is none.
fn stamp(root: &Root, name: &str) -> Option<Stamp> {
    let path = AptSource::list_path(name).ok()?;
    let meta = std::fs::symlink_metadata(root.path().join(path.as_str().trim_start_matches('/'))).ok()?;
    Some((meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

fn read(root: &Root) -> BTreeMap<String, Fetched> {
    let bytes = root.read(FETCHED, MAX_BYTES).ok().flatten().unwrap_or_default();
    if bytes.is_empty() {
        return BTreeMap::new();
    }
    // What can't be read is fetched again.
    serde_json::from_slice(&bytes)
        .inspect_err(|error| warn!(path = FETCHED, error = %Chain(error), "what was fetched is not known"))
        .unwrap_or_default()
}

fn write(root: &Root, all: &BTreeMap<String, Fetched>) -> Result<(), Fault> {
    let (bytes, xattrs) = (serde_json::to_vec(all).expect("names and texts alone"), BTreeMap::new());
    let file =
        NewFile { bytes: &bytes, uid: root.euid(), gid: 0, mode: 0o600, xattrs: &xattrs, modified: Modified::Now };
    root.write(FETCHED, &file).map_err(|e| e.to_fault())
}
