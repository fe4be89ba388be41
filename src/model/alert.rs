//! Alerts: what a person must or may want to know. Made from incidents and the state of the host, told to Alertmanager.
//!
//! Name, worker and unit are an alert's identity; they and its severity never change while it holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, closed_set};
use super::incident::IncidentId;
use super::name::{AlertmanagerName, UnitName, WorkerName};
use super::time::Wall;

closed_set!(
    /// How much an alert matters, most first.
    Severity {
        /// The whole host, or what was given up.
        Critical = "critical",
        /// A failure of a worker marked critical, or a question.
        High = "high",
        /// A failure of another worker, or a warning.
        Medium = "medium",
        /// For information.
        Low = "low",
    }
);

closed_set!(
    /// The label `alertname`. Each has one severity for ever.
    AlertName {
        /// systemd cannot be heard: nothing is judged and nothing is done.
        HostUnseen = "UnitmedicHostUnseen",
        /// So many instances are sick at once that a shared cause is assumed.
        SharedCause = "UnitmedicSharedCause",
        /// Three crashes of ours in ten minutes: we watch and do nothing.
        ActsNoMore = "UnitmedicActsNoMore",
        /// The attempts of an incident are used up.
        RecoveryGivenUp = "UnitmedicRecoveryGivenUp",
        /// A planned action waits for an operator's yes.
        ApprovalWaiting = "UnitmedicApprovalWaiting",
        /// An instance of a worker marked critical is dead or critical.
        CriticalWorkerFailed = "UnitmedicCriticalWorkerFailed",
        /// An instance of another worker is dead or critical.
        WorkerFailed = "UnitmedicWorkerFailed",
        /// Something is wrong with an instance that does its work.
        WorkerWarning = "UnitmedicWorkerWarning",
        /// For information: an instance was brought back.
        WorkerRecovered = "UnitmedicWorkerRecovered",
        /// For information: an operator asked for an action.
        OperatorActed = "UnitmedicOperatorActed",
    }
);

impl AlertName {
    pub fn severity(self) -> Severity {
        match self {
            AlertName::HostUnseen | AlertName::SharedCause | AlertName::ActsNoMore | AlertName::RecoveryGivenUp => {
                Severity::Critical
            }
            AlertName::ApprovalWaiting | AlertName::CriticalWorkerFailed => Severity::High,
            AlertName::WorkerFailed | AlertName::WorkerWarning => Severity::Medium,
            AlertName::WorkerRecovered | AlertName::OperatorActed => Severity::Low,
        }
    }
}

/// What makes two alerts the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AlertKey {
    pub name: AlertName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
}

/// Workers of this host by health, when the alert began or last changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    #[serde(rename = "total_workers")]
    pub total: usize,
    /// Healthy or with a mere warning.
    #[serde(rename = "healthy_workers")]
    pub healthy: usize,
    /// Critical or dead.
    #[serde(rename = "critical_workers")]
    pub critical: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    #[serde(flatten)]
    pub key: AlertKey,
    pub severity: Severity,
    /// What happened, in one sentence.
    pub message: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What was done about it, oldest first, and how each ended.
    pub tried: Vec<String>,
    /// What to do now.
    pub advice: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    #[serde(flatten)]
    pub fleet: Fleet,
    /// When what it tells of began.
    pub since: Wall,
    /// When it was over, or, of information, will be.
    #[serde(default)]
    pub until: Option<Wall>,
}

/// What became of an alert since it was last told of.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It holds since now.
    Fired(Alert),
    /// It still holds, with other words; to be told when its turn comes.
    Reworded(Alert),
    /// It does not hold any more.
    Resolved(Alert),
}

impl Change {
    pub fn alert(&self) -> &Alert {
        match self {
            Change::Fired(alert) | Change::Reworded(alert) | Change::Resolved(alert) => alert,
        }
    }
}

/// How the alerts reach one Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    pub alertmanager: AlertmanagerName,
    pub url: String,
    /// Alerts that it took, and that it could not be given, since the start of the daemon.
    pub sent: u64,
    pub errors: u64,
    /// Alerts that were not sent because the queue was full or the daemon ended.
    pub dropped: u64,
    /// Alerts that wait.
    pub queued: usize,
    pub last_success: Option<Wall>,
    /// Why the last try failed; absent when it did not.
    pub last_error: Option<String>,
}

/// The answer to `unitmedic alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alerts {
    /// Most severe first.
    pub firing: Vec<Alert>,
    pub alertmanagers: Vec<Delivery>,
    /// Alerts of the past, newest first.
    pub history: Vec<Alert>,
}
