//! Which conditions hold for an instance, and its health.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::unit::ServiceResult;
use crate::model::{ActiveState, Condition, Evidence, Health, Mono, UnitName, UnitView, What, WorkerSettings};

use super::Engine;
use super::instance::{Held, Instance, Standing};
use super::plan::{choice, needs_attention};
use super::queues::Queues;
use super::timers::TimerKey;
use super::work::{self, Symptom};

impl Engine {
    /// Looks at the instance anew: failures, conditions, health, its incident, and when to look again.
    pub(super) fn reassess(&mut self, unit: &UnitName) {
        let now = self.now();
        let Some(instance) = self.instances.get(unit) else { return };
        if !instance.seen || !self.sighted {
            return;
        }
        let Some(settings) = self.settings.workers.get(&instance.worker) else { return };
        let worker = self.workers.get(&instance.worker);
        let limit = worker.and_then(|worker| self.limit_of(instance, worker)).cloned();
        let instance = self.instances.get_mut(unit).expect("there");
        note_failure(instance, settings, now);
        let queues = worker.map(|worker| &worker.queues);
        let holding = conditions(instance, settings, queues, limit.as_ref(), now);
        let recheck = next_look(instance, settings, now);
        let health_now = health(instance);
        let calm = holding.is_empty() && instance.conditions.is_empty() && instance.incident.is_none();
        if calm {
            // The usual case of a host that is well. Nothing below but this would do anything.
            instance.well_since = instance.at_work().then(|| instance.well_since.unwrap_or(now));
        }
        let same = instance.health == health_now;
        self.timers.set(TimerKey::Assess(unit.clone()), recheck);
        if calm {
            if !same {
                self.set_health(unit, health_now);
            }
            return;
        }
        self.apply_conditions(unit, holding);
        self.update_well_since(unit);
        let health = health(&self.instances[unit]);
        self.set_health(unit, health);
        self.tend(unit);
    }

    /// Only the time at which silence is too long has moved.
    pub(super) fn await_silence(&mut self, unit: &UnitName) {
        let now = self.now();
        let Some(instance) = self.instances.get(unit) else { return };
        let Some(settings) = self.settings.workers.get(&instance.worker) else { return };
        let recheck = next_look(instance, settings, now);
        let key = TimerKey::Assess(unit.clone());
        // A beat moves it away, and the look that comes too early puts it right: most beats move no timer.
        if self.timers.at(&key).zip(recheck).is_some_and(|(at, recheck)| at <= recheck) {
            return;
        }
        self.timers.set(key, recheck);
    }

    pub(super) fn reassess_all(&mut self) {
        for unit in self.unit_names() {
            self.reassess(&unit);
        }
    }

    /// Looks again at every instance with an open incident, because a gate may have changed.
    pub(super) fn reassess_open(&mut self) {
        let units: Vec<UnitName> = self.incidents.values().map(|incident| incident.unit.clone()).collect();
        for unit in units {
            self.reassess(&unit);
        }
    }

    fn apply_conditions(&mut self, unit: &UnitName, holding: BTreeMap<Condition, Symptom>) {
        let now = self.now();
        let instance = self.instances.get_mut(unit).expect("known");
        let (worker, incident) = (instance.worker.clone(), instance.incident);
        let over: Vec<(Condition, Mono)> = instance
            .conditions
            .iter()
            .filter(|(condition, _)| !holding.contains_key(condition))
            .map(|(condition, held)| (*condition, held.since))
            .collect();
        for (condition, since) in over {
            instance.conditions.remove(&condition);
            let held = now.since(since);
            self.desk.tell_unit(&worker, unit, incident, What::ConditionCleared { condition, held });
        }
        for (condition, Symptom { evidence, health, tell_only }) in holding {
            match instance.conditions.get_mut(&condition) {
                Some(held) => *held = Held { evidence, since: held.since, health, tell_only },
                None => {
                    let delay = instance.failed_at.filter(|_| is_failure(condition)).map(|at| now.since(at));
                    instance
                        .conditions
                        .insert(condition, Held { evidence: evidence.clone(), since: now, health, tell_only });
                    let raised = What::ConditionRaised { condition, evidence, delay };
                    self.desk.tell_unit(&worker, unit, incident, raised);
                }
            }
        }
    }

