//! The daemon's own doings, counted from any thread. Cheap to clone: all clones count together.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::catalog::{self as c, Metric};
use super::text::Text;
use crate::model::condition::{Condition, closed_set};
use crate::model::fact::ResyncReason;
use crate::model::status::StateDisk;
use crate::model::time::Wall;

/// From a turn that only drains a signal to one that takes a snapshot of thousands.
const TURN_BOUNDS: [f64; 12] = [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.5];
/// From a bare D-Bus signal to what only the next sample shows.
const DELAY_BOUNDS: [f64; 14] = [1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
/// Status codes that the server sends; any other is shown as `other`.
const CODES: [u16; 17] = [200, 202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 503, 504];
/// Conditions with a moment of failure that systemd's timestamps give.
const TIMED: [Condition; 4] = [Condition::Dead, Condition::CrashLoop, Condition::StartStuck, Condition::OomKilled];
/// A timestamp that has not happened.
const NEVER: i64 = i64::MIN;

closed_set!(
    /// Bounded queues that can overflow.
    Queue {
        /// Changes from systemd, before the engine.
        Signals = "signals",
        /// Samples, before the engine.
        Usage = "usage",
        /// Inputs on their way to the recorded ring.
        Record = "record",
        /// Facts on their way to the history.
        Facts = "facts",
        /// Readings of queues of a broker, before the engine.
        Queues = "queues",
        /// Patterns of errors, before the engine.
        Patterns = "patterns",
    }
);

#[derive(Clone)]
pub struct Own {
    registry: Registry,
    dbus_calls: IntCounter,
    dbus_signals: IntCounter,
    resyncs: IntCounterVec,
    detection_delay: HistogramVec,
    loop_turn: Histogram,
    inputs_dropped: IntCounterVec,
    journal_gaps: IntCounter,
    heartbeats: IntCounterVec,
    broker_connects: IntCounter,
    broker_failures: IntCounter,
    store_errors: IntCounter,
    http_requests: IntCounterVec,
    http_denied: IntCounterVec,
    pattern_lines: IntCounterVec,
    patterns: IntGauge,
    knowledge_refused: IntCounter,
    times: Arc<Times>,
    state_disk: Arc<Mutex<Option<StateDisk>>>,
}

/// What is counted of the learning of patterns, since the start of the daemon.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PatternTotals {
    pub learned: u64,
    /// Lines of a flood, of which others were learned.
    pub left_out: u64,
    /// Lines for which there was no room.
    pub dropped: u64,
    /// Patterns that are known now.
    pub patterns: u64,
    /// Knowledge that could not be read.
    pub refused: u64,
}

/// Microseconds since 1970-01-01 UTC, or [`NEVER`].
struct Times {
    resync: AtomicI64,
    store_write: AtomicI64,
}

impl Own {
    /// The catalog's names are valid and there once, which its tests check; so building cannot fail.
    pub fn new() -> Self {
        let registry = Registry::new();
        let own = Self {
            dbus_calls: counter(&registry, &c::DBUS_CALLS),
            dbus_signals: counter(&registry, &c::DBUS_SIGNALS),
            resyncs: counters(&registry, &c::RESYNCS),
            detection_delay: delays(&registry),
            loop_turn: turns(&registry),
            inputs_dropped: counters(&registry, &c::INPUTS_DROPPED),
            journal_gaps: counter(&registry, &c::JOURNAL_GAPS),
            heartbeats: counters(&registry, &c::HEARTBEATS),
            broker_connects: counter(&registry, &c::BROKER_CONNECTS),
            broker_failures: counter(&registry, &c::BROKER_FAILURES),
            store_errors: counter(&registry, &c::STORE_ERRORS),
            http_requests: counters(&registry, &c::HTTP_REQUESTS),
            http_denied: counters(&registry, &c::HTTP_DENIED),
            pattern_lines: counters(&registry, &c::PATTERN_LINES),
            patterns: gauge(&registry, &c::PATTERNS),
            knowledge_refused: counter(&registry, &c::KNOWLEDGE_REFUSED),
            times: Arc::new(Times { resync: AtomicI64::new(NEVER), store_write: AtomicI64::new(NEVER) }),
            state_disk: Arc::default(),
            registry,
        };
        ResyncReason::ALL.iter().for_each(|reason| drop(own.resyncs.with_label_values(&[reason.as_str()])));
        Queue::ALL.iter().for_each(|queue| drop(own.inputs_dropped.with_label_values(&[queue.as_str()])));
        TIMED.iter().for_each(|condition| drop(own.detection_delay.with_label_values(&[condition.as_str()])));
        own.pattern_totals(&PatternTotals::default());
        drop(own.heartbeats.with_label_values(&["counted"]));
        drop(own.http_requests.with_label_values(&["metrics", "200"]));
        own
    }

    /// Totals since the start of the daemon, as the adapter counts them.
    pub fn dbus_totals(&self, calls: u64, signals: u64) {
        raise(&self.dbus_calls, calls);
        raise(&self.dbus_signals, signals);
    }

    /// One turn of the event loop, waiting not included.
    pub fn turn(&self, took: Duration) {
        self.loop_turn.observe(took.as_secs_f64());
    }

    /// Total since the start of the daemon, as the owner of the queue counts it.
    pub fn dropped_total(&self, queue: Queue, inputs: u64) {
        raise(&self.inputs_dropped.with_label_values(&[queue.as_str()]), inputs);
    }

