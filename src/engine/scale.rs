//! How many instances of a template the work needs, and who of those that we started is not needed any more.
//!
//! Missing data changes nothing: neither up nor down. Only what we started ourselves is ever stopped.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::incident::Origin;
use crate::model::input::Owned;
use crate::model::settings::ScaleOn;
use crate::model::time::human;
use crate::model::{
    Condition, Evidence, IncidentId, Mono, Resolution, Selector, UnitName, What, WorkerName, WorkerSettings,
};

use super::Engine;
use super::instance::{Instance, Standing};
use super::queues::Queue;
use super::timers::TimerKey;
use super::worker::Worker;

/// Numbers beyond `max_instances` that are tried when lower ones may not be used.
const NUMBERS_BEYOND: u32 = 16;
/// After a start, so many intervals must pass to show how much is left for more.
const SETTLES_INTERVALS: u32 = 2;
/// Values kept for the stabilisation window; one a reading (at most one a second for an hour would be too many, so
/// neighbours that are equal are kept as one).
const WANTS_KEPT: usize = 1024;

/// What a worker's work has asked for.
#[derive(Default)]
pub struct Scaling {
    /// Instances that the work needed, with the time of the last look; newest last.
    wants: VecDeque<(Mono, usize)>,
    /// As last told.
    told: Option<usize>,
    /// The last time that another instance was asked for because of CPU or memory.
    stepped: Option<Mono>,
    /// Since when more is wanted than may be.
    short_since: Option<Mono>,
    /// More waits than the instances can take, and no more may be started.
    pub at_limit: Option<(Mono, Evidence)>,
}

impl Scaling {
    fn note(&mut self, now: Mono, want: usize, window: Duration) {
        match self.wants.back_mut() {
            Some(last) if last.1 == want => last.0 = now,
            _ => self.wants.push_back((now, want)),
        }
        while self.wants.len() > WANTS_KEPT || self.wants.front().is_some_and(|(at, _)| now.since(*at) > window) {
            self.wants.pop_front();
        }
    }

    /// The most that was needed within the window.
    fn peak(&self) -> usize {
        self.wants.iter().map(|(_, want)| *want).max().unwrap_or(0)
    }

    /// When the oldest need in the window is forgotten.
    fn forgets_at(&self, window: Duration) -> Option<Mono> {
        self.wants.front().map(|(at, _)| *at + window + Duration::from_micros(1))
    }
}

/// What the work asks for now.
struct Need {
    instances: usize,
    because: Option<String>,
    /// It asks for more than there is by a judgement, not by a single reading.
    up: bool,
}

impl Engine {
    /// The template's name before the @ and the most instances, if this worker may be scaled.
    fn scalable(settings: &WorkerSettings) -> Option<(&str, usize)> {
        match (&settings.unit, settings.max_instances) {
            (Selector::Template(prefix), Some(max)) => Some((prefix, max as usize)),
            _ => None,
        }
    }

    /// Judges anew how many instances the work of the worker needs.
    pub(super) fn rescale(&mut self, name: &WorkerName) {
        let Some(settings) = self.settings.workers.get(name).cloned() else { return };
        if !self.sighted || !self.workers.contains_key(name) {
            return;
        }
        let running = self.running_of(name);
        if running.is_empty() {
            // It was stopped, or is dead: then it is started by its own right, not because of its work.
            return self.hold_scale(name);
        }
        let Some(need) = self.need(name, &settings, running.len()) else { return self.hold_scale(name) };
        let Some((_, max)) = Engine::scalable(&settings) else {
            return self.note_limit(name, &need, running.len(), "it cannot be scaled");
        };
        let now = self.now();
        // Those that an operator stopped are not replaced by others.
        let max = max.saturating_sub(self.stopped_of(name));
        let own = running.iter().filter(|unit| !self.owned.contains_key(*unit)).count();
        let floor = own.max(settings.needed() as usize);
        let want = need.instances.clamp(floor.min(max), max.max(floor));
        let sum = self.workers.get_mut(name).expect("known");
        sum.scaling.note(now, want, settings.scale_down_after);
        let forget = sum.scaling.forgets_at(settings.scale_down_after);
        let peak = sum.scaling.peak();
        self.note_limit(name, &need, max, &format!("max_instances ({max}) are there"));
        let have = self.counted_of(name);
        self.timers.set(TimerKey::Rescale(name.clone()), forget.filter(|_| have > floor));
        if need.up && want > have && !self.settles(&running) {
            self.tell_want(name, have, want, need.because.clone().unwrap_or_default());
            self.stepped(name, now);
            self.want_spares(name, &settings, want - have, need.because.unwrap_or_default());
        } else if peak < have {
            self.withdraw_spares(name);
            self.release_surplus(name, have - peak);
        } else {
            self.tell_want(name, have, have, String::new());
            if !need.up {
                self.withdraw_spares(name);
            }
        }
    }

