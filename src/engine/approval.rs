//! Planned actions that wait for an operator's yes: the question, the answer, and what happens without one.
//!
//! The gate is asked behind those of authority and capacity, so that nobody is asked for what could not be done anyway.

use std::time::Duration;

use crate::model::approval::{Approval, ApprovalFor, Card, Considered, NoAnswer};
use crate::model::fact::{Gate, Refusal};
use crate::model::request::Reply;
use crate::model::time::human;
use crate::model::{Action, Evidence, Incident, IncidentId, Now, Wall, What, WorkerSettings};

use super::gate::Asking;
use super::timers::TimerKey;
use super::{Engine, deeds, plan};

impl Asking<'_> {
    /// The worker is configured so that an operator must agree. What an operator asked for has its yes.
    fn needs_approval(&self) -> bool {
        let asked_for = match self.settings.approval {
            ApprovalFor::Nothing => false,
            ApprovalFor::Disruptive => self.interrupts() && !self.starts_what_is_down(),
            ApprovalFor::Everything => true,
        };
        asked_for && !self.requested && self.action != Action::Escalate
    }
}

impl Engine {
    pub(super) fn gate_approval(&self, asking: &Asking<'_>) -> Option<Refusal> {
        let incident = asking.incident.filter(|_| asking.needs_approval())?;
        let now = self.now();
        let action = asking.action;
        let setting = Some(asking.key("approval"));
        let no = |text, until| Some(Refusal { gate: Gate::Approval, text, until, setting: setting.clone() });
        match question(incident, action, asking.starts_what_is_down()) {
            None => no(format!("{action} needs an operator's yes"), None),
            Some(asked) if asked.deadline > now => match asked.approved_by {
                Some(_) => None,
                None => {
                    no(format!("{action} waits for a yes: unitmedic approve {}", incident.id.0), Some(asked.deadline))
                }
            },
            // A yes that could not be carried out in its time has to be given again.
            Some(asked) if asked.approved_by.is_some() => no(format!("{action} needs an operator's yes again"), None),
            Some(_) if asking.settings.no_answer == NoAnswer::Act => None,
            Some(asked) => no(format!("nobody has answered whether {action} may be done"), Some(asked.deadline)),
        }
    }

    /// Puts the question, unless it stands already. The refusal then says until when it stands.
    pub(super) fn ask_for_approval(&mut self, id: IncidentId, action: Action, refusal: Refusal) -> Refusal {
        let now = self.desk.now;
        let incident = &self.incidents[&id];
        let starts = self.asking(incident, action, false).starts_what_is_down();
        let stands = question(incident, action, starts).is_some_and(|asked| asked.deadline > now.mono);
        if !stands {
            let (_, settings) = self.with_settings(&incident.unit);
            let (timeout, no_answer) = (settings.approval_timeout, settings.no_answer);
            let reason = reason_of(incident, action);
            let approval = Approval {
                action,
                condition: incident.plan.condition,
                starts,
                asked_at: now.mono,
                asked_wall: now.wall,
                deadline: now.mono + timeout,
                deadline_wall: now.wall_of(now.mono + timeout),
                approved_by: None,
            };
            let what = What::ApprovalAsked { action, reason, deadline: approval.deadline_wall, no_answer };
            self.tell_of_incident(id, what);
            let incident = self.incidents.get_mut(&id).expect("open");
            incident.approval = Some(approval);
            // Every other gate let it pass: if it goes away by itself now, it was a false alarm.
            incident.action_was_allowed = true;
        }
        let incident = &self.incidents[&id];
        self.gate_approval(&self.asking(incident, action, false)).unwrap_or(refusal)
    }

    /// The deadline is over without an answer, and the action is about to be done all the same.
    pub(super) fn note_act_without_answer(&mut self, id: IncidentId, action: Action) {
        let unanswered = |asked: &Approval| asked.approved_by.is_none();
        if self.question(id, action).is_some_and(unanswered) && self.asks(id, action) {
            self.tell_of_incident(id, What::ApprovalExpired { action, then: NoAnswer::Act });
        }
    }

    fn asks(&self, id: IncidentId, action: Action) -> bool {
        self.asking(&self.incidents[&id], action, false).needs_approval()
    }

    /// Nobody has answered, and without an answer it is not done.
    pub(super) fn is_unanswered(&self, id: IncidentId, action: Action) -> bool {
        let now = self.now();
        self.question(id, action).is_some_and(|asked| asked.approved_by.is_none() && asked.deadline <= now)
    }

