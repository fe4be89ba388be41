//! The thread "store-read": answers questions and checkpoints on a connection of its own, so that neither a long
//! answer nor the disk's fsync stands before an intent. And the quick check, on a thread that ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tracing::debug;

use super::db::{self, Fault};
use super::queue::Ask;
use super::{Shared, StoreError};

/// Also the time after which a write survives a power cut.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// A question sees what was told before it, unless that takes longer.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// A question: given the connection, it answers its asker and returns what the database made of it.
pub(super) type Question = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<rusqlite::Error> + Send>;

pub(super) enum Message {
    Question(Question),
    Close,
}

pub(super) struct Reader {
    shared: Arc<Shared>,
    /// With the generation of the file that it belongs to.
    connection: Option<(u64, Connection)>,
    checkpointed: i64,
}

impl Reader {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connection: None, checkpointed: 0 }
    }

    pub fn run(mut self, messages: &Receiver<Message>) {
        let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        loop {
            match messages.recv_timeout(checkpoint_at.saturating_duration_since(Instant::now())) {
                Ok(Message::Question(question)) => self.answer(question),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.shared.queue.is_closing() {
                return;
            }
            if Instant::now() >= checkpoint_at {
                self.checkpoint();
                checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
            }
        }
    }

    fn answer(&mut self, question: Question) {
        self.shared.queue.wait_drained(DRAIN_LIMIT);
        let error = match self.connect() {
            Ok((_, connection)) => question(Ok(connection)),
            Err(error) => question(Err(error)),
        };
        if let Some(error) = error {
            self.failed(&error);
        }
    }

    fn checkpoint(&mut self) {
        let written = self.shared.counters.last_write.load(Ordering::Relaxed);
        if written == self.checkpointed {
            return;
        }
        let Ok((_, connection)) = self.connect() else {
            return;
        };
        // PASSIVE waits for nobody and holds nobody up.
        match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            Ok(()) => self.checkpointed = written,
            Err(error) => drop(self.failed(&error)),
        }
    }

    fn connect(&mut self) -> Result<&(u64, Connection), StoreError> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if let Some(why) = self.shared.unavailable() {
            self.connection = None;
            return Err(StoreError::Unavailable { why });
        }
        if self.connection.as_ref().is_none_or(|(of, _)| *of != generation) {
            self.connection = None;
            let opened = db::open_reader(&self.shared.db_path).map_err(|error| self.failed(&error))?;
            self.connection = Some((generation, opened));
        }
        self.connection.as_ref().ok_or_else(|| StoreError::Unavailable { why: "no database".into() })
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
        if db::fault(error) == Fault::Damaged {
            let generation = self.connection.as_ref().map(|(of, _)| *of);
            let generation = generation.unwrap_or_else(|| self.shared.generation.load(Ordering::Acquire));
            report_damage(&self.shared, generation, error.to_string());
        }
        StoreError::Failed { why: error.to_string() }
    }
}

/// Looks through the whole file. Takes seconds on a large one, so it has a thread and a connection of its own.
pub(super) fn quick_check(shared: &Shared) {
    let generation = shared.generation.load(Ordering::Acquire);
    let began = Instant::now();
    let checked = db::open_reader(&shared.db_path).and_then(|connection| {
        shared.interruptible(&connection);
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match checked {
        Ok(word) if word == "ok" => debug!(took_ms = began.elapsed().as_millis() as u64, "the history is sound"),
        Ok(word) => report_damage(shared, generation, word),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {}
        Err(error) if db::fault(&error) == Fault::Damaged => report_damage(shared, generation, error.to_string()),
        Err(error) => debug!(%error, "the history could not be checked"),
    }
}

fn report_damage(shared: &Shared, generation: u64, why: String) {
    // When there is no room for the word, the writer is busy; the next look finds the damage again.
    let _ = shared.queue.push_ask(Ask::Damaged { generation, why });
}
