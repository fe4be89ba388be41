//! Which actions an incident may use, in which order, and why.

use crate::learn::strategies::words;
use crate::model::action::{Plan, Step};
use crate::model::strategy::Ranking;
use crate::model::{Action, Attempt, Condition, Incident, WorkerSettings};

use super::instance::{Held, Instance};

/// The default order per condition, mildest first. An empty order means: tell only.
pub fn default_order(condition: Condition) -> &'static [Action] {
    match condition {
        Condition::Dead | Condition::OomKilled | Condition::StartStuck | Condition::CrashLoop => {
            &[Action::Restart, Action::Escalate]
        }
        Condition::Hung | Condition::ConsumerStalled | Condition::NoConsumer => {
            &[Action::ConnectionReset, Action::GracefulRestart, Action::Restart, Action::Escalate]
        }
        Condition::ProbeFailed => &[Action::GracefulRestart, Action::Restart, Action::Escalate],
        Condition::MemoryHigh | Condition::Predicted => {
            &[Action::MemoryCleanup, Action::GracefulRestart, Action::Escalate]
        }
        Condition::ErrorRateHigh => &[Action::ConnectionReset, Action::GracefulRestart, Action::Escalate],
        Condition::BacklogHigh => &[Action::ScaleUp, Action::Escalate],
        Condition::CpuHigh | Condition::Starved | Condition::External | Condition::Unusual => &[],
    }
}

/// The actions that a plan may use.
pub struct Choice {
    pub actions: Vec<Action>,
    /// An operator configured the order, and it is kept.
    pub configured: bool,
}

impl Choice {
    /// The plan has these actions; where the order is configured, in this order.
    pub fn is_of(&self, plan: &Plan) -> bool {
        let has = |action: &Action| plan.steps.iter().any(|step| step.action == *action);
        match self.configured {
            true => self.actions.iter().eq(plan.steps.iter().map(|step| &step.action)),
            false => self.actions.len() == plan.steps.len() && self.actions.iter().all(has),
        }
    }
}

/// What may be done about `condition`, in the configured order or else the default one.
pub fn choice(condition: Condition, instance: &Instance, settings: &WorkerSettings) -> Choice {
    let makes_sense = |action: &Action| match action {
        Action::ConnectionReset => settings.has_peers(),
        // An instance that runs is not scaled: the spare that is to be started has a plan of its own.
        Action::ScaleUp => instance.is_spare(),
        // A spare that is not started is nothing to wake anybody for.
        Action::Escalate => true,
        _ => !instance.is_spare(),
    };
    let configured = settings.plans.get(&condition);
    let order = configured.map_or(default_order(condition), Vec::as_slice);
    let earned = |action: &Action| condition != Condition::Predicted || may_prevent(*action, instance, settings);
    let actions = order.iter().copied().filter(makes_sense).filter(earned).collect();
    Choice { actions, configured: configured.is_some() }
}

/// What a guess may do: nothing that interrupts, and nobody is woken by it, unless an operator allows it.
fn may_prevent(action: Action, instance: &Instance, settings: &WorkerSettings) -> bool {
    match action {
        Action::MemoryCleanup => instance.readings.outlook.memory_is_predicted(),
        Action::Escalate => settings.preventive,
        _ => settings.preventive || !(settings.is_disruptive(action) || action.replaces_process()),
    }
}

/// An operator may be called: for a guess only where that is allowed, and after something was tried.
pub fn may_wake(incident: &Incident) -> bool {
    let plan = &incident.plan;
    let calls = plan.steps.iter().any(|step| step.action == Action::Escalate);
    plan.condition != Some(Condition::Predicted) || calls && incident.attempts_used > 0
}

/// Attempts that the plan has. A guess tries each of its actions once, and leaves an attempt to what comes.
pub fn attempts_max(plan: &Plan, settings: &WorkerSettings) -> u32 {
    let max = settings.max_restart_attempts;
    let acts = plan.steps.iter().filter(|step| step.action != Action::Escalate).count() as u32;
    match plan.condition {
        Some(Condition::Predicted) => acts.min(max.saturating_sub(1)),
        _ => max,
    }
}

/// The plan that uses the choice, ranked where there is a ranking.
pub fn of(condition: Condition, weak: bool, choice: &Choice, ranking: Option<Ranking>) -> Plan {
    let steps = match &ranking {
        Some(ranking) if ranking.learned => learned_steps(condition, choice, ranking),
        _ if choice.configured => {
            choice.actions.iter().map(|action| step(*action, format!("configured for {condition}"))).collect()
        }
        _ => choice.actions.iter().map(|action| step(*action, why(*action, condition))).collect(),
    };
    Plan { steps, condition: Some(condition), configured: choice.configured, weak, ranking }
}

/// To tell an operator comes last, whatever was learned of the rest.
fn learned_steps(condition: Condition, choice: &Choice, ranking: &Ranking) -> Vec<Step> {
    let others = ranking.actions.iter().skip(1).map(|one| step(one.action, words(one)));
    let first = ranking.actions.first().map(|one| step(one.action, ranking.why.clone()));
    let last = choice.actions.iter().filter(|action| **action == Action::Escalate);
    first.into_iter().chain(others).chain(last.map(|action| step(*action, why(*action, condition)))).collect()
}

