//! How long an intent takes to become durable, and what it costs to record inputs.
//!
//! `cargo bench --bench store [-- DIR]`; DIR is where the state goes, by default a temporary directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use unitmedic::adapters::clock;
use unitmedic::adapters::store::recorder::{Header, Recorder};
use unitmedic::adapters::store::{Clock, Store};
use unitmedic::model::action::Intent;
use unitmedic::model::fact::Cause;
use unitmedic::model::history::Filter;
use unitmedic::model::input::{Durability, Wake};
use unitmedic::model::settings::DaemonSettings;
use unitmedic::model::usage::{Pressure, Usage};
use unitmedic::model::{
    Action, AttemptId, Fact, Health, Incident, IncidentId, Input, Settings, UnitName, What, WorkerName,
};

const INTENTS: u64 = 5000;
const FACTS_BEHIND: u64 = 3000;
const STORM: u64 = 400;
const INSTANCES: u64 = 1000;
const ROUNDS: u64 = 50;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = given.as_deref().map_or(temporary.path(), Path::new);
    let settings =
        DaemonSettings { state_dir: dir.join("state"), runtime_dir: dir.join("run"), ..DaemonSettings::default() };
    println!("state in {}", dir.display());
    intents(&settings);
    recording(&settings);
}

fn intents(settings: &DaemonSettings) {
    let clock: Clock = Arc::new(clock::now);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = Store::open(settings, "bench", clock);
    let store = opened.store;
    let first = opened.memory.next_incident;
    let alone = (0..INTENTS).map(|n| record(&store, first + n)).collect();
    table("intent, nothing else to write", alone);
    let busy = (0..INTENTS)
        .map(|n| {
            // Fresh work behind every intent, so that it always finds the thread in the middle of something.
            (0..4).for_each(|k| store.tell(fact(n * 4 + k)));
            store.save(Box::new(incident(first + INTENTS + n)));
            record(&store, first + INTENTS + n)
        })
        .collect();
    table("intent, 4 facts and an incident before each", busy);
    (0..FACTS_BEHIND).for_each(|n| store.tell(fact(n)));
    table("intent, behind a backlog of 3,000 facts", vec![record(&store, first + 2 * INTENTS)]);
    storm(&store, first + 3 * INTENTS);
    let began = Instant::now();
    let found = runtime.block_on(store.incidents(Filter { limit: Some(50), ..Filter::default() }));
    println!("{:<48} {:>9.1?}", format!("50 newest of {INTENTS} incidents"), began.elapsed());
    assert!(found.is_ok_and(|found| found.len() == 50));
    println!("{:?}", store.stats());
    runtime.block_on(store.close());
}

/// All at once, as when 400 workers are killed; the time until the last is durable.
fn storm(store: &Store, first: u64) {
    let (reply, answers) = mpsc::channel();
    let began = Instant::now();
    for n in 0..STORM {
        let reply = reply.clone();
        store.record(intent(first + n), move |how| drop(reply.send((how, began.elapsed()))));
    }
    let mut times = Vec::new();
    for (how, at) in answers.iter().take(STORM as usize) {
        assert_eq!(how, Durability::Stored);
        times.push(at);
    }
    table("400 intents at once, each from the first's asking", times);
}

fn record(store: &Store, id: u64) -> Duration {
    let (reply, answer) = mpsc::sync_channel(1);
    let began = Instant::now();
    store.record(intent(id), move |how| drop(reply.send((how, began.elapsed()))));
    let (how, took) = answer.recv().expect("an answer");
    assert_eq!(how, Durability::Stored);
    took
}

fn recording(settings: &DaemonSettings) {
    let header = Header::new("bench", clock::now(), Settings::empty(), serde_json::Value::Null);
    let recorder = Recorder::open(settings, header);
    let input = Input::Usage { samples: (0..INSTANCES).map(sample).collect(), host: None };
    let cpu = cpu_time();
    let mut called = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        recorder.record(clock::now(), &input);
        called.push(began.elapsed());
        // Another round comes only when the disk has this one, as it would after ten seconds.
        std::thread::sleep(Duration::from_millis(20));
    }
    recorder.close();
    let spent = (cpu_time() - cpu) / ROUNDS as u32;
    let bytes = serde_json::to_vec(&input).map_or(0, |bytes| bytes.len());
    table("1,000 samples recorded, on the caller's thread", called);
    println!("{:<48} {spent:>9.1?}   {} KB a round", "the same, CPU of all threads", bytes / 1000);
    println!("{:?}", recorder.stats());
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn table(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what:<48} {:>9.1?} median {:>9.1?} p99 {:>9.1?} max", at(0.5), at(0.99), at(1.0));
}

fn unit(n: u64) -> UnitName {
    UnitName::new(&format!("mail@{n}.service")).expect("a name")
}

fn intent(id: u64) -> Intent {
    let incident = IncidentId(id);
    let attempt = AttemptId { incident, number: 1 };
    Intent { attempt, incident, unit: unit(id), action: Action::Restart, at: clock::now().wall }
}

fn fact(seq: u64) -> Fact {
    Fact {
        seq,
        at: clock::now(),
        cause: Cause::Timer(Wake::Proceed),
        worker: WorkerName::new("mail").ok(),
        unit: Some(unit(seq)),
        incident: Some(IncidentId(seq)),
        what: What::HealthChanged { from: Health::Healthy, to: Health::Dead, because: "killed by signal 9".into() },
    }
}

fn incident(id: u64) -> Incident {
    let now = clock::now();
    Incident {
        id: IncidentId(id),
        worker: WorkerName::new("mail").expect("a name"),
        unit: unit(id),
        origin: unitmedic::model::incident::Origin::Condition { condition: unitmedic::model::Condition::Dead },
        conditions: BTreeMap::new(),
        worst: Health::Dead,
        boot: "bench".into(),
        failed_at: now.mono,
        failed_wall: now.wall,
        opened_at: now.mono,
        opened_wall: now.wall,
        closed_at: None,
        closed_wall: None,
        resolution: None,
        time_to_recover: None,
        plan: Default::default(),
        attempts: Vec::new(),
        attempts_used: 0,
        escalations: 0,
        given_up: false,
        not_before: None,
        reopened: 0,
        waiting: None,
        action_was_allowed: false,
        idle_actions: Vec::new(),
        rejected: Vec::new(),
        approval: None,
        helped_by: None,
        pattern: None,
        similar: Vec::new(),
        peaks: BTreeMap::new(),
        unusual: Vec::new(),
    }
}

fn sample(n: u64) -> Usage {
    let pressure = Some(Pressure { avg10: 1.25, total_usec: 123_456_789 + n });
    Usage {
        cpu_usec: Some(98_765_432 + n),
        memory_bytes: Some(123_456_789 + n),
        memory_inactive_file_bytes: Some(12_345_678),
        tasks: Some(17),
        io_read_bytes: Some(987_654_321),
        io_written_bytes: Some(987_654_321),
        cpu_pressure: pressure,
        memory_pressure: pressure,
        io_pressure: pressure,
        oom_kills: Some(0),
        ..Usage::gap(unit(n), clock::now().mono)
    }
}
