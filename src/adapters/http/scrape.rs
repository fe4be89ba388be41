//! One exposition at a time: those who ask while one is being made share the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::REQUEST_TIMEOUT;

/// Of the time that a scraper waits, so much is left for the way back.
const MARGIN: Duration = Duration::from_millis(100);
const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// How long an exposition may take: what Prometheus says that it waits, and never longer than any answer.
pub fn deadline(headers: &HeaderMap) -> Duration {
    let said = headers.get(TIMEOUT_HEADER).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let said = said.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|said| !said.is_zero());
    said.map_or(REQUEST_TIMEOUT, |said| said.saturating_sub(MARGIN).max(MARGIN).min(REQUEST_TIMEOUT))
}

/// An answer is never older than the question, so nothing stale is served.
pub struct Scrapes {
    /// Where expositions are made. Not on the thread that serves TCP, which is a nice one: they hold a lock for which the
    /// event loop waits.
    made_on: Handle,
    /// The last exposition and when making it began; kept only while somebody waits.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Scrapes {
    /// Makes them on the runtime of who calls this.
    fn default() -> Self {
        Self { made_on: Handle::current(), last: Arc::default(), waiting: Arc::default() }
    }
}

impl Scrapes {
    /// `render` runs on a blocking thread, which holds the lock: a scraper that hangs up does not make room for a
    /// second one. `None` if it panicked.
    pub async fn get(&self, render: impl FnOnce() -> Bytes + Send + 'static) -> Option<Bytes> {
        let asked = Instant::now();
        let waiting = Waiting::new(&self.waiting);
        let mut last = self.last.clone().lock_owned().await;
        drop(waiting);
        let shared = last.as_ref().filter(|(begun, _)| *begun >= asked).map(|(_, text)| text.clone());
        if let Some(text) = shared {
            if self.waiting.load(Ordering::Acquire) == 0 {
                *last = None;
            }
            return Some(text);
        }
        let waiting = self.waiting.clone();
        let make = move || {
            let begun = Instant::now();
            let text = render();
            let wanted = waiting.load(Ordering::Acquire) > 0;
            *last = wanted.then(|| (begun, text.clone()));
            text
        };
        self.made_on.spawn_blocking(make).await.ok()
    }
}

/// Counts a waiter, also one that gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    /// Begins an exposition that ends when the returned sender says so.
    async fn begin(scrapes: &Arc<Scrapes>, text: &'static str) -> (JoinHandle<Option<Bytes>>, mpsc::Sender<()>) {
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let render = move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            Bytes::from_static(text.as_bytes())
        };
        let scrapes = scrapes.clone();
        let scraper = tokio::spawn(async move { scrapes.get(render).await });
        has_begun.await.unwrap();
        (scraper, release)
    }

    #[test]
    fn the_scraper_s_timeout_is_kept() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_HEADER, hyper::header::HeaderValue::from_static(value));
            deadline(&headers)
        };
        assert_eq!(of("5"), Duration::from_millis(4900));
        assert_eq!(of("0.05"), MARGIN);
        for odd in ["600", "0", "-1", "NaN", "inf", "soon", ""] {
            assert_eq!(of(odd), REQUEST_TIMEOUT, "{odd}");
        }
        assert_eq!(deadline(&HeaderMap::new()), REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn those_who_wait_share_one_exposition() {
        let scrapes = Arc::new(Scrapes::default());
        let (first, release) = begin(&scrapes, "first").await;
        let made = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..20)
            .map(|_| {
                let (scrapes, made) = (scrapes.clone(), made.clone());
                let render = move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    Bytes::from_static(b"later")
                };
                tokio::spawn(async move { scrapes.get(render).await })
            })
            .collect();
        while scrapes.waiting.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();

        assert_eq!(first.await.unwrap().unwrap(), "first");
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), "later", "nobody gets what was begun before it asked");
        }
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert!(scrapes.last.lock().await.is_none(), "nothing is kept when nobody waits");
    }

    #[tokio::test]
    async fn a_scraper_that_hangs_up_frees_nothing() {
        let scrapes = Arc::new(Scrapes::default());
        let (first, release) = begin(&scrapes, "first").await;
        first.abort();
        assert!(first.await.is_err());
        assert!(scrapes.last.try_lock().is_err(), "still being made");
        release.send(()).unwrap();
        assert_eq!(scrapes.get(|| Bytes::from_static(b"next")).await.unwrap(), "next");
    }
}
