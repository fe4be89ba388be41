//! Facts as log entries with structured fields, and where log lines go.
//!
//! Under systemd the entries go to the journal by its own protocol, so that `journalctl UNITMEDIC_UNIT=mail.service`
//! finds what happened to a unit; else they are lines on stderr. Sending an entry can wait for journald: do not
//! log facts from the event loop.

use std::io::{self, IsTerminal};

use rustix::fs::fstat;
use tracing::Level;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

use super::story;
use crate::model::{Action, Fact, Outcome, What};

mod line;
mod message_id;

pub use message_id::{MESSAGE_IDS, message_id};

/// The target of facts, to tell them from other log lines.
const FACTS: &str = "unitmedic::fact";
/// Variables that set the filter, the first that is set wins; syntax of tracing-subscriber's EnvFilter.
const FILTER_VARIABLES: [&str; 2] = ["UNITMEDIC_LOG", "RUST_LOG"];

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTarget {
    /// To the journal where stderr leads there, else to stderr.
    Auto,
    /// To stderr, whatever it is.
    Stderr,
    /// To stderr, without facts: they are shown as the live story there.
    StderrWithoutFacts,
}

type Sink = Box<dyn Layer<Registry> + Send + Sync>;

/// Sets up logging for the process; to be called once, from the top. A second call changes nothing.
///
/// `level` holds for unitmedic where no variable sets a filter; libraries are heard from `warn` on.
pub fn init(target: LogTarget, level: LevelFilter) {
    let (filter, bad_filter) = filter(level, |name| std::env::var(name).ok());
    let (sinks, no_journal) = sinks(target);
    if tracing_subscriber::registry().with(sinks).with(filter).try_init().is_err() {
        return;
    }
    if let Some(complaint) = bad_filter {
        tracing::warn!("{complaint}");
    }
    if let Some(error) = no_journal {
        tracing::warn!(%error, "stderr leads to the journal, but its socket cannot be used; log lines have no fields");
    }
}

/// Writes one log entry for the fact. May wait for journald.
pub fn log_fact(fact: &Fact) {
    let level = level_of(&fact.what);
    // Not worth a sentence when nobody hears it.
    if level > LevelFilter::current() {
        return;
    }
    let sentence = story::sentence(fact);
    let incident = fact.incident.map(|id| id.0);
    let worker = fact.worker.as_ref().map(|name| name.as_str());
    let unit = fact.unit.as_ref().map(|name| name.as_str());
    let action = action_of(&fact.what);
    macro_rules! write_entry {
        ($level:expr) => {
            tracing::event!(
                target: "unitmedic::fact",
                $level,
                message = sentence.as_str(),
                UNITMEDIC_EVENT = fact.what.name(),
                UNITMEDIC_WORKER = worker,
                UNITMEDIC_UNIT = unit,
                UNITMEDIC_INCIDENT = incident,
                UNITMEDIC_ACTION = action.as_ref().map(Action::as_str),
                MESSAGE_ID = message_id(&fact.what),
            )
        };
    }
    // The level of an event is part of its call site.
    match level {
        Level::ERROR => write_entry!(Level::ERROR),
        Level::WARN => write_entry!(Level::WARN),
        Level::INFO => write_entry!(Level::INFO),
        _ => write_entry!(Level::DEBUG),
    }
}

/// Who should hear of it: error wakes an operator now, warn is read in the morning, info is the story, debug is
/// for us.
fn level_of(what: &What) -> Level {
    match what {
        What::Escalated { .. } | What::WatchOnly { .. } => Level::ERROR,
        What::IncidentOpened { condition, .. } | What::IncidentReopened { condition, .. }
            if condition.is_some_and(|condition| condition.health().is_sick()) =>
        {
            Level::WARN
        }
        What::AttemptEnded { outcome: Outcome::Failed | Outcome::InDoubt, .. } => Level::WARN,
        What::HoldChanged { held: true } => Level::WARN,
        What::ApprovalAsked { .. } | What::ApprovalExpired { .. } => Level::WARN,
        What::QueueLost { .. } | What::JournalGap { .. } => Level::WARN,
        What::BusLost { .. } | What::StormOpened { .. } | What::IntentNotStored { .. } => Level::WARN,
        What::Resynced { .. }
        | What::InstanceAppeared { .. }
        | What::InstanceVanished
        | What::HealthChanged { .. }
        | What::AvailabilityChanged { .. }
        | What::AttemptDraining { .. } => Level::DEBUG,
        What::Started { .. }
        | What::WorkerHealthChanged { .. }
        | What::ConditionRaised { .. }
        | What::ConditionCleared { .. }
        | What::Restarted { .. }
        | What::StoppedOnPurpose { .. }
        | What::IncidentOpened { .. }
        | What::IncidentReopened { .. }
        | What::ConditionJoined { .. }
        | What::ActionSuppressed { .. }
        | What::AttemptIntended { .. }
        | What::AttemptActed { .. }
        | What::VerificationStarted { .. }
        | What::AttemptEnded { .. }
        | What::IncidentClosed { .. }
        | What::MarkedFalse { .. }
        | What::ApprovalAnswered { .. }
        | What::StrategiesChanged { .. }
        | What::Paused { .. }
        | What::Resumed { .. }
        | What::HoldChanged { .. }
        | What::StormClosed { .. }
        | What::Requested { .. }
        | What::SettingsChanged { .. }
        | What::QueueFound { .. }
        | What::ScaleWanted { .. } => Level::INFO,
    }
}

