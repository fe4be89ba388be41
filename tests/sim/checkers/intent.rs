//! Intent before deed: every order follows a record of exactly its attempt, in this life of ours.

use std::collections::BTreeMap;

use unitmedic::model::{AttemptId, Command, Input, UnitName};

use super::{Checker, Seen, World, require};

#[derive(Default)]
pub struct Intents {
    asked: BTreeMap<AttemptId, (UnitName, bool)>,
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
            Seen::Input(Input::Recorded { attempt, .. }) => {
                if let Some((_, recorded)) = self.asked.get_mut(attempt) {
                    *recorded = true;
                }
            }
            Seen::Command(Command::Act(order)) => {
                let recorded = self.asked.get(&order.attempt);
                require(recorded == Some(&(order.unit.clone(), true)), || {
                    format!("{} of {} ({}) without a recorded intent", order.verb.as_str(), order.unit, order.attempt)
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}
