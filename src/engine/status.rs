//! The present, read from the engine's state. Changes nothing.

use std::collections::BTreeMap;

use crate::model::alert::Fleet;
use crate::model::incident::Stage;
use crate::model::signal::{Member, QueueName};
use crate::model::status::{InstanceStatus, LastBeat, QueueStatus, Status, WorkerStatus};
use crate::model::time::human;
use crate::model::{Health, IncidentId, Mono, Now, UnitName, WorkerName, WorkerSettings};

use super::Engine;
use super::instance::{Instance, Standing};
use super::readings::Readings;

/// The last readings of an instance.
pub struct Glimpse<'e> {
    pub unit: &'e UnitName,
    pub cpus: Option<f64>,
    /// By the rule of `memory_high`, bytes.
    pub memory: Option<u64>,
    /// The last sign of life of the present activation.
    pub beat: Option<Mono>,
}

impl Engine {
    /// Whether we see and decide; the error says why not.
    pub fn ready(&self) -> Result<(), String> {
        match self.sighted {
            true => Ok(()),
            false => Err(format!("systemd is not visible: {}", self.blind_because)),
        }
    }

    pub fn status(&self, now: Now) -> Status {
        let ready = self.ready();
        let mut workers: Vec<WorkerStatus> =
            self.settings.workers.keys().map(|name| self.worker_status(name, now)).collect();
        workers.sort_by_key(|worker| sickness(worker.health));
        Status {
            at: now,
            version: env!("CARGO_PKG_VERSION").into(),
            ready: ready.is_ok(),
            not_ready: ready.err(),
            dry_run: self.settings.daemon.dry_run,
            held: self.held,
            watch_only: self.watch_only.clone(),
            storm: self.storm,
            pauses: self.pauses.clone(),
            host: self.host,
            workers,
            open_incidents: self.incidents.len(),
            waiting_approvals: self.waiting_approvals(|_| true),
            disk: None,
        }
    }

    fn worker_status(&self, name: &WorkerName, now: Now) -> WorkerStatus {
        let mut instances: Vec<InstanceStatus> = self.of_worker(name).map(|i| self.instance_status(i, now)).collect();
        instances.sort_by_key(|instance| sickness(instance.health));
        WorkerStatus { instances, ..self.worker_summary(name) }
    }

    /// A worker as it is now, without its instances.
    pub fn worker(&self, name: &WorkerName) -> Option<WorkerStatus> {
        self.settings.workers.contains_key(name).then(|| self.worker_summary(name))
    }

    fn worker_summary(&self, name: &WorkerName) -> WorkerStatus {
        let settings = &self.settings.workers[name];
        let sum = self.workers.get(name);
        let serving = sum.map_or(0, |sum| sum.serving());
        WorkerStatus {
            worker: name.clone(),
            selector: settings.unit.to_string(),
            critical: settings.critical,
            health: sum.and_then(|sum| sum.health).unwrap_or(Health::Unknown),
            because: self.worker_because(name, serving, settings.needed() as usize),
            paused: self.pauses.iter().any(|pause| pause.worker.as_ref().is_none_or(|worker| worker == name)),
            min_instances: settings.needed(),
            max_instances: settings.max_instances,
            desired: self.wanted_of(name).unwrap_or_else(|| self.of_worker(name).filter(|i| i.should_run()).count()),
            running: self.of_worker(name).filter(|instance| instance.view.active.is_up()).count(),
            serving,
            healthy: sum.map_or(0, |sum| sum.count(Health::Healthy)),
            scaled: self.of_worker(name).filter(|instance| self.owned.contains_key(&instance.unit)).count(),
            waiting_approvals: self.waiting_approvals(|incident| incident.worker == *name),
            queues: self.queue_status(name),
            instances: Vec::new(),
        }
    }

