//! Workers that fail at the same time more often than chance has it: they have a cause in common, or one needs the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::learn::chance::at_least;
use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::time::human;
use crate::model::{Incident, PatternId, Wall, WorkerName};

use super::odds::{median, mostly};
use super::{Of, Past, between, named};

/// Failures no further apart happened together.
const TOGETHER: Duration = Duration::from_secs(60);
/// What fails again within this time is still the same failure.
const EPISODE: Duration = Duration::from_secs(600);
/// Common failures that are asked for.
const COMMON_MIN: usize = 4;
/// Of the failures of the one that fails less often, at least this share is common.
const SHARE: f64 = 0.75;
/// How likely chance may be, over all pairs that were looked at (C. E. Bonferroni).
const CHANCE_MAX: f64 = 0.001;
/// Failures of one worker that are looked at; a worker that fails more often has no time in which it does not.
const EPISODES_MAX: usize = 500;
/// Workers and pairs that are named.
const NAMED_MAX: usize = 4;

/// The first incident of each failure, oldest first.
type Episodes<'p> = Vec<&'p Incident>;

/// Two workers that fall together.
struct Pair<'p> {
    /// The one that fails less often.
    rare: &'p WorkerName,
    often: &'p WorkerName,
    common: Vec<(&'p Incident, &'p Incident)>,
    failures: usize,
    /// How many would be common by chance.
    expected: f64,
}

pub fn propose(past: &Past<'_>, all: &BTreeMap<&WorkerName, Of<'_>>) -> Vec<Proposal> {
    let failing: Vec<(&WorkerName, Episodes<'_>)> =
        all.iter().map(|(name, of)| (*name, episodes(of))).filter(|(_, found)| found.len() >= COMMON_MIN).collect();
    let pairs = failing.len() * failing.len().saturating_sub(1) / 2;
    let mut found = Vec::new();
    for (place, (name, one)) in failing.iter().enumerate() {
        for (other_name, other) in &failing[place + 1..] {
            let (rare, often) = match one.len() <= other.len() {
                true => ((*name, one), (*other_name, other)),
                false => ((*other_name, other), (*name, one)),
            };
            found.extend(pair(past, rare, often, pairs));
        }
    }
    groups(found).into_iter().filter_map(|group| proposal(past, &group)).collect()
}

/// Failures by the first incident of each, whatever instance it was of.
fn episodes<'p>(of: &Of<'p>) -> Episodes<'p> {
    let mut failures: Vec<&Incident> = of.sick().filter(|one| one.worst.is_sick() && !super::was_false(one)).collect();
    failures.sort_by_key(|one| one.failed_wall);
    let mut found = Episodes::new();
    let mut last: Option<Wall> = None;
    for one in failures {
        if last.is_none_or(|last| between(last, one.failed_wall) > EPISODE.as_micros() as u64) {
            found.push(one);
        }
        last = Some(one.failed_wall);
    }
    found.truncate(EPISODES_MAX);
    found
}

fn pair<'p>(
    past: &Past<'_>,
    (rare, of_rare): (&'p WorkerName, &Episodes<'p>),
    (often, of_often): (&'p WorkerName, &Episodes<'p>),
    pairs: usize,
) -> Option<Pair<'p>> {
    let common: Vec<(&Incident, &Incident)> =
        of_rare.iter().filter_map(|one| Some((*one, nearest(one.failed_wall, of_often)?))).collect();
    if common.len() < COMMON_MIN || (common.len() as f64) < SHARE * of_rare.len() as f64 {
        return None;
    }
    let watched = past.watched.get(rare)?.min(past.watched.get(often)?).as_secs_f64();
    // Failures of the other come like those of a Poisson process, so one is near with this chance.
    let near = 2.0 * TOGETHER.as_secs_f64() * of_often.len() as f64 / watched.max(1.0);
    let chance = -(-near).exp_m1();
    let by_chance = at_least(common.len() as f64, of_rare.len() as f64, chance) * pairs as f64;
    (by_chance < CHANCE_MAX).then_some(Pair {
        rare,
        often,
        common,
        failures: of_rare.len(),
        expected: chance * of_rare.len() as f64,
    })
}

fn apart(one: Wall, other: Wall) -> Duration {
    Duration::from_micros(between(one, other).max(between(other, one)))
}

fn nearest<'p>(at: Wall, among: &Episodes<'p>) -> Option<&'p Incident> {
    let place = among.partition_point(|one| one.failed_wall < at);
    let around = among[place.saturating_sub(1)..].iter().take(2);
    let nearest = around.min_by_key(|one| apart(at, one.failed_wall))?;
    (apart(at, nearest.failed_wall) <= TOGETHER).then_some(*nearest)
}

