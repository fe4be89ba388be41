//! What is remembered: incidents in SQLite, safety state and intents in files, inputs in a ring.
//!
//! Nothing here decides, and nothing here can stop protection: a store that cannot write counts, says so and
//! goes on. See [`Store`] for the history and the safety state, [`lock`] for one daemon per state directory,
//! [`recorder`] for the ring of inputs, [`starts`] for the count of our own crashes.

mod availability;
mod db;
mod files;
mod intent;
mod knowledge;
pub mod lock;
mod open;
mod queue;
mod reader;
pub mod recorder;
mod safety;
pub mod starts;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tracing::warn;

pub use db::OpenError;
pub use db::read::{Gap, STORY_FACTS_FIRST, STORY_FACTS_LAST};
pub use intent::RECORD_LIMIT;
pub use knowledge::Knowledge;
pub use open::Opened;

use crate::model::action::Intent;
use crate::model::history::{AuditFilter, Filter, Recovery, Story, Summary, Sums, WorkerRatios};
use crate::model::input::{Durability, Safety};
use crate::model::strategy::Known;
use crate::model::{Alert, Fact, Incident, IncidentId, Now, Wall, What, WorkerName};
use db::read;
use queue::Ask;
use reader::Message;

/// Reads both clocks; given by the caller, so that the store knows no clock of its own.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Questions waiting for an answer.
const QUESTIONS_MAX: usize = 64;
/// A question that has waited this long has no asker any more.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Closing writes what waits, for this long.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no history at present; the text says why and what to do.
    #[error("there is no history: {why}")]
    Unavailable { why: String },
    #[error("too many questions to the history at once; ask again")]
    Busy,
    #[error("the history could not be read or written: {why}")]
    Failed { why: String },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Writes and reads that failed, of the database and of the safety state.
    pub errors: u64,
    /// Facts and incident states that never reached the database.
    pub lost: u64,
    /// The last write that succeeded; `None`: none yet.
    pub last_write_wall: Option<Wall>,
    /// What waits to be written now.
    pub backlog: u64,
}

