//! One fact, one sentence.

use std::time::Duration;

use crate::model::action::Plan;
use crate::model::approval::NoAnswer;
use crate::model::fact::{Availability, Refusal, RestartCause, ResyncReason};
use crate::model::time::human;
use crate::model::unit::was_taken_along;
use crate::model::{Action, Condition, Evidence, Fact, Outcome, Resolution, What};

/// The fact as one plain sentence that names the unit, the numbers and the reasons. No full stop, no line break
/// of its own; text from outside is passed on as it is.
pub fn sentence(fact: &Fact) -> String {
    let it = subject(fact);
    daemon(&fact.what)
        .or_else(|| health(&it, &fact.what))
        .or_else(|| incident(fact, &it))
        .or_else(|| attempt(fact, &it))
        .unwrap_or_else(|| operator(fact, &it))
}

/// A span as short as a detection delay keeps a digit after the point: `1.2 ms`, `13 ms`.
pub fn fine(span: Duration) -> String {
    match span.as_micros() {
        1000..10_000 => format!("{:.1} ms", span.as_secs_f64() * 1000.0),
        _ => human(span),
    }
}

/// A span that is read off a clock: whole seconds, to the nearest, `4 s`, `3 min 10 s`.
pub fn coarse(span: Duration) -> String {
    match span.saturating_add(Duration::from_millis(500)).as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => human(Duration::from_secs(seconds)),
    }
}

pub fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

fn subject(fact: &Fact) -> String {
    match (&fact.unit, &fact.worker) {
        (Some(unit), _) => unit.to_string(),
        (None, Some(worker)) => format!("worker {worker}"),
        (None, None) => "this host".into(),
    }
}

fn daemon(what: &What) -> Option<String> {
    Some(match what {
        What::Started { version, restored_incidents: 0 } => {
            format!("unitmedic {version} began to watch")
        }
        What::Started { version, restored_incidents } => {
            let incidents = count(*restored_incidents, "open incident");
            format!("unitmedic {version} began to watch and took up {incidents} from before")
        }
        What::BusLost { why } => {
            format!("the connection to systemd is lost: {why}; nothing is judged and nothing is done until it is back")
        }
        What::Resynced { reason, units } => {
            format!("looked at {} anew, because {}", count(*units, "unit"), resync(*reason))
        }
        What::SettingsChanged { workers, by } => {
            let by = by.as_ref().map(|who| format!("; asked by {who}")).unwrap_or_default();
            format!("new settings are in force: {}{by}", count(*workers, "worker"))
        }
        What::WatchOnly { why } => format!("unitmedic only watches and does nothing: {why}"),
        What::JournalGap { why } => format!("entries of the journal were missed, errors may be uncounted: {why}"),
        What::StrategiesChanged { by: Some(who), text } => format!("{text}; asked by {who}"),
        What::StrategiesChanged { by: None, text } => format!("learned: {text}"),
        What::HoldChanged { held: true } => "the hold file is there: unitmedic does nothing until it is removed".into(),
        What::HoldChanged { held: false } => "the hold file is gone: unitmedic acts again".into(),
        What::StormOpened { sick, instances } => {
            format!(
                "storm breaker open: {sick} of {} are sick at once, which has a shared cause; running instances are \
                 left alone, dead ones are still started",
                count(*instances, "instance")
            )
        }
        What::StormClosed { sick, instances } => {
            format!("storm breaker closed: {sick} of {} are sick", count(*instances, "instance"))
        }
        _ => return None,
    })
}

fn resync(reason: ResyncReason) -> &'static str {
    match reason {
        ResyncReason::Connected => "unitmedic has connected to systemd",
        ResyncReason::ManagerReloaded => "systemd has reloaded its units",
        ResyncReason::ManagerReexecuted => "systemd was executed anew",
        ResyncReason::UnitFilesChanged => "unit files were enabled or disabled",
        ResyncReason::QueueOverflow => "more signals came than could be kept",
        ResyncReason::SettingsChanged => "the settings have changed",
    }
}

