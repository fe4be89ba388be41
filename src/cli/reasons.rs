//! Why a plan is in its order, and which past incidents were alike, as sentences.

use crate::model::action::{Plan, Step};
use crate::model::strategy::Similar;
use crate::model::{Action, Now, Resolution};
use crate::views::look::Look;
use crate::views::story::fine;

/// One line for each step, and one for the order; nothing where there is no choice to explain.
pub fn plan(plan: &Plan) -> Vec<String> {
    if plan.steps.iter().filter(|step| step.action != Action::Escalate).count() < 2 {
        return Vec::new();
    }
    let steps = plan.steps.iter().enumerate();
    let line = |(place, step): (usize, &Step)| {
        // The reason of the first of a learned order begins with its name.
        let name = format!("{} ", step.action);
        let reason = step.reason.strip_prefix(name.as_str()).unwrap_or(&step.reason);
        format!("{}. {}: {reason}", place + 1, step.action)
    };
    let mut lines: Vec<String> = steps.map(line).collect();
    match &plan.ranking {
        Some(ranking) if ranking.learned => {
            lines.push("The order was learned; `unitmedic strategies` shows from what.".into())
        }
        Some(ranking) if ranking.actions.len() > 1 => lines.push(format!("Order: {}.", ranking.why)),
        _ => {}
    }
    lines
}

/// `#12 of mail@1.service, yesterday 18:10 (same unit, both hung): restart helped in 4.2 s, connection_reset had not`
pub fn similar(similar: &Similar, now: Now, look: &Look) -> String {
    let past = &similar.past;
    let vain: Vec<&str> =
        past.in_vain.iter().filter(|action| past.helped != Some(**action)).map(|action| action.as_str()).collect();
    let time = past.time_to_recover.map(|span| format!(", well again after {}", fine(span))).unwrap_or_default();
    let what = match (past.helped, past.resolution, vain.is_empty()) {
        (Some(action), _, true) => format!("{action} helped{time}"),
        (Some(action), _, false) => format!("{action} helped{time}; {} had not", vain.join(" and ")),
        (None, Resolution::Systemd, _) => format!("systemd brought it back{time}"),
        (None, Resolution::Operator, _) => "an operator took over".into(),
        (None, Resolution::SelfCleared | Resolution::FalseAlarm, true) => "it went away by itself".into(),
        (None, _, true) => format!("it ended as {}{time}", past.resolution),
        (None, _, false) => format!("{} had not helped; it ended as {}{time}", vain.join(" and "), past.resolution),
    };
    format!("{} of {}, {} ({}): {what}", past.incident, past.unit, look.moment(past.at, now.wall), similar.why)
}
