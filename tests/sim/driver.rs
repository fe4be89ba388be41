//! Virtual time: the engine on one side, the host, the store and the people on the other, and a queue of events
//! with latencies between them.

use std::collections::BTreeMap;
use std::time::Duration;

use unitmedic::adapters::store::recorder::{Header, Recorder};
use unitmedic::engine::Engine;
use unitmedic::model::action::{Answer, Intent, Order, Refused};
use unitmedic::model::fact::{ResyncReason, What};
use unitmedic::model::input::{Durability, Finding, Memory, Pause, Safety, Snapshot};
use unitmedic::model::request::{Ask, Reply, Request};
use unitmedic::model::strategy::{Case, Known as Learned, Past};
use unitmedic::model::unit::ManagerState;
use unitmedic::model::usage::{OpenFiles, Pressure};
use unitmedic::model::{
    AttemptId, Command, Fact, HostUsage, Incident, IncidentId, Input, Mono, Now, Settings, UnitName, Usage, Verb, Wall,
};

use crate::checkers::{Checker, Seen, World, all_checkers};
use crate::faults::Swarm;
use crate::host::{self, Called, Host, MS, SEC, Want};
use crate::rng::Rng;
use crate::transcript::Transcript;
use crate::work::Broker;

pub const BOOT: &str = "boot-1";
/// Wall time at the start of every run.
const EPOCH: i64 = 1_700_000_000_000_000;
/// Bytes of a recording that may wait for the disk.
const RECORDED_AHEAD: usize = 1 << 20;
/// Commands that one turn may give for each instance there is, and a few more.
pub enum Event {
    Host(host::Event),
    /// On the bus connection: lost with it, and with our life.
    Bus {
        epoch: u32,
        input: Input,
    },
    /// By any other way.
    Input {
        life: u32,
        input: Input,
    },
    ReadKind {
        epoch: u32,
        unit: UnitName,
        job: u32,
    },
    Look {
        epoch: u32,
        unit: UnitName,
    },
    Snapshot {
        epoch: u32,
        reason: ResyncReason,
    },
    Inquire {
        life: u32,
        unit: UnitName,
    },
    Execute {
        life: u32,
        order: Order,
    },
    Written {
        life: u32,
        item: Item,
    },
    Sample,
    Work,
    Return,
    BusReturns,
    Step(crate::faults::Step),
}

pub enum Item {
    Save(Box<Incident>),
    Record(Intent),
    Keep(Box<Safety>),
}

/// What outlives us.
#[derive(Default)]
pub struct Store {
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub intents: Vec<Intent>,
    pub safety: Safety,
    /// By case, and whether it was learned elsewhere.
    strategies: BTreeMap<(Case, bool), Learned>,
    busy_until: u64,
    pub failing: bool,
    pub lost: bool,
    pub slow: u64,
}

/// What has been delivered to the engine in this life.
#[derive(Default)]
pub struct Known {
    pub sighted: bool,
    pub held: bool,
    pub stopping: bool,
    pub pauses: Vec<Pause>,
    /// When the last snapshot after a gap was delivered.
    pub sighted_at: u64,
    pub inputs: u64,
}

impl Known {
    pub fn paused(&self, worker: &str, now: Wall) -> bool {
        let counts = |p: &&Pause| p.until.is_none_or(|until| until > now);
        self.pauses.iter().filter(counts).any(|p| p.worker.as_ref().is_none_or(|w| w.as_str() == worker))
    }
}

pub struct Failure {
    pub checker: &'static str,
    pub text: String,
}

pub struct Sim {
    pub now: u64,
    pub wall_shift: i64,
    pub rng: Rng,
    pub host: Host,
    pub engine: Option<Engine>,
    pub settings: Settings,
    pub store: Store,
    pub known: Known,
    pub swarm: Swarm,
    pub transcript: Transcript,
    pub failure: Option<Failure>,
    pub mended: bool,
    pub broker: Broker,
    /// Orders given to the root side.
    pub orders: u64,
    /// Incidents that were opened.
    pub incidents: u64,
    /// Instances that an operator forced something upon.
    pub forced: u64,
    /// Takes down the run as the daemon does, for a replay.
    pub recorder: Option<Recorder>,
    checkers: Vec<Box<dyn Checker>>,
    queue: BTreeMap<(u64, u64), Event>,
    tick: u64,
    life: u32,
    epoch: u32,
    pub bus_up: bool,
    bus_free_at: u64,
    requests: u64,
}

