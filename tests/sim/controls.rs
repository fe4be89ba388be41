//! Nothing is wrong, though much goes on: not one order may be given.
//!
//! `SIM_CONTROLS=n` runs n seeds, each an hour of virtual time.

use std::time::Duration;

use unitmedic::model::fact::ResyncReason;
use unitmedic::model::request::Target;
use unitmedic::model::signal::{ErrorCounts, ProbeReading, ProbeResult};
use unitmedic::model::{Input, Mono, Selector, UnitName};

use crate::driver::{Event, Sim};
use crate::faults::Swarm;
use crate::host::{Host, MS, SEC, Spec, Want};
use crate::operator;
use crate::rng::Rng;
use crate::scene::{BEGIN, unit, with_workers, worker};
use crate::work::{self, Habits};

const SEEDS: u64 = 1000;
const HOUR: u64 = 3600 * SEC;
const LINES_SHOWN: usize = 200;

/// What goes on on a host that is well.
#[derive(Clone, Copy, Debug)]
enum Control {
    /// Busy, but not for long enough to be a condition.
    CpuSpike,
    /// A few messages more, handled before the second reading.
    QueueSpike,
    BrokerRestart,
    Deploy,
    Restart,
    OperatorStop,
    Reload,
    Reexec,
    BusLoss,
    OneError,
    OneFailedProbe,
    /// Stopped because something that it is bound to stops.
    StopByDependency,
    OurRestart,
    /// Of which nobody has said that anything is to be done about it.
    AlertOfOthers,
}

const ALL: &[Control] = &[
    Control::CpuSpike,
    Control::QueueSpike,
    Control::BrokerRestart,
    Control::Deploy,
    Control::Restart,
    Control::OperatorStop,
    Control::Reload,
    Control::Reexec,
    Control::BusLoss,
    Control::OneError,
    Control::OneFailedProbe,
    Control::StopByDependency,
    Control::OurRestart,
    Control::AlertOfOthers,
];

fn scene(rng: &mut Rng) -> Sim {
    let mut host = Host::new(BEGIN);
    host.startup_finished = BEGIN - 900 * SEC;
    let mut task = worker(work::WORKER, Selector::Template("task".into()));
    task.queues = vec![work::queue()];
    task.amqp_url = Some("amqp://localhost".into());
    let running = rng.range(1, 4) as u32;
    task.max_instances = Some(running + 3);
    task.surge = rng.chance(50);
    let mut api = worker("api", Selector::Unit(unit("api.service")));
    api.cpu_sustained = Duration::from_secs(120);
    let report = worker("report", Selector::Unit(unit("report.service")));
    let mut names: Vec<UnitName> = (1..=running).map(|number| unit(&format!("task@{number}.service"))).collect();
    names.push(unit("api.service"));
    for name in &names {
        let slow = Spec {
            start_time: *rng.pick(&[0, 50 * MS, 40 * SEC]),
            stop_time: *rng.pick(&[0, 20 * MS, 5 * SEC]),
            ..Spec::plain()
        };
        host.add(name, slow);
        host.start(name);
        host.unit(name).want = Want::Run;
    }
    host.add(&unit("report.service"), Spec { oneshot: true, ..Spec::plain() });
    host.signals.clear();
    let swarm = Swarm { bus_latency: MS, sample_gaps: *rng.pick(&[0, 10, 40]), ..Swarm::calm() };
    let mut sim = Sim::new(rng.next(), with_workers([task, api, report]), swarm, host, LINES_SHOWN);
    let speed = *rng.pick(&[30, 400, 5_000]);
    sim.broker.habits = Habits { connect: *rng.pick(&[SEC, 10 * SEC, 40 * SEC]), speed };
    // An idle queue, one with some work, one that is busy all the time, one that others consume, too.
    sim.broker.arrivals = *rng.pick(&[0, speed / 4, speed * u64::from(running) * 9 / 10]);
    sim.broker.elsewhere = *rng.pick(&[0, 0, 5]);
    sim.broker.elsewhere_speed = sim.broker.elsewhere * speed;
    sim.broker.managed = rng.chance(50);
    sim
}

