//! What is coming: forecasts of an instance's memory, tasks and open files and of a worker's queues, which make the
//! condition `predicted`.
//!
//! A forecast is a guess: what it may do is up to the plan, and it is told apart from what is there.

use crate::learn::forecast::{Forecast, Trend};
use crate::model::habits::{KeptGrowth, Resource};
use crate::model::time::human;
use crate::model::usage::OpenFiles;
use crate::model::{Evidence, Mono, WorkerSettings};

use super::readings::mib;

/// Below this share of the level nothing is kept: what is far away need not be foreseen yet.
const WATCHED_FROM: f64 = 0.1;
/// So many looks without a forecast, five minutes apart, take back what was told.
const MISSES_MAX: u8 = 3;

/// Tasks and open files are as good as used up at this share of their limit: the next burst fails.
const USED_UP: f64 = 0.9;

/// What is known of where an instance is heading. Outlives the activation: a leak goes on after a restart.
#[derive(Default)]
pub struct Outlook {
    memory: Course,
    tasks: Course,
    files: Course,
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

    /// One reading of its tasks, and how many it may have.
    pub fn take_tasks(&mut self, at: Mono, tasks: u64, limit: u64, settings: &WorkerSettings) {
        let share = tasks as f64 / limit.max(1) as f64;
        self.tasks.take_share(at, share, limit, "number of tasks", settings);
    }

    /// One reading of the files that one of its processes has open, the one that is nearest to its limit.
    pub fn take_files(&mut self, at: Mono, files: OpenFiles, settings: &WorkerSettings) {
        self.files.take_share(at, files.share(), files.limit, "number of open files of a process", settings);
    }

    /// What is foreseen; of several what comes first. Memory that is high already is not foreseen any more.
    pub fn predicted(&self, memory_is_high: bool) -> Option<&Evidence> {
        let memory = self.memory.predicted.as_ref().filter(|_| !memory_is_high);
        let all = [memory, self.tasks.predicted.as_ref(), self.files.predicted.as_ref()];
        all.into_iter().flatten().min_by(|a, b| minutes(a).total_cmp(&minutes(b)))
    }

    /// There is memory to clean up.
    pub fn memory_is_predicted(&self) -> bool {
        self.memory.predicted.is_some()
    }

    /// A new activation of the unit.
    pub fn begin_life(&mut self) {
        for course in [&mut self.memory, &mut self.tasks, &mut self.files] {
            course.begin_life();
        }
    }

    /// How it grew in lives that are over.
    pub fn kept(&self) -> Vec<KeptGrowth> {
        let courses =
            [(Resource::Memory, &self.memory), (Resource::Tasks, &self.tasks), (Resource::OpenFiles, &self.files)];
        let grew =
            courses.into_iter().filter_map(|(resource, course)| Some((resource, course.trend.as_ref()?.habit()?)));
        grew.map(|(resource, (slope, lives))| KeptGrowth { resource, slope, lives }).collect()
    }

