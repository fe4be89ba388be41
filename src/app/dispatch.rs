//! Carries the engine's commands to those who do them, and their answers back.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::adapters::cgroup::SamplerHandle;
use crate::adapters::clock;
use crate::adapters::store::Store;
use crate::adapters::store::recorder::Recorder;
use crate::adapters::systemd::Question;
use crate::engine::Engine;
use crate::model::action::Order;
use crate::model::fact::{Fact, What};
use crate::model::request::Reply;
use crate::model::{Alert, Command, Input, Mono, Now, Settings, UnitName, WorkerName};

use crate::views::alerts::AlertBoard;
use crate::views::metrics::Queue;

use super::Shared;
use super::authority::Authority;
use super::log_desk::LogDesk;

/// The gauges over 30 days are read from the history this often.
const RATIOS_EVERY: Duration = Duration::from_secs(30);
/// And this soon after a recovery or an incident has ended.
const RATIOS_SOONEST: Duration = Duration::from_secs(1);
const RATIOS_WINDOW: Duration = Duration::from_secs(30 * 86_400);

pub(super) struct Dispatch {
    shared: Arc<Shared>,
    store: Store,
    authority: Arc<Authority>,
    /// The settings by which the root side checks orders.
    helper_settings: watch::Sender<Arc<Settings>>,
    questions: mpsc::Sender<Question>,
    sampler: Option<SamplerHandle>,
    answers: mpsc::UnboundedSender<Input>,
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    workers: Vec<WorkerName>,
    ratios_read: Option<Instant>,
    ratios_moved: bool,
    /// Units whose metrics must be brought up to date because a fact named them.
    told: BTreeSet<UnitName>,
    /// After a resync or a reload the metrics are made from the whole status.
    whole_truth_due: bool,
    log: LogDesk,
    alerts: AlertBoard,
}

impl Dispatch {
    pub fn new(
        shared: Arc<Shared>,
        authority: Arc<Authority>,
        helper_settings: watch::Sender<Arc<Settings>>,
        questions: mpsc::Sender<Question>,
        sampler: Option<SamplerHandle>,
        answers: mpsc::UnboundedSender<Input>,
        settings: &Settings,
    ) -> Self {
        Self {
            store: shared.store.clone(),
            shared,
            authority,
            helper_settings,
            questions,
            sampler,
            answers,
            replies: BTreeMap::new(),
            workers: settings.workers.keys().cloned().collect(),
            ratios_read: None,
            ratios_moved: false,
            told: BTreeSet::new(),
            whole_truth_due: true,
            log: LogDesk::start(),
            alerts: AlertBoard::new(settings),
        }
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Does all that the engine wants done now. Never waits.
    pub fn drain(&mut self, engine: &mut Engine, recorder: &Recorder) {
        let mut told = false;
        while let Some(command) = engine.poll_command() {
            match command {
                Command::Record(intent) => {
                    let (answers, attempt) = (self.answers.clone(), intent.attempt);
                    self.store.record(intent, move |how| drop(answers.send(Input::Recorded { attempt, how })));
                }
                Command::Act(order) => {
                    recorder.act(clock::now(), &order);
                    self.act(order);
                }
                Command::Look { unit } => self.ask_systemd(Question::Look(unit)),
                Command::Inquire { unit } => self.ask_systemd(Question::Inquire(unit)),
                Command::Save(incident) => {
                    self.alerts.incident(&incident, clock::now());
                    self.store.save(incident);
                }
                Command::Keep(safety) => self.store.keep(safety),
                Command::Learned(known) => self.store.learned(known),
                Command::Reply { id, reply } => {
                    if let Some(asker) = self.replies.remove(&id) {
                        let _ = asker.send(reply);
                    }
                }
                Command::Tell(fact) => {
                    told = true;
                    self.tell(fact);
                }
            }
        }
        if told {
            self.shared.reading.feed.announce();
        }
    }

    fn act(&self, order: Order) {
        let (authority, answers) = (self.authority.clone(), self.answers.clone());
        tokio::spawn(async move {
            let answer = authority.act(&order).await;
            let _ = answers.send(Input::Acted { attempt: order.attempt, answer });
        });
    }

    fn ask_systemd(&self, question: Question) {
        if let Err(mpsc::error::TrySendError::Full(question)) = self.questions.try_send(question) {
            // At most one question of each kind is open per instance, so these tasks are bounded, too.
            let questions = self.questions.clone();
            tokio::spawn(async move { questions.send(question).await });
        }
    }

    fn tell(&mut self, fact: Fact) {
        self.log.write(&fact);
        self.board().apply(&fact);
        self.alerts.apply(&fact);
        self.shared.patterns.fact(&fact);
        self.ratios_moved |= matches!(fact.what, What::AttemptEnded { .. } | What::IncidentClosed { .. });
        self.whole_truth_due |= matches!(fact.what, What::Resynced { .. } | What::SettingsChanged { .. });
        if let Some(unit) = &fact.unit {
            self.told.insert(unit.clone());
            if fact.what == What::InstanceVanished {
                self.forget(unit);
            }
        }
        if belongs_to_history(&fact) {
            self.store.tell(fact.clone());
        }
        let fact = Arc::new(fact);
        self.shared.reading.feed.push(fact.clone());
        // Without a subscriber nobody needs it.
        let _ = self.shared.facts.send(fact);
    }

    fn forget(&self, unit: &UnitName) {
        if let Some(sampler) = &self.sampler {
            let _ = sampler.forget(unit.clone());
        }
    }

    /// Tells the sampler where the processes of a unit are.
    pub fn follow_control_groups(&self, input: &Input) {
        let Some(sampler) = &self.sampler else { return };
        let follow = |unit: &UnitName, group: &Option<String>| {
            if let Some(group) = group {
                let _ = sampler.watch(unit.clone(), group.clone());
            }
        };
        match input {
            Input::Unit { unit, change } => follow(unit, &change.control_group),
            Input::Snapshot(snapshot) => {
                snapshot.units.iter().for_each(|(unit, change)| follow(unit, &change.control_group));
            }
            Input::Unloaded { unit } => drop(sampler.forget(unit.clone())),
            _ => {}
        }
    }

    pub fn expect_reply(&mut self, id: u64, reply: oneshot::Sender<Reply>) {
        self.replies.insert(id, reply);
    }

    pub fn reload(&mut self, settings: &Settings) {
        self.helper_settings.send_replace(Arc::new(settings.clone()));
        let authority = self.authority.clone();
        tokio::spawn(async move { authority.refresh().await });
        self.workers = settings.workers.keys().cloned().collect();
        if let Some(sampler) = &self.sampler {
            let _ = sampler.set_interval(settings.daemon.health_check_interval);
        }
        self.board().configure(settings);
        self.alerts.configure(settings);
        self.shared.alertmanagers.configure(settings);
        self.ratios_read = None;
    }

    /// Tells of alerts that began or ended. Never waits.
    pub fn tell_alerts(&mut self, engine: &Engine, now: Now) {
        let changes = self.alerts.poll(now, || engine.fleet());
        if changes.is_empty() {
            return;
        }
        for change in &changes {
            self.store.alert(change.alert().clone());
            self.shared.alertmanagers.tell(change);
        }
        let firing = self.alerts.firing();
        self.board().alerts_firing(&firing);
    }

    /// When [`Dispatch::tell_alerts`] has something to tell by time alone.
    pub fn alerts_due(&self) -> Option<Mono> {
        self.alerts.poll_timeout()
    }

    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.firing()
    }