impl Sim {
    pub fn new(seed: u64, settings: Settings, swarm: Swarm, host: Host, keep: usize) -> Self {
        Sim {
            now: host.now,
            wall_shift: 0,
            rng: Rng::new(seed),
            host,
            engine: None,
            settings,
            store: Store::default(),
            known: Known::default(),
            swarm,
            transcript: Transcript::new(keep),
            failure: None,
            mended: false,
            broker: Broker::default(),
            orders: 0,
            incidents: 0,
            forced: 0,
            recorder: None,
            checkers: all_checkers(),
            queue: BTreeMap::new(),
            tick: 0,
            life: 0,
            epoch: 0,
            bus_up: true,
            bus_free_at: 0,
            requests: 0,
        }
    }

    pub fn clock(&self) -> Now {
        Now { mono: Mono(self.now), wall: Wall(EPOCH + self.now as i64 + self.wall_shift) }
    }

    pub fn at(&mut self, when: u64, event: Event) {
        self.tick += 1;
        self.queue.insert((when.max(self.now), self.tick), event);
    }

    pub fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now + wait, event);
    }

    /// Runs until `end` or until a checker complains.
    pub fn run_until(&mut self, end: u64) {
        while self.failure.is_none() {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = self.engine.as_ref().and_then(|engine| engine.poll_timeout()).map(|(at, _)| at.0);
            let Some(next) = event.into_iter().chain(timer).min().filter(|next| *next <= end) else { break };
            self.go_to(next.max(self.now));
            if timer.is_some_and(|at| at <= self.now) && event.is_none_or(|at| at > self.now) {
                self.timeout();
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.handle(event);
            }
            self.ship_signals();
        }
        if self.failure.is_none() {
            self.go_to(end.max(self.now));
        }
    }

    pub fn finish(&mut self) {
        self.show(Seen::End);
    }

    fn go_to(&mut self, at: u64) {
        self.now = at;
        self.host.now = at;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Host(event) => self.host.happen(event),
            Event::Bus { epoch, input } if epoch == self.epoch => self.deliver(input),
            Event::Input { life, input } if life == self.life => self.deliver(input),
            Event::ReadKind { epoch, unit, job } if epoch == self.epoch => self.read_kind(unit, job),
            Event::Look { epoch, unit } if epoch == self.epoch => self.look(unit),
            Event::Snapshot { epoch, reason } if epoch == self.epoch => self.snapshot(reason),
            Event::Inquire { life, unit } if life == self.life => self.inquire(unit),
            Event::Execute { life, order } => self.execute(life, order),
            Event::Written { life, item } if life == self.life => self.written(item),
            Event::Sample => self.sample(),
            Event::Work => crate::work::step(self),
            Event::Return => self.start_engine(),
            Event::BusReturns => self.bus_returns(),
            Event::Step(step) => crate::faults::take(self, step),
            _ => {}
        }
    }

    // ---- the engine ----

    pub fn start_engine(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.life += 1;
        self.epoch += 1;
        let memory = self.memory();
        self.transcript
            .note(self.now, || format!("== life {} begins, {} incidents", self.life, memory.incidents.len()));
        self.known = Known { pauses: memory.safety.pauses.clone(), ..Known::default() };
        self.show(Seen::Life(&memory));
        let seed = self.rng.next();
        let mut settings = self.settings.clone();
        settings.daemon.dry_run &= !self.mended;
        let memory_value = serde_json::to_value(&memory).expect("plain values");
        let header = Header::new(BOOT, self.clock(), settings.clone(), memory_value).seeded(seed);
        self.recorder.iter().for_each(|recorder| recorder.begin(header.clone()));
        self.engine = Some(Engine::new(self.clock(), settings, memory, seed));
        self.drain();
        self.deliver(Input::Hold { held: self.host.held });
        if self.bus_up {
            self.after(20 * MS, Event::Snapshot { epoch: self.epoch, reason: ResyncReason::Connected });
        }
    }

    fn memory(&self) -> Memory {
        let kept = |i: &&Incident| i.is_open() || i.closed_at.is_some_and(|at| self.now - at.0 < 3600 * SEC);
        let incidents: Vec<Incident> = self.store.incidents.values().filter(kept).cloned().collect();
        let unknown = |intent: &&Intent| {
            self.store
                .incidents
                .get(&intent.incident)
                .is_none_or(|i| i.attempts.last().is_none_or(|last| last.number < intent.attempt.number))
        };
        let orphans: Vec<Intent> = self.store.intents.iter().filter(unknown).cloned().collect();
        let next = self.store.incidents.keys().copied().chain(self.store.intents.iter().map(|i| i.incident)).max();
        Memory {
            boot: BOOT.into(),
            safety: self.store.safety.clone(),
            incidents,
            orphans,
            next_incident: next.map_or(1, |id| id.0 + 1),
            strategies: self.store.strategies.values().cloned().collect(),
            past: self.store.incidents.values().filter_map(Past::of).collect(),
            watch_only: None,
        }
    }

    pub fn crash(&mut self) {
        if self.engine.take().is_none() {
            return;
        }
        self.transcript.note(self.now, || "== we crash".into());
        self.life += 1;
        self.epoch += 1;
        self.store.busy_until = 0;
        self.forget_silent_stops();
        self.show(Seen::Crashed);
        let wait = self.rng.range(100 * MS, 8 * SEC);
        self.after(wait, Event::Return);
    }

    /// A stop of what was down leaves no trace but its job: if we may have missed that, nobody can know.
    pub fn forget_silent_stops(&mut self) {
        let now = self.now;
        for unit in self.host.units.values_mut() {
            if unit.want == Want::Stopped && !unit.stop_job_in_journal && now - unit.want_since < 2 * SEC {
                unit.want = Want::Open;
            }
        }
    }

    pub fn deliver(&mut self, input: Input) {
        if self.engine.is_none() {
            return;
        }
        self.note_known(&input);
        self.transcript.input(self.now, &input);
        self.show(Seen::Input(&input));
        let now = self.clock();
        self.note_down(|recorder| recorder.record(now, &input));
        if let Some(engine) = &mut self.engine {
            engine.handle(now, input);
        }
        self.drain();
    }

    /// The run is faster than the disk: nothing may be dropped.
    fn note_down(&self, note: impl FnOnce(&Recorder)) {
        let Some(recorder) = &self.recorder else { return };
        while recorder.stats().waiting > RECORDED_AHEAD {
            std::thread::sleep(Duration::from_millis(1));
        }
        note(recorder);
    }

    fn note_known(&mut self, input: &Input) {
        let now = self.clock().wall;
        self.known.inputs += 1;
        self.known.pauses.retain(|p| p.until.is_none_or(|until| until > now));
        match input {
            Input::BusLost { .. } => self.known.sighted = false,
            Input::Snapshot(snapshot) => {
                if !self.known.sighted || snapshot.reason == ResyncReason::QueueOverflow {
                    self.known.sighted_at = self.now;
                }
                self.known.sighted = true;
                self.known.stopping = snapshot.manager == ManagerState::Stopping;
            }
            Input::Manager { state } => self.known.stopping = *state == ManagerState::Stopping,
            Input::Hold { held } => self.known.held = *held,
            Input::Request(Request { who, ask: Ask::Pause { worker, until, reason }, .. }) => {
                self.known.pauses.retain(|p| p.worker != *worker);
                self.known.pauses.push(Pause {
                    worker: worker.clone(),
                    until: *until,
                    since: now,
                    who: who.clone(),
                    reason: reason.clone(),
                });
            }
            Input::Request(Request { ask: Ask::Resume { worker }, .. }) => {
                self.known.pauses.retain(|p| worker.is_some() && p.worker != *worker);
            }
            Input::Reload { settings, .. } => self.settings = (**settings).clone(),
            _ => {}
        }
    }

    fn timeout(&mut self) {
        let now = self.clock();
        self.known.pauses.retain(|p| p.until.is_none_or(|until| until > now.wall));
        self.show(Seen::Timer);
        self.note_down(|recorder| recorder.timers(now));
        if let Some(engine) = &mut self.engine {
            engine.handle_timeout(now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut commands = 0;
        while let Some(command) = self.engine.as_mut().and_then(|engine| engine.poll_command()) {
            commands += 1;
            self.transcript.command(self.now, &command);
            let named = match &command {
                Command::Act(Order { unit, .. }) | Command::Look { unit } => Some(unit),
                Command::Tell(fact) => fact.unit.as_ref(),
                _ => None,
            };
            named.into_iter().for_each(|unit| self.host.know_template(unit));
            self.show(Seen::Command(&command));
            if self.failure.is_some() {
                return;
            }
            let risky = matches!(command, Command::Record(_) | Command::Act(_));
            let crash = risky && self.swarm.crash_at_intent > 0 && self.rng.chance(self.swarm.crash_at_intent);
            if crash && self.rng.chance(50) {
                return self.crash();
            }
            self.obey(command);
            if crash {
                return self.crash();
            }
        }
        self.show(Seen::Turn { commands });
    }

    fn obey(&mut self, command: Command) {
        self.orders += u64::from(matches!(command, Command::Act(_)));
        let opened = matches!(&command, Command::Tell(fact) if matches!(fact.what, What::IncidentOpened { .. }));
        self.incidents += u64::from(opened);
        match command {
            Command::Save(incident) => self.write(Item::Save(incident)),
            Command::Record(intent) => self.write(Item::Record(intent)),
            Command::Keep(safety) => {
                self.after(2 * MS, Event::Written { life: self.life, item: Item::Keep(safety) });
            }
            Command::Act(order) => {
                let now = self.clock();
                self.note_down(|recorder| recorder.act(now, &order));
                let wait = self.rng.range(200, 20 * MS);
                self.after(wait, Event::Execute { life: self.life, order });
            }
            Command::Look { unit } => {
                let wait = self.rng.range(100, 5 * MS);
                self.after(wait, Event::Look { epoch: self.epoch, unit });
            }
            Command::Inquire { unit } => {
                let wait = self.rng.range(5 * MS, 60 * MS);
                self.after(wait, Event::Inquire { life: self.life, unit });
            }
            Command::Learned(known) => {
                for one in known {
                    let key = (one.case.clone(), one.from.is_some());
                    match one.actions.is_empty() {
                        true => drop(self.store.strategies.remove(&key)),
                        false => drop(self.store.strategies.insert(key, one)),
                    }
                }
            }
            Command::Tell(Fact {
                what: What::ApprovalAsked { action, .. },
                incident: Some(incident),
                unit: Some(unit),
                ..
            }) => {
                crate::operator::is_asked(self, incident, unit, action);
            }
            Command::Reply { .. } | Command::Tell(_) => {}
        }
    }

    fn show(&mut self, seen: Seen<'_>) {
        if self.failure.is_some() {
            return;
        }
        let world = World {
            now: self.clock(),
            host: &self.host,
            known: &self.known,
            settings: &self.settings,
            engine: self.engine.as_ref(),
        };
        for checker in &mut self.checkers {
            if let Err(text) = checker.see(&world, &seen) {
                let name = checker.name();
                self.transcript.note(self.now, || format!("!! {name}: {text}"));
                self.failure = Some(Failure { checker: name, text });
                return;
            }
        }
    }

    // ---- the store ----

    fn write(&mut self, item: Item) {
        let cost = if self.store.slow > 0 { self.rng.range(MS, self.store.slow) } else { self.rng.range(50, 2 * MS) };
        let done = self.store.busy_until.max(self.now) + cost;
        self.store.busy_until = done;
        let life = self.life;
        match item {
            Item::Record(intent) if self.store.failing || done - self.now > 100 * MS => {
                let wait = (done - self.now).min(100 * MS);
                let lost = self.store.lost;
                if !lost {
                    self.store.intents.push(intent.clone());
                }
                let why = "the database is slow or broken".to_string();
                let how = if lost { Durability::Lost { why } } else { Durability::Volatile { why } };
                self.after(wait, Event::Input { life, input: Input::Recorded { attempt: intent.attempt, how } });
            }
            Item::Save(_) if self.store.failing => {}
            item => self.at(done, Event::Written { life, item }),
        }
    }

    fn written(&mut self, item: Item) {
        match item {
            Item::Save(incident) => {
                self.store.incidents.insert(incident.id, *incident);
            }
            Item::Record(intent) => {
                let attempt = intent.attempt;
                self.store.intents.push(intent);
                self.deliver(Input::Recorded { attempt, how: Durability::Stored });
            }
            Item::Keep(safety) => self.store.safety = *safety,
        }
    }

    // ---- the bus ----

    /// Sends the host's signals on their way, in order; what the host plans to do goes into the queue.
    pub fn ship_signals(&mut self) {
        for (at, event) in std::mem::take(&mut self.host.coming) {
            self.at(at, Event::Host(event));
        }
        for input in std::mem::take(&mut self.host.signals) {
            if let Input::JobNew { unit, job } = &input {
                let (wait, epoch) = (self.rng.range(100, 3 * MS), self.epoch);
                let event = Event::ReadKind { epoch, unit: unit.clone(), job: *job };
                if !self.rng.chance(self.swarm.kind_missing) {
                    self.after(wait, event);
                }
            }
            self.on_bus(input);
        }
    }

    fn on_bus(&mut self, input: Input) {
        if self.engine.is_none() || !self.bus_up {
            return;
        }
        let latency = self.rng.range(100, self.swarm.bus_latency.max(101));
        let at = (self.now + latency).max(self.bus_free_at + 1);
        self.bus_free_at = at;
        self.at(at, Event::Bus { epoch: self.epoch, input });
    }

    fn read_kind(&mut self, unit: UnitName, job: u32) {
        let found = self.host.units.get(&unit).and_then(|u| u.job).filter(|j| j.id == job);
        if let Some(job) = found {
            self.on_bus(Input::JobKind { unit, job: job.id, kind: job.kind });
        }
    }

    fn look(&mut self, unit: UnitName) {
        let change = Box::new(self.host.look(&unit));
        self.on_bus(Input::Unit { unit, change });
    }

    pub fn snapshot(&mut self, reason: ResyncReason) {
        let units = self.host.everything();
        let jobs: Vec<(UnitName, u32)> =
            self.host.units.values().filter_map(|u| u.job.map(|job| (u.name.clone(), job.id))).collect();
        let _ = jobs;
        self.on_bus(Input::Snapshot(Snapshot {
            reason,
            manager: self.host.manager,
            startup_finished: Mono(self.host.startup_finished),
            units,
        }));
    }

    pub fn resync(&mut self, reason: ResyncReason) {
        self.after(30 * MS, Event::Snapshot { epoch: self.epoch, reason });
    }

    /// The queue of signals overflowed: what was in it is gone.
    pub fn overflow(&mut self) {
        if self.engine.is_none() || !self.bus_up {
            return;
        }
        self.epoch += 1;
        self.forget_silent_stops();
        self.transcript.note(self.now, || "== the queue of signals overflows".into());
        self.snapshot(ResyncReason::QueueOverflow);
    }

    pub fn lose_bus(&mut self, span: u64) {
        if !self.bus_up {
            return;
        }
        self.bus_up = false;
        self.epoch += 1;
        self.forget_silent_stops();
        self.transcript.note(self.now, || "== the bus is lost".into());
        self.deliver(Input::BusLost { why: "connection reset".into() });
        self.after(span, Event::BusReturns);
    }

    pub fn bus_returns(&mut self) {
        if self.bus_up {
            return;
        }
        self.bus_up = true;
        if self.engine.is_some() {
            self.snapshot(ResyncReason::Connected);
        }
    }

    fn inquire(&mut self, name: UnitName) {
        let silent = self.rng.chance(self.swarm.journal_silent);
        let unit = self.host.unit(&name);
        // By the design a silent journal makes a failure of `failed`, and a stop of a clean end.
        if silent && (unit.want == Want::Stopped || unit.phase == host::Phase::Dead) {
            unit.want = Want::Open;
        }
        let stop_job = (!silent).then_some(unit.stop_job_in_journal);
        self.deliver(Input::Inquired { unit: name, finding: Finding { stop_job, through: None } });
    }

    // ---- the root side ----

    fn execute(&mut self, life: u32, order: Order) {
        let Order { attempt, unit, verb } = order;
        if self.host.held {
            let answer = Answer::Refused { why: Refused::Hold, text: "the hold file exists".into() };
            return self.answer(life, attempt, answer);
        }
        let fails = !self.bus_up || self.rng.chance(self.swarm.call_fails);
        if fails && (!self.bus_up || self.rng.chance(50)) {
            let answer = Answer::Failed { text: "no answer within 10 s".into() };
            let wait = self.rng.range(MS, 10 * SEC);
            self.after(wait, Event::Input { life, input: Input::Acted { attempt, answer } });
            return;
        }
        let called = self.host.carry_out(&unit, verb);
        self.transcript.note(self.now, || format!("   systemd: {} {unit} ({attempt})", verb.as_str()));
        let refused = |why, text: &str| Answer::Refused { why, text: text.into() };
        let answer = match called {
            _ if fails => Answer::Failed { text: "no answer within 10 s".into() },
            Called::Job(job) => Answer::Accepted { job: Some(job), did: None },
            Called::Delivered => Answer::Accepted { job: None, did: None },
            Called::Conflict => refused(Refused::JobInFlight, "another job is queued"),
            Called::NoSuchUnit => refused(Refused::NoSuchUnit, "no such unit"),
            Called::Did(did) => Answer::Accepted { job: None, did: Some(did.into()) },
            Called::Nothing => refused(Refused::Nothing, "there is nothing to do"),
            Called::Superseded => refused(Refused::Superseded, "it is another activation"),
        };
        self.answer(life, attempt, answer);
    }

    fn answer(&mut self, life: u32, attempt: AttemptId, answer: Answer) {
        let wait = self.rng.range(200, 10 * MS);
        self.after(wait, Event::Input { life, input: Input::Acted { attempt, answer } });
    }

    // ---- samples and requests ----

    fn sample(&mut self) {
        self.after(30 * SEC, Event::Sample);
        let now = self.now;
        let mut samples = Vec::new();
        for unit in self.host.units.values_mut().filter(|unit| unit.serves()) {
            let load = &mut unit.usage;
            load.memory = (load.memory + load.growth_per_sec * 30).min(4 << 30);
            load.cpu_usec += (load.cpus * 30.0 * SEC as f64) as u64;
            load.tasks = (load.tasks + load.tasks_per_hour / 120.0).min(512.0);
            load.files = (load.files + load.files_per_hour / 120.0).min(1024.0);
            let used_up = load.tasks > 350.0 || load.files > 700.0;
            if load.memory > 700 << 20 || load.cpus > 0.7 || load.pressure > 30.0 || used_up {
                load.high_at = now;
            }
            let mut sample = Usage::gap(unit.name.clone(), Mono(now));
            if !self.rng.chance(self.swarm.sample_gaps) {
                sample.cpu_usec = Some(load.cpu_usec);
                sample.memory_bytes = Some(load.memory);
                sample.memory_max_bytes = Some(1 << 30);
                (sample.tasks, sample.tasks_max) = (Some(load.tasks as u64), Some(512));
                sample.open_files = Some(OpenFiles { count: load.files as u64, limit: 1024 });
                sample.cpu_pressure = Some(Pressure { avg10: load.pressure, total_usec: 0 });
            }
            samples.push(sample);
        }
        let host = HostUsage { memory_total_bytes: 8 << 30, memory_available_bytes: 4 << 30, cpus: 4, load1: 0.5 };
        self.deliver(Input::Usage { samples, host: Some(host) });
    }

    pub fn ask(&mut self, ask: Ask) {
        self.requests += 1;
        if matches!(ask, Ask::Recover { force: true, .. }) {
            self.forced += self.host.units.len() as u64;
        }
        let request = Request { id: self.requests, who: "anna".into(), ask };
        self.deliver(Input::Request(request));
    }

    pub fn set_hold(&mut self, held: bool) {
        self.host.held = held;
        let wait = self.rng.range(MS, 20 * MS);
        self.after(wait, Event::Input { life: self.life, input: Input::Hold { held } });
    }

    pub fn tell_manager(&mut self, state: ManagerState) {
        self.host.manager = state;
        self.on_bus(Input::Manager { state });
    }

    pub fn unit_names(&self) -> Vec<UnitName> {
        self.host.units.keys().cloned().collect()
    }
}

pub fn micros(span: Duration) -> u64 {
    span.as_micros() as u64
}

/// Unused arms of replies are of interest to scenarios alone.
pub fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Done { text } | Reply::Unknown { text } => text.clone(),
        Reply::Accepted { incidents, waiting } => format!("accepted {incidents:?}, waiting {waiting:?}"),
        Reply::Refused { unit, refusal } => format!("refused {unit}: {} ({})", refusal.gate, refusal.text),
    }
}

pub fn is_disruptive(verb: Verb) -> bool {
    matches!(verb, Verb::TryRestart | Verb::Drain { .. } | Verb::Stop)
}
