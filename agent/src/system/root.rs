//! A root directory and the way below it: every step on a directory descriptor, no symbolic link followed.
//!
//! The agent is root and its paths come from elsewhere, so each ancestor is opened by itself with `openat2` (symbolic
//! links refused by the kernel) and must not be writable by anybody who could not write the content anyway: otherwise
//! they could swap what the agent is about to read or write. Links that distributions ship (`/bin`, `/var/run`) are
//! followed by name, below the root.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use lampas_shared::{desired::ContentHash, error::Fault};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use thiserror::Error;

use super::accounts::Accounts;
use crate::host::FileMeta;

/// Links that distributions ship and that are followed, each with the targets it may have.
const KNOWN_LINKS: [(&str, &[&str]); 10] = [
    ("bin", &["usr/bin"]),
    ("sbin", &["usr/sbin", "usr/bin"]),
    ("lib", &["usr/lib"]),
    ("lib32", &["usr/lib32"]),
    ("lib64", &["usr/lib64"]),
    ("libx32", &["usr/libx32"]),
    ("usr/sbin", &["usr/bin"]),
    ("var/run", &["run"]),
    ("var/lock", &["run/lock"]),
    ("var/spool/mail", &["var/mail"]),
];

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The largest file that is read at all. Managed contents are at most 1 MiB; this is for what stood before.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// A directory below which all of the agent's files are: `/`, or `--root DIR`.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    euid: u32,
    egid: u32,
    owner: u32,
}

/// Why a path could not be used.
#[derive(Debug, Error)]
#[error("{path}: {problem}")]
pub struct PathError {
    /// The path as the node sees it, below the root.
    pub path: String,
    /// What is wrong.
    pub problem: PathProblem,
}

/// What is wrong with a path.
#[derive(Debug, Error)]
pub enum PathProblem {
    /// An ancestor is a symbolic link.
    #[error("{0} is a symbolic link, which LAMPAS does not follow: give the path that it points to")]
    Symlink(String),
    /// An ancestor is writable by somebody who must not decide about the content.
    #[error("{0} can be written by {1}, who could swap what stands below it; take that permission away")]
    Writable(String, String),
    /// An ancestor is no directory.
    #[error("{0} is not a directory")]
    NotDirectory(String),
    /// A directory is missing.
    #[error("the directory {0} does not exist; create it, or manage it as a directory")]
    Missing(String),
    /// It is something that LAMPAS neither reads nor replaces.
    #[error("a {0} stands there, which LAMPAS neither reads nor replaces; move it away")]
    Special(&'static str),
    /// It is too large.
    #[error("{0} bytes, more than LAMPAS keeps aside (64 MiB); move the file away first")]
    TooLarge(u64),
    /// It has other names, which may be an attempt to have another file read.
    #[error("it has {0} hard links in a directory that is not root's; remove the others")]
    HardLinked(u64),
    /// The system refused.
    #[error("{what}: {errno}{}", hint(*.errno))]
    System {
        /// What was attempted.
        what: &'static str,
        /// The answer.
        errno: Errno,
    },
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => " (is the file immutable? see lsattr)",
        Errno::ROFS => " (the file system is mounted read-only)",
        Errno::NOSPC => " (the file system is full)",
        _ => "",
    }
}

impl PathError {
    /// Returns it as it crosses the wire.
    pub fn to_fault(&self) -> Fault {
        let (code, retry) = match &self.problem {
            PathProblem::Symlink(_) => ("file.ancestor_symlink", false),
            PathProblem::Writable(..) => ("file.ancestor_writable", false),
            PathProblem::NotDirectory(_) => ("file.ancestor_not_directory", false),
            PathProblem::Missing(_) => ("file.ancestor_missing", false),
            PathProblem::Special(_) => ("file.special", false),
            PathProblem::TooLarge(_) => ("file.too_large", false),
            PathProblem::HardLinked(_) => ("file.hard_linked", false),
            PathProblem::System { errno, .. } => {
                ("file.system", !matches!(*errno, Errno::PERM | Errno::ROFS | Errno::ACCESS))
            }
        };
        Fault { code: code.to_owned(), message: self.to_string(), retry }
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A regular file, whole.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Owner, mode, time and extended attributes.
        meta: FileMeta,
        /// How many names it has.
        links: u64,
    },
    /// A directory.
    Directory {
        /// Owner, mode, time and extended attributes.
        meta: FileMeta,
    },
    /// A symbolic link.
    Link {
        /// What it points to.
        to: String,
        /// Its owner.
        uid: u32,
        /// When it was made, in nanoseconds since 1970.
        modified_ns: i64,
    },
}

