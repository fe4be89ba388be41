//! How many inputs a second the engine takes, and how many samples: 1,000 instances, a mix of what a host sends.
//!
//! `cargo bench --bench engine`. Plain timing, the median of several rounds, each with an engine of its own.

#[path = "report/report.rs"]
mod report;

use std::time::{Duration, Instant};

use unitmedic::engine::Engine;
use unitmedic::model::action::Answer;
use unitmedic::model::fact::ResyncReason;
use unitmedic::model::input::{Durability, Memory, Snapshot};
use unitmedic::model::unit::{InvocationId, JobKind, JobResult, ManagerState, ServiceResult};
use unitmedic::model::usage::Pressure;
use unitmedic::model::{
    ActiveState, Command, HostUsage, Input, LoadState, Mono, Now, Selector, Settings, UnitChange, UnitName, Usage,
    Wall, WorkerName, WorkerSettings,
};

use report::{Row, publish};

const INSTANCES: u64 = 1_000;
const WORKERS: u64 = 50;
const ROUNDS: usize = 7;
const CHANGES: u64 = 100_000;
const SAMPLE_ROUNDS: u64 = 100;

fn unit(n: u64) -> UnitName {
    UnitName::new(&format!("w{}-{n}.service", n % WORKERS)).expect("a good name")
}

fn now(us: u64) -> Now {
    Now { mono: Mono(us), wall: Wall(1_700_000_000_000_000 + us as i64) }
}

fn engine() -> Engine {
    let mut settings = Settings::empty();
    for n in 0..WORKERS {
        let name = WorkerName::new(&format!("w{n}")).expect("a good name");
        let worker = WorkerSettings::new(name.clone(), Selector::Glob(format!("w{n}-*.service")));
        settings.workers.insert(name, worker);
    }
    let mut engine = Engine::new(now(1_000_000), settings, Memory { boot: "b".into(), ..Memory::default() }, 7);
    let units = (0..INSTANCES).map(|n| (unit(n), up(n, 1, 1_000_000))).collect();
    let snapshot =
        Snapshot { reason: ResyncReason::Connected, manager: ManagerState::Running, startup_finished: Mono(1), units };
    engine.handle(now(1_000_000), Input::Snapshot(snapshot));
    drain(&mut engine);
    engine
}

fn up(n: u64, activation: u64, at: u64) -> UnitChange {
    UnitChange {
        load: Some(LoadState::Loaded),
        active: Some(ActiveState::Active),
        sub: Some("running".into()),
        result: Some(ServiceResult::Success),
        main_pid: Some(100 + n as u32),
        exec_code: Some(0),
        invocation: Some(InvocationId(u128::from(n) << 64 | u128::from(activation))),
        active_enter: Some(Mono(at)),
        state_changed: Some(Mono(at)),
        ..UnitChange::default()
    }
}

fn down(at: u64) -> UnitChange {
    UnitChange {
        active: Some(ActiveState::Failed),
        sub: Some("failed".into()),
        result: Some(ServiceResult::Signal),
        main_pid: Some(0),
        exec_code: Some(2),
        exec_status: Some(9),
        inactive_enter: Some(Mono(at)),
        state_changed: Some(Mono(at)),
        ..UnitChange::default()
    }
}

fn drain(engine: &mut Engine) -> Vec<Command> {
    std::iter::from_fn(|| engine.poll_command()).collect()
}

/// Three healthy changes to one failure with its whole recovery.
fn changes() -> (u64, Duration) {
    let mut engine = engine();
    let (mut inputs, mut us) = (0, 2_000_000);
    let begun = Instant::now();
    while inputs < CHANGES {
        us += 500;
        while engine.poll_timeout().is_some_and(|(at, _)| at.0 <= us) {
            engine.handle_timeout(now(us));
            drain(&mut engine);
        }
        let n = us / 500 * 7 % INSTANCES;
        if (us / 500).is_multiple_of(4) {
            inputs += failure(&mut engine, n, us);
        } else {
            let change = UnitChange { main_pid: Some(us as u32 | 1), ..UnitChange::default() };
            engine.handle(now(us), Input::Unit { unit: unit(n), change: Box::new(change) });
            drain(&mut engine);
            inputs += 1;
        }
    }
    (inputs, begun.elapsed())
}

