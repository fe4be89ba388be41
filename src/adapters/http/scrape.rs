//! One exposition at a time: those who ask while one is being made share the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hyper::body::Bytes;
use tokio::sync::Mutex;

/// An answer is never older than the question, so nothing stale is served.
#[derive(Default)]
pub struct Scrapes {
    /// The last exposition and when making it began; kept only while somebody waits.
    last: Mutex<Option<(Instant, Bytes)>>,
    waiting: AtomicUsize,
}

impl Scrapes {
    /// `render` runs on a blocking thread. `None` if it panicked.
    pub async fn get(&self, render: impl FnOnce() -> Bytes + Send + 'static) -> Option<Bytes> {
        let asked = Instant::now();
        let waiting = Waiting::new(&self.waiting);
        let mut last = self.last.lock().await;
        drop(waiting);
        let shared = last.as_ref().filter(|(begun, _)| *begun >= asked).map(|(_, text)| text.clone());
        let text = match shared {
            Some(text) => text,
            None => {
                let begun = Instant::now();
                let text = tokio::task::spawn_blocking(render).await.ok()?;
                *last = Some((begun, text.clone()));
                text
            }
        };
        if self.waiting.load(Ordering::Acquire) == 0 {
            *last = None;
        }
        Some(text)
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
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_one_exposition() {
        let scrapes = Arc::new(Scrapes::default());
        let made = Arc::new(AtomicUsize::new(0));
        let (release, held) = mpsc::channel::<()>();

        let first = {
            let (scrapes, made) = (scrapes.clone(), made.clone());
            tokio::spawn(async move {
                let render = move || {
                    held.recv().unwrap();
                    made.fetch_add(1, Ordering::SeqCst);
                    Bytes::from_static(b"first")
                };
                scrapes.get(render).await
            })
        };
        while scrapes.last.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
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
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert!(scrapes.last.lock().await.is_none(), "nothing is kept when nobody waits");
    }
}
