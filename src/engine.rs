//! The pure core: it is told what happened and says what to do and why.
//!
//! Synchronous and deterministic. No clock, no I/O, no logging, no randomness of its own; it cannot fail.
//! The caller hands in [`Input`]s with the time, drains [`Command`]s, and calls [`Engine::handle_timeout`]
//! when [`Engine::poll_timeout`] says so.

mod approval;
mod assess;
mod attempt;
mod deeds;
mod desk;
mod experience;
mod explain;
mod external;
mod gate;
mod habits;
mod incident;
mod instance;
mod observe;
mod outlook;
mod pattern;
mod plan;
mod policy;
mod queues;
mod readings;
mod request;
mod restore;
mod scale;
mod standin;
mod status;
mod timers;
mod unusual;
mod work;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::input::{Owned, Pause, Wake, Wanted};
use crate::model::unit::ManagerState;
use crate::model::{Cause, Command, HostUsage, Incident, IncidentId, Input, Mono, Now, Settings, UnitName, WorkerName};

use desk::Desk;
use experience::Experience;
use instance::Instance;
use policy::{Dice, Rank};
use timers::{TimerKey, Timers};
use worker::{Counts, Worker};

/// Instances that one worker may have; a glob that matches more is cut, and the cut is told.
pub const INSTANCES_PER_WORKER: usize = 4096;

/// The whole state of unitmedic's judgement.
pub struct Engine {
    settings: Settings,
    boot: String,
    workers: BTreeMap<WorkerName, Worker>,
    instances: BTreeMap<UnitName, Instance>,
    /// Open incidents.
    incidents: BTreeMap<IncidentId, Incident>,
    /// The last closed incident of each unit, while it may reopen.
    closed: BTreeMap<UnitName, Incident>,
    next_incident: u64,
    /// What was known of units before this run or this connection; consulted at the first look.
    wanted: BTreeMap<UnitName, Wanted>,
    pauses: Vec<Pause>,
    /// Instances that we started and may stop.
    owned: BTreeMap<UnitName, Owned>,
    host: Option<HostUsage>,
    /// A snapshot has been applied and the bus is there.
    sighted: bool,
    blind_because: String,
    manager: ManagerState,
    startup_finished: Option<Mono>,
    held: bool,
    storm: bool,
    watch_only: Option<String>,
    /// Incidents that only wait for a free place, best first.
    queue: BTreeSet<(Rank, IncidentId)>,
    starts_in_flight: u32,
    /// Someone who waits in the queue may find a place now.
    place_freed: bool,
    /// All instances by health.
    counts: Counts,
    /// Workers whose sum must be judged anew at the end of the turn.
    changed: BTreeSet<WorkerName>,
    /// What was known of instances that are not there now.
    former: habits::Former,
    /// Instances whose samples wait to be judged.
    habits_due: unusual::Due,
    dice: Dice,
    experience: Experience,
    timers: Timers,
    desk: Desk,
}

impl Engine {
    /// Takes in one input. Afterwards drain [`Engine::poll_command`].
    pub fn handle(&mut self, now: Now, input: Input) {
        self.desk.begin_input(now);
        self.end_pauses();
        match input {
            Input::BusLost { why } => self.bus_lost(why),
            Input::Snapshot(snapshot) => self.snapshot(snapshot),
            Input::Unit { unit, change } => self.unit_changed(&unit, *change),
            Input::Unloaded { unit } => self.unloaded(&unit),
            Input::JobNew { unit, job } => self.job_new(&unit, job),
            Input::JobKind { unit, job, kind } => self.job_kind(&unit, job, kind),
            Input::JobRemoved { unit, job, result } => self.job_removed(&unit, job, result),
            Input::Manager { state } => self.manager_changed(state),
            Input::Usage { samples, host } => self.usage(samples, host),
            Input::Beats { beats } => self.beats(beats),
            Input::Queues { readings } => self.queues(readings),
            Input::Errors(counts) => self.errors(counts),
            Input::Patterns { seen } => self.patterns(seen),
            Input::Hours { ahead } => self.hours(ahead),
            Input::Habits { known } => self.recall_habits(known),
            Input::External { alerts } => self.external(alerts),
            Input::Probes { readings } => self.probes(readings),
            Input::Inquired { unit, finding } => self.inquired(&unit, finding),
            Input::Recorded { attempt, how } => self.recorded(attempt, how),
            Input::Acted { attempt, answer } => self.acted(attempt, answer),
            Input::Hold { held } => self.hold(held),
            Input::Request(request) => self.request(request),
            Input::Reload { settings, by } => self.reload(*settings, by),
        }
        self.settle();
    }

    /// Lets every timer that is due by now act.
    pub fn handle_timeout(&mut self, now: Now) {
        // Each timer that is set now at most once: one that sets itself in the past must not hold the caller.
        for _ in 0..self.timers.len() {
            let Some(key) = self.timers.take_due(now.mono) else { break };
            self.desk.begin(now, Cause::Timer(key.wake()));
            self.end_pauses();
            match key {
                TimerKey::Assess(unit) => self.reassess(&unit),
                TimerKey::Rescale(worker) => self.rescale(&worker),
                TimerKey::Proceed(id) => self.proceed(id),
                TimerKey::PauseEnds => {}
                TimerKey::Grace => self.grace_over(),
                TimerKey::Habits => self.judge_habits(),
            }
            self.settle();
        }
    }

    /// When to call [`Engine::handle_timeout`] next, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Wake)> {
        self.timers.next().map(|(at, key)| (at, key.wake()))
    }

    /// The next thing to be done, oldest first.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.desk.take()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Brings all that depends on what just changed up to date: workers, storm breaker, queue, records.
    fn settle(&mut self) {
        if !self.changed.is_empty() {
            self.refresh_workers();
            self.refresh_storm();
        }
        self.admit_waiting();
        self.refresh_workers();
        self.flush_records();
    }

    fn now(&self) -> Mono {
        self.desk.now.mono
    }
}
