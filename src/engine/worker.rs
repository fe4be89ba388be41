//! A worker as the sum of its instances: health, availability, and the storm breaker over all workers.

use std::collections::VecDeque;

use crate::model::fact::Availability;
use crate::model::{Action, Command, Health, IncidentId, Selector, UnitName, What, WorkerName};

use super::Engine;
use super::instance::Standing;
use super::queues::Queues;
use super::scale::Scaling;

/// The storm breaker closes at this share of its opening threshold.
const STORM_CLOSES_AT: f64 = 0.5;

#[derive(Default)]
pub struct Worker {
    pub counts: Counts,
    pub health: Option<Health>,
    pub availability: Option<Availability>,
    /// An operator's request for the whole worker: the units that are still to come.
    pub rolling: VecDeque<Rolling>,
    /// The incident that carries the request now; its end lets the next unit go.
    pub rolled: Option<IncidentId>,
    pub queues: Queues,
    pub scaling: Scaling,
}

/// Instances by health, kept as they change so that no turn has to count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts([usize; Health::ALL.len()]);

impl Counts {
    fn shift(&mut self, from: Option<Health>, to: Option<Health>) {
        if let Some(from) = from {
            self.0[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.0[to as usize] += 1;
        }
    }

    pub fn of(&self, health: Health) -> usize {
        self.0[health as usize]
    }

    pub fn all(&self) -> usize {
        self.0.iter().sum()
    }

    /// Healthy and warning.
    pub fn serving(&self) -> usize {
        self.of(Health::Healthy) + self.of(Health::Warning)
    }

    pub fn sick(&self) -> usize {
        self.of(Health::Critical) + self.of(Health::Dead)
    }
}

/// One unit that waits its turn in an operator's request.
#[derive(Debug, Clone)]
pub struct Rolling {
    pub unit: UnitName,
    pub action: Action,
    pub force: bool,
    pub who: String,
}

impl Worker {
    pub fn instances(&self) -> usize {
        self.counts.all()
    }

    pub fn count(&self, health: Health) -> usize {
        self.counts.of(health)
    }

    pub fn serving(&self) -> usize {
        self.counts.serving()
    }

    pub fn sick(&self) -> usize {
        self.counts.sick()
    }

    /// Health of the whole, given how many serving instances it needs.
    pub fn judge(&self, needed: usize) -> Health {
        if self.instances() == 0 || self.count(Health::Unknown) == self.instances() {
            return Health::Unknown;
        }
        if self.count(Health::Stopped) + self.count(Health::Unknown) == self.instances() {
            return match self.count(Health::Unknown) {
                0 => Health::Stopped,
                _ => Health::Unknown,
            };
        }
        if self.serving() >= needed {
            let all_well = self.sick() == 0 && self.count(Health::Warning) == 0;
            return if all_well { Health::Healthy } else { Health::Warning };
        }
        match (self.serving(), self.count(Health::Critical), self.count(Health::Dead)) {
            (0, 0, dead) if dead > 0 => Health::Dead,
            (_, 0, 0) => Health::Warning,
            _ => Health::Critical,
        }
    }

    /// Paused, stopped and unseen time does not count.
    fn judge_availability(&self, needed: usize, paused: bool) -> Availability {
        let judged = self.serving() + self.sick();
        if paused || judged == 0 {
            Availability::NotCounted
        } else if self.serving() >= needed {
            Availability::Available
        } else if self.sick() == 0 {
            // Short of instances only because some are starting, stopped on purpose or unseen.
            Availability::NotCounted
        } else {
            Availability::Unavailable
        }
    }
}

impl Engine {
    /// Makes what the configuration demands visible: a plain unit that systemd does not have, and the missing
    /// instances of a template with an explicit minimum.
    pub(super) fn expect_configured(&mut self, name: &WorkerName) {
        let settings = self.settings.workers[name].clone();
        self.workers.entry(name.clone()).or_default();
        match &settings.unit {
            Selector::Unit(unit) if !self.instances.contains_key(unit) => {
                self.add_instance(unit, name);
                self.desk.command(Command::Look { unit: unit.clone() });
            }
            Selector::Template(prefix) => {
                let startup_over =
                    self.startup_finished.is_some_and(|at| at + self.settings.guard.boot_grace <= self.now());
                if let Some(min) = settings.min_instances
                    && startup_over
                {
                    self.fill_template(name, prefix, min as usize);
                }
            }
            Selector::Unit(_) | Selector::Glob(_) => {}
        }
    }