    /// One of them has just been started, by a deploy or by us: what it can do is not seen yet.
    fn settles(&self, running: &[UnitName]) -> bool {
        let now = self.now();
        let settles = self.settings.daemon.health_check_interval * SETTLES_INTERVALS;
        let young = |unit: &UnitName| self.instances[unit].view.active_enter.is_some_and(|at| now.since(at) < settles);
        running.iter().any(young)
    }

    /// After a round of samples: those that may be scaled by what their instances use.
    pub(super) fn rescale_by_strain(&mut self) {
        let by_use = |settings: &&WorkerSettings| Engine::scalable(settings).is_some();
        let names: Vec<WorkerName> =
            self.settings.workers.values().filter(by_use).map(|settings| settings.name.clone()).collect();
        for name in names {
            self.rescale(&name);
        }
    }

    fn stepped(&mut self, name: &WorkerName, now: Mono) {
        if let Some(sum) = self.workers.get_mut(name) {
            sum.scaling.stepped = Some(now);
        }
    }

    /// What cannot be read says neither more nor less.
    fn hold_scale(&mut self, name: &WorkerName) {
        let Some(sum) = self.workers.get_mut(name) else { return };
        sum.scaling.wants.clear();
        sum.scaling.short_since = None;
        sum.scaling.at_limit = None;
        self.timers.set(TimerKey::Rescale(name.clone()), None);
        self.withdraw_spares(name);
    }

    /// `None`: it cannot be known.
    fn need(&self, name: &WorkerName, settings: &WorkerSettings, running: usize) -> Option<Need> {
        let sum = &self.workers[name];
        if !settings.queues.is_empty() && (!sum.queues.known() || sum.queues.by_name.len() < settings.queues.len()) {
            return None;
        }
        let mut need = Need { instances: settings.needed() as usize, because: None, up: false };
        if settings.scale_on.contains(&ScaleOn::Backlog) {
            for (queue, track) in &sum.queues.by_name {
                need.join(by_backlog(&queue.to_string(), track, settings, running));
            }
        }
        if let Some(because) = self.strained(name, settings) {
            need.join(Need { instances: running + 1, because: Some(because), up: true });
        }
        Some(need)
    }

    /// All instances work at their limit and work waits: one more may help.
    fn strained(&self, name: &WorkerName, settings: &WorkerSettings) -> Option<String> {
        let sum = &self.workers[name];
        let settles = settings.cpu_sustained;
        if sum.scaling.stepped.is_some_and(|at| self.now().since(at) < settles) {
            return None;
        }
        let has_queues = !settings.queues.is_empty();
        if has_queues && !sum.queues.work_waits() {
            return None;
        }
        let running = self.running_of(name);
        let all = |holds: &dyn Fn(&Instance) -> bool| {
            !running.is_empty() && running.iter().all(|unit| holds(&self.instances[unit]))
        };
        let holds = |instance: &Instance, condition| instance.conditions.contains_key(&condition);
        let cpu = settings.scale_on.contains(&ScaleOn::Cpu)
            && all(&|instance| match has_queues {
                true => holds(instance, Condition::CpuHigh) || instance.readings.waits_for_cpu(settings),
                // Without a queue only waiting for CPU shows that there is more work than it can take.
                false => holds(instance, Condition::Starved) && instance.readings.waits_for_cpu(settings),
            });
        // Where the host itself has no CPU left, one more only adds to the crowd.
        let host_is_full = self.host.is_some_and(|host| host.load1 >= f64::from(host.cpus) && host.cpus > 0);
        let capped = all(&|instance| instance.readings.last.as_ref().is_some_and(|last| last.cpu_quota.is_some()));
        if cpu && (capped || !host_is_full) {
            return Some(format!("all {} instances are at their CPU limit and work waits", running.len()));
        }
        let memory = settings.scale_on.contains(&ScaleOn::Memory) && all(&|i| holds(i, Condition::MemoryHigh));
        memory.then(|| format!("all {} instances are over their memory threshold and work waits", running.len()))
    }

