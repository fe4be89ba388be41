//! Unusual behaviour of an instance: against its own past, and against its siblings at the same time.
//!
//! Measures are taken as levels (logarithms above a floor below which nothing matters) in blocks of five minutes. A level is
//! unusual when it lies far beyond all that the instance, or a sibling, has held for as long before ([`past`]), and goes on for
//! longer than that. Where there are at least three siblings, what counts is the distance to their median, which takes out the
//! rhythm that they have in common: it must be far from what it usually is *and* far from the siblings as they differ now.
//!
//! One that takes over what a sibling gives up has a new role ([`handover`]), which is learned for a day before it is judged in
//! full. Of CPU what is there in every sample is judged for itself ([`steady`]): a thread that spins does not come and go.
//! What nobody was ever at is a matter of 15 minutes; the longer it was held before, the longer it takes, up to eight hours.
//! No data is no anomaly.

mod handover;
mod past;
mod steady;

use std::time::Duration;

use crate::model::Mono;
use crate::model::habits::{KeptUsual, UsualOf};
use crate::model::unusual::{Against, Measure, Siblings, Unusual};

use handover::HOURS;
use past::{BLOCK, HOUR, Learn, Levels, NONE, Past, SPANS, Usual};
use steady::{Present, Scatter, Steady};

/// Samples of a block are spread over so many slots; of those in one slot the last counts.
const SLOTS: usize = 15;
/// So many samples of a block tell how it scatters.
const SCATTER_SAMPLES: usize = 4;
/// Fewer siblings say nothing.
const SIBLINGS_MIN: usize = 3;
/// So many siblings are looked at.
pub const SIBLINGS_MAX: usize = 64;
/// Hours of its own that make a past that stands alone.
const MATURE_HOURS: u16 = 24;
/// Hours of its own until the siblings are asked.
const YOUNG_HOURS: u16 = 1;
/// While the past is not mature, a distance must be so many times larger, and last so many times longer.
const YOUNG_CAUTION: f64 = 1.5;
const YOUNG_PATIENCE: u32 = 8;
/// A past without siblings that has not seen a whole week yet must be exceeded by so many times more.
const LONE_CAUTION: f64 = 1.15;
/// What is held for longer than an hour is seen seldom, so that another day may differ by so many times more.
const SELDOM: f64 = 1.75;
const WEEK_HOURS: u16 = 7 * 24;
/// The span whose levels tell where it usually is: what is held for an hour.
const HELD: usize = 4;
/// The usual must be left by this share of its width on that side.
const WIDTH_SHARE: f64 = 0.4;
/// The distance to the siblings that was held for half an hour or more varies less.
const WIDTH_SHARE_LONGER: f64 = 0.25;
const LONGER: usize = 3;
/// Siblings differ by chance by so many of their deviations.
const DEVIATIONS: f64 = 2.5;
/// Of so many siblings one may be unusual as well.
const SPARED_FROM: usize = 5;
/// The median of distances to the median, as a standard deviation.
const MAD_SCALE: f64 = 1.4826;
/// After a start nothing is said for so many blocks: 1 h with siblings, 2 h without; of memory, which grows for hours, 6 h.
const SETTLES_BLOCKS: u32 = 12;
const SETTLES_ALONE_BLOCKS: u32 = 24;
const SETTLES_MEMORY_BLOCKS: u32 = 72;
/// What is held for longer than an hour is known of a new process alone after so many: twice the longest span.
const SETTLES_LONG_BLOCKS: u32 = 2 * SPANS[SPANS.len() - 1] as u32;
/// What goes on for so many blocks (a day) has become usual.
const ACCEPTED_BLOCKS: u32 = 288;
/// From so many blocks on it is no burst: what led to it is not learned either.
const NO_BURST_BLOCKS: u32 = 3;
/// So many blocks within the usual end it.
const CALM_BLOCKS: u32 = 2;
/// What is beyond stays so until it is below this share of the distance.
const CLEAR_BELOW: f64 = 0.7;
/// A sibling that is by this share of the distance beyond its usual shares the cause.
const SHARED: f64 = 0.5;
/// For so many blocks (a day) after it took over it is judged as one that is young.
const FRESH_BLOCKS: u32 = 288;
const FRESH_PATIENCE: u32 = 8;
/// Less is a matter of so many times longer: there may be nothing to do.
const LOW_PATIENCE: u32 = 2;
/// And at least so many times longer than what is asked.
const LOW_PATIENCE_LEAST: u32 = 4;
/// Less is judged by what was held so low for so long: an hour, and of one alone a quarter of an hour.
const LOW_SPAN: usize = HELD;
const LOW_SPAN_ALONE: usize = 2;
/// Of what is counted over a window.
const WINDOW_PATIENCE: u32 = 2;
/// As long as a past has not seen two days, or without siblings a whole week.
const EARLY_PATIENCE: u32 = 4;
/// IO comes with jobs, of which one alone has seen few.
const EARLY_PATIENCE_IO: u32 = 8;
const DAYS_HOURS: u16 = 50;
/// So many times longer it must last, for each of the spans.
const PATIENCE: [u32; SPANS.len()] = [1, 2, 3, 6, 12, 15, 28];
/// The same of one alone that has not seen a whole week.
const LONE_PATIENCE: [u32; SPANS.len()] = [1, 2, 3, 6, 12, 18, 32];
/// Strength at which unusual begins, and the most that is said.
const STRENGTH_MIN: f64 = 3.0;
const STRENGTH_MAX: f64 = 30.0;

