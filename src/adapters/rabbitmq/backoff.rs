//! Pauses between attempts to connect: doubling, spread, never ending.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A pause is this much longer or shorter by chance: hosts that lost the same broker must not come back as one.
const SPREAD: f64 = 0.2;

#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        pause(self.failures, chance())
    }

    /// The broker has answered a whole round: a mere connection is not enough, or one that closes each at once would be
    /// asked every second.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `chance` is from 0 to 1.
fn pause(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    let base = (FIRST * (1 << doublings)).min(LONGEST);
    base.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * chance)
}

/// Every `RandomState` has other keys; needs no quality.
fn chance() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_stay_there() {
        let seconds: Vec<u64> = (1..10).map(|failures| pause(failures, 0.5).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX, 0.5), LONGEST);
        assert_eq!((pause(1, 0.0), pause(1, 1.0)), (Duration::from_millis(800), Duration::from_millis(1200)));
    }

    #[test]
    fn two_hosts_do_not_come_back_together() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        assert_ne!((one.next(), one.next()), (other.next(), other.next()));
        one.reset();
        assert!(one.next() < Duration::from_millis(1201));
    }
}
