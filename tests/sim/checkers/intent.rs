//! Intent before deed: every order follows a record of exactly its attempt, in this life of ours.

use std::collections::{BTreeMap, BTreeSet};

use unitmedic::model::{AttemptId, Command, Input, UnitName};

use super::{Checker, Seen, World, require};

#[derive(Default)]
pub struct Intents {
    asked: BTreeMap<AttemptId, (UnitName, bool)>,
    extras: BTreeSet<UnitName>,
}

impl Checker for Intents {
    fn name(&self) -> &'static str {
        "intent"
    }

    fn see(&mut self, _: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(_) => self.asked.clear(),
            Seen::Command(Command::Record(intent)) => {
                let known = self.asked.insert(intent.attempt, (intent.unit.clone(), false));
                require(known.is_none(), || format!("the intent {} is recorded twice", intent.attempt))?;
            }
            Seen::Command(Command::Save(incident)) => {
                // The extra instance of a graceful restart is started by the same intent.
                let extra = incident.last_attempt().and_then(|attempt| attempt.extra.clone());
                self.extras.extend(extra);
            }
            Seen::Input(Input::Recorded { attempt, .. }) => {
                if let Some((_, recorded)) = self.asked.get_mut(attempt) {
                    *recorded = true;
                }
            }
            Seen::Command(Command::Act(order)) => {
                let recorded = self.asked.get(&order.attempt).filter(|(_, recorded)| *recorded);
                let unit = recorded.map(|(unit, _)| unit);
                require(unit == Some(&order.unit) || unit.is_some() && self.extras.contains(&order.unit), || {
                    format!("{} of {} ({}) without a recorded intent", order.verb.as_str(), order.unit, order.attempt)
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}