/// The level in the middle of those that can be kept.
const LEVEL_ZERO: i16 = 12_500;

const MEASURES: usize = Measure::ALL.len();

/// One sample. What is not known is `None`, never zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading([Option<f64>; MEASURES]);

impl Reading {
    pub fn with(mut self, measure: Measure, value: Option<f64>) -> Self {
        self.0[measure as usize] = value.filter(|value| value.is_finite() && *value >= 0.0);
        self
    }
}

/// How a measure is judged.
struct Scale {
    /// Levels are logarithms of multiples of it.
    floor: f64,
    /// Less than that is never too much.
    least: f64,
    /// How far above the usual is far, in levels (0.7 is twice); `None`: more is never bad.
    high: Option<f64>,
    /// How far below.
    low: Option<f64>,
    /// What another day of the week may make of it.
    week: f64,
}

const fn scale(measure: usize) -> Scale {
    const MIB: f64 = 1_048_576.0;
    const fn of(floor: f64, least: f64, high: Option<f64>, low: Option<f64>, week: f64) -> Scale {
        Scale { floor, least, high, low, week }
    }
    match Measure::ALL[measure] {
        Measure::Cpu => of(0.1, 10.0, Some(0.6), Some(1.2), 1.5),
        // Little memory is what a process has that was started.
        Measure::Memory => of(32.0 * MIB, 64.0 * MIB, Some(0.4), None, 0.1),
        Measure::Tasks => of(4.0, 8.0, Some(0.5), Some(0.7), 0.2),
        Measure::Io => of(MIB / 64.0, MIB, Some(1.1), Some(1.4), 0.5),
        Measure::Errors => of(0.5, 1.0, Some(1.2), None, 0.3),
    }
}

/// What an instance has more of when it takes over from another; memory is its own.
fn is_of_role(measure: usize) -> bool {
    Measure::ALL[measure] != Measure::Memory
}

fn level_of(measure: usize, value: f64) -> i16 {
    ((value / scale(measure).floor).ln_1p() * 1000.0).min(25_000.0) as i16
}

fn value_of(measure: usize, level: i16) -> f64 {
    (f64::from(level) / 1000.0).exp_m1() * scale(measure).floor
}

/// The number of the block of a moment; 0 is none.
fn block_of(at: Mono) -> u32 {
    (at.0 / BLOCK.as_micros() as u64) as u32 + 1
}

/// What an instance usually does, and what of that it does not do now.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    block: u32,
    /// The block before that was sampled.
    over: u32,
    /// The first block of the present activation.
    began: u32,
    /// The block in which it took over the work of a sibling; 0 is none.
    role: u32,
    /// All samples of the block were taken while it was well; and those of the block before.
    well: bool,
    was_well: bool,
    series: [Option<Box<Series>>; MEASURES],
}

/// One measure of one instance.
#[derive(Debug, Clone)]
struct Series {
    slots: [i16; SLOTS],
    /// The last closed block.
    last: Levels,
    alone: Past,
    beside: Option<Box<Past>>,
    /// For each span, above and below.
    runs: [Run; 2 * SPANS.len()],
    /// It was last judged against the siblings.
    in_group: bool,
    /// The present activation has had its time to settle.
    settled: bool,
    /// What it does is new: it took over from a sibling less than a day ago.
    fresh: bool,
    /// The usual distance to the siblings in each of the last hours, newest last.
    hours: [i16; HOURS],
    /// Of CPU only.
    steady: Option<Box<Steady>>,
}

