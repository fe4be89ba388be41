//! One pattern of the book.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{IncidentId, UnitName, Wall, WorkerName};

use super::hours::Outbreaks;
use super::{Age, ESTABLISHED, LATE, NAME_MAX, QUIET, SPAN, TEMPLATE_MAX, Unusual};

/// Workers that one pattern is kept of, and units of each; those that wrote it longest ago go first.
const WORKERS_MAX: usize = 16;
const UNITS_MAX: usize = 64;
/// Leads from which the median is taken, the last ones.
const LEADS_KEPT: usize = 31;
/// Incidents that are named.
const INCIDENTS_KEPT: usize = 8;
/// Names of unusual readings.
const RESOURCES_MAX: usize = 16;
/// Lines that are so old count e times less in the rate.
const RATE_OVER: Duration = Duration::from_secs(86_400);
/// A pattern that has just come is not said to come thousands of times an hour.
const RATE_FROM: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub template: String,
    pub total: u64,
    pub first: Wall,
    pub last: Wall,
    began: Age,
    /// When it was seen last.
    seen: Age,
    /// Lines, faded to `seen`.
    recent: f64,
    pub workers: BTreeMap<WorkerName, OfWorker>,
    /// Spans at whose beginning it was known what is unusual, and what was.
    resources: BTreeMap<String, Resource>,
    begun: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Resource {
    spans: f64,
    strength: f64,
}

/// What a pattern is to one worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfWorker {
    pub total: u64,
    seen: Age,
    pub units: BTreeMap<UnitName, OfUnit>,
    /// Spans that are over; faded, as those in which an incident came.
    pub spans: f64,
    pub followed: f64,
    /// Milliseconds.
    leads: VecDeque<u32>,
    pub incidents: VecDeque<IncidentId>,
    pub outbreaks: Outbreaks,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfUnit {
    pub seen: Age,
    /// The span that is not over yet.
    span: Option<Age>,
}

impl Entry {
    pub fn new(first: Wall, at: Age) -> Self {
        Self {
            template: String::new(),
            total: 0,
            first,
            last: first,
            began: at,
            seen: at,
            recent: 0.0,
            workers: BTreeMap::new(),
            resources: BTreeMap::new(),
            begun: 0.0,
        }
    }

    pub fn count(&mut self, count: u64, wall: Wall, at: Age) {
        let at = at.max(self.seen);
        self.recent = self.recent * kept(at - self.seen) + count as f64;
        (self.seen, self.total, self.last) = (at, self.total.saturating_add(count), wall);
    }

