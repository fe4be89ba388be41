//! What an alert says.

use std::collections::BTreeMap;

use crate::model::alert::{Alert, AlertKey, AlertName, Fleet};
use crate::model::time::human;
use crate::model::{Action, Condition, Incident, Now, UnitName, Wall};

use super::Complaint;

/// Attempts that an alert lists, the last ones.
const TRIED_MAX: usize = 10;
/// Longest text of an alert, in characters; evidence can repeat what a worker printed.
const TEXT_MAX: usize = 500;

/// One about the host, or about something that has no incident.
pub fn without_incident(key: AlertKey, since: Wall, message: String) -> Alert {
    Alert {
        severity: key.name.severity(),
        advice: advice(&key),
        key,
        message: short(&message),
        evidence: Vec::new(),
        tried: Vec::new(),
        incident: None,
        condition: None,
        fleet: Fleet::default(),
        since,
        until: None,
    }
}

pub fn with_incident(alert: Alert, incident: &Incident) -> Alert {
    let evidence = |(condition, evidence): (&Condition, &crate::model::Evidence)| {
        short(&format!("{condition}: {}", evidence.text))
    };
    Alert {
        evidence: incident.conditions.iter().rev().map(evidence).collect(),
        tried: tried(incident),
        incident: Some(incident.id),
        condition: incident.leading(),
        ..alert
    }
}

pub(super) fn of_incident(key: AlertKey, since: Wall, incident: &Incident, complaint: Complaint) -> Alert {
    let name = worker_word(&incident.unit);
    let evidence = incident.conditions.values().next_back().map(|evidence| evidence.text.as_str());
    let because = evidence.map(|text| format!(": {text}")).unwrap_or_default();
    let message = match complaint {
        Complaint::GivenUp => format!("Worker {name} {}{because}", incident.given_up_words()),
        Complaint::Asks => {
            let action = incident.approval.as_ref().map_or("an action", |asked| asked.action.as_str());
            format!("Worker {name} waits for your yes to {action}{because}")
        }
        Complaint::Failed => format!("Worker {name} is {}{because}", incident.worst),
        Complaint::Warning => {
            let mut mild = incident.conditions.iter().filter(|(condition, _)| !condition.health().is_sick());
            match mild.next_back() {
                Some((condition, evidence)) => format!("Worker {name} has a warning ({condition}): {}", evidence.text),
                None => format!("Worker {name} has a warning{because}"),
            }
        }
    };
    with_incident(without_incident(key, since, message), incident)
}

/// Without an incident, because the plan of the worker has nothing for it.
pub(super) fn of_conditions(
    key: AlertKey,
    since: Wall,
    conditions: &BTreeMap<Condition, (Now, String)>,
    complaint: Complaint,
) -> Alert {
    let name = key.unit.as_ref().map(worker_word).unwrap_or_default();
    let what = if complaint == Complaint::Warning { "has a warning" } else { "failed, and its plan is empty" };
    let leading = conditions.iter().next_back();
    let message = leading.map(|(condition, (_, text))| format!("Worker {name} {what} ({condition}): {text}"));
    Alert {
        evidence: conditions
            .iter()
            .rev()
            .map(|(condition, (_, text))| short(&format!("{condition}: {text}")))
            .collect(),
        condition: leading.map(|(condition, _)| *condition),
        ..without_incident(key, since, message.unwrap_or_default())
    }
}

pub fn recovered(incident: &Incident) -> String {
    let name = worker_word(&incident.unit);
    let by = incident.last_attempt().map(|attempt| format!(" by {}", attempt.action)).unwrap_or_default();
    let after = incident.time_to_recover.map(|span| format!(" after {}", human(span))).unwrap_or_default();
    format!("Worker {name} was brought back{by}{after}")
}

fn tried(incident: &Incident) -> Vec<String> {
    let made = incident.attempts.iter().filter(|attempt| attempt.action != Action::Escalate);
    let line = |attempt: &crate::model::Attempt| {
        let reason = if attempt.reason.is_empty() { String::new() } else { format!(": {}", attempt.reason) };
        let how = match attempt.outcome {
            Some(outcome) => format!("{outcome}{reason}"),
            None => attempt.stage.to_string(),
        };
        short(&format!("{}. {}: {how}", attempt.number, attempt.action))
    };
    let lines: Vec<String> = made.map(line).collect();
    let skip = lines.len().saturating_sub(TRIED_MAX);
    lines.into_iter().skip(skip).collect()
}

/// What the reader does first. The commands are run on the host.
fn advice(key: &AlertKey) -> String {
    let explain = key.unit.as_ref().map(|unit| format!("unitmedic explain {unit}")).unwrap_or_default();
    match key.name {
        AlertName::HostUnseen => {
            "Nothing is judged and nothing is done until it is mended: systemctl status dbus; unitmedic status".into()
        }
        AlertName::SharedCause => {
            "Look for the cause: disk, network, broker, a deploy. What runs is left alone, what is dead is started: unitmedic status"
                .into()
        }
        AlertName::ActsNoMore => {
            "journalctl -u unitmedic -n 200 says what ended it; systemctl restart unitmedic makes it act again".into()
        }
        AlertName::ApprovalWaiting => {
            "unitmedic approve shows what would be done, why, and what happens without an answer".into()
        }
        AlertName::RecoveryGivenUp => format!("{explain}; it says what was tried, and whether and when it is tried again"),
        AlertName::CriticalWorkerFailed | AlertName::WorkerFailed => format!("{explain}: what is tried, or held back"),
        AlertName::WorkerWarning | AlertName::WorkerRecovered | AlertName::OperatorActed => explain,
    }
}

/// `mail@1` of `mail@1.service`.
fn worker_word(unit: &UnitName) -> String {
    unit.as_str().strip_suffix(".service").unwrap_or(unit.as_str()).to_owned()
}

/// Without control characters, and not longer than a reader takes.
fn short(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match clean.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}
