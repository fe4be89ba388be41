//! The life of an incident: opened, joined, waiting, proven well, closed, reopened.

use std::time::Duration;

use crate::model::fact::RestartCause;
use crate::model::incident::{Origin, Stage};
use crate::model::{
    Action, Command, Condition, Evidence, Health, Incident, IncidentId, Mono, Outcome, Plan, Resolution, UnitName, What,
};

use super::timers::TimerKey;
use super::{Engine, plan, policy};

/// Closed incidents kept because they may reopen; the oldest goes first.
const CLOSED_KEPT: usize = 4096;

impl Engine {
    /// Opens, joins and moves on the incident of an instance after a new look at it.
    pub(super) fn tend(&mut self, unit: &UnitName) {
        let (instance, settings) = self.with_settings(unit);
        let complaints: Vec<(Condition, Evidence)> = instance
            .conditions
            .iter()
            .filter(|(condition, held)| plan::needs_attention(**condition, held, settings))
            // What is up again has nothing to be started for: the loop is over when it stays up.
            .filter(|(condition, _)| **condition != Condition::CrashLoop || !instance.at_work())
            .map(|(condition, held)| (*condition, held.evidence.clone()))
            .collect();
        match instance.incident {
            Some(id) if complaints.is_empty() && instance.is_spare() && self.is_idle(id) => {
                // Not wanted any more before it was started; or what an operator asked for came too late.
                let errand = self.incidents[&id].is_errand();
                self.close(id, if errand { Resolution::Operator } else { Resolution::SelfCleared }, None);
            }
            None if complaints.is_empty() => {}
            None => self.open_or_reopen(unit, complaints),
            Some(id) => {
                self.join(id, complaints);
                self.proceed(id);
            }
        }
    }

    fn open_or_reopen(&mut self, unit: &UnitName, complaints: Vec<(Condition, Evidence)>) {
        let (leading, evidence) = complaints.last().cloned().expect("not empty");
        let (_, settings) = self.with_settings(unit);
        let cooldown = settings.restart_cooldown;
        let now = self.now();
        let recent = self.closed.remove(unit);
        let id = match recent.filter(|old| old.closed_at.is_some_and(|at| now.since(at) < cooldown)) {
            Some(old) => self.reopen(old, leading),
            None => self.open(unit, Origin::Condition { condition: leading }, evidence),
        };
        self.join(id, complaints);
        self.proceed(id);
    }

    /// Opens an incident without asking whether one may reopen.
    pub(super) fn open(&mut self, unit: &UnitName, origin: Origin, evidence: Evidence) -> IncidentId {
        let now = self.desk.now;
        let id = IncidentId(self.next_incident);
        self.next_incident += 1;
        let (instance, _) = self.with_settings(unit);
        let condition = match &origin {
            Origin::Condition { condition } => Some(*condition),
            Origin::Operator { .. } | Origin::Surplus => None,
        };
        let failed_at = instance.failed_at.filter(|_| condition.is_some()).unwrap_or(now.mono).min(now.mono);
        let pattern = condition.and_then(|_| instance.said.before(failed_at, now.mono));
        let named = pattern.as_ref().map(|pattern| pattern.id);
        let plan = condition.map(|condition| self.plan_for(unit, condition, named)).unwrap_or_default();
        let mut incident = Incident {
            worst: condition.map_or(instance.health, Condition::health),
            failed_at,
            failed_wall: now.wall_of(failed_at),
            plan: plan.clone(),
            pattern,
            unusual: condition.map(|_| self.unusual_now(unit)).unwrap_or_default(),
            ..Incident::new(id, instance.worker.clone(), unit.clone(), origin, &self.boot, now)
        };
        if let Some(condition) = condition {
            incident.note(condition, evidence.clone());
        }
        let worker = incident.worker.clone();
        self.incidents.insert(id, incident);
        self.instances.get_mut(unit).expect("known").incident = Some(id);
        self.desk.touched.insert(id);
        self.desk.tell_unit(&worker, unit, Some(id), What::IncidentOpened { condition, evidence, plan });
        if condition == Some(Condition::CrashLoop) {
            self.set_backoff(id);
        }
        self.compare(id);
        id
    }

