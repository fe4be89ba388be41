//! Alerts of others that name a worker or a unit: the evidence of the condition `external`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::request::Target;
use crate::model::signal::ExternalAlert;
use crate::model::{Condition, Evidence, Health, Mono, UnitName, WorkerName, WorkerSettings};

use super::Engine;
use super::work::Symptom;

/// Alerts of one instance that are kept apart; more say nothing new.
const ALERTS_MAX: usize = 32;

/// The alerts that name one instance, by what makes each the same one.
#[derive(Default)]
pub struct External(BTreeMap<String, Alert>);

struct Alert {
    text: String,
    severe: bool,
    /// Not told again by then, it is over.
    until: Mono,
}

impl External {
    fn take(&mut self, alert: &ExternalAlert, until: Mono) {
        if !alert.firing {
            self.0.remove(&alert.id);
        } else if self.0.len() < ALERTS_MAX || self.0.contains_key(&alert.id) {
            self.0.insert(alert.id.clone(), Alert { text: alert.text.clone(), severe: alert.severe, until });
        }
    }

    pub fn judge(&mut self, settings: &WorkerSettings, now: Mono) -> Option<Symptom> {
        self.0.retain(|_, alert| alert.until > now);
        let worst = self.0.values().find(|alert| alert.severe).or(self.0.values().next())?;
        let others = match self.0.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        let health = if worst.severe { Health::Critical } else { Health::Warning };
        // Whether anything is done about it is the operator's to say.
        let tell_only = !settings.plans.contains_key(&Condition::External);
        Some(Symptom { evidence: Evidence::text(format!("{}{others}", worst.text)), health, tell_only })
    }

    /// When the next of them is over by time alone.
    pub fn due(&self) -> Option<Mono> {
        self.0.values().map(|alert| alert.until).min()
    }
}

impl Engine {
    /// An alert for a worker is one for each of its instances. Each is judged once, however many alerts name it.
    pub(super) fn external(&mut self, alerts: Vec<ExternalAlert>) {
        let until = self.now() + self.settings.webhook.expire_after;
        let mut of_worker: BTreeMap<WorkerName, Vec<UnitName>> = BTreeMap::new();
        for instance in self.instances.values() {
            of_worker.entry(instance.worker.clone()).or_default().push(instance.unit.clone());
        }
        let mut touched = BTreeSet::new();
        for alert in &alerts {
            let named = match &alert.target {
                Target::Unit(unit) => std::slice::from_ref(unit),
                Target::Worker(worker) => of_worker.get(worker).map_or(&[][..], Vec::as_slice),
            };
            for unit in named {
                let Some(instance) = self.instances.get_mut(unit) else { continue };
                instance.work.external.take(alert, until);
                touched.insert(unit.clone());
            }
        }
        for unit in touched {
            self.reassess(&unit);
        }
    }
}