/// Blocks in a row beyond the usual.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u32,
    last: u32,
}

impl Run {
    fn holds(&self, block: u32) -> bool {
        self.first != 0 && block.saturating_sub(self.last) < CALM_BLOCKS
    }

    /// `far`: how far it is beyond the usual; from 1 on a run begins.
    fn goes_on(&mut self, block: u32, far: f64) {
        let goes_on = self.holds(block.saturating_sub(1));
        if far >= if goes_on { CLEAR_BELOW } else { 1.0 } {
            self.first = if goes_on { self.first } else { block };
            self.last = block;
        }
    }

    fn lasts(&self, block: u32) -> u32 {
        if self.holds(block) { self.last + 1 - self.first } else { 0 }
    }
}

/// A block of one measure that is to be judged.
struct Frame {
    measure: usize,
    block: u32,
    levels: Levels,
    since_start: u32,
    /// Since it took over from a sibling.
    since_role: u32,
    well: bool,
}

/// What the instances of a worker have in common in a block: their medians.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    block: u32,
    medians: [i16; MEASURES],
}

impl Common {
    pub fn of<'a>(block: u32, members: impl Iterator<Item = &'a Habits> + Clone) -> Self {
        let mut levels = Vec::with_capacity(SIBLINGS_MAX + 1);
        let medians = std::array::from_fn(|measure| {
            levels.clear();
            let settled = members.clone().filter(|one| one.is_settled(block));
            levels.extend(settled.map(|one| one.level(measure, block)).filter(|level| *level != NONE));
            levels.sort_unstable();
            if levels.len() > SIBLINGS_MIN { median(&levels) } else { NONE }
        });
        Common { block, medians }
    }

    pub fn block(&self) -> u32 {
        self.block
    }
}

/// Of a sorted list that is not empty.
fn median(sorted: &[i16]) -> i16 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => ((i32::from(sorted[half - 1]) + i32::from(sorted[half])) / 2) as i16,
        _ => sorted[half],
    }
}

/// How the siblings are now.
struct Group {
    count: usize,
    low: i16,
    high: i16,
    /// The lowest and the highest, without one on each side where there are many.
    most: (i16, i16),
    median: i16,
    /// In levels.
    deviation: f64,
}

impl Group {
    fn of(measure: usize, block: u32, siblings: &[&Habits]) -> Option<Self> {
        let mut levels: Vec<i16> =
            siblings.iter().filter(|one| one.is_settled(block)).map(|one| one.level(measure, block)).collect();
        levels.retain(|level| *level != NONE);
        if levels.len() < SIBLINGS_MIN {
            return None;
        }
        levels.sort_unstable();
        let (count, low, high) = (levels.len(), levels[0], levels[levels.len() - 1]);
        let spared = usize::from(count >= SPARED_FROM);
        let most = (levels[spared], levels[count - 1 - spared]);
        let median = median(&levels);
        levels.iter_mut().for_each(|level| *level = level.abs_diff(median).min(i16::MAX as u16) as i16);
        levels.sort_unstable();
        let deviation = f64::from(self::median(&levels)) / 1000.0 * MAD_SCALE;
        Some(Group { count, low, high, most, median, deviation })
    }

    fn in_values(&self, measure: usize) -> Siblings {
        Siblings { count: self.count, low: value_of(measure, self.low), high: value_of(measure, self.high) }
    }
}

impl Habits {
    /// A new process runs: what the former one was about to be told of is over.
    pub fn begin(&mut self, at: Mono) {
        self.began = block_of(at);
        for series in self.series.iter_mut().flatten() {
            series.begin(self.over);
        }
    }

    /// Nothing has been seen of it.
    pub fn is_new(&self) -> bool {
        self.block == 0
    }

    /// What outlives it: what was usual of each measure.
    pub fn kept(&self) -> Vec<KeptUsual> {
        let measures = Measure::ALL.iter().zip(&self.series);
        let seen = measures.filter_map(|(measure, series)| Some((*measure, series.as_ref()?)));
        let of = |measure: Measure, series: &Series| {
            let alone = series.alone.kept(measure, UsualOf::Itself);
            let beside = series.beside.as_ref().and_then(|past| past.kept(measure, UsualOf::Siblings));
            let steady = series.steady.as_ref().and_then(|steady| steady.kept(measure));
            [alone, beside, steady]
        };
        seen.flat_map(|(measure, series)| of(measure, series)).flatten().collect()
    }

