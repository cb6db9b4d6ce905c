//! Throttling of sign-ins, in memory: by account and network, by account, and by network.
//!
//! An attempt is counted when it begins and forgiven when it succeeds, so that guesses side by side gain nothing. A
//! stranger who guesses at an account slows down their own network first; the owner elsewhere is held up for at most
//! half a minute.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Counts attempts.
#[derive(Debug, Default)]
pub struct Throttle {
    seen: Mutex<HashMap<Key, Seen>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Pair(String, IpAddr),
    Account(String),
    Network(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    failures: u32,
    last: Instant,
}

/// What is forgotten when nothing happens for this long.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Entries that are kept: a flood from many networks costs a megabyte, not more.
const CAPACITY: usize = 10_000;

impl Key {
    /// Returns how many failures are free, and the longest wait after more of them.
    fn rule(&self) -> (u32, Duration) {
        match self {
            Self::Pair(..) => (4, Duration::from_secs(15 * 60)),
            Self::Account(_) => (30, Duration::from_secs(30)),
            Self::Network(_) => (30, Duration::from_secs(15 * 60)),
        }
    }
}

impl Throttle {
    /// Counts an attempt.
    ///
    /// # Errors
    /// With the seconds to wait when there were too many; then it isn't counted.
    pub fn begin(&self, login: &str, address: IpAddr, now: Instant) -> Result<(), u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(login, address);
        let wait = keys.iter().filter_map(|key| seen.get(key).and_then(|s| s.wait(key, now))).max();
        if let Some(wait) = wait {
            return Err(wait.as_secs() + 1);
        }
        if seen.len() + keys.len() > CAPACITY {
            seen.retain(|_, s| now.saturating_duration_since(s.last) < MEMORY);
            if seen.len() + keys.len() > CAPACITY {
                forget_some(&mut seen);
            }
        }
        for key in keys {
            let entry = seen.entry(key).or_insert(Seen { failures: 0, last: now });
            if now.saturating_duration_since(entry.last) >= MEMORY {
                entry.failures = 0;
            }
            *entry = Seen { failures: entry.failures.saturating_add(1), last: now };
        }
        Ok(())
    }

    /// Looks whether there were too many attempts, and counts none.
    ///
    /// # Errors
    /// With the seconds to wait.
    pub fn look(&self, login: &str, address: IpAddr, now: Instant) -> Result<(), u64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = keys(login, address).iter().filter_map(|key| seen.get(key).and_then(|s| s.wait(key, now))).max();
        wait.map_or(Ok(()), |wait| Err(wait.as_secs() + 1))
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgives an attempt that succeeded.
    pub fn succeeded(&self, login: &str, address: IpAddr) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(login, address) {
            match key {
                Key::Network(_) => {
                    if let Some(entry) = seen.get_mut(&key) {
                        entry.failures = entry.failures.saturating_sub(1);
                    }
                }
                _ => drop(seen.remove(&key)),
            }
        }
    }
}

/// Makes room: a tenth goes, those with the fewest failures and the oldest first. A tenth at a time, so that a flood
/// pays for the sorting with a thousand attempts.
fn forget_some(seen: &mut HashMap<Key, Seen>) {
    let mut all: Vec<_> = seen.iter().map(|(k, s)| (s.failures, s.last, k.clone())).collect();
    all.sort_unstable_by_key(|(failures, last, _)| (*failures, *last));
    for (.., key) in all.into_iter().take(CAPACITY / 10) {
        seen.remove(&key);
    }
}

impl Seen {
    fn wait(&self, key: &Key, now: Instant) -> Option<Duration> {
        let (free, longest) = key.rule();
        let over = self.failures.checked_sub(free)?;
        let pause = Duration::from_secs(1 << over.min(20)).min(longest);
        pause.checked_sub(now.saturating_duration_since(self.last)).filter(|left| !left.is_zero())
    }
}

/// Returns what one host may be at: an IPv6 host commands a whole /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn keys(login: &str, address: IpAddr) -> [Key; 3] {
    let login: String = login.chars().take(64).collect::<String>().to_lowercase();
    let network = network(address);
    [Key::Pair(login.clone(), network), Key::Account(login), Key::Network(network)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn guesses_at_one_account_wait_ever_longer() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        for _ in 0..4 {
            throttle.begin("admin", at("192.0.2.1"), now).expect("is free");
        }
        let first = throttle.begin("admin", at("192.0.2.1"), now).expect_err("has to wait");
        now += Duration::from_secs(first);
        throttle.begin("admin", at("192.0.2.1"), now).expect("has waited");
        let second = throttle.begin("ADMIN", at("192.0.2.1"), now).expect_err("has to wait");
        assert!(second > first, "{first} then {second}");
        throttle.begin("admin", at("198.51.100.7"), now).expect("the owner elsewhere is free");
    }

    #[test]
    fn success_forgives_and_silence_forgets() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..4 {
            throttle.begin("a", at("2001:db8::1"), now).expect("is free");
        }
        assert!(throttle.begin("a", at("2001:db8::2"), now).is_err(), "the same /64");
        throttle.succeeded("a", at("2001:db8::1"));
        throttle.begin("a", at("2001:db8::1"), now).expect("is forgiven");
        for _ in 0..3 {
            throttle.begin("a", at("2001:db8::1"), now).expect("is free");
        }
        throttle.begin("a", at("2001:db8::1"), now + MEMORY).expect("is forgotten");
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for i in 0..20_000_u32 {
            let _ = throttle.begin(&format!("u{i}"), IpAddr::V4(i.into()), now);
        }
        assert!(throttle.seen.lock().expect("is whole").len() <= CAPACITY);
    }
}
