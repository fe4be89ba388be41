//! The daemon's side: hands orders to the helper over one connection that is kept open.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::hook;
use super::wire::{self, Reply, Request};
use crate::model::action::{ACT_TIMEOUT, Answer, Order, Refused, Verb};
use crate::model::settings::Settings;

/// Beyond what the helper allows itself, for the way there and back, and for systemd to start it.
const MARGIN: Duration = Duration::from_secs(5);

/// A helper in another process.
pub struct Remote {
    socket: PathBuf,
    settings: watch::Receiver<Arc<Settings>>,
    line: Mutex<Option<Line>>,
    next: AtomicU64,
}

type Waiting = Arc<SyncMutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

/// An open connection.
struct Line {
    writer: OwnedWriteHalf,
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Remote {
    /// Connects with the first order, or with [`Remote::prepare`].
    pub fn new(socket: impl Into<PathBuf>, settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self { socket: socket.into(), settings, line: Mutex::default(), next: AtomicU64::new(1) }
    }

    /// Connects ahead of the first order, which would otherwise wait until systemd has started the helper.
    pub async fn prepare(&self) {
        if let Err(error) = self.connected(&mut *self.line.lock().await).await {
            warn!(%error, socket = %self.socket.display(), "the helper cannot be reached, so nothing could be done now");
        }
    }

    /// Tells the helper to look at the configuration now.
    pub async fn refresh(&self) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // One that is not there reads it when it starts.
        drop(self.send(&Request { number, order: None }).await);
    }

    /// Hands the order over and waits for the answer. An order without one may have happened.
    pub async fn act(&self, order: &Order) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = match self.send(&Request { number, order: Some(order.clone()) }).await {
            Ok(answer) => answer,
            Err(error) => {
                let socket = self.socket.display();
                let text = format!(
                    "{}: the helper cannot be reached at {socket}: {error}; systemctl status unitmedic-helper.socket",
                    order.unit
                );
                return Answer::Refused { why: Refused::NotAllowed, text };
            }
        };
        let limit = self.limit(order);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Failed { text: format!("{}: the helper ended before it answered", order.unit) },
            Err(_) => {
                self.forget(number).await;
                let text = format!("{}: the helper did not answer within {} s", order.unit, limit.as_secs());
                Answer::Failed { text }
            }
        }
    }

    async fn forget(&self, number: u64) {
        if let Some(line) = &*self.line.lock().await {
            lock(&line.waiting).remove(&number);
        }
    }

    fn limit(&self, order: &Order) -> Duration {
        let settings = self.settings.borrow();
        let own = match (order.verb, settings.worker_of(order.unit.as_str())) {
            (Verb::Hook { name }, Some(worker)) => hook::of(worker, name).map_or(ACT_TIMEOUT, hook::limit),
            _ => ACT_TIMEOUT,
        };
        own + MARGIN
    }

    /// A connection that was closed since the last order is opened anew; one that closes under the order is not, for
    /// the order may have arrived.
    async fn send(&self, request: &Request) -> io::Result<oneshot::Receiver<Answer>> {
        let mut slot = self.line.lock().await;
        let line = self.connected(&mut slot).await?;
        let (answer, receiver) = oneshot::channel();
        lock(&line.waiting).insert(request.number, answer);
        // A helper that reads nothing must not hold up everybody; half a line is no order.
        match tokio::time::timeout(MARGIN, line.writer.write_all(&wire::line(request))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(%error, "the helper hung up");
                *slot = None;
            }
            Err(_) => {
                warn!(limit = ?MARGIN, "the helper does not read what it is sent; its connection is opened anew");
                *slot = None;
            }
        }
        Ok(receiver)
    }

    async fn connected<'l>(&self, slot: &'l mut Option<Line>) -> io::Result<&'l mut Line> {
        if slot.as_ref().is_none_or(|line| line.reader.is_finished()) {
            *slot = None;
            let stream = tokio::time::timeout(MARGIN, UnixStream::connect(&self.socket));
            let (reader, writer) = stream.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.into_split();
            let waiting = Waiting::default();
            let reader = tokio::spawn(read(reader, waiting.clone()));
            *slot = Some(Line { writer, waiting, reader });
        }
        slot.as_mut().ok_or_else(|| io::Error::other("not connected"))
    }
}

/// Hands answers to those who wait. When it ends, all that still wait learn that no answer comes.
async fn read(reader: OwnedReadHalf, waiting: Waiting) {
    let mut reader = BufReader::with_capacity(wire::LINE_MAX, reader);
    loop {
        let reply = match wire::next_line(&mut reader).await {
            Ok(Some(line)) => serde_json::from_slice::<Reply>(&line).map_err(io::Error::other),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        match reply {
            Ok(Reply { number, answer }) => {
                if let Some(asker) = lock(&waiting).remove(&number) {
                    // It may have given up waiting.
                    let _ = asker.send(answer);
                }
            }
            Err(error) => {
                warn!(%error, "the helper said something that nobody understands");
                break;
            }
        }
    }
    lock(&waiting).clear();
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
