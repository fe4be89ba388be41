//! Merged inputs to settings: defaults are applied, and what must fit together does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::settings::{AlertSettings, AlertmanagerSettings, DaemonSettings, GuardSettings, WebhookSettings};
use crate::model::{AlertmanagerName, Selector, Settings, WorkerName, WorkerSettings};

use super::errors::{At, PROBLEMS_MAX, Problems};
use super::keys::{ALERTMANAGER, ALERTS, DAEMON, GUARD, HOOK, Key, WEBHOOK, WORKER};
use super::merge::{Inputs, Table};
use super::selector::common_unit;
use super::value::Value;

/// Builds settings; they are to be used only when no problem was added.
pub fn build(inputs: &Inputs, base: DaemonSettings, files: &[PathBuf], problems: &mut Problems) -> Settings {
    let mut builder = Builder { files, problems, origins: BTreeMap::new() };
    let mut daemon = base;
    builder.apply(DAEMON, &mut daemon, &inputs.daemon, "daemon");
    builder.socket_beside_runtime_dir(&mut daemon, &inputs.daemon);
    let mut guard = GuardSettings::default();
    builder.apply(GUARD, &mut guard, &inputs.guard, "guard");

    let mut alerts = AlertSettings::default();
    builder.apply(ALERTS, &mut alerts, &inputs.alerts, "alerts");
    builder.check_severities(&alerts, &inputs.alerts);
    let alertmanagers = builder.alertmanagers(inputs);
    let mut webhook = WebhookSettings::default();
    builder.apply(WEBHOOK, &mut webhook, &inputs.webhook, "webhook");
    builder.one_of("[webhook]", &inputs.webhook, "token_file", "token_credential");

    builder.check_defaults(&inputs.defaults);
    let mut workers = BTreeMap::new();
    for (name, (at, table)) in &inputs.workers {
        if let Some(worker) = builder.worker(name, *at, table, inputs) {
            workers.insert(name.clone(), worker);
        }
    }
    builder.overlaps(&workers, inputs);
    let origins = builder.origins;
    Settings { daemon, guard, alerts, alertmanagers, webhook, workers, origins }
}

pub(super) struct Builder<'a> {
    files: &'a [PathBuf],
    pub(super) problems: &'a mut Problems,
    origins: BTreeMap<String, String>,
}

impl Builder<'_> {
    fn apply<T>(&mut self, keys: &[Key<T>], target: &mut T, table: &Table, prefix: &str) {
        for key in keys {
            let Some(input) = table.keys.get(key.spec.name) else { continue };
            if let Some(value) = &input.value {
                (key.set)(target, value.clone());
                self.origins.insert(format!("{prefix}.{}", key.spec.name), self.place(input.at));
            }
        }
    }

    fn socket_beside_runtime_dir(&mut self, daemon: &mut DaemonSettings, table: &Table) {
        if table.keys.contains_key("control_socket") {
            return;
        }
        let Some(at) = table.keys.get("runtime_dir").map(|input| input.at) else { return };
        daemon.control_socket = daemon.runtime_dir.join(super::SOCKET_NAME);
        self.origins.insert("daemon.control_socket".into(), self.place(at));
        let length = daemon.control_socket.as_os_str().len();
        if length > super::value::SOCKET_PATH_MAX {
            self.problems.add(at, format!("runtime_dir in [daemon] is too long for the path of a socket in it ({length} bytes); set control_socket"));
        }
    }

    fn alertmanagers(&mut self, inputs: &Inputs) -> BTreeMap<AlertmanagerName, AlertmanagerSettings> {
        let mut all = BTreeMap::new();
        for (name, (at, table)) in &inputs.alertmanagers {
            let mut settings = AlertmanagerSettings::default();
            self.apply(ALERTMANAGER, &mut settings, table, &format!("alertmanager.{name}"));
            let title = format!("[alertmanager.{name}]");
            if !table.keys.contains_key("url") {
                let text = format!("{title} has no url; add, for example, url = \"http://127.0.0.1:9093\"");
                self.problems.add(*at, text);
            }
            self.check_login(&settings, &title, table);
            all.insert(name.clone(), settings);
        }
        all
    }

    fn worker(&mut self, name: &WorkerName, at: At, table: &Table, inputs: &Inputs) -> Option<WorkerSettings> {
        let title = format!("[worker.{name}]");
        let Some(unit) = table.keys.get("unit") else {
            if !inputs.partial {
                self.problems.add(at, format!("{title} has no unit; add, for example, unit = \"{name}.service\""));
            }
            return None;
        };
        let Some(Value::Selector(selector)) = unit.value.clone() else { return None };
        let prefix = format!("worker.{name}");
        let mut worker = WorkerSettings::new(name.clone(), selector);
        for table in [&inputs.defaults, table] {
            one_password(&mut worker, table);
            self.apply(WORKER, &mut worker, table, &prefix);
            for (condition, input) in &table.plans {
                if let Some(plan) = &input.value {
                    worker.plans.insert(*condition, plan.clone());
                    self.origins.insert(format!("{prefix}.plans.{condition}"), self.place(input.at));
                }
            }
            for (hook, (_, keys)) in &table.hooks {
                let settings = worker.hooks.entry(*hook).or_default();
                self.apply(HOOK, settings, keys, &format!("{prefix}.hooks.{hook}"));
            }
        }
        self.check_worker(&worker, &title, table, &inputs.defaults);
        Some(worker)
    }

    /// A unit that two workers own would be repaired by two plans. Told at the one that comes later in the files.
    fn overlaps(&mut self, workers: &BTreeMap<WorkerName, WorkerSettings>, inputs: &Inputs) {
        let mut placed: Vec<(At, &WorkerSettings)> = workers
            .iter()
            .filter_map(|(name, worker)| Some((inputs.workers.get(name)?.1.keys.get("unit")?.at, worker)))
            .collect();
        placed.sort_by_key(|(at, worker)| (*at, worker.name.clone()));
        let mut units: BTreeMap<&str, usize> = BTreeMap::new();
        let mut patterns: Vec<usize> = Vec::new();
        let mut told = 0;
        for (nth, (at, worker)) in placed.iter().enumerate() {
            let rivals: Vec<usize> = match &worker.unit {
                Selector::Unit(unit) => units.get(unit.as_str()).copied().into_iter().chain(patterns.clone()).collect(),
                _ => (0..nth).collect(),
            };
            for rival in rivals {
                if told == PROBLEMS_MAX {
                    return;
                }
                let (other_at, other) = &placed[rival];
                if let Some(unit) = common_unit(&worker.unit, &other.unit) {
                    let text = format!(
                        "unit in [worker.{}] and unit in [worker.{}] ({}) both match {unit:?}; a unit can have one worker only",
                        worker.name,
                        other.name,
                        self.place(*other_at)
                    );
                    self.problems.add(*at, text);
                    told += 1;
                }
            }
            match &worker.unit {
                Selector::Unit(unit) => {
                    units.entry(unit.as_str()).or_insert(nth);
                }
                _ => patterns.push(nth),
            }
        }
    }

    fn place(&self, at: At) -> String {
        format!("{}:{}", self.files[at.file].display(), at.line)
    }
}

/// Where the password is kept is one choice in two keys: what a worker says about it replaces what the defaults say.
fn one_password(worker: &mut WorkerSettings, table: &Table) {
    if ["amqp_password_file", "amqp_password_credential"].iter().any(|key| table.keys.contains_key(key)) {
        (worker.amqp_password_file, worker.amqp_password_credential) = (None, None);
    }
}
