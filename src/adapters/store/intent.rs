//! Intent before deed, within 100 ms whatever the disk does: what the database does not take in time is written
//! below the runtime directory instead, by a thread that never touches the database.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::files::{self, Sync};
use crate::model::AttemptId;
use crate::model::action::Intent;
use crate::model::incident::IncidentId;
use crate::model::input::Durability;

/// From the caller's asking to an answer; after it the deed must not wait any longer.
pub const RECORD_LIMIT: Duration = Duration::from_millis(100);
/// Intents being watched at once.
const PENDING_MAX: usize = 4096;
/// Files in the directory of intents.
const FILES_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 64 << 10;
const FORMAT: u32 = 1;

pub(super) type Reply = Box<dyn FnOnce(Durability) + Send>;

/// One intent on its way. Whoever claims it answers, and nobody else.
pub(super) struct Pending {
    pub intent: Intent,
    due: Instant,
    reply: Mutex<Option<Reply>>,
}

impl Pending {
    pub fn new(intent: Intent, limit: Duration, reply: Reply) -> Arc<Self> {
        Arc::new(Self { intent, due: Instant::now() + limit, reply: Mutex::new(Some(reply)) })
    }

    /// It is in the database.
    pub fn stored(&self) {
        if let Some(reply) = self.claim() {
            reply(Durability::Stored);
        }
    }

    fn claim(&self) -> Option<Reply> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_settled(&self) -> bool {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    boot: String,
    intent: Intent,
}

/// Watches pending intents and keeps those that the database did not take.
pub(super) struct Desk {
    dir: PathBuf,
    boot: String,
    inner: Mutex<Watched>,
    wake: Condvar,
}

#[derive(Default)]
struct Watched {
    /// In the order of their due times, which is the order of asking.
    pending: VecDeque<Arc<Pending>>,
    files: BTreeSet<AttemptId>,
    closing: bool,
}

impl Desk {
    pub fn new(runtime_dir: &Path, boot: &str) -> Self {
        Self { dir: runtime_dir.join("intents"), boot: boot.into(), inner: Mutex::default(), wake: Condvar::new() }
    }

    /// Sees to it that the intent is answered in time.
    pub fn watch(&self, pending: &Arc<Pending>) {
        let mut inner = self.lock();
        if inner.pending.len() >= PENDING_MAX {
            inner.pending.retain(|waiting| !waiting.is_settled());
        }
        if inner.closing || inner.pending.len() >= PENDING_MAX {
            drop(inner);
            self.keep(pending, "too many intents at once");
            return;
        }
        inner.pending.push_back(pending.clone());
        if inner.pending.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// The body of the desk's thread.
    pub fn run(&self) {
        let mut inner = self.lock();
        loop {
            while inner.pending.front().is_some_and(|pending| pending.is_settled()) {
                inner.pending.pop_front();
            }
            let Some(first) = inner.pending.front().cloned() else {
                if inner.closing {
                    return;
                }
                inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if first.due > now {
                inner = self.wake.wait_timeout(inner, first.due - now).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            inner.pending.pop_front();
            drop(inner);
            self.keep(&first, &format!("the database did not answer within {} ms", RECORD_LIMIT.as_millis()));
            inner = self.lock();
        }
    }

    /// The database did not take it: a file does, and the answer says so.
    pub fn keep(&self, pending: &Pending, why: &str) {
        let Some(reply) = pending.claim() else {
            return;
        };
        let answer = match self.write(&pending.intent) {
            Ok(()) => Durability::Volatile { why: why.into() },
            Err(error) => Durability::Lost { why: format!("{why}; {}: {error}", self.dir.display()) },
        };
        reply(answer);
    }

    /// Removes the files of attempts that need them no more.
    pub fn forget(&self, incident: IncidentId, up_to: u32) {
        let range = AttemptId { incident, number: 0 }..=AttemptId { incident, number: up_to };
        let done: Vec<AttemptId> = {
            let mut inner = self.lock();
            let done: Vec<_> = inner.files.range(range).copied().collect();
            inner.files.retain(|attempt| !done.contains(attempt));
            done
        };
        for attempt in done {
            // One that stays is found and judged again at the next start.
            let _ = fs::remove_file(self.path(attempt));
        }
    }

    /// The intents that an earlier life left here, and what could not be read.
    pub fn left_behind(&self) -> (Vec<Intent>, Vec<String>) {
        let (mut intents, mut problems) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (intents, problems),
            Err(error) => return (intents, vec![format!("cannot read intents in {}: {error}", self.dir.display())]),
        };
        for entry in entries.flatten().take(FILES_MAX) {
            let path = entry.path();
            match read(&path) {
                Ok(stored) if stored.boot == self.boot => {
                    self.lock().files.insert(stored.intent.attempt);
                    intents.push(stored.intent);
                }
                // Of an earlier boot: nothing that it says can be observed any more.
                Ok(_) => drop(fs::remove_file(&path)),
                Err(error) => {
                    problems.push(format!("{} is not an intent and was removed: {error}", path.display()));
                    let _ = fs::remove_file(&path);
                }
            }
        }
        intents.sort_by_key(|intent| intent.attempt);
        (intents, problems)
    }

    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_all();
    }

    fn write(&self, intent: &Intent) -> io::Result<()> {
        if self.lock().files.len() >= FILES_MAX {
            return Err(io::Error::other(format!("{FILES_MAX} intents are already there")));
        }
        files::create_dir(&self.dir)?;
        let stored = Stored { format: FORMAT, boot: self.boot.clone(), intent: intent.clone() };
        files::write_atomically(&self.path(intent.attempt), &serde_json::to_vec(&stored)?, Sync::Crash)?;
        self.lock().files.insert(intent.attempt);
        Ok(())
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{}.{}.json", attempt.incident.0, attempt.number))
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<Stored> {
    let bytes = files::read_limited(path, FILE_BYTES_MAX)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(serde_json::from_slice(&bytes)?)
}
