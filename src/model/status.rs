//! The present, as `status`, `explain` and the library show it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Plan;
use super::condition::{Condition, Evidence, Health};
use super::fact::Refusal;
use super::incident::{Incident, IncidentId};
use super::input::Pause;
use super::name::{UnitName, WorkerName};
use super::signal::{BeatSource, QueueDepth, QueueName};
use super::time::{Now, Wall};
use super::unit::UnitView;
use super::usage::{DiskUsage, HostUsage, Usage};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub at: Now,
    pub version: String,
    /// Seeing and deciding: the bus is there and a snapshot has been applied.
    pub ready: bool,
    /// Why it is not ready.
    pub not_ready: Option<String>,
    pub dry_run: bool,
    pub held: bool,
    pub watch_only: Option<String>,
    pub storm: bool,
    pub pauses: Vec<Pause>,
    pub host: Option<HostUsage>,
    /// Sick first.
    pub workers: Vec<WorkerStatus>,
    pub open_incidents: usize,
    /// Planned actions that wait for a yes.
    #[serde(default)]
    pub waiting_approvals: usize,
    /// The disk of the state directory; absent where it cannot be looked at.
    #[serde(default)]
    pub disk: Option<StateDisk>,
}

/// Where the history is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateDisk {
    pub path: PathBuf,
    pub usage: DiskUsage,
    /// Why there will soon be no room for the history; absent while there is.
    pub warning: Option<String>,
    /// When it will be full, as it fills now; absent where that is not foreseen.
    pub full_at: Option<Wall>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    pub worker: WorkerName,
    pub selector: String,
    pub critical: bool,
    pub health: Health,
    pub because: String,
    pub paused: bool,
    pub min_instances: u32,
    pub max_instances: Option<u32>,
    /// Instances that should run.
    pub desired: usize,
    pub running: usize,
    /// Healthy and warning.
    pub serving: usize,
    pub healthy: usize,
    /// Instances that unitmedic started (scale_up, surge) and will stop again.
    #[serde(default)]
    pub scaled: usize,
    /// Planned actions that wait for a yes.
    #[serde(default)]
    pub waiting_approvals: usize,
    /// As last read, in the order of the configuration.
    #[serde(default)]
    pub queues: Vec<QueueStatus>,
    pub instances: Vec<InstanceStatus>,
}

/// A queue as it was last read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    pub queue: QueueName,
    /// `None`: it could not be read, or not yet.
    pub depth: Option<QueueDepth>,
    /// Why it could not be read.
    pub unknown: Option<String>,
}

/// The last sign of life of the present activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastBeat {
    pub at: Wall,
    pub source: BeatSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    pub unit: UnitName,
    pub health: Health,
    pub because: String,
    pub view: UnitView,
    /// The last sample; absent when there is none that is fresh.
    pub usage: Option<Usage>,
    /// CPU over the last interval, in CPUs (0.5 = 50 %).
    pub cpus: Option<f64>,
    /// Memory in use by the rule of `memory_high`, bytes, and the limit that it is judged by.
    pub memory_used_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub up_since: Option<Wall>,
    pub restarts: BTreeMap<String, u32>,
    /// Absent for one that has not beaten.
    #[serde(default)]
    pub heartbeat: Option<LastBeat>,
    /// Errors in the journal over `error_rate_window`; absent while nothing has been counted.
    #[serde(default)]
    pub errors_per_minute: Option<f64>,
    /// Started by unitmedic (scale_up, surge), which will stop it again.
    #[serde(default)]
    pub scaled: bool,
    pub conditions: BTreeMap<Condition, Evidence>,
    pub incident: Option<IncidentId>,
    /// What is being done or waited for, in words.
    pub doing: Option<String>,
}

/// Why an instance was or was not recovered, and what would happen next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub unit: UnitName,
    pub worker: WorkerName,
    pub health: Health,
    pub because: String,
    /// Whether it should run, and how we know.
    pub standing: String,
    pub conditions: BTreeMap<Condition, Evidence>,
    pub incident: Option<Incident>,
    pub plan: Plan,
    /// The gates for the next action, in order; `None` as refusal means: go.
    pub next_action: Option<super::action::Action>,
    pub gates: Vec<GateView>,
    pub attempts_left: u32,
    pub max_attempts: u32,
    /// Time until the next attempt may be made.
    pub cooldown_left: Option<Duration>,
    pub cooldown_until: Option<Wall>,
    /// Failures of the crash-loop window, newest last.
    pub recent_failures: Vec<Wall>,
    pub crash_loop_limit: u32,
    pub crash_loop_window: Duration,
    pub restarts: BTreeMap<String, u32>,
    /// The settings that decided, each with where it was set.
    pub settings: Vec<SettingView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateView {
    pub gate: super::fact::Gate,
    pub refusal: Option<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingView {
    pub key: String,
    pub value: String,
    /// `/etc/unitmedic/unitmedic.toml:12`, or `default`.
    pub origin: String,
}

/// Which instances to return, by the name of their units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceFilter {
    pub worker: Option<WorkerName>,
    pub health: Option<Health>,
    /// At most this many; capped at [`INSTANCES_MAX`].
    pub limit: Option<usize>,
    /// Only those after this one, for paging: the last of the page before.
    pub after: Option<UnitName>,
}

pub const INSTANCES_DEFAULT: usize = 100;
pub const INSTANCES_MAX: usize = 1000;

/// A table of the configuration as it is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsTable {
    /// `daemon`, `worker.mail`, `worker.mail.hooks.flush` …
    pub table: String,
    pub keys: Vec<SettingsKey>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsKey {
    pub key: String,
    /// As TOML; absent where nothing is set and there is no default. Secrets in it are masked.
    pub value: Option<String>,
    /// `/etc/unitmedic/unitmedic.toml:12`, or `default`.
    pub origin: String,
    /// What it means.
    pub doc: String,
}
