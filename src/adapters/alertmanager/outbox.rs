//! What waits for one Alertmanager. An alert waits once, with its latest words; beyond the limit the oldest is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::Wall;
use crate::model::alert::{Alert, AlertKey, Change};

/// Alerts that may wait. A host with more has one cause for them, and that is an alert of its own.
pub const QUEUE_MAX: usize = 4096;
/// Alerts in one request: about 100 kB.
const BATCH_MAX: usize = 64;
/// A resolved alert is told again for so long, in case the first telling was lost on the way.
const RESOLVED_RESENT_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub sent: u64,
    pub errors: u64,
    pub dropped: u64,
    pub last_success: Option<Wall>,
    pub last_error: Option<String>,
}

#[derive(Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Default)]
struct Inner {
    held: BTreeMap<AlertKey, Held>,
    /// Keys of `held`, each at most once.
    queue: VecDeque<AlertKey>,
    renewed: Option<Instant>,
    stats: Stats,
}

struct Held {
    alert: Alert,
    queued: bool,
    /// When to stop telling of it.
    over: Option<Instant>,
}

impl Outbox {
    pub fn put(&self, change: &Change, now: Instant) {
        let mut inner = self.lock();
        let alert = change.alert();
        let over = matches!(change, Change::Resolved(_)).then(|| now + RESOLVED_RESENT_FOR);
        let queued = inner.held.get(&alert.key).is_some_and(|held| held.queued);
        inner.held.insert(alert.key.clone(), Held { alert: alert.clone(), queued, over });
        if !matches!(change, Change::Reworded(_)) {
            inner.enqueue(&alert.key);
            self.filled.notify_one();
        }
    }

    /// Queues everything that holds when the interval is over, and forgets what has been over for long enough.
    pub fn renew(&self, now: Instant, interval: Duration) {
        let mut inner = self.lock();
        let last = *inner.renewed.get_or_insert(now);
        if now.saturating_duration_since(last) < interval {
            return;
        }
        inner.renewed = Some(now);
        inner.held.retain(|_, held| held.queued || held.over.is_none_or(|over| over > now));
        let keys: Vec<AlertKey> = inner.held.keys().cloned().collect();
        for key in keys {
            inner.enqueue(&key);
        }
    }

    pub fn next_renewal(&self, now: Instant, interval: Duration) -> Instant {
        self.lock().renewed.unwrap_or(now) + interval
    }

    /// The oldest that wait.
    pub fn take(&self) -> Vec<Alert> {
        let mut inner = self.lock();
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX
            && let Some(key) = inner.queue.pop_front()
        {
            if let Some(held) = inner.held.get_mut(&key) {
                held.queued = false;
                batch.push(held.alert.clone());
            }
        }
        batch
    }

    /// They were not sent; they wait again, before all others, with the words that they have by now.
    pub fn put_back(&self, batch: &[Alert]) {
        let mut inner = self.lock();
        for alert in batch.iter().rev() {
            let Some(held) = inner.held.get_mut(&alert.key).filter(|held| !held.queued) else { continue };
            held.queued = true;
            inner.queue.push_front(alert.key.clone());
        }
        inner.bound();
    }

