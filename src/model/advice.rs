//! What could be configured better, with the evidence for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::closed_set;
use super::name::WorkerName;
use super::time::Wall;

closed_set!(
    /// What a proposal is about.
    ProposalKind {
        /// A threshold that cries wolf.
        Threshold = "threshold",
        /// Pauses between attempts that are too short or too long.
        Pauses = "pauses",
        /// An action that never helps.
        UselessAction = "useless_action",
        /// A learned order that has settled.
        SettledOrder = "settled_order",
        /// Drains that end far earlier than they may, or never.
        DrainTime = "drain_time",
        /// Memory that is taken back and does not stay away.
        ReclaimTarget = "reclaim_target",
        /// Instances that are started again and again.
        MinInstances = "min_instances",
        /// Memory that fills at regular intervals.
        Leak = "leak",
        /// Workers that fail at the same time.
        FallTogether = "fall_together",
    }
);

impl ProposalKind {
    /// It changes the sequence or a parameter of recovery, so that a replay can try it.
    pub fn is_of_recovery(self) -> bool {
        matches!(
            self,
            ProposalKind::Pauses
                | ProposalKind::UselessAction
                | ProposalKind::SettledOrder
                | ProposalKind::DrainTime
                | ProposalKind::ReclaimTarget
        )
    }
}

closed_set!(
    /// How much the evidence says.
    Confidence {
        /// It is worth a try; whether it helps is not in the evidence.
        Try = "try",
        /// The evidence is for it.
        Likely = "likely",
        /// Much evidence, and none against it.
        Sure = "sure",
    }
);

/// A change of the configuration that the past is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    pub kind: ProposalKind,
    pub worker: WorkerName,
    /// Further workers that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<WorkerName>,
    /// In one line.
    pub title: String,
    /// What was seen, a sentence each.
    pub evidence: Vec<String>,
    /// What it would bring, and what it would cost.
    pub gain: String,
    /// The change; empty where the configuration has nothing that would help.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub toml: String,
    pub confidence: Confidence,
    /// Where a key that it changes is set now, as `/etc/unitmedic/unitmedic.toml:12`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_at: Vec<String>,
}

impl Proposal {
    pub fn is_about(&self, worker: &WorkerName) -> bool {
        self.worker == *worker || self.others.contains(worker)
    }
}

/// All that is proposed, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    pub since: Wall,
    pub until: Wall,
    /// Incidents that were looked at.
    pub incidents: usize,
    /// There are more in that time than are looked at: the oldest were left out.
    pub cut: bool,
    pub proposals: Vec<Proposal>,
}
