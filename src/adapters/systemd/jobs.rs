//! The latest jobs of all units, for finding out who took whom along. Pure.

use std::collections::VecDeque;

use crate::model::time::Mono;
use crate::model::unit::{JobKind, JobResult};

/// Jobs that are remembered. A transaction that stops a large tree has a few hundred.
pub const JOBS_MAX: usize = 2048;

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub unit: String,
    pub id: u32,
    pub at: Mono,
    /// `None`: the job was over before it could be asked.
    pub kind: Option<JobKind>,
    pub result: Option<JobResult>,
}

/// A bounded ring, oldest first.
#[derive(Debug, Clone, Default)]
pub struct RecentJobs {
    jobs: VecDeque<Job>,
}

impl RecentJobs {
    pub fn queued(&mut self, unit: String, id: u32, at: Mono) {
        if self.jobs.len() >= JOBS_MAX {
            self.jobs.pop_front();
        }
        self.jobs.push_back(Job { unit, id, at, kind: None, result: None });
    }

    pub fn kind(&mut self, id: u32, kind: JobKind) {
        if let Some(job) = self.by_id(id) {
            job.kind = Some(kind);
        }
    }

    pub fn removed(&mut self, id: u32, result: JobResult) {
        if let Some(job) = self.by_id(id) {
            job.result = Some(result);
        }
    }

    pub fn kind_of(&self, id: u32) -> Option<JobKind> {
        self.jobs.iter().rev().find(|job| job.id == id)?.kind
    }

    /// The latest job of a unit that took effect, or still may.
    pub fn last_of(&self, unit: &str) -> Option<&Job> {
        self.jobs.iter().rev().find(|job| job.unit == unit && job.result != Some(JobResult::Canceled))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// Ids are used again after a re-exec, so the latest counts.
    fn by_id(&mut self, id: u32) -> Option<&mut Job> {
        self.jobs.iter_mut().rev().find(|job| job.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_a_canceled_job_does_not_count() {
        let mut jobs = RecentJobs::default();
        for id in 0..JOBS_MAX as u32 + 5 {
            jobs.queued("other.service".into(), id, Mono(u64::from(id)));
        }
        assert_eq!(jobs.iter().count(), JOBS_MAX);
        jobs.queued("a.service".into(), 90_000, Mono(1));
        jobs.kind(90_000, JobKind::Start);
        jobs.queued("a.service".into(), 90_001, Mono(2));
        jobs.kind(90_001, JobKind::Stop);
        assert_eq!(jobs.last_of("a.service").and_then(|job| job.kind), Some(JobKind::Stop));
        jobs.removed(90_001, JobResult::Canceled);
        assert_eq!(jobs.last_of("a.service").and_then(|job| job.kind), Some(JobKind::Start));
        assert_eq!(jobs.last_of("b.service"), None);
    }
}
