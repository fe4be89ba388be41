//! Where decisions are put down: commands in order, facts with their cause.

use std::collections::{BTreeSet, VecDeque};

use crate::model::{Cause, Command, Fact, IncidentId, Now, UnitName, What, WorkerName};

/// The outgoing side of one turn of the engine.
#[derive(Default)]
pub struct Desk {
    pub now: Now,
    cause: Option<Cause>,
    inputs: u64,
    facts: u64,
    out: VecDeque<Command>,
    /// Incidents to be saved at the end of the turn.
    pub touched: BTreeSet<IncidentId>,
    /// The safety state must be written at the end of the turn.
    pub safety_changed: bool,
}

impl Desk {
    pub fn begin_input(&mut self, now: Now) {
        self.inputs += 1;
        self.begin(now, Cause::Input(self.inputs));
    }

    pub fn begin(&mut self, now: Now, cause: Cause) {
        self.now = now;
        self.cause = Some(cause);
    }

    pub fn command(&mut self, command: Command) {
        self.out.push_back(command);
    }

    pub fn take(&mut self) -> Option<Command> {
        self.out.pop_front()
    }

    /// A fact about the host or the daemon.
    pub fn tell(&mut self, what: What) {
        self.fact(None, None, None, what);
    }

    pub fn tell_worker(&mut self, worker: &WorkerName, what: What) {
        self.fact(Some(worker), None, None, what);
    }

    pub fn tell_unit(&mut self, worker: &WorkerName, unit: &UnitName, incident: Option<IncidentId>, what: What) {
        self.fact(Some(worker), Some(unit), incident, what);
    }

    fn fact(&mut self, worker: Option<&WorkerName>, unit: Option<&UnitName>, incident: Option<IncidentId>, what: What) {
        self.facts += 1;
        let cause = self.cause.expect("every fact arises while an input or a timer is handled");
        let fact =
            Fact { seq: self.facts, at: self.now, cause, worker: worker.cloned(), unit: unit.cloned(), incident, what };
        self.out.push_back(Command::Tell(fact));
    }
}