    /// What [`Self::kept`] said once, of measures of which less is known by now.
    pub fn recall(&mut self, known: &[KeptUsual]) {
        for one in known {
            let series = self.series[one.measure as usize].get_or_insert_with(|| Box::new(Series::new()));
            match one.of {
                UsualOf::Itself => series.alone.recall(one),
                UsualOf::Siblings => series.beside.get_or_insert_with(|| Box::new(Past::new(0))).recall(one),
                UsualOf::Steady if one.measure != Measure::Cpu => {}
                UsualOf::Steady => series.steady.get_or_insert_with(|| Box::new(Steady::new())).recall(one),
            }
        }
    }

    /// Something is, or just was, outside of its own range. Cheap; where it says no there is nothing unusual.
    pub fn may_be_unusual(&self, now: Mono) -> bool {
        let outside = |series: &Series| {
            let level = if series.present() == Levels::UNSEEN { series.last } else { series.present() }.median;
            let left = series.alone.usual(1).is_some_and(|usual| level > usual.top || level < usual.bottom);
            level != NONE && (left || series.beyond_since(self.over).is_some())
        };
        block_of(now) <= self.block + 1 && self.series.iter().flatten().any(|series| outside(series))
    }

    /// Takes in a sample. `well`: it may be learned from. Answers with the number of a block that is over, to be judged.
    pub fn take(&mut self, at: Mono, reading: &Reading, well: bool) -> Option<u32> {
        let block = block_of(at);
        let over = (block > self.block && self.block != 0).then_some(self.block);
        if block > self.block {
            self.series.iter_mut().enumerate().for_each(|(measure, series)| {
                series.iter_mut().for_each(|series| series.close(measure));
            });
            (self.over, self.block) = (self.block, block);
            self.was_well = self.well;
            self.well = true;
        }
        self.well &= well;
        let slot = (at.0 / (BLOCK.as_micros() as u64 / SLOTS as u64)) as usize % SLOTS;
        for (measure, value) in reading.0.iter().enumerate() {
            let Some(value) = value else { continue };
            let series = self.series[measure].get_or_insert_with(|| Box::new(Series::new()));
            series.slots[slot] = level_of(measure, *value);
        }
        over
    }

    /// Its level in a block that is under way or was the last; [`NONE`] where that is not known.
    fn level(&self, measure: usize, block: u32) -> i16 {
        let Some(series) = &self.series[measure] else { return NONE };
        match block {
            0 => NONE,
            block if block == self.block => series.present().median,
            block if block == self.over => series.last.median,
            _ => NONE,
        }
    }

    /// Judges a block that is over, and learns from it.
    pub fn judge(&mut self, common: &Common, siblings: &[&Habits]) {
        let (block, well) = (common.block, self.was_well);
        if self.takes_over(common, siblings) {
            self.role = block;
            let of_role = self.series.iter_mut().enumerate().filter(|(measure, _)| is_of_role(*measure));
            of_role.filter_map(|(_, series)| series.as_mut()).for_each(|series| series.runs = Default::default());
        }
        let since_role = if self.role == 0 { u32::MAX } else { block.saturating_sub(self.role) };
        let since_began = block.saturating_sub(self.began);
        for measure in 0..MEASURES {
            let Some(series) = self.series[measure].as_mut().filter(|_| block == self.over) else { continue };
            let levels = series.last;
            if levels == Levels::UNSEEN {
                continue;
            }
            let since_role = if is_of_role(measure) { since_role } else { u32::MAX };
            let since_start = since_began.min(since_role);
            let frame = Frame { measure, block, levels, since_start, since_role, well };
            if measure == Measure::Cpu as usize {
                series.judge_steady(&frame, siblings);
            }
            match common.medians[measure] {
                NONE => series.judge_alone(&frame, siblings),
                median => series.judge_beside(&frame, median, siblings),
            }
        }
    }

