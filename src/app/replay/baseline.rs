//! What was done: the recorded inputs with the recorded settings, held against the recorded orders.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::adapters::store::recorder::Header;
use crate::model::action::Order;
use crate::model::{AttemptId, Command, Input, Mono, Now, Settings, UnitName, Verb};

use super::Options;
use super::decisions::Decisions;
use super::player::{Player, catch_up_of, memory_of, seed_of};
use super::report::Deviations;
use super::story::{Ask, Kind, Moment, Story, lost_answer};
use super::tally::Tally;
use super::tape::{Step, Tape, is_exact};

/// Where the moments of timers are recorded, one that is overdue for so long was not let act in the recording.
const TIMER_SLACK: Duration = Duration::from_secs(10);
/// An answer that has not come after this time will not come; orders have 10 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A hook may take so long.
const HOOK_LIMIT: Duration = Duration::from_secs(900);
/// After a beginning in the middle of a life, answers may come to what was asked before it.
const SETTLING: Duration = Duration::from_secs(60);
/// Deviations that are told in words.
const DEVIATIONS_TOLD: usize = 10;

/// What the first reading found.
pub struct Baseline {
    pub story: Story,
    pub tally: Tally,
    pub decisions: Decisions,
    pub deviations: Deviations,
    /// The settings that were in force last.
    pub settings: Option<Settings>,
    pub reloads: u64,
    /// Every unit that was seen.
    pub units: BTreeSet<UnitName>,
}

struct Run {
    found: Baseline,
    player: Player,
    boot: u32,
    boot_id: String,
    exact: bool,
    step: u64,
    /// Whom the answer is owed, oldest first.
    owed: VecDeque<Owed>,
    /// Orders that the recording must show next.
    ordered: VecDeque<(Now, Order)>,
    settled_at: Mono,
}

struct Owed {
    kind: Kind,
    attempt: AttemptId,
    until: Mono,
    number: Option<usize>,
}

/// Reads the tape to its end. `progress` is told the bytes that were read.
pub fn run(tape: &mut Tape, options: &Options, progress: &mut dyn FnMut(u64)) -> Baseline {
    let found = Baseline {
        story: Story::default(),
        tally: Tally::new(options),
        decisions: Decisions::default(),
        deviations: Deviations::default(),
        settings: None,
        reloads: 0,
        units: BTreeSet::new(),
    };
    let mut run = Run {
        found,
        player: Player::default(),
        boot: 0,
        boot_id: String::new(),
        exact: false,
        step: 0,
        owed: VecDeque::new(),
        ordered: VecDeque::new(),
        settled_at: Mono(0),
    };
    while let Some(step) = tape.next() {
        run.step = tape.position();
        run.take(step);
        progress(tape.taken());
    }
    run.not_written();
    run.found
}