    /// An operator is called, and asked again after the pause.
    pub(super) fn give_up_asking(&mut self, id: IncidentId, action: Action) {
        let incident = self.incidents.get_mut(&id).expect("open");
        incident.approval = None;
        incident.waiting = None;
        self.tell_of_incident(id, What::ApprovalExpired { action, then: NoAnswer::Escalate });
        let incident = &self.incidents[&id];
        let (_, settings) = self.with_settings(&incident.unit);
        let (timeout, pause) = (settings.approval_timeout, settings.restart_cooldown);
        if plan::may_wake(incident) {
            return self
                .escalate(id, &format!("nobody has answered for {} whether {action} may be done", human(timeout)));
        }
        let next = self.now() + pause;
        self.incidents.get_mut(&id).expect("open").not_before = Some(next);
        self.timers.set(TimerKey::Proceed(id), Some(next));
    }

    pub(super) fn approve(&mut self, id: IncidentId, action: Action, asked: Option<Wall>, who: String) -> Reply {
        if let Err(reply) = self.standing_question(id, action, asked) {
            return reply;
        }
        let now = self.desk.now;
        let unit = self.incidents[&id].unit.clone();
        let timeout = self.with_settings(&unit).1.approval_timeout;
        let incident = self.incidents.get_mut(&id).expect("open");
        let asked = incident.approval.as_mut().expect("it stands");
        if let Some(earlier) = &asked.approved_by {
            return Reply::Done { text: format!("{action} of {unit} was approved already, by {earlier}") };
        }
        asked.approved_by = Some(who.clone());
        asked.deadline = now.mono + timeout;
        asked.deadline_wall = now.wall_of(asked.deadline);
        let what = What::ApprovalAnswered { who, action, approved: true, reason: String::new() };
        self.tell_of_incident(id, what);
        self.proceed(id);
        let idle = |incident: &&Incident| !incident.last_attempt().is_some_and(|attempt| attempt.is_running());
        let held_back =
            self.incidents.get(&id).filter(idle).filter(|incident| self.question(incident.id, action).is_some());
        let but = held_back.and_then(|incident| self.refusal(&self.asking(incident, action, false)));
        let text = match but {
            Some(refusal) => format!("approved; {action} of {unit} is done as soon as it can be: {}", refusal.text),
            None => format!("approved: {action} of {unit} goes ahead"),
        };
        Reply::Done { text }
    }

    pub(super) fn reject(
        &mut self,
        id: IncidentId,
        action: Action,
        asked: Option<Wall>,
        who: String,
        reason: String,
    ) -> Reply {
        if let Err(reply) = self.standing_question(id, action, asked) {
            return reply;
        }
        let incident = self.incidents.get_mut(&id).expect("open");
        let unit = incident.unit.clone();
        incident.approval = None;
        incident.waiting = None;
        if !incident.passes_over(action) {
            incident.rejected.push(action);
        }
        self.tell_of_incident(id, What::ApprovalAnswered { who, action, approved: false, reason });
        let next = self.next_action(&self.incidents[&id]);
        self.proceed(id);
        let then = match next {
            Some(next) => format!("the plan goes on with {next}"),
            None => "nothing else is left to try, so an operator must look".into(),
        };
        Reply::Done { text: format!("rejected: {action} of {unit} is not done; {then}") }
    }

    /// All was tried or rejected, and an operator has been called: the rest is theirs.
    pub(super) fn leave_to_operators(&mut self, id: IncidentId) {
        let incident = self.incidents.get_mut(&id).expect("open");
        let (no, unit) = (incident.rejected_words(), incident.unit.clone());
        let text =
            format!("{no}, and nothing else is left: unitmedic recover {unit} --action restart does it all the same");
        let refusal = Refusal { gate: Gate::Approval, text, until: None, setting: None };
        if incident.waiting.as_ref() != Some(&refusal) {
            incident.waiting = Some(refusal);
            self.desk.touched.insert(id);
        }
        self.timers.set(TimerKey::Proceed(id), None);
    }

    /// The question that waits for an answer, and is about this action.
    fn standing_question(&self, id: IncidentId, action: Action, when: Option<Wall>) -> Result<(), Reply> {
        let unknown = |text| Err(Reply::Unknown { text });
        let Some(incident) = self.incidents.get(&id) else {
            return unknown(format!("incident {id} is not open; `unitmedic approve` lists what waits for a yes"));
        };
        match self.waiting_question(incident) {
            Some(asked) if when.is_some_and(|when| when != asked.asked_wall) => {
                unknown(format!("incident {id} asks something else by now: look at it again"))
            }
            Some(asked) if asked.action == action => Ok(()),
            Some(asked) => {
                unknown(format!("incident {id} asks for {}, not for {action}: look at it again", asked.action))
            }
            None => unknown(format!(
                "incident {id} waits for no answer: it has one, its time is over, or it needs none any more"
            )),
        }
    }

