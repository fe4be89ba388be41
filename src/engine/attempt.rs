//! The life of an attempt: intent, act, verification, outcome.

use std::time::Duration;

use crate::model::action::{Answer, Intent, Refused};
use crate::model::fact::{Gate, Refusal, RestartCause};
use crate::model::incident::{ATTEMPTS_KEPT, Origin, Stage};
use crate::model::input::Durability;
use crate::model::unit::{JobKind, JobResult};
use crate::model::{
    Action, Attempt, AttemptId, Command, Condition, Incident, IncidentId, Mono, Order, Outcome, Resolution, UnitName,
    Verb, What,
};

use super::instance::{Instance, Job, Standing};
use super::timers::TimerKey;
use super::{Engine, assess, gate, plan};

/// Beyond the time that a start may take, this much more until an attempt that shows no health has failed.
const VERIFY_SLACK: Duration = Duration::from_secs(10);
/// After a refusal by systemd or the root side, the gates are asked again no sooner than this.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause, of what will be refused until somebody mends it.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(60);

impl Engine {
    /// Nothing runs for this incident and it is not well: act, wait, or give up.
    pub(super) fn next_step(&mut self, id: IncidentId) {
        let incident = &self.incidents[&id];
        let (requested, may_wake) = (incident.is_errand(), plan::may_wake(incident));
        let Some(action) = self.next_action(incident) else { return self.escalate_when_due(id) };
        let asking = self.asking(incident, action, false);
        let surplus = incident.origin == Origin::Surplus && requested;
        match self.refusal(&asking) {
            _ if surplus && self.keep_if_needed(id) => {}
            None => {
                self.note_act_without_answer(id, action);
                self.start_attempt(id, action);
            }
            Some(refusal) if refusal.gate == Gate::Approval && self.is_unanswered(id, action) => {
                self.give_up_asking(id, action);
            }
            Some(refusal) if refusal.gate == Gate::Attempts && !requested && may_wake => {
                self.escalate(id, "the attempts are used up");
            }
            Some(refusal) if refusal.gate == Gate::AutoRestart && self.loops_under_systemd(id) => {
                self.escalate(id, "systemd restarts it again and again, and it does not last");
            }
            Some(refusal) if refusal.gate == Gate::JobInFlight && self.hangs_in_a_restart(id) => {
                self.escalate(id, "its start hangs in a restart job, which no other restart can replace");
            }
            Some(refusal) => self.wait_for(id, action, refusal),
        }
    }

    /// systemd merges a further restart into one that runs: an attempt would change nothing.
    fn hangs_in_a_restart(&self, id: IncidentId) -> bool {
        let incident = &self.incidents[&id];
        let instance = &self.instances[&incident.unit];
        let restarts = instance.job.is_some_and(|job| matches!(job.kind, Some(JobKind::Restart | JobKind::TryRestart)));
        restarts
            && instance.conditions.contains_key(&Condition::StartStuck)
            && incident.not_before.is_none_or(|at| at <= self.now())
    }

    /// A plan of escalation alone. The page names what asks for it, not what is only told.
    fn escalate_when_due(&mut self, id: IncidentId) {
        let incident = &self.incidents[&id];
        if incident.given_up && !incident.rejected.is_empty() {
            return self.leave_to_operators(id);
        }
        let asking = self.asking(incident, Action::Escalate, false);
        let asked_for = incident.plan.condition.and_then(|condition| incident.conditions.get(&condition));
        let because = match asked_for {
            Some(evidence) => evidence.text.clone(),
            None => self.instances[&incident.unit].because(),
        };
        match self.refusal(&asking) {
            None => self.escalate(id, &because),
            Some(refusal) if refusal.gate == Gate::Attempts => self.escalate(id, &because),
            Some(refusal) => return self.wait_for(id, Action::Escalate, refusal),
        }
        if !self.incidents[&id].rejected.is_empty() {
            self.leave_to_operators(id);
        }
    }

    fn loops_under_systemd(&self, id: IncidentId) -> bool {
        let incident = &self.incidents[&id];
        let looping = self.instances[&incident.unit].conditions.contains_key(&Condition::CrashLoop);
        looping && incident.not_before.is_none_or(|at| at <= self.now())
    }

