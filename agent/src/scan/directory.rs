//! Names in a directory of somebody else: counted to the end of the limit, kept to a smaller one.

use rustix::fs::Dir;

use crate::system::{PathError, Root};

/// The most names of one directory that are looked at.
const MAX_NAMES: usize = 1000;
/// The most names that are counted; what is beyond this is one figure.
const MAX_COUNTED: usize = 1_000_000;

/// The names of a directory.
pub(super) struct Listing {
    /// In their order, at most 1,000.
    pub(super) names: Vec<String>,
    /// How many others there are.
    pub(super) left_off: usize,
}

/// Lists a directory; `None` when it isn't there. The names that come first in the alphabet are kept, so that two looks
/// at a full directory see the same ones.
pub(super) fn list(root: &Root, path: &str) -> Result<Option<Listing>, PathError> {
    let Some(dir) = root.directory(path, u32::MAX)? else { return Ok(None) };
    let failed = |errno| PathError::system(path, "can't list it", errno);
    let mut names = std::collections::BTreeSet::new();
    let mut counted = 0_usize;
    for entry in Dir::read_from(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        counted += 1;
        if let Ok(name) = name.to_str() {
            names.insert(name.to_owned());
            if names.len() > MAX_NAMES {
                names.pop_last();
            }
        }
        if counted >= MAX_COUNTED {
            break;
        }
    }
    Ok(Some(Listing { left_off: counted - names.len(), names: names.into_iter().collect() }))
}
