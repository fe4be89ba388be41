//! What an operator can ask for, and the answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::fact::Refusal;
use super::incident::IncidentId;
use super::name::{UnitName, WorkerName};
use super::strategy::Export;
use super::time::Wall;

/// A worker or one of its units, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Worker(WorkerName),
    Unit(UnitName),
}

/// A request that changes something, with who asked (from the socket's peer credentials).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Number given by the caller; the answer bears it.
    pub id: u64,
    pub who: String,
    pub ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// `worker` absent: all workers. `until` absent: until resumed.
    Pause {
        worker: Option<WorkerName>,
        until: Option<Wall>,
        reason: String,
    },
    Resume {
        worker: Option<WorkerName>,
    },
    /// A worker's instances go one by one.
    Recover {
        target: Target,
        action: Action,
        force: bool,
    },
    MarkFalse {
        incident: IncidentId,
    },
    /// A yes to the action that the incident waits to carry out. The action is named, so that nobody approves another one
    /// than the one that was shown.
    Approve {
        incident: IncidentId,
        action: Action,
        /// When the question was asked, as its card has it: then the answer is for no other one.
        #[serde(default)]
        asked: Option<Wall>,
    },
    /// A no: the plan goes on without it.
    Reject {
        incident: IncidentId,
        action: Action,
        #[serde(default)]
        reason: String,
        /// As for a yes.
        #[serde(default)]
        asked: Option<Wall>,
    },
    /// Reads the configuration files again, as `systemctl reload unitmedic` does. The daemon answers it, not the engine.
    Reload,
    /// Takes over what another host has learned.
    ImportStrategies {
        export: Export,
    },
    /// Forgets what was learned of a worker; `worker` absent: everything.
    ForgetStrategies {
        worker: Option<WorkerName>,
    },
}

/// The engine's immediate answer to a [`Request`]; fetched by [`Request::id`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Done {
        text: String,
    },
    /// The incidents that now carry the request; their facts tell the rest.
    Accepted {
        incidents: Vec<IncidentId>,
        waiting: Vec<UnitName>,
    },
    /// A gate said no.
    Refused {
        unit: UnitName,
        refusal: Refusal,
    },
    /// The request names nothing that exists; the text says what does.
    Unknown {
        text: String,
    },
}

/// Longest reason that an operator can give, in bytes.
pub const REASON_MAX: usize = 500;

impl Ask {
    /// What an operator wrote goes into journals and onto terminals. The error says what to change.
    pub fn check(&self) -> Result<(), String> {
        let (Ask::Pause { reason, .. } | Ask::Reject { reason, .. }) = self else { return Ok(()) };
        let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match reason {
            long if long.len() > REASON_MAX => {
                Err(format!("the reason has more than {REASON_MAX} bytes: make it shorter"))
            }
            odd if odd.chars().any(|c| c.is_control() || turns(c)) => {
                Err("the reason has line breaks or control characters: write it as one line of plain text".into())
            }
            _ => Ok(()),
        }
    }
}
