//! The host at a glance: what the page and a first question to the API show. Small, also with thousands of instances.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::condition::Health;
use super::fact::Refusal;
use super::history::WorkerRatios;
use super::incident::IncidentId;
use super::input::Pause;
use super::name::{UnitName, WorkerName};
use super::signal::QueueName;
use super::time::{Now, Wall};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    pub at: Now,
    /// The last event that is in it: ask `/api/v1/events?after=` for those that came later.
    pub last_event: String,
    pub host: String,
    pub version: String,
    pub ready: bool,
    pub not_ready: Option<String>,
    pub dry_run: bool,
    pub held: bool,
    pub watch_only: Option<String>,
    pub storm: bool,
    pub pauses: Vec<Pause>,
    /// Why there will soon be no room for the history.
    pub disk_warning: Option<String>,
    pub open_incidents: usize,
    /// Planned actions that wait for a yes.
    pub waiting_approvals: usize,
    /// Instances by health.
    pub counts: BTreeMap<Health, usize>,
    /// Sick first.
    pub workers: Vec<WorkerGlance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerGlance {
    pub worker: WorkerName,
    pub critical: bool,
    pub health: Health,
    pub because: String,
    pub paused: bool,
    pub min_instances: u32,
    pub max_instances: Option<u32>,
    pub desired: usize,
    pub running: usize,
    /// Healthy and warning.
    pub serving: usize,
    pub healthy: usize,
    /// Sick first.
    pub instances: Vec<InstanceGlance>,
}

/// Of an instance that is simply healthy only name and health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceGlance {
    pub unit: UnitName,
    pub health: Health,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What is being done or waited for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// How well it goes, against what we promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Targets {
    pub since: Wall,
    pub window: Duration,
    /// Share of observed time, at least.
    pub availability_min: f64,
    /// Mean time to recover, at most.
    pub time_to_recover_max: Duration,
    /// Share of recoveries, at least.
    pub recovery_success_min: f64,
    /// Share of incidents, at most.
    pub false_alarms_max: f64,
    pub all: WorkerRatios,
    pub workers: BTreeMap<WorkerName, WorkerRatios>,
}

/// The last readings of an instance, oldest first, with what they are judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    pub unit: UnitName,
    pub worker: WorkerName,
    pub at: Wall,
    /// CPUs in use (0.5 = 50 % of one).
    pub cpu: Curve,
    /// Memory in use by the rule of `memory_high`, bytes.
    pub memory: Curve,
    /// Seconds since the last sign of life.
    pub heartbeat: Curve,
    /// Ready messages of each queue of the worker.
    pub queues: Vec<QueueCurve>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueCurve {
    pub queue: QueueName,
    pub ready: Curve,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// When, in microseconds since 1970, and the reading; `null` where there was none.
    pub points: Vec<(Wall, Option<f64>)>,
    /// Beyond it a condition is raised.
    pub threshold: Option<f64>,
    /// What cannot be exceeded, where that is known: the memory limit.
    pub limit: Option<f64>,
}

/// What a request for a deed would do now. Nothing is done by asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    pub worker: WorkerName,
    pub action: Action,
    /// What would be done, exactly.
    pub what: String,
    /// In this order, one after the other.
    pub units: Vec<PreviewUnit>,
    /// What stands against it as a whole, or is worth knowing before.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewUnit {
    pub unit: UnitName,
    pub health: Health,
    /// The gate that says no, now; `null`: go.
    pub refusal: Option<Refusal>,
    /// Units that systemd would restart along with it.
    pub dependents: Vec<String>,
}
