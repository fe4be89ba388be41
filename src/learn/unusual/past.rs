//! The past of one measure: which levels were held for 5 minutes, 15, half an hour, and 1, 2 and 4 hours.
//!
//! A level counts as known only for as long as it was held: a burst of five minutes makes the level usual for five minutes
//! and not for an hour. So bursts, jobs that come and go and sawtooth are usual where they were seen, and what stays where
//! these only visit is not. Hours are learned two hours later, and what was beyond the usual is held back: it is learned when it
//! has ended by itself, or has lasted for a day.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::habits::{KeptUsual, UsualOf};
use crate::model::unusual::Measure;

/// Samples are put together in blocks; the level of a block is the median of its samples.
pub const BLOCK: Duration = Duration::from_secs(300);
/// How many blocks in a row a level must have been held, for each span; the first is that it was touched at all.
pub const SPANS: [usize; 7] = [0, 1, 3, 6, 12, 24, 48];
/// Blocks of an hour.
pub const HOUR: u32 = 12;
/// Blocks that are remembered one by one: those of the longest span.
const RECENT: usize = SPANS[SPANS.len() - 1];
/// Hours between being seen and being learned.
const LAG: usize = 2;
/// Hours that are put together in one shift.
const SHIFT: usize = 8;
/// Shifts kept: ten days.
const SHIFTS_KEPT: usize = 30;
/// Shifts that are written as one. Always the same ones, so that they grow old however often they are written and read.
const TOGETHER: u32 = 10;
/// A number that no past of ours comes to.
const SHIFT_MAX: u32 = 1 << 24;
/// No level: nothing was seen.
pub const NONE: i16 = i16::MIN;
/// Levels are kept in the past in steps of so many thousandths.
const STEP: i16 = 100;

/// The highest and lowest levels that were held, for each span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    top: [i8; SPANS.len()],
    bottom: [i8; SPANS.len()],
}

impl Range {
    const EMPTY: Range = Range { top: [i8::MIN; SPANS.len()], bottom: [i8::MAX; SPANS.len()] };

    fn is_empty(&self) -> bool {
        self.top[1] < self.bottom[1]
    }

    fn merge(&mut self, other: &Range) {
        for span in 0..SPANS.len() {
            self.top[span] = self.top[span].max(other.top[span]);
            self.bottom[span] = self.bottom[span].min(other.bottom[span]);
        }
    }

    fn include(&mut self, span: usize, top: i16, bottom: i16) {
        self.top[span] = self.top[span].max(whole(top.into(), true));
        self.bottom[span] = self.bottom[span].min(whole(bottom.into(), false));
    }

    fn take(&mut self) -> Range {
        std::mem::replace(self, Range::EMPTY)
    }
}

/// A block in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    pub median: i16,
    pub low: i16,
    pub high: i16,
}

impl Levels {
    /// Nothing was seen.
    pub const UNSEEN: Levels = Levels { median: NONE, low: NONE, high: NONE };

    pub fn to(self, other: i16) -> Levels {
        let from = |level: i16| level.saturating_sub(other);
        Levels { median: from(self.median), low: from(self.low), high: from(self.high) }
    }
}

/// What is to become of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learn {
    Usual,
    /// It is beyond what is usual: held back.
    Beyond,
    /// The instance is not well, or comes up: nothing is learned of it.
    Nothing,
}

/// Which levels are usual for a span. What swings has never held any level for long: then the highest that it was never
/// below for so long is under the lowest that it was never above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    pub top: i16,
    pub bottom: i16,
}

/// What was seen of one measure, or of its distance to the siblings.
#[derive(Debug, Clone)]
pub struct Past {
    /// The level that 0 stands for in the ranges.
    zero: i16,
    /// Levels of the last blocks, newest last.
    blocks: [i16; RECENT],
    /// Number of the newest.
    block: u32,
    open: Range,
    waiting: [Range; LAG],
    held: Range,
    /// Hours since something was held back.
    calm: u8,
    hours: Vec<Range>,
    shifts: VecDeque<Range>,
    /// Number of the next shift.
    shift: u32,
    /// Hours in which something was seen.
    seen: u16,
    usual: Range,
}

impl Past {
    pub fn new(zero: i16) -> Self {
        Past {
            zero,
            blocks: [NONE; RECENT],
            block: 0,
            open: Range::EMPTY,
            waiting: [Range::EMPTY; LAG],
            held: Range::EMPTY,
            calm: 0,
            hours: Vec::new(),
            shifts: VecDeque::new(),
            shift: 0,
            seen: 0,
            usual: Range::EMPTY,
        }
    }

    /// Hours in which something was seen.
    pub fn hours_known(&self) -> u16 {
        self.seen
    }