fn step(action: Action, reason: String) -> Step {
    Step { action, reason }
}

fn why(action: Action, condition: Condition) -> String {
    match (action, condition) {
        (Action::Restart, Condition::CrashLoop) => "after a pause, since it fails again and again".into(),
        (Action::Restart, Condition::Dead) => "it is not running: starting it is the mildest that can help".into(),
        (Action::Restart, _) => "the mildest that can help here".into(),
        (Action::MemoryCleanup, _) => "takes back what it does not use, and interrupts nothing".into(),
        (Action::ConnectionReset, _) => "a connection that is dead on one side only is mended by a new one".into(),
        (Action::ScaleUp, _) => "more instances share the work".into(),
        (Action::ScaleDown, _) => "it is not needed any more".into(),
        (Action::Hook(_), _) => "the operator's own command".into(),
        (Action::GracefulRestart, _) => "frees what it holds, and lets it finish its work first".into(),
        (Action::Escalate, _) => "when the attempts are used up, an operator must look".into(),
    }
}

/// Whether the condition asks for any action at all.
pub fn needs_attention(condition: Condition, held: &Held, settings: &WorkerSettings) -> bool {
    !held.tell_only
        && match settings.plans.get(&condition) {
            Some(order) => !order.is_empty(),
            None => !default_order(condition).is_empty(),
        }
}

/// The action for the next attempt when `used` attempts have been made; `None`: only escalation is left. Actions for
/// which there was nothing to do, or to which an operator said no, are passed over.
pub fn next_action(plan: &Plan, used: u32, passed_over: impl Fn(Action) -> bool, tried: &[Attempt]) -> Option<Action> {
    let useful = |action: &Action| *action != Action::Escalate && !passed_over(*action);
    let mut acts = plan.steps.iter().map(|step| step.action).filter(useful);
    if plan.configured {
        let last = plan.steps.iter().rev().map(|step| step.action).find(useful);
        return acts.nth(used as usize).or(last);
    }
    // The plan may be another one than when the first was tried. When all are used up, the strongest is repeated.
    let untried = |action: &Action| !tried.iter().any(|one| one.action == *action && one.acted_at.is_some());
    acts.clone().find(untried).or_else(|| acts.max())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(actions: &[Action], configured: bool) -> Plan {
        Plan {
            steps: actions.iter().map(|action| step(*action, String::new())).collect(),
            configured,
            ..Plan::default()
        }
    }

    fn tried(actions: &[Action]) -> Vec<Attempt> {
        let now = crate::model::Now::default();
        let one =
            |action: &Action| Attempt { acted_at: Some(now.mono), ..Attempt::intended(1, *action, String::new(), now) };
        actions.iter().map(one).collect()
    }

    #[test]
    fn what_was_not_tried_comes_next_and_then_the_strongest_again() {
        use Action::*;
        let plan = plan_of(&[GracefulRestart, Restart, Escalate], false);
        assert_eq!(next_action(&plan, 0, |_| false, &[]), Some(GracefulRestart));
        assert_eq!(next_action(&plan, 1, |_| false, &tried(&[GracefulRestart])), Some(Restart));
        assert_eq!(next_action(&plan, 2, |_| false, &tried(&[GracefulRestart, Restart])), Some(Restart));
        assert_eq!(
            next_action(&plan, 1, |_| false, &tried(&[ConnectionReset])),
            Some(GracefulRestart),
            "another plan before"
        );
        assert_eq!(next_action(&plan, 0, |a| a == GracefulRestart, &[]), Some(Restart));
        let learned = plan_of(&[Restart, ConnectionReset, Escalate], false);
        assert_eq!(next_action(&learned, 2, |_| false, &tried(&[Restart, ConnectionReset])), Some(Restart));
        assert_eq!(next_action(&plan_of(&[Escalate], false), 0, |_| false, &[]), None);
    }

    #[test]
    fn a_configured_order_is_followed_to_the_letter() {
        use Action::*;
        let plan = plan_of(&[Restart, Restart, ConnectionReset], true);
        let actions: Vec<_> = (0..4).map(|used| next_action(&plan, used, |_| false, &tried(&[Restart]))).collect();
        assert_eq!(actions, [Some(Restart), Some(Restart), Some(ConnectionReset), Some(ConnectionReset)]);
    }

    #[test]
    fn the_documented_orders_are_the_default_orders() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conditions.md");
        let text = std::fs::read_to_string(path).unwrap();
        for condition in Condition::ALL {
            let lead = format!("| [`{condition}`]");
            let row = text.lines().find(|line| line.starts_with(&lead)).unwrap_or_else(|| panic!("no row: {lead}"));
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells[2].split(',').next(), Some(condition.health().as_str()), "{condition}");
            let named: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
            let order: Vec<String> =
                default_order(*condition).iter().map(|action| action.as_str().to_string()).collect();
            match order.is_empty() {
                true => assert!(cells[3].starts_with("none"), "{condition}: {}", cells[3]),
                false => assert_eq!(named, order, "{condition}"),
            }
        }
    }
}
