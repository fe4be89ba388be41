//! The series of workers: health, incidents, recoveries, availability and the ratios over 30 days.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::catalog as c;
use super::histogram::{Histogram, bound_labels};
use super::text::{Text, closed, label};
use crate::model::action::Action;
use crate::model::approval::Verdict;
use crate::model::condition::{Condition, Health};
use crate::model::fact::{Availability, Gate};
use crate::model::history::WorkerRatios;
use crate::model::incident::{IncidentId, Outcome, Resolution};
use crate::model::name::WorkerName;
use crate::model::settings::{Settings, WorkerSettings};
use crate::model::status::WorkerStatus;
use crate::model::time::{Mono, Wall};

/// The label `condition` of what an operator asked for.
pub const REQUESTED: &str = "requested";
/// The healths that an incident can have, as `unitmedic_incidents_open` shows them.
pub const INCIDENT_HEALTH: [Health; 4] = [Health::Healthy, Health::Warning, Health::Critical, Health::Dead];

/// Instances as the status counts them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Instances {
    desired: usize,
    running: usize,
    healthy: usize,
    scaled: usize,
    waiting: usize,
}

#[derive(Debug)]
pub struct Worker {
    /// `worker="…"`, made once.
    labels: String,
    min: u32,
    max: Option<u32>,
    health: Option<Health>,
    instances: Option<Instances>,
    pub paused: bool,
    incidents: [u64; Condition::ALL.len()],
    requested: u64,
    /// By [`INCIDENT_HEALTH`].
    pub open: [u64; INCIDENT_HEALTH.len()],
    closed: [u64; Resolution::ALL.len()],
    attempts: [u64; ACTION_KINDS],
    suppressed: [u64; Gate::ALL.len()],
    approvals: [u64; Verdict::ALL.len()],
    recoveries: BTreeMap<(Option<Condition>, Action, Outcome), u64>,
    durations: BTreeMap<Action, Histogram>,
    time: TimeCount,
    pub ratios: WorkerRatios,
}

/// Kinds of actions; all hooks are one kind, the last.
const ACTION_KINDS: usize = Action::ALL.len() + 1;

fn action_kind(action: Action) -> usize {
    Action::ALL.iter().position(|known| *known == action).unwrap_or(ACTION_KINDS - 1)
}

impl Worker {
    fn new(settings: &WorkerSettings) -> Self {
        Self {
            labels: label("worker", settings.name.as_str()),
            min: settings.needed(),
            max: settings.max_instances,
            health: None,
            instances: None,
            paused: false,
            incidents: Default::default(),
            requested: 0,
            open: Default::default(),
            closed: Default::default(),
            attempts: Default::default(),
            suppressed: Default::default(),
            approvals: Default::default(),
            recoveries: expected_recoveries(settings).map(|key| (key, 0)).collect(),
            durations: BTreeMap::new(),
            time: TimeCount::default(),
            ratios: WorkerRatios::default(),
        }
    }

    fn configure(&mut self, settings: &WorkerSettings) {
        (self.min, self.max) = (settings.needed(), settings.max_instances);
        for key in expected_recoveries(settings) {
            self.recoveries.entry(key).or_default();
        }
    }

    pub fn set_health(&mut self, health: Health) {
        self.health = Some(health);
    }

    pub fn set(&mut self, status: &WorkerStatus) {
        self.health = Some(status.health);
        self.paused = status.paused;
        let WorkerStatus { desired, running, healthy, scaled, waiting_approvals: waiting, .. } = *status;
        self.instances = Some(Instances { desired, running, healthy, scaled, waiting });
    }

    pub fn incident_opened(&mut self, condition: Option<Condition>) {
        match condition {
            Some(condition) => self.incidents[condition as usize] += 1,
            None => self.requested += 1,
        }
    }

    pub fn incident_closed(&mut self, resolution: Resolution) {
        self.closed[resolution as usize] += 1;
    }

    pub fn attempted(&mut self, action: Action) {
        self.attempts[action_kind(action)] += 1;
    }

    pub fn suppressed(&mut self, gate: Gate) {
        self.suppressed[gate as usize] += 1;
    }

    /// How a question to the operators ended.
    pub fn answered(&mut self, verdict: Verdict) {
        self.approvals[verdict as usize] += 1;
    }

    pub fn recovered(
        &mut self,
        condition: Option<Condition>,
        action: Action,
        outcome: Outcome,
        time_to_recover: Option<Duration>,
        of: Option<(IncidentId, Wall)>,
    ) {
        *self.recoveries.entry((condition, action, outcome)).or_default() += 1;
        if let (Outcome::Succeeded, Some(took)) = (outcome, time_to_recover) {
            self.durations.entry(action).or_default().observe(took, of);
        }
    }

