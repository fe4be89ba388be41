//! Queues of RabbitMQ: ready messages and consumers by passive declare, the rest from the management API.
//!
//! Reads and never changes anything at a broker: no queue is declared, consumed or purged. A broker that is away, or
//! that refuses us, makes readings `Unknown`; it says nothing about any worker.

mod address;
mod backoff;
mod connection;
mod link;
mod management;
mod plan;
mod rates;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::adapters::secret;
use crate::model::signal::{QueueReading, QueueState};
use crate::model::{Input, Mono, Now, Settings};

use link::Keeper;
use plan::{Asked, Asker, Link, Plan, Work};

/// How often the keepers of connections are looked after; one that has died is replaced.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// What the adapter did, for the daemon's own metrics.
#[derive(Debug, Default)]
pub struct BrokerStats {
    /// Attempts to connect.
    pub connects: AtomicU64,
    /// Attempts that failed, and connections that were lost.
    pub connect_failures: AtomicU64,
    /// Readings made, and those of them that are unknown.
    pub readings: AtomicU64,
    pub unknown: AtomicU64,
    /// Readings that the event loop had no room for.
    pub dropped: AtomicU64,
}

impl BrokerStats {
    fn connects(&self, count: u64) {
        self.connects.fetch_add(count, Ordering::Relaxed);
    }

    fn connect_failures(&self, count: u64) {
        self.connect_failures.fetch_add(count, Ordering::Relaxed);
    }
}

/// Where readings go, and what all keepers share.
#[derive(Clone)]
pub struct Outlet {
    inputs: mpsc::Sender<Input>,
    clock: Arc<dyn Fn() -> Now + Send + Sync>,
    counts: Arc<BrokerStats>,
    credentials: Option<PathBuf>,
}

impl Outlet {
    /// systemd's credentials are where `$CREDENTIALS_DIRECTORY` says.
    pub fn new(
        inputs: mpsc::Sender<Input>,
        clock: Arc<dyn Fn() -> Now + Send + Sync>,
        counts: Arc<BrokerStats>,
    ) -> Self {
        Self { inputs, clock, counts, credentials: secret::credentials_directory() }
    }

    fn now(&self) -> Mono {
        (self.clock)().mono
    }

    /// Never waits: a round that the event loop has no room for is dropped and counted, the next one follows.
    fn send(&self, readings: Vec<QueueReading>) {
        if readings.is_empty() {
            return;
        }
        let count = readings.len() as u64;
        let unknown = readings.iter().filter(|one| matches!(one.reading, QueueState::Unknown { .. })).count() as u64;
        self.counts.readings.fetch_add(count, Ordering::Relaxed);
        self.counts.unknown.fetch_add(unknown, Ordering::Relaxed);
        if self.inputs.try_send(Input::Queues { readings }).is_err() {
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Reads the queues of all workers for as long as there are settings.
pub async fn watch(mut settings: watch::Receiver<Arc<Settings>>, outlet: Outlet) {
    let mut keepers = Keepers::default();
    loop {
        let now = settings.borrow_and_update().clone();
        let Plan { links, refused } = Plan::of(&now);
        let period = Plan::period(&now);
        keepers.set(links, &outlet);
        let mut look_at = Instant::now() + LOOK_AFTER;
        let mut refusal_at = Instant::now();
        loop {
            tokio::select! {
                changed = settings.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = sleep_until(look_at) => {
                    keepers.look_after(&outlet);
                    look_at = Instant::now() + LOOK_AFTER;
                }
                () = sleep_until(refusal_at), if !refused.is_empty() => {
                    outlet.send(refusals(&refused, outlet.now()));
                    refusal_at = Instant::now() + period;
                }
            }
        }
    }
}

/// One task for each connection.
#[derive(Default)]
struct Keepers(BTreeMap<Link, (watch::Sender<Arc<Work>>, JoinHandle<()>)>);

impl Keepers {
    /// A connection that is no longer named closes by itself when its sender is gone.
    fn set(&mut self, links: BTreeMap<Link, Work>, outlet: &Outlet) {
        self.0.retain(|link, _| links.contains_key(link));
        for (link, work) in links {
            match self.0.get(&link) {
                Some((sender, _)) if **sender.borrow() == work => {}
                Some((sender, _)) => drop(sender.send(Arc::new(work))),
                None => self.start(link, Arc::new(work), outlet),
            }
        }
    }

    fn start(&mut self, link: Link, work: Arc<Work>, outlet: &Outlet) {
        let (sender, receiver) = watch::channel(work);
        let task = tokio::spawn(Keeper::new(link.clone(), receiver, outlet.clone()).run());
        self.0.insert(link, (sender, task));
    }

    /// A keeper ends only by a fault of ours.
    fn look_after(&mut self, outlet: &Outlet) {
        let ended = self.0.iter().filter(|(_, (_, task))| task.is_finished());
        let ended: Vec<_> = ended.map(|(link, (sender, _))| (link.clone(), sender.borrow().clone())).collect();
        for (link, work) in ended {
            error!(broker = link.address.to_string(), vhost = link.vhost, "reading queues failed; starting it anew");
            self.start(link, work, outlet);
        }
    }
}

fn refusals(refused: &[(Asker, String)], at: Mono) -> Vec<QueueReading> {
    refused.iter().map(|(asker, why)| reading(asker, at, QueueState::Unknown { why: why.clone() })).collect()
}

/// What was found, for everybody who asked.
fn readings(queues: &[Asked], states: Vec<QueueState>, at: Mono) -> Vec<QueueReading> {
    let pairs = queues.iter().zip(states);
    pairs.flat_map(|(asked, state)| asked.askers.iter().map(move |asker| reading(asker, at, state.clone()))).collect()
}

fn reading(asker: &Asker, at: Mono, reading: QueueState) -> QueueReading {
    QueueReading { worker: asker.worker.clone(), queue: asker.queue.clone(), at, reading }
}
