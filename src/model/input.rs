//! What goes into the engine and what comes out of it.

use serde::{Deserialize, Serialize};

use super::action::{Answer, Intent, Order};
use super::fact::Fact;
use super::habits::KeptHabits;
use super::incident::{AttemptId, Incident};
use super::name::UnitName;
use super::pattern::{HoursAhead, PatternSeen};
use super::request::Request;
use super::settings::Settings;
use super::signal::{Beat, ErrorCounts, ExternalAlert, ProbeReading, QueueReading};
use super::strategy::{Known, Past};
use super::time::{Mono, Wall};
use super::unit::{JobKind, JobResult, ManagerState, UnitChange};
use super::usage::{HostUsage, Usage};

/// Everything that can happen to the engine. Recorded as it is, for replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The bus is gone: nothing is seen until the next snapshot.
    BusLost {
        why: String,
    },
    /// A complete look at every unit that a worker's selector matches.
    Snapshot(Snapshot),
    /// A change of one unit, or the answer to [`Command::Look`].
    Unit {
        unit: UnitName,
        change: Box<UnitChange>,
    },
    /// systemd has unloaded the unit: inactive and forgotten.
    Unloaded {
        unit: UnitName,
    },
    /// A job was queued for the unit; `kind` follows when it could be read before the job was over.
    JobNew {
        unit: UnitName,
        job: u32,
    },
    JobKind {
        unit: UnitName,
        job: u32,
        kind: JobKind,
    },
    JobRemoved {
        unit: UnitName,
        job: u32,
        result: JobResult,
    },
    /// The state of systemd itself.
    Manager {
        state: ManagerState,
    },
    /// One round of samples.
    Usage {
        samples: Vec<Usage>,
        host: Option<HostUsage>,
    },
    /// The latest signs of life of some instances.
    Beats {
        beats: Vec<Beat>,
    },
    /// Readings of queues.
    Queues {
        readings: Vec<QueueReading>,
    },
    /// Errors in the journal over the last span.
    Errors(ErrorCounts),
    /// Patterns of errors that instances have written since the last time.
    Patterns {
        seen: Vec<PatternSeen>,
    },
    /// Hours at which units mostly fail are near.
    Hours {
        ahead: Vec<HoursAhead>,
    },
    /// What was known of instances in a former life of ours.
    Habits {
        known: Vec<KeptHabits>,
    },
    /// Alerts of others that name workers or units, as their Alertmanager told them.
    External {
        alerts: Vec<ExternalAlert>,
    },
    /// What probes found.
    Probes {
        readings: Vec<ProbeReading>,
    },
    /// Answer to [`Command::Inquire`].
    Inquired {
        unit: UnitName,
        finding: Finding,
    },
    /// Answer to [`Command::Record`].
    Recorded {
        attempt: AttemptId,
        how: Durability,
    },
    /// Answer to [`Command::Act`].
    Acted {
        attempt: AttemptId,
        answer: Answer,
    },
    /// The hold file appeared or went away.
    Hold {
        held: bool,
    },
    /// An operator's request that changes something.
    Request(Request),
    /// New settings are in force.
    Reload {
        settings: Box<Settings>,
        /// Who asked for it; absent: a signal, as of `systemctl reload`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// Why a snapshot was taken; the label of `unitmedic_resyncs_total`.
pub type SnapshotReason = super::fact::ResyncReason;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub reason: SnapshotReason,
    pub manager: ManagerState,
    /// When the host (or the user's manager) finished starting up; 0 while it has not.
    pub startup_finished: Mono,
    pub units: Vec<(UnitName, UnitChange)>,
}

/// What the journal and the dependencies say about how a unit came to be down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stop job ran since its last activation; `None` when the journal could not tell.
    pub stop_job: Option<bool>,
    /// The unit whose stop took it along, with the relation: `BindsTo=db.service`.
    pub through: Option<String>,
}

/// How safely an intent was written before the deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "durability", rename_all = "snake_case")]
pub enum Durability {
    /// In the database.
    Stored,
    /// In a file below the runtime directory, because the database failed or was slow.
    Volatile { why: String },
    /// Nowhere.
    Lost { why: String },
}

/// What the engine wants done. Drained after every input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Make the intent durable, then answer [`Input::Recorded`].
    Record(Intent),
    /// Ask the root side, then answer [`Input::Acted`].
    Act(Order),
    /// Read the unit anew, then answer [`Input::Unit`].
    Look { unit: UnitName },
    /// Find out how the unit came to be down, then answer [`Input::Inquired`].
    Inquire { unit: UnitName },
    /// Write the incident to the store as it now stands.
    Save(Box<Incident>),
    /// Write what is known of these cases to the store; without actions, it is forgotten.
    Learned(Vec<Known>),
    /// Write the safety state to its file.
    Keep(Box<Safety>),
    /// The answer to [`Input::Request`] with this id.
    Reply { id: u64, reply: super::request::Reply },
    /// Something happened.
    Tell(Fact),
}

/// What must outlive the database: small, in a file of its own, written atomically.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Safety {
    /// Boot in which `wanted` holds.
    pub boot: String,
    pub pauses: Vec<Pause>,
    /// Units that should run or were stopped on purpose, as far as we saw it.
    pub wanted: Vec<(UnitName, Wanted)>,
    /// Instances that we started to scale up, and may therefore stop.
    pub owned: Vec<Owned>,
}

/// An instance that unitmedic started beyond those that were there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    pub unit: UnitName,
    pub since: Wall,
    /// Only for the time of a graceful restart of this unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surge_for: Option<UnitName>,
    /// The activation that we asked for has been seen; a further one is somebody else's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

/// A pause of a worker, or of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pause {
    /// `None`: all workers.
    pub worker: Option<super::name::WorkerName>,
    /// Wall time at which it ends by itself; `None`: when an operator resumes.
    pub until: Option<Wall>,
    pub since: Wall,
    pub who: String,
    pub reason: String,
}

/// Whether a unit should run, as far as we saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "snake_case")]
pub enum Wanted {
    Run,
    /// `seen` is the monotonic time at which we saw it; an activation after it takes the stop back.
    Stopped {
        why: String,
        at: Wall,
        seen: Mono,
    },
}

/// Which timer woke the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wake {
    /// A condition of an instance may be raised or cleared by time alone.
    Assess,
    /// An incident may go on.
    Proceed,
    /// Instances may no longer be needed.
    Rescale,
    /// A pause ends.
    PauseEnds,
    /// The host has had its time to start.
    Grace,
    /// What instances usually do is to be compared with what they do.
    Habits,
}

/// The engine in the middle of its life, as far as another one needs it to go on: all but windows of samples, jobs under
/// way and timers, which come back with what comes in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    pub memory: Memory,
    /// Feeds the jitter from here on.
    pub seed: u64,
    /// Every unit as it is seen; absent while the bus is not there.
    pub snapshot: Option<Snapshot>,
    pub held: bool,
}

/// What the engine is told of its former life when it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub boot: String,
    pub safety: Safety,
    /// Incidents that are open, or closed so lately that they may reopen.
    pub incidents: Vec<Incident>,
    /// Intents found in the runtime directory that the database does not have.
    pub orphans: Vec<Intent>,
    pub next_incident: u64,
    /// What has been learned of actions.
    #[serde(default)]
    pub strategies: Vec<Known>,
    /// Incidents that closed, to compare with; oldest first.
    #[serde(default)]
    pub past: Vec<Past>,
    /// We crashed again and again: watch, tell, do nothing.
    pub watch_only: Option<String>,
}
