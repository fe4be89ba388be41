//! Small recordings of a made-up host, replayed with other settings.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::adapters::store::recorder::{Header, Recorder};
use crate::engine::Engine;
use crate::model::action::Answer;
use crate::model::fact::ResyncReason;
use crate::model::input::{Durability, Finding, Memory, Snapshot};
use crate::model::request::{Ask, Request, Target};
use crate::model::settings::DaemonSettings;
use crate::model::unit::{FileState, InvocationId, JobResult, ManagerState, ServiceResult};
use crate::model::{
    Action, ActiveState, Command, HostUsage, IncidentId, Input, LoadState, Mono, Now, Selector, UnitChange, UnitName,
    UnitView, Usage, Verb, What, WorkerSettings,
};

const SEC: u64 = 1_000_000;
/// A start takes so long on the made-up host.
const START: u64 = SEC / 4;
const STOP: u64 = 2 * SEC;

/// A daemon, its recorder and a host with one unit, in made-up time.
struct Taping {
    dir: tempfile::TempDir,
    settings: Settings,
    engine: Option<Engine>,
    recorder: Option<Recorder>,
    at: u64,
    boot: u64,
    view: UnitView,
    activations: u128,
    jobs: u32,
    /// Starts that fail after a second, from now on.
    bad_starts: u32,
    /// It ignores systemd's signal, and is killed after two seconds.
    ignores_stops: bool,
    memory: u64,
    said: Vec<What>,
    memory_kept: Memory,
}

fn unit() -> UnitName {
    UnitName::new("a.service").unwrap()
}

fn settings(change: impl FnOnce(&mut WorkerSettings, &mut Settings)) -> Settings {
    let name = WorkerName::new("a").unwrap();
    let mut worker = WorkerSettings::new(name.clone(), Selector::Unit(unit()));
    let mut settings = Settings::empty();
    change(&mut worker, &mut settings);
    settings.workers.insert(name, worker);
    settings
}

fn plain() -> Settings {
    settings(|_, _| {})
}

impl Taping {
    fn new(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let view = UnitView { load: LoadState::Loaded, file_state: FileState::Enabled, ..UnitView::default() };
        let mut taping = Self {
            dir,
            settings,
            engine: None,
            recorder: None,
            at: 1000 * SEC,
            boot: 1,
            view,
            activations: 0,
            jobs: 0,
            bad_starts: 0,
            ignores_stops: false,
            memory: 100 << 20,
            said: Vec::new(),
            memory_kept: Memory::default(),
        };
        taping.begin_activation();
        taping.come_up();
        taping.live();
        taping
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// The daemon begins a life.
    fn live(&mut self) {
        let memory = Memory { boot: self.boot_id(), ..self.memory_kept.clone() };
        let seed = 7 + self.at;
        let value = serde_json::to_value(&memory).unwrap();
        let header = Header::new(&self.boot_id(), now(self.at), self.settings.clone(), value).seeded(seed);
        match &self.recorder {
            Some(recorder) => recorder.begin(header),
            None => {
                let daemon = DaemonSettings { state_dir: self.dir.path().into(), ..DaemonSettings::default() };
                self.recorder = Some(Recorder::open(&daemon, header));
            }
        }
        self.engine = Some(Engine::new(now(self.at), self.settings.clone(), memory, seed));
        self.obey();
        let units = vec![(unit(), self.view.as_change())];
        let (reason, manager) = (ResyncReason::Connected, ManagerState::Running);
        self.tell(Input::Snapshot(Snapshot { reason, manager, startup_finished: Mono(SEC), units }));
    }

    fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().unwrap()
    }

    fn tell(&mut self, input: Input) {
        self.recorder().record(now(self.at), &input);
        self.engine.as_mut().unwrap().handle(now(self.at), input);
        self.obey();
    }

