//! Times to recover, per worker and action. Small enough to have one for each.

use std::time::Duration;

use super::text::Series;

/// Upper bounds in seconds: from a bare restart to the pause after an escalation.
pub const BOUNDS: [f64; 14] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Not cumulated; those over the last bound are in `count` alone.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    pub fn observe(&mut self, span: Duration) {
        let seconds = span.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// `le` are the rendered labels of [`bound_labels`].
    pub fn write(&self, series: &mut Series<'_>, labels: &str, le: &[String]) {
        let mut total = 0;
        for (bucket, le) in self.buckets.iter().zip(le) {
            total += bucket;
            series.part_int("_bucket", labels, le, total);
        }
        series.part_int("_bucket", labels, ",le=\"+Inf\"", self.count);
        series.part_float("_sum", labels, self.sum);
        series.part_int("_count", labels, "", self.count);
    }
}

pub fn bound_labels() -> Vec<String> {
    BOUNDS.iter().map(|bound| format!(",le=\"{bound}\"")).collect()
}
