//! The series of queues: the last reading of each queue that the configuration names.

use std::collections::BTreeMap;

use super::catalog::{self as c, Metric};
use super::text::{Text, label};
use crate::model::name::WorkerName;
use crate::model::settings::Settings;
use crate::model::signal::{QueueDepth, QueueName, QueueReading, QueueState};

#[derive(Debug)]
struct Queue {
    /// `worker="…",vhost="…",queue="…"`, made once.
    labels: String,
    reading: Reading,
}

#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Not read yet.
    None,
    /// It could not be read.
    Failed,
    Known(QueueDepth),
}

/// All queues of the configuration.
#[derive(Default)]
pub struct Queues(BTreeMap<(WorkerName, QueueName), Queue>);

impl Queues {
    /// Readings stay, except where the queue is another one now.
    pub fn configure(&mut self, settings: &Settings) {
        let mut before = std::mem::take(&mut self.0);
        for worker in settings.workers.values() {
            for queue in &worker.queues {
                let vhost = worker.vhost_of(queue);
                let labels = [("worker", worker.name.as_str()), ("vhost", &vhost), ("queue", &queue.name)];
                let labels = labels.map(|(key, value)| label(key, value)).join(",");
                let key = (worker.name.clone(), queue.clone());
                let kept = before.remove(&key).filter(|queue| queue.labels == labels);
                self.0.insert(key, kept.unwrap_or(Queue { labels, reading: Reading::None }));
            }
        }
    }

    /// Queues that the configuration does not name have no series.
    pub fn take(&mut self, readings: &[QueueReading]) {
        for QueueReading { worker, queue, reading, .. } in readings {
            if let Some(known) = self.0.get_mut(&(worker.clone(), queue.clone())) {
                known.reading = match reading {
                    QueueState::Known(depth) => Reading::Known(*depth),
                    QueueState::Unknown { .. } => Reading::Failed,
                };
            }
        }
    }

    pub fn write(&self, text: &mut Text) {
        text.family(&c::QUEUE_UP, |series| {
            for queue in self.0.values().filter(|queue| !matches!(queue.reading, Reading::None)) {
                series.bool(&queue.labels, "", matches!(queue.reading, Reading::Known(_)));
            }
        });
        let mut counts = |metric: &'static Metric, read: fn(&QueueDepth) -> Option<u64>| {
            text.family(metric, |series| {
                for queue in self.0.values() {
                    if let Reading::Known(depth) = &queue.reading
                        && let Some(value) = read(depth)
                    {
                        series.int(&queue.labels, "", value);
                    }
                }
            });
        };
        counts(&c::QUEUE_READY, |depth| Some(depth.ready));
        counts(&c::QUEUE_UNACKED, |depth| depth.unacknowledged);
        counts(&c::QUEUE_CONSUMERS, |depth| Some(depth.consumers));
        counts(&c::QUEUE_ACKED, |depth| depth.acknowledged_total);
    }
}