    /// Lets time pass with its timers, and a sample every 30 s.
    fn pass(&mut self, span: u64) {
        let end = self.at + span;
        loop {
            let timer = self.engine.as_ref().unwrap().poll_timeout().map(|(at, _)| at.0.max(self.at));
            let sample = self.at / (30 * SEC) * (30 * SEC) + 30 * SEC;
            let next = timer.unwrap_or(u64::MAX).min(sample);
            if next > end {
                break;
            }
            self.at = next;
            if timer == Some(next) {
                // The loop is a little late, as loops are.
                self.at += 50;
                self.recorder().timers(now(self.at));
                self.engine.as_mut().unwrap().handle_timeout(now(self.at));
                self.obey();
            } else {
                self.sample();
            }
        }
        self.at = self.at.max(end);
    }

    fn sample(&mut self) {
        let mut sample = Usage::gap(unit(), Mono(self.at));
        sample.memory_bytes = Some(self.memory);
        sample.memory_max_bytes = Some(1 << 30);
        let samples = if self.view.active.is_up() { vec![sample] } else { Vec::new() };
        let host = HostUsage { memory_total_bytes: 8 << 30, memory_available_bytes: 4 << 30, cpus: 4, load1: 0.5 };
        self.tell(Input::Usage { samples, host: Some(host) });
    }

    fn obey(&mut self) {
        while let Some(command) = self.engine.as_mut().unwrap().poll_command() {
            match command {
                Command::Record(intent) => {
                    self.at += 500;
                    self.tell(Input::Recorded { attempt: intent.attempt, how: Durability::Stored });
                }
                Command::Act(order) => {
                    self.recorder().act(now(self.at), &order);
                    self.act(order.attempt, order.verb);
                }
                Command::Look { unit } => {
                    self.at += 300;
                    self.tell(Input::Unit { unit, change: Box::new(self.view.as_change()) });
                }
                Command::Inquire { unit } => {
                    self.at += 5000;
                    let finding = Finding { stop_job: Some(false), through: None };
                    self.tell(Input::Inquired { unit, finding });
                }
                Command::Tell(fact) => self.said.push(fact.what),
                Command::Save(_) | Command::Keep(_) | Command::Learned(_) | Command::Reply { .. } => {}
            }
        }
    }

    fn act(&mut self, attempt: crate::model::AttemptId, verb: Verb) {
        self.at += 1000;
        self.jobs += 1;
        let job = self.jobs;
        let starts = matches!(verb, Verb::Start { .. } | Verb::TryRestart);
        let answer = Answer::Accepted { job: starts.then_some(job), did: None };
        self.tell(Input::Acted { attempt, answer });
        if !starts {
            return;
        }
        self.tell(Input::JobNew { unit: unit(), job });
        if self.ignores_stops && self.view.active.is_up() {
            self.end_by_force(job);
        }
        self.begin_activation();
        self.tell_view();
        self.at += START;
        self.come_up();
        self.tell_view();
        self.tell(Input::JobRemoved { unit: unit(), job, result: JobResult::Done });
        if self.bad_starts > 0 {
            self.bad_starts -= 1;
            self.at += SEC;
            self.die();
        }
    }

    fn begin_activation(&mut self) {
        self.activations += 1;
        self.memory = 100 << 20;
        let change = UnitChange {
            active: Some(ActiveState::Activating),
            sub: Some("start".into()),
            result: Some(ServiceResult::Success),
            invocation: Some(InvocationId(self.activations)),
            main_pid: Some(self.activations as u32 + 100),
            exec_code: Some(0),
            inactive_exit: Some(Mono(self.at)),
            ..UnitChange::default()
        };
        self.view.apply(change);
    }

    fn come_up(&mut self) {
        (self.view.active, self.view.sub) = (ActiveState::Active, "running".into());
        self.view.active_enter = Some(Mono(self.at));
    }

    fn die(&mut self) {
        self.view.active = ActiveState::Failed;
        self.view.sub = "failed".into();
        (self.view.result, self.view.exec_code, self.view.exec_status) = (ServiceResult::Signal, 2, 9);
        self.view.main_pid = 0;
        (self.view.active_exit, self.view.inactive_enter) = (Some(Mono(self.at)), Some(Mono(self.at)));
        self.tell_view();
    }

