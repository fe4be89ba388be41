//! Incidents and their attempts. An [`Incident`] is written whole to the store whenever it changes, and read
//! back after a restart of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Plan};
use super::approval::Approval;
use super::condition::{Condition, Evidence, Health, closed_set};
use super::name::{UnitName, WorkerName};
use super::pattern::IncidentPattern;
use super::strategy::Similar;
use super::time::{Mono, Now, Wall};
use super::unusual::Unusual;

/// Grows by one for each incident of this host; shown as `#42`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IncidentId(pub u64);

/// The n-th attempt of an incident, counted from 1; shown as `#42.1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttemptId {
    pub incident: IncidentId,
    pub number: u32,
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("#{}", self.0))
    }
}
impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.incident.0, self.number)
    }
}
impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

closed_set!(
    /// How a recovery ended. Only `succeeded` and `failed` enter the success ratio.
    Outcome {
        Succeeded = "succeeded",
        Failed = "failed",
        /// An operator, a deploy or systemd did something else meanwhile.
        Superseded = "superseded",
        /// We crashed between intent and outcome, so we cannot know.
        InDoubt = "in_doubt",
    }
);

closed_set!(
    /// How an incident ended.
    Resolution {
        /// An action of ours helped.
        Recovered = "recovered",
        /// It went away without any action.
        SelfCleared = "self_cleared",
        /// systemd's own Restart= brought it back.
        Systemd = "systemd",
        /// An operator stopped, started or took over.
        Operator = "operator",
        /// Well again, but only after we had given up once.
        Escalated = "escalated",
        /// Marked by an operator, or cleared by itself although an action was allowed.
        FalseAlarm = "false_alarm",
    }
);

/// Who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Origin {
    /// A condition was raised.
    Condition { condition: Condition },
    /// An instance that we started is not needed any more.
    Surplus,
    /// `unitmedic recover`, with the user that the socket's credentials name.
    Operator { who: String, action: Action, force: bool },
}

/// From the first condition that needs attention until proven health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    pub id: IncidentId,
    pub worker: WorkerName,
    pub unit: UnitName,
    pub origin: Origin,
    /// Conditions that hold or held, with the latest evidence.
    pub conditions: BTreeMap<Condition, Evidence>,
    /// The highest value that was measured of each while it held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peaks: BTreeMap<Condition, f64>,
    /// The worst health seen.
    pub worst: Health,
    /// Boot in which the monotonic times below hold.
    pub boot: String,
    /// When the failure happened: systemd's own timestamp where there is one.
    pub failed_at: Mono,
    pub failed_wall: Wall,
    /// When we saw it; of a reopened incident the last time.
    pub opened_at: Mono,
    pub opened_wall: Wall,
    pub closed_at: Option<Mono>,
    pub closed_wall: Option<Wall>,
    pub resolution: Option<Resolution>,
    /// From the failure to the first observation of the healthy stretch that closed it.
    pub time_to_recover: Option<Duration>,
    pub plan: Plan,
    pub attempts: Vec<Attempt>,
    /// Attempts that count against `max_restart_attempts`; starts anew after an escalation's pause.
    pub attempts_used: u32,
    pub escalations: u32,
    /// It was escalated, and has not been closed and reopened since.
    #[serde(default)]
    pub given_up: bool,
    /// Not before this, for any further attempt.
    pub not_before: Option<Mono>,
    pub reopened: u32,
    /// Why nothing is being done right now, as last told.
    pub waiting: Option<super::fact::Refusal>,
    /// Every gate but dry-run let the first action pass; if it then clears by itself, it was a false alarm.
    pub action_was_allowed: bool,
    /// Actions for which there was nothing to do; the plan goes on without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_actions: Vec<Action>,
    /// Actions that an operator said no to; the plan goes on without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Action>,
    /// The question that waits for an answer, or whose answer waits to be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Who brought it back, when it was not we.
    pub helped_by: Option<super::fact::RestartCause>,
    /// What its log said before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<IncidentPattern>,
    /// Past incidents that were most like it, at most three.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<Similar>,
    /// What was unusual of the instance when it was opened, the strongest first, at most [`UNUSUAL_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<Unusual>,
}

impl Incident {
    /// One that has just been seen: no condition, no plan and no attempt yet.
    pub fn new(id: IncidentId, worker: WorkerName, unit: UnitName, origin: Origin, boot: &str, now: Now) -> Self {
        Self {
            id,
            worker,
            unit,
            origin,
            conditions: BTreeMap::new(),
            peaks: BTreeMap::new(),
            worst: Health::Unknown,
            boot: boot.into(),
            failed_at: now.mono,
            failed_wall: now.wall,
            opened_at: now.mono,
            opened_wall: now.wall,
            closed_at: None,
            closed_wall: None,
            resolution: None,
            time_to_recover: None,
            plan: Plan::default(),
            attempts: Vec::new(),
            attempts_used: 0,
            escalations: 0,
            given_up: false,
            not_before: None,
            reopened: 0,
            waiting: None,
            action_was_allowed: false,
            idle_actions: Vec::new(),
            rejected: Vec::new(),
            approval: None,
            helped_by: None,
            pattern: None,
            similar: Vec::new(),
            unusual: Vec::new(),
        }
    }

