//! What an engine decided, and where two of them decided differently.

use std::collections::BTreeMap;

use crate::model::time::human;
use crate::model::{AttemptId, Fact, UnitName, What, WorkerName};

use super::report::Difference;
use super::story::{KEPT, Moment};

/// The same decision counts as taken later, or earlier, within this many times of NEAR; else it was not taken.
const LATER: std::time::Duration = std::time::Duration::from_secs(600);

/// One decision about a unit.
#[derive(Debug, Clone)]
struct Decision {
    moment: Moment,
    wall: crate::model::Wall,
    worker: WorkerName,
    /// `restart`, `escalate`, `incident: dead`.
    what: String,
    why: String,
    supposed: bool,
}

/// All decisions of one engine, by unit.
#[derive(Debug, Default)]
pub struct Decisions {
    by_unit: BTreeMap<UnitName, Vec<Decision>>,
    refusals: BTreeMap<UnitName, Vec<(Moment, String)>>,
    reasons: BTreeMap<AttemptId, String>,
    kept: usize,
    pub left_out: u64,
}

impl Decisions {
    /// Notes the fact if it is a decision. `supposed`: it rests on what was not recorded.
    pub fn note(&mut self, boot: u32, fact: &Fact, supposed: bool) {
        let (Some(worker), Some(unit)) = (&fact.worker, &fact.unit) else { return };
        let (what, why) = match &fact.what {
            What::AttemptIntended { attempt, reason, .. } => {
                self.reasons.insert(*attempt, reason.clone());
                return;
            }
            What::AttemptEnded { attempt, .. } => {
                self.reasons.remove(attempt);
                return;
            }
            What::ActionSuppressed { action, refusal } => {
                let text = format!("{action} suppressed by {}: {}", refusal.gate, refusal.text);
                let moment = Moment { boot, at: fact.at.mono };
                if self.room() {
                    self.refusals.entry(unit.clone()).or_default().push((moment, text));
                }
                return;
            }
            What::AttemptActed { attempt, action, .. } => {
                (action.to_string(), self.reasons.remove(attempt).unwrap_or_default())
            }
            What::Escalated { text, .. } => ("escalate".into(), text.clone()),
            What::IncidentOpened { condition, evidence, .. } => {
                let condition = condition.map_or("asked for", |condition| condition.as_str());
                (format!("incident: {condition}"), evidence.text.clone())
            }
            What::IncidentReopened { condition, .. } => {
                let condition = condition.map_or("asked for", |condition| condition.as_str());
                (format!("incident: {condition}"), "it returned soon after it was closed".into())
            }
            _ => return,
        };
        if self.room() {
            let moment = Moment { boot, at: fact.at.mono };
            let decision = Decision { moment, wall: fact.at.wall, worker: worker.clone(), what, why, supposed };
            self.by_unit.entry(unit.clone()).or_default().push(decision);
        }
    }

    fn room(&mut self) -> bool {
        let room = self.kept < KEPT;
        self.kept += usize::from(room);
        self.left_out += u64::from(!room);
        room
    }

    /// What this one did about the unit instead.
    fn instead(&self, unit: &UnitName, decision: &Decision) -> String {
        let same = self.by_unit.get(unit).into_iter().flatten().filter(|it| {
            let close = it.moment.boot == decision.moment.boot && it.moment.distance(decision.moment) <= LATER;
            it.what == decision.what && close && !it.moment.is_near(decision.moment)
        });
        let nearest = same.min_by_key(|it| it.moment.distance(decision.moment));
        let refusal = self.refusals.get(unit).into_iter().flatten().rev().find(|(at, _)| {
            let since = decision.moment.at.since(at.at);
            at.boot == decision.moment.boot && at.at <= decision.moment.at + super::NEAR && since <= LATER
        });
        match (refusal, nearest) {
            (Some((_, text)), _) => text.clone(),
            (None, Some(it)) => {
                let span = human(it.moment.distance(decision.moment));
                let when = if it.moment.at > decision.moment.at { "later" } else { "earlier" };
                format!("{} {span} {when}", it.what)
            }
            (None, None) => "nothing".into(),
        }
    }
}

/// Where they differ, in the order of time, at most `limit`; and how many there are.
pub fn differences(baseline: &Decisions, candidate: &Decisions, limit: usize) -> (Vec<Difference>, u64) {
    let mut found: Vec<(Moment, Difference)> = Vec::new();
    let none = Vec::new();
    let units: std::collections::BTreeSet<&UnitName> =
        baseline.by_unit.keys().chain(candidate.by_unit.keys()).collect();
    for unit in units {
        let (of_baseline, of_candidate) =
            (baseline.by_unit.get(unit).unwrap_or(&none), candidate.by_unit.get(unit).unwrap_or(&none));
        let (alone, other_alone) = pair(of_baseline, of_candidate);
        for decision in alone {
            let instead = candidate.instead(unit, decision);
            found.push((decision.moment, difference(unit, decision, told(decision), instead)));
        }
        for decision in other_alone {
            let instead = baseline.instead(unit, decision);
            found.push((decision.moment, difference(unit, decision, instead, told(decision))));
        }
    }
    found.sort_by(|(a, x), (b, y)| (a, &x.unit).cmp(&(b, &y.unit)));
    let all = found.len() as u64;
    (found.into_iter().take(limit).map(|(_, difference)| difference).collect(), all)
}

fn told(decision: &Decision) -> String {
    match decision.why.as_str() {
        "" => decision.what.clone(),
        why => format!("{} ({why})", decision.what),
    }
}

fn difference(unit: &UnitName, decision: &Decision, baseline: String, candidate: String) -> Difference {
    Difference {
        at: decision.wall,
        worker: decision.worker.clone(),
        unit: unit.clone(),
        decision: decision.what.clone(),
        baseline,
        candidate,
        supposed: decision.supposed,
    }
}

/// Those of each that the other has no equal for. Both are in the order of time.
fn pair<'d>(left: &'d [Decision], right: &'d [Decision]) -> (Vec<&'d Decision>, Vec<&'d Decision>) {
    let mut paired = vec![false; right.len()];
    let mut alone = Vec::new();
    let mut from = 0;
    for decision in left {
        let behind = |it: &Decision| it.moment < decision.moment && !it.moment.is_near(decision.moment);
        while right.get(from).is_some_and(behind) {
            from += 1;
        }
        let equal = (from..right.len())
            .take_while(|at| right[*at].moment <= decision.moment || right[*at].moment.is_near(decision.moment))
            .find(|at| !paired[*at] && right[*at].what == decision.what);
        match equal {
            Some(at) => paired[at] = true,
            None => alone.push(decision),
        }
    }
    let rest = right.iter().zip(&paired).filter(|(_, paired)| !**paired).map(|(decision, _)| decision);
    (alone, rest.collect())
}