    /// The stop of a restart, and the name of what comes after it.
    fn end_by_force(&mut self, job: u32) {
        (self.view.active, self.view.sub) = (ActiveState::Deactivating, "stop-sigterm".into());
        (self.view.job, self.view.active_exit) = (Some(job), Some(Mono(self.at)));
        self.tell_view();
        self.at += STOP;
        (self.view.active, self.view.sub) = (ActiveState::Failed, "failed".into());
        (self.view.result, self.view.exec_code, self.view.exec_status) = (ServiceResult::Timeout, 2, 9);
        self.view.inactive_enter = Some(Mono(self.at));
        self.tell_view();
        // systemd names a new activation before it tells its state.
        let invocation = Some(InvocationId(self.activations + 1));
        self.tell(Input::Unit { unit: unit(), change: Box::new(UnitChange { invocation, ..UnitChange::default() }) });
        self.view.job = None;
    }

    fn ask_for_restart(&mut self, id: u64) {
        let target = Target::Worker(WorkerName::new("a").unwrap());
        let ask = Ask::Recover { target, action: Action::GracefulRestart, force: true };
        self.tell(Input::Request(Request { id, who: "anna".into(), ask }));
    }

    /// An operator starts it.
    fn start(&mut self) {
        self.begin_activation();
        self.tell_view();
        self.at += START;
        self.come_up();
        self.tell_view();
    }

    fn tell_view(&mut self) {
        self.at += 100;
        self.tell(Input::Unit { unit: unit(), change: Box::new(self.view.as_change()) });
    }

    fn count(&self, what: fn(&What) -> bool) -> u64 {
        self.said.iter().filter(|said| what(said)).count() as u64
    }

    fn recordings(&self) -> PathBuf {
        inputs_dir(self.dir.path())
    }

    /// The report with other settings; the recording is complete.
    fn with(&self, settings: &Settings) -> ReplayReport {
        let report = self.try_with(settings);
        assert!(report.is_reproduced(), "{:#?}", report.deviations);
        report
    }

    fn try_with(&self, settings: &Settings) -> ReplayReport {
        self.recorder().close();
        let mut last = 0;
        let report = replay(&self.recordings(), settings, &Options::default(), &mut |progress| {
            assert!(progress.done >= last && progress.done <= progress.total, "{progress:?} after {last}");
            last = progress.done;
        });
        let report = report.unwrap();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ReplayReport>(&text).unwrap(), report);
        report
    }
}

fn now(at: u64) -> Now {
    Now { mono: Mono(at), wall: Wall(1_700_000_000_000_000 + at as i64) }
}

fn acted(what: &What) -> bool {
    matches!(what, What::AttemptActed { .. })
}

#[test]
fn the_same_settings_come_to_the_same_decisions() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    for _ in 0..3 {
        taping.die();
        taping.pass(600 * SEC);
    }
    let report = taping.with(&plain());
    assert_eq!(report.baseline, report.candidate);
    assert_eq!((report.deviations.orders, report.baseline.actions["restart"], report.baseline.succeeded), (3, 3, 3));
    assert_eq!((report.differences_in_all, report.withheld, report.apart_at_the_end), (0, 0, 0));
    assert_eq!(report.supposed(), (0, 3));
    let median = report.baseline.time_to_recover.median.unwrap();
    assert!(median > Duration::from_millis(250) && median < Duration::from_millis(400), "{median:?}");
}

#[test]
fn an_order_that_comes_later_is_not_left_out() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    for _ in 0..2 {
        taping.die();
        taping.pass(3 * SEC);
    }
    taping.pass(600 * SEC);
    let slower = settings(|worker, _| worker.backoff += Duration::from_millis(300));
    let report = taping.with(&slower);
    let orders = report.baseline.actions["restart"];
    assert_eq!((report.candidate.actions["restart"], report.withheld), (orders, 0), "{report:#?}");
    assert!(report.supposed().0 > 0, "what came of it had to be supposed");
}

