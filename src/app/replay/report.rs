//! What a replay found, for people and programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Selector, Settings, UnitName, Wall, WorkerName};

use super::Options;
use super::baseline::Baseline;
use super::candidate::Candidate;
use super::decisions::differences;
use super::tape::Tape;

/// The recorded inputs with the recorded settings (`baseline`) and with others (`candidate`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    pub recording: Recording,
    /// Whether the baseline gave the recorded orders, all of them and no other.
    pub deviations: Deviations,
    pub baseline: Sums,
    pub candidate: Sums,
    pub workers: BTreeMap<WorkerName, Compared>,
    /// Recorded orders that the candidate did not give; what followed from them was kept from it.
    pub withheld: u64,
    /// Units that were not as recorded any more for the candidate when the recording ended.
    pub apart_at_the_end: u64,
    /// The first that differ, in the order of time, and how many there are.
    pub differences: Vec<Difference>,
    pub differences_in_all: u64,
    /// What the candidate asks about and the recording does not know.
    pub unknown: Vec<String>,
}

impl ReplayReport {
    /// The baseline did what was done.
    pub fn is_reproduced(&self) -> bool {
        self.deviations.count == 0
    }

    /// Actions of the candidate, and how many of them are supposed, not recorded.
    pub fn supposed(&self) -> (u64, u64) {
        (self.candidate.supposed, self.candidate.actions_in_all())
    }
}

/// What was there to be replayed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub from: Option<Wall>,
    pub to: Option<Wall>,
    pub inputs: u64,
    pub bytes: u64,
    /// Lives of the daemon.
    pub lives: u64,
    /// Other settings came into force while it was recorded.
    pub reloads: u64,
    /// Places at which something is missing.
    pub gaps: u64,
    pub troubles: Trouble,
    /// Things that were too many to be remembered.
    pub left_out: u64,
}

/// What could not be read: the first of them in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub count: u64,
    pub told: Vec<String>,
}

/// Where the baseline is not what was recorded: the recording is not complete there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Deviations {
    /// Orders that were given again as they were.
    pub orders: u64,
    pub count: u64,
    pub first: Option<Wall>,
    pub told: Vec<(Wall, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub baseline: Sums,
    pub candidate: Sums,
}

/// What was done, counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    pub incidents: u64,
    /// Taken, by kind.
    pub actions: BTreeMap<String, u64>,
    /// Of the actions, those of which an order is not in the recording.
    pub supposed: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Actions where the recording shows no incident, or one that ended by itself or was marked false.
    pub false_actions: u64,
    pub cleared_by_themselves: u64,
    pub marked_false: u64,
    pub escalations: u64,
    /// Refusals, by gate.
    pub suppressed: BTreeMap<String, u64>,
    pub open_at_the_end: u64,
    /// From the failure to lasting health, of incidents that did not clear by themselves, whoever helped.
    pub time_to_recover: Times,
}

impl Sums {
    pub fn actions_in_all(&self) -> u64 {
        self.actions.values().sum()
    }

    /// All but the times, which are no sums.
    pub(super) fn add(&mut self, other: &Sums) {
        self.incidents += other.incidents;
        self.supposed += other.supposed;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.false_actions += other.false_actions;
        self.cleared_by_themselves += other.cleared_by_themselves;
        self.marked_false += other.marked_false;
        self.escalations += other.escalations;
        self.open_at_the_end += other.open_at_the_end;
        for (mine, others) in [(&mut self.actions, &other.actions), (&mut self.suppressed, &other.suppressed)] {
            for (key, count) in others {
                *mine.entry(key.clone()).or_default() += count;
            }
        }
    }
}

/// How long it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub count: u64,
    pub median: Option<Duration>,
    /// Nine tenths took no longer.
    pub p90: Option<Duration>,
}

impl Times {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        // The nearest rank.
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self { count: times.len() as u64, median: rank(50), p90: rank(90) }
    }
}

/// One decision that only one of them took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub at: Wall,
    pub worker: WorkerName,
    pub unit: UnitName,
    pub decision: String,
    /// What each did, and why, or why not.
    pub baseline: String,
    pub candidate: String,
    /// It rests on what is supposed, not recorded.
    pub supposed: bool,
}

pub(super) fn report(
    tape: &Tape,
    baseline: Baseline,
    candidate: Candidate,
    settings: &Settings,
    options: &Options,
) -> ReplayReport {
    let unknown = unknown(&baseline, settings);
    let (differing, differences_in_all) = differences(&baseline.decisions, &candidate.decisions, options.differences);
    let left_out = baseline.story.left_out + baseline.decisions.left_out + candidate.decisions.left_out;
    let story = baseline.story;
    let (of_baseline, all_baseline) = baseline.tally.sums(|done| story.needed_nothing(&done.unit, done.at));
    let (of_candidate, all_candidate) = candidate.tally.sums(|done| story.needed_nothing(&done.unit, done.at));
    let mut workers: BTreeMap<WorkerName, Compared> = BTreeMap::new();
    for (worker, sums) in of_baseline {
        workers.entry(worker).or_default().baseline = sums;
    }
    for (worker, sums) in of_candidate {
        workers.entry(worker).or_default().candidate = sums;
    }
    ReplayReport {
        recording: Recording {
            from: tape.first,
            to: tape.last,
            inputs: tape.inputs,
            bytes: tape.taken(),
            lives: tape.lives,
            reloads: baseline.reloads,
            gaps: tape.gaps,
            troubles: tape.troubles.clone(),
            left_out,
        },
        deviations: baseline.deviations,
        baseline: all_baseline,
        candidate: all_candidate,
        workers,
        withheld: candidate.withheld,
        apart_at_the_end: candidate.apart as u64,
        differences: differing,
        differences_in_all,
        unknown,
    }
}

/// Workers of which nothing can be said, and what the recorded workers had that these do not.
fn unknown(baseline: &Baseline, settings: &Settings) -> Vec<String> {
    let recorded = baseline.settings.as_ref();
    let old = |name: &WorkerName| recorded.and_then(|recorded| recorded.workers.get(name));
    let mut unknown = Vec::new();
    for worker in settings.workers.values() {
        let name = &worker.name;
        let seen = baseline.units.iter().filter(|unit| worker.unit.matches(unit.as_str())).count();
        match old(name) {
            _ if seen == 0 => unknown.push(format!(
                "worker {name}: no unit that {} matches is in the recording, so nothing can be said of it",
                worker.unit
            )),
            None => {
                unknown.push(format!("worker {name} is not in the recorded settings: it has the recorded units only"))
            }
            Some(old) if old.unit != worker.unit => unknown.push(format!(
                "worker {name} had {} and would have {}: units that only the new selector matches are not recorded",
                old.unit, worker.unit
            )),
            Some(_) => {}
        }
    }
    let gone = recorded.into_iter().flat_map(|recorded| recorded.workers.values());
    let gone = gone.filter(|worker| !covered(&worker.unit, settings));
    unknown
        .extend(gone.map(|worker| format!("worker {} ({}) would not be watched any more", worker.name, worker.unit)));
    unknown
}

fn covered(selector: &Selector, settings: &Settings) -> bool {
    settings.workers.values().any(|worker| worker.unit == *selector)
}
