//! What readings of queues mean for a worker: a backlog, nobody who consumes, nothing that is acknowledged.
//!
//! A queue that cannot be read says nothing about any worker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::signal::{QueueDepth, QueueName, QueueReading, QueueState};
use crate::model::time::human;
use crate::model::{Condition, Evidence, Mono, UnitView, What, WorkerName, WorkerSettings};

use super::Engine;
use super::outlook::Course;

/// After a queue could not be read (the broker or we were away) its consumers get so many intervals to come back.
const BROKER_SETTLES_INTERVALS: u32 = 2;
/// Readings that are remembered of a queue.
const READINGS_KEPT: usize = 64;
/// Readings in a row over the threshold that make a backlog.
const BACKLOG_READINGS: usize = 2;
/// A backlog within this share over the threshold is borne.
const TOLERANCE: f64 = 1.1;
/// Silence counts as a stall when it is so many times the longest that the worker has had while it worked.
const STALL_FACTOR: u32 = 3;
/// Until so many times between acknowledgements were seen, nobody knows how long a message takes.
const SILENCES_MIN: u32 = 3;

/// One queue of a worker.
#[derive(Default)]
pub struct Queue {
    /// Readings without a break, newest last.
    readings: VecDeque<(Mono, QueueDepth)>,
    /// Why it cannot be read.
    pub unknown: Option<String>,
    /// Nothing is made of its consumers before this.
    settled_at: Option<Mono>,
    /// When acknowledgements last went up while there was work, and the longest time between two such readings.
    progress: Option<Mono>,
    longest_silence: Duration,
    /// So many of these times have been seen.
    silences: u32,
    /// When a consumer of ours last began anew, or lost its connections to us.
    disturbed: Option<Mono>,
    /// Where its ready messages are heading.
    course: Course,
}

impl Queue {
    fn take(&mut self, at: Mono, depth: QueueDepth) {
        if let Some((_, last)) = self.readings.back() {
            let acknowledged = match (last.acknowledged_total, depth.acknowledged_total) {
                (Some(before), Some(now)) => now > before,
                // A broker says nothing of a queue in which nothing was acknowledged yet.
                (None, Some(now)) => now > 0,
                _ => false,
            };
            let idle = depth.ready == 0 && depth.unacknowledged.unwrap_or(0) == 0;
            // Silence that was ended, or begun, by a restart or a reset is not the pace of the worker.
            let undisturbed = |before: Mono| self.disturbed.is_none_or(|at| at <= before);
            if acknowledged && let Some(before) = self.progress.filter(|before| undisturbed(*before)) {
                self.longest_silence = self.longest_silence.max(at.since(before));
                self.silences = self.silences.saturating_add(1);
            }
            if acknowledged || (idle && self.progress.is_some()) {
                self.progress = Some(at);
            }
        }
        if depth.acknowledged_total.is_none() {
            self.progress = None;
        }
        if self.readings.len() >= READINGS_KEPT {
            self.readings.pop_front();
        }
        self.readings.push_back((at, depth));
    }

    fn lose(&mut self, why: String) {
        self.readings.clear();
        self.progress = None;
        self.unknown = Some(why);
    }

    pub fn last(&self) -> Option<QueueDepth> {
        self.readings.back().map(|(_, depth)| *depth)
    }

    /// The last `count` readings in a row, oldest first, if there are so many and they may be judged.
    fn tail(&self, count: usize) -> Option<impl Iterator<Item = &(Mono, QueueDepth)>> {
        let from = self.readings.len().checked_sub(count)?;
        let settled = self.settled_at.is_none_or(|at| self.readings[from].0 >= at);
        settled.then(|| self.readings.iter().skip(from))
    }

    /// Since when the last readings have all been as `bad` says.
    fn all_since(&self, count: usize, bad: impl Fn(&QueueDepth) -> bool) -> Option<Mono> {
        let mut tail = self.tail(count)?.peekable();
        let since = tail.peek().map(|(at, _)| *at)?;
        tail.all(|(_, depth)| bad(depth)).then_some(since)
    }

    fn no_consumer(&self, samples: usize) -> Option<Mono> {
        self.all_since(samples, |depth| depth.ready > 0 && depth.consumers == 0)
    }

