//! The sampler's own thread: samples on a steady grid, and an instance soon after it began to be watched.
//!
//! It never waits for the event loop: a round that finds the loop's queue full is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Sampler;
use crate::model::{HostUsage, Input, Mono, UnitName, Usage};

/// Commands on their way to the thread. It takes them faster than systemd can make units; a sender that finds
/// the queue full waits for one round at most.
const COMMANDS_MAX: usize = 8192;
/// The first sample of an instance comes this soon, so that its rates exist after the next round.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Shortest interval between rounds.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What the thread needs from other edges.
pub struct Sources {
    /// CLOCK_MONOTONIC.
    pub clock: Box<dyn Fn() -> Mono + Send>,
    /// Totals of the host; `None` where they cannot be read.
    pub host: Box<dyn FnMut() -> Option<HostUsage> + Send>,
}

/// The thread has ended, which it does only when it was told to, when the event loop is gone, or by a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sampler thread has ended")]
pub struct SamplerGone;

/// What the thread did since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub rounds: u64,
    /// Rounds that found the event loop's queue full.
    pub dropped_rounds: u64,
    /// How long the last round took, microseconds.
    pub last_round_usec: u64,
    pub watched: u64,
    pub kept_files: u64,
}

#[derive(Debug, Default)]
struct Counters {
    rounds: AtomicU64,
    dropped: AtomicU64,
    last_usec: AtomicU64,
    watched: AtomicU64,
    kept: AtomicU64,
}

#[derive(Debug)]
enum Order {
    Watch { unit: UnitName, control_group: String },
    Forget { unit: UnitName },
    Interval(Duration),
    Now,
    Stop,
}

/// The way to the thread. Dropped without [`SamplerHandle::stop`], the thread ends by itself.
#[derive(Debug)]
pub struct SamplerHandle {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

impl SamplerHandle {
    /// Begins to watch a unit, or tells that it runs anew, maybe in another control group. An empty
    /// `control_group` means that it has no processes: it is forgotten.
    pub fn watch(&self, unit: UnitName, control_group: String) -> Result<(), SamplerGone> {
        match control_group.is_empty() {
            true => self.forget(unit),
            false => self.send(Order::Watch { unit, control_group }),
        }
    }

    pub fn forget(&self, unit: UnitName) -> Result<(), SamplerGone> {
        self.send(Order::Forget { unit })
    }

    /// Changes the time between rounds; at least 100 ms.
    pub fn set_interval(&self, interval: Duration) -> Result<(), SamplerGone> {
        self.send(Order::Interval(interval))
    }

    /// Asks for a round at once. The grid of the others stays.
    pub fn sample_now(&self) -> Result<(), SamplerGone> {
        self.send(Order::Now)
    }

    pub fn stats(&self) -> Stats {
        Stats {
            rounds: self.counters.rounds.load(Relaxed),
            dropped_rounds: self.counters.dropped.load(Relaxed),
            last_round_usec: self.counters.last_usec.load(Relaxed),
            watched: self.counters.watched.load(Relaxed),
            kept_files: self.counters.kept.load(Relaxed),
        }
    }

    /// Ends the thread after the round that it may be in.
    pub fn stop(self) -> Result<(), SamplerGone> {
        // Where the thread has ended already, joining it tells how.
        let _ = self.send(Order::Stop);
        self.thread.join().map_err(|_| SamplerGone)
    }

    fn send(&self, order: Order) -> Result<(), SamplerGone> {
        self.orders.send(order).map_err(|_| SamplerGone)
    }
}

/// Starts the thread. The first regular round comes after one `interval`; an instance that is watched before
/// has its first sample a second later.
pub fn spawn(
    sampler: Sampler,
    interval: Duration,
    sources: Sources,
    inputs: mpsc::Sender<Input>,
) -> std::io::Result<SamplerHandle> {
    let (orders, received) = sync_channel(COMMANDS_MAX);
    let counters = Arc::new(Counters::default());
    let schedule = Schedule::new((sources.clock)(), interval);
    let mut work = Work { sampler, sources, inputs, schedule, counters: counters.clone(), behind: false };
    let thread = std::thread::Builder::new().name("sampler".into()).spawn(move || work.run(&received))?;
    Ok(SamplerHandle { orders, counters, thread })
}

struct Work {
    sampler: Sampler,
    sources: Sources,
    inputs: mpsc::Sender<Input>,
    schedule: Schedule,
    counters: Arc<Counters>,
    /// The last round was dropped, which has been told.
    behind: bool,
}

impl Work {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let now = (self.sources.clock)();
            // Before the next order, so that a flood of them cannot keep the rounds from coming.
            if let Some(round) = self.schedule.take(now)
                && self.round(round, now).is_err()
            {
                return;
            }
            match orders.recv_timeout(self.schedule.due().since((self.sources.clock)())) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let now = (self.sources.clock)();
        match order {
            Order::Watch { unit, control_group } => match self.sampler.watch(unit.clone(), &control_group) {
                Ok(()) => self.schedule.watched(now),
                Err(error) => tracing::warn!(%unit, %error, "its resources are not read"),
            },
            Order::Forget { unit } => self.sampler.forget(&unit),
            Order::Interval(interval) => self.schedule.change(now, interval),
            Order::Now => self.schedule.hurry(),
            Order::Stop => {}
        }
        self.counters.watched.store(self.sampler.watched() as u64, Relaxed);
    }

