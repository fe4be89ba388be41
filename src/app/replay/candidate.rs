//! What other settings would have done: the recorded inputs as far as they are true for them, and the model beyond.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::adapters::store::recorder::Header;
use crate::model::input::{Memory, Safety};
use crate::model::request::{Ask as Wish, Request};
use crate::model::strategy::{Case, Known};
use crate::model::{AttemptId, Command, Fact, Incident, IncidentId, Input, Mono, Now, Settings, UnitName, Verb, What};

use super::Options;
use super::decisions::Decisions;
use super::player::{Player, catch_up_of, memory_of, seed_of};
use super::story::{Ask, Kind, Moment, Story, lost_answer, supposed_answer};
use super::tally::Tally;
use super::tape::{Step, Tape, is_exact};
use super::world::World;

/// A timer waits so long for the moment at which the recorded engine's loop came to its own.
const TIMER_SLACK: Duration = Duration::from_millis(100);
/// An answer that the recording lacks is given up after this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Closed incidents that are remembered over a restart of the daemon.
const CLOSED_KEPT: usize = 4096;

/// What the second reading found.
pub struct Candidate {
    pub tally: Tally,
    pub decisions: Decisions,
    /// Recorded acts that were not done.
    pub withheld: u64,
    /// Units that were not as recorded any more when the recording ended.
    pub apart: usize,
}

struct Run<'s> {
    found: Candidate,
    story: &'s Story,
    settings: &'s Settings,
    player: Player,
    world: World,
    boot: u32,
    boot_id: String,
    exact: bool,
    step: u64,
    /// To which attempt of ours each ask of the story belongs.
    claimed: Vec<Option<Claim>>,
    /// The next act of the story that is still to be held against ours.
    next_ask: usize,
    /// Nothing has been other than recorded so far.
    same: bool,
    incidents: BTreeMap<IncidentId, Incident>,
    safety: Option<Safety>,
    /// What it has learned, by case, and whether that was elsewhere.
    known: BTreeMap<(Case, bool), Known>,
    latest: BTreeMap<UnitName, IncidentId>,
}

#[derive(Clone, Copy)]
struct Claim {
    attempt: Option<AttemptId>,
}

