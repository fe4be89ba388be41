//! Facts: what happened. History, metrics, alerts, log entries and the live story are views of them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Plan};
use super::approval::NoAnswer;
use super::condition::{Condition, Evidence, Health, closed_set};
use super::incident::{AttemptId, IncidentId, Outcome, Resolution};
use super::input::Wake;
use super::name::{UnitName, WorkerName};
use super::time::{Mono, Now};

/// One thing that happened, and what made it happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Grows by one; unique within one run of the daemon.
    pub seq: u64,
    pub at: Now,
    pub cause: Cause,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    pub what: What,
}

/// The input or the timer in whose handling the fact arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The n-th input since the start of the daemon.
    Input(u64),
    Timer(Wake),
    /// What was restored when the daemon started.
    Start,
}

closed_set!(
    /// Why all units were looked at anew.
    ResyncReason {
        Connected = "connected",
        ManagerReloaded = "manager_reloaded",
        ManagerReexecuted = "manager_reexecuted",
        UnitFilesChanged = "unit_files_changed",
        QueueOverflow = "queue_overflow",
        SettingsChanged = "settings_changed",
    }
);

closed_set!(
    /// Who started or restarted an instance.
    RestartCause { Systemd = "systemd", Unitmedic = "unitmedic", Operator = "operator" }
);

closed_set!(
    /// The gates, in the order in which they are asked; the label `reason` of suppressed recoveries.
    Gate {
        WatchOnly = "watch_only",
        Unknown = "unknown",
        SystemState = "system_state",
        Hold = "hold",
        Maintenance = "maintenance",
        DryRun = "dry_run",
        Stopped = "stopped",
        JobInFlight = "job_in_flight",
        AutoRestart = "auto_restart",
        Cooldown = "cooldown",
        Attempts = "attempts",
        Persistence = "persistence",
        QuietHours = "quiet_hours",
        Downtime = "downtime",
        MinInstances = "min_instances",
        Storm = "storm",
        Approval = "approval",
        Concurrency = "concurrency",
    }
);

/// A gate that says no: not before `until`, or not until something changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    pub gate: Gate,
    /// In words, with the numbers.
    pub text: String,
    pub until: Option<Mono>,
    /// The setting that made it so, by its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
}

