//! Acts on instances that stand in or are not needed: the extra one of a graceful restart, and the way out of one that
//! we started.

use std::time::Duration;

use crate::model::action::Answer;
use crate::model::fact::Gate;
use crate::model::incident::Stage;
use crate::model::input::Owned;
use crate::model::time::human;
use crate::model::{Action, AttemptId, Command, IncidentId, Mono, Order, Outcome, Resolution, UnitName, Verb, What};

use super::instance::Standing;
use super::timers::TimerKey;
use super::{Engine, gate};

/// Beyond the time that systemd gives a stop by default (90 s), this much more until a stop has failed.
const STOP_LIMIT: Duration = Duration::from_secs(100);

impl Engine {
    /// Starts the extra instance, where the worker wants one. False: there is none, the restart goes on without.
    pub(super) fn begin_surge(&mut self, attempt: AttemptId) -> bool {
        let incident = &self.incidents[&attempt.incident];
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        let settings = self.settings.workers[&worker].clone();
        if !settings.surges() || !self.instances[&unit].view.active.is_up() {
            return false;
        }
        let Some(extra) = self.spares(&worker, &settings, 1).pop() else { return false };
        self.own(&extra, Some(unit));
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        let running = incident.attempts.last_mut().expect("running");
        running.stage = Stage::Acting;
        running.extra = Some(extra.clone());
        self.desk.touched.remove(&attempt.incident);
        self.desk.command(Command::Save(Box::new(incident.clone())));
        self.desk.command(Command::Act(Order { attempt, unit: extra, verb: Verb::Start { reset_failed: false } }));
        true
    }

    /// The order that is out is the start of the extra instance.
    pub(super) fn is_surging(&self, attempt: AttemptId) -> bool {
        let running = self.incidents[&attempt.incident].last_attempt().expect("running");
        running.extra.is_some()
            && running.drain_until.is_none()
            && !self.instances[&self.incidents[&attempt.incident].unit].taken_down
            && running.acted_at.is_none()
    }

    pub(super) fn extra_ordered(&mut self, attempt: AttemptId, answer: Answer) {
        match answer {
            Answer::Accepted { .. } => {}
            Answer::Refused { text, .. } => return self.withdraw(attempt, &format!("the extra instance: {text}")),
            Answer::Failed { text } | Answer::DidNotWork { text } => {
                return self.fail(attempt.incident, format!("the extra instance: {text}"));
            }
        }
        let now = self.now();
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        let running = incident.attempts.last_mut().expect("running");
        running.stage = Stage::Surging;
        running.acted_at = Some(now);
        let (worker, extra) = (incident.worker.clone(), running.extra.clone().expect("surging"));
        self.desk.touched.insert(attempt.incident);
        self.release_place();
        let did = Some(format!("started {extra} to stand in"));
        let what = What::AttemptActed { attempt, action: Action::GracefulRestart, dependents: Vec::new(), did };
        let unit = self.incidents[&attempt.incident].unit.clone();
        self.desk.tell_unit(&worker, &unit, Some(attempt.incident), what);
        self.proceed(attempt.incident);
    }

    /// Waits for the extra instance to be well, then asks the sick one to finish.
    pub(super) fn pursue_surge(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = &self.incidents[&id];
        let running = incident.last_attempt().expect("running");
        let attempt = AttemptId { incident: id, number: running.number };
        let extra = running.extra.clone().expect("surging");
        let settings = &self.settings.workers[&incident.worker];
        let limit = running.acted_at.unwrap_or(now) + settings.start_timeout;
        let well = self.instances.get(&extra).and_then(|instance| instance.well_since);
        let proven = well.map(|since| since + settings.verify_dead_for);
        if proven.is_some_and(|at| at <= now) {
            let asking = self.asking(incident, Action::GracefulRestart, true);
            let refusal = self.refusal_of(gate::TO_INTERRUPT, &asking).or_else(|| self.gate_too_few_left(&asking));
            if let Some(refusal) = refusal {
                return self.wait_for(id, Action::GracefulRestart, refusal);
            }
            self.starts_in_flight += 1;
            let verb = self.drain_verb(&self.incidents[&id].unit.clone());
            return self.order(attempt, verb);
        }
        if limit <= now {
            let lasted = human(settings.start_timeout);
            return self.fail(id, format!("the extra instance {extra} was not well within {lasted}"));
        }
        self.timers.set(TimerKey::Proceed(id), Some(proven.unwrap_or(limit).min(limit)));
        self.watch_extra(id, &extra);
    }

    /// The extra instance has no incident of its own that could wake this one.
    fn watch_extra(&mut self, id: IncidentId, extra: &UnitName) {
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        if self.instances.get(extra).is_none_or(|instance| instance.well_since.is_none()) {
            self.timers.set_by(TimerKey::Proceed(id), self.now() + LOOK_AGAIN);
        }
    }

