//! From lines to patterns and what is known of them. Knows no clock; its thread tells the time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::learn::book::{Book, Moment, Sighting};
use crate::learn::patterns::{Kept, Limits, Line, Miner};
use crate::learn::trace::{Belongs, Traces};
use crate::model::pattern::TEMPLATE_SHOWN;
use crate::model::{JournalLine, Mono, PatternId, PatternSeen, UnitName, WorkerName};

/// Of [`Learned`]; another one is refused.
pub const FORMAT: u32 = 1;
/// What the miner of the daemon keeps: fewer than for a file, for it divides all of them again and again.
const LIMITS: Limits = Limits { shapes: 10_000, lines: 20_000 };
/// Units whose traces are followed; with more, a trace that is under way may come apart.
const UNITS_MAX: usize = 1_024;
/// Lines of one entry that are looked at, and messages in it.
const ENTRY_LINES_MAX: usize = 200;
const ENTRY_MESSAGES_MAX: usize = 4;
/// Different lines that wait for their pattern.
const WAITING_MAX: usize = 1_024;
/// Patterns of which the engine is told at once, the rarest.
const SEEN_MAX: usize = 256;

/// What outlives a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Learned {
    templates: Kept,
    book: Book,
}

impl Learned {
    /// The text says why it is refused.
    pub fn read(format: u32, body: &str) -> Result<Self, String> {
        if format != FORMAT {
            return Err(format!("it has the format {format}, and this unitmedic reads {FORMAT}"));
        }
        let learned: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        learned.templates.check()?;
        learned.book.check()?;
        Ok(learned)
    }
}

#[derive(Clone)]
struct Waiting {
    worker: WorkerName,
    first: Mono,
    last: Mono,
    count: u64,
}

pub struct Learner {
    pub book: Book,
    miner: Miner,
    traces: BTreeMap<UnitName, Traces>,
    waiting: BTreeMap<(UnitName, Line), Waiting>,
}

impl Default for Learner {
    fn default() -> Self {
        Self { book: Book::default(), miner: Miner::new(LIMITS), traces: BTreeMap::new(), waiting: BTreeMap::new() }
    }
}

impl Learner {
    pub fn knowing(learned: Learned) -> Self {
        let miner = Miner::knowing(&learned.templates, LIMITS);
        Self { book: learned.book, miner, ..Self::default() }
    }

    pub fn learned(&mut self) -> Learned {
        self.miner.settle_new();
        self.merge();
        Learned { templates: self.miner.kept(), book: self.book.clone() }
    }

    /// There are lines whose patterns are not told yet.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Takes the messages of an entry in; the lines of a trace belong to one of them.
    pub fn take(&mut self, entry: &JournalLine, worker: &WorkerName) {
        if self.traces.len() >= UNITS_MAX && !self.traces.contains_key(&entry.unit) {
            self.traces.clear();
        }
        let traces = self.traces.entry(entry.unit.clone()).or_default();
        let mut messages = 0;
        for line in entry.text.lines().take(ENTRY_LINES_MAX) {
            if traces.take(line) != Belongs::ToItself || line.trim().is_empty() || messages >= ENTRY_MESSAGES_MAX {
                continue;
            }
            messages += 1;
            let key = (entry.unit.clone(), self.miner.learn(line));
            let (at, count) = (entry.at, u64::from(entry.weight));
            let new = || Waiting { worker: worker.clone(), first: at, last: at, count: 0 };
            let waiting = self.waiting.entry(key).or_insert_with(new);
            (waiting.first, waiting.last) = (waiting.first.min(at), waiting.last.max(at));
            waiting.count += count;
        }
    }

    /// What came since the last turn has its pattern now. Which each instance has shown, the rarest first.
    pub fn turn(&mut self, moment: &Moment) -> Vec<PatternSeen> {
        self.miner.settle_new();
        self.merge();
        self.book.advance(moment);
        let mut shown: BTreeMap<(UnitName, PatternId), Waiting> = BTreeMap::new();
        for ((unit, line), waiting) in std::mem::take(&mut self.waiting) {
            // A flood may have pushed it out again.
            let Some(pattern) = self.miner.pattern_of(line) else { continue };
            let sum = shown.entry((unit, pattern)).or_insert(Waiting { count: 0, ..waiting.clone() });
            (sum.first, sum.last) = (sum.first.min(waiting.first), sum.last.max(waiting.last));
            sum.count += waiting.count;
        }
        let mut seen = Vec::with_capacity(shown.len());
        for ((unit, pattern), one) in shown {
            let usual = self.book.usual(pattern, &one.worker);
            let warns = self.book.warns(pattern, &one.worker);
            let Waiting { worker, first, last, count } = &one;
            let sighting = Sighting { id: pattern, worker, unit: &unit, first: *first, last: *last, count: *count };
            self.book.note(&sighting, moment);
            seen.push(PatternSeen { unit, pattern, template: String::new(), at: *last, count: *count, usual, warns });
        }
        let ids: BTreeSet<PatternId> = seen.iter().map(|one| one.pattern).collect();
        let known: BTreeMap<PatternId, String> =
            self.miner.described(&ids).into_iter().map(|pattern| (pattern.id, pattern.template)).collect();
        known.iter().for_each(|(id, template)| self.book.describe(*id, template));
        seen.sort_by(|a, b| a.usual.total_cmp(&b.usual).then_with(|| b.at.cmp(&a.at)));
        seen.truncate(SEEN_MAX);
        for one in &mut seen {
            let template = known.get(&one.pattern).map_or("", String::as_str);
            one.template = template.chars().take(TEMPLATE_SHOWN).collect();
        }
        seen
    }

