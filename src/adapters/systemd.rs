//! systemd over D-Bus: what happens to units, as inputs; and a bounded caller for whoever acts.
//!
//! Decides nothing, and never polls PID 1. Signals come over one connection, whose reader never waits for a call;
//! calls go over another, so that no reply can wait behind a signal nor a signal behind a reply.

pub mod bus;

mod debounce;
mod families;
mod inquire;
mod jobs;
mod journal;
mod look;
mod path;
mod properties;
mod session;
mod signals;
mod table;
mod watchdog;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch as cell};

pub use self::bus::BusAddress;
pub use self::families::{Families, TasksOf, watch_families};
pub use self::path::unit_path;
use self::session::{End, Session};
pub use self::watchdog::watch_watchdogs;
use crate::model::fact::ResyncReason;
use crate::model::input::Input;
use crate::model::name::UnitName;
use crate::model::settings::Selector;
use crate::model::time::Wall;

/// First pause before the bus is tried again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A session that lived this long was well: the next loss starts with the short pause again.
const SESSION_WELL: Duration = Duration::from_secs(10);

/// What can be asked of a running [`watch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Read the unit anew; answered by [`Input::Unit`].
    Look(UnitName),
    /// Find out how the unit came to be down; answered by [`Input::Inquired`], after a lost bus when it is back.
    Inquire(UnitName),
}

/// Counters for the metrics; written by [`watch`], read by anybody.
#[derive(Debug, Default)]
pub struct BusStats {
    calls: Arc<AtomicU64>,
    signals: AtomicU64,
    dropped: AtomicU64,
    resyncs: [AtomicU64; ResyncReason::ALL.len()],
    connected: AtomicBool,
    last_resync: AtomicI64,
    version: Mutex<String>,
}

impl BusStats {
    /// Calls sent to systemd.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Messages that came over the connection for signals.
    pub fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Inputs that found the channel full; a snapshot made up for them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Snapshots sent, by reason, in the order of [`ResyncReason::ALL`].
    pub fn resyncs(&self) -> impl Iterator<Item = (ResyncReason, u64)> + '_ {
        ResyncReason::ALL.iter().zip(&self.resyncs).map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)))
    }

    /// Signals are being received and the first snapshot has been sent.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// When the last snapshot was sent; `None`: never.
    pub fn last_resync(&self) -> Option<Wall> {
        Some(self.last_resync.load(Ordering::Relaxed)).filter(|at| *at != 0).map(Wall)
    }

    /// Version of systemd as it names itself; empty before the first connection.
    pub fn version(&self) -> String {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn resynced(&self, reason: ResyncReason) {
        if let Some((_, count)) = ResyncReason::ALL.iter().zip(&self.resyncs).find(|(each, _)| **each == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        self.last_resync.store(now, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }
}

/// Watches all units that `selectors` match and sends what happens to `inputs`, until nobody receives any more.
///
/// Without a bus it says [`Input::BusLost`] once and goes on trying. After every (re)connection a
/// [`Input::Snapshot`] comes first. An input that finds the channel full is dropped, and a snapshot follows as soon
/// as there is room. Questions that come while there is no bus wait in their channel.
pub async fn watch(
    bus: BusAddress,
    mut selectors: cell::Receiver<Vec<Selector>>,
    inputs: mpsc::Sender<Input>,
    mut questions: mpsc::Receiver<Question>,
    stats: Arc<BusStats>,
) {
    let mut unanswered = Vec::new();
    let mut pause = RETRY_MIN;
    let mut told = false;
    loop {
        let started = tokio::time::Instant::now();
        let mut was_connected = false;
        let why = match Session::connect(bus, &stats, inputs.clone()).await {
            Ok(session) => {
                was_connected = true;
                match session.run(&mut selectors, &mut questions, &mut unanswered).await {
                    End::Lost(why) => why,
                    End::NobodyListens => return,
                }
            }
            Err(error) => bus::error_text(&error),
        };
        stats.connected.store(false, Ordering::Relaxed);
        if was_connected || !told {
            told = true;
            if inputs.send(Input::BusLost { why }).await.is_err() {
                return;
            }
        }
        if started.elapsed() >= SESSION_WELL {
            pause = RETRY_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inputs.closed() => return,
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}
