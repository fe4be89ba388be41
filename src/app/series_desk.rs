//! The last readings of every instance and queue, for the plots of the page: what the metrics do not keep.
//!
//! What bounds it: [`POINTS`] rounds, whose times all share; of each of [`INSTANCES_MAX`] instances 12 bytes a round (1.5 KB,
//! 6 MB in all), of each of [`QUEUES_MAX`] queues 4 bytes (2 MB). The event loop writes a round in some 0.1 ms for 1,000
//! instances; readers copy one instance.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Engine;
use crate::model::overview::{Curve, QueueCurve, Series};
use crate::model::signal::QueueName;
use crate::model::status::{InstanceStatus, WorkerStatus};
use crate::model::{Now, UnitName, Wall, WorkerName, WorkerSettings};

/// Rounds of samples that are kept: an hour at the usual `health_check_interval`.
pub const POINTS: usize = 120;
pub const INSTANCES_MAX: usize = 4096;
pub const QUEUES_MAX: usize = 4096;

/// CPUs, memory, seconds since the last sign of life. What was not read is no number.
type Reading = [f32; 3];
const UNREAD: Reading = [f32::NAN; 3];

#[derive(Default)]
pub(super) struct SeriesDesk {
    rounds: Mutex<Rounds>,
}

#[derive(Default)]
struct Rounds {
    /// Rounds so far.
    count: u64,
    times: Vec<Wall>,
    instances: BTreeMap<UnitName, Track<Reading>>,
    queues: BTreeMap<WorkerName, BTreeMap<QueueName, Track<f32>>>,
}

/// Readings by the number of their round.
struct Track<T> {
    /// The first round and the one behind the last.
    from: u64,
    to: u64,
    /// At the place of the round's number, modulo [`POINTS`]; as long as there were rounds so far.
    readings: Vec<T>,
}

impl<T: Copy> Track<T> {
    fn new(round: u64) -> Self {
        Self { from: round, to: round, readings: Vec::new() }
    }

    fn put(&mut self, round: u64, reading: T, unread: T) {
        if round.saturating_sub(self.to) >= POINTS as u64 {
            *self = Self::new(round);
        }
        while self.to < round {
            self.push(unread);
        }
        self.push(reading);
    }

    fn push(&mut self, reading: T) {
        let place = (self.to - self.from) as usize % POINTS;
        match self.readings.get_mut(place) {
            Some(old) => *old = reading,
            None => self.readings.push(reading),
        }
        self.to += 1;
    }

    /// Oldest first, each with the number of its round; those of the last [`POINTS`] rounds before `count`.
    fn points(&self, count: u64) -> impl Iterator<Item = (u64, T)> {
        let first = self.from.max(self.to.saturating_sub(POINTS as u64)).max(count.saturating_sub(POINTS as u64));
        (first..self.to).map(|round| (round, self.readings[(round - self.from) as usize % POINTS]))
    }

    fn is_over(&self, count: u64) -> bool {
        self.to + POINTS as u64 <= count
    }
}

impl SeriesDesk {
    /// After each round of samples.
    pub fn take(&self, engine: &Engine, now: Now) {
        let mut rounds = self.rounds();
        let round = rounds.begin(now.wall);
        for seen in engine.readings() {
            let age = seen.beat.map(|at| now.mono.since(at).as_secs_f32());
            let reading = [seen.cpus.map(|cpus| cpus as f32), seen.memory.map(|bytes| bytes as f32), age];
            rounds.put_instance(round, seen.unit, reading.map(|value| value.unwrap_or(f32::NAN)));
        }
        for (worker, queue, ready) in engine.depths() {
            rounds.put_queue(round, worker, queue, ready.map_or(f32::NAN, |ready| ready as f32));
        }
    }

