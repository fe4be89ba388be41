//! The candidate's world: recorded signals as far as they are true for it, and what is supposed where it acts otherwise.
//!
//! The rules are told to people in docs/replay.md; whoever changes them here changes them there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::input::{Finding, Snapshot};
use crate::model::signal::{Beat, BeatSource, ErrorCounts};
use crate::model::unit::{JobKind, JobResult};
use crate::model::{AttemptId, Input, Mono, Now, UnitChange, UnitName, UnitView, Usage, Verb};

use super::story::{Kind, Moment, Story, supposed_answer};
use super::units::{self, Fate, Unit};

/// The root side and systemd answer after this.
const ANSWER_TAKES: Duration = Duration::from_millis(2);
/// A recorded activation is asked how a supposed one would end if it began no further away.
const NEIGHBOUR_WITHIN: Duration = Duration::from_secs(600);
/// An activation that failed sooner would fail again.
const SHORT_LIVED: Duration = Duration::from_secs(60);
/// Numbers of supposed jobs: systemd's begin at 1 with each boot.
const SUPPOSED_JOBS: u32 = 3_000_000_000;

#[derive(Default)]
pub struct World {
    units: BTreeMap<UnitName, Unit>,
    coming: BTreeMap<(Mono, u64), Coming>,
    number: u64,
}

/// What is supposed to happen.
enum Coming {
    Input(Input),
    Change { unit: UnitName, change: UnitChange, last: bool, job: Option<u32> },
}

impl World {
    /// Another boot: nothing of the units of the former one holds.
    pub fn reboot(&mut self) {
        *self = World { number: self.number, ..World::default() };
    }

    /// Our life ends: answers that were under way are lost.
    pub fn end_of_life(&mut self) {
        self.coming.retain(|_, coming| matches!(coming, Coming::Change { .. }));
    }

    pub fn apart(&self) -> usize {
        self.units.values().filter(|unit| unit.is_apart()).count()
    }

    pub fn is_apart(&self, unit: &UnitName) -> bool {
        self.units.get(unit).is_some_and(Unit::is_apart)
    }

