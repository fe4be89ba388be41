//! Which action helps for which failure: what was tried, how often it helped and how long it took.
//!
//! Evidence is kept for each *case* (worker, condition and, where there is one, the pattern of its log) and, as a prior for
//! cases of which little is known, for each condition over all workers. What another host has learned is a prior as well.
//! Old evidence fades, and where what was well known turns out otherwise the old is mostly dropped.
//!
//! Actions are ranked by `expected cost / chance to help`, ascending. For actions that are tried one after the other until
//! one helps, that order has the least expected cost (L. G. Mitten, "An Analytic Solution to the Least Cost Testing
//! Sequence Problem", J. of Industrial Engineering 11, 1960); cost is the time it takes, helping or not, and its harm.
//!
//! Time is that which unitmedic has watched since it began to learn: no clock of the wall that may jump, and it goes on over
//! restarts of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::strategy::{Case, EXPORT_FORMAT, Evidence, Export, Known, Provenance, Ranked, Ranking};
use crate::model::time::human;
use crate::model::{Action, WorkerName};

/// Cases that are kept; those not seen for longest go first.
const CASES_MAX: usize = 4_096;
/// Tries in a case before its default order is left.
const TRIES_MIN: f64 = 3.0;
/// Weight of what is known elsewhere, in tries.
const PRIOR: f64 = 2.0;
/// However often it helped elsewhere, one that was never tried here is not believed to help more often: what has helped
/// here is not left for hearsay.
const UNTRIED: f64 = 0.5;
/// Most weight of what was tried, in tries: what comes next still counts.
const WEIGHT_MAX: f64 = 30.0;
/// Evidence of that age counts half.
const HALF_LIFE: Duration = Duration::from_secs(30 * 86_400);
const LEFT_MIN: f64 = 0.1;
/// What is kept of the evidence of a case when it turned out otherwise, in tries.
const KEPT: f64 = 1.0;
/// Surprise that is taken for a change, in nats over what is expected.
const CHANGED: f64 = 3.0;
/// No action is ever believed to help less often: none is written off for good.
const CHANCE_MIN: f64 = 0.02;
/// One in so many incidents of a case may begin with an action that could be better than is known.
const EXPLORE_EVERY: u64 = 12;
/// How many standard deviations better.
const HOPE: f64 = 1.3;
/// Share of a new time in the mean of times.
const NEWEST: f64 = 0.2;
/// Supposed where nothing is known.
const TOOK: Duration = Duration::from_secs(10);
const WASTED: Duration = Duration::from_secs(30);
/// Actions of one case: those that have a name, and an operator's hooks.
const ACTIONS_MAX: usize = 64;
/// What is believed of knowledge that was read from outside.
const COUNT_MAX: f64 = 2.0 * WEIGHT_MAX;
/// Bytes of the name of a host, and of a version.
const HOST_MAX: usize = 253;
const VERSION_MAX: usize = 64;
const TIME_MAX: Duration = Duration::from_secs(366 * 86_400);
const AGE_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// All that has been learned of actions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strategies {
    own: BTreeMap<Case, BTreeMap<Action, Evidence>>,
    /// Learned on another host.
    foreign: BTreeMap<Case, (Provenance, BTreeMap<Action, Evidence>)>,
}

/// What may be done to find out more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explore {
    /// And what was only heard of from elsewhere is no reason to leave the default order.
    OwnOnly,
    Never,
    /// Neither on critical workers nor while many are sick: for the caller to say.
    Sometimes,
}

impl Strategies {
    /// What a former life has written down. What cannot be is left out, and told.
    pub fn restore(known: Vec<Known>) -> (Self, Vec<String>) {
        let mut strategies = Strategies::default();
        let mut refused = Vec::new();
        for one in known {
            match check(&one) {
                Err(why) => refused.push(why),
                Ok(()) => match one.from {
                    None => drop(strategies.own.insert(one.case, one.actions)),
                    Some(from) => drop(strategies.foreign.insert(one.case, (from, one.actions))),
                },
            }
        }
        strategies.bound();
        strategies.bound_foreign(&BTreeSet::new());
        (strategies, refused)
    }

