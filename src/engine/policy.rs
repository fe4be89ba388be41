//! Numbers that shape behaviour over time: priority among incidents, pauses between attempts, jitter.

use std::time::Duration;

use crate::model::{Condition, Health, Incident, Mono, WorkerSettings};

/// After giving up, attempts go on with pauses that double up to this.
pub const ESCALATION_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// A first restart out of a crash loop waits as long as the fourth attempt would.
const CRASH_LOOP_HEAD_START: u32 = 2;
/// Pauses vary by this share either way, so that many workers with one cause do not retry in step.
const JITTER: f64 = 0.1;

/// Who goes first when several incidents wait: critical workers, then health, then how many instances are
/// left, then age. Smaller is sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    not_critical: bool,
    mild: u8,
    left: u32,
    opened: Mono,
}

impl Rank {
    pub fn of(incident: &Incident, health: Health, settings: &WorkerSettings, left: u32) -> Self {
        let mild = match health {
            Health::Dead => 0,
            Health::Critical => 1,
            Health::Warning => 2,
            Health::Healthy | Health::Stopped | Health::Unknown => 3,
        };
        Rank { not_critical: !settings.critical, mild, left, opened: incident.opened_at }
    }
}

/// Pause before the next attempt, after `used` attempts have been made: 0, then `backoff` doubling up to
/// `restart_cooldown`.
pub fn backoff(used: u32, leading: Option<Condition>, settings: &WorkerSettings, dice: &mut Dice) -> Duration {
    let steps = match leading {
        Some(Condition::CrashLoop) => used + CRASH_LOOP_HEAD_START,
        _ => used,
    };
    if steps == 0 {
        return Duration::ZERO;
    }
    doubled(settings.backoff, steps - 1, settings.restart_cooldown).mul_f64(dice.jitter())
}

/// Pause after the n-th escalation (from 1): `restart_cooldown` doubling up to an hour.
pub fn escalation_pause(n: u32, settings: &WorkerSettings) -> Duration {
    let limit = ESCALATION_PAUSE_MAX.max(settings.restart_cooldown);
    doubled(settings.restart_cooldown, n.saturating_sub(1), limit)
}

fn doubled(base: Duration, times: u32, limit: Duration) -> Duration {
    base.saturating_mul(1u32.checked_shl(times.min(20)).unwrap_or(u32::MAX)).min(limit)
}

/// Randomness that came in as a seed (SplitMix64, Steele et al. 2014).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed with which another one goes on as this one does.
    pub fn state(&self) -> u64 {
        self.0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A factor between 0.9 and 1.1.
    fn jitter(&mut self) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        1.0 - JITTER + 2.0 * JITTER * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Selector, UnitName, WorkerName};

    fn settings() -> WorkerSettings {
        let unit = Selector::Unit(UnitName::new("a.service").unwrap());
        WorkerSettings::new(WorkerName::new("a").unwrap(), unit)
    }

    #[test]
    fn backoff_doubles_within_jitter_and_stops_at_the_cooldown() {
        let mut dice = Dice::new(7);
        let settings = settings();
        assert_eq!(backoff(0, Some(Condition::Dead), &settings, &mut dice), Duration::ZERO);
        for (used, nominal) in [(1, 2.0), (2, 4.0), (3, 8.0), (20, 300.0), (200, 300.0)] {
            let pause = backoff(used, Some(Condition::Dead), &settings, &mut dice).as_secs_f64();
            assert!((nominal * 0.9..=nominal * 1.1).contains(&pause), "{used}: {pause}");
        }
        assert!(backoff(0, Some(Condition::CrashLoop), &settings, &mut dice) > Duration::from_secs(3));
    }

    #[test]
    fn pauses_after_giving_up_double_to_an_hour() {
        let pauses: Vec<u64> = (1..7).map(|n| escalation_pause(n, &settings()).as_secs()).collect();
        assert_eq!(pauses, [300, 600, 1200, 2400, 3600, 3600]);
    }
}
