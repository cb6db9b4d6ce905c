//! Places that are no files: a setting of the running kernel, what is true of a unit of systemd, an account, a package.
//! Each reads and is written as a small text, so that diffs, drift, what stood before, the journal and the way back are
//! the same as for files.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use lampas_shared::{error::Fault, host::SysctlKey};

use super::{Ownership, account, hosts, package, plan::Put, service};
use crate::system::{Root, Seen};

/// What the path of such a place begins with: `kernel:net.ipv4.ip_forward`.
const KERNEL: &str = "kernel:";
/// The longest setting that the kernel shows; most are a few bytes.
const MAX_BYTES: usize = 4096;

/// Returns the place of a setting.
pub(super) fn kernel(key: &SysctlKey) -> String {
    format!("{KERNEL}{key}")
}

/// Returns whether a place is a file, which can be watched.
pub(super) fn is_file(path: &str) -> bool {
    path.starts_with('/')
}

/// Looks at a place, whatever it is.
///
/// # Errors
/// When it can't be told what stands there.
pub(super) fn look(root: &Root, path: &str, owner: u32) -> Result<Seen, Fault> {
    if let Some((unit, aspect)) = service::of_place(path) {
        return service::look(root, &unit, aspect);
    }
    if let Some(place) = account::of_place(path) {
        return account::look(root, place);
    }
    if package::is_place(path) {
        return package::look(root, path);
    }
    match key_of(path) {
        Some(key) => look_at_kernel(&key?),
        None => root.look(path, owner).map_err(|e| e.to_fault()),
    }
}

/// The largest file of others in which LAMPAS has a block, but for `/etc/hosts`, which is root's: lines of a user's file
/// are looked at one by one, and so many they may be.
const MAX_SHARED_BYTES: u64 = 1 << 20;

/// Looks at a file of others in which LAMPAS has a block, or shall have one.
///
/// # Errors
/// When it can't be told what stands there, or when it is too large to be looked through.
pub(super) fn look_shared(root: &Root, path: &str, owner: u32) -> Result<Seen, Fault> {
    if path == hosts::PATH {
        return look(root, path, owner);
    }
    root.look_within(path, owner, MAX_SHARED_BYTES).map_err(|e| e.to_fault())
}

/// Puts something in a place that is no file; `None` for files.
pub(super) fn put(root: &Root, ownership: &Ownership, path: &str, put: &Put) -> Option<Result<(), Fault>> {
    if let Some(place) = account::of_place(path) {
        return Some(account::put(root, place, put, ownership));
    }
    // Apt's transaction is nothing that is written, and nothing that is put back.
    if package::is_place(path) {
        return Some(Ok(()));
    }
    if let Some((unit, aspect)) = service::of_place(path) {
        return Some(service::put(root, &unit, aspect, put));
    }
    let key = match key_of(path)? {
        Ok(key) => key,
        Err(fault) => return Some(Err(fault)),
    };
    // A setting that is gone with its module has nothing to come back to.
    let Put::File { bytes, .. } = put else { return Some(Ok(())) };
    Some(set(&key, bytes))
}

/// Returns why a setting can't be set here: asked of the kernel, by opening it for writing and writing nothing.
pub(super) fn refusal(key: &SysctlKey) -> Option<Fault> {
    let error = fs::File::options().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(key.proc_path()).err()?;
    Some(refused(key, &error))
}

fn key_of(path: &str) -> Option<Result<SysctlKey, Fault>> {
    let key = path.strip_prefix(KERNEL)?;
    Some(SysctlKey::parse(key).map_err(|e| Fault::lasting("sysctl.key", e.to_string())))
}

fn look_at_kernel(key: &SysctlKey) -> Result<Seen, Fault> {
    match fs::read(key.proc_path()) {
        Ok(bytes) if bytes.len() <= MAX_BYTES => Ok(seen(&plain(&String::from_utf8_lossy(&bytes)))),
        Ok(bytes) => {
            Err(Fault::lasting("sysctl.too_long", format!("{key} has {} bytes, too many for a setting", bytes.len())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Seen::Absent),
        Err(error) => Err(Fault::lasting("sysctl.unreadable", format!("{key} can't be read: {error}"))),
    }
}

/// What such a place looks like: a small text.
pub(super) fn seen(text: &str) -> Seen {
    let meta = super::FileMeta { mode: 0o644, ..super::FileMeta::default() };
    Seen::File { bytes: text.as_bytes().to_vec(), meta, links: 1 }
}

/// The kernel separates several values by tabs.
fn plain(text: &str) -> String {
    format!("{}\n", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn set(key: &SysctlKey, bytes: &[u8]) -> Result<(), Fault> {
    let open = fs::File::options().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(key.proc_path());
    // In one write: the kernel takes each as a whole value.
    open.and_then(|mut file| file.write_all(bytes)).map_err(|error| refused(key, &error))
}

fn refused(key: &SysctlKey, error: &std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound => unknown(key),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            let text = format!("{key} can't be set from here ({error}); in a container it is set on the host");
            Fault::lasting("sysctl.read_only", text)
        }
        _ => Fault::lasting("sysctl.refused", format!("the kernel does not take this value for {key}: {error}")),
    }
}

/// Returns what is said of a setting that the kernel does not have.
pub(super) fn unknown(key: &SysctlKey) -> Fault {
    let text = format!("this node's kernel has no {key}; is a module missing, or the name misspelt?");
    Fault::lasting("sysctl.unknown", text)
}