#[test]
fn a_dry_run_leaves_the_unit_where_it_was() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(600 * SEC);
    let dry = settings(|_, settings| settings.daemon.dry_run = true);
    let report = taping.with(&dry);
    assert_eq!((report.candidate.actions_in_all(), report.withheld, report.apart_at_the_end), (0, 1, 1));
    assert_eq!((report.candidate.incidents, report.candidate.open_at_the_end), (1, 1));
    assert_eq!(report.candidate.suppressed["dry_run"], 1);
    assert_eq!(report.differences.len(), 1, "{:#?}", report.differences);
    assert!(report.differences[0].candidate.contains("restart suppressed by dry_run"), "{:#?}", report.differences);
}

#[test]
fn what_was_not_done_is_supposed_to_take_the_usual_time() {
    let mut dry = Taping::new(settings(|_, settings| settings.daemon.dry_run = true));
    dry.pass(100 * SEC);
    dry.die();
    dry.pass(600 * SEC);
    dry.start();
    dry.pass(600 * SEC);
    dry.die();
    // While the supposed one is still being proven.
    dry.pass(5 * SEC);
    dry.start();
    dry.pass(600 * SEC);
    dry.die();
    dry.pass(60 * SEC);
    let report = dry.with(&plain());
    assert_eq!(report.baseline.actions_in_all(), 0);
    assert_eq!(report.supposed(), (3, 3));
    // The operator's starts found it running already: they are no second activation.
    assert_eq!((report.candidate.incidents, report.candidate.succeeded), (3, 3), "{:#?}", report.differences);
    assert_eq!(report.candidate.false_actions, 0);
    let (was, is) = (&report.baseline.time_to_recover, &report.candidate.time_to_recover);
    assert!(was.p90.unwrap() > Duration::from_secs(600) && was.count == 2, "{was:?}");
    assert!(is.p90.unwrap() < Duration::from_millis(400) && is.count == 3, "{is:?}");
    assert!(report.differences.iter().all(|it| it.supposed || it.decision == "restart"), "{:#?}", report.differences);
}

#[test]
fn what_was_killed_by_a_restart_has_not_failed() {
    let drains = |seconds| {
        settings(|worker, _| {
            (worker.drain_timeout, worker.verify_for) = (Duration::from_secs(seconds), Duration::from_secs(5))
        })
    };
    let mut taping = Taping::new(drains(1));
    taping.ignores_stops = true;
    taping.pass(100 * SEC);
    for id in 1..=3 {
        taping.ask_for_restart(id);
        taping.pass(30 * SEC);
    }
    taping.recorder().close();
    let mut tape = tape::Tape::open(&taping.recordings(), None).unwrap();
    let story = baseline::run(&mut tape, &Options::default(), &mut |_| {}).story;
    let activations = &story.units[&unit()].activations;
    assert_eq!(activations.iter().filter(|it| it.ended.is_some()).count(), 3, "{activations:?}");
    assert!(activations.iter().all(|it| it.failed.is_none()), "{activations:?}");
    assert!(story.stop_time(&unit()).as_micros().abs_diff(u128::from(STOP)) < 1000);
    let report = taping.with(&drains(2));
    let of = |sums: &Sums| (sums.incidents, sums.actions_in_all(), sums.succeeded, sums.failed, sums.open_at_the_end);
    assert_eq!(of(&report.baseline), (3, 3, 3, 0, 0), "{:#?}", report.differences);
    assert_eq!(of(&report.candidate), (3, 3, 3, 0, 0), "{:#?}", report.differences);
    assert_eq!(report.supposed(), (3, 3));
    // A longer drain, and the same stop and start.
    let median = |sums: &Sums| sums.time_to_recover.median.unwrap().as_secs_f64();
    let longer = median(&report.candidate) - median(&report.baseline);
    assert!((0.9..1.2).contains(&longer), "{longer} s");
}

