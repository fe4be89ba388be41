//! What is known of each pattern: how often and where it is seen, at which hours, and which incidents follow it.
//!
//! Time is that of the book, which only goes forward: within a run by the monotonic clock, from one run to the next by the
//! clock on the wall, but never back and never by more than [`AWAY_MAX`]. So a clock that jumps does bounded harm.
//!
//! *Does it precede incidents?* Time is cut into spans: one begins with a line of the pattern in a unit that is not in an
//! incident, and lasts [`SPAN`]; what comes meanwhile belongs to it. A span is followed when the unit has an incident in
//! it. If incidents came whenever they like, each of those that a worker had would fall into the spans with the chance
//! `time in spans / time watched`; given their number, the number in the spans is binomial (the conditional test of two
//! Poisson rates, Przyborowski and Wilenski 1940). The chance of as many is multiplied by the number of patterns that are
//! tested (Bonferroni). A pattern that always comes has spans all the time, and so precedes nothing.

mod entry;
mod hours;
mod report;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{IncidentId, Mono, Now, PatternId, UnitName, Wall, WorkerName};

use entry::Entry;
use hours::Outbreaks;
use trouble::Trouble;

/// An incident within this time after the first line counts as preceded by it.
pub const SPAN: Duration = Duration::from_secs(1800);
/// The last words of a process may reach the journal so much later than we saw its end. What comes later may be of the
/// next process.
const LATE: Duration = Duration::from_millis(50);
/// Patterns that are kept; those not seen for longest go first, and of those that were hardly seen all before others.
const PATTERNS_KEPT: usize = 2_000;
/// Workers whose incidents and watched time are kept.
const WORKERS_KEPT: usize = 1_024;
/// Units whose incidents are open, or of which something unusual was told.
const UNITS_KEPT: usize = 20_000;
/// Unusual readings of a unit at one time.
const UNUSUAL_KEPT: usize = 8;
/// Bytes of the name of a reading.
const NAME_MAX: usize = 64;
/// Seen so often, a pattern is no accident.
const ESTABLISHED: u64 = 3;
/// Old evidence counts half after so many days.
const HALF_LIFE_DAYS: f64 = 30.0;
const DAY: Duration = Duration::from_secs(86_400);
/// What the clock on the wall is believed to have gone on while we did not run.
const AWAY_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Spans by which what is always there is told from what is new, when hardly anything was watched so far.
const CAUTION: f64 = 4.0;
/// A span that has lasted so long without an incident speaks of usual days.
const QUIET: Duration = Duration::from_secs(300);
/// Longest template that is taken.
pub const TEMPLATE_MAX: usize = 4_096;

/// Microseconds of the book's own time.
type Age = u64;

/// The present, with what people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub now: Now,
    /// Of the local day, 0 to 23.
    pub hour: u8,
    /// 0 is Monday.
    pub day: u8,
    /// Number of the local day, from any beginning.
    pub date: i64,
}

/// Lines of one pattern, of one unit.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'s> {
    pub id: PatternId,
    pub worker: &'s WorkerName,
    pub unit: &'s UnitName,
    /// The first and the last of them.
    pub first: Mono,
    pub last: Mono,
    pub count: u64,
}

/// A reading of a unit that is not as usual, as the judge of that tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unusual {
    pub name: String,
    /// The larger, the more unusual.
    pub strength: f64,
}

/// What a worker has shown in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Watched {
    /// Time that its instances were up and watched, in spans; faded.
    spans: f64,
    /// Incidents; faded.
    incidents: f64,
    outbreaks: Outbreaks,
}

/// All that is known of patterns. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    clock: Age,
    /// Without the times when we did not run.
    run: Age,
    /// Of the last word, to go on from in the next run.
    wall: Wall,
    #[serde(skip)]
    mono: Option<Mono>,
    #[serde(skip)]
    present: Option<Moment>,
    faded_at: Age,
    entries: BTreeMap<PatternId, Entry>,
    workers: BTreeMap<WorkerName, Watched>,
    /// Microseconds that we ran in each hour of the day, and on each day of the week.
    hours: [u64; 24],
    days: [u64; 7],
    /// When units failed.
    #[serde(default)]
    trouble: BTreeMap<UnitName, Trouble>,
    /// Units with an open incident, and since when.
    #[serde(skip)]
    troubled: BTreeMap<UnitName, (IncidentId, Age)>,
    #[serde(skip)]
    unusual: BTreeMap<UnitName, Vec<Unusual>>,
    #[serde(skip)]
    evicted: u64,
}

