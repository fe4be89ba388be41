//! The past at one width of bucket: of each span the lowest and the highest level. Bounded, and gaps stay gaps.

use super::line::{Line, Point, growth};

/// Closed buckets that are kept of each width.
pub const BUCKETS: usize = 16;
/// Days of which the highest low is remembered: a week, and today.
const DAYS: usize = 8;
const DAY: u32 = 86_400;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Not a number where nothing was seen.
    low: f32,
    high: f32,
    /// Seconds from its beginning to its lowest and to its highest level.
    low_at: f32,
    high_at: f32,
}

const GAP: Bucket = Bucket { low: f32::NAN, high: f32::NAN, low_at: 0.0, high_at: 0.0 };

/// A ring of buckets of one width.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Seconds.
    pub width: u32,
    closed: [Bucket; BUCKETS],
    open: Bucket,
    /// Of the open bucket, counted from the start of the boot.
    number: Option<u32>,
    /// The highest low of the buckets of a day that have left the ring, by day modulo [`DAYS`].
    peaks: [f32; DAYS],
    day: u32,
    /// What the closed buckets show.
    pub line: Option<Line>,
    /// Closed buckets, one after the other, that showed growth.
    showed: u32,
}

impl Scale {
    pub fn new(width: u32) -> Self {
        Scale {
            width,
            closed: [GAP; BUCKETS],
            open: GAP,
            number: None,
            peaks: [f32::NAN; DAYS],
            day: 0,
            line: None,
            showed: 0,
        }
    }

    /// One level. True when a bucket was closed by it.
    pub fn take(&mut self, seconds: f64, level: f32) -> bool {
        let number = (seconds / f64::from(self.width)) as u32;
        let closes = match self.number {
            None => {
                self.number = Some(number);
                false
            }
            // A clock that goes back is not ours to mend: it counts for the bucket that is open.
            Some(open) if number <= open => false,
            Some(open) => {
                self.close(open, number);
                true
            }
        };
        let bucket = &mut self.open;
        let within = (seconds - f64::from(number) * f64::from(self.width)).max(0.0) as f32;
        if bucket.low.is_nan() || level < bucket.low {
            (bucket.low, bucket.low_at) = (level, within);
        }
        if bucket.high.is_nan() || level > bucket.high {
            (bucket.high, bucket.high_at) = (level, within);
        }
        closes
    }

    /// Looks at the closed buckets anew.
    pub fn look(&mut self) {
        self.line = growth(self);
        self.showed = if self.line.is_some() { self.showed.saturating_add(1) } else { 0 };
    }

    /// For how long there has been growth in each look, seconds.
    pub fn held(&self) -> f64 {
        f64::from(self.showed.saturating_sub(1)) * f64::from(self.width)
    }

    fn close(&mut self, open: u32, next: u32) {
        let bucket = std::mem::replace(&mut self.open, GAP);
        self.keep(open, bucket);
        let missed = (next - open - 1).min(BUCKETS as u32);
        (next - missed..next).for_each(|number| self.keep(number, GAP));
        self.number = Some(next);
    }

    /// Puts a bucket in the place of the oldest one, of which only the day's peak is kept.
    fn keep(&mut self, number: u32, bucket: Bucket) {
        let place = &mut self.closed[number as usize % BUCKETS];
        let old = std::mem::replace(place, bucket);
        let day = number.saturating_mul(self.width) / DAY;
        let new_days = day.saturating_sub(self.day).min(DAYS as u32);
        (0..new_days).for_each(|back| self.peaks[(day - back) as usize % DAYS] = f32::NAN);
        self.day = self.day.max(day);
        let peak = &mut self.peaks[self.day as usize % DAYS];
        *peak = peak.max(old.low);
    }

    /// The lows of the last `count` closed buckets, oldest first, and how high it went in each.
    pub fn points(&self, count: usize) -> impl Iterator<Item = Point> + '_ {
        let end = self.number.unwrap_or(0);
        let numbers = end.saturating_sub(count as u32)..end;
        numbers.filter_map(move |number| {
            let bucket = self.closed[number as usize % BUCKETS];
            let begin = f64::from(number) * f64::from(self.width);
            (!bucket.low.is_nan()).then(|| Point {
                at: begin + f64::from(bucket.low_at),
                low: f64::from(bucket.low),
                high: f64::from(bucket.high),
                high_at: begin + f64::from(bucket.high_at),
            })
        })
    }

    /// The highest low that was there before the last `count` closed buckets.
    pub fn peak_before(&self, count: usize) -> f64 {
        let older = self.points(BUCKETS).filter(|point| point.at < self.begin(count)).map(|point| point.low);
        let days = self.peaks.iter().filter(|peak| !peak.is_nan()).map(|peak| f64::from(*peak));
        older.chain(days).fold(f64::NEG_INFINITY, f64::max)
    }

    /// When the last `count` closed buckets began, seconds.
    pub fn begin(&self, count: usize) -> f64 {
        f64::from(self.number.unwrap_or(0).saturating_sub(count as u32)) * f64::from(self.width)
    }

    /// When the open bucket began, seconds.
    pub fn end(&self) -> f64 {
        self.begin(0)
    }

    /// The last closed bucket has been seen.
    pub fn is_fresh(&self) -> bool {
        self.points(1).next().is_some()
    }

    /// The lows of the last closed bucket and of the open one, where they were seen.
    pub fn lately(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let open = (!self.open.low.is_nan()).then(|| (self.end() + f64::from(self.open.low_at), self.open.low.into()));
        self.points(1).map(|point| (point.at, point.low)).chain(open)
    }
}