    fn reopen(&mut self, mut incident: Incident, leading: Condition) -> IncidentId {
        let now = self.desk.now;
        let (id, unit, worker) = (incident.id, incident.unit.clone(), incident.worker.clone());
        let since_closed = incident.closed_at.map_or(Duration::ZERO, |at| now.mono.since(at));
        let instance = self.instances.get_mut(&unit).expect("known");
        instance.incident = Some(id);
        incident.failed_at = instance.failed_at.unwrap_or(now.mono).min(now.mono);
        incident.failed_wall = now.wall_of(incident.failed_at);
        incident.pattern = incident.pattern.take().or_else(|| instance.said.before(incident.failed_at, now.mono));
        incident.opened_at = now.mono;
        incident.opened_wall = now.wall;
        incident.closed_at = None;
        incident.closed_wall = None;
        incident.resolution = None;
        incident.time_to_recover = None;
        incident.waiting = None;
        incident.helped_by = None;
        incident.given_up = false;
        // It is another failure: a no was to the first one.
        incident.rejected.clear();
        incident.reopened += 1;
        // Attempts of one incident keep their distance, also when one of them had helped for a while.
        if let (Some(last), Some(settings)) = (incident.last_attempt(), self.settings.workers.get(&worker)) {
            let next =
                last.intended_at + policy::backoff(incident.attempts_used, Some(leading), settings, &mut self.dice);
            incident.not_before = incident.not_before.max(Some(next));
        }
        let used = incident.attempts_used;
        self.incidents.insert(id, incident);
        self.desk.touched.insert(id);
        let what = What::IncidentReopened { condition: Some(leading), attempts_used: used, since_closed };
        self.desk.tell_unit(&worker, &unit, Some(id), what);
        id
    }

    /// Further conditions join; the weightiest that holds leads the plan.
    fn join(&mut self, id: IncidentId, complaints: Vec<(Condition, Evidence)>) {
        let Some((leading, _)) = complaints.last().cloned() else { return };
        let incident = &self.incidents[&id];
        if !self.settings.workers.contains_key(&incident.worker) {
            return;
        }
        let Some(instance) = self.instances.get(&incident.unit) else { return };
        let worst = instance.conditions.values().map(|held| held.health).max();
        let pattern = incident.pattern.as_ref().map(|pattern| pattern.id);
        // Most looks change nothing, and a plan is large.
        let stands = self.plan_stands(incident, leading);
        let other = (!stands).then(|| self.plan_for(&incident.unit, leading, pattern));
        let incident = self.incidents.get_mut(&id).expect("open");
        let acts = |plan: &Plan| plan.steps.iter().any(|step| step.action != Action::Escalate);
        let now_acts = other.as_ref().is_some_and(acts) && !acts(&incident.plan);
        if incident.given_up && now_acts && incident.attempts_made().next().is_none() {
            // What an operator was told of was another thing, for which there was nothing to try.
            (incident.escalations, incident.given_up) = (0, false);
            (incident.attempts_used, incident.not_before) = (0, None);
        }
        incident.worst = incident.worst.max(worst.unwrap_or(incident.worst));
        let (mut crash_loop_joined, mut joined) = (false, false);
        for (condition, evidence) in complaints {
            incident.worst = incident.worst.max(condition.health());
            match incident.conditions.get(&condition) {
                Some(known) if *known == evidence => {}
                Some(_) => incident.note(condition, evidence),
                None => {
                    incident.note(condition, evidence.clone());
                    crash_loop_joined |= condition == Condition::CrashLoop;
                    joined = true;
                    let plan = other.as_ref().unwrap_or(&incident.plan).clone();
                    let what = What::ConditionJoined { condition, evidence, plan };
                    self.desk.tell_unit(&incident.worker, &incident.unit, Some(id), what);
                    self.desk.touched.insert(id);
                }
            }
        }
        if let Some(plan) = other.filter(|plan| incident.plan != *plan) {
            incident.plan = plan;
            self.desk.touched.insert(id);
        }
        if joined {
            self.compare(id);
        }
        if crash_loop_joined && self.incidents[&id].not_before.is_none_or(|at| at <= self.desk.now.mono) {
            self.set_backoff(id);
        }
    }

    /// Nothing is being done for it.
    pub(super) fn is_idle(&self, id: IncidentId) -> bool {
        !self.incidents.get(&id).is_some_and(|incident| incident.last_attempt().is_some_and(|a| a.is_running()))
    }

