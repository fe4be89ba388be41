//! What the programs do beside running: they beat, consume a queue, answer probes and log errors. And the broker.
//!
//! What is really wrong with a program is in its [`Trouble`]; the engine sees only readings of it.

use std::time::Duration;

use unitmedic::model::request::Target;
use unitmedic::model::signal::{
    Beat, BeatSource, ErrorCounts, ExternalAlert, ProbeReading, ProbeResult, QueueDepth, QueueName, QueueReading,
    QueueState,
};
use unitmedic::model::{Input, Mono, UnitName};

use crate::driver::{Event, Sim};
use crate::host::{Host, SEC, Unit};

/// Time between two looks at the queue and at the journal.
pub const STEP: u64 = 10 * SEC;
const PROBE_EVERY: u64 = 30 * SEC;
/// Worker that consumes the queue, by its name and its template.
pub const WORKER: &str = "task";
const PREFIX: &str = "task@";

/// What is wrong with a running program; a new process is well.
#[derive(Clone, Copy, Default)]
pub struct Trouble {
    /// Does nothing at all.
    pub hung: bool,
    /// The broker has dropped it and it does not know.
    pub half_open: bool,
    /// Takes messages and never acknowledges.
    pub stalled: bool,
    /// Works, but does not answer.
    pub deaf: bool,
    /// Slow, which only others see.
    pub slow: bool,
    /// Errors per step.
    pub errors: u64,
}

impl Trouble {
    pub fn any(&self) -> bool {
        self.hung || self.half_open || self.stalled || self.deaf || self.slow || self.errors > 0
    }
}

/// How a program that is well does its work.
#[derive(Clone, Copy)]
pub struct Habits {
    /// From its start to its first message.
    pub connect: u64,
    /// Messages per step.
    pub speed: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Habits { connect: 3 * SEC, speed: 400 }
    }
}

/// The broker with its one queue.
pub struct Broker {
    pub up: bool,
    /// Acknowledgements can be read.
    pub managed: bool,
    pub ready: u64,
    pub acknowledged: u64,
    /// Messages that come in a step.
    pub arrivals: u64,
    /// Consumers on other hosts, and what they handle in a step.
    pub elsewhere: u64,
    pub elsewhere_speed: u64,
    pub returned_at: u64,
    pub habits: Habits,
    probed_at: u64,
}

impl Default for Broker {
    fn default() -> Self {
        Broker {
            up: true,
            managed: true,
            ready: 0,
            acknowledged: 0,
            arrivals: 20,
            elsewhere: 0,
            elsewhere_speed: 0,
            returned_at: 0,
            habits: Habits::default(),
            probed_at: 0,
        }
    }
}

pub fn queue() -> QueueName {
    QueueName { vhost: None, name: "jobs".into() }
}

fn consumes(unit: &Unit, broker: &Broker, now: u64) -> bool {
    let since = unit.up_since.unwrap_or(now).max(broker.returned_at) + broker.habits.connect;
    unit.serves() && unit.name.as_str().starts_with(PREFIX) && since <= now && !unit.trouble.half_open
}

/// One step of all programs, and the readings of it.
pub fn step(sim: &mut Sim) {
    sim.after(STEP, Event::Work);
    let now = sim.now;
    note_trouble(&mut sim.host, now);
    if sim.settings.workers.values().any(|worker| worker.name.as_str() == WORKER && !worker.queues.is_empty()) {
        consume(sim);
    }
    beat(sim);
    log_errors(sim);
    if now - sim.broker.probed_at >= PROBE_EVERY {
        sim.broker.probed_at = now;
        probe(sim);
    }
}

/// The checkers judge by when something last was wrong.
fn note_trouble(host: &mut Host, now: u64) {
    for unit in host.units.values_mut().filter(|unit| unit.serves() && unit.trouble.any()) {
        unit.trouble_at = now;
    }
}

/// The broker goes. Our connection to it ends, which is told at once.
pub fn lose_broker(sim: &mut Sim) {
    sim.broker.up = false;
    let at = Mono(sim.now);
    let reading = QueueState::Unknown { why: "the connection was closed".into() };
    let workers = sim.settings.workers.values().filter(|worker| worker.queues.contains(&queue()));
    let readings = workers
        .map(|w| QueueReading { worker: w.name.clone(), queue: queue(), at, reading: reading.clone() })
        .collect();
    sim.deliver(Input::Queues { readings });
}

