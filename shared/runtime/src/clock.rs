//! The wall clock, read here and nowhere else.

use std::time::{SystemTime, UNIX_EPOCH};

use lampas_shared::time::UnixMs;

/// Returns the time of day. It may step either way: use [`tokio::time::Instant`] for durations.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixMs(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}