    pub fn availability(&mut self, to: Availability, at: Mono) {
        self.time.advance(at);
        self.time.state = to;
    }

    /// While the bus is lost nothing is observed.
    pub fn seeing(&mut self, seeing: bool, at: Mono) {
        self.time.advance(at);
        self.time.seeing = seeing;
    }
}

/// Available and observed time up to `at`.
#[derive(Debug)]
struct TimeCount {
    state: Availability,
    seeing: bool,
    at: Mono,
    available: Duration,
    observed: Duration,
}

impl Default for TimeCount {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self { state: Availability::NotCounted, seeing: true, at: Mono(0), available: zero, observed: zero }
    }
}

impl TimeCount {
    fn advance(&mut self, now: Mono) {
        (self.available, self.observed) = self.until(now);
        self.at = self.at.max(now);
    }

    fn until(&self, now: Mono) -> (Duration, Duration) {
        let span = now.since(self.at);
        match self.state {
            _ if !self.seeing => (self.available, self.observed),
            Availability::Available => (self.available + span, self.observed + span),
            Availability::Unavailable => (self.available, self.observed + span),
            Availability::NotCounted => (self.available, self.observed),
        }
    }
}

/// Combinations that make sense start at 0, so that the first one counts as an increase: the default plans, what
/// the operator configured, and what an operator can ask for. `superseded` and `in_doubt` appear when they happen.
fn expected_recoveries(settings: &WorkerSettings) -> impl Iterator<Item = (Option<Condition>, Action, Outcome)> {
    use {Action::*, Condition::*};
    let mut plans = BTreeSet::from([
        (Some(Dead), Restart),
        (Some(OomKilled), Restart),
        (Some(StartStuck), Restart),
        (Some(CrashLoop), Restart),
        (Some(MemoryHigh), GracefulRestart),
        (None, Restart),
        (None, GracefulRestart),
    ]);
    for (condition, actions) in &settings.plans {
        plans.extend(actions.iter().map(|action| (Some(*condition), *action)));
    }
    plans.retain(|(_, action)| *action != Escalate);
    plans.into_iter().flat_map(|(condition, action)| {
        [Outcome::Succeeded, Outcome::Failed].map(|outcome| (condition, action, outcome))
    })
}

/// All workers of the configuration.
pub struct Workers {
    workers: BTreeMap<WorkerName, Worker>,
    labels: Labels,
}

/// Rendered once: `,key="value"` for each value of a closed set.
struct Labels {
    health: Vec<String>,
    incident_health: Vec<String>,
    condition: Vec<String>,
    requested: String,
    resolution: Vec<String>,
    action: Vec<String>,
    gate: Vec<String>,
    verdict: Vec<String>,
    bound: Vec<String>,
}

impl Workers {
    pub fn new() -> Self {
        let labels = Labels {
            health: closed("health", Health::ALL.iter().map(|it| it.as_str())),
            incident_health: closed("health", INCIDENT_HEALTH.iter().map(|it| it.as_str())),
            condition: closed("condition", Condition::ALL.iter().map(|it| it.as_str())),
            requested: format!(",{}", label("condition", REQUESTED)),
            resolution: closed("resolution", Resolution::ALL.iter().map(|it| it.as_str())),
            action: closed("action", Action::ALL.iter().map(|it| it.kind()).chain(["hook"])),
            gate: closed("reason", Gate::ALL.iter().map(|it| it.as_str())),
            verdict: closed("answer", Verdict::WORDS.iter().copied()),
            bound: bound_labels(),
        };
        Self { workers: BTreeMap::new(), labels }
    }