    /// What has been unusual for so long and still is, the strongest first.
    pub fn lasting(&self, after: Duration, now: Mono, siblings: &[&Habits]) -> Vec<Unusual> {
        let block = self.over;
        let blocks = (after.as_micros() as u64).div_ceil(BLOCK.as_micros() as u64) as u32;
        let lasting = |measure: usize| {
            let series = self.series[measure].as_deref()?;
            let first = series.longest(measure, block, blocks)?;
            Some(self.unusual(measure, series, block, first, siblings))
        };
        match blocks > 0 && block_of(now) <= self.block + CALM_BLOCKS {
            true => strongest((0..MEASURES).filter_map(lasting)),
            false => Vec::new(),
        }
    }

    /// What is unusual just now, however short, the strongest first.
    pub fn now(&self, now: Mono, siblings: &[&Habits]) -> Vec<Unusual> {
        if block_of(now) > self.block + 1 {
            return Vec::new();
        }
        let at_all = |measure: usize| {
            let series = self.series[measure].as_deref()?;
            let block = if series.present() == Levels::UNSEEN { self.over } else { self.block };
            let first = series.beyond_since(block);
            let mut unusual = self.unusual(measure, series, block, first.unwrap_or(block), siblings);
            if first.is_none() {
                unusual.since = now;
            }
            (self.is_settled(block) && unusual.strength >= STRENGTH_MIN).then_some(unusual)
        };
        strongest((0..MEASURES).filter_map(at_all))
    }

    /// In words and numbers what is to be said of a block.
    fn unusual(&self, measure: usize, series: &Series, block: u32, first: u32, siblings: &[&Habits]) -> Unusual {
        let level = self.level(measure, block);
        let group = Group::of(measure, block, siblings).filter(|_| series.in_group);
        let judged = series.distances(measure, level, group.as_ref().map(|group| group.median));
        let far = |span: usize| judged[2 * span].max(judged[2 * span + 1]);
        let mut far = (0..SPANS.len()).map(far).fold(0.0, f64::max);
        let mut against = Against::OwnPast;
        if let Some(group) = &group {
            far = far.min(group.distance(measure, level));
            let left = series.alone.usual(1).is_some_and(|usual| level > usual.top || level < usual.bottom);
            against = if left && series.is_mature_alone() { Against::Both } else { Against::Siblings };
        }
        let steady = series.steady.as_ref().map_or(0.0, |steady| steady.far(block));
        let own = series.alone.usual(1).filter(|_| against != Against::Siblings);
        let in_values = |usual: Usual| (value_of(measure, usual.bottom), value_of(measure, usual.top));
        Unusual {
            measure: Measure::ALL[measure],
            value: value_of(measure, level),
            usual: own.map(in_values),
            siblings: group.map(|group| group.in_values(measure)),
            strength: (far.max(steady) * STRENGTH_MIN).min(STRENGTH_MAX),
            since: Mono(u64::from(first.saturating_sub(1)) * BLOCK.as_micros() as u64),
            against,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let past = |past: &Past| past.heap_bytes();
        let steady = |series: &Series| series.steady.as_ref().map_or(0, |one| one.bytes());
        let beside = |series: &Series| series.beside.as_ref().map_or(0, |one| size_of::<Past>() + past(one));
        let series = self.series.iter().flatten();
        series.map(|series| size_of::<Series>() + steady(series) + past(&series.alone) + beside(series)).sum()
    }
}

fn strongest(unusual: impl Iterator<Item = Unusual>) -> Vec<Unusual> {
    let mut all: Vec<Unusual> = unusual.collect();
    all.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    all
}

impl Group {
    /// How far a level is from the siblings; from 1 on it is far.
    fn distance(&self, measure: usize, level: i16) -> f64 {
        if (self.most.0..=self.most.1).contains(&level) {
            return 0.0;
        }
        let base = match level >= self.median {
            true => scale(measure).high,
            false => scale(measure).low,
        };
        let far = base.unwrap_or(f64::INFINITY).max(DEVIATIONS * self.deviation);
        f64::from(level.abs_diff(self.median)) / 1000.0 / far
    }
}

impl Series {
    fn new() -> Self {
        Series {
            slots: [NONE; SLOTS],
            last: Levels::UNSEEN,
            alone: Past::new(LEVEL_ZERO),
            beside: None,
            runs: Default::default(),
            in_group: false,
            settled: false,
            fresh: false,
            hours: [NONE; HOURS],
            steady: None,
        }
    }

    fn begin(&mut self, block: u32) {
        self.slots = [NONE; SLOTS];
        self.last = Levels::UNSEEN;
        let runs = std::mem::take(&mut self.runs);
        self.settled = false;
        let ended = !runs.iter().any(|run| run.holds(block));
        for past in [Some(&mut self.alone), self.beside.as_deref_mut()].into_iter().flatten() {
            past.begin(ended);
        }
        self.steady.iter_mut().for_each(|steady| steady.begin(block));
    }

