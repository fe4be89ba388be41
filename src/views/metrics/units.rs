//! The series of units: readings by systemd and from cgroups, and who restarted them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::catalog as c;
use super::text::{Series, Text, closed, label};
use crate::model::condition::Health;
use crate::model::fact::RestartCause;
use crate::model::input::Input;
use crate::model::name::{UnitName, WorkerName};
use crate::model::signal::ProbeResult;
use crate::model::status::InstanceStatus;
use crate::model::time::{Mono, Now, Wall};
use crate::model::unit::{ActiveState, LoadState};
use crate::model::usage::{Pressure, Usage};

/// Units that get series; at some 30 series each this is 300,000. Those over it are counted, not shown.
pub const INSTANCES_MAX: usize = 10_000;
/// Names of left-out units that are told apart; beyond it the count stands still.
const DROPPED_MAX: usize = 100_000;

/// What is shown of one unit besides its samples and restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instance {
    pub health: Health,
    pub load: LoadState,
    pub active: ActiveState,
    /// When it became active; `None` while it is not.
    pub up_since: Option<Wall>,
}

impl From<&InstanceStatus> for Instance {
    fn from(status: &InstanceStatus) -> Self {
        Self {
            health: status.health,
            load: status.view.load,
            active: status.view.active,
            up_since: status.up_since.filter(|_| status.view.active.is_up()),
        }
    }
}

#[derive(Debug)]
struct Unit {
    worker: WorkerName,
    /// `worker="…",unit="…"`, made once.
    labels: String,
    health: Option<Health>,
    instance: Option<Instance>,
    usage: Option<Usage>,
    work: Work,
    oom_kills: OomKills,
    /// By [`RestartCause`].
    restarts: [u64; RestartCause::ALL.len()],
}

/// Its signals of work.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    beat: Option<Wall>,
    errors: u64,
    /// Whether the last probe passed; `None` while that is unknown.
    probe: Option<bool>,
}

/// Kills over all cgroups of a unit. systemd removes the cgroup with the unit that was killed, so that the kill which
/// ends a unit is hardly ever sampled and the count would begin anew at 0; systemd's word for it (`oom_killed`) counts.
#[derive(Debug, Clone, Copy, Default)]
struct OomKills {
    /// Of cgroups that are gone.
    before: u64,
    /// Of the present cgroup.
    seen: u64,
    /// The present cgroup is going.
    ended: bool,
}

impl OomKills {
    fn sample(&mut self, count: u64) {
        if self.ended || count < self.seen {
            *self = Self { before: self.before + self.seen, seen: 0, ended: false };
        }
        self.seen = count;
    }

    /// A kill was what ended the unit: a sample may have counted it, and none may have seen it.
    fn killed(&mut self) {
        self.seen = self.seen.max(1);
        self.ended = true;
    }

    fn total(self) -> u64 {
        self.before + self.seen
    }
}

impl Unit {
    fn new(worker: &WorkerName, unit: &UnitName) -> Self {
        let labels = format!("{},{}", label("worker", worker.as_str()), label("unit", unit.as_str()));
        Self {
            worker: worker.clone(),
            labels,
            health: None,
            instance: None,
            usage: None,
            work: Work::default(),
            oom_kills: OomKills::default(),
            restarts: Default::default(),
        }
    }
}

/// All units that are watched.
pub struct Units {
    units: BTreeMap<UnitName, Unit>,
    dropped: BTreeSet<UnitName>,
    limit: usize,
    health_labels: Vec<String>,
    state_labels: Vec<String>,
    cause_labels: Vec<String>,
}

