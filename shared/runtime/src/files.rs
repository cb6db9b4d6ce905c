//! Files that must be whole and private: written beside their place, synced, renamed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::random;

/// Replaces a file so that a reader, or a crash, sees the old or the new one, never a part. Blocking.
///
/// # Errors
/// When any step fails; what stood before still stands then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let nonce = u64::from_le_bytes(random::bytes());
    let beside = dir.join(format!(".{}.{nonce:016x}", name.to_string_lossy()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        // The umask may have taken bits away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one that matters; a leftover hurts nobody.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Removes what replacements in this directory left beside their files when the process was killed. Blocking.
///
/// Only for a directory in which nobody else replaces files meanwhile.
///
/// # Errors
/// When it can't be listed, or a left-over can't be removed; a directory that isn't there has none.
pub fn clear_left_over(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_beside) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether [`replace`] gives such a name to what it writes: a dot, the file's name, a dot, and sixteen hexadecimal digits.
fn is_beside(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
    parts.is_some_and(|(file, nonce)| {
        !file.is_empty() && nonce.len() == 16 && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Makes a directory and its missing ancestors, 0700 each. One that is there is tightened to 0700. Blocking.
///
/// # Errors
/// When it can't be made or tightened.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Reads a small file that holds a secret: refuses one that others can read or write, and one that is too long. Blocking.
///
/// # Errors
/// When it can't be read, is open to others, or is longer than `limit` bytes.
pub fn read_private(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("its mode is {:04o}: others could read it; chmod 600 it", mode & 0o7777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("is longer than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_private_whole_and_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        replace(&path, b"old", 0o600).expect("written");
        replace(&path, b"new", 0o600).expect("written");
        assert_eq!(read_private(&path, 3).expect("read"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
        let beside = dir.path().join(".key.0123456789abcdef");
        for stays in [".key.0123456789abcde", ".0123456789abcdef", "key.0123456789abcdef"] {
            fs::write(dir.path().join(stays), "").expect("written");
        }
        fs::write(&beside, "cut off").expect("written");
        clear_left_over(dir.path()).expect("cleared");
        clear_left_over(&dir.path().join("none")).expect("nothing to clear");
        assert!(!beside.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 4, "what somebody else named stays");
        assert!(read_private(&path, 2).is_err(), "too long");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        let refused = read_private(&path, 3).expect_err("open to others");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
