//! Facts as Server-Sent Events.
//!
//! What bounds it: a reader holds its place and at most one piece of the stream; all readers share the pieces. It is woken
//! once for all facts that come within [`LINGER`], and writes at most once in [`PACE`], so that a burst costs each reader one
//! write. One that falls behind what the feed keeps is told (`reset`) and goes on from now.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::feed::{Feed, Missed, Place};
use super::streams;
use super::{EVENTS_KEEP_ALIVE, Shutdown, stopped};

/// With what a browser comes back.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Facts rarely come alone: those that follow within this time go out in the same write.
const LINGER: Duration = Duration::from_millis(20);
/// Between two writes to a reader. A change is to be seen within 200 ms.
const PACE: Duration = Duration::from_millis(100);
/// How long a browser waits before it comes back, milliseconds. It is told once.
const RETRY: u32 = 1000;

/// Streams what comes after the event `last`; without it, what comes from now on. `room` is held for as long as the stream
/// goes on.
pub fn respond(feed: Arc<Feed>, last: Option<&str>, shutdown: Shutdown, room: streams::Place) -> Response {
    // `no-transform` keeps proxies from holding the stream back to pack it.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store, no-transform")];
    let held = frames(feed, last, shutdown, EVENTS_KEEP_ALIVE).inspect(move |_| {
        let _ = &room;
    });
    (headers, Body::from_stream(held)).into_response()
}

struct Reader {
    feed: Arc<Feed>,
    news: watch::Receiver<Place>,
    place: Place,
    /// There was more for it than fits into one piece, so that it need not wait.
    is_behind: bool,
    /// What is said before the first fact.
    greeting: Option<Bytes>,
    shutdown: Shutdown,
    keep_alive: Duration,
    wrote: Instant,
}

fn frames(
    feed: Arc<Feed>,
    last: Option<&str>,
    shutdown: Shutdown,
    keep_alive: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let news = feed.news();
    let mut greeting = format!("retry: {RETRY}\n: facts, each with an id to come back with\n\n");
    let place = match last.map(|id| feed.resume(id)) {
        Some(Ok(place)) => place,
        Some(Err(why)) => {
            let now = feed.newest();
            greeting.push_str(&reset(&feed, now, &why));
            now
        }
        None => feed.newest(),
    };
    let greeting = Some(greeting.into());
    let is_behind = place < feed.newest();
    let reader = Reader { feed, news, place, is_behind, greeting, shutdown, keep_alive, wrote: Instant::now() };
    stream::unfold(reader, |mut reader| async move { Some((Ok(reader.next().await?), reader)) })
}

/// The reader must fetch the state anew. The id is that of the last fact which it will not get.
fn reset(feed: &Feed, place: Place, why: &str) -> String {
    format!("event: reset\nid: {}\ndata: {}\n\n", feed.id(place), serde_json::json!({ "why": why }))
}

