//! Answers in JSON that many ask for: made once for all who wait, kept while they are true, and packed once.
//!
//! What bounds it: of one question one answer is made at a time, on a thread that may block, so that many who ask cost
//! the event loop and the history no more than one does. Kept are [`KEPT_MAX`] answers of [`BYTES_MAX`] together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use serde::Serialize;
use tokio::sync::OnceCell;

use super::PortError;
use super::gzip;
use super::problem::Problem;

/// Different questions whose answers are kept.
pub const KEPT_MAX: usize = 128;
/// Bytes of kept answers, packed ones included.
pub const BYTES_MAX: usize = 16 << 20;
/// Longest question whose answer is kept.
const KEY_MAX: usize = 512;
/// No answer is kept for longer, whatever is said of it: the history also forgets by itself.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Below this, packing costs more than it saves.
const PACKED_FROM: usize = 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How long an answer stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum While {
    /// As long as these stay as they are: the turn of the event loop, and what was given to the history. Read them before
    /// the answer is made.
    Same(Option<u64>, Option<u64>),
    /// So long, or ten times as long as it took to make: what sums up a long history must not be all that it does.
    For(Duration),
    /// It is made for all who wait for it, and not kept.
    Now,
}

/// An answer in JSON, and the same packed.
pub struct Answer {
    json: Bytes,
    packed: OnceCell<Bytes>,
}

impl Answer {
    pub fn new(json: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self { json: json.into(), packed: OnceCell::new() })
    }

    fn bytes(&self) -> usize {
        self.json.len() + self.packed.get().map_or(0, Bytes::len)
    }

    /// As the asker takes it.
    pub async fn respond(self: Arc<Self>, headers: &HeaderMap) -> Response {
        let packs = self.json.len() >= PACKED_FROM;
        let body = match packs && gzip::is_accepted(headers) {
            true => self.packed().await.map(|packed| (packed, true)),
            false => Some((self.json.clone(), false)),
        };
        let (body, is_packed) = body.unwrap_or_else(|| (self.json.clone(), false));
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if packs {
            headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    async fn packed(self: &Arc<Self>) -> Option<Bytes> {
        let pack = || async {
            let json = self.json.clone();
            tokio::task::spawn_blocking(move || gzip::packed(&json)).await
        };
        self.packed.get_or_try_init(pack).await.ok().cloned()
    }
}

/// The answer to one question; whoever makes it holds the lock.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

struct Kept {
    answer: Arc<Answer>,
    valid: While,
    made: Instant,
    took: Duration,
}

impl Kept {
    fn begun(&self) -> Instant {
        self.made - self.took
    }

    fn is_true(&self, now: While) -> bool {
        let age = self.made.elapsed();
        match (self.valid, now) {
            (_, While::Now) | (While::Now, _) => false,
            (While::Same(..), While::Same(turn, moved)) => {
                // What is not known is not the same.
                self.valid == now && turn.is_some() && moved.is_some() && age < AGE_MAX
            }
            (While::For(_), While::For(span)) => age < span.max(self.took * 10),
            _ => false,
        }
    }
}

/// The answers that are kept.
#[derive(Default)]
pub struct Answers {
    slots: Mutex<BTreeMap<String, Slot>>,
}

impl Answers {
    /// The answer to the question `key`: a kept one that is still true, else the JSON that `make` brings. Those who ask the
    /// same meanwhile wait, and get it as well if it was begun after they asked.
    pub async fn get(
        &self,
        key: &str,
        valid: While,
        make: impl Future<Output = Result<Vec<u8>, PortError>>,
    ) -> Result<Arc<Answer>, Problem> {
        let asked = Instant::now();
        // Dropped last: what brought no answer, or was given up, leaves nothing behind.
        let _leaving = Leaving { answers: self, key };
        let slot = self.slot(key);
        let mut kept = slot.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_true(valid) || kept.begun() >= asked) {
            return Ok(kept.answer.clone());
        }
        let begun = Instant::now();
        let answer = Answer::new(make.await.map_err(problem)?);
        let made = Instant::now();
        *kept = Some(Kept { answer: answer.clone(), valid, made, took: made - begun });
        drop(kept);
        self.tidy(key);
        Ok(answer)
    }

    #[cfg(test)]
    pub fn clone_keys(&self) -> Vec<String> {
        self.slots.lock().unwrap().keys().cloned().collect()
    }

    fn slot(&self, key: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.get(key) {
            Some(slot) => slot.clone(),
            // One that is not kept has a slot of its own.
            None if key.len() > KEY_MAX => Slot::default(),
            None => slots.entry(key.into()).or_default().clone(),
        }
    }

    /// Lets go of what is old, and then of what was made first, until the rest is within its bounds. `newest` stays.
    fn tidy(&self, newest: &str) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut ages, mut bytes) = (Vec::new(), 0);
        slots.retain(|key, slot| {
            // One that is locked is being made just now, and one without an answer has a maker who waits for the lock, or
            // none any more.
            let Ok(kept) = slot.try_lock() else { return true };
            let Some(kept) = kept.as_ref() else { return Arc::strong_count(slot) > 1 };
            let is_old = kept.made.elapsed() > AGE_MAX.max(kept.took * 10);
            if !is_old {
                bytes += kept.answer.bytes();
                ages.push((kept.made, key.clone(), kept.answer.bytes()));
            }
            !is_old
        });
        ages.sort();
        let mut oldest = ages.into_iter().filter(|(_, key, _)| key != newest);
        while slots.len() > KEPT_MAX || bytes > BYTES_MAX {
            let Some((_, key, size)) = oldest.next() else { break };
            slots.remove(&key);
            bytes -= size;
        }
    }
}

/// One who has asked. Going away it takes the slot along if that has no answer and nobody else waits for one.
struct Leaving<'a> {
    answers: &'a Answers,
    key: &'a str,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut slots = self.answers.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = |slot: &Slot| Arc::strong_count(slot) == 1 && slot.try_lock().is_ok_and(|kept| kept.is_none());
        if slots.get(self.key).is_some_and(is_empty) {
            slots.remove(self.key);
        }
    }
}

/// On a thread that may block: thousands of instances are written in milliseconds, and the event loop shares the others.
pub async fn written(
    write: impl FnOnce() -> Result<Vec<u8>, PortError> + Send + 'static,
) -> Result<Vec<u8>, PortError> {
    let bug = |_| PortError::Unavailable("the answer could not be made; this is a bug, please report it".into());
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(bug(error)))
}

pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, PortError> {
    let bug =
        |error| PortError::Unavailable(format!("the answer is no JSON: {error}; this is a bug, please report it"));
    serde_json::to_vec(value).map_err(bug)
}

/// What the app could not answer.
pub fn problem(error: PortError) -> Problem {
    let code = match &error {
        PortError::NotFound(_) => StatusCode::NOT_FOUND,
        PortError::Invalid(_) => StatusCode::BAD_REQUEST,
        PortError::Busy | PortError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem { retry: error == PortError::Busy, ..Problem::new(code, error.to_string()) }
}

#[cfg(test)]
mod tests;
