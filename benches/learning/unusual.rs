//! Unusual behaviour on generated traces: silence on what is usual, and a warning while something persistent goes on.
//!
//! A trace is a worker of 1 to 9 instances for 3 days, sampled every 30 s. What is usual is made of day and week, noise, surges
//! that all share, bursts, jobs (on one instance or on all, at random or at an hour), garbage collection, deploys that change
//! how much is used, crashes, uneven siblings, and one that leads while the others stand by. An anomaly is one of five kinds on
//! one instance, from 2 to 12 hours before the end of the trace until its end: a thread that spins, memory two to five times
//! what it was, a standstill, a flood of IO, errors.

use std::time::{Duration, Instant};

use unitmedic::learn::unusual::{Common, Habits, Reading};
use unitmedic::model::{Measure, Mono};

use crate::report::{Row, median};
use crate::rng::Rng;

const TRACES: u64 = 1_000;
/// Of the reported traces; those used while developing have others (`UNUSUAL_SEED`).
const FIRST_SEED: u64 = 340_000_000;
const SECONDS: u64 = 3 * 86_400;
const EVERY: u64 = 30;
const AFTER: Duration = Duration::from_secs(900);
const MIB: f64 = 1_048_576.0;
const HOUR: u64 = 3_600;

/// Like the logarithm of a normal one, with a heavier tail.
fn noise(rng: &mut Rng, sigma: f64) -> f64 {
    let tail = if rng.chance(0.02) { 2.5 } else { 1.0 };
    (sigma * tail * rng.bell()).exp()
}

/// A stretch of time in which something more is done.
#[derive(Clone, Copy)]
struct Stretch {
    from: u64,
    until: u64,
    much: f64,
}

impl Stretch {
    fn on(all: &[Stretch], at: u64) -> f64 {
        all.iter().filter(|one| (one.from..one.until).contains(&at)).map(|one| one.much).sum()
    }
}

/// Stretches that come by chance, so many seconds apart on average.
fn by_chance(rng: &mut Rng, apart: f64, lasts: f64, sigma: f64, low: f64, high: f64) -> Vec<Stretch> {
    let (mut all, mut at) = (Vec::new(), 0.0);
    loop {
        at += -apart * rng.next().max(1e-9).ln();
        if at > SECONDS as f64 || all.len() > 500 {
            return all;
        }
        let long = (lasts * (sigma * rng.bell()).exp()).min(2.0 * HOUR as f64);
        all.push(Stretch { from: at as u64, until: (at + long) as u64, much: rng.between(low, high) });
        at += long;
    }
}

/// Every day at the same hour.
fn daily(rng: &mut Rng, lasts: f64, much: f64) -> Vec<Stretch> {
    let hour = rng.next() * 86_400.0;
    let one = |day: f64, rng: &mut Rng| {
        let from = (day * 86_400.0 + hour + rng.between(0.0, 600.0)) as u64;
        Stretch { from, until: from + (lasts * rng.between(0.8, 1.3)) as u64, much }
    };
    [0.0, 1.0, 2.0].map(|day| one(day, rng)).to_vec()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Spin,
    Memory,
    Standstill,
    Flood,
    Errors,
}

const KINDS: [Kind; 5] = [Kind::Spin, Kind::Memory, Kind::Standstill, Kind::Flood, Kind::Errors];

struct Anomaly {
    kind: Kind,
    instance: usize,
    from: u64,
    until: u64,
    much: f64,
}

/// What all instances of a worker have in common.
struct Worker {
    day: f64,
    phase: f64,
    weekend: f64,
    weekday: u64,
    wobble: f64,
    surges: Vec<Stretch>,
    cpu: f64,
    cpu_noise: f64,
    memory: f64,
    tasks: f64,
    io: f64,
    io_noise: f64,
    errors: f64,
    collects: f64,
    leads: bool,
}

