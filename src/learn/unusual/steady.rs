//! The steady part of CPU use: what is there in every sample, however much there is to do.
//!
//! Use that comes from work scatters, and the more of it there is the wider it scatters. A thread that spins adds the same to
//! every sample and no scatter. So what the scatter of a block does not account for is steady, whatever day, week, surges and
//! bursts make of the rest. A job may be steady, too, but ends: of the steady part is learned how much was there for how long.

use crate::model::habits::{KeptUsual, UsualOf};
use crate::model::unusual::Measure;

use super::past::{Learn, Levels, NONE, Past, SPANS};
use super::{ACCEPTED_BLOCKS, CLEAR_BELOW, DAYS_HOURS, MATURE_HOURS, NO_BURST_BLOCKS, Run, SHARED};

/// Half a CPU more than it ever was is far, in percent of a CPU.
const FAR: f64 = 50.0;
/// Of a block that uses much this share of it, as the scatter of a few samples tells no better.
const FAR_SHARE: f64 = 0.35;
/// From so much on, in percent, it is a job.
const JOB: f64 = 0.5 * FAR;
/// The steady part is kept in fiftieths of a percent, up to 500 %.
const KEPT: f64 = 50.0;
const MOST: f64 = 500.0;
const ZERO: i16 = 12_500;
/// The median of so many blocks is what is judged.
const SMOOTH: usize = 3;
/// How it usually scatters follows a block by this share at least.
const FOLLOWS: f32 = 0.02;
/// The least that a block scatters, to its median: a counter has steps.
const SCATTER_MIN: f64 = 0.001;
/// Less of a CPU, in percent, tells nothing of how it scatters.
const TELLS: f64 = 0.5;
/// It must last so many times longer than what is asked, for each span; and one alone that has jobs at least for so many.
const PATIENCE: [u32; SPANS.len()] = [4, 4, 4, 6, 12, 14, 24];
const PATIENCE_ALONE: u32 = 12;
/// Jobs that come together last less than so many times the longest of them.
const TOGETHER: u32 = 2;

/// For each span, how far it is beyond what was held for so long; from 1 on it is far.
pub type Distances = [f64; SPANS.len()];

/// The middle half of the samples of a block, in percent of a CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scatter {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// What is known of the steady part of one instance.
#[derive(Debug, Clone)]
pub struct Steady {
    /// Of the last closed block.
    pub scatter: Option<Scatter>,
    /// The scatter of a block to its median, as it usually is; 0 while nothing is known.
    share: f32,
    /// Blocks that this is known of.
    blocks: u16,
    recent: [i16; SMOOTH],
    /// The median of the last block, in percent of a CPU.
    median: f64,
    past: Past,
    runs: [Run; SPANS.len()],
}

/// What is there now, to be compared with what a sibling had.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    level: i16,
    median: f64,
}

impl Steady {
    pub fn new() -> Self {
        let (recent, runs) = ([NONE; SMOOTH], Default::default());
        Steady { scatter: None, share: 0.0, blocks: 0, recent, median: 0.0, past: Past::new(ZERO), runs }
    }

    /// A new process.
    pub fn begin(&mut self, block: u32) {
        let ended = self.beyond_since(block).is_none();
        (self.scatter, self.recent, self.runs) = (None, [NONE; SMOOTH], Default::default());
        self.past.begin(ended);
    }

    /// Takes in a block that is over.
    pub fn note(&mut self, scatter: Scatter) {
        self.median = scatter.median;
        let worked = if self.share > 0.0 { (scatter.high - scatter.low) / f64::from(self.share) } else { f64::MAX };
        self.recent.rotate_left(1);
        self.recent[SMOOTH - 1] = ((scatter.median - worked).clamp(0.0, MOST) * KEPT) as i16;
    }

    /// Judges it; `known`: a sibling had as much for as long, or has it now.
    pub fn judge(&mut self, block: u32, known: impl Fn(usize, Present) -> bool) {
        let Some(present) = self.present().filter(|_| self.past.hours_known() >= MATURE_HOURS) else { return };
        let mut far = self.distances(present);
        for (span, far) in far.iter_mut().enumerate().filter(|(_, far)| **far >= CLEAR_BELOW) {
            *far = if known(span, present) { 0.0 } else { *far };
        }
        self.runs.iter_mut().zip(far).for_each(|(run, far)| run.goes_on(block, far));
    }

