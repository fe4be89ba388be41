//! Why an instance was or was not recovered, and what would happen next. Changes nothing.

use std::collections::BTreeMap;

use crate::model::approval::ApprovalFor;
use crate::model::fact::Gate;
use crate::model::request::Target;
use crate::model::status::{Explanation, GateView, SettingView};
use crate::model::time::human;
use crate::model::{Condition, Now, UnitName, WorkerSettings};

use super::Engine;
use super::gate::Asking;
use super::outlook::Outlook;

impl Engine {
    /// One explanation per instance; empty when the target is unknown.
    pub fn explain(&self, target: &Target, now: Now) -> Vec<Explanation> {
        let units: Vec<&UnitName> = match target {
            Target::Unit(unit) => self.instances.get_key_value(unit).map(|(unit, _)| unit).into_iter().collect(),
            Target::Worker(name) => {
                self.instances.values().filter(|i| i.worker == *name).map(|instance| &instance.unit).collect()
            }
        };
        units.into_iter().map(|unit| self.explain_unit(unit, now)).collect()
    }

    fn explain_unit(&self, unit: &UnitName, now: Now) -> Explanation {
        let (instance, settings) = self.with_settings(unit);
        let open = instance.incident.and_then(|id| self.incidents.get(&id));
        let incident = open.or_else(|| self.closed.get(unit)).cloned();
        let plan = match open {
            Some(incident) => incident.plan.clone(),
            None => self.present_plan(unit),
        };
        let next_action = open.and_then(|incident| self.next_action(incident));
        let gates = next_action.map(|action| {
            let asking = open.map_or_else(
                || Asking {
                    incident: None,
                    instance,
                    settings,
                    action,
                    requested: false,
                    forced: false,
                    intended: false,
                },
                |incident| self.asking(incident, action, false),
            );
            Gate::ALL.iter().map(|gate| GateView { gate: *gate, refusal: self.ask_gate(*gate, &asking) }).collect()
        });
        let used = open.map_or(0, |incident| incident.attempts_used);
        let until = open.and_then(|incident| incident.not_before).filter(|at| *at > now.mono);
        Explanation {
            unit: unit.clone(),
            worker: instance.worker.clone(),
            health: instance.health,
            because: instance.because(),
            standing: Engine::standing_of(instance),
            conditions: instance.conditions.iter().map(|(c, held)| (*c, held.evidence.clone())).collect(),
            incident,
            plan,
            next_action,
            gates: gates.unwrap_or_default(),
            attempts_left: settings.max_restart_attempts.saturating_sub(used),
            max_attempts: settings.max_restart_attempts,
            cooldown_left: until.map(|at| at.since(now.mono)),
            cooldown_until: until.map(|at| now.wall_of(at)),
            recent_failures: instance.failures.iter().map(|at| now.wall_of(*at)).collect(),
            crash_loop_limit: settings.crash_loop_failures,
            crash_loop_window: settings.crash_loop_window,
            restarts: super::status::restarts(instance),
            settings: self.deciding_settings(settings, instance.conditions.keys().copied()),
        }
    }

    /// The settings that decide over restarts, with where each was set.
    fn deciding_settings(&self, settings: &WorkerSettings, held: impl Iterator<Item = Condition>) -> Vec<SettingView> {
        let mut values: BTreeMap<&str, String> = BTreeMap::from([
            ("max_restart_attempts", settings.max_restart_attempts.to_string()),
            ("restart_cooldown", human(settings.restart_cooldown)),
            ("backoff", human(settings.backoff)),
            ("crash_loop_failures", settings.crash_loop_failures.to_string()),
            ("crash_loop_window", human(settings.crash_loop_window)),
            ("verify_dead_for", human(settings.verify_dead_for)),
            ("verify_for", human(settings.verify_for)),
            ("start_timeout", human(settings.start_timeout)),
            ("min_instances", settings.needed().to_string()),
            ("allow_downtime", settings.allow_downtime.to_string()),
            ("on_stop", settings.on_stop.to_string()),
            ("memory_threshold", format!("{} %", settings.memory_threshold)),
            ("predict_horizon", Outlook::horizon_text(settings)),
            ("preventive", settings.preventive.to_string()),
            ("cpu_threshold", format!("{} %", settings.cpu_threshold)),
        ]);
        if settings.approval != ApprovalFor::Nothing {
            values.insert("approval", settings.approval.to_string());
            values.insert("approval_timeout", human(settings.approval_timeout));
            values.insert("no_answer", settings.no_answer.to_string());
        }
        values.extend(held.flat_map(|condition| settings_of(condition, settings)));
        let view = |(name, value): (&str, String)| {
            let key = format!("worker.{}.{name}", settings.name);
            let origin = self.settings.origins.get(&key).cloned().unwrap_or_else(|| "default".into());
            SettingView { key, value, origin }
        };
        values.into_iter().map(view).collect()
    }
}

/// The settings by which a condition holds, where they are not shown always.
fn settings_of(condition: Condition, settings: &WorkerSettings) -> Vec<(&'static str, String)> {
    let seconds = |name, span| (name, human(span));
    match condition {
        Condition::Hung => vec![seconds("heartbeat_timeout", settings.heartbeat_timeout)],
        Condition::ErrorRateHigh => vec![
            ("error_rate_threshold", settings.error_rate_threshold.to_string()),
            seconds("error_rate_window", settings.error_rate_window),
        ],
        Condition::BacklogHigh => vec![("queue_backlog_threshold", settings.queue_backlog_threshold.to_string())],
        Condition::ConsumerStalled | Condition::NoConsumer => {
            vec![("queue_samples", settings.queue_samples.to_string())]
        }
        Condition::ProbeFailed => vec![
            ("probe_failures", settings.probe_failures.to_string()),
            ("probe_window", settings.probe_window.to_string()),
        ],
        Condition::Starved => vec![("pressure_threshold", format!("{} %", settings.pressure_threshold))],
        Condition::Unusual => vec![seconds("unusual_after", settings.unusual_after)],
        Condition::Predicted
        | Condition::External
        | Condition::CpuHigh
        | Condition::MemoryHigh
        | Condition::StartStuck
        | Condition::OomKilled
        | Condition::Dead
        | Condition::CrashLoop => Vec::new(),
    }
}
