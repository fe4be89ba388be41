//! What goes wrong, how often, and how it is mended. Each seed enables some kinds of trouble only.

use unitmedic::model::fact::ResyncReason;
use unitmedic::model::request::{Ask, Target};
use unitmedic::model::unit::{ManagerState, ServiceResult};
use unitmedic::model::{Action, IncidentId, Input, UnitName, WorkerSettings};

use crate::driver::{Event, Sim};
use crate::host::{Broken, MS, Phase, SEC, Want};
use crate::operator;
use crate::rng::Rng;
use crate::work::Trouble;

/// The rates of one seed.
#[derive(Default, Clone)]
pub struct Swarm {
    /// Mean time between two faults of the host, and between two doings of operators; 0: never.
    pub fault_every: u64,
    pub operator_every: u64,
    pub faults: Vec<Fault>,
    pub doings: Vec<operator::Doing>,
    /// Percent.
    pub crash_at_intent: u64,
    pub kind_missing: u64,
    pub journal_silent: u64,
    pub call_fails: u64,
    pub sample_gaps: u64,
    pub bus_latency: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Kill,
    KillMany,
    Exit,
    CleanExit,
    Oom,
    CrashLoop,
    FastCrashLoop,
    StuckStart,
    IgnoreTerm,
    Leak,
    Spin,
    Pressure,
    BusLoss,
    Overflow,
    OurCrash,
    WallJump,
    SlowStore,
    BrokenStore,
    Hang,
    HalfOpen,
    Stall,
    Deaf,
    Noise,
    BrokerAway,
    Burst,
    AlertOfOthers,
}

const ALL: [Fault; 26] = [
    Fault::Kill,
    Fault::KillMany,
    Fault::Exit,
    Fault::CleanExit,
    Fault::Oom,
    Fault::CrashLoop,
    Fault::FastCrashLoop,
    Fault::StuckStart,
    Fault::IgnoreTerm,
    Fault::Leak,
    Fault::Spin,
    Fault::Pressure,
    Fault::BusLoss,
    Fault::Overflow,
    Fault::OurCrash,
    Fault::WallJump,
    Fault::SlowStore,
    Fault::BrokenStore,
    Fault::Hang,
    Fault::HalfOpen,
    Fault::Stall,
    Fault::Deaf,
    Fault::Noise,
    Fault::BrokerAway,
    Fault::Burst,
    Fault::AlertOfOthers,
];

#[derive(Debug, Clone)]
pub enum Step {
    NextFault,
    NextDoing,
    Start(UnitName),
    Mend(UnitName),
    MendStore,
    BrokerReturns,
    Unmask(UnitName),
    Unhold,
    Configure(Box<WorkerSettings>),
    Tick(UnitName),
    /// Somebody has read the card.
    Answer {
        incident: IncidentId,
        unit: UnitName,
        action: Action,
    },
    Restart(UnitName),
}

impl Swarm {
    pub fn of_seed(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, high: u64| if rng.chance(40) { rng.range(1, high) } else { 0 };
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| rng.chance(45)).collect();
        if faults.is_empty() {
            faults.push(Fault::Kill);
        }
        Swarm {
            fault_every: *rng.pick(&[15, 60, 200, 600]) * SEC,
            operator_every: *rng.pick(&[20, 90, 300, 900]) * SEC,
            faults,
            doings: operator::ALL.into_iter().filter(|_| rng.chance(45)).collect(),
            crash_at_intent: some(rng, 12),
            kind_missing: *rng.pick(&[0, 10, 60, 100]),
            journal_silent: some(rng, 30),
            call_fails: some(rng, 20),
            sample_gaps: some(rng, 40),
            bus_latency: *rng.pick(&[MS, 5 * MS, 100 * MS]),
        }
    }

    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Swarm { bus_latency: MS, ..Swarm::default() }
    }
}

