//! What learning from a line costs: the journal's side is in `benches/host`; here the learning itself, with the statistics of its
//! pattern, and what the event loop has to do for it.

use std::time::Duration;

use unitmedic::engine::Engine;
use unitmedic::learn::book::{Book, Moment, Sighting};
use unitmedic::learn::patterns::{Limits, Miner};
use unitmedic::model::input::{Memory, Snapshot, SnapshotReason};
use unitmedic::model::unit::ManagerState;
use unitmedic::model::{
    ActiveState, Input, LoadState, Mono, Now, PatternId, PatternSeen, Selector, Settings, UnitChange, UnitName, Wall,
    WorkerName, WorkerSettings,
};

use crate::patterns::{processor_time, some_lines};
use crate::report::{Row, median};

const ROUNDS: usize = 5;
const LINES: usize = 200_000;
/// Lines of one turn of the learning, and instances that write them.
const TURN: usize = 250;
const UNITS: usize = 10;

pub fn measure() -> Vec<Row> {
    vec![learning(), event_loop()]
}

fn unit(number: usize) -> UnitName {
    UnitName::new(&format!("mail@{number}.service")).expect("a name")
}

fn worker() -> WorkerName {
    WorkerName::new("mail").expect("a name")
}

fn now(turn: usize) -> Now {
    Now { mono: Mono(3_600_000_000 + turn as u64 * 250_000), wall: Wall(1_795_392_000_000_000 + turn as i64 * 250_000) }
}

/// Miner and book, turn by turn.
fn learning() -> Row {
    let lines = some_lines();
    let (worker, units): (WorkerName, Vec<UnitName>) = (worker(), (0..UNITS).map(unit).collect());
    let rate = || {
        let (mut miner, mut book) = (Miner::new(Limits { shapes: 10_000, lines: 20_000 }), Book::default());
        let begun = processor_time();
        let mut all = lines.iter().cycle();
        for turn in 0..LINES / TURN {
            let learned: Vec<_> = all.by_ref().take(TURN).map(|line| miner.learn(line)).collect();
            miner.settle_new();
            miner.take_merged().into_iter().for_each(|(old, new)| book.merge(old, new));
            let now = now(turn);
            let moment = Moment { now, hour: (turn / 4_000 % 24) as u8, day: 0, date: 0 };
            for (nth, line) in learned.into_iter().enumerate() {
                let Some(id) = miner.pattern_of(line) else { continue };
                let (unit, first, last) = (&units[nth % UNITS], now.mono, now.mono);
                book.note(&Sighting { id, worker: &worker, unit, first, last, count: 1 }, &moment);
            }
        }
        LINES as f64 / (processor_time() - begun).as_secs_f64()
    };
    let rate = median(&(0..ROUNDS).map(|_| rate()).collect::<Vec<f64>>());
    let text = format!("{rate:.0} ({:.2} us each)", 1e6 / rate);
    Row::new("patterns: lines per second on one core, with the statistics of their patterns", text)
        .asked("> 500,000", rate > 500_000.0)
}

/// Each line is another pattern of its unit, which is more than the learning hands over; with the record of the input.
fn event_loop() -> Row {
    let mut settings = Settings::empty();
    let worker = WorkerSettings::new(worker(), Selector::Template("mail".into()));
    settings.workers.insert(worker.name.clone(), worker);
    let mut engine = Engine::new(now(0), settings, Memory::default(), 1);
    let up = UnitChange { load: Some(LoadState::Loaded), active: Some(ActiveState::Active), ..UnitChange::default() };
    let units = (0..UNITS).map(|number| (unit(number), up.clone())).collect();
    let (reason, manager) = (SnapshotReason::Connected, ManagerState::Running);
    let snapshot = Snapshot { reason, manager, startup_finished: Mono(1), units };
    engine.handle(now(0), Input::Snapshot(snapshot));
    let drain = |engine: &mut Engine| while engine.poll_command().is_some() {};
    drain(&mut engine);
    let mut recorded = 0;
    let cost = |round: usize, engine: &mut Engine, recorded: &mut usize| {
        let mut spent = Duration::ZERO;
        let turns = 200;
        for turn in 0..turns {
            let now = now(round * turns + turn);
            let seen = |number: usize| PatternSeen {
                unit: unit(number % UNITS),
                pattern: PatternId((turn * TURN + number) as u64),
                template: "Received disconnect from <*>: Bye Bye [preauth]".into(),
                at: now.mono,
                count: 1,
                usual: 0.01,
                warns: None,
            };
            let input = Input::Patterns { seen: (0..TURN).map(seen).collect() };
            let begun = processor_time();
            *recorded += serde_json::to_string(&input).map_or(0, |text| text.len());
            engine.handle(now, input);
            drain(engine);
            spent += processor_time() - begun;
        }
        spent.as_secs_f64() * 1e6 / (turns * TURN) as f64
    };
    let costs: Vec<f64> = (0..ROUNDS).map(|round| cost(round, &mut engine, &mut recorded)).collect();
    let cost = median(&costs);
    Row::new("patterns: the event loop's cost of a line that is another pattern each time", format!("{cost:.2} us"))
        .asked("< 2 us", cost < 2.0 && recorded > 0)
}
