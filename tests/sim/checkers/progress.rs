//! The engine comes to rest: no timer is left behind, no turn floods its caller, nothing grows without a limit.

use unitmedic::model::Command;

use super::{Checker, Seen, World, require};
use crate::host::SEC;

/// Commands that a turn may give: so many for each unit, and so many for a snapshot's reasons.
const PER_UNIT: usize = 40;
const PER_TURN: usize = 60;

#[derive(Default)]
pub struct Progress {
    acts: std::collections::VecDeque<u64>,
    turns_at: (u64, u32),
}

impl Checker for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let now = world.now.mono.0;
        match seen {
            Seen::Timer => {
                let (at, count) = self.turns_at;
                self.turns_at = if at == now { (at, count + 1) } else { (now, 1) };
                require(self.turns_at.1 < 4, || "the timer is due again and again at the same time".into())?;
            }
            Seen::Turn { commands } => {
                let limit = PER_TURN + PER_UNIT * world.host.units.len();
                require(*commands <= limit, || format!("{commands} commands in one turn, over {limit}"))?;
                let Some(engine) = world.engine else { return Ok(()) };
                if self.turns_at.0 == now
                    && let Some((next, why)) = engine.poll_timeout()
                {
                    require(next.0 > now || self.turns_at.1 < 3, || format!("a timer ({why:?}) is left behind"))?;
                }
                let known: usize = engine.status(world.now).workers.iter().map(|w| w.instances.len()).sum();
                let there = world.host.units.len() + 20;
                require(known <= there, || format!("{known} instances are known, {there} at most can be"))?;
            }
            Seen::Command(Command::Act(_) | Command::Look { .. } | Command::Inquire { .. }) => {
                self.acts.push_back(now);
                while self.acts.front().is_some_and(|at| now - at > 10 * SEC) {
                    self.acts.pop_front();
                }
                let limit = 60 * world.host.units.len() + 60;
                require(self.acts.len() <= limit, || format!("over {limit} calls within 10 s"))?;
            }
            _ => {}
        }
        Ok(())
    }
}
