//! Writing so that a file is old or new, never torn: beside the target, synced, renamed, the directory synced.

use std::{collections::BTreeMap, fs::File, io::Write as _};

use lampas_shared::desired::ContentHash;
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::root::{PathError, PathProblem, Place, Root};
use crate::host::FileMeta;

/// The most extended attributes that are kept of a file, and the longest of them: far above what ACLs and labels need.
const MAX_XATTRS: usize = 64;
const MAX_XATTR_BYTES: usize = 64 << 10;

/// A file that shall stand somewhere.
#[derive(Debug, Clone)]
pub struct NewFile<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The owner; not set when the agent isn't root.
    pub uid: u32,
    /// The group; not set when the agent isn't root.
    pub gid: u32,
    /// The twelve permission bits.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: &'a BTreeMap<String, Vec<u8>>,
    /// Its time.
    pub modified: Modified,
}

/// The time that a written file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modified {
    /// The time of writing.
    Now,
    /// The time of writing, but at least a second after this: cron compares whole seconds and keeps running the old job
    /// when a file's time did not move.
    After(i64),
    /// This time, in nanoseconds since 1970.
    At(i64),
}

impl Root {
    /// Puts a file in place. A reader sees the old file or the new one.
    pub fn write(&self, path: &str, file: &NewFile<'_>) -> Result<(), PathError> {
        let owner = if self.is_privileged() { file.uid } else { self.euid() };
        let place = self.place(path, owner)?;
        let beside = place.beside();
        place.clear(&beside)?;
        let written = self.write_beside(&place, &beside, file);
        let renamed = written.and_then(|()| {
            rustix::fs::renameat(&place.dir, &beside, &place.dir, &place.name)
                .map_err(|e| place.system("can't rename the new file into place", e))
        });
        if renamed.is_err() {
            // Best effort: the error that matters is the first.
            let _ = place.clear(&beside);
        }
        renamed?;
        place.sync()
    }

    /// Writes into the file that stands there, for one that can't be replaced because it is mounted. A reader may see
    /// it half written; the caller keeps a copy first.
    pub fn write_in_place(&self, path: &str, bytes: &[u8]) -> Result<(), PathError> {
        let place = self.place(path, 0)?;
        let file = place.open(OFlags::WRONLY | OFlags::NONBLOCK)?;
        let failed =
            |e: std::io::Error| place.system("can't write into it", Errno::from_io_error(&e).unwrap_or(Errno::IO));
        let mut file = File::from(file);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(place.error(PathProblem::Special("special file")));
        }
        file.write_all(bytes).map_err(failed)?;
        file.set_len(bytes.len() as u64).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// Puts a symbolic link in place.
    pub fn write_link(&self, path: &str, to: &str) -> Result<(), PathError> {
        let place = self.place(path, 0)?;
        let beside = place.beside();
        place.clear(&beside)?;
        rustix::fs::symlinkat(to, &place.dir, &beside).map_err(|e| place.system("can't make the link", e))?;
        if let Err(errno) = rustix::fs::renameat(&place.dir, &beside, &place.dir, &place.name) {
            let _ = place.clear(&beside);
            return Err(place.system("can't rename the link into place", errno));
        }
        place.sync()
    }