    /// Resolves when something new has come; may resolve once more than that.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    pub fn sent(&self, count: u64, at: Wall) {
        let stats = &mut self.lock().stats;
        stats.sent += count;
        stats.last_success = Some(at);
        stats.last_error = None;
    }

    pub fn failed(&self, count: u64, why: String) {
        let stats = &mut self.lock().stats;
        stats.errors += count;
        stats.last_error = Some(why);
    }

    /// With the number of those that wait.
    pub fn stats(&self) -> (Stats, usize) {
        let inner = self.lock();
        (inner.stats.clone(), inner.queue.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn enqueue(&mut self, key: &AlertKey) {
        let Some(held) = self.held.get_mut(key).filter(|held| !held.queued) else { return };
        held.queued = true;
        self.queue.push_back(key.clone());
        self.bound();
    }

    fn bound(&mut self) {
        while self.queue.len() > QUEUE_MAX
            && let Some(key) = self.queue.pop_front()
        {
            self.stats.dropped += 1;
            if let Some(held) = self.held.get_mut(&key) {
                held.queued = false;
            }
        }
        // What is known is bounded, too: it is told again when it changes.
        while self.held.len() > QUEUE_MAX {
            let spare = self.held.iter().find(|(_, held)| !held.queued).map(|(key, _)| key.clone());
            let Some(key) = spare else { return };
            self.held.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::alertmanager::wire::tests::alert;

    const MINUTE: Duration = Duration::from_secs(60);

    fn names(batch: &[Alert]) -> Vec<String> {
        batch.iter().map(|alert| alert.key.worker.as_ref().unwrap().to_string()).collect()
    }

    fn resolved(name: &str) -> Change {
        Change::Resolved(Alert { until: Some(Wall(9)), ..alert(name) })
    }

    #[test]
    fn what_holds_is_told_at_once_and_again() {
        let (outbox, start) = (Outbox::default(), Instant::now());
        outbox.renew(start, MINUTE);
        outbox.put(&Change::Fired(alert("a")), start);
        outbox.put(&Change::Fired(alert("b")), start);
        outbox.put(&Change::Fired(alert("a")), start);
        assert_eq!(names(&outbox.take()), ["a", "b"], "each once");
        outbox.renew(start + MINUTE / 2, MINUTE);
        assert!(outbox.take().is_empty());
        let message = "other words".to_string();
        outbox.put(&Change::Reworded(Alert { message, ..alert("a") }), start);
        assert!(outbox.take().is_empty(), "other words wait for their turn");
        outbox.renew(start + MINUTE, MINUTE);
        let again = outbox.take();
        assert_eq!(names(&again), ["a", "b"]);
        assert_eq!(again[0].message, "other words");
    }

    #[test]
    fn what_is_over_is_told_for_five_minutes() {
        let (outbox, start) = (Outbox::default(), Instant::now());
        outbox.renew(start, MINUTE);
        outbox.put(&Change::Fired(alert("a")), start);
        outbox.put(&resolved("a"), start);
        let mut told = 0;
        for minute in 0..20 {
            outbox.renew(start + MINUTE * minute, MINUTE);
            told += outbox.take().iter().filter(|alert| alert.until.is_some()).count();
        }
        assert_eq!(told, 5, "at once, and four times again");
        assert!(outbox.lock().held.is_empty(), "then it is forgotten");
        outbox.put(&resolved("a"), start);
        outbox.put(&Change::Fired(alert("a")), start);
        assert_eq!(outbox.take()[0].until, None, "what holds again holds");
    }

    #[test]
    fn what_could_not_be_sent_comes_first_with_its_latest_words() {
        let (outbox, start) = (Outbox::default(), Instant::now());
        outbox.put(&Change::Fired(alert("a")), start);
        outbox.put(&Change::Fired(alert("b")), start);
        let batch = outbox.take();
        outbox.put(&Change::Fired(alert("c")), start);
        outbox.put(&resolved("b"), start);
        outbox.put_back(&batch);
        let again = outbox.take();
        assert_eq!(names(&again), ["a", "c", "b"]);
        assert!(again[2].until.is_some());
    }

    #[test]
    fn the_oldest_is_dropped_and_counted() {
        let (outbox, start) = (Outbox::default(), Instant::now());
        for n in 0..QUEUE_MAX + 3 {
            outbox.put(&Change::Fired(alert(&format!("w{n}"))), start);
        }
        let (stats, waiting) = outbox.stats();
        assert_eq!((stats.dropped, waiting), (3, QUEUE_MAX));
        assert_eq!(names(&outbox.take())[0], "w3");
        assert!(outbox.lock().held.len() <= QUEUE_MAX);
    }
}