    pub fn worker(&mut self, worker: &WorkerName, at: Age) -> &mut OfWorker {
        if !self.workers.contains_key(worker) && self.workers.len() >= WORKERS_MAX {
            let oldest = self.workers.iter().min_by_key(|(_, of)| of.seen).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.workers.remove(&name));
        }
        let of_worker = self.workers.entry(worker.clone()).or_default();
        of_worker.seen = of_worker.seen.max(at);
        of_worker
    }

    /// A span began while these were unusual.
    pub fn note_unusual(&mut self, unusual: &[Unusual]) {
        self.begun += 1.0;
        for one in unusual {
            if self.resources.len() >= RESOURCES_MAX && !self.resources.contains_key(&one.name) {
                continue;
            }
            let known = self.resources.entry(one.name.clone()).or_default();
            (known.spans, known.strength) = (known.spans + 1.0, known.strength + one.strength);
        }
    }

    /// Name, spans in which it was unusual, and how strongly in the mean.
    pub fn resources(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.resources
            .iter()
            .map(|(name, one)| (name.as_str(), one.spans, one.strength / one.spans.max(f64::MIN_POSITIVE)))
    }

    pub fn incident(&mut self, worker: &WorkerName, unit: &UnitName, id: IncidentId, at: Age) {
        if let Some(of_worker) = self.workers.get_mut(worker) {
            of_worker.incident(unit, id, at);
        }
    }

    pub fn end_spans(&mut self, now: Age) {
        self.workers.values_mut().for_each(|of_worker| of_worker.end_spans(now));
    }

    pub fn per_hour(&self, now: Age) -> f64 {
        let hours = |span: f64| span / 3600e6;
        let over = RATE_OVER.as_micros() as f64;
        let known = now.saturating_sub(self.began).max(RATE_FROM.as_micros() as Age) as f64;
        self.recent * kept(now.saturating_sub(self.seen)) / hours(over * (1.0 - (-known / over).exp()))
    }

    /// Spans in all, over all workers, for shares.
    pub fn spans_begun(&self) -> f64 {
        let open = |of: &OfWorker| of.units.values().filter(|unit| unit.span.is_some()).count() as f64;
        self.workers.values().map(|of| of.spans + open(of)).sum::<f64>().max(self.begun)
    }

    /// What is worth less goes first.
    pub fn worth(&self) -> (bool, bool, Age) {
        let followed = self.workers.values().any(|of_worker| !of_worker.incidents.is_empty());
        (followed, self.total >= ESTABLISHED, self.seen)
    }

    pub fn fade(&mut self, left: f64) {
        self.begun *= left;
        for one in self.resources.values_mut() {
            (one.spans, one.strength) = (one.spans * left, one.strength * left);
        }
        for of_worker in self.workers.values_mut() {
            (of_worker.spans, of_worker.followed) = (of_worker.spans * left, of_worker.followed * left);
        }
    }

    pub fn absorb(&mut self, other: Entry) {
        let seen = self.seen.max(other.seen);
        self.recent = self.recent * kept(seen - self.seen) + other.recent * kept(seen - other.seen);
        self.total = self.total.saturating_add(other.total);
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
        (self.began, self.seen) = (self.began.min(other.began), seen);
        self.begun += other.begun;
        for (name, more) in other.resources {
            if self.resources.len() < RESOURCES_MAX || self.resources.contains_key(&name) {
                let one = self.resources.entry(name).or_default();
                (one.spans, one.strength) = (one.spans + more.spans, one.strength + more.strength);
            }
        }
        for (worker, more) in other.workers {
            self.worker(&worker, more.seen).absorb(more);
        }
    }

    pub fn check(&self, clock: Age) -> Result<(), String> {
        let sound = |value: f64| value.is_finite() && value >= 0.0;
        let of_worker = |of: &OfWorker| {
            let bounded = of.units.len() <= UNITS_MAX && of.leads.len() <= LEADS_KEPT;
            let bounded = bounded && of.outbreaks.is_sound();
            bounded && of.incidents.len() <= INCIDENTS_KEPT && sound(of.spans) && sound(of.followed) && of.seen <= clock
        };
        let resource =
            |(name, one): (&String, &Resource)| name.len() <= NAME_MAX && sound(one.spans) && one.strength.is_finite();
        let bounded = self.workers.len() <= WORKERS_MAX && self.resources.len() <= RESOURCES_MAX;
        match bounded && self.template.len() <= TEMPLATE_MAX {
            false => Err("a pattern is larger than any that is kept".into()),
            true if self.template.chars().any(char::is_control) => Err("a template is no masked line".into()),
            true if !(sound(self.recent) && sound(self.begun)) => Err("a count is not a number".into()),
            true if self.began > clock || self.seen > clock => Err("a pattern is of the future".into()),
            true if !self.workers.values().all(of_worker) => Err("what a worker wrote cannot be".into()),
            true if !self.resources.iter().all(resource) => Err("what was unusual cannot be".into()),
            true => Ok(()),
        }
    }
}

