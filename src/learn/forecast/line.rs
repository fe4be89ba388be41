//! A line through the lows of buckets, and what has to be true for it to be growth and not something that looks like it.
//!
//! The slope is the median of the slopes of all pairs (Theil 1950, Sen 1968: a third of the points may be anything), its bounds
//! are Sen's from the same pairs, and the evidence that it rises at all is the share of pairs that do (Kendall's tau, as in
//! the trend test of Mann 1945).

use super::scale::{BUCKETS, Scale};

/// How many of the last buckets are looked at: a long look is exact, a short one is soon there.
const COUNTS: [usize; 3] = [BUCKETS, 12, BUCKETS_MIN];
/// Fewer buckets show nothing.
pub const BUCKETS_MIN: usize = 8;
/// A shorter look, in seconds, may see one tooth of a slow garbage collection, or a few jumps, and nothing else.
const SPAN_MIN: f64 = 4_800.0;
/// Share of the buckets that must have been seen.
const SEEN_MIN: f64 = 0.75;
/// Kendall's tau from which lows rise, for each of [`COUNTS`]: a staircase of few steps stays below.
const TAU_MIN: [f64; COUNTS.len()] = [0.75, 0.8, 0.85];
/// Each third has at least this share of its part of the rise: one jump is no growth.
const PART_MIN: f64 = 0.35;
/// The last third, to the steeper of those before: what levels off stays below.
const LAST_MIN: f64 = 0.55;
/// From a bucket to the one so many later it usually rises by this share of what the line does: steps do not.
const LAG: usize = 3;
const USUAL_MIN: f64 = 0.4;
/// Without so many of its largest steps from one bucket to the next it still rises by this share of what is then left of
/// a line: two jumps are no growth.
const JUMPS: usize = 2;
const REST_MIN: f64 = 0.4;
/// In a look shorter than this, seconds, no step has more than this share of the rise: a jump with a tooth after it is no growth.
const SHORT: f64 = 3.0 * 3600.0;
const STEP_MAX: f64 = 0.4;
/// Share of the rise that may have been there before: what was lost and is won again is no growth.
const REGAINED_MAX: f64 = 0.35;
/// Standard deviations of the bounds of the slope, which are then 95 % apart.
const BOUNDS: f64 = 1.96;

const PAIRS: usize = BUCKETS * (BUCKETS - 1) / 2;

/// What was seen in one bucket. Times in seconds since the boot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    pub at: f64,
    pub low: f64,
    pub high: f64,
    pub high_at: f64,
}

/// Growth that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// A second.
    pub slope: f64,
    pub slow: f64,
    pub fast: f64,
    /// Where the lows are by the end of the last bucket.
    pub level: f64,
    /// How far above the lows it goes: in half of the buckets, at most.
    pub usual: f64,
    pub highest: f64,
    /// Usual distance of lows from the line.
    pub spread: f64,
    /// Seconds since the boot.
    pub since: f64,
    pub until: f64,
    /// Share of pairs of buckets of which the later is higher.
    pub rising: f64,
}

/// The longest look that shows growth.
pub fn growth(scale: &Scale) -> Option<Line> {
    if !scale.is_fresh() {
        return None;
    }
    COUNTS.into_iter().zip(TAU_MIN).find_map(|(count, tau_min)| line(scale, count, tau_min))
}

/// How fast it has grown lately, and at most, as far as the buckets can tell.
pub fn pace(scale: &Scale) -> Option<(f64, f64)> {
    let mut room = [Point::default(); BUCKETS];
    let points = gather(scale, BUCKETS, &mut room);
    if points.len() < BUCKETS_MIN || !scale.is_fresh() {
        return None;
    }
    let mut slopes = [0.0; PAIRS];
    let (slopes, _) = pairs(points, &mut slopes);
    let (slope, _, fast) = bounds(slopes, points.len());
    Some((slope, fast))
}

fn gather<'r>(scale: &Scale, count: usize, room: &'r mut [Point; BUCKETS]) -> &'r [Point] {
    let mut seen = 0;
    for point in scale.points(count) {
        room[seen] = point;
        seen += 1;
    }
    &room[..seen]
}

fn line(scale: &Scale, count: usize, tau_min: f64) -> Option<Line> {
    if count as f64 * f64::from(scale.width) < SPAN_MIN {
        return None;
    }
    let mut room = [Point::default(); BUCKETS];
    let points = gather(scale, count, &mut room);
    let seen = points.len();
    if (seen as f64) < SEEN_MIN * count as f64 || !rises(points) {
        return None;
    }
    let mut slopes = [0.0; PAIRS];
    let (slopes, tau) = pairs(points, &mut slopes);
    if tau < tau_min {
        return None;
    }
    let (slope, slow, fast) = bounds(slopes, seen);
    let (since, until) = (points[0].at, scale.end());
    let level = median(points.iter().map(|point| point.low + slope * (until - point.at)));
    let on_line = |at: f64| level - slope * (until - at);
    let rise = slope * (points[seen - 1].at - since);
    let regained = scale.peak_before(count) - on_line(since);
    if slow <= 0.0 || regained > REGAINED_MAX * rise || !steady(points, slope) {
        return None;
    }
    let mut room = [0.0; BUCKETS];
    let highs = sorted(points.iter().map(|point| point.high - on_line(point.high_at)), &mut room);
    Some(Line {
        slope,
        slow,
        fast,
        level,
        highest: highs[seen - 1].max(0.0),
        usual: highs[seen / 2].max(0.0),
        spread: median(points.iter().map(|point| (point.low - on_line(point.at)).abs())),
        since,
        until,
        rising: (tau + 1.0) / 2.0,
    })
}

