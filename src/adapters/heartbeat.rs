//! Signs of life that instances give by themselves: datagrams to `heartbeat.sock`, and files that they touch.
//!
//! Who beat is the kernel's word (the sender's credentials and its cgroup), never the message's. Nothing here judges: a
//! sign that is not there is a gap. What blocks (the socket, stat on a file system that hangs) is on threads of its own.

mod file;
mod members;
mod message;
mod outbox;
mod sender;
mod socket;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{io, thread};

use tokio::sync::{mpsc, watch};

use crate::model::condition::closed_set;
use crate::model::signal::Member;
use crate::model::{Input, Now, Settings};

/// Name of the socket below the runtime directory.
pub const SOCKET_NAME: &str = "heartbeat.sock";

/// Both clocks, read together.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;
/// The instances that are up.
pub type Members = Arc<dyn Fn() -> Vec<Member> + Send + Sync>;

/// What both threads need of the rest.
#[derive(Clone)]
pub struct Sources {
    pub clock: Clock,
    pub members: Members,
    pub inputs: mpsc::Sender<Input>,
    pub stats: Arc<HeartbeatStats>,
}

closed_set!(
    /// Why a datagram counts for nobody.
    Refused {
        /// The sender is in no watched instance's cgroup.
        Stranger = "stranger",
        /// The sender had ended before it could be looked at.
        Gone = "gone",
        /// The kernel does not say who it is, or its cgroup cannot be read.
        Unseen = "unseen",
    }
);

/// What came in since the start.
#[derive(Debug, Default)]
pub struct HeartbeatStats {
    datagrams: AtomicU64,
    beats: AtomicU64,
    other: AtomicU64,
    cut: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    held_back: AtomicU64,
}

impl HeartbeatStats {
    /// Datagrams received, of any kind.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Relaxed)
    }

    /// Datagrams that counted as a sign of life.
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// Datagrams without `WATCHDOG=1`.
    pub fn other(&self) -> u64 {
        self.other.load(Relaxed)
    }

    /// Datagrams that were longer than what is read of one.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    /// Signs of life that count for nobody, in the order of [`Refused::ALL`].
    pub fn refused(&self) -> impl Iterator<Item = (Refused, u64)> + '_ {
        Refused::ALL.iter().zip(&self.refused).map(|(reason, count)| (*reason, count.load(Relaxed)))
    }

    /// Times that signs of life were told later, because the event loop was behind.
    pub fn held_back(&self) -> u64 {
        self.held_back.load(Relaxed)
    }

    fn refuse(&self, reason: Refused) {
        if let Some((_, count)) = Refused::ALL.iter().zip(&self.refused).find(|(each, _)| **each == reason) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Binds the socket and starts the thread that reads it, which ends when nobody receives its inputs any more.
pub fn listen(path: &Path, sources: Sources) -> io::Result<()> {
    let socket = socket::Socket::bind(path)?;
    let mut listener = socket::Listener::new(socket, sources, Path::new("/proc"));
    thread::Builder::new().name("heartbeat".into()).spawn(move || listener.run())?;
    Ok(())
}

/// Starts the thread that looks at the files of workers with `heartbeat_file`; it ends when nobody receives its inputs
/// any more.
pub fn watch_files(settings: watch::Receiver<Arc<Settings>>, sources: Sources) -> io::Result<()> {
    let mut watcher = file::Watcher::new(settings, sources);
    thread::Builder::new().name("heartbeat-file".into()).spawn(move || watcher.run())?;
    Ok(())
}