fn happen(sim: &mut Sim, control: Control) {
    let units = sim.unit_names();
    let name = sim.rng.pick(&units).clone();
    sim.transcript.note(sim.now, || format!("== control {control:?} {name}"));
    match control {
        Control::CpuSpike => {
            // Three samples of 30 s: shorter than `cpu_sustained`.
            let unit = sim.host.unit(&name);
            unit.usage.cpus = if unit.usage.cpus > 0.5 { 0.1 } else { 0.7 };
        }
        // On top of what waits already it would be a backlog indeed.
        Control::QueueSpike if sim.broker.ready > 0 => {}
        Control::QueueSpike => {
            let spare = sim.broker.habits.speed.saturating_sub(sim.broker.arrivals);
            sim.broker.ready += spare;
        }
        Control::BrokerRestart => {
            if sim.broker.up {
                work::lose_broker(sim);
                let span = sim.rng.range(5 * SEC, 60 * SEC);
                sim.after(span, Event::Step(crate::faults::Step::BrokerReturns));
            }
        }
        Control::Deploy => {
            operator::stop(sim, &name);
            let wait = sim.rng.range(0, 20 * SEC);
            sim.after(wait, Event::Step(crate::faults::Step::Start(name)));
        }
        Control::Restart => operator::restart(sim, &name),
        Control::OperatorStop | Control::StopByDependency => operator::stop(sim, &name),
        Control::Reload => sim.resync(ResyncReason::ManagerReloaded),
        Control::Reexec => sim.resync(ResyncReason::ManagerReexecuted),
        Control::BusLoss => {
            let span = sim.rng.range(10 * MS, 20 * SEC);
            sim.lose_bus(span);
        }
        Control::OneError => {
            let (at, counts) = (Mono(sim.now), vec![(name, 1)]);
            sim.deliver(Input::Errors(ErrorCounts { at, span: Duration::from_secs(1), counts, gap: None }));
        }
        // Only those that are probed can have one that fails.
        Control::OneFailedProbe if !name.as_str().starts_with("task@") => {}
        Control::OneFailedProbe => {
            let invocation = sim.host.units[&name].view.invocation;
            let result = ProbeResult::Failed { why: "it took longer than 5 s".into() };
            let reading = ProbeReading { unit: name, at: Mono(sim.now), invocation, result };
            sim.deliver(Input::Probes { readings: vec![reading] });
        }
        Control::OurRestart => sim.crash(),
        Control::AlertOfOthers => {
            let (severe, firing) = (sim.rng.chance(50), sim.rng.chance(70));
            work::tell_of(sim, Target::Unit(name), severe, firing);
        }
    }
}

fn run(seed: u64) -> Sim {
    let mut rng = Rng::new(seed);
    let mut sim = scene(&mut rng);
    sim.ship_signals();
    sim.start_engine();
    sim.after(5 * SEC, Event::Sample);
    sim.after(7 * SEC, Event::Work);
    sim.after(50 * SEC, Event::Step(crate::faults::Step::Tick(unit("report.service"))));
    // Work comes when all are there: what piles up before that is a backlog indeed.
    let arrivals = std::mem::take(&mut sim.broker.arrivals);
    sim.run_until(BEGIN + 120 * SEC);
    sim.broker.arrivals = arrivals;
    let end = sim.now + HOUR;
    while sim.now < end && sim.failure.is_none() && sim.orders + sim.incidents == 0 {
        let pause = rng.range(5 * SEC, 240 * SEC);
        let until = (sim.now + pause).min(end);
        sim.run_until(until);
        let mut control = *rng.pick(ALL);
        // With nine tenths of its power in use, a worker that loses some of it has a backlog, and rightly scales up.
        let takes_away = matches!(
            control,
            Control::BrokerRestart
                | Control::Deploy
                | Control::Restart
                | Control::OperatorStop
                | Control::StopByDependency
        );
        if sim.broker.arrivals > sim.broker.habits.speed / 4 && takes_away {
            control = Control::Reload;
        }
        happen(&mut sim, control);
        // Who stops the whole worker stops its producers, too; else there would be a backlog indeed.
        let serves = |unit: &crate::host::Unit| unit.name.as_str().starts_with("task@") && unit.want == Want::Run;
        sim.broker.arrivals = if sim.host.units.values().any(serves) { arrivals } else { 0 };
        sim.ship_signals();
    }
    sim
}

#[test]
fn controls() {
    let seeds = crate::number("SIM_CONTROLS").unwrap_or(SEEDS);
    let from = crate::number("SIM_FROM").unwrap_or(1);
    for seed in from..from + seeds {
        let sim = run(seed);
        if let Some(failure) = &sim.failure {
            sim.transcript.lines().for_each(|line| println!("{line}"));
            panic!("control {seed}: {}: {}", failure.checker, failure.text);
        }
        if sim.orders + sim.incidents > 0 {
            sim.transcript.lines().for_each(|line| println!("{line}"));
            let (orders, incidents) = (sim.orders, sim.incidents);
            panic!("control {seed}: {orders} orders and {incidents} incidents on a host that is well");
        }
    }
}
