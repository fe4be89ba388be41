//! What the baseline leaves for the candidate: who was asked what and how it was answered, which activations the units
//! had, which incidents there were.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::action::Answer;
use crate::model::incident::Resolution;
use crate::model::input::Durability;
use crate::model::unit::ServiceResult;
use crate::model::{
    ActiveState, AttemptId, Command, Fact, IncidentId, Input, Mono, Now, UnitChange, UnitName, UnitView, Verb, What,
};

use super::NEAR;

/// Most of each kind that is remembered; further ones are as if they were not in the recording, and it is told.
pub const KEPT: usize = 200_000;
/// Where no start of the unit was recorded.
const START_USUALLY: Duration = Duration::from_millis(100);
/// Starts and stops of a unit whose median is its usual one.
const TIMES_KEPT: usize = 64;

/// A moment of the recording: boots do not share their clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub boot: u32,
    pub at: Mono,
}

impl Moment {
    pub fn is_near(self, other: Moment) -> bool {
        self.boot == other.boot && self.distance(other) <= NEAR
    }

    pub fn distance(self, other: Moment) -> Duration {
        self.at.since(other.at).max(other.at.since(self.at))
    }
}

/// Whom the engine asks, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Record,
    Act(&'static str),
    Look,
    Inquire,
}

/// One question or order of the baseline.
#[derive(Debug, Clone)]
pub struct Ask {
    pub kind: Kind,
    pub verb: Option<Verb>,
    pub at: Moment,
    /// The step in which it was asked, and the one with the answer.
    pub asked: u64,
    pub answered: Option<u64>,
    pub answer: Option<Input>,
    pub unit: UnitName,
}

impl Ask {
    pub fn of(command: &Command) -> Option<(Kind, UnitName, Option<AttemptId>, Option<Verb>)> {
        match command {
            Command::Record(intent) => Some((Kind::Record, intent.unit.clone(), Some(intent.attempt), None)),
            Command::Act(order) => {
                Some((Kind::Act(order.verb.as_str()), order.unit.clone(), Some(order.attempt), Some(order.verb)))
            }
            Command::Look { unit } => Some((Kind::Look, unit.clone(), None, None)),
            Command::Inquire { unit } => Some((Kind::Inquire, unit.clone(), None, None)),
            Command::Save(_) | Command::Keep(_) | Command::Learned(_) | Command::Reply { .. } | Command::Tell(_) => {
                None
            }
        }
    }

    /// The recorded answer, to another attempt.
    pub fn answer_to(&self, attempt: AttemptId) -> Option<Input> {
        match self.answer.as_ref()? {
            Input::Recorded { how, .. } => Some(Input::Recorded { attempt, how: how.clone() }),
            Input::Acted { answer, .. } => Some(Input::Acted { attempt, answer: answer.clone() }),
            _ => None,
        }
    }
}

/// The answer where the recording has none.
pub fn supposed_answer(kind: Kind, attempt: AttemptId, job: Option<u32>) -> Input {
    match kind {
        Kind::Record => Input::Recorded { attempt, how: Durability::Stored },
        _ => Input::Acted { attempt, answer: Answer::Accepted { job, did: Some("supposed, not recorded".into()) } },
    }
}

/// The answer where there must have been one and it is not there.
pub fn lost_answer(kind: Kind, attempt: AttemptId) -> Input {
    let why = "the recording has no answer".to_string();
    match kind {
        Kind::Record => Input::Recorded { attempt, how: Durability::Lost { why } },
        _ => Input::Acted { attempt, answer: Answer::Failed { text: why } },
    }
}

/// One activation of a unit.
#[derive(Debug, Clone)]
pub struct Activation {
    pub began: Moment,
    pub ended: Option<Mono>,
    /// How it failed, if it did. What was stopped on order did not, however it ended.
    pub failed: Option<(ServiceResult, i32, i32)>,
    was_up: bool,
    on_order: bool,
}

