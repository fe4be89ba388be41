//! How long each worker was available and observed, between two flushes to the database.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::fact::Availability;
use crate::model::{Mono, WorkerName};

/// Workers whose time is kept; configurations are far smaller.
const WORKERS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub available: Duration,
    pub observed: Duration,
}

impl Span {
    fn add(&mut self, other: Span) {
        self.available += other.available;
        self.observed += other.observed;
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    workers: BTreeMap<WorkerName, (Availability, Mono)>,
    spans: BTreeMap<WorkerName, Span>,
}

impl Ledger {
    /// The worker's availability is `to` from `at` on.
    pub fn change(&mut self, worker: &WorkerName, to: Availability, at: Mono) {
        self.settle(worker, at);
        match to {
            Availability::NotCounted => {
                self.workers.remove(worker);
            }
            _ if self.workers.len() < WORKERS_MAX || self.workers.contains_key(worker) => {
                // A fact may be older than the flush that has already counted its time.
                let since = self.workers.get(worker).map_or(at, |(_, since)| at.max(*since));
                self.workers.insert(worker.clone(), (to, since));
            }
            _ => {}
        }
    }

    /// Takes what has been measured up to `now`.
    pub fn take(&mut self, now: Mono) -> BTreeMap<WorkerName, Span> {
        let running: Vec<WorkerName> = self.workers.keys().cloned().collect();
        for worker in &running {
            self.settle(worker, now);
        }
        std::mem::take(&mut self.spans)
    }

    /// Puts back what could not be written.
    pub fn put_back(&mut self, spans: BTreeMap<WorkerName, Span>) {
        for (worker, span) in spans {
            self.spans.entry(worker).or_default().add(span);
        }
    }

    fn settle(&mut self, worker: &WorkerName, now: Mono) {
        let Some((state, since)) = self.workers.get_mut(worker) else {
            return;
        };
        let observed = now.since(*since);
        let available = if *state == Availability::Available { observed } else { Duration::ZERO };
        *since = (*since).max(now);
        if !observed.is_zero() {
            self.spans.entry(worker.clone()).or_default().add(Span { available, observed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_while_it_counts() {
        let worker = WorkerName::new("mail").unwrap();
        let second = |n: u64| Mono(n * 1_000_000);
        let span = |available, observed| Span {
            available: Duration::from_secs(available),
            observed: Duration::from_secs(observed),
        };
        let mut ledger = Ledger::default();
        ledger.change(&worker, Availability::Available, second(10));
        ledger.change(&worker, Availability::Unavailable, second(40));
        assert_eq!(ledger.take(second(50))[&worker], span(30, 40));
        let taken = ledger.take(second(60));
        assert_eq!(taken[&worker], span(0, 10));
        ledger.put_back(taken);
        ledger.change(&worker, Availability::NotCounted, second(61));
        ledger.change(&worker, Availability::Available, second(100));
        // A fact that is older than the last flush takes nothing away.
        ledger.change(&worker, Availability::Available, second(90));
        assert_eq!(ledger.take(second(101))[&worker], span(1, 12));
        assert!(ledger.take(second(101)).is_empty());
    }
}
