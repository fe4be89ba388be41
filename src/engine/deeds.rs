//! What an action would do to an instance, in words, and what stands against it now. Changes nothing.

use crate::model::fact::Refusal;
use crate::model::overview::{Preview, PreviewUnit};
use crate::model::request::Target;
use crate::model::time::human;
use crate::model::{Action, Condition, UnitName, WorkerName, WorkerSettings};

use super::Engine;
use super::gate::Asking;
use super::instance::{Instance, Standing};

/// Exactly what would be done, as a sentence without its subject.
pub fn in_words(action: Action, instance: &Instance, settings: &WorkerSettings) -> String {
    let unit = &instance.unit;
    let down = instance.view.active.is_down();
    match action {
        Action::Restart if down && instance.conditions.contains_key(&Condition::CrashLoop) => {
            format!("reset its start limit where that was hit, and start {unit}")
        }
        Action::Restart if down => format!("start {unit}"),
        Action::GracefulRestart if down => format!("start {unit}"),
        Action::Restart => format!("restart {unit} at once: what it is doing is broken off"),
        Action::GracefulRestart => {
            let limit = human(settings.drain_timeout);
            let drain =
                format!("ask {unit} by its drain signal to finish its work, for up to {limit}, then start it anew");
            match settings.surges() {
                true => format!("start an extra instance, wait until it is well, then {drain}, and stop the extra one"),
                false => drain,
            }
        }
        Action::ScaleUp => format!("start one more instance: {unit}"),
        Action::ScaleDown => {
            let limit = human(settings.drain_timeout);
            format!("let {unit}, which unitmedic started, finish its work for up to {limit}, and stop it")
        }
        Action::ConnectionReset => {
            format!("destroy the TCP connections of {unit} to the worker's peers; it has to connect anew")
        }
        Action::MemoryCleanup => {
            let target = settings.memory_target;
            format!("take back memory of {unit} down to {target} % of its limit; nothing is interrupted")
        }
        Action::Hook(name) => {
            let program = settings.hooks.get(&name).and_then(|hook| hook.command.first());
            let program = program.map(|program| format!(" ({program})")).unwrap_or_default();
            format!("run the worker's own command {name}{program} for {unit}")
        }
        Action::Escalate => "call an operator; nothing is touched".into(),
    }
}

impl Engine {
    /// What `recover` would do now; the error says why it names nothing.
    pub fn preview(&self, target: &Target, action: Action, force: bool) -> Result<Preview, String> {
        let units = self.targets_of(target, action)?;
        let worker = self.worker_of(target);
        let mut notes = Vec::new();
        if units.len() > 1 {
            let many = units.len();
            notes.push(format!(
                "{many} instances go one by one: the next only when the one before is well; should one not come back \
                 well, the rest is left as it is"
            ));
        }
        if force {
            notes.push("by force: past the gates that protect capacity and pace, and past a stop on purpose".into());
        }
        let settings = &self.settings.workers[&worker];
        let what = self.look_at(&units[0], &worker, |instance| in_words(action, instance, settings));
        let units = units.into_iter().map(|unit| self.preview_unit(unit, &worker, action, force)).collect();
        Ok(Preview { worker, action, what, units, notes })
    }

    /// Of a target that was found.
    fn worker_of(&self, target: &Target) -> WorkerName {
        match target {
            Target::Worker(name) => name.clone(),
            Target::Unit(unit) => self.instances[unit].worker.clone(),
        }
    }

    /// An instance that is to be started may not be known yet.
    fn look_at<T>(&self, unit: &UnitName, worker: &WorkerName, look: impl FnOnce(&Instance) -> T) -> T {
        match self.instances.get(unit) {
            Some(instance) => look(instance),
            None => {
                let unknown = Instance::new(unit.clone(), worker.clone());
                look(&Instance { seen: true, standing: Standing::Spare, ..unknown })
            }
        }
    }

    fn preview_unit(&self, unit: UnitName, worker: &WorkerName, action: Action, force: bool) -> PreviewUnit {
        self.look_at(&unit, worker, |instance| PreviewUnit {
            unit: unit.clone(),
            health: instance.health,
            refusal: self.refusal_of_request(instance, action, force),
            dependents: match action {
                Action::Restart | Action::GracefulRestart => instance.view.dependents.clone(),
                _ => Vec::new(),
            },
        })
    }

    /// The first gate that says no to what an operator asks for.
    pub(super) fn refusal_of_request(&self, instance: &Instance, action: Action, forced: bool) -> Option<Refusal> {
        let settings = &self.settings.workers[&instance.worker];
        let incident = instance.incident.and_then(|id| self.incidents.get(&id));
        let asking = Asking { incident, instance, settings, action, requested: true, forced, intended: false };
        self.refusal(&asking)
    }
}