impl Activation {
    /// Takes what is seen of it; `told`: its state is. How long the stop took, where it was stopped on order.
    fn follow(&mut self, view: &UnitView, told: bool, now: Mono) -> Option<Duration> {
        if self.ended.is_some() {
            return None;
        }
        let leaves = view.active == ActiveState::Deactivating || view.active.is_down();
        self.on_order |= self.was_up && leaves && view.job.is_some();
        if !told {
            return None;
        }
        self.was_up |= view.active.is_up();
        if !view.active.is_down() {
            return None;
        }
        let left = view.active_exit.or(view.inactive_enter).unwrap_or(now);
        self.ended = Some(left);
        let failed = view.active == ActiveState::Failed && !self.on_order;
        self.failed = failed.then_some((view.result, view.exec_code, view.exec_status));
        view.inactive_enter.filter(|_| self.on_order).map(|down| down.since(left))
    }
}

/// One incident of the baseline.
#[derive(Debug, Clone)]
pub struct Past {
    pub opened: Moment,
    pub closed: Option<Moment>,
    pub resolution: Option<Resolution>,
    pub acted: bool,
    pub marked_false: bool,
}

impl Past {
    /// It would have gone without us, or should not have been one.
    pub fn needed_nothing(&self) -> bool {
        let by_itself =
            matches!(self.resolution, Some(Resolution::SelfCleared | Resolution::FalseAlarm | Resolution::Systemd));
        self.marked_false || (by_itself && !self.acted) || self.resolution == Some(Resolution::FalseAlarm)
    }

    fn holds(&self, at: Moment) -> bool {
        let begun = self.opened.boot == at.boot && self.opened.at <= at.at + NEAR;
        begun && self.closed.is_none_or(|end| end.boot > at.boot || end.at + NEAR >= at.at)
    }
}

/// What is known of one unit from the whole recording.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub activations: Vec<Activation>,
    pub incidents: Vec<Past>,
    /// Least memory that it ever had, bytes.
    pub memory_least: Option<u64>,
    pub beats: bool,
    /// Orders and questions about it, by their number.
    pub asks: Vec<usize>,
    starts: Vec<Duration>,
    stops: Vec<Duration>,
    view: UnitView,
}

#[derive(Debug, Default)]
pub struct Story {
    pub asks: Vec<Ask>,
    pub by_answer: BTreeMap<u64, usize>,
    pub units: BTreeMap<UnitName, Known>,
    /// Whom the incidents were about, and the place of each among those of its unit.
    pub incidents: BTreeMap<IncidentId, (UnitName, usize)>,
    kept: usize,
    pub left_out: u64,
}

impl Story {
    /// One more thing is to be remembered; `false`: there is no room.
    pub fn room(&mut self) -> bool {
        let room = self.kept < KEPT;
        self.kept += usize::from(room);
        self.left_out += u64::from(!room);
        room
    }

    pub fn ask(&mut self, ask: Ask) -> Option<usize> {
        if !self.room() {
            return None;
        }
        let number = self.asks.len();
        self.units.entry(ask.unit.clone()).or_default().asks.push(number);
        self.asks.push(ask);
        Some(number)
    }

    pub fn answer(&mut self, number: usize, step: u64, answer: Input) {
        let ask = &mut self.asks[number];
        ask.answered = Some(step);
        ask.answer = Some(answer);
        self.by_answer.insert(step, number);
    }

    /// Learns from what the baseline says of incidents.
    pub fn learn_fact(&mut self, boot: u32, fact: &Fact) {
        let (Some(unit), Some(id)) = (&fact.unit, fact.incident) else { return };
        let at = Moment { boot, at: fact.at.mono };
        if matches!(fact.what, What::IncidentOpened { .. } | What::IncidentReopened { .. }) {
            if self.room() {
                let known = self.units.entry(unit.clone()).or_default();
                self.incidents.insert(id, (unit.clone(), known.incidents.len()));
                let past = Past { opened: at, closed: None, resolution: None, acted: false, marked_false: false };
                known.incidents.push(past);
            }
            return;
        }
        let Some((unit, place)) = self.incidents.get(&id) else { return };
        let Some(past) = self.units.get_mut(unit).and_then(|known| known.incidents.get_mut(*place)) else { return };
        match &fact.what {
            What::AttemptActed { .. } => past.acted = true,
            What::MarkedFalse { .. } => past.marked_false = true,
            What::IncidentClosed { resolution, .. } => {
                past.closed = Some(at);
                past.resolution = Some(*resolution);
            }
            _ => {}
        }
    }

