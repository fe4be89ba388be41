//! Signals of work: signs of life, queues, errors in the journal, probes.

use crate::model::signal::{Beat, ErrorCounts, ProbeReading, QueueReading};

use super::Engine;

impl Engine {
    pub(super) fn beats(&mut self, _beats: Vec<Beat>) {}
    pub(super) fn queues(&mut self, _readings: Vec<QueueReading>) {}
    pub(super) fn errors(&mut self, _counts: ErrorCounts) {}
    pub(super) fn probes(&mut self, _readings: Vec<ProbeReading>) {}
}