struct Instance {
    /// Against the others.
    part: f64,
    bursts: Vec<Stretch>,
    jobs: Vec<Stretch>,
    failing: Vec<Stretch>,
    /// When it was started, with what is used of memory, CPU and IO from then on.
    starts: Vec<(u64, [f64; 3])>,
    crashes: Vec<u64>,
    /// Of the instance, slowly changing.
    drift: f64,
    collected: f64,
    recent: [f64; 20],
}

struct Trace {
    rng: Rng,
    worker: Worker,
    instances: Vec<Instance>,
    anomaly: Option<Anomaly>,
}

impl Worker {
    fn new(rng: &mut Rng, count: usize) -> Self {
        Worker {
            day: if rng.chance(0.7) { rng.between(0.2, 0.9) } else { 0.0 },
            phase: rng.next() * 86_400.0,
            weekend: rng.between(0.3, 1.0),
            weekday: (rng.next() * 7.0) as u64,
            wobble: rng.between(0.02, 0.2),
            surges: by_chance(rng, 20.0 * HOUR as f64, 2_400.0, 0.6, 0.3, 2.0),
            cpu: rng.scale(3.0, 30.0),
            cpu_noise: rng.between(0.05, 0.5),
            memory: rng.scale(60.0, 4_000.0) * MIB,
            tasks: rng.scale(3.0, 120.0),
            io: rng.scale(0.05, 20.0) * MIB,
            io_noise: rng.between(0.1, 1.0),
            errors: if rng.chance(0.5) { rng.scale(0.01, 2.0) } else { 0.0 },
            collects: if rng.chance(0.5) { rng.between(0.1, 0.6) } else { 0.0 },
            leads: rng.chance(0.1) && count > 1,
        }
    }

    fn load(&self, at: u64) -> f64 {
        let turn = (at as f64 + self.phase) / 86_400.0 * std::f64::consts::TAU;
        let weekend = (at / 86_400 + self.weekday) % 7 >= 5;
        let week = if weekend { self.weekend } else { 1.0 };
        (1.0 + self.day * turn.sin()) * week * (1.0 + Stretch::on(&self.surges, at))
    }
}

