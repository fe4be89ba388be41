//! Inputs are recorded, as the engine got them, in a bounded ring of files, for replay and post-mortems.
//!
//! `<state_dir>/inputs/NNNNNN.jsonl`: each file begins with a [`Header`], so that a replay can start there. A line
//! is complete or it is the last one. The caller serialises into a buffer; a thread writes it; when the disk is too
//! slow, inputs are dropped, counted, and a line says so at their place.
//!
//! Beside the inputs stand the moments at which timers were let act, so that a replay decides at the same moments, and
//! the orders that were given, by which it can prove that it decides the same.

mod older;
mod reader;
mod ring;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use reader::{Entry, ReadError, Records, read};

use crate::model::action::Order;
use crate::model::input::Checkpoint;
use crate::model::settings::DaemonSettings;
use crate::model::{Input, Now, Settings};
use ring::Ring;

/// A file takes this part of the ring; one is given up at a time.
pub const SEGMENTS: u64 = 16;
/// Most files of the ring. More than its parts: each start and each reload of ours begins a new one, and a daemon that
/// crashes again and again must not lose what led to it.
pub const FILES_MAX: u64 = 256;
/// 1: inputs alone. 2: the moments of timers, the orders, the seed and checkpoints as well.
pub const FORMAT: u32 = 2;
/// A file is given up for one with a new checkpoint when it has so much of its share, percent: so that it is the loop that
/// begins the next one and not the ring, which knows no checkpoint.
const CHECKPOINT_AT: u64 = 75;
/// Waiting for the disk, bytes. A round of samples of 1,000 instances is about 0.4 MB.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Segments waiting to be begun.
const BEGINNINGS_MAX: usize = 16;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Closing waits this long for the disk.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What a replay needs before the first input of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// Version of the crate that wrote it.
    pub version: String,
    pub boot: String,
    /// When the settings and the memory below held.
    pub at: Now,
    pub settings: Settings,
    /// What the engine remembered at `at`, as its owner wrote it; null where that is not recorded.
    pub memory: serde_json::Value,
    /// The same life goes on in a new file. Without a checkpoint the memory is older than this segment's first input.
    pub continued: bool,
    /// What the engine's jitter began with; absent where it is not known.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The engine as it was at `at`, from which a replay can start in the middle of a life.
    #[serde(default)]
    pub checkpoint: Option<Box<Checkpoint>>,
}

impl Header {
    pub fn new(boot: &str, at: Now, settings: Settings, memory: serde_json::Value) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_string();
        let boot = boot.into();
        Self { format: FORMAT, version, boot, at, settings, memory, continued: false, seed: None, checkpoint: None }
    }

    /// A life begins, whose jitter begins with `seed`.
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// The life goes on, and a replay may start here.
    pub fn going_on(boot: &str, at: Now, settings: Settings, checkpoint: Checkpoint) -> Self {
        let header = Self::new(boot, at, settings, serde_json::Value::Null);
        Self { continued: true, checkpoint: Some(Box::new(checkpoint)), ..header }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Inputs that were not recorded.
    pub dropped: u64,
    /// Writes that failed.
    pub errors: u64,
    /// Bytes that wait for the disk.
    pub waiting: usize,
}

/// A handle to the ring. Cheap to clone; records nothing when `record_bytes` is 0.
#[derive(Clone)]
pub struct Recorder {
    shared: Option<Arc<Shared>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    inner: Mutex<Buffer>,
    wake: Condvar,
    idle: Condvar,
}

#[derive(Default)]
struct Buffer {
    /// Each but the first begins a segment.
    chunks: VecDeque<Chunk>,
    /// Bytes of all their lines.
    bytes: usize,
    /// Of inputs that found the buffer full, since the last line in it.
    missed: u64,
    stats: RecorderStats,
    /// Bytes since the last beginning, and how many make a new one due.
    begun: u64,
    checkpoint_due: u64,
    closing: bool,
    ended: bool,
}

/// What goes to the disk in one write.
#[derive(Default)]
struct Chunk {
    /// A new segment begins with this header before the lines.
    begin: Option<Box<Header>>,
    lines: Vec<u8>,
    inputs: u64,
}

impl Recorder {
    /// Starts a new segment in `<state_dir>/inputs`. Never fails: what the disk does not take is counted.
    pub fn open(settings: &DaemonSettings, header: Header) -> Recorder {
        if settings.record_bytes == 0 {
            return Recorder { shared: None, thread: Arc::default() };
        }
        let first = Chunk { begin: Some(Box::new(header)), ..Chunk::default() };
        let checkpoint_due = settings.record_bytes / SEGMENTS * CHECKPOINT_AT / 100;
        let buffer = Buffer { chunks: VecDeque::from([first]), checkpoint_due, ..Buffer::default() };
        let shared = Arc::new(Shared { inner: Mutex::new(buffer), wake: Condvar::new(), idle: Condvar::new() });
        let ring = Ring::new(inputs_dir(&settings.state_dir), settings.record_bytes);
        let of_thread = shared.clone();
        let body = move || of_thread.run(ring);
        match thread::Builder::new().name("recorder".into()).spawn(body) {
            Ok(thread) => Recorder { shared: Some(shared), thread: Arc::new(Mutex::new(Some(thread))) },
            Err(error) => {
                warn!(%error, "inputs are not recorded: the thread cannot be started");
                Recorder { shared: None, thread: Arc::default() }
            }
        }
    }

