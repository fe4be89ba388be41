//! What waits for the store's thread: intents first, then questions that write, then incidents, facts and alerts.
//!
//! Bounded everywhere. Of an incident only the newest state waits; of facts the oldest are dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::db::write::Slice;
use super::intent::Pending;
use super::knowledge::Knowledge;
use crate::model::strategy::{Case, Known};
use crate::model::{Alert, Fact, Incident, IncidentId, Wall};

/// Intents waiting for the database. More than can be under way at once many times over.
const INTENTS_MAX: usize = 4096;
const ASKS_MAX: usize = 64;
const INCIDENTS_MAX: usize = 8192;
/// Facts waiting for the database: about 15 MB; 1,400 failures at once bring half as many.
const FACTS_MAX: usize = 32_768;
/// A slice takes about a millisecond; an intent waits for one slice at most.
const SLICE_FACTS: usize = 64;
const SLICE_INCIDENTS: usize = 16;
/// Alerts waiting for the database.
const ALERTS_MAX: usize = 4096;
const SLICE_ALERTS: usize = 32;
/// Cases whose knowledge waits for the database: twice as many as are kept, for those of other hosts.
const KNOWN_MAX: usize = 8192;
const SLICE_KNOWN: usize = 32;

/// Facts that never reached the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub facts: u64,
    pub from: Wall,
    pub to: Wall,
    pub why: String,
}

/// A question that writes, with its answer inside.
pub(super) enum Ask {
    MarkFalse(IncidentId, tokio::sync::oneshot::Sender<Result<bool, String>>),
    /// What is under this name is not to be written over; answered with its new name.
    SetAside(&'static str, tokio::sync::oneshot::Sender<Result<Option<String>, String>>),
    /// Somebody else found the database damaged, in the given generation of the file.
    Damaged {
        generation: u64,
        why: String,
    },
}

/// What the store's thread does next.
pub(super) enum Turn {
    Intents(Vec<Arc<Pending>>),
    Ask(Ask),
    Slice(Slice),
    /// Nothing waits; a timer of the thread is due.
    Due,
    /// Closing, and nothing is left that could be written.
    Closed,
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    drained: Condvar,
    /// Grows with everything that is to be written, was, or never will be.
    moved: AtomicU64,
}

#[derive(Default)]
struct Inner {
    intents: VecDeque<Arc<Pending>>,
    asks: VecDeque<Ask>,
    incidents: BTreeMap<u64, Box<Incident>>,
    facts: VecDeque<Fact>,
    alerts: VecDeque<Alert>,
    /// By case, and whether it was learned elsewhere.
    known: BTreeMap<(Case, bool), Known>,
    /// The newest of each name; the names are few and our own.
    knowledge: BTreeMap<&'static str, Knowledge>,
    loss: Option<Loss>,
    lost: u64,
    /// A slice has been taken and is neither written nor put back.
    writing: bool,
    /// Why nothing can be written at present.
    failing: Option<String>,
    closing: bool,
    /// While closing, a database that was failing has had its last chance.
    last_chance: bool,
}

impl Queue {
    /// `false`: no room.
    pub fn push_intent(&self, pending: Arc<Pending>) -> bool {
        let mut inner = self.lock();
        if inner.closing || inner.intents.len() >= INTENTS_MAX {
            return false;
        }
        inner.intents.push_back(pending);
        self.wake.notify_one();
        true
    }

    pub fn push_ask(&self, ask: Ask) -> Result<(), Ask> {
        let mut inner = self.change();
        if inner.closing || inner.asks.len() >= ASKS_MAX {
            return Err(ask);
        }
        inner.asks.push_back(ask);
        self.wake.notify_one();
        Ok(())
    }

    pub fn push_incident(&self, incident: Box<Incident>) {
        let mut inner = self.change();
        if inner.closing {
            return;
        }
        inner.incidents.insert(incident.id.0, incident);
        if inner.incidents.len() > INCIDENTS_MAX {
            // The oldest is the likeliest to have been written in an earlier state.
            inner.incidents.pop_first();
            inner.lost += 1;
        }
        self.wake.notify_one();
    }

    pub fn push_fact(&self, fact: Fact) {
        let mut inner = self.change();
        if inner.closing {
            return;
        }
        inner.facts.push_back(fact);
        inner.trim();
        self.wake.notify_one();
    }

    pub fn push_alert(&self, alert: Alert) {
        let mut inner = self.change();
        if inner.closing {
            return;
        }
        inner.alerts.push_back(alert);
        if inner.alerts.len() > ALERTS_MAX {
            inner.alerts.pop_front();
            inner.lost += 1;
        }
        self.wake.notify_one();
    }

