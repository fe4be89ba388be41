//! Facts as Server-Sent Events. A reader that lags further behind than the channel holds is dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{EVENTS_KEEP_ALIVE, Shutdown, stopped};
use crate::model::fact::Fact;

/// Facts written in one piece when many happen at once.
const BATCH: usize = 64;

/// `place` is held for as long as the stream goes on.
pub fn respond(facts: Receiver<Arc<Fact>>, shutdown: Shutdown, place: OwnedSemaphorePermit) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    let held = frames(facts, shutdown, EVENTS_KEEP_ALIVE).inspect(move |_| {
        let _ = &place;
    });
    (headers, Body::from_stream(held)).into_response()
}

struct Reader {
    facts: Receiver<Arc<Fact>>,
    shutdown: Shutdown,
    keep_alive: Duration,
    greeted: bool,
    dropped: bool,
}

fn frames(
    facts: Receiver<Arc<Fact>>,
    shutdown: Shutdown,
    keep_alive: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let reader = Reader { facts, shutdown, keep_alive, greeted: false, dropped: false };
    stream::unfold(reader, |mut reader| async move { Some((Ok(reader.next().await?), reader)) })
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.dropped {
            return None;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(b": facts from now on\n\n"));
        }
        tokio::select! {
            () = stopped(&mut self.shutdown) => None,
            () = tokio::time::sleep(self.keep_alive) => Some(Bytes::from_static(b": still here\n\n")),
            fact = self.facts.recv() => match fact {
                Ok(fact) => Some(self.batch(&fact)),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(missed)) => Some(self.give_up(missed)),
            },
        }
    }

    /// The fact and those that are there already.
    fn batch(&mut self, first: &Fact) -> Bytes {
        let mut out = Vec::with_capacity(512);
        write_event(&mut out, first);
        for _ in 1..BATCH {
            match self.facts.try_recv() {
                Ok(fact) => write_event(&mut out, &fact),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(missed)) => {
                    out.extend_from_slice(&self.give_up(missed));
                    break;
                }
            }
        }
        out.into()
    }

    /// A time line with a hole is worse than none: the reader starts over.
    fn give_up(&mut self, missed: u64) -> Bytes {
        tracing::info!(missed, "a reader of events was too slow and is dropped");
        self.dropped = true;
        format!(": dropped, {missed} facts behind; connect again\n\n").into()
    }
}

fn write_event(out: &mut Vec<u8>, fact: &Fact) {
    out.extend_from_slice(format!("event: {}\nid: {}\ndata: ", fact.what.name(), fact.seq).as_bytes());
    // JSON escapes line breaks, so the data is one line. Facts are plain data: serialising them cannot fail.
    let before = out.len();
    if serde_json::to_writer(&mut *out, fact).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use tokio::sync::{broadcast, watch};

    use super::*;
    use crate::model::fact::{Cause, What};
    use crate::model::time::Now;

    fn fact(seq: u64) -> Arc<Fact> {
        let what = What::BusLost { why: "two\nlines".into() };
        Arc::new(Fact { seq, at: Now::default(), cause: Cause::Start, worker: None, unit: None, incident: None, what })
    }

    fn text(frame: Option<Result<Bytes, Infallible>>) -> String {
        String::from_utf8(frame.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn facts_comments_and_the_end() {
        let (sender, facts) = broadcast::channel(8);
        let (_stop, shutdown) = watch::channel(false);
        let mut frames = Box::pin(frames(facts, shutdown, Duration::from_millis(5)));
        assert!(text(frames.next().await).starts_with(": facts"));
        assert_eq!(text(frames.next().await), ": still here\n\n", "silence is told");

        sender.send(fact(7)).unwrap();
        sender.send(fact(8)).unwrap();
        let both = text(frames.next().await);
        let lines: Vec<&str> = both.lines().collect();
        assert_eq!((lines[0], lines[1]), ("event: bus_lost", "id: 7"));
        let parsed: Fact = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(parsed, *fact(7));
        assert_eq!((lines[3], lines[5]), ("", "id: 8"));

        drop(sender);
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_reader_is_dropped() {
        let (sender, facts) = broadcast::channel(4);
        let (_stop, shutdown) = watch::channel(false);
        let mut frames = Box::pin(frames(facts, shutdown, Duration::from_millis(5)));
        frames.next().await;
        for seq in 0..9 {
            sender.send(fact(seq)).unwrap();
        }
        assert!(text(frames.next().await).starts_with(": dropped, 5 facts behind"));
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn ends_when_the_daemon_stops() {
        let (_sender, facts) = broadcast::channel(4);
        let (stop, shutdown) = watch::channel(false);
        let mut frames = Box::pin(frames(facts, shutdown, Duration::from_millis(5)));
        frames.next().await;
        stop.send(true).unwrap();
        assert!(frames.next().await.is_none());
    }
}