impl Trace {
    fn new(seed: u64, ill: bool) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(ill));
        let count = 1 + (rng.next() * 9.0) as usize;
        let worker = Worker::new(&mut rng, count);
        let uneven = rng.chance(0.5);
        let bursts = rng.chance(0.6).then(|| (rng.scale(0.5, 6.0) * HOUR as f64, rng.between(60.0, 400.0)));
        let jobs = rng.chance(0.4).then(|| (rng.scale(2.0, 8.0) * HOUR as f64, rng.between(20.0, 95.0)));
        let at_an_hour = rng.chance(0.3).then(|| daily(&mut rng, 2_700.0, 60.0));
        let deploys: Vec<(u64, [f64; 3])> = (0..if rng.chance(0.5) { 2 } else { 0 })
            .map(|_| ((rng.next() * SECONDS as f64) as u64, [0; 3].map(|_| rng.scale(0.6, 1.7))))
            .collect();
        let step = rng.between(20.0, 600.0);
        let instances = (0..count).map(|number| {
            let mut jobs = jobs
                .map(|(apart, much)| by_chance(&mut rng, apart, 1_200.0, 0.7, much, much * 1.1))
                .unwrap_or_default();
            jobs.extend(at_an_hour.iter().flatten().filter(|_| uneven || number == 0));
            let crashes = if rng.chance(0.1) { vec![(rng.next() * SECONDS as f64) as u64] } else { Vec::new() };
            let mut starts: Vec<(u64, [f64; 3])> =
                deploys.iter().map(|(at, much)| (at + (number as f64 * step) as u64, *much)).collect();
            starts.sort_by_key(|one| one.0);
            Instance {
                part: if uneven { rng.scale(0.5, 2.0) } else { rng.between(0.9, 1.1) },
                bursts: bursts
                    .map(|(apart, lasts)| by_chance(&mut rng, apart, lasts, 0.5, 1.0, 6.0))
                    .unwrap_or_default(),
                jobs,
                failing: by_chance(&mut rng, 18.0 * HOUR as f64, 200.0, 0.6, 1.0, 10.0),
                starts,
                crashes,
                drift: 0.0,
                collected: 0.0,
                recent: [0.0; 20],
            }
        });
        let instances: Vec<Instance> = instances.collect();
        let anomaly = ill.then(|| anomaly(&mut rng, count, worker.leads));
        Trace { rng, worker, instances, anomaly }
    }

    /// A sample of one instance; the second is whether it has just been started.
    fn sample(&mut self, number: usize, at: u64) -> (Reading, bool) {
        let (worker, rng) = (&self.worker, &mut self.rng);
        let one = &mut self.instances[number];
        let just = |moment: u64| (at..at + EVERY).contains(&moment);
        let started =
            one.starts.iter().any(|(moment, _)| just(*moment)) || one.crashes.iter().any(|moment| just(*moment));
        let version = one.starts.iter().rev().find(|(moment, _)| *moment <= at).map_or([1.0; 3], |one| one.1);
        let since =
            one.starts.iter().map(|one| one.0).chain(one.crashes.iter().copied()).filter(|from| *from <= at).max();
        let age = since.map_or(1e9, |from| (at - from) as f64);
        // The one that leads changes once.
        let leader = if at < 40 * HOUR { 0 } else { 1 };
        let idle = if worker.leads && number != leader { 0.05 } else { 1.0 };
        let load = worker.load(at) * one.part * idle;
        one.drift = one.drift * 0.995 + worker.wobble * 0.1 * rng.bell();
        let busy = load * one.drift.exp() * (1.0 + Stretch::on(&one.bursts, at));
        let job = Stretch::on(&one.jobs, at);
        let cpu = (worker.cpu * version[1] * busy * noise(rng, worker.cpu_noise) + job).min(400.0);
        one.collected = (one.collected + rng.between(0.0, 0.02) * (0.2 + load)) % 1.0;
        let warm = 1.0 - 0.5 * (-age / 3_000.0).exp();
        let memory = worker.memory
            * version[0]
            * warm
            * (0.8 + 0.2 * one.part)
            * (1.0 + 0.1 * load.min(3.0) + worker.collects * one.collected + 0.003 * job + 0.01 * rng.bell());
        let tasks = (worker.tasks * (1.0 + 0.2 * busy.min(4.0)) + job / 20.0 + rng.bell()).max(1.0).round();
        let io = worker.io * version[2] * busy * noise(rng, worker.io_noise) * (1.0 + job / 10.0);
        let rate = worker.errors * load + Stretch::on(&one.failing, at) * f64::from(worker.errors > 0.0);
        let poisson = |rng: &mut Rng, mean: f64| {
            let (mut count, mut left) = (0.0, (-mean).exp());
            let mut drawn = rng.next();
            let mut sum = left;
            while drawn > sum && count < 200.0 {
                count += 1.0;
                left *= mean / count;
                sum += left;
                drawn = drawn.min(1.0 - 1e-12);
            }
            count
        };
        let (mut cpu, mut memory, mut io, mut errors) = (cpu, memory, io, poisson(rng, rate / 2.0));
        if let Some(anomaly) =
            self.anomaly.as_ref().filter(|one| one.instance == number && (one.from..one.until).contains(&at))
        {
            let (grown, much) = (((at - anomaly.from) as f64 / 600.0).min(1.0), anomaly.much);
            match anomaly.kind {
                Kind::Spin => cpu += 100.0 * rng.between(0.95, 1.0),
                Kind::Memory => memory *= 1.0 + grown * (1.0 + 3.0 * much),
                Kind::Standstill => (cpu, io, errors) = (0.1 * rng.next(), 0.0, 0.0),
                Kind::Flood => io += (20.0 * MIB).max(worker.io * (30.0 + 170.0 * much)) * rng.between(0.7, 1.3),
                Kind::Errors => errors += poisson(rng, (10.0 + 90.0 * much) / 2.0),
            }
        }
        one.recent[(at / EVERY) as usize % 20] = errors;
        let reading = Reading::default()
            .with(Measure::Cpu, Some(cpu).filter(|_| !started))
            .with(Measure::Memory, Some(memory))
            .with(Measure::Tasks, Some(tasks))
            .with(Measure::Io, Some(io).filter(|_| !started))
            .with(Measure::Errors, Some(one.recent.iter().sum::<f64>() / 10.0));
        (reading, started)
    }
}

