//! The simulator: the engine in virtual time against a model of a host, its people and its troubles.
//!
//! `SIM_SEEDS=n` runs n seeds; `SIM_SEED=n` runs one and prints its whole time line.

mod checkers;
mod controls;
mod driver;
mod faults;
mod host;
mod operator;
mod replaying;
mod rng;
mod scenarios;
mod scene;
mod transcript;
mod work;

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use unitmedic::adapters::store::recorder::Recorder;

use driver::{Event, Sim};
use faults::{Step, Swarm};
use host::SEC;
use rng::Rng;

/// Seeds of a plain test run.
const SEEDS: u64 = 400;
/// They share the cores, and end together.
const SEEDS_TOGETHER: usize = 32;
const TROUBLE: u64 = 3600 * SEC;
/// After this all must be well: the longest pause between two attempts is an hour.
const PEACE: u64 = 7800 * SEC;
const SHUTDOWN: u64 = 120 * SEC;
const LINES_SHOWN: usize = 60;

fn run(seed: u64, keep: usize) -> Sim {
    run_recorded(seed, keep, None)
}

/// Takes the run down in a ring of its own where there is a directory for it.
fn run_recorded(seed: u64, keep: usize, state_dir: Option<&Path>) -> Sim {
    let mut rng = Rng::new(seed);
    let swarm = Swarm::of_seed(&mut rng);
    let (settings, host) = scene::of_seed(&mut rng);
    let mut sim = Sim::new(seed, settings, swarm, host, keep);
    sim.recorder = state_dir.map(|dir| replaying::recorder(dir, &sim));
    for name in sim.unit_names() {
        if sim.host.units[&name].spec.oneshot {
            sim.after(50 * SEC, Event::Step(Step::Tick(name)));
        }
    }
    sim.ship_signals();
    sim.start_engine();
    sim.after(5 * SEC, Event::Sample);
    sim.after(7 * SEC, Event::Work);
    sim.after(SEC, Event::Step(Step::NextFault));
    sim.after(2 * SEC, Event::Step(Step::NextDoing));
    let end = sim.now + TROUBLE;
    sim.run_until(end);
    if sim.failure.is_none() {
        faults::mend(&mut sim);
        let end = sim.now + PEACE;
        sim.run_until(end);
        sim.finish();
        faults::shut_down(&mut sim);
        let end = sim.now + SHUTDOWN;
        sim.run_until(end);
    }
    sim.recorder.iter().for_each(Recorder::close);
    sim
}

/// The settings with which the run of a seed begins.
fn scene_of(seed: u64) -> unitmedic::model::Settings {
    let mut rng = Rng::new(seed);
    let _ = Swarm::of_seed(&mut rng);
    scene::of_seed(&mut rng).0
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        let sim = run(seed, usize::MAX);
        sim.transcript.lines().for_each(|line| println!("{line}"));
        if let Some(failure) = sim.failure {
            panic!("seed {seed}: {}: {}", failure.checker, failure.text);
        }
        return;
    }
    let from = number("SIM_FROM").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let most = number("SIM_FAILURES").unwrap_or(1);
    let all: Vec<u64> = (from..from + seeds).collect();
    let mut failed = 0;
    let mut lines = 0;
    for ran in all.chunks(SEEDS_TOGETHER).flat_map(run_together) {
        lines += ran.lines;
        let Some(failure) = ran.failure else { continue };
        failed += 1;
        if most == 1 {
            ran.shown.iter().for_each(|line| println!("{line}"));
            println!("replay: SIM_SEED={} cargo test --test sim seeds -- --nocapture", ran.seed);
        }
        println!("seed {}: {failure}", ran.seed);
        if failed >= most {
            break;
        }
    }
    println!("{seeds} seeds, {lines} lines");
    assert_eq!(failed, 0, "the simulator found broken promises");
}

/// What is left of the run of a seed.
struct Ran {
    seed: u64,
    lines: u64,
    shown: Vec<String>,
    failure: Option<String>,
}

/// Runs these seeds on all cores; they come back in their order.
fn run_together(seeds: &[u64]) -> Vec<Ran> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ran = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let sim = run(*seed, LINES_SHOWN);
            let failure = sim.failure.as_ref().map(|failure| format!("{}: {}", failure.checker, failure.text));
            let shown = match failure {
                Some(_) => sim.transcript.lines().cloned().collect(),
                None => Vec::new(),
            };
            ran.push(Ran { seed: *seed, lines: sim.transcript.count, shown, failure });
        }
        ran
    };
    let mut ran: Vec<Ran> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    ran.sort_by_key(|ran| ran.seed);
    ran
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 11, 42] {
        let (first, second) = (run(seed, 1), run(seed, 1));
        assert_eq!(first.transcript.hash, second.transcript.hash, "seed {seed}");
        assert!(first.transcript.count > 100, "seed {seed} does nothing");
    }
}
