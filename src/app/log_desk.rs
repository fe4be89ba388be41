//! Writes facts to the log from a thread of its own: a journald that is behind must not hold the event loop.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tracing::warn;

use crate::model::Fact;
use crate::views::log::log_fact;

/// Facts that may wait for journald; more are left out of the log and counted there. The history has them.
const WAITING: usize = 8192;

pub(super) struct LogDesk {
    facts: Option<SyncSender<Fact>>,
    thread: Option<JoinHandle<()>>,
    left_out: u64,
}

impl LogDesk {
    pub fn start() -> Self {
        let (facts, received) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || write_all(&received)).ok();
        Self { facts: Some(facts), thread, left_out: 0 }
    }

    pub fn write(&mut self, fact: &Fact) {
        let Some(facts) = &self.facts else { return };
        match facts.try_send(fact.clone()) {
            Ok(()) if self.left_out > 0 => {
                warn!(left_out = self.left_out, "the log was behind; some events are missing from it");
                self.left_out = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.left_out += 1,
            // The thread could not be started, or has ended by a bug: better slowly than not at all.
            Err(TrySendError::Disconnected(_)) => log_fact(fact),
        }
    }

    /// Writes what waits and ends the thread.
    pub fn close(&mut self) {
        self.facts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(facts: &Receiver<Fact>) {
    while let Ok(fact) = facts.recv() {
        log_fact(&fact);
    }
}