fn health(it: &str, what: &What) -> Option<String> {
    Some(match what {
        What::InstanceAppeared { health } => format!("{it} is now watched; it is {health}"),
        What::InstanceVanished => format!("{it} is gone and no longer watched"),
        What::HealthChanged { from, to, because } => format!("{it} went from {from} to {to}: {because}"),
        What::WorkerHealthChanged { from, to, serving, instances } => {
            format!("{it} went from {from} to {to}: {serving} of {} serving", count(*instances, "instance"))
        }
        What::AvailabilityChanged { to } => match to {
            Availability::Available => format!("{it} is available"),
            Availability::Unavailable => format!("{it} is not available: too few instances serve"),
            Availability::NotCounted => format!("{it} is paused, stopped or unseen: its time does not count"),
        },
        What::ConditionRaised { condition, evidence, delay } => {
            let seen = delay.map(|delay| format!("; seen {} after it happened", fine(delay))).unwrap_or_default();
            format!("{}{seen}", symptom(it, *condition, evidence))
        }
        What::ConditionCleared { condition, held } => {
            format!("{it} is no longer {}, after {}", state(*condition), fine(*held))
        }
        What::Restarted { by, count } => restarted(it, *by, *count),
        What::QueueLost { queue, why } => format!("queue {queue} of {it} cannot be read: {why}"),
        What::QueueFound { queue } => format!("queue {queue} of {it} can be read again"),
        What::ScaleWanted { from, to, because } => {
            format!("{it} wants {} instead of {from}: {because}", count(*to, "instance"))
        }
        What::StoppedOnPurpose { why } if was_taken_along(why) => format!("{it} was stopped and is left alone: {why}"),
        What::StoppedOnPurpose { why } => format!("{it} was stopped on purpose and is left alone: {why}"),
        _ => return None,
    })
}

/// The evidence with the unit as its subject.
fn symptom(it: &str, condition: Condition, evidence: &Evidence) -> String {
    let text = &evidence.text;
    match condition {
        Condition::Dead => match text.strip_prefix("unit ").or_else(|| text.strip_prefix("it ")) {
            Some(rest) => format!("{it} {rest}"),
            None => format!("{it} is down: {text}"),
        },
        Condition::CrashLoop => format!("{it} fails again and again: {text}"),
        Condition::StartStuck => format!("{it} does not come up: {text}"),
        Condition::OomKilled => format!("{it} ran out of memory: {text}"),
        Condition::MemoryHigh => format!("{it} uses too much memory: {text}"),
        Condition::External => format!("{it} is named by an alert of others: {text}"),
        Condition::Predicted => format!("{it} is heading for trouble: {text}"),
        Condition::Unusual => format!("{it} does not behave as usual: {text}"),
        Condition::CpuHigh => format!("{it} uses much CPU: {text}"),
        Condition::Starved => format!("{it} waits for resources: {text}"),
        Condition::BacklogHigh => format!("{it} has too much work waiting: {text}"),
        Condition::ErrorRateHigh => format!("{it} logs many errors: {text}"),
        Condition::ConsumerStalled => format!("{it} consumes nothing: {text}"),
        Condition::NoConsumer => format!("{it} has lost its queue: {text}"),
        Condition::ProbeFailed => format!("{it} does not answer: {text}"),
        Condition::Hung => format!("{it} gives no sign of life: {text}"),
    }
}

fn state(condition: Condition) -> &'static str {
    match condition {
        Condition::Dead => "down",
        Condition::CrashLoop => "in a crash loop",
        Condition::StartStuck => "stuck in its start",
        Condition::OomKilled => "down for memory",
        Condition::MemoryHigh => "over its memory threshold",
        Condition::External => "named by an alert of others",
        Condition::Predicted => "heading for trouble",
        Condition::Unusual => "unlike itself",
        Condition::CpuHigh => "over its CPU threshold",
        Condition::Starved => "starved of resources",
        Condition::BacklogHigh => "behind with its work",
        Condition::ErrorRateHigh => "logging many errors",
        Condition::ConsumerStalled => "stalled",
        Condition::NoConsumer => "without its queue",
        Condition::ProbeFailed => "failing its probe",
        Condition::Hung => "without a sign of life",
    }
}