    /// Learns from what came in.
    pub fn learn(&mut self, boot: u32, now: Now, input: &Input) {
        match input {
            Input::Unit { unit, change } => self.learn_unit(Moment { boot, at: now.mono }, unit, change),
            Input::Snapshot(snapshot) => {
                for (unit, change) in &snapshot.units {
                    self.learn_unit(Moment { boot, at: now.mono }, unit, change);
                }
            }
            Input::Usage { samples, .. } => {
                for sample in samples {
                    let Some(bytes) = sample.memory_bytes else { continue };
                    let Some(known) = self.units.get_mut(&sample.unit) else { continue };
                    known.memory_least = Some(known.memory_least.map_or(bytes, |least| least.min(bytes)));
                }
            }
            Input::Beats { beats } => {
                for beat in beats {
                    if let Some(known) = self.units.get_mut(&beat.unit) {
                        known.beats = true;
                    }
                }
            }
            _ => {}
        }
    }

    fn learn_unit(&mut self, at: Moment, unit: &UnitName, change: &UnitChange) {
        let known = self.units.entry(unit.clone()).or_default();
        let (was, was_up) = (known.view.invocation, known.view.active.is_up());
        known.view.apply(change.clone());
        let view = &known.view;
        if view.active.is_up() && (!was_up || view.invocation != was) {
            let took = view.active_enter.zip(view.inactive_exit).map(|(up, began)| up.since(began));
            if known.starts.len() < TIMES_KEPT {
                known.starts.extend(took);
            }
        }
        // A new activation is often named before its state: until that is told, the state is that of the former.
        let told = change.active.is_some();
        if view.invocation == was
            && let Some(last) = known.activations.last_mut()
            && let Some(stop_took) = last.follow(view, told, at.at)
            && known.stops.len() < TIMES_KEPT
        {
            known.stops.push(stop_took);
        }
        if view.invocation != was && !view.invocation.is_none() {
            let began = Moment { at: view.inactive_exit.filter(|_| told).unwrap_or(at.at), ..at };
            let mut activation = Activation { began, ended: None, failed: None, was_up: false, on_order: false };
            activation.follow(view, told, at.at);
            if self.room()
                && let Some(known) = self.units.get_mut(unit)
            {
                known.activations.push(activation);
            }
        }
    }

    /// How long a start of the unit takes: the median of those recorded.
    pub fn start_time(&self, unit: &UnitName) -> Duration {
        self.units.get(unit).and_then(|known| median(&known.starts)).unwrap_or(START_USUALLY)
    }

    /// How long the unit takes to stop on order: the median of those recorded, nothing where there is none.
    pub fn stop_time(&self, unit: &UnitName) -> Duration {
        self.units.get(unit).and_then(|known| median(&known.stops)).unwrap_or_default()
    }

    /// The activation that shows what would have become of a start at `at`: the next that was recorded, else the one
    /// before it, and neither if it began further away than `near`.
    pub fn neighbour(&self, unit: &UnitName, at: Moment, near: Duration) -> Option<&Activation> {
        let all = &self.units.get(unit)?.activations;
        let next = all.partition_point(|it| it.began < at);
        let close = |it: &&Activation| it.began.boot == at.boot && it.began.distance(at) <= near;
        let before = || all.get(next.checked_sub(1)?).filter(close);
        all.get(next).filter(close).or_else(before)
    }

    /// Whether an action at `at` was not needed, by what the recording shows of the unit.
    pub fn needed_nothing(&self, unit: &UnitName, at: Moment) -> bool {
        let Some(known) = self.units.get(unit) else { return true };
        let mut open = known.incidents.iter().filter(|past| past.holds(at)).peekable();
        open.peek().is_none() || open.all(Past::needed_nothing)
    }
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}
