//! Facts as sentences for people, and as the lines of a live story.
//!
//! Renders; never decides what happened or what is to be done.

mod sentence;

pub use sentence::{coarse, count, fine, sentence};

use super::look::{Look, Tone, WIDTH_MIN, clean, columns, fit, pad, wrap};
use crate::model::fact::RestartCause;
use crate::model::{Action, Fact, Outcome, Resolution, What};

/// Columns of the worker in a story line; the sentence names the unit.
const NAME_COLUMNS: usize = 16;
/// On a terminal narrower than this the sentence gets the worker's columns.
const NAME_FROM_WIDTH: usize = 90;
/// `18:03:09.250`
const TIME_COLUMNS: usize = 12;

/// Renders facts as the lines of a live story: local time, sign, worker, sentence.
#[derive(Debug, Clone)]
pub struct Story {
    look: Look,
    every_fact: bool,
    with_worker: bool,
}

impl Story {
    /// Tells what a reader wants to know, and leaves out what other lines say already.
    pub fn new(look: Look) -> Self {
        Self { look, every_fact: false, with_worker: true }
    }

    /// Tells every fact.
    pub fn of_every_fact(look: Look) -> Self {
        Self { look, every_fact: true, with_worker: true }
    }

    /// For a story of one worker, where its column says nothing.
    pub fn without_worker(self) -> Self {
        Self { with_worker: false, ..self }
    }

    /// After a resize; `None`: do not wrap.
    pub fn set_width(&mut self, width: Option<usize>) {
        self.look.width = width;
    }

    /// The fact as one or more lines without the last line break; `None` when this story leaves it out.
    pub fn tell(&self, fact: &Fact) -> Option<String> {
        (self.every_fact || is_news(&fact.what)).then(|| self.lines(fact))
    }

    fn lines(&self, fact: &Fact) -> String {
        let look = &self.look;
        let tone = tone(&fact.what);
        let name = fact.worker.as_ref().map_or("unitmedic", |worker| worker.as_str());
        let sentence = clean(&sentence(fact));
        let time = look.dim(&look.clock(fact.at.wall));
        let sign = look.paint(tone, look.sign(tone));
        let column = |name: &str| format!("{} ", pad(name, NAME_COLUMNS));
        let name = if self.with_worker { column(name) } else { String::new() };
        let Some(width) = look.width.map(|width| width.max(WIDTH_MIN)) else {
            return format!("{time} {sign} {name}{sentence}");
        };
        let name = match width {
            ..NAME_FROM_WIDTH => String::new(),
            _ if name.is_empty() => name,
            _ => column(&fit(name.trim_end(), NAME_COLUMNS, look.unicode)),
        };
        let margin = TIME_COLUMNS + 3 + columns(&name);
        let mut out = format!("{time} {sign} {name}");
        for (i, line) in wrap(&sentence, width - margin).iter().enumerate() {
            if i > 0 {
                out.push('\n');
                out.push_str(&" ".repeat(margin));
            }
            out.push_str(&match tone {
                Tone::Good | Tone::Bad => look.paint(tone, line),
                _ => line.clone(),
            });
        }
        out
    }
}

/// What the fact means to a reader.
pub fn tone(what: &What) -> Tone {
    match what {
        What::HealthChanged { to, .. }
        | What::WorkerHealthChanged { to, .. }
        | What::InstanceAppeared { health: to } => Tone::of(*to),
        What::ConditionRaised { condition, .. } | What::ConditionJoined { condition, .. } => {
            Tone::of(condition.health())
        }
        What::IncidentOpened { condition, .. } => condition.map_or(Tone::Act, |condition| Tone::of(condition.health())),
        What::AttemptEnded { outcome, .. } => match outcome {
            Outcome::Succeeded => Tone::Good,
            Outcome::Failed => Tone::Bad,
            Outcome::Superseded | Outcome::InDoubt => Tone::Warn,
        },
        What::IncidentClosed { resolution: Resolution::Operator | Resolution::FalseAlarm, .. } => Tone::Plain,
        What::IncidentClosed { .. } | What::ConditionCleared { .. } | What::StormClosed { .. } => Tone::Good,
        What::BusLost { .. } | What::Escalated { .. } | What::IncidentReopened { .. } => Tone::Bad,
        What::IntentNotStored { .. } | What::WatchOnly { .. } | What::StormOpened { .. } => Tone::Warn,
        What::HoldChanged { held: true } => Tone::Warn,
        What::AttemptActed { action: Action::Escalate, .. } => Tone::Bad,
        What::AttemptIntended { .. } | What::AttemptActed { .. } | What::AttemptDraining { .. } => Tone::Act,
        What::Requested { .. } => Tone::Act,
        What::VerificationStarted { .. } | What::ActionSuppressed { .. } => Tone::Wait,
        What::ApprovalAsked { .. } => Tone::Wait,
        What::ApprovalAnswered { .. } => Tone::Act,
        What::ApprovalExpired { .. } => Tone::Warn,
        What::StoppedOnPurpose { .. } | What::Paused { .. } => Tone::Wait,
        What::QueueLost { .. } | What::JournalGap { .. } => Tone::Warn,
        What::ScaleWanted { .. } => Tone::Act,
        What::QueueFound { .. } => Tone::Good,
        What::AvailabilityChanged { .. } | What::Restarted { .. } | What::InstanceVanished => Tone::Plain,
        What::Started { .. } | What::Resynced { .. } | What::MarkedFalse { .. } | What::Resumed { .. } => Tone::Plain,
        What::HoldChanged { held: false } | What::SettingsChanged { .. } => Tone::Plain,
        What::StrategiesChanged { .. } => Tone::Plain,
    }
}

/// Whether the fact tells a reader something that no other line of the story says.
fn is_news(what: &What) -> bool {
    match what {
        // Conditions, attempts and the loss of the bus say the same with the reason.
        What::HealthChanged { .. } | What::IncidentOpened { .. } | What::ConditionJoined { .. } => false,
        What::AvailabilityChanged { .. } | What::AttemptIntended { .. } => false,
        // What needs an action ends with a verification.
        What::ConditionCleared { condition, .. } => !condition.health().is_sick(),
        What::IncidentClosed { resolution, attempts, .. } => *resolution != Resolution::Recovered || *attempts == 0,
        What::WorkerHealthChanged { instances, .. } => *instances > 1,
        What::InstanceAppeared { health } => health.is_sick(),
        What::Restarted { by, .. } => *by != RestartCause::Unitmedic,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