pub fn run(
    tape: &mut Tape,
    story: &Story,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Candidate {
    let found = Candidate { tally: Tally::new(options), decisions: Decisions::default(), withheld: 0, apart: 0 };
    let mut run = Run {
        found,
        story,
        settings,
        player: Player::default(),
        world: World::default(),
        boot: 0,
        boot_id: String::new(),
        exact: false,
        step: 0,
        claimed: vec![None; story.asks.len()],
        next_ask: 0,
        same: true,
        incidents: BTreeMap::new(),
        safety: None,
        known: BTreeMap::new(),
        latest: BTreeMap::new(),
    };
    while let Some(step) = tape.next() {
        run.step = tape.position();
        run.take(step);
        run.hold_what_was_not_done();
        progress(tape.taken());
    }
    run.found.apart = run.world.apart();
    run.found
}

impl Run<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(header) => self.begin(&header),
            Step::Input { now, input } => {
                self.pass(now);
                self.input(now, *input);
                self.obey();
            }
            Step::Timers { now } => {
                self.pass(now);
                self.player.timers(now);
                self.obey();
            }
            Step::Act { .. } | Step::Gap => {}
        }
    }

    fn begin(&mut self, header: &Header) {
        let reboot = self.boot_id != header.boot;
        self.world.end_of_life();
        if reboot {
            self.boot += 1;
            self.boot_id.clone_from(&header.boot);
            self.world.reboot();
        }
        self.exact = is_exact(header);
        let memory = match (&self.safety, self.same) {
            // What it remembers of its own doings, where they were its own.
            (Some(safety), false) => self.memory(header, safety.clone()),
            _ => memory_of(header),
        };
        if self.known.is_empty() {
            self.learn(&memory.strategies);
        }
        self.player.begin(header, self.settings.clone(), memory, seed_of(header));
        for input in catch_up_of(header) {
            self.translated(header.at, input);
        }
        self.obey();
    }

    fn memory(&self, header: &Header, safety: Safety) -> Memory {
        let next = self.incidents.keys().next_back().map_or(1, |id| id.0 + 1);
        let watch_only = memory_of(header).watch_only;
        let incidents = self.incidents.values().cloned().collect();
        let strategies = self.known.values().cloned().collect();
        let boot = header.boot.clone();
        // With what past incidents are compared changes no decision: those that were recorded will do.
        let past = memory_of(header).past;
        Memory { boot, safety, incidents, orphans: Vec::new(), next_incident: next, strategies, past, watch_only }
    }

    /// Time goes on to `now`: what is supposed to happen, and timers, each at its moment.
    fn pass(&mut self, now: Now) {
        let slack = if self.exact { TIMER_SLACK } else { Duration::ZERO };
        while let Some(at) = self.world.due().filter(|at| *at <= now.mono) {
            let then = Now { mono: at, wall: now.wall_of(at) };
            while self.player.overdue(then, Duration::ZERO) {
                self.obey();
            }
            for input in self.world.happen() {
                self.player.feed(then, input);
            }
            self.obey();
        }
        while self.player.overdue(now, slack) {
            self.obey();
        }
    }

    fn input(&mut self, now: Now, input: Input) {
        match input {
            Input::Recorded { .. } | Input::Acted { .. } => {
                let number = self.story.by_answer.get(&self.step);
                let answer = number.and_then(|number| {
                    let attempt = self.claimed[*number]?.attempt?;
                    self.story.asks[*number].answer_to(attempt)
                });
                if let Some(answer) = answer {
                    self.player.feed(now, answer);
                }
            }
            // The settings are the candidate's, whatever others were tried meanwhile.
            Input::Reload { settings, by } => {
                if *settings == *self.settings {
                    self.player.feed(now, Input::Reload { settings, by });
                } else {
                    self.same = false;
                }
            }
            Input::Request(Request { ask: Wish::MarkFalse { incident }, id, who }) => {
                // Incidents are numbered as they come: it is the one of the same unit that is meant.
                let unit = self.story.incidents.get(&incident).map(|(unit, _)| unit);
                if let Some(ours) = unit.and_then(|unit| self.latest.get(unit)) {
                    let ask = Wish::MarkFalse { incident: if self.same { incident } else { *ours } };
                    self.player.feed(now, Input::Request(Request { ask, id, who }));
                }
            }
            input => self.translated(now, input),
        }
    }

    fn translated(&mut self, now: Now, input: Input) {
        for input in self.world.translate(self.story, now, input) {
            self.player.feed(now, input);
        }
    }

    fn obey(&mut self) {
        for (now, command) in self.player.take() {
            match &command {
                Command::Tell(fact) => self.tell(fact),
                Command::Save(incident) => self.save(incident),
                Command::Keep(safety) => self.safety = Some((**safety).clone()),
                Command::Learned(known) => self.learn(known),
                _ => {}
            }
            if let Some((kind, unit, attempt, verb)) = Ask::of(&command) {
                self.asked(now, kind, unit, attempt, verb);
            }
        }
    }

    fn tell(&mut self, fact: &Fact) {
        if let (Some(unit), Some(id), What::IncidentOpened { .. } | What::IncidentReopened { .. }) =
            (&fact.unit, fact.incident, &fact.what)
        {
            self.latest.insert(unit.clone(), id);
        }
        self.found.tally.note(self.boot, fact);
        if self.found.tally.counts(fact) {
            let supposed = match &fact.what {
                What::AttemptActed { attempt, .. } => self.found.tally.is_supposed(*attempt),
                _ => fact.unit.as_ref().is_some_and(|unit| self.world.is_apart(unit)),
            };
            self.found.decisions.note(self.boot, fact, supposed);
        }
    }

    fn learn(&mut self, known: &[Known]) {
        for one in known {
            let key = (one.case.clone(), one.from.is_some());
            match one.actions.is_empty() {
                true => drop(self.known.remove(&key)),
                false => drop(self.known.insert(key, one.clone())),
            }
        }
    }

    fn save(&mut self, incident: &Incident) {
        self.incidents.insert(incident.id, incident.clone());
        if self.incidents.len() > 2 * CLOSED_KEPT {
            let closed: Vec<IncidentId> =
                self.incidents.values().filter(|it| !it.is_open()).map(|it| it.id).take(CLOSED_KEPT).collect();
            closed.iter().for_each(|id| drop(self.incidents.remove(id)));
        }
    }

    /// Somebody is asked: whoever was asked the same at about this time has answered for both.
    fn asked(&mut self, now: Now, kind: Kind, unit: UnitName, attempt: Option<AttemptId>, verb: Option<Verb>) {
        let at = Moment { boot: self.boot, at: now.mono };
        if let Some(number) = self.same_ask(kind, &unit, at) {
            self.claimed[number] = Some(Claim { attempt });
            return self.claim(number, now, at, attempt, verb);
        }
        match (kind, attempt, verb) {
            (Kind::Look, ..) => self.world.look(now, unit),
            (Kind::Inquire, ..) => self.world.inquire(now, unit),
            (Kind::Act(_), Some(attempt), Some(verb)) => {
                self.same = false;
                self.found.tally.suppose(attempt);
                self.world.suppose(self.story, (at, now), attempt, (&unit, verb), None);
            }
            (_, Some(attempt), _) => {
                self.same = false;
                self.world.answer(now, supposed_answer(kind, attempt, None));
            }
            _ => {}
        }
    }

    fn same_ask(&self, kind: Kind, unit: &UnitName, at: Moment) -> Option<usize> {
        let asks = &self.story.units.get(unit)?.asks;
        let ask = |number: &usize| &self.story.asks[*number];
        let from = asks.partition_point(|number| ask(number).at < at && !ask(number).at.is_near(at));
        let near = asks[from..].iter().take_while(|number| ask(number).at <= at || ask(number).at.is_near(at));
        near.filter(|number| ask(number).kind == kind && self.claimed[**number].is_none())
            .min_by_key(|number| ask(number).at.distance(at))
            .copied()
    }

    /// The recorded answer is still to come, or has come before it was asked for here.
    fn claim(&mut self, number: usize, now: Now, at: Moment, attempt: Option<AttemptId>, verb: Option<Verb>) {
        let ask = &self.story.asks[number];
        let unit = ask.unit.clone();
        let Some(attempt) = attempt else {
            let passed = ask.asked < self.step;
            match ask.kind {
                Kind::Look if passed || self.world.is_apart(&unit) => self.world.look(now, unit),
                Kind::Inquire if passed || self.world.is_apart(&unit) => self.world.inquire(now, unit),
                _ => {}
            }
            return;
        };
        let passed = ask.answered.is_some_and(|answered| answered <= self.step);
        let answer = ask.answer_to(attempt);
        match verb {
            // It was held when the recorded act came: what followed has to be supposed after all.
            Some(verb) if number < self.next_ask => {
                self.found.withheld = self.found.withheld.saturating_sub(1);
                self.found.tally.suppose(attempt);
                self.world.suppose(self.story, (at, now), attempt, (&unit, verb), answer);
            }
            Some(_) => self.world.rejoin(&unit),
            None if passed => {
                if let Some(answer) = answer.clone() {
                    self.world.answer(now, answer);
                }
            }
            None => {}
        }
        if ask.answered.is_none() {
            let until: Mono = now.mono + ANSWER_LIMIT;
            self.world.answer_at(until, lost_answer(ask.kind, attempt));
        }
    }

    /// Acts of the recording up to here that were not done: what follows from them is kept from the candidate.
    fn hold_what_was_not_done(&mut self) {
        while let Some(ask) = self.story.asks.get(self.next_ask).filter(|ask| ask.asked <= self.step) {
            let number = self.next_ask;
            self.next_ask += 1;
            let Some(verb) = ask.verb.filter(|_| self.claimed[number].is_none()) else { continue };
            self.same = false;
            self.found.withheld += 1;
            if self.settings.worker_of(ask.unit.as_str()).is_some() {
                self.world.hold(&ask.unit, verb);
            }
        }
    }
}
