//! Waiting for a state, never for a time.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long a state may take on a machine that is busy with other tests. Nothing passes or fails by being quick.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks until `look` returns `Ok`; its last `Err` stands in the failure.
///
/// # Panics
/// When it takes longer than a minute.
#[track_caller]
pub fn wait_for<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    wait_within(LIMIT, what, look)
}

/// Looks until `look` returns `Ok`, for what has a clock of its own, as cron does.
///
/// # Panics
/// When it takes longer than `limit`.
#[track_caller]
pub fn wait_within<T, E: Debug>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) => assert!(started.elapsed() < limit, "{what}: not after {limit:?}; last seen: {last:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
