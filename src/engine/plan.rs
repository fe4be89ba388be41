//! Which actions an incident may use, in which order, and why.

use crate::model::action::{Plan, Step};
use crate::model::{Action, Condition, WorkerSettings};

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
        Condition::MemoryHigh => &[Action::MemoryCleanup, Action::GracefulRestart, Action::Escalate],
        Condition::ErrorRateHigh => &[Action::ConnectionReset, Action::GracefulRestart, Action::Escalate],
        Condition::BacklogHigh => &[Action::ScaleUp, Action::Escalate],
        Condition::CpuHigh | Condition::Starved | Condition::External => &[],
    }
}

/// The plan for an incident that `condition` leads.
pub fn plan(condition: Condition, instance: &Instance, settings: &WorkerSettings) -> Plan {
    let makes_sense = |action: &Action| match action {
        Action::ConnectionReset => settings.has_peers(),
        // An instance that runs is not scaled: the spare that is to be started has a plan of its own.
        Action::ScaleUp => instance.is_spare(),
        // A spare that is not started is nothing to wake anybody for.
        Action::Escalate => true,
        _ => !instance.is_spare(),
    };
    let steps = match settings.plans.get(&condition) {
        Some(order) => order.iter().map(|action| step(*action, format!("configured for {condition}"))).collect(),
        None => {
            default_order(condition).iter().map(|action| step(*action, why(*action, condition))).collect::<Vec<_>>()
        }
    };
    Plan { steps: steps.into_iter().filter(|step| makes_sense(&step.action)).collect() }
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
/// which there was nothing to do are passed over.
pub fn next_action(plan: &Plan, used: u32, idle: &[Action]) -> Option<Action> {
    let useful = |action: &Action| *action != Action::Escalate && !idle.contains(action);
    let mut acts = plan.steps.iter().map(|step| step.action).filter(useful);
    let last = plan.steps.iter().rev().map(|step| step.action).find(useful);
    acts.nth(used as usize).or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_action_is_repeated_before_escalation() {
        let plan = Plan {
            steps: vec![
                step(Action::GracefulRestart, String::new()),
                step(Action::Restart, String::new()),
                step(Action::Escalate, String::new()),
            ],
        };
        let actions: Vec<_> = (0..4).map(|used| next_action(&plan, used, &[])).collect();
        use Action::*;
        assert_eq!(actions, [Some(GracefulRestart), Some(Restart), Some(Restart), Some(Restart)]);
        let tell = Plan { steps: vec![step(Escalate, String::new())] };
        assert_eq!(next_action(&tell, 0, &[]), None);
        assert_eq!(next_action(&plan, 0, &[GracefulRestart]), Some(Restart));
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