/// A handle to the history and the safety state. Cheap to clone. No method but the `async` ones ever waits.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    messages: SyncSender<Message>,
    record_limit: Duration,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Store {
    /// Makes the intent durable and calls `reply` once, within [`RECORD_LIMIT`], mostly on another thread. `reply`
    /// must not wait.
    pub fn record(&self, intent: Intent, reply: impl FnOnce(Durability) + Send + 'static) {
        self.shared.keeper.saw_incident(intent.incident.0);
        let pending = intent::Pending::new(intent, self.record_limit, Box::new(reply));
        if self.shared.queue.push_intent(pending.clone()) {
            self.shared.desk.watch(&pending);
        } else {
            self.shared.desk.keep(&pending, "too many intents wait for the database");
        }
    }

    /// Writes the incident as it now stands. Of several states that wait, the newest is written.
    pub fn save(&self, incident: Box<Incident>) {
        self.shared.keeper.saw_incident(incident.id.0);
        self.shared.queue.push_incident(incident);
    }

    pub fn tell(&self, fact: Fact) {
        if let (What::AvailabilityChanged { to }, Some(worker)) = (&fact.what, &fact.worker) {
            self.shared.ledger().change(worker, *to, fact.at.mono);
        }
        self.shared.queue.push_fact(fact);
    }

    /// Writes the alert as it now stands.
    pub fn alert(&self, alert: Alert) {
        self.shared.queue.push_alert(alert);
    }

    /// Writes what is known of these cases; without actions, it is forgotten.
    pub fn learned(&self, known: Vec<Known>) {
        self.shared.queue.push_known(known);
    }

    /// Writes the safety state, off this thread. Newest wins.
    pub fn keep(&self, safety: Box<Safety>) {
        self.shared.keeper.keep(safety);
    }

    /// Newest first.
    pub async fn incidents(&self, filter: Filter) -> Result<Vec<Incident>, StoreError> {
        self.ask(move |connection| read::incidents(connection, &filter)).await
    }

    /// Alerts of the past and the present, newest first.
    pub async fn alerts(&self, filter: Filter) -> Result<Vec<Alert>, StoreError> {
        self.ask(move |connection| read::alerts(connection, &filter)).await
    }

    /// `None`: there is no such incident.
    pub async fn story(&self, id: IncidentId) -> Result<Option<Story>, StoreError> {
        self.ask(move |connection| read::story(connection, id)).await
    }

    /// Recoveries that have ended, newest first.
    pub async fn recoveries(&self, filter: Filter) -> Result<Vec<Recovery>, StoreError> {
        self.ask(move |connection| read::recoveries(connection, &filter)).await
    }

    /// Totals since `since`, of one worker or of all.
    pub async fn summary(&self, since: Wall, worker: Option<WorkerName>) -> Result<Summary, StoreError> {
        self.ask(move |connection| read::summary(connection, since, worker.as_ref())).await
    }

    /// The ratios of each worker over the last `window`.
    pub async fn ratios(
        &self,
        workers: Vec<WorkerName>,
        window: Duration,
    ) -> Result<BTreeMap<WorkerName, WorkerRatios>, StoreError> {
        let sums = self.sums(workers, before((self.shared.clock)().wall, window)).await?;
        Ok(sums.into_iter().map(|(worker, sums)| (worker, sums.ratios())).collect())
    }

    /// What the ratios of each worker since `since` are made of.
    pub async fn sums(&self, workers: Vec<WorkerName>, since: Wall) -> Result<BTreeMap<WorkerName, Sums>, StoreError> {
        self.ask(move |connection| read::sums(connection, &workers, since)).await
    }

    /// Facts of what people did, each with its id, newest first.
    pub async fn deeds(&self, filter: AuditFilter) -> Result<Vec<(u64, Fact)>, StoreError> {
        self.ask(move |connection| read::deeds(connection, &filter)).await
    }

    /// Grows with everything that is given to be written: as long as it stays, so do all answers.
    pub fn moved(&self) -> u64 {
        self.shared.queue.moved()
    }

    /// How long each worker was watched since `since`; what is not written yet, an hour at most, is not in it.
    pub async fn watched(
        &self,
        workers: Vec<WorkerName>,
        since: Wall,
    ) -> Result<BTreeMap<WorkerName, Duration>, StoreError> {
        self.ask(move |connection| read::watched(connection, &workers, since)).await
    }

    /// Spans of which facts are missing because they could not be written, newest first.
    pub async fn gaps(&self, since: Wall) -> Result<Vec<Gap>, StoreError> {
        self.ask(move |connection| read::gaps(connection, since)).await
    }

    /// Marks the incident as a false alarm for good. `false`: there is no such incident.
    pub async fn mark_false(&self, id: IncidentId) -> Result<bool, StoreError> {
        // The incident itself may still wait to be written.
        self.ask(|_| Ok(())).await?;
        self.ask_writer(|reply| Ask::MarkFalse(id, reply)).await
    }

    pub fn stats(&self) -> StoreStats {
        let (lost, backlog) = self.shared.queue.lost_and_waiting();
        let last = self.shared.counters.last_write.load(Ordering::Relaxed);
        StoreStats {
            errors: self.shared.counters.errors.load(Ordering::Relaxed)
                + self.shared.keeper.errors.load(Ordering::Relaxed),
            lost,
            last_write_wall: (last != 0).then_some(Wall(last)),
            backlog,
        }
    }

    /// Writes what waits, for at most five seconds. Whatever is told after this is dropped.
    pub async fn close(self) {
        self.shared.queue.close();
        self.shared.keeper.close();
        self.shared.interrupt();
        // Where there is no room for the word, the reader sees at its next message that we are closing.
        let _ = self.messages.try_send(Message::Close);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let (done, ended) = tokio::sync::oneshot::channel();
        let shared = self.shared.clone();
        // A plain thread: a disk that hangs must not hold up the end of the runtime, which waits for its own.
        let joiner = std::thread::Builder::new().name("store-close".into()).spawn(move || {
            for thread in threads {
                if thread.thread().name() == Some(open::DESK_THREAD) {
                    shared.desk.close();
                }
                // A thread that panicked has said so already.
                let _ = thread.join();
            }
            // Nobody may be waiting any more.
            let _ = done.send(());
        });
        if joiner.is_err() || tokio::time::timeout(CLOSE_LIMIT, ended).await.is_err() {
            warn!(backlog = self.stats().backlog, "the store did not finish in {CLOSE_LIMIT:?}; what waits is lost");
        }
    }

    async fn ask_writer<T>(
        &self,
        ask: impl FnOnce(tokio::sync::oneshot::Sender<Result<T, String>>) -> Ask,
    ) -> Result<T, StoreError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.shared.queue.push_ask(ask(reply)).map_err(|_| StoreError::Busy)?;
        let failed = |why: String| StoreError::Failed { why };
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer.map_err(failed),
            _ => Err(failed("no answer".into())),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let question = Box::new(move |connection: Result<&Connection, StoreError>| {
            let (answer, error) = match connection.map(question) {
                Ok(Ok(answer)) => (Ok(answer), None),
                Ok(Err(error)) => (Err(StoreError::Failed { why: error.to_string() }), Some(error)),
                Err(error) => (Err(error), None),
            };
            // The asker may have gone away meanwhile.
            let _ = reply.send(answer);
            error
        });
        self.messages.try_send(Message::Question(question)).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Unavailable { why: "it is closed".into() },
        })?;
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(StoreError::Failed { why: "no answer".into() }),
        }
    }
}

/// `span` before `wall`; however long the span, never wrapping into the future.
fn before(wall: Wall, span: Duration) -> Wall {
    Wall(wall.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}

/// What the store's threads share.
struct Shared {
    queue: queue::Queue,
    desk: intent::Desk,
    keeper: safety::Keeper,
    ledger: Mutex<availability::Ledger>,
    counters: Counters,
    /// Grows with every file that is opened or begun; tells a reader that its connection is of the past.
    generation: AtomicU64,
    /// Why there is no database; `None`: there is.
    unavailable: Mutex<Option<String>>,
    /// Stops the quick check.
    interrupt: Mutex<Option<InterruptHandle>>,
    db_path: PathBuf,
    boot: String,
    retention: Duration,
    clock: Clock,
}

#[derive(Default)]
struct Counters {
    errors: AtomicU64,
    last_write: AtomicI64,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, availability::Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        *self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn closed(&self, why: String) {
        *self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn unavailable(&self) -> Option<String> {
        self.unavailable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn interruptible(&self, connection: &Connection) {
        *self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
    }

    fn interrupt(&self) {
        if let Some(handle) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}

#[cfg(test)]
mod tests;
