//! One table of named timers; at most one instant per key.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::input::Wake;
use crate::model::{IncidentId, Mono, UnitName, WorkerName};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    Assess(UnitName),
    Proceed(IncidentId),
    Rescale(WorkerName),
    PauseEnds,
    Grace,
    Habits,
}

impl TimerKey {
    pub fn wake(&self) -> Wake {
        match self {
            TimerKey::Assess(_) => Wake::Assess,
            TimerKey::Proceed(_) => Wake::Proceed,
            TimerKey::Rescale(_) => Wake::Rescale,
            TimerKey::PauseEnds => Wake::PauseEnds,
            TimerKey::Grace => Wake::Grace,
            TimerKey::Habits => Wake::Habits,
        }
    }
}

#[derive(Default)]
pub struct Timers {
    by_time: BTreeSet<(Mono, TimerKey)>,
    by_key: BTreeMap<TimerKey, Mono>,
}

impl Timers {
    /// Sets, moves or (with `None`) removes the timer of `key`.
    pub fn set(&mut self, key: TimerKey, at: Option<Mono>) {
        if self.by_key.get(&key).copied() == at {
            return;
        }
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key));
        }
    }

    /// Moves the timer of `key` forward to `at` if it is later or not set.
    pub fn set_by(&mut self, key: TimerKey, at: Mono) {
        if self.by_key.get(&key).is_none_or(|old| *old > at) {
            self.set(key, Some(at));
        }
    }

    pub fn at(&self, key: &TimerKey) -> Option<Mono> {
        self.by_key.get(key).copied()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn next(&self) -> Option<(Mono, &TimerKey)> {
        self.by_time.first().map(|(at, key)| (*at, key))
    }

    pub fn take_due(&mut self, now: Mono) -> Option<TimerKey> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}
