//! Waiting between tries: exponential, jittered, capped. Pure: the random number comes in.

use std::time::Duration;

/// Counts tries and says how long to wait before the next.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Waits about `first` after the first failure, about twice that after the second, at most `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// Returns how long to wait after one more failure: between half and the whole of the exponential step, so that
    /// many peers that failed together don't come back together. `random` is any random number.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let step = self.first.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        step / 2 + (step / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts anew after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Returns how many failures there were since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_cap_and_stay_there() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let longest: Vec<_> = (0..6).map(|_| backoff.next_delay(u32::MAX).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 10, 10]);
        for _ in 0..100 {
            assert_eq!(backoff.next_delay(0), Duration::from_secs(5), "the jitter takes at most half");
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(u32::MAX), Duration::from_secs(1));
    }
}
