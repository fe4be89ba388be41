//! Long after all was mended, what should run is healthy, and no incident is open that was not escalated.

use std::collections::BTreeMap;

use unitmedic::model::fact::What;
use unitmedic::model::{Command, Health, IncidentId};

use super::{Checker, Seen, World, require};
use crate::host::Want;

#[derive(Default)]
pub struct Ends {
    escalated: BTreeMap<IncidentId, bool>,
}

impl Checker for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Command(Command::Tell(fact)) => {
                if let Some(id) = fact.incident {
                    match fact.what {
                        What::Escalated { .. } => _ = self.escalated.insert(id, true),
                        What::IncidentClosed { .. } => _ = self.escalated.remove(&id),
                        _ => {}
                    }
                }
                Ok(())
            }
            Seen::End => end(world),
            _ => Ok(()),
        }
    }
}

fn end(world: &World<'_>) -> Result<(), String> {
    let engine = world.engine.ok_or("we are not there")?;
    let status = engine.status(world.now);
    for unit in world.host.units.values().filter(|unit| unit.want == Want::Run && !unit.spec.oneshot) {
        let known = engine.instance(&unit.name, world.now);
        let because =
            known.as_ref().map_or("not known".into(), |(_, i)| format!("{} ({}), {:?}", i.health, i.because, i.doing));
        require(unit.serves(), || format!("{} should run and is {:?}; it is judged {because}", unit.name, unit.phase))?;
        require(known.is_some_and(|(_, i)| i.health == Health::Healthy), || {
            format!("{} runs and is well, and is judged {because}", unit.name)
        })?;
    }
    for instance in status.workers.iter().flat_map(|worker| &worker.instances) {
        require(instance.incident.is_none(), || {
            let id = instance.incident.expect("some");
            format!("{id} of {} is still open: {} ({:?})", instance.unit, instance.because, instance.doing)
        })?;
    }
    require(status.open_incidents == 0, || {
        format!("{} incidents are open, of units that are not known", status.open_incidents)
    })
}
