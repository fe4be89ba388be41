//! How fast a full ring of recorded inputs is replayed, both readings together, and what memory that takes.
//!
//! `cargo bench --bench replay [-- MEGABYTES]`; 256 by default, as `record_bytes` is.

#[path = "report/report.rs"]
mod report;

use std::time::{Duration, Instant};

use report::Row;
use unitmedic::adapters::store::recorder::{Header, Recorder, inputs_dir};
use unitmedic::app::replay::{Options, ReplayReport, replay};
use unitmedic::engine::Engine;
use unitmedic::model::fact::ResyncReason;
use unitmedic::model::input::{Memory, Snapshot};
use unitmedic::model::settings::DaemonSettings;
use unitmedic::model::unit::{FileState, InvocationId, ManagerState, ServiceResult};
use unitmedic::model::{
    ActiveState, Command, Input, LoadState, Mono, Now, Selector, Settings, UnitName, UnitView, Usage, Wall, WorkerName,
    WorkerSettings,
};

const INSTANCES: u64 = 1000;
const SEC: u64 = 1_000_000;
/// So many instances die, and are started by somebody, between two rounds of samples.
const DEATHS: u64 = 20;
/// Room beyond what is recorded, so that the ring gives nothing up.
const SPARE: u64 = 4;
/// The recording is faster than the disk: nothing may be dropped.
const RECORDED_AHEAD: usize = 1 << 20;

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(256u64);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = megabytes << 20;
    let daemon =
        DaemonSettings { state_dir: dir.path().into(), record_bytes: bytes * SPARE, ..DaemonSettings::default() };
    let mut dry = settings();
    dry.daemon.dry_run = true;
    record(&daemon, &dry, bytes);
    let before = resident();
    let again = |settings: &Settings| {
        let began = Instant::now();
        let report = replay(&inputs_dir(dir.path()), settings, &Options::default(), &mut |_| {}).expect("a recording");
        assert!(report.is_reproduced(), "{:?}", report.deviations);
        (report, began.elapsed())
    };
    let (same, took) = again(&dry);
    assert_eq!(same.differences_in_all, 0);
    let (other, took_other) = again(&settings());
    let grown = resident().saturating_sub(before);
    report::publish(&[
        row("replay of the recorded settings", &same, took),
        row("replay of settings that act where none was done", &other, took_other),
        Row::new("memory that both replays took at most", format!("{} MiB", grown >> 20)),
    ]);
}

fn row(what: &str, report: &ReplayReport, took: Duration) -> Row {
    let (inputs, megabytes) = (report.recording.inputs, report.recording.bytes >> 20);
    let rate = inputs as f64 / took.as_secs_f64();
    let (supposed, actions) = report.supposed();
    let text = format!("{inputs} inputs, {megabytes} MiB in {took:.1?}: {rate:.0}/s; {supposed} of {actions} supposed");
    Row::new(what, text)
}

fn settings() -> Settings {
    let name = WorkerName::new("w").expect("a good name");
    let worker = WorkerSettings::new(name.clone(), Selector::Template("w".into()));
    let mut settings = Settings::empty();
    settings.workers.insert(name, worker);
    settings
}

fn unit(n: u64) -> UnitName {
    UnitName::new(&format!("w@{n}.service")).expect("a good name")
}

fn now(at: u64) -> Now {
    Now { mono: Mono(at), wall: Wall(1_700_000_000_000_000 + at as i64) }
}

/// A dry run over instances of which some die and are started by somebody, until the recording is that large.
fn record(daemon: &DaemonSettings, settings: &Settings, bytes: u64) {
    let memory = Memory { boot: "bench".into(), ..Memory::default() };
    let mut at = 1000 * SEC;
    let value = serde_json::to_value(&memory).expect("plain values");
    let recorder = Recorder::open(daemon, Header::new("bench", now(at), settings.clone(), value).seeded(1));
    let mut engine = Engine::new(now(at), settings.clone(), memory, 1);
    let mut views: Vec<UnitView> = (0..INSTANCES).map(running).collect();
    let units = views.iter().zip(0..).map(|(view, n)| (unit(n), view.as_change())).collect();
    let (reason, manager) = (ResyncReason::Connected, ManagerState::Running);
    let mut tell = |at: &mut u64, input: Input| {
        while recorder.stats().waiting > RECORDED_AHEAD {
            std::thread::sleep(Duration::from_millis(1));
        }
        *at += 20;
        recorder.record(now(*at), &input);
        engine.handle(now(*at), input);
        while let Some((due, _)) = engine.poll_timeout().filter(|(due, _)| due.0 <= *at) {
            *at = (*at).max(due.0);
            recorder.timers(now(*at));
            engine.handle_timeout(now(*at));
        }
        while let Some(command) = engine.poll_command() {
            assert!(!matches!(command, Command::Act(_)), "a dry run does nothing");
        }
    };
    tell(&mut at, Input::Snapshot(Snapshot { reason, manager, startup_finished: Mono(SEC), units }));
    let mut written = 0;
    let mut round = 0;
    while written < bytes {
        round += 1;
        at = (1000 + 30 * round) * SEC;
        let samples: Vec<Usage> = (0..INSTANCES).map(|n| sample(n, at, round)).collect();
        // A sample is about 400 bytes.
        written += serde_json::to_vec(&samples).map_or(0, |bytes| bytes.len() as u64);
        tell(&mut at, Input::Usage { samples, host: None });
        for n in 0..DEATHS {
            let which = (round * 37 + n * 53) % INSTANCES;
            for change in [die(&mut views[which as usize], at), rise(&mut views[which as usize], at + 10_000)] {
                at += 5_000;
                tell(&mut at, Input::Unit { unit: unit(which), change: Box::new(change) });
                written += 600;
            }
        }
    }
    recorder.close();
    assert_eq!(recorder.stats().dropped, 0);
}

fn running(n: u64) -> UnitView {
    UnitView {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        main_pid: n as u32 + 100,
        invocation: InvocationId(u128::from(n) + 1),
        active_enter: Some(Mono(SEC)),
        inactive_exit: Some(Mono(SEC)),
        file_state: FileState::Enabled,
        ..UnitView::default()
    }
}

fn die(view: &mut UnitView, at: u64) -> unitmedic::model::UnitChange {
    (view.active, view.sub, view.result) = (ActiveState::Failed, "failed".into(), ServiceResult::Signal);
    (view.exec_code, view.exec_status, view.main_pid) = (2, 9, 0);
    (view.active_exit, view.inactive_enter) = (Some(Mono(at)), Some(Mono(at)));
    view.as_change()
}

fn rise(view: &mut UnitView, at: u64) -> unitmedic::model::UnitChange {
    let mut again = running(0);
    again.invocation = InvocationId(view.invocation.0 + (1 << 64));
    (again.active_enter, again.inactive_exit) = (Some(Mono(at)), Some(Mono(at)));
    *view = again;
    view.as_change()
}

fn sample(n: u64, at: u64, round: u64) -> Usage {
    let mut usage = Usage::gap(unit(n), Mono(at));
    usage.cpu_usec = Some(round * SEC);
    usage.memory_bytes = Some((100 + n % 50) << 20);
    usage.memory_max_bytes = Some(1 << 30);
    usage.tasks = Some(7);
    usage
}

/// Most memory that the process has had, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