    /// Begins a new segment: after a reload, or so that replays can start here.
    pub fn begin(&self, header: Header) {
        let Some(shared) = &self.shared else { return };
        let mut inner = shared.lock();
        if inner.closing {
            return;
        }
        inner.begin(Box::new(header));
        shared.wake.notify_one();
    }

    /// Serialises the input; the disk is another thread's business.
    pub fn record(&self, now: Now, input: &Input) {
        self.push(&Line { now, input: Some(input), timers: None, act: None });
    }

    /// Timers that are due are let act now.
    pub fn timers(&self, now: Now) {
        self.push(&Line { now, input: None, timers: Some(true), act: None });
    }

    /// The order has been given: what a replay must come to, too.
    pub fn act(&self, now: Now, order: &Order) {
        self.push(&Line { now, input: None, timers: None, act: Some(order) });
    }

    fn push(&self, line: &Line<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut inner = shared.lock();
        if inner.closing {
            return;
        }
        inner.push(line);
        shared.wake.notify_one();
    }

    /// Enough has been recorded since the last beginning for a new one with a checkpoint.
    pub fn checkpoint_is_due(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| {
            let inner = shared.lock();
            inner.begun >= inner.checkpoint_due
        })
    }

    pub fn stats(&self) -> RecorderStats {
        self.shared.as_ref().map_or_else(RecorderStats::default, |shared| {
            let inner = shared.lock();
            RecorderStats { waiting: inner.bytes, ..inner.stats }
        })
    }

    /// Writes what waits, for at most five seconds. Blocks; not for the event loop.
    pub fn close(&self) {
        let Some(shared) = &self.shared else { return };
        let mut inner = shared.lock();
        inner.closing = true;
        shared.wake.notify_one();
        let (inner, timeout) = shared
            .idle
            .wait_timeout_while(inner, CLOSE_LIMIT, |inner| !inner.ended)
            .unwrap_or_else(PoisonError::into_inner);
        drop(inner);
        if timeout.timed_out() {
            return;
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// One line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    now: Now,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Input>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timers: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Order>,
}

impl Buffer {
    /// Lines that wait belong to the segment before; a beginning that has none yet is replaced.
    fn begin(&mut self, header: Box<Header>) {
        self.begun = 0;
        if self.chunks.back().is_none_or(|last| !last.lines.is_empty()) {
            if self.chunks.len() >= BEGINNINGS_MAX {
                self.drop_last();
            }
            self.chunks.push_back(Chunk::default());
        }
        if let Some(last) = self.chunks.back_mut() {
            last.begin = Some(header);
        }
    }

    fn drop_last(&mut self) {
        if let Some(last) = self.chunks.pop_back() {
            self.bytes -= last.lines.len();
            self.miss(last.inputs);
        }
    }

    fn push(&mut self, line: &Line<'_>) {
        if self.bytes >= BUFFER_BYTES_MAX {
            self.miss(1);
            return;
        }
        if self.chunks.is_empty() {
            self.chunks.push_back(Chunk::default());
        }
        let Some(chunk) = self.chunks.back_mut() else { return };
        let before = chunk.lines.len();
        if self.missed > 0 {
            chunk.lines.extend_from_slice(format!("{{\"dropped\":{}}}\n", self.missed).as_bytes());
            self.missed = 0;
        }
        let start = chunk.lines.len();
        let serialised = serde_json::to_writer(&mut chunk.lines, line);
        match serialised {
            Ok(()) => {
                chunk.lines.push(b'\n');
                chunk.inputs += 1;
            }
            Err(_) => chunk.lines.truncate(start),
        }
        let grown = chunk.lines.len() - before;
        self.bytes += grown;
        self.begun += grown as u64;
        if serialised.is_err() {
            self.miss(1);
        }
    }

    fn miss(&mut self, inputs: u64) {
        self.missed += inputs;
        self.stats.dropped += inputs;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the thread.
    fn run(&self, mut ring: Ring) {
        let mut pause: Option<Duration> = None;
        while let Some(mut chunk) = self.take() {
            let Err(error) = ring.write(&mut chunk) else {
                if pause.take().is_some() {
                    info!("inputs are recorded again");
                }
                continue;
            };
            if pause.is_none() {
                warn!(%error, "inputs cannot be recorded");
            }
            let wait = pause.map_or(RETRY_FIRST, |pause| (pause * 2).min(RETRY_MAX));
            pause = Some(wait);
            let mut inner = self.lock();
            inner.stats.errors += 1;
            inner.miss(chunk.inputs);
            drop(self.wake.wait_timeout_while(inner, wait, |inner| !inner.closing));
        }
        self.lock().ended = true;
        self.idle.notify_all();
    }

    /// Waits for something to write. `None`: closed, and nothing is left.
    fn take(&self) -> Option<Chunk> {
        let mut inner = self
            .wake
            .wait_while(self.lock(), |inner| inner.chunks.is_empty() && !inner.closing)
            .unwrap_or_else(PoisonError::into_inner);
        let chunk = inner.chunks.pop_front()?;
        inner.bytes -= chunk.lines.len();
        Some(chunk)
    }
}

/// Where the ring of a state directory is.
pub fn inputs_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("inputs")
}

#[cfg(test)]
mod tests;