    fn start_attempt(&mut self, id: IncidentId, action: Action) {
        let now = self.desk.now;
        self.leave_queue(id);
        self.timers.set(TimerKey::Proceed(id), None);
        let incident = self.incidents.get_mut(&id).expect("open");
        let number = incident.last_attempt().map_or(1, |last| last.number + 1);
        let attempt = AttemptId { incident: id, number };
        let reason = incident
            .plan
            .steps
            .iter()
            .find(|step| step.action == action)
            .map_or_else(|| "an operator asked for it".to_string(), |step| step.reason.clone());
        if incident.attempts.len() >= ATTEMPTS_KEPT {
            incident.attempts.remove(0);
        }
        let condition = incident.leading();
        incident.attempts.push(Attempt { condition, ..Attempt::intended(number, action, reason.clone(), now) });
        incident.attempts_used += 1;
        incident.waiting = None;
        incident.action_was_allowed = true;
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        let record = incident.clone();
        self.starts_in_flight += 1;
        if action == Action::ScaleUp {
            self.own(&unit, None);
        }
        self.desk.tell_unit(&worker, &unit, Some(id), What::AttemptIntended { attempt, action, reason });
        // The incident goes before its intent, so that the intent is never without one.
        self.desk.touched.remove(&id);
        self.desk.command(Command::Save(Box::new(record)));
        self.desk.command(Command::Record(Intent { attempt, incident: id, unit, action, at: now.wall }));
    }

    /// What an operator asked for has passed the gates already.
    pub(super) fn start_requested(&mut self, id: IncidentId, action: Action) {
        self.start_attempt(id, action);
    }

    pub(super) fn recorded(&mut self, attempt: AttemptId, how: Durability) {
        let Some(running) = self.running(attempt, Stage::Recording) else { return };
        let action = running.action;
        if let Durability::Volatile { why } | Durability::Lost { why } = how {
            running.flagged = true;
            let incident = &self.incidents[&attempt.incident];
            let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
            let what = What::IntentNotStored { attempt, text: why };
            self.desk.tell_unit(&worker, &unit, Some(attempt.incident), what);
        }
        let incident = &self.incidents[&attempt.incident];
        let unit = incident.unit.clone();
        let requested = incident.is_errand();
        if self.instances[&unit].well_since.is_some() && !requested {
            return self.withdraw(attempt, "it was well again before the deed");
        }
        if let Some(refusal) = self.refusal(&self.asking(incident, action, true)) {
            self.withdraw(attempt, &refusal.text);
            return self.wait_for(attempt.incident, action, refusal);
        }
        if action == Action::GracefulRestart && self.begin_surge(attempt) {
            return;
        }
        let verb = self.first_verb(&unit, action);
        self.order(attempt, verb);
    }

    /// The first act of an action, for the state in which the unit is now.
    fn first_verb(&self, unit: &UnitName, action: Action) -> Verb {
        let (instance, settings) = self.with_settings(unit);
        let view = &instance.view;
        match action {
            Action::Hook(name) => Verb::Hook { name },
            Action::MemoryCleanup => Verb::ReclaimMemory { invocation: view.invocation },
            Action::ConnectionReset => Verb::ResetConnections { invocation: view.invocation },
            Action::ScaleUp => Verb::Start { reset_failed: instance.start_limit_hit() },
            Action::ScaleDown if view.main_pid == 0 || !view.active.is_up() => Verb::Stop,
            _ if view.active.is_down() => Verb::Start { reset_failed: instance.start_limit_hit() },
            Action::GracefulRestart | Action::ScaleDown if view.main_pid != 0 => {
                Verb::Drain { signal: settings.drain_signal, invocation: view.invocation }
            }
            _ if view.active == crate::model::ActiveState::Deactivating => Verb::Start { reset_failed: false },
            _ => Verb::TryRestart,
        }
    }

    pub(super) fn order(&mut self, attempt: AttemptId, verb: Verb) {
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        let running = incident.attempts.last_mut().expect("running");
        running.stage = Stage::Acting;
        let unit = incident.unit.clone();
        let instance = self.instances.get_mut(&unit).expect("known");
        instance.taken_down |= matches!(verb, Verb::Drain { .. } | Verb::Stop);
        instance.being_restarted = verb == Verb::TryRestart;
        instance.ordered = verb.job();
        // From here on the last job is ours.
        instance.last_job = None;
        self.desk.touched.insert(attempt.incident);
        self.desk.command(Command::Act(Order { attempt, unit, verb }));
    }