    /// Until when it has learned.
    pub fn latest(&self) -> Duration {
        self.own.values().flat_map(BTreeMap::values).map(|one| one.last).max().unwrap_or_default()
    }

    /// An action was tried and helped, or not, after `took`. Returns the cases of which something else is known now.
    pub fn learn(&mut self, case: &Case, action: Action, helped: bool, took: Duration, at: Duration) -> Vec<Case> {
        let broad = Case { pattern: None, ..case.clone() };
        let shared = Case { worker: None, ..broad.clone() };
        let mut changed = vec![broad.clone(), shared.clone()];
        if case.pattern.is_some() {
            self.learn_in(case, action, helped, took, at);
            changed.push(case.clone());
        }
        self.learn_in(&broad, action, helped, took, at);
        self.own.entry(shared).or_default().entry(action).or_default().take(helped, took, at);
        changed.extend(self.bound());
        changed
    }

    fn learn_in(&mut self, case: &Case, action: Action, helped: bool, took: Duration, at: Duration) {
        let chance = self.chance(case, action, at).mean();
        let evidence = self.own.entry(case.clone()).or_default();
        let one = evidence.entry(action).or_default();
        one.fade(at);
        if one.weight() >= 2.0 && one.surprised(if helped { chance } else { 1.0 - chance }) {
            // What helps is another thing now, for the other actions as well.
            evidence.values_mut().for_each(|other| other.shrink(KEPT));
        }
        evidence.entry(action).or_default().take(helped, took, at);
    }

    /// The order in which to try `actions`, which are in their default order. What is not among them is never added.
    pub fn rank(&self, case: &Case, actions: &[Action], explore: Explore, now: Duration) -> Ranking {
        let mut ranked: Vec<Ranked> = actions.iter().map(|action| self.ranked(case, *action, now)).collect();
        let (own, heard, tries) = self.weight(case, now);
        let weight = if explore == Explore::OwnOnly { own } else { own + heard };
        if weight < TRIES_MIN || ranked.len() < 2 {
            let why = match (ranked.len(), weight as u64) {
                (0 | 1, _) => "nothing to choose from".into(),
                (_, 0) if heard >= 1.0 => {
                    format!("default order: it was tried elsewhere only, {TRIES_MIN} tries here are needed")
                }
                (_, 0) => "default order: nothing is known yet".into(),
                (_, 1) => format!("default order: 1 try is known, {TRIES_MIN} are needed"),
                (_, few) => format!("default order: {few} tries are known, {TRIES_MIN} are needed"),
            };
            return Ranking { actions: ranked, learned: false, why };
        }
        ranked.sort_by_key(|one| one.cost);
        let turn = explore == Explore::Sometimes && tries % EXPLORE_EVERY == EXPLORE_EVERY - 1;
        let hopeful = turn.then(|| self.most_hopeful(case, &ranked, now)).flatten();
        let why = match hopeful {
            Some(place) => {
                let one = ranked.remove(place);
                let text =
                    format!("{} comes first to see whether it is better than is known: {}", one.action, words(&one));
                ranked.insert(0, one);
                text
            }
            None => reason(&ranked),
        };
        let learned = !ranked.iter().map(|one| &one.action).eq(actions);
        Ranking { actions: ranked, learned, why }
    }

    /// What is known of each case, from elsewhere as well.
    pub fn known(&self) -> impl Iterator<Item = Known> {
        let own = self.own.iter().map(|(case, actions)| (case, None, actions));
        let foreign = self.foreign.iter().map(|(case, (from, actions))| (case, Some(from.clone()), actions));
        own.chain(foreign).map(|(case, from, actions)| Known { case: case.clone(), from, actions: actions.clone() })
    }

    /// What this host knows of a case; without actions where that is nothing.
    pub fn known_of(&self, case: &Case) -> Known {
        Known { case: case.clone(), from: None, actions: self.own.get(case).cloned().unwrap_or_default() }
    }

