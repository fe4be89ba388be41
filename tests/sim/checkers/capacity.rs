//! Never below `min_instances` by our doing, never too many calls at once, never two of a worker at once.

use std::collections::{BTreeMap, BTreeSet};

use unitmedic::model::fact::What;
use unitmedic::model::incident::Origin;
use unitmedic::model::{AttemptId, Command, IncidentId, Input, Outcome, UnitName};

use super::{Checker, Seen, WINDOW, World, require};
use crate::driver::is_disruptive;
use crate::host::Phase;

#[derive(Default)]
pub struct Capacity {
    /// Disruptive orders on serving units that have not been seen through.
    under_way: BTreeMap<AttemptId, UnitName>,
    calls: BTreeMap<AttemptId, u32>,
    forced: BTreeSet<IncidentId>,
}

impl Checker for Capacity {
    fn name(&self) -> &'static str {
        "capacity"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(_) => *self = Self::default(),
            Seen::Input(Input::Acted { attempt, .. }) => {
                self.calls.remove(attempt);
            }
            Seen::Command(Command::Save(incident)) => {
                if matches!(incident.origin, Origin::Operator { force: true, .. }) {
                    self.forced.insert(incident.id);
                }
            }
            Seen::Command(Command::Tell(fact)) => match &fact.what {
                What::AttemptEnded { attempt, outcome, .. } => {
                    self.under_way.remove(attempt);
                    // A call that was overtaken by others is no longer counted.
                    if *outcome == Outcome::Superseded {
                        self.calls.remove(attempt);
                    }
                }
                What::VerificationStarted { attempt: Some(attempt), .. } => {
                    self.under_way.remove(attempt);
                }
                _ => {}
            },
            Seen::Command(Command::Act(order)) => {
                self.calls.insert(order.attempt, 1);
                let limit = world.settings.guard.max_concurrent_starts.max(world.settings.guard.max_concurrent_actions);
                let calls = self.calls.len();
                let forced = self.forced.contains(&order.attempt.incident);
                require(!self.forced.is_empty() || calls <= limit as usize + 1, || {
                    format!("{calls} calls are in flight at once, over {limit}")
                })?;
                if is_disruptive(order.verb) {
                    self.judge(world, order.attempt, &order.unit, forced)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Capacity {
    fn judge(&mut self, world: &World<'_>, attempt: AttemptId, name: &UnitName, forced: bool) -> Result<(), String> {
        let unit = &world.host.units[name];
        let judged =
            world.engine.and_then(|engine| engine.instance(name, world.now)).map(|(_, instance)| instance.health);
        if judged.is_some_and(|health| health.is_sick()) {
            return Ok(());
        }
        if !unit.serves() || forced || self.under_way.contains_key(&attempt) {
            return Ok(());
        }
        let Some(settings) = world.settings.worker_of(name.as_str()) else { return Ok(()) };
        let now = world.now.mono.0;
        let busy: Vec<&UnitName> = self.under_way.values().collect();
        let of_worker = world.host.units.values().filter(|other| settings.unit.matches(other.name.as_str()));
        let others: Vec<_> = of_worker.filter(|other| other.name != *name).collect();
        let serving = |other: &crate::host::Unit| {
            let lately = other.down_at.is_some_and(|at| now - at < WINDOW);
            (other.phase == Phase::Running || lately) && !busy.contains(&&other.name)
        };
        let left = others.iter().filter(|other| serving(other)).count();
        let needed = settings.needed() as usize;
        let single = world
            .engine
            .map(|engine| engine.status(world.now))
            .and_then(|status| status.workers.into_iter().find(|worker| worker.worker == settings.name))
            .is_some_and(|worker| worker.instances.len() == 1);
        self.under_way.insert(attempt, name.clone());
        require(left >= needed || single, || {
            format!("{name} serves and is taken away, and only {left} of at least {needed} are left")
        })
    }
}