    /// The intent will not be carried out. It does not count.
    pub(super) fn withdraw(&mut self, attempt: AttemptId, why: &str) {
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        incident.attempts_used = incident.attempts_used.saturating_sub(1);
        incident.not_before = Some(self.desk.now.mono + REFUSED_PAUSE);
        let unit = incident.unit.clone();
        self.instances.get_mut(&unit).expect("known").taken_down = false;
        if self.instances[&unit].is_spare() {
            self.disown(&unit);
        }
        self.end_attempt(attempt.incident, Outcome::Superseded, why, None);
        self.timers.set_by(TimerKey::Proceed(attempt.incident), self.desk.now.mono + REFUSED_PAUSE);
    }

    pub(super) fn acted(&mut self, attempt: AttemptId, answer: Answer) {
        let now = self.now();
        let Some(action) = self.running(attempt, Stage::Acting).map(|running| running.action) else { return };
        let unit = self.incidents[&attempt.incident].unit.clone();
        let refused = matches!(answer, Answer::Refused { .. });
        if !refused {
            // The yes was for this one.
            self.incidents.get_mut(&attempt.incident).expect("open").approval = None;
        }
        if self.is_surging(attempt) {
            return self.extra_ordered(attempt, answer);
        }
        if let Answer::Accepted { job: Some(job), .. } = &answer {
            let instance = self.instances.get_mut(&unit).expect("known");
            // Not by the state that is known: what has died may still be on its way down.
            instance.own_job = instance.ordered.map(|kind| (*job, kind));
            instance.name_own_job();
        }
        if action == Action::MemoryCleanup && matches!(answer, Answer::Accepted { .. }) {
            self.instances.get_mut(&unit).expect("known").readings.ease_memory();
        }
        match answer {
            Answer::Accepted { .. } if self.is_draining(attempt) => self.begin_drain(attempt),
            Answer::Accepted { did, .. } => self.begin_verification(attempt, None, did),
            Answer::Failed { text } => self.begin_verification(attempt, Some(text), None),
            Answer::DidNotWork { text } => {
                self.begin_verification(attempt, None, Some(text.clone()));
                self.fail(attempt.incident, text);
            }
            Answer::Refused { why, text } => self.refused(attempt, action, why, text, now),
        }
        if !refused {
            // What was not judged while the order was out.
            self.judge_standing(&unit, false);
        }
        self.reassess(&unit);
        self.proceed(attempt.incident);
    }

    /// An order for the unit is with the root side, without an answer yet.
    pub(super) fn order_is_out(&self, unit: &UnitName) -> bool {
        let incident = self.instances.get(unit).and_then(|i| i.incident).and_then(|id| self.incidents.get(&id));
        incident.and_then(|incident| incident.last_attempt()).is_some_and(|attempt| attempt.stage == Stage::Acting)
    }

    /// The order under way is the drain signal: the first of a graceful restart's two acts.
    fn is_draining(&self, attempt: AttemptId) -> bool {
        let incident = &self.incidents[&attempt.incident];
        let running = incident.last_attempt().expect("running");
        running.drain_until.is_none() && self.instances[&incident.unit].taken_down
    }

    fn begin_drain(&mut self, attempt: AttemptId) {
        let now = self.now();
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        let limit = self.settings.workers[&incident.worker].drain_timeout;
        let running = incident.attempts.last_mut().expect("running");
        running.stage = Stage::Draining;
        running.drain_until = Some(now + limit);
        self.release_place();
        let incident = &self.incidents[&attempt.incident];
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        self.desk.touched.insert(attempt.incident);
        self.desk.tell_unit(&worker, &unit, Some(attempt.incident), What::AttemptDraining { attempt, limit });
    }

    pub(super) fn begin_verification(&mut self, attempt: AttemptId, doubt: Option<String>, did: Option<String>) {
        let now = self.now();
        let incident = self.incidents.get_mut(&attempt.incident).expect("open");
        let running = incident.attempts.last_mut().expect("running");
        running.stage = Stage::Verifying;
        running.acted_at = Some(now);
        let action = running.action;
        let mut did = did;
        if let Some(text) = doubt {
            // The call failed or had no answer: it may have happened all the same.
            running.in_doubt = true;
            did = Some(format!("it may have happened: {text}"));
            running.reason = text;
        }
        self.release_place();
        let incident = &self.incidents[&attempt.incident];
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        if let Some(sum) = self.workers.get_mut(&worker) {
            sum.queues.disturb(now);
        }
        let dependents = self.instances.get(&unit).map(|i| i.view.dependents.clone()).unwrap_or_default();
        self.desk.touched.insert(attempt.incident);
        let what = What::AttemptActed { attempt, action, dependents, did };
        self.desk.tell_unit(&worker, &unit, Some(attempt.incident), what);
    }