    /// Where what is known of a case from elsewhere was learned.
    pub fn source(&self, case: &Case) -> Option<&Provenance> {
        self.foreign.get(case).map(|(from, _)| from)
    }

    /// Forgets what is known of a worker, or everything. Returns what is gone, without its actions.
    pub fn forget(&mut self, worker: Option<&WorkerName>) -> Vec<Known> {
        let goes = |case: &Case| worker.is_none() || case.worker.as_ref() == worker;
        let (own, foreign) = (&mut self.own, &mut self.foreign);
        let own = own.extract_if(.., |case, _| goes(case)).map(|(case, _)| (case, None));
        let foreign = foreign.extract_if(.., |case, _| goes(case)).map(|(case, (from, _))| (case, Some(from)));
        let gone = own.chain(foreign).map(|(case, from)| Known { case, from, actions: BTreeMap::new() });
        gone.collect()
    }

    /// Takes over what another host has learned; of a case known from elsewhere already, the new counts. What is known
    /// here is not touched, and outweighs it soon. Returns what was taken over, and without actions what is gone for it.
    pub fn import(&mut self, export: Export, now: Duration) -> Result<Vec<Known>, String> {
        if export.format != EXPORT_FORMAT {
            let format: String = export.format.chars().take(EXPORT_FORMAT.len()).collect();
            return Err(format!("the format is {format:?}; this unitmedic reads {EXPORT_FORMAT:?}"));
        }
        if export.known.len() > CASES_MAX {
            return Err(format!("it has {} cases; at most {CASES_MAX} are kept", export.known.len()));
        }
        check_source(&export.from)?;
        let mut cases = BTreeSet::new();
        for one in &export.known {
            check(one)?;
            if one.actions.contains_key(&Action::Escalate) {
                return Err(format!("{}: escalate is nothing that could help", name(&one.case)));
            }
            if !cases.insert(one.case.clone()) {
                return Err(format!("{}: it is there twice", name(&one.case)));
            }
        }
        let mut taken = Vec::new();
        // Where nothing was tried, nothing is known that could take the place of what is.
        for Known { case, actions, .. } in export.known.into_iter().filter(|one| !one.actions.is_empty()) {
            // It was faded when it was written; how old it is over there says nothing here.
            let actions: BTreeMap<Action, Evidence> = actions
                .into_iter()
                .map(|(action, one)| (action, Evidence { last: now, surprise: 0.0, ..one }))
                .collect();
            self.foreign.insert(case.clone(), (export.from.clone(), actions.clone()));
            taken.push(Known { case, from: Some(export.from.clone()), actions });
        }
        // What had to go for it is told, too: it is to be forgotten wherever it is kept.
        taken.extend(self.bound_foreign(&cases));
        Ok(taken)
    }

    /// What this host has learned itself, of one worker or all, as it counts now.
    pub fn export(&self, worker: Option<&WorkerName>, now: Duration) -> Vec<Known> {
        let wanted = |case: &Case| worker.is_none() || case.worker.as_ref() == worker;
        let own = self.own.iter().filter(|(case, _)| wanted(case));
        let faded = own.map(|(case, actions)| {
            let mut actions = actions.clone();
            actions.values_mut().for_each(|one| one.fade(now));
            Known { case: case.clone(), from: None, actions }
        });
        faded.collect()
    }

    /// The evidence of the case itself: of its pattern where that is enough, else of all patterns.
    fn evidence(&self, case: &Case, now: Duration) -> Option<&BTreeMap<Action, Evidence>> {
        let enough = |actions: &&BTreeMap<Action, Evidence>| total(actions, now) >= TRIES_MIN;
        self.own.get(case).filter(enough).or_else(|| self.own.get(&Case { pattern: None, ..case.clone() }))
    }

