//! Symptoms and health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of a closed set: the words of the design, in code, metrics, logs and configuration alike.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// As they are written.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use closed_set;

closed_set!(
    /// Health of an instance or a worker, best first.
    Health {
        Healthy = "healthy",
        Warning = "warning",
        Critical = "critical",
        Dead = "dead",
        /// Stopped on purpose: nothing is wrong and nothing is done.
        Stopped = "stopped",
        /// We cannot see it, so we do not judge it.
        Unknown = "unknown",
    }
);

impl Health {
    /// It does its work, maybe with a complaint. `warning` counts as healthy where capacity is counted.
    pub fn serves(self) -> bool {
        matches!(self, Health::Healthy | Health::Warning)
    }
    /// It needs attention.
    pub fn is_sick(self) -> bool {
        matches!(self, Health::Critical | Health::Dead)
    }
}

closed_set!(
    /// A named symptom that holds for an instance. The order is the order of weight: where several hold,
    /// the last one's plan wins.
    Condition {
        /// It does what it usually does not, and what its siblings do not: it is told, and nothing is done.
        Unusual = "unusual",
        /// A forecast crosses a threshold soon. A guess weighs less than all that is there.
        Predicted = "predicted",
        /// An alert of somebody else names it.
        External = "external",
        CpuHigh = "cpu_high",
        Starved = "starved",
        BacklogHigh = "backlog_high",
        ErrorRateHigh = "error_rate_high",
        MemoryHigh = "memory_high",
        ConsumerStalled = "consumer_stalled",
        NoConsumer = "no_consumer",
        ProbeFailed = "probe_failed",
        Hung = "hung",
        StartStuck = "start_stuck",
        OomKilled = "oom_killed",
        Dead = "dead",
        CrashLoop = "crash_loop",
    }
);

impl Condition {
    /// The health that the condition implies at least: an error rate that is sustained is worse.
    pub fn health(self) -> Health {
        match self {
            // By the alert's severity it may be worse.
            Condition::External
            | Condition::Predicted
            | Condition::Unusual
            | Condition::CpuHigh
            | Condition::Starved
            | Condition::BacklogHigh
            | Condition::ErrorRateHigh
            | Condition::MemoryHigh => Health::Warning,
            Condition::ConsumerStalled
            | Condition::NoConsumer
            | Condition::ProbeFailed
            | Condition::Hung
            | Condition::StartStuck
            | Condition::OomKilled
            | Condition::CrashLoop => Health::Critical,
            Condition::Dead => Health::Dead,
        }
    }
}

/// What was seen that makes a condition hold, in one sentence and in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `unit failed: killed by signal SIGKILL (9)`
    pub text: String,
    /// The measured value, where there is one, in the condition's unit (percent, seconds, count).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The threshold that it crossed, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Evidence {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: None, threshold: None }
    }
    pub fn measured(text: impl Into<String>, value: f64, threshold: f64) -> Self {
        Self { text: text.into(), value: Some(value), threshold: Some(threshold) }
    }
}