    fn refused(&mut self, attempt: AttemptId, action: Action, why: Refused, text: String, now: Mono) {
        let unit = self.incidents[&attempt.incident].unit.clone();
        let gate = match why {
            Refused::Hold => Gate::Hold,
            Refused::JobInFlight => Gate::JobInFlight,
            Refused::NoSuchUnit | Refused::Superseded | Refused::NotAllowed | Refused::Nothing => Gate::Stopped,
        };
        self.withdraw(attempt, &text);
        if matches!(why, Refused::Nothing | Refused::NotAllowed) && !action.replaces_process() {
            // The plan goes on with the next action.
            let incident = self.incidents.get_mut(&attempt.incident).expect("open");
            if !incident.idle_actions.contains(&action) {
                incident.idle_actions.push(action);
            }
            if incident.is_errand() {
                return self.close(attempt.incident, Resolution::Operator, None);
            }
        }
        match why {
            Refused::Hold => self.held = true,
            Refused::NoSuchUnit if self.instances[&unit].view.active.is_down() => {
                return self.stand_not_found(&unit, &text);
            }
            // NoSuchUnit of one that runs: it has been masked or its file is gone.
            Refused::NoSuchUnit | Refused::JobInFlight | Refused::Superseded => {
                self.desk.command(Command::Look { unit: unit.clone() });
            }
            Refused::NotAllowed | Refused::Nothing => {}
        }
        let pause = match why {
            // Without the root side, say: asking every second for a night helps nobody, and fills the journal.
            Refused::NotAllowed => self.refusal_pause(attempt.incident),
            _ => REFUSED_PAUSE,
        };
        if let Some(incident) = self.incidents.get_mut(&attempt.incident) {
            incident.not_before = Some(now + pause);
        }
        let refusal = Refusal { gate, text, until: Some(now + pause), setting: None };
        self.wait_for(attempt.incident, action, refusal);
    }

    /// Doubles with each refusal in a row.
    fn refusal_pause(&self, id: IncidentId) -> Duration {
        let attempts = self.incidents[&id].attempts.iter().rev();
        let refusals = attempts.take_while(|attempt| attempt.outcome == Some(Outcome::Superseded)).count();
        REFUSED_PAUSE.saturating_mul(1 << refusals.saturating_sub(1).min(8)).min(REFUSED_PAUSE_MAX)
    }

    fn stand_not_found(&mut self, unit: &UnitName, text: &str) {
        if let Some(id) = self.instances[unit].incident {
            self.close_as_superseded(id, text);
        }
        self.stand(unit, Standing::NotFound);
        self.reassess(unit);
    }

    /// Moves a running attempt on.
    pub(super) fn pursue_attempt(&mut self, id: IncidentId) {
        let attempt = self.incidents[&id].last_attempt().expect("running");
        match attempt.stage {
            Stage::Surging => self.pursue_surge(id),
            Stage::Draining => self.pursue_drain(id),
            Stage::Verifying if attempt.action == Action::ScaleDown => self.pursue_stop(id),
            Stage::Verifying => self.pursue_verification(id),
            Stage::Recording | Stage::Acting | Stage::Ended => {}
        }
    }

    fn pursue_drain(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = &self.incidents[&id];
        let running = incident.last_attempt().expect("running");
        let (number, action, until) = (running.number, running.action, running.drain_until.expect("draining"));
        let attempt = AttemptId { incident: id, number };
        let activated = running.activated;
        let instance = &self.instances[&incident.unit];
        let view = &instance.view;
        if action == Action::ScaleDown {
            return self.pursue_last_drain(id, attempt, until);
        }
        if activated || view.in_auto_restart() {
            // Restart= brings it back after the drain; nothing is left for us but to watch. Its call is over:
            // there is no place to give back.
            self.starts_in_flight += 1;
            return self.begin_verification(attempt, None, None);
        }
        let second = if view.active.is_down() { gate::TO_FINISH } else { gate::TO_INTERRUPT };
        if (view.active.is_down() || until <= now)
            && let Some(refusal) = self.refusal_of(second, &self.asking(incident, action, true))
        {
            return self.wait_for(id, action, refusal);
        }
        if view.active.is_down() {
            self.starts_in_flight += 1;
            let reset_failed = instance.start_limit_hit();
            return self.order(attempt, Verb::Start { reset_failed });
        }
        if until <= now {
            self.starts_in_flight += 1;
            return self.order(attempt, Verb::TryRestart);
        }
        self.timers.set(TimerKey::Proceed(id), Some(until));
    }

