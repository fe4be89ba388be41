//! The one loop that owns the engine: wait, batch, handle, drain commands, pet the watchdog.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::{debug, warn};

use crate::adapters::clock;
use crate::adapters::notify::Notifier;
use crate::adapters::store::recorder::{Header, Recorder};
use crate::engine::Engine;
use crate::model::request::Request;
use crate::model::{Health, Input, Mono, Now, Selector, Settings, UnitName};
use crate::views::story::count;

use super::Query;
use super::dispatch::Dispatch;
use super::habit_desk::HabitDesk;
use super::snapshots::Present;

/// Inputs handled in one turn before the commands are drained and others get their word.
const BATCH: usize = 256;
/// Things that are looked at without a signal: the hold file, the status line, the watchdog.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A snapshot in which nothing is under way stands for so many seconds, unless something comes in.
const STANDS_FOR: u32 = 5;

/// How the loop ended; the recorder and the notifier go on to the winding up.
pub(super) struct Ended;

pub(super) struct EventLoop {
    pub engine: Engine,
    pub habits: HabitDesk,
    pub dispatch: Dispatch,
    pub inputs: mpsc::Receiver<Input>,
    /// Answers to commands. Apart from the signals, so that none of them is ever dropped.
    pub answers: mpsc::UnboundedReceiver<Input>,
    pub queries: mpsc::Receiver<Query>,
    pub selectors: watch::Sender<Vec<Selector>>,
    pub readiness: watch::Sender<Result<(), String>>,
    pub recorder: Recorder,
    pub notifier: Notifier,
    pub hold_file: PathBuf,
    pub boot: String,
    pub stop: watch::Receiver<bool>,
    /// Numbers the operators' requests.
    pub requests: u64,
    /// Counts the looks of [`HOUSEKEEPING`].
    pub seconds: u32,
}

impl EventLoop {
    pub async fn run(mut self) -> Ended {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let watchdog = self.notifier.watchdog_interval();
        let mut petted = Instant::now();
        let mut announced = false;
        self.dispatch.drain(&mut self.engine, &self.recorder);
        loop {
            let due = self.engine.poll_timeout().map(|(at, _)| at).into_iter().chain(self.dispatch.alerts_due());
            let wake = due.min().map(instant_of);
            let mut touched = BTreeSet::new();
            let began;
            tokio::select! {
                biased;
                _ = self.stop.changed() => break,
                Some(input) = self.answers.recv() => {
                    began = Instant::now();
                    self.take(input, &mut touched);
                    self.take_more(&mut touched);
                }
                Some(input) = self.inputs.recv() => {
                    began = Instant::now();
                    self.take(input, &mut touched);
                    self.take_more(&mut touched);
                }
                () = sleep_until(wake.unwrap_or_else(far).into()), if wake.is_some() => began = Instant::now(),
                Some(query) = self.queries.recv() => {
                    began = Instant::now();
                    self.answer(query);
                }
                _ = housekeeping.tick() => {
                    began = Instant::now();
                    self.keep_house();
                }
            }
            self.let_timers_act();
            self.dispatch.drain(&mut self.engine, &self.recorder);
            self.publish(touched);
            self.dispatch.shared().own.turn(began.elapsed());
            if !announced && self.engine.ready().is_ok() {
                announced = true;
                let line = self.status_line();
                self.notify(|notifier| notifier.ready(&line));
            }
            if watchdog.is_some_and(|interval| petted.elapsed() >= interval / 2) {
                petted = Instant::now();
                self.notify(|notifier| notifier.watchdog());
            }
        }
        self.notify(|notifier| notifier.stopping("stopping"));
        if let Some(saved) = self.habits.save(&self.engine) {
            let _ = saved.await;
        }
        self.dispatch.close();
        let recorder = self.recorder.clone();
        let _ = tokio::task::spawn_blocking(move || recorder.close()).await;
        Ended
    }

    fn take(&mut self, input: Input, touched: &mut BTreeSet<UnitName>) {
        self.dispatch.shared().reading.snapshots.move_on();
        let now = clock::now();
        let is_round = matches!(input, Input::Usage { .. });
        self.recorder.record(now, &input);
        self.dispatch.follow_control_groups(&input);
        self.dispatch.show_readings(&input, now);
        note_touched(&input, touched);
        self.engine.handle(now, input);
        if is_round {
            self.dispatch.shared().reading.series.take(&self.engine, now);
        }
        self.dispatch.drain(&mut self.engine, &self.recorder);
    }

    fn let_timers_act(&mut self) {
        let now = clock::now();
        if self.engine.poll_timeout().is_some_and(|(at, _)| at <= now.mono) {
            self.dispatch.shared().reading.snapshots.move_on();
            self.recorder.timers(now);
            self.engine.handle_timeout(now);
        }
    }

    fn take_more(&mut self, touched: &mut BTreeSet<UnitName>) {
        for _ in 0..BATCH {
            let next = self.answers.try_recv().or_else(|_| self.inputs.try_recv());
            let Ok(input) = next else { return };
            self.take(input, touched);
        }
    }

    /// Brings readiness and the metrics of touched units up to date.
    fn publish(&mut self, touched: BTreeSet<UnitName>) {
        let ready = self.engine.ready();
        self.readiness.send_if_modified(|known| {
            let changed = *known != ready;
            *known = ready;
            changed
        });
        let now = clock::now();
        self.dispatch.publish_units(&self.engine, touched, now);
        self.dispatch.tell_alerts(&self.engine, now);
    }