    fn foreign_evidence(&self, case: &Case, now: Duration) -> Option<&BTreeMap<Action, Evidence>> {
        let of = |case: &Case| self.foreign.get(case).map(|(_, actions)| actions);
        let enough = |actions: &&BTreeMap<Action, Evidence>| total(actions, now) >= TRIES_MIN;
        of(case).filter(enough).or_else(|| of(&Case { pattern: None, ..case.clone() }))
    }

    /// Tries of this host and of others that are known of a case, as they count now, and those of this host in all.
    fn weight(&self, case: &Case, now: Duration) -> (f64, f64, u64) {
        let sum = |actions: Option<&BTreeMap<Action, Evidence>>| actions.map_or(0.0, |actions| total(actions, now));
        let own = self.evidence(case, now);
        let tries = own.map_or(0, |actions| actions.values().map(|one| one.tries).sum());
        (sum(own), sum(self.foreign_evidence(case, now)), tries)
    }

    /// From the widest to the closest, each a prior for the next.
    fn chance(&self, case: &Case, action: Action, now: Duration) -> Chance {
        let broad = Case { pattern: None, ..case.clone() };
        let shared = Case { worker: None, ..broad.clone() };
        let mut chance = Chance::NONE;
        for level in [Some(&shared), Some(&broad), case.pattern.map(|_| case)].into_iter().flatten() {
            let foreign = self.foreign.get(level).and_then(|(_, actions)| actions.get(&action));
            let own = self.own.get(level).and_then(|actions| actions.get(&action));
            chance = chance.with(foreign, now).with(own, now);
        }
        chance
    }

    fn ranked(&self, case: &Case, action: Action, now: Duration) -> Ranked {
        let chance = self.chance(case, action, now);
        let (low, high) = chance.interval();
        let here = self.evidence(case, now);
        let own = here.and_then(|known| known.get(&action));
        let hearsay = here.is_some() && own.is_none();
        let mean = if hearsay { chance.mean().min(UNTRIED) } else { chance.mean() };
        let shared = self.own.get(&Case { worker: None, pattern: None, ..case.clone() });
        let sources = [
            own,
            self.foreign_evidence(case, now).and_then(|known| known.get(&action)),
            shared.and_then(|known| known.get(&action)),
        ];
        let first = |time: fn(&Evidence) -> Option<f64>| sources.iter().flatten().find_map(|one| time(one));
        let took = first(|one| one.took).unwrap_or(TOOK.as_secs_f64());
        let wasted = first(|one| one.wasted).unwrap_or(WASTED.as_secs_f64());
        Ranked {
            action,
            chance: mean,
            low: low.min(mean),
            high,
            tries: own.map_or(0, |one| one.tries),
            successes: own.map_or(0, |one| one.successes),
            took: Duration::from_secs_f64(took),
            cost: Duration::from_secs_f64(cost(action, mean, took, wasted)),
        }
    }

    /// The place of the action that would come first if it were as good as it may be, unless it is there already.
    fn most_hopeful(&self, case: &Case, ranked: &[Ranked], now: Duration) -> Option<usize> {
        let hoped = |one: &Ranked| {
            let chance = self.chance(case, one.action, now);
            let hope = (chance.mean() + HOPE * chance.deviation()).min(0.99);
            cost(one.action, hope, one.took.as_secs_f64(), WASTED.as_secs_f64())
        };
        let best = (0..ranked.len()).min_by(|a, b| hoped(&ranked[*a]).total_cmp(&hoped(&ranked[*b])))?;
        (best > 0).then_some(best)
    }

    /// Returns the cases that had to go.
    fn bound(&mut self) -> Vec<Case> {
        let mut gone = Vec::new();
        let last = |actions: &BTreeMap<Action, Evidence>| actions.values().map(|one| one.last).max();
        while self.own.len() > CASES_MAX {
            let oldest = self.own.iter().min_by_key(|(_, actions)| last(actions)).map(|(case, _)| case.clone());
            gone.extend(oldest.inspect(|case| drop(self.own.remove(case))));
        }
        gone
    }