pub fn take(sim: &mut Sim, step: Step) {
    match step {
        Step::NextFault if sim.mended || sim.swarm.fault_every == 0 => {}
        Step::NextDoing if sim.mended || sim.swarm.operator_every == 0 || sim.swarm.doings.is_empty() => {}
        Step::NextFault => {
            let fault = *sim.rng.pick(&sim.swarm.faults.clone());
            strike(sim, fault);
            let wait = sim.rng.range(sim.swarm.fault_every / 20, sim.swarm.fault_every * 2);
            sim.after(wait, Event::Step(Step::NextFault));
        }
        Step::NextDoing => {
            let doing = *sim.rng.pick(&sim.swarm.doings.clone());
            operator::act(sim, doing);
            let wait = sim.rng.range(sim.swarm.operator_every / 20, sim.swarm.operator_every * 2);
            sim.after(wait, Event::Step(Step::NextDoing));
        }
        Step::Start(unit) => operator::start(sim, &unit),
        Step::Restart(unit) => operator::restart(sim, &unit),
        Step::Answer { incident, unit, action } => operator::answer(sim, incident, unit, action),
        Step::Mend(unit) => sim.host.unit(&unit).broken = Broken::default(),
        Step::MendStore => {
            sim.store.slow = 0;
            sim.store.failing = false;
            sim.store.lost = false;
        }
        Step::BrokerReturns => {
            sim.broker.up = true;
            sim.broker.returned_at = sim.now;
        }
        Step::Unmask(unit) => {
            sim.host.mask(&unit, false);
            sim.resync(ResyncReason::UnitFilesChanged);
        }
        Step::Configure(worker) => {
            let mut settings = sim.settings.clone();
            settings.workers.insert(worker.name.clone(), *worker);
            operator::configure(sim, settings);
        }
        Step::Unhold => sim.set_hold(false),
        // The timer unit of a oneshot elapses.
        Step::Tick(unit) => {
            sim.host.start(&unit);
            sim.after(300 * SEC, Event::Step(Step::Tick(unit)));
        }
    }
}

fn strike(sim: &mut Sim, fault: Fault) {
    let units = sim.unit_names();
    let unit = sim.rng.pick(&units).clone();
    sim.transcript.note(sim.now, || format!("== {fault:?} {unit}"));
    match fault {
        Fault::Kill => sim.host.ended(&unit, 2, 9),
        Fault::KillMany => {
            for unit in &units {
                if sim.rng.chance(70) {
                    sim.host.ended(unit, 2, 11);
                }
            }
        }
        Fault::Exit => sim.host.ended(&unit, 1, 3),
        Fault::CleanExit => sim.host.ended(&unit, 1, 0),
        Fault::Oom => sim.host.die(&unit, 2, 9, ServiceResult::OomKill),
        Fault::CrashLoop => break_it(sim, &unit, |rng, b| b.crash_after = Some(rng.range(SEC, 40 * SEC)), 1),
        Fault::FastCrashLoop => break_it(sim, &unit, |rng, b| b.crash_after = Some(rng.range(MS, SEC)), 1),
        Fault::StuckStart => break_it(sim, &unit, |_, b| b.hang_start = true, 1),
        Fault::IgnoreTerm => break_it(sim, &unit, |_, b| b.ignore_term = true, 0),
        Fault::Leak => sim.host.unit(&unit).usage.growth_per_sec = 8 << 20,
        Fault::Spin => sim.host.unit(&unit).usage.cpus = 1.5,
        Fault::Pressure => sim.host.unit(&unit).usage.pressure = 70.0,
        Fault::BusLoss => {
            let span = sim.rng.range(10 * MS, 40 * SEC);
            sim.lose_bus(span);
        }
        Fault::Overflow => sim.overflow(),
        Fault::OurCrash => sim.crash(),
        Fault::WallJump => {
            let by = sim.rng.range(0, 7200 * SEC) as i64 - 3600 * SEC as i64;
            sim.wall_shift += by;
        }
        Fault::Hang => sim.host.unit(&unit).trouble.hung = true,
        Fault::HalfOpen => sim.host.unit(&unit).trouble.half_open = true,
        Fault::Stall => sim.host.unit(&unit).trouble.stalled = true,
        Fault::Deaf => sim.host.unit(&unit).trouble.deaf = true,
        Fault::Noise => sim.host.unit(&unit).trouble.errors = sim.rng.range(1, 30),
        Fault::BrokerAway => {
            crate::work::lose_broker(sim);
            let span = sim.rng.range(SEC, 300 * SEC);
            sim.after(span, Event::Step(Step::BrokerReturns));
        }
        Fault::Burst => sim.broker.ready += sim.rng.range(100, 20_000),
        Fault::AlertOfOthers => {
            let (severe, firing) = (sim.rng.chance(50), sim.rng.chance(70));
            let worker = sim.settings.worker_of(unit.as_str()).filter(|_| sim.rng.chance(30));
            let target = worker.map_or(Target::Unit(unit), |worker| Target::Worker(worker.name.clone()));
            crate::work::tell_of(sim, target, severe, firing);
        }
        Fault::SlowStore => {
            sim.store.slow = sim.rng.range(20 * MS, 400 * MS);
            mend_store_later(sim);
        }
        Fault::BrokenStore => {
            sim.store.failing = true;
            sim.store.lost = sim.rng.chance(30);
            mend_store_later(sim);
        }
    }
}