    /// Units of the worker that are up.
    fn running_of(&self, name: &WorkerName) -> Vec<UnitName> {
        let up = self.instances.values().filter(|i| i.worker == *name && i.seen && i.view.active.is_up());
        up.map(|instance| instance.unit.clone()).collect()
    }

    /// Instances that run, are to run, or are being started by us; those on their way out and surges do not count.
    fn counted_of(&self, name: &WorkerName) -> usize {
        let counts = |instance: &&Instance| {
            let extra = self.owned.get(&instance.unit).is_some_and(|owned| owned.surge_for.is_some());
            instance.worker == *name
                && !extra
                && !self.is_leaving(&instance.unit)
                && (instance.should_run() || instance.wanted.is_some())
        };
        self.instances.values().filter(counts).count()
    }

    fn stopped_of(&self, name: &WorkerName) -> usize {
        let stopped = |i: &&Instance| i.worker == *name && matches!(i.standing, Standing::Stopped(_));
        self.instances.values().filter(stopped).count()
    }

    fn is_leaving(&self, unit: &UnitName) -> bool {
        let incident = self.instances.get(unit).and_then(|i| i.incident).and_then(|id| self.incidents.get(&id));
        incident.is_some_and(|incident| incident.origin == Origin::Surplus)
    }

    fn tell_want(&mut self, name: &WorkerName, from: usize, to: usize, because: String) {
        let Some(sum) = self.workers.get_mut(name) else { return };
        let news = sum.scaling.told.unwrap_or(from) != to;
        sum.scaling.told = Some(to);
        if news && from != to {
            self.desk.tell_worker(name, What::ScaleWanted { from, to, because });
        }
    }

    /// More is wanted than may be started. Told at once; an operator is called when it lasts.
    fn note_limit(&mut self, name: &WorkerName, need: &Need, limit: usize, why: &str) {
        let now = self.now();
        let Some(sum) = self.workers.get_mut(name) else { return };
        let short = need.up && need.instances > limit;
        if !short {
            sum.scaling.short_since = None;
            if sum.scaling.at_limit.take().is_some() {
                self.reassess_worker(name);
            }
            return;
        }
        let since = *sum.scaling.short_since.get_or_insert(now);
        let because = need.because.as_deref().unwrap_or_default();
        let evidence = Evidence::text(format!("{because}; {why}"));
        sum.scaling.at_limit = Some((since, evidence));
        self.reassess_worker(name);
    }

    /// Makes instances that are to be started; each gets an incident of its own, by which it is started and proven.
    fn want_spares(&mut self, name: &WorkerName, settings: &WorkerSettings, count: usize, because: String) {
        let evidence = Evidence::text(because);
        for unit in self.spares(name, settings, count) {
            self.instances.get_mut(&unit).expect("made").wanted = Some(evidence.clone());
            self.reassess(&unit);
        }
    }

    /// Instances that may be started, known from now on.
    pub(super) fn spares(&mut self, name: &WorkerName, settings: &WorkerSettings, count: usize) -> Vec<UnitName> {
        let free = self.free_numbers(settings, count);
        for unit in &free {
            self.make_spare(unit, name);
        }
        free
    }