    /// What was taken over longest ago goes first, of that what is said to be oldest; what was `taken` just now stays.
    fn bound_foreign(&mut self, taken: &BTreeSet<Case>) -> Vec<Known> {
        let over = self.foreign.len().saturating_sub(CASES_MAX);
        if over == 0 {
            return Vec::new();
        }
        let age = |(case, (from, actions)): (&Case, &(Provenance, BTreeMap<Action, Evidence>))| {
            let last = actions.values().map(|one| one.last).max();
            (taken.contains(case), last, from.exported, case.clone())
        };
        let mut ranked: Vec<_> = self.foreign.iter().map(age).collect();
        ranked.sort();
        let gone = ranked.into_iter().take(over).filter_map(|(.., case)| self.foreign.remove_entry(&case));
        gone.map(|(case, (from, _))| Known { case, from: Some(from), actions: BTreeMap::new() }).collect()
    }
}

/// Tries of a case as they count now.
fn total(actions: &BTreeMap<Action, Evidence>, now: Duration) -> f64 {
    actions.values().map(|one| one.faded(now)).sum()
}

impl Evidence {
    fn weight(&self) -> f64 {
        self.helped + self.failed
    }

    /// What is left of its weight by then.
    fn faded(&self, now: Duration) -> f64 {
        self.weight() * self.left(now)
    }

    fn left(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.last);
        0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64()).max(LEFT_MIN)
    }

    fn fade(&mut self, now: Duration) {
        let left = self.left(now);
        (self.helped, self.failed) = (self.helped * left, self.failed * left);
    }

    fn shrink(&mut self, weight: f64) {
        if self.weight() > weight {
            let left = weight / self.weight();
            (self.helped, self.failed) = (self.helped * left, self.failed * left);
        }
        self.surprise = 0.0;
    }

    /// An outcome that was expected with this chance has come: has what is known become untrue?
    fn surprised(&mut self, expected: f64) -> bool {
        let expected = expected.clamp(0.001, 0.999);
        let mean = -(expected * expected.ln() + (1.0 - expected) * (1.0 - expected).ln());
        self.surprise = (self.surprise * 0.7 - expected.ln() - mean).max(0.0);
        self.surprise > CHANGED
    }

    fn take(&mut self, helped: bool, took: Duration, at: Duration) {
        self.fade(at);
        self.shrink_to_most();
        let mean = |old: Option<f64>| {
            let new = took.as_secs_f64();
            Some(old.map_or(new, |old| old + NEWEST * (new - old)))
        };
        match helped {
            true => (self.helped, self.took) = (self.helped + 1.0, mean(self.took)),
            false => (self.failed, self.wasted) = (self.failed + 1.0, mean(self.wasted)),
        }
        self.tries = self.tries.saturating_add(1);
        self.successes = self.successes.saturating_add(u64::from(helped));
        self.last = self.last.max(at);
    }

    fn shrink_to_most(&mut self) {
        if self.weight() > WEIGHT_MAX {
            let left = WEIGHT_MAX / self.weight();
            (self.helped, self.failed) = (self.helped * left, self.failed * left);
        }
    }
}

/// A belief about how often something helps: a Beta distribution.
#[derive(Debug, Clone, Copy)]
struct Chance {
    helped: f64,
    failed: f64,
}

impl Chance {
    const NONE: Chance = Chance { helped: PRIOR / 2.0, failed: PRIOR / 2.0 };

    /// With closer evidence on top: what was believed before is worth [`PRIOR`] tries.
    fn with(self, evidence: Option<&Evidence>, now: Duration) -> Self {
        let Some(evidence) = evidence else { return self };
        let (before, left) = (self.mean(), evidence.left(now));
        Chance {
            helped: PRIOR * before + evidence.helped * left,
            failed: PRIOR * (1.0 - before) + evidence.failed * left,
        }
    }

    fn mean(self) -> f64 {
        self.helped / (self.helped + self.failed)
    }

    fn deviation(self) -> f64 {
        let sum = self.helped + self.failed;
        (self.mean() * (1.0 - self.mean()) / (sum + 1.0)).sqrt()
    }

