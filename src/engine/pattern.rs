//! Which pattern of its log an instance's trouble has: the rarest that came near before it, not what it always writes.

use std::time::Duration;

use crate::model::pattern::HoursAhead;
use crate::model::time::human;
use crate::model::{Evidence, IncidentPattern, Mono, PatternSeen, UnitName};

use super::Engine;

/// Patterns of one instance that are remembered.
const KEPT: usize = 8;
/// Before a failure nobody looks further back.
const BEFORE: Duration = Duration::from_secs(300);
/// The last words of a process may come so much later than the word of its end. What is later may be of the next process.
const LATE: Duration = Duration::from_millis(50);
/// What an instance writes for such a share of its time without trouble is noise.
const NOISE: f64 = 0.25;
/// What is rarer is as good as never seen.
const RAREST: f64 = 0.001;
/// One that came so long before the failure counts half.
const NEAR: Duration = Duration::from_secs(60);
/// For so long after an incident opened a better pattern takes the place of the first: journald may be behind.
const SETTLES: Duration = Duration::from_secs(5);

/// An incident that a pattern goes before is expected for so many times the median lead, within these bounds.
const LEADS: u32 = 2;
const FORETOLD_MIN: Duration = Duration::from_secs(600);
const FORETOLD_MAX: Duration = Duration::from_secs(1800);

/// The patterns that an instance has shown lately.
#[derive(Default)]
pub struct Log {
    seen: Vec<PatternSeen>,
}

impl Log {
    /// `opened`: when its present incident opened. What came before that is not covered by what comes after.
    fn take(&mut self, new: PatternSeen, opened: Option<Mono>) {
        let last = opened.map(|at| at + LATE);
        if let Some(known) = self.seen.iter_mut().find(|known| known.pattern == new.pattern) {
            let covers = last.is_some_and(|last| known.at <= last && new.at > last);
            let at = if covers { known.at } else { known.at.max(new.at) };
            *known = PatternSeen { at, count: known.count.saturating_add(new.count), ..new };
            return;
        }
        if self.seen.len() >= KEPT {
            let moment = new.at;
            let worst = (0..KEPT).min_by(|a, b| {
                let worth = |index: usize| weight(&self.seen[index], moment);
                worth(*a).total_cmp(&worth(*b))
            });
            worst.map(|index| self.seen.swap_remove(index));
        }
        self.seen.push(new);
    }

    /// What was said before the failure, which was seen then.
    pub fn before(&self, failed_at: Mono, seen_at: Mono) -> Option<IncidentPattern> {
        let told = |seen: &&PatternSeen| {
            seen.usual <= NOISE && failed_at.since(seen.at) <= BEFORE && seen.at <= seen_at.max(failed_at) + LATE
        };
        let best = self.seen.iter().filter(told).max_by(|a, b| {
            // Of two that are as good the first in the order of ids: the same whatever the order of arrival.
            weight(a, failed_at).total_cmp(&weight(b, failed_at)).then(b.pattern.cmp(&a.pattern))
        })?;
        Some(IncidentPattern { id: best.pattern, template: best.template.clone() })
    }
}

/// How much the pattern says of what happened at that time: how unlikely it is to be there by chance, in nats, and how near.
fn weight(seen: &PatternSeen, at: Mono) -> f64 {
    let apart = at.since(seen.at).max(seen.at.since(at));
    -seen.usual.max(RAREST).ln() / (1.0 + apart.as_secs_f64() / NEAR.as_secs_f64())
}