fn anomaly(rng: &mut Rng, count: usize, leads: bool) -> Anomaly {
    // It does not end by itself.
    let until = SECONDS as f64;
    let from = until - rng.between(2.0, 12.0) * HOUR as f64;
    let kind = KINDS[(rng.next() * 5.0) as usize];
    let mut instance = (rng.next() * count as f64) as usize;
    if leads && kind == Kind::Standstill {
        // Those that stand by are at a standstill anyway.
        instance = if from < 40.0 * HOUR as f64 { 0 } else { 1.min(count - 1) };
    }
    Anomaly { kind, instance, from: from as u64, until: until as u64, much: rng.next() }
}

#[derive(Default)]
struct Found {
    /// Warnings outside of the anomaly: when, which instance, in words.
    alarms: Vec<String>,
    /// From the beginning of the anomaly to the warning, seconds.
    delay: Option<f64>,
}

fn run(trace: &mut Trace) -> Found {
    let mut all = vec![Habits::default(); trace.instances.len()];
    let mut found = Found::default();
    for at in (0..SECONDS).step_by(EVERY as usize) {
        let moment = Mono((at + 1_000_000) * 1_000_000);
        let mut over = None;
        for (number, habits) in all.iter_mut().enumerate() {
            let (reading, started) = trace.sample(number, at);
            if started {
                habits.begin(moment);
            }
            over = habits.take(moment, &reading, true).or(over);
        }
        let Some(block) = over else { continue };
        let common = Common::of(block, all.iter());
        for number in 0..all.len() {
            let mut one = std::mem::take(&mut all[number]);
            let siblings: Vec<&Habits> =
                all.iter().enumerate().filter(|(n, _)| *n != number).map(|(_, one)| one).collect();
            one.judge(&common, &siblings);
            let lasting = one.lasting(AFTER, moment, &siblings);
            if let Some(first) = lasting.first() {
                let ill = trace
                    .anomaly
                    .as_ref()
                    .filter(|ill| ill.instance == number && (ill.from..ill.until + 900).contains(&at));
                match ill {
                    Some(ill) if at < ill.until => _ = found.delay.get_or_insert((at - ill.from) as f64),
                    Some(_) => {}
                    None => found.alarms.push(format!("{:.1} h, {number}: {}", at as f64 / 3600.0, first.text(moment))),
                }
            }
            all[number] = one;
        }
    }
    found
}

#[derive(Default)]
struct Figures {
    alarmed: u64,
    seen: [u64; 5],
    had: [u64; 5],
    delays: Vec<f64>,
    /// Traces with an anomaly in which something else was warned of, too.
    beside: u64,
}

fn judge(first: u64, traces: u64, show: bool) -> Figures {
    let mut figures = Figures::default();
    for seed in first..first + traces {
        let mut usual = Trace::new(seed, false);
        let found = run(&mut usual);
        figures.alarmed += u64::from(!found.alarms.is_empty());
        if let Some(alarm) = found.alarms.first().filter(|_| show) {
            println!("{seed}: {} instances, {} blocks: {alarm}", usual.instances.len(), found.alarms.len());
        }
        let mut ill = Trace::new(seed, true);
        let found = run(&mut ill);
        let anomaly = ill.anomaly.as_ref().expect("an ill one");
        let kind = KINDS.iter().position(|kind| *kind == anomaly.kind).expect("one of them");
        figures.had[kind] += 1;
        figures.seen[kind] += u64::from(found.delay.is_some());
        figures.delays.extend(found.delay);
        figures.beside += u64::from(!found.alarms.is_empty());
        if show && found.delay.is_none() {
            let Worker { cpu, io, day, leads, .. } = ill.worker;
            let (count, lasts) = (ill.instances.len(), (anomaly.until - anomaly.from) as f64 / 3600.0);
            println!(
                "{seed} ill: {:?} not seen, {count} instances, {lasts:.1} h, cpu {cpu:.0} io {:.2} day {day:.1} jobs {} leads {leads} from {:.1} of {}",
                anomaly.kind,
                io / MIB,
                ill.instances[anomaly.instance].jobs.len(),
                anomaly.from as f64 / 3600.0,
                anomaly.instance
            );
        }
    }
    figures
}