    /// What is usual for a span; `None` while nothing is known.
    pub fn usual(&self, span: usize) -> Option<Usual> {
        let (top, bottom) = (self.usual.top[span], self.usual.bottom[span]);
        let level = |kept: i8| i16::from(kept) * STEP + self.zero;
        (top != i8::MIN).then(|| Usual { top: level(top), bottom: level(bottom) })
    }

    /// The level of so many blocks ago; [`NONE`] where that is not known.
    pub fn ago(&self, blocks: usize) -> i16 {
        self.blocks[RECENT - 1 - blocks]
    }

    /// Takes in a block; blocks that were not seen are gaps.
    pub fn take(&mut self, block: u32, levels: Levels, learn: Learn) {
        if self.block != 0 && block / HOUR != self.block / HOUR {
            self.close_hour();
        }
        let missed = block.saturating_sub(self.block).clamp(1, RECENT as u32) as usize;
        self.blocks.rotate_left(missed);
        self.blocks[RECENT - missed..].fill(NONE);
        self.blocks[RECENT - 1] = levels.median;
        self.block = block;
        let kept = match learn {
            Learn::Usual => &mut self.open,
            Learn::Beyond => &mut self.held,
            Learn::Nothing => return,
        };
        if learn == Learn::Beyond {
            self.calm = 0;
        }
        kept.include(0, levels.high - self.zero, levels.low - self.zero);
        for (span, count) in SPANS.into_iter().enumerate().skip(1) {
            let last = &self.blocks[RECENT - count..];
            if last.contains(&NONE) {
                continue;
            }
            let held = last.iter().fold((i16::MAX, i16::MIN), |(low, high), one| (low.min(*one), high.max(*one)));
            kept.include(span, held.0 - self.zero, held.1 - self.zero);
        }
    }

    fn close_hour(&mut self) {
        self.seen = self.seen.saturating_add(1);
        self.calm = self.calm.saturating_add(1);
        if self.calm as usize > LAG && !self.held.is_empty() {
            let held = self.held.take();
            self.learn(held);
        }
        let oldest = self.waiting[0];
        self.waiting.rotate_left(1);
        self.waiting[LAG - 1] = self.open.take();
        self.learn(oldest);
    }

    /// What is beyond the usual has lasted so long that the way to it must not be learned either.
    pub fn hold_back(&mut self) {
        for kept in self.waiting.iter_mut().chain([&mut self.open]) {
            self.held.merge(&kept.take());
        }
    }

    /// What was held back is not learned at all.
    pub fn drop_held(&mut self) {
        self.held = Range::EMPTY;
    }

    /// A new process: what it does has no connection with the blocks before. What was held back and had ended before is
    /// learned.
    pub fn begin(&mut self, ended: bool) {
        self.blocks = [NONE; RECENT];
        let held = self.held.take();
        if ended {
            self.learn(held);
        }
    }

    /// All that was seen is usual from now on.
    pub fn accept(&mut self) {
        self.hold_back();
        let held = self.held.take();
        self.learn(held);
    }

    fn learn(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        self.hours.push(range);
        if self.hours.len() >= SHIFT {
            let shift = self.hours.drain(..).fold(Range::EMPTY, |mut sum, hour| {
                sum.merge(&hour);
                sum
            });
            if self.shifts.len() >= SHIFTS_KEPT {
                self.shifts.pop_front();
            }
            self.shifts.push_back(shift);
            self.shift = self.shift.saturating_add(1);
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.usual = Range::EMPTY;
        for known in self.shifts.iter().chain(&self.hours) {
            self.usual.merge(known);
        }
    }

    /// What outlives it; `None`: nothing is known. The days are told apart less finely: ten shifts become one.
    pub fn kept(&self, measure: Measure, of: UsualOf) -> Option<KeptUsual> {
        let begin = self.shift - self.shifts.len() as u32;
        let shifts = (begin..).zip(&self.shifts).chain(self.hours.iter().map(|range| (self.shift, range)));
        let mut groups: BTreeMap<u32, Range> = BTreeMap::new();
        for (number, range) in shifts {
            groups.entry(number / TOGETHER).or_insert(Range::EMPTY).merge(range);
        }
        let first = *groups.keys().next()?;
        let levels = groups.values().map(|range| [range.top, range.bottom].concat()).collect();
        // Hours that are no shift yet are one, or none, whichever is nearer.
        let shift = self.shift + u32::from(self.hours.len() >= SHIFT / 2);
        let (hours, zero) = (self.seen, self.zero);
        Some(KeptUsual { measure, of, hours, zero, shift, first, levels, scatter: None })
    }

    /// What [`Self::kept`] said once, if less is known by now. It is forgotten in its time.
    pub fn recall(&mut self, known: &KeptUsual) {
        if known.hours <= self.seen || known.zero != self.zero || known.first > SHIFT_MAX {
            return;
        }
        let own: Vec<Range> = self.shifts.drain(..).chain(self.hours.drain(..)).collect();
        for (number, levels) in (known.first..).zip(&known.levels).take(SHIFTS_KEPT) {
            let (top, bottom) = levels.split_at_checked(SPANS.len()).unwrap_or_default();
            let (Ok(top), Ok(bottom)) = (top.try_into(), bottom.try_into()) else { continue };
            let begin = number * TOGETHER;
            // The last ten may not have been over.
            self.shift = known.shift.clamp(begin + 1, begin + TOGETHER);
            self.shifts.extend((begin + 1..self.shift).map(|_| Range::EMPTY).chain([Range { top, bottom }]));
            self.shifts.drain(..self.shifts.len().saturating_sub(SHIFTS_KEPT));
        }
        self.seen = known.hours.saturating_add(self.seen);
        own.into_iter().for_each(|range| self.learn(range));
        self.refresh();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.hours.capacity() + self.shifts.capacity()) * size_of::<Range>()
    }
}