    pub fn configure(&mut self, settings: &Settings) {
        self.workers.retain(|name, _| settings.workers.contains_key(name));
        for (name, settings) in &settings.workers {
            match self.workers.get_mut(name) {
                Some(worker) => worker.configure(settings),
                None => drop(self.workers.insert(name.clone(), Worker::new(settings))),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn has(&self, name: &WorkerName) -> bool {
        self.workers.contains_key(name)
    }

    /// `None` for one that the configuration no longer has.
    pub fn get(&mut self, name: &WorkerName) -> Option<&mut Worker> {
        self.workers.get_mut(name)
    }

    pub fn each(&mut self) -> impl Iterator<Item = (&WorkerName, &mut Worker)> {
        self.workers.iter_mut()
    }

    /// `seeing`: without it, what was seen has no series; what happened and what is configured has.
    pub fn write(&self, text: &mut Text, now: Mono, seeing: bool) {
        self.write_present(text, seeing);
        self.write_incidents(text);
        self.write_recoveries(text);
        let workers = || self.workers.values();
        text.family(&c::AVAILABLE, |series| {
            workers().for_each(|worker| series.float(&worker.labels, "", worker.time.until(now).0.as_secs_f64()))
        });
        text.family(&c::OBSERVED, |series| {
            workers().for_each(|worker| series.float(&worker.labels, "", worker.time.until(now).1.as_secs_f64()))
        });
        self.write_ratios(text);
    }

    fn write_present(&self, text: &mut Text, seeing: bool) {
        let workers = || self.workers.values();
        text.family(&c::WORKER_HEALTH, |series| {
            for (worker, health) in workers().filter(|_| seeing).filter_map(|worker| Some((worker, worker.health?))) {
                for (label, each) in self.labels.health.iter().zip(Health::ALL) {
                    series.bool(&worker.labels, label, *each == health);
                }
            }
        });
        text.family(&c::WORKER_INSTANCES, |series| {
            for worker in workers() {
                series.int(&worker.labels, ",state=\"min\"", worker.min.into());
                if let Some(max) = worker.max {
                    series.int(&worker.labels, ",state=\"max\"", max.into());
                }
                if let Some(instances) = worker.instances.filter(|_| seeing) {
                    series.int(&worker.labels, ",state=\"desired\"", instances.desired as u64);
                    series.int(&worker.labels, ",state=\"running\"", instances.running as u64);
                    series.int(&worker.labels, ",state=\"healthy\"", instances.healthy as u64);
                }
            }
        });
        text.family(&c::APPROVALS_WAITING, |series| {
            for (worker, instances) in workers().filter_map(|worker| Some((worker, worker.instances?))) {
                series.int(&worker.labels, "", instances.waiting as u64);
            }
        });
        text.family(&c::WORKER_SCALED, |series| {
            for (worker, instances) in workers().filter_map(|worker| Some((worker, worker.instances?))) {
                series.int(&worker.labels, "", instances.scaled as u64);
            }
        });
        text.family(&c::PAUSED, |series| {
            workers().for_each(|worker| series.bool(&worker.labels, "", worker.paused));
        });
    }

    fn write_incidents(&self, text: &mut Text) {
        let workers = || self.workers.values();
        text.family(&c::INCIDENTS, |series| {
            for worker in workers() {
                for (label, count) in self.labels.condition.iter().zip(worker.incidents) {
                    series.int(&worker.labels, label, count);
                }
                series.int(&worker.labels, &self.labels.requested, worker.requested);
            }
        });
        let mut counts = |metric, labels: &[String], read: fn(&Worker) -> &[u64]| {
            text.family(metric, |series| {
                for worker in workers() {
                    for (label, count) in labels.iter().zip(read(worker)) {
                        series.int(&worker.labels, label, *count);
                    }
                }
            });
        };
        counts(&c::INCIDENTS_OPEN, &self.labels.incident_health, |worker| &worker.open);
        counts(&c::INCIDENTS_CLOSED, &self.labels.resolution, |worker| &worker.closed);
        counts(&c::ATTEMPTS, &self.labels.action, |worker| &worker.attempts);
        counts(&c::SUPPRESSED, &self.labels.gate, |worker| &worker.suppressed);
        counts(&c::APPROVALS, &self.labels.verdict, |worker| &worker.approvals);
    }

    fn write_recoveries(&self, text: &mut Text) {
        text.family(&c::RECOVERIES, |series| {
            let mut more = String::new();
            for worker in self.workers.values() {
                for ((condition, action, outcome), count) in &worker.recoveries {
                    more.clear();
                    more.push_str(match condition {
                        Some(condition) => &self.labels.condition[*condition as usize],
                        None => &self.labels.requested,
                    });
                    more.push_str(&self.labels.action[action_kind(*action)]);
                    more.push_str(",outcome=\"");
                    more.push_str(outcome.as_str());
                    more.push('"');
                    series.int(&worker.labels, &more, *count);
                }
            }
        });
        text.family(&c::RECOVERY_DURATION, |series| {
            for worker in self.workers.values() {
                for (action, histogram) in &worker.durations {
                    let labels = format!("{}{}", worker.labels, self.labels.action[action_kind(*action)]);
                    histogram.write(series, &labels, &self.labels.bound);
                }
            }
        });
    }

    fn write_ratios(&self, text: &mut Text) {
        let mut ratio = |metric, read: fn(&WorkerRatios) -> Option<f64>| {
            text.family(metric, |series| {
                for worker in self.workers.values() {
                    if let Some(value) = read(&worker.ratios) {
                        series.float(&worker.labels, "", value);
                    }
                }
            });
        };
        ratio(&c::SUCCESS_RATIO, |ratios| ratios.recovery_success);
        ratio(&c::MTTR, |ratios| ratios.mttr.map(|span| span.as_secs_f64()));
        ratio(&c::AVAILABILITY_RATIO, |ratios| ratios.availability);
        ratio(&c::FALSE_ALARM_RATIO, |ratios| ratios.false_alarms);
    }
}
