//! The observe mode: a file says that nothing is to be written on this node until an operator takes it over.
//!
//! It is held on the node, so that no state that is sent by mistake writes anything. What can't be told counts as
//! observing. The node's own policy stands above it: `observe = true` there holds after the mode has ended.

use std::{fs, io};

use lampas_runtime::files;

use crate::config::Paths;

const TEXT: &[u8] = b"This node observes: LAMPAS writes nothing here until an operator takes it over\n\
(lampasctl node manage NAME). Deleting this file ends that too.\n";

/// Returns whether the node observes.
pub fn is_on(paths: &Paths) -> bool {
    match fs::symlink_metadata(paths.observe()) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Begins to observe. Blocking.
///
/// # Errors
/// When the file can't be written; then nothing has changed.
pub fn begin(paths: &Paths) -> io::Result<()> {
    files::private_dir(&paths.data())?;
    files::replace(&paths.observe(), TEXT, 0o644)
}

/// Ends observing; done when that survives a crash. Blocking.
///
/// # Errors
/// When the file can't be removed.
pub fn end(paths: &Paths) -> io::Result<()> {
    match fs::remove_file(paths.observe()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::File::open(paths.data())?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observing_begins_and_ends_and_what_cannot_be_told_counts_as_observing() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        assert!(!is_on(&paths));
        begin(&paths).expect("begins");
        begin(&paths).expect("begins twice");
        assert!(is_on(&paths));
        end(&paths).expect("ends");
        end(&paths).expect("ends twice");
        assert!(!is_on(&paths));
        let file = dir.path().join("file");
        fs::write(&file, "").expect("writes");
        assert!(is_on(&Paths::new(file)), "not a directory: it can't be told");
    }
}