    /// Readings go to the metrics as they are.
    pub fn show_readings(&self, input: &Input, now: Now) {
        if matches!(
            input,
            Input::Usage { .. } | Input::Beats { .. } | Input::Queues { .. } | Input::Errors(_) | Input::Probes { .. }
        ) {
            self.board().input(input, now);
        }
    }

    /// Brings the metrics of the units and workers up to date that the turn touched.
    pub fn publish_units(&mut self, engine: &Engine, mut touched: BTreeSet<UnitName>, now: Now) {
        touched.append(&mut self.told);
        if std::mem::take(&mut self.whole_truth_due) {
            let status = engine.status(now);
            self.board().status(&status);
            self.shared.roster.replace(engine.members());
        }
        self.board().set_ready(engine.ready().is_ok());
        if touched.is_empty() {
            return;
        }
        for unit in &touched {
            self.shared.roster.note(unit, engine.member(unit));
        }
        let instances: Vec<_> = touched.iter().filter_map(|unit| engine.instance(unit, now)).collect();
        let names: BTreeSet<&WorkerName> = instances.iter().map(|(worker, _)| worker).collect();
        let workers: Vec<_> = names.into_iter().filter_map(|name| engine.worker(name)).collect();
        let mut board = self.board();
        for (worker, instance) in &instances {
            board.instance(worker, instance);
        }
        for worker in &workers {
            board.worker(worker);
        }
    }

    /// Brings the counters of those who count for themselves up to date, and now and then the ratios.
    pub fn keep_house(&mut self, recorder: &Recorder) {
        let own = &self.shared.own;
        own.dropped_total(Queue::Signals, self.shared.bus.dropped());
        own.dropped_total(Queue::Record, recorder.stats().dropped);
        own.dropped_total(Queue::Queues, self.shared.counted.brokers.dropped.load(Relaxed));
        own.dropped_total(Queue::Patterns, self.shared.patterns.counted().inputs_dropped());
        own.dropped_total(Queue::Facts, self.store.stats().lost);
        if let Some(sampler) = &self.sampler {
            own.dropped_total(Queue::Usage, sampler.stats().dropped_rounds);
        }
        self.board().systemd_version(&self.shared.bus.version());
        let pause = if self.ratios_moved { RATIOS_SOONEST } else { RATIOS_EVERY };
        if self.ratios_read.is_none_or(|at| at.elapsed() >= pause) {
            self.ratios_moved = false;
            self.ratios_read = Some(Instant::now());
            let (shared, store, workers) = (self.shared.clone(), self.store.clone(), self.workers.clone());
            tokio::spawn(async move {
                // Where the history cannot be read, the gauges go away.
                let ratios = store.ratios(workers, RATIOS_WINDOW).await.unwrap_or_default();
                shared.board.lock().unwrap_or_else(PoisonError::into_inner).ratios(&ratios);
            });
        }
    }

    fn board(&self) -> std::sync::MutexGuard<'_, crate::views::metrics::Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn close(&mut self) {
        self.log.close();
        if let Some(sampler) = self.sampler.take()
            && sampler.stop().is_err()
        {
            warn!("the sampler had ended before");
        }
    }
}

/// What is kept for later: all of an incident, and what operators, the host and we ourselves did. The comings
/// and goings of healthy instances are not.
fn belongs_to_history(fact: &Fact) -> bool {
    let small = matches!(
        fact.what,
        What::HealthChanged { .. }
            | What::InstanceAppeared { .. }
            | What::InstanceVanished
            | What::ConditionCleared { .. }
    );
    fact.incident.is_some() || !small
}