fn restarted(it: &str, by: RestartCause, count: u32) -> String {
    let by = match by {
        RestartCause::Systemd => "systemd itself (Restart=)",
        RestartCause::Unitmedic => "unitmedic",
        RestartCause::Operator => "an operator",
    };
    match count {
        1 => format!("{it} was started by {by}"),
        n => format!("{it} was started by {by}, {n} times"),
    }
}

fn incident(fact: &Fact, it: &str) -> Option<String> {
    let id = fact.incident.map(|id| format!("incident {id}")).unwrap_or_else(|| "incident".into());
    Some(match &fact.what {
        What::IncidentOpened { condition: Some(condition), evidence, plan } => {
            format!("{id} opened for {it}: {condition} ({}); {}", evidence.text, planned(plan))
        }
        What::IncidentOpened { condition: None, evidence, .. } => format!("{id} opened for {it}: {}", evidence.text),
        What::IncidentReopened { condition, attempts_used, since_closed } => {
            let why = condition.map_or("it is sick again".to_string(), |condition| format!("{condition} is back"));
            let used = count(*attempts_used as usize, "attempt");
            format!("{id} of {it} reopened: {why} {} after it was closed; {used} made already", fine(*since_closed))
        }
        What::ConditionJoined { condition, evidence, plan } => {
            format!("{id} of {it} is now also {condition} ({}); {}", evidence.text, planned(plan))
        }
        What::Escalated { next_try, text, .. } => {
            let next = match next_try {
                Some(at) => format!("next try in {}", coarse(at.since(fact.at.mono))),
                None => "no further try by itself".into(),
            };
            let text = text.strip_prefix(it).map_or(text.as_str(), str::trim_start);
            let text = text.strip_prefix("needs an operator: ").unwrap_or(text);
            format!("{it} needs an operator: {text}; {next}")
        }
        What::IncidentClosed { resolution, time_to_recover, attempts, false_alarm } => {
            let spent = match (time_to_recover, resolution) {
                (None, _) | (_, Resolution::Operator | Resolution::FalseAlarm) => String::new(),
                (Some(span), _) => format!(", well again after {}", fine(*span)),
            };
            let alarm = if *false_alarm && *resolution != Resolution::FalseAlarm { "; a false alarm" } else { "" };
            let how = resolved(*resolution, *attempts as usize);
            format!("{id} of {it} closed: {how}{spent}{alarm}")
        }
        What::MarkedFalse { who } => format!("{id} of {it} was marked as a false alarm by {who}"),
        _ => return None,
    })
}

fn planned(plan: &Plan) -> String {
    let words: Vec<&str> = plan.steps.iter().map(|step| step.action.as_str()).collect();
    match words.as_slice() {
        [] => "nothing is planned: tell only".into(),
        words => format!("plan: {}", words.join(", then ")),
    }
}

fn resolved(resolution: Resolution, attempts: usize) -> String {
    match resolution {
        Resolution::Recovered => format!("unitmedic helped, with {}", count(attempts, "attempt")),
        Resolution::SelfCleared => "it went away by itself".into(),
        Resolution::Systemd => "systemd's own restart helped".into(),
        Resolution::Operator => "an operator took over".into(),
        Resolution::Escalated => format!("well at last, after an escalation and {}", count(attempts, "attempt")),
        Resolution::FalseAlarm => "it was a false alarm".into(),
    }
}

