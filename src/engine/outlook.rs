//! What is coming: forecasts of an instance's memory and of a worker's queues, which make the condition `predicted`.
//!
//! A forecast is a guess: what it may do is up to the plan, and it is told apart from what is there.

use crate::learn::forecast::{Forecast, Trend};
use crate::model::habits::{KeptGrowth, Resource};
use crate::model::time::human;
use crate::model::{Evidence, Mono, WorkerSettings};

use super::readings::mib;

/// Below this share of the level nothing is kept: what is far away need not be foreseen yet.
const WATCHED_FROM: f64 = 0.1;
/// So many looks without a forecast, five minutes apart, take back what was told.
const MISSES_MAX: u8 = 3;

/// What is known of where an instance is heading. Outlives the activation: a leak goes on after a restart.
#[derive(Default)]
pub struct Outlook {
    memory: Course,
}

impl Outlook {
    /// One reading of memory in use, and the limit that it is judged by. A gap is no reading.
    pub fn take_memory(&mut self, at: Mono, used: u64, limit: u64, settings: &WorkerSettings) {
        let threshold = settings.memory_threshold;
        let level = limit as f64 * threshold / 100.0;
        self.memory.take(at, used as f64, level, settings, |forecast| {
            let reaches = format!("{threshold:.0} % of its limit of {}", mib(limit));
            format!("memory {}", forecast.words(&reaches, |bytes| mib(bytes as u64)))
        });
    }

    /// What is foreseen. There is memory to clean up then.
    pub fn predicted(&self) -> Option<&Evidence> {
        self.memory.predicted.as_ref()
    }

    /// A new activation of the unit.
    pub fn begin_life(&mut self) {
        self.memory.begin_life();
    }

    /// How it grew in lives that are over.
    pub fn kept(&self) -> Vec<KeptGrowth> {
        let courses = [(Resource::Memory, &self.memory)];
        let grew =
            courses.into_iter().filter_map(|(resource, course)| Some((resource, course.trend.as_ref()?.habit()?)));
        grew.map(|(resource, (slope, lives))| KeptGrowth { resource, slope, lives }).collect()
    }

    pub fn recall(&mut self, known: &[KeptGrowth]) {
        for one in known {
            let course = match one.resource {
                Resource::Memory => &mut self.memory,
            };
            course.trend.get_or_insert_default().recall(one.slope, one.lives);
        }
    }

    /// The setting that decides, for people.
    pub fn horizon_text(settings: &WorkerSettings) -> String {
        match settings.predict_horizon.is_zero() {
            true => "off".into(),
            false => human(settings.predict_horizon),
        }
    }
}

/// Where one reading is heading.
#[derive(Default)]
pub struct Course {
    trend: Option<Box<Trend>>,
    misses: u8,
    pub predicted: Option<Evidence>,
}

impl Course {
    /// One reading, and the level that it should not reach. True when what is foreseen has come or gone.
    pub fn take(
        &mut self,
        at: Mono,
        value: f64,
        level: f64,
        settings: &WorkerSettings,
        words: impl Fn(&Forecast) -> String,
    ) -> bool {
        let horizon = settings.predict_horizon;
        let told = self.predicted.is_some();
        if horizon.is_zero() {
            *self = Course::default();
            return told;
        }
        if self.trend.is_none() && value < level * WATCHED_FROM {
            return false;
        }
        let trend = self.trend.get_or_insert_default();
        if !trend.take(at, value) {
            return false;
        }
        match trend.forecast(level).filter(|forecast| forecast.within(horizon)) {
            Some(forecast) => {
                let minutes = forecast.crosses_in.as_secs_f64() / 60.0;
                let evidence = Evidence::measured(words(&forecast), minutes, horizon.as_secs_f64() / 60.0);
                (self.predicted, self.misses) = (Some(evidence), 0);
            }
            None => {
                self.misses = self.misses.saturating_add(1);
                if self.misses >= MISSES_MAX {
                    self.predicted = None;
                }
            }
        }
        told != self.predicted.is_some()
    }

    fn begin_life(&mut self) {
        if let Some(trend) = &mut self.trend {
            trend.begin_life();
        }
        (self.predicted, self.misses) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Selector, UnitName, WorkerName};
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    fn settings() -> WorkerSettings {
        let unit = UnitName::new("a.service").unwrap();
        WorkerSettings::new(WorkerName::new("a").unwrap(), Selector::Unit(unit))
    }

    /// Feeds ten hours of 400 MiB and then growth of 100 MiB an hour; says when it was told first, in hours.
    fn told(outlook: &mut Outlook, settings: &WorkerSettings, until: u64) -> Option<f64> {
        let mut first = None;
        for step in 0..until * 120 {
            let hour = step as f64 / 120.0;
            let used = (400.0 + 100.0 * (hour - 10.0).max(0.0)) as u64 * MIB;
            outlook.take_memory(Mono(step * 30_000_000), used, 1_000 * MIB, settings);
            first = first.or(outlook.predicted().map(|_| hour));
        }
        first
    }

    #[test]
    fn a_leak_is_told_before_the_threshold() {
        let mut outlook = Outlook::default();
        let first = told(&mut outlook, &settings(), 14).unwrap();
        // 850 MiB are reached after 14.5 hours.
        assert!((13.0..14.0).contains(&first), "{first}");
        let evidence = outlook.predicted().cloned().unwrap();
        assert!(evidence.text.starts_with("memory grows by 100 MiB an hour"), "{}", evidence.text);
        assert!(evidence.text.contains("85 % of its limit of 1000 MiB"), "{}", evidence.text);
        outlook.begin_life();
        assert_eq!(outlook.predicted(), None, "after a restart the level starts anew");
    }

    #[test]
    fn it_can_be_turned_off() {
        let off = WorkerSettings { predict_horizon: Duration::ZERO, ..settings() };
        assert_eq!(told(&mut Outlook::default(), &off, 14), None);
    }

    #[test]
    fn what_has_ended_is_taken_back() {
        let mut outlook = Outlook::default();
        told(&mut outlook, &settings(), 14);
        assert!(outlook.predicted().is_some());
        for step in 14 * 120..15 * 120 {
            outlook.take_memory(Mono(step * 30_000_000), 400 * MIB, 1_000 * MIB, &settings());
        }
        assert_eq!(outlook.predicted(), None);
    }
}
