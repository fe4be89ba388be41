//! At which hours of the day, and on which days of the week, a pattern breaks out beyond chance.
//!
//! Lines come in bursts and are no independent evidence. An *outbreak* is a line after [`SILENCE`] without any while we
//! watched; on each date the first one counts for the day of the week. The chance that so many outbreaks fall into a range
//! of hours is judged against the share of the time that we watched in that range (the binomial tail), for ranges of 1 to
//! [`HOURS_WIDEST`] hours (1 or 2 days), and multiplied by the number of ranges and of patterns tested (Bonferroni). A
//! second look takes the outbreaks of the worker's other patterns as the expectation: if the cluster does not stand out
//! from those, its work or its load is at that time.

use serde::{Deserialize, Serialize};

use crate::learn::chance::at_least;
use crate::model::pattern::Cluster;

use super::{Age, Moment};

/// Microseconds without a line after which the next one is an outbreak.
const SILENCE: Age = 6 * 3_600_000_000;
/// Outbreaks from which it can be seen.
const OUTBREAKS_MIN: u32 = 4;
/// One in each second of years; more have not been seen.
const OUTBREAKS_MAX: u32 = 1 << 26;
const HOURS_WIDEST: usize = 6;
const DAYS_WIDEST: usize = 2;
/// A cluster is told below this chance.
const TOLD: f64 = 0.01;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbreaks {
    hours: [u32; 24],
    days: [u32; 7],
    /// When a line came last, in time that we ran.
    last: Option<Age>,
    date: Option<i64>,
}

impl Outbreaks {
    /// A line has come. Whether it is an outbreak.
    pub fn note(&mut self, run: Age, moment: &Moment) -> bool {
        let last = self.last.replace(run);
        let breaks_out = last.is_none_or(|last| run.saturating_sub(last) >= SILENCE);
        if breaks_out {
            self.add(moment);
        }
        breaks_out
    }

    pub fn add(&mut self, moment: &Moment) {
        let hour = &mut self.hours[usize::from(moment.hour) % 24];
        *hour = hour.saturating_add(1);
        if self.date.replace(moment.date) != Some(moment.date) {
            let day = &mut self.days[usize::from(moment.day) % 7];
            *day = day.saturating_add(1);
        }
    }

    /// Whether these can have been counted.
    pub fn is_sound(&self) -> bool {
        self.hours.iter().chain(&self.days).all(|count| *count <= OUTBREAKS_MAX)
    }

    pub fn can_be_judged(&self) -> bool {
        self.hours.iter().sum::<u32>() >= OUTBREAKS_MIN
    }

    /// `watched`: our time in each hour. `all`: outbreaks of all patterns of the worker. `tests`: patterns judged.
    pub fn hours(&self, watched: &[u64; 24], all: &Outbreaks, tests: usize) -> Option<Cluster> {
        cluster(&self.hours, watched, &all.hours, HOURS_WIDEST, tests)
    }

    pub fn days(&self, watched: &[u64; 7], all: &Outbreaks, tests: usize) -> Option<Cluster> {
        cluster(&self.days, watched, &all.days, DAYS_WIDEST, tests)
    }

    pub fn absorb(&mut self, other: &Outbreaks) {
        let add = |one: &mut u32, more: &u32| *one = one.saturating_add(*more);
        self.hours.iter_mut().zip(&other.hours).for_each(|(one, more)| add(one, more));
        self.days.iter_mut().zip(&other.days).for_each(|(one, more)| add(one, more));
        self.last = self.last.max(other.last);
        self.date = self.date.max(other.date);
    }
}

fn cluster<const N: usize>(
    own: &[u32; N],
    watched: &[u64; N],
    all: &[u32; N],
    widest: usize,
    tests: usize,
) -> Option<Cluster> {
    let of: u32 = own.iter().sum();
    let time: u64 = watched.iter().sum();
    if of < OUTBREAKS_MIN || time == 0 {
        return None;
    }
    let looks = (N * widest * tests.max(1)) as f64;
    let others: u32 = all.iter().zip(own).map(|(all, own)| all.saturating_sub(*own)).sum();
    let mut best: Option<Cluster> = None;
    for length in 1..=widest {
        for from in 0..N {
            let places = || (from..from + length).map(|place| place % N);
            let within: u32 = places().map(|place| own[place]).sum();
            let share = places().map(|place| watched[place]).sum::<u64>() as f64 / time as f64;
            let chance = (at_least(f64::from(within), f64::from(of), share) * looks).min(1.0);
            if chance >= TOLD || best.as_ref().is_some_and(|best| best.chance <= chance) {
                continue;
            }
            let elsewhere: u32 = places().map(|place| all[place].saturating_sub(own[place])).sum();
            // One more for each place: few others say little.
            let expected = (f64::from(elsewhere) + length as f64) / (f64::from(others) + N as f64);
            let among = at_least(f64::from(within), f64::from(of), expected.max(share)) * looks;
            best = Some(Cluster {
                from: from as u8,
                length: length as u8,
                within,
                of,
                chance,
                like_others: among >= TOLD,
            });
        }
    }
    best
}