    /// Health begins when it is at work and no condition that needs attention holds. `crash_loop` does not
    /// break it: it is lifted by the very stretch of health that begins here.
    fn update_well_since(&mut self, unit: &UnitName) {
        let now = self.now();
        let (instance, settings) = self.with_settings(unit);
        let complaint = instance
            .conditions
            .iter()
            .any(|(condition, held)| *condition != Condition::CrashLoop && needs_attention(*condition, held, settings));
        let well = instance.at_work() && !complaint;
        let instance = self.instances.get_mut(unit).expect("known");
        match (well, instance.well_since) {
            (true, None) => instance.well_since = Some(now),
            (false, Some(_)) => instance.well_since = None,
            _ => {}
        }
    }
}

/// Conditions that tell of the process's end.
fn is_failure(condition: Condition) -> bool {
    matches!(condition, Condition::Dead | Condition::OomKilled | Condition::CrashLoop)
}

pub(super) fn failed_result(view: &UnitView) -> bool {
    view.active == ActiveState::Failed || !matches!(view.result, ServiceResult::Success | ServiceResult::ExecCondition)
}

/// It should run and does not, and nobody has a job for it that may change that.
pub(super) fn is_failing(instance: &Instance) -> bool {
    let view = &instance.view;
    match instance.standing {
        Standing::ShouldRun if instance.taken_down || instance.being_restarted => false,
        Standing::ShouldRun => match view.active {
            ActiveState::Failed | ActiveState::Inactive => instance.job.is_none_or(|job| job.is_start()),
            ActiveState::Deactivating => instance.job.is_none() && !instance.view.main_alive(),
            _ => view.in_auto_restart(),
        },
        Standing::NowAndThen => view.active == ActiveState::Failed || view.in_auto_restart(),
        _ => false,
    }
}

/// Counts a failure once.
fn note_failure(instance: &mut Instance, settings: &WorkerSettings, now: Mono) {
    // Also while it is failing: the timer that forgets the oldest would else be due for ever.
    while instance.failures.front().is_some_and(|at| now.since(*at) > settings.crash_loop_window) {
        instance.failures.pop_front();
    }
    if !is_failing(instance) {
        // With our start job in the queue what has died is still on its way down; that failure comes to rest yet.
        if instance.view.active != ActiveState::Deactivating {
            instance.counted = None;
        }
        if instance.at_work() {
            instance.failed_at = None;
        }
        return;
    }
    let at_rest = instance.view.inactive_enter.filter(|_| instance.view.active.is_down());
    match (instance.counted, at_rest) {
        // The failure that we know has come to rest.
        (Some(None), _) => return instance.counted = Some(at_rest),
        (Some(Some(known)), Some(at)) if known != at => {}
        (Some(_), _) => return,
        (None, _) => {}
    }
    instance.counted = Some(at_rest);
    if instance.failed_at.is_none() {
        let at = at_rest.or(instance.view.state_changed).unwrap_or(now);
        instance.failed_at = Some(at.min(now));
    }
    // An instance that never ran has not failed; it is only missing.
    let ran = instance.view.active_enter.is_some() || instance.view.inactive_enter.is_some();
    if ran || instance.view.active == ActiveState::Failed {
        instance.count_failure(now);
    }
}

