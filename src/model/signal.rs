//! Signals of work: signs of life, queues, errors in the journal, probes. A missing reading is a gap, never zero.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::closed_set;
use super::name::{UnitName, WorkerName};
use super::request::Target;
use super::time::Mono;
use super::unit::InvocationId;

/// An instance that is up, as those need it who ask it for signs of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub unit: UnitName,
    pub worker: WorkerName,
    pub invocation: InvocationId,
    pub main_pid: u32,
    /// systemd's ControlGroup=, `/system.slice/mail.service`.
    pub control_group: Option<String>,
    pub up_since: Option<Mono>,
}

impl Member {
    /// Replaces `%n` (unit), `%i` (instance, empty for a plain unit), `%p` (name before the @) and `%%`, as in unit files.
    pub fn expand(&self, text: &str) -> String {
        expand(text, &self.unit)
    }
}

/// See [`Member::expand`].
pub fn expand(text: &str, unit: &UnitName) -> String {
    let name = unit.as_str();
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push_str(name),
            Some('i') => out.push_str(unit.instance().unwrap_or_default()),
            Some('p') => out.push_str(stem.split_once('@').map_or(stem, |(prefix, _)| prefix)),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

closed_set!(
    /// How a sign of life came.
    BeatSource {
        /// `WATCHDOG=1` to systemd, where the unit has WatchdogSec=.
        Watchdog = "watchdog",
        /// A datagram to `heartbeat.sock`.
        Socket = "socket",
        /// The file's modification time.
        File = "file",
    }
);

/// The latest sign of life of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub unit: UnitName,
    /// When it beat, not when we saw it. Never in the future.
    pub at: Mono,
    pub source: BeatSource,
}

/// A queue of a broker, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct QueueName {
    /// `None`: the virtual host of `amqp_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    pub name: String,
}

/// One reading of one queue of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueReading {
    pub worker: WorkerName,
    pub queue: QueueName,
    pub at: Mono,
    pub reading: QueueState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum QueueState {
    Known(QueueDepth),
    /// The broker is away, refuses us, or has no such queue. Says nothing about any worker.
    Unknown {
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QueueDepth {
    /// Messages ready for delivery.
    pub ready: u64,
    /// Consumers of the whole queue, those of other hosts included.
    pub consumers: u64,
    /// Messages delivered and not acknowledged; only with the management API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<u64>,
    /// Acknowledgements since the queue's statistics began; only with the management API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_total: Option<u64>,
    /// Messages published per second; only with the management API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_rate: Option<f64>,
}

/// Errors that instances wrote to the journal in one span of time. Units that are not listed wrote none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// The span ends here; the span before ended where this one begins.
    pub at: Mono,
    pub span: Duration,
    pub counts: Vec<(UnitName, u64)>,
    /// Entries are missing: the journal was rotated away under us, was down, or flooded.
    pub gap: Option<String>,
}

/// What one round of probes of an instance found: the first that failed, or success of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReading {
    pub unit: UnitName,
    pub at: Mono,
    pub invocation: InvocationId,
    pub result: ProbeResult,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "snake_case")]
pub enum ProbeResult {
    Passed,
    Failed {
        why: String,
    },
    /// The probe itself could not be made (no such command, no permission): says nothing about the instance.
    Unknown {
        why: String,
    },
}

impl std::fmt::Display for QueueName {
    /// `name`, or `vhost/name` where the virtual host is not that of the URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.vhost {
            Some(vhost) => f.pad(&format!("{vhost}/{}", self.name)),
            None => f.pad(&self.name),
        }
    }
}

/// Somebody else's alert about a worker or a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAlert {
    /// The same for as long as it is the same alert: Alertmanager's fingerprint of its labels.
    pub id: String,
    pub target: Target,
    /// Its name and what it says, in one short sentence.
    pub text: String,
    /// Worse than a warning.
    pub severe: bool,
    /// `false`: it is over.
    pub firing: bool,
}