impl Units {
    pub fn new(limit: usize) -> Self {
        Self {
            units: BTreeMap::new(),
            dropped: BTreeSet::new(),
            limit,
            health_labels: closed("health", Health::ALL.iter().map(|health| health.as_str())),
            state_labels: closed("state", known_states().map(ActiveState::as_str)),
            cause_labels: closed("cause", RestartCause::ALL.iter().map(|cause| cause.as_str())),
        }
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn dropped(&self) -> usize {
        self.dropped.len()
    }

    pub fn set_health(&mut self, worker: &WorkerName, unit: &UnitName, health: Health) {
        if let Some(entry) = self.entry(worker, unit) {
            entry.health = Some(health);
        }
    }

    pub fn set(&mut self, worker: &WorkerName, unit: &UnitName, instance: Instance) {
        if let Some(entry) = self.entry(worker, unit) {
            entry.health = Some(instance.health);
            entry.instance = Some(instance);
            if instance.active.is_down() {
                // Its cgroup is gone, so the last sample is of something that is no more.
                entry.usage = None;
                (entry.work.beat, entry.work.probe) = (None, None);
            }
        }
    }

    pub fn restarted(&mut self, worker: &WorkerName, unit: &UnitName, by: RestartCause, times: u32) {
        if let Some(entry) = self.entry(worker, unit) {
            entry.restarts[by as usize] += u64::from(times);
        }
    }

    pub fn oom_killed(&mut self, worker: &WorkerName, unit: &UnitName) {
        if let Some(entry) = self.entry(worker, unit) {
            entry.oom_kills.killed();
        }
    }

    /// What systemd said is not known any more; it comes back when it is told anew.
    pub fn blind(&mut self) {
        self.units.values_mut().for_each(|unit| unit.instance = None);
    }

    /// Samples of units that are not watched are not shown, nor is a late one of a unit that is down.
    pub fn sample(&mut self, usage: &Usage) {
        let Some(entry) = self.units.get_mut(&usage.unit) else { return };
        if entry.instance.is_none_or(|instance| !instance.active.is_down()) {
            if let Some(count) = usage.oom_kills {
                entry.oom_kills.sample(count);
            }
            entry.usage = Some(usage.clone());
        }
    }

    /// Signs of life, errors in the journal and results of probes; those of units that are not watched are ignored.
    pub fn signal(&mut self, input: &Input, now: Now) {
        match input {
            Input::Beats { beats } => beats.iter().for_each(|beat| {
                if let Some(unit) = self.units.get_mut(&beat.unit) {
                    unit.work.beat = unit.work.beat.max(Some(now.wall_of(beat.at)));
                }
            }),
            Input::Errors(errors) => errors.counts.iter().for_each(|(unit, count)| {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.work.errors += count;
                }
            }),
            Input::Probes { readings } => readings.iter().for_each(|reading| {
                if let Some(unit) = self.units.get_mut(&reading.unit) {
                    unit.work.probe = match reading.result {
                        ProbeResult::Passed => Some(true),
                        ProbeResult::Failed { .. } => Some(false),
                        ProbeResult::Unknown { .. } => None,
                    };
                }
            }),
            _ => {}
        }
    }

    pub fn remove(&mut self, unit: &UnitName) {
        if self.units.remove(unit).is_none() {
            self.dropped.remove(unit);
        }
    }

    pub fn retain(&mut self, keep: impl Fn(&WorkerName, &UnitName) -> bool) {
        self.units.retain(|name, unit| keep(&unit.worker, name));
    }

    /// Units that were left out become known again when they are told of again.
    pub fn forget_dropped(&mut self) {
        self.dropped.clear();
    }

    fn entry(&mut self, worker: &WorkerName, unit: &UnitName) -> Option<&mut Unit> {
        if !self.units.contains_key(unit) {
            if self.units.len() >= self.limit {
                if self.dropped.len() < DROPPED_MAX {
                    self.dropped.insert(unit.clone());
                }
                return None;
            }
            self.dropped.remove(unit);
            self.units.insert(unit.clone(), Unit::new(worker, unit));
        }
        let entry = self.units.get_mut(unit)?;
        if entry.worker != *worker {
            *entry = Unit::new(worker, unit);
        }
        Some(entry)
    }

    /// Samples older than `stale_after` have no series.
    pub fn write(&self, text: &mut Text, now: Mono, stale_after: Duration) {
        self.write_states(text);
        let fresh =
            |unit: &Unit| -> bool { unit.usage.as_ref().is_some_and(|usage| now.since(usage.at) <= stale_after) };
        let sampled: Vec<&Unit> = self.units.values().filter(|unit| fresh(unit)).collect();
        let usages: Vec<(&str, &Usage)> =
            sampled.iter().filter_map(|unit| Some((unit.labels.as_str(), unit.usage.as_ref()?))).collect();
        write_usage(text, &usages);
        text.family(&c::UNIT_OOM_KILLS, |series| {
            let counted = |unit: &&&Unit| unit.usage.as_ref().is_some_and(|usage| usage.oom_kills.is_some());
            for unit in sampled.iter().filter(counted) {
                series.int(&unit.labels, "", unit.oom_kills.total());
            }
        });
        self.write_work(text);
    }

