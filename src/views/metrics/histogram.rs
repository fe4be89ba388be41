//! Times to recover, per worker and action. Small enough to have one for each.

use std::time::Duration;

use super::text::Series;
use crate::model::incident::IncidentId;
use crate::model::time::Wall;

/// Upper bounds in seconds: from a bare restart to the pause after an escalation.
pub const BOUNDS: [f64; 14] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// An observation of a bucket, by which a reader finds the incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    pub incident: IncidentId,
    /// Seconds, and seconds since 1970-01-01 UTC.
    pub value: f64,
    pub at: f64,
}

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Not cumulated; those over the last bound are in `count` alone.
    buckets: [u64; BOUNDS.len()],
    /// The last of each bucket, and of those over the last bound.
    exemplars: [Option<Exemplar>; BOUNDS.len() + 1],
    count: u64,
    sum: f64,
}

impl Histogram {
    pub fn observe(&mut self, span: Duration, of: Option<(IncidentId, Wall)>) {
        let seconds = span.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(bucket) = bucket {
            self.buckets[bucket] += 1;
        }
        if let Some((incident, at)) = of {
            let exemplar = Exemplar { incident, value: seconds, at: at.0 as f64 / 1e6 };
            self.exemplars[bucket.unwrap_or(BOUNDS.len())] = Some(exemplar);
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// `le` are the rendered labels of [`bound_labels`].
    pub fn write(&self, series: &mut Series<'_>, labels: &str, le: &[String]) {
        let mut total = 0;
        for ((bucket, le), exemplar) in self.buckets.iter().zip(le).zip(&self.exemplars) {
            total += bucket;
            series.bucket(labels, le, total, exemplar.as_ref());
        }
        series.bucket(labels, ",le=\"+Inf\"", self.count, self.exemplars[BOUNDS.len()].as_ref());
        series.part_float("_sum", labels, self.sum);
        series.part_int("_count", labels, "", self.count);
    }
}

pub fn bound_labels() -> Vec<String> {
    BOUNDS.iter().map(|bound| format!(",le=\"{bound}\"")).collect()
}
