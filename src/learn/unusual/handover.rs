//! Whether one takes over from a sibling: what came up with one went down with the other, in the same measure at the same time.
//!
//! It is looked at twice: at once, by blocks, and at the end of each hour, by the usual distance to the siblings in the hours
//! before, which jobs and bursts at that very time do not hide.

use super::past::{HOUR, NONE};
use super::{Common, HELD, Habits, Scale, Series, median, scale, value_of};
use crate::model::unusual::Measure;

/// One takes over from another that loses at least this share of what it gains, and the other way round.
const GIVEN: f64 = 0.1;
/// The work of one is taken over by another within so many blocks.
const HANDOVER_BLOCKS: usize = 6;
/// Hours that are remembered; the last is compared with those before it, of which so many must be known.
pub const HOURS: usize = 6;
const HOURS_BEFORE: usize = 3;
/// What work is seen by.
const OF_WORK: [usize; 2] = [Measure::Cpu as usize, Measure::Io as usize];

impl Habits {
    /// It does more since another does as much less than it ever did.
    pub(super) fn takes_over(&self, common: &Common, siblings: &[&Habits]) -> bool {
        let swapped = |moved: &dyn Fn(&Habits, bool) -> Option<f64>| {
            let Some(gain) = moved(self, true) else { return false };
            let given = |loss: f64| loss >= GIVEN * gain && gain >= GIVEN * loss;
            siblings.iter().any(|one| moved(one, false).is_some_and(given))
        };
        let hour_is_over = common.block.is_multiple_of(HOUR);
        let at_once = |measure: usize| swapped(&|one, up| one.change(measure, common, up));
        let in_hours = |measure: usize| hour_is_over && swapped(&|one, up| one.moved(measure, common, up));
        common.block == self.over && OF_WORK.into_iter().any(|measure| at_once(measure) || in_hours(measure))
    }

    /// By how much it has just come to do more, or less than it ever held for an hour, and has done so for three blocks.
    fn change(&self, measure: usize, common: &Common, up: bool) -> Option<f64> {
        let block = common.block;
        let series = self.series[measure].as_deref().filter(|_| self.is_settled(block))?;
        let median = Some(common.medians[measure]).filter(|median| *median != NONE && series.in_group);
        let (past, zero) = (series.past(), median.unwrap_or(0));
        let known = |level: &i16| *level != NONE;
        let now = Some(self.level(measure, block)).filter(known)?.saturating_sub(zero);
        let level = [now, past.ago(0), past.ago(1)].into_iter().filter(known);
        let before = (3..3 + HANDOVER_BLOCKS).map(|ago| past.ago(ago)).filter(known);
        let (level, before) = if up { (level.min()?, before.max()?) } else { (level.max()?, before.min()?) };
        series.gone(measure, (before, level), zero, up)
    }

    /// By how much more or less than its siblings it does in the last hour than in those before it.
    fn moved(&self, measure: usize, common: &Common, up: bool) -> Option<f64> {
        let zero = Some(common.medians[measure]).filter(|median| *median != NONE)?;
        let series = self.series[measure].as_deref()?;
        let [mut before @ .., level] = series.hours;
        before.sort_unstable();
        let unknown = before.iter().take_while(|level| **level == NONE).count();
        let known = level != NONE && before.len() - unknown >= HOURS_BEFORE;
        known.then(|| series.gone(measure, (median(&before[unknown..]), level), zero, up)).flatten()
    }
}

impl Series {
    /// How much lies between two levels, where it is far; for less it must be less than was ever held for an hour.
    fn gone(&self, measure: usize, (before, level): (i16, i16), zero: i16, up: bool) -> Option<f64> {
        let Scale { high, low, .. } = scale(measure);
        let (far, gone) = match up {
            true => (high?, level.saturating_sub(before)),
            false => (low?, before.saturating_sub(level)),
        };
        let left = up || self.past().usual(HELD).is_some_and(|usual| level < usual.bottom);
        let in_values = |level: i16| value_of(measure, level.saturating_add(zero));
        (left && f64::from(gone) / 1000.0 >= far).then(|| (in_values(level) - in_values(before)).abs())
    }

    /// Keeps the usual distance to the siblings in the hour that is over.
    pub(super) fn hour_is_over(&mut self) {
        let Some(beside) = self.beside.as_deref() else { return };
        let mut levels = [NONE; HOUR as usize];
        levels.iter_mut().enumerate().for_each(|(ago, level)| *level = beside.ago(ago));
        levels.sort_unstable();
        let known = &levels[levels.iter().take_while(|level| **level == NONE).count()..];
        self.hours.rotate_left(1);
        self.hours[HOURS - 1] = if known.len() >= levels.len() / 2 { median(known) } else { NONE };
    }
}
