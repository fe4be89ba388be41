//! What can be done to an instance, and the narrow words in which it is asked of the root side.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::closed_set;
use super::incident::{AttemptId, IncidentId};
use super::name::UnitName;
use super::unit::InvocationId;

closed_set!(
    /// Actions in the order of harm, mildest first.
    Action {
        GracefulRestart = "graceful_restart",
        Restart = "restart",
        /// Tell an operator, keep the incident open, go on at low frequency. Touches nothing.
        Escalate = "escalate",
    }
);

impl Action {
    /// Takes a running instance away for a moment.
    pub fn is_disruptive(self) -> bool {
        matches!(self, Action::GracefulRestart | Action::Restart)
    }
}

/// The ordered actions that an incident may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub action: Action,
    /// Why it stands at this place.
    pub reason: String,
}

/// The only things that the root side can be asked to do to a unit. One word each; no unit is ever a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// StartUnit, mode `fail`; after ResetFailedUnit when the start limit was hit.
    Start { reset_failed: bool },
    /// TryRestartUnit, mode `fail`: leaves a unit that is down where it is.
    TryRestart,
    /// KillUnit with the drain signal to the main process, if it is still in the given activation.
    Drain { signal: i32, invocation: InvocationId },
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Start { .. } => "start",
            Verb::TryRestart => "try-restart",
            Verb::Drain { .. } => "drain",
        }
    }
}

/// One act, asked for after its intent has been recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub attempt: AttemptId,
    pub unit: UnitName,
    pub verb: Verb,
}

/// What is written down before an act, so that after a crash of ours it is known to be in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub attempt: AttemptId,
    pub incident: IncidentId,
    pub unit: UnitName,
    pub action: Action,
    /// Wall time, for people.
    pub at: super::time::Wall,
}

/// Answer of the root side to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// systemd took the job (or, for a signal, delivered it).
    Accepted { job: Option<u32> },
    /// Somebody else's job, the hold file, or a check said no: a gate's answer, not an attempt.
    Refused { why: Refused, text: String },
    /// The call failed or had no answer in time. It may have happened.
    Failed { text: String },
}

closed_set!(
    /// Why the root side refused.
    Refused {
        Hold = "hold",
        JobInFlight = "job_in_flight",
        NoSuchUnit = "no_such_unit",
        NotAllowed = "not_allowed",
        Superseded = "superseded",
    }
);

/// Limit of one call to the root side. systemd answers in microseconds; a manager that hangs must not hang us.
pub const ACT_TIMEOUT: Duration = Duration::from_secs(10);