    /// When the next supposed thing happens.
    pub fn due(&self) -> Option<Mono> {
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next supposed thing, as the engine is told of it.
    pub fn happen(&mut self) -> Vec<Input> {
        let Some(((at, _), coming)) = self.coming.pop_first() else { return Vec::new() };
        match coming {
            Coming::Input(input) => vec![input],
            Coming::Change { unit: name, change, last, job } => {
                let unit = self.units.entry(name.clone()).or_default();
                if !unit.is_apart() {
                    // The recording has come back to the unit meanwhile.
                    return Vec::new();
                }
                let change = units::at(change, at);
                let alike = unit.supposed(&change, last);
                let mut inputs = vec![told(&name, change)];
                inputs.extend(job.map(|job| Input::JobRemoved { unit: name.clone(), job, result: JobResult::Done }));
                inputs.extend(alike.map(|change| told(&name, change)));
                inputs
            }
        }
    }

    fn later(&mut self, at: Mono, coming: Coming) {
        self.number += 1;
        self.coming.insert((at, self.number), coming);
    }

    /// An answer that comes after the usual time.
    pub fn answer(&mut self, now: Now, answer: Input) {
        self.later(now.mono + ANSWER_TAKES, Coming::Input(answer));
    }

    pub fn answer_at(&mut self, at: Mono, answer: Input) {
        self.later(at, Coming::Input(answer));
    }

    /// A look that was not taken in the recording.
    pub fn look(&mut self, now: Now, unit: UnitName) {
        let change = Box::new(
            self.units.get(&unit).map_or_else(|| UnitView::default().as_change(), |it| it.shown().as_change()),
        );
        self.answer(now, Input::Unit { unit, change });
    }

    /// An inquiry that was not made in the recording: the journal is silent.
    pub fn inquire(&mut self, now: Now, unit: UnitName) {
        self.answer(now, Input::Inquired { unit, finding: Finding::default() });
    }

    /// The recorded act was not done.
    pub fn hold(&mut self, unit: &UnitName, verb: Verb) {
        self.units.entry(unit.clone()).or_default().hold(verb);
    }

    /// The recorded act was done, at about the same time.
    pub fn rejoin(&mut self, unit: &UnitName) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.rejoin();
        }
    }

    /// An act that the recording does not have here. `answer`: the recorded one, where it had it a little earlier.
    pub fn suppose(
        &mut self,
        story: &Story,
        at: (Moment, Now),
        attempt: AttemptId,
        act: (&UnitName, Verb),
        answer: Option<Input>,
    ) {
        let ((moment, now), (name, verb)) = (at, act);
        self.number += 1;
        let (number, job) = (self.number, SUPPOSED_JOBS + (self.number % 1_000_000_000) as u32);
        let fate = fate(story, name, moment);
        let effects = self.units.entry(name.clone()).or_default().suppose(verb, number, job, fate);
        let has_job = matches!(verb, Verb::Start { .. } | Verb::TryRestart | Verb::Stop);
        let taken = supposed_answer(Kind::Act(verb.as_str()), attempt, has_job.then_some(job));
        self.answer(now, answer.unwrap_or(taken));
        let count = effects.len();
        for (n, effect) in effects.into_iter().enumerate() {
            let job = effect.ends_job.then_some(job);
            let coming = Coming::Change { unit: name.clone(), change: effect.change, last: n + 1 == count, job };
            self.later(now.mono + ANSWER_TAKES + effect.after, coming);
        }
    }

    /// A recorded input as the candidate gets it.
    pub fn translate(&mut self, story: &Story, now: Now, input: Input) -> Vec<Input> {
        match input {
            Input::Unit { unit, change } => {
                let change = self.units.entry(unit.clone()).or_default().change(&change);
                change.map(|change| told(&unit, change)).into_iter().collect()
            }
            Input::Snapshot(snapshot) => vec![Input::Snapshot(self.snapshot(snapshot))],
            Input::JobKind { unit, job, kind: JobKind::Stop } if self.is_apart(&unit) => self.stop(&unit, job),
            Input::Unloaded { ref unit }
            | Input::JobNew { ref unit, .. }
            | Input::JobKind { ref unit, .. }
            | Input::JobRemoved { ref unit, .. }
            | Input::Inquired { ref unit, .. }
                if self.is_apart(unit) =>
            {
                Vec::new()
            }
            Input::Usage { samples, host } => {
                let samples = samples.into_iter().filter_map(|sample| self.usage(story, sample)).collect();
                let beats = self.supposed_beats(story, now.mono);
                let usage = Input::Usage { samples, host };
                if beats.is_empty() { vec![usage] } else { vec![Input::Beats { beats }, usage] }
            }
            Input::Beats { mut beats } => {
                beats.retain(|beat| self.units.get(&beat.unit).is_none_or(Unit::beats));
                vec![Input::Beats { beats }]
            }
            Input::Errors(counts) => vec![Input::Errors(self.errors(counts))],
            Input::Probes { readings } => {
                let readings = readings.into_iter().filter_map(|reading| match self.units.get_mut(&reading.unit) {
                    Some(unit) => unit.probe(reading),
                    None => Some(reading),
                });
                vec![Input::Probes { readings: readings.collect() }]
            }
            other => vec![other],
        }
    }

    fn snapshot(&mut self, mut snapshot: Snapshot) -> Snapshot {
        for (name, change) in &mut snapshot.units {
            *change = self.units.entry(name.clone()).or_default().look(change);
        }
        // What was started here alone is not in the recorded look.
        let listed: std::collections::BTreeSet<UnitName> =
            snapshot.units.iter().map(|(name, _)| name.clone()).collect();
        let ours = self.units.iter().filter(|(name, unit)| unit.is_apart() && !listed.contains(*name));
        let ours: Vec<_> = ours.map(|(name, unit)| (name.clone(), unit.shown().as_change())).collect();
        snapshot.units.extend(ours);
        snapshot
    }

    fn stop(&mut self, unit: &UnitName, job: u32) -> Vec<Input> {
        let kind = Input::JobKind { unit: unit.clone(), job, kind: JobKind::Stop };
        match self.units.get_mut(unit).and_then(Unit::stopped_by_somebody) {
            Some(change) => vec![told(unit, change), Input::JobNew { unit: unit.clone(), job }, kind],
            None => Vec::new(),
        }
    }

    fn usage(&mut self, story: &Story, sample: Usage) -> Option<Usage> {
        let least = story.units.get(&sample.unit).and_then(|known| known.memory_least);
        match self.units.get_mut(&sample.unit) {
            Some(unit) => unit.usage(sample, least),
            None => Some(sample),
        }
    }

    fn supposed_beats(&self, story: &Story, at: Mono) -> Vec<Beat> {
        let beating = self
            .units
            .iter()
            .filter(|(name, unit)| unit.beats_by_itself() && story.units.get(*name).is_some_and(|known| known.beats));
        beating.map(|(unit, _)| Beat { unit: unit.clone(), at, source: BeatSource::Socket }).collect()
    }

    fn errors(&self, mut counts: ErrorCounts) -> ErrorCounts {
        counts.counts.retain(|(unit, _)| self.units.get(unit).is_none_or(Unit::errs));
        counts
    }
}

fn told(unit: &UnitName, change: UnitChange) -> Input {
    Input::Unit { unit: unit.clone(), change: Box::new(change) }
}

/// A supposed stop and start take the usual time, and a start fails again if the recorded one beside it did so soon.
fn fate(story: &Story, unit: &UnitName, at: Moment) -> Fate {
    let beside = story.neighbour(unit, at, NEIGHBOUR_WITHIN);
    let fails_after = beside.and_then(|activation| {
        let (result, code, status) = activation.failed?;
        let lasted = activation.ended?.since(activation.began.at);
        (lasted < SHORT_LIVED).then_some((lasted, result, code, status))
    });
    Fate { stop_takes: story.stop_time(unit), start_takes: story.start_time(unit), fails_after }
}
