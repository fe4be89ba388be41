//! What is known of an instance's habits, as it outlives a life of ours: no samples, only what they came to.

use serde::{Deserialize, Serialize};

use super::condition::closed_set;
use super::name::{UnitName, WorkerName};
use super::time::Wall;
use super::unusual::Measure;

/// Instances of which it is kept, those that are there first; it is 3 KB of text for each, which is recorded as one input.
pub const HABITS_KEPT: usize = 1_000;

closed_set!(
    /// What may be used up.
    Resource {
        Memory = "memory",
        Tasks = "tasks",
        /// Of the process that is nearest to its limit.
        OpenFiles = "open_files",
    }
);

closed_set!(
    /// What of a measure is usual.
    UsualOf {
        Itself = "itself",
        /// Its distance to the siblings.
        Siblings = "siblings",
        /// What is there in every sample.
        Steady = "steady",
    }
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptHabits {
    pub unit: UnitName,
    pub worker: WorkerName,
    /// When it was there last.
    pub at: Wall,
    pub usual: Vec<KeptUsual>,
    pub growth: Vec<KeptGrowth>,
}

/// What is usual of one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptUsual {
    pub measure: Measure,
    pub of: UsualOf,
    /// Hours in which something was seen.
    pub hours: u16,
    /// The level that 0 stands for, thousandths.
    pub zero: i16,
    /// Number of the next shift of eight hours, and of the first ten shifts that are told of here.
    pub shift: u32,
    pub first: u32,
    /// For each ten shifts, oldest first: the highest levels that were held for 0, 1, 3, ... blocks, and then the lowest.
    pub levels: Vec<Vec<i8>>,
    /// Of the steady part only: how a block of samples scatters, to its median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scatter: Option<f32>,
}

/// How a resource grew in former lives of the process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeptGrowth {
    pub resource: Resource,
    /// A second: bytes of memory, a share of the limit of the others.
    pub slope: f64,
    pub lives: u32,
}
