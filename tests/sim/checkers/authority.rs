//! Nothing is done to what is stopped, paused, held, dry-run, unseen, shut down, healthy, or in systemd's hands.

use std::collections::{BTreeMap, BTreeSet};

use unitmedic::model::fact::What;
use unitmedic::model::incident::Origin;
use unitmedic::model::settings::OnStop;
use unitmedic::model::unit::JobKind;
use unitmedic::model::{Action, Command, Fact, IncidentId, UnitName, Verb};

use super::{Checker, Seen, WINDOW, World, require};
use crate::driver::micros;
use crate::host::{Phase, SEC, Unit, Want};

#[derive(Default)]
pub struct Authority {
    /// Incidents that carry out a request, and whether by force.
    requested: BTreeMap<IncidentId, bool>,
    /// Attempts whose first order was given: their second one finishes what was begun.
    begun: BTreeSet<unitmedic::model::AttemptId>,
    /// Instances that we started beyond those that were there; only those are ever stopped.
    ours: BTreeSet<UnitName>,
}

impl Checker for Authority {
    fn name(&self) -> &'static str {
        "authority"
    }

    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Life(_) => *self = Authority { ours: std::mem::take(&mut self.ours), ..Self::default() },
            Seen::Command(Command::Tell(fact)) => self.note(fact),
            // Saved before its intent is recorded.
            Seen::Command(Command::Save(incident)) => {
                match &incident.origin {
                    Origin::Operator { force, .. } if incident.is_errand() => {
                        self.requested.insert(incident.id, *force);
                    }
                    Origin::Surplus if incident.is_errand() => _ = self.requested.insert(incident.id, false),
                    _ => {}
                }
                let started = incident.last_attempt().filter(|attempt| attempt.action == Action::ScaleUp);
                self.ours.extend(started.map(|_| incident.unit.clone()));
                self.ours.extend(incident.attempts.iter().filter_map(|attempt| attempt.extra.clone()));
            }
            Seen::Command(Command::Act(order)) => {
                let unit = &world.host.units[&order.unit];
                let second = !self.begun.insert(order.attempt);
                let requested = self.requested.get(&order.attempt.incident).copied();
                let ours = self.ours.contains(&order.unit);
                require(order.verb != Verb::Stop || ours, || format!("{} is stopped and was not ours", order.unit))?;
                let what = || format!("{} of {} ({})", order.verb.as_str(), order.unit, order.attempt);
                let by_force = requested == Some(true);
                judge_knowledge(world, unit, second, by_force, order.verb)
                    .map_err(|why| format!("{} {why}", what()))?;
                judge_truth(world, unit, second, requested).map_err(|why| format!("{} {why}", what()))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Authority {
    fn note(&mut self, fact: &Fact) {
        match (&fact.what, fact.incident) {
            (What::ConditionJoined { .. } | What::IncidentReopened { .. }, Some(id)) => {
                self.requested.remove(&id);
            }
            (What::IncidentClosed { .. }, Some(id)) => _ = self.requested.remove(&id),
            _ => {}
        }
    }
}

/// By what had been delivered.
fn judge_knowledge(world: &World<'_>, unit: &Unit, second: bool, by_force: bool, verb: Verb) -> Result<(), String> {
    let known = world.known;
    let settings = world.settings.worker_of(unit.name.as_str()).ok_or("which belongs to no worker")?;
    require(known.sighted, || "though the bus is not there".into())?;
    require(!known.held, || "though the hold file exists".into())?;
    require(by_force || !known.stopping, || "though systemd is stopping".into())?;
    // What we have drained ourselves is started again even if a pause began meanwhile, or kept from coming back.
    let kept_down = verb == Verb::Stop && unit.phase != Phase::Running;
    let finishing = second && (matches!(verb, Verb::Start { .. }) || kept_down);
    let paused = known.paused(settings.name.as_str(), world.now.wall);
    require(by_force || finishing || !paused, || "though its worker is paused".into())?;
    require(by_force || second || !world.settings.daemon.dry_run, || "though this is a dry run".into())
}

/// By what is, unless it has been so for a moment only.
fn judge_truth(world: &World<'_>, unit: &Unit, second: bool, requested: Option<bool>) -> Result<(), String> {
    let now = world.now.mono.0;
    let settings = world.settings.worker_of(unit.name.as_str()).ok_or("which belongs to no worker")?;
    let for_long = |since: u64| now.saturating_sub(since) > WINDOW;
    let stopped = unit.want == Want::Stopped && for_long(unit.want_since) && settings.on_stop == OnStop::Respect;
    require(!stopped || requested == Some(true), || "which an operator stopped".into())?;
    let theirs = unit.phase == Phase::AutoRestart && for_long(unit.since);
    require(!theirs || requested == Some(true), || "which systemd restarts itself".into())?;
    let stopping = matches!(unit.phase, Phase::Stopping | Phase::Killing)
        && for_long(unit.since)
        && unit.job.is_some_and(|job| job.kind == JobKind::Stop);
    require(!stopping, || "which has a stop job in flight".into())?;
    if second || requested.is_some() {
        return Ok(());
    }
    // A sample every 30 s, five of them in the window, and then patience.
    let memory = micros(settings.warning_patience) + 5 * 30 * SEC + 60 * SEC;
    let high = now.saturating_sub(unit.usage.high_at) < memory && unit.usage.high_at > 0;
    // Errors stay in their window for so long.
    let lately = memory + micros(settings.error_rate_window) + micros(settings.heartbeat_timeout);
    let troubled = now.saturating_sub(unit.trouble_at) < lately && unit.trouble_at > 0;
    let complains = high || troubled;
    let well = unit.phase == Phase::Running && for_long(unit.since) && !complains;
    require(!well, || "which is up and well".into())?;
    let limit = micros(settings.start_timeout);
    let early = unit.phase == Phase::Starting && for_long(unit.since) && now - unit.since < limit;
    require(!early, || "which is starting and has its time".into())
}