#[test]
fn a_supposed_start_fails_where_the_recorded_ones_failed() {
    let few = |attempts| settings(|worker, _| worker.max_restart_attempts = attempts);
    let mut taping = Taping::new(few(2));
    taping.pass(100 * SEC);
    taping.bad_starts = 3;
    taping.die();
    taping.pass(1200 * SEC);
    assert_eq!(taping.count(acted), 4, "two, then one after each pause");
    let report = taping.with(&few(5));
    assert!(report.candidate.supposed >= 2, "{:#?}", report.candidate);
    assert!(report.candidate.failed >= 4, "{:#?}", report.candidate);
    assert!(report.baseline.escalations > 0 && !report.differences.is_empty());
}

#[test]
fn a_lower_threshold_acts_on_what_the_recording_never_held_for_sick() {
    let lower = settings(|worker, _| {
        (worker.memory_threshold, worker.allow_downtime) = (50.0, true);
        worker.warning_patience = Duration::from_secs(60);
    });
    let mut taping = Taping::new(plain());
    taping.pass(300 * SEC);
    taping.memory = 700 << 20;
    taping.pass(1800 * SEC);
    let report = taping.with(&lower);
    assert_eq!((report.baseline.incidents, report.baseline.actions_in_all()), (0, 0));
    assert_eq!(report.candidate.actions.get("graceful_restart"), Some(&1), "{:#?}", report.candidate);
    // Its memory is that of a fresh process from then on, so one is enough.
    assert_eq!(report.candidate.actions_in_all(), report.candidate.supposed);
    assert_eq!(report.candidate.false_actions, report.candidate.actions_in_all());
    // And the other way round: it is not restarted, and its memory stays as it was.
    let mut eager = Taping::new(lower);
    eager.pass(300 * SEC);
    eager.memory = 700 << 20;
    eager.pass(1800 * SEC);
    assert!(eager.count(acted) > 0);
    let report = eager.with(&plain());
    assert_eq!((report.candidate.incidents, report.candidate.actions_in_all()), (0, 0), "{:#?}", report.differences);
    assert!(report.withheld > 0 && report.baseline.actions_in_all() > 0);
}

#[test]
fn what_an_operator_marked_false_makes_the_action_false() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(600 * SEC);
    let who = "anna".to_string();
    taping.tell(Input::Request(Request { id: 1, who, ask: Ask::MarkFalse { incident: IncidentId(1) } }));
    taping.pass(SEC);
    let report = taping.with(&plain());
    assert_eq!((report.baseline.false_actions, report.baseline.marked_false), (1, 1));
    assert_eq!(report.baseline, report.candidate);
}

#[test]
fn lives_and_boots_follow_each_other() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(100 * SEC);
    taping.live();
    taping.pass(100 * SEC);
    // Another boot, whose clock begins anew.
    taping.boot = 2;
    taping.at = 50 * SEC;
    taping.live();
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(100 * SEC);
    let report = taping.with(&plain());
    assert_eq!((report.recording.lives, report.deviations.orders), (3, 2));
    assert_eq!(report.baseline, report.candidate);
    let dry = taping.with(&settings(|_, settings| settings.daemon.dry_run = true));
    assert_eq!((dry.candidate.actions_in_all(), dry.withheld), (0, 2));
}

#[test]
fn since_until_and_the_worker_choose_what_counts() {
    let mut taping = Taping::new(plain());
    for _ in 0..4 {
        taping.pass(600 * SEC);
        taping.die();
    }
    taping.pass(60 * SEC);
    taping.recorder().close();
    let count = |options: Options| {
        let report = replay(&taping.recordings(), &plain(), &options, &mut |_| {}).unwrap();
        assert!(report.is_reproduced(), "{:#?}", report.deviations);
        report.candidate.actions_in_all()
    };
    let at = |seconds: u64| Some(now((1000 + seconds) * SEC).wall);
    assert_eq!(count(Options::default()), 4);
    assert_eq!(count(Options { since: at(1000), ..Options::default() }), 3);
    assert_eq!(count(Options { until: at(1000), ..Options::default() }), 1);
    assert_eq!(count(Options { since: at(1000), until: at(2000), ..Options::default() }), 2);
    assert_eq!(count(Options { worker: WorkerName::new("b").ok(), ..Options::default() }), 0);
}