    fn queue_status(&self, name: &WorkerName) -> Vec<QueueStatus> {
        let known = self.workers.get(name).map(|sum| &sum.queues.by_name);
        let status = |queue: &QueueName| {
            let read = known.and_then(|known| known.get(queue));
            let unknown = read.and_then(|queue| queue.unknown.clone());
            QueueStatus { queue: queue.clone(), depth: read.and_then(|queue| queue.last()), unknown }
        };
        self.settings.workers[name].queues.iter().map(status).collect()
    }

    fn of_worker<'a>(&'a self, name: &'a WorkerName) -> impl Iterator<Item = &'a Instance> {
        self.instances.values().filter(move |instance| instance.worker == *name)
    }

    fn worker_because(&self, name: &WorkerName, serving: usize, needed: usize) -> String {
        let count = self.workers.get(name).map_or(0, |sum| sum.instances());
        match count {
            0 => "no instance is there".into(),
            1 if needed <= 1 => self.of_worker(name).next().map(Instance::because).unwrap_or_default(),
            many if serving < needed => format!("{serving} of {many} instances serve, {needed} are needed"),
            many => format!("{serving} of {many} instances serve"),
        }
    }

    /// One instance as it is now, with its worker.
    pub fn instance(&self, unit: &UnitName, now: Now) -> Option<(WorkerName, InstanceStatus)> {
        self.instances.get(unit).map(|instance| (instance.worker.clone(), self.instance_status(instance, now)))
    }

    /// The instance as those need it who ask it for signs of work; `None` unless it is up.
    pub fn member(&self, unit: &UnitName) -> Option<Member> {
        let instance = self.instances.get(unit).filter(|instance| instance.seen && instance.view.active.is_up())?;
        let view = &instance.view;
        Some(Member {
            unit: unit.clone(),
            worker: instance.worker.clone(),
            invocation: view.invocation,
            main_pid: view.main_pid,
            control_group: (!view.control_group.is_empty()).then(|| view.control_group.clone()),
            up_since: view.active_enter,
        })
    }

    /// What was last read of every instance: little enough to be taken after each round of samples.
    pub fn readings(&self) -> impl Iterator<Item = Glimpse<'_>> {
        self.instances.values().map(|instance| {
            let readings = current(instance);
            Glimpse {
                unit: &instance.unit,
                cpus: readings.and_then(|readings| readings.cpus),
                memory: readings.and_then(|readings| readings.memory_used),
                beat: instance.work.beats.last.map(|(at, _)| at),
            }
        })
    }

    /// Ready messages of every queue of every worker, as last read.
    pub fn depths(&self) -> impl Iterator<Item = (&WorkerName, &QueueName, Option<u64>)> {
        let of_worker = |settings: &WorkerSettings| self.workers.get(&settings.name).map(|sum| &sum.queues.by_name);
        self.settings.workers.values().flat_map(move |settings| {
            let known = of_worker(settings);
            settings.queues.iter().map(move |queue| {
                let last = known.and_then(|known| known.get(queue)).and_then(|queue| queue.last());
                (&settings.name, queue, last.map(|depth| depth.ready))
            })
        })
    }

    /// All that are up.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.instances.keys().filter_map(|unit| self.member(unit))
    }

    fn instance_status(&self, instance: &Instance, now: Now) -> InstanceStatus {
        let readings = current(instance);
        let up_since = instance.view.active.is_up().then_some(instance.view.active_enter).flatten();
        InstanceStatus {
            unit: instance.unit.clone(),
            health: instance.health,
            because: instance.because(),
            view: instance.view.clone(),
            usage: readings.and_then(|readings| readings.last.clone()),
            cpus: readings.and_then(|readings| readings.cpus),
            memory_used_bytes: readings.and_then(|readings| readings.memory_used),
            memory_limit_bytes: readings.and_then(|readings| readings.memory_limit),
            up_since: up_since.map(|at| now.wall_of(at)),
            restarts: restarts(instance),
            heartbeat: instance.work.beats.last.map(|(at, source)| LastBeat { at: now.wall_of(at), source }),
            errors_per_minute: self
                .settings
                .workers
                .get(&instance.worker)
                .and_then(|settings| instance.work.errors.per_minute(settings)),
            scaled: self.owned.contains_key(&instance.unit),
            conditions: instance.conditions.iter().map(|(c, held)| (*c, held.evidence.clone())).collect(),
            incident: instance.incident,
            doing: instance.incident.and_then(|id| self.doing(id, now)),
        }
    }

    /// What is being done for an incident, or waited for.
    fn doing(&self, id: IncidentId, now: Now) -> Option<String> {
        let incident = self.incidents.get(&id)?;
        let verify_for = human(self.verify_for(incident));
        if let Some(running) = incident.last_attempt().filter(|attempt| attempt.is_running()) {
            return Some(match (running.stage, running.well_at) {
                (Stage::Draining, _) => format!("{}: finishing its work", running.action),
                (Stage::Verifying, Some(_)) => format!("{}: well again, watched for {verify_for}", running.action),
                (Stage::Verifying, None) => format!("{}: waiting for health", running.action),
                _ => format!("{}: under way", running.action),
            });
        }
        let instance = self.instances.get(&incident.unit)?;
        match (&incident.waiting, instance.well_since) {
            (_, Some(_)) => {
                // One that fails again and again is up in between.
                let how = if instance.health.serves() { "well" } else { "up" };
                Some(format!("{how} again by itself, watched for {verify_for}"))
            }
            (Some(refusal), _) => {
                let left = refusal.until.filter(|until| *until > now.mono);
                let until = left.map(|until| format!(", {} left", human(until.since(now.mono)))).unwrap_or_default();
                Some(format!("waiting: {}{until}", refusal.text))
            }
            (None, None) => None,
        }
    }
}

