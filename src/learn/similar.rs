//! Which past incidents were like one that is at hand, and what they have in common.

use crate::model::strategy::{Past, Similar};
use crate::model::{Condition, Incident};

/// Of how many is told.
const TOLD: usize = 3;
/// Less in common than this is not worth telling.
const LIKENESS_MIN: f64 = 0.35;

/// What each thing in common counts; together 1.
const OF_CONDITIONS: f64 = 0.4;
const OF_PATTERN: f64 = 0.3;
const OF_WORKER: f64 = 0.2;
const OF_UNIT: f64 = 0.1;

/// The most like the incident first; of equals the latest. `past` is oldest first.
pub fn similar<'p>(incident: &Incident, past: impl DoubleEndedIterator<Item = &'p Past>) -> Vec<Similar> {
    let others = past.rev().filter(|past| past.incident != incident.id);
    let mut alike: Vec<(f64, &Past)> = others.map(|past| (likeness(incident, past), past)).collect();
    alike.retain(|(likeness, _)| *likeness >= LIKENESS_MIN);
    // Stable: what came later stays in front of its equals.
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    let told = alike.into_iter().take(TOLD);
    told.map(|(likeness, past)| Similar { past: past.clone(), likeness, why: why(incident, past) }).collect()
}

fn likeness(incident: &Incident, past: &Past) -> f64 {
    let weigh = |weight: f64, so: bool| if so { weight } else { 0.0 };
    OF_CONDITIONS * in_common(incident, past)
        + weigh(OF_PATTERN, same_pattern(incident, past))
        + weigh(OF_WORKER, incident.worker == past.worker)
        + weigh(OF_UNIT, incident.unit == past.unit)
}

/// Conditions of both by conditions of either (P. Jaccard 1912).
fn in_common(incident: &Incident, past: &Past) -> f64 {
    let both = shared(incident, past).count();
    let either = incident.conditions.len() + past.conditions.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

fn shared<'p>(incident: &'p Incident, past: &'p Past) -> impl Iterator<Item = &'p Condition> {
    past.conditions.iter().filter(|condition| incident.conditions.contains_key(condition))
}

fn same_pattern(incident: &Incident, past: &Past) -> bool {
    incident.pattern.as_ref().is_some_and(|pattern| past.pattern == Some(pattern.id))
}

/// `same unit, both hung, same log before`
fn why(incident: &Incident, past: &Past) -> String {
    let mut reasons = Vec::new();
    if incident.unit == past.unit {
        reasons.push("same unit".to_string());
    } else if incident.worker == past.worker {
        reasons.push("same worker".to_string());
    }
    let conditions: Vec<&str> = shared(incident, past).map(|condition| condition.as_str()).collect();
    if !conditions.is_empty() {
        reasons.push(format!("both {}", conditions.join(" and ")));
    }
    if same_pattern(incident, past) {
        reasons.push("same log before it".into());
    }
    reasons.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::{Origin, Resolution};
    use crate::model::pattern::{IncidentPattern, PatternId};
    use crate::model::{Action, Evidence, IncidentId, Now, UnitName, Wall, WorkerName};

    fn incident() -> Incident {
        let (worker, unit) = (WorkerName::new("mail").unwrap(), UnitName::new("mail@1.service").unwrap());
        let origin = Origin::Condition { condition: Condition::Hung };
        Incident {
            conditions: [(Condition::Hung, Evidence::text("silent"))].into(),
            pattern: Some(IncidentPattern { id: PatternId(7), template: "broker away".into() }),
            ..Incident::new(IncidentId(100), worker, unit, origin, "boot", Now::default())
        }
    }

    fn past(id: u64, worker: &str, unit: &str, condition: Condition, pattern: Option<u64>) -> Past {
        Past {
            incident: IncidentId(id),
            worker: WorkerName::new(worker).unwrap(),
            unit: UnitName::new(unit).unwrap(),
            at: Wall(0),
            conditions: vec![condition],
            pattern: pattern.map(PatternId),
            in_vain: vec![],
            helped: Some(Action::Restart),
            resolution: Resolution::Recovered,
            time_to_recover: None,
        }
    }

    #[test]
    fn the_three_most_alike_are_told_with_what_they_have_in_common() {
        use Condition::{Dead, Hung};
        let past = [
            past(1, "mail", "mail@1.service", Dead, None),
            past(2, "mail", "mail@1.service", Hung, None),
            past(3, "mail", "mail@2.service", Hung, Some(7)),
            past(4, "web", "web.service", Hung, None),
            past(5, "mail", "mail@1.service", Hung, None),
            past(100, "mail", "mail@1.service", Hung, Some(7)),
        ];
        let told: Vec<String> =
            similar(&incident(), past.iter()).iter().map(|one| format!("{} {}", one.past.incident, one.why)).collect();
        assert_eq!(
            told,
            ["#3 same worker, both hung, same log before it", "#5 same unit, both hung", "#2 same unit, both hung"]
        );
    }

    #[test]
    fn what_has_little_in_common_is_not_told() {
        let past = [past(1, "web", "web.service", Condition::Dead, None)];
        assert!(similar(&incident(), past.iter()).is_empty());
    }
}
