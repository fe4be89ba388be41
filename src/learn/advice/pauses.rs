//! Pauses between attempts, against what recoveries took: the next try comes too early, or too late.

use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::time::human;
use crate::model::{Attempt, Incident, Outcome, WorkerSettings};

use super::change::{Change, round_up, span_text};
use super::odds::{median, mostly};
use super::{Of, Said, named};

/// Incidents that are asked for, on one side of "mostly": see [`mostly`].
const INCIDENTS_MIN: usize = 5;
/// A pause after giving up is long when it is so many times what the recovery after it took.
const LONG: u32 = 20;
/// A shorter pause after giving up still leaves so many times what a recovery takes.
const LEFT: u32 = 10;
/// A pause is cut to this part of it at once, not to the least that could do.
const CUT: u32 = 4;
/// No pause after giving up is proposed below it, so that operators are not paged every few seconds.
const COOLDOWN_MIN: Duration = Duration::from_secs(60);
/// No first pause between attempts is proposed below it: the default.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// The longest that the configuration takes.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Pauses are most of the time to recover from this share on.
const MOST: f64 = 0.5;

/// An incident in which the same action failed first and helped in the end.
struct Retried<'p> {
    incident: &'p Incident,
    failed: u32,
    /// From the first attempt to the one that helped.
    until: Duration,
    /// From the end of the last that failed to the one that helped.
    pause: Duration,
    /// From the one that helped until it was well.
    took: Duration,
}

pub fn propose(of: &Of<'_>) -> Option<Proposal> {
    let retried: Vec<Retried<'_>> = of.sick().filter_map(retried).collect();
    let (late, prompt): (Vec<Retried<'_>>, Vec<Retried<'_>>) =
        retried.into_iter().partition(|one| one.incident.escalations > 0);
    if late.len() >= INCIDENTS_MIN && mostly(late.len(), late.len() + prompt.len()) {
        return cooldown(of, &late).or_else(|| too_early(of, &late));
    }
    if prompt.len() >= INCIDENTS_MIN && mostly(prompt.len(), late.len() + prompt.len()) {
        return too_late(of, &prompt);
    }
    None
}

fn retried(incident: &Incident) -> Option<Retried<'_>> {
    let made: Vec<&Attempt> = incident.attempts_made().collect();
    let (last, before) = made.split_last()?;
    let (first, previous) = (before.first()?, before.last()?);
    let same = before.iter().all(|one| one.action == last.action && one.outcome == Some(Outcome::Failed));
    // One that was reopened had helped for a while: its attempts are not of one failure.
    if !same || last.outcome != Some(Outcome::Succeeded) || incident.reopened > 0 {
        return None;
    }
    Some(Retried {
        incident,
        failed: before.len() as u32,
        until: last.acted_at?.since(first.acted_at?),
        pause: last.intended_at.since(previous.ended_at?),
        took: last.well_at?.since(last.acted_at?),
    })
}

/// It was given up first, helped at the first try after that, and the pause was far longer than the recovery.
fn cooldown(of: &Of<'_>, late: &[Retried<'_>]) -> Option<Proposal> {
    let now = of.settings.restart_cooldown;
    let slowest = late.iter().map(|one| one.took).max()?;
    let default = WorkerSettings::new(of.name().clone(), of.settings.unit.clone()).restart_cooldown;
    let wanted = round_up((now / CUT).max(slowest * LEFT).max(COOLDOWN_MIN));
    // The default is as long as it is for good reasons; only one that was made longer is in question.
    if now <= default || now < slowest * LONG || wanted >= now {
        return None;
    }
    let waited: Vec<Duration> = late.iter().map(|one| one.pause).collect();
    let evidence = vec![
        sentence(of, late, "helped only after it had been given up for a while"),
        format!(
            "the recovery itself then took {} at most; the pause before it {} (median)",
            human(slowest),
            human(median(&waited)?)
        ),
    ];
    let gain = format!(
        "up to {} less in each such incident; that an earlier try would have helped is not proven",
        human(now - wanted)
    );
    let title = format!("restart_cooldown of {} ({}) is far longer than its recoveries", of.name(), span_text(now));
    let change = Change::of(of.name()).span("restart_cooldown", wanted);
    Some(of.proposal(ProposalKind::Pauses, Said { title, evidence, gain }, &change, Confidence::Try))
}

/// All attempts were used up before the cause was over. Spread over the time after which one helped, they would not be.
fn too_early(of: &Of<'_>, late: &[Retried<'_>]) -> Option<Proposal> {
    let settings = of.settings;
    let needed = median(&late.iter().map(|one| one.until).collect::<Vec<_>>())?;
    // 1 + 2 + 4 + ... pauses lie between so many attempts.
    let pauses = settings.max_restart_attempts.checked_sub(1).filter(|pauses| *pauses > 0)?.min(20);
    let wanted = round_up(needed / ((1 << pauses) - 1)).min(BACKOFF_MAX);
    if wanted < settings.backoff * 2 || wanted > settings.restart_cooldown {
        return None;
    }
    let in_vain: u32 = late.iter().map(|one| one.failed).sum();
    let evidence = vec![
        sentence(of, late, "helped only after the attempts had been used up and somebody had been called"),
        format!(
            "the one that helped came {} after the first (median); {in_vain} before it were in vain",
            human(needed)
        ),
    ];
    let gain = format!(
        "with the pauses spread over that time nobody is called for nothing; a second try comes {} later",
        human(wanted.saturating_sub(settings.backoff))
    );
    let title = format!("attempts of {} follow too early on each other", of.name());
    let change = Change::of(of.name()).span("backoff", wanted);
    Some(of.proposal(ProposalKind::Pauses, Said { title, evidence, gain }, &change, Confidence::Likely))
}

/// The second try helps, and most of the time to recover is the pause before it.
fn too_late(of: &Of<'_>, prompt: &[Retried<'_>]) -> Option<Proposal> {
    let now = of.settings.backoff;
    let waits = |one: &&Retried<'_>| {
        let whole = one.incident.time_to_recover.unwrap_or_default().as_secs_f64();
        one.failed == 1 && one.pause.as_secs_f64() >= MOST * whole
    };
    let waited: Vec<&Retried<'_>> = prompt.iter().filter(waits).collect();
    let wanted = round_up((now / CUT).max(BACKOFF_MIN));
    if waited.len() < INCIDENTS_MIN || !mostly(waited.len(), prompt.len()) || now < BACKOFF_MIN * LEFT {
        return None;
    }
    let evidence = vec![
        sentence(of, prompt, "helped at the second try"),
        format!("in {} of them the pause before it was most of the time to recover", waited.len()),
    ];
    let gain = format!(
        "up to {} less in each such incident; that an earlier try would have helped is not proven",
        human(now.saturating_sub(wanted))
    );
    let title = format!("backoff of {} ({}) is most of its time to recover", of.name(), span_text(now));
    let change = Change::of(of.name()).span("backoff", wanted);
    Some(of.proposal(ProposalKind::Pauses, Said { title, evidence, gain }, &change, Confidence::Try))
}

fn sentence(of: &Of<'_>, incidents: &[Retried<'_>], what: &str) -> String {
    let ids = named(incidents.iter().map(|one| one.incident));
    format!("in {} incidents in {} the same action {what}: {ids}", incidents.len(), of.span())
}
