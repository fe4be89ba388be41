//! Which entry is an error of which instance. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::model::settings::ERROR_MATCH_COMPILED_MAX;
use crate::model::{Settings, UnitName, WorkerName};

use super::Scope;
use super::export::Entry;

/// Priority `err`; what is worse has a smaller number.
const ERR: u8 = 3;
/// Units whose worker is remembered, watched or not; a host that has more looks some up again.
const UNITS_MAX: usize = 20_000;

/// Counts errors by instance.
pub struct Tally {
    scope: Scope,
    settings: Arc<Settings>,
    patterns: BTreeMap<WorkerName, Regex>,
    units: HashMap<String, Option<Watched>>,
    counts: BTreeMap<UnitName, u64>,
    own_pid: u32,
}

#[derive(Clone)]
struct Watched {
    unit: UnitName,
    pattern: Option<Regex>,
}

impl Tally {
    pub fn new(scope: Scope, settings: Arc<Settings>) -> Self {
        let patterns = patterns(&settings);
        let (units, counts) = (HashMap::new(), BTreeMap::new());
        Self { scope, settings, patterns, units, counts, own_pid: std::process::id() }
    }

    /// What was counted stays, as far as a worker still owns the unit.
    pub fn set(&mut self, settings: Arc<Settings>) {
        self.patterns = patterns(&settings);
        self.settings = settings;
        self.units.clear();
        self.counts.retain(|unit, _| self.settings.worker_of(unit.as_str()).is_some());
    }

    pub fn has_workers(&self) -> bool {
        !self.settings.workers.is_empty()
    }

    /// Entries are looked at, whatever their priority.
    pub fn needs_all(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Counts the entry, if it is an error of an instance; of which.
    pub fn note(&mut self, entry: &Entry) -> Option<&UnitName> {
        // What we say of an instance is no error of an instance, even where we run as a part of one.
        if entry.pid == Some(self.own_pid) {
            return None;
        }
        let unit = match self.scope {
            Scope::System => &entry.unit,
            Scope::User => &entry.user_unit,
        };
        // Nor is what systemd says of it, as PID 1 or, where its program cannot be executed, in its place: a crash is seen
        // elsewhere.
        if entry.about == *unit {
            return None;
        }
        let bad = entry.priority.is_some_and(|priority| priority <= ERR);
        if unit.is_empty() || (!bad && self.patterns.is_empty()) {
            return None;
        }
        let watched = lookup(&mut self.units, &self.settings, &self.patterns, unit)?;
        if !bad && !watched.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&entry.message)) {
            return None;
        }
        match self.counts.get_mut(&watched.unit) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(watched.unit.clone(), 1)),
        }
        Some(&watched.unit)
    }

    /// What was counted, by name; it stays until [`Tally::clear`].
    pub fn counts(&self) -> Vec<(UnitName, u64)> {
        self.counts.iter().map(|(unit, count)| (unit.clone(), *count)).collect()
    }

    pub fn clear(&mut self) {
        self.counts.clear();
    }
}

fn lookup<'u>(
    units: &'u mut HashMap<String, Option<Watched>>,
    settings: &Settings,
    patterns: &BTreeMap<WorkerName, Regex>,
    unit: &str,
) -> Option<&'u Watched> {
    if !units.contains_key(unit) {
        if units.len() >= UNITS_MAX {
            units.clear();
        }
        let worker = settings.worker_of(unit);
        let watched = worker.and_then(|worker| {
            Some(Watched { unit: UnitName::new(unit).ok()?, pattern: patterns.get(&worker.name).cloned() })
        });
        units.insert(unit.to_owned(), watched);
    }
    units.get(unit)?.as_ref()
}

/// The configuration has taken only what can be compiled.
fn patterns(settings: &Settings) -> BTreeMap<WorkerName, Regex> {
    let compiled = settings.workers.values().filter_map(|worker| {
        let text = worker.error_match.as_deref()?;
        let pattern = RegexBuilder::new(text).size_limit(ERROR_MATCH_COMPILED_MAX).build();
        Some((worker.name.clone(), pattern.ok()?))
    });
    compiled.collect()
}
