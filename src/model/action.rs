//! What can be done to an instance, and the narrow words in which it is asked of the root side.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::condition::{Condition, closed_set};
use super::incident::{AttemptId, IncidentId};
use super::name::UnitName;
use super::strategy::Ranking;
use super::unit::{InvocationId, JobKind};

/// What can be done, in the order of harm, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// Reclaim memory of the cgroup towards `memory_target`.
    MemoryCleanup,
    /// Destroy the TCP connections of the instance to the worker's peers.
    ConnectionReset,
    /// Start the next instance of the template.
    ScaleUp,
    /// A command of the operator's own.
    Hook(HookName),
    /// Drain and stop an instance that we started.
    ScaleDown,
    GracefulRestart,
    Restart,
    /// Tell an operator, keep the incident open, go on at low frequency. Touches nothing.
    Escalate,
}

impl Action {
    /// All that have a name of their own; hooks are named by the configuration.
    pub const ALL: &'static [Action] = &[
        Action::MemoryCleanup,
        Action::ConnectionReset,
        Action::ScaleUp,
        Action::ScaleDown,
        Action::GracefulRestart,
        Action::Restart,
        Action::Escalate,
    ];

    /// `restart`, or `hook:NAME`.
    pub fn as_str(&self) -> &str {
        match self {
            Action::Hook(name) => name.with_prefix(),
            known => known.kind(),
        }
    }

    /// The action without the name of a hook: the label of metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Action::MemoryCleanup => "memory_cleanup",
            Action::ConnectionReset => "connection_reset",
            Action::ScaleUp => "scale_up",
            Action::Hook(_) => "hook",
            Action::ScaleDown => "scale_down",
            Action::GracefulRestart => "graceful_restart",
            Action::Restart => "restart",
            Action::Escalate => "escalate",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word.strip_prefix(HOOK_PREFIX) {
            Some(name) => HookName::new(name).ok().map(Action::Hook),
            None => Action::ALL.iter().find(|action| action.kind() == word).copied(),
        }
    }

    /// It ends the present process of the instance, and mostly begins another one.
    pub fn replaces_process(self) -> bool {
        matches!(self, Action::GracefulRestart | Action::Restart | Action::ScaleDown)
    }

    /// It can help only by a new activation of the unit.
    pub fn needs_activation(self) -> bool {
        matches!(self, Action::GracefulRestart | Action::Restart | Action::ScaleUp)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Action> for String {
    fn from(action: Action) -> String {
        action.as_str().to_string()
    }
}

impl JsonSchema for Action {
    fn schema_name() -> Cow<'static, str> {
        "Action".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let named: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
        json_schema!({
            "description": "What can be done, or `hook:NAME` for a command of the operator's own.",
            "type": "string",
            "pattern": format!("^({}|{HOOK_PREFIX}[a-z0-9_-]{{1,{HOOK_NAME_MAX}}})$", named.join("|")),
            "examples": ["restart"],
        })
    }
}

impl TryFrom<String> for Action {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        Action::parse(&word).ok_or_else(|| format!("unknown action {word:?}"))
    }
}

/// How hooks are written among actions: `hook:flush-cache`.
pub const HOOK_PREFIX: &str = "hook:";
/// Longest name of a hook; it becomes part of a unit's name and of a metric.
pub const HOOK_NAME_MAX: usize = 26;

/// The name of a hook, small enough to be copied; kept with its prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookName {
    bytes: [u8; HOOK_PREFIX.len() + HOOK_NAME_MAX],
    len: u8,
}

impl HookName {
    /// 1 to [`HOOK_NAME_MAX`] characters of a-z, 0-9, - and _.
    pub fn new(name: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > HOOK_NAME_MAX || !name.bytes().all(allowed) {
            return Err(format!("{name:?} is not 1 to {HOOK_NAME_MAX} characters of a-z, 0-9, - and _"));
        }
        let mut bytes = [0; HOOK_PREFIX.len() + HOOK_NAME_MAX];
        let len = HOOK_PREFIX.len() + name.len();
        bytes[..HOOK_PREFIX.len()].copy_from_slice(HOOK_PREFIX.as_bytes());
        bytes[HOOK_PREFIX.len()..len].copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len: len as u8 })
    }

    pub fn as_str(&self) -> &str {
        &self.with_prefix()[HOOK_PREFIX.len()..]
    }

    fn with_prefix(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("ASCII was checked")
    }
}

impl fmt::Debug for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for HookName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for HookName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        HookName::new(&name).map_err(serde::de::Error::custom)
    }
}

/// The ordered actions that an incident may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// An operator configured the order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub configured: bool,
    /// Made for a mere warning: mild actions come first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
    /// How what was learned ranks its actions; absent where the order is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
}

impl Plan {
    /// Its order was learned.
    pub fn is_learned(&self) -> bool {
        self.ranking.as_ref().is_some_and(|ranking| ranking.learned)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// StopUnit, mode `fail`: only of a template's instance that unitmedic started.
    Stop,
    /// Destroy the TCP connections of the given activation to the worker's peers; where that is not possible, send it
    /// the worker's `reset_signal`. Peers and signal are taken from the configuration by the root side itself.
    ResetConnections { invocation: InvocationId },
    /// Reclaim memory of the given activation towards the worker's `memory_target`, and send `memory_signal` if set.
    ReclaimMemory { invocation: InvocationId },
    /// Run the hook of this name, as the configuration has it, in a transient unit with limits.
    Hook { name: HookName },
}

impl Verb {
    /// The kind of job that it makes, where it makes one.
    pub fn job(self) -> Option<JobKind> {
        match self {
            Verb::Start { .. } => Some(JobKind::Start),
            Verb::TryRestart => Some(JobKind::TryRestart),
            Verb::Stop => Some(JobKind::Stop),
            Verb::Drain { .. } | Verb::ResetConnections { .. } | Verb::ReclaimMemory { .. } | Verb::Hook { .. } => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Start { .. } => "start",
            Verb::TryRestart => "try-restart",
            Verb::Drain { .. } => "drain",
            Verb::Stop => "stop",
            Verb::ResetConnections { .. } => "reset-connections",
            Verb::ReclaimMemory { .. } => "reclaim-memory",
            Verb::Hook { .. } => "hook",
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
    /// `did` tells in words what was done where the verb does not say it all: `destroyed 2 connections`.
    Accepted {
        job: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        did: Option<String>,
    },
    /// Somebody else's job, the hold file, or a check said no: a gate's answer, not an attempt.
    Refused { why: Refused, text: String },
    /// The call failed or had no answer in time. It may have happened.
    Failed { text: String },
    /// It was carried out, and is known not to have worked: a command that ended with a failure.
    DidNotWork { text: String },
}

closed_set!(
    /// Why the root side refused.
    Refused {
        Hold = "hold",
        JobInFlight = "job_in_flight",
        NoSuchUnit = "no_such_unit",
        NotAllowed = "not_allowed",
        Superseded = "superseded",
        /// There is nothing that the verb could do: no connection to a peer, no memory controller.
        Nothing = "nothing",
    }
);

/// Limit of one act on the root side that is not a hook. systemd answers in microseconds; a manager that hangs must not hang us.
pub const ACT_TIMEOUT: Duration = Duration::from_secs(10);