fn attempt(fact: &Fact, it: &str) -> Option<String> {
    Some(match &fact.what {
        What::ActionSuppressed { action, refusal } => {
            format!("{action} of {it} is held back: {}", refused(refusal, fact))
        }
        What::AttemptIntended { attempt, action, reason } => {
            format!("{action} of {it} ({attempt}) is about to be done: {reason}")
        }
        What::IntentNotStored { attempt, text } => {
            format!("the intent of {attempt} for {it} could not be stored in time and was done all the same: {text}")
        }
        What::AttemptActed { attempt, action, dependents, did } => {
            let along = match dependents.as_slice() {
                [] => String::new(),
                units => format!("; along with it: {}", units.join(", ")),
            };
            if let Some(did) = did {
                return Some(format!("{action} of {it} ({attempt}): {did}{along}"));
            }
            match action {
                Action::Escalate => format!("{it} ({attempt}) was escalated{along}"),
                Action::MemoryCleanup | Action::ConnectionReset | Action::Hook(_) => {
                    format!("{action} of {it} ({attempt}) was done{along}")
                }
                _ => format!("{action} of {it} ({attempt}) was handed to systemd{along}"),
            }
        }
        What::AttemptDraining { attempt, limit } => {
            format!("{it} ({attempt}) was asked to finish its work; it has {} for that", fine(*limit))
        }
        What::VerificationStarted { attempt, verify_for } => {
            let after = attempt.map(|attempt| format!(" after {attempt}")).unwrap_or_default();
            format!("{it} is well{after}; it must stay healthy for {} to count as well", fine(*verify_for))
        }
        What::AttemptEnded { attempt, action, outcome, reason, time_to_recover, .. } => {
            let spent = time_to_recover.map(|span| format!(", well again after {}", fine(span))).unwrap_or_default();
            format!("{action} of {it} ({attempt}) {}: {reason}{spent}", ended(*outcome))
        }
        _ => return None,
    })
}

/// A refusal in words, with what would change it.
fn refused(refusal: &Refusal, fact: &Fact) -> String {
    let until = match refusal.until {
        Some(at) if at.since(fact.at.mono) < Duration::from_secs(1) => "; possible in a moment".into(),
        Some(at) => format!("; possible in {}", coarse(at.since(fact.at.mono))),
        None => String::new(),
    };
    format!("{} (gate {}){until}", refusal.text, refusal.gate)
}

fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "helped",
        Outcome::Failed => "did not help",
        Outcome::Superseded => "was called off",
        Outcome::InDoubt => "is in doubt",
    }
}

fn operator(fact: &Fact, it: &str) -> String {
    let all = || if fact.worker.is_none() { "all workers".to_string() } else { it.to_string() };
    match &fact.what {
        What::Paused { until, who, reason } => {
            let until = match until {
                Some(at) => {
                    let left = Duration::from_micros(at.0.saturating_sub(fact.at.wall.0).max(0) as u64);
                    format!("for {}", coarse(left))
                }
                None => "until resumed".into(),
            };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("{who} paused {} {until}{reason}", all())
        }
        What::Resumed { who } => format!("{who} resumed {}", all()),
        What::ApprovalAsked { action, reason, deadline, no_answer } => {
            let left = coarse(Duration::from_micros(deadline.0.saturating_sub(fact.at.wall.0).max(0) as u64));
            let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            let then = match no_answer {
                NoAnswer::Act => "it is done",
                NoAnswer::Escalate => "an operator is called",
            };
            format!("{action} of {it}{reason} waits for a yes for {left}; without an answer {then}")
        }
        What::ApprovalAnswered { who, action, approved: true, .. } => format!("{who} approved {action} of {it}"),
        What::ApprovalAnswered { who, action, approved: false, reason } => {
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("{who} rejected {action} of {it}{reason}")
        }
        What::ApprovalExpired { action, then } => {
            let then = match then {
                NoAnswer::Act => "it is done now",
                NoAnswer::Escalate => "it is not done",
            };
            format!("nobody has answered whether {action} of {it} may be done: {then}")
        }
        What::Requested { who, action, force } => {
            let force = if *force { ", past the gates (--force)" } else { "" };
            format!("{who} asked for {action} of {it}{force}")
        }
        // Every other kind has been told above; a test goes through all of them.
        other => format!("{it}: {}", other.name()),
    }
}
