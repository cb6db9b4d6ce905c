//! `[limits]`: what one client may use up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mistakes;

/// Limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest body of a request. A manifest directory of the largest files fits.
    pub body_bytes: usize,
    /// How long a request may take, uploads included; event streams are apart.
    pub request_secs: u64,
    /// Event streams that are open at once.
    pub event_streams: usize,
    /// Passwords that are hashed at once: each takes 19 MiB and tens of milliseconds.
    pub password_hashes: usize,
    /// A session ends after this long without a request.
    pub session_idle_secs: u64,
    /// A session ends after this long in any case.
    pub session_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 12 << 20,
            request_secs: 60,
            event_streams: 512,
            password_hashes: 2,
            session_idle_secs: 12 * 3600,
            session_secs: 7 * 24 * 3600,
        }
    }
}

impl Limits {
    /// Returns the idle limit of a session.
    pub fn session_idle(&self) -> Duration {
        Duration::from_secs(self.session_idle_secs)
    }

    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        let mut range = |key: &str, value: u64, min: u64, max: u64| {
            if !(min..=max).contains(&value) {
                mistakes.add(&format!("limits.{key}"), format!("must be {min} to {max}"));
            }
        };
        range("body_bytes", self.body_bytes as u64, 64 << 10, 256 << 20);
        range("request_secs", self.request_secs, 5, 3600);
        range("event_streams", self.event_streams as u64, 1, 100_000);
        range("password_hashes", self.password_hashes as u64, 1, 64);
        range("session_idle_secs", self.session_idle_secs, 60, 90 * 24 * 3600);
        range("session_secs", self.session_secs, 60, 365 * 24 * 3600);
    }
}
