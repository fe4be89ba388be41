//! Thresholds that cry wolf: what they raise mostly goes away by itself, or is marked false.

use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::incident::Origin;
use crate::model::time::human;
use crate::model::{Condition, Incident};

use super::change::{Change, number_text, round_up, span_text};
use super::odds::mostly;
use super::{Of, Said, named, was_false, was_real};

/// False alarms that are asked for: five of five are the fewest that are "mostly" by 95 %.
const FALSE_MIN: usize = 5;
/// From so many on, with no real one among the values that would be passed over, it is sure.
const FALSE_SURE: usize = 10;
/// Where no real one was seen, so much room is left above the highest false one.
const ROOM: f64 = 1.1;
/// No percentage is proposed above it: what is at its limit must still be seen.
const PERCENT_MAX: f64 = 95.0;
/// Patience is never stretched further than this: a real failure would wait as long.
const STRETCH_MAX: u32 = 4;
/// The most readings in a row that the configuration takes.
const SAMPLES_MAX: u32 = 60;

/// What a condition is judged by.
enum By {
    /// A value over a threshold.
    Value { key: &'static str, now: f64, percent: bool },
    /// A silence, or a start, that lasts too long.
    Lasting { key: &'static str, now: Duration },
    /// So many readings in a row.
    Samples { key: &'static str, now: u32 },
}

fn by(condition: Condition, of: &Of<'_>) -> Option<By> {
    let settings = of.settings;
    Some(match condition {
        Condition::MemoryHigh => By::Value { key: "memory_threshold", now: settings.memory_threshold, percent: true },
        Condition::CpuHigh => By::Value { key: "cpu_threshold", now: settings.cpu_threshold, percent: true },
        Condition::Starved => By::Value { key: "pressure_threshold", now: settings.pressure_threshold, percent: true },
        Condition::ErrorRateHigh => {
            By::Value { key: "error_rate_threshold", now: settings.error_rate_threshold, percent: false }
        }
        Condition::Hung => By::Lasting { key: "heartbeat_timeout", now: settings.heartbeat_timeout },
        Condition::StartStuck => By::Lasting { key: "start_timeout", now: settings.start_timeout },
        Condition::ProbeFailed => By::Samples { key: "probe_failures", now: settings.probe_failures },
        Condition::NoConsumer | Condition::ConsumerStalled => {
            By::Samples { key: "queue_samples", now: settings.queue_samples }
        }
        // That a process ended is no matter of a threshold.
        _ => return None,
    })
}

pub fn propose(of: &Of<'_>) -> Vec<Proposal> {
    let found = Condition::ALL.iter().filter_map(|condition| match by(*condition, of)? {
        By::Value { key, now, percent } => by_value(of, *condition, key, now, percent),
        By::Lasting { key, now } => by_time(of, *condition, key, now),
        By::Samples { key, now } => by_samples(of, *condition, key, now),
    });
    found.collect()
}

/// Incidents that the condition opened: those that were false with nothing else wrong, and those that were real.
struct Sorted<'p> {
    not_real: Vec<&'p Incident>,
    real: Vec<&'p Incident>,
}

fn sort<'p>(of: &Of<'p>, condition: Condition, counts: impl Fn(&Incident) -> bool) -> Sorted<'p> {
    let opened = |one: &&Incident| one.origin == Origin::Condition { condition };
    let alone = |one: &&Incident| opened(one) && one.conditions.len() == 1;
    Sorted {
        not_real: of.sick().filter(alone).filter(|one| was_false(one) && counts(one)).collect(),
        real: of.sick().filter(opened).filter(|one| was_real(one) && counts(one)).collect(),
    }
}

impl Sorted<'_> {
    fn cries_wolf(&self) -> bool {
        self.not_real.len() >= FALSE_MIN && mostly(self.not_real.len(), self.not_real.len() + self.real.len())
    }

    fn sentence(&self, of: &Of<'_>, condition: Condition) -> String {
        format!(
            "{} of {} incidents of {condition} in {} went away by themselves or were marked false: {}",
            self.not_real.len(),
            self.not_real.len() + self.real.len(),
            of.span(),
            named(self.not_real.iter().copied())
        )
    }
}