    /// Numbers that an operator stopped count as there: they are skipped, not replaced.
    fn fill_template(&mut self, name: &WorkerName, prefix: &str, min: usize) {
        let there = |standing: &Standing| !matches!(standing, Standing::NotFound | Standing::Spare);
        let mut have = self.instances.values().filter(|i| i.worker == *name && there(&i.standing)).count();
        for number in 1.. {
            if have >= min || number > min * 2 {
                break;
            }
            let Ok(unit) = UnitName::new(&format!("{prefix}@{number}.service")) else { break };
            if self.instances.contains_key(&unit) {
                continue;
            }
            self.add_instance(&unit, name);
            let instance = self.instances.get_mut(&unit).expect("just added");
            instance.seen = true;
            self.stand(&unit, Standing::ShouldRun);
            have += 1;
        }
    }

    /// Moves an instance's health and keeps the worker's sum.
    pub(super) fn set_health(&mut self, unit: &UnitName, to: Health) {
        let instance = self.instances.get_mut(unit).expect("known");
        let from = std::mem::replace(&mut instance.health, to);
        if from == to {
            return;
        }
        let because = instance.because();
        let (worker, incident) = (instance.worker.clone(), instance.incident);
        self.recount(&worker, Some(from), Some(to));
        self.desk.tell_unit(&worker, unit, incident, What::HealthChanged { from, to, because });
    }

    /// An instance of the worker appeared, moved from one health to another, or vanished.
    pub(super) fn recount(&mut self, worker: &WorkerName, from: Option<Health>, to: Option<Health>) {
        self.workers.entry(worker.clone()).or_default().counts.shift(from, to);
        self.counts.shift(from, to);
        self.changed.insert(worker.clone());
    }

    pub(super) fn refresh_workers(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let (Some(worker), Some(settings)) = (self.workers.get_mut(&name), self.settings.workers.get(&name)) else {
                continue;
            };
            let needed = settings.needed() as usize;
            let paused = self.pauses.iter().any(|pause| pause.worker.as_ref().is_none_or(|worker| *worker == name));
            let health = worker.judge(needed);
            let availability = worker.judge_availability(needed, paused);
            let (serving, instances) = (worker.serving(), worker.instances());
            let from = worker.health.replace(health).unwrap_or(Health::Unknown);
            if from != health {
                self.desk.tell_worker(&name, What::WorkerHealthChanged { from, to: health, serving, instances });
            }
            if worker.availability.replace(availability) != Some(availability) {
                self.desk.tell_worker(&name, What::AvailabilityChanged { to: availability });
            }
        }
    }

    /// Too many sick at once point to a shared cause that restarts will not mend.
    pub(super) fn refresh_storm(&mut self) {
        let sick = self.counts.sick();
        let judged = sick + self.counts.serving();
        let guard = &self.settings.guard;
        let share = sick as f64 / judged.max(1) as f64 * 100.0;
        if !self.storm && sick >= guard.storm_min_instances as usize && share >= guard.storm_threshold {
            self.storm = true;
            self.desk.tell(What::StormOpened { sick, instances: judged });
        } else if self.storm && share <= guard.storm_threshold * STORM_CLOSES_AT {
            self.storm = false;
            self.desk.tell(What::StormClosed { sick, instances: judged });
            self.reassess_open();
        }
    }
}