    /// Within two standard deviations, which is close to 95 %.
    fn interval(self) -> (f64, f64) {
        let (mean, wide) = (self.mean(), 1.96 * self.deviation());
        ((mean - wide).max(0.0), (mean + wide).min(1.0))
    }
}

/// What it costs, on average, for each time that it helps; seconds.
fn cost(action: Action, chance: f64, took: f64, wasted: f64) -> f64 {
    let chance = chance.max(CHANCE_MIN);
    (chance * took + (1.0 - chance) * wasted + harm(action).as_secs_f64()) / chance
}

/// What an action does to those who are served, as time to recover that it is worth.
pub fn harm(action: Action) -> Duration {
    Duration::from_secs(match action {
        Action::MemoryCleanup | Action::ScaleUp | Action::Escalate => 0,
        Action::ConnectionReset => 1,
        Action::Hook(_) | Action::ScaleDown => 2,
        Action::GracefulRestart => 3,
        Action::Restart => 5,
    })
}

/// `helped 9 of 10 times, in 3.2 s`
pub fn words(one: &Ranked) -> String {
    match (one.tries, one.successes) {
        (0, _) => "never tried here".into(),
        (1, 0) => "did not help the 1 time it was tried".into(),
        (tries, 0) => format!("did not help in any of {tries} tries"),
        (1, _) => format!("helped the 1 time it was tried, in {}", human(one.took)),
        (tries, helped) => format!("helped {helped} of {tries} times, in {}", human(one.took)),
    }
}

/// Why the first is the first.
fn reason(ranked: &[Ranked]) -> String {
    let cost = |one: &Ranked| human(Duration::from_secs(one.cost.as_secs_f64().ceil() as u64));
    let (first, second) = (&ranked[0], &ranked[1]);
    let told = match first.tries {
        0 => format!("was never tried here and is expected to help in {:.0} of 100 cases", first.chance * 100.0),
        _ => words(first),
    };
    let other = match second.tries {
        0 => "was never tried here".into(),
        _ => words(second),
    };
    format!(
        "{} {told}: {} for each recovery, against {} by {}, which {other}",
        first.action,
        cost(first),
        cost(second),
        second.action,
    )
}

/// Knowledge that comes from a file is not believed to be what it should be.
fn check(known: &Known) -> Result<(), String> {
    let name = || name(&known.case);
    known.from.as_ref().map_or(Ok(()), check_source)?;
    if known.actions.len() > ACTIONS_MAX {
        return Err(format!("{}: {} actions; at most {ACTIONS_MAX} are kept", name(), known.actions.len()));
    }
    for (action, one) in &known.actions {
        let wrong = |what: &str| Err(format!("{}, {action}: {what}", name()));
        let counts = [one.helped, one.failed];
        if counts.iter().any(|count| !(0.0..=COUNT_MAX).contains(count)) {
            return wrong("helped and failed must be counts");
        }
        if one.successes > one.tries || one.tries > u64::from(u32::MAX) {
            return wrong("successes must not exceed tries, nor these 4 thousand millions");
        }
        if [one.took, one.wasted].iter().flatten().any(|time| !(0.0..=TIME_MAX.as_secs_f64()).contains(time)) {
            return wrong("times must be from 0 to a year, in seconds");
        }
        if one.last > AGE_MAX || !(0.0..=1e6).contains(&one.surprise) {
            return wrong("it is not from this world's time");
        }
    }
    Ok(())
}

fn name(case: &Case) -> String {
    format!("{} of {}", case.condition, case.worker.as_ref().map_or("all workers", WorkerName::as_str))
}

/// It is told in the journal and kept with every case.
fn check_source(from: &Provenance) -> Result<(), String> {
    let is_name = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    match is_name(&from.host, HOST_MAX) && is_name(&from.version, VERSION_MAX) {
        true => Ok(()),
        false => Err("the host or the version that it names is none".into()),
    }
}

#[cfg(test)]
mod tests;
