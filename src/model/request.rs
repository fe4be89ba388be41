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
    },
    /// A no: the plan goes on without it.
    Reject {
        incident: IncidentId,
        action: Action,
        #[serde(default)]
        reason: String,
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
