//! The board: the present value of everything, told of changes, read by scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::alerts::Alerts;
use super::catalog as c;
use super::own::Own;
use super::process::{self, Process};
use super::queues::Queues;
use super::text::{Text, label};
use super::units::{INSTANCES_MAX, Instance, Units};
use super::workers::{INCIDENT_HEALTH, Workers};
use crate::model::action::Action;
use crate::model::alert::{Alert, Delivery};
use crate::model::approval::Verdict;
use crate::model::condition::{Condition, Health};
use crate::model::fact::{Fact, Gate, What};
use crate::model::history::WorkerRatios;
use crate::model::incident::{AttemptId, Incident, IncidentId, Outcome};
use crate::model::input::Input;
use crate::model::name::{UnitName, WorkerName};
use crate::model::settings::Settings;
use crate::model::status::{InstanceStatus, Status, WorkerStatus};
use crate::model::time::{Mono, Now};
use crate::model::usage::Usage;

/// A sample is shown for so many intervals after it was taken.
const STALE_INTERVALS: u32 = 3;
/// Incidents and attempts that are followed at once. There is one incident per unit, so more cannot be shown.
const FOLLOWED_MAX: usize = 100_000;
/// Longest text of a label of `build_info`.
const VERSION_MAX: usize = 64;

/// What runs here.
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub version: String,
    /// Commit, or empty.
    pub revision: String,
    /// Version of systemd, or empty while it is not known.
    pub systemd: String,
}

/// Tell it of changes with one lock held per turn of the event loop, so that no scrape sees half a turn.
pub struct Board {
    build: Build,
    own: Own,
    units: Units,
    workers: Workers,
    queues: Queues,
    alerts: Alerts,
    open: BTreeMap<IncidentId, Open>,
    /// Attempts that have been counted and have not ended.
    acted: BTreeSet<AttemptId>,
    /// The bus is there and a snapshot has been applied.
    seeing: bool,
    ready: bool,
    dry_run: bool,
    held: bool,
    watch_only: bool,
    storm: bool,
    stale_after: Duration,
    started: Option<f64>,
    /// Size of the last exposition, so that the next one grows once.
    last_size: usize,
}

struct Open {
    worker: WorkerName,
    /// Index into [`INCIDENT_HEALTH`].
    health: usize,
}

impl Board {
    /// `own` is shared with whoever counts the daemon's doings.
    pub fn new(build: Build, own: Own, settings: &Settings) -> Self {
        let mut board = Self {
            build,
            own,
            units: Units::new(INSTANCES_MAX),
            workers: Workers::new(),
            queues: Queues::default(),
            alerts: Alerts::default(),
            open: BTreeMap::new(),
            acted: BTreeSet::new(),
            seeing: false,
            ready: false,
            dry_run: false,
            held: false,
            watch_only: false,
            storm: false,
            stale_after: Duration::ZERO,
            started: process::started(),
            last_size: 0,
        };
        board.configure(settings);
        board
    }

    /// The daemon's own counters; clones count together.
    pub fn own(&self) -> &Own {
        &self.own
    }

    #[cfg(test)]
    pub(super) fn with_limit(mut self, instances: usize) -> Self {
        self.units = Units::new(instances);
        self
    }

    /// New settings: series of workers that are gone go away, those of new ones start at 0.
    pub fn configure(&mut self, settings: &Settings) {
        self.workers.configure(settings);
        self.queues.configure(settings);
        self.units.retain(|worker, _| settings.workers.contains_key(worker));
        self.units.forget_dropped();
        self.dry_run = settings.daemon.dry_run;
        self.stale_after = settings.daemon.health_check_interval * STALE_INTERVALS;
    }

    /// Alerts that hold, counted by severity.
    pub fn alerts_firing(&mut self, firing: &[Alert]) {
        self.alerts.firing = Default::default();
        firing.iter().for_each(|alert| self.alerts.firing[alert.severity as usize] += 1);
    }

    /// How alerts reach each Alertmanager.
    pub fn deliveries(&mut self, deliveries: Vec<Delivery>) {
        self.alerts.deliveries = deliveries;
    }

    /// The version of systemd, once the bus has told it.
    pub fn systemd_version(&mut self, version: &str) {
        self.build.systemd = version.to_owned();
    }