    fn merge(&mut self) {
        for (old, new) in self.miner.take_merged() {
            self.book.merge(old, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pattern::PatternFilter;
    use crate::model::{IncidentId, Now, Wall};

    const SECRET: &str = "hunter";

    fn unit() -> UnitName {
        UnitName::new("mail@1.service").unwrap()
    }

    fn worker() -> WorkerName {
        WorkerName::new("mail").unwrap()
    }

    fn moment(seconds: u64) -> Moment {
        let now = Now { mono: Mono(seconds * 1_000_000), wall: Wall(seconds as i64 * 1_000_000) };
        Moment { now, hour: 0, day: 3, date: 0 }
    }

    fn line(seconds: u64, text: &str) -> JournalLine {
        JournalLine { unit: unit(), at: Mono(seconds * 1_000_000), text: text.into(), weight: 1 }
    }

    fn templates(seen: &[PatternSeen]) -> Vec<&str> {
        seen.iter().map(|one| one.template.as_str()).collect()
    }

    #[test]
    fn entries_become_patterns_and_traces_belong_to_their_error() {
        let mut learner = Learner::default();
        for text in [
            "job 17 failed",
            "job 18 failed",
            "Traceback (most recent call last):\n  File \"a.py\", line 3\n    f()\nValueError: no such key 7",
            "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:5 +0x1",
            "",
        ] {
            learner.take(&line(10, text), &worker());
        }
        // Line by line, as an entry each.
        for text in ["Traceback (most recent call last):", "  File \"a.py\", line 4", "ValueError: no such key 8"] {
            learner.take(&line(10, text), &worker());
        }
        assert!(learner.is_behind());
        let seen = learner.turn(&moment(11));
        let mut found: Vec<(&str, u64)> = seen.iter().map(|one| (one.template.as_str(), one.count)).collect();
        found.sort_unstable();
        assert_eq!(found, [("ValueError: no such key <*>", 2), ("job <*> failed", 2), ("panic: boom", 1)]);
        assert!(!learner.is_behind());
    }

    #[test]
    fn what_is_told_and_written_is_masked_and_cut() {
        let mut learner = Learner::default();
        learner.take(&line(1, &format!("login failed, password={SECRET} at amqp://me:{SECRET}@host/")), &worker());
        learner.take(&line(1, &"word ".repeat(500)), &worker());
        let seen = learner.turn(&moment(2));
        assert!(seen.iter().all(|one| one.template.chars().count() <= TEMPLATE_SHOWN));
        let written = serde_json::to_string(&learner.learned()).unwrap() + &serde_json::to_string(&seen).unwrap();
        assert!(!written.contains(SECRET), "{written}");
        assert!(templates(&seen).iter().any(|template| template.starts_with("login failed, password=<*>")), "{seen:?}");
    }

    #[test]
    fn what_was_learned_goes_on_after_it_was_read() {
        let mut learner = Learner::default();
        learner.take(&line(1, "no route to 10.0.0.1"), &worker());
        let id = learner.turn(&moment(2))[0].pattern;
        learner.book.incident(&worker(), &unit(), IncidentId(7), Mono(2_500_000));
        let body = serde_json::to_string(&learner.learned()).unwrap();
        let mut learner = Learner::knowing(Learned::read(FORMAT, &body).unwrap());
        learner.take(&line(5, "no route to 10.0.0.2"), &worker());
        assert_eq!(learner.turn(&moment(6))[0].pattern, id);
        let view = learner.book.view(&PatternFilter::default());
        assert_eq!((view.patterns[0].total, view.patterns[0].workers[0].precedes.followed), (2, 1.0));
    }

    #[test]
    fn whatever_a_worker_writes_what_was_learned_is_read_again() {
        let mut learner = Learner::default();
        let controls: String = (0..0x100).filter_map(char::from_u32).collect();
        for text in [&controls, "a \u{9b}K b", "half\u{85}a line", "<*>\u{1f}<*>", "\u{202e}\u{fffd}", "( ) [] {}"] {
            learner.take(&line(1, text), &worker());
        }
        learner.turn(&moment(2));
        let body = serde_json::to_string(&learner.learned()).unwrap();
        assert_eq!(Learned::read(FORMAT, &body).err(), None);
    }

    #[test]
    fn what_is_foreign_or_damaged_is_refused() {
        let good = serde_json::to_string(&Learner::default().learned()).unwrap();
        assert!(Learned::read(FORMAT, &good).is_ok());
        assert!(Learned::read(FORMAT + 1, &good).unwrap_err().contains("format"));
        for bad in ["", "{}", "[1]", &good[..good.len() - 3], &good.replacen("\"clock\":0", "\"clock\":-1", 1)] {
            assert!(Learned::read(FORMAT, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_flood_of_new_lines_is_bounded_and_the_rarest_are_told() {
        let mut learner = Learner::default();
        for n in 0..3_000_u32 {
            let word = |place: u32| -> String {
                (0..6)
                    .map(|bit| char::from(b'a' + (n.wrapping_mul(place * 77 + 9_973) >> (4 * bit) & 15) as u8))
                    .collect()
            };
            learner.take(&line(1, &(0..2 + n % 5).map(word).collect::<Vec<_>>().join(" ")), &worker());
            if learner.is_full() {
                assert!(learner.turn(&moment(2)).len() <= SEEN_MAX);
            }
        }
        assert!(learner.waiting.len() <= WAITING_MAX);
    }
}