fn conditions(
    instance: &mut Instance,
    settings: &WorkerSettings,
    queues: Option<&Queues>,
    limit: Option<&(Mono, Evidence)>,
    now: Mono,
) -> BTreeMap<Condition, Symptom> {
    let mut holding = BTreeMap::new();
    if instance.is_spare() {
        let wanted = instance.wanted.clone();
        holding.extend(wanted.map(|why| (Condition::BacklogHigh, Symptom::of(Condition::BacklogHigh, why))));
    }
    if !instance.should_run() {
        return holding;
    }
    if instance.view.active.is_up() && instance.standing == Standing::ShouldRun {
        holding.extend(work::symptoms(instance, settings, now));
        let held = &mut instance.work.queues;
        let of_queues = queues.map(|queues| queues.symptoms(&instance.view, settings, held)).unwrap_or_default();
        holding.extend(of_queues.into_iter().map(|(condition, why)| (condition, Symptom::of(condition, why))));
        holding.extend(limit.map(|(since, why)| (Condition::BacklogHigh, at_limit(*since, why, settings, now))));
    }
    let mut hold = |condition, evidence: Option<Evidence>| {
        if let Some(evidence) = evidence {
            holding.insert(condition, Symptom::of(condition, evidence));
        }
    };
    hold(Condition::Dead, dead(instance));
    hold(Condition::OomKilled, oom_killed(instance));
    hold(Condition::CrashLoop, crash_loop(instance, settings, now));
    hold(Condition::StartStuck, start_stuck(instance, settings, now));
    if instance.view.active.is_up() {
        hold(Condition::CpuHigh, instance.readings.cpu_high.clone());
        hold(Condition::MemoryHigh, instance.readings.memory_high.clone());
        hold(Condition::Starved, instance.readings.starved.clone());
        let recent = instance.unusual.as_ref().filter(|(found, _)| now.since(*found) < super::unusual::FORGOTTEN);
        hold(Condition::Unusual, recent.map(|(_, evidence)| evidence.clone()));
        holding.extend(coming(instance, settings).map(|symptom| (Condition::Predicted, symptom)));
        // A restart makes no queue shorter: that one is foreseen is only told.
        let of_queues = queues.and_then(|queues| queues.coming(settings));
        let told = of_queues.map(|why| Symptom { tell_only: true, ..Symptom::of(Condition::Predicted, why) });
        let said = instance.foretold.as_ref().filter(|(until, _)| *until > now).map(|(_, evidence)| evidence.clone());
        let said = said.map(|why| Symptom { tell_only: true, ..Symptom::of(Condition::Predicted, why) });
        let told = told.or(said);
        holding
            .extend(told.filter(|_| !holding.contains_key(&Condition::Predicted)).map(|it| (Condition::Predicted, it)));
    }
    holding
}

/// Where the resources of the instance are heading. It is only told where nothing may be done for a guess.
fn coming(instance: &Instance, settings: &WorkerSettings) -> Option<Symptom> {
    let readings = &instance.readings;
    let why = readings.outlook.predicted(readings.memory_high.is_some())?.clone();
    let nothing = choice(Condition::Predicted, instance, settings).actions.is_empty();
    Some(Symptom { tell_only: nothing, ..Symptom::of(Condition::Predicted, why) })
}

/// More work waits than all instances that may run can take: an operator is called when it lasts.
fn at_limit(since: Mono, why: &Evidence, settings: &WorkerSettings, now: Mono) -> Symptom {
    let lasts = now.since(since) >= settings.warning_patience;
    Symptom { tell_only: !lasts, ..Symptom::of(Condition::BacklogHigh, why.clone()) }
}

/// Holds from the failure until the unit is up again.
fn dead(instance: &Instance) -> Option<Evidence> {
    let held = instance.conditions.get(&Condition::Dead);
    if is_failing(instance) {
        // Once a start is under way, systemd forgets how the last process ended; we do not.
        let told = held.filter(|_| instance.view.ending().is_none());
        return Some(told.map_or_else(|| Evidence::text(death_text(&instance.view)), |held| held.evidence.clone()));
    }
    let coming = !instance.at_work() && instance.standing == Standing::ShouldRun;
    held.filter(|_| coming).map(|held| held.evidence.clone())
}

fn death_text(view: &UnitView) -> String {
    let what = match view.active {
        ActiveState::Failed => "unit failed",
        ActiveState::Deactivating => "its main process ended",
        _ if view.in_auto_restart() => "it failed and systemd is restarting it",
        _ if view.active_enter.is_none() && view.inactive_enter.is_none() => "it is not running, though it should",
        _ => "it exited without a stop job",
    };
    match (view.ending(), view.result) {
        (Some(ending), ServiceResult::Success | ServiceResult::ExitCode | ServiceResult::Signal) => {
            format!("{what}: {ending}")
        }
        (Some(ending), result) => format!("{what}: {ending}, result {result}"),
        (None, ServiceResult::Success) => what.to_string(),
        (None, result) => format!("{what}: result {result}"),
    }
}

