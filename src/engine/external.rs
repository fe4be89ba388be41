//! Alerts of others that name a worker or a unit: the evidence of the condition `external`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::request::Target;
use crate::model::signal::ExternalAlert;
use crate::model::{Condition, Evidence, Health, Mono, WorkerSettings};

use super::Engine;
use super::work::Symptom;

/// Alerts of one instance that are kept apart; more say nothing new.
const ALERTS_MAX: usize = 32;

/// The alerts that name one instance, by what makes each the same one.
#[derive(Default)]
pub struct External(BTreeMap<String, Alert>);

#[derive(Clone)]
struct Alert {
    text: String,
    severe: bool,
    /// Not told again by then, it is over.
    until: Mono,
}

/// What a page says of one worker or unit: no more than an instance can keep, so that taking it costs each instance as
/// little as that.
struct Word<'p> {
    over: BTreeSet<&'p str>,
    /// Severe ones first.
    firing: Vec<(String, Alert)>,
}

impl<'p> Word<'p> {
    /// Of two about the same alert the later one counts.
    fn of(alerts: &[&'p ExternalAlert], until: Mono) -> Self {
        let last: BTreeMap<&str, &ExternalAlert> = alerts.iter().map(|alert| (alert.id.as_str(), *alert)).collect();
        let over = last.values().filter(|alert| !alert.firing).map(|alert| alert.id.as_str()).collect();
        let mut firing: Vec<&ExternalAlert> = last.into_values().filter(|alert| alert.firing).collect();
        firing.sort_by_key(|alert| !alert.severe);
        let kept = firing
            .into_iter()
            .take(ALERTS_MAX)
            .map(|alert| (alert.id.clone(), Alert { text: alert.text.clone(), severe: alert.severe, until }));
        Self { over, firing: kept.collect() }
    }
}

impl External {
    fn take(&mut self, word: &Word<'_>) {
        self.0.retain(|id, _| !word.over.contains(id.as_str()));
        for (id, alert) in &word.firing {
            if self.0.len() < ALERTS_MAX || self.0.contains_key(id) {
                self.0.insert(id.clone(), alert.clone());
            }
        }
    }

    pub fn judge(&mut self, settings: &WorkerSettings, now: Mono) -> Option<Symptom> {
        if self.0.is_empty() {
            return None;
        }
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
        let (mut of_worker, mut of_unit) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for alert in &alerts {
            match &alert.target {
                Target::Worker(worker) => of_worker.entry(worker).or_default().push(alert),
                Target::Unit(unit) => of_unit.entry(unit).or_default().push(alert),
            }
        }
        let of_worker: BTreeMap<_, _> =
            of_worker.into_iter().map(|(worker, alerts)| (worker, Word::of(&alerts, until))).collect();
        let mut touched = BTreeSet::new();
        for instance in self.instances.values_mut() {
            let Some(word) = of_worker.get(&instance.worker) else { continue };
            instance.work.external.take(word);
            touched.insert(instance.unit.clone());
        }
        for (unit, alerts) in of_unit {
            let Some(instance) = self.instances.get_mut(unit) else { continue };
            instance.work.external.take(&Word::of(&alerts, until));
            touched.insert(unit.clone());
        }
        for unit in touched {
            self.reassess(&unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkerName;

    fn alert(id: &str, severe: bool, firing: bool) -> ExternalAlert {
        let target = Target::Worker(WorkerName::new("mail").unwrap());
        ExternalAlert { id: id.into(), target, text: format!("it is {id}"), severe, firing }
    }

    #[test]
    fn a_page_is_no_more_than_an_instance_can_keep() {
        let mut alerts: Vec<_> = (0..1000).map(|n| alert(&format!("w{n}"), false, true)).collect();
        alerts.extend([alert("worst", true, true), alert("w0", false, false)]);
        let word = Word::of(&alerts.iter().collect::<Vec<_>>(), Mono(9));
        assert_eq!((word.firing.len(), word.over.len()), (ALERTS_MAX, 1));
        let mut external = External::default();
        external.take(&word);
        assert!(external.0["worst"].severe && external.0.len() == ALERTS_MAX);
        assert!(!external.0.contains_key("w0"), "the last word of it is that it is over");
        let over: Vec<_> = external.0.keys().map(|id| alert(id, false, false)).collect();
        external.take(&Word::of(&over.iter().collect::<Vec<_>>(), Mono(9)));
        assert!(external.0.is_empty());
    }

    #[test]
    fn what_is_known_is_refreshed_when_there_is_no_room() {
        let mut external = External::default();
        let alerts: Vec<_> = (0..ALERTS_MAX).map(|n| alert(&n.to_string(), false, true)).collect();
        external.take(&Word::of(&alerts.iter().collect::<Vec<_>>(), Mono(1)));
        let later = [alert("new", true, true), alert("3", false, true)];
        external.take(&Word::of(&later.iter().collect::<Vec<_>>(), Mono(2)));
        assert_eq!(
            (external.0.len(), external.0["3"].until, external.0.contains_key("new")),
            (ALERTS_MAX, Mono(2), false)
        );
    }
}
