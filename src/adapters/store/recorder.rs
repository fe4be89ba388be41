//! Inputs are recorded, as the engine got them, in a bounded ring of files, for replay and post-mortems.
//!
//! `<state_dir>/inputs/NNNNNN.jsonl`: each file begins with a [`Header`], so that a replay can start there. A line
//! is complete or it is the last one. The caller serialises into a buffer; a thread writes it; when the disk is too
//! slow, inputs are dropped, counted, and a line says so at their place.

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

use crate::model::settings::DaemonSettings;
use crate::model::{Input, Now, Settings};
use ring::Ring;

/// Files of the ring; one is given up at a time.
pub const SEGMENTS: u64 = 16;
pub const FORMAT: u32 = 1;
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
    /// The ring went on to a new file by itself: the memory is older than this segment's first input.
    pub continued: bool,
}

impl Header {
    pub fn new(boot: &str, at: Now, settings: Settings, memory: serde_json::Value) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_string();
        Self { format: FORMAT, version, boot: boot.into(), at, settings, memory, continued: false }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Inputs that were not recorded.
    pub dropped: u64,
    /// Writes that failed.
    pub errors: u64,
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
        let buffer = Buffer { chunks: VecDeque::from([first]), ..Buffer::default() };
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
        let Some(shared) = &self.shared else { return };
        let mut inner = shared.lock();
        if inner.closing {
            return;
        }
        inner.push(now, input);
        shared.wake.notify_one();
    }

    pub fn stats(&self) -> RecorderStats {
        self.shared.as_ref().map_or_else(RecorderStats::default, |shared| shared.lock().stats)
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

impl Buffer {
    /// Lines that wait belong to the segment before; a beginning that has none yet is replaced.
    fn begin(&mut self, header: Box<Header>) {
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

    fn push(&mut self, now: Now, input: &Input) {
        #[derive(Serialize)]
        struct Line<'a> {
            now: Now,
            input: &'a Input,
        }
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
        let serialised = serde_json::to_writer(&mut chunk.lines, &Line { now, input });
        match serialised {
            Ok(()) => {
                chunk.lines.push(b'\n');
                chunk.inputs += 1;
            }
            Err(_) => chunk.lines.truncate(start),
        }
        self.bytes += chunk.lines.len() - before;
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