    /// Of several states of a case that wait, the newest is written.
    pub fn push_known(&self, known: Vec<Known>) {
        let mut inner = self.change();
        if inner.closing {
            return;
        }
        inner.known.extend(known.into_iter().map(|one| ((one.case.clone(), one.from.is_some()), one)));
        while inner.known.len() > KNOWN_MAX {
            inner.known.pop_first();
            inner.lost += 1;
        }
        self.wake.notify_one();
    }

    /// Of what waits under one name the newest is written.
    pub fn push_knowledge(&self, knowledge: Knowledge) {
        let mut inner = self.change();
        if inner.closing {
            return;
        }
        inner.knowledge.insert(knowledge.name, knowledge);
        self.wake.notify_one();
    }

    /// Waits for work until `due`. No slice is given before `write_from`; while closing it is, once.
    pub fn next(&self, due: Instant, write_from: Instant) -> Turn {
        let mut inner = self.lock();
        loop {
            if !inner.intents.is_empty() {
                return Turn::Intents(inner.intents.drain(..).collect());
            }
            if let Some(ask) = inner.asks.pop_front() {
                return Turn::Ask(ask);
            }
            let now = Instant::now();
            let last = inner.closing && (inner.failing.is_none() || !std::mem::replace(&mut inner.last_chance, true));
            if inner.has_slice() && (now >= write_from && !inner.closing || last) {
                inner.writing = true;
                return Turn::Slice(inner.slice());
            }
            if inner.closing {
                return Turn::Closed;
            }
            let until = if inner.has_slice() { due.min(write_from) } else { due };
            if now >= until {
                return Turn::Due;
            }
            inner = self.wake.wait_timeout(inner, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The slice is in the database.
    pub fn written(&self) {
        let mut inner = self.change();
        inner.writing = false;
        inner.failing = None;
        if !inner.has_slice() {
            self.drained.notify_all();
        }
    }

    /// The slice is not in the database, but may be later.
    pub fn put_back(&self, slice: Slice, why: &str) {
        let mut inner = self.change();
        inner.writing = false;
        inner.failing = Some(why.to_string());
        for incident in slice.incidents {
            inner.incidents.entry(incident.id.0).or_insert_with(|| Box::new(incident));
        }
        for fact in slice.facts.into_iter().rev() {
            inner.facts.push_front(fact);
        }
        for alert in slice.alerts.into_iter().rev() {
            inner.alerts.push_front(alert);
        }
        while inner.alerts.len() > ALERTS_MAX {
            inner.alerts.pop_front();
            inner.lost += 1;
        }
        for one in slice.known {
            inner.known.entry((one.case.clone(), one.from.is_some())).or_insert(one);
        }
        for knowledge in slice.knowledge {
            inner.knowledge.entry(knowledge.name).or_insert(knowledge);
        }
        if let Some(loss) = slice.loss {
            inner.add_loss(loss);
        }
        inner.trim();
        self.drained.notify_all();
    }

    /// The slice will never be in the database.
    pub fn give_up(&self, slice: Slice, why: &str) {
        let mut inner = self.change();
        inner.writing = false;
        inner.lost += (slice.incidents.len() + slice.alerts.len() + slice.known.len()) as u64;
        for fact in slice.facts {
            inner.lose(&fact, why);
        }
        self.drained.notify_all();
    }

    /// The history before `at` is not in this database.
    pub fn note_gap(&self, at: Wall, why: String) {
        self.change().add_loss(Loss { facts: 0, from: at, to: at, why });
        self.wake.notify_one();
    }

    /// The database takes nothing in this life: lost, and nowhere to say so but in the count.
    pub fn forsake(&self, slice: Slice) {
        let mut inner = self.change();
        inner.writing = false;
        inner.lost += (slice.facts.len() + slice.incidents.len() + slice.alerts.len() + slice.known.len()) as u64;
        self.drained.notify_all();
    }

    /// Waits until everything told so far is written, nothing can be written, or `limit` is over.
    pub fn wait_drained(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut inner = self.lock();
        while (inner.has_slice() || inner.writing) && inner.failing.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return;
            };
            inner = self.drained.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes no more; the thread ends when it has written what waits.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_all();
    }

    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Facts and incidents lost so far, and waiting now.
    pub fn lost_and_waiting(&self) -> (u64, u64) {
        let inner = self.lock();
        let history = inner.incidents.len() + inner.facts.len() + inner.alerts.len() + inner.known.len();
        (inner.lost, (inner.intents.len() + history) as u64)
    }

    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Acquire)
    }

    /// Counted before it is done: who has seen the old count asks after the change.
    fn change(&self) -> MutexGuard<'_, Inner> {
        self.moved.fetch_add(1, Ordering::AcqRel);
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before the guard goes, so a panic elsewhere leaves it sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_slice(&self) -> bool {
        let nothing =
            self.incidents.is_empty() && self.facts.is_empty() && self.alerts.is_empty() && self.known.is_empty();
        !(nothing && self.knowledge.is_empty()) || self.loss.is_some()
    }