fn consume(sim: &mut Sim) {
    let now = sim.now;
    let broker = &mut sim.broker;
    let consumers: Vec<&Unit> = sim.host.units.values().filter(|unit| consumes(unit, broker, now)).collect();
    let reading = match broker.up {
        true => {
            let able = consumers.iter().filter(|unit| !unit.trouble.hung && !unit.trouble.stalled).count() as u64;
            let handled = broker.ready.saturating_add(broker.arrivals);
            let handled = handled.min(able * broker.habits.speed + broker.elsewhere_speed);
            broker.ready = broker.ready + broker.arrivals - handled;
            broker.acknowledged += handled;
            QueueState::Known(QueueDepth {
                ready: broker.ready,
                consumers: consumers.len() as u64 + broker.elsewhere,
                unacknowledged: broker.managed.then_some(consumers.len() as u64),
                acknowledged_total: broker.managed.then_some(broker.acknowledged),
                publish_rate: None,
            })
        }
        false => QueueState::Unknown { why: "connection refused".into() },
    };
    let workers = sim.settings.workers.values().filter(|worker| worker.queues.contains(&queue()));
    let readings: Vec<QueueReading> = workers
        .map(|worker| QueueReading {
            worker: worker.name.clone(),
            queue: queue(),
            at: Mono(now),
            reading: reading.clone(),
        })
        .collect();
    if !sim.rng.chance(sim.swarm.sample_gaps / 4) {
        sim.deliver(Input::Queues { readings });
    }
}

fn of_task(sim: &Sim) -> impl Iterator<Item = &Unit> {
    sim.host.units.values().filter(|unit| unit.serves() && unit.name.as_str().starts_with(PREFIX))
}

fn beat(sim: &mut Sim) {
    let at = Mono(sim.now);
    let alive = of_task(sim).filter(|unit| !unit.trouble.hung);
    let beats: Vec<Beat> = alive.map(|unit| Beat { unit: unit.name.clone(), at, source: BeatSource::Socket }).collect();
    if !beats.is_empty() {
        sim.deliver(Input::Beats { beats });
    }
}

fn log_errors(sim: &mut Sim) {
    let counts: Vec<(UnitName, u64)> =
        of_task(sim).filter(|unit| unit.trouble.errors > 0).map(|u| (u.name.clone(), u.trouble.errors)).collect();
    let at = Mono(sim.now);
    sim.deliver(Input::Errors(ErrorCounts { at, span: Duration::from_micros(STEP), counts, gap: None }));
}

fn probe(sim: &mut Sim) {
    let (now, connect) = (sim.now, sim.broker.habits.connect);
    let found = of_task(sim).map(|unit| {
        let ready = unit.up_since.is_some_and(|at| at + connect <= now);
        let result = match unit.trouble.deaf || unit.trouble.hung || !ready {
            true => ProbeResult::Failed { why: "connection refused".into() },
            false => ProbeResult::Passed,
        };
        ProbeReading { unit: unit.name.clone(), at: Mono(now), invocation: unit.view.invocation, result }
    });
    let readings: Vec<ProbeReading> = found.collect();
    sim.deliver(Input::Probes { readings });
}

/// An Alertmanager tells that a worker or a unit is slow, or that it is not any more; it tells the truth.
pub fn tell_of(sim: &mut Sim, target: Target, severe: bool, firing: bool) {
    for (name, unit) in &mut sim.host.units {
        let named = match &target {
            Target::Unit(unit) => unit == name,
            Target::Worker(worker) => sim.settings.worker_of(name.as_str()).is_some_and(|of| of.name == *worker),
        };
        unit.trouble.slow = if named { firing } else { unit.trouble.slow };
    }
    note_trouble(&mut sim.host, sim.now);
    let alert = ExternalAlert { id: format!("{target:?}"), target, text: "SlowAnswers: 3 s".into(), severe, firing };
    sim.deliver(Input::External { alerts: vec![alert] });
}