fn action_of(what: &What) -> Option<Action> {
    match what {
        What::ActionSuppressed { action, .. }
        | What::AttemptIntended { action, .. }
        | What::AttemptActed { action, .. }
        | What::AttemptEnded { action, .. }
        | What::ApprovalAsked { action, .. }
        | What::ApprovalAnswered { action, .. }
        | What::ApprovalExpired { action, .. }
        | What::Requested { action, .. } => Some(*action),
        What::Escalated { .. } => Some(Action::Escalate),
        _ => None,
    }
}

/// The filter that a variable sets, or the default one; with a complaint about a variable that makes no sense.
fn filter(level: LevelFilter, variable: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let default = || quiet(EnvFilter::new(format!("warn,unitmedic={level}")));
    let set = FILTER_VARIABLES.into_iter().find_map(|name| Some((name, variable(name).filter(|v| !v.is_empty())?)));
    let Some((name, text)) = set else { return (default(), None) };
    match EnvFilter::builder().parse(&text) {
        Ok(filter) => (quiet(filter), None),
        Err(error) => (default(), Some(format!("{name}={text:?} is not a log filter and is ignored: {error}"))),
    }
}

/// lapin calls each failed attempt an error, and shows frames with a password in them when it traces. The adapter tells
/// what is worth telling.
fn quiet(filter: EnvFilter) -> EnvFilter {
    match "lapin=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// The layers that write, and why the journal is not among them although it should be.
fn sinks(target: LogTarget) -> (Vec<Sink>, Option<io::Error>) {
    if target != LogTarget::Auto || !stderr_is_journal() {
        return (vec![terminal(target != LogTarget::StderrWithoutFacts)], None);
    }
    match journal_facts() {
        Ok(facts) => (vec![facts, journal_stream(false)], None),
        Err(error) => (vec![journal_stream(true)], Some(error)),
    }
}

/// Facts by journald's own protocol, with the exact names of their fields.
fn journal_facts() -> io::Result<Sink> {
    let layer = tracing_journald::layer()?
        .with_syslog_identifier("unitmedic".into())
        .with_priority_mappings(priorities())
        .with_field_prefix(None);
    Ok(Box::new(layer.with_filter(filter_fn(|line| line.target() == FACTS))))
}

/// All other lines through stderr: there `error=…` is part of the text that `journalctl` shows, while as a field it
/// would be seen only by those who ask for it.
fn journal_stream(facts: bool) -> Sink {
    let layer = tracing_subscriber::fmt::layer()
        .event_format(line::Prefixed)
        .fmt_fields(line::Fields)
        .with_ansi(false)
        .with_writer(io::stderr);
    Box::new(layer.with_filter(filter_fn(move |line| facts || line.target() != FACTS)))
}

fn terminal(facts: bool) -> Sink {
    let layer = tracing_subscriber::fmt::layer()
        .compact()
        .fmt_fields(line::Fields)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_writer(io::stderr);
    Box::new(layer.with_filter(filter_fn(move |line| facts || line.target() != FACTS)))
}

/// Syslog's own meaning of the levels; the layer's default shifts info to notice.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    }
}

/// systemd names device and inode of the stream that it connected to the journal; a redirected stderr has others.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| names_stream(&stream, stat.st_dev, stat.st_ino))
}

fn names_stream(stream: &str, device: u64, inode: u64) -> bool {
    let parse = |text: &str| text.parse::<u64>().ok();
    stream.split_once(':').is_some_and(|(dev, ino)| parse(dev) == Some(device) && parse(ino) == Some(inode))
}

#[cfg(test)]
mod tests;
