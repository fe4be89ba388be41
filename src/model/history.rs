//! The past, as the store returns it and `incidents`, `history` and the ratios over 30 days show it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::approval::Card;
use super::condition::Condition;
use super::fact::Fact;
use super::incident::{Incident, IncidentId, Outcome};
use super::name::{UnitName, WorkerName};
use super::status::Explanation;
use super::time::Wall;

/// One incident with its time line, oldest fact first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    pub incident: Incident,
    pub facts: Vec<Fact>,
    /// Facts left out of the middle because the time line is longer than the limit.
    pub left_out: usize,
}

/// A story as the API tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    #[serde(flatten)]
    pub story: Story,
    /// A sentence for each of the facts.
    pub told: Vec<String>,
    /// Why it is as it is now, and what would happen next; only while the incident is open.
    pub explanation: Option<Explanation>,
    /// What waits for a yes.
    pub approval: Option<Card>,
}

/// Which incidents or recoveries to return; newest first. Everything absent: all, up to the limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub worker: Option<WorkerName>,
    pub unit: Option<UnitName>,
    /// Only open incidents.
    pub open: Option<bool>,
    /// Not older than this.
    pub since: Option<Wall>,
    /// Only older ones: pages of the history begin at the time of the last one before.
    pub until: Option<Wall>,
    /// Only those before this incident: pages of incidents begin at the last one before.
    pub before: Option<u64>,
    /// At most this many; capped at [`FILTER_LIMIT_MAX`].
    pub limit: Option<usize>,
}

pub const FILTER_LIMIT_DEFAULT: usize = 50;
pub const FILTER_LIMIT_MAX: usize = 1000;

/// One recovery that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    pub incident: IncidentId,
    pub number: u32,
    pub worker: WorkerName,
    pub unit: UnitName,
    pub condition: Option<Condition>,
    pub action: Action,
    pub outcome: Outcome,
    pub reason: String,
    pub at: Wall,
    /// From the failure to the first observation of the healthy stretch; only for `succeeded`.
    pub time_to_recover: Option<Duration>,
}

/// Totals over a span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    pub since: Wall,
    pub all: Totals,
    pub by_action: BTreeMap<Action, Totals>,
    pub incidents: u64,
    pub false_alarms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub superseded: u64,
    pub in_doubt: u64,
    /// Mean time to recover of those that succeeded.
    pub mean_time_to_recover: Option<Duration>,
}

/// What the gauges over 30 days show for one worker; `None` where there is nothing to divide by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRatios {
    /// succeeded / (succeeded + failed)
    pub recovery_success: Option<f64>,
    pub mttr: Option<Duration>,
    /// available time / observed time
    pub availability: Option<f64>,
    /// false alarms / incidents
    pub false_alarms: Option<f64>,
}

/// What the ratios are made of; of several workers they add up, and a mean of ratios would not be true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub succeeded: u64,
    pub failed: u64,
    /// Recoveries with a time, and the sum of their times.
    pub timed: u64,
    pub time_to_recover: Duration,
    pub available: Duration,
    pub observed: Duration,
    pub incidents: u64,
    pub false_alarms: u64,
}

impl Sums {
    pub fn add(&mut self, other: &Sums) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.timed += other.timed;
        self.time_to_recover += other.time_to_recover;
        self.available += other.available;
        self.observed += other.observed;
        self.incidents += other.incidents;
        self.false_alarms += other.false_alarms;
    }

    pub fn ratios(&self) -> WorkerRatios {
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let mean = |sum: Duration| Duration::from_micros(sum.as_micros() as u64 / self.timed.max(1));
        WorkerRatios {
            recovery_success: ratio(self.succeeded, self.succeeded + self.failed),
            mttr: (self.timed > 0).then(|| mean(self.time_to_recover)),
            availability: ratio(self.available.as_micros() as u64, self.observed.as_micros() as u64),
            false_alarms: ratio(self.false_alarms, self.incidents),
        }
    }
}

/// Which deeds to return; newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFilter {
    pub worker: Option<WorkerName>,
    /// Not older than this.
    pub since: Option<Wall>,
    /// Only those before this id, for paging.
    pub before: Option<u64>,
    /// At most this many; capped at [`FILTER_LIMIT_MAX`].
    pub limit: Option<usize>,
}

/// Something that a person did, or a file that people put there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Grows with time; `before=` takes it.
    pub id: u64,
    pub at: Wall,
    /// `alice (uid 1000, pid 4242)`; absent where nobody asked us: the hold file, a signal.
    pub who: Option<String>,
    pub worker: Option<WorkerName>,
    pub unit: Option<UnitName>,
    pub incident: Option<IncidentId>,
    /// Name of the event, as in the live events.
    pub event: String,
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_of_several_workers_come_from_their_sums() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let busy = Sums { succeeded: 90, failed: 10, timed: 90, time_to_recover: hours(9), ..Sums::default() };
        let busy = Sums { available: hours(90), observed: hours(100), incidents: 100, false_alarms: 1, ..busy };
        let quiet = Sums { succeeded: 0, failed: 2, available: hours(1), observed: hours(1), ..Sums::default() };
        let mut all = Sums::default();
        [busy, quiet].iter().for_each(|sums| all.add(sums));
        let ratios = all.ratios();
        assert_eq!(ratios.recovery_success, Some(90.0 / 102.0), "not the mean of 0.9 and 0");
        assert_eq!(ratios.availability, Some(91.0 / 101.0), "weighted by the time that was observed");
        assert_eq!(ratios.mttr, Some(Duration::from_secs(360)));
        assert_eq!(ratios.false_alarms, Some(0.01));
        assert_eq!(Sums::default().ratios(), WorkerRatios::default(), "nothing to divide by");
    }
}