    /// The first block of what goes on beyond the usual.
    fn beyond_since(&self, block: u32) -> Option<u32> {
        let held = self.runs.iter().filter(|run| run.holds(block)).map(|run| run.first);
        held.chain(self.steady.as_ref().and_then(|steady| steady.beyond_since(block))).min()
    }

    /// The median of the samples of the block that is under way.
    fn present(&self) -> Levels {
        let mut levels = self.slots;
        levels.sort_unstable();
        let unseen = levels.iter().take_while(|level| **level == NONE).count();
        match unseen < SLOTS {
            true => Levels { median: median(&levels[unseen..]), low: levels[unseen], high: levels[SLOTS - 1] },
            false => Levels::UNSEEN,
        }
    }

    /// The middle half of the samples.
    fn scatter_now(&self) -> Option<Scatter> {
        let mut levels = self.slots;
        levels.sort_unstable();
        let known = &levels[levels.iter().take_while(|level| **level == NONE).count()..];
        if known.len() < SCATTER_SAMPLES {
            return None;
        }
        let value = |place: usize| value_of(Measure::Cpu as usize, known[place]);
        let quarter = known.len() / 4;
        let median = value_of(Measure::Cpu as usize, median(known));
        Some(Scatter { low: value(quarter), median, high: value(known.len() - 1 - quarter) })
    }

    fn close(&mut self, measure: usize) {
        self.last = self.present();
        if measure == Measure::Cpu as usize {
            let scatter = self.scatter_now();
            self.steady.get_or_insert_with(|| Box::new(Steady::new())).scatter = scatter;
        }
        self.slots = [NONE; SLOTS];
    }

    fn is_mature_alone(&self) -> bool {
        self.alone.hours_known() >= MATURE_HOURS
    }

    /// What it is judged by: its own past, or that of its distance to the siblings.
    fn past(&self) -> &Past {
        match &self.beside {
            Some(beside) if self.in_group => beside,
            _ => &self.alone,
        }
    }

    /// How many times farther than usual a distance has to be; `None`: nothing can be said yet.
    fn caution(&self) -> Option<f64> {
        match (self.in_group, self.past().hours_known()) {
            (true, ..YOUNG_HOURS) | (false, ..MATURE_HOURS) => None,
            (true, ..MATURE_HOURS) => Some(YOUNG_CAUTION),
            _ if self.fresh => Some(YOUNG_CAUTION),
            (false, ..WEEK_HOURS) => Some(LONE_CAUTION),
            _ => Some(1.0),
        }
    }

    /// How far the level is beyond the usual: for each span, above and below. From 1 on it is far.
    fn distances(&self, measure: usize, level: i16, median: Option<i16>) -> [f64; 2 * SPANS.len()] {
        let Scale { high, low, least, .. } = scale(measure);
        let much = value_of(measure, level) >= least;
        let level = i32::from(level) - i32::from(median.unwrap_or(0));
        let Some(caution) = self.caution() else { return [0.0; 2 * SPANS.len()] };
        std::array::from_fn(|place| {
            let (span, up) = (place / 2, place % 2 == 0);
            let longest = if self.in_group { LOW_SPAN } else { LOW_SPAN_ALONE };
            let low = low.filter(|_| span <= longest);
            let Some(base) = (if up { high.filter(|_| much) } else { low }) else { return 0.0 };
            let (Some(usual), Some(held)) = (self.past().usual(span), self.past().usual(HELD)) else { return 0.0 };
            let (left, width) = match up {
                true => (level - i32::from(usual.top), usual.top - held.bottom),
                false => (i32::from(usual.bottom) - level, held.top - usual.bottom),
            };
            let seldom = if span > HELD { SELDOM } else { 1.0 };
            let week = if up && self.knows_no_week() { scale(measure).week * seldom } else { 0.0 };
            let share = if self.in_group && span >= LONGER { WIDTH_SHARE_LONGER } else { WIDTH_SHARE };
            let far = (base.max(share * f64::from(width) / 1000.0) * caution).max(base + week);
            (f64::from(left) / 1000.0 / far).max(0.0)
        })
    }

