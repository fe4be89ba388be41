//! The time line of a run in short lines, and its hash.

use std::collections::VecDeque;
use std::fmt::Write;

use unitmedic::model::fact::What;
use unitmedic::model::{Cause, Command, Fact, Input, UnitChange};

use crate::host::SEC;

pub struct Transcript {
    lines: VecDeque<String>,
    keep: usize,
    pub hash: u64,
    pub count: u64,
}

impl Transcript {
    pub fn new(keep: usize) -> Self {
        Self { lines: VecDeque::new(), keep, hash: 0xcbf2_9ce4_8422_2325, count: 0 }
    }

    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }

    pub fn note(&mut self, now: u64, text: impl FnOnce() -> String) {
        let line = format!("{:>12} {}", clock(now), text());
        for byte in line.bytes() {
            // FNV-1a.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if self.lines.len() >= self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn input(&mut self, now: u64, input: &Input) {
        if let Input::Usage { samples, .. } = input {
            let n = samples.len();
            return self.note(now, || format!("<- usage of {n}"));
        }
        self.note(now, || format!("<- {}", input_text(input)));
    }

    pub fn command(&mut self, now: u64, command: &Command) {
        match command {
            Command::Tell(fact) => self.note(now, || format!("     {}", fact_text(fact))),
            Command::Save(_) | Command::Keep(_) | Command::Learned(_) => {}
            Command::Record(intent) => {
                self.note(now, || format!("-> record {} {} {}", intent.attempt, intent.unit, intent.action))
            }
            Command::Act(order) => {
                self.note(now, || format!("-> act {} {} {:?}", order.attempt, order.unit, order.verb))
            }
            Command::Look { unit } => self.note(now, || format!("-> look {unit}")),
            Command::Inquire { unit } => self.note(now, || format!("-> inquire {unit}")),
            Command::Reply { reply, .. } => self.note(now, || format!("-> reply {}", crate::driver::reply_text(reply))),
        }
    }
}

pub fn clock(now: u64) -> String {
    let seconds = now / SEC;
    format!("{}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, now / 1000 % 1000)
}

pub fn input_text(input: &Input) -> String {
    match input {
        Input::BusLost { .. } => "bus lost".into(),
        Input::Snapshot(snapshot) => {
            let mut text = format!("snapshot {}", snapshot.reason);
            for (unit, change) in &snapshot.units {
                let state = change.active.map_or("?", |active| active.as_str());
                let _ = write!(text, " {}={state}", unit.as_str().trim_end_matches(".service"));
            }
            text
        }
        Input::Unit { unit, change } => format!("{unit} {}", change_text(change)),
        Input::Unloaded { unit } => format!("{unit} unloaded"),
        Input::JobNew { unit, job } => format!("{unit} job {job} new"),
        Input::JobKind { unit, job, kind } => format!("{unit} job {job} is {kind}"),
        Input::JobRemoved { unit, job, result } => format!("{unit} job {job} removed: {result}"),
        Input::Manager { state } => format!("systemd is {state}"),
        Input::Usage { samples, .. } => format!("usage of {}", samples.len()),
        Input::Beats { beats } => format!("beats of {}", beats.len()),
        Input::Queues { readings } => format!("queues {readings:?}"),
        Input::Errors(counts) => format!("errors {:?}", counts.counts),
        Input::Habits { known } => format!("habits of {}", known.len()),
        Input::Hours { ahead } => format!("hours ahead {:?}", ahead.iter().map(|one| &one.unit).collect::<Vec<_>>()),
        Input::Patterns { seen } => format!("patterns {:?}", seen.iter().map(|one| &one.template).collect::<Vec<_>>()),
        Input::External { alerts } => format!("alerts of others {alerts:?}"),
        Input::Probes { readings } => format!("probes {readings:?}"),
        Input::Inquired { unit, finding } => format!("{unit} inquired: stop job {:?}", finding.stop_job),
        Input::Recorded { attempt, how } => {
            let how = format!("{how:?}");
            format!("recorded {attempt} {}", how.split_whitespace().next().unwrap_or_default())
        }
        Input::Acted { attempt, answer } => format!("acted {attempt} {answer:?}"),
        Input::Hold { held } => format!("hold {held}"),
        Input::Request(request) => format!("request {:?}", request.ask),
        Input::Reload { .. } => "new settings".into(),
    }
}

fn change_text(change: &UnitChange) -> String {
    let mut text = String::new();
    macro_rules! show { ($($field:ident),+) => { $(if let Some(value) = &change.$field {
        let _ = write!(text, "{}={value} ", stringify!($field));
    })+ } }
    show!(load, active, sub, result, n_restarts, job);
    if let Some(invocation) = change.invocation {
        let _ = write!(text, "invocation={} ", invocation.0 >> 64);
    }
    if let Some(code) = change.exec_code.filter(|code| *code != 0) {
        let _ = write!(text, "ended={code}/{} ", change.exec_status.unwrap_or(-1));
    }
    text
}

pub fn fact_text(fact: &Fact) -> String {
    let mut text = String::new();
    if let Cause::Timer(wake) = fact.cause {
        let _ = write!(text, "[{wake:?}] ");
    }
    if let Some(incident) = fact.incident {
        let _ = write!(text, "{incident} ");
    }
    match (&fact.unit, &fact.worker) {
        (Some(unit), _) => text.push_str(unit.as_str()),
        (None, Some(worker)) => text.push_str(worker.as_str()),
        (None, None) => {}
    }
    let _ = write!(text, " {}", fact.what.name());
    let _ = match &fact.what {
        What::HealthChanged { from, to, because } => write!(text, " {from} -> {to}: {because}"),
        What::WorkerHealthChanged { from, to, .. } => write!(text, " {from} -> {to}"),
        What::ConditionRaised { condition, evidence, .. } => write!(text, " {condition}: {}", evidence.text),
        What::ConditionCleared { condition, .. } => write!(text, " {condition}"),
        What::ConditionJoined { condition, .. } => write!(text, " {condition}"),
        What::Restarted { by, count } => write!(text, " by {by} x{count}"),
        What::StoppedOnPurpose { why } => write!(text, ": {why}"),
        What::IncidentOpened { evidence, .. } => write!(text, ": {}", evidence.text),
        What::IncidentReopened { attempts_used, .. } => write!(text, ", {attempts_used} attempts used"),
        What::ActionSuppressed { action, refusal } => write!(text, " {action}: {}: {}", refusal.gate, refusal.text),
        What::AttemptIntended { attempt, action, .. } => write!(text, " {attempt} {action}"),
        What::AttemptActed { attempt, action, .. } => write!(text, " {attempt} {action}"),
        What::VerificationStarted { .. } => Ok(()),
        What::AttemptEnded { attempt, outcome, reason, time_to_recover, .. } => {
            let taken = time_to_recover.map(unitmedic::model::time::human).unwrap_or_default();
            write!(text, " {attempt} {outcome} {taken}: {reason}")
        }
        What::ApprovalAsked { action, no_answer, .. } => write!(text, " {action}, else {no_answer}"),
        What::ApprovalAnswered { action, approved, .. } => write!(text, " {action} approved={approved}"),
        What::ApprovalExpired { action, then } => write!(text, " {action}: {then}"),
        What::Escalated { text: why, .. } => write!(text, ": {why}"),
        What::IncidentClosed { resolution, attempts, .. } => write!(text, " {resolution} after {attempts} attempts"),
        What::Requested { action, force, .. } => write!(text, " {action} force={force}"),
        What::AvailabilityChanged { to } => write!(text, " {to}"),
        _ => Ok(()),
    };
    text
}