    /// Moves an incident on as far as it can go now.
    pub(super) fn proceed(&mut self, id: IncidentId) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let unit = incident.unit.clone();
        let Some(instance) = self.instances.get(&unit) else { return };
        if !self.sighted || !instance.seen {
            return;
        }
        if incident.last_attempt().is_some_and(|attempt| attempt.is_running()) {
            return self.pursue_attempt(id);
        }
        if let Some(since) = instance.well_since {
            return self.prove(id, since);
        }
        if !instance.conditions.is_empty() && (instance.should_run() || instance.is_spare()) {
            self.next_step(id);
        } else if instance.is_spare() && !incident.is_errand() {
            // The work was done by others while its start failed.
            self.close(id, Resolution::SelfCleared, None);
        }
    }

    /// Nothing is being done and it looks well: wait until that has lasted, then close.
    fn prove(&mut self, id: IncidentId, since: Mono) {
        self.withdraw_question(id);
        let incident = &self.incidents[&id];
        let verify_for = self.verify_for(incident);
        let proven_at = since + verify_for;
        if proven_at > self.now() {
            self.timers.set(TimerKey::Proceed(id), Some(proven_at));
            return;
        }
        if incident.is_errand() && incident.attempts.is_empty() {
            // An errand on a healthy instance is closed by its attempt, not by health.
            return self.next_step(id);
        }
        let resolution = self.resolution_without_us(id);
        self.close(id, resolution, Some(since));
    }

    fn resolution_without_us(&self, id: IncidentId) -> Resolution {
        let incident = &self.incidents[&id];
        let acted = incident.attempts.iter().any(|attempt| attempt.acted_at.is_some());
        match incident.helped_by {
            _ if incident.escalations > 0 => Resolution::Escalated,
            Some(RestartCause::Systemd) => Resolution::Systemd,
            Some(RestartCause::Operator) => Resolution::Operator,
            _ if acted => Resolution::Recovered,
            _ if matches!(incident.origin, Origin::Operator { .. }) => Resolution::Operator,
            _ => Resolution::SelfCleared,
        }
    }

    pub(super) fn verify_for(&self, incident: &Incident) -> Duration {
        match self.settings.workers.get(&incident.worker) {
            Some(settings) => settings.verify_for(incident.leading()),
            None => Duration::ZERO,
        }
    }

    /// Closes an incident; `well_since` begins the stretch of health that proves it.
    pub(super) fn close(&mut self, id: IncidentId, resolution: Resolution, well_since: Option<Mono>) {
        let now = self.desk.now;
        let mut incident = self.incidents.remove(&id).expect("open");
        // More work was there, and others have done it.
        let spare = self.instances.get(&incident.unit).is_some_and(|instance| instance.is_spare());
        let false_alarm = resolution == Resolution::SelfCleared && incident.action_was_allowed && !spare;
        incident.closed_at = Some(now.mono);
        incident.closed_wall = Some(now.wall);
        incident.resolution = Some(if false_alarm { Resolution::FalseAlarm } else { resolution });
        incident.time_to_recover = well_since.map(|at| at.since(incident.failed_at));
        incident.waiting = None;
        incident.approval = None;
        self.timers.set(TimerKey::Proceed(id), None);
        self.leave_queue(id);
        let what = What::IncidentClosed {
            resolution: incident.resolution.expect("just set"),
            time_to_recover: incident.time_to_recover,
            attempts: incident.attempts.len() as u32,
            false_alarm,
        };
        self.desk.tell_unit(&incident.worker, &incident.unit, Some(id), what);
        self.desk.touched.remove(&id);
        self.desk.command(Command::Save(Box::new(incident.clone())));
        self.remember(&incident);
        let (unit, worker) = (incident.unit.clone(), incident.worker.clone());
        self.closed.insert(unit.clone(), incident);
        self.bound_closed();
        if let Some(instance) = self.instances.get_mut(&unit) {
            instance.incident = None;
            // A failure after this begins a time of its own, also if the unit was never up in between.
            instance.failed_at = None;
            if well_since.is_some() && instance.conditions.contains_key(&Condition::CrashLoop) {
                instance.failures.clear();
                self.reassess(&unit);
            }
        }
        self.roll_on(&worker, id, resolution);
    }

    fn bound_closed(&mut self) {
        if self.closed.len() > CLOSED_KEPT {
            let oldest =
                self.closed.iter().min_by_key(|(_, incident)| incident.closed_at).map(|(unit, _)| unit.clone());
            oldest.and_then(|unit| self.closed.remove(&unit));
        }
    }

    /// Somebody else took the matter in hand: the attempt is superseded, the incident ends.
    pub(super) fn close_as_superseded(&mut self, id: IncidentId, why: &str) {
        if !self.incidents.contains_key(&id) {
            return;
        }
        self.end_attempt(id, Outcome::Superseded, why, None);
        self.close(id, Resolution::Operator, None);
    }

    /// Somebody else brought the instance back while its incident was open.
    pub(super) fn note_helper(&mut self, unit: &UnitName, who: RestartCause) {
        let Some(id) = self.instances.get(unit).and_then(|instance| instance.incident) else { return };
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        incident.helped_by = Some(who);
        self.desk.touched.insert(id);
        let acting = incident.last_attempt().is_some_and(|a| a.is_running() && a.stage != Stage::Recording);
        if acting && who == RestartCause::Operator {
            self.end_attempt(id, Outcome::Superseded, "somebody else started or restarted it", None);
        }
    }

    pub(super) fn set_backoff(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = self.incidents.get_mut(&id).expect("open");
        let Some(settings) = self.settings.workers.get(&incident.worker) else { return };
        let pause = policy::backoff(incident.attempts_used, incident.leading(), settings, &mut self.dice);
        incident.not_before = Some(now + pause);
        self.desk.touched.insert(id);
    }

    /// Gives up for now: tells an operator, and goes on after a pause that doubles.
    pub(super) fn escalate(&mut self, id: IncidentId, why: &str) {
        let now = self.now();
        let incident = self.incidents.get_mut(&id).expect("open");
        let Some(settings) = self.settings.workers.get(&incident.worker) else { return };
        if !plan::may_wake(incident) {
            // It stays open until what was foreseen comes, or does not.
            return;
        }
        incident.escalations += 1;
        incident.given_up = true;
        let pause = policy::escalation_pause(incident.escalations, settings);
        let next_try = now + pause;
        incident.not_before = Some(next_try);
        // One more attempt after each pause.
        incident.attempts_used = settings.max_restart_attempts.saturating_sub(1);
        let acts = plan::next_action(&incident.plan, 0, |action| incident.passes_over(action), &[]).is_some();
        let attempts = incident.attempts_made().count() as u32;
        let text = format!("{} {}: {why}", incident.unit, incident.given_up_words());
        let what = What::Escalated { attempts, next_try: acts.then_some(next_try), text };
        self.desk.tell_unit(&incident.worker, &incident.unit, Some(id), what);
        self.desk.touched.insert(id);
        self.timers.set(TimerKey::Proceed(id), Some(next_try));
    }

    /// Whether attempts are used up, so that only escalation is left.
    pub(super) fn exhausted(&self, incident: &Incident) -> bool {
        let Some(settings) = self.settings.workers.get(&incident.worker) else { return true };
        incident.attempts_used >= settings.max_restart_attempts
            || plan::next_action(&incident.plan, 0, |action| incident.passes_over(action), &[]).is_none()
    }

    /// What the next attempt would do.
    pub(super) fn next_action(&self, incident: &Incident) -> Option<Action> {
        match &incident.origin {
            Origin::Operator { action, .. } if incident.is_errand() => Some(*action),
            Origin::Surplus if incident.is_errand() => Some(Action::ScaleDown),
            _ => plan::next_action(
                &incident.plan,
                incident.attempts_used,
                |action| incident.passes_over(action),
                &incident.attempts,
            ),
        }
    }

    /// The plan that would be followed for the conditions that hold now.
    pub(super) fn present_plan(&self, unit: &UnitName) -> Plan {
        let (instance, settings) = self.with_settings(unit);
        let mut heaviest = instance.conditions.iter().rev();
        let leading = heaviest.find(|(condition, held)| plan::needs_attention(**condition, held, settings));
        leading.map(|(condition, _)| self.plan_for(unit, *condition, None)).unwrap_or_default()
    }

    pub(super) fn flush_records(&mut self) {
        for id in std::mem::take(&mut self.desk.touched) {
            if let Some(incident) = self.incidents.get(&id) {
                self.desk.command(Command::Save(Box::new(incident.clone())));
            }
        }
        if std::mem::take(&mut self.desk.safety_changed) {
            let safety = self.safety();
            self.desk.command(Command::Keep(Box::new(safety)));
        }
    }

    /// Health of the instance that an incident is about.
    pub(super) fn health_of(&self, unit: &UnitName) -> Health {
        self.instances.get(unit).map_or(Health::Unknown, |instance| instance.health)
    }
}