    fn drain_verb(&self, unit: &UnitName) -> Verb {
        let (instance, settings) = self.with_settings(unit);
        match instance.view.main_pid {
            0 => Verb::TryRestart,
            _ => Verb::Drain { signal: settings.drain_signal, invocation: instance.view.invocation },
        }
    }

    /// The attempt that needed it is over: the extra instance goes as it came.
    pub(super) fn release_extra(&mut self, id: IncidentId) {
        let extra = self.incidents.get(&id).and_then(|incident| incident.last_attempt()).and_then(|a| a.extra.clone());
        let Some(extra) = extra else { return };
        // Whoever restarted it meanwhile wants it to stay.
        let Some(owned) = self.owned.get_mut(&extra) else { return };
        owned.surge_for = None;
        self.desk.safety_changed = true;
        match self.instances.get(&extra) {
            Some(instance) if instance.is_spare() => self.disown(&extra),
            Some(_) => self.release(&extra, "it stood in during a graceful restart, which is over"),
            None => {}
        }
    }

    /// Owned instances that nothing needs any more, after a gap in which that could not be seen.
    pub(super) fn tidy_owned(&mut self) {
        let owned: Vec<_> = self.owned.values().cloned().collect();
        for Owned { unit, surge_for, .. } in owned {
            let settings = self.settings.worker_of(unit.as_str());
            let scales = settings.is_some_and(|settings| settings.max_instances.is_some());
            let stands_in = self.incidents.values().any(|incident| {
                incident.last_attempt().is_some_and(|a| a.is_running() && a.extra.as_ref() == Some(&unit))
            });
            match self.instances.get(&unit) {
                None => self.disown(&unit),
                _ if stands_in => {}
                Some(instance) if matches!(instance.standing, Standing::Stopped(_) | Standing::NotFound) => {
                    self.disown(&unit);
                }
                Some(_) if surge_for.is_some() || !scales => {
                    self.owned.get_mut(&unit).expect("listed").surge_for = None;
                    self.release(&unit, "it stood in during a graceful restart, which is over");
                }
                Some(_) => {}
            }
        }
    }

    /// It has been asked to finish its work: it is stopped when it has, or when its time is up.
    pub(super) fn pursue_last_drain(&mut self, id: IncidentId, attempt: AttemptId, until: Mono) {
        let now = self.now();
        let instance = &self.instances[&self.incidents[&id].unit];
        if instance.view.active.is_down() {
            return self.gone(id, "it finished its work and ended");
        }
        let running = self.incidents[&id].last_attempt().expect("running");
        // Restart= would bring it back after its drain.
        let comes_back = instance.view.in_auto_restart() || running.activated;
        if !comes_back && until > now {
            return self.timers.set(TimerKey::Proceed(id), Some(until));
        }
        let asking = self.asking(&self.incidents[&id], Action::ScaleDown, true);
        // What has finished its work is kept from coming back even if a pause has begun meanwhile; what works is left alone.
        let gates: &[Gate] = match instance.view.in_auto_restart() {
            true => &[Gate::SystemState, Gate::Hold],
            false => &[Gate::SystemState, Gate::Hold, Gate::Maintenance],
        };
        if let Some(refusal) = self.refusal_of(gates, &asking) {
            return self.wait_for(id, Action::ScaleDown, refusal);
        }
        self.starts_in_flight += 1;
        self.order(attempt, Verb::Stop);
    }

    /// systemd has been asked to stop it.
    pub(super) fn pursue_stop(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = &self.incidents[&id];
        let instance = &self.instances[&incident.unit];
        let running = incident.last_attempt().expect("running");
        let limit = running.acted_at.unwrap_or(running.intended_at) + STOP_LIMIT;
        if instance.view.active.is_down() {
            return self.gone(id, "it was stopped");
        }
        if limit <= now {
            return self.fail(id, format!("it has not stopped within {}", human(STOP_LIMIT)));
        }
        self.timers.set(TimerKey::Proceed(id), Some(limit));
    }

    /// One that we started is down again, as it should be.
    pub(super) fn gone(&mut self, id: IncidentId, how: &str) {
        let incident = &self.incidents[&id];
        let unit = incident.unit.clone();
        let doubt = incident.last_attempt().is_some_and(|attempt| attempt.in_doubt);
        let outcome = if doubt { Outcome::InDoubt } else { Outcome::Succeeded };
        self.disown(&unit);
        self.end_attempt(id, outcome, how, None);
        self.close(id, Resolution::Recovered, None);
        self.closed.remove(&unit);
        self.stand(&unit, Standing::Spare);
        self.reassess(&unit);
    }

    /// A unit that is down is on its way out by our own doing.
    pub(super) fn is_scaling_down(&self, unit: &UnitName) -> bool {
        let incident = self.instances.get(unit).and_then(|i| i.incident).and_then(|id| self.incidents.get(&id));
        let attempt = incident.and_then(|incident| incident.last_attempt());
        attempt.is_some_and(|a| a.is_running() && a.action == Action::ScaleDown && a.stage != Stage::Recording)
    }
}
