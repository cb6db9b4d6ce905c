//! Gives memory back to the system: what a pass over many objects needed at its height is not needed at rest.
//!
//! glibc gives each thread that allocates a heap of its own, and keeps what is free in the middle of a heap: 9 MiB of an
//! idle agent with 500 objects. Of the program itself a pass touches nearly all, 7 MiB; an agent at rest needs a third.
//! Only calls that count as unsafe change either. They are here and nowhere else.

use std::ops::Range;

use nix::sys::mman::{MmapAdvise, madvise};

/// Has all threads share one heap. Call it before there are any.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc's heap is set by a call into C alone; as a variable it would reach every child")]
pub fn share_one_heap() {
    // SAFETY: both take numbers and no pointer, may be called at any time (mallopt(3)), and refuse what they don't know.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        // Set, so that glibc doesn't raise it by itself: what is larger leaves with its last owner.
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Gives free memory and pages of the program back to the system. Takes about a millisecond, in which no thread can
/// allocate; what of the program is used next comes back page by page, from memory unless the system needed that.
pub fn give_back() {
    trim();
    if let Some(code) = code() {
        leave(code);
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing else makes glibc give back what is free between what is used")]
fn trim() {
    // SAFETY: it takes a number and no pointer, locks the heap while it works (malloc_trim(3) says MT-Safe), and touches
    // only what is free.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Returns where the program's own instructions are mapped, from their file and not to be written; `None` when the system
/// doesn't say so.
fn code() -> Option<Range<usize>> {
    let here = code as fn() -> Option<Range<usize>> as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        // begin-end permissions offset device inode path
        let mut words = line.split_ascii_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(begin, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let is_code = words.next()? == "r-xp" && words.nth(2)? != "0";
        (is_code && range.contains(&here)).then_some(range)
    })
}

#[expect(unsafe_code, reason = "the system is told by address which pages it may take")]
fn leave(code: Range<usize>) {
    let Some(begin) = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(code.start)) else { return };
    // SAFETY: the range is one whole mapping of a file, private, and never writable, so that no page of it differs from the
    // file: each that is touched again is read from there (madvise(2), MADV_DONTNEED), also the one that runs this.
    let advised = unsafe { madvise(begin, code.len(), MmapAdvise::MADV_DONTNEED) };
    if let Err(error) = advised {
        tracing::debug!(%error, "the program's pages are kept");
    }
}

/// Other libraries of C have one heap and give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn share_one_heap() {}

/// Other libraries of C have one heap and give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_leaves_memory_and_runs_on() {
        let code = super::code().expect("the test's own code");
        // How much of the mapping is in memory, in KiB.
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps").expect("read");
            let mine = format!("{:x}-{:x} ", code.start, code.end);
            let mut lines = text.lines().skip_while(|l| !l.starts_with(&mine));
            let line = lines.find(|l| l.starts_with("Rss:")).expect("a mapping has a size");
            line.split_ascii_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("a number")
        };
        // Each page of the program is looked at, so that all of it is in memory.
        let seen: usize = code.clone().step_by(4096).filter(|at| peek(*at) != 0).count();
        assert!(seen > 0, "a program of zeros");
        let full = resident();
        super::give_back();
        let left = resident();
        assert!(left * 2 < full, "{full} KiB before, {left} after");
        assert_eq!(code.clone().step_by(4096).filter(|at| peek(*at) != 0).count(), seen, "the same program");
    }

    #[expect(unsafe_code, reason = "the test reads its own instructions")]
    fn peek(at: usize) -> u8 {
        // SAFETY: the caller gives addresses of the mapping of the program's code, which is readable.
        unsafe { std::ptr::with_exposed_provenance::<u8>(at).read_volatile() }
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn what_is_free_between_what_is_used_leaves_the_process() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").expect("read");
            text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
        };
        // Blocks on one heap; every hundredth stays and pins what is around it.
        let mut blocks: Vec<Option<Vec<u8>>> = (0..40_000).map(|n| Some(vec![n as u8; 1000])).collect();
        let full = resident();
        blocks.iter_mut().enumerate().filter(|(n, _)| n % 100 != 0).for_each(|(_, block)| *block = None);
        super::give_back();
        let trimmed = resident();
        assert!(trimmed + (20 << 20) < full, "{full} bytes before, {trimmed} after");
        assert!(blocks.iter().flatten().all(|b| b.len() == 1000));
    }
}