fn oom_killed(instance: &Instance) -> Option<Evidence> {
    let down = !instance.view.active.is_up();
    // systemd tells the result before the main process has ended. Acted on then, that end would look like a failure
    // of what we did.
    let ended = is_failing(instance) || instance.conditions.contains_key(&Condition::OomKilled);
    let killed = down && ended && instance.view.result == ServiceResult::OomKill;
    killed.then(|| Evidence::text("the kernel or systemd-oomd killed it for memory (result oom-kill)"))
}

fn crash_loop(instance: &Instance, settings: &WorkerSettings, now: Mono) -> Option<Evidence> {
    if instance.start_limit_hit() {
        return Some(Evidence::text("systemd gave up: start limit hit (StartLimitBurst=)"));
    }
    let window = settings.crash_loop_window;
    let recent = instance.failures.iter().filter(|at| now.since(**at) <= window).count();
    let held = instance.conditions.get(&Condition::CrashLoop);
    if recent >= settings.crash_loop_failures as usize {
        let text = format!("{recent} failures within {}", crate::model::time::human(window));
        return Some(Evidence::measured(text, recent as f64, f64::from(settings.crash_loop_failures)));
    }
    // It stays until health is proven, which clears the failures.
    held.filter(|_| !instance.failures.is_empty()).map(|held| held.evidence.clone())
}

fn start_stuck(instance: &Instance, settings: &WorkerSettings, now: Mono) -> Option<Evidence> {
    let since = starting_since(instance)?;
    let taken = now.since(since);
    (taken >= settings.start_timeout).then(|| {
        let text = format!(
            "starting for {} or more, over {}",
            crate::model::time::human(settings.start_timeout),
            crate::model::time::human(settings.start_timeout)
        );
        Evidence::measured(text, settings.start_timeout.as_secs_f64(), settings.start_timeout.as_secs_f64())
    })
}

/// Since when it has been starting. A oneshot works while `activating`; one in auto-restart is not starting.
fn starting_since(instance: &Instance) -> Option<Mono> {
    let view = &instance.view;
    let starting = view.active == ActiveState::Activating
        && !view.in_auto_restart()
        && instance.standing == Standing::ShouldRun
        && view.service_type != crate::model::unit::ServiceType::Oneshot;
    starting.then_some(view.inactive_exit.or(view.state_changed)).flatten()
}

/// When time alone may change a condition.
fn next_look(instance: &Instance, settings: &WorkerSettings, now: Mono) -> Option<Mono> {
    let stuck = starting_since(instance).map(|since| since + settings.start_timeout).filter(|at| *at > now);
    let forget = instance.failures.front().map(|at| *at + settings.crash_loop_window + Duration::from_micros(1));
    let silent =
        instance.work.beats.due(&instance.view, settings).filter(|at| *at > now && instance.view.active.is_up());
    let told = instance.work.external.due().filter(|at| *at > now);
    let unusual = instance.unusual.as_ref().map(|(found, _)| *found + super::unusual::FORGOTTEN).filter(|at| *at > now);
    let foretold = instance.foretold.as_ref().map(|(until, _)| *until).filter(|at| *at > now);
    [stuck, forget, silent, told, unusual, foretold].into_iter().flatten().min()
}

fn health(instance: &Instance) -> Health {
    match instance.standing {
        Standing::Undecided | Standing::NotFound => Health::Unknown,
        Standing::Stopped(_) | Standing::Spare => Health::Stopped,
        Standing::ShouldRun | Standing::NowAndThen => {
            let implied = instance.conditions.values().map(|held| held.health).max();
            match implied {
                Some(health) => health,
                None if instance.at_work() => Health::Healthy,
                // Starting or stopping by somebody's job: neither well nor sick yet.
                None => Health::Unknown,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{UnitName, WorkerName};

    #[test]
    fn an_oom_kill_counts_once_the_process_has_ended() {
        let mut instance = Instance::new(UnitName::new("a.service").unwrap(), WorkerName::new("a").unwrap());
        instance.standing = Standing::ShouldRun;
        instance.view.active = ActiveState::Deactivating;
        instance.view.result = ServiceResult::OomKill;
        instance.view.main_pid = 7;
        assert!(instance.view.main_alive() && oom_killed(&instance).is_none());
        instance.view.main_pid = 0;
        instance.view.active = ActiveState::Failed;
        assert!(oom_killed(&instance).is_some());
    }
}