    /// Learns from the block that was noted.
    pub fn take(&mut self, block: u32, scatter: Scatter, learn: Learn) {
        if learn == Learn::Usual {
            self.learn_scatter(scatter);
        }
        if learn == Learn::Nothing {
            self.past.drop_held();
        }
        if let Some(Present { level, .. }) = self.present() {
            self.past.take(block, Levels { median: level, low: level, high: level }, learn);
        }
        match self.runs.iter().map(|run| run.lasts(block)).max().unwrap_or(0) {
            ..NO_BURST_BLOCKS => {}
            ACCEPTED_BLOCKS.. => {
                self.past.accept();
                self.runs = Default::default();
            }
            _ => self.past.hold_back(),
        }
    }

    /// A running median: each block moves it by the same share, up or down.
    fn learn_scatter(&mut self, Scatter { low, median, high }: Scatter) {
        if median < TELLS {
            return;
        }
        let share = ((high - low) / median).max(SCATTER_MIN) as f32;
        self.blocks = self.blocks.saturating_add(1);
        let step = (1.0 / f32::from(self.blocks)).max(FOLLOWS);
        self.share = match self.blocks {
            1 => share,
            _ if share > self.share => self.share * (1.0 + step),
            _ => self.share / (1.0 + step),
        };
    }

    fn present(&self) -> Option<Present> {
        let mut recent = self.recent;
        recent.sort_unstable();
        (recent[0] != NONE).then_some(Present { level: recent[SMOOTH / 2], median: self.median })
    }

    fn distances(&self, present: Present) -> Distances {
        let far = FAR.max(FAR_SHARE * present.median) * KEPT;
        let beyond = |span| self.past.usual(span).map_or(0.0, |usual| f64::from(present.level) - f64::from(usual.top));
        std::array::from_fn(|span| beyond(span).max(0.0) / far)
    }

    /// It has had as much for as long, or left its own usual just so.
    pub fn knows(&self, span: usize, present: Present) -> bool {
        let had = self.past.usual(span).is_some() && self.distances(present)[span] < 1.0;
        had || self.present().is_some_and(|own| self.distances(own)[span] >= SHARED)
    }

    /// The first block of what goes on beyond the usual.
    pub fn beyond_since(&self, block: u32) -> Option<u32> {
        self.runs.iter().filter(|run| run.holds(block)).map(|run| run.first).min()
    }

    /// What outlives it; `None`: nothing is known.
    pub fn kept(&self, measure: Measure) -> Option<KeptUsual> {
        let kept = self.past.kept(measure, UsualOf::Steady)?;
        Some(KeptUsual { scatter: Some(self.share), ..kept })
    }

    /// What [`Self::kept`] said once, if less is known by now.
    pub fn recall(&mut self, known: &KeptUsual) {
        let share = known.scatter.filter(|share| share.is_finite() && *share > 0.0);
        let Some(share) = share.filter(|_| known.hours > self.past.hours_known()) else { return };
        (self.share, self.blocks) = (share, u16::MAX);
        self.past.recall(known);
    }

    /// How far the strongest run is, now.
    pub fn far(&self, block: u32) -> f64 {
        let Some(present) = self.present() else { return 0.0 };
        let held = self.distances(present).into_iter().zip(&self.runs).filter(|(_, run)| run.holds(block));
        held.map(|(far, _)| far).fold(0.0, f64::max)
    }

    /// The first block of the longest run that is long enough; `alone`: no sibling tells how long jobs last.
    pub fn longest(&self, block: u32, blocks: u32, alone: bool) -> Option<u32> {
        if self.past.hours_known() < DAYS_HOURS {
            return None;
        }
        let job = |span: &usize| self.past.usual(*span).is_some_and(|usual| f64::from(usual.top) >= JOB * KEPT);
        let longest = (0..SPANS.len()).rev().find(job);
        let least = if alone && longest.is_some() { PATIENCE_ALONE } else { 0 };
        let enough = |span: usize| {
            // More than a job takes may be two of them, for as long as they last.
            let together = longest.filter(|longest| span <= *longest).map_or(0, |span| TOGETHER * SPANS[span] as u32);
            (blocks * PATIENCE[span].max(least)).max(together)
        };
        let long = self.runs.iter().enumerate().filter(|(span, run)| run.lasts(block) >= enough(*span));
        long.map(|(_, run)| run.first).min()
    }

    /// Bytes, with those on the heap.
    pub fn bytes(&self) -> usize {
        size_of::<Steady>() + self.past.heap_bytes()
    }
}
