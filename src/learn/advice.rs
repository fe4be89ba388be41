//! What could be configured better: from what happened to proposals, each as the change of the configuration it would take.
//!
//! Little evidence gives no advice, contradictory evidence gives none, and a past in which all went well gives none. Each
//! part names how much it asks for. Advice changes nothing and decides nothing, so times of the wall will do where
//! incidents of different boots are compared; within an incident it is the monotonic clock.

mod actions;
mod change;
mod drain;
mod instances;
mod leak;
mod odds;
mod pauses;
mod reclaim;
mod threshold;
mod together;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::strategy::Strategy;
use crate::model::time::human;
use crate::model::{Condition, Incident, IncidentId, Resolution, Settings, Wall, WorkerName, WorkerSettings};

use change::Change;

/// Proposals in one answer: who has more has another problem than these.
pub const PROPOSALS_MAX: usize = 64;
/// Incidents that are named as examples in a sentence.
const NAMED_MAX: usize = 3;

/// What happened, and what is configured.
pub struct Past<'p> {
    /// In any order; those that are open are left out.
    pub incidents: &'p [Incident],
    pub settings: &'p Settings,
    pub strategies: &'p [Strategy],
    /// How long each worker was watched within the time.
    pub watched: &'p BTreeMap<WorkerName, Duration>,
    /// Instances of each worker that run and were not started by unitmedic.
    pub own: &'p BTreeMap<WorkerName, u32>,
    pub since: Wall,
    pub until: Wall,
}

/// The past of one worker.
struct Of<'p> {
    past: &'p Past<'p>,
    settings: &'p WorkerSettings,
    /// Closed, oldest first.
    incidents: Vec<&'p Incident>,
}

/// What a proposal says in words.
struct Said {
    title: String,
    evidence: Vec<String>,
    gain: String,
}

/// What the past is for, the surest first.
pub fn advise(past: &Past<'_>) -> Vec<Proposal> {
    let mut found = Vec::new();
    let by_worker = by_worker(past);
    for of in by_worker.values() {
        found.extend(threshold::propose(of));
        found.extend(pauses::propose(of));
        found.extend(actions::useless(of));
        found.extend(actions::settled(of));
        found.extend(drain::propose(of));
        found.extend(reclaim::propose(of));
        found.extend(instances::propose(of));
        found.extend(leak::propose(of));
    }
    found.extend(together::propose(past, &by_worker));
    found.sort_by(|a, b| (b.confidence, a.kind, &a.worker).cmp(&(a.confidence, b.kind, &b.worker)));
    found.truncate(PROPOSALS_MAX);
    found
}

fn by_worker<'p>(past: &'p Past<'p>) -> BTreeMap<&'p WorkerName, Of<'p>> {
    let mut all: BTreeMap<&WorkerName, Of<'_>> = BTreeMap::new();
    let within = |incident: &&Incident| incident.opened_wall >= past.since && incident.opened_wall <= past.until;
    for incident in past.incidents.iter().filter(within).filter(|incident| !incident.is_open()) {
        // What is not configured any more needs no advice.
        let Some((name, settings)) = past.settings.workers.get_key_value(&incident.worker) else { continue };
        let of = all.entry(name).or_insert_with(|| Of { past, settings, incidents: Vec::new() });
        of.incidents.push(incident);
    }
    for of in all.values_mut() {
        // One that was reopened counts from then on.
        of.incidents.sort_by_key(|incident| (incident.opened_wall, incident.id));
    }
    all
}

impl<'p> Of<'p> {
    fn name(&self) -> &'p WorkerName {
        &self.settings.name
    }

    /// Those in which something was wrong: neither errands nor instances that were started because of work.
    fn sick(&self) -> impl Iterator<Item = &'p Incident> {
        self.incidents.iter().copied().filter(|one| !one.is_errand() && one.leading() != Some(Condition::BacklogHigh))
    }

    /// A proposal for the worker that takes a change of its own keys.
    fn proposal(&self, kind: ProposalKind, said: Said, change: &Change<'_>, confidence: Confidence) -> Proposal {
        let Said { title, evidence, gain } = said;
        Proposal {
            kind,
            worker: self.name().clone(),
            others: Vec::new(),
            title,
            evidence,
            gain,
            toml: change.toml(),
            confidence,
            set_at: change.set_at(self.past.settings),
        }
    }

    /// `30 d`
    fn span(&self) -> String {
        human(Duration::from_micros(between(self.past.since, self.past.until)))
    }
}

/// Microseconds from one to the other; 0 where the clock went back.
fn between(from: Wall, to: Wall) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

/// It went away without anybody's doing, or an operator said that nothing was wrong.
fn was_false(incident: &Incident) -> bool {
    let untouched = incident.attempts_made().next().is_none();
    match incident.resolution {
        Some(Resolution::FalseAlarm) => true,
        Some(Resolution::SelfCleared) => untouched,
        _ => false,
    }
}

/// It was bad enough that something had to be done. Where an operator stepped in, nobody knows.
fn was_real(incident: &Incident) -> bool {
    matches!(incident.resolution, Some(Resolution::Recovered | Resolution::Escalated | Resolution::Systemd))
}

/// `#3, #5, #9 and 4 more`
fn named<'i>(incidents: impl IntoIterator<Item = &'i Incident>) -> String {
    let ids: Vec<IncidentId> = incidents.into_iter().map(|incident| incident.id).collect();
    let mut text = ids.iter().take(NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if ids.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", ids.len() - NAMED_MAX));
    }
    text
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
