//! Every fact has a cause; numbers grow; what belongs to an incident lies between its opening and its closing.

use std::collections::BTreeSet;

use unitmedic::model::fact::What;
use unitmedic::model::{AttemptId, Cause, Command, Fact, IncidentId, UnitName};

use super::{Checker, Seen, World, require};

#[derive(Default)]
pub struct Facts {
    seq: u64,
    now: Option<Turn>,
    open: BTreeSet<IncidentId>,
    /// Marking as false comes after the closing.
    closed: BTreeSet<IncidentId>,
    running: BTreeSet<AttemptId>,
}

#[derive(Clone, Copy, PartialEq)]
enum Turn {
    Start,
    Input(u64),
    Timer,
}

impl Checker for Facts {
    fn name(&self) -> &'static str {
        "facts"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(memory) => {
                *self = Self { now: Some(Turn::Start), ..Self::default() };
                for incident in &memory.incidents {
                    let set = if incident.is_open() { &mut self.open } else { &mut self.closed };
                    set.insert(incident.id);
                    if let Some(last) = incident.attempts.last().filter(|last| last.is_running()) {
                        self.running.insert(AttemptId { incident: incident.id, number: last.number });
                    }
                }
                let ours = |unit: &UnitName| world.settings.worker_of(unit.as_str()).is_some();
                for intent in memory.orphans.iter().filter(|intent| ours(&intent.unit)) {
                    self.open.insert(intent.incident);
                    self.closed.remove(&intent.incident);
                    // Only the last of an incident can be without an outcome.
                    self.running.retain(|attempt| attempt.incident != intent.incident);
                    self.running.insert(intent.attempt);
                }
            }
            Seen::Input(_) => self.now = Some(Turn::Input(world.known.inputs)),
            Seen::Timer => self.now = Some(Turn::Timer),
            Seen::Command(Command::Tell(fact)) => self.judge(world, fact)?,
            Seen::Turn { .. } if world.engine.is_some() => {
                let open = world.engine.map_or(0, |engine| engine.status(world.now).open_incidents);
                if self.now != Some(Turn::Start) {
                    let told = self.open.len();
                    require(open <= told, || format!("{open} incidents are open, {told} are told of as open"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Facts {
    fn judge(&mut self, world: &World<'_>, fact: &Fact) -> Result<(), String> {
        let name = fact.what.name();
        require(fact.seq == self.seq + 1, || format!("fact {} ({name}) follows {}", fact.seq, self.seq))?;
        self.seq = fact.seq;
        require(fact.at == world.now, || format!("{name} bears another time"))?;
        let cause = match fact.cause {
            Cause::Start => Turn::Start,
            Cause::Input(number) => Turn::Input(number),
            Cause::Timer(_) => Turn::Timer,
        };
        require(Some(cause) == self.now, || format!("{name} has the cause {:?}, not what is handled", fact.cause))?;
        let Some(id) = fact.incident else { return Ok(()) };
        match &fact.what {
            What::IncidentOpened { .. } | What::IncidentReopened { .. } => {
                self.closed.remove(&id);
                return require(self.open.insert(id), || format!("{id} is opened though it is open"));
            }
            What::IncidentClosed { .. } => {
                self.closed.insert(id);
                let running = self.running.iter().any(|attempt| attempt.incident == id);
                require(!running, || format!("{id} is closed while an attempt is under way"))?;
                return require(self.open.remove(&id), || format!("{id} is closed though it is not open"));
            }
            What::AttemptIntended { attempt, .. } => {
                let other = self.running.iter().any(|running| running.incident == id);
                require(!other, || format!("{attempt} begins while another is under way"))?;
                self.running.insert(*attempt);
            }
            What::AttemptEnded { attempt, .. } => {
                require(self.running.remove(attempt), || format!("{attempt} ends though it is not under way"))?;
            }
            What::MarkedFalse { .. } => {
                return require(self.open.contains(&id) || self.closed.contains(&id), || format!("{id} is unknown"));
            }
            _ => {}
        }
        require(self.open.contains(&id), || format!("{name} belongs to {id}, which is not open"))
    }
}
