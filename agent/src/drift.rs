//! Notices changes by hand: inotify on the directories of managed files, to wake the reconciler.
//!
//! An event carries no data: the pass that it causes looks at the disk and tells LAMPAS's own writes from others by what
//! the journal says it left there. So nothing here has to tell them apart, and a lost event costs only time, until the
//! next full look.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use lampas_shared::{desired::ContentHash, report::ObservedFile};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::{io::unix::AsyncFd, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{config::Paths, host};

/// An editor writes a file in several steps; one look after the last is enough.
const QUIET: Duration = Duration::from_millis(100);
/// A file that is written without end is looked at all the same.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Returns what tells one finding from another: bytes, owner, group and mode, not the time.
pub fn fingerprint(observed: Option<&ObservedFile>) -> ContentHash {
    let text = match observed {
        Some(o) => format!("{} {} {} {}", o.hash, o.owner, o.group, o.mode),
        None => "absent".to_owned(),
    };
    ContentHash::of(text.as_bytes())
}

/// Watches the directories of paths (as the node sees them) and calls `wake` soon after something changed there. Ends
/// with the token.
///
/// # Errors
/// When the kernel has no inotify instance left.
pub async fn watch(
    paths: Paths,
    mut watched: watch::Receiver<BTreeSet<String>>,
    wake: impl Fn(),
    stopping: CancellationToken,
) -> io::Result<()> {
    let mut watcher = Watcher::new(paths)?;
    let mut due: Option<(Instant, Instant)> = None;
    watcher.follow(&watched.borrow_and_update().clone());
    loop {
        let at = due.map_or_else(|| Instant::now() + Duration::from_secs(3600), |(quiet, latest)| quiet.min(latest));
        // All arms are cancel-safe: readiness stays, a changed value stays changed, a deadline stays where it is.
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            changed = watched.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let set = watched.borrow_and_update().clone();
                watcher.follow(&set);
                // What changed before it was watched must not wait for the full look; it may be half written as well.
                due = due.or_else(|| Some(soon(Instant::now())));
            }
            result = watcher.wait() => {
                if result? {
                    let (quiet, latest) = soon(Instant::now());
                    due = Some((quiet, due.map_or(latest, |(_, latest)| latest)));
                }
            }
            () = tokio::time::sleep_until(at), if due.is_some() => {
                due = None;
                // Directories may have come, gone or been replaced.
                let set = watched.borrow().clone();
                watcher.follow(&set);
                wake();
            }
        }
    }
}

/// Returns when a look is due that was caused at this time: once it has been quiet, and at the latest.
fn soon(now: Instant) -> (Instant, Instant) {
    (now + QUIET, now + MAX_DELAY)
}

struct Watcher {
    paths: Paths,
    inotify: AsyncFd<Source>,
    directories: BTreeMap<PathBuf, Directory>,
    /// Files that may have one name alone: of a second one elsewhere the kernel tells who watches the file itself.
    single: BTreeMap<PathBuf, WatchDescriptor>,
}

struct Directory {
    descriptor: WatchDescriptor,
    /// The names in it that matter; in the stead of a missing directory, the name of what would lead there.
    names: BTreeSet<OsString>,
}

struct Source(Inotify);

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watcher {
    fn new(paths: Paths) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; the descriptor lives and dies with the value that is given here"
        )]
        let inotify = AsyncFd::new(Source(inotify))?;
        Ok(Self { paths, inotify, directories: BTreeMap::new(), single: BTreeMap::new() })
    }

    /// Watches the directories of these paths and no others.
    fn follow(&mut self, watched: &BTreeSet<String>) {
        let mut wanted: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for path in watched {
            let mut path = self.paths.below(path);
            // The nearest directory that is there: what is missing may come back through it.
            while let (Some(parent), Some(name)) =
                (path.parent().map(PathBuf::from), path.file_name().map(OsString::from))
            {
                if parent.is_dir() {
                    wanted.entry(parent).or_default().insert(name);
                    break;
                }
                path = parent;
            }
        }
        let gone: Vec<PathBuf> = self.directories.keys().filter(|d| !wanted.contains_key(*d)).cloned().collect();
        for directory in gone {
            if let Some(old) = self.directories.remove(&directory) {
                // It may be gone, and its watch with it.
                let _ = self.inotify.get_ref().0.rm_watch(old.descriptor);
            }
        }
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        for (directory, names) in wanted {
            // Adding again is how a replaced directory is noticed: the same inode gives the same descriptor.
            match self.inotify.get_ref().0.add_watch(&directory, flags) {
                Ok(descriptor) => drop(self.directories.insert(directory, Directory { descriptor, names })),
                Err(error) => {
                    self.directories.remove(&directory);
                    warn!(path = %directory.display(), %error, "can't watch for changes by hand; the full look will find them");
                }
            }
        }
        self.follow_single(watched);
        debug!(directories = self.directories.len(), "watching for changes by hand");
    }

    /// Watches the files whose count of names matters: cron(8) passes over one that has a second. What takes the place of one
    /// is an event of its directory, which leads here.
    fn follow_single(&mut self, watched: &BTreeSet<String>) {
        let flags = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DONT_FOLLOW;
        let inotify = &self.inotify.get_ref().0;
        let mut single = BTreeMap::new();
        for path in watched.iter().filter(|path| path.starts_with(host::CRON_DIRECTORY)) {
            let path = self.paths.below(path);
            // What is not there, or can't be watched, is found through its directory or by the full look.
            if let Ok(descriptor) = inotify.add_watch(&path, flags) {
                single.insert(path, descriptor);
            }
        }
        for (_, old) in std::mem::replace(&mut self.single, single) {
            if !self.single.values().any(|descriptor| *descriptor == old) {
                // The file may be gone, and its watch with it.
                let _ = inotify.rm_watch(old);
            }
        }
    }

    /// Waits for events and takes them. Returns whether one matters. Cancel-safe: events that are not taken stay.
    async fn wait(&mut self) -> io::Result<bool> {
        let mut guard = self.inotify.readable().await?;
        let mut matters = false;
        loop {
            match guard.get_inner().0.read_events() {
                Ok(events) => matters |= events.iter().any(|e| self.is_ours(e)),
                Err(nix::errno::Errno::EAGAIN) => {
                    guard.clear_ready();
                    return Ok(matters);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn is_ours(&self, event: &InotifyEvent) -> bool {
        let of_all = AddWatchFlags::IN_Q_OVERFLOW;
        let of_directory = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
        if event.mask.intersects(of_all) {
            return true;
        }
        if event.mask.contains(AddWatchFlags::IN_ATTRIB) && self.single.values().any(|d| *d == event.wd) {
            return true;
        }
        let directory = self.directories.values().find(|d| d.descriptor == event.wd);
        directory.is_some_and(|d| {
            event.mask.intersects(of_directory) || event.name.as_ref().is_some_and(|n| d.names.contains(n))
        })
    }
}

#[cfg(test)]
mod tests;
