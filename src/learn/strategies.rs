//! Which action helps for which failure: what was tried, how often it helped and how long it took.
//!
//! Evidence is kept for each *case* (worker, condition and, where there is one, the pattern of its log) and, as a prior for
//! cases of which little is known, for each condition over all workers. Old evidence fades, and where what was well known
//! turns out otherwise the old is mostly dropped.
//!
//! Actions are ranked by `expected cost / chance to help`, ascending. For actions that are tried one after the other until
//! one helps, that order has the least expected cost (L. G. Mitten, "An Analytic Solution to the Least Cost Testing
//! Sequence Problem", J. of Industrial Engineering 11, 1960); cost is the time it takes, helping or not, and its harm.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::human;
use crate::model::{Action, Condition, PatternId, Wall, WorkerName};

/// Cases that are kept; those not seen for longest go first.
const CASES_MAX: usize = 4_096;
/// Tries in a case before its default order is left.
const TRIES_MIN: f64 = 3.0;
/// Weight of what is known elsewhere, in tries.
const PRIOR: f64 = 2.0;
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

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    pub worker: WorkerName,
    pub condition: Condition,
    pub pattern: Option<PatternId>,
}

/// What is known of an action in a case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Faded counts.
    helped: f64,
    failed: f64,
    /// In all, for the reader.
    pub tries: u64,
    pub successes: u64,
    took: Option<f64>,
    wasted: Option<f64>,
    last: Wall,
    surprise: f64,
}

/// All that has been learned of actions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Strategies {
    cases: BTreeMap<Case, BTreeMap<Action, Evidence>>,
    shared: BTreeMap<Condition, BTreeMap<Action, Evidence>>,
}

/// One action of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub action: Action,
    /// How likely it is to help, with the bounds within which that is by 95 %.
    pub chance: f64,
    pub low: f64,
    pub high: f64,
    pub tries: u64,
    pub successes: u64,
    /// How long it takes when it helps.
    pub took: Duration,
    /// Expected cost for each time that it helps: what it is ranked by.
    pub cost: Duration,
}

/// An order of actions, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    pub actions: Vec<Ranked>,
    /// In a sentence.
    pub why: String,
}

/// What may be done to find out more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explore {
    Never,
    /// Neither on critical workers nor while many are sick: for the caller to say.
    Sometimes,
}

impl Strategies {
    /// An action was tried and helped, or not, after `took`.
    pub fn learn(&mut self, case: &Case, action: Action, helped: bool, took: Duration, at: Wall) {
        let broad = Case { pattern: None, ..case.clone() };
        if case.pattern.is_some() {
            self.learn_in(case, action, helped, took, at);
        }
        self.learn_in(&broad, action, helped, took, at);
        let shared = self.shared.entry(case.condition).or_default().entry(action).or_default();
        shared.take(helped, took, at);
        self.bound();
    }

    fn learn_in(&mut self, case: &Case, action: Action, helped: bool, took: Duration, at: Wall) {
        let chance = self.chance(case, action, at).mean();
        let evidence = self.cases.entry(case.clone()).or_default();
        let one = evidence.entry(action).or_default();
        one.fade(at);
        if one.weight() >= 2.0 && one.surprised(if helped { chance } else { 1.0 - chance }) {
            // What helps is another thing now, for the other actions as well.
            evidence.values_mut().for_each(|other| other.shrink(KEPT));
        }
        evidence.entry(action).or_default().take(helped, took, at);
    }

    /// The order in which to try `actions`, which are in their default order. What is not among them is never added.
    pub fn rank(&self, case: &Case, actions: &[Action], explore: Explore, now: Wall) -> Ranking {
        let known = self.known(case);
        let mut ranked: Vec<Ranked> = actions.iter().map(|action| self.ranked(case, *action, now)).collect();
        let weight: f64 = known.iter().flat_map(|known| known.values()).map(|one| one.faded(now)).sum();
        if weight < TRIES_MIN || ranked.len() < 2 {
            let why = match ranked.len() {
                0 | 1 => "nothing to choose from".into(),
                _ => format!("default order: {} tries are known, {TRIES_MIN} are needed", weight.round()),
            };
            return Ranking { actions: ranked, why };
        }
        ranked.sort_by_key(|one| one.cost);
        let tries: u64 = known.iter().flat_map(|known| known.values()).map(|one| one.tries).sum();
        let turn = explore == Explore::Sometimes && tries % EXPLORE_EVERY == EXPLORE_EVERY - 1;
        let hopeful = turn.then(|| self.most_hopeful(case, &ranked, now)).flatten();
        let why = match hopeful {
            Some(place) => {
                let one = ranked.remove(place);
                let text =
                    format!("{} comes first to see whether it is better than is known: {}", one.action, one.words());
                ranked.insert(0, one);
                text
            }
            None => reason(&ranked),
        };
        Ranking { actions: ranked, why }
    }

