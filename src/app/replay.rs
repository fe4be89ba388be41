//! The recorded inputs run through the engine again, as they were and with other settings, and what comes out
//! differently.
//!
//! Reads the ring twice, a line at a time. The first reading is the baseline: the recorded settings with the recorded
//! answers, which must give the recorded orders again. The second is the candidate: its own settings, the recorded
//! answers where it does what was done, and a simple model of the world where it does not (`world`). Changes nothing,
//! asks nobody.

mod baseline;
mod candidate;
mod decisions;
mod player;
pub mod report;
mod story;
mod tally;
mod tape;
mod units;
mod world;

use std::path::Path;
use std::time::Duration;

use crate::model::{Settings, Wall, WorkerName};

pub use crate::adapters::store::recorder::{ReadError, inputs_dir};
pub use report::{Difference, ReplayReport, Sums, Trouble};

/// The same act of both counts as the same decision when they are no further apart.
pub(crate) const NEAR: Duration = Duration::from_secs(5);
/// Differences that a report has, where nobody asks for another number.
pub const DIFFERENCES: usize = 20;

/// Which part of the recordings counts, and how much is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What was before is run, too, and not counted.
    pub since: Option<Wall>,
    /// What was after is not run.
    pub until: Option<Wall>,
    /// Only this worker is counted.
    pub worker: Option<WorkerName>,
    /// Differing decisions that are told in full.
    pub differences: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { since: None, until: None, worker: None, differences: DIFFERENCES }
    }
}

impl Options {
    fn counts(&self, at: Wall) -> bool {
        self.since.is_none_or(|since| at >= since)
    }
}

/// How far a replay is: bytes read of those to be read, both readings together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// Replays the ring in `recordings` with `settings`. What cannot be read in it is told in the report; an error is that
/// there is nothing to read.
pub fn replay(
    recordings: &Path,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<ReplayReport, ReadError> {
    let mut tape = tape::Tape::open(recordings, options.until)?;
    let total = 2 * tape.total();
    let baseline = baseline::run(&mut tape, options, &mut |done| progress(Progress { done, total }));
    let mut again = tape::Tape::open(recordings, options.until)?;
    // The daemon may have gone on recording: both readings end at the same place.
    again.stop_after(tape.position());
    let half = total / 2;
    let candidate = candidate::run(&mut again, &baseline.story, settings, options, &mut |done| {
        progress(Progress { done: half + done, total });
    });
    progress(Progress { done: total, total });
    Ok(report::report(&tape, baseline, candidate, settings, options))
}

#[cfg(test)]
mod tests;