/// The cheap look that spares the others.
fn rises(points: &[Point]) -> bool {
    let quarter = points.len() / 4;
    let highest = points[..quarter].iter().map(|point| point.low).fold(f64::NEG_INFINITY, f64::max);
    points[points.len() - quarter..].iter().all(|point| point.low > highest)
}

/// The slopes of all pairs, sorted, and Kendall's tau.
fn pairs<'r>(points: &[Point], room: &'r mut [f64; PAIRS]) -> (&'r [f64], f64) {
    let (mut count, mut balance) = (0, 0_i32);
    for (place, later) in points.iter().enumerate() {
        for earlier in &points[..place] {
            let slope = (later.low - earlier.low) / (later.at - earlier.at).max(1.0);
            balance += i32::from(slope > 0.0) - i32::from(slope < 0.0);
            room[count] = slope;
            count += 1;
        }
    }
    let slopes = &mut room[..count];
    slopes.sort_unstable_by(f64::total_cmp);
    (slopes, f64::from(balance) / count.max(1) as f64)
}

/// The median slope with its bounds (Sen 1968).
fn bounds(slopes: &[f64], points: usize) -> (f64, f64, f64) {
    let (pairs, n) = (slopes.len() as f64, points as f64);
    let width = BOUNDS * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let at = |rank: f64| slopes[rank.round().clamp(0.0, pairs - 1.0) as usize];
    (slopes[slopes.len() / 2], at((pairs - width) / 2.0), at((pairs + width) / 2.0))
}

/// It rises in all its parts, and does not level off.
fn steady(points: &[Point], slope: f64) -> bool {
    let quarter = |number: usize| {
        let part = &points[number * points.len() / 4..(number + 1) * points.len() / 4];
        let mean = |of: &dyn Fn(&Point) -> f64| part.iter().map(of).sum::<f64>() / part.len() as f64;
        (mean(&|point| point.at), mean(&|point| point.low))
    };
    let between = |number: usize| {
        let ((begin, low), (end, high)) = (quarter(number), quarter(number + 1));
        (high - low) / (end - begin).max(1.0)
    };
    let parts = [between(0), between(1), between(2)];
    let most = parts[0].max(parts[1]);
    let lags = points.iter().zip(&points[LAG..]);
    let usual = median(lags.map(|(from, to)| (to.low - from.low) / (to.at - from.at).max(1.0)));
    usual >= USUAL_MIN * slope
        && !jumps(points)
        && parts.iter().all(|part| *part >= PART_MIN * slope)
        && parts[2] >= LAST_MIN * most
}

/// It rises by a few steps mostly.
fn jumps(points: &[Point]) -> bool {
    let mut room = [0.0; BUCKETS];
    let steps = sorted(points.windows(2).map(|two| two[1].low - two[0].low), &mut room);
    let others = steps.len() - JUMPS;
    let (rest, whole) = (steps[..others].iter().sum::<f64>(), steps.iter().sum::<f64>());
    let is_short = points[points.len() - 1].at - points[0].at < SHORT;
    is_short && steps[steps.len() - 1] > STEP_MAX * whole
        || rest < REST_MIN * whole * others as f64 / steps.len() as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut room = [0.0; BUCKETS];
    let values = sorted(values, &mut room);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

fn sorted(values: impl Iterator<Item = f64>, room: &mut [f64; BUCKETS]) -> &[f64] {
    let mut count = 0;
    for value in values.take(BUCKETS) {
        room[count] = value;
        count += 1;
    }
    let values = &mut room[..count.max(1)];
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_that_has_much_of_a_short_rise_is_a_jump() {
        let rise = |width: f64, jump: f64| -> Vec<Point> {
            let low = |number: f64| number + if number >= 8.0 { jump } else { 0.0 };
            let numbers = (0..BUCKETS).map(|number| number as f64);
            numbers.map(|number| Point { at: number * width, low: low(number), ..Point::default() }).collect()
        };
        assert!(!jumps(&rise(300.0, 0.0)));
        assert!(jumps(&rise(300.0, 9.0)), "two fifths in one step");
        assert!(!jumps(&rise(1_200.0, 9.0)), "what has been seen for hours may have a jump in it");
    }
}