    pub fn recall(&mut self, known: &[KeptGrowth]) {
        for one in known {
            let course = match one.resource {
                Resource::Memory => &mut self.memory,
                Resource::Tasks => &mut self.tasks,
                Resource::OpenFiles => &mut self.files,
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

/// Until it comes, as [`Course::take`] measures it.
fn minutes(evidence: &Evidence) -> f64 {
    evidence.value.unwrap_or(f64::INFINITY)
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

    /// The same of a share of a limit of so many. No condition follows when it is used up, so what was foreseen stays.
    fn take_share(&mut self, at: Mono, share: f64, limit: u64, what: &str, settings: &WorkerSettings) {
        let foreseen = self.predicted.is_some();
        self.take(at, share, USED_UP, settings, |forecast| {
            let reaches = format!("{:.0} % of its limit of {limit}", USED_UP * 100.0);
            format!("{what} {}", forecast.words(&reaches, |share| number(share * limit as f64)))
        });
        if foreseen && share >= USED_UP && !settings.predict_horizon.is_zero() {
            let text = format!(
                "{what} has grown to {:.0} of its limit of {limit} ({:.0} %)",
                share * limit as f64,
                share * 100.0
            );
            let horizon = settings.predict_horizon.as_secs_f64() / 60.0;
            (self.predicted, self.misses) = (Some(Evidence::measured(text, 0.0, horizon)), 0);
        }
    }

    fn begin_life(&mut self) {
        if let Some(trend) = &mut self.trend {
            trend.begin_life();
        }
        (self.predicted, self.misses) = (None, 0);
    }
}

/// `40`, `2.5`
fn number(count: f64) -> String {
    if count < 9.95 { format!("{count:.1}") } else { format!("{count:.0}") }
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
            first = first.or(outlook.predicted(false).map(|_| hour));
        }
        first
    }

    #[test]
    fn a_leak_is_told_before_the_threshold() {
        let mut outlook = Outlook::default();
        let first = told(&mut outlook, &settings(), 14).unwrap();
        // 850 MiB are reached after 14.5 hours.
        assert!((13.0..14.0).contains(&first), "{first}");
        let evidence = outlook.predicted(false).cloned().unwrap();
        assert!(evidence.text.starts_with("memory grows by 100 MiB an hour"), "{}", evidence.text);
        assert!(evidence.text.contains("85 % of its limit of 1000 MiB"), "{}", evidence.text);
        outlook.begin_life();
        assert_eq!(outlook.predicted(false), None, "after a restart the level starts anew");
    }

    /// Ten hours at 100 and then 40 an hour more, of a limit of 300, until the hour; says when it was told first.
    fn used_up(until: u64, take: impl Fn(&mut Outlook, Mono, u64)) -> (Outlook, Option<f64>) {
        let (mut outlook, mut first) = (Outlook::default(), None);
        for step in 0..until * 120 {
            let hour = step as f64 / 120.0;
            let used = 100.0 + 40.0 * (hour - 10.0).max(0.0);
            take(&mut outlook, Mono(step * 30_000_000), (used as u64).min(300));
            first = first.or(outlook.predicted(false).map(|_| hour));
        }
        (outlook, first)
    }

    #[test]
    fn tasks_and_open_files_are_told_before_they_are_used_up() {
        told_of("number of tasks", |outlook, at, used| outlook.take_tasks(at, used, 300, &settings()));
        told_of("number of open files of a process", |outlook, at, used| {
            outlook.take_files(at, OpenFiles { count: used, limit: 300 }, &settings());
        });
    }

    #[test]
    fn how_each_resource_grew_is_kept_and_recalled_as_its_own() {
        let grew = |resource, slope| KeptGrowth { resource, slope, lives: 3 };
        let known = [grew(Resource::Memory, 1e4), grew(Resource::Tasks, 1e-5), grew(Resource::OpenFiles, 2e-5)];
        let mut outlook = Outlook::default();
        outlook.recall(&known);
        assert_eq!(outlook.kept(), known);
    }

    fn told_of(what: &str, take: impl Fn(&mut Outlook, Mono, u64) + Copy) {
        // 270 are reached after 14.25 hours.
        let (mut outlook, first) = used_up(14, take);
        assert!(first.is_some_and(|hour| (12.5..13.75).contains(&hour)), "{what}: {first:?}");
        let text = outlook.predicted(true).unwrap().text.clone();
        assert!(text.starts_with(&format!("{what} grows by 40 an hour")), "{text}");
        assert!(text.contains("reaches 90 % of its limit of 300"), "{text}");
        assert!(!outlook.memory_is_predicted());
        outlook.begin_life();
        assert_eq!(outlook.predicted(false), None);

        let (outlook, _) = used_up(24, take);
        let text = outlook.predicted(false).map(|evidence| evidence.text.as_str());
        assert_eq!(text, Some(&*format!("{what} has grown to 300 of its limit of 300 (100 %)")), "it stays told");
    }

    #[test]
    fn what_comes_first_is_told_first_and_memory_that_is_high_is_not_foreseen() {
        let mut outlook = Outlook::default();
        let mut foresee = |memory: f64, tasks: f64| {
            let at = |minutes: f64, text: &str| Some(Evidence::measured(text.to_string(), minutes, 30.0));
            (outlook.memory.predicted, outlook.tasks.predicted) = (at(memory, "memory"), at(tasks, "tasks"));
            [false, true].map(|high| outlook.predicted(high).map(|evidence| evidence.text.clone()))
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(foresee(10.0, 20.0), [some("memory"), some("tasks")]);
        assert_eq!(foresee(20.0, 10.0), [some("tasks"), some("tasks")]);
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
        assert!(outlook.predicted(false).is_some());
        for step in 14 * 120..15 * 120 {
            outlook.take_memory(Mono(step * 30_000_000), 400 * MIB, 1_000 * MIB, &settings());
        }
        assert_eq!(outlook.predicted(false), None);
    }
}
