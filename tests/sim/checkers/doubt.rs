//! After a crash of ours no action is repeated: an attempt without an outcome is verified first.

use std::collections::BTreeMap;

use unitmedic::model::incident::Stage;
use unitmedic::model::request::Ask;
use unitmedic::model::{Command, Input, UnitName};

use super::{Checker, Seen, World, require};
use crate::driver::micros;

#[derive(Default)]
pub struct Doubt {
    returned: u64,
    /// Until when the unit is only watched, unless it fails anew.
    doubtful: BTreeMap<UnitName, u64>,
}

impl Checker for Doubt {
    fn name(&self) -> &'static str {
        "doubt"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let now = world.now.mono.0;
        match seen {
            Seen::Life(memory) => {
                self.returned = now;
                self.doubtful.clear();
                for incident in &memory.incidents {
                    let Some(last) = incident.attempts.last() else { continue };
                    let newer = memory.incidents.iter().any(|i| i.unit == incident.unit && i.id > incident.id);
                    if newer {
                        continue;
                    }
                    if incident.is_open() && matches!(last.stage, Stage::Recording | Stage::Acting) {
                        self.doubt(world, &incident.unit, now);
                    }
                }
                for intent in &memory.orphans {
                    let newer = memory.incidents.iter().any(|i| i.unit == intent.unit && i.id > intent.incident);
                    if newer {
                        continue;
                    }
                    self.doubt(world, &intent.unit, now);
                }
            }
            Seen::Input(Input::Request(request)) => {
                if matches!(request.ask, Ask::Recover { .. } | Ask::MarkFalse { .. }) {
                    self.doubtful.clear();
                }
            }
            Seen::Command(Command::Act(order)) => {
                let Some(until) = self.doubtful.get(&order.unit) else { return Ok(()) };
                let unit = &world.host.units[&order.unit];
                // Something happened to it since: a failure, or somebody started it.
                let anew = unit.failed_at.is_some_and(|at| at > self.returned)
                    || unit.want_since > self.returned
                    || unit.down_at.is_some_and(|at| at > self.returned);
                require(anew || now >= *until, || {
                    format!("{} of {} repeats what was in doubt", order.verb.as_str(), order.unit)
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Doubt {
    fn doubt(&mut self, world: &World<'_>, unit: &UnitName, now: u64) {
        if let Some(settings) = world.settings.worker_of(unit.as_str()) {
            let least = settings.verify_dead_for.min(settings.verify_for);
            self.doubtful.insert(unit.clone(), now + micros(least));
        }
    }
}