impl Reader {
    /// What is written next; `None`: the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        if *self.shutdown.borrow() {
            return None;
        }
        let place = self.place;
        if !self.is_behind {
            let silence = sleep_until(self.wrote + self.keep_alive);
            tokio::select! {
                () = stopped(&mut self.shutdown) => return None,
                news = self.news.wait_for(|newest| *newest > place) => drop(news.ok()?),
                () = silence => {
                    self.wrote = Instant::now();
                    return Some(Bytes::from_static(b": still here\n\n"));
                }
            }
            let due = (Instant::now() + LINGER).max(self.wrote + PACE);
            tokio::select! {
                () = stopped(&mut self.shutdown) => return None,
                () = sleep_until(due) => {}
            }
        }
        self.wrote = Instant::now();
        let newest = *self.news.borrow_and_update();
        match self.feed.after(place) {
            Ok(Some((piece, place))) => {
                self.place = place;
                self.is_behind = place < newest;
                Some(piece)
            }
            Ok(None) => {
                self.is_behind = false;
                Some(Bytes::from_static(b": nothing yet\n\n"))
            }
            Err(Missed) => {
                self.is_behind = false;
                self.place = self.feed.newest();
                tracing::info!(missed = self.place - place, "a reader of events was too slow and begins anew");
                Some(reset(&self.feed, self.place, "events were missed: they came faster than they were read").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::adapters::http::feed::FACTS_KEPT;
    use crate::model::fact::{Cause, Fact, What};
    use crate::model::time::Now;

    fn fact(seq: u64) -> Arc<Fact> {
        let what = What::InstanceVanished;
        Arc::new(Fact { seq, at: Now::default(), cause: Cause::Start, worker: None, unit: None, incident: None, what })
    }

    fn tell(feed: &Feed, seqs: impl Iterator<Item = u64>) {
        seqs.for_each(|seq| feed.push(fact(seq)));
        feed.announce();
    }

    fn text(frame: Option<Result<Bytes, Infallible>>) -> String {
        String::from_utf8(frame.unwrap().unwrap().to_vec()).unwrap()
    }

    fn ids(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }

    fn feed() -> Arc<Feed> {
        Arc::new(Feed::new("a".into(), |_| "told".into()))
    }

    const HOURS: Duration = Duration::from_secs(7200);

    #[tokio::test]
    async fn a_burst_is_one_write_and_silence_is_told() {
        let (feed, (stop, shutdown)) = (feed(), watch::channel(false));
        let silence = PACE * 3;
        let mut frames = Box::pin(frames(feed.clone(), None, shutdown, silence));
        assert!(text(frames.next().await).starts_with("retry: 1000\n:"));
        tell(&feed, 1..=2);
        let began = Instant::now();
        assert_eq!(ids(&text(frames.next().await)), ["a-1", "a-2"]);
        assert!(began.elapsed() >= LINGER, "what follows at once shall come along: {:?}", began.elapsed());
        tell(&feed, 3..=3);
        assert_eq!(ids(&text(frames.next().await)), ["a-3"]);
        assert!(began.elapsed() >= PACE, "the next write keeps the pace: {:?}", began.elapsed());

        let began = Instant::now();
        assert_eq!(text(frames.next().await), ": still here\n\n");
        assert!(began.elapsed() + PACE >= silence, "{:?}", began.elapsed());
        stop.send(true).unwrap();
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was() {
        let (feed, (_stop, shutdown)) = (feed(), watch::channel(false));
        tell(&feed, 1..=5);
        let mut again = Box::pin(frames(feed.clone(), Some("a-3"), shutdown.clone(), HOURS));
        assert!(!text(again.next().await).contains("reset"));
        assert_eq!(ids(&text(again.next().await)), ["a-4", "a-5"]);

        let mut stranger = Box::pin(frames(feed.clone(), Some("b-3"), shutdown.clone(), HOURS));
        let greeting = text(stranger.next().await);
        assert!(
            greeting.contains("event: reset\nid: a-5\ndata: {\"why\":\"that event is of another run"),
            "{greeting}"
        );
        tell(&feed, 6..=6);
        assert_eq!(ids(&text(stranger.next().await)), ["a-6"]);

        let mut fresh = Box::pin(frames(feed.clone(), None, shutdown, HOURS));
        fresh.next().await;
        assert!(timeout(PACE * 2, fresh.next()).await.is_err(), "from now on");
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_and_goes_on() {
        let (feed, (_stop, shutdown)) = (feed(), watch::channel(false));
        let mut frames = Box::pin(frames(feed.clone(), None, shutdown, HOURS));
        frames.next().await;
        let last = FACTS_KEPT as u64 + 1;
        tell(&feed, 1..=last);
        let told = text(frames.next().await);
        assert!(told.starts_with(&format!("event: reset\nid: a-{last}\ndata: ")), "{told}");
        tell(&feed, last + 1..=last + 1);
        assert_eq!(ids(&text(frames.next().await)), [format!("a-{}", last + 1)]);
    }
}