    fn stalled(&self, samples: usize) -> Option<(Mono, Duration)> {
        let since = self.all_since(samples, |depth| depth.ready > 0 && depth.consumers > 0)?;
        let first = self.tail(samples)?.next()?.1;
        let (at, last) = self.readings.back()?;
        let still = first.acknowledged_total? == last.acknowledged_total? && last.ready >= first.ready;
        let silence = at.since(self.progress?);
        (still && self.silences >= SILENCES_MIN && silence >= self.longest_silence * STALL_FACTOR)
            .then_some((since.min(self.progress?), silence))
    }

    /// Where its ready messages are heading, by what its consumers should have. True when that has come or gone.
    fn look_ahead(&mut self, name: &str, at: Mono, depth: QueueDepth, settings: &WorkerSettings) -> bool {
        let consumers = depth.consumers.max(1);
        let level = f64::from(settings.queue_backlog_threshold) * consumers as f64;
        self.course.take(at, depth.ready as f64, level, settings, |forecast| {
            let reaches = format!("{level:.0}, {} for each consumer,", settings.queue_backlog_threshold);
            format!("ready messages in {name}: it {}", forecast.words(&reaches, |ready| format!("{ready:.0}")))
        })
    }

    /// More waits than the consumers should have, and it is not about to go away by itself.
    pub fn backlog(&self, threshold: f64) -> bool {
        let over = |depth: &QueueDepth| depth.ready as f64 > threshold * TOLERANCE * depth.consumers.max(1) as f64;
        let Some(tail) = self.tail(BACKLOG_READINGS) else { return false };
        let tail: Vec<_> = tail.collect();
        let [(before, was), (at, is)] = tail[..] else { return false };
        if !over(was) || !over(is) {
            return false;
        }
        let step = at.since(*before).as_secs_f64();
        let per_second = was.ready.saturating_sub(is.ready) as f64 / step.max(f64::EPSILON);
        let excess = is.ready as f64 - threshold * is.consumers.max(1) as f64;
        // At this pace it will be gone before the second next reading.
        excess > per_second * step * 2.0
    }
}

/// The queues of one worker and what they show.
#[derive(Default)]
pub struct Queues {
    pub by_name: BTreeMap<QueueName, Queue>,
    no_consumer: Option<Complaint>,
    stalled: Option<Complaint>,
}

/// Holds for each instance that was up all the time and had had its time to start before. That the queue was consumed
/// meanwhile proves nothing of an instance that is still connecting: another one may have done it.
#[derive(Clone, PartialEq)]
struct Complaint {
    since: Mono,
    evidence: Evidence,
}

impl Queues {
    /// The conditions that they put on an instance that is up. `held` are those that it has had since they were raised,
    /// also before its present activation: it has to show that it is better.
    pub fn symptoms(
        &self,
        view: &UnitView,
        settings: &WorkerSettings,
        held: &mut BTreeMap<Condition, (Mono, Evidence)>,
    ) -> Vec<(Condition, Evidence)> {
        let complaints = [(Condition::NoConsumer, &self.no_consumer), (Condition::ConsumerStalled, &self.stalled)];
        for (condition, complaint) in complaints {
            let applies = complaint.as_ref().filter(|complaint| complaint.concerns(view, settings));
            if let Some(Complaint { since, evidence, .. }) = applies {
                held.entry(condition).or_insert((*since, evidence.clone())).1 = evidence.clone();
            }
        }
        held.retain(|condition, (since, _)| !self.is_over(*condition, *since));
        held.iter().map(|(condition, (_, evidence))| (*condition, evidence.clone())).collect()
    }

    /// A backlog that is foreseen and not there yet.
    pub fn coming(&self, settings: &WorkerSettings) -> Option<Evidence> {
        let threshold = f64::from(settings.queue_backlog_threshold);
        let ahead = self.by_name.values().filter(|queue| !queue.backlog(threshold));
        ahead.filter_map(|queue| queue.course.predicted.clone()).next()
    }

    /// Whether what was raised then has been seen to be better, or cannot be seen any more.
    fn is_over(&self, condition: Condition, since: Mono) -> bool {
        let bad = |queue: &Queue| match (condition, queue.last()) {
            (_, None) => false,
            (Condition::NoConsumer, Some(depth)) => depth.ready > 0 && depth.consumers == 0,
            (_, Some(depth)) => depth.ready > 0 && queue.progress.is_some_and(|at| at <= since),
        };
        !self.by_name.values().any(bad)
    }

    /// An instance of the worker began anew, or its connections were reset.
    pub fn disturb(&mut self, now: Mono) {
        self.by_name.values_mut().for_each(|queue| queue.disturbed = Some(now));
    }

