//! When a level that goes up and down about a line will first be over a limit.
//!
//! Each high that was seen says when it would be over the limit if it came again, so much later along the line. Of the highs of
//! one width of bucket some would be over by a moment: that is how often, for each width, and the time is that by which the chances
//! have come together. A high that comes in minutes and one that comes once in a day both count as often as they come.

use super::line::Line;
use super::scale::{BUCKETS, Scale};

/// The chance of having crossed by the time that is told, as `-ln(1 - chance)`: one in five. Being late is worse than being early.
const CHANCE: f64 = 0.223;
/// Fewer highs of a width say nothing.
const HIGHS_MIN: usize = 4;
/// First step into the future, seconds, and how much longer each further one is.
const STEP: f64 = 60.0;
const STRETCH: f64 = 1.05;
/// Nothing is asked of later, seconds.
const LATEST: f64 = 1e7;

/// The highs of one width, as seconds from now at which they would be over the limit; sorted.
struct Highs {
    width: f64,
    over: [f64; BUCKETS],
    count: usize,
}

/// Seconds from now, `None` when too little was seen.
pub fn passage(scales: &[Scale], line: &Line, limit: f64, now: f64) -> Option<f64> {
    let mut all = scales.iter().filter_map(|scale| highs(scale, line, limit, now)).peekable();
    all.peek()?;
    let highs: Vec<Highs> = all.collect();
    let (mut at, mut chance, mut step) = (0.0, 0.0, STEP);
    while at < LATEST {
        let rate = highs.iter().map(|highs| highs.rate(at + step / 2.0)).fold(0.0, f64::max);
        if chance + rate * step >= CHANCE {
            return Some(at + (CHANCE - chance) / rate);
        }
        chance += rate * step;
        at += step;
        step *= STRETCH;
    }
    Some(at)
}

fn highs(scale: &Scale, line: &Line, limit: f64, now: f64) -> Option<Highs> {
    let mut highs = Highs { width: f64::from(scale.width), over: [0.0; BUCKETS], count: 0 };
    for point in scale.points(BUCKETS).filter(|point| point.at >= line.since) {
        highs.over[highs.count] = (limit - point.high) / line.slope - (now - point.high_at);
        highs.count += 1;
    }
    highs.over[..highs.count].sort_unstable_by(f64::total_cmp);
    (highs.count >= HIGHS_MIN).then_some(highs)
}

impl Highs {
    /// How often it would be over the limit by then, a second.
    fn rate(&self, at: f64) -> f64 {
        let over = self.over[..self.count].partition_point(|over| *over <= at);
        let (count, below) = (self.count as f64, (self.count - over) as f64);
        // Half a high more, for those that have not been seen.
        ((count + 0.5) / (below + 0.5)).ln() / self.width
    }
}