    /// It stands alone and has not seen a whole week: what it does on other days is not known.
    fn knows_no_week(&self) -> bool {
        !self.in_group && self.alone.hours_known() < WEEK_HOURS
    }

    fn judge_alone(&mut self, frame: &Frame, siblings: &[&Habits]) {
        self.judged_in_group(false);
        self.fresh = frame.since_role < FRESH_BLOCKS;
        let takes = match Measure::ALL[frame.measure] {
            Measure::Memory => SETTLES_MEMORY_BLOCKS,
            _ => SETTLES_ALONE_BLOCKS,
        };
        let settles = frame.since_start < takes;
        if !settles {
            let mut far = self.far(frame, None, siblings);
            if frame.since_start < SETTLES_LONG_BLOCKS {
                far[2 * HELD + 2..].fill(0.0);
            }
            self.run_on(frame.block, far);
        }
        self.settle(settles);
        let learn = self.what_to_learn(frame);
        self.alone.take(frame.block, frame.levels, learn);
        self.keep_from_learning(frame);
    }

    fn judge_beside(&mut self, frame: &Frame, median: i16, siblings: &[&Habits]) {
        self.judged_in_group(true);
        self.fresh = frame.since_role < FRESH_BLOCKS;
        self.beside.get_or_insert_with(|| Box::new(Past::new(0)));
        if frame.block.is_multiple_of(HOUR) {
            self.hour_is_over();
        }
        let settles = frame.since_start < SETTLES_BLOCKS;
        if !settles {
            let far = self.far(frame, Some(median), siblings);
            self.run_on(frame.block, far);
        }
        self.settle(settles);
        let learn = self.what_to_learn(frame);
        self.alone.take(frame.block, frame.levels, learn);
        let learn = if settles && !self.fresh { Learn::Nothing } else { learn };
        let distance = frame.levels.to(median);
        self.beside.iter_mut().for_each(|beside| beside.take(frame.block, distance, learn));
        self.keep_from_learning(frame);
    }

    /// How far it is beyond the usual, where it is far from the siblings now and none of them was ever so.
    fn far(&self, frame: &Frame, median: Option<i16>, siblings: &[&Habits]) -> [f64; 2 * SPANS.len()] {
        let Frame { measure, block, levels: Levels { median: level, .. }, .. } = *frame;
        let mut far = self.distances(measure, level, median);
        if far.iter().all(|far| *far < CLEAR_BELOW) {
            return far;
        }
        let apart = match median.and_then(|_| Group::of(measure, block, siblings)) {
            Some(group) => group.distance(measure, level),
            None => {
                if median.is_some() {
                    0.0
                } else {
                    f64::INFINITY
                }
            }
        };
        for (place, far) in far.iter_mut().enumerate().filter(|(_, far)| **far >= CLEAR_BELOW) {
            // More than the siblings have is unusual where it is more than itself ever had, too; a standstill is not less
            // of one because it rests at night.
            let near = (scale(measure).high.unwrap_or(0.0) * SHARED * 1000.0) as i16;
            let was_there = |usual: Usual| median.is_some() && place % 2 == 0 && level <= usual.top + near;
            let known = self.alone.usual(place / 2).is_some_and(was_there)
                || siblings.iter().any(|one| one.knows(measure, place, block, level, median));
            *far = if known { 0.0 } else { far.min(apart) };
        }
        far
    }

    /// What is there in every sample of CPU, and does not end.
    fn judge_steady(&mut self, frame: &Frame, siblings: &[&Habits]) {
        let Some(steady) = self.steady.as_mut() else { return };
        let Some(scatter) = steady.scatter else { return };
        steady.note(scatter);
        if frame.since_start >= SETTLES_BLOCKS {
            steady.judge(frame.block, |span, present| siblings.iter().any(|one| one.knows_steady(span, present)));
        }
        let goes_on = |run: &Run| run.holds(frame.block.saturating_sub(1));
        let learn = match frame.well {
            true if steady.beyond_since(frame.block).is_some() || self.runs.iter().any(goes_on) => Learn::Beyond,
            true => Learn::Usual,
            false => Learn::Nothing,
        };
        steady.take(frame.block, scatter, learn);
    }

    /// What is judged by changes: nothing that went on before goes on.
    fn judged_in_group(&mut self, in_group: bool) {
        if std::mem::replace(&mut self.in_group, in_group) != in_group {
            self.runs = Default::default();
        }
    }