fn mend_store_later(sim: &mut Sim) {
    let span = sim.rng.range(SEC, 120 * SEC);
    sim.after(span, Event::Step(Step::MendStore));
}

/// Breaks the program for a while; `kill`: its present run ends at once.
fn break_it(sim: &mut Sim, unit: &UnitName, how: impl Fn(&mut Rng, &mut Broken), kill: u8) {
    how(&mut sim.rng, &mut sim.host.units.get_mut(unit).expect("there").broken);
    if kill > 0 {
        sim.host.ended(unit, 1, 1);
    }
    let span = sim.rng.range(SEC, 900 * SEC);
    sim.after(span, Event::Step(Step::Mend(unit.clone())));
}

/// The host goes down: systemd says so, and stops one unit after the other.
pub fn shut_down(sim: &mut Sim) {
    sim.transcript.note(sim.now, || "== the host shuts down".into());
    sim.tell_manager(ManagerState::Stopping);
    for name in sim.unit_names() {
        match sim.rng.chance(30) {
            true => sim.host.ended(&name, 2, 9),
            false => _ = sim.host.stop(&name),
        }
        sim.host.unit(&name).want = Want::Stopped;
        sim.host.unit(&name).want_since = sim.now;
    }
    sim.ship_signals();
}

/// Faults stop, everything is mended, pauses end, the hold file goes.
pub fn mend(sim: &mut Sim) {
    sim.mended = true;
    sim.transcript.note(sim.now, || "== all is mended".into());
    sim.swarm = Swarm { bus_latency: sim.swarm.bus_latency, ..Swarm::calm() };
    take(sim, Step::MendStore);
    if !sim.broker.up {
        take(sim, Step::BrokerReturns);
    }
    sim.broker.elsewhere_speed = 0;
    for name in sim.unit_names() {
        let unit = sim.host.unit(&name);
        unit.broken = Broken::default();
        unit.usage.growth_per_sec = 0;
        unit.usage.memory = 100 << 20;
        unit.usage.cpus = 0.1;
        unit.usage.pressure = 0.0;
        unit.trouble = Trouble::default();
        if unit.masked {
            unit.want = Want::Open;
            sim.host.mask(&name, false);
        }
        // What hung in its start does not come by itself.
        if sim.host.units[&name].phase == Phase::Starting {
            sim.host.ended(&name, 1, 1);
        }
    }
    sim.ship_signals();
    sim.bus_returns();
    if sim.engine.is_none() {
        sim.start_engine();
    }
    let workers: Vec<Target> = sim.settings.workers.keys().cloned().map(Target::Worker).collect();
    for target in sim.unit_names().into_iter().map(Target::Unit).chain(workers) {
        crate::work::tell_of(sim, target, false, false);
    }
    if sim.settings.daemon.dry_run {
        let mut settings = sim.settings.clone();
        settings.daemon.dry_run = false;
        sim.deliver(Input::Reload { settings: Box::new(settings), by: None });
    }
    operator::take_in_hand_what_was_rejected(sim);
    sim.resync(ResyncReason::UnitFilesChanged);
    sim.set_hold(false);
    sim.ask(Ask::Resume { worker: None });
    if sim.host.manager != ManagerState::Running {
        sim.tell_manager(ManagerState::Running);
    }
    sim.ship_signals();
}