closed_set!(
    /// Whether a worker's time counts, and how.
    Availability { Available = "available", Unavailable = "unavailable", NotCounted = "not_counted" }
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The daemon began to watch.
    Started {
        version: String,
        restored_incidents: usize,
    },
    BusLost {
        why: String,
    },
    Resynced {
        reason: ResyncReason,
        units: usize,
    },
    InstanceAppeared {
        health: Health,
    },
    InstanceVanished,
    HealthChanged {
        from: Health,
        to: Health,
        because: String,
    },
    WorkerHealthChanged {
        from: Health,
        to: Health,
        serving: usize,
        instances: usize,
    },
    AvailabilityChanged {
        to: Availability,
    },
    /// `delay` runs from the failure, by systemd's timestamp, to our seeing it.
    ConditionRaised {
        condition: Condition,
        evidence: Evidence,
        delay: Option<Duration>,
    },
    ConditionCleared {
        condition: Condition,
        held: Duration,
    },
    /// The instance was started or restarted, by whom.
    Restarted {
        by: RestartCause,
        count: u32,
    },
    /// Stopped on purpose.
    StoppedOnPurpose {
        why: String,
    },
    IncidentOpened {
        condition: Option<Condition>,
        evidence: Evidence,
        plan: Plan,
    },
    IncidentReopened {
        condition: Option<Condition>,
        attempts_used: u32,
        since_closed: Duration,
    },
    ConditionJoined {
        condition: Condition,
        evidence: Evidence,
        plan: Plan,
    },
    /// Told when the refusing gate changes, not on every look.
    ActionSuppressed {
        action: Action,
        refusal: Refusal,
    },
    AttemptIntended {
        attempt: AttemptId,
        action: Action,
        reason: String,
    },
    /// The intent is not in the database.
    IntentNotStored {
        attempt: AttemptId,
        text: String,
    },
    /// systemd took the order; `dependents` go along.
    AttemptActed {
        attempt: AttemptId,
        action: Action,
        dependents: Vec<String>,
        /// What exactly was done, where the action does not say it all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        did: Option<String>,
    },
    AttemptDraining {
        attempt: AttemptId,
        limit: Duration,
    },
    /// Well for the first time since the attempt; being watched for `verify_for`.
    VerificationStarted {
        attempt: Option<AttemptId>,
        verify_for: Duration,
    },
    AttemptEnded {
        attempt: AttemptId,
        action: Action,
        condition: Option<Condition>,
        outcome: Outcome,
        reason: String,
        time_to_recover: Option<Duration>,
    },
    Escalated {
        attempts: u32,
        next_try: Option<Mono>,
        text: String,
    },
    IncidentClosed {
        resolution: Resolution,
        time_to_recover: Option<Duration>,
        attempts: u32,
        false_alarm: bool,
    },
    MarkedFalse {
        who: String,
    },
    /// A planned action waits for a yes.
    ApprovalAsked {
        action: Action,
        reason: String,
        deadline: super::time::Wall,
        no_answer: NoAnswer,
    },
    ApprovalAnswered {
        who: String,
        action: Action,
        approved: bool,
        /// Why not, as far as it was said.
        reason: String,
    },
    /// Nobody has answered in time.
    ApprovalExpired {
        action: Action,
        then: NoAnswer,
    },
    /// What is known of actions is another: `by` an operator, or by itself, from what happened.
    StrategiesChanged {
        by: Option<String>,
        text: String,
    },
    Paused {
        until: Option<super::time::Wall>,
        who: String,
        reason: String,
    },
    Resumed {
        who: String,
    },
    HoldChanged {
        held: bool,
    },
    StormOpened {
        sick: usize,
        instances: usize,
    },
    StormClosed {
        sick: usize,
        instances: usize,
    },
    Requested {
        who: String,
        action: Action,
        force: bool,
    },
    /// New settings are in force; `by` an operator who asked over the API, or by a signal.
    SettingsChanged {
        workers: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    WatchOnly {
        why: String,
    },
    /// A queue cannot be read (any more). Told when the reason changes.
    QueueLost {
        queue: String,
        why: String,
    },
    QueueFound {
        queue: String,
    },
    /// Entries of the journal were missed, so errors may have gone uncounted.
    JournalGap {
        why: String,
    },
    /// Another number of instances is wanted.
    ScaleWanted {
        from: usize,
        to: usize,
        because: String,
    },
}

impl What {
    /// The person who did it, where it was one.
    pub fn who(&self) -> Option<&str> {
        match self {
            What::Requested { who, .. }
            | What::Paused { who, .. }
            | What::Resumed { who }
            | What::MarkedFalse { who }
            | What::ApprovalAnswered { who, .. } => Some(who),
            What::StrategiesChanged { by, .. } | What::SettingsChanged { by, .. } => by.as_deref(),
            _ => None,
        }
    }

    /// The event's name, as in UNITMEDIC_EVENT and in the `event` field of JSON.
    pub fn name(&self) -> &'static str {
        match self {
            What::Started { .. } => "started",
            What::BusLost { .. } => "bus_lost",
            What::Resynced { .. } => "resynced",
            What::InstanceAppeared { .. } => "instance_appeared",
            What::InstanceVanished => "instance_vanished",
            What::HealthChanged { .. } => "health_changed",
            What::WorkerHealthChanged { .. } => "worker_health_changed",
            What::AvailabilityChanged { .. } => "availability_changed",
            What::ConditionRaised { .. } => "condition_raised",
            What::ConditionCleared { .. } => "condition_cleared",
            What::Restarted { .. } => "restarted",
            What::StoppedOnPurpose { .. } => "stopped_on_purpose",
            What::IncidentOpened { .. } => "incident_opened",
            What::IncidentReopened { .. } => "incident_reopened",
            What::ConditionJoined { .. } => "condition_joined",
            What::ActionSuppressed { .. } => "action_suppressed",
            What::AttemptIntended { .. } => "attempt_intended",
            What::IntentNotStored { .. } => "intent_not_stored",
            What::AttemptActed { .. } => "attempt_acted",
            What::AttemptDraining { .. } => "attempt_draining",
            What::VerificationStarted { .. } => "verification_started",
            What::AttemptEnded { .. } => "attempt_ended",
            What::Escalated { .. } => "escalated",
            What::IncidentClosed { .. } => "incident_closed",
            What::MarkedFalse { .. } => "marked_false",
            What::ApprovalAsked { .. } => "approval_asked",
            What::ApprovalAnswered { .. } => "approval_answered",
            What::ApprovalExpired { .. } => "approval_expired",
            What::StrategiesChanged { .. } => "strategies_changed",
            What::Paused { .. } => "paused",
            What::Resumed { .. } => "resumed",
            What::HoldChanged { .. } => "hold_changed",
            What::StormOpened { .. } => "storm_opened",
            What::StormClosed { .. } => "storm_closed",
            What::Requested { .. } => "requested",
            What::SettingsChanged { .. } => "settings_changed",
            What::WatchOnly { .. } => "watch_only",
            What::QueueLost { .. } => "queue_lost",
            What::QueueFound { .. } => "queue_found",
            What::JournalGap { .. } => "journal_gap",
            What::ScaleWanted { .. } => "scale_wanted",
        }
    }
}