impl Seen {
    /// Returns the hash of the bytes: of a file's content, or of what a link points to.
    pub fn content_hash(&self) -> ContentHash {
        match self {
            Self::File { bytes, .. } => ContentHash::of(bytes),
            Self::Link { to, .. } => ContentHash::of(to.as_bytes()),
            Self::Absent | Self::Directory { .. } => ContentHash::of(&[]),
        }
    }
}

/// What the system says of a regular file without reading it. Whatever is done to the file changes it: nobody can set the
/// time of status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970; anybody who may write it can set this.
    pub modified_ns: i64,
    /// When anything about it changed last, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// Kind and permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Stamp {
    fn of(stat: &Stat) -> Option<Self> {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink,
            size: stat.st_size as u64,
            modified_ns: modified_ns(stat),
            changed_ns: stat.st_ctime.saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
        })
    }
}

/// A directory that was reached safely, and the name of what is meant in it.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub dir: OwnedFd,
    /// The name in it.
    pub name: String,
    /// The path as the node sees it.
    pub path: String,
    /// Whether a user other than root and the agent may write the directory.
    pub is_users: bool,
}

enum Walked {
    Found { dir: OwnedFd, is_users: bool },
    Missing(String),
}

impl Root {
    /// Opens the root: `/`, or the directory of `--root`.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let error =
            |what, errno| PathError { path: path.display().to_string(), problem: PathProblem::System { what, errno } };
        let path = path
            .canonicalize()
            .map_err(|e| error("can't find the root directory", Errno::from_io_error(&e).unwrap_or(Errno::INVAL)))?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir =
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| error("can't open the root directory", e))?;
        let owner = rustix::fs::fstat(&dir).map_err(|e| error("can't look at the root directory", e))?.st_uid;
        let euid = rustix::process::geteuid().as_raw();
        let egid = rustix::process::getegid().as_raw();
        Ok(Self { dir, path, euid, egid, owner })
    }

    /// Returns the directory, `/` by default.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it is the machine's own root, where effects can be proven.
    pub fn is_system(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Returns whether the agent is root, so that it can give files away.
    pub fn is_privileged(&self) -> bool {
        self.euid == 0
    }

    /// Returns the user that the agent runs as.
    pub fn euid(&self) -> u32 {
        self.euid
    }

    /// Reads users and groups as this root knows them.
    pub fn accounts(&self) -> Accounts {
        Accounts::load(self)
    }

    /// Looks at a path for content that `owner` may decide about. Symbolic links are seen, never followed.
    pub fn look(&self, path: &str, owner: u32) -> Result<Seen, PathError> {
        match self.find(path, owner)? {
            Some(place) => self.look_at(&place),
            None => Ok(Seen::Absent),
        }
    }

    /// Looks at a path as [`Root::look`] does, at a regular file of at most `limit` bytes.
    pub fn look_within(&self, path: &str, owner: u32, limit: u64) -> Result<Seen, PathError> {
        self.find(path, owner)?.map_or(Ok(Seen::Absent), |place| self.look_bounded(&place, limit))
    }

    /// Looks at a path as [`Root::look`] does, and says what the system said of a regular file when its reading began.
    pub fn look_stamped(&self, path: &str, owner: u32) -> Result<(Seen, Option<Stamp>), PathError> {
        match self.find(path, owner)? {
            Some(place) => Self::look_bounded_stamped(&place, MAX_FILE_BYTES),
            None => Ok((Seen::Absent, None)),
        }
    }

    /// Reads a regular file of at most `limit` bytes; `None` when it isn't there.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
        let Some(place) = self.find(path, 0)? else { return Ok(None) };
        match self.look_bounded(&place, limit)? {
            Seen::Absent => Ok(None),
            Seen::File { bytes, .. } => Ok(Some(bytes)),
            Seen::Directory { .. } => Err(place.error(PathProblem::Special("directory"))),
            Seen::Link { .. } => Err(place.error(PathProblem::Symlink(path.to_owned()))),
        }
    }

    /// Reads a file below the root without judging who could have written it; for the account files alone.
    pub(super) fn read_unchecked(&self, relative: &str, limit: u64) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat2(&self.dir, relative, flags, Mode::empty(), RESOLVE).ok()?);
        let mut bytes = Vec::new();
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Lists the names in a directory, at most `limit` of them; `None` when it isn't there.
    pub fn list(&self, path: &str, limit: usize) -> Result<Option<Vec<String>>, PathError> {
        let Walked::Found { dir, .. } = self.walk(path, path, 0)? else { return Ok(None) };
        let error = |errno| PathError::system(path, "can't list it", errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(error)? {
            let entry = entry.map_err(error)?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
                if names.len() >= limit {
                    break;
                }
            }
        }
        names.sort();
        Ok(Some(names))
    }

    /// Opens a directory; `None` when it isn't there.
    pub fn directory(&self, path: &str, owner: u32) -> Result<Option<OwnedFd>, PathError> {
        Ok(match self.walk(path, path, owner)? {
            Walked::Found { dir, .. } => Some(dir),
            Walked::Missing(_) => None,
        })
    }

    /// Makes a directory with this mode and its missing ancestors with 0755; what is there stays as it is.
    pub fn make_directories(&self, path: &str, mode: u32) -> Result<(), PathError> {
        while let Walked::Missing(missing) = self.walk(path, path, 0)? {
            let place = self.place(&missing, 0)?;
            let mode = if missing == path { mode } else { 0o755 };
            match rustix::fs::mkdirat(&place.dir, &place.name, Mode::from_raw_mode(mode)) {
                Ok(()) => {}
                // Somebody else made it meanwhile: it is looked at anew, and stays as it is.
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(place.system("can't make the directory", errno)),
            }
            // The process's umask must not decide; by descriptor, so that what was swapped in is not followed.
            let made = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(mode)).map_err(|e| place.system("can't set the mode", e))?;
            rustix::fs::fsync(&place.dir).map_err(|e| place.system("can't sync the directory", e))?;
        }
        Ok(())
    }

    /// Reaches the directory of a path; an error when it isn't there.
    pub fn place(&self, path: &str, owner: u32) -> Result<Place, PathError> {
        let (parent, name) = split(path);
        match self.walk(parent, path, owner)? {
            Walked::Found { dir, is_users } => {
                Ok(Place { dir, name: name.to_owned(), path: path.to_owned(), is_users })
            }
            Walked::Missing(missing) => {
                Err(PathError { path: path.to_owned(), problem: PathProblem::Missing(missing) })
            }
        }
    }

    fn find(&self, path: &str, owner: u32) -> Result<Option<Place>, PathError> {
        match self.place(path, owner) {
            Ok(place) => Ok(Some(place)),
            Err(PathError { problem: PathProblem::Missing(_), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, place: &Place) -> Result<Seen, PathError> {
        self.look_bounded(place, MAX_FILE_BYTES)
    }

    /// Looks at a place that was reached, reading at most `limit` bytes.
    pub fn look_bounded(&self, place: &Place, limit: u64) -> Result<Seen, PathError> {
        Self::look_bounded_stamped(place, limit).map(|(seen, _)| seen)
    }

    fn look_bounded_stamped(place: &Place, limit: u64) -> Result<(Seen, Option<Stamp>), PathError> {
        let stat = match rustix::fs::statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((Seen::Absent, None)),
            Err(errno) => return Err(place.system("can't look at it", errno)),
        };
        let seen = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let file = place.open(OFlags::RDONLY | OFlags::NONBLOCK)?;
                let stat = rustix::fs::fstat(&file).map_err(|e| place.system("can't look at it", e))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(place.error(PathProblem::Special("file that changes its kind")));
                }
                if place.is_users && stat.st_nlink > 1 {
                    return Err(place.error(PathProblem::HardLinked(stat.st_nlink as u64)));
                }
                if stat.st_size as u64 > limit {
                    return Err(place.error(PathProblem::TooLarge(stat.st_size as u64)));
                }
                let mut file = File::from(file);
                let mut bytes = Vec::with_capacity(stat.st_size as usize);
                let read = file.by_ref().take(limit + 1).read_to_end(&mut bytes);
                read.map_err(|e| place.system("can't read it", Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
                if bytes.len() as u64 > limit {
                    return Err(place.error(PathProblem::TooLarge(bytes.len() as u64)));
                }
                let seen = Seen::File { bytes, meta: meta(&file, &stat), links: stat.st_nlink as u64 };
                return Ok((seen, Stamp::of(&stat)));
            }
            FileType::Directory => {
                let file = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                let stat = rustix::fs::fstat(&file).map_err(|e| place.system("can't look at it", e))?;
                Seen::Directory { meta: meta(&file, &stat) }
            }
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(&place.dir, &place.name, Vec::new());
                let to = to.map_err(|e| place.system("can't read the link", e))?;
                let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
                Seen::Link { to, uid: stat.st_uid, modified_ns: modified_ns(&stat) }
            }
            FileType::Fifo => return Err(place.error(PathProblem::Special("named pipe"))),
            FileType::Socket => return Err(place.error(PathProblem::Special("socket"))),
            _ => return Err(place.error(PathProblem::Special("device"))),
        };
        Ok((seen, None))
    }

    /// Opens the directory `dir_path` step by step. `path` is what errors speak of.
    fn walk(&self, dir_path: &str, path: &str, owner: u32) -> Result<Walked, PathError> {
        let mut parts: Vec<String> = dir_path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        if parts.iter().any(|p| p == "." || p == ".." || p.contains('\0')) {
            return Err(PathError::system(path, "not a plain path", Errno::INVAL));
        }
        let refused = |problem| PathError { path: path.to_owned(), problem };
        let mut followed = 0;
        'again: loop {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            let mut dir = rustix::fs::openat2(&self.dir, ".", flags, Mode::empty(), RESOLVE)
                .map_err(|e| PathError::system(path, "can't open the root directory", e))?;
            let mut is_users = false;
            for i in 0..parts.len() {
                let at = || format!("/{}", parts[..=i].join("/"));
                // Only the last must be readable: it is listed and synced.
                let access = if i + 1 == parts.len() { OFlags::RDONLY } else { OFlags::PATH };
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | access;
                let open = |flags| rustix::fs::openat2(&dir, parts[i].as_str(), flags, Mode::empty(), RESOLVE);
                // A directory that may be entered but not listed, as the spool by job users.
                let opened =
                    open(flags).or_else(|e| if e == Errno::ACCESS { open(flags | OFlags::PATH) } else { Err(e) });
                match opened {
                    Ok(next) => {
                        let stat = rustix::fs::fstat(&next)
                            .map_err(|e| PathError::system(path, "can't look at an ancestor", e))?;
                        is_users = self
                            .check_ancestor((stat.st_uid, stat.st_gid, stat.st_mode), owner)
                            .map_err(|who| refused(PathProblem::Writable(at(), who)))?;
                        dir = next;
                    }
                    Err(Errno::NOENT) => return Ok(Walked::Missing(at())),
                    Err(Errno::LOOP | Errno::NOTDIR) => {
                        let Ok(to) = rustix::fs::readlinkat(&dir, parts[i].as_str(), Vec::new()) else {
                            return Err(refused(PathProblem::NotDirectory(at())));
                        };
                        let Some(mut target) = known_link(&parts[..=i], to.to_str().unwrap_or_default()) else {
                            return Err(refused(PathProblem::Symlink(at())));
                        };
                        let stat = rustix::fs::statat(&dir, parts[i].as_str(), AtFlags::SYMLINK_NOFOLLOW);
                        let is_trusted = stat.is_ok_and(|s| self.is_trusted(s.st_uid, 0));
                        followed += 1;
                        if followed > 4 || !is_trusted {
                            return Err(refused(PathProblem::Symlink(at())));
                        }
                        target.extend(parts.drain(i + 1..));
                        parts = target;
                        continue 'again;
                    }
                    Err(errno) => return Err(PathError::system(path, "can't open an ancestor", errno)),
                }
            }
            return Ok(Walked::Found { dir, is_users });
        }
    }

    fn is_trusted(&self, uid: u32, owner: u32) -> bool {
        uid == 0 || uid == self.euid || uid == owner || (!self.is_system() && uid == self.owner)
    }

    /// Refuses a place below a directory that does not stand yet, as [`Root::look`] would when it stands.
    pub(crate) fn foresee(
        &self,
        path: &str,
        directory: &str,
        (uid, gid, mode): (u32, u32, u32),
        owner: u32,
    ) -> Result<(), PathError> {
        // An agent that isn't root gives nothing away: the directory will be its own.
        if !self.is_privileged() {
            return Ok(());
        }
        let problem =
            |who| PathError { path: path.to_owned(), problem: PathProblem::Writable(directory.to_owned(), who) };
        self.check_ancestor((uid, gid, mode), owner).map(drop).map_err(problem)
    }

    /// Says whether the directory is a user's own, or who could write it and must not.
    fn check_ancestor(&self, (uid, gid, mode): (u32, u32, u32), owner: u32) -> Result<bool, String> {
        let is_sticky = mode & 0o1000 != 0;
        if !self.is_trusted(uid, owner) {
            return Err(format!("its owner (uid {uid})"));
        }
        // In a sticky directory others can add names, but not replace those of root.
        if mode & 0o002 != 0 && !is_sticky {
            return Err("everybody".to_owned());
        }
        let is_group_ours = gid == 0 || (!self.is_privileged() && gid == self.egid);
        if mode & 0o020 != 0 && !is_sticky && !is_group_ours && !self.accounts().is_group_harmless(gid, owner) {
            return Err(format!("its group (gid {gid})"));
        }
        Ok((uid != 0 && uid != self.euid) || mode & 0o002 != 0)
    }
}