    /// A condition holds, as this evidence says.
    pub fn note(&mut self, condition: Condition, evidence: Evidence) {
        if let Some(value) = evidence.value {
            let peak = self.peaks.entry(condition).or_insert(value);
            *peak = peak.max(value);
        }
        self.conditions.insert(condition, evidence);
    }

    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// The condition whose plan is followed: the weightiest.
    pub fn leading(&self) -> Option<Condition> {
        self.conditions.keys().next_back().copied()
    }

    /// The plan goes on without it: there was nothing for it to do, or an operator said no.
    pub fn passes_over(&self, action: Action) -> bool {
        self.idle_actions.contains(&action) || self.rejected.contains(&action)
    }

    /// It carries out a wish and not a cure: no condition has joined it.
    pub fn is_errand(&self) -> bool {
        !matches!(self.origin, Origin::Condition { .. }) && self.conditions.is_empty()
    }

    /// Those whose order systemd or the kernel took.
    pub fn attempts_made(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.acted_at.is_some())
    }

    /// What is said of one that was given up: `failed after 3 restart attempts`.
    pub fn given_up_words(&self) -> String {
        let kind = match self.attempts_made().all(|attempt| attempt.action.replaces_process()) {
            true => "restart",
            false => "recovery",
        };
        // Of a reopened one some had helped for a while.
        let failed = self.attempts_made().filter(|attempt| attempt.outcome != Some(Outcome::Succeeded)).count();
        let no = self.rejected_words();
        match (failed, no.is_empty()) {
            (0, true) => "needs an operator".into(),
            (0, false) => format!("is left as it is: {no}"),
            (1, true) => format!("failed after 1 {kind} attempt"),
            (1, false) => format!("failed after 1 {kind} attempt, and {no}"),
            (n, true) => format!("failed after {n} {kind} attempts"),
            (n, false) => format!("failed after {n} {kind} attempts, and {no}"),
        }
    }

    /// `an operator said no to restart`; empty where nobody did.
    pub fn rejected_words(&self) -> String {
        match self.rejected.is_empty() {
            true => String::new(),
            false => {
                let actions: Vec<&str> = self.rejected.iter().map(Action::as_str).collect();
                format!("an operator said no to {}", actions.join(" and "))
            }
        }
    }

    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

/// Most attempts kept in an incident's record; older ones stay in the store's time line.
pub const ATTEMPTS_KEPT: usize = 64;

/// One action carried out for an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    pub number: u32,
    pub action: Action,
    /// What it was tried for; `None`: an operator asked, or nothing was needed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    pub stage: Stage,
    /// When the intent was handed to the store.
    pub intended_at: Mono,
    pub intended_wall: Wall,
    /// When systemd took the order.
    pub acted_at: Option<Mono>,
    /// First observation of health after it.
    pub well_at: Option<Mono>,
    pub ended_at: Option<Mono>,
    pub outcome: Option<Outcome>,
    /// The reason for the outcome, in words.
    pub reason: String,
    /// The intent could not be made durable in time; it stands in /run or nowhere.
    pub flagged: bool,
    /// We crashed before its outcome was known: it is verified, never repeated, and ends as `in_doubt`.
    pub in_doubt: bool,
    /// The activation that this attempt caused has been seen.
    pub activated: bool,
    /// Until when the process may finish its work (graceful_restart).
    pub drain_until: Option<Mono>,
    /// The extra instance that stands in meanwhile (graceful_restart with `surge`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<UnitName>,
}

closed_set!(
    /// Where an attempt stands.
    Stage {
        /// The intent is on its way to the store.
        Recording = "recording",
        /// An extra instance was started; we wait until it is well.
        Surging = "surging",
        /// The drain signal was sent; we wait for the process to finish.
        Draining = "draining",
        /// The order is with systemd.
        Acting = "acting",
        /// Done; observing whether it helped.
        Verifying = "verifying",
        Ended = "ended",
    }
);

impl Attempt {
    /// One whose intent is on its way to the store.
    pub fn intended(number: u32, action: Action, reason: String, now: Now) -> Self {
        Self {
            number,
            action,
            condition: None,
            stage: Stage::Recording,
            intended_at: now.mono,
            intended_wall: now.wall,
            acted_at: None,
            well_at: None,
            ended_at: None,
            outcome: None,
            reason,
            flagged: false,
            in_doubt: false,
            activated: false,
            drain_until: None,
            extra: None,
        }
    }

    pub fn is_running(&self) -> bool {
        self.stage != Stage::Ended
    }
}