    pub fn known(&self) -> bool {
        self.by_name.values().all(|queue| queue.unknown.is_none() && queue.last().is_some())
    }

    /// Work waits in some queue.
    pub fn work_waits(&self) -> bool {
        self.by_name.values().filter_map(Queue::last).any(|depth| depth.ready > 0)
    }

    fn judge(&mut self, settings: &WorkerSettings) -> bool {
        let samples = settings.queue_samples as usize;
        let first = |judge: &dyn Fn(&QueueName, &Queue) -> Option<Complaint>| {
            self.by_name.iter().find_map(|(name, queue)| judge(name, queue))
        };
        let no_consumer = first(&|name, queue| {
            let since = queue.no_consumer(samples)?;
            let ready = queue.last()?.ready;
            let text = format!("{ready} messages are ready in {name} and nobody consumes it, in {samples} readings");
            Some(Complaint { since, evidence: Evidence::measured(text, ready as f64, 0.0) })
        });
        let stalled = first(&|name, queue| {
            let (since, silence) = queue.stalled(samples)?;
            let depth = queue.last()?;
            let longest = human(queue.longest_silence);
            let text = format!(
                "{} messages are ready in {name}, {} consumers are there, and nothing was acknowledged for {} (longest \
                 so far {longest})",
                depth.ready,
                depth.consumers,
                human(silence)
            );
            let evidence = Evidence::measured(text, silence.as_secs_f64(), 0.0);
            Some(Complaint { since, evidence })
        });
        let changed = self.no_consumer != no_consumer || self.stalled != stalled;
        (self.no_consumer, self.stalled) = (no_consumer, stalled);
        changed
    }
}

impl Complaint {
    fn concerns(&self, view: &UnitView, settings: &WorkerSettings) -> bool {
        let up = view.active_enter.or(view.inactive_exit).filter(|up| *up <= self.since);
        up.is_some_and(|up| self.since.since(up) >= settings.start_timeout)
    }
}

impl Engine {
    pub(super) fn queues(&mut self, readings: Vec<QueueReading>) {
        let now = self.now();
        // Whether something else is foreseen of its queues than before.
        let mut read: BTreeMap<WorkerName, bool> = BTreeMap::new();
        for reading in readings {
            let Some(settings) = self.settings.workers.get(&reading.worker) else { continue };
            if !settings.queues.contains(&reading.queue) {
                continue;
            }
            let worker = reading.worker.clone();
            let foreseen = self.read_queue(reading, now);
            *read.entry(worker).or_default() |= foreseen;
        }
        for (worker, foreseen) in read {
            let Some(settings) = self.settings.workers.get(&worker) else { continue };
            let Some(sum) = self.workers.get_mut(&worker) else { continue };
            let changed = sum.queues.judge(settings) | foreseen;
            self.rescale(&worker);
            if changed {
                self.reassess_worker(&worker);
            }
        }
    }