    fn run_on(&mut self, block: u32, far: [f64; 2 * SPANS.len()]) {
        for (run, far) in self.runs.iter_mut().zip(far) {
            run.goes_on(block, far);
        }
    }

    /// What a new process does when it has settled is usual.
    fn settle(&mut self, settles: bool) {
        if !settles && !self.settled {
            self.alone.accept();
            self.beside.iter_mut().filter(|_| self.fresh).for_each(|beside| beside.accept());
        }
        self.settled = !settles;
    }

    fn what_to_learn(&mut self, frame: &Frame) -> Learn {
        match frame.well {
            // Its new role is what it does from now on, for however long.
            true if self.fresh => Learn::Usual,
            true if self.beyond_since(frame.block).is_some() => Learn::Beyond,
            true => Learn::Usual,
            false => {
                self.alone.drop_held();
                self.beside.iter_mut().for_each(|beside| beside.drop_held());
                Learn::Nothing
            }
        }
    }

    fn keep_from_learning(&mut self, frame: &Frame) {
        let lasts = self.runs.iter().map(|run| run.lasts(frame.block)).max().unwrap_or(0);
        let lasts = if self.fresh { 0 } else { lasts };
        for past in [Some(&mut self.alone), self.beside.as_deref_mut()].into_iter().flatten() {
            match lasts {
                ..NO_BURST_BLOCKS => {}
                ACCEPTED_BLOCKS.. => past.accept(),
                _ => past.hold_back(),
            }
        }
        if lasts >= ACCEPTED_BLOCKS {
            self.runs = Default::default();
        }
    }

    /// The first block of the longest run that is long enough.
    fn longest(&self, measure: usize, block: u32, blocks: u32) -> Option<u32> {
        let patience = match (self.in_group, self.past().hours_known()) {
            (_, ..DAYS_HOURS) => YOUNG_PATIENCE,
            _ if self.fresh => FRESH_PATIENCE,
            (false, ..WEEK_HOURS) if Measure::ALL[measure] == Measure::Io => EARLY_PATIENCE_IO,
            (false, ..WEEK_HOURS) => EARLY_PATIENCE,
            _ => 1,
        };
        // Of one that is young or has a new role not even what it did before is known.
        let factor = match (self.in_group, self.fresh, self.past().hours_known()) {
            (_, _, ..DAYS_HOURS) | (_, true, _) => YOUNG_PATIENCE,
            _ => 1,
        };
        let spans = if self.knows_no_week() { &LONE_PATIENCE } else { &PATIENCE };
        let enough = |place: usize| {
            // Errors are counted over a window: a short burst is seen for as long as that.
            let patience =
                if Measure::ALL[measure] == Measure::Errors { patience.max(WINDOW_PATIENCE) } else { patience };
            let (side, patience) = match place.is_multiple_of(2) {
                true => (1, patience),
                false => (LOW_PATIENCE, patience.max(LOW_PATIENCE_LEAST)),
            };
            blocks * (spans[place / 2] * side * factor).max(patience)
        };
        let long = self.runs.iter().enumerate().filter(|(place, run)| run.lasts(block) >= enough(*place));
        let steady = self.steady.as_ref().and_then(|steady| steady.longest(block, blocks, !self.in_group));
        long.map(|(_, run)| run.first).chain(steady).min()
    }
}

impl Habits {
    /// It has held such a level, or such a distance to its siblings, for an hour; or it has left its own usual just so, for
    /// a cause that they share.
    fn knows(&self, measure: usize, place: usize, block: u32, level: i16, median: Option<i16>) -> bool {
        let judged_so = |series: &&Series| series.in_group == median.is_some() && series.caution().is_some();
        let Some(series) = self.series[measure].as_deref().filter(judged_so) else { return false };
        let held = 2 * HELD + place % 2;
        let same = median.is_none() && series.distances(measure, self.level(measure, block), None)[held] >= SHARED;
        let had = series.distances(measure, level, median)[place] < 1.0;
        same || series.past().usual(place / 2).is_some() && had
    }

    fn knows_steady(&self, span: usize, present: Present) -> bool {
        let steady = self.series[Measure::Cpu as usize].as_ref().and_then(|series| series.steady.as_ref());
        steady.is_some_and(|steady| steady.knows(span, present))
    }

    /// It has run for so long that it can be compared with.
    fn is_settled(&self, block: u32) -> bool {
        block.saturating_sub(self.began) >= SETTLES_BLOCKS
    }
}

#[cfg(test)]
mod tests;