    /// With what the readings are judged by, as it is now.
    pub fn series(&self, worker: &WorkerStatus, instance: &InstanceStatus, by: &WorkerSettings, at: Wall) -> Series {
        let rounds = self.rounds();
        let readings = |column: usize| rounds.of_instance(&instance.unit, column);
        let quota = instance.usage.as_ref().and_then(|usage| usage.cpu_quota);
        let limit = instance.memory_limit_bytes.map(|limit| limit as f64);
        let of_queue = |queue: &crate::model::status::QueueStatus| {
            let consumers = queue.depth.map_or(1, |depth| depth.consumers.max(1));
            let threshold = f64::from(by.queue_backlog_threshold) * consumers as f64;
            let points = rounds.of_queue(&worker.worker, &queue.queue);
            QueueCurve { queue: queue.queue.clone(), ready: Curve { points, threshold: Some(threshold), limit: None } }
        };
        Series {
            unit: instance.unit.clone(),
            worker: worker.worker.clone(),
            at,
            cpu: Curve {
                points: readings(0),
                threshold: Some(quota.unwrap_or(by.cpu_cores) * by.cpu_threshold / 100.0),
                limit: quota,
            },
            memory: Curve {
                points: readings(1),
                threshold: limit.map(|limit| limit * by.memory_threshold / 100.0),
                limit,
            },
            heartbeat: Curve {
                points: readings(2),
                threshold: instance.heartbeat.as_ref().map(|_| by.heartbeat_timeout.as_secs_f64()),
                limit: None,
            },
            queues: worker.queues.iter().map(of_queue).collect(),
        }
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rounds {
    /// Opens a round; what has not been read for as long as anything is kept goes.
    fn begin(&mut self, at: Wall) -> u64 {
        let round = self.count;
        match self.times.get_mut(round as usize % POINTS) {
            Some(old) => *old = at,
            None => self.times.push(at),
        }
        self.count += 1;
        self.instances.retain(|_, track| !track.is_over(round));
        for queues in self.queues.values_mut() {
            queues.retain(|_, track| !track.is_over(round));
        }
        self.queues.retain(|_, queues| !queues.is_empty());
        round
    }

    fn put_instance(&mut self, round: u64, unit: &UnitName, reading: Reading) {
        if let Some(track) = self.instances.get_mut(unit) {
            return track.put(round, reading, UNREAD);
        }
        if self.instances.len() < INSTANCES_MAX {
            self.instances.entry(unit.clone()).or_insert_with(|| Track::new(round)).put(round, reading, UNREAD);
        }
    }

    fn put_queue(&mut self, round: u64, worker: &WorkerName, queue: &QueueName, ready: f32) {
        if let Some(track) = self.queues.get_mut(worker).and_then(|queues| queues.get_mut(queue)) {
            return track.put(round, ready, f32::NAN);
        }
        if self.queues.values().map(BTreeMap::len).sum::<usize>() < QUEUES_MAX {
            let queues = self.queues.entry(worker.clone()).or_default();
            queues.entry(queue.clone()).or_insert_with(|| Track::new(round)).put(round, ready, f32::NAN);
        }
    }

    fn of_instance(&self, unit: &UnitName, column: usize) -> Vec<(Wall, Option<f64>)> {
        let points = self.instances.get(unit).into_iter().flat_map(|track| track.points(self.count));
        points.map(|(round, reading)| self.point(round, reading[column])).collect()
    }

    fn of_queue(&self, worker: &WorkerName, queue: &QueueName) -> Vec<(Wall, Option<f64>)> {
        let track = self.queues.get(worker).and_then(|queues| queues.get(queue));
        track.into_iter().flat_map(|track| track.points(self.count)).map(|(n, ready)| self.point(n, ready)).collect()
    }

    fn point(&self, round: u64, reading: f32) -> (Wall, Option<f64>) {
        // Four digits: what a reading of 32 bits has beyond them is noise, and long to write.
        let digits = |reading: f32| (f64::from(reading) * 1e4).round() / 1e4;
        (self.times[round as usize % POINTS], (!reading.is_nan()).then(|| digits(reading)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(n: usize) -> UnitName {
        UnitName::new(&format!("mail@{n}.service")).unwrap()
    }

    fn round(rounds: &mut Rounds, second: i64, units: &[usize]) {
        let round = rounds.begin(Wall(second));
        units.iter().for_each(|n| rounds.put_instance(round, &unit(*n), [second as f32, f32::NAN, 0.0]));
    }

    #[test]
    fn the_last_rounds_are_kept_and_gaps_stay_gaps() {
        let mut rounds = Rounds::default();
        (0..POINTS as i64 + 10).for_each(|second| {
            let units: &[usize] = if second == 100 { &[1] } else { &[1, 2] };
            round(&mut rounds, second, units);
        });
        let one = rounds.of_instance(&unit(1), 0);
        assert_eq!((one.len(), one[0], one[119]), (POINTS, (Wall(10), Some(10.0)), (Wall(129), Some(129.0))));
        let two = rounds.of_instance(&unit(2), 0);
        assert_eq!(
            (two.len(), two[89], two[90], two[91].1),
            (POINTS, (Wall(99), Some(99.0)), (Wall(100), None), Some(101.0))
        );
        assert!(rounds.of_instance(&unit(1), 1).iter().all(|point| point.1.is_none()), "what was not read is null");
        assert_eq!(rounds.of_instance(&unit(3), 0), []);
    }

    #[test]
    fn who_comes_back_begins_anew_and_who_is_gone_is_forgotten() {
        let mut rounds = Rounds::default();
        round(&mut rounds, 0, &[1, 2]);
        (1..200).for_each(|second| round(&mut rounds, second, &[2]));
        assert!(!rounds.instances.contains_key(&unit(1)));
        round(&mut rounds, 200, &[1, 2]);
        assert_eq!(rounds.of_instance(&unit(1), 0), [(Wall(200), Some(200.0))]);
        (201..210).for_each(|second| round(&mut rounds, second, &[2]));
        assert_eq!(rounds.of_instance(&unit(1), 0), [(Wall(200), Some(200.0))], "nothing after the last");
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let mut rounds = Rounds::default();
        let all: Vec<usize> = (0..INSTANCES_MAX + 9).collect();
        (0..POINTS as i64 + 1).for_each(|second| round(&mut rounds, second, &all));
        assert_eq!(rounds.instances.len(), INSTANCES_MAX);
        let readings: usize = rounds.instances.values().map(|track| track.readings.len() * size_of::<Reading>()).sum();
        assert_eq!(readings, INSTANCES_MAX * POINTS * 12);
        let (worker, first) = (WorkerName::new("mail").unwrap(), rounds.count);
        for n in 0..QUEUES_MAX + 9 {
            let queue = QueueName { vhost: None, name: n.to_string() };
            rounds.put_queue(first, &worker, &queue, 7.0);
        }
        assert_eq!(rounds.queues[&worker].len(), QUEUES_MAX);
    }
}