/// The step outside of which the level does not lie.
fn whole(level: i32, up: bool) -> i8 {
    let step = i32::from(STEP);
    let steps = if up { (level + step - 1).div_euclid(step) } else { level.div_euclid(step) };
    steps.clamp(i32::from(i8::MIN) + 1, i32::from(i8::MAX) - 1) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many hours at a level.
    fn run(past: &mut Past, hours: u32, level: i16) {
        for block in past.block + 1..=past.block + hours * HOUR {
            past.take(block, Levels { median: level, low: level, high: level }, Learn::Usual);
        }
    }

    fn top(past: &Past) -> i16 {
        past.usual(1).expect("known").top
    }

    /// Written and read.
    fn again(past: &Past) -> Past {
        let kept = past.kept(Measure::Cpu, UsualOf::Itself).expect("something is known");
        assert!(kept.levels.len() <= 1 + SHIFTS_KEPT.div_ceil(TOGETHER as usize), "{kept:?}");
        let mut read = Past::new(0);
        read.recall(&serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap());
        read.block = past.block;
        read
    }

    #[test]
    fn what_is_read_again_is_as_it_was() {
        for hours in [10, 30, 79, 80, 81, 90, 239, 240, 300] {
            let mut past = Past::new(0);
            run(&mut past, hours / 2, 500);
            run(&mut past, hours - hours / 2, 900);
            let read = again(&past);
            assert_eq!((read.usual, read.seen, read.shift), (past.usual, past.seen, read.shift), "{hours} hours");
            let kept = |past: &Past| {
                past.kept(Measure::Cpu, UsualOf::Itself).map(|kept| (kept.levels, kept.first, kept.hours))
            };
            assert_eq!(kept(&again(&read)), kept(&read), "{hours} hours");
        }
        assert_eq!(Past::new(0).kept(Measure::Cpu, UsualOf::Itself), None);
    }

    #[test]
    fn it_is_forgotten_in_its_time_however_often_it_is_read() {
        let mut past = Past::new(0);
        run(&mut past, 24, 900);
        for day in 0..10 {
            assert_eq!(top(&past), 900, "day {day}");
            past = again(&past);
            run(&mut past, 24, 500);
        }
        // Ten shifts are forgotten together, ten days after the last of them.
        for _ in 0..6 {
            past = again(&past);
            run(&mut past, 24, 500);
        }
        assert_eq!(top(&past), 500);
    }

    #[test]
    fn what_is_seen_now_counts_beside_what_was() {
        let mut past = Past::new(0);
        run(&mut past, 48, 900);
        let kept = past.kept(Measure::Cpu, UsualOf::Itself).unwrap();
        let mut young = Past::new(0);
        run(&mut young, 8, 1_400);
        young.recall(&kept);
        assert_eq!((top(&young), young.usual(1).unwrap().bottom), (1_400, 900));
        let mut old = Past::new(0);
        run(&mut old, 60, 500);
        old.recall(&kept);
        assert_eq!(top(&old), 500, "more is known than that");
    }

    #[test]
    fn nonsense_is_let_be() {
        let mut past = Past::new(0);
        run(&mut past, 24, 500);
        let good = past.kept(Measure::Cpu, UsualOf::Itself).unwrap();
        let none = |known: KeptUsual| {
            let mut read = Past::new(0);
            read.recall(&known);
            assert_eq!(read.usual(1), None, "{known:?}");
            assert!(read.shifts.len() <= SHIFTS_KEPT);
        };
        none(KeptUsual { zero: 7, ..good.clone() });
        none(KeptUsual { first: u32::MAX, ..good.clone() });
        none(KeptUsual { levels: vec![vec![1, 2, 3]; 50], ..good.clone() });
        none(KeptUsual { levels: Vec::new(), shift: u32::MAX, ..good });
    }
}
