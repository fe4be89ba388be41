//! Token buckets: how often somebody may do something. As many are known as there is room for, and no more.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

struct Bucket {
    left: f64,
    used: Instant,
}

pub struct Buckets<K> {
    rate: Rate,
    max: usize,
    known: HashMap<K, Bucket>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Of more than `max` the one that was unused for longest goes, and is full when it comes back.
    pub fn new(rate: Rate, max: usize) -> Self {
        Self { rate, max, known: HashMap::new() }
    }

    /// Takes one, or says how long to wait for it.
    pub fn take(&mut self, key: &K, now: Instant) -> Result<(), Duration> {
        let rate = self.rate;
        if !self.known.contains_key(key) {
            self.make_room();
        }
        let bucket = self.known.entry(key.clone()).or_insert(Bucket { left: rate.burst, used: now });
        bucket.left = left(bucket, rate, now);
        bucket.used = now;
        missing(bucket.left, rate)?;
        bucket.left -= 1.0;
        Ok(())
    }

    /// Whether there is one, without taking it.
    pub fn has(&self, key: &K, now: Instant) -> Result<(), Duration> {
        self.known.get(key).map_or(Ok(()), |bucket| missing(left(bucket, self.rate, now), self.rate))
    }

    /// What was taken turned out to be owed to nobody.
    pub fn give_back(&mut self, key: &K) {
        if let Some(bucket) = self.known.get_mut(key) {
            bucket.left = (bucket.left + 1.0).min(self.rate.burst);
        }
    }

    /// A look at 4,096 takes some microseconds, less than the connection took that brought a new one.
    fn make_room(&mut self) {
        if self.known.len() >= self.max {
            let oldest = self.known.iter().min_by_key(|(_, bucket)| bucket.used).map(|(key, _)| key.clone());
            oldest.map(|key| self.known.remove(&key));
        }
    }
}

fn left(bucket: &Bucket, rate: Rate, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(bucket.used).as_secs_f64();
    (bucket.left + passed * rate.per_second).min(rate.burst)
}

fn missing(left: f64, rate: Rate) -> Result<(), Duration> {
    match left >= 1.0 {
        true => Ok(()),
        false => Err(Duration::from_secs_f64((1.0 - left) / rate.per_second)),
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one host has as a whole.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut buckets, start) = (Buckets::new(RATE, 9), Instant::now());
        for _ in 0..3 {
            assert_eq!(buckets.has(&"a", start), Ok(()));
            assert_eq!(buckets.take(&"a", start), Ok(()));
        }
        let half = Duration::from_millis(500);
        assert_eq!(buckets.take(&"a", start), Err(half));
        assert_eq!(buckets.has(&"a", start), Err(half));
        assert_eq!(buckets.take(&"b", start), Ok(()), "each has its own");
        assert_eq!(buckets.take(&"a", start + half), Ok(()));
        assert_eq!(buckets.take(&"a", start + half), Err(half), "asking in vain costs nothing, and gives nothing");
        let late = start + Duration::from_secs(3600);
        let taken = (0..9).filter(|_| buckets.take(&"a", late).is_ok()).count();
        assert_eq!(taken, 3, "what was not used does not add up");
    }

    #[test]
    fn the_longest_unused_goes() {
        let (mut buckets, start) = (Buckets::new(RATE, 2), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for (key, ms) in [("a", 0), ("a", 0), ("a", 0), ("b", 1), ("a", 2), ("c", 3)] {
            let _ = buckets.take(&key, at(ms));
        }
        assert_eq!(buckets.known.len(), 2);
        assert!(buckets.has(&"a", at(3)).is_err(), "b was unused for longer");
    }

    #[test]
    fn one_client_is_an_address_or_a_network_of_one_host() {
        let of = |text: &str| client(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:3::"), of("2001:db8:1:2::"));
    }
}