    /// True when something else is foreseen of it than before.
    fn read_queue(&mut self, reading: QueueReading, now: Mono) -> bool {
        let settings = &self.settings.workers[&reading.worker];
        let QueueReading { worker, queue: name, at, reading } = reading;
        let settles = self.settings.daemon.health_check_interval * BROKER_SETTLES_INTERVALS;
        let sum = self.workers.entry(worker.clone()).or_default();
        let queue = sum.queues.by_name.entry(name.clone()).or_default();
        let label = name.to_string();
        match reading {
            QueueState::Known(depth) => {
                let found = queue.unknown.take().is_some();
                // At the first reading of all the broker may have come back just before us.
                if found || queue.settled_at.is_none() {
                    queue.settled_at = Some(now + settles);
                }
                if found {
                    self.desk.tell_worker(&worker, What::QueueFound { queue: label.clone() });
                }
                queue.take(at, depth);
                queue.look_ahead(&label, at, depth, settings)
            }
            QueueState::Unknown { why } => {
                // That the reason changes while the broker goes and comes is seen in the status.
                let news = queue.unknown.is_none();
                queue.lose(why.clone());
                if news {
                    self.desk.tell_worker(&worker, What::QueueLost { queue: label, why });
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(readings: &[(u64, u64, u64, Option<u64>)]) -> Queue {
        let mut queue = Queue::default();
        for (at, ready, consumers, acknowledged_total) in readings {
            let depth = QueueDepth {
                ready: *ready,
                consumers: *consumers,
                acknowledged_total: *acknowledged_total,
                ..QueueDepth::default()
            };
            queue.take(Mono(at * 1_000_000), depth);
        }
        queue
    }

    #[test]
    fn a_backlog_is_two_readings_and_does_not_go_away_by_itself() {
        assert!(!queue(&[(0, 10_000, 1, None)]).backlog(100.0), "one reading is a spike");
        assert!(queue(&[(0, 10_000, 1, None), (10, 10_000, 1, None)]).backlog(100.0));
        assert!(!queue(&[(0, 10_000, 1, None), (10, 5_000, 1, None)]).backlog(100.0), "gone in ten seconds");
        assert!(!queue(&[(0, 108, 1, None), (10, 108, 1, None)]).backlog(100.0), "within the tolerance");
        assert!(!queue(&[(0, 1_000, 10, None), (10, 1_000, 10, None)]).backlog(100.0), "other hosts help");
    }

    #[test]
    fn a_stall_is_known_by_acknowledgements_alone() {
        let busy: Vec<_> = (0..5).map(|n| (n * 10, 50, 1, Some(n))).collect();
        let then = |more: &[(u64, u64, u64, Option<u64>)]| queue(&[&busy[..], more].concat()).stalled(3).is_some();
        assert!(!then(&[(50, 50, 1, Some(4)), (60, 50, 1, Some(4))]), "three times the longest silence has not passed");
        assert!(then(&[(50, 50, 1, Some(4)), (60, 50, 1, Some(4)), (70, 51, 1, Some(4))]));
        assert!(!then(&[(50, 50, 1, Some(4)), (60, 40, 1, Some(4)), (70, 30, 1, Some(4)), (80, 20, 1, Some(4))]));
        let blind = [(0, 50, 1, None), (10, 50, 1, None), (20, 50, 1, None), (30, 50, 1, None)];
        assert!(queue(&blind).stalled(3).is_none(), "without acknowledgement data it is unknown");
        let never = [(0, 50, 1, Some(1)), (10, 50, 1, Some(1)), (20, 50, 1, Some(1)), (30, 50, 1, Some(1))];
        assert!(queue(&never).stalled(3).is_none(), "one that we never saw work may need longer for one message");
    }

    #[test]
    fn the_first_message_may_take_long() {
        let slow = [(0, 50, 1, None), (10, 50, 1, Some(1)), (20, 50, 1, Some(1)), (30, 50, 1, Some(1))];
        assert!(queue(&slow).stalled(3).is_none(), "its pace is not known yet");
        let twice = [(0, 50, 1, Some(1)), (10, 50, 1, Some(2)), (20, 50, 1, Some(3))];
        let silent: Vec<_> = (3..20).map(|n| (n * 10, 50, 1, Some(3))).collect();
        assert!(queue(&[&twice[..], &silent].concat()).stalled(3).is_none(), "one pause is no pace");
    }

    #[test]
    fn a_stall_that_a_restart_ended_is_not_taken_for_the_pace() {
        let stalled_again = |restarted: Option<u64>| {
            let mut queue = queue(&(0..5).map(|n| (n * 10, 50, 1, Some(n))).collect::<Vec<_>>());
            let take = |queue: &mut Queue, at: u64, ready, acknowledged| {
                let depth = QueueDepth {
                    ready,
                    consumers: 1,
                    acknowledged_total: Some(acknowledged),
                    unacknowledged: None,
                    publish_rate: None,
                };
                queue.take(Mono(at * 1_000_000), depth);
            };
            (5..30).for_each(|n| take(&mut queue, n * 10, 50 + n, 4));
            queue.disturbed = restarted.map(|at| Mono(at * 1_000_000));
            (30..34).for_each(|n| take(&mut queue, n * 10, 50, n));
            (34..40).for_each(|n| take(&mut queue, n * 10, 90 + n, 33));
            queue.stalled(3).is_some()
        };
        assert!(stalled_again(Some(295)));
        assert!(!stalled_again(None), "it had only worked on one message for long");
    }

    #[test]
    fn consumers_have_time_to_come_back() {
        let mut queue = queue(&[(0, 5, 0, None), (10, 5, 0, None), (20, 5, 0, None)]);
        assert!(queue.no_consumer(3).is_some());
        queue.settled_at = Some(Mono(5_000_000));
        assert!(queue.no_consumer(3).is_none());
    }
}
