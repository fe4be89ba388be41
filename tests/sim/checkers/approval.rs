//! Where an operator must agree, nothing is done without a yes, or without the time for an answer being over where the
//! worker is configured to act then.

use std::collections::{BTreeMap, BTreeSet};

use unitmedic::model::action::Answer;
use unitmedic::model::approval::{ApprovalFor, NoAnswer};
use unitmedic::model::fact::What;
use unitmedic::model::request::Ask;
use unitmedic::model::{Action, AttemptId, Command, Incident, IncidentId, Input, Verb};

use super::{Checker, Seen, World, require};
use crate::driver::micros;
use crate::host::Phase;

#[derive(Default)]
pub struct Approvals {
    /// When it was asked, by what is being asked.
    asked: BTreeMap<(IncidentId, Action), u64>,
    yes: BTreeSet<(IncidentId, Action)>,
    /// Incidents that carry out a request: they have their yes.
    requested: BTreeSet<IncidentId>,
    attempts: BTreeMap<AttemptId, Action>,
    /// Attempts that were intended for a request.
    exempt: BTreeSet<AttemptId>,
    /// Their first order was given: the second one finishes what was begun.
    begun: BTreeSet<AttemptId>,
}

impl Checker for Approvals {
    fn name(&self) -> &'static str {
        "approval"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(memory) => {
                *self = Self::default();
                memory
                    .incidents
                    .iter()
                    .filter(|incident| incident.is_open())
                    .for_each(|incident| self.recall(incident));
            }
            Seen::Input(Input::Request(request)) => {
                if let Ask::Approve { incident, action, .. } = request.ask
                    && self.asked.contains_key(&(incident, action))
                {
                    self.yes.insert((incident, action));
                }
            }
            // A yes is for one deed; one that was refused may be tried again.
            Seen::Input(Input::Acted { attempt, answer }) if !matches!(answer, Answer::Refused { .. }) => {
                if let Some(action) = self.attempts.get(attempt) {
                    self.yes.remove(&(attempt.incident, *action));
                    self.asked.remove(&(attempt.incident, *action));
                }
            }
            Seen::Command(Command::Tell(fact)) => self.note(fact.incident, &fact.what, world.now.mono.0),
            Seen::Command(Command::Act(order)) => {
                let again = !self.begun.insert(order.attempt);
                if !again && !self.exempt.contains(&order.attempt) {
                    self.judge(world, order.attempt, &order.unit, order.verb)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Approvals {
    fn recall(&mut self, incident: &Incident) {
        if let Some(approval) = &incident.approval {
            let key = (incident.id, approval.action);
            self.asked.insert(key, approval.asked_at.0);
            if approval.approved_by.is_some() {
                self.yes.insert(key);
            }
        }
        for attempt in incident.attempts.iter().filter(|attempt| attempt.is_running()) {
            // It was intended in a former life, and checked there.
            self.exempt.insert(AttemptId { incident: incident.id, number: attempt.number });
        }
        if incident.is_errand() {
            self.requested.insert(incident.id);
        }
    }

    fn note(&mut self, incident: Option<IncidentId>, what: &What, now: u64) {
        let Some(id) = incident else { return };
        match what {
            What::IncidentOpened { condition: None, .. } => _ = self.requested.insert(id),
            What::ApprovalAsked { action, .. } => {
                self.asked.insert((id, *action), now);
                self.yes.remove(&(id, *action));
            }
            What::AttemptIntended { attempt, action, .. } => {
                self.attempts.insert(*attempt, *action);
                if self.requested.contains(&id) {
                    self.exempt.insert(*attempt);
                }
            }
            What::ConditionJoined { .. } | What::IncidentReopened { .. } => _ = self.requested.remove(&id),
            What::IncidentClosed { .. } => {
                self.requested.remove(&id);
                self.asked.retain(|(incident, _), _| *incident != id);
                self.yes.retain(|(incident, _)| *incident != id);
            }
            _ => {}
        }
    }

    fn judge(
        &self,
        world: &World<'_>,
        attempt: AttemptId,
        unit: &unitmedic::model::UnitName,
        verb: Verb,
    ) -> Result<(), String> {
        let settings = world.settings.worker_of(unit.as_str()).ok_or("a unit of no worker")?;
        // One that hangs in its start does no work.
        let works = world.host.units[unit].phase != Phase::Starting;
        let interrupts = works && matches!(verb, Verb::TryRestart | Verb::Drain { .. } | Verb::Stop);
        let needed = match settings.approval {
            ApprovalFor::Nothing => false,
            ApprovalFor::Disruptive => interrupts,
            ApprovalFor::Everything => true,
        };
        let Some(action) = self.attempts.get(&attempt).copied().filter(|_| needed) else { return Ok(()) };
        let key = (attempt.incident, action);
        let is_over = |asked: &u64| world.now.mono.0 >= asked + micros(settings.approval_timeout);
        let unanswered = settings.no_answer == NoAnswer::Act && self.asked.get(&key).is_some_and(is_over);
        require(self.yes.contains(&key) || unanswered, || format!("{attempt} ({action} of {unit}) without a yes"))
    }
}
