//! Never more attempts than allowed, never closer together than the backoff, and after giving up one per pause.

use std::collections::BTreeMap;

use unitmedic::model::fact::What;
use unitmedic::model::{Action, Attempt, Command, Fact, Incident, IncidentId, Outcome};

use super::{Checker, Seen, World, require};
use crate::driver::micros;

#[derive(Default)]
pub struct Spacing {
    incidents: BTreeMap<IncidentId, Count>,
}

#[derive(Default, Clone)]
struct Count {
    requested: bool,
    /// There has been something to try, when it was last told what is planned.
    acts: bool,
    /// Attempts that count since it opened, or since the last escalation.
    used: u32,
    escalations: u32,
    intended_at: u64,
    counted_at: u64,
    escalated_at: u64,
}

impl Checker for Spacing {
    fn name(&self) -> &'static str {
        "spacing"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            // What was not stored in time is forgotten, and may rightly be counted anew.
            Seen::Life(memory) => {
                let of = |incident: &Incident| Count {
                    requested: incident.conditions.is_empty(),
                    acts: incident.plan.steps.iter().any(|step| step.action != Action::Escalate),
                    used: if incident.escalations > 0 { 0 } else { incident.attempts_used },
                    escalations: incident.escalations,
                    intended_at: carried_out(incident),
                    counted_at: 0,
                    escalated_at: 0,
                };
                self.incidents = memory.incidents.iter().map(|incident| (incident.id, of(incident))).collect();
                Ok(())
            }
            Seen::Command(Command::Tell(fact)) => self.note(world, fact),
            _ => Ok(()),
        }
    }
}

impl Spacing {
    fn note(&mut self, world: &World<'_>, fact: &Fact) -> Result<(), String> {
        let (Some(id), Some(unit)) = (fact.incident, &fact.unit) else { return Ok(()) };
        let Some(settings) = world.settings.worker_of(unit.as_str()) else { return Ok(()) };
        let now = fact.at.mono.0;
        if let What::IncidentOpened { condition, plan, .. } = &fact.what {
            let acts = plan.steps.iter().any(|step| step.action != Action::Escalate);
            self.incidents.insert(id, Count { requested: condition.is_none(), acts, ..Count::default() });
        }
        let count = self.incidents.entry(id).or_default();
        match &fact.what {
            What::ConditionJoined { plan, .. } => {
                count.requested = false;
                let acts = plan.steps.iter().any(|step| step.action != Action::Escalate);
                if acts && !std::mem::replace(&mut count.acts, true) && count.intended_at == 0 {
                    // What an operator was told of had nothing to try; for this there is something.
                    count.escalations = 0;
                }
            }
            What::IncidentReopened { .. } => count.requested = false,
            What::AttemptIntended { attempt, .. } => {
                if count.requested {
                    return Ok(());
                }
                let pause = pause_before(count, settings);
                let since = if count.escalations > 0 { count.escalated_at } else { count.intended_at };
                require(now >= since + pause, || {
                    let gap = (now - since) as f64 / 1e6;
                    format!(
                        "{attempt} of {unit} comes {gap:.1} s after the last, the pause is {:.1} s",
                        pause as f64 / 1e6
                    )
                })?;
                let allowed = if count.escalations > 0 { 1 } else { settings.max_restart_attempts };
                count.used += 1;
                count.intended_at = now;
                let used = count.used;
                require(used <= allowed, || format!("{attempt} of {unit} is number {used} of {allowed} allowed"))?;
            }
            // One that was not carried out does not count.
            What::AttemptEnded { outcome: Outcome::Superseded, .. } => {
                count.used = count.used.saturating_sub(1);
                count.intended_at = count.counted_at;
            }
            What::AttemptEnded { .. } => count.counted_at = count.intended_at,
            What::Escalated { next_try, .. } => {
                count.acts = next_try.is_some();
                count.escalations += 1;
                count.escalated_at = now;
                count.used = 0;
            }
            _ => {}
        }
        Ok(())
    }
}

/// When the last attempt that was not withdrawn was intended.
fn carried_out(incident: &Incident) -> u64 {
    let counts = |attempt: &&Attempt| attempt.outcome != Some(Outcome::Superseded);
    incident.attempts.iter().rev().find(counts).map_or(0, |last| last.intended_at.0)
}

/// The least pause before the next attempt, jitter allowed for.
fn pause_before(count: &Count, settings: &unitmedic::model::WorkerSettings) -> u64 {
    let cooldown = micros(settings.restart_cooldown);
    if count.escalations > 0 {
        let doubled = cooldown.saturating_mul(1 << (count.escalations - 1).min(20));
        return doubled.min(3_600_000_000.max(cooldown));
    }
    match count.used {
        0 => 0,
        used => micros(settings.backoff).saturating_mul(1 << (used - 1).min(20)).min(cooldown) * 9 / 10,
    }
}