impl Engine {
    pub(super) fn patterns(&mut self, seen: Vec<PatternSeen>) {
        let now = self.now();
        for one in seen {
            self.heed(&one);
            let Some(instance) = self.instances.get_mut(&one.unit) else { continue };
            let incident = instance.incident.and_then(|id| self.incidents.get_mut(&id));
            instance.said.take(one, incident.as_ref().map(|incident| incident.opened_at));
            let Some(incident) = incident.filter(|incident| !incident.is_errand()) else { continue };
            if incident.pattern.is_some() && now.since(incident.opened_at) > SETTLES {
                continue;
            }
            let best = instance.said.before(incident.failed_at, incident.opened_at);
            if best.is_some() && best != incident.pattern {
                incident.pattern = best;
                let id = incident.id;
                self.desk.touched.insert(id);
                // Others with the same pattern are more like it, and what helped them may be another action.
                self.compare(id);
                self.plan_anew(id);
            }
        }
    }
}

impl Engine {
    /// What mostly goes before an incident makes the condition `predicted`, which is only told.
    fn heed(&mut self, seen: &PatternSeen) {
        let Some(warns) = seen.warns else { return };
        let until = seen.at + (warns.lead * LEADS).clamp(FORETOLD_MIN, FORETOLD_MAX);
        let text = format!(
            "its log said \"{}\" (pattern {}), after which an incident came {:.0} of {:.0} times, mostly {} later",
            seen.template,
            seen.pattern,
            warns.followed,
            warns.of,
            human(warns.lead)
        );
        self.foretell(&seen.unit, until, text);
    }

    /// So do hours at which it mostly fails.
    pub(super) fn hours(&mut self, ahead: Vec<HoursAhead>) {
        for one in ahead {
            self.foretell(&one.unit, one.until, one.text());
        }
    }

    fn foretell(&mut self, unit: &UnitName, until: Mono, text: String) {
        let Some(instance) = self.instances.get_mut(unit).filter(|instance| instance.incident.is_none()) else {
            return;
        };
        let settings = self.settings.workers.get(&instance.worker);
        if settings.is_some_and(|settings| !settings.predict_horizon.is_zero()) {
            instance.foretold = Some((until, Evidence::text(text)));
            self.reassess(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PatternId;

    fn seen(pattern: u64, seconds: u64, usual: f64) -> PatternSeen {
        PatternSeen {
            unit: UnitName::new("a.service").unwrap(),
            pattern: PatternId(pattern),
            template: format!("pattern {pattern}"),
            at: Mono(seconds * 1_000_000),
            count: 1,
            usual,
            warns: None,
        }
    }

    /// What is told of a failure in second 1,000, which was seen at once.
    fn told(patterns: &[PatternSeen]) -> Option<u64> {
        let mut said = Log::default();
        patterns.iter().for_each(|one| said.take(one.clone(), None));
        said.before(Mono(1_000_000_000), Mono(1_000_000_000)).map(|pattern| pattern.id.0)
    }

    #[test]
    fn the_rare_one_near_before_is_told() {
        assert_eq!(told(&[seen(1, 999, 0.4), seen(2, 998, 0.0)]), Some(2), "rarer");
        assert_eq!(told(&[seen(1, 999, 0.0), seen(2, 800, 0.0)]), Some(1), "nearer");
        assert_eq!(told(&[seen(1, 1000, 0.9)]), None, "noise");
        assert_eq!(told(&[seen(1, 600, 0.0)]), None, "long before");
        assert_eq!(told(&[seen(1, 1001, 0.0)]), None, "after");
        assert_eq!(told(&[]), None);
        for order in [[1, 2], [2, 1]] {
            assert_eq!(told(&order.map(|id| seen(id, 999, 0.0))), Some(1), "whatever the order");
        }
    }

    #[test]
    fn noise_does_not_push_out_what_is_rare() {
        let mut all = vec![seen(1, 995, 0.0)];
        all.extend((2..40).map(|id| seen(id, 999, 0.3)));
        assert_eq!(told(&all), Some(1));
    }

    #[test]
    fn what_comes_again_after_the_failure_was_still_said_before_it() {
        let mut said = Log::default();
        let opened = Mono(1_000_000_000);
        said.take(seen(1, 999, 0.0), None);
        said.take(seen(1, 1_003, 0.0), Some(opened));
        assert!(said.before(opened, opened).is_some());
    }
}
