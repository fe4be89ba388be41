//! `drain_timeout`, against how long drains took.

use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::time::human;
use crate::model::{Action, Attempt, Incident};

use super::change::{Change, round_up, span_text};
use super::{Of, Said, named};

/// Drains of a kind (ended by themselves, or cut off) that are asked for.
const DRAINS_MIN: usize = 5;
/// Without one that was cut off, twice as many: the slow one may be yet to come.
const ENDED_MIN: usize = 2 * DRAINS_MIN;
/// So many times the longest that ended by itself is left as room.
const ROOM: u32 = 2;
/// Where none was ever cut off, only a limit that is so many times the longest is in question.
const FAR: u32 = 4;
/// A shorter limit than this costs too little to be worth a change where it was never reached.
const LONG: Duration = Duration::from_secs(60);
/// No limit is proposed below it.
const LIMIT_MIN: Duration = Duration::from_secs(5);
/// No limit is doubled beyond it.
const LIMIT_MAX: Duration = Duration::from_secs(600);

struct Drain<'p> {
    incident: &'p Incident,
    took: Duration,
    cut_off: bool,
}

/// Drains under the limit of today. With an extra instance it cannot be told from the waiting for that one.
fn drains<'p>(of: &Of<'p>) -> Vec<Drain<'p>> {
    let limit = of.settings.drain_timeout;
    let drain = |incident: &'p Incident, attempt: &'p Attempt| {
        let (until, ended) = (attempt.drain_until?, attempt.acted_at?);
        let had = until.since(attempt.intended_at);
        // What the recording of the intent and the signal took is in it.
        let alike = had >= limit && had <= limit + Duration::from_secs(1) + limit / 10;
        (attempt.action == Action::GracefulRestart && attempt.extra.is_none() && alike).then(|| Drain {
            incident,
            took: ended.since(attempt.intended_at),
            cut_off: ended >= until,
        })
    };
    let attempts = of.incidents.iter().flat_map(|one| one.attempts_made().map(move |attempt| (*one, attempt)));
    attempts.filter_map(|(incident, attempt)| drain(incident, attempt)).collect()
}

pub fn propose(of: &Of<'_>) -> Option<Proposal> {
    let (cut_off, ended): (Vec<Drain<'_>>, Vec<Drain<'_>>) = drains(of).into_iter().partition(|drain| drain.cut_off);
    let longest = ended.iter().map(|drain| drain.took).max().unwrap_or_default();
    match (cut_off.len(), ended.len()) {
        (DRAINS_MIN.., 0) => never_ends(of, &cut_off),
        (DRAINS_MIN.., DRAINS_MIN..) => in_vain(of, &cut_off, ended.len(), longest),
        (0, ENDED_MIN..) => far_earlier(of, &ended, longest),
        _ => None,
    }
}

/// Those that end, end soon; those that do not are waited for in vain.
fn in_vain(of: &Of<'_>, cut_off: &[Drain<'_>], ended: usize, longest: Duration) -> Option<Proposal> {
    let now = of.settings.drain_timeout;
    let wanted = round_up((longest * ROOM).max(LIMIT_MIN));
    if wanted * ROOM > now {
        return None;
    }
    let evidence = vec![
        format!("{ended} drains ended by themselves in {}, the slowest after {}", of.span(), human(longest)),
        format!("{} did not end within {}: {}", cut_off.len(), span_text(now), names(cut_off)),
    ];
    let gain = format!("{} less for each that does not end; those that end have twice their time", human(now - wanted));
    let title = format!("drains of {} end soon or never", of.name());
    let change = Change::of(of.name()).span("drain_timeout", wanted);
    Some(of.proposal(ProposalKind::DrainTime, Said { title, evidence, gain }, &change, Confidence::Sure))
}

fn far_earlier(of: &Of<'_>, ended: &[Drain<'_>], longest: Duration) -> Option<Proposal> {
    let now = of.settings.drain_timeout;
    let wanted = round_up((longest * ROOM).max(LIMIT_MIN));
    if now < LONG || now < longest * FAR || wanted >= now {
        return None;
    }
    let evidence = vec![format!(
        "all {} drains in {} ended by themselves, the slowest after {}: {}",
        ended.len(),
        of.span(),
        human(longest),
        names(ended)
    )];
    let gain = format!("one that hangs while it drains is restarted {} earlier", human(now - wanted));
    let title = format!("drain_timeout of {} ({}) is far longer than its drains", of.name(), span_text(now));
    let change = Change::of(of.name()).span("drain_timeout", wanted);
    Some(of.proposal(ProposalKind::DrainTime, Said { title, evidence, gain }, &change, Confidence::Likely))
}

fn never_ends(of: &Of<'_>, cut_off: &[Drain<'_>]) -> Option<Proposal> {
    let now = of.settings.drain_timeout;
    let wanted = round_up(now * 2).min(LIMIT_MAX);
    if wanted <= now {
        return None;
    }
    let evidence = vec![format!(
        "none of {} drains in {} ended within {}: {}",
        cut_off.len(),
        of.span(),
        span_text(now),
        names(cut_off)
    )];
    let gain = format!(
        "work that takes longer is not cut off. If it does not heed the signal at all, more time will not help either: set \
         drain_signal to the one that it heeds, or restart instead of graceful_restart, which saves {} each time",
        span_text(now)
    );
    let title = format!("drains of {} never end", of.name());
    let change = Change::of(of.name()).span("drain_timeout", wanted);
    Some(of.proposal(ProposalKind::DrainTime, Said { title, evidence, gain }, &change, Confidence::Try))
}

fn names(drains: &[Drain<'_>]) -> String {
    named(drains.iter().map(|drain| drain.incident))
}