    /// Makes a directory, or sets owner and mode of the one that stands there.
    pub fn write_directory(&self, path: &str, uid: u32, gid: u32, mode: u32) -> Result<(), PathError> {
        let owner = if self.is_privileged() { uid } else { self.euid() };
        let place = self.place(path, owner)?;
        match rustix::fs::mkdirat(&place.dir, &place.name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(place.system("can't make the directory", errno)),
        }
        let dir = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let found = rustix::fs::fstat(&dir).map_err(|e| place.system("can't look at the directory", e))?;
        if self.is_privileged() && (found.st_uid, found.st_gid) != (uid, gid) {
            // Owner and mode don't change at once: whoever dies in between leaves what both allowed, and no more.
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(found.st_mode & 0o7777 & mode))
                .map_err(|e| place.system("can't set the mode", e))?;
        }
        self.set_owner(&place, &dir, uid, gid)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(|e| place.system("can't set the mode", e))?;
        rustix::fs::fsync(&dir).map_err(|e| place.system("can't sync the directory", e))?;
        place.sync()
    }

    /// Removes a file or a link; nothing when it isn't there.
    pub fn remove(&self, path: &str, owner: u32) -> Result<(), PathError> {
        self.unlink(path, owner, AtFlags::empty())
    }

    /// Removes a directory when it is empty; returns whether it is gone.
    pub fn remove_directory(&self, path: &str, owner: u32) -> Result<bool, PathError> {
        match self.unlink(path, owner, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(PathError { problem: PathProblem::System { errno: Errno::NOTEMPTY | Errno::EXIST, .. }, .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what a write that was cut off left beside a place.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn clear_left_over(&self, path: &str, owner: u32) -> Result<(), PathError> {
        let place = self.place(path, owner)?;
        place.clear(&place.beside())
    }

    fn unlink(&self, path: &str, owner: u32, flags: AtFlags) -> Result<(), PathError> {
        let place = match self.place(path, owner) {
            Ok(place) => place,
            Err(PathError { problem: PathProblem::Missing(_), .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let _ = place.clear(&place.beside());
        match rustix::fs::unlinkat(&place.dir, &place.name, flags) {
            Ok(()) => place.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(place.system("can't remove it", errno)),
        }
    }

    fn write_beside(&self, place: &Place, beside: &str, new: &NewFile<'_>) -> Result<(), PathError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&place.dir, beside, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| place.system("can't make a file beside it", e))?;
        let mut file = File::from(fd);
        let failed = |e: std::io::Error| place.system("can't write it", Errno::from_io_error(&e).unwrap_or(Errno::IO));
        file.write_all(new.bytes).map_err(failed)?;
        self.set_owner(place, &file, new.uid, new.gid)?;
        for (name, value) in new.xattrs {
            match rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
                // A file system without them, or a label that only another process may set.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(place.system("can't set an extended attribute", errno)),
            }
        }
        // After the owner, since a change of owner clears set-uid; after the ACL, whose mask it sets.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(new.mode)).map_err(|e| place.system("can't set the mode", e))?;
        if let Some(ns) = time_of(&file, new.modified).map_err(failed)? {
            let at = Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) as _ };
            let times = Timestamps { last_access: at, last_modification: at };
            rustix::fs::futimens(&file, &times).map_err(|e| place.system("can't set the time", e))?;
        }
        file.sync_all().map_err(failed)
    }

    fn set_owner(&self, place: &Place, file: &impl rustix::fd::AsFd, uid: u32, gid: u32) -> Result<(), PathError> {
        if !self.is_privileged() {
            return Ok(());
        }
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| place.system("can't set the owner", e))
    }
}

impl Place {
    /// The name of the file that is written beside. It depends on the target's name alone, so that what a power-off
    /// leaves behind is found and cleared by the next write; it begins with a dot and has one inside, so that neither
    /// cron nor run-parts takes it.
    fn beside(&self) -> String {
        format!(".lampas-{}.new", ContentHash::of(self.name.as_bytes()).short())
    }

    fn clear(&self, name: &str) -> Result<(), PathError> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.system("can't remove a left-over beside it", errno)),
        }
    }

    fn sync(&self) -> Result<(), PathError> {
        match rustix::fs::fsync(&self.dir) {
            // A directory that can be entered but not read can't be synced either.
            Ok(()) | Err(Errno::BADF) => Ok(()),
            Err(errno) => Err(self.system("can't sync its directory", errno)),
        }
    }
}

/// Returns the time to set, in nanoseconds since 1970; `None` when the file system's own is right.
fn time_of(file: &File, modified: Modified) -> std::io::Result<Option<i64>> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(match modified {
        Modified::Now => None,
        Modified::At(ns) => Some(ns),
        Modified::After(ns) => {
            let found = file.metadata()?;
            let least = ns.saturating_add(1_000_000_000);
            (found.mtime() <= ns.div_euclid(1_000_000_000)).then_some(least)
        }
    })
}

/// Reads the extended attributes of an open file; none where the file system has none.
pub(super) fn read_xattrs(file: BorrowedFd<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; MAX_XATTR_BYTES];
    let Ok(length) = rustix::fs::flistxattr(file, &mut names[..]) else { return BTreeMap::new() };
    let names =
        names[..length].split(|b| *b == 0).filter_map(|n| std::str::from_utf8(n).ok()).filter(|n| !n.is_empty());
    let mut xattrs = BTreeMap::new();
    for name in names.take(MAX_XATTRS) {
        let mut value = vec![0_u8; MAX_XATTR_BYTES];
        if let Ok(length) = rustix::fs::fgetxattr(file, name, &mut value[..]) {
            value.truncate(length);
            xattrs.insert(name.to_owned(), value);
        }
    }
    xattrs
}

/// Returns the attributes of a replaced file that its replacement with another content may keep: the label and users'
/// notes, and for a file of others its ACL. Never capabilities, which were given to the old content.
pub fn kept_xattrs(meta: &FileMeta, is_shared: bool) -> BTreeMap<String, Vec<u8>> {
    let keep = |name: &str| {
        name == "security.selinux" || name.starts_with("user.") || (is_shared && name == "system.posix_acl_access")
    };
    meta.xattrs.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}