    /// Total since the start of the daemon, as the heartbeat socket counts it. `result` is a word of a closed set.
    pub fn heartbeats_total(&self, result: &'static str, datagrams: u64) {
        raise(&self.heartbeats.with_label_values(&[result]), datagrams);
    }

    /// Totals since the start of the daemon, as the keepers of connections count them.
    pub fn broker_totals(&self, connects: u64, failures: u64) {
        raise(&self.broker_connects, connects);
        raise(&self.broker_failures, failures);
    }

    pub fn pattern_totals(&self, totals: &PatternTotals) {
        let results = [("learned", totals.learned), ("left_out", totals.left_out), ("dropped", totals.dropped)];
        results.iter().for_each(|(result, lines)| raise(&self.pattern_lines.with_label_values(&[*result]), *lines));
        self.patterns.set(i64::try_from(totals.patterns).unwrap_or(i64::MAX));
        raise(&self.knowledge_refused, totals.refused);
    }

    /// Totals since the start of the daemon, as the store counts them.
    pub fn store_totals(&self, errors: u64, last_write: Option<Wall>) {
        raise(&self.store_errors, errors);
        if let Some(at) = last_write {
            self.times.store_write.store(at.0, Ordering::Relaxed);
        }
    }

    /// The disk of the state directory as it was last seen.
    pub fn state_disk(&self, disk: Option<StateDisk>) {
        *self.state_disk.lock().unwrap_or_else(PoisonError::into_inner) = disk;
    }

    /// `endpoint` is a word of the server's closed set.
    pub fn http_answered(&self, endpoint: &'static str, status: u16) {
        match CODES.contains(&status) {
            true => self.http_requests.with_label_values(&[endpoint, itoa::Buffer::new().format(status)]).inc(),
            false => self.http_requests.with_label_values(&[endpoint, "other"]).inc(),
        }
    }

    /// The words of the server's closed set, so that each is there before it is first counted.
    pub fn http_denials(&self, reasons: impl Iterator<Item = &'static str>) {
        reasons.for_each(|reason| drop(self.http_denied.with_label_values(&[reason])));
    }

    /// `reason` is a word of the server's closed set.
    pub fn http_denied(&self, reason: &'static str) {
        self.http_denied.with_label_values(&[reason]).inc();
    }

    pub(super) fn resynced(&self, reason: ResyncReason, at: Wall) {
        self.resyncs.with_label_values(&[reason.as_str()]).inc();
        self.times.resync.store(at.0, Ordering::Relaxed);
    }

    pub(super) fn journal_gap(&self) {
        self.journal_gaps.inc();
    }

    pub(super) fn detected(&self, condition: Condition, delay: Duration) {
        self.detection_delay.with_label_values(&[condition.as_str()]).observe(delay.as_secs_f64());
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.single(&c::LAST_RESYNC, seconds(&self.times.resync));
        text.single(&c::STORE_LAST_WRITE, seconds(&self.times.store_write));
        let disk = self.state_disk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(StateDisk { usage, warning, full_at, .. }) = disk.as_ref() else { return };
        text.single_int(&c::STATE_DISK_SIZE, usage.total_bytes);
        text.single_int(&c::STATE_DISK_AVAILABLE, usage.available_bytes);
        if usage.total_inodes > 0 {
            text.single_int(&c::STATE_DISK_INODES, usage.available_inodes);
        }
        text.single_int(&c::STATE_DISK_LOW, warning.is_some().into());
        text.single(&c::STATE_DISK_FULL, full_at.map(|at| at.0 as f64 / 1e6));
    }

    /// The families of the `prometheus` crate, sorted by name.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let before = out.len();
        if TextEncoder::new().encode(&self.registry.gather(), out).is_err() {
            // Half a family would spoil the whole exposition.
            out.truncate(before);
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds(time: &AtomicI64) -> Option<f64> {
    let micros = time.load(Ordering::Relaxed);
    (micros != NEVER).then_some(micros as f64 / 1e6)
}

fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

const VALID: &str = "the catalog's names are valid and there once";

fn counter(registry: &Registry, metric: &Metric) -> IntCounter {
    let counter = IntCounter::new(metric.name, metric.help).expect(VALID);
    registry.register(Box::new(counter.clone())).expect(VALID);
    counter
}

fn gauge(registry: &Registry, metric: &Metric) -> IntGauge {
    let gauge = IntGauge::new(metric.name, metric.help).expect(VALID);
    registry.register(Box::new(gauge.clone())).expect(VALID);
    gauge
}

fn counters(registry: &Registry, metric: &Metric) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels).expect(VALID);
    registry.register(Box::new(counters.clone())).expect(VALID);
    counters
}

fn turns(registry: &Registry) -> Histogram {
    let metric = &c::LOOP_TURN;
    let options = HistogramOpts::new(metric.name, metric.help).buckets(TURN_BOUNDS.into());
    let histogram = Histogram::with_opts(options).expect(VALID);
    registry.register(Box::new(histogram.clone())).expect(VALID);
    histogram
}

fn delays(registry: &Registry) -> HistogramVec {
    let metric = &c::DETECTION_DELAY;
    let options = HistogramOpts::new(metric.name, metric.help).buckets(DELAY_BOUNDS.into());
    let histograms = HistogramVec::new(options, metric.labels).expect(VALID);
    registry.register(Box::new(histograms.clone())).expect(VALID);
    histograms
}
