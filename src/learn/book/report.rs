//! The book as it is shown.

use std::time::Duration;

use crate::learn::chance::at_least;
use crate::model::PatternId;
use crate::model::pattern::{
    PATTERNS_MAX, PatternFilter, PatternResource, PatternView, PatternWorker, PatternsView, Precedes, Warns,
};
use crate::model::{UnitName, WorkerName};

use super::entry::{Entry, OfWorker};
use super::{Book, Watched};

/// Spans from which it is tested whether incidents follow.
const SPANS_MIN: f64 = 2.0;
/// What is this likely by chance is not told.
const TOLD: f64 = 0.01;
/// Units that are named.
const UNITS_SHOWN: usize = 8;

/// A sign is told of only if the incident comes so much later: of what happens at once nobody is warned.
const LEAD_MIN: Duration = Duration::from_secs(60);
/// And if it comes after so many of the signs.
const MOSTLY: f64 = 0.5;

/// How many are tested at once, for the correction.
#[derive(Clone, Copy)]
struct Tests {
    precede: usize,
    hours: usize,
}

impl Book {
    /// Those that precede incidents first, then those seen last.
    pub fn view(&self, filter: &PatternFilter) -> PatternsView {
        let tests = self.tests();
        let wanted = |(id, entry): &(&PatternId, &Entry)| {
            filter.id.is_none_or(|wanted| wanted == **id)
                && filter.worker.as_ref().is_none_or(|worker| entry.workers.contains_key(worker))
        };
        let mut patterns: Vec<PatternView> = self
            .entries
            .iter()
            .filter(wanted)
            .map(|(id, entry)| self.shown(*id, entry, filter.worker.as_ref(), tests))
            .collect();
        let precedes = |view: &PatternView| view.workers.iter().any(|worker| worker.precedes.beyond_chance);
        patterns.sort_by_key(|view| (!precedes(view), std::cmp::Reverse(view.last), view.id));
        let limit = filter.limit.unwrap_or(PATTERNS_MAX).min(PATTERNS_MAX);
        let left_out = patterns.len().saturating_sub(limit);
        patterns.truncate(limit);
        PatternsView { patterns, left_out, ..PatternsView::default() }
    }

    /// What the pattern is a sign of: incidents come after it beyond chance, mostly, and late enough to tell of it before.
    pub fn warns(&self, id: PatternId, worker: &WorkerName) -> Option<Warns> {
        let of = self.entries.get(&id)?.workers.get(worker)?;
        let lead = of.median_lead().filter(|lead| *lead >= LEAD_MIN)?;
        if of.spans < SPANS_MIN || of.followed < of.spans * MOSTLY {
            return None;
        }
        let nothing = Watched::default();
        let watched = self.workers.get(worker).unwrap_or(&nothing);
        let precedes = precedes(of, watched, self.tests().precede);
        precedes.beyond_chance.then_some(Warns { of: of.spans, followed: of.followed, lead })
    }

    fn tests(&self) -> Tests {
        let all = || self.entries.values().flat_map(|entry| entry.workers.values());
        Tests {
            precede: all().filter(|of_worker| of_worker.spans >= SPANS_MIN).count(),
            hours: all().filter(|of_worker| of_worker.outbreaks.can_be_judged()).count(),
        }
    }

    fn shown(&self, id: PatternId, entry: &Entry, only: Option<&WorkerName>, tests: Tests) -> PatternView {
        let workers = entry.workers.iter().filter(|(worker, _)| only.is_none_or(|only| only == *worker));
        let workers = workers.map(|(worker, of)| self.of_worker(worker, of, tests)).collect();
        let spans = entry.spans_begun().max(1.0);
        let mut unusual: Vec<PatternResource> = entry
            .resources()
            .map(|(name, times, strength)| PatternResource {
                name: name.into(),
                share: (times / spans).min(1.0),
                strength,
            })
            .collect();
        unusual.sort_by(|a, b| b.share.total_cmp(&a.share));
        PatternView {
            id,
            template: entry.template.clone(),
            total: entry.total,
            per_hour: entry.per_hour(self.clock),
            first: entry.first,
            last: entry.last,
            workers,
            unusual,
        }
    }

    fn of_worker(&self, name: &WorkerName, of: &OfWorker, tests: Tests) -> PatternWorker {
        let nothing = Watched::default();
        let watched = self.workers.get(name).unwrap_or(&nothing);
        let mut units: Vec<(&UnitName, u64)> = of.units.iter().map(|(unit, one)| (unit, one.seen)).collect();
        units.sort_by_key(|(unit, seen)| (std::cmp::Reverse(*seen), *unit));
        PatternWorker {
            worker: name.clone(),
            total: of.total,
            units: units.into_iter().take(UNITS_SHOWN).map(|(unit, _)| unit.clone()).collect(),
            precedes: precedes(of, watched, tests.precede),
            hours: of.outbreaks.hours(&self.hours, &watched.outbreaks, tests.hours),
            days: of.outbreaks.days(&self.days, &watched.outbreaks, tests.hours),
        }
    }
}

fn precedes(of: &OfWorker, watched: &Watched, tests: usize) -> Precedes {
    // Nobody can be in spans for longer than was watched.
    let share = if watched.spans > of.spans { of.spans / watched.spans } else { 1.0 };
    let incidents = watched.incidents.max(of.followed);
    let chance = match of.spans >= SPANS_MIN {
        true => (at_least(of.followed, incidents, share) * tests.max(1) as f64).min(1.0),
        false => 1.0,
    };
    Precedes {
        spans: of.spans,
        followed: of.followed,
        expected: incidents * share,
        chance,
        beyond_chance: chance < TOLD,
        median_lead: of.median_lead(),
        incidents: of.incidents.iter().copied().collect(),
    }
}