/// Takes in a round of samples of all, and judges when a block is over.
fn round(all: &mut [Habits], at: Mono, sample: impl Fn(usize) -> Reading) {
    let over = all.iter_mut().enumerate().fold(None, |over, (n, one)| one.take(at, &sample(n), true).or(over));
    let Some(block) = over else { return };
    let common = Common::of(block, all.iter());
    for number in 0..all.len() {
        let mut one = std::mem::take(&mut all[number]);
        let siblings: Vec<&Habits> = all.iter().enumerate().filter(|(n, _)| *n != number).map(|(_, one)| one).collect();
        one.judge(&common, &siblings);
        std::hint::black_box(one.lasting(AFTER, at, &siblings));
        all[number] = one;
    }
}

/// Time for each sample with all measures, judging included, and bytes of an instance that has been known for 11 days.
fn cost() -> (Duration, usize) {
    const INSTANCES: usize = 8;
    let reading = |n: usize, turn: u64| {
        let value = |measure: usize| 10.0 + ((turn * 7 + n as u64 * 3 + measure as u64 * 5) % 11) as f64;
        let known = |reading: Reading, measure: &Measure| reading.with(*measure, Some(value(*measure as usize)));
        Measure::ALL.iter().fold(Reading::default(), known)
    };
    let mut all = vec![Habits::default(); INSTANCES];
    let turns = 11 * 86_400 / EVERY;
    let begun = Instant::now();
    for turn in 0..turns {
        round(&mut all, Mono((turn + 1) * EVERY * 1_000_000), |n| reading(n, turn));
    }
    let each = begun.elapsed() / (turns as u32 * INSTANCES as u32);
    (each, all.iter().map(|one| size_of::<Habits>() + one.heap_bytes()).max().unwrap_or(0))
}

pub fn measure() -> Vec<Row> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seed, traces) = (number("UNUSUAL_SEED"), number("UNUSUAL_TRACES").unwrap_or(TRACES));
    let figures = judge(seed.unwrap_or(FIRST_SEED), traces, seed.is_some());
    let (seen, had) = (figures.seen.iter().sum::<u64>(), figures.had.iter().sum::<u64>());
    let by_kind: Vec<String> = KINDS
        .iter()
        .zip(figures.seen.iter().zip(figures.had))
        .map(|(kind, (seen, had))| format!("{kind:?} {seen}/{had}"))
        .collect();
    let share = seen as f64 / had as f64;
    let (each, bytes) = cost();
    vec![
        Row::new("unusual: normal traces with a warning", format!("{} of {traces}", figures.alarmed))
            .asked("0", figures.alarmed == 0),
        Row::new("unusual: anomalies seen while they last", format!("{:.1} % ({})", share * 100.0, by_kind.join(", ")))
            .asked(">= 90 %", share >= 0.9),
        Row::new("unusual: median time until the warning", format!("{:.0} min", median(&figures.delays) / 60.0)),
        Row::new(
            "unusual: traces with an anomaly and a warning of something else",
            format!("{} of {traces}", figures.beside),
        ),
        Row::new("unusual: a sample of an instance with all measures", format!("{:.2} us", each.as_secs_f64() * 1e6))
            .asked("< 2 us", each < Duration::from_micros(2)),
        Row::new("unusual: 1,000 instances with all measures", format!("{:.1} MB", bytes as f64 / 1e3))
            .asked("< 10 MB", bytes < 10_000),
    ]
}
