//! What is told of an outcome is true of the host.

use std::collections::BTreeMap;

use unitmedic::model::fact::What;
use unitmedic::model::{Action, Command, Condition, Fact, IncidentId, Input, Outcome, Resolution};

use super::{Checker, Seen, WINDOW, World, require};
use crate::driver::micros;

#[derive(Default)]
pub struct Honesty {
    told: BTreeMap<IncidentId, Told>,
}

#[derive(Default, Clone)]
struct Told {
    /// The unit's failure, by the host, when the incident began; `None` once that cannot be compared.
    failed_at: Option<u64>,
    succeeded: bool,
    marked: bool,
    /// It was to be stopped.
    leaves: bool,
    worst: Option<Condition>,
}

impl Checker for Honesty {
    fn name(&self) -> &'static str {
        "honesty"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(memory) => {
                let worst =
                    |incident: &unitmedic::model::Incident| Told { worst: incident.leading(), ..Told::default() };
                self.told = memory.incidents.iter().map(|incident| (incident.id, worst(incident))).collect();
            }
            Seen::Input(Input::BusLost { .. } | Input::Snapshot(_)) => {
                self.told.values_mut().for_each(|told| told.failed_at = None);
            }
            Seen::Command(Command::Tell(fact)) => self.judge(world, fact)?,
            _ => {}
        }
        Ok(())
    }
}

impl Honesty {
    fn judge(&mut self, world: &World<'_>, fact: &Fact) -> Result<(), String> {
        let (Some(id), Some(name)) = (fact.incident, &fact.unit) else { return Ok(()) };
        let unit = &world.host.units[name];
        let now = fact.at.mono.0;
        let Some(settings) = world.settings.worker_of(name.as_str()) else { return Ok(()) };
        match &fact.what {
            What::IncidentOpened { condition, .. } | What::IncidentReopened { condition, .. } => {
                let dead = *condition == Some(Condition::Dead);
                let failed_at = unit.failed_at.filter(|at| dead && now - at < WINDOW);
                let worst = self.told.get(&id).and_then(|told| told.worst).max(*condition);
                self.told.insert(id, Told { failed_at, worst, ..Told::default() });
            }
            What::ConditionJoined { condition, .. } => {
                let told = self.told.entry(id).or_default();
                told.worst = told.worst.max(Some(*condition));
                // From then on it is well only when that is over, too.
                told.failed_at = told.failed_at.filter(|_| of_death(*condition));
            }
            What::MarkedFalse { .. } => self.told.entry(id).or_default().marked = true,
            What::AttemptEnded { action: Action::ScaleDown, .. } => {
                self.told.entry(id).or_default().leaves = true;
            }
            What::AttemptEnded { attempt, outcome: Outcome::Succeeded, time_to_recover, .. } => {
                let told = self.told.entry(id).or_default();
                told.succeeded = true;
                let span = micros(settings.verify_for(told.worst));
                let up_for = unit.up_since.map(|at| now - at);
                let rests = unit.spec.oneshot;
                // The news of its end may still be on its way.
                let lately = unit.down_at.is_some_and(|at| now - at < WINDOW);
                require(rests || lately || up_for.is_some_and(|up| up + WINDOW >= span), || {
                    let up = up_for.map_or("not up".into(), |up| format!("up for {:.1} s", up as f64 / 1e6));
                    format!(
                        "{attempt} of {name} is told as succeeded, it is {up}; {:.1} s are asked for",
                        span as f64 / 1e6
                    )
                })?;
                if let (Some(failed), Some(up), Some(taken)) = (told.failed_at, unit.up_since, time_to_recover) {
                    let truth = up.saturating_sub(failed);
                    let told = micros(*taken);
                    require(rests || lately || truth.abs_diff(told) < WINDOW, || {
                        let (told, truth) = (told as f64 / 1e6, truth as f64 / 1e6);
                        format!("{attempt} of {name} took {told:.1} s to recover by its fact, {truth:.1} s in truth")
                    })?;
                }
            }
            What::IncidentClosed { resolution, .. } => {
                let told = self.told.entry(id).or_default();
                let false_alarm = *resolution == Resolution::FalseAlarm && !told.marked;
                require(!(false_alarm && told.succeeded), || {
                    format!("{id} is called a false alarm though an action of ours helped")
                })?;
                let well = !matches!(resolution, Resolution::Operator | Resolution::FalseAlarm);
                let lately = unit.down_at.is_some_and(|at| now - at < WINDOW);
                // A spare that was not wanted any more before it was started.
                let never_begun = *resolution == Resolution::SelfCleared && told.worst == Some(Condition::BacklogHigh);
                let down = told.leaves || never_begun;
                require(!well || unit.serves() || lately || unit.spec.oneshot || down, || {
                    format!("{id} is closed as {resolution} though {name} is {:?}", unit.phase)
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn of_death(condition: Condition) -> bool {
    matches!(condition, Condition::Dead | Condition::OomKilled | Condition::CrashLoop)
}
