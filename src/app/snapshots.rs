//! The present as many ask for it: one snapshot of the status for all, made anew only after something may have changed.
//!
//! What bounds it: one question to the event loop at a time, however many ask; and after each the loop has four times as
//! long for the workers as the snapshot took, so that no crowd of readers gets more than a fifth of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::adapters::host;
use crate::adapters::http::{PortError, Snapshot};
use crate::model::status::Status;
use crate::views::overview::overview;

use super::{Query, Shared};

/// The loop's time for others after each snapshot, in times of what it took.
const REST: u32 = 4;
/// And never more than this.
const REST_MAX: Duration = Duration::from_millis(100);

/// What the event loop answers.
pub(crate) struct Present {
    pub turn: u64,
    pub status: Status,
    /// The last fact that is in it.
    pub last_event: String,
    /// How long the loop had to do with it.
    pub took: Duration,
}

pub(crate) struct Snapshots {
    /// Number of what may have changed so far: inputs, timers, and the passing of seconds.
    turn: AtomicU64,
    /// Whether the hold file was there when the loop last looked.
    held: AtomicBool,
    hold_file: PathBuf,
    last: Mutex<Option<Arc<Snapshot>>>,
    /// Held by who asks the loop; when the loop may be asked again.
    asking: tokio::sync::Mutex<Instant>,
    host: String,
}

impl Snapshots {
    pub fn new(hold_file: PathBuf) -> Self {
        Self {
            turn: AtomicU64::new(1),
            held: AtomicBool::new(false),
            hold_file,
            last: Mutex::default(),
            asking: tokio::sync::Mutex::new(Instant::now()),
            host: host::name(),
        }
    }

    /// Something may change now. Said before it does, so that who hears of the change finds no older snapshot.
    pub fn move_on(&self) {
        self.turn.fetch_add(1, Ordering::AcqRel);
    }

    /// What the loop has seen of the hold file.
    pub fn saw_hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    /// For the loop, which alone moves it on.
    pub fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// The present turn; `None` while the loop has not seen yet what the hold file says: who has just touched it must hear
    /// of it.
    pub fn settled(&self) -> Option<u64> {
        let held = self.hold_file.symlink_metadata().is_ok();
        (held == self.held.load(Ordering::Acquire)).then(|| self.turn())
    }

    /// One that is not older than `turn`.
    fn since(&self, turn: u64) -> Option<Arc<Snapshot>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|snapshot| snapshot.turn >= turn).cloned()
    }
}

impl Shared {
    /// The present, never older than the question.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, PortError> {
        let snapshots = &self.reading.snapshots;
        // Where the hold file is news, whatever was made before is old.
        let asked = snapshots.settled().unwrap_or_else(|| snapshots.turn() + 1);
        if let Some(snapshot) = snapshots.since(asked) {
            return Ok(snapshot);
        }
        let mut not_before = snapshots.asking.lock().await;
        // Made for somebody else, after we asked.
        if let Some(snapshot) = snapshots.since(asked) {
            return Ok(snapshot);
        }
        sleep_until(*not_before).await;
        let Present { turn, status, last_event, took } = self.ask(Query::Status).await?;
        *not_before = Instant::now() + (took * REST).min(REST_MAX);
        let status = Status { disk: self.disk.present(), ..status };
        let host = snapshots.host.clone();
        let make = move || Snapshot { turn, overview: overview(&status, last_event, &host), status };
        let made = tokio::task::spawn_blocking(make).await;
        let snapshot =
            Arc::new(made.map_err(|error| PortError::Unavailable(format!("no overview was made: {error}")))?);
        *snapshots.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        Ok(snapshot)
    }
}
