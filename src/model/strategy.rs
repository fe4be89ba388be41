//! What is known of actions: how often each helped for which failure, how long it took, and which past incidents were alike.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::condition::Condition;
use super::incident::{Incident, IncidentId, Outcome, Resolution};
use super::name::{UnitName, WorkerName};
use super::pattern::PatternId;
use super::time::Wall;

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// `None`: any worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    pub condition: Condition,
    /// What its log said before; `None`: whatever it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternId>,
}

/// What is known of an action in a case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Experience")]
pub struct Evidence {
    /// Tries that helped and that did not, faded with time.
    pub helped: f64,
    pub failed: f64,
    /// In all, for the reader.
    pub tries: u64,
    pub successes: u64,
    /// Mean time until it was well again, when it helped; seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<f64>,
    /// Mean time that was lost when it did not; seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasted: Option<f64>,
    /// When it was last tried, in time that unitmedic has watched since it began to learn.
    pub last: Duration,
    /// How much what came lately differs from what was expected, nats.
    #[serde(default)]
    pub surprise: f64,
}

/// All that is known of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub case: Case,
    /// Where it was learned, if not on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Provenance>,
    pub actions: BTreeMap<Action, Evidence>,
}

/// Where knowledge comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub host: String,
    pub exported: Wall,
    /// Of the unitmedic that wrote it.
    pub version: String,
}

/// One action of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    pub action: Action,
    /// How likely it is to help, with the bounds within which that is by 95 %.
    pub chance: f64,
    pub low: f64,
    pub high: f64,
    /// On this host, for this worker.
    pub tries: u64,
    pub successes: u64,
    /// How long it takes when it helps.
    pub took: Duration,
    /// Expected time and harm for each recovery by it: what it is ranked by.
    pub cost: Duration,
}

/// An order of actions, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranking {
    pub actions: Vec<Ranked>,
    /// Not the default order.
    pub learned: bool,
    /// In a sentence.
    pub why: String,
}

/// What is known of a case, ready to be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strategy {
    pub case: Case,
    /// The template of the case's pattern, where it is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The first so many actions of the ranking make the plan; of the others it is only known whether they helped.
    pub planned: usize,
    pub ranking: Ranking,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Provenance>,
}

/// Knowledge on its way to another host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// [`EXPORT_FORMAT`]
    pub format: String,
    pub from: Provenance,
    pub known: Vec<Known>,
}

pub const EXPORT_FORMAT: &str = "unitmedic strategies 1";

/// Closed incidents that one at hand is compared with; the oldest goes first.
pub const PAST_KEPT: usize = 512;

/// A closed incident, as far as it is compared with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    pub incident: IncidentId,
    pub worker: WorkerName,
    pub unit: UnitName,
    pub at: Wall,
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternId>,
    /// Actions that were tried and did not help.
    pub in_vain: Vec<Action>,
    pub helped: Option<Action>,
    pub resolution: Resolution,
    pub time_to_recover: Option<Duration>,
}

/// A past incident that was alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Similar {
    #[serde(flatten)]
    pub past: Past,
    /// From 0, nothing in common, to 1.
    pub likeness: f64,
    /// What they have in common, in words.
    pub why: String,
}

impl Past {
    /// `None` while it is open, and for an errand.
    pub fn of(incident: &Incident) -> Option<Self> {
        if incident.conditions.is_empty() {
            return None;
        }
        let tried = |outcome: Outcome| {
            incident
                .attempts
                .iter()
                .filter(move |attempt| attempt.outcome == Some(outcome))
                .map(|attempt| attempt.action)
        };
        let mut in_vain: Vec<Action> = tried(Outcome::Failed).collect();
        in_vain.sort();
        in_vain.dedup();
        Some(Past {
            incident: incident.id,
            worker: incident.worker.clone(),
            unit: incident.unit.clone(),
            at: incident.opened_wall,
            conditions: incident.conditions.keys().copied().collect(),
            pattern: incident.pattern.as_ref().map(|pattern| pattern.id),
            in_vain,
            helped: tried(Outcome::Succeeded).next_back(),
            resolution: incident.resolution?,
            time_to_recover: incident.time_to_recover,
        })
    }
}