fn failure(engine: &mut Engine, n: u64, us: u64) -> u64 {
    let mut inputs = vec![Input::Unit { unit: unit(n), change: Box::new(down(us)) }];
    let mut handled = 0;
    while let Some(input) = inputs.pop() {
        engine.handle(now(us), input);
        handled += 1;
        for command in drain(engine) {
            match command {
                Command::Record(intent) => {
                    inputs.push(Input::Recorded { attempt: intent.attempt, how: Durability::Stored });
                }
                Command::Act(order) => {
                    let job = us as u32;
                    let change = up(n, us, us + 10);
                    inputs.push(Input::Acted {
                        attempt: order.attempt,
                        answer: Answer::Accepted { job: Some(job), did: None },
                    });
                    inputs.push(Input::JobRemoved { unit: unit(n), job, result: JobResult::Done });
                    inputs.push(Input::Unit { unit: unit(n), change: Box::new(change) });
                    inputs.push(Input::JobKind { unit: unit(n), job, kind: JobKind::Start });
                    inputs.push(Input::JobNew { unit: unit(n), job });
                }
                _ => {}
            }
        }
    }
    handled
}

/// One input bears the samples of all instances; one instance in ten is over its thresholds.
fn samples() -> (u64, Duration) {
    let mut engine = engine();
    let host = Some(HostUsage { memory_total_bytes: 64 << 30, memory_available_bytes: 32 << 30, cpus: 8, load1: 1.0 });
    let mut spent = Duration::ZERO;
    for round in 1..=SAMPLE_ROUNDS {
        let at = 1_000_000 + round * 10_000_000;
        let samples: Vec<Usage> = (0..INSTANCES).map(|n| sample(n, round, at)).collect();
        let begun = Instant::now();
        engine.handle(now(at), Input::Usage { samples, host });
        drain(&mut engine);
        spent += begun.elapsed();
    }
    (SAMPLE_ROUNDS * INSTANCES, spent)
}

fn sample(n: u64, round: u64, at: u64) -> Usage {
    let busy = n.is_multiple_of(10);
    let mut usage = Usage::gap(unit(n), Mono(at));
    usage.cpu_usec = Some(round * if busy { 9_500_000 } else { 1_000_000 });
    usage.memory_bytes = Some(if busy { 950 << 20 } else { 200 << 20 });
    usage.memory_max_bytes = Some(1 << 30);
    usage.cpu_pressure = Some(Pressure { avg10: if busy { 60.0 } else { 1.0 }, total_usec: 0 });
    usage
}

fn median(of: fn() -> (u64, Duration)) -> (f64, Duration) {
    let mut rounds: Vec<(u64, Duration)> = (0..ROUNDS).map(|_| of()).collect();
    rounds.sort_by_key(|(_, spent)| *spent);
    let (count, spent) = rounds[ROUNDS / 2];
    (count as f64 / spent.as_secs_f64(), spent / count as u32)
}

fn main() {
    let (rate, each) = median(changes);
    let asked = 500_000.0;
    let row = Row::new("engine, unit changes and recoveries", format!("{rate:.0} inputs/s"));
    let row = Row { ratio: Some(rate / asked), ..row.asked("> 500,000 inputs/s", rate > asked) };
    println!("unit changes and recoveries: {rate:>10.0} inputs/s   {each:?} each");
    let (rate, each) = median(samples);
    println!("usage samples:               {rate:>10.0} samples/s  {each:?} each");
    let per_input = each * INSTANCES as u32;
    println!(
        "usage inputs of {INSTANCES}:        {:>10.1} inputs/s   {per_input:?} each",
        1.0 / per_input.as_secs_f64()
    );
    let samples = Row::new("engine, samples", format!("{rate:.0} samples/s, 1,000 in {per_input:.0?}"));
    publish(&[row, samples]);
}
