//! Waiting for a yes: a planned action that an operator must approve, and the card that shows it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::condition::{Condition, Evidence, Health, closed_set};
use super::incident::IncidentId;
use super::name::{UnitName, WorkerName};
use super::time::{Mono, Wall};

closed_set!(
    /// Which planned actions of a worker wait for a yes. What an operator asks for by hand never does.
    ApprovalFor {
        /// None: it acts by itself.
        Nothing = "nothing",
        /// Those that take a running instance away for a moment, or end its process.
        Disruptive = "disruptive",
        /// All, also the start of a dead instance.
        Everything = "everything",
    }
);

closed_set!(
    /// What happens when nobody has answered by the deadline.
    NoAnswer {
        /// It is done.
        Act = "act",
        /// It is not done: an operator is called, and asked again after the pause of an escalation.
        Escalate = "escalate",
    }
);

closed_set!(
    /// How a question ended; the label `answer` of the metric.
    Verdict { Approved = "approved", Rejected = "rejected", Expired = "expired" }
);

/// A question to the operators, and the answer once there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    pub action: Action,
    /// What it would be done about. About something else it is another question.
    #[serde(default)]
    pub condition: Option<Condition>,
    /// It would start what is down. What takes a running instance away is another question.
    #[serde(default)]
    pub starts: bool,
    pub asked_at: Mono,
    pub asked_wall: Wall,
    /// Until when an answer is waited for; a yes is good until then.
    pub deadline: Mono,
    pub deadline_wall: Wall,
    /// Who said yes. One who says no ends the question.
    pub approved_by: Option<String>,
}

/// A question as operators see it, in a terminal and on the page alike: all words are made here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Card {
    pub incident: IncidentId,
    pub worker: WorkerName,
    pub unit: UnitName,
    pub health: Health,
    pub action: Action,
    /// What would be done, exactly.
    pub what: String,
    /// What was seen, worst first.
    pub why: Vec<Evidence>,
    /// Why this action comes now.
    pub reason: String,
    /// The other actions of the plan, in its order, each with why it is not this one.
    pub considered: Vec<Considered>,
    /// What happens when nobody answers.
    pub without_answer: String,
    pub asked: Wall,
    pub deadline: Wall,
    /// Time left to answer.
    pub left: Duration,
    /// A yes that has not been carried out yet waits for another gate.
    pub approved_by: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Considered {
    pub action: Action,
    /// `tried, and it did not help`, `next, if this does not help` …
    pub why_not: String,
}