impl Book {
    /// Time goes on.
    pub fn advance(&mut self, moment: &Moment) {
        let now = moment.now;
        let step = match self.mono {
            Some(before) => now.mono.since(before).as_micros() as Age,
            None => 0,
        };
        if self.mono.is_none() && self.clock > 0 {
            let away = now.wall.0.saturating_sub(self.wall.0).clamp(0, AWAY_MAX.as_micros() as i64);
            self.clock += away as Age;
        }
        (self.clock, self.run) = (self.clock + step, self.run + step);
        self.hours[usize::from(moment.hour) % 24] += step;
        self.days[usize::from(moment.day) % 7] += step;
        self.mono = Some(self.mono.map_or(now.mono, |before| before.max(now.mono)));
        (self.wall, self.present) = (now.wall, Some(*moment));
        self.fade();
    }

    /// Instances were up and watched for so long.
    pub fn watched<'n>(&mut self, workers: impl Iterator<Item = &'n WorkerName>, span: Duration) {
        for worker in workers {
            if let Some(watched) = self.worker(worker) {
                watched.spans += span.as_secs_f64() / SPAN.as_secs_f64();
            }
        }
        let clock = self.clock;
        self.entries.values_mut().for_each(|entry| entry.end_spans(clock));
    }

    /// Lines of a pattern have come.
    pub fn note(&mut self, seen: &Sighting<'_>, moment: &Moment) {
        self.advance(moment);
        if !self.entries.contains_key(&seen.id) {
            self.make_room();
        }
        let (first, last) = (self.age(seen.first), self.age(seen.last));
        let run = self.run;
        let trouble = self.troubled.get(seen.unit).copied();
        let wall = moment.now.wall_of(seen.last);
        let first_wall = moment.now.wall_of(seen.first);
        let entry = self.entries.entry(seen.id).or_insert_with(|| Entry::new(first_wall, first));
        entry.count(seen.count, wall, last);
        let of_worker = entry.worker(seen.worker, last);
        let began = of_worker.note(seen.unit, seen.count, (first, last), trouble);
        let broke_out = of_worker.outbreaks.note(run, moment);
        if began && let Some(unusual) = self.unusual.get(seen.unit) {
            entry.note_unusual(unusual);
        }
        if broke_out && let Some(watched) = self.worker(seen.worker) {
            watched.outbreaks.add(moment);
        }
    }

    /// The unit has an incident now.
    pub fn incident(&mut self, worker: &WorkerName, unit: &UnitName, id: IncidentId, at: Mono) {
        let at = self.age(at);
        if self.troubled.get(unit).is_some_and(|(known, _)| *known == id) {
            return;
        }
        if self.troubled.len() < UNITS_KEPT {
            self.troubled.insert(unit.clone(), (id, at));
        }
        if let Some(watched) = self.worker(worker) {
            watched.incidents += 1.0;
        }
        self.note_trouble(unit);
        for entry in self.entries.values_mut() {
            entry.incident(worker, unit, id, at);
        }
    }

    /// The unit is well again.
    pub fn over(&mut self, unit: &UnitName) {
        self.troubled.remove(unit);
    }

    /// What is unusual of the unit from now on; nothing: all is as usual.
    pub fn tell_unusual(&mut self, unit: &UnitName, mut unusual: Vec<Unusual>) {
        unusual.retain(|one| one.strength.is_finite() && one.name.len() <= NAME_MAX);
        unusual.truncate(UNUSUAL_KEPT);
        match unusual.is_empty() {
            true => drop(self.unusual.remove(unit)),
            false if self.unusual.len() < UNITS_KEPT || self.unusual.contains_key(unit) => {
                self.unusual.insert(unit.clone(), unusual);
            }
            false => {}
        }
    }

    /// What the pattern looks like now.
    pub fn describe(&mut self, id: PatternId, template: &str) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.template != template
        {
            entry.template = template[..template.floor_char_boundary(TEMPLATE_MAX)].into();
        }
    }

    /// The pattern `old` has become a part of `new`.
    pub fn merge(&mut self, old: PatternId, new: PatternId) {
        let Some(gone) = self.entries.remove(&old).filter(|_| old != new) else { return };
        match self.entries.get_mut(&new) {
            Some(entry) => entry.absorb(gone),
            None => drop(self.entries.insert(new, gone)),
        }
    }

    /// Share of the worker's time in which it writes the pattern and nothing follows: 0 never, near 1 always.
    pub fn usual(&self, id: PatternId, worker: &WorkerName) -> f64 {
        let quiet = self.entries.get(&id).and_then(|entry| entry.workers.get(worker));
        let quiet = quiet.map_or(0.0, |of_worker| of_worker.quiet_spans(self.clock));
        let watched = self.workers.get(worker).map_or(0.0, |watched| watched.spans);
        (quiet / (watched + CAUTION)).min(1.0)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn contains(&self, id: PatternId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Patterns that had to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether a book that was read is one that could have been written: counts are numbers, and nothing is beyond its
    /// limit. The text says what is not so.
    pub fn check(&self) -> Result<(), String> {
        if self.entries.len() > PATTERNS_KEPT || self.workers.len() > WORKERS_KEPT {
            return Err("it has more patterns or workers than are kept".into());
        }
        if self.trouble.len() > trouble::UNITS_KEPT {
            return Err("it has more units than are kept".into());
        }
        // A book that grows to its end in 18,000 years has not been written by us.
        if self.clock > 1 << 59 || self.run > self.clock || self.faded_at > self.clock {
            return Err("its time is not a time".into());
        }
        if self.hours.iter().chain(&self.days).any(|ran| *ran > self.run) {
            return Err("an hour or a day is longer than the time in which we ran".into());
        }
        let of_workers = self.workers.values().all(|watched| watched.outbreaks.is_sound());
        if !of_workers || !self.trouble.values().all(|trouble| trouble.is_sound(self.run)) {
            return Err("outbreaks are no counts".into());
        }
        let sound = |value: f64| value.is_finite() && value >= 0.0;
        if !self.workers.values().all(|watched| sound(watched.spans) && sound(watched.incidents)) {
            return Err("a count is not a number".into());
        }
        self.entries.values().try_for_each(|entry| entry.check(self.clock))
    }

    fn age(&self, at: Mono) -> Age {
        let since = self.mono.map_or(0, |now| now.since(at).as_micros() as Age);
        self.clock.saturating_sub(since)
    }

    fn worker(&mut self, worker: &WorkerName) -> Option<&mut Watched> {
        if !self.workers.contains_key(worker) {
            if self.workers.len() >= WORKERS_KEPT {
                let idle = |watched: &Watched| watched.spans + watched.incidents;
                let least = self.workers.iter().min_by(|(_, a), (_, b)| idle(a).total_cmp(&idle(b)));
                let least = least.map(|(name, _)| name.clone())?;
                self.workers.remove(&least);
            }
            self.workers.insert(worker.clone(), Watched::default());
        }
        self.workers.get_mut(worker)
    }

    /// A tenth goes.
    fn make_room(&mut self) {
        if self.entries.len() < PATTERNS_KEPT {
            return;
        }
        let mut ranked: Vec<_> = self.entries.iter().map(|(id, entry)| (entry.worth(), *id)).collect();
        ranked.sort_unstable();
        for (_, id) in ranked.into_iter().take(PATTERNS_KEPT / 10) {
            self.entries.remove(&id);
            self.evicted += 1;
        }
    }

    fn fade(&mut self) {
        let days = (self.clock - self.faded_at) / DAY.as_micros() as Age;
        if days == 0 {
            return;
        }
        self.faded_at += days * DAY.as_micros() as Age;
        let left = 0.5_f64.powf(days as f64 / HALF_LIFE_DAYS);
        self.entries.values_mut().for_each(|entry| entry.fade(left));
        for watched in self.workers.values_mut() {
            (watched.spans, watched.incidents) = (watched.spans * left, watched.incidents * left);
        }
    }
}
