//! What earlier looks at files found, so that a file is read again only when something about it differs.
//!
//! A file counts as unread when anything of its [`Stamp`] differs: device, inode, names, size, times of content and of
//! status to the nanosecond, mode, owner or group. The kernel moves the time of status with every change, and nobody can
//! set it, so that an edit that puts the file's own time back is seen as well. What a stamp can't tell:
//!
//! - Two edits within one tick of the file system's clock look alike. What was changed less than two seconds before it was
//!   read is not remembered ("racily clean", as git says).
//! - A clock that is set back may give the same time twice. Then everything is forgotten.
//! - A writer through a shared memory mapping moves the times once and may go on writing. Hence what is remembered is
//!   good for an hour.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use lampas_runtime::clock;
use lampas_shared::{desired::ContentHash, time::UnixMs};

use crate::system::Stamp;

/// Above the ticks of file systems: 2 s on FAT, 10 ms where the kernel's own clock counts.
const RACY_MS: i64 = 2_000;
/// How long a look is good for.
const GOOD_MS: i64 = 3_600_000;
/// How far the clock may fall behind between two looks before that counts as a step: slewing stays far below.
const STEP_MS: i64 = 1_000;
/// Some 5 MiB with long paths; files beyond are read at each look.
const MAX_FILES: usize = 16_384;

/// What earlier looks found. In memory alone: after a start every file is read.
#[derive(Debug)]
pub struct Looks {
    origin: Instant,
    inner: Mutex<Inner>,
    /// How far looks are ahead of the clock, so that no test has to wait until a file is no longer just written.
    #[cfg(test)]
    pub(super) ahead_ms: i64,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<String, Known>,
    /// What the wall clock showed at the origin, by the last look.
    offset_ms: Option<i64>,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    print: ContentHash,
    read_at: UnixMs,
}

/// One look at everything; its time is that of its beginning, so that no read is younger than it is said to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    looks: &'a Looks,
    now: UnixMs,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            inner: Mutex::default(),
            #[cfg(test)]
            ahead_ms: 0,
        }
    }
}

impl Looks {
    /// Begins a look.
    pub(super) fn begin(&self) -> Look<'_> {
        let running = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        #[cfg(not(test))]
        let now = clock::now();
        #[cfg(test)]
        let now = clock::now().plus_ms(self.ahead_ms);
        self.begin_at(now, running)
    }

    fn begin_at(&self, now: UnixMs, running_ms: i64) -> Look<'_> {
        let mut inner = self.inner();
        let offset = now.0.saturating_sub(running_ms);
        if inner.offset_ms.is_some_and(|before| offset < before - STEP_MS) {
            inner.known.clear();
        }
        inner.offset_ms = Some(offset);
        Look { looks: self, now }
    }

    /// Forgets the files of which nobody asks any more.
    pub fn retain(&self, is_asked: impl Fn(&str) -> bool) {
        self.inner().known.retain(|path, _| is_asked(path));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look<'_> {
    /// Returns the fingerprint that the file had when it was read, if it has not been touched since.
    pub(super) fn print(&self, path: &str, stamp: &Stamp) -> Option<ContentHash> {
        let inner = self.looks.inner();
        let known = inner.known.get(path).filter(|k| k.stamp == *stamp)?;
        (0..GOOD_MS).contains(&self.now.since(known.read_at)).then_some(known.print)
    }

    /// Remembers a file that was read during this look.
    pub(super) fn remember(&self, path: &str, stamp: Stamp, print: ContentHash) {
        let mut inner = self.looks.inner();
        let is_racy = stamp.changed_ns.div_euclid(1_000_000) > self.now.0.saturating_sub(RACY_MS);
        let is_full = inner.known.len() >= MAX_FILES && !inner.known.contains_key(path);
        if is_racy || is_full {
            inner.known.remove(path);
            return;
        }
        inner.known.insert(path.to_owned(), Known { stamp, print, read_at: self.now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn stamp(changed_ms: i64) -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            links: 1,
            size: 3,
            modified_ns: 4,
            changed_ns: changed_ms * 1_000_000,
            mode: 0o644,
            uid: 0,
            gid: 0,
        }
    }

    fn print() -> ContentHash {
        ContentHash::of(b"x")
    }

    /// Remembers a file whose status changed `age_ms` before the look, and asks for it `later_ms` afterwards while the
    /// clock shows `shown_ms` more than then.
    fn is_known(age_ms: i64, later_ms: i64, shown_ms: i64) -> bool {
        let looks = Looks::default();
        let file = stamp(NOW.0 - age_ms);
        looks.begin_at(NOW, 0).remember("/a", file, print());
        looks.begin_at(NOW.plus_ms(shown_ms), later_ms).print("/a", &file).is_some()
    }

    #[test]
    fn what_was_changed_just_before_it_was_read_is_read_again() {
        let known = |age| is_known(age, 10_000, 10_000);
        assert_eq!([3_000, 2_000, 1_999, 0, -5_000].map(known), [true, true, false, false, false]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_everything_unknown_and_slewing_does_not() {
        let known = |shown| is_known(60_000, 600_000, shown);
        assert_eq!([600_000, 599_500, 598_000, -1, 700_000].map(known), [true, true, false, false, true]);
    }

    #[test]
    fn a_look_is_good_for_an_hour() {
        let known = |later| is_known(60_000, later, later);
        assert_eq!([3_599_999, 3_600_000].map(known), [true, false]);
    }

    #[test]
    fn anything_that_differs_makes_a_file_unknown() {
        let looks = Looks::default();
        let file = stamp(NOW.0 - 60_000);
        let look = looks.begin_at(NOW, 0);
        look.remember("/a", file, print());
        assert_eq!(look.print("/a", &file), Some(print()));
        assert_eq!(look.print("/b", &file), None);
        for other in [
            Stamp { device: 9, ..file },
            Stamp { inode: 9, ..file },
            Stamp { links: 2, ..file },
            Stamp { size: 9, ..file },
            Stamp { modified_ns: 9, ..file },
            Stamp { changed_ns: file.changed_ns + 1, ..file },
            Stamp { mode: 0o600, ..file },
            Stamp { uid: 9, ..file },
            Stamp { gid: 9, ..file },
        ] {
            assert_eq!(look.print("/a", &other), None, "{other:?}");
        }
    }

    #[test]
    fn its_size_has_a_bound_and_what_nobody_asks_for_goes() {
        let looks = Looks::default();
        let look = looks.begin_at(NOW, 0);
        for n in 0..MAX_FILES + 10 {
            look.remember(&format!("/{n}"), stamp(0), print());
        }
        assert_eq!(looks.inner().known.len(), MAX_FILES);
        looks.retain(|path| path == "/7");
        assert_eq!(looks.inner().known.len(), 1);
        assert!(look.print("/7", &stamp(0)).is_some());
    }
}