/// What was read of a process that is gone is of no use.
fn current(instance: &Instance) -> Option<&Readings> {
    instance.view.active.is_up().then_some(&instance.readings)
}

pub(super) fn restarts(instance: &Instance) -> BTreeMap<String, u32> {
    instance.restarts.iter().map(|(cause, count)| (cause.to_string(), *count)).collect()
}

/// Sick first.
fn sickness(health: Health) -> u8 {
    match health {
        Health::Dead => 0,
        Health::Critical => 1,
        Health::Warning => 2,
        Health::Unknown => 3,
        Health::Healthy => 4,
        Health::Stopped => 5,
    }
}

impl Engine {
    /// Whether the unit should run, in a sentence.
    pub(super) fn standing_of(instance: &Instance) -> String {
        match instance.standing {
            Standing::ShouldRun if instance.view.active.is_up() => {
                "should run: it has been started and not been stopped".into()
            }
            _ => instance.standing_text(),
        }
    }
}

/// The instances of all workers, counted by health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub workers: usize,
    pub open_incidents: usize,
    counts: [usize; Health::ALL.len()],
}

impl Sum {
    pub fn count(&self, health: Health) -> usize {
        self.counts[health as usize]
    }

    pub fn instances(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl Engine {
    /// Workers by health.
    pub fn fleet(&self) -> Fleet {
        let health = self.workers.values().filter_map(|sum| sum.health);
        let count = |is: fn(Health) -> bool| health.clone().filter(|health| is(*health)).count();
        Fleet { total: self.settings.workers.len(), healthy: count(Health::serves), critical: count(Health::is_sick) }
    }

    pub fn sum(&self) -> Sum {
        let mut sum =
            Sum { workers: self.settings.workers.len(), open_incidents: self.incidents.len(), ..Sum::default() };
        for worker in self.workers.values() {
            for health in Health::ALL {
                sum.counts[*health as usize] += worker.count(*health);
            }
        }
        sum
    }

    pub fn is_held(&self) -> bool {
        self.held
    }
}