impl Run {
    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(header) => self.begin(&header),
            Step::Input { now, input } => {
                self.none_left_over();
                self.pass(now);
                self.note(now, &input);
                self.player.feed(now, *input);
                self.obey();
            }
            Step::Timers { now } => {
                self.none_left_over();
                self.pass(now);
                self.player.timers(now);
                self.obey();
            }
            Step::Act { now, order } => self.recorded_order(now, order),
            Step::Gap => {}
        }
    }

    fn begin(&mut self, header: &Header) {
        self.not_written();
        self.owed.clear();
        if self.boot_id != header.boot {
            self.boot += 1;
            self.boot_id.clone_from(&header.boot);
        }
        self.exact = is_exact(header);
        let anew = !header.continued && !header.memory.is_null();
        self.settled_at = if anew { header.at.mono } else { header.at.mono + SETTLING };
        self.found.settings = Some(header.settings.clone());
        self.player.begin(header, header.settings.clone(), memory_of(header), seed_of(header));
        for input in catch_up_of(header) {
            self.note(header.at, &input);
            self.player.feed(header.at, input);
        }
        self.obey();
    }

    /// Time goes on to `now`: timers that the recording does not show, and answers that it lacks.
    fn pass(&mut self, now: Now) {
        let slack = if self.exact { TIMER_SLACK } else { Duration::ZERO };
        self.player.catch_up(now, slack);
        while let Some(owed) = self.owed.front().filter(|owed| owed.until <= now.mono) {
            let answer = lost_answer(owed.kind, owed.attempt);
            self.deviate(now, format!("no answer for attempt {}", owed.attempt));
            self.owed.pop_front();
            self.player.feed(now, answer);
        }
        self.obey();
    }

    /// Takes notes of what came in.
    fn note(&mut self, now: Now, input: &Input) {
        self.found.story.learn(self.boot, now, input);
        match input {
            Input::Recorded { attempt, .. } => self.answered(now, *attempt, true, input),
            Input::Acted { attempt, .. } => self.answered(now, *attempt, false, input),
            Input::Reload { settings, .. } => {
                self.found.reloads += 1;
                self.found.settings = Some((**settings).clone());
            }
            Input::Snapshot(snapshot) => self.found.units.extend(snapshot.units.iter().map(|(unit, _)| unit.clone())),
            Input::Unit { unit, .. } if !self.found.units.contains(unit) => {
                self.found.units.insert(unit.clone());
            }
            _ => {}
        }
    }

    fn answered(&mut self, now: Now, attempt: AttemptId, recorded: bool, answer: &Input) {
        let of = |owed: &Owed| owed.attempt == attempt && (owed.kind == Kind::Record) == recorded;
        match self.owed.iter().position(of).and_then(|at| self.owed.remove(at)) {
            Some(Owed { number: Some(number), .. }) => self.found.story.answer(number, self.step, answer.clone()),
            Some(_) => {}
            None => self.deviate(now, format!("an answer for attempt {attempt}, which was not made")),
        }
    }

    /// What the engine wants done goes into the story.
    fn obey(&mut self) {
        for (now, command) in self.player.take() {
            if let Command::Tell(fact) = &command {
                self.found.story.learn_fact(self.boot, fact);
                self.found.tally.note(self.boot, fact);
                if self.found.tally.counts(fact) {
                    self.found.decisions.note(self.boot, fact, false);
                }
                continue;
            }
            match command {
                Command::Act(order) if self.exact => self.ordered.push_back((now, order)),
                command => {
                    if let Some((kind, unit, attempt, verb)) = Ask::of(&command) {
                        self.asked(now, kind, unit, attempt, verb);
                    }
                }
            }
        }
    }

    fn asked(&mut self, now: Now, kind: Kind, unit: UnitName, attempt: Option<AttemptId>, verb: Option<Verb>) {
        let at = Moment { boot: self.boot, at: now.mono };
        let ask = Ask { kind, verb, at, asked: self.step, answered: None, answer: None, unit };
        let number = self.found.story.ask(ask);
        self.owe(now, kind, attempt, verb, number);
    }

    fn owe(&mut self, now: Now, kind: Kind, attempt: Option<AttemptId>, verb: Option<Verb>, number: Option<usize>) {
        let Some(attempt) = attempt else { return };
        let limit = if matches!(verb, Some(Verb::Hook { .. })) { HOOK_LIMIT } else { ANSWER_LIMIT };
        self.owed.push_back(Owed { kind, attempt, until: now.mono + limit, number });
    }

    /// The recording shows an order: it must be the next that the engine gave.
    fn recorded_order(&mut self, now: Now, order: Order) {
        let kind = Kind::Act(order.verb.as_str());
        match self.ordered.front() {
            Some((at, given)) if *given == order => {
                let at = *at;
                self.ordered.pop_front();
                self.found.deviations.orders += 1;
                self.asked(at, kind, order.unit, Some(order.attempt), Some(order.verb));
            }
            _ => {
                self.deviate(now, format!("{} of {} was ordered and is not now", order.verb.as_str(), order.unit));
                self.asked(now, kind, order.unit, Some(order.attempt), Some(order.verb));
            }
        }
    }

    /// Orders of the engine that the recording does not show were not given then.
    fn none_left_over(&mut self) {
        while let Some((now, order)) = self.ordered.pop_front() {
            self.deviate(now, format!("{} of {} is ordered and was not", order.verb.as_str(), order.unit));
            self.owe(now, Kind::Act(order.verb.as_str()), Some(order.attempt), Some(order.verb), None);
        }
    }

    /// What was ordered last and is not in the recording was not written any more; whether it was done, the signals tell.
    fn not_written(&mut self) {
        while let Some((at, order)) = self.ordered.pop_front() {
            self.asked(at, Kind::Act(order.verb.as_str()), order.unit, Some(order.attempt), Some(order.verb));
        }
    }

    fn deviate(&mut self, now: Now, text: String) {
        if now.mono < self.settled_at {
            return;
        }
        let deviations = &mut self.found.deviations;
        deviations.count += 1;
        deviations.first = deviations.first.or(Some(now.wall));
        if deviations.told.len() < DEVIATIONS_TOLD {
            deviations.told.push((now.wall, text));
        }
    }
}