    /// What the incident asks, as far as it still matters.
    fn waiting_question<'a>(&'a self, incident: &'a Incident) -> Option<&'a Approval> {
        let action = self.next_action(incident)?;
        let asked = self.question(incident.id, action).filter(|asked| asked.deadline > self.now())?;
        let idle = !incident.last_attempt().is_some_and(|attempt| attempt.is_running());
        let is_well = self.instances.get(&incident.unit).is_none_or(|instance| instance.well_since.is_some());
        (idle && !is_well).then_some(asked)
    }

    /// What the incident asks of the action, as the instance is now.
    fn question(&self, id: IncidentId, action: Action) -> Option<&Approval> {
        // After a reload its worker may be gone while it is being closed.
        let known = |incident: &&Incident| {
            self.instances.contains_key(&incident.unit) && self.settings.workers.contains_key(&incident.worker)
        };
        let incident = self.incidents.get(&id).filter(known)?;
        question(incident, action, self.asking(incident, action, false).starts_what_is_down())
    }

    /// It is well without an answer: should it fail again, it is another question.
    pub(super) fn withdraw_question(&mut self, id: IncidentId) {
        let incident = self.incidents.get_mut(&id).expect("open");
        if incident.approval.take().is_some() {
            self.desk.touched.insert(id);
        }
    }

    /// Questions of a worker, or of all, without an answer.
    pub(super) fn waiting_approvals(&self, of: impl Fn(&Incident) -> bool) -> usize {
        let waits = |incident: &&Incident| {
            of(incident) && self.waiting_question(incident).is_some_and(|asked| asked.approved_by.is_none())
        };
        self.incidents.values().filter(waits).count()
    }

    /// All that waits for a yes, what is most urgent first.
    pub fn cards(&self, now: Now) -> Vec<Card> {
        let mut cards: Vec<Card> = self.incidents.values().filter_map(|incident| self.card(incident, now)).collect();
        cards.sort_by_key(|card| card.deadline);
        cards
    }

    fn card(&self, incident: &Incident, now: Now) -> Option<Card> {
        let asked = self.waiting_question(incident)?;
        let (instance, settings) = self.with_settings(&incident.unit);
        Some(Card {
            incident: incident.id,
            worker: incident.worker.clone(),
            unit: incident.unit.clone(),
            health: instance.health,
            action: asked.action,
            what: deeds::in_words(asked.action, instance, settings),
            why: self.held(incident),
            reason: reason_of(incident, asked.action),
            considered: considered(incident, asked.action),
            without_answer: without_answer(settings, asked.action),
            asked: asked.asked_wall,
            deadline: asked.deadline_wall,
            left: asked.deadline.since(now.mono),
            approved_by: asked.approved_by.clone(),
        })
    }

    /// The conditions that hold now, worst first; of a spare that is to be started, why.
    fn held(&self, incident: &Incident) -> Vec<Evidence> {
        let held = &self.instances[&incident.unit].conditions;
        incident.conditions.iter().rev().filter(|(condition, _)| held.contains_key(condition)).map(named).collect()
    }

    fn tell_of_incident(&mut self, id: IncidentId, what: What) {
        let incident = &self.incidents[&id];
        self.desk.touched.insert(id);
        self.desk.tell_unit(&incident.worker, &incident.unit, Some(id), what);
    }
}

fn named((condition, evidence): (&crate::model::Condition, &Evidence)) -> Evidence {
    Evidence { text: format!("{condition}: {}", evidence.text), ..evidence.clone() }
}

fn question(incident: &Incident, action: Action, starts: bool) -> Option<&Approval> {
    let is_it = |asked: &&Approval| {
        asked.action == action && asked.starts == starts && asked.condition == incident.plan.condition
    };
    incident.approval.as_ref().filter(is_it)
}

fn reason_of(incident: &Incident, action: Action) -> String {
    let step = incident.plan.steps.iter().find(|step| step.action == action);
    step.map(|step| step.reason.clone()).unwrap_or_default()
}

/// The rest of the plan, each with why it is not asked for now.
fn considered(incident: &Incident, asked: Action) -> Vec<Considered> {
    let tried = |action: Action| incident.attempts_made().any(|attempt| attempt.action == action);
    let others = incident.plan.steps.iter().map(|step| step.action).filter(|action| *action != asked);
    let why_not = |action: Action| match action {
        Action::Escalate => "when nothing helps",
        _ if incident.rejected.contains(&action) => "an operator said no to it",
        _ if incident.idle_actions.contains(&action) => "there was nothing for it to do",
        _ if tried(action) => "it was tried, and that was not enough",
        _ => "next, if this does not help",
    };
    others.map(|action| Considered { action, why_not: why_not(action).into() }).collect()
}

fn without_answer(settings: &WorkerSettings, action: Action) -> String {
    match settings.no_answer {
        NoAnswer::Act => format!("{action} is done when the time is over"),
        NoAnswer::Escalate => {
            let pause: Duration = settings.restart_cooldown;
            format!("{action} is not done: an operator is called, and it is asked again after {}", human(pause))
        }
    }
}