    /// Free numbers of the template, lowest first. One that an operator stopped is skipped.
    fn free_numbers(&self, settings: &WorkerSettings, count: usize) -> Vec<UnitName> {
        let Selector::Template(prefix) = &settings.unit else { return Vec::new() };
        let most = settings.max_instances.unwrap_or(0).max(settings.needed()) * 2 + NUMBERS_BEYOND;
        let mut found = Vec::new();
        for number in 1..=most {
            if found.len() >= count {
                break;
            }
            let Ok(unit) = UnitName::new(&format!("{prefix}@{number}.service")) else { break };
            let is_free = |known: &Instance| known.is_spare() && known.wanted.is_none() && known.incident.is_none();
            if self.instances.get(&unit).is_none_or(is_free) {
                found.push(unit);
            }
        }
        found
    }

    /// The instance is known, and may be started.
    pub(super) fn make_spare(&mut self, unit: &UnitName, name: &WorkerName) {
        if self.instances.contains_key(unit) {
            return;
        }
        self.add_instance(unit, name);
        self.instances.get_mut(unit).expect("just added").seen = true;
        self.stand(unit, Standing::Spare);
    }

    /// Those that were wanted and have not been started are not wanted any more.
    fn withdraw_spares(&mut self, name: &WorkerName) {
        let wanted = |i: &&Instance| i.worker == *name && i.wanted.is_some() && i.is_spare();
        let units: Vec<UnitName> = self.instances.values().filter(wanted).map(|i| i.unit.clone()).collect();
        for unit in units {
            self.instances.get_mut(&unit).expect("listed").wanted = None;
            self.reassess(&unit);
        }
    }

    /// Stops the newest of those that we started. Each is drained.
    fn release_surplus(&mut self, name: &WorkerName, count: usize) {
        let mut ours: Vec<(crate::model::Wall, UnitName)> = self
            .owned
            .values()
            .filter(|owned| owned.surge_for.is_none())
            .filter(|owned| self.instances.get(&owned.unit).is_some_and(|i| i.worker == *name && i.should_run()))
            .filter(|owned| !self.is_leaving(&owned.unit))
            .map(|owned| (owned.since, owned.unit.clone()))
            .collect();
        ours.sort();
        let units: Vec<UnitName> = ours.into_iter().rev().take(count).map(|(_, unit)| unit).collect();
        if units.is_empty() {
            return;
        }
        let settings = &self.settings.workers[name];
        let because = format!("not needed for {}", human(settings.scale_down_after));
        let have = self.counted_of(name);
        self.tell_want(name, have, have - units.len(), because.clone());
        for unit in units {
            self.release(&unit, &because);
        }
    }

    /// Drains and stops an instance that we started.
    pub(super) fn release(&mut self, unit: &UnitName, because: &str) {
        let Some(instance) = self.instances.get(unit) else { return };
        if !self.settings.workers.contains_key(&instance.worker) {
            // Its worker has just been taken out of the configuration: it is nobody's to stop any more.
            return self.disown(unit);
        }
        if !instance.should_run() || instance.incident.is_some_and(|id| !self.is_idle(id)) {
            return;
        }
        if let Some(id) = instance.incident {
            self.close_as_superseded(id, because);
            self.closed.remove(unit);
        }
        let id = self.open(unit, Origin::Surplus, Evidence::text(because));
        self.next_step(id);
    }

    /// The work is back before the instance was stopped: it stays.
    pub(super) fn keep_if_needed(&mut self, id: IncidentId) -> bool {
        let incident = &self.incidents[&id];
        let (name, unit) = (incident.worker.clone(), incident.unit.clone());
        let Some(sum) = self.workers.get(&name) else { return false };
        let surge = self.owned.get(&unit).is_some_and(|owned| owned.surge_for.is_some());
        if surge || sum.scaling.peak() <= self.counted_of(&name) {
            return false;
        }
        self.close(id, Resolution::SelfCleared, None);
        true
    }

