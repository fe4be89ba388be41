//! Instances that are started because of work, again and again: then they may as well stay.

use std::collections::BTreeSet;

use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::incident::Origin;
use crate::model::{Action, Incident, Outcome, UnitName, Wall};

use super::change::Change;
use super::{Of, Said, between, named};

/// Starts because of work that are asked for.
const STARTS_MIN: usize = 10;
/// On so many different days: one busy day is no arrival rate.
const DAYS_MIN: usize = 5;
/// An instance is needed as a rule when it runs for this share of the time.
const NEEDED: f64 = 0.5;
/// From this share on it is sure.
const NEEDED_SURE: f64 = 0.8;
/// The worker must have been watched for so much of the time.
const WATCHED_MIN: f64 = 0.25;
/// A day, microseconds.
const DAY: i64 = 86_400_000_000;

pub fn propose(of: &Of<'_>) -> Option<Proposal> {
    let starts: Vec<&Incident> = of.incidents.iter().copied().filter(|one| started(one).is_some()).collect();
    let days: BTreeSet<i64> = starts.iter().map(|one| one.opened_wall.0.div_euclid(DAY)).collect();
    let watched = of.past.watched.get(of.name())?.as_micros() as f64;
    let span = between(of.past.since, of.past.until) as f64;
    if starts.len() < STARTS_MIN || days.len() < DAYS_MIN || watched < span * WATCHED_MIN {
        return None;
    }
    // At most max_instances run, so at most so many of them are extra ones.
    let most = of.settings.max_instances? as usize;
    let with = with_extra(of, &starts, most);
    let share = |extra: usize| with[extra - 1] as f64 / watched;
    let more = (1..=most).take_while(|extra| share(*extra) >= NEEDED).last()?;
    let floor = of.settings.needed().max(of.past.own.get(of.name()).copied().unwrap_or(0));
    let wanted = floor.saturating_add(more as u32).min(most as u32);
    if wanted <= floor {
        return None;
    }
    let change = Change::of(of.name()).count("min_instances", wanted);
    let percent = (share(more) * 100.0).min(100.0);
    let confidence = if share(more) >= NEEDED_SURE { Confidence::Sure } else { Confidence::Likely };
    let said = Said {
        title: format!("{} needs more than {floor} {} as a rule", of.name(), instances(floor)),
        evidence: vec![
            format!(
                "another instance was started because of work {} times in {}, on {} days: {}",
                starts.len(),
                of.span(),
                days.len(),
                named(starts.iter().copied())
            ),
            format!("{wanted} or more ran for {percent:.0} % of the time that it was watched"),
        ],
        gain: format!(
            "work need not pile up first, about {} times; {more} more {} all the time",
            starts.len(),
            runs(more)
        ),
    };
    Some(of.proposal(ProposalKind::MinInstances, said, &change, confidence))
}

fn instances(count: u32) -> &'static str {
    if count == 1 { "instance" } else { "instances" }
}

fn runs(count: usize) -> &'static str {
    if count == 1 { "instance runs" } else { "instances run" }
}

/// When an instance was started because of work.
fn started(incident: &Incident) -> Option<Wall> {
    let up = incident.attempts_made().find(|attempt| attempt.action == Action::ScaleUp);
    let asked_for = matches!(incident.origin, Origin::Condition { .. });
    up.filter(|up| asked_for && up.outcome == Some(Outcome::Succeeded)).map(|up| up.intended_wall)
}

/// Microseconds in which at least 1, 2, ... extra instances ran.
fn with_extra(of: &Of<'_>, starts: &[&Incident], most: usize) -> Vec<u64> {
    let mut steps: Vec<(Wall, i64)> = Vec::new();
    for start in starts {
        let Some(from) = started(start) else { continue };
        steps.push((from, 1));
        steps.push((stopped(of, &start.unit, start).unwrap_or(of.past.until), -1));
    }
    // At the same moment, one that goes goes first.
    steps.sort();
    let mut with = vec![0; most];
    let mut running = 0i64;
    for (place, (at, step)) in steps.iter().enumerate() {
        running = (running + step).max(0);
        let until = steps.get(place + 1).map_or(*at, |next| next.0);
        for extra in with.iter_mut().take(running as usize) {
            *extra += between(*at, until);
        }
    }
    with
}

/// When the instance was stopped again, or started anew, which means that somebody else had stopped it.
fn stopped(of: &Of<'_>, unit: &UnitName, start: &Incident) -> Option<Wall> {
    let ended = |one: &&&Incident| {
        one.unit == *unit
            && one.opened_wall > start.opened_wall
            && (one.origin == Origin::Surplus || started(one).is_some())
    };
    of.incidents.iter().find(ended).map(|one| one.opened_wall)
}