    fn write_work(&self, text: &mut Text) {
        let units = || self.units.values();
        text.family(&c::HEARTBEAT_TIME, |series| {
            for (unit, at) in units().filter_map(|unit| Some((unit, unit.work.beat?))) {
                series.float(&unit.labels, "", at.0 as f64 / 1e6);
            }
        });
        text.family(&c::JOURNAL_ERRORS, |series| {
            units().for_each(|unit| series.int(&unit.labels, "", unit.work.errors));
        });
        text.family(&c::PROBE_SUCCESS, |series| {
            for (unit, passed) in units().filter_map(|unit| Some((unit, unit.work.probe?))) {
                series.bool(&unit.labels, "", passed);
            }
        });
    }

    fn write_states(&self, text: &mut Text) {
        let units = || self.units.values();
        text.family(&c::UNIT_HEALTH, |series| {
            for (unit, health) in units().filter_map(|unit| Some((unit, unit.health?))) {
                for (label, each) in self.health_labels.iter().zip(Health::ALL) {
                    series.bool(&unit.labels, label, *each == health);
                }
            }
        });
        text.family(&c::UNIT_ACTIVE_STATE, |series| {
            for (unit, instance) in units().filter_map(|unit| Some((unit, unit.instance?))) {
                for (label, each) in self.state_labels.iter().zip(known_states()) {
                    series.bool(&unit.labels, label, each == instance.active);
                }
            }
        });
        text.family(&c::UNIT_FOUND, |series| {
            for (unit, instance) in units().filter_map(|unit| Some((unit, unit.instance?))) {
                series.bool(&unit.labels, "", instance.load == LoadState::Loaded);
            }
        });
        text.family(&c::UNIT_START_TIME, |series| {
            for (unit, since) in units().filter_map(|unit| Some((unit, unit.instance?.up_since?))) {
                series.float(&unit.labels, "", since.0 as f64 / 1e6);
            }
        });
        text.family(&c::UNIT_RESTARTS, |series| {
            for unit in units() {
                for (label, count) in self.cause_labels.iter().zip(unit.restarts) {
                    series.int(&unit.labels, label, count);
                }
            }
        });
    }
}

fn write_usage(text: &mut Text, sampled: &[(&str, &Usage)]) {
    let mut ints = |metric, read: fn(&Usage) -> Option<u64>| {
        text.family(metric, |series| {
            for (labels, usage) in sampled {
                if let Some(value) = read(usage) {
                    series.int(labels, "", value);
                }
            }
        });
    };
    ints(&c::UNIT_MEMORY, |usage| usage.memory_bytes);
    ints(&c::UNIT_MEMORY_CACHE, |usage| usage.memory_inactive_file_bytes);
    ints(&c::UNIT_MEMORY_LIMIT, |usage| usage.memory_max_bytes);
    ints(&c::UNIT_TASKS, |usage| usage.tasks);
    ints(&c::UNIT_TASKS_LIMIT, |usage| usage.tasks_max);
    ints(&c::UNIT_OPEN_FILES, |usage| usage.open_files.map(|files| files.count));
    ints(&c::UNIT_OPEN_FILES_LIMIT, |usage| usage.open_files.map(|files| files.limit));
    ints(&c::UNIT_IO_READ, |usage| usage.io_read_bytes);
    ints(&c::UNIT_IO_WRITTEN, |usage| usage.io_written_bytes);
    text.family(&c::UNIT_CPU, |series| {
        for (labels, usage) in sampled {
            write_usec(series, labels, "", usage.cpu_usec);
        }
    });
    text.family(&c::UNIT_PRESSURE, |series| {
        let total = |pressure: Option<Pressure>| pressure.map(|pressure| pressure.total_usec);
        for (labels, usage) in sampled {
            write_usec(series, labels, ",resource=\"cpu\"", total(usage.cpu_pressure));
            write_usec(series, labels, ",resource=\"memory\"", total(usage.memory_pressure));
            write_usec(series, labels, ",resource=\"io\"", total(usage.io_pressure));
        }
    });
}

fn write_usec(series: &mut Series<'_>, labels: &str, more: &str, usec: Option<u64>) {
    if let Some(usec) = usec {
        series.float(labels, more, usec as f64 / 1e6);
    }
}

/// The eight states; a word of a newer systemd leaves all of them at 0.
fn known_states() -> impl Iterator<Item = ActiveState> {
    ActiveState::ALL.iter().copied().filter(|state| *state != ActiveState::Other)
}