    fn answer(&mut self, query: Query) {
        // Who asks right after touching the file must hear of it.
        self.look_at_hold_file();
        let now = clock::now();
        // An asker that has gone away needs no answer.
        match query {
            Query::Status(reply) => drop(reply.send(self.present(now))),
            Query::External(alerts, reply) => {
                self.take(Input::External { alerts }, &mut BTreeSet::new());
                let _ = reply.send(());
            }
            Query::Strategies(worker, reply) => drop(reply.send(self.engine.strategies(worker.as_ref()))),
            Query::ExportStrategies(worker, reply) => {
                drop(reply.send(self.engine.export_strategies(worker.as_ref())));
            }
            Query::Alerts(reply) => drop(reply.send(self.dispatch.alerts())),
            Query::Explain(target, reply) => drop(reply.send(self.engine.explain(&target, now))),
            Query::Approvals(reply) => drop(reply.send(self.engine.cards(now))),
            Query::Preview { target, action, force, reply } => {
                drop(reply.send(self.engine.preview(&target, action, force)));
            }
            Query::Request { who, ask, reply } => {
                self.requests += 1;
                self.dispatch.expect_reply(self.requests, reply);
                let input = Input::Request(Request { id: self.requests, who, ask });
                self.take(input, &mut BTreeSet::new());
            }
            Query::Reload(settings, by, reply) => {
                self.reload(*settings, by);
                let _ = reply.send(());
            }
        }
    }

    /// All that has happened is in it, and all facts of that have been told: those that come later are behind `last_event`.
    fn present(&self, now: Now) -> Present {
        let began = Instant::now();
        let shared = self.dispatch.shared();
        let status = self.engine.status(now);
        let (turn, last_event) = (shared.reading.snapshots.turn(), shared.reading.feed.last_id());
        Present { turn, status, last_event, took: began.elapsed() }
    }

    fn reload(&mut self, mut settings: Settings, by: Option<String>) {
        self.notify(|notifier| notifier.reloading());
        for key in settings.daemon.keep_until_a_restart(&self.engine.settings().daemon) {
            warn!("{key} in [daemon] stays as it was until unitmedic is restarted: systemctl restart unitmedic");
        }
        let now = clock::now();
        self.selectors.send_replace(selectors(&settings));
        self.dispatch.reload(&settings);
        self.recorder.begin(Header::new(&self.boot, now, settings.clone(), serde_json::Value::Null));
        self.take(Input::Reload { settings: Box::new(settings), by }, &mut BTreeSet::new());
        let line = self.status_line();
        self.notify(|notifier| notifier.ready(&line));
    }

    fn keep_house(&mut self) {
        // What is shown of incidents tells of time that is left; all else changes with what comes in.
        let tells_of_time = self.engine.sum().open_incidents > 0;
        self.seconds = self.seconds.wrapping_add(1);
        if tells_of_time || self.seconds.is_multiple_of(STANDS_FOR) {
            self.dispatch.shared().reading.snapshots.move_on();
        }
        self.look_at_hold_file();
        let line = self.status_line();
        self.notify(|notifier| notifier.status(Instant::now(), &line));
        self.dispatch.keep_house(&self.recorder);
        self.habits.save_when_due(&self.engine);
        if self.recorder.checkpoint_is_due() {
            let (settings, checkpoint) = (self.engine.settings().clone(), self.engine.checkpoint());
            self.recorder.begin(Header::going_on(&self.boot, clock::now(), settings, checkpoint));
        }
    }

    fn look_at_hold_file(&mut self) {
        let held = self.hold_file.symlink_metadata().is_ok();
        if held != self.engine.is_held() {
            self.take(Input::Hold { held }, &mut BTreeSet::new());
        }
        self.dispatch.shared().reading.snapshots.saw_hold(held);
    }

    /// systemd that cannot be told is a matter for the log, not for the workers.
    fn notify(&mut self, say: impl FnOnce(&mut Notifier) -> std::io::Result<()>) {
        if let Err(error) = say(&mut self.notifier) {
            debug!(%error, "the service manager could not be told");
        }
    }

    /// What `systemctl status unitmedic` shows.
    fn status_line(&self) -> String {
        let sum = self.engine.sum();
        let mut line = match self.engine.ready() {
            Err(why) => return format!("not ready: {why}"),
            Ok(()) => format!("{}, {}", count(sum.workers, "worker"), count(sum.instances(), "instance")),
        };
        for health in [Health::Dead, Health::Critical, Health::Warning, Health::Unknown, Health::Stopped] {
            let so = sum.count(health);
            if so > 0 {
                line.push_str(&format!(", {so} {health}"));
            }
        }
        if sum.open_incidents > 0 {
            line.push_str(&format!("; {} open", count(sum.open_incidents, "incident")));
        }
        line
    }
}

pub(super) fn selectors(settings: &Settings) -> Vec<Selector> {
    settings.workers.values().map(|worker| worker.unit.clone()).collect()
}

fn note_touched(input: &Input, touched: &mut BTreeSet<UnitName>) {
    match input {
        Input::Unit { unit, .. }
        | Input::Unloaded { unit }
        | Input::JobNew { unit, .. }
        | Input::JobKind { unit, .. }
        | Input::JobRemoved { unit, .. }
        | Input::Inquired { unit, .. } => {
            touched.insert(unit.clone());
        }
        Input::Snapshot(snapshot) => touched.extend(snapshot.units.iter().map(|(unit, _)| unit.clone())),
        _ => {}
    }
}

fn instant_of(at: Mono) -> Instant {
    Instant::now() + at.since(clock::now().mono)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
