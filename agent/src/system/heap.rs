//! Gives memory back to the system: what a pass over many objects needed at its height is not needed at rest.
//!
//! glibc gives each thread that allocates a heap of its own, and keeps what is free in the middle of a heap: 9 MiB of an
//! idle agent with 500 objects. Only its own calls change either, and they count as unsafe. They are here and nowhere else.

/// Has all threads share one heap. Call it before there are any.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc's heap is set by a call into C alone; as a variable it would reach every child")]
pub fn share_one() {
    // SAFETY: both take numbers and no pointer, may be called at any time (mallopt(3)), and refuse what they don't know.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        // Set, so that glibc doesn't raise it by itself: what is larger leaves with its last owner.
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Gives free memory back to the system. Takes about a millisecond, in which no thread can allocate.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing else makes glibc give back what is free between what is used")]
pub fn give_back() {
    // SAFETY: it takes a number and no pointer, locks the heap while it works (malloc_trim(3) says MT-Safe), and touches
    // only what is free.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Other libraries of C have one heap and give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn share_one() {}

/// Other libraries of C have one heap and give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
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