    fn pursue_verification(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = &self.incidents[&id];
        let instance = &self.instances[&incident.unit];
        let running = incident.last_attempt().expect("running");
        let acted_at = running.acted_at.unwrap_or(running.intended_at);
        let verify_for = self.verify_for(incident);
        let activated = running.activated || running.in_doubt || !running.action.needs_activation();
        match (instance.well_since.filter(|_| activated), running.well_at) {
            (Some(since), known) => {
                let well_at = known.unwrap_or(since.max(acted_at));
                if known.is_none() {
                    self.note_well(id, well_at, verify_for);
                }
                match well_at + verify_for {
                    proven if proven <= now => self.succeed(id, well_at),
                    proven => self.timers.set(TimerKey::Proceed(id), Some(proven)),
                }
            }
            (None, Some(well_at)) => {
                let lasted = crate::model::time::human(now.since(well_at));
                let because = instance.because();
                self.fail(id, format!("it was well for only {lasted}: {because}"));
            }
            (None, None) => self.await_health(id, acted_at),
        }
    }

    /// The stretch of health that was being watched has been broken unseen.
    pub(super) fn begin_proof_anew(&mut self, id: IncidentId) {
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        let verifying = |attempt: &&mut Attempt| attempt.stage == Stage::Verifying;
        if let Some(running) = incident.attempts.last_mut().filter(verifying) {
            running.well_at = None;
            self.desk.touched.insert(id);
        }
    }

    fn note_well(&mut self, id: IncidentId, well_at: Mono, verify_for: Duration) {
        let incident = self.incidents.get_mut(&id).expect("open");
        let running = incident.attempts.last_mut().expect("running");
        running.well_at = Some(well_at);
        let attempt = AttemptId { incident: id, number: running.number };
        self.place_freed = true;
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        self.desk.touched.insert(id);
        let what = What::VerificationStarted { attempt: Some(attempt), verify_for };
        self.desk.tell_unit(&worker, &unit, Some(id), what);
    }

    /// No health yet: has it failed anew, or has it had its time?
    fn await_health(&mut self, id: IncidentId, acted_at: Mono) {
        let now = self.now();
        let incident = &self.incidents[&id];
        let instance = &self.instances[&incident.unit];
        let running = incident.last_attempt().expect("running");
        let failed_anew = assess::is_failing(instance) && has_failed_since(instance, running);
        if failed_anew {
            let because = instance.because();
            return self.fail(id, format!("it failed again: {because}"));
        }
        if !running.activated
            && instance.job.is_none()
            && assess::is_failing(instance)
            && let Some(why) = instance.last_job.and_then(|job| not_started(&job, instance.own_job))
        {
            return self.fail(id, format!("systemd did not start it: {why}"));
        }
        let limit = match running.in_doubt {
            true => self.verify_for(incident),
            false => self.time_to_show(incident) + VERIFY_SLACK,
        };
        if acted_at + limit <= now {
            let because = instance.because();
            let text = format!("not well within {}: {because}", crate::model::time::human(limit));
            return self.fail(id, text);
        }
        self.timers.set(TimerKey::Proceed(id), Some(acted_at + limit));
    }

    /// How long it may take until an action that helped can be seen to have helped.
    fn time_to_show(&self, incident: &Incident) -> Duration {
        let settings = &self.settings.workers[&incident.worker];
        let samples =
            self.settings.daemon.health_check_interval * (settings.raise_samples.max(settings.probe_window) + 1);
        let beat = match incident.conditions.contains_key(&Condition::Hung) {
            true => settings.heartbeat_timeout,
            false => Duration::ZERO,
        };
        settings.start_timeout.max(samples).max(beat)
    }

    fn succeed(&mut self, id: IncidentId, well_at: Mono) {
        let incident = &self.incidents[&id];
        let running = incident.last_attempt().expect("running");
        let verify_for = crate::model::time::human(self.verify_for(incident));
        let outcome = if running.in_doubt { Outcome::InDoubt } else { Outcome::Succeeded };
        let resolution = if incident.escalations > 0 { Resolution::Escalated } else { Resolution::Recovered };
        let taken = (!running.in_doubt).then(|| well_at.since(incident.failed_at));
        self.end_attempt(id, outcome, &format!("healthy for {verify_for}"), taken);
        self.close(id, resolution, Some(well_at));
    }

