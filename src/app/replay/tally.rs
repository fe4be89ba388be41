//! Counts what an engine did, worker by worker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Action, AttemptId, Fact, IncidentId, Outcome, Resolution, UnitName, What, WorkerName};

use super::Options;
use super::report::{Sums, Times};
use super::story::{KEPT, Moment};

/// Times to recover that are kept of one worker; further ones are not in the median.
const TIMES_KEPT: usize = 100_000;

/// What one engine did.
#[derive(Debug)]
pub struct Tally {
    options: Options,
    workers: BTreeMap<WorkerName, Sums>,
    times: BTreeMap<WorkerName, Vec<Duration>>,
    open: BTreeMap<IncidentId, WorkerName>,
    /// Incidents that an operator asked for: what is done in them is no judgement of ours.
    errands: BTreeSet<IncidentId>,
    /// Attempts of which an act was supposed.
    supposed: BTreeSet<AttemptId>,
    pub done: Vec<Done>,
}

/// An action that was taken.
#[derive(Debug, Clone)]
pub struct Done {
    pub worker: WorkerName,
    pub unit: UnitName,
    pub at: Moment,
}

impl Tally {
    pub fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            workers: BTreeMap::new(),
            times: BTreeMap::new(),
            open: BTreeMap::new(),
            errands: BTreeSet::new(),
            supposed: BTreeSet::new(),
            done: Vec::new(),
        }
    }

    /// Whether the fact is of the worker and the time that are asked about.
    pub fn counts(&self, fact: &Fact) -> bool {
        let asked = self.options.worker.as_ref().is_none_or(|asked| fact.worker.as_ref() == Some(asked));
        asked && self.options.counts(fact.at.wall)
    }

    /// An act of the attempt is not in the recording.
    pub fn suppose(&mut self, attempt: AttemptId) {
        if self.supposed.len() < KEPT {
            self.supposed.insert(attempt);
        }
    }

    pub fn is_supposed(&self, attempt: AttemptId) -> bool {
        self.supposed.contains(&attempt)
    }

    pub fn note(&mut self, boot: u32, fact: &Fact) {
        self.follow_errands(fact);
        let (Some(worker), Some(unit)) = (&fact.worker, &fact.unit) else { return };
        if !self.counts(fact) {
            return;
        }
        let supposed = matches!(&fact.what, What::AttemptActed { attempt, .. } if self.is_supposed(*attempt));
        let sums = self.workers.entry(worker.clone()).or_default();
        match &fact.what {
            What::IncidentOpened { .. } | What::IncidentReopened { .. } => {
                sums.incidents += 1;
                self.open.extend(fact.incident.map(|id| (id, worker.clone())));
            }
            What::AttemptActed { action, .. } => {
                *sums.actions.entry(action.kind().to_string()).or_default() += 1;
                sums.supposed += u64::from(supposed);
                let scales = matches!(action, Action::ScaleUp | Action::ScaleDown);
                let errand = fact.incident.is_some_and(|id| self.errands.contains(&id));
                if !scales && !errand && self.done.len() < KEPT {
                    let at = Moment { boot, at: fact.at.mono };
                    self.done.push(Done { worker: worker.clone(), unit: unit.clone(), at });
                }
            }
            What::AttemptEnded { outcome, .. } => match outcome {
                Outcome::Succeeded => sums.succeeded += 1,
                Outcome::Failed => sums.failed += 1,
                Outcome::Superseded | Outcome::InDoubt => {}
            },
            What::Escalated { .. } => sums.escalations += 1,
            What::ActionSuppressed { refusal, .. } => {
                *sums.suppressed.entry(refusal.gate.to_string()).or_default() += 1;
            }
            What::IncidentClosed { resolution, time_to_recover, .. } => {
                self.open.remove(&fact.incident.unwrap_or(IncidentId(0)));
                let by_itself = matches!(resolution, Resolution::SelfCleared | Resolution::FalseAlarm);
                sums.cleared_by_themselves += u64::from(by_itself);
                let times = self.times.entry(worker.clone()).or_default();
                if times.len() < TIMES_KEPT && !by_itself {
                    times.extend(*time_to_recover);
                }
            }
            What::MarkedFalse { .. } => sums.marked_false += 1,
            _ => {}
        }
    }

    fn follow_errands(&mut self, fact: &Fact) {
        let Some(id) = fact.incident else { return };
        match &fact.what {
            What::IncidentOpened { condition: None, .. } => drop(self.errands.insert(id)),
            What::IncidentClosed { .. } => drop(self.errands.remove(&id)),
            _ => {}
        }
    }

    /// The sums of each worker and of all. `needless`: whether an action was not needed.
    pub fn sums(mut self, needless: impl Fn(&Done) -> bool) -> (BTreeMap<WorkerName, Sums>, Sums) {
        for worker in self.open.values() {
            self.workers.entry(worker.clone()).or_default().open_at_the_end += 1;
        }
        for done in &self.done {
            if needless(done) {
                self.workers.entry(done.worker.clone()).or_default().false_actions += 1;
            }
        }
        let mut all = Sums::default();
        let mut all_times = Vec::new();
        for (worker, sums) in &mut self.workers {
            let times = self.times.remove(worker).unwrap_or_default();
            all_times.extend_from_slice(&times);
            sums.time_to_recover = Times::of(times);
            all.add(sums);
        }
        all.time_to_recover = Times::of(all_times);
        (self.workers, all)
    }
}
