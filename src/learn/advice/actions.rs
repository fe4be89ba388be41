//! Actions that never help, and learned orders that have settled.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::learn::strategies::words;
use crate::model::advice::{Confidence, Proposal, ProposalKind};
use crate::model::strategy::Strategy;
use crate::model::time::human;
use crate::model::{Action, Condition, Incident, Outcome};

use super::change::Change;
use super::odds::bounds;
use super::{Of, Said, named};

/// An action is given up when it helps less often than this, by 95 %: never in 16 tries, say.
const USELESS: f64 = 0.2;
/// Something else must have helped so often: what fails where everything fails is not to blame.
const OTHERS_HELPED_MIN: usize = 3;
/// Tries of the first of an order that has settled.
const SETTLED_TRIES: u64 = 10;
/// It helps more often than this, by 95 %.
const SETTLED_CHANCE: f64 = 0.6;
/// The next best costs so many times as much.
const SETTLED_BETTER: u32 = 2;
/// The last so many plans began with it.
const SETTLED_PLANS: usize = 8;

/// What came of an action for a condition.
#[derive(Default)]
struct Tried<'p> {
    helped: usize,
    failed: usize,
    /// Time that was lost by those that failed.
    lost: Duration,
    incidents: Vec<&'p Incident>,
}

/// Only what was meant to cure, and what was not overtaken by something else.
fn tried<'p>(of: &Of<'p>) -> BTreeMap<Condition, BTreeMap<Action, Tried<'p>>> {
    let mut all: BTreeMap<Condition, BTreeMap<Action, Tried<'p>>> = BTreeMap::new();
    for incident in of.sick() {
        for attempt in incident.attempts_made() {
            let Some(condition) = attempt.condition else { continue };
            let one = all.entry(condition).or_default().entry(attempt.action).or_default();
            match attempt.outcome {
                Some(Outcome::Succeeded) => one.helped += 1,
                Some(Outcome::Failed) => {
                    one.failed += 1;
                    one.lost += attempt.ended_at.unwrap_or(attempt.intended_at).since(attempt.intended_at);
                }
                _ => continue,
            }
            one.incidents.push(incident);
        }
    }
    all
}

pub fn useless(of: &Of<'_>) -> Vec<Proposal> {
    tried(of).iter().filter_map(|(condition, actions)| without(of, *condition, actions)).collect()
}

/// All that do not help leave the plan at once.
fn without(of: &Of<'_>, condition: Condition, actions: &BTreeMap<Action, Tried<'_>>) -> Option<Proposal> {
    let is_useless = |one: &Tried<'_>| bounds(one.helped, one.helped + one.failed).1 <= USELESS;
    let present = present_order(of, condition)?;
    // What is not in the plan any more needs no advice.
    let useless: BTreeMap<&Action, &Tried<'_>> =
        actions.iter().filter(|(action, one)| is_useless(one) && present.contains(action)).collect();
    let others: usize = actions.values().filter(|one| !is_useless(one)).map(|one| one.helped).sum();
    let order: Vec<Action> = present.iter().copied().filter(|action| !useless.contains_key(action)).collect();
    let acts = order.iter().any(|action| *action != Action::Escalate);
    if useless.is_empty() || others < OTHERS_HELPED_MIN || !acts {
        return None;
    }
    let mut evidence: Vec<String> =
        useless.iter().map(|(action, one)| sentence(of, condition, **action, one)).collect();
    evidence.push(format!("other actions helped {others} times"));
    let lost: Duration = useless.values().map(|one| one.lost).sum();
    let failed: usize = useless.values().map(|one| one.failed).sum();
    let names: Vec<String> = useless.keys().map(ToString::to_string).collect();
    let verb = if names.len() == 1 { "does" } else { "do" };
    let change = Change::of(of.name()).plan(condition, order);
    let confidence = if useless.values().all(|one| one.helped == 0) { Confidence::Sure } else { Confidence::Likely };
    let said = Said {
        title: format!("{} {verb} not help {} against {condition}", names.join(" and "), of.name()),
        evidence,
        gain: format!(
            "{} less for each try (mean); an order that is set is kept as it stands, and not learned any more",
            human(lost / failed.max(1) as u32)
        ),
    };
    Some(of.proposal(ProposalKind::UselessAction, said, &change, confidence))
}

fn sentence(of: &Of<'_>, condition: Condition, action: Action, one: &Tried<'_>) -> String {
    let tries = one.helped + one.failed;
    let helped = match one.helped {
        0 => "none".to_string(),
        helped => helped.to_string(),
    };
    let ids = named(one.incidents.iter().copied());
    format!("{action} helped in {helped} of {tries} tries for {condition} in {}: {ids}", of.span())
}

/// As configured, else as the latest incident had it.
fn present_order(of: &Of<'_>, condition: Condition) -> Option<Vec<Action>> {
    let configured = of.settings.plans.get(&condition).cloned();
    configured.or_else(|| {
        let plan = &plans(of, condition).last()?.plan;
        Some(plan.steps.iter().map(|step| step.action).collect())
    })
}

fn plans<'p>(of: &Of<'p>, condition: Condition) -> Vec<&'p Incident> {
    of.sick().filter(|one| one.plan.condition == Some(condition)).collect()
}

/// A learned order that is much better than the next best, and has been the same for long.
pub fn settled(of: &Of<'_>) -> Vec<Proposal> {
    let whole = |one: &&Strategy| one.case.worker.as_ref() == Some(of.name()) && one.case.pattern.is_none();
    of.past.strategies.iter().filter(whole).filter_map(|strategy| settle(of, strategy)).collect()
}

fn settle(of: &Of<'_>, strategy: &Strategy) -> Option<Proposal> {
    let condition = strategy.case.condition;
    let [first, second, ..] = strategy.ranking.actions.as_slice() else { return None };
    let better = first.tries >= SETTLED_TRIES
        && first.low >= SETTLED_CHANCE
        && second.cost >= first.cost * SETTLED_BETTER
        && strategy.ranking.learned
        && !of.settings.plans.contains_key(&condition);
    if !better {
        return None;
    }
    let mut lately = plans(of, condition);
    let lately = lately.split_off(lately.len().checked_sub(SETTLED_PLANS)?);
    let began = |one: &Incident| {
        one.plan.is_learned() && one.plan.steps.first().is_some_and(|step| step.action == first.action)
    };
    if !lately.iter().all(|one| began(one)) {
        return None;
    }
    let order: Vec<Action> = lately.last()?.plan.steps.iter().map(|step| step.action).collect();
    let change = Change::of(of.name()).plan(condition, order);
    let confidence = Confidence::Likely;
    let said = Said {
        title: format!("the learned order of {} for {condition} has settled, and may be fixed", of.name()),
        evidence: vec![
            format!("{} {}; {} {}", first.action, words(first), second.action, words(second)),
            format!("the last {SETTLED_PLANS} plans began with it: {}", named(lately)),
        ],
        gain: "nothing else is tried first any more to learn more of it; a change of what helps is not noticed either"
            .into(),
    };
    Some(of.proposal(ProposalKind::SettledOrder, said, &change, confidence))
}