    /// From now on it is ours, until it is stopped.
    pub(super) fn own(&mut self, unit: &UnitName, surge_for: Option<UnitName>) {
        let owned = Owned { unit: unit.clone(), since: self.desk.now.wall, surge_for, started: false };
        self.owned.insert(unit.clone(), owned);
        self.desk.safety_changed = true;
    }

    pub(super) fn disown(&mut self, unit: &UnitName) {
        if self.owned.remove(unit).is_some() {
            self.desk.safety_changed = true;
        }
    }

    pub(super) fn reassess_worker(&mut self, name: &WorkerName) {
        let of_it = self.instances.values().filter(|instance| instance.worker == *name);
        let units: Vec<UnitName> = of_it.map(|instance| instance.unit.clone()).collect();
        for unit in units {
            self.reassess(&unit);
        }
    }

    /// Instances that the work wants now, for the status.
    pub(super) fn wanted_of(&self, name: &WorkerName) -> Option<usize> {
        self.workers.get(name)?.scaling.told
    }

    /// Its incident is told on one instance, the first that runs.
    pub(super) fn limit_of<'w>(&self, instance: &Instance, worker: &'w Worker) -> Option<&'w (Mono, Evidence)> {
        let limit = worker.scaling.at_limit.as_ref()?;
        let first = self.instances.values().find(|i| i.worker == instance.worker && i.view.active.is_up())?;
        (first.unit == instance.unit).then_some(limit)
    }

    /// Whether an operator's wish to scale can be met, and by which unit. One that is to be started may not be known yet.
    pub(super) fn scale_target(&self, name: &WorkerName, up: bool) -> Result<UnitName, String> {
        let settings = &self.settings.workers[name];
        let Some((_, max)) = Engine::scalable(settings) else {
            return Err(format!("worker {name} cannot be scaled: that takes a template and max_instances"));
        };
        if up {
            if self.counted_of(name) >= max {
                return Err(format!("worker {name} has max_instances ({max}) already"));
            }
            let spare = self.free_numbers(settings, 1).pop();
            return spare.ok_or_else(|| format!("worker {name} has no free instance number"));
        }
        let ours = self
            .owned
            .values()
            .filter(|owned| self.instances.get(&owned.unit).is_some_and(|i| i.worker == *name && i.should_run()));
        let newest = ours.max_by_key(|owned| (owned.since, owned.unit.clone())).map(|owned| owned.unit.clone());
        newest.ok_or_else(|| format!("worker {name} has no instance that unitmedic started; only those are stopped"))
    }
}

impl Need {
    fn join(&mut self, other: Need) {
        if (other.up, other.instances) > (self.up, self.instances)
            || (self.up == other.up && other.instances > self.instances)
        {
            *self = other;
        }
    }
}

/// Consumers wanted are the backlog over the threshold. Where other hosts consume too, each host takes the share of the
/// lack that its own consumers are of all.
fn by_backlog(name: &str, queue: &Queue, settings: &WorkerSettings, running: usize) -> Need {
    let Some(depth) = queue.last() else { return Need { instances: running, because: None, up: false } };
    if depth.consumers == 0 {
        // Nobody consumes: more of those that do not would not help.
        return Need { instances: running, because: None, up: false };
    }
    let threshold = f64::from(settings.queue_backlog_threshold);
    let each = u64::from(settings.consumers_per_instance.max(1));
    let wanted = (depth.ready as f64 / threshold).ceil() as u64;
    let own = (running as u64 * each).max(1);
    let all = depth.consumers.max(own);
    if wanted > all {
        if !queue.backlog(threshold) {
            return Need { instances: running, because: None, up: false };
        }
        let share = ((wanted - all) * own).div_ceil(all);
        let consumers = depth.consumers;
        let because =
            format!("{} messages are ready in {name} for {consumers} consumers, over {threshold} each", depth.ready);
        return Need { instances: running + share.div_ceil(each) as usize, because: Some(because), up: true };
    }
    // Fewer would do: our part of those that are too many may go.
    let spare = (all - wanted.max(1)) * own / all / each;
    Need { instances: running - (spare as usize).min(running.saturating_sub(1)), because: None, up: false }
}