fn by_value(of: &Of<'_>, condition: Condition, key: &'static str, now: f64, percent: bool) -> Option<Proposal> {
    let value = |one: &Incident| one.peaks.get(&condition).copied();
    // What today's threshold would not raise says nothing about it.
    let sorted = sort(of, condition, |one| value(one).is_some_and(|value| value > now));
    if !sorted.cries_wolf() {
        return None;
    }
    let highest = sorted.not_real.iter().filter_map(|one| value(one)).fold(now, f64::max);
    let lowest = sorted.real.iter().filter_map(|one| value(one)).min_by(f64::total_cmp);
    let wanted = match lowest {
        Some(lowest) => highest + (lowest - highest) / 2.0,
        None if percent => (highest * ROOM).min(PERCENT_MAX),
        None => highest * ROOM,
    };
    // One digit is shown, so one digit is judged.
    let wanted = if percent { wanted.ceil() } else { (wanted * 10.0).ceil() / 10.0 };
    let parts = wanted > highest && lowest.is_none_or(|lowest| wanted < lowest);
    if !parts || (percent && wanted > PERCENT_MAX) {
        return None;
    }
    let unit = if percent { " %" } else { " per minute" };
    let reached = match lowest {
        Some(lowest) => format!(
            "those reached at most {}{unit}; the real ones ({}) at least {}{unit}",
            number_text(highest),
            named(sorted.real.iter().copied()),
            number_text(lowest)
        ),
        None => format!("those reached at most {}{unit}; no real one was seen", number_text(highest)),
    };
    let sure = sorted.not_real.len() >= FALSE_SURE && lowest.is_some();
    let change = Change::of(of.name()).number(key, wanted);
    Some(proposal(
        of,
        key,
        &sorted,
        vec![sorted.sentence(of, condition), reached],
        format!(
            "{} false alarms fewer in {}; what is over {}{unit} is still seen",
            sorted.not_real.len(),
            of.span(),
            number_text(wanted)
        ),
        (change, if sure { Confidence::Sure } else { Confidence::Likely }),
    ))
}

fn by_time(of: &Of<'_>, condition: Condition, key: &'static str, now: Duration) -> Option<Proposal> {
    // How long it lasted is known only where nobody ended it; and it counts only where it was judged as today.
    let judged = |one: &Incident| {
        let limit = one.conditions.get(&condition).and_then(|evidence| evidence.threshold);
        limit.is_none_or(|limit| limit >= now.as_secs_f64())
    };
    let sorted = sort(of, condition, judged);
    let longest = longest_untouched(&sorted)?;
    let wanted = round_up(now + longest.mul_f64(ROOM));
    if wanted > now * STRETCH_MAX || wanted == now {
        return None;
    }
    let lasted = format!(
        "each was well again by itself, at the latest {} after {condition} was raised at {}",
        human(longest),
        span_text(now)
    );
    let later = format!("a real one is seen {} later", human(wanted - now));
    let gain = format!("{} false alarms fewer in {}; {later}", sorted.not_real.len(), of.span());
    let change = Change::of(of.name()).span(key, wanted);
    let evidence = vec![sorted.sentence(of, condition), lasted];
    Some(proposal(of, key, &sorted, evidence, gain, (change, Confidence::Likely)))
}

fn by_samples(of: &Of<'_>, condition: Condition, key: &'static str, now: u32) -> Option<Proposal> {
    let sorted = sort(of, condition, |_| true);
    let longest = longest_untouched(&sorted)?;
    let each = of.past.settings.daemon.health_check_interval;
    let more = longest.as_micros().div_ceil(each.as_micros().max(1)) as u32;
    let wanted = now.saturating_add(more);
    if more == 0 || wanted > now * STRETCH_MAX || wanted > SAMPLES_MAX {
        return None;
    }
    let mut change = Change::of(of.name()).count(key, wanted);
    if key == "probe_failures" && of.settings.probe_window < wanted {
        change = change.count("probe_window", wanted);
    }
    let lasted = format!("each was well again by itself, at the latest {} after it was raised", human(longest));
    let later = format!("a real one is seen {} later", human(each * more));
    let gain = format!("{} false alarms fewer in {}; {later}", sorted.not_real.len(), of.span());
    let evidence = vec![sorted.sentence(of, condition), lasted];
    Some(proposal(of, key, &sorted, evidence, gain, (change, Confidence::Likely)))
}

/// The longest that one took to go away; `None` where that is known of too few.
fn longest_untouched(sorted: &Sorted<'_>) -> Option<Duration> {
    let untouched = sorted.not_real.iter().filter(|one| one.attempts_made().next().is_none());
    let spans: Vec<Duration> = untouched.filter_map(|one| one.time_to_recover).collect();
    let enough = sorted.cries_wolf() && spans.len() >= FALSE_MIN;
    spans.into_iter().max().filter(|_| enough)
}

fn proposal(
    of: &Of<'_>,
    key: &str,
    sorted: &Sorted<'_>,
    mut evidence: Vec<String>,
    gain: String,
    (change, confidence): (Change<'_>, Confidence),
) -> Proposal {
    let marked = sorted.not_real.iter().filter(|one| one.attempts_made().next().is_some()).count();
    if marked > 0 {
        evidence.push(format!("{marked} of them were acted on for nothing"));
    }
    let title = format!("{key} of {} cries wolf", of.name());
    of.proposal(ProposalKind::Threshold, Said { title, evidence, gain }, &change, confidence)
}
