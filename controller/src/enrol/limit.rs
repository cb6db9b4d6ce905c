//! How often somebody may try: failures by address and in all, renewals by node. Pure: the time comes in.

use std::{
    collections::BTreeMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

use lampas_shared::time::UnixMs;

/// Keys that are remembered. Beyond, the oldest window is forgotten: memory is bounded, the limit in all still holds.
const KEYS_MAX: usize = 10_000;

/// Counts within windows of fixed length.
#[derive(Debug)]
pub(super) struct Limit<K> {
    window_ms: i64,
    each: u32,
    all: u32,
    counts: BTreeMap<K, u32>,
    total: u32,
    began: UnixMs,
}

impl<K: Ord + Hash + Clone> Limit<K> {
    /// At most `each` for one key and `all` together within a window.
    pub(super) fn new(window_ms: i64, each: u32, all: u32) -> Self {
        Self { window_ms, each, all, counts: BTreeMap::new(), total: 0, began: UnixMs(0) }
    }

    /// Returns whether one more would be too many.
    pub(super) fn is_reached(&mut self, now: UnixMs, key: &K) -> bool {
        self.turn(now);
        self.total >= self.all || self.counts.get(key).is_some_and(|count| *count >= self.each)
    }

    /// Counts one.
    pub(super) fn count(&mut self, now: UnixMs, key: K) {
        self.turn(now);
        self.total = self.total.saturating_add(1);
        if self.counts.len() < KEYS_MAX || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += 1;
        }
    }

    fn turn(&mut self, now: UnixMs) {
        // A clock that stepped back begins a window too, or the limit could last for years.
        if !(0..self.window_ms).contains(&now.since(self.began)) {
            self.counts.clear();
            self.total = 0;
            self.began = now;
        }
    }
}

/// Returns what counts as one source: an IPv4 address, or a /64, which one host may hold whole.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_and_all_together_are_bounded_within_a_window() {
        let mut limit = Limit::new(1000, 2, 3);
        let now = UnixMs(5000);
        limit.count(now, "a");
        assert!(!limit.is_reached(now, &"a"));
        limit.count(now, "a");
        assert!(limit.is_reached(now, &"a"));
        assert!(!limit.is_reached(now, &"b"));
        limit.count(now, "b");
        assert!(limit.is_reached(now, &"c"), "three in all");
        assert!(!limit.is_reached(UnixMs(6000), &"a"), "the next window");
        limit.count(UnixMs(6000), "a");
        limit.count(UnixMs(6000), "a");
        assert!(!limit.is_reached(UnixMs(10), &"a"), "a clock that stepped back");
    }

    #[test]
    fn addresses_of_one_host_count_together() {
        let of = |text: &str| source(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