impl OfWorker {
    /// Lines have come, the first and the last of them then; the unit may be in an incident. Whether a span began.
    pub fn note(
        &mut self,
        unit: &UnitName,
        count: u64,
        (first, last): (Age, Age),
        trouble: Option<(IncidentId, Age)>,
    ) -> bool {
        self.total = self.total.saturating_add(count);
        if !self.units.contains_key(unit) && self.units.len() >= UNITS_MAX {
            self.end_spans(last);
            let oldest = self.units.iter().min_by_key(|(_, of)| of.seen).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.units.remove(&name));
        }
        let of_unit = self.units.entry(unit.clone()).or_default();
        of_unit.seen = of_unit.seen.max(last);
        if of_unit.span.is_some_and(|began| is_over(began, first)) {
            of_unit.span = None;
            self.spans += 1.0;
        }
        if of_unit.span.is_some() {
            return false;
        }
        match trouble {
            None => of_unit.span = Some(first),
            // The last words of the process came after the word of its end.
            Some((id, at)) if first <= at + LATE.as_micros() as Age && !self.incidents.contains(&id) => {
                self.follow(id, at.saturating_sub(first));
            }
            Some(_) => return false,
        }
        true
    }

    fn incident(&mut self, unit: &UnitName, id: IncidentId, at: Age) {
        let Some(of_unit) = self.units.get_mut(unit) else { return };
        let Some(began) = of_unit.span else { return };
        // A span that began after the incident has been begun by the incident.
        if began > at + LATE.as_micros() as Age {
            of_unit.span = None;
            return;
        }
        of_unit.span = None;
        match is_over(began, at) {
            true => self.spans += 1.0,
            false => self.follow(id, at.saturating_sub(began)),
        }
    }

    fn follow(&mut self, id: IncidentId, lead: Age) {
        (self.spans, self.followed) = (self.spans + 1.0, self.followed + 1.0);
        push(&mut self.leads, u32::try_from(lead / 1000).unwrap_or(u32::MAX), LEADS_KEPT);
        push(&mut self.incidents, id, INCIDENTS_KEPT);
    }

    fn end_spans(&mut self, now: Age) {
        for of_unit in self.units.values_mut() {
            if of_unit.span.is_some_and(|began| is_over(began, now)) {
                of_unit.span = None;
                self.spans += 1.0;
            }
        }
    }

    /// Spans without an incident; one that is not over counts from [`QUIET`] on.
    pub fn quiet_spans(&self, now: Age) -> f64 {
        let quiet = |of: &&OfUnit| of.span.is_some_and(|began| now.saturating_sub(began) >= QUIET.as_micros() as Age);
        self.spans - self.followed.min(self.spans) + self.units.values().filter(quiet).count() as f64
    }

    pub fn median_lead(&self) -> Option<Duration> {
        let mut leads: Vec<u32> = self.leads.iter().copied().collect();
        leads.sort_unstable();
        leads.get(leads.len() / 2).map(|lead| Duration::from_millis(u64::from(*lead)))
    }

    fn absorb(&mut self, other: OfWorker) {
        self.total = self.total.saturating_add(other.total);
        (self.spans, self.followed) = (self.spans + other.spans, self.followed + other.followed);
        other.leads.into_iter().for_each(|lead| push(&mut self.leads, lead, LEADS_KEPT));
        let mut known: Vec<IncidentId> = self.incidents.drain(..).chain(other.incidents).collect();
        known.sort_unstable();
        known.dedup();
        known.into_iter().for_each(|id| push(&mut self.incidents, id, INCIDENTS_KEPT));
        self.outbreaks.absorb(&other.outbreaks);
        for (unit, more) in other.units {
            if self.units.len() >= UNITS_MAX && !self.units.contains_key(&unit) {
                continue;
            }
            let of_unit = self.units.entry(unit).or_default();
            of_unit.seen = of_unit.seen.max(more.seen);
            // Two that are open are one from now on.
            of_unit.span = match (of_unit.span, more.span) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }
}

fn push<T>(into: &mut VecDeque<T>, value: T, most: usize) {
    into.push_back(value);
    if into.len() > most {
        into.pop_front();
    }
}

fn is_over(began: Age, now: Age) -> bool {
    now.saturating_sub(began) > SPAN.as_micros() as Age
}

/// What is left of a count after so many microseconds.
fn kept(after: Age) -> f64 {
    (-(after as f64) / RATE_OVER.as_micros() as f64).exp()
}
