//! Memory that `memory_cleanup` takes back and that is in use again soon.

use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::time::human;
use crate::model::{Action, Attempt, Condition, Incident, Outcome};

use super::change::Change;
use super::odds::mostly;
use super::{Of, Said, between, named};

/// Cleanups that helped which are asked for: see [`mostly`].
const CLEANUPS_MIN: usize = 5;
/// One that was needed again sooner did not last.
const LASTS: Duration = Duration::from_secs(3600);
/// How much more is taken back, percent of the limit.
const DEEPER: f64 = 20.0;
/// Taking back more than down to here swaps out what is in use.
const TARGET_MIN: f64 = 30.0;

/// A cleanup that helped, and after what time the same instance was over its threshold again.
struct Cleanup<'p> {
    incident: &'p Incident,
    back_after: Option<Duration>,
}

pub fn propose(of: &Of<'_>) -> Option<Proposal> {
    let cleanups = cleanups(of);
    let brief: Vec<&Cleanup<'_>> =
        cleanups.iter().filter(|one| one.back_after.is_some_and(|after| after < LASTS)).collect();
    if brief.len() < CLEANUPS_MIN || !mostly(brief.len(), cleanups.len()) {
        return None;
    }
    let longest = brief.iter().filter_map(|one| one.back_after).max()?;
    let evidence = vec![format!(
        "after {} of {} cleanups in {} that helped, memory was over its threshold again within {}: {}",
        brief.len(),
        cleanups.len(),
        of.span(),
        human(longest),
        named(brief.iter().map(|one| one.incident))
    )];
    let now = of.settings.memory_target;
    let deeper = now - DEEPER;
    let (change, gain, confidence) = match deeper >= TARGET_MIN {
        true => (
            Change::of(of.name()).number("memory_target", deeper),
            format!(
                "more is taken back at once, down to {deeper:.0} % instead of {now:.0} %. If it does not last either, \
                 what fills it is in use: then only a restart frees it"
            ),
            Confidence::Try,
        ),
        false => (
            Change::of(of.name()).plan(Condition::MemoryHigh, vec![Action::GracefulRestart, Action::Escalate]),
            "what fills it is in use, and only a restart frees it: it comes at once, not after cleanups that do not last"
                .into(),
            Confidence::Likely,
        ),
    };
    let title = format!("memory that is taken back from {} does not stay away", of.name());
    Some(of.proposal(ProposalKind::ReclaimTarget, Said { title, evidence, gain }, &change, confidence))
}

fn cleanups<'p>(of: &Of<'p>) -> Vec<Cleanup<'p>> {
    let over: Vec<&Incident> = of.sick().filter(|one| one.conditions.contains_key(&Condition::MemoryHigh)).collect();
    let helped =
        |attempt: &&Attempt| attempt.action == Action::MemoryCleanup && attempt.outcome == Some(Outcome::Succeeded);
    let of_incident = |incident: &&'p Incident| {
        let incident: &'p Incident = incident;
        let next = over.iter().find(|other| other.unit == incident.unit && other.opened_wall > incident.opened_wall);
        let later = next.map(|next| next.opened_wall);
        incident.attempts.iter().filter(helped).map(move |attempt| {
            // Within the incident: it was reopened, and tried again.
            let again = incident.attempts.iter().find(|other| other.number > attempt.number);
            let inside = again.map(|other| other.intended_at.since(attempt.intended_at));
            let after = later.map(|at| Duration::from_micros(between(attempt.intended_wall, at)));
            Cleanup { incident, back_after: inside.or(after) }
        })
    };
    over.iter().flat_map(of_incident).collect()
}