#[test]
fn workers_that_the_recording_does_not_know_are_named() {
    let mut taping = Taping::new(plain());
    taping.pass(60 * SEC);
    let mut other = Settings::empty();
    let name = WorkerName::new("b").unwrap();
    other.workers.insert(name.clone(), WorkerSettings::new(name, Selector::Template("b".into())));
    let report = taping.with(&other);
    assert_eq!(report.unknown.len(), 2, "{:?}", report.unknown);
    assert!(report.unknown[0].contains("no unit that b@.service matches is in the recording"), "{:?}", report.unknown);
    assert!(report.unknown[1].contains("worker a (a.service) would not be watched"), "{:?}", report.unknown);
}

#[test]
fn a_recording_that_lost_its_beginning_starts_at_a_checkpoint() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(300 * SEC);
    let checkpoint = taping.engine.as_ref().unwrap().checkpoint();
    let header = Header::going_on(&taping.boot_id(), now(taping.at), taping.settings.clone(), checkpoint);
    taping.recorder().begin(header);
    taping.pass(300 * SEC);
    taping.die();
    taping.pass(300 * SEC);
    let whole = taping.with(&plain());
    assert_eq!((whole.deviations.orders, whole.recording.lives), (2, 1), "a checkpoint is no new life");
    fs::remove_file(taping.recordings().join("000001.jsonl")).unwrap();
    let rest = taping.with(&plain());
    assert_eq!((rest.deviations.orders, rest.baseline.succeeded), (1, 1));
    assert_eq!(rest.baseline, rest.candidate);
}

#[test]
fn what_is_missing_is_told_and_what_is_wrong_as_well() {
    let mut taping = Taping::new(plain());
    taping.pass(100 * SEC);
    taping.die();
    taping.pass(100 * SEC);
    taping.recorder().close();
    let file = taping.recordings().join("000001.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    let without_order: String = whole.split_inclusive('\n').filter(|line| !line.contains("\"act\"")).collect();
    fs::write(&file, without_order).unwrap();
    let report = taping.try_with(&plain());
    assert!(!report.is_reproduced());
    assert!(report.deviations.told[0].1.contains("start of a.service is ordered and was not"), "{report:#?}");
    // An input of a later version.
    let later = whole.replacen("\"input\":\"job_new\"", "\"input\":\"job_dreamt\"", 1);
    fs::write(&file, later).unwrap();
    let report = taping.try_with(&plain());
    assert_eq!((report.recording.gaps, report.recording.troubles.count), (1, 1));
    assert!(report.recording.troubles.told[0].contains("job_dreamt"), "{:?}", report.recording.troubles);
    fs::write(&file, "").unwrap();
    assert_eq!(taping.try_with(&plain()).recording.inputs, 0);
    fs::remove_dir_all(taping.recordings()).unwrap();
    assert!(replay(&taping.recordings(), &plain(), &Options::default(), &mut |_| {}).is_err());
}

#[test]
fn a_damaged_recording_ends_and_never_panics() {
    let mut taping = Taping::new(plain());
    for _ in 0..3 {
        taping.pass(100 * SEC);
        taping.die();
    }
    taping.pass(100 * SEC);
    taping.live();
    taping.pass(50 * SEC);
    taping.recorder().close();
    let file = taping.recordings().join("000001.jsonl");
    let whole = fs::read(&file).unwrap();
    for n in 0..150usize {
        let at = (n * 7919 * 31) % whole.len();
        let mut damaged = whole.clone();
        match n % 3 {
            0 => damaged.truncate(at),
            1 => damaged[at] ^= 1 << (n % 7),
            _ => drop(damaged.drain(at..(at + 500).min(whole.len()))),
        }
        fs::write(&file, damaged).unwrap();
        let report = taping.try_with(&settings(|worker, _| worker.max_restart_attempts = 1));
        assert!(report.recording.lives >= 1, "damage {n} at {at}: the second life is whole");
    }
}