    fn round(&mut self, round: Round, now: Mono) -> Result<(), SamplerGone> {
        let samples = match round {
            Round::All => self.sampler.sample(now),
            Round::Fresh => self.sampler.sample_fresh(now),
        };
        let host = (self.sources.host)();
        let took = (self.sources.clock)().since(now);
        self.counters.last_usec.store(took.as_micros() as u64, Relaxed);
        self.counters.kept.store(self.sampler.kept_files() as u64, Relaxed);
        self.counters.rounds.fetch_add(1, Relaxed);
        self.hand_over(samples, host)
    }

    fn hand_over(&mut self, samples: Vec<Usage>, host: Option<HostUsage>) -> Result<(), SamplerGone> {
        match self.inputs.try_send(Input::Usage { samples, host }) {
            Ok(()) => {
                self.behind = false;
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.counters.dropped.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.behind, true) {
                    tracing::warn!("the event loop is behind; a round of resource samples was dropped");
                }
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(SamplerGone),
        }
    }
}

/// What a round samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    All,
    /// Only what was not sampled since it was last watched.
    Fresh,
}

/// When the next round is due.
#[derive(Debug)]
struct Schedule {
    interval: Duration,
    next: Mono,
    fresh: Option<Mono>,
    hurried: bool,
}

impl Schedule {
    fn new(now: Mono, interval: Duration) -> Self {
        let interval = interval.max(INTERVAL_MIN);
        Self { interval, next: now + interval, fresh: None, hurried: false }
    }

    fn due(&self) -> Mono {
        match (self.hurried, self.fresh) {
            (true, _) => Mono(0),
            (false, Some(fresh)) => fresh.min(self.next),
            (false, None) => self.next,
        }
    }

    /// An instance is new: it is sampled soon, together with those that come within the same second. Where a
    /// regular round follows closely, that one is enough: a rate over a few milliseconds says nothing.
    fn watched(&mut self, now: Mono) {
        let soon = now + FIRST_AFTER;
        if self.fresh.is_none() && self.next > soon + FIRST_AFTER {
            self.fresh = Some(soon);
        }
    }

    fn change(&mut self, now: Mono, interval: Duration) {
        self.interval = interval.max(INTERVAL_MIN);
        self.next = self.next.min(now + self.interval);
    }

    fn hurry(&mut self) {
        self.hurried = true;
    }

    /// The round that is due now, which is then planned anew. Rounds that were missed (a suspended or starved
    /// host) are not made up for.
    fn take(&mut self, now: Mono) -> Option<Round> {
        let regular = now >= self.next;
        if regular {
            let missed = now.since(self.next).as_micros() / self.interval.as_micros().max(1);
            self.next = self.next + self.interval * (missed as u32).saturating_add(1);
        }
        if regular || self.hurried {
            self.hurried = false;
            self.fresh = None;
            return Some(Round::All);
        }
        self.fresh.take_if(|fresh| now >= *fresh).map(|_| Round::Fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * SECOND)
    }

    #[test]
    fn rounds_keep_their_grid() {
        let mut schedule = Schedule::new(at(100), Duration::from_secs(10));
        assert_eq!(schedule.take(at(109)), None);
        assert_eq!(schedule.due(), at(110));
        assert_eq!(schedule.take(Mono(110 * SECOND + 7)), Some(Round::All));
        assert_eq!(schedule.due(), at(120), "a late round does not move the grid");
        assert_eq!(schedule.take(at(155)), Some(Round::All), "missed rounds are one");
        assert_eq!(schedule.due(), at(160));
    }

    #[test]
    fn a_new_instance_is_sampled_soon() {
        let mut schedule = Schedule::new(at(0), Duration::from_secs(10));
        schedule.watched(at(2));
        schedule.watched(Mono(2 * SECOND + 900_000));
        assert_eq!(schedule.due(), at(3), "the first of a burst sets the time");
        assert_eq!(schedule.take(at(3)), Some(Round::Fresh));
        assert_eq!(schedule.due(), at(10));
        schedule.watched(at(9));
        assert_eq!(schedule.due(), at(10), "the regular round is near enough");
        assert_eq!(schedule.take(at(10)), Some(Round::All));
    }

    #[test]
    fn the_interval_changes_at_once_and_now_means_now() {
        let mut schedule = Schedule::new(at(0), Duration::from_secs(600));
        schedule.change(at(5), Duration::from_secs(10));
        assert_eq!(schedule.due(), at(15));
        schedule.change(at(6), Duration::from_secs(600));
        assert_eq!(schedule.due(), at(15), "a longer interval begins after the round that was promised");
        schedule.hurry();
        assert!(schedule.due() <= at(7));
        assert_eq!(schedule.take(at(7)), Some(Round::All));
        assert_eq!(schedule.take(at(7)), None);
        assert_eq!(schedule.due(), at(15));
        schedule.change(at(8), Duration::ZERO);
        assert_eq!(schedule.due(), Mono(8 * SECOND + 100_000), "never a busy loop");
    }
}