    pub(super) fn fail(&mut self, id: IncidentId, reason: String) {
        let in_doubt = self.incidents[&id].last_attempt().is_some_and(|attempt| attempt.in_doubt);
        let outcome = if in_doubt { Outcome::InDoubt } else { Outcome::Failed };
        self.end_attempt(id, outcome, &reason, None);
        let incident = &self.incidents[&id];
        if incident.is_errand() {
            // An errand is tried once.
            return self.close(id, Resolution::Operator, None);
        }
        if self.exhausted(incident) {
            self.escalate(id, &reason);
        } else {
            self.set_backoff(id);
        }
        self.proceed(id);
    }

    /// Ends the running attempt, if there is one.
    pub(super) fn end_attempt(&mut self, id: IncidentId, outcome: Outcome, reason: &str, taken: Option<Duration>) {
        let now = self.now();
        let incident = self.incidents.get_mut(&id).expect("open");
        let condition = incident.leading();
        let Some(running) = incident.attempts.last_mut().filter(|attempt| attempt.is_running()) else { return };
        let held_place = matches!(running.stage, Stage::Recording | Stage::Acting);
        running.stage = Stage::Ended;
        running.ended_at = Some(now);
        running.outcome = Some(outcome);
        running.reason = reason.to_string();
        let (attempt, action) = (AttemptId { incident: id, number: running.number }, running.action);
        let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
        self.desk.touched.insert(id);
        if held_place {
            self.release_place();
        }
        self.place_freed = true;
        if let Some(instance) = self.instances.get_mut(&unit) {
            instance.taken_down = false;
            instance.being_restarted = false;
        }
        self.release_extra(id);
        let reason = reason.to_string();
        let what = What::AttemptEnded { attempt, action, condition, outcome, reason, time_to_recover: taken };
        self.desk.tell_unit(&worker, &unit, Some(id), what);
        self.learn_from(id);
    }

    pub(super) fn release_place(&mut self) {
        self.starts_in_flight = self.starts_in_flight.saturating_sub(1);
        self.place_freed = true;
    }

    /// A new activation of the unit: is it the one that our act asked for?
    pub(super) fn claim_activation(&mut self, unit: &UnitName) -> bool {
        let Some(id) = self.instances.get(unit).and_then(|instance| instance.incident) else { return false };
        let Some(incident) = self.incidents.get_mut(&id) else { return false };
        let Some(running) = incident.attempts.last_mut() else { return false };
        let ours = running.action.needs_activation() || running.action == Action::ScaleDown;
        let acting = ours && matches!(running.stage, Stage::Acting | Stage::Draining | Stage::Verifying);
        if !acting || std::mem::replace(&mut running.activated, true) {
            return false;
        }
        let worker = incident.worker.clone();
        let instance = self.instances.get_mut(unit).expect("known");
        *instance.restarts.entry(RestartCause::Unitmedic).or_default() += 1;
        self.desk.touched.insert(id);
        self.desk.tell_unit(&worker, unit, Some(id), What::Restarted { by: RestartCause::Unitmedic, count: 1 });
        true
    }

    fn running(&mut self, attempt: AttemptId, stage: Stage) -> Option<&mut Attempt> {
        let incident = self.incidents.get_mut(&attempt.incident)?;
        let running = incident.attempts.last_mut()?;
        (running.number == attempt.number && running.stage == stage).then_some(running)
    }
}

/// Why a start job that has ended left the unit down without an activation.
fn not_started(job: &Job, own: Option<(u32, JobKind)>) -> Option<String> {
    match job.result? {
        // systemd skips a start whose Condition…= is not met, and calls the job done.
        JobResult::Done if own.is_some_and(|(id, _)| id == job.id) => {
            Some("it skipped the start; a Condition…= of the unit may not be met".into())
        }
        JobResult::Done => None,
        result => Some(format!("its job ended as {result}")),
    }
}

/// Whether the failure is one of the activation that the attempt brought. The one that we act on may still be coming to
/// rest, since it is seen when the process ends; and a look that was under way meanwhile mixes both activations.
fn has_failed_since(instance: &Instance, attempt: &Attempt) -> bool {
    let view = &instance.view;
    if attempt.in_doubt {
        return view.inactive_enter.or(view.state_changed).is_some_and(|at| at > attempt.intended_at);
    }
    if !attempt.activated {
        // systemd refused to bring one about; each failure is counted once.
        return instance.failures.back().is_some_and(|at| *at > attempt.intended_at);
    }
    let began = view.inactive_exit.filter(|at| *at > attempt.intended_at);
    let came_to_rest = !view.active.is_down() || view.inactive_enter >= began;
    began.is_some() && came_to_rest
}