impl Place {
    /// Opens what stands there, following no link.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, PathError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::openat2(&self.dir, self.name.as_str(), flags, Mode::empty(), RESOLVE).map_err(|errno| match errno {
            Errno::LOOP => self.error(PathProblem::Symlink(self.path.clone())),
            errno => self.system("can't open it", errno),
        })
    }

    /// Returns what the system says of the regular file of this name in the same directory; `None` for anything else.
    pub fn stamp(&self, name: &str) -> Option<Stamp> {
        rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok().as_ref().and_then(Stamp::of)
    }

    /// Builds an error about this place.
    pub fn error(&self, problem: PathProblem) -> PathError {
        PathError { path: self.path.clone(), problem }
    }

    /// Builds an error of the system about this place.
    pub fn system(&self, what: &'static str, errno: Errno) -> PathError {
        PathError::system(&self.path, what, errno)
    }
}

impl PathError {
    /// Builds an error of the system.
    pub fn system(path: &str, what: &'static str, errno: Errno) -> Self {
        Self { path: path.to_owned(), problem: PathProblem::System { what, errno } }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Returns where a distribution's link leads, when it is one and leads where it should.
fn known_link(parts: &[String], to: &str) -> Option<Vec<String>> {
    let at = parts.join("/");
    let (_, targets) = KNOWN_LINKS.iter().find(|(link, _)| *link == at)?;
    let mut resolved: Vec<String> = if to.starts_with('/') { Vec::new() } else { parts[..parts.len() - 1].to_vec() };
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(resolved.pop()),
            name => resolved.push(name.to_owned()),
        }
    }
    targets.contains(&resolved.join("/").as_str()).then_some(resolved)
}

fn modified_ns(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64)
}

fn meta(file: &impl rustix::fd::AsFd, stat: &Stat) -> FileMeta {
    FileMeta {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        modified_ns: modified_ns(stat),
        xattrs: super::write::read_xattrs(file.as_fd()),
    }
}