    /// What is known of each action in each case.
    pub fn all(&self) -> impl Iterator<Item = (&Case, &BTreeMap<Action, Evidence>)> {
        self.cases.iter()
    }

    /// Forgets what is known of a worker.
    pub fn forget(&mut self, worker: &WorkerName) {
        self.cases.retain(|case, _| case.worker != *worker);
    }

    /// The evidence of the case itself: of its pattern where enough is known, else of all patterns.
    fn known(&self, case: &Case) -> Option<&BTreeMap<Action, Evidence>> {
        let broad = || self.cases.get(&Case { pattern: None, ..case.clone() });
        self.cases.get(case).or_else(broad)
    }

    fn chance(&self, case: &Case, action: Action, now: Wall) -> Chance {
        let of = |evidence: Option<&BTreeMap<Action, Evidence>>| evidence.and_then(|known| known.get(&action)).cloned();
        let mut chance = Chance::NONE.with(of(self.shared.get(&case.condition)), now);
        if case.pattern.is_some() {
            chance = chance.with(of(self.cases.get(&Case { pattern: None, ..case.clone() })), now);
        }
        chance.with(of(self.cases.get(case)), now)
    }

    fn ranked(&self, case: &Case, action: Action, now: Wall) -> Ranked {
        let chance = self.chance(case, action, now);
        let (low, high) = chance.interval();
        let evidence = self.known(case).and_then(|known| known.get(&action)).cloned().unwrap_or_default();
        let shared = self.shared.get(&case.condition).and_then(|known| known.get(&action));
        let took = evidence.took.or(shared.and_then(|one| one.took)).unwrap_or(TOOK.as_secs_f64());
        let wasted = evidence.wasted.or(shared.and_then(|one| one.wasted)).unwrap_or(WASTED.as_secs_f64());
        let cost = cost(action, chance.mean(), took, wasted);
        Ranked {
            action,
            chance: chance.mean(),
            low,
            high,
            tries: evidence.tries,
            successes: evidence.successes,
            took: Duration::from_secs_f64(took),
            cost: Duration::from_secs_f64(cost),
        }
    }

    /// The place of the action that would come first if it were as good as it may be, unless it is there already.
    fn most_hopeful(&self, case: &Case, ranked: &[Ranked], now: Wall) -> Option<usize> {
        let hoped = |one: &Ranked| {
            let chance = self.chance(case, one.action, now);
            let hope = (chance.mean() + HOPE * chance.deviation()).min(0.99);
            cost(one.action, hope, one.took.as_secs_f64(), WASTED.as_secs_f64())
        };
        let best = (0..ranked.len()).min_by(|a, b| hoped(&ranked[*a]).total_cmp(&hoped(&ranked[*b])))?;
        (best > 0).then_some(best)
    }

    fn bound(&mut self) {
        while self.cases.len() > CASES_MAX {
            let last = |known: &BTreeMap<Action, Evidence>| known.values().map(|one| one.last).max();
            let oldest = self.cases.iter().min_by_key(|(_, known)| last(known)).map(|(case, _)| case.clone());
            oldest.and_then(|case| self.cases.remove(&case));
        }
    }
}

impl Evidence {
    fn weight(&self) -> f64 {
        self.helped + self.failed
    }

    /// What is left of its weight by then.
    fn faded(&self, now: Wall) -> f64 {
        self.weight() * self.left(now)
    }

    fn left(&self, now: Wall) -> f64 {
        let age = now.0.saturating_sub(self.last.0).max(0) as f64 / 1e6;
        // A clock that jumps ahead must not take everything away.
        0.5_f64.powf(age / HALF_LIFE.as_secs_f64()).max(LEFT_MIN)
    }

    fn fade(&mut self, now: Wall) {
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

    fn take(&mut self, helped: bool, took: Duration, at: Wall) {
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
    fn with(self, evidence: Option<Evidence>, now: Wall) -> Self {
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

impl Ranked {
    /// `helped 9 of 10 times, in 3.2 s`
    fn words(&self) -> String {
        match self.tries {
            0 => "it was never tried here".into(),
            1 => format!("helped {} of 1 time, in {}", self.successes, human(self.took)),
            tries => format!("helped {} of {tries} times, in {}", self.successes, human(self.took)),
        }
    }
}

/// Why the first is the first.
fn reason(ranked: &[Ranked]) -> String {
    let cost = |one: &Ranked| human(Duration::from_secs(one.cost.as_secs()));
    let (first, second) = (&ranked[0], &ranked[1]);
    format!(
        "{} {}: {} for each recovery, against {} by {} ({})",
        first.action,
        first.words(),
        cost(first),
        cost(second),
        second.action,
        second.words()
    )
}