    /// Whether it sees, decides and acts, as `/-/ready` tells it. Without this word it follows the bus.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready && self.seeing;
    }

    /// Incidents that were open when the daemon started, as the store returned them.
    pub fn restore<'a>(&mut self, incidents: impl IntoIterator<Item = &'a Incident>) {
        for incident in incidents.into_iter().filter(|incident| incident.is_open()) {
            self.follow(incident.id, &incident.worker, incident.worst);
        }
    }

    /// Readings are shown as they came in; those of units and queues that are not watched are ignored.
    pub fn input(&mut self, input: &Input, now: Now) {
        match input {
            Input::Usage { samples, .. } => self.usage(samples),
            Input::Queues { readings } => self.queues.take(readings),
            _ => self.units.signal(input, now),
        }
    }

    /// One round of samples.
    pub fn usage(&mut self, samples: &[Usage]) {
        samples.iter().for_each(|usage| self.units.sample(usage));
    }

    /// The present state of one unit: for units that changed in this turn.
    pub fn unit(&mut self, worker: &WorkerName, unit: &UnitName, instance: Instance) {
        if self.workers.has(worker) {
            self.units.set(worker, unit, instance);
        }
    }

    /// The same from a status.
    pub fn instance(&mut self, worker: &WorkerName, status: &InstanceStatus) {
        self.unit(worker, &status.unit, status.into());
    }

    /// Counts and pause of one worker; its `instances` are not looked at.
    pub fn worker(&mut self, status: &WorkerStatus) {
        if let Some(worker) = self.workers.get(&status.worker) {
            worker.set(status);
        }
    }

    /// Everything at once: after a resync, after new settings, or before each scrape. Units that are not in it
    /// go away; samples that are in it are taken over.
    pub fn status(&mut self, status: &Status) {
        self.ready = status.ready;
        self.dry_run = status.dry_run;
        self.held = status.held;
        self.watch_only = status.watch_only.is_some();
        self.storm = status.storm;
        let there: BTreeSet<&UnitName> =
            status.workers.iter().flat_map(|worker| worker.instances.iter().map(|instance| &instance.unit)).collect();
        self.units.retain(|_, unit| there.contains(unit));
        self.units.forget_dropped();
        for worker in &status.workers {
            self.worker(worker);
            for instance in &worker.instances {
                self.instance(&worker.worker, instance);
                if let Some(usage) = &instance.usage {
                    self.units.sample(usage);
                }
            }
        }
    }

    /// The gauges over 30 days, from the history. Workers that are not in it lose theirs.
    pub fn ratios(&mut self, ratios: &BTreeMap<WorkerName, WorkerRatios>) {
        for (name, worker) in self.workers.each() {
            worker.ratios = ratios.get(name).cloned().unwrap_or_default();
        }
    }

    /// Something happened. Call it for every fact, in order; after `Resynced` call [`Board::status`] as well, for
    /// states that were last told before a lost bus are forgotten.
    pub fn apply(&mut self, fact: &Fact) {
        self.apply_to_daemon(fact);
        if let Some(worker) = &fact.worker {
            self.apply_to_worker(fact, worker);
            if let Some(unit) = fact.unit.as_ref().filter(|_| self.workers.has(worker)) {
                self.apply_to_unit(fact, worker, unit);
            }
        }
    }

    fn apply_to_daemon(&mut self, fact: &Fact) {
        match &fact.what {
            What::BusLost { .. } => {
                self.see(false, fact.at.mono);
                self.units.blind();
            }
            What::Resynced { reason, .. } => {
                self.see(true, fact.at.mono);
                self.own.resynced(*reason, fact.at.wall);
            }
            What::HoldChanged { held } => self.held = *held,
            What::WatchOnly { .. } => self.watch_only = true,
            What::StormOpened { .. } => self.storm = true,
            What::JournalGap { .. } => self.own.journal_gap(),
            What::StormClosed { .. } => self.storm = false,
            What::ConditionRaised { condition, delay: Some(delay), .. } => self.own.detected(*condition, *delay),
            What::Paused { .. } => self.pause(fact.worker.as_ref(), true),
            What::Resumed { .. } => self.pause(fact.worker.as_ref(), false),
            _ => {}
        }
    }

    fn see(&mut self, seeing: bool, at: Mono) {
        (self.seeing, self.ready) = (seeing, seeing);
        self.workers.each().for_each(|(_, worker)| worker.seeing(seeing, at));
    }

    /// Without a name: all workers.
    fn pause(&mut self, only: Option<&WorkerName>, paused: bool) {
        for (name, worker) in self.workers.each() {
            if only.is_none_or(|only| only == name) {
                worker.paused = paused;
            }
        }
    }

    fn apply_to_worker(&mut self, fact: &Fact, name: &WorkerName) {
        match (&fact.what, fact.incident) {
            (What::IncidentOpened { condition, .. } | What::IncidentReopened { condition, .. }, Some(id)) => {
                self.follow(id, name, condition.map_or(Health::Healthy, Condition::health));
            }
            (What::ConditionJoined { condition, .. }, Some(id)) => self.follow(id, name, condition.health()),
            (What::IncidentClosed { .. }, Some(id)) => drop(self.open.remove(&id)),
            _ => {}
        }
        let counted = self.count_attempt(&fact.what);
        let Some(worker) = self.workers.get(name) else { return };
        if let Some(action) = counted {
            worker.attempted(action);
        }
        match &fact.what {
            What::WorkerHealthChanged { to, .. } => worker.set_health(*to),
            What::AvailabilityChanged { to } => worker.availability(*to, fact.at.mono),
            What::IncidentOpened { condition, .. } => worker.incident_opened(*condition),
            What::IncidentClosed { resolution, .. } => worker.incident_closed(*resolution),
            What::ActionSuppressed { refusal, .. } => worker.suppressed(refusal.gate),
            What::ApprovalAsked { .. } => worker.suppressed(Gate::Approval),
            What::ApprovalAnswered { approved: true, .. } => worker.answered(Verdict::Approved),
            What::ApprovalAnswered { approved: false, .. } => worker.answered(Verdict::Rejected),
            What::ApprovalExpired { .. } => worker.answered(Verdict::Expired),
            What::AttemptEnded { action, condition, outcome, time_to_recover, .. } => {
                let of = fact.incident.map(|incident| (incident, fact.at.wall));
                worker.recovered(*condition, *action, *outcome, *time_to_recover, of);
            }
            _ => {}
        }
    }

    /// An attempt counts once: when systemd took the order, or when the call failed. A refusal is a gate's answer
    /// and no attempt; an attempt of a former life was counted there.
    fn count_attempt(&mut self, what: &What) -> Option<Action> {
        match what {
            What::Escalated { .. } => Some(Action::Escalate),
            What::AttemptActed { attempt, action, .. } if self.acted.len() < FOLLOWED_MAX => {
                self.acted.insert(*attempt).then_some(*action)
            }
            What::AttemptEnded { attempt, action, outcome, .. } => {
                let counted = self.acted.remove(attempt);
                (!counted && *outcome == Outcome::Failed).then_some(*action)
            }
            _ => None,
        }
    }

    fn apply_to_unit(&mut self, fact: &Fact, worker: &WorkerName, unit: &UnitName) {
        match &fact.what {
            What::InstanceAppeared { health } => self.units.set_health(worker, unit, *health),
            What::HealthChanged { to, .. } => self.units.set_health(worker, unit, *to),
            What::InstanceVanished => self.units.remove(unit),
            What::Restarted { by, count } => self.units.restarted(worker, unit, *by, *count),
            What::ConditionRaised { condition: Condition::OomKilled, .. } => self.units.oom_killed(worker, unit),
            _ => {}
        }
    }

    /// An incident keeps the worst health that it has had.
    fn follow(&mut self, id: IncidentId, worker: &WorkerName, health: Health) {
        let health = INCIDENT_HEALTH.iter().position(|each| *each == health).unwrap_or(0);
        if let Some(open) = self.open.get_mut(&id) {
            open.health = open.health.max(health);
        } else if self.open.len() < FOLLOWED_MAX {
            self.open.insert(id, Open { worker: worker.clone(), health });
        }
    }

    /// Summed up for a scrape, not for every fact.
    fn show_open(&mut self) {
        self.workers.each().for_each(|(_, worker)| worker.open = Default::default());
        for open in self.open.values() {
            if let Some(worker) = self.workers.get(&open.worker) {
                worker.open[open.health] += 1;
            }
        }
    }

    /// The exposition in text format 0.0.4; with `exemplars` for a reader who knows OpenMetrics.
    pub fn render(&mut self, now: Now, process: &Process, exemplars: bool) -> String {
        self.show_open();
        // A little room for growth; the first time a rough guess of the whole.
        let guess = 16_384 + self.units.len() * 3_500 + self.workers.len() * 6_000;
        let mut text =
            Text::with_capacity(if self.last_size == 0 { guess } else { self.last_size + (self.last_size >> 6) });
        text = text.with_exemplars(exemplars);
        self.write_state(&mut text);
        self.workers.write(&mut text, now.mono, self.seeing);
        if self.seeing {
            self.units.write(&mut text, now.mono, self.stale_after);
        }
        self.queues.write(&mut text);
        text.single_int(&c::SERIES_DROPPED, self.units.dropped() as u64);
        self.alerts.write(&mut text);
        self.own.write(&mut text);
        self.write_process(&mut text, process);
        let mut out = text.finish();
        self.own.encode(&mut out);
        self.last_size = out.len();
        // Only whole strings were copied in; should that ever not hold, nothing is lost but the odd byte.
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    fn write_state(&self, text: &mut Text) {
        for (metric, value) in [
            (&c::UP, self.seeing),
            (&c::READY, self.ready),
            (&c::DBUS_CONNECTED, self.seeing),
            (&c::DRY_RUN, self.dry_run),
            (&c::HELD, self.held),
            (&c::WATCH_ONLY, self.watch_only),
            (&c::STORM, self.storm),
        ] {
            text.single_int(metric, value.into());
        }
        let part = |key, value: &str| label(key, &value.chars().take(VERSION_MAX).collect::<String>());
        let Build { version, revision, systemd } = &self.build;
        let labels = [part("version", version), part("revision", revision), part("systemd", systemd)].join(",");
        text.family(&c::BUILD_INFO, |series| series.int(&labels, "", 1));
    }

    fn write_process(&self, text: &mut Text, process: &Process) {
        text.single(&c::PROCESS_CPU, process.cpu.map(|cpu| cpu.as_secs_f64()));
        if let Some(bytes) = process.resident_bytes {
            text.single_int(&c::PROCESS_RESIDENT, bytes);
        }
        text.single(&c::PROCESS_START, self.started);
        if let Some(fds) = process.open_fds {
            text.single_int(&c::PROCESS_FDS, fds);
        }
    }
}