    fn slice(&mut self) -> Slice {
        let incidents = (0..SLICE_INCIDENTS).map_while(|_| self.incidents.pop_first()).map(|(_, it)| *it).collect();
        let count = self.facts.len().min(SLICE_FACTS);
        let alerts = self.alerts.len().min(SLICE_ALERTS);
        let (facts, alerts) = (self.facts.drain(..count).collect(), self.alerts.drain(..alerts).collect());
        let known = (0..SLICE_KNOWN).map_while(|_| self.known.pop_first()).map(|(_, known)| known).collect();
        let knowledge = std::mem::take(&mut self.knowledge).into_values().collect();
        Slice { incidents, facts, alerts, known, knowledge, loss: self.loss.take() }
    }

    fn trim(&mut self) {
        while self.facts.len() > FACTS_MAX {
            if let Some(fact) = self.facts.pop_front() {
                let why = self.failing.clone().unwrap_or_else(|| "more facts than the disk could take".into());
                self.lose(&fact, &why);
            }
        }
    }

    fn lose(&mut self, fact: &Fact, why: &str) {
        self.lost += 1;
        self.add_loss(Loss { facts: 1, from: fact.at.wall, to: fact.at.wall, why: why.into() });
    }

    fn add_loss(&mut self, more: Loss) {
        self.loss = Some(match self.loss.take() {
            None => more,
            Some(loss) => Loss {
                facts: loss.facts + more.facts,
                from: loss.from.min(more.from),
                to: loss.to.max(more.to),
                why: more.why,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::store::tests::{fact, incident, intent};
    use crate::model::What;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn slice(queue: &Queue) -> Slice {
        match queue.next(soon(), Instant::now()) {
            Turn::Slice(slice) => slice,
            _ => panic!("not a slice"),
        }
    }

    fn seqs(slice: &Slice) -> Vec<u64> {
        slice.facts.iter().map(|fact| fact.seq).collect()
    }

    #[test]
    fn intents_go_first_and_slices_are_small() {
        let queue = Queue::default();
        for n in 0..200 {
            queue.push_fact(fact(n, n, None, What::InstanceVanished));
            queue.push_incident(Box::new(incident(n, n)));
        }
        assert!(queue.push_intent(Pending::new(intent(1, 1), Duration::ZERO, Box::new(|_| ()))));
        assert!(matches!(queue.next(soon(), Instant::now()), Turn::Intents(intents) if intents.len() == 1));
        let first = slice(&queue);
        assert_eq!((first.facts.len(), first.incidents.len()), (SLICE_FACTS, SLICE_INCIDENTS));
        assert!(queue.push_intent(Pending::new(intent(1, 2), Duration::ZERO, Box::new(|_| ()))));
        assert!(matches!(queue.next(soon(), Instant::now()), Turn::Intents(_)), "also in the middle of a backlog");
    }

    #[test]
    fn what_is_put_back_keeps_its_place_and_never_replaces_newer() {
        let queue = Queue::default();
        queue.push_fact(fact(1, 1, None, What::InstanceVanished));
        queue.push_incident(Box::new(incident(7, 1)));
        let taken = slice(&queue);
        queue.push_fact(fact(2, 2, None, What::InstanceVanished));
        let mut newer = incident(7, 1);
        newer.reopened = 3;
        queue.push_incident(Box::new(newer));
        queue.put_back(taken, "disk full");
        assert!(matches!(queue.next(Instant::now(), soon()), Turn::Due), "not before its time");
        let again = slice(&queue);
        assert_eq!(seqs(&again), [1, 2]);
        assert_eq!(again.incidents.iter().map(|it| it.reopened).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_oldest_facts_are_lost_and_the_loss_is_told() {
        let queue = Queue::default();
        for n in 0..FACTS_MAX as u64 + 3 {
            queue.push_fact(fact(n, n, None, What::InstanceVanished));
        }
        assert_eq!(queue.lost_and_waiting(), (3, FACTS_MAX as u64));
        let slice = slice(&queue);
        assert_eq!(slice.facts[0].seq, 3);
        let at = |n: u64| fact(n, n, None, What::InstanceVanished).at.wall;
        let loss = slice.loss.unwrap();
        assert_eq!((loss.facts, loss.from, loss.to), (3, at(0), at(2)));
    }

    #[test]
    fn closing_gives_a_failing_database_one_last_chance() {
        let queue = Queue::default();
        queue.push_fact(fact(1, 1, None, What::InstanceVanished));
        let taken = slice(&queue);
        queue.put_back(taken, "disk full");
        queue.close();
        let Turn::Slice(last) = queue.next(soon(), soon()) else { panic!("no last chance") };
        queue.put_back(last, "disk full");
        assert!(matches!(queue.next(soon(), soon()), Turn::Closed));
        assert_eq!(queue.lost_and_waiting().1, 1);
    }
}
