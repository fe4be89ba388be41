//! At which hours a unit fails, and whether it is to be expected that it does so again.
//!
//! Incidents are judged as outbreaks of patterns are ([`super::hours`]): each that comes after six hours without any, against
//! the time that was watched. It is foretold for hours that stand out beyond chance, when it failed in them on half of the
//! dates or more, and on one of the last two. If it has failed on certain days only, so is it on these days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::UnitName;
use crate::model::pattern::{Cluster, HoursAhead};

use super::hours::Outbreaks;
use super::{Age, Book, Moment};

/// Units whose failures are kept; the one that failed longest ago goes first.
pub const UNITS_KEPT: usize = 4_096;
/// It is told when it failed on this share of the dates at least.
const MOSTLY: f64 = 0.5;
/// After so many dates in a row without a failure nothing is told.
const MISSES_MAX: u64 = 2;
const HOUR: Age = 3_600_000_000;
const DAY: Age = 24 * HOUR;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    failures: Outbreaks,
    /// Of the last failure, an outbreak or not, in time that we ran.
    last: Age,
}

impl Trouble {
    /// Whether it can have been seen in so long a run.
    pub fn is_sound(&self, run: Age) -> bool {
        self.failures.is_sound() && self.last <= run
    }
}

impl Book {
    pub(super) fn note_trouble(&mut self, unit: &UnitName) {
        let Some(moment) = self.present else { return };
        if self.trouble.len() >= UNITS_KEPT && !self.trouble.contains_key(unit) {
            let oldest = self.trouble.iter().min_by_key(|(_, trouble)| trouble.last).map(|(unit, _)| unit.clone());
            oldest.map(|unit| self.trouble.remove(&unit));
        }
        let trouble = self.trouble.entry(unit.clone()).or_default();
        trouble.failures.note(self.run, &moment);
        trouble.last = self.run;
    }

    /// Hours that have come, or are the next, in which units mostly fail. To be asked when an hour begins.
    pub fn hours_ahead(&self, moment: &Moment) -> Vec<HoursAhead> {
        let judged = || self.trouble.iter().filter(|(_, trouble)| trouble.failures.can_be_judged());
        let tests = judged().count();
        let ahead = judged().filter(|(unit, _)| !self.troubled.contains_key(*unit));
        ahead.filter_map(|(unit, trouble)| self.ahead_of(unit, trouble, moment, tests)).collect()
    }

    fn ahead_of(&self, unit: &UnitName, trouble: &Trouble, moment: &Moment, tests: usize) -> Option<HoursAhead> {
        let nothing = Outbreaks::default();
        let hours = trouble.failures.hours(&self.hours, &nothing, tests)?;
        let is_there = hours.contains(moment.hour, 24);
        let until_begin = u64::from((hours.from + 24 - moment.hour) % 24);
        if !is_there && until_begin != 1 {
            return None;
        }
        let begins_tomorrow = !is_there && hours.from == 0;
        let day = (moment.day + u8::from(begins_tomorrow)) % 7;
        let days = trouble.failures.days(&self.days, &nothing, tests);
        if days.as_ref().is_some_and(|days| !days.contains(day, 7)) {
            return None;
        }
        let since_last = self.run.saturating_sub(trouble.last);
        let period = if days.is_some() { 7 * DAY } else { DAY };
        let since_begin = if is_there { (24 - until_begin) % 24 } else { 0 };
        if since_last > MISSES_MAX * period + DAY / 2 || since_last < since_begin * HOUR {
            return None;
        }
        let (dates, failed) = self.dates(&hours, days.as_ref());
        let left = u64::from(hours.length) - since_begin + u64::from(!is_there);
        let until = moment.now.mono + Duration::from_micros(left * HOUR);
        let told = f64::from(failed) >= MOSTLY * f64::from(dates);
        told.then(|| HoursAhead { unit: unit.clone(), hours, days, dates, failed, until })
    }

    /// Dates on which these hours were watched, and on how many of them it failed then.
    fn dates(&self, hours: &Cluster, days: Option<&Cluster>) -> (u32, u32) {
        let within = |times: &[u64], cluster: &Cluster| -> u64 {
            (0..times.len() as u8)
                .filter(|place| cluster.contains(*place, times.len() as u8))
                .map(|at| times[usize::from(at)])
                .sum()
        };
        let dates = within(&self.hours, hours) as f64 / (u64::from(hours.length) * HOUR) as f64;
        let all: u64 = self.days.iter().sum();
        let (share, most) = match days {
            Some(days) => (within(&self.days, days) as f64 / all.max(1) as f64, days.within),
            None => (1.0, u32::MAX),
        };
        let failed = hours.within.min(most);
        (((dates * share).round() as u32).max(failed), failed)
    }
}
