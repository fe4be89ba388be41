//! Memory that fills at regular intervals: what comes back like a clock can be forestalled.
//!
//! Known only by what came of it; what will come of it is for forecasts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::time::human;
use crate::model::{Condition, Incident, UnitName};

use super::change::Change;
use super::odds::median;
use super::{Of, Said, between, named, was_real};

/// Intervals that are asked for. Failures that come by chance (Poisson) are as even as [`EVEN`] asks less than twice in ten
/// thousand times, as a million made-up histories have shown; with five intervals it is nine times.
const INTERVALS_MIN: usize = 6;
/// Each is within this share of their median.
const EVEN: f64 = 0.25;
/// What comes back sooner does not leak; it is too large for its limit.
const INTERVAL_MIN: Duration = Duration::from_secs(3600);
/// A whole part of a day or a week, within this share, is the rhythm of the work and no leak.
const RHYTHM: f64 = 0.03;
const DAY: f64 = 86_400.0;
/// Rhythms of work, in days.
const RHYTHMS: &[f64] = &[7.0, 1.0, 0.5, 1.0 / 3.0, 0.25];

/// For the unit of the worker that shows it most often.
pub fn propose(of: &Of<'_>) -> Option<Proposal> {
    let mut by_unit: BTreeMap<&UnitName, Vec<&Incident>> = BTreeMap::new();
    for incident in of.sick().filter(|one| is_of_memory(one) && was_real(one)) {
        by_unit.entry(&incident.unit).or_default().push(incident);
    }
    let leaking = by_unit.into_iter().filter_map(|(unit, incidents)| Some((unit, period(&incidents)?, incidents)));
    let (unit, period, incidents) = leaking.max_by_key(|(_, _, incidents)| incidents.len())?;
    // Where it is allowed already there is nothing to change: it comes faster than it is foreseen.
    let change = match of.settings.preventive {
        true => Change::of(of.name()),
        false => Change::of(of.name()).switch("preventive", true),
    };
    let said = Said {
        title: format!("memory of {unit} fills every {}", human(period)),
        evidence: vec![format!(
            "{} times in {}, {} to {} apart: {}",
            incidents.len(),
            of.span(),
            human(intervals(&incidents).into_iter().min()?),
            human(intervals(&incidents).into_iter().max()?),
            named(incidents.iter().copied())
        )],
        gain: format!(
            "a graceful restart before it is full, through all gates, when it is foreseen (at hours that quiet_hours names), so \
             about every {}; the leak itself is for those who maintain the program",
            human(rounded(period.mul_f64(1.0 - EVEN)))
        ),
    };
    Some(of.proposal(ProposalKind::Leak, said, &change, Confidence::Likely))
}

fn is_of_memory(incident: &Incident) -> bool {
    [Condition::MemoryHigh, Condition::OomKilled].iter().any(|one| incident.conditions.contains_key(one))
}

fn intervals(incidents: &[&Incident]) -> Vec<Duration> {
    let apart = |pair: &[&Incident]| Duration::from_micros(between(pair[0].failed_wall, pair[1].failed_wall));
    incidents.windows(2).map(apart).collect()
}

/// The interval, where it is always the same.
fn period(incidents: &[&Incident]) -> Option<Duration> {
    let intervals = intervals(incidents);
    let middle = median(&intervals)?.as_secs_f64();
    let even = intervals.iter().all(|one| (one.as_secs_f64() - middle).abs() <= EVEN * middle);
    let of_work = RHYTHMS.iter().any(|days| (middle / (days * DAY) - 1.0).abs() <= RHYTHM);
    let counts = intervals.len() >= INTERVALS_MIN && middle >= INTERVAL_MIN.as_secs_f64();
    (counts && even && !of_work).then(|| rounded(Duration::from_secs_f64(middle)))
}

/// Minutes, or hours where it is long.
fn rounded(span: Duration) -> Duration {
    let step = if span > 10 * INTERVAL_MIN { 3600 } else { 600 };
    Duration::from_secs((span.as_secs() + step / 2) / step * step)
}