/// Pairs that hang together are one matter.
fn groups(pairs: Vec<Pair<'_>>) -> Vec<Vec<Pair<'_>>> {
    let mut groups: Vec<(BTreeSet<&WorkerName>, Vec<Pair<'_>>)> = Vec::new();
    for pair in pairs {
        let touches =
            |(names, _): &mut (BTreeSet<&WorkerName>, _)| names.contains(pair.rare) || names.contains(pair.often);
        let mut names = BTreeSet::from([pair.rare, pair.often]);
        let mut joined = Vec::new();
        for (others, theirs) in groups.extract_if(.., touches) {
            names.extend(others);
            joined.extend(theirs);
        }
        joined.push(pair);
        groups.push((names, joined));
    }
    groups.into_iter().map(|(_, pairs)| pairs).collect()
}

fn proposal(past: &Past<'_>, group: &[Pair<'_>]) -> Option<Proposal> {
    let names: BTreeSet<&WorkerName> = group.iter().flat_map(|pair| [pair.rare, pair.often]).collect();
    let mut others: Vec<WorkerName> = names.iter().map(|name| (*name).clone()).collect();
    let worker = others.remove(0);
    let mut evidence: Vec<String> = group.iter().take(NAMED_MAX).map(sentence).collect();
    if group.len() > NAMED_MAX {
        evidence.push(format!("and {} more pairs alike", group.len() - NAMED_MAX));
    }
    evidence.extend(group.iter().take(NAMED_MAX).filter_map(|pair| first(pair)));
    evidence.extend(said(group));
    let span = human(Duration::from_micros(between(past.since, past.until)));
    let most = group.iter().map(|pair| pair.common.len()).max()?;
    Some(Proposal {
        kind: ProposalKind::FallTogether,
        worker,
        others,
        title: format!("{} fall together", list(&names)),
        evidence,
        gain: format!(
            "{most} failures in {span} have one cause: look for what they share (a broker, a database, a disk, a timer). \
             Where one needs the other, say so in its unit (Requires= and After=, or BindsTo=)"
        ),
        toml: String::new(),
        confidence: Confidence::Sure,
        set_at: Vec::new(),
    })
}

fn list(names: &BTreeSet<&WorkerName>) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if names.len() > NAMED_MAX {
        shown.push(format!("{} more", names.len() - NAMED_MAX));
    }
    let last = shown.pop().unwrap_or_default();
    format!("{} and {last}", shown.join(", "))
}

fn sentence(pair: &Pair<'_>) -> String {
    format!(
        "when {} failed, {} failed within {} of it {} of {} times, where chance would have it {}: {}",
        pair.rare,
        pair.often,
        human(TOGETHER),
        pair.common.len(),
        pair.failures,
        match pair.expected {
            few if few < 0.05 => "hardly once".to_string(),
            some => format!("{some:.1} times"),
        },
        named(pair.common.iter().map(|(one, _)| *one))
    )
}

/// Who fails first, where that is mostly the same.
fn first(pair: &Pair<'_>) -> Option<String> {
    let earlier = |swap: bool| {
        let spans = pair.common.iter().filter_map(|(rare, often)| {
            let (one, other) = if swap { (often, rare) } else { (rare, often) };
            Some(between(one.failed_wall, other.failed_wall)).filter(|span| *span > 0).map(Duration::from_micros)
        });
        spans.collect::<Vec<_>>()
    };
    for (name, other, spans) in [(pair.rare, pair.often, earlier(false)), (pair.often, pair.rare, earlier(true))] {
        if mostly(spans.len(), pair.common.len()) {
            let ahead = human(median(&spans)?);
            let (part, whole) = (spans.len(), pair.common.len());
            return Some(format!("{name} fails first, {ahead} before {other} (median; {part} of {whole} times)"));
        }
    }
    None
}

/// What the logs of all had in common, by the pattern that most of them had.
fn said(group: &[Pair<'_>]) -> Option<String> {
    let mut counts: BTreeMap<PatternId, (usize, &str)> = BTreeMap::new();
    let both = group.iter().flat_map(|pair| &pair.common);
    for (one, other) in both {
        let (Some(one), Some(other)) = (&one.pattern, &other.pattern) else { continue };
        if one.id == other.id {
            counts.entry(one.id).or_insert((0, &one.template)).0 += 1;
        }
    }
    let (count, template) = counts.into_values().max()?;
    Some(format!("{count} times both said before: {template}"))
}
